"""Runs with networks of the user: from Python and the command line, saved, resumed, fine-tuned and opened again."""

import json
import sys

import equinox as eqx
import numpy as np
import pytest

import holdfast
from holdfast import Policy, UserError
from holdfast.cli import main
from holdfast.core import networks
from holdfast.report.command import command_of
from holdfast.runs.settings import Settings
from support.small_runs import DATA, FLAGS, Stops, require_same, tiny

MODULE = """
import pathlib

import equinox as eqx
import jax.numpy as jnp

pathlib.Path(__file__).with_name("imported").touch()


def tower(key, inputs, outputs):
    return eqx.nn.MLP(inputs, outputs, 6, 1, activation=lambda x: jnp.sin(x), key=key)
"""
OBS = np.linspace(-1, 1, 12).reshape(4, 3).astype(np.float32)


def straight(key, inputs, outputs):
    return eqx.nn.Linear(inputs, outputs, key=key)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with a module of networks; nothing was given in this process before."""
    (tmp_path / "planted_nets.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(networks, "_given", {})
    yield tmp_path
    sys.modules.pop("planted_nets", None)


def forget(monkeypatch, folder):
    """What another process knows: nothing was given or imported."""
    monkeypatch.setattr(networks, "_given", {})
    sys.modules.pop("planted_nets", None)
    (folder / "imported").unlink(missing_ok=True)


def test_from_the_command_line(folder, monkeypatch, capsys):
    named = ["--network", "actor=planted_nets:tower", "--activation", "tanh", "--actor-hidden", "4,5"]
    flags = [*FLAGS, "--steps", "4", "--block", "4", "--no-eval", "--env", "Pendulum-v1"]
    assert main(["train", "bc", "--data", DATA, *flags, *named, "--out", "run"]) == 0
    shown = capsys.readouterr()
    assert "not those of preset" in shown.out + shown.err
    result = json.loads((folder / "run" / "result.json").read_text())
    chosen = {"activation": "tanh", "actor_hidden": [4, 5], "network": {"actor": "planted_nets:tower"}}
    assert result["networks"] == chosen
    command = command_of(Settings.read(folder / "run" / "config.json"))
    for words in ("--activation tanh", "--actor-hidden 4 5", "--network actor=planted_nets:tower"):
        assert words in command

    first = holdfast.Run.load("run").policy()
    forget(monkeypatch, folder)
    place = next((folder / "run").rglob("policy.json")).parent
    with pytest.raises(UserError, match="planted_nets:tower, which a file may not import"):
        Policy.load(place)
    with pytest.raises(UserError, match="may not import"):
        holdfast.resume("run", steps=8, progress=False)
    assert main(["train", "--config", "run/config.json", "--out", "again"]) == 2
    assert not (folder / "imported").exists()
    second = Policy.load(place, trust=True)
    assert (folder / "imported").exists()
    assert np.array_equal(first(OBS), second(OBS))
    with pytest.raises(UserError, match="cannot be pickled"):
        second.__reduce__()


@pytest.mark.slow
def test_a_resumed_run_has_the_same_bits(folder):
    """Own networks and encoders that no file can name are given again."""
    own = {"network": lambda *a: straight(*a), "encoder": lambda key, shape: straight(key, shape[0], 5)}
    tiny(folder / "whole" / "run", **own, evaluate=False)
    with pytest.raises(KeyboardInterrupt):
        tiny(folder / "cut" / "run", **own, evaluate=False, hooks=[Stops(1)])
    cut = folder / "cut" / "run"
    with pytest.raises(UserError, match="object/"):
        holdfast.resume(cut, progress=False)
    with pytest.raises(UserError, match=r"not .*straight"):
        holdfast.resume(cut, network=straight, progress=False)
    done = holdfast.resume(cut, **own, progress=False)
    require_same(cut, folder / "whole" / "run")
    saved = next(cut.rglob("policy.json")).parent
    with pytest.raises(UserError, match="object/"):
        Policy.load(saved, network=own["network"])
    with pytest.raises(UserError, match="object/"):
        Policy.load(saved, trust=True)
    again = Policy.load(saved, network={"all": own["network"]}, encoder=own["encoder"])
    assert np.array_equal(again(OBS), done.policy()(OBS))


@pytest.mark.slow
def test_finetuning_keeps_the_networks(folder):
    run = tiny(folder / "offline", "td3_bc", network=lambda *a: straight(*a), activation="elu", evaluate=False)
    tuned = run.finetune(steps=4, block=4, evaluate=False, progress=False, env="Pendulum-v1", envs=1)
    assert tuned.result["networks"]["activation"] == "elu"
    assert tuned.policy()(OBS).shape == (4, 1)
    with pytest.raises(UserError, match="give the same one"):
        holdfast.finetune(folder / "offline", steps=4, progress=False)
