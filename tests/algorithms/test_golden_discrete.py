"""Whole update steps of the discrete value methods equal to the recorded numbers (float64)."""

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import discrete_bcq, discrete_cql, dqn, ensemble_dqn, qr_dqn, rem
from holdfast.core.trained import Trained
from holdfast.parts import nets
from holdfast.parts.action_values import ActionValues, best, next_values, pick, td
from support.tapes import TOLERANCE, Golden, common, replay

pytestmark = pytest.mark.usefixtures("x64")


def values(g, root, suffix="", count=1):
    return ActionValues(g.mlp(f"{root}/q", suffix), count)


def same(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)


def settings(g):
    return {
        "critic_lr": g.setting("lr"),
        "adam_eps": g.setting("adam_eps"),
        "discount": g.setting("discount"),
        "hidden": (8, 8),
    }


@pytest.mark.parametrize(
    ("file", "algorithm"),
    [
        ("dqn_double", dqn),
        ("qr_dqn", qr_dqn),
        ("cql_discrete", discrete_cql),
        ("cql_discrete_qr", discrete_cql),
    ],
)
def test_the_family_of_d3rlpy(file, algorithm):
    g = Golden(file)
    given = {"double": g.setting("double_q"), "polyak": 1.0, "target_every": g.setting("target_update_interval")}
    losses, count = {"critic/loss": "loss"}, 1
    if "config/n_quantiles" in g.arrays:
        count = given["quantiles"] = g.setting("n_quantiles")
    if algorithm is discrete_cql:
        given |= {"alpha": g.setting("alpha"), "critic": "qr_dqn" if count > 1 else "dqn"}
        losses |= {"critic/td_loss": "td_loss", "critic/penalty": "conservative_loss"}
    cfg = algorithm.algorithm.Config(**given, **settings(g))
    state = dqn.State(
        Trained.new(values(g, "params", count=count), dqn.optimiser(cfg)), values(g, "target", count=count)
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.critic.net, state.target_critic
        return tuple(values(g, f"expected/{root}", suffix, count) for root in ("params", "target"))

    replay(algorithm.algorithm, cfg, state, g, expected, losses)

    # the targets y of every step
    for step in range(1, g.steps + 1):
        at = ("params", "target") if step == 1 else ("expected/params", "expected/target")
        online, target = (values(g, root, "" if step == 1 else f"/step{step - 1}", count) for root in at)
        following = next_values(online, target, g.batch(), cfg.double)
        wanted = g[f"expected/next_value/step{step}"]
        same(following, wanted.reshape(following.shape))
        same(td(g.batch(), following, cfg.discount), g[f"expected/y/step{step}"].reshape(following.shape))


@pytest.mark.parametrize(("name", "algorithm"), [("rem", rem), ("ensemble_dqn", ensemble_dqn)])
def test_ensembles(name, algorithm):
    g = Golden("rem")
    heads = g.setting("n_heads")
    cfg = algorithm.algorithm.Config(heads=heads, polyak=0.0, **settings(g))
    state = dqn.State(
        Trained.new(values(g, "params", count=heads), dqn.optimiser(cfg)), values(g, "target", count=heads)
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.critic.net, state.target_critic
        return values(g, f"expected/{name}/params", suffix, heads), values(g, "target", "", heads)

    tape = (lambda noise: noise) if name == "rem" else (lambda noise: {})
    replay(algorithm.algorithm, cfg, state, g, expected, {"critic/loss": f"{name}/loss"}, tape=tape)
    last = values(g, f"expected/{name}/params", f"/step{g.steps}", heads)
    same(last.mean(g.batch().obs), g[f"expected/{name}/acting_q_after_step{g.steps}"])
    for step in range(1, g.steps + 1):  # targets, of a target network that never moves
        target = values(g, "target", "", heads)
        if name == "rem":
            mixture = g.noise(step)["mixture_uniform"]
            mixture = mixture / mixture.sum()
            same(mixture, g[f"expected/rem/mixture/step{step}"])
            mixed = target.mix(mixture)(g.batch().next_obs)
            same(mixed[..., 0], target(g.batch().next_obs) @ mixture)
            following = pick(mixed, best(mixed[..., 0]))
        else:
            following = ensemble_dqn.best_of_each(target(g.batch().next_obs), None)
        same(td(g.batch(), following, cfg.discount), g[f"expected/{name}/y/step{step}"])


def test_discrete_bcq():
    g = Golden("bcq_discrete")
    cfg = discrete_bcq.DiscreteBCQ(
        imitation_lr=g.setting("lr"),
        adam_eps=g.setting("adam_eps"),
        critic_lr=g.setting("lr"),
        **common(g, "threshold", "logit_penalty"),
    )

    def imitation(root, suffix=""):
        return nets.CategoricalPolicy(g.mlp(f"{root}/imitation", suffix))

    state = discrete_bcq.State(
        Trained.new(values(g, "params"), dqn.optimiser(cfg)),
        Trained.new(imitation("params"), discrete_bcq.optimiser(cfg)),
        values(g, "target"),
    )

    def expected(state, suffix=None):  # theirs moves a target of the imitation network too, which nothing reads
        if suffix is None:
            return state.critic.net, state.imitation.net, state.target_critic
        at = "expected/params"
        return values(g, at, suffix), imitation(at, suffix), values(g, "expected/target", suffix)

    losses = {"critic/loss": "q_loss", "imitation/nll": "imitation_loss"}
    replay(discrete_bcq.algorithm, cfg, state, g, expected, losses)

    batch = g.batch()
    for step in range(1, g.steps + 1):
        at = ("params", "target") if step == 1 else ("expected/params", "expected/target")
        suffix = "" if step == 1 else f"/step{step - 1}"
        online, law = values(g, at[0], suffix), imitation(at[0], suffix)(batch.next_obs)
        among = discrete_bcq.allowed(law, None, cfg.threshold)
        np.testing.assert_array_equal(among, g[f"expected/imitation_ratio_mask/step{step}"].astype(bool))
        action = best(online.mean(batch.next_obs), among)
        np.testing.assert_array_equal(action, g[f"expected/next_action/step{step}"])
        y = td(batch, pick(values(g, at[1], suffix)(batch.next_obs), action), cfg.discount)
        same(y[:, 0], g[f"expected/y/step{step}"])
        # the two losses and the penalty on the logits make up theirs
        value, told = discrete_bcq.imitation_loss(imitation(at[0], suffix), cfg.logit_penalty, batch)
        same(value + g[f"expected/q_loss/step{step}"], g[f"expected/total_loss/step{step}"])
        assert jnp.isfinite(told["accuracy"])
