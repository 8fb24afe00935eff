"""`holdfast card RUN`: the model card of each policy of a run, as Markdown."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..core.errors import UserError
from . import usage


@dataclasses.dataclass(frozen=True)
class Args:
    """Write the model card of each policy of a run: data, method, settings, results, estimates, support, limits.

    It contains the estimates of `holdfast ope`, the departures of `holdfast explain` and the score of `holdfast
    support`, if these commands were run before.
    """

    path: Positional[Annotated[Path, arg(metavar="RUN_OR_POLICY")]]
    """Folder of a run, or of a policy (with policy.json)."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """The file, or a folder for it; for one policy. None: MODEL_CARD.md in the folder of each policy."""


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 if it succeeded.

    Raises:
        UserError: not a policy, several policies for one file, or a file that cannot be written.
    """
    args = usage.parse(Args, "holdfast card", argv)
    from ..policy.folder import policies_in
    from ..policy.policy import Policy
    from ..report.card import write_card
    from ..runs.folder import run_of

    folders = policies_in(args.path)
    if args.out is not None and len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise UserError(f"{args.path} has {len(folders)} policies ({names}): name the folder of one, {folders[0]}")
    for folder in folders:
        path = write_card(Policy.load(folder), folder if args.out is None else args.out, run_of(folder), folder)
        sys.stdout.write(f"{path}\n")
    return 0
