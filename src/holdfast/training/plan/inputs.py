"""The inputs of an algorithm: policies of other runs, loaded and compared with the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...core.contract import Algorithm
from ...core.errors import UserError
from ...data.dataset import Dataset
from ...data.feed.treatment import same_treatment
from ...policy.policy import Policy
from ...runs.settings import Settings


def inputs_of(settings: Settings, algorithm: Algorithm) -> dict[str, Policy]:
    """Load the policies of other runs that the algorithm reads.

    Raises:
        UserError: names other than those that the algorithm reads, or folders without a policy.
    """
    if set(settings.inputs) != set(algorithm.inputs):
        wanted = " ".join(f"--input {name}=FOLDER" for name in algorithm.inputs)
        given = ", ".join(settings.inputs) or "none"
        raise UserError(
            f"{algorithm.name} reads the inputs {', '.join(algorithm.inputs) or 'none'}, got {given}: "
            + (f"name each with {wanted}" if wanted else "leave --input out")
        )
    return {name: Policy.load(policy_folder(folder)) for name, folder in settings.inputs.items()}


def policy_folder(folder: str) -> Path:
    """The folder of a policy, from itself or from the run that contains it.

    Raises:
        UserError: the folder contains no policy, or several.
    """
    path = Path(folder).resolve()
    inside = [found.parent for found in sorted(path.glob("**/policy.json")) if "policies" not in found.parts]
    here = [path] if (path / "policy.json").is_file() else inside
    if len(here) != 1:
        found = ", ".join(str(one.relative_to(path)) for one in here) or "none"
        raise UserError(f"{folder} is expected to hold one policy, it has {found}: name the folder of one policy")
    return here[0]


def require_inputs_match(policies: Mapping[str, Policy], dataset: Dataset) -> None:
    """Refuse policies for other observations or actions, or with treatments that differ from each other.

    Raises:
        UserError: naming the input and what differs.
    """
    first = next(iter(policies.values()), None)
    for name, policy in policies.items():
        own = dataset.spec
        here = (policy.spec.obs, policy.spec.action, policy.spec.discrete)
        if here != (own.obs, own.action, own.discrete):
            raise UserError(
                f"input {name} takes observations {policy.spec.obs} and has {policy.spec.action} actions, {dataset.id} "
                f"has observations {own.obs} and {own.action} actions: name a policy for these data"
            )
        if first is not None and not same_treatment(policy.fitted, first.fitted):
            raise UserError(f"input {name} has another treatment than the first input: name policies trained alike")
