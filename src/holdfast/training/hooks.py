"""Hooks watch a run. They get plain numbers, never a state, and cannot change the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..evaluation.evaluate import Evaluation
from ..evaluation.progress import display
from ..runs.folder import RunFolder
from ..runs.replicas import Replica
from ..runs.settings import Settings


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
    """Shows the run: a bar with updates per second and remaining time, see `evaluation.progress`."""

    def __init__(self) -> None:
        self.display = display()
        self.shown = False  # whether the bar is there
        self.step = 0
        self.phase = ""
        self.speed = ""
        self.returned = ""
        self.settings: list[list[int]] = []  # replicas of each combination of swept values

    def start(self, start: Start) -> None:
        self.settings = by_setting(start.replicas)
        count = len(start.replicas)
        runs = f"{count} runs in one program" if count > 1 else "1 run"
        self.display.say(f"{start.settings.algorithm} on {start.settings.subject}: {runs}, into {start.folder.path}")
        self.step = start.step
        self.phase = "compiling"
        self.display.begin(start.steps, start.step, self.phase)
        self.shown = True

    def compiled(self, phase: str, seconds: float) -> None:
        self.phase = phase

    def block(self, block: Block) -> None:
        self.step = block.step
        self.phase = block.phase
        self.speed = f"{block.updates / block.seconds:,.0f} updates/s"
        self._show()

    def evaluated(self, evaluated: Evaluated) -> None:
        means = evaluated.evaluation.returns.mean(1)
        best = max(float(means[rows].mean()) for rows in self.settings)
        which = "best setting's return" if len(self.settings) > 1 else "return"
        self.returned = f"{which} {best:.4g} at {evaluated.step}"
        self._show()

    def note(self, text: str) -> None:
        self.display.say(text, "note")

    def warn(self, text: str) -> None:
        self.display.say(text, "warning")

    def end(self, result: dict[str, Any] | None) -> None:
        if self.shown:
            self.display.end()

    def _show(self) -> None:
        self.display.show(self.step, self.phase, f"{self.speed}  {self.returned}".strip())
