"""The floors of the house: a room imports only rooms below it, and nothing imports in a circle.

The imports are read from the source. Imports inside functions count too.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "holdfast"

# From the top down. `__init__` is the public face: the package itself, with what it hands on from the rooms.
FLOORS = [
    "__main__",
    "cli",
    "__init__",
    "studies",
    "collection",
    "tuning",
    "selection",
    "training",
    "report",
    "runs",
    "evaluation",
    "policy",
    "algorithms",
    "dynamics",
    "data",
    "environments",
    "parts",
    "core",
]
GROUND = {
    "jax",
    "equinox",
    "optax",
    "numpy",
}  # all that core and parts may import, with the standard library
NOT_AT_ONCE = ["gymnasium", "minari", "h5py", "mujoco", "Box2D", "matplotlib", "plotly", "tensorboard"]


def name_of(path: Path) -> str:
    """Dotted name of a source file: `holdfast.core.noise`, and `holdfast.core` for a package's `__init__`."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


@functools.cache
def imports(module: str) -> tuple[tuple[str, int, bool], ...]:
    """What a module imports: (dotted name, line, whether it happens as soon as the module is loaded).

    `from package import name` counts as the module `package.name` if it exists, else as `package`.
    """
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]

    def visit(node: ast.AST, at_once: bool) -> Iterator[tuple[str, int, bool]]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, at_once
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield (inner if inner in MODULES else base), node.lineno, at_once
        else:
            lazy = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or typing_only(node)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, at_once and not lazy)

    return tuple(visit(ast.parse(path.read_text(encoding="utf-8")), True))


def typing_only(node: ast.AST) -> bool:
    """Whether a node is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def room(module: str) -> str:
    """The room that a module of Holdfast belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def own(module: str) -> list[tuple[str, int]]:
    """What a module imports from Holdfast."""
    return [(name, line) for name, line, _ in imports(module) if name.split(".")[0] == "holdfast"]


def where(module: str, line: int) -> str:
    return f"{MODULES[module].relative_to(ROOT).as_posix()}:{line}"


def test_every_room_has_its_floor() -> None:
    assert MODULES, f"no source under {SOURCE}"
    unknown = sorted({room(m) for m in MODULES} - set(FLOORS))
    assert not unknown, f"give {unknown} a place in FLOORS"


def test_the_picture_shows_every_room() -> None:
    picture = (ROOT / "docs" / "assets" / "rooms.svg").read_text(encoding="utf-8")
    shown = re.findall(r'font-weight="600">([a-z]+)<', picture)
    assert sorted(shown) == sorted({room(m) for m in MODULES} - {"__main__", "__init__"})


def test_rooms_import_only_rooms_below() -> None:
    faults = [
        f"{where(module, line)} imports {name}: {room(name)} is above {room(module)}"
        for module in MODULES
        for name, line in own(module)
        if FLOORS.index(room(name)) < FLOORS.index(room(module))
    ]
    assert not faults, "\n".join(faults)


def test_imports_exist() -> None:
    faults = [f"{where(m, line)} imports {name}" for m in MODULES for name, line in own(m) if name not in MODULES]
    assert not faults, "no such module:\n" + "\n".join(faults)


def test_core_and_parts_import_jax_alone() -> None:
    allowed = GROUND | sys.stdlib_module_names | {"holdfast", "_typeshed"}  # the last one exists for type checkers only
    faults = [
        f"{where(module, line)} imports {name}"
        for module in MODULES
        if room(module) in ("core", "parts")
        for name, line, _ in imports(module)
        if name.split(".")[0] not in allowed
    ]
    assert not faults, "\n".join(faults)


def test_loading_a_module_needs_no_extra() -> None:
    """A package that only an extra brings is imported inside the function that uses it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = {re.match(r"[A-Za-z0-9_-]+", line).group() for line in project["dependencies"]}
    allowed = base | sys.stdlib_module_names | {"holdfast"}
    faults = [
        f"{where(module, line)} imports {name}"
        for module in MODULES
        for name, line, at_once in imports(module)
        if at_once and name.split(".")[0] not in allowed
    ]
    assert not faults, "\n".join(faults)


def test_no_module_imports_in_a_circle() -> None:
    graph = {m: sorted({name for name, _ in own(m)} & MODULES.keys() - {m}) for m in MODULES}
    done: set[str] = set()
    path: list[str] = []

    def walk(module: str) -> None:
        if module in path:
            pytest.fail(" -> ".join([*path[path.index(module) :], module]))
        if module not in done:
            path.append(module)
            for below in graph[module]:
                walk(below)
            done.add(path.pop())

    for module in graph:
        walk(module)


def test_import_holdfast_loads_nothing_heavy() -> None:
    program = f"import holdfast, json, sys; print(json.dumps([m for m in {NOT_AT_ONCE} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
