"""Decision Transformer: recorded update steps, the window that it acts on, and returns-to-go while acting."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import decision_transformer as dt
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.noise import Noise, Tape
from holdfast.core.spec import Batch, Seen, Spec
from holdfast.core.trained import Trained
from holdfast.parts import sequences
from holdfast.parts.layers import LayerNorm, Linear
from holdfast.parts.sequences import Asked, TrajectoryModel
from holdfast.parts.transformer import Block, Embedding, Transformer
from support.formulas import NOISE, same
from support.marks import quick
from support.tapes import Golden, close

RECORDED = ("decision_transformer", "decision_transformer_2layers_2heads")


def recorded_model(g: Golden, root: str, suffix: str = "") -> TrajectoryModel:
    def at(name: str) -> list[jax.Array]:
        return [jnp.asarray(g[f"{root}/dt/{name}/{part}{suffix}"]) for part in ("weight", "bias")]

    def norm(name: str) -> LayerNorm:
        return LayerNorm(*at(name), g.setting("layernorm_eps"))

    def block(i: int) -> Block:
        linear = {name: Linear(*at(f"block{i}_{name}")) for name in ("attn_qkv", "attn_proj", "mlp_fc", "mlp_proj")}
        return Block(
            norm(f"block{i}_ln_1"),
            linear["attn_qkv"],
            linear["attn_proj"],
            norm(f"block{i}_ln_2"),
            linear["mlp_fc"],
            linear["mlp_proj"],
            g.setting("n_head"),
            g.setting("activation"),
        )

    body = Transformer(tuple(block(i) for i in range(g.setting("n_layer"))), norm("ln_f"))
    parts = [Linear(*at(f"embed_{name}")) for name in ("return", "state", "action")]
    steps = Embedding(jnp.asarray(g[f"{root}/dt/embed_timestep/weight{suffix}"]))
    return TrajectoryModel(*parts, steps, None, norm("embed_ln"), body, Linear(*at("predict_action")), "step")


def recorded_config(g: Golden) -> dt.DecisionTransformer:
    return as_arrays(
        dt.DecisionTransformer(
            context=g.setting("context"),
            layers=g.setting("n_layer"),
            heads=g.setting("n_head"),
            width=g.setting("dim"),
            max_timestep=g.setting("max_ep_len"),
            dropout=g.setting("dropout"),
            actor_lr=g.setting("lr"),
            warmup_updates=1.0,
            weight_decay=g.setting("weight_decay"),
            second_moment=g.setting("adam_b2"),
            clip_norm=g.setting("grad_clip"),
        )
    )


def recorded_batch(g: Golden) -> Batch:
    obs, action = (jnp.asarray(g[f"batch/{name}"]) for name in ("obs", "action"))
    nothing = jnp.zeros(obs.shape[:2])
    extra = {
        "return_to_go": jnp.asarray(g["batch/return_to_go"])[:, :-1, 0],
        "timestep": jnp.asarray(g["batch/timestep"]).astype(int),
        "valid": jnp.asarray(g["batch/mask"]) > 0,
    }
    return Batch(obs, action, nothing, obs, nothing, nothing, extra=extra, axis=-2)


@pytest.mark.parametrize("name", quick(RECORDED, "decision_transformer"))
def test_recorded_steps(name, x64):
    """Two updates of the authors' code, and the action that it then takes at the second step of an episode."""
    g = Golden(name)
    cfg = recorded_config(g)
    state = dt.State(
        Trained.new(recorded_model(g, "params"), dt.optimiser(cfg)), Asked(*jnp.asarray([1.0, 0.0, -jnp.inf, jnp.inf]))
    )
    for step in range(1, g.steps + 1):
        state, metrics = dt.update(cfg, state, recorded_batch(g), Tape({}), jnp.asarray(step - 1))
        wanted = recorded_model(g, "expected/params", f"/step{step}")
        close(f"step {step}", state.actor.net, wanted, 1e-8)
        assert metrics["actor/loss"] == pytest.approx(g[f"expected/loss/step{step}"], rel=1e-10)
        norm = g[f"expected/grad_norm_before_clip/step{step}"]
        assert metrics["actor/gradient_norm"] == pytest.approx(norm, rel=1e-9)

    to_go = g["act/return_to_go"]
    past = sequences.no_past(Spec((5,), 3), 1, cfg.context)
    past |= {name: past[name].at[:, -1].set(jnp.asarray(g[f"act/{name}"][0])) for name in ("obs", "action")}
    past |= {"to_go": past["to_go"].at[:, -1].set(to_go[0]), "steps": jnp.ones(1, int)}
    seen = Seen(jnp.asarray(g["act/obs"][1:]), jnp.asarray(to_go[:1] - to_go[1:]))
    action, past = jax.jit(lambda state, past: dt.act(cfg, state, seen, past, NOISE, "best"))(state, past)
    same(action[0], g["act/expected_action_after_step2"], rtol=1e-8)
    same(past["to_go"][0, -2:], to_go)


SPEC = Spec((2,), 3)
SMALL = {"context": 4, "layers": 2, "heads": 2, "width": 8, "max_timestep": 20, "dropout": 0.0}


def made(spec: Spec = SPEC, stats: dict | None = None, **settings) -> tuple[dt.DecisionTransformer, dt.State]:
    """A small config and a random state, whose head is large enough to matter."""
    cfg = as_arrays(dt.DecisionTransformer(**SMALL | settings))
    state = dt.init(cfg, Context(spec, None, stats or {}), NOISE)
    return cfg, state


def episode(spec: Spec, steps: int, seed: int = 0) -> sequences.Window:
    """One whole episode as a window [1, steps]."""
    rng = np.random.default_rng(seed)
    obs = jnp.asarray(rng.normal(size=(1, steps, *spec.obs)))
    action = rng.integers(0, spec.action, (1, steps)) if spec.discrete else rng.uniform(-1, 1, (1, steps, spec.action))
    to_go = jnp.asarray(rng.normal(size=(1, steps)).cumsum(1)[:, ::-1])
    time = jnp.arange(steps)[None]
    return sequences.Window(obs, jnp.asarray(action), to_go, time, jnp.ones((1, steps), bool))


def cut(window: sequences.Window, first: int, last: int, length: int) -> sequences.Window:
    """Steps `first` to `last` of an episode as a window of `length`; what pads it is `first` once more."""
    padding = length - (last - first + 1)
    at = np.array([first] * padding + [*range(first, last + 1)])
    *columns, _ = (x[:, at] for x in window)
    return sequences.Window(*columns, jnp.asarray(np.arange(length) >= padding)[None])


@pytest.mark.slow
@pytest.mark.parametrize(("position", "discrete"), [("step", False), ("time", False), ("token", True)])
def test_acting_step_by_step_reads_the_last_windows_of_the_episode(position, discrete, x64):
    """The logits or actions are those of the model on the window that ends at each step, whatever pads it."""
    spec = Spec((2,), 3, discrete)
    cfg, state = made(spec, position=position)
    if position == "token":  # places are zeros at first
        places, steps = (NOISE.normal(name, x.table.shape) for name, x in
                         (("p", state.actor.net.places), ("s", state.actor.net.steps)))  # fmt: skip
        net = dataclasses.replace(state.actor.net, places=Embedding(places), steps=Embedding(steps))
        state = dataclasses.replace(state, actor=state.actor.replace(net))
    whole = episode(spec, 7)
    reward = np.append(0, np.asarray(whole.to_go[0, :-1] - whole.to_go[0, 1:]))
    model = jax.jit(lambda net, window: net(window, newest=True))
    decide = jax.jit(lambda state, seen, past: dt.decide(cfg, state, seen, past))
    past = sequences.no_past(spec, 1, 4)
    for t in range(7):
        seen = Seen(whole.obs[:, t], jnp.asarray(reward[t : t + 1]), target=whole.to_go[:, 0])
        policy, past = decide(state, seen, past)
        past = sequences.acted(past, whole.action[:, t])
        wanted = model(state.actor.net, cut(whole, max(0, t - 3), t, 4))[:, 0]
        same(policy.logits if discrete else policy.action, wanted if discrete else jnp.tanh(wanted), rtol=1e-9)
        same(past["to_go"][:, -1], whole.to_go[:, t], rtol=1e-9)


def test_later_tokens_and_padding_have_no_effect(x64):
    _, state = made()
    window = cut(episode(SPEC, 5), 0, 2, 4)
    model = jax.jit(lambda net, window: net(window))
    out = model(state.actor.net, window)
    filled = window._replace(obs=window.obs.at[:, 0].set(7.0), action=window.action.at[:, 0].set(-10.0),
                             to_go=window.to_go.at[:, 0].set(0.0), time=window.time.at[:, 0].set(0))  # fmt: skip
    same(model(state.actor.net, filled)[:, 1:], out[:, 1:], rtol=1e-9)
    later = window._replace(obs=window.obs.at[:, 3].add(1.0), action=window.action.at[:, 2].add(1.0))
    same(model(state.actor.net, later)[:, 1:3], out[:, 1:3], rtol=1e-9)
    assert np.abs(model(state.actor.net, later)[:, 3] - out[:, 3]).max() > 1e-3
    newest = jax.jit(lambda net, window: net(window, newest=True))(state.actor.net, window)
    same(newest[:, 0], out[:, -1], rtol=1e-9)  # "step" positions: acting computes the same, less of it


def test_the_loss_is_a_mean_over_valid_steps(x64):
    """With a head of zeros: a mean of squared actions, or log of the number of (legal) actions."""
    loss_of = jax.jit(dt.actor_loss)
    _, state = made(layers=1)
    net = dataclasses.replace(state.actor.net, head=Linear(jnp.zeros((8, 3)), jnp.zeros(3)))
    window = cut(episode(SPEC, 5), 0, 2, 4)
    loss, _ = loss_of(net, window, None, sequences.Keep())
    assert loss == pytest.approx(float(np.square(window.action[0, 1:]).mean()))

    spec = Spec((2,), 3, discrete=True)
    _, state = made(spec, position="token", layers=1)
    net = dataclasses.replace(state.actor.net, head=type(state.actor.net.head)(jnp.zeros((8, 3))))
    window = cut(episode(spec, 5), 0, 2, 4)
    loss, found = loss_of(net, window, None, sequences.Keep())
    assert loss == pytest.approx(np.log(3))
    assert found["accuracy"] == pytest.approx(float((window.action[0, 1:] == 0).mean()))
    legal = jnp.ones((1, 4, 3), bool).at[..., 0].set(False)
    window = window._replace(action=jnp.ones((1, 4), int))
    assert loss_of(net, window, legal, sequences.Keep())[0] == pytest.approx(np.log(2))


@pytest.mark.slow
def test_dropout_has_its_own_draws_and_is_off_when_acting():
    cfg, state = made(dropout=0.5)
    window = episode(SPEC, 4)
    keep = sequences.keep_of(state.actor.net, NOISE, cfg.dropout, (1, 4))
    assert [x.shape for x in jax.tree.leaves(keep)] == [
        (1, 12, 8), *[(1, 2, 12, 12), (1, 12, 8), (1, 12, 8)], *[(1, 2, 4, 12), (1, 4, 8), (1, 4, 8)]
    ]  # fmt: skip
    assert set(np.unique(keep.tokens[0])) == {0.0, 2.0}
    plain, dropped = (np.asarray(state.actor.net(window, k)) for k in (sequences.Keep(), keep))
    assert np.abs(plain - dropped).max() > 1e-4
    other = sequences.keep_of(state.actor.net, Noise(jax.random.PRNGKey(1)), cfg.dropout, (1, 4))
    assert np.abs(dropped - np.asarray(state.actor.net(window, other))).max() > 1e-4


def test_the_return_to_go_while_acting():
    """It begins at the target, and each reward lowers it, within the log's if asked; in delayed mode it stays."""
    cfg, state = made(stats={"reward_scale": 0.001, "return_max": 2.5}, layers=1)
    asked = dataclasses.replace(state.asked, low=jnp.asarray(2.0), high=jnp.asarray(3.0))
    state = dataclasses.replace(state, asked=asked)
    for settings, wanted in (
        ({}, [2.5, 1.5, 3.5]),
        ({"target_return": (3600.0, 1800.0)}, [3.6, 2.6, 4.6]),
        ({"target_return": (3600.0,), "delayed": True}, [3.6, 3.6, 3.6]),
        ({"target_return": (2500.0,), "delayed": False, "within_log": True}, [2.5, 2.0, 3.0]),
        ({"target_return": (3600.0,)}, [3.6, 2.6, 3.0]),
    ):
        cfg = dataclasses.replace(cfg, **settings)
        assert float(dt.target(cfg, state)) == pytest.approx(wanted[0])
        past = sequences.no_past(SPEC, 2, 4)
        for t, reward in enumerate((5.0, 1.0, -2.0)):  # the first is of no step of this episode
            seen = Seen(jnp.zeros((2, 2)), jnp.full(2, reward))
            _, past = dt.decide(cfg, state, seen, past)
            np.testing.assert_allclose(past["to_go"][:, -1], wanted[t], rtol=1e-6)
        assert past["steps"].tolist() == [3, 3]
    given = Seen(jnp.zeros((2, 2)), jnp.zeros(2), target=jnp.array([1.0, 2.0]))
    window, _ = sequences.observed(sequences.no_past(SPEC, 2, 4), given, 9.0)
    assert window.to_go[:, -1].tolist() == [1.0, 2.0]
    assert window.valid.tolist() == [[False, False, False, True]] * 2


def test_the_bounds_of_returns_to_go_are_those_of_the_data():
    logged = SimpleNamespace(extra={"return_to_go": jnp.asarray([3.0, 1.0, -2.0])})
    asked = sequences.Asked.of(Context(SPEC, logged, {"reward_scale": 0.5, "return_max": 3.0}))
    assert [float(x) for x in jax.tree.leaves(asked)] == [0.5, 3.0, -2.0, 3.0]
    without = sequences.Asked.of(Context(SPEC))
    assert without.bounds(True) == without.bounds(False) == (-jnp.inf, jnp.inf)


def test_windows_begin_at_the_drawn_row_and_those_of_atari_are_full():
    assert dt.needs(dt.DecisionTransformer()).anchor == "first"
    assert dt.needs(dt.PRESETS["atari"].config).anchor == "full"


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"heads": 3}, "width is 128, expected a multiple of heads, 3"),
        ({"context": 0}, "context is 0, expected positive"),
        ({"target_return": (1.0, float("nan"))}, "target_return is nan, expected finite"),
        ({"position": "none"}, "position is 'none', expected one of step, time, token"),
        ({"dropout": 1.0}, "dropout is 1.0, expected in [0, 1)"),
    ],
)
def test_faults_of_settings(settings, fault):
    assert dt.check(dt.DecisionTransformer(**settings)) == [fault]
