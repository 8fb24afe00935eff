"""Spread in the study of agents that learn alone: five learners on logs of several levels.

Every learner is a run in a folder: a finished run is read, an interrupted one is resumed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..algorithms import registry
from ..collection.teams import LEVELS, collect_level
from ..core.contract import Treatment
from ..core.errors import Diverged, UserError, unknown
from ..data.teams.files import load_team, save_team
from ..environments.jax import spread
from ..evaluation.statistics import Estimate
from ..runs.settings import Settings
from ..training.launch import located
from .result import Row
from .runs import finished

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEARNERS: dict[str, tuple[str, Literal["independent"] | None]] = {  # label -> algorithm, and how its agents learn
    "independent BCQ": ("bcq", "independent"),
    "independent CQL": ("cql", "independent"),
    "MABCQ": ("mabcq", "independent"),
    "OMAR": ("omar", "independent"),
    "OMIGA": ("omiga", None),
}
NAMES = tuple(name for name, _ in LEARNERS.values())
KNOWN_LEVELS = (*LEVELS, "mixed")
# the authors' settings of OMAR for each level; a mixed log is closest to their medium-replay
OMAR = {"random": "spread_random", "medium": "spread_expert", "expert": "spread_expert", "mixed": "spread"}
RATE = 1e-3  # of CQL and OMIGA in the small form: the published rates need many more updates
NOTHING = float("nan")
PROBLEM = "spread"
GREY = "#9aa3ad"
PALETTE = (GREY, "#c8502d", "#d9a441", "#1f5fa8", "#4a8f5b", "#7a5aa6")


class Size(NamedTuple):
    """How large this part of the study is."""

    levels: tuple[str, ...]
    learners: tuple[str, ...]  # names of algorithms
    log_episodes: int  # of each log
    steps: int  # updates of a learner
    own_steps: Mapping[str, int]  # of those learners that have another number of updates
    seeds: int
    seed: int
    hidden: tuple[int, ...]
    batch_size: int
    episodes: int  # of an evaluation, for each seed
    published: bool  # whether CQL and OMIGA have their published rates
    runs: Path

    def steps_of(self, name: str) -> int:
        """The updates of a learner."""
        return self.own_steps.get(name, self.steps)


def own_steps(texts: Sequence[str]) -> dict[str, int]:
    """Numbers of updates by learner, from texts NAME=N.

    Raises:
        UserError: another form, an unknown learner, or a number below 1.
    """
    found = {}
    for text in texts:
        name, _, count = text.partition("=")
        if not count.isdecimal() or int(count) < 1:
            raise UserError(f"--learner-steps {text}: expected NAME=N with N from 1, for example mabcq=500")
        if name not in NAMES:
            raise unknown("learner", name, NAMES)
        found[name] = int(count)
    return found


def rows_of(size: Size) -> list[Row]:
    """A row for each log and for each learner on it: its mean team return over seeds and episodes."""
    rows: list[Row] = []
    for level in size.levels:
        path = size.runs / f"{level}-{size.log_episodes}-{size.seed}.npz"
        if not path.exists():
            save_team(collect_level(spread.ID, level, size.log_episodes, size.seed), path)
        logged = float(load_team(path).returns().mean())
        rows.append((PROBLEM, level, "the log", logged, NOTHING, NOTHING, NOTHING, 0, NOTHING, NOTHING))
        for label, (name, agents) in LEARNERS.items():
            if name in size.learners:
                sys.stderr.write(f"{level}: {label}\n")
                reached = trained(level, path, name, agents, size)
                bounds = (NOTHING if x is None else x for x in (reached.low, reached.high))
                steps = size.steps_of(name)
                rows.append((PROBLEM, level, label, reached.value, NOTHING, NOTHING, NOTHING, steps, *bounds))
    if not rows:
        return []
    expert = float(collect_level(spread.ID, "expert", size.episodes, size.seed + 1).returns().mean())
    return [(*row[:4], expert, *row[5:]) for row in rows]


def settings_of(level: str, log: Path, name: str, agents: Literal["independent"] | None, size: Size) -> Settings:
    """The run of a learner on a log. It is evaluated at its end."""
    presets = registry.get(name).presets
    steps = size.steps_of(name)
    config: dict[str, Any] = {"hidden": list(size.hidden), "discount": 0.95, "batch_size": size.batch_size}
    if name in ("bcq", "mabcq"):
        config["vae_hidden"] = list(size.hidden)
    if name == "mabcq":
        config |= {"model_hidden": list(size.hidden), "model_steps": steps // 5}
    if name == "cql":
        config["cloning_steps"] = steps // 5
    if name in ("cql", "omiga") and not size.published:
        config |= {"actor_lr": RATE, "critic_lr": RATE}
    if name == "omiga" and not size.published:
        config["value_lr"] = RATE
    return Settings.of(
        name,
        preset=OMAR[level] if name == "omar" else next(iter(presets)),
        config=config,
        treatment=Treatment()._asdict(),
        data=located(log),
        agents=agents,
        steps=steps,
        seeds=size.seeds,
        seed=size.seed,
        eval_every=steps,
        eval_episodes=size.episodes,
    )


def trained(level: str, log: Path, name: str, agents: Literal["independent"] | None, size: Size) -> Estimate:
    """The team return of a finished run, with its interval over seeds and episodes; NaN if it diverged."""
    try:
        record = finished(settings_of(level, log, name, agents, size), size.runs / level / name)
    except Diverged as error:
        sys.stderr.write(f"{level}, {name}: {error}\n")
        return Estimate(NOTHING, None, None)
    return record.average(list(range(len(record.replicas))))


def notes_of(rows: Sequence[Row]) -> list[str]:
    """A sentence for each level."""
    found = []
    for level in dict.fromkeys(row[1] for row in rows if row[0] == PROBLEM):
        log, *learned = (row for row in rows if row[:2] == (PROBLEM, level))
        texts = [f"{row[2]} {row[3]:.1f} after {row[7]:,} updates" for row in learned]
        found.append(f"spread, {level}: {', '.join([f'the log {log[3]:.1f}', *texts])}; an expert team {log[4]:.1f}.")
    return found


def draw(axis: Axes, rows: Sequence[Row]) -> None:
    """Draw the team return of each learner on each log, with intervals if there are several seeds."""
    own = {(row[1], row[2]): row for row in rows if row[0] == PROBLEM}
    levels = list(dict.fromkeys(str(level) for level, _ in own))
    names = list(dict.fromkeys(name for _, name in own))
    width = 0.8 / len(names)
    for k, name in enumerate(names):
        each = [own[level, name] for level in levels]
        value, low, high = (np.array([row[i] for row in each], float) for i in (3, 8, 9))
        at = np.arange(len(levels)) + k * width
        axis.bar(at, value, width, label=name, color=PALETTE[k % len(PALETTE)])
        axis.errorbar(at, value, [value - low, high - value], fmt="none", color="#22272e", linewidth=0.8)
    axis.axhline(float(next(iter(own.values()))[4]), color="#22272e", linewidth=0.8)
    axis.set_xticks(np.arange(len(levels)) + 0.4 - width / 2, levels)
    axis.set_title("spread: team return (line: expert)", loc="left", fontsize=10)
    axis.legend(frameon=False, fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.1))
