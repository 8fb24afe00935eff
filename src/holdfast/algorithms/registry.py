"""Algorithms by name. To add one: write its file, add its row to rows.py, write its page in docs/algorithms.

Algorithms of other packages are known too: those that an installed package registers as an entry point of the group
`holdfast.algorithms`, and those that a caller registers with `register`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import sys
from typing import TYPE_CHECKING

from ..core.errors import UserError, one_line, unknown
from ..core.imports import found_in, import_named
from .rows import ROWS, Row

if TYPE_CHECKING:
    from ..core.contract import Algorithm

GROUP = "holdfast.algorithms"  # of entry points: name = "package.module:algorithm"


_registered: dict[str, Algorithm] = {}  # by callers, in this process


def names() -> list[str]:
    """Every name that the package or an installed package registers."""
    return sorted({**_installed(), **ROWS})


def row(name: str) -> Row:
    """What is known of an algorithm without importing it.

    Raises:
        UserError: the name is not known. The message suggests the nearest name.
    """
    if name in ROWS:
        return ROWS[name]
    if name in _registered:
        return Row(module_of(name) or "", "registered in this process", None)
    if name in _installed():
        entry = _installed()[name]
        return Row(entry.value, f"from the package {entry.dist.name if entry.dist else entry.module}", None)
    raise unknown("algorithm", name, {*names(), *_registered})


def get(name: str) -> Algorithm:
    """The algorithm with this name.

    Raises:
        UserError: the name is not known, with the nearest one, or its package cannot be imported.
    """
    found = row(name)
    if name in ROWS:
        return importlib.import_module(f"{__package__}.{found.module}").algorithm
    return _registered[name] if name in _registered else _loaded(found.module, name)


def every() -> list[Algorithm]:
    """Every algorithm of `names`, without those whose package cannot be imported."""
    found = []
    for name in names():
        try:
            found.append(get(name))
        except UserError:
            if name in ROWS:
                raise
    return found


def register(algorithm: Algorithm) -> str:
    """Make an algorithm known by its name in this process, so that its runs and policies can be opened.

    An algorithm of the same name that was registered before is replaced, for instance by that of an edited cell.

    Args:
        algorithm: an algorithm that this package does not have.

    Returns:
        Its name.

    Raises:
        UserError: another algorithm of this package or of an installed one has the name.
    """
    from ..core.contract import Algorithm

    if not isinstance(algorithm, Algorithm):
        raise UserError(f"algorithm has type {type(algorithm).__name__}, expected a name or a holdfast.Algorithm")
    name = algorithm.name
    if name not in names():
        _registered[name] = algorithm
    elif get(name) != algorithm:
        raise UserError(
            f"'{name}' is the name of an algorithm that is installed: give yours another one, "
            "algorithm._replace(name=...)"
        )
    return name


def is_installed(algorithm: Algorithm) -> bool:
    """Whether every process that runs this package knows the algorithm by its name."""
    try:
        return algorithm.name not in _registered and get(algorithm.name) == algorithm
    except UserError:
        return False


def module_of(name: str) -> str | None:
    """`module:variable` of an algorithm that was registered in this process; None if it cannot be imported from there.

    The module is one in which a function of the algorithm is defined.
    """
    algorithm = _registered.get(name)
    homes = {getattr(part, "__module__", None) for part in algorithm or ()}
    for home in sorted(str(one) for one in homes if one):
        module = sys.modules.get(home)
        if module is not None and not home.startswith("__"):
            for variable, value in vars(module).items():
                if value is algorithm:
                    return f"{home}:{variable}"
    return None


def of_file(name: str, module: str | None, where: str, trust: bool) -> Algorithm:
    """The algorithm that a file names.

    Args:
        name: its name.
        module: `module:variable` from the file, for an algorithm that was registered by its caller.
        where: name of the file, for error messages.
        trust: import the module if the name is not known.

    Raises:
        UserError: the name is not known, and the module is not trusted or does not have the algorithm.
    """
    try:
        return get(name)
    except UserError as fault:
        if name in names():
            raise
        if module is None:
            raise UserError(
                f"{fault}; {where} names it: if it is yours, call holdfast.register(algorithm) first"
            ) from fault
        if not trust:
            raise UserError(
                f"{where} names the algorithm '{name}' of {module}, which is not registered: call "
                "holdfast.register(algorithm) first, or trust the file, which imports that module (trust=True)"
            ) from fault
    found = _loaded(module, name)
    register(found)
    return found


@functools.cache
def _installed() -> dict[str, importlib.metadata.EntryPoint]:
    """Entry points of installed packages by name."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}


def _loaded(place: str, name: str) -> Algorithm:
    """The algorithm that a variable of a module holds.

    Raises:
        UserError: the module cannot be imported, or the variable holds no algorithm of this name.
    """
    from ..core.contract import Algorithm

    module, _, variable = place.partition(":")
    try:
        found = found_in(import_named(module), variable or "algorithm")
    except ImportError as fault:
        raise UserError(f"algorithm '{name}': cannot import {module}: {one_line(fault)}") from fault
    if not isinstance(found, Algorithm) or found.name != name:
        raise UserError(f"algorithm '{name}': {place} is not a holdfast.Algorithm of this name")
    return found
