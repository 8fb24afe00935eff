"""SAC-N (An, Moon, Kim, Song 2021, arXiv:2110.01548, section 3): soft actor-critic with N critics instead of two.

The minimum over many critics falls where they disagree, which is away from the data: no other pessimism is needed.
The more critics, the lower the minimum; `actor/disagreement` shows how far apart they are at the policy's actions.

Paper -> here: N critics, alpha temperature, H target_entropy (minus the action dimensions where 0). [E] = [N] critics.
Order, as in the authors' code: temperature, actor with the new temperature and the old critics, critics with the
target of the new actor and temperature, target critics. (SAC's usual order is the reverse; CORL measured this better.)
As in CORL: three separate samples of the policy, new temperature in the actor's loss (the authors': one sample for
temperature and actor, old temperature). Not as there: the log-density of tanh is exact; theirs has log(1 - a^2 + 1e-6).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import config, faults
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import initialisers, losses, nets, optimisers, targets
from .sac import act, critic_loss, dist, entropy_goal, temperature_loss


@config
class SACN:
    critics: int = 10  # N; 10 on HalfCheetah, 20 on Walker2d, 200 on Hopper (500 on its medium data)
    value: str = "min"  # of N: min, mean, lcb (mean less so many deviations), or mixture: REM's, in the critics
    value_deviations: float = 1.0  # of lcb
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # alpha before the first update
    target_entropy: float = 0.0  # H, in nats; 0 stands for minus the number of action dimensions
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 3e-4  # Adam
    hidden: tuple[int, ...] = (256, 256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows an update


class State(PyTree):
    actor: Trained
    critic: Trained
    target_critic: nets.Critic
    temperature: Trained  # of log alpha


RULES = {
    "critics": "positive",
    "value_deviations": "at least 0",
    "discount": "in [0, 1]",
    "polyak": "in [0, 1]",
    "initial_temperature": "positive",
}


def check(cfg: SACN) -> list[str]:
    alone = cfg.value == "lcb" and cfg.critics == 1
    return faults(cfg, value="min|mean|lcb|mixture", **RULES) + ["lcb of one critic: expected at least 2"] * alone


def init(cfg: Any, ctx: Context, noise: Noise) -> State:
    """Networks with the authors' initial weights: biases of .1, last layers close to 0."""
    hidden = initialisers.torch_weights(bias=0.1)
    shape = {"low": -5.0, "high": 2.0, "squash": "tanh", "init": hidden, "last": initialisers.uniform_init(1e-3, 1e-3)}
    actor = nets.policy(noise.sub("actor"), ctx.spec, cfg.hidden, "heads", **shape)
    last = initialisers.uniform_init(3e-3, 3e-3)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, cfg.critics, init=hidden, last=last)
    return State(
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        critic,
        Trained.new(jnp.log(cfg.initial_temperature), optimisers.adam(cfg.temperature_lr)),
    )


def mixed_loss(critic: nets.Critic, y: jax.Array, batch: Batch, mixture: jax.Array) -> tuple[jax.Array, Metrics]:
    """REM's: the mixture of the critics, not each of them, is pulled to y."""
    q = mixture @ critic(batch.obs, batch.action)
    return jnp.square(q - y).mean(), {"q": q.mean(), "target": y.mean()}


def actor_loss(
    actor: nets.Policy, critic: nets.Critic, alpha: Any, obs: jax.Array, eps: jax.Array, cfg: Any
) -> tuple[jax.Array, Metrics]:
    action, log_prob = actor(obs).sample_and_log_prob(eps)
    q = critic(obs, action)
    value = losses.lower(q, cfg.value, cfg.value_deviations)
    found = {"entropy": -log_prob.mean(), "q": value.mean(), "disagreement": q.std(0).mean()}
    return (alpha * log_prob - value).mean(), found


def improve(
    cfg: Any, state: State, batch: Batch, noise: Noise, mixture: jax.Array | None = None
) -> tuple[Trained, Trained, jax.Array, Metrics]:
    """All of an update but the critics: temperature, actor, and the target y [B] that the critics regress on; the
    target values are mixed by `mixture` [N], or taken as `value` says."""
    shape = batch.action.shape
    _, log_prob = state.actor.net(batch.obs).sample_and_log_prob(noise.normal("temperature_action", shape))
    goal, tx = entropy_goal(cfg, batch), optimisers.adam(cfg.temperature_lr)
    temperature, m1 = state.temperature.step(tx, temperature_loss, log_prob, goal, name="temperature")

    alpha, tx, eps = jnp.exp(temperature.net), optimisers.adam(cfg.actor_lr), noise.normal("actor_action", shape)
    actor, m2 = state.actor.step(tx, actor_loss, state.critic.net, alpha, batch.obs, eps, cfg, name="actor")

    next_law = actor.net(batch.next_obs)
    next_action, next_log_prob = next_law.sample_and_log_prob(noise.normal("target_action", shape))
    q = state.target_critic(batch.next_obs, next_action)
    value = losses.lower(q, cfg.value, cfg.value_deviations) if mixture is None else mixture @ q
    return temperature, actor, targets.td(batch, value - alpha * next_log_prob, cfg.discount), merge(m1, m2)


def update(cfg: SACN, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    mixture = None
    if cfg.value == "mixture":
        uniform = noise.uniform("mixture_uniform", (cfg.critics,))
        mixture = uniform / uniform.sum()
    temperature, actor, y, m1 = improve(cfg, state, batch, noise, mixture)
    loss, more = (critic_loss, ()) if mixture is None else (mixed_loss, (mixture,))
    critic, m2 = state.critic.step(optimisers.adam(cfg.critic_lr), loss, y, batch, *more, name="critic")
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target, temperature), merge(m1, m2)


def preset(critics: int, source: str) -> Preset:
    return Preset(SACN(critics=critics), Treatment(), "CORL, configs/offline/sac_n/" + source)


PRESETS = {
    "halfcheetah": preset(10, "halfcheetah"),
    "walker2d": preset(20, "walker2d"),
    "hopper": preset(200, "hopper"),
    "hopper-medium": preset(500, "hopper/medium_v2.yaml"),
    "adroit": preset(100, "pen, door; the authors standardise rewards besides"),
}

algorithm = Algorithm("sac_n", SACN, init, update, act, PRESETS, dist=dist, check=check)
