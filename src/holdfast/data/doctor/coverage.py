"""What the log covers: states near others, actions in each region of states, and episodes with the best returns."""

from __future__ import annotations

import numpy as np

from ..dataset import Dataset
from ..feed.columns import to_go
from .findings import Finding
from .sample import Sample, neighbours

FAR = 0.5  # of the median distance between two states: a state whose nearest neighbour is further is alone
NEAR = 0.25  # of that distance: closer states are taken as the same situation
LONELY = 0.2  # share of states that are alone, above which coverage is poor
NARROW = (
    0.15  # normalised entropy (discrete), or spread of actions within a region (continuous), below which it is narrow
)
WIDE = 0.6
FEW = 10  # episodes
CROSSINGS = 0.3  # share of states, above which parts of episodes can be combined
LASTING = 0.1  # standard deviations that a better continuation must keep
SURE = 3.0  # standard errors, by which the gain must differ from 0
ENOUGH = 30  # states whose continuations are compared


def states(dataset: Dataset, sample: Sample) -> list[Finding]:
    """How near the states of an episode are to those of others."""
    if dataset.n_episodes < 2:
        return [
            Finding("coverage", "bad", "The log has one episode: nothing can be compared with it.", "log more episodes")
        ]
    distances = neighbours(sample, 1)[2][:, 0]
    alone = float((distances > FAR).mean())
    numbers = {"nearest_median": float(np.median(distances)), "alone": alone}
    text = (
        f"The nearest state of another episode is {numbers['nearest_median']:.2f} away (1: two random states); "
        f"{alone:.0%} of the states have none within {FAR}."
    )
    if alone > LONELY:
        fix = "log more, or expect a policy that imitates: values of states that were seen once are guesses"
        return [Finding("coverage", "warn", text, fix, numbers)]
    return [Finding("coverage", "good", text, numbers=numbers)]


def actions(dataset: Dataset, sample: Sample) -> list[Finding]:
    """How much actions vary where states are alike."""
    width, single = action_width(dataset, sample)
    numbers = {"action_width": width, "single_action_regions": single, "regions": sample.regions}
    if dataset.discrete:
        what = f"The entropy of actions in a region of states is {width:.0%} of the largest"
    else:
        what = f"The spread of actions in a region of states is {width:.0%} of that of uniform actions"
    text = f"{what}, on average over {sample.regions} regions; in {single:.0%} of them there is nearly one action only."
    if width < NARROW:
        fix = "stay near the log: imitation, or a strong constraint; off-policy estimates by weights have no overlap"
        return [Finding("coverage", "warn", text, fix, numbers)]
    return [Finding("coverage", "good" if width > WIDE else "note", text, numbers=numbers)]


def action_width(dataset: Dataset, sample: Sample) -> tuple[float, float]:
    """The variety of actions within regions, from 0 to 1, and the share of regions that have nearly none.

    Discrete: the entropy divided by that of uniform actions. Continuous: the standard deviation around a linear
    function of the state, divided by that of actions that are uniform between the bounds, on average over the
    dimensions.
    """
    weights = np.bincount(sample.region, minlength=sample.regions)
    chosen = dataset.actions[sample.rows]
    each = np.zeros(sample.regions)
    for k in np.flatnonzero(weights):
        inside = chosen[sample.region == k]
        if dataset.discrete:
            shares = np.unique(inside, return_counts=True)[1] / len(inside)
            each[k] = -(shares * np.log(shares)).sum() / np.log(max(dataset.spec.action, 2))
        else:
            low = np.asarray(dataset.action_space.low, np.float64)  # type: ignore[union-attr]
            high = np.asarray(dataset.action_space.high, np.float64)  # type: ignore[union-attr]
            uniform = (high - low) / np.sqrt(12)
            left = residual(sample.states[sample.region == k], inside.astype(np.float64))
            each[k] = np.minimum(left / uniform, 1).mean()
    width = float((each * weights).sum() / weights.sum())
    single = float(weights[each < 0.02].sum() / weights.sum())
    return width, single


def residual(states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The standard deviation of actions around a linear function of the state, [A]; around their mean if rows are few.

    Args:
        states: `[n, k]`.
        actions: `[n, A]`.
    """
    n, k = states.shape
    if n < 3 * (k + 1):
        return np.asarray(actions.std(0))
    x = np.column_stack([np.ones(n), states])
    left = actions - x @ np.linalg.lstsq(x, actions, rcond=None)[0]
    return np.asarray(np.sqrt((left**2).sum(0) / (n - k - 1)))


def best_returns(dataset: Dataset) -> list[Finding]:
    """How many episodes the best returns rest on."""
    returns = dataset.returns()
    spread = float(np.ptp(returns))
    if dataset.n_episodes < 2 or not spread > 0:
        text = "All episodes have the same return: none is better than another, so there is nothing to improve on."
        return [Finding("coverage", "warn", text, "check the reward", {"best_episodes": dataset.n_episodes})]
    best = int((returns >= returns.max() - 0.1 * spread).sum())
    numbers = {"best_episodes": best, "return_mean": float(returns.mean()), "return_max": float(returns.max())}
    text = (
        f"{best:,} of {dataset.n_episodes:,} episodes are within a tenth of the range of returns "
        f"({returns.min():.4g} to {returns.max():.4g}) of the best."
    )
    if best < FEW and best < 0.05 * dataset.n_episodes:
        fix = "look at these episodes: they may be luck, or another situation; do not clone them alone"
        return [Finding("coverage", "warn", text, fix, numbers)]
    return [Finding("coverage", "note", text, numbers=numbers)]


def stitching(dataset: Dataset, sample: Sample) -> list[Finding]:
    """Whether better episodes can be made from parts: states that several episodes pass, and that some leave better.

    A state is compared with its neighbours by the rewards of the next steps. The best neighbour is chosen by the first
    half of these steps and judged by the second half, so that luck is not taken for a better continuation.
    """
    if dataset.lengths.max() == 1:
        return []
    steps = int(np.clip(np.median(dataset.lengths) // 4, 1, 25))
    first, _ = rewards_between(dataset, 0, steps)
    second, known = rewards_between(dataset, steps, 2 * steps)
    chosen, near, distances = neighbours(sample, 10)
    own = sample.rows[chosen]
    other = sample.rows[near]
    close = (distances < NEAR) & known[other]
    usable = known[own]
    if not usable.any():
        return [Finding("stitching", "note", "Episodes are too short to compare what follows a state.")]
    crossings = float(close.any(1)[usable].mean())
    best = np.where(close, first[other], -np.inf).argmax(1)
    chosen_other = other[np.arange(len(other)), best]
    better = usable & close.any(1) & (first[chosen_other] > first[own])
    spread = float(second[known].std())
    numbers: dict[str, float | int | str | None] = {"crossings": crossings, "compared": int(better.sum())}
    text = f"{crossings:.0%} of the states are passed by another episode too (within {NEAR} of the median distance)."
    if better.sum() < ENOUGH or not spread > 0:
        return [Finding("stitching", "note", f"{text} Rewards are too rare to compare what follows.", numbers=numbers)]
    gains = (second[chosen_other] - second[own])[better] / spread
    gain = float(gains.mean())
    error = float(gains.std() / np.sqrt(len(gains)))
    numbers |= {"lasting_gain": gain, "standard_error": error}
    text += (
        f" The neighbour that collects most in the next {steps} steps also collects {gain:+.2f} standard deviations "
        "more in those after them."
    )
    if crossings > CROSSINGS and gain > max(LASTING, SURE * error):
        return [Finding("stitching", "good", text + " Parts of episodes can be combined.", numbers=numbers)]
    return [Finding("stitching", "note", text + " There is little to combine.", numbers=numbers)]


def rewards_between(dataset: Dataset, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the rewards from `start` to `stop` steps after each step, [N], and whether it is known, [N].

    It is known if the episode is long enough, or truly ends before.
    """
    total = np.append(to_go(dataset.rewards, dataset.offsets, 1.0), 0.0)
    ends = np.repeat(dataset.offsets[1:], dataset.lengths)
    step = np.arange(dataset.n_steps)

    def from_there(later: int) -> np.ndarray:
        return np.where(step + later < ends, total[np.minimum(step + later, dataset.n_steps)], 0.0)

    terminal = np.repeat(dataset.terminations[dataset.offsets[1:] - 1], dataset.lengths)
    return from_there(start) - from_there(stop), (step + stop <= ends) | terminal
