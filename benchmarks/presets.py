"""Compare the presets of a method on every log, and choose one for each log by the other logs.

A preset that was chosen on the logs of its figures looks better than it is. Here each log is left out once: the
candidate with the best mean score on the other logs is chosen for it, and its score on the log that was left out is
reported with that of the published preset. The numbers are written to benchmarks/results/presets.csv and the page to
docs/presets.md after every run. A run that is in the table is not repeated; a stopped comparison continues.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from holdfast.algorithms import registry
from holdfast.core.config import to_dict
from holdfast.core.files import write_atomic
from holdfast.data.checks.check import check
from holdfast.data.dataset import Dataset
from holdfast.data.sources import load_dataset
from holdfast.evaluation.scores import normalized, reference_of
from holdfast.training.run import Run, resume, train

HERE = Path(__file__).resolve().parent
SCALED = {"normalize_obs": 1e-3, "return_scale": 1000.0}


class Candidate(NamedTuple):
    """Settings that are compared: a preset, and what differs from it."""

    preset: str
    config: dict[str, Any] = {}
    treatment: dict[str, Any] = {}
    about: str = ""


CANDIDATES = {
    "bc": {
        "corl": Candidate("corl", about="CORL"),
        "d3rlpy": Candidate("d3rlpy", about="d3rlpy"),
        "tuned": Candidate(
            "corl",
            {"actor_decay_steps": "run"},
            {"normalize_obs": None},
            "CORL's with observations as logged and a rate that falls, which was tuned_100k",
        ),
    },
    "iql": {
        "mujoco": Candidate("mujoco", about="the authors'"),
        "decay": Candidate(
            "mujoco",
            {"critic_decay_steps": "run"},
            SCALED,
            "tuned_100k: the authors' with normalised observations and rates of value and critics that fall too",
        ),
    },
    "td3_bc": {
        "mujoco": Candidate("mujoco", about="the authors'"),
        "weak": Candidate(
            "mujoco",
            {"alpha": 0.6, "critic_layer_norm": True, "actor_decay_steps": "run", "critic_decay_steps": "run"},
            SCALED,
            "tuned_100k: alpha 0.6, LayerNorm in the critics, rates that fall, scaled",
        ),
    },
}
COLUMNS = (
    "algorithm", "candidate", "settings", "data", "fingerprint", "steps", "seeds", "episodes",
    "return", "return_low", "return_high", "score", "logged_return", "logged_score",
)  # fmt: skip
KEY = ("algorithm", "candidate", "settings", "data", "fingerprint", "steps", "seeds", "episodes")


def settings_of(algorithm: str, candidate: Candidate) -> str:
    """A hash of the settings of a candidate, with those of its preset."""
    preset = registry.get(algorithm).presets[candidate.preset]
    text = json.dumps(
        [to_dict(preset.config), preset.treatment._asdict(), candidate.config, candidate.treatment], sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def key_of(algorithm: str, name: str, data: str, dataset: Dataset, args: argparse.Namespace) -> dict[str, Any]:
    settings = settings_of(algorithm, CANDIDATES[algorithm][name])
    values = (algorithm, name, settings, data, dataset.fingerprint, args.steps, args.seeds, args.episodes)
    return dict(zip(KEY, values, strict=True))


def measured(key: dict[str, Any], dataset: Dataset, args: argparse.Namespace) -> dict[str, Any]:
    """Train one candidate on one log, or resume its run: a row of the table."""
    candidate = CANDIDATES[key["algorithm"]][key["candidate"]]
    text = "-".join(str(value) for value in key.values())
    out = args.runs / f"{key['algorithm']}-{key['candidate']}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    if (out / "config.json").exists():
        run: Run = resume(out, progress=False)
    else:
        clip = any(fault.level == "fatal" and fault.kind == "action_bounds" for fault in check(dataset))
        run = train(
            key["algorithm"],
            key["data"],
            steps=args.steps,
            seeds=args.seeds,
            preset=candidate.preset,
            config=candidate.config,
            treatment=candidate.treatment,
            out=out,
            progress=False,
            clip_actions=clip,
            eval_every=args.steps,
            eval_episodes=args.episodes,
        )
    result = run.result
    reference = dataset.reference or reference_of({"dataset": key["data"]}, result["environment"])
    logged = float(dataset.returns().mean())
    low, high = result["return_interval"] or (None, None)
    scores = [None if reference is None else float(normalized(x, reference)) for x in (result["return_mean"], logged)]
    values = (result["return_mean"], low, high, scores[0], logged, scores[1])
    return key | dict(zip(COLUMNS[len(KEY) :], values, strict=True))


def left_out(scores: dict[str, dict[str, float]]) -> dict[str, str]:
    """The candidate for each log: the best mean score on the other logs.

    Args:
        scores: the score on each log, for each candidate.
    """
    logs = list(next(iter(scores.values())))
    means = {
        log: {name: float(np.mean([v for other, v in found.items() if other != log])) for name, found in scores.items()}
        for log in logs
    }
    return {log: max(found, key=found.__getitem__) for log, found in means.items()}


def read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(table: Path, page: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write both files, each atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([{k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows])
    write_atomic(table, text.getvalue().encode())
    write_atomic(page, markdown(read(table)).encode())


HEAD = """# Presets on logs they were not chosen on

A setting that was chosen on a log looks better on this log than on others. This page compares the presets without this
bias. Each log is left out once. The settings with the best mean score on the other logs are chosen, and the column
"left out" has their return on the log that was left out. A method for which this column is below the published preset
gains nothing from ours.

The returns are means over the last policies, with their 95 % bootstrap interval over seeds and episodes. The last row
has the mean of the normalised scores (0: random policy, 100: expert). `benchmarks/presets.py` makes this page from
`benchmarks/results/presets.csv`.
"""


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """The page: for each method a table with a row for each log and a column for each candidate."""
    out = [HEAD]
    for algorithm in CANDIDATES:
        names = list(CANDIDATES[algorithm])
        found = {
            (row["candidate"], row["data"]): row
            for row in rows
            if row["algorithm"] == algorithm and row["candidate"] in names
        }
        logs = [log for log in dict.fromkeys(log for _, log in found) if all((name, log) in found for name in names)]
        if len(logs) < 2:
            continue
        scores = {name: {log: float(found[name, log]["score"]) for log in logs} for name in names}
        chosen = left_out(scores)
        any_row = found[names[0], logs[0]]
        out += [f"\n## `{algorithm}`\n"]
        out += [f"- `{name}`: {candidate.about}." for name, candidate in CANDIDATES[algorithm].items()]
        out += [
            f"\n{int(any_row['steps']):,} updates, {any_row['seeds']} seeds, {any_row['episodes']} episodes a policy.\n"
        ]
        out += ["| log | logged | " + " | ".join(names) + " | left out |", "|---|" + "---:|" * (len(names) + 2)]
        for log in logs:
            cells = [_cell(found[name, log]) for name in names]
            picked = found[chosen[log], log]
            logged = float(picked["logged_return"])
            out.append(
                f"| {log} | {logged:.0f} | " + " | ".join(cells) + f" | {float(picked['return']):.0f} ({chosen[log]}) |"
            )
        means = [f"{np.mean(list(scores[name].values())):.1f}" for name in names]
        logged = np.mean([float(found[names[0], log]["logged_score"]) for log in logs])
        fair = np.mean([scores[chosen[log]][log] for log in logs])
        out.append(f"| mean score | {logged:.1f} | " + " | ".join(means) + f" | {fair:.1f} |")
    return "\n".join(out) + "\n"


def _cell(row: dict[str, str]) -> str:
    text = f"{float(row['return']):.0f}"
    return f"{text} [{float(row['return_low']):.0f}, {float(row['return_high']):.0f}]" if row["return_low"] else text


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing in the table, and write the table and the page."""
    parser = argparse.ArgumentParser(prog="benchmarks/presets.py", description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", metavar="ID", required=True, help="logs")
    parser.add_argument("--algorithms", nargs="+", metavar="NAME", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--steps", type=int, default=30_000, help="updates of each seed")
    parser.add_argument("--seeds", type=int, default=2, help="seeds of each run")
    parser.add_argument("--episodes", type=int, default=10, help="episodes of each policy")
    parser.add_argument("--runs", type=Path, default=Path("runs/presets"), help="folder of the runs")
    parser.add_argument("--table", type=Path, default=HERE / "results" / "presets.csv", help="CSV file of the numbers")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "presets.md", help="file of the page")
    args = parser.parse_args(argv)
    rows: list[dict[str, Any]] = list(read(args.table))
    for algorithm in args.algorithms:
        for data in args.data:
            dataset = load_dataset(data)
            if ("discrete" if dataset.discrete else "continuous") not in registry.get(algorithm).actions:
                continue
            for name in CANDIDATES[algorithm]:
                key = key_of(algorithm, name, data, dataset, args)
                if any(all(str(row[k]) == str(key[k]) for k in KEY) for row in rows):
                    continue
                rows.append(measured(key, dataset, args))
                write(args.table, args.page, rows)
    write(args.table, args.page, rows)
    sys.stdout.write(args.page.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
