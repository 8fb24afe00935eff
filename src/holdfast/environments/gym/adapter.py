"""Makes Gymnasium environments, from an id or from the environment spec that a data set carries."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import UserError, nearest, one_line
from ...core.files import parse_json
from ...core.imports import found_in, import_named
from .given import OBJECT, GivenEnv, gone, made_by

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.spaces import Space

EXTRAS = {"gymnasium.envs.mujoco": "mujoco", "gymnasium.envs.box2d": "box2d", "ale_py": "atari"}
# wrappers of Gymnasium that change nothing that a policy sees; some would open windows or write files
PASSIVE = (
    "Autoreset", "HumanRendering", "OrderEnforcing", "PassiveEnvChecker", "RecordEpisodeStatistics", "RecordVideo",
    "RenderCollection",
)  # fmt: skip
STATEFUL = ("NormalizeObservation", "NormalizeReward")  # with running statistics, which a spec does not hold
# Atari games as published methods play them (Machado et al. 2018): grey frames of 84 x 84 pixels, the last four of
# which are an observation, and four frames for each action
ATARI: dict[str, dict[str, Any]] = {"AtariPreprocessing": {}, "FrameStackObservation": {"stack_size": 4}}
# packages that register environments when they are imported
ADD_ONS = ("gymnasium_robotics", "minigrid", "ale_py", "highway_env", "metaworld")


def make_env(env: str, **options: Any) -> gymnasium.Env:
    """Make an environment from its id, or from an EnvSpec as JSON (the form that Minari stores with a data set).

    An id may name the module that registers it: `my_package:MyEnv-v0`. `my_package:MyEnv` is a class or function of
    that module. `jax/NAME` is an environment of `environments.jax`, `pettingzoo/PACKAGE.NAME` one of PettingZoo with
    joint observations and actions. `ALE/NAME` is an Atari game with Gymnasium's preprocessing and the last four frames
    as one image. Of a JSON spec, only the id, the arguments, the time limit and Gymnasium's own wrappers are used:
    nothing that it names is imported, except packages that are known to register environments.

    Args:
        env: the id, the JSON, or an environment that was given as an object or a function.
        options: arguments of `gymnasium.make`, for example `render_mode="rgb_array"`.

    Raises:
        UserError: an unknown id (the line suggests the nearest one), a package that is not installed (the line names
            its extra), or an error of the environment itself, in one line.
    """
    import gymnasium
    from gymnasium import error

    if isinstance(env, GivenEnv):
        return _plain(_with_options(env.make(), options), env)
    if env.startswith(OBJECT):
        raise gone(env)
    env = _with_preprocessing(env)
    name, arguments = _parse(env)
    if name.rpartition(":")[2].startswith(("jax/", "gymnax/")):
        from ..jax.as_gym import register

        name = register(name)
    elif name.startswith("pettingzoo/"):
        from .pettingzoo import register

        name = register(name)
    elif ":" in name:
        module, _, inside = name.rpartition(":")
        try:
            factory = found_in(import_named(module), inside)
        except ModuleNotFoundError as fault:
            raise UserError(_not_installed(name, fault)) from fault
        if inside not in gymnasium.registry and callable(factory):
            return _plain(_with_options(made_by(factory, name), options), name)
        if inside in gymnasium.registry:
            name = inside
    _register(name, env)
    if "mujoco_py" in _entry_point(name):
        raise UserError(f"environment '{name}' needs mujoco_py, which is no longer maintained: use {_newest(name)}")
    # the checker costs a fifth of a step and repeats its warnings
    arguments = {"disable_env_checker": True, **arguments, **options}
    try:
        with _without_deprecations(name):
            return _plain(_wrapped(gymnasium.make(name, **arguments), env), name)
    except UserError:
        raise
    except error.UnregisteredEnv as fault:
        raise UserError(_unknown(name, env)) from fault
    except (error.DependencyNotInstalled, ModuleNotFoundError) as fault:
        raise UserError(_not_installed(name, fault)) from fault
    except Exception as fault:
        raise UserError(f"environment '{name}' cannot be made: {one_line(fault)}") from fault
    except SystemExit as end:
        raise UserError(f"environment '{name}' cannot be made: it called sys.exit({end.code!r})") from end


def _with_options(made: gymnasium.Env, options: Mapping[str, Any]) -> gymnasium.Env:
    """An environment that a class or function made, if it is as the options say. They cannot be applied to it.

    Raises:
        UserError: it is not.
    """
    for name, value in options.items():
        found = getattr(made, name, None)
        if found != value:
            made.close()
            raise UserError(
                f"environment {type(made.unwrapped).__name__} has {name}={found!r}, expected {value!r}: make it so"
            )
    return made


def env_spec_of(env: str) -> str | None:
    """The EnvSpec of an environment as JSON, as Minari stores it.

    Args:
        env: an id, or already the JSON.

    Returns:
        None if the environment's spec cannot be serialised to JSON.
    """
    env = _with_preprocessing(env)
    if _is_json(env):
        return env
    import gymnasium

    try:
        return gymnasium.spec(env.rpartition(":")[2]).to_json()
    except (ValueError, TypeError, gymnasium.error.Error):
        return None


def _with_preprocessing(env: str) -> str:
    """The EnvSpec (JSON) of an Atari game with the wrappers of `ATARI`; other environments are returned as they are."""
    import gymnasium

    name = env.rpartition(":")[2]
    if _is_json(env) or not name.startswith("ALE/"):
        return env
    _register(name, env)
    try:
        spec = json.loads(gymnasium.spec(name).to_json())
    except gymnasium.error.Error:  # unknown: `make_env` says so
        return env
    spec["kwargs"] = {**spec["kwargs"], "frameskip": 1}  # the preprocessing skips frames
    spec["additional_wrappers"] = [
        {"name": wrapper, "entry_point": f"gymnasium.wrappers:{wrapper}", "kwargs": given}
        for wrapper, given in ATARI.items()
    ]
    return json.dumps(spec)


def other_wrappers(env: str) -> list[str]:
    """Names of the wrappers in an EnvSpec (JSON) that `make_env` leaves out or cannot restore.

    These are wrappers of other packages, and those of Gymnasium with running statistics, which a spec does not hold.
    """
    names = []
    for name, own, arguments in _wrappers(env):
        if own is None or arguments is None or own in STATEFUL:
            names.append(name)
    return names


def _wrappers(env: str) -> Iterator[tuple[str, str | None, dict[str, Any] | None]]:
    """Each wrapper of an EnvSpec (JSON): its name, its class in `gymnasium.wrappers` if it is one, its arguments."""
    try:
        listed = json.loads(env).get("additional_wrappers") if _is_json(env) else None
    except (ValueError, AttributeError, RecursionError):
        return
    for entry in listed if isinstance(listed, list) else []:
        facts = entry if isinstance(entry, dict) else {}
        module, _, cls = str(facts.get("entry_point")).partition(":")
        name = str(facts.get("name") or cls or entry)
        if cls not in PASSIVE:
            own = cls if module.split(".")[:2] == ["gymnasium", "wrappers"] and cls.isidentifier() else None
            arguments = facts.get("kwargs")
            yield name, own, arguments if isinstance(arguments, dict) else None


def _wrapped(made: gymnasium.Env, env: str) -> gymnasium.Env:
    """An environment in the wrappers of Gymnasium that its EnvSpec (JSON) names, the innermost first."""
    from gymnasium import Wrapper, wrappers

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*precision lowered")  # of the bounds in the JSON, which are float64
        for _, own, arguments in _wrappers(env):
            wrapper = getattr(wrappers, own or "", None)
            if isinstance(wrapper, type) and issubclass(wrapper, Wrapper) and arguments is not None:
                made = wrapper(made, **arguments)
    return made


def _plain(made: gymnasium.Env, name: str) -> gymnasium.Env:
    """An environment with observations and actions of the kinds that algorithms take.

    Dictionaries, tuples and whole numbers become flat vectors, images get their one layout, and several discrete
    actions at once become one.
    """
    from .image_layout import ImageLayout, image_box
    from .joint_actions import JointActions, counts

    if counts(made.action_space) is not None:
        made = JointActions(made, f"environment '{name}'")
    if image_box(made.observation_space) is not made.observation_space:
        return ImageLayout(made)
    return _flat(made)


def _flat(made: gymnasium.Env) -> gymnasium.Env:
    """An environment whose observations are flat vectors, if they are dictionaries, tuples or whole numbers."""
    from gymnasium.spaces import Box
    from gymnasium.wrappers import DtypeObservation, FlattenObservation

    space = made.observation_space
    if isinstance(space, Box):
        return DtypeObservation(made, np.float32) if space.dtype == bool else made
    if not space.is_np_flattenable:
        return made
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*precision lowered")
        return DtypeObservation(FlattenObservation(made), np.float32)


def raw_space_of(env: gymnasium.Env) -> Space | None:
    """The space of the observations that `make_env` flattened; None if it did not flatten them."""
    from gymnasium import Wrapper
    from gymnasium.wrappers import FlattenObservation

    inner = env.env if isinstance(env, Wrapper) else env
    return inner.env.observation_space if isinstance(inner, FlattenObservation) else None


def raw_action_space_of(env: gymnasium.Env) -> Space | None:
    """The space of the several discrete actions that `make_env` made one; None if it made none."""
    from gymnasium import Wrapper

    from .joint_actions import JointActions

    while isinstance(env, Wrapper):
        if isinstance(env, JointActions):
            return env.env.action_space
        env = env.env
    return None


def _is_json(env: str) -> bool:
    return env.lstrip().startswith("{")


def _parse(env: str) -> tuple[str, dict[str, Any]]:
    """The id and the arguments of `gymnasium.make` that an id or a JSON spec names."""
    if not _is_json(env):
        return env, {}
    try:
        spec = parse_json(env, "the environment spec")
        name = str(spec["id"])
        options = dict(spec.get("kwargs") or {})
        if spec.get("max_episode_steps") is not None:
            options["max_episode_steps"] = int(spec["max_episode_steps"])
    except (UserError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as fault:
        raise UserError(
            "the data set's environment spec is not a valid EnvSpec in JSON: name the environment with --env"
        ) from fault
    return name, options


def _register(name: str, env: str) -> None:
    """Register `name`: a probe, or an environment of the add-on package that the JSON's entry point names."""
    import gymnasium

    if name.startswith("holdfast/"):
        from ..probe_env import register

        register()
        return
    if name in gymnasium.registry or ":" in name:
        return
    add_on = next((a for a in ADD_ONS if f'"{a}.' in env), "ale_py" if name.startswith("ALE/") else None)
    if add_on is not None:
        try:
            module = importlib.import_module(add_on)
        except ModuleNotFoundError as fault:
            raise UserError(_not_installed(name, fault)) from fault
        getattr(gymnasium, "register_envs", lambda m: None)(module)


@contextlib.contextmanager
def _without_deprecations(name: str) -> Iterator[None]:
    """Suppress MuJoCo's deprecation messages about the XML of Gymnasium's models; other messages are logged."""
    if not _entry_point(name).startswith("gymnasium.envs.mujoco") or importlib.util.find_spec("mujoco") is None:
        yield
        return
    mujoco = importlib.import_module("mujoco")
    before = mujoco.get_mju_user_warning()

    def warn(text: str) -> None:
        if "deprecated" not in text:
            logging.getLogger("holdfast").warning("MuJoCo: %s", text)

    mujoco.set_mju_user_warning(warn)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _unknown(name: str, env: str) -> str:
    """The error line for an id that is not registered."""
    import gymnasium

    spec = json.loads(env) if _is_json(env) else {}
    module, colon, _ = str(spec.get("entry_point")).partition(":")
    if colon and not module.startswith("gymnasium"):
        return f"unknown environment '{name}': it needs the module that registers it, perhaps --env {module}:{name}"
    every = list(gymnasium.registry)
    versions = [key for key in every if _base(key) == _base(name)]
    hint = nearest(name, versions or every)
    hint = hint or "; an id may name the module that registers it, as in my_package:MyEnv-v0"
    return f"unknown environment '{name}'{hint}"


def _not_installed(name: str, fault: BaseException) -> str:
    """The error line for a missing package, with the extra or the package to install."""
    entry_point = _entry_point(name)
    missing = getattr(fault, "name", None) or ""
    for module, extra in EXTRAS.items():
        if entry_point.startswith(module) or missing.startswith(module):
            return f"environment '{name}' needs a package that is not installed: pip install 'holdfast-rl[{extra}]'"
    fix = f"pip install {missing.replace('_', '-')}" if missing else "install it"
    return f"environment '{name}' needs a package that is not installed ({one_line(fault)}): {fix}"


def _entry_point(name: str) -> str:
    import gymnasium

    return str(getattr(gymnasium.registry.get(name), "entry_point", ""))


def _base(name: str) -> str:
    """An id without its version."""
    return name.rpartition("-")[0]


def _newest(name: str) -> str:
    """The newest registered version of an id."""
    import gymnasium

    return max(key for key in gymnasium.registry if _base(key) == _base(name))
