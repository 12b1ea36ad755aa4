"""The profile of a parameter, beside the parabola that the tangent makes of it."""

import math

from matplotlib.axes import Axes
from torch import Tensor

from gd_lightning.drawing import DATA, PREDICTION, WIDTH, as_array, finite_rows

__all__ = ["draw_profile"]


def draw_profile(
    axes: Axes, values: Tensor, rise: Tensor, threshold: float, parabola: tuple[float, float], ends: tuple[float, float]
) -> None:
    """Draw by how much the sum of squares rises along one parameter, and where the interval ends.

    Args:
        axes: where to.
        values: the parameter's values, `(N,)`.
        rise: the rise there, in units of the noise's variance, `(N,)`.
        threshold: the rise at which the interval ends.
        parabola: the best value and its standard error, of which the tangent makes a parabola.
        ends: the interval; an end that is not finite is not drawn.
    """
    x, y = finite_rows(as_array(values), as_array(rise))
    best, error = parabola
    axes.plot(x, y, color=DATA.color, linewidth=WIDTH + 0.4, label="profile")
    if math.isfinite(error) and error > 0:
        tangent = ((x - best) / error) ** 2
        axes.plot(x, tangent, color="0.5", linewidth=WIDTH, linestyle="--", label="tangent (symmetric error)")
    axes.axhline(threshold, color="0.3", linewidth=0.8, linestyle=":", label="threshold")
    for end in ends:
        if math.isfinite(end):
            axes.axvline(end, color=PREDICTION.color, linewidth=WIDTH, label="end of the interval")
    axes.set_ylim(0, 2 * threshold)
    axes.locator_params(nbins=4)
    axes.tick_params(labelsize="small")
