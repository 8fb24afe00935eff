"""Marks of tests with several cases: the quick suite runs some of them, `make test-slow` runs the others."""

from collections.abc import Iterable
from typing import Any

import pytest


def quick(cases: Iterable[Any], *chosen: str) -> list[Any]:
    """The cases as parameters; those that do not begin with a name in `chosen` are marked slow.

    Args:
        cases: names, or tuples that begin with a name.
        chosen: names of the cases of the quick suite.
    """
    rows = [case if isinstance(case, tuple) else (case,) for case in cases]
    missing = set(chosen) - {row[0] for row in rows}
    assert not missing, f"no cases of {missing}"
    return [pytest.param(*row, marks=() if row[0] in chosen else pytest.mark.slow) for row in rows]


both = pytest.mark.parametrize("run", ["plain", "jit"], indirect=True)  # compiled and not, also in the quick suite
