"""Whole update steps of SAC-N, EDAC, ReBRAC and XQL equal to the numbers recorded from public code (float64)."""

import jax.numpy as jnp
import pytest

from holdfast.algorithms import edac, iql, rebrac, sac_n, td3_bc, xql
from holdfast.core.trained import Trained
from holdfast.parts import nets, optimisers
from support.tapes import Golden, common, replay

pytestmark = pytest.mark.usefixtures("x64")


def soft(name, module, config, **settings):
    """State, config and expected results of a SAC with N critics; `floor` is CORL's log(1 - a^2 + 1e-6)."""
    g = Golden(name)
    cfg = config(
        critics=g.setting("n_critics"),
        temperature_lr=g.setting("alpha_lr"),
        **common(g, "target_entropy", "actor_lr", "critic_lr"),
        **settings,
    )

    def actor(root, suffix=""):
        low, high = g.setting("log_std_min"), g.setting("log_std_max")
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low, high, floor=g.setting("tanh_eps"))

    def critic(root, suffix=""):
        return nets.Critic(g.mlp(f"{root}/critics", suffix))

    state = sac_n.State(
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(critic("params"), optimisers.adam(cfg.critic_lr)),
        critic("target"),
        Trained.new(jnp.asarray(g["params/log_alpha"]), optimisers.adam(cfg.temperature_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_critic, state.temperature.net
        at = "expected/params"
        log_alpha = jnp.asarray(g[f"{at}/log_alpha{suffix}"])
        return actor(at, suffix), critic(at, suffix), critic("expected/target", suffix), log_alpha

    losses = {"temperature/loss": "alpha_loss", "actor/loss": "actor_loss", "critic/loss": "critic_loss"}
    return module.algorithm, cfg, state, g, expected, losses


@pytest.mark.parametrize("name", ["sac_corl", "sac_n"])
def test_sac_n(name):
    replay(*soft(name, sac_n, sac_n.SACN))


def test_edac():
    *case, losses = soft("edac", edac, edac.EDAC, diversity=Golden("edac").setting("eta"))
    replay(*case, losses | {"critic/td": "td_loss", "critic/similarity": "diversity_loss"})


def test_rebrac():
    g = Golden("rebrac")
    assert g.setting("normalize_q")
    cfg = rebrac.ReBRAC(
        actor_penalty=g.setting("actor_bc_coef"),
        critic_penalty=g.setting("critic_bc_coef"),
        policy_every=g.setting("policy_freq"),
        **common(g, "policy_noise", "noise_clip", "actor_lr", "critic_lr"),
    )

    def actor(root, suffix=""):
        return nets.DeterministicPolicy(g.mlp(f"{root}/actor", suffix))

    def critic(root, suffix=""):
        return nets.Critic(g.mlp(f"{root}/critics", suffix, norm="post", eps=g.setting("layernorm_eps")))

    state = td3_bc.State(
        Trained.new(actor("params"), td3_bc.optimiser(cfg)),
        Trained.new(critic("params"), td3_bc.critic_optimiser(cfg)),
        actor("target"),
        critic("target"),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_actor, state.target_critic
        return tuple(f(f"expected/{root}", suffix) for root in ("params", "target") for f in (actor, critic))

    losses = {"critic/loss": "critic_loss", "actor/loss": "actor_loss"}
    replay(rebrac.algorithm, cfg, state, g, expected, losses, batch=with_next_action(g))


def with_next_action(g):
    batch = g.batch()
    return type(batch)(**{**vars(batch), "extra": {"next_action": jnp.asarray(g["batch/next_action"])}})


@pytest.mark.parametrize("name", ["xql", "xql_all_negative"])
def test_xql(name):
    g = Golden(name)
    cfg = xql.XQL(
        gumbel_temperature=g.setting("loss_temp"),
        max_exponent=g.setting("max_clip"),
        inverse_temperature=g.setting("temperature"),
        actor_decay_steps=g.setting("max_steps"),
        value_layer_norm=g.setting("layernorm"),
        **common(g, "max_weight", "huber_delta", "actor_lr", "value_lr", "critic_lr"),
    )
    norm = {"norm": "pre" if cfg.value_layer_norm else "none", "eps": g.setting("layernorm_eps")}

    def actor(root, suffix=""):
        return nets.GaussianPolicy(g.mlp(f"{root}/actor", suffix), jnp.asarray(g[f"{root}/actor/log_std{suffix}"]))

    def value(root, suffix=""):
        return nets.Value(g.mlp(f"{root}/value", suffix, **norm))

    state = iql.State(
        Trained.new(actor("params"), iql.optimiser(cfg)),
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
