"""Folders of runs that a test writes, as `holdfast train` leaves them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

STEPS, EPISODES = (10, 20, 30), 4


def value_of(seed: int, expectile: float, step: int, episode: int) -> float:
    """The return of one episode in the made-up run."""
    return -200.0 + step * expectile + 10 * seed + episode


def make_run(
    path: Path,
    sweep: tuple[float, ...] = (),
    ended: bool = True,
    evaluated: bool = True,
    seeds: Sequence[int] = (0, 1),
    value: Callable[[int, float, int, int], float] = value_of,
    environment: str | None = "Pendulum-v1",
    steps: Sequence[int] = STEPS,
    **more: Any,
) -> Path:
    """A run folder with the given seeds for each swept expectile.

    Args:
        path: the folder.
        sweep: swept values of the expectile.
        ended: whether it has a result.json.
        evaluated: whether it has evaluations.
        seeds: its seeds.
        value: return of an episode, from seed, expectile, step and episode.
        environment: as in result.json.
        steps: steps of the rows of its tables.
        more: other entries of config.json.
    """
    path.mkdir(parents=True)
    replicas = [(f"expectile-{e:g}-seed-{s}", s, e) for e in sweep for s in seeds]
    replicas = replicas or [(f"seed-{s}", s, 1.0) for s in seeds]
    labels = ["step", "phase", "replica", "seed", *(["expectile"] if sweep else [])]
    metrics = [[*labels, "critic/loss", "actor/<loss>"]]
    played = [[*labels, "episode", "episode_seed", "return", "length"]]
    for step in steps:
        for name, seed, e in replicas:
            row = [step, "offline", name, seed, *([e] if sweep else [])]
            metrics.append([*row, 1 / step, "" if step == 10 else step * e])
            played += [[*row, k, 100 + k, value(seed, e, step, k), 5] for k in range(EPISODES)]
    tables = {"metrics": metrics, "evaluations": played if evaluated else played[:1]}
    for name, lines in tables.items():
        with (path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(lines)
    config = {
        "format": 1,
        "algorithm": "iql",
        "data": "made/up-v0",
        "steps": steps[-1],
        "config": {"expectile": 0.7, "hidden": [8, 8]},
        "treatment": {"normalize_obs": None},
        "seeds": len(seeds),
        "seed": seeds[0],
        "sweep": {"expectile": list(sweep)} if sweep else {},
        **more,
    }
    (path / "config.json").write_text(json.dumps(config))
    if ended:
        result = {"logged_return_mean": -190.0, "environment": environment, "steps": steps[-1]}
        result |= {"updates_per_second": 1234.5, "compile_seconds": 1.5, "wall_seconds": 9.0}
        result |= {"versions": {"holdfast": "9.9"}, "device": "abacus", "replicas": [name for name, *_ in replicas]}
        (path / "result.json").write_text(json.dumps(result))
    return path
