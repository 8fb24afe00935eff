"""An evaluator of another run's policy: fitted Q evaluation with a critic whose solution is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.config import as_arrays, config
from holdfast.core.contract import Algorithm, Context, Frozen, Preset, Treatment
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise
from holdfast.core.spec import Seen, Spec
from holdfast.core.trained import Trained
from holdfast.core.tree import PyTree, ema
from holdfast.data import Dataset
from holdfast.data.feed.treatment import fit
from holdfast.parts import optimisers
from holdfast.policy.policy import Policy
from holdfast.training.run import resume, train
from support import policies
from support.small_runs import Stops, checkpoint, require_same

DISCOUNT = 0.5


@config
class FQE:
    """Fitted Q evaluation."""

    critic_lr: float = 1e-2  # Adam
    discount: float = DISCOUNT
    polyak: float = 0.05
    batch_size: int = 64


class State(PyTree):
    critic: Trained  # [d + A + 1] a linear critic
    target: jax.Array
    policy: Frozen  # who is evaluated


def q(w, obs, action):
    return obs @ w[: obs.shape[-1]] + action @ w[obs.shape[-1] : -1] + w[-1]


def init(cfg, ctx, noise):
    w = 0.1 * noise.normal("critic", (ctx.spec.obs[0] + ctx.spec.action + 1,))
    return State(Trained.new(w, optimisers.adam(cfg.critic_lr)), w, ctx.inputs["policy"])


def loss(w, batch, y):
    return jnp.square(q(w, batch.obs, batch.action) - y).mean(), {}


def update(cfg, state, batch, noise, step):
    count = batch.reward.shape[0]
    seen = Seen(batch.next_obs, jnp.zeros(count), batch.next_mask, step)
    action, _ = state.policy(seen, state.policy.start(count), noise.sub("policy"), "sample")
    y = batch.reward + cfg.discount * (1 - batch.terminated) * q(state.target, batch.next_obs, action)
    critic, found = state.critic.step(optimisers.adam(cfg.critic_lr), loss, batch, y, name="critic")
    return State(critic, ema(critic.net, state.target, cfg.polyak), state.policy), found


def act(cfg, state, seen, memory, noise, mode):
    return state.policy(seen, memory, noise, mode)


ALGORITHM = Algorithm(
    "small_fqe",
    FQE,
    init,
    update,
    act,
    {"only": Preset(FQE(), Treatment(), "here")},
    value=lambda cfg, state, obs, action: q(state.critic.net, obs, action),
    inputs=("policy",),
)
SETTINGS = {"steps": 900, "block": 300, "evaluate": False}


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Two observations far from zero, random actions; the reward is the first action's."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(10):
        action = rng.uniform(-1, 1, (50, 2)).astype(np.float32)
        made.append(
            {
                "observations": (100 + 10 * rng.standard_normal((51, 3))).astype(np.float32),
                "actions": action,
                "rewards": action[:, 0],
                "terminations": np.zeros(50, bool),
                "truncations": np.arange(50) == 49,
            }
        )
    return Dataset.from_episodes(made)


@pytest.fixture
def teacher(register, data, tmp_path):
    """A policy folder: the actions are constant, and it was trained on normalised observations."""
    register(policies.FAKE)
    register(ALGORITHM)
    cfg = policies.Settings(gain=1.0, spread=0.0)
    state = policies.init(as_arrays(cfg), Context(Spec((3,), 2)), Noise(jax.random.PRNGKey(0)))
    net = {"weight": jnp.zeros((3, 2)), "bias": jnp.array([0.5, -1.0])}
    state = policies.State(state.actor.replace(net), state.critic, state.count)
    fitted = fit(Treatment(normalize_obs=1e-3), data)
    return Policy(policies.FAKE, cfg, state, data.spec, fitted).save(tmp_path / "teacher" / "policy")


def test_an_evaluator_finds_the_value_of_its_input(teacher, data, tmp_path):
    """Q(s, a) = a_0 + discount * c / (1 - discount) if the policy always takes a_0 = c."""
    run = train("small_fqe", data, inputs={"policy": str(teacher.parent)}, out=tmp_path / "run", **SETTINGS)
    policy = run.policy()
    constant = np.tanh(0.5)
    np.testing.assert_allclose(policy(data.observations[:3])[:, 0], constant, rtol=1e-6)
    obs = policy.fitted.observe(data.observations[:5])
    action = np.full((5, 2), [constant, np.tanh(-1.0)], np.float32)
    found = ALGORITHM.value(as_arrays(policy.cfg), full_state(run), obs, action)
    np.testing.assert_allclose(found, constant / (1 - DISCOUNT), atol=0.02)


def full_state(run):
    """The last training state: a policy ships without its critic."""
    arrays = {n: np.frombuffer(b, t).reshape(s) for n, (t, s, b) in checkpoint(run.path).items()}
    net = jnp.asarray(arrays["state.critic.net"][0])
    return State(Trained(net, None), net, None)


def test_the_input_brings_its_treatment(teacher, data, tmp_path):
    run = train("small_fqe", data, inputs={"policy": str(teacher)}, out=tmp_path / "run", **{**SETTINGS, "steps": 10})
    own, its = run.policy().fitted, Policy.load(teacher).fitted
    np.testing.assert_array_equal(own.obs_mean, its.obs_mean)
    np.testing.assert_array_equal(own.obs_std, its.obs_std)
    assert own.normalized


def test_an_evaluation_resumes_to_the_same_bits(teacher, data, tmp_path):
    given = {"inputs": {"policy": str(teacher)}, **SETTINGS, "save_every": 300}
    whole = train("small_fqe", data, out=tmp_path / "whole" / "run", **given)
    cut = tmp_path / "cut" / "run"
    with pytest.raises(KeyboardInterrupt):
        train("small_fqe", data, out=cut, hooks=[Stops(2)], **given)
    require_same(resume(cut, data).path, whole.path)


def test_inputs_that_are_missing_unknown_or_unfit_are_refused(teacher, data, tmp_path):
    def refused(message, algorithm="small_fqe", log=data, **inputs):
        with pytest.raises(UserError, match=message):
            train(algorithm, log, inputs=inputs, out=tmp_path / "run", **SETTINGS)
        assert not (tmp_path / "run").exists()

    refused("small_fqe reads the inputs policy, got none: name each with --input policy=FOLDER")
    refused("reads the inputs policy, got teacher", teacher=str(teacher))
    refused("bc reads the inputs none, got policy: leave --input out", "bc", policy=str(teacher))
    refused("expected to hold one policy, it has none", policy=str(tmp_path / "nothing"))
    refused("input policy takes observations", log="bundled/pendulum-mixed", policy=str(teacher))
