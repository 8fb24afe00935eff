"""Tabular BCQ: its update worked by hand, and its solution against the exact one of the batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast import UserError
from holdfast.algorithms import tabular_bcq
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context, Treatment
from holdfast.core.noise import Noise
from holdfast.core.spec import Batch, Seen
from holdfast.data.dataset import Dataset
from holdfast.data.feed import columns as cols
from holdfast.data.feed import treatment
from holdfast.data.feed.row_sources import rows as rows_of
from holdfast.environments import probes, tabular
from holdfast.environments.batch_mdp import batch_mdp, states_of
from support.formulas import array, near

NOISE = Noise(jax.random.PRNGKey(0))


def table():
    """Three states seen as 0, 1, 2; two actions; state 2 shows nothing."""
    support = jnp.array([[1, 1], [1, 0], [0, 0]], bool)
    q = array([0, 0], [1, 50], [7, 8])
    return tabular_bcq.State(array([0], [1], [2]), support, jnp.zeros((3, 2)), q)


def test_an_update_of_the_table():
    cfg = as_arrays(tabular_bcq.TabularBCQ(states=3, discount=0.5, critic_lr=0.5, rate_power=1.0, batch_size=5))
    rows = Batch(
        obs=array([0], [0], [0], [1], [2]),
        action=jnp.array([0, 0, 1, 0, 1]),
        reward=array(1, 3, 0, 2, 100),
        next_obs=array([1], [1], [2], [0], [0]),
        terminated=array(0, 1, 0, 0, 0),
        truncated=jnp.zeros(5),
    )
    state, _ = jax.jit(tabular_bcq.update)(cfg, table(), rows, NOISE, 0)
    # (0, 0): targets 1 + .5 * 1 (50 is not supported) and 3, mean 2.25, rate .5
    # (0, 1): at state 2 nothing is supported: the initial values stand, .5 * 8
    # (1, 0): from 1, target 2 + .5 * 0; (2, 1) is not supported and stays
    near(state.q, [[1.125, 2], [1.5, 50], [7, 8]])
    assert state.visits.tolist() == [[1, 1], [1, 0], [0, 0]]
    state, _ = jax.jit(tabular_bcq.update)(cfg, state, rows, NOISE, 1)
    # second rate .25: (1.125 + .25 * ((1.75 + 3) / 2 - 1.125), 2 + .25 * (4 - 2)), 1.5 + .25 * (2 + .5 * 2 - 1.5)
    near(state.q, [[1.4375, 2.5], [1.875, 50], [7, 8]])


def test_acting_by_the_table():
    cfg = as_arrays(tabular_bcq.TabularBCQ(states=3))
    seen = Seen(array([0], [1], [1], [2], [9]), jnp.zeros(5))
    assert tabular_bcq.act(cfg, table(), seen, (), NOISE, "best")[0].tolist() == [0, 0, 0, 1, 1]
    mask = jnp.array([[0, 1], [1, 1], [0, 1], [1, 0], [1, 1]], bool)
    masked = Seen(seen.obs, seen.reward, mask)  # the third row: its one supported action is not legal
    assert tabular_bcq.act(cfg, table(), masked, (), NOISE, "best")[0].tolist() == [1, 0, 1, 0, 1]


def logged(name, episodes=60):
    probe = probes.get(name)
    return probe, Dataset.from_arrays(**probes.collect(probe, episodes), max_episode_steps=probe.time_limit)


def trained(cfg, dataset, updates, support=None):
    """The table after training on all of a data set, and the state's observations."""
    fitted = treatment.fit(Treatment(), tabular_bcq.require_finite(cfg, dataset))
    columns = jax.tree.map(jnp.asarray, cols.prepare(dataset, fitted))
    ctx = Context(dataset.spec, columns, {})
    cfg = as_arrays(cfg)
    state = jax.jit(tabular_bcq.init)(cfg, ctx, NOISE)
    if support is not None:
        state = dataclasses.replace(state, support=support(state.support))

    @jax.jit
    def run(state):
        def step(i, state):
            noise = NOISE.fold(i)
            rows = rows_of(columns, noise.integers("rows", (cfg.batch_size,), len(dataset.rewards)))
            return tabular_bcq.update(cfg, state, rows, noise, i)[0]

        return jax.lax.fori_loop(0, updates, step, state)

    return run(state)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chain", "trap_discrete", "arms"])
@pytest.mark.parametrize("start", [0.0, 20.0])
def test_the_table_goes_to_the_exact_solution_of_the_batch(name, start):
    _, dataset = logged(name)
    cfg = tabular_bcq.TabularBCQ(states=12, discount=0.8, batch_size=32, initial_value=start)
    state = trained(cfg, dataset, 6000)
    codes, index = states_of(np.asarray(dataset.observations, np.float32))
    rows = dataset.observation_rows
    exact = batch_mdp(
        index[rows],
        dataset.actions,
        dataset.rewards,
        index[rows + 1],
        dataset.terminations,
        (len(codes), dataset.spec.action),
        initial_value=start,
    )
    near(state.codes[: len(codes)], codes)
    np.testing.assert_array_equal(state.support[: len(codes)], exact.support)
    assert not state.support[len(codes) :].any()
    wanted = exact.solve(0.8)
    near(np.where(exact.support, state.q[: len(codes)], wanted.q), wanted.q, atol=0.05 * (1 + abs(wanted.v).max()))
    near(np.where(exact.support, start, state.q[: len(codes)]), start)  # what is not logged never moves


def test_q_learning_on_the_same_log_believes_its_initial_values():
    probe, dataset = logged("trap_discrete")
    best = tabular.solve(probe.mdp, 0.8, probe.support).v.max()
    cfg = tabular_bcq.TabularBCQ(states=8, discount=0.8, batch_size=32, initial_value=20.0)
    bound = trained(cfg, dataset, 4000)
    free = trained(cfg, dataset, 4000, support=jnp.ones_like)
    logged_pairs = np.asarray(bound.support)
    assert np.asarray(bound.q)[logged_pairs].max() < 1.2 * best
    assert np.asarray(free.q)[logged_pairs].max() > 2 * best


def test_a_policy_is_loaded_without_the_data():
    _, dataset = logged("chain")
    cfg = tabular_bcq.TabularBCQ(states=6)
    whole = cols.prepare(dataset, treatment.fit(Treatment(), dataset))
    made = [jax.eval_shape(tabular_bcq.init, cfg, Context(dataset.spec, data, {}), NOISE) for data in (whole, None)]
    assert jax.tree.structure(made[0]) == jax.tree.structure(made[1])
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(made[0])] == [
        (x.shape, x.dtype) for x in jax.tree.leaves(made[1])
    ]


def test_too_many_states_are_refused():
    _, dataset = logged("chain")
    with pytest.raises(UserError, match=r"has 5 different observations, tabular_bcq takes at most 4: raise --states"):
        tabular_bcq.require_finite(tabular_bcq.TabularBCQ(states=4), dataset)
    assert tabular_bcq.require_finite(tabular_bcq.TabularBCQ(states=5), dataset) is dataset
