"""What a release needs: one version, one name of the distribution, files that the tools of a release can read."""

import re
import tomllib
from pathlib import Path

import holdfast

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_one_version():
    source = (ROOT / PROJECT["tool"]["hatch"]["version"]["path"]).read_text()
    assert f'__version__ = "{holdfast.__version__}"' in source
    assert PROJECT["project"]["dynamic"] == ["version"]
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert citation
    assert citation[1] == holdfast.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest
    assert newest[1] == holdfast.__version__.split(".dev")[0]


def test_messages_and_pages_name_the_distribution_and_its_extras():
    assert PROJECT["project"]["name"] == "holdfast-rl"
    extras = PROJECT["project"]["optional-dependencies"]
    pages = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
    named = 0
    for page in pages:
        text = page.read_text()
        assert not re.search(r"pip install ['\"]?holdfast(?!-rl)\b", text), page
        for found in re.findall(r"holdfast-rl\[([\w,-]+)\]", text):
            named += 1
            assert set(found.split(",")) <= set(extras), (page, found)
    assert named >= 5
