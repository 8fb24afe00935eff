"""Learned models: training of an ensemble next to the same one in PyTorch, rollouts, and MOPO's updates next to SAC's.

`speed.py` starts the contestants (`models_ours.py`, `models_torch.py`) and prints the figures.
"""

from __future__ import annotations

import statistics
from typing import Any, Protocol

TARGETS = {"torch": 3.0, "sac": 0.8}  # times the ensemble in torch; MOPO's updates as a share of SAC's
PARTS = ("ensemble", "rollouts", "mopo_updates", "sac_updates")


class Contestant(Protocol):
    """A process that answers requests."""

    def ask(self, do: str, **request: float) -> dict[str, Any]: ...


def measure(ours: Contestant, peer: Contestant | None, rounds: int, seconds: float) -> dict[str, Any]:
    """All figures. The contestants are measured in turns; `peer` None: without PyTorch."""
    found: dict[str, Any] = {"compile_seconds": ours.ask("compile")}
    turns: dict[str, list[float]] = {}
    order = [(name, ours, name) for name in PARTS]
    if peer:
        order.insert(1, ("torch", peer, "ensemble"))
        found["peer"] = peer.ask("versions")
    for count in range(rounds):
        for key, worker, do in order if count % 2 == 0 else order[::-1]:
            turns.setdefault(key, []).append(worker.ask(do, seconds=seconds)["per_second"])

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(turns[one], turns[other], strict=True))

    found |= {"turns": turns, "per_second": {key: statistics.median(values) for key, values in turns.items()}}
    found["ratio_sac"] = ratio("mopo_updates", "sac_updates")
    return found | ({"ratio_torch": ratio("ensemble", "torch")} if peer else {})


def report(found: dict[str, Any]) -> list[str]:
    """The figures in sentences."""
    each, seconds = found["per_second"], found["compile_seconds"]
    lines = [
        "Learned models, seven members of 200-200-200-200, batch 256 for each member: rows a second in training, "
        f"{each['ensemble']:,.0f} (epochs of 100,000 rows a second: {each['ensemble'] / 1e5:,.3g}); steps a second "
        f"of a policy in the model, {each['rollouts']:,.0f}; updates of MOPO a second without rollouts, "
        f"{each['mopo_updates']:,.0f}, of SAC on a log, {each['sac_updates']:,.0f}.",
        f"Seconds to compile: {', '.join(f'{seconds[name]:.1f} {name}' for name in ('ensemble', 'mopo', 'sac'))}.",
    ]
    if "peer" in found:
        p = found["peer"]
        which = f"torch {p['torch']} with {p['threads']} threads, batched products"
        return [*lines, f"The same ensemble in {which}: {each['torch']:,.0f} rows a second."]
    return [*lines, "The ensemble in torch was not measured: " + found["peer_missing"]]


def verdicts(found: dict[str, Any]) -> list[tuple[str, float, bool]]:
    """The targets: (description, figure, whether it is reached)."""
    rows = [("mopo: updates, as a share of sac's", "sac")]
    if "ratio_torch" in found:
        rows.append(("training of an ensemble: times the same in torch", "torch"))
    ratios = ((what, key, found[f"ratio_{key}"]) for what, key in rows)
    return [(f"{what}, at least {TARGETS[key]}", value, value >= TARGETS[key]) for what, key, value in ratios]
