"""DICE estimators of a policy's visits and value (Yang, Nachum, Dai, Li, Schuurmans 2020, arXiv:2007.03438).

One saddle point gives the ratios zeta = d^pi / d^D of the discounted visits of the policy pi to those of the data:

    min_{nu, lambda} max_zeta  (1 - gamma) E nu(s0, a0) + n lambda + E_D[zeta delta] + p E_D f(nu) - d E_D f(zeta)

with delta = R r + gamma nu(s', a') - nu(s, a) - n lambda, f(x) = |x|^q / q, and a0 and a' drawn from pi. The presets
are its named forms: DualDICE, GenDICE, and the best one of the paper. The value of pi is E[zeta r] / E[zeta], divided
by 1 - gamma. The policy is the input `policy`; it does not learn. The losses are in `dice_losses`.

Notation (paper = code): p = `primal_regulariser`; d = `dual_regulariser`; n = `norm_regulariser`; R = 0 with
`zero_reward`; q = `exponent`.
d > 0 leaves zeta exact. p > 0 makes zeta wrong, so the value of GenDICE is biased.
As in the authors' code (google-research/dice_rl): losses are sums over the rows, gradients are clipped entry by entry,
all parameters move at once, and positive ratios are squares of the network's output.
Ours: true ends. With them the visits of pi would sum to less than 1, and both the constraint E[zeta] = 1 and the
division by E[zeta] would be wrong. So each end leads to an absorbing state with reward 0, which has its own nu and
zeta, and one row of it is added for each drawn row that ends. The authors make their environments endless instead.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from ..core.config import config, faults, static
from ..core.contract import BOTH, Algorithm, Context, Frozen, Needs, Preset, Transitions, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree
from ..parts import initialisers, nets, optimisers, starts
from .dice_losses import Choice, Function, Rows, counts, multiplier_loss, nu_loss, ratios, residuals, zeta_loss
from .evaluators import act, drawn, shares


@config
class DICE:
    policy_mode: str = "sample"  # how the policy will act: best, or sample
    discount: float = 0.99  # gamma
    primal_regulariser: float = 0.0  # p, weight of f(nu)
    dual_regulariser: float = 1.0  # d, weight of f(zeta)
    norm_regulariser: float = 1.0  # n, weight of the constraint that the mean ratio is 1
    zero_reward: bool = False  # leave the reward out of the residual
    positive: bool = True  # ratios are squares
    exponent: float = static(default=2.0)  # power q of f(x) = |x|^q / q
    primal_form: bool = False  # nu minimises f* of the residual, without zeta; biased if transitions are random
    samples: int = 1  # actions of the policy at s' and s0, if they are continuous
    nu_orthogonal: float = 0.0  # weight of the penalty of nu's weights that are not orthogonal
    zeta_orthogonal: float = 0.0  # the same for zeta
    weight_by_discount: bool = False  # weight the row at step t of an episode with gamma^t
    nu_lr: float = 1e-4  # Adam
    zeta_lr: float = 1e-4  # Adam
    multiplier_lr: float = 1e-4  # Adam, of lambda
    clip: float = 1.0  # largest entry of a gradient
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers
    batch_size: int = 2048  # rows per update


class State(PyTree):
    nu: Trained
    zeta: Trained
    multiplier: Trained
    policy: Frozen


def check(cfg: DICE) -> list[str]:
    rules = dict.fromkeys(("primal_regulariser", "dual_regulariser", "norm_regulariser"), "at least 0")
    rules |= dict.fromkeys(("nu_orthogonal", "zeta_orthogonal"), "at least 0")
    rules |= {"policy_mode": "best|sample", "discount": "in [0, 1)", "samples": "positive", "clip": "positive"}
    return faults(cfg, **rules) + ([] if cfg.exponent > 1 else [f"exponent is {cfg.exponent}, expected above 1"])


def needs(cfg: DICE) -> Needs:
    return Transitions((*starts.COLUMNS, "initial_mask", *(("timestep",) if cfg.weight_by_discount else ())))


def optimiser_of(cfg: DICE, rate: Scalar) -> optax.GradientTransformation:
    return optax.chain(optax.clip(cfg.clip), optimisers.adam(rate, eps=1e-7))


def init(cfg: DICE, ctx: Context, noise: Noise) -> State:
    zero = jnp.zeros((), jnp.result_type(float))
    made = {}
    for name, rate in (("nu", cfg.nu_lr), ("zeta", cfg.zeta_lr)):
        critic = nets.critic(noise.sub(name), ctx.spec, cfg.hidden, 1, init=initialisers.xavier())
        made[name] = Trained.new(Function(critic, zero + (name == "zeta")), optimiser_of(cfg, rate))
    return State(
        **made, multiplier=Trained.new(zero, optimiser_of(cfg, cfg.multiplier_lr)), policy=ctx.inputs["policy"]
    )


def choice(cfg: DICE, policy: Frozen, obs: jax.Array, mask: jax.Array | None, noise: Noise) -> Choice:
    """What the policy does at observations [B, d]."""
    seen = Seen(obs, jnp.zeros(len(obs)), mask)
    if policy.spec.discrete:
        return Choice(obs, shares(policy, seen, cfg.policy_mode, noise))
    return Choice(obs, jnp.stack([drawn(policy, seen, cfg.policy_mode, noise.fold(i)) for i in range(cfg.samples)]))


def rows_of(cfg: DICE, policy: Frozen, batch: Batch, noise: Noise) -> Rows:
    """The rows with the policy's actions."""
    first_mask = None if batch.mask is None else batch.initial_mask
    following = choice(cfg, policy, batch.next_obs, batch.next_mask, noise.sub("next"))
    first = choice(cfg, policy, batch.initial_obs, first_mask, noise.sub("first"))
    weight = jnp.ones_like(batch.reward)
    if cfg.weight_by_discount:
        weight = cfg.discount ** batch.timestep.astype(weight.dtype)
        weight = weight / weight.mean()
    return Rows(batch, following, first, starts.start_weights(batch), weight)


def estimates(cfg: DICE, state: State, rows: Rows) -> Metrics:
    """Estimates of the value of the policy: the discounted sum of treated rewards from the first observations.

    `dual` is E[zeta r] / E[zeta], which is the one to report; `primal` is nu at the start plus lambda; `lagrangian` is
    the objective without regularisers. All are divided by 1 - gamma.
    """
    ratio = ratios(cfg, state.zeta.net, rows.batch)
    count = counts(rows)
    multiplier = state.multiplier.net
    paid = jnp.stack([rows.batch.reward, jnp.zeros_like(rows.batch.reward)])
    residual = residuals(cfg, state.nu.net, multiplier, rows, rows.batch.reward)
    start = (rows.start * rows.first.mean(state.nu.net)).mean()
    primal = (1 - cfg.discount) * start + cfg.norm_regulariser * multiplier
    found = {
        "dual": (count * ratio * paid).sum() / (count * ratio).sum(),
        "primal": primal,
        "lagrangian": primal + (count * ratio * residual).sum() / count.sum(),
    }
    return {f"value/{name}": value / (1 - cfg.discount) for name, value in found.items()}


def update(cfg: DICE, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    rows = rows_of(cfg, state.policy, batch, noise)
    reward = jnp.zeros_like(batch.reward) if cfg.zero_reward else batch.reward
    multiplier = state.multiplier.net
    ratio = ratios(cfg, state.zeta.net, batch)
    residual = residuals(cfg, state.nu.net, multiplier, rows, reward)
    rates = (cfg.nu_lr, cfg.zeta_lr, cfg.multiplier_lr)
    tx = [optimiser_of(cfg, rate) for rate in rates]
    nu, m1 = state.nu.step(tx[0], nu_loss, cfg, multiplier, ratio, rows, reward, name="nu")
    zeta, m2 = state.zeta.step(tx[1], zeta_loss, cfg, residual, rows, name="zeta")
    given = (cfg, state.nu.net, ratio, rows, reward)
    lam, m3 = state.multiplier.step(tx[2], multiplier_loss, *given, name="multiplier")
    return State(nu, zeta, lam, state.policy), merge(m1, m2, m3, estimates(cfg, state, rows))


CODE = "Yang et al. 2020, github.com/google-research/dice_rl, README.md and estimators/neural_dice.py"
DUAL = DICE(zero_reward=True, norm_regulariser=0.0, positive=False)
GEN = DICE(primal_regulariser=1.0, dual_regulariser=0.0, zero_reward=True)
PRESETS = {
    "best_dice": Preset(DICE(), Treatment(), CODE),
    "dual_dice": Preset(DUAL, Treatment(), CODE),
    "gen_dice": Preset(GEN, Treatment(), CODE),
}

algorithm = Algorithm(
    "dice", DICE, init, update, act, PRESETS, needs=needs, actions=BOTH, inputs=("policy",), check=check
)
