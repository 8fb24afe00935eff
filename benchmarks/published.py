"""Write docs/published-numbers.md: our scores next to published ones. `make results` runs this at its end.

Ours are read from benchmarks/results/scores.csv and docs/learning-runs.md, the published ones, each with its source,
from benchmarks/results/published.csv and from the tables of `holdfast studies comparison`. The text is in
benchmarks/published_numbers.md.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from holdfast.core.files import write_atomic
from holdfast.data.references import reference_for
from holdfast.evaluation.scores import normalized
from holdfast.studies import comparison

HERE = Path(__file__).resolve().parent
SCORES = HERE / "results" / "scores.csv"
PUBLISHED = HERE / "results" / "published.csv"
LEARNING = HERE.parent / "docs" / "learning-runs.md"
TEMPLATE = HERE / "published_numbers.md"
PAGE = HERE.parent / "docs" / "published-numbers.md"
FROM_UWAC = ("AWR", "UWAC")  # methods whose only published scores are those of UWAC's table
BUDGET = ("5000", "3", "10")  # updates, seeds and episodes of our scores
HEADER = (
    "| method | ours, 5,000 updates | ours, longer | published | data | source |",
    "|---|---:|---:|---:|---|---|",
)


class Pair(NamedTuple):
    """One of our logs, and the D4RL task of the same robot and kind of log."""

    title: str
    data: str  # in scores.csv
    env: str
    task: str  # in published.csv, without its version
    log: str  # in learning-runs.md; empty: no runs there


PAIRS = (
    Pair("Hopper, medium", "zoo/hopper-medium-v0", "Hopper-v5", "hopper-medium", "Hopper"),
    Pair("Walker2d, mixed", "zoo/walker2d-mixed-v0", "Walker2d-v5", "walker2d-medium-replay", "Walker2d"),
    Pair("HalfCheetah, medium", "zoo/halfcheetah-medium-v0", "HalfCheetah-v5", "halfcheetah-medium", ""),
    Pair(
        "HalfCheetah, medium-expert",
        "zoo/halfcheetah-medium-expert-v0",
        "HalfCheetah-v5",
        "halfcheetah-medium-expert",
        "",
    ),
)


def score(value: float) -> str:
    """The text of a score; zero has no sign."""
    return f"{round(value, 1) + 0.0:.1f}"


def learned(page: str, log: str) -> dict[str, tuple[str, float]]:
    """The runs on one log in the first table of learning-runs.md: method -> updates, and mean return.

    Args:
        page: the text of learning-runs.md.
        log: name of the log in its second column.
    """
    found = {}
    method = ""
    for line in page.partition("## In environments")[0].splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 5:
            continue
        method = cells[0].strip("`") or method
        mean = re.match(r"-?\d+(\.\d+)?", cells[3])
        if cells[1] == log and mean:
            found[method] = (cells[2], float(mean[0]))
    return found


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def published() -> list[dict[str, str]]:
    """The published scores of the tasks in `PAIRS`, in their order, then by method."""
    tasks = [pair.task for pair in PAIRS]
    found = table(PUBLISHED)
    for row in comparison.published():
        if row.task in tasks and row.table == "UWAC" and row.method in FROM_UWAC:
            std = "" if row.std is None else str(row.std)
            own = {"algorithm": comparison.METHODS[row.method], "dataset": f"{row.task}-v0", "score": str(row.score)}
            found.append({**own, "std": std, "source": row.source})
    return sorted(found, key=lambda row: (tasks.index(row["dataset"].rpartition("-")[0]), row["algorithm"]))


def letter(i: int) -> str:
    """The letter of a source."""
    return chr(ord("A") + i)


def section(pair: Pair, ours: list[dict[str, str]], given: list[dict[str, str]], page: str, keys: list[str]) -> str:
    """The table of one pair of tasks.

    Args:
        pair: the tasks.
        ours: the rows of scores.csv.
        given: the rows of `published`.
        page: the text of learning-runs.md.
        keys: the sources, in the order of their letters.
    """
    own = {
        row["algorithm"]: row
        for row in ours
        if row["data"] == pair.data and (row["steps"], row["seeds"], row["episodes"]) == BUDGET
    }
    theirs = {row["algorithm"]: row for row in given if row["dataset"].rpartition("-")[0] == pair.task}
    longer = learned(page, pair.log) if pair.log else {}
    reference = reference_for(None, pair.env)
    assert reference is not None
    logged = next(row["logged_score"] for row in own.values() if row["logged_score"])
    out = [f"## {pair.title}\n", f"Ours: `{pair.data}` in {pair.env}. Published: `{pair.task}`.\n", *HEADER]
    out.append(f"| the log itself | {score(float(logged))} | | | | |")
    for name in sorted({*own, *theirs}):
        cells = [f"`{name}`", "", "", "", "", ""]
        if name in own and own[name]["score"]:
            value, low, high = (score(float(own[name][key])) for key in ("score", "score_low", "score_high"))
            cells[1] = f"{value} [{low}, {high}]"
        if name in longer:
            updates, mean = longer[name]
            cells[2] = f"{score(float(normalized(mean, reference)))} ({updates})"
        if name in theirs:
            row = theirs[name]
            cells[3] = score(float(row["score"])) + (f" ± {score(float(row['std']))}" if row["std"] else "")
            cells[4] = row["dataset"].rpartition("-")[2]
            cells[5] = letter(keys.index(row["source"]))
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def markdown() -> str:
    """The page."""
    ours = table(SCORES)
    given = published()
    page = LEARNING.read_text(encoding="utf-8")
    keys = list(dict.fromkeys(row["source"] for row in given))
    measured = {row["algorithm"] for row in ours if any(row["data"] == pair.data for pair in PAIRS)}
    without = sorted(measured - {row["algorithm"] for row in given})
    return TEMPLATE.read_text(encoding="utf-8").format(
        tables="\n".join(section(pair, ours, given, page, keys) for pair in PAIRS),
        sources="\n".join(f"- {letter(i)}: {source}" for i, source in enumerate(keys)),
        without=", ".join(f"`{name}`" for name in without),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page.

    Args:
        argv: the path of the page; empty: docs/published-numbers.md.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    write_atomic(Path(words[0]) if words else PAGE, markdown().encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
