"""Fitted Q evaluation (Le, Voloshin, Yue 2019, arXiv:1903.08738): the values of another run's policy, by bootstrapping.

Q regresses on r + gamma m E_{a' ~ pi} Qbar(s', a'), where m is 0 at a true end. The policy pi is the input `policy`; it
does not learn. The evaluated policy is the one that will act: with `policy_mode` "sample" a stochastic policy is
evaluated as it draws.

Notation (paper = code): Q = `critic`; Qbar = `target_critic`.
The defaults are those of Fu et al. 2021 (arXiv:2103.16596): a soft target, weight decay that does not depend on the
learning rate, an output that is multiplied by the length of an episode, and targets within the range that the rewards
allow.
Not as there: the range contains 0, because an episode may end, and is widened by 10 %; no noise is added to the rows.
Ours: `horizon`. Values then depend on the step of the episode, which is an input of the network, and are 0 after the
last one, so that the discount may be 1. Discrete actions are summed over with their probabilities.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from ..core.config import config, faults
from ..core.contract import BOTH, Algorithm, Context, Frozen, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Array, Batch, Scalar, Seen, Step
from ..core.trained import Metrics, Trained
from ..core.tree import PyTree, ema
from ..parts import nets, optimisers, targets
from .evaluators import RULES, Range, act, drawn, endless, needs, onward, range_of, seen_by_critic, shares, timed


@config
class FQE:
    policy_mode: str = "best"  # how the policy will act: best, or sample
    discount: float = 0.99  # gamma
    horizon: int = 0  # steps of an episode, after which nothing follows; 0: none
    samples: int = 1  # actions of a stochastic policy at s', if they are continuous
    polyak: float = 0.005  # rate at which the target follows
    critic_lr: float = 3e-4  # Adam
    weight_decay: float = 1e-5  # share of every weight that is taken away at each update
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers; none: linear in observation and action
    batch_size: int = 256  # rows per update


class State(PyTree):
    critic: Trained
    target_critic: nets.Critic
    range: Range
    policy: Frozen


def check(cfg: FQE) -> list[str]:
    rules = RULES | {"samples": "positive", "polyak": "in [0, 1]", "weight_decay": "in [0, 1)"}
    return faults(cfg, **rules) + endless(cfg)


def optimiser_of(cfg: FQE) -> optax.GradientTransformation:
    """Adam, and weight decay that is not multiplied by the learning rate."""
    return optax.chain(optimisers.adam(cfg.critic_lr), optax.add_decayed_weights(-cfg.weight_decay))


def policy_value(cfg: FQE, state: State, critic: nets.Critic, seen: Seen, step: Array | int, noise: Noise) -> jax.Array:
    """E_{a ~ pi} Q(s, a), [n], at steps of the episode `step`, [n] or a number."""
    obs = seen_by_critic(cfg, seen.obs, step)
    if state.policy.spec.discrete:
        q = critic.all(obs)[0]
        return (shares(state.policy, seen, cfg.policy_mode, noise) * q).sum(-1) * state.range.length
    count = cfg.samples if cfg.policy_mode == "sample" else 1
    values = [critic(obs, drawn(state.policy, seen, cfg.policy_mode, noise.fold(i)))[0] for i in range(count)]
    return jnp.stack(values).mean(0) * state.range.length


def init(cfg: FQE, ctx: Context, noise: Noise) -> State:
    critic = nets.critic(noise.sub("critic"), timed(cfg, ctx.spec), cfg.hidden, 1)
    return State(Trained.new(critic, optimiser_of(cfg)), critic, range_of(cfg, ctx), ctx.inputs["policy"])


def critic_loss(critic: nets.Critic, y: jax.Array, obs: jax.Array, action: jax.Array, length: Scalar) -> tuple:
    q = critic(obs, action)[0] * length
    return jnp.square(q - y).mean(), {"q": q.mean(), "target": y.mean()}


def update(cfg: FQE, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    here = batch.timestep if cfg.horizon else 0
    seen = Seen(batch.next_obs, jnp.zeros_like(batch.reward), batch.next_mask, step)
    following = policy_value(cfg, state, state.target_critic, seen, here + 1, noise.sub("policy"))
    y = targets.td(batch, onward(cfg, batch, following), cfg.discount)
    y = jnp.clip(y, state.range.low, state.range.high)
    obs = seen_by_critic(cfg, batch.obs, here)
    given = (y, obs, batch.action, state.range.length)
    critic, metrics = state.critic.step(optimiser_of(cfg), critic_loss, *given, name="critic")
    return State(critic, ema(critic.net, state.target_critic, cfg.polyak), state.range, state.policy), metrics


def value(cfg: FQE, state: State, obs: jax.Array, action: jax.Array) -> jax.Array:
    """Q(s, a) of the target network, [n]; with a horizon, at the first step."""
    return state.target_critic(seen_by_critic(cfg, obs, 0), action)[0] * state.range.length


CODE = "Fu et al. 2021, github.com/google-research/google-research, policy_eval/train_eval.py and q_fitter.py"
PRESETS = {
    "dope": Preset(FQE(), Treatment(), CODE),
    "tuned_linear": Preset(FQE(hidden=(), critic_lr=3e-3), Treatment(), "ours: linear in observation and action"),
    "tuned_fast": Preset(FQE(hidden=(128, 128), critic_lr=1e-3, polyak=0.05), Treatment(), "ours: 20,000 updates"),
}

algorithm = Algorithm(
    "fqe", FQE, init, update, act, PRESETS, value=value, needs=needs, actions=BOTH, inputs=("policy",), check=check
)
