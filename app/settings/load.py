"""From the sources to settings, with every mistake told at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.settings.model import Settings

__all__ = ["Loaded", "SettingsError", "load"]


class SettingsError(Exception):
    """The configuration has mistakes; `problems` tells each as ``key: value and what is wrong; remedy``."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each value came from."""

    settings: Settings
    origins: dict[str, str] = field(default_factory=dict)


def load(overrides: Mapping[str, str], environ: Mapping[str, str]) -> Loaded:
    """The settings in force.

    Raises:
        SettingsError: they have mistakes.
    """
    del overrides, environ
    return Loaded(Settings())
