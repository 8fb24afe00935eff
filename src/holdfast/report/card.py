"""The model card of a policy, as Markdown: data, method, settings, results, estimates, support, departures, limits.

The sections follow Mitchell et al. 2019, "Model cards for model reporting". Nothing is written that is not known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..algorithms import registry
from ..algorithms.citations import CITATIONS
from ..core import config
from ..core.errors import UserError, printable
from ..core.files import write_atomic
from ..data.describe import describe
from ..evaluation.ope import departures, result
from ..evaluation.ope.departures import Departures
from ..evaluation.ope.result import OpeResult
from ..evaluation.statistics import average_name
from ..policy.policy import Policy
from ..runs.estimates import Evidence, read_evidence
from ..runs.read import Record, read_run
from ..runs.settings import Settings
from .command import command_of
from .table import estimate_text

NAME = "MODEL_CARD.md"
MOST_GROUPS = 12  # rows of the table of departures


def write_card(
    policy: Policy,
    path: str | Path,
    run: str | Path | Record | None = None,
    folder: Path | None = None,
    exported: Mapping[str, Any] | None = None,
) -> Path:
    """Write the model card of a policy.

    Args:
        policy: the policy.
        path: the file, or a folder, in which it becomes `MODEL_CARD.md`.
        run: the run that it belongs to, or its folder; None: it belongs to none.
        folder: the folder of the policy, which says which estimates of the run are its own.
        exported: the description of the exported file, with its name as `file`; None: nothing was exported.

    Raises:
        UserError: a damaged run, or a file that cannot be written.
    """
    record = run if isinstance(run, Record) or run is None else read_run(run)
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    write_atomic(path, card(policy, record, folder, exported).encode(errors="backslashreplace"))
    return path


def card(
    policy: Policy,
    record: Record | None = None,
    folder: Path | None = None,
    exported: Mapping[str, Any] | None = None,
) -> str:
    """The Markdown of a card; the arguments are those of `write_card`."""
    evidence = Evidence() if record is None else read_evidence(record.path)
    own = _own(evidence, record, folder)
    changes = None if own is None else evidence.departures_of(own)
    estimates = [one.result for one in evidence.estimates if one.folder == own]
    found = estimates[0] if estimates else None
    known = registry.ROWS.get(policy.algorithm.name)
    subject = _name(str(policy.info.get("dataset") or policy.info.get("env_id") or "unknown data"))
    title = policy.algorithm.name if known is None else known.title
    parts = [f"# Model card: {title} on {subject}", ""]
    parts += _section("Policy", _policy(policy))
    parts += _section("Data", _data(policy, record))
    parts += _section("Training", _training(policy, record))
    parts += ["## Evaluation in an environment", "", _evaluated(record), ""]
    parts += ["## Estimates from logged data", "", *_estimates(found, evidence), ""]
    parts += ["## Support", "", *_support(policy), ""]
    parts += ["## Departures from the log", "", *_departures(changes), ""]
    if exported is not None:
        parts += _section("Exported file", _exported(exported))
    parts += ["## Limits", "", *(f"- {text}" for text in limits(policy, record, found, changes)), ""]
    citation = "" if known is None else CITATIONS.get(known.paper or "", "")
    if citation:
        parts += ["## Citation", "", "```bibtex", citation.strip(), "```", ""]
    return "\n".join(parts)


def limits(policy: Policy, record: Record | None, found: OpeResult | None, changes: Departures | None) -> list[str]:
    """What is not known of a policy, or not certain: sentences."""
    texts = []
    if record is None or not len(record.eval_steps):
        texts.append("The policy was not played in an environment by its run: no return was measured.")
    elif len(record.seeds) == 1:
        texts.append("One seed was trained: differences between seeds are not known.")
    if found is None:
        texts.append("Its value was not estimated from held-out logged data.")
    elif found.refused:
        texts.append("The log does not support an estimate of its value: every estimator was refused.")
    else:
        if found.behaviour.get("source") == "estimated":
            texts.append("Propensities are estimated, so the intervals of the estimates have no guarantee.")
        if found.best.name == "fqe":
            texts.append("The estimate rests on a model of the values alone, without a correction by weights.")
        texts += [f"{text[:1].upper()}{text[1:]}." for text in found.warnings]
    if policy.support_model is None:
        texts.append("There is no score of support: inputs and actions that are far from the log are not noticed.")
    else:
        model = policy.support_model
        if model.fallback is None:
            texts.append("Actions with too little support are reported, and nothing replaces them.")
        flagged = model.facts.get("policy_flagged")
        if flagged is not None and flagged > 2 * model.false_alarms:
            texts.append(f"The policy's own actions are far from the log in {flagged:.0%} of its states.")
    if changes is not None:
        losing = [group for group in changes.groups if group.clear == "loses"]
        if losing:
            texts.append(f"It does worse than the log in {len(losing)} groups, see the table of departures.")
    if policy.algorithm.target is not None:
        texts.append("The return that it is asked for changes what it does; the numbers hold for one target.")
    texts.append(
        "The numbers hold for situations that occur as often as in the data; use elsewhere needs new evidence."
    )
    return texts


def _own(evidence: Evidence, record: Record | None, folder: Path | None) -> str | None:
    """The folder below the run whose evidence belongs to the policy."""
    if record is None or folder is None:
        return evidence.estimates[0].folder if evidence.estimates else None
    try:
        return folder.resolve().relative_to(record.path.resolve()).as_posix()
    except ValueError:
        return None


def _section(title: str, facts: Sequence[tuple[str, str]]) -> list[str]:
    return [f"## {title}", "", *table(("", ""), [facts_row for facts_row in facts if facts_row[1]]), ""]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [_line(header), _line(["---"] * len(header))]
    return [*lines, *(_line(row) for row in rows)]


def _line(cells: Sequence[str]) -> str:
    texts = (printable(" ".join(str(cell).split())).replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(texts)} |"


def _policy(policy: Policy) -> list[tuple[str, str]]:
    known = registry.ROWS.get(policy.algorithm.name)
    spec = policy.spec
    found = [
        ("algorithm", policy.algorithm.name if known is None else f"{known.title} (`{policy.algorithm.name}`)"),
        ("observations", str(spec.obs)),
        ("actions", f"{spec.action} {'discrete actions' if spec.discrete else 'continuous dimensions'}"),
        ("legal actions", "given with each observation" if spec.masked else ""),
        ("step", str(policy.info.get("step", ""))),
        ("seed", str(policy.info.get("seed", ""))),
    ]
    if policy.table is not None:
        found.append(("columns", ", ".join(f"`{column.name}`" for column in policy.table.observations)))
        found.append(("action columns", ", ".join(f"`{name}`" for name in policy.table.action.columns)))
        found.append(("labels", ", ".join((policy.table.action_names or [])[:40])))
    return found


def _data(policy: Policy, record: Record | None) -> list[tuple[str, str]]:
    found = [
        ("data set", _name(str(policy.info.get("dataset") or "none: it learned in an environment"))),
        ("fingerprint", str(policy.info.get("dataset_fingerprint") or "")[:16]),
        ("environment", str(policy.info.get("env_id") or "")),
    ]
    if record is None or record.config.get("in_memory") or record.config.get("data") is None:
        return found
    try:
        dataset = record.dataset()
    except UserError:
        return [*found, ("rows", "not available when this card was written")]
    if dataset.fingerprint != record.config.get("dataset_fingerprint", dataset.fingerprint):
        return [*found, ("rows", "the data set has changed since the run")]
    facts = describe(dataset)
    ends = ", ".join(f"{count:,} {kind}" for kind, count in facts["ends"].items() if count)
    returns = dataset.returns()
    spread = f"{returns.mean():.4g} on average, {returns.min():.4g} to {returns.max():.4g}"
    return [
        *found,
        ("size", f"{facts['steps']:,} steps in {facts['episodes']:,} episodes"),
        ("ends of episodes", ends),
        ("returns", spread),
        ("action space", str(facts["action_space"])),
    ]


def _training(policy: Policy, record: Record | None) -> list[tuple[str, str]]:
    settings = ", ".join(f"{name} {value}" for name, value in config.to_dict(policy.cfg).items())
    found = [("settings of the method", settings), ("treatment of the data", _treatment(policy))]
    if record is None:
        return found
    given = Settings.from_dict(record.config, str(record.path / "config.json"))
    result_of = record.result or {}
    versions = ", ".join(f"{name} {version}" for name, version in result_of.get("versions", {}).items())
    found = [("preset", given.preset or "the algorithm's first"), *found, ("seeds", ", ".join(map(str, record.seeds)))]
    found += [("device", str(result_of.get("device", ""))), ("versions", versions)]
    with contextlib.suppress(UserError):  # the algorithm, or the preset, is not in this version
        found.append(("command", f"`{_name_in(command_of(given), record)}`"))
    return found


def _treatment(policy: Policy) -> str:
    fitted = policy.fitted
    texts = ["observations are normalised" if fitted.normalized else "observations are not normalised"]
    if fitted.reward_scale != 1 or fitted.reward_shift:
        texts.append(f"rewards (r + {fitted.reward_shift:g}) * {fitted.reward_scale:g}")
    return ", ".join(texts)


def _evaluated(record: Record | None) -> str:
    if record is None or not len(record.eval_steps):
        return "Not evaluated."
    best = record.best
    found = record.average(best.rows)
    kind = average_name(len(best.rows)) if len(best.rows) > 1 else "mean"
    log = "" if record.logged is None else f" The mean return of the log is {record.logged:.4g}."
    setting = f", setting {best.label}" if len(record.groups) > 1 else ""
    return (
        f"The {kind} return is {estimate_text(found)} (95 % interval) over {len(best.rows)} seeds and "
        f"{record.returns.shape[2]} episodes each in {record.environment} at step {int(record.eval_steps[-1]):,}"
        f"{setting}.{log}"
    )


def _estimates(found: OpeResult | None, evidence: Evidence) -> list[str]:
    lines = [f"{note}." for note in evidence.notes]
    if found is None:
        return [*lines, "Not estimated (`holdfast ope RUN --data LOG`)."]
    lines += [f"**{printable(found.verdict[:1].upper() + found.verdict[1:])}.**", ""]
    lines += table(("", ""), found.facts())
    if found.table():
        lines += ["", *table(result.HEADER, found.table())]
    if found.refusals():
        lines += ["", *table(("refused", "reason"), found.refusals())]
    return lines


def _support(policy: Policy) -> list[str]:
    if policy.support_model is None:
        return ["No score of support (`holdfast support RUN --data LOG`)."]
    first = "The score of support is the share of held-out logged decisions that are at least as far from the log."
    return [first, "", *(f"- {text[:1].upper()}{text[1:]}." for text in policy.support_model.lines())]


def _departures(changes: Departures | None) -> list[str]:
    if changes is None:
        return ["Not examined (`holdfast explain RUN --data LOG`)."]
    lines = [printable(" ".join(changes.sentences)), ""]
    order = sorted(changes.groups, key=lambda group: (not group.clear, -group.departs))
    rows = [changes.whole.cells(), *(group.cells() for group in order[:MOST_GROUPS])]
    lines += table(departures.HEADER, rows)
    if len(order) > MOST_GROUPS:
        lines.append("")
        lines.append(f"{len(order) - MOST_GROUPS} more groups are in `departures.json`.")
    return lines


def _exported(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    def ports(name: str) -> str:
        return "; ".join(f"`{p['name']}` {p['dtype']} [{', '.join(map(str, p['shape']))}]" for p in facts[name])

    parity = facts["parity"]
    return [
        ("file", f"`{facts['file']}`"),
        ("acts", "with the most likely action" if facts["mode"] == "best" else "with a draw"),
        ("inputs", ports("inputs")),
        ("outputs", ports("outputs")),
        ("comparison with the policy", f"agrees in {parity['rows'] - parity['others']:,} of {parity['rows']:,} random "
                                       f"rows, largest difference {parity['difference']:.1e}"),
    ]  # fmt: skip


def _name(text: str) -> str:
    """A data set without the folder that it is in."""
    return Path(text).name if Path(text).is_absolute() else text


def _name_in(command: str, record: Record) -> str:
    """A command without the folder of the data."""
    return command.replace(str(record.config["data"]), _name(str(record.config["data"])))
