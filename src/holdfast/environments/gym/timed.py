"""Makes an environment for its spaces. If worker processes play, it is made under their time limit."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ...core.errors import UserError
from . import workers as workers_of
from .adapter import make_env

if TYPE_CHECKING:
    import gymnasium


def env_for_spaces(env: str, workers: int = 0, timeout: float = workers_of.TIMEOUT) -> gymnasium.Env:
    """Make an environment in this process.

    Args:
        env: id, or EnvSpec as JSON.
        workers: worker processes that will play. 0: this process will, and there is no time limit.
        timeout: seconds that a step may take in a worker. Making the environment may take a minute in any case.

    Raises:
        UserError: the environment cannot be made, or it is not made in time.
    """
    if not workers:
        return make_env(env)
    made: list[gymnasium.Env] = []
    faults: list[BaseException] = []

    def make() -> None:
        try:
            made.append(make_env(env))
        except BaseException as fault:  # raised again in the thread that waits
            faults.append(fault)

    seconds = max(timeout, workers_of.STARTING)
    thread = threading.Thread(target=make, daemon=True)  # a daemon: one that hangs does not keep the process
    thread.start()
    thread.join(seconds)
    if faults:
        raise faults[0]
    if not made:
        raise UserError(
            f"environment '{env}' was not made within {seconds:g} s: its constructor hangs; repair it, or allow more "
            "with --worker-timeout"
        )
    return made[0]
