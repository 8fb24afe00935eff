"""AlgaeDICE (Nachum, Dai, Kostrikov, Chow, Li, Schuurmans 2019, arXiv:1912.02074): a policy gradient from any data.

max_pi min_Q (1 - gamma) alpha E Q(s0, a0) + E_D f(delta),  delta = r + gamma m (Q(s', a') - T log pi(a'|s')) - Q(s, a)

with f(x) = |x|^p / p, a0 and a' drawn from pi. It is the dual of the return of pi minus alpha D_f(d^pi, d^D), where
d^pi are the visits of pi, so the gradient of the policy is exact for any data. The gradient of Q flows through
Q(s', a') too: the residual gradient.

Notation (paper = code): Q = nu = `critic`; alpha = `algae_alpha`; p = `exponent`; T = `temperature`.
As in the authors' code (google-research, algae_dice) and not in the paper: two critics; Q(s', a') is .05 of the critic
and .95 of the smaller target; the entropy bonus with a learned temperature, whose loss is on T itself; the policy sees
f'(delta) without gradient and 0 for negative delta, so that only positive residuals count; a penalty of the weights of
the policy that are not orthogonal; policy, temperature and targets move at every second update.
Order: critics; on every second update policy and temperature, then targets. The same rows serve both. The losses are in
`algae_dice_losses`.
The code learns online only. Offline runs draw s0 from the first observations of the logged episodes.
Not as there: an online run stores an episode when it has ended, so that its rows have their first observation.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..core.config import config, faults, static
from ..core.contract import Algorithm, Collect, Context, Needs, Phase, Preset, Transitions, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge, occasionally
from ..core.tree import PyTree, ema
from ..parts import acting, initialisers, nets, optimisers, starts
from .algae_dice_losses import Dual, Heads, actions, actor_loss, critic_loss
from .sac import entropy_goal, temperature_loss


@config
class AlgaeDICE:
    algae_alpha: float = 0.01  # weight of the divergence from the data, in units of rewards
    exponent: float = static(default=1.5)  # power p of f(x) = |x|^p / p
    undiscounted: bool = False  # the branch of gamma 1: average reward, with a learned multiplier
    use_dqn: bool = True  # two critics and the smaller of their targets; else one
    use_init_states: bool = True  # s0 is the first observation of an episode; else the drawn observation
    discount: float = 0.99  # gamma; without effect if undiscounted
    polyak: float = 0.005  # rate at which the target critics follow
    actor_every: int = 2  # updates of the critics for each of the policy and the targets
    orthogonal: float = 1e-4  # weight of the penalty of the policy's weights
    initial_temperature: float = 1.0  # T before the first update
    learn_temperature: bool = True  # whether T is learned
    target_entropy: float = 0.0  # in nats; 0 means minus the number of action dimensions
    actor_lr: float = 1e-3  # Adam
    critic_lr: float = 1e-3  # Adam
    temperature_lr: float = 1e-3  # Adam
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update
    random_steps: int = 10_000  # online: environment steps with random actions
    warmup: int = 1_000  # online: environment steps before the first update
    update_ratio: int = 1  # online: updates per environment step


class State(PyTree):
    actor: Trained
    critic: Trained
    target_critic: nets.Critic
    temperature: Trained  # of log T


class Optimisers(NamedTuple):
    actor: optax.GradientTransformation
    critic: optax.GradientTransformation
    temperature: optax.GradientTransformation


def check(cfg: AlgaeDICE) -> list[str]:
    rules = dict.fromkeys(("algae_alpha", "initial_temperature", "actor_every", "update_ratio"), "positive")
    rules |= dict.fromkeys(("orthogonal", "random_steps", "warmup"), "at least 0")
    found = faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", **rules)
    found += [] if cfg.exponent > 1 else [f"exponent is {cfg.exponent}, expected above 1"]
    if cfg.discount == 1 and not cfg.undiscounted:
        found.append("discount is 1, expected below 1: set undiscounted for average rewards")
    return found


def needs(cfg: AlgaeDICE) -> Needs:
    return Transitions(starts.COLUMNS if cfg.use_init_states else ())


def optimisers_of(cfg: AlgaeDICE) -> Optimisers:
    rates = (cfg.actor_lr, cfg.critic_lr, cfg.temperature_lr)
    return Optimisers(*(optimisers.adam(rate, eps=1e-7) for rate in rates))


def init(cfg: AlgaeDICE, ctx: Context, noise: Noise) -> State:
    weights = initialisers.orthogonal(1.0)
    out = 2 * ctx.spec.action
    actor = Heads(nets.network(noise.sub("actor"), ctx.spec, cfg.hidden, out, role="actor", init=weights))
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, 2 if cfg.use_dqn else 1, init=weights)
    return state_of(cfg, actor, critic)


def state_of(cfg: AlgaeDICE, actor: nets.Policy, critic: nets.Critic) -> State:
    """The state before the first update."""
    tx = optimisers_of(cfg)
    dual = Dual(critic, jnp.zeros((), jnp.result_type(float)))
    temperature = Trained.new(jnp.log(cfg.initial_temperature), tx.temperature)
    return State(Trained.new(actor, tx.actor), Trained.new(dual, tx.critic), critic, temperature)


def update(cfg: AlgaeDICE, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    shape = batch.action.shape
    temperature = jnp.exp(state.temperature.net)
    eps = (noise.normal("critic_next", shape), noise.normal("critic_first", shape))
    drawn = actions(cfg, state.actor.net, batch, eps)
    given = (cfg, state.target_critic, temperature, batch)
    critic, m1 = state.critic.step(tx.critic, critic_loss, *given, drawn, name="critic")

    def delayed(old: State) -> tuple[State, Metrics]:
        eps = (noise.normal("actor_next", shape), noise.normal("actor_first", shape))
        _, log_prob = old.actor.net(batch.next_obs).sample_and_log_prob(eps[0])
        given = (cfg, critic.net, old.target_critic, temperature, batch, eps)
        actor, m2 = old.actor.step(tx.actor, actor_loss, *given, name="actor")
        warmth = old.temperature
        m3: Metrics = {}
        if cfg.learn_temperature:
            goal = entropy_goal(cfg, batch)
            warmth, m3 = warmth.step(tx.temperature, temperature_loss, log_prob, goal, "exp", name="temperature")
        target = ema(critic.net.nets, old.target_critic, cfg.polyak)
        return State(actor, critic, target, warmth), merge(m2, m3)

    kept = State(state.actor, critic, state.target_critic, state.temperature)
    new, m2 = occasionally((step + 1) % cfg.actor_every == 0, delayed, kept)
    return new, merge(m1, m2)


def act(cfg: AlgaeDICE, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    """The mode, a draw, or while exploring in the first `random_steps` steps of an environment a random action."""
    action, memory = acting.act(cfg, state, seen, memory, noise, mode)
    if mode != "explore":
        return action, memory
    early = seen.step < (cfg.random_steps - cfg.warmup) * cfg.update_ratio
    return jnp.where(early, 2 * noise.uniform("random_action", action.shape) - 1, action), memory


def online(cfg: AlgaeDICE) -> tuple[Phase, ...]:
    """Learning in an environment: one step, then `update_ratio` updates from the replay buffer."""
    collect = Collect(warmup=cfg.warmup, every=cfg.update_ratio, whole=cfg.use_init_states)
    return (Phase("online", mix={"online": 1.0}, collect=collect),)


CODE = "authors' code, github.com/google-research/google-research, algae_dice/train_eval.py and algae.py"
PRESETS = {"mujoco": Preset(AlgaeDICE(), Treatment(), CODE)}

algorithm = Algorithm(
    "algae_dice", AlgaeDICE, init, update, act, PRESETS, dist=acting.dist, needs=needs, online=online, check=check
)
