"""How the members of a sweep go, and where each has come to."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, to_hex
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from gd_lightning.arrays import Array
from gd_lightning.drawing import WIDTH

__all__ = ["count_in_logarithms", "draw_bars", "draw_courses", "draw_lr_scale", "draw_rates", "shades_of"]

RATES = "viridis"
DISTINCT = 10  # colours that can be told apart; more members are shaded in their order
MOST_ROWS = 30  # of names beside one another that can be read
DRAWN_STEPS = 300  # of a course; more make no difference along a logarithmic axis


def shades_of(count: int, lrs: Sequence[float] | None) -> list[str]:
    """A colour for each member of a sweep: by its learning rate, else distinct ones."""
    if lrs is not None:
        norm = _rate_norm(lrs)
        return [to_hex(colormaps[RATES](norm(lr))) for lr in lrs]
    if count <= DISTINCT:
        return [f"C{i}" for i in range(count)]
    return [to_hex(colormaps[RATES](i / (count - 1))) for i in range(count)]


def _rate_norm(lrs: Sequence[float]) -> LogNorm:
    low, high = min(lrs), max(lrs)
    return LogNorm(low, high if high > low else 2 * low)


def draw_lr_scale(axes: Axes, lrs: Sequence[float]) -> None:
    """Draw the colour bar that `shades_of` learning rates follow."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(ScalarMappable(_rate_norm(lrs), RATES), ax=axes, pad=0.02)
    bar.ax.tick_params(labelsize="small")
    bar.ax.set_title("lr", fontsize="small")


def count_in_logarithms(axis: Axis, low: float, high: float) -> None:
    """Make an axis logarithmic from low to high, with plain numbers: 1, 2, 5 and so on where there are few decades."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (low, high)})  # type: ignore[attr-defined]
    few = math.log10(high / low) < 2.5
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def draw_courses(axes: Axes, history: Array, colors: Sequence[str]) -> None:
    """Draw RMSE against the step on logarithmic axes; what diverges is dashed and ends in a cross.

    Args:
        axes: where to draw.
        history: after so many steps, shape `(K, S)`; nan where a member has diverged.
        colors: of each member.
    """
    count = history.shape[1]
    steps = np.unique(np.concatenate([[0], np.geomspace(1, max(count - 1, 1), DRAWN_STEPS).round()])).astype(int)
    steps = steps[steps < count]
    for row, color in zip(history, colors, strict=True):
        there = np.flatnonzero(np.isfinite(row))
        diverged = len(there) < count
        at = np.unique(np.append(steps[np.isfinite(row[steps])], there[-1:]))
        axes.plot(at, row[at], color=color, linewidth=WIDTH, linestyle="--" if diverged else "-", zorder=2)
        if diverged and len(at):
            axes.plot(at[-1:], row[at[-1:]], color=color, marker="x", markersize=5, zorder=3)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(0, max(count - 1, 1))
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)


def draw_rates(
    axes: Axes, lrs: Array, rmse: Array, colors: Sequence[str], limit: tuple[str, float] | None, best: int | None
) -> None:
    """Draw the last RMSE against the learning rate, the limit and the lowest; what diverged is a cross at the top.

    Args:
        axes: where to draw, the limits of y set.
        lrs: learning rates, shape `(K,)`.
        rmse: shape `(K,)`; nan where a member has diverged.
        colors: of each member.
        limit: name and value of the largest stable learning rate.
        best: which has the lowest.
    """
    shown = np.append(lrs, [] if limit is None else [limit[1]])
    axes.set(xscale="log", xlim=(shown.min() / 1.4, shown.max() * 1.4))
    order = np.argsort(lrs, kind="stable")
    finite = order[np.isfinite(rmse[order])]
    lost = ~np.isfinite(rmse)
    axes.plot(lrs[finite], rmse[finite], color="0.8", linewidth=WIDTH, zorder=1.5)
    shades = np.array(colors)
    axes.scatter(lrs[finite], rmse[finite], s=22, color=shades[finite], zorder=3)
    if lost.any():
        axes.scatter(
            *(lrs[lost], np.full(lost.sum(), 0.96)),
            s=26,
            color=shades[lost],
            marker="x",
            transform=axes.get_xaxis_transform(),
            zorder=3,
        )
    if limit is not None:
        axes.axvline(limit[1], color="0.3", linewidth=WIDTH, linestyle="--", zorder=1)
        _beside(axes, f"{limit[0]} {limit[1]:.3g}", limit[1], 0.97)
    if best is not None:
        axes.scatter(
            *([lrs[best]], [rmse[best]]),
            s=90,
            facecolors="none",
            edgecolors="black",
            linewidths=1.3,
            zorder=4,
            label=f"lowest: {rmse[best]:.4g} at lr {lrs[best]:.3g}",
        )
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)


def _beside(axes: Axes, words: str, x: float, height: float) -> None:
    """Write along an upright line, on the side that has more room."""
    low, high = axes.get_xlim()
    left = math.log(x / low) > math.log(high / x) if low < x < high else True
    axes.annotate(
        words,
        (x, height),
        (-4 if left else 4, 0),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        ha="right" if left else "left",
        va="top",
        rotation=90,
        fontsize="small",
        color="0.3",
    ).set_in_layout(False)


def draw_bars(axes: Axes, rmse: Array, colors: Sequence[str], labels: Sequence[str]) -> None:
    """Draw the last RMSE of each member as a dot in a row of its own, the lowest at the top.

    Args:
        axes: where to draw, the limits of x set.
        rmse: shape `(K,)`; nan where a member has diverged.
        colors: of each member.
        labels: names of the rows.
    """
    order = np.argsort(np.where(np.isfinite(rmse), rmse, np.inf), kind="stable")
    rows = np.arange(len(order))
    low = axes.get_xlim()[0]
    values = rmse[order]
    shades = np.array(colors)[order]
    there = np.isfinite(values)
    axes.hlines(rows[there], low, values[there], color=shades[there], linewidth=WIDTH, alpha=0.5)
    axes.scatter(values[there], rows[there], s=30, color=shades[there], zorder=3)
    few = len(rows) <= 12
    for row in rows:
        if there[row] and few:
            words, place = f"{values[row]:.4g}", (values[row], row)
        elif there[row]:
            continue
        else:
            words, place = "diverged", (low, row)
        note = axes.annotate(words, place, (7, 0), textcoords="offset points", va="center", fontsize="small")
        note.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
        note.set_in_layout(False)
    named = rows[:: math.ceil(len(rows) / MOST_ROWS)]
    axes.set_yticks(
        named,
        [labels[order[row]] for row in named],
        fontsize="medium" if few else "x-small" if len(rows) <= 20 else "xx-small",
        parse_math=False,
    )
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
