"""Gymnasium's Pendulum-v1 and CartPole-v1 in JAX, step for step (in float32)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ...core.spec import Spec
from .env import JaxEnv, Stepped, register


def pendulum() -> JaxEnv:
    """Swing up a pendulum by a torque in [-2, 2]. State: angle and angular speed; 200 steps."""

    def observe(state: jax.Array) -> jax.Array:
        return jnp.array([jnp.cos(state[0]), jnp.sin(state[0]), state[1]])

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        bound = jnp.array([jnp.pi, 1.0])
        state = jax.random.uniform(key, (2,), minval=-bound, maxval=bound)
        return state, observe(state)

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> Stepped:
        angle, speed = state
        torque = jnp.clip(action[0], -2, 2)
        around = (angle + jnp.pi) % (2 * jnp.pi) - jnp.pi
        reward = -(around**2 + 0.1 * speed**2 + 0.001 * torque**2)
        speed = jnp.clip(speed + (15 * jnp.sin(angle) + 3 * torque) * 0.05, -8, 8)
        state = jnp.array([angle + speed * 0.05, speed])
        return state, observe(state), reward, jnp.array(False)

    bound = np.full(1, 2.0, np.float32)
    return JaxEnv(Spec((3,), 1, horizon=200), reset, step, -bound, bound)


def cartpole() -> JaxEnv:
    """Balance a pole on a cart by pushes. State: position, speed, angle and angular speed; at most 500 steps."""
    gravity = 9.8
    mass = 1.1  # of cart and pole
    pole = 0.1  # mass of the pole
    half = 0.5  # half the length of the pole
    push = 10.0  # force
    tick = 0.02  # seconds a step

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)
        return state, state

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> Stepped:
        place, speed, angle, turn = state
        force = jnp.where(action == 1, push, -push)
        pulled = (force + pole * half * turn**2 * jnp.sin(angle)) / mass
        bend = gravity * jnp.sin(angle) - jnp.cos(angle) * pulled
        bend = bend / (half * (4 / 3 - pole * jnp.cos(angle) ** 2 / mass))
        push_on = pulled - pole * half * bend * jnp.cos(angle) / mass
        state = jnp.array([place + tick * speed, speed + tick * push_on, angle + tick * turn, turn + tick * bend])
        fallen = (jnp.abs(state[0]) > 2.4) | (jnp.abs(state[2]) > 12 * 2 * np.pi / 360)
        return state, state, jnp.array(1.0), fallen

    return JaxEnv(Spec((4,), 2, discrete=True, horizon=500), reset, step)


register("jax/Pendulum-v1", pendulum)
register("jax/CartPole-v1", cartpole)
