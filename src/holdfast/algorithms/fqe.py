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
`fqe_quantile` imports the policy's actions, the range and the inputs from here.
"""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp
import optax

from ..core.config import config, faults
from ..core.contract import BOTH, Algorithm, Context, Frozen, Needs, Preset, Transitions, Treatment
from ..core.noise import Noise
from ..core.spec import Array, Batch, Memory, Mode, Scalar, Seen, Spec, Step
from ..core.trained import Metrics, Trained
from ..core.tree import PyTree, ema
from ..parts import nets, optimisers, targets
from ..parts.distributions import Categorical

WIDER = 0.1  # of the range of the targets


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


class Evaluating(Protocol):
    """The settings that `fqe` and `fqe_quantile` share."""

    @property
    def policy_mode(self) -> str: ...
    @property
    def discount(self) -> float: ...
    @property
    def horizon(self) -> int: ...


class Following(Protocol):
    """The part of a state that acts."""

    @property
    def policy(self) -> Frozen: ...


class Range(PyTree):
    """What values are possible."""

    low: jax.Array
    high: jax.Array
    length: jax.Array  # discounted steps of an episode, the unit of the output


class State(PyTree):
    critic: Trained
    target_critic: nets.Critic
    range: Range
    policy: Frozen


RULES = {"policy_mode": "best|sample", "discount": "in [0, 1]", "horizon": "at least 0"}


def check(cfg: FQE) -> list[str]:
    rules = RULES | {"samples": "positive", "polyak": "in [0, 1]", "weight_decay": "in [0, 1)"}
    return faults(cfg, **rules) + endless(cfg)


def endless(cfg: Evaluating) -> list[str]:
    """The fault of values that have no bound."""
    return [] if cfg.horizon or cfg.discount < 1 else ["discount is 1, expected below 1 without a horizon"]


def needs(cfg: Evaluating) -> Needs:
    return Transitions(("timestep",)) if cfg.horizon else Transitions()


def optimiser_of(cfg: FQE) -> optax.GradientTransformation:
    """Adam, and weight decay that is not multiplied by the learning rate."""
    return optax.chain(optimisers.adam(cfg.critic_lr), optax.add_decayed_weights(-cfg.weight_decay))


def range_of(cfg: Evaluating, ctx: Context) -> Range:
    """The range of values with rewards as in the data."""
    steps = jnp.arange(cfg.horizon)
    length = (cfg.discount**steps).sum() if cfg.horizon else 1 / (1 - jnp.asarray(cfg.discount, float))
    low = jnp.minimum(ctx.stats.get("reward_min", 0.0), 0.0) * length
    high = jnp.maximum(ctx.stats.get("reward_max", 0.0), 0.0) * length
    wide = WIDER * (high - low)
    return Range(low - wide, high + wide, jnp.asarray(length, float))


def timed(cfg: Evaluating, spec: Spec) -> Spec:
    """The spec of the critic's input: with a horizon, the step is one more number of an observation."""
    return spec._replace(obs=(spec.obs_shape[0] + 1,)) if cfg.horizon else spec


def seen_by_critic(cfg: Evaluating, obs: jax.Array, step: Array | int) -> jax.Array:
    """Observations [n, d], with the share of the horizon that is over at `step` ([n] or a number)."""
    if not cfg.horizon:
        return obs
    share = jnp.broadcast_to(jnp.asarray(step, obs.dtype) / cfg.horizon, obs.shape[:-1])
    return jnp.concatenate([obs, share[..., None]], -1)


def onward(cfg: Evaluating, batch: Batch, following: jax.Array) -> jax.Array:
    """Values at s', [B] or [B, K], which are 0 after the last step of the horizon."""
    if not cfg.horizon:
        return following
    inside = (batch.timestep + 1 < cfg.horizon).astype(following.dtype)
    return following * (inside if following.ndim == 1 else inside[:, None])


def shares(policy: Frozen, seen: Seen, mode: str, noise: Noise) -> jax.Array:
    """Probabilities [n, A] of discrete actions of the policy; one draw if it gives no distribution."""
    memory = policy.start(seen.reward.shape[0])
    if mode == "sample" and policy.dist is not None:
        dist = policy.dist(policy.cfg, policy.state, seen, memory)
        if isinstance(dist, Categorical):
            return jnp.exp(dist.log_probs())
    action, _ = policy(seen, memory, noise, "sample" if mode == "sample" else "best")
    return jax.nn.one_hot(action, policy.spec.action)


def drawn(policy: Frozen, seen: Seen, mode: str, noise: Noise) -> jax.Array:
    """One action [n, ...] of the policy at each observation."""
    memory = policy.start(seen.reward.shape[0])
    return policy(seen, memory, noise, "sample" if mode == "sample" else "best")[0]


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


def act(
    cfg: Evaluating, state: Following, seen: Seen, memory: Memory, noise: Noise, mode: Mode
) -> tuple[jax.Array, Memory]:
    """The action of the evaluated policy."""
    return state.policy(seen, memory, noise, mode)


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
