"""Records one episode as a video."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from ..core.errors import UserError, one_line
from ..environments.gym.adapter import make_env
from ..policy.policy import Policy
from .rollout import ENDLESS, Rollout


def record(policy: Policy, path: str | Path, env: str, seed: int = 0, mode: str = "best") -> tuple[float, int]:
    """Play the first episode of `evaluate(policy, env, seed=seed)` and record it.

    Args:
        policy: the policy that plays.
        path: an .mp4 file; its folder is created if it does not exist.
        env: environment id or EnvSpec as JSON; it must render to arrays.
        seed: seed of the episode and of sampled actions.
        mode: "best" or "sample".

    Returns:
        The episode's return and its length in steps.

    Raises:
        UserError: the extra `video` is not installed, the environment cannot render, the file cannot be written.
    """
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        raise UserError("recording a video needs a package that is not installed: pip install 'holdfast-rl[video]'")
    path = Path(path)
    if path.suffix != ".mp4":
        raise UserError(f"{path} is not the name of a video: expected a file that ends in .mp4")
    if sys.platform == "linux" and "DISPLAY" not in os.environ:
        os.environ.setdefault("MUJOCO_GL", "egl")  # without a screen, MuJoCo must render off-screen
    screen = _Screen(make_env(env, render_mode="rgb_array"))
    rollout = Rollout(lambda: screen, 1, 1)
    aside = path.with_name(f".aside-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        screen.open(aside)
        with warnings.catch_warnings():
            # the encoder is a child process, and jax warns of every fork, also of harmless ones
            warnings.filterwarnings("ignore", message=r"os\.fork", category=RuntimeWarning)
            played = rollout.run(Policy.stacked([policy]), seed, mode, ENDLESS)
        screen.finish()
        aside.replace(path)
    except OSError as fault:
        raise UserError(f"cannot write {path}: {fault.strerror or one_line(fault)}") from fault
    finally:
        with contextlib.suppress(OSError):
            screen.finish()
            aside.unlink(missing_ok=True)
        rollout.close()
    return float(played.returns[0, 0]), int(played.lengths[0, 0])


class _Screen(gymnasium.Wrapper):
    """An environment whose picture is written to a video after each reset and step."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.writer: Any = None

    def open(self, path: Path) -> None:
        import imageio.v2

        fps = int(self.env.metadata.get("render_fps") or 30)
        self.writer = imageio.v2.get_writer(path, format="FFMPEG", mode="I", fps=fps, macro_block_size=1)

    def finish(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        found = self.env.reset(seed=seed, options=options)
        self.show()
        return found

    def step(self, action: np.ndarray | int) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        found = self.env.step(action)
        self.show()
        return found

    def show(self) -> None:
        frame = np.asarray(self.env.render(), np.uint8)
        odd = [(0, n % 2) for n in frame.shape[:2]]  # the codec needs even sizes
        self.writer.append_data(np.pad(frame, [*odd, (0, 0)], mode="edge"))
