"""Time and memory of reading a large table: 10 million rows of 20 columns of Parquet, whose episodes are interleaved.

    python benchmarks/tables.py [ROWS]

Prints seconds, CPU seconds, and the largest memory of the process that reads, also as a multiple of the table's size in
memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

EPISODE = 100  # steps
OBSERVATIONS = 15
ROLES = {
    "episode": "episode",
    "time": "time",
    "observations": [f"x{i}" for i in range(OBSERVATIONS)],
    "action": "action",
    "reward": "reward",
    "termination": "done",
    "last_row": "cut",
}


def write(path: Path, rows: int) -> int:
    """Write a table whose rows are in the order of time, so that each episode is spread over the whole file.

    Returns:
        Its size in memory, in bytes.
    """
    import polars as pl

    rng = np.random.default_rng(0)
    episodes = rows // EPISODE
    columns = {
        "episode": np.tile(np.arange(episodes), EPISODE),
        "time": np.repeat(np.arange(EPISODE), episodes),
        **{f"x{i}": rng.normal(size=episodes * EPISODE) for i in range(OBSERVATIONS)},
        "action": rng.integers(0, 10, episodes * EPISODE),
        "reward": rng.normal(size=episodes * EPISODE),
        "done": np.repeat(np.arange(EPISODE) == EPISODE - 1, episodes),
    }
    frame = pl.DataFrame(columns)
    frame.write_parquet(path)
    return int(frame.estimated_size())


def read(path: Path) -> dict[str, float]:
    """Read the table as a data set, and measure it."""
    from holdfast.data.tables.load import load_table

    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    data = load_table(path, ROLES)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "steps": data.n_steps,
        "seconds": wall,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "megabytes": after.ru_maxrss / 1024,
    }


def main(argv: list[str]) -> None:
    if argv[:1] == ["--read"]:
        print(json.dumps(read(Path(argv[1]))))
        return
    rows = int(argv[0]) if argv else 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.parquet"
        write_it = f"from tables import write; from pathlib import Path; print(write(Path({str(path)!r}), {rows}))"
        here = Path(__file__).resolve().parent
        size = int(subprocess.run([sys.executable, "-c", write_it], cwd=here, check=True, capture_output=True).stdout)
        run = [sys.executable, str(Path(__file__).resolve()), "--read", str(path)]
        found = json.loads(subprocess.run(run, check=True, capture_output=True).stdout)
        table = size / 2**20
        disk = path.stat().st_size / 2**20
        print(f"{rows:,} rows x {5 + OBSERVATIONS} columns: {table:,.0f} MB in memory, {disk:,.0f} MB on disk")
        print(f"read in {found['seconds']:.1f} s, {found['cpu_seconds']:.1f} CPU seconds, {found['steps']:,} steps")
        print(f"at most {found['megabytes']:,.0f} MB: {found['megabytes'] / table:.2f} times its size in memory")


if __name__ == "__main__":
    main(sys.argv[1:])
