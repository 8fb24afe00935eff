"""A cloner that reads the last K observations: windows of logged and collected rows, and a memory when it acts."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.collection.behaviours import of_policy
from holdfast.collection.play import collect
from holdfast.core.config import config
from holdfast.core.contract import Algorithm, Collect, Phase, Preset, Treatment, Windows
from holdfast.core.spec import Batch
from holdfast.core.trained import Trained
from holdfast.core.tree import PyTree
from holdfast.data.feed import readers
from holdfast.data.feed.buffer import Ring
from holdfast.evaluation.evaluate import evaluate
from holdfast.parts import nets, optimisers
from holdfast.policy.storage import arrays_of
from holdfast.runs.checkpoints import Checkpoints
from holdfast.training.run import resume, train
from support.marks import quick
from support.small_runs import DATA, Stops, require_same

K = 3


@config
class WindowCloner:
    """A cloner of windows."""

    actor_lr: float = 1e-3  # Adam
    noise: float = 0.1  # standard deviation of the noise of explored actions
    hidden: tuple[int, ...] = (16,)
    batch_size: int = 8
    envs: int = 2  # environments that it collects in


class State(PyTree):
    actor: Trained


def inputs(obs, valid):
    """What the network sees of a window [..., K, d]: its valid observations, and which they are."""
    seen = jnp.where(valid[..., None], obs, 0)
    return jnp.concatenate([seen.reshape(*seen.shape[:-2], -1), valid.astype(seen.dtype)], -1)


def init(cfg, ctx, noise):
    (d,) = ctx.spec.obs
    net = nets.mlp(noise.sub("actor"), (K * (d + 1), *cfg.hidden, ctx.spec.action))
    return State(Trained.new(net, optimisers.adam(cfg.actor_lr)))


def loss(net, x, action):
    error = jnp.square(jnp.tanh(net(x)) - action).mean()
    return error, {}


def update(cfg, state, batch, noise, step):
    x = inputs(batch.obs, batch.valid)
    actor, metrics = state.actor.step(optimisers.adam(cfg.actor_lr), loss, x, batch.action[:, -1], name="actor")
    return State(actor), metrics


def memory(cfg, spec, n):
    return {"obs": jnp.zeros((n, K, *spec.obs)), "valid": jnp.zeros((n, K), bool)}


def act(cfg, state, seen, memory, noise, mode):
    window = {
        "obs": jnp.concatenate([memory["obs"][:, 1:], seen.obs[:, None]], 1),
        "valid": jnp.concatenate([memory["valid"][:, 1:], jnp.ones((len(seen.obs), 1), bool)], 1),
    }
    action = jnp.tanh(state.actor.net(inputs(**window)))
    if mode == "explore":
        action = jnp.clip(action + cfg.noise * noise.normal("act", action.shape), -1, 1)
    return action, window


def needs(cfg):
    return Windows(K)


def phases(cfg):
    collect = Collect(envs=cfg.envs, steps=2, warmup=8, delay=4)
    return (Phase("mixed", mix={"data": 0.5, "online": 0.5}, collect=collect),)


ALGORITHM = Algorithm(
    "window_cloner",
    WindowCloner,
    init,
    update,
    act,
    {"only": Preset(WindowCloner(), Treatment(normalize_obs=1e-3), "here")},
    memory=memory,
    needs=needs,
    phases=phases,
)
CLOCKS = {"block": 60, "save_every": 60, "eval_every": 240, "eval_episodes": 1}


@pytest.fixture
def cloner(register):
    return register(ALGORITHM)


@pytest.mark.slow
@pytest.mark.parametrize("env", quick(["Pendulum-v1", "jax/Pendulum-v1"], "jax/Pendulum-v1"))
def test_a_run_with_memory_resumes_to_the_same_bits(env, cloner, tmp_path):
    settings = {"env": env, "steps": 480, "seeds": 2, **CLOCKS}  # an episode has 200 steps
    whole = train("window_cloner", DATA, out=tmp_path / "whole" / "run", **settings)
    cut = tmp_path / "cut" / "run"
    with pytest.raises(KeyboardInterrupt):
        train("window_cloner", DATA, out=cut, hooks=[Stops(3)], **settings)
    saved = arrays(cut, 120)
    assert saved["memory.obs"].shape == (2, 2, K, 3)
    assert saved["memory.valid"].all()
    assert np.abs(saved["memory.obs"]).max() > 0
    require_same(resume(cut).path, whole.path)


def arrays(run, step):
    """The arrays of a checkpoint, by name."""
    where = Checkpoints(run / "checkpoints").read(step).where
    return arrays_of(Path(where).read_bytes(), str(where))


def ring_of(run, step):
    """The first replica's ring at a checkpoint."""
    saved = arrays(run.path, step)
    fields = ("obs", "action", "reward", "next_obs", "terminated", "truncated")
    rows = {name: jnp.asarray(saved[f"rings.online.rows.{name}"][0]) for name in fields}
    size, cursor = (jnp.asarray(saved[f"rings.online.{name}"][0]) for name in ("size", "cursor"))
    return Ring(Batch(**rows), size, cursor, 2)


@pytest.mark.slow
@pytest.mark.parametrize("env", quick(["Pendulum-v1", "jax/Pendulum-v1"], "Pendulum-v1"))
def test_what_is_remembered_in_collection_is_the_window_of_the_collected_row(env, cloner, tmp_path):
    """Without noise and updates, the network gives the stored action for the stored window, over episode starts too."""
    given = {"noise": 0.0, "actor_lr": 1e-30}
    run = train("window_cloner", DATA, env=env, steps=480, config=given, out=tmp_path / "run", **CLOCKS)
    ring = ring_of(run, 480)
    index = jnp.arange(8, 480)  # after the warm-up
    found = readers.windows(ring, index, K)
    assert int((~found.valid).sum()) == 2 * (K - 1) * K // 2  # two environments began an episode at their step 200
    action = jnp.tanh(run.policy().state.actor.net(inputs(found.obs, found.valid)))
    np.testing.assert_allclose(action, found.action[:, -1], atol=2e-6)


def test_its_policy_acts_the_same_alone_in_evaluation_and_when_it_makes_a_log(cloner, tmp_path):
    run = train("window_cloner", DATA, env="Pendulum-v1", steps=60, out=tmp_path / "run", **CLOCKS)
    policy = run.policy()
    data = collect("Pendulum-v1", of_policy(run.path / "policy"), episodes=1)
    memory, actions = None, []
    for obs in data.observations[:-1]:
        action, memory = policy.act(obs, memory)
        actions.append(action)
    np.testing.assert_allclose(np.stack(actions), data.actions, atol=1e-5)
    assert evaluate(policy, "Pendulum-v1", episodes=2, seed=3).lengths.tolist() == [[200, 200]]


class Counter(PyTree):
    """A state without parameters."""

    unused: jax.Array


def follow_rewards(cfg, state, seen, memory, noise, mode):
    """Acts by the rewards since the episode's start."""
    memory = memory + seen.reward
    return jnp.tanh(memory[:, None] / 100), memory


@pytest.mark.slow
@pytest.mark.parametrize("env", ["Pendulum-v1", "jax/Pendulum-v1"])
def test_the_reward_that_a_policy_sees_is_the_treated_one_of_the_step_before(env, register, tmp_path):
    phase = Phase("online", mix={"online": 1.0}, collect=Collect(envs=1, warmup=0))
    register(
        ALGORITHM._replace(
            name="follows",
            init=lambda cfg, ctx, noise: Counter(jnp.zeros(())),
            update=lambda cfg, state, batch, noise, step: (state, {"reward": batch.reward.mean()}),
            act=follow_rewards,
            memory=lambda cfg, spec, n: jnp.zeros(n),
            phases=lambda cfg: (phase,),
        )
    )
    treatment = {"reward_scale": 0.5, "reward_shift": 1.0}
    run = train("follows", DATA, env=env, steps=240, treatment=treatment, out=tmp_path / "run", **CLOCKS)
    saved = arrays(run.path, 240)
    reward = saved["rings.online.rows.reward"][0, :240]
    start = np.flatnonzero(saved["rings.online.rows.truncated"][0, :240]) + 1
    before = [np.cumsum(np.append(0, part[:-1])) for part in np.split(reward, start) if len(part)]
    np.testing.assert_allclose(
        saved["rings.online.rows.action"][0, :240, 0], np.tanh(np.concatenate(before) / 100), atol=1e-5
    )
