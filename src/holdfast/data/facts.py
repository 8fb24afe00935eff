"""The facts of a data set besides its columns: environment, references, provenance. Files may hold anything there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import UserError
from ..core.files import JSON, parse_json
from ..core.schema import require_types

PROVENANCE: dict[str, Any] = {  # entries that are used, not only shown
    "assumed": list[str],
    "left_out": int,
    "left_out_rewards": int,
    "raw_action_space": str | None,
    "raw_observation_space": str | None,
    "table": dict[str, Any] | None,
}


def checked_facts(
    id: JSON, env_spec: JSON, reference: JSON | tuple[float, float], provenance: Mapping[str, Any] | JSON
) -> dict[str, Any]:
    """The facts of a data set with the types that `Dataset` declares.

    Args:
        id: its name.
        env_spec: an EnvSpec as JSON, an environment id, or None.
        reference: returns of a random and of an expert policy, or None.
        provenance: where the data come from.

    Raises:
        UserError: naming the entry and what was expected.
    """
    if not isinstance(id, str):
        raise UserError(f"the id of the data set is {_shown(id)}, expected text: write the set again")
    spec_facts(env_spec, id)
    if reference is not None:
        pair = list(reference) if isinstance(reference, tuple | list) else []
        if len(pair) != 2 or not all(_number(x) for x in pair):
            raise UserError(f"{id}: reference is {_shown(reference)}, expected two numbers: write the set again")
        reference = (float(pair[0]), float(pair[1]))
    if not isinstance(provenance, Mapping):
        raise UserError(f"{id}: provenance is {_shown(provenance)}, expected an object: write the set again")
    require_limit(provenance.get("max_episode_steps"), f"{id}: max_episode_steps")
    spec_facts(provenance.get("evaluation_spec"), f"{id}: evaluation_spec")
    where = f"provenance of {id}"
    require_types(dict(provenance), PROVENANCE, where)
    return {"reference": reference}


def spec_facts(env_spec: JSON, where: str) -> dict[str, Any]:
    """The `id` and the `max_episode_steps` of an environment spec; empty if there is none.

    Args:
        env_spec: an EnvSpec as JSON, an environment id, or None.
        where: name of the data set, for error messages.

    Raises:
        UserError: it is neither, or one of its entries has another type.
    """
    if env_spec is None:
        return {}
    remedy = "write the set again, or name the environment with --env after removing the entry"
    if not isinstance(env_spec, str):
        raise UserError(f"{where}: env_spec is {_shown(env_spec)}, expected the JSON of an EnvSpec: {remedy}")
    if not env_spec.lstrip().startswith(("{", "[")):
        return {"id": env_spec}
    spec = parse_json(env_spec, f"{where}: env_spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("id"), str):
        raise UserError(f"{where}: env_spec is {_shown(env_spec)}, expected an EnvSpec with an id: {remedy}")
    if not isinstance(spec.get("kwargs") or {}, dict):
        raise UserError(f"{where}: kwargs in env_spec is {_shown(spec['kwargs'])}, expected an object: {remedy}")
    require_limit(spec.get("max_episode_steps"), f"{where}: max_episode_steps in env_spec")
    return {"id": spec["id"], "max_episode_steps": spec.get("max_episode_steps")}


def require_limit(steps: JSON, where: str) -> None:
    """Refuse a time limit that is not a whole number of steps above 0. None means: no limit.

    Raises:
        UserError: naming the entry.
    """
    if steps is None:
        return
    if isinstance(steps, bool) or not isinstance(steps, int) or not 0 < steps < 2**31:
        raise UserError(f"{where} is {_shown(steps)}, expected a number of steps from 1: write the set again")


def provenance_in(meta: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The entry `provenance` of a file's metadata; empty if there is none.

    Raises:
        UserError: it is not an object.
    """
    found = meta.get("provenance")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UserError(f"{where}: provenance is {_shown(found)}, expected an object: write the set again")
    return {name: value for name, value in found.items() if name != "faults"}


def _number(value: JSON | tuple[float, float] | Mapping[str, Any]) -> bool:
    if isinstance(value, int) and abs(value) > 2**1000:
        return False  # no float
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: JSON | tuple[float, float] | Mapping[str, Any]) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
