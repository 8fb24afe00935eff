"""Discrete BCQ: the allowed actions and losses against numbers worked by hand, its updates against recorded ones."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import discrete_bcq
from holdfast.core.trained import Trained
from holdfast.parts import layers, nets
from holdfast.parts.action_values import best, pick, td
from holdfast.parts.distributions import Categorical
from support.formulas import array, discrete_batch, near
from support.q_learning import same, values
from support.tapes import Golden, common, replay


def test_the_allowed_actions():
    dist = Categorical(jnp.log(array([0.5, 0.3, 0.2])))  # relative to the likeliest: 1, .6, .4
    for threshold, wanted in (
        (0.0, [1, 1, 1]),
        (0.39, [1, 1, 1]),
        (0.5, [1, 1, 0]),
        (0.7, [1, 0, 0]),
        (1.0, [1, 0, 0]),
    ):
        assert discrete_bcq.allowed(dist, None, threshold)[0].tolist() == wanted, threshold
    mask = jnp.array([[False, True, True]])  # relative to the likeliest legal one: 1, .667
    assert discrete_bcq.allowed(dist, mask, 0.6)[0].tolist() == [0, 1, 1]
    assert discrete_bcq.allowed(dist, mask, 0.0)[0].tolist() == [0, 1, 1]
    assert discrete_bcq.allowed(dist, jnp.zeros((1, 3), bool), 0.5)[0].tolist() == [1, 1, 0]  # after an end: as without


def test_the_imitation_loss():
    net = nets.CategoricalPolicy(layers.MLP((layers.Linear(jnp.zeros((3, 2)), array(math.log(3), 0.0)),), ()))
    value, metrics = discrete_bcq.imitation_loss(net, 0.1, discrete_batch(action=jnp.array([0, 1])))
    nll = -(math.log(0.75) + math.log(0.25)) / 2
    near(value, nll + 0.1 * math.log(3) ** 2 / 2)
    near([metrics["nll"], metrics["accuracy"]], [nll, 0.5])


@pytest.mark.usefixtures("x64")
def test_recorded_updates():
    g = Golden("bcq_discrete")
    cfg = discrete_bcq.DiscreteBCQ(**common(g, "imitation_lr=lr adam_eps critic_lr=lr threshold logit_penalty"))

    def imitation(root, suffix=""):
        return nets.CategoricalPolicy(g.mlp(f"{root}/imitation", suffix))

    state = discrete_bcq.State(
        Trained.new(values(g, "params"), discrete_bcq.optimisers_of(cfg).critic),
        Trained.new(imitation("params"), discrete_bcq.optimisers_of(cfg).imitation),
        values(g, "target"),
    )

    def expected(state, suffix=None):  # theirs moves a target of the imitation network too, which nothing reads
        if suffix is None:
            return state.critic.net, state.imitation.net, state.target_critic
        at = "expected/params"
        return values(g, at, suffix), imitation(at, suffix), values(g, "expected/target", suffix)

    losses = {"critic/loss": "q_loss", "imitation/nll": "imitation_loss"}
    replay(discrete_bcq.algorithm, cfg, state, g, expected, losses)

    batch = g.batch()
    for step in range(1, g.steps + 1):
        at = ("params", "target") if step == 1 else ("expected/params", "expected/target")
        suffix = "" if step == 1 else f"/step{step - 1}"
        online, dist = values(g, at[0], suffix), imitation(at[0], suffix)(batch.next_obs)
        among = discrete_bcq.allowed(dist, None, cfg.threshold)
        np.testing.assert_array_equal(among, g[f"expected/imitation_ratio_mask/step{step}"].astype(bool))
        action = best(online.mean(batch.next_obs), among)
        np.testing.assert_array_equal(action, g[f"expected/next_action/step{step}"])
        y = td(batch, pick(values(g, at[1], suffix)(batch.next_obs), action), cfg.discount)
        same(y[:, 0], g[f"expected/y/step{step}"])
        # the two losses and the penalty on the logits make up theirs
        value, metrics = discrete_bcq.imitation_loss(imitation(at[0], suffix), cfg.logit_penalty, batch)
        same(value + g[f"expected/q_loss/step{step}"], g[f"expected/total_loss/step{step}"])
        assert jnp.isfinite(metrics["accuracy"])
