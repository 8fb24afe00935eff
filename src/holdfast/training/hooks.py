"""What watches a run: each hook sees plain numbers, never a state, and cannot change the training."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np


class Start(NamedTuple):
    """A run is about to train (again, where `step` is not 0)."""

    folder: Any  # training.folder.RunFolder
    settings: Any  # training.settings.Settings
    replicas: list[Any]  # training.settings.Replica
    steps: int  # updates of a replica in all phases
    step: int


class Block(NamedTuple):
    """A block of updates is done."""

    phase: str
    step: int  # updates of a replica so far
    metrics: dict[str, np.ndarray]  # name -> [R], NaN where a replica reported nothing
    seconds: float
    updates: int  # of all replicas together, in this block


class Evaluated(NamedTuple):
    """An evaluation is done."""

    step: int
    evaluation: Any  # evaluation.evaluate.Evaluation


class Hook:
    """Does nothing; override what you need."""

    def start(self, start: Start) -> None: ...

    def compiled(self, phase: str, seconds: float) -> None: ...

    def block(self, block: Block) -> None: ...

    def evaluated(self, evaluated: Evaluated) -> None: ...

    def warn(self, text: str) -> None: ...

    def end(self, result: dict[str, Any] | None) -> None:
        """The run has ended; `result` is None where it ended before its last step."""


class Progress(Hook):
    """A bar on the terminal, with updates a second and the time left; plain lines where there is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)
        self.bar: Any = None
        self.task: Any = None
        self.said = 0
        self.returned = ""

    def start(self, start: Start) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.steps, self.step, self.count = start.steps, start.step, len(start.replicas)
        runs = f"{self.count} runs in one program" if self.count > 1 else "1 run"
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
            "", total=self.steps, completed=self.step, phase="compiling", speed="", returned=""
        )
        self.bar.start()

    def compiled(self, phase: str, seconds: float) -> None:
        if self.bar:
            self.bar.update(self.task, phase=phase)

    def block(self, block: Block) -> None:
        speed = f"{block.updates / block.seconds:,.0f} updates/s"
        if self.bar:
            self.bar.update(self.task, completed=block.step, speed=speed, phase=block.phase)
        elif block.step * 10 // self.steps > self.said or block.step >= self.steps:
            self.said = block.step * 10 // self.steps
            self.console.print(f"{block.phase} {block.step}/{self.steps}  {speed}  {self.returned}", highlight=False)

    def evaluated(self, evaluated: Evaluated) -> None:
        self.returned = f"return {evaluated.evaluation.returns.mean():.4g} at {evaluated.step}"
        if self.bar:
            self.bar.update(self.task, returned=self.returned)

    def warn(self, text: str) -> None:
        self.console.print(f"warning: {text}", style="yellow", highlight=False, soft_wrap=True)

    def end(self, result: dict[str, Any] | None) -> None:
        if self.bar:
            self.bar.stop()
            sys.stderr.flush()
