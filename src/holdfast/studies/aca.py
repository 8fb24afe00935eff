"""Actor-critic alignment through its three stages, compared with methods that go online without it (Yu and Zhang 2023).

Four methods learn from the same log and then in the same environment, with the same networks, batch size and seeds:
ACA; ACA's offline run continued online by plain SAC with the offline critic ("ACA, not aligned"); SAC offline and then
online; and CQL offline, then SAC online. The agreement of a critic with its policy is measured by the rank correlation
of Q(s, a) with log pi(a|s) over several actions in one state: half are draws from the policy, half are uniform. A
critic that ranks the actions differently moves the policy away from what it learned offline.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..algorithms import aca_online
from ..core import config as config_of
from ..core.contract import Context
from ..core.noise import Noise
from ..core.trained import Trained
from ..data.sources import load_dataset
from ..policy.contents import template_of
from ..policy.policy import Policy
from ..report.drawing import COLOURS, LINE
from ..runs.folder import RunFolder
from ..runs.read import Record
from ..training import handover
from ..training.finetune import finetuning
from . import base, pictures, runs
from .result import Result, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACA = "ACA"
RAW = "ACA, not aligned"
SAC = "SAC"
CQL = "CQL, then SAC"
CLAIM = (
    "The paper's claim: the critic that offline training leaves does not rank actions as the policy does, and the "
    "policy loses return when it goes online with this critic. A critic rebuilt from the policy preserves the return, "
    "and SAC then improves it."
)
HEADER = ("method", "stage", "steps", "return", "low", "high", "rank correlation")
STATES = 200  # states of the log for a rank correlation
DRAWS = 16  # actions of each kind (policy's, uniform) in each state
OFFLINE_EVALUATIONS = 5


@dataclasses.dataclass(frozen=True)
class Args:
    """Compare ACA's stages with SAC without alignment, SAC throughout, and CQL then SAC; and Q with log pi."""

    paper: bool = False
    """Use the paper's size: Hopper medium, 500 000 updates, 100 000 steps, 5 seeds, 256-256; a day on two cores."""
    data: str | None = None
    """A log with continuous actions. Default: bundled/pendulum-mixed."""
    updates: int | None = None
    """Updates of ACA's stage 1, and of the other methods offline. Default: 10 000."""
    align: int | None = None
    """Updates of ACA's stage 2. Default: 5 000."""
    steps: int | None = None
    """Environment steps online. Default: 5 000."""
    seeds: int | None = None
    """Number of seeds. Default: 5."""
    seed: int = 0
    """The first seed."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers. Default: 64 64."""
    runs: Path = Path("studies/runs/aca")
    """Folder of the runs. Finished runs are read, interrupted runs are resumed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size(base.Size):
    """The size of this study; `steps` and `evaluations` are those of the online part.

    Attributes:
        data: name or path of the log.
        updates: updates of stage 1, and of the other methods offline.
        align: updates of stage 2.
        candidates: actions of each kind for each row in CQL's penalty; most of the study's time is spent on them.
    """

    data: str
    updates: int
    align: int
    candidates: int

    def minimum(self) -> Mapping[str, int]:
        """The smallest allowed value of each number."""
        return {"updates": 1, "align": 1, "steps": self.evaluations, "seeds": 1}


QUICK = Size(
    data="bundled/pendulum-mixed", updates=10_000, align=5_000, steps=5_000, seeds=5, hidden=(64, 64), evaluations=20,
    episodes=20, candidates=3,
)  # fmt: skip
PAPER = Size(
    data="mujoco/hopper/medium-v0", updates=500_000, align=100_000, steps=100_000, seeds=5, hidden=(256, 256),
    evaluations=20, episodes=10, candidates=10,
)  # fmt: skip


class Method(NamedTuple):
    """One way from the log into the environment."""

    label: str
    algorithm: str
    offline: dict[str, Any]  # settings of the offline run
    online: dict[str, Any]  # settings that change online
    preset: str | None = None  # preset of the offline run; None: the published settings


def methods(size: Size) -> tuple[Method, ...]:
    """The four methods. ACA's prior falls to half within the first fifth of the online steps, as in the paper."""
    own = {"align_steps": size.align, "online_decay_steps": max(1, size.steps * 2 // 5)}
    separate = runs.preset_of("aca", "tuned_separate")  # Z has its own phase, as the paper writes it
    return (
        Method(ACA, "aca", own, {}, separate),
        Method(RAW, "aca", own, {"online_critic": "offline"}, separate),
        Method(SAC, "sac", {}, {}, runs.preset_of("sac", "tuned_online")),
        Method(CQL, "cql", {"cloning_steps": size.updates // 20, "n_actions": size.candidates}, {}, "mujoco"),
    )


class Outcome(NamedTuple):
    """The runs of a method, and how its critic and policy agree at each stage."""

    offline: Record
    online: Record
    ranks: dict[str, float]  # stage -> rank correlation, mean over states and seeds
    points: dict[str, np.ndarray]  # stage -> [2, K, S], log pi and Q of the first seed, less the mean of the draws


def learn(method: Method, size: Size, folder: Path) -> tuple[Record, Record]:
    """The offline and the online run of a method: trained, resumed, or read.

    Raises:
        UserError: `folder` contains runs with other settings, or anything that `train` and `finetune` raise.
    """
    first = folder / method.algorithm
    second = folder / f"{method.label.replace(', ', '-').replace(' ', '-')}-online"
    arm = runs.Arm(method.label, method.algorithm, {"hidden": size.hidden, **method.offline}, method.preset)
    offline = runs.learn(
        arm, first, size, data=size.data, steps=size.updates, evaluations=OFFLINE_EVALUATIONS
    )  # fmt: skip
    every = size.steps // size.evaluations

    settings = dataclasses.replace(
        finetuning(first, method.online), steps=size.steps, eval_every=every, block=every, eval_episodes=size.episodes
    )
    return offline, runs.finished(settings, second)


def study(method: Method, size: Size, folder: Path, obs: np.ndarray) -> Outcome:
    """Train a method and measure how its critic and policy agree at each stage.

    Args:
        method: the method.
        size: the size of the study.
        folder: folder of the runs.
        obs: [S, d], raw observations of the log.
    """
    offline, online = learn(method, size, folder)
    ranks: dict[str, float] = {}
    points: dict[str, np.ndarray] = {}
    stages = [("offline", offline)] + ([("aligned", offline)] if method.label == ACA else []) + [("online", online)]
    for stage, record in stages:
        policy, states = last_states(record)
        cfg = config_of.as_arrays(policy.cfg)
        seen = jnp.asarray(policy.fitted.observe(obs), jnp.float32)
        keys = jax.random.split(jax.random.PRNGKey(size.seed), size.seeds)
        if stage == "aligned":
            ctx = Context(policy.spec)
            enter = functools.partial(aca_online.enter, cfg, ctx=ctx, noise=Noise(keys[0]))
            states = jax.jit(jax.vmap(lambda s, enter=enter: enter(s)))(states)
        at = 0 if stage == "aligned" else size.steps
        both = jax.jit(jax.vmap(lambda s, k, cfg=cfg, seen=seen, at=at: values(cfg, s, seen, k, at)))(states, keys)
        log_prob, q = np.asarray(both, np.float64)  # [R, K, S]
        ranks[stage] = float(rank_correlation(log_prob, q).mean())
        points[stage] = np.stack([x[0] - x[0, :DRAWS].mean(0) for x in (log_prob, q)])
    return Outcome(offline, online, ranks, points)


Config = Any  # a config of any algorithm of this study


class ActorCritic(Protocol):
    """The state of any method of this study."""

    actor: Trained
    critic: Trained


def last_states(record: Record) -> tuple[Policy, ActorCritic]:
    """The first replica's policy at the end of a run, and the states of all replicas, leaves [R, ...]."""
    folder = RunFolder(record.path)
    policy = Policy.load(folder.policy_folders(record.replicas)[0])
    one = template_of(policy.algorithm, policy.cfg, policy.spec, policy.info, Policy.load)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct((len(record.replicas), *x.shape), x.dtype), one)
    return policy, handover.read({"run": str(record.path), "step": None}, like)


def values(cfg: Config, state: ActorCritic, obs: jax.Array, key: jax.Array, step: int) -> tuple[jax.Array, jax.Array]:
    """log pi(a|s) and Q(s, a) of K actions in each of S states: [K, S] each.

    The first half of the actions are draws from the policy, the second half are uniform.
    """
    many = jnp.broadcast_to(obs, (DRAWS, *obs.shape))
    dist = state.actor.net(many)
    keys = jax.random.split(key)
    drawn = dist.sample(jax.random.normal(keys[0], dist.mean.shape))
    action = jnp.concatenate([drawn, jax.random.uniform(keys[1], dist.mean.shape, minval=-1.0)])
    many = jnp.concatenate([many, many])
    q = state.critic.net(many, action).min(0)
    if isinstance(state, aca_online.Online):
        q = q + aca_online.prior(cfg, state, step, many, action)
    return state.actor.net(many).log_prob(action), q


def rank_correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation over the second to last axis: [..., K, S] to [..., S]."""
    ranks = [np.argsort(np.argsort(v, -2), -2).astype(float) for v in (x, y)]
    a, b = (r - r.mean(-2, keepdims=True) for r in ranks)
    return (a * b).sum(-2) / np.sqrt((a * a).sum(-2) * (b * b).sum(-2))


def rows_of(method: Method, size: Size, found: Outcome) -> list[Row]:
    """A row for each stage: the return with its 95 % interval over seeds and episodes, and the rank correlation."""
    everyone = list(range(size.seeds))
    before = found.offline.over_seeds(everyone)
    after = found.online.over_seeds(everyone)
    steps = found.offline.eval_steps
    learned = int(np.abs(steps - size.updates).argmin())
    low = int(after[0][1:].argmin()) + 1

    def row(stage: str, at: int, where: tuple[np.ndarray, ...], i: int, rank: float | str) -> Row:
        return (method.label, stage, at, *(float(x[i]) for x in where), rank)

    rows = [row("offline", int(steps[learned]), before, learned, found.ranks["offline"])]
    if method.label == ACA:
        rows.append(row("aligned", int(steps[-1]), before, -1, found.ranks["aligned"]))
    rows.append(row("lowest online", int(found.online.eval_steps[low]), after, low, ""))
    rows.append(row("online", int(found.online.eval_steps[-1]), after, -1, found.ranks["online"]))
    return rows


def run(args: Args | None = None) -> Result:
    """Run the whole study.

    Raises:
        UserError: a number is out of range, the methods cannot use the data, or `args.runs` contains runs with other
            settings.
    """
    args = Args() if args is None else args
    size = base.size_of(args, QUICK, PAPER)
    data = load_dataset(size.data)
    picked = np.random.default_rng(size.seed).integers(0, data.n_steps, STATES)
    obs = np.asarray(data.observations)[data.observation_rows[picked]]
    compared = methods(size)
    found = {method.label: study(method, size, args.runs, obs) for method in compared}
    return Result(
        "aca",
        "Actor-critic alignment, from offline to online",
        {**dataclasses.asdict(size), "methods": [m._asdict() for m in compared], "runs": str(args.runs)},
        HEADER,
        [row for method in compared for row in rows_of(method, size, found[method.label])],
        [CLAIM, *summary(found, size)],
        lambda figure: draw(figure, found),
    )


def summary(found: dict[str, Outcome], size: Size) -> list[str]:
    """What the runs show, in sentences."""
    own = found[ACA]
    switches = []
    for label, each in found.items():
        fell = (each.online.result or {})["finetune"]
        switches.append(
            f"{label} {fell['return_before']:.1f} at the switch, {fell['return_lowest']:.1f} at the lowest "
            f"(step {fell['lowest_step']}), {fell['return_end']:.1f} at the end"
        )
    others = "; ".join(
        f"less {label} {runs.verdict(runs.gain(own.online, each.online))}"
        for label, each in found.items()
        if label != ACA
    )
    ranks = own.ranks
    return [
        f"Observed on {size.data}, {size.seeds} seeds, mean returns: {'; '.join(switches)}.",
        f"Mean over the online evaluations, paired by seed: ACA {others}.",
        f"Rank correlation of Q with log pi in ACA's runs: {ranks['offline']:.2f} for the offline critic, "
        f"{ranks['aligned']:.2f} after alignment, {ranks['online']:.2f} at the end.",
    ]


STAGES = {"offline": "offline critic", "aligned": "after alignment", "online": "at the end, online"}


def draw(figure: Figure, found: dict[str, Outcome]) -> None:
    """Draw the returns offline and online; and, below, Q against log pi of ACA's first seed at each stage."""
    figure.set_size_inches(11, 8)
    grid = figure.add_gridspec(2, 6)
    left = figure.add_subplot(grid[0, :3])
    right = figure.add_subplot(grid[0, 3:], sharey=left)
    for (label, each), colour in zip(found.items(), COLOURS, strict=False):
        if label != RAW:  # its offline run is ACA's
            pictures.draw_curve(left, each.offline, label, colour)
        pictures.draw_curve(right, each.online, label, colour, "--" if label == RAW else "-")
    pictures.dress(left, "offline (ACA's last part is the alignment)", "return of an episode", "updates")
    pictures.dress(right, "online", "")
    for i, (stage, title) in enumerate(STAGES.items()):
        axis = figure.add_subplot(grid[1, 2 * i : 2 * i + 2])
        draw_agreement(
            axis, found[ACA].points[stage], f"{title}: rank correlation {found[ACA].ranks[stage]:.2f}", not i
        )
    pictures.legend_below(figure, right, 4)


def draw_agreement(axis: Axes, points: np.ndarray, title: str, first: bool) -> None:
    """Draw Q against log pi, `points` [2, K, S]; the first panel has the label of the axis and the legend."""
    log_prob, q = points
    for part, name, colour in ((slice(DRAWS, None), "uniform", COLOURS[3]), (slice(DRAWS), "policy's", COLOURS[0])):
        axis.scatter(log_prob[part].ravel(), q[part].ravel(), s=4, alpha=0.25, color=colour, label=name, linewidths=0)
    axis.axvline(0, color=LINE, linewidth=0.8)
    axis.axhline(0, color=LINE, linewidth=0.8)
    ylabel = "Q, less the mean of the policy's draws" if first else ""
    pictures.dress(axis, title, ylabel, "log pi, less the mean of the policy's draws")
    axis.set_xscale("symlog", linthresh=1)  # a narrow policy gives uniform actions a log density of -10 000
    axis.set_xticks([-1e4, -1e2, -1, 1, 1e2], ["-10k", "-100", "-1", "1", "100"])
    if first:
        axis.legend(frameon=False, fontsize=8, markerscale=3, title="actions", title_fontsize=8)
