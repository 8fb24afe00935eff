"""Signatures say what they take, and one statement does one thing.

Run it as a program to check single files: `python tests/test_signatures.py src/holdfast/data/split.py`.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "src").rglob("*.py"))
LEAST = 0.95  # share of the arguments whose type is informative


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a file's source."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def arguments(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Line, name, and whether the type is informative, of every argument of a file's functions."""
    for node in nodes(path):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            given = node.args
            every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            for argument in every:
                if argument is None or argument.arg in ("self", "cls"):
                    continue
                typed = argument.annotation is not None and ast.unparse(argument.annotation) not in ("Any", "object")
                yield node.lineno, f"{node.name}({argument.arg})", typed


def packs(path: Path) -> list[int]:
    """Lines that assign several computed values at once: `a, b = f(x), g(y)`.

    Plain values (`a, b = b, a` or `low, high = -1, 1`) are no computation.
    """
    found = []
    for node in nodes(path):
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)):
            continue
        if not any(isinstance(target, ast.Tuple) for target in node.targets):
            continue
        if any(isinstance(part, (ast.Call, ast.IfExp, ast.ListComp, ast.BinOp)) for x in node.value.elts
               for part in ast.walk(x)):  # fmt: skip
            found.append(node.lineno)
    return found


def test_arguments_have_informative_types() -> None:
    every = [(path, *found) for path in FILES for found in arguments(path)]
    vague = [f"{path.relative_to(ROOT)}:{line} {name}" for path, line, name, typed in every if not typed]
    share = 1 - len(vague) / len(every)
    assert share >= LEAST, f"{share:.1%} of {len(every)} arguments; vague:\n" + "\n".join(vague[:60])


def test_unrelated_values_are_assigned_one_by_one() -> None:
    found = [f"{path.relative_to(ROOT)}:{line}" for path in FILES for line in packs(path)]
    assert not found, f"{len(found)} tuple assignments compute several values:\n" + "\n".join(found[:60])


def test_a_pack_is_found(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text("a, b = f(1), 2\nc, d = d, c\ne, g = f(1)\n\n\ndef h(x, y: int, z: Any):\n    pass\n")
    assert packs(file) == [1]
    assert [typed for _, _, typed in arguments(file)] == [False, True, False]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        vague = [f"{name}:{line}: vague {argument}" for line, argument, typed in arguments(Path(name)) if not typed]
        text = [*vague, *(f"{name}:{line}: packed assignment" for line in packs(Path(name)))]
        sys.stdout.write("".join(f"{line}\n" for line in text))
