"""IDQL against numbers worked by hand (float64)."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import idql
from holdfast.core.contract import Context
from holdfast.core.noise import Tape
from holdfast.core.spec import Seen, Spec
from holdfast.parts import diffusion, nets
from support.formulas import NOISE, array, batch, critics, identical, linear, same

pytestmark = pytest.mark.usefixtures("x64")


@functools.cache
def network(size):
    """A random actor with `size` action dimensions and one block."""
    return jax.jit(lambda noise: diffusion.residual_net(noise, Spec((1,), size), (4,)))(NOISE)


@functools.cache
def small():
    """V = s, Q = s + a and 2 s - a (targets s and a), and a random actor."""
    cfg = idql.IDQL(discount=0.9, polyak=0.5, actor_polyak=0.25, candidates=3, block_hidden=(4,),
                    actor_dropout=0.0, actor_decay_steps="constant")  # fmt: skip
    actor = network(1)
    made = idql.state_of(cfg, actor, nets.Value(linear([1])), critics([1, 1], [2, -1]))
    return cfg, idql.State(made.actor, made.value, made.critic, actor, critics([1, 0], [0, 1]))


ROWS = {"action": np.array([[0.5], [3]])}
TAPE = {"actor_t": np.array([0, 4]), "actor_eps": np.array([[0.1], [-1]])}


def test_the_actor_loss_is_a_sum_over_dimensions(run):
    actor = network(2)
    t, eps = jnp.array([0, 4]), array([0.1, 1], [-1, 0.5])
    loss, _ = run(lambda eps: idql.actor_loss(actor, batch(), t, eps, (), 5), eps)
    x = diffusion.noised(batch().action, eps, t, 5)
    same(loss, ((actor(batch().obs, x, t) - eps) ** 2).sum(1).mean())


def test_the_update():
    """V regresses on the smaller target critic, Q on the new V; the averages follow the new networks."""
    cfg, state = small()
    new, metrics = idql.update(cfg, state, batch(**ROWS), Tape(TAPE), jnp.asarray(0))
    u = np.array([min(1, 0.5) - 1, min(2, 3) - 2])
    same(metrics["value/loss"], (0.3 * u[0] ** 2 + 0.7 * u[1] ** 2) / 2)
    y = np.array([1 + 0.9 * new.value.net(array([[3.0]]))[0, 0], 2])
    same(metrics["critic/loss"], ((np.array([[1.5, 5], [1.5, 1]]) - y) ** 2).mean())
    now, slow = new.critic.net.nets.layers[0].weight, state.target_critic.nets.layers[0].weight
    same(new.target_critic.nets.layers[0].weight, 0.5 * (now + slow))
    before, after = state.average_actor.last.weight, new.actor.net.last.weight
    same(new.average_actor.last.weight, 0.75 * before + 0.25 * after)
    assert not np.array_equal(before, after)


def test_weight_decay():
    """A weight without gradient shrinks by rate times decay: AdamW."""
    cfg, state = small()
    cfg = dataclasses.replace(cfg, actor_weight_decay=0.5, actor_lr=0.1)
    actor = state.actor
    tx = idql.optimisers_of(cfg).actor
    moved, _ = jax.jit(lambda actor: actor.step(tx, lambda net: (net.last.bias.sum(), {}), name="actor"))(actor)
    same(moved.net.first.weight, actor.net.first.weight * (1 - 0.1 * 0.5))


def test_fine_tuning_leaves_the_actor():
    cfg, state = small()
    (phase,) = idql.finetune(cfg)
    new, _ = jax.jit(lambda state: phase.update(cfg, state, batch(**ROWS), Tape({}), 0))(state)
    assert identical((new.actor, new.average_actor), (state.actor, state.average_actor))
    assert not identical(new.critic, state.critic)
    assert (phase.batch_size, phase.mix, phase.collect.delay) == (256, {"data": 0.5, "online": 0.5}, 5_000)


def test_acting_by_the_best_candidate_of_the_average():
    """min(s, a) of the target critics is largest at the largest a below s."""
    cfg, state = small()
    eps = jnp.asarray(np.random.default_rng(0).normal(size=(15, 2, 1)))
    seen = Seen(array([0.9], [0.9]), jnp.zeros(2))

    @jax.jit
    def both():
        drawn = diffusion.by_steps(state.average_actor, seen.obs, eps.reshape(5, 3, 2, 1))
        return drawn, idql.act(cfg, state, seen, (), Tape({"act": eps}), "sample")[0]

    drawn, found = both()
    same(found, jnp.minimum(drawn, 0.9).max(0))


def test_the_networks():
    made = idql.init(
        idql.IDQL(hidden=(8,), critics=3, block_hidden=(8, 8), actor_decay_steps="constant"),
        Context(Spec((3,), 2)),
        NOISE,
    )
    assert len(made.actor.net.blocks) == 2
    assert made.actor.net.first.weight.shape == (2 + 3 + 128, 8)
    assert made.actor.net.blocks[0].wide.weight.shape == (8, 32)
    assert made.critic.net.nets.layers[0].weight.shape == (3, 5, 8)
    assert idql.check(idql.IDQL(block_hidden=(8, 4))) == [
        "block_hidden is (8, 4), expected at least one width, and equal ones"
    ]
