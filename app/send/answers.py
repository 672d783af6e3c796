"""What a destination said to the attempts of one export.

The SDK's exporters tell success from failure and no more: a redirect and a page of HTML are successes to them, and so
is an answer that names rejected items. The truth is in the answers themselves.
"""

from dataclasses import dataclass
from typing import Any

from requests import Response

from app.core.request import Signal

__all__ = ["Answers", "Outcome"]

_EMPTY = {b"", b"{}"}
_LONGEST = 300  # gRPC says a lot before it says why


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many items of a request were accepted, and why the others were not."""

    accepted: int
    refused: int
    reason: str = ""


class Answers:
    """The last answer, written by the one thread that exports."""

    def __init__(self, signal: Signal) -> None:
        self._signal = signal
        self.forget()

    def forget(self) -> None:
        """Begin with the next export."""
        self.failure = ""
        """Why the last attempt failed; empty while none did."""
        self._rejected = 0
        self._remark = ""

    def lost(self, error: Exception) -> None:
        """There was no answer."""
        reason = getattr(error, "args", None) and getattr(error.args[0], "reason", None)  # urllib3's, in requests' own
        self.failure = _plain(f"{type(error).__name__}: {reason or error}")

    def http(self, response: Response) -> None:
        """An answer over HTTP."""
        body = response.content
        status = f"{response.status_code} {response.reason or ''}".rstrip()
        json = "json" in response.headers.get("Content-Type", "")
        if not 200 <= response.status_code < 300:
            self.failure = ": ".join(filter(None, [status, self._explained(body, json=json)]))
            return
        try:
            self._taken(body, json=json)
        except ValueError:
            kind = response.headers.get("Content-Type", "no type")
            self.failure = _plain(f"{status} with {kind}, which is no answer of OTLP; is this its address?")

    def grpc_response(self, response: Any) -> None:
        """An ``Export*ServiceResponse`` over gRPC."""
        self._taken(response.SerializeToString(), json=False)

    def grpc_error(self, code: str, details: str | None) -> None:
        """A status over gRPC."""
        self.failure = ": ".join(filter(None, [code, _plain(details or "")]))

    def outcome(self, items: int, *, succeeded: bool) -> Outcome:
        """What became of `items` items, of which the SDK says that they `succeeded`."""
        if not succeeded or self.failure:
            return Outcome(0, items, self.failure or "the SDK gave no reason")
        rejected = max(0, min(items, self._rejected))
        return Outcome(items - rejected, rejected, f"rejected: {self._remark}" if rejected else "")

    def _taken(self, body: bytes, *, json: bool) -> None:
        self.failure = ""
        if body in _EMPTY:
            return
        # What explains an answer is imported when there is something to explain: it costs as much as everything else.
        from app.exporters.answer import plain, read_partial_success  # noqa: PLC0415

        partial = read_partial_success(self._signal, body, json=json)
        self._rejected, self._remark = partial.rejected, plain(partial.message) or "no reason given"

    def _explained(self, body: bytes, *, json: bool) -> str:
        """What a refusal says about itself."""
        from app.exporters.answer import plain, read_status, read_status_json  # noqa: PLC0415 - as above

        try:
            return plain(read_status_json(body).message if json else read_status(body).message)
        except ValueError:
            return plain(body.decode("utf-8", "replace"))


def _plain(text: str) -> str:
    from app.exporters.answer import plain  # noqa: PLC0415 - as above

    return plain(text, _LONGEST)
