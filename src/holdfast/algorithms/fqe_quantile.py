"""Fitted Q evaluation of the distribution of the return: quantiles of Z(s, a) for another run's policy.

The N quantiles regress on those of r + gamma m Z(s', a'), a' ~ pi, with the Huber quantile loss of Dabney et al. 2018
(arXiv:1710.10044, eq. 10). The mixture over first observations and actions is the distribution of the discounted
return: its mean, its quantiles and the mean of its worst share need no importance weights. The defaults are those of
fitted Q evaluation with quantile networks in d3rlpy.

Notation (paper = code): N = `quantiles`; Z = `critic`.
Not as there: targets are within the range that the rewards allow (see `fqe`); the policy may be stochastic.
Ours: `horizon`, as in `fqe`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import config, faults
from ..core.contract import BOTH, Algorithm, Context, Frozen, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Array, Batch, Seen, Spec, Step
from ..core.trained import Metrics, Trained
from ..core.tree import PyTree, field
from ..parts import losses, nets, optimisers, targets
from ..parts.action_values import pick, td
from .evaluators import RULES, Range, act, drawn, endless, needs, onward, range_of, seen_by_critic, timed


@config
class FQEQuantile:
    quantiles: int = 32  # N, quantiles of the return after each action
    policy_mode: str = "best"  # how the policy will act: best, or sample
    discount: float = 0.99  # gamma
    horizon: int = 0  # steps of an episode, after which nothing follows; 0: none
    polyak: float = 1.0  # rate at which the target follows; 1 with a long `target_every` copies it
    target_every: int = 100  # updates between moves of the target
    critic_lr: float = 1e-4  # Adam
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    batch_size: int = 100  # rows per update


class Quantiles(PyTree):
    """N quantiles of the return after an action."""

    net: nets.Network
    count: int = field(static=True)  # N
    discrete: bool = field(static=True)

    def __call__(self, obs: jax.Array, action: jax.Array) -> jax.Array:
        """obs [n, d] and action [n, A] or [n] to [n, N]."""
        if not self.discrete:
            return nets.joint_of(self.net, obs, action)
        out = self.net(obs)
        return pick(out.reshape(*out.shape[:-1], -1, self.count), action)


class State(PyTree):
    critic: Trained
    target_critic: Quantiles
    range: Range
    policy: Frozen


def check(cfg: FQEQuantile) -> list[str]:
    rules = RULES | {"quantiles": "positive", "polyak": "in [0, 1]", "target_every": "positive"}
    return faults(cfg, **rules) + endless(cfg)


def quantiles_of(noise: Noise, spec: Spec, hidden: tuple[int, ...], count: int) -> Quantiles:
    """A new network of quantiles."""
    out = spec.action * count if spec.discrete else count
    net = nets.network(noise, spec, hidden, out, 0 if spec.discrete else spec.action, role="critic")
    return Quantiles(net, count, spec.discrete)


def init(cfg: FQEQuantile, ctx: Context, noise: Noise) -> State:
    critic = quantiles_of(noise.sub("critic"), timed(cfg, ctx.spec), cfg.hidden, cfg.quantiles)
    trained = Trained.new(critic, optimisers.adam(cfg.critic_lr))
    return State(trained, critic, range_of(cfg, ctx), ctx.inputs["policy"])


def policy_quantiles(
    cfg: FQEQuantile, state: State, critic: Quantiles, seen: Seen, step: Array | int, noise: Noise
) -> jax.Array:
    """Quantiles [n, N] of the return of the policy, from one action at each observation."""
    action = drawn(state.policy, seen, cfg.policy_mode, noise)
    return critic(seen_by_critic(cfg, seen.obs, step), action)


def critic_loss(critic: Quantiles, y: jax.Array, obs: jax.Array, action: jax.Array) -> tuple[jax.Array, Metrics]:
    z = critic(obs, action)
    taus = (jnp.arange(z.shape[-1]) + 0.5) / z.shape[-1]
    loss = losses.quantile_huber(z, y, taus).mean()
    return loss, {"q": z.mean(), "target": y.mean(), "spread": z.std(-1).mean()}


def update(cfg: FQEQuantile, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    here = batch.timestep if cfg.horizon else 0
    seen = Seen(batch.next_obs, jnp.zeros_like(batch.reward), batch.next_mask, step)
    following = policy_quantiles(cfg, state, state.target_critic, seen, here + 1, noise.sub("policy"))
    y = td(batch, onward(cfg, batch, following), cfg.discount)  # [B, N]
    y = jnp.clip(y, state.range.low, state.range.high)
    obs = seen_by_critic(cfg, batch.obs, here)
    tx = optimisers.adam(cfg.critic_lr)
    critic, metrics = state.critic.step(tx, critic_loss, y, obs, batch.action, name="critic")
    target = targets.follow(critic.net, state.target_critic, cfg.polyak, cfg.target_every, step)
    return State(critic, target, state.range, state.policy), metrics


def value(cfg: FQEQuantile, state: State, obs: jax.Array, action: jax.Array) -> jax.Array:
    """The mean of the quantiles of the target network, [n]; with a horizon, at the first step."""
    return state.target_critic(seen_by_critic(cfg, obs, 0), action).mean(-1)


CODE = "github.com/takuseno/d3rlpy, d3rlpy/ope/fqe.py with QRQFunctionFactory"
TUNED = FQEQuantile(critic_lr=1e-3, polyak=0.05, target_every=1, hidden=(128, 128), batch_size=256)
PRESETS = {
    "d3rlpy": Preset(FQEQuantile(), Treatment(), CODE),
    "tuned_fast": Preset(TUNED, Treatment(), "ours: 20,000 updates with a soft target"),
}

algorithm = Algorithm(
    "fqe_quantile",
    FQEQuantile,
    init,
    update,
    act,
    PRESETS,
    value=value,
    needs=needs,
    actions=BOTH,
    inputs=("policy",),
    check=check,
)
