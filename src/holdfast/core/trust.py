"""What a file may decide: an environment that it names must not import a module or open another file."""

from __future__ import annotations

from typing import Any

from .errors import UserError
from .files import JSON, parse_json

NAME_IT = "name it yourself with --env (env= in Python)"


def environment_in(env: str | None, where: str, remedy: str = NAME_IT) -> Any:
    """The environment that a file names, after a check that making it runs no code and opens no file of its choice.

    Gymnasium imports the module in an id of the form `module:Name-v0`. Only the id that a person gives may have one.

    Args:
        env: an id, or an EnvSpec as JSON; None: the file names none.
        where: what names it, for the error message: "the data set x".
        remedy: what to do instead, for the error message.

    Returns:
        `env`.

    Raises:
        UserError: an id with a module, arguments that name a file, or JSON that is not an EnvSpec.
    """
    if env is None:
        return None
    if not isinstance(env, str):
        raise UserError(f"{where} names an environment by {type(env).__name__}, expected text: {remedy}")
    name = env
    if env.lstrip().startswith("{"):
        spec = parse_json(env, f"the environment spec of {where}")
        name = spec.get("id")
        if not isinstance(name, str):
            raise UserError(f"the environment spec of {where} has no id that is text: {remedy}")
        path = _path_in(spec.get("kwargs"), name)
        if path is not None:
            raise UserError(f"{where} names the file {path!r} as an argument of its environment {name}: {remedy}")
    if ":" in name:
        raise UserError(
            f"{where} names the environment {name!r}, which would import the module before the colon: files may not "
            f"name modules; {remedy}, if you trust it"
        )
    return env


def names_module(env: str | None) -> bool:
    """Whether the id of an environment names a module, or cannot be read."""
    try:
        environment_in(env, "")
    except UserError:
        return True
    return False


def _path_in(value: JSON, name: str) -> str | None:
    """The first text in JSON that looks like the path of a file; None if there is none.

    The id `name` does not count as a path: environments of this library (jax/Spread-v0) are registered with it as an
    argument.
    """
    if isinstance(value, str):
        looks = any(c in value for c in "/\\") or value.startswith("~")
        return value if looks and value != name else None
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for one in inside if (found := _path_in(one, name)) is not None), None)
