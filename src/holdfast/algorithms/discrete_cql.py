"""Conservative Q-learning with discrete actions (Kumar, Zhou, Tucker, Levine 2020, arXiv:2006.04779; their equations).

Q-learning with a penalty alpha (E_mu Q(s, .) - Q(s, a)): it pushes down the values of the actions that mu would take
and pushes up the values of the data. CQL(H) takes the mu that maximises E_mu Q plus its entropy, which makes the first
term logsumexp_a Q(s, a) (eq. 4).

Notation (paper = code): alpha = `alpha`; mu = `mu`; the target values Q-hat = `target_critic`.
Order of an update: critic, target (soft or copied, see `q_learning`).
`mu` names the first term of the penalty; the second term is Q of the data if `data_term` (eq. 2), else 0 (eq. 1):
  entropy  logsumexp_a Q(s, a), CQL(H);
  greedy   max_a Q(s, a): all of mu on one action, R = 0;
  uniform  the mean over the actions: a fixed mu;
  softmax  E_mu Q with a constant mu = softmax(Q): the gradient of "entropy" without the entropy in the loss.
`critic` is the Bellman error that the penalty is added to: "dqn", or "qr_dqn" with the penalty on the mean of the
quantiles, as in the paper's Atari experiments. Both are the paper's method, so they share this file.
As in the authors' code: the Bellman term is the Huber loss (with its 1/2) in place of a square; alpha 1 and 4 are for
it.
As in d3rlpy and not in the authors' code: the double target of the default; with `double` False the target network
chooses a'.
Ours: illegal actions are excluded from every term.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults
from ..core.contract import Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics
from ..parts import losses
from ..parts.action_values import ActionValues, next_values, pick, q_metrics, td
from ..parts.distributions import Categorical, take
from .q_learning import RULES, State, dist, learn, record, start
from .qr_dqn import quantile_loss


@config
class DiscreteCQL:
    alpha: float = 1.0  # weight of the penalty; on Atari 4 with 1 % of the log, 1 with 10 %
    mu: str = "entropy"  # whose values are pushed down: entropy (CQL(H)), greedy, softmax or uniform
    data_term: bool = True  # subtract Q of the data (eq. 2); False: eq. 1, a lower bound of every Q(s, a)
    critic: str = "dqn"  # Bellman error: dqn or qr_dqn
    quantiles: int = 32  # of qr_dqn; 32 in d3rlpy, 200 on Atari
    double: bool = True  # the online network chooses a'; False: the target network does
    discount: float = 0.99  # gamma
    polyak: float = 1.0  # rate at which the target follows; 1 with a long `target_every` copies it
    target_every: int = 8_000  # updates between moves of the target
    epsilon: float = 0.1  # online: share of random actions while exploring
    epsilon_steps: int = 0  # updates over which epsilon falls from 1 to its value; 0: constant
    critic_lr: float = 6.25e-5  # Adam
    critic_decay_steps: Schedule = "constant"  # learning rate: constant, or a cosine over the run or N updates
    adam_eps: float = 1e-8  # Adam's constant outside the root; .01 / 32 on Atari
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    batch_size: int = 32  # rows per update
    n_step: int = 1  # steps of the return before the bootstrap
    warmup: int = 1_000  # online: environment steps with random actions before the first update
    update_every: int = 1  # online: environment steps between updates; 4 on Atari


def check(cfg: DiscreteCQL) -> list[str]:
    own = {"alpha": "at least 0", "mu": "entropy|greedy|softmax|uniform", "critic": "dqn|qr_dqn"}
    return faults(cfg, quantiles="positive", **own, **RULES)


def init(cfg: DiscreteCQL, ctx: Context, noise: Noise) -> State:
    count = cfg.quantiles if cfg.critic == "qr_dqn" else 1
    return start(cfg, ctx, noise, count)


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
    chosen = pick(values, batch.action)
    q = values.mean(-1)
    error = quantile_loss(chosen, y) if cfg.critic == "qr_dqn" else losses.huber(chosen - y).mean()
    penalty = pushed_down(q, batch.mask, cfg.mu).mean()
    if cfg.data_term:
        penalty = penalty - take(q, batch.action).mean()
    metrics = q_metrics(q, batch.action, batch.mask, y)
    return error + cfg.alpha * penalty, {**metrics, "td_loss": error, "penalty": penalty}


def update(cfg: DiscreteCQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    following = next_values(state.critic.net, state.target_critic, batch, cfg.double)
    y = td(batch, following, cfg.discount)  # [B, 1], or [B, quantiles]
    return learn(cfg, state, step, critic_loss, y, batch, cfg)


def atari(alpha: float, share: str) -> Preset:
    """The authors' Atari settings for a share of the log."""
    cfg = DiscreteCQL(
        alpha=alpha,
        critic="qr_dqn",
        quantiles=200,
        double=False,
        target_every=2000,
        epsilon=0.01,
        epsilon_steps=62_500,
        critic_lr=5e-5,
        adam_eps=3.125e-4,
        hidden=(512,),
        warmup=20_000,
        update_every=4,
    )
    source = (
        "authors' code, github.com/aviralkumar2907/CQL, atari/batch_rl/fixed_replay/configs/quantile.gin and README"
    )
    return Preset(cfg, Treatment(), f"{source}, {share} of the log (the data has the rewards clipped to their sign)")


TUNED = DiscreteCQL(polyak=0.005, target_every=1, critic_lr=3e-4, critic_decay_steps="run", batch_size=64)
PRESETS = {
    "d3rlpy": Preset(DiscreteCQL(), Treatment(), "github.com/takuseno/d3rlpy, DiscreteCQLConfig, default encoder"),
    "atari": atari(4.0, "1 %"),
    "atari_10": atari(1.0, "10 %"),
    "tuned_100k": Preset(TUNED, Treatment(), "ours, as the preset control of DQN, with a decaying rate"),
}

algorithm = record("discrete_cql", DiscreteCQL, init, update, PRESETS, dist, check)
