"""The policy that made a log, estimated from it: propensities of the logged actions and how well they are calibrated.

Networks are fitted on K folds of whole episodes, and each episode gets the propensities of the network that did not see
it. Discrete actions: a softmax network, with a temperature from held-out rows. Continuous actions: a mixture of five
normals of atanh(a), so that it has a density within the bounds. In-sample propensities can have less variance (Hanna et
al. 2019, arXiv:1806.01347), but are biased for networks.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.stats import norm

from ...core.errors import UserError
from ...core.noise import Noise
from ...data.arrays import take
from ...data.dataset import Dataset
from ...parts import nets
from .target import index_of

FOLDS = 5
UPDATES = 1000
BATCH = 256
RATE = 3e-3  # Adam, falling to 0
HIDDEN = (64, 64)
INNER = 0.1  # share of the training rows that choose the temperature
COMPONENTS = 5
EDGE = 1e-5  # distance from the bounds of actions at which an action lies at the bound
MOST_AT_EDGE = 0.01  # share of rows there: more need atoms, and a density gives ratios without meaning
RARE = 0.01  # propensity of a rare action
BINS = 15


@dataclasses.dataclass(frozen=True, eq=False)
class Behaviour:
    """Propensities of the logged actions."""

    log_prob: np.ndarray  # [N] log-probabilities, or log-densities in the environment's units
    source: str  # "logged" or "estimated"
    report: dict[str, float]  # calibration: nll, and brier, ece, rare (discrete) or pit (continuous)


class Rows(NamedTuple):
    """What the networks learn from; N rows."""

    obs: jax.Array  # [N, d] normalised
    action: jax.Array  # [N] integers, or [N, A] atanh of actions in [-1, 1]
    mask: jax.Array | None  # [N, A]


def at_bounds(dataset: Dataset) -> float:
    """Share of the rows whose continuous action lies at a bound."""
    return float((np.abs(_inside(dataset)) >= 1 - EDGE).any(1).mean())


def estimate(dataset: Dataset, seed: int = 0, folds: int = FOLDS, updates: int = UPDATES) -> Behaviour:
    """Estimate the propensities of the logged actions, each from episodes other than its own.

    Args:
        dataset: the log; observations are vectors.
        seed: seed of folds, weights and batches.
        folds: number of folds.
        updates: updates of each network.

    Raises:
        UserError: images, fewer episodes than folds, or continuous actions at their bounds.
    """
    if dataset.images:
        raise UserError(f"{dataset.id} has images: propensities are estimated from vectors only; log them")
    if dataset.n_episodes < folds:
        raise UserError(
            f"{dataset.id} has {dataset.n_episodes} episodes, propensities are estimated on {folds} folds of whole "
            "episodes: log the propensities, or bring more episodes"
        )
    if not dataset.discrete and at_bounds(dataset) > MOST_AT_EDGE:
        raise UserError(
            f"{at_bounds(dataset):.0%} of the logged actions lie at their bounds and have no density there: importance "
            "weights would have no meaning"
        )
    rng = np.random.default_rng(seed)
    fold = rng.permutation(dataset.n_episodes)[dataset.episode_of] % folds  # [N]
    mean, std = dataset.observation_moments
    obs = (take(dataset.observations, dataset.observation_rows) - mean) / (std + 1e-6)
    mask = dataset.columns.get("action_mask")
    action = index_of(dataset) if dataset.discrete else np.arctanh(np.clip(_inside(dataset), -1 + EDGE, 1 - EDGE))
    rows = Rows(
        jnp.asarray(obs, jnp.float32),
        jnp.asarray(action, jnp.int32 if dataset.discrete else jnp.float32),
        None if mask is None else jnp.asarray(mask[dataset.observation_rows], bool),
    )
    outside = [rng.permutation(np.flatnonzero(fold != k)) for k in range(folds)]
    inner = [part[: max(1, int(INNER * len(part)))] for part in outside]
    drawn = np.stack(
        [rng.choice(part[len(held) :], (updates, BATCH)) for part, held in zip(outside, inner, strict=True)]
    )
    out = dataset.spec.action if dataset.discrete else COMPONENTS * (1 + 2 * dataset.spec.action)
    sizes = (obs.shape[1], *HIDDEN, out)
    found = _fit(Noise(jax.random.PRNGKey(seed)), sizes, rows, jnp.asarray(drawn), dataset.discrete)
    outputs = np.array(jax.vmap(lambda net: net(rows.obs))(found), np.float64)  # [K, N, out]
    if dataset.discrete:
        return _softmax(dataset, outputs, fold, inner, None if mask is None else mask[dataset.observation_rows])
    return _mixture(dataset, outputs, fold, np.asarray(action, np.float64))


def _fit(noise: Noise, sizes: tuple[int, ...], rows: Rows, drawn: jax.Array, discrete: bool) -> nets.MLP:
    """One network for each fold, leaves [K, ...].

    Args:
        noise: initial weights.
        sizes: widths of the layers.
        rows: all rows.
        drawn: [K, updates, B] rows of each batch of each fold.
        discrete: softmax or mixture.
    """
    tx = optax.adam(optax.cosine_decay_schedule(RATE, drawn.shape[1]))
    single = nll_discrete if discrete else nll_continuous

    def loss(net: nets.MLP, batch: Rows) -> jax.Array:
        return single(net(batch.obs), batch).mean()

    def one(k: jax.Array, index: jax.Array) -> nets.MLP:
        net = nets.mlp(noise.fold(k), sizes, activation="relu")

        def step(carry: tuple[nets.MLP, optax.OptState], at: jax.Array) -> tuple[Any, None]:
            net, opt = carry
            gradient = jax.grad(loss)(net, jax.tree.map(lambda x: x[at], rows))
            updates, opt = tx.update(gradient, opt, net)
            return (optax.apply_updates(net, updates), opt), None

        return jax.lax.scan(step, (net, tx.init(net)), index)[0][0]

    return jax.jit(jax.vmap(one))(jnp.arange(len(drawn)), drawn)


def nll_discrete(logits: jax.Array, batch: Rows) -> jax.Array:
    """Minus the log-probability of the actions, [B]."""
    legal = logits if batch.mask is None else jnp.where(batch.mask, logits, -jnp.inf)
    return -jnp.take_along_axis(jax.nn.log_softmax(legal, -1), batch.action[:, None], -1)[:, 0]


def nll_continuous(outputs: jax.Array, batch: Rows) -> jax.Array:
    """Minus the log-density of atanh(a) under the mixture, [B]."""
    width = batch.action.shape[-1]
    logits = outputs[:, :COMPONENTS]
    means, log_stds = jnp.split(outputs[:, COMPONENTS:].reshape(-1, COMPONENTS, 2 * width), 2, -1)
    log_stds = jnp.clip(log_stds, -5.0, 2.0)
    normal = -0.5 * jnp.square((batch.action[:, None] - means) * jnp.exp(-log_stds)) - log_stds
    normal = normal - 0.5 * jnp.log(2 * jnp.pi)
    return -jax.nn.logsumexp(jax.nn.log_softmax(logits, -1) + normal.sum(-1), -1)


def _softmax(
    dataset: Dataset, logits: np.ndarray, fold: np.ndarray, inner: list[np.ndarray], mask: np.ndarray | None
) -> Behaviour:
    """Propensities from the logits [K, N, A] of the folds."""
    action = index_of(dataset)
    if mask is not None:
        logits = np.where(mask.astype(bool), logits, -np.inf)
    grid = np.exp(np.linspace(-1, 1, 21))
    probabilities = np.empty(logits.shape[1:])
    for k, held in enumerate(inner):
        losses = [-_log_softmax(scale * logits[k, held])[np.arange(len(held)), action[held]].mean() for scale in grid]
        own = fold == k
        probabilities[own] = np.exp(_log_softmax(grid[int(np.argmin(losses))] * logits[k, own]))
    chosen = probabilities[np.arange(len(action)), action]
    log_prob = np.log(np.maximum(chosen, 1e-30))
    report = {"nll": float(-log_prob.mean()), **calibration(probabilities, action)}
    return Behaviour(log_prob, "estimated", report)


def calibration(probabilities: np.ndarray, action: np.ndarray) -> dict[str, float]:
    """Brier score, expected calibration error over `BINS` bins of equal mass, and the share of rare logged actions.

    Args:
        probabilities: [N, A].
        action: [N] numbers from 0.
    """
    n = len(action)
    happened = np.zeros_like(probabilities)
    happened[np.arange(n), action] = 1
    top = probabilities.argmax(1)
    confidence = probabilities[np.arange(n), top]
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(BINS, n))
    gaps = [len(part) / n * abs(confidence[part].mean() - (top[part] == action[part]).mean()) for part in parts]
    return {
        "brier": float(np.square(probabilities - happened).sum(1).mean()),
        "ece": float(sum(gaps)),
        "rare": float((probabilities[np.arange(n), action] < RARE).mean()),
    }


def _mixture(dataset: Dataset, outputs: np.ndarray, fold: np.ndarray, action: np.ndarray) -> Behaviour:
    """Densities from the outputs [K, N, out] of the folds; `action` is atanh of actions in [-1, 1]."""
    n, width = action.shape
    own = outputs[fold, np.arange(n)]
    log_share = _log_softmax(own[:, :COMPONENTS])
    parts = own[:, COMPONENTS:].reshape(n, COMPONENTS, 2 * width)
    means = parts[..., :width]
    stds = np.exp(np.clip(parts[..., width:], -5.0, 2.0))
    normal = norm.logpdf(action[:, None], means, stds).sum(-1) + log_share
    top = normal.max(1, keepdims=True)
    log_density = top[:, 0] + np.log(np.exp(normal - top).sum(1))
    inner = np.tanh(action)
    space: Any = dataset.action_space
    half = (np.asarray(space.high, np.float64) - space.low) / 2
    log_density -= np.log1p(-(inner**2)).sum(1) + np.log(half).sum()
    ranks = (np.exp(log_share)[..., None] * norm.cdf(action[:, None], means, stds)).sum(1)  # [N, A]
    even = (np.arange(n) + 0.5) / n
    pit = float(np.abs(np.sort(ranks, 0) - even[:, None]).max())
    return Behaviour(log_density, "estimated", {"nll": float(-log_density.mean()), "pit": pit})


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _inside(dataset: Dataset) -> np.ndarray:
    """Continuous logged actions in [-1, 1]."""
    space: Any = dataset.action_space
    middle = (np.asarray(space.high, np.float64) + space.low) / 2
    return (dataset.actions - middle) / ((np.asarray(space.high, np.float64) - space.low) / 2)
