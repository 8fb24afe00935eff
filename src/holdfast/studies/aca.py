"""Actor-critic alignment through its three stages, beside what goes online without it (Yu and Zhang 2023).

Four learners go from the same log to the same environment, with the same networks, batch and seeds: ACA; the same
offline run taken online by plain SAC with its offline critic ("ACA, not aligned"); SAC run offline and then online; and
CQL, then SAC. How far a critic and its policy agree is the rank correlation of Q(s, a) with log pi(a|s) over actions of
one state, half of them the policy's draws and half uniform: a critic that ranks them otherwise moves the policy.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..algorithms import aca_online
from ..core import config as config_of
from ..core.contract import Context
from ..core.errors import UserError
from ..core.noise import Noise
from ..data.sources import load_dataset
from ..policy.policy import Policy, template_of
from ..report.curves import COLOURS, LINE
from ..runs.folder import RunFolder
from ..runs.read import Record
from ..training import handover
from ..training.finetune import finetuning
from . import runs
from .result import Result

ACA, RAW, SAC, CQL = "ACA", "ACA, not aligned", "SAC", "CQL, then SAC"
CLAIM = (
    "The paper's claim: the critic that offline training leaves does not rank actions as the policy does, and going "
    "online with it costs the policy its return; a critic rebuilt from the policy keeps it, and SAC then improves it."
)
HEADER = ("method", "stage", "steps", "return", "low", "high", "rank correlation")
STATES, DRAWS = 200, 16  # of a rank correlation: states of the log, and actions of each kind in each


@dataclasses.dataclass(frozen=True)
class Args:
    """ACA's stages beside SAC without alignment, SAC throughout, and CQL followed by SAC; and Q against log pi."""

    paper: bool = False
    """The paper's size: Hopper, medium; 500 000 updates, 100 000 steps, 5 seeds, 256-256; a day on two cores."""
    data: str | None = None
    """A log with continuous actions; bundled/pendulum-mixed where not given."""
    updates: int | None = None
    """Of stage 1, and of the other methods offline; 10 000."""
    align: int | None = None
    """Updates of stage 2; 5 000."""
    steps: int | None = None
    """Environment steps online; 5 000."""
    seeds: int | None = None
    """How many; 5."""
    seed: int = 0
    """The first."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers; 64 64."""
    runs: Path = Path("studies/runs/aca")
    """Where the runs stand: finished ones are read, stopped ones go on."""


class Size(NamedTuple):
    """How large the study is."""

    data: str
    updates: int
    align: int
    steps: int
    seeds: int
    seed: int
    hidden: tuple[int, ...]
    episodes: int  # of an evaluation, for each seed
    candidates: int  # of CQL's penalty: actions of each kind a row, which are most of the study's cost


QUICK = Size("bundled/pendulum-mixed", 10_000, 5_000, 5_000, 5, 0, (64, 64), 20, 3)
PAPER = Size("mujoco/hopper/medium-v0", 500_000, 100_000, 100_000, 5, 0, (256, 256), 10, 10)
EVALUATIONS = 20  # in the course of the online part


def size_of(args: Args) -> Size:
    """The size that the flags ask for.

    Raises:
        UserError: numbers out of range.
    """
    asked = {name: getattr(args, name, None) for name in Size._fields}
    given = {name: value for name, value in asked.items() if value is not None}
    size = (PAPER if args.paper else QUICK)._replace(**given)
    least = {"updates": 1, "align": 1, "steps": EVALUATIONS, "seeds": 1}
    faults = [
        f"{name} is {getattr(size, name)}, expected at least {n}"
        for name, n in least.items()
        if getattr(size, name) < n
    ]
    if faults:
        raise UserError("; ".join(faults))
    return size


class Method(NamedTuple):
    """One way from the log into the environment."""

    label: str
    algorithm: str
    offline: dict[str, Any]  # settings of the offline run
    online: dict[str, Any]  # what changes online
    preset: str | None = None  # of the offline run


def methods(size: Size) -> tuple[Method, ...]:
    """ACA's prior falls to half within the first fifth of the online steps, as in the paper on medium data."""
    own = {"z_schedule": "separate", "align_steps": size.align, "online_decay_steps": max(1, size.steps * 2 // 5)}
    return (
        Method(ACA, "aca", own, {}),
        Method(RAW, "aca", own, {"online_critic": "offline"}),
        Method(SAC, "sac", {}, {}),
        Method(CQL, "cql", {"cloning_steps": size.updates // 20, "n_actions": size.candidates}, {}, "mujoco"),
    )


class Found(NamedTuple):
    """What a method came to."""

    offline: Record
    online: Record
    ranks: dict[str, float]  # stage -> rank correlation, mean over states and seeds
    points: dict[
        str, np.ndarray
    ]  # stage -> log pi and Q of the first seed, less those of the policy's draws: [2, K, S]


def learn(method: Method, size: Size, folder: Path) -> tuple[Record, Record]:
    """The offline and the online run of a method: trained, resumed, or read where they are finished.

    Raises:
        UserError: runs of other settings stand there, or anything that `train` and `finetune` refuse.
    """
    first, second = folder / method.algorithm, folder / f"{method.label.replace(', ', '-').replace(' ', '-')}-online"
    same: dict[str, Any] = {"seeds": size.seeds, "seed": size.seed, "eval_episodes": size.episodes}
    arm = runs.Arm(method.label, method.algorithm, {"hidden": size.hidden, **method.offline}, method.preset)
    offline = runs.learn_offline(arm, size.data, first, steps=size.updates, evaluations=5, **same)
    every = size.steps // EVALUATIONS

    settings = dataclasses.replace(
        finetuning(first, method.online), steps=size.steps, eval_every=every, block=every, eval_episodes=size.episodes
    )
    return offline, runs.finished(settings, second)


def study(method: Method, size: Size, folder: Path, obs: np.ndarray) -> Found:
    """Both runs of a method, and how its critic and policy agree at each stage; obs [S, d] raw, of the log."""
    offline, online = learn(method, size, folder)
    ranks: dict[str, float] = {}
    points: dict[str, np.ndarray] = {}
    stages = [("offline", offline)] + ([("aligned", offline)] if method.label == ACA else []) + [("online", online)]
    for stage, record in stages:
        policy, states = ended(record)
        cfg, seen = config_of.as_arrays(policy.cfg), jnp.asarray(policy.fitted.observe(obs), jnp.float32)
        keys = jax.random.split(jax.random.PRNGKey(size.seed), size.seeds)
        if stage == "aligned":
            ctx = Context(policy.spec)
            enter = functools.partial(aca_online.enter, cfg, ctx=ctx, noise=Noise(keys[0]))
            states = jax.jit(jax.vmap(lambda s, enter=enter: enter(s)))(states)
        at = 0 if stage == "aligned" else size.steps
        given = jax.jit(jax.vmap(lambda s, k, cfg=cfg, seen=seen, at=at: values(cfg, s, seen, k, at)))(states, keys)
        log_prob, q = np.asarray(given, np.float64)  # [R, K, S]
        ranks[stage] = float(rank_correlation(log_prob, q).mean())
        points[stage] = np.stack([x[0] - x[0, :DRAWS].mean(0) for x in (log_prob, q)])
    return Found(offline, online, ranks, points)


def ended(record: Record) -> tuple[Policy, Any]:
    """The first replica's policy at the end of a run, and the states of all with their critics, leaves [R, ...]."""
    folder = RunFolder(record.path)
    policy = Policy.load(folder.policy_folders(record.replicas)[0])
    one = template_of(policy.algorithm, policy.cfg, policy.spec, policy.info)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct((len(record.replicas), *x.shape), x.dtype), one)
    return policy, handover.read({"run": str(record.path), "step": None}, like)


def values(cfg: Any, state: Any, obs: jax.Array, key: jax.Array, step: Any) -> tuple[jax.Array, jax.Array]:
    """log pi(a|s) and Q(s, a) of K actions in each of S states, the policy's draws first: [K, S] each."""
    many = jnp.broadcast_to(obs, (DRAWS, *obs.shape))
    law, keys = state.actor.net(many), jax.random.split(key)
    drawn = law.sample(jax.random.normal(keys[0], law.mean.shape))
    action = jnp.concatenate([drawn, jax.random.uniform(keys[1], law.mean.shape, minval=-1.0)])
    many = jnp.concatenate([many, many])
    q = state.critic.net(many, action).min(0)
    if isinstance(state, aca_online.Online):
        q = q + aca_online.prior(cfg, state, step, many, action)
    return state.actor.net(many).log_prob(action), q


def rank_correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's, over the last axis but one: [..., K, S] to [..., S]."""
    ranks = [np.argsort(np.argsort(v, -2), -2).astype(float) for v in (x, y)]
    a, b = (r - r.mean(-2, keepdims=True) for r in ranks)
    return (a * b).sum(-2) / np.sqrt((a * a).sum(-2) * (b * b).sum(-2))


def rows_of(method: Method, size: Size, found: Found) -> list[tuple[Any, ...]]:
    """A row for each stage: returns with their 95 % interval over seeds and episodes."""
    everyone = list(range(size.seeds))
    before, after = (record.over_seeds(everyone) for record in (found.offline, found.online))
    steps, low = found.offline.eval_steps, int(after[0][1:].argmin()) + 1
    learned = int(np.abs(steps - size.updates).argmin())
    rows = [("offline", int(steps[learned]), *(x[learned] for x in before), found.ranks["offline"])]
    if method.label == ACA:
        rows.append(("aligned", int(steps[-1]), *(x[-1] for x in before), found.ranks["aligned"]))
    rows.append(("lowest online", int(found.online.eval_steps[low]), *(x[low] for x in after), ""))
    rows.append(("online", int(found.online.eval_steps[-1]), *(x[-1] for x in after), found.ranks["online"]))
    return [(method.label, *(float(x) if isinstance(x, np.floating) else x for x in row)) for row in rows]


def run(args: Args | None = None) -> Result:
    """The whole study.

    Raises:
        UserError: numbers out of range, data that these methods do not take, or runs of other settings where these
            would stand.
    """
    args = Args() if args is None else args
    size = size_of(args)
    data = load_dataset(size.data)
    picked = np.random.default_rng(size.seed).integers(0, data.n_steps, STATES)
    obs = np.asarray(data.observations)[data.observation_rows[picked]]
    made = methods(size)
    found = {method.label: study(method, size, args.runs, obs) for method in made}
    return Result(
        "aca",
        "Actor-critic alignment, from offline to online",
        {**size._asdict(), "methods": [m._asdict() for m in made], "runs": str(args.runs)},
        HEADER,
        [row for method in made for row in rows_of(method, size, found[method.label])],
        [CLAIM, *seen(found, size)],
        lambda figure: draw(figure, found),
    )


def seen(found: dict[str, Found], size: Size) -> list[str]:
    """What the runs say."""
    aca, told = found[ACA], []
    for label, each in found.items():
        fell = (each.online.result or {})["finetune"]
        told.append(
            f"{label} {fell['return_before']:.1f} at the switch, {fell['return_lowest']:.1f} at the lowest "
            f"(step {fell['lowest_step']}), {fell['return_end']:.1f} at the end"
        )
    others = "; ".join(
        f"less {label} {runs.verdict(runs.gain(aca.online, each.online))}"
        for label, each in found.items()
        if label != ACA
    )
    ranks = aca.ranks
    return [
        f"Seen on {size.data}, {size.seeds} seeds, mean returns: {'; '.join(told)}.",
        f"Mean over the online evaluations, seed by seed: ACA {others}.",
        f"Rank correlation of Q with log pi in ACA's runs: {ranks['offline']:.2f} of the offline critic, "
        f"{ranks['aligned']:.2f} after alignment, {ranks['online']:.2f} at the end.",
    ]


STAGES = {"offline": "offline critic", "aligned": "after alignment", "online": "at the end, online"}


def draw(figure: Any, found: dict[str, Found]) -> None:
    """Above the returns offline and online, below Q against log pi of ACA's first seed at each stage."""
    figure.set_size_inches(11, 8)
    grid = figure.add_gridspec(2, 6)
    left = figure.add_subplot(grid[0, :3])
    right = figure.add_subplot(grid[0, 3:], sharey=left)
    for (label, each), colour in zip(found.items(), COLOURS, strict=False):
        style = "--" if label == RAW else "-"
        if label != RAW:  # its offline run is ACA's
            runs.draw_curve(left, each.offline, label, colour)
        runs.draw_curve(right, each.online, label, colour, style)
    runs.dress(left, "offline (ACA's last part is the alignment)", "return of an episode")
    runs.dress(right, "online", "")
    left.set_xlabel("updates")
    for i, (stage, title) in enumerate(STAGES.items()):
        axis = figure.add_subplot(grid[1, 2 * i : 2 * i + 2])
        log_prob, q = found[ACA].points[stage]
        for part, name, colour in ((slice(DRAWS, None), "uniform", COLOURS[3]), (slice(DRAWS), "policy's", COLOURS[0])):
            axis.scatter(
                log_prob[part].ravel(), q[part].ravel(), s=4, alpha=0.25, color=colour, label=name, linewidths=0
            )
        axis.axvline(0, color=LINE, linewidth=0.8)
        runs.dress(
            axis,
            f"{title}: rank correlation {found[ACA].ranks[stage]:.2f}",
            "Q, less that of the policy's draws" * (not i),
        )
        axis.set_xlabel("log pi, less that of the policy's draws")
        axis.set_xscale("symlog", linthresh=1)  # a peaked policy gives uniform actions a density of e^-10 000
        axis.set_xticks([-1e4, -1e2, -1, 1, 1e2], ["-10k", "-100", "-1", "1", "100"])
        axis.axhline(0, color=LINE, linewidth=0.8)
        if not i:
            axis.legend(frameon=False, fontsize=8, markerscale=3, title="actions", title_fontsize=8)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
