"""Whole update steps of CQL, BRAC, AWR and CRR equal to the numbers recorded from the authors' code (float64)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import awr, brac, brac_p, brac_v, cql, crr
from holdfast.core.spec import Batch
from holdfast.core.trained import Trained
from holdfast.data.feed.columns import Columns
from holdfast.data.feed.sampler import rows
from holdfast.parts import nets, optimisers
from holdfast.parts.distributions import TanhNormal, normal_log_prob
from holdfast.parts.divergence_estimates import BoundedPolicy, divergence
from support.tapes import TOLERANCE, Golden, close, common, replay

pytestmark = pytest.mark.usefixtures("x64")


class LooseTanhNormal(TanhNormal):
    """A squashed normal with the authors' density: log(1 - a^2 + 1e-6) where ours is exact."""

    def _density(self, u):
        return (normal_log_prob(u, self.mean, self.log_std) - jnp.log(1 - jnp.tanh(u) ** 2 + 1e-6)).sum(-1)

    def log_prob(self, action):
        return LooseTanhNormal(jnp.clip(self.mean, -9, 9), self.log_std)._density(jnp.arctanh(action))


class LoosePolicy(nets.GaussianHeadsPolicy):
    def __call__(self, obs, keep=()):
        law = super().__call__(obs, keep)
        return LooseTanhNormal(law.mean, law.log_std)


def scalar(g, path, suffix=""):
    return jnp.asarray(g[f"{path}{suffix}"]).reshape(())


@pytest.mark.parametrize("name", ["cql_h", "cql_h_lagrange"])
def test_cql(name):
    g = Golden(name)
    cfg = cql.CQL(
        alpha=g.setting("min_q_weight"),
        penalty_temperature=g.setting("temp"),
        lagrange=g.setting("lagrange"),
        gap=g.setting("lagrange_threshold"),
        dual_lr=g.setting("alpha_prime_lr"),
        backup_actions=10 if g.setting("max_q_backup") else 1,
        cloning_steps=g.setting("policy_eval_start") - 1 if g.setting("policy_eval_start") else 0,
        actor_lr=g.setting("policy_lr"),
        critic_lr=g.setting("qf_lr"),
        temperature_lr=g.setting("alpha_lr"),
        **common(g, "n_actions", "target_entropy"),
    )

    def actor(root, suffix=""):
        return LoosePolicy(g.mlp(f"{root}/actor", suffix), low=-5.0, high=2.0)

    def dual(suffix=""):
        return scalar(g, f"{'expected/' if suffix else ''}params/log_alpha_prime", suffix) if cfg.lagrange else None

    state = cql.State(
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        g.critic("target"),
        Trained.new(scalar(g, "params/log_alpha"), optimisers.adam(cfg.temperature_lr)),
        Trained.new(dual() if cfg.lagrange else jnp.zeros(()), optimisers.adam(cfg.dual_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            moved = (state.actor.net, state.critic.net, state.target_critic, state.temperature.net)
            return *moved, state.dual.net if cfg.lagrange else None
        at = "expected/params"
        found = (actor(at, suffix), g.critic(at, suffix), g.critic("expected/target", suffix))
        return *found, scalar(g, f"{at}/log_alpha", suffix), dual(suffix)

    def tape(drawn):
        one, many = drawn.pop("target_action"), drawn.pop("max_backup_action", None)
        drawn["target_action"] = one[None] if many is None else many.swapaxes(0, 1)
        drawn["random_action"] = drawn.pop("random_action_uniform")
        return {
            k: v.swapaxes(0, 1) if k in ("random_action", "cql_next_action", "cql_current_action") else v
            for k, v in drawn.items()
        }

    for step in range(1, g.steps + 1):  # recorded apiece, ours are of both critics
        q1, q2 = (g[f"expected/qf{i}_loss/step{step}"] for i in (1, 2))
        g.arrays[f"expected/critic_loss/step{step}"] = q1 + q2
        g.arrays[f"expected/target/step{step}"] = g[f"expected/y/step{step}"].mean()
        g.arrays[f"expected/difference/step{step}"] = (
            (g[f"expected/penalty1/step{step}"] + g[f"expected/penalty2/step{step}"]) / 2 / cfg.alpha
        )
    losses = {
        "actor/loss": "policy_loss",
        "critic/loss": "critic_loss",
        "temperature/loss": "alpha_loss",
        "critic/target": "target",
        "critic/difference": "difference",
    }
    losses |= {"dual/loss": "alpha_prime_loss"} if cfg.lagrange else {}
    replay(cql.algorithm, cfg, state, g, expected, losses, tape=tape)


@pytest.mark.parametrize("name", ["brac_v", "brac_p"])
def test_brac(name):
    g = Golden(name)
    cfg = brac.BRAC(
        divergence_samples=g.setting("n_div_samples"),
        train_alpha=True,
        train_entropy=True,
        mix=g.setting("ensemble_q_lambda"),
        warm_start=g.setting("warm_start_steps"),
        critic_weight_decay=g.setting("weight_decay_q"),
        actor_weight_decay=g.setting("weight_decay_p"),
        actor_lr=g.setting("policy_lr"),
        critic_lr=g.setting("q_lr"),
        **common(g, "alpha_lr", "target_divergence", "target_entropy"),
    )
    assert (g.setting("log_std_min"), g.setting("log_std_max"), g.setting("action_clip_eps")) == (-5, 0, 1e-3)

    def policy(path, suffix=""):
        return BoundedPolicy(g.mlp(path, suffix))

    state = brac.State(
        Trained.new(policy("params/actor"), brac.optimiser(cfg, "actor")),
        Trained.new(g.critic("params"), brac.optimiser(cfg, "critic")),
        g.critic("target"),
        Trained.new(policy("params/behaviour"), brac.adam(cfg.behaviour_lr)),
        Trained.new(jnp.ones(()), brac.adam(cfg.behaviour_lr)),
        Trained.new(scalar(g, "params/alpha"), brac.adam(cfg.alpha_lr)),
        Trained.new(scalar(g, "params/alpha_entropy"), brac.adam(cfg.alpha_lr)),
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
            scalar(g, f"{at}/alpha", suffix),
            scalar(g, f"{at}/alpha_entropy", suffix),
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


@pytest.mark.parametrize("name", ["brac_v", "brac_p"])
def test_brac_mmd(name):
    g = Golden(name)
    x, y = (jnp.asarray(g[f"mmd/samples{i}"]) for i in (1, 2))

    class Samples:  # laws whose draws are the recorded samples
        def repeat(self, n):
            return self

        def sample(self, eps):
            return eps

    none = jnp.zeros((6, 3))
    found = divergence(("mmd", 20.0), lambda obs: Samples(), Samples(), none, none, none, (x, y))
    np.testing.assert_allclose(found, g["mmd/laplacian_sigma20"], rtol=1e-9)


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

    state = crr.State(
        Trained.new(actor("params"), crr.optimiser(cfg)),
        Trained.new(g.critic("params"), crr.critic_optimiser(cfg)),
        actor("target"),
        g.critic("target"),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_actor, state.target_critic
        return tuple(f(f"expected/{root}", suffix) for root in ("params", "target") for f in (actor, g.critic))

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


def test_awr():
    """The authors take critic steps, then returns and weights again, then actor steps; ours takes one of each."""
    g = Golden("awr")
    cfg = awr.AWR(
        max_weight=g.setting("weight_clip"),
        bound_weight=g.setting("bound_loss_weight"),
        optimiser="sgd",
        hidden=(8, 8),
        **{n: g.setting(n) for n in ("discount", "td_lambda", "temperature", "action_std", "actor_lr", "critic_lr")},
    )
    assert g.setting("momentum") == 0.9
    inside = g["batch/path_end"] == 0
    last = np.append(g["batch/path_end"][1:], 0)[inside]
    failed = g["batch/path_failed"][inside] * last
    data = Columns(
        obs=jnp.asarray(g["batch/obs"]),
        row=jnp.asarray(np.flatnonzero(inside)),
        action=jnp.asarray(g["batch/action"][inside]),
        reward=jnp.asarray(g["batch/reward"][inside]),
        terminated=jnp.asarray(failed),
        truncated=jnp.asarray(last - failed),
    )
    log_std = jnp.log(cfg.action_std)

    def actor(root, suffix=""):
        return awr.FixedNormalPolicy(g.mlp(f"{root}/actor", suffix), log_std)

    def critic(root, suffix=""):
        return nets.Value(g.mlp(f"{root}/critic", suffix))

    state = awr.State(
        Trained.new(actor("params"), awr.optimiser(cfg, cfg.actor_lr)),
        Trained.new(critic("params"), awr.optimiser(cfg, cfg.critic_lr)),
    )

    @jax.jit
    def step_of(state, step):
        _, columns, _, metrics = awr.refresh(cfg, state, {"data": data}, None, None, step)
        batch = rows(data, jnp.arange(len(data.row)))
        batch = Batch(**(vars(batch) | {"extra": columns}))
        return *awr.update(cfg, state, batch, None, step), columns, metrics

    for step in range(1, g.steps + 1):
        at = f"/step{step}"
        moved, metrics, columns, _ = step_of(state, step - 1)
        close("returns", columns["lambda_return"], g[f"expected/td_lambda_return{at}"][inside], TOLERANCE)
        assert metrics["critic/loss"] == pytest.approx(g[f"expected/critic_loss{at}"], rel=TOLERANCE)
        state = awr.State(state.actor, moved.critic)
        moved, metrics, columns, found = step_of(state, step - 1)
        close("returns", columns["lambda_return"], g[f"expected/td_lambda_return_after_critic{at}"][inside], TOLERANCE)
        close("weights", columns["weight"], g[f"expected/weight{at}"][inside], TOLERANCE)
        assert found["data/advantage"] == pytest.approx(g[f"expected/adv_mean{at}"], rel=TOLERANCE)
        assert found["data/spread"] == pytest.approx(g[f"expected/adv_std{at}"], rel=TOLERANCE)
        assert metrics["actor/loss"] == pytest.approx(g[f"expected/actor_loss{at}"], rel=TOLERANCE)
        assert metrics["actor/outside"] == pytest.approx(g[f"expected/bound_loss{at}"], rel=TOLERANCE)
        state = awr.State(moved.actor, state.critic)
        wanted = actor("expected/params", at), critic("expected/params", at)
        close(f"step {step}", (state.actor.net, state.critic.net), wanted, TOLERANCE)
