"""Discrete CQL: its penalty against numbers worked by hand, its updates against recorded ones."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from holdfast.algorithms import discrete_cql
from support.formulas import array, constant_values, discrete_batch, near
from support.q_learning import replay_d3rlpy
from support.tapes import Golden

Q = array([1, 2, 3])
MASK = jnp.array([[True, True, False]])


@pytest.mark.parametrize(
    ("mu", "free", "masked"),
    [
        ("entropy", math.log(math.e + math.e**2 + math.e**3), math.log(math.e + math.e**2)),
        ("greedy", 3, 2),
        ("uniform", 2, 1.5),
        ("softmax", (1 + 2 * math.e + 3 * math.e**2) / (1 + math.e + math.e**2), (1 + 2 * math.e) / (1 + math.e)),
    ],
)
def test_what_is_pushed_down(mu, free, masked):
    near(discrete_cql.pushed_down(Q, None, mu), [free])
    near(discrete_cql.pushed_down(Q, MASK, mu), [masked])


@pytest.mark.parametrize("mask", [None, MASK])
def test_the_written_out_softmax_has_the_gradient_of_the_entropy_form(mask):
    def slope(mu):
        return jax.grad(lambda q: discrete_cql.pushed_down(q, mask, mu).sum())(Q)

    near(slope("softmax"), slope("entropy"))
    near(slope("greedy"), [[0, 0, 1]] if mask is None else [[0, 1, 0]])
    near(slope("uniform"), [[1 / 3] * 3] if mask is None else [[0.5, 0.5, 0]])


def test_the_conservative_loss():
    cfg = discrete_cql.DiscreteCQL(alpha=2.0, mu="greedy")
    critic = constant_values([[1.0], [2.0], [4.0]])
    # Huber of 1 - 3: 1.5; penalty max 4 less Q of the data 1: 3
    rows, y = discrete_batch(), array([3], [3])
    value, metrics = discrete_cql.critic_loss(critic, y, rows, cfg)
    near(value, 1.5 + 2 * 3)
    near([metrics["td_loss"], metrics["penalty"], metrics["q"], metrics["policy_q"]], [1.5, 3, 1, 4])
    value, metrics = discrete_cql.critic_loss(critic, y, rows, dataclasses.replace(cfg, data_term=False))
    near(value, 1.5 + 2 * 4)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("file", "critic"), [("cql_discrete", "dqn"), ("cql_discrete_qr", "qr_dqn")])
def test_recorded_updates(file, critic):
    losses = {"critic/td_loss": "td_loss", "critic/penalty": "conservative_loss"}
    replay_d3rlpy(discrete_cql.algorithm, file, losses, critic=critic, alpha=Golden(file).setting("alpha"))
