"""Estimates against true returns: policies of known return, evaluated on episodes that they did not learn from.

For each data set, some algorithms learn on 70 % of the episodes, and the policies of all their evaluations are kept:
the true return of each is the mean over the episodes of that evaluation. Every policy is then estimated on the other
episodes with each model. The table has the error, the rank correlation and the regret of each estimator.

    python benchmarks/ope.py --data zoo/pendulum-mixed-v0 zoo/cartpole-mixed-v0

With `--peer-python` d3rlpy and SCOPE-RL estimate the same policies from the same episodes (`ope_peer.py`).

A run and an estimate that exist are not made again, so that a stopped study continues when it is called again.
`--policies` takes some of the policies, and `--minutes` bounds the time of each data set: policies whose estimates are
not ready by then are left out of the table. The first policies are spread evenly over the true returns, so that a part
of them is a smaller study of the same kind. Policies of one algorithm share a program by the compilation cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.core.errors import UserError
from holdfast.core.files import write_atomic
from holdfast.data.dataset import Dataset
from holdfast.data.sources import load_dataset
from holdfast.evaluation.ope import behaviour as behaviours
from holdfast.evaluation.ope import metrics
from holdfast.evaluation.ope.estimators import USUAL
from holdfast.evaluation.ope.target import target_of
from holdfast.policy.policy import Policy
from holdfast.runs.folder import RunFolder
from holdfast.selection.arrival import rate_for
from holdfast.selection.ope import ope
from holdfast.training.run import Run, train

HERE = Path(__file__).resolve().parent
# two that learn slowly and one that learns fast, so that the returns differ
LEARNERS = {
    "continuous": {"bc": {}, "td3_bc": {}, "iql": {"preset": "tuned_100k"}},
    "discrete": {"bc": {}, "dqn": {}, "iql": {"preset": "tuned_100k"}},
}
HEADER = ("data", "estimator", "model", "policies", "refused", "error", "rank correlation", "regret@1", "regret@3")


def policies_of(name: str, part: Dataset, args: argparse.Namespace) -> list[tuple[Path, float]]:
    """Folders and true returns of the policies that algorithms learn from a part of a data set."""
    found = []
    for algorithm, how in LEARNERS["discrete" if part.discrete else "continuous"].items():
        out = args.out / Path(name).name / algorithm
        if not (out / "result.json").is_file():
            config = {"hidden": (64, 64)}
            every = max(1, args.steps // args.checkpoints)
            train(
                algorithm,
                part,
                steps=args.steps,
                eval_every=every,
                eval_episodes=args.episodes,
                keep_policies=True,
                out=out,
                config=config,
                progress=False,
                **how,
            )
        table = Run.load(out).evaluations
        steps = np.asarray(table["step"])
        for step in np.unique(steps[steps > 0]):
            folder = RunFolder(out).policy_folders(["seed-0"], int(step))[0]
            found.append((folder, float(np.asarray(table["return"])[steps == step].mean())))
    return [found[i] for i in spread_order(np.array([true for _, true in found]))][: args.policies]


def spread_order(values: np.ndarray) -> list[int]:
    """Indices in an order whose every beginning is spread over the ranks: lowest, highest, middle, and so on."""
    ranked = np.argsort(values, kind="stable")
    order = [0]
    while len(order) < len(values):
        apart = np.abs(np.arange(len(values))[:, None] - np.array(order)).min(1)
        order.append(int(apart.argmax()))
    return ranked[order].tolist()


def estimate(folder: Path, data: Dataset, model: str, args: argparse.Namespace) -> dict[str, Any]:
    """The estimates of one policy with one model, read from the disk if they exist."""
    settings = "0"
    if model != "linear":
        rate = rate_for(args.updates, 1.0, data.horizon or int(data.lengths.max()))
        settings = f"{args.updates}-{rate:g}"
    file = folder / f"ope-{model}-{settings}.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    mode = "sample" if data.discrete else "best"
    found = ope(Policy.load(folder), data, mode=mode, model=model, updates=args.updates, force=True)
    values = {row.name: {"value": row.value, "refused": list(row.refused)} for row in found.rows}
    write_atomic(file, json.dumps(values).encode())
    return values


def peers(folder: Path, data: Dataset, args: argparse.Namespace) -> dict[str, Any]:
    """The estimates of other libraries for one policy, read from the disk if they exist."""
    file = folder / f"ope-peers-{args.updates}.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    target = target_of(Policy.load(folder), data, "sample" if data.discrete else "best")
    ends = data.offsets[1:] - 1
    log = {
        "observations": np.asarray(data.observations, np.float32),
        "offsets": data.offsets,
        "taken": data.actions,
        "rewards": data.rewards,
        "terminated": data.terminations[ends],
        "updates": np.array(args.updates),
    }
    if target.probabilities is None:
        log["actions"] = np.asarray(target.actions, np.float32)[0]
    else:
        log["probabilities"] = target.probabilities
        log["propensity"] = np.exp(behaviours.estimate(data, 0).log_prob)
    with tempfile.TemporaryDirectory() as place:
        np.savez(Path(place) / "log.npz", **log)
        command = [args.peer_python, str(HERE / "ope_peer.py"), str(Path(place) / "log.npz")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{args.peer_python} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    values = {name: {"value": v, "refused": []} for name, v in json.loads(done.stdout.splitlines()[-1]).items()}
    write_atomic(file, json.dumps(values).encode())
    return values


def cells(true: np.ndarray, rows: Sequence[dict[str, Any]], discounted: bool = False) -> tuple[str, ...]:
    """The figures of one estimator: policies, refusals, error (of undiscounted values), correlation, regrets."""
    values = np.array([row["value"] for row in rows])
    refused = sum(bool(row["refused"]) for row in rows)
    numbers = (metrics.rank_correlation(true, values), metrics.regret(true, values, 1), metrics.regret(true, values, 3))
    error = "-" if discounted else f"{metrics.error(true, values):.0f}"
    return str(len(true)), str(refused), error, *(f"{number:.2f}" for number in numbers)


def rows_of(name: str, args: argparse.Namespace) -> list[tuple[str, ...]]:
    """The rows of the table for one data set."""
    data = load_dataset(name)
    parts = data.split({"train": 0.7, "test": 0.3}, seed=0)
    policies = policies_of(name, parts["train"], args)
    began = time.monotonic()
    ready: dict[Path, dict[str, dict[str, Any]]] = {}  # by folder and model
    for folder, _ in policies:
        if ready and time.monotonic() - began > 60 * args.minutes:
            print(f"{name}: {len(ready)} of {len(policies)} policies in {args.minutes:g} minutes", file=sys.stderr)
            break
        ready[folder] = {model: estimate(folder, parts["test"], model, args) for model in args.models}
    policies = policies[: len(ready)]
    true = np.array([value for _, value in policies])
    found = []
    for model in args.models:
        estimates = [ready[folder][model] for folder, _ in policies]
        for estimator in USUAL:
            if estimator in ("pdis", "wis", "sn_pdis") and model != args.models[0]:
                continue  # they read no model
            rows = [one[estimator] for one in estimates]
            if any(row["value"] is None for row in rows):
                continue
            used = "-" if estimator in ("pdis", "wis", "sn_pdis") else model
            found.append((Path(name).name, estimator, used, *cells(true, rows)))
    if args.peer_python:
        others = [peers(folder, parts["test"], args) for folder, _ in policies]
        for estimator in others[0]:
            rows = [one[estimator] for one in others]
            model = "neural" if estimator.endswith(("fqe", "dr")) else "-"
            found.append((Path(name).name, estimator, model, *cells(true, rows, discounted=estimator == "d3rlpy fqe")))
    print(f"{name}: true returns {true.min():.0f} to {true.max():.0f}", file=sys.stderr)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Run the study and print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["bundled/pendulum-mixed"], help="data sets with an environment")
    parser.add_argument("--models", nargs="+", default=["linear", "neural"], help="linear, neural, quantile")
    parser.add_argument("--steps", type=int, default=5_000, help="updates of each algorithm")
    parser.add_argument("--checkpoints", type=int, default=4, help="policies of each algorithm")
    parser.add_argument("--episodes", type=int, default=20, help="episodes of each true return")
    parser.add_argument("--updates", type=int, default=5_000, help="updates of each network of a model")
    parser.add_argument("--policies", type=int, default=None, help="policies of each data set at most; default: all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no estimate of a data set after it")
    parser.add_argument("--out", type=Path, default=Path("runs/ope"), help="folder of the runs")
    parser.add_argument("--peer-python", default="", help="interpreter with d3rlpy and SCOPE-RL")
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore", RuntimeWarning)  # forced estimates may be without meaning
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    for name in args.data:
        lines += ["| " + " | ".join(row) + " |" for row in rows_of(name, args)]
    print("\n".join(lines))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"ope: {error}")
