"""`holdfast export RUN_OR_POLICY`: write a policy as one file for other programs."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ..core.errors import UserError
from . import usage


@dataclasses.dataclass(frozen=True)
class Args:
    """Write a policy as one file for other programs: raw rows in, actions out, any number of rows.

    The file is compared with the policy in JAX on 1,000 random rows. If it does not agree, it is not written. A score
    of support (`holdfast support`) is part of the file. The model card is written next to it, as FILE.md.
    """

    path: Positional[Annotated[Path, arg(metavar="RUN")]]
    """Folder of a run, or of a policy (with policy.json)."""
    to: Literal["onnx", "stablehlo", "numpy"] = "onnx"
    """onnx: for ONNX Runtime. stablehlo: for jax.export and other compilers. numpy: for Python with NumPy only."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """The file, or a folder for it. None: the folder of the policy."""
    mode: Literal["best", "sample"] = "best"
    """best: the most likely action. sample: a draw from the policy, from noise that is an input."""
    support: bool = True
    """Write the score of support and its fallback, if the policy has them; --no-support leaves them out."""
    card: bool = True
    """Write the model card next to the file; --no-card leaves it out."""
    json: bool = False
    """Print the description of the file as JSON."""


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 if it succeeded.

    Raises:
        UserError: not one policy, a part that cannot be exported, or a file that does not agree with the policy.
    """
    args = usage.parse(Args, "holdfast export", argv)
    from ..policy.folder import policies_in
    from ..policy.policy import Policy
    from ..report.card import write_card
    from ..runs.folder import run_of

    folders = policies_in(args.path)
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise UserError(f"{args.path} has {len(folders)} policies ({names}): name the folder of one, {folders[0]}")
    policy = Policy.load(folders[0])
    given = policy if args.support else policy.without_support()
    made = given.export(folders[0] if args.out is None else args.out, args.to, args.mode)
    card = None
    if args.card:
        facts = {**made.facts, "file": made.path.name}
        place = made.path.with_name(f"{made.path.name}.md")
        card = write_card(given, place, run_of(folders[0]), folders[0], facts)
    if args.json:
        sys.stdout.write(json.dumps({"path": str(made.path), **made.facts}, indent=2) + "\n")
        return 0
    inputs = ", ".join(f"{each['name']} {each['dtype']} {_shape(each)}" for each in made.facts["inputs"])
    outputs = ", ".join(f"{each['name']} {each['dtype']} {_shape(each)}" for each in made.facts["outputs"])
    sys.stdout.write(
        f"{made.path}: {inputs} -> {outputs}\n"
        f"agrees with the policy in {made.parity.rows - made.parity.others:,} of {made.parity.rows:,} random rows, "
        f"largest difference {made.parity.difference:.1e}\n"
    )
    if card is not None:
        sys.stdout.write(f"{card}\n")
    return 0


def _shape(port: dict) -> str:
    return f"[{', '.join(map(str, port['shape']))}]"
