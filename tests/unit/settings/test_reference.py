"""docs/configuration.md says what the settings say."""

import shutil
import subprocess
import sys
from pathlib import Path

from app.settings.keys import KEYS
from app.settings.reference import rewrite

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    assert rewrite(PAGE.read_text("utf-8")) == PAGE.read_text("utf-8"), "run scripts/configuration-reference"


def test_every_key_has_a_meaning() -> None:
    assert [key for key, described in KEYS.items() if not described.info.description] == []


def test_a_key_is_told_with_what_it_takes_and_its_default() -> None:
    rows = PAGE.read_text("utf-8").splitlines()

    def row(key: str) -> list[str]:
        (found,) = [line for line in rows if line.startswith(f"| `{key}` |")]
        return [cell.strip() for cell in found.split("|")[2:4]]

    assert row("batch_timeout") == ["duration", "`200ms`"]
    assert row("max_age") == ["duration, or null", "`null`"]
    assert row("max_batch_bytes") == ["size", "`3.5MiB`"]
    assert row("storage") == ["`disk`, `memory`", "`disk`"]
    assert row("grpc_port") == ["whole number from 0", "`4317`"]
    assert row("multiplier") == ["number from 1", "`1.5`"]
    assert row("ca_file") == ["path, or null", "`null`"]
    assert row("headers") == ["map", "`{}`"]
    assert row("format") == ["`json`, `text`", "`null`"]
    assert row("unready_when_full") == ["true or false", "`false`"]
    assert row("OTEL_EXPORTER_OTLP_CLIENT_KEY") == ["`exporter.tls.key_file`", ""]


def test_what_is_around_the_tables_stays() -> None:
    text = "before\n<!-- generated: variables -->\nold\n<!-- end -->\nafter\n"
    assert rewrite(text).startswith("before\n<!-- generated: variables -->\n")
    assert rewrite(text).endswith("<!-- end -->\nafter\n")
    assert "old" not in rewrite(text)
    assert rewrite(rewrite(text)) == rewrite(text)


def test_the_script_brings_a_page_up_to_date(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    shutil.copy(PAGE, page)
    page.write_text(page.read_text("utf-8").replace("| `200ms` |", "| `an hour` |"), "utf-8")
    subprocess.run([sys.executable, "-m", "app.settings.reference", page], check=True, cwd=PAGE.parents[1])
    assert page.read_text("utf-8") == PAGE.read_text("utf-8")
