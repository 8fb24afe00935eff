"""A run as one self-contained HTML page, which loads nothing from elsewhere. Needs the extra `report`."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..algorithms import registry
from ..algorithms.citations import CITATIONS
from ..core.errors import UserError, printable
from ..core.files import write_atomic
from ..data.checks.check import check
from ..data.dataset import Dataset
from ..data.describe import describe
from ..data.teams.files import is_team, load_team
from ..evaluation.statistics import Estimate, average_name
from ..runs.estimates import read_evidence
from ..runs.read import Record, logged_returns, read_run
from ..runs.settings import Settings
from . import drawing, html
from .asked import draw_record
from .command import command_of
from .curves import axis_of, draw
from .evidence import sections
from .table import BEST_NOTE, HEADER, is_average, number, rows
from .verdict import verdict_of

MOST_POINTS = 200  # points of a metric's line; a longer line is thinned out evenly
MOST_ACTIONS = 40  # rows in the table of action coverage
MOST_FAULTS = 20  # faults of the data in the list
ASKED = (
    "return of an episode against the return that was asked for: mean over seeds with its 95 % interval; dotted: equal"
)
CURVE = "return of an episode: mean over seeds with its 95 % interval over seeds and episodes; thin: each seed"

# a value of a run's config.json
Setting: TypeAlias = "bool | float | str | Sequence[Setting] | Mapping[str, Setting] | None"


def write_page(run: str | Path | Record, path: str | Path | None = None) -> Path:
    """Write the page of a run atomically.

    Args:
        run: the run's folder, or its record.
        path: path of the page; None: `report.html` in the run's folder.

    Returns:
        The path of the page.

    Raises:
        UserError: `run` is not a run folder, the extra `report` is not installed, or the file cannot be written.
    """
    record = run if isinstance(run, Record) else read_run(run)
    path = record.path / "report.html" if path is None else Path(path)
    write_atomic(path, page(record).encode(errors="backslashreplace"))
    return path


def page(record: Record) -> str:
    """The HTML of a page: verdict, results, learning curve, metrics, the data set and how the run was made.

    Raises:
        UserError: the extra `report` is not installed.
    """
    dataset, note = _dataset(record)
    logged = dataset.returns() if dataset is not None and dataset.n_episodes else None
    estimate = logged_returns(dataset) if dataset is not None and logged is not None else None
    metrics = _names(record)
    few = len(record.metric_steps) < 2
    settings = Settings.from_dict(record.config, str(record.path / "config.json"))
    groups = record.groups
    sweeps = len(groups) > 1
    results, kinds = _results(record, estimate)
    evidence = read_evidence(record.path)
    return html.render(
        "run.html",
        title=record.title,
        subtitle=_subtitle(record),
        verdict=verdict_of(record, logged, evidence),
        tiles=_tiles(record, estimate),
        header=(HEADER[0], f"{HEADER[1]} [{HEADER[2]}]", HEADER[3]),
        results=results,
        kinds=kinds,
        note=BEST_NOTE if sweeps and len(record.eval_steps) else "",
        curve=html.both(lambda size: draw(record, size), f"learning curve, {record.title}") if len(record.eval_steps)
        else None,
        curve_caption=CURVE,
        evidence=sections(record, evidence),
        asked=html.both(lambda size: draw_record(record, size), f"reached and asked return, {record.title}")
        if len((record.result or {}).get("targets", [])) > 1
        else None,
        asked_caption=ASKED,
        keys=_keys(record),
        metrics=[] if few else [(name, _metric(record, name)) for name in metrics],
        metric_header=["metric", *record.replicas],
        metric_rows=[[name, *(f"{x:.4g}" for x in record.metrics[name][:, -1])] for name in metrics] if few else [],
        data=None if dataset is None else _data(dataset, record),
        data_note=note,
        command=printable(_command(settings)),
        made=_made(record, settings),
        settings=_settings(record, settings),
        citation=_citation(settings.algorithm),
    )  # fmt: skip


def _dataset(record: Record) -> tuple[Dataset | None, str]:
    """The data set of a run; or None and a sentence that says why it is not shown."""
    if record.config.get("data") is None:
        return None, f"No data set: the run learned in {record.environment or record.config.get('env')}."
    if record.config.get("in_memory"):
        return None, "The data set was in memory, so it is not stored with the run."
    try:
        if is_team(record.subject):
            return None, f"The log of a team: {load_team(record.subject)}."
        dataset = record.dataset()
    except UserError as error:
        return None, f"The data set is not available: {error}"
    if dataset.fingerprint != record.config.get("dataset_fingerprint", dataset.fingerprint):
        return None, f"{dataset.id} has changed since this run started: its fingerprint differs."
    return dataset, ""


def _command(settings: Settings) -> str:
    try:
        return command_of(settings)
    except UserError:  # the algorithm, or the preset, is not in this version
        return "holdfast train --config config.json"


def _citation(algorithm: str) -> str:
    """The BibTeX of the algorithm's paper; empty if it is unknown, as for an algorithm of the caller."""
    known = registry.ROWS.get(algorithm)
    return "" if known is None else CITATIONS.get(known.paper or "", "")


def _subtitle(record: Record) -> str:
    several = f"{len(record.replicas)} runs in one program" if len(record.replicas) > 1 else record.replicas[0]
    parts = [record.environment or "no environment", several, record.path.name, _date(record)]
    return " · ".join([*parts, *([] if record.result else ["not finished"])])


def _date(record: Record) -> str:
    """The day on which the run was started, by the time of its config.json."""
    started = (record.path / "config.json").stat().st_mtime
    return datetime.datetime.fromtimestamp(started, datetime.UTC).date().isoformat()


def _tiles(record: Record, logged: Estimate | None) -> list[html.Tile]:
    found = []
    if len(record.eval_steps):
        best = record.best
        at_end = record.average(best.rows)
        label = f", {best.label}" if len(record.groups) > 1 else ""
        kind = average_name(len(best.rows))
        found.append(html.Tile(f"{kind} return at the end{label}", number(at_end.value), _interval(at_end)))
        if record.reference is not None:
            score = Estimate(*(None if x is None else float(record.score(x)) for x in at_end))  # type: ignore[arg-type]
            found.append(html.Tile("normalised score", number(score.value), _interval(score)))
    if logged is not None:
        found.append(html.Tile("logging policy", number(logged.value), _interval(logged)))
    elif record.logged is not None:
        found.append(html.Tile("logging policy", number(record.logged)))
    unit = axis_of(record).rpartition("then ")[2]
    found.append(html.Tile(f"{unit} each", f"{int(record.metric_steps[-1]) if len(record.metric_steps) else 0:,}"))
    result = record.result or {}
    if result.get("updates_per_second"):
        found.append(html.Tile("updates/s of all runs", f"{result['updates_per_second']:,.0f}"))
    if "wall_seconds" in result:
        compiled = f"{result['compile_seconds']:.1f} s of it to compile"
        found.append(html.Tile("time", f"{result['wall_seconds']:,.0f} s", compiled))
    return found


def _interval(estimate: Estimate) -> str:
    if estimate.low is None:
        return ""
    return f"[{number(estimate.low)}, {number(estimate.high)}], 95 % interval"


def _results(record: Record, logged: Estimate | None) -> tuple[list[Sequence[str]], list[str]]:
    """The rows of the table, and the class of each."""
    body: list[Sequence[str]] = []
    kinds = []
    for section in rows(record, logged) if len(record.eval_steps) else []:
        for i, cells in enumerate(section):
            bounds = "" if cells[2] == "-" else f" [{cells[2].replace(' to ', ', ')}]"
            body.append((cells[0], cells[1] + bounds, cells[3]))
            kinds.append(" ".join(k for k, yes in (("first", i == 0), ("sum", is_average(cells[0]))) if yes))
    return body, kinds


def _names(record: Record) -> list[str]:
    return [name for name, values in record.metrics.items() if np.isfinite(values).any()]


def _keys(record: Record) -> list[tuple[str, str]]:
    """Labels and colours of the settings of a sweep."""
    groups = record.groups
    shades = drawing.colours(len(groups))
    return [
        (group.label, f"var(--{drawing.VARIABLES[shade]})" if shade in drawing.VARIABLES else shade)
        for group, shade in zip(groups, shades, strict=True)
    ]


def _metric(record: Record, name: str) -> Any:
    """The small chart of a metric."""
    every = -(-len(record.metric_steps) // MOST_POINTS)
    steps = record.metric_steps[::-every][::-1]
    values = record.metrics[name][:, ::-every][:, ::-1]
    curves = []
    for group in record.groups:
        some = values[group.rows]
        counted = np.isfinite(some).sum(0)
        mean = np.where(counted > 0, np.nansum(some, 0) / np.maximum(counted, 1), np.nan)
        several = len(group.rows) > 1 and len(record.groups) <= 4
        curves.append(drawing.Curve(group.label or "mean", steps, mean, each=some if several else None))
    size = drawing.SMALL
    drawn = drawing.figure(size)
    axes = drawn.add_subplot()
    drawing.draw_curves(axes, curves, size._replace(text=0.7 * size.text))
    drawing.dress(axes, size)
    return html.chart(drawn, f"{name} against {axis_of(record)}")


def _data(dataset: Dataset, record: Record) -> dict[str, Any]:
    facts = describe(dataset)
    ends = ", ".join(f"{count:,} {kind}" for kind, count in facts["ends"].items() if count)
    shown = facts["actions"][:MOST_ACTIONS]
    columns = list(shown[0]) if shown else []
    faults = check(dataset)
    returns = dataset.returns()
    return {
        "facts": {
            "data set": Path(facts["id"]).name if record.is_path else facts["id"],
            "fingerprint": facts["fingerprint"][:16],
            "environment": facts["environment"] or "unknown",
            "size": f"{facts['steps']:,} steps in {facts['episodes']:,} episodes",
            "ends": ends or "none",
            "lengths": _spread(facts["lengths"]),
            "returns": _spread(facts["returns"]),
            "rewards": _spread(facts["rewards"]),
            "observations": facts["observation_space"],
            "actions": facts["action_space"],
        },
        "faults": faults[:MOST_FAULTS],
        "histogram": html.both(lambda size: _histogram(returns, size), "histogram of the logged returns")
        if np.isfinite(returns).any() and dataset.n_episodes > 1
        else None,
        "action_header": [*([] if dataset.discrete else ["dimension"]), *columns],
        "actions": [
            [
                *([] if dataset.discrete else [str(i)]),
                *(f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c]) for c in columns),
            ]
            for i, row in enumerate(shown)
        ],
    }


def _cell(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _histogram(returns: np.ndarray, size: drawing.Size) -> Any:
    low = size._replace(height=0.55 * size.height)
    drawn = drawing.figure(low)
    axes = drawn.add_subplot()
    axes.hist(returns[np.isfinite(returns)], bins=30, color=drawing.COLOURS[0])
    drawing.dress(axes, low, "return of an episode", "episodes", steps=False)
    return drawn


def _made(record: Record, settings: Settings) -> dict[str, str]:
    """How the run was made: preset, date, versions, device."""
    result = record.result or {}
    versions = ", ".join(f"{name} {version}" for name, version in result.get("versions", {}).items())
    known = registry.ROWS.get(settings.algorithm)
    found = {
        "algorithm": settings.algorithm if known is None else known.title,
        "preset": settings.preset or "the algorithm's first",
        "started": _date(record),
        "versions": versions,
        "device": str(result.get("device", "")),
    }
    if result.get("stopped"):
        stopped = result["stopped"]
        found["stopped early"] = (
            f"by {stopped['rule']} at step {stopped['step']:,}; best at step {stopped['best_step']:,}, in "
            f"{stopped['best_policies']}"
        )
    return {name: value for name, value in found.items() if value}


def _settings(record: Record, settings: Settings) -> list[tuple[str, dict[str, str]]]:
    """Tables of the settings: those of the run that differ from the defaults, and all of the algorithm."""
    default = Settings(settings.algorithm).to_dict()
    own = {k: v for k, v in settings.to_dict().items() if k not in ("config", "treatment") and v != default[k]}
    if record.is_path:
        own["data"] = Path(record.config["data"]).name
    blocks = (("run", own), (settings.algorithm, settings.config), ("treatment of the data", settings.treatment))
    return [(name, {k.replace("_", " "): _value(v) for k, v in values.items()}) for name, values in blocks]


def _spread(s: Mapping[str, float]) -> str:
    if not s:
        return "-"
    texts = {key: number(s[key]) for key in ("mean", "std", "min", "max", "median")}
    return f"{texts['mean']} ± {texts['std']}, {texts['min']} to {texts['max']}, median {texts['median']}"


def _value(value: Setting) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(v) for v in value)
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_value(v)}" for k, v in value.items())
    return re.sub(r"\s+", " ", str(value))
