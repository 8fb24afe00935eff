"""`holdfast select RUNS...`: rank policies by estimates from logged data, or by a budget of episodes."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ..core.errors import UserError
from . import usage
from .options import DataFlags


@dataclasses.dataclass(frozen=True)
class Args:
    """Rank the policies of runs by their estimated values on logged data, with the probability that each is the best.

    With --env-budget the policies play in an environment instead: every round drops the worse half (--rule halving), or
    the policy with the highest upper confidence bound plays the next episode (--rule ucb). A fifth of the episodes
    measures the chosen policy again. The policies that a run kept (--keep-policies) are ranked too.
    """

    runs: Positional[Annotated[tuple[str, ...], arg(metavar="RUN [RUN ...]")]]
    """Folders of runs, or of policies."""
    data: str | None = None
    """The log: a bundled name, a Minari id or folder, a .hdf5 or .npz file; not what the policies learned from. None:
    choose by --env-budget."""
    env_budget: int | None = None
    """Episodes to play in all, to choose in an environment. None: choose by estimates from --data."""
    rule: Literal["halving", "ucb"] = "halving"
    """With --env-budget: who plays. halving: rounds of equally many episodes, each drops the worse half. ucb: one
    episode after the other, by the policy with the highest upper confidence bound."""
    env: str | None = None
    """With --env-budget: environment id. None: the one that the training data came from."""
    workers: int = 0
    """With --env-budget: processes that step environments. 0: no processes."""
    estimator: str | None = None
    """Estimator to rank by, see `holdfast ope`. None: dr, wdr, sn_pdis, wis or fqe, the first that is refused for no
    policy."""
    mode: Literal["best", "sample"] = "best"
    """How the policies will act. best: the most likely action. sample: a draw from the policy."""
    discount: float = 1.0
    """Discount of the value, above 0 and at most 1."""
    horizon: int | None = None
    """Steps of an episode. None: the time limit of the data, else their longest episode."""
    endless: bool = False
    """Estimate the discounted value without a horizon."""
    propensities: Literal["auto", "logged", "estimated", "none"] = "auto"
    """Probabilities of the logged actions. auto: the column behaviour_log_prob, else estimated from the data."""
    model: Literal["linear", "neural", "quantile", "none"] = "linear"
    """Model of the values, see `holdfast ope`."""
    updates: int = 20_000
    """Updates of each network of --model neural and quantile."""
    seed: int = 0
    """Seed of folds, resamples and draws."""
    json: bool = False
    """Print JSON."""
    reading: DataFlags = dataclasses.field(default_factory=DataFlags)


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 if it succeeded.

    Raises:
        UserError: fewer than two policies, neither a log nor a budget, or no estimate that all of them have.
    """
    args = usage.parse(Args, "holdfast select", argv)
    if (args.data is None) == (args.env_budget is None):
        raise UserError("name what to choose by: a log (--data LOG), or a number of episodes (--env-budget 200)")
    if args.env_budget is None and (args.env is not None or args.workers or args.rule != "halving"):
        raise UserError("--rule, --env and --workers belong to --env-budget: leave them out, or give a budget")
    if args.env_budget is not None:
        return _race(args, args.env_budget)
    assert args.data is not None
    from rich.console import Console

    from ..report.table import table_of
    from ..selection.select import HEADER, select

    found = select(
        args.runs,
        args.reading.load(args.data),
        estimator=args.estimator,
        mode=args.mode,
        discount=args.discount,
        horizon=args.horizon,
        endless=args.endless,
        propensities=args.propensities,
        model=args.model,
        updates=args.updates,
        seed=args.seed,
    )
    if args.json:
        sys.stdout.write(json.dumps(found.to_dict(), indent=2) + "\n")
        return 0
    console = Console(highlight=False, markup=False)
    console.print(f"{found.chosen.name} (P(best) {found.chosen.best:.2f}, by {found.estimator})", style="bold")
    console.print(table_of(HEADER, found.table(), left=2))
    for name, value in found.checks.items():
        console.print(f"against true returns: {name} {value:.2f}")
    return 0


def _race(args: Args, budget: int) -> int:
    from rich.console import Console

    from ..report.table import table_of
    from ..selection.race import HEADER, race

    found = race(args.runs, budget, rule=args.rule, env=args.env, mode=args.mode, seed=args.seed, workers=args.workers)
    if args.json:
        sys.stdout.write(json.dumps(found.to_dict(), indent=2) + "\n")
        return 0
    console = Console(highlight=False, markup=False)
    console.print(found.verdict, style="bold")
    console.print(table_of(HEADER, found.table(), left=2))
    return 0
