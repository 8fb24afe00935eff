"""A log larger than memory: the speed of training with a window over it, and the memory that this takes.

    python benchmarks/large.py --gib 30 --log /scratch/large.columns

The log is synthetic: observations of 376 numbers and actions of 17, as those of Gymnasium's Humanoid had, in episodes
of 1,000 steps. It is written once and read again afterwards. Each run is a process of its own. The peak is that of its
anonymous memory: the pages of the mapped files are not counted, because the system takes them back when it needs
memory. To see that, start the script in a control group with a limit on memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from holdfast.data import load_dataset
from holdfast.data.convert import metadata
from holdfast.data.dataset import Dataset
from holdfast.data.sources import folder
from holdfast.training.run import train

DIMENSIONS = 376
ACTIONS = 17
LENGTH = 1000
BYTES = 4 * (DIMENSIONS * (LENGTH + 1) / LENGTH + ACTIONS) + 8 + 2  # of a transition


def episodes(count: int, rng: np.random.Generator) -> Dataset:
    """Episodes of random numbers; actions are a function of observations, so that there is something to learn."""
    obs = rng.standard_normal((count * (LENGTH + 1), DIMENSIONS), dtype=np.float32)
    first = obs.reshape(count, LENGTH + 1, DIMENSIONS)[:, :-1].reshape(-1, DIMENSIONS)
    last = np.arange(count * LENGTH) % LENGTH == LENGTH - 1
    episodes = [
        {
            "observations": obs[e * (LENGTH + 1) : (e + 1) * (LENGTH + 1)],
            "actions": np.tanh(first[e * LENGTH : (e + 1) * LENGTH, :ACTIONS]),
            "rewards": first[e * LENGTH : (e + 1) * LENGTH, 0],
            "terminations": last[:LENGTH] & False,
            "truncations": last[:LENGTH],
        }
        for e in range(count)
    ]
    return Dataset.from_episodes(episodes, id="large")


def write(path: Path, gib: float) -> None:
    """Write the log in parts of 50 episodes, which differ by a factor of the observations."""
    part = episodes(50, np.random.default_rng(0))
    parts = max(1, round(gib * 2**30 / (BYTES * part.n_steps)))
    columns = {name: getattr(part, name) for name in folder.COLUMNS[:-1]}
    aside = path.with_name(path.name + ".part")
    aside.mkdir(parents=True)
    writer = folder.Writer(aside, columns, parts * part.n_steps, parts * part.n_episodes)
    for number in range(parts):
        scaled = part.observations * np.float32(1 + number / parts)
        writer.add({**columns, "observations": scaled}, part.lengths)
    writer.close(json.dumps(metadata(part, "large")).encode())
    aside.rename(path)


class Peak(threading.Thread):
    """Reads the anonymous memory of this process ten times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self.start()

    def run(self) -> None:
        while True:
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            self.bytes = max(self.bytes, 1024 * int(status["RssAnon"].split()[0]))
            time.sleep(0.1)


def measured(args: argparse.Namespace) -> dict[str, float]:
    """One run in this process: updates per second, seconds before the first update, and peak memory."""
    peak = Peak()
    began = time.perf_counter()
    data: Dataset = load_dataset(args.log)
    if not args.window:
        data = data.select(np.arange(args.rows // LENGTH))
    run = train(
        args.algorithm, data, steps=args.steps, window=args.window, evaluate=False, progress=False,
        treatment={"normalize_obs": 1e-3}, out=args.out,
    )  # fmt: skip
    wall = time.perf_counter() - began
    rate = run.result["updates_per_second"]
    return {"updates_per_second": rate, "before": wall - args.steps / rate, "gib": peak.bytes / 2**30}


def main(argv: Sequence[str] | None = None) -> None:
    """Write the log if it does not exist, measure both ways to train, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, default=Path("runs/large/large.columns"), help="the folder of columns")
    parser.add_argument("--gib", type=float, default=1.0, help="size of the log")
    parser.add_argument("--algorithm", default="td3_bc")
    parser.add_argument("--steps", type=int, default=5_000, help="updates of a run")
    parser.add_argument("--rows", type=int, default=200_000, help="rows of the window, and of the log in memory")
    parser.add_argument("--window", type=int, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("runs/large/runs"), help="folder of the runs")
    args = parser.parse_args(argv)
    if args.window is not None:
        print(json.dumps(measured(args)))
        return
    if not args.log.exists():
        began = time.perf_counter()
        write(args.log, args.gib)
        print(f"written in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    print("| rows | updates/s | before the first update | peak memory |\n|---|---:|---:|---:|")
    for label, window in ((f"{args.rows:,} in memory", 0), (f"a window of {args.rows:,}", args.rows)):
        out = args.out / f"{window}-{time.time_ns()}"
        command = [sys.executable, __file__, "--log", args.log, "--algorithm", args.algorithm, "--rows", args.rows]
        command += ["--steps", args.steps, "--window", window, "--out", out]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        rate, before, gib = found["updates_per_second"], found["before"], found["gib"]
        print(f"| {label} | {rate:.0f} | {before:.0f} s | {gib:.2f} GiB |", flush=True)


if __name__ == "__main__":
    main()
