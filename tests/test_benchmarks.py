"""The benchmarks run and write what they say. No time is asserted here."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from support.marks import quick

Patch = pytest.MonkeyPatch
SKIPPED = ["online", "models", "teams", "peer", "evaluation", "serving", "import"]
FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def load(name: str, monkeypatch: Patch) -> ModuleType:
    """A script of the folder as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_speed_writes_its_report(tmp_path: Path, monkeypatch: Patch, capfd: pytest.CaptureFixture[str]) -> None:
    speed = load("speed", monkeypatch)
    assert speed.main(["--quick", "--only", "bc", "--skip", *SKIPPED, "--out", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("speed-*.json")
    report = json.loads(file.read_text())
    (found,) = report["algorithms"]
    assert found["algorithm"] == "bc"
    assert found["updates_per_second"]["1"] > 0
    assert found["flops_per_update"] > 1e7
    assert found["peak_bytes"] > 1e6
    text = file.with_suffix(".md").read_text()
    assert "| bc |" in text
    assert str(Path.home()) not in text + file.read_text()
    assert "bc" in capfd.readouterr().out


@pytest.mark.slow
def test_speed_measures_serving(tmp_path: Path, monkeypatch: Patch) -> None:
    pytest.importorskip("onnxruntime")
    speed = load("speed", monkeypatch)
    skipped = ["algorithms", "teams", "peer", "evaluation", "online", "import"]
    assert speed.main(["--quick", "--skip", *skipped, "--out", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("speed-*.json")
    found = json.loads(file.read_text())["serving"]["kinds"]
    assert list(found) == ["onnx", "onnx_support", "numpy", "compiled", "policy"]
    assert all(value > 0 for each in found.values() for value in each.values())
    assert "serving a policy of iql on one core" in file.with_suffix(".md").read_text()


@pytest.mark.slow
def test_speed_tells_of_learning_while_collecting(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    speed = load("speed", monkeypatch)
    monkeypatch.setattr(speed.online, "ENV", "Pendulum-v1")
    skipped = ["algorithms", "models", "teams", "peer", "evaluation", "serving", "import"]
    assert speed.main(["--quick", "--skip", *skipped, "--out", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("speed-*.json")
    found = json.loads(file.read_text())["online"]
    assert found["steps_per_second"]["1"] > 0
    assert all(found["microseconds"][what] > 0 for what in ("collect", "play", "store", "draw"))
    text = file.with_suffix(".md").read_text()
    assert "Stable-Baselines3 was not measured: --skip peer" in text
    assert "| algorithm |" not in text


def test_the_ratio_to_a_peer_is_that_of_the_turns(monkeypatch: Patch) -> None:
    class Worker:
        def __init__(self, *speeds: float) -> None:
            self.speeds = iter(speeds)

        def ask(self, do: str, **request: float) -> dict[str, object]:
            return {
                "per_second": next(self.speeds) if do == "learn" else 1000.0,
                "env": "E-v0",
                "stable_baselines3": "2",
            }

    online = load("online", monkeypatch)
    found = online.measure(Worker(30.0, 60.0, 40.0), Worker(10.0, 15.0, 20.0), [1], 3, 0.1)
    assert found["ratio_peer"] == 3.0
    assert found["peer_steps_per_second"] == 15.0


def test_teams_are_measured_in_turns(monkeypatch: Patch) -> None:
    class Worker:
        def __init__(self, *speeds: float) -> None:
            self.speeds = iter(speeds)

        def ask(self, do: str, **request: float) -> dict[str, float]:
            return {"compile_seconds": 2.0} if do == "compile" else {"updates_per_second": next(self.speeds)}

    teams = load("teams", monkeypatch)
    each = {name: Worker(10.0, 20.0, 30.0) for name in teams.NAMES}
    found = teams.measure(each, Worker(15.0, 20.0, 90.0), 3, 0.1)
    assert found["ratio_alone"] == 2.0  # the median of 3 * 10 / 15, 3 * 20 / 20 and 3 * 30 / 90
    assert found["updates_per_second"]["alone"] == 20.0
    first, second = teams.report(found)
    assert "omiga 20 (2 s to compile)" in first
    assert "2.00 times as fast" in second


@pytest.mark.slow
def test_a_team_is_measured(monkeypatch: Patch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    team = load("worker", monkeypatch).Team("td3_bc")
    assert team.speed(1, 0.01)["updates_per_second"] > 0
    assert team.program(1)[0].algorithm.member is not None


def test_learned_models_are_measured_in_turns(monkeypatch: Patch) -> None:
    class Worker:
        def __init__(self, **speeds: float) -> None:
            self.speeds = speeds

        def ask(self, do: str, **request: float) -> dict[str, object]:
            seconds = dict.fromkeys(("ensemble", "mopo", "sac"), 1.5)
            return {"compile": seconds, "versions": {"torch": "2", "threads": 1}}.get(
                do, {"per_second": self.speeds.get(do)}
            )

    models = load("models", monkeypatch)
    ours = Worker(ensemble=3e5, rollouts=100.0, mopo_updates=30.0, sac_updates=40.0)
    found = models.measure(ours, Worker(ensemble=2e5), 2, 0.1)
    assert found["ratio_torch"] == 1.5
    assert found["ratio_sac"] == 0.75
    assert [good for _, _, good in models.verdicts(found)] == [False, False]
    assert "epochs of 100,000 rows a second: 3)" in models.report(found)[0]
    alone = {**models.measure(ours, None, 1, 0.1), "peer_missing": "why"}
    assert len(models.verdicts(alone)) == 1
    assert models.report(alone)[-1].endswith("was not measured: why")


@pytest.mark.slow
def test_the_parts_of_a_run_with_a_model_are_measured(monkeypatch: Patch) -> None:
    ours = load("models_ours", monkeypatch)
    monkeypatch.setattr(ours, "STARTS", 20)
    found = ours.Models()
    assert all(seconds > 0 for seconds in found.compile().values())
    for part in load("models", monkeypatch).PARTS:
        assert getattr(found, part)(0.01)["per_second"] > 0


def test_speed_names_an_unknown_algorithm(monkeypatch: Patch, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        load("speed", monkeypatch).main(["--only", "iqll"])
    assert stop.value.code == 2
    assert "did you mean 'iql'" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", quick(["td3_bc", "iql"], "iql"))
def test_the_handwritten_update_is_the_librarys(name: str, monkeypatch: Patch, x64: None) -> None:
    """Same networks, batches and noise in: the same networks out, after two updates, TD3's delayed one among them."""
    from holdfast.algorithms import registry
    from holdfast.core.config import over_the_run
    from holdfast.core.contract import Context
    from holdfast.core.noise import Noise
    from holdfast.core.spec import Batch, Spec

    hand = load("handwritten", monkeypatch)
    hand.HIDDEN = (6, 7)
    algorithm = registry.get(name)
    cfg = over_the_run(algorithm.Config(hidden=hand.HIDDEN), hand.RUN)
    ours = jax.jit(lambda key: algorithm.init(cfg, Context(Spec((5,), 2)), Noise(key)))(jax.random.PRNGKey(0))
    theirs = hand.INITS[name](jax.random.PRNGKey(1), 5, 2)

    def layers(net: object) -> list[dict[str, jax.Array]]:
        return [{"w": layer.weight, "b": layer.bias} for layer in net.layers]  # type: ignore[attr-defined]

    def critics(critic: object) -> dict[str, list[dict[str, jax.Array]]]:
        stacked = critic.nets  # type: ignore[attr-defined]
        return {key: layers(jax.tree.map(lambda x, i=i: x[i], stacked)) for i, key in enumerate(("one", "two"))}

    def networks(state: object) -> dict[str, object]:
        found = {"critic": critics(state.critic.net), "target_critic": critics(state.target_critic)}  # type: ignore[attr-defined]
        actor = state.actor.net  # type: ignore[attr-defined]
        if name == "iql":
            actor_tree = {"net": layers(actor.net), "log_std": actor.log_std}
            return {**found, "value": layers(state.value.net.net), "actor": actor_tree}  # type: ignore[attr-defined]
        return {**found, "actor": layers(actor.net), "target_actor": layers(state.target_actor.net)}  # type: ignore[attr-defined]

    theirs = {**theirs, **networks(ours)}
    adam = {"actor_opt": hand.cosine if name == "iql" else hand.adam, "critic_opt": hand.adam, "value_opt": hand.adam}
    theirs |= {k: tx.init(theirs[k.removesuffix("_opt")]) for k, tx in adam.items() if k in theirs}

    class Tape:
        def __init__(self, key: jax.Array) -> None:
            self.key = key

        def normal(self, name: str, shape: tuple[int, ...]) -> jax.Array:
            return jax.random.normal(self.key, shape)

    step_ours = jax.jit(lambda state, batch, key, step: algorithm.update(cfg, state, batch, Tape(key), step)[0])
    step_theirs = jax.jit(hand.UPDATES[name])
    rng = np.random.default_rng(0)
    for step in range(2):
        draws = {"obs": (16, 5), "action": (16, 2), "reward": (16,), "next_obs": (16, 5)}
        batch = {key: jnp.asarray(rng.standard_normal(shape)) for key, shape in draws.items()}
        batch |= {"action": jnp.tanh(batch["action"]), "terminated": jnp.asarray(rng.random(16) < 0.2, float)}
        key = jax.random.PRNGKey(step)
        ours = step_ours(ours, Batch(truncated=jnp.zeros(16), **batch), key, step)
        with jax.numpy_rank_promotion("allow"):
            theirs = step_theirs(theirs, batch, key, step)
    for key, net in networks(ours).items():
        for a, b in zip(jax.tree.leaves(net), jax.tree.leaves(theirs[key]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.slow
def test_results_skips_what_is_done(tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    results = load("results", monkeypatch)
    table, page = tmp_path / "scores.csv", tmp_path / "results.md"
    args = ["--data", "bundled/pendulum-mixed", "--algorithms", "bc", "dqn", "--steps", "2", "--seeds", "1"]
    args += ["--episodes", "1", "--runs", str(tmp_path / "runs"), "--table", str(table), "--page", str(page)]
    assert results.main(args) == 0
    first = table.read_text()
    assert "| logged | 56.1 |\n| `bc` | " in capsys.readouterr().out
    assert "dqn" not in page.read_text().split("## Making this page")[0]  # it takes no continuous actions
    trained = results.train
    monkeypatch.setattr(results, "train", lambda *a, **k: pytest.fail("trained again"))
    assert results.main(args) == 0
    assert table.read_text() == first
    assert str(tmp_path) not in page.read_text()

    shutil.rmtree(tmp_path / "runs")
    stale = [{**row, "settings": "of-old"} for row in results.read(table)]
    results.write(table, page, stale)
    again = []
    monkeypatch.setattr(results, "train", lambda *a, **k: again.append(a) or trained(*a, **k))
    assert results.main(args) == 0
    assert len(again) == 1
    assert [row["settings"] for row in results.read(table)] == [
        row["settings"] for row in csv.DictReader(first.splitlines())
    ]


def test_the_page_tells_what_does_not_suit_from_what_was_not_trained(tmp_path: Path, monkeypatch: Patch) -> None:
    results = load("results", monkeypatch)
    table, page = tmp_path / "scores.csv", tmp_path / "results.md"
    same = {"steps": 9, "seeds": 1, "episodes": 1}
    rows = [
        {**same, "data": "one", "actions": "continuous", "algorithm": "bc", "return": 1.0},
        {**same, "data": "two", "actions": "discrete", "algorithm": "dqn", "return": 2.0},
    ]
    results.write(table, page, rows)
    assert "| `bc` | r 1.0 |  |\n| `dqn` | - | r 2.0 |" in page.read_text()
    wanted = page.read_text()
    page.unlink()
    assert results.main(["--page-only", "--table", str(table), "--page", str(page)]) == 0
    assert page.read_text() == wanted


@pytest.mark.slow
def test_results_resumes_a_killed_run(tmp_path: Path, monkeypatch: Patch) -> None:
    results = load("results", monkeypatch)
    table, page = tmp_path / "scores.csv", tmp_path / "results.md"
    args = ["--data", "bundled/pendulum-mixed", "--algorithms", "bc", "--steps", "8", "--seeds", "1"]
    args += ["--episodes", "1", "--runs", str(tmp_path / "runs"), "--table", str(table), "--page", str(page)]

    class Killed(BaseException):
        pass

    class Killer(results.Progress):  # type: ignore[misc, name-defined]
        def block(self, block: object) -> None:
            raise Killed

    def small(*names: object, **settings: object) -> object:
        kept = {k: v for k, v in settings.items() if k not in ("save_every", "hooks")}
        return trained(*names, **kept, block=4, save_every=4, hooks=[Killer()])

    trained, resumed = results.train, []
    monkeypatch.setattr(results, "train", small)
    with pytest.raises(Killed):
        results.main(args)
    assert not table.exists()
    monkeypatch.setattr(results, "train", lambda *a, **k: pytest.fail("started again"))
    on = results.resume
    monkeypatch.setattr(results, "resume", lambda *a, **k: resumed.append(a) or on(*a, **k))
    assert results.main(args) == 0
    assert len(resumed) == 1
    assert len(table.read_text().splitlines()) == 2


def test_what_the_peer_runs_needs_no_jax() -> None:
    """Another interpreter runs these: they may import NumPy and the standard library at once, nothing else."""
    import ast

    for name in ("models_torch", "peer", "peer_online", "serving", "synthetic"):
        tree = ast.parse((FOLDER / f"{name}.py").read_text())
        at_once = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        names = {n.module if isinstance(n, ast.ImportFrom) else alias.name for n in at_once for alias in n.names}
        assert {n.split(".")[0] for n in names} <= sys.stdlib_module_names | {"numpy", "serving", "synthetic"}


def test_the_page_of_published_numbers_is_what_the_script_writes(monkeypatch: Patch, tmp_path: Path) -> None:
    published = load("published", monkeypatch)
    assert published.main([str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == published.PAGE.read_text(encoding="utf-8")


def test_the_page_of_published_numbers_by_hand(monkeypatch: Patch) -> None:
    published = load("published", monkeypatch)
    hopper = published.markdown().partition("## Hopper, medium")[2].partition("## ")[0]
    # 100 (1018 + 20.272305) / (3234.3 + 20.272305) = 31.9; CORL's README: 53.51 and 1.76
    assert "| `bc` | 23.1 [22.0, 24.9] | 31.9 (30,000) | 53.5 ± 1.8 | v2 | A |" in hopper
    text = "| method | log | updates | return | required |\n| `a` | X | 5 | -1.5 (-2, -1) | 3 |\n| | Y | 6 | 7 | - |\n"
    assert published.learned(text, "Y") == {"a": ("6", 7.0)}
    assert published.learned(text, "X") == {"a": ("5", -1.5)}
    assert published.score(-0.04) == "0.0"


@pytest.mark.slow
def test_the_study_of_estimates(tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    ope = load("ope", monkeypatch)
    argv = ["--steps", "4", "--checkpoints", "2", "--episodes", "1", "--models", "linear", "--out", str(tmp_path)]
    ope.main(argv)
    table = capsys.readouterr().out
    assert "| pendulum-mixed | fqe | linear | 6 |" in table
    monkeypatch.setattr(ope, "ope", None)  # estimates are read from the disk
    ope.main(argv)
    assert capsys.readouterr().out == table


def test_a_study_with_little_time_has_policies_of_all_returns(
    tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = load("ope", monkeypatch)
    true = np.array([5.0, 1.0, 9.0, 3.0, 7.0])
    order = study.spread_order(true)
    assert true[order].tolist() == [1.0, 9.0, 5.0, 3.0, 7.0]
    policies = [(tmp_path / str(i), float(true[i])) for i in order]
    monkeypatch.setattr(study, "policies_of", lambda *given: policies)
    clock = iter(range(0, 1000, 40))  # seconds
    monkeypatch.setattr(study, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    def estimate(folder: Path, *given: object) -> dict[str, dict[str, object]]:
        value = {"value": 2 * true[int(folder.name)], "refused": []}
        return {name: value if name == "fqe" else {"value": None, "refused": []} for name in study.USUAL}

    monkeypatch.setattr(study, "estimate", estimate)
    study.main(["--data", "bundled/pendulum-mixed", "--models", "neural", "--minutes", "1.5"])
    out = capsys.readouterr()
    assert out.out.splitlines()[-1] == "| pendulum-mixed | fqe | neural | 3 | 0 | 5 | 1.00 | 0.00 | 0.00 |"
    assert "3 of 5 policies in 1.5 minutes" in out.err


def test_a_preset_is_chosen_by_the_other_logs(monkeypatch: Patch) -> None:
    presets = load("presets", monkeypatch)
    scores = {"a": {"x": 90.0, "y": 10.0, "z": 20.0}, "b": {"x": 0.0, "y": 30.0, "z": 30.0}}
    assert presets.left_out(scores) == {"x": "b", "y": "a", "z": "a"}


def test_the_page_of_presets_is_that_of_the_table(monkeypatch: Patch) -> None:
    presets = load("presets", monkeypatch)
    rows = presets.read(FOLDER / "results" / "presets.csv")
    assert (FOLDER.parent / "docs" / "presets.md").read_text(encoding="utf-8") == presets.markdown(rows)


def test_the_table_of_a_gpu(tmp_path: Path, monkeypatch: Patch) -> None:
    gpu = load("gpu", monkeypatch)
    assert gpu.ordered(["awac", "bc", "iql", "td3_bc"]) == ["td3_bc", "iql", "bc", "awac"]
    one = gpu.Measured("td3_bc", 12.4, {1: 10_000.0, 8: 40_000.0})
    assert one.minutes(1) == pytest.approx(100 / 60)
    assert one.minutes(8) == pytest.approx(200 / 60)  # each seed has its million
    (tmp_path / "result.json").write_text(
        json.dumps(
            {
                "algorithm": "td3_bc",
                "replicas": ["seed-0", "seed-1"],
                "steps": 5000,
                "wall_seconds": 31.2,
                "compile_seconds": 9.7,
                "updates_per_second": 1234.5,
            }
        )
    )
    line = gpu.whole_run(tmp_path)
    assert "2 seeds of 5,000 updates in 31 s, of which 10 s compiling; 1,234 updates/s" in line
    assert gpu.whole_run(tmp_path / "none") is None
    machine = {"accelerator": "NVIDIA T4", "cpu": "a CPU", "cores": 4, "system": "Linux", "versions": {"jax": "1"}}
    page = gpu.markdown(machine, [one, gpu.Measured("awac", 3.0, {1: 5000.0, 8: 10_000.0})], [1, 8], [line, "a note"])
    assert page.startswith("# Minutes for a million updates on NVIDIA T4, with a CPU, 4 cores\n")
    assert "; Linux, jax 1." in page
    assert "| td3_bc | 12 | 1.7 | 3.3 | 10,000 | 40,000 | 3.1 | 1.9 |" in page
    assert "| awac | 3 | 3.3 | 13.3 | 5,000 | 10,000 | - | - |" in page
    assert page.endswith(f"- {line}\n- a note\n")


def test_a_gpu_is_measured_in_groups_until_the_time_is_over(tmp_path: Path, monkeypatch: Patch) -> None:
    gpu = load("gpu", monkeypatch)
    asked = []

    class Fake:
        def __init__(self, _: str, __: str, name: str) -> None:
            self.name = name

        def ask(self, do: str, seeds: int, seconds: float = 0.0) -> dict[str, float]:
            if self.name == "cql" and do == "speed":
                raise RuntimeError("cql failed: no memory")
            asked.append((do, self.name, seeds))
            return {"compile_seconds": 1.0} if do == "compile" else {"updates_per_second": 1000.0 * seeds}

        def close(self) -> None:
            asked.append(("close", self.name, 0))

    monkeypatch.setattr(gpu.speed, "Worker", Fake)
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    args = ["--only", "bc", "cql", "iql", "td3_bc", "awac", "--seeds", "1", "2", "--jobs", "2", "--limit", "65"]
    assert gpu.main([*args, "--golden", "3 passed", "--out", str(tmp_path)]) == 1
    (file,) = tmp_path.glob("gpu-*.md")
    page = file.read_text()
    assert "recorded steps of the algorithms on this device: 3 passed" in page
    assert all(f"| {name} | 2 |" in page for name in ("td3_bc", "iql", "bc"))
    assert "failed: cql: cql failed: no memory" in page
    assert "not measured, because the time was over: awac" in page
    speeds = [index for index, (do, *_) in enumerate(asked) if do == "speed"]
    first = [index for index, (do, name, _) in enumerate(asked) if do == "compile" and name in ("td3_bc", "iql")]
    assert max(first) < min(speeds)  # nothing is compiled while the group is measured
    assert sum(do == "close" for do, *_ in asked) == 4


@pytest.mark.slow
def test_everything_about_a_gpu_runs_on_a_cpu(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHON": sys.executable, "OUT": str(tmp_path)}
    done = subprocess.run([str(FOLDER / "gpu.sh"), "--quick"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "summary.txt").read_text()
    parts = [line.split(" after")[0] for line in (tmp_path / "summary.txt").read_text().splitlines()[1:]]
    assert parts == ["golden: status 0", "train: status 0", "table: status 0"]
    (file,) = tmp_path.glob("gpu-*.md")
    page = file.read_text()
    assert "| td3_bc |" in page
    assert "1 passed" in page
    assert "a whole run of td3_bc with evaluations: 2 seeds of 20 updates" in page
    assert str(Path.home()) not in page


def test_the_clock_of_a_start_counts_an_inner_trace_once(monkeypatch: Patch) -> None:
    times = load("compile_times", monkeypatch)
    now = iter([1.0, 2.0, 4.0, 7.0, 10.0, 15.0, 20.0, 20.5])
    monkeypatch.setattr(times.time, "process_time", lambda: next(now))
    clock = times.Clock()
    trace, lower = list(times.PARTS)[:2]
    clock.begin(trace, 0.0, fun_name="updates")
    clock.begin(trace, 0.0, fun_name="relu")
    clock.begin("another event", 0.0)
    clock.end(trace, 99.0, fun_name="relu")
    clock.end("another event", 99.0)
    clock.end(trace, 99.0, fun_name="updates")
    clock.begin(lower, 0.0, fun_name="jit(updates)")
    clock.end(lower, 99.0, fun_name="jit(updates)")
    clock.begin(lower, 0.0, fun_name="jit(_start)")
    clock.end(lower, 99.0, fun_name="jit(_start)")
    assert clock.seconds == {"trace": 6.0, "lower": 5.0, "compile": 0.0, "first_states": 0.5}


def test_the_page_of_starts_keeps_the_rows_of_an_earlier_call(tmp_path: Path, monkeypatch: Patch) -> None:
    times = load("compile_times", monkeypatch)
    machine = {"accelerator": None, "cpu": "a CPU", "cores": 2, "system": "Linux", "versions": {"jax": "1"}}
    machine |= {"date": "2030-01-02"}
    one = times.Measured("iql", 0.5, 0.25, 5.0, 3.0, 4.5, 3.6, 1234, 3)
    other = times.Measured("sac", 0.5, 0.25, 1.0, 1.0, 3.5, 2.5, None, None)
    monkeypatch.setattr(times, "WHY", {"iql": "nine networks"})
    file = tmp_path / "start.json"
    page = tmp_path / "page.md"
    times.write(file, page, machine, {"sac": other, "iql": one})
    text = page.read_text()
    assert "measured it: 2030-01-02 on a CPU, 2 cores; Linux, jax 1." in text
    assert (
        "\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        "| iql | 0.5 | 0.2 | 5.0 | 5.8 | 3.0 | 1,234 | 3 | 4.5 | 3.6 |\n"
    ) in text
    assert "3 seconds for 1 of 2" in text
    assert "| sac | 0.5 | 0.2 | 1.0 | 1.8 | 1.0 | - | - | 3.5 | 2.5 |\n" in text
    assert "The first block of 1 of 2 algorithms" in text
    assert "| iql | 5.8 | nine networks |" in text
    assert "<!--" not in text
    assert times.read(file, machine) == {"iql": one, "sac": other}
    assert times.read(file, {**machine, "versions": {"jax": "2"}}) == {}


def test_the_page_of_starts_is_that_of_the_rows(monkeypatch: Patch) -> None:
    times = load("compile_times", monkeypatch)
    report = json.loads((FOLDER / "results" / "start.json").read_text())
    rows = [times.Measured(**row) for row in report["algorithms"]]
    page = times.markdown(report["machine"], rows)
    assert page == (FOLDER.parent / "docs" / "start-times.md").read_text()
    assert times.NOT_KNOWN not in page


@pytest.mark.slow
def test_a_start_is_measured(tmp_path: Path, monkeypatch: Patch) -> None:
    times = load("compile_times", monkeypatch)
    file = tmp_path / "start.json"
    page = tmp_path / "page.md"
    assert times.main(["--only", "bc", "--out", str(file), "--page", str(page)]) == 0
    (row,) = json.loads(file.read_text())["algorithms"]
    assert row["name"] == "bc"
    assert all(
        row[part] > 0 for part in ("trace", "lower", "compile", "first_states", "start", "wall", "kernels", "loops")
    )
    assert "| bc |" in page.read_text()
    assert str(tmp_path) not in file.read_text() + page.read_text()
