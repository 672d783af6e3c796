"""Imports point one way; the contracts in pyproject.toml say which."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINTER = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def lint(project: Path) -> subprocess.CompletedProcess[str]:
    # The copy that is looked at, rather than the project where it is installed: the current folder comes first.
    return subprocess.run(
        [sys.executable, "-c", LINTER], cwd=project, capture_output=True, encoding="utf-8", check=False
    )


def copy_of_the_project(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_imports_point_one_way() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("app/core/request.py", "import app.settings"),
        ("app/core/request.py", "import grpc"),
        ("app/queue/contract.py", "import app.pipeline"),
        ("app/pipeline/__init__.py", "import aiohttp"),
        ("app/exporters/__init__.py", "import app.receivers"),
        ("app/receivers/__init__.py", "import app.service"),
        ("app/receivers/__init__.py", "import app.telemetry.tracing"),
        ("app/send/run.py", "import app.service"),
    ],
)
def test_an_import_the_wrong_way_is_seen(tmp_path: Path, module: str, line: str) -> None:
    project = copy_of_the_project(tmp_path)
    path = project / module
    path.write_text(f"{path.read_text()}\n{line}\n")
    result = lint(project)
    assert result.returncode == 1, result.stdout + result.stderr
    assert line.removeprefix("import ") in result.stdout


def test_a_room_without_a_place_is_seen(tmp_path: Path) -> None:
    project = copy_of_the_project(tmp_path)
    (project / "app" / "helpers.py").write_text("")
    result = lint(project)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "helpers" in result.stdout
