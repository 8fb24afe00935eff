"""What is wrong with a data set, where, and how to mend it: the common words of sources and checks."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Level = Literal["fatal", "warn", "note"]


@dataclasses.dataclass(frozen=True)
class Where:
    """A place in a data set; what does not apply is None."""

    episode: int | None = None  # from 0
    row: int | None = None  # transition over the whole set, from 0
    column: str | None = None  # column name, with the dimension where there is one: `actions[2]`

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
    """One kind of fault in one column. `fatal`: training would be wrong; `warn`: probably a mistake; `note`: worth
    knowing."""

    level: Level
    kind: str  # a short name that `--allow` takes: `action_bounds`
    where: Where  # the first place
    count: int  # how many rows, dimensions or episodes are concerned
    message: str  # what is wrong and what was expected
    mend: str = ""  # what to do, with the flag where there is one

    def __str__(self) -> str:
        return f"{self.message} ({self.where})" + (f"; {self.mend}" if self.mend else "")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form: sources leave what they saw in `Dataset.provenance["faults"]`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Fault:
        """The fault that `to_dict` wrote."""
        return cls(**{**values, "where": Where(**values["where"])})
