"""MOReL: the threshold, halting, paths in every member, and both planners' phases."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import morel, morel_npg
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.core.tree import PyTree
from holdfast.data.feed.columns import Columns
from holdfast.dynamics import known
from holdfast.dynamics.ensemble import Outcome
from holdfast.parts import nets

pytestmark = pytest.mark.usefixtures("x64")


class Two(PyTree):
    """Two members: the observation moves by 1, and by 1 plus a tenth of itself; the reward is the observation."""

    def predict(self, obs, action):
        change = jnp.stack([jnp.ones_like(obs), 1 + obs / 10])
        mean = jnp.concatenate([change, jnp.broadcast_to(obs, change.shape)], -1)
        return mean, jnp.zeros_like(mean)

    def ends(self, obs, action, next_obs):
        return -jnp.ones(obs.shape[:-1])


def test_the_threshold_is_the_largest_disagreement_of_the_data():
    obs = jnp.asarray([[1.0], [6.0], [2.0], [9.0]])
    zeros = jnp.zeros(3)
    data = Columns(obs, jnp.arange(3), jnp.zeros((3, 1)), zeros, zeros, zeros)
    assert known.threshold(Two(), data, 2.0) == pytest.approx(0.6 / 2)


def test_a_row_that_leaves_the_known_part_halts():
    mean, std = Two().predict(jnp.asarray([[1.0], [9.0]]), None)
    verdict = known.halted(0.5, -7.0, None, None, Outcome(None, jnp.asarray([1.0, 9.0]), mean, std))
    assert verdict.halt.tolist() == [False, True]
    np.testing.assert_allclose(verdict.reward, [1, 9 - 7])


def test_paths_run_in_their_own_member_and_halt():
    cfg = morel.MOREL(paths=1, members=2, length=8, halt_reward=-10.0, termination="never")
    policy = nets.gaussian_policy(Noise(jax.random.PRNGKey(0)), Spec((1,), 1), (4,), squash="none")
    model = known.Known(Two(), jnp.asarray(0.55), None)
    start = jnp.asarray([[0.0], [0.0]])
    run = jax.jit(lambda policy, noise: morel_npg.rolled(cfg, model, policy, start, noise))
    paths = run(policy, Noise(jax.random.PRNGKey(1)))
    np.testing.assert_allclose(paths.obs[:4, 0, 0], [0, 1, 2, 3])
    np.testing.assert_allclose(paths.obs[:4, 1, 0], [0, 1, 2.1, 3.31])
    # the members differ by a tenth of the observation: more than .55 from 6 on, and that step is the last one
    assert paths.alive[:, 0].tolist() == [True] * 7 + [False]
    assert paths.halted[:, 0].tolist() == [False] * 6 + [True, False]
    assert paths.reward[6, 0] == pytest.approx(6 - 10)


def test_short_paths_do_not_count():
    cfg = morel.MOREL(paths=1, members=2, length=8, termination="never")
    policy = nets.gaussian_policy(Noise(jax.random.PRNGKey(0)), Spec((1,), 1), (4,), squash="none")
    model = known.Known(Two(), jnp.asarray(0.25), None)
    start = jnp.asarray([[0.0], [-4.0]])
    run = jax.jit(lambda policy, noise: morel_npg.rolled(cfg, model, policy, start, noise))
    paths = run(policy, Noise(jax.random.PRNGKey(1)))
    assert not paths.alive[:, 0].any()  # halted at its fourth step


def test_phases_of_the_planners():
    assert [phase.name for phase in morel.phases(morel.MOREL())] == ["model", "cloning", "policy"]
    assert [phase.name for phase in morel.phases(morel.MOREL(planner="sac"))] == ["model", "policy"]
    assert not morel.phases(morel.MOREL())[0].needs.bootstrap
