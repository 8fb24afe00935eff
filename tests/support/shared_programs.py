"""Programs of runs are traced and compiled once in a process of the tests, and bundled data are checked once.

Tracing and lowering a program takes a second even if its executable is in the compilation cache, and hundreds of small
runs have the same few programs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import jax
import numpy as np

from holdfast.data.checks.faults import Fault
from holdfast.data.dataset import Dataset
from holdfast.training import compilation
from holdfast.training.carry import Carry
from holdfast.training.collect_gym import GymCollection
from holdfast.training.loop import Program
from holdfast.training.plan import task

MOST = 60  # programs that are kept


class Shared:
    """Shapes, blocks and rounds of `Program` and `GymCollection`, by all that they are traced from."""

    def __init__(self) -> None:
        self.kept: dict[Hashable, Any] = {}
        self.shapes_of, self.block_of, self.round_of = Program.shapes, Program.compile_ahead, GymCollection.compile

    def install(self) -> None:
        """Use what is kept in every run of this process."""
        shared = self
        Program.shapes = lambda program, state, rings=None: shared.shapes(program, state, rings)
        Program.compile_ahead = lambda program, carry, updates=0: shared.block(program, carry, updates)
        GymCollection.compile = lambda gym, carry, updates=0: shared.round(gym, carry)

    def shapes(self, program: Program, state: Any, rings: Any) -> Carry:
        key = ("shapes", *place(program, state, dict(rings or {})))
        if key not in self.kept:
            self._keep(key, (self.shapes_of(program, state, rings), program.metrics, program.fresh))
        carry, program.metrics, program.fresh = self.kept[key]
        return carry

    def block(self, program: Program, carry: Carry, updates: int) -> None:
        stride = compilation.stride_of(updates)
        if stride in program._blocks:
            return
        if not program.metrics:
            program.shapes(None)
        key = ("block", stride, program.metrics, *place(program, carry))
        if key not in self.kept:
            self.block_of(program, carry, updates)
            self._keep(key, program._blocks[stride])
        program._blocks[stride] = self.kept[key]

    def round(self, gym: GymCollection, carry: Carry) -> None:
        if gym._round is not None:
            return
        key = ("round", gym.program.metrics, gym.spec, gym.collector.start.shape, *place(gym.program, carry))
        if key in self.kept:
            gym._tree, gym._blank, gym._round = jax.tree.structure(carry), gym._empty(), self.kept[key]
        else:
            self.round_of(gym, carry)
            self._keep(key, gym._round)

    def _keep(self, key: Hashable, value: Any) -> None:
        if len(self.kept) >= MOST:
            self.kept.pop(next(iter(self.kept)))
        self.kept[key] = value


def place(program: Program, *arguments: Any) -> tuple[Hashable, ...]:
    """All that the functions of a program are traced from, with arguments of these shapes."""
    algorithm, phase = program.algorithm, program.phase
    functions = (program.update, algorithm.init, algorithm.memory, algorithm.act)
    functions += (phase.enter, phase.refresh, phase.until)
    numbers = (program.index, program.batch_size, program.shift, program.growth, program.rows, program.window is None)
    words = repr((phase.mix, phase.split, phase.every, phase.rings, phase.collect, program.needs))
    hardware = (program.hardware.devices, program.hardware.precision, jax.default_backend(), jax.config.jax_enable_x64)
    taken = (program.cfgs, program.keys, program.ctx, program.sources, program.filled, arguments)
    leaves, treedef = jax.tree.flatten(taken)
    shapes = tuple((np.shape(x), getattr(x, "dtype", type(x)), getattr(x, "weak_type", None)) for x in leaves)
    specs = [program.ctx.spec, *(member.spec for member in program.ctx.members)]
    given = program.env or any(spec.networks.network or spec.encoder for spec in specs)
    alone = object() if given else None  # what holds functions of a caller is not shared
    return (algorithm.name, *functions, *numbers, words, *hardware, alone, treedef, shapes)


def share_bundled_data() -> None:
    """Load and check each bundled data set once: a small run spends a tenth of its time on that."""
    load, sound = task.load_dataset, task.require_sound
    loaded: dict[str, Dataset] = {}
    found: dict[tuple[str, ...], list[Fault]] = {}

    def load_dataset(name: str, **options: Any) -> Dataset:
        if options or not name.startswith("bundled/"):
            return load(name, **options)
        if name not in loaded:
            loaded[name] = load(name)
        return loaded[name]

    def require_sound(dataset: Dataset, allow: Iterable[str] = ()) -> list[Fault]:
        if loaded.get(dataset.id) is not dataset:
            return sound(dataset, allow)
        key = (dataset.id, *allow)
        if key not in found:
            found[key] = sound(dataset, allow)
        return list(found[key])

    task.load_dataset, task.require_sound = load_dataset, require_sound
