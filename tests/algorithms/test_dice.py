"""DICE estimators against exact ratios of a finite problem that ends, and against numbers worked by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import dice
from holdfast.algorithms import dice_losses as saddle
from holdfast.core.config import as_arrays
from holdfast.core.contract import Frozen
from holdfast.core.spec import Batch, Spec
from holdfast.core.trained import Trained
from holdfast.parts import nets
from holdfast.parts.distributions import Categorical
from support.formulas import NOISE, array, batch, linear, mlp, same, stack
from support.marks import quick

GAMMA = 0.9
PI = np.array([[0.3, 0.7], [0.6, 0.4], [0.5, 0.5]])
NEXT = np.array([[1, 2], [2, 0], [0, 1]])  # of each pair; two of them end the episode instead
ENDS = np.array([[0, 0], [0, 1], [1, 0]])
REWARD = np.array([[1.0, -1.0], [0.5, 2.0], [0.0, 3.0]])
LOGGED = np.array([[2, 1], [1, 3], [1, 2]])  # rows of each pair


def rows_of_the_log():
    """All pairs as often as they are logged; every episode starts in state 0."""
    pairs = [(s, a) for s in range(3) for a in range(2) for _ in range(LOGGED[s, a])]
    s, a = np.array(pairs).T
    eye = np.eye(3)
    extra = {"initial_obs": jnp.asarray(eye[np.zeros(len(s), int)]), "episode_steps": jnp.full(len(s), 2),
             "initial_mask": jnp.ones((len(s), 2), bool)}  # fmt: skip
    fields = (eye[s], a, REWARD[s, a], eye[NEXT[s, a]], ENDS[s, a].astype(float), np.zeros(len(s)))
    return Batch(*(jnp.asarray(x) for x in fields), extra=extra)


def policy():
    """The policy PI on one-hot observations."""

    def dist(cfg, state, seen, memory):
        return Categorical(seen.obs @ jnp.log(jnp.asarray(PI, seen.obs.dtype)))

    def act(cfg, state, seen, memory, noise, mode):
        return dist(cfg, state, seen, memory).mode(), memory

    return Frozen(Spec((3,), 2, discrete=True), act, lambda cfg, spec, n: (), None, (), dist)


def exact():
    """Visits of PI and of the log over the 6 pairs and the absorbing state, and the transitions between them."""
    moves = np.zeros((7, 7))
    for s in range(3):
        for a in range(2):
            if ENDS[s, a]:
                moves[2 * s + a, 6] = 1
            else:
                moves[2 * s + a, 2 * NEXT[s, a] : 2 * NEXT[s, a] + 2] = PI[NEXT[s, a]]
    moves[6, 6] = 1
    start = np.array([*PI[0], 0, 0, 0, 0, 0])
    visits = np.linalg.solve(np.eye(7) - GAMMA * moves.T, (1 - GAMMA) * start)
    logged = np.array([*LOGGED.reshape(-1), (LOGGED * ENDS).sum()], float)
    return visits, logged / logged.sum(), moves


def table(values, end):
    """A function whose values are given, [3, 2]."""
    net = stack(mlp((np.asarray(values), np.zeros(2))))
    return saddle.Function(nets.Critic(net, discrete=True), array(end)[0])


def state_of(cfg, nu, zeta, multiplier):
    made = (nu, zeta, array(multiplier)[0])
    trained = [Trained.new(x, dice.optimiser_of(cfg, 1e-3)) for x in made]
    return dice.State(*trained, policy())


@pytest.mark.parametrize("preset", quick(["best_dice", "dual_dice"], "dual_dice"))
def test_the_saddle_point_is_at_the_exact_ratios(preset):
    """The gradients vanish there, although episodes end, and the estimate is the value of the policy."""
    cfg = dataclasses.replace(dice.PRESETS[preset].config, discount=GAMMA)
    visits, logged, moves = exact()
    ratio = visits / logged
    reward = np.append(REWARD.reshape(-1), 0.0)
    known = 0.0 if cfg.zero_reward else 1.0
    lam = 0.3 if cfg.norm_regulariser else 0.0
    nu = np.linalg.solve(np.eye(7) - GAMMA * moves, known * reward - lam - ratio)
    own = np.sqrt(ratio) if cfg.positive else ratio
    found = state_of(cfg, table(nu[:6].reshape(3, 2), nu[6]), table(own[:6].reshape(3, 2), own[6]), lam)
    cfg = as_arrays(cfg)

    @jax.jit
    def slopes_and_estimates(nu):
        rows = dice.rows_of(cfg, found.policy, rows_of_the_log(), NOISE)
        paid = known * rows.batch.reward
        zeta = saddle.ratios(cfg, found.zeta.net, rows.batch)
        residual = saddle.residuals(cfg, nu, found.multiplier.net, rows, paid)
        slopes = (
            jax.grad(lambda x: saddle.nu_loss(x, cfg, found.multiplier.net, zeta, rows, paid)[0])(nu),
            jax.grad(lambda x: saddle.zeta_loss(x, cfg, residual, rows)[0])(found.zeta.net),
            jax.grad(lambda x: saddle.multiplier_loss(x, cfg, nu, zeta, rows, paid)[0])(found.multiplier.net),
        )
        return slopes, dice.estimates(cfg, found, rows)

    slopes, estimates = slopes_and_estimates(found.nu.net)
    for leaf in jax.tree.leaves(slopes):
        np.testing.assert_allclose(leaf, 0, atol=2e-4)
    moved = dataclasses.replace(found.nu.net, end=found.nu.net.end + 1)
    off = slopes_and_estimates(moved)[0][1]
    assert float(jnp.abs(off.end)) > 0.01
    value = (visits * reward).sum() / (1 - GAMMA)
    same(estimates["value/dual"], value, 1e-4)
    assert (visits[:6].sum() < 0.9) == bool(ENDS.any())  # without the absorbing state the estimate would be wrong
    if not cfg.zero_reward:
        same(estimates["value/lagrangian"], value, 1e-3)


def constant():
    """A continuous policy that always takes (.2, 0)."""

    def act(cfg, state, seen, memory, noise, mode):
        return jnp.broadcast_to(array(0.2, 0.0)[None], (len(seen.reward), 2)), memory

    return Frozen(Spec((1,), 2), act, lambda cfg, spec, n: (), None, ())


def test_the_losses_by_hand():
    """Rows s = 1, 2; a = (.5, 0), (0, -1); r = 1, 2; s' = 3, 4; the second row ends; s0 = 5, 7 with weights 1.5, .5."""
    cfg = dice.DICE(discount=0.9, primal_regulariser=0.5, dual_regulariser=2.0, norm_regulariser=3.0, exponent=1.5,
                    zeta_orthogonal=0.25)  # fmt: skip
    extra = {"initial_obs": array([5.0], [7.0]), "episode_steps": jnp.array([1, 3])}
    rows = dice.rows_of(as_arrays(cfg), constant(), batch(extra=extra), NOISE)
    nu = saddle.Function(nets.Critic(stack(linear([1.0, 2.0, 1.0]))), array(0.4)[0])
    zeta = saddle.Function(nets.Critic(stack(linear([0.5, 0.0, 1.0]))), array(1.2)[0])
    lam = array(0.1)[0]
    here = np.array([1 + 1.0, 2 - 1.0])
    ratio = np.array([0.5**2, 0.0, 1.2**2])
    residual = np.array([1 + 0.9 * 3.4 - 2, 2 + 0.9 * 0.4 - 1, -0.1 * 0.4]) - 0.3
    given = saddle.ratios(as_arrays(cfg), zeta, rows.batch)
    same(given, np.array([ratio[:2], [1.44, 1.44]]), 1e-6)
    found, _ = saddle.nu_loss(nu, as_arrays(cfg), lam, given, rows, rows.batch.reward)
    start = 0.1 * 3 * (1.5 * 5.4 + 0.5 * 7.4) / 2
    power = (np.abs([*here, 0.4]) ** 1.5 / 1.5).sum()
    same(found, start + (ratio * residual).sum() + 0.5 * power, 1e-5)
    all_residuals = saddle.residuals(as_arrays(cfg), nu, lam, rows, rows.batch.reward)
    found, metrics = saddle.zeta_loss(zeta, as_arrays(cfg), all_residuals, rows)
    same(found, 2 * (ratio**1.5 / 1.5).sum() - (ratio * residual).sum(), 1e-5)  # one output: no penalty
    same(metrics["ratio"], ratio.sum() / 3, 1e-5)
    found, _ = saddle.multiplier_loss(lam, as_arrays(cfg), nu, given, rows, rows.batch.reward)
    same(found, 0.3 * (3 - ratio.sum()), 1e-5)
    primal = as_arrays(dataclasses.replace(cfg, primal_form=True, primal_regulariser=0.0))
    conjugate = np.abs(residual) ** 3 / 3
    same(saddle.nu_loss(nu, primal, lam, given, rows, rows.batch.reward)[0], start + conjugate.sum(), 1e-5)
    same(saddle.multiplier_loss(lam, primal, nu, given, rows, rows.batch.reward)[0], 0.9 + conjugate.sum(), 1e-5)


def test_rows_weigh_by_their_step():
    cfg = as_arrays(dice.DICE(discount=0.5, weight_by_discount=True))
    extra = {"initial_obs": array([5.0], [7.0]), "episode_steps": jnp.array([2, 2]), "timestep": jnp.array([0, 1])}
    rows = dice.rows_of(cfg, constant(), batch(extra=extra), NOISE)
    same(rows.weight, np.array([1, 0.5]) / 0.75, 1e-6)
    same(saddle.counts(rows), np.array([[1, 0.5], [0, 0.5]]) / 0.75, 1e-6)
    assert "timestep" in dice.needs(cfg).columns


def test_faults():
    assert dice.check(dice.DICE(exponent=1.0)) == ["exponent is 1.0, expected above 1"]
    assert dice.check(dice.DICE(discount=1.0))[0].startswith("discount is 1.0")
