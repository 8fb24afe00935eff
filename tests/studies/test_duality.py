"""The study of duality: its problem, its exact values, and its mistakes."""

import dataclasses

import numpy as np
import pytest

from holdfast import UserError
from holdfast.studies import duality

ARGS = duality.Args(steps=50, log_steps=0, states=4, episodes=60, seeds=1, hidden=(8,))


def test_the_problem_and_its_exact_solutions():
    found = duality.problem(ARGS)
    assert found.counts.sum() == found.log.n_steps
    assert 0 < found.ends <= ARGS.episodes
    # the behaviour evaluated on its own log: the shares of the rows are not discounted, so ratios differ from 1
    exact = duality.exact_ratios(found, found.behaviour)
    share = found.counts / (found.counts.sum() + found.ends)
    value = (share * exact * found.mdp.reward).sum() / (1 - duality.DISCOUNT)
    assert value == pytest.approx(duality.worth(found.mdp, found.behaviour), abs=1e-8)
    best = duality.optimum(found)
    assert best.residual < 1e-11
    assert duality.worth(found.mdp, best.policy[:-1]) > duality.worth(found.mdp, found.behaviour)
    assert duality.ratio_error(found.counts, exact, exact) == 0
    assert duality.ratio_error(found.counts, np.ones_like(exact), exact) == 1


@pytest.mark.slow
def test_the_study_in_its_smallest_form():
    """A few hundred updates: OptiDICE is better than the behaviour, and all ratios are better than ratios of 1."""
    found = duality.duality(dataclasses.replace(ARGS, steps=600, episodes=80, states=5, hidden=(16,)))
    assert {len(row) for row in found.rows} == {len(found.header)}
    at = {(row[1], row[4]): row[5] for row in found.rows}  # the last mark of each
    assert at["OptiDICE", "value"] > at["behaviour", "value"] + 3
    assert at["OptiDICE, exact", "violation of the flow"] < 1e-11
    for learner in ("OptiDICE", "best_dice", "dual_dice", "gen_dice"):
        assert at[learner, "error of ratios"] < 0.9
    assert [note.partition(":")[0] for note in found.notes] == ["best_dice", "dual_dice", "gen_dice", "OptiDICE"]


def test_mistakes():
    with pytest.raises(UserError, match="states is 2, expected at least 3; seeds is 0"):
        duality.duality(duality.Args(states=2, seeds=0))
