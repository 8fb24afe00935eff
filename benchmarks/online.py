"""Learning while collecting: environment steps per second of SAC with one update each, next to Stable-Baselines3's.

`speed.py` starts the contestants (`worker.py online`, `peer_online.py`) and prints the figures.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

ENV = "Hopper-v5"
TARGET = 2.5  # times Stable-Baselines3


def measure(ours: Any, peer: Any, seeds: Sequence[int], rounds: int, seconds: float) -> dict[str, Any]:
    """All figures. The contestants are measured in turns; `peer` None: without Stable-Baselines3."""
    turns: dict[str, list[float]] = {}

    def ask(key: str, worker: Any, do: str, length: float, **request: Any) -> None:
        turns.setdefault(key, []).append(worker.ask(do, seconds=length, **request)["per_second"])

    order: list[Callable[[], None]] = [lambda: ask(f"x{seeds[0]}", ours, "learn", seconds, seeds=seeds[0])]
    if peer:
        order.append(lambda: ask("peer", peer, "learn", seconds))
    order += [lambda n=n: ask(f"x{n}", ours, "learn", seconds, seeds=n) for n in seeds[1:]]
    order += [lambda do=do: ask(do, ours, do, seconds / 2) for do in ("collect", "play", "store", "draw")]
    for count in range(rounds):
        for turn in order if count % 2 == 0 else order[::-1]:
            turn()
    medians = {key: statistics.median(values) for key, values in turns.items()}
    microseconds = {do: 1e6 / medians[do] for do in ("collect", "play", "store", "draw")}
    found: dict[str, Any] = {"env": ours.ask("env")["env"], "turns": turns, "microseconds": microseconds}
    found["steps_per_second"] = {n: medians[f"x{n}"] for n in seeds}
    if peer:
        found |= {"peer": peer.ask("versions"), "peer_steps_per_second": medians["peer"]}
        pairs = zip(turns[f"x{seeds[0]}"], turns["peer"], strict=True)
        found["ratio_peer"] = statistics.median(a / b for a, b in pairs)
    return found


def report(found: dict[str, Any]) -> list[str]:
    """The figures in sentences."""
    speeds = "; ".join(f"{n} seed{'s' * (n > 1)}: {v:,.3g}" for n, v in found["steps_per_second"].items())
    lines = [
        f"Learning in {found['env']}, SAC, batch 256, one update per step: environment steps/s of all seeds, {speeds}."
    ]
    cost = found["microseconds"]
    lines += [
        f"A step without its update: {cost['collect']:,.0f} microseconds, {cost['play']:,.0f} the environment's own.",
        f"The replay, a million rows: {cost['store']:,.1f} microseconds to add a row, {cost['draw']:,.0f} to draw 256.",
    ]
    if "peer" in found:
        p = found["peer"]
        which = f"Stable-Baselines3 {p['stable_baselines3']} on torch {p['torch']} with {p['threads']} threads"
        lines.append(f"{which}: {found['peer_steps_per_second']:,.3g} environment steps/s.")
    else:
        lines.append("Stable-Baselines3 was not measured: " + found["peer_missing"])
    return lines
