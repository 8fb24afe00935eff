"""Whole update steps equal to the numbers recorded from the authors' code (float64)."""

import jax.numpy as jnp
import pytest

from holdfast.algorithms import awac, iql, sac, td3_bc
from holdfast.core.trained import Trained
from holdfast.parts import nets, optimisers
from support.tapes import Golden, common, replay

pytestmark = pytest.mark.usefixtures("x64")


def test_iql():
    g = Golden("iql")
    cfg = iql.IQL(
        expectile=g.setting("expectile"),
        inverse_temperature=g.setting("temperature"),
        actor_decay_steps=g.setting("max_steps"),
        critic_decay_steps="constant",
        max_weight=g.setting("max_weight"),
        **common(g, "actor_lr", "value_lr", "critic_lr"),
    )

    def actor(root, suffix=""):
        return nets.GaussianPolicy(g.mlp(f"{root}/actor", suffix), jnp.asarray(g[f"{root}/actor/log_std{suffix}"]))

    state = iql.State(
        Trained.new(actor("params"), iql.optimiser(cfg)),
        Trained.new(nets.Value(g.mlp("params/value")), iql.value_optimiser(cfg)),
        Trained.new(g.critic("params"), iql.critic_optimiser(cfg)),
        g.critic("target"),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.value.net, state.critic.net, state.target_critic
        value = nets.Value(g.mlp("expected/params/value", suffix))
        return (
            actor("expected/params", suffix),
            value,
            g.critic("expected/params", suffix),
            g.critic("expected/target", suffix),
        )

    losses = {"value/loss": "value_loss", "actor/loss": "actor_loss", "critic/loss": "critic_loss"}
    replay(iql.algorithm, cfg, state, g, expected, losses)


def test_td3_bc():
    g = Golden("td3_bc")
    cfg = td3_bc.TD3BC(
        policy_every=g.setting("policy_freq"),
        **common(g, "alpha", "policy_noise", "noise_clip", "actor_lr", "critic_lr"),
    )

    def actor(root, suffix=""):
        return nets.DeterministicPolicy(g.mlp(f"{root}/actor", suffix))

    state = td3_bc.State(
        Trained.new(actor("params"), td3_bc.optimiser(cfg)),
        Trained.new(g.critic("params"), td3_bc.critic_optimiser(cfg)),
        actor("target"),
        g.critic("target"),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_actor, state.target_critic
        return tuple(f(f"expected/{root}", suffix) for root in ("params", "target") for f in (actor, g.critic))

    replay(
        td3_bc.algorithm,
        cfg,
        state,
        g,
        expected,
        {"critic/loss": "critic_loss", "actor/loss": "actor_loss", "actor/lambda": "lmbda"},
    )


def test_awac():
    g = Golden("awac")
    cfg = awac.AWAC(temperature=g.setting("awac_lambda"), **common(g, "max_weight", "actor_lr", "critic_lr"))

    def actor(root, suffix=""):
        log_std = jnp.asarray(g[f"{root}/actor/log_std{suffix}"])
        return nets.GaussianPolicy(g.mlp(f"{root}/actor", suffix), log_std, low=-20.0, high=2.0, squash="none")

    state = awac.State(
        Trained.new(actor("params"), awac.optimisers_of(cfg).actor),
        Trained.new(g.critic("params"), awac.optimisers_of(cfg).critic),
        g.critic("target"),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_critic
        return (
            actor("expected/params", suffix),
            g.critic("expected/params", suffix),
            g.critic("expected/target", suffix),
        )

    replay(awac.algorithm, cfg, state, g, expected, {"critic/loss": "critic_loss", "actor/loss": "actor_loss"})


def test_sac():
    g = Golden("sac")
    cfg = sac.SAC(
        temperature_lr=g.setting("temp_lr"),
        temperature_loss="exp",
        **common(g, "target_entropy", "actor_lr", "critic_lr"),
    )

    def actor(root, suffix=""):
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low=-20.0)

    def log_temperature(root, suffix=""):
        return jnp.asarray(g[f"{root}/log_temp{suffix}"]).reshape(())

    state = sac.State(
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        g.critic("target"),
        Trained.new(log_temperature("params"), optimisers.adam(cfg.temperature_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_critic, state.temperature.net
        at = "expected/params"
        return actor(at, suffix), g.critic(at, suffix), g.critic("expected/target", suffix), log_temperature(at, suffix)

    losses = {"critic/loss": "critic_loss", "actor/loss": "actor_loss", "temperature/loss": "temp_loss"}
    replay(sac.algorithm, cfg, state, g, expected, losses, slopes={"temperature": "log_temp"})
