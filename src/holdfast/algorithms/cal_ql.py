"""Cal-QL, calibrated Q-learning (Nakamoto, Zhai, Singh, Mark, Ma, Finn, Kumar, Levine 2023, arXiv:2303.05479).

Conservative values may lie far below those of the policy that logged the data; then the first values learned online
look better than all that was learned offline, and the policy is forgotten. Cal-QL is CQL(H) (see `cql`) whose penalty
pushes values of the policy's actions down to a reference value at most: V of the logging policy, read off the data as
the return of the row's own episode, `mc_return`. Online the same update goes on, half data, half new rows.

Paper -> here: alpha alpha, V^mu mc_return. Order, as in the authors' code: every loss from the networks before the
update; the actor's with the old temperature, the critics' with the old dual variable.
As in the authors' code and not in the paper: no 1/2 on the squared error; the policy's actions at s' are valued, and
bounded, at s; the target takes the best of `backup_actions` policy actions (of the smaller critic), without entropy.
Not as in the authors' code: the dual variable's bracket is alpha difference - gap, as in `cql`, where theirs is
alpha (difference - gap), so their gap is `gap` / `alpha`; no learned scale and shift of the policy's log deviation.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import config, faults, static
from ..core.contract import Algorithm, Collect, Context, Needs, Phase, Preset, Transitions, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import ema
from ..parts import initialisers, layers, nets, optimisers, targets
from .cql import CQL, State, candidates, dual_loss, penalty_of, values, weight_of
from .sac import act, actor_loss, dist, entropy_goal, temperature_loss


@config
class CalQL:
    alpha: float = 5.0  # weight of the penalty
    penalty_temperature: float = 1.0  # T of T logsumexp(Q / T)
    n_actions: int = 10  # N, candidates of each kind a row
    min_difference: float = -200.0  # floor of a row's difference of values; CORL's, the authors have none
    lagrange: bool = False  # learn the weight so that alpha times the difference of values stays at `gap`
    gap: float = 4.0  # where lagrange is on; the authors' 0.8 (AntMaze) times alpha
    dual_lr: float = 3e-4  # Adam, of log alpha' where lagrange is on, from 1
    backup_actions: int = 10  # policy actions at s', the best of which makes the target
    sparse: bool = static(default=False)  # the floor of an episode that only ever failed is r / (1 - discount)
    data_share: float = static(default=0.5)  # online: rows of a batch that come from the data
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # of the entropy term, before the first update
    target_entropy: float = 0.0  # in nats; 0 stands for minus the number of action dimensions
    actor_lr: float = 1e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 1e-4  # Adam; the authors' policy_lr
    hidden: tuple[int, ...] = (256, 256)  # widths of the actor's hidden layers
    critic_hidden: tuple[int, ...] = (256, 256)  # widths of the critics' hidden layers; four on AntMaze
    batch_size: int = 256  # rows an update
    update_ratio: int = 1  # online: updates an environment step


def check(cfg: CalQL) -> list[str]:
    rules = {"alpha": "at least 0", "gap": "at least 0", "penalty_temperature": "positive", "n_actions": "positive"}
    rules |= {"backup_actions": "positive", "data_share": "in (0, 1)", "update_ratio": "positive"}
    rules |= {"critic_hidden": "positive"}
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", initial_temperature="positive", **rules)


def init(cfg: CalQL, ctx: Context, noise: Noise) -> State:
    """Orthogonal weights, the last layers' small; standard deviations begin at exp(-1)."""
    init, last, shape = (
        initialisers.orthogonal(),
        initialisers.orthogonal(1e-2),
        {"low": -20.0, "high": 2.0, "squash": "tanh"},
    )

    def heads(noise: Noise, n_in: int, n_out: int) -> layers.Linear:
        made = last(noise, n_in, n_out)
        return layers.Linear(made.weight, made.bias.at[n_out // 2 :].set(-1))

    actor = nets.policy(noise.sub("actor"), ctx.spec, cfg.hidden, "heads", init=init, last=heads, **shape)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.critic_hidden, init=init, last=last)
    return State(
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        critic,
        Trained.new(jnp.log(cfg.initial_temperature), optimisers.adam(cfg.temperature_lr)),
        Trained.new(jnp.ones(()), optimisers.adam(cfg.dual_lr)),
    )


def needs(cfg: CalQL) -> Needs:
    return Transitions(columns=("sparse_return" if cfg.sparse else "mc_return",))


def difference_of(cfg: CalQL, q: jax.Array, q_data: jax.Array, floor: jax.Array, log_density: jax.Array) -> Any:
    """Soft value of the candidates less the logged action's for each critic, [E], and how often the floor holds.

    q [E, 3 N, B]: of uniform actions first, then of the policy's, which alone are raised to the floor [B].
    """
    uniform, own = q[:, : cfg.n_actions], q[:, cfg.n_actions :]
    q = jnp.concatenate([uniform, jnp.maximum(own, floor[None, None])], 1) - log_density[None]
    soft = cfg.penalty_temperature * jax.nn.logsumexp(q / cfg.penalty_temperature, 1)
    return jnp.maximum(soft - q_data, cfg.min_difference).mean(1), (own < floor[None, None]).mean()


def critic_loss(
    critic: nets.Critic, y: jax.Array, batch: Batch, action: jax.Array, log_density: jax.Array, cfg: CalQL, dual: Any
) -> tuple[jax.Array, Metrics]:
    """Eq. 5.1, `action` [3 N, B, A]."""
    q_data, q = values(critic, batch, action)
    difference, bound_rate = difference_of(cfg, q, q_data, batch.extra[needs(cfg).columns[0]], log_density)
    td, penalty = jnp.square(q_data - y[None]).mean(1), penalty_of(cfg, difference, dual)
    found = {"td": td.mean(), "penalty": penalty.mean(), "difference": difference.mean(), "bound_rate": bound_rate}
    return (td + penalty).sum(), found | {"q": q_data.mean(), "q_mu": q.mean(), "target": y.mean()}


def update(cfg: CalQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    shape, n = batch.action.shape, cfg.backup_actions
    law, next_law = state.actor.net(batch.obs), state.actor.net(batch.next_obs)
    eps, alpha = noise.normal("policy_action", shape), jnp.exp(state.temperature.net)
    _, log_prob = law.sample_and_log_prob(eps)
    tx, goal = optimisers.adam(cfg.temperature_lr), entropy_goal(cfg, batch)
    temperature, m1 = state.temperature.step(tx, temperature_loss, log_prob, goal, name="temperature")
    given = (state.critic.net, alpha, batch.obs, eps)
    actor, m2 = state.actor.step(optimisers.adam(cfg.actor_lr), actor_loss, *given, name="actor")

    next_action = next_law.repeat(n).sample(noise.normal("target_action", (n, *shape)))
    y = targets.td(batch, state.target_critic(batch.next_obs, next_action).min(0).max(0), cfg.discount)
    drawn = (*candidates(CQL(n_actions=cfg.n_actions), law, next_law, batch, noise), cfg, weight_of(state.dual.net))
    critic, m3 = state.critic.step(optimisers.adam(cfg.critic_lr), critic_loss, y, batch, *drawn, name="critic")
    dual, m4 = state.dual, Metrics()
    if cfg.lagrange:
        dual, m4 = dual.step(optimisers.adam(cfg.dual_lr), dual_loss, m3["critic/difference"], cfg, name="dual")
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target, temperature, dual), merge(m1, m2, m3, m4)


def finetune(cfg: CalQL) -> tuple[Phase, ...]:
    """The same update; rows join the replay with their episode's return, when it has ended."""
    mix = {"data": cfg.data_share, "online": 1 - cfg.data_share}
    collect = Collect(warmup=0, every=cfg.update_ratio, whole=True)
    return (Phase("online", mix=mix, collect=collect),)


CODE = "authors' code, github.com/nakamotoo/Cal-QL, "
DEEP: dict[str, Any] = {"critic_hidden": (256, 256, 256, 256)}
PRESETS = {
    "usual": Preset(CalQL(), Treatment(), CODE + "the defaults of JaxCQL/conservative_sac.py"),
    "antmaze": Preset(
        CalQL(lagrange=True, sparse=True, **DEEP),
        Treatment(reward_shift=-0.5, reward_scale=10.0),
        CODE + "scripts/run_antmaze.sh",
    ),
    "adroit": Preset(
        CalQL(alpha=1.0, sparse=True, hidden=(512, 512), critic_hidden=(512, 512, 512)),
        Treatment(reward_shift=0.5, reward_scale=10.0),
        CODE + "scripts/run_adroit.sh",
    ),
}

algorithm = Algorithm(
    "cal_ql", CalQL, init, update, act, PRESETS, dist=dist, needs=needs, finetune=finetune, check=check
)
