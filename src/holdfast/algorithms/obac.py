"""Offline-boosted actor-critic, OBAC (Luo et al. 2024, arXiv:2405.18520; equation numbers are theirs).

SAC, and beside it the values of mu*, the best policy that the replay supports, by IQL's expectile. Where mu* is worth
more than the policy, the policy is drawn to the replay's actions as well; where it is not, the update is SAC's.

Paper -> here: pi actor, Q^pi critic, Q^mu* behaviour_critic, V^mu* behaviour_value, tau expectile, lambda
constraint_weight. mu* has no network: its divergence in eq. 14 becomes the likelihood of replayed actions.
Order, as in the authors' code: critics, behaviour critics, behaviour value, actor, temperature, both targets; every
loss is built from the networks as they were before the update, the advantage included.
As in the authors' code and not in the paper: squared errors without 1/2; `gate` "batch", one comparison a batch of the
mean Q^pi of the policy's actions with the mean Q^mu* of the replayed ones ("state" is the paper's V^mu* > V^pi at each
state); `log_density` "raw", that of the normal before tanh at the action itself, clipped, a mean over dimensions
("exact" is log pi(a|s), a sum); the first update's own temperature.
Not as there: the policy's own log-density is exact; theirs has log(1 - a^2 + 1e-6).
Ours: `inverse_temperature` above 0 weights the replayed actions by exp(beta A^mu*), so that they stand for mu* and not
for all that was ever done. `gate` "always" is the fixed constraint, "off" is SAC with these networks.
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
from ..parts.distributions import TanhNormal, normal_log_prob
from .iql import value_loss
from .sac import act, critic_loss, dist, entropy_goal, online, temperature_loss


@config
class OBAC:
    gate: str = "batch"  # where the constraint holds: batch (authors' code), state (paper), always, off
    log_density: str = "raw"  # of replayed actions: raw (authors' code) or exact
    constraint_weight: float = 1e-3  # lambda; bc_weight in the authors' code, for rewards as they are
    expectile: float = 0.9  # tau of eq. 12
    inverse_temperature: float = 0.0  # beta of the weights exp(beta A) of replayed actions; 0: none (authors' code)
    max_weight: float = 100.0  # cap on exp(beta A)
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which both pairs of target critics follow
    first_temperature: float = 0.2  # alpha in the first update alone, authors' code
    initial_temperature: float = 1.0  # alpha from the second update on, where its learning starts
    target_entropy: float = 0.0  # in nats; 0 stands for minus the number of action dimensions
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    behaviour_critic_lr: float = 3e-4  # Adam
    behaviour_value_lr: float = 3e-4  # Adam
    temperature_lr: float = 3e-4  # Adam
    hidden: tuple[int, ...] = (512, 512)  # widths of the hidden layers of every network
    batch_size: int = 512  # rows an update
    warmup: int = 5_000  # online: environment steps with random actions before the first update
    update_ratio: int = 1  # online: updates an environment step


class State(PyTree):
    actor: Trained
    critic: Trained
    behaviour_critic: Trained
    behaviour_value: Trained
    target_critic: nets.Critic
    target_behaviour_critic: nets.Critic
    temperature: Trained  # of log alpha


TRUNK: dict[str, Any] = {"activation": "tanh elu", "norm": "first", "eps": 1e-5, "init": initialisers.xavier()}


def check(cfg: OBAC) -> list[str]:
    rules = {"gate": "batch|state|always|off", "log_density": "raw|exact", "constraint_weight": "at least 0"}
    rules |= {"expectile": "in (0, 1)", "inverse_temperature": "at least 0", "max_weight": "positive"}
    rules |= {"first_temperature": "positive", "initial_temperature": "positive", "warmup": "at least 0"}
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", update_ratio="positive", **rules)


def actor_and_critic(noise: Noise, spec: Any, hidden: tuple[int, ...]) -> tuple[nets.Policy, nets.Critic]:
    """A squashed Gaussian policy and two critics with the authors' networks and initial weights."""
    shape = {"low": -20.0, "high": 2.0, "squash": "tanh", "last": initialisers.xavier(heads=2)}
    actor = nets.policy(noise.sub("actor"), spec, hidden, "heads", **shape, **TRUNK)
    return actor, nets.critic(noise.sub("critic"), spec, hidden, **TRUNK)


def init(cfg: OBAC, ctx: Context, noise: Noise) -> State:
    actor, critic = actor_and_critic(noise, ctx.spec, cfg.hidden)
    value = nets.value(noise.sub("behaviour_value"), ctx.spec, cfg.hidden, **TRUNK)
    return State(
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        Trained.new(critic, optimisers.adam(cfg.behaviour_critic_lr)),
        Trained.new(value, optimisers.adam(cfg.behaviour_value_lr)),
        critic,
        critic,
        Trained.new(jnp.log(cfg.initial_temperature), optimisers.adam(cfg.temperature_lr)),
    )


def open_gate(cfg: OBAC, state: State, batch: Batch, action: jax.Array) -> tuple[jax.Array, Metrics]:
    """1 where the constraint holds and 0 elsewhere, [B], for actions of the policy; and the two values compared."""
    policy_value = state.critic.net(batch.obs, action).min(0)  # V^pi by one sample, eq. 10
    if cfg.gate == "state":
        behaviour_value = state.behaviour_value.net(batch.obs)
        on = behaviour_value > policy_value
    else:
        behaviour_value = state.behaviour_critic.net(batch.obs, batch.action).min(0)
        on = jnp.asarray(cfg.gate == "always")
        on = behaviour_value.mean() > policy_value.mean() if cfg.gate == "batch" else on
    on = jnp.broadcast_to(on, policy_value.shape).astype(policy_value.dtype)
    return on, compared(policy_value.mean(), behaviour_value.mean()) | {"gate/on": on.mean()}


def compared(policy_value: jax.Array, behaviour_value: jax.Array) -> Metrics:
    """What a gate compares, as metrics."""
    difference = behaviour_value - policy_value
    return {"gate/policy_value": policy_value, "gate/behaviour_value": behaviour_value, "gate/difference": difference}


def log_density(law: TanhNormal, action: jax.Array, kind: str) -> jax.Array:
    """How likely replayed actions [B, A] are, [B]: `exact` log pi(a|s), or `raw` as in the authors' code."""
    if kind == "exact":
        return law.log_prob(action)
    return jnp.clip(normal_log_prob(action, law.mean, law.log_std), -20.0, 2.0).mean(-1)


def actor_loss(
    actor: nets.Policy, critic: nets.Critic, weight: jax.Array, alpha: Any, batch: Batch, eps: jax.Array, kind: str
) -> tuple[jax.Array, Metrics]:
    """Eq. 15 in the form that can be trained; `weight` [B] of the replayed actions, with lambda and gate in it."""
    law: Any = actor(batch.obs)
    action, log_prob = law.sample_and_log_prob(eps)
    q, density = critic(batch.obs, action).min(0), log_density(law, batch.action, kind)
    told = {"entropy": -log_prob.mean(), "q": q.mean(), "log_density": density.mean(), "weight": weight.mean()}
    return (alpha * log_prob - q - weight * density).mean(), told


def update(cfg: OBAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    alpha = jnp.where(step == 0, cfg.first_temperature, jnp.exp(state.temperature.net))
    next_law: Any = state.actor.net(batch.next_obs)
    next_action, next_log_prob = next_law.sample_and_log_prob(noise.normal("target_action", batch.action.shape))
    soft = state.target_critic(batch.next_obs, next_action).min(0) - alpha * next_log_prob
    y, tx = targets.td(batch, soft, cfg.discount), optimisers.adam(cfg.critic_lr)
    critic, m1 = state.critic.step(tx, critic_loss, y, batch, name="critic")  # eq. 9

    y = targets.td(batch, state.behaviour_value.net(batch.next_obs), cfg.discount)
    tx = optimisers.adam(cfg.behaviour_critic_lr)
    behaviour, m2 = state.behaviour_critic.step(tx, critic_loss, y, batch, name="behaviour_critic")  # eq. 13
    q, tx = state.target_behaviour_critic(batch.obs, batch.action).min(0), optimisers.adam(cfg.behaviour_value_lr)
    value, m3 = state.behaviour_value.step(tx, value_loss, q, batch.obs, cfg.expectile, name="behaviour_value")  # 12

    eps, tx = noise.normal("actor_action", batch.action.shape), optimisers.adam(cfg.actor_lr)
    law: Any = state.actor.net(batch.obs)
    action, log_prob = law.sample_and_log_prob(eps)
    on, m4 = open_gate(cfg, state, batch, action)
    advantage = q - state.behaviour_value.net(batch.obs)
    weight = cfg.constraint_weight * on * losses.exp_weight(advantage, cfg.inverse_temperature, cfg.max_weight)
    given = (state.critic.net, weight, alpha, batch, eps, cfg.log_density)
    actor, m5 = state.actor.step(tx, actor_loss, *given, name="actor")  # eq. 15
    goal, tx = entropy_goal(cfg, batch), optimisers.adam(cfg.temperature_lr)
    temperature, m6 = state.temperature.step(tx, temperature_loss, log_prob, goal, name="temperature")

    target = ema(critic.net, state.target_critic, cfg.polyak)
    target_behaviour = ema(behaviour.net, state.target_behaviour_critic, cfg.polyak)
    moved = State(actor, critic, behaviour, value, target, target_behaviour, temperature)
    return moved, merge(m1, m2, m3, m4, m5, m6)


PRESETS = {
    "small": Preset(
        OBAC(hidden=(256, 256), batch_size=256),
        Treatment(),
        "ours: as mujoco, with networks and batches of SAC's size; docs/algorithms/obac.md",
    ),
    "mujoco": Preset(OBAC(), Treatment(), "authors' code, github.com/Roythuly/OBAC, main.py and default_config.py"),
    "paper": Preset(OBAC(gate="state", log_density="exact"), Treatment(), "the paper's eq. 14, constants of the code"),
}

algorithm = Algorithm("obac", OBAC, init, update, act, PRESETS, dist=dist, online=online, check=check)
