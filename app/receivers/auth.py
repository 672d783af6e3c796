"""Who sends: clients show an API key, and each key may send so much.

A key comes as ``Authorization: Bearer KEY`` or ``x-api-key: KEY``, over HTTP as over gRPC. In memory there are only
hashes, under a secret of this process: what is looked up tells nothing of the keys by the time that it takes.
"""

import os
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b

from app.core.errors import OverQuota, Unauthenticated
from app.core.log import Log
from app.core.request import Signal
from app.settings import AuthSettings, Quota, Watched
from app.settings.api_keys import all_keys
from app.telemetry.metrics import Metrics
from app.telemetry.series import Count

__all__ = ["Doorkeeper", "Holder"]

_BEARER = "bearer"
_log = Log(__name__)


class Allowance:
    """A token bucket that may be overdrawn: who has something left may send one request of any size, and then waits."""

    def __init__(self, what: str, rate: float, burst: float, monotonic: Callable[[], float]) -> None:
        self._what = what
        self._rate = rate
        self._most = rate * burst
        self._left = self._most
        self._monotonic = monotonic
        self._at = monotonic()

    def check(self) -> None:
        """Refuse while it is overdrawn.

        Raises:
            OverQuota: it is; says for how long.
        """
        now = self._monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left <= 0:
            delay = -self._left / self._rate
            raise OverQuota(f"more than {self._rate:g} {self._what} a second; come back in {delay:.1f} s", delay=delay)

    def take(self, amount: float) -> None:
        """Take from it; a negative amount is given back."""
        self._left = min(self._most, self._left - amount)


class Holder:
    """Who holds a key, by its name."""

    def __init__(self, name: str, quota: Quota | None, metrics: Metrics, monotonic: Callable[[], float]) -> None:
        self.name = name
        self._counters: dict[Signal, Count] = {
            signal: metrics.auth_items.labels(name, signal.value) for signal in Signal
        }
        limits = quota or Quota()

        def allowance(what: str, rate: float | None) -> Allowance | None:
            return None if rate is None else Allowance(what, rate, limits.burst, monotonic)

        self._items = allowance("items", limits.items_per_second)
        self._bytes = allowance("bytes", limits.bytes_per_second)

    def check(self) -> None:
        """See whether this one may send something now.

        Raises:
            OverQuota: not now.
        """
        for allowance in (self._items, self._bytes):
            if allowance is not None:
                allowance.check()

    def spend(self, items: int, size: int) -> None:
        """Take a request from what may be sent; with negative numbers give it back."""
        if self._items is not None:
            self._items.take(items)
        if self._bytes is not None:
            self._bytes.take(size)

    def sent(self, signal: Signal, items: int) -> None:
        """Count what was taken of this one."""
        self._counters[signal].inc(items)


class Doorkeeper:
    """Knows the keys that are in force; those of a file may change at any time."""

    def __init__(
        self, settings: AuthSettings, metrics: Metrics, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._monotonic = monotonic
        self._keys = _Keys(settings, {}, metrics, monotonic)

    @property
    def asks(self) -> bool:
        """Whether a key is needed. A file without keys lets nobody in."""
        return self._keys.asks

    def prepare(self, settings: AuthSettings) -> Callable[[], None]:
        """Read the keys of other settings; what is returned puts them in force.

        What a name has sent lately counts on, unless its quota is another.

        Raises:
            OSError, ValueError: as at the start.
        """
        keys = _Keys(settings, self._keys.known(settings), self._metrics, self._monotonic)

        def switch() -> None:
            self._keys = keys

        return switch

    def holder(self, authorization: str, api_key: str) -> Holder:
        """Return who shows this key.

        Raises:
            Unauthenticated: it is missing, or none of ours; never says which part of it is wrong.
        """
        scheme, _, key = authorization.replace("\t", " ").partition(" ")
        if scheme.lower() != _BEARER:  # what is of another kind may be for somebody on the way
            key = api_key
            if scheme and not key:
                raise Unauthenticated("this kind of Authorization is not known; send Authorization: Bearer KEY")
        if not key.strip():
            raise Unauthenticated("an API key is needed; send Authorization: Bearer KEY or x-api-key: KEY")
        holder = self._keys.holder(key.strip())
        if holder is None:
            raise Unauthenticated("the API key is not known")
        return holder


class _Keys:
    """The keys of one configuration."""

    def __init__(
        self, settings: AuthSettings, known: dict[str, Holder], metrics: Metrics, monotonic: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._monotonic = monotonic
        self._secret = os.urandom(32)
        self._named = known
        self._file: Watched[Mapping[bytes, Holder]] | None = None
        self._fixed: Mapping[bytes, Holder] = {}
        if settings.api_keys_file is None:
            self._fixed = self._read(b"")
        else:
            self._file = Watched(
                "auth.api_keys_file",
                (settings.api_keys_file,),
                self._read,
                monotonic=monotonic,
                reloaded=lambda well: metrics.reloaded("auth.api_keys_file", well),
            )

    @property
    def asks(self) -> bool:
        return self._file is not None or bool(self._fixed)

    def known(self, settings: AuthSettings) -> dict[str, Holder]:
        """Those of which the quota is the same by other settings."""
        ours, theirs = self._settings.quotas, settings.quotas
        return {name: holder for name, holder in self._named.items() if ours.get(name) == theirs.get(name)}

    def holder(self, key: str) -> Holder | None:
        holders = self._fixed if self._file is None else self._file.current()
        return holders.get(self._hash(key))

    def _hash(self, key: str) -> bytes:
        return blake2b(key.encode("utf-8", "surrogateescape"), key=self._secret, digest_size=32).digest()

    def _read(self, content: bytes) -> Mapping[bytes, Holder]:
        keys = all_keys(self._settings.api_keys, content.decode(), self._settings.quotas)
        for name in sorted(self._settings.quotas.keys() - keys.keys()):
            _log.warning(
                "quota_without_key",
                "auth.quotas: %(name)r names no key; what has no quota may send without bound",
                kind=name,
                name=name,
            )
        return {self._hash(key): self._holder(name) for name, key in keys.items()}

    def _holder(self, name: str) -> Holder:
        """The same for the same name: what was sent under a key that is replaced counts on."""
        if name not in self._named:
            self._named[name] = Holder(name, self._settings.quotas.get(name), self._metrics, self._monotonic)
        return self._named[name]
