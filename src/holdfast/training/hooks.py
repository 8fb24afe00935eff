"""Hooks watch a run. They get plain numbers, never a state, and cannot change the training."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..evaluation.evaluate import Evaluation
from ..runs.folder import RunFolder
from ..runs.settings import Replica, Settings


class Start(NamedTuple):
    """A run is about to train."""

    folder: RunFolder
    settings: Settings
    replicas: list[Replica]
    steps: int  # of a replica in all phases
    step: int  # where training starts: 0, or the step of the checkpoint


class Block(NamedTuple):
    """A block of updates is done. R replicas."""

    phase: str
    step: int  # of a replica so far, in all phases
    metrics: dict[str, np.ndarray]  # name -> [R], NaN if a replica reported nothing
    seconds: float
    updates: int  # of all replicas together, in this block


class Evaluated(NamedTuple):
    """An evaluation is done."""

    step: int
    evaluation: Evaluation


class Hook:
    """Base class of hooks. Every method does nothing; override the ones that you need."""

    def start(self, start: Start) -> None:
        """The run is about to train."""

    def compiled(self, phase: str, seconds: float) -> None:
        """The program of a phase is compiled, which took `seconds`."""

    def block(self, block: Block) -> None:
        """A block of updates is done."""

    def evaluated(self, evaluated: Evaluated) -> None:
        """An evaluation is done."""

    def note(self, text: str) -> None:
        """A hint about the run that can be ignored."""

    def warn(self, text: str) -> None:
        """Something is probably wrong, and training continues."""

    def end(self, result: dict[str, Any] | None) -> None:
        """The run has ended; `result` is the contents of `result.json`, None if it ended before its last step."""


def by_setting(replicas: Sequence[Replica]) -> list[list[int]]:
    """Indices of the replicas that differ only in their seed, for each combination of swept values."""
    found: dict[tuple[tuple[str, float], ...], list[int]] = {}
    for i, replica in enumerate(replicas):
        found.setdefault(tuple(replica.values.items()), []).append(i)
    return list(found.values())


class Progress(Hook):
    """A progress bar with updates per second and remaining time; plain lines if the output is not a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)
        self.bar: Any = None
        self.task: Any = None
        self.tenths = 0  # of the run, printed so far
        self.returned = ""
        self.settings: list[list[int]] = []  # replicas of each combination of swept values

    def start(self, start: Start) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.steps = start.steps
        self.settings = by_setting(start.replicas)
        count = len(start.replicas)
        runs = f"{count} runs in one program" if count > 1 else "1 run"
        self.console.print(
            f"{start.settings.algorithm} on {start.settings.subject}: {runs}, into {start.folder.path}",
            highlight=False,
            soft_wrap=True,
        )
        if not self.console.is_terminal:
            return
        columns = (
            TextColumn("{task.fields[phase]}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[returned]}"),
        )  # fmt: skip
        self.bar = Progress(*columns, console=self.console)
        self.task = self.bar.add_task(
            "", total=self.steps, completed=start.step, phase="compiling", speed="", returned=""
        )
        self.bar.start()

    def compiled(self, phase: str, seconds: float) -> None:
        if self.bar:
            self.bar.update(self.task, phase=phase)

    def block(self, block: Block) -> None:
        speed = f"{block.updates / block.seconds:,.0f} updates/s"
        if self.bar:
            self.bar.update(self.task, completed=block.step, speed=speed, phase=block.phase)
        elif block.step * 10 // self.steps > self.tenths or block.step >= self.steps:
            self.tenths = block.step * 10 // self.steps
            self.console.print(f"{block.phase} {block.step}/{self.steps}  {speed}  {self.returned}", highlight=False)

    def evaluated(self, evaluated: Evaluated) -> None:
        means = evaluated.evaluation.returns.mean(1)
        best = max(float(means[rows].mean()) for rows in self.settings)
        which = "best setting's return" if len(self.settings) > 1 else "return"
        self.returned = f"{which} {best:.4g} at {evaluated.step}"
        if self.bar:
            self.bar.update(self.task, returned=self.returned)

    def note(self, text: str) -> None:
        self.console.print(text, style="dim", highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        self.console.print(f"warning: {text}", style="yellow", highlight=False, soft_wrap=True)

    def end(self, result: dict[str, Any] | None) -> None:
        if self.bar:
            self.bar.stop()
            sys.stderr.flush()
