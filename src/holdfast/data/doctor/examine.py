"""`examine`: all findings on a data set, the verdict, and which families of methods suit it."""

from __future__ import annotations

import dataclasses

from ..checks.check import check
from ..dataset import Dataset
from . import coverage, leaks, propensities, rewards
from .findings import Advice, Diagnosis, Finding, Verdict
from .sample import sample_of

SMALL = 5_000  # steps


def examine(dataset: Dataset) -> Diagnosis:
    """Look whether a log is fit for offline learning. The data set is not changed; the same data give the same answer.

    Coverage, stitching and leaks are judged on a sample of at most 4,000 steps.

    Args:
        dataset: the data set.

    Returns:
        The findings, a verdict, and the methods that suit the log.
    """
    # the horizon reports decisions of one step, which are a fault only if they are not meant
    fatal = [fault for fault in check(dataset) if fault.level == "fatal" and fault.kind != "one_step"]
    findings = [Finding("faults", "bad", f"{fault.message} ({fault.where}).", fault.fix) for fault in fatal]
    if not fatal:
        findings += _all(dataset)
    levels = {finding.level for finding in findings}
    verdict: Verdict = "not fit" if "bad" in levels else "fit with care" if "warn" in levels else "fit"
    made = Diagnosis(dataset.id, dataset.n_steps, dataset.n_episodes, verdict, tuple(findings), ())
    return made if fatal else dataclasses.replace(made, advice=tuple(advice_for(dataset, made)))


def _all(dataset: Dataset) -> list[Finding]:
    found = [*coverage.best_returns(dataset), *rewards.density(dataset), *rewards.horizon(dataset)]
    if dataset.images:
        text = "Observations are images: distances between states, stitching and leaks are not judged."
        return [*found, Finding("coverage", "note", text), *propensities.calibration(dataset)]
    sample = sample_of(dataset)
    return [
        *coverage.states(dataset, sample),
        *coverage.actions(dataset, sample),
        *found,
        *coverage.stitching(dataset, sample),
        *leaks.leaks(dataset, sample),
        *leaks.useless_columns(dataset, sample),
        *propensities.calibration(dataset),
    ]


def advice_for(dataset: Dataset, found: Diagnosis) -> list[Advice]:
    """Which methods suit the log, and why. The rules are in `docs/doctor.md`.

    Args:
        dataset: the data set.
        found: the findings on it.
    """
    informative = found.number("rewards", "informative") or 0.0
    discrete = dataset.discrete
    why = "The baseline: a method that is not better than cloning the log has learned nothing from rewards."
    said = [Advice(("bc",), why)]
    equal = dataset.n_episodes < 2 or float(dataset.returns().max()) == float(dataset.returns().min())
    if equal or (not informative and dataset.lengths.max() == dataset.lengths.min()):
        return [*said, Advice((), "Nothing else: no episode is better than another, so only imitation has a target.")]
    if dataset.images:
        names = ("iql", "discrete_cql", "discrete_bcq") if discrete else ("iql", "td3_bc", "awac")
        return [*said, Advice(names, "These learn from images. Coverage is not known here: compare them with cloning.")]
    if dataset.lengths.max() == 1:
        names = ("iql", "discrete_bcq", "crr") if discrete else ("iql", "td3_bc", "crr")
        why = "One step: values are a regression of the reward, without bootstrapping; these stay near logged actions."
        said.append(Advice(names, why))
        if dataset.propensity is not None:
            said.append(Advice((), "Propensities are logged: judge policies by weights on rows that were held out."))
        return said
    width = found.number("coverage", "action_width") or 0.0
    crossings = found.number("stitching", "crossings") or 0.0
    gain = found.number("stitching", "lasting_gain")
    combines = any(one.topic == "stitching" and one.level == "good" for one in found.findings)
    sparse = 0 < informative < rewards.SPARSE
    stitches = combines or (gain is None and sparse and crossings > coverage.CROSSINGS)
    if width < coverage.NARROW:
        names = ("discrete_bcq", "iql", "crr") if discrete else ("td3_bc", "rebrac", "iql")
        why = "Actions hardly vary where states are alike: only a policy that stays near the log can be trusted."
    elif width > coverage.WIDE:
        names = ("discrete_cql", "qr_dqn", "rem") if discrete else ("edac", "sac_n", "cql")
        why = "Actions vary widely, so values of other actions can be learned; pessimism guards what is not covered."
    else:
        names = ("discrete_cql", "iql", "discrete_bcq") if discrete else ("iql", "rebrac", "td3_bc")
        why = "Actions vary somewhat: methods between imitation and values suit it."
    said.append(Advice(names, why))
    if stitches:
        why = "Episodes cross: values that are bootstrapped over steps can combine their better parts."
        said.append(Advice(("iql",), f"{why} Rewards are sparse, and IQL does well with those." if sparse else why))
    else:
        why = "There is little to combine: cloning the best episodes comes close to what the log holds."
        said.append(Advice(("filtered_bc",), why))
    if dataset.n_steps < SMALL:
        why = f"{dataset.n_steps:,} steps are few: use small networks and several seeds, and look at the spread."
        said.append(Advice((), why))
    return said
