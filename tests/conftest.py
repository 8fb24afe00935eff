import gc
import os

# The older code generator of XLA compiles a small program in half the time; one part for each program, in place of 32
# for as many threads, saves a fifth of the rest. XLA reads its flags when jax starts.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
).strip()

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from holdfast.training import compilation, overlap
from support.shared_programs import Shared, share_bundled_data

jax.config.update("jax_numpy_rank_promotion", "raise")
# Programs of tests run for seconds at most: compiling them with few optimisations halves the suite's time.
jax.config.update("jax_disable_most_optimizations", True)
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # in child processes too: the same bits
jax.config.update("jax_traceback_in_locations_limit", 0)  # lowering is faster without the lines of each operation
gc.freeze()
gc.set_threshold(100_000, 50, 100)  # a trace makes many objects that stay: collections in between only cost time


def operation_by_operation(function):
    """Instead of `compilation.once`: each operation is a small program that all tests share.

    The program of a first state takes seconds to compile, and milliseconds in this form. The copies part the arrays
    that are one array, since the carry is donated.
    """

    return lambda *args: jax.tree.map(jnp.copy, function(*args))


compilation.once = operation_by_operation
Shared().install()
share_bundled_data()
overlap.CORES = 1_000_000  # the order of events in a run does not depend on the machine that tests it


def pytest_collection_modifyitems(items):
    """Tests marked `first` begin before all others: a long test that began last would run alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


@pytest.fixture
def x64():
    """Float64 for the length of a test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=[pytest.param("plain", marks=pytest.mark.slow), "jit"])
def run(request):
    """`run(f, *args)`: f as it is, or compiled.

    As it is, each operation is a program of its own: the quick suite does that in few tests, see `support.marks.both`.
    """
    if request.param == "jit":
        return lambda f, *args: jax.jit(lambda *a: f(*a))(*args)
    return lambda f, *args: f(*args)


@pytest.fixture(scope="session", autouse=True)
def programs(tmp_path_factory):
    """Every program is compiled once a session, here, in child processes and in the other workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = str(shared / "programs")
    wanted = {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in wanted}
    os.environ["HOLDFAST_CACHE"] = folder
    for name, value in wanted.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    compilation_cache.reset_cache()
    yield folder
    for name, value in before.items():
        jax.config.update(name, value)
        del os.environ[name.upper()]
    del os.environ["HOLDFAST_CACHE"]
    compilation_cache.reset_cache()
