"""A process that steps environments for a run: `python -m holdfast.environments.gym.worker FD`. It never imports jax.

It answers one message at a time over the socket `FD` and ends when the socket is closed. A message is JSON and raw
arrays (see `pack`); nothing is pickled.
"""

from __future__ import annotations

import contextlib
import functools
import json
import signal
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ...core.errors import UserError
from .adapter import make_env
from .env_pool import LocalPool, Outcome, Shape, SlotFailed

OPTIONAL = ("mask", "first_obs", "first_mask")  # fields of an Outcome that may be None


def pack(head: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> bytes:
    """A message: the length of a JSON header, the header, and the bytes of the arrays that it describes."""
    given = {name: np.ascontiguousarray(x) for name, x in (arrays or {}).items()}
    about = [[name, x.dtype.str, list(x.shape)] for name, x in given.items()]
    header = json.dumps({"head": dict(head), "arrays": about}).encode()
    return b"".join([len(header).to_bytes(4, "little"), header, *(x.tobytes() for x in given.values())])


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The inverse of `pack`: the header and the arrays."""
    start = 4 + int.from_bytes(data[:4], "little")
    header = json.loads(data[4:start])
    arrays = {}
    for name, kind, shape in header["arrays"]:
        count = int(np.prod(shape, dtype=int))
        dtype = np.dtype(kind)
        arrays[name] = np.frombuffer(data, dtype, count, start).reshape(shape)
        start += count * dtype.itemsize
    return header["head"], arrays


def outcomes(found: list[Outcome]) -> dict[str, np.ndarray]:
    """Steps as arrays. Optional fields are left out if no step has them; `has_NAME` says which steps do."""
    made = {
        "obs": np.stack([o.obs for o in found]),
        "reward": np.array([o.reward for o in found]),
        "ended": np.array([[o.terminated, o.truncated] for o in found]),
    }
    for name in OPTIONAL:
        values = [getattr(o, name) for o in found]
        like = next((v for v in values if v is not None), None)
        if like is not None:
            made[name] = np.stack([np.zeros_like(like) if v is None else v for v in values])
            made[f"has_{name}"] = np.array([v is not None for v in values])
    return made


def from_outcomes(arrays: Mapping[str, np.ndarray]) -> list[Outcome]:
    """The inverse of `outcomes`."""

    def value(name: str, i: int) -> np.ndarray | None:
        return arrays[name][i] if name in arrays and arrays[f"has_{name}"][i] else None

    rows = zip(arrays["obs"], arrays["reward"].tolist(), arrays["ended"].tolist(), strict=True)
    return [
        Outcome(obs, reward, terminated, truncated, *(value(name, i) for name in OPTIONAL))
        for i, (obs, reward, (terminated, truncated)) in enumerate(rows)
    ]


def serve(connection: Connection) -> None:
    """Answer messages until the other end is closed."""
    pool: LocalPool | None = None
    while True:
        try:
            head, arrays = unpack(connection.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            if head["do"] == "make":
                shape = Shape(*head["shape"])
                pool = LocalPool(functools.partial(make_env, head["env"]), head["count"], shape)
                reply = pack({"dtype": pool.dtype.str})
            else:
                assert pool is not None, "the first message is to make environments"
                reply = answer(pool, head, arrays)
        except SlotFailed as fault:
            reply = pack({"failed": [fault.slot, fault.what]})
        except UserError as fault:
            reply = pack({"refused": str(fault)})
        try:
            connection.send_bytes(reply)
        except OSError:  # the run has ended
            return


def answer(pool: LocalPool, head: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """The answer to a message about existing environments."""
    if head["do"] == "reset":
        obs, mask = pool.reset(head["slot"], head["seed"])
        return pack({}, {"obs": np.asarray(obs)} | ({} if mask is None else {"mask": mask}))
    if head["do"] == "repeats":
        return pack({"repeats": pool.repeats(head["seed"])})
    actions = arrays["actions"].tolist() if pool.shape.discrete else arrays["actions"]
    return pack({}, outcomes(pool.step(head["slots"], list(actions), head["seeds"])))


def end_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends: a process that hangs never sees the closed socket."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the run saves first, then it closes the socket
        signal.signal(stop, signal.SIG_IGN)
    end_with_parent()
    serve(Connection(int(sys.argv[1])))
