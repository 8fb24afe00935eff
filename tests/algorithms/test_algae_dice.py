"""AlgaeDICE against numbers worked by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from holdfast.algorithms import algae_dice
from holdfast.algorithms import algae_dice_losses as objective
from holdfast.core.config import as_arrays
from holdfast.core.noise import Noise
from holdfast.core.spec import Seen
from holdfast.core.trained import Trained
from holdfast.parts import losses
from support.formulas import NOISE, array, batch, critics, linear, mlp, same

CFG = algae_dice.AlgaeDICE(algae_alpha=0.5, exponent=1.5, discount=0.9, orthogonal=0.0)
FIRST = {"initial_obs": array([5.0], [7.0]), "episode_steps": jnp.array([1, 3])}
ROWS = batch(extra=FIRST)  # s = 1, 2; a = (.5, 0), (0, -1); r = 1, 2; s' = 3, 4; the second row ends
DRAWN = objective.Actions(array([0.2, 0.0], [0.0, 0.4]), array(-0.5, 0.3), array([0.1, 0.0], [0.0, 0.2]))
CRITIC, TARGET = critics([1, 1, 2], [2, -1, 1]), critics([1, 0, 1], [0.5, 1, 0])
T = 0.3

Q = np.array([[1 + 0.5, 2 - 2.0], [2 - 0.5, 4 - 1.0]])
START = np.array([[5 + 0.1, 7 + 0.4], [10 - 0.1, 14 + 0.2]]) * [1.5, 0.5]  # episodes count equally
SLOW = np.minimum([3 + 0, 4 + 0.4], [1.5 + 0.2, 2 + 0.0])
FOLLOWING = np.array([[3 + 0.2, 4 + 0.8], [6 - 0.2, 8 + 0.4]])
SOFT = 0.05 * FOLLOWING + 0.95 * SLOW - T * np.array([-0.5, 0.3])


def delta(discount=0.9):
    return np.array([1.0, 2.0]) + discount * np.array([1, 0]) * SOFT - Q


def dual(multiplier=0.0):
    return algae_dice.Dual(CRITIC, array(multiplier)[0])


critic_loss = jax.jit(objective.critic_loss)
critic_slope = jax.jit(jax.grad(lambda *args: objective.critic_loss(*args)[0]))
actor_loss = jax.jit(objective.actor_loss)
residuals = jax.jit(objective.residuals)


def test_the_loss_of_the_critics():
    given = (TARGET, array(T)[0], ROWS, DRAWN)
    found, metrics = critic_loss(dual(), as_arrays(CFG), *given)
    wanted = (np.abs(delta()) ** 1.5 / 1.5 + 0.1 * 0.5 * START).mean(1).sum()
    same(found, wanted, 1e-6)
    same(metrics["residual"], delta().mean(), 1e-6)
    flat = as_arrays(dataclasses.replace(CFG, undiscounted=True))
    x = 0.2 + 0.5 + delta(1.0)
    same(critic_loss(dual(0.2), flat, *given)[0], (np.abs(x) ** 1.5 / 1.5 - 0.5 * 0.2).mean(1).sum(), 1e-6)
    same(critic_slope(dual(0.2), flat, *given).multiplier,
         (np.sign(x) * np.abs(x) ** 0.5 - 0.5).mean(1).sum(), 1e-5)  # fmt: skip


def test_the_residual_gradient():
    """The slope along the weight of s of the first critic: f'(delta) (.9 m .05 s' - s) + .1 alpha s0."""
    given = (TARGET, array(T)[0], ROWS, DRAWN)
    found = critic_slope(dual(), as_arrays(CFG), *given)
    steep = np.sign(delta()[0]) * np.abs(delta()[0]) ** 0.5
    wanted = steep * (0.9 * np.array([0.05 * 3, 0]) - [1, 2]) + 0.1 * 0.5 * np.array([5 * 1.5, 7 * 0.5])
    same(found.nets.nets.layers[0].weight[0, 0, 0], wanted.mean(), 1e-5)


ACTOR = objective.Heads(mlp((np.zeros((1, 4)), [0.1, -0.2, 0.0, 0.0])))
EPS = (array([0.5, 0.0], [0.0, -0.5]), array([0.0, 0.0], [1.0, 0.0]))


def test_the_policy_sees_positive_residuals_only():
    cfg = as_arrays(CFG)
    drawn = jax.jit(objective.actions)(cfg, ACTOR, ROWS, EPS)
    std = np.exp(-1.5)  # tanh(0) is the middle of [-5, 2]
    same(drawn.following, np.tanh([[0.1 + 0.5 * std, -0.2], [0.1, -0.2 - 0.5 * std]]), 1e-6)
    residual, start = residuals(cfg, CRITIC, TARGET, array(T)[0], ROWS, drawn)
    given = (cfg, dual(), TARGET, array(T)[0], ROWS, EPS)
    found, metrics = actor_loss(ACTOR, *given)
    weight = np.maximum(residual, 0) ** 0.5
    assert (np.asarray(residual) < 0).any()
    same(found, -(weight * residual + start).mean(), 1e-6)
    same(metrics["weight"], weight.mean(), 1e-6)
    bias = jax.jit(jax.grad(lambda net: objective.actor_loss(net, *given)[0]))(ACTOR)

    def frozen(net):  # the weight is not differentiated
        again = objective.actions(cfg, net, ROWS, EPS)
        residual, start = objective.residuals(cfg, CRITIC, TARGET, array(T)[0], ROWS, again)
        return -(jnp.asarray(weight) * residual + start).mean()

    wanted = jax.jit(jax.grad(frozen))(ACTOR)
    same(bias.net.layers[0].bias, wanted.net.layers[0].bias, 1e-5)


def test_without_the_flags():
    """One critic; s0 is the drawn state; the undiscounted branch has no term of s0."""
    cfg = as_arrays(dataclasses.replace(CFG, use_dqn=False, use_init_states=False))
    one = jax.tree.map(lambda x: x[:1], (CRITIC, TARGET))
    found, start = residuals(cfg, *one, array(T)[0], batch(), DRAWN)
    slow = 0.05 * FOLLOWING[0] + 0.95 * np.array([3.0, 4.4]) - T * np.array([-0.5, 0.3])
    same(found, [[1, 2] + 0.9 * np.array([1, 0]) * slow - Q[0]], 1e-6)
    same(start, [0.1 * 0.5 * np.array([1 + 0.1, 2 + 0.4])], 1e-6)
    assert algae_dice.needs(cfg).columns == ()
    assert not algae_dice.online(cfg)[0].collect.whole


def test_the_penalty_of_the_weights():
    """Columns (1, 1) and (2, 0) have the product 2, which is in W'W twice; one output has none."""
    net = mlp(([[1.0, 2.0], [1.0, 0.0]], [0, 0]), ([[1.0], [1.0]], [0]))
    same(losses.not_orthogonal(net), np.array(8.0), 1e-6)
    same(losses.not_orthogonal(linear([1.0, 0.0], [0.0, 3.0])), np.array(0.0))


def test_the_policy_moves_at_every_second_update():
    tx = algae_dice.optimisers_of(CFG)
    actor, critic = Trained.new(ACTOR, tx.actor), Trained.new(dual(), tx.critic)
    state = algae_dice.State(actor, critic, TARGET, Trained.new(array(0.0)[0], tx.temperature))
    update = algae_dice.update
    first, _ = update(as_arrays(CFG), state, ROWS, NOISE, jnp.asarray(0))
    second, _ = update(as_arrays(CFG), first, ROWS, NOISE, jnp.asarray(1))
    same(first.actor.net.net.layers[0].bias, ACTOR.net.layers[0].bias)
    same(first.target_critic.nets.layers[0].weight, TARGET.nets.layers[0].weight)
    assert not np.array_equal(second.actor.net.net.layers[0].bias, ACTOR.net.layers[0].bias)
    moved = 0.005 * second.critic.net.nets.nets.layers[0].weight + 0.995 * TARGET.nets.layers[0].weight
    same(second.target_critic.nets.layers[0].weight, moved, 1e-6)
    _, log_prob = ACTOR(ROWS.next_obs).sample_and_log_prob(NOISE.normal("actor_next", (2, 2)))
    step = -np.sign((-np.asarray(log_prob) + 2).mean()) * 1e-3  # Adam's first step against the slope; the goal is -2
    same(second.temperature.net, step, 1e-3)
    kept, _ = update(as_arrays(dataclasses.replace(CFG, learn_temperature=False)), first, ROWS, NOISE, jnp.asarray(1))
    assert float(kept.temperature.net) == 0.0


def test_random_actions_at_the_start_of_an_online_run():
    tx = algae_dice.optimisers_of(CFG)
    state = algae_dice.State(Trained.new(ACTOR, tx.actor), None, None, None)
    obs = jnp.zeros((2000, 1))

    def spread(step, mode):
        seen = Seen(obs, jnp.zeros(2000), None, jnp.asarray(step))
        return float(np.asarray(algae_dice.act(CFG, state, seen, (), Noise(jax.random.PRNGKey(1)), mode)[0]).std())

    assert abs(spread(8_999, "explore") - 3**-0.5) < 0.03  # uniform in [-1, 1]
    assert spread(9_000, "explore") < 0.35
    assert spread(0, "sample") < 0.35


def test_faults():
    assert algae_dice.check(algae_dice.AlgaeDICE(discount=1.0)) == [
        "discount is 1, expected below 1: set undiscounted for average rewards"
    ]
    assert algae_dice.check(algae_dice.AlgaeDICE(discount=1.0, undiscounted=True)) == []
    assert algae_dice.check(algae_dice.AlgaeDICE(exponent=1.0)) == ["exponent is 1.0, expected above 1"]
