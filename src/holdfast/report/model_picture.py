"""The picture of `holdfast dynamics check`: the error of a model over its horizon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.model_quality import Quality
from .curves import PICTURE
from .drawing import Curve, draw_curves, dress, figure, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_quality(found: Quality) -> Figure:
    """Draw the error over all dimensions, thin lines for each dimension, and the error of the prediction of no change.

    Raises:
        UserError: matplotlib is not installed.
    """
    drawn = figure(PICTURE)
    axes = drawn.add_subplot()
    x = np.asarray(found.horizons)
    curves = [Curve("model", x, found.error, each=found.each.T), Curve("no change", x, found.persistence)]
    draw_curves(axes, curves, PICTURE)
    axes.set_ylim(0, None)
    dress(axes, PICTURE, "steps in the model", "error in standard deviations of the observations")
    legend(drawn, PICTURE)
    return drawn
