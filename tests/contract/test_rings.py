"""A learner whose refresh writes rows into a ring, from which its updates draw: the shape of model-based methods.

A first phase fits a linear model of the next observation on training episodes and stops early by its error on holdout
episodes. The second phase rolls the model out from logged observations into a ring, again and again.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.config import config
from holdfast.core.contract import Algorithm, Phase, Preset, Refreshed, Rows, Treatment
from holdfast.core.errors import UserError
from holdfast.core.spec import Batch
from holdfast.core.trained import Trained
from holdfast.core.tree import PyTree
from holdfast.parts import optimisers
from holdfast.runs.checkpoints import Checkpoints
from holdfast.training.run import resume, train
from support.small_runs import DATA, Stops, require_same, rows, tensors

STARTS = 16  # logged observations from which each refresh rolls out
HORIZON = 3
CAPACITY = 120


@config
class Roller:
    """A model and a policy that learns from its rollouts."""

    model_lr: float = 3e-3  # Adam
    actor_lr: float = 1e-3  # Adam
    patience: float = 2.0  # refreshes without a lower holdout error before the model is done
    model_steps: int = 60  # at most
    batch_size: int = 8


class State(PyTree):
    model: Trained  # [d + A + 1, d]: the next observation is linear in observation and action
    best: jax.Array  # lowest holdout error so far
    worse: jax.Array  # refreshes since then
    actor: Trained  # [d, A]


def predict(model, obs, action):
    ones = jnp.ones((*obs.shape[:-1], 1), obs.dtype)
    return jnp.concatenate([obs, action, ones], -1) @ model


def model_loss(model, batch):
    return jnp.square(predict(model, batch.obs, batch.action) - batch.next_obs).mean(), {}


def actor_loss(actor, obs):
    return jnp.square(jnp.tanh(obs @ actor) + obs[..., :1] / 3).mean(), {}


def init(cfg, ctx, noise):
    (d,) = ctx.spec.obs
    model = 0.1 * noise.normal("model", (d + ctx.spec.action + 1, d))
    actor = 0.1 * noise.normal("actor", (d, ctx.spec.action))
    return State(
        Trained.new(model, optimisers.adam(cfg.model_lr)),
        jnp.array(jnp.inf),
        jnp.zeros(()),
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
    )


def fit_model(cfg, state, batch, noise, step):
    model, found = state.model.step(optimisers.adam(cfg.model_lr), model_loss, batch, name="model")
    return State(model, state.best, state.worse, state.actor), found


def measure(cfg, state, sources, ctx, noise, step):
    """The holdout error, its lowest value and how long ago that was."""
    view = sources["holdout"]
    at = view.columns.row[view.index]
    obs, action = view.columns.obs[at], view.columns.action[view.index]
    error = jnp.square(predict(state.model.net, obs, action) - view.columns.obs[at + 1]).mean()
    worse = jnp.where(error < state.best, 0.0, state.worse + 1)
    new = State(state.model, jnp.minimum(error, state.best), worse, state.actor)
    return Refreshed(new, metrics={"holdout/error": error})


def converged(cfg, state):
    return state.worse >= cfg.patience


def roll_out(cfg, state, sources, ctx, noise, step):
    """HORIZON steps of the model from logged observations, each rollout one after another."""
    data, ring = sources["data"], sources["model"]
    obs = data.obs[data.row[noise.integers("starts", (STARTS,), data.row.shape[0])]]
    steps = []
    for t in range(HORIZON):
        action = jnp.tanh(obs @ state.actor.net)
        following = predict(state.model.net, obs, action)
        zeros = jnp.zeros(STARTS)
        steps.append(Batch(obs, action, jnp.full(STARTS, step), following, zeros, jnp.full(STARTS, t == HORIZON - 1)))
        obs = following
    whole = jax.tree.map(lambda *x: jnp.stack(x, 1).reshape(-1, *x[0].shape[1:]), *steps)
    keep = jnp.repeat(noise.bernoulli("keep", 0.5, (STARTS,)), HORIZON)
    return Refreshed(state, rows={"model": Rows(whole, keep)}, metrics={"model/held": ring.size})


def learn(cfg, state, batch, noise, step):
    share = (batch.of("model").reward > 0).mean()
    actor, found = state.actor.step(optimisers.adam(cfg.actor_lr), actor_loss, batch.obs, name="actor")
    return State(state.model, state.best, state.worse, actor), {**found, "model/share": share}


def phases(cfg):
    return (
        Phase(
            "model",
            steps=cfg.model_steps,
            update=fit_model,
            split={"train": 0.8, "holdout": 0.2},
            mix={"train": 1.0},
            refresh=measure,
            every=5,
            until=converged,
            plays=False,
        ),
        Phase(
            "policy",
            update=learn,
            rings={"model": CAPACITY},
            mix={"data": 0.25, "model": 0.75},
            refresh=roll_out,
            every=10,
        ),
    )


def act(cfg, state, seen, memory, noise, mode):
    return jnp.tanh(seen.obs @ state.actor.net), memory


ALGORITHM = Algorithm(
    "roller", Roller, init, None, act, {"only": Preset(Roller(), Treatment(normalize_obs=1e-3), "here")}, phases=phases
)
SETTINGS = {"steps": 60, "block": 10, "save_every": 10, "evaluate": False}


def ring(run, step=None):
    found = tensors(Checkpoints(run.path / "checkpoints").read(step).where)
    made = {}
    for name, (dtype, shape, bytes_) in found.items():
        if name.startswith("rings.model."):
            made[name.removeprefix("rings.model.")] = np.frombuffer(bytes_, dtype).reshape(shape)
    return made


def test_a_refresh_writes_rows_and_updates_draw_them(register, tmp_path):
    register(ALGORITHM)
    run = train("roller", DATA, seeds=2, config={"patience": 1e9}, out=tmp_path / "run", **SETTINGS)
    metrics = [row for row in rows(run.path / "metrics.csv") if row["phase"] == "policy"]
    first = [float(row["model/share"]) for row in metrics if row["replica"] == metrics[0]["replica"]]
    assert first[0] == 0  # rows of the refresh before the first update
    assert first[-1] > 0.5  # rows of later refreshes
    found = ring(run)
    assert found["rows.obs"].shape == (2, CAPACITY, 3)
    assert (found["size"] == CAPACITY).all()
    ends = found["rows.truncated"][0]
    joined = np.flatnonzero(ends == 0)
    newest = (found["cursor"][0] - 1) % CAPACITY
    joined = joined[joined != newest]
    following = (joined + 1) % CAPACITY
    np.testing.assert_array_equal(found["rows.next_obs"][0, joined], found["rows.obs"][0, following])
    assert not np.array_equal(found["rows.obs"][0], found["rows.obs"][1])  # each replica has its own


@pytest.mark.slow
def test_a_run_that_writes_rows_resumes_to_the_same_bits(register, tmp_path):
    register(ALGORITHM)
    whole = train("roller", DATA, seeds=2, out=tmp_path / "whole" / "run", **SETTINGS)
    cut = tmp_path / "cut" / "run"
    with pytest.raises(KeyboardInterrupt):
        train("roller", DATA, seeds=2, out=cut, hooks=[Stops(3, "policy")], **SETTINGS)
    require_same(resume(cut).path, whole.path)


@pytest.mark.slow
def test_the_model_stops_early_on_holdout_episodes(register, tmp_path):
    """With a learning rate that makes the model worse, it stops after `patience` refreshes; else it takes its steps."""
    register(ALGORITHM)
    steps = {}
    for rate in (3e-3, 3.0):
        given = {"model_lr": rate}
        run = train("roller", DATA, config=given, out=tmp_path / str(rate) / "run", **SETTINGS)
        steps[rate] = sum(int(row["updates"]) for row in rows(run.path / "timing.csv") if row["phase"] == "model")
        assert sum(int(row["updates"]) for row in rows(run.path / "timing.csv") if row["phase"] == "policy") == 60
    assert steps[3e-3] == 60
    assert steps[3.0] < 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rings": {"other": 9}, "mix": {"data": 1.0}}, "writes to 'model', which is not one of its rings.*other"),
        ({"rings": {"model": 9}}, f"writes to 'model' {STARTS * HORIZON} rows, expected at most its capacity of 9"),
        ({"refresh": measure, "split": {"holdout": 0.2}}, "draws from 'model', which no phase has filled"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change, message, register, tmp_path):
    phase = phases(Roller())[1]._replace(**change)

    def refresh(cfg, state, sources, ctx, noise, step):
        return roll_out(cfg, state, {"model": next(iter(r for n, r in sources.items() if n != "data")), **sources}, ctx,
                        noise, step)  # fmt: skip

    phase = phase if "refresh" in change else phase._replace(refresh=refresh)
    register(ALGORITHM._replace(phases=lambda cfg: (phase,)))
    with pytest.raises(UserError, match=message):
        train("roller", DATA, out=tmp_path / "run", **SETTINGS)
