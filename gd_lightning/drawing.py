"""The strokes of a picture: dots, error bars, lines, text and legend, in the same colours everywhere.

Blue is data, red is the prediction, grey is the prediction at the start, and hollow orange diamonds are points that
were kept out of the fit. Green is the best fit, to which a path should lead. What is not finite is not drawn, and the
legend says how many predictions that leaves out.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

from gd_lightning.arrays import Array, Bools
from gd_lightning.milestones import is_one_two_five
from gd_lightning.terminal import printable

__all__ = [
    "MARGIN",
    "NOTHING",
    "OPTIMUM",
    "Belts",
    "Frame",
    "Held",
    "HeldPairs",
    "Line",
    "Panel",
    "Walk",
    "add_legend",
    "as_walk",
    "axes_above_residuals",
    "blank_figure",
    "cleared",
    "contour_levels",
    "count_in_logarithms",
    "count_missing",
    "draw_bars",
    "draw_competitors",
    "draw_courses",
    "draw_differences",
    "draw_landscape",
    "draw_lr_scale",
    "draw_observed",
    "draw_optimum",
    "draw_parameter",
    "draw_path",
    "draw_profile",
    "draw_rates",
    "draw_series",
    "draw_valley",
    "drawable",
    "fitted_points",
    "kept_out_points",
    "panels_in_a_row",
    "shades_of",
    "write",
]

Line = tuple[Tensor, Tensor]
Held = tuple[Tensor, Tensor, Tensor] | tuple[Tensor, Tensor, Tensor, Tensor | None]
HeldPairs = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor | None]

FEW = 40  # up to so many points, a red dot beside each blue one can be followed with the eye
WIDTH = 1.2  # of a line, in points: data beneath it can still be seen
MARGIN = 0.6  # inches beside a small panel, for the numbers of its y axis, and beside its x label, for a power of ten
MANY_STEPS = 200  # from which on the first ones cannot be told apart along a plain axis
OPTIMUM = "C2"
BELT, CORE = "#fbe9e7", "#f5b7b1"  # pale red, as the prediction within them
ROOM = (0.12, 0.06)  # for the number of a step, as parts of the width and height of its axes
LEVELS = 12  # contours that can be told apart
VALLEY = LinearSegmentedColormap.from_list("valley", ["#1f5a8a", "#7fb3d5", "#d6e6f2", "#fbfaf6"])  # deep water to snow
RATES = "viridis"
COMPETITORS = ["red", "C2", "C1", "C4", "C5", "C9", "C8"]  # of curves over the same data; blue is the data's
DISTINCT = 10  # colours that can be told apart; more members are shaded in their order
MOST_ROWS = 30  # of names beside one another that can be read
DRAWN_STEPS = 300  # of a course; more make no difference along a logarithmic axis
LARGEST = 1e300  # the margins of an axis that reaches further overflow


class Frame(NamedTuple):
    """One panel of a film strip: what is predicted after a number of steps."""

    title: str
    preds: Tensor


class Belts(NamedTuple):
    """The belts around a line, on its grid, all of shape `(G,)`; nothing is drawn where they are not finite.

    Attributes:
        level: chance that they hold what they are of.
        confidence_low: lower edge of that of the curve.
        confidence_high: its upper edge.
        prediction_low: lower edge of that of a new observation.
        prediction_high: its upper edge.
    """

    level: float
    confidence_low: Tensor
    confidence_high: Tensor
    prediction_low: Tensor
    prediction_high: Tensor


class Panel(NamedTuple):
    """What there is to see of one series.

    Attributes:
        title: text above it; a line break separates the series' name from its RMSE.
        t: independent variable, shape `(T,)`.
        targets: data, shape `(T,)`.
        preds: predictions, shape `(T,)`.
        start: predictions of the starting values, shape `(T,)`.
        sigma: standard deviations of the data, shape `(T,)`; infinite where there is no point, of which nothing
            is drawn then.
        line: a fine grid of t and the prediction there, both of shape `(G,)`.
        holdout: t, targets and predictions of the points kept out of the fit, and their sigma, if there is one; all
            of shape `(H,)`.
        belts: confidence and prediction bands of the line.
    """

    title: str
    t: Tensor
    targets: Tensor
    preds: Tensor
    start: Tensor | None = None
    sigma: Tensor | None = None
    line: Line | None = None
    holdout: Held | None = None
    belts: Belts | None = None


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
    columns = [_array(x), _array(targets), _array(preds)]
    columns.append(np.zeros_like(columns[0]) if sigma is None else _array(sigma))
    columns.append(np.full_like(columns[0], np.nan) if start is None else _array(start))
    return Drawable(*(column[columns[3] >= 0] for column in columns))


def _array(values: Tensor) -> Array:
    numbers = values.detach().cpu().double().numpy().reshape(-1)
    return np.where(np.abs(numbers) <= LARGEST, numbers, np.nan)


class _Style(NamedTuple):
    """How dots or a line look, and what the legend calls them."""

    label: str
    color: str
    marker: str = "o"
    hollow: bool = False


NOTHING = drawable(torch.empty(0), torch.empty(0), torch.empty(0))
DATA = _Style("data", "C0")
KEPT_OUT = _Style("kept out", "C1", marker="D", hollow=True)
START = _Style("prediction at the start", "0.6", hollow=True)
PREDICTION = _Style("prediction", "red")
DIAGONAL = _Style("prediction = data", "red")


def fitted_points(panel: Panel) -> Drawable:
    """What was fitted."""
    return drawable(panel.t, panel.targets, panel.preds, panel.sigma, panel.start)


def kept_out_points(panel: Panel) -> Drawable:
    """What was kept out of the fit; nothing where nothing was."""
    return NOTHING if panel.holdout is None else drawable(*panel.holdout)


def blank_figure(width: float, height: float) -> Figure:
    """A figure of so many inches that pyplot does not know of."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def cleared(figure: Figure) -> Figure:
    """A figure without what it showed: axes, ticks and their places, which take longest to make, stay."""
    for axes in figure.axes:
        for bars in axes.containers[:]:
            bars.remove()
        for drawn in [*axes.collections, *axes.lines]:
            drawn.remove()
        axes.relim()
        axes.autoscale(True)
    for legend in figure.legends[:]:
        legend.remove()
    return figure


def axes_above_residuals(
    figure: Figure, fitted: Drawable, kept_out: Drawable, title: str, labels: tuple[str, str]
) -> Axes:
    """Draw the residuals and write the text; the axes for the picture above is returned."""
    axes: Axes
    beneath: Axes
    axes, beneath = figure.axes or figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    beneath.axhline(0, color="0.4", linewidth=1)
    size = _size(len(fitted.x))
    for points, style in ((fitted, DATA), (kept_out, KEPT_OUT)):
        _dots(beneath, points.x, points.preds - points.targets, style, size, points.sigma)
    beneath.locator_params(axis="y", nbins=5)
    width = figure.get_figwidth() - 1
    write(axes.title, title, width)
    write(axes.yaxis.label, labels[1], 3)
    write(beneath.xaxis.label, labels[0], width - 2 * MARGIN)
    beneath.set_ylabel("prediction\n\N{MINUS SIGN} data", fontsize="small")
    figure.align_ylabels()
    return axes


def panels_in_a_row(frames: Sequence[Frame], title: str, labels: tuple[str, str]) -> Figure:
    """A row of panels that share their axes, with their text, to draw in."""
    width = 2.2 * max(len(frames), 2)
    figure = blank_figure(width, 3.4)
    panels = figure.subplots(1, len(frames), sharex=True, sharey=True, squeeze=False)[0]
    for axes, frame in zip(panels, frames, strict=True):
        axes.title.set_fontsize("medium")
        write(axes.title, frame.title, width / len(frames) - MARGIN)
        write(axes.xaxis.label, labels[0], width / len(frames) - 2 * MARGIN)
    panels[0].locator_params(nbins=4)
    write(panels[0].yaxis.label, labels[1], 1.6)
    write(figure.suptitle(""), title, width)
    return figure


def draw_series(axes: Axes, panel: Panel, *, small: bool = False) -> None:
    """Draw a series; in a small panel predictions are lines, however few."""
    fitted, kept_out = fitted_points(panel), kept_out_points(panel)
    x = np.concatenate([fitted.x, kept_out.x])
    preds = np.concatenate([fitted.preds, kept_out.preds])
    dots = len(panel.t) <= FEW and not small
    size = _size(len(fitted.x)) / (3 if small else 1)
    _dots(axes, fitted.x, fitted.targets, DATA, size, fitted.sigma)
    _dots(axes, kept_out.x, kept_out.targets, KEPT_OUT, size, kept_out.sigma)
    if dots:
        _dots(axes, fitted.x, fitted.start, START, 16)
        _dots(axes, x, preds, PREDICTION, size)
    else:
        _line_in_passing(axes, fitted.x, fitted.start, START)
    if panel.line is not None:
        axes.update_datalim(np.column_stack(_finite(x, preds)))
        if panel.belts is not None:
            _belts(axes, _array(panel.line[0]), panel.belts)
        _curve(axes, _array(panel.line[0]), _array(panel.line[1]))
    elif not dots:
        _line(axes, x, preds, PREDICTION)


def draw_observed(axes: Axes, fitted: Drawable, kept_out: Drawable) -> None:
    """Draw data over predictions and the diagonal on which both are the same."""
    size = _size(len(fitted.x))
    _dots(axes, fitted.x, fitted.targets, DATA, size, fitted.sigma)
    _dots(axes, kept_out.x, kept_out.targets, KEPT_OUT, size, kept_out.sigma)
    ends = np.array([np.min(axes.dataLim.extents), np.max(axes.dataLim.extents)])
    if np.isfinite(ends).all():
        _line(axes, ends, ends, DIAGONAL)


def _size(points: int) -> float:
    """Area of a marker in square points: matplotlib's own for few points, a speck for hundreds."""
    return float(np.clip(36 * FEW / max(points, 1), 4, 36))


def _dots(axes: Axes, x: Array, y: Array, style: _Style, size: float, sigma: Array | None = None) -> None:
    x, y, sigma = _finite(x, y, np.zeros_like(x) if sigma is None else sigma)
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


def _line(axes: Axes, x: Array, y: Array, style: _Style) -> None:
    """A line in the order of x, with gaps where y is not finite."""
    order = np.argsort(x, kind="stable")
    if np.isfinite(y).any():
        axes.plot(x[order], y[order], color=style.color, linewidth=WIDTH, label=style.label)


def _line_in_passing(axes: Axes, x: Array, y: Array, style: _Style) -> None:
    """A line that does not widen the picture: where it began may be far from where the data are."""
    before = axes.dataLim.frozen()
    _line(axes, x, y, style)
    axes.dataLim.set(before)


def _curve(axes: Axes, x: Array, y: Array) -> None:
    """The prediction on a grid; beside a pole it may leave the picture, which grows by its own height at most."""
    low, high = axes.dataLim.intervaly
    room = high - low if low < high else LARGEST
    order = np.argsort(x, kind="stable")
    (line,) = axes.plot([], [], color=PREDICTION.color, linewidth=WIDTH, label=PREDICTION.label)
    line.set_data(x[order], y[order])
    axes.update_datalim(np.column_stack(_finite(x, np.clip(y, low - room, high + room))))
    axes.autoscale_view()


def _belts(axes: Axes, x: Array, belts: Belts) -> None:
    """The bands as shades beneath all else; like the line, they widen the picture by its own height at most."""
    low, high = axes.dataLim.intervaly
    room = (high - low if low < high else LARGEST) / 2
    percent = f"{100 * belts.level:g} %"
    shades = [
        ("prediction", BELT, belts.prediction_low, belts.prediction_high, 0.5),
        ("confidence", CORE, belts.confidence_low, belts.confidence_high, 0.6),
    ]
    for name, colour, lower, upper, above in shades:
        x_here, under, over = _finite(x, _array(lower), _array(upper))
        if not len(x_here):
            continue
        edges = np.clip(under, low - room, high + room), np.clip(over, low - room, high + room)
        axes.fill_between(x_here, *edges, color=colour, linewidth=0, zorder=above, label=f"{percent} {name} band")
    axes.autoscale_view()


def _finite(*columns: Array) -> list[Array]:
    """The rows in which every number is finite."""
    there = np.isfinite(columns).all(axis=0)
    return [column[there] for column in columns]


def count_missing(*groups: Drawable) -> int:
    """How many predictions cannot be drawn."""
    return sum(int(np.isnan(points.preds).sum()) for points in groups)


def write(text: Text, words: str, inches: float) -> None:
    """Set words in lines that are no longer than so many inches, and as they are: `$` begins no formula.

    Of a letter that no font has, matplotlib warns, and that prints it: control characters are written out.
    """
    letters = max(int(inches * 72 / (0.6 * float(text.get_fontsize()))), 8)  # a letter is 0.6 of its size wide
    lines = (textwrap.fill(line, letters, max_lines=3, placeholder=" ...") for line in printable(words).splitlines())
    text.set_text("\n".join(lines))
    text.set_parse_math(False)


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
    x, y = _finite(_array(values), _array(rise))
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


def _columns_of(labels: Sequence[str], inches: float) -> int:
    """As many columns of a legend as fit beside one another."""
    for columns in range(len(labels), 1, -1):
        groups = np.array_split([len(label) for label in labels], columns)  # as matplotlib fills them
        if sum(0.7 + 0.08 * int(group.max()) for group in groups) <= inches:  # a handle, and a letter of the legend
            return columns
    return 1


def add_legend(figure: Figure, panels: Iterable[Axes], missing: int) -> None:
    """One entry for each label, below the picture; dots, their error bars and their line share one."""
    entries: dict[str, Any] = {}
    for axes in panels:
        here: dict[str, tuple[Artist, ...]] = {}
        for artist, label in zip(*axes.get_legend_handles_labels(), strict=True):
            here[label] = (*here.get(label, ()), artist)
        entries = entries | {label: artists for label, artists in here.items() if label not in entries}
    legend = figure.legend(
        list(entries.values()),
        list(entries),
        title=f"predictions that are not finite: {missing}" if missing else None,
        loc="outside lower center",
        ncols=_columns_of(list(entries), figure.get_figwidth()),
        frameon=False,
        scatteryoffsets=[0.5],  # on the line, where dots have one
    )
    for dots in legend.findobj(PathCollection):
        dots.set(sizes=np.maximum(dots.get_sizes(), 16), alpha=1)  # specks are too small to tell their colour


class Walk(NamedTuple):
    """A path through a landscape, as numbers to draw: nan where a point cannot be drawn."""

    steps: Sequence[int]
    x: Array
    y: Array


def as_walk(steps: Sequence[int], x: Tensor, y: Tensor) -> Walk:
    """A path of which the points are tensors of shape `(S,)`."""
    return Walk(steps, _array(x), _array(y))


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
    across, up = _array(x), _array(y)
    columns = np.ma.masked_invalid(_array(heights).reshape(heights.shape).T)
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
    across, up = _array(x), _array(heights)
    axes.plot(across, up, color=DATA.color, linewidth=WIDTH)
    (lowest, highest), positive = axes.dataLim.intervaly, up[up > 0]
    if len(positive) and highest > 1e3 * positive.min() and lowest > 0:
        axes.set_yscale("log")
    axes.autoscale_view()
    write(axes.yaxis.label, what, 3)


def draw_parameter(axes: Axes, steps: Sequence[int], values: Tensor, optimum: Tensor | None) -> None:
    """Draw one parameter against the step, from grey to red, and a dashed line at its best fit."""
    x, y = _finite(np.array(steps, dtype=np.float64), _array(values))
    if optimum is not None and np.isfinite(best := _array(optimum)).all():
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


def draw_competitors(axes: Axes, points: Drawable, lines: Sequence[tuple[str, Array, Array]]) -> None:
    """Draw several curves over the data, which give the picture its height: a curve may leave it."""
    _dots(axes, points.x, points.targets, DATA, _size(len(points.x)), points.sigma)
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
