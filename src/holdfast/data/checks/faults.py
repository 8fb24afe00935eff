"""`Fault`: what is wrong with a data set, where, and how to fix it. Sources and checks report faults in this form."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from ...core.errors import UserError

Level = Literal["fatal", "warn", "note"]


@dataclasses.dataclass(frozen=True)
class Where:
    """A place in a data set. A field that does not apply is None."""

    episode: int | None = None  # from 0
    row: int | None = None  # number of the transition in the whole data set, from 0
    column: str | None = None  # column name, with the dimension if it has several: `actions[2]`

    def __str__(self) -> str:
        parts = []
        if self.episode is not None:
            parts.append(f"episode {self.episode}")
        if self.row is not None:
            parts.append(f"row {self.row}")
        if self.column is not None:
            parts.append(self.column)
        return ", ".join(parts) or "the whole set"


@dataclasses.dataclass(frozen=True)
class Fault:
    """One kind of fault in one column.

    Levels: `fatal`: training would be wrong; `warn`: probably a mistake; `note`: for information.
    """

    level: Level
    kind: str  # a short name, as `--allow` takes it: `action_bounds`
    where: Where  # the first place
    count: int  # how many rows, dimensions or episodes have the fault
    message: str  # what is wrong and what was expected
    fix: str = ""  # what to do, with the flag to use if there is one

    def __str__(self) -> str:
        return f"{self.message} ({self.where})" + (f"; {self.fix}" if self.fix else "")

    def to_dict(self) -> dict[str, Any]:
        """The JSON-ready form, in which sources store faults in `Dataset.provenance["faults"]`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Fault:
        """The fault that `to_dict` wrote.

        Raises:
            UserError: other entries.
        """
        try:
            fault = cls(**{**values, "where": Where(**values["where"])})
        except (TypeError, KeyError) as error:
            raise UserError("a fault noted in the data set cannot be read: write the set again") from error
        if fault.level not in ("fatal", "warn", "note"):
            raise UserError(f"a fault noted in the data set has the level {fault.level!r}: write the set again")
        return fault
