"""The log of a team that a run names, and the refusals of logs that its method cannot learn from."""

from __future__ import annotations

from ...core.contract import Algorithm
from ...core.errors import UserError
from ...data.dataset import Dataset
from ...data.sources import load_dataset
from ...data.teams.dataset import TeamDataset
from ...data.teams.files import is_team, load_team, require_no_options
from ...runs.settings import Settings

Logged = Dataset | TeamDataset


def team_of(settings: Settings, algorithm: Algorithm, dataset: Logged | None) -> TeamDataset | None:
    """The log of a team that the settings name; None if the run has one agent.

    Args:
        settings: settings of the run.
        algorithm: the algorithm.
        dataset: the data if they are in memory.

    Raises:
        UserError: the log of a team without a method for teams, or the reverse; a log that cannot be read.
    """
    name = str(settings.data)
    found = dataset if isinstance(dataset, TeamDataset) else None
    if dataset is None and settings.data is not None and is_team(name):
        require_no_options(settings.data_options, name)
        found = load_team(name)
    learns_teams = algorithm.member is not None
    if settings.source and (found is not None or settings.agents):
        raise UserError(
            f"{settings.source['run']} trains a team, whose agents are not fine-tuned: train them in the environment, "
            "holdfast train ALGO --env ENV --agents independent"
        )
    if found is None:
        if dataset is None and settings.data is not None and (settings.agents or learns_teams):
            load_dataset(name, **settings.data_options)  # a file that cannot be read has an error of its own
        what = f"{name} is the log of one agent" if settings.data is not None else "there is no log"
        if settings.agents and settings.data is not None:
            raise UserError(f"--agents {settings.agents}: {what}, expected the log of a team: leave --agents out")
        if learns_teams:
            raise UserError(
                f"{algorithm.name} learns from the log of a team, and {what}: choose a method for one agent"
            )
        return None
    if settings.agents is None and not learns_teams:
        raise UserError(
            f"{found.id} is the log of {len(found)} agents and {algorithm.name} is a method for one: let each agent "
            "learn by itself with --agents independent, or train a method for teams (omiga)"
        )
    if settings.agents and learns_teams:
        raise UserError(f"{algorithm.name} trains all agents together: leave --agents {settings.agents} out")
    if learns_teams and not found.joint:
        raise UserError(
            f"{found.id} is decentralised, and {algorithm.name} needs the agents' rows of the same moments: train "
            "independent learners, e.g. mabcq with --agents independent"
        )
    return found
