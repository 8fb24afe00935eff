"""OptiDICE (Lee, Jeon, Lee, Pineau, Kim 2021, arXiv:2106.10783): the policy of the best distribution of data.

max_w E_D[w r] - alpha D_f(w d^D, d^D) over ratios w >= 0 that satisfy the flow of the environment. V is the multiplier
of the flow, lambda that of E_D[w] = 1. The maximum over w has a closed form, so V minimises one convex loss:

    (1 - gamma) E V(s0) - alpha E f(w) + E w (e - lambda) + lambda,    e = r + gamma m V(s') - V(s),

with w = w((e - lambda) / alpha). Its gradient flows through V(s') too; there is no target network. E(s, a) regresses on
e, which is one sample of its mean over s'. The policy is taken from the ratios w_E = w((E - lambda_E) / alpha).

Notation (paper = code): V = nu = `value`; E = e = `advantage`; lambda = `multiplier`; f = `divergence`.
As in the authors' code (secury/optidice): all networks move at once from the weights before the step; rewards are
standardised over the data and multiplied by `reward_factor`; the policy waits for a sixth of the run; Adam's epsilon is
that of Keras. Their word for `normalisation` "linear" is bestdice, for "quadratic" gendice.
Not as there: observations have no flag of an absorbing state (there the rows of that state are marked as ends, so that
no other row sees its value); the ratio of `chi` is positive above -alpha (there its log is cut off at 0).
Ours: discrete actions. Both policies are categorical, sums over actions are exact, and the usual target entropy is 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from ..core.config import Horizon, config, faults, static
from ..core.contract import BOTH, Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge, occasionally
from ..core.tree import PyTree
from ..parts import initialisers, nets, optimisers, starts
from ..parts.acting import act, dist
from ..parts.density_ratios import KINDS, divergence, ratio
from .opti_dice_policy import Sight, actor_loss, actor_of, cloning_loss, data_policy_of, temperature_loss


@config
class OptiDICE:
    alpha: float = 1.0  # weight of the divergence from the data; smaller: further from them
    divergence: str = "softchi"  # f: softchi, chi or kl
    discount: float = 0.99  # gamma
    normalisation: str = "linear"  # term of lambda: linear (its own value) or quadratic (plus half its square)
    normalise_value: bool = True  # whether lambda of V is learned; else it is 0
    normalise_advantage: bool = True  # whether lambda of E is learned; else it is 0
    multiplier_scale: float = 1.0  # factor of lambda
    advantage_loss: str = "minimax"  # of E: minimax, or mse (its squared error)
    extraction: str = "projection"  # of the policy: projection (on w times the data policy), or cloning weighted by w
    components: int = 5  # Gaussians of the data policy
    entropy_constraint: bool = True  # whether the entropy of the policy is kept at the target
    target_entropy: float = 0.0  # in nats; 0 means minus the number of action dimensions
    value_l2: float = 0.0  # weight of the norm of V's parameters
    standardise_rewards: bool = True  # subtract the mean of the rewards and divide by their deviation
    reward_factor: float = 0.1  # factor of the rewards after that
    warmup_share: float = static(default=1 / 6)  # share of the run before the policy learns
    run_updates: Horizon = "run"  # updates that the share is of
    lr: float = 3e-4  # Adam, of all networks and multipliers
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 512  # rows per update


class State(PyTree):
    value: Trained
    advantage: Trained  # E, a critic with one network
    value_multiplier: Trained
    advantage_multiplier: Trained
    actor: Trained
    data_policy: Trained
    temperature: Trained  # of the log of the entropy's coefficient
    reward_mean: jax.Array  # of the data; 0 if rewards are not standardised
    reward_std: jax.Array  # 1 if rewards are not standardised


def check(cfg: OptiDICE) -> list[str]:
    rules = {
        "alpha": "positive",
        "divergence": KINDS,
        "discount": "in [0, 1)",
        "normalisation": "linear|quadratic",
        "multiplier_scale": "positive",
        "advantage_loss": "minimax|mse",
        "extraction": "projection|cloning",
        "components": "positive",
        "value_l2": "at least 0",
        "reward_factor": "positive",
        "warmup_share": "in [0, 1)",
    }
    return faults(cfg, **rules)


def optimiser_of(cfg: OptiDICE) -> optax.GradientTransformation:
    return optimisers.adam(cfg.lr, eps=1e-7)


def init(cfg: OptiDICE, ctx: Context, noise: Noise) -> State:
    spec = ctx.spec
    tx = optimiser_of(cfg)
    how: nets.Layers = {"init": initialisers.xavier(), "last": initialisers.uniform_init(3e-3, 3e-3)}
    value = nets.value(noise.sub("value"), spec, cfg.hidden, **how)
    advantage = nets.critic(noise.sub("advantage"), spec, cfg.hidden, 1, **how)
    none = Trained.new(jnp.zeros((), jnp.result_type(float)), tx)
    actor = Trained.new(actor_of(spec, cfg.hidden, noise.sub("actor")), tx)
    data_policy = Trained.new(data_policy_of(spec, cfg.hidden, cfg.components, noise.sub("data_policy")), tx)
    networks = (Trained.new(value, tx), Trained.new(advantage, tx), none, none, actor, data_policy, none)
    if ctx.data is None or not cfg.standardise_rewards:
        return State(*networks, none.net, none.net + 1)
    return State(*networks, ctx.data.reward.mean(), ctx.data.reward.std() + 1e-10)


def errors(cfg: OptiDICE, value: nets.Value, batch: Batch, reward: jax.Array) -> jax.Array:
    """e = r + gamma m V(s') - V(s), [B]."""
    return reward + cfg.discount * (1 - batch.terminated) * value(batch.next_obs) - value(batch.obs)


def lagrangian(cfg: OptiDICE, multiplier: Scalar, x: jax.Array, e: jax.Array) -> jax.Array:
    """E[-alpha f(w) + w (e - lambda)] and the term of lambda, with w = w((x - lambda) / alpha); x and e [B]."""
    shift = cfg.multiplier_scale * multiplier
    scaled = (x - shift) / cfg.alpha
    gain = ratio(cfg.divergence, scaled) * (e - shift) - cfg.alpha * divergence(cfg.divergence, scaled)
    if cfg.normalisation == "quadratic":
        return gain.mean() + cfg.multiplier_scale * (multiplier + 0.5 * multiplier**2)
    return gain.mean() + multiplier


def value_loss(
    value: nets.Value, cfg: OptiDICE, multiplier: jax.Array, batch: Batch, reward: jax.Array
) -> tuple[jax.Array, Metrics]:
    """The dual objective of V; the gradient flows through V(s') too."""
    e = errors(cfg, value, batch, reward)
    first = (starts.start_weights(batch) * value(batch.initial_obs)).mean()
    loss = (1 - cfg.discount) * first + lagrangian(cfg, multiplier, e, e)
    weight = ratio(cfg.divergence, (e - cfg.multiplier_scale * multiplier) / cfg.alpha)
    loss = loss + cfg.value_l2 * optax.tree.norm(value)
    return loss, {"mean": value(batch.obs).mean(), "error": e.mean(), "weight": weight.mean()}


def multiplier_loss(multiplier: jax.Array, cfg: OptiDICE, x: jax.Array, e: jax.Array) -> tuple[jax.Array, Metrics]:
    return lagrangian(cfg, multiplier, x, e), {"lambda": multiplier}


def advantage_loss(
    advantage: nets.Critic, cfg: OptiDICE, multiplier: jax.Array, batch: Batch, e: jax.Array
) -> tuple[jax.Array, Metrics]:
    """The loss of E with targets e [B]: the minimax form, whose minimum is the mean of e, or the squared error."""
    found = advantage(batch.obs, batch.action)[0]
    if cfg.advantage_loss == "mse":
        return jnp.square(e - found).mean(), {"mean": found.mean()}
    return -lagrangian(cfg, multiplier, found, e), {"mean": found.mean()}


def update(cfg: OptiDICE, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimiser_of(cfg)
    reward = (batch.reward - state.reward_mean) / state.reward_std * cfg.reward_factor
    e = errors(cfg, state.value.net, batch, reward)
    found = state.advantage.net(batch.obs, batch.action)[0]
    lam, lam_e = state.value_multiplier, state.advantage_multiplier
    value, m1 = state.value.step(tx, value_loss, cfg, lam.net, batch, reward, name="value")
    advantage, m2 = state.advantage.step(tx, advantage_loss, cfg, lam_e.net, batch, e, name="advantage")
    data_policy, m3 = state.data_policy.step(tx, cloning_loss, batch, name="data_policy")
    metrics = merge(m1, m2, m3)
    if cfg.normalise_value:
        lam, more = lam.step(tx, multiplier_loss, cfg, e, e, name="value_multiplier")
        metrics = merge(metrics, more)
    if cfg.normalise_advantage:
        lam_e, more = lam_e.step(tx, multiplier_loss, cfg, found, e, name="advantage_multiplier")
        metrics = merge(metrics, more)
    continuous = batch.action.ndim > 1
    eps = noise.normal("actor_action", batch.action.shape) if continuous else None
    usual = -float(batch.action.shape[-1]) if continuous else 0.0
    goal = jnp.where(cfg.target_entropy == 0, usual, cfg.target_entropy)
    shift = cfg.multiplier_scale * state.advantage_multiplier.net
    sight = Sight(state.advantage.net, shift, cfg.alpha, cfg.divergence, cfg.extraction, state.data_policy.net)

    def policy_step(both: tuple[Trained, Trained]) -> tuple[tuple[Trained, Trained], Metrics]:
        actor, temperature = both
        coefficient = cfg.entropy_constraint * jnp.exp(temperature.net)
        new, shown = actor.step(tx, actor_loss, sight, coefficient, batch, eps, name="actor")
        if not cfg.entropy_constraint:
            return (new, temperature), shown
        moved, more = temperature.step(tx, temperature_loss, shown["actor/entropy"], goal, name="temperature")
        return (new, moved), merge(shown, more)

    ready = optimisers.progress(step, cfg.run_updates) >= cfg.warmup_share
    (actor, temperature), shown = occasionally(ready, policy_step, (state.actor, state.temperature))
    moved = (value, advantage, lam, lam_e, actor, data_policy, temperature)
    return State(*moved, state.reward_mean, state.reward_std), merge(metrics, shown)


CODE = "authors' code, github.com/secury/optidice, default_config.py and util.py"
SHORT = OptiDICE(alpha=0.03, entropy_constraint=False, warmup_share=0.1, lr=1e-3, batch_size=256)
MAZE = OptiDICE(alpha=0.001, advantage_loss="mse")
PRESETS = {
    "d4rl": Preset(OptiDICE(), Treatment(normalize_obs=1e-10), CODE),
    "maze2d": Preset(MAZE, Treatment(normalize_obs=1e-10), CODE + ", README.md"),
    "tuned_100k": Preset(SHORT, Treatment(normalize_obs=1e-3), "ours, for short logs: docs/algorithms/opti_dice.md"),
}

algorithm = Algorithm(
    "opti_dice", OptiDICE, init, update, act, PRESETS, dist=dist, needs=starts.rows, actions=BOTH, check=check
)
