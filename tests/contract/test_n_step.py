"""`n_step` of every method with a bootstrapped target."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import registry
from holdfast.core.contract import NStep, Transitions, Treatment
from holdfast.data.dataset import Dataset
from holdfast.data.feed import columns, readers, treatment
from holdfast.parts import targets
from support.learned import Learned, settings

# They learn from whole episodes, chunks or a model of single steps, evaluate a given policy, or have no values.
MODELS = {"combo", "fqe", "fqe_quantile", "mobile", "mopo", "morel", "rambo"}
RESIDUALS = {"algae_dice", "dice", "opti_dice"}  # duals, of single steps
TEAMS = {"mabcq", "omar", "omiga", "tabular_mabcq"}  # weights of single next states, or targets of a team
WITHOUT = (
    MODELS
    | RESIDUALS
    | TEAMS
    | {"awr", "bc", "decision_transformer", "filtered_bc", "flow_bc", "odt", "qc", "qc_fql", "tabular_bcq"}
)
NAMES = [name for name in registry.names() if "n_step" in settings(name)]


def test_every_method_with_a_target_has_the_setting():
    without = set(registry.names()) - set(NAMES)
    bootstraps = {name for name in without if "discount" in settings(name)}
    assert bootstraps <= WITHOUT, "add n_step to the config of a new method, or its name and the reason above"


@pytest.mark.parametrize("name", NAMES)
def test_rows_and_bounds(name):
    algorithm = registry.get(name)
    cfg = next(iter(algorithm.presets.values())).config
    one = algorithm.needs(dataclasses.replace(cfg, n_step=1))
    three = algorithm.needs(dataclasses.replace(cfg, n_step=3))
    assert one == Transitions(three.columns, three.batches)
    assert three == NStep(3, one.columns, one.batches)
    faults = algorithm.check(dataclasses.replace(cfg, n_step=0))
    assert faults == ["n_step is 0, expected positive"]


def line(n: int) -> Dataset:
    """Episodes of n steps to a reward of 1; the observation is the step."""
    episode = {
        "observations": np.arange(n + 1, dtype=np.float32)[:, None],
        "actions": np.zeros((n, 1), np.float32),
        "rewards": (np.arange(n) == n - 1).astype(float),
        "terminations": np.arange(n) == n - 1,
        "truncations": np.zeros(n, bool),
    }
    return Dataset.from_episodes([episode] * 2, action_bounds=(-1.0, 1.0))


def test_the_target_of_three_steps():
    """With V = 10 everywhere: .9^3 10 far from the end, and the discounted reward near it."""
    data = line(5)
    made = columns.prepare(data, treatment.fit(Treatment(), data))

    @jax.jit
    def target(made):
        return targets.td(readers.spans(made, jnp.arange(5), 3, 0.9), jnp.full(5, 10.0), 0.9)

    y = target(jax.tree.map(jnp.asarray, made))
    np.testing.assert_allclose(y, [7.29, 7.29, 0.81, 0.9, 1], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in NAMES if "continuous" in registry.get(n).actions])
def test_learning_with_three_steps(name):
    """Updates on rows of three steps leave finite numbers."""
    phases = {n: 3 for n in settings(name) if n.endswith("_steps") and n != "diffusion_steps"}
    found = Learned(name, line(6), 3, n_step=3, **{n: v for n, v in phases.items() if "decay" not in n})
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found.state) if np.asarray(x).dtype.kind == "f")
