"""Learning in an environment: the replay ring, collection that can be resumed, and runs killed in between."""

import csv
import json

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from holdfast.algorithms import registry
from holdfast.core.contract import Transitions
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.data.dataset import Dataset
from holdfast.data.feed import buffer, sampler
from holdfast.data.feed.columns import Columns
from holdfast.environments import probes
from holdfast.environments.gym.collector import Collector, EnvironmentFailed, episode_seed
from holdfast.evaluation.evaluate import Evaluator
from holdfast.policy.storage import arrays_of
from holdfast.runs.checkpoints import Checkpoints
from holdfast.training.run import resume, train
from support.marks import quick
from support.small_runs import interrupt_step

TINY = {"hidden": (8, 8), "batch_size": 8, "warmup": 20}


class Slow:
    """The plain ring: a list that forgets its head."""

    def __init__(self, capacity):
        self.capacity, self.rows = capacity, []

    def add(self, rows):
        self.rows = (self.rows + list(rows))[-self.capacity :]


def numbered(values):
    """Rows that carry their number in every leaf."""
    spec = Spec((2,), 1)
    values = np.asarray(values, np.float32)
    row = buffer.blank_row(spec)
    return jax.tree.map(lambda x: np.broadcast_to(values.reshape(-1, *[1] * x.ndim), (len(values), *x.shape)), row)


@pytest.mark.parametrize("capacity", [1, 5, 8, 64])
def test_ring_equals_a_list_on_random_streams(capacity):
    rng = np.random.default_rng(capacity)
    ring, slow = buffer.empty(buffer.blank_row(Spec((2,), 1)), capacity), Slow(capacity)
    add = jax.jit(buffer.add)
    number = 1
    for _ in range(40):
        m = int(rng.integers(1, min(capacity, 4) + 1))
        keep = rng.random(m) < 0.7
        new = np.arange(number, number + m)
        number += m
        ring, _ = add(ring, numbered(new), keep), slow.add(new[keep])
        held = np.asarray(ring.rows.reward)[: int(ring.size)]
        assert int(ring.size) == len(slow.rows)
        assert sorted(held) == sorted(slow.rows)
        order = np.roll(np.asarray(ring.rows.reward), -int(ring.cursor))[-len(slow.rows) :] if slow.rows else []
        assert list(order) == slow.rows
        for leaf in jax.tree.leaves(ring.rows):
            assert np.array_equal(np.asarray(leaf).reshape(capacity, -1)[:, 0], np.asarray(ring.rows.reward))


def test_draws_come_from_the_filled_part_alone():
    ring = buffer.add(buffer.empty(buffer.blank_row(Spec((2,), 1)), 100), numbered([1, 2, 3]), np.ones(3, bool))
    batch = sampler.sample({"online": ring}, {"online": 1.0}, 400, Transitions(), Noise(jax.random.PRNGKey(0)))
    counts = np.bincount(np.asarray(batch.reward).astype(int), minlength=4)
    assert counts[0] == 0
    assert counts[1:].min() > 90  # 133 each, standard deviation 9


def test_a_mix_takes_its_share_of_each_source():
    ring = buffer.add(buffer.empty(buffer.blank_row(Spec((2,), 1)), 10), numbered([7, 7]), np.ones(2, bool))
    ones = np.ones(4, np.float32)
    obs, row, action = np.ones((5, 2), np.float32), np.arange(4, dtype=np.int32), np.ones((4, 1), np.float32)
    data = jax.tree.map(jnp.asarray, Columns(obs, row, action, ones, ones, ones))
    sources, mix = {"data": data, "online": ring}, {"data": 0.25, "online": 0.75}
    batch = sampler.sample(sources, mix, 8, Transitions(), Noise(jax.random.PRNGKey(0)))
    assert (np.asarray(batch.of("data").reward) == 1).all()
    assert (np.asarray(batch.of("online").reward) == 7).all()
    assert batch.of("data").reward.shape == (2,)


class Counting(gymnasium.Env):
    """Observes the number of its step and its seed's draw; ends truly after 5 steps, or by time after 3."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32)
    broken = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.draw, self.t = float(self.np_random.random()), 0
        self.short = self.draw < 0.5
        return np.array([self.draw, 0], np.float32), {}

    def step(self, action):
        if self.broken and self.t == 2:
            raise RuntimeError("the motor is hot")
        self.t += 1
        obs = np.array([self.draw, self.t], np.float32)
        return obs, float(action[0]), self.t == 5, self.short and self.t == 3, {}


def collector(seeds=(0, 1), n=2, kind=Counting):
    return Collector(kind, seeds, n, Spec((2,), 1))


def test_rows_follow_from_one_another_and_ends_are_kept_apart():
    c = collector()
    c.begin()
    for _ in range(30):
        before = c.obs.copy()
        rows = c.step(np.full((2, 2, 1), 0.5, np.float32))
        assert np.array_equal(rows.obs, before)
        assert (rows.next_obs[..., 1] == rows.obs[..., 1] + 1).all()  # also at its end
        assert np.array_equal(rows.next_obs[..., 0], rows.obs[..., 0])
        ended = rows.terminated | rows.truncated
        assert np.array_equal(rows.terminated, rows.next_obs[..., 1] == 5)
        assert np.array_equal(rows.truncated, (rows.obs[..., 0] < 0.5) & (rows.next_obs[..., 1] == 3))
        assert (c.obs[..., 1][ended] == 0).all()
        assert np.array_equal(c.start, ended)
    assert all(value == pytest.approx(0.5 * length) for _, value, length in c.take_finished())


def test_episodes_have_seeds_of_their_own():
    seeds = {episode_seed(s, e, k) for s in range(3) for e in range(3) for k in range(3)}
    assert len(seeds) == 27


def test_environments_are_found_as_they_were_left():
    one = collector()
    one.begin()
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (37, 2, 2, 1)).astype(np.float32)
    for action in actions[:20]:
        one.step(action)
    other = collector()
    other.restore(json.loads(json.dumps(one.log())))
    for action in actions[20:]:
        a, b = one.step(action), other.step(action)
        for x, y in zip(a, b, strict=True):
            assert (x is None and y is None) or np.array_equal(x, y)
    assert np.array_equal(one.returns, other.returns)


def test_a_failing_environment_names_seed_step_and_action():
    c = collector(seeds=(4,), n=1)
    c.begin()
    c.pool.envs[0].broken = True
    push = np.full((1, 1, 1), 0.5, np.float32)
    c.step(push)
    c.step(push)
    with pytest.raises(EnvironmentFailed, match=rf"seed {episode_seed(4, 0, 0)}, at step 2.*0\.5.*motor is hot"):
        c.step(push)


def files(run):
    found = {name: (run.path / name).read_bytes() for name in ("metrics.csv", "evaluations.csv")}
    return found | {"policies": [jax.tree.leaves(p.state) for p in run.policies()]}


def same(a, b):
    assert a["metrics.csv"] == b["metrics.csv"]
    assert a["evaluations.csv"] == b["evaluations.csv"]
    for x, y in zip(jax.tree.leaves(a["policies"]), jax.tree.leaves(b["policies"]), strict=True):
        assert np.array_equal(x, y)


CLOCKS = {"block": 40, "save_every": 40, "eval_every": 60}
SETTINGS = {"env": "Pendulum-v1", "steps": 120, "seeds": 2, "config": TINY, **CLOCKS}


class Counted(gymnasium.Wrapper):
    """Pendulum with episodes of ten steps."""

    def __init__(self):
        super().__init__(gymnasium.wrappers.TimeLimit(PendulumEnv(), 10))


@pytest.mark.slow
def test_a_run_stopped_while_collecting_resumes_to_the_same_bits(tmp_path, monkeypatch):
    whole = train("sac", out=tmp_path / "whole", eval_episodes=1, **SETTINGS)

    interrupt_step(monkeypatch, 70)
    with pytest.raises(KeyboardInterrupt):
        train("sac", out=tmp_path / "cut", eval_episodes=1, **SETTINGS)
    monkeypatch.undo()
    same(files(whole), files(resume(tmp_path / "cut")))


def test_updates_begin_after_the_warm_up_and_episodes_are_counted(tmp_path):
    clocks = {"steps": 46, "block": 23, "save_every": 23, "eval_every": 23}
    run = train("ddpg", env=Counted, config=TINY, out=tmp_path / "run", evaluate=False, **clocks)
    rows = (run.path / "metrics.csv").read_text().splitlines()
    header = rows[0].split(",")
    timing = (run.path / "timing.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in timing[1:]] == ["3", "23"]  # 20 steps at random bring no update
    assert [row.split(",")[header.index("collect/episodes")] for row in rows[1:]] == ["2.0", "2.0"]


@pytest.mark.slow
@pytest.mark.parametrize("name", quick((name for name in registry.names() if registry.get(name).online), "dqn", "sac"))
def test_every_algorithm_that_can_learns_in_an_environment_alone(name, tmp_path):
    algorithm = registry.get(name)
    probe = probes.get("trap" if "continuous" in algorithm.actions else "chain")
    fields = {f: (8,) for f in algorithm.Config.__dataclass_fields__ if f.endswith("hidden")}
    config = {**fields, "batch_size": 8, "warmup": 10}
    run = train(name, env=probe.env_id, steps=40, config=config, eval_episodes=1, block=20, out=tmp_path / "run")
    with (run.path / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    assert any(key.endswith("/loss") and value for key, value in table[-1].items())
    assert run.policy()(np.ones(probe.spec.obs, np.float32)).shape == probe.spec.action_shape


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "probe"), quick([("dqn", "chain"), ("td3", "trap"), ("ddpg", "trap"), ("sac", "trap")], "dqn")
)
def test_returns_of_several_steps_are_learned_from_offline_and_online(name, probe, tmp_path):
    probe = probes.get(probe)
    config = {"hidden": (8,), "batch_size": 8, "warmup": 10, "n_step": 3}
    bounds = {} if probe.spec.discrete else {"action_bounds": (-1.0, 1.0)}
    data = Dataset.from_arrays(**probes.collect(probe, 20), **bounds)
    settings = {"steps": 30, "block": 15, "evaluate": False}
    logged = train(name, data, config=config, out=tmp_path / "offline", **settings)
    collected = train(name, env=probe.env_id, config=config, out=tmp_path / "online", **settings)
    plain = train(name, data, config={**config, "n_step": 1}, out=tmp_path / "plain", **settings)
    assert files(logged)["metrics.csv"] != files(plain)["metrics.csv"]
    for run in (logged, collected):
        assert all(np.isfinite(np.asarray(x)).all() for x in files(run)["policies"][0])


@pytest.mark.parametrize("name", [n for n in registry.names() if registry.get(n).online or registry.get(n).finetune])
def test_the_ratio_of_updates_to_steps_is_a_setting(name):
    algorithm = registry.get(name)
    for phases in filter(None, (algorithm.online, algorithm.finetune)):
        if "update_every" in algorithm.Config.__dataclass_fields__:  # DQN's: steps an update
            ratio = [p.collect.every / p.collect.steps for p in phases(algorithm.Config(update_every=4)) if p.collect]
            assert ratio == [1 / 4]
            continue
        cfg = algorithm.Config(update_ratio=3)
        taken = [(p.needs or algorithm.needs(cfg)).batches * p.collect.every for p in phases(cfg) if p.collect]
        shared = 2 if name == "iql_concurrent" else 1  # its two learners draw a batch each
        assert taken == [3 * shared]


@pytest.mark.parametrize("name", quick(["dqn", "discrete_sac"], "dqn"))
def test_illegal_actions_are_never_taken(name, tmp_path):
    config = {"hidden": (8,), "batch_size": 8, "warmup": 20}
    # the environment raises where one is
    run = train(
        name, env="support.worlds:Masked-v0", steps=60, seeds=2, config=config, eval_episodes=3, out=tmp_path / "run"
    )
    assert run.policy(0).spec.masked


@pytest.mark.parametrize(
    ("algorithm", "settings", "message"),
    [
        ("iql", {"env": "Pendulum-v1"}, "iql learns from logged data only"),
        ("sac", {}, "nothing to learn from"),
        ("sac", {"env": "CartPole-v1"}, "sac needs continuous actions, CartPole-v1 has discrete ones"),
        ("sac", {"env": "Pendulum-v9"}, "Pendulum"),
        ("dqn", {"env": "Pendulum-v1"}, "dqn needs discrete actions.*: algae_dice, .*, td3$"),
        ("sac", {"env": "Pendulum-v1", "steps": 1000}, "before the first update of sac, .* 1000 random steps"),
        ("sac", {"env": "Pendulum-v1", "treatment": {"return_scale": 9.0}}, "--return-scale: .* logged data, but sac"),
        ("sac", {"env": "Pendulum-v1", "envs": -1}, "--envs is -1, expected at least 1"),
    ],
)
def test_what_cannot_be_learned_is_refused(algorithm, settings, message, tmp_path):
    with pytest.raises(UserError, match=message):
        train(algorithm, out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_evaluation_that_fails_loses_nothing(tmp_path, monkeypatch):
    play, calls = Evaluator.__call__, []

    def failing(self, *args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise UserError("environment Pendulum-v1 failed at step 3")
        return play(self, *args, **options)

    monkeypatch.setattr(Evaluator, "__call__", failing)
    settings = {"steps": 60, "block": 20, "eval_every": 20, "eval_episodes": 1, "save_every": 1000, "config": TINY}
    line = r"^environment Pendulum-v1 failed at step 3; everything up to step 40 is saved in .* --resume"
    with pytest.raises(UserError, match=line):
        train("sac", env="Pendulum-v1", out=tmp_path / "run", **settings)
    run = resume(tmp_path / "run")
    assert run.result["steps"] == 60
    with (run.path / "evaluations.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["20", "60"]


@pytest.mark.slow
def test_several_environments_a_replica_and_the_size_of_its_replay(tmp_path):
    """As many updates as one environment brings; the ring holds the newest rows, n of each step in turn."""
    settings = {"env": "Pendulum-v1", "steps": 60, "block": 20, "evaluate": False, "config": TINY}
    run = train("sac", envs=3, replay=30, out=tmp_path / "run", **settings)
    with (run.path / "timing.csv").open(newline="") as file:
        assert (
            sum(int(row["updates"]) for row in csv.DictReader(file)) == 39
        )  # 13 steps of all three after the 20 random ones
    saved = Checkpoints(run.path / "checkpoints").read()
    rewards = arrays_of(saved.data, saved.where)["rings.online.rows.reward"]
    assert rewards.shape == (1, 30)
    assert (rewards != 0).all()
