"""What the page of a run says first: whether the policies are better than the log."""

from __future__ import annotations

import numpy as np

from ..evaluation.statistics import Estimate, average_name, difference
from ..runs.estimates import Evidence
from ..runs.read import Record
from .curves import axis_of
from .evidence import estimate_verdict
from .html import Verdict
from .table import estimate_text, number


def verdict_of(record: Record, logged: np.ndarray | None, evidence: Evidence | None = None) -> Verdict:
    """The mean return of the policies minus the mean return of the log, with its 95 % interval.

    Args:
        record: the run. Of a sweep, the best setting counts.
        logged: returns [N] of the logged episodes; None: only their mean is known, if at all.
        evidence: estimates from logged data, which count if nothing was played; None: there are none.
    """
    if not len(record.eval_steps):
        estimated = None if evidence is None else estimate_verdict(evidence)
        if estimated is not None:
            return estimated
        return Verdict(_not_evaluated(record), _log(logged))
    groups = record.groups
    best = record.best
    returns = record.final(best.rows)
    seeds, episodes = returns.shape
    details = []
    if len(groups) > 1:
        details.append(
            f"{best.label} is the best of {len(groups)} settings. It is chosen by these returns, so its return is too "
            "high if there are many settings."
        )
    if seeds == 1:
        details.append("The interval covers the episodes of one seed, and not the differences between seeds.")
    if record.result is None:
        details.append(f"The run is not finished: this is step {int(record.eval_steps[-1]):,}.")
    who = f"{best.label} " if len(groups) > 1 else ""
    if logged is None and record.logged is None:
        found = record.average(best.rows)
        kind = average_name(seeds) if seeds > 1 else "mean"
        unit = axis_of(record).rpartition("then ")[2]
        text = f"{who}{kind} return {estimate_text(found)} after {int(record.eval_steps[-1]):,} {unit}"
        return Verdict(f"{text[0].upper()}{text[1:]}.", [_counts(seeds, episodes), *details])
    log = np.array([record.logged]) if logged is None else logged
    found = difference(returns, log[None])
    whose = "whose interval is not known" if logged is None else f"of {len(log):,} logged episodes"
    details.insert(
        0,
        f"Mean return {number(float(returns.mean()))} of {_counts(seeds, episodes)} minus mean return "
        f"{number(float(log.mean()))} {whose}, with the 95 % bootstrap interval of the difference.",
    )
    sentence, tone = _sentence(found)
    text = f"{who}{sentence}"
    return Verdict(f"{text[0].upper()}{text[1:]}.", details, tone)


def _sentence(found: Estimate) -> tuple[str, str]:
    """The sentence on a difference, and its tone."""
    if found.low is None or found.high is None:
        word = "above" if found.value > 0 else "below"
        return f"{number(abs(found.value))} {word} the log, from one episode", ""
    if found.low > 0:
        return f"beats the log by {estimate_text(found)}", "good"
    if found.high < 0:
        return f"falls short of the log by {estimate_text(Estimate(-found.value, -found.high, -found.low))}", "bad"
    return f"no clear difference from the log: {estimate_text(found)}", ""


def _not_evaluated(record: Record) -> str:
    if not record.config.get("evaluate", True):
        return "The policies were not evaluated (--no-eval)."
    if record.result is None:
        return "The policies have not been evaluated yet."
    return "The return of these policies is not known: the data name no environment to play in."


def _log(logged: np.ndarray | None) -> list[str]:
    from ..evaluation.statistics import mean_interval

    if logged is None or not len(logged):
        return []
    return [f"The mean return of the log is {estimate_text(mean_interval(logged))} over {len(logged):,} episodes."]


def _counts(seeds: int, episodes: int) -> str:
    return f"{seeds} seed{'s' * (seeds > 1)} in {episodes} episode{'s' * (episodes > 1)} each"
