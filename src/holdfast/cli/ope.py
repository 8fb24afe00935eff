"""`holdfast ope RUN_OR_POLICY --data LOG`: the value of policies from logged data."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ..core.errors import UserError
from . import usage
from .options import DataFlags

if TYPE_CHECKING:
    from ..evaluation.ope.result import OpeResult

REFUSED = 4  # exit status


@dataclasses.dataclass(frozen=True)
class Args:
    """Estimate the value of the policies of a run, or of one policy, from logged data without an environment.

    The estimates of a run are written to `estimates.json` in its folder, for its report, its model card and
    comparisons. The exit status is 4 if an estimator that was named is refused, or without names, if all are refused.
    """

    path: Positional[Annotated[Path, arg(metavar="RUN_OR_POLICY")]]
    """Folder of a run, or of a policy (with policy.json)."""
    data: str
    """The log: a bundled name, a Minari id or folder, a .hdf5 or .npz file; not what the policy learned from."""
    estimators: tuple[str, ...] = ()
    """Names of estimators: fqe, tis, pdis, wis, sn_pdis, mis, dr, wdr, magic, mdr, dice, dr_os, dr_switch, or all.
    None: the usual ones. dice needs --endless and --discount."""
    mode: Literal["best", "sample"] = "best"
    """How the policy will act. best: the most likely action. sample: a draw from the policy."""
    discount: float = 1.0
    """Discount of the value, above 0 and at most 1."""
    horizon: int | None = None
    """Steps of an episode. None: the time limit of the data, else their longest episode."""
    endless: bool = False
    """Estimate the discounted value without a horizon."""
    propensities: Literal["auto", "logged", "estimated", "none"] = "auto"
    """Probabilities of the logged actions. auto: the column behaviour_log_prob, else estimated from the data."""
    model: Literal["linear", "neural", "quantile", "none"] = "linear"
    """Model of the values. linear: linear in features, in seconds. neural: networks, in minutes. quantile: networks of
    quantiles of the return."""
    updates: int = 20_000
    """Updates of each network of --model neural and quantile, and of the ratios of dice."""
    bandwidth: float | None = None
    """Smooth a deterministic policy by a kernel of this half width, as a share of half the range of actions. For
    episodes of at most three steps."""
    interval: Literal["bootstrap", "t"] = "bootstrap"
    """Intervals by the bootstrap over episodes, or Student's t with the delta method."""
    level: float = 0.95
    """Confidence level."""
    tail: float = 0.1
    """Share of the worst returns whose mean is printed."""
    below: tuple[float, ...] = ()
    """Returns c whose P(return < c) is printed."""
    return_range: tuple[float, float] | None = None
    """Smallest and largest possible return, for bounds with a guarantee."""
    seed: int = 0
    """Seed of folds, resamples and draws."""
    force: bool = False
    """Print estimates that are refused, with the reasons."""
    json: bool = False
    """Print JSON."""
    reading: DataFlags = dataclasses.field(default_factory=DataFlags)


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 if every estimate that was asked for is given, else 4.

    Raises:
        UserError: not a policy, not a data set, or settings that do not fit.
    """
    args = usage.parse(Args, "holdfast ope", argv)
    from ..policy.folder import policies_in
    from ..policy.policy import Policy
    from ..runs.estimates import write_estimates
    from ..selection.ope import ope
    from ..selection.select import best_shares

    data = args.reading.load(args.data)
    folders = policies_in(args.path)
    found = [
        ope(
            Policy.load(folder),
            data,
            estimators=args.estimators or None,
            mode=args.mode,
            discount=args.discount,
            horizon=args.horizon,
            endless=args.endless,
            propensities=args.propensities,
            model=args.model,
            updates=args.updates,
            bandwidth=args.bandwidth,
            interval=args.interval,
            level=args.level,
            tail=args.tail,
            below=args.below,
            return_range=args.return_range,
            seed=args.seed,
            force=args.force,
        )
        for folder in folders
    ]
    if (args.path / "config.json").is_file() and not args.force:
        shares = None
        with contextlib.suppress(UserError):  # no estimator is given for all of them
            shares = best_shares(found).tolist() if len(found) > 1 else None
        write_estimates(args.path, list(zip(folders, found, strict=True)), data.fingerprint, shares)
    if args.json:
        policies = [{"folder": str(f), **one.to_dict()} for f, one in zip(folders, found, strict=True)]
        sys.stdout.write(json.dumps({"policies": policies}, indent=2) + "\n")
    else:
        for folder, one in zip(folders, found, strict=True):
            show(folder.name, one)
    named = any(row.value is None for one in found for row in one.rows) if args.estimators else False
    return REFUSED if named or any(one.refused for one in found) else 0


def show(name: str, found: OpeResult) -> None:
    """Print the estimates of one policy.

    Args:
        name: name of the policy.
        found: its estimates.
    """
    from rich.console import Console

    from ..evaluation.ope.result import HEADER
    from ..report.table import table_of

    console = Console(highlight=False, markup=False)
    console.print(f"{name}: {found.verdict}", style="bold")
    for label, text in found.facts():
        console.print(f"{label}: {text}")
    if found.table():
        console.print(table_of(HEADER, found.table()))
    for names, reason in found.refusals():
        console.print(f"refused: {names}: {reason}", style="yellow")
    for text in found.warnings:
        console.print(f"warning: {text}", style="yellow")
