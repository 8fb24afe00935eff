"""Replays the recorded updates of the Q-learning family, whose state is a network of action values and its target."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from holdfast.algorithms.q_learning import State
from holdfast.core.contract import Algorithm
from holdfast.core.noise import Tape
from holdfast.core.spec import Seen
from holdfast.core.trained import Trained
from holdfast.parts import optimisers
from holdfast.parts.action_values import ActionValues, next_values, td
from support.formulas import array, constant_values
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


def started(g: Golden, cfg: Any, count: int = 1) -> State:
    """The state before the first recorded update."""
    tx = optimisers.adam(optimisers.cosine(cfg.critic_lr, cfg.critic_decay_steps), cfg.adam_eps)
    return State(Trained.new(values(g, "params", count=count), tx), values(g, "target", count=count))


def replay_d3rlpy(algorithm: Algorithm, file: str, losses: dict[str, str], **given: Any) -> None:
    """Updates, losses and targets of d3rlpy's `file`, which copies the target at an interval."""
    g = Golden(file)
    given |= {"double": g.setting("double_q"), "polyak": 1.0, "target_every": g.setting("target_update_interval")}
    count = 1
    if "config/n_quantiles" in g.arrays:
        count = given["quantiles"] = g.setting("n_quantiles")
    cfg = algorithm.Config(**given, **settings(g))

    def expected(state: State, suffix: str | None = None) -> tuple[ActionValues, ActionValues]:
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


def check_policy_of_heads(algorithm: Algorithm) -> None:
    """The policy of K heads by their mean, minimum or lower bound, worked by hand."""
    q = array([5, 1], [2, 2.5], [9, -9])  # means 3, 2.25, 0; deviations 2, .25, 9
    state = State(Trained.new(constant_values(q), optimisers.adam(1.0)), None)
    seen = Seen(jnp.zeros((1, 3)), jnp.zeros(1))
    for acting, deviations, wanted in (("mean", 1.0, 0), ("min", 1.0, 1), ("lcb", 1.0, 1), ("lcb", 0.1, 0)):
        cfg = algorithm.Config(heads=2, acting=acting, acting_deviations=deviations)
        found, _ = algorithm.act(cfg, state, seen, (), Tape({}), "best")
        assert int(found[0]) == wanted
        assert float(algorithm.dist(cfg, state, seen, ()).logits[0, wanted]) == 0
    assert "expected one of mean, min, lcb" in algorithm.check(algorithm.Config(acting="max"))[0]


def replay_heads(algorithm: Algorithm, **how: Any) -> tuple[Golden, ActionValues]:
    """Replays the recorded updates of `rem.npz` for an algorithm with K heads, whose target network never moves.

    Returns:
        The recording and the target network.
    """
    g = Golden("rem")
    heads = g.setting("n_heads")
    cfg = algorithm.Config(heads=heads, polyak=0.0, target_every=1, **settings(g))
    at = f"expected/{algorithm.name}"
    target = values(g, "target", "", heads)

    def expected(state: State, suffix: str | None = None) -> tuple[ActionValues, ActionValues]:
        if suffix is None:
            return state.critic.net, state.target_critic
        return values(g, f"{at}/params", suffix, heads), target

    replay(algorithm, cfg, started(g, cfg, heads), g, expected, {"critic/loss": f"{algorithm.name}/loss"}, **how)
    last = values(g, f"{at}/params", f"/step{g.steps}", heads)
    same(last.mean(g.batch().obs), g[f"{at}/acting_q_after_step{g.steps}"])
    return g, target
