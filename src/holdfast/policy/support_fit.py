"""Fits the score of support of a policy on a log: the logged decisions, their units, and the held-out distances."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UserError
from ..data.arrays import take
from ..data.dataset import Dataset
from ..data.split import by_episodes
from ..data.tables.encoding import action_codes
from . import support
from .actor import Actor
from .support import Fallback, Reference, Support

ROWS = 2000  # logged decisions that are kept
CHECKS = 1000  # held-out decisions for the calibration, and as many for the check of it
SHARES = {"reference": 0.6, "calibration": 0.2, "check": 0.2}  # of the episodes
PAIRS = 1000  # states whose neighbours give the units
AROUND = 30  # states that count as the same situation, for the units
NARROWEST = 1e-4  # squared spread of actions in half widths: 1 % of half the range


def fit(
    policy: Actor,
    dataset: Dataset,
    false_alarms: float = 0.05,
    fallback: Fallback | None = None,
    rows: int = ROWS,
    seed: int = 0,
) -> Support:
    """Fit a score of support.

    The episodes are divided into three parts: decisions to compare with, decisions whose distances calibrate the score,
    and decisions that measure the rate of false alarms.

    Args:
        policy: the policy that the score will belong to.
        dataset: the log that it learned from.
        false_alarms: share of the decisions of such a log that may be flagged.
        fallback: what acts if the support is too low; None: only the score is given.
        rows: logged decisions that are kept, at most.
        seed: seed of the parts and of the rows.

    Raises:
        UserError: a policy of other observations or actions, images, a rate outside (0, 1), or too few episodes or
            steps for it.
    """
    if not 0 < false_alarms < 1:
        raise UserError(f"the rate of false alarms is {false_alarms}, expected a number between 0 and 1")
    if not 0 < rows <= support.MOST_ROWS:
        raise UserError(f"{rows} rows of the log, expected 1 to {support.MOST_ROWS:,}")
    require_match(policy, dataset)
    support.require_vectors(policy.spec, dataset.id)
    generator = np.random.default_rng(seed)
    parts = by_episodes(dataset, SHARES, seed)
    steps = {name: np.flatnonzero(np.isin(dataset.episode_of, episodes)) for name, episodes in parts.items()}
    needed = math.ceil(1 / false_alarms) - 1
    held_out = _some(steps["calibration"], CHECKS, generator)
    if len(held_out) < needed:
        raise UserError(
            f"{dataset.id}: {len(held_out)} held-out decisions are too few for a rate of false alarms of "
            f"{false_alarms:g}: expected at least {needed}"
        )
    chosen = _rows(dataset, steps["reference"], rows, generator)
    reference = _reference(policy, dataset, chosen, steps["reference"], generator)
    plain = Support(reference._replace(calibration=np.zeros(1, np.float32)), dataset.discrete, false_alarms)
    distances = np.sort(plain.distances(*_decisions(policy, dataset, held_out)))
    fitted = Support(reference._replace(calibration=distances), dataset.discrete, false_alarms, fallback)
    checked = _some(steps["check"], CHECKS, generator)
    alarms = float((fitted.scores(*_decisions(policy, dataset, checked)) < false_alarms).mean())
    facts = {
        "dataset": dataset.id,
        "fingerprint": dataset.fingerprint,
        "rows": len(chosen),
        "calibration_rows": len(held_out),
        "calibration_episodes": len(parts["calibration"]),
        "checked_rows": len(checked),
        "measured_false_alarms": alarms,
        "policy_flagged": _flagged(policy, fitted, dataset, checked),
    }
    return Support(fitted.reference, fitted.discrete, false_alarms, fallback, facts)


def require_match(policy: Actor, dataset: Dataset) -> None:
    """Refuse a log of other observations or actions than those of the policy.

    Raises:
        UserError: naming both.
    """
    own = dataset.spec
    here = (policy.spec.obs, policy.spec.action, policy.spec.discrete)
    if here != (own.obs, own.action, own.discrete):
        kinds = ["discrete" if discrete else "continuous" for discrete in (policy.spec.discrete, own.discrete)]
        raise UserError(
            f"the policy takes observations {policy.spec.obs} and has {policy.spec.action} {kinds[0]} actions, "
            f"{dataset.id} has observations {own.obs} and {own.action} {kinds[1]} actions: name a policy of these data"
        )


def chosen_fallback(
    policy: Actor, given: str | Path | Actor | ArrayLike | None, load: Callable[[str], Actor]
) -> Fallback | None:
    """What a caller declared as the fallback of a policy.

    Args:
        policy: the policy.
        given: "nearest", a policy or its folder, or an action in the environment's units (a label for a table). None:
            no fallback.
        load: reads the policy of a folder.

    Raises:
        UserError: a policy of other observations or actions or with a memory, an action outside the action space, or a
            fallback that may be illegal under masks.
    """
    if given is None:
        return None
    if jax.tree.leaves(policy.start(1).memory):
        raise UserError(f"a policy of {policy.algorithm.name} has a memory: only its score of support is available, "
                        "leave the fallback out")  # fmt: skip
    folder = isinstance(given, str | Path) and (Path(given) / "config.json").is_file()
    if folder or (isinstance(given, str | Path) and (Path(given) / "policy.json").is_file()):
        given = load(str(given))
    if isinstance(given, Actor):
        return Fallback("policy", policy=_require_replacement(policy, given))
    if policy.spec.masked:
        raise UserError("the policy learned with legal actions, and this fallback may be illegal: name a policy that "
                        "learned with them too")  # fmt: skip
    if isinstance(given, str) and given == "nearest":
        return Fallback("nearest")
    action: Any = given
    if policy.table is not None and policy.spec.discrete:
        whole = isinstance(action, Mapping) or np.ndim(action) > 0
        action = action_codes(policy.table, action if whole else [action], "the fallback")
    elif isinstance(given, str | Path):
        raise UserError(f"the fallback is '{given}', expected nearest, an action, or the folder of a policy")
    return Fallback("action", policy.to_inside(action)[0])


def _require_replacement(policy: Actor, other: Actor) -> Actor:
    same = (other.spec.obs, other.spec.action, other.spec.discrete) == (
        policy.spec.obs, policy.spec.action, policy.spec.discrete)  # fmt: skip
    if not same or other.raw_action_space != policy.raw_action_space:
        raise UserError(
            f"the fallback has observations {other.spec.obs} and {other.spec.action} actions, the policy has "
            f"{policy.spec.obs} and {policy.spec.action}: name a policy of the same data"
        )
    if other.table is not None and other.table != policy.table:
        raise UserError("the fallback learned from a table with other roles, categories or labels: use the same schema")
    if jax.tree.leaves(other.start(1).memory):
        raise UserError(f"the fallback is a policy of {other.algorithm.name} with a memory: name one without")
    if other.spec.masked and not policy.spec.masked:
        raise UserError("the fallback needs legal actions, which the policy does not get: name a policy without them")
    return other


def _some(steps: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
    """At most so many of the steps, in their order."""
    return np.sort(generator.choice(steps, most, replace=False)) if len(steps) > most else steps


def _rows(dataset: Dataset, steps: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
    """The decisions that are kept. Of discrete actions, rare ones keep an equal share if there are so many."""
    if not dataset.discrete or len(steps) <= most:
        return _some(steps, most, generator)
    order = generator.permutation(steps)
    action = dataset.actions[order]
    place = np.argsort(action, kind="stable")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(action[place])) + 1])
    rank = np.empty(len(order), np.int64)  # number of the row among those of its action
    rank[place] = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return np.sort(order[np.argsort(rank, kind="stable")[:most]])


def _decisions(policy: Actor, dataset: Dataset, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Treated observations and actions in inside units of logged steps."""
    obs = policy.fitted.observe(take(dataset.observations, dataset.observation_rows[steps]))
    return obs, policy.fitted.act_inside(dataset.actions[steps])


def _reference(
    policy: Actor, dataset: Dataset, chosen: np.ndarray, steps: np.ndarray, generator: np.random.Generator
) -> Reference:
    """The kept decisions in units of the log: 1 is the typical distance of a state to its 30th nearest one from other
    episodes, and of an action to the nearest one that was logged in these states.
    """
    obs, inside = _decisions(policy, dataset, chosen)
    flat = obs.reshape(len(obs), -1).astype(np.float64)
    centre = flat.mean(0)
    spread = flat.std(0)
    spread = np.where(spread > 1e-6 * np.maximum(np.abs(flat).max(0), 1e-6), spread, 1.0)
    states = (flat - centre) / spread
    episode = dataset.episode_of[chosen]
    some = _some(np.arange(len(chosen)), PAIRS, generator)
    squares = (states**2).sum(1)
    between = np.maximum(squares[some, None] + squares[None] - 2 * states[some] @ states.T, 0)
    between[episode[some, None] == episode[None]] = np.inf
    around = min(AROUND, len(chosen) - 1)
    near = np.argpartition(between, max(around - 1, 0), axis=1)[:, : max(around, 1)]
    known = np.isfinite(np.take_along_axis(between, near, 1))  # an episode may hold most of the rows
    furthest = np.where(known, np.take_along_axis(between, near, 1), -np.inf).max(1)
    scale = spread * np.sqrt(_typical(furthest[np.isfinite(furthest)]))
    actions = inside
    action_scale = np.zeros(0, np.float32)
    if not dataset.discrete:
        action_scale = _action_scale(inside.astype(np.float64), some, near, known)
        actions = (inside / action_scale).astype(np.float32)
    found = ((flat - centre) / scale).astype(np.float32)
    blank = np.zeros(0, np.float32)
    return Reference(found, actions, centre.astype(np.float32), scale.astype(np.float32), action_scale, blank)


def _action_scale(inside: np.ndarray, some: np.ndarray, near: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The unit of each dimension of an action, [A]: the typical distance of a logged action to the nearest one of those
    that were logged around its state.

    Args:
        inside: [R, A] actions.
        some: [Q] rows.
        near: [Q, K] rows with states around them.
        known: [Q, K] whether such a row exists.
    """
    change = np.where(known[:, :, None], inside[some, None] - inside[near], np.nan)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a row may have no neighbour in another episode
        spread = np.maximum(np.nanmedian(np.nanmean(change**2, axis=1), axis=0), NARROWEST)
        closest = np.nanmin((change**2 / spread).mean(2), axis=1)
    finite = closest[np.isfinite(closest)]
    unit = max(float(np.median(finite)) if len(finite) else 1.0, NARROWEST)
    return np.sqrt(spread * unit * inside.shape[1]).astype(np.float32)


def _typical(squares: np.ndarray) -> float:
    """The median; that of the positive ones if it is 0, as for states that repeat exactly; 1 if there are none."""
    middle = float(np.median(squares)) if len(squares) else 0.0
    positive = squares[squares > 1e-9]
    if middle <= 1e-9:
        middle = float(np.median(positive)) if len(positive) else 1.0
    return middle


def _flagged(policy: Actor, fitted: Support, dataset: Dataset, steps: np.ndarray) -> float | None:
    """The share of held-out states in which the policy's own action is flagged; None if it has a memory."""
    if jax.tree.leaves(policy.start(1).memory):
        return None
    rows = dataset.observation_rows[steps]
    mask = dataset.columns.get("action_mask") if policy.spec.masked else None
    legal = None if mask is None else mask[rows].astype(bool)
    found = guarded_scores(policy, fitted, take(dataset.observations, rows), legal)
    return float((found < fitted.false_alarms).mean())


def guarded_scores(policy: Actor, fitted: Support, obs: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Scores [n] of the policy's best actions at raw observations [n, *obs]."""
    action = policy.act(obs, mask=mask)[0]
    return fitted.scores(policy.fitted.observe(obs), policy.to_inside(action, len(obs)))
