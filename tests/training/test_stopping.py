"""Signals: a run saves inside a block, ends, and resumes to the same bits."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from holdfast.cli import main
from holdfast.core.errors import Stopped, UserError
from holdfast.runs.folder import RunFolder
from holdfast.training import stopping
from holdfast.training.run import resume, train
from holdfast.training.stopping import Pace, shielded, watching
from support.marks import quick
from support.small_runs import DATA, FLAGS, TINY, Stops, require_same, rows, tiny


@pytest.fixture(autouse=True)
def _usual_handlers():
    """A shell that starts the tests in the background has told them to ignore Ctrl-C."""
    before = [(signum, signal.signal(signum, signal.SIG_DFL)) for signum in (signal.SIGTERM, signal.SIGHUP)]
    before.append((signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)))
    yield
    for signum, handler in before:
        signal.signal(signum, handler)


def test_pieces_end_at_the_end_of_the_block():
    pace = Pace()
    assert list(pace.ends(3, 4)) == [4]
    ends = list(pace.ends(0, 1000, 50))
    assert ends[-1] == 1000
    assert all(end % 50 == 0 for end in ends)


def test_slow_steps_make_short_pieces(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(stopping.time, "perf_counter", lambda: clock[0])
    pace = Pace()
    at = 0
    lengths = []
    for end in pace.ends(0, 40):
        clock[0] += 0.3 * (end - at)  # seconds of this piece
        lengths.append(end - at)
        at = end
    assert sum(lengths) == 40
    assert max(lengths) == 3  # 0.9 s


def test_checkpoint_is_due_after_a_minute(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(stopping.time, "perf_counter", lambda: clock[0])
    pace = Pace()
    clock[0] = 59.0
    assert not pace.pause()
    clock[0] = 61.0
    assert pace.pause()
    with pace.saving():
        clock[0] += 10.0
    clock[0] += 150.0
    assert not pace.pause()  # a checkpoint of 10 s is not written every minute


def test_signal_in_a_shielded_section_is_recorded():
    before = signal.getsignal(signal.SIGTERM)
    with watching(signal.SIGTERM):
        with shielded():
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopping.requested() == signal.SIGTERM
            with pytest.raises(Stopped), shielded(False):
                pass
        with pytest.raises(Stopped) as stop:
            stopping.require_no_stop()
        assert stop.value.exit_code == 143
    assert stopping.requested() is None
    assert signal.getsignal(signal.SIGTERM) is before


def test_signal_outside_of_one_is_raised_and_the_second_interrupt_always():
    with watching(signal.SIGINT, signal.SIGHUP):
        with pytest.raises(Stopped) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.value.exit_code == 129
        with pytest.raises(KeyboardInterrupt), shielded():
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_of_others_and_ignored_signals_are_left_alone():
    for handler in (signal.SIG_IGN, lambda *_: None):
        before = signal.signal(signal.SIGHUP, handler)
        try:
            with watching(signal.SIGHUP):
                assert signal.getsignal(signal.SIGHUP) is handler
                os.kill(os.getpid(), signal.SIGHUP)
                assert stopping.requested() is None
        finally:
            signal.signal(signal.SIGHUP, before)


def test_another_thread_installs_nothing():
    seen = []

    def work():
        with watching(signal.SIGINT), shielded(), shielded(False):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def stop_at(monkeypatch, calls, signum=signal.SIGTERM):
    """Send a signal at a call of `Pace.pause`: inside a block or at its end."""
    left = [calls]
    pause = Pace.pause

    def pauses(self):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signum)
        return pause(self)

    monkeypatch.setattr(Pace, "pause", pauses)


SAC = {"env": "holdfast/trap-v0", "config": {**TINY, "warmup": 4}}
DDPG = {"env": "jax/Pendulum-v1", "config": {**TINY, "warmup": 4}}


@pytest.mark.parametrize(
    ("algorithm", "data", "settings"), quick([("bc", DATA, {}), ("sac", None, SAC), ("ddpg", None, DDPG)], "bc")
)
def test_run_stopped_inside_a_block_resumes_to_the_same_bits(tmp_path, monkeypatch, algorithm, data, settings):
    clocks = {"steps": 24, "block": 12, "seeds": 2, "eval_every": 12, "eval_episodes": 1}
    values = {"config": TINY, **clocks, **settings}
    whole = train(algorithm, data, out=tmp_path / "whole" / "run", **values).path
    cut = tmp_path / "cut" / "run"

    def continued():
        return resume(cut) if cut.exists() else train(algorithm, data, out=cut, **values)

    for calls in (1, 1, 2):
        stop_at(monkeypatch, calls)
        with pytest.raises(Stopped, match=r"checkpoint of step \d+ is kept in .*--resume"), watching(signal.SIGTERM):
            continued()
        monkeypatch.undo()
    assert len(rows(cut / "metrics.csv")) < len(rows(whole / "metrics.csv"))
    require_same(resume(cut).path, whole)


@pytest.mark.slow
def test_evaluation_that_is_interrupted_is_repeated(tmp_path, monkeypatch):
    values = {"seeds": 2, "eval_every": 4}
    whole = tiny(tmp_path / "whole" / "run", **values).path
    from holdfast.evaluation.evaluate import Evaluator

    def interrupted(self, *given, **options):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Evaluator, "__call__", interrupted)
    cut = tmp_path / "cut" / "run"
    with pytest.raises(KeyboardInterrupt, match="step 4"):
        tiny(cut, **values)
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    require_same(resume(cut).path, whole)


def test_command_names_the_folder_and_exits_with_the_number_of_the_signal(tmp_path, capsys, monkeypatch):
    stop_at(monkeypatch, 1, signal.SIGHUP)
    out = str(tmp_path / "run")
    flags = ["--steps", "8", "--block", "8", "--no-eval", "--out", out]
    assert main(["train", "bc", "--data", DATA, *FLAGS, *flags]) == 129
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("holdfast: stopped by SIGHUP")
    assert f"holdfast train --resume {out}" in line


def test_process_that_gets_a_signal_saves_and_exits(tmp_path):
    out = tmp_path / "run"
    flags = ["--steps", "100000000", "--block", "100000000", "--no-eval", "--out", str(out)]
    command = [sys.executable, "-m", "holdfast", "train", "bc", "--data", DATA, *FLAGS, *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        try:
            while not (out / "metrics.csv").exists():
                assert child.poll() is None
                time.sleep(0.05)
            time.sleep(2)  # compiling or training: both have to answer
            child.send_signal(signal.SIGTERM)
            err = child.communicate(timeout=60)[1]
        finally:
            child.kill()
    assert child.returncode == 143, err
    assert f"--resume {out}" in err.splitlines()[-1]


def test_folder_in_use_is_refused_and_not_changed(tmp_path):
    out = tmp_path / "run"
    other = RunFolder(out)
    other.create()
    with pytest.raises(UserError, match=f"{out} is in use"):
        tiny(out)
    other.close()
    with pytest.raises(KeyboardInterrupt):
        tiny(out, evaluate=False, hooks=[Stops(1)])
    other.lock()
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    for steps in (None, 16):
        with pytest.raises(UserError, match=f"{out} is in use"):
            resume(out, steps=steps)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    other.close()
    assert resume(out).result["steps"] == 8
