"""Reads the recorded update steps in tests/golden: settings, weights, batch and noise in; losses and weights out."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import sac, td3
from holdfast.core.config import as_arrays
from holdfast.core.noise import Tape
from holdfast.core.spec import Batch
from holdfast.core.trained import Trained
from holdfast.core.tree import named_leaves
from holdfast.parts import layers, nets
from holdfast.parts import vae as vaes
from holdfast.parts.optimisers import ActorCritic

FOLDER = pathlib.Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-9


class Golden:
    """One recorded file."""

    def __init__(self, name: str) -> None:
        self.arrays = dict(np.load(FOLDER / f"{name}.npz"))
        self.steps = int(self["config/steps"])

    def __getitem__(self, key: str) -> Any:
        return self.arrays[key]

    def setting(self, name: str) -> Any:
        return self[f"config/{name}"].item()

    def scalar(self, path: str, suffix: str = "") -> jax.Array:
        """A recorded number, e.g. the logarithm of a temperature."""
        return jnp.asarray(self[f"{path}{suffix}"]).reshape(())

    def batch(self) -> Batch:
        names = ("obs", "action", "reward", "next_obs", "terminated")
        return Batch(*(jnp.asarray(self[f"batch/{n}"]) for n in names), truncated=jnp.zeros(len(self["batch/reward"])))

    def noise(self, step: int) -> dict[str, Any]:
        """The draws of one step, counted from 1, by name."""
        prefix = "noise/"
        return {k[len(prefix) :]: jnp.asarray(v[step - 1]) for k, v in self.arrays.items() if k.startswith(prefix)}

    def mlp(self, path: str, suffix: str = "", **how: Any) -> layers.MLP:
        """`path/layer0..` and heads `mean`, `log_std` (side by side) as an MLP; `suffix` "/step1" reads the result."""

        def linear(name: str) -> layers.Linear:
            return layers.Linear(*(jnp.asarray(self[f"{path}/{name}/{part}{suffix}"]) for part in ("weight", "bias")))

        def there(name: str) -> bool:
            return f"{path}/{name}/weight{suffix}" in self.arrays

        dense = [linear(f"layer{i}") for i in range(10) if there(f"layer{i}")]
        heads = [linear(name) for name in ("mean", "log_std") if there(name)]
        if heads:
            dense.append(jax.tree.map(lambda *x: jnp.concatenate(x, -1), *heads))
        norms = [f"layernorm{i}" for i in range(10) if there(f"layernorm{i}")]
        eps = how.pop("eps", 1e-6)
        return layers.MLP(tuple(dense), tuple(layers.LayerNorm(*jax.tree.leaves(linear(n)), eps) for n in norms), **how)

    def critic(
        self, root: str, suffix: str = "", members: tuple[str, ...] = ("critic1", "critic2"), **how: Any
    ) -> nets.Critic:
        """Critics recorded apart, as one ensemble."""
        each = (self.mlp(f"{root}/{m}", suffix, **how) for m in members)
        return nets.Critic(jax.tree.map(lambda *x: jnp.stack(x), *each))


def close(name: str, found: Any, wanted: Any, tolerance: float) -> None:
    """Every leaf equal to a relative tolerance (of the leaf's largest entry)."""
    a, b = named_leaves(found), named_leaves(wanted)
    assert a.keys() == b.keys(), name
    for key in a:
        scale = max(float(np.abs(b[key]).max()), 1e-12)
        np.testing.assert_allclose(a[key], b[key], rtol=tolerance, atol=tolerance * scale, err_msg=f"{name}: {key}")


def replay(algorithm, cfg, state, golden, expected, losses, update=None, batch=None, tape=None, slopes=None):
    """Runs every recorded step and compares state and losses after each; the whole tape has to be used.

    `slopes`: scalars whose recorded gradient is compared too, since Adam hides its size: {our name: theirs}.
    """
    used, cfg, update = set(), as_arrays(cfg), update or algorithm.update
    batch = golden.batch() if batch is None else batch

    @jax.jit
    def run(state, arrays, step):
        return update(cfg, state, batch, Tape(arrays, used=used), step)

    for step in range(1, golden.steps + 1):
        arrays = golden.noise(step) if tape is None else tape(golden.noise(step))
        state, metrics = run(state, arrays, jnp.asarray(step - 1))
        close(f"step {step}", expected(state), expected(state, f"/step{step}"), TOLERANCE)
        for ours, theirs in losses.items():
            key = f"expected/{theirs}/step{step}"
            value, weight = metrics[ours] if isinstance(metrics[ours], tuple) else (metrics[ours], 1)
            assert (key in golden.arrays) == bool(weight), (ours, step)
            if weight:  # metrics of occasional updates are float32
                assert value == pytest.approx(golden[key], rel=TOLERANCE if value.dtype == "float64" else 1e-6)
        for ours, theirs in (slopes or {}).items():
            slope = abs(float(golden[f"expected/grads/{theirs}/step{step}"]))
            assert metrics[f"{ours}/gradient_norm"] == pytest.approx(slope, rel=TOLERANCE), (ours, step)
        assert used == arrays.keys()


def common(g: Golden, *names: str) -> dict[str, Any]:
    """Recorded settings by our names, and those that every method has.

    A name is a setting, or `ours=theirs` if the recording has another name for it. One text may hold several names.
    """
    pairs = [name.partition("=") for name in " ".join(names).split()]
    found = {ours: g.setting(theirs or ours) for ours, _, theirs in pairs}
    return found | {"discount": g.setting("discount"), "polyak": g.setting("tau"), "hidden": (8, 8)}


def vae(golden: Golden, root: str, suffix: str = "") -> vaes.VAE:
    """A recorded encoder and decoder."""
    return vaes.VAE(golden.mlp(f"{root}/vae_encoder", suffix), golden.mlp(f"{root}/vae_decoder", suffix))


def delayed_actor(
    g: Golden, tx: ActorCritic, actor: Callable[..., nets.Policy], critic: Callable[..., nets.Critic] | None = None
) -> tuple[td3.State, Callable[..., tuple[Any, ...]]]:
    """The recorded state of a method with the state of TD3, and the `expected` of `replay`.

    Args:
        g: the recording.
        tx: the optimisers.
        actor: (root, suffix) -> the recorded actor.
        critic: (root, suffix) -> the recorded critics; None: `g.critic`.
    """
    critic = critic or g.critic
    trained = (Trained.new(actor("params"), tx.actor), Trained.new(critic("params"), tx.critic))
    state = td3.State(*trained, actor("target"), critic("target"))

    def expected(state: td3.State, suffix: str | None = None) -> tuple[Any, ...]:
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_actor, state.target_critic
        return tuple(f(f"expected/{root}", suffix) for root in ("params", "target") for f in (actor, critic))

    return state, expected


def samples_first(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Moves the axis of the samples of a row, which is recorded second, to the front."""

    def tape(arrays: dict[str, Any]) -> dict[str, Any]:
        return {k: jnp.moveaxis(v, 1, 0) if k in names else v for k, v in arrays.items()}

    return tape


def warm_then(algorithm, cfg, losses):
    """An update whose first recorded step belongs to the warm start; it reports the metrics that both phases have."""
    warm, run = (phase.update or algorithm.update for phase in algorithm.phases(cfg))

    def update(cfg, state, batch, noise, step):
        def of(phase):
            def call(state):
                state, metrics = phase(cfg, state, batch, noise, step)
                return state, {name: metrics[name] for name in losses}

            return call

        return jax.lax.cond(step < 1, of(warm), of(run), state)

    return update


def soft_learner(
    g: Golden,
    tx: sac.Optimisers,
    actor: Callable[..., nets.Policy],
    critic: Callable[..., nets.Critic],
    temperature: str,
) -> tuple[sac.State, Callable[..., tuple[Any, ...]]]:
    """The recorded state of a method with the state of SAC, and the `expected` of `replay`.

    Args:
        g: the recording.
        tx: the optimisers.
        actor: (root, suffix) -> the recorded actor.
        critic: (root, suffix) -> the recorded critics.
        temperature: name of the recorded logarithm of the temperature.
    """
    state = sac.State(
        Trained.new(actor("params"), tx.actor),
        Trained.new(critic("params"), tx.critic),
        critic("target"),
        Trained.new(g.scalar(f"params/{temperature}"), tx.temperature),
    )

    def expected(state: sac.State, suffix: str | None = None) -> tuple[Any, ...]:
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_critic, state.temperature.net
        at = "expected/params"
        log_alpha = g.scalar(f"{at}/{temperature}", suffix)
        return actor(at, suffix), critic(at, suffix), critic("expected/target", suffix), log_alpha

    return state, expected


def soft_actor_critic(name, module, config, **settings):
    """The arguments of `replay` for a recorded SAC with N critics; `floor` is CORL's log(1 - a^2 + 1e-6)."""
    g = Golden(name)
    cfg = config(
        **common(g, "critics=n_critics temperature_lr=alpha_lr target_entropy actor_lr critic_lr"),
        **settings,
    )

    def actor(root, suffix=""):
        low, high = g.setting("log_std_min"), g.setting("log_std_max")
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low, high, floor=g.setting("tanh_eps"))

    def critic(root, suffix=""):
        return nets.Critic(g.mlp(f"{root}/critics", suffix))

    state, expected = soft_learner(g, sac.optimisers_of(cfg), actor, critic, "log_alpha")
    losses = {"temperature/loss": "alpha_loss", "actor/loss": "actor_loss", "critic/loss": "critic_loss"}
    return module.algorithm, cfg, state, g, expected, losses
