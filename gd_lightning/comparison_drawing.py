"""Several curves over the same data, and how far each is behind the first."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from gd_lightning.arrays import Array
from gd_lightning.drawing import DATA, WIDTH, Drawable, draw_dots, size_of_dots

__all__ = ["draw_competitors", "draw_differences"]

COMPETITORS = ["red", "C2", "C1", "C4", "C5", "C9", "C8"]  # of curves over the same data; blue is the data's


def draw_competitors(axes: Axes, points: Drawable, lines: Sequence[tuple[str, Array, Array]]) -> None:
    """Draw several curves over the data, which give the picture its height: a curve may leave it."""
    draw_dots(axes, points.x, points.targets, DATA, size_of_dots(len(points.x)), points.sigma)
    axes.autoscale_view()
    limits = axes.get_ylim()
    for rank, (label, x, y) in enumerate(lines):
        style, width = ("-", 2 * WIDTH) if rank == 0 else ("--", WIDTH)
        color = COMPETITORS[rank % len(COMPETITORS)]
        # the first is broad and beneath the others, so that it is seen where they are one
        axes.plot(x, y, label=label, linestyle=style, linewidth=width, color=color, zorder=2 + rank / 100)
    axes.set_ylim(limits)


def draw_differences(axes: Axes, values: Array, labels: Sequence[str], drawn: int, near: float | None) -> None:
    """Draw how far each function is behind the first as a dot in a row of its own, the first at the top.

    Args:
        axes: where to draw.
        values: shape `(K,)`, rising.
        labels: names of the rows.
        drawn: the first so many have the colours of their curves, the others are grey.
        near: up to which they are as good as the first; the axis is logarithmic beyond it.
    """
    rows = np.arange(len(values))
    colors = [COMPETITORS[i % len(COMPETITORS)] if i < drawn else "0.5" for i in rows]
    there = np.isfinite(values)
    if near is not None:
        axes.set_xscale("symlog", linthresh=near, linscale=0.6)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.axvspan(0, near, color="0.93", zorder=0, label="about as good as the first")
    axes.hlines(rows[there], 0, values[there], color=np.array(colors)[there], linewidth=WIDTH, alpha=0.5)
    axes.scatter(values[there], rows[there], s=30, color=np.array(colors)[there], zorder=3, clip_on=False)
    few = len(rows) <= 12
    axes.set_yticks(rows, labels, fontsize="medium" if few else "x-small", parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
