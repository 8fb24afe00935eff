"""The contract, for every registered algorithm and every kind of action it takes. No algorithm is named here."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import registry
from holdfast.algorithms.citations import CITATIONS
from holdfast.core.config import as_arrays, from_dict, to_dict, traced_fields
from holdfast.core.contract import Algorithm, Context, Frozen, Treatment
from holdfast.core.noise import Noise
from holdfast.core.spec import Batch, Seen, Spec
from holdfast.core.tree import named_leaves
from holdfast.data.dataset import Dataset
from holdfast.data.feed import buffer, row_sources, treatment
from holdfast.data.feed import columns as cols
from holdfast.data.split import by_episodes
from holdfast.training import compilation
from holdfast.training.carry import Carry, replicate, seed_keys
from holdfast.training.driver import blocks, enter
from holdfast.training.loop import Program
from support.marks import quick
from support.small_config import small

ROOT = Path(__file__).resolve().parents[2]
NAMES = registry.names()
CASES = [(n, kind) for n in NAMES for kind in ("continuous", "discrete") if kind in registry.get(n).actions]
PRESETS = [(n, preset) for n in NAMES for preset in registry.get(n).presets]
SEEDS = [0, 1, 2]
# These represent all in the quick run of what takes many compilations each; `make test-slow` runs the others too.
THOROUGH = ("dqn", "iql", "td3_bc")


each_name = pytest.mark.parametrize("name", NAMES)
few_names = pytest.mark.parametrize("name", quick(NAMES, *THOROUGH))
few_cases = pytest.mark.parametrize(("name", "kind"), quick(CASES, *THOROUGH))
each_preset = pytest.mark.parametrize(("name", "preset"), PRESETS)
# of the methods that learn a model, whose programs are large, one is in the quick run
LEAN = [n for n in NAMES if registry.get(n).dynamics is None or n == "mopo"]
# of the methods for both kinds of actions, most are in the quick run with continuous ones
FIRST = [(n, kind) for n, kind in CASES if kind == "continuous" or (n, "continuous") not in CASES]
SECOND = [case for case in CASES if case not in FIRST]
each_case = pytest.mark.parametrize(("name", "kind"), [*quick(FIRST, *LEAN), *quick(SECOND, "bc", "iql")])


@functools.cache
def logged(kind: str) -> Dataset:
    """Ten episodes of 5 to 14 steps, ended and cut in turn; three observations, two actions.

    Discrete: four actions, some of them illegal at each step; "unmasked": the same without saying so.
    """
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
        if kind == "discrete":
            episode["action_mask"] = mask
        episodes.append(episode)
    return Dataset.from_episodes(episodes, action_bounds=(-1.0, 1.0) if kind == "continuous" else None)


@functools.cache
def cloned(spec: Spec) -> Frozen:
    """A policy with random weights, the input of algorithms that evaluate one."""
    bc = registry.get("bc")
    cfg = as_arrays(small(next(iter(bc.presets.values())).config))
    state = bc.init(cfg, Context(spec), Noise(jax.random.PRNGKey(3)))
    return Frozen(spec, bc.act, bc.memory, cfg, state, bc.dist)


def of_arrays(init):
    """`init`, whose state must be made of arrays."""

    def call(cfg, ctx, noise):
        state = init(cfg, ctx, noise)
        assert jax.tree.leaves(state)
        for key, leaf in named_leaves(state).items():
            assert isinstance(leaf, jax.Array), f"{key} is not an array"
        return state

    return call


class Case:
    """One algorithm on one kind of data: what is needed to run each of its phases."""

    def __init__(self, name: str, kind: str, cfg=None, dtype=np.float32) -> None:
        algorithm = registry.get(name)
        self.algorithm: Algorithm = algorithm._replace(init=of_arrays(algorithm.init))
        self.kind = kind
        preset = next(iter(algorithm.presets.values()))
        self.cfg = small(preset.config) if cfg is None else cfg
        data = logged(kind)
        if self.algorithm.filter is not None:
            data = self.algorithm.filter(self.cfg, data)
        # the treatment without return scaling: it has nothing to do with the update
        fitted = treatment.fit(Treatment(normalize_obs=1e-3, clip_actions=1e-5 if kind == "continuous" else None), data)
        self.data = data
        self.spec = data.spec
        self.phases = self.algorithm.phases(self.cfg)
        tuning = self.algorithm.finetune(self.cfg) if self.algorithm.finetune else ()
        self.all_phases = (*self.phases, *tuning)
        wanted = {c for p in self.all_phases for c in (p.needs or self.algorithm.needs(self.cfg)).columns}
        self.columns = cols.prepare(
            data, fitted, sorted(wanted), discount=getattr(self.cfg, "discount", 0.99), dtype=dtype
        )
        self.columns = jax.tree.map(jnp.asarray, self.columns)
        inputs = {one: cloned(self.spec) for one in self.algorithm.inputs}
        self.ctx = Context(self.spec, self.columns, cols.stats(data, fitted), inputs)
        self.started: dict[int, Carry] = {}

    def sources(self, phase) -> dict:
        found = {"data": self.columns}
        parts = by_episodes(self.data, phase.split, 0) if phase.split else {}
        for view, episodes in parts.items():
            inside = np.flatnonzero(np.isin(self.data.episode_of, episodes))
            found[view] = row_sources.View(self.columns, jnp.asarray(inside, jnp.int32))
        return found

    def programs(self, seeds=SEEDS, cfgs=None, tuning=False) -> list[Program]:
        """One program a phase, for every seed (and config); with those of fine-tuning after the offline ones."""
        many, rows = replicate(cfgs or [self.cfg] * len(seeds)), row_sources.size(self.columns)
        return [
            Program(self.algorithm, phase, i, many, seed_keys(seeds), self.ctx, self.sources(phase), rows)
            for i, phase in enumerate(self.all_phases if tuning else self.phases)
        ]

    def collected(self, carry: Carry) -> Carry:
        """The carry with the data's rows in its rings, as if they had been collected."""
        if not carry.rings:
            return carry
        rows = row_sources.rows(self.columns, jnp.arange(row_sources.size(self.columns)))
        rings = {}
        for name, ring in carry.rings.items():
            own = Batch(**{**vars(rows), "extra": {c: rows.extra[c] for c in ring.rows.extra}})
            rings[name] = jax.vmap(buffer.add, (0, None, None))(ring, own, jnp.ones(len(own.reward), bool))
        return carry._replace(rings=rings)

    def train(self, programs: list[Program], edges=(0, 10)) -> tuple[Carry, list]:
        """Every phase over blocks between `edges`, and their metrics. The first start is kept: it costs the most."""
        found, carry = [], None
        for program in programs:
            if carry is None:
                if id(program) not in self.started:
                    self.started[id(program)] = jax.tree.map(np.asarray, self.collected(enter(program, None)))
                carry = jax.tree.map(jnp.array, self.started[id(program)])
            else:
                carry = self.collected(enter(program, carry))
            for block in blocks(program, carry, edges[0], edges[-1], lambda lo: next(e for e in edges if e > lo)):
                carry = block.carry
                found.append(block.metrics)
        return jax.tree.map(np.asarray, carry), found

    def first(self, carry: Carry):
        """The state of the first replica."""
        return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[0]), carry.state)


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


def require_finite(found: list) -> None:
    """Every metric of every block is a number: none is NaN, which also means "not reported"."""
    for metrics in found:
        assert all(np.isfinite(value).all() for value in metrics.values()), metrics


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
def test_every_setting_has_its_comment(name):
    algorithm = registry.get(name)
    records = [base for base in algorithm.Config.__mro__ if dataclasses.is_dataclass(base)]
    source = "\n".join(inspect.getsource(base) for base in records)
    for field in dataclasses.fields(algorithm.Config):
        line = next(line for line in source.splitlines() if line.strip().startswith(f"{field.name}:"))
        assert "  # " in line, f"{field.name} does not say what it is"


@each_name
def test_no_setting_has_the_name_of_a_treatment(name):
    """Both are flags of one command."""
    assert not {field.name for field in dataclasses.fields(registry.get(name).Config)} & {*Treatment._fields}


def test_every_citation_is_used_and_every_row_has_one():
    assert {row.paper for row in registry.ROWS.values()} == set(CITATIONS)


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
    for f in dataclasses.fields(cfg):  # only numbers are accepted
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


# the loop


def updates_repeat(name: str, kind: str) -> None:
    """The same updates twice give the same bits and move the weights."""
    c = case(name, kind)
    first, a = trained(name, kind)
    second, b = c.train(programs(name, kind), (0, 50))
    identical(first, second)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_equal(x, y)
    if len(c.phases) == 1:
        before = jax.tree.leaves(c.started[id(programs(name, kind)[0])].state)
        assert any((x != y).any() for x, y in zip(jax.tree.leaves(first.state), before, strict=True))


@pytest.mark.parametrize("name", quick((n for n, kind in CASES if kind == "discrete"), "dqn", "iql"))
def test_discrete_actions_without_masks(name):
    """Every program can be built where the data does not say what is legal."""
    c = Case(name, "unmasked")
    for program in c.programs()[:1]:
        carry = program.shapes(None)
        assert jax.tree.leaves(carry.state)
        assert program.metrics
    state = jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), carry.state)
    memory = c.algorithm.memory(c.cfg, c.spec, 200)
    action, _ = c.algorithm.act(as_arrays(c.cfg), state, observed(c), memory, Noise(jax.random.PRNGKey(0)), "sample")
    assert set(np.unique(action)) <= {0, 1, 2, 3}


def updates_stay_finite(name: str, kind: str) -> None:
    """Fifty updates have finite states and metrics."""
    carry, found = trained(name, kind)
    for key, leaf in named_leaves(carry.state).items():
        assert leaf.shape[0] == len(SEEDS), key
        assert np.isfinite(leaf).all(), key
    for metrics in found:
        assert all(value.shape == (len(SEEDS),) for value in metrics.values())
    require_finite(found)
    leaves = [leaf for leaf in jax.tree.leaves(carry.state) if leaf.dtype.kind == "f"]
    assert any(not np.array_equal(leaf[0], leaf[1]) for leaf in leaves), "the seeds are one seed"


@pytest.mark.parametrize(
    ("name", "kind"),
    quick((case for case in FIRST if registry.get(case[0]).finetune), "td3_bc")
    + quick(case for case in SECOND if registry.get(case[0]).finetune),
)
def test_going_online(name, kind):
    """The phases of fine-tuning continue from the offline state, learn from collected rows, and act."""
    c = case(name, kind)
    programs = c.programs(tuning=True)
    assert any(p.phase.collect for p in programs[len(c.phases) :])
    carry, found = c.train(programs, (0, 3))
    for key, leaf in named_leaves(carry.state).items():
        assert np.isfinite(leaf).all(), key
    require_finite(found)
    memory = c.algorithm.memory(c.cfg, c.spec, 200)
    action, _ = c.algorithm.act(
        as_arrays(c.cfg), c.first(carry), observed(c), memory, Noise(jax.random.PRNGKey(0)), "explore"
    )
    assert np.isfinite(action).all()


@pytest.mark.slow
@few_cases
def test_the_boundaries_of_blocks_do_not_matter(name, kind):
    c = case(name, kind)
    whole, _ = c.train(programs(name, kind), (0, 10))
    parts, _ = c.train(programs(name, kind), (0, 4, 5, 10))
    identical(whole.state, parts.state)


@pytest.mark.parametrize(("name", "kind"), quick([("td3_bc", "continuous"), ("iql", "discrete")], "td3_bc"))
def test_blocks_in_strides_are_the_same_updates(name, kind, monkeypatch):
    """As on a GPU: an inner loop of known length if it divides the block, the plain one where it does not."""
    c = case(name, kind)
    whole, found = c.train(programs(name, kind), (0, 10))
    monkeypatch.setattr(compilation, "STRIDE", 4)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(compilation, "options", lambda: None)  # of a GPU: no CPU takes them
    (program,) = c.programs()
    c.started[id(program)] = c.started[id(programs(name, kind)[0])]
    strided, parts = c.train([program], (0, 8, 10))
    assert set(program._blocks) == {4, 1}
    for key, leaf in named_leaves(strided.state).items():
        np.testing.assert_allclose(leaf, named_leaves(whole.state)[key], rtol=1e-4, atol=1e-6, err_msg=key)
    if name == "iql":  # all its metrics are of every update
        for metric, value in found[0].items():
            mean = (8 * parts[0][metric] + 2 * parts[1][metric]) / 10
            np.testing.assert_allclose(mean, value, rtol=1e-4, atol=1e-6, err_msg=metric)


def test_on_a_cpu_blocks_have_no_strides(monkeypatch):
    assert jax.default_backend() != "cpu" or (compilation.stride_of(1000), compilation.options()) == (1, None)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    strides = [compilation.stride_of(updates) for updates in (1000, 1020, 0)]
    assert strides == [compilation.STRIDE, 1, 1]
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert compilation.options() == {compilation.SIDE_BY_SIDE: "CONCURRENT"}
    monkeypatch.setenv("XLA_FLAGS", f"--{compilation.SIDE_BY_SIDE}=LHS")
    assert compilation.options() is None


@pytest.mark.parametrize(("name", "kind"), quick(CASES, "td3_bc"))
def test_seeds_in_one_program_are_the_seeds_alone(name, kind):
    trained(name, kind)  # in float32, as all other tests have it
    with jax.enable_x64(True):
        c = Case(name, kind, dtype=np.float64)
        both, alone = c.programs(), c.programs([SEEDS[0]])
        start = case(name, kind).started[id(programs(name, kind)[0])]  # the same start, in float64
        start = jax.tree.map(lambda x: x.astype(np.float64) if x.dtype.kind == "f" else x, start)
        c.started[id(both[0])] = start
        together, _ = c.train(both)
        for i, seed in enumerate(SEEDS):
            for program in alone:
                program.keys = seed_keys([seed])
            c.started[id(alone[0])] = jax.tree.map(lambda x, i=i: x[i : i + 1], start)
            one, _ = c.train(alone)
            for key, leaf in named_leaves(one.state).items():
                found = named_leaves(together.state)[key]
                np.testing.assert_allclose(found[i], leaf[0], rtol=1e-8, atol=1e-8, err_msg=f"seed {seed}: {key}")


@pytest.mark.parametrize("name", quick(NAMES, "dqn"))
def test_every_traced_setting_can_be_swept_in_one_program(name):
    """Each float with two more values, all in one program: it runs, and in some preset the value makes a difference.

    Offline first, then with fine-tuning for those that did nothing offline.
    """
    algorithm = registry.get(name)
    silent = {f for f in traced_fields(algorithm.Config) if not f.startswith(BOUNDS) and "clip" not in f}
    cfgs = [small(preset.config) for preset in algorithm.presets.values()]
    stages, kinds = (False, True) if algorithm.finetune else (False,), [k for n, k in CASES if n == name]
    for tried in (cfgs, list(other_choices(algorithm, cfgs[0]))):
        for tuning, cfg, kind in itertools.product(stages, tried, kinds):
            if not silent:
                return
            c = case(name, kind) if cfg == cfgs[0] else Case(name, kind, cfg)
            silent &= swept_without_effect(c, silent, tuning)
    assert silent == set()


# a bound may be one that nothing reached in a few updates; what they do there is a matter of the formula tests
BOUNDS = ("max_", "min_", "bound_", "gradient_penalty")


def other_choices(algorithm: Algorithm, cfg):
    """The config with every other choice of each setting that is one of several words, as its check names them."""
    for field in (f.name for f in dataclasses.fields(cfg) if isinstance(getattr(cfg, f.name), str)):
        for fault in algorithm.check(dataclasses.replace(cfg, **{field: "?"})):
            for word in fault.partition("expected one of ")[2].split(", "):
                other = dataclasses.replace(cfg, **{field: word})
                if other != cfg and not algorithm.check(other):
                    yield other


def swept_without_effect(c: Case, fields: set[str], tuning: bool) -> set[str]:
    """The fields whose value changed neither what was learned nor how the policy explores."""
    cfgs, where = [c.cfg], {}
    for field in sorted(fields):
        usual = getattr(c.cfg, field)
        others = [dataclasses.replace(c.cfg, **{field: usual * factor or factor}) for factor in (0.5, 0.01)]
        where[field] = len(cfgs)
        cfgs += [cfg for cfg in others if not c.algorithm.check(cfg)]
        assert len(cfgs) > where[field], f"the check of {field} lets nothing pass"
    carry, found = c.train(c.programs([0] * len(cfgs), cfgs, tuning), (0, 6))
    require_finite(found)
    weights = np.concatenate([x.reshape(len(cfgs), -1) for x in jax.tree.leaves(carry.state) if x.dtype.kind == "f"], 1)
    act = jax.jit(functools.partial(c.algorithm.act, mode="explore"))
    noise, seen, state = Noise(jax.random.PRNGKey(0)), observed(c), c.first(carry)
    memory, silent = c.algorithm.memory(c.cfg, c.spec, 200), set()
    for field, i in where.items():
        if (weights[i] == weights[0]).all():
            one, other = (act(as_arrays(cfg), state, seen, memory, noise)[0] for cfg in (cfgs[0], cfgs[i]))
            silent |= {field} if (one == other).all() else set()
    return silent


# acting


def observed(c: Case, n: int = 200) -> Seen:
    rng = np.random.default_rng(1)
    mask = None
    if c.kind == "discrete":
        mask = rng.random((n, 4)) < 0.4
        mask[np.arange(n), rng.integers(0, 4, n)] = True
        mask = jnp.asarray(mask)
    obs = jnp.asarray(5 * rng.normal(size=(n, 3)), jnp.float32)  # far outside the data too
    return Seen(obs, jnp.zeros(n), mask, jnp.asarray(3))


def actions_are_valid(name: str, kind: str) -> None:
    """In every mode actions are valid and legal; the best one does not depend on chance; densities are finite."""
    c = case(name, kind)
    state, seen = c.first(trained(name, kind)[0]), observed(c)
    memory = c.algorithm.memory(c.cfg, c.spec, 200)

    @jax.jit
    def everything(noise):
        found = {
            m: c.algorithm.act(as_arrays(c.cfg), state, seen, memory, noise, m) for m in ("best", "sample", "explore")
        }
        dist = c.algorithm.dist(as_arrays(c.cfg), state, seen, memory) if c.algorithm.dist else None
        dense = {}
        if dist is not None and dist.draws != "none":
            dense = {m: dist.log_prob(action) for m, (action, _) in found.items() if m != "explore"}
            if kind == "continuous":
                dense |= {f"edge {edge}": dist.log_prob(jnp.full((200, 2), edge)) for edge in (-1.0, 1.0)}
        return found, dense, dist

    found, dense, dist = everything(Noise(jax.random.PRNGKey(0)))
    other = everything(Noise(jax.random.PRNGKey(1)))[0]
    np.testing.assert_array_equal(found["best"][0], other["best"][0])
    for mode, (action, after) in found.items():
        action = np.asarray(action)
        assert jax.tree.structure(after) == jax.tree.structure(memory), mode
        assert action.shape == (200, *c.spec.action_shape), mode
        if kind == "continuous":
            assert action.dtype == np.float32, mode
            assert np.abs(action).max() <= 1, mode
        else:
            assert action.dtype.kind == "i", mode
            assert np.asarray(seen.mask)[np.arange(200), action].all(), mode  # within range, and legal
    for which, density in dense.items():
        assert density.shape == (200,), which
        assert np.isfinite(density).all(), which
    if dist is not None and kind == "discrete":
        p = np.exp(dist.log_probs())
        np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-5)
        assert (p[~np.asarray(seen.mask)] == 0).all()


@each_case
def test_updates_and_actions(name, kind):
    """One test, because each of its parts needs the same compiled programs. `Case` checks the first state."""
    updates_stay_finite(name, kind)
    updates_repeat(name, kind)
    actions_are_valid(name, kind)


@few_names
def test_the_program_of_every_preset_can_be_built(name):
    """Static settings choose branches: each different one is traced, data and all."""
    algorithm = registry.get(name)
    kind = next(k for n, k in CASES if n == name)
    different = {jax.tree.structure(small(p.config)): small(p.config) for p in algorithm.presets.values()}
    for cfg in list(different.values())[1:]:
        c = Case(name, kind, cfg)
        assert c.programs([0])[0].shapes(None).state is not None
