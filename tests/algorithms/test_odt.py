"""Online Decision Transformer: losses and steps worked by hand, its replay, and what it asks for while it explores."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import odt
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context, Phase
from holdfast.core.noise import Tape
from holdfast.core.spec import Batch, Seen, Spec
from holdfast.data.dataset import Dataset
from holdfast.parts import sequences
from holdfast.parts.distributions import TanhNormal
from holdfast.parts.layers import Linear
from support.formulas import NOISE

SPEC = Spec((2,), 2)
SMALL = {"context": 3, "acting_context": 2, "layers": 1, "heads": 2, "width": 8, "dropout": 0.0}


def made(**settings) -> tuple[odt.ODT, odt.State]:
    cfg = as_arrays(odt.ODT(**SMALL | settings))
    stats = {"reward_scale": 0.01, "return_max": 3.0}
    return cfg, odt.init(cfg, Context(SPEC, None, stats), NOISE)


def batch_of(rows: int = 4) -> Batch:
    rng = np.random.default_rng(0)
    obs = jnp.asarray(rng.normal(size=(rows, 3, 2)))
    action = jnp.asarray(rng.uniform(-1, 1, (rows, 3, 2)))
    nothing = jnp.zeros((rows, 3))
    extra = {
        "return_to_go": jnp.asarray(rng.normal(size=(rows, 3))),
        "timestep": jnp.zeros((rows, 3), int),
        "valid": jnp.asarray(np.arange(3)[None] >= rng.integers(0, 3, (rows, 1))),
    }
    return Batch(obs, action, nothing, obs, nothing, nothing, extra=extra, axis=-2)


def test_one_update_by_hand(x64):
    """The head is zero, so the policy is the tanh of a normal of deviation e^-1.5 everywhere."""
    cfg, state = made(initial_temperature=0.3, temperature_lr=0.1, warmup_updates=1.0)
    net = dataclasses.replace(state.actor.net, head=Linear(jnp.zeros((8, 4)), jnp.zeros(4)))
    state = dataclasses.replace(state, actor=state.actor.replace(net))
    batch = batch_of()
    valid = np.asarray(batch.valid)
    eps = np.random.default_rng(1).normal(size=batch.action.shape)
    after, metrics = odt.update(cfg, state, batch, Tape({"entropy": eps}), jnp.asarray(0))
    policy = TanhNormal(jnp.zeros_like(batch.action), jnp.full_like(batch.action, -1.5))
    likelihood = np.asarray(policy.log_prob(batch.action))[valid].mean()
    entropy = -np.asarray(policy.sample_and_log_prob(jnp.asarray(eps))[1])[valid].mean()
    assert metrics["actor/log_likelihood"] == pytest.approx(likelihood)
    assert metrics["actor/entropy"] == pytest.approx(entropy)
    assert metrics["actor/loss"] == pytest.approx(-likelihood - 0.3 * entropy)
    assert metrics["temperature/loss"] == pytest.approx(0.3 * (entropy + 2))  # the goal is minus two dimensions
    sign = np.sign(entropy + 2)  # Adam's first step has the size of the rate
    assert after.temperature.net == pytest.approx(np.log(0.3) - 0.1 * sign, rel=1e-6)


def test_the_entropy_and_the_likelihood_leave_padding_out(x64):
    _, state = made()
    batch = batch_of()
    window = sequences.window_of(batch)
    eps = jnp.asarray(np.random.default_rng(1).normal(size=batch.action.shape))
    padding = ~window.valid[..., None]
    loss = jax.jit(lambda window, eps: odt.actor_loss(state.actor.net, window, 0.1, 2.0, eps, sequences.Keep())[0])
    other = window._replace(action=jnp.where(padding, -10.0, window.action), obs=jnp.where(padding, 0.0, window.obs))
    assert bool(padding.any())
    assert loss(other, jnp.where(padding, 5.0, eps)) == pytest.approx(float(loss(window, eps)))


@pytest.mark.parametrize(("settings", "wanted"), [({}, [-5, -1.5, 2]), ({"max_log_std": -1.0}, [-5, -3, -1])])
def test_the_log_deviation_is_between_its_bounds(x64, settings, wanted):
    cfg, state = made(**settings)
    seen = Seen(jnp.ones((1, 2)), jnp.zeros(1))
    found = []
    for x in (-50.0, 0.0, 50.0):
        net = dataclasses.replace(state.actor.net, head=Linear(jnp.zeros((8, 4)), jnp.array([0.3, 0.3, x, x])))
        policy = odt.dist(
            cfg, dataclasses.replace(state, actor=state.actor.replace(net)), seen, odt.memory(cfg, SPEC, 1)
        )
        found.append(float(policy.log_std[0, 0]))
        assert float(policy.mode()[0, 1]) == pytest.approx(np.tanh(0.3))
    assert found == pytest.approx(wanted)


def test_the_loss_has_the_bounds_of_the_policy(x64):
    """A normal of deviation e^-1, where the head asks for the largest one."""
    _, state = made()
    net = dataclasses.replace(state.actor.net, head=Linear(jnp.zeros((8, 4)), jnp.array([0.0, 0.0, 50.0, 50.0])))
    batch = batch_of()
    eps = jnp.zeros_like(batch.action)
    _, metrics = odt.actor_loss(net, sequences.window_of(batch), 0.1, -1.0, eps, sequences.Keep())
    wanted = TanhNormal(jnp.zeros_like(batch.action), jnp.full_like(batch.action, -1.0)).log_prob(batch.action)
    assert metrics["log_likelihood"] == pytest.approx(float(wanted[batch.valid].mean()))


def test_tokens_have_no_place_in_the_episode(x64):
    _, state = made()
    window = sequences.window_of(batch_of())
    model = jax.jit(lambda net, window: net(window))
    moved = window._replace(time=window.time + 7)
    np.testing.assert_array_equal(model(state.actor.net, moved), model(state.actor.net, window))
    assert state.actor.net.steps is None


def test_tokens_can_carry_the_step_as_a_number(x64):
    """With `timed`, the step adds w t / 100 + b to the three tokens of step t, before they are normalised."""
    _, state = made(timed=True)
    net = dataclasses.replace(state.actor.net, norm=None)
    window = sequences.window_of(batch_of())
    window = window._replace(time=jnp.arange(12).reshape(4, 3))
    line = net.steps
    assert isinstance(line, Linear)
    added = np.asarray(window.time)[:, :, None, None] / 100 * np.asarray(line.weight)[0] + np.asarray(line.bias)
    tokens = [net.to_go(window.to_go[..., None]), net.obs(window.obs), net.action(window.action)]
    wanted = np.stack([np.asarray(x) for x in tokens], 2) + added
    np.testing.assert_allclose(net._tokens(window, False), wanted.reshape(4, 9, 8), rtol=1e-12)


def test_it_reads_its_last_steps_only_when_it_acts():
    cfg = as_arrays(odt.ODT(**SMALL))
    assert odt.memory(cfg, SPEC, 5)["obs"].shape == (5, 2, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("target", "wanted"), [((200.0,), (2.0, 4.0)), ((-150.0,), (-1.5, 0.0)), ((), (3.0, 6.0))])
def test_exploring_asks_for_more(target, wanted):
    cfg, state = made(target_return=target)
    seen = Seen(jnp.zeros((1, 2)), jnp.zeros(1))
    for mode, asked in zip(("best", "explore"), wanted, strict=True):
        _, past = odt.act(cfg, state, seen, odt.memory(cfg, SPEC, 1), NOISE, mode)
        assert float(past["to_go"][0, -1]) == pytest.approx(asked)


def test_the_replay_begins_with_the_best_episodes_the_best_one_last():
    def episode(reward, steps):
        return {
            "observations": np.zeros((steps + 1, 2), np.float32),
            "actions": np.zeros((steps, 1), np.float32),
            "rewards": np.full(steps, reward),
            "terminations": np.arange(steps) == steps - 1,
            "truncations": np.zeros(steps, bool),
        }

    data = Dataset.from_episodes([episode(1.0, 3), episode(-5.0, 2), episode(4.0, 2)])
    assert odt.best_episodes(odt.ODT(episodes=2), data).tolist() == [0, 1, 2, 5, 6]
    assert len(odt.best_episodes(odt.ODT(), data)) == 7


def test_the_online_phase():
    (phase,) = odt.finetune(odt.ODT())
    assert isinstance(phase, Phase)
    assert (phase.collect.steps, phase.collect.every, phase.collect.warmup, phase.collect.whole) == (10, 3, 0, True)
    assert phase.mix == {"online": 1.0}


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"acting_context": 30}, "acting_context is 30, expected from 1 to context, 20"),
        ({"heads": 5}, "width is 512, expected a multiple of heads, 5"),
        ({"max_log_std": -5.0}, "max_log_std is -5.0, expected more than -5"),
        ({"exploration": 0.0}, "exploration is 0.0, expected positive"),
        ({"target_return": (float("inf"),)}, "target_return is inf, expected finite"),
    ],
)
def test_faults_of_settings(settings, fault):
    assert odt.check(odt.ODT(**settings)) == [fault]
