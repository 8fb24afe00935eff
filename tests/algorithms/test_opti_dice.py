"""OptiDICE against numbers worked by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from holdfast.algorithms import opti_dice, opti_dice_policy
from holdfast.core.config import as_arrays, over_the_run
from holdfast.core.contract import Context
from holdfast.core.noise import Tape
from holdfast.core.spec import Spec
from holdfast.parts import density_ratios, nets, starts
from holdfast.parts.distributions import Categorical
from holdfast.parts.mixtures import MixturePolicy, TanhMixture
from support.formulas import NOISE, array, batch, linear, mlp, normal_density, same, stack

CFG = opti_dice.OptiDICE(
    alpha=0.5, discount=0.9, hidden=(4,), standardise_rewards=False, reward_factor=1.0, warmup_share=0.0
)
FIRST = {"initial_obs": array([5.0], [7.0]), "episode_steps": jnp.array([1, 3])}
VALUE = nets.Value(linear([0.25]))
ROWS = batch(extra=FIRST)  # states 1 and 2, rewards 1 and 2, next states 3 and 4, the second row ends
ERRORS = np.array([1 + 0.9 * 0.75 - 0.25, 2 - 0.5])
value_loss = jax.jit(opti_dice.value_loss)
actor_loss = jax.jit(opti_dice_policy.actor_loss)


def by_hand(x, alpha=0.5):
    """The ratio and f of the soft chi-square divergence."""
    w = np.where(x < 0, np.exp(np.minimum(x, 0)), x + 1)
    return w, np.where(x < 0, np.exp(np.minimum(x, 0)) * (np.minimum(x, 0) - 1) + 1, 0.5 * x**2)


@pytest.mark.parametrize("kind", ["softchi", "chi", "kl"])
def test_the_ratio_is_the_best_one(kind):
    """w(x) maximises w x - f(w), and f(w(x)) is f there; the logarithm is that of the ratio."""
    f = {
        "softchi": lambda w: w * np.log(w) - w + 1 if w < 1 else 0.5 * (w - 1) ** 2,
        "chi": lambda w: 0.5 * (w - 1) ** 2,
        "kl": lambda w: w * np.log(w),
    }[kind]
    for x in (-2.0, -0.5, 0.0, 0.7, 2.0):
        best = optimize.minimize_scalar(lambda w, x=x: f(w) - w * x, bounds=(1e-9, 50), method="bounded")
        ratio = float(density_ratios.ratio(kind, jnp.asarray(x)))
        np.testing.assert_allclose(ratio, best.x, atol=1e-4)
        np.testing.assert_allclose(density_ratios.divergence(kind, jnp.asarray(x)), f(max(ratio, 1e-12)), atol=1e-5)
        if ratio > 0:
            np.testing.assert_allclose(density_ratios.log_ratio(kind, jnp.asarray(x)), np.log(ratio), atol=1e-5)


def test_episodes_count_equally():
    same(starts.start_weights(ROWS), np.array([1.5, 0.5]), 1e-6)


def test_the_loss_of_the_value_by_hand():
    lam = array(0.2)[0]
    w, f = by_hand((ERRORS - 0.2) / 0.5)
    first = 0.25 * (1.5 * 5 + 0.5 * 7) / 2
    wanted = 0.1 * first - 0.5 * f.mean() + (w * (ERRORS - 0.2)).mean() + 0.2
    found, metrics = value_loss(VALUE, as_arrays(CFG), lam, ROWS, ROWS.reward)
    same(found, wanted, 1e-6)
    same(metrics["weight"], w.mean(), 1e-6)
    quadratic = as_arrays(dataclasses.replace(CFG, normalisation="quadratic", multiplier_scale=2.0, value_l2=0.1))
    w, f = by_hand((ERRORS - 0.4) / 0.5)
    wanted = 0.1 * first - 0.5 * f.mean() + (w * (ERRORS - 0.4)).mean() + 2 * (0.2 + 0.02) + 0.1 * 0.25
    same(value_loss(VALUE, quadratic, lam, ROWS, ROWS.reward)[0], wanted, 1e-6)


def test_the_gradient_flows_through_the_next_value():
    """By hand: d L / d v = .1 E s0 + E w (.9 m s' - s) for V(s) = v s; a semi-gradient would lack the middle term."""
    gradient = jax.grad(lambda value: opti_dice.value_loss(value, as_arrays(CFG), array(0.2)[0], ROWS, ROWS.reward)[0])
    w, _ = by_hand((ERRORS - 0.2) / 0.5)
    slope = 0.1 * (1.5 * 5 + 0.5 * 7) / 2 + (w * np.array([0.9 * 3 - 1, -2.0])).mean()
    same(jax.jit(gradient)(VALUE).net.layers[0].weight[0, 0], slope, 1e-4)


def test_multipliers_stop_where_the_mean_ratio_is_one():
    """d L / d lambda = 1 - E w for V; for E it is the same with its own ratios."""
    cfg = as_arrays(CFG)
    gradient = jax.grad(lambda lam: opti_dice.multiplier_loss(lam, cfg, jnp.asarray(ERRORS), jnp.asarray(ERRORS))[0])
    w, _ = by_hand((ERRORS - 0.2) / 0.5)
    same(gradient(array(0.2)[0]), 1 - w.mean(), 1e-6)


def test_the_losses_of_the_advantage():
    """Both are smallest where E is e; the minimax form by its gradient, which is 0 there."""
    critic = nets.Critic(stack(mlp(([[0.0], [0.0], [0.0]], [0.4]))))
    e = array(0.4, 0.4)
    for kind in ("minimax", "mse"):
        cfg = as_arrays(dataclasses.replace(CFG, advantage_loss=kind))
        gradient = jax.jit(
            jax.grad(lambda net, e, cfg=cfg: opti_dice.advantage_loss(net, cfg, array(0.1)[0], ROWS, e)[0])
        )
        same(gradient(critic, e).nets.layers[0].bias, np.zeros((1, 1)), 1e-6, 1e-7)
        assert float(gradient(critic, e + 1).nets.layers[0].bias[0, 0]) < -0.1
    same(opti_dice.advantage_loss(critic, cfg, array(0.1)[0], ROWS, e + 0.5)[0], 0.25, 1e-6)


MIXED = MixturePolicy(mlp((np.zeros((1, 10)), [0.0, np.log(3.0), 0.5, 0, -0.5, 0, 0, 0, 0, 0])), 2, 7.24, -5.0, 2.0)


def test_the_data_policy_is_a_mixture():
    """Weights 1/4 and 3/4, means (.5, 0) and (-.5, 0), deviations 1, through tanh."""
    u = np.array([0.3, -0.2])
    parts = [w * np.exp(normal_density(0.3, m) + normal_density(-0.2)) for w, m in ((0.25, 0.5), (0.75, -0.5))]
    wanted = np.log(sum(parts)) - np.log(1 - np.tanh(u) ** 2).sum()
    dist = MIXED(array([1.0]))
    assert isinstance(dist, TanhMixture)
    same(dist.log_prob(array(np.tanh(u))), np.array([wanted]), 1e-5)
    same(dist.log_prob_before_tanh(array(u)), np.array([np.log(sum(parts))]), 1e-5)


def sight(**changes):
    critic = nets.Critic(stack(linear([1.0, 2.0, -1.0])))
    usual = opti_dice_policy.Sight(critic, array(0.1)[0], array(0.5)[0], "softchi", "projection", MIXED)
    return dataclasses.replace(usual, **changes)


def test_the_policy_by_hand():
    """One row at s = 1, mean (.2, 0), log deviation (0, 0), noise (.1, -.2): u = (.3, -.2)."""
    actor = opti_dice_policy.Heads(mlp((np.zeros((1, 4)), [0.2, 0.0, 0.0, 0.0])))
    row = batch(obs=array([1.0]), action=array([0.5, 0.0]), reward=array(0.0), next_obs=array([1.0]))
    eps, u = array([0.1, -0.2]), np.array([0.3, -0.2])
    own = normal_density(0.1) + normal_density(0.2)
    parts = [w * np.exp(normal_density(0.3, m) + normal_density(-0.2)) for w, m in ((0.25, 0.5), (0.75, -0.5))]
    kl = own - np.log(sum(parts))
    advantage = 1 + 2 * np.tanh(0.3) - np.tanh(-0.2)
    entropy = -(own - np.log(1 - np.tanh(u) ** 2 + 1e-6).sum())
    wanted = kl - np.log((advantage - 0.1) / 0.5 + 1) - 0.3 * entropy
    found, metrics = actor_loss(actor, sight(), array(0.3)[0], row, eps)
    same(found, wanted, 1e-5)
    same(metrics["kl"], kl, 1e-5)
    same(metrics["entropy"], entropy, 1e-5)
    cloned, _ = actor_loss(actor, sight(extraction="cloning"), array(0.0)[0], row, eps)
    log_prob = normal_density(np.arctanh(0.5), 0.2) + normal_density(0.0) - np.log(1 - 0.25 + 1e-6) - np.log(1 + 1e-6)
    same(cloned, -((2.0 - 0.1) / 0.5 + 1) * log_prob, 1e-5)


def test_discrete_policies_are_summed_over_legal_actions():
    """The projection is smallest at w_E times the data policy, among the legal actions."""
    advantage = nets.Critic(stack(mlp((np.zeros((1, 3)), [0.1, 0.6, 9.0]))), discrete=True)
    logits = np.log([0.25, 0.5, 0.25])
    cloned = nets.CategoricalPolicy(mlp((np.zeros((1, 3)), logits)))
    row = batch(obs=array([1.0]), action=jnp.array([1]), mask=jnp.array([[True, True, False]]))
    seen = sight(advantage=advantage, data_policy=cloned)
    best = np.array([1 * 0.25, 2 * 0.5]) / 1.25  # w_E is 1 and 2

    def loss(p):
        actor = nets.CategoricalPolicy(mlp((np.zeros((1, 3)), [*np.log(p), 0.0])))
        return float(actor_loss(actor, seen, jnp.zeros(()), row, None)[0])

    own = np.array([0.25, 0.5]) / 0.75
    wanted = (best * (np.log(best / own) - np.log([1.0, 2.0]))).sum()
    assert loss(best) == pytest.approx(wanted, abs=1e-5)
    move = np.array([0.05, -0.05])
    assert loss(best) < min(loss(best + move), loss(best - move))
    assert isinstance(cloned(row.obs), Categorical)


@pytest.mark.slow
def test_the_policy_waits_and_rewards_are_standardised():
    cfg = over_the_run(dataclasses.replace(CFG, warmup_share=0.5, components=2), 10)
    state = opti_dice.init(cfg, Context(Spec((1,), 2)), NOISE)
    state = dataclasses.replace(state, reward_mean=array(1.0)[0], reward_std=array(2.0)[0])
    noise = Tape({"actor_action": jnp.zeros((2, 2))})
    early, _ = opti_dice.update(as_arrays(cfg), state, ROWS, noise, jnp.asarray(4))
    late, _ = opti_dice.update(as_arrays(cfg), state, ROWS, noise, jnp.asarray(5))
    same(early.actor.net.net.layers[0].weight, state.actor.net.net.layers[0].weight)
    assert not np.array_equal(late.actor.net.net.layers[0].weight, state.actor.net.net.layers[0].weight)
    assert float(early.temperature.net) == 0.0
    assert float(late.temperature.net) != 0.0
    scaled = dataclasses.replace(state, reward_mean=array(0.0)[0], reward_std=array(1.0)[0])
    rows = dataclasses.replace(ROWS, reward=array(0.0, 0.5))
    other, _ = opti_dice.update(as_arrays(cfg), scaled, rows, noise, jnp.asarray(4))
    same(other.value.net.net.layers[0].weight, early.value.net.net.layers[0].weight, 1e-5)
    off = as_arrays(dataclasses.replace(cfg, normalise_value=False, normalise_advantage=False))
    kept, _ = opti_dice.update(off, state, ROWS, noise, jnp.asarray(4))
    assert float(kept.value_multiplier.net) == float(kept.advantage_multiplier.net) == 0.0
    assert float(early.value_multiplier.net) != 0.0
