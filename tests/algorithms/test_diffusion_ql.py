"""Diffusion-QL against numbers worked by hand (float64)."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from holdfast.algorithms import diffusion_ql
from holdfast.core.noise import Tape
from holdfast.core.spec import Seen
from holdfast.parts import diffusion
from support.formulas import array, batch, critics, linear, same

pytestmark = pytest.mark.usefixtures("x64")

LAST = diffusion.schedule(1).kept[0]  # with one step


def net(of_obs=0.0, of_x=0.0):
    """A network that predicts the noise `of_obs` s + `of_x` x for one action; the description of the step counts 0."""
    time = linear(*np.zeros((diffusion.TIME, diffusion.TIME)))
    return diffusion.SinusoidNet(time, linear([of_obs, of_x, *np.zeros(diffusion.TIME)]), 1)


def sampled(of_obs, of_x, obs, x):
    """The action after one step."""
    return np.clip((x - np.sqrt(1 - LAST) * (of_obs * obs + of_x * x)) / np.sqrt(LAST), -1, 1)


def state(cfg, slow=None):
    made = diffusion_ql.state_of(cfg, net(0.1, 0.9), critics([1, 1], [2, -1]))
    return diffusion_ql.State(made.actor, made.critic, slow or net(-0.2, 1.0), critics([1, 0.5], [0, 1]))


ONE = np.array([[0.5], [-0.5]])


@pytest.mark.parametrize("judge", [0, 1])
def test_the_actor_loss(run, judge):
    eps, sample_eps, t = array([1], [0.5]), array([[0.2], [-0.1]]), jnp.array([0, 0])
    b = batch(action=ONE)
    x = np.sqrt(LAST) * ONE + np.sqrt(1 - LAST) * eps
    cloning = ((0.1 * b.obs + 0.9 * x - eps) ** 2).mean()
    a = sampled(0.1, 0.9, np.array([1, 2]), np.array([0.2, -0.1]))
    q = np.array([np.array([1, 2]) + a, np.array([2, 4]) - a])
    critic = critics([1, 1], [2, -1])
    loss, found = run(
        lambda eps: diffusion_ql.actor_loss(net(0.1, 0.9), critic, b, t, eps, sample_eps, jnp.asarray(judge), 0.7), eps
    )
    same(found["cloning"], cloning)
    same(loss, cloning - 0.7 * q[judge].mean() / np.abs(q[1 - judge]).mean())


def draws(backup=False):
    eps = array([[0.1], [-0.2]])
    target = array([[[0.1], [0]], [[-0.3], [0]]]) if backup else array([[0.1], [0]])
    return {
        "target_eps": target,
        "actor_t": jnp.array([0, 0]),
        "actor_eps": eps[0],
        "actor_sample_eps": eps,
        "judge": jnp.asarray(1),
    }


def test_the_target():
    """The smaller target critic of the target actor's action; or the best of two for each critic, then the smaller."""
    cfg = diffusion_ql.DiffusionQL(diffusion_steps=1, discount=0.9, backup_actions=2)
    _, metrics = diffusion_ql.update(cfg, state(cfg), batch(action=ONE), Tape(draws()), jnp.asarray(0))
    a = sampled(-0.2, 1.0, 3, np.array([0.1, -0.3]))
    q = np.array([3 + 0.5 * a, a])
    same(metrics["critic/target"], (1 + 0.9 * q[:, 0].min() + 2) / 2)
    cfg = diffusion_ql.DiffusionQL(diffusion_steps=1, discount=0.9, backup_actions=2, max_backup=True)
    _, metrics = diffusion_ql.update(cfg, state(cfg), batch(action=ONE), Tape(draws(backup=True)), jnp.asarray(0))
    same(metrics["critic/target"], (1 + 0.9 * q.max(1).min() + 2) / 2)


def test_when_the_target_actor_moves():
    """At every second update from the third on; the target critics move always, to the new critics."""
    cfg = diffusion_ql.DiffusionQL(diffusion_steps=1, actor_polyak=0.5, actor_polyak_every=2, actor_polyak_start=3)
    first = state(cfg)
    for step, moves in ((2, False), (3, False), (4, True)):
        new, _ = diffusion_ql.update(cfg, first, batch(action=ONE), Tape(draws()), jnp.asarray(step))
        old = first.target_actor.net.layers[0].weight
        mean = 0.5 * (old + new.actor.net.net.layers[0].weight)
        same(new.target_actor.net.layers[0].weight, mean if moves else old)
    now, slow = new.critic.net.nets.layers[0].weight, first.target_critic.nets.layers[0].weight
    same(new.target_critic.nets.layers[0].weight, 0.995 * slow + 0.005 * now)


def test_gradients_are_clipped():
    """Adam's first moment is a tenth of the clipped gradient."""
    cfg = diffusion_ql.DiffusionQL(diffusion_steps=1, clip_norm=0.01)
    new, metrics = diffusion_ql.update(cfg, state(cfg), batch(action=ONE), Tape(draws()), jnp.asarray(0))
    assert metrics["critic/gradient_norm"] > 1
    same(optax.tree.norm(new.critic.opt[0].mu), 0.001, rtol=1e-4)


def test_acting():
    """Mode "best" takes the best candidate, mode "sample" one in proportion to exp(min Q)."""
    cfg = diffusion_ql.DiffusionQL(diffusion_steps=1, candidates=2)
    s = state(cfg)
    seen = Seen(array([1], [-1]), jnp.zeros(2))
    eps = array([[0.1], [0.1]], [[-0.2], [-0.2]])
    a = sampled(0.1, 0.9, np.array([1, -1]), np.array([[0.1, 0.1], [-0.2, -0.2]]))
    q = np.minimum(np.array([1, -1]) + 0.5 * a, a)
    gap = q[0] - q[1]
    share = 1 / (1 + np.exp(-gap[0]))  # of the first candidate, in the first row
    tape = {"candidates/act": eps}
    found = []
    for u in (share - 0.01, share + 0.01):  # the first wins if -log(-log u) is small enough next to its lead
        uniform = array([np.exp(np.log(0.5) * np.exp(gap[0])), 0.5], [0.5, 0.5])
        uniform = uniform.at[0, 0].multiply(1.01 if u < share else 0.99)
        found.append(diffusion_ql.act(cfg, s, seen, (), Tape({**tape, "act": uniform}), "sample")[0])
    same(found[0][0], a[0, :1])
    same(found[1][0], a[1, :1])
    best = [diffusion_ql.act(cfg, s, seen, (), Tape({}), "best")[0] for _ in range(2)]
    same(best[0], best[1])
