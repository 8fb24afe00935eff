"""Replays the recorded updates of the Q-learning family, whose state is a network of action values and its target."""

from __future__ import annotations

from typing import Any

import numpy as np

from holdfast.algorithms import dqn
from holdfast.core.contract import Algorithm
from holdfast.core.trained import Trained
from holdfast.parts import optimisers
from holdfast.parts.action_values import ActionValues, next_values, td
from support.tapes import TOLERANCE, Golden, replay


def values(g: Golden, root: str, suffix: str = "", count: int = 1) -> ActionValues:
    """The recorded network under `root`, with `count` estimates per action."""
    return ActionValues(g.mlp(f"{root}/q", suffix), count)


def same(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)


def settings(g: Golden) -> dict[str, Any]:
    """The recorded settings that every method of the family has."""
    return {
        "critic_lr": g.setting("lr"),
        "adam_eps": g.setting("adam_eps"),
        "discount": g.setting("discount"),
        "hidden": (8, 8),
    }


def started(g: Golden, cfg: Any, count: int = 1) -> dqn.State:
    """The state before the first recorded update."""
    tx = optimisers.adam(optimisers.cosine(cfg.critic_lr, cfg.critic_decay_steps), cfg.adam_eps)
    return dqn.State(Trained.new(values(g, "params", count=count), tx), values(g, "target", count=count))


def replay_d3rlpy(algorithm: Algorithm, file: str, losses: dict[str, str], **given: Any) -> None:
    """Updates, losses and targets of d3rlpy's `file`, which copies the target at an interval."""
    g = Golden(file)
    given |= {"double": g.setting("double_q"), "polyak": 1.0, "target_every": g.setting("target_update_interval")}
    count = 1
    if "config/n_quantiles" in g.arrays:
        count = given["quantiles"] = g.setting("n_quantiles")
    cfg = algorithm.Config(**given, **settings(g))

    def expected(state: dqn.State, suffix: str | None = None) -> tuple[ActionValues, ActionValues]:
        if suffix is None:
            return state.critic.net, state.target_critic
        return values(g, "expected/params", suffix, count), values(g, "expected/target", suffix, count)

    replay(algorithm, cfg, started(g, cfg, count), g, expected, {"critic/loss": "loss"} | losses)

    for step in range(1, g.steps + 1):
        at = ("params", "target") if step == 1 else ("expected/params", "expected/target")
        online, target = (values(g, root, "" if step == 1 else f"/step{step - 1}", count) for root in at)
        following = next_values(online, target, g.batch(), cfg.double)
        wanted = g[f"expected/next_value/step{step}"]
        same(following, wanted.reshape(following.shape))
        same(td(g.batch(), following, cfg.discount), g[f"expected/y/step{step}"].reshape(following.shape))
