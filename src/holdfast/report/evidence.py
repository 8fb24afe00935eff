"""What a page says without an environment: estimates, the choice, departures from the log, support, the model card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.errors import UserError
from ..evaluation.ope import departures, result
from ..evaluation.ope.result import OpeResult
from ..policy.policy import Policy
from ..runs.estimates import Estimated, Evidence
from ..runs.read import Record
from .card import card
from .html import Verdict

MOST_GROUPS = 24  # rows of the table of departures that are shown at once


def estimate_verdict(evidence: Evidence) -> Verdict | None:
    """What a page says first if nothing was played; None if there are no estimates."""
    chosen = chosen_of(evidence.estimates)
    if chosen is None:
        return None
    found = chosen.result
    details = [
        f"Nothing was played: this is an estimate from {found.episodes:,} episodes of {found.dataset}, with its 95 % "
        "interval."
    ]
    if len(evidence.estimates) > 1 and not found.refused:
        details.append(f"It is that of {chosen.folder}, the highest of {len(evidence.estimates)} policies, so it is "
                       "too high on average.")  # fmt: skip
    details += [f"{text[:1].upper()}{text[1:]}." for text in found.warnings]
    if found.refused:
        return Verdict("The log does not support an estimate of these policies.",
                       [f"{found.verdict[:1].upper()}{found.verdict[1:]}.", *details[1:]])  # fmt: skip
    change = found.best.difference
    tone = ""
    if change is not None and change.low is not None and change.high is not None:
        tone = "good" if change.low > 0 else "bad" if change.high < 0 else ""
    return Verdict(f"By an estimate without an environment: {found.verdict}.", details, tone)


def chosen_of(estimates: Sequence[Estimated]) -> Estimated | None:
    """The policy with the highest estimate, by an estimator that all policies have if there is one."""
    if not estimates:
        return None
    given = [one for one in estimates if not one.result.refused]
    if not given:
        return estimates[0]
    known = [
        row.name
        for row in given[0].result.rows
        if all(any(r.name == row.name and r.value is not None for r in one.result.rows) for one in given)
    ]
    names = [name for name in (given[0].result.best.name, *result.PREFERRED) if name in known]
    if not names:
        return given[0]
    return max(given, key=lambda one: _value(one.result, names[0]))


def _value(found: OpeResult, name: str) -> float:
    value = found[name].value
    return -float("inf") if value is None else value


def sections(record: Record, evidence: Evidence) -> dict[str, Any]:
    """The values of the page's section; `policies` is empty if nothing is known."""
    chosen = chosen_of(evidence.estimates)
    names = [one.folder for one in evidence.estimates]
    names += [one.folder for one in evidence.departures if one.folder not in names]
    policies = []
    for name in names:
        found = next((one for one in evidence.estimates if one.folder == name), None)
        policies.append(_policy(record, evidence, name, found))
    choice = ""
    if chosen is not None and len(evidence.estimates) > 1 and not chosen.result.refused:
        share = "" if chosen.p_best is None else f", P(best) {chosen.p_best:.2f}"
        choice = f"The choice by estimates is {chosen.folder}{share}."
    return {
        "policies": policies,
        "choice": choice,
        "notes": evidence.notes,
        "card": _card(record, names[0] if chosen is None else chosen.folder) if names else "",
    }


def _policy(record: Record, evidence: Evidence, name: str, found: Estimated | None) -> dict[str, Any]:
    changes = evidence.departures_of(name)
    groups = []
    if changes is not None:
        order = sorted(changes.groups, key=lambda group: (not group.clear, -group.departs))
        groups = [changes.whole.cells(), *(group.cells() for group in order)]
    return {
        "name": name,
        "verdict": "" if found is None else f"{found.result.verdict[:1].upper()}{found.result.verdict[1:]}.",
        "facts": {} if found is None else dict(found.result.facts()),
        "table": None if found is None else filled(result.HEADER, found.result.table()),
        "refused": [] if found is None else found.result.refusals(),
        "departures": [] if changes is None else changes.sentences,
        "groups": filled(departures.HEADER, groups[: MOST_GROUPS + 1]),
        "more": filled(departures.HEADER, groups[MOST_GROUPS + 1 :]),
        "support": _support(record, name),
    }


def filled(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]] | None:
    """A table without the columns in which no row has a text; None if it has no rows."""
    if not rows:
        return None
    kept = [i for i in range(len(header)) if any(row[i] for row in rows)]
    return [header[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _loaded(record: Record, folder: str) -> Policy | None:
    """A policy of the run; None if it cannot be read here, because its algorithm is not installed, say."""
    try:
        return Policy.load(record.path / folder)
    except UserError:
        return None


def _support(record: Record, folder: str) -> list[str]:
    policy = _loaded(record, folder)
    if policy is None or policy.support_model is None:
        return []
    return [f"{text[:1].upper()}{text[1:]}." for text in policy.support_model.lines()]


def _card(record: Record, folder: str) -> str:
    policy = _loaded(record, folder)
    return "" if policy is None else card(policy, record, record.path / folder)
