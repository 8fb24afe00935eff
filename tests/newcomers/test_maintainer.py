"""A maintainer looks at the build, the documentation and the release, with what must hold."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import holdfast

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *(DOCS / "algorithms").glob("*.md"), ROOT / "README.md"])


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """docs/reference.py as a module."""
    monkeypatch.syspath_prepend(str(DOCS))
    spec = importlib.util.spec_from_file_location("docs_reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.pop("notebook", None)
    return module


def test_a_broken_link_fails_the_build_and_the_checks() -> None:
    target = (ROOT / "Makefile").read_text().partition("docs: ")[2].partition("\n\n")[0]
    assert "build --clean --strict" in target
    assert "quiet" not in target
    assert "make docs" in (ROOT / ".ci" / "run").read_text()


def test_the_site_works_from_the_disk_and_without_a_network() -> None:
    settings = (ROOT / "mkdocs.yml").read_text()
    assert re.search(r"^  - offline\b", settings, flags=re.M)
    assert not re.search(r"(extra_css|extra_javascript|polyfills):.*https?:", settings)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert "```mermaid" not in text, f"{page}: the theme loads Mermaid from the network; draw an SVG in docs/assets"
        assert not re.search(r"!\[[^\]]*\]\(https?:", text), f"{page}: an image from the network"


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r": ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.M))
    written = {page.relative_to(DOCS).as_posix() for page in PAGES if page.is_relative_to(DOCS)}
    made = {
        "tutorial.md",
        "reference/python.md",
        "reference/command-line.md",
        "reference/settings.md",
        "reference/parts.md",
    }
    assert named == written | made


def test_the_reference_has_every_public_name(reference: ModuleType) -> None:
    text = "\n".join(reference.api())
    for name in holdfast.__all__:
        value = getattr(holdfast, name)
        assert not callable(value) or f".{value.__name__}" in text, name
    parts = "\n".join(reference.parts())
    assert "| `mc_return` | Discounted return" in parts
    assert "## `parts.targets`" in parts


def test_the_rooms_of_the_architecture_exist() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "architecture.md").read_text(), flags=re.M)
    assert len(rows) > 12
    for room in rows:
        assert (ROOT / "src" / "holdfast" / room).is_dir(), room


def test_messages_and_pages_name_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "holdfast-rl"
    extras = set(project["optional-dependencies"])
    for path in [*PAGES, *(ROOT / "src").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"pip install '?\"?holdfast[\[ '\"]", text), path
        named = re.findall(r"holdfast-rl\[([\w,]+)\]", text)
        assert {extra for names in named for extra in names.split(",")} <= extras, path
