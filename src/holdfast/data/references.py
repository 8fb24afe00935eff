"""Reference returns of a random and of an expert policy, for normalised scores.

D4RL's constants are those of `d4rl/infos.py` (commit 89141a6): one pair for each family, whatever the quality or
version of the data set, except for Maze2D. They were measured on D4RL's own environments. On Gymnasium's current
versions (Hopper-v5) they are still in common use but no longer exact. The last rows were measured for this project: a
uniform policy and the best public rl-baselines3-zoo agent, in Gymnasium 1.x.
"""

from __future__ import annotations

import re

from .facts import spec_facts

BY_FAMILY: dict[str, tuple[float, float]] = {
    "halfcheetah": (-280.178953, 12135.0),
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
    "ant": (-325.6, 3879.7),
    "antmaze": (0.0, 1.0),
    "kitchen": (0.0, 4.0),
    "pen": (96.262799, 3076.8331017826877),
    "hammer": (-274.856578, 12794.134825156867),
    "relocate": (-6.425911, 4233.877797728884),
    "door": (-56.512833, 2880.5693087298737),
}

MAZE2D: dict[str, tuple[float, float]] = {
    "open": (0.01, 20.66),
    "umaze": (23.85, 161.86),
    "medium": (13.13, 277.39),
    "large": (6.7, 273.99),
    "open-dense": (11.17817, 27.166538620695782),
    "umaze-dense": (68.537689, 193.66285642381482),
    "medium-dense": (44.264742, 297.4552547777125),
    "large-dense": (30.569041, 303.4857382709002),
}

BY_ENVIRONMENT: dict[str, tuple[float, float]] = {
    "HalfCheetah": BY_FAMILY["halfcheetah"],
    "Hopper": BY_FAMILY["hopper"],
    "Walker2d": BY_FAMILY["walker2d"],
    "Ant": BY_FAMILY["ant"],
    "AdroitHandPen": BY_FAMILY["pen"],
    "AdroitHandHammer": BY_FAMILY["hammer"],
    "AdroitHandRelocate": BY_FAMILY["relocate"],
    "AdroitHandDoor": BY_FAMILY["door"],
    "BipedalWalker": (-100.0, 300.0),
    "LunarLander": (-188.0, 240.0),
    "CartPole": (22.0, 500.0),
    "Pendulum": (-1224.0, -150.0),
}

# environments of Gymnasium with the same observations and similar dynamics
CURRENT = {"halfcheetah": "HalfCheetah-v5", "hopper": "Hopper-v5", "walker2d": "Walker2d-v5"}
LIMITS = {"halfcheetah": 1000, "hopper": 1000, "walker2d": 1000, "ant": 1000, "antmaze": 1000, "antmaze-umaze": 700}

_D4RL = re.compile(r"^(?P<family>[a-z0-9]+)-(?P<rest>[a-z][a-z-]*?)(-v\d+)?$")
_QUALITY = re.compile(
    r"random|medium|expert|replay|human|cloned|demos|umaze|large|complete|partial|mixed|open|play|diverse|full"
)
_FILES = (  # names of D4RL's files that differ from the data set's name
    (re.compile(r"^ant-maze-u-maze-.*"), "antmaze-umaze"),
    (re.compile(r"^ant-maze-(big|hardest)-maze-.*"), "antmaze-large"),
    (re.compile(r"^ant-maze-medium-.*"), "antmaze-medium"),
    (re.compile(r"^maze2d-(.*?)-sparse(.*)"), r"maze2d-\1\2"),
    (re.compile(r"^(pen|hammer|relocate|door)-v\d+-(.*)"), r"\1-\2"),
    (re.compile(r"^(?:mini-)?kitchen-.*"), "kitchen-mixed"),
)


def d4rl_id(stem: str) -> str | None:
    """The D4RL name of a file, given without its suffix (`hopper_medium-v2`); None if the name is not D4RL's."""
    name = stem.lower().replace("_", "-")
    for pattern, known in _FILES:
        name = pattern.sub(known, name)
    match = _D4RL.match(name)
    if match is None or not _QUALITY.search(match["rest"]) or match["family"] not in {*BY_FAMILY, "maze2d"}:
        return None
    return name


def time_limit(name: str | None) -> int | None:
    """Time limit of D4RL's environments in steps, for files without `timeouts`; None if it is not known."""
    family, _, rest = (name or "").partition("-")
    return LIMITS.get(f"{family}-{rest.split('-')[0]}", LIMITS.get(family))


def env_id_of(env_spec: str | None) -> str | None:
    """Gymnasium's id in an EnvSpec (JSON) or the id itself; None if there is no spec."""
    return spec_facts(env_spec, "the data set").get("id")


def environment_spec_for(name: str | None, obs: tuple[int, ...]) -> str | None:
    """The EnvSpec (JSON) of Gymnasium's current environment for a D4RL set.

    None if there is no such environment, or if its observations do not have the shape `obs`.
    """
    env_id = CURRENT.get((name or "").partition("-")[0])
    if env_id is None or obs != ((11,) if env_id == "Hopper-v5" else (17,)):
        return None
    import gymnasium

    return gymnasium.spec(env_id).to_json()


def reference_for(dataset_id: str | None, env_id: str | None = None) -> tuple[float, float] | None:
    """Returns of a random and of an expert policy; None if they are not known.

    Args:
        dataset_id: a name of D4RL's form (`hopper-medium-v2`), also with underscores or as the last part of a path.
        env_id: Gymnasium's id of the environment (`Hopper-v5`); it takes precedence over the data set's name.
    """
    if env_id is not None:
        found = BY_ENVIRONMENT.get(re.sub(r"-v\d+$", "", env_id.rsplit("/", 1)[-1]))
        if found is not None:
            return found
    name = d4rl_id((dataset_id or "").rsplit("/", 1)[-1]) or ""
    family, _, rest = re.sub(r"-v\d+$", "", name).partition("-")
    return MAZE2D.get(rest) if family == "maze2d" else BY_FAMILY.get(family)
