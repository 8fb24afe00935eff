"""Diffusion-QL (Wang, Hunt, Zhou 2022, arXiv:2208.06193; equation numbers are theirs).

The policy is a diffusion model of few steps. Its loss is that of cloning by diffusion, minus Q of an action that it
samples: the gradient of Q passes through all steps of the sampling.

Notation (paper = code): N (steps) = `diffusion_steps`; eta = `eta`; epsilon_theta = `actor`.
Shapes: B rows, A action dimensions, E = 2 critics.
Order, as in the authors' code: critics; actor with the new critics; target actor; target critics.
As in the authors' code and not in the paper: the target actor is an average that is updated at every fifth update,
from update 1,000 on, and is the initial actor before that; the actor's Q is that of one critic, drawn at random, and
the other one gives the scale |Q|; the gradient norms of critics and actor are clipped; acting draws one of 50 actions
of the actor, with probabilities softmax(min Q) of the target critics. With `max_backup` the target takes, for each
critic, the largest of 10 next actions, and then the smaller critic.
Ours: in mode "best" the candidates come from the same noise in every state and the best one is taken, so that the
policy is a function of the observation; mode "sample" acts as the authors evaluate. `n_step` returns, 1 in the paper.
The rates may fall over the run; the authors' flag for this lets them fall by a few per cent only, because it counts
evaluations.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults, static
from ..core.contract import SCALED, Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Obs, Scalar, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import candidates, diffusion, nets, optimisers, targets
from ..parts.critics import squared_error
from ..parts.diffusion import SinusoidNet
from ..parts.distributions import Categorical, choose
from ..parts.optimisers import ActorCritic


@config
class DiffusionQL:
    eta: float = 1.0  # weight of Q against cloning, eq. 3; published per data set, below
    clip_norm: float = 4.0  # bound of the gradient norms of actor and critics; published per data set, below
    max_backup: bool = False  # targets take the best of `backup_actions` next actions; on for most AntMazes
    backup_actions: int = 10  # next actions of a target with `max_backup`
    diffusion_steps: int = 5  # N: steps from noise to an action
    candidates: int = 50  # actions of the actor to choose from when acting
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    actor_polyak: float = static(default=0.005)  # rate at which the target actor follows
    actor_polyak_every: int = 5  # updates between the steps of the target actor
    actor_polyak_start: int = 1_000  # update from which the target actor follows
    actor_lr: float = 3e-4  # Adam; 1e-3 on AntMaze medium-play
    actor_decay_steps: Schedule = "constant"  # rate of the actor: constant, or a cosine over the run or N updates
    critic_lr: float = 3e-4  # Adam
    critic_decay_steps: Schedule = "constant"  # the same for the rate of the critics
    hidden: tuple[int, ...] = (256, 256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update


class State(PyTree):
    actor: Trained
    critic: Trained
    target_actor: SinusoidNet
    target_critic: nets.Critic


def check(cfg: DiffusionQL) -> list[str]:
    counts = ("backup_actions", "diffusion_steps", "candidates", "n_step", "actor_polyak_every", "clip_norm")
    rules = dict.fromkeys(counts, "positive") | dict.fromkeys(("eta", "actor_polyak_start"), "at least 0")
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", actor_polyak="in [0, 1]", **rules)


def optimisers_of(cfg: DiffusionQL) -> ActorCritic:
    """Adam for actor and critics, with clipped gradients."""
    rates = ((cfg.actor_lr, cfg.actor_decay_steps), (cfg.critic_lr, cfg.critic_decay_steps))
    return ActorCritic(*(optimisers.adam(optimisers.cosine(*rate), clip_norm=cfg.clip_norm) for rate in rates))


def init(cfg: DiffusionQL, ctx: Context, noise: Noise) -> State:
    actor = diffusion.sinusoid_net(noise.sub("actor"), ctx.spec, cfg.hidden)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, activation="mish")
    return state_of(cfg, actor, critic)


def state_of(cfg: DiffusionQL, actor: SinusoidNet, critic: nets.Critic) -> State:
    """The state before the first update."""
    tx = optimisers_of(cfg)
    return State(Trained.new(actor, tx.actor), Trained.new(critic, tx.critic), actor, critic)


def next_value(cfg: DiffusionQL, state: State, obs: Obs, noise: Noise, shape: tuple[int, ...]) -> jax.Array:
    """The value of the next observations [B, d], by targets of actor and critics: [B]."""
    steps = cfg.diffusion_steps
    if not cfg.max_backup:
        action = diffusion.by_posterior(state.target_actor, obs, noise.normal("target_eps", (steps, *shape)))
        return state.target_critic(obs, action).min(0)
    eps = noise.normal("target_eps", (steps, cfg.backup_actions, *shape))
    return state.target_critic(obs, diffusion.by_posterior(state.target_actor, obs, eps)).max(1).min(0)


def actor_loss(
    actor: SinusoidNet,
    critic: nets.Critic,
    batch: Batch,
    t: jax.Array,
    eps: jax.Array,
    sample_eps: jax.Array,
    judge: jax.Array,
    eta: Scalar,
) -> tuple[jax.Array, Metrics]:
    """Eq. 3: cloning, and Q of a sampled action, over mean |Q| of the other critic.

    Args:
        actor: the network that is trained.
        critic: two critics.
        batch: B rows.
        t: steps of the cloning loss, [B].
        eps: standard normals of the cloning loss, [B, A].
        sample_eps: standard normals of the sampled action, [N, B, A].
        judge: number of the critic whose value is increased, 0 or 1.
        eta: weight of Q.
    """
    cloning = diffusion.error(actor, batch.obs, batch.action, eps, t, len(sample_eps)).mean()
    q = critic(batch.obs, diffusion.by_posterior(actor, batch.obs, sample_eps))
    scale = 1 / jnp.abs(jax.lax.stop_gradient(q[1 - judge])).mean()
    improvement = -scale * q[judge].mean()
    return cloning + eta * improvement, {"cloning": cloning, "improvement": improvement}


def update(cfg: DiffusionQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    shape = batch.action.shape
    value = next_value(cfg, state, batch.next_obs, noise, shape)
    critic, m1 = state.critic.step(
        tx.critic, squared_error, targets.td(batch, value, cfg.discount), batch, name="critic"
    )  # eq. 4

    t = noise.integers("actor_t", (shape[0],), cfg.diffusion_steps)
    eps = noise.normal("actor_eps", shape)
    sample_eps = noise.normal("actor_sample_eps", (cfg.diffusion_steps, *shape))
    judge = noise.integers("judge", (), 2)
    given = (critic.net, batch, t, eps, sample_eps, judge, cfg.eta)
    actor, m2 = state.actor.step(tx.actor, actor_loss, *given, name="actor")

    follows = (step % cfg.actor_polyak_every == 0) & (step >= cfg.actor_polyak_start)
    old = state.target_actor
    target_actor = jax.lax.cond(follows, lambda: ema(actor.net, old, cfg.actor_polyak), lambda: old)
    target_critic = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target_actor, target_critic), merge(m1, m2)


def act(
    cfg: DiffusionQL, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode
) -> tuple[jax.Array, Memory]:
    critic = state.target_critic
    rows = seen.reward.shape[0]
    draws = noise.sub("candidates")
    eps = diffusion.acting_noise(draws, mode, cfg.diffusion_steps, cfg.candidates, rows, state.actor.net.size)
    action = diffusion.by_posterior(state.actor.net, seen.obs, eps)
    q = critic(seen.obs, action).min(0)
    chosen = choose(Categorical(q.T), noise, mode)  # the best one in mode "best"
    return candidates.taken(action, chosen), memory


CODE = "authors' code, github.com/Zhendong-Wang/Diffusion-Policies-for-Offline-RL, main.py, "
GRADIENT = {
    "halfcheetah-medium": 9.0, "hopper-medium": 9.0, "walker2d-medium": 1.0, "halfcheetah-medium-replay": 2.0,
    "hopper-medium-replay": 4.0, "walker2d-medium-replay": 4.0, "halfcheetah-medium-expert": 7.0,
    "hopper-medium-expert": 5.0, "walker2d-medium-expert": 5.0,
}  # fmt: skip
MAZES = {
    "umaze": DiffusionQL(eta=0.5, clip_norm=2.0),
    "umaze-diverse": DiffusionQL(eta=2.0, clip_norm=3.0, max_backup=True),
    "medium-play": DiffusionQL(eta=2.0, clip_norm=2.0, max_backup=True, actor_lr=1e-3),
    "medium-diverse": DiffusionQL(eta=3.0, clip_norm=1.0, max_backup=True),
    "large-play": DiffusionQL(eta=4.5, clip_norm=10.0, max_backup=True),
    "large-diverse": DiffusionQL(eta=3.5, clip_norm=7.0, max_backup=True),
}
MAZE = Treatment(reward_shift=-0.5, reward_scale=4.0)
PRESETS = {
    "mujoco": Preset(
        DiffusionQL(), Treatment(), CODE + "walker2d-medium-replay: the settings for mixed data of unknown quality"
    ),
    **{k: Preset(DiffusionQL(clip_norm=g), Treatment(), CODE + k) for k, g in GRADIENT.items()},
    **{f"antmaze-{name}": Preset(cfg, MAZE, f"{CODE}antmaze-{name}") for name, cfg in MAZES.items()},
    "kitchen": Preset(DiffusionQL(eta=0.005, clip_norm=10.0), Treatment(), CODE + "kitchen-partial, kitchen-mixed"),
    "kitchen-complete": Preset(DiffusionQL(eta=0.005, clip_norm=9.0), Treatment(), CODE + "kitchen-complete"),
    "tuned_100k": Preset(
        DiffusionQL(actor_decay_steps="run", critic_decay_steps="run"),
        SCALED,
        "ours, normalised observations, scaled rewards and rates that fall, for short logs: "
        "docs/algorithms/diffusion_ql.md",
    ),
}

algorithm = Algorithm(
    "diffusion_ql", DiffusionQL, init, update, act, PRESETS, needs=targets.n_step_rows, check=check, images=True
)
