"""How good a learned model is on logged data: errors over several steps, intervals, uncertainty, rewards and ends."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.feed.columns import Columns, prepare
from ..dynamics.ensemble import Ensemble
from ..dynamics.penalties import pairwise_disagreement
from ..dynamics.rollout import ended
from ..policy.dynamics import Dynamics

LEVELS = {0.5: 0.6745, 0.8: 1.2816, 0.95: 1.96}  # share of a normal within so many standard deviations
MOST = 5_000  # transitions on which single steps are compared
STARTS = 500  # logged observations from which several steps are compared


class Quality(NamedTuple):
    """What was measured. H horizons, d entries of an observation."""

    horizons: np.ndarray  # [H] steps: 1, 2, ...
    error: np.ndarray  # [H] root mean squared error, in standard deviations of the observations, over all dimensions
    each: np.ndarray  # [H, d] the same for each dimension
    persistence: np.ndarray  # [H] the error of the prediction that nothing changes
    coverage: dict[str, float]  # level -> share of single steps within the predicted interval of that level
    rank_correlation: float  # of the members' disagreement and the true error of single steps; NaN if one is constant
    reward_error: float  # root mean squared error of the reward, in standard deviations of the rewards
    ends: str  # how the model ends episodes: known, learned or never
    logged_ends: int  # true ends among the single steps
    precision: float  # of predicted ends; NaN if none was predicted
    recall: float  # of logged ends; NaN if there is none

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; a number that is not known is None."""
        found: dict[str, Any] = {}
        for name, value in self._asdict().items():
            found[name] = value.tolist() if isinstance(value, np.ndarray) else value
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in found.items()
        }


def model_quality(dynamics: Dynamics, dataset: Dataset, horizon: int = 50, seed: int = 0) -> Quality:
    """Compare a model with logged data.

    Single steps: predictions of the elites at logged transitions. Several steps: the mean of the elites, with the
    logged actions, from logged observations that have at least so many steps left in their episode.

    Args:
        dynamics: the model.
        dataset: logged data, best of episodes that the model has not seen.
        horizon: number of steps, at most; at least 1.
        seed: number from which the choice of transitions follows.

    Raises:
        UserError: a horizon below 1, or data of other shapes than the model.
    """
    if horizon < 1:
        raise UserError(f"--horizon is {horizon}, expected at least 1")
    shapes = (dynamics.spec.obs, dynamics.spec.action, dynamics.spec.discrete)
    if shapes != (dataset.spec.obs, dataset.spec.action, dataset.spec.discrete):
        raise UserError(
            f"the model takes observations {dynamics.spec.obs} and {dynamics.spec.action} actions, {dataset.id} has "
            f"{dataset.spec.obs} and {dataset.spec.action}: name other data with --data"
        )
    columns = prepare(dataset, dynamics.fitted)
    rng = np.random.default_rng(seed)
    index = np.sort(rng.choice(dataset.n_steps, min(MOST, dataset.n_steps), replace=False))
    one = _single(dynamics, columns, index)
    each, persistence = _several(dynamics, dataset, columns, min(horizon, int(dataset.lengths.max())), rng)
    horizons = np.arange(1, len(each) + 1)
    return Quality(horizons, np.sqrt(np.square(each).mean(1)), each, persistence, *one)


def _single(dynamics: Dynamics, columns: Columns, index: np.ndarray) -> tuple[Any, ...]:
    """The measurements of single steps at the transitions `index`, in the order of `Quality`."""
    at = columns.row[index]
    reward = columns.reward[index]
    terminated = columns.terminated[index]
    rows = (columns.obs[at], np.clip(columns.action[index], -1, 1), columns.obs[at + 1])
    obs, action, following = map(jnp.asarray, rows)

    @jax.jit
    def predicted(model: Ensemble) -> Any:
        mean, std = model.predict(obs, action)
        best = mean[model.elites]
        total = jnp.sqrt(jnp.square(std[model.elites]).mean(0) + best.var(0))
        over = ended(model, dynamics.rule, dynamics.ends == "learned", obs, action, following)
        return best.mean(0), total, pairwise_disagreement(mean[..., :-1]), over

    mean, total, unsure, over = (np.asarray(x, np.float64) for x in predicted(dynamics.model))
    wanted = np.concatenate([np.asarray(following - obs), reward[:, None]], -1)
    miss = np.abs(mean - wanted)
    coverage = {f"{level:.0%}": float((miss <= z * total + 1e-12).mean()) for level, z in LEVELS.items()}
    correlation = rank_correlation(unsure, np.linalg.norm(miss[:, :-1], axis=1))
    off = float(np.sqrt(np.square(miss[:, -1]).mean()) / max(float(reward.std()), 1e-6))
    said = over > 0
    true = terminated > 0
    right = float((said & true).sum())
    precision = right / said.sum() if said.any() else math.nan
    recall = right / true.sum() if true.any() else math.nan
    return coverage, correlation, off, dynamics.ends, int(true.sum()), precision, recall


def _several(
    dynamics: Dynamics, dataset: Dataset, columns: Columns, horizon: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The error of each dimension after 1, 2 ... steps [H, d], and that of no change [H], in standard deviations."""
    ends = dataset.offsets[1:][dataset.episode_of]
    left = ends - np.arange(dataset.n_steps)
    long = np.flatnonzero(left >= horizon)
    start = rng.choice(long, min(STARTS, len(long)), replace=False)
    spread = np.maximum(columns.obs.std(0), 1e-6)

    @jax.jit
    def advance(model: Ensemble, obs: jax.Array, action: jax.Array) -> jax.Array:
        mean = model.predict(obs, action)[0][model.elites].mean(0)
        return obs + mean[:, :-1]

    obs = jnp.asarray(columns.obs[columns.row[start]])
    first = np.asarray(obs)
    each, still = [], []
    for k in range(horizon):
        obs = advance(dynamics.model, obs, jnp.clip(jnp.asarray(columns.action[start + k]), -1, 1))
        true = columns.obs[columns.row[start + k] + 1]
        each.append(np.sqrt(np.square((np.asarray(obs) - true) / spread[None]).mean(0)))
        still.append(np.sqrt(np.square((first - true) / spread[None]).mean()))
    return np.asarray(each, np.float64), np.asarray(still, np.float64)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of two columns [n], ties in the middle of their ranks; NaN if one is constant."""
    of_a = _ranks(a)
    of_b = _ranks(b)
    if of_a.std() == 0 or of_b.std() == 0:
        return math.nan
    return float(np.corrcoef(of_a, of_b)[0, 1])


def _ranks(x: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts - 1) / 2)[inverse]
