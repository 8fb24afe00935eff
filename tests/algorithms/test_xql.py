"""XQL: formulas worked by hand, and update steps recorded from the authors' code."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from holdfast.algorithms import xql
from holdfast.core.contract import Context
from holdfast.core.noise import Tape
from holdfast.core.spec import Spec
from holdfast.core.trained import Trained
from holdfast.core.tree import named_leaves
from holdfast.parts import nets, optimisers
from support.formulas import NOISE, array, batch, critics, same
from support.tapes import Golden, common, replay

pytestmark = pytest.mark.usefixtures("x64")


def test_gumbel_loss(run):
    # z = .5, 1, -1.5; m = 1
    z = np.array([0.5, 1, -1.5])
    same(run(xql.gumbel, array(1, 2, -3), 2.0, 7.0), (np.exp(z) - z - 1) / math.e)
    # all below -1: m = -1
    z = np.array([-2.0, -3.0])
    same(run(xql.gumbel, array(-2, -3), 1.0, 7.0), (np.exp(z) - z - 1) * math.e)
    # the cap is on z and comes before the maximum: 20 / 2 = 10 -> 7
    z = np.array([7.0, 1.0])
    same(run(xql.gumbel, array(20, 2), 2.0, 7.0), (np.exp(z) - z - 1) * math.exp(-7))
    assert np.isfinite(run(xql.gumbel, array(1e6, -1e6), 0.5, 1e6)).all()
    # slope for V = Q - u: (1 - e^z) e^-m / beta, with m held
    slope = run(jax.grad(lambda v: xql.gumbel(array(1, 2, -3) - v, 2.0, 7.0).sum()), array(0, 0, 0))
    same(slope, (1 - np.exp([0.5, 1, -1.5])) / math.e / 2)


@pytest.mark.parametrize("beta", [0.5, 2.0, 50.0])
def test_the_minimiser_of_the_gumbel_loss_is_the_soft_maximum(run, beta):
    q = array(-1, 0, 0.5, 4, 9)
    v = beta * special.logsumexp(q / beta - math.log(5))
    slope = run(jax.grad(lambda v: xql.gumbel(q - v, beta, 100.0).mean()), jnp.asarray(v))
    assert abs(slope) < 1e-12
    assert np.mean(q) < v < np.max(q)


def test_the_critic_loss_is_linear_beyond_delta(run):
    critic, b = critics([1, 0, 0], [2, 0, 0]), batch()  # Q1 = 1, 2; Q2 = 2, 4
    loss, _ = run(xql.critic_loss, critic, array(0, 30), b, 20.0)
    # errors 1, -28; 2, -26: .5, 20 * 8 + 200; 2, 20 * 6 + 200
    same(loss, (0.5 + 360) / 2 + (2 + 320) / 2)


def test_the_smoothed_rows():
    b = batch()
    obs, action = xql.smoothed(xql.XQL(), b, Tape({}))
    assert obs is b.obs
    assert action is b.action
    uniform, eps = array([0.5, 1], [0, 0.25], [0.75, 0.5], [1, 0]), array(*[[1, -9]] * 6)
    tape = Tape({"random_action": uniform, "action_noise": eps})
    obs, action = xql.smoothed(xql.XQL(random_actions=2, action_noise=0.1), b, tape)
    same(obs, [[1], [2]] * 3)
    plain = np.concatenate([[[0.5, 0], [0, -1]], 2 * np.asarray(uniform) - 1])
    same(action, np.clip(plain + np.array([0.1, -0.5]), -1, 1))  # -.9 is clipped to -.5
    assert not tape.unused()


@pytest.mark.slow
def test_the_value_is_fitted_on_random_actions_too():
    """With one layer everywhere: V's loss over the data's rows and the random ones, Q at each."""
    spec, cfg = Spec((1,), 2), xql.XQL(random_actions=1, value_updates=3, hidden=(4,), actor_decay_steps=10)
    state = xql.init(cfg, Context(spec), NOISE)
    uniform = array([0.5, 1], [0, 0.25])
    b, tape = batch(), Tape({"random_action": uniform})
    after, metrics = xql.update(cfg, state, b, tape, jnp.asarray(0))
    obs, action = np.tile(b.obs, (2, 1)), jnp.concatenate([b.action, 2 * uniform - 1])
    q, value = state.target_critic(obs, action).min(0), state.value
    for _ in range(3):
        value, found = value.step(optimisers.adam(cfg.value_lr), xql.value_loss, q, obs, cfg, name="value")
    same(metrics["value/loss"], found["value/loss"])
    for key, leaf in named_leaves(after.value).items():
        same(leaf, named_leaves(value)[key])


@pytest.mark.parametrize("name", ["xql", "xql_all_negative"])
def test_recorded_steps(name):
    g = Golden(name)
    cfg = xql.XQL(
        **common(
            g,
            "gumbel_temperature=loss_temp max_exponent=max_clip inverse_temperature=temperature "
            "actor_decay_steps=max_steps value_layer_norm=layernorm max_weight huber_delta actor_lr value_lr "
            "critic_lr",
        )
    )
    norm = {"norm": "pre" if cfg.value_layer_norm else "none", "eps": g.setting("layernorm_eps")}

    def actor(root, suffix=""):
        return nets.GaussianPolicy(g.mlp(f"{root}/actor", suffix), jnp.asarray(g[f"{root}/actor/log_std{suffix}"]))

    def value(root, suffix=""):
        return nets.Value(g.mlp(f"{root}/value", suffix, **norm))

    state = xql.State(
        Trained.new(actor("params"), xql.optimisers_of(cfg).actor),
        Trained.new(value("params"), optimisers.adam(cfg.value_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        g.critic("target"),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.value.net, state.critic.net, state.target_critic
        at = "expected/params"
        parts = actor(at, suffix), value(at, suffix), g.critic(at, suffix)
        return *parts, g.critic("expected/target", suffix)

    losses = {"value/loss": "value_loss", "actor/loss": "actor_loss", "critic/loss": "critic_loss"}
    replay(xql.algorithm, cfg, state, g, expected, losses)
