"""A trained model of an environment as a folder: `dynamics.json` describes it, `dynamics.safetensors` has arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UserError
from ..core.files import read_checked, read_json, write_json
from ..core.noise import Noise
from ..core.schema import require_types
from ..core.spec import Spec
from ..data.feed.treatment import Fitted
from ..dynamics import ensemble
from ..dynamics.ensemble import Ensemble, Gaussian
from ..dynamics.learning import ENDING_HIDDEN
from ..dynamics.penalties import pairwise_disagreement
from ..dynamics.rollout import ended
from ..dynamics.termination import Rule, rule_for
from ..parts import nets
from .storage import arrays_of, fill, save_tree, under

FORMAT = 1
JSON = "dynamics.json"
TENSORS = "dynamics.safetensors"
FACTS: dict[str, Any] = {
    "format": int,
    "kind": str,
    "members": int,
    "elites": int,
    "hidden": list[int],
    "spec": dict[str, Any],
    "treatment": dict[str, Any],
    "ends": str,
    "info": dict[str, Any],
    "sha256": str,
}
MOST = 2**16  # entries of a layer, an observation or an action, and members


class Transition(NamedTuple):
    """One step of a model, in the units of the environment. n rows."""

    observation: np.ndarray  # [n, d]
    reward: np.ndarray  # [n]
    terminated: np.ndarray  # [n] booleans
    uncertainty: np.ndarray  # [n] largest distance between the predictions of two members, in the units of training


class Rollout(NamedTuple):
    """Episodes in a model, in the units of the environment. n episodes of at most T steps."""

    observations: np.ndarray  # [n, T + 1, d]
    actions: np.ndarray  # [n, T, A]
    rewards: np.ndarray  # [n, T]
    alive: np.ndarray  # [n, T] booleans: whether the step was made before the episode ended


class Dynamics:
    """A learned model of an environment.

    Attributes:
        model: the ensemble, in the units of training.
        spec: shapes of the problem.
        fitted: treatment of the data that it was trained on.
        ends: how it ends episodes: known, learned or never.
        info: facts: `dataset`, `dataset_fingerprint`, `env_id`, `env_spec`, `algorithm` and `seed`.
    """

    def __init__(self, model: Ensemble, spec: Spec, fitted: Fitted, ends: str, info: Mapping[str, Any]) -> None:
        self.model = model
        self.spec = spec
        self.fitted = fitted
        self.ends = ends
        self.info = dict(info)
        known = rule_for(info.get("env_id"), info.get("env_spec"), fitted) if ends == "known" else None
        self.rule: Rule | None = known
        self._step = jax.jit(self._advance)

    def step(self, observation: ArrayLike, action: ArrayLike, seed: int = 0) -> Transition:
        """One step from each row.

        Args:
            observation: [n, d] in the units of the environment, or one [d].
            action: [n, A] in the units of the environment, or one [A].
            seed: number from which all draws follow.

        Raises:
            UserError: arrays of other shapes.
        """
        obs = np.atleast_2d(np.asarray(observation, np.float64))
        acted = np.atleast_2d(np.asarray(action, np.float64))
        wanted = ((len(obs), *self.spec.obs_shape), (len(obs), self.spec.action))
        if (obs.shape, acted.shape) != wanted:
            raise UserError(f"observations {obs.shape} and actions {acted.shape}, expected {wanted[0]} and {wanted[1]}")
        inside = np.clip(self.fitted.act_inside(acted), -1, 1)
        found = self._step(self.model, jnp.asarray(self.fitted.observe(obs)), jnp.asarray(inside), seed)
        next_obs, reward, over, uncertain = (np.asarray(x) for x in found)
        outside = next_obs * self.fitted.obs_std + self.fitted.obs_mean
        raw = reward / self.fitted.reward_scale - self.fitted.reward_shift
        return Transition(outside, raw, over, uncertain)

    def rollout(
        self, policy: Callable[[np.ndarray], ArrayLike], observation: ArrayLike, horizon: int, seed: int = 0
    ) -> Rollout:
        """Episodes of a policy from each row; after its end an episode keeps its observation, with rewards of 0.

        Args:
            policy: a `Policy`, or a function from observations [n, d] to actions [n, A].
            observation: first observations [n, d] in the units of the environment, or one [d].
            horizon: steps, at least 1.
            seed: number from which all draws follow.

        Raises:
            UserError: a horizon below 1, or arrays of other shapes.
        """
        if horizon < 1:
            raise UserError(f"horizon is {horizon}, expected at least 1")
        obs = np.atleast_2d(np.asarray(observation, np.float64))
        alive = np.ones(len(obs), bool)
        observations = [obs]
        actions, rewards, lives = [], [], []
        for t in range(horizon):
            action = np.asarray(policy(obs), np.float64).reshape(len(obs), -1)
            found = self.step(obs, action, seed * 1_000_003 + t)
            lives.append(alive)
            actions.append(action)
            rewards.append(np.where(alive, found.reward, 0.0))
            obs = np.where(alive[:, None], found.observation, obs)
            observations.append(obs)
            alive = alive & ~found.terminated
        joined = (np.stack(x, 1) for x in (observations, actions, rewards, lives))
        return Rollout(*joined)

    def _advance(self, model: Ensemble, obs: jax.Array, action: jax.Array, seed: jax.Array) -> Any:
        found = model.step(obs, action, Noise(jax.random.PRNGKey(seed)))
        over = ended(model, self.rule, self.ends == "learned", obs, action, found.next_obs)
        return found.next_obs, found.reward, over, pairwise_disagreement(found.mean)

    def save(self, folder: str | Path) -> Path:
        """Write the folder.

        Raises:
            UserError: the disk is full or read-only.
        """
        folder = Path(folder)
        values, arrays = self.fitted.to_dict()
        net = self.model.net
        facts = {
            "format": FORMAT,
            "kind": "gaussian" if isinstance(net, Gaussian) else "deterministic",
            "members": int(net.nets.layers[0].bias.shape[0]),
            "elites": int(self.model.elites.shape[0]),
            "hidden": [int(layer.bias.shape[-1]) for layer in net.nets.layers[:-1]],
            "spec": self.spec.to_dict(),
            "treatment": values,
            "ends": self.ends,
            "info": self.info,
        }
        sha256 = save_tree(folder / TENSORS, {"model": self.model, "treatment": arrays}, facts)
        write_json(folder / JSON, {**facts, "sha256": sha256})
        return folder

    @staticmethod
    def load(path: str | Path) -> Dynamics:
        """Read a model from its folder, or from a run that contains one.

        Raises:
            UserError: the folder contains no model or several, or files that are damaged.
        """
        folder = dynamics_folder(path)
        where = str(folder / JSON)
        facts = require_types(read_json(folder / JSON), FACTS, where, FACTS)
        spec = _checked(facts, where)
        tensors = folder / TENSORS
        arrays = arrays_of(read_checked(tensors, facts["sha256"]), str(tensors))
        fitted = Fitted.from_dict(facts["treatment"], under("treatment.", arrays))
        model = fill(_like(facts, spec), under("model.", arrays), str(tensors))
        return Dynamics(model, spec, fitted, facts["ends"], facts["info"])


def _checked(facts: Mapping[str, Any], where: str) -> Spec:
    """The spec in the description of a model, after a check of the sizes.

    Raises:
        UserError: another format, or an entry that is out of range.
    """
    if facts["format"] != FORMAT:
        raise UserError(f"{where} has format {facts['format']}, expected {FORMAT}: use another holdfast")
    for name, known in (("kind", ("gaussian", "deterministic")), ("ends", ("known", "learned", "never"))):
        if facts[name] not in known:
            raise UserError(f"{name} in {where} is {facts[name]!r}, expected one of {', '.join(known)}")
    try:
        spec = Spec.from_dict(facts["spec"])
        sizes = [*facts["hidden"], facts["members"], facts["elites"], *spec.obs_shape, spec.action]
    except (KeyError, TypeError) as error:
        raise UserError(f"spec in {where} is damaged: restore the file from a copy") from error
    if len(spec.obs_shape) != 1 or len(sizes) > 100 or not all(0 < size <= MOST for size in sizes):
        raise UserError(f"sizes in {where} are {sizes}, expected numbers from 1 to {MOST}")
    return spec


def _like(facts: Mapping[str, Any], spec: Spec) -> Ensemble:
    """The shapes of a model from its description."""
    (d,) = spec.obs_shape

    def make() -> Ensemble:
        noise = Noise(jax.random.PRNGKey(0))
        given = (noise, d, spec.action, tuple(facts["hidden"]), facts["members"])
        net = ensemble.gaussian(*given) if facts["kind"] == "gaussian" else ensemble.deterministic(*given)
        ending = nets.mlp(noise, (2 * d + spec.action, *ENDING_HIDDEN, 1))
        elites = jnp.zeros(facts["elites"], jnp.int32)
        return Ensemble(net, ensemble.identity(d + spec.action), ensemble.identity(d), elites, ending)

    return jax.eval_shape(make)


def dynamics_folder(path: str | Path) -> Path:
    """The folder of a model, from itself or from the run that contains it.

    Raises:
        UserError: the folder contains no model, or several.
    """
    base = Path(path).resolve()
    found = [base] if (base / JSON).is_file() else [file.parent for file in sorted(base.glob(f"**/{JSON}"))]
    if len(found) != 1:
        names = ", ".join(str(one.relative_to(base)) for one in found) or "none"
        raise UserError(f"{path} is expected to hold one learned model, it has {names}: name the folder of one")
    return found[0]
