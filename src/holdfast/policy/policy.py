"""`Policy`: what training ships, and how it is saved, loaded, copied and exported."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms import registry
from ..core.contract import Algorithm
from ..core.errors import UserError
from ..core.networks import Builder, given, given_by_role, is_own
from ..core.shown import counted, facts_html, line
from . import arguments, support_file, support_fit
from . import folder as folder_of
from .again import NOTHING, Again
from .contents import contents_of, parts_of
from .export import export
from .export.export import Exported, Format
from .judge import Judge
from .support import Support

if TYPE_CHECKING:
    from ..data.dataset import Dataset


class Policy(Judge):
    """One trained policy: its networks and the treatment of its data, without what acting never reads (critics, say).

    Attributes:
        algorithm, cfg, spec: what it was trained with.
        fitted: normaliser of observations and bounds of actions, fitted on the training data.
        info: JSON-ready facts: `env_spec`, `dataset`, `seed`, `step` and the like. Where the state's shapes depend on
            them, `stats` (scalars of the data), `phase` (index of the last phase entered) and `inputs` (folders of
            the policies that it was trained with, by name: they are read again when this one is loaded). `table` has
            the roles of the columns if it was trained on a table.
        table: these roles as a `Schema`; None: it was not trained on a table.
        support_model: how near decisions are to the log; None: see `with_support`.
    """

    def with_support(
        self,
        data: Dataset,
        *,
        false_alarms: float = 0.05,
        fallback: str | Path | Policy | ArrayLike | None = None,
        rows: int = support_fit.ROWS,
        seed: int = 0,
    ) -> Policy:
        """This policy with a score of support, which says how near a state and an action are to a log.

        The score is saved and exported with the policy. See `policy.support`.

        Args:
            data: the log that the policy learned from.
            false_alarms: share of the decisions of such a log whose score is too low, on average.
            fallback: what acts if the score is too low: "nearest" (the action that was logged in the nearest state), a
                policy without memory or its folder, or an action in the environment's units. None: nothing.
            rows: logged decisions that are kept, at most.
            seed: seed of the held-out episodes and of the rows.

        Raises:
            UserError: a log of other observations or actions, images, too few episodes, or a fallback that does not
                fit.
        """
        made = copy.copy(self)
        chosen = support_fit.chosen_fallback(self, fallback, Policy.load)
        made.support_model = support_fit.fit(self, data, false_alarms, chosen, rows, seed)
        return made

    def save(self, folder: str | Path) -> Path:
        """Write `policy.json` and `policy.safetensors` into `folder`, where an older policy is replaced whole.

        With a score of support it also writes `support.json` and `support.safetensors`.

        Returns:
            The folder.

        Raises:
            UserError: the disk refuses.
        """
        path = arguments.folder(folder)
        facts, arrays = contents_of(self)
        support_file.remove(path)
        folder_of.write(path, facts, arrays)
        if self.support_model is not None:
            fallback = self.support_model.fallback
            if fallback is not None and isinstance(fallback.policy, Policy):
                fallback.policy.save(path / support_file.FALLBACK)
            support_file.write(path, self.support_model)
        return path

    def export(self, path: str | Path, to: Format = "onnx", mode: Literal["best", "sample"] = "best") -> Exported:
        """Write the policy as one file for other programs: raw rows in, actions out, any number of rows.

        The file is compared with the policy on 1,000 random rows. If it does not agree, nothing is written.

        Args:
            path: the file, or a folder, in which it becomes `policy.onnx`, `policy.stablehlo` or `policy.npz`.
            to: "onnx" for ONNX Runtime, "stablehlo" for `jax.export` and other compilers, "numpy" for NumPy only.
            mode: "best" (the most likely action) or "sample" (a draw, from noise that is an input).

        Returns:
            The file, its comparison with the policy, and its description.

        Raises:
            UserError: a part of the policy that cannot be exported, a package that is missing, a file that does not
                agree with the policy, or a file that cannot be written.
        """
        return export.export(self, path, to, mode)

    @staticmethod
    def load(
        folder: str | Path,
        algorithm: Algorithm | None = None,
        trust: bool = False,
        *,
        network: Builder | str | Mapping[str, Builder | str] | None = None,
        encoder: Builder | str | None = None,
    ) -> Policy:
        """Read a policy: the same outputs as before it was saved, bit for bit.

        Args:
            folder: where `save` wrote it, or the folder of a run. If it holds the policies of several replicas, the
                first one is loaded, with a warning that names the others.
            algorithm: for algorithms of your own that are not registered.
            trust: import the modules that the folder names: of an algorithm that is not registered, and of networks.
            network: the functions of its own networks, as `holdfast.train` took them.
            encoder: the function of its own encoder.

        Raises:
            UserError: no policy there, a damaged file, an unknown algorithm, or tensors of other names or shapes.
        """
        found = folder_of.policies_in(arguments.folder(folder))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            warnings.warn(
                f"{folder} holds {len(found)} policies ({names}): {found[0].name} is loaded; name the folder of "
                "another one, or load all with holdfast.Run.load(run).policies()",
                stacklevel=2,
            )
        facts, arrays, where = folder_of.read(found[0])
        again = Again(given_by_role(network), None if encoder is None else given(encoder, "encoder"))
        made = Policy(*parts_of(facts, arrays, where, algorithm, trust, again, Policy.load))
        made.support_model = support_file.read(found[0], made.spec, Policy.load)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """How a policy is pickled: as its folder's contents. Only policies of registered algorithms can be.

        Raises:
            UserError: an algorithm or networks of your own.
        """
        if not registry.is_installed(self.algorithm):
            raise UserError(
                f"a policy of {self.algorithm.name}, which is not registered, cannot be pickled: use "
                "policy.save(folder) and Policy.load(folder, algorithm)"
            )
        if is_own(self.spec.encoder) or self.spec.networks.network:
            raise UserError(
                "a policy with networks of yours cannot be pickled: use policy.save(folder) and Policy.load(folder, "
                "network=...)"
            )
        facts, arrays = contents_of(self)
        flat = {f"{part}.{name}": np.asarray(x) for part, values in arrays.items() for name, x in values.items()}
        return _unpickled, (facts, flat, self._calls, self.support_model)

    def __repr__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self._facts())
        return line("Policy", f"{self.algorithm.name}: {facts}")

    def _repr_html_(self) -> str:
        return facts_html(f"Policy of {self.algorithm.name}", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        kind = counted(self.spec.action, f"{'discrete' if self.spec.discrete else 'continuous'} action")
        facts = [("observations", str(self.spec.obs)), ("actions", kind)]
        named = {"trained on": "dataset", "environment": "env_id", "seed": "seed", "step": "step"}
        if self.target_return is not None:
            facts.append(("return asked for", f"{self.target_return:.6g} (sum of raw rewards)"))
        return facts + [(name, str(self.info[key])) for name, key in named.items() if self.info.get(key) is not None]


def _unpickled(
    facts: dict[str, Any], arrays: dict[str, np.ndarray], calls: int, support_model: Support | None = None
) -> Policy:
    """The policy that was pickled."""
    made = Policy(*parts_of(facts, arrays, "the pickled policy", None, False, NOTHING, Policy.load))
    made._calls = calls
    made.support_model = support_model
    return made
