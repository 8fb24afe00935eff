"""BRAC-v and BRAC-p: worked by hand, and whole updates recorded from the authors' formulas."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from holdfast.algorithms import brac, brac_losses, brac_p, brac_v
from holdfast.core.contract import Context
from holdfast.core.noise import Noise, Tape
from holdfast.core.spec import Seen, Spec
from holdfast.core.trained import Trained
from holdfast.parts import divergence_estimates
from holdfast.parts.divergence_estimates import BoundedPolicy
from support.formulas import array, critics, rows, same
from support.tapes import Golden, common, replay

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [True, False])
def test_brac_pays_in_the_target_only_with_a_value_penalty(penalty):
    """Target = r + gamma (Q - entropy weight log pi - alpha D); the two rules differ by gamma alpha D."""
    cfg = brac.BRAC(hidden=(4,), critic_hidden=(4,), alpha=0.7, entropy_weight=0.2, discount=0.5, polyak=0.0)
    noise = Noise(jax.random.PRNGKey(0))
    state = brac.init(cfg, Context(Spec((2,), 1)), noise)
    batch = rows(array([1, 0], [0, 1]), array([0.3], [-0.2]), array(1, 2), array(0, 1))
    _, metrics = (brac_v if penalty else brac_p).update(cfg, state, batch, noise, 0)
    next_policy = state.actor.net(batch.next_obs)
    action, log_prob = next_policy.sample_and_log_prob(noise.normal("q_target_action", (2, 1)))
    q = state.target_critic(batch.next_obs, action).min(0)
    draws = brac_losses.draws_of(cfg, noise, "q_div", (2, 1))
    d = divergence_estimates.divergence(
        ("kl", 20.0), state.reference.net, next_policy, batch.next_obs, None, None, draws
    )
    first = 1 + 0.5 * (q[0] - 0.2 * log_prob[0] - (0.7 * d[0] if penalty else 0))
    same(metrics["critic/target"], (first + 2) / 2, 1e-10)


def test_bracs_second_test_policy_is_the_best_draw_by_the_first_critic():
    cfg = brac.BRAC(hidden=(4,), critic_hidden=(4,), acting="max_q", acting_actions=3)
    state = brac.init(cfg, Context(Spec((2,), 1)), Noise(jax.random.PRNGKey(0)))
    state = dataclasses.replace(state, critic=state.critic.replace(critics([0, 0, -1], [0, 0, 1])))
    seen = Seen(jnp.zeros((2, 2)), jnp.zeros(2))
    eps = array([[0.1], [3.0]], [[-1.0], [0.0]], [[0.5], [-1.0]])
    action, _ = brac.act(cfg, state, seen, (), Tape({"act": eps}), "sample")  # critic 1 falls with the action
    policy = state.actor.net(seen.obs)
    same(action, policy.sample(array([-1.0], [-1.0])))
    one, two = (brac.act(cfg, state, seen, (), Noise(jax.random.PRNGKey(i)), "best")[0] for i in (0, 1))
    same(one, two)  # the draws are the same for every call: nothing is left to chance
    mode, _ = brac.act(dataclasses.replace(cfg, acting="mode"), state, seen, (), Tape({}), "best")
    same(mode, policy.mode())


@pytest.mark.parametrize("name", ["brac_v", "brac_p"])
def test_brac(name):
    g = Golden(name)
    cfg = brac.BRAC(
        train_alpha=True,
        train_entropy=True,
        **common(
            g,
            "divergence_samples=n_div_samples mix=ensemble_q_lambda warm_start=warm_start_steps "
            "critic_weight_decay=weight_decay_q actor_weight_decay=weight_decay_p actor_lr=policy_lr "
            "critic_lr=q_lr alpha_lr target_divergence target_entropy",
        ),
    )
    assert (g.setting("log_std_min"), g.setting("log_std_max"), g.setting("action_clip_eps")) == (-5, 0, 1e-3)

    def policy(path, suffix=""):
        return BoundedPolicy(g.mlp(path, suffix))

    tx = brac.optimisers_of(cfg)
    state = brac.State(
        Trained.new(policy("params/actor"), tx.actor),
        Trained.new(g.critic("params"), tx.critic),
        g.critic("target"),
        Trained.new(policy("params/behaviour"), tx.behaviour),
        Trained.new(jnp.ones(()), tx.behaviour),
        Trained.new(g.scalar("params/alpha"), tx.weight),
        Trained.new(g.scalar("params/alpha_entropy"), tx.weight),
    )

    def expected(state, suffix=None):
        if suffix is None:
            fixed = (state.actor.net, state.critic.net, state.target_critic, state.reference.net)
            return *fixed, state.alpha.net, state.entropy_weight.net
        at = "expected/params"
        return (
            policy(f"{at}/actor", suffix),
            g.critic(at, suffix),
            g.critic("expected/target", suffix),
            policy("params/behaviour"),  # not touched
            g.scalar(f"{at}/alpha", suffix),
            g.scalar(f"{at}/alpha_entropy", suffix),
        )

    for step in range(1, g.steps + 1):
        g.arrays[f"expected/target/step{step}"] = g[f"expected/y/step{step}"].mean()
        g.arrays[f"expected/divergence/step{step}"] = g[f"expected/policy_divergence/step{step}"].mean()
        for net, decay in (("q", cfg.critic_weight_decay), ("p", cfg.actor_weight_decay)):  # recorded without the decay
            norm = g[f"expected/{net}_weight_norm/step{step}"]
            g.arrays[f"expected/{net}_whole_loss/step{step}"] = g[f"expected/{net}_loss/step{step}"] + decay * norm
    losses = {"actor/loss": "p_whole_loss", "critic/loss": "q_whole_loss", "critic/target": "target"}
    losses |= {"actor/divergence": "divergence"}
    losses |= {"alpha/loss": "alpha_loss", "entropy_weight/loss": "alpha_entropy_loss"}
    value_penalty = g.setting("value_penalty")
    algorithm = {True: brac_v, False: brac_p}[value_penalty].algorithm
    assert algorithm.name == name

    def tape(drawn):  # theirs draws for the target's divergence in both; ours only where it is asked for
        return drawn if value_penalty else {k: v for k, v in drawn.items() if k != "q_div_policy"}

    replay(algorithm, cfg, state, g, expected, losses, tape=tape)
