"""MABCQ for finite problems (Jiang, Lu 2021, arXiv:2108.01832): batch-constrained Q-learning in a table for an agent
whose teammates change.

Each agent has a log of its own, and the log's P_B(s'|s, a) depends on how the teammates acted then. Transitions are
weighted by lambda_vd lambda_tn, see `parts.deviations`, so that agents that learn alone agree on good joint actions.
Train it on the log of a team with `--agents independent`.

Notation (paper = code): B = the agent's log; P_B(s'|s, a) = `share`; lambda_tn = 1 / P_B;
lambda_vd = `value_deviation`; z = `total`, so that the weighted transitions P^ = lambda_vd lambda_tn P_B / z sum to 1.
The table, its states, its support and its rates are those of `tabular_bcq`.
A pair moves by its rate times the mean of w (y - Q) over its rows in the batch, with w = lambda_vd lambda_tn / z. So Q
converges to the mean of the targets under P^.
Known from the paper: the two factors, z, and that they weigh the error; P_B comes from counts.
Ours, because no code is public: w is within [`least_weight`, `most_weight`]; V(s') is the table's best supported value,
and a true end is a next state of its own with value 0; the step of a pair is at most its whole error.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import config, faults, narrowed, static
from ..core.contract import DISCRETE, Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics
from ..core.tree import PyTree
from ..data.dataset import Dataset
from ..parts import deviations, targets
from ..parts.action_values import best
from ..parts.distributions import take
from . import tabular_bcq
from .tabular_bcq import TabularBCQ, act, dist, state_of, usable, value


@config
class TabularMABCQ:
    states: int = 256  # largest number of different observations in the data
    least_count: int = 1  # a pair that is logged so often is supported
    least_weight: float = 0.1  # smallest weight of a transition
    most_weight: float = 10.0  # largest weight of a transition
    initial_value: float = static(default=0.0)  # Q before learning, and always for pairs without support
    discount: float = 0.99  # gamma
    critic_lr: float = 1.0  # rate of a pair's first update; 1 forgets the initial value at once
    rate_power: float = 0.6  # the rate falls as 1 / n^rate_power; in (.5, 1] Q converges, 0: constant
    epsilon: float = 0.1  # share of random actions while exploring
    batch_size: int = 32  # rows per update


class State(PyTree):
    codes: jax.Array  # [S, d] the observation of each state; unused rows repeat the first one
    support: jax.Array  # [S, A] booleans: the supported pairs
    share: jax.Array  # [S, A, S + 1] P_B(s'|s, a), from counts; a true end is the last next state
    visits: jax.Array  # [S, A] number of updates of each pair
    q: jax.Array  # [S, A]


def check(cfg: TabularMABCQ) -> list[str]:
    rules = {"states": "positive", "least_count": "positive", "discount": "in [0, 1]", "epsilon": "in [0, 1]"}
    rules |= {"least_weight": "at least 0", "most_weight": "positive", "rate_power": "in [0, 1]"}
    return faults(cfg, **rules)


def require_finite(cfg: TabularMABCQ, dataset: Dataset) -> Dataset:
    """The data set unchanged; the arguments are those of `tabular_bcq.require_finite`.

    Raises:
        UserError: it has more than `states` different observations.
    """
    return tabular_bcq.require_finite(narrowed(TabularBCQ, cfg), dataset)


def init(cfg: TabularMABCQ, ctx: Context, noise: Noise) -> State:
    table = tabular_bcq.init(narrowed(TabularBCQ, cfg), ctx, noise)
    counts = jnp.zeros((*table.q.shape, cfg.states + 1), table.q.dtype)
    if ctx.data is not None:
        state = state_of(table.codes, ctx.data.obs)
        after = jnp.where(ctx.data.terminated > 0, cfg.states, state[ctx.data.row + 1])
        counts = counts.at[state[ctx.data.row], ctx.data.action, after].add(1)
    share = counts / jnp.maximum(counts.sum(-1, keepdims=True), 1)
    return State(table.codes, table.support, share, table.visits, table.q)


def update(cfg: TabularMABCQ, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    here = state_of(state.codes, batch.obs)
    there = state_of(state.codes, batch.next_obs)
    among = usable(state.support[there], batch.next_mask)
    after = take(state.q[there], best(state.q[there], among))
    y = targets.td(batch, after, cfg.discount)

    every = take(state.q, best(state.q, usable(state.support, None)))  # V of each state
    at = (here, batch.action)
    share = state.share[at]  # [B, S + 1]
    worth = jnp.append(every, 0)
    deviation = deviations.value_deviation(worth[None], (share @ worth)[:, None])
    total = jnp.where(share > 0, deviation, 0).sum(-1)
    outcome = jnp.where(batch.terminated > 0, cfg.states, there)
    own_deviation = take(deviation, outcome)
    density = jnp.maximum(take(share, outcome) * total, 1e-6)
    weight = deviations.weights(own_deviation, density, cfg.least_weight, cfg.most_weight)

    hits = jnp.zeros_like(state.q).at[at].add(1)
    error = jnp.zeros_like(state.q).at[at].add(weight * (y - state.q[at])) / jnp.maximum(hits, 1)
    pull = jnp.zeros_like(state.q).at[at].add(weight) / jnp.maximum(hits, 1)  # mean weight of the pair's rows
    moved = (hits > 0) & state.support
    visits = state.visits + moved
    rate = cfg.critic_lr * jnp.maximum(visits, 1) ** -cfg.rate_power
    q = state.q + jnp.where(moved, jnp.minimum(rate, 1 / jnp.maximum(pull, 1e-6)) * error, 0)

    own = take(q[here], best(q[here], usable(state.support[here], batch.mask)))
    metrics = {
        "q": q[at].mean(),
        "policy_q": own.mean(),
        "error": jnp.abs(y - state.q[at]).mean(),
        "rate": rate[at].mean(),
        "deviation": own_deviation.mean(),
        "weight": weight.mean(),
    }
    new = State(state.codes, state.support, state.share, visits, q)
    return new, {f"critic/{name}": value for name, value in metrics.items()}


PRESETS = {
    "paper": Preset(
        TabularMABCQ(), Treatment(), "the paper's two factors; it leaves bounds of weights and rates to the reader"
    )
}

algorithm = Algorithm(
    "tabular_mabcq",
    TabularMABCQ,
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
