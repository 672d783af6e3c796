"""What of a configuration can take effect while the service runs."""

from collections.abc import Iterator
from functools import reduce
from typing import Any

from app.settings.check import conflicts
from app.settings.keys import KEYS
from app.settings.load import Loaded, SettingsError
from app.settings.model import ServerTlsSettings, Settings
from app.settings.show import written

__all__ = ["adopt", "changes", "is_live"]

_LIVE = {
    "auth",
    "exporter.headers",
    "exporter.headers_file",
    "exporter.retry",
    "exporter.tls",
    "logging.level",
    "server.tls",
    "tracing.sampling_rate",
}
"""Keys that take effect at once, and sections of them."""


def is_live(key: str) -> bool:
    """Whether another value of a key takes effect while the service runs."""
    return key in _LIVE or key.rpartition(".")[0] in _LIVE


def adopt(loaded: Loaded, read: Loaded) -> Loaded:
    """What is in force when of `read` all is that can be; the rest is as in `loaded`.

    Raises:
        SettingsError: what can take effect does not go with what cannot.
    """
    old, new = loaded.settings, read.settings
    server_tls = new.server.tls if _same_kind(old.server.tls, new.server.tls) else old.server.tls
    exporter = {name: getattr(new.exporter, name) for name in ("headers", "headers_file", "retry", "tls")}
    settings = old.model_copy(
        update={
            "auth": new.auth,
            "exporter": old.exporter.model_copy(update=exporter),
            "logging": old.logging.model_copy(update={"level": new.logging.level}),
            "server": old.server.model_copy(update={"tls": server_tls}),
            "tracing": old.tracing.model_copy(update={"sampling_rate": new.tracing.sampling_rate}),
        }
    )
    if problems := [f"{keys[0]}: {text}" for keys, text in conflicts(settings)]:
        raise SettingsError(problems)
    origins = {
        key: read.origins[key] if _value(settings, key) == _value(new, key) else loaded.origins[key] for key in KEYS
    }
    return Loaded(settings, origins, read.again)


def changes(before: Loaded, after: Loaded) -> Iterator[tuple[str, str, str, str]]:
    """Each key of which the value is another: with it before and after, as YAML has it, and where it came from.

    Secrets are masked.
    """
    for key in KEYS:
        then, now = _value(before.settings, key), _value(after.settings, key)
        if then != now:
            yield key, written(before.settings, key), written(after.settings, key), after.origins[key]


def _same_kind(old: ServerTlsSettings, new: ServerTlsSettings) -> bool:
    """Whether clients are asked for the same; servers cannot begin or end to speak TLS while they run."""

    def kind(tls: ServerTlsSettings) -> tuple[bool, bool]:
        return tls.cert_file is None, tls.client_ca_file is None

    return kind(old) == kind(new)


def _value(settings: Settings, key: str) -> Any:
    return reduce(getattr, key.split("."), settings)
