"""TD3, DDPG, SAC-N, EDAC, ReBRAC, XQL and discrete SAC: losses and targets against numbers worked by hand."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from holdfast.algorithms import ddpg, discrete_sac, edac, rebrac, sac_n, td3, td3_bc, xql
from holdfast.core.contract import Context
from holdfast.core.noise import Tape
from holdfast.core.spec import Seen, Spec
from holdfast.core.trained import Trained
from holdfast.core.tree import PyTree, named_leaves
from holdfast.parts import initialisers, nets, optimisers
from holdfast.parts.distributions import Categorical, TanhNormal
from support.formulas import NOISE, array, batch, critics, linear, mlp, same

pytestmark = pytest.mark.usefixtures("x64")


# parts


def test_the_floor_of_the_squash_correction(run):
    mean, log_std, eps = array([0.3, -0.8]), array([-0.5, 0.2]), array([0.4, -1.1])
    u = mean + np.exp(log_std) * eps
    plain = stats.norm(mean, np.exp(log_std)).logpdf(u)
    for floor in (1e-6, 0.1):
        found = run(lambda m, s, e, f=floor: TanhNormal(m, s, floor=f).sample_and_log_prob(e)[1], mean, log_std, eps)
        same(found, (plain - np.log(1 - np.tanh(u) ** 2 + floor)).sum(-1))
    exact = run(lambda m, s, e: TanhNormal(m, s).sample_and_log_prob(e)[1], mean, log_std, eps)
    same(exact, (plain - np.log(1 - np.tanh(u) ** 2)).sum(-1), 1e-10)
    policy = nets.policy(NOISE, Spec((2,), 2), (4,), "heads", floor=1e-6)
    assert policy(array([[1, 2]])).floor == 1e-6


def test_initial_weights_of_edac():
    layer = initialisers.torch_weights(bias=0.1)(NOISE, 16, 5)
    same(layer.bias, np.full(5, 0.1))
    same(layer.weight, initialisers.torch_uniform(NOISE, 16, 5).weight)
    assert np.abs(layer.weight).max() <= 0.25
    state = sac_n.init(sac_n.SACN(critics=3, hidden=(8, 8)), Context(Spec((3,), 2)), NOISE)
    layers = state.critic.net.nets.layers
    assert layers[0].weight.shape == (3, 5, 8)
    assert np.abs(layers[-1].weight).max() <= 3e-3
    assert np.abs(state.actor.net.net.layers[-1].weight).max() <= 1e-3
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        assert not np.array_equal(layers[0].weight[i], layers[0].weight[j])


# TD3 and DDPG


def actors(module, rows=((0.1,), (-0.2,)), target=((0.3,), (0.1,)), many=2):
    """A state with linear networks: pi(s) = tanh(row . s)."""
    cfg = module.algorithm.Config()
    critic = critics([1, 1, 2], [2, -1, 1])
    slow = critics([1, 0, 1], [0.5, 1, 0])
    cut = lambda net: jax.tree.map(lambda x: x[:many], net)  # noqa: E731
    tx = optimisers.adam(cfg.actor_lr), optimisers.adam(cfg.critic_lr)
    if hasattr(cfg, "actor_decay_steps"):
        tx = td3_bc.optimiser(cfg), td3_bc.critic_optimiser(cfg)
    return td3_bc.State(
        Trained.new(nets.DeterministicPolicy(linear(*rows)), tx[0]),
        Trained.new(cut(critic), tx[1]),
        nets.DeterministicPolicy(linear(*target)),
        cut(slow),
    )


def identical(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_td3_bc_actor_with_units_left_out(run):
    # pi(s) = tanh(s + s): one of two hidden units is dropped, the other doubled, or both are kept
    actor = nets.DeterministicPolicy(mlp(([[1, 1]], [0, 0]), ([[1], [1]], [0])))
    obs, keep = array([0.5], [1]), (array([2, 0], [1, 1]),)
    rows = batch(obs=obs, action=array([0], [0]))
    action = np.tanh([[1.0], [2.0]])
    q = np.array([[0.5], [1.0]]) + 3 * action  # critic: s + 3 a
    loss, found = run(td3_bc.actor_loss, actor, critics([1, 3]), 2.5, rows, 1.0, keep)
    same(found["cloning"], (action**2).mean())
    same(loss, (action**2).mean() - 2.5 * q.mean() / np.abs(q).mean())


def test_td3_bc_critics_may_have_layer_norm():
    cfg = td3_bc.TD3BC(critic_layer_norm=True, hidden=(4, 3))
    made = td3_bc.init(cfg, Context(Spec((2,), 1)), NOISE)
    assert [norm.weight.shape for norm in made.critic.net.nets.norms] == [(2, 4), (2, 3)]
    assert not made.actor.net.net.norms
    assert not td3_bc.init(td3_bc.TD3BC(), Context(Spec((2,), 1)), NOISE).critic.net.nets.norms


def test_td3_loss_of_the_actor_is_the_first_critic(run):
    state = actors(td3)
    obs = array([1], [2])
    a = np.tanh([[0.1, -0.2], [0.2, -0.4]])
    q1 = np.array([1, 2]) + a @ [1, 2]
    same(run(td3.actor_loss, state.actor.net, state.critic.net, obs)[0], -q1.mean())


def test_td3_target_and_its_delay():
    cfg, state = td3.TD3(discount=0.9, polyak=0.5), actors(td3)
    eps = array([1, -5], [0, 0])  # .2 * 1; -1 is clipped to -.5
    noise = Tape({"target_policy": eps})
    a = np.tanh([0.9, 0.3]) + np.array([0.2, -0.5])
    q = min(3 + a @ [0, 1], 1.5 + a @ [1, 0])  # slow critics: 1 s + a2, .5 s + a1
    y = np.array([1 + 0.9 * q, 2])  # the second row is a true end
    first, metrics = td3.update(cfg, state, batch(), noise, jnp.asarray(0))
    assert float(metrics["critic/target"]) == pytest.approx(y.mean())
    q1, q2 = np.array([1 + 0.5, 2 - 2]), np.array([2 - 0.5, 4 - 1])
    assert float(metrics["critic/loss"]) == pytest.approx(((q1 - y) ** 2).mean() + ((q2 - y) ** 2).mean())
    assert metrics["actor/loss"][1] == 0  # updates 1, 3, ... move the actor and all targets
    same_as_before = (first.actor, first.target_actor, first.target_critic)
    assert identical(same_as_before, (state.actor, state.target_actor, state.target_critic))
    second, metrics = td3.update(cfg, first, batch(), noise, jnp.asarray(1))
    assert metrics["actor/loss"][1] == 1
    now, before, slow = second.actor.net.net, first.actor.net.net, second.target_actor.net
    assert not identical(now, before)
    same(slow.layers[0].weight, 0.5 * (now.layers[0].weight + array([0.3, 0.1])))


def test_ddpg_moves_everything_at_every_update_and_draws_nothing():
    cfg, state = ddpg.DDPG(discount=0.9, polyak=0.5), actors(ddpg, many=1)
    after, metrics = ddpg.update(cfg, state, batch(), Tape({}), jnp.asarray(0))
    y = np.array([1 + 0.9 * (3 + math.tanh(0.3)), 2])  # the slow critic is s + a2
    assert float(metrics["critic/target"]) == pytest.approx(y.mean())
    assert float(metrics["critic/loss"]) == pytest.approx(((np.array([1.5, 0]) - y) ** 2).mean())
    same(after.target_actor.net.layers[0].weight, 0.5 * (after.actor.net.net.layers[0].weight + array([0.3, 0.1])))
    slow, now = after.target_critic.nets.layers[0].weight, after.critic.net.nets.layers[0].weight
    same(slow, 0.5 * (now + array([[1], [0], [1]])))
    assert len(ddpg.init(cfg, Context(Spec((1,), 2)), NOISE).critic.net.nets.layers[0].weight) == 1


@pytest.mark.parametrize("module", [td3, ddpg])
def test_exploration_noise_only_to_explore(module):
    cfg, state = module.algorithm.Config(exploration_noise=0.5), actors(module)
    seen = Seen(array([1], [10]), jnp.zeros(2))
    best = np.tanh([[0.1, -0.2], [1, -2]])
    for mode in ("best", "sample"):
        same(module.act(cfg, state, seen, (), Tape({}), mode)[0], best)
    found = module.act(cfg, state, seen, (), Tape({"act": array([1, 0], [2, -1])}), "explore")[0]
    same(found, np.clip(best + np.array([[0.5, 0], [1, -0.5]]), -1, 1))


# SAC-N and EDAC


class Fixed(PyTree):
    """A policy that takes one action with log-density minus `cost` a unit."""

    action: jax.Array

    def __call__(self, obs):
        return self

    def sample_and_log_prob(self, eps):
        return jnp.broadcast_to(self.action, eps.shape), jnp.full(len(eps), -0.5)


def test_the_actor_of_sac_n_takes_the_smallest_of_all_critics(run):
    critic = critics([1, 1, 2], [2, -1, 1], [1, 0, 0])
    obs, action = array([1], [2]), array(0.5, -0.5)
    q = np.array([[1 - 0.5, 2 - 0.5], [2 - 1, 4 - 1], [1, 2]])
    for value in ({"min": q.min(0), "mean": q.mean(0), "mixture": q.mean(0), "lcb": q.mean(0) - 2 * q.std(0)}).items():
        cfg = sac_n.SACN(critics=3, value=value[0], value_deviations=2.0)
        loss, found = run(sac_n.actor_loss, Fixed(action), critic, 0.2, obs, jnp.zeros((2, 2)), cfg)
        same(loss, (0.2 * -0.5 - value[1]).mean())
        same(found["disagreement"], q.std(0).mean())
        same(found["entropy"], 0.5)


@pytest.mark.parametrize("value", ["min", "mean", "lcb", "mixture"])
def test_what_n_target_critics_are_worth(value):
    cfg = sac_n.SACN(critics=3, hidden=(4,), value=value, value_deviations=0.5, discount=0.9)
    state, eps, b = sac_n.init(cfg, Context(Spec((1,), 2)), NOISE), array([0.3, -1], [0, 2]), batch()
    tape = dict.fromkeys(("temperature_action", "actor_action", "target_action"), eps)
    after, metrics = sac_n.update(cfg, state, b, Tape(tape | {"mixture_uniform": array(0.1, 0.3, 0.1)}), 0)
    action, log_prob = after.actor.net(b.next_obs).sample_and_log_prob(eps)
    q, own, mixture = state.target_critic(b.next_obs, action), state.critic.net(b.obs, b.action), array(0.2, 0.6, 0.2)
    worth = {"min": q.min(0), "mean": q.mean(0), "lcb": q.mean(0) - 0.5 * q.std(0), "mixture": mixture @ q}
    y = b.reward + 0.9 * (1 - b.terminated) * (worth[value] - jnp.exp(after.temperature.net) * log_prob)
    same(metrics["critic/target"], y.mean(), 1e-9)
    each = ((own - y[None]) ** 2).mean(1).sum()
    same(metrics["critic/loss"], ((mixture @ own - y) ** 2).mean() if value == "mixture" else each, 1e-9)


def test_similarity_of_gradients(run):
    g = array([[1, 0]], [[0, 2]], [[-3, 0]])  # units (1, 0), (0, 1), (-1, 0): <1,2> = 0, <1,3> = -1, <2,3> = 0
    same(run(edac.similarity, g), -2 / 2, 1e-9)
    same(run(edac.similarity, jnp.concatenate([g, 7 * g], 1)), -1.0, 1e-9)  # lengths do not matter; mean over rows
    g = NOISE.normal("gradients", (5, 4, 3))
    unit = g / np.linalg.norm(g, axis=-1, keepdims=True)
    cosines = np.einsum("ibk,jbk->bij", unit, unit)
    cosines[:, np.arange(5), np.arange(5)] = 0
    same(run(edac.similarity, g), cosines.sum((1, 2)).mean() / 4, 1e-8)
    one = array([[2]], [[3]], [[-1]], [[1]])  # one-dimensional actions: signs; 3 pairs agree, 3 do not
    same(run(edac.similarity, one), 0.0, atol=1e-9)
    assert float(jnp.abs(jax.grad(edac.similarity)(one)).max()) < 1e-9  # ... and nothing to learn from


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_similarity_is_finite_at_gradients_of_zero(dtype):
    g = jnp.asarray([[[0, 0], [1, 2]], [[0, 1], [0, 0]]], dtype)
    value, slope = jax.value_and_grad(edac.similarity)(g)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_action_gradients(run):
    critic = nets.critic(NOISE, Spec((3,), 2), (8, 8), 4)
    obs, action = NOISE.normal("obs", (5, 3)), NOISE.uniform("action", (5, 2))
    q, gradient = run(edac.action_gradients, critic, obs, action)
    same(q, critic(obs, action))
    each = jax.jacrev(lambda a: critic(obs, a))(action)  # [E, B, B, A]
    same(gradient, np.einsum("ebba->eba", each))


def test_loss_of_edac(run):
    critic, y, b = critics([1, 1, 0], [2, 0, 2], [1, -3, 0]), array(1, 2), batch()
    q = np.array([[1.5, 2], [2, 2], [-0.5, 2]])  # gradients (1, 0), (0, 2), (-3, 0) as above: similarity -1
    td = ((q - [1, 2]) ** 2).mean(1).sum()
    loss, found = run(edac.critic_loss, critic, y, b, 0.7)
    same(loss, td - 0.7, 1e-9)
    same(found["td"], td)
    same(found["similarity"], -1.0, 1e-9)


def test_edac_needs_two_critics():
    assert edac.check(edac.EDAC(critics=2)) == []
    assert "at least 2" in edac.check(edac.EDAC(critics=1))[0]
    assert len(edac.check(edac.EDAC(critics=0, diversity=-1.0))) == 2
    assert "expected one of min, mean, lcb" in edac.check(edac.EDAC(value="mixture"))[0]
    assert "lcb of one critic" in sac_n.check(sac_n.SACN(critics=1, value="lcb"))[0]


# ReBRAC


def test_loss_of_rebracs_actor(run):
    state, b = actors(rebrac), batch()
    a = np.tanh([[0.1, -0.2], [0.2, -0.4]])
    q = np.minimum([1, 2] + a @ [1, 2], [2, 4] + a @ [-1, 1])
    cloning = ((a - [[0.5, 0], [0, -1]]) ** 2).sum(1).mean()  # a sum over action dimensions
    loss, found = run(rebrac.actor_loss, state.actor.net, state.critic.net, 0.3, b)
    same(loss, 0.3 * cloning - q.mean() / np.abs(q).mean())
    same(found["lambda"], 1 / np.abs(q).mean())

    # lambda is not differentiated: the slope of Q's part is that of -lambda Q with lambda held
    def held(net):
        action = net(b.obs).mode()
        return 0.3 * rebrac.distance(action, b.action).mean() - state.critic.net(b.obs, action).min(0).mean() * scale

    scale = 1 / np.abs(q).mean()
    slope = jax.grad(lambda net: rebrac.actor_loss(net, state.critic.net, 0.3, b)[0])(state.actor.net)
    jax.tree.map(same, slope, jax.grad(held)(state.actor.net))


def test_rebracs_target_and_its_rhythm():
    cfg, state = rebrac.ReBRAC(critic_penalty=0.5, discount=0.9, polyak=0.5), actors(rebrac)
    b = batch(extra={"next_action": array([0.5, -0.5], [1, 1])})
    noise = Tape({"target_policy": array([1, -5], [0, 0])})
    a = np.tanh([0.9, 0.3]) + np.array([0.2, -0.5])
    q = min(3 + a @ [0, 1], 1.5 + a @ [1, 0]) - 0.5 * ((a - [0.5, -0.5]) ** 2).sum()
    first, metrics = rebrac.update(cfg, state, b, noise, jnp.asarray(0))
    assert float(metrics["critic/target"]) == pytest.approx((1 + 0.9 * q + 2) / 2)
    assert metrics["actor/loss"][1] == 1  # the first update is a full one
    before, slow = state.actor.net.net.layers[0].weight, first.target_actor.net.layers[0].weight
    assert not np.array_equal(first.actor.net.net.layers[0].weight, before)
    same(slow, 0.5 * (before + array([0.3, 0.1])))  # the target actor follows the old actor ...
    slow, now = first.target_critic.nets.layers[0].weight, first.critic.net.nets.layers[0].weight
    same(slow, 0.5 * (now + array([[1], [0], [1]], [[0.5], [1], [0]])))  # ... and the target critics the new critics
    second, metrics = rebrac.update(cfg, first, b, noise, jnp.asarray(1))
    assert metrics["actor/loss"][1] == 0
    unmoved = (first.actor, first.target_actor, first.target_critic)
    assert identical((second.actor, second.target_actor, second.target_critic), unmoved)


def test_rebracs_critics_have_layer_norm_after_their_activations():
    state = rebrac.init(rebrac.ReBRAC(hidden=(8, 8)), Context(Spec((3,), 2)), NOISE)
    assert state.critic.net.nets.norm == "post"
    assert len(state.critic.net.nets.norms) == 2
    assert state.actor.net.net.norms == ()


# XQL


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


def test_xqls_critics_are_linear_beyond_delta(run):
    critic, b = critics([1, 0, 0], [2, 0, 0]), batch()  # Q1 = 1, 2; Q2 = 2, 4
    loss, _ = run(xql.critic_loss, critic, array(0, 30), b, 20.0)
    # errors 1, -28; 2, -26: .5, 20 * 8 + 200; 2, 20 * 6 + 200
    same(loss, (0.5 + 360) / 2 + (2 + 320) / 2)


def test_xqls_smoothed_rows():
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


def test_xqls_value_is_fitted_on_random_actions_too():
    """With one layer everywhere: V's loss over the data's rows and the random ones, Q at each."""
    spec, cfg = Spec((1,), 2), xql.XQL(random_actions=1, value_updates=3, hidden=(4,), actor_decay_steps="run")
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


# discrete SAC

LOGITS = np.array([[0.0, 1, 2, -1], [3, 0, 0, 0]])
Q = np.array([[1.0, -2, 0.5, 3], [0, 1, -1, 2]])


def test_soft_value_is_a_sum_over_actions(run):
    p = special.softmax(LOGITS, 1)
    wanted = (p * (Q - 0.3 * np.log(p))).sum(1)
    same(run(lambda x, q: discrete_sac.soft_value(Categorical(x), q, 0.3), LOGITS, Q), wanted)
    # the best policy is softmax(Q / alpha), its value alpha log sum exp(Q / alpha)
    best = run(lambda q: discrete_sac.soft_value(Categorical(q / 0.3), q, 0.3), Q)
    same(best, 0.3 * special.logsumexp(Q / 0.3, 1))
    slope = run(jax.grad(lambda x: discrete_sac.soft_value(Categorical(x), Q, 0.3).sum()), jnp.asarray(Q / 0.3))
    assert np.abs(slope).max() < 1e-12


def test_illegal_actions_count_nowhere(run):
    mask = jnp.asarray([[True, True, False, True], [False, True, True, False]])
    p = np.where(mask, special.softmax(LOGITS, 1), 0)
    p /= p.sum(1, keepdims=True)
    log_p = np.log(p, where=p > 0, out=np.zeros_like(p))

    def value(x, q):
        return discrete_sac.soft_value(Categorical(x).among(mask), q, 0.3)

    same(run(value, LOGITS, Q), (p * (Q - 0.3 * log_p)).sum(1))
    slope = run(jax.grad(lambda x: value(x, Q).sum()), jnp.asarray(LOGITS))
    assert np.isfinite(slope).all()
    assert (np.asarray(slope)[~mask] == 0).all()
    none = Categorical(jnp.asarray(LOGITS)).among(jnp.zeros((2, 4), bool))  # after an end nothing may be legal
    p = special.softmax(LOGITS, 1)  # the law as it is: the end cuts the bootstrap
    same(run(discrete_sac.soft_value, none, Q, 0.3), (p * (Q - 0.3 * np.log(p))).sum(1))


def test_temperature_rises_where_the_policy_is_too_sure(run):
    entropy, goal = array(0.2, 0.4), array(1, 1)
    slope, found = run(jax.grad(discrete_sac.temperature_loss, has_aux=True), jnp.asarray(0.5), entropy, goal)
    same(slope, 0.3 - 1)  # log alpha moves against it: up
    same(found["alpha"], math.exp(0.5))


@pytest.mark.parametrize("masked", [False, True])
def test_update_of_discrete_sac(masked):
    cfg = discrete_sac.DiscreteSAC(discount=0.9, hidden=(8,), entropy_share=0.5)
    state = discrete_sac.init(cfg, Context(Spec((1,), 4, discrete=True)), NOISE)
    legal = np.array([[True, True, False, True], [True, True, False, False]]) if masked else np.ones((2, 4), bool)
    masks = {"mask": jnp.asarray(legal), "next_mask": jnp.asarray(legal[::-1])} if masked else {}
    b = batch(action=jnp.asarray([1, 0]), **masks)
    after, metrics = discrete_sac.update(cfg, state, b, Tape({}), jnp.asarray(0))  # no draw at all
    x = np.where(legal[::-1], state.actor.net(b.next_obs).logits, -np.inf)
    p = special.softmax(x, 1)
    v = (p * state.target_critic.all(b.next_obs).min(0)).sum(1) + stats.entropy(p, axis=1)  # alpha is 1
    y = np.array([1 + 0.9 * v[0], 2])
    assert float(metrics["critic/target"]) == pytest.approx(y.mean())
    assert float(metrics["temperature/goal"]) == pytest.approx(0.5 * np.log(legal.sum(1)).mean())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
