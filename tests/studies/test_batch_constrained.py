"""The study of batch-constrained Q-learning, in seconds."""

import json

import pytest

from holdfast import UserError
from holdfast.studies import batch_constrained, result
from support.formulas import near


def test_the_grid_is_an_mdp():
    grid = batch_constrained.grid()
    near(grid.mdp.transition.sum(2), 1)
    near(grid.behaviour.sum(1), 1)
    near(grid.mdp.transition[0, 1, [0, 1, 5]], [0.1, 0.8, 0.1])  # right: .8; up stays, down: .1 each


@pytest.mark.slow
def test_the_study_of_extrapolation_error(tmp_path):
    args = batch_constrained.Args(problems=("trap_discrete",), sizes=(60, 400), logs=2, updates=3000)
    found = batch_constrained.batch_constrained(args)
    at = {row[1:4]: dict(zip(found.header, row, strict=True)) for row in found.rows}
    assert len(at) == 2 * 6
    assert at[400, "Q-learning", "high"]["error"] > 10
    for start in ("low", "high"):
        assert at[400, "BCQL", start]["error"] < 1.5
        assert at[400, "BCQL", start]["from exact"] < 1.0
        assert at[400, "exact", start]["from exact"] == 0
    pytest.importorskip("matplotlib")
    written = result.write(found, tmp_path)
    assert [p.suffix for p in written] == [".json", ".csv", ".png"]
    assert len(json.loads(written[0].read_text())["rows"]) == 12
    assert written[1].read_text().count("\n") == 13


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"problems": ("tarp_discrete",)}, "did you mean 'trap_discrete'"),
        ({"problems": ("bandit",)}, "unknown finite problem"),
        ({"problems": ()}, "problems is empty"),
        ({"logs": 0, "discount": 1.0}, "logs is 0, expected at least 1; discount is 1.0"),
        ({"sizes": (10, 0)}, "sizes is 0"),
    ],
)
def test_mistakes_in_the_study(wrong, said):
    with pytest.raises(UserError, match=said):
        batch_constrained.batch_constrained(batch_constrained.Args(**wrong))
