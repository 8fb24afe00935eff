"""AWR, advantage-weighted regression (Peng, Kumar, Zhang, Levine 2019, arXiv:1910.00177), on a fixed data set.

V regresses on TD(lambda) returns of the logged episodes. The policy is cloned from the data with weights exp(A / beta),
A = return - V. No action outside the data is evaluated. A is the advantage of the policy that logged the data, so there
is one step of improvement.

Notation (paper = code): beta = `temperature`; lambda = `td_lambda` (1: Monte-Carlo returns); omega_max = `max_weight`.
Order: every `refresh_every` updates V, returns and weights of the whole data set are computed. Each update takes one
step of the critic and one of the actor. The authors alternate 200 steps of the critic and 1,000 of the actor, with
returns computed before each, so here the weights lag by one round.
As in the authors' code and not in the paper: advantages are normalised over the data (`normalize_advantage`); the mean
of the policy pays for leaving the bounds; values are learned in units of 1 / (1 - gamma); V is 0 after a failure, and
V(s) at a time limit.
Ours: `optimiser` adam, because a fixed data set needs fewer updates with it than with the authors' gradient descent
with momentum (preset `tuned_100k`); discrete actions, with a categorical policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from ..core.config import config, faults
from ..core.contract import BOTH, Algorithm, Context, Phase, Preset, Refreshed, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree
from ..parts import initialisers, losses, nets, optimisers, targets
from ..parts.acting import act, dist
from ..parts.distributions import Normal
from ..parts.optimisers import ActorCritic

if TYPE_CHECKING:
    from ..data.feed.columns import Columns


@config
class AWR:
    td_lambda: float = 0.95  # lambda of the returns; 1 for Monte-Carlo returns
    temperature: float = 1.0  # beta: small clones only the best actions
    max_weight: float = 20.0  # cap on exp(A / beta)
    normalize_advantage: bool = True  # advantages with mean 0 and standard deviation 1 over the data
    action_std: float = 0.4  # standard deviation of the policy, not learned; 0.2 on Ant
    bound_weight: float = 10.0  # of half the squared excess of the mean over [-1, 1]
    refresh_every: int = 1_000  # updates between new returns and weights
    optimiser: str = "sgd"  # sgd with momentum 0.9 (authors' code), or adam
    discount: float = 0.99  # gamma
    actor_lr: float = 5e-5  # rate of the gradient descent on the policy; 1e-4 on Hopper, 2.5e-5 on Walker
    critic_lr: float = 1e-2  # rate of the gradient descent on V
    hidden: tuple[int, ...] = (128, 64)  # widths of the hidden layers of both networks
    batch_size: int = 256  # rows per update


class FixedNormalPolicy(nets.Policy):
    """A normal around an unbounded mean. Its log standard deviation is a constant that is never learned."""

    log_std: jax.Array  # []

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Normal:
        mean = self.net(obs, keep)
        return Normal(mean, jnp.broadcast_to(jax.lax.stop_gradient(self.log_std), mean.shape))


class State(PyTree):
    actor: Trained
    critic: Trained  # V in units of 1 / (1 - gamma)


def check(cfg: AWR) -> list[str]:
    rules = dict.fromkeys(("temperature", "max_weight", "action_std", "refresh_every"), "positive")
    rules |= {"bound_weight": "at least 0", "td_lambda": "in [0, 1]", "discount": "in [0, 1)"}
    return faults(cfg, optimiser="adam|sgd", **rules)


def optimisers_of(cfg: AWR) -> ActorCritic:
    if cfg.optimiser == "adam":
        return ActorCritic(optimisers.adam(cfg.actor_lr), optimisers.adam(cfg.critic_lr))
    return ActorCritic(optimisers.sgd(cfg.actor_lr, 0.9), optimisers.sgd(cfg.critic_lr, 0.9))


def init(cfg: AWR, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    small = initialisers.uniform_init(0.01, 0.0)
    actor: nets.Policy = nets.deterministic_policy(noise.sub("actor"), ctx.spec, cfg.hidden, last=small)
    if not ctx.spec.discrete:
        actor = FixedNormalPolicy(actor.net, jnp.log(cfg.action_std))
    critic = nets.value(noise.sub("critic"), ctx.spec, cfg.hidden)
    return State(Trained.new(actor, tx.actor), Trained.new(critic, tx.critic))


def refresh(
    cfg: AWR, state: State, sources: Mapping[str, Columns], ctx: Context, noise: Noise, step: Step
) -> Refreshed:
    """Returns and weights of all rows with the current critic."""
    data = sources["data"]
    values = jax.lax.map(state.critic.net, data.obs, batch_size=8192) / (1 - cfg.discount)
    v = values[data.row]
    next_v = values[data.row + 1]
    last = jnp.append(data.row[1:] != data.row[:-1] + 1, True)
    bootstrap = cfg.discount * (1 - data.terminated) * data.extra.get("discount", 1.0)
    returns = targets.lambda_returns(data.reward, next_v, bootstrap, last, cfg.td_lambda)
    advantage = returns - v
    metrics = {"value": v.mean(), "return": returns.mean(), "advantage": advantage.mean(), "spread": advantage.std()}
    if cfg.normalize_advantage:
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-5)
    weight = losses.exp_weight(advantage, 1 / cfg.temperature, cfg.max_weight)
    effective = jnp.square(weight.mean()) / jnp.square(weight).mean()
    metrics |= {"capped": (weight >= cfg.max_weight).mean(), "effective_share": effective}
    columns = {"lambda_return": returns, "weight": weight}
    return Refreshed(state, columns, metrics={f"data/{k}": x for k, x in metrics.items()})


def critic_loss(critic: nets.Value, target: jax.Array, obs: jax.Array) -> tuple[jax.Array, Metrics]:
    """Half the squared error to `target` [B], which is in units of the critic."""
    return 0.5 * jnp.square(critic(obs) - target).mean(), {"target": target.mean()}


def actor_loss(actor: nets.Policy, batch: Batch, bound_weight: Scalar) -> tuple[jax.Array, Metrics]:
    """Weighted cloning; a continuous policy also pays for means outside [-1, 1]."""
    policy = actor(batch.obs).among(batch.mask)
    log_prob = policy.log_prob(batch.action)
    loss = -(batch.weight * log_prob).mean()
    metrics = {"log_prob": log_prob.mean(), "weight": batch.weight.mean()}
    if isinstance(policy, Normal):
        outside = 0.5 * jnp.square(jax.nn.relu(jnp.abs(policy.mean) - 1)).sum(-1).mean()
        loss = loss + bound_weight * outside
        metrics["outside"] = outside
    return loss, metrics


def update(cfg: AWR, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    target = batch.lambda_return * (1 - cfg.discount)
    critic, m1 = state.critic.step(tx.critic, critic_loss, target, batch.obs, name="critic")
    actor, m2 = state.actor.step(tx.actor, actor_loss, batch, cfg.bound_weight, name="actor")
    return State(actor, critic), merge(m1, m2)


def phases(cfg: AWR) -> tuple[Phase, ...]:
    return (Phase(refresh=refresh, every=cfg.refresh_every),)


def value(cfg: AWR, state: State, obs: jax.Array, action: jax.Array) -> jax.Array:
    """V of the policy that logged the data; the action does not matter."""
    return state.critic.net(obs) / (1 - cfg.discount)


CODE = "authors' code, github.com/xbpeng/awr, awr_configs.py and learning/awr_agent.py, "
PRESETS = {
    "mujoco": Preset(AWR(), Treatment(normalize_obs=1e-3), CODE + "HalfCheetah-v2"),
    "tuned_monte_carlo": Preset(
        AWR(td_lambda=1.0, temperature=0.3, optimiser="adam", actor_lr=3e-4, critic_lr=3e-4, hidden=(256, 256)),
        Treatment(normalize_obs=1e-3),
        "ours, tuned_100k with Monte-Carlo returns",
    ),
    "tuned_100k": Preset(
        AWR(temperature=0.3, optimiser="adam", actor_lr=3e-4, critic_lr=3e-4, hidden=(256, 256)),
        Treatment(normalize_obs=1e-3),
        "ours, for logs of 100,000 steps: Adam, wider networks, sharper weights; docs/algorithms/awr.md",
    ),
}

algorithm = Algorithm(
    "awr",
    AWR,
    init,
    update,
    act,
    PRESETS,
    dist=dist,
    value=value,
    phases=phases,
    episodes=True,
    actions=BOTH,
    check=check,
    images=True,
)
