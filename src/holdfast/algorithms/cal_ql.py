"""Cal-QL, calibrated Q-learning (Nakamoto, Zhai, Singh, Mark, Ma, Finn, Kumar, Levine 2023, arXiv:2303.05479).

Conservative values may lie far below the values of the policy that logged the data. Then the first values learned
online look better than everything learned offline, and the offline policy is forgotten. Cal-QL is CQL(H) (see `cql`)
whose penalty lowers values of the policy's actions at most to a reference: V of the logging policy, estimated by the
return of the row's own episode, `mc_return`. Online the same update continues, on data and new rows.

Notation (paper = code): alpha = `alpha`; V^mu = column `mc_return`; N = `n_actions`.
Order of an update, as in the authors' code: every loss uses the networks from before the update, the actor's with the
old temperature, the critics' with the old dual variable.
As in the authors' code and not in the paper: the squared error has no factor 1/2; the policy's actions at s' are
valued, and bounded, at s; the target takes the best of `backup_actions` policy actions (of the smaller critic), without
entropy.
Not as in the authors' code: the bracket of the dual variable is alpha difference - gap, as in `cql`, where theirs is
alpha (difference - gap), so `gap` is their gap times `alpha`; the log deviation of the policy has no learned scale and
shift, which hardly move. `min_difference` is CORL's; the authors have no floor, and neither do the presets.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import config, faults, static
from ..core.contract import Algorithm, Collect, Context, Needs, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import ema
from ..parts import conservative, initialisers, layers, nets, targets
from ..parts.acting import act, dist
from .cql import State, optimisers_of
from .sac import actor_loss, entropy_goal, temperature_loss


@config
class CalQL:
    alpha: float = 5.0  # weight of the penalty
    penalty_temperature: float = 1.0  # T of T logsumexp(Q / T)
    n_actions: int = 10  # N, candidates of each kind per row
    min_difference: float = -1e9  # floor of a row's difference of values; the default is none, CORL has -200
    lagrange: bool = False  # learn the weight so that alpha times the difference of values stays at `gap`
    gap: float = 5.0  # target of alpha times the difference if lagrange is on; the authors' gap times alpha
    dual_lr: float = 3e-4  # Adam, of log alpha' if lagrange is on; it starts at 1
    backup_actions: int = 10  # policy actions at s'; the target takes the best of them
    sparse: bool = static(default=False)  # the floor of an episode that only ever failed is r / (1 - discount)
    data_share: float = static(default=0.5)  # online: rows of a batch that come from the data
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # of the entropy term, before the first update
    target_entropy: float = 0.0  # in nats; 0 means minus the number of action dimensions
    actor_lr: float = 1e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 1e-4  # Adam; policy_lr in the code
    hidden: tuple[int, ...] = (256, 256)  # widths of the actor's hidden layers
    critic_hidden: tuple[int, ...] = (256, 256)  # widths of the critics' hidden layers; four on AntMaze
    batch_size: int = 256  # rows per update
    update_ratio: int = 1  # online: updates per environment step


def check(cfg: CalQL) -> list[str]:
    positive = ("penalty_temperature", "n_actions", "backup_actions", "initial_temperature", "critic_hidden")
    rules = dict.fromkeys((*positive, "update_ratio"), "positive") | {"alpha": "at least 0", "gap": "at least 0"}
    return faults(cfg, n_step="positive", discount="in [0, 1]", polyak="in [0, 1]", data_share="in (0, 1)", **rules)


def init(cfg: CalQL, ctx: Context, noise: Noise) -> State:
    """Orthogonal weights, those of the last layers small; standard deviations start at exp(-1)."""
    tx = optimisers_of(cfg)
    weights = initialisers.orthogonal()
    last = initialisers.orthogonal(1e-2)

    def heads(noise: Noise, n_in: int, n_out: int) -> layers.Linear:
        made = last(noise, n_in, n_out)
        return layers.Linear(made.weight, made.bias.at[n_out // 2 :].set(-1))

    actor = nets.gaussian_heads_policy(noise.sub("actor"), ctx.spec, cfg.hidden, init=weights, last=heads)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.critic_hidden, init=weights, last=last)
    temperature = Trained.new(jnp.log(cfg.initial_temperature), tx.temperature)
    dual = Trained.new(jnp.ones(()), tx.dual)
    return State(Trained.new(actor, tx.actor), Trained.new(critic, tx.critic), critic, temperature, dual)


def needs(cfg: CalQL) -> Needs:
    return targets.n_step_rows(cfg, ("sparse_return" if cfg.sparse else "mc_return",))


def difference_of(
    cfg: CalQL, q: jax.Array, q_data: jax.Array, floor: jax.Array, log_density: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Soft value of the candidates minus that of the logged action for each critic, [E], and how often the floor holds.

    Args:
        cfg: the settings.
        q: [E, 3 N, B], of uniform actions first, then of the policy's; these alone are raised to the floor.
        q_data: [E, B].
        floor: the reference value, [B].
        log_density: log-densities of the candidates, [3 N, B].
    """
    uniform = q[:, : cfg.n_actions]
    own = q[:, cfg.n_actions :]
    q = jnp.concatenate([uniform, jnp.maximum(own, floor[None, None])], 1) - log_density[None]
    soft = conservative.soft_maximum(q, cfg.penalty_temperature)
    return jnp.maximum(soft - q_data, cfg.min_difference).mean(1), (own < floor[None, None]).mean()


def critic_loss(
    critic: nets.Critic, y: jax.Array, batch: Batch, action: jax.Array, log_density: jax.Array, cfg: CalQL, dual: Scalar
) -> tuple[jax.Array, Metrics]:
    """Eq. 5.1 for targets `y` [B], candidates `action` [3 N, B, A] and their `log_density` [3 N, B]."""
    q_data, q = conservative.values(critic, batch, action)
    floor = batch.extra[needs(cfg).columns[0]]
    difference, bound_rate = difference_of(cfg, q, q_data, floor, log_density)
    td = jnp.square(q_data - y[None]).mean(1)
    penalty = conservative.penalty(difference, cfg.alpha, cfg.gap, dual, cfg.lagrange)
    metrics = {"td": td.mean(), "penalty": penalty.mean(), "difference": difference.mean(), "bound_rate": bound_rate}
    return (td + penalty).sum(), metrics | {"q": q_data.mean(), "q_mu": q.mean(), "target": y.mean()}


def update(cfg: CalQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    policy = state.actor.net(batch.obs)
    next_policy = state.actor.net(batch.next_obs)
    eps = noise.normal("policy_action", batch.action.shape)
    alpha = jnp.exp(state.temperature.net)
    _, log_prob = policy.sample_and_log_prob(eps)
    goal = entropy_goal(cfg, batch)
    temperature, m1 = state.temperature.step(tx.temperature, temperature_loss, log_prob, goal, name="temperature")
    actor, m2 = state.actor.step(tx.actor, actor_loss, state.critic.net, alpha, batch.obs, eps, name="actor")

    n = cfg.backup_actions
    next_action = next_policy.repeat(n).sample(noise.normal("target_action", (n, *batch.action.shape)))
    y = targets.td(batch, state.target_critic(batch.next_obs, next_action).min(0).max(0), cfg.discount)
    action, log_density = conservative.candidates(cfg.n_actions, policy, next_policy, batch, noise)
    weight = conservative.dual_weight(state.dual.net)
    critic, m3 = state.critic.step(tx.critic, critic_loss, y, batch, action, log_density, cfg, weight, name="critic")

    dual, m4 = conservative.dual_step(state.dual, tx.dual, m3["critic/difference"], cfg.alpha, cfg.gap, cfg.lagrange)
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target, temperature, dual), merge(m1, m2, m3, m4)


def finetune(cfg: CalQL) -> tuple[Phase, ...]:
    """The same update; rows join the replay buffer with the return of their episode once it has ended."""
    mix = {"data": cfg.data_share, "online": 1 - cfg.data_share}
    collect = Collect(warmup=0, every=cfg.update_ratio, whole=True)
    return (Phase("online", mix=mix, collect=collect),)


CODE = "authors' code, github.com/nakamotoo/Cal-QL, "
CLIPPED = Treatment(clip_actions=1e-5)
PRESETS = {
    "usual": Preset(CalQL(), CLIPPED, CODE + "defaults of JaxCQL/conservative_sac_main.py and conservative_sac.py"),
    "antmaze": Preset(
        CalQL(lagrange=True, gap=4.0, sparse=True, critic_hidden=(256, 256, 256, 256)),
        CLIPPED._replace(reward_shift=-0.5, reward_scale=10.0),
        CODE + "scripts/run_antmaze.sh",
    ),
    "adroit": Preset(
        CalQL(alpha=1.0, gap=1.0, sparse=True, hidden=(512, 512), critic_hidden=(512, 512, 512)),
        CLIPPED._replace(reward_shift=0.5, reward_scale=10.0),
        CODE + "scripts/run_adroit.sh",
    ),
}

algorithm = Algorithm(
    "cal_ql", CalQL, init, update, act, PRESETS, dist=dist, needs=needs, finetune=finetune, check=check
)
