"""The documentation as a site: it is built strictly, asks nobody for anything, and shows what the repository shows."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))
ELEMENTS = re.compile(r"<(blockquote|code|em|h[1-6]|img|li|ol|pre|strong|table|td|tr|ul)\b")


def build(site: Path, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """What ``scripts/docs`` does."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site],
        cwd=root,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(folder)
    assert built.returncode == 0, built.stderr
    return folder


def html(site: Path, page: Path) -> str:
    folder = page.parent if page.name in {"README.md", "index.md"} else page.with_suffix("")
    return (site / folder / "index.html").read_text()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_has_on_the_site_what_it_has_in_the_repository(site: Path, page: Path) -> None:
    article = re.findall(r"<article.*?</article>", html(site, page), re.DOTALL)[0]
    expected = MarkdownIt("commonmark").enable("table").render((ROOT / "docs" / page).read_text())
    assert Counter(ELEMENTS.findall(article)) == Counter(ELEMENTS.findall(expected))
    assert "\\|" not in article


def test_no_page_asks_another_host_for_anything(site: Path) -> None:
    loads = re.compile(r"<(?:script|img|iframe)[^>]*\bsrc=\"?(?:https?:)?//|<link[^>]*\bhref=\"?(?:https?:)?//")
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    assert [page for page in pages if loads.search(page.read_text())] == []
    assert not [page for page in site.rglob("*.css") if re.search(r"url\(\"?https?:", page.read_text())]


def test_links_that_leave_the_folder_lead_into_the_repository(site: Path) -> None:
    assert '<a href="https://github.com/your-org/otlp-service/blob/main/helm/otlp-service/README.md">' in html(
        site, Path("kubernetes.md")
    )


@pytest.mark.parametrize(
    ("page", "added", "told"),
    [
        ("guide.md", "[a page](nowhere.md)", "nowhere.md"),
        ("guide.md", "[a heading](operations.md#nowhere)", "does not contain an anchor '#nowhere'"),
        ("decisions/README.md", "[a heading](../guide.md#nowhere)", "does not contain an anchor '#nowhere'"),
        ("guide.md", "[a file](../config/nowhere.yaml)", "guide.md: there is no config/nowhere.yaml in the repository"),
        ("new.md", "# A page that no other leads to", 'not included in the "nav"'),
    ],
)
def test_what_leads_nowhere_is_refused(tmp_path: Path, page: str, added: str, told: str) -> None:
    for name in ("config", "docs", "helm", "k8s", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("mkdocs.yml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    with (tmp_path / "docs" / page).open("a") as file:
        file.write(f"\n{added}\n")
    built = build(tmp_path / "site", tmp_path)
    assert built.returncode == 1
    assert told in built.stderr
    assert "Aborted with 1 warnings" in built.stdout + built.stderr  # and no more than that one
