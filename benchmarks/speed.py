"""Measures the speed of Holdfast on this machine, prints a table and writes it to benchmarks/results/ (`make bench`).

Contestants that are compared run in separate processes and are measured in turns (A B, B A ...) within the same
minutes. The table shows medians of the turns: a ratio is valid on a busy machine too, where a time alone is not.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import models
import online
import peer as d3rlpy
import shipped
import teams

from holdfast.core.version import __version__

HERE = Path(__file__).resolve().parent
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the contestants share one GPU
HANDWRITTEN = ("td3_bc", "iql")  # in handwritten.py
PEER = {
    "iql": 3.5,
    "td3_bc": 3.5,
    "sac": 3.5,
    "bear": 3.0,
    "bcq": 8.0,
    "cql": 1.5,
    "decision_transformer": 5.0,
}  # targets, times d3rlpy's speed
TARGETS = {
    "matmul": 0.55,
    "handwritten": 0.95,
    "online": online.TARGET,
    "evaluation": 4.0,
    "sequences": 10.0,
    "import": 1.0,
}


class Worker:
    """A contestant in a separate process, which answers one request at a time."""

    def __init__(self, *command: str, python: str = sys.executable) -> None:
        self.name = " ".join(Path(c).name for c in command)
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in close)
        env = dict(os.environ)
        if python != sys.executable:  # another interpreter does not use the packages of this one
            env.pop("PYTHONPATH", None)
        self.process = subprocess.Popen(
            [python, *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=env,
        )  # fmt: skip

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            RuntimeError: the process has ended; the message has its last lines.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.process.wait()
            self.errors.seek(0)
            last = [text for text in self.errors.read().splitlines() if text.strip()][-3:]
            raise RuntimeError(f"{self.name} failed: {' / '.join(last)}")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


def measure(name: str, seeds: Sequence[int], rounds: int, seconds: float, peer_python: str | None) -> dict[str, Any]:
    """Everything about one algorithm. `peer_python` None: without d3rlpy."""
    ours = Worker(str(HERE / "worker.py"), "ours", name)
    hand = Worker(str(HERE / "worker.py"), "handwritten", name) if name in HANDWRITTEN else None
    peer = Worker(str(HERE / "peer.py"), name, python=peer_python) if peer_python and name in d3rlpy.NAMES else None
    found: dict[str, Any] = {"algorithm": name}
    try:
        found |= ours.ask("compile", seeds=seeds[0])
        found["flops_per_update"] = ours.ask("flops")["flops"]
        turns: dict[str, list[float]] = {}
        order = [(f"x{count}", ours, "speed", {"seeds": count, "seconds": seconds}) for count in seeds]
        if hand:
            order.insert(1, ("handwritten", hand, "speed", {"seconds": seconds}))
        if peer:
            order += [(f"peer_{do}", peer, do, {"seconds": seconds}) for do in ("update", "fit")]
        for count in range(rounds):
            turns.setdefault("matmul", []).append(ours.ask("matmul")["flops_per_second"])
            for key, worker, do, request in order if count % 2 == 0 else order[::-1]:
                turns.setdefault(key, []).append(worker.ask(do, **request)["updates_per_second"])
        if peer:
            found["peer"] = peer.ask("versions")
        found["peak_bytes"] = ours.ask("memory")["bytes"]
    finally:
        for worker in (ours, hand, peer):
            if worker:
                worker.close()
    found["turns"] = turns
    medians = {key: statistics.median(values) for key, values in turns.items()}
    found["updates_per_second"] = {count: medians[f"x{count}"] for count in seeds}
    found["matmul_flops_per_second"] = max(turns["matmul"])
    pairs = {count: zip(turns[f"x{count}"], turns["matmul"], strict=True) for count in seeds}
    work = found["flops_per_update"]
    found["share_of_matmul"] = {count: work * statistics.median(a / b for a, b in pairs[count]) for count in seeds}
    for other in ("handwritten", "peer_update", "peer_fit"):
        if other in turns:
            found[other] = medians[other]
            ratios = (a / b for a, b in zip(turns[f"x{seeds[0]}"], turns[other], strict=True))
            found[f"ratio_{other}"] = statistics.median(ratios)
    return found


def evaluation(episodes: int, env: str = "HalfCheetah-v5", algorithm: str = "td3_bc") -> dict[str, Any]:
    """Seconds of an evaluation: the first call, which makes and compiles everything, and the next."""
    worker = Worker(str(HERE / "worker.py"), "evaluation", env, algorithm)
    try:
        first, second = worker.ask("play", episodes=episodes), worker.ask("play", episodes=episodes)
    finally:
        worker.close()
    seconds = {"first_seconds": first["seconds"], "next_seconds": second["seconds"]}
    return {"episodes": episodes, "steps": first["steps"], **seconds}


def collecting(env: str, seeds: Sequence[int], rounds: int, seconds: float, peer_python: str | None) -> dict[str, Any]:
    """Everything about learning in an environment. `peer_python` None: without Stable-Baselines3."""
    ours = Worker(str(HERE / "worker.py"), "online", env)
    peer = Worker(str(HERE / "peer_online.py"), env, python=peer_python) if peer_python else None
    try:
        return online.measure(ours, peer, seeds, rounds, seconds)
    finally:
        for worker in (ours, peer):
            if worker:
                worker.close()


def modelling(rounds: int, seconds: float, peer_python: str | None) -> dict[str, Any]:
    """Everything about learned models. `peer_python` None: without PyTorch."""
    ours = Worker(str(HERE / "models_ours.py"))
    peer = Worker(str(HERE / "models_torch.py"), python=peer_python) if peer_python else None
    try:
        return models.measure(ours, peer, rounds, seconds)
    finally:
        for worker in (ours, peer):
            if worker:
                worker.close()


def teamwork(rounds: int, seconds: float) -> dict[str, Any]:
    """Everything about teams."""
    each = {name: Worker(str(HERE / "worker.py"), "team", name) for name in teams.NAMES}
    alone = Worker(str(HERE / "worker.py"), "ours", teams.ALONE)
    try:
        return teams.measure(each, alone, rounds, seconds)
    finally:
        for worker in (*each.values(), alone):
            worker.close()


def serve(rounds: int, seconds: float) -> dict[str, Any]:
    """Latency and throughput of an exported policy on one core."""
    worker = Worker(str(HERE / "shipped.py"), shipped.NAME)
    try:
        return shipped.measure(worker, rounds, seconds / 3)
    finally:
        worker.close()


def import_seconds(repeats: int) -> float:
    """Median seconds of `import holdfast` in a fresh interpreter."""
    code = "import time; t = time.perf_counter(); import holdfast; print(time.perf_counter() - t)"

    def once() -> float:
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    return statistics.median(once() for _ in range(repeats))


def machine() -> dict[str, Any]:
    """Hardware and versions; nothing that names a host or a folder."""
    import jax

    device = jax.devices()[0]
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = ("jax", "jaxlib", "optax", "equinox", "numpy", "gymnasium", "mujoco", "onnxruntime")
    versions = {"python": platform.python_version(), "holdfast": __version__}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    accelerator = None if device.platform == "cpu" else device.device_kind
    found = {"cpu": cpu, "cores": cores, "accelerator": accelerator, "system": platform.system(), "versions": versions}
    if hasattr(os, "getloadavg"):
        found["load_before"] = round(os.getloadavg()[0], 2)
    return found


def cells(found: dict[str, Any], seeds: Sequence[int]) -> list[str]:
    """One row of the table."""

    def ratio(key: str) -> str:
        return f"{found[f'ratio_{key}']:.2f}" if f"ratio_{key}" in found else "-"

    return [
        found["algorithm"],
        f"{found['compile_seconds']:.1f}",
        *(f"{found['updates_per_second'][n]:,.0f}" for n in seeds),
        f"{found['flops_per_update'] / 1e6:,.0f}",
        *(f"{100 * found['share_of_matmul'][n]:.0f} %" for n in dict.fromkeys((seeds[0], seeds[-1]))),
        f"{found['peak_bytes'] / 2**20:,.0f}",
        ratio("handwritten"),
        ratio("peer_fit"),
        ratio("peer_update"),
    ]


def header(seeds: Sequence[int]) -> list[str]:
    speeds = [f"updates/s, {n} seed{'s' * (n > 1)}" for n in seeds]
    shares = [f"of matmul, {n}" for n in dict.fromkeys((seeds[0], seeds[-1]))]
    ratios = ["x handwritten", "x d3rlpy fit", "x d3rlpy update"]
    return ["algorithm", "compile s", *speeds, "MFLOP/update", *shares, "peak MB", *ratios]


def verdicts(report: dict[str, Any]) -> list[tuple[str, float, bool]]:
    """The targets: (description, figure, whether it is reached), for one seed of the algorithms with a target.

    The matmul rate is a target on CPUs only: the networks of one seed are too small to fill an accelerator.
    """
    out, on_cpu = [], report["machine"]["accelerator"] is None
    for found in report["algorithms"]:
        name, share = found["algorithm"], found["share_of_matmul"][min(found["share_of_matmul"])]
        times, bare = found.get("ratio_peer_fit"), found.get("ratio_peer_update")
        enough = on_cpu and share >= TARGETS["matmul"]
        if name in HANDWRITTEN:
            figures = (
                ("times d3rlpy's fit", times, PEER[name]),
                ("times d3rlpy's bare update", bare, PEER[name]),
                ("of the matmul rate", share if on_cpu else None, TARGETS["matmul"]),
                ("times the handwritten scan", found["ratio_handwritten"], TARGETS["handwritten"]),
            )
            out += [(f"{name}: {k}, at least {least}", v, v >= least) for k, v, least in figures if v is not None]
        elif name in PEER and times is not None:  # the matmul rate is an alternative target
            alternative = f", or {TARGETS['matmul']} of matmul ({share:.2f})" if on_cpu else ""
            what = f"{name}: times d3rlpy's fit, at least {PEER[name]}{alternative}"
            out.append((what, times, enough or times >= PEER[name]))
    if "ratio_peer" in report.get("online", {}):
        figure, least = report["online"]["ratio_peer"], TARGETS["online"]
        what = f"sac in {report['online']['env']}: times Stable-Baselines3's, at least {least}"
        out.append((what, figure, figure >= least))
    out += models.verdicts(report["models"]) if "models" in report else []
    if "evaluation" in report:
        seconds = report["evaluation"]["first_seconds"]
        episodes = report["evaluation"]["episodes"]
        what = f"seconds for {episodes} episodes of HalfCheetah-v5, under {TARGETS['evaluation']:g}"
        out.append((what, seconds, seconds < TARGETS["evaluation"]))
    if "sequences" in report:
        seconds = report["sequences"]["first_seconds"]
        what = (
            f"seconds for {report['sequences']['episodes']} episodes of HalfCheetah-v5 with a Decision Transformer, "
            f"under {TARGETS['sequences']:g}"
        )
        out.append((what, seconds, seconds < TARGETS["sequences"]))
    if "import_seconds" in report:
        what = f"seconds for import holdfast, under {TARGETS['import']:g}"
        out.append((what, report["import_seconds"], report["import_seconds"] < TARGETS["import"]))
    return out


def notes(report: dict[str, Any]) -> list[str]:
    """How to read the table, and the figures that are not in it."""
    learning = online.report(report["online"]) if "online" in report else []
    learning += models.report(report["models"]) if "models" in report else []
    learning += teams.report(report["teams"]) if "teams" in report else []
    learning += shipped.report(report["serving"]) if "serving" in report else []
    if not report["algorithms"]:
        return learning
    best = max(found["matmul_flops_per_second"] for found in report["algorithms"])
    lines = [
        "Shapes: batch 256, two hidden layers of 256, observations of 17, actions of 6, 100,000 rows; transformers "
        "have their published sizes. "
        f"Medians of turns ({report['rounds']}) of about {report['seconds']:g} s.",
        "updates/s: updates per second of all seeds, which are one program; with sampling and metrics.",
        "MFLOP/update: XLA's count for one seed; a delayed update counts with its share.",
        f"of matmul: these FLOPs, as a share of the best float32 product ({best / 1e9:,.0f} GFLOP/s), same turn.",
        "peak MB: memory of the process, which holds the programs of every number of seeds.",
        "x handwritten: one seed against handwritten.py, a plain jitted scan of the same update.",
    ]
    peers = [found["peer"] for found in report["algorithms"] if "peer" in found]
    if peers:
        p = peers[0]
        which = f"d3rlpy {p['d3rlpy']} on torch {p['torch']} with {p['threads']} threads"
        how = "its own loop (fit), and algo.update on batches drawn beforehand (update)"
        lines.append(f"x d3rlpy: one seed of ours against {which}: {how}.")
    else:
        lines.append("d3rlpy was not measured: " + report["peer_missing"])
    return lines + learning


def markdown(report: dict[str, Any]) -> str:
    """The report as a page."""
    m, seeds = report["machine"], report["seeds"]
    where = f"{m['accelerator']}, with " if m["accelerator"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items())
    out = [f"# Speed on {where}{m['cpu']}, {m['cores']} cores", ""]
    out += [f"Written by `{report['command']}` on {report['date']}; {m['system']}, {versions}.", ""]
    head, rows = header(seeds), [cells(found, seeds) for found in report["algorithms"]]
    if rows:
        out += ["| " + " | ".join(head) + " |", "|" + "---|" + "---:|" * (len(head) - 1)]
    out += ["| " + " | ".join(row) + " |" for row in rows]
    out += ["", *(f"- {line}" for line in notes(report)), "", "| target | figure | reached |", "|---|---:|---|"]
    out += [f"| {what} | {figure:.2f} | {'yes' if good else 'no'} |" for what, figure, good in verdicts(report)]
    return "\n".join(out) + "\n"


def show(report: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    m = report["machine"]
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    title = f"{m['accelerator'] or m['cpu']}, {m['cores']} cores"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for i, column in enumerate(header(report["seeds"])):
        table.add_column(column, justify="right" if i else "left")
    for found in report["algorithms"]:
        table.add_row(*cells(found, report["seeds"]))
    if report["algorithms"]:
        console.print(table)
    for line in notes(report):
        console.print(line, style="dim")
    console.print()
    for what, figure, good in verdicts(report):
        console.print(f"[{'green' if good else 'yellow'}]{'reached' if good else 'missed ':8}[/] {figure:6.2f} {what}")


def find_peer(python: str | None, package: str) -> tuple[str | None, str]:
    """The interpreter that has the peer's package, or None and why."""
    python = python or (sys.executable if all(importlib.util.find_spec(p) for p in {"torch", package}) else None)
    if python is None:
        names = " and ".join(dict.fromkeys(("torch", package)))
        return None, f"{names}: not installed here; name an interpreter that has it with --peer-python"
    done = subprocess.run([python, "-c", f"import {package}"], capture_output=True, text=True)
    if done.returncode:
        return None, f"import {package} fails: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
    return python, ""


def jsonable(value: Any) -> Any:
    """NaN and infinity as null, keys as strings."""
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def measurable(only: Sequence[str] | None) -> list[str]:
    """The algorithms that `worker.py` can measure: with continuous actions, and without policies of other runs.

    Args:
        only: names; None: all.

    Raises:
        UserError: an unknown name.
    """
    from holdfast.algorithms import registry

    found = [registry.get(name) for name in only or registry.names()]
    return [one.name for one in found if "continuous" in one.actions and not one.inputs]


def slug(words: str) -> str:
    """Words as a part of a file name."""
    return "-".join("".join(c if c.isalnum() else " " for c in words.lower()).split())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/speed.py", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="algorithms; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 4, 8], help="seeds in one program")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a turn")
    parts = ("algorithms", "online", "models", "teams", "peer", "evaluation", "serving", "import")
    parser.add_argument("--skip", nargs="+", default=[], choices=parts, help="parts to leave out")
    parser.add_argument("--quick", action="store_true", help="one short turn each, to see whether everything runs")
    parser.add_argument(
        "--peer-python", metavar="PATH", help="an interpreter with torch, and d3rlpy, stable_baselines3 or both"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the report")
    args = parser.parse_args(argv)
    if args.quick:
        args.seeds, args.rounds, args.seconds = args.seeds[:1], 1, 0.1

    from holdfast.core.errors import UserError

    try:
        names = [] if "algorithms" in args.skip else measurable(args.only)
    except UserError as error:
        parser.error(str(error))
    left_out = (None, "--skip peer")
    peer, missing = left_out if "peer" in args.skip else find_peer(args.peer_python, "d3rlpy")
    command = "make bench" if argv is None and not sys.argv[1:] else "python benchmarks/speed.py"
    report: dict[str, Any] = {"machine": machine(), "date": datetime.date.today().isoformat(), "command": command}
    report |= {"seeds": args.seeds, "rounds": args.rounds, "seconds": args.seconds}
    report |= {"peer_missing": missing, "algorithms": []}
    if "import" not in args.skip:
        report["import_seconds"] = import_seconds(1 if args.quick else 5)
    if "evaluation" not in args.skip:
        sys.stderr.write("evaluation in HalfCheetah-v5\n")
        try:
            report["evaluation"] = evaluation(1 if args.quick else 10)
            if not args.quick:
                report["sequences"] = evaluation(10, algorithm="decision_transformer")
        except RuntimeError as error:
            sys.stderr.write(f"{error}\n")
    failed = False

    def attempt(title: str, part: Callable[[], Any]) -> Any:
        """What a part measures; None, and a line on the standard error, if it fails."""
        nonlocal failed
        sys.stderr.write(f"{title}\n")
        try:
            return part()
        except RuntimeError as error:
            sys.stderr.write(f"{error}\n")
            failed = True
            return None

    def with_peer(package: str, part: Callable[[str | None], dict[str, Any]]) -> dict[str, Any]:
        python, why = left_out if "peer" in args.skip else find_peer(args.peer_python, package)
        return {**part(python), "peer_missing": why}

    rounds, seconds = args.rounds, args.seconds
    more = {
        "serving": ("serving", lambda: serve(rounds, seconds)),
        "online": (
            f"learning in {online.ENV}",
            lambda: with_peer(
                "stable_baselines3", lambda python: collecting(online.ENV, args.seeds[:2], rounds, 2 * seconds, python)
            ),
        ),
        "models": ("learned models", lambda: with_peer("torch", lambda python: modelling(rounds, seconds, python))),
        "teams": ("teams", lambda: teamwork(rounds, seconds)),
    }
    for part, (title, run) in more.items():
        found = None if part in args.skip else attempt(title, run)
        if found is not None:
            report[part] = found
    for name in names:
        found = attempt(name, lambda name=name: measure(name, args.seeds, rounds, seconds, peer))
        report["algorithms"] += [] if found is None else [found]
    show(report)
    m = report["machine"]
    words = m["accelerator"] or f"cpu {m['cpu']} {m['cores']} cores"
    stem = args.out / f"speed-{slug(words)}"
    args.out.mkdir(parents=True, exist_ok=True)
    stem.with_name(stem.name + ".json").write_text(json.dumps(jsonable(report), indent=1) + "\n")
    stem.with_name(stem.name + ".md").write_text(markdown(report), encoding="utf-8")
    sys.stdout.write(f"written: {args.out.name}/{stem.name}.json and .md\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
