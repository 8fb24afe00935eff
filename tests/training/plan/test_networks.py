"""Every method has the networks that a run chooses, or refuses them before anything is compiled."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast import Dataset, UserError
from holdfast.algorithms import registry
from holdfast.core import config
from holdfast.core.contract import Context
from holdfast.core.networks import Networks, given
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.dynamics.learning import Learning
from holdfast.parts.diffusion import StepCode
from holdfast.parts.layers import MLP
from holdfast.parts.own import Own
from holdfast.parts.transition_vae import TransitionVAE
from holdfast.parts.vae import VAE
from holdfast.runs.settings import Settings
from holdfast.training.plan.plan import plan
from support.marks import quick

# the roles of the networks of each method; a method that is not named has policies and critics
ROLES = {
    "bc": {"actor"},
    "filtered_bc": {"actor"},
    "flow_bc": {"actor"},
    "idql": {"critic", "value"},
    "awr": {"actor", "value"},
    "morel": {"actor", "value"},
    **{
        name: set() for name in ("tabular_bcq", "tabular_mabcq", "decision_transformer", "odt")
    },  # a table, and transformers
    **{name: {"critic"} for name in ("dqn", "qr_dqn", "ensemble_dqn", "rem", "discrete_cql")},
    **{
        name: {"actor", "critic", "value"}
        for name in ("ifql", "iql", "iql_online", "iql_concurrent", "xql", "obac", "opti_dice", "omiga")
    },
}
# the others need a policy of another run, or the log of a team
NAMES = [n for n in registry.names() if not (registry.get(n).inputs or registry.get(n).member)]
WITHIN = (VAE, TransitionVAE, Learning, StepCode)  # autoencoders, models and descriptions of diffusion steps
WIDTHS = {"actor": "actor_hidden", "critic": "critic_hidden", "value": "value_hidden"}
SPECS = {"continuous": Spec((3,), 2, horizon=20), "discrete": Spec((3,), 4, True, horizon=20)}


class Tower(eqx.Module):
    """A small own network with a function as a leaf, as in the networks of Equinox."""

    net: eqx.nn.MLP

    def __init__(self, key, inputs, outputs):
        self.net = eqx.nn.MLP(inputs, outputs, 5, 1, activation=lambda x: jnp.sin(x), key=key)

    def __call__(self, x):
        return self.net(x)


def kind_of(algorithm):
    return "continuous" if "continuous" in algorithm.actions else "discrete"


def small(algorithm):
    """Settings with small networks and batches."""
    fields = dataclasses.fields(algorithm.Config)
    sizes = {field.name: [8, 8] for field in fields if field.name.endswith("hidden")}
    return {**sizes, **{field.name: 1 for field in fields if field.name == "warmup"}, "batch_size": 4}


def first_state(algorithm, networks):
    preset = next(iter(algorithm.presets.values()))
    cfg = config.from_dict(algorithm.Config, {**config.to_dict(preset.config), **small(algorithm)})
    cfg = config.over_the_run(cfg, 4)
    ctx = Context(SPECS[kind_of(algorithm)]._replace(networks=networks))
    return jax.eval_shape(algorithm.init, config.as_arrays(cfg), ctx, Noise(jax.random.PRNGKey(0)))


def shapes(tree):
    return [x.shape for x in jax.tree.leaves(tree)]


def found(state, kind):
    """The networks of a kind outside of autoencoders, learned models and descriptions of diffusion steps."""
    every = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, (kind, *WITHIN)))
    return [x for x in every if isinstance(x, kind)]


@pytest.mark.parametrize("name", NAMES)
def test_first_state(name):
    """Named choices reach all networks but autoencoders and learned models; own modules replace all of them."""
    algorithm = registry.get(name)
    roles = ROLES.get(name, {"actor", "critic"})
    named = Networks("gelu", "post")
    state = first_state(algorithm, named)
    assert {(net.activation, net.norm) for net in found(state, MLP)} <= {("gelu", "post")}
    widths = {"actor": 101, "critic": 211, "value": 307}
    changed = first_state(algorithm, named._replace(**{WIDTHS[role]: (width,) for role, width in widths.items()}))
    sizes = {size for shape in shapes(changed) for size in shape}
    assert {role for role, width in widths.items() if width in sizes} == roles
    if roles and name != "uwac":
        own = first_state(algorithm, Networks(network=(("all", given(Tower)),)))
        assert len(found(own, Own)) == len(found(state, MLP)) > 0
        assert not found(own, MLP)


def rows(kind):
    """Four episodes of six steps of three numbers, ended and cut in turn."""
    rng = np.random.default_rng(0)
    last = np.arange(6) == 5
    episodes = [
        {
            "observations": rng.normal(size=(7, 3)),
            "actions": rng.uniform(-0.9, 0.9, (6, 2)) if kind == "continuous" else np.arange(6) % 4,
            "rewards": rng.normal(size=6),
            "terminations": last & (i % 2 == 0),
            "truncations": last & (i % 2 == 1),
        }
        for i in range(4)
    ]
    return Dataset.from_episodes(episodes, action_bounds=(-1.0, 1.0) if kind == "continuous" else None)


def planned(name, more=None, **networks):
    """The plan of a run with small networks."""
    algorithm = registry.get(name)
    values = {**small(algorithm), **(more or {})}
    settings = Settings.of(name, data="rows", config=values, steps=4, evaluate=False, **networks)
    return plan(settings, rows(kind_of(algorithm)))


NAMED = {"activation": "silu", "layer_norm": "pre"}


@pytest.mark.parametrize("name", quick(sorted(set(NAMES) - {"tabular_bcq", "tabular_mabcq"}), "rem"))
def test_updates(name):
    """An update keeps the structure of a state with other networks, in every phase. Nothing is compiled."""
    roles = ROLES.get(name, {"actor", "critic"})
    own = {f.name for f in dataclasses.fields(registry.get(name).Config)}
    widths = {WIDTHS[role]: (3, 5, 7) for role in roles}
    made = planned(name, **NAMED, **widths)
    assert made.task.spec.networks.activation == "silu"
    assert any(7 in shape for shape in shapes(made.shapes()))
    assert (made.task.spec.networks.critic_hidden == ()) == ("critic" not in roles or "critic_hidden" in own)
    off = {key: 0.0 for key in ("actor_dropout",) if key in own}
    if name == "uwac":
        with pytest.raises(UserError, match="needs the layers of an MLP"):
            planned(name, network=Tower)
        planned(name, network={"actor": Tower})
    else:
        assert found(planned(name, off, network=Tower).shapes(), Own)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("brac_v", {"divergence": "wasserstein", "critic_weight_decay": 0.1, "actor_weight_decay": 0.1}),
        ("discrete_cql", {"critic": "qr_dqn", "quantiles": 3}),
        ("plas", {"phi": 0.1}),
        ("aca", {"squashed": False}),
    ],
)
def test_updates_with_other_settings(name, more):
    assert found(planned(name, more, network=Tower, activation="gelu").shapes(), Own)
    assert planned(name, more, activation="gelu", layer_norm="post").shapes()


@pytest.mark.parametrize(
    ("name", "networks", "message"),
    [
        ("td3_bc", {"value_hidden": (8,)}, "--value-hidden: td3_bc has no networks for the roles that are not actor"),
        ("dqn", {"network": {"actor": Tower}}, "--network actor=: dqn has no networks for the roles"),
        ("tabular_bcq", {"activation": "tanh"}, "--activation: tabular_bcq has no networks"),
        ("bc", {"activation": "relu6"}, "unknown activation"),
        ("bc", {"layer_norm": "before"}, "unknown position of LayerNorm"),
        ("bc", {"actor_hidden": (8, -1)}, "--actor-hidden is .8, -1., expected widths"),
        ("bc", {"network": {"policy": Tower}}, "unknown role of a network 'policy'"),
        ("bc", {"network": "tower"}, "expected module:name"),
        ("bc", {"network": "no_such_module_here:tower"}, "cannot import no_such_module_here"),
        ("bc", {"network": lambda key, inputs, outputs: eqx.nn.Linear(inputs, 1, key=key)}, "gives .1. for a row"),
        ("bc", {"network": lambda key, inputs, outputs: eqx.nn.Linear(9, outputs, key=key)}, "fails on one input"),
        ("bcq", {"encoder": lambda key, shape: eqx.nn.Linear(3, 4, key=key)}, "without an encoder"),
    ],
)
def test_refusals(name, networks, message):
    with pytest.raises(UserError, match=message) as refusal:
        planned(name, **networks)
    assert "\n" not in str(refusal.value)


def test_a_setting_of_the_method_comes_before_that_of_the_run():
    settings = Settings.of("cal_ql", data="rows", critic_hidden=(5, 6))
    assert settings.config["critic_hidden"] == [5, 6]
    assert settings.critic_hidden == ()


def test_the_third_stage_of_aca_has_the_layers_of_the_critics():
    """The critics of stage 3 have the weights of Z, and the optimiser's state of the critics of stage 1."""
    algorithm = registry.get("aca")
    networks = Networks("tanh", "pre", critic_hidden=(5, 6))
    cfg = config.as_arrays(config.from_dict(algorithm.Config, small(algorithm)))
    ctx = Context(SPECS["continuous"]._replace(networks=networks))
    (online,) = algorithm.finetune(config.from_dict(algorithm.Config, small(algorithm)))
    state = first_state(algorithm, networks)
    after = jax.eval_shape(online.enter, cfg, state, ctx, Noise(jax.random.PRNGKey(0)))
    assert (after.critic.net.nets.activation, after.critic.net.nets.norm) == ("tanh", "pre")
    assert shapes(after.critic) == shapes(state.critic)
    own = first_state(algorithm, Networks(network=(("critic", given(Tower)),)))
    with pytest.raises(UserError, match="stage 3"):
        jax.eval_shape(online.enter, cfg, own, ctx, Noise(jax.random.PRNGKey(0)))


def test_json():
    networks = Networks("tanh", None, (3, 4), network=(("critic", given(Tower)),))
    spec = SPECS["discrete"]._replace(networks=networks)
    text = json.dumps(spec.to_dict())
    again = Spec.from_dict(json.loads(text))
    assert again == spec
    assert type(dict(again.networks.network)["critic"]) is str  # a name alone: a file holds no function
    assert "networks" not in SPECS["discrete"].to_dict()  # version 0.1.0 reads it
