"""TD3+BC and IQL as one would write them for one experiment: dicts of arrays, optax, one jitted scan.

This file imports nothing of Holdfast. `speed.py` compares it with the library, which measures the cost of the contract,
the sampler and the metrics. The updates are those of holdfast.algorithms.td3_bc and iql: the same networks, losses,
order and optimisers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

HIDDEN, BATCH, DISCOUNT, POLYAK, LR = (256, 256), 256, 0.99, 0.005, 3e-4
adam = optax.adam(LR)


def mlp_init(key: jax.Array, sizes: tuple[int, ...]) -> list[dict[str, jax.Array]]:
    keys = jax.random.split(key, len(sizes) - 1)
    pairs = zip(keys, sizes[:-1], sizes[1:], strict=True)
    return [{"w": jax.random.normal(k, (a, b)) * a**-0.5, "b": jnp.zeros(b)} for k, a, b in pairs]


def mlp(params: list[dict[str, jax.Array]], x: jax.Array) -> jax.Array:
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def twins(params: dict[str, Any], obs: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = jnp.concatenate([obs, action], -1)
    return mlp(params["one"], x)[:, 0], mlp(params["two"], x)[:, 0]


def sample(data: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    i = jax.random.randint(key, (BATCH,), 0, len(data["row"]))
    row = data["row"][i]
    batch = {name: data[name][i] for name in ("action", "reward", "terminated")}
    return {**batch, "obs": data["obs"][row], "next_obs": data["obs"][row + 1]}


def descend(loss: Callable, params: Any, opt: Any, tx: Any, *args: Any) -> tuple[Any, Any]:
    updates, opt = tx.update(jax.grad(loss)(params, *args), opt)
    return optax.apply_updates(params, updates), opt


def follow(new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: POLYAK * a + (1 - POLYAK) * b, new, old)


def critic_loss(params: Any, y: jax.Array, batch: Any) -> jax.Array:
    q1, q2 = twins(params, batch["obs"], batch["action"])
    return ((q1 - y) ** 2).mean() + ((q2 - y) ** 2).mean()


def td3_bc_init(key: jax.Array, d: int, a: int) -> dict[str, Any]:
    ka, k1, k2 = jax.random.split(key, 3)
    actor = mlp_init(ka, (d, *HIDDEN, a))
    critic = {"one": mlp_init(k1, (d + a, *HIDDEN, 1)), "two": mlp_init(k2, (d + a, *HIDDEN, 1))}
    opts = {"actor_opt": adam.init(actor), "critic_opt": adam.init(critic)}
    return {"actor": actor, "critic": critic, "target_actor": actor, "target_critic": critic, **opts}


def td3_bc_update(state: dict[str, Any], batch: Any, key: jax.Array, step: jax.Array) -> dict[str, Any]:
    noise = jnp.clip(0.2 * jax.random.normal(key, batch["action"].shape), -0.5, 0.5)
    next_action = jnp.clip(jnp.tanh(mlp(state["target_actor"], batch["next_obs"])) + noise, -1, 1)
    q = jnp.minimum(*twins(state["target_critic"], batch["next_obs"], next_action))
    y = batch["reward"] + DISCOUNT * (1 - batch["terminated"]) * q
    critic, critic_opt = descend(critic_loss, state["critic"], state["critic_opt"], adam, y, batch)

    def actor_loss(actor: Any) -> jax.Array:
        action = jnp.tanh(mlp(actor, batch["obs"]))
        q = mlp(critic["one"], jnp.concatenate([batch["obs"], action], -1))[:, 0]
        scale = 2.5 / jnp.abs(jax.lax.stop_gradient(q)).mean()
        return ((action - batch["action"]) ** 2).mean() - scale * q.mean()

    def delayed(moving: Any) -> Any:
        actor, opt, target_actor, target_critic = moving
        actor, opt = descend(actor_loss, actor, opt, adam)
        return actor, opt, follow(actor, target_actor), follow(critic, target_critic)

    names = ("actor", "actor_opt", "target_actor", "target_critic")
    moving = jax.lax.cond((step + 1) % 2 == 0, delayed, lambda m: m, tuple(state[n] for n in names))
    return {**dict(zip(names, moving, strict=True)), "critic": critic, "critic_opt": critic_opt}


RUN = 1_000_000  # updates of a published run, over which IQL's actor decays
cosine = optax.adam(optax.cosine_decay_schedule(LR, RUN))


def iql_init(key: jax.Array, d: int, a: int) -> dict[str, Any]:
    ka, kv, k1, k2 = jax.random.split(key, 4)
    actor = {"net": mlp_init(ka, (d, *HIDDEN, a)), "log_std": jnp.zeros(a)}
    value = mlp_init(kv, (d, *HIDDEN, 1))
    critic = {"one": mlp_init(k1, (d + a, *HIDDEN, 1)), "two": mlp_init(k2, (d + a, *HIDDEN, 1))}
    opts = {"actor_opt": cosine.init(actor), "value_opt": adam.init(value), "critic_opt": adam.init(critic)}
    return {"actor": actor, "value": value, "critic": critic, "target_critic": critic, **opts}


def iql_update(state: dict[str, Any], batch: Any, key: jax.Array, step: jax.Array) -> dict[str, Any]:
    q = jnp.minimum(*twins(state["target_critic"], batch["obs"], batch["action"]))

    def value_loss(value: Any) -> jax.Array:
        diff = q - mlp(value, batch["obs"])[:, 0]
        return (jnp.where(diff > 0, 0.7, 0.3) * diff**2).mean()

    value, value_opt = descend(value_loss, state["value"], state["value_opt"], adam)
    weight = jnp.minimum(jnp.exp(3.0 * (q - mlp(value, batch["obs"])[:, 0])), 100.0)

    def actor_loss(actor: Any) -> jax.Array:
        mean, log_std = jnp.tanh(mlp(actor["net"], batch["obs"])), jnp.clip(actor["log_std"], -5.0, 2.0)
        z = (batch["action"] - mean) / jnp.exp(log_std)
        log_prob = (-0.5 * z**2 - log_std - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)
        return -(weight * log_prob).mean()

    actor, actor_opt = descend(actor_loss, state["actor"], state["actor_opt"], cosine)
    y = batch["reward"] + DISCOUNT * (1 - batch["terminated"]) * mlp(value, batch["next_obs"])[:, 0]
    critic, critic_opt = descend(critic_loss, state["critic"], state["critic_opt"], adam, y, batch)
    target_critic = follow(critic, state["target_critic"])
    nets = {"actor": actor, "value": value, "critic": critic, "target_critic": target_critic}
    return {**nets, "actor_opt": actor_opt, "value_opt": value_opt, "critic_opt": critic_opt}


INITS = {"td3_bc": td3_bc_init, "iql": iql_init}
UPDATES = {"td3_bc": td3_bc_update, "iql": iql_update}


def run(name: str, state: Any, data: Any, key: jax.Array, first: jax.Array, steps: int) -> Any:
    """`steps` updates as one scan; to be jitted, with `name` and `steps` static."""

    def body(state: Any, step: jax.Array) -> tuple[Any, None]:
        draw, noise = jax.random.split(jax.random.fold_in(key, step))
        return UPDATES[name](state, sample(data, draw), noise, step), None

    return jax.lax.scan(body, state, first + jnp.arange(steps))[0]
