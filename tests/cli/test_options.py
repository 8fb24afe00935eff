"""Every setting is declared once, in `Settings`, and reaches `train`, the command line and config.json from there."""

import dataclasses
import hashlib
import inspect
import json
import re

import pytest

from holdfast import Policy, UserError, finetune, load_dataset
from holdfast.algorithms import registry
from holdfast.cli import main
from holdfast.cli.options import DataFlags, documented
from holdfast.cli.train import parse
from holdfast.core.contract import Treatment
from holdfast.data.sources.options import DataOptions
from holdfast.runs.presets import SHORT_LOG, preset_note
from holdfast.runs.read import read_run
from holdfast.runs.schema import LATER
from holdfast.runs.settings import Settings
from holdfast.training.finetune import changeable
from holdfast.training.hooks import Hook
from holdfast.training.launch import Finished, ensure_finished
from holdfast.training.run import resume, train
from support.small_runs import DATA, FLAGS, TINY, bits, tiny

FIELDS = [field.name for field in dataclasses.fields(Settings)]
# not a flag of their own: the first argument of the command, groups of other flags, and records of what was done
NO_FLAG = {"algorithm_module", "algorithm", "config", "treatment", "data_options", "source", "in_memory"}
SPELLED = {"evaluate": "no-eval", "inputs": "input", "loggers": "log"}  # the others are spelled like the field
# another value than the default of every setting that a run of these tests can have
OTHER = {
    "data": DATA, "steps": 8, "preset": "tuned_gaussian", "seeds": 2, "seed": 3, "sweep": {"actor_lr": [1e-3, 2e-3]},
    "allow": ["one_step"], "env": "Pendulum-v1", "evaluate": False, "eval_episodes": 2, "eval_every": 4,
    "save_every": 4, "block": 4, "workers": 1, "worker_timeout": 30.0, "envs": 2, "replay": 100,
    "loggers": ["tensorboard"], "keep_policies": True, "encoder": "impala", "random_shift": 4, "growing": 1.0,
    "agents": "independent", "window": 100, "window_draws": 3.0, "stop_when": "estimate:3", "held_out": 0.25,
    "data_options": {"id": "ours"},
    "inputs": {"policy": "/runs/bc"}, "dynamics": "/runs/mopo", "activation": "tanh", "layer_norm": "pre",
    "actor_hidden": (4, 5), "critic_hidden": (6,), "value_hidden": (7,), "network": {"critic": "equinox.nn:MLP"},
    "paired": True, "precision": "highest", "devices": 2, "overlap": "on",
}  # fmt: skip


def help_of(capsys, monkeypatch, *argv):
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit):
        main([*argv, "--help"])
    return capsys.readouterr().out


def text_of(flag, text):
    """What the help says of a flag."""
    found = re.search(rf"--{flag}\b(?!-)([^\n]*(\n[^\n]*)?)", text)
    return found and found[1]


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in NO_FLAG])
def test_every_setting_is_a_flag_with_its_help(name, capsys, monkeypatch):
    text = text_of(SPELLED.get(name, name.replace("_", "-")), help_of(capsys, monkeypatch, "train", "bc"))
    assert text, f"{name} is not a flag of holdfast train"
    assert " ".join(documented(Settings)[name].split()[:4]) in text


NO_ARGUMENT = ("algorithm", "algorithm_module", "source", "in_memory")


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in NO_ARGUMENT])
def test_every_setting_is_an_argument_of_train(name, monkeypatch):
    seen = []

    def start(settings, *rest):
        seen.append(settings)
        return Finished("a folder", {})

    monkeypatch.setattr("holdfast.training.launch.start", start)
    values = {"config": {"actor_lr": 1.0}, "treatment": {"reward_scale": 2.0}, **OTHER}
    train("bc", **{"data": DATA, name: values[name]})
    assert name in inspect.signature(train).parameters or name in OTHER
    found = getattr(seen[0], name)
    assert found == values[name] if name not in ("config", "treatment") else values[name].items() <= found.items()


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_read_back_from_its_config(name):
    values = {"algorithm": "iql", "config": {"a": 1}, "treatment": {"reward_scale": 2.0}, "in_memory": True, **OTHER}
    values["algorithm_module"] = "mine:algorithm"
    values["source"] = {"run": "/somewhere", "step": 8}
    made = Settings(**{"algorithm": "bc", name: values[name]})
    again = Settings.from_dict(json.loads(json.dumps(made.to_dict())), "config.json")
    assert again == made
    assert again != Settings("bc")


def test_flags_and_arguments_give_the_same_settings():
    argv = ["--data", DATA, "--steps", "8", "--seeds", "2", "--sweep", "actor-lr=1e-3,2e-3", "--no-eval", "--log", "a"]
    argv += [
        "--clip-actions",
        "--reward-scale",
        "3",
        "--hidden",
        "16",
        "--preset",
        "tuned_gaussian",
        "--save-every",
        "0",
    ]
    argv += ["--action-bounds", "-1", "1", "--no-use-next-observations"]
    by_flags, _ = parse("bc", argv, "tuned_gaussian", None)
    by_keyword = Settings.of(
        "bc", preset="tuned_gaussian", config={"hidden": [16]},
        treatment={"reward_scale": 3.0}, clip_actions=True, data=DATA,
        steps=8, seeds=2, sweep={"actor_lr": (1e-3, 2e-3)}, evaluate=False, loggers=["a"], save_every=0,
        data_options={"action_bounds": (-1.0, 1.0), "use_next_observations": False},
    )  # fmt: skip
    assert by_flags == by_keyword
    assert by_flags.allow == ["action_bounds"]
    assert by_flags.save_every is None
    assert parse("bc", [], None, by_flags)[0] == by_flags


@pytest.mark.parametrize("name", ["eval_every", "save_every", "envs", "replay"])
def test_none_and_0_are_automatic(name):
    assert getattr(Settings("bc"), name) is None
    assert getattr(Settings("bc", **{name: 0}), name) is None
    assert Settings("bc", **{name: -1}).faults() == [f"--{name.replace('_', '-')} is -1, expected at least 1"]


def test_fine_tuning_offers_what_it_can_change(tmp_path, capsys, monkeypatch):
    run = tiny(tmp_path / "run", "td3_bc", steps=1, evaluate=False, workers=0, eval_episodes=3).path
    text = help_of(capsys, monkeypatch, "finetune", str(run))
    assert "envs" in changeable()
    for name in changeable():
        assert text_of(SPELLED.get(name, name.replace("_", "-")), text), name
    for flag in ("data", "seeds", "sweep", "growing", "preset", "allow"):
        assert not text_of(flag, text), flag
    assert "(default: 3)" in text_of("eval-episodes", text)
    for name in ("seeds", "data_options", "growing"):
        with pytest.raises(UserError, match=f"unknown argument of finetune '{name}'"):
            finetune(run, **{name: OTHER[name]})


def test_the_commands_share_the_options_of_the_data(capsys, monkeypatch):
    shown = {field.name for field in dataclasses.fields(DataOptions)} - {"id"}
    for argv in (("train", "bc"), ("data", "info"), ("data", "check"), ("data", "convert")):
        text = help_of(capsys, monkeypatch, *argv)
        for name in shown:
            flag = name.replace("_", "-") if name != "use_next_observations" else "no-use-next-observations"
            assert " ".join(documented(DataOptions)[name].split()[:3]) in text_of(flag, text), (argv, name)
    assert DataFlags().values() == {}


def test_treatments_are_documented():
    assert set(documented(Treatment)) == set(Treatment._fields)


# the plan


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "bc", "--data", DATA, *FLAGS, "--steps", "50", "--seeds", "3", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert all(text in out for text in ("bc", DATA, "50", "3"))
    assert not list(tmp_path.iterdir())
    assert main(["train", "bc", "--data", DATA, "--steps", "0", "--dry-run"]) == 2
    assert main(["train", "dqn", "--data", DATA, "--dry-run"]) == 2


# presets


class Notes(Hook):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.mark.slow
def test_note_of_the_preset_for_short_logs(tmp_path, monkeypatch):
    found = registry.get("bc")
    first = next(iter(found.presets.values()))
    both = found._replace(presets={"paper": first, "tuned_100k": first})
    other = found._replace(presets={"paper": first})
    for name, algorithm, settings, more in (
        ("default", both, {}, [preset_note(DATA, load_dataset(DATA).n_steps)]),
        ("named", both, {"preset": "tuned_100k"}, []),
        ("without", other, {}, []),
    ):
        monkeypatch.setattr(registry, "get", lambda _, algorithm=algorithm: algorithm)
        hook = Notes()
        run = tiny(tmp_path / name, steps=1, evaluate=False, hooks=[hook], **settings)
        preset = settings.get("preset", "paper")
        assert hook.notes == [f"preset {preset}: {first.source}", *more], name
        assert run.result["config"]["preset"] == preset


def test_long_logs_get_no_note():
    assert preset_note("log", SHORT_LOG) is None
    assert "log has 299999 steps: preset tuned_100k" in preset_note("log", SHORT_LOG - 1)


# runs of other versions, and runs that are there


# settings of TD3+BC as version 0.1.0 wrote them; a schedule of 0 was the whole run, -1 a constant rate
TD3_BC = {
    "alpha": 2.5, "discount": 0.99, "polyak": 0.005, "policy_noise": 0.2, "noise_clip": 0.5, "policy_every": 2,
    "exploration_noise": 0.1, "actor_lr": 0.0003, "online_cloning": 0.2, "online_decay_steps": 0,
    "actor_decay_steps": -1, "critic_lr": 0.0003, "critic_decay_steps": -1, "actor_dropout": 0.0,
    "critic_layer_norm": False, "hidden": [16], "batch_size": 16, "update_ratio": 1,
}  # fmt: skip


def written_by_0_1_0(run):
    """Rewrite the config.json of a TD3+BC run as version 0.1.0 wrote it."""
    now = json.loads((run / "config.json").read_text())
    old = {
        "format": 1, "algorithm": "td3_bc", "data": now["data"], "steps": now["steps"],
        "config": TD3_BC,
        "treatment": now["treatment"], "preset": "small", "seeds": 1, "seed": 0, "sweep": {}, "data_options": {},
        "allow": [], "env": None, "evaluate": True, "eval_episodes": 1, "eval_every": 0, "save_every": 0,
        "block": now["block"], "workers": 0, "worker_timeout": 60.0, "envs": 0, "replay": 0, "loggers": [],
        "source": None, "keep_policies": False, "growing": 0.0, "in_memory": False,
        "dataset_fingerprint": now["dataset_fingerprint"],
    }  # fmt: skip
    (run / "config.json").write_text(json.dumps(old))
    for pointer in (run / "checkpoints").glob("step-*.json"):
        facts = json.loads(pointer.read_text())
        path = run / "checkpoints" / facts["file"]
        path.write_bytes(without_metadata(path.read_bytes(), LATER))
        pointer.write_text(json.dumps({**facts, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}))


def without_metadata(data, names):
    """A safetensors file without some entries of its metadata."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    (key,) = header["__metadata__"]
    kept = {name: value for name, value in json.loads(header["__metadata__"][key]).items() if name not in names}
    header["__metadata__"] = {key: json.dumps(kept)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def test_runs_of_version_0_1_0_are_read_resumed_repeated_and_reported(tmp_path, capsys):
    words = {"online_decay_steps": "run", "actor_decay_steps": "constant", "critic_decay_steps": "constant"}
    run = tiny(tmp_path / "run", "td3_bc", config={**TD3_BC, **words}).path
    before = bits(run)
    written_by_0_1_0(run)
    settings = Settings.read(run / "config.json")
    assert settings.eval_every is None
    assert settings.preset == "small"
    assert read_run(run).replicas == ["seed-0"]
    assert main(["report", str(run)]) == 0
    assert main(["evaluate", str(run), "--episodes", "1"]) == 0
    (run / "result.json").unlink()
    again = resume(run)
    assert bits(again.path)["checkpoints"] == before["checkpoints"]
    assert isinstance(again.policy(), Policy)
    repeated = tmp_path / "repeated"
    assert main(["train", "--config", str(run / "config.json"), "--no-eval", "--out", str(repeated)]) == 0
    assert Settings.read(repeated / "config.json").preset == "small"
    assert bits(repeated)["checkpoints"] == before["checkpoints"]


def test_ensure_finished_starts_resumes_reads_and_refuses(tmp_path):
    settings = Settings.of("bc", config=TINY, data=DATA, steps=8, block=4, evaluate=False)
    first = ensure_finished(settings, tmp_path / "run", "--runs")
    before = bits(first.path)
    (first.path / "result.json").unlink()
    assert bits(ensure_finished(settings, tmp_path / "run", "--runs").path) == before
    assert bits(ensure_finished(dataclasses.replace(settings, workers=2), tmp_path / "run", "--runs").path) == before
    with pytest.raises(UserError, match=r"other settings \(steps 8 instead of 9\): name another folder with --runs"):
        ensure_finished(dataclasses.replace(settings, steps=9), tmp_path / "run", "--runs")
