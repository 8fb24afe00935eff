"""What a caller gives to a policy, as arrays: observations, rows of a table, legal actions, and actions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UserError
from ..core.spec import Obs, Spec
from ..data import spaces
from ..data.feed.treatment import Fitted
from ..data.tables import rows as table_rows
from ..data.tables.encoding import action_codes, action_labels
from ..data.tables.roles import schema_of
from ..environments.gym import joint_actions
from . import arguments

if TYPE_CHECKING:
    from gymnasium.spaces import Space

SLACK = 1e-5  # of actions in inside units: rounding of float32, twice


class Reader:
    """Reads the arguments of one policy's methods.

    Attributes:
        space: the space of the environment's observations, if they were flattened for training; None: they were not.
        action_space: the space of the environment's actions, if several discrete ones became one; None: they did not.
        table: the roles of the columns, if the policy was trained on a table; None: it was not.
    """

    def __init__(self, name: str, spec: Spec, fitted: Fitted, info: Mapping[str, Any]) -> None:
        self.name = name  # of the algorithm, for messages
        self.spec = spec
        self.fitted = fitted
        self.space = _space(info, "observation_space")
        self.action_space = _space(info, "action_space")
        roles = info.get("table")
        self.table = None if roles is None else schema_of(roles, "the policy's table")

    def rows(self, obs: Obs) -> tuple[Any, bool]:
        """Observations as rows [n, *obs], and whether a single one was given."""
        obs = arguments.observations(obs, self.spec, self.space)
        single = arguments.require_rows(obs, self.spec)
        return jax.tree.map(lambda x: x[None] if single else x, obs), single

    def from_table(self, obs: Obs, mask: ArrayLike | None) -> tuple[Obs, ArrayLike | None, bool]:
        """Observations as numbers, legal actions, and whether rows of a table were given."""
        if self.table is None or not table_rows.is_table(obs):
            return obs, mask, False
        found = table_rows.read_rows(self.table, obs)
        legal = found.legal if mask is None else mask
        if not found.single:
            return found.observations, legal, True
        return found.observations[0], found.legal[0] if mask is None and found.legal is not None else mask, True

    def unlabelled(self, action: ArrayLike, labelled: bool) -> ArrayLike:
        """Actions as numbers.

        Args:
            action: actions in the environment's units, or labels of a table.
            labelled: whether rows of a table were given, see `from_table`.

        Raises:
            UserError: a label that the table does not have.
        """
        return action_codes(self.table, action, "the action") if labelled and self.table is not None else action

    def answer(self, action: np.ndarray, single: bool, labelled: bool) -> Any:
        """Actions in the form of the question: labels for rows of a table, one action for a single observation.

        Args:
            action: actions in the environment's units, [n, ...].
            single: whether a single observation was given.
            labelled: whether rows of a table were given.
        """
        if labelled and self.table is not None:
            return action_labels(self.table, action, single)
        return action[0] if single else action

    def to_inside(self, action: ArrayLike, n: int = 1) -> np.ndarray:
        """Actions of the environment as n rows in inside units: [n, A] in [-1, 1], or numbers [n] from 0 if discrete.

        Args:
            action: [A] or [n, A] in the environment's units, integers as a call returns them if discrete.
            n: number of rows.

        Raises:
            UserError: another shape, or an action outside the action space.
        """
        values = arguments.array(action, "the action")
        space = self.action_space
        shape = (n, *(self.spec.action_shape if space is None else space.shape or ()))
        if values.shape not in (shape, *([shape[1:]] if n == 1 else [])):
            raise UserError(f"the action has shape {values.shape}, expected {shape} in the environment's units")
        if values.dtype.kind not in ("iu" if self.spec.discrete else "fiu"):
            kind = "whole numbers" if self.spec.discrete else "numbers"
            raise UserError(f"the action has type {values.dtype}, expected {kind}")
        values = values.reshape(shape)
        if space is not None:
            values = joint_actions.joint(space, values, "the actions")
        inside = dataclasses.replace(self.fitted, clip_actions=None).act_inside(values)
        low, high = (0, self.spec.action - 1) if self.spec.discrete else (-1 - SLACK, 1 + SLACK)
        inner = ((inside >= low) & (inside <= high)).reshape(n, -1).all(1)
        if not inner.all():
            row = int(np.argmin(inner))
            raise UserError(f"the action in row {row} is {values[row].tolist()}, outside the policy's action space")
        return inside

    def mask(self, mask: ArrayLike | None, n: int) -> np.ndarray | None:
        if mask is None and self.spec.masked:
            raise UserError(
                f"this policy of {self.name} learned with action masks: give mask=[...], the legal actions "
                "(all true where everything is legal)"
            )
        if mask is None:
            return None
        if not self.spec.discrete:
            raise UserError("a mask names legal discrete actions, and this policy has continuous ones: leave it out")
        mask = arguments.array(mask, "the mask", bool)
        mask = mask[None] if mask.ndim == 1 else mask
        if mask.shape != (n, self.spec.action):
            raise UserError(
                f"the mask has shape {mask.shape}, expected ({n}, {self.spec.action}) legal discrete actions"
            )
        if not mask.any(1).all():
            raise UserError(f"no action is legal in row {int(np.argmin(mask.any(1)))} of the mask")
        return mask[None]


def _space(info: Mapping[str, Any], name: str) -> Space | None:
    """A space in the facts of a policy, as JSON."""
    text = info.get(name)
    return spaces.from_json(text, f"the policy's {name}") if isinstance(text, str) else None
