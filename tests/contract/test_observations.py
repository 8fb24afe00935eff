"""A cloner whose observations are uint8 images, or an image and a vector by name: trained, saved, loaded, acting."""

import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import registry
from holdfast.core.config import as_arrays, config
from holdfast.core.contract import Algorithm, Context, NStep, Transitions, Windows
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise
from holdfast.core.spec import ArraySpec, Batch, Spec, named
from holdfast.core.trained import Trained
from holdfast.core.tree import PyTree
from holdfast.data.feed import buffer, row_sources, sampler
from holdfast.data.feed.columns import Columns
from holdfast.data.feed.treatment import Fitted
from holdfast.parts import encoders, nets, optimisers
from holdfast.policy.policy import Policy
from holdfast.training.carry import replicate, seed_keys
from holdfast.training.loop import Program
from support.marks import quick

IMAGE = ArraySpec((4, 4, 2), "uint8")
SPECS = {
    "image": Spec(IMAGE, 1),
    "named": Spec(named(image=IMAGE, vector=ArraySpec((3,))), 1),
}
STEPS = 240


@config
class Cloner:
    """A cloner of encoded observations."""

    actor_lr: float = 1e-2  # Adam
    hidden: tuple[int, ...] = (32,)
    batch_size: int = 32


class State(PyTree):
    actor: Trained


def init(cfg, ctx, noise):
    arrays = ctx.spec.obs_arrays
    parts = {name: encoders.Flatten(one.shape) for name, one in arrays.items()} if isinstance(arrays, dict) else {}
    encoder = encoders.Concat(parts) if parts else encoders.Flatten(arrays.shape)
    sizes = (encoder.width, *cfg.hidden, ctx.spec.action)
    actor = encoders.Encoded(encoder, nets.DeterministicPolicy(nets.mlp(noise.sub("actor"), sizes)))
    return State(Trained.new(actor, optimisers.adam(cfg.actor_lr)))


def loss(actor, batch):
    return jnp.square(actor(batch.obs).mode() - batch.action).mean(), {}


def update(cfg, state, batch, noise, step):
    actor, metrics = state.actor.step(optimisers.adam(cfg.actor_lr), loss, batch, name="actor")
    return State(actor), metrics


def act(cfg, state, seen, memory, noise, mode):
    return state.actor.net(seen.obs).mode(), memory


ALGORITHM = Algorithm("encoded_cloner", Cloner, init, update, act, {})


def log(kind):
    """Two episodes; the wanted action is the brightness of the image, and the vector's first entry if there is one."""
    rng = np.random.default_rng(0)
    rows = STEPS + 2
    image = rng.integers(0, 256, (rows, 1, 1, 1)).astype(np.uint8) * np.ones((rows, *IMAGE.shape), np.uint8)
    wanted = image[:, 0, 0, :1].astype(np.float32) / 255 - 0.5
    obs = image
    if kind == "named":
        vector = rng.uniform(-0.4, 0.4, (rows, 3)).astype(np.float32)
        obs = {"image": image, "vector": vector}
        wanted = wanted + vector[:, :1]
    row = np.delete(np.arange(rows - 1), STEPS // 2)
    ends = np.isin(np.arange(STEPS), [STEPS // 2 - 1, STEPS - 1]).astype(np.float32)
    return Columns(obs, row.astype(np.int32), wanted[row], np.zeros(STEPS, np.float32), 0 * ends, ends), wanted


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(SPECS))
def test_a_cloner_of_encoded_observations(kind, register, tmp_path):
    register(ALGORITHM)
    spec = SPECS[kind]
    columns, wanted = log(kind)
    columns = jax.tree.map(jnp.asarray, columns)
    cfg = replicate([as_arrays(Cloner())])
    (phase,) = ALGORITHM.phases(Cloner())
    program = Program(ALGORITHM, phase, 0, cfg, seed_keys([0]), Context(spec, columns), {"data": columns})
    program.shapes(None)
    carry, metrics = program.run(program.start(None), 0, 600)
    assert np.isfinite(metrics.mean).all()
    state = jax.tree.map(lambda x: x[0], carry.state)
    fitted = Fitted(np.zeros(1), np.ones(1), action_low=-np.ones(1, np.float32), action_high=np.ones(1, np.float32),
                    keep_types=True)  # fmt: skip
    policy = Policy(ALGORITHM, Cloner(), state, spec, fitted)
    obs = jax.tree.map(np.asarray, columns.obs)
    actions = policy(obs)
    assert np.abs(actions - wanted).mean() < 0.05
    loaded = Policy.load(policy.save(tmp_path / "policy"))
    assert loaded.spec == spec
    np.testing.assert_array_equal(loaded(obs), actions)
    one = jax.tree.map(lambda x: x[7], obs)
    np.testing.assert_allclose(loaded(one), actions[7], atol=1e-6)


SLOW_NEEDS = [pytest.param(needs, marks=pytest.mark.slow) for needs in (NStep(3), Windows(3))]


@pytest.mark.parametrize("kind", quick(SPECS, "named"))
@pytest.mark.parametrize("needs", [Transitions(), *SLOW_NEEDS])
def test_bytes_stay_bytes_in_columns_rings_and_batches(kind, needs):
    spec = SPECS[kind]
    columns, _ = log(kind)
    columns = jax.tree.map(jnp.asarray, columns)
    ring = buffer.empty(buffer.blank_row(spec), 50)
    ring = jax.jit(lambda ring: buffer.add(ring, row_sources.rows(columns, jnp.arange(40)), jnp.ones(40, bool)))(ring)
    noise = Noise(jax.random.PRNGKey(0))
    lead = (16, 3) if isinstance(needs, Windows) else (16,)
    wanted = jax.tree.map(lambda x: ((*lead, *x.shape[1:]), str(x.dtype)), columns.obs)
    for mix in ({"data": 0.5, "online": 0.5}, "proportional"):
        sources = {"data": columns, "online": ring}
        draw = functools.partial(sampler.sample, sources, mix, 16, needs, discount=0.9)
        batch = jax.jit(lambda noise, draw=draw: draw(noise))(noise)
        shapes = jax.tree.map(lambda x: (x.shape, str(x.dtype)), batch.obs)
        assert shapes == wanted
        drawn = jax.tree.leaves(batch.obs)[0]
        assert isinstance(batch, Batch)
        assert np.isin(np.asarray(drawn)[..., 0, 0, 0], np.asarray(jax.tree.leaves(columns.obs)[0])[:, 0, 0, 0]).all()


def test_observations_that_do_not_fit_are_refused(register):
    register(ALGORITHM)
    state = init(as_arrays(Cloner()), Context(SPECS["named"]), Noise(jax.random.PRNGKey(0)))
    fitted = Fitted(np.zeros(1), np.ones(1), action_low=-np.ones(1, np.float32), action_high=np.ones(1, np.float32),
                    keep_types=True)  # fmt: skip
    policy = Policy(ALGORITHM, Cloner(), state, SPECS["named"], fitted)
    image = np.zeros((2, *IMAGE.shape), np.uint8)
    with pytest.raises(UserError, match="expected arrays by name: image, vector"):
        policy({"image": image})
    with pytest.raises(UserError, match=r"observations 'vector' have shape \(2, 4\), expected \(3,\)"):
        policy({"image": image, "vector": np.zeros((2, 4))})
    with pytest.raises(UserError, match="'image' have type float32, expected uint8"):
        policy({"image": image.astype(np.float32), "vector": np.zeros((2, 3))})
    with pytest.raises(UserError, match="different numbers of rows"):
        policy({"image": image, "vector": np.zeros((3, 3))})


def test_the_page_on_images_names_the_methods_that_learn_from_them():
    page = Path(__file__).resolve().parents[2] / "docs" / "images.md"
    listed = re.search(r"These methods learn from images: (.*?)\. The\s", page.read_text(), flags=re.S)
    assert listed
    assert sorted(re.findall(r"`(\w+)`", listed[1])) == [one.name for one in registry.every() if one.images]
