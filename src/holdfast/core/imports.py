"""Imports of modules that a person names, also from the current folder."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from .errors import UserError, one_line


def import_named(module: str) -> ModuleType:
    """Import a module that a person names. It may be in the current folder.

    Never call this with a name that comes from a file, unless a person trusts the file (see `core.trust`).

    Args:
        module: dotted name of the module.

    Raises:
        UserError: there is no such module, or it cannot be imported.
    """
    if not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"'{module}' is not the name of a module: expected a name as in an import, for example my_envs")
    with _current_folder():
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as fault:
            if fault.name is None or not f"{module}.".startswith(f"{fault.name}."):
                raise  # another package that the module needs
            raise UserError(
                f"cannot import {module}: it is neither installed nor in the current folder {os.getcwd()}"
            ) from fault
        except Exception as fault:
            raise UserError(f"cannot import {module}: {type(fault).__name__}: {one_line(fault)}") from fault


def found_in(module: ModuleType, name: str) -> Any:
    """The attribute of a module that a dotted name leads to; None if there is none."""
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def name_of(value: Callable[..., object]) -> str | None:
    """`module:name`, by which another process can import a class or a function; None if it cannot.

    Lambdas, functions inside functions, and what a script or a notebook defines cannot be imported.
    """
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module.startswith("__"):
        return None
    home = sys.modules.get(module)
    return f"{module}:{name}" if home is not None and found_in(home, name) is value else None


@contextlib.contextmanager
def _current_folder() -> Iterator[None]:
    """Look for modules in the current folder last, so that none of its files takes the place of an installed one."""
    folder = os.getcwd()
    if folder in sys.path or "" in sys.path:
        yield
        return
    importlib.invalidate_caches()
    sys.path.append(folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
