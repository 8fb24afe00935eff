"""What the evaluated policy does at the observations of a log."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ...core.errors import UserError
from ...core.spec import Mode, Obs
from ...data.arrays import take
from ...data.dataset import Dataset
from ...environments.gym import joint_actions
from ...policy.policy import Policy
from ...policy.support_fit import require_match
from . import kernels

ROWS = 4096  # observations at once
STRIDE = 7919  # between the seeds of two draws: more than chunks
DRAWS = 10  # actions of a stochastic policy at each observation

Probabilities = Callable[[np.ndarray], np.ndarray]  # observations [n, *obs] -> probabilities [n, A]


@dataclasses.dataclass(frozen=True, eq=False)
class Target:
    """Actions of a policy at the M = N + E observations of a log, and the probability of the N logged actions."""

    name: str
    log_prob: np.ndarray | None  # [N] log-probability or log-density in the environment's units; None: not known
    why: str  # why it is not known, for messages
    probabilities: np.ndarray | None = None  # [M, A] of discrete actions
    actions: np.ndarray | None = None  # [m, M, A] draws of continuous actions in the environment's units


def target_of(
    policy: Policy | Probabilities,
    dataset: Dataset,
    mode: Mode = "best",
    seed: int = 0,
    bandwidth: float | None = None,
    kernel: kernels.Kernel = "gaussian",
) -> Target:
    """What a policy does on a log.

    Args:
        policy: a policy, or a function from observations [n, *obs] to probabilities [n, A] of discrete actions.
        dataset: the log.
        mode: how the policy will act: "best" or "sample".
        seed: seed of its draws.
        bandwidth: smooth the actions of a deterministic policy by a kernel of this half width, as a share of half the
            range of each dimension. None: do not.
        kernel: the kernel.

    Raises:
        UserError: a policy of other observations or actions, or one with a memory.
    """
    if not isinstance(policy, Policy):
        return _of_function(policy, dataset)
    _require_match(policy, dataset)
    if dataset.discrete:
        return _discrete(policy, dataset, mode, seed)
    return _continuous(policy, dataset, mode, seed, bandwidth, kernel)


def index_of(dataset: Dataset) -> np.ndarray:
    """Discrete logged actions as numbers from 0, [N]."""
    space: Any = dataset.action_space
    return dataset.actions.astype(np.int64) - int(space.start)


def _of_function(policy: Probabilities, dataset: Dataset) -> Target:
    if not dataset.discrete:
        raise UserError(f"{dataset.id} has continuous actions: give a holdfast.Policy, not a function of probabilities")
    found = np.asarray(policy(dataset.observations), np.float64)
    count = dataset.spec.action
    if found.shape != (len(dataset.observations), count):
        raise UserError(
            f"the policy gave probabilities of shape {found.shape}, expected {(len(dataset.observations), count)}: one "
            f"for each of the {count} actions of {dataset.id}"
        )
    if not np.isfinite(found).all() or (found < 0).any() or np.abs(found.sum(1) - 1).max() > 1e-4:
        raise UserError("the probabilities of the policy are not all at least 0 with the sum 1 in each row")
    return Target(getattr(policy, "__name__", "policy"), _logged(found, dataset), "", found / found.sum(1)[:, None])


def _logged(probabilities: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Log-probabilities [N] of the logged actions."""
    with np.errstate(divide="ignore"):
        return np.log(probabilities[dataset.observation_rows, index_of(dataset)])


def _require_match(policy: Policy, dataset: Dataset) -> None:
    require_match(policy, dataset)
    if jax.tree.leaves(policy.start(1).memory):
        raise UserError(
            f"the policy of {policy.algorithm.name} has a memory, which the estimators do not follow: evaluate it in "
            "an environment"
        )


def _discrete(policy: Policy, dataset: Dataset, mode: Mode, seed: int) -> Target:
    name = policy.algorithm.name
    count = policy.spec.action
    if mode == "sample" and policy.algorithm.dist is not None:
        found = in_chunks(dataset, lambda obs, mask, i: policy.probabilities(obs, mask=mask)).astype(np.float64)
        found /= found.sum(1, keepdims=True)
        return Target(name, _logged(found, dataset), "", found)

    def every(draw: int) -> np.ndarray:
        def act(obs: Obs, mask: np.ndarray | None, i: int) -> np.ndarray:
            return _acted(policy, dataset, obs, mask, mode, seed + i + STRIDE * draw)

        return in_chunks(dataset, act)

    if mode == "best":
        chosen = every(0)
        found = np.eye(count)[chosen]
        return Target(name, _logged(found, dataset), "", found)
    drawn = np.stack([every(draw) for draw in range(DRAWS)])
    found = np.stack([(drawn == a).mean(0) for a in range(count)], 1)
    return Target(name, None, f"{name} gives no probabilities of its actions", found)


def _acted(policy: Policy, dataset: Dataset, obs: Obs, mask: np.ndarray | None, mode: Mode, seed: int) -> np.ndarray:
    found, _ = policy.act(obs, mode=mode, mask=mask, seed=seed)
    if policy.raw_action_space is not None:
        return joint_actions.joint(policy.raw_action_space, found, "actions of the policy")
    space: Any = dataset.action_space
    return np.asarray(found) - int(space.start)


def _continuous(
    policy: Policy, dataset: Dataset, mode: Mode, seed: int, bandwidth: float | None, kernel: kernels.Kernel
) -> Target:
    name = policy.algorithm.name
    space: Any = dataset.action_space
    low, high = (np.asarray(edge, np.float64) for edge in (space.low, space.high))
    count = 1 if mode == "best" else DRAWS

    def every(draw: int) -> np.ndarray:
        def act(obs: Obs, mask: np.ndarray | None, i: int) -> np.ndarray:
            return policy.act(obs, mode=mode, seed=seed + i + STRIDE * draw)[0]

        return in_chunks(dataset, act)

    actions = np.stack([every(draw) for draw in range(count)]).astype(np.float64)
    rows = dataset.observation_rows
    spread = np.abs(actions[-1] - actions[0]).max() if count > 1 else 0.0
    if spread == 0.0:
        if bandwidth is None:
            why = "the policy is deterministic: its actions have no density; --bandwidth smooths them in short episodes"
            return Target(name, None, why, actions=actions[:1])
        logged = kernels.log_kernel(actions[0][rows], dataset.actions, low, high, bandwidth, kernel)
        smooth = kernels.draws(actions[0], low, high, bandwidth, kernel, DRAWS, seed)
        return Target(f"{name}, smoothed by {bandwidth:g}", logged, "", actions=smooth)
    if policy.algorithm.dist is None:
        return Target(name, None, f"{name} gives no density of its actions", actions=actions)
    found = np.empty(dataset.n_steps)
    inner = np.clip(dataset.actions, low, high)
    for start in range(0, dataset.n_steps, ROWS):
        part = np.minimum(np.arange(start, start + ROWS), dataset.n_steps - 1)  # one shape, one program
        values = policy.log_prob(take(dataset.observations, rows[part]), inner[part])
        found[start : start + ROWS] = values[: dataset.n_steps - start]
    return Target(name, found, "", actions=actions)


def in_chunks(dataset: Dataset, compute: Callable[[Obs, np.ndarray | None, int], np.ndarray]) -> np.ndarray:
    """`compute(observations, masks, number of the chunk)` for all M observations of a log, in chunks of one shape."""
    total = len(dataset.observations)
    mask = dataset.columns.get("action_mask")
    size = min(ROWS, total)
    found = []
    for i, start in enumerate(range(0, total, size)):
        part = np.minimum(np.arange(start, start + size), total - 1)
        legal = None if mask is None else _some_legal(mask[part])
        found.append(np.asarray(compute(take(dataset.observations, part), legal, i))[: total - start])
    return np.concatenate(found)


def _some_legal(mask: np.ndarray) -> np.ndarray:
    """Masks [n, A]; all true where no action is legal, which is after an end."""
    return mask.astype(bool) | ~mask.astype(bool).any(1, keepdims=True)
