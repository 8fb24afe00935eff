"""The user's networks of a policy, given again: its file names them, and does not decide what is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..core.errors import UserError
from ..core.networks import bound, is_own, of_file
from ..core.spec import Spec


class Again(NamedTuple):
    """What a caller gives again to load a policy."""

    network: Mapping[str, str] = {}  # builders by role
    encoder: str | None = None

    def bound(self, spec: Spec, where: str, trust: bool) -> Spec:
        """The spec of a file, with the functions behind the networks that it names.

        Args:
            spec: the spec.
            where: name of the file, for error messages.
            trust: import the modules that the file names.

        Raises:
            UserError: a network whose builder is not known, or other builders than those of the file.
        """
        found = bound(dict(spec.networks.network), self.network, where, trust)
        encoder = spec.encoder
        if encoder is not None and is_own(encoder):
            encoder = of_file(encoder, self.encoder, where, trust)
        elif self.encoder is not None:
            raise UserError(f"{where} has no encoder that was given: leave encoder= out")
        return spec._replace(networks=spec.networks._replace(network=tuple(sorted(found.items()))), encoder=encoder)


NOTHING = Again()
