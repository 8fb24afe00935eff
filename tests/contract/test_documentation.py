"""The code of the page "Adding an algorithm" is run as it is printed."""

import re
from pathlib import Path

import pytest

from support.marks import quick
from support.small_runs import DATA, TINY, rows, tiny

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-an-algorithm.md"


@pytest.fixture(scope="module")
def page() -> dict:
    """The names that the code blocks of the page define."""
    names: dict = {"__name__": "page"}
    code = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.S))
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102
    return names


@pytest.mark.parametrize(
    "name",
    quick(["algorithm", "window_algorithm", "encoded_algorithm", "best_algorithm"], "algorithm", "window_algorithm"),
)
def test_the_algorithms_of_the_page_learn(name, page, register, tmp_path):
    algorithm = register(page[name])
    settings = {"steps": 200, "block": 20, "eval_every": 200, "config": {**TINY, "actor_lr": 1e-2}}
    run = tiny(tmp_path / "run", algorithm.name, DATA, **settings)
    losses = [float(row["actor/loss"]) for row in rows(run.path / "metrics.csv")]
    assert losses[-1] < 0.9 * losses[0]
    assert run.result["return_mean"] < 0
    action, _ = run.policy().act([[1.0, 0.0, 0.0]])
    assert action.shape == (1, 1)
    if name == "best_algorithm":
        assert float(rows(run.path / "metrics.csv")[-1]["best/held"]) > 300
