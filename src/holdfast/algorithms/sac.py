"""Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905; equation numbers are theirs), online or offline.

Run offline it is the baseline that shows why offline RL exists: nothing keeps its policy near the data.

Paper -> here: alpha temperature, H target_entropy (minus the action dimensions where 0). As in the usual codes and not
in the paper: the temperature's loss is on log alpha, unless `temperature_loss` is "exp".
Order: critics with the old temperature, temperature, actor with the new temperature and critics, targets.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import config, faults
from ..core.contract import Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import nets, optimisers, targets
from ..parts.distributions import choose


@config
class SAC:
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # alpha before the first update
    target_entropy: float = 0.0  # H of eq. 18, in nats; 0 stands for minus the number of action dimensions
    temperature_loss: str = "log"  # log: alpha's gradient through log alpha (most codes); exp: through alpha (paper)
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 3e-4  # Adam
    critic_layer_norm: bool = False  # LayerNorm before the activations of the critics, as in RLPD
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows an update
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    warmup: int = 5_000  # online: environment steps with random actions before the first update
    update_ratio: int = 1  # online: updates an environment step


class State(PyTree):
    actor: Trained
    critic: Trained
    target_critic: nets.Critic
    temperature: Trained  # of log alpha


def check(cfg: SAC) -> list[str]:
    rules = {"temperature_loss": "log|exp", "warmup": "at least 0", "update_ratio": "positive", "n_step": "positive"}
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", initial_temperature="positive", **rules)


def init(cfg: SAC, ctx: Context, noise: Noise) -> State:
    actor = nets.policy(noise.sub("actor"), ctx.spec, cfg.hidden, "heads", low=-20.0, high=2.0, squash="tanh")
    norm = "pre" if cfg.critic_layer_norm else "none"
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, norm=norm)
    return State(
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        critic,
        Trained.new(jnp.log(cfg.initial_temperature), optimisers.adam(cfg.temperature_lr)),
    )


def critic_loss(critic: nets.Critic, y: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    q = critic(batch.obs, batch.action)
    return jnp.square(q - y[None]).mean(1).sum(), {"q": q.mean(), "target": y.mean()}


def actor_loss(actor: nets.Policy, critic: nets.Critic, alpha: Any, obs: jax.Array, eps: jax.Array) -> Any:
    action, log_prob = actor(obs).sample_and_log_prob(eps)
    q = critic(obs, action).min(0)
    return (alpha * log_prob - q).mean(), {"entropy": -log_prob.mean(), "q": q.mean()}


def temperature_loss(log_alpha: jax.Array, log_prob: jax.Array, target_entropy: Any, kind: str = "log") -> Any:
    """Pulls the policy's entropy towards the target, eq. 18; `log_prob` [B] of the policy's own actions."""
    alpha = jnp.exp(log_alpha)
    return -((log_alpha if kind == "log" else alpha) * (log_prob + target_entropy)).mean(), {"alpha": alpha}


def entropy_goal(cfg: Any, batch: Batch) -> Any:
    """`target_entropy`, or minus the number of action dimensions where it is 0."""
    return jnp.where(cfg.target_entropy == 0, -float(batch.action.shape[-1]), cfg.target_entropy)


def update(cfg: SAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    next_law, alpha = state.actor.net(batch.next_obs), jnp.exp(state.temperature.net)
    next_action, next_log_prob = next_law.sample_and_log_prob(noise.normal("target_action", batch.action.shape))
    soft = state.target_critic(batch.next_obs, next_action).min(0) - alpha * next_log_prob
    y = targets.td(batch, soft, cfg.discount)
    critic, m1 = state.critic.step(optimisers.adam(cfg.critic_lr), critic_loss, y, batch, name="critic")  # eq. 5

    eps = noise.normal("actor_action", batch.action.shape)
    _, log_prob = state.actor.net(batch.obs).sample_and_log_prob(eps)
    goal = (entropy_goal(cfg, batch), cfg.temperature_loss)
    tx = optimisers.adam(cfg.temperature_lr)
    temperature, m2 = state.temperature.step(tx, temperature_loss, log_prob, *goal, name="temperature")  # eq. 18
    alpha, tx = jnp.exp(temperature.net), optimisers.adam(cfg.actor_lr)
    actor, m3 = state.actor.step(tx, actor_loss, critic.net, alpha, batch.obs, eps, name="actor")  # eq. 7
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target, temperature), merge(m1, m2, m3)


def online(cfg: Any) -> tuple[Phase, ...]:
    """Learning in an environment: one step, then `update_ratio` updates from the replay."""
    collect = Collect(warmup=cfg.warmup, every=cfg.update_ratio)
    return (Phase("online", mix={"online": 1.0}, collect=collect),)


def finetune(cfg: Any) -> tuple[Phase, ...]:
    """The same learner goes on with what it collects alone: the baseline that methods made for the switch must beat."""
    collect = Collect(warmup=0, delay=cfg.batch_size, every=cfg.update_ratio)
    return (Phase("online", mix={"online": 1.0}, collect=collect),)


def dist(cfg: Any, state: Any, seen: Seen, memory: Memory) -> Any:
    return state.actor.net(seen.obs).among(seen.mask)


def act(cfg: Any, state: Any, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Any]:
    return choose(dist(cfg, state, seen, memory), noise, mode), memory


FIRST = "begun with the temperature of the paper before (arXiv:1801.01290, reward scale 5): docs/algorithms/sac.md"
PRESETS = {
    "mujoco": Preset(SAC(initial_temperature=0.2), Treatment(), f"the paper's table 1; {FIRST}"),
    "published": Preset(SAC(), Treatment(), "the paper's table 1, as in Stable-Baselines3 and d3rlpy"),
}

algorithm = Algorithm(
    "sac",
    SAC,
    init,
    update,
    act,
    PRESETS,
    dist=dist,
    needs=targets.n_step_rows,
    online=online,
    finetune=finetune,
    check=check,
)
