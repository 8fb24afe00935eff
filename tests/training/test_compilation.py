"""How programs are made: keys of seeds, and updates that are compiled in a thread while the first states are made."""

import jax
import numpy as np
import pytest

from holdfast.runs.settings import Settings
from holdfast.training import compilation
from holdfast.training.carry import replicate, seed_keys
from holdfast.training.loop import Program
from holdfast.training.plan.plan import plan
from support.small_runs import DATA, TINY, tiny


def test_keys_are_those_of_jax():
    seeds = [0, 7, 2**31, 2**32 - 1]
    np.testing.assert_array_equal(seed_keys(seeds)[:2], [jax.random.PRNGKey(seed) for seed in seeds[:2]])
    with jax.enable_x64(True):  # without it JAX takes no larger seeds
        np.testing.assert_array_equal(seed_keys(seeds), [jax.random.PRNGKey(seed) for seed in seeds])
    assert seed_keys(seeds).dtype == np.uint32


def test_replicated_numbers_are_floats_of_jax():
    found = replicate([{"rate": np.float64(0.25)}, {"rate": np.float64(0.5)}])
    assert found["rate"].dtype == np.float32
    np.testing.assert_array_equal(found["rate"], [0.25, 0.5])


def test_a_clock_adds_what_passes_within_its_blocks(monkeypatch):
    times = iter([1.0, 3.0, 10.0, 10.5])
    monkeypatch.setattr(compilation.time, "perf_counter", lambda: next(times))
    clock = compilation.Clock()
    for _ in range(2):
        with clock:
            pass
    assert clock.seconds == 2.5


def test_the_updates_are_compiled_while_the_first_states_are_made(tmp_path, monkeypatch):
    """The run takes the program that was begun before its first states, and compiles no other one."""
    events = []
    started, begun, compiled = Program.start, Program.compile_ahead, compilation.in_thread

    def start(program, *given):
        events.append("start")
        return started(program, *given)

    def ahead(program, carry, updates=0):
        events.append("ahead")
        return begun(program, carry, updates)

    monkeypatch.setattr(Program, "start", start)
    monkeypatch.setattr(Program, "compile_ahead", ahead)
    monkeypatch.setattr(compilation, "in_thread", lambda lowered: events.append("compile") or compiled(lowered))
    tiny(tmp_path / "run", evaluate=False, config=TINY | {"hidden": (19,)})  # a width that no other test has
    assert events[:3] == ["ahead", "compile", "start"]
    assert events.count("compile") == 1


def test_what_fails_in_the_thread_is_raised_where_the_program_is_needed(monkeypatch):
    class Broken:
        def compile(self, options):
            raise RuntimeError("no memory")

    program = plan(Settings.of("bc", data=DATA, config=TINY, evaluate=False)).programs[0]
    program._blocks[1] = compilation.in_thread(Broken())
    with pytest.raises(RuntimeError, match="no memory"):
        program.compile(program.shapes(None))
