"""Environments as callers give them: an id, an object, a class or a function."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from ...core.errors import UserError, one_line
from ...core.imports import name_of
from .adapter import other_wrappers
from .given import OBJECT, GivenEnv, made_by

if TYPE_CHECKING:
    import gymnasium

    EnvLike: TypeAlias = str | gymnasium.Env | Callable[[], gymnasium.Env]


def named(env: EnvLike) -> str:
    """The environment as an id, an EnvSpec in JSON, or a `GivenEnv`.

    Args:
        env: an id; an environment; or a class or function without arguments that makes a new one in each call. An
            environment is not stepped itself: it is made again from its spec if that describes all of it, else copied.

    Raises:
        UserError: none of these.
    """
    import gymnasium

    if isinstance(env, str):
        return env
    if isinstance(env, gymnasium.Env):
        described = _described(env)
        if described is not None:
            return described
        name = type(env.unwrapped).__name__
        return GivenEnv(f"{OBJECT}{name}", functools.partial(_copied, env, name))
    if not callable(env):
        raise UserError(
            f"env has type {type(env).__name__}, expected an id, a gymnasium.Env, or a class or function that makes one"
        )
    name = getattr(env, "__qualname__", type(env).__name__)
    return GivenEnv(name_of(env) or f"{OBJECT}{name}", functools.partial(made_by, env, name))


def rebound(env: EnvLike, saved: str | None, where: str) -> str:
    """An environment that is given again for a run, under the name that the run has saved.

    Raises:
        UserError: it has another name.
    """
    found = named(env)
    if found != saved:
        remedy = "leave env out" if saved is None else "give the same one"
        raise UserError(f"{where} was started with the environment {saved!r}, not {str(found)!r}: {remedy}")
    return found


def _described(env: gymnasium.Env) -> str | None:
    """The id or EnvSpec of an environment, if that describes all of it; None if not."""
    import gymnasium

    spec = env.spec
    registered = None if spec is None else gymnasium.registry.get(spec.id)
    if spec is None or registered is None or registered.entry_point != spec.entry_point:
        return None
    if spec == registered:
        return spec.id
    try:
        text = spec.to_json()
    except Exception:  # of arguments or wrappers that JSON cannot hold
        return None
    return None if other_wrappers(text) else text


def _copied(env: gymnasium.Env, name: str) -> gymnasium.Env:
    try:
        return copy.deepcopy(env)
    except Exception as fault:
        raise UserError(
            f"the environment {name} cannot be copied ({one_line(fault)}): give its class, or a function that makes a "
            "new one, instead of the object"
        ) from fault
