"""docs/security.md names tests and defaults that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/security.md").read_text()


def defaults() -> dict[str, str]:
    """Each setting's default as docs/configuration.md has it, which a test of its own keeps true."""
    found: dict[str, str] = {}
    section = ""
    for line in (ROOT / "docs/configuration.md").read_text().splitlines():
        if heading := re.fullmatch(r"#+ ([a-z_.]+)", line):
            section = heading[1]
        elif row := re.match(r"\| `(\w+)` \| [^|]* \| `([^|]*)` \|", line):
            found[f"{section}.{row[1]}"] = row[2]
    return found


def test_every_test_that_it_names_is_there() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 50
    assert [name for name in sorted(named) if f"def {name}(" not in sources] == []


def test_every_default_that_it_names_is_in_force() -> None:
    named = dict(re.findall(r"`([a-z_]+\.[a-z_.]+)` \((\w+)\)", PAGE))
    assert len(named) >= 10
    known = defaults()
    assert named == {name: known.get(name) for name in named}
