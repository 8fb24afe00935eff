"""Taking an offline run online: what it carries over, what it refuses, and that it resumes to the same bits."""

import json
import shutil

import numpy as np
import pytest

from holdfast import finetune
from holdfast.algorithms import registry
from holdfast.cli import main
from holdfast.core.errors import UserError
from holdfast.data.dataset import Dataset
from holdfast.environments import probes
from holdfast.policy.policy import Policy
from holdfast.policy.storage import arrays_of
from holdfast.report.curves import draw
from holdfast.report.page import page
from holdfast.report.table import rows as table_rows
from holdfast.runs.checkpoints import Checkpoints
from holdfast.runs.folder import RunFolder
from holdfast.runs.read import read_run
from holdfast.runs.settings import Settings
from holdfast.training import handover
from holdfast.training.finetune import constant_rates
from holdfast.training.hooks import Hook
from holdfast.training.plan.schedule import resolved
from holdfast.training.run import resume
from support.marks import quick
from support.small_runs import interrupt_step, require_same, rows, tiny

SMALL = {"hidden": (8,), "batch_size": 8}
CLOCKS = {"block": 10, "save_every": 10, "eval_every": 20, "eval_episodes": 1}
SWEPT = {"alpha": [1.0, 2.5]}


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """Two values of alpha, two seeds, 8 updates of TD3+BC."""
    return tiny(tmp_path_factory.mktemp("offline") / "run", "td3_bc", config=SMALL, seeds=2, sweep=SWEPT, eval_every=4)


def held(path, step=None):
    saved = Checkpoints(path / "checkpoints").read(step)
    return arrays_of(saved.data, saved.where)


class Keep(Hook):
    """The start of a run, and everything it evaluated."""

    def __init__(self):
        self.evaluations = []

    def start(self, start):
        self.begun = start

    def evaluated(self, evaluated):
        self.evaluations.append((evaluated.step, evaluated.evaluation.returns))


@pytest.fixture(scope="module")
def tuned(offline, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "run"
    return finetune(offline, steps=40, out=out, **CLOCKS)


@pytest.mark.slow
def test_every_replica_goes_on_from_its_own_state_with_its_optimisers(offline, tuned):
    source, start = held(offline.path), arrays_of((tuned.path / handover.START).read_bytes(), "start")
    assert {f"state.{name}" for name in start} == {name for name in source if name.startswith("state.")}
    for name, x in start.items():
        assert x.tobytes() == source[f"state.{name}"].tobytes()
    assert any("opt" in name and x.any() for name, x in start.items())
    assert tuned.result["replicas"] == offline.result["replicas"]
    assert len(tuned.policies()) == 4
    state = held(tuned.path)
    assert state["rings.online.size"].tolist() == [40] * 4
    count = next(name for name in state if name.endswith("critic.opt.0.count"))
    assert (state[count] == 8 + 40).all()  # an update a step, counted on from the 8 offline


@pytest.mark.slow
def test_treatment_and_policy_stay_those_of_the_offline_run(offline, tuned):
    ours, theirs = (
        Policy.load(RunFolder(run.path).policy_folders(run.result["replicas"])[0]) for run in (tuned, offline)
    )
    np.testing.assert_array_equal(ours.fitted.obs_mean, theirs.fitted.obs_mean)
    assert ours.info["stage"] == "finetune"
    assert ours.info["phase"] == 1
    assert np.abs(ours(np.zeros(3, np.float32)) - theirs(np.zeros(3, np.float32))) > 0


def test_the_first_evaluation_is_of_the_offline_policy(offline, tuned):
    from holdfast.evaluation.evaluate import evaluate

    first = [r for r in rows(tuned.path / "evaluations.csv") if r["step"] == "0"]
    assert len(first) == 4
    for row, policy in zip(first, offline.policies(), strict=True):  # each seed in episodes of its own
        again = evaluate(policy, episodes=1, seed=policy.info["seed"] * 1_000_003)
        assert int(row["episode_seed"]) == again.seeds[0, 0]
        assert float(row["return"]) == pytest.approx(again.returns[0, 0], rel=1e-4)


def test_the_result_tells_what_the_switch_cost(tuned):
    table = rows(tuned.path / "evaluations.csv")
    steps = sorted({int(r["step"]) for r in table})
    assert steps == [0, 20, 40]
    assert tuned.result["finetune"] is None  # no average over settings
    entry = tuned.result["by_setting"][1]
    assert entry["values"] == {"alpha": 2.5}
    table = [r for r in table if r["replica"] in entry["replicas"]]
    curve = [np.mean([float(r["return"]) for r in table if int(r["step"]) == s]) for s in steps]
    found = entry["finetune"]
    assert found["return_before"] == pytest.approx(curve[0])
    assert found["return_lowest"] == pytest.approx(min(curve[1:]))
    assert found["return_end"] == pytest.approx(curve[2])
    assert len(found["replicas"]) == 2
    for name in ("deepest_dip", "regret"):
        assert found[name] == pytest.approx(np.mean([alone[name] for alone in found["replicas"]]))
        low, high = found["intervals"][name]
        assert low <= found[name] <= high


def test_the_cost_of_a_switch_by_hand(tmp_path):
    lines = ["step,phase,replica,seed,episode,episode_seed,return,length"]
    for step, one, two in ((0, 10, 20), (5, 4, 26), (10, 30, 6)):
        lines += [f"{step},online,a,0,{e},1,{one + d},9" for e, d in enumerate((-1, 1))]
        lines += [f"{step},online,b,1,{e},1,{two + d},9" for e, d in enumerate((-1, 1))]
    path = tmp_path / "evaluations.csv"
    path.write_text("\n".join(lines) + "\n")
    found = handover.summary(path)
    assert found.pop("intervals") == {  # of the means of a and a, a and b, b and b; the lowest return is at step 5
        "return_before": [10, 20], "return_lowest": [4, 26], "deepest_dip": [6, 14], "return_end": [6, 30],
        "regret": [10, 13],
    }  # fmt: skip
    assert found.pop("replicas") == [
        {"return_before": 10, "return_lowest": 4, "lowest_step": 5, "deepest_dip": 6, "return_end": 30, "regret": 13},
        {"return_before": 20, "return_lowest": 6, "lowest_step": 10, "deepest_dip": 14, "return_end": 6, "regret": 10},
    ]  # best 30: 26 below it, then 0; best 26: 0, then 20 below it
    assert found == {  # the mean curve is 15, 15, 18
        "return_before": 15, "return_lowest": 15, "lowest_step": 5, "deepest_dip": 10, "return_end": 18, "regret": 11.5,
    }  # fmt: skip
    path.write_text("\n".join(line for line in lines if ",b," not in line) + "\n")
    alone = handover.summary(path)
    assert alone["regret"] == 13.0
    assert "intervals" not in alone
    path.write_text("\n".join(lines[:5]) + "\n")
    assert handover.summary(path) is None


def test_curves_and_page_run_through_offline_and_online(offline, tuned):
    record = read_run(tuned.path)
    steps, mean, low, high = record.curve([0, 1])
    assert steps.tolist() == [4, 8, 8, 28, 48]
    assert mean[:2].tolist() == read_run(offline.path).over_seeds([0, 1])[0].tolist()
    assert (low <= mean).all()
    assert (mean <= high).all()
    assert record.phases == [("offline", 0), ("online", 8)]
    figure = draw(record)
    axes = figure.axes[0]
    assert any(line.get_xdata()[0] == 8 for line in axes.lines if len(set(line.get_xdata())) == 1)  # the switch
    assert "then environment steps" in axes.get_xlabel()
    text = page(record)
    assert ">online</text>" in text
    labels = [cells[0] for section in table_rows(record) for cells in section]
    assert "before the first online step, alpha 1" in labels
    assert "mean shortfall from the best (regret), alpha 2.5" in labels


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits_without_the_offline_one(offline, tuned, tmp_path, monkeypatch):
    source = tmp_path / "offline"
    shutil.copytree(offline.path, source)
    for calls in (3, 25):
        out = tmp_path / str(calls) / "run"
        with monkeypatch.context() as patch:
            interrupt_step(patch, calls)
            with pytest.raises(KeyboardInterrupt):
                finetune(source, steps=40, out=out, **CLOCKS)
        source.rename(tmp_path / "gone")
        again = resume(out)
        (tmp_path / "gone").rename(source)
        for name in ("config.json", "result.json"):  # they name the offline run's place, which is another here
            text = (again.path / name).read_text().replace(str(source.resolve()), str(offline.path.resolve()))
            (again.path / name).write_text(text)
        require_same(again.path, tuned.path)


def test_a_run_stopped_before_its_copy_says_what_is_missing(offline, tmp_path, monkeypatch):
    source, out = tmp_path / "offline", tmp_path / "run"
    shutil.copytree(offline.path, source)
    monkeypatch.setattr(handover, "keep", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        finetune(source, steps=40, out=out, **CLOCKS)
    monkeypatch.undo()
    source.rename(tmp_path / "gone")
    with pytest.raises(UserError, match=r"stopped before it had copied .*offline: restore that run"):
        resume(out)


def test_what_cannot_be_fine_tuned_is_refused(offline, tuned, tmp_path):
    able = [name for name in registry.names() if registry.get(name).finetune]
    assert {"iql", "awac", "td3_bc", "sac"} <= set(able)
    with pytest.raises(UserError, match=r"bc has no online phase to fine-tune.*iql"):
        finetune(tiny(tmp_path / "bc", "bc", evaluate=False))
    with pytest.raises(UserError, match="is a fine-tuning run already: resume it with holdfast train --resume"):
        finetune(tuned)
    with pytest.raises(UserError, match="is not a run folder"):
        finetune(tmp_path / "nothing")
    with pytest.raises(UserError, match="does not match the policy"):
        finetune(offline, env="CartPole-v1", out=tmp_path / "out")
    with pytest.raises(UserError, match=r"has shape \(4, 3, 8\), expected \(4, 3, 9\)"):
        finetune(offline, config={"hidden": (9,)}, out=tmp_path / "out")
    with pytest.raises(UserError, match=r"expected in \[0, 1\]"):
        finetune(offline, config={"online_cloning": 2.0}, out=tmp_path / "out")
    with pytest.raises(UserError, match="unknown argument of finetune 'step'"):
        finetune(offline, step=3)
    assert not (tmp_path / "out").exists()
    shutil.copytree(offline.path, tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "checkpoints")
    with pytest.raises(UserError, match="has no checkpoint yet"):
        finetune(tmp_path / "bare")


@pytest.mark.slow
def test_an_offline_run_that_was_stopped_is_taken_up_with_a_word(offline, tmp_path):
    class Warned(Hook):
        said = ()

        def warn(self, text):
            self.said += (text,)

    whole, stopped = Warned(), Warned()
    shutil.copytree(offline.path, tmp_path / "stopped")
    (tmp_path / "stopped" / "result.json").unlink()
    for path, hook in ((offline.path, whole), (tmp_path / "stopped", stopped)):
        finetune(path, steps=10, evaluate=False, out=tmp_path / f"{path.name}-tuned", hooks=[hook], block=10)
    assert set(whole.said) < set(stopped.said)
    (told,) = set(stopped.said) - set(whole.said)
    assert "stopped was interrupted before its end: this run continues from its checkpoint of step 8; to finish" in told


def test_a_run_in_an_environment_alone_is_not_an_offline_one(tmp_path):
    settings = Settings("sac", None, 4, {}, {}, env="Pendulum-v1").to_dict()
    (tmp_path / "config.json").write_text(json.dumps({**settings, "dataset_fingerprint": None}))
    with pytest.raises(UserError, match="learned in Pendulum-v1 from the start"):
        finetune(tmp_path)


def test_horizons_are_the_updates_of_the_run():
    td3_bc, dqn = registry.get("td3_bc"), registry.get("dqn")
    run = Settings("td3_bc", "d", 70, {}, {})
    cfg = td3_bc.Config(actor_decay_steps="run")
    found = resolved(td3_bc, cfg, run)
    assert (found.actor_decay_steps, found.critic_decay_steps, found.online_decay_steps) == (70, "constant", 70)
    cfg = dqn.Config(critic_decay_steps="run", warmup=10, update_every=4)
    assert resolved(dqn, cfg, Settings("dqn", None, 70, {}, {}, env="e")).critic_decay_steps == 15


def test_rates_that_fell_offline_are_constant_online():
    config = {"actor_decay_steps": 100, "critic_decay_steps": "run", "online_decay_steps": 7, "discount": 0.9}
    wanted = {
        "actor_decay_steps": "constant",
        "critic_decay_steps": "constant",
        "online_decay_steps": 7,
        "discount": 0.9,
    }
    assert constant_rates(registry.get("td3_bc"), config) == wanted


def test_the_cloning_term_falls_along_a_line():
    from holdfast.algorithms import td3_bc

    cfg = td3_bc.TD3BC(online_cloning=0.2, online_decay_steps=10)
    assert [float(td3_bc.cloning_left(cfg, t)) for t in (0, 5, 10, 99)] == pytest.approx([1, 0.6, 0.2, 0.2])


def test_the_command_line(offline, tmp_path, capsys):
    out = tmp_path / "run"
    flags = ["--steps", "20", "--eval-every", "20", "--online-cloning", "0.5", "--out", str(out), "--no-eval"]
    assert main(["finetune", str(offline.path), *flags]) == 0
    asked = json.loads((out / "config.json").read_text())
    assert asked["config"]["online_cloning"] == 0.5
    assert asked["config"]["hidden"] == [8]
    assert asked["source"]["step"] == 8
    assert json.loads((out / "result.json").read_text())["finetune"] is None
    assert main(["train", "--resume", str(out)]) == 0
    capsys.readouterr()
    assert main(["train", "--config", str(out / "config.json")]) == 2
    assert "repeat it with holdfast finetune" in capsys.readouterr().err
    assert main(["finetune", "--steps", "3"]) == 2
    assert "name the offline run before --steps" in capsys.readouterr().err
    assert main(["finetune", "--help"]) == 0
    assert "td3_bc" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", quick((n for n in registry.names() if registry.get(n).finetune and n != "td3_bc"), "iql")
)
def test_every_algorithm_that_can_goes_online(name, tmp_path):
    algorithm = registry.get(name)
    known = algorithm.Config.__dataclass_fields__
    fields = {f: (8,) for f in known if f.endswith("hidden")}
    fields |= {f: 4 for f in ("width", "layers") if f in known} | {
        f: 1 for f in ("context", "acting_context") if f in known
    }
    probe = probes.get("trap" if "continuous" in algorithm.actions else "chain")
    bounds = {} if probe.spec.discrete else {"action_bounds": (-1.0, 1.0)}
    data = Dataset.from_arrays(**probes.collect(probe, 40), **bounds)
    run = tiny(tmp_path / "run", name, data, config={**fields, "batch_size": 8}, evaluate=False, env=probe.env_id)
    found = finetune(run, steps=24, out=tmp_path / "tuned", eval_episodes=1, eval_every=24, data=data, evaluate=True)
    assert [r for r in rows(found.path / "metrics.csv") if any(k.endswith("/loss") and v for k, v in r.items())]
    assert np.isfinite(found.result["finetune"]["return_before"])
    assert found.policy().act(np.zeros(probe.spec.obs, np.float32))[0].shape == probe.spec.action_shape
