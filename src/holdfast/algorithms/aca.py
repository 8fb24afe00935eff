"""ACA, actor-critic alignment (Yu and Zhang 2023, ICML, PMLR 202:40452): from offline to online without collapse.

Offline learning leaves a policy pi0 that can be trusted and a critic that cannot: what it says of unseen actions is
wrong, and the first online updates follow it. A soft policy and its critic say the same, Q = Z(s) + alpha log pi. So
the offline critic is thrown away and Q := log pi0 + Z, which ranks actions exactly as pi0 does; only Z is to be fitted.

Stage 1, phase "offline": SAC with a likelihood term. lambda = omega / mean |min Q|, detached; order temperature,
critics, (Z), actor, targets, each with the newest networks. Stage 2, phase "align": Z_i by the Bellman error of
log pi0 + Z_i, alpha = 1, no slow copies. Stage 3, phase "online" of a fine-tuning run, stands in `aca_online`.

Paper -> here: omega omega, pi0 reference, Z z, R the online state's critic.
As in the authors' code and not in the paper: mean |Q| is over the policy's actions (`normalize_by`); the target of Z is
soft, so log pi0(a'|s') cancels at alpha = 1 (`z_backup`); online, log pi0 has a soft floor and a weight that falls to
`min_prior_weight`, and the actor's gradient is clipped; the moments of Adam go along from stage to stage.
Not as in the authors' code: Z is fitted after stage 1 with pi0 held still, as the paper has it; theirs moves beside the
policy, with the learned temperature (`z_schedule` "concurrent", preset "published").
`online_critic` "offline" is the paper's comparison without alignment: SAC goes on from the critic of stage 1.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import Horizon, config, faults
from ..core.contract import Algorithm, Context, Phase, Preset, Treatment
from ..core.errors import UserError
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import layers, nets, optimisers, targets
from . import aca_online
from .sac import act, critic_loss, dist


@config
class ACA:
    omega: float = 30.0  # weight of the SAC objective beside the likelihood, before division by mean |Q|
    normalize_by: str = "policy"  # whose actions mean |Q| is over: policy (code) or data (paper)
    squashed: bool = True  # tanh of a normal; else a normal around tanh with one deviation for all states (AntMaze)
    z_schedule: str = "separate"  # Z fitted in a phase of its own after stage 1, or within it: separate or concurrent
    z_backup: str = "soft"  # the target of Z: soft, with (1 - alpha) log pi + Z (code); or plain, log pi + Z (paper)
    align_steps: int = 20_000  # updates of phase "align", after the run's; separate only, 0: stage 1 alone
    realign_steps: int = 0  # fine-tuning: updates of stage 2 before stage 3, on the data
    online_critic: str = "aligned"  # aligned, or offline: stage 1's critic with plain SAC, for comparison
    floor_width: float = 7.0  # online: beta, deviations from the mean at which the soft floor of log pi0 lies
    prior_weight: float = 1.0  # online: weight of log pi0 in Q at the switch
    min_prior_weight: float = 0.5  # online: where it stops falling; 0 random, 1 expert data
    online_decay_steps: Horizon = 40_000  # online: updates until it would be 0
    best_episodes: int = 0  # online: logged episodes of the highest returns that the replay begins with; 50 expert data
    clip_norm: float = 0.25  # online: bound of the norm of the actor's gradient
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # alpha before the first update of stage 1; stage 3 begins at 1
    target_entropy: float = 0.0  # in nats; 0 stands for minus the action dimensions, the authors halve that on AntMaze
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 3e-4  # Adam
    z_lr: float = 3e-4  # Adam
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows an update
    update_ratio: int = 1  # online: updates an environment step


class State(PyTree):
    """Stages 1 and 2."""

    actor: Trained
    critic: Trained
    target_critic: nets.Critic
    temperature: Trained  # of log alpha
    z: Trained  # two networks of the observation


def check(cfg: ACA) -> list[str]:
    rules = {"normalize_by": "policy|data", "z_schedule": "separate|concurrent", "z_backup": "soft|plain"}
    rules |= {
        "online_critic": "aligned|offline",
        "align_steps": "at least 0",
        "realign_steps": "at least 0",
        "best_episodes": "at least 0",
    }
    rules |= dict.fromkeys(("omega", "floor_width", "prior_weight", "min_prior_weight"), "at least 0")
    rules |= dict.fromkeys(("clip_norm", "initial_temperature", "update_ratio"), "positive")
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", **rules)


def init(cfg: ACA, ctx: Context, noise: Noise) -> State:
    spec = ctx.spec
    if cfg.squashed:
        actor = nets.policy(noise.sub("actor"), spec, cfg.hidden, "heads", low=-20.0, high=2.0, squash="tanh")
    else:
        mean = nets.mlp(noise.sub("actor"), (*spec.obs, *cfg.hidden, spec.action))
        actor = nets.SigmoidGaussianPolicy(mean, jnp.zeros(spec.action))
    critic = nets.critic(noise.sub("critic"), spec, cfg.hidden)
    z = nets.ensemble(lambda k: nets.mlp(k, (*spec.obs, *cfg.hidden, 1)), noise.sub("z"), 2)
    return State(
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        critic,
        Trained.new(jnp.log(cfg.initial_temperature), optimisers.adam(cfg.temperature_lr)),
        Trained.new(z, optimisers.adam(cfg.z_lr)),
    )


def actor_loss(actor: nets.Policy, critic: nets.Critic, alpha: Any, batch: Batch, eps: jax.Array, cfg: ACA) -> Any:
    law = actor(batch.obs)
    action, log_prob = law.sample_and_log_prob(eps)
    q, likelihood = critic(batch.obs, action).min(0), law.log_prob(batch.action).mean()
    size = q if cfg.normalize_by == "policy" else critic(batch.obs, batch.action).min(0)
    weight = cfg.omega / jnp.abs(jax.lax.stop_gradient(size)).mean()  # lambda
    told = {"entropy": -log_prob.mean(), "q": q.mean(), "log_prob": likelihood, "weight": weight}
    return weight * (alpha * log_prob - q).mean() - likelihood, told


def z_loss(z: layers.MLP, y: jax.Array, log_prob: jax.Array, obs: jax.Array) -> tuple[jax.Array, Metrics]:
    """Squared errors of log pi0 + Z_i: y and log_prob [B] of the logged actions."""
    value = layers.members(z, obs)[..., 0]
    told = {"z": value.mean(), "log_prob": log_prob.mean(), "target": y.mean()}
    return jnp.square(log_prob[None] + value - y[None]).mean(1).sum(), told


def fit_z(cfg: ACA, z: Trained, actor: nets.Policy, alpha: Any, batch: Batch, noise: Noise) -> tuple[Trained, Metrics]:
    """One step of both Z; `alpha` is the temperature of a soft target."""
    eps = noise.normal("z_target_action", batch.action.shape)
    _, next_log_prob = actor(batch.next_obs).sample_and_log_prob(eps)
    share = 1 - alpha if cfg.z_backup == "soft" else 1.0
    following = share * next_log_prob + layers.members(z.net, batch.next_obs)[..., 0].min(0)
    y, log_prob = targets.td(batch, following, cfg.discount), actor(batch.obs).log_prob(batch.action)
    return z.step(optimisers.adam(cfg.z_lr), z_loss, y, log_prob, batch.obs, name="z")


def update(cfg: ACA, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    """Stage 1, with Z where it is fitted beside the policy."""
    temperature, m1 = aca_online.cool(cfg, state, batch, noise)
    actor, alpha = state.actor.net, jnp.exp(temperature.net)
    eps = noise.normal("target_action", batch.action.shape)
    next_action, next_log_prob = actor(batch.next_obs).sample_and_log_prob(eps)
    soft = state.target_critic(batch.next_obs, next_action).min(0) - alpha * next_log_prob
    y = targets.td(batch, soft, cfg.discount)
    critic, m2 = state.critic.step(optimisers.adam(cfg.critic_lr), critic_loss, y, batch, name="critic")
    z, m3 = state.z, Metrics()
    if cfg.z_schedule == "concurrent":
        z, m3 = fit_z(cfg, z, actor, alpha, batch, noise)
    given = (critic.net, alpha, batch, noise.normal("actor_action", batch.action.shape), cfg)
    moved, m4 = state.actor.step(optimisers.adam(cfg.actor_lr), actor_loss, *given, name="actor")
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(moved, critic, target, temperature, z), merge(m1, m2, m3, m4)


def align(cfg: ACA, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    """Stage 2: Z alone, with the temperature 1."""
    z, metrics = fit_z(cfg, state.z, state.actor.net, 1.0, batch, noise)
    return State(state.actor, state.critic, state.target_critic, state.temperature, z), metrics


def phases(cfg: ACA) -> tuple[Phase, ...]:
    apart = cfg.z_schedule == "separate" and cfg.align_steps
    return (Phase("offline"), *([Phase("align", cfg.align_steps, align, plays=False)] if apart else []))


def finetune(cfg: ACA) -> tuple[Phase, ...]:
    again = [Phase("align", cfg.realign_steps, align, plays=False)] if cfg.realign_steps else []
    if cfg.online_critic == "aligned" and not again and cfg.z_schedule == "separate" and not cfg.align_steps:
        raise UserError("aca: Z was never fitted (align_steps is 0): set realign_steps, or online_critic to offline")
    return (*again, aca_online.phase(cfg))


CODE = "authors' code, github.com/ZishunYu/Actor-Critic-Alignment, configs/"
THEIRS: dict[str, Any] = {"z_schedule": "concurrent"}
RANDOM = ACA(online_decay_steps=10_000, min_prior_weight=0.0, **THEIRS)
EXPERT = ACA(floor_width=15.0, min_prior_weight=1.0, best_episodes=50, **THEIRS)
ANTMAZE = ACA(squashed=False, target_entropy=-4.0, floor_width=3.0, online_decay_steps=200_000, **THEIRS)
PRESETS = {
    "mujoco": Preset(ACA(), Treatment(), CODE + "online/mjc_m.yaml (medium), but for Z in a phase of its own"),
    "published": Preset(ACA(**THEIRS), Treatment(), CODE + "offline/mjc_mr.yaml, online/mjc_m.yaml"),
    "random": Preset(RANDOM, Treatment(), CODE + "online/mjc_r.yaml"),
    "replay": Preset(ACA(best_episodes=50, **THEIRS), Treatment(), CODE + "online/mjc_mr.yaml (medium-replay)"),
    "expert": Preset(EXPERT, Treatment(), CODE + "online/mjc_me.yaml (medium-expert)"),
    "antmaze": Preset(ANTMAZE, Treatment(reward_shift=-1.0), CODE + "*/antmaze.yaml, rewards shifted offline too"),
}

algorithm = Algorithm("aca", ACA, init, update, act, PRESETS, dist=dist, phases=phases, finetune=finetune, check=check)
