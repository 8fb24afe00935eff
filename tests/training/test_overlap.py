"""Evaluations that play while the run trains change no bit of it."""

import os
import signal
import threading

import jax
import pytest

from holdfast import finetune
from holdfast.core.errors import Stopped, UserError
from holdfast.evaluation.evaluate import Evaluator
from holdfast.runs.checkpoints import Checkpoints
from holdfast.runs.settings import Settings
from holdfast.training import overlap
from holdfast.training.hooks import Hook
from holdfast.training.overlap import Cancelled, Player
from holdfast.training.run import resume
from holdfast.training.stopping import watching
from support.small_runs import bits, rows, tiny

CLOCKS = {"steps": 12, "block": 2, "eval_every": 4, "seeds": 2}
FINETUNED = {"steps": 40, "block": 10, "save_every": 10, "eval_every": 20, "eval_episodes": 1}


class Held(Hook):
    """Lets one evaluation end at each of the given blocks, and notes what happens in which thread."""

    def __init__(self, monkeypatch, *steps, fails=0):
        self.steps = steps
        self.fails = fails  # the number of the evaluation that fails
        self.open = threading.Semaphore(0)  # evaluations that may end
        self.seen = []
        self.threads = set()
        self.played = 0
        real = Evaluator.__call__

        def call(evaluator, *given, before_step=None, **options):
            self.threads.add(threading.current_thread())
            self.played += 1
            number = self.played
            while not self.open.acquire(timeout=0.01):
                before_step()
            if number == self.fails:
                raise UserError("environment Pendulum-v1 failed at step 3")
            return real(evaluator, *given, before_step=before_step, **options)

        monkeypatch.setattr(Evaluator, "__call__", call)

    def block(self, block):
        self.seen.append(("block", block.step))
        for _ in range(self.steps.count(block.step)):
            self.open.release()

    def evaluated(self, evaluated):
        assert threading.current_thread() is threading.main_thread()
        self.seen.append(("evaluated", evaluated.step))


class At(Hook):
    """Does something at a block."""

    def __init__(self, step, action):
        self.step = step
        self.action = action

    def block(self, block):
        if block.step == self.step:
            self.action()


class Killed(BaseException):
    """The process is gone."""


def killed():
    raise Killed


def terminated():
    os.kill(os.getpid(), signal.SIGTERM)


def require_equal(run, reference):
    """The same bits, except for the setting itself and for which of the older checkpoints are kept."""
    one, other = bits(run), bits(reference)
    for found in (one, other):
        found["result"]["config"].pop("overlap")
        found["checkpoints"] = found["checkpoints"][max(found["checkpoints"])]
    for name in one:
        assert one[name] == other[name], name


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run without overlap."""
    return tiny(tmp_path_factory.mktemp("whole") / "run", overlap="off", keep_policies=True, **CLOCKS).path


def overlapped(out, hooks=()):
    return tiny(out, overlap="on", keep_policies=True, hooks=hooks, **CLOCKS)


def test_files_are_those_of_a_run_without_overlap(tmp_path, monkeypatch, whole):
    held = Held(monkeypatch, 6, 12, 12)
    run = overlapped(tmp_path / "run", [held]).path
    # the first ends at block 6, and the second is waited for before the last one
    assert held.seen.index(("block", 6)) < held.seen.index(("evaluated", 4))
    assert held.seen.index(("block", 10)) < held.seen.index(("evaluated", 8)) < held.seen.index(("evaluated", 12))
    assert len(held.threads) == 1
    assert threading.main_thread() not in held.threads
    require_equal(run, whole)


def test_killed_while_an_evaluation_plays(tmp_path, monkeypatch, whole):
    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        overlapped(run, [Held(patch), At(8, killed)])
    assert Checkpoints(run / "checkpoints").latest() == 4  # none that would leave the evaluation out
    assert rows(run / "evaluations.csv") == []
    require_equal(resume(run).path, whole)


def test_signal_while_an_evaluation_plays(tmp_path, monkeypatch, whole):
    run = tmp_path / "run"
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with (
            monkeypatch.context() as patch,
            pytest.raises(Stopped, match=r"checkpoint of step 4 is kept in .*--resume"),
            watching(signal.SIGTERM),
        ):
            overlapped(run, [Held(patch), At(6, terminated)])
    finally:
        signal.signal(signal.SIGTERM, before)
    require_equal(resume(run).path, whole)


@pytest.mark.slow
def test_signal_in_the_wait_for_an_evaluation(tmp_path, monkeypatch, whole):
    """The evaluation of step 4 never ends, and the one of step 8 is due."""
    run = tmp_path / "run"
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    timer = threading.Timer(0.3, terminated)
    try:
        with monkeypatch.context() as patch, pytest.raises(Stopped, match="checkpoint of step 4"), watching(15):
            overlapped(run, [Held(patch), At(8, timer.start)])
    finally:
        signal.signal(signal.SIGTERM, before)
    require_equal(resume(run).path, whole)


def test_environment_that_fails_is_reported_after_saving(tmp_path, monkeypatch):
    run = tmp_path / "run"
    line = r"^environment Pendulum-v1 failed at step 3; everything up to step 8 is saved in .*--resume"
    with monkeypatch.context() as patch, pytest.raises(UserError, match=line):
        overlapped(run, [Held(patch, 8, fails=1)])
    found = resume(run).path
    assert {row["step"] for row in rows(found / "evaluations.csv")} == {"12"}
    assert len(rows(found / "metrics.csv")) == 6 * CLOCKS["seeds"]


def test_training_that_fails_keeps_the_evaluation_before_it(tmp_path, monkeypatch):
    def fails():
        held.open.release()
        raise RuntimeError("a hook has a fault")

    run = tmp_path / "run"
    held = Held(monkeypatch)
    with pytest.raises(RuntimeError, match="a hook has a fault"):
        overlapped(run, [held, At(6, fails)])
    assert {row["step"] for row in rows(run / "evaluations.csv")} == {"4"}
    assert len(list((run / "policies" / "step-4").rglob("policy.safetensors"))) == CLOCKS["seeds"]


@pytest.mark.slow
def test_fine_tuning_run(tmp_path, monkeypatch):
    small = {"hidden": (8,), "batch_size": 8}
    source = tiny(tmp_path / "offline", "td3_bc", config=small, evaluate=False)
    off = finetune(source, out=tmp_path / "off" / "run", overlap="off", progress=False, **FINETUNED).path
    held = Held(monkeypatch, 30, 40)
    held.open.release()  # the evaluation before the first step is not overlapped
    on = finetune(source, out=tmp_path / "on" / "run", overlap="on", progress=False, hooks=[held], **FINETUNED).path
    assert held.seen.index(("block", 30)) < held.seen.index(("evaluated", 20))
    monkeypatch.undo()
    require_equal(on, off)
    run = tmp_path / "killed" / "run"
    with monkeypatch.context() as patch:
        held = Held(patch)
        held.open.release()
        with pytest.raises(Killed):
            finetune(source, out=run, overlap="on", progress=False, hooks=[held, At(30, killed)], **FINETUNED)
    require_equal(resume(run).path, off)


@pytest.mark.parametrize(
    ("given", "backend", "cores", "expected"),
    [
        ({}, "cpu", 2, False),
        ({}, "cpu", 4, True),
        ({}, "gpu", 2, True),
        ({"overlap": "off"}, "gpu", 64, False),
        ({"overlap": "on"}, "cpu", 1, True),
        ({"overlap": "on", "stop_when": "return:3"}, "gpu", 64, False),
    ],
)
def test_when_evaluations_overlap(monkeypatch, given, backend, cores, expected):
    monkeypatch.setattr(overlap, "CORES", 4)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    assert overlap.overlaps(Settings("bc", data="a log", **given)) is expected


def test_unknown_value_is_refused():
    assert "--overlap is often, expected one of auto, on, off" in Settings("bc", data="a log", overlap="often").faults()


def test_player_that_is_closed_ends_what_plays_and_closes_in_the_same_thread():
    player = Player(threaded=True)
    threads = []

    def plays():
        threads.append(threading.current_thread())
        while True:
            player.require_going()

    found = player.begin(plays)
    player.close(lambda: threads.append(threading.current_thread()))
    with pytest.raises(Cancelled):
        found.result()
    assert threads[0] is threads[1] is not threading.main_thread()
