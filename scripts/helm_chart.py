"""Write what of the chart follows from the settings: the schema of `config` in helm/otlp-service/values.schema.json."""

import json
import re
from pathlib import Path
from typing import Any

from app.settings import schema

__all__ = ["SCHEMA", "configuration", "filled"]

SCHEMA = Path(__file__).parents[1] / "helm/otlp-service/values.schema.json"


def configuration(part: Any) -> Any:
    """A part of config/schema.json as Helm takes it.

    Go's regular expressions look nowhere ahead; and a text may be a template, which Helm fills in afterwards.
    """
    if isinstance(part, dict):
        kept = {key: configuration(each) for key, each in part.items() if key not in {"$schema", "title"}}
        if isinstance(part.get("pattern"), str):
            kept["pattern"] = re.sub(r"^\^\(\?=.*?\]\)", "^", part["pattern"]) + r"|^\{\{.*\}\}$"
        return kept
    return [configuration(each) for each in part] if isinstance(part, list) else part


def filled() -> str:
    """The chart's schema with that of the settings as they are now."""
    whole = json.loads(SCHEMA.read_text())
    whole["properties"]["config"] = configuration(schema())
    return json.dumps(whole, indent=2) + "\n"


def main() -> None:
    SCHEMA.write_text(filled())


if __name__ == "__main__":
    main()
