"""Tabular MABCQ: its weights and its update worked by hand, and its solution against the exact one of a matrix game."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import tabular_mabcq
from holdfast.collection.teams import collect_fixed
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context, Treatment
from holdfast.core.noise import Noise
from holdfast.core.spec import Batch
from holdfast.data.feed import columns as cols
from holdfast.data.feed import treatment
from holdfast.environments.batch_mdp import batch_mdp
from holdfast.environments.deviation import solve_deviated
from holdfast.environments.jax import matrix_games
from holdfast.parts import deviations
from holdfast.studies import decentralised
from support.formulas import array, near, same

NOISE = Noise(jax.random.PRNGKey(0))
HUNT = ((0.2, 0.8), (0.2, 0.8))


def test_value_deviation():
    found = deviations.value_deviation(array(10, 0, -30, 6), array(2, 2, -6, 0))
    # 1 + 8 / 2; 1 - 2 / 2; 1 - 24 / 6 = -3 becomes 0; 1 + 6 / 1e-6
    same(found, array(5, 0, 0, 1 + 6e6))
    same(deviations.weights(array(5, 0, 2), array(0.25, 0.5, 0.5), 0.1, 10.0), array(10, 0.1, 4))


def test_an_update_of_the_table():
    """Three states, one action. From state 0, state 1 (value 10) follows in one row of four, else state 2 (value 0)."""
    share = jnp.zeros((3, 1, 4)).at[0, 0].set(array(0, 0.25, 0.75, 0)).at[1, 0, 3].set(1).at[2, 0, 3].set(1)
    state = tabular_mabcq.State(
        array([0], [1], [2]), jnp.ones((3, 1), bool), share, jnp.zeros((3, 1)), array([1], [10], [0])
    )
    cfg = as_arrays(tabular_mabcq.TabularMABCQ(states=3, discount=1.0, critic_lr=0.1, rate_power=1.0))
    rows = Batch(
        obs=array([0], [0], [1]),
        action=jnp.zeros(3, int),
        reward=array(0, 0, 10),
        next_obs=array([1], [2], [1]),
        terminated=array(0, 0, 1),
        truncated=jnp.zeros(3),
    )
    new, metrics = jax.jit(tabular_mabcq.update)(cfg, state, rows, NOISE, 0)
    # E V = 2.5; deviations 4 and 0; z = 4; weights 4 / (.25 * 4) = 4 and 0, which becomes .1
    # pair (0, 0): mean of 4 (10 - 1) and .1 (0 - 1), rate .1: 1 + .1 * (36 - .1) / 2
    # pair (1, 0): only a true end follows: deviation 1, weight 1, target 10
    near(new.q, [[1 + 0.1 * 35.9 / 2], [10], [0]])
    near(metrics["critic/weight"], (4 + 0.1 + 1) / 3)


def test_the_log_of_an_agent_gives_the_shares():
    own = collect_fixed("jax/StagHunt-v0", HUNT, 40)["agent_0"]
    fitted = treatment.fit(Treatment(), own)
    ctx = Context(own.spec, jax.tree.map(jnp.asarray, cols.prepare(own, fitted)), {})
    state = tabular_mabcq.init(as_arrays(tabular_mabcq.TabularMABCQ(states=8)), ctx, NOISE)
    view = decentralised.view_of(own)
    count = len(view.codes)
    near(state.codes[:count], view.codes)
    near(state.share[:count, :, :count], view.share[:, :, :-1])
    near(state.share[:count, :, -1], view.share[:, :, -1])


def test_the_exact_solution_of_a_game():
    """With .2 of hunting, hunting has the value 2 and the hare 5.2; with the weights, hunting has the larger one."""
    here, action, after, reward = [], [], [], []
    for a, next_state, count in ((0, 1, 2), (0, 2, 8), (1, 3, 2), (1, 4, 8)):
        here += [0] * count
        action += [a] * count
        after += [next_state] * count
        reward += [0.0] * count
    for state, paid in ((1, 10.0), (2, 0.0), (3, 6.0), (4, 5.0)):
        for a in (0, 1):
            here.append(state)
            action.append(a)
            after.append(state)
            reward.append(paid)
    ended = np.array(here) > 0
    batch = batch_mdp(*(np.array(x) for x in (here, action, reward, after)), ended, (5, 2))
    paid = np.zeros((5, 2, 6))
    paid[1:, :, 5] = np.array([10, 0, 6, 5])[:, None]
    near(batch.solve(1.0).q[0], [2, 5.2])
    found = solve_deviated(batch, paid, 1.0)
    # hunting: z = 5, weights 5 / (.2 * 5) = 5 and .1: (.2 * 5 * 10) / (.2 * 5 + .8 * .1)
    # the hare: deviations 6 / 5.2 and 5 / 5.2, z = 11 / 5.2, P^ = 6 / 11 and 5 / 11
    near(found.solution.q[0], [10 / 1.08, (36 + 25) / 11])
    assert found.solution.policy[0].argmax() == 0


@pytest.mark.slow
def test_independent_bcq_miscoordinates_and_mabcq_finds_the_optimum():
    rows = decentralised.matrix_rows(decentralised.Args(episodes=500, updates=3000))
    at = {row[:3]: row for row in rows}
    for log in ("0.05 hunt", "0.2 hunt", "0.3 hunt"):
        assert at["stag_hunt", log, "independent BCQ"][3] == 6
        assert at["stag_hunt", log, "MABCQ"][3] == 10
    assert at["stag_hunt", "0.8 hunt", "independent BCQ"][3] == 10
    assert at["climbing", "uniform", "independent BCQ"][3] == 5
    assert at["climbing", "uniform", "MABCQ"][3] == 11
    for row in rows:
        assert row[5] == pytest.approx(row[6], abs=0.05 * (1 + abs(row[6])))  # the table against the exact values
    assert matrix_games.payoff("climbing").max() == 11
