"""Whole update steps of OBAC equal to the numbers recorded from the authors' code (float64)."""

import jax.numpy as jnp
import pytest

from holdfast.algorithms import obac
from holdfast.core.trained import Trained
from holdfast.parts import nets, optimisers
from support.tapes import Golden, common, replay

pytestmark = pytest.mark.usefixtures("x64")

LOSSES = {
    "critic/loss": "critic_loss",
    "behaviour_critic/loss": "behaviour_critic_loss",
    "behaviour_value/loss": "value_loss",
    "actor/loss": "policy_loss",
    "temperature/loss": "alpha_loss",
    "gate/on": "gate",
    "gate/policy_value": "policy_q_mean",
    "gate/behaviour_value": "behaviour_q_data_mean",
}


def recorded(name):
    g = Golden(name)
    cfg = obac.OBAC(
        constraint_weight=g.setting("bc_weight"),
        first_temperature=g.setting("initial_alpha"),
        behaviour_value_lr=g.setting("value_lr"),
        temperature_lr=g.setting("alpha_lr"),
        **common(g, "expectile", "target_entropy", "actor_lr", "critic_lr", "behaviour_critic_lr"),
    )
    trunk = {"activation": "tanh elu", "norm": "first", "eps": g.setting("layernorm_eps")}

    def actor(root, suffix=""):
        low, high = g.setting("log_std_min"), g.setting("log_std_max")
        net = g.mlp(f"{root}/actor", suffix, **trunk)
        return nets.GaussianHeadsPolicy(net, low, high, floor=g.setting("tanh_eps"))  # theirs; ours is exact

    def critic(root, name, suffix=""):
        return g.critic(root, suffix, (f"{name}1", f"{name}2"), **trunk)

    def value(root, suffix=""):
        return nets.Value(g.mlp(f"{root}/behaviour_value", suffix, **trunk))

    state = obac.State(
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(critic("params", "critic"), optimisers.adam(cfg.critic_lr)),
        Trained.new(critic("params", "behaviour_critic"), optimisers.adam(cfg.behaviour_critic_lr)),
        Trained.new(value("params"), optimisers.adam(cfg.behaviour_value_lr)),
        critic("target", "critic"),
        critic("target", "behaviour_critic"),
        Trained.new(jnp.asarray(g["params/log_alpha"]), optimisers.adam(cfg.temperature_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            trained = (state.actor, state.critic, state.behaviour_critic, state.behaviour_value, state.temperature)
            return *(t.net for t in trained), state.target_critic, state.target_behaviour_critic
        at, slow = "expected/params", "expected/target"
        moved = actor(at, suffix), critic(at, "critic", suffix), critic(at, "behaviour_critic", suffix)
        log_alpha = jnp.asarray(g[f"{at}/log_alpha{suffix}"])
        slow = critic(slow, "critic", suffix), critic(slow, "behaviour_critic", suffix)
        return *moved, value(at, suffix), log_alpha, *slow

    return cfg, state, g, expected


@pytest.mark.parametrize("name", ["obac_gate_on", "obac_gate_off"])
def test_obac(name):
    cfg, state, g, expected = recorded(name)
    replay(obac.algorithm, cfg, state, g, expected, LOSSES)
