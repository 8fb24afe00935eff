"""What `holdfast.ope` gives back: estimates with intervals and reasons, and how they compare with the log."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.errors import UserError
from ...core.schema import require_types
from ...core.shown import facts_html, line, table_html
from ..statistics import Estimate
from .diagnostics import Support, joined

HEADER = ("estimator", "value", "interval", "against the log", "effective episodes", "note")
PREFERRED = ("dr", "wdr", "sn_pdis", "wis", "fqe")
ENOUGH = 50.0  # effective episodes from which weights are preferred to the model alone


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """One estimator's answer. The numbers are None if it is refused."""

    name: str
    title: str
    value: float | None
    error: float | None  # standard error
    interval: Estimate | None
    method: str  # of the interval
    difference: Estimate | None  # value of the policy minus that of the log, from the same resamples
    effective: float | None  # effective number of episodes at the last step; None: no weights
    warnings: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    draws: np.ndarray | None = None  # [B] values in the resamples
    wider: float = 0.0  # of that, what each bound has moved outwards by for errors of the model

    def cells(self) -> tuple[str, ...]:
        """The texts of `HEADER`."""
        note = joined((*self.refused, *self.warnings))
        size = "" if self.effective is None else f"{self.effective:.0f}"
        return (self.name, number(self.value), bounds(self.interval), signed(self.difference), size, note)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name in STORED_ROW}
        for name in ("interval", "difference"):
            found[name] = None if found[name] is None else found[name]._asdict()
        return {**found, "warnings": list(self.warnings), "refused": list(self.refused)}


@dataclasses.dataclass(frozen=True, eq=False)
class OpeResult:
    """Estimates of the value of one policy from one log, in raw rewards an episode."""

    policy: str
    dataset: str
    mode: str
    discount: float
    horizon: int | None  # steps of an episode; None: discounted value without a horizon
    episodes: int
    rows: tuple[Row, ...]
    logged: Estimate  # mean return of the log with its interval
    support: Support | None  # of the weights; None: no propensities
    behaviour: dict[str, Any]  # source of the propensities and their calibration
    model: dict[str, Any]  # facts of the model of values
    returns: dict[str, Estimate] = dataclasses.field(default_factory=dict)  # facts of the distribution of returns
    guarantee: tuple[float, float] | None = None  # bounds for finite n, each at the level of the intervals
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Row:
        """The answer of one estimator.

        Raises:
            UserError: it was not asked for.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise UserError(f"no estimate '{name}'; there are {', '.join(row.name for row in self.rows)}")

    @property
    def best(self) -> Row:
        """The estimate to read first: with a model and weights if the weights have support, else that of the model.

        Raises:
            UserError: every estimator is refused.
        """
        given = [row for name in PREFERRED for row in self.rows if row.name == name and row.value is not None]
        given += [row for row in self.rows if row.value is not None and row not in given]
        if not given:
            raise UserError(f"no estimate of {self.policy} on {self.dataset}: {joined(self.rows[0].refused)}")
        strong = [row for row in given if row.effective is not None and row.effective >= ENOUGH]
        plain = [row for row in given if row.name == "fqe"]
        return (strong or plain or given)[0]

    @property
    def refused(self) -> bool:
        """Whether every estimator is refused."""
        return all(row.value is None for row in self.rows)

    @property
    def verdict(self) -> str:
        """One sentence: how much better or worse than the log."""
        if self.refused:
            return f"no estimate: {joined(self.rows[0].refused)}"
        row = self.best
        if row.difference is None:
            return f"{row.name}: {number(row.value)} {bounds(row.interval)}"
        change = row.difference
        known = change.low is not None and change.high is not None
        better = known and change.low > 0  # type: ignore[operator]
        worse = known and change.high < 0  # type: ignore[operator]
        word = (
            "better than the log" if better else "worse than the log" if worse else "not clearly different from the log"
        )
        return f"{word}: {signed(change)} ({row.name})"

    def minus(self, other: OpeResult, name: str | None = None, level: float = 0.95) -> Estimate:
        """The value of this policy minus that of another one, with a paired interval from the same resamples.

        Args:
            other: an estimate on the same log, with the same seed.
            name: the estimator; None: that of `best`.
            level: confidence level.

        Raises:
            UserError: other data, or an estimator that is refused for one of them.
        """
        chosen = self.best.name if name is None else name
        one = self[chosen]
        two = other[chosen]
        same = (self.dataset, self.episodes, self.discount, self.horizon)
        if same != (other.dataset, other.episodes, other.discount, other.horizon):
            raise UserError("the two estimates are of different data, discounts or horizons: they cannot be compared")
        if one.value is None or two.value is None:
            refused = one if one.value is None else two
            raise UserError(f"{chosen} is refused for one of the policies: {joined(refused.refused)}")
        if one.draws is None or two.draws is None or len(one.draws) != len(two.draws):
            raise UserError(f"the two estimates of {chosen} have different resamples: use the same seed and settings")
        low, high = np.quantile(one.draws - two.draws, [(1 - level) / 2, (1 + level) / 2])
        wider = one.wider + two.wider
        return Estimate(one.value - two.value, float(low) - wider, float(high) + wider)

    def table(self) -> list[tuple[str, ...]]:
        """The cells of every estimate that is given, see `HEADER`."""
        return [row.cells() for row in self.rows if row.value is not None]

    def refusals(self) -> list[tuple[str, str]]:
        """Names of refused estimators with the reason that they share."""
        found: dict[str, list[str]] = {}
        for row in self.rows:
            if row.value is None:
                found.setdefault(joined(row.refused), []).append(row.name)
        return [(", ".join(names), reason) for reason, names in found.items()]

    def facts(self) -> list[tuple[str, str]]:
        """Name and value of what was estimated and how."""
        length = "without a horizon" if self.horizon is None else f"{self.horizon} steps"
        found = [
            ("policy", f"{self.policy}, actions: {self.mode}"),
            ("data", f"{self.dataset}, {self.episodes} episodes"),
            ("value", f"sum of rewards an episode, {length}, discount {self.discount:g}"),
            ("log", f"{number(self.logged.value)} {bounds(self.logged)}"),
        ]
        if self.behaviour:
            found.append(("propensities", _texts(self.behaviour)))
        if self.model:
            found.append(("model", _texts(self.model)))
        if self.support is not None:
            found.append(("evaluable horizon", f"{self.support.horizon} of {len(self.support.effective)} steps"))
        found += [(name, f"{number(one.value)} {bounds(one)}") for name, one in self.returns.items()]
        if self.guarantee is not None:
            found.append(("guaranteed bounds", " to ".join(map(number, self.guarantee))))
        return found

    def to_dict(self) -> dict[str, Any]:
        """All values, JSON-ready."""
        return {
            "policy": self.policy,
            "dataset": self.dataset,
            "mode": self.mode,
            "discount": self.discount,
            "horizon": self.horizon,
            "episodes": self.episodes,
            "verdict": self.verdict,
            "estimates": [row.to_dict() for row in self.rows],
            "logged": self.logged._asdict(),
            "effective_episodes": None if self.support is None else self.support.effective.tolist(),
            "evaluable_horizon": None if self.support is None else self.support.horizon,
            "behaviour": self.behaviour,
            "model": self.model,
            "returns": {name: one._asdict() for name, one in self.returns.items()},
            "guarantee": None if self.guarantee is None else list(self.guarantee),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str) -> OpeResult:
        """What `to_dict` wrote. The resamples are not stored, so `minus` is not available.

        Args:
            values: the values.
            where: name of their file, for error messages.

        Raises:
            UserError: an entry is missing or of another type.
        """
        found = require_types(values, STORED, where, tuple(STORED))
        rows = []
        for one in found["estimates"]:
            row = require_types(one, STORED_ROW, f"estimates in {where}", tuple(STORED_ROW))
            parts = {name: row[name] for name in STORED_ROW}
            for name in ("interval", "difference"):
                parts[name] = _estimate(row[name], where)
            rows.append(Row(**{**parts, "warnings": tuple(row["warnings"]), "refused": tuple(row["refused"])}))
        if not rows:
            raise UserError(f"{where} has no estimates: run holdfast ope again")
        logged = _estimate(found["logged"], where)
        assert logged is not None
        returns = {name: one for name, each in found["returns"].items() if (one := _estimate(each, where)) is not None}
        support = None
        if found["effective_episodes"]:
            effective = np.asarray(found["effective_episodes"], np.float64)
            blank = np.full(len(effective), np.nan)
            support = Support(effective, blank, blank, blank, 0, int(found["evaluable_horizon"] or 0))
        guarantee = found["guarantee"]
        return cls(
            **{name: found[name] for name in ("policy", "dataset", "mode", "discount", "horizon", "episodes")},
            rows=tuple(rows),
            logged=logged,
            support=support,
            behaviour=found["behaviour"],
            model=found["model"],
            returns=returns,
            guarantee=None if guarantee is None else (guarantee[0], guarantee[1]),
            warnings=tuple(found["warnings"]),
        )

    def __repr__(self) -> str:
        return line("OpeResult", f"{self.policy} on {self.dataset}: {self.verdict}")

    def _repr_html_(self) -> str:
        table = table_html("estimates", HEADER, self.table())
        refused = table_html("refused", ("estimators", "reason"), self.refusals())
        return facts_html(self.verdict, self.facts()) + table + (refused if self.refusals() else "")


STORED: dict[str, Any] = {
    "policy": str,
    "dataset": str,
    "mode": str,
    "discount": float,
    "horizon": int | None,
    "episodes": int,
    "estimates": list[dict[str, Any]],
    "logged": dict[str, float | None],
    "effective_episodes": list[float] | None,
    "evaluable_horizon": int | None,
    "behaviour": dict[str, Any],
    "model": dict[str, Any],
    "returns": dict[str, dict[str, float | None]],
    "guarantee": tuple[float, float] | None,
    "warnings": list[str],
}
STORED_ROW: dict[str, Any] = {
    "name": str,
    "title": str,
    "value": float | None,
    "error": float | None,
    "interval": dict[str, float | None] | None,
    "method": str,
    "difference": dict[str, float | None] | None,
    "effective": float | None,
    "warnings": list[str],
    "refused": list[str],
}


def _estimate(values: dict[str, float | None] | None, where: str) -> Estimate | None:
    if values is None:
        return None
    found = require_types(values, {"value": float, "low": float | None, "high": float | None}, where, Estimate._fields)
    if (found["low"] is None) != (found["high"] is None):
        raise UserError(f"{where} has an interval with one bound: run holdfast ope again")
    return Estimate(found["value"], found["low"], found["high"])


def number(value: float | None) -> str:
    """A value with four digits."""
    return "-" if value is None else f"{value:.4g}"


def bounds(interval: Estimate | None) -> str:
    """`[low, high]`, or an empty text."""
    return "" if interval is None or interval.low is None else f"[{interval.low:.4g}, {interval.high:.4g}]"


def signed(change: Estimate | None) -> str:
    """A difference with its sign and interval."""
    return "" if change is None else f"{change.value:+.4g} {bounds(change)}".strip()


def _texts(facts: dict[str, Any]) -> str:
    parts: Sequence[str] = [f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items()]
    return ", ".join(parts)
