"""What `speed.py` starts in processes of their own: it reads one JSON request a line and answers each with one line.

`python worker.py ours NAME`, or team NAME, or handwritten NAME, or evaluation ENVIRONMENT ALGORITHM, or online
ENVIRONMENT.
"""

from __future__ import annotations

import dataclasses
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import serving
import synthetic

if TYPE_CHECKING:
    from holdfast.core.contract import Phase

START = 1_000_000  # first step: past the warm-ups that some algorithms begin with
RUN = 1_000_000  # updates of the run that schedules fall over
NEVER = 10**8  # a warm-up that no measurement sees the end of
WARM = 20  # updates before the clock runs


def timed(work: Callable[[int], Any], size: int, seconds: float) -> float:
    """Calls of `work(n)` of about `seconds`: units of work a second. `size` is a first guess of n."""
    began = time.perf_counter()
    jax.block_until_ready(work(size))
    n = max(1, round(size * seconds / (time.perf_counter() - began)))
    began = time.perf_counter()
    jax.block_until_ready(work(n))
    return n / (time.perf_counter() - began)


def matmul_rate(repeats: int = 12) -> float:
    """FLOP/s of the best of several square float32 matrix products."""
    size = 1024 if jax.default_backend() == "cpu" else 8192
    a = jnp.asarray(np.random.default_rng(0).standard_normal((size, size), np.float32))
    product = jax.jit(lambda x: x @ x)
    jax.block_until_ready(product(a))
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(product(a))
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def peak_bytes() -> int:
    """Most memory that this process has held; on an accelerator, most of its memory."""
    on_device = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return int(on_device or own)


# the published settings, which the hand-written ones and the peers have too
PRESETS = dict.fromkeys(("awac", "crr", "iql", "td3_bc"), "mujoco")


class Ours:
    """One algorithm of Holdfast, through `training.loop.Program`, as `holdfast train` runs it.

    Args:
        name: the algorithm.
        phases: which phases are entered, the last of which is measured; None: all.
        changes: settings that differ from the published ones.
    """

    def __init__(self, name: str, phases: int | None = None, **changes: float) -> None:
        from holdfast.algorithms import registry
        from holdfast.core.config import over_the_run
        from holdfast.core.contract import Context
        from holdfast.core.spec import Spec
        from holdfast.data.feed.columns import Columns

        self.algorithm = registry.get(name)
        presets = self.algorithm.presets
        published = presets[PRESETS.get(name, next(iter(presets)))].config
        self.cfg = over_the_run(dataclasses.replace(published, **changes), RUN)
        self.phases = self.algorithm.phases(self.cfg)[:phases]
        data, n = synthetic.rows(), synthetic.STEPS
        episodes = n // synthetic.EPISODE
        own = self.algorithm.needs(self.cfg)
        needed = {c for phase in self.algorithm.phases(self.cfg) for c in (phase.needs or own).columns}
        own_columns = {"next_action": data["action"], "timestep": (np.arange(n) % synthetic.EPISODE).astype(np.int32)}
        extra = {c: own_columns.get(c, data["reward"]) for c in sorted(needed)}
        obs = np.concatenate([data["obs"], data["obs"][:episodes]])
        row = (np.arange(n) + np.arange(n) // synthetic.EPISODE).astype(np.int32)
        columns = Columns(obs, row, data["action"], data["reward"], 0 * data["reward"], data["truncated"], None, extra)
        self.columns = jax.tree.map(jnp.asarray, columns)
        stats = {"return_max": 100.0, "return_min": -100.0, "reward_max": 4.0, "reward_min": -4.0}
        stats |= {"n_steps": float(n), "n_episodes": float(episodes)}
        self.ctx = Context(Spec((synthetic.OBS,), synthetic.ACTION), self.columns, stats)
        self.programs: dict[int, Any] = {}

    def program(self, seeds: int) -> Any:
        """The last phase that is entered, for that many seeds, compiled, with its carry and the next step."""
        from holdfast.core.config import as_arrays
        from holdfast.training import driver
        from holdfast.training.carry import replicate, seed_keys
        from holdfast.training.loop import Program

        if seeds not in self.programs:
            cfgs = replicate([as_arrays(self.cfg)] * seeds)
            keys = seed_keys(list(range(seeds)))
            carry = None
            for index, phase in enumerate(self.phases):
                sources = {"data": self.columns, **self.views(phase)}
                program = Program(self.algorithm, phase, index, cfgs, keys, self.ctx, sources)
                carry = driver.enter(program, carry)
            unit = self.unit()
            program.compile(carry, unit)
            warm = -(-WARM // unit) * unit
            carry, _ = program.run(carry, START, START + warm)
            self.programs[seeds] = [program, carry, START + warm]
        return self.programs[seeds]

    def views(self, phase: Phase) -> dict[str, Any]:
        """The parts of the rows that a phase splits them into, by name."""
        from holdfast.data.feed.row_sources import View

        found, at = {}, 0
        for name, share in (phase.split or {}).items():
            count = round(share * synthetic.STEPS)
            found[name] = View(self.columns, jnp.arange(at, at + count, dtype=jnp.int32))
            at += count
        return found

    def unit(self) -> int:
        """Updates that a block is a multiple of, as blocks of training are."""
        from holdfast.training.compilation import STRIDE, stride_of

        return stride_of(STRIDE)

    def compile(self, seeds: int) -> dict[str, Any]:
        program = self.program(seeds)[0]
        return {"compile_seconds": program.compiling.seconds, "batch_size": program.batch_size}

    def speed(self, seeds: int, seconds: float) -> dict[str, Any]:
        """Updates per second of all seeds together, with the refreshes of the phase."""
        from holdfast.training import driver

        held = self.program(seeds)
        unit = self.unit()

        def work(n: int) -> Any:
            program, carry, at = held
            end = at + n * unit
            for block in driver.blocks(program, carry, at, end, lambda lo: end):
                held[1] = block.carry
            held[2] = end
            return held[1].state

        return {"updates_per_second": timed(work, max(1, 20 // unit), seconds) * unit * seeds}

    def flops(self) -> dict[str, Any]:
        """FLOPs of one update as XLA counts them in the program compiled for the CPU (other compilers hide some).

        A branch on the step (a delayed update) is counted as if it were always taken: so one update is compiled for
        each step of the period, with the step a constant, and the mean is what training really pays.
        """
        program, carry, _ = self.program(1)
        every = [v for k, v in vars(self.cfg).items() if k.endswith("_every") and isinstance(v, int) and 1 < v <= 16]
        period = math.lcm(*every)
        one = jax.tree.map(lambda x: x[0], (program.cfgs, program.keys, carry))
        *one, sources = jax.device_put((*one, program.sources), jax.devices("cpu")[0])
        found = []
        for step in range(START, START + period):

            def update(cfg: Any, key: Any, carry: Any, sources: Any, step: int = step) -> Any:
                return program._learn(cfg, key, carry, program._draw(cfg, key, carry, sources, step), step)

            cost = jax.jit(update).lower(*one, sources).compile().cost_analysis() or {}
            found.append(float(cost.get("flops", "nan")))
        return {"flops": statistics.fmean(found)}

    def matmul(self) -> dict[str, Any]:
        return {"flops_per_second": matmul_rate()}

    def memory(self) -> dict[str, Any]:
        return {"bytes": peak_bytes()}


class Team(Ours):
    """A team whose agents all have the same rows: a method for teams, or independent learners of one for one agent."""

    def __init__(self, name: str) -> None:
        import teams

        from holdfast.algorithms.independent import independent
        from holdfast.core import team
        from holdfast.core.contract import Context
        from holdfast.data.feed.row_sources import Members

        super().__init__(name)
        own = self.ctx
        names = tuple(f"agent_{i}" for i in range(teams.AGENTS))
        whole = team.Team(names, (own.spec,) * teams.AGENTS)
        if self.algorithm.member is None:
            self.algorithm = independent(self.algorithm, whole)
        self.phases = self.algorithm.phases(self.cfg)
        self.ctx = Context(whole.joint, members=(own,) * teams.AGENTS)
        self.columns = Members((self.columns,) * teams.AGENTS, together=True)


class Handwritten:
    """The same update without the library, compiled as the library compiles."""

    def __init__(self, name: str) -> None:
        import handwritten

        from holdfast.training.compilation import options

        static = ("name", "steps")
        self.name = name
        self.run = jax.jit(handwritten.run, static_argnames=static, donate_argnums=1, compiler_options=options())
        data = synthetic.rows()
        n = synthetic.STEPS
        obs = np.concatenate([data["obs"], data["obs"][: n // synthetic.EPISODE]])
        row = (np.arange(n) + np.arange(n) // synthetic.EPISODE).astype(np.int32)
        del data["truncated"]  # neither update reads it
        self.data = jax.tree.map(jnp.asarray, {**data, "obs": obs, "row": row, "terminated": 0 * data["reward"]})
        self.key = jax.random.PRNGKey(0)
        self.state = handwritten.INITS[name](self.key, synthetic.OBS, synthetic.ACTION)
        self.state = jax.tree.map(jnp.array, self.state)  # own buffers for each leaf: the scan takes them over
        self.at = 0

    def speed(self, seconds: float, block: int = 20) -> dict[str, Any]:
        """Scans of fixed length, dispatched one after the other."""

        def work(n: int) -> Any:
            for _ in range(n):
                self.state = self.run(self.name, self.state, self.data, self.key, jnp.int32(self.at), block)
                self.at += block
            return self.state

        jax.block_until_ready(work(1))
        return {"updates_per_second": timed(work, 1, seconds) * block}


class Evaluation:
    """Rollouts of a freshly initialised policy."""

    def __init__(self, name: str, own: str = "td3_bc") -> None:
        import gymnasium

        from holdfast.algorithms import registry
        from holdfast.core.contract import Context
        from holdfast.core.noise import Noise
        from holdfast.core.spec import Spec
        from holdfast.data.feed.treatment import untreated
        from holdfast.policy.policy import Policy

        env = gymnasium.make(name)
        fitted = untreated(env.observation_space, env.action_space)
        spec = Spec(env.observation_space.shape, env.action_space.shape[0])
        env.close()
        algorithm = registry.get(own)
        cfg = next(iter(algorithm.presets.values())).config
        state = algorithm.init(cfg, Context(spec), Noise(jax.random.PRNGKey(0)))
        self.name, self.policy = name, Policy(algorithm, cfg, state, spec, fitted)

    def play(self, episodes: int) -> dict[str, Any]:
        """Seconds of one call, with making the environments and whatever is compiled."""
        from holdfast.evaluation.evaluate import evaluate

        began = time.perf_counter()
        found = evaluate(self.policy, self.name, episodes)
        return {"seconds": time.perf_counter() - began, "steps": int(found.lengths.sum())}


class Online:
    """SAC of Holdfast in an environment, round by round as `holdfast train sac --env` runs it."""

    def __init__(self, name: str) -> None:
        self.name, self.held = name, {}

    def env(self) -> dict[str, Any]:
        return {"env": self.name}

    def learn(self, seeds: int, seconds: float) -> dict[str, Any]:
        """Environment steps a second of all seeds together, with an update each."""
        return {"per_second": self._steps(seeds, 256, seconds) * seeds}

    def collect(self, seconds: float) -> dict[str, Any]:
        """Steps a second of one seed that never learns: acting, stepping, storing and the Python between."""
        return {"per_second": self._steps(1, NEVER, seconds)}

    def play(self, seconds: float) -> dict[str, Any]:
        """Steps a second of the environment alone, with random actions."""
        from holdfast.environments.gym.adapter import make_env

        env = make_env(self.name)
        env.reset(seed=0)
        env.action_space.seed(0)
        actions = [env.action_space.sample() for _ in range(64)]

        def work(n: int) -> None:
            for i in range(n):
                _, _, terminated, truncated, _ = env.step(actions[i % 64])
                if terminated or truncated:
                    env.reset()

        return {"per_second": timed(work, 100, seconds)}

    def store(self, seconds: float) -> dict[str, Any]:
        """Rows a second that join the replay buffer, within one program."""
        return {"per_second": self._ring("store", seconds)}

    def draw(self, seconds: float) -> dict[str, Any]:
        """Batches a second that are drawn from it, likewise."""
        return {"per_second": self._ring("draw", seconds)}

    def _steps(self, seeds: int, warmup: int, seconds: float) -> float:
        key = (seeds, warmup)
        if key not in self.held:
            program, play, carry = self._begin(seeds, warmup)
            self.held[key] = [program, play, carry, 0]
            self._advance(self.held[key], 300)
        held = self.held[key]

        def work(n: int) -> Any:
            self._advance(held, n)
            return held[2].state

        return timed(work, 20, seconds)

    def _advance(self, held: list[Any], steps: int) -> None:
        from holdfast.training.driver import blocks

        program, play, carry, at = held
        end = at + steps
        for block in blocks(program, carry, at, end, lambda lo: end, play):
            held[2] = block.carry
        held[3] = end

    def _begin(self, seeds: int, warmup: int) -> Any:
        from holdfast.algorithms import registry
        from holdfast.core.config import to_dict
        from holdfast.runs.presets import resolve
        from holdfast.runs.settings import Settings
        from holdfast.training.collect import play_of
        from holdfast.training.driver import enter
        from holdfast.training.plan.plan import plan

        cfg, treatment = resolve(registry.get("sac"), None, {"warmup": warmup}, None)
        given = {"seeds": seeds, "env": self.name, "evaluate": False}
        made = plan(Settings("sac", None, 2 * NEVER, to_dict(cfg), treatment._asdict(), **given))
        (program,) = made.programs
        carry = enter(program, None)
        play = play_of(made, program)
        play.start(carry)
        return program, play, carry

    def _ring(self, what: str, seconds: float) -> float:
        from holdfast.core.contract import Transitions
        from holdfast.core.noise import Noise
        from holdfast.data.feed import buffer, sampler
        from holdfast.environments.gym.adapter import make_env
        from holdfast.environments.gym.matching import spec_of

        if what not in self.held:
            row = buffer.blank_row(spec_of(make_env(self.name)))
            one = jax.tree.map(lambda x: jnp.zeros((1, *x.shape), x.dtype), row)
            ring = jax.jit(lambda: buffer.add(buffer.empty(row, 1_000_000), one, np.ones(1, bool)))()

            def store(ring: Any, n: Any) -> tuple[Any, Any]:
                def body(i: Any, ring: Any) -> Any:
                    return buffer.add(ring, jax.tree.map(lambda x: x + i.astype(x.dtype), one), jnp.ones(1, bool))

                return jax.lax.fori_loop(0, n, body, ring), ()

            def draw(ring: Any, n: Any) -> tuple[Any, Any]:
                def body(i: Any, total: Any) -> Any:
                    noise = Noise(jax.random.fold_in(jax.random.PRNGKey(0), i))
                    batch = sampler.sample({"online": ring}, {"online": 1.0}, 256, Transitions(), noise)
                    return total + sum(x.sum() for x in jax.tree.leaves(batch))  # so that no field is left out

                return ring, jax.lax.fori_loop(0, n, body, jnp.float32(0))

            self.held[what] = [jax.jit({"store": store, "draw": draw}[what], donate_argnums=0), ring]
        held = self.held[what]

        def work(n: int) -> Any:
            held[1], total = held[0](held[1], n)
            return held[1].size, total

        return timed(work, 100, seconds)


KINDS = {"ours": Ours, "team": Team, "handwritten": Handwritten, "evaluation": Evaluation, "online": Online}

if __name__ == "__main__":
    serving.serve(lambda: KINDS[sys.argv[1]](*sys.argv[2:]))
