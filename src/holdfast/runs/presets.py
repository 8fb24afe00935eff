"""Which preset a run starts from: the one that was named, or the published one for its data set or environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core import config as configs
from ..core.contract import Algorithm, Treatment
from ..core.errors import UserError, nearest, require_known, unknown
from ..data.references import d4rl_id

OURS = "tuned_"  # how the names of our own presets begin
TUNED = f"{OURS}100k"
SHORT_LOG = 300_000  # transitions
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


def resolve(
    algorithm: Algorithm,
    preset: str | None,
    overrides: Mapping[str, Any] | None,
    treatment: Mapping[str, Any] | None,
) -> tuple[Any, Treatment]:
    """Config and treatment of a preset, with single values changed.

    Args:
        algorithm: the algorithm.
        preset: name of the preset; None: the algorithm's first.
        overrides: settings of the algorithm that differ from the preset.
        treatment: treatments of the data that differ from the preset.

    Raises:
        UserError: an unknown preset or name, or values that the algorithm refuses; one line for all faults.
    """
    if preset is not None and preset not in algorithm.presets:
        raise unknown(f"preset of {algorithm.name}", preset, algorithm.presets)
    base = algorithm.presets[preset or next(iter(algorithm.presets))]
    cfg: Any = configs.from_dict(algorithm.Config, {**configs.to_dict(base.config), **(overrides or {})})
    faults = algorithm.check(cfg)
    if faults:
        raise UserError(f"{algorithm.name}: {'; '.join(faults)}")
    require_known(treatment or {}, "treatment of the data", Treatment._fields)
    return cfg, base.treatment._replace(**(treatment or {}))


def preset_note(data: str, steps: int) -> str | None:
    """A hint about the preset `tuned_100k`, or None if the data set is not a short one.

    Args:
        data: name of the data set.
        steps: its transitions.
    """
    if steps >= SHORT_LOG:
        return None
    return f"note: {data} has {steps} steps: preset {TUNED} was chosen on some such logs; try it too: --preset {TUNED}"
