"""Refusals of networks that a run chooses and its method does not have."""

from __future__ import annotations

from typing import Any

import jax

from ...core import config
from ...core.contract import Algorithm
from ...core.errors import UserError
from ...core.networks import ALL, ROLES, Networks, Role, is_own
from ...core.noise import Noise
from ...core.spec import Cfg
from .task import Task

PROBE = (1,) * 9  # widths that no method has


def require_networks(algorithm: Algorithm, cfg: Cfg, task: Task) -> None:
    """Refuse changes of networks that the method does not have, and modules that fail. Nothing is compiled.

    Raises:
        UserError: naming the settings, or the fault of a user's module.
    """
    chosen = task.spec.networks
    if not (chosen.changed or is_own(task.spec.encoder)):
        return
    found = roles_of(algorithm, cfg, task)
    named = dict(chosen.network)
    faults = [f"--{role}-hidden" for role in ROLES if chosen.hidden(role, ()) and role not in found]
    faults += [f"--network {role}=" for role in ROLES if role in named and role not in found]
    if not found:
        faults += [f"--{name.replace('_', '-')}" for name in ("activation", "layer_norm") if getattr(chosen, name)]
        faults += ["--network"] if ALL in named else []
    if faults:
        has = f"has no networks for the roles that are not {' or '.join(sorted(found))}" if found else "has no networks"
        raise UserError(f"{', '.join(faults)}: {algorithm.name} {has}; leave this out")
    shapes_of(algorithm, cfg, task, chosen)  # builds the modules of the user


def roles_of(algorithm: Algorithm, cfg: Cfg, task: Task) -> set[Role]:
    """The roles of the networks of a method: those whose widths change the shapes of its state."""
    plain = shapes_of(algorithm, cfg, task, Networks())
    probes: dict[Role, Networks] = {role: Networks.from_dict({f"{role}_hidden": PROBE}) for role in ROLES}
    return {role for role, probe in probes.items() if shapes_of(algorithm, cfg, task, probe) != plain}


def shapes_of(algorithm: Algorithm, cfg: Cfg, task: Task, networks: Networks) -> list[tuple[int, ...]]:
    """The shapes of the leaves of the first state with these networks."""
    ctx = task.with_networks(networks).context(None)
    state: Any = jax.eval_shape(algorithm.init, config.as_arrays(cfg), ctx, Noise(jax.random.PRNGKey(0)))
    return [leaf.shape for leaf in jax.tree.leaves(state)]
