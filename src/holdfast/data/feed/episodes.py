"""Collected episodes on their way to a ring, with the columns that `data.columns` derives for logged ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from ...core.errors import UserError
from ...core.spec import Batch, Spec
from .columns import failed_for_ever, to_go

COLLECTED = ("mc_return", "sparse_return", "return_to_go", "next_action", "timestep", "initial_obs", "episode_steps")


def blank_column(name: str, spec: Spec) -> np.ndarray:
    """One entry of zeros of a column, in its type.

    Raises:
        UserError: a column that collected rows cannot have.
    """
    if name not in COLLECTED:
        raise UserError(
            f"the column '{name}' is known for logged data only, collected rows can have {', '.join(COLLECTED)}: "
            "draw from the data alone"
        )
    if name == "initial_obs":
        return spec.blank_obs()
    shape = spec.action_shape if name == "next_action" else ()
    whole = name in ("timestep", "episode_steps") or (name == "next_action" and spec.discrete)
    return np.zeros(shape, np.int32 if whole else np.float32)


def episode_columns(
    names: Sequence[str], obs: np.ndarray, action: np.ndarray, reward: np.ndarray, discount: float
) -> dict[str, np.ndarray]:
    """The named columns of one whole episode of T steps, as `data.columns` defines them.

    Args:
        names: names of columns, see COLLECTED.
        obs: [T, *obs], treated.
        action: [T, ...], inside units.
        reward: [T], treated.
        discount: for mc_return and sparse_return.
    """
    steps = len(reward)
    whole = np.array([0, steps])
    made: dict[str, Any] = {
        "mc_return": lambda: to_go(reward, whole, discount).astype(np.float32),
        "sparse_return": lambda: failed_for_ever(to_go(reward, whole, discount), reward, whole[:1], discount).astype(
            np.float32
        ),
        "return_to_go": lambda: to_go(reward, whole, 1.0).astype(np.float32),
        "next_action": lambda: np.append(action[1:], action[-1:], 0),
        "timestep": lambda: np.arange(steps, dtype=np.int32),
        "episode_steps": lambda: np.full(steps, steps, np.int32),
        "initial_obs": lambda: jax.tree.map(lambda x: np.repeat(x[:1], steps, 0), obs),
    }
    return {name: made[name]() for name in names}


class Episodes:
    """Rows that wait until their episode has ended, in order; then they have the columns that only whole ones have."""

    def __init__(self, n: int, names: Sequence[str], discounts: Sequence[float]) -> None:
        """
        Args:
            n: environments of each replica.
            names: names of the columns, see COLLECTED.
            discounts: discount of each replica, [R].
        """
        self.names, self.discounts = names, discounts
        self.open: list[list[list[Batch]]] = [[[] for _ in range(n)] for _ in discounts]
        self.ready: list[list[Batch]] = [[] for _ in discounts]  # of each replica, rows with their columns
        self.stored = [0 for _ in discounts]

    def add(self, r: int, e: int, row: Batch) -> None:
        """Add a row of an environment. The last row of an episode closes it."""
        self.open[r][e].append(row)
        if row.terminated or row.truncated:
            rows, self.open[r][e] = self.open[r][e], []
            whole = jax.tree.map(lambda *x: np.stack(x), *rows)
            given = (whole.obs, whole.action, whole.reward, self.discounts[r])
            self.ready[r].append(Batch(**{**vars(whole), "extra": episode_columns(self.names, *given)}))

    def chunks(self, most: int) -> Iterator[tuple[Batch, np.ndarray]]:
        """The rows that are ready as [R, most, ...] with a mask [R, most] of what is one, until none is left."""
        if not any(self.ready):
            return
        queues = [jax.tree.map(lambda *x: np.concatenate(x), *ready) if ready else None for ready in self.ready]
        like = next(queue for queue in queues if queue is not None)
        counts = [0 if queue is None else len(queue.reward) for queue in queues]
        self.ready = [[] for _ in self.ready]
        self.stored = [a + b for a, b in zip(self.stored, counts, strict=True)]
        for start in range(0, max(counts), most):
            keep = np.zeros((len(queues), most), bool)
            batch = jax.tree.map(lambda x: np.zeros((len(queues), most, *x.shape[1:]), x.dtype), like)
            for r, queue in enumerate(queues):
                if queue is not None and (here := min(most, counts[r] - start)) > 0:
                    keep[r, :here] = True
                    part = slice(start, start + here)
                    jax.tree.map(lambda to, x, r=r, n=here, p=part: to.__setitem__((r, slice(n)), x[p]), batch, queue)
            yield batch, keep

    def log(self) -> list[Any]:
        """Actions, inside units, of the open episodes: with them replayed environments give the same rows."""
        return [[[np.asarray(row.action).tolist() for row in env] for env in replica] for replica in self.open]
