"""`Judge`: what a policy says of decisions: how probable, how good, and how near to its log they are."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from ..core import config
from ..core.errors import UserError
from ..core.spec import Memory, Obs, Seen
from ..environments.gym import joint_actions
from . import arguments, densities
from . import support as supports
from .actor import Actor
from .q_values import estimated_value, has_value
from .storage import fill
from .support import Guarded, Support


class Judge(Actor):
    """An actor that also says how probable, how good and how near to its log a decision is.

    Attributes:
        whole: the state with its critics; None: see `with_critic`.
        support_model: how near decisions are to the log; None: see `Policy.with_support`.
    """

    whole: Any = None
    support_model: Support | None = None

    def probabilities(
        self,
        obs: Obs,
        *,
        mask: ArrayLike | None = None,
        memory: Memory | None = None,
        reward: ArrayLike | None = None,
    ) -> np.ndarray:
        """The probability of every discrete action.

        Args:
            obs: one raw observation [*obs], or several [n, *obs].
            mask: legal actions [A] or [n, A]. The others have the probability 0.
            memory: what `act` returned for the step before; None at the start of an episode.
            reward: raw reward of the step before, [] or [n]; needed only by policies that follow a return.

        Returns:
            [A] or [n, A], float32; each row sums to 1. A policy that takes the best action has one 1. Where the space
            has several discrete actions at once, A counts through their combinations, the last part fastest. Labels of
            a table are in the order of `table.action_names`.

        Raises:
            UserError: continuous actions, an algorithm without a distribution, or arguments that `act` refuses.
        """
        obs, mask, _ = self.reader.from_table(obs, mask)
        found, single = self._log_probabilities(obs, mask, memory, reward)
        return np.exp(found[0] if single else found)

    def log_prob(
        self,
        obs: Obs,
        action: ArrayLike,
        *,
        mask: ArrayLike | None = None,
        memory: Memory | None = None,
        reward: ArrayLike | None = None,
    ) -> np.ndarray:
        """The log-probability of discrete actions, or the log-density of continuous ones in the environment's units.

        Args:
            obs: one raw observation [*obs], or several [n, *obs].
            action: the actions in the environment's units, [A] or [n, A]; integers as a call returns them if discrete.
                For rows of a table: labels or numbers, by column if there are several.
            mask: legal actions [A] or [n, A]. The others have the log-probability -inf.
            memory: what `act` returned for the step before; None at the start of an episode.
            reward: raw reward of the step before, [] or [n]; needed only by policies that follow a return.

        Returns:
            [] or [n], float32.

        Raises:
            UserError: an algorithm without a distribution, a deterministic policy of continuous actions, actions
                outside the action space, or arguments that `act` refuses.
        """
        obs, mask, labelled = self.reader.from_table(obs, mask)
        action = self.reader.unlabelled(action, labelled)
        if self.spec.discrete:
            every, single = self._log_probabilities(obs, mask, memory, reward)
            inside = self.to_inside(action, len(every))
            found = np.take_along_axis(every, inside[:, None], 1)[:, 0]
        else:
            dist = densities.require_distribution(self.algorithm)
            rows, single = self.reader.rows(obs)
            seen, kept = self._seen(rows, mask, memory, reward)
            inside = self.to_inside(action, len(jax.tree.leaves(rows)[0]))
            log_density = densities.log_density(self.algorithm.name, dist, self.layout)
            found = np.asarray(log_density(*self._leaves(), seen, kept, inside))
            # from inside units to the environment's: the density falls by the half width of each dimension
            found = (found - np.log(self.fitted.half_widths).sum()).astype(np.float32)
        return found[0] if single else found

    def value(self, obs: Obs, action: ArrayLike | None = None, *, mask: ArrayLike | None = None) -> np.ndarray:
        """The discounted return that the critics expect after an action, and the policy's own actions from there.

        The unit is treated rewards (see `fitted`), and soft values include the entropy bonus. It is an estimate of the
        learner, which may be far from the true return.

        Args:
            obs: one raw observation [*obs], or several [n, *obs].
            action: actions in the environment's units, [A] or [n, A], or integers as a call returns them; None: the
                best ones.
            mask: legal actions [A] or [n, A], for the best action.

        Returns:
            [] or [n], float32.

        Raises:
            UserError: an algorithm without values, a policy that was shipped without its critic, or arguments that
                `act` refuses.
        """
        rows, inside, single = self._decisions(obs, action, mask)
        given = jax.tree.map(jnp.asarray, self.fitted.observe(rows))
        state = self.state if self.whole is None else self.whole
        cfg = config.as_arrays(self.cfg)
        if self.whole is None:
            densities.require_value(self.algorithm, cfg, state, self.layout, given, inside)
        elif not has_value(self.algorithm, state):
            raise UserError(f"{self.algorithm.name} assigns no values to actions")
        found = np.asarray(estimated_value(self.algorithm, cfg, state, given, jnp.asarray(inside)))
        return found[0] if single else found

    def with_critic(self, arrays: Mapping[str, np.ndarray], where: str) -> Self:
        """This policy with its whole state, which `value` may need.

        Args:
            arrays: every leaf of the state by name, as a checkpoint has it for one replica.
            where: the file of the arrays, for error messages.

        Raises:
            UserError: leaves of other names or shapes than the policy's state has.
        """
        made = copy.copy(self)
        made.whole = fill(self.state, arrays, where)
        return made

    def support(self, obs: Obs, action: ArrayLike | None = None, *, mask: ArrayLike | None = None) -> np.ndarray:
        """How near states and actions are to the log: the share of held-out logged decisions that are at least as far.

        Args:
            obs: one raw observation [*obs], or several [n, *obs], or rows of a table.
            action: actions in the environment's units, as for `value`; None: the best ones.
            mask: legal actions [A] or [n, A], for the best action.

        Returns:
            [] or [n] float32 in (0, 1]. Below `support_model.false_alarms` it is too low.

        Raises:
            UserError: a policy without a score of support, or arguments that `act` refuses.
        """
        model = supports.required(self.support_model)
        rows, inside, single = self._decisions(obs, action, mask)
        found = model.scores(self.fitted.observe(rows), inside)
        return found[0] if single else found

    def guarded(
        self, obs: Obs, mode: str = "best", *, mask: ArrayLike | None = None, seed: int | None = None
    ) -> Guarded:
        """Like calling the policy, with the fallback in place of actions whose support is too low.

        Args:
            obs: as for a call.
            mode: as for a call.
            mask: as for a call.
            seed: as for a call.

        Returns:
            The actions that are to be taken, the scores of the policy's own actions, and whether each is too low.

        Raises:
            UserError: a policy without a score of support, or arguments that a call refuses.
        """
        model = supports.required(self.support_model)
        obs, mask, labelled = self.reader.from_table(obs, mask)
        single = self.reader.rows(obs)[1]
        action = self(obs, mode, mask=mask, seed=seed)
        found = self.replaced(obs, np.asarray(action)[None] if single else np.asarray(action), model, mask)
        chosen = self.reader.answer(found.action, single, labelled)
        return Guarded(chosen, found.support[0], found.low[0]) if single else found._replace(action=chosen)

    def replaced(self, obs: Obs, action: np.ndarray, model: Support, mask: ArrayLike | None = None) -> Guarded:
        """Given actions, with the fallback in place of those whose support is too low.

        Args:
            obs: one raw observation, or several [n, *obs].
            action: actions of the policy in the environment's units, [n, A] or integers.
            model: the score of support.
            mask: legal actions [A] or [n, A].
        """
        rows = self.reader.rows(obs)[0]
        n = len(rows)
        observed = self.fitted.observe(rows)
        scores = model.scores(observed, self.to_inside(action, n))
        low = scores < np.float32(model.false_alarms)
        fallback = model.fallback
        if fallback is None or not low.any():
            return Guarded(action, scores, low)
        if fallback.policy is not None:
            legal = mask if fallback.policy.spec.masked else None
            other = np.asarray(fallback.policy.act(obs, mask=legal)[0]).reshape(action.shape)
        else:
            inside = supports.fallback_inside(model, jnp.asarray(observed))
            other = self.fitted.act_outside(np.broadcast_to(np.asarray(inside), (n, *self.spec.action_shape)))
            if self.raw_action_space is not None:
                other = joint_actions.parts(self.raw_action_space, other)
        kept = low.reshape(n, *[1] * (action.ndim - 1))
        return Guarded(np.where(kept, other, action).astype(action.dtype), scores, low)

    def without_support(self) -> Self:
        """This policy without its score of support."""
        made = copy.copy(self)
        made.support_model = None
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A policy of its own, which continues with the same draws."""
        info = copy.deepcopy(self.info, memo)
        made = type(self)(self.algorithm, self.cfg, self.state, self.spec, self.fitted, info)
        made._calls = self._calls
        made.whole = self.whole
        made.support_model = self.support_model
        return made

    def __copy__(self) -> Self:
        """Like a deep copy."""
        return self.__deepcopy__({})

    def _decisions(self, obs: Obs, action: ArrayLike | None, mask: ArrayLike | None) -> tuple[Obs, np.ndarray, bool]:
        """Raw rows, actions [n, ...] in inside units, and whether a single observation was given.

        Args:
            obs: one raw observation [*obs], several [n, *obs], or rows of a table.
            action: actions in the environment's units; None: the best ones.
            mask: legal actions [A] or [n, A], for the best action.
        """
        obs, mask, labelled = self.reader.from_table(obs, mask)
        rows, single = self.reader.rows(obs)
        chosen = self.act(obs, mask=mask)[0] if action is None else self.reader.unlabelled(action, labelled)
        return rows, self.to_inside(chosen, len(jax.tree.leaves(rows)[0])), single

    def _seen(
        self, rows: Obs, mask: ArrayLike | None, memory: Memory | None, reward: ArrayLike | None
    ) -> tuple[Seen, Memory]:
        """What the distribution of the actions is conditioned on."""
        n = len(jax.tree.leaves(rows)[0])
        legal = self.reader.mask(mask, n)
        self._require_reward(memory, reward)
        fresh = self.algorithm.memory(config.as_arrays(self.cfg), self.spec, n)
        kept = fresh if memory is None else arguments.require_memory(memory, fresh, n)
        before = np.zeros(n, np.float32) if memory is None else self.fitted.rewards(arguments.rewards(reward, n))
        obs = jax.tree.map(jnp.asarray, self.fitted.observe(rows))
        mask = None if legal is None else jnp.asarray(legal[0])
        return Seen(obs, jnp.asarray(before), mask, jnp.int32(self.info.get("step", 0))), kept

    def _log_probabilities(
        self, obs: Obs, mask: ArrayLike | None, memory: Memory | None, reward: ArrayLike | None
    ) -> tuple[np.ndarray, bool]:
        """Log-probabilities [n, A] of all actions, and whether a single observation was given."""
        if not self.spec.discrete:
            raise UserError(f"this policy of {self.algorithm.name} has continuous actions: use log_prob")
        dist = densities.require_distribution(self.algorithm)
        rows, single = self.reader.rows(obs)
        seen, kept = self._seen(rows, mask, memory, reward)
        log_probabilities = densities.log_probabilities(self.algorithm.name, dist, self.layout)
        return np.asarray(log_probabilities(*self._leaves(), seen, kept)), single

    def _leaves(self) -> tuple[tuple, tuple]:
        """The leaves that acting reads, of the state and of the config."""
        return self.layout.keep(self.state), tuple(jax.tree.leaves(config.as_arrays(self.cfg)))
