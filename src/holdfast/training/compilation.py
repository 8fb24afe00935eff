"""JAX's persistent compilation cache: a run whose programs were compiled before starts without compiling."""

from __future__ import annotations

import os
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache


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
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
        compilation_cache.reset_cache()  # JAX decides at its first compilation whether there is a cache
