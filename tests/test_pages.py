"""The code of pages is run as it is printed."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest

from holdfast.algorithms import registry
from holdfast.data.tables.roles import schema_of

DOCS = Path(__file__).parent.parent / "docs"
LOGS = Path(__file__).parent / "data" / "tables" / "open-bandit"


@pytest.fixture
def run_page(tmp_path, monkeypatch):
    """Runs the code of a page and returns the names that it defines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})

    def run(page: str, skip: int = 0) -> dict:
        found: dict = {"__name__": "__main__"}
        text = (DOCS / page).read_text(encoding="utf-8")
        code = "\n\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.S)[skip:])
        exec(compile(code, page, "exec"), found)  # noqa: S102
        return found

    return run


@pytest.mark.slow
def test_from_python(run_page):
    names = run_page("from-python.md")
    assert names["shaped"].fingerprint != names["data"].fingerprint
    assert names["run"].result == names["again"].result
    assert names["last"].shape == (20,)
    assert names["log_density"].shape == (5,)
    assert names["found"].lengths.tolist() == [[20] * 3]
    assert names["found"].returns.tolist() == names["same"].returns.tolist()
    assert names["cloned"].result["algorithm"] == "my_bc"


@pytest.mark.slow
def test_own_networks(run_page):
    names = run_page("own-networks.md")
    assert names["wide"].result["networks"]["critic_hidden"] == [32]
    assert names["mixed"].result["networks"]["network"] == {"critic": "object/Residual"}
    assert names["seen"].policy().spec.encoder == "object/Features"


@pytest.mark.slow
def test_tables(run_page, tmp_path):
    for log in LOGS.glob("*.gz"):
        shutil.copy(log, tmp_path)
    names = run_page("tables.md")
    assert names["log"].n_episodes == names["log"].n_steps == names["other"].n_steps == 500
    assert names["item"] in range(46)
    assert sum(names["chances"].values()) == pytest.approx(1, abs=1e-5)
    assert ((names["values"] > 0) & (names["values"] <= 1)).all()
    assert names["other"].table == names["policy"].table
    assert names["data"].observations[:, 0].tolist() == [118, 121, 125, 125, 98, 118, 104, 104]
    toml = re.findall(r"```toml\n(.*?)```", (DOCS / "tables.md").read_text(encoding="utf-8"), flags=re.S)
    assert schema_of(tomllib.loads(toml[0]), "the page").cluster == "ward"


@pytest.mark.slow
def test_shipping(run_page):
    names = run_page("shipping.md", skip=2)  # the first two read files of a service
    assert names["scores"].shape == names["other"].shape == (3,)
    assert names["low"].all()
    assert (names["action"] == 0).all()


@pytest.mark.slow
def test_explaining(run_page):
    names = run_page("explaining.md")
    assert len(names["changes"].groups) == 12
    assert names["why"].outputs == ("actions[0]",)
    assert all(choice.value is not None for choice in names["why"].choices)


@pytest.mark.slow
def test_ope(run_page):
    names = run_page("ope.md")
    assert names["result"].episodes == names["parts"]["test"].n_episodes
    assert names["result"].table() or names["result"].refusals()
    better = names["better"]
    assert better["dr"].interval.low < 0.7 / 3 < better["dr"].interval.high
    assert better["dr"].difference.low > 0
    low, high = better.guarantee
    assert low < 0.7 / 3 < high
