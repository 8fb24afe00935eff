"""A run that is killed and resumed leaves the same bits as one that never was."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast import Dataset, UserError
from holdfast.algorithms import registry
from holdfast.core.config import config
from holdfast.core.contract import Algorithm, Phase, Preset, Refreshed, Treatment
from holdfast.core.trained import Trained
from holdfast.core.tree import PyTree
from holdfast.parts import optimisers
from holdfast.runs.checkpoints import Checkpoints
from holdfast.training.hooks import Hook
from holdfast.training.run import resume, train
from support.small_runs import DATA, FLAGS, bits, checkpoint, require_same, rows, tiny

SWEPT = ["--seeds", "2", "--sweep", "actor-lr=1e-3,3e-3"]
CLOCKS = ["--steps", "600", "--block", "10", "--save-every", "30", "--eval-every", "100", "--eval-episodes", "2"]
CLOCKS += ["--overlap", "off"]  # with it, which older checkpoint is kept depends on the time


class Killed(BaseException):
    """The process is gone: nothing below may catch this."""


def holdfast(*arguments, cwd=None):
    command = [sys.executable, "-m", "holdfast", "train", *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def grown(folder) -> int:
    """Lines of metrics so far, -1 before there is a run."""
    try:
        return (folder / "metrics.csv").read_bytes().count(b"\n")
    except OSError:
        return -1


def kill_after(child, folder, lines, delay) -> bool:
    """SIGKILL the child once it has written `lines` lines, `delay` seconds later; False where it ended first."""
    since = time.monotonic()
    start = None
    while child.poll() is None and time.monotonic() - since < 120:
        here = grown(folder)
        # a resuming process first cuts the table back: that is its sign of life
        if (folder / "config.json").exists() and start is None and (folder / "checkpoints").exists():
            start = max(here, 0)
        if start is not None and (here < start or here >= start + lines):
            break
        time.sleep(0.001)
    time.sleep(delay)
    if child.poll() is not None:
        return False
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stderr.close()
    return True


@pytest.mark.slow
def test_sigkill_at_random_moments_leaves_the_bits_of_a_run_never_stopped(tmp_path):
    reference, killed = tmp_path / "reference" / "run", tmp_path / "killed" / "run"
    start = ["bc", "--data", DATA, *FLAGS, *SWEPT, *CLOCKS]
    whole = holdfast(*start, "--out", reference)
    assert whole.wait() == 0, whole.stderr.read()
    whole.stderr.close()
    rng = np.random.default_rng(7)
    child, kills, seen = holdfast(*start, "--out", killed), 0, set()
    while kills < 10:
        alive = kill_after(child, killed, lines=4 * int(rng.integers(0, 9)), delay=float(rng.uniform(0, 0.15)))
        if not alive:  # it came to its end before the kill: begin again
            assert child.wait() == 0, child.stderr.read()
            child.stderr.close()
            require_same(killed, reference)
            shutil.rmtree(killed)
            child = holdfast(*start, "--out", killed)
            continue
        kills += 1
        seen.add(Checkpoints(killed / "checkpoints").latest())
        child = holdfast("--resume", killed, cwd=tmp_path)
    assert child.wait() == 0, child.stderr.read()
    child.stderr.close()
    assert len(seen) > 2  # the kills were spread over the run
    result = json.loads((killed / "result.json").read_text())
    assert result["updates_per_second"] > 0
    require_same(killed, reference)
    counted = [(r["step"], r["replica"]) for r in rows(killed / "metrics.csv")]
    assert len(counted) == len(set(counted)) == 4 * 60
    assert not list(killed.rglob(".aside-*"))


def renames(monkeypatch, die_at=None, after=False):
    """Count renames (every file of a run is put in place by one) and die at the given one."""
    real, count = os.replace, [0]

    def replace(source, target, **given):
        count[0] += 1
        if count[0] == die_at and not after:
            raise Killed
        real(source, target, **given)
        if count[0] == die_at:
            raise Killed

    monkeypatch.setattr(os, "replace", replace)
    return count


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what dies leaves files open
def test_death_around_any_rename_loses_nothing(tmp_path, monkeypatch):
    settings = {"steps": 4, "block": 2, "eval_every": 2}
    with monkeypatch.context() as patch:
        count = renames(patch)
        tiny(tmp_path / "whole" / "run", **settings)
    assert count[0] > 14
    whole = bits(tmp_path / "whole" / "run")
    for n in range(1, count[0] + 1, 2):
        run = tmp_path / f"{n}" / "run"
        with monkeypatch.context() as patch:
            renames(patch, n, after=n % 4 == 3)
            with pytest.raises(Killed):
                tiny(run, **settings)
        if n == 1:  # not even the settings were written: the same command starts it again
            tiny(run, **settings)
        else:
            resume(run)
        assert bits(run) == whole, f"dead at rename {n}"
        assert not list(run.rglob(".aside-*")), f"dead at rename {n}"
        shutil.rmtree(run)


class Dies(Hook):
    """Dies in the n-th event of a kind."""

    def __init__(self, event, n):
        self.event, self.left = event, n

    def _count(self, event):
        if event == self.event:
            self.left -= 1
            if not self.left:
                raise Killed

    def start(self, start):
        self._count("start")

    def block(self, block):
        self._count("block")

    def evaluated(self, evaluated):
        self._count("evaluated")


def killed_in(event, n, run, **settings):
    with pytest.raises(Killed):
        tiny(run, hooks=[Dies(event, n)], **settings)


def test_finished_run_gives_its_result(tmp_path):
    run = tiny(tmp_path / "run", evaluate=False)
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*")}
    assert resume(run.path).result == run.result
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*")} == before


def test_rows_written_after_the_last_checkpoint_come_once(tmp_path):
    settings = {"steps": 12, "block": 2, "save_every": 6, "eval_every": 4}
    tiny(tmp_path / "whole" / "run", **settings)
    run = tmp_path / "killed" / "run"
    killed_in("block", 5, run, **settings)
    assert [r["step"] for r in rows(run / "metrics.csv")] == ["2", "4", "6", "8", "10"]
    with (run / "metrics.csv").open("a") as file:
        file.write("12,offline,se")  # torn in the middle
    resume(run)
    require_same(run, tmp_path / "whole" / "run")


def test_resume_from_another_folder_with_data_named_relatively(tmp_path, monkeypatch):
    from holdfast import load_dataset
    from holdfast.data.convert import convert

    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    convert(load_dataset(DATA).select(range(5)), "log.npz")
    killed_in("block", 2, "run", data="log.npz", evaluate=False)
    monkeypatch.chdir(tmp_path / "a" / "b")
    resume(tmp_path / "a" / "run")
    monkeypatch.chdir(tmp_path / "a")
    tiny("whole", data="log.npz", evaluate=False)
    assert checkpoint("run") == checkpoint("whole")


def test_resume_refuses(tmp_path):
    run = tmp_path / "run"
    killed_in("block", 2, run, evaluate=False)
    with pytest.raises(UserError, match="trains bc, not iql"):
        resume(run, algorithm="iql")
    with pytest.raises(UserError, match="is not a run folder"):
        resume(tmp_path)
    with pytest.raises(UserError, match="is not a run folder"):
        resume(tmp_path / "nowhere")
    kept = (run / "config.json").read_text()
    for text in ("[]", "{", '{"format": 1}', '{"format": 99}', kept.replace('"steps": 8', '"steps": "8"')):
        (run / "config.json").write_text(text)
        with pytest.raises(UserError) as caught:
            resume(run)
        assert "\n" not in str(caught.value)
        assert "config.json" in str(caught.value)


def log(n=40, shift=0.0):
    rng = np.random.default_rng(3)
    episodes = []
    for _ in range(n // 10):
        obs = np.cumsum(rng.normal(size=(11, 3)), 0).astype(np.float32) + shift
        ends = np.arange(10) == 9
        step = {"actions": rng.uniform(-0.9, 0.9, (10, 2)).astype(np.float32), "rewards": rng.normal(size=10)}
        episodes.append({"observations": obs, **step, "terminations": ends & False, "truncations": ends})
    return Dataset.from_episodes(episodes)


def test_resume_refuses_other_data(tmp_path):
    run = tmp_path / "run"
    killed_in("block", 2, run, data=log(), evaluate=False)
    before = (run / "metrics.csv").read_bytes()
    with pytest.raises(UserError, match="has changed since"):
        resume(run, data=log(shift=1e-3))
    assert (run / "metrics.csv").read_bytes() == before
    assert resume(run, data=log()).result["steps"] == 8


def test_resume_of_a_run_on_data_in_memory_says_how(tmp_path):
    run = tmp_path / "run"
    killed_in("block", 2, run, data=log(), evaluate=False)
    with pytest.raises(UserError, match=r"in memory.*resume.*data="):
        resume(run)


def test_damaged_checkpoint_names_the_older_one(tmp_path):
    run = tmp_path / "run"
    settings = {"steps": 12, "block": 2, "save_every": 4, "evaluate": False}
    killed_in("block", 6, run, **settings)
    newest = Checkpoints(run / "checkpoints")
    assert newest.steps() == [4, 8]
    file = next((run / "checkpoints").glob("step-000000008-*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    before = (run / "metrics.csv").read_bytes()
    with pytest.raises(UserError, match=r"damaged.*checkpoint of step 4, delete .*step-000000008.json") as caught:
        resume(run)
    assert "\n" not in str(caught.value)
    assert (run / "metrics.csv").read_bytes() == before
    (run / "checkpoints" / "step-000000008.json").unlink()  # what it says
    resume(run)
    tiny(tmp_path / "whole", **settings)
    assert checkpoint(run) == checkpoint(tmp_path / "whole")
    assert (run / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_table_that_lost_rows_is_refused(tmp_path):
    run = tmp_path / "run"
    killed_in("block", 2, run, evaluate=False)
    (run / "metrics.csv").write_text("step\n")
    with pytest.raises(UserError, match=r"metrics.csv is not what the checkpoint left"):
        resume(run)
    (run / "metrics.csv").unlink()
    with pytest.raises(UserError, match=r"cannot read .*metrics.csv"):
        resume(run)


# an algorithm in three phases


@config
class Toy:
    rate: float = 0.05
    patience: float = 3.0  # refreshes of the first phase before it stops
    batch_size: int = 8


class First(PyTree):
    actor: Trained
    best: jax.Array  # holdout loss
    looks: jax.Array


class Second(PyTree):
    actor: Trained
    frozen: jax.Array


def toy_loss(w, obs, action):
    return ((jnp.tanh(obs @ w) - action) ** 2).mean(), {}


def toy_init(cfg, ctx, noise):
    w = 0.1 * noise.normal("w", (ctx.spec.obs[0], ctx.spec.action))
    # weakly typed leaves on purpose: a checkpoint forgets that
    return First(Trained.new(w, optimisers.adam(cfg.rate)), jnp.asarray(jnp.inf), jnp.asarray(0))


def toy_warm(cfg, state, batch, noise, step):
    action = batch.action + 0.01 * noise.normal("blur", batch.action.shape)
    actor, found = state.actor.step(optimisers.adam(cfg.rate), toy_loss, batch.obs, action, name="warm")
    return First(actor, state.best, state.looks), found


def toy_look(cfg, state, sources, ctx, noise, step):
    view = sources["holdout"]
    at = view.columns.row[view.index]
    loss = toy_loss(state.actor.net, view.columns.obs[at], view.columns.action[view.index])[0]
    loss = loss + 1e-3 * noise.uniform("jitter", ())
    state = First(state.actor, jnp.minimum(state.best, loss), state.looks + 1)
    return Refreshed(state, metrics={"holdout/loss": loss})


def toy_enter(cfg, state, ctx, noise):
    w = state.actor.net + 0.01 * noise.normal("kick", state.actor.net.shape)
    return Second(Trained.new(w, optimisers.adam(cfg.rate)), state.best)


def toy_update(cfg, state, batch, noise, step):
    actor, found = state.actor.step(optimisers.adam(cfg.rate), toy_loss, batch.obs, batch.action, name="main")
    return Second(actor, state.frozen), found


def toy_tail(cfg, state, batch, noise, step):
    state, found = toy_update(cfg, state, batch, noise, step)
    return state, {"tail/" + name.partition("/")[2]: value for name, value in found.items()}


def toy_phases(cfg):
    return (
        Phase("warm", steps=24, update=toy_warm, split={"train": 0.8, "holdout": 0.2}, mix={"train": 1.0}, batch_size=4,
              refresh=toy_look, every=3, until=lambda cfg, state: state.looks >= cfg.patience),
        Phase("main", enter=toy_enter),
        Phase("tail", steps=5, update=toy_tail),
    )  # fmt: skip


def toy_act(cfg, state, seen, memory, noise, mode):
    return jnp.tanh(seen.obs @ state.actor.net), memory


TOY = Algorithm(
    "toy", Toy, toy_init, toy_update, toy_act, {"only": Preset(Toy(), Treatment(), "here")}, phases=toy_phases
)
PHASED = {"steps": 10, "block": 4, "eval_every": 7, "config": {}, "sweep": {"patience": [2.0, 5.0]}}


@pytest.fixture
def toy(monkeypatch):
    real = registry.get
    monkeypatch.setattr(registry, "get", lambda name: TOY if name == "toy" else real(name))
    return "toy"


class States(Hook):
    """The newest checkpoint at each block, as arrays by step."""

    def __init__(self):
        self.seen = {}

    def start(self, start):
        self.folder = start.folder

    def block(self, block):
        found = self.folder.checkpoints
        if found.latest() is not None:
            self.seen[found.latest()] = checkpoint(self.folder.path)


def test_phases_freeze_and_refresh(tmp_path, toy):
    states = States()
    run = tiny(tmp_path / "run", toy, hooks=[states], save_every=1, evaluate=False, **PHASED)
    table = rows(run.path / "metrics.csv")
    # a block is one update here (checkpoints), looks come at 0, 3, 6 ...: patience 2 stops at 3, patience 5 at 12
    assert run.result["steps"] == 12 + 10 + 5
    warm = {
        name: [r for r in table if r["phase"] == "warm" and r["replica"] == name] for name in run.result["replicas"]
    }
    early, late = warm["patience-2-seed-0"], warm["patience-5-seed-0"]
    assert [bool(r["warm/loss"]) for r in early] == [True] * 3 + [False] * 9
    assert [bool(r["warm/loss"]) for r in late] == [True] * 12
    assert [r["step"] for r in late if r["holdout/loss"]] == ["3", "6", "9", "12"]
    assert [r["step"] for r in early if r["holdout/loss"]] == ["3"]
    assert {r["phase"] for r in table} == {"warm", "main", "tail"}
    assert all(r["main/loss"] and not r["warm/loss"] for r in table if r["phase"] == "main")

    def nets(step, replica):
        kind, shape, data = states.seen[step]["state.actor.net"]
        return np.frombuffer(data, kind).reshape(shape)[replica]

    for step in range(4, 12):
        np.testing.assert_array_equal(nets(step, 0), nets(3, 0))
        assert (nets(step, 1) != nets(3, 1)).any()
    assert run.policy(0).info["phase"] == 2
    assert np.isfinite(run.policy(1)(np.zeros(3, np.float32))).all()


@pytest.mark.slow
def test_phases_resume_anywhere(tmp_path, toy):
    whole = tiny(tmp_path / "whole" / "run", toy, **PHASED).path
    blocks = rows(whole / "timing.csv")
    assert {r["phase"] for r in blocks} == {"warm", "main", "tail"}
    for n in range(2, len(blocks) + 1, 3):
        run = tmp_path / str(n) / "run"
        killed_in("block", n, run, algorithm=toy, **PHASED)
        resume(run)
        require_same(run, whole)
    run = tmp_path / "often" / "run"
    killed_in("block", 1, run, algorithm=toy, **PHASED)
    for _ in range(3):
        with pytest.raises(Killed):
            resume(run, hooks=[Dies("block", 3)])
    resume(run)
    require_same(run, whole)


def test_train_refuses_a_folder_in_use(tmp_path):
    run = tiny(tmp_path / "run", evaluate=False)
    with pytest.raises(UserError, match="resume it with --resume"):
        tiny(run.path, evaluate=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="name another with --out"):
        train("bc", DATA, steps=1, out=tmp_path / "other")
