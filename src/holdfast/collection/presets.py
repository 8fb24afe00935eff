"""Logs as papers describe them: BCQ's four regimes, D4RL's levels, or plain episodes of one behaviour."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..algorithms import registry
from ..core.errors import UserError, unknown
from ..data.convert import convert
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..environments.gym.adapter import make_env
from ..environments.gym.matching import name_of
from ..evaluation.evaluate import environment_of
from ..policy.folder import policies_in, versions
from ..policy.policy import Policy
from ..policy.team import TeamPolicy, teams_in
from ..runs.folder import RunFolder
from ..runs.presets import resolve
from ..runs.settings import Settings
from ..training.hooks import Hook
from ..training.launch import ensure_finished
from . import from_run, play
from .behaviours import Behaviour, noisy, of_folder, of_policy, of_team, of_zip, scripted, uniform
from .flags import LogFlags

# BCQ's regimes (arXiv:1812.02900, section 5), then D4RL's levels (arXiv:2004.07219)
PRESETS = {
    "final-buffer": "all transitions of DDPG with noise of 0.5, in order (discrete actions: DQN, epsilon 0.5)",
    "concurrent": "the same with noise of 0.1; holdfast train ... --growing 1 learns from it while it grows",
    "imitation": "an expert's transitions",
    "imperfect": "an expert with 30 % uniform actions, and normal noise of 0.3 on the others",
    "random": "uniform actions",
    "medium": "the first policy of a run that is a third of the way from random actions to its last policy",
    "medium-replay": "all transitions that the run collected until that policy",
    "medium-expert": "half medium, half expert",
    "expert": "the run's last policy",
}
REPLAYS = {"final-buffer": 0.5, "concurrent": 0.1}  # exploration noise of the agent whose replay buffer is the log
LEVELS = ("medium", "medium-replay", "medium-expert", "expert")
EVALUATIONS = 20  # evaluations of a run for levels: the candidates for the medium policy
EPISODES = 5  # episodes of each evaluation
STEPS = 100_000  # steps of a log, by default


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogRequest(LogFlags):
    """A log to make."""

    config: dict[str, Any] = dataclasses.field(default_factory=dict)  # settings of an agent that a preset trains
    agents: Literal["independent"] | None = None  # how it learns in the environment of a team, see `Settings.agents`

    def to_dict(self) -> dict[str, Any]:
        """The fields that determine the log, JSON-ready."""
        without_effect = ("workers", "worker_timeout")
        found = {k: v for k, v in dataclasses.asdict(self).items() if v is not None and k not in without_effect}
        return found | ({"agent": str(self.agent)} if self.agent else {})

    @property
    def processes(self) -> dict[str, Any]:
        """The arguments of `play.collect` about worker processes."""
        return {"workers": self.workers, "worker_timeout": self.worker_timeout}

    def check(self) -> None:
        """Refuse contradictory fields.

        Raises:
            UserError: all faults in one line.
        """
        if self.preset is not None and self.preset not in PRESETS:
            raise unknown("preset of data collect", self.preset, PRESETS)
        disturbed = bool(self.random_actions or self.noise)
        faults = []
        if self.preset is not None and (disturbed or self.mode != "best"):
            faults.append(f"--preset {self.preset} says how to act: leave --random-actions, --noise and --mode out")
        if self.preset in ("imitation", "imperfect") and self.by is None:
            faults.append(f"--preset {self.preset} needs an expert: name a run, a policy or a zip with --by")
        if self.preset == "random" and self.by not in (None, "random"):
            faults.append("--preset random has uniform actions: leave --by out")
        if self.steps is not None and self.episodes is not None:
            faults.append("--steps and --episodes both give the size: leave one out")
        if self.episodes is not None and self.preset in (*REPLAYS, "medium-replay"):
            faults.append(f"--preset {self.preset} takes steps as they were collected: give --steps, not --episodes")
        if faults:
            raise UserError("; ".join(faults))


class _Made(NamedTuple):
    """A log, with the request after all choices were made, and the behaviour that gives the expert's return."""

    request: LogRequest
    log: Dataset
    expert: Behaviour | None


def load_or_make(request: LogRequest, id: str, path: Path, hooks: Sequence[Hook] = ()) -> Dataset:
    """Load the log of a request from a file; make it first if the file does not exist.

    Raises:
        UserError: the file holds the log of another request, or the log cannot be made (see `make`).
    """
    if not path.is_file():
        convert(make(request, id, hooks), path)
    log = load_dataset(str(path))
    wanted = json.loads(json.dumps(request.to_dict()))
    stored = dict(log.provenance.get("request", {}))
    names = [name for name in {**stored, **wanted} if stored.get(name) != wanted.get(name)]
    if names:
        other = ", ".join(f"{name} {stored.get(name)} instead of {wanted.get(name)}" for name in names)
        raise UserError(f"{path} is a log of other settings ({other}): name another folder, or remove it")
    return log


def make(request: LogRequest, id: str, hooks: Sequence[Hook] = ()) -> Dataset:
    """Make a log, with its origin and its reference returns.

    Args:
        request: the log to make.
        id: name of the data set.
        hooks: hooks of the training that a preset may need.

    Raises:
        UserError: contradictory fields of the request, or an error of training or acting.
    """
    request.check()
    if request.preset in REPLAYS:
        made = _replay(request, id, hooks)
    elif request.preset in LEVELS:
        made = _level(request, id, hooks)
    else:
        made = _episodes(request, id)
    env = str(made.request.env)
    measured = play.references(env, made.expert, made.request.seed, **made.request.processes)
    what = PRESETS.get(request.preset or "", "collected by holdfast")
    provenance = {
        **made.log.provenance,
        "description": f"{request.preset or made.request.by or 'random'}: {what}",
        "request": request.to_dict(),
        "asked": made.request.to_dict(),
        "measured_returns": measured,
        "versions": made.log.provenance.get("versions") or versions(),
    }
    return dataclasses.replace(
        made.log,
        id=id,
        reference=play.score_reference(env, measured),
        provenance=json.loads(json.dumps(provenance)),
    )


def behaviour_of(request: LogRequest) -> tuple[Behaviour, str | None]:
    """The behaviour that `by` names, and the environment that it was trained for, if it is known.

    Raises:
        UserError: no behaviour of that name, or a zip without `sb3`.
    """
    if request.by in (None, "random"):
        return uniform(), None
    if request.by == "script":
        return scripted(str(request.env)), None
    path = Path(str(request.by)).expanduser()
    if path.suffix == ".zip":
        if request.sb3 is None:
            raise UserError(f"{path} does not say which agent it is: name its algorithm, --sb3 ddpg for instance")
        return of_zip(path, request.sb3, request.mode), None
    teams = teams_in(path) if path.is_dir() else []
    folders = teams or policies_in(path)
    if request.replica not in range(len(folders)):
        expected = f"expected --replica from 0 to {len(folders) - 1}, got {request.replica}"
        raise UserError(f"{path} has {len(folders)} policies, {expected}")
    if teams:
        info = TeamPolicy.load(teams[request.replica]).info
        return of_team(teams[request.replica], request.mode), environment_of(info)
    info = Policy.load(folders[request.replica]).info
    known = environment_of(info) if info.get("env_spec") or info.get("env_id") else None
    return of_policy(folders[request.replica], request.mode), known


def _episodes(request: LogRequest, id: str) -> _Made:
    """A log of the behaviour that the request names."""
    if request.preset == "imperfect":
        request = dataclasses.replace(request, random_actions=0.3, noise=0.3)
    behaviour, known = behaviour_of(request)
    env = request.env or known
    if env is None:
        raise UserError("no environment to collect in: name one with --env")
    request = dataclasses.replace(request, env=env)
    log = _log(noisy(behaviour, request.random_actions, request.noise), request, id)
    return _Made(request, log, None if request.by in (None, "random") else behaviour)


def _log(behaviour: Behaviour, request: LogRequest, id: str, share: float = 1.0, part: int = 0) -> Dataset:
    """A share of the requested steps or episodes, by one behaviour."""
    size: dict[str, Any] = {"steps": request.steps, "episodes": request.episodes}
    if request.steps is None and request.episodes is None:
        size["steps"] = STEPS
    shared: dict[str, Any] = {name: None if n is None else max(1, round(n * share)) for name, n in size.items()}
    return play.collect(str(request.env), behaviour, seed=request.seed + part, id=id, **shared, **request.processes)


def _replay(request: LogRequest, id: str, hooks: Sequence[Hook]) -> _Made:
    """The replay buffer of a run, which is trained first if the request names none."""
    if request.by is None:
        steps = request.steps or request.train_steps
        request = dataclasses.replace(request, steps=steps, train_steps=steps)
        request = learned(request, "ddpg", {"exploration_noise": REPLAYS[str(request.preset)]}, hooks)
    request = _in_its_environment(request)
    log = from_run.replay_log(str(request.by), request.replica, request.steps, id)
    return _Made(request, log, behaviour_of(request)[0])


def _level(request: LogRequest, id: str, hooks: Sequence[Hook]) -> _Made:
    """One of D4RL's levels, from the policies of a run, which is trained first if the request names none."""
    if request.by is None:
        request = learned(request, "sac", {}, hooks)
    request = _in_its_environment(request)
    expert = of_folder(from_run.policies(str(request.by), request.replica)[-1].folder, name="expert")
    if request.preset == "expert":
        return _Made(request, _log(expert, request, id), expert)
    low = play.references(str(request.env), None, request.seed, **request.processes)["random"]
    chosen = from_run.medium(str(request.by), low, request.replica)
    if request.preset == "medium-replay":
        rows = chosen.step if request.steps is None else request.steps
        if rows > chosen.step:
            raise UserError(f"{request.by} has its medium policy at step {chosen.step}: expected --steps up to that")
        return _Made(request, from_run.replay_log(str(request.by), request.replica, rows, id), expert)
    medium = of_folder(chosen.folder, name="medium")
    if request.preset == "medium":
        return _Made(request, _log(medium, request, id), expert)
    parts = [_log(behaviour, request, id, 0.5, part) for part, behaviour in enumerate((medium, expert))]
    return _Made(request, play.joined(parts, id), expert)


def learned(request: LogRequest, continuous: str, config: dict[str, Any], hooks: Sequence[Hook]) -> LogRequest:
    """Train an agent in the environment, or resume its run; return the request with that run as `by`.

    Args:
        request: the request, with an environment.
        continuous: the algorithm for continuous actions; DQN is used for discrete ones.
        config: settings of the algorithm that differ from its preset.
        hooks: hooks of the training.

    Raises:
        UserError: no environment, or the folder holds a run with other settings.
    """
    if request.env is None:
        raise UserError(
            f"--preset {request.preset} trains an agent first: name the environment with --env, or a run with --by"
        )
    env = make_env(request.env)
    name = name_of(env)
    discrete = not hasattr(env.action_space, "low")
    env.close()
    algorithm = "dqn" if discrete else continuous
    if discrete and config:
        config = {"epsilon": config["exploration_noise"]}
    steps = request.train_steps
    cfg, _ = resolve(registry.get(algorithm), None, None, None)
    every = max(1, steps // EVALUATIONS)
    settings = Settings.of(
        algorithm,
        config={"warmup": min(cfg.warmup, steps // 4), **config, **request.config},
        env=request.env,
        steps=steps,
        seed=request.seed,
        eval_episodes=EPISODES,
        eval_every=every,
        keep_policies=True,
        block=min(1000, every),
        agents=request.agents,
        **request.processes,
    )
    stem = f"{name.replace('/', '-')}-{request.agents + '-' if request.agents else ''}{algorithm}"
    folder = request.agent or Path("runs") / f"{'levels' if request.preset in LEVELS else request.preset}-{stem}"
    ensure_finished(settings, folder, "--agent", hooks)
    return dataclasses.replace(request, by=str(folder), agent=folder)


def _in_its_environment(request: LogRequest) -> LogRequest:
    """The request, in the environment that the run learned in.

    Raises:
        UserError: not a run, or the request names another environment.
    """
    own = RunFolder(str(request.by)).read_config().get("env")
    if request.env is not None and own is not None and request.env != own:
        raise UserError(f"{request.by} learned in {own}, not in {request.env}: leave --env out")
    return dataclasses.replace(request, env=own or request.env)
