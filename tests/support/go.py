"""A client in another language: the OpenTelemetry SDK for Go, under way."""

from pathlib import Path

from tests.support.sdk_process import SdkProcess

__all__ = ["GoLoad", "find_go_client"]

_BUILT = Path(__file__).parents[2] / ".tools" / "go-client"


def find_go_client() -> Path | None:
    """What scripts/go-client built."""
    return _BUILT if _BUILT.exists() else None


class GoLoad(SdkProcess):
    """See `tests/clients/go/load.go`."""

    def __init__(self, directory: Path, endpoint: str, protocol: str, *, first: int) -> None:
        assert find_go_client() is not None, "scripts/go-client builds the client with the SDK for Go"
        super().__init__([str(_BUILT)], directory, endpoint, protocol, first=first)
