"""`holdfast dynamics check RUN`: how good a learned model is."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..core.errors import UserError, unknown
from ..core.files import write_atomic, write_json
from . import usage
from .options import DataFlags


@dataclasses.dataclass(frozen=True)
class Check:
    """Compare a learned model with logged data: errors over several steps, intervals, uncertainty, rewards and ends."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """A run with a learned model, or the folder of the model."""
    data: str | None = None
    """Data to compare with, best of episodes that the model has not seen. None: the data of the run."""
    reading: DataFlags = dataclasses.field(default_factory=DataFlags)
    horizon: int = 50
    """Number of steps, at most."""
    seed: int = 0
    """Seed of the choice of transitions."""
    out: Path | None = None
    """Folder of the files dynamics-check.json and dynamics-check.png. None: the folder of the model."""
    json: bool = False
    """Print all numbers as JSON, and write no file."""

    def start(self) -> int:
        """Measure, print and write."""
        from rich.console import Console

        from ..evaluation.model_quality import model_quality
        from ..policy.dynamics import Dynamics, dynamics_folder
        from ..report.drawing import png
        from ..report.model_picture import draw_quality
        from ..report.table import table_of

        folder = dynamics_folder(self.run)
        model = Dynamics.load(folder)
        name = self.data or model.info.get("dataset")
        if not name:
            raise UserError(f"{self.run} was trained on data in memory: name data with --data")
        found = model_quality(model, self.reading.load(str(name)), self.horizon, self.seed)
        if self.json:
            sys.stdout.write(json.dumps(found.to_dict(), indent=2) + "\n")
            return 0
        console = Console(highlight=False, markup=False)
        shown = [k for k in (1, 2, 5, 10, 20, 50) if k <= len(found.horizons)]
        rows = [(str(k), f"{found.error[k - 1]:.3g}", f"{found.persistence[k - 1]:.3g}") for k in shown]
        console.print(table_of(("steps", "error", "error of no change"), rows))
        facts = [
            *((f"within the {level} interval", f"{share:.1%}") for level, share in found.coverage.items()),
            ("rank correlation of disagreement and error", f"{found.rank_correlation:.2f}"),
            ("error of the reward", f"{found.reward_error:.3g}"),
            (f"ends ({found.ends}): logged", str(found.logged_ends)),
            ("ends: precision", f"{found.precision:.2f}"),
            ("ends: recall", f"{found.recall:.2f}"),
        ]
        console.print(table_of(("single steps", ""), facts))
        out = self.out or folder
        write_json(out / "dynamics-check.json", found.to_dict())
        write_atomic(out / "dynamics-check.png", png(draw_quality(found)))
        sys.stdout.write(f"{out / 'dynamics-check.json'}\n{out / 'dynamics-check.png'}\n")
        return 0


def main(argv: Sequence[str]) -> int:
    """Run `holdfast dynamics check` and return its exit code.

    Raises:
        UserError: a mistake in the flags, no model, or data of other shapes.
    """
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(overview())
        return 0
    if argv[0] not in subcommands():
        raise unknown("command of holdfast dynamics", argv[0], subcommands())
    return usage.parse(subcommands()[argv[0]], f"holdfast dynamics {argv[0]}", argv[1:]).start()


def subcommands() -> dict[str, type[Check]]:
    """The flags of each command of `holdfast dynamics`."""
    return {"check": Check}


def overview() -> str:
    """What `holdfast dynamics --help` prints."""
    return (
        "usage: holdfast dynamics COMMAND ...   (holdfast dynamics COMMAND --help: all flags)\n\n"
        "  check     compare a learned model with logged data\n"
    )
