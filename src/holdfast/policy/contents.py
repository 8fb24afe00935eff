"""What a saved policy holds: facts and arrays of its parts, and the parts again from these."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..algorithms import registry
from ..core import config
from ..core.contract import Algorithm, Context
from ..core.errors import UserError, one_line
from ..core.noise import Noise
from ..core.phases import stages
from ..core.spec import Cfg, Spec, State
from ..data.feed.treatment import Fitted
from .acting import layout_of
from .actor import Actor
from .again import Again
from .storage import fill, leaves_by_name, under


class Parts(NamedTuple):
    """What a policy is made of, in the order of its arguments."""

    algorithm: Algorithm
    cfg: Cfg
    state: State  # zeros where acting reads nothing
    spec: Spec
    fitted: Fitted
    info: Mapping[str, Any]


def contents_of(policy: Actor) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """JSON-ready facts, and arrays by name: what the folder of a policy holds."""
    treatment, arrays = policy.fitted.to_dict()
    facts = {
        "algorithm": policy.algorithm.name,
        "config": config.to_dict(policy.cfg),
        "spec": policy.spec.to_dict(),
        "treatment": treatment,
        "info": policy.info,
    }
    names = leaves_by_name(policy.state)
    state = {name: x for (name, x), live in zip(names.items(), policy.layout.live, strict=True) if live}
    # through JSON once, so that tuples become lists, as they are after reading
    return json.loads(json.dumps(facts)), {"state": state, "treatment": arrays}


def parts_of(
    facts: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    where: str,
    algorithm: Algorithm | None,
    trust: bool,
    again: Again,
    load: Callable[[str], Actor],
) -> Parts:
    """The parts of a policy from its facts and arrays.

    Args:
        facts: what `contents_of` gave.
        arrays: its arrays, by the name of the part and the name in it.
        where: name of the file in errors.
        algorithm: the algorithm, if it is not registered; None: the one that the facts name.
        trust: import the modules that the facts name.
        again: networks that the caller gives again.
        load: reads the policies that it was trained with, from their folders.

    Raises:
        UserError: facts or arrays that do not belong together.
    """
    try:
        if algorithm is None:
            place = facts["info"].get("algorithm_module")
            algorithm = registry.of_file(facts["algorithm"], place, where, trust)
        cfg: Any = config.from_dict(algorithm.Config, facts["config"])
        spec = again.bound(Spec.from_dict(facts["spec"]), where, trust)
        fitted = Fitted.from_dict(facts["treatment"], under("treatment.", arrays))
        template = template_of(algorithm, cfg, spec, facts["info"], load)
        layout = layout_of(algorithm, config.as_arrays(cfg), template, spec)
    except UserError:
        raise
    except Exception as error:  # networks of odd sizes fail with various errors, at various places
        what = f"{type(error).__name__}: {one_line(error)[:200]}"
        raise UserError(f"{where} was written by another version of holdfast ({what}): use that one") from error
    names = leaves_by_name(template)
    like = {name: x for (name, x), live in zip(names.items(), layout.live, strict=True) if live}
    given = fill(like, under("state.", arrays), where)
    leaves = [given[name] if name in given else jnp.zeros(x.shape, x.dtype) for name, x in names.items()]
    return Parts(algorithm, cfg, jax.tree.unflatten(layout.state, leaves), spec, fitted, facts["info"])


def template_of(
    algorithm: Algorithm, cfg: Cfg, spec: Spec, info: Mapping[str, Any], load: Callable[[str], Actor]
) -> Any:
    """Shapes of a state of `algorithm`, after the phases that `info["phase"]` says were entered; computes nothing.

    The phases are those of `info["stage"]`: offline, online, or finetune, which follow the offline ones.

    Args:
        algorithm: the algorithm.
        cfg: its config.
        spec: shapes of the problem.
        info: facts of the policy.
        load: reads the policies that it was trained with, from their folders.
    """
    cfg = config.as_arrays(cfg)
    inputs = {name: load(folder).frozen() for name, folder in (info.get("inputs") or {}).items()}
    ctx = Context(spec, None, dict(info.get("stats", {})), inputs)
    noise = Noise(jax.random.PRNGKey(0))
    # the context is not traced: its numbers may decide shapes, as the number of agents does
    state = jax.eval_shape(lambda cfg, noise: algorithm.init(cfg, ctx, noise), cfg, noise)
    for phase in stages(algorithm, cfg, str(info.get("stage", "offline")))[: int(info.get("phase", 0)) + 1]:
        if phase.enter is not None:
            state = jax.eval_shape(phase.enter, cfg, state, ctx, noise)
    return state
