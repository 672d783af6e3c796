"""What the command line of ``otlp-service send`` says."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from app.core.request import Signal

__all__ = ["Options", "Protocol", "parse"]

Protocol = Literal["grpc", "http/protobuf", "http/json"]

_COUNT = 10
_LARGEST_COUNT = 1_000_000_000
_DESCRIPTION = "Send telemetry of a small shop as applications do, with the OpenTelemetry SDK."
_EPILOG = f"""\
Without --count and --duration, {_COUNT} items are sent, in requests of at most 512. What fails and may pass is tried
again as the SDK does, within --timeout; when nothing of the first request is accepted, no more is sent. No OTEL_
variable is read, because here they may be those of the service, and no proxy is used.

exit code: 0 all were accepted; 1 some were not; 2 wrong usage; 130 ended by Ctrl-C
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What to send, how much of it, and where to; `seconds` are of all attempts of a request."""

    signal: Signal = Signal.TRACES
    protocol: Protocol = "http/protobuf"
    endpoint: str = "http://localhost:8080"
    count: int | None = _COUNT
    rate: float | None = None
    duration: float | None = None
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure: bool = False
    compression: Literal["none", "gzip"] = "none"
    timeout: float = 10.0


def parse(arguments: list[str]) -> Options:
    """The options that `arguments` give.

    Raises:
        SystemExit: with 0 for --help, with 2 for wrong usage.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    endpoint = given.endpoint or ("localhost:4317" if given.protocol == "grpc" else "http://localhost:8080")
    problem = _problem(given, endpoint)
    if problem:
        parser.error(problem)
    return Options(
        signal=Signal(given.signal),
        protocol=given.protocol,
        endpoint=endpoint,
        count=given.count or (None if given.duration else _COUNT),
        rate=given.rate,
        duration=given.duration,
        headers=_headers(given, parser),
        ca_file=given.ca_file,
        cert_file=given.cert_file,
        key_file=given.key_file or given.cert_file,
        insecure=given.insecure,
        compression=given.compression,
        timeout=given.timeout,
    )


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="otlp-service send",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what")
    what.add_argument("--signal", choices=[signal.value for signal in Signal], default="traces", help="(traces)")
    what.add_argument("--count", metavar="ITEMS", type=_count, help="spans, data points or log records")
    what.add_argument(
        "--rate", metavar="ITEMS", type=_rate, help="a second, on average; else as fast as they are taken"
    )
    what.add_argument("--duration", metavar="TIME", type=_duration, help="such as 30s or 5m; send for so long")
    where = parser.add_argument_group("where")
    protocols = ["grpc", "http/protobuf", "http/json"]
    where.add_argument("--protocol", choices=protocols, default="http/protobuf", help="(http/protobuf)")
    where.add_argument("--endpoint", metavar="URL", help="(http://localhost:8080, for gRPC localhost:4317)")
    where.add_argument("--header", metavar="NAME=VALUE", action="append", default=[], help="may be repeated")
    where.add_argument("--compression", choices=["none", "gzip"], default="none", help="(none)")
    where.add_argument("--timeout", metavar="TIME", type=_duration, default=10.0, help="for a request (10s)")
    tls = parser.add_argument_group("TLS, for an endpoint that begins with https://")
    tls.add_argument("--ca-file", metavar="FILE", type=Path, help="PEM of the authorities to trust")
    tls.add_argument("--cert-file", metavar="FILE", type=Path, help="PEM of the client's certificate")
    tls.add_argument("--key-file", metavar="FILE", type=Path, help="PEM of its key, if that is not in the same file")
    tls.add_argument("--insecure", action="store_true", help="trust any server; over HTTP only")
    return parser


def _number(text: str, convert: Callable[[str], float], least: float, most: float, example: str) -> float:
    try:
        number = convert(text)
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise ArgumentTypeError(f"{text!r} is not a number from {least:g} to {most:g}; write one such as {example}")
    return number


def _count(text: str) -> int:
    return int(_number(text, int, 1, _LARGEST_COUNT, "1000"))


def _rate(text: str) -> float:
    return _number(text, float, 0.001, 1_000_000, "100")


def _duration(text: str) -> float:
    from app.settings.units import parse_duration  # noqa: PLC0415 - it costs more than --help should

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    if seconds == 0:
        raise ArgumentTypeError(f"{text!r} is no time; write 30s, 500ms or 5m")
    return seconds


def _problem(given: Namespace, endpoint: str) -> str | None:
    """What does not fit together."""
    from app.settings.endpoint import endpoint_problem, mask_url, split_endpoint  # noqa: PLC0415 - as above

    grpc = given.protocol == "grpc"
    if problem := endpoint_problem(endpoint, grpc=grpc, base=True):
        return f"argument --endpoint: {mask_url(endpoint)!r} {problem}"
    if given.rate and given.duration and given.rate * given.duration < 1:
        return "argument --rate: sends nothing within --duration; raise one of them"
    files = {"--ca-file": given.ca_file, "--cert-file": given.cert_file, "--key-file": given.key_file}
    tls = [name for name, path in files.items() if path] + (["--insecure"] if given.insecure else [])
    if tls and split_endpoint(endpoint).scheme != "https":
        return f"argument {tls[0]}: {mask_url(endpoint)!r} has no TLS; write an --endpoint that begins with https://"
    if given.key_file and not given.cert_file:
        return "argument --key-file: needs its certificate; give --cert-file too"
    if given.insecure and (grpc or given.ca_file):
        remedy = "leave one of them out" if given.ca_file else "give --ca-file, because gRPC trusts nobody without"
        return f"argument --insecure: contradicts {'--ca-file' if given.ca_file else '--protocol grpc'}; {remedy}"
    return _file_problem(given)


def _file_problem(given: Namespace) -> str | None:
    if not given.ca_file and not given.cert_file:
        return None
    import ssl  # noqa: PLC0415 - as above

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if given.ca_file:
            context.load_verify_locations(given.ca_file)
    except OSError as error:
        return f"argument --ca-file: '{given.ca_file}' holds no certificates: {error.strerror or error}"
    try:
        if given.cert_file:
            context.load_cert_chain(given.cert_file, given.key_file)
    except OSError as error:
        files = " and ".join(f"'{path}'" for path in (given.cert_file, given.key_file) if path)
        return f"argument --cert-file: {files} hold no certificate and its key: {error.strerror or error}"
    return None


def _headers(given: Namespace, parser: ArgumentParser) -> dict[str, str]:
    if not given.header:
        return {}
    from app.settings.headers import check_headers  # noqa: PLC0415 - as above

    headers: dict[str, str] = {}
    for number, text in enumerate(given.header, start=1):
        name, equals, value = text.partition("=")
        if not equals:  # what it says may be a secret
            parser.error(f"argument --header: number {number} is not NAME=VALUE")
        if name.strip().lower() in headers:
            parser.error(f"argument --header: {name!r} is given twice; keep one")
        headers[name.strip().lower()] = value
    try:
        checked = check_headers(headers)
    except ValueError as error:
        parser.error(f"argument --header: {error}")
    if given.protocol == "grpc" and (binary := [name for name in checked if name.endswith("-bin")]):
        parser.error(f"argument --header: {binary[0]!r} would be binary in gRPC; give it a name without -bin")
    return checked
