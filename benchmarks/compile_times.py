"""Measures what the start of a run costs, for every algorithm: tracing, lowering, compiling, and a start with a cache.

    python benchmarks/compile_times.py [--only NAME ...] [--minutes N]

It writes `results/start.json` and docs/start-times.md. A later call with `--only` measures these algorithms again and
keeps the other rows, if machine and versions are the same. `--minutes` stops after that time; the same call measures
what is missing.

Each algorithm runs as `holdfast train`, each time in a new process, up to the end of its first update. The first one
compiles the programs, one after the other, and writes them into a cache. The others read them from there, and the
fastest of these counts. Use a machine without other work.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import speed

if TYPE_CHECKING:
    from holdfast.training.carry import Carry

OBS, ACTION, STATES, STEPS, EPISODE, AGENTS = 17, 6, 64, 20_000, 500, 3
ENV = "Pendulum-v1"  # for the methods that need an environment
COMPILE = 5.0  # CPU seconds to trace, lower and compile the first block: the target
START = 3.0  # seconds from the start of the process to the end of the first update, with a cache: the target
CACHED = 2  # processes that start with the cache
PARTS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
TEXT = speed.HERE / "compile_times.md"  # the page without its figures
NOT_KNOWN = "not looked at"
WHY = {  # what is large in the programs that take longer than the target
    "aca": "SAC with a likelihood term: steps of actor, critics, temperature and of both networks Z",
    "algae_dice": "two critics on first and next states, and the delayed step of the actor as a branch of its own",
    "awac": "steps of actor and critics, and values of three sets of actions",
    "awr": "a second program computes the returns and weights of all logged rows before the first update",
    "bcq": "a VAE with its step, ten decoded and perturbed candidates for each row, critics, two target networks",
    "bear": "a VAE with its step, the kernel distance between two sets of actions, ten candidates for each row",
    "brac_p": "the first phase clones with a tanh-Gaussian and its density",
    "brac_v": "the first phase clones with a tanh-Gaussian and its density",
    "cal_ql": "30 candidate actions for each row with densities; steps of actor, critics, temperature and multiplier",
    "combo": "the first phase trains an ensemble of seven models",
    "cql": "30 candidate actions for each row with densities; steps of actor, critics, temperature and multiplier",
    "crr": "critics and policy at four sampled actions for each row, and targets of both networks",
    "ddpg": "steps of actor and critic and both target networks",
    "decision_transformer": "three transformer blocks with backward passes, padded windows, AdamW on clipped gradients",
    "dice": "two networks of ratios at three sets of states, a multiplier, and the policy of the other run",
    "diffusion_ql": "a loop over five denoising steps with its backward pass, critics, two averaged networks",
    "discrete_bcq": "steps of critics and of the network that imitates the log, and target networks",
    "discrete_cql": "a Q-network with its target network and the conservative term",
    "discrete_sac": "steps of actor, critics and temperature, with values and probabilities of all actions",
    "edac": "the diversity of the gradients of ten critics, which is differentiated again",
    "fqe": "critics with target networks, and draws of the other run's policy in the next states",
    "fqe_quantile": "quantiles of the return, compared in pairs, and draws of the other run's policy",
    "fql": "actor, flow and critics of four layers, LayerNorm in the critics, a loop over ten Euler steps",
    "idql": "a residual network of three blocks with LayerNorm and dropout; steps of value and critics",
    "ifql": "flow, value and critics of four layers with LayerNorm",
    "iql": "steps of actor, value and critics, each with Adam and the norm of its gradient",
    "iql_concurrent": "the whole update of SAC and the whole update of IQL",
    "iql_online": "the update of IQL; acting, the environment and the replay buffer",
    "mabcq": "the update of BCQ for each agent, a second VAE of the next state and its samples",
    "mcq": "a VAE with its step, ten decoded candidates for each row, steps of actor, critics and temperature",
    "mobile": "the first phase trains an ensemble of seven models",
    "mopo": "the first phase trains an ensemble of seven models, each with its bootstrap sample and holdout loss",
    "morel": "the first phase trains an ensemble of models",
    "obac": "two actor-critics: steps of two pairs of critics, a value, an actor and a temperature",
    "odt": "transformer blocks with their backward passes, padded windows, LAMB",
    "omar": "a search for actions by sampling, and conservative critics, for each agent",
    "omiga": "mixed values of a team: steps of actor, critics and value",
    "opti_dice": "steps of two networks of ratios, of a mixture that models the data, of multipliers and of the actor",
    "plas": "the first phase trains a VAE",
    "qc": "as IFQL on chunks of five actions; 32 candidate chunks for each row by a loop over ten Euler steps",
    "qc_fql": "as FQL on chunks of five actions, which are gathered and padded",
    "qr_dqn": "quantiles of the return, compared in pairs",
    "rambo": "the first phase trains an ensemble of seven models",
    "rebrac": "LayerNorm in the critics, and the delayed step of the actor as a branch of its own",
    "rem": "a random mixture of the heads of a Q-network, drawn in each update",
    "rlpd": "ten critics with LayerNorm in a loop, of which two are drawn; the environment and the replay buffer",
    "sac": "steps of actor, critics and temperature, and densities of tanh-Gaussians in states and next states",
    "sac_n": "steps of actor, ten critics and temperature, and densities of tanh-Gaussians in states and next states",
    "spot": "the first phase trains a VAE",
    "td3": "the delayed step of the actor and of both target networks as a branch of its own",
    "td3_bc": "the delayed step of the actor and of both target networks as a branch of its own",
    "uwac": "spectral norms of the critics, moments over dropout masks, a VAE, the kernel distance between actions",
    "xql": "steps of actor, value and critics, each with Adam and the norm of its gradient",
}
FIRST = "first_states"  # tracing, lowering and compiling of the program that makes the first states


class Clock:
    """CPU seconds of the programs of a process, by part. It listens to the events of JAX."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys([*PARTS.values(), FIRST], 0.0)
        self._began: list[float] = []

    def begin(self, event: str, value: float, **facts: str | int) -> None:
        """An event begins."""
        if event in PARTS and threading.current_thread() is threading.main_thread():
            self._began.append(time.process_time())

    def end(self, event: str, seconds: float, **facts: str | int) -> None:
        """An event ends. Events within another one, such as the trace of an inner function, belong to that one."""
        if event not in PARTS or threading.current_thread() is not threading.main_thread():
            return
        took = time.process_time() - self._began.pop()
        if not self._began:
            self.seconds[FIRST if "_start" in str(facts.get("fun_name", "")) else PARTS[event]] += took


class Measured(NamedTuple):
    """One algorithm. All times but `wall` are CPU seconds of all threads."""

    name: str
    trace: float
    lower: float
    compile: float
    first_states: float
    start: float  # of a process with the cache, up to the end of the first update
    wall: float  # seconds that pass from the start of that process to the end of its first update
    kernels: int | None  # fusions, products and calls in the program of the first block; None: it is not one program
    loops: int | None  # loops within that program

    @property
    def block(self) -> float:
        """Seconds to trace, lower and compile everything but the first states."""
        return self.trace + self.lower + self.compile


def logs(folder: Path) -> dict[str, str]:
    """Write logs of random numbers, one for each kind of method.

    Returns:
        The path of each log, by kind.
    """
    from holdfast.data.convert import convert
    from holdfast.data.dataset import Dataset
    from holdfast.data.teams.dataset import TeamDataset
    from holdfast.data.teams.files import save_team

    rng = np.random.default_rng(0)
    obs = rng.standard_normal((STEPS, OBS), np.float32)
    states = np.eye(STATES, dtype=np.float32)[rng.integers(0, STATES, STEPS)]
    action = np.tanh(rng.standard_normal((STEPS, ACTION), np.float32))
    choice = rng.integers(0, ACTION, STEPS)
    reward = rng.standard_normal(STEPS).astype(np.float32)
    last = np.arange(STEPS) % EPISODE == EPISODE - 1
    kinds = {"continuous": (obs, action), "discrete": (obs, choice), "tabular": (states, choice)}
    found = {}
    for kind, (seen, done) in kinds.items():
        path = folder / f"{kind}.npz"
        convert(Dataset.from_arrays(seen, done, reward, 0 * reward, last, id=kind), path)
        names = [f"agent_{i}" for i in range(AGENTS)]
        team = TeamDataset.from_arrays(
            dict.fromkeys(names, seen), dict.fromkeys(names, done), reward, 0 * reward, last, id=f"team-{kind}"
        )
        found |= {kind: str(path), f"team-{kind}": str(save_team(team, folder / f"team-{kind}.npz"))}
    return found


def arguments(name: str, data: dict[str, str], policy: Path) -> list[str]:
    """The flags of `holdfast train` for one algorithm: its data, its environment, the policy that it evaluates."""
    from holdfast.algorithms import registry

    algorithm = registry.get(name)
    flags = [text for one in algorithm.inputs for text in ("--input", f"{one}={policy}")]
    default = next(iter(algorithm.presets.values())).config
    if any(phase.collect for phase in algorithm.phases(default)):  # a log and an environment at once
        return [*flags, "--data", "bundled/pendulum-mixed", "--env", ENV]
    kind = "continuous" if "continuous" in algorithm.actions else "discrete"
    kind = "tabular" if hasattr(default, "states") else kind
    return [*flags, "--data", data[kind if algorithm.member is None else f"team-{kind}"]]


def run(name: str, flags: Sequence[str], folder: str) -> None:
    """Train up to the end of the first update, print the figures, and end the process."""
    import jax

    from holdfast import cli
    from holdfast.training import compilation, hooks

    clock = Clock()
    jax.monitoring.register_scalar_listener(clock.begin)
    jax.monitoring.register_event_duration_secs_listener(clock.end)
    programs: list[Any] = []

    class FirstBlock(hooks.Progress):
        """Ends the process after the first block."""

        def block(self, block: hooks.Block) -> None:
            ended = {"start": time.process_time(), "wall": time.time()}
            sys.stdout.write(json.dumps({**clock.seconds, **ended, **size(programs)}) + "\n")
            sys.stdout.flush()
            os._exit(0)

    keep(programs)
    if not Path(os.environ["HOLDFAST_CACHE"]).exists():  # each program by itself, so that its CPU seconds are known
        compilation.in_thread = at_once
    hooks.Progress = FirstBlock  # type: ignore[misc]
    where = ["--out", folder, "--steps", "10000", "--block", "1", "--no-eval"]
    sys.exit(cli.main(["train", name, *flags, *where]))


def at_once(lowered: Any) -> Future[Any]:
    """In place of `compilation.in_thread`: compiled before anything else happens."""
    from holdfast.training import compilation

    done: Future[Any] = Future()
    done.set_result(lowered.compile(compilation.options()))
    return done


def keep(programs: list[Any]) -> None:
    """Let every program that a run compiles for its updates be added to a list."""
    from holdfast.training.loop import Program

    compiled = Program.compile

    def kept(self: Program, carry: Carry, updates: int = 0) -> Any:
        block = compiled(self, carry, updates)
        if block not in programs:
            programs.append(block)
        return block

    Program.compile = kept  # type: ignore[method-assign]


def size(programs: Sequence[Any]) -> dict[str, int | None]:
    """The numbers of kernels and loops in a compiled program, if there is one."""
    if len(programs) != 1:
        return {"kernels": None, "loops": None}
    text = programs[0].as_text()
    kernels = len(re.findall(r" (?:fusion|dot|custom-call|convolution|sort|scatter|reduce)\(", text))
    return {"kernels": kernels, "loops": len(re.findall(r" while\(", text))}


def measure(name: str, flags: Sequence[str], folder: Path) -> Measured:
    """Start one algorithm without and with a cache.

    Raises:
        RuntimeError: a process fails; the message has its last line.
    """
    env = {**os.environ, "HOLDFAST_CACHE": str(folder / "cache" / name)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    found: list[dict[str, Any]] = []
    for i in range(1 + CACHED):
        out = str(folder / f"{name}-{i}")
        command = [sys.executable, str(Path(__file__).resolve()), "--run", name, out, *flags]
        began = time.time()
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"{name}: {last}")
        figures = json.loads(done.stdout.splitlines()[-1])
        found.append({**figures, "wall": figures["wall"] - began})
    fastest = min(found[1:], key=lambda one: one["wall"])
    return Measured(name, **{**found[0], "start": fastest["start"], "wall": fastest["wall"]})


def markdown(machine: dict[str, Any], measured: Sequence[Measured]) -> str:
    """The page."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    where = machine["accelerator"] or machine["cpu"]
    slow = [one for one in measured if one.block > COMPILE]
    late = [one for one in measured if one.wall > START]
    head = ["algorithm", "trace", "lower", "compile", "first block", "first states", "kernels", "loops"]
    head += ["cached start, CPU", "cached start, wall"]
    rows = []
    for one in measured:
        times = (one.trace, one.lower, one.compile, one.block, one.first_states)
        counts = ("-" if count is None else f"{count:,}" for count in (one.kernels, one.loops))
        cells = [one.name, *(f"{value:.1f}" for value in times), *counts, f"{one.start:.1f}", f"{one.wall:.1f}"]
        rows.append(f"| {' | '.join(cells)} |")
    facts = {
        "WRITTEN": f"{machine['date']} on {where}, {machine['cores']} cores; {machine['system']}, {versions}",
        "TABLE": "\n".join([f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1), *rows]),
        "SLOW": f"{len(slow)} of {len(measured)} algorithms",
        "LATE": f"{len(late)} of {len(measured)}",
        "REASONS": "\n".join(f"| {one.name} | {one.block:.1f} | {WHY.get(one.name, NOT_KNOWN)} |" for one in slow),
    }
    page = TEXT.read_text()
    for name, text in facts.items():
        page = page.replace(f"<!-- {name} -->", text)
    return page


def read(file: Path, machine: dict[str, Any]) -> dict[str, Measured]:
    """The rows of an earlier call by name; none if it was made on another machine or with other versions."""
    if not file.is_file():
        return {}
    report = json.loads(file.read_text())
    same = all(report["machine"][fact] == machine[fact] for fact in ("cpu", "cores", "accelerator", "versions"))
    return {row["name"]: Measured(**row) for row in report["algorithms"]} if same else {}


def write(file: Path, page: Path, machine: dict[str, Any], found: dict[str, Measured]) -> None:
    """Write the rows, in the order of the names, and the page."""
    rows = [found[name] for name in sorted(found)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"machine": machine, "algorithms": [row._asdict() for row in rows]}, indent=1) + "\n")
    page.write_text(markdown(machine, rows))


def main(argv: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["--run"]:
        run(given[1], given[3:], given[2])
    parser = argparse.ArgumentParser(prog="benchmarks/compile_times.py", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="algorithms to measure (again); default: the missing")
    parser.add_argument("--minutes", type=float, default=60.0, help="start no algorithm after that time")
    parser.add_argument("--out", type=Path, default=speed.HERE / "results" / "start.json", help="file of the rows")
    parser.add_argument("--page", type=Path, default=speed.HERE.parent / "docs" / "start-times.md", help="the page")
    args = parser.parse_args(given)

    from holdfast import cli
    from holdfast.algorithms import registry

    began = time.monotonic()
    failed = False
    machine = {**speed.machine(), "date": str(datetime.date.today())}
    machine.pop("load_before", None)
    found = read(args.out, machine)
    names = args.only or [name for name in registry.names() if name not in found]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = logs(folder)
        if any(registry.get(one).inputs for one in names):
            where = ["--out", str(folder / "policy"), "--steps", "1", "--no-eval"]
            cli.main(["train", "bc", "--data", data["continuous"], *where])
        for one in names:
            if time.monotonic() - began > 60 * args.minutes:
                break
            try:
                found[one] = measure(one, arguments(one, data, folder / "policy"), folder)
            except RuntimeError as error:
                failed = True
                sys.stderr.write(f"{error}\n")
                continue
            sys.stderr.write(f"{one}: first block {found[one].block:.1f} s, cached start {found[one].wall:.1f} s\n")
            write(args.out, args.page, machine, found)
    if found:
        write(args.out, args.page, machine, found)  # also if nothing was measured: the text may have changed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
