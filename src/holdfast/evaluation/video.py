"""One episode as a video."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..environments.gym.adapter import make_env, one_line
from ..policy.policy import Policy
from .rollout import ENDLESS, Arena


def record(policy: Policy, path: str | Path, env: str, seed: int = 0, mode: str = "best") -> tuple[float, int]:
    """Play the first episode of `evaluate(policy, env, seed=seed)` and write what the environment shows.

    Args:
        policy: who plays.
        path: an .mp4 file; its folder is made where missing.
        env: environment id or EnvSpec as JSON; it must render to arrays.
        seed: of the episode and of sampled actions.
        mode: "best" or "sample".

    Returns:
        The episode's return and its length in steps.

    Raises:
        UserError: the extra `video` is not installed, the environment cannot render, the file cannot be written.
    """
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        raise UserError("recording a video needs a package that is not installed: pip install 'holdfast[video]'")
    path = Path(path)
    if path.suffix != ".mp4":
        raise UserError(f"{path} is no name for a video: expected one that ends in .mp4")
    if sys.platform == "linux" and "DISPLAY" not in os.environ:
        os.environ.setdefault("MUJOCO_GL", "egl")  # without a screen, MuJoCo has to be told to draw off it
    screen = _Screen(make_env(env, render_mode="rgb_array"), path)
    arena = Arena(lambda: screen, 1, 1)
    aside = path.with_name(f".aside-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        screen.open(aside)
        with warnings.catch_warnings():
            # the encoder is a process of its own, and jax warns of every fork, harmless ones too
            warnings.filterwarnings("ignore", message=r"os\.fork", category=RuntimeWarning)
            played = arena.run(Policy.stacked([policy]), seed, mode, ENDLESS)
        screen.finish()
        aside.replace(path)
    except OSError as fault:
        raise UserError(f"cannot write {path}: {fault.strerror or one_line(fault)}") from fault
    finally:
        with contextlib.suppress(OSError):
            screen.finish()
            aside.unlink(missing_ok=True)
        arena.close()
    return float(played.returns[0, 0]), int(played.lengths[0, 0])


class _Screen:
    """An environment whose picture is written after each reset and step."""

    def __init__(self, env: Any, path: Path) -> None:
        self.env, self.path = env, path
        self.writer: Any = None
        self.observation_space, self.action_space, self.spec = env.observation_space, env.action_space, env.spec
        self.unwrapped, self.close = env.unwrapped, env.close

    def open(self, path: Path) -> None:
        import imageio.v2

        fps = int(self.env.metadata.get("render_fps") or 30)
        self.writer = imageio.v2.get_writer(path, format="FFMPEG", mode="I", fps=fps, macro_block_size=1)

    def finish(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = None

    def reset(self, *, seed: int) -> Any:
        seen = self.env.reset(seed=seed)
        self.show()
        return seen

    def step(self, action: Any) -> Any:
        seen = self.env.step(action)
        self.show()
        return seen

    def show(self) -> None:
        frame = np.asarray(self.env.render(), np.uint8)
        odd = [(0, n % 2) for n in frame.shape[:2]]  # the codec takes even sizes only
        self.writer.append_data(np.pad(frame, [*odd, (0, 0)], mode="edge"))
