"""The plan of a run: everything that can be refused is refused here, and nothing is compiled or left open."""

import re
import types

import gymnasium
import jax
import pytest

from holdfast.algorithms import registry
from holdfast.core.config import to_dict
from holdfast.core.contract import Treatment
from holdfast.core.errors import UserError
from holdfast.runs.settings import Settings
from holdfast.training.plan.plan import plan
from support.small_runs import DATA

SMALL = {"hidden": [8], "batch_size": 8}


def settings(name="bc", data=DATA, steps=10, config=None, **given):
    """Settings as the command line makes them, from the algorithm's first preset."""
    preset = next(iter(registry.get(name).presets.values()))
    values = to_dict(preset.config)
    values |= {key: value for key, value in {**SMALL, **(config or {})}.items() if key in values}
    treatment = preset.treatment if data else Treatment()
    return Settings(name, data, steps, values, treatment._asdict(), **given)


@pytest.fixture
def nothing_is_compiled(monkeypatch):
    """Fails if the library calls or lowers a jitted function of its own. Only its shapes may be asked for."""
    real = jax.jit

    def traced_only(*given, **options):
        return types.SimpleNamespace(eval_shape=real(*given, **options).eval_shape)

    monkeypatch.setattr(jax, "jit", traced_only)


@pytest.fixture
def opened(monkeypatch):
    """Environments that were made and not closed."""
    real = gymnasium.make
    still: list = []

    def make(*given, **options):
        env = real(*given, **options)
        close = env.close
        still.append(env)

        def closed():
            still.remove(env)
            close()

        env.close = closed
        return env

    monkeypatch.setattr(gymnasium, "make", make)
    return still


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("iql", {"seeds": 2}),
        ("td3_bc", {"seeds": 2, "sweep": {"alpha": [1.0, 2.5]}}),
        ("sac", {"data": None, "env": "Pendulum-v1", "config": {"warmup": 4}}),
    ],
)
def test_a_plan_compiles_nothing_and_closes_its_environments(name, given, nothing_is_compiled, opened):
    made = plan(settings(name, **given))
    assert opened == []
    text = made.describe()
    assert all(program.compiling.seconds == 0 for program in made.programs)
    assert name in text
    assert made.evaluator is not None
    assert len(made.replicas) == (4 if "sweep" in given else given.get("seeds", 1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "--steps is 0"),
        ({"loggers": ["tensorbord"]}, "did you mean 'tensorboard'"),
        ({"env": "CartPole-v1"}, "CartPole-v1"),
        ({"env": "Pendulum-v9"}, "Pendulum"),
        ({"data": "bundled/pendulum-mixt"}, "pendulum-mixed"),
        ({"sweep": {"batch_size": [1.0]}}, "--sweep batch_size"),
        ({"name": "dqn"}, "dqn needs discrete actions"),
        ({"name": "sac", "data": None}, "nothing to learn from"),
        ({"name": "sac", "data": None, "env": "Pendulum-v1", "steps": 10}, "ends before the first update of sac"),
        ({"name": "iql", "data": None, "env": "Pendulum-v1"}, "iql learns from logged data only"),
        ({"name": "iql", "growing": 1e6}, "--growing"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_compiled(given, message, nothing_is_compiled, opened):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        plan(settings(**given))
    assert "\n" not in str(caught.value)
    assert opened == []


def test_a_plan_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan(settings(loggers=["tensorboard"])).describe()
    assert list(tmp_path.iterdir()) == []


def test_the_description_of_an_offline_run():
    made = plan(settings("iql", steps=300, seeds=2, block=50, evaluate=False))
    text = made.describe()
    lines = dict(line.split(maxsplit=1) for line in text.splitlines() if not line.startswith(" "))
    assert lines["algorithm"].startswith("iql")
    assert f"{made.task.steps:,} rows in {made.task.episodes:,} episodes" in lines["data"]
    assert "seed-0, seed-1" in lines["replicas"]
    assert lines["evaluation"] == "none"
    (phase,) = [line for line in text.splitlines() if line.startswith("phase 1")]
    assert "300 updates" in phase
    assert "batches of 8" in phase
    # the state of one replica, counted independently
    carry = made.shapes()[0]
    count = sum(x.size // len(made.replicas) for x in jax.tree.leaves(carry.state))
    assert f"{count:,} numbers" in text
    held = sum(x.nbytes for x in jax.tree.leaves(made.programs[0].ctx.data))
    assert f"{held / 1024:.4g} KiB" in text or f"{held / 1024**2:.4g} MiB" in text


def test_the_description_of_an_online_run():
    made = plan(settings("sac", None, steps=200, env="Pendulum-v1", envs=2, replay=50, config={"warmup": 4}))
    text = made.describe()
    assert "200 environment steps" in text
    assert "2 environment(s)" in text
    assert "after 4 random steps" in text
    assert "10 episodes for each replica, every 20 steps" in text


def test_clocks():
    made = plan(settings(steps=100, block=30, save_every=40, eval_every=50))
    (phase,) = made.phases
    assert [made.due(phase, 0, lo) for lo in (0, 30, 40, 50, 90)] == [30, 40, 50, 60, 100]
    assert made.due(phase, 10, 0) == 20  # clocks count the steps of the whole run
    assert made.steps == 100
    assert made.save_interval == 40
