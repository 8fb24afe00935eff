"""How much the weights of a log can support, and the reasons to refuse an estimate."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from .doubly_robust import correction_terms
from .intervals import standard_error
from .log import Log
from .model_values import Doubt

FEWEST_EPISODES = 20
FEWEST_EFFECTIVE = 10  # effective episodes at the last step of importance sampling
EFFECTIVE_SHARE = 0.01  # of all episodes
FEWEST_EFFECTIVE_DR = 5
ENOUGH_EFFECTIVE = 50  # fewer: a warning
LARGEST_SHARE = 0.3  # of one episode in all weights
LARGEST_Z = 3.0  # deviations of the mean weight from 1
WORST_CONDITION = 1e8
LARGEST_DOUBT = 0.05  # error of a model that the interval does not show, as a share of the range of returns
MATERIAL = 0.5  # standard errors; an interval of 95 % that is wrong by as much still covers 92 %
DOMINANT = 2.0  # standard errors: half of such an interval


@dataclasses.dataclass(frozen=True, eq=False)
class Support:
    """What the weights of a log say about it, step by step."""

    effective: np.ndarray  # [T] (sum w)^2 / sum w^2
    largest: np.ndarray  # [T] the largest share of one episode
    zero: np.ndarray  # [T] share of episodes with weight 0
    z: np.ndarray  # [T] (mean w - 1) / its standard error
    impossible: int  # rows whose action has the propensity 0, but not under the policy
    horizon: int  # steps up to which at least `ENOUGH_EFFECTIVE` effective episodes exist: the evaluable horizon

    @property
    def last(self) -> float:
        """Effective number of episodes at the last step."""
        return float(self.effective[-1])


def support_of(log: Log) -> Support:
    """The diagnostics of the weights of a log."""
    scaled = log.scaled
    counted = log.counted.sum(0)
    total = scaled.sum(0)
    squares = np.square(scaled).sum(0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        effective = np.where(squares > 0, total**2 / squares, 0.0)
        largest = np.where(total > 0, scaled.max(0) / total, 1.0)
        inside = np.where(log.counted, log.weight, 0.0)
        means = inside.sum(0) / counted
        spread = np.sqrt((np.where(log.counted, inside - means, 0.0) ** 2).sum(0) / np.maximum(counted - 1, 1))
        z = (means - 1) / np.maximum(spread / np.sqrt(counted), 1e-12)
    assert log.log_ratio is not None
    enough = np.flatnonzero(effective < ENOUGH_EFFECTIVE)
    return Support(
        effective=effective,
        largest=largest,
        zero=1 - (scaled > 0).sum(0) / np.maximum(counted, 1),
        z=np.where(np.isfinite(z), np.where(np.abs(means - 1) < 1e-9, 0.0, z), 0.0),
        impossible=int((np.isposinf(log.log_ratio) & log.alive).sum()),
        horizon=int(enough[0]) if len(enough) else log.steps,
    )


def weight_faults(support: Support, n: int, robust: bool) -> list[str]:
    """Why an estimate with these weights is refused; empty if it is not.

    Args:
        support: the diagnostics.
        n: number of episodes.
        robust: for estimators with a model, which need fewer effective episodes.
    """
    found = []
    least = FEWEST_EFFECTIVE_DR if robust else max(FEWEST_EFFECTIVE, EFFECTIVE_SHARE * n)
    if support.impossible:
        found.append(f"{support.impossible} logged actions have the propensity 0")
    if support.last < least:
        found.append(
            f"the weights leave {support.last:.1f} effective episodes of {n} at the last step, {least:.0f} are needed"
        )
    if support.largest[-1] > LARGEST_SHARE:
        found.append(
            f"one episode has {support.largest[-1]:.0%} of all weight, at most {LARGEST_SHARE:.0%} is expected"
        )
    if np.mean(np.abs(support.z) > LARGEST_Z) > 0.5:
        found.append("the mean weight differs from 1 at most steps: the propensities are wrong")
    return found


def weight_warnings(support: Support) -> list[str]:
    """What a reader of an estimate with these weights must know."""
    found = []
    if support.last < ENOUGH_EFFECTIVE:
        found.append(f"only {support.last:.0f} effective episodes at the last step")
    off = int((np.abs(support.z) > LARGEST_Z).sum())
    if off:
        found.append(
            f"the mean weight differs from 1 by more than 3 standard errors at {off} of {len(support.z)} steps"
        )
    return found


def model_warnings(log: Log) -> list[str]:
    """Whether the logged rewards contradict the model of a doubly robust estimate."""
    terms = correction_terms(log)
    error = standard_error(terms, log.cluster)
    if error > 0 and abs(terms.mean()) > 2 * error:
        return [f"the data contradict the model: the correction is {terms.mean():.3g} +- {error:.2g}"]
    return []


def material(doubts: Sequence[Doubt], error: float) -> list[Doubt]:
    """The doubts that matter for the interval of an estimate.

    Args:
        doubts: errors of a model that the interval does not show.
        error: standard error of what is reported.
    """
    return [doubt for doubt in doubts if doubt.amount > MATERIAL * error]


def doubt_faults(doubts: Sequence[Doubt], error: float, spread: float) -> list[str]:
    """Why an estimate with these doubts is refused; empty if it is not.

    Args:
        doubts: errors of a model that the interval does not show.
        error: standard error of what is reported.
        spread: range of the logged returns.
    """
    most = max(DOMINANT * error, LARGEST_DOUBT * spread)
    return [
        f"{doubt.what} by {doubt.amount / max(spread, 1e-12):.0%} of the range of returns: {doubt.remedy}"
        for doubt in doubts
        if doubt.amount > most
    ]


def doubt_warnings(doubts: Sequence[Doubt]) -> list[str]:
    """What a reader of an estimate with these doubts must know."""
    return [f"{doubt.what} by {doubt.amount:.3g}, so the interval is wider: {doubt.remedy}" for doubt in doubts]


def propensity_faults(propensity: np.ndarray, discrete: bool) -> list[str]:
    """Faults of logged propensities, [N]: outside (0, 1], or not finite.

    Args:
        propensity: probabilities of discrete actions, or densities of continuous ones.
        discrete: whether they are probabilities.
    """
    wrong = ~(propensity > 0) | ~np.isfinite(propensity) | (discrete & (propensity > 1))
    if not wrong.any():
        return []
    row = int(np.argmax(wrong))
    expected = "in (0, 1]" if discrete else "above 0"
    return [f"{int(wrong.sum())} propensities, the first one {propensity[row]:g} in row {row}, expected {expected}"]


def joined(texts: Sequence[str]) -> str:
    """Reasons as one line."""
    return "; ".join(texts)
