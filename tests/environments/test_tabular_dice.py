"""Exact DICE solutions satisfy the flow, agree with occupancies, and lie between the data and the optimum."""

import numpy as np
import pytest

from holdfast.environments import tabular
from holdfast.environments.tabular import Tabular
from holdfast.environments.tabular_dice import dual_dice, onward, opti_dice

GAMMA = 0.9


def problem(seed: int, ends: bool) -> tuple[Tabular, np.ndarray, np.ndarray]:
    """A random MDP, a behaviour policy, and its normalised visits."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(6, 0.3), (6, 3))
    terminal = np.array([False] * 5 + [ends])
    start = rng.dirichlet(np.ones(6)) * ~terminal
    mdp = Tabular(transition, rng.normal(size=(6, 3)) * ~terminal[:, None], terminal, start / start.sum())
    behaviour = rng.dirichlet(np.ones(3), 6)
    return mdp, behaviour, (1 - GAMMA) * tabular.occupancy(mdp, behaviour, GAMMA)


def violation(mdp: Tabular, visits: np.ndarray) -> float:
    left = (1 - GAMMA) * mdp.start + GAMMA * np.einsum("sa,sat->t", visits, onward(mdp))
    return np.abs(left - visits.sum(1)).max()


def worth(mdp: Tabular, policy: np.ndarray) -> float:
    return tabular.value(mdp, policy, GAMMA).v @ mdp.start


@pytest.mark.parametrize(("seed", "ends"), [(0, False), (1, True), (2, True)])
def test_opti_dice(seed, ends):
    mdp, behaviour, data = problem(seed, ends)
    best = tabular.solve(mdp, GAMMA).v @ mdp.start
    values = []
    for alpha in (1.0, 0.1, 1e-3):
        found = opti_dice(mdp, data, GAMMA, alpha, behaviour)
        assert found.residual < 1e-11
        assert violation(mdp, found.ratio * data) < 1e-11
        # the visits of the policy are those that the ratios say, and there is no gap between primal and dual
        np.testing.assert_allclose(
            (1 - GAMMA) * tabular.occupancy(mdp, found.policy, GAMMA), found.ratio * data, atol=1e-9
        )
        primal = (data * (found.ratio * mdp.reward - 0.5 * alpha * (found.ratio - 1) ** 2)).sum()
        assert primal == pytest.approx(found.dual, abs=1e-10)
        values.append(worth(mdp, found.policy))
    assert worth(mdp, behaviour) < values[0] < values[1] < values[2] <= best + 1e-9
    assert values[2] == pytest.approx(best, abs=0.05 * abs(best))


def test_without_cover_it_says_so():
    mdp, behaviour, data = problem(0, False)
    data = data.copy()
    data[mdp.start.argmax()] = 0
    with pytest.raises(ValueError, match="the data do not cover a policy"):
        opti_dice(mdp, data, GAMMA, 0.1, behaviour)


@pytest.mark.parametrize("ends", [False, True])
def test_dual_dice_is_the_ratio_of_occupancies(ends):
    mdp, _, data = problem(3, ends)
    policy = np.random.default_rng(9).dirichlet(np.ones(3), 6)
    visits = (1 - GAMMA) * tabular.occupancy(mdp, policy, GAMMA)
    found = dual_dice(mdp, policy, data, GAMMA)
    known = data > 0
    np.testing.assert_allclose(found.ratio[known], visits[known] / data[known], rtol=1e-8)
    value = (data * found.ratio * mdp.reward).sum() / (1 - GAMMA)
    assert value == pytest.approx(worth(mdp, policy), abs=1e-8)
    mass = (data * found.ratio).sum()  # with ends the sum of the visits is below 1: a self-normalised value is wrong
    assert (mass < 0.99) == ends
