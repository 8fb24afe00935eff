"""Environments in worker processes, and environments that die, hang, fail or do not repeat themselves."""

import json
import os
import signal
import time

import numpy as np
import pytest

import holdfast.environments.gym.workers as workers_of
from holdfast.collection.behaviours import uniform
from holdfast.collection.play import collect
from holdfast.core.errors import UserError
from holdfast.core.spec import Spec
from holdfast.environments.gym.adapter import make_env
from holdfast.environments.gym.collector import Collector, EnvironmentFailed, episode_seed
from holdfast.environments.gym.env_pool import Outcome, Shape
from holdfast.environments.gym.timed import env_for_spaces
from holdfast.environments.gym.worker import from_outcomes, outcomes, pack, unpack
from holdfast.environments.gym.workers import Workers
from holdfast.evaluation.evaluate import evaluate
from holdfast.training.run import resume, train
from support.small_runs import require_same, rows

SPEC = Spec((2,), 1)


def odd(**how) -> str:
    return json.dumps({"id": "support.worlds:Odd-v0", "kwargs": how})


@pytest.fixture
def team():
    """Collectors of environments in processes, closed at the end."""
    made = []

    def make(env, seeds=(0, 1), n=2, processes=2, timeout=20.0, spec=SPEC):
        slots = Workers(env, len(seeds) * n, Shape(spec.discrete, spec.action), processes, timeout)
        made.append(Collector(None, seeds, n, spec, slots))
        return made[-1]

    yield make
    for collector in made:
        collector.close()


def actions(steps, seeds=2, n=2):
    return np.random.default_rng(0).uniform(-1, 1, (steps, seeds, n, 1)).astype(np.float32)


def same_steps(one, other, given):
    for action in given:
        a, b = one.step(action), other.step(action)
        for x, y in zip(a, b, strict=True):
            assert (x is None) == (y is None)
            assert x is None or (np.array_equal(x, y) and x.dtype == y.dtype)
    assert np.array_equal(one.obs, other.obs)
    assert np.array_equal(one.start, other.start)
    assert one.take_finished() == other.take_finished()


def local(env, seeds=(0, 1), n=2, spec=SPEC):
    return Collector(lambda: make_env(env), seeds, n, spec)


@pytest.mark.parametrize("processes", [1, 3])
def test_workers_give_the_steps_of_local_environments(team, processes):
    ours, theirs = local(odd()), team(odd(), processes=processes)
    ours.begin()
    theirs.begin()
    same_steps(ours, theirs, actions(30))
    assert theirs.exact
    again = team(odd(), processes=2)
    assert again.restore(json.loads(json.dumps(theirs.log())))
    same_steps(ours, again, actions(10))


def test_masks_travel(team):
    spec = Spec((1,), 3, discrete=True, masked=True)
    ours, theirs = local("support.worlds:Masked-v0", spec=spec), team("support.worlds:Masked-v0", spec=spec)
    ours.begin()
    theirs.begin()
    for _ in range(9):
        assert np.array_equal(ours.mask, theirs.mask)
        legal = ours.mask.argmax(-1)
        a, b = ours.step(legal), theirs.step(legal)
        assert np.array_equal(a.next_mask, b.next_mask)
        assert np.array_equal(a.next_obs, b.next_obs)


def test_no_worker_imports_jax(team):
    found = team("support.worlds:NoJax-v0", seeds=(0,), n=1)
    found.begin()
    assert found.step(np.zeros((1, 1, 1), np.float32)).reward.tolist() == [[0.0]]


def test_a_worker_that_dies_once_is_replaced_and_nothing_else_changes(team, tmp_path):
    fuse = tmp_path / "fuse"
    ours, theirs = local(odd()), team(odd(how="die", fuse=str(fuse)))
    ours.begin()
    theirs.begin()
    same_steps(ours, theirs, actions(4))
    fuse.touch()
    same_steps(ours, theirs, actions(20))
    assert not fuse.exists()
    assert sum(theirs.pool.restarts) == 1
    assert theirs.exact


def test_a_worker_killed_from_outside_between_steps_is_replaced(team):
    ours, theirs = local(odd()), team(odd())
    ours.begin()
    theirs.begin()
    same_steps(ours, theirs, actions(4))
    for process in theirs.pool.processes:
        os.kill(process.pid, signal.SIGKILL)
    same_steps(ours, theirs, actions(12))
    assert theirs.pool.restarts == [1, 1]


def test_a_worker_that_hangs_is_replaced(team, tmp_path):
    fuse = tmp_path / "fuse"
    ours, theirs = local(odd()), team(odd(how="hang", fuse=str(fuse)), timeout=3.0)
    ours.begin()
    theirs.begin()
    fuse.touch()
    same_steps(ours, theirs, actions(8))
    assert sum(theirs.pool.restarts) == 1


@pytest.mark.slow
def test_starting_and_replaying_take_longer_than_a_step_may(team):
    ours, theirs = local(odd(), (1,), 1), team(odd(how="slow"), (1,), 1, timeout=1.0)
    ours.begin()
    theirs.begin()
    given = actions(6, 1, 1)
    same_steps(ours, theirs, given[:4])
    assert len(theirs.actions[0]) == 4  # the replay takes 1.4 seconds
    theirs.pool.processes[0].kill()
    same_steps(ours, theirs, given[4:])
    assert theirs.pool.restarts[0] >= 1
    assert theirs.exact


def test_a_worker_that_keeps_dying_is_reported_in_one_line(team, tmp_path, monkeypatch):
    monkeypatch.setattr(workers_of, "IN_A_ROW", 1)
    fuse = tmp_path / "fuse"
    found = team(odd(how="die", fuse=str(fuse), again=True), seeds=(4,), n=1)
    found.begin()
    push = np.full((1, 1, 1), 0.5, np.float32)
    found.step(push)
    found.step(push)
    fuse.touch()
    line = rf"seed {episode_seed(4, 0, 0)}, at step 2, got the action \[0.5\].*killed by signal 9, 2 times in a row"
    with pytest.raises(EnvironmentFailed, match=line):
        found.step(push)


def test_errors_of_the_environment_are_reported(team):
    found = team(odd(how="raise"))
    found.begin()
    for action in actions(2):
        found.step(action)
    with pytest.raises(EnvironmentFailed, match=r"failed on the action \[.*motor is hot"):
        found.step(actions(1)[0])
    with pytest.raises(UserError, match="unknown environment 'Nothing-v0'"):
        Workers("Nothing-v0", 1, Shape(False, 1), 1, 5.0)


def test_no_process_outlives_its_run(team):
    found = team(odd())
    pids = [process.pid for process in found.pool.processes]
    found.close()
    assert not any(os.path.exists(f"/proc/{pid}/exe") for pid in pids)


def test_a_step_that_fails_in_one_environment_happens_in_none():
    found = local(odd(how="raise", fuse="/nonexistent"))
    found.begin()
    for action in actions(3):
        found.step(action)
    before = json.dumps(found.log())
    found.pool.envs[2].step = lambda action: (_ for _ in ()).throw(RuntimeError("now"))
    with pytest.raises(EnvironmentFailed, match="now"):
        found.step(actions(1)[0])
    assert json.dumps(found.log()) == before


def test_an_observation_of_another_shape_is_refused():
    found = local(odd())
    found.begin()
    step = found.pool.envs[1].step
    found.pool.envs[1].step = lambda action: (np.zeros(3, np.float32), *step(action)[1:])
    with pytest.raises(EnvironmentFailed, match=r"gave an observation of shape \(3,\), expected \(2,\), for the act"):
        found.step(actions(1)[0])


def test_an_environment_that_is_not_deterministic_is_detected():
    steady, drifting = local(odd()), local(odd(how="drift"))
    steady.begin()
    assert steady.exact
    drifting.begin()
    assert not drifting.exact
    for action in actions(4):
        drifting.step(action)
    log = json.loads(json.dumps(drifting.log()))
    again = local(odd(how="drift"))
    assert not again.restore(log)
    again.step(actions(1)[0])


def test_messages_are_read_as_they_were_written():
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T, "b": np.zeros((0, 2)), "c": np.array([True, False])}
    head, found = unpack(pack({"x": [1, "two"]}, arrays))
    assert head == {"x": [1, "two"]}
    for name, x in arrays.items():
        np.testing.assert_array_equal(found[name], x)
        assert found[name].dtype == x.dtype
    one = Outcome(np.ones(2), 0.1, False, True, None, np.zeros(2), np.array([True]))
    other = Outcome(np.ones(2), 0.2, False, False, np.array([False]))
    for a, b in zip(from_outcomes(unpack(pack({}, outcomes([one, other])))[1]), (one, other), strict=True):
        for x, y in zip(a, b, strict=True):
            assert (x is None) == (y is None)
            assert x is None or np.array_equal(x, y)


CONFIG = {"hidden": (8,), "batch_size": 8, "warmup": 10}
SETTINGS = {"steps": 40, "config": CONFIG, "evaluate": False, "block": 15, "save_every": 15}


def test_a_crash_ends_the_run_with_everything_saved_and_the_run_resumes(tmp_path):
    fuse = tmp_path / "fuse"
    env = odd(how="raise", fuse=str(fuse), again=True)
    whole = train("ddpg", env=env, out=tmp_path / "whole" / "run", **SETTINGS)
    assert whole.result["exact"] == "exact"
    fuse.touch()
    out = tmp_path / "cut" / "run"
    with pytest.raises(EnvironmentFailed, match=r"at step 2, .*motor is hot; everything up to step 2 is saved in"):
        train("ddpg", env=env, out=out, **SETTINGS)
    fuse.unlink()
    with pytest.raises(UserError, match=r"config.json names .* --trust"):
        resume(out)  # only a person may name modules and files
    resume(out, trust=True)
    policies = [[np.asarray(x) for x in _leaves(run)] for run in (tmp_path / "whole" / "run", out)]
    for x, y in zip(*policies, strict=True):
        assert np.array_equal(x, y)
    assert [row["step"] for row in rows(out / "metrics.csv")] == ["2", "15", "30", "40"]


def _leaves(path):
    import jax

    from holdfast.policy.policy import Policy

    return jax.tree.leaves(Policy.load(path / "policy").state)


def test_a_run_with_workers_equals_the_run_without(tmp_path):
    ours = train("ddpg", env=odd(), out=tmp_path / "a" / "run", **SETTINGS)
    theirs = train("ddpg", env=odd(), out=tmp_path / "b" / "run", workers=2, **SETTINGS)
    for run in (ours, theirs):  # the number of workers is all that differs
        for name in ("config.json", "result.json"):
            text = (run.path / name).read_text().replace('"workers": 2', '"workers": 0')
            (run.path / name).write_text(text)
    require_same(ours.path, theirs.path)


@pytest.mark.slow
def test_evaluations_in_workers_equal_those_in_this_process(tmp_path):
    fuse = tmp_path / "fuse"
    policy = train("ddpg", env=odd(), out=tmp_path / "run", **SETTINGS).policy()
    ours = evaluate(policy, odd(), episodes=25)
    fuse.touch()
    theirs = evaluate(policy, odd(how="die", fuse=str(fuse)), episodes=25, workers=3)
    assert not fuse.exists()
    for name in ("returns", "lengths", "seeds"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))
    assert set(ours.lengths[0].tolist()) == {3, 5}
    line = r"Odd-v0 failed on the action \[.*motor is hot, at step 2 of the episode with seed \d+"
    with pytest.raises(UserError, match=line):
        evaluate(policy, odd(how="raise"), workers=2)
    for workers in (-1, 2):
        with pytest.raises(UserError, match="expected at least 1, and more than 0 s"):
            evaluate(policy, odd(), workers=workers, worker_timeout=float(workers < 0))


def test_logs_made_in_workers_equal_those_made_in_this_process(tmp_path):
    fuse = tmp_path / "fuse"
    ours = collect(odd(), uniform(), steps=40)
    fuse.touch()
    theirs = collect(odd(how="die", fuse=str(fuse)), uniform(), steps=40, workers=2)
    assert not fuse.exists()
    for name in ("observations", "actions", "rewards", "terminations", "truncations", "offsets"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))


def test_a_nondeterministic_environment_is_recorded_in_the_result(tmp_path):
    found = train("ddpg", env=odd(how="drift"), out=tmp_path / "run", **SETTINGS)
    assert found.result["exact"] == "exact except the environment"


def test_nan_observations_stop_the_run(tmp_path):
    with pytest.raises(EnvironmentFailed, match=r"at step 2, gave an observation that is not finite for the act"):
        train("ddpg", env=odd(how="nan"), out=tmp_path / "run", **SETTINGS)
    assert (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"workers": -1}, "--workers is -1, expected at least 0"), ({"worker_timeout": 0.0}, "--worker-timeout is 0.0")],
)
def test_settings_of_workers_are_checked(settings, message, tmp_path):
    with pytest.raises(UserError, match=message):
        train("ddpg", env="Pendulum-v1", out=tmp_path / "run", **settings)


def test_a_worker_whose_run_is_killed_ends_too(tmp_path):
    import subprocess
    import sys

    code = (
        "import time; from holdfast.environments.gym.workers import Workers\n"
        "from holdfast.environments.gym.env_pool import Shape\n"
        f"w = Workers({odd()!r}, 2, Shape(False, 1), 2, 20.0); print(*[p.pid for p in w.processes], flush=True)\n"
        "time.sleep(1000)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environ)
    pids = [int(pid) for pid in child.stdout.readline().split()]
    assert len(pids) == 2
    child.kill()
    child.wait()
    child.stdout.close()
    since = time.monotonic()
    while any(os.path.exists(f"/proc/{pid}/exe") for pid in pids) and time.monotonic() - since < 20:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{pid}/exe") for pid in pids)


FAULTS = [("exit", r"called sys.exit\(3\)"), ("none", "not an array of numbers"), ("objects", "not an array")]


@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize(("how", "what"), FAULTS)
def test_faults_that_are_not_exceptions_get_a_line(team, how, what, processes):
    ours = team(odd(how=how), processes=processes) if processes else local(odd(how=how))
    for k in range(4):
        ours._reset(k)
    first, second, third = actions(3)
    ours.step(first)
    ours.step(second)
    with pytest.raises(EnvironmentFailed, match=what) as failed:
        ours.step(third)
    assert "\n" not in str(failed.value)


def test_constructor_that_hangs_falls_under_the_time_limit(monkeypatch):
    monkeypatch.setattr(workers_of, "STARTING", 0.3)
    with pytest.raises(UserError, match=r"was not made within 0.3 s"):
        env_for_spaces(odd(how="stuck"), workers=1, timeout=0.2)
    with pytest.raises(UserError, match="was not made within"):
        train("ddpg", env=odd(how="stuck"), steps=10, workers=1, worker_timeout=0.2)


def test_constructor_that_exits_gets_a_line():
    for workers in (0, 1):
        with pytest.raises(UserError, match=r"cannot be made: it called sys.exit\('no licence'\)"):
            env_for_spaces(odd(how="ends"), workers)
