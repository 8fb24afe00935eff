"""The name of an environment that a person gives as an object, a class or a function, instead of an id."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...core.errors import UserError, one_line

if TYPE_CHECKING:
    import gymnasium

OBJECT = "object/"  # begins the name of an environment that only the process can make in which it was given


class GivenEnv(str):
    """The name of an environment that a person gave, with the function that makes it.

    It is a text, so it is saved and shown as an id is. Only the text reaches a file or another process. They can make
    the environment if the text is `module:name`, and not if it begins with `OBJECT`.
    """

    make: Callable[[], gymnasium.Env]

    def __new__(cls, name: str, make: Callable[[], gymnasium.Env]) -> GivenEnv:
        made = super().__new__(cls, name)
        made.make = make
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> GivenEnv:
        """Itself: a copy of the text alone could not make the environment."""
        return self


def made_by(make: Callable[[], gymnasium.Env], name: str) -> gymnasium.Env:
    """The environment that a class or function makes.

    Raises:
        UserError: it raises, or returns something else.
    """
    import gymnasium

    try:
        made = make()
    except UserError:
        raise
    except Exception as fault:
        raise UserError(f"environment {name} cannot be made: {type(fault).__name__}: {one_line(fault)}") from fault
    if not isinstance(made, gymnasium.Env):
        raise UserError(f"{name} made an object of type {type(made).__name__}, expected a gymnasium.Env")
    return made


def require_importable(env: str) -> None:
    """Refuse an environment that a worker process cannot make.

    Raises:
        UserError: naming it.
    """
    if env.startswith(OBJECT):
        raise UserError(
            f"a worker process cannot import the environment {env.removeprefix(OBJECT)}: give a class or function of a "
            "module, or an id, or leave workers out"
        )


def gone(env: str) -> UserError:
    """The error for the name of an environment that was given as an object or a function in another process."""
    return UserError(
        f"the environment {env.removeprefix(OBJECT)} was given as an object or a function, which a file cannot hold: "
        "give it again from Python, with env=..."
    )
