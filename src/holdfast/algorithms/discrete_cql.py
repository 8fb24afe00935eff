"""Conservative Q-learning with discrete actions (Kumar, Zhou, Tucker, Levine 2020, arXiv:2006.04779; their equations).

Q-learning plus alpha times (E_mu Q(s, .) - Q(s, a)): values of actions that mu would take are pushed down, those of the
data up. CQL(H) takes the mu that maximises E_mu Q plus its entropy, which makes the first term logsumexp_a Q (eq. 4).

Paper -> here: alpha alpha, mu mu, k-step target critic target_critic. Order: critic, then the target (soft or hard).
`mu` names the first term, the second stays:
  entropy  logsumexp_a Q(s, a), CQL(H);                        uniform  the mean over actions, a mu that never moves;
  greedy   max_a Q(s, a), all of mu on one action (R = 0);     softmax  E_mu Q with mu = softmax(Q) written out and held
           still: the gradient of "entropy", while the loss lacks mu's entropy.
`critic` is what the penalty stands on: DQN, or QR-DQN with the penalty on the mean of the quantiles, as in the Atari
experiments. As in the authors' code the Bellman term is Huber's (with its 1/2) and not squared; alpha 1 and 4 belong to
it. The double target is d3rlpy's; the authors' has the target network choose.
Illegal actions are in no term.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults
from ..core.contract import Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics
from ..parts import losses, targets
from ..parts.action_values import ActionValues, next_values, pick, td
from ..parts.distributions import Categorical, take
from . import dqn
from .dqn import State
from .qr_dqn import quantile_loss


@config
class DiscreteCQL(dqn.DQN):
    alpha: float = 1.0  # weight of the penalty; 4 for 1 % of an Atari log, 1 for 10 %
    mu: str = "entropy"  # whose values are pushed down: entropy (CQL(H)), greedy, softmax or uniform
    data_term: bool = True  # less Q of the data (eq. 2); False: eq. 1, which bounds every Q(s, a) from below
    critic: str = "dqn"  # dqn or qr_dqn
    quantiles: int = 32  # of qr_dqn; d3rlpy 32, Atari 200
    critic_decay_steps: Schedule = "run"  # rate: constant, or a cosine over the run or N updates


def check(cfg: DiscreteCQL) -> list[str]:
    own = {"alpha": "at least 0", "mu": "entropy|greedy|softmax|uniform", "critic": "dqn|qr_dqn"}
    return faults(cfg, quantiles="positive", **own, **dqn.RULES)


def init(cfg: DiscreteCQL, ctx: Context, noise: Noise) -> State:
    return dqn.start(cfg, ctx, noise, cfg.quantiles if cfg.critic == "qr_dqn" else 1)


def pushed_down(q: jax.Array, mask: jax.Array | None, mu: str) -> jax.Array:
    """The first term of the penalty: q [B, A] to [B]."""
    legal = q if mask is None else jnp.where(mask, q, -jnp.inf)
    if mu == "entropy":
        return jax.nn.logsumexp(legal, -1)
    if mu == "greedy":
        return legal.max(-1)
    logits = jax.lax.stop_gradient(q) if mu == "softmax" else jnp.zeros_like(q)
    return (jnp.exp(Categorical(logits).among(mask).log_probs()) * q).sum(-1)


def critic_loss(critic: ActionValues, y: jax.Array, batch: Batch, cfg: DiscreteCQL) -> tuple[jax.Array, Metrics]:
    values = critic(batch.obs)
    chosen, q = pick(values, batch.action), values.mean(-1)
    error = quantile_loss(chosen, y) if cfg.critic == "qr_dqn" else losses.huber(chosen - y).mean()
    penalty = pushed_down(q, batch.mask, cfg.mu).mean()
    if cfg.data_term:
        penalty = penalty - take(q, batch.action).mean()
    return error + cfg.alpha * penalty, {
        **dqn.told(q, batch.action, batch.mask, y),
        "td_loss": error,
        "penalty": penalty,
    }


def update(cfg: DiscreteCQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    following = next_values(state.critic.net, state.target_critic, batch, cfg.double)
    y = td(batch, following, cfg.discount)  # [B, 1], or [B, quantiles]
    critic, metrics = state.critic.step(dqn.optimiser(cfg), critic_loss, y, batch, cfg, name="critic")
    target = targets.follow(critic.net, state.target_critic, cfg.polyak, cfg.target_every, step)
    return State(critic, target), metrics


def atari(alpha: float, share: str) -> Preset:
    cfg = DiscreteCQL(
        alpha=alpha,
        critic="qr_dqn",
        quantiles=200,
        double=False,
        polyak=1.0,
        target_every=2000,
        epsilon=0.01,
        epsilon_steps=62_500,
        critic_lr=5e-5,
        critic_decay_steps="constant",
        adam_eps=0.01 / 32,
        batch_size=32,
    )
    return Preset(cfg, Treatment(), f"github.com/aviralkumar2907/CQL, atari, {share} of the log (rewards clipped)")


PRESETS = {
    "control": Preset(DiscreteCQL(), Treatment(), "d3rlpy's alpha 1 on DQN, the rest as our DQN on control tasks"),
    "atari": atari(4.0, "1 %"),
    "atari_10": atari(1.0, "10 %"),
}

algorithm = dqn.algorithm._replace(
    name="discrete_cql", Config=DiscreteCQL, init=init, update=update, presets=PRESETS, check=check
)
