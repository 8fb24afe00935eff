"""`select`: which policy to use, of the final and kept policies of several runs, by estimates from a log."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..core.shown import facts_html, line, table_html
from ..core.spec import Mode
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..evaluation.ope import metrics
from ..evaluation.ope.estimators import ESTIMATORS, USUAL
from ..evaluation.ope.result import PREFERRED, OpeResult, bounds, number, signed
from ..policy.folder import policies_in
from ..policy.policy import Policy
from ..runs import csv_tables
from ..runs.folder import RunFolder, run_of
from .neural import UPDATES
from .ope import Model, Propensities, ope

HEADER = ("rank", "policy", "estimate", "interval", "against the log", "P(best)", "true return")


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """One policy with its estimate."""

    folder: Path
    name: str
    result: OpeResult
    best: float = 0.0  # share of the joint resamples in which its value is the highest
    true: float | None = None  # mean return in an evaluation of its run


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """Policies, the one with the highest estimate first."""

    dataset: str
    estimator: str
    candidates: tuple[Candidate, ...]

    @property
    def chosen(self) -> Candidate:
        """The policy with the highest estimate."""
        return self.candidates[0]

    @property
    def checks(self) -> dict[str, float]:
        """Rank correlation and regret against true returns; empty unless every policy has one."""
        true = [one.true for one in self.candidates]
        if any(value is None for value in true) or len(true) < 2:
            return {}
        known = np.array(true, float)
        values = np.array([one.result[self.estimator].value for one in self.candidates], float)
        found = {"rank correlation": metrics.rank_correlation(known, values)}
        found |= {f"regret@{k}": metrics.regret(known, values, k) for k in (1, 3) if k < len(known)}
        return {name: value for name, value in found.items() if np.isfinite(value)}

    def table(self) -> list[tuple[str, ...]]:
        """The cells of every policy, see `HEADER`."""
        rows: list[tuple[str, ...]] = []
        for rank, one in enumerate(self.candidates, 1):
            row = one.result[self.estimator]
            true = "" if one.true is None else number(one.true)
            cells = (bounds(row.interval), signed(row.difference), f"{one.best:.2f}", true)
            rows.append((str(rank), one.name, number(row.value), *cells))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        policies = [
            {"folder": str(c.folder), "name": c.name, "p_best": c.best, "true": c.true, "ope": c.result.to_dict()}
            for c in self.candidates
        ]
        return {"dataset": self.dataset, "estimator": self.estimator, "policies": policies, "checks": self.checks}

    def __repr__(self) -> str:
        about = f"{self.chosen.name} of {len(self.candidates)} policies, P(best) {self.chosen.best:.2f}"
        return line("Selection", f"{about}, by {self.estimator} on {self.dataset}")

    def _repr_html_(self) -> str:
        facts = [("data", self.dataset), ("estimator", self.estimator)]
        facts += [(name, f"{value:.2f}") for name, value in self.checks.items()]
        return facts_html(repr(self), facts) + table_html("policies", HEADER, self.table())


def select(
    runs: Sequence[str | Path],
    data: Dataset | str | Path,
    *,
    estimator: str | None = None,
    mode: Mode = "best",
    discount: float = 1.0,
    horizon: int | None = None,
    endless: bool = False,
    propensities: Propensities = "auto",
    model: Model = "linear",
    updates: int = UPDATES,
    level: float = 0.95,
    seed: int = 0,
) -> Selection:
    """Rank the policies of runs by their estimated values. All are estimated on the same resamples of the log.

    Args:
        runs: folders of runs or policies. The policies that a run kept (`keep_policies`) are ranked too.
        data: the log, or its name. It should not be the data that the policies learned from.
        estimator: the estimator to rank by; None: the first of dr, wdr, sn_pdis, wis and fqe that no policy is refused.
        mode: how the policies will act.
        discount: as for `ope`.
        horizon: as for `ope`.
        endless: as for `ope`.
        propensities: as for `ope`.
        model: as for `ope`.
        updates: as for `ope`.
        level: confidence level.
        seed: seed of folds, resamples and draws.

    Raises:
        UserError: fewer than two policies, or no estimator that all policies have.
    """
    folders = folders_of(runs)
    dataset = data if isinstance(data, Dataset) else load_dataset(data)
    names = USUAL if estimator is None else (estimator,)
    results = [
        ope(
            Policy.load(folder),
            dataset,
            estimators=names,
            mode=mode,
            discount=discount,
            horizon=horizon,
            endless=endless,
            propensities=propensities,
            model=model,
            updates=updates,
            level=level,
            seed=seed,
        )
        for folder in folders
    ]
    chosen = _common(results, names)
    share = best_shares(results, chosen)
    values = [one[chosen].value for one in results]
    order = np.argsort([-value for value in values if value is not None], kind="stable")
    candidates = [
        Candidate(folders[i], name_of(folders[i]), results[i], float(share[i]), _true(folders[i])) for i in order
    ]
    return Selection(dataset.id, chosen, tuple(candidates))


def best_shares(results: Sequence[OpeResult], estimator: str | None = None) -> np.ndarray:
    """The probability of each policy that it has the highest value: its share of the joint resamples, [P].

    Args:
        results: estimates on the same resamples of one log.
        estimator: the estimator; None: the first preferred one that is refused for no policy.

    Raises:
        UserError: every estimator is refused for some policy.
    """
    names = [row.name for row in results[0].rows]
    chosen = _common(results, names) if estimator is None else estimator
    draws = np.stack([_drawn(one, chosen) for one in results])
    return np.asarray(np.bincount(draws.argmax(0), minlength=len(results)) / draws.shape[1])


def _drawn(result: OpeResult, name: str) -> np.ndarray:
    """Values of the resamples of an estimator, [B]."""
    found = result[name].draws
    assert found is not None
    return found


def _common(results: Sequence[OpeResult], names: Sequence[str]) -> str:
    """The first preferred estimator that is refused for no policy.

    Raises:
        UserError: every estimator is refused for some policy; the message has the reasons for the last one.
    """
    order = [name for name in (*PREFERRED, *ESTIMATORS) if name in names]
    for name in order:
        if all(one[name].value is not None for one in results):
            return name
    fault = next(one[order[-1]].refused for one in results if one[order[-1]].value is None)
    raise UserError(f"no estimator is given for all {len(results)} policies; {order[-1]}: {'; '.join(fault)}")


def folders_of(runs: Sequence[str | Path]) -> list[Path]:
    """The policies of runs, those that they kept included, or of policy folders.

    Raises:
        UserError: fewer than two policies.
    """
    folders = list(dict.fromkeys(folder for run in runs for folder in _folders(Path(run))))
    if len(folders) < 2:
        raise UserError(f"{len(folders)} policies to choose from: name more runs, or runs that kept policies")
    return folders


def _folders(path: Path) -> list[Path]:
    """The policies of a run, those that it kept included, or of a policy folder."""
    kept = sorted((path / "policies").glob("step-*"), key=lambda one: int(one.name.removeprefix("step-")))
    found = [folder for one in kept for folder in policies_in(one)]
    last = policies_in(path)
    steps = {Policy.load(folder).info.get("step") for folder in found}
    return found + [folder for folder in last if Policy.load(folder).info.get("step") not in steps]


def name_of(folder: Path) -> str:
    """A policy by its run and its place in it."""
    run = run_of(folder)
    return folder.name if run is None else str(Path(run.name) / folder.absolute().relative_to(run))


def _true(folder: Path) -> float | None:
    """The mean return of a policy in the evaluation of its run at its step; None if it was not evaluated."""
    run = run_of(folder)
    if run is None or not RunFolder(run).evaluations.is_file():
        return None
    info = Policy.load(folder).info
    rows = csv_tables.read(RunFolder(run).evaluations)
    returns = [
        float(row["return"])
        for row in rows
        if int(row["step"]) == info.get("step") and int(row["seed"]) == info.get("seed")
    ]
    swept = info.get("sweep") or {}
    return float(np.mean(returns)) if returns and not swept else None
