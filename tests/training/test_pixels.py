"""Methods that learn from images: catching a ball in pictures, and the policies that they ship."""

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.core.spec import ArraySpec
from holdfast.evaluation.evaluate import evaluate
from holdfast.policy.policy import Policy
from holdfast.runs.settings import Settings
from holdfast.training.plan.plan import plan
from holdfast.training.run import train
from support import pixels

LARGE = "jax/Catch36-v0"


def run(out, algorithm, data=None, **settings):
    return train(algorithm, data, out=out, block=200, **settings)


@pytest.mark.slow
def test_bc_learns_from_images_and_ships_a_policy(tmp_path):
    data = pixels.log(100)
    config = {"hidden": (64,), "batch_size": 32, "actor_lr": 1e-3}
    made = run(tmp_path / "run", "bc", data, steps=400, config=config, random_shift=1, eval_episodes=40, eval_every=400)
    assert made.result["return_mean"] > 0.8  # a random policy has -0.7
    policy = Policy.load(tmp_path / "run" / "policy")
    assert policy.spec.obs == ArraySpec((36, 36, 1), "uint8")
    assert policy.spec.encoder == "nature"
    again = evaluate(policy, LARGE, episodes=5, seed=1)
    assert again.returns.mean() > 0
    seen = data.observations[:6]
    actions = policy(seen)
    np.testing.assert_array_equal(policy(np.moveaxis(seen, -1, 1)), actions)  # channels first
    np.testing.assert_array_equal(policy(seen[..., 0]), actions)  # without channels
    assert policy(seen[3, ..., 0]) == actions[3]
    with pytest.raises(UserError, match=r"type float64, expected uint8"):
        policy(seen / 255)
    with pytest.raises(UserError, match=r"observations have shape \(6, 12, 12, 1\)"):
        policy(seen[:, ::3, ::3])


@pytest.mark.slow
def test_dqn_collects_images(tmp_path):
    """Rows of bytes in the replay buffer, in the compiled loop and in Gymnasium, with the same shapes."""
    config = {"hidden": (8,), "batch_size": 4, "warmup": 8}
    made = run(tmp_path / "jax", "dqn", env=LARGE, steps=16, config=config, evaluate=False)
    assert made.result["seeds"] == [0]
    settings = Settings.of("dqn", env=LARGE, steps=16, config=config, workers=1, evaluate=False)
    carry = plan(settings).shapes()[0]
    rows = carry.rings["online"].rows
    assert rows.obs.dtype == rows.next_obs.dtype == np.uint8
    assert rows.obs.shape[2:] == (36, 36, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("zoom", "encoder"), [(6, "nature"), (2, "impala")])
def test_dqn_learns_from_images(zoom, encoder, tmp_path):
    config = {"hidden": (64,), "batch_size": 32, "critic_lr": 5e-4, "discount": 0.9, "polyak": 0.02, "double": True}
    data = pixels.log(400, skill=0.3, zoom=zoom)
    made = run(tmp_path / "run", "dqn", data, steps=1500, config=config, eval_episodes=40, eval_every=1500)
    assert Policy.load(tmp_path / "run" / "policy").spec.encoder == encoder
    assert made.result["return_mean"] > 0.7


@pytest.mark.slow
def test_dqn_learns_online_from_images(tmp_path):
    config = {
        "hidden": (64,),
        "batch_size": 32,
        "critic_lr": 5e-4,
        "discount": 0.9,
        "polyak": 0.02,
        "epsilon_steps": 1000,
    }
    made = run(tmp_path / "run", "dqn", env=LARGE, steps=4000, config=config, eval_episodes=40, eval_every=4000)
    assert made.result["return_mean"] > 0.7


def test_what_images_cannot_have_is_refused():
    data = pixels.log(8, zoom=2)
    for algorithm, settings, text in (
        ("cql", {}, "cql needs continuous actions"),
        ("bc", {"encoder": "nature"}, "nature needs images of at least 36 x 36 pixels"),
        ("bc", {"encoder": "resnet"}, "unknown encoder"),
        ("bc", {"random_shift": -1}, "--random-shift is -1, expected at least 0"),
    ):
        with pytest.raises(UserError, match=text):
            plan(Settings.of(algorithm, data="catch", evaluate=False, **settings), data)
    with pytest.raises(UserError, match=r"tabular_bcq needs vectors of observations, catch has images; .*dqn"):
        plan(Settings.of("tabular_bcq", data="catch", evaluate=False), data)
    for name, value in (("random_shift", 4), ("encoder", "impala")):
        with pytest.raises(UserError, match="is for images"):
            plan(Settings.of("bc", data="bundled/pendulum-mixed", evaluate=False, **{name: value}))
