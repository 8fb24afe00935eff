"""The engine Ray: tasks on several processes, of which workers, the driver and a machine are lost."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

import holdfast
from holdfast.core.errors import UserError
from holdfast.tuning import engines
from holdfast.tuning.engines import EngineOptions
from support.small_runs import DATA, require_same

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning"),  # Ray starts its processes
]

# slow enough to be killed in the middle: checkpoints every 100 of 800 steps
HOW = {
    "trials": 3, "seeds": 1, "steps": 800, "block": 100, "save_every": 100, "eval_every": 400, "eval_episodes": 1,
    "sampler": "random", "per_task": 2, "config": {"hidden": [8], "batch_size": 8}, "progress": False,
}  # fmt: skip
SPACE = {"actor_lr": "log(1e-4..1e-2)"}
WORKER = "ray::_on_worker"  # how Ray names a process that runs a task


def workers():
    """The processes that run tasks now."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    command = file.read()
            except OSError:
                continue
            if command.startswith(WORKER.encode()) and _ours(int(name)):
                found.append(int(name))
    return found


def _ours(pid):
    """Whether a process descends from this one, or from a cluster that this one has started."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        return f"HOLDFAST_TEST={os.getpid()}".encode() in file.read().split(b"\0")


class Killer(threading.Thread):
    """Kills a random worker again and again, once it has saved a checkpoint."""

    def __init__(self, folder, kills):
        super().__init__(daemon=True)
        self.folder = folder
        self.left = kills
        self.killed = 0
        self.over = threading.Event()
        self.rng = random.Random(0)

    def run(self):
        seen = 0
        while self.left and not self.over.is_set():
            time.sleep(0.05)
            saved = len({path.name for path in self.folder.rglob("checkpoints/step-*.json")})
            alive = workers()
            if saved > seen and alive:
                os.kill(self.rng.choice(alive), signal.SIGKILL)
                self.killed += 1
                self.left -= 1
                seen = saved + 1


@pytest.fixture
def marked(monkeypatch):
    monkeypatch.setenv("HOLDFAST_TEST", str(os.getpid()))
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")


@pytest.mark.first
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_killed_workers_change_nothing(tmp_path, marked):
    """Two workers; two of them are killed. The runs and the trials have the bits of the engine `local`."""
    local = holdfast.tune("bc", DATA, space=SPACE, out=tmp_path / "local", **HOW)
    killer = Killer(tmp_path / "ray", 2)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        killer.start()
        found = holdfast.tune("bc", DATA, space=SPACE, out=tmp_path / "ray", engine="ray", retries=10, **HOW)
    finally:
        killer.over.set()
        killer.join()
        ray.shutdown()
    assert killer.killed >= 1
    assert found.trials == local.trials
    for folder in {trial.run for trial in local.trials}:
        require_same(tmp_path / "ray" / folder, tmp_path / "local" / folder)


DRIVER = """
import sys, holdfast
how = {how!r}
holdfast.tune("bc", {data!r}, space={space!r}, out=sys.argv[1], engine="ray", **how)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_a_killed_driver_and_a_lost_machine(tmp_path, marked):
    """The driver is killed in the middle; the search is resumed on a cluster of two machines, of which one is lost."""
    from ray.cluster_utils import Cluster

    how = {**HOW, "steps": 3000}
    local = holdfast.tune("bc", DATA, space=SPACE, out=tmp_path / "local", **how)
    out = tmp_path / "ray"
    code = DRIVER.format(how=how, data=DATA, space=SPACE)
    driver = subprocess.Popen([sys.executable, "-c", code, str(out)])
    try:
        deadline = time.monotonic() + 120
        while not list(out.rglob("checkpoints/step-*.json")):
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        driver.kill()
        driver.wait()
    saved = json.loads(max(out.rglob("checkpoints/step-*.json")).read_text())
    assert saved
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    lost = threading.Timer(8.0, lambda: cluster.remove_node(node, allow_graceful=False))
    try:
        lost.start()
        options = {"engine": "ray", "address": cluster.address, "retries": 10}
        found = holdfast.resume_tune(out, progress=False, **options)
    finally:
        lost.join()
        ray.shutdown()
        cluster.shutdown()
    assert found.trials == local.trials
    for folder in {trial.run for trial in local.trials}:
        require_same(out / folder, tmp_path / "local" / folder)


def test_no_cluster_is_one_line():
    options = EngineOptions("ray", address="127.0.0.1:1")
    with (
        pytest.raises(UserError, match=r"no Ray cluster at 127.0.0.1:1: .*start one with ray start") as fault,
        engines.opened(options, False),
    ):
        pass
    assert "\n" not in str(fault.value)
    assert EngineOptions(retries=-1, cpus=float("nan")).faults() == [
        "--cpus is nan, expected at least 0", "--retries is -1, expected at least 0"
    ]  # fmt: skip
