"""The way of the parameters: through the landscape of the loss, and one by one against the step."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from gd_lightning.arrays import Array, Bools
from gd_lightning.drawing import DATA, FEW, LARGEST, OPTIMUM, PREDICTION, START, WIDTH, as_array, finite_rows
from gd_lightning.milestones import is_one_two_five
from gd_lightning.page import write

__all__ = [
    "Walk",
    "as_walk",
    "contour_levels",
    "draw_landscape",
    "draw_optimum",
    "draw_parameter",
    "draw_path",
    "draw_valley",
]

MANY_STEPS = 200  # from which on the first ones cannot be told apart along a plain axis
ROOM = (0.12, 0.06)  # for the number of a step, as parts of the width and height of its axes
LEVELS = 12  # contours that can be told apart
VALLEY = LinearSegmentedColormap.from_list("valley", ["#1f5a8a", "#7fb3d5", "#d6e6f2", "#fbfaf6"])  # deep water to snow


class Walk(NamedTuple):
    """A path through a landscape, as numbers to draw: nan where a point cannot be drawn."""

    steps: Sequence[int]
    x: Array
    y: Array


def as_walk(steps: Sequence[int], x: Tensor, y: Tensor) -> Walk:
    """A path of which the points are tensors of shape `(S,)`."""
    return Walk(steps, as_array(x), as_array(y))


def draw_landscape(axes: Axes, x: Tensor, y: Tensor, heights: Tensor, what: str) -> None:
    """Draw contours of heights over a grid, with a colour bar; what is not finite stays grey.

    The levels stand in a geometric series above the lowest point, so that a valley shows that is ten thousand times
    flatter than its walls.

    Args:
        axes: where to draw.
        x: shape `(X,)`, rising.
        y: shape `(Y,)`, rising.
        heights: shape `(X, Y)`.
        what: name of the heights.
    """
    across, up = as_array(x), as_array(y)
    columns = np.ma.masked_invalid(as_array(heights).reshape(heights.shape).T)
    axes.set(facecolor="0.8", xlim=across[[0, -1]], ylim=up[[0, -1]])
    levels = contour_levels(columns.compressed())
    if not len(levels):
        return
    shades = VALLEY(np.linspace(0, 1, len(levels) + 1))
    filled = axes.contourf(across, up, columns, levels, colors=shades, extend="both")
    axes.contour(across, up, columns, levels, colors="white", linewidths=0.5, alpha=0.7)
    figure = axes.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(filled, ax=axes, ticks=levels, format="%.4g", pad=0.02)
    bar.ax.tick_params(labelsize="small", length=0)
    write(bar.ax.yaxis.label, what, 3)


def contour_levels(heights: Array) -> Array:
    """Rising levels in round numbers, whose distances from the lowest height grow as 1, 2, 5, 10 or so.

    They begin where a contour holds a three-hundredth of the grid, and end where a tenth of it lies above.
    """
    if not len(heights):
        return heights
    lowest = float(heights.min())
    first, last = (float(height) - lowest for height in np.quantile(heights, (1 / 300, 0.9)))
    if first <= 1e-12 * abs(lowest):  # which is rounding
        first = max(1e-12 * abs(lowest), 1e-6 * last)
    first = max(first, 1 / LARGEST)
    if first >= last:  # a plain
        return np.array([lowest, lowest + max(abs(lowest), 1.0)])
    decades = np.arange(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    for rungs in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        rises = [(rung * 10.0**decade, 10.0**decade / 2) for decade in decades for rung in rungs]
        levels = np.unique([round((lowest + rise) / unit) * unit for rise, unit in rises if first <= rise <= last])
        if 1 < len(levels) <= LEVELS:
            return levels
    if len(levels) < 2:
        return np.array([lowest + first, lowest + last])
    return levels[:: math.ceil(len(levels) / LEVELS)]


def draw_valley(axes: Axes, x: Tensor, heights: Tensor, what: str) -> None:
    """Draw heights along one axis, in powers of ten where they span many.

    Args:
        axes: where to draw.
        x: shape `(X,)`.
        heights: shape `(X,)`.
        what: name of the heights.
    """
    across, up = as_array(x), as_array(heights)
    axes.plot(across, up, color=DATA.color, linewidth=WIDTH)
    (lowest, highest), positive = axes.dataLim.intervaly, up[up > 0]
    if len(positive) and highest > 1e3 * positive.min() and lowest > 0:
        axes.set_yscale("log")
    axes.autoscale_view()
    write(axes.yaxis.label, what, 3)


def draw_path(axes: Axes, walk: Walk, labels: tuple[str, str]) -> None:
    """Draw a path from a grey start to a red end, with the numbers of some of its steps; it does not widen the picture.

    Args:
        axes: where to draw, its limits set.
        walk: the path.
        labels: what the legend calls the start and the end.
    """
    halo = [withStroke(linewidth=2.5, foreground="white")]
    axes.plot(walk.x, walk.y, color=PREDICTION.color, linewidth=WIDTH, path_effects=halo, zorder=3)
    if len(walk.steps) <= FEW:
        axes.scatter(walk.x, walk.y, s=9, color=PREDICTION.color, zorder=3.1)
    spots = axes.transAxes.inverted().transform(axes.transData.transform(np.column_stack([walk.x, walk.y])))
    inside = np.asarray(((spots > -0.01) & (spots < 1.01)).all(axis=1))
    for i, color, label in ((0, START.color, labels[0]), (-1, PREDICTION.color, labels[1]))[: len(walk.steps)]:
        look: dict[str, Any] = {"edgecolors": "black", "linewidths": 0.8, "zorder": 4, "clip_on": not inside[i]}
        axes.scatter([walk.x[i]], [walk.y[i]], s=50, color=color, label=label, **look)
    _number_steps(axes, walk, spots, inside)


def draw_optimum(axes: Axes, x: float, y: float, label: str) -> None:
    """Draw the star at which a path should arrive, whole where it lies on a bound."""
    look: dict[str, Any] = {"marker": "*", "edgecolors": "black", "linewidths": 0.8, "zorder": 5, "clip_on": False}
    axes.scatter([x], [y], s=190, color=OPTIMUM, label=label, **look)


def _number_steps(axes: Axes, walk: Walk, spots: Array, inside: Bools) -> None:
    """Write 0, 1, 2, 5, 10, 20, 50 ... and the last step beside the path where there is room."""
    numbered: list[int] = []
    last = len(walk.steps) - 1
    for i in [last, *range(last)]:
        step = walk.steps[i]
        apart = all((np.abs(spots[i] - spots[other]) > ROOM).any() for other in numbered)
        if not (inside[i] and apart and (is_one_two_five(step) or i == last)):
            continue
        numbered.append(i)
        right = spots[i][0] > 0.85
        text = axes.annotate(
            str(step),
            (walk.x[i], walk.y[i]),
            (-7 if right else 7, 7),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize="small",
            path_effects=[withStroke(linewidth=2, foreground="white")],
            zorder=6,
        )
        text.set_in_layout(False)


def draw_parameter(axes: Axes, steps: Sequence[int], values: Tensor, optimum: Tensor | None) -> None:
    """Draw one parameter against the step, from grey to red, and a dashed line at its best fit."""
    x, y = finite_rows(np.array(steps, dtype=np.float64), as_array(values))
    if optimum is not None and np.isfinite(best := as_array(optimum)).all():
        axes.axhline(best[0], color=OPTIMUM, linewidth=WIDTH, linestyle="--", label="best fit")
    axes.plot(x, y, color=PREDICTION.color, linewidth=WIDTH, marker="o" if len(x) <= FEW else "", markersize=3)
    axes.scatter(x[:1], y[:1], s=30, color=START.color, edgecolors="black", linewidths=0.6, zorder=3, label="start")
    axes.scatter(
        x[-1:], y[-1:], s=30, color=PREDICTION.color, edgecolors="black", linewidths=0.6, zorder=3, label="end"
    )
    if len(x) and x[-1] > MANY_STEPS:
        axes.set_xscale("symlog", linthresh=1)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.tick_params(labelsize="small")
    axes.locator_params(axis="y", nbins=5)
