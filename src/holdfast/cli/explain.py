"""`holdfast explain RUN --data LOG [--row N]`: where a policy departs from a log, or why it takes one action."""

from __future__ import annotations

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
    from rich.console import Console

    from ..data.dataset import Dataset
    from ..policy.policy import Policy
    from ..selection.explanation import Explanation


@dataclasses.dataclass(frozen=True)
class Args:
    """Show where a policy departs from a log and which groups gain or lose, or explain one of its decisions.

    Without --row: a table with a row for each group of each observation column. It is written to `departures.json` in
    the folder of a run, for its report and its model card. With --row: what the decision rests on, the value of each
    action, and the nearest logged transitions with their outcome.
    """

    path: Positional[Annotated[Path, arg(metavar="RUN_OR_POLICY")]]
    """Folder of a run, or of a policy (with policy.json)."""
    data: str
    """The log: a bundled name, a Minari id or folder, a .hdf5, .npz, .csv or .parquet file; for gains not what the
    policy learned from."""
    row: int | None = None
    """Number of a step of the log, from 0: explain the decision of the policy there. None: the whole log."""
    neighbours: int = 5
    """With --row: number of nearest logged transitions."""
    mode: Literal["best", "sample"] = "best"
    """How the policy will act. best: the most likely action. sample: a draw from the policy."""
    discount: float = 1.0
    """Discount of the value, above 0 and at most 1."""
    horizon: int | None = None
    """Steps of an episode. None: the time limit of the data, else their longest episode."""
    propensities: Literal["auto", "logged", "estimated", "none"] = "auto"
    """Probabilities of the logged actions, see `holdfast ope`."""
    model: Literal["linear", "neural", "none"] = "linear"
    """Model of the values, see `holdfast ope`. none: no gains, unless weights alone support them."""
    updates: int = 20_000
    """Updates of each network of --model neural."""
    bins: int = 4
    """Ranges of a column with many values."""
    seed: int = 0
    """Seed of folds, resamples and draws."""
    json: bool = False
    """Print JSON."""
    reading: DataFlags = dataclasses.field(default_factory=DataFlags)


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 if it succeeded.

    Raises:
        UserError: not a policy, not a data set, or settings that do not fit.
    """
    args = usage.parse(Args, "holdfast explain", argv)
    from rich.console import Console

    from ..policy.folder import policies_in

    data = args.reading.load(args.data)
    folders = policies_in(args.path)
    console = Console(highlight=False, markup=False)
    if args.row is None:
        return _departures(args, data, folders, console)
    from ..selection.explain import explain

    found = [(folder, explain(_with_critic(folder), data, args.row, neighbours=args.neighbours)) for folder in folders]
    if args.json:
        policies = [{"folder": str(folder), **one.to_dict()} for folder, one in found]
        sys.stdout.write(json.dumps({"policies": policies}, indent=2) + "\n")
        return 0
    for folder, one in found:
        show(folder.name, one, console)
    return 0


def _departures(args: Args, data: Dataset, folders: Sequence[Path], console: Console) -> int:
    from ..evaluation.ope.departures import HEADER
    from ..policy.policy import Policy
    from ..report.table import table_of
    from ..runs.estimates import write_departures
    from ..selection.departures import departures

    found = [
        (
            folder,
            departures(
                Policy.load(folder),
                data,
                mode=args.mode,
                discount=args.discount,
                horizon=args.horizon,
                propensities=args.propensities,
                model=args.model,
                updates=args.updates,
                bins=args.bins,
                seed=args.seed,
            ),
        )
        for folder in folders
    ]
    if (args.path / "config.json").is_file():
        write_departures(args.path, found, data.fingerprint)
    if args.json:
        policies = [{"folder": str(folder), **one.to_dict()} for folder, one in found]
        sys.stdout.write(json.dumps({"policies": policies}, indent=2) + "\n")
        return 0
    for folder, one in found:
        console.print(f"{folder.name}: {' '.join(one.sentences)}", style="bold")
        console.print(table_of(HEADER, one.table(), left=2))
        actions = [(name, f"{a:.3g}", f"{b:.3g}") for name, a, b in one.actions]
        console.print(table_of(("action", "log", "policy"), actions))
    return 0


def _with_critic(folder: Path) -> Policy:
    """The policy with the critic of its run's checkpoint if there is one."""
    from ..policy.policy import Policy
    from ..runs.folder import run_of
    from ..training.results import critic_of

    policy = Policy.load(folder)
    run = run_of(folder)
    try:
        return policy if run is None else critic_of(policy, run, folder)
    except UserError:
        return policy  # the explanation says that values are not known


def show(name: str, found: Explanation, console: Console) -> None:
    """Print the explanation of one decision.

    Args:
        name: name of the policy.
        found: the explanation.
        console: where to.
    """
    from ..report.table import table_of
    from ..selection.explanation import NEAREST_HEADER, VALUES_HEADER

    console.print(f"{name}: {found.action}", style="bold")
    for label, text in found.facts():
        console.print(f"{label}: {text}")
    if found.outputs:
        console.print("What the decision rests on (integrated gradients)")
        console.print(table_of(found.attribution_header, found.attribution_table(), left=2))
    console.print("Actions")
    console.print(table_of(VALUES_HEADER, [one.cells() for one in found.choices]))
    console.print("Nearest logged transitions")
    console.print(table_of(NEAREST_HEADER, [one.cells() for one in found.nearest]))
    for note in found.notes:
        console.print(f"note: {note}", style="yellow")
