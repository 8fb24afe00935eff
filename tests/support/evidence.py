"""A run whose policies have estimates, departures and a score of support, as the commands leave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.evaluation.ope import linear
from holdfast.evaluation.ope.departures import Departures
from holdfast.evaluation.ope.result import OpeResult
from holdfast.runs.estimates import write_departures, write_estimates
from support.made_runs import make_run
from support.valued import follower, gaussian_log

LOG = gaussian_log(200)


def estimated() -> OpeResult:
    """Estimates of a policy that is nearly the best one, some of them refused."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "WIDTH", 60)
        return holdfast.ope(follower(LOG), LOG, bandwidth=0.1, estimators=("fqe", "tis", "dr"))


def departed() -> Departures:
    """Its departures, with a score of support."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "WIDTH", 60)
        return holdfast.departures(follower(LOG).with_support(LOG, rows=100), LOG)


def run_with(path: Path, estimate: OpeResult, changes: Departures | None, evaluated: bool = False, **more: Any) -> Path:
    """A run of two seeds whose policies have estimates.

    Args:
        path: the folder.
        estimate: the estimates of both policies.
        changes: the departures of the first one; None: they are not known.
        evaluated: whether it has evaluations.
        more: other entries of config.json.
    """
    run = make_run(path, evaluated=evaluated, **more)
    folders = [run / "policy" / f"seed-{seed}" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        policy = follower(LOG, 0.5 - seed)
        policy.info |= {"step": 30, "seed": seed, "dataset": "made/up-v0"}
        policy.with_support(LOG, rows=100).save(folder)
    write_estimates(run, [(folder, estimate) for folder in folders], LOG.fingerprint, [0.7, 0.3])
    if changes is not None:
        write_departures(run, [(folders[0], changes)], LOG.fingerprint)
    return run
