"""Where the programs of a run compute: the devices that share its replicas, and the precision of matrix products.

Each device has an equal part of the replicas and a copy of the data, and runs the program of one device with them.
Arrays of all replicas are divided by `jax.sharding`. The parts exchange nothing during training. One program for all
devices (`jax.shard_map`) would round differently: XLA simplifies divisions in it in another way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from ..core.errors import UserError
from ..core.tree import Tree

Places = PartitionSpec | list["Places"]  # of one argument; a list of them is for an argument that is a list

AXIS = "replicas"
EACH = PartitionSpec(AXIS)  # leaves lead with the replicas, and each device has its part of them
ALL = PartitionSpec()  # every device has a copy
PRECISIONS = {"highest": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}  # our names and JAX's


class Hardware:
    """The devices of a program, and the precision of its matrix products."""

    def __init__(self, devices: int = 1, precision: str | None = None) -> None:
        """
        Args:
            devices: number of devices. With 1, everything is on JAX's default device.
            precision: a name in `PRECISIONS`; None: JAX's default.
        """
        self.devices = devices
        self.precision = precision
        self.mesh = Mesh(np.array(jax.local_devices()[:devices]), (AXIS,)) if devices > 1 else None

    @property
    def name(self) -> str:
        """What the devices are, for example `cpu` or `4 x NVIDIA H100 80GB HBM3`."""
        kind = jax.devices()[0].device_kind
        return kind if self.devices == 1 else f"{self.devices} x {kind}"

    def precise(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, whose matrix products have the precision."""
        return function if self.precision is None else _at(PRECISIONS[self.precision], function)

    def spread(self, compiled: Callable[..., Any], taken: Sequence[Places]) -> Any:
        """A function that computes each device's replicas on that device.

        Args:
            compiled: a function of `jax.jit`, whose results lead with the replicas. It must compute each replica from
                that replica alone.
            taken: `EACH` or `ALL` for each argument, or a list of them for an argument that is a list.
        """
        return compiled if self.mesh is None else _Parts(self.mesh, taken, [compiled] * self.devices)

    def jit(self, function: Callable[..., Any], taken: Sequence[Places], donate: int | tuple[int, ...] = ()) -> Any:
        """`function`, compiled and spread. It reuses the memory of the arguments `donate`."""
        return self.spread(jax.jit(self.precise(function), donate_argnums=donate), taken)

    def divided(self, tree: Tree) -> Any:
        """Arrays whose leaves lead with the replicas, in parts on the devices."""
        return tree if self.mesh is None else jax.device_put(tree, NamedSharding(self.mesh, EACH))

    def copied(self, tree: Tree) -> Any:
        """Arrays with a copy on each device."""
        return tree if self.mesh is None else jax.device_put(tree, NamedSharding(self.mesh, ALL))

    def together(self, tree: Tree) -> Any:
        """Arrays on the first device alone, for evaluations."""
        return tree if self.mesh is None else jax.device_put(tree, self.mesh.devices[0])

    def one(self, tree: Tree, i: int) -> Any:
        """The arrays of replica `i`, on the first device."""
        if self.mesh is None:
            return _row(tree, i)
        device = self.mesh.devices[i * self.devices // len(jax.tree.leaves(tree)[0])]
        count = len(jax.tree.leaves(tree)[0]) // self.devices
        return self.together(_row(jax.tree.map(functools.partial(_on, device=device), tree), i % count))


@jax.jit
def _row(tree: Tree, i: int) -> Any:
    """Row `i` of every leaf, by one program for the whole tree: a program for each shape takes a second to compile."""
    return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), tree)


DEFAULT = Hardware()


class _Parts:
    """A compiled function on several devices. It takes and gives arrays of all replicas."""

    def __init__(self, mesh: Mesh, taken: Sequence[Places], each: Sequence[Any]) -> None:
        self.mesh = mesh
        self.taken = list(taken)
        self.each = each  # what each device calls
        # threads, since a call may wait for its device
        self._pool = ThreadPoolExecutor(len(each), "holdfast-device")

    def __call__(self, *arguments: Tree) -> Any:
        found = list(self._pool.map(lambda f, part: f(*part), self.each, self._parts(list(arguments))))
        sharding = NamedSharding(self.mesh, EACH)

        def join(*parts: jax.Array) -> jax.Array:
            shape = (len(parts) * len(parts[0]), *parts[0].shape[1:])
            return jax.make_array_from_single_device_arrays(shape, sharding, list(parts))

        return jax.tree.map(join, *found)

    def lower(self, *arguments: Tree) -> _Parts:
        """The same as `jax.stages.Lowered`: lowered for each device."""
        lowered = [f.lower(*part) for f, part in zip(self.each, self._parts(list(arguments)), strict=True)]
        return _Parts(self.mesh, self.taken, lowered)

    def compile(self, options: dict[str, Any] | None = None) -> _Parts:
        """The same as `jax.stages.Compiled`: compiled for all devices at the same time."""
        return _Parts(self.mesh, self.taken, list(self._pool.map(lambda lowered: lowered.compile(options), self.each)))

    def cost_analysis(self) -> dict[str, float] | None:
        """That of the program of one device."""
        return self.each[0].cost_analysis()

    def _parts(self, arguments: list[Tree]) -> list[list[Tree]]:
        """The arguments of each device."""
        placed = self._placed(arguments, self.taken)
        return [jax.tree.map(functools.partial(_on, device=device), placed) for device in self.mesh.devices]

    def _placed(self, value: Tree, places: Places) -> Any:
        if isinstance(places, list):
            return [self._placed(one, place) for one, place in zip(value, places, strict=True)]
        sharding = NamedSharding(self.mesh, places)

        def put(x: Tree) -> Any:
            if isinstance(x, jax.ShapeDtypeStruct):
                return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
            return x if isinstance(x, int) else jax.device_put(x, sharding)

        return jax.tree.map(put, value)


def _on(x: Tree, device: jax.Device) -> Any:
    """The part of an array that is on a device."""
    if isinstance(x, jax.ShapeDtypeStruct):
        shape = x.sharding.shard_shape(x.shape)
        return jax.ShapeDtypeStruct(shape, x.dtype, sharding=SingleDeviceSharding(device))
    return x if isinstance(x, int) else next(part.data for part in x.addressable_shards if part.device == device)


def hardware_of(devices: int, precision: str | None, replicas: int) -> Hardware:
    """The hardware of a run.

    Args:
        devices: the setting; 0: all devices of this machine.
        precision: the setting.
        replicas: replicas of the run.

    Raises:
        UserError: more devices than there are, or a number that does not divide the replicas.
    """
    there = len(jax.local_devices())
    count = devices or there
    if count > there:
        raise UserError(f"--devices is {devices}, and JAX finds {there} on this machine: choose at most {there}")
    if replicas % count:
        fitting = ", ".join(str(n) for n in range(1, there + 1) if replicas % n == 0)
        raise UserError(
            f"--devices is {devices}: {replicas} replicas cannot be divided equally over {count} devices: choose one "
            f"of {fitting}, or another number of seeds"
        )
    return Hardware(count, precision)


def _at(precision: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, whose matrix products have a precision of JAX."""

    @functools.wraps(function)
    def run(*arguments: Tree) -> Any:
        with jax.default_matmul_precision(precision):
            return function(*arguments)

    return run
