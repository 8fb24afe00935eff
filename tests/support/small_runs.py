"""What the tests of training and of the command line share: tiny runs, their programs kept a session, their facts."""

import csv
import json
from pathlib import Path

from holdfast.environments.gym.collector import Collector
from holdfast.policy.storage import arrays_of
from holdfast.runs.checkpoints import Checkpoints
from holdfast.training.hooks import Block, Hook
from holdfast.training.run import train

DATA = "bundled/pendulum-mixed"
TINY = {"hidden": (16,), "batch_size": 16}  # one layer compiles in half the time
FLAGS = ["--hidden", "16", "--batch-size", "16"]
# of a result: what tells of the process that ended the run, not of what was learned
TIMES = ("compile_seconds", "wall_seconds", "updates_per_second", "flops_per_update")


def tiny(out, algorithm="bc", data=DATA, steps=8, block=4, eval_episodes=1, config=None, progress=False, **settings):
    """A run of a second."""
    settings |= {"steps": steps, "block": block, "eval_episodes": eval_episodes, "progress": progress}
    settings.setdefault("eval_every", block)
    return train(algorithm, data, config=TINY if config is None else config, out=out, **settings)


class Stops(Hook):
    """Interrupts a run after a number of blocks, of one phase or of all."""

    def __init__(self, blocks: int, phase: str | None = None) -> None:
        self.left = blocks
        self.phase = phase

    def block(self, block: Block) -> None:
        self.left -= self.phase in (None, block.phase)
        if not self.left:
            raise KeyboardInterrupt


def interrupt_step(monkeypatch, calls: int) -> None:
    """Interrupts the run on the `calls`-th step of its collectors."""
    real = Collector.step
    left = [calls]

    def step(self, actions):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return real(self, actions)

    monkeypatch.setattr(Collector, "step", step)


def rows(path) -> list[dict[str, str]]:
    """The rows of a run's table."""
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def tensors(path) -> dict[str, bytes]:
    """Names, types and bits of every array in a safetensors file."""
    found = arrays_of(Path(path).read_bytes(), str(path))
    return {name: (str(x.dtype), x.shape, x.tobytes()) for name, x in found.items()}


def checkpoint(folder, step=None) -> dict[str, bytes]:
    """The bits of one checkpoint of a run."""
    return tensors(Checkpoints(Path(folder) / "checkpoints").read(step).where)


def bits(folder) -> dict:
    """Everything about a finished run that does not depend on the clock."""
    folder = Path(folder)
    result = json.loads((folder / "result.json").read_text())
    timing = [(r["step"], r["phase"], r["updates"]) for r in rows(folder / "timing.csv")]
    return {
        "metrics": (folder / "metrics.csv").read_bytes(),
        "evaluations": (folder / "evaluations.csv").read_bytes(),
        "timing": timing,
        "checkpoints": {s: checkpoint(folder, s) for s in Checkpoints(folder / "checkpoints").steps()},
        "policies": {str(p.relative_to(folder)): tensors(p) for p in sorted(folder.rglob("policy.safetensors"))},
        "about": {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("policy.json"))},
        "result": {name: value for name, value in result.items() if name not in TIMES},
    }


def require_same(run, reference) -> None:
    """Two finished runs, bit for bit."""
    one, other = bits(run), bits(reference)
    for name in one:
        assert one[name] == other[name], name
