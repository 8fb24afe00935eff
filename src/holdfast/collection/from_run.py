"""Data from a finished run: the transitions in its replay buffer as a log, and the policies that it kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..algorithms import registry
from ..core import config as config_of
from ..core.errors import UserError
from ..core.trust import environment_in
from ..data.dataset import Dataset
from ..environments.gym.adapter import env_spec_of, make_env
from ..policy.policy import Policy
from ..policy.storage import arrays_of
from ..policy.team import TeamPolicy, teams_in
from ..runs import csv_tables
from ..runs.folder import RunFolder
from ..runs.settings import Settings
from ..training.plan.schedule import phases_of
from .play import spaces_of

RING = "rings.online."


class KeptPolicy(NamedTuple):
    """A policy that a run kept, with the result of its evaluation."""

    step: int
    mean_return: float
    folder: Path


def replay_log(run: str | Path, replica: int = 0, rows: int | None = None, id: str = "replay") -> Dataset:
    """The transitions in the replay buffer of a run's last checkpoint, raw and in the order of collection.

    Args:
        run: the folder of the run.
        replica: number of the replica.
        rows: the number of transitions, from the first one; None: all.
        id: name of the data set.

    Raises:
        UserError: not a run, a run that learned from logged data, a replay buffer that has lost its first rows, or
            fewer rows than requested.
    """
    folder = RunFolder(run)
    settings = Settings.from_dict(folder.read_config(), str(folder.config))
    ring = _ring(folder, settings, replica)
    policy = _policy(folder, replica)
    count = _count(folder.path, ring, rows)
    table = {name: column[:count] for name, column in ring.items() if name not in ("size", "cursor")}
    order = np.argsort(np.arange(count) % _environments(settings), kind="stable")  # n environments write in turns
    table = {name: column[order] for name, column in table.items()}
    assert settings.env is not None
    env = make_env(environment_in(settings.env, str(folder.config)))
    try:
        facts = spaces_of(env)
    finally:
        env.close()
    dtype = env.observation_space.dtype
    terminated = table["terminated"] > 0
    last_of_environment = np.append(np.diff(order) < 0, True)
    fitted = policy.fitted
    origin = {
        "algorithm": settings.algorithm, "replay": str(Path(run).resolve()), "env": settings.env,
        "seed": settings.seed + replica, "steps": count, "config": settings.config,
    }  # fmt: skip
    data = Dataset.from_arrays(
        table["obs"].astype(dtype),
        fitted.act_outside(table["action"]),
        table["reward"].astype(np.float64) / fitted.reward_scale - fitted.reward_shift,
        terminated,
        ((table["truncated"] > 0) | last_of_environment) & ~terminated,
        table["next_obs"].astype(dtype),
        columns={"action_mask": table["mask"]} if "mask" in table else {},
        id=id,
        env_spec=env_spec_of(settings.env),
        provenance={"algorithm_name": f"replay of {settings.algorithm}", "collected": [origin]},
        **facts,
    )
    return _with_final_masks(data, table["next_mask"]) if "next_mask" in table else data


def _ring(folder: RunFolder, settings: Settings, replica: int) -> dict[str, np.ndarray]:
    """The columns of a replica's replay buffer in the last checkpoint, with its `size` and `cursor`."""
    saved = folder.checkpoints.read()
    arrays = {k.removeprefix(RING): x for k, x in arrays_of(saved.data, saved.where).items() if k.startswith(RING)}
    if not arrays or settings.env is None or settings.data is not None:
        raise UserError(f"{folder.path} learned from logged data: name a run that learned in an environment alone")
    _require_replica(folder.path, replica, len(arrays["size"]))
    return {name.removeprefix("rows."): x[replica] for name, x in arrays.items()}


def _count(run: Path, ring: Mapping[str, np.ndarray], rows: int | None) -> int:
    """The number of transitions to take from a replay buffer."""
    size = int(ring["size"])
    capacity = len(ring["reward"])
    if size == capacity and int(ring["cursor"]):
        raise UserError(f"{run}: its replay buffer keeps the newest {capacity} rows and has lost the first ones")
    count = size if rows is None else rows
    if not 1 <= count <= size:
        raise UserError(f"{run} has collected {size} steps: expected from 1 to {size} of them, got {rows}")
    return count


def _environments(settings: Settings) -> int:
    """The number of environments in which a replica collected."""
    algorithm = registry.get(settings.algorithm)
    cfg: Any = config_of.from_dict(algorithm.Config, settings.config)
    collect = phases_of(algorithm, cfg, settings)[-1].collect
    assert collect is not None
    return collect.envs


def _with_final_masks(data: Dataset, next_mask: np.ndarray) -> Dataset:
    """The data set with the masks of the final observations of its episodes, from the column `next_mask` [N, A]."""
    mask = data.columns["action_mask"].copy()
    ends = data.offsets[1:]
    mask[ends + np.arange(len(ends))] = next_mask[ends - 1]
    return dataclasses.replace(data, columns={"action_mask": mask})


def policies(run: str | Path, replica: int = 0) -> list[KeptPolicy]:
    """The policies that a run kept, in order.

    Args:
        run: the folder of the run.
        replica: number of the replica.

    Raises:
        UserError: not a run, or a run without `keep_policies`.
    """
    folder = RunFolder(run)
    settings = Settings.from_dict(folder.read_config(), str(folder.config))
    if not settings.keep_policies:
        raise UserError(f"{run} has kept its last policy only: levels need a run with --keep-policies")
    played = csv_tables.evaluations(folder.evaluations)
    names = played.replicas
    _require_replica(Path(run), replica, len(names))
    returns = zip(played.steps.tolist(), played.returns[replica], strict=True)
    return [KeptPolicy(step, float(each.mean()), folder.policy_folders(names, step)[replica]) for step, each in returns]


def medium(run: str | Path, low: float, replica: int = 0) -> KeptPolicy:
    """The first kept policy that is a third of the way from a random policy's return to that of the last policy.

    Args:
        run: the folder of the run.
        low: mean return of a random policy.
        replica: number of the replica.

    Raises:
        UserError: not a run, or a run whose last policy is not better than a random one.
    """
    kept = policies(run, replica)
    last = kept[-1][1]
    if last <= low:
        raise UserError(f"{run} ends at a return of {last:.4g}, and uniform actions have {low:.4g}: train for longer")
    return next(one for one in kept if one[1] >= low + (last - low) / 3)


def _policy(folder: RunFolder, replica: int) -> Policy:
    """The last policy of a replica; of a team, that of joint observations and actions."""
    names = csv_tables.replicas_of(csv_tables.read(folder.evaluations))
    teams = teams_in(folder.policy)
    several = teams or [p.parent for p in folder.policy.glob("*/policy.json")]
    folders = folder.policy_folders(names) if names else sorted(several) or [folder.policy]
    _require_replica(folder.path, replica, len(folders))
    return TeamPolicy.load(folders[replica]).together if teams else Policy.load(folders[replica])


def _require_replica(run: Path, replica: int, count: int) -> None:
    if replica not in range(count):
        raise UserError(f"{run} has {count} replicas, expected one from 0 to {count - 1}, got {replica}")
