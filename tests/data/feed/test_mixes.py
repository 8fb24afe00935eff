"""Runs that learn from logged data and from what they collect, in one phase or several, killed and resumed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import registry
from holdfast.core.config import config
from holdfast.core.contract import Algorithm, Collect, NStep, Phase, Preset, Refreshed, Transitions, Treatment, Windows
from holdfast.core.errors import UserError
from holdfast.core.trained import Trained
from holdfast.core.tree import PyTree
from holdfast.data.feed.episodes import COLLECTED, Episodes, episode_columns
from holdfast.parts import optimisers
from holdfast.training.run import resume, train
from support.small_runs import DATA, interrupt_step, require_same, rows


@config
class Toy:
    rate: float = 1e-2
    discount: float = 0.9
    mix: str = "half"
    whole: bool = False
    length: int = 0
    first: int = 0  # steps of a first phase that collects too
    batch_size: int = 4


class State(PyTree):
    actor: Trained


def init(cfg, ctx, noise):
    return State(Trained.new(noise.normal("net", (*ctx.spec.obs, ctx.spec.action)), optimisers.adam(cfg.rate)))


def loss(w, obs, target):
    return jnp.square(jnp.tanh(obs @ w) - target).mean(), {}


def update(cfg, state, batch, noise, step):
    target = batch.action * jnp.sign(batch.reward)[:, None]
    actor, found = state.actor.step(optimisers.adam(cfg.rate), loss, batch.obs, target, name="actor")
    found["reward"] = batch.reward.mean()
    found["ended"] = batch.truncated.max()
    if cfg.whole:
        found["gap"] = jnp.abs(batch.mc_return - batch.reward).max()
        found["lowest"] = batch.mc_return.min()
    if cfg.mix == "half":
        found["online"] = batch.of("online").reward.mean()
        found["data"] = batch.of("data").reward.mean()
    return State(actor), found


def act(cfg, state, seen, memory, noise, mode):
    action = jnp.tanh(seen.obs @ state.actor.net)
    return jnp.clip(action + 0.1 * noise.normal("act", action.shape), -1, 1) if mode == "explore" else action, memory


MIXES = {"half": {"data": 0.5, "online": 0.5}, "online": {"online": 1.0}, "proportional": "proportional"}


def phases(cfg):
    collect = Collect(envs=2, steps=2, every=3, warmup=4, delay=6, whole=cfg.whole)
    needs = NStep(cfg.length) if cfg.length else Transitions(columns=("mc_return",) * cfg.whole)
    phase = Phase("mixed", mix=MIXES[cfg.mix], collect=collect, needs=needs)
    return (phase._replace(name="first", steps=cfg.first), phase) if cfg.first else (phase,)


def needs(cfg):
    return Transitions()


TOY = Algorithm("toy", Toy, init, update, act, {"only": Preset(Toy(), Treatment(), "here")}, phases=phases, needs=needs)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    real = registry.get
    monkeypatch.setattr(registry, "get", lambda name: TOY if name == "toy" else real(name))


CLOCKS = {"block": 20, "save_every": 20, "eval_every": 30, "eval_episodes": 1}


def run(out, steps=60, seeds=2, **cfg):
    return train("toy", DATA, steps=steps, seeds=seeds, config=cfg, out=out, **CLOCKS)


@pytest.mark.parametrize(
    "cfg",
    [
        {"mix": "half"},
        pytest.param({"mix": "proportional"}, marks=pytest.mark.slow),
        pytest.param({"mix": "half", "length": 3, "first": 30}, marks=pytest.mark.slow),
        pytest.param({"mix": "online", "whole": True}, marks=pytest.mark.slow),
    ],
    ids=["half", "proportional", "nstep-two-phases", "whole"],
)
def test_a_mixed_run_resumes_to_the_same_bits(cfg, tmp_path, monkeypatch):
    steps = 440 if cfg.get("whole") else 60
    whole = run(tmp_path / "whole" / "run", steps, **cfg)
    for calls in (steps // 4, steps // 2 - 3):
        out = tmp_path / f"cut-{calls}" / "run"
        with monkeypatch.context() as patch:
            interrupt_step(patch, calls)
            with pytest.raises(KeyboardInterrupt):
                run(out, steps, **cfg)
        require_same(resume(out).path, whole.path)


def column(path, name):
    return [float(row[name]) for row in rows(path / "metrics.csv") if row[name]]


def test_updates_start_after_warm_up_and_delay_and_draw_from_both(tmp_path):
    found = run(tmp_path / "run", seeds=1)
    # 60 steps of which 10 bring none, then 3 updates for each 2 steps of 2 environments
    assert sum(int(row["updates"]) for row in rows(found.path / "timing.csv")) == 50 // 4 * 3
    both = zip(column(found.path, "online"), column(found.path, "data"), strict=True)
    assert all(online != data for online, data in both)


@pytest.mark.slow
def test_rows_of_whole_episodes_wait_for_their_end_and_carry_returns(tmp_path):
    found = run(tmp_path / "run", 480, 1, mix="online", whole=True)
    made = [int(row["updates"]) for row in rows(found.path / "timing.csv")]
    assert sum(made[:20]) == 0  # episodes of two environments end at step 400
    assert sum(made[20:]) == 80 // 4 * 3
    assert (
        min(column(found.path, "lowest")) < -50
    )  # discounted sums of up to 200 rewards of Pendulum, at least -16 each
    assert max(column(found.path, "gap")) > 20


def test_a_ring_without_the_columns_that_are_needed_is_refused(tmp_path, monkeypatch):
    plain = phases(Toy(mix="half"))[0]._replace(needs=Transitions(columns=("mc_return",)))
    monkeypatch.setattr(registry, "get", lambda name: TOY._replace(phases=lambda cfg: (plain,)))
    with pytest.raises(UserError, match="no column mc_return: collect whole episodes"):
        run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_written_columns_and_rings_do_not_mix(tmp_path, monkeypatch):
    def refresh(cfg, state, sources, ctx, noise, step):
        return Refreshed(state, {"target": sources["data"].reward})

    phase = phases(Toy())[0]._replace(refresh=refresh, every=10)
    monkeypatch.setattr(registry, "get", lambda name: TOY._replace(phases=lambda cfg: (phase,)))
    with pytest.raises(UserError, match="writes the columns target of the data, and collected rows"):
        run(tmp_path / "run")


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        (Phase("p", mix={"data": 0.5, "model": 0.5}), "phase p draws from model, which this run does not have"),
        (Phase("p", mix="all"), "the mix is 'all', expected shares by source or 'proportional'"),
        (Phase("p", needs="windows"), "phase p needs 'windows', which the sampler cannot read"),
        (Phase("p", needs=Windows(0)), "phase p needs rows of length 0"),
        (Phase("p", mix={"online": 1.0}), "phase p draws from online, which this run does not have"),
    ],
)
def test_impossible_phases_are_refused(phase, message, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "get", lambda name: TOY._replace(phases=lambda cfg: (phase,)))
    with pytest.raises(UserError, match=message):
        run(tmp_path / "run")


def test_an_environment_that_does_not_match_the_data_is_refused_without_evaluation_too(tmp_path):
    with pytest.raises(UserError, match="does not match"):
        train("toy", DATA, steps=40, env="CartPole-v1", evaluate=False, out=tmp_path / "run")


def test_filled_rings_begin_with_the_chosen_episodes(tmp_path, monkeypatch):
    def fill(cfg, data):
        return np.flatnonzero(data.episode_of == int(data.returns().argmax()))

    phase = phases(Toy(mix="online"))[0]._replace(fill=fill)
    monkeypatch.setattr(registry, "get", lambda name: TOY._replace(phases=lambda cfg: (phase,)))
    from holdfast.runs.checkpoints import Checkpoints

    found = train("toy", DATA, steps=20, seeds=2, evaluate=False, out=tmp_path / "run", config={"mix": "online"})
    arrays = Checkpoints(found.path / "checkpoints").read()
    from holdfast.policy.storage import arrays_of

    held = arrays_of(arrays.data, "here")
    from holdfast import load_dataset

    data = load_dataset(DATA)
    chosen = fill(None, data)
    assert held["rings.online.size"].tolist() == [len(chosen) + 20] * 2
    for r in range(2):
        np.testing.assert_allclose(held["rings.online.rows.reward"][r, : len(chosen)], data.rewards[chosen], rtol=1e-6)


def test_columns_of_an_episode_are_those_of_logged_data():
    from holdfast.data.dataset import Dataset
    from holdfast.data.feed import columns as cols
    from holdfast.data.feed import treatment

    rng = np.random.default_rng(0)
    obs, action = rng.normal(size=(8, 2)).astype(np.float32), rng.uniform(-1, 1, (7, 1)).astype(np.float32)
    reward = rng.normal(size=7).astype(np.float32)
    last = np.arange(7) == 6
    episode = {
        "observations": obs,
        "actions": action,
        "rewards": reward,
        "terminations": last,
        "truncations": ~last & False,
    }
    data = Dataset.from_episodes([episode], action_bounds=(-1.0, 1.0))
    logged = cols.prepare(data, treatment.fit(Treatment(), data), COLLECTED, 0.8)
    found = episode_columns(COLLECTED, obs[:-1], action, reward, 0.8)
    for name in COLLECTED:
        np.testing.assert_allclose(found[name], logged.extra[name], rtol=1e-5)
        assert found[name].dtype == logged.extra[name].dtype


def test_long_episodes_come_in_chunks_of_equal_shape():
    from holdfast.core.spec import Batch

    episodes = Episodes(1, ("timestep",), [0.9, 0.9])
    sizes = ((0, 7), (1, 3), (0, 4))

    def row(r, t, end):
        one = np.float32(t)
        return Batch(np.full(2, one), np.full(1, one), one, np.full(2, one), np.float32(end), np.float32(0))

    for r, length in sizes:
        for t in range(length):
            episodes.add(r, 0, row(r, t, t == length - 1))
    found = [[], []]
    for batch, keep in episodes.chunks(4):
        assert keep.shape == (2, 4)
        for r in range(2):
            found[r] += batch.extra["timestep"][r][keep[r]].tolist()
            assert jax.tree.all(jax.tree.map(lambda x: x.shape[:2] == (2, 4), batch))
    assert found == [[*range(7), *range(4)], [0, 1, 2]]
    assert episodes.stored == [11, 3]
    assert list(episodes.chunks(4)) == []


@pytest.mark.parametrize("of", ["algorithm", "phase"])
def test_rows_that_the_sampler_cannot_read_are_refused_wherever_they_are_asked_for(of, tmp_path, monkeypatch):
    class Pairs(NamedTuple):
        length: int = 2
        columns: tuple = ()
        batches: int = 1

    phase = Phase("p", needs=Pairs() if of == "phase" else None)
    wrong = TOY._replace(phases=lambda cfg: (phase,), needs=lambda cfg: Pairs())
    monkeypatch.setattr(registry, "get", lambda name: wrong)
    message = r"phase p needs Pairs.*cannot read: expected one of Transitions, NStep, Windows"
    with pytest.raises(UserError, match=message):
        run(tmp_path / "run")
    assert not (tmp_path / "run").exists()
