"""``otlp-service send``: a client that sends telemetry as applications do, and tells whether all of it was taken."""

import os

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Carry out a command line; returns the exit code.

    Raises:
        SystemExit: from argparse, for --help and for wrong usage.
    """
    from app.send.options import parse  # noqa: PLC0415 - each step imports what it needs, so that --help stays cheap

    options = parse(arguments)
    # Before the SDK is imported, which looks at its variables: here they may be those of the service, and say where it
    # delivers. gRPC would write about failures by itself.
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        del os.environ[name]
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from app.send.run import run  # noqa: PLC0415 - as above

    return run(options)
