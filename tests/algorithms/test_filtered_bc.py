"""%BC: which trajectories are kept."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.algorithms import filtered_bc

pytestmark = pytest.mark.usefixtures("x64")


RETURNS = np.array([5.0, 9, 1, 9, 7])


LENGTHS = np.array([10, 40, 10, 20, 20])


@pytest.mark.parametrize(
    ("keep", "rule", "kept"),
    [
        # from the best down: 1 (9), 3 (9, a tie: the order of the data), 4 (7), 0 (5), 2 (1)
        (0.4, "trajectories", [1, 3]),  # int(.4 * 5) = 2
        (0.59, "trajectories", [1, 3]),  # int(2.95) = 2
        (0.6, "trajectories", [1, 3, 4]),
        (0.2, "trajectories", [1]),  # of two that tie, the first
        (0.01, "trajectories", [1]),  # at least one
        (1.0, "trajectories", [0, 1, 2, 3, 4]),
        (0.4, "timesteps", [1]),  # 40 <= 40 steps, 60 > 40
        (0.6, "timesteps", [1, 3]),  # 60 <= 60
        (0.79, "timesteps", [1, 3]),  # 80 > 79
        (0.8, "timesteps", [1, 3, 4]),
        (0.1, "timesteps", [1]),  # 40 > 10, but at least one
        (1.0, "timesteps", [0, 1, 2, 3, 4]),
    ],
)
def test_the_kept_trajectories_of_both_rules(keep, rule, kept):
    assert filtered_bc.chosen(RETURNS, LENGTHS, keep, rule).tolist() == kept
