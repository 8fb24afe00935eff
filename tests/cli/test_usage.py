"""The command line: help, flags, presets, repeating a run, and the one line that every mistake gets."""

import dataclasses
import errno
import json
import os
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from holdfast import UserError, load_dataset
from holdfast.algorithms import registry
from holdfast.algorithms.citations import CITATIONS
from holdfast.cli import COMMANDS, main
from holdfast.cli.train import parse
from holdfast.core.config import from_dict
from holdfast.runs.checkpoints import Checkpoints
from holdfast.training.run import resume, train
from support.marks import quick
from support.small_runs import DATA, FLAGS, bits, checkpoint, require_same, tiny

QUICK = [*FLAGS, "--steps", "8", "--block", "4", "--eval-every", "4", "--eval-episodes", "1"]


def failed(capsys, argv, status=2) -> str:
    """The one line that a mistake gets."""
    assert main([str(a) for a in argv]) == status
    err = capsys.readouterr().err
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("holdfast: ")
    return lines[0]


def refused(capsys, tmp_path, *argv) -> str:
    """The line of a training run that must not begin, and that leaves nothing behind."""
    out = tmp_path / "never"
    line = failed(capsys, ["train", *argv, "--out", out])
    assert not out.exists()
    return line


# help


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["data", "info"], ["data", "check"]])
def test_help_answers(command, capsys):
    try:
        status = main([*command, "--help"])
    except SystemExit as end:
        status = end.code or 0
    out = capsys.readouterr().out
    assert status == 0
    assert "usage" in out


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["train", "--help"], ["cite", "bc"], ["data", "--help"]])
def test_help_needs_no_jax(argv):
    code = f"import sys; from holdfast.cli import main\ntry: main({argv!r})\nexcept SystemExit: pass\n"
    code += "sys.exit(' '.join(m for m in ('jax', 'gymnasium', 'optax', 'h5py') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""
    assert done.stdout.strip()


def test_help_describes_the_method_and_not_the_one_whose_functions_it_has(capsys):
    with pytest.raises(SystemExit):
        main(["train", "rem", "--help"])
    out = capsys.readouterr().out
    assert "Random ensemble mixture (Agarwal" in out
    assert "average of K value heads" not in out


@pytest.mark.parametrize("name", registry.names())
def test_every_setting_is_a_flag_with_its_comment(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main(["train", name, "--help"])
    text = capsys.readouterr().out
    for field in dataclasses.fields(registry.get(name).Config):
        flag = "--" + field.name.replace("_", "-")
        # a switch that is on shows its negation
        found = re.search(rf"\n\W*--(no-)?{flag[2:]}\b([^\n]*(\n[^\n]*)?)", text)
        assert found, flag
        assert re.search(r"[a-z]{3,}", found[2].split("(default")[0]), f"{name} {flag} has no help"


def test_mistakes_are_one_line_without_box_characters_too():
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    command = [sys.executable, "-m", "holdfast", "train", "bc", "--data", "x", "--stepz", "3"]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 2
    assert re.fullmatch(r"holdfast: unknown: --stepz 3; did you mean --steps\?; see .*\n", done.stderr)


def test_cite_and_algorithms(capsys):
    for name, row in registry.ROWS.items():
        assert main(["cite", name]) == 0
        assert capsys.readouterr().out.strip() == CITATIONS[row.paper].strip()
    assert main(["--version"]) == 0
    assert main([]) == 0


def test_help_of_a_command(capsys):
    for argv in (["data", "info"], ["evaluate"], ["completion"]):
        with pytest.raises(SystemExit) as end:
            main(["help", *argv])
        assert end.value.code == 0
        assert f"usage: holdfast {' '.join(argv)}" in capsys.readouterr().out
    assert main(["help"]) == main(["help", "train"]) == 0
    assert "usage: holdfast train ALGO" in capsys.readouterr().out
    assert "did you mean 'train'" in failed(capsys, ["help", "trian"])


def test_algorithms_fit_into_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["algorithms"]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^{name} ", out, re.M) for name in registry.names())
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out


@pytest.mark.parametrize("name", ["iql", "rebrac", "tabular_bcq"])
def test_presets_and_settings_of_an_algorithm(name, capsys, monkeypatch):
    presets = registry.get(name).presets
    assert main(["algorithms", name]) == 0
    out = capsys.readouterr().out
    assert all(f"{preset} " in out and one.source in out for preset, one in presets.items())
    assert main(["algorithms", name, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert list(facts["presets"]) == list(presets)
    for preset, one in facts["presets"].items():
        assert from_dict(registry.get(name).Config, one["config"]) == presets[preset].config
    assert main(["algorithms", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[name] == facts
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["train", name, "--help"])
    assert f"Presets: published, {next(iter(presets))}" in capsys.readouterr().out


@pytest.mark.parametrize("shell", quick(["bash", "zsh"], "bash"))
def test_completion_knows_commands_and_flags(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(repr(name) in script for name in (*COMMANDS, *registry.names(), "--expectile", "--eval-episodes"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_completion_in_bash(tmp_path, capsys):
    script = tmp_path / "holdfast"
    assert main(["completion", "bash"]) == 0
    script.write_text(capsys.readouterr().out)
    for words, expected in (
        (["tr"], "train"),
        (["train", "td3_"], "td3_bc"),
        (["train", "iql", "--expec"], "--expectile"),
        (["data", "che"], "check"),
        (["evaluate", "runs/a", "--mode", "sam"], "sample"),
        (["finetune", "runs/a", "--eval-ep"], "--eval-episodes"),
    ):
        quoted = " ".join(["holdfast", *words])
        code = (
            f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _tyro_holdfast; echo ${{COMPREPLY[*]}}"
        )
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [expected], words


def test_widths_have_commas_or_spaces():
    for widths in (["16,8"], ["16", "8"], ["16,", "8"]):
        settings, _ = parse("bc", ["--data", DATA, "--hidden", *widths], None, None)
        assert settings.config["hidden"] == [16, 8]


# runs


def test_train_prints_its_result_and_repeats_from_its_config(tmp_path, capsys):
    first, again = tmp_path / "a" / "run", tmp_path / "b" / "run"
    flags = [
        "--sweep",
        "actor_lr=1e-3,2e-3",
        "--seed",
        "3",
        "--reward-scale",
        "2",
        "--preset",
        "corl",
    ]
    assert main(["train", "bc", "--data", DATA, *QUICK, *flags, "--out", str(first)]) == 0
    assert "actor_lr" in capsys.readouterr().out
    assert main(["train", "--config", str(first / "config.json"), "--out", str(again)]) == 0
    require_same(again, first)
    assert (first / "config.json").read_bytes() == (again / "config.json").read_bytes()
    assert main(["train", "--config", str(first / "config.json"), "--seed", "4", "--out", str(tmp_path / "c")]) == 0
    changed = json.loads((tmp_path / "c" / "config.json").read_text())
    assert (changed["seed"], changed["seeds"], changed["sweep"]) == (4, 1, {"actor_lr": [1e-3, 2e-3]})


@pytest.mark.slow
def test_options_of_the_data_are_repeated_too(tmp_path):
    from holdfast.data.convert import convert

    convert(load_dataset(DATA).select(range(4)), str(tmp_path / "log.hdf5"))
    options = {"use_next_observations": False, "id": "ours"}  # a flag, and an option without a flag
    first = tiny(tmp_path / "a", data=tmp_path / "log.hdf5", steps=1, evaluate=False, data_options=options).path
    assert main(["train", "--config", str(first / "config.json"), "--out", str(tmp_path / "b")]) == 0
    one, other = (json.loads((tmp_path / name / "config.json").read_text()) for name in "ab")
    assert one == other
    assert one["data_options"] == options


def test_numbers_with_an_exponent_and_presets(tmp_path):
    argv = ["train", "bc", "--data", DATA, "--no-eval", *FLAGS, "--steps", "1e1", "--preset", "tuned_gaussian"]
    assert main([*argv, "--actor-lr", "1e-3", "--out", str(tmp_path / "run")]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["steps"], config["preset"], config["config"]["kind"]) == (10, "tuned_gaussian", "gaussian")
    assert config["config"]["actor_lr"] == 1e-3
    assert config["evaluate"] is False


def test_resume_by_command(tmp_path, capsys):
    run = tiny(tmp_path / "run").path
    before = bits(run)
    assert main(["train", "--resume", str(run)]) == 0
    (run / "result.json").unlink()
    assert main(["train", "bc", "--resume", str(run)]) == 0
    assert bits(run) == before
    capsys.readouterr()
    assert "trains bc, not iql" in failed(capsys, ["train", "iql", "--resume", run])
    assert "leave --seeds 2 out" in failed(capsys, ["train", "--resume", run, "--seeds", "2"])
    assert "is not a run folder" in failed(capsys, ["train", "--resume", tmp_path])
    assert "--resume has no value" in failed(capsys, ["train", "--resume"])
    assert "exists" in failed(capsys, ["train", "bc", "--data", DATA, *QUICK, "--out", run])
    assert bits(run) == before


def test_diverged_is_status_3(tmp_path, capsys):
    argv = ["train", "td3_bc", "--data", DATA, *FLAGS, "--critic-lr", "1e30", "--no-eval"]
    assert main([*argv, "--steps", "50", "--out", str(tmp_path / "run")]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"holdfast: \S+ of seed-0 is NaN or infinite at update \d+", last)


# mistakes


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["trian"], "did you mean 'train'"),
        (["train", "iqll", "--data", DATA], "unknown algorithm 'iqll'; did you mean 'iql'"),
        (["train", "--data", DATA], "name an algorithm"),
        (["train", "iql"], "--data"),
        (["train", "iql", "--data"], "--data"),
        (["train", "iql", "--data", DATA, "--stepz", "5"], "--stepz.*did you mean --steps"),
        (["train", "iql", "--data", DATA, "--expectil", "0.5"], "--expectil.*did you mean --expectile"),
        (
            ["train", "iql", "--data", DATA, "--preset", "mujoko"],
            "unknown preset of iql 'mujoko'; did you mean 'mujoco'",
        ),
        (["train", "iql", "--data", DATA, "--seeds", "0"], "--seeds is 0, expected at least 1"),
        (["train", "iql", "--data", DATA, "--steps", "-5"], "--steps is -5, expected at least 1"),
        (["train", "iql", "--data", DATA, "--steps", "ten"], "steps.*ten"),
        (["train", "iql", "--data", DATA, "--steps", "1.5"], "steps.*1.5"),
        (["train", "iql", "--data", DATA, "--expectile", "2"], "expectile is 2.0, expected in"),
        (["train", "iql", "--data", DATA, "--max-weight", "inf"], "max_weight is inf, expected a finite number"),
        (["train", "iql", "--data", DATA, "--hidden", "0"], "hidden"),
        (["train", "iql", "--data", DATA, "--batch-size", "0"], "batch_size"),
        (["train", "iql", "--data", DATA, "--sweep", "expectile"], "expected NAME=NUMBER"),
        (["train", "iql", "--data", DATA, "--sweep", "batch_size=1,2"], "sweep batch_size: its type is int, not float"),
        (["train", "iql", "--data", DATA, "--log", "tensorbord"], "did you mean 'tensorboard'"),
        (["train", "iql", "--data", DATA, "--env", "CartPole-v1"], "does not match the policy"),
        (["train", "iql", "--data", DATA, "--env", "Pendulum-v9"], "Pendulum"),
        (["train", "iql", "--data", "bundled/pendulum-mixt"], "did you mean 'bundled/pendulum-mixed'"),
        (["train", "iql", "--data", "/nowhere/at-all.hdf5"], "/nowhere/at-all.hdf5 does not exist"),
        (["train", "iql", "--data", "/nowhere/at-all"], "/nowhere/at-all does not exist"),
        (["train", "iql", "--data", "no/such-v0"], "no/such-v0"),
        (["train", "--config", "/nowhere/config.json"], "/nowhere/config.json does not exist"),
        (["cite", "iqll"], "did you mean 'iql'"),
        (["train", "IQL", "--data", DATA], "did you mean 'iql'"),
        (["train", "TD3+BC", "--data", DATA], "did you mean 'td3_bc'"),
        (["algorithms", "Cal-QL"], "did you mean 'cal_ql'"),
        (["eval", "runs/x"], "did you mean 'evaluate'"),
        (["train", "iql", "--data", DATA, "--gamma", "0.9"], "unknown: --gamma 0.9; did you mean --discount"),
        (["train", "iql", "--data", DATA, "--lr", "1"], "did you mean --actor-lr, --critic-lr or --value-lr"),
        (["train", "iql", "--data", DATA, "--batch=4"], "did you mean --batch-size"),
        (["train", "iql", "--data", DATA, "--eval"], "did you mean --no-eval"),
        (["train", "iql", "--data", DATA, "--hidden", "256,x"], "--hidden is '256,x', expected whole numbers"),
        (["train", "iql", "--data", DATA, "--eval-every=1.5"], "is '1.5', expected None or a whole number"),
        (["train", "iql", "--data", DATA, "--expectile", "high"], "--expectile is 'high', expected a number"),
        (["evaluate"], "RUN is missing"),
        (["evaluate", "runs/a", "runs/b", "--episodez", "3"], "unknown: runs/b --episodez 3; did you mean --episodes"),
        (
            ["evaluate", "runs/a", "--mode", "bets"],
            "--mode is 'bets', expected one of best, sample; did you mean 'best'",
        ),
        (["studies", "obac", "--seedz", "3"], "did you mean --seed"),
        (["completion", "fish"], "expected one of bash, zsh"),
        (["algorithms", "--all"], "--all"),
    ],
)
def test_mistakes_in_the_flags(argv, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert re.search(says, failed(capsys, argv))
    assert not list(tmp_path.iterdir())


def flat(path, n=60, **changed):
    """A small D4RL file of three episodes."""
    rng = np.random.default_rng(0)
    columns = {
        "observations": np.cumsum(rng.normal(size=(n, 3)), 0).astype(np.float32),
        "actions": rng.uniform(-0.9, 0.9, (n, 1)).astype(np.float32),
        "rewards": rng.normal(size=n).astype(np.float32),
        "terminals": np.zeros(n, bool),
        "timeouts": np.arange(n) % 20 == 19,
    }
    with h5py.File(path, "w") as file:
        for name, column in {**columns, **changed}.items():
            if column is not None:
                file[name] = column
    return path


def test_good_file_trains(tmp_path):
    """The files below differ from this one by their fault alone."""
    assert main(["train", "bc", "--data", str(flat(tmp_path / "a.hdf5")), *QUICK, "--out", str(tmp_path / "run")]) == 0


def nan_inside(n=60):
    obs = np.cumsum(np.random.default_rng(0).normal(size=(n, 3)), 0).astype(np.float32)
    obs[7, 1] = np.nan
    return obs


ENDS = np.arange(60) % 20 == 19
FAULTS = {
    "nan": ({"observations": nan_inside()}, r"observations.*row 7|row 7.*observations"),
    "both flags": ({"terminals": ENDS, "timeouts": ENDS}, "both"),
    "actions of two shapes": ({"actions": np.zeros((59, 1), np.float32)}, "actions"),
    "actions outside": ({"actions": np.linspace(-3, 3, 60, dtype=np.float32)[:, None]}, "--clip-actions"),
    "empty": ({k: np.zeros((0, *s)) for k, s in {"observations": (3,), "actions": (1,), "rewards": (), "terminals": (),
               "timeouts": ()}.items()}, "empty"),
    "one step": ({"terminals": np.ones(60, bool), "timeouts": np.zeros(60, bool)}, "one"),
    "no rewards": ({"rewards": None}, "rewards"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_data_are_refused(fault, tmp_path, capsys):
    changed, says = FAULTS[fault]
    line = refused(capsys, tmp_path, "bc", "--data", flat(tmp_path / "log.hdf5", **changed), *QUICK)
    assert "log.hdf5" in line or "log" in line
    assert re.search(says, line), line


def test_actions_of_another_dimension_than_the_environment(tmp_path, capsys):
    wide = flat(tmp_path / "log.hdf5", actions=np.random.default_rng(1).uniform(-1, 1, (60, 2)).astype(np.float32))
    line = refused(capsys, tmp_path, "bc", "--data", wide, *QUICK, "--env", "Pendulum-v1")
    assert "does not match the policy" in line


def test_discrete_data_for_a_continuous_method(tmp_path, capsys):
    actions = np.random.default_rng(1).integers(0, 3, 60)
    data = flat(tmp_path / "log.hdf5", actions=actions)
    line = refused(capsys, tmp_path, "td3_bc", "--data", data, *QUICK)
    assert "td3_bc needs continuous actions" in line
    assert "iql" in line


def test_continuous_data_for_a_discrete_method(tmp_path, capsys):
    line = refused(capsys, tmp_path, "dqn", "--data", flat(tmp_path / "log.hdf5"), *QUICK)
    assert "dqn needs discrete actions, log has continuous ones; for those: " in line
    assert "iql" in line
    assert "discrete_bcq" not in line


@pytest.mark.parametrize("name", ["awr", "filtered_bc", "rebrac"])
def test_single_transitions_for_a_method_that_needs_episodes(name, tmp_path, capsys):
    """A log whose rows were shuffled: each next observation is stored, none is the row below."""
    rng = np.random.default_rng(0)
    shuffled = {"observations": rng.normal(size=(60, 2)), "next_observations": rng.normal(size=(60, 2))}
    shuffled["timeouts"] = np.ones(60, bool)
    shuffled["terminals"] = np.arange(60) % 20 == 0
    shuffled["timeouts"] ^= shuffled["terminals"]
    data = flat(tmp_path / "log.hdf5", **shuffled)
    line = refused(capsys, tmp_path, name, "--data", data, *QUICK, "--allow", "one_step")
    what = "the columns next_action" if name == "rebrac" else "returns"
    assert f"{name} needs whole episodes for {what}, but 57 of the 60 episodes of log are single" in line
    assert "iql or td3_bc with --return-scale None" in line
    tuned = ("--preset", "tuned_100k", "--allow", "one_step")
    line = refused(capsys, tmp_path, "td3_bc", "--data", data, *QUICK, *tuned)
    assert "td3_bc scales rewards by the spread of whole episodes' returns, but 57 of the 60" in line
    steps = ("--n-step", "3")
    line = refused(capsys, tmp_path, "td3", "--data", data, *QUICK, *steps, "--allow", "one_step")
    assert "td3 needs whole episodes for targets of 3 steps" in line


def test_a_log_of_one_action(tmp_path, capsys):
    line = refused(capsys, tmp_path, "dqn", "--data", flat(tmp_path / "log.hdf5", actions=np.zeros(60, int)), *QUICK)
    assert "no other action" in line
    assert "--allow same_action" in line


def test_a_mask_that_forbids_what_was_done(tmp_path, capsys):
    mask = np.ones((60, 3), bool)
    mask[7, 2] = False
    actions = np.arange(60) % 3
    actions[7] = 2
    with h5py.File(flat(tmp_path / "log.hdf5", actions=actions), "r") as file:
        np.savez(tmp_path / "log.npz", **{k: file[k][()] for k in file}, action_mask=mask)
    line = refused(capsys, tmp_path, "iql", "--data", tmp_path / "log.npz", *QUICK)
    assert "1 logged actions are forbidden by their action_mask" in line
    assert "row 7" in line


@pytest.mark.parametrize("damage", ["truncated", "random", "nothing in it", "no file type"])
@pytest.mark.parametrize("ending", ["hdf5", "npz"])
def test_damaged_files(damage, ending, tmp_path, capsys):
    path = tmp_path / f"log.{ending}"
    if ending == "hdf5":
        flat(path)
    else:
        from holdfast.data.convert import convert

        convert(load_dataset(DATA).select([0]), str(path))
    whole = path.read_bytes()
    random = np.random.default_rng(0).bytes(5000)
    path.write_bytes({"truncated": whole[: len(whole) // 2], "random": random, "nothing in it": b""}.get(damage, whole))
    if damage == "no file type":
        path = path.rename(tmp_path / "log.parquet")
    assert path.name in refused(capsys, tmp_path, "bc", "--data", path, *QUICK)


# disks


def test_full_disk_keeps_the_last_checkpoint_and_the_run_resumes(tmp_path, capsys, monkeypatch):
    reference, run = tmp_path / "whole" / "run", tmp_path / "full" / "run"
    argv = ["train", "bc", "--data", DATA, *FLAGS, "--steps", "12", "--block", "2", "--no-eval", "--out"]
    assert main([*argv, str(reference)]) == 0
    for call, n in (("fsync", 22), ("replace", 9), ("fsync", 5)):
        shutil.rmtree(run, ignore_errors=True)
        with monkeypatch.context() as patch:
            real, left = getattr(os, call), [n]

            def full(*given, real=real, left=left):
                left[0] -= 1
                if left[0] <= 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return real(*given)

            patch.setattr(os, call, full)
            capsys.readouterr()
            assert main([*argv, str(run)]) == 2, (call, n)
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("holdfast: cannot write")
        assert "No space left on device" in line
        kept = Checkpoints(run / "checkpoints")
        if kept.latest() is not None:
            assert checkpoint(run)
        resume(run)
        require_same(run, reference)


@pytest.mark.parametrize("fault", [errno.EROFS, errno.EACCES])
def test_read_only_folder(tmp_path, capsys, monkeypatch, fault):
    from pathlib import Path

    def refuse(self, *given, **named):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(Path, "mkdir", refuse)
    line = refused(capsys, tmp_path, "bc", "--data", DATA, *QUICK)
    assert os.strerror(fault) in line
    assert "name another folder with --out" in line


def test_folder_below_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    line = failed(capsys, ["train", "bc", "--data", DATA, *QUICK, "--out", tmp_path / "file" / "run"])
    assert "cannot make" in line


def test_flipped_byte_and_other_data_on_resume(tmp_path, capsys):
    data = flat(tmp_path / "log.hdf5")
    run = tiny(tmp_path / "run", data=data, evaluate=False).path
    (run / "result.json").unlink()
    flat(data, rewards=np.ones(60, np.float32))
    assert "has changed since" in failed(capsys, ["train", "--resume", run])
    flat(data)
    file = next((run / "checkpoints").glob("step-000000008-*.safetensors"))
    bytes_ = bytearray(file.read_bytes())
    bytes_[len(bytes_) // 2] ^= 16
    file.write_bytes(bytes_)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    line = failed(capsys, ["train", "--resume", run])
    assert re.search(r"damaged.*checkpoint of step 4", line)
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_interrupted_run_says_how_to_resume(tmp_path, capsys, monkeypatch):
    def interrupt(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", interrupt)
    assert main(["train", "bc", "--data", DATA, *QUICK, "--out", str(tmp_path / "run")]) == 130
    assert "--resume" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("flags", [["--out", ""], ["--out="], ["--resume", ""], ["--data", ""]])
def test_empty_value_of_a_flag_is_refused(tmp_path, monkeypatch, capsys, flags):
    monkeypatch.chdir(tmp_path)
    line = failed(capsys, ["train", "bc", "--data", DATA, *QUICK, *flags])
    assert f"{flags[0].rstrip('=')} is empty" in line
    with pytest.raises(UserError, match="--out is empty"):
        train("bc", DATA, out="", steps=4)
    assert not list(tmp_path.iterdir())
