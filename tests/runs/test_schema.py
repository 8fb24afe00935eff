"""The files of a run are checked entry by entry, and an edited config is refused before anything changes."""

import json
import shutil

import pytest

from holdfast import UserError
from holdfast.cli import main
from holdfast.policy.policy import Policy
from holdfast.runs.checkpoints import Checkpoints
from holdfast.runs.schema import checked_checkpoint, read_result, settings_hash
from holdfast.runs.settings import Settings
from holdfast.training.run import resume, train
from support.small_runs import DATA, TINY, Stops


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped after its second checkpoint."""
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.raises(KeyboardInterrupt):
        train("td3_bc", DATA, steps=12, block=4, evaluate=False, config=TINY, out=out, hooks=[Stops(2)])
    return out


@pytest.fixture
def run(stopped, tmp_path):
    """A copy of that run."""
    return shutil.copytree(stopped, tmp_path / "run")


@pytest.fixture(scope="module")
def trained(stopped, tmp_path_factory):
    """That run at its end."""
    whole = shutil.copytree(stopped, tmp_path_factory.mktemp("finished") / "run")
    resume(whole, progress=False)
    return whole


@pytest.fixture
def finished(trained, tmp_path):
    """A copy of the run at its end."""
    return shutil.copytree(trained, tmp_path / "finished")


def bytes_of(folder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def edit(path, *keys, value) -> None:
    """Change one entry of a JSON file."""
    whole = json.loads(path.read_text())
    inside = whole
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = value
    path.write_text(json.dumps(whole))


EDITS = [
    (("config", "actor_lr"), 0.5),
    (("config", "batch_size"), 32),
    (("config", "policy_every"), 3),
    (("treatment", "normalize_obs"), 0.5),
    (("seed",), 3),
    (("eval_episodes",), 3),
    (("dataset_fingerprint",), "0" * 64),
]


@pytest.mark.parametrize(("keys", "value"), EDITS, ids=[keys[-1] for keys, _ in EDITS])
def test_an_edited_config_is_refused_and_nothing_changes(run, keys, value):
    edit(run / "config.json", *keys, value=value)
    before = bytes_of(run)
    with pytest.raises(UserError, match="has changed since") as caught:
        resume(run)
    assert "\n" not in str(caught.value)
    assert bytes_of(run) == before


def test_how_a_run_is_executed_may_be_edited(run):
    edit(run / "config.json", "save_every", value=2)
    edit(run / "config.json", "loggers", value=["wandb"])
    assert resume(run).result["steps"] == 12


def test_a_checkpoint_without_a_hash_is_accepted(run, monkeypatch):
    def older(metadata, where):
        return {name: value for name, value in metadata.items() if name != "settings"}

    monkeypatch.setattr("holdfast.training.resuming.checked_checkpoint", older)
    monkeypatch.setattr("holdfast.training.starting.checked_checkpoint", older)
    edit(run / "config.json", "eval_episodes", value=3)
    assert resume(run).result["steps"] == 12


def test_the_hash_ignores_defaults_that_are_spelled_out():
    settings = Settings.of("bc", data=DATA)
    spelled = Settings.from_dict(settings.to_dict(), "config.json")
    assert settings_hash(settings, None) == settings_hash(spelled, None)
    assert settings_hash(settings, None) != settings_hash(settings, "other")


def test_a_changed_table_is_refused_and_nothing_changes(run):
    table = run / "metrics.csv"
    text = table.read_text()
    phase = text.splitlines()[1].split(",")[1]
    cell = text.splitlines()[1].split(",")[-1]
    kept = "\n".join(text.splitlines()[:2])  # the row of the checkpoint
    for damaged in (text.replace(cell, "0.5", 1), kept[:-3], text.replace(phase, f"{phase}\ufffd", 1)):
        table.write_bytes(damaged.encode())
        before = bytes_of(run)
        with pytest.raises(UserError, match=r"metrics.csv (has changed|is not what)"):
            resume(run)
        assert bytes_of(run) == before


METADATA = [("phase", "0"), ("local", 99), ("total", -1), ("rounds", 3), ("metrics_rows", 1.5), ("seconds", None)]
METADATA += [("wall_seconds", float("nan")), ("evaluated", {}), ("updates", True)]


@pytest.mark.parametrize(("name", "value"), METADATA)
def test_the_metadata_of_a_checkpoint_are_checked(stopped, name, value):
    metadata = Checkpoints(stopped / "checkpoints").read().metadata
    assert checked_checkpoint(metadata, "x") == metadata
    with pytest.raises(UserError, match=f"{name} in x is"):
        checked_checkpoint({**metadata, name: value}, "x")
    del metadata[name]
    with pytest.raises(UserError, match=f"it lacks {name}"):
        checked_checkpoint(metadata, "x")


def test_a_checkpoint_beyond_the_run_is_refused(run):
    edit(run / "config.json", "steps", value=3)
    before = bytes_of(run)
    with pytest.raises(UserError, match="more than the run has"):
        resume(run)
    assert bytes_of(run) == before


RESULTS = [("replicas", []), ("replicas", ["../.."]), ("replicas", [3]), ("steps", "12"), ("wall_seconds", None)]
RESULTS += [("finetune", {}), ("finetune", 3), ("versions", []), ("updates_per_second", "fast")]


@pytest.mark.parametrize(("name", "value"), RESULTS)
def test_a_result_is_checked(finished, name, value, capsys):
    policies = bytes_of(finished / "policy")
    edit(finished / "result.json", name, value=value)
    with pytest.raises(UserError, match=r"result\.json"):
        read_result(finished / "result.json")
    for command in (["report", str(finished)], ["train", "--resume", str(finished)]):
        assert main(command) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert bytes_of(finished / "policy") == policies


def test_a_policy_that_reads_itself_is_refused(run):
    policy = resume(run).path / "policy"
    made = Policy.load(policy)
    made.info["inputs"] = {"policy": str(policy)}
    made.save(policy)
    with pytest.raises(UserError) as caught:
        Policy.load(policy)
    assert "\n" not in str(caught.value)
