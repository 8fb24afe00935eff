"""Support: how near a state and an action are to a log, and what to do when they are far from it.

The distance of a decision is that to its third nearest logged decision, in states and actions of comparable units. The
score is a conformal p-value: the share of held-out logged decisions that are at least as far. A decision that comes
from the distribution of the log is therefore flagged with at most the declared rate of false alarms, whatever that
distribution is (Vovk, Gammerman and Shafer 2005; Angelopoulos and Bates 2021). Nearest neighbours detect what is far
without a model of the log (Sun, Ming, Zhu and Li 2022).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import UserError
from ..core.spec import ArraySpec, Spec
from .actor import Actor

FORMAT = 1
NEIGHBOUR = 3  # whose distance counts: one strange row of the log supports nothing
OTHER = 1e4  # squared distance of another discrete action
MOST = 1e4  # states are clipped here, in units of the log: float32 keeps the order of the distances
ROUNDING = 1e-3  # distances that differ by less are equal, so that all formats give the same score
MOST_ROWS = 100_000

Kind = Literal["action", "nearest", "policy"]


@dataclasses.dataclass(frozen=True, eq=False)
class Fallback:
    """What acts in place of the policy if the support of its action is too low.

    Attributes:
        kind: `action`: a constant action. `nearest`: the action that was logged in the nearest state. `policy`: another
            policy, such as the cloned behaviour.
        action: the constant action in inside units, [A], or a number from 0 if discrete; None for the other kinds.
        policy: the other policy; None for the other kinds.
    """

    kind: Kind
    action: np.ndarray | None = None
    policy: Actor | None = None

    @property
    def text(self) -> str:
        """What it is, for messages and cards."""
        if self.policy is not None:
            return f"a policy of {self.policy.algorithm.name}"
        return "a constant action" if self.kind == "action" else "the action logged in the nearest state"


class Reference(NamedTuple):
    """The arrays of a score. R logged decisions, states of k numbers."""

    states: Any  # [R, k] in units of the log
    actions: Any  # [R, A] in units of the log, or [R] numbers from 0 if discrete
    centre: Any  # [k] of treated observations
    scale: Any  # [k]
    action_scale: Any  # [A]; [0] if discrete
    calibration: Any  # [C] distances of held-out decisions


class Guarded(NamedTuple):
    """Actions with the fallback in place of those whose support is too low.

    Attributes:
        action: the actions that are to be taken, in the form of a call of the policy.
        support: scores of the policy's own actions, [] or [n].
        low: whether each score is below the rate of false alarms, [] or [n]; the fallback acts there, if there is one.
    """

    action: Any
    support: Any
    low: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Support:
    """The score of support that was fitted on a log.

    Attributes:
        reference: logged decisions, units, and the distances of held-out decisions.
        discrete: whether actions are numbers.
        false_alarms: share of decisions of the log that are flagged: a score below it is too low.
        fallback: what acts then; None: only the score is given.
        facts: data set, numbers of rows and episodes, the measured rate of false alarms, and how often the policy is
            flagged.
    """

    reference: Reference
    discrete: bool
    false_alarms: float
    fallback: Fallback | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def scores(self, observed: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Scores of decisions.

        Args:
            observed: treated observations [n, *obs].
            inside: actions in inside units [n, A], or numbers [n].

        Returns:
            [n] float32 in (0, 1].
        """
        return self._in_chunks(_compiled(self.discrete, "score"), observed, inside)

    def distances(self, observed: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Distances of decisions to the log, [n] float32. 1 is typical of a decision of the log itself.

        Args:
            observed: treated observations [n, *obs].
            inside: actions in inside units [n, A], or numbers [n].
        """
        return self._in_chunks(_compiled(self.discrete, "distance"), observed, inside)

    def _in_chunks(self, compute: Callable, observed: np.ndarray, inside: np.ndarray) -> np.ndarray:
        n = len(observed)
        size = min(1024, 1 << max(n - 1, 0).bit_length())  # few shapes, so few programs
        found = []
        for start in range(0, n, size):
            part = np.minimum(np.arange(start, start + size), n - 1)
            found.append(np.asarray(compute(self.reference, observed[part], inside[part]))[: n - start])
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def lines(self) -> list[str]:
        """What was fitted and how well it works, as sentences without a full stop."""
        facts = self.facts
        lines = [f"a decision is flagged if its score is below {self.false_alarms:g}"]
        lines.append(
            f"{facts['measured_false_alarms']:.1%} of {facts['checked_rows']:,} held-out decisions of the log are "
            f"flagged (calibrated on {facts['calibration_rows']:,} decisions of {facts['calibration_episodes']:,} "
            "other episodes)"
        )
        if facts.get("policy_flagged") is not None:
            lines.append(f"the policy's own action is flagged in {facts['policy_flagged']:.1%} of these states")
        then = "nothing replaces it" if self.fallback is None else f"the fallback is {self.fallback.text}"
        return [*lines, then]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values, without the arrays of the reference."""
        fallback = None
        if self.fallback is not None:
            action = self.fallback.action
            fallback = {"kind": self.fallback.kind, "action": None if action is None else np.asarray(action).tolist()}
        return {
            "format": FORMAT,
            "discrete": self.discrete,
            "false_alarms": self.false_alarms,
            "fallback": fallback,
            "facts": dict(self.facts),
        }


def state_gaps(ref: Reference, observed: jax.Array) -> jax.Array:
    """Squared distances [n, R] of treated observations [n, *obs] to the logged states."""
    flat = observed.reshape(observed.shape[0], ref.centre.shape[0])
    states = jnp.clip((flat - ref.centre[None]) / ref.scale[None], -MOST, MOST)
    return _squares(states, ref.states)


def gaps(ref: Reference, observed: jax.Array, inside: jax.Array, discrete: bool) -> jax.Array:
    """Squared distances [n, R] of decisions to the logged ones.

    Args:
        ref: the logged decisions.
        observed: treated observations [n, *obs].
        inside: actions in inside units [n, A], or numbers [n].
        discrete: whether actions are numbers.
    """
    between = state_gaps(ref, observed)
    if discrete:
        other = inside.astype(jnp.int32)[:, None] != ref.actions[None]
        return between + jnp.float32(OTHER) * other.astype(jnp.float32)
    return between + _squares(inside / ref.action_scale[None], ref.actions)


def score(ref: Reference, between: jax.Array) -> jax.Array:
    """The share of held-out decisions, with the scored one itself, that are at least as far, [n].

    Args:
        ref: the logged decisions.
        between: squared distances [n, R].
    """
    far = nearest(between)
    known = ref.calibration * jnp.float32(1 + ROUNDING) + jnp.float32(ROUNDING)
    further = (known[None] >= far[:, None]).astype(jnp.float32).sum(1)
    return (further + 1) / jnp.float32(ref.calibration.shape[0] + 1)


def nearest(between: jax.Array) -> jax.Array:
    """The distance to the third nearest row, [n], from squared distances [n, R]."""
    place = jnp.arange(between.shape[1], dtype=jnp.int32)[None]
    for _ in range(min(NEIGHBOUR, between.shape[1]) - 1):
        first = between.argmin(1).astype(jnp.int32)[:, None]
        between = jnp.where(place == first, jnp.float32(np.finfo(np.float32).max), between)
    return jnp.sqrt(between.min(1))


def _squares(a: jax.Array, b: jax.Array) -> jax.Array:
    """Squared distances between the rows of two arrays, [n, R]."""
    product = a @ b.T
    return jnp.maximum((a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * product, 0)


@functools.lru_cache(maxsize=8)
def _compiled(discrete: bool, what: Literal["score", "distance"]) -> Callable:
    def compute(ref: Reference, observed: jax.Array, inside: jax.Array) -> jax.Array:
        between = gaps(ref, observed, inside, discrete)
        return score(ref, between) if what == "score" else nearest(between)

    return jax.jit(compute)


def fallback_inside(model: Support, observed: jax.Array) -> jax.Array:
    """Actions of a fallback that is not a policy, in inside units: [n, A] or [1, A], numbers [n] or [1] if discrete.

    Args:
        model: the score with its fallback.
        observed: treated observations [n, *obs].
    """
    assert model.fallback is not None, "the caller looks at the fallback first"
    if model.fallback.action is not None:
        return jnp.asarray(model.fallback.action)[None]
    ref = Reference(*(jnp.asarray(x) for x in model.reference))
    chosen = ref.actions[state_gaps(ref, observed).argmin(1)]
    return chosen if model.discrete else jnp.clip(chosen * ref.action_scale[None], -1, 1)


def required(model: Support | None) -> Support:
    """The score of a policy.

    Raises:
        UserError: it has none.
    """
    if model is None:
        raise UserError("this policy has no score of support: make one with holdfast support RUN --data LOG, or "
                        "policy.with_support(data)")  # fmt: skip
    return model


def require_vectors(spec: Spec, where: str) -> None:
    """Refuse observations that are not one vector of numbers.

    Raises:
        UserError: images, or arrays by name.
    """
    arrays = spec.obs_arrays
    if not isinstance(arrays, ArraySpec) or arrays.dtype != "float32":
        raise UserError(f"{where} has images or several arrays as observations: a score of support needs vectors")
