"""The study of one step, n steps and chunks."""

import numpy as np
import pytest

from holdfast import UserError
from holdfast.studies import chunks


def test_the_corridor():
    """25 steps to the right from the first cell to beyond the last, whose best return is the discount to the 24th."""
    cell = np.array([0, 3])
    assert chunks.moved(cell, np.array([-1.0, -0.1])).tolist() == [0, 2]
    for step in range(25):
        assert cell[0] < chunks.CELLS, step
        cell = chunks.moved(cell, np.ones(2))
    assert cell[0] == chunks.CELLS
    assert chunks.observed(np.array([2, 25])).argmax(-1).tolist() == [2, 24]
    assert chunks.best_return(0.9) == pytest.approx(0.9**24)


def test_the_log_covers_the_corridor_and_prefers_no_direction():
    data = chunks.log(chunks.Args(episodes=60))
    assert abs(np.sign(data.actions).mean()) < 0.1
    assert data.observations.sum(0).min() > 40
    assert data.rewards.sum() == data.terminations.sum() > 5
    assert data.lengths.max() == chunks.LIMIT


@pytest.mark.slow
def test_n_steps_and_chunks_reach_the_goal_and_one_step_does_not():
    args = chunks.Args(seeds=1)
    data = chunks.log(args)
    reached = {label: chunks.play(label, 1000, args, data)[0].reached for label in chunks.learners(args)}
    assert reached["IFQL, 1 step"] < 0.3
    assert reached["IFQL, 5 steps"] > 0.8
    assert reached["QC, chunks of 5"] > 0.8


def test_the_result_of_rows():
    rows = [("A, 1 step", 10, 0, 0.5, 30.0, 0.4, 0.8), ("A, 1 step", 10, 1, 1.0, 25.0, 0.8, 0.8)]
    assert chunks.means(rows, 3) == {"A, 1 step": {10: 0.75}}
    assert "A, 1 step 75%" in chunks.notes(rows)[0]


def test_mistakes():
    with pytest.raises(UserError, match="length is 1, expected at least 2; updates is empty"):
        chunks.chunks(chunks.Args(length=1, updates=()))
