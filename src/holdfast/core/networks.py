"""The networks that a run has in place of those of the method's source: widths, activation, LayerNorm, or own modules.

A network has a role: it is a policy ("actor"), an action value ("critic") or a state value ("value").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

import equinox as eqx

from .errors import UserError, one_line, unknown
from .imports import found_in, import_named, name_of

Role = Literal["actor", "critic", "value"]
ROLES: tuple[Role, ...] = get_args(Role)
ALL = "all"  # means every role that the mapping does not name
OBJECT = "object/"  # begins the name of a builder that no other process can import

# (key, inputs, outputs) -> a module of one row [inputs] to [outputs]; of an encoder: (key, shape) -> a module of one
# observation [*shape] to [d]
Builder = Callable[..., eqx.Module]
GIVE = "give the same one with network= or encoder= in Python"


class GivenNetwork(str):
    """The name of a builder of networks that a person gave, with the builder.

    It is a text, so it is saved and shown as a name is. Only the text reaches a file.
    """

    build: Builder

    def __new__(cls, name: str, build: Builder) -> GivenNetwork:
        made = super().__new__(cls, name)
        made.build = build
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> GivenNetwork:
        """Itself: a copy of the text alone could not build anything."""
        return self


class Networks(NamedTuple):
    """What a run changes in the networks of the method; hashable and static. The defaults change nothing."""

    activation: str | None = None  # of all hidden layers
    layer_norm: str | None = None  # position of LayerNorm
    actor_hidden: tuple[int, ...] = ()  # widths of the hidden layers of policies; (): as the method says
    critic_hidden: tuple[int, ...] = ()  # of action values
    value_hidden: tuple[int, ...] = ()  # of state values
    network: tuple[tuple[str, str], ...] = ()  # (role or "all", name of a builder), sorted

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Networks:
        """The networks that settings describe, among other settings, by name."""
        values = {name: settings[name] for name in cls._fields}
        return cls(**{**values, "network": tuple(sorted(values["network"].items()))})

    def hidden(self, role: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Widths of the hidden layers of the networks of a role; `default` are those of the method."""
        return getattr(self, f"{role}_hidden") or default

    def own(self, role: str) -> str | None:
        """Name of the builder of the networks of a role; None: they are MLPs."""
        named = dict(self.network)
        return named.get(role, named.get(ALL))

    @property
    def changed(self) -> dict[str, Any]:
        """What differs from the method's networks, JSON-ready, by name of the setting."""
        found = {name: value for name, value in self._asdict().items() if value}
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
        own = {role: str(builder) for role, builder in self.network}
        return {**lists, "network": own} if own else lists

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Networks:
        """The networks that `changed` wrote."""
        read: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**{**read, "network": tuple(sorted(read.get("network", {}).items()))})


def is_own(name: str | None) -> bool:
    """Whether a name is that of a builder, and not of an encoder of this package."""
    return name is not None and (":" in name or name.startswith(OBJECT))


_given: dict[str, GivenNetwork] = {}  # builders that callers gave in this process, by the name to import them


def given(build: Builder | str, what: str = "network") -> GivenNetwork:
    """A builder that a person gives: a class or a function, or `module:name`, which is imported.

    Raises:
        UserError: none of these, or the module cannot be imported.
    """
    if isinstance(build, GivenNetwork):
        return build
    if isinstance(build, str):
        return _kept(GivenNetwork(build, _imported(build, what)))
    if not callable(build):
        raise UserError(
            f"{what} has type {type(build).__name__}, expected a function that builds a module, or module:name"
        )
    name = name_of(build)
    if name is None:  # a file cannot name it, so it must be given again with each use
        return GivenNetwork(f"{OBJECT}{getattr(build, '__qualname__', type(build).__name__)}", build)
    return _kept(GivenNetwork(name, build))


def given_by_role(network: Builder | str | Mapping[str, Builder | str] | None) -> dict[str, str]:
    """The builders that a person gives for each role: one for all roles, or a mapping.

    Raises:
        UserError: an unknown role, or a builder that `given` refuses.
    """
    if network is None:
        return {}
    named = network if isinstance(network, Mapping) else {ALL: network}
    for role in named:
        if role not in (*ROLES, ALL):
            raise unknown("role of a network", str(role), (*ROLES, ALL))
    return {role: given(build, f"network of {role}") for role, build in named.items()}


def of_file(name: str, again: str | None, where: str, trust: bool) -> str:
    """The builder that a file names, with its function: given again, given before in this process, or imported.

    Args:
        name: its name in the file.
        again: the builder that the caller gives now; None: none.
        where: name of the file, for error messages.
        trust: import the module that the file names.

    Raises:
        UserError: no builder of this name is known, and the file is not trusted.
    """
    if again is not None:
        if again != name:
            raise UserError(f"{where} has the network {name}, not {again}: {GIVE}")
        return again
    if name in _given:
        return _given[name]
    if trust and not name.startswith(OBJECT):
        return given(name)
    how = "" if name.startswith(OBJECT) else ", or trust the file, which imports that module (trust=True)"
    raise UserError(f"{where} has the network {name}, which a file may not import: {GIVE}{how}")


def bound(networks: Mapping[str, str], again: Mapping[str, str], where: str, trust: bool) -> dict[str, str]:
    """`of_file` for the builders of each role. A builder for all roles may be given for each role of the file.

    Raises:
        UserError: a builder that `of_file` refuses, or one for a role for which the file has none.
    """
    for role in again:
        if role not in networks and not (role == ALL and networks):
            raise UserError(f"{where} has no network that was given for the role {role}: leave it out of network=")
    return {role: of_file(name, again.get(role, again.get(ALL)), where, trust) for role, name in networks.items()}


def builder_of(name: str) -> Builder:
    """The function behind the name of a builder.

    Raises:
        UserError: the name comes from a file, without its function.
    """
    if isinstance(name, GivenNetwork):
        return name.build
    raise UserError(f"the network {name} is a name only, which a file may not import: {GIVE}")


def _kept(made: GivenNetwork) -> GivenNetwork:
    _given[str(made)] = made
    return made


def _imported(name: str, what: str) -> Builder:
    module, colon, variable = name.partition(":")
    if not (colon and module and variable):
        raise UserError(f"{what} is '{name}', expected module:name of a function that builds a module")
    try:
        found = found_in(import_named(module), variable)
    except ImportError as fault:
        raise UserError(f"{what} {name}: cannot import {module}: {one_line(fault)}") from fault
    if not callable(found):
        raise UserError(f"{what} {name}: {module} has no function or class {variable}")
    return found
