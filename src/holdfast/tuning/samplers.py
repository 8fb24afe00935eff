"""Which settings to try next. Optuna's samplers propose them; successive halving decides how long each is trained.

A proposal follows from the finished trials and the number of the round alone, and not from the order in which tasks
end. So a search has the same trials on one machine and on a cluster, and a resumed one has those of one without an
interruption.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..core.errors import UserError
from .space import Domain, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial

Sampler = Literal["tpe", "random", "grid", "halving"]
STARTUP = 10  # random trials before TPE has enough of them, Optuna's default
ASKS = 20  # proposals for each new one, because a sampler may repeat values

Values = dict[str, Value]


class Known(NamedTuple):
    """A finished trial, for the samplers."""

    values: Values
    score: float | None  # None: it diverged


def propose(sampler: Sampler, space: Sequence[Domain], known: Sequence[Known], count: int, seed: int) -> list[Values]:
    """New settings, which differ from each other and from the known ones.

    Args:
        sampler: tpe: the tree-structured Parzen estimator of Bergstra et al. 2011, over all settings together; random
            and halving: independent draws; grid: every combination, in random order.
        space: the settings.
        known: the finished trials.
        count: how many settings are wanted. There may be fewer if the space has no more.
        seed: seed of the draws.

    Raises:
        UserError: Optuna is not installed, or a grid over a range without steps.
    """
    if not space:
        return []
    optuna = _optuna()
    if sampler == "grid":
        require_grid(space)
    study = optuna.create_study(direction="maximize", sampler=_sampler(sampler, space, count, seed))
    distributions = {domain.name: _distribution(domain) for domain in space}
    scores = [one.score for one in known if one.score is not None]
    for one in known:
        # the sampler has to avoid settings that diverge: they count as the worst ones
        score = one.score if one.score is not None else min(scores, default=0.0)
        if all(domain.contains(one.values[domain.name]) for domain in space):
            params = {domain.name: _written(domain, one.values[domain.name]) for domain in space}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=score))
    seen = [one.values for one in known]
    found: list[Values] = []
    if all(domain.grid() for domain in space):
        every = math.prod(len(domain.grid()) for domain in space)
        inside = [one for one in seen if all(domain.contains(one[domain.name]) for domain in space)]
        count = min(count, every - len(inside))
    for _ in range(ASKS * count):
        if len(found) == count:
            break
        asked = study.ask(distributions)
        values = {domain.name: _read(domain, asked) for domain in space}
        if values not in seen:
            seen.append(values)
            found.append(values)
    return found


def require_grid(space: Sequence[Domain]) -> None:
    """Refuse a grid over a range that has no steps.

    Raises:
        UserError: names the setting.
    """
    for domain in space:
        if not domain.grid():
            raise UserError(
                f"--space {domain.name}={domain.low:g}..{domain.high:g}: --sampler grid needs single values; write "
                f"{domain.name}=[A,B,C], or a step, {domain.low:g}..{domain.high:g}:STEP"
            )


def seed_of(seed: int, cell: str, number: int) -> int:
    """The seed of the draws of one round of one search."""
    return zlib.crc32(f"{seed} {cell} {number}".encode())


def rungs(trials: int, eta: int, steps: int) -> list[tuple[int, int]]:
    """The rounds of successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943): trials and steps of each.

    Each round trains the best of the round before, one of `eta`, for `eta` times as many steps. The last round has
    all steps.

    Args:
        trials: trials of the first round.
        eta: the share of the trials that continue is 1 / eta.
        steps: steps of the last round.
    """
    count = 0
    while eta ** (count + 1) <= min(trials, steps):
        count += 1
    return [(max(1, trials // eta**i), max(1, steps // eta ** (count - i))) for i in range(count + 1)]


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError("a search over settings needs Optuna: pip install 'holdfast-rl[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _sampler(sampler: Sampler, space: Sequence[Domain], count: int, seed: int) -> BaseSampler:
    import warnings

    optuna = _optuna()
    if sampler == "grid":
        points = {domain.name: [_written(domain, value) for value in domain.grid()] for domain in space}
        return optuna.samplers.GridSampler(points, seed=seed)
    if sampler != "tpe":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True, constant_liar=True)


def _distribution(domain: Domain) -> BaseDistribution:
    from optuna import distributions

    if domain.values:
        return distributions.CategoricalDistribution(range(len(domain.values)))
    if domain.whole:
        step = 1 if domain.step is None else int(domain.step)
        return distributions.IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=step)
    high = domain.high
    if domain.step is not None:  # Optuna warns if the last step is not at the end
        high = domain.low + domain.step * math.floor((high - domain.low) / domain.step + 1e-9)
    return distributions.FloatDistribution(domain.low, high, log=domain.log, step=domain.step)


def _written(domain: Domain, value: Value) -> Any:
    """A value as Optuna has it: the place in a list, or the number."""
    return domain.values.index(value) if domain.values else value


def _read(domain: Domain, asked: Trial) -> Any:
    value = asked.params[domain.name]
    return domain.values[value] if domain.values else domain.rounded(value)
