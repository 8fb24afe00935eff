"""`holdfast studies NAME`: the experiments of papers."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..core.errors import unknown
from . import usage

if TYPE_CHECKING:
    from rich.table import Table

    from ..studies.result import Result, Row

# name -> (module of `holdfast.studies` with `Args` and `run(args) -> Result`, description)
STUDIES = {
    "aca": ("aca", "ACA offline, aligned and online, against SAC and CQL without alignment; Q against log pi"),
    "batch-constrained": ("batch_constrained", "extrapolation error in finite problems, with the exact solution"),
    "bcq-bipedalwalker": ("bcq_bipedalwalker", "BCQ, BC and DDPG on expert, random and imperfect logs of a walker"),
    "bcq-regimes": ("bcq_regimes", "DDPG, BC, VAE-BC and BCQ on the same task, logged in four ways"),
    "chunks": ("chunks", "one-step, n-step and chunked learners in a corridor with one reward at its end"),
    "comparison": ("comparison", "the tables of COMBO and UWAC on the logs at hand, with the published scores"),
    "decentralised": ("decentralised", "teams that learn from logs: matrix games with exact values, then Spread"),
    "duality": ("duality", "DICE estimates and ratios against exact ones; OptiDICE and AlgaeDICE on a log"),
    "model-based": ("model_based", "penalties of learned models and true errors; MOPO, MOReL's bound, COMBO and CQL"),
    "multimodal": ("multimodal", "Gaussian, flow and diffusion policies and a VAE on a log with two groups of actions"),
    "obac": ("obac", "OBAC against SAC and against a constraint that is always on; the gate over time"),
    "obac-motivation": ("obac_motivation", "SAC, IQL on SAC's replay, and IQL that collects for itself"),
    "overestimation": (
        "overestimation",
        "estimates of every method during training, against true returns",
    ),
    "sequence": ("sequence", "DT, %BC, BC and IQL with immediate and with delayed rewards; reached and asked returns"),
}


@dataclasses.dataclass(frozen=True)
class Where:
    """Where to write the files of a study."""

    out: Path = Path("studies")
    """Folder of NAME.json, NAME.csv and NAME.png."""


def main(argv: Sequence[str]) -> int:
    """Run a study, print its table and write its files.

    Raises:
        UserError: the study is unknown, a flag is wrong, or a file cannot be written.
    """
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(overview())
        return 0
    if argv[0] not in STUDIES:
        raise unknown("study", argv[0], STUDIES)
    study = module_of(argv[0])
    default = flags(study)
    prog = f"holdfast studies {argv[0]}"
    given: Any = usage.parse(type(default), prog, argv[1:], default=default)

    from rich.console import Console

    from ..studies.result import write

    result = study.run(given.study)
    width = None if sys.stdout.isatty() else 120  # no line breaks at column 80 in a file
    console = Console(highlight=False, soft_wrap=True, width=width)
    console.print(table(result))
    for note in result.notes:
        console.print(note)
    for path in write(result, given.files.out):
        sys.stdout.write(f"{path}\n")
    return 0


def module_of(name: str) -> ModuleType:
    """The module of a study, with its `Args` and `run`."""
    return importlib.import_module(f"...studies.{STUDIES[name][0]}", __name__)


def flags(study: ModuleType) -> Any:
    """The flags of a study and of its files, with their defaults."""
    made = dataclasses.make_dataclass("Args", [("study", study.Args), ("files", Where)])
    made.__doc__ = study.Args.__doc__
    return made(study.Args(), Where())


def subcommands() -> dict[str, Any]:
    """The flags of each study."""
    return {name: flags(module_of(name)) for name in STUDIES}


def table(result: Result) -> Table:
    """The rows of a result for the terminal. Equal first columns of neighbouring rows are printed once."""
    from rich import box
    from rich.table import Table

    made = Table(*result.header, box=box.SIMPLE_HEAD, title=result.title, title_justify="left")
    before: Row = ()
    for row in result.rows:
        same = before[:2] == row[:2]
        if before and not same:
            made.add_section()
        cells = [number(x) if isinstance(x, float) else str(x) for x in row]
        made.add_row(*(["", "", *cells[2:]] if same else cells))
        before = row
    return made


def number(x: float) -> str:
    """A number with three decimals, or one decimal from 100 on."""
    return f"{x:.3f}" if abs(x) < 100 else f"{x:.1f}"


def overview() -> str:
    """The text of `holdfast studies --help`."""
    lines = [f"  {name:<20} {text}" for name, (_, text) in STUDIES.items()]
    return "usage: holdfast studies NAME ...   (holdfast studies NAME --help)\n\n" + "\n".join(lines) + "\n"
