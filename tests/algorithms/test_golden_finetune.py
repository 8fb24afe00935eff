"""Update steps of ACA's stages, Cal-QL and RLPD equal to numbers recorded from the authors' code (float64)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import aca, aca_online, cal_ql, cql, rlpd
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.noise import Noise
from holdfast.core.spec import Batch, Spec
from holdfast.core.trained import Trained
from holdfast.parts import layers, nets, optimisers
from support.tapes import TOLERANCE, Golden, close, common, replay

pytestmark = pytest.mark.usefixtures("x64")


def scalar(g, path, suffix=""):
    return jnp.asarray(g[f"{path}{suffix}"]).reshape(())


def actor_of(g):
    """Reads ACA's policy, of either kind."""

    def read(path, suffix=""):
        net = g.mlp(path, suffix)
        if g.setting("squashed"):
            return nets.GaussianHeadsPolicy(net, low=g.setting("log_std_min"), high=g.setting("log_std_max"))
        assert (g.setting("log_std_min"), g.setting("log_std_max")) == (-5, 0)
        return nets.SigmoidGaussianPolicy(net, jnp.asarray(g[f"{path}/log_std{suffix}"])[0])

    return read


def z_of(g, root, suffix=""):
    return g.critic(root, suffix, members=("z1", "z2")).nets


RATES = ("actor_lr", "critic_lr")


@pytest.mark.parametrize("name", ["aca_stage1_offline", "aca_stage1_offline_unsquashed"])
def test_aca_offline(name):
    g = Golden(name)
    cfg = aca.ACA(
        squashed=g.setting("squashed"),
        z_schedule="concurrent",
        temperature_lr=g.setting("temp_lr"),
        **common(g, "omega", "target_entropy", "z_lr", *RATES),
    )
    actor = actor_of(g)
    state = aca.State(
        Trained.new(actor("params/actor"), optimisers.adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        g.critic("target"),
        Trained.new(scalar(g, "params/log_temp"), optimisers.adam(cfg.temperature_lr)),
        Trained.new(z_of(g, "params"), optimisers.adam(cfg.z_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            moved = (state.actor.net, state.critic.net, state.target_critic, state.temperature.net)
            return *moved, state.z.net
        at = "expected/params"
        found = (actor(f"{at}/actor", suffix), g.critic(at, suffix), g.critic("expected/target", suffix))
        return *found, scalar(g, f"{at}/log_temp", suffix), z_of(g, at, suffix)

    losses = {f"{ours}/loss": f"{theirs}_loss" for ours, theirs in zip(
        ("temperature", "critic", "z", "actor"), ("temp", "critic", "z", "actor"), strict=True
    )}  # fmt: skip
    losses |= {"temperature/alpha": "temp_before", "actor/weight": "lam"}
    for step in range(1, g.steps + 1):  # told before its step, recorded after
        before = g["params/log_temp"] if step == 1 else g[f"expected/params/log_temp/step{step - 1}"]
        g.arrays[f"expected/temp_before/step{step}"] = np.exp(before)
    replay(aca.algorithm, cfg, state, g, expected, losses)


@pytest.mark.parametrize("backup", ["soft", "plain"])
def test_aca_alignment(backup):
    g = Golden("aca_stage2_align")
    cfg = aca.ACA(z_backup=backup, z_lr=g.setting("z_lr"), discount=g.setting("discount"), hidden=(8, 8))
    actor = Trained.new(actor_of(g)("params/actor"), optimisers.adam(cfg.actor_lr))
    state = aca.State(actor, None, None, None, Trained.new(z_of(g, "params"), optimisers.adam(cfg.z_lr)))

    def expected(state, suffix=None):
        return state.z.net if suffix is None else z_of(g, f"expected/{backup}/params", suffix)

    replay(
        aca.algorithm,
        cfg,
        state,
        g,
        expected,
        {"z/loss": f"{backup}/loss"},
        update=aca.align,
        tape=lambda drawn: {"z_target_action": drawn["target_action"]},
    )


@pytest.mark.parametrize("name", ["aca_stage3_online", "aca_stage3_online_unsquashed"])
def test_aca_online(name):
    g = Golden(name)
    cfg = aca.ACA(
        floor_width=g.setting("beta"),
        prior_weight=g.setting("interp_start"),
        min_prior_weight=g.setting("interp_floor"),
        online_decay_steps=round(1000 * g.setting("interp_kilo_steps")),
        clip_norm=g.setting("actor_grad_clip"),
        temperature_lr=g.setting("temp_lr"),
        **common(g, "target_entropy", *RATES),
    )
    actor = actor_of(g)
    state = aca_online.Online(
        Trained.new(actor("params/actor"), optimisers.adam(cfg.actor_lr)),
        actor("params/reference_actor"),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        g.critic("target"),
        Trained.new(scalar(g, "params/log_temp"), optimisers.adam(cfg.temperature_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_critic, state.temperature.net
        at = "expected/params"
        found = (actor(f"{at}/actor", suffix), g.critic(at, suffix), g.critic("expected/target", suffix))
        return *found, scalar(g, f"{at}/log_temp", suffix)

    for step in range(1, g.steps + 1):
        g.arrays[f"expected/prior/step{step}"] = g[f"expected/data_log_pi0_weighted/step{step}"].mean()
    losses = {"temperature/loss": "temp_loss", "critic/loss": "critic_loss", "actor/loss": "actor_loss"}
    losses |= {"prior/weight": "weight", "critic/prior": "prior", "actor/gradient_norm": "actor_grad_norm_before_clip"}
    replay(aca.algorithm, cfg, state, g, expected, losses, update=aca_online.update)


def test_aca_starts_online_from_z():
    g = Golden("aca_stage3_online")
    root = "critic_init"
    z = z_of(g, f"{root}/z")
    spec = Spec((g["batch/obs"].shape[1],), g["batch/action"].shape[1])
    state = aca.init(as_arrays(aca.ACA(hidden=(8, 8))), Context(spec), Noise(jax.random.PRNGKey(0)))
    state = aca.State(state.actor, state.critic, state.target_critic, state.temperature, state.z.replace(z))
    entered = aca_online.enter(aca.ACA(), state, Context(spec), None)
    close("R", entered.critic.net, g.critic(f"{root}/expected"), TOLERANCE)
    close("slow R", entered.target_critic, g.critic(f"{root}/expected_target"), TOLERANCE)


def test_cal_ql():
    g = Golden("cal_ql")
    weight = g.setting("cql_alpha")
    cfg = cal_ql.CalQL(
        alpha=weight,
        penalty_temperature=g.setting("cql_temp"),
        n_actions=g.setting("n_actions"),
        min_difference=g.setting("clip_diff_min"),
        lagrange=g.setting("lagrange"),
        gap=weight * g.setting("target_action_gap"),  # theirs stands outside the weight's bracket
        backup_actions=g.setting("n_actions"),
        target_entropy=g.setting("target_entropy"),
        dual_lr=g.setting("alpha_prime_lr"),
        actor_lr=g.setting("policy_lr"),
        critic_lr=g.setting("qf_lr"),
        temperature_lr=g.setting("alpha_lr"),
        **common(g),
    )
    assert (g.setting("max_target_backup"), g.setting("backup_entropy")) == (True, False)

    def actor(root, suffix=""):
        net = g.mlp(f"{root}/actor", suffix)
        head = layers.Linear(*(jnp.asarray(g[f"{root}/actor/head/{part}{suffix}"]) for part in ("weight", "bias")))
        return nets.GaussianHeadsPolicy(layers.MLP((*net.layers, head), ()), low=-20.0, high=2.0)

    state = cql.State(
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        g.critic("target"),
        Trained.new(scalar(g, "params/log_alpha"), optimisers.adam(cfg.temperature_lr)),
        Trained.new(scalar(g, "params/log_alpha_prime"), optimisers.adam(cfg.dual_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            moved = (state.actor.net, state.critic.net, state.target_critic, state.temperature.net)
            return *moved, state.dual.net
        at = "expected/params"
        found = (actor(at, suffix), g.critic(at, suffix), g.critic("expected/target", suffix))
        return *found, scalar(g, f"{at}/log_alpha", suffix), scalar(g, f"{at}/log_alpha_prime", suffix)

    def tape(drawn):
        drawn["random_action"] = drawn.pop("random_action_uniform")
        return {k: v if k == "policy_action" else v.swapaxes(0, 1) for k, v in drawn.items()}

    for step in range(1, g.steps + 1):  # recorded for each critic and kind of action, ours are of all
        at = f"step{step}"
        rates = [g[f"expected/bound_rate_q{i}_{kind}/{at}"] for i in (1, 2) for kind in ("current", "next")]
        g.arrays[f"expected/bound_rate/{at}"] = np.mean(rates)
        for name in ("cql_diff", "penalty"):
            g.arrays[f"expected/{name}/{at}"] = (g[f"expected/{name}1/{at}"] + g[f"expected/{name}2/{at}"]) / 2
        g.arrays[f"expected/target/{at}"] = g[f"expected/y/{at}"].mean()
    losses = {
        "temperature/loss": "alpha_loss",
        "actor/loss": "policy_loss",
        "critic/loss": "qf_loss",
        "critic/difference": "cql_diff",
        "critic/penalty": "penalty",
        "critic/target": "target",
        "critic/bound_rate": "bound_rate",
        "dual/loss": "alpha_prime_loss",
        "dual/value": "alpha_prime",
    }
    batch = g.batch()
    batch = Batch(**(vars(batch) | {"extra": {"mc_return": jnp.asarray(g["batch/mc_return"])}}))
    replay(cal_ql.algorithm, cfg, state, g, expected, losses, batch=batch, tape=tape)


def test_rlpd():
    g = Golden("rlpd")
    ratio, members = g.setting("utd_ratio"), g.setting("num_qs")
    cfg = rlpd.RLPD(
        update_ratio=ratio,
        critics=members,
        subset=g.setting("num_min_qs"),
        entropy_backup=g.setting("backup_entropy"),
        temperature_lr=g.setting("temp_lr"),
        **common(g, *RATES),
    )
    assert g.setting("target_entropy") == -0.5 * g["batch/action"].shape[1]

    def actor(root, suffix=""):
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low=-20.0, high=2.0)

    def critic(root, suffix=""):
        return nets.Critic(g.mlp(f"{root}/critics", suffix, norm="pre", eps=g.setting("layernorm_eps")))

    state = rlpd.State(
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(critic("params"), optimisers.adam(cfg.critic_lr)),
        critic("target"),
        Trained.new(scalar(g, "params/log_temp"), optimisers.adam(cfg.temperature_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_critic, state.temperature.net
        at = "expected/params"
        found = (actor(at, suffix), critic(at, suffix), critic("expected/target", suffix))
        return *found, scalar(g, f"{at}/log_temp", suffix)

    def tape(drawn):  # the members recorded are the two that our uniforms rank first
        chosen = drawn["target_subset"].astype(int)
        order = jnp.ones((ratio, members)).at[jnp.arange(ratio)[:, None], chosen].set(0.0)
        return {**drawn, "target_subset": order}

    for step in range(1, g.steps + 1):  # ours is the mean over the slices
        each = [g[f"expected/critic_loss/step{step}/utd{i}"] for i in range(1, ratio + 1)]
        g.arrays[f"expected/critic_losses/step{step}"] = np.mean(each)
    losses = {"critic/loss": "critic_losses", "actor/loss": "actor_loss", "actor/entropy": "entropy"}
    losses |= {"temperature/loss": "temperature_loss", "temperature/alpha": "temperature_used"}
    batch = jax.tree.map(lambda x: x.reshape(ratio, -1, *x.shape[1:]), g.batch())
    replay(rlpd.algorithm, cfg, state, g, expected, losses, batch=batch, tape=tape)
