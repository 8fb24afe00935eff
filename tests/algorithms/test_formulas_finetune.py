"""Losses, targets and switches of ACA, Cal-QL, RLPD, SPOT online and CQL's SAC against numbers worked by hand."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import aca, aca_online, cal_ql, cql, rlpd, sac, spot
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise, Tape
from holdfast.core.spec import Batch, Spec
from holdfast.core.trained import Trained
from holdfast.data.dataset import Dataset
from holdfast.parts import initialisers, layers, nets, optimisers
from holdfast.parts.distributions import Normal, TanhNormal
from support.formulas import array, critics, same

pytestmark = pytest.mark.usefixtures("x64")


def row(obs=1.0, action=0.5, reward=2.0, terminated=0.0, **extra):
    """One row of one observation and one action."""
    fields = (array([obs]), array([action]), array(reward), array([3.0]), array(terminated), array(0))
    return Batch(*fields, extra={name: array(value) for name, value in extra.items()})


def density(x, mean=0.0, std=1.0):
    """Of a normal, as a logarithm."""
    return -0.5 * ((x - mean) / std) ** 2 - math.log(std) - 0.5 * math.log(2 * math.pi)


class Flat(nets.Policy):
    """A normal of deviation 1/2 around 0 in every state."""

    def __call__(self, obs, keep=()):
        return Normal(jnp.zeros((*obs.shape[:-1], 1)), jnp.full((*obs.shape[:-1], 1), math.log(0.5)))


# the parts


def test_densities_by_deviations_from_the_mean(run):
    law, squashed = Normal(array(0.2), array(math.log(0.5))), TanhNormal(array(0.2), array(math.log(0.5)))
    for eps in (-3.0, 0.0, 2.0):
        u = 0.2 + 0.5 * eps
        same(run(lambda law, e: law.log_prob_at(e), law, eps), density(u, 0.2, 0.5))
        wanted = density(u, 0.2, 0.5) - math.log(1 - math.tanh(u) ** 2)
        same(run(lambda law, e: law.log_prob_at(e), squashed, eps), wanted)
    action, log_prob = run(lambda law, e: law.sample_and_log_prob(e), law, array(2.0))
    same(action, [1.0])  # 1.2, clipped; the density is that of what was clipped
    same(log_prob, density(1.0, 0.2, 0.5))


@pytest.mark.parametrize("heads", [1, 2])
def test_xavier(heads):
    """Two heads of 25 outputs side by side have the bound of 25, not of 50."""
    layer = initialisers.xavier(heads)(Noise(jax.random.PRNGKey(0)), 100, 50)
    bound = math.sqrt(6 / (100 + 50 / heads))
    assert 0.99 * bound < np.abs(layer.weight).max() <= bound
    assert np.asarray(layer.weight).std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    same(layer.bias, np.zeros(50))


def test_clipping_leaves_the_optimisers_state_as_it_is(run):
    """A phase may begin to clip; gradients within the bound are left alone, zero ones stay zero."""
    free, bound = optimisers.adam(0.1), optimisers.adam(0.1, clip_norm=5.0)
    state = free.init(array(0, 0))
    assert jax.tree.structure(state) == jax.tree.structure(bound.init(array(0, 0)))
    for gradient in ([3.0, 3.9], [0.0, 0.0]):
        same(run(bound.update, array(*gradient), state)[0], run(free.update, array(*gradient), state)[0])
    _, (moments, _) = run(bound.update, array(6.0, 8.0), state)
    same(moments.mu, 0.1 * array(6, 8) * 5 / (10 + 1e-6))


# ACA


@pytest.mark.parametrize(("normalize_by", "size"), [("policy", 0.7 * 2), ("data", 1 * 0.5)])
def test_aca_actor_loss(run, normalize_by, size):
    """One row s = 1, a = .5; critics 2 a and s a, of which the smaller counts; a drawn action of .35 (eps .7)."""
    cfg = as_arrays(aca.ACA(omega=3.0, normalize_by=normalize_by))
    critic = critics([0, 2], [0, 3])
    loss, told = run(lambda eps: aca.actor_loss(Flat(None), critic, 0.2, row(), eps, cfg), array([0.7]))
    q, log_prob = 2 * 0.35, density(0.35, 0, 0.5)
    size = q if normalize_by == "policy" else 2 * 0.5
    weight = 3 / size
    same(told["weight"], weight)
    same(loss, weight * (0.2 * log_prob - q) - density(0.5, 0, 0.5))


def test_aca_weight_is_not_differentiated():
    """The gradient is lambda times that of the SAC objective less the likelihood's, with lambda held."""
    cfg = as_arrays(aca.ACA(omega=3.0))
    critic, batch, eps = critics([0, 2], [0, 3]), row(), array([0.7])
    actor = nets.SigmoidGaussianPolicy(layers.MLP((layers.Linear(array([0.3]), array(0.1)),), ()), array(0.4))
    found = jax.grad(lambda a: aca.actor_loss(a, critic, 0.2, batch, eps, cfg)[0])(actor)
    weight = aca.actor_loss(actor, critic, 0.2, batch, eps, cfg)[1]["weight"]

    def held(actor):
        law = actor(batch.obs)
        action, log_prob = law.sample_and_log_prob(eps)
        q = critic(batch.obs, action).min(0)
        return (weight * (0.2 * log_prob - q) - law.log_prob(batch.action)).mean()

    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(jax.grad(held)(actor)), strict=True):
        same(one, other)


def test_aca_unsquashed_policy(run):
    """Mean tanh(MLP), deviation exp(-5 + 5 sigmoid(parameter)) in every state."""
    actor = nets.SigmoidGaussianPolicy(layers.MLP((layers.Linear(array([0.3]), array(0.1)),), ()), array(math.log(3)))
    law = run(lambda obs: actor(obs), array([1], [2]))
    same(law.mean, np.tanh([[0.4], [0.7]]))
    same(law.log_std, [[-5 + 5 * 0.75]] * 2)


@pytest.mark.parametrize("terminated", [0.0, 1.0])
@pytest.mark.parametrize(("backup", "alpha"), [("soft", 1.0), ("soft", 0.25), ("plain", 0.25)])
def test_aca_fits_z(run, backup, alpha, terminated):
    """Z_1 = s, Z_2 = 2 s - 1 s: at s' = 3 the smaller is 3 w; the loss is of log pi0 + Z_i."""
    cfg = as_arrays(aca.ACA(z_backup=backup, discount=0.5, z_lr=0.1))
    z = Trained.new(critics([1], [2]).nets, optimisers.adam(cfg.z_lr))
    batch = row(terminated=terminated)
    _, told = run(lambda: aca.fit_z(cfg, z, Flat(None), alpha, batch, Tape({"z_target_action": array([0.7])})))
    share = 1.0 if backup == "plain" else 1 - alpha
    y = 2 + (1 - terminated) * 0.5 * (share * density(0.35, 0, 0.5) + 3)
    log_prob = density(0.5, 0, 0.5)
    same(told["z/target"], y)
    same(told["z/loss"], (log_prob + 1 - y) ** 2 + (log_prob + 2 - y) ** 2)
    same(told["z/z"], 1.5)


def test_aca_prior_is_floored_and_weighted(run):
    """w (softplus(log pi0 - c) + c), c two deviations away; near the mean it is log pi0, far off it stops at w c."""
    c = density(1.0, 0, 0.5)  # two deviations of 1/2
    for action, weight in ((0.1, 1.0), (0.9, 0.5), (-1.0, 2.0)):
        found = run(lambda a, w: aca_online.log_prior(Flat(None), array([0]), a, 2.0, w), array([action]), weight)
        same(found, [weight * (math.log1p(math.exp(density(action, 0, 0.5) - c)) + c)])
    far = run(lambda a: aca_online.log_prior(Flat(None), array([0]), a, 2.0, 0.5), array([40.0]))
    same(far, [0.5 * c])


def test_aca_floor_is_the_lower_side_of_a_squashed_law():
    """Around a mean that tanh saturates the two sides differ."""
    law = TanhNormal(array([1.0]), array([-0.5]))
    sides = law.log_prob_at(-2.0), law.log_prob_at(2.0)
    assert sides[0] < sides[1]

    class Steep(nets.Policy):
        def __call__(self, obs, keep=()):
            return law

    action = jnp.tanh(array([-6.0]))  # far below the mean
    found = aca_online.log_prior(Steep(None), array([0]), action, 2.0, 1.0)
    same(found, jax.nn.softplus(law.log_prob(action) - sides[0]) + sides[0])


@pytest.mark.parametrize(
    ("start", "least", "steps", "wanted"),
    [(1, 0, 10, [1, 0.9, 0.5, 0, 0]), (1, 0.5, 20, [1, 0.95, 0.75, 0.5, 0.5]), (1, 1, 100, [1] * 5)],
)
def test_aca_prior_weight_falls_to_its_floor(run, start, least, steps, wanted):
    cfg = aca.ACA(prior_weight=float(start), min_prior_weight=float(least), online_decay_steps=steps)
    found = run(jax.vmap(lambda t: aca_online.prior_weight(cfg, t)), jnp.asarray([0, 1, 5, 10, 1000]))
    same(found, wanted)


def started(**settings):
    """A state of stage 1 with weights drawn, and its context."""
    ctx = Context(Spec((3,), 2))
    cfg = as_arrays(aca.ACA(hidden=(8, 8), initial_temperature=0.3, **settings))
    return cfg, aca.init(cfg, ctx, Noise(jax.random.PRNGKey(0))), ctx


def test_aca_begins_online_with_z_and_the_policys_ranking():
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
    law = state.actor.net(obs)
    actions = jnp.tanh(action), jnp.tanh(-2 * action)
    q = [online.critic.net(obs, a)[0] + aca_online.log_prior(online.reference, obs, a, 100.0, 1.0) for a in actions]
    same(q[0] - q[1], law.log_prob(actions[0]) - law.log_prob(actions[1]), 1e-9)


def test_aca_can_begin_online_with_the_offline_critic():
    """Then nothing of pi0 enters: the update is SAC's."""
    cfg, state, ctx = started(online_critic="offline", clip_norm=1e6)
    online = aca_online.enter(cfg, state, ctx, None)
    assert online.critic is state.critic
    assert online.target_critic is state.target_critic
    assert online.temperature is state.temperature
    obs, action, noise = array([1, 2, 3]), array([0.1, -0.4]), Noise(jax.random.PRNGKey(3))
    batch = Batch(obs, action, array(0.5), obs, array(0), array(0))
    _, told = aca_online.update(cfg, online, batch, noise, 0)
    other = aca_online.Online(online.actor, None, online.critic, online.target_critic, online.temperature)
    assert aca_online.update(cfg, other, batch, noise, 0)[1]["critic/loss"] == told["critic/loss"]  # pi0 is not asked
    same(told["critic/prior"], 0.0)
    same(told["critic/q"], online.critic.net(obs, action).mean())


def test_aca_phases():
    assert [p.name for p in aca.phases(aca.ACA(align_steps=7))] == ["offline", "align"]
    assert aca.phases(aca.ACA(align_steps=7))[1].steps == 7
    assert [p.name for p in aca.phases(aca.ACA(z_schedule="concurrent"))] == ["offline"]
    (online,) = aca.algorithm.finetune(aca.ACA())
    assert online.mix == {"online": 1.0}
    assert online.collect.warmup == 0  # nothing at random: the policy is known
    assert online.fill is None


def test_aca_aligns_before_going_online_where_it_was_not():
    assert [p.name for p in aca.phases(aca.ACA(align_steps=0))] == ["offline"]
    again = aca.algorithm.finetune(aca.ACA(align_steps=0, realign_steps=9))
    assert [(p.name, p.steps) for p in again] == [("align", 9), ("online", None)]
    assert aca.algorithm.finetune(aca.ACA(align_steps=0, online_critic="offline"))
    with pytest.raises(UserError, match=r"Z was never fitted \(align_steps is 0\): set realign_steps"):
        aca.algorithm.finetune(aca.ACA(align_steps=0))


def test_aca_keeps_the_best_episodes():
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


# Cal-QL


@pytest.mark.parametrize(
    ("floor", "raised", "rate"), [(2.0, [2.0, 5.0], 0.5), (-9.0, [0.0, 5.0], 0.0), (7.0, [7.0, 7.0], 1.0)]
)
def test_cal_ql_raises_the_policys_values_alone(run, floor, raised, rate):
    """Candidates of Q 1 (uniform), 0 and 5 (the policy's), densities 1, e and 1; the logged action's Q is 3."""
    cfg = as_arrays(cal_ql.CalQL(n_actions=1, penalty_temperature=2.0))
    q, log_density = array([[1], [0], [5]]), array([0], [1], [0])
    found, told = run(lambda q: cal_ql.difference_of(cfg, q, array([3]), array(floor), log_density), q)
    kept = [1.0, raised[0] - 1, raised[1]]
    same(found, [2 * math.log(sum(math.exp(x / 2) for x in kept)) - 3])
    same(told, rate)


def test_cal_ql_bounds_each_rows_difference(run):
    """Rows of logged Q 0 and 500: the second's difference would be far below -200."""
    cfg = as_arrays(cal_ql.CalQL(n_actions=1, min_difference=-200.0))
    q, density_ = jnp.zeros((1, 3, 2)), jnp.zeros((3, 2))
    found, _ = run(lambda q: cal_ql.difference_of(cfg, q, array([0, 500]), array(-9, -9), density_), q)
    same(found, [(math.log(3) - 200) / 2])


@pytest.mark.parametrize("lagrange", [False, True])
def test_cal_ql_critic_loss(run, lagrange):
    """A critic s + a on s = 1, a = .5, y = 1; uniform -1, policy 0 and 1, all of density 1; the floor is 1.8."""
    cfg = as_arrays(cal_ql.CalQL(n_actions=1, alpha=3.0, lagrange=lagrange, gap=0.25))
    critic, batch = critics([1, 1]), row(mc_return=1.8)
    action = array([[-1]], [[0]], [[1]])
    loss, told = run(lambda a: cal_ql.critic_loss(critic, array(1), batch, a, jnp.zeros((3, 1)), cfg, 2.0), action)
    difference = math.log(math.exp(0) + math.exp(1.8) + math.exp(2)) - 1.5
    penalty = 2 * (3 * difference - 0.25) if lagrange else 3 * difference
    same(loss, 0.25 + penalty)
    same(told["bound_rate"], 0.5)
    same(told["q_mu"], 1.0)  # as they are, not as raised


def test_cal_ql_online_keeps_the_bound():
    (online,) = cal_ql.algorithm.finetune(cal_ql.CalQL(data_share=0.25))
    assert online.mix == {"data": 0.25, "online": 0.75}
    assert online.collect.whole  # rows carry their episode's return
    assert online.update is None  # the same update
    assert cal_ql.algorithm.needs(cal_ql.CalQL()).columns == ("mc_return",)


# RLPD


def test_rlpd_losses(run):
    """Critics s + a, 2 s + a, 3 s + a on s = 1: the mean over members and rows; the actor follows their mean."""
    critic = critics([1, 1], [2, 1], [3, 1])
    loss, told = run(lambda y: rlpd.critic_loss(critic, y, row()), array(2.0))
    same(loss, (0.5**2 + 0.5**2 + 1.5**2) / 3)
    same(told["spread"], math.sqrt(2 / 3))
    loss, _ = run(lambda eps: rlpd.actor_loss(Flat(None), critic, 0.2, array([1]), eps), array([0.7]))
    same(loss, 0.2 * density(0.35, 0, 0.5) - (2 + 0.35))


def test_rlpd_refuses_a_subset_larger_than_the_ensemble():
    assert rlpd.check(rlpd.RLPD(critics=3, subset=3)) == []
    assert rlpd.check(rlpd.RLPD(critics=3, subset=4)) == ["subset is 4, expected at most critics, 3"]


def test_rlpd_one_update_a_step_is_a_slice_of_its_own():
    """With ratio 1 the batch comes without the axis of slices, and the update is that of one slice."""
    cfg = as_arrays(rlpd.RLPD(update_ratio=1, critics=2, hidden=(4,)))
    state = rlpd.init(cfg, Context(Spec((1,), 1)), Noise(jax.random.PRNGKey(0)))
    noise = Noise(jax.random.PRNGKey(1))
    one, _ = rlpd.update(cfg, state, row(), noise, 0)
    sliced = dataclasses.replace(cfg, update_ratio=2)  # not read but for the axis
    other, _ = rlpd.update(sliced, state, jax.tree.map(lambda x: x[None], row()), noise, 0)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        same(a, b)


def test_rlpd_phases():
    (phase,) = rlpd.phases(rlpd.RLPD(data_share=0.25, warmup=11))
    assert phase.mix == {"data": 0.25, "online": 0.75}
    assert (phase.collect.warmup, phase.collect.every) == (11, 1)  # an update is what belongs to a step
    assert rlpd.needs(rlpd.RLPD(update_ratio=5)).batches == 5


# SPOT online, and SAC after CQL


@pytest.mark.parametrize(("steps", "wanted"), [(10, [0.9, 0.5, 0.2, 0.2]), (0, [1, 1, 1, 1])])
def test_spot_cools_its_price(run, steps, wanted):
    cfg = spot.SPOT(online_decay_steps=steps)
    found = run(jax.vmap(lambda t: spot.support_share(cfg, t)), jnp.asarray([0, 4, 7, 100]))
    same(found, wanted)


def test_spot_online_is_the_update_with_a_lower_price():
    cfg = as_arrays(spot.SPOT(hidden=(4,), vae_hidden=(4,), actor_dropout=0.0, online_decay_steps=10))
    ctx, noise = Context(Spec((1,), 1)), Noise(jax.random.PRNGKey(1))
    state = spot.init(cfg, ctx, Noise(jax.random.PRNGKey(0)))
    found, told = spot.online_update(cfg, state, row(), noise, 3)  # an update of the actor
    same(told["support/weight"], 0.6 * 0.1)
    wanted, _ = spot.update(dataclasses.replace(cfg, support_weight=0.6 * 0.1), state, row(), noise, 3)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        same(a, b, 1e-9)


def test_sac_goes_on_from_cql():
    cfg = as_arrays(cql.CQL(hidden=(4,), target_entropy=-0.3, actor_lr=0.01))
    ctx, noise = Context(Spec((1,), 1)), Noise(jax.random.PRNGKey(1))
    state = cql.init(cfg, ctx, Noise(jax.random.PRNGKey(0)))
    online = jax.jit(functools.partial(cql.enter, cfg, ctx=ctx, noise=None))(state)
    found, _ = cql.online_update(cfg, online, row(), noise, 0)
    same_rates = {n: getattr(cfg, n) for n in ("discount", "polyak", "actor_lr", "critic_lr", "temperature_lr")}
    plain = as_arrays(sac.SAC(target_entropy=-0.3, **same_rates))
    wanted, _ = sac.update(
        plain, sac.State(state.actor, state.critic, state.target_critic, state.temperature), row(), noise, 0
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        same(a, b)
