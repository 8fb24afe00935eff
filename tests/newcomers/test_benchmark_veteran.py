"""A veteran of benchmarks checks settings, sweeps and numbers: the commands of a first hour, with what they must do."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from holdfast.algorithms import registry
from support.commands import play, refused
from support.small_runs import DATA, FLAGS

Captured = pytest.CaptureFixture[str]
SMALL = f"--data {DATA} --steps 20 --block 10 --eval-episodes 1 {' '.join(FLAGS)}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("veteran")


@pytest.fixture(autouse=True)
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "80")


def d4rl_file(path: Path) -> None:
    """A file as D4RL wrote it: `timeouts`, and next observations."""
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(41, 11)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["observations"] = obs[:-1]
        file["next_observations"] = obs[1:]
        file["actions"] = rng.uniform(-0.9, 0.9, (40, 3)).astype(np.float32)
        file["rewards"] = rng.normal(size=40).astype(np.float32)
        file["terminals"] = np.zeros(40, bool)
        file["timeouts"] = np.arange(40) % 10 == 9


@pytest.mark.parametrize(
    ("algorithm", "preset"),
    [("iql", "mujoco"), ("rebrac", "hopper-medium, published for hopper_medium-v2.hdf5")],
)
def test_a_file_of_d4rl_gets_the_settings_of_the_paper(algorithm: str, preset: str, capsys: Captured) -> None:
    d4rl_file(Path("hopper_medium-v2.hdf5"))
    found = play(f"holdfast train {algorithm} --data hopper_medium-v2.hdf5 --no-eval --dry-run", capsys)
    assert found.status == 0, found.err
    assert f"preset {preset}: authors' code" in found.out + found.err
    assert "40 rows in 4 episodes" in found.out


def test_presets_are_listed(capsys: Captured) -> None:
    found = play("holdfast algorithms rebrac --json", capsys)
    assert found.status == 0
    assert set(json.loads(found.out)["presets"]) == set(registry.get("rebrac").presets)
    listed = play("holdfast algorithms rebrac", capsys).out
    assert "halfcheetah-medium-replay" in listed
    assert "…" not in listed + play("holdfast algorithms", capsys).out
    assert "tuned_100k" in play("holdfast train iql --help", capsys).out
    assert "see holdfast algorithms rebrac" in refused(f"holdfast train rebrac --data {DATA} --preset nope", capsys)


def test_a_sweep_names_its_best_setting_and_has_no_average_over_settings(capsys: Captured) -> None:
    found = play(f"holdfast train bc {SMALL} --sweep actor-lr=1e-5,1e-2 --seeds 2 --out runs/sweep", capsys)
    assert found.status == 0, found.err
    assert "…" not in found.out
    assert found.out.count("best: mean over 2 seeds, actor_lr") == 1
    assert max(map(len, found.out.splitlines()[:16])) <= 80
    result = json.loads(Path("runs/sweep/result.json").read_text())
    assert result["return_mean"] is None
    assert [entry["label"] for entry in result["by_setting"]] == ["actor_lr 1e-05", "actor_lr 0.01"]
    assert "actor_lr" in play("holdfast runs", capsys).out


def test_what_cannot_be_swept_is_compared(capsys: Captured) -> None:
    line = refused(f"holdfast train bc --data {DATA} --sweep batch_size=64,256", capsys)
    assert "its type is int" in line
    assert "start one run for each value, then holdfast compare" in line


def test_a_finished_run_is_prolonged_and_scored_as_json(capsys: Captured) -> None:
    assert play(f"holdfast train bc {SMALL} --no-eval --out runs/short", capsys).status == 0
    assert play("holdfast train --resume runs/short --steps 30", capsys).status == 0
    assert json.loads(Path("runs/short/result.json").read_text())["steps"] == 30
    found = json.loads(play("holdfast evaluate runs/short --episodes 2 --json", capsys).out)
    assert np.shape(found["returns"]) == (1, 2)


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_missing_service_is_one_line_and_leaves_no_folder(capsys: Captured) -> None:
    line = refused(f"holdfast train bc {SMALL} --log wandb --out runs/wandb", capsys)
    assert "pip install 'holdfast-rl[wandb]'" in line
    assert not Path("runs/wandb").exists()
