"""`holdfast demo`: train, score and ship a policy on the bundled log."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from . import usage

DATA = "bundled/pendulum-mixed"


@dataclasses.dataclass(frozen=True)
class Args:
    """Train IQL with several seeds in one program on the bundled pendulum log, score the policies, and ship them."""

    out: Path = Path("runs/demo")
    """Folder of the run. If it is not empty, a free folder next to it."""
    steps: int = 5000
    """Updates of each seed."""
    seeds: int = 3
    """Number of seeds. All of them are trained in one program."""
    eval_episodes: int = 50
    """Episodes of each policy in one evaluation."""


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 if it succeeded.

    Raises:
        UserError: numbers out of range, or a disk that is full or read-only.
    """
    args = usage.parse(Args, "holdfast demo", argv, default=Args())
    from rich.console import Console
    from rich.markup import escape

    from ..core.errors import UserError
    from ..data.sources import load_dataset
    from ..report.curves import write_curve
    from ..report.table import results_table
    from ..runs.folder import free_folder
    from ..runs.presets import TUNED
    from ..runs.read import logged_returns, read_run
    from ..training.run import train

    log = Console(stderr=True, highlight=False, soft_wrap=True)
    out = args.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        out = free_folder(out.parent, out.name)
        log.print(f"{args.out} is not empty: this run is written to {out}")
    dataset = load_dataset(DATA)
    size = f"{dataset.n_steps:,} steps in {dataset.n_episodes} episodes"
    log.print(f"{DATA}: {size} of {dataset.env_id}, mean return {dataset.returns().mean():.0f}")
    train(
        "iql",
        DATA,
        preset=TUNED,
        steps=args.steps,
        seeds=args.seeds,
        out=out,
        eval_episodes=args.eval_episodes,
        eval_every=max(1, args.steps // 10),
        block=max(1, min(500, args.steps // 10)),
    )
    record = read_run(out)
    console = Console(highlight=False, soft_wrap=True)
    console.print(results_table(record, logged_returns(dataset)))
    policy = out / "policy" if args.seeds == 1 else out / "policy" / record.replicas[0]
    try:
        console.print(f"learning curve   {escape(str(write_curve(record)))}")
    except UserError as error:
        log.print(f"no picture: {error}", style="yellow")
    console.print(f"shipped policy   {escape(str(policy))}")
    console.print("\nNext:")
    for command, what in (
        (f"evaluate {out} --episodes 100", "score the policies again, with more episodes"),
        (f"report {out} --open", "everything about this run, as one page"),
        (
            f"train td3_bc --data {DATA} --preset {TUNED} --steps {args.steps} --seeds {args.seeds}",
            "another algorithm on the same log",
        ),
    ):
        console.print(f"  [dim]# {what}[/]\n  {escape(called())} {escape(command)}")
    return 0


def called() -> str:
    """How to call this command line from here: `holdfast`, or its path if it is not on the search path."""
    if shutil.which("holdfast") or Path(sys.argv[0]).name not in ("holdfast", "holdfast.exe"):
        return "holdfast"
    return os.path.relpath(sys.argv[0])
