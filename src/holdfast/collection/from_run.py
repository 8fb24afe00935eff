"""What an online run leaves besides its policy: the transitions that it collected, and its policies on the way."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ..algorithms import registry
from ..core import config as config_of
from ..core.errors import UserError
from ..data.dataset import Dataset
from ..environments.gym.adapter import make_env
from ..policy.policy import Policy
from ..policy.storage import arrays_of
from ..runs import csv_tables
from ..runs.folder import RunFolder
from ..runs.settings import Settings
from ..training.plan.schedule import phases_of
from .play import described

RING = "rings.online."


def replay(run: str | Path, replica: int = 0, rows: int | None = None, id: str = "replay") -> Dataset:
    """The transitions in the replay of a run's last checkpoint, in the order in which they were collected, raw.

    Args:
        run: its folder.
        replica: whose replay.
        rows: the first so many only; None: all.
        id: the data set's.

    Raises:
        UserError: no run there, one that learned from logged data, a replay that has lost its first rows, or fewer
            rows than asked for.
    """
    folder = RunFolder(run)
    settings = Settings.from_dict(folder.read_config(), str(folder.config))
    saved = folder.checkpoints.read()
    found = {k.removeprefix(RING): x for k, x in arrays_of(saved.data, saved.where).items() if k.startswith(RING)}
    if not found or settings.env is None or settings.data is not None:
        raise UserError(f"{run} has learned from logged data: name a run that learned in an environment alone")
    policy = _policy(folder, replica)
    ring = {name.removeprefix("rows."): x[replica] for name, x in found.items()}
    size, cursor, capacity = int(ring.pop("size")), int(ring.pop("cursor")), len(ring["reward"])
    if size == capacity and cursor:
        raise UserError(f"{run}: its replay keeps the newest {capacity} rows, and the first ones are gone")
    count = size if rows is None else rows
    if not 1 <= count <= size:
        raise UserError(
            f"{run} has collected {size} steps, expected at most that many, at least 1: {rows} were asked for"
        )
    algorithm: Any = registry.get(settings.algorithm)
    cfg: Any = config_of.from_dict(algorithm.Config, settings.config)
    n = phases_of(algorithm, cfg, settings)[-1].collect.envs  # type: ignore[union-attr]
    order = np.argsort(np.arange(count) % n, kind="stable")  # rows of n environments take turns
    kept = {name: x[:count][order] for name, x in ring.items()}
    env = make_env(settings.env)
    spaces: dict[str, Any] = {"observation_space": env.observation_space, "action_space": env.action_space}
    spec = described(settings.env)
    env.close()
    fitted, dtype = policy.fitted, spaces["observation_space"].dtype
    ended = kept["terminated"] > 0
    last = np.append(np.diff(order) < 0, True)  # of an environment
    timed = ((kept["truncated"] > 0) | last) & ~ended
    facts = {
        "algorithm": settings.algorithm, "replay": str(Path(run).resolve()), "env": settings.env,
        "seed": settings.seed + replica, "steps": count, "config": settings.config,
    }  # fmt: skip
    made = Dataset.from_arrays(
        kept["obs"].astype(dtype),
        fitted.act_outside(kept["action"]),
        kept["reward"].astype(np.float64) / fitted.reward_scale - fitted.reward_shift,
        ended,
        timed,
        kept["next_obs"].astype(dtype),
        **spaces,
        columns={"action_mask": kept["mask"]} if "mask" in kept else {},
        id=id,
        env_spec=spec,
        provenance={"algorithm_name": f"replay of {settings.algorithm}", "collected": [facts]},
    )
    if "next_mask" not in kept:
        return made
    mask = made.columns["action_mask"].copy()
    ends = made.offsets[1:]
    mask[ends + np.arange(len(ends))] = kept["next_mask"][ends - 1]
    return dataclasses.replace(made, columns={"action_mask": mask})


def policies(run: str | Path, replica: int = 0) -> list[tuple[int, float, Path]]:
    """(step, mean return, folder) of each evaluation whose policy was kept, in order.

    Raises:
        UserError: no run there, or one without `keep_policies`.
    """
    folder = RunFolder(run)
    settings = Settings.from_dict(folder.read_config(), str(folder.config))
    if not settings.keep_policies:
        raise UserError(f"{run} has kept its last policy only: levels need a run with --keep-policies")
    played = csv_tables.evaluations(folder.evaluations)
    names = played.replicas
    if replica not in range(len(names)):
        raise UserError(f"{run} has {len(names)} replicas, expected one from 0 to {len(names) - 1}, got {replica}")
    returns = zip(played.steps.tolist(), played.returns[replica], strict=True)
    return [(step, float(each.mean()), folder.policy_folders(names, step)[replica]) for step, each in returns]


def medium(run: str | Path, low: float, replica: int = 0) -> tuple[int, float, Path]:
    """The first policy kept that is a third of the way from `low`, a random policy's return, to the last one's.

    Raises:
        UserError: no such run, or one that has learned nothing.
    """
    kept = policies(run, replica)
    last = kept[-1][1]
    if last <= low:
        raise UserError(f"{run} ends at a return of {last:.4g}, and uniform actions have {low:.4g}: train for longer")
    return next(one for one in kept if one[1] >= low + (last - low) / 3)


def _policy(folder: RunFolder, replica: int) -> Any:
    names = csv_tables.replicas_of(csv_tables.read(folder.evaluations))
    several = [p.parent for p in folder.policy.glob("*/policy.json")]
    folders = folder.policy_folders(names) if names else sorted(several) or [folder.policy]
    if replica not in range(len(folders)):
        raise UserError(
            f"{folder.path} has {len(folders)} replicas, expected one from 0 to {len(folders) - 1}, got {replica}"
        )
    return Policy.load(folders[replica])
