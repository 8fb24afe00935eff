"""OMIGA (Wang, Xu, Zheng, Zhan 2023, arXiv:2307.11620): implicit regularisation of the team's value, agent by agent.

The team's value is a weighted sum of the values of the agents. The regularisation of the team's policy toward the data
then splits into one for each agent. Each learns from its own rows and the weights, without actions outside of the data.
All agents share three networks and see their own number as a one-hot vector.

Notation (paper = code): alpha = `alpha`; w_i, b = the two outputs of `mixer`; Q_i, V_i, pi_i = `q`, `value`, `actor`.
Shapes: N agents, B rows; o [N, B, d], s = the observations of all agents, [B, N d].
Order, as in the authors' code: the losses of actor, critics and values are those of the networks before the update;
then all three move, and the targets of critics, mixer and values follow.
As there: z = w_i (Q_i - V_i) / alpha within +-10, with target critics and weights; the value loss is divided by exp of
the largest z; each gradient is clipped to a norm of 1; the critics and the mixer have one optimiser.
The reward of a row is the mean over the agents, which is the team's reward if they share it.
Acting takes joint observations; `member` gives the policy with which one agent acts alone.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..core.config import config, faults, static
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Cfg, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import nets, optimisers
from ..parts.distributions import choose
from ..parts.mixer import Mixed, mixer


@config
class OMIGA:
    alpha: float = 10.0  # weight of the regularisation toward the data
    most_advantage: float = 10.0  # bound of |z|, the exponent of the weights
    mixer_hidden: tuple[int, ...] = (64,)  # widths of the hidden layers of the mixer
    clip_norm: float = static(default=1.0)  # largest norm of a gradient
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the targets follow
    actor_lr: float = 5e-4  # Adam
    critic_lr: float = 5e-4  # Adam, critics and mixer
    value_lr: float = 5e-4  # Adam
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of critics, values and policies
    batch_size: int = 128  # rows per update


class State(PyTree):
    ids: jax.Array  # [M, N] the one-hot vectors of the agents that act: all, or one
    actor: Trained
    critic: Trained  # a `Mixed`
    value: Trained
    target: Mixed
    target_value: nets.Value


class Rows(NamedTuple):
    """A batch with an axis of agents."""

    seen: jax.Array  # [N, B, d + N] observations with the agent's number
    next_seen: jax.Array  # [N, B, d + N]
    state: jax.Array  # [B, N d]
    next_state: jax.Array  # [B, N d]
    action: jax.Array  # [N, B, A]
    reward: jax.Array  # [B]
    onward: jax.Array  # [B] 1 where the target bootstraps, times a logged discount


class Optimisers(NamedTuple):
    actor: optax.GradientTransformation
    critic: optax.GradientTransformation
    value: optax.GradientTransformation


def check(cfg: OMIGA) -> list[str]:
    rules = {"alpha": "positive", "most_advantage": "positive", "mixer_hidden": "positive", "clip_norm": "positive"}
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", **rules)


def optimisers_of(cfg: OMIGA) -> Optimisers:
    rates = (cfg.actor_lr, cfg.critic_lr, cfg.value_lr)
    return Optimisers(*(optimisers.adam(rate, clip_norm=cfg.clip_norm) for rate in rates))


def init(cfg: OMIGA, ctx: Context, noise: Noise) -> State:
    """The state of a team; of one agent that acts alone, if the context has no members (see `member`)."""
    spec = ctx.members[0].spec if ctx.members else ctx.spec
    count = len(ctx.members) if ctx.members else int(ctx.stats.get("agents", 1))
    (width,) = spec.obs
    tx = optimisers_of(cfg)
    own = spec._replace(obs=(width + count,))
    actor = nets.gaussian_heads_policy(noise.sub("actor"), own, cfg.hidden, low=-5.0)
    value = nets.value(noise.sub("value"), own, cfg.hidden)
    q = nets.critic(noise.sub("critic"), own, cfg.hidden, n=1)
    mixed = Mixed(q, mixer(noise, width * count, cfg.mixer_hidden, count))
    ids = jnp.eye(count)[: max(1, len(ctx.members))]
    trained = (Trained.new(actor, tx.actor), Trained.new(mixed, tx.critic), Trained.new(value, tx.value))
    return State(ids, *trained, mixed, value)


def numbered(obs: jax.Array, ids: jax.Array) -> jax.Array:
    """Observations [N, B, d] with the one-hot vectors [N, N] of their agents: [N, B, d + N]."""
    lead = (*obs.shape[:2], ids.shape[-1])
    return jnp.concatenate([obs, jnp.broadcast_to(ids[:, None].astype(obs.dtype), lead)], -1)


def rows_of(batches: Batch | tuple[Batch, ...], ids: jax.Array) -> Rows:
    """The rows of all agents; a team of one agent may give its batch without a tuple."""
    each: tuple[Batch, ...] = (batches,) if isinstance(batches, Batch) else batches
    obs, next_obs = (jnp.stack([getattr(own, name) for own in each]) for name in ("obs", "next_obs"))
    first = each[0]
    onward = 1 - first.terminated
    onward = onward * first.extra["discount"] if "discount" in first.extra else onward
    return Rows(
        seen=numbered(obs, ids),
        next_seen=numbered(next_obs, ids),
        state=jnp.concatenate([own.obs for own in each], -1),
        next_state=jnp.concatenate([own.next_obs for own in each], -1),
        action=jnp.stack([own.action for own in each]),
        reward=jnp.stack([own.reward for own in each]).mean(0),
        onward=onward,
    )


def critic_loss(mixed: Mixed, y: jax.Array, rows: Rows) -> tuple[jax.Array, Metrics]:
    """Squared error of Q_tot = sum_i w_i Q_i + b to the targets `y` [B]."""
    weight, offset = mixed.mixer(rows.state)
    q = mixed.q(rows.seen, rows.action)[0]  # [N, B]
    total = (weight.T * q).sum(0) + offset
    return jnp.square(total - y).mean(), {"q": total.mean(), "weight": weight.mean(), "target": y.mean()}


def exponent(value: jax.Array, q: jax.Array, weight: jax.Array, cfg: OMIGA) -> jax.Array:
    """z = w_i (Q_i - V_i) / alpha within +-`most_advantage`: [N, B]."""
    return jnp.clip(weight * (q - value) / cfg.alpha, -cfg.most_advantage, cfg.most_advantage)


def value_loss(value: nets.Value, q: jax.Array, weight: jax.Array, rows: Rows, cfg: OMIGA) -> tuple[jax.Array, Metrics]:
    """The mean of exp(z - M) + exp(-M) w V / alpha, with M = max(max z, -1), which is not differentiated."""
    v = value(rows.seen)
    z = exponent(v, q, weight, cfg)
    most = jnp.maximum(jax.lax.stop_gradient(z).max(), -1.0)
    loss = jnp.exp(z - most) + jnp.exp(-most) * weight * v / cfg.alpha
    return loss.mean(), {"mean": v.mean(), "exponent": z.mean()}


def actor_loss(actor: nets.Policy, factor: jax.Array, rows: Rows) -> tuple[jax.Array, Metrics]:
    """Cloning weighted by exp(z), [N, B]."""
    log_prob = actor(rows.seen).log_prob(rows.action)
    return -(factor * log_prob).mean(), {"log_prob": log_prob.mean(), "factor": factor.mean()}


def target_of(cfg: OMIGA, state: State, rows: Rows) -> jax.Array:
    """y = r + gamma m (sum_i w_i(s') V_i(o'_i) + b(s')), with the targets of mixer and values: [B]."""
    weight, offset = state.target.mixer(rows.next_state)
    following = (weight.T * state.target_value(rows.next_seen)).sum(0) + offset
    return rows.reward + cfg.discount * rows.onward * following


def update(
    cfg: OMIGA, state: State, batch: Batch | tuple[Batch, ...], noise: Noise, step: Step
) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    rows = rows_of(batch, state.ids)
    q = state.target.q(rows.seen, rows.action)[0]
    weight = state.target.mixer(rows.state)[0].T
    factor = jnp.exp(exponent(state.value.net(rows.seen), q, weight, cfg))
    y = target_of(cfg, state, rows)

    actor, m1 = state.actor.step(tx.actor, actor_loss, factor, rows, name="actor")
    critic, m2 = state.critic.step(tx.critic, critic_loss, y, rows, name="critic")
    value, m3 = state.value.step(tx.value, value_loss, q, weight, rows, cfg, name="value")
    target = ema(critic.net, state.target, cfg.polyak)
    target_value = ema(value.net, state.target_value, cfg.polyak)
    return State(state.ids, actor, critic, value, target, target_value), merge(m1, m2, m3)


def act(cfg: OMIGA, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    """The actions [n, M A] of the agents that act, from their observations [n, M d]."""
    count = len(state.ids)
    obs = jnp.moveaxis(seen.obs.reshape(len(seen.obs), count, -1), 1, 0)
    action = choose(state.actor.net(numbered(obs, state.ids)), noise, mode)  # [M, n, A]
    return jnp.moveaxis(action, 0, 1).reshape(len(seen.obs), -1), memory


def member(cfg: Cfg, state: State, i: int) -> tuple[Algorithm, State]:
    """The policy with which agent i acts alone."""
    return algorithm, State(**{**vars(state), "ids": state.ids[i : i + 1]})


CODE = "authors' code, github.com/ZhengYinan-AIR/OMIGA, MuJoCo"
PRESETS = {"mujoco": Preset(OMIGA(), Treatment(), CODE)}

algorithm = Algorithm("omiga", OMIGA, init, update, act, PRESETS, member=member, check=check)
