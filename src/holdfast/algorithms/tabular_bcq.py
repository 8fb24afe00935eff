"""Batch-constrained Q-learning for finite problems (BCQL: Fujimoto, Meger, Precup 2019, arXiv:1812.02900, section 4.1).

Q-learning whose maximum at s' is over the actions that the batch B shows in s'. It converges to the best policy of the
MDP that the batch describes among the supported actions. If transitions are deterministic and B is coherent, this
policy is at least as good as any behaviour in B. `environments.batch_mdp` solves the same problem exactly.

Notation (paper = code): B = the training data; alpha = `critic_lr` / n(s, a)^`rate_power` at the n-th update of a pair.
States: the different observations in the data (one-hot, integers, any vectors that repeat exactly), at most `states` of
them. While acting, an observation that is not in the data counts as the nearest one.
Support: the pairs that are logged at least `least_count` times in all of the data, counted before learning.
If s' has no supported action (the last state of a batch that is not coherent), the maximum is over all legal actions.
These, like all pairs without support, keep `initial_value`, as in the paper's batch MDP, in which they end at once with
their initial value.
Not as in the paper: an update can have several rows; then each pair in it moves once, towards the mean of its targets.
With all pairs supported this is Q-learning: `holdfast studies batch-constrained` shows the difference.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ..core.config import config, faults, static
from ..core.contract import DISCRETE, Algorithm, Context, Preset, Treatment
from ..core.errors import UserError
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics
from ..core.tree import PyTree
from ..data.dataset import Dataset
from ..parts import targets
from ..parts.action_values import best, epsilon_greedy, greedy
from ..parts.distributions import Categorical, take


@config
class TabularBCQ:
    states: int = 256  # largest number of different observations in the data
    least_count: int = 1  # a pair that is logged so often is supported
    initial_value: float = static(default=0.0)  # Q before learning, and always for pairs without support
    discount: float = 0.99  # gamma
    critic_lr: float = 1.0  # rate of a pair's first update; 1 forgets the initial value at once
    rate_power: float = 0.6  # the rate falls as 1 / n^rate_power; in (.5, 1] Q converges, 0: constant
    epsilon: float = 0.1  # share of random actions while exploring
    batch_size: int = 1  # rows per update


class State(PyTree):
    codes: jax.Array  # [S, d] the observation of each state; unused rows repeat the first one
    support: jax.Array  # [S, A] booleans: the supported pairs
    visits: jax.Array  # [S, A] number of updates of each pair
    q: jax.Array  # [S, A]


def check(cfg: TabularBCQ) -> list[str]:
    rules = {"states": "positive", "least_count": "positive", "discount": "in [0, 1]", "epsilon": "in [0, 1]"}
    return faults(cfg, rate_power="in [0, 1]", **rules)


def require_finite(cfg: TabularBCQ, dataset: Dataset) -> Dataset:
    """The data set unchanged.

    Raises:
        UserError: it has more than `states` different observations.
    """
    found = len(np.unique(np.asarray(dataset.observations), axis=0))
    if found > cfg.states:
        raise UserError(
            f"{dataset.id} has {found} different observations, tabular_bcq takes at most {cfg.states}: raise --states "
            "if the problem is finite, else train discrete_bcq"
        )
    return dataset


def state_of(codes: jax.Array, obs: jax.Array) -> jax.Array:
    """The states with the nearest observations: codes [S, d] and obs [B, d] to indices [B]."""
    return jnp.square(obs[:, None] - codes[None]).sum(-1).argmin(-1)


def usable(support: jax.Array, mask: jax.Array | None) -> jax.Array:
    """The supported legal actions of each row [B, A]; all legal actions if a row has no supported one."""
    legal = jnp.ones_like(support) if mask is None else mask
    both = support & legal
    return jnp.where(both.any(-1, keepdims=True), both, legal)


def init(cfg: TabularBCQ, ctx: Context, noise: Noise) -> State:
    counts = jnp.zeros((cfg.states, ctx.spec.action), int)
    codes = jnp.zeros((cfg.states, *ctx.spec.obs))
    if ctx.data is not None:  # None when a saved policy is loaded, which needs the shapes only
        codes, state = jnp.unique(ctx.data.obs, axis=0, size=cfg.states, return_inverse=True)
        counts = counts.at[state.reshape(-1)[ctx.data.row], ctx.data.action].add(1)
    q = jnp.full(counts.shape, cfg.initial_value, codes.dtype)
    return State(codes, counts >= cfg.least_count, jnp.zeros_like(q), q)


def update(cfg: TabularBCQ, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    here = state_of(state.codes, batch.obs)
    there = state_of(state.codes, batch.next_obs)
    among = usable(state.support[there], batch.next_mask)
    y = targets.td(batch, take(state.q[there], best(state.q[there], among)), cfg.discount)

    at = (here, batch.action)
    hits = jnp.zeros_like(state.q).at[at].add(1)
    mean = jnp.zeros_like(state.q).at[at].add(y) / jnp.maximum(hits, 1)
    moved = (hits > 0) & state.support
    visits = state.visits + moved
    rate = cfg.critic_lr * jnp.maximum(visits, 1) ** -cfg.rate_power
    q = jnp.where(moved, state.q + rate * (mean - state.q), state.q)

    own = take(q[here], best(q[here], usable(state.support[here], batch.mask)))
    metrics = {
        "q": q[at].mean(),
        "policy_q": own.mean(),
        "error": jnp.abs(y - state.q[at]).mean(),
        "rate": rate[at].mean(),
    }
    return State(state.codes, state.support, visits, q), {f"critic/{name}": value for name, value in metrics.items()}


def dist(cfg: TabularBCQ, state: State, seen: Seen, memory: Memory) -> Categorical:
    here = state_of(state.codes, seen.obs)
    return greedy(state.q[here], usable(state.support[here], seen.mask))


def act(
    cfg: TabularBCQ, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode
) -> tuple[jax.Array, Memory]:
    return epsilon_greedy(dist(cfg, state, seen, memory), seen.mask, cfg.epsilon, noise, mode), memory


def value(cfg: TabularBCQ, state: State, obs: jax.Array, action: jax.Array) -> jax.Array:
    return take(state.q[state_of(state.codes, obs)], action)


PRESETS = {
    "paper": Preset(TabularBCQ(), Treatment(), "the paper's section 4.1, which leaves the rates open"),
    "tuned_batch": Preset(TabularBCQ(batch_size=32), Treatment(), "ours, as paper with 32 rows per update"),
}

algorithm = Algorithm(
    "tabular_bcq",
    TabularBCQ,
    init,
    update,
    act,
    PRESETS,
    dist=dist,
    value=value,
    filter=require_finite,
    actions=DISCRETE,
    check=check,
)
