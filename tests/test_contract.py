"""The contract, for every registered algorithm and every kind of action it takes. No algorithm is named here."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import registry
from holdfast.algorithms.citations import CITATIONS
from holdfast.core.config import as_arrays, from_dict, to_dict, traced_fields
from holdfast.core.contract import Algorithm, Context, Treatment
from holdfast.core.noise import Noise
from holdfast.core.spec import Seen
from holdfast.core.tree import named_leaves
from holdfast.data import columns as cols
from holdfast.data import sampler, treatment
from holdfast.data.dataset import Dataset
from holdfast.train.loop import Carry, Program, replicate, seed_keys

ROOT = Path(__file__).resolve().parents[1]
NAMES = registry.names()
CASES = [
    (n, kind)
    for n in NAMES
    for kind in ("continuous", "discrete", "masked")
    if kind.replace("masked", "discrete") in registry.get(n).actions
]
PRESETS = [(n, preset) for n in NAMES for preset in registry.get(n).presets]
SMALL = {"hidden": (16, 16), "batch_size": 16}
SEEDS = [0, 1, 2]

each_name = pytest.mark.parametrize("name", NAMES)
each_preset = pytest.mark.parametrize(("name", "preset"), PRESETS)
each_case = pytest.mark.parametrize(("name", "kind"), CASES)


def small(cfg):
    """The same settings with small networks and batches."""
    known = {f.name for f in dataclasses.fields(cfg)}
    return dataclasses.replace(cfg, **{k: v for k, v in SMALL.items() if k in known})


@functools.cache
def logged(kind: str) -> Dataset:
    """Ten episodes of 5 to 14 steps, ended and cut in turn; three observations, two actions (or four discrete ones)."""
    rng = np.random.default_rng(5)
    episodes = []
    for e in range(10):
        n = 5 + e
        last = np.arange(n) == n - 1
        mask = rng.random((n + 1, 4)) < 0.6
        mask[:, 2] = True
        action = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
        action[:2] = [[1, -1], [-1, 1]]  # at the bounds
        episode = {
            "observations": rng.normal(size=(n + 1, 3)).astype(np.float32),
            "actions": action,
            "rewards": rng.normal(size=n) + 0.3 * e,
            "terminations": last & (e % 2 == 0),
            "truncations": last & (e % 2 == 1),
        }
        if kind != "continuous":
            episode["actions"] = np.where(mask[:-1], rng.random((n, 4)), -1).argmax(1)
        if kind == "masked":
            episode["action_mask"] = mask
        episodes.append(episode)
    return Dataset.from_episodes(episodes, action_bounds=(-1.0, 1.0) if kind == "continuous" else None)


class Case:
    """One algorithm on one kind of data: what is needed to run each of its phases."""

    def __init__(self, name: str, kind: str, cfg=None, dtype=np.float32) -> None:
        self.algorithm: Algorithm = registry.get(name)
        self.kind = kind
        preset = next(iter(self.algorithm.presets.values()))
        self.cfg = small(preset.config) if cfg is None else cfg
        data = logged(kind)
        if self.algorithm.filter is not None:
            data = self.algorithm.filter(self.cfg, data)
        # the treatment without return scaling: it has nothing to do with the update
        fitted = treatment.fit(Treatment(normalize_obs=1e-3, clip_actions=1e-5 if kind == "continuous" else None), data)
        self.spec = data.spec
        self.phases = self.algorithm.phases(self.cfg)
        wanted = {c for p in self.phases for c in (p.needs or self.algorithm.needs(self.cfg)).columns}
        self.columns = cols.prepare(
            data, fitted, sorted(wanted), discount=getattr(self.cfg, "discount", 0.99), dtype=dtype
        )
        self.columns = jax.tree.map(jnp.asarray, self.columns)
        self.ctx = Context(self.spec, self.columns, cols.stats(data, fitted))

    def sources(self, phase) -> dict:
        found = {"data": self.columns}
        edges = np.round(np.cumsum([0, *phase.split.values()]) * sampler.size(self.columns)).astype(int)
        for view, lo, hi in zip(phase.split, edges[:-1], edges[1:], strict=True):
            found[view] = sampler.View(self.columns, jnp.arange(lo, hi, dtype=jnp.int32))
        return found

    def programs(self, seeds=SEEDS, cfgs=None) -> list[Program]:
        """One program a phase, for every seed (and config)."""
        many = replicate(cfgs or [self.cfg] * len(seeds))
        return [
            Program(self.algorithm, phase, i, many, seed_keys(seeds), self.ctx, self.sources(phase))
            for i, phase in enumerate(self.phases)
        ]

    def train(self, programs: list[Program], edges=(0, 10)) -> tuple[Carry, list]:
        """Every phase over blocks between `edges`."""
        state, found = None, []
        for program in programs:
            carry = program.start(state)
            for lo, hi in zip(edges[:-1], edges[1:], strict=True):
                carry, metrics = program.run(carry, lo, hi)
                found.append((program.metrics, metrics))
            state = carry.state
        return carry, found

    def update(self):
        """The first phase's update as a jitted function of (cfg, state, batch, noise, step), a state and a batch."""
        phase = self.phases[0]
        noise = Noise(jax.random.PRNGKey(0))
        cfg = as_arrays(self.cfg)

        def start(noise):
            state = self.algorithm.init(cfg, self.ctx, noise.sub("init"))
            return phase.enter(cfg, state, self.ctx, noise.sub("enter")) if phase.enter else state

        needs = phase.needs or self.algorithm.needs(self.cfg)
        size = phase.batch_size or self.cfg.batch_size
        batch = sampler.sample(self.sources(phase), phase.mix, size, needs, noise.sub("sample"))
        return jax.jit(phase.update or self.algorithm.update), cfg, jax.jit(start)(noise), batch, noise


@functools.cache
def case(name: str, kind: str) -> Case:
    return Case(name, kind)


@functools.cache
def programs(name: str, kind: str) -> list[Program]:
    """Compiled once for all tests of a case."""
    return case(name, kind).programs()


@functools.cache
def trained(name: str, kind: str) -> tuple[Carry, list]:
    return case(name, kind).train(programs(name, kind), (0, 50))


def identical(a, b) -> None:
    x, y = named_leaves(a), named_leaves(b)
    assert x.keys() == y.keys()
    for key in x:
        assert x[key].dtype == y[key].dtype, key
        np.testing.assert_array_equal(x[key], y[key], err_msg=key)


# the row, the page, the settings


@each_name
def test_the_registry_row_has_its_paper_and_its_page(name):
    row, algorithm = registry.ROWS[name], registry.get(name)
    assert algorithm.name == name
    assert row.title
    assert row.paper in CITATIONS
    assert f"{{{row.paper}," in CITATIONS[row.paper]
    assert (ROOT / "docs" / "algorithms" / f"{name}.md").is_file()
    assert inspect.getmodule(algorithm.Config).__doc__
    assert algorithm.actions <= {"continuous", "discrete"}
    assert algorithm.actions
    assert algorithm.presets


@each_name
def test_every_citation_is_used_and_every_setting_has_its_comment(name):
    algorithm = registry.get(name)
    source = "\n".join(inspect.getsource(c) for c in algorithm.Config.__mro__ if dataclasses.is_dataclass(c))
    for field in dataclasses.fields(algorithm.Config):
        line = next(line for line in source.splitlines() if line.strip().startswith(f"{field.name}:"))
        assert "  # " in line, f"{field.name} does not say what it is"
    assert {row.paper for row in registry.ROWS.values()} <= set(CITATIONS)


@each_preset
def test_presets_are_sound(name, preset):
    algorithm = registry.get(name)
    found = algorithm.presets[preset]
    assert type(found.config) is algorithm.Config
    assert isinstance(found.treatment, Treatment)
    assert found.source
    assert algorithm.check(found.config) == []


@each_preset
def test_settings_survive_json(name, preset):
    algorithm = registry.get(name)
    cfg = algorithm.presets[preset].config
    assert from_dict(algorithm.Config, json.loads(json.dumps(to_dict(cfg)))) == cfg


@each_name
def test_faults_are_found_all_at_once(name):
    algorithm = registry.get(name)
    cfg = next(iter(algorithm.presets.values())).config
    rates = [f.name for f in dataclasses.fields(cfg) if f.name.endswith("lr")]
    assert rates
    wrong = dataclasses.replace(cfg, **dict.fromkeys(rates, -1.0), batch_size=0)
    assert {f.split()[0] for f in algorithm.check(wrong)} == {*rates, "batch_size"}
    for f in dataclasses.fields(cfg):  # nothing that is no number passes
        if f.name in traced_fields(cfg):
            assert algorithm.check(dataclasses.replace(cfg, **{f.name: float("nan")})), f.name


@each_name
def test_the_phases_read_static_settings_only(name):
    """`phases` and `needs` see traced floats while compiling: they must not look at them."""
    algorithm = registry.get(name)
    cfg = next(iter(algorithm.presets.values())).config
    blind = dataclasses.replace(cfg, **dict.fromkeys(traced_fields(cfg), object()))
    phases = algorithm.phases(blind)
    assert phases
    assert all(p.update or algorithm.update for p in phases)
    algorithm.needs(blind)


# one update


@each_case
def test_a_state_is_made_of_arrays_and_an_update_keeps_its_form(name, kind):
    update, cfg, state, batch, noise = case(name, kind).update()
    raw = case(name, kind).algorithm.init(cfg, case(name, kind).ctx, noise)
    assert jax.tree.leaves(raw)
    for key, leaf in named_leaves(raw).items():
        assert isinstance(leaf, jax.Array), key
        assert not leaf.weak_type or leaf.ndim == 0, key
    for step in range(3):
        after, metrics = update(cfg, state, batch, noise, jnp.asarray(step))
        assert jax.tree.structure(after) == jax.tree.structure(state)
        for key, leaf in named_leaves(after).items():
            before = named_leaves(state)[key]
            assert (leaf.shape, leaf.dtype) == (before.shape, before.dtype), key
            assert np.isfinite(leaf).all(), key
        for key, value in metrics.items():
            value, weight = value if isinstance(value, tuple) else (value, 1.0)
            assert jnp.shape(value) == jnp.shape(weight) == (), key
            assert np.isfinite(value), key
        state = after
    assert update._cache_size() == 1


@each_case
def test_the_same_update_twice_gives_the_same_bits_and_moves_the_weights(name, kind):
    update, cfg, state, batch, noise = case(name, kind).update()
    step = jnp.asarray(1)
    first, second = (update(cfg, state, batch, noise, step) for _ in range(2))
    identical(first, second)
    moved = [not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first[0]), jax.tree.leaves(state), strict=True)]
    assert any(moved)


@each_case
def test_an_update_reads_no_row_but_its_own(name, kind):
    """Rows in another order give the same update: no row is matched with its neighbour's numbers."""
    c = case(name, kind)
    drawn = []

    class Constant(Noise):
        """The same number for every row, so that order is all that changes."""

        def normal(self, name, shape, dtype=None):
            drawn.append(name)
            return jnp.full(shape, 0.3, dtype or jnp.result_type(float))

        def uniform(self, name, shape, dtype=None):
            return jnp.broadcast_to(0.3 + 0.1 * jnp.arange(shape[-1]), shape).astype(dtype or jnp.result_type(float))

    with jax.enable_x64(True):
        c = Case(name, kind, dtype=np.float64)
        update, cfg, state, batch, _ = c.update()
        noise = Constant(jax.random.PRNGKey(0))
        axis = batch.reward.ndim - 1
        turned = jax.tree.map(lambda x: jnp.flip(x, axis), batch)
        a, b = (update(cfg, state, rows, noise, jnp.asarray(1))[0] for rows in (batch, turned))
        for key, leaf in named_leaves(a).items():
            np.testing.assert_allclose(leaf, named_leaves(b)[key], rtol=1e-5, atol=1e-9, err_msg=key)


# the loop


@each_case
def test_fifty_updates_stay_finite(name, kind):
    carry, found = trained(name, kind)
    for key, leaf in named_leaves(carry.state).items():
        assert leaf.shape[0] == len(SEEDS), key
        assert np.isfinite(leaf).all(), key
    for names, metrics in found:
        assert metrics.mean.shape == (len(SEEDS), len(names))
        assert np.isfinite(metrics.mean).all(), dict(zip(names, metrics.mean.T, strict=True))
        assert (metrics.first_bad == -1).all()
    leaves = [leaf for leaf in jax.tree.leaves(carry.state) if leaf.dtype.kind == "f"]
    assert any(not np.array_equal(leaf[0], leaf[1]) for leaf in leaves), "the seeds are one seed"


@each_case
def test_the_boundaries_of_blocks_do_not_matter(name, kind):
    c = case(name, kind)
    whole, _ = c.train(programs(name, kind), (0, 10))
    parts, _ = c.train(programs(name, kind), (0, 4, 5, 10))
    identical(whole.state, parts.state)


@each_case
def test_seeds_in_one_program_are_the_seeds_alone(name, kind):
    with jax.enable_x64(True):
        c = Case(name, kind, dtype=np.float64)
        together, _ = c.train(c.programs())
        alone = c.programs([SEEDS[0]])
        for i, seed in enumerate(SEEDS):
            for program in alone:
                program.keys = seed_keys([seed])
            one, _ = c.train(alone)
            for key, leaf in named_leaves(one.state).items():
                found = named_leaves(together.state)[key]
                np.testing.assert_allclose(found[i], leaf[0], rtol=1e-8, atol=1e-10, err_msg=f"seed {seed}: {key}")


@each_name
def test_every_traced_setting_can_be_swept_in_one_program(name):
    """Each float with two values beside the usual one, all in one program: it runs, and the value makes a difference."""
    kind = next(k for n, k in CASES if n == name)
    usual = case(name, kind).cfg
    swept = traced_fields(usual)
    cfgs = [usual]
    for field in swept:
        value = getattr(usual, field)
        cfgs += [dataclasses.replace(usual, **{field: value * factor}) for factor in (0.5, 0.01)]
    c = case(name, kind)
    together = c.programs([0] * len(cfgs), cfgs)
    carry, found = c.train(together, (0, 6))
    assert all(np.isfinite(m.mean).all() for _, m in found)
    learned = [i for i, leaf in enumerate(jax.tree.leaves(carry.state)) if leaf.dtype.kind == "f"]
    weights = np.concatenate([np.asarray(jax.tree.leaves(carry.state)[i]).reshape(len(cfgs), -1) for i in learned], 1)
    noise, seen = Noise(jax.random.PRNGKey(0)), observed(c)
    for i, field in enumerate(swept):
        same = np.array_equal(weights[0], weights[1 + 2 * i]) and np.array_equal(weights[0], weights[2 + 2 * i])
        if same:  # a setting of acting: then the actions differ; or a cap that was not reached
            one = jax.tree.map(lambda x: x[0], carry.state)
            actions = [c.algorithm.act(as_arrays(cfgs[j]), one, seen, (), noise, "explore")[0] for j in (0, 1 + 2 * i)]
            assert not np.array_equal(*actions) or field.startswith("max_"), f"{field} makes no difference"


# acting


def observed(c: Case, n: int = 200) -> Seen:
    rng = np.random.default_rng(1)
    mask = None
    if c.kind == "masked":
        mask = rng.random((n, 4)) < 0.4
        mask[np.arange(n), rng.integers(0, 4, n)] = True
        mask = jnp.asarray(mask)
    obs = jnp.asarray(5 * rng.normal(size=(n, 3)), jnp.float32)  # far outside the data too
    return Seen(obs, jnp.zeros(n), mask, jnp.asarray(3))


@each_case
@pytest.mark.parametrize("mode", ["best", "sample", "explore"])
def test_actions_are_valid(name, kind, mode):
    c = case(name, kind)
    state = jax.tree.map(lambda x: x[0], trained(name, kind)[0].state)
    seen = observed(c)
    memory = c.algorithm.memory(c.cfg, c.spec, 200)
    act = jax.jit(functools.partial(c.algorithm.act, mode=mode))
    noises = [Noise(jax.random.PRNGKey(i)) for i in range(2)]
    (action, after), (other, _) = (act(as_arrays(c.cfg), state, seen, memory, noise) for noise in noises)
    assert jax.tree.structure(after) == jax.tree.structure(memory)
    assert action.shape == (200, *c.spec.action_shape)
    if kind == "continuous":
        assert action.dtype == jnp.float32
        assert np.abs(action).max() <= 1
    else:
        assert action.dtype.kind == "i"
        assert action.min() >= 0
        assert action.max() < c.spec.action
    if seen.mask is not None:
        assert np.asarray(seen.mask)[np.arange(200), np.asarray(action)].all()
    if mode == "best":
        np.testing.assert_array_equal(action, other)
        alone = act(as_arrays(c.cfg), state, jax.tree.map(lambda x: x[:1] if x.ndim else x, seen), memory, noises[1])[0]
        np.testing.assert_allclose(alone[0], action[0], rtol=1e-4, atol=1e-5)  # one environment or many


@each_case
def test_densities(name, kind):
    c = case(name, kind)
    if c.algorithm.dist is None:
        pytest.skip("gives no densities")
    state = jax.tree.map(lambda x: x[0], trained(name, kind)[0].state)
    seen = observed(c)
    law = c.algorithm.dist(as_arrays(c.cfg), state, seen, c.algorithm.memory(c.cfg, c.spec, 200))
    noise = Noise(jax.random.PRNGKey(0))
    for mode in ("best", "sample"):
        action, _ = c.algorithm.act(as_arrays(c.cfg), state, seen, (), noise, mode)
        if mode == "best":
            np.testing.assert_allclose(law.mode(), action, rtol=1e-5, atol=1e-6)
        if hasattr(law, "log_prob"):
            found = law.log_prob(action)
            assert found.shape == (200,)
            assert np.isfinite(found).all()
    if kind == "continuous" and hasattr(law, "log_prob"):
        assert np.isfinite(law.log_prob(jnp.ones((200, 2)))).all()
        assert np.isfinite(law.log_prob(-jnp.ones((200, 2)))).all()
    if kind != "continuous":
        np.testing.assert_allclose(jnp.exp(law.log_probs()).sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize(("name", "preset"), [(n, p) for n, p in PRESETS if ("continuous" in registry.get(n).actions)])
def test_every_preset_trains(name, preset):
    """Static settings choose branches: each preset's own program runs."""
    algorithm = registry.get(name)
    cfg = small(algorithm.presets[preset].config)
    first = small(next(iter(algorithm.presets.values())).config)
    if jax.tree.structure(cfg) == jax.tree.structure(first):
        return  # the program of the first preset, tested above
    c = Case(name, "continuous", cfg)
    _, found = c.train(c.programs([0]), (0, 5))
    assert all(np.isfinite(m.mean).all() for _, m in found)
