"""`explain`: why a policy takes an action: attributions, the nearest logged transitions, the values of actions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from ..core import config
from ..core.errors import UserError
from ..core.noise import Noise
from ..core.shown import facts_html, line, table_html
from ..core.spec import Obs, Seen
from ..data.arrays import take
from ..data.dataset import Dataset
from ..data.feed.columns import to_go
from ..data.sources import load_dataset
from ..data.tables.rows import GivenRows
from ..environments.gym import joint_actions
from ..parts.distributions import Categorical
from ..policy.policy import Policy
from ..policy.q_values import estimated_value
from ..policy.support import require_vectors
from ..policy.support_fit import require_match
from .departures import columns_of

STEPS = 64  # of the path of integrated gradients
NEIGHBOURS = 5
GAP = 0.1  # share of the change of the output that the attributions may miss
ROWS = 8192  # of the log at once

NEAREST_HEADER = ("episode", "step", "distance", "action", "reward", "return from there")
VALUES_HEADER = ("action", "probability", "value", "note")


@dataclasses.dataclass(frozen=True)
class Neighbour:
    """A logged transition whose state is near."""

    episode: int
    step: int
    distance: float  # in standard deviations of the log, root mean square over the columns
    action: str
    reward: float
    return_to_go: float  # undiscounted sum of the rewards from there

    def cells(self) -> tuple[str, ...]:
        """The texts of `NEAREST_HEADER`."""
        return (str(self.episode), str(self.step), f"{self.distance:.3g}", self.action, f"{self.reward:.4g}",
                f"{self.return_to_go:.4g}")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Choice:
    """An action that the policy could take."""

    action: str
    probability: float | None  # None: continuous actions, or no distribution
    value: float | None  # expected discounted return in treated rewards; None: no critic
    note: str = ""  # chosen, logged, near

    def cells(self) -> tuple[str, ...]:
        """The texts of `VALUES_HEADER`."""
        probability = "" if self.probability is None else f"{self.probability:.3g}"
        return (self.action, probability, "" if self.value is None else f"{self.value:.4g}", self.note)


@dataclasses.dataclass(frozen=True)
class Attribution:
    """What one observation column adds to each output, from the mean observation of the log to this one."""

    column: str
    value: str
    parts: tuple[float, ...]  # one for each output


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Why a policy takes an action.

    Attributes:
        policy: name of the algorithm.
        where: which observation it is.
        action: what the policy does.
        logged: what was logged; empty if the observation is not from the log.
        support: score of the policy's action; None: it has none.
        outputs: what is attributed: the log-probability or value of the action, or each dimension of the action.
        before: the outputs at the mean observation of the log.
        after: the outputs here.
        attributions: one for each column, the largest first; they add up to the change of the outputs.
        choices: actions with their probabilities and values.
        nearest: logged transitions from the nearest states.
        notes: what is not known, and why.
    """

    policy: str
    where: str
    action: str
    logged: str
    support: float | None
    outputs: tuple[str, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    attributions: tuple[Attribution, ...]
    choices: tuple[Choice, ...]
    nearest: tuple[Neighbour, ...]
    notes: tuple[str, ...]

    @property
    def attribution_header(self) -> tuple[str, ...]:
        """The columns of `attribution_table`."""
        return ("column", "value", *self.outputs)

    def attribution_table(self) -> list[tuple[str, ...]]:
        """The cells of every column, and the outputs at the mean observation and here."""
        if not self.outputs:
            return []
        rows = [(one.column, one.value, *(f"{x:+.3g}" for x in one.parts)) for one in self.attributions]
        first = ("mean observation", "", *(f"{x:.4g}" for x in self.before))
        return [first, *rows, ("this observation", "", *(f"{x:.4g}" for x in self.after))]

    def facts(self) -> list[tuple[str, str]]:
        """Name and value of the decision."""
        found = [("observation", self.where), ("action of the policy", self.action)]
        found += [("logged action", self.logged)] if self.logged else []
        return found + ([("support", f"{self.support:.3g}")] if self.support is not None else [])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        most = f", most by {self.attributions[0].column}" if self.attributions else ""
        return line("Explanation", f"{self.policy} does {self.action} at {self.where}{most}")

    def _repr_html_(self) -> str:
        return (
            facts_html(f"A decision of {self.policy}", [*self.facts(), *(("note", note) for note in self.notes)])
            + table_html("attribution", self.attribution_header, self.attribution_table())
            + table_html("actions", VALUES_HEADER, [one.cells() for one in self.choices])
            + table_html("nearest logged transitions", NEAREST_HEADER, [one.cells() for one in self.nearest])
        )


def explain(
    policy: Policy | str | Path,
    data: Dataset | str | Path,
    row: int | None = None,
    *,
    obs: Obs | GivenRows | None = None,
    mask: ArrayLike | None = None,
    neighbours: int = NEIGHBOURS,
    steps: int = STEPS,
) -> Explanation:
    """Explain one decision of a policy.

    The attribution is that of integrated gradients (Sundararajan, Taly and Yan 2017, equation 1) along the straight
    line from the mean observation of the log: (x - x') times the mean gradient. Of a discrete policy the
    log-probability of its action is attributed, or the value of the action if it has no distribution; of a continuous
    one each dimension of the action.

    Args:
        policy: a policy (with its critic, `run.policy(critic=True)`, if values are wanted), or the folder of one.
        data: the log, or its name.
        row: number of a logged step from 0. None: `obs` is given.
        obs: one raw observation [*obs], or a row of a table. None: `row` is given.
        mask: legal actions [A], if the policy learned with them and `obs` is given.
        neighbours: number of nearest logged transitions.
        steps: points on the line.

    Raises:
        UserError: neither a row nor an observation, a row that the log does not have, images, or a policy with a
            memory.
    """
    dataset = data if isinstance(data, Dataset) else load_dataset(data)
    policy = policy if isinstance(policy, Policy) else Policy.load(policy)
    require_match(policy, dataset)
    require_vectors(policy.spec, dataset.id)
    if (row is None) == (obs is None):
        raise UserError("name one decision: a row of the log (row=0), or one observation (obs=...)")
    if row is not None and not 0 <= row < dataset.n_steps:
        raise UserError(f"row {row} of {dataset.id}, expected a step from 0 to {dataset.n_steps - 1}")
    if neighbours < 1 or steps < 1:
        raise UserError(f"{neighbours} neighbours and {steps} points of the line, expected at least 1 each")
    if jax.tree.leaves(policy.start(1).memory):
        raise UserError(f"a policy of {policy.algorithm.name} has a memory: one observation does not decide its action")
    where = "given"
    logged = None
    own = -1
    if row is not None:
        own = int(dataset.episode_of[row])
        where = f"step {int(dataset.timesteps[row])} of episode {own}"
        obs = take(dataset.observations, dataset.observation_rows[row : row + 1])[0]
        logged = dataset.actions[row]
        if policy.spec.masked:
            mask = dataset.columns["action_mask"][dataset.observation_rows[row]].astype(bool)
    raw = policy.numbers(obs)
    action = policy.act(raw, mask=mask)[0]
    inside = policy.to_inside(action)
    nearest, near_actions = _nearest(policy, dataset, raw, own, neighbours)
    notes: list[str] = []
    outputs, before, after, parts = _attributed(policy, dataset, raw, inside, mask, steps, notes)
    choices = _choices(policy, raw, mask, action, logged, near_actions, notes)
    return Explanation(
        policy=policy.algorithm.name,
        where=where,
        action=action_text(policy, action),
        logged="" if logged is None else action_text(policy, _outside(policy, logged)),
        support=None if policy.support_model is None else float(policy.support(raw, action, mask=mask)),
        outputs=outputs,
        before=before,
        after=after,
        attributions=_by_column(policy, raw, parts),
        choices=choices,
        nearest=nearest,
        notes=tuple(notes),
    )


def action_text(policy: Policy, action: ArrayLike) -> str:
    """An action in words: its label, or its numbers."""
    values = np.asarray(action)
    if policy.table is not None and policy.table.action.labels is not None:
        labels = policy.table.action.labels
        return ", ".join(str(known[int(code)]) for known, code in zip(labels, np.ravel(values), strict=True))
    if values.dtype.kind == "f":
        return ", ".join(f"{x:.4g}" for x in np.ravel(values))
    return ", ".join(str(x) for x in np.ravel(values))


def _outside(policy: Policy, logged: ArrayLike) -> np.ndarray:
    """A logged action as the policy gives it: parts of several discrete actions."""
    values = np.asarray(logged)
    return values if policy.raw_action_space is None else joint_actions.parts(policy.raw_action_space, values[None])[0]


def _nearest(
    policy: Policy, dataset: Dataset, raw: np.ndarray, own: int, count: int
) -> tuple[tuple[Neighbour, ...], list[np.ndarray]]:
    """The nearest logged states of other episodes, and their actions."""
    mean, std = dataset.observation_moments
    scale = np.where(std > 1e-6 * np.maximum(np.abs(mean), 1e-6), std, 1.0).ravel()
    rows = dataset.observation_rows
    gaps = np.empty(dataset.n_steps)
    for start in range(0, dataset.n_steps, ROWS):
        part = take(dataset.observations, rows[start : start + ROWS]).reshape(-1, len(scale)).astype(np.float64)
        gaps[start : start + ROWS] = np.square((part - np.ravel(raw)) / scale).mean(1)
    gaps[dataset.episode_of == own] = np.inf
    order = np.argsort(gaps, kind="stable")[:count]
    order = order[np.isfinite(gaps[order])]
    later = to_go(dataset.rewards, dataset.offsets, 1.0)
    found = [
        Neighbour(
            int(dataset.episode_of[i]),
            int(dataset.timesteps[i]),
            float(np.sqrt(gaps[i])),
            action_text(policy, _outside(policy, dataset.actions[i])),
            float(dataset.rewards[i]),
            float(later[i]),
        )
        for i in order
    ]
    return tuple(found), [_outside(policy, dataset.actions[i]) for i in order]


def _attributed(
    policy: Policy,
    dataset: Dataset,
    raw: np.ndarray,
    inside: np.ndarray,
    mask: ArrayLike | None,
    steps: int,
    notes: list[str],
) -> tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...], np.ndarray]:
    """Names of the outputs, their values at the mean observation and here, and the attributions [outputs, numbers]."""
    made = _function(policy, inside, mask)
    if made is None:
        notes.append(f"no attribution: {policy.algorithm.name} gives neither probabilities nor values of its actions")
        return (), (), (), np.zeros((0, raw.size))
    names, compute = made
    end = np.asarray(policy.fitted.observe(raw[None]), np.float64)
    start = np.asarray(policy.fitted.observe(dataset.observation_moments[0][None].astype(raw.dtype)), np.float64)
    found, before, after = integrated_gradients(compute, start[0], end[0], steps)
    change = after - before
    missed = np.abs(change - found.sum(1)) > GAP * np.maximum(np.abs(change), 1e-3 * (1 + np.abs(after)))
    if missed.any():
        notes.append("the attributions do not add up to the change of the output: the policy jumps on the way, so read "
                     "them with care")  # fmt: skip
    return names, tuple(before.tolist()), tuple(after.tolist()), found


def integrated_gradients(
    compute: Callable[[jax.Array], jax.Array], start: np.ndarray, end: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Attributions [K, d] of K outputs, and the outputs [K] at both ends.

    Args:
        compute: from treated observations [n, *obs] to outputs [n, K], each row on its own.
        start: treated observation [*obs] where the line begins.
        end: treated observation at its end.
        steps: points on the line, the middles of equal parts.
    """
    shares = ((np.arange(steps) + 0.5) / steps).reshape(-1, *[1] * start.ndim)
    points = jnp.asarray(np.concatenate([start + shares * (end - start), start[None], end[None]]), jnp.float32)

    @jax.jit
    def gradients(points: jax.Array) -> tuple[jax.Array, jax.Array]:
        out, pull = jax.vjp(compute, points)
        each = jax.vmap(lambda one: pull(jnp.broadcast_to(one[None], out.shape))[0])(jnp.eye(out.shape[1]))
        return out, each[:, :-2].mean(1)

    out, mean = gradients(points)
    flat = np.asarray(mean, np.float64).reshape(len(mean), -1) * np.ravel(end - start)
    return flat, np.asarray(out[-2], np.float64), np.asarray(out[-1], np.float64)


def _function(
    policy: Policy, inside: np.ndarray, mask: ArrayLike | None
) -> tuple[tuple[str, ...], Callable[[jax.Array], jax.Array]] | None:
    """Names of the outputs and their function of treated observations, [n, *obs] to [n, K]; None if it has none."""
    algorithm = policy.algorithm
    cfg = config.as_arrays(policy.cfg)
    state = policy.state if policy.whole is None else policy.whole
    step = jnp.int32(policy.info.get("step", 0))
    noise = Noise(jax.random.PRNGKey(0))

    def seen(obs: jax.Array) -> Seen:
        n = obs.shape[0]
        legal = None if mask is None else jnp.broadcast_to(jnp.asarray(mask, bool), (n, policy.spec.action))
        return Seen(obs, jnp.zeros(n), legal, step)

    if not policy.spec.discrete:
        half = jnp.asarray(policy.fitted.half_widths, jnp.float32)

        def act(obs: jax.Array) -> jax.Array:
            memory = algorithm.memory(cfg, policy.spec, obs.shape[0])
            return algorithm.act(cfg, state, seen(obs), memory, noise, "best")[0] * half[None]

        names: Sequence[str] = [f"actions[{i}]" for i in range(policy.spec.action)]
        if policy.table is not None:
            names = policy.table.action.columns
        return tuple(names), act
    chosen = int(inside[0])
    if algorithm.dist is not None:
        dist = algorithm.dist

        def distribution(obs: jax.Array) -> Any:
            return dist(cfg, state, seen(obs), algorithm.memory(cfg, policy.spec, obs.shape[0]))

        if isinstance(jax.eval_shape(distribution, jnp.asarray(policy.spec.blank_obs(1))), Categorical):

            def log_prob(obs: jax.Array) -> jax.Array:
                return distribution(obs).log_probs()[:, chosen : chosen + 1]

            return ("log-probability of the action",), log_prob
    try:
        policy.value(np.zeros(policy.spec.obs_shape, np.float32), mask=mask)
    except UserError:
        return None

    def value(obs: jax.Array) -> jax.Array:
        action = jnp.full(obs.shape[0], chosen, jnp.int32)
        return estimated_value(algorithm, cfg, state, obs, action)[:, None]

    return ("value of the action",), value


def _by_column(policy: Policy, raw: np.ndarray, parts: np.ndarray) -> tuple[Attribution, ...]:
    """Attributions of each column, the largest first."""
    if not len(parts):
        return ()
    flat = np.ravel(raw)
    found = []
    for name, first, width, categories in columns_of(policy):
        total = parts[:, first : first + width].sum(1)
        value = f"{flat[first]:.4g}"
        if categories:
            chosen = flat[first : first + len(categories)]
            value = categories[int(chosen.argmax())] if chosen.max() > 0 else "none of the categories"
        found.append(Attribution(name, value, tuple(total.tolist())))
    scale = np.maximum(np.abs(parts).sum(1), 1e-12)
    return tuple(sorted(found, key=lambda one: -float((np.abs(one.parts) / scale).sum())))


def _choices(
    policy: Policy,
    raw: np.ndarray,
    mask: ArrayLike | None,
    action: np.ndarray,
    logged: np.ndarray | None,
    near: Sequence[np.ndarray],
    notes: list[str],
) -> tuple[Choice, ...]:
    """Every discrete action, or the policy's, the logged and the nearest continuous ones."""
    probabilities = None
    if policy.spec.discrete:
        start = policy.fitted.action_start
        codes = np.arange(policy.spec.action) + start
        candidates = [_outside(policy, code) for code in codes]
        try:
            probabilities = policy.probabilities(raw, mask=mask)
        except UserError as fault:
            notes.append(str(fault))
    else:
        candidates = [np.asarray(action), *([np.asarray(logged)] if logged is not None else []), *near]
    values = None
    try:
        values = [float(policy.value(raw, one, mask=mask)) for one in candidates]
    except UserError as fault:
        notes.append(str(fault))
    found = []
    for i, one in enumerate(candidates):
        same = np.array_equal(one, action)
        note = "chosen" if (same and policy.spec.discrete) or (i == 0 and not policy.spec.discrete) else ""
        if policy.spec.discrete and logged is not None and np.array_equal(one, _outside(policy, logged)):
            note = f"{note}, logged".lstrip(", ")
        if not policy.spec.discrete and i:
            note = "logged" if logged is not None and i == 1 else "near"
        probability = None if probabilities is None else float(probabilities[i])
        found.append(Choice(action_text(policy, one), probability, None if values is None else values[i], note))
    return tuple(found)
