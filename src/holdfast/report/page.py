"""A run as one self-contained HTML page, which loads nothing from elsewhere. Needs no extra package."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ..core.errors import UserError
from ..core.files import write_atomic
from ..data.dataset import Dataset
from ..data.describe import describe, histogram
from ..runs.read import Record, logged_returns, read_run
from .curves import axis_of, levels
from .svg import Line, chart
from .table import HEADER, is_average, number, rows

HERE = Path(__file__).parent
COLOURS = 8  # number of line colours in page.css
MOST_POINTS = 400  # points of a metric's line; a longer line is thinned out evenly

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
        UserError: `run` is not a run folder, or the file cannot be written.
    """
    record = run if isinstance(run, Record) else read_run(run)
    path = record.path / "report.html" if path is None else Path(path)
    write_atomic(path, page(record).encode(errors="backslashreplace"))
    return path


def page(record: Record) -> str:
    """The HTML of a page: results, learning curve, metrics, speed, settings and the data set."""
    dataset, missing = _dataset(record)
    parts = [
        f"<h1>{_e(record.title)}</h1><p class=sub>{_e(_sub(record))}</p>",
        _facts(record),
        "<h2>Results</h2>" + _results(record, dataset),
        _returns(record),
        "<h2>Metrics</h2>"
        + _legend(record)
        + f"<div class=grid-of>{''.join(_metric(record, n) for n in _names(record))}</div>",
        "<h2>Settings</h2>" + _settings(record),
        "<h2>Data</h2>" + (_data(dataset, record) if dataset is not None else missing),
        _versions(record),
    ]
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html><html lang=en><head><meta charset="utf-8"><meta name=viewport content="width=device-width">'
        f"<title>{_e(record.title)} · Holdfast</title><style>{style}</style></head>\n<body>\n"
        + "\n".join(parts)
        + f"\n<script>{script}</script></body></html>\n"
    )


def _dataset(record: Record) -> tuple[Dataset | None, str]:
    """The data set of a run; or None and a paragraph that says why it is not shown."""
    if record.config.get("data") is None:
        return (
            None,
            f"<p>No data set: the run learned in {_e(record.environment or str(record.config.get('env')))}.</p>",
        )
    try:
        dataset = record.dataset()
    except UserError as error:
        return None, f"<p class=warn>{_e(f'The data set is not available: {error}')}</p>"
    if dataset.fingerprint != record.config.get("dataset_fingerprint", dataset.fingerprint):
        return None, f"<p class=warn>{_e(dataset.id)} has changed since this run started: its fingerprint differs.</p>"
    return dataset, ""


def _sub(record: Record) -> str:
    several = f"{len(record.replicas)} runs in one program" if len(record.replicas) > 1 else record.replicas[0]
    done = "" if record.result else " · not finished"
    return f"{record.environment or 'not evaluated'} · {several} · {record.path.name}{done}"


def _facts(record: Record) -> str:
    found: dict[str, str] = {}
    if len(record.eval_steps):
        everyone = list(range(len(record.replicas)))
        best = record.final(everyone).mean()
        found["mean return at the end"] = number(float(best))
        if record.logged is not None:
            found["logging policy"] = number(record.logged)
        if record.reference is not None:
            found["normalised score"] = f"{float(record.score(best)):.1f}"
    result = record.result or {}
    found[f"{axis_of(record).rpartition('then ')[2]} each"] = (
        f"{int(record.metric_steps[-1]) if len(record.metric_steps) else 0:,}"
    )
    if result.get("updates_per_second"):
        found["updates/s of all runs"] = f"{result['updates_per_second']:,.0f}"
    for key, name in (("compile_seconds", "compilation"), ("wall_seconds", "total time")):
        if key in result:
            found[name] = f"{result[key]:.1f} s"
    return (
        "<dl class=facts>" + "".join(f"<div><dt>{_e(k)}</dt><dd>{_e(v)}</dd></div>" for k, v in found.items()) + "</dl>"
    )


def _results(record: Record, dataset: Dataset | None) -> str:
    sections = rows(record, None if dataset is None or not dataset.n_episodes else logged_returns(dataset))
    body = []
    for section in sections:
        for i, cells in enumerate(section):
            kinds = [k for k, yes in (("first", i == 0), ("sum", is_average(cells[0]))) if yes]
            body.append((cells, " ".join(kinds)))
    note = "" if len(record.eval_steps) else "<p class=warn>This run contains no evaluation.</p>"
    return _table(HEADER, [c for c, _ in body], [k for _, k in body]) + note


def _returns(record: Record) -> str:
    if not len(record.eval_steps):
        return ""
    lines = []
    for k, group in enumerate(record.groups):
        steps, mean, low, high = record.curve(group.rows)
        if len(group.rows) > 1:
            lines += [Line("", steps, each, k % COLOURS, bold=False) for each in record.each(group.rows)[1]]
        lines.append(Line(group.label or "mean return", steps, mean, k % COLOURS, True, low, high))
    marks = [(name, value) for name, value, _ in levels(record)]
    label = f"return of an episode against {axis_of(record)}, {record.title}"
    caption = "return of an episode: mean over seeds with its 95 % interval over seeds and episodes; thin: each seed"
    caption += f"; the axis: {axis_of(record)}" * (record.origin > 0)
    drawn = chart(lines, marks, width=900, height=340, label=label, begins=record.phases[1:])
    return f"<h2>Learning curve</h2>{_legend(record)}<figure><figcaption>{caption}</figcaption>{drawn}</figure>"


def _metric(record: Record, name: str) -> str:
    every = -(-len(record.metric_steps) // MOST_POINTS)
    steps, values = record.metric_steps[::-every][::-1], record.metrics[name][:, ::-every][:, ::-1]
    lines = []
    for k, group in enumerate(record.groups):
        some = values[group.rows]
        if len(group.rows) > 1:
            lines += [Line("", steps, row, k % COLOURS, bold=False) for row in some]
        counted = np.isfinite(some).sum(0)
        mean = np.where(counted > 0, np.nansum(some, 0) / np.maximum(counted, 1), np.nan)
        lines.append(Line(group.label or "mean", steps, mean, k % COLOURS))
    return f"<figure><figcaption>{_e(name)}</figcaption>{chart(lines, label=f'{name} against updates')}</figure>"


def _names(record: Record) -> list[str]:
    return [name for name, values in record.metrics.items() if np.isfinite(values).any()]


def _legend(record: Record) -> str:
    groups = record.groups
    if len(groups) < 2:
        return ""
    keys = [f'<i style="--k:var(--c{k % COLOURS})"></i>{_e(group.label)}' for k, group in enumerate(groups)]
    return f"<p class=legend>{''.join(keys)}</p>"


def _settings(record: Record) -> str:
    own = {k: v for k, v in record.config.items() if k not in ("config", "treatment", "format", "dataset_fingerprint")}
    own = {k: v for k, v in own.items() if v not in ({}, [], None)}
    if record.is_path:
        own["data"] = Path(record.config["data"]).name
    blocks = (
        ("run", own),
        (record.config["algorithm"], record.config["config"]),
        ("treatment of the data", record.config["treatment"]),
    )
    tables = [f"<div><h3>{_e(title)}</h3>{_pairs(values)}</div>" for title, values in blocks]
    return f"<div class=side>{''.join(tables)}</div>"


def _data(dataset: Dataset, record: Record) -> str:
    facts = describe(dataset)
    ends = ", ".join(f"{count:,} {kind}" for kind, count in facts["ends"].items() if count)
    pairs = {
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
    }
    bars = [(span, count, bar) for span, count, bar in histogram(dataset.returns())]
    text = "\n".join(f"{span:>24} {count:>6}  {bar}" for span, count, bar in bars)
    shown = facts["actions"][:40]
    columns = list(shown[0]) if shown else []
    cells = [
        [str(i) if not dataset.discrete else "", *(f"{row[c]:.3g}" for c in columns)] for i, row in enumerate(shown)
    ]
    actions = _table(["dimension" if not dataset.discrete else "", *columns], cells) if shown else ""
    return (
        f"<div class=side><div>{_pairs(pairs)}</div>"
        f"<div><h3>Returns of the logged episodes</h3><pre>{_e(text)}</pre></div></div>"
        f"<h3>Action coverage</h3>{actions}"
    )


def _versions(record: Record) -> str:
    if record.result is None:
        return ""
    named = " · ".join(f"{name} {version}" for name, version in record.result.get("versions", {}).items())
    return f"<p class=sub>{_e(named)} · {_e(record.result.get('device', ''))}</p>"


def _spread(s: Mapping[str, float]) -> str:
    if not s:
        return "-"
    mean, std, low, high, median = (number(s[key]) for key in ("mean", "std", "min", "max", "median"))
    return f"{mean} ± {std}, {low} to {high}, median {median}"


def _pairs(values: Mapping[str, Setting]) -> str:
    cells = "".join(f"<tr><td>{_e(k.replace('_', ' '))}</td><td>{_e(_value(v))}</td></tr>" for k, v in values.items())
    return f"<table class=pairs>{cells}</table>"


def _table(header: Sequence[str], body: Iterable[Sequence[str]], kinds: Sequence[str] = ()) -> str:
    head = "".join(f"<th>{_e(cell)}</th>" for cell in header)
    out = []
    for i, cells in enumerate(body):
        kind = f' class="{kinds[i]}"' if kinds and kinds[i] else ""
        out.append(f"<tr{kind}>{''.join(f'<td>{_e(cell)}</td>' for cell in cells)}</tr>")
    return f"<table><tr>{head}</tr>{''.join(out)}</table>"


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


def _e(text: str) -> str:
    return html.escape(text)
