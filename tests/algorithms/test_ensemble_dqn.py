"""Ensemble-DQN: values and policies of the heads worked by hand, its updates against recorded ones."""

import jax.numpy as jnp
import pytest

from holdfast.algorithms import dqn, ensemble_dqn
from holdfast.core.noise import Tape
from holdfast.core.spec import Seen
from holdfast.core.trained import Trained
from holdfast.parts import optimisers
from holdfast.parts.action_values import td
from support.formulas import array, constant_values, near
from support.q_learning import same, settings, started, values
from support.tapes import Golden, replay


def test_each_head_takes_its_own_maximum():
    values = array([[1, 9], [5, 2], [0, 3]])  # B 1, A 3, K 2
    near(ensemble_dqn.best_of_each(values, None), [[5, 9]])
    near(ensemble_dqn.best_of_each(values, jnp.array([[False, True, True]])), [[5, 3]])


def test_heads_act_by_their_mean_minimum_or_lower_bound():
    q = array([5, 1], [2, 2.5], [9, -9])  # means 3, 2.25, 0; deviations 2, .25, 9
    state = dqn.State(Trained.new(constant_values(q), optimisers.adam(1.0)), None)
    seen = Seen(jnp.zeros((1, 3)), jnp.zeros(1))
    for acting, deviations, wanted in (("mean", 1.0, 0), ("min", 1.0, 1), ("lcb", 1.0, 1), ("lcb", 0.1, 0)):
        cfg = ensemble_dqn.EnsembleDQN(heads=2, acting=acting, acting_deviations=deviations)
        found, _ = ensemble_dqn.act(cfg, state, seen, (), Tape({}), "best")
        assert int(found[0]) == wanted
        assert float(ensemble_dqn.dist(cfg, state, seen, ()).logits[0, wanted]) == 0
    assert "expected one of mean, min, lcb" in ensemble_dqn.check(ensemble_dqn.EnsembleDQN(acting="max"))[0]


@pytest.mark.usefixtures("x64")
def test_recorded_updates():
    g = Golden("rem")
    heads = g.setting("n_heads")
    cfg = ensemble_dqn.EnsembleDQN(heads=heads, polyak=0.0, target_every=1, **settings(g))

    def expected(state, suffix=None):
        if suffix is None:
            return state.critic.net, state.target_critic
        return values(g, "expected/ensemble_dqn/params", suffix, heads), values(g, "target", "", heads)

    losses = {"critic/loss": "ensemble_dqn/loss"}
    replay(ensemble_dqn.algorithm, cfg, started(g, cfg, heads), g, expected, losses, tape=lambda noise: {})
    last = values(g, "expected/ensemble_dqn/params", f"/step{g.steps}", heads)
    same(last.mean(g.batch().obs), g[f"expected/ensemble_dqn/acting_q_after_step{g.steps}"])
    for step in range(1, g.steps + 1):  # the target network never moves
        following = ensemble_dqn.best_of_each(values(g, "target", "", heads)(g.batch().next_obs), None)
        same(td(g.batch(), following, cfg.discount), g[f"expected/ensemble_dqn/y/step{step}"])
