"""The code of the pages "From Python" and "Tables" is run as it is printed."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest

from holdfast.algorithms import registry
from holdfast.data.tables.schema import Schema

DOCS = Path(__file__).parent.parent / "docs"
LOGS = Path(__file__).parent / "data" / "tables" / "open-bandit"


def names_of(page):
    """The names that the code of a page defines."""
    found: dict = {"__name__": "__main__"}
    code = "\n\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S))
    exec(compile(code, str(page), "exec"), found)  # noqa: S102
    return found


@pytest.fixture
def names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})
    return names_of(DOCS / "from-python.md")


def test_from_python(names):
    assert names["shaped"].fingerprint != names["data"].fingerprint
    assert names["run"].result == names["again"].result
    assert names["last"].shape == (20,)
    assert names["log_density"].shape == (5,)
    assert names["found"].lengths.tolist() == [[20] * 3]
    assert names["found"].returns.tolist() == names["same"].returns.tolist()
    assert names["cloned"].result["algorithm"] == "my_bc"


def test_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for log in LOGS.glob("*.gz"):
        shutil.copy(log, tmp_path)
    names = names_of(DOCS / "tables.md")
    assert names["log"].n_episodes == names["log"].n_steps == names["other"].n_steps == 500
    assert names["item"] in range(46)
    assert sum(names["chances"].values()) == pytest.approx(1, abs=1e-5)
    assert ((names["values"] > 0) & (names["values"] <= 1)).all()
    assert names["other"].table == names["policy"].table
    assert names["data"].observations.tolist() == [
        [118, 0],
        [121, 0],
        [125, 0],
        [125, 0],
        [98, 1],
        [118, 1],
        [104, 0],
        [104, 0],
    ]
    toml = re.findall(r"```toml\n(.*?)```", (DOCS / "tables.md").read_text(encoding="utf-8"), flags=re.S)
    assert Schema.from_dict(tomllib.loads(toml[0]), "the page").cluster == "ward"
