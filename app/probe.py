"""Whether the service on this machine is ready, asked over a plain socket.

Docker and kubelets start this every few seconds, so it imports next to nothing: an interpreter that does nothing takes
ten milliseconds of CPU, `http.client` or YAML would make that forty.
"""

import _socket  # what `socket` wraps, without the enums and selectors that cost as much as the interpreter's start
import os
import stat
import time

__all__ = ["address_file", "main", "reachable", "read_address", "remove_address", "write_address"]

_TIMEOUT = 2.5  # Docker gives up after three seconds, the interpreter's start included
_PATH = "/health/ready"
_LARGEST_ANSWER = 65536
_LONGEST_LINE = 300
_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_USAGE = """\
usage: otlp-service health [--url URL] [--timeout SECONDS]

Asks the running service whether it is ready; prints one line.
Exit code: 0 ready, 1 not ready, 2 wrong usage.

  --url URL          ask this address, such as http://127.0.0.1:9090/health/ready,
                     in place of the one that `otlp-service serve` left in the temporary directory
  --timeout SECONDS  give up after so long (2.5)"""


class _UsageError(Exception):
    pass


class _NotReadyError(Exception):
    pass


def main(arguments: list[str]) -> tuple[int, str]:
    """The exit code and the one line (or the help) to print."""
    if "-h" in arguments or "--help" in arguments:
        return 0, _USAGE
    try:
        url, timeout = _options(arguments)
        host, port, path = _parse_url(url) if url else (*_left_address(), _PATH)
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        status, body = _ask(host, port, path, place, timeout)
    except _UsageError as error:
        return 2, f"otlp-service health: {error}\n{_USAGE}"
    except _NotReadyError as error:
        return 1, f"not ready: {error}"
    if status == 200:
        return 0, f"ready: {place}"
    return 1, f"not ready: {place} answered {status}{body and ': '}{body}"


def address_file() -> str:
    """Where `serve` leaves its address: in the temporary directory, one for each user."""
    return f"{os.environ.get('TMPDIR') or '/tmp'}/otlp-service-{os.geteuid()}.address"  # noqa: S108 - see read_address


def write_address(host: str, port: int) -> tuple[str, int]:
    """Leave the admin port's address for `health`; returns it, for `remove_address`.

    Raises:
        OSError: the temporary directory cannot be written, or the file there belongs to another user.
    """
    path = address_file()
    part = f"{path}.{os.getpid()}"
    if os.path.lexists(part):
        os.unlink(part)  # noqa: PTH108 - pathlib costs more than all of this
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, f"{host} {port}\n".encode())
    finally:
        os.close(descriptor)
    os.replace(part, path)  # noqa: PTH105 - as above
    return host, port


def remove_address(host: str, port: int) -> None:
    """Take the address away, unless another process has left its own there since."""
    if read_address() != (host, port):
        return
    try:
        os.unlink(address_file())  # noqa: PTH108 - as above
    except FileNotFoundError:
        return  # someone was faster, and it is as it should be


def read_address() -> tuple[str, int] | None:
    """The address as it was left, or None when there is none.

    The temporary directory is open to everyone, so a link, or a file of another user, counts as none.
    """
    try:
        descriptor = os.open(address_file(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG((status := os.fstat(descriptor)).st_mode) or status.st_uid != os.geteuid():
            return None
        host, _, port = os.read(descriptor, 512).decode("utf-8", "replace").rstrip("\n").rpartition(" ")
    finally:
        os.close(descriptor)
    return (host, int(port)) if _is_port(port) else None


def reachable(host: str) -> str:
    """An address at which a server can be reached that listens on `host`."""
    return _WILDCARDS.get(host, host)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) < 65536


def _left_address() -> tuple[str, int]:
    address = read_address()
    if address is None:
        raise _NotReadyError(f"no address in {address_file()}; is `otlp-service serve` running?")
    host, port = address
    return reachable(host), port


def _options(arguments: list[str]) -> tuple[str, float]:
    url, timeout = "", _TIMEOUT
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name not in {"--url", "--timeout"}:
            raise _UsageError(f"{name}: unknown argument")
        if not equals:
            if not rest:
                raise _UsageError(f"{name}: needs a value")
            value = rest.pop(0)
        if name == "--url":
            url = value
        else:
            timeout = _seconds(value)
    return url, timeout


def _seconds(text: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise _UsageError(f"--timeout: {text!r} is not a time in seconds; write one such as 2.5")
    return seconds


def _parse_url(url: str) -> tuple[str, int, str]:
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, "80"
    host = host.removeprefix("[").removesuffix("]")
    if scheme.lower() != "http" or not separator or not host or not _is_port(port) or not _is_plain(url):
        raise _UsageError(f"--url: {url!r} is not a URL that can be asked; write http://127.0.0.1:9090{_PATH}")
    return host, int(port), slash + path if path else _PATH


def _is_plain(url: str) -> bool:
    return url.isascii() and url.isprintable() and " " not in url


def _ask(host: str, port: int, path: str, place: str, timeout: float) -> tuple[int, str]:
    try:
        answer = _exchange(host, port, f"GET {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n", timeout)
    except ConnectionRefusedError:
        raise _NotReadyError(f"nothing listens on {place}; is `otlp-service serve` running?") from None
    except TimeoutError:
        raise _NotReadyError(f"no answer from {place} within {timeout:g} s") from None
    except OSError as error:
        raise _NotReadyError(f"{place} cannot be asked: {error.strerror or error}") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    protocol, _, status = head.partition(b"\r\n")[0].partition(b" ")
    if not protocol.startswith(b"HTTP/1.") or not status[:3].isdigit():
        raise _NotReadyError(f"{place} does not speak HTTP")
    text = " ".join(body.decode("utf-8", "replace").split())
    return int(status[:3]), text if len(text) <= _LONGEST_LINE else text[:_LONGEST_LINE] + "…"


def _exchange(host: str, port: int, request: str, timeout: float) -> bytes:
    """The bytes of the answer, the whole of it within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    # As bytes, a host costs no import of the codec for international names.
    family, kind, protocol, _, address = _socket.getaddrinfo(host.encode("ascii"), port, 0, _socket.SOCK_STREAM)[0]
    connection = _socket.socket(family, kind, protocol)
    try:
        connection.settimeout(timeout)
        connection.connect(address)
        connection.sendall(request.encode("ascii"))
        answer = b""
        while not _is_whole(answer):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            piece = connection.recv(_LARGEST_ANSWER)
            if not piece:
                break
            answer += piece
    finally:
        connection.close()
    return answer


def _is_whole(answer: bytes) -> bool:
    """Whether an answer is complete before its connection ends, or is too large to read on."""
    head, end, body = answer.partition(b"\r\n\r\n")
    _, found, length = head.lower().partition(b"\r\ncontent-length:")
    length = length.partition(b"\r\n")[0].strip()
    return len(answer) > _LARGEST_ANSWER or bool(end and found and length.isdigit() and len(body) >= int(length))
