"""Compiled programs are kept on the disk, so that the same run starts without compiling the second time."""

from __future__ import annotations

import os
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache


def use_cache() -> None:
    """Turn on JAX's persistent compilation cache, in `HOLDFAST_CACHE` (empty: off) or the user's cache folder.

    A cache folder that was set for JAX already is left alone.
    """
    if jax.config.values["jax_compilation_cache_dir"]:
        return
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "holdfast" / "programs"
    folder = os.environ.get("HOLDFAST_CACHE", str(default))
    if folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
        compilation_cache.reset_cache()  # what was compiled before had settled that there is none
