"""Action chunks: several actions in a row as one action, which the policy carries out before it looks again."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.spec import Batch, Memory, Scalar, Spec


def joined(batch: Batch, discount: Scalar) -> tuple[Batch, jax.Array]:
    """Chunks [B, h, ...] as transitions [B, ...] whose action is the whole chunk, and which of them are complete.

    The reward is r_0 + discount r_1 + ... + discount^(h-1) r_(h-1), and the column "discount" is discount^(h-1), so
    that `targets.td` bootstraps with discount^h. A logged column "discount" enters step by step.

    Returns:
        The transitions, and [B] weights: 1 where the episode has h steps from there on, else 0.
    """
    factor = jnp.full_like(batch.reward, discount)
    if "discount" in batch.extra:
        factor = factor * batch.discount
    weight = jnp.cumprod(jnp.concatenate([jnp.ones_like(factor[:, :1]), factor[:, :-1]], 1), 1)
    onward = weight[:, -1]
    if "discount" in batch.extra:
        onward = onward * batch.discount[:, -1]
    whole = Batch(
        obs=jax.tree.map(lambda x: x[:, 0], batch.obs),
        action=batch.action.reshape(len(onward), -1),
        reward=(batch.reward * weight).sum(1),
        next_obs=jax.tree.map(lambda x: x[:, -1], batch.next_obs),
        terminated=batch.terminated[:, -1],
        truncated=batch.truncated[:, -1],
        extra={"discount": onward},
    )
    return whole, batch.valid[:, -1].astype(onward.dtype)


def kept(batch: Batch) -> jax.Array:
    """1 for each number of a chunk whose step is in the episode, else 0: [B, h A]."""
    valid = batch.valid.astype(batch.action.dtype)
    return jnp.broadcast_to(valid[..., None], batch.action.shape).reshape(len(valid), -1)


def memory(spec: Spec, n: int, horizon: int) -> dict[str, jax.Array]:
    """The memory of n environments at the start of an episode: no chunk is left."""
    return {"chunk": jnp.zeros((n, horizon, spec.action)), "left": jnp.zeros(n, int)}


def carried_out(memory: Memory, new: jax.Array) -> tuple[jax.Array, Memory]:
    """The next action of each environment, and the memory after it.

    Args:
        memory: as `memory` makes it; `left` actions of each chunk are still to be carried out.
        new: a chunk [n, h A] for each environment, which is started if no action is left.

    Raises:
        TypeError: the memory is not that of a policy with chunks.
    """
    if not isinstance(memory, dict):
        raise TypeError("this policy carries out chunks of actions: pass the memory that it returned")
    _, horizon, _ = memory["chunk"].shape
    due = memory["left"] == 0
    left = jnp.where(due, horizon, memory["left"])
    chunk = jnp.where(due[:, None, None], new.reshape(memory["chunk"].shape), memory["chunk"])
    action = jnp.take_along_axis(chunk, (horizon - left)[:, None, None], 1)[:, 0]
    return action, {"chunk": chunk, "left": left - 1}
