"""How a stage says no. Whether a failure passes is decided where it is born; receivers translate it once.

    OtlpError
    ├── Retryable            not now: full, closing, unavailable, too slow
    │   └── OverQuota        not now, because this client has sent more than it may
    └── Refused              never
        ├── InvalidData      the data is not what it claims to be
        │   ├── TooLarge     it is above a size bound
        │   └── UnsupportedEncoding   its media type or content encoding is not known
        ├── NotAllowed       we are refused, whatever the data: credentials, path, method
        │   └── Unauthenticated       the credentials are missing or wrong
        └── PartlyRejected   the request was taken, but for some of its items

Every `reason` is a short fixed word that serves as the value of a metric's label.
"""

__all__ = [
    "InvalidData",
    "NotAllowed",
    "OtlpError",
    "OverQuota",
    "PartlyRejected",
    "Refused",
    "Retryable",
    "TooLarge",
    "Unauthenticated",
    "UnsupportedEncoding",
]


class OtlpError(Exception):
    """A request was not taken."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Retryable(OtlpError):
    """Not now. `delay` is how many seconds the one who refused asks to wait, where it said so."""

    def __init__(self, message: str, *, reason: str, delay: float | None = None) -> None:
        super().__init__(message, reason=reason)
        self.delay = delay


class OverQuota(Retryable):
    """Not now, because this client has sent more than it may; `delay` is when it may send again (429)."""

    def __init__(self, message: str, *, delay: float) -> None:
        super().__init__(message, reason="quota", delay=delay)


class Refused(OtlpError):
    """Never: the same request will be refused again."""


class InvalidData(Refused):
    """The data is refused: malformed, or not acceptable to the destination (400, INVALID_ARGUMENT)."""

    def __init__(self, message: str, *, reason: str = "invalid") -> None:
        super().__init__(message, reason=reason)


class TooLarge(InvalidData):
    """The data is above a size bound (413)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="too_large")


class UnsupportedEncoding(InvalidData):
    """The media type or the content encoding is unknown (415)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="unsupported")


class NotAllowed(Refused):
    """We are refused, whatever the data is (401, 403, 404, 405, 501 and their gRPC kin)."""

    def __init__(self, message: str, *, reason: str = "not_allowed") -> None:
        super().__init__(message, reason=reason)


class Unauthenticated(NotAllowed):
    """The client's credentials are missing or wrong (401)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="unauthenticated")


class PartlyRejected(Refused):
    """The destination took the request but for `items` of its items (OTLP, "Partial Success")."""

    def __init__(self, message: str, *, items: int) -> None:
        super().__init__(message, reason="rejected")
        self.items = items
