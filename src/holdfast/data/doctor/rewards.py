"""Rewards and time: how dense rewards are, how long episodes are, and which are cut off."""

from __future__ import annotations

import numpy as np

from ..dataset import Dataset
from .findings import Finding

SPARSE = 0.05  # share of steps with a reward other than the most frequent one
CENSORED = 0.2  # share of cut episodes, above which returns are lower or upper bounds only


def density(dataset: Dataset) -> list[Finding]:
    """How many steps have a reward that says something."""
    values, counts = np.unique(dataset.rewards, return_counts=True)
    if len(values) == 1:
        text = f"Every reward is {values[0]:g}: actions differ only in how long episodes last."
        if dataset.lengths.max() == dataset.lengths.min():
            text = f"Every reward is {values[0]:g}, and all episodes are equally long: the log prefers no action."
            return [Finding("rewards", "bad", text, "check which column is the reward", {"informative": 0.0})]
        return [Finding("rewards", "note", text, numbers={"informative": 0.0})]
    share = 1 - float(counts.max()) / dataset.n_steps
    weight = dataset.weight
    mean = float(np.average(dataset.rewards, weights=weight))
    numbers = {"informative": share, "values": len(values), "mean": mean}
    weighted = "" if weight is None else " (weighted)"
    frequent = f"{values[counts.argmax()]:g}"
    text = f"{share:.1%} of the rewards differ from the most frequent one, {frequent}; mean{weighted} {mean:.4g}."
    count = round(share * dataset.n_steps)
    if dataset.n_episodes > 1 and count < 30:
        fix = "collect more: so few outcomes do not tell actions apart"
        return [Finding("rewards", "warn", f"{text} These are {count} steps.", fix, numbers)]
    kind = "Rewards are sparse: values must travel far." if share < SPARSE and dataset.lengths.max() > 1 else ""
    return [Finding("rewards", "note", f"{text} {kind}".strip(), numbers=numbers)]


def horizon(dataset: Dataset) -> list[Finding]:
    """How long episodes are, and how many are cut before their end."""
    lengths = dataset.lengths
    if lengths.max() == 1 and dataset.terminations.all():
        text = "Each decision is its own episode: there is no future to value."
        return [Finding("horizon", "note", text, numbers={"length_max": 1, "cut": 0.0})]
    last = dataset.offsets[1:] - 1
    cut = float((~dataset.terminations[last]).mean())
    median = float(np.median(lengths))
    numbers = {
        "length_min": int(lengths.min()), "length_median": median, "length_max": int(lengths.max()), "cut": cut,
        "left_out": int(dataset.provenance.get("left_out", 0)),
    }  # fmt: skip
    text = (
        f"Episodes have {lengths.min():,} to {lengths.max():,} steps, median {median:g}; {cut:.0%} are cut, not ended."
    )
    findings = []
    equal = lengths[~dataset.terminations[last]]
    limit = len(equal) > 0 and np.ptp(equal) <= 1  # a file without final observations has one step less
    if cut > CENSORED and not limit:
        fix = "do not compare returns of cut episodes; values are bootstrapped at the cut, which is right"
        findings.append(Finding("horizon", "warn", f"{text} They are cut at different lengths.", fix, numbers))
    else:
        findings.append(Finding("horizon", "note", text, numbers=numbers))
    discount = 1 - 1 / max(2.0, median)
    reach = f"A discount of {discount:.3g} reaches as far as the median episode; a smaller one ignores its end."
    return [*findings, Finding("horizon", "note", reach, numbers={"discount_of_median": discount})]
