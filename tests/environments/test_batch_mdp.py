"""The MDP that a batch describes, against numbers worked by hand."""

import numpy as np

from holdfast.environments.batch_mdp import batch_mdp
from support.formulas import near


def test_the_mdp_of_a_batch():
    # state 0, action 0: to 1 twice, to the end once, rewards 1, 2, 3; state 1, action 1: to 2, where nothing is logged
    made = batch_mdp(
        np.array([0, 0, 0, 1]),
        np.array([0, 0, 0, 1]),
        np.array([1.0, 2, 3, 4]),
        np.array([1, 1, 0, 2]),
        np.array([False, False, True, False]),
        (3, 2),
        initial_value=9.0,
    )
    near(made.mdp.transition[0, 0], [0, 2 / 3, 0, 1 / 3])
    assert made.counts.tolist() == [[3, 0], [0, 1], [0, 0]]
    found = made.solve(0.5)
    v1 = 4 + 0.5 * 9  # what follows keeps its initial value
    near(found.q, [[2 + 0.5 * 2 / 3 * v1, 9], [9, v1], [9, 9]])
    near(found.v, [2 + 0.5 * 2 / 3 * v1, v1, 9])
    assert batch_mdp(*(np.zeros(2, int),) * 5, (1, 2), least_count=3).support.tolist() == [[False, False]]
