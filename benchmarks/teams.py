"""Teams of three agents: updates of independent learners, MABCQ, OMAR and OMIGA, and one agent alone next to them.

`speed.py` starts the contestants (`worker.py team NAME`, `worker.py ours td3_bc`) and prints the figures.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any, Protocol

AGENTS = 3
NAMES = ("td3_bc", "mabcq", "omar", "omiga")
ALONE = "td3_bc"  # also measured as one agent


class Contestant(Protocol):
    """A process that answers requests."""

    def ask(self, do: str, **request: float) -> dict[str, Any]: ...


def measure(teams: Mapping[str, Contestant], alone: Contestant, rounds: int, seconds: float) -> dict[str, Any]:
    """All figures; the contestants are measured in turns.

    Args:
        teams: the team of each of `NAMES`.
        alone: one agent that learns with `ALONE`.
        rounds: number of turns.
        seconds: length of a turn.
    """
    compiled = {name: worker.ask("compile", seeds=1)["compile_seconds"] for name, worker in teams.items()}
    order = [("alone", alone), *teams.items()]
    turns: dict[str, list[float]] = {}
    for count in range(rounds):
        for key, worker in order if count % 2 == 0 else order[::-1]:
            found = worker.ask("speed", seeds=1, seconds=seconds)["updates_per_second"]
            turns.setdefault(key, []).append(found)
    ratio = statistics.median(AGENTS * a / b for a, b in zip(turns[ALONE], turns["alone"], strict=True))
    medians = {key: statistics.median(values) for key, values in turns.items()}
    return {"turns": turns, "updates_per_second": medians, "compile_seconds": compiled, "ratio_alone": ratio}


def report(found: dict[str, Any]) -> list[str]:
    """The figures in sentences."""
    each = found["updates_per_second"]
    compiled = found["compile_seconds"]
    listed = ", ".join(f"{name} {each[name]:,.0f} ({compiled[name]:.0f} s to compile)" for name in NAMES)
    return [
        f"Teams of {AGENTS} agents, all of which an update moves, updates a second: {listed}.",
        f"{ALONE} with --agents independent against {AGENTS} runs of one agent, one after the other "
        f"({each['alone']:,.0f} updates a second): {found['ratio_alone']:.2f} times as fast.",
    ]
