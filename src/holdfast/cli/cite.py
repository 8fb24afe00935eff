"""`holdfast cite ALGO`: the BibTeX entry of an algorithm's paper."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated

from tyro.conf import Positional, arg

from . import usage


@dataclasses.dataclass(frozen=True)
class Args:
    """Print the BibTeX of an algorithm's paper."""

    algorithm: Positional[Annotated[str, arg(metavar="ALGO")]]
    """Name of the algorithm, see `holdfast algorithms`."""


def main(argv: Sequence[str]) -> int:
    """Print the entry.

    Raises:
        UserError: an unknown name.
    """
    name = usage.parse(Args, "holdfast cite", argv).algorithm
    from ..algorithms import registry
    from ..algorithms.citations import CITATIONS
    from ..core.errors import unknown

    if name not in registry.ROWS:
        raise unknown("algorithm", name, registry.ROWS)
    sys.stdout.write(CITATIONS[registry.ROWS[name].paper] + "\n")
    return 0
