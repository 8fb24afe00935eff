"""A run: what it leaves, that the same settings give the same bits, sweeps, divergence, clocks, hooks and loggers."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from holdfast import Diverged, Policy, UserError, load_dataset
from holdfast.algorithms import bc, registry
from holdfast.cli.values import parse_sweep
from holdfast.core.contract import Phase, Refreshed
from holdfast.runs.checkpoints import Checkpoints
from holdfast.runs.folder import RunFolder, free_folder
from holdfast.runs.replicas import replicas
from holdfast.runs.settings import Settings
from holdfast.training.hooks import Hook
from holdfast.training.run import resume
from support.small_runs import DATA, TINY, checkpoint, require_same, rows, tensors, tiny

ASKED = {
    "algorithm", "dataset", "dataset_fingerprint", "steps", "seeds", "returns", "return_mean", "normalized_score",
    "updates_per_second", "compile_seconds", "wall_seconds", "versions", "config",
}  # fmt: skip
OURS = {
    "replicas", "sweep", "environment", "episode_seeds", "return_interval", "return_iqm", "normalized_scores",
    "logged_return_mean", "flops_per_update", "device", "by_setting",
}  # fmt: skip


def no_constant(name):
    raise AssertionError(f"{name} is no JSON")


def test_folder_and_result(tmp_path):
    run = tiny(tmp_path / "run", seeds=2, eval_episodes=2, seed=5)
    names = {p.name for p in run.path.iterdir()}
    csvs = {"metrics.csv", "evaluations.csv", "timing.csv"}
    assert names == {"config.json", "result.json", "checkpoints", "policy", *csvs}
    result = json.loads((run.path / "result.json").read_text(), parse_constant=no_constant)
    assert result == run.result
    assert set(result) == ASKED | OURS
    assert (result["algorithm"], result["dataset"], result["steps"]) == ("bc", DATA, 8)
    assert result["dataset_fingerprint"] == load_dataset(DATA).fingerprint
    assert result["seeds"] == [5, 6]
    assert result["replicas"] == ["seed-5", "seed-6"]
    assert np.shape(result["returns"]) == (2, 2)
    assert result["return_mean"] == pytest.approx(np.mean(result["returns"]))
    assert result["updates_per_second"] > 0
    assert result["wall_seconds"] > result["compile_seconds"] > 0
    assert result["config"]["config"]["hidden"] == [16]
    assert {"python", "holdfast", "jax"} <= set(result["versions"])
    expected = load_dataset(DATA).normalized(result["return_mean"])
    assert result["normalized_score"] == pytest.approx(float(expected))
    last = [r for r in rows(run.path / "evaluations.csv") if r["step"] == "8"]
    assert [float(r["return"]) for r in last] == np.ravel(result["returns"]).tolist()
    assert [(r["replica"], r["seed"], r["episode"]) for r in last] == [
        ("seed-5", "5", "0"), ("seed-5", "5", "1"), ("seed-6", "6", "0"), ("seed-6", "6", "1")
    ]  # fmt: skip
    assert len(run.policies()) == 2
    assert run.policy(1).info["seed"] == 6


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_episode_gives_a_result_too(tmp_path, seeds):
    run = tiny(tmp_path / "run", seeds=seeds, eval_episodes=1, steps=2, block=2)
    json.loads((run.path / "result.json").read_text(), parse_constant=no_constant)


def test_a_seed_is_evaluated_in_the_episodes_that_it_has_alone(tmp_path):
    settings = {"steps": 2, "block": 2, "eval_episodes": 2}
    together = tiny(tmp_path / "both", seed=5, seeds=2, **settings).result["episode_seeds"]
    alone = tiny(tmp_path / "alone", seed=6, seeds=1, **settings).result["episode_seeds"]
    assert together[1:] == alone
    assert len(set(np.ravel(together))) == 4


@pytest.mark.slow
def test_seeds_together_and_alone(tmp_path):
    settings = {"steps": 20, "block": 10, "evaluate": False}
    together = tiny(tmp_path / "both", "td3_bc", seeds=2, **settings)
    for i in range(2):
        alone = tiny(tmp_path / f"{i}", "td3_bc", seed=i, **settings)
        mine = [r for r in rows(together.path / "metrics.csv") if r["seed"] == str(i)]
        for one, other in zip(mine, rows(alone.path / "metrics.csv"), strict=True):
            numbers = [n for n in one if n not in ("step", "phase", "replica", "seed")]
            np.testing.assert_allclose([float(one[n]) for n in numbers], [float(other[n]) for n in numbers], rtol=2e-4)
        obs = load_dataset(DATA).observations[:50]
        np.testing.assert_allclose(together.policy(i)(obs), alone.policy(0)(obs), atol=1e-4)
    one, other = (together.policy(i)(obs) for i in range(2))
    assert np.abs(one - other).max() > 1e-3


def test_same_settings_same_bits(tmp_path):
    for name in ("a", "b"):
        tiny(tmp_path / name / "run", "td3_bc", seeds=2)
    require_same(tmp_path / "a" / "run", tmp_path / "b" / "run")
    other = tiny(tmp_path / "c" / "run", "td3_bc", seeds=2, seed=1)
    assert checkpoint(other.path) != checkpoint(tmp_path / "a" / "run")


@pytest.mark.slow
def test_clocks_are_absolute_and_move_no_bit(tmp_path):
    """Rows of metrics at every block, evaluation and save; where they fall changes nothing in training."""
    plain = tiny(tmp_path / "plain", "td3_bc", steps=25, block=25, evaluate=False).path
    assert [r["step"] for r in rows(plain / "metrics.csv")] == ["25"]
    often = tiny(tmp_path / "often", "td3_bc", steps=25, block=10, eval_every=7, save_every=8).path
    assert [int(r["step"]) for r in rows(often / "metrics.csv")] == [7, 8, 10, 14, 16, 20, 21, 24, 25]
    assert [int(r["step"]) for r in rows(often / "evaluations.csv")] == [7, 14, 21, 25]
    assert Checkpoints(often / "checkpoints").steps() == [24, 25]
    one, other = checkpoint(plain), checkpoint(often)
    assert one == other
    assert tensors(plain / "policy" / "policy.safetensors") == tensors(often / "policy" / "policy.safetensors")


def test_without_evaluation(tmp_path):
    result = tiny(tmp_path / "run", evaluate=False).result
    assert result["returns"] == []
    assert result["return_mean"] is None
    assert rows(tmp_path / "run" / "evaluations.csv") == []
    assert isinstance(Policy.load(tmp_path / "run" / "policy"), Policy)


def test_sweep_trains_every_value_with_every_seed(tmp_path):
    sweep = {"actor_lr": [1e-3, 3e-3]}
    run = tiny(tmp_path / "run", seeds=2, sweep=sweep, steps=20, block=20, eval_every=20)
    names = ["actor_lr-0.001-seed-0", "actor_lr-0.001-seed-1", "actor_lr-0.003-seed-0", "actor_lr-0.003-seed-1"]
    assert run.result["replicas"] == names
    assert run.result["sweep"] == [{"actor_lr": v} for v in (1e-3, 1e-3, 3e-3, 3e-3)]
    returns = np.array(run.result["returns"])
    entries = run.result["by_setting"]
    assert [(e["label"], e["values"], e["replicas"]) for e in entries] == [
        ("actor_lr 0.001", {"actor_lr": 1e-3}, names[:2]), ("actor_lr 0.003", {"actor_lr": 3e-3}, names[2:])
    ]  # fmt: skip
    assert [e["return_mean"] for e in entries] == pytest.approx([returns[:2].mean(), returns[2:].mean()])
    highest = max(e["return_mean"] for e in entries)
    assert [e["best"] for e in entries] == [e["return_mean"] == highest for e in entries]
    top = ("return_mean", "return_interval", "return_iqm", "normalized_score")
    assert {run.result[name] for name in top} == {None}  # no average over settings
    assert f"{entries[entries[1]['best']]['label']} is best, return" in repr(run)
    table = rows(run.path / "metrics.csv")
    assert [(r["replica"], r["actor_lr"]) for r in table] == [(n, n.split("-")[1]) for n in names]
    assert [run.policy(i).cfg.actor_lr for i in range(4)] == pytest.approx([1e-3, 1e-3, 3e-3, 3e-3])
    alone = tiny(tmp_path / "alone", config={**TINY, "actor_lr": 3e-3}, steps=20, block=20, evaluate=False)
    obs = load_dataset(DATA).observations[:50]
    np.testing.assert_allclose(run.policy(2)(obs), alone.policy()(obs), atol=1e-4)


@pytest.mark.parametrize(
    ("algorithm", "sweep", "why"),
    [
        ("td3_bc", {"policy_every": [1, 2]}, r"policy_every: its type is int.*alpha.*start one run for each"),
        ("filtered_bc", {"keep": [0.1, 0.2]}, r"keep: it changes the compiled program"),
        ("iql", {"expectil": [0.5]}, r"unknown setting of iql 'expectil'; did you mean 'expectile'"),
        ("iql", {"expectile": [0.5, 0.5]}, "expected different numbers"),
        ("iql", {"expectile": []}, "expected different numbers"),
        ("iql", {"expectile": [0.5, 1.5]}, r"expectile is 1.5, expected in \(0, 1\)"),
        ("iql", {"max_weight": [1.0, float("inf")]}, "max_weight is inf, expected a finite number"),
        ("iql", {"expectile": list(np.linspace(0.1, 0.9, 5000))}, "5000 replicas"),
    ],
)
def test_sweeps_refused(tmp_path, algorithm, sweep, why):
    with pytest.raises(UserError, match=why) as told:
        tiny(tmp_path / "run", algorithm, sweep=sweep)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()


def test_paired_sweeps_combine_values_in_their_order():
    iql = registry.get("iql")
    sweep = {"expectile": [0.5, 0.5, 0.7], "discount": [0.9, 0.99, 0.9]}
    found = replicas(iql, iql.presets["mujoco"].config, sweep, [3, 4], paired=True)
    pairs = [(r.cfg.expectile, r.cfg.discount) for r in found if r.seed == 3]
    assert pairs == [(0.5, 0.9), (0.5, 0.99), (0.7, 0.9)]
    assert found[3].name == "expectile-0.5-discount-0.99-seed-4"
    assert len(replicas(iql, iql.presets["mujoco"].config, {}, [3, 4], paired=True)) == 2
    with pytest.raises(UserError, match="paired twice"):
        replicas(iql, iql.presets["mujoco"].config, {"expectile": [0.5, 0.5]}, [0], paired=True)
    uneven = Settings.of("iql", data=DATA, sweep={"expectile": [0.5, 0.7], "discount": [0.9]}, paired=True)
    assert uneven.faults() == ["--paired needs as many values of each swept setting as of the others: expectile has 2, "
                               "discount has 1"]  # fmt: skip


@pytest.mark.parametrize("texts", [["expectile"], ["expectile="], ["expectile=a,b"], ["expectile=0.5,"]])
def test_sweep_flags_refused(texts):
    with pytest.raises(UserError, match="expected NAME=NUMBER"):
        parse_sweep(texts)


def test_sweep_flags():
    assert parse_sweep(["actor-lr=1e-3,2e-3", "x=1"]) == {"actor_lr": [1e-3, 2e-3], "x": [1.0]}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"steps": 0}, "--steps is 0"),
        ({"steps": -5, "seeds": 0}, "--steps is -5.*--seeds is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"seed": 2**32}, "expected less than"),
        ({"seeds": 10**9}, "1000000000 replicas"),
        ({"block": 0}, "--block is 0"),
        ({"eval_episodes": 0}, "--eval-episodes is 0"),
        ({"save_every": -1}, "--save-every is -1"),
        ({"config": {"actor_lr": float("nan")}}, "actor_lr"),
        ({"config": {"actor_lr": float("inf")}}, "actor_lr is inf, expected a finite number"),
        ({"config": {"actor_lr": "fast"}}, "actor_lr is 'fast', expected float"),
        ({"config": {"actor_rl": 1.0}}, "did you mean 'actor_lr'"),
        ({"treatment": {"reward_scale": float("nan")}}, "reward_scale is nan, expected a finite number"),
        ({"treatment": {"reward_scal": 1.0}}, "did you mean 'reward_scale'"),
        ({"preset": "d3rlpi"}, "did you mean 'd3rlpy'"),
        ({"stepz": 3}, "did you mean 'steps'"),
        ({"loggers": ["tensorbord"]}, "did you mean 'tensorboard'"),
        ({"allow": ["everything"]}, "unknown fault to allow"),
        ({"env": "holdfast/nothing-v0"}, "nothing-v0"),
        ({"env": "CartPole-v1"}, "does not match the policy"),
    ],
)
def test_settings_refused_before_anything_is_written(tmp_path, settings, why):
    with pytest.raises(UserError, match=why) as told:
        tiny(tmp_path / "run", **settings)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()


# divergence


def poisoned_update(cfg, state, batch, noise, step):
    state, metrics = bc.update(cfg, state, batch, noise, step)
    return state, {**metrics, "actor/loss": metrics["actor/loss"] + np.where(False, 0, 1) / (step != 13)}


@pytest.fixture
def poisoned(monkeypatch):
    """Behaviour cloning whose loss is infinite at update 13."""
    real = registry.get
    found = bc.algorithm._replace(name="poisoned", update=poisoned_update)
    monkeypatch.setattr(registry, "get", lambda name: found if name == "poisoned" else real(name))
    return "poisoned"


def test_infinite_metric_stops_the_run(tmp_path, poisoned):
    settings, constant = {"steps": 30, "block": 5, "eval_every": 5}, {**TINY, "actor_decay_steps": "constant"}
    with pytest.raises(Diverged, match=r"actor/loss of seed-0 is NaN or infinite at update 13") as told:
        tiny(tmp_path / "run", poisoned, seeds=2, config=constant, **settings)
    assert told.value.exit_code == 3
    assert "checkpoint of step 10 is kept" in str(told.value)
    assert not (tmp_path / "run" / "result.json").exists()
    assert {r["step"] for r in rows(tmp_path / "run" / "metrics.csv")} == {"5", "10"}
    kept = Checkpoints(tmp_path / "run" / "checkpoints")
    assert kept.latest() == 10
    good = tiny(tmp_path / "good", steps=10, block=5, seeds=2, evaluate=False, config=constant)
    assert checkpoint(tmp_path / "run") == checkpoint(good.path)
    for name in ("seed-0", "seed-1"):
        assert np.isfinite(Policy.load(tmp_path / "run" / "policy" / name, bc.algorithm)(np.zeros(3, np.float32))).all()
    with pytest.raises(Diverged, match="at update 13"):  # going on meets it again
        resume(tmp_path / "run")
    assert kept.latest() == 10


def test_learning_rate_out_of_all_reason(tmp_path):
    with pytest.raises(Diverged, match=r"(actor|critic)/\S+ of seed-0 is NaN or infinite at update \d+ of td3_bc"):
        tiny(tmp_path / "run", "td3_bc", config={**TINY, "critic_lr": 1e30}, steps=50, block=50, evaluate=False)
    assert Checkpoints(tmp_path / "run" / "checkpoints").latest() is None


def test_not_finite_in_a_refresh_stops_the_run(tmp_path, monkeypatch):
    def refresh(cfg, state, sources, ctx, noise, step):
        return Refreshed(state, metrics={"holdout/loss": 1.0 / (step != 6)})

    phases = (Phase(refresh=refresh, every=3),)
    found = bc.algorithm._replace(name="looking", phases=lambda cfg: phases)
    real = registry.get
    monkeypatch.setattr(registry, "get", lambda name: found if name == "looking" else real(name))
    with pytest.raises(Diverged, match=r"holdout/loss of seed-0 is NaN or infinite at update 6"):
        tiny(tmp_path / "run", "looking", steps=9, block=3, evaluate=False)
    assert Checkpoints(tmp_path / "run" / "checkpoints").latest() == 3


# hooks and loggers


class Listens(Hook):
    def __init__(self):
        self.heard = []

    def start(self, start):
        self.heard.append(("start", start.step, start.steps, [r.name for r in start.replicas]))

    def compiled(self, phase, seconds):
        self.heard.append(("compiled", phase))

    def block(self, block):
        assert all(v.shape == (1,) for v in block.metrics.values())
        self.heard.append(("block", block.step, block.updates))

    def evaluated(self, evaluated):
        self.heard.append(("evaluated", evaluated.step))

    def warn(self, text):
        self.heard.append(("warn", text))

    def end(self, result):
        self.heard.append(("end", result and result["steps"]))


def test_hooks_hear_everything_in_order(tmp_path):
    hook = Listens()
    tiny(tmp_path / "run", hooks=[hook], eval_every=8)
    assert [h for h in hook.heard if h[0] != "warn"] == [
        ("start", 0, 8, ["seed-0"]), ("compiled", "offline"), ("block", 4, 4), ("block", 8, 4), ("evaluated", 8),
        ("end", 8),
    ]  # fmt: skip


@pytest.mark.parametrize("cloned", [False, True])
@pytest.mark.slow
def test_no_episodes_are_played_while_the_policy_stands_still(tmp_path, cloned):
    config = {"hidden": (8,), "critic_hidden": (8,), "behaviour_steps": 4, "batch_size": 8, "clone_start": cloned}
    run = tiny(tmp_path / "run", "brac_p", config=config, steps=4, block=2, eval_every=2, eval_episodes=1)
    played = [(r["phase"], r["step"]) for r in rows(run.path / "evaluations.csv")]
    before = [("behaviour", "2"), ("behaviour", "4")] if cloned else []
    assert played == [*before, ("offline", "6"), ("offline", "8")]


def test_hooks_hear_of_data_without_environment_and_of_the_end_of_a_failure(tmp_path, poisoned):
    import dataclasses

    data = dataclasses.replace(load_dataset(DATA).select(range(4)), env_spec=None)
    hook = Listens()
    with pytest.raises(Diverged):
        tiny(tmp_path / "run", poisoned, data=data, steps=20, block=20, hooks=[hook])
    assert any("no environment is known" in h[1] for h in hook.heard if h[0] == "warn")
    assert hook.heard[-1] == ("end", None)
    assert ("evaluated", 20) not in hook.heard


def test_tensorboard_events_read_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tiny(tmp_path / "run", seeds=2, loggers=["tensorboard"])
    for name in ("seed-0", "seed-1"):
        events = EventAccumulator(str(run.path / "tensorboard" / name))
        events.Reload()
        losses = {e.step: e.value for e in events.Scalars("actor/loss")}
        mine = {int(r["step"]): float(r["actor/loss"]) for r in rows(run.path / "metrics.csv") if r["replica"] == name}
        assert {s: losses[s] for s in mine} == pytest.approx(mine, rel=1e-6)
        last = run.result["returns"][run.result["replicas"].index(name)]
        assert events.Scalars("evaluation/return_mean")[-1].value == pytest.approx(np.mean(last), rel=1e-6)
        assert "evaluation/normalized_score" in events.Tags()["scalars"]


@pytest.mark.parametrize(
    ("name", "module"),
    [("tensorboard", "tensorboard.summary.writer.event_file_writer"), ("wandb", "wandb"), ("mlflow", "mlflow")],
)
def test_missing_extra_is_named(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"{name} is not installed: pip install 'holdfast-rl\[{name}\]'"):
        tiny(tmp_path / "run", loggers=[name])
    assert not (tmp_path / "run").exists()


# the folder


def test_free_folder_takes_the_first_number(tmp_path):
    assert free_folder(tmp_path / "runs", "bc-x").name == "bc-x-1"
    for n in (1, 3):
        (tmp_path / f"bc-x-{n}").mkdir()
    assert free_folder(tmp_path, "bc-x").name == "bc-x-2"


def test_runs_without_a_name_stand_side_by_side(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (tiny(None, steps=1, evaluate=False) for _ in range(2))
    assert [str(r.path) for r in (first, second)] == ["runs/bc-pendulum-mixed-1", "runs/bc-pendulum-mixed-2"]


def test_settings_survive_json():
    made = Settings("iql", DATA, 10, {"expectile": 0.7}, {"reward_scale": 1.0}, sweep={"expectile": [0.5, 0.9]})
    assert Settings.from_dict(json.loads(json.dumps(made.to_dict())), "config.json") == made


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 1.5}, {"seeds": True}, {"allow": "all"}, {"sweep": {"x": ["a"]}}, {"treatment": {"reward_scale": "a"}},
     {"treatment": {"colour": 1}}, {"colour": 1}, {"env": 3}, {"config": []}],
)  # fmt: skip
def test_settings_of_a_wrong_type_are_refused(wrong):
    made = Settings("iql", DATA, 10, {}, {}).to_dict()
    with pytest.raises(UserError, match=next(iter(wrong))):
        Settings.from_dict({**made, **wrong}, "config.json")


def test_folder_left_empty_by_a_killed_start_is_taken(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".aside-7-config.json").write_text("{")
    tiny(tmp_path / "run", steps=1, evaluate=False)
    assert not list((tmp_path / "run").glob(".aside*"))


@pytest.mark.slow
def test_programs_are_kept_where_asked(tmp_path):
    import os
    import subprocess

    code = "import jax.numpy as x; (x.ones(3) + 1).block_until_ready(); from holdfast.training.run import train; "
    code += f"train('bc', '{DATA}', steps=1, out='run', evaluate=False, config=dict(hidden=(8,)))"
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")} | {"HOLDFAST_CACHE": str(tmp_path / "kept")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True)
    assert any((tmp_path / "kept").iterdir())


def test_paths(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.policy_folders(["seed-0"]) == [folder.policy]
    assert folder.policy_folders(["a", "b"]) == [folder.policy / "a", folder.policy / "b"]


@pytest.mark.slow
def test_a_logged_discount_of_0_is_a_discount_of_0(tmp_path):
    """Whatever the method: the column multiplies its setting in every target."""
    data = load_dataset(DATA)
    steps = dataclasses.replace(data, columns={"discount": np.zeros(data.n_steps, np.float32)})
    logged = tiny(tmp_path / "logged", "td3", steps, config={**TINY, "policy_every": 1}, evaluate=False)
    plain = tiny(tmp_path / "plain", "td3", data, config={**TINY, "policy_every": 1, "discount": 0.0}, evaluate=False)
    told = [[row["critic/target"] for row in rows(run.path / "metrics.csv")] for run in (logged, plain)]
    assert told[0] == told[1]
