"""The configuration in force."""

from collections.abc import Callable, Sequence
from itertools import groupby

from app.console.html import tag
from app.console.page import Part, table
from app.console.views.view import Look
from app.settings import Loaded, in_force

__all__ = ["ConfigurationView"]


class ConfigurationView:
    """Each key with its value and where that came from, as ``otlp-service config show`` tells; secrets are masked."""

    title = "Configuration"

    def __init__(self, loaded: Callable[[], Loaded]) -> None:
        self._loaded = loaded

    async def parts(self, look: Look) -> Sequence[Part]:  # noqa: ARG002 - it has no parameters
        parts: list[Part] = [
            tag("p", "What is in force, and where each value came from. Secrets are masked.", class_="note")
        ]
        for section, keys in groupby(in_force(self._loaded()), lambda each: each[0].rpartition(".")[0]):
            rows = [
                [
                    tag("code", key.rpartition(".")[2]),
                    tag("code", value),
                    "default" if origin == "default" else tag("b", origin),
                ]
                for key, value, origin in keys
            ]
            parts += [
                tag("h2", section),
                table(f"The section {section}", ["Key", "Value", "From"], rows, ["key", "wide", "from"]),
            ]
        return parts
