"""Values of a policy from networks: fitted Q evaluation in the training loop, on folds of episodes."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..algorithms import evaluators, fqe, fqe_quantile
from ..core.errors import Diverged, UserError
from ..core.noise import Noise
from ..core.spec import Cfg, Mode, Seen, State
from ..data.arrays import take
from ..data.dataset import Dataset
from ..data.feed.treatment import Fitted
from ..evaluation.ope.aim import Aim
from ..evaluation.ope.model_values import Doubt, ModelValues
from ..policy.policy import Policy
from ..runs.settings import Settings
from ..training.in_memory import train_in_memory
from .arrival import FINE, MOST, fewest_updates, missing_share, rate_for

Kind = Literal["neural", "quantile"]
ALGORITHM = {"neural": "fqe", "quantile": "fqe_quantile"}
PRESET = "tuned_fast"
FOLDS = 2
UPDATES = 20_000
DRAWS = 8  # actions of a stochastic policy at each observation
ROWS = 4096


class Trained(NamedTuple):
    """One trained model: functions of chunks of treated rows."""

    q: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # (obs, action, step) -> [n]
    v: Callable[[jax.Array, jax.Array | None, jax.Array], jax.Array]  # (obs, mask, step) -> [n, 1], or quantiles [n, K]
    fitted: Fitted
    change: float  # of the mean first value over the last tenth of the updates, in treated rewards


def neural_values(
    policy: Policy,
    dataset: Dataset,
    mode: Mode,
    aim: Aim,
    kind: Kind,
    updates: int = UPDATES,
    cluster: np.ndarray | None = None,
) -> ModelValues:
    """Train a model on each fold of the episodes, and give every episode the values of the other fold's model.

    If the updates are too few for the horizon, nothing is trained, unless `aim.force` is set.

    Args:
        policy: the evaluated policy.
        dataset: the log.
        mode: how the policy will act.
        aim: discount, horizon and seed.
        kind: neural (values) or quantile (quantiles of the return).
        updates: updates of each model.
        cluster: [E] numbers of clusters from 0, which are never divided; None: every episode is its own.

    Raises:
        UserError: images, or fewer episodes or clusters than folds.
    """
    if dataset.images:
        raise UserError(f"{dataset.id} has images: fitted Q evaluation needs vectors")
    unit = np.arange(dataset.n_episodes) if cluster is None else cluster
    units = int(unit.max()) + 1
    if units < FOLDS:
        raise UserError(f"{dataset.id} has {units} episodes or clusters: the values of a model need {FOLDS} of them")
    rate = rate_for(updates, aim.discount, aim.horizon)
    missing = missing_share(updates, rate, aim.discount, aim.horizon)
    facts = {"updates": float(updates), "target_rate": rate, "missing": missing}
    faults: list[str] = []
    warnings: tuple[str, ...] = ()
    if missing > FINE:
        length = aim.horizon or 1 / (1 - aim.discount)
        least = fewest_updates(aim.discount, aim.horizon)
        text = f"after {updates} updates {missing:.0%} of the values over {length:.0f} steps are missing: "
        if missing > MOST:
            faults.append(f"{text}at least {least} are needed (--updates)")
        else:
            warnings = (f"{text}{least} are enough (--updates)",)
    q = np.zeros(dataset.n_steps)
    v = np.zeros(len(dataset.observations))
    if faults and not aim.force:
        return ModelValues(kind, q, v, facts, tuple(faults))
    fold = (np.random.default_rng(aim.seed).permutation(units) % FOLDS)[unit]
    scale = 1 / max(float(dataset.rewards.std()), 1e-6)
    treated = _with_rewards(policy, scale)
    quantiles: list[tuple[np.ndarray, np.ndarray]] = []
    changes: list[float] = []  # of the mean first value, by fold
    means: list[float] = []  # of the first values of all episodes, by fold
    firsts = dataset.offsets[:-1] + np.arange(dataset.n_episodes)
    for k in range(FOLDS):
        try:
            model = _train(treated, dataset.select(fold != k), mode, aim, kind, updates, rate)
        except Diverged as fault:
            faults.append(str(fault))
            break
        changes.append(abs(model.change) / scale)
        means.append(float(_v(model, dataset, firsts).mean()) / scale)
        of_row = np.flatnonzero(fold[dataset.episode_of] == k)
        of_seen = np.flatnonzero(np.repeat(fold, dataset.lengths + 1) == k)
        q[of_row] = _q(model, dataset, of_row) / scale
        values = _v(model, dataset, of_seen) / scale
        v[of_seen] = values.mean(1)
        if kind == "quantile":
            starts = np.flatnonzero(np.isin(of_seen, firsts))
            quantiles.append((np.flatnonzero(fold == k), values[starts]))
    change = max(changes, default=0.0)
    between = float(np.ptp(means)) / 2 if means else 0.0  # the standard error of their mean, from two fits
    doubts = (
        Doubt("the values still change in the last tenth of the updates", change, "train longer with --updates"),
        Doubt(
            "the models of the two halves of the log differ from their mean",
            between,
            "more episodes, or a policy nearer to the log",
        ),
    )
    goal = dataset.rewards + aim.discount * v[dataset.observation_rows + 1] * ~dataset.terminations
    facts |= {"change": change, "between_halves": between}
    facts["bellman_error"] = float(np.square(goal - q).mean() / max(goal.var(), 1e-12))
    whole = None
    if quantiles and not faults:
        whole = np.zeros((dataset.n_episodes, quantiles[0][1].shape[1]))
        for episodes, values in quantiles:
            whole[episodes] = values
    return ModelValues(kind, q, v, facts, tuple(faults), warnings=warnings, quantiles=whole, doubts=doubts)


def _with_rewards(policy: Policy, scale: float) -> Policy:
    """The policy with another treatment of rewards, which it does not read because it has no memory."""
    fitted = dataclasses.replace(policy.fitted, reward_scale=scale, reward_shift=0.0)
    return Policy(policy.algorithm, policy.cfg, policy.state, policy.spec, fitted, policy.info)


def _train(policy: Policy, dataset: Dataset, mode: Mode, aim: Aim, kind: Kind, updates: int, rate: float) -> Trained:
    """Train a model of the policy on a part of the log, with a target that moves by `rate` in each update."""
    config: dict[str, Any] = {
        "policy_mode": mode,
        "discount": aim.discount,
        "horizon": aim.horizon or 0,
        "polyak": rate,
    }
    with tempfile.TemporaryDirectory() as folder:
        policy.save(folder)
        settings = Settings.of(
            ALGORITHM[kind],
            preset=PRESET,
            config=config,
            data=dataset.id,
            steps=updates,
            seed=aim.seed,
            inputs={"policy": folder},
            evaluate=False,
        )
        every = max(1, updates // 10)
        values: list[float] = []
        found: Trained | None = None
        for moment in train_in_memory(settings, dataset, every):
            if moment.step < updates - every:
                continue
            state = jax.tree.map(lambda x: jnp.array(x[0]), moment.state)
            cfg = jax.tree.map(lambda x: x[0], moment.cfgs)
            q = partial(_q_of, kind, cfg, state)
            v = partial(_v_of, kind, cfg, state)
            found = Trained(q, v, moment.plan.task.fitted, 0.0)
            starts = dataset.offsets[:-1] + np.arange(dataset.n_episodes)
            values.append(float(_v(found, dataset, starts[:ROWS]).mean()))
    assert found is not None
    return found._replace(change=values[-1] - values[0])


# The state is an argument, so that the models of all folds share one program.
@partial(jax.jit, static_argnames="kind")
def _q_of(kind: Kind, cfg: Cfg, state: State, obs: jax.Array, action: jax.Array, step: jax.Array) -> jax.Array:
    """Q [n] of a chunk of treated rows."""
    found = state.target_critic(evaluators.seen_by_critic(cfg, obs, step), action)
    return found.mean(-1) if kind == "quantile" else found[0] * state.range.length


@partial(jax.jit, static_argnames="kind")
def _v_of(kind: Kind, cfg: Cfg, state: State, obs: jax.Array, mask: jax.Array | None, step: jax.Array) -> jax.Array:
    """V [n, 1] of a chunk of treated observations, or its quantiles [n, K]."""
    noise = Noise(jax.random.PRNGKey(0))
    seen = Seen(obs, jnp.zeros(len(obs)), mask)
    if kind == "neural":
        many = dataclasses.replace(cfg, samples=DRAWS)
        return fqe.policy_value(many, state, state.target_critic, seen, step, noise)[:, None]

    def drawn(i: jax.Array) -> jax.Array:
        return fqe_quantile.policy_quantiles(cfg, state, state.target_critic, seen, step, noise.fold(i))

    count = DRAWS if cfg.policy_mode == "sample" else 1
    return jnp.moveaxis(jax.lax.map(drawn, jnp.arange(count)), 0, 1).reshape(len(obs), -1)


def _q(model: Trained, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Q of some of the N steps, [n], in treated rewards."""
    found = []
    for part, count in _parts(rows):
        obs = model.fitted.observe(take(dataset.observations, dataset.observation_rows[part]))
        action = model.fitted.act_inside(dataset.actions[part])
        values = model.q(jnp.asarray(obs), jnp.asarray(action), jnp.asarray(dataset.timesteps[part]))
        found.append(np.asarray(values, np.float64)[:count])
    return np.concatenate(found) if found else np.zeros(0)


def _v(model: Trained, dataset: Dataset, at: np.ndarray) -> np.ndarray:
    """V of some of the M observations, [n, 1], or its quantiles [n, K], in treated rewards."""
    whole = np.repeat(dataset.offsets[:-1] + np.arange(dataset.n_episodes), dataset.lengths + 1)
    mask = dataset.columns.get("action_mask")
    found = []
    for part, count in _parts(at):
        obs = jnp.asarray(model.fitted.observe(take(dataset.observations, part)))
        legal = None if mask is None else jnp.asarray(mask[part].astype(bool))
        values = model.v(obs, legal, jnp.asarray(part - whole[part]))
        found.append(np.asarray(values, np.float64)[:count])
    return np.concatenate(found) if found else np.zeros((0, 1))


def _parts(rows: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Chunks of one size, so that one program serves all, and how many rows of each are wanted."""
    size = min(ROWS, max(len(rows), 1))
    found = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        found.append((np.pad(part, (0, size - len(part)), mode="edge"), len(part)))
    return found
