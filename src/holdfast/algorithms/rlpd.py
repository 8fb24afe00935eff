"""RLPD, reinforcement learning with prior data (Ball, Smith, Kostrikov, Levine 2023, arXiv:2302.02948, algorithm 1).

SAC from scratch in an environment, with a data set and without offline training: half of every batch is data. Layer
normalisation keeps the values of unseen actions bounded, many updates per step use the few new rows, and an ensemble
keeps the many updates from overestimating.

A run needs both a data set and an environment: `holdfast train rlpd --data D --env E`. `--steps` counts environment
steps.

Notation (paper = code): E = `critics`; Z = `subset`; G = `update_ratio`; rho = `polyak`.
One update here is what belongs to one environment step. Order: G critic steps, each on its own slice of the batch and
with the smallest of a fresh subset of Z target critics; then one step of the actor on the last slice, with the mean of
all critics; then one step of the temperature with the entropy of the actor before its step.
As in the authors' code: the loss of the temperature is on alpha, and the critics' loss is a mean over members and rows.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import config, faults, static
from ..core.contract import Algorithm, Collect, Context, Needs, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import ema
from ..parts import initialisers, nets, targets
from ..parts.acting import act, dist
from ..parts.critics import mean_squared_error
from .sac import State, optimisers_of, temperature_loss


@config
class RLPD:
    update_ratio: int = 20  # G: critic updates per environment step
    critics: int = 10  # E: size of the ensemble
    subset: int = 2  # Z: members whose smallest value makes the target; 1 on AntMaze
    data_share: float = static(default=0.5)  # rows of a batch that come from the data
    entropy_backup: bool = True  # soft targets; off on AntMaze and Adroit
    warmup: int = 5_000  # environment steps with random actions before the first update
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow, every critic update
    initial_temperature: float = 1.0  # alpha before the first update
    target_entropy: float = 0.0  # in nats; 0 means minus half the number of action dimensions
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 3e-4  # Adam
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per critic update


def check(cfg: RLPD) -> list[str]:
    rules = dict.fromkeys(("update_ratio", "critics", "subset", "warmup", "initial_temperature"), "positive")
    found = faults(cfg, n_step="positive", discount="in [0, 1]", polyak="in [0, 1]", data_share="in (0, 1)", **rules)
    if cfg.subset > cfg.critics:
        found.append(f"subset is {cfg.subset}, expected at most critics, {cfg.critics}")
    return found


def init(cfg: RLPD, ctx: Context, noise: Noise) -> State:
    weights = initialisers.xavier()
    last = initialisers.xavier(2)
    actor = nets.gaussian_heads_policy(noise.sub("actor"), ctx.spec, cfg.hidden, init=weights, last=last)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, cfg.critics, norm="pre", init=weights)
    tx = optimisers_of(cfg)
    temperature = Trained.new(jnp.log(cfg.initial_temperature), tx.temperature)
    return State(Trained.new(actor, tx.actor), Trained.new(critic, tx.critic), critic, temperature)


def actor_loss(
    actor: nets.Policy, critic: nets.Critic, alpha: Scalar, obs: jax.Array, eps: jax.Array
) -> tuple[jax.Array, Metrics]:
    """SAC's loss with the mean of all critics."""
    action, log_prob = actor(obs).sample_and_log_prob(eps)
    q = critic(obs, action).mean(0)
    return (alpha * log_prob - q).mean(), {"entropy": -log_prob.mean(), "q": q.mean()}


def update(cfg: RLPD, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    if cfg.update_ratio == 1:
        batch = jax.tree.map(lambda x: x[None], batch)
    tx = optimisers_of(cfg)
    actor = state.actor.net
    alpha = jnp.exp(state.temperature.net)
    shape = batch.action.shape  # [G, B, A]

    def critic_step(
        moving: tuple[Trained, nets.Critic], drawn: tuple[Batch, jax.Array, jax.Array]
    ) -> tuple[tuple[Trained, nets.Critic], Metrics]:
        critic, target = moving
        rows, eps, order = drawn
        next_action, next_log_prob = actor(rows.next_obs).sample_and_log_prob(eps)
        members = jnp.argsort(order)[: cfg.subset]
        next_q = nets.Critic(jax.tree.map(lambda x: x[members], target.nets))(rows.next_obs, next_action).min(0)
        y = targets.td(rows, next_q - alpha * next_log_prob if cfg.entropy_backup else next_q, cfg.discount)
        critic, metrics = critic.step(tx.critic, mean_squared_error, y, rows, name="critic")
        return (critic, ema(critic.net, target, cfg.polyak)), metrics

    eps = noise.normal("target_action", shape)
    order = noise.uniform("target_subset", (shape[0], cfg.critics))
    (critic, target), each = jax.lax.scan(critic_step, (state.critic, state.target_critic), (batch, eps, order))
    m1 = jax.tree.map(lambda x: x.mean(0), each)

    obs = batch.obs[-1]
    eps = noise.normal("actor_action", shape[1:])
    _, log_prob = actor(obs).sample_and_log_prob(eps)
    moved, m2 = state.actor.step(tx.actor, actor_loss, critic.net, alpha, obs, eps, name="actor")
    goal = jnp.where(cfg.target_entropy == 0, -0.5 * shape[-1], cfg.target_entropy)
    temperature, m3 = state.temperature.step(
        tx.temperature, temperature_loss, log_prob, goal, "exp", name="temperature"
    )
    return State(moved, critic, target, temperature), merge(m1, m2, m3)


def needs(cfg: RLPD) -> Needs:
    return targets.n_step_rows(cfg, batches=cfg.update_ratio)


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

algorithm = Algorithm(
    "rlpd", RLPD, init, update, act, PRESETS, dist=dist, needs=needs, phases=phases, check=check, images=True
)
