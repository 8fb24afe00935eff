"""Advantage-weighted regression (Peng, Kumar, Zhang, Levine 2019, arXiv:1910.00177) on a fixed data set.

V regresses on TD(lambda) returns of the logged episodes, and the policy is cloned from the data with weights
exp(A / beta), A = return - V. No action outside the data is ever valued; A is the advantage of the policy behind the
data, so there is one step of improvement and no more.

Paper -> here: beta temperature, lambda td_lambda (1: Monte-Carlo), omega_max max_weight.
Every `refresh_every` updates the slow clock computes V, returns and weights of the whole data set; each update then
takes one step of the critic and one of the actor. The authors alternate 200 critic and 1 000 actor steps, with returns
recomputed before each: here the weights lag by one round.
As in the authors' code and not in the paper: advantages are normalised over the data (`normalize_advantage`), the mean
pays for leaving the bounds, values are learned in units of 1 / (1 - gamma), a failed end is worth 0 and a time limit V.
The default is the stable variant used since: Adam, 256-256 and a sharper temperature; preset "published" is theirs (SGD
with momentum, 128-64). Discrete actions: the same losses with a categorical policy.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import config, faults
from ..core.contract import Algorithm, Context, Phase, Preset, Refreshed, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree
from ..parts import initialisers, losses, nets, optimisers, targets
from ..parts.distributions import Normal, choose


@config
class AWR:
    td_lambda: float = 0.95  # lambda of the returns; 1 for Monte-Carlo returns
    temperature: float = 0.3  # beta: small clones only the best; the code's 1
    max_weight: float = 20.0  # cap on exp(A / beta)
    normalize_advantage: bool = True  # advantages with mean 0 and standard deviation 1 over the data
    action_std: float = 0.4  # standard deviation of the policy, not learned; 0.2 on Ant
    bound_weight: float = 10.0  # of half the squared excess of the mean over [-1, 1]
    refresh_every: int = 1_000  # updates between new returns and weights
    optimiser: str = "adam"  # adam, or sgd with momentum 0.9 (the code's)
    discount: float = 0.99  # gamma
    actor_lr: float = 3e-4  # the code's 5e-5 (Hopper 1e-4, Walker 2.5e-5, Humanoid 1e-5)
    critic_lr: float = 3e-4  # the code's 1e-2
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of both networks; the code's 128-64
    batch_size: int = 256  # rows an update


class FixedNormalPolicy(nets.Policy):
    """A normal around an unbounded mean; its log standard deviation is kept here but never learned."""

    log_std: jax.Array  # []

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Normal:
        mean = self.net(obs, keep)
        return Normal(mean, jnp.broadcast_to(jax.lax.stop_gradient(self.log_std), mean.shape))


class State(PyTree):
    actor: Trained
    critic: Trained  # V in units of 1 / (1 - gamma)


def check(cfg: AWR) -> list[str]:
    rules = {
        "temperature": "positive",
        "max_weight": "positive",
        "action_std": "positive",
        "bound_weight": "at least 0",
    }
    rules |= {"td_lambda": "in [0, 1]", "discount": "in [0, 1)", "refresh_every": "positive"}
    return faults(cfg, optimiser="adam|sgd", **rules)


def optimiser(cfg: AWR, lr: Any) -> Any:
    return optimisers.adam(lr) if cfg.optimiser == "adam" else optimisers.sgd(lr, 0.9)


def init(cfg: AWR, ctx: Context, noise: Noise) -> State:
    small = initialisers.uniform_init(0.01, 0.0)
    actor = nets.policy(noise.sub("actor"), ctx.spec, cfg.hidden, "deterministic", last=small)
    if not ctx.spec.discrete:
        actor = FixedNormalPolicy(actor.net, jnp.log(cfg.action_std))
    critic = nets.value(noise.sub("critic"), ctx.spec, cfg.hidden)
    return State(Trained.new(actor, optimiser(cfg, cfg.actor_lr)), Trained.new(critic, optimiser(cfg, cfg.critic_lr)))


def refresh(cfg: AWR, state: State, sources: Any, ctx: Context, noise: Noise, step: Step) -> Refreshed:
    """Returns and weights of all rows with the critic as it is."""
    data = sources["data"]
    values = jax.lax.map(state.critic.net, data.obs, batch_size=8192) / (1 - cfg.discount)
    v, next_v = values[data.row], values[data.row + 1]
    last = jnp.append(data.row[1:] != data.row[:-1] + 1, True)
    bootstrap = cfg.discount * (1 - data.terminated) * data.extra.get("discount", 1.0)
    returns = targets.lambda_returns(data.reward, next_v, bootstrap, last, cfg.td_lambda)
    advantage = returns - v
    found = {"value": v.mean(), "return": returns.mean(), "advantage": advantage.mean(), "spread": advantage.std()}
    if cfg.normalize_advantage:
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-5)
    weight = losses.exp_weight(advantage, 1 / cfg.temperature, cfg.max_weight)
    effective = jnp.square(weight.mean()) / jnp.square(weight).mean()
    found |= {"capped": (weight >= cfg.max_weight).mean(), "effective_share": effective}
    columns = {"lambda_return": returns, "weight": weight}
    return Refreshed(state, columns, metrics={f"data/{k}": x for k, x in found.items()})


def critic_loss(critic: nets.Value, target: jax.Array, obs: jax.Array) -> tuple[jax.Array, Metrics]:
    """Half the squared error; `target` [B] in the critic's units."""
    return 0.5 * jnp.square(critic(obs) - target).mean(), {"target": target.mean()}


def actor_loss(actor: nets.Policy, batch: Batch, bound_weight: Any) -> tuple[jax.Array, Metrics]:
    law = actor(batch.obs).among(batch.mask)
    log_prob = law.log_prob(batch.action)
    loss = -(batch.weight * log_prob).mean()
    found = {"log_prob": log_prob.mean(), "weight": batch.weight.mean()}
    if isinstance(law, Normal):
        outside = 0.5 * jnp.square(jax.nn.relu(jnp.abs(law.mean) - 1)).sum(-1).mean()
        loss, found = loss + bound_weight * outside, found | {"outside": outside}
    return loss, found


def update(cfg: AWR, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    target = batch.lambda_return * (1 - cfg.discount)
    critic, m1 = state.critic.step(optimiser(cfg, cfg.critic_lr), critic_loss, target, batch.obs, name="critic")
    actor, m2 = state.actor.step(optimiser(cfg, cfg.actor_lr), actor_loss, batch, cfg.bound_weight, name="actor")
    return State(actor, critic), merge(m1, m2)


def phases(cfg: AWR) -> tuple[Phase, ...]:
    return (Phase(refresh=refresh, every=cfg.refresh_every),)


def dist(cfg: AWR, state: State, seen: Seen, memory: Memory) -> Any:
    return state.actor.net(seen.obs).among(seen.mask)


def act(cfg: AWR, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Any]:
    return choose(dist(cfg, state, seen, memory), noise, mode), memory


def value(cfg: AWR, state: State, obs: jax.Array, action: jax.Array) -> jax.Array:
    """V of the policy behind the data, whatever the action."""
    return state.critic.net(obs) / (1 - cfg.discount)


CODE = "authors' code, github.com/xbpeng/awr, "
PUBLISHED = AWR(temperature=1.0, optimiser="sgd", actor_lr=5e-5, critic_lr=1e-2, hidden=(128, 64))
PRESETS = {
    "mujoco": Preset(AWR(), Treatment(normalize_obs=1e-3), "the stable variant: Adam 3e-4, 256-256, weights up to 20"),
    "published": Preset(PUBLISHED, Treatment(normalize_obs=1e-3), CODE + "learning/awr_configs.py"),
    "monte_carlo": Preset(AWR(td_lambda=1.0), Treatment(normalize_obs=1e-3), "the default with Monte-Carlo returns"),
    "paper": Preset(
        AWR(normalize_advantage=False, temperature=1.0),
        Treatment(normalize_obs=1e-3),
        "the paper's formula, advantages not normalised: temperature in units of return",
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
    actions=frozenset({"continuous", "discrete"}),
    check=check,
)
