"""The strokes of a picture: dots, error bars and lines, in the same colours everywhere.

Blue is data, red is the prediction, grey is the prediction at the start, and hollow orange diamonds are points that
were kept out of the fit. Green is the best fit, to which a path should lead. What is not finite is not drawn, and the
legend says how many predictions that leaves out.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from gd_lightning.arrays import Array

__all__ = [
    "DATA",
    "DIAGONAL",
    "FEW",
    "HOLDOUT",
    "LARGEST",
    "NOTHING",
    "OPTIMUM",
    "PREDICTION",
    "START",
    "WIDTH",
    "Drawable",
    "Style",
    "as_array",
    "count_missing",
    "draw_dots",
    "draw_line",
    "drawable",
    "finite_rows",
    "size_of_dots",
]

FEW = 40  # up to so many points, a red dot beside each blue one can be followed with the eye
WIDTH = 1.2  # of a line, in points: data beneath it can still be seen
OPTIMUM = "C2"
LARGEST = 1e300  # the margins of an axis that reaches further overflow


class Drawable(NamedTuple):
    """Numbers to draw, shape `(N,)`: nan where one cannot be drawn; without start all nan, without sigma all 0."""

    x: Array
    targets: Array
    preds: Array
    sigma: Array
    start: Array


def drawable(
    x: Tensor, targets: Tensor, preds: Tensor, sigma: Tensor | None = None, start: Tensor | None = None
) -> Drawable:
    """Tensors as numbers to draw, shape `(N,)`, without those whose sigma says that there is no point."""
    columns = [as_array(x), as_array(targets), as_array(preds)]
    columns.append(np.zeros_like(columns[0]) if sigma is None else as_array(sigma))
    columns.append(np.full_like(columns[0], np.nan) if start is None else as_array(start))
    return Drawable(*(column[columns[3] >= 0] for column in columns))


def as_array(values: Tensor) -> Array:
    """Numbers as NumPy has them, `(N,)`; nan where one is not finite, or too large to draw."""
    numbers = values.detach().cpu().double().numpy().reshape(-1)
    return np.where(np.abs(numbers) <= LARGEST, numbers, np.nan)


class Style(NamedTuple):
    """How dots or a line look, and what the legend calls them."""

    label: str
    color: str
    marker: str = "o"
    hollow: bool = False


NOTHING = drawable(torch.empty(0), torch.empty(0), torch.empty(0))
DATA = Style("data", "C0")
HOLDOUT = Style("kept out", "C1", marker="D", hollow=True)
START = Style("prediction at the start", "0.6", hollow=True)
PREDICTION = Style("prediction", "red")
DIAGONAL = Style("prediction = data", "red")


def count_missing(*groups: Drawable) -> int:
    """How many predictions cannot be drawn."""
    return sum(int(np.isnan(points.preds).sum()) for points in groups)


def size_of_dots(points: int) -> float:
    """Area of a marker in square points: matplotlib's own for few points, a speck for hundreds."""
    return float(np.clip(36 * FEW / max(points, 1), 4, 36))


def draw_dots(axes: Axes, x: Array, y: Array, style: Style, size: float, sigma: Array | None = None) -> None:
    """Dots of an area in square points, with error bars where there is sigma."""
    x, y, sigma = finite_rows(x, y, np.zeros_like(x) if sigma is None else sigma)
    if not len(x):
        return
    look: dict[str, Any] = {"s": size, "color": style.color}
    if style.hollow:  # a hollow marker needs a size to be seen
        look = {"s": max(size, 12), "facecolors": "none", "edgecolors": style.color}
    elif size < 12:
        look |= {"alpha": 0.6, "linewidths": 0}
    axes.scatter(x, y, marker=style.marker, label=style.label, **look)
    if sigma.any():
        width = 1 if len(x) <= FEW else 0.5
        axes.errorbar(
            x, y, sigma, fmt="none", ecolor=style.color, elinewidth=width, alpha=0.6, zorder=0.9, label=style.label
        )


def draw_line(axes: Axes, x: Array, y: Array, style: Style) -> None:
    """A line in the order of x, with gaps where y is not finite."""
    order = np.argsort(x, kind="stable")
    if np.isfinite(y).any():
        axes.plot(x[order], y[order], color=style.color, linewidth=WIDTH, label=style.label)


def finite_rows(*columns: Array) -> list[Array]:
    """The rows in which every number is finite."""
    there = np.isfinite(columns).all(axis=0)
    return [column[there] for column in columns]
