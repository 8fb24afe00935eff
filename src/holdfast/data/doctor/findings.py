"""`Finding`: one answer of the doctor, with the numbers that it rests on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

Level = Literal["good", "note", "warn", "bad"]
Verdict = Literal["fit", "fit with care", "not fit"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What the doctor says on one topic.

    Levels: `good`: learning gains from it; `note`: for information; `warn`: learning or evaluation suffers from it;
    `bad`: results would mean nothing.
    """

    topic: str  # coverage, rewards, horizon, stitching, leaks, columns, propensities
    level: Level
    text: str  # sentences
    fix: str = ""  # what to do
    numbers: Mapping[str, float | int | str | None] = dataclasses.field(default_factory=dict)  # what the text rests on


@dataclasses.dataclass(frozen=True)
class Advice:
    """Methods that suit the log, or a way of working with it, and why."""

    algorithms: tuple[str, ...]  # names of the registry; empty: no method
    why: str


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """All findings on a data set, and the advice that follows."""

    id: str
    steps: int
    episodes: int
    verdict: Verdict
    findings: tuple[Finding, ...]
    advice: tuple[Advice, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON-ready form."""
        return dataclasses.asdict(self)

    def number(self, topic: str, name: str) -> float | None:
        """A number of a topic; None if no finding has it."""
        found = [f.numbers[name] for f in self.findings if f.topic == topic and name in f.numbers]
        return float(found[0]) if found and isinstance(found[0], int | float) else None
