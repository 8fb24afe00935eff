"""JAX's persistent compilation cache: a run whose programs were compiled before starts without compiling."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax.experimental.compilation_cache import compilation_cache

from ..core.spec import Step

T = TypeVar("T")

# A first state is computed once, in a fraction of a second; compiled well, its program would cost as much as the block.
ONCE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
STRIDE = 50
# Small networks leave a GPU idle: kernels that don't wait for each other's results run side by side.
SIDE_BY_SIDE = "xla_gpu_command_buffer_scheduling_mode"


class Clock:
    """Counts the seconds that pass within its `with` blocks, which are not nested."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        self.seconds += time.perf_counter() - self._began


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a program that is compiled fast, because it is called once."""
    return jax.jit(function, compiler_options=ONCE)


def options() -> dict[str, Any] | None:
    """How programs of updates are compiled on the default backend; what `XLA_FLAGS` says of it goes first."""
    given = jax.default_backend() != "gpu" or SIDE_BY_SIDE in os.environ.get("XLA_FLAGS", "")
    return None if given else {SIDE_BY_SIDE: "CONCURRENT"}


def in_thread(lowered: Any) -> Future[Any]:
    """What `lowered.compile(options())` gives, compiled or read from the cache in a thread of its own.

    Args:
        lowered: a `jax.stages.Lowered`, or a lowered function of `Hardware`.
    """
    pool = ThreadPoolExecutor(1, "holdfast-compile")
    compiled = pool.submit(lowered.compile, options())
    pool.shutdown(wait=False)
    return compiled


def stride_of(updates: int) -> int:
    """Updates of one inner loop in a block of that many, on the default backend."""
    return STRIDE if jax.default_backend() != "cpu" and updates and updates % STRIDE == 0 else 1


def loop(lo: Step, hi: Step, stride: int, body: Callable[[Step, T], T], start: T) -> T:
    """`body` for each step lo <= step < hi, which are traced.

    On a GPU the host asks after each trip of such a loop whether there is another, which costs a tenth of a small
    update. An inner loop of known length avoids that.

    Args:
        lo: first step.
        hi: step after the last one.
        stride: steps of an inner loop, which divide hi - lo; 1: no inner loop.
        body: takes a step and the value before it, and gives the value after it.
        start: the first value.
    """
    if stride == 1:
        return jax.lax.fori_loop(lo, hi, body, start)

    def inner(trip: Step, value: T) -> T:
        first = lo + trip * stride
        return jax.lax.fori_loop(0, stride, lambda i, value: body(first + i, value), value)

    return jax.lax.fori_loop(0, (hi - lo) // stride, inner, start)


def use_cache() -> None:
    """Turn on JAX's persistent compilation cache.

    It is in the folder that the environment variable `HOLDFAST_CACHE` names (empty: no cache), else in the user's cache
    folder. If a cache folder is already set for JAX, that one is used.
    """
    if jax.config.values["jax_compilation_cache_dir"]:
        return
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "holdfast" / "programs"
    folder = os.environ.get("HOLDFAST_CACHE", str(default))
    if folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        compilation_cache.reset_cache()  # JAX decides at its first compilation whether there is a cache
