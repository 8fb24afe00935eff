"""Losses, targets, laws, optimisers, networks, noise, configs against numbers worked by hand, with and without jit."""

from __future__ import annotations

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import integrate, optimize, stats

from holdfast.algorithms import awac, filtered_bc
from holdfast.core import config as configs
from holdfast.core.config import config, faults, from_dict, static, to_dict, traced_fields
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise, Tape, normals
from holdfast.core.spec import Batch, Spec
from holdfast.core.trained import Trained, merge, occasionally, weighted
from holdfast.core.tree import ema, named_leaves, where
from holdfast.parts import initialisers, layers, losses, nets, optimisers, targets
from holdfast.parts.distributions import Categorical, Deterministic, Normal, TanhNormal, choose, draw, squash_correction
from support.formulas import NOISE, array, batch, critics, linear, mlp, same

pytestmark = pytest.mark.usefixtures("x64")


# losses


def test_expectile(run):
    # u = 2: .7 * 4;  u = -2: |.7 - 1| * 4;  u = 0: 0
    same(run(losses.expectile, array(2, -2, 0), 0.7), [2.8, 1.2, 0])
    same(run(losses.expectile, array(3, -3), 0.5), [4.5, 4.5])  # half the square


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.7, 0.95])
def test_the_minimiser_of_the_expectile_loss_is_the_expectile(run, tau):
    x = array(-1, 0, 0.5, 4, 9)

    def defect(m):  # tau E(x - m)+ = (1 - tau) E(m - x)+
        return float(tau * jnp.maximum(x - m, 0).sum() - (1 - tau) * jnp.maximum(m - x, 0).sum())

    root = optimize.brentq(defect, -1, 9, xtol=1e-13)
    slope = run(jax.grad(lambda m: losses.expectile(x - m, tau).mean()), jnp.asarray(root))
    assert abs(slope) < 1e-10
    if tau == 0.5:
        assert root == pytest.approx(2.5)  # the mean


def test_exp_weight_is_capped_on_the_weight(run):
    # e^(3 * .5) = 4.4817;  e^(3 * 2) = 403 > 100;  e^(3 * 1.5) = 90.017 < 100: below the cap nothing moves
    same(run(losses.exp_weight, array(0.5, 2, 1.5, -1), 3.0, 100.0), [math.exp(1.5), 100, math.exp(4.5), math.exp(-3)])
    same(run(losses.exp_weight, array(1e6, -1e6), 10.0, 100.0), [100, 0])


def test_huber(run):
    # .5: .25 / 2;  3: 1/2 + 1 * 2;  -3, delta 2: 2 + 2 * 1
    same(run(losses.huber, array(0.5, 3, -3)), [0.125, 2.5, 2.5])
    same(run(losses.huber, array(-3, 1), 2.0), [4, 0.5])


# targets


def rows(reward, terminated, truncated, **extra):
    none = jnp.zeros((len(reward), 1))
    return Batch(none, none, array(*reward), none, array(*terminated), array(*truncated), extra=extra)


def test_td_target(run):
    # 1 + .9 * 10;  true end: 1;  time limit: still 1 + .9 * 10
    batch = rows([1, 1, 1], [0, 1, 0], [0, 0, 1])
    same(run(targets.td, batch, array(10, 10, 10), 0.9), [10, 1, 10])
    # a logged discount of .5 and 0 multiplies: 1 + .9 * .5 * 10, 1 + 0, and the true end stays an end
    batch = rows([1, 1, 1], [0, 0, 1], [0, 0, 0], discount=array(0.5, 0, 1))
    same(run(targets.td, batch, array(10, 10, 10), 0.9), [5.5, 1, 1])


# distributions

MEAN, LOG_STD = np.array([[0.3, -0.8], [1.5, 0.0]]), np.array([[-0.5, 0.2], [-1.0, 0.4]])
ACTION = np.array([[0.2, 0.9], [-0.7, -0.3]])


def test_normal_against_scipy(run):
    law = Normal(MEAN, LOG_STD)
    ours = stats.norm(MEAN, np.exp(LOG_STD))
    same(run(lambda d, a: d.log_prob(a), law, ACTION), ours.logpdf(ACTION).sum(-1))
    same(run(lambda d: d.entropy(), law), ours.entropy().sum(-1))
    same(run(lambda d: d.mode(), law), [[0.3, -0.8], [1.0, 0.0]])  # clipped to the bounds
    eps = array([1, -1], [0, 2])
    # .3 + e^-.5 = .9065;  -.8 - e^.2 < -1;  1.5 > 1;  2 e^.4 > 1
    same(run(lambda d, e: d.sample(e), law, eps), [[0.3 + math.exp(-0.5), -1], [1, 1]])


def test_tanh_normal_density_is_the_change_of_variables(run):
    law = TanhNormal(MEAN, LOG_STD)
    u = np.arctanh(ACTION)
    plain = stats.norm(MEAN, np.exp(LOG_STD)).logpdf(u) - np.log(1 - ACTION**2)
    same(run(lambda d, a: d.log_prob(a), law, ACTION), plain.sum(-1), 1e-10)
    same(run(lambda d: d.mode(), law), np.tanh(MEAN))


@pytest.mark.parametrize(("mean", "log_std"), [(0.3, -0.5), (-1.0, 0.3), (0.0, -2.0)])
def test_tanh_normal_density_integrates_to_one_and_to_scipys_probabilities(mean, log_std):
    law = TanhNormal(array(mean), array(log_std))
    density = jax.jit(lambda a: jnp.exp(law.log_prob(a[None])))
    edge = 1 - 1e-6
    # what lies beyond the edges is P(|u| > atanh(edge))
    under = stats.norm(mean, math.exp(log_std))
    inside = under.cdf(math.atanh(edge)) - under.cdf(-math.atanh(edge))
    assert integrate.quad(lambda a: float(density(a)), -edge, edge, limit=400)[0] == pytest.approx(inside, abs=1e-6)
    part = integrate.quad(lambda a: float(density(a)), -0.5, 0.4)[0]
    assert part == pytest.approx(under.cdf(math.atanh(0.4)) - under.cdf(math.atanh(-0.5)), abs=1e-9)


def test_tanh_normal_sample_and_its_density_agree(run):
    law = TanhNormal(MEAN, LOG_STD)
    eps = array([0.5, -1], [1.2, 0.1])
    action, log_prob = run(lambda d, e: d.sample_and_log_prob(e), law, eps)
    same(action, np.tanh(MEAN + np.exp(LOG_STD) * eps))
    same(action, run(lambda d, e: d.sample(e), law, eps))
    same(log_prob, law.log_prob(action), 1e-8)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_saturated_actions_have_finite_densities_and_gradients(dtype):
    for edge in (1e-6, 1e-3):
        action = jnp.asarray([[1.0, -1.0]], dtype)

        def total(mean, action=action, edge=edge, dtype=dtype):
            return TanhNormal(mean, jnp.zeros((1, 2), dtype), edge).log_prob(action).sum()

        value, slope = jax.value_and_grad(total)(jnp.zeros((1, 2), dtype))
        assert np.isfinite(value)
        assert np.isfinite(slope).all()
    far = TanhNormal(jnp.asarray([[50.0]], dtype), jnp.zeros((1, 1), dtype))
    action, log_prob = far.sample_and_log_prob(jnp.zeros((1, 1), dtype))
    assert action.tolist() == [[1.0]]
    # log(1 - tanh(50)^2) = 2 log 2 - 100, where 1 - tanh^2 itself is 0
    same(log_prob, [-0.5 * math.log(2 * math.pi) - (2 * math.log(2) - 100)], 1e-6)


def test_squash_correction(run):
    u = array(-3, -0.2, 0, 1, 4)
    same(run(squash_correction, u), np.log(1 - np.tanh(u) ** 2), 1e-9)
    same(run(squash_correction, array(300.0)), [2 * math.log(2) - 600])


LOGITS = np.array([[0.0, 1, 2, -1], [3, 0, 0, 0]])


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_categorical(run):
    p = softmax(LOGITS)
    law = Categorical(LOGITS)
    same(run(lambda d: d.log_probs(), law), np.log(p))
    same(run(lambda d, a: d.log_prob(a), law, jnp.asarray([2, 1])), np.log([p[0, 2], p[1, 1]]))
    same(run(lambda d: d.entropy(), law), [stats.entropy(row) for row in p])
    assert run(lambda d: d.mode(), law).tolist() == [2, 0]


def test_categorical_among_legal_actions(run):
    mask = jnp.asarray([[True, True, False, True], [False, True, True, False]])
    p = np.where(mask, softmax(LOGITS), 0)
    p /= p.sum(1, keepdims=True)  # what is left, renormalised
    law = run(lambda x, m: Categorical(x).among(m), LOGITS, mask)
    same(jnp.exp(law.log_probs()), p)
    same(run(lambda d: d.entropy(), law), [stats.entropy(row) for row in p])
    assert run(lambda d: d.mode(), law).tolist() == [1, 1]
    assert run(lambda d, a: d.log_prob(a), law, jnp.asarray([2, 0])).tolist() == [-np.inf, -np.inf]
    uniform = NOISE.uniform("gumbel", (5000, 2, 4))
    drawn = run(lambda d, u: jax.vmap(d.sample)(u), law, uniform)
    assert np.asarray(mask)[np.arange(2), drawn].all()
    assert Categorical(LOGITS).among(None).logits is LOGITS
    normal = Normal(MEAN, LOG_STD)
    assert normal.among(mask) is normal


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_gumbel_frequencies(run, dtype):
    logits = jnp.asarray(LOGITS[0], dtype)
    uniform = NOISE.uniform("frequencies", (40_000, 4), dtype)
    drawn = run(lambda u: Categorical(jnp.broadcast_to(logits, u.shape)).sample(u), uniform)
    seen = np.bincount(drawn, minlength=4)
    assert stats.chisquare(seen, 40_000 * softmax(LOGITS[0])).pvalue > 1e-3
    # 0 is a possible uniform and gives the least Gumbel number, not NaN
    assert Categorical(jnp.zeros((1, 2), dtype)).sample(jnp.asarray([[0.0, 0.5]], dtype)).tolist() == [1]


def test_choose_and_draw():
    law = Normal(jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    eps = jnp.arange(6.0).reshape(2, 3) / 10
    same(choose(law, Tape({"act": eps}), "sample"), eps)
    same(choose(law, Tape({"act": eps}), "explore"), eps)
    same(choose(law, Tape({}), "best"), np.zeros((2, 3)))
    fixed = Deterministic(eps)
    same(draw(fixed, Tape({}), "none"), eps)
    uniform = jnp.asarray([[0.1, 0.9], [0.9, 0.1]])
    assert draw(Categorical(jnp.zeros((2, 2))), Tape({"x": uniform}), "x").tolist() == [1, 0]


# optimisers


def test_adam_by_hand(run):
    # after one step m/(1 - b1) = g, v/(1 - b2) = g^2: the move is lr g / (|g| + eps) = lr sign(g)
    tx = optimisers.adam(0.1)
    grads = (array(4, -0.5), array(2, 0.5))
    params, opt = array(1, 2), tx.init(array(1, 2))
    m = v = np.zeros(2)
    wanted = np.array([1.0, 2.0])
    for t, g in enumerate(grads, 1):
        move, opt = run(tx.update, g, opt, params)
        params = optax.apply_updates(params, move)
        m, v = 0.9 * m + 0.1 * np.asarray(g), 0.999 * v + 0.001 * np.asarray(g) ** 2
        wanted = wanted - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        same(params, wanted, 1e-9)
    same(optimisers.adam(0.1).update(grads[0], tx.init(params), params)[0], [-0.1, 0.1], 1e-6)


def test_gradients_are_clipped_to_a_norm_before_adam(run):
    # |(3, 4)| = 5 -> (3, 4) / (5 + 1e-6); with eps = 1 the first move is -lr g / (|g| + 1)
    tx = optimisers.adam(1.0, eps=1.0, clip_norm=1.0)
    move, _ = run(tx.update, array(3, 4), tx.init(array(0, 0)), array(0, 0))
    x, y = 3 / (5 + 1e-6), 4 / (5 + 1e-6)
    same(move, [-x / (1 + x), -y / (1 + y)], 1e-9)


def test_cosine(run):
    schedule = optimisers.cosine(2.0, 100)
    # (1 + cos(pi t / 100)): t = 0 -> 2, a quarter -> 1 + 1/sqrt 2, half -> 1, the end and beyond -> 0
    same(run(schedule, jnp.asarray([0, 25, 50, 100, 1000])), [2, 1 + 0.5**0.5, 1, 0, 0], atol=1e-12)
    assert optimisers.cosine(2.0, 0)(7) == optimisers.cosine(2.0, -1)(7) == 2.0
    swept = jax.vmap(lambda lr: optimisers.cosine(lr, 100)(50))(array(2, 4))
    same(swept, [1, 2])


# networks


HAND = [([[1, -1], [2, 0]], [0, 1]), ([[1], [3]], [0.5])]


def test_mlp(run):
    # x = (1, 2): (1 + 4, -1 + 1) = (5, 0) -> 5 + 0 + .5;  x = (-1, 0): (-1, 2) -> relu (0, 2) -> 6.5
    net = mlp(*HAND)
    same(run(net, array(1, 2)), [5.5])
    same(run(net, array(-1, 0)), [6.5])
    same(run(mlp(*HAND, activation="tanh"), array(1, 2)), [math.tanh(5) + 0.5])
    same(run(net, array([[1, 2], [-1, 0]], [[1, 2], [1, 2]])), [[[5.5], [6.5]], [[5.5], [5.5]]])


@pytest.mark.parametrize("outputs", [2, layers.NARROW + 1])
def test_the_gradients_of_a_product_are_jaxs_own(run, outputs):
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    x, w = jax.random.normal(keys[0], (2, 4, 3, 5), float), jax.random.normal(keys[1], (2, 5, outputs), float)
    slope = jax.random.normal(keys[2], (2, 4, 3, outputs), float)  # two members of an ensemble, rows [4, 3]

    def pulled(multiply):
        def first(x, w):
            return jax.vjp(multiply, x, w)[1](slope[0])

        def second(x, w):  # of a function of the gradients: what a gradient penalty needs
            return jax.grad(lambda x, w: sum(jnp.tanh(g).sum() for g in first(x, w)), (0, 1))(x, w)

        return lambda x, w: (first(x[0], w[0]), jax.vmap(first)(x, w), jax.vmap(second)(x, w))

    found, wanted = run(pulled(layers.product), x, w), pulled(jnp.matmul)(x, w)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        same(one, other, rtol=1e-9, atol=1e-11)


def test_scale_and_shift_of_rows_have_the_usual_gradients(run):
    # rows (1, 2), (3, 4) with slopes (1, 10), (100, 1000): the scale gets (1 + 300, 20 + 4000), the shift the sums
    x, slope, scale = array((1, 2), (3, 4)), array((1, 10), (100, 1000)), array(5, 7)
    pull = run(lambda *given: jax.vjp(layers.scaled, *given[:3])[1](given[3]), x, scale, array(1, 1), slope)
    same(pull[0], [[5, 70], [500, 7000]])
    same(pull[1], [301, 4020])
    same(pull[2], [101, 1010])
    for lead in ((), (1,), (5,), (6,), (2, 3), (0,)):  # halved as far as it goes, the rest summed
        rows = NOISE.normal("rows", (*lead, 3))
        same(run(layers.summed, rows), np.asarray(rows).reshape(-1, 3).sum(0), 1e-6)


def test_layer_norm_and_its_place(run):
    # (1, 3): mean 2, variance 1 -> (-1, 1) / sqrt(1 + eps)
    norm = layers.LayerNorm(array(2, 2), array(1, 1), eps=3.0)
    same(run(norm, array(1, 3)), [0, 2])
    sizes = (2, 2, 1)
    for place in ("pre", "post"):
        net = nets.mlp(NOISE, sizes, norm=place, eps=0.0)
        first, last = net.layers
        x = np.asarray(array(1, 2) @ first.weight + first.bias)

        def normal(x):
            return (x - x.mean()) / x.std()

        hidden = np.maximum(normal(x), 0) if place == "pre" else normal(np.maximum(x, 0) + 0.0)
        if place == "post" and not np.maximum(x, 0).std():
            continue
        same(run(net, array(1, 2)), hidden @ last.weight + last.bias, 1e-9)
    assert any(np.maximum(x, 0)), "the case after the activation was left out: change the draw"


def test_dropout(run):
    keep = layers.dropout(NOISE, "drop", 0.25, (2000,), (3, 2))
    assert [k.shape for k in keep] == [(2000, 3), (2000, 2)]
    assert np.unique(np.concatenate([k.ravel() for k in keep])).tolist() == pytest.approx([0, 4 / 3])
    assert abs((np.asarray(keep[0]) > 0).mean() - 0.75) < 4 * math.sqrt(0.25 * 0.75 / 6000)
    assert layers.dropout(NOISE, "drop", 0.0, (5,), (3,)) == ()
    # x = (1, 2): hidden (5, 0), the first doubled: 10 + .5;  dropped: .5
    net = mlp(*HAND)
    same(run(net, array(1, 2), (array(2, 2),)), [10.5])
    same(run(net, array(1, 2), (array(0, 2),)), [0.5])
    tape = Tape({"d_0": np.array([[True, False]])})
    same(layers.dropout(tape, "d", 0.5, (1,), (2,))[0], [[2, 0]])


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (1, 6), (64, 64)])
def test_orthogonal_weights_are_orthogonal(run, shape):
    layer = run(lambda n: initialisers.orthogonal()(n, *shape), NOISE)
    w = np.asarray(layer.weight)
    assert w.shape == shape
    gram = w.T @ w if shape[0] >= shape[1] else w @ w.T
    same(gram, 2 * np.eye(min(shape)), atol=1e-12)
    assert not layer.bias.any()
    other = initialisers.orthogonal(0.5)(NOISE.sub("other"), *shape).weight
    assert np.linalg.norm(other, 2) == pytest.approx(0.5)


def test_orthogonal_weights_in_float32_stay_orthogonal():
    with jax.enable_x64(False):
        w = np.asarray(initialisers.orthogonal(1.0)(NOISE, 256, 256).weight)
    assert w.dtype == np.float32
    assert np.abs(w.T @ w - np.eye(256)).max() < 1e-5


def test_torch_uniform_bounds():
    layer = initialisers.torch_uniform(NOISE, 100, 400)
    for values in (layer.weight, layer.bias):
        assert np.abs(values).max() <= 0.1
    scaled = np.asarray(layer.weight).ravel()
    assert stats.kstest(scaled, stats.uniform(-0.1, 0.2).cdf).pvalue > 1e-3
    assert np.abs(np.asarray(layer.bias)).max() > 0.09
    layer = initialisers.uniform_init(3e-3, 1e-4)(NOISE, 50, 50)
    assert 2.9e-3 < np.abs(layer.weight).max() <= 3e-3
    assert 0.9e-4 < np.abs(layer.bias).max() <= 1e-4


def test_the_last_layer_may_start_its_own_way():
    net = nets.mlp(NOISE, (3, 4, 2), last=initialisers.uniform_init(1e-3, 0.0))
    assert np.abs(net.layers[0].weight).max() > 0.1
    assert np.abs(net.layers[1].weight).max() <= 1e-3
    assert not net.layers[1].bias.any()


def test_members_of_an_ensemble_differ_and_are_what_each_alone_would_be(run):
    spec = Spec((3,), 2)
    critic = nets.critic(NOISE, spec, (4, 4), n=3)
    for leaf in jax.tree.leaves(critic):
        assert leaf.shape[0] == 3
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert not np.isclose(leaf[i], leaf[j]).any()
    obs, action = NOISE.normal("obs", (5, 3)), NOISE.normal("action", (5, 2))
    q = run(critic, obs, action)
    assert q.shape == (3, 5)
    for i in range(3):
        one = jax.tree.map(lambda x, i=i: x[i], critic.nets)
        same(q[i, 2], one(jnp.concatenate([obs[2], action[2]]))[0])
    alone = nets.mlp(NOISE.fold(1), (5, 4, 4, 1))
    same(jax.tree.leaves(alone)[0], jax.tree.leaves(critic.nets)[0][1])


def test_a_discrete_critic_takes_the_entry_of_the_action(run):
    critic = nets.critic(NOISE, Spec((3,), 4, discrete=True), (4,))
    obs = NOISE.normal("obs", (5, 3))
    action = jnp.asarray([0, 3, 1, 2, 2])
    every = run(critic.all, obs)
    assert every.shape == (2, 5, 4)
    same(run(critic, obs, action), np.asarray(every)[:, np.arange(5), np.asarray(action)])


def test_value_has_no_last_axis():
    value = nets.Value(mlp(*HAND))
    same(value(array([1, 2], [-1, 0])), [5.5, 6.5])


def test_policies_by_hand(run):
    obs = array([1, 2])
    # the network gives 5.5
    same(run(lambda x: nets.DeterministicPolicy(mlp(*HAND))(x).action, obs), [[math.tanh(5.5)]])
    for squash, kind, mean in (("mean", Normal, math.tanh(5.5)), ("none", Normal, 5.5), ("tanh", TanhNormal, 5.5)):
        policy = nets.GaussianPolicy(mlp(*HAND), array(3.0), low=-5.0, high=2.0, squash=squash)
        law = run(policy, obs)
        assert isinstance(law, kind)
        same(law.mean, [[mean]])
        same(law.log_std, [[2]])  # clipped
    heads = nets.GaussianHeadsPolicy(mlp(HAND[0], ([[1, 0], [3, -1]], [0.5, -9])), low=-5.0, edge=1e-3)
    law = run(heads, obs)  # hidden (5, 0): mean 5.5, log std 0 - 9, clipped to -5
    same(law.mean, [[5.5]])
    same(law.log_std, [[-5]])
    assert law.edge == 1e-3
    same(run(lambda x: nets.CategoricalPolicy(mlp(*HAND))(x).logits, obs), [[5.5]])


def test_the_policy_builder_follows_the_spec():
    continuous, discrete = Spec((3,), 2), Spec((3,), 4, discrete=True)
    kinds = {
        "deterministic": nets.DeterministicPolicy,
        "gaussian": nets.GaussianPolicy,
        "heads": nets.GaussianHeadsPolicy,
    }
    for kind, wanted in kinds.items():
        made = nets.policy(NOISE, continuous, (4,), kind)
        assert type(made) is wanted
        assert made.net.layers[-1].bias.shape == (4 if kind == "heads" else 2,)
        made = nets.policy(NOISE, discrete, (4,), kind, low=-1.0)
        assert type(made) is nets.CategoricalPolicy
        assert made.net.layers[-1].bias.shape == (4,)


# noise


def test_the_same_name_gives_the_same_numbers_and_other_names_others():
    same(NOISE.normal("a", (4,)), NOISE.normal("a", (4,)))
    a, b = NOISE.normal("a", (10_000,)), NOISE.normal("b", (10_000,))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.04
    assert stats.kstest(a, "norm").pvalue > 1e-3
    streams = [NOISE, NOISE.sub("a"), NOISE.sub("b"), NOISE.fold(0), NOISE.fold(1), NOISE.sub("a").sub("a")]
    assert len({float(s.normal("a", ())) for s in streams}) == len(streams)


def test_a_draw_more_moves_no_other():
    def few(noise):
        return noise.normal("x", (3,))

    def more(noise):
        noise.uniform("new", (5,)), noise.sub("sub").normal("x", (3,))
        return noise.normal("x", (3,))

    same(few(NOISE), more(NOISE))


def test_noise_under_jit_and_vmap():
    keys = jnp.stack([jax.random.PRNGKey(s) for s in range(3)])
    f = lambda key: Noise(key).sub("s").fold(2).normal("x", (4,))  # noqa: E731
    together = jax.jit(jax.vmap(f))(keys)
    for i in range(3):
        same(together[i], f(keys[i]))
    assert len(np.unique(together)) == 12
    folded = jax.vmap(lambda i: NOISE.fold(i).normal("x", ()))(jnp.arange(3))
    same(folded, [float(NOISE.fold(i).normal("x", ())) for i in range(3)])


def test_kinds_of_noise():
    assert abs(float(NOISE.bernoulli("b", 0.3, (10_000,)).mean()) - 0.3) < 4 * math.sqrt(0.21 / 10_000)
    drawn = NOISE.integers("i", (10_000,), 7)
    assert stats.chisquare(np.bincount(drawn, minlength=7)).pvalue > 1e-3
    traced = jax.jit(lambda n: NOISE.integers("i", (100,), n))(jnp.asarray(3))
    assert set(traced.tolist()) == {0, 1, 2}
    uniform = NOISE.uniform("u", (10_000,))
    assert float(uniform.min()) >= 0
    assert float(uniform.max()) < 1
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert NOISE.normal("x", (2,), jnp.float32).dtype == jnp.float32


def test_tape_plays_and_tells_what_was_not_asked_for():
    tape = Tape({"a": np.ones(2), "s/b": np.zeros((2, 1)), "s/3/c": np.array([1, 0]), "never": np.ones(1)})
    same(tape.normal("a", (2,)), [1, 1])
    same(tape.sub("s").uniform("b", (2, 1)), [[0], [0]])
    assert tape.unused() == {"s/3/c", "never"}
    assert tape.sub("s").fold(3).bernoulli("c", 0.5, (2,)).tolist() == [True, False]
    assert tape.integers("a", (2,), 5).tolist() == [1, 1]
    assert tape.unused() == {"never"}


def test_tape_refuses_what_was_not_recorded():
    tape = Tape({"a": np.ones(2)})
    with pytest.raises(ValueError, match=r"'a' has shape \(2,\), the program asks for \(3,\)"):
        tape.normal("a", (3,))
    with pytest.raises(KeyError, match="holds no 'b'"):
        tape.normal("b", (2,))
    assert tape.unused() == {"a"}


# Trained, metrics, trees


def quadratic(net, data):
    return ((net - data) ** 2).sum(), {"far": jnp.abs(net - data).max()}


def test_a_gradient_step(run):
    # loss (1 - 3)^2 + (2 - 2)^2 = 4, gradient (-4, 0), norm 4; plain descent at .1: (1.4, 2)
    tx = optax.sgd(0.1)
    before = Trained.new(array(1, 2), tx)
    after, metrics = run(lambda t, d: t.step(tx, quadratic, d, name="net"), before, array(3, 2))
    same(after.net, [1.4, 2])
    assert {k: float(v) for k, v in metrics.items()} == {
        "net/loss": 4,
        "net/gradient_norm": 4,
        "net/far": 2,
    }
    other = after.replace(array(0, 0))
    assert other.opt is after.opt
    same(other.net, [0, 0])


def test_the_gradient_norm_is_the_one_before_clipping(run):
    tx = optimisers.adam(0.1, clip_norm=1e-3)
    _, metrics = run(lambda t, d: t.step(tx, quadratic, d, name="net"), Trained.new(array(1, 2), tx), array(3, 2))
    assert metrics["net/gradient_norm"] == 4


def test_gradients_flow_into_the_network_only():
    tx = optax.sgd(0.1)

    def through(data):
        return Trained.new(data, tx).step(tx, lambda net, d: ((net * d).sum(), {}), data, name="n")[0].net.sum()

    # net = x, moved by -.1 x: what remains is .9 x, and its slope is .9 of the data given, not more
    same(jax.grad(through)(array(2.0)), [0.9])


def test_merge_refuses_a_metric_twice():
    assert merge({"a": 1}, {"b": 2}, {}) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match=r"reported twice: \['a'\]"):
        merge({"a": 1}, {"a": 2})


def test_weighted_metrics():
    found = weighted({"a": jnp.asarray(2.0), "b": (jnp.asarray(3.0), 0.0)})
    assert {k: (float(v), float(w)) for k, (v, w) in found.items()} == {"a": (2, 1), "b": (3, 0)}


def test_occasionally(run):
    f = lambda s: (s + 1, {"m": s * 2})  # noqa: E731
    for step, wanted in ((3, (4.0, 6.0, 1.0)), (2, (3.0, 0.0, 0.0))):
        state, metrics = run(lambda t: occasionally(t == 3, f, jnp.asarray(3.0)), jnp.asarray(step))
        assert (float(state), *(float(x) for x in metrics["m"])) == wanted


def test_occasionally_stays_a_branch_under_vmap_over_replicas():
    f = lambda s: (jnp.sin(s), {"m": s.sum()})  # noqa: E731

    def loop(states, step):
        return jax.vmap(lambda s: occasionally(step == 2, f, s))(states)

    text = str(jax.make_jaxpr(loop)(jnp.ones((4, 3)), 1))
    assert "cond[" in text
    assert "select_n" not in text

    def own_counter(states, counters):  # what the loop's own step is for
        return jax.vmap(lambda s, c: occasionally(c == 2, f, s))(states, counters)

    text = str(jax.make_jaxpr(own_counter)(jnp.ones((4, 3)), jnp.arange(4)))
    assert "cond[" not in text


def test_averages_and_choices_of_trees(run):
    old, new = {"a": array(1), "b": array(10, 20)}, {"a": array(2), "b": array(0, 0)}
    found = run(lambda n, o: ema(n, o, 0.25), new, old)  # .75 old + .25 new
    same(found["a"], [1.25])
    same(found["b"], [7.5, 15])
    assert run(where, jnp.asarray(True), new, old)["b"].tolist() == [0, 0]
    assert run(where, jnp.asarray(False), new, old)["b"].tolist() == [10, 20]


def test_leaves_have_dotted_names():
    tree = {"net": Trained(mlp(*HAND), {"count": 0})}
    assert list(named_leaves(tree)) == [
        "net.net.layers.0.weight",
        "net.net.layers.0.bias",
        "net.net.layers.1.weight",
        "net.net.layers.1.bias",
        "net.opt.count",
    ]


def test_a_batch_reads_its_columns_and_its_parts():
    batch = rows([1, 2, 3], [0, 0, 1], [0, 0, 0], mc_return=array(7, 8, 9))
    same(batch.mc_return, [7, 8, 9])
    with pytest.raises(AttributeError, match="no column 'next_action'"):
        _ = batch.next_action
    with pytest.raises(KeyError, match="no rows of 'online'"):
        batch.of("online")
    assert Spec((3,), 2).action_shape == (2,)
    assert Spec((3,), 2, discrete=True).action_shape == ()


# configs


@config
class Example:
    rate: float = 0.1
    share: float = static(default=0.5)
    depth: int = 2
    name: str = "x"
    wide: tuple[int, ...] = (8, 8)
    on: bool = False


def test_floats_are_traced_and_the_rest_is_structure():
    cfg = Example()
    assert traced_fields(cfg) == traced_fields(Example) == ["rate"]
    assert jax.tree.leaves(cfg) == [0.1]
    assert jax.tree.structure(cfg) == jax.tree.structure(Example(rate=9.0))
    for name, value in (("share", 0.6), ("depth", 3), ("name", "y"), ("wide", (8,)), ("on", True)):
        assert jax.tree.structure(cfg) != jax.tree.structure(dataclasses.replace(cfg, **{name: value})), name
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.rate = 1.0


def test_changing_a_float_compiles_nothing():
    traces = []

    @jax.jit
    def f(cfg, x):
        traces.append(cfg.depth)
        return x * cfg.rate * cfg.share * cfg.depth

    x = jnp.asarray(1.0)
    for rate in (0.1, 0.2, 3):
        assert float(f(configs.as_arrays(Example(rate=rate)), x)) == pytest.approx(rate)
    assert traces == [2]
    f(configs.as_arrays(Example(depth=4)), x)
    assert traces == [2, 4]
    assert configs.as_arrays(Example()).rate.dtype == jnp.float64
    with jax.enable_x64(False):
        assert configs.as_arrays(Example()).rate.dtype == jnp.float32


def test_a_config_survives_json():
    cfg = Example(rate=0.3, wide=(4,), on=True)
    assert from_dict(Example, json.loads(json.dumps(to_dict(cfg)))) == cfg
    assert from_dict(Example, {"rate": 1}).rate == 1.0
    assert from_dict(Example, {}) == Example()


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"rat": 1}, "unknown Example setting 'rat'; did you mean 'rate'"),
        ({"rate": "high"}, "Example.rate is 'high', expected float"),
        ({"rate": True}, "Example.rate is True, expected float"),
        ({"depth": 2.5}, "Example.depth is 2.5, expected int"),
        ({"depth": True}, "Example.depth is True, expected int"),
        ({"name": 3}, "Example.name is 3, expected str"),
        ({"on": 1}, "Example.on is 1, expected bool"),
        ({"wide": 8}, "Example.wide is 8, expected tuple"),
        ({"wide": ["a"]}, "Example.wide is "),
        ({"wide": [8.5]}, "Example.wide is "),
    ],
)
def test_wrong_settings_are_refused(values, wrong):
    with pytest.raises(UserError) as caught:
        from_dict(Example, values)
    assert wrong in str(caught.value)


@config
class Ruled:
    actor_lr: float = 1e-3
    tau: float = 0.5
    kind: str = "a"
    hidden: tuple[int, ...] = (8,)
    batch_size: int = 4


def test_all_faults_of_a_config_are_told_at_once():
    rules = {"tau": "in (0, 1)", "kind": "a|b"}
    assert faults(Ruled(), **rules) == []
    found = faults(Ruled(-1.0, 1.0, "c", (8, 0), 0), **rules)
    assert [f.split()[0] for f in found] == ["actor_lr", "tau", "kind", "hidden", "batch_size"]
    assert found[1] == "tau is 1.0, expected in (0, 1)"
    assert found[2] == "kind is 'c', expected one of a, b"
    assert faults(Ruled(actor_lr=math.nan)) != []


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("positive", [1e-9, 5.0], [0.0, -1.0]),
        ("at least 0", [0.0, 5.0], [-1e-9]),
        ("in (0, 1)", [0.5], [0.0, 1.0]),
        ("in [0, 1]", [0.0, 1.0], [-0.1, 1.1]),
        ("in (0, 1]", [0.1, 1.0], [0.0, 1.1]),
        ("in [0, 1)", [0.0, 0.9], [-0.1, 1.0]),
    ],
)
def test_rules(rule, good, bad):
    for value in good:
        assert faults(Ruled(tau=value), tau=rule) == []
    for value in [*bad, math.nan]:
        assert len(faults(Ruled(tau=value), tau=rule)) == 1


# the two published rules of filtered cloning

RETURNS = np.array([5.0, 9, 1, 9, 7])
LENGTHS = np.array([10, 40, 10, 20, 20])


@pytest.mark.parametrize(
    ("keep", "rule", "kept"),
    [
        # from the best down: 1 (9), 3 (9, a tie: the order of the data), 4 (7), 0 (5), 2 (1)
        (0.4, "trajectories", [1, 3]),  # int(.4 * 5) = 2
        (0.59, "trajectories", [1, 3]),  # int(2.95) = 2
        (0.6, "trajectories", [1, 3, 4]),
        (0.2, "trajectories", [1]),  # of two that tie, the first
        (0.01, "trajectories", [1]),  # at least one
        (1.0, "trajectories", [0, 1, 2, 3, 4]),
        (0.4, "timesteps", [1]),  # 40 <= 40 steps, 60 > 40
        (0.6, "timesteps", [1, 3]),  # 60 <= 60
        (0.79, "timesteps", [1, 3]),  # 80 > 79
        (0.8, "timesteps", [1, 3, 4]),
        (0.1, "timesteps", [1]),  # 40 > 10, but at least one
        (1.0, "timesteps", [0, 1, 2, 3, 4]),
    ],
)
def test_filtered_cloning_keeps(keep, rule, kept):
    assert filtered_bc.chosen(RETURNS, LENGTHS, keep, rule).tolist() == kept


def test_awac_subtracts_the_value_of_the_mode():
    # Q1 = s + a1 + 2 a2, Q2 = 2 s + a1 + 2 a2; critics stand still: lr 1e-12
    cfg = awac.AWAC(value_action="mode", critic_lr=1e-12)
    actor = nets.GaussianPolicy(linear([0.1], [0.2]), array(2, 2), low=-20.0, high=2.0, squash="none")
    critic = critics([1, 1, 2], [2, 1, 2])
    state = awac.State(
        Trained.new(actor, awac.optimisers_of(cfg).actor), Trained.new(critic, awac.optimisers_of(cfg).critic), critic
    )
    _, told = awac.update(cfg, state, batch(), NOISE, 0)
    # row 1: s 1, a (.5, 0), mode (.1, .2): .5 - .5 = 0;  row 2: s 2, a (0, -1), mode (.2, .4): -2 - 1 = -3
    same(told["advantage"], -1.5, rtol=1e-6)
    same(told["actor/weight"], (1 + math.exp(-9)) / 2, rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (3,), (10, 256, 6), (7, 333), (1025, 1)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_normals_are_those_of_jax_however_they_are_computed(shape, dtype):
    key = jax.random.key(3)
    found = jax.jit(lambda key: normals(key, shape, dtype))(key)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, jax.random.normal(key, shape, dtype), rtol=1e-6)
