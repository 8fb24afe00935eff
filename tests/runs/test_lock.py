"""The lock of a run folder: one process at a time, and a killed process keeps nothing."""

import os
import subprocess
import sys
import threading

import pytest

from holdfast.core.errors import UserError
from holdfast.core.locks import Lock
from holdfast.runs.folder import LOCK, RunFolder

HOLDS = """
import sys, time
from holdfast.runs.folder import RunFolder
folder = RunFolder(sys.argv[1])
folder.create()
print("held", flush=True)
time.sleep(60)
"""
TAKES = """
import os, sys
from pathlib import Path
from holdfast.core.errors import UserError
from holdfast.runs.folder import RunFolder
print("ready", flush=True)
sys.stdin.readline()  # all processes begin together
try:
    folder = RunFolder(sys.argv[2]) if sys.argv[1] == "out" else RunFolder.free(Path(sys.argv[2]), "bc-x")
    folder.create()
    print(folder.path, flush=True)
    sys.stdin.readline()
except UserError as fault:
    print("refused", fault, flush=True)
"""


def together(count, *args):
    """What processes that begin at one moment print."""
    command = [sys.executable, "-c", TAKES, *map(str, args)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        return [process.stdout.readline().strip() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_of_processes_that_take_one_folder_at_once_one_gets_it(tmp_path):
    lines = together(4, "out", tmp_path / "run")
    assert sorted(line == str(tmp_path / "run") for line in lines) == [False, False, False, True]
    refused = [line for line in lines if line.startswith("refused")]
    assert len(refused) == 3
    assert all(str(tmp_path / "run") in line for line in refused)


def test_processes_without_a_folder_get_different_numbers(tmp_path):
    lines = together(4, "free", tmp_path / "runs")
    assert sorted(lines) == [str(tmp_path / "runs" / f"bc-x-{n}") for n in (1, 2, 3, 4)]


def test_threads_that_create_one_folder_at_once(tmp_path):
    for n in range(50):
        folders = [RunFolder(tmp_path / str(n)) for _ in range(3)]
        barrier = threading.Barrier(3)
        made = []

        def create(folder, barrier=barrier, made=made):
            barrier.wait()
            try:
                folder.create()
                made.append(folder)
            except UserError:
                pass

        threads = [threading.Thread(target=create, args=[folder]) for folder in folders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 1
        made[0].close()


def test_killed_process_does_not_keep_the_folder(tmp_path):
    command = [sys.executable, "-c", HOLDS, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=r"run is in use") as refused:
            RunFolder(tmp_path / "run").lock()
        assert "\n" not in str(refused.value)
        process.kill()
        process.wait()
    folder = RunFolder(tmp_path / "run")
    folder.create()  # the lock file alone does not make the folder look used
    folder.close()
    assert not (tmp_path / "run" / LOCK).exists()


def test_holder_that_waited_does_not_get_a_removed_file(tmp_path, monkeypatch):
    first = Lock(tmp_path / LOCK)
    second = Lock(tmp_path / LOCK)
    assert first.acquire()
    opened = []
    real = os.open

    def opens(*args):
        file = real(*args)
        if not opened:
            opened.append(file)
            first.release()  # after the second has opened the file, before it locks it
        return file

    monkeypatch.setattr("holdfast.core.locks.os.open", opens)
    assert second.acquire()
    assert (tmp_path / LOCK).exists()
    assert not Lock(tmp_path / LOCK).acquire()
    second.release()


def test_folder_that_was_made_for_nothing_is_removed(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create()
    folder.close()
    assert not folder.path.exists()
    (tmp_path / "mine").mkdir()
    folder = RunFolder(tmp_path / "mine")
    folder.create()
    folder.close()
    assert folder.path.exists()


def test_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="cannot make"):
        RunFolder.free(tmp_path / "runs", "bc-x")
    with pytest.raises(UserError, match="is not an empty folder"):
        RunFolder(tmp_path / "runs").create()
