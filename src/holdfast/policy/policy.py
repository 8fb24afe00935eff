"""`Policy`: what training ships. It takes raw observations and gives actions in the environment's units."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from ..algorithms import registry
from ..core import config
from ..core.contract import Algorithm, Context, Frozen
from ..core.errors import UserError, one_line
from ..core.networks import Builder, given, given_by_role, is_own
from ..core.noise import Noise
from ..core.phases import stages
from ..core.shown import counted, facts_html, line
from ..core.spec import Cfg, Memory, Obs, Seen, Spec, State
from ..data.feed.treatment import Fitted
from ..data.tables.encoding import action_codes, action_labels
from ..environments.gym import joint_actions
from . import arguments, densities, support_fit
from . import folder as folder_of
from . import support as supports
from .acting import Acting, Layout, Replicas, layout_of
from .again import NOTHING, Again
from .export import export
from .export.export import Exported, Format
from .q_values import estimated_value, has_value
from .reader import Reader
from .storage import fill, leaves_by_name, under
from .support import Guarded, Support

if TYPE_CHECKING:
    from ..data.dataset import Dataset


class Policy:
    """One trained policy: its networks and the treatment of its data, without what acting never reads (critics, say).

    Attributes:
        algorithm, cfg, spec: what it was trained with.
        fitted: normaliser of observations and bounds of actions, fitted on the training data.
        info: JSON-ready facts: `env_spec`, `dataset`, `seed`, `step` and the like. Where the state's shapes depend on
            them, `stats` (scalars of the data), `phase` (index of the last phase entered) and `inputs` (folders of
            the policies that it was trained with, by name: they are read again when this one is loaded). `table` has
            the roles of the columns if it was trained on a table.
        table: these roles as a `Schema`; None: it was not trained on a table.
        support_model: how near decisions are to the log; None: see `with_support`.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        cfg: Cfg,
        state: State,
        spec: Spec,
        fitted: Fitted,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.algorithm = algorithm
        self.spec = spec
        self.fitted = fitted
        self.info = dict(info or {})
        self.cfg = _plain(cfg)
        arrays = config.as_arrays(self.cfg)
        self.layout: Layout = layout_of(algorithm, arrays, state, spec)
        self.state = _copied(state, tuple(self.layout.live))
        self.reader = Reader(algorithm.name, spec, fitted, self.info)
        self.table = self.reader.table
        self.raw_action_space = self.reader.action_space
        self.whole: Any = None  # the state with its critics, see `with_critic`
        self.support_model: Support | None = None  # see `with_support`
        self._team: Replicas | None = None
        self._calls = 0
        self._lock = threading.Lock()  # of the number of calls: threads draw different numbers

    def __call__(
        self,
        obs: Obs,
        mode: str = "best",
        *,
        mask: ArrayLike | None = None,
        seed: int | None = None,
    ) -> np.ndarray | np.generic:
        """The action for each raw observation.

        Args:
            obs: one observation [*obs], or several [n, *obs]; a dict of arrays if observations have several. What was
                flattened for training (dictionaries, tuples, whole numbers), and images in another layout, may be given
                as the environment gives it. Images are bytes (uint8). A policy that was trained on a table also takes
                rows of it: a mapping from column to value, a list of them, or a data frame.
            mode: "best" (the most likely action) or "sample" (a draw).
            mask: legal actions [A] or [n, A], for discrete actions.
            seed: seed of the draw. None: another draw at each call, the same sequence for every new or loaded policy.

        Returns:
            Actions in the units and type of the environment's space: [A] or [n, A], integers [] or [n] where discrete,
            integers [K] or [n, K] where the space has K discrete actions at once (MultiDiscrete, MultiBinary). For rows
            of a table: the label or the number of the action, or an array of n; by column if there are several.

        Raises:
            UserError: a wrong shape, an entry that is not finite, no legal action, or a policy with memory (use `act`).
        """
        action, memory = self.act(obs, None, mode, mask=mask, seed=seed)
        if jax.tree.leaves(memory):
            raise UserError(
                f"a policy of {self.algorithm.name} remembers: use policy.act(obs, memory), which returns the memory"
                f"{'' if self.algorithm.target is None else ', with the reward of the step before (reward=...)'}"
            )
        return action

    def act(
        self,
        obs: Obs,
        memory: Memory | None = None,
        mode: str = "best",
        *,
        reward: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        seed: int | None = None,
        target_return: ArrayLike | None = None,
    ) -> tuple[Any, Any]:
        """Like calling the policy, with a memory: `(actions, memory)`.

        Args:
            obs: one observation [*obs], or several [n, *obs].
            memory: what `act` returned for the step before; None at the start of an episode.
            mode: "best" or "sample".
            reward: raw reward of the step before, [] or [n]; needed only by policies that follow a return.
            mask: legal actions [A] or [n, A].
            seed: seed of the draw, as in a call of the policy.
            target_return: return that a policy which follows a return is asked for, [] or [n], as a sum of raw rewards
                of an episode. It is read at the start of an episode. None: `self.target_return`.

        Raises:
            UserError: as a call of the policy does, or a memory, a reward or a target that does not fit.
        """
        obs, mask, labelled = self.reader.from_table(obs, mask)
        rows, single = self.reader.rows(obs)
        n = len(jax.tree.leaves(rows)[0])
        legal = self.reader.mask(mask, n)
        self._require_reward(memory, reward)
        before = arguments.rewards(reward, n)
        if target_return is not None and self.algorithm.target is None:
            raise UserError(f"a policy of {self.algorithm.name} follows no return: leave target_return out")
        asked = None if target_return is None else arguments.targets(target_return, n)
        acting = self.start(n, mode, self._next_seed() if seed is None else seed)
        begin = np.full((1, n), memory is None)
        if memory is not None:
            acting.memory = arguments.require_memory(memory, acting.memory, n)
        given = jax.tree.map(lambda x: x[None], rows)
        with np.errstate(over="ignore", invalid="ignore"):  # the check below names the row
            actions = acting(given, before.reshape(1, n), legal, begin, asked)[0]
        bad = ~np.isfinite(actions.reshape(n, int(np.prod(actions.shape[1:])))).all(1)
        if bad.any():
            row = int(np.argmax(bad))
            raise UserError(f"the action for observation {row} is not finite: the observation is outside of what the "
                            "policy can calculate with")  # fmt: skip
        if self.raw_action_space is not None:
            actions = joint_actions.parts(self.raw_action_space, actions)
        if labelled and self.table is not None:
            return action_labels(self.table, actions, single), acting.memory
        return (actions[0] if single else actions), acting.memory

    @property
    def target_return(self) -> float | None:
        """The return that the policy aims at, as a sum of raw rewards of an episode; None: it follows no return."""
        if self.algorithm.target is None:
            return None
        return float(self.algorithm.target(config.as_arrays(self.cfg), self.state)) / self.fitted.reward_scale

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
        if labelled and self.table is not None:
            action = action_codes(self.table, action, "the action")
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
        obs, mask, labelled = self.reader.from_table(obs, mask)
        if labelled and self.table is not None and action is not None:
            action = action_codes(self.table, action, "the action")
        rows, single = self.reader.rows(obs)
        chosen = self.act(obs, mask=mask)[0] if action is None else action
        inside = self.to_inside(chosen, len(jax.tree.leaves(rows)[0]))
        given = jax.tree.map(jnp.asarray, self.fitted.observe(rows))
        state = self.state if self.whole is None else self.whole
        cfg = config.as_arrays(self.cfg)
        if self.whole is None:
            densities.require_value(self.algorithm, cfg, state, self.layout, given, inside)
        elif not has_value(self.algorithm, state):
            raise UserError(f"{self.algorithm.name} assigns no values to actions")
        found = np.asarray(estimated_value(self.algorithm, cfg, state, given, jnp.asarray(inside)))
        return found[0] if single else found

    def with_support(
        self,
        data: Dataset,
        *,
        false_alarms: float = 0.05,
        fallback: str | Path | Policy | ArrayLike | None = None,
        rows: int = support_fit.ROWS,
        seed: int = 0,
    ) -> Policy:
        """This policy with a score of support, which says how near a state and an action are to a log.

        The score is saved and exported with the policy. See `policy.support`.

        Args:
            data: the log that the policy learned from.
            false_alarms: share of the decisions of such a log whose score is too low, on average.
            fallback: what acts if the score is too low: "nearest" (the action that was logged in the nearest state), a
                policy without memory or its folder, or an action in the environment's units. None: nothing.
            rows: logged decisions that are kept, at most.
            seed: seed of the held-out episodes and of the rows.

        Raises:
            UserError: a log of other observations or actions, images, too few episodes, or a fallback that does not
                fit.
        """
        made = self.__deepcopy__({})
        chosen = support_fit.chosen_fallback(self, fallback, Policy.load)
        made.support_model = support_fit.fit(self, data, false_alarms, chosen, rows, seed)
        return made

    def without_support(self) -> Policy:
        """This policy without its score of support."""
        made = self.__deepcopy__({})
        made.support_model = None
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
        obs, mask, labelled = self.reader.from_table(obs, mask)
        if labelled and self.table is not None and action is not None:
            action = action_codes(self.table, action, "the action")
        rows, single = self.reader.rows(obs)
        chosen = self.act(obs, mask=mask)[0] if action is None else action
        found = model.scores(self.fitted.observe(rows), self.to_inside(chosen, len(rows)))
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
        chosen: Any = found.action[0] if single else found.action
        if labelled and self.table is not None:
            chosen = action_labels(self.table, found.action, single)
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

    def with_critic(self, arrays: Mapping[str, np.ndarray], where: str) -> Policy:
        """This policy with its whole state, which `value` may need.

        Args:
            arrays: every leaf of the state by name, as a checkpoint has it for one replica.
            where: the file of the arrays, for error messages.

        Raises:
            UserError: leaves of other names or shapes than the policy's state has.
        """
        made = self.__deepcopy__({})
        made.whole = fill(self.state, arrays, where)
        return made

    def __repr__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self._facts())
        return line("Policy", f"{self.algorithm.name}: {facts}")

    def _repr_html_(self) -> str:
        return facts_html(f"Policy of {self.algorithm.name}", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        kind = counted(self.spec.action, f"{'discrete' if self.spec.discrete else 'continuous'} action")
        facts = [("observations", str(self.spec.obs)), ("actions", kind)]
        named = {"trained on": "dataset", "environment": "env_id", "seed": "seed", "step": "step"}
        if self.target_return is not None:
            facts.append(("return asked for", f"{self.target_return:.6g} (sum of raw rewards)"))
        return facts + [(name, str(self.info[key])) for name, key in named.items() if self.info.get(key) is not None]

    def start(self, n: int, mode: str = "best", seed: int = 0) -> Acting:
        """Begin to act in n environments at once; see `Acting`, which counts one replica."""
        if self._team is None:
            self._team = Policy.stacked([self])
        return self._team.start(n, mode, seed)

    def frozen(self) -> Frozen:
        """This policy as the input of another algorithm; it then takes treated observations."""
        algorithm = self.algorithm
        return Frozen(
            self.spec, algorithm.act, algorithm.memory, config.as_arrays(self.cfg), self.state, algorithm.dist
        )

    def acts_with(self, other: Policy) -> bool:
        """Whether the two differ in nothing but weights and the config's floats, so that one program serves both."""
        same = self.algorithm.name == other.algorithm.name and self.layout == other.layout and self.spec == other.spec
        return same and same_treatment(self.fitted, other.fitted)

    @staticmethod
    def stacked(policies: Sequence[Policy]) -> Replicas:
        """Several policies as replicas that act in one program.

        Raises:
            UserError: they are not of one algorithm, static configuration, problem and treatment.
        """
        first = policies[0]
        if not all(first.acts_with(policy) for policy in policies):
            what = "policies of different algorithms, network sizes or treatments"
            raise UserError(f"{what} cannot act in one program: take them one by one")
        states = jax.tree.map(lambda *xs: jnp.stack(xs), *[p.state for p in policies])
        cfgs = jax.tree.map(lambda *xs: jnp.stack(xs), *[config.as_arrays(p.cfg) for p in policies])
        return Replicas(first.algorithm, cfgs, states, first.spec, first.fitted, int(first.info.get("step", 0)))

    def save(self, folder: str | Path) -> Path:
        """Write `policy.json` and `policy.safetensors` into `folder`, where an older policy is replaced whole.

        With a score of support it also writes `support.json` and `support.safetensors`.

        Returns:
            The folder.

        Raises:
            UserError: the disk refuses.
        """
        path = arguments.folder(folder)
        facts, arrays = self._parts()
        supports.write(path, None)
        folder_of.write(path, facts, arrays)
        if self.support_model is not None:
            supports.write(path, self.support_model)
        return path

    def export(self, path: str | Path, to: Format = "onnx", mode: Literal["best", "sample"] = "best") -> Exported:
        """Write the policy as one file for other programs: raw rows in, actions out, any number of rows.

        The file is compared with the policy on 1,000 random rows. If it does not agree, nothing is written.

        Args:
            path: the file, or a folder, in which it becomes `policy.onnx`, `policy.stablehlo` or `policy.npz`.
            to: "onnx" for ONNX Runtime, "stablehlo" for `jax.export` and other compilers, "numpy" for NumPy only.
            mode: "best" (the most likely action) or "sample" (a draw, from noise that is an input).

        Returns:
            The file, its comparison with the policy, and its description.

        Raises:
            UserError: a part of the policy that cannot be exported, a package that is missing, a file that does not
                agree with the policy, or a file that cannot be written.
        """
        return export.export(self, path, to, mode)

    @staticmethod
    def load(
        folder: str | Path,
        algorithm: Algorithm | None = None,
        trust: bool = False,
        *,
        network: Builder | str | Mapping[str, Builder | str] | None = None,
        encoder: Builder | str | None = None,
    ) -> Policy:
        """Read a policy: the same outputs as before it was saved, bit for bit.

        Args:
            folder: where `save` wrote it, or the folder of a run. If it holds the policies of several replicas, the
                first one is loaded, with a warning that names the others.
            algorithm: for algorithms of your own that are not registered.
            trust: import the modules that the folder names: of an algorithm that is not registered, and of networks.
            network: the functions of its own networks, as `holdfast.train` took them.
            encoder: the function of its own encoder.

        Raises:
            UserError: no policy there, a damaged file, an unknown algorithm, or tensors of other names or shapes.
        """
        found = folder_of.policies_in(arguments.folder(folder))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            warnings.warn(
                f"{folder} holds {len(found)} policies ({names}): {found[0].name} is loaded; name the folder of "
                "another one, or load all with holdfast.Run.load(run).policies()",
                stacklevel=2,
            )
        facts, arrays, where = folder_of.read(found[0])
        again = Again(given_by_role(network), None if encoder is None else given(encoder, "encoder"))
        made = Policy._made(facts, arrays, where, algorithm, trust, again)
        made.support_model = supports.read(found[0], made.spec, Policy.load)
        return made

    @staticmethod
    def _made(
        facts: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        where: str,
        algorithm: Algorithm | None,
        trust: bool = False,
        again: Again = NOTHING,
    ) -> Policy:
        """A policy from the facts and arrays of its folder; `where` names the file in errors."""
        try:
            if algorithm is None:
                place = facts["info"].get("algorithm_module")
                algorithm = registry.of_file(facts["algorithm"], place, where, trust)
            cfg: Any = config.from_dict(algorithm.Config, facts["config"])
            spec = again.bound(Spec.from_dict(facts["spec"]), where, trust)
            fitted = Fitted.from_dict(facts["treatment"], under("treatment.", arrays))
            template = template_of(algorithm, cfg, spec, facts["info"])
            layout = layout_of(algorithm, config.as_arrays(cfg), template, spec)
        except UserError:
            raise
        except Exception as error:  # networks of odd sizes fail with various errors, at various places
            what = f"{type(error).__name__}: {one_line(error)[:200]}"
            raise UserError(f"{where} was written by another version of holdfast ({what}): use that one") from error
        names = leaves_by_name(template)
        like = {name: x for (name, x), live in zip(names.items(), layout.live, strict=True) if live}
        given = fill(like, under("state.", arrays), where)
        leaves = [given[name] if name in given else jnp.zeros(x.shape, x.dtype) for name, x in names.items()]
        return Policy(algorithm, cfg, jax.tree.unflatten(layout.state, leaves), spec, fitted, facts["info"])

    def __deepcopy__(self, memo: dict[int, Any]) -> Policy:
        """A policy of its own, which continues with the same draws."""
        info = copy.deepcopy(self.info, memo)
        made = Policy(self.algorithm, self.cfg, self.state, self.spec, self.fitted, info)
        made._calls = self._calls
        made.whole = self.whole
        made.support_model = self.support_model
        return made

    def __copy__(self) -> Policy:
        """Like a deep copy."""
        return self.__deepcopy__({})

    def __reduce__(self) -> tuple[Any, ...]:
        """How a policy is pickled: as its folder's contents. Only policies of registered algorithms can be.

        Raises:
            UserError: an algorithm or networks of your own.
        """
        if not registry.is_installed(self.algorithm):
            raise UserError(
                f"a policy of {self.algorithm.name}, which is not registered, cannot be pickled: use "
                "policy.save(folder) and Policy.load(folder, algorithm)"
            )
        if is_own(self.spec.encoder) or self.spec.networks.network:
            raise UserError(
                "a policy with networks of yours cannot be pickled: use policy.save(folder) and Policy.load(folder, "
                "network=...)"
            )
        facts, arrays = self._parts()
        flat = {f"{part}.{name}": np.asarray(x) for part, values in arrays.items() for name, x in values.items()}
        return _unpickled, (facts, flat, self._calls, self.support_model)

    def _parts(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """JSON-ready facts, and arrays by name: what a policy folder keeps."""
        treatment, arrays = self.fitted.to_dict()
        facts = {
            "algorithm": self.algorithm.name,
            "config": config.to_dict(self.cfg),
            "spec": self.spec.to_dict(),
            "treatment": treatment,
            "info": self.info,
        }
        # through JSON once, so that tuples become lists, as they are after reading
        return json.loads(json.dumps(facts)), {"state": self._live(), "treatment": arrays}

    def numbers(self, obs: Obs) -> Any:
        """One observation as an array [*obs] of the policy's numbers, from the forms that a call takes.

        Raises:
            UserError: several observations, or what a call refuses.
        """
        rows, single = self.reader.rows(self.reader.from_table(obs, None)[0])
        if not single:
            raise UserError("several observations, expected one")
        return rows[0]

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

    def to_inside(self, action: ArrayLike, n: int = 1) -> np.ndarray:
        """Actions of the environment as n rows in inside units, see `Reader.to_inside`."""
        return self.reader.to_inside(action, n)

    def _require_reward(self, memory: Memory | None, reward: ArrayLike | None) -> None:
        """Refuse a later step of a policy that follows a return without the reward of the step before."""
        if self.algorithm.target is None or memory is None or reward is not None:
            return
        if not getattr(self.cfg, "delayed", False):
            raise UserError(
                f"a policy of {self.algorithm.name} subtracts rewards from the return that it is asked for: give the "
                "reward of the step before, policy.act(obs, memory, reward=...)"
            )

    def _next_seed(self) -> int:
        with self._lock:
            self._calls += 1
            return self._calls - 1

    def _live(self) -> dict[str, Any]:
        names = leaves_by_name(self.state)
        return {name: x for (name, x), live in zip(names.items(), self.layout.live, strict=True) if live}


def template_of(algorithm: Algorithm, cfg: Cfg, spec: Spec, info: Mapping[str, Any]) -> Any:
    """Shapes of a state of `algorithm`, after the phases that `info["phase"]` says were entered; computes nothing.

    The phases are those of `info["stage"]`: offline, online, or finetune, which follow the offline ones.
    """
    cfg = config.as_arrays(cfg)
    inputs = {name: Policy.load(folder).frozen() for name, folder in (info.get("inputs") or {}).items()}
    ctx = Context(spec, None, dict(info.get("stats", {})), inputs)
    noise = Noise(jax.random.PRNGKey(0))
    # the context is not traced: its numbers may decide shapes, as the number of agents does
    state = jax.eval_shape(lambda cfg, noise: algorithm.init(cfg, ctx, noise), cfg, noise)
    for phase in stages(algorithm, cfg, str(info.get("stage", "offline")))[: int(info.get("phase", 0)) + 1]:
        if phase.enter is not None:
            state = jax.eval_shape(phase.enter, cfg, state, ctx, noise)
    return state


def same_treatment(a: Fitted, b: Fitted) -> bool:
    """Whether two treatments have the same numbers."""
    values, arrays = a.to_dict()
    values_b, arrays_b = b.to_dict()
    return (
        values == values_b
        and arrays.keys() == arrays_b.keys()
        and all(np.array_equal(arrays[k], arrays_b[k]) for k in arrays)
    )


def _unpickled(
    facts: dict[str, Any], arrays: dict[str, np.ndarray], calls: int, support_model: Support | None = None
) -> Policy:
    """The policy that was pickled."""
    made = Policy._made(facts, arrays, "the pickled policy", None)
    made._calls = calls
    made.support_model = support_model
    return made


@functools.partial(jax.jit, static_argnums=1)
def _copied(state: State, live: tuple[bool, ...]) -> Any:
    """A copy of a state, because training donates its own to the next block, with zeros for the leaves not live."""
    leaves, tree = jax.tree.flatten(state)
    copied = [jnp.copy(x) if kept else jnp.zeros_like(x) for x, kept in zip(leaves, live, strict=True)]
    return jax.tree.unflatten(tree, copied)


def _plain(cfg: Cfg) -> Any:
    """A config whose traced floats are Python floats, from one whose are arrays."""
    return dataclasses.replace(cfg, **{name: float(getattr(cfg, name)) for name in config.traced_fields(cfg)})
