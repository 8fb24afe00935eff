"""What `explain` returns: an action of a policy with its attributions, its alternatives and the nearest logged ones."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..core.shown import facts_html, line, table_html

NEAREST_HEADER = ("episode", "step", "distance", "action", "reward", "return from there")
VALUES_HEADER = ("action", "probability", "value", "note")


@dataclasses.dataclass(frozen=True)
class Neighbour:
    """A logged transition whose state is near."""

    episode: int
    step: int
    distance: float  # in standard deviations of the log, root mean square over the columns
    action: str
    reward: float
    return_to_go: float  # undiscounted sum of the rewards from there

    def cells(self) -> tuple[str, ...]:
        """The texts of `NEAREST_HEADER`."""
        return (str(self.episode), str(self.step), f"{self.distance:.3g}", self.action, f"{self.reward:.4g}",
                f"{self.return_to_go:.4g}")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Choice:
    """An action that the policy could take."""

    action: str
    probability: float | None  # None: continuous actions, or no distribution
    value: float | None  # expected discounted return in treated rewards; None: no critic
    note: str = ""  # chosen, logged, near

    def cells(self) -> tuple[str, ...]:
        """The texts of `VALUES_HEADER`."""
        probability = "" if self.probability is None else f"{self.probability:.3g}"
        return (self.action, probability, "" if self.value is None else f"{self.value:.4g}", self.note)


@dataclasses.dataclass(frozen=True)
class Attribution:
    """What one observation column adds to each output, from the mean observation of the log to this one."""

    column: str
    value: str
    parts: tuple[float, ...]  # one for each output


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Why a policy takes an action.

    Attributes:
        policy: name of the algorithm.
        where: which observation it is.
        action: what the policy does.
        logged: what was logged; empty if the observation is not from the log.
        support: score of the policy's action; None: it has none.
        outputs: what is attributed: the log-probability or value of the action, or each dimension of the action.
        before: the outputs at the mean observation of the log.
        after: the outputs here.
        attributions: one for each column, the largest first; they add up to the change of the outputs.
        choices: actions with their probabilities and values.
        nearest: logged transitions from the nearest states.
        notes: what is not known, and why.
    """

    policy: str
    where: str
    action: str
    logged: str
    support: float | None
    outputs: tuple[str, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    attributions: tuple[Attribution, ...]
    choices: tuple[Choice, ...]
    nearest: tuple[Neighbour, ...]
    notes: tuple[str, ...]

    @property
    def attribution_header(self) -> tuple[str, ...]:
        """The columns of `attribution_table`."""
        return ("column", "value", *self.outputs)

    def attribution_table(self) -> list[tuple[str, ...]]:
        """The cells of every column, and the outputs at the mean observation and here."""
        if not self.outputs:
            return []
        rows = [(one.column, one.value, *(f"{x:+.3g}" for x in one.parts)) for one in self.attributions]
        first = ("mean observation", "", *(f"{x:.4g}" for x in self.before))
        return [first, *rows, ("this observation", "", *(f"{x:.4g}" for x in self.after))]

    def facts(self) -> list[tuple[str, str]]:
        """Name and value of the decision."""
        found = [("observation", self.where), ("action of the policy", self.action)]
        found += [("logged action", self.logged)] if self.logged else []
        return found + ([("support", f"{self.support:.3g}")] if self.support is not None else [])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        most = f", most by {self.attributions[0].column}" if self.attributions else ""
        return line("Explanation", f"{self.policy} does {self.action} at {self.where}{most}")

    def _repr_html_(self) -> str:
        return (
            facts_html(f"A decision of {self.policy}", [*self.facts(), *(("note", note) for note in self.notes)])
            + table_html("attribution", self.attribution_header, self.attribution_table())
            + table_html("actions", VALUES_HEADER, [one.cells() for one in self.choices])
            + table_html("nearest logged transitions", NEAREST_HEADER, [one.cells() for one in self.nearest])
        )
