"""`Policy`: what training ships. It takes raw observations and gives actions in the environment's units."""

from __future__ import annotations

import copy
import dataclasses
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from ..algorithms import registry
from ..core import config
from ..core.contract import Algorithm, Context, Frozen
from ..core.errors import UserError, one_line
from ..core.noise import Noise
from ..core.phases import stages
from ..core.spec import Cfg, Memory, Obs, Spec, State
from ..data import spaces
from ..data.feed.treatment import Fitted
from . import arguments
from . import folder as folder_of
from .acting import Acting, Layout, Replicas, layout_of
from .storage import fill, leaves_by_name


class Policy:
    """One trained policy: its networks and the treatment of its data, without what acting never reads (critics, say).

    Attributes:
        algorithm, cfg, spec: what it was trained with.
        fitted: normaliser of observations and bounds of actions, fitted on the training data.
        info: JSON-ready facts: `env_spec`, `dataset`, `seed`, `step` and the like. Where the state's shapes depend on
            them, `stats` (scalars of the data), `phase` (index of the last phase entered) and `inputs` (folders of
            the policies that it was trained with, by name: they are read again when this one is loaded).
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
        keep = jax.tree.unflatten(self.layout.state, self.layout.live)
        # copies, because training donates its state to the next block
        self.state = jax.tree.map(lambda x, y: jnp.array(x) if y else jnp.zeros(x.shape, x.dtype), state, keep)
        raw = self.info.get("observation_space")
        self.raw_space = spaces.from_json(raw, "the policy's observation_space") if isinstance(raw, str) else None
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
                flattened for training (dictionaries, tuples, whole numbers) may be given as the environment gives it.
            mode: "best" (the most likely action) or "sample" (a draw).
            mask: legal actions [A] or [n, A], for discrete actions.
            seed: seed of the draw. None: another draw at each call, the same sequence for every new or loaded policy.

        Returns:
            Actions in the units and type of the environment's space: [A] or [n, A], integers [] or [n] where discrete.

        Raises:
            UserError: a wrong shape, an entry that is not finite, no legal action, or a policy with memory (use `act`).
        """
        action, memory = self.act(obs, None, mode, mask=mask, seed=seed)
        if jax.tree.leaves(memory):
            raise UserError(
                f"a policy of {self.algorithm.name} remembers: use policy.act(obs, memory), which returns the memory"
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
    ) -> tuple[Any, Any]:
        """Like calling the policy, with a memory: `(actions, memory)`.

        Args:
            obs: one observation [*obs], or several [n, *obs].
            memory: what `act` returned for the step before; None at the start of an episode.
            mode: "best" or "sample".
            reward: raw reward of the step before, [] or [n]; needed only by policies that follow a return.
            mask: legal actions [A] or [n, A].
            seed: seed of the draw, as in a call of the policy.

        Raises:
            UserError: as a call of the policy does, or a memory or a reward that does not fit.
        """
        obs = arguments.observations(obs, self.raw_space)
        single = arguments.require_rows(obs, self.spec)
        rows = jax.tree.map(lambda x: x[None] if single else x, obs)
        n = len(jax.tree.leaves(rows)[0])
        legal = self._mask(mask, n)
        before = arguments.rewards(reward, n)
        acting = self.start(n, mode, self._next_seed() if seed is None else seed)
        begin = np.full((1, n), memory is None)
        if memory is not None:
            acting.memory = arguments.require_memory(memory, acting.memory, n)
        given = jax.tree.map(lambda x: x[None], rows)
        with np.errstate(over="ignore", invalid="ignore"):  # the check below names the row
            actions = acting(given, before.reshape(1, n), legal, begin)[0]
        bad = ~np.isfinite(actions.reshape(n, int(np.prod(actions.shape[1:])))).all(1)
        if bad.any():
            row = int(np.argmax(bad))
            raise UserError(f"the action for observation {row} is not finite: the observation is outside of what the "
                            "policy can calculate with")  # fmt: skip
        return (actions[0] if single else actions), acting.memory

    def start(self, n: int, mode: str = "best", seed: int = 0) -> Acting:
        """Begin to act in n environments at once; see `Acting`, which counts one replica."""
        if self._team is None:
            self._team = Policy.stacked([self])
        return self._team.start(n, mode, seed)

    def frozen(self) -> Frozen:
        """This policy as the input of another algorithm; it then takes treated observations."""
        return Frozen(self.spec, self.algorithm.act, self.algorithm.memory, config.as_arrays(self.cfg), self.state)

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

        Returns:
            The folder.

        Raises:
            UserError: the disk refuses.
        """
        path = arguments.folder(folder)
        facts, arrays = self._parts()
        folder_of.write(path, facts, arrays)
        return path

    @staticmethod
    def load(folder: str | Path, algorithm: Algorithm | None = None, trust: bool = False) -> Policy:
        """Read a policy: the same outputs as before it was saved, bit for bit.

        Args:
            folder: where `save` wrote it.
            algorithm: for algorithms of your own that are not registered.
            trust: import the module of an algorithm that the folder names, if the algorithm is not registered.

        Raises:
            UserError: no policy there, a damaged file, an unknown algorithm, or tensors of other names or shapes.
        """
        facts, arrays, where = folder_of.read(arguments.folder(folder))
        return Policy._made(facts, arrays, where, algorithm, trust)

    @staticmethod
    def _made(
        facts: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        where: str,
        algorithm: Algorithm | None,
        trust: bool = False,
    ) -> Policy:
        """A policy from the facts and arrays of its folder; `where` names the file in errors."""
        try:
            if algorithm is None:
                place = facts["info"].get("algorithm_module")
                algorithm = registry.of_file(facts["algorithm"], place, where, trust)
            cfg: Any = config.from_dict(algorithm.Config, facts["config"])
            spec = Spec.from_dict(facts["spec"])
            fitted = Fitted.from_dict(facts["treatment"], _under("treatment.", arrays))
            template = template_of(algorithm, cfg, spec, facts["info"])
            layout = layout_of(algorithm, config.as_arrays(cfg), template, spec)
        except UserError:
            raise
        except Exception as error:  # networks of odd sizes fail with various errors, at various places
            what = f"{type(error).__name__}: {one_line(error)[:200]}"
            raise UserError(f"{where} was written by another version of holdfast ({what}): use that one") from error
        names = leaves_by_name(template)
        like = {name: x for (name, x), live in zip(names.items(), layout.live, strict=True) if live}
        given = fill(like, _under("state.", arrays), where)
        leaves = [given[name] if name in given else jnp.zeros(x.shape, x.dtype) for name, x in names.items()]
        return Policy(algorithm, cfg, jax.tree.unflatten(layout.state, leaves), spec, fitted, facts["info"])

    def __deepcopy__(self, memo: dict[int, Any]) -> Policy:
        """A policy of its own, which continues with the same draws."""
        info = copy.deepcopy(self.info, memo)
        made = Policy(self.algorithm, self.cfg, self.state, self.spec, self.fitted, info)
        made._calls = self._calls
        return made

    def __copy__(self) -> Policy:
        """Like a deep copy."""
        return self.__deepcopy__({})

    def __reduce__(self) -> tuple[Any, ...]:
        """How a policy is pickled: as its folder's contents. Only policies of registered algorithms can be.

        Raises:
            UserError: an algorithm of your own.
        """
        if not registry.is_installed(self.algorithm):
            raise UserError(
                f"a policy of {self.algorithm.name}, which is not registered, cannot be pickled: use "
                "policy.save(folder) and Policy.load(folder, algorithm)"
            )
        facts, arrays = self._parts()
        flat = {f"{part}.{name}": np.asarray(x) for part, values in arrays.items() for name, x in values.items()}
        return _unpickled, (facts, flat, self._calls)

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

    def _next_seed(self) -> int:
        with self._lock:
            self._calls += 1
            return self._calls - 1

    def _live(self) -> dict[str, Any]:
        names = leaves_by_name(self.state)
        return {name: x for (name, x), live in zip(names.items(), self.layout.live, strict=True) if live}

    def _mask(self, mask: ArrayLike | None, n: int) -> np.ndarray | None:
        if mask is None and self.spec.masked:
            raise UserError(
                f"this policy of {self.algorithm.name} learned with action masks: give mask=[...], the legal actions "
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


def template_of(algorithm: Algorithm, cfg: Cfg, spec: Spec, info: Mapping[str, Any]) -> Any:
    """Shapes of a state of `algorithm`, after the phases that `info["phase"]` says were entered; computes nothing.

    The phases are those of `info["stage"]`: offline, online, or finetune, which follow the offline ones.
    """
    cfg = config.as_arrays(cfg)
    inputs = {name: Policy.load(folder).frozen() for name, folder in (info.get("inputs") or {}).items()}
    ctx = Context(spec, None, dict(info.get("stats", {})), inputs)
    noise = Noise(jax.random.PRNGKey(0))
    state = jax.eval_shape(algorithm.init, cfg, ctx, noise)
    for phase in stages(algorithm, cfg, str(info.get("stage", "offline")))[: int(info.get("phase", 0)) + 1]:
        if phase.enter is not None:
            state = jax.eval_shape(phase.enter, cfg, state, ctx, noise)
    return state


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


def same_treatment(a: Fitted, b: Fitted) -> bool:
    """Whether two treatments have the same numbers."""
    values, arrays = a.to_dict()
    values_b, arrays_b = b.to_dict()
    return (
        values == values_b
        and arrays.keys() == arrays_b.keys()
        and all(np.array_equal(arrays[k], arrays_b[k]) for k in arrays)
    )


def _unpickled(facts: dict[str, Any], arrays: dict[str, np.ndarray], calls: int) -> Policy:
    """The policy that was pickled."""
    made = Policy._made(facts, arrays, "the pickled policy", None)
    made._calls = calls
    return made


def _plain(cfg: Cfg) -> Any:
    """A config whose traced floats are Python floats, from one whose are arrays."""
    return dataclasses.replace(cfg, **{name: float(getattr(cfg, name)) for name in config.traced_fields(cfg)})
