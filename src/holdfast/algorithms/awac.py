"""AWAC (Nair, Gupta, Dalal, Levine 2020, arXiv:2006.09359; equation numbers are theirs).

An ordinary off-policy critic for the policy at hand, and a policy cloned from the data with weights exp(A / lambda).

Paper -> here: lambda temperature. As in CORL's code, which the presets follow: the policy is a normal around an
unbounded mean with a log standard deviation of its own, samples clipped to [-1, 1]; V is the smaller critic at one
sample of the policy, or, with `value_action` mode, as in the authors' code, at its mode, which leaves no noise in the
weights; the weight is capped instead of normalised over the batch; order critics, policy, targets.
Ours, in the preset `small`: a mean of tanh(MLP), dropout in the actor, rates that fall along a cosine, as IQL has them.
Discrete actions: the same losses with a categorical policy, one critic output an action and a lambda of their own.
"""

from __future__ import annotations

from typing import Any

import jax

from ..core.config import Schedule, config, faults, static
from ..core.contract import PROPORTIONAL, SCALED, Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import layers, losses, nets, targets
from ..parts.distributions import choose, draw
from .iql import critic_loss, critic_optimiser, optimiser, policy_loss


@config
class AWAC:
    temperature: float = 1 / 3  # lambda of eq. 13: small clones only the best, large clones all
    discrete_temperature: float = 15.0  # lambda where actions are discrete; ours: there advantages are larger
    max_weight: float = 100.0  # cap on exp(A / lambda), CORL
    mean: str = "unbounded"  # of the normal: unbounded (CORL) or tanh, as IQL's
    value_action: str = "sample"  # V(s) is Q at a sample of the policy (CORL) or at its mode (authors' code)
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    actor_decay_steps: Schedule = "constant"  # actor's rate: constant, or a cosine over the run or N updates
    critic_decay_steps: Schedule = "constant"  # the same for the critics
    actor_dropout: float = static(default=0.0)  # share of the actor's hidden units that an update leaves out
    hidden: tuple[int, ...] = (256, 256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows an update
    update_ratio: int = 1  # fine-tuning: updates an environment step


class State(PyTree):
    actor: Trained
    critic: Trained
    target_critic: nets.Critic


def check(cfg: AWAC) -> list[str]:
    rules = dict.fromkeys(("temperature", "discrete_temperature", "max_weight"), "positive")
    rules |= {
        "value_action": "sample|mode",
        "mean": "unbounded|tanh",
        "actor_dropout": "in [0, 1)",
        "update_ratio": "positive",
    }
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", **rules)


def init(cfg: AWAC, ctx: Context, noise: Noise) -> State:
    squash = "none" if cfg.mean == "unbounded" else "mean"
    actor = nets.policy(noise.sub("actor"), ctx.spec, cfg.hidden, "gaussian", low=-20.0, high=2.0, squash=squash)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden)
    return State(Trained.new(actor, optimiser(cfg)), Trained.new(critic, critic_optimiser(cfg)), critic)


def update(cfg: AWAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    next_action = draw(state.actor.net(batch.next_obs).among(batch.next_mask), noise, "target_action")
    y = targets.td(batch, state.target_critic(batch.next_obs, next_action).min(0), cfg.discount)
    critic, m1 = state.critic.step(critic_optimiser(cfg), critic_loss, y, batch, name="critic")  # eq. 10

    law = state.actor.net(batch.obs).among(batch.mask)
    action = law.mode() if cfg.value_action == "mode" else draw(law, noise, "actor_action")
    advantage = critic.net(batch.obs, batch.action).min(0) - critic.net(batch.obs, action).min(0)
    temperature = cfg.discrete_temperature if state.critic.net.discrete else cfg.temperature
    weight = losses.exp_weight(advantage, 1 / temperature, cfg.max_weight)
    keep = layers.dropout(noise, "actor_dropout", cfg.actor_dropout, batch.reward.shape, cfg.hidden)
    actor, m2 = state.actor.step(optimiser(cfg), policy_loss, weight, batch, keep, name="actor")  # eq. 13
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target), merge(m1, m2, {"advantage": advantage.mean()})


def dist(cfg: AWAC, state: State, seen: Seen, memory: Memory) -> Any:
    return state.actor.net(seen.obs).among(seen.mask)


def act(cfg: AWAC, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Any]:
    return choose(dist(cfg, state, seen, memory), noise, mode), memory


def finetune(cfg: AWAC) -> tuple[Phase, ...]:
    """Algorithm 1 goes on: a buffer of the data and the new rows, the policy's draws, `update_ratio` updates a step."""
    return (Phase("online", mix=PROPORTIONAL, collect=Collect(warmup=0, every=cfg.update_ratio)),)


PRESETS = {
    "small": Preset(
        AWAC(
            temperature=1.5,
            max_weight=20.0,
            mean="tanh",
            actor_decay_steps="run",
            critic_decay_steps="run",
            actor_dropout=0.1,
            hidden=(256, 256),
        ),
        SCALED,
        "ours, chosen on mixed logs of 100,000 steps: docs/algorithms/awac.md",
    ),
    "mujoco": Preset(
        AWAC(), Treatment(normalize_obs=1e-3), "CORL, configs/offline/awac (halfcheetah, hopper, walker2d)"
    ),
    "antmaze": Preset(AWAC(), Treatment(normalize_obs=1e-3, reward_shift=-1.0), "CORL, configs/offline/awac/antmaze"),
}

BOTH = frozenset({"continuous", "discrete"})
algorithm = Algorithm("awac", AWAC, init, update, act, PRESETS, dist=dist, actions=BOTH, finetune=finetune, check=check)
