"""CRR: values, weights and acting worked by hand, and whole updates recorded from d3rlpy."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import crr
from holdfast.core.noise import Noise, Tape
from holdfast.core.spec import Seen
from holdfast.core.trained import Trained
from holdfast.parts import layers, nets, optimisers
from holdfast.parts.distributions import Categorical, Normal
from support.formulas import array, critics, rows, same
from support.tapes import Golden, common, delayed_actor, replay

pytestmark = pytest.mark.usefixtures("x64")


def test_crr_values_of_a_continuous_policy(run):
    """Critics Q = a and 3 a - 1, a normal of mean .2 and deviation .1 at normals -1, 0, 1, 20 (clipped to 1)."""
    critic = nets.Critic(layers.MLP((layers.Linear(array([[0], [1]], [[0], [3]]), array([0], [-1])),), ()))
    dist, obs = Normal(array([0.2]), jnp.log(array([0.1]))), array([1])
    tape = {"actor_actions": array([[-1]], [[0]], [[1]], [[20]])}
    mean = [2 * a - 0.5 for a in (0.1, 0.2, 0.3, 1)]
    for kind, wanted in (("mean", np.mean(mean)), ("max", max(mean))):
        cfg = crr.CRR(n_actions=4, advantage=kind)
        same(run(lambda t, cfg=cfg: crr.policy_value(cfg, dist, critic, obs, Tape(t)), tape), [wanted])
    same(run(lambda t: crr.next_value(dist, critic, obs, Tape(t)), {"target_action": array([1])}), [min(0.3, -0.1)])


def discrete_critic(*values):
    """Critics with the same values in every state."""
    nets_ = (layers.Linear(jnp.zeros((len(values), 1, len(values[0]))), array(*values)),)
    return nets.Critic(layers.MLP(nets_, ()), True)


def test_crr_values_of_a_discrete_policy_are_exact_and_legal(run):
    critic = discrete_critic([1, 2, 9], [3, 0, 9])
    logits = jnp.log(array([0.1, 0.3, 0.6]))
    dist = Categorical(logits).among(jnp.asarray([[True, True, False]]))  # 1/4, 3/4
    obs = array([1])
    same(run(lambda: crr.next_value(dist, critic, obs, None)), [0.25 * 1 + 0.75 * 0])
    same(run(lambda: crr.policy_value(crr.CRR(), dist, critic, obs, None)), [0.25 * 2 + 0.75 * 1])
    same(run(lambda: crr.policy_value(crr.CRR(advantage="max"), dist, critic, obs, None)), [2.0])


@pytest.mark.slow
def test_crr_weights_are_strict_and_capped():
    """Binary: an advantage of exactly 0 is not cloned. The critic does not move (rate 0)."""
    actor = nets.CategoricalPolicy(layers.MLP((layers.Linear(jnp.zeros((1, 2)), jnp.zeros(2)),), ()))
    for weight, advantage, wanted in (
        ("binary", "max", [0, 0]),
        ("binary", "mean", [1, 0]),
        ("exp", "mean", [2.5, math.exp(-1)]),
    ):
        cfg = crr.CRR(
            weight=weight,
            advantage=advantage,
            discrete_temperature=1.0,
            max_weight=2.5,
            critic_lr=0.0,
            polyak=0.0,
            actor_decay_steps="constant",
        )
        critic = discrete_critic([2, 0], [2, 0])
        state = crr.State(
            Trained.new(actor, crr.optimisers_of(cfg).actor),
            Trained.new(critic, crr.optimisers_of(cfg).critic),
            actor,
            critic,
        )
        for row, action in enumerate((0, 1)):  # advantage over the mean: 1 and -1; over the best: 0 and -2
            _, found = crr.update(cfg, state, rows(array([1]), jnp.asarray([action])), Noise(jax.random.PRNGKey(0)), 0)
            same(found["actor/weight"], wanted[row])


def test_critic_weighted_policy_of_discrete_actions():
    """pi exp(Q) over legal actions, exactly."""
    net = layers.MLP((layers.Linear(jnp.zeros((1, 3)), jnp.log(array(0.2, 0.3, 0.5))),), ())
    tx, critic = optimisers.adam(1e-3), discrete_critic([1, 0, 5], [1, 2, 5])
    actor = nets.CategoricalPolicy(net)
    state = crr.State(Trained.new(actor, tx), Trained.new(critic, tx), actor, critic)
    seen = Seen(array([1]), jnp.zeros(1), jnp.asarray([[True, True, False]]))
    dist = crr.dist(crr.CRR(acting="critic"), state, seen, ())
    wanted = np.array([0.2 * math.e, 0.3 * math.e, 0])
    same(jnp.exp(dist.log_probs()), [wanted / wanted.sum()])


@pytest.mark.slow
def test_critic_weighted_policy_of_continuous_actions():
    """Of draws, one with probability proportional to exp Q; the best is the draw of the highest Q and no chance."""
    cfg = crr.CRR(acting="critic", acting_actions=2)
    net = layers.MLP((layers.Linear(jnp.zeros((1, 2)), array(0, 0)),), ())
    actor, critic = nets.GaussianHeadsPolicy(net, squash="mean"), critics([0, 4])
    tx = optimisers.adam(1e-3)
    state = crr.State(Trained.new(actor, crr.optimisers_of(cfg).actor), Trained.new(critic, tx), actor, critic)
    n = 20_000
    seen = Seen(jnp.zeros((n, 1)), jnp.zeros(n))
    eps = jnp.broadcast_to(array(0.1, 0.3)[:, None, None], (2, n, 1))

    class Half(Noise):
        """The same two draws for each row, and chance in the choice."""

        def normal(self, name, shape, dtype=None):
            return eps

    action, _ = crr.act(cfg, state, seen, (), Half(jax.random.PRNGKey(0)), "sample")
    share = float((action[:, 0] == 0.3).mean())
    assert share == pytest.approx(1 / (1 + math.exp(-0.8)), abs=0.01)  # Q differs by 4 * .2
    best = [crr.act(cfg, state, seen, (), Noise(jax.random.PRNGKey(i)), "best")[0] for i in (0, 1)]
    np.testing.assert_array_equal(*best)
    assert (np.asarray(best[0]) == best[0][0, 0]).all()


@pytest.mark.parametrize("name", ["crr_exp_mean", "crr_binary_max"])
def test_crr(name):
    g = Golden(name)
    hard = g.setting("target_update_type") == "hard"
    settings = common(g, "n_action_samples", "max_weight", "actor_lr", "critic_lr")
    cfg = crr.CRR(
        weight=g.setting("weight_type"),
        actor_decay_steps="constant",
        advantage=g.setting("advantage_type"),
        temperature=g.setting("beta"),
        target_every=g.setting("target_update_interval") if hard else 1,
        n_actions=settings.pop("n_action_samples"),
        **(settings | ({"polyak": 1.0} if hard else {})),
    )

    def actor(root, suffix=""):
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low=-20.0, high=2.0, squash="mean")

    state, expected = delayed_actor(g, crr.optimisers_of(cfg), actor)

    for step in range(1, g.steps + 1):
        for ours in ("adv", "weight"):
            g.arrays[f"expected/mean_{ours}/step{step}"] = g[f"expected/{ours}/step{step}"].mean()
    losses = {"critic/loss": "critic_loss", "actor/loss": "actor_loss", "actor/weight": "mean_weight"}
    losses |= {"advantage": "mean_adv"}
    replay(
        crr.algorithm,
        cfg,
        state,
        g,
        expected,
        losses,
        tape=lambda d: d | {"actor_actions": d["actor_actions"].swapaxes(0, 1)},
    )
