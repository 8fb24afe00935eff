"""`holdfast evaluate RUN`: score the policies of a run, or one policy, in an environment."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from ..core.errors import UserError
from ..environments.gym.workers import TIMEOUT
from . import usage

if TYPE_CHECKING:
    from ..evaluation.evaluate import Evaluation
    from ..evaluation.statistics import Estimate


@dataclasses.dataclass(frozen=True)
class Args:
    """Score the policies of a run, or one policy, by rollouts in a Gymnasium environment."""

    path: Positional[Annotated[Path, arg(metavar="RUN")]]
    """Folder of a run, of a policy (with policy.json), or of a team (with team.json)."""
    env: str | None = None
    """Environment id. None: the one that the training data came from."""
    episodes: int = 10
    """Episodes of each policy, exactly."""
    seed: int = 0
    """Seed of the episodes and of sampled actions."""
    mode: Literal["best", "sample"] = "best"
    """best: the most likely action. sample: a draw from the policy."""
    workers: int = 0
    """Processes that step environments; a dead one is replaced. 0: no processes."""
    worker_timeout: float = TIMEOUT
    """Seconds that a worker process may take for one step."""
    target_return: Annotated[tuple[float, ...], arg(metavar="RETURN [RETURN ...]")] = ()
    """Returns to ask policies for that follow a return: sums of raw rewards. Default: each policy's own."""
    picture: Annotated[Path | None, arg(metavar="PICTURE.png")] = None
    """Draw reached against asked return, if there are several target returns."""
    record: Annotated[Path | None, arg(metavar="VIDEO.mp4")] = None
    """Also record the first episode of the first policy as a video."""
    json: bool = False
    """Print JSON with every return instead of the table."""


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 if it succeeded.

    Raises:
        UserError: not a policy, an unknown environment, spaces that do not match, or a video that cannot be made.
    """
    args = usage.parse(Args, "holdfast evaluate", argv)
    if args.picture is not None and len(args.target_return) < 2:
        raise UserError("--picture draws reached against asked return: give several returns, --target-return 1000 2000")
    from ..core import config
    from ..evaluation.evaluate import environment_of, evaluate
    from ..policy.folder import policies_in
    from ..policy.policy import Policy
    from ..policy.team import teams_in

    teams = teams_in(args.path)
    if teams:
        return of_teams(teams, args)
    folders = policies_in(args.path)
    policies = [Policy.load(folder) for folder in folders]
    env = args.env or environment_of(policies[0].info)
    names = [folder.name for folder in folders]
    if args.record is not None:  # first, so that a missing package is reported before the long part
        from ..evaluation.video import record

        value, steps = record(policies[0], args.record, env, args.seed, args.mode)
        sys.stderr.write(f"{args.record}: one episode of {names[0]}, return {value:.1f} in {steps} steps\n")
    found = evaluate(
        policies,
        env,
        args.episodes,
        args.seed,
        args.mode,
        workers=args.workers,
        worker_timeout=args.worker_timeout,
        target_return=args.target_return,
    )
    if args.picture is not None:
        from ..report.asked import write_asked

        sys.stderr.write(f"{write_asked(found, args.picture)}: reached against asked return\n")
    if args.json:
        sys.stdout.write(json.dumps({"policies": [str(f) for f in folders], **found.to_dict()}, indent=2) + "\n")
    else:
        asked = len(args.target_return)
        alike = all(config.to_dict(p.cfg) == config.to_dict(policies[0].cfg) for p in policies)
        if asked > 1:
            names = [f"{name}, asked for {x:g}" for name in names for x in args.target_return]
        show(names, found, together=alike and asked < 2)
    return 0


def of_teams(folders: Sequence[Path], args: Args) -> int:
    """Score teams, and print the return of the team and of each agent.

    Raises:
        UserError: flags of policies for one agent, or what `evaluate_team` refuses.
    """
    if args.target_return or args.workers:
        raise UserError("--target-return and --workers are for policies of one agent: leave them out")
    from ..evaluation.evaluate import environment_of
    from ..evaluation.teams import evaluate_team
    from ..policy.team import TeamPolicy

    teams = [TeamPolicy.load(folder) for folder in folders]
    if args.record is not None:
        from ..evaluation.video import record

        place = args.env or environment_of(teams[0].info)
        value, steps = record(teams[0].together, args.record, place, args.seed, args.mode)
        sys.stderr.write(f"{args.record}: one episode of {folders[0].name}, return {value:.1f} in {steps} steps\n")
    found = evaluate_team(teams, args.env, args.episodes, args.seed, args.mode)
    if args.json:
        sys.stdout.write(json.dumps({"policies": [str(f) for f in folders], **found.to_dict()}, indent=2) + "\n")
        return 0
    show([folder.name for folder in folders], found, together=True)
    for folder, returns in zip(folders, found.agent_returns.mean(1), strict=True):
        each = ", ".join(f"{name} {value:.1f}" for name, value in zip(found.agents, returns, strict=True))
        sys.stdout.write(f"{folder.name}, return of each agent: {each}\n")
    return 0


def show(names: Sequence[str], found: Evaluation, together: bool) -> None:
    """Print a table of each policy's mean return, with its interval and score.

    Args:
        names: names of the policies.
        found: their evaluation.
        together: also print the averages over all policies, which have the same settings.
    """
    from rich.console import Console

    from ..evaluation.statistics import average_name
    from ..report.table import table_of

    episodes = found.returns.shape[1]
    table = table_of(("policy", "return", "95 % interval", "steps", "score"), [])
    table.title = f"{found.env_id}, episodes a policy: {episodes}, actions: {found.mode}"
    scores: Any = found.scores if found.scores is not None else [None] * len(names)
    for name, mean, lengths, score in zip(names, found.means, found.lengths, scores, strict=True):
        table.add_row(name, f"{mean.value:.1f}", _interval(mean), f"{lengths.mean():.0f}", _score(score))
    if len(names) > 1 and together:
        table.add_section()
        mean = found.mean
        table.add_row("all", f"{mean.value:.1f}", _interval(mean), f"{found.lengths.mean():.0f}", _score(found.score))
        if average_name(len(names)) == "IQM":
            table.add_row("IQM over policies", f"{found.iqm.value:.1f}", _interval(found.iqm), "", "")
    Console().print(table)


def _interval(estimate: Estimate) -> str:
    return "-" if estimate.low is None else f"{estimate.low:.1f} to {estimate.high:.1f}"


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.1f}"
