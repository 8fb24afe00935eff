"""RLPD, reinforcement learning with prior data (Ball, Smith, Kostrikov, Levine 2023, arXiv:2302.02948, algorithm 1).

SAC from scratch in an environment, with a data set at hand and no offline training: half of every batch is data. Layer
normalisation keeps values of unseen actions bounded, many updates a step use the few new rows, an ensemble keeps the
many updates from overestimating.

A run needs both, `holdfast train rlpd --data D --env E`; `--steps` counts environment steps.

Paper -> here: E critics, Z subset, G update_ratio, rho polyak.
One update here is what belongs to one environment step: G critic steps, each on a slice of its own with the smallest of
a fresh subset of Z target critics, then one step of the actor, on the last slice and by the mean of all critics, and of
the temperature with the actor's old entropy; its loss is on alpha, as in the authors' code.
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
from ..core.tree import PyTree, ema
from ..parts import initialisers, nets, optimisers, targets
from .sac import act, dist, temperature_loss


@config
class RLPD:
    update_ratio: int = 20  # G: critic updates an environment step
    critics: int = 10  # E: size of the ensemble
    subset: int = 2  # Z: members whose smallest value makes the target; 1 on AntMaze
    data_share: float = static(default=0.5)  # rows of a batch that come from the data
    entropy_backup: bool = True  # soft targets; off on AntMaze and Adroit
    warmup: int = 5_000  # environment steps with random actions before the first update
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow, every critic update
    initial_temperature: float = 1.0  # alpha before the first update
    target_entropy: float = 0.0  # in nats; 0 stands for minus half the number of action dimensions
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 3e-4  # Adam
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows a critic update


class State(PyTree):
    actor: Trained
    critic: Trained
    target_critic: nets.Critic
    temperature: Trained  # of log alpha


def check(cfg: RLPD) -> list[str]:
    rules = {"update_ratio": "positive", "critics": "positive", "subset": "positive", "data_share": "in (0, 1)"}
    found = faults(
        cfg, discount="in [0, 1]", polyak="in [0, 1]", initial_temperature="positive", warmup="positive", **rules
    )
    if cfg.subset > cfg.critics:
        found.append(f"subset is {cfg.subset}, expected at most critics, {cfg.critics}")
    return found


def init(cfg: RLPD, ctx: Context, noise: Noise) -> State:
    spec = ctx.spec
    how: dict[str, Any] = {"low": -20.0, "high": 2.0, "squash": "tanh"}
    how |= {"init": initialisers.xavier(), "last": initialisers.xavier(2)}
    actor = nets.policy(noise.sub("actor"), spec, cfg.hidden, "heads", **how)
    critic = nets.critic(noise.sub("critic"), spec, cfg.hidden, cfg.critics, norm="pre", init=initialisers.xavier())
    return State(
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        critic,
        Trained.new(jnp.log(cfg.initial_temperature), optimisers.adam(cfg.temperature_lr)),
    )


def critic_loss(critic: nets.Critic, y: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    """The mean over members and rows."""
    q = critic(batch.obs, batch.action)
    return jnp.square(q - y[None]).mean(), {"q": q.mean(), "spread": q.std(0).mean(), "target": y.mean()}


def actor_loss(actor: nets.Policy, critic: nets.Critic, alpha: Any, obs: jax.Array, eps: jax.Array) -> Any:
    action, log_prob = actor(obs).sample_and_log_prob(eps)
    q = critic(obs, action).mean(0)
    return (alpha * log_prob - q).mean(), {"entropy": -log_prob.mean(), "q": q.mean()}


def update(cfg: RLPD, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    if cfg.update_ratio == 1:
        batch = jax.tree.map(lambda x: x[None], batch)
    actor, alpha, shape = state.actor.net, jnp.exp(state.temperature.net), batch.action.shape

    def critic_step(moving: Any, given: Any) -> Any:
        critic, target = moving
        batch, eps, order = given
        next_action, next_log_prob = actor(batch.next_obs).sample_and_log_prob(eps)
        members = jnp.argsort(order)[: cfg.subset]
        next_q = nets.Critic(jax.tree.map(lambda x: x[members], target.nets))(batch.next_obs, next_action).min(0)
        y = targets.td(batch, next_q - alpha * next_log_prob if cfg.entropy_backup else next_q, cfg.discount)
        critic, metrics = critic.step(optimisers.adam(cfg.critic_lr), critic_loss, y, batch, name="critic")
        return (critic, ema(critic.net, target, cfg.polyak)), metrics

    drawn = noise.normal("target_action", shape), noise.uniform("target_subset", (shape[0], cfg.critics))
    moving, told = jax.lax.scan(critic_step, (state.critic, state.target_critic), (batch, *drawn))
    (critic, target), m1 = moving, jax.tree.map(lambda x: x.mean(0), told)

    obs, eps = batch.obs[-1], noise.normal("actor_action", shape[1:])
    _, log_prob = actor(obs).sample_and_log_prob(eps)
    moved, m2 = state.actor.step(optimisers.adam(cfg.actor_lr), actor_loss, critic.net, alpha, obs, eps, name="actor")
    goal = jnp.where(cfg.target_entropy == 0, -0.5 * shape[-1], cfg.target_entropy)
    tx = optimisers.adam(cfg.temperature_lr)
    temperature, m3 = state.temperature.step(tx, temperature_loss, log_prob, goal, "exp", name="temperature")
    return State(moved, critic, target, temperature), merge(m1, m2, m3)


def needs(cfg: RLPD) -> Needs:
    return Transitions(batches=cfg.update_ratio)


def phases(cfg: RLPD) -> tuple[Phase, ...]:
    """Data and environment from the first update on."""
    mix = {"data": cfg.data_share, "online": 1 - cfg.data_share}
    return (Phase("online", mix=mix, collect=Collect(warmup=cfg.warmup)),)


CODE = "authors' code, github.com/ikostrikov/rlpd, configs/rlpd_config.py and the README's commands: "
HARD: dict[str, Any] = {"entropy_backup": False, "hidden": (256, 256, 256)}
PRESETS = {
    "mujoco": Preset(RLPD(), Treatment(), CODE + "locomotion"),
    "antmaze": Preset(RLPD(subset=1, **HARD), Treatment(reward_shift=-1.0), CODE + "AntMaze"),
    "adroit": Preset(RLPD(**HARD), Treatment(), CODE + "Adroit"),
}

algorithm = Algorithm("rlpd", RLPD, init, update, act, PRESETS, dist=dist, needs=needs, phases=phases, check=check)
