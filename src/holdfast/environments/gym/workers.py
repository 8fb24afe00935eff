"""Environments in worker processes. A process that dies or hangs is replaced, and its open episodes are replayed."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ...core.errors import UserError
from .env_pool import REPEATED, Action, History, Outcome, Shape, SlotFailed, shown
from .given import require_importable
from .worker import from_outcomes, pack, unpack

TIMEOUT = 60.0  # seconds that a step may take, by default
STARTING = 60.0  # the least time in seconds for a process to start and make its environments
IN_A_ROW = 3  # restarts of a worker without a step in between
IN_ALL = 20  # restarts of a worker in a run

Reply = tuple[dict[str, Any], dict[str, np.ndarray]]  # header and arrays of a message


class Workers:
    """An `env_pool.EnvPool` whose environments are dealt among worker processes."""

    def __init__(self, env: str, count: int, shape: Shape, processes: int, timeout: float) -> None:
        """
        Args:
            env: id, or EnvSpec as JSON.
            count: number of environments.
            shape: their action space.
            processes: number of processes.
            timeout: seconds that a process may take for a step; a slower one is replaced.

        Raises:
            UserError: the environment cannot be made, or the operating system is not supported.
        """
        if processes < 1 or not timeout > 0:
            raise UserError(f"{processes} workers, {timeout:g} s for a step: expected at least 1, and more than 0 s")
        if os.name != "posix":
            raise UserError("--workers needs Linux or macOS: leave it out, environments then run in this process")
        require_importable(env)
        self.env = env
        self.shape = shape
        self.timeout = timeout
        self.parts = [part.tolist() for part in np.array_split(np.arange(count), min(processes, count))]
        self.owner = {k: (w, i) for w, part in enumerate(self.parts) for i, k in enumerate(part)}
        self.history: History = lambda slot: None
        self.exact = True  # every replayed episode gave the same observations
        self.restarts = [0] * len(self.parts)
        self.waited = timeout  # seconds, for the last answer
        self.processes: list[subprocess.Popen | None] = [None] * len(self.parts)
        self.connections: list[Connection | None] = [None] * len(self.parts)
        try:
            for w in range(len(self.parts)):
                reply = self._spawn(w)
                if reply is None:
                    raise UserError(f"a worker for {env} {self._ending(w)} before its first step")
                self.dtype = np.dtype(reply[0]["dtype"])
        except BaseException:
            self.close()
            raise

    def reset(self, slot: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The first observation of an episode, and its legal actions."""
        w, i = self.owner[slot]
        _, arrays = self._ask(w, pack({"do": "reset", "slot": i, "seed": seed}), "was reset")
        return arrays["obs"], arrays.get("mask")

    def step(self, slots: Sequence[int], actions: Sequence[Action], seeds: Sequence[int]) -> list[Outcome]:
        """Step some environments. Processes step at the same time.

        Raises:
            SlotFailed: an environment failed, or its process failed repeatedly.
        """
        shares: dict[int, list[int]] = {}
        for at, slot in enumerate(slots):
            shares.setdefault(self.owner[slot][0], []).append(at)
        messages = {}
        for w, share in shares.items():
            head = {"do": "step", "slots": [self.owner[slots[at]][1] for at in share]}
            chosen = np.asarray([actions[at] for at in share])
            messages[w] = pack({**head, "seeds": [int(seeds[at]) for at in share]}, {"actions": chosen})
            self._send(w, messages[w])
        found: dict[int, Outcome] = {}
        failed: SlotFailed | None = None
        for w, share in shares.items():
            try:  # every answer is read, so that none is left for the next message
                last = f"got the action {shown(actions[share[0]])}"
                _, arrays = self._answer(w, self._receive(w), messages[w], last)
            except SlotFailed as fault:
                failed = failed or fault
                continue
            found |= zip(share, from_outcomes(arrays), strict=True)
        if failed is not None:
            raise failed
        return [found[at] for at in range(len(slots))]

    def repeats(self, seed: int) -> bool:
        """Whether the first environment gives the same episode twice."""
        message = pack({"do": "repeats", "seed": seed})
        return bool(self._ask(0, message, "was tried", 2 * (1 + REPEATED))[0]["repeats"])

    def close(self) -> None:
        """End every process."""
        for w in range(len(self.parts)):
            self._stop(w)

    def _ask(self, w: int, message: bytes, last: str, steps: int = 1) -> Reply:
        self._send(w, message)
        return self._answer(w, self._receive(w, steps * self.timeout), message, last, steps)

    def _answer(self, w: int, reply: Reply | None, message: bytes, last: str, steps: int = 1) -> Reply:
        """The answer to `message`: `reply`, or if that is None (no answer), the answer of a new process."""
        row = 0
        while reply is None:
            ending = self._ending(w)
            if row == IN_A_ROW or self.restarts[w] == IN_ALL:
                self._stop(w)  # otherwise a late answer would be read as the next one
                times = f"{row + 1} times in a row" if row == IN_A_ROW else f"{IN_ALL + 1} times"
                raise SlotFailed(self.parts[w][0], f"{last}, and its worker process {ending}, {times}")
            row += 1
            self.restarts[w] += 1
            reply = self._spawn(w)
            if reply is not None and self._replay(w):
                self._send(w, message)
                reply = self._receive(w, steps * self.timeout)
            else:
                reply = None
        head, arrays = reply
        if "failed" in head:
            slot, what = head["failed"]
            raise SlotFailed(self.parts[w][slot], what)
        if "refused" in head:
            raise UserError(head["refused"])
        return head, arrays

    def _replay(self, w: int) -> bool:
        """Replay the open episodes in a new process. False if it has failed too."""
        for i, slot in enumerate(self.parts[w]):
            played = self.history(slot)
            if played is None:
                continue
            seed, actions, obs = played
            messages = [pack({"do": "reset", "slot": i, "seed": seed})]
            head = {"do": "step", "slots": [i], "seeds": [seed]}
            messages += [pack(head, {"actions": np.asarray([action])}) for action in actions]
            for message in messages:  # one by one: each step has its own time limit
                self._send(w, message)
                reply = self._receive(w)
                if reply is None:
                    return False
                answer, arrays = reply
                if "failed" in answer or "first_obs" in arrays:
                    self.exact = False
                    break
            else:
                self.exact &= np.array_equal(arrays["obs"].reshape(np.shape(obs)), obs)
        return True

    def _spawn(self, w: int) -> Reply | None:
        """Start a process and let it make its environments. Returns its answer, None if there was none."""
        self._stop(w)
        ours, theirs = socket.socketpair()
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        command = [sys.executable, "-P", "-m", "holdfast.environments.gym.worker", str(theirs.fileno())]
        with theirs:
            self.processes[w] = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=environ, stdin=subprocess.DEVNULL
            )
        self.connections[w] = Connection(ours.detach())
        self._send(w, pack({"do": "make", "env": self.env, "count": len(self.parts[w]), "shape": list(self.shape)}))
        reply = self._receive(w, max(self.timeout, STARTING))
        if reply is not None and "refused" in reply[0]:
            raise UserError(self._refused(reply[0]["refused"]))
        return reply

    def _refused(self, text: str) -> str:
        """Why a process made no environment, with a hint if this process alone knows its id."""
        import gymnasium

        if not text.startswith("unknown environment") or self.env not in gymnasium.registry:
            return text
        return (
            f"environment '{self.env}' is registered in this process only: name the module that registers it, as in "
            f"my_package:{self.env}, so that a worker process can import it, or leave workers out"
        )

    def _send(self, w: int, message: bytes) -> None:
        connection = self.connections[w]
        with contextlib.suppress(OSError):  # a dead process is noticed because it gives no answer
            if connection is not None:
                connection.send_bytes(message)

    def _receive(self, w: int, seconds: float | None = None) -> Reply | None:
        connection = self.connections[w]
        self.waited = seconds or self.timeout
        try:
            if connection is not None and connection.poll(self.waited):
                return unpack(connection.recv_bytes())
        except (EOFError, OSError):
            pass
        return None

    def _ending(self, w: int) -> str:
        """How a process without an answer ended, for the error message."""
        process = self.processes[w]
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process is not None:
                process.wait(0.5)
        code = None if process is None else process.returncode
        if code is None:
            return f"gave no answer for {self.waited:g} s"
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"

    def _stop(self, w: int) -> None:
        process = self.processes[w]
        connection = self.connections[w]
        self.processes[w] = self.connections[w] = None
        if connection is not None:
            connection.close()
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)  # it ends by itself once the socket is closed
            if process.poll() is None:
                process.kill()
                process.wait()
