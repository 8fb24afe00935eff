"""COMBO: both readings of its log-sum-exp by hand, and whole updates recorded from OfflineRL-Kit."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import combo, model_based
from holdfast.core.noise import Noise
from holdfast.core.spec import Batch, Spec
from holdfast.core.trained import Trained
from holdfast.parts import nets
from support.formulas import same
from support.tapes import Golden, common, replay

pytestmark = pytest.mark.usefixtures("x64")


def test_the_two_readings_of_the_log_sum_exp():
    """One critic, two candidates of each kind, one row; densities 1."""
    q = jnp.asarray([[[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]]])  # uniform 1, 2; next 3, 4; policy 5, 6
    zeros = jnp.zeros((6, 1))
    triples = [math.log(sum(map(math.exp, one))) for one in ((1, 3, 5), (2, 4, 6))]
    same(combo.value_of_rho(combo.COMBO(pooling="triples"), q, zeros), [np.mean(triples)])
    every = math.log(sum(math.exp(i) for i in range(1, 7)))
    same(combo.value_of_rho(combo.COMBO(pooling="all"), q, zeros), [every])


@pytest.mark.parametrize("name", ["combo", "combo_reshaped_model_states"])
def test_combo(name):
    g = Golden(name)
    cfg = combo.COMBO(
        **common(g, "penalty_weight=cql_weight n_actions temperature_lr=alpha_lr target_entropy actor_lr critic_lr"),
        penalty_states=g.setting("rho_s"),
        pooling="all" if g.setting("reshaped") else "triples",
    )

    def actor(root, suffix=""):  # the kit's density has 1e-6 in the logarithm, ours is exact
        low, high, floor = (g.setting(k) for k in ("log_std_min", "log_std_max", "tanh_eps"))
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low, high, floor=floor)

    tx = combo.optimisers_of(cfg)
    state = model_based.State(
        Trained.new(actor("params"), tx.actor),
        Trained.new(g.critic("params"), tx.critic),
        g.critic("target"),
        Trained.new(g.scalar("params/log_alpha"), tx.temperature),
        (),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.critic.net, state.target_critic, state.temperature.net
        at = "expected/params"
        slow = g.critic("expected/target", suffix)
        return actor(at, suffix), g.critic(at, suffix), slow, g.scalar(f"{at}/log_alpha", suffix)

    for step in range(1, g.steps + 1):  # the two critics stepped apart there, together here
        total = g[f"expected/critic1_loss/step{step}"] + g[f"expected/critic2_loss/step{step}"]
        g.arrays[f"expected/critic_loss/step{step}"] = total
    names = ("obs", "action", "reward", "next_obs", "terminated")
    both = (jnp.concatenate([jnp.asarray(g[f"batch/{part}/{n}"]) for part in ("real", "model")]) for n in names)
    batch = Batch(*both, jnp.zeros(12), parts=(("data", 0, 6), ("model", 6, 12)))

    def tape(arrays):
        renamed = {"random_action_uniform": "random_action"}
        model = g.setting("rho_s") == "model"
        found = {}
        for key, value in arrays.items():
            samples = value.ndim == 3
            cut = value[-6:] if samples and model and len(value) == 12 else value
            found[renamed.get(key, key)] = jnp.moveaxis(cut, 1, 0) if samples else value
        return found

    losses = {"critic/loss": "critic_loss", "actor/loss": "actor_loss", "temperature/loss": "alpha_loss"}
    replay(combo.algorithm, cfg, state, g, expected, losses, batch=batch, tape=tape)


@pytest.mark.parametrize("learned", [True, False])
def test_a_temperature_that_is_not_learned_stays(learned):
    cfg = combo.COMBO(learned_temperature=learned, hidden=(4,), n_actions=1)
    spec, noise = Spec((3,), 2), Noise(jax.random.PRNGKey(0))
    tx = combo.optimisers_of(cfg)
    critic = nets.critic(noise, spec, cfg.hidden, 2)
    state = model_based.State(
        Trained.new(nets.gaussian_heads_policy(noise, spec, cfg.hidden), tx.actor),
        Trained.new(critic, tx.critic),
        critic,
        Trained.new(jnp.log(0.3), tx.temperature),
        (),
    )
    row = jnp.zeros(4)
    parts = (("data", 0, 2), ("model", 2, 4))
    batch = Batch(jnp.ones((4, 3)), jnp.zeros((4, 2)), row, jnp.ones((4, 3)), row, row, parts=parts)
    kept = []

    def update(state, batch, noise):
        new, metrics = combo.update(cfg, state, batch, noise, 0)
        kept.append(new.temperature is state.temperature)
        return metrics

    metrics = jax.eval_shape(update, state, batch, noise)
    assert kept == [not learned]
    assert ("temperature/loss" in metrics) == learned


def test_combo_needs_both_kinds_of_rows():
    for ratio in (0.0, 1.0):
        (fault,) = combo.check(combo.COMBO(real_ratio=ratio))
        assert fault.startswith("real_ratio")


def test_logged_rows_come_first():
    batch = Batch(*(jnp.zeros(5) for _ in range(6)), parts=(("data", 0, 2), ("model", 2, 5)))
    assert model_based.logged(batch) == 2
    assert len(batch.of("model").reward) == 3
