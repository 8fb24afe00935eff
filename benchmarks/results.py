"""Train every algorithm on every available data set and write the table of scores (`make results`).

The numbers are written to benchmarks/results/scores.csv and the page to docs/results.md, after every cell. A cell
with the same steps, seeds, data and settings is not trained again; if the settings of a preset have changed, it is.
A stopped table continues when the command is called again. The runs are in runs/results/, with a checkpoint every
1000 updates.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.algorithms import registry
from holdfast.core.config import to_dict
from holdfast.core.contract import Algorithm
from holdfast.core.errors import Diverged, UserError
from holdfast.core.files import write_atomic
from holdfast.data.checks.check import check
from holdfast.data.dataset import Dataset
from holdfast.data.sources import bundled_names, load_dataset
from holdfast.data.sources.minari import local_ids
from holdfast.evaluation.scores import normalized, reference_of
from holdfast.training.hooks import Progress
from holdfast.training.run import Run, resume, train

HERE = Path(__file__).resolve().parent
COLUMNS = (
    "data", "actions", "algorithm", "preset", "settings", "steps", "seeds", "episodes", "fingerprint", "environment",
    "return", "return_low", "return_high", "score", "score_low", "score_high", "logged_return", "logged_score",
    "updates_per_second", "holdfast", "jax", "note",
)  # fmt: skip
KEY = ("data", "algorithm", "steps", "seeds", "episodes", "fingerprint")
SETTINGS = ("preset", "settings")  # a row of the same key and other settings is trained again
ONLINE = ("iql_concurrent", "iql_online", "obac", "rlpd")  # they learn from a growing replay, not from a fixed log
FAMILIES = ("antmaze", "kitchen", "adroit")  # presets that have the names of environments
TUNED = "tuned_100k"  # the preset for logs of less than about 300,000 rows


def preset_for(algorithm: Algorithm, dataset: Dataset) -> str:
    """The preset of the data's family, else `tuned_100k`, else the published settings."""
    name = f"{dataset.id} {dataset.env_id}".lower()
    wanted = [*(family for family in FAMILIES if family in name), TUNED]
    return next((preset for preset in wanted if preset in algorithm.presets), next(iter(algorithm.presets)))


def settings_of(algorithm: Algorithm, dataset: Dataset) -> tuple[str, str]:
    """The name of the preset for a data set, and a hash of its settings."""
    name = preset_for(algorithm, dataset)
    preset = algorithm.presets[name]
    text = json.dumps([to_dict(preset.config), preset.treatment._asdict()], sort_keys=True)
    return name, hashlib.sha256(text.encode()).hexdigest()[:8]


def fits(algorithm: Algorithm, dataset: Dataset) -> bool:
    """Whether an algorithm can learn from a data set and needs nothing else."""
    kind = "discrete" if dataset.discrete else "continuous"
    if algorithm.filter is not None:  # tabular methods refuse logs with many states
        try:
            algorithm.filter(algorithm.presets[preset_for(algorithm, dataset)].config, dataset)
        except UserError:
            return False
    return kind in algorithm.actions and not algorithm.inputs


def cell(name: str, dataset: Dataset, data: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train one algorithm on one data set, or resume its run: a row of the CSV."""
    algorithm = registry.get(name)
    preset, settings = settings_of(algorithm, dataset)
    budget = f"{args.steps}x{args.seeds}-{args.episodes}"
    out = args.runs / f"{name}-{settings}-{data.replace('/', '-')}-{budget}-{dataset.fingerprint[:8]}"
    row: dict[str, Any] = {
        "data": data,
        "actions": "discrete" if dataset.discrete else "continuous",
        "algorithm": name,
        "preset": preset,
        "settings": settings,
        "steps": args.steps,
        "seeds": args.seeds,
        "episodes": args.episodes,
        "fingerprint": dataset.fingerprint,
    }
    clip = any(fault.level == "fatal" and fault.kind == "action_bounds" for fault in check(dataset))
    try:
        if (out / "config.json").exists():
            run: Run = resume(out, hooks=[Progress()], progress=False)
        else:
            how = {"eval_episodes": args.episodes, "clip_actions": clip, "hooks": [Progress()], "progress": False}
            how |= {"eval_every": args.steps, "save_every": 1000}  # only the last policies are scored
            run = train(name, data, steps=args.steps, seeds=args.seeds, out=out, preset=preset, **how)
    except (UserError, Diverged) as error:
        return {**row, "note": str(error)}
    result = run.result
    mean = result["return_mean"]
    low, high = result["return_interval"] or (None, None)
    reference = dataset.reference or reference_of({"dataset": data}, result["environment"])

    def score(value: float | None) -> float | None:
        return None if value is None or reference is None else float(normalized(value, reference))

    logged = float(dataset.returns().mean())
    return {
        **row,
        "environment": result["environment"],
        "return": mean,
        "return_low": low,
        "return_high": high,
        "score": score(mean),
        "score_low": score(low),
        "score_high": score(high),
        "logged_return": logged,
        "logged_score": score(logged),
        "updates_per_second": result["updates_per_second"],
        **{k: result["versions"][k] for k in ("holdfast", "jax")},
        "note": "actions clipped to their bounds" if clip else "",
    }


def read(path: Path) -> list[dict[str, str]]:
    """The rows of an existing table; none if there is no table."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: row.get(k) or "" for k in COLUMNS} for row in csv.DictReader(file)]


def write(table: Path, page: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write both files, each atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([{k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows])
    write_atomic(table, text.getvalue().encode())
    write_atomic(page, markdown(rows).encode())


HEAD = """# Results

The score of each algorithm on each data set, all with the same number of updates. `make results` writes this page;
`benchmarks/results/scores.csv` contains the numbers with intervals, speeds and presets.

A number is the normalised score of the last policies (0: random policy, 100: expert), with its 95 % bootstrap interval
over seeds and episodes. If the reference returns are not known, it is the mean return, marked with r. The row `logged`
is the score of the data. No policy is selected by its score. A dash means that the method is not for these actions, an
empty cell that it is not trained yet. The updates are those of a method's main phase; the phases before or after it (an
autoencoder, a behaviour model, the warm start of BEAR and UWAC, ACA's alignment) come in addition. Few updates favour
methods that clone; [learning runs](learning-runs.md) has longer runs.
"""
FOOT = """
## Making this page

```sh
make results                        # every algorithm on every available data set that suits it: many hours
make results ARGS="--algorithms iql cql --data bundled/pendulum-mixed --steps 20000"
```

The data sets are the bundled ones and the local Minari sets under `zoo/`. An interrupted table continues when the
command is called again. Another number of updates, seeds or episodes makes another table.
"""


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The page: a table for each budget, with a row for each algorithm and a column for each data set."""
    out = [HEAD, presets_note(rows)]
    for budget in sorted({(int(r["steps"]), int(r["seeds"]), int(r["episodes"])) for r in rows}, reverse=True):
        some = [r for r in rows if (int(r["steps"]), int(r["seeds"]), int(r["episodes"])) == budget]
        sets = list(dict.fromkeys(r["data"] for r in some))
        actions = {r["data"]: r["actions"] for r in some}
        seeds = f"{budget[1]} seed{'s' if budget[1] > 1 else ''}"
        out += [f"\n## {budget[0]:,} updates, {seeds}, {budget[2]} episodes a policy\n"]
        out += ["| algorithm | " + " | ".join(sets) + " |", "|---|" + "---:|" * len(sets)]
        out.append("| logged | " + " | ".join(_logged(data, some) for data in sets) + " |")
        for name in sorted({r["algorithm"] for r in some if _number(r.get("return")) is not None}):
            found = {r["data"]: r for r in some if r["algorithm"] == name}
            kinds = registry.get(name).actions
            cells = (_cell(found[d]) if d in found else "" if actions[d] in kinds else "-" for d in sets)
            out.append(f"| `{name}` | " + " | ".join(cells) + " |")
        notes = [f"- {r['data']}, `{r['algorithm']}`: {r['note']}" for r in some if r.get("note")]
        out += ["", *notes] if notes else []
    return "\n".join(out) + "\n" + FOOT


def presets_note(rows: Sequence[dict[str, Any]]) -> str:
    """Which methods were trained with `tuned_100k`, which version 0.1.0 called `small`."""
    tuned = sorted({f"`{row['algorithm']}`" for row in rows if row.get("preset") in (TUNED, "small")})
    if not tuned:
        return "All methods were trained with their default preset.\n"
    text = f"These methods were trained with the preset `{TUNED}` of their version, the others with its default: "
    text += f"{', '.join(tuned)}."
    return textwrap.fill(text, 120, break_on_hyphens=False) + "\n"


def _logged(data: str, rows: Sequence[dict[str, Any]]) -> str:
    row = next((r for r in rows if r["data"] == data and _number(r.get("logged_return")) is not None), {})
    return _cell({key: row.get(f"logged_{key}") for key in ("score", "return")})


def _number(value: Any) -> float | None:
    return None if value in (None, "") else float(value)


def _cell(row: dict[str, Any]) -> str:
    kind = "score" if _number(row.get("score")) is not None else "return"
    value, low, high = (_number(row.get(key)) for key in (kind, f"{kind}_low", f"{kind}_high"))
    if value is None:
        return "-"
    mark = "" if kind == "score" else "r "
    return f"{mark}{value:.1f}" if low is None or high is None else f"{mark}{value:.1f} [{low:.1f}, {high:.1f}]"


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing in the table, and write the table and the page."""
    parser = argparse.ArgumentParser(prog="benchmarks/results.py", description=__doc__.splitlines()[0])
    data_help = "data sets; default: the bundled ones and local Minari sets under zoo/"
    parser.add_argument("--data", nargs="+", metavar="ID", help=data_help)
    parser.add_argument("--algorithms", nargs="+", metavar="NAME", help="algorithms; default: all")
    parser.add_argument("--steps", type=int, default=30_000, help="updates of each seed")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each cell")
    parser.add_argument("--episodes", type=int, default=20, help="episodes of each policy in the last evaluation")
    parser.add_argument("--runs", type=Path, default=Path("runs/results"), help="folder of the runs")
    parser.add_argument("--table", type=Path, default=HERE / "results" / "scores.csv", help="CSV file of the numbers")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "results.md", help="file of the page")
    parser.add_argument("--page-only", action="store_true", help="write the page from the table and train nothing")
    args = parser.parse_args(argv)
    if args.page_only:
        write(args.table, args.page, read(args.table))
        return 0
    data = args.data or [*bundled_names(), *(id for id in local_ids() if id.startswith("zoo/"))]
    try:
        every = [name for name in registry.names() if name not in ONLINE and not registry.get(name).inputs]
        names = [registry.get(name).name for name in args.algorithms or every]
        datasets = [(name, load_dataset(name)) for name in data]
    except UserError as error:
        parser.error(str(error))
    rows: list[dict[str, Any]] = list(read(args.table))
    for id, dataset in datasets:
        for name in names:
            algorithm = registry.get(name)
            wanted = tuple(map(str, (id, name, args.steps, args.seeds, args.episodes, dataset.fingerprint)))
            done = [r for r in rows if tuple(str(r[k]) for k in KEY) == wanted]
            current = settings_of(algorithm, dataset)
            if not fits(algorithm, dataset) or any(tuple(r[k] for k in SETTINGS) == current for r in done):
                continue
            row = cell(name, dataset, id, args)
            rows = [r for r in rows if r not in done] + [row]
            write(args.table, args.page, rows)
    write(args.table, args.page, rows)
    sys.stdout.write(args.page.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
