"""The shapes of a problem with what a run chooses in the networks."""

from __future__ import annotations

from ...core.networks import Networks
from ...core.spec import Spec
from ...parts import encoders
from ...runs.settings import Settings


def with_networks(spec: Spec, settings: Settings) -> Spec:
    """The shapes of the problem, with the encoder and the networks of the run."""
    return spec._replace(encoder=encoders.chosen(settings.encoder, spec), networks=Networks.of(vars(settings)))
