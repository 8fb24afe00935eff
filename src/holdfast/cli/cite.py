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
        UserError: an unknown name, or an algorithm without a citation.
    """
    name = usage.parse(Args, "holdfast cite", argv).algorithm
    from ..algorithms import registry
    from ..algorithms.citations import CITATIONS
    from ..core.errors import UserError

    row = registry.row(name)
    if row.paper not in CITATIONS:
        raise UserError(f"no citation is known for {name} ({row.title}): ask its authors")
    sys.stdout.write(CITATIONS[row.paper] + "\n")
    return 0
