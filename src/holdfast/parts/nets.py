"""Networks of the algorithms: critics, state values and policies.

Every network maps rows `[..., in]`; the leading axes are those of the data. An ensemble is one network whose leaves
have a leading axis [E]; it is built and run with `vmap`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal, TypedDict, TypeVar, Unpack

import jax
import jax.numpy as jnp

from ..core.errors import UserError
from ..core.networks import Role, is_own
from ..core.noise import Noise
from ..core.spec import ArraySpec, Obs, Spec
from ..core.tree import PyTree, field
from . import layers as layers_of
from .distributions import Categorical, Deterministic, Distribution, Normal, TanhNormal, take
from .encoders import Encoded, encoder
from .initialisers import Initialiser, torch_uniform
from .layers import MLP, LayerNorm, joint
from .own import Own, own_network

N = TypeVar("N")
# How a Gaussian policy stays within the bounds: samples are clipped, the mean is a tanh, or the sample is a tanh.
Squash = Literal["none", "mean", "tanh"]
Trunk = MLP | Own  # of vectors
Network = Trunk | Encoded  # of observations: a vector, or what an encoder makes one of


class Layers(TypedDict, total=False):
    """Options of the layers of a network, see `mlp`."""

    activation: str
    norm: str
    eps: float
    init: Initialiser
    last: Initialiser | None


def mlp(
    noise: Noise,
    sizes: tuple[int, ...],
    *,
    activation: str = "relu",
    norm: str = "none",
    eps: float = 1e-6,
    init: Initialiser = torch_uniform,
    last: Initialiser | None = None,
) -> MLP:
    """An MLP with random weights.

    Args:
        noise: draws of the initial weights.
        sizes: (in, hidden ..., out).
        activation: name of the activation of the hidden layers, or several names separated by spaces, see `MLP`.
        norm: position of LayerNorm: "none", "pre", "post" or "first", see `MLP`.
        eps: constant under the root of LayerNorm.
        init: initialiser of every layer.
        last: initialiser of the output layer, if it differs from `init`.
    """
    pairs = list(itertools.pairwise(sizes))
    makers = [init] * (len(pairs) - 1) + [last or init]
    layers = tuple(make(noise.fold(i), a, b) for i, (make, (a, b)) in enumerate(zip(makers, pairs, strict=True)))
    normed = {"none": (), "first": sizes[1:-1][:1]}.get(norm, sizes[1:-1])
    norms = tuple(LayerNorm(jnp.ones(n), jnp.zeros(n), eps) for n in normed)
    return MLP(layers, norms, activation, norm)


def network(
    noise: Noise,
    spec: Spec,
    hidden: tuple[int, ...],
    out: int,
    given: int = 0,
    *,
    role: Role,
    **how: Unpack[Layers],
) -> Network:
    """A network of the observations of `spec`: an MLP if they are vectors, else an encoder and an MLP.

    What `spec.networks` says for the role takes the place of `hidden` and `how`; a user's module takes the place of the
    MLP, with its own initial weights.

    Args:
        noise: draws of the initial weights.
        spec: shapes of the problem.
        hidden: widths of the hidden layers.
        out: number of outputs.
        given: entries of a second input, for example an action, see `joint_of`.
        role: what the network is for.
        how: options of the layers of the MLP.

    Raises:
        UserError: a user's module that fails or gives another shape.
    """
    arrays = spec.obs_arrays
    if isinstance(arrays, ArraySpec) and len(arrays.shape) == 1 and not is_own(spec.encoder):
        return _trunk(noise, spec, role, (arrays.shape[0] + given, *hidden, out), how)
    made = encoder(noise.sub("encoder"), spec)
    return Encoded(made, _trunk(noise, spec, role, (made.width + given, *hidden, out), how))


def _trunk(noise: Noise, spec: Spec, role: Role, sizes: tuple[int, ...], how: Layers) -> Trunk:
    """The MLP of `sizes` and `how` with the run's changes, or the user's module."""
    chosen = spec.networks
    own = chosen.own(role)
    if own is not None:
        return own_network(noise, own, sizes[0], sizes[-1])
    changed: Layers = {**how}
    if chosen.activation is not None:
        changed["activation"] = chosen.activation
    if chosen.layer_norm is not None:
        changed["norm"] = chosen.layer_norm
    return mlp(noise, (sizes[0], *chosen.hidden(role, sizes[1:-1]), sizes[-1]), **changed)


def joint_of(net: Network, obs: Obs, x: jax.Array, keep: tuple[jax.Array, ...] = ()) -> jax.Array:
    """A network of (observation, x): observations are encoded if they are not vectors, see `layers.joint`."""
    if isinstance(net, Encoded):
        return joint_of(net.net, net.encoder(obs), x, keep)
    if isinstance(net, Own):
        return net.joint(obs, x, keep)
    return joint(net, obs, x, keep)


def mlp_of(net: Network, what: str) -> MLP:
    """The MLP of a network of vectors, or behind its encoder.

    Args:
        net: the network, or an ensemble.
        what: what needs the layers, for the error message.

    Raises:
        UserError: the network is a user's module.
    """
    trunk = net.net if isinstance(net, Encoded) else net
    if isinstance(trunk, MLP):
        return trunk
    raise UserError(
        f"{what} needs the layers of an MLP, and this network is a module of yours: leave it out for this role, or "
        f"switch {what} off in the settings of the method"
    )


def dropout(noise: Noise, name: str, rate: float, lead: tuple[int, ...], net: Network) -> tuple[jax.Array, ...]:
    """`layers.dropout` for the hidden layers of a network.

    Raises:
        UserError: the network is a user's module, and the rate is not 0.
    """
    return layers_of.dropout(noise, name, rate, lead, mlp_of(net, "dropout").widths) if rate else ()


def ensemble(make: Callable[[Noise], N], noise: Noise, n: int) -> N:
    """`n` networks, each with its own draws: one network with leaves [n, ...]."""
    return jax.vmap(lambda i: make(noise.fold(i)))(jnp.arange(n))


class Critic(PyTree):
    """An ensemble of E action-value functions.

    Continuous actions: networks of (observation, action). Discrete actions: networks of the observation with one output
    per action.
    """

    nets: Network  # leaves [E, ...]
    discrete: bool = field(static=True, default=False)

    def __call__(self, obs: Obs, action: jax.Array, keep: tuple[jax.Array, ...] = ()) -> jax.Array:
        """Q(s, a): obs [..., d] and action [..., A] (integers [...] if discrete) to [E, ...].

        Continuous actions may have more leading axes than the observations, see `layers.joint`. `keep` holds the
        factors of dropout [E, ..., width], see `layers.dropout`.
        """
        if self.discrete:
            return jax.vmap(take, (0, None))(self.all(obs), action)
        return jax.vmap(lambda net, keep: joint_of(net, obs, action, keep))(self.nets, keep)[..., 0]

    def all(self, obs: Obs) -> jax.Array:
        """Q(s, .) of a discrete critic: [..., d] to [E, ..., A]."""
        return jax.vmap(lambda net: net(obs))(self.nets)


def first(nets: N) -> N:
    """The first network of an ensemble; its leaves keep a leading axis [1]."""
    return jax.tree.map(lambda x: x[:1], nets)


def critic(noise: Noise, spec: Spec, hidden: tuple[int, ...], n: int = 2, **how: Unpack[Layers]) -> Critic:
    """`n` independent critics for the action space of `spec`."""
    out = spec.action if spec.discrete else 1
    given = 0 if spec.discrete else spec.action

    def make(noise: Noise) -> Network:
        return network(noise, spec, hidden, out, given, role="critic", **how)

    return Critic(ensemble(make, noise, n), spec.discrete)


class Value(PyTree):
    """A state-value function."""

    net: Network

    def __call__(self, obs: Obs) -> jax.Array:
        """V(s): [..., d] to [...]."""
        return self.net(obs)[..., 0]


def value(noise: Noise, spec: Spec, hidden: tuple[int, ...], **how: Unpack[Layers]) -> Value:
    """A state value network."""
    return Value(network(noise, spec, hidden, 1, role="value", **how))


class Policy(PyTree):
    """Maps observations [..., d] to a distribution over actions; `keep` as in `layers.dropout`."""

    net: Network

    def __call__(self, obs: Obs, keep: tuple[jax.Array, ...] = ()) -> Distribution:
        raise TypeError("Policy is abstract")


class DeterministicPolicy(Policy):
    """a = tanh(MLP(s))."""

    def __call__(self, obs: Obs, keep: tuple[jax.Array, ...] = ()) -> Deterministic:
        return Deterministic(jnp.tanh(self.net(obs, keep)))


class CategoricalPolicy(Policy):
    """Discrete actions with logits MLP(s)."""

    def __call__(self, obs: Obs, keep: tuple[jax.Array, ...] = ()) -> Categorical:
        return Categorical(self.net(obs, keep))


class GaussianPolicy(Policy):
    """A Gaussian whose log standard deviation is a parameter that does not depend on the state.

    `squash` is "mean": a plain normal with mean tanh(MLP(s)), as in IQL; "none": with mean MLP(s), as in AWAC;
    or "tanh": the tanh of a normal.
    """

    log_std: jax.Array  # [A]
    low: float = field(static=True, default=-5.0)
    high: float = field(static=True, default=2.0)
    squash: Squash = field(static=True, default="mean")

    def __call__(self, obs: Obs, keep: tuple[jax.Array, ...] = ()) -> Normal | TanhNormal:
        mean = self.net(obs, keep)
        log_std = jnp.broadcast_to(jnp.clip(self.log_std, self.low, self.high), mean.shape)
        return _gaussian(mean, log_std, self.squash)


class GaussianHeadsPolicy(Policy):
    """A Gaussian whose mean and log standard deviation are the 2A outputs of the network, as in SAC.

    The log standard deviation is clipped to [low, high]. `edge` and `floor` are those of `TanhNormal`.
    """

    low: float = field(static=True, default=-20.0)
    high: float = field(static=True, default=2.0)
    squash: Squash = field(static=True, default="tanh")
    edge: float = field(static=True, default=1e-6)
    floor: float = field(static=True, default=0.0)

    def __call__(self, obs: Obs, keep: tuple[jax.Array, ...] = ()) -> Normal | TanhNormal:
        mean, log_std = jnp.split(self.net(obs, keep), 2, -1)
        return _gaussian(mean, jnp.clip(log_std, self.low, self.high), self.squash, self.edge, self.floor)


class SigmoidGaussianPolicy(Policy):
    """A plain normal with mean tanh(MLP(s)) and log standard deviation -5 + 5 sigmoid(parameter) in every state."""

    parameter: jax.Array  # [A]

    def __call__(self, obs: Obs, keep: tuple[jax.Array, ...] = ()) -> Normal:
        mean = jnp.tanh(self.net(obs, keep))
        return Normal(mean, jnp.broadcast_to(-5 + 5 * jax.nn.sigmoid(self.parameter), mean.shape))


def _gaussian(
    mean: jax.Array, log_std: jax.Array, squash: Squash, edge: float = 1e-6, floor: float = 0.0
) -> Normal | TanhNormal:
    if squash == "tanh":
        return TanhNormal(mean, log_std, edge, floor)
    return Normal(jnp.tanh(mean) if squash == "mean" else mean, log_std)


def categorical_policy(noise: Noise, spec: Spec, hidden: tuple[int, ...], **how: Unpack[Layers]) -> CategoricalPolicy:
    """A policy over the discrete actions of `spec`."""
    return CategoricalPolicy(network(noise, spec, hidden, spec.action, role="actor", **how))


def deterministic_policy(
    noise: Noise, spec: Spec, hidden: tuple[int, ...], **how: Unpack[Layers]
) -> DeterministicPolicy | CategoricalPolicy:
    """A deterministic policy for the action space of `spec`; a categorical one if actions are discrete."""
    if spec.discrete:
        return categorical_policy(noise, spec, hidden, **how)
    return DeterministicPolicy(network(noise, spec, hidden, spec.action, role="actor", **how))


def gaussian_policy(
    noise: Noise,
    spec: Spec,
    hidden: tuple[int, ...],
    *,
    low: float = -5.0,
    high: float = 2.0,
    squash: Squash = "mean",
    **how: Unpack[Layers],
) -> GaussianPolicy | CategoricalPolicy:
    """A Gaussian policy with one deviation for all states (at first 1); a categorical one if actions are discrete."""
    if spec.discrete:
        return categorical_policy(noise, spec, hidden, **how)
    net = network(noise, spec, hidden, spec.action, role="actor", **how)
    return GaussianPolicy(net, jnp.zeros(spec.action), low, high, squash)


def gaussian_heads_policy(
    noise: Noise,
    spec: Spec,
    hidden: tuple[int, ...],
    *,
    low: float = -20.0,
    high: float = 2.0,
    squash: Squash = "tanh",
    edge: float = 1e-6,
    floor: float = 0.0,
    **how: Unpack[Layers],
) -> GaussianHeadsPolicy | CategoricalPolicy:
    """A Gaussian policy whose deviation depends on the state; a categorical one if actions are discrete."""
    if spec.discrete:
        return categorical_policy(noise, spec, hidden, **how)
    net = network(noise, spec, hidden, 2 * spec.action, role="actor", **how)
    return GaussianHeadsPolicy(net, low, high, squash, edge, floor)
