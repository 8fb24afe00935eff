"""Which preset a run starts from: the one that was named, or the published one for its data set or environment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import UserError, nearest
from ..data.references import d4rl_id

if TYPE_CHECKING:
    from ..core.contract import Algorithm

PUBLISHED = "published"  # `--preset published`, and what a run starts from if no preset is named

# the task of a data set or an environment -> the family that papers give one set of settings
FAMILY = {
    "halfcheetah": "mujoco", "hopper": "mujoco", "walker2d": "mujoco", "ant": "mujoco", "pen": "adroit",
    "door": "adroit", "hammer": "adroit", "relocate": "adroit", "antmaze": "antmaze", "kitchen": "kitchen",
    "atari": "atari", "cartpole": "cartpole",
}  # fmt: skip
TASK_OF_ENVIRONMENT = (
    (re.compile(r"^(halfcheetah|hopper|walker2d|ant|antmaze|cartpole)[-_]"), r"\1"),
    (re.compile(r"^adroithand(pen|door|hammer|relocate)"), r"\1"),
    (re.compile(r"^frankakitchen"), "kitchen"),
    (re.compile(r"^ale/|noframeskip"), "atari"),
)
OGBENCH = re.compile(r"navigate|stitch|explore|giant|teleport")  # its mazes have other rewards than D4RL's


def chosen(algorithm: Algorithm, preset: str | None, data: str | None, env: str | None) -> str:
    """The name of the preset that a run starts from.

    Args:
        algorithm: the algorithm.
        preset: the name that was given. None and `published`: the published settings for the data or the environment.
        data: name or path of the data set.
        env: id of the environment.

    Raises:
        UserError: the algorithm has no preset of this name.
    """
    if preset in (None, PUBLISHED):
        return published(algorithm, data, env)
    if preset not in algorithm.presets:
        known = [PUBLISHED, *algorithm.presets]
        hint = nearest(str(preset), known) or f"; see holdfast algorithms {algorithm.name}"
        raise UserError(f"unknown preset of {algorithm.name} '{preset}'{hint}")
    return str(preset)


def published(algorithm: Algorithm, data: str | None, env: str | None) -> str:
    """The preset with the published settings for a data set, else for an environment, else the algorithm's first.

    A preset is for what its name says: a data set (`hopper-medium`), a task (`hopper`), a family with a level
    (`mujoco-medium-expert`) or a family (`antmaze`). The most exact one is taken.

    Args:
        algorithm: the algorithm.
        data: name or path of the data set.
        env: id of the environment. It is only looked at if the name of the data set says nothing.
    """
    names = [*_for_data(data or ""), *_for_environment(env or "")]
    return next((name for name in names if name in algorithm.presets), next(iter(algorithm.presets)))


def described(algorithm: Algorithm, preset: str, data: str | None, env: str | None) -> str:
    """One line about the preset of a run: its name, what it is for and its source."""
    first = next(iter(algorithm.presets))
    exact = preset != first and preset == published(algorithm, data, env)
    reason = f", published for {Path(data).name if data else env}" if exact else ""
    return f"preset {preset}{reason}: {algorithm.presets[preset].source}"


def _for_data(data: str) -> Iterator[str]:
    """Names of presets for a data set in D4RL's or Minari's spelling, the most exact one first."""
    parts = re.sub(r"\.(hdf5|h5|npz)$", "", data).split("/")
    name = d4rl_id(parts[-1]) or d4rl_id("-".join(parts[-2:])) or ""
    task, _, level = re.sub(r"-v\d+$", "", name).partition("-")
    family = FAMILY.get(task)
    if family is not None and not OGBENCH.search(level):
        yield from (f"{task}-{level}", task, f"{family}-{level}", family)


def _for_environment(env: str) -> Iterator[str]:
    """Names of presets for an environment, the most exact one first."""
    for pattern, task in TASK_OF_ENVIRONMENT:
        found = pattern.search(env.lower())
        if found:
            name = found.expand(task)
            yield from (name, FAMILY[name])
            return
