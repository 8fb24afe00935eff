"""What a finished run left in its folder: policies, tables, curves and pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import UserError
from ..core.shown import counted, facts_html, line
from ..data.dataset import Dataset
from ..data.teams.dataset import TeamDataset
from ..environments.gym.workers import TIMEOUT
from ..evaluation.evaluate import Evaluation, evaluate
from ..evaluation.statistics import Estimate
from ..evaluation.teams import evaluate_team
from ..policy.policy import Policy
from ..policy.storage import arrays_of, under
from ..policy.team import TeamPolicy, teams_in
from ..runs.columns import Columns, columns
from ..runs.folder import RunFolder
from ..runs.schema import read_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..environments.gym.naming import EnvLike


@dataclasses.dataclass(frozen=True, repr=False)
class Results:
    """A finished run: its folder and the values of its `result.json`.

    What the caller gave as objects is kept for `evaluate` and `finetune`, because files do not hold it.
    """

    path: Path
    result: dict[str, Any]
    env: str | None = dataclasses.field(default=None, compare=False)  # the environment, if the caller gave one
    data: Dataset | TeamDataset | None = dataclasses.field(
        default=None, compare=False
    )  # the data set, if it was in memory
    network: dict[str, str] = dataclasses.field(default_factory=dict, compare=False)  # own networks by role
    encoder: str | None = dataclasses.field(default=None, compare=False)  # the own encoder

    def policies(self) -> list[Policy]:
        """The final policy of each replica.

        Raises:
            UserError: the run trains a team, see `teams`; or a policy is missing or damaged.
        """
        if teams_in(self.path):
            raise UserError(f"{self.path} trains a team: take run.teams(), whose members are the agents' policies")
        return [self._loaded(folder) for folder in self._policy_folders()]

    def teams(self) -> list[TeamPolicy]:
        """The final team of each replica.

        Raises:
            UserError: the run trains one agent, see `policies`; or a policy is missing or damaged.
        """
        return [TeamPolicy.load(folder) for folder in self._policy_folders()]

    def policy(self, replica: int = 0, critic: bool = False) -> Policy:
        """The final policy of one replica.

        Args:
            replica: its number in the run.
            critic: read the critics from the run's checkpoint too, so that the policy has `value`.

        Raises:
            UserError: the policy or the checkpoint is missing, damaged, or of another step.
        """
        folder = self._policy_folders()[replica]
        found = self._loaded(folder)
        return critic_of(found, self.path, folder) if critic else found

    @property
    def evaluations(self) -> Columns:
        """Every episode of every evaluation: the columns of `evaluations.csv`. Returns are raw sums of rewards."""
        return columns(RunFolder(self.path).evaluations)

    @property
    def metrics(self) -> Columns:
        """The metrics of every block and replica: the columns of `metrics.csv`."""
        return columns(RunFolder(self.path).metrics)

    def evaluate(
        self,
        env: EnvLike | None = None,
        episodes: int = 10,
        seed: int = 0,
        mode: str = "best",
        workers: int = 0,
        worker_timeout: float = TIMEOUT,
        progress: bool = True,
        target_return: Sequence[float] | float = (),
    ) -> Evaluation:
        """Score the final policies of all replicas; the arguments are those of `holdfast.evaluate`."""
        place = self.env if env is None else env
        if teams_in(self.path):
            return evaluate_team(self.teams(), place, episodes, seed, mode, progress)
        return evaluate(
            self.policies(),
            place,
            episodes,
            seed,
            mode,
            workers=workers,
            worker_timeout=worker_timeout,
            progress=progress,
            target_return=target_return,
        )

    def curve(self) -> Figure:
        """The learning curve. A notebook shows the picture; `curve().savefig(path)` writes it.

        Raises:
            UserError: the run contains no evaluation, or matplotlib is not installed.
        """
        from ..report.curves import draw
        from ..runs.read import read_run

        return draw(read_run(self.path))

    def report(self, path: str | Path | None = None) -> Path:
        """Write everything about the run as one page.

        Args:
            path: path of the page; None: `report.html` in the run's folder.

        Returns:
            The path of the page.

        Raises:
            UserError: the file cannot be written.
        """
        from ..report.page import write_page

        return write_page(self.path, path)

    def __repr__(self) -> str:
        facts = dict(self._facts())
        best = f"{facts['best setting']} is best, " if "best setting" in facts else ""
        rest = f", {best}return {facts['return']}" if "return" in facts else ""
        about = f"{str(self.path)!r}: {self._title()}, {facts['replicas']}, {facts['steps']} steps{rest}"
        return line(type(self).__name__, about)

    def _repr_html_(self) -> str:
        return facts_html(self._title(), self._facts())

    def _title(self) -> str:
        found = self.result
        subject = found.get("dataset") or found.get("environment") or ""
        return f"{found.get('algorithm', 'a run')} on {subject}"

    def _facts(self) -> list[tuple[str, str]]:
        found = self.result
        facts = [("replicas", counted(len(found["replicas"]), "replica")), ("steps", f"{found['steps']:,}")]
        entries = found.get("by_setting", [])
        for entry in entries:
            if entry["best"]:
                facts += [("best setting", entry["label"])] if len(entries) > 1 else []
                facts.append(("return", str(Estimate(entry["return_mean"], *entry["return_interval"]))))
                if entry["normalized_score"] is not None:
                    facts.append(("normalised score", f"{entry['normalized_score']:.1f}"))
        if found.get("logged_return_mean") is not None:
            facts.append(("return of the log", f"{found['logged_return_mean']:.1f}"))
        return [*facts, ("folder", str(self.path))]

    def _loaded(self, folder: Path) -> Policy:
        return Policy.load(folder, network=self.network or None, encoder=self.encoder)

    def _policy_folders(self) -> list[Path]:
        return RunFolder(self.path).policy_folders(self.result["replicas"])


def critic_of(policy: Policy, run: Path, folder: Path) -> Policy:
    """A final policy of a run with the critics of the run's checkpoint.

    Args:
        policy: the policy.
        run: the run's folder.
        folder: the policy's folder.

    Raises:
        UserError: the run is not finished, its newest checkpoint is of another step, or the policy is not a final one.
    """
    folders = RunFolder(run).policy_folders(finished_result(run)["replicas"])
    places = [path.resolve() for path in folders]
    if folder.resolve() not in places:
        raise UserError(f"{folder} is not a final policy of {run}: its critics are not stored")
    saved = RunFolder(run).checkpoints.read()
    if saved.step != policy.info.get("step"):
        raise UserError(
            f"the newest checkpoint in {run} is of step {saved.step}, its policy of step {policy.info.get('step')}: "
            "finish the run"
        )
    arrays = under("state.", arrays_of(saved.data, saved.where))
    replica = places.index(folder.resolve())
    return policy.with_critic({name: x[replica] for name, x in arrays.items()}, saved.where)


def finished_result(path: str | Path) -> dict[str, Any]:
    """The result of a finished run.

    Raises:
        UserError: the folder is not that of a run, or the run is not finished.
    """
    folder = RunFolder(path)
    folder.read_config()
    if not folder.result.is_file():
        raise UserError(f"{path} is not finished: resume it with holdfast.resume({str(path)!r})")
    return read_result(folder.result)
