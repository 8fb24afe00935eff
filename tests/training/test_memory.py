"""The memory that a large log takes until its run can start."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from holdfast.runs.settings import Settings
from holdfast.training.plan.plan import plan

MOST = 4.0  # times the size of the file; it was 8 when checks and columns copied everything
SCRIPT = """
import sys
from pathlib import Path
from holdfast.runs.settings import Settings
from holdfast.training.plan.plan import plan

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

def prepared(path):
    return plan(Settings.of("td3_bc", data=path, steps=10, evaluate=False))

prepared(sys.argv[1])  # imports and small programs
before = peak()
made = prepared(sys.argv[2])
print(peak() - before)
"""


def _write(path: Path, rows: int) -> Path:
    rng = np.random.default_rng(0)
    np.savez(
        path,
        observations=rng.normal(size=(rows, 17)).astype(np.float32),
        actions=rng.uniform(-1, 1, (rows, 6)).astype(np.float32),
        rewards=rng.normal(size=rows).astype(np.float32),
        terminals=np.zeros(rows, bool),
        timeouts=np.arange(rows) % 1000 == 999,
    )
    return path


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
def test_the_plan_of_a_large_log_takes_few_times_its_file(tmp_path):
    small = _write(tmp_path / "small.npz", 2000)
    large = _write(tmp_path / "large.npz", 300_000)
    done = subprocess.run([sys.executable, "-c", SCRIPT, small, large], capture_output=True, text=True, check=True)
    assert int(done.stdout) < MOST * large.stat().st_size


def test_a_plan_does_not_keep_the_rows_of_the_data_set(tmp_path):
    made = plan(Settings.of("td3_bc", data=str(_write(tmp_path / "log.npz", 2000)), steps=10, evaluate=False))
    assert made.task.dataset is None
    assert (made.task.steps, made.task.episodes) == (1998, 2)
    assert made.programs[0].ctx.data.row.shape == (1998,)
