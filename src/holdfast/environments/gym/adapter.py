"""Gymnasium environments: made by name or from a data set's own spec, and matched to what a policy was trained for."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import UserError, nearest

if TYPE_CHECKING:
    import gymnasium

    from ...core.spec import Spec

EXTRAS = {"gymnasium.envs.mujoco": "mujoco", "gymnasium.envs.box2d": "box2d", "ale_py": "atari"}
ADD_ONS = (
    "gymnasium_robotics",
    "minigrid",
    "ale_py",
    "highway_env",
    "metaworld",
)  # packages that register environments


def make_env(env: str, **options: Any) -> gymnasium.Env:
    """An environment from its id or from an EnvSpec as JSON (what Minari stores with a data set).

    An id may name the module that registers it, as in `my_package:MyEnv-v0`; `jax/NAME` is one of `jax_env`'s. From
    JSON, only the id, the arguments and the time limit are used: nothing that the file names is imported, except
    packages known to register environments.

    Args:
        env: the id or the JSON.
        options: passed on to `gymnasium.make`, e.g. `render_mode="rgb_array"`.

    Raises:
        UserError: an unknown id (the nearest one is suggested), a package that is not installed (its extra is named),
            or whatever the environment itself complains about, in one line.
    """
    import gymnasium
    from gymnasium import error

    name, given = _parse(env)
    if name.rpartition(":")[2].startswith(("jax/", "gymnax/")):
        from ..jax.as_gym import register

        name = register(name)
    _register(name, env)
    if "mujoco_py" in _entry_point(name):
        raise UserError(f"environment '{name}' needs mujoco_py, which is no longer maintained: use {_newest(name)}")
    given = {"disable_env_checker": True, **given, **options}  # the checker costs a fifth of a step and repeats itself
    try:
        with _without_deprecations(name):
            return gymnasium.make(name, **given)
    except error.UnregisteredEnv as fault:
        raise UserError(_unknown(name, env)) from fault
    except (error.DependencyNotInstalled, ModuleNotFoundError) as fault:
        raise UserError(_not_installed(name, fault)) from fault
    except Exception as fault:
        raise UserError(f"environment '{name}' cannot be made: {one_line(fault)}") from fault


def spec_of(env: gymnasium.Env, masked: bool = False) -> Spec:
    """The shapes of an environment, as an algorithm is told them.

    Args:
        env: a Gymnasium environment with a Box of observations and a Box (one axis) or Discrete space of actions.
        masked: whether its info carries `action_mask`.

    Raises:
        UserError: other kinds of spaces, with the wrapper that helps.
    """
    from gymnasium.spaces import Box, Discrete

    from ...core.spec import Spec  # here, because worker processes do without jax

    observation, action, name = env.observation_space, env.action_space, name_of(env)
    if not isinstance(observation, Box):
        raise UserError(
            f"observations of {name} are {type(observation).__name__}, expected Box (float vectors): "
            "wrap it in gymnasium.wrappers.FlattenObservation"
        )
    horizon = getattr(env.spec, "max_episode_steps", None)
    if isinstance(action, Discrete):
        return Spec(observation.shape, int(action.n), True, masked, horizon)
    if isinstance(action, Box) and len(action.shape) == 1:
        return Spec(observation.shape, int(action.shape[0]), False, False, horizon)
    raise UserError(
        f"actions of {name} are {action}, expected Discrete or a Box of one axis: wrap it to flatten its actions"
    )


def require_match(env: gymnasium.Env, spec: Spec, fitted: Any) -> None:
    """Refuse an environment in which a policy cannot act.

    Args:
        env: the environment.
        spec: shapes that the policy was trained for.
        fitted: its treatment, with `action_low`, `action_high` [A] or `action_start`.

    Raises:
        UserError: every difference between the two, in one line.
    """
    found = spec_of(env)
    faults = []
    if found.obs != spec.obs:
        faults.append(f"observations {found.obs} where the policy takes {spec.obs}")
    if found.discrete != spec.discrete or found.action != spec.action:
        faults.append(f"{_actions(found)} where the policy gives {_actions(spec)}")
    elif spec.discrete:
        start, own = int(getattr(env.action_space, "start", 0)), int(fitted.action_start)
        if start != own:
            faults.append(f"actions from {start} where the policy's start at {own}")
    else:
        low, high = env.action_space.low, env.action_space.high  # type: ignore[attr-defined]
        slack = 1e-6 * np.maximum(1.0, np.abs(fitted.action_high))
        if (np.asarray(fitted.action_low) < low - slack).any() or (np.asarray(fitted.action_high) > high + slack).any():
            own_box = _box(fitted.action_low, fitted.action_high)
            faults.append(f"actions in {_box(low, high)} where the policy's reach {own_box}")
    if faults:
        raise UserError(
            f"environment {name_of(env)} does not match the policy: {'; '.join(faults)}: choose its own with --env"
        )


def mask_of(info: dict[str, Any], spec: Any) -> np.ndarray | None:
    """The legal actions [A] that an environment's `info` carries, or None.

    Raises:
        UserError: a mask of the wrong shape, or without any legal action.
    """
    mask = info.get("action_mask")
    if mask is None or not spec.discrete:
        return None
    mask = np.asarray(mask).astype(bool)
    if mask.shape != (spec.action,):
        raise UserError(f"the environment's action_mask has shape {mask.shape}, expected ({spec.action},)")
    if not mask.any():
        raise UserError("the environment's action_mask allows no action at all")
    return mask


def name_of(env: gymnasium.Env) -> str:
    """The id of an environment, or its class where it was made without one."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def one_line(fault: BaseException) -> str:
    """An exception's message on one line, with its type where the message is empty."""
    return " ".join(str(fault).split()) or type(fault).__name__


def _parse(env: str) -> tuple[str, dict[str, Any]]:
    if not env.lstrip().startswith("{"):
        return env, {}
    try:
        spec = json.loads(env)
        name, options = str(spec["id"]), dict(spec.get("kwargs") or {})
    except (ValueError, KeyError, TypeError) as fault:
        raise UserError(
            "the data set's environment spec is no valid EnvSpec in JSON: name the environment with --env"
        ) from fault
    if spec.get("max_episode_steps") is not None:
        options["max_episode_steps"] = int(spec["max_episode_steps"])
    return name, options


def _register(name: str, env: str) -> None:
    """Import what registers `name`: the probes here, or an add-on package that the JSON's entry point is in."""
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
    """MuJoCo prints a line for each environment made from one of Gymnasium's models, and a file, about their XML."""
    if not _entry_point(name).startswith("gymnasium.envs.mujoco") or importlib.util.find_spec("mujoco") is None:
        yield
        return
    mujoco = importlib.import_module("mujoco")
    before = mujoco.get_mju_user_warning()

    def say(text: str) -> None:
        if "deprecated" not in text:
            logging.getLogger("holdfast").warning("MuJoCo: %s", text)

    mujoco.set_mju_user_warning(say)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _unknown(name: str, env: str) -> str:
    import gymnasium

    spec = json.loads(env) if env.lstrip().startswith("{") else {}
    module, colon, _ = str(spec.get("entry_point")).partition(":")
    if colon and not module.startswith("gymnasium"):
        return f"unknown environment '{name}', which a module registers: name both, --env {module}:{name} perhaps"
    known = [k for k in gymnasium.registry if k.rpartition("-")[0] == name.rpartition("-")[0]] or list(
        gymnasium.registry
    )
    hint = nearest(name, known) or "; an id may name the module that registers it, as in my_package:MyEnv-v0"
    return f"unknown environment '{name}'{hint}"


def _not_installed(name: str, fault: BaseException) -> str:
    where, missing = _entry_point(name), getattr(fault, "name", None) or ""
    for module, extra in EXTRAS.items():
        if where.startswith(module) or missing.startswith(module):
            return f"environment '{name}' needs a package that is not installed: pip install 'holdfast[{extra}]'"
    cure = f"pip install {missing.replace('_', '-')}" if missing else "install it"
    return f"environment '{name}' needs a package that is not installed ({one_line(fault)}): {cure}"


def _entry_point(name: str) -> str:
    import gymnasium

    return str(getattr(gymnasium.registry.get(name), "entry_point", ""))


def _actions(spec: Spec) -> str:
    return f"{spec.action} discrete actions" if spec.discrete else f"{spec.action} continuous actions"


def _newest(name: str) -> str:
    import gymnasium

    return max(key for key in gymnasium.registry if key.rpartition("-")[0] == name.rpartition("-")[0])


def _box(low: Any, high: Any) -> str:
    return f"[{np.min(low):g}, {np.max(high):g}]"
