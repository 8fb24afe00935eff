"""What a run says when it starts, and when it ends before its last step: what is saved, and how to resume."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from ..core.errors import Diverged, Stopped, UserError
from ..environments.gym.collector import EnvironmentFailed
from ..runs.folder import RunFolder
from .driver import Block, NotFinite
from .plan.plan import Plan
from .stopping import settle


def warnings(plan: Plan) -> list[str]:
    """What is probably wrong when a run starts."""
    found = [f"{plan.task.name}: {fault}" for fault in plan.task.warnings]
    if plan.evaluator is None and plan.settings.evaluate:
        found.append("no environment is known for these data: nothing is evaluated (name one with --env)")
    return found


def kept(folder: RunFolder) -> str:
    """The newest checkpoint, in words."""
    last = folder.checkpoints.latest()
    return f"{'no checkpoint' if last is None else f'the checkpoint of step {last}'} is kept in {folder.path}"


def stopped(stop: KeyboardInterrupt, folder: RunFolder) -> Stopped:
    """A signal ended the run. Waits for computations that still run."""
    settle()
    signum = stop.signum if isinstance(stop, Stopped) else signal.SIGINT
    return Stopped(signum, f"{kept(folder)}; holdfast train --resume {folder.path} resumes the run")


def saved(failure: UserError, plan: Plan, folder: RunFolder, step: int) -> UserError:
    """An environment failed, and everything up to `step` has been saved."""
    env = plan.task.env or ""
    name = "" if env.lstrip().startswith("{") or env in str(failure) else f"{env}: "
    return type(failure)(
        f"{name}{failure}; everything up to step {step} is saved in {folder.path}, and "
        f"holdfast train --resume {folder.path} resumes from there"
    )


def failed(fault: EnvironmentFailed, folder: RunFolder) -> EnvironmentFailed:
    """An environment failed inside a compiled block, whose updates have learned from the bad rows."""
    return EnvironmentFailed(f"{fault}; {kept(folder)}")


def diverged(fault: NotFinite, plan: Plan, folder: RunFolder, base: int) -> Diverged:
    """A metric became NaN or infinite in a phase that began at step `base`."""
    return Diverged(
        f"{fault.metric} of {plan.replicas[fault.replica].name} is NaN or infinite at update "
        f"{base + fault.update} of {plan.settings.algorithm}: training stopped, {kept(folder)}; "
        "try a lower learning rate, or look at the data with `holdfast data check`"
    )


def explained(stream: Iterator[Block], plan: Plan, folder: RunFolder, base: int) -> Iterator[Block]:
    """The blocks of a phase; a failure that stops them says where the last checkpoint is."""
    try:
        yield from stream
    except EnvironmentFailed as fault:
        raise failed(fault, folder) from fault
    except NotFinite as fault:
        raise diverged(fault, plan, folder, base) from fault
