"""Action distributions against SciPy and numbers worked by hand."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from holdfast.core.noise import Tape
from holdfast.core.spec import Spec
from holdfast.parts import nets
from holdfast.parts.distributions import Categorical, Deterministic, Normal, TanhNormal, choose, draw, squash_correction
from support.formulas import (
    NOISE,
    array,
    same,
)

pytestmark = pytest.mark.usefixtures("x64")


MEAN, LOG_STD = np.array([[0.3, -0.8], [1.5, 0.0]]), np.array([[-0.5, 0.2], [-1.0, 0.4]])


ACTION = np.array([[0.2, 0.9], [-0.7, -0.3]])


def test_normal_against_scipy(run):
    dist = Normal(MEAN, LOG_STD)
    ours = stats.norm(MEAN, np.exp(LOG_STD))
    same(run(lambda d, a: d.log_prob(a), dist, ACTION), ours.logpdf(ACTION).sum(-1))
    same(run(lambda d: d.entropy(), dist), ours.entropy().sum(-1))
    same(run(lambda d: d.mode(), dist), [[0.3, -0.8], [1.0, 0.0]])  # clipped to the bounds
    eps = array([1, -1], [0, 2])
    # .3 + e^-.5 = .9065;  -.8 - e^.2 < -1;  1.5 > 1;  2 e^.4 > 1
    same(run(lambda d, e: d.sample(e), dist, eps), [[0.3 + math.exp(-0.5), -1], [1, 1]])


def test_tanh_normal_density_is_the_change_of_variables(run):
    dist = TanhNormal(MEAN, LOG_STD)
    u = np.arctanh(ACTION)
    plain = stats.norm(MEAN, np.exp(LOG_STD)).logpdf(u) - np.log(1 - ACTION**2)
    same(run(lambda d, a: d.log_prob(a), dist, ACTION), plain.sum(-1), 1e-10)
    same(run(lambda d: d.mode(), dist), np.tanh(MEAN))


@pytest.mark.parametrize(("mean", "log_std"), [(0.3, -0.5), (-1.0, 0.3), (0.0, -2.0)])
def test_tanh_normal_density_integrates_to_one_and_to_scipys_probabilities(mean, log_std):
    dist = TanhNormal(array(mean), array(log_std))
    density = jax.jit(lambda a: jnp.exp(dist.log_prob(a[None])))
    edge = 1 - 1e-6
    # what lies beyond the edges is P(|u| > atanh(edge))
    under = stats.norm(mean, math.exp(log_std))
    inside = under.cdf(math.atanh(edge)) - under.cdf(-math.atanh(edge))
    assert integrate.quad(lambda a: float(density(a)), -edge, edge, limit=400)[0] == pytest.approx(inside, abs=1e-6)
    part = integrate.quad(lambda a: float(density(a)), -0.5, 0.4)[0]
    assert part == pytest.approx(under.cdf(math.atanh(0.4)) - under.cdf(math.atanh(-0.5)), abs=1e-9)


def test_tanh_normal_sample_and_its_density_agree(run):
    dist = TanhNormal(MEAN, LOG_STD)
    eps = array([0.5, -1], [1.2, 0.1])
    action, log_prob = run(lambda d, e: d.sample_and_log_prob(e), dist, eps)
    same(action, np.tanh(MEAN + np.exp(LOG_STD) * eps))
    same(action, run(lambda d, e: d.sample(e), dist, eps))
    same(log_prob, dist.log_prob(action), 1e-8)


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


def test_the_floor_of_the_squash_correction(run):
    mean, log_std, eps = array([0.3, -0.8]), array([-0.5, 0.2]), array([0.4, -1.1])
    u = mean + np.exp(log_std) * eps
    plain = stats.norm(mean, np.exp(log_std)).logpdf(u)
    for floor in (1e-6, 0.1):
        found = run(lambda m, s, e, f=floor: TanhNormal(m, s, floor=f).sample_and_log_prob(e)[1], mean, log_std, eps)
        same(found, (plain - np.log(1 - np.tanh(u) ** 2 + floor)).sum(-1))
    exact = run(lambda m, s, e: TanhNormal(m, s).sample_and_log_prob(e)[1], mean, log_std, eps)
    same(exact, (plain - np.log(1 - np.tanh(u) ** 2)).sum(-1), 1e-10)
    policy = nets.gaussian_heads_policy(NOISE, Spec((2,), 2), (4,), floor=1e-6)
    assert policy(array([[1, 2]])).floor == 1e-6


LOGITS = np.array([[0.0, 1, 2, -1], [3, 0, 0, 0]])


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_categorical(run):
    p = softmax(LOGITS)
    dist = Categorical(LOGITS)
    same(run(lambda d: d.log_probs(), dist), np.log(p))
    same(run(lambda d, a: d.log_prob(a), dist, jnp.asarray([2, 1])), np.log([p[0, 2], p[1, 1]]))
    same(run(lambda d: d.entropy(), dist), [stats.entropy(row) for row in p])
    assert run(lambda d: d.mode(), dist).tolist() == [2, 0]


def test_categorical_among_legal_actions(run):
    mask = jnp.asarray([[True, True, False, True], [False, True, True, False]])
    p = np.where(mask, softmax(LOGITS), 0)
    p /= p.sum(1, keepdims=True)  # what is left, renormalised
    dist = run(lambda x, m: Categorical(x).among(m), LOGITS, mask)
    same(jnp.exp(dist.log_probs()), p)
    same(run(lambda d: d.entropy(), dist), [stats.entropy(row) for row in p])
    assert run(lambda d: d.mode(), dist).tolist() == [1, 1]
    assert run(lambda d, a: d.log_prob(a), dist, jnp.asarray([2, 0])).tolist() == [-np.inf, -np.inf]
    uniform = NOISE.uniform("gumbel", (5000, 2, 4))
    drawn = run(lambda d, u: jax.vmap(d.sample)(u), dist, uniform)
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
    dist = Normal(jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    eps = jnp.arange(6.0).reshape(2, 3) / 10
    same(choose(dist, Tape({"act": eps}), "sample"), eps)
    same(choose(dist, Tape({"act": eps}), "explore"), eps)
    same(choose(dist, Tape({}), "best"), np.zeros((2, 3)))
    fixed = Deterministic(eps)
    same(draw(fixed, Tape({}), "none"), eps)
    uniform = jnp.asarray([[0.1, 0.9], [0.9, 0.1]])
    assert draw(Categorical(jnp.zeros((2, 2))), Tape({"x": uniform}), "x").tolist() == [1, 0]
