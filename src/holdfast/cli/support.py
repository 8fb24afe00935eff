"""`holdfast support RUN --data LOG`: a score of support for the policies of a run."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from ..core.errors import UserError
from . import usage
from .options import DataFlags

if TYPE_CHECKING:
    from ..policy.policy import Policy


@dataclasses.dataclass(frozen=True)
class Args:
    """Fit a score of support: how near a state and an action are to a log. It is saved and exported with the policy.

    The score is the share of held-out logged decisions that are at least as far from the log.
    """

    path: Positional[Annotated[Path, arg(metavar="RUN_OR_POLICY")]]
    """Folder of a run, or of a policy (with policy.json)."""
    data: str
    """The log that the policy learned from: a bundled name, a Minari id or folder, a .hdf5, .npz, .csv or .parquet
    file."""
    false_alarms: float = 0.05
    """Share of the decisions of such a log that may be flagged."""
    fallback: tuple[str, ...] = ()
    """What acts if the score is too low: nearest (the action logged in the nearest state), the folder of another run
    or policy (the cloned behaviour), or an action (numbers, or a label of a table). None: only the score is given."""
    rows: int = 2000
    """Logged decisions that are kept, at most."""
    seed: int = 0
    """Seed of the held-out episodes and of the rows."""
    json: bool = False
    """Print JSON."""
    reading: DataFlags = dataclasses.field(default_factory=DataFlags)


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 if it succeeded.

    Raises:
        UserError: not a policy, a log that does not belong to it, or a fallback that does not fit.
    """
    args = usage.parse(Args, "holdfast support", argv)
    from ..policy.folder import policies_in
    from ..policy.policy import Policy

    data = args.reading.load(args.data)
    made: list[tuple[Path, Policy]] = []
    for folder in policies_in(args.path):
        policy = Policy.load(folder)
        made.append((folder, policy.with_support(
            data, false_alarms=args.false_alarms, fallback=fallback_of(policy, args.fallback), rows=args.rows,
            seed=args.seed,
        )))  # fmt: skip
    found = []
    for folder, policy in made:
        policy.save(folder)
        assert policy.support_model is not None
        found.append({"folder": str(folder), **policy.support_model.to_dict()})
        if not args.json:
            sys.stdout.write(f"{folder}: {'; '.join(policy.support_model.lines())}\n")
    if args.json:
        sys.stdout.write(json.dumps({"policies": found}, indent=2) + "\n")
    return 0


def fallback_of(policy: Policy, texts: Sequence[str]) -> Any:
    """What `--fallback` names, as `policy.with_support` takes it.

    Raises:
        UserError: neither nearest, a folder, a label, nor numbers.
    """
    if not texts:
        return None
    if len(texts) == 1 and (texts[0] == "nearest" or Path(texts[0]).is_dir()):
        return texts[0]
    if policy.table is not None and policy.spec.discrete:
        return texts[0] if len(policy.table.action.columns) == 1 else list(texts)
    try:
        numbers = [int(text) if policy.spec.discrete else float(text) for text in texts]
    except ValueError:
        kind = "a whole number" if policy.spec.discrete else f"{policy.spec.action} numbers"
        raise UserError(
            f"--fallback {' '.join(texts)}: expected nearest, the folder of a run or policy, or an action ({kind})"
        ) from None
    return numbers[0] if policy.spec.discrete and policy.raw_action_space is None else numbers
