"""Measures on a GPU the minutes that every algorithm needs for a million updates, and writes the table.

`gpu.sh` runs it after the other checks of a GPU. The programs of several algorithms are compiled at the same time, each
in a process of its own. Then each of them is measured while nothing else runs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import speed

UPDATES = 1_000_000
# minutes for a million updates of one seed on an NVIDIA L40S: unifloral (Jackson et al. 2025), table 2
UNIFLORAL = {
    "td3_bc": 3.1, "iql": 4.0, "cql": 9.8, "mopo": 14.0, "edac": 20.8, "bc": 1.7, "rebrac": 6.8, "sac_n": 7.7,
    "combo": 22.0,
}  # fmt: skip


class Measured(NamedTuple):
    """One algorithm."""

    name: str
    compile_seconds: float  # of all its programs
    per_second: dict[int, float]  # updates per second of all seeds together, by number of seeds

    def minutes(self, seeds: int) -> float:
        """Minutes for a million updates of each seed."""
        return seeds * UPDATES / self.per_second[seeds] / 60


def ordered(names: Sequence[str]) -> list[str]:
    """The names in the order of importance: first those that unifloral has times of."""
    return [*(name for name in UNIFLORAL if name in names), *(name for name in names if name not in UNIFLORAL)]


def compiled(name: str, counts: Sequence[int]) -> tuple[speed.Worker, float]:
    """A process that has compiled an algorithm for each number of seeds, and the seconds that this took.

    Raises:
        RuntimeError: the process has ended.
    """
    worker = speed.Worker(str(speed.HERE / "worker.py"), "ours", name)
    try:
        return worker, sum(worker.ask("compile", seeds=count)["compile_seconds"] for count in counts)
    except RuntimeError:
        worker.close()
        raise


def measure(names: Sequence[str], counts: Sequence[int], seconds: float) -> tuple[list[Measured], list[str]]:
    """Compile some algorithms at the same time, then measure one after the other.

    Returns:
        What was measured, and a line for each algorithm that failed.
    """
    found: list[Measured] = []
    failed: list[str] = []
    with ThreadPoolExecutor(len(names)) as pool:
        pending = {name: pool.submit(compiled, name, counts) for name in names}
    for name, one in pending.items():
        try:
            worker, took = one.result()
        except RuntimeError as error:
            failed.append(f"{name}: {error}")
            continue
        try:
            rates = {count: worker.ask("speed", seeds=count, seconds=seconds)["updates_per_second"] for count in counts}
            found.append(Measured(name, took, rates))
        except RuntimeError as error:
            failed.append(f"{name}: {error}")
        finally:
            worker.close()
    return found, failed


def whole_run(folder: Path | None) -> str | None:
    """A line about a run of `holdfast train` with evaluations; None: there is no finished one in the folder."""
    if folder is None or not (folder / "result.json").is_file():
        return None
    result = json.loads((folder / "result.json").read_text())
    seeds = len(result["replicas"])
    return (
        f"a whole run of {result['algorithm']} with evaluations: {seeds} seeds of {result['steps']:,} updates in "
        f"{result['wall_seconds']:.0f} s, of which {result['compile_seconds']:.0f} s compiling; "
        f"{result['updates_per_second']:,.0f} updates/s of all seeds in the blocks"
    )


def markdown(machine: dict[str, Any], measured: Sequence[Measured], counts: Sequence[int], notes: Sequence[str]) -> str:
    """The page."""
    where = f"{machine['accelerator']}, with " if machine["accelerator"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    seeds = [f"{n} seed{'s' * (n > 1)}" for n in counts]
    head = ["algorithm", "compile s", *(f"minutes, {one}" for one in seeds), *(f"updates/s, {one}" for one in seeds)]
    head += ["unifloral, 1 seed", "times as fast"]
    out = [f"# Minutes for a million updates on {where}{machine['cpu']}, {machine['cores']} cores", ""]
    out += [f"Written by `benchmarks/gpu.sh` on {datetime.date.today()}; {machine['system']}, {versions}.", ""]
    out += ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for one in measured:
        theirs = UNIFLORAL.get(one.name)
        ratio = f"{theirs / one.minutes(1):.1f}" if theirs and 1 in counts else "-"
        cells = [one.name, f"{one.compile_seconds:.0f}", *(f"{one.minutes(n):.1f}" for n in counts)]
        cells += [*(f"{one.per_second[n]:,.0f}" for n in counts), f"{theirs:g}" if theirs else "-", ratio]
        out.append("| " + " | ".join(cells) + " |")
    lines = [
        "minutes: for a million updates of each seed, all seeds in one program, with sampling and metrics, without "
        "evaluations. For several phases: of the last one; MOPO's and COMBO's minutes leave out the model's training.",
        "shapes: batch 256, two hidden layers of 256, observations of 17, actions of 6, 100,000 rows; other sizes as "
        "published.",
        "updates/s: of all seeds together. compile s: of all programs of the row, while others were compiled.",
        "unifloral: minutes on an NVIDIA L40S (Jackson et al. 2025, table 2), which is another GPU.",
        *notes,
    ]
    return "\n".join([*out, "", *(f"- {line}" for line in lines)]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.py", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="algorithms; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 8, 64], help="seeds in one program")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a measurement")
    parser.add_argument("--jobs", type=int, default=8, help="algorithms that are compiled at the same time")
    parser.add_argument("--limit", type=float, default=360.0, help="seconds for everything")
    parser.add_argument("--run", type=Path, help="folder of a finished run, for the notes")
    parser.add_argument("--golden", default="not checked", help="result of the recorded steps, for the notes")
    parser.add_argument("--out", type=Path, default=speed.HERE / "results", help="folder of the table")
    args = parser.parse_args(argv)

    began = time.monotonic()
    names = ordered(speed.measurable(args.only))
    machine = speed.machine()
    words = machine["accelerator"] or f"cpu {machine['cpu']} {machine['cores']} cores"
    stem = args.out / f"gpu-{speed.slug(words)}"
    args.out.mkdir(parents=True, exist_ok=True)
    notes = [f"recorded steps of the algorithms on this device: {args.golden}"]
    notes += [line for line in (whole_run(args.run),) if line]
    measured: list[Measured] = []
    failed: list[str] = []
    longest = 0.0

    def write() -> str:
        page = markdown(machine, measured, args.seeds, [*notes, *(f"failed: {line}" for line in failed)])
        stem.with_suffix(".md").write_text(page, encoding="utf-8")
        return page

    while names:
        left = args.limit - (time.monotonic() - began)
        if measured and left < longest:
            notes.append(f"not measured, because the time was over: {', '.join(names)}")
            break
        batch = names[: args.jobs]
        sys.stderr.write(f"{' '.join(batch)}\n")
        start = time.monotonic()
        found, faults = measure(batch, args.seeds, args.seconds)
        longest = max(longest, time.monotonic() - start)
        measured += found
        failed += faults
        names = names[args.jobs :]
        write()  # after each group, so that a stop loses one group at most
    sys.stdout.write(f"{write()}written: {args.out.name}/{stem.name}.md\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
