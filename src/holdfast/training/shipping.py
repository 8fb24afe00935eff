"""Evaluation and shipping: the policies of a run are scored during training and saved in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..dynamics.learning import learns_ends
from ..evaluation.evaluate import Evaluation, Evaluator
from ..policy.acting import Replicas
from ..policy.dynamics import Dynamics
from ..policy.policy import Policy
from ..policy.team import TeamPolicy
from ..runs.folder import RunFolder
from ..runs.replicas import Replica
from .carry import Carry
from .early import EarlyStop
from .loop import Program
from .overlap import Player, overlaps
from .plan.inputs import policy_folder
from .plan.models import ends_of
from .plan.plan import Plan
from .plan.team import TeamTask
from .run_tables import RunTables
from .stopping import shielded


class Shipping:
    """Scores the policies of all replicas together, and saves each in a folder of its own."""

    def __init__(self, plan: Plan, folder: RunFolder, tables: RunTables) -> None:
        """
        Args:
            plan: the plan of the run.
            folder: its folder, where the policies go.
            tables: its tables, where the returns go.
        """
        self.plan = plan
        self.folder = folder
        self.tables = tables
        self.evaluator: Evaluator | None = None
        self.player = Player(overlaps(plan.settings))
        self.last: Evaluation | None = None
        self.early = EarlyStop(plan, folder)

    def open(self) -> None:
        """Open the evaluation environments, if the run evaluates.

        Raises:
            UserError: an environment cannot be made, or a worker process does not start.
        """
        if self.plan.evaluator is not None:
            self.evaluator = self.player.call(self.plan.evaluator)

    def close(self) -> None:
        """End the evaluation that plays, if one does, and close its environments."""
        if self.evaluator is not None:
            self.player.close(self.evaluator.close)

    def evaluate(self, program: Program, carry: Carry, step: int) -> Evaluation | None:
        """Score, estimate and save the policies of `step`; None if the run does not evaluate.

        Raises:
            UserError: an environment fails, or a policy gives actions that are not finite.
        """
        if self.evaluator is None:
            self._estimate(program, carry, step)
            return None
        with shielded(False):  # playing can take minutes, and changes no file
            found = self.player.call(lambda: self.play(program, carry, step))
        self.record(program, carry, step, found)
        self._estimate(program, carry, step)
        return found

    def play(self, program: Program, carry: Carry, step: int) -> Evaluation:
        """Score the policies of `step`, until the player is closed. It changes no file."""
        assert self.evaluator is not None, "only a run that evaluates plays"
        team = self._team(program, carry, step)
        return self.evaluator(team, seed=self._seeds(step), before_step=self.player.require_going)

    def record(self, program: Program, carry: Carry, step: int, found: Evaluation) -> None:
        """Write the scores of `step` into the table, and save its policies; an error if the disk is full."""
        self.tables.evaluation(step, program.phase.name, found)
        self.last = found
        self.ship(program, carry, step)
        if self.plan.settings.keep_policies or self.plan.settings.stop_when:
            self.ship(program, carry, step, kept=True)

    def _estimate(self, program: Program, carry: Carry, step: int) -> None:
        """Estimate the policies of `step` on the held-out episodes, if the rule of the run reads that."""
        if self.tables.heldout is None or self.tables.has_estimates(step, program.phase.name):
            return
        count = len(self.plan.replicas)
        with shielded(False):  # it takes seconds, and changes no file
            found = self.early.estimates([self.policy_of(program, carry, step, i) for i in range(count)])
        self.tables.estimated(step, program.phase.name, found)
        if self.evaluator is None:
            self.ship(program, carry, step)
            self.ship(program, carry, step, kept=True)

    def asked(self, program: Program, carry: Carry, step: int) -> list[dict[str, Any]]:
        """The returns that policies which follow a return reach for each return that the config names.

        Each is `{"target": raw return, "returns": [R][E]}`. Several targets are played in one rollout. If the config
        names none or one, the last evaluation has played it. Empty for other policies, or without evaluations.

        Raises:
            UserError: an environment fails.
        """
        algorithm = self.plan.algorithm
        if algorithm.target is None or self.plan.evaluator is None or self.last is None:
            return []
        targets = tuple(self.plan.cfg.target_return)
        if len(targets) < 2:
            first = program.hardware.one((program.cfgs, carry.state), 0)
            own = np.asarray(algorithm.target(*first)) / self.plan.task.fitted.reward_scale
            return [{"target": targets[0] if targets else float(own), "returns": self.last.returns.tolist()}]
        evaluator = self.plan.evaluator(targets=targets)
        try:
            with shielded(False):
                found = evaluator(self._team(program, carry, step), seed=self._seeds(step))
        finally:
            evaluator.close()
        rows = found.returns.reshape(len(self.plan.replicas), len(targets), -1)
        return [{"target": target, "returns": rows[:, i].tolist()} for i, target in enumerate(targets)]

    def ship_dynamics(self, program: Program, carry: Carry) -> None:
        """Save the model that the phase has trained, of every replica.

        Raises:
            UserError: the disk is full or read-only.
        """
        algorithm = self.plan.algorithm
        task = self.plan.task
        if algorithm.dynamics is None or not program.phase.models or task.model is not None:
            return
        replicas = self.plan.replicas
        for i, path in enumerate(self.folder.dynamics_folders([replica.name for replica in replicas])):
            state = program.hardware.one(carry.state, i)
            cfg = replicas[i].cfg
            info = {
                "algorithm": algorithm.name,
                "dataset": self.plan.settings.data,
                "dataset_fingerprint": task.fingerprint,
                "env_id": task.env_id,
                "env_spec": task.env,
                "learned_ends": learns_ends(cfg),
                "seed": replicas[i].seed,
            }
            Dynamics(algorithm.dynamics(cfg, state), task.spec, task.fitted, ends_of(cfg, task.rule), info).save(path)

    def ship(self, program: Program, carry: Carry, step: int, kept: bool = False) -> None:
        """Save the policy of every replica.

        Args:
            program: the phase.
            carry: its states.
            step: steps of the whole run so far.
            kept: save into `policies/step-N` instead of `policy`.

        Raises:
            UserError: the disk is full or read-only.
        """
        names = [replica.name for replica in self.plan.replicas]
        for i, path in enumerate(self.folder.policy_folders(names, step if kept else None)):
            if isinstance(self.plan.task, TeamTask):
                self._ship_team(self.plan.task, program, carry, step, i, path)
            else:
                self.policy_of(program, carry, step, i).save(path)

    def policy_of(self, program: Program, carry: Carry, step: int, i: int) -> Policy:
        """The policy of one replica.

        Args:
            program: the phase.
            carry: its states.
            step: steps of the whole run so far.
            i: number of the replica.
        """
        task = self.plan.task
        replica = self.plan.replicas[i]
        state = program.hardware.one(carry.state, i)
        info = self._facts(program, step, replica)
        if self.plan.algorithm.target is not None:
            aim = float(self.plan.algorithm.target(replica.cfg, state)) / task.fitted.reward_scale
            info["target"] = {"return": aim, "unit": "sum of the raw rewards of an episode"}
        if task.raw_space is not None:
            info["observation_space"] = task.raw_space
        if task.raw_action_space is not None:
            info["action_space"] = task.raw_action_space
        if task.table is not None:
            info["table"] = task.table
        if self.plan.settings.inputs:
            given = self.plan.settings.inputs.items()
            info["inputs"] = {name: str(policy_folder(folder)) for name, folder in given}
        return Policy(self.plan.algorithm, replica.cfg, state, task.spec, task.fitted, info)

    def _facts(self, program: Program, step: int, replica: Replica) -> dict[str, Any]:
        """What is saved with the policy of a replica, of one agent or of a team."""
        task = self.plan.task
        info: dict[str, Any] = {
            "env_spec": task.eval_env,
            "env_id": task.env_id,
            "dataset": self.plan.settings.data,
            "dataset_fingerprint": task.fingerprint,
            "reference": list(task.reference) if task.reference else None,
            "seed": replica.seed,
            "sweep": replica.values,
            "step": step,
            "stage": self.plan.settings.stage,
            "phase": program.index,
            "stats": task.stats,
        }
        if self.plan.settings.algorithm_module:
            info["algorithm_module"] = self.plan.settings.algorithm_module
        return info

    def _ship_team(self, task: TeamTask, program: Program, carry: Carry, step: int, i: int, path: Path) -> None:
        """Save the policies of all agents of one replica."""
        replica = self.plan.replicas[i]
        state = program.hardware.one(carry.state, i)
        info = self._facts(program, step, replica)
        alone = self.plan.algorithm.member
        assert alone is not None, "a method that learns a team says how its agents act alone"
        members = {}
        for number, own in enumerate(task.members):
            algorithm, part = alone(replica.cfg, state, number)
            facts = {**info, "env_spec": None, "env_id": None, "reference": None}
            facts["stats"] = {**own.stats, "agents": float(len(task.members))}
            members[own.name] = Policy(algorithm, replica.cfg, part, own.spec, own.fitted, facts)
        kept = {name: info[name] for name in ("env_spec", "env_id", "dataset", "reference", "seed", "step")}
        TeamPolicy(members, kept).save(path)

    def _team(self, program: Program, carry: Carry, step: int) -> Replicas:
        task = self.plan.task
        cfgs, state = program.hardware.together((program.cfgs, carry.state))
        return Replicas(self.plan.algorithm, cfgs, state, task.spec, task.fitted, step)

    def _seeds(self, step: int) -> list[int]:
        """Seeds of the episodes of an evaluation, one a replica.

        Every seed plays its own episodes, the same ones as if it were trained alone: shared episodes would correlate
        the policies' returns, and the interval over them would be too narrow.
        """
        return [replica.seed * 1_000_003 + step for replica in self.plan.replicas]
