"""ACA: losses, prior and stages against numbers worked by hand, its updates against recorded ones (float64)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import aca, aca_offline, aca_online
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise, Tape
from holdfast.core.spec import Batch, Spec
from holdfast.core.trained import Trained
from holdfast.data.dataset import Dataset
from holdfast.parts import layers, nets, optimisers
from holdfast.parts.distributions import TanhNormal
from support.formulas import Flat, array, critics, normal_density, row, same
from support.marks import both
from support.tapes import TOLERANCE, Golden, close, common, replay

pytestmark = pytest.mark.usefixtures("x64")


@both
@pytest.mark.parametrize(("normalize_by", "size"), [("policy", 0.7 * 2), ("data", 1 * 0.5)])
def test_actor_loss(run, normalize_by, size):
    """One row s = 1, a = .5; critics 2 a and s a, of which the smaller counts; a drawn action of .35 (eps .7)."""
    cfg = as_arrays(aca.ACA(omega=3.0, normalize_by=normalize_by))
    critic = critics([0, 2], [0, 3])
    loss, metrics = run(lambda eps: aca_offline.actor_loss(Flat(None), critic, 0.2, row(), eps, cfg), array([0.7]))
    q, log_prob = 2 * 0.35, normal_density(0.35, 0, 0.5)
    size = q if normalize_by == "policy" else 2 * 0.5
    weight = 3 / size
    same(metrics["weight"], weight)
    same(loss, weight * (0.2 * log_prob - q) - normal_density(0.5, 0, 0.5))


def test_the_weight_of_the_sac_objective_is_a_constant():
    """The gradient is lambda times that of the SAC objective less the likelihood's, with lambda held."""
    cfg = as_arrays(aca.ACA(omega=3.0))
    critic, batch, eps = critics([0, 2], [0, 3]), row(), array([0.7])
    actor = nets.SigmoidGaussianPolicy(layers.MLP((layers.Linear(array([0.3]), array(0.1)),), ()), array(0.4))
    slope = jax.jit(jax.grad(lambda a: aca_offline.actor_loss(a, critic, 0.2, batch, eps, cfg), has_aux=True))
    found, metrics = slope(actor)
    weight = metrics["weight"]

    def held(actor):
        dist = actor(batch.obs)
        action, log_prob = dist.sample_and_log_prob(eps)
        q = critic(batch.obs, action).min(0)
        return (weight * (0.2 * log_prob - q) - dist.log_prob(batch.action)).mean()

    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(jax.jit(jax.grad(held))(actor)), strict=True):
        same(one, other)


def test_unsquashed_policy(run):
    """Mean tanh(MLP), deviation exp(-5 + 5 sigmoid(parameter)) in every state."""
    actor = nets.SigmoidGaussianPolicy(layers.MLP((layers.Linear(array([0.3]), array(0.1)),), ()), array(math.log(3)))
    dist = run(lambda obs: actor(obs), array([1], [2]))
    same(dist.mean, np.tanh([[0.4], [0.7]]))
    same(dist.log_std, [[-5 + 5 * 0.75]] * 2)


@pytest.mark.parametrize("terminated", [0.0, 1.0])
@pytest.mark.parametrize(("backup", "alpha"), [("soft", 1.0), ("soft", 0.25), ("plain", 0.25)])
def test_z_is_fitted_to_its_target(run, backup, alpha, terminated):
    """Z_1 = s, Z_2 = 2 s - 1 s: at s' = 3 the smaller is 3 w; the loss is of log pi0 + Z_i."""
    cfg = as_arrays(aca.ACA(z_backup=backup, discount=0.5, z_lr=0.1))
    z = Trained.new(critics([1], [2]).nets, optimisers.adam(cfg.z_lr))
    batch = row(terminated=terminated)
    _, metrics = run(
        lambda: aca_offline.fit_z(cfg, z, Flat(None), alpha, batch, Tape({"z_target_action": array([0.7])}))
    )
    share = 1.0 if backup == "plain" else 1 - alpha
    y = 2 + (1 - terminated) * 0.5 * (share * normal_density(0.35, 0, 0.5) + 3)
    log_prob = normal_density(0.5, 0, 0.5)
    same(metrics["z/target"], y)
    same(metrics["z/loss"], (log_prob + 1 - y) ** 2 + (log_prob + 2 - y) ** 2)
    same(metrics["z/z"], 1.5)


def test_the_prior_has_a_soft_floor_and_a_weight(run):
    """w (softplus(log pi0 - c) + c), c two deviations away; near the mean it is log pi0, far off it stops at w c."""
    c = normal_density(1.0, 0, 0.5)  # two deviations of 1/2
    for action, weight in ((0.1, 1.0), (0.9, 0.5), (-1.0, 2.0)):
        found = run(lambda a, w: aca_online.log_prior(Flat(None), array([0]), a, 2.0, w), array([action]), weight)
        same(found, [weight * (math.log1p(math.exp(normal_density(action, 0, 0.5) - c)) + c)])
    far = run(lambda a: aca_online.log_prior(Flat(None), array([0]), a, 2.0, 0.5), array([40.0]))
    same(far, [0.5 * c])


def test_the_floor_is_the_smaller_of_the_two_densities():
    """Around a mean that tanh saturates the two sides differ."""
    dist = TanhNormal(array([1.0]), array([-0.5]))
    sides = dist.log_prob_at(-2.0), dist.log_prob_at(2.0)
    assert sides[0] < sides[1]

    class Steep(nets.Policy):
        def __call__(self, obs, keep=()):
            return dist

    action = jnp.tanh(array([-6.0]))  # far below the mean
    found = aca_online.log_prior(Steep(None), array([0]), action, 2.0, 1.0)
    same(found, jax.nn.softplus(dist.log_prob(action) - sides[0]) + sides[0])


@pytest.mark.parametrize(
    ("start", "least", "steps", "wanted"),
    [(1, 0, 10, [1, 0.9, 0.5, 0, 0]), (1, 0.5, 20, [1, 0.95, 0.75, 0.5, 0.5]), (1, 1, 100, [1] * 5)],
)
def test_the_weight_of_the_prior_falls_to_its_minimum(run, start, least, steps, wanted):
    cfg = aca.ACA(prior_weight=float(start), min_prior_weight=float(least), online_decay_steps=steps)
    found = run(jax.vmap(lambda t: aca_online.prior_weight(cfg, t)), jnp.asarray([0, 1, 5, 10, 1000]))
    same(found, wanted)


def started(**settings):
    """A state of stage 1 with weights drawn, and its context."""
    ctx = Context(Spec((3,), 2))
    cfg = as_arrays(aca.ACA(hidden=(8, 8), initial_temperature=0.3, **settings))
    return cfg, aca.init(cfg, ctx, Noise(jax.random.PRNGKey(0))), ctx


@pytest.mark.slow
def test_stage_3_starts_from_z_and_ranks_as_the_policy():
    cfg, state, ctx = started()
    online = jax.jit(lambda s: aca_online.enter(cfg, s, ctx, None))(state)
    obs, action = (jax.random.normal(jax.random.PRNGKey(i), (5, n)) for i, n in ((1, 3), (2, 2)))
    z = layers.members(state.z.net, obs)[..., 0]
    for critic in (online.critic.net, online.target_critic):
        for a in (action, -action, 0 * action):
            same(critic(obs, a), z)
    same(online.temperature.net, 0.0)
    for one, other in zip(jax.tree.leaves(online.reference), jax.tree.leaves(state.actor.net), strict=True):
        same(one, other)
    # Q(s, a) - Q(s, b) is log pi0(a|s) - log pi0(b|s) but for the floor, which keeps their order
    dist = state.actor.net(obs)
    actions = jnp.tanh(action), jnp.tanh(-2 * action)
    q = [online.critic.net(obs, a)[0] + aca_online.log_prior(online.reference, obs, a, 100.0, 1.0) for a in actions]
    same(q[0] - q[1], dist.log_prob(actions[0]) - dist.log_prob(actions[1]), 1e-9)


@pytest.mark.slow
def test_stage_3_can_start_from_the_offline_critic():
    """Then nothing of pi0 enters: the update is SAC's."""
    cfg, state, ctx = started(online_critic="offline", clip_norm=1e6)
    online = aca_online.enter(cfg, state, ctx, None)
    assert online.critic is state.critic
    assert online.target_critic is state.target_critic
    assert online.temperature is state.temperature
    obs, action, noise = array([1, 2, 3]), array([0.1, -0.4]), Noise(jax.random.PRNGKey(3))
    batch = Batch(obs, action, array(0.5), obs, array(0), array(0))
    _, metrics = aca_online.update(cfg, online, batch, noise, 0)
    other = aca_online.Online(online.actor, None, online.critic, online.target_critic, online.temperature)
    assert (
        aca_online.update(cfg, other, batch, noise, 0)[1]["critic/loss"] == metrics["critic/loss"]
    )  # pi0 is not asked
    same(metrics["critic/prior"], 0.0)
    same(metrics["critic/q"], online.critic.net(obs, action).mean())


def test_phases():
    assert [p.name for p in aca.phases(aca.ACA(z_schedule="separate", align_steps=7))] == ["offline", "align"]
    assert aca.phases(aca.ACA(z_schedule="separate", align_steps=7))[1].steps == 7
    assert [p.name for p in aca.phases(aca.ACA(z_schedule="concurrent"))] == ["offline"]
    (online,) = aca.algorithm.finetune(aca.ACA())
    assert online.mix == {"online": 1.0}
    assert online.collect.warmup == 0  # nothing at random: the policy is known
    assert online.fill is None


def test_stage_3_needs_a_fitted_z():
    assert [p.name for p in aca.phases(aca.ACA(z_schedule="separate", align_steps=0))] == ["offline"]
    again = aca.algorithm.finetune(aca.ACA(z_schedule="separate", align_steps=0, realign_steps=9))
    assert [(p.name, p.steps) for p in again] == [("align", 9), ("online", None)]
    assert aca.algorithm.finetune(aca.ACA(z_schedule="separate", align_steps=0, online_critic="offline"))
    with pytest.raises(UserError, match="Z was never fitted"):
        aca.algorithm.finetune(aca.ACA(z_schedule="separate", align_steps=0))


def test_the_best_episodes_start_the_replay_buffer():
    episodes = [
        {
            "observations": np.zeros((n + 1, 1)),
            "actions": np.zeros((n, 1)),
            "rewards": np.full(n, reward),
            "terminations": np.arange(n) == n - 1,
            "truncations": np.zeros(n, bool),
        }
        for n, reward in ((2, 1.0), (3, 2.0), (4, -1.0), (1, 5.0))
    ]
    data = Dataset.from_episodes(episodes, action_bounds=(-1.0, 1.0))
    found = aca_online.best_transitions(aca.ACA(best_episodes=2), data)  # returns 2, 6, -4, 5
    assert found.tolist() == [2, 3, 4, 9]
    (online,) = aca.algorithm.finetune(aca.ACA(best_episodes=2))
    assert online.fill is aca_online.best_transitions


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
def test_recorded_updates_of_stage_1(name):
    g = Golden(name)
    cfg = aca.ACA(
        z_schedule="concurrent",
        **common(g, "squashed temperature_lr=temp_lr omega target_entropy z_lr", *RATES),
    )
    actor = actor_of(g)
    state = aca_offline.State(
        Trained.new(actor("params/actor"), optimisers.adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        g.critic("target"),
        Trained.new(g.scalar("params/log_temp"), optimisers.adam(cfg.temperature_lr)),
        Trained.new(z_of(g, "params"), optimisers.adam(cfg.z_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            moved = (state.actor.net, state.critic.net, state.target_critic, state.temperature.net)
            return *moved, state.z.net
        at = "expected/params"
        found = (actor(f"{at}/actor", suffix), g.critic(at, suffix), g.critic("expected/target", suffix))
        return *found, g.scalar(f"{at}/log_temp", suffix), z_of(g, at, suffix)

    losses = {f"{ours}/loss": f"{theirs}_loss" for ours, theirs in zip(
        ("temperature", "critic", "z", "actor"), ("temp", "critic", "z", "actor"), strict=True
    )}  # fmt: skip
    losses |= {"temperature/alpha": "temp_before", "actor/weight": "lam"}
    for step in range(1, g.steps + 1):  # metrics before its step, recorded after
        before = g["params/log_temp"] if step == 1 else g[f"expected/params/log_temp/step{step - 1}"]
        g.arrays[f"expected/temp_before/step{step}"] = np.exp(before)
    replay(aca.algorithm, cfg, state, g, expected, losses)


@pytest.mark.parametrize("backup", ["soft", "plain"])
def test_recorded_updates_of_stage_2(backup):
    g = Golden("aca_stage2_align")
    cfg = aca.ACA(z_backup=backup, z_lr=g.setting("z_lr"), discount=g.setting("discount"), hidden=(8, 8))
    actor = Trained.new(actor_of(g)("params/actor"), optimisers.adam(cfg.actor_lr))
    state = aca_offline.State(actor, None, None, None, Trained.new(z_of(g, "params"), optimisers.adam(cfg.z_lr)))

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
def test_recorded_updates_of_stage_3(name):
    g = Golden(name)
    cfg = aca.ACA(
        online_decay_steps=round(1000 * g.setting("interp_kilo_steps")),
        **common(
            g,
            "floor_width=beta prior_weight=interp_start min_prior_weight=interp_floor "
            "clip_norm=actor_grad_clip temperature_lr=temp_lr target_entropy",
            *RATES,
        ),
    )
    actor = actor_of(g)
    state = aca_online.Online(
        Trained.new(actor("params/actor"), optimisers.adam(cfg.actor_lr)),
        actor("params/reference_actor"),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        g.critic("target"),
        Trained.new(g.scalar("params/log_temp"), optimisers.adam(cfg.temperature_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_critic, state.temperature.net
        at = "expected/params"
        found = (actor(f"{at}/actor", suffix), g.critic(at, suffix), g.critic("expected/target", suffix))
        return *found, g.scalar(f"{at}/log_temp", suffix)

    for step in range(1, g.steps + 1):
        g.arrays[f"expected/prior/step{step}"] = g[f"expected/data_log_pi0_weighted/step{step}"].mean()
    losses = {"temperature/loss": "temp_loss", "critic/loss": "critic_loss", "actor/loss": "actor_loss"}
    losses |= {"prior/weight": "weight", "critic/prior": "prior", "actor/gradient_norm": "actor_grad_norm_before_clip"}
    replay(aca.algorithm, cfg, state, g, expected, losses, update=aca_online.update)


def test_recorded_start_of_stage_3():
    g = Golden("aca_stage3_online")
    root = "critic_init"
    z = z_of(g, f"{root}/z")
    spec = Spec((g["batch/obs"].shape[1],), g["batch/action"].shape[1])
    state = aca.init(as_arrays(aca.ACA(hidden=(8, 8))), Context(spec), Noise(jax.random.PRNGKey(0)))
    state = aca_offline.State(state.actor, state.critic, state.target_critic, state.temperature, state.z.replace(z))
    entered = aca_online.enter(aca.ACA(), state, Context(spec), None)
    close("R", entered.critic.net, g.critic(f"{root}/expected"), TOLERANCE)
    close("slow R", entered.target_critic, g.critic(f"{root}/expected_target"), TOLERANCE)
