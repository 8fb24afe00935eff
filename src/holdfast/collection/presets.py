"""Logs as papers describe them: BCQ's four regimes, D4RL's levels, or plain episodes of one behaviour."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..algorithms import registry
from ..core.errors import UserError, unknown
from ..data.convert import convert
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..environments.gym.adapter import make_env, name_of
from ..environments.gym.workers import TIMEOUT
from ..evaluation.evaluate import environment_of
from ..policy.folder import policies_in
from ..policy.policy import Policy
from ..runs.folder import RunFolder
from ..runs.settings import Settings, resolve
from ..training.hooks import Hook
from ..training.run import ensure_finished
from . import from_run, play
from .behaviours import Behaviour, noisy, of_policy, of_zip, uniform

# BCQ's regimes (arXiv:1812.02900, section 5), then D4RL's levels (arXiv:2004.07219)
PRESETS = {
    "final-buffer": "everything that DDPG collects with noise of 0.5, in order (discrete actions: DQN, epsilon 0.5)",
    "concurrent": "the same with noise of 0.1; holdfast train ... --growing 1 learns from it as if beside it",
    "imitation": "an expert's transitions",
    "imperfect": "an expert with 30 % uniform actions, and normal noise of 0.3 on the others",
    "random": "uniform actions",
    "medium": "the first policy of a run that is a third of the way from random actions to its last policy",
    "medium-replay": "everything that the run had collected when it came to that policy",
    "medium-expert": "half medium, half expert",
    "expert": "the run's last policy",
}
REPLAYS = {"final-buffer": 0.5, "concurrent": 0.1}
LEVELS = ("medium", "medium-replay", "medium-expert", "expert")
EVALUATIONS = 20  # of a run for levels: policies to choose the medium one from
EPISODES = 5  # of each


@dataclasses.dataclass(frozen=True)
class Asked:
    """A log to be made; see the flags of `holdfast data collect`."""

    by: str | None = None
    preset: str | None = None
    env: str | None = None
    steps: int | None = None
    episodes: int | None = None
    seed: int = 0
    mode: str = "best"
    random_actions: float = 0.0
    noise: float = 0.0
    replica: int = 0
    sb3: str | None = None
    train_steps: int = 100_000
    agent: Path | None = None
    workers: int = 0
    worker_timeout: float = TIMEOUT
    config: dict[str, Any] = dataclasses.field(default_factory=dict)  # of an agent that a preset trains: its settings

    def told(self) -> dict[str, Any]:
        """What was asked for, JSON-ready."""
        how = ("workers", "worker_timeout")  # the log is the same without
        found = {k: v for k, v in dataclasses.asdict(self).items() if v is not None and k not in how}
        return found | ({"agent": str(self.agent)} if self.agent else {})

    @property
    def processes(self) -> dict[str, Any]:
        """In which the environments are stepped."""
        return {"workers": self.workers, "worker_timeout": self.worker_timeout}

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            UserError: all faults in one line.
        """
        if self.preset is not None and self.preset not in PRESETS:
            raise unknown("preset of data collect", self.preset, PRESETS)
        faults, disturbed = [], bool(self.random_actions or self.noise)
        if self.preset is not None and (disturbed or self.mode != "best"):
            faults.append(f"--preset {self.preset} says how to act: leave --random-actions, --noise and --mode out")
        if self.preset in ("imitation", "imperfect") and self.by is None:
            faults.append(f"--preset {self.preset} needs an expert: name a run, a policy or a zip with --by")
        if self.preset == "random" and self.by not in (None, "random"):
            faults.append("--preset random has uniform actions: leave --by out")
        if self.steps is not None and self.episodes is not None:
            faults.append("--steps and --episodes say the same in two ways: leave one out")
        if self.episodes is not None and self.preset in (*REPLAYS, "medium-replay"):
            faults.append(f"--preset {self.preset} takes steps as they were collected: give --steps, not --episodes")
        if faults:
            raise UserError("; ".join(faults))


def standing(asked: Asked, id: str, path: Path, hooks: Sequence[Hook] = ()) -> Dataset:
    """The log of that request in a file: made where there is none, and read where it is there.

    Raises:
        UserError: a log of another request stands there, or anything that making it refuses.
    """
    if not path.is_file():
        convert(make(asked, id, hooks), path)
    made, wanted = load_dataset(str(path)), json.loads(json.dumps(asked.told()))
    was = dict(made.provenance.get("request", {}))
    other = [f"{n} {was.get(n)} instead of {wanted.get(n)}" for n in {**was, **wanted} if was.get(n) != wanted.get(n)]
    if other:
        raise UserError(f"{path} is a log of other settings ({', '.join(other)}): name another folder, or remove it")
    return made


def make(asked: Asked, id: str, hooks: Sequence[Hook] = ()) -> Dataset:
    """Make a log, with where it is from and what its returns refer to.

    Args:
        asked: what.
        id: its name.
        hooks: watchers of the training that a preset may need.

    Raises:
        UserError: a mistake in what is asked, or anything that training or acting refuse.
    """
    asked.check()
    request = asked.told()
    expert: Behaviour | None
    if asked.preset in REPLAYS:
        asked, found, expert = _replayed(asked, id, hooks)
    elif asked.preset in LEVELS:
        asked, found, expert = _level(asked, id, hooks)
    else:
        asked, found, expert = _played(asked, id)
    env = str(asked.env)
    measured = play.references(env, expert, asked.seed, **asked.processes)
    what = PRESETS.get(asked.preset or "", "collected by holdfast")
    provenance = {
        **found.provenance,
        "description": f"{asked.preset or asked.by or 'random'}: {what}",
        "request": request,
        "asked": asked.told(),
        "measured_returns": measured,
        "versions": found.provenance.get("versions") or play.versions(),
    }
    return dataclasses.replace(
        found, id=id, reference=play.reference_of(env, measured), provenance=json.loads(json.dumps(provenance))
    )


def behaviour_of(asked: Asked) -> tuple[Behaviour, str | None]:
    """Who `by` names, and the environment that it knows of.

    Raises:
        UserError: nothing of that name, or a zip without `sb3`.
    """
    if asked.by in (None, "random"):
        return uniform(), None
    path = Path(str(asked.by)).expanduser()
    if path.suffix == ".zip":
        if asked.sb3 is None:
            raise UserError(f"{path} does not say which agent it is: name its algorithm, --sb3 ddpg for instance")
        return of_zip(path, asked.sb3, asked.mode), None
    folders = policies_in(path)
    if asked.replica not in range(len(folders)):
        raise UserError(
            f"{path} has {len(folders)} policies, expected --replica from 0 to {len(folders) - 1}, got {asked.replica}"
        )
    info = Policy.load(folders[asked.replica]).info
    known = environment_of(info) if info.get("env_spec") or info.get("env_id") else None
    return of_policy(folders[asked.replica], asked.mode), known


def _played(asked: Asked, id: str) -> tuple[Asked, Dataset, Behaviour | None]:
    if asked.preset == "imperfect":
        asked = dataclasses.replace(asked, random_actions=0.3, noise=0.3)
    who, known = behaviour_of(asked)
    env = asked.env or known
    if env is None:
        raise UserError("no environment to collect in: name one with --env")
    asked = dataclasses.replace(asked, env=env)
    found = _log(noisy(who, asked.random_actions, asked.noise), asked, id)
    return asked, found, None if asked.by in (None, "random") else who


def _log(who: Behaviour, asked: Asked, id: str, share: float = 1.0, part: int = 0) -> Dataset:
    size: dict[str, Any] = {"steps": asked.steps, "episodes": asked.episodes}
    if asked.steps is None and asked.episodes is None:
        size["steps"] = 100_000
    size = {name: None if n is None else max(1, round(n * share)) for name, n in size.items()}
    return play.collect(str(asked.env), who, seed=asked.seed + part, id=id, **size, **asked.processes)


def _replayed(asked: Asked, id: str, hooks: Sequence[Hook]) -> tuple[Asked, Dataset, Behaviour]:
    if asked.by is None:
        steps = asked.steps or asked.train_steps
        asked = dataclasses.replace(asked, steps=steps, train_steps=steps)
        asked = learned(asked, "ddpg", {"exploration_noise": REPLAYS[str(asked.preset)]}, hooks)
    asked = _in_its_environment(asked)
    return asked, from_run.replay(str(asked.by), asked.replica, asked.steps, id), behaviour_of(asked)[0]


def _level(asked: Asked, id: str, hooks: Sequence[Hook]) -> tuple[Asked, Dataset, Behaviour]:
    if asked.by is None:
        asked = learned(asked, "sac", {}, hooks)
    asked = _in_its_environment(asked)
    kept = from_run.policies(str(asked.by), asked.replica)
    step, _, expert = kept[-1]
    last = of_policy(expert, name="expert")
    if asked.preset == "expert":
        return asked, _log(last, asked, id), last
    low = play.references(str(asked.env), None, asked.seed, **asked.processes)["random"]
    step, _, folder = from_run.medium(str(asked.by), low, asked.replica)
    if asked.preset == "medium-replay":
        rows = step if asked.steps is None else asked.steps
        if rows > step:
            raise UserError(f"{asked.by} came to its medium policy at step {step}: expected --steps up to that")
        return asked, from_run.replay(str(asked.by), asked.replica, rows, id), last
    half = of_policy(folder, name="medium")
    if asked.preset == "medium":
        return asked, _log(half, asked, id), last
    parts = [_log(who, asked, id, 0.5, part) for part, who in enumerate((half, last))]
    return asked, play.joined(parts, id), last


def learned(asked: Asked, continuous: str, config: dict[str, Any], hooks: Sequence[Hook]) -> Asked:
    """The same, by a run that learns in the environment first (or stands finished); DQN where actions are discrete."""
    if asked.env is None:
        raise UserError(
            f"--preset {asked.preset} trains an agent first: name the environment with --env, or a run with --by"
        )
    made = make_env(asked.env)
    name, discrete = name_of(made), not hasattr(made.action_space, "low")
    made.close()
    algorithm = "dqn" if discrete else continuous
    if discrete and config:
        config = {"epsilon": config["exploration_noise"]}
    steps = asked.train_steps
    cfg, _ = resolve(registry.get(algorithm), None, None, None)
    every = max(1, steps // EVALUATIONS)
    settings = Settings.of(
        algorithm,
        config={"warmup": min(cfg.warmup, steps // 4), **config, **asked.config},
        env=asked.env,
        steps=steps,
        seed=asked.seed,
        eval_episodes=EPISODES,
        eval_every=every,
        keep_policies=True,
        block=min(1000, every),
        **asked.processes,
    )
    stem = f"{name.replace('/', '-')}-{algorithm}"
    folder = asked.agent or Path("runs") / f"{'levels' if asked.preset in LEVELS else asked.preset}-{stem}"
    ensure_finished(settings, folder, "--agent", hooks)
    return dataclasses.replace(asked, by=str(folder), agent=folder)


def _in_its_environment(asked: Asked) -> Asked:
    """The same, in the environment that the run learned in.

    Raises:
        UserError: no run there, or another environment was asked for.
    """
    own = RunFolder(str(asked.by)).read_config().get("env")
    if asked.env is not None and own is not None and asked.env != own:
        raise UserError(f"{asked.by} learned in {own}, not in {asked.env}: leave --env out")
    return dataclasses.replace(asked, env=own or asked.env)
