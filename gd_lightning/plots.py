"""Pictures of a fit: pure functions that return a matplotlib figure and leave pyplot alone.

Blue is data, red is the prediction, grey is the prediction at the start, and hollow orange diamonds are points that
were kept out of the fit. What is not finite is not drawn, and the legend says how many predictions that leaves out.
"""

import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

__all__ = [
    "Frame",
    "Panel",
    "film_strip",
    "observed_figure",
    "observed_strip",
    "png",
    "prediction_figure",
    "series_grid",
    "worst_median_best",
]

Limits = tuple[float, float]
Line = tuple[Tensor, Tensor]
Held = tuple[Tensor, Tensor, Tensor] | tuple[Tensor, Tensor, Tensor, Tensor | None]
HeldPairs = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor | None]
Array = NDArray[np.float64]

FEW = 40  # up to so many points, a red dot beside each blue one can be followed with the eye
WIDTH = 1.2  # of a line, in points: data beneath it can still be seen
MARGIN = 0.6  # inches beside a small panel, for the numbers of its y axis, and beside its x label, for a power of ten
COLOURS = 128  # in a PNG, enough for five colours and their edges; it has a third of the size then
LARGEST = 1e300  # the margins of an axis that reaches further overflow


class Frame(NamedTuple):
    """One panel of a film strip: what is predicted after a number of steps."""

    title: str
    preds: Tensor


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
    """

    title: str
    t: Tensor
    targets: Tensor
    preds: Tensor
    start: Tensor | None = None
    sigma: Tensor | None = None
    line: Line | None = None
    holdout: Held | None = None


def prediction_figure(
    t: Tensor,
    targets: Tensor,
    preds: Tensor,
    start: Tensor | None = None,
    *,
    sigma: Tensor | None = None,
    line: Line | None = None,
    holdout: Held | None = None,
    title: str = "",
    labels: tuple[str, str] = ("t", "y"),
    ylim: Limits | None = None,
) -> Figure:
    """Predictions against data, the article's picture, with the residuals (prediction - data) beneath.

    Predictions for at most `FEW` points are red dots, and those of the start hollow grey ones; more than that are
    lines through the predictions in the order of t.

    Args:
        t: independent variable, shape `(T,)`.
        targets: data, shape `(T,)`.
        preds: predictions, shape `(T,)`.
        start: predictions of the starting values, shape `(T,)`.
        sigma: as in `Panel`.
        line: as in `Panel`.
        holdout: as in `Panel`.
        title: text above the picture.
        labels: names of the two axes.
        ylim: range of the y axis; chosen from what is drawn unless given.

    Returns:
        A figure that nobody else holds: the picture is its first axes, the residuals are its second.
    """
    panel = Panel(title, t, targets, preds, start, sigma, line, holdout)
    figure = _figure(6.4, 5.6)
    axes = _above_residuals(figure, _fitted(panel), _kept_out(panel), title, labels)
    _draw(axes, panel)
    axes.set_ylim(ylim)
    _legend(figure, [axes], _missing(_fitted(panel), _kept_out(panel)))
    return figure


def observed_figure(
    targets: Tensor,
    preds: Tensor,
    *,
    sigma: Tensor | None = None,
    holdout: HeldPairs | None = None,
    title: str = "",
    label: str = "y",
) -> Figure:
    """Data against predictions, for fits with several independent variables: the nearer to the diagonal, the better.

    Args:
        targets: data, shape `(T,)`.
        preds: predictions, shape `(T,)`.
        sigma: as in `Panel`.
        holdout: data and predictions of the points kept out of the fit, and their sigma, if there is one; all of
            shape `(H,)`.
        title: text above the picture.
        label: name of what is predicted.

    Returns:
        A figure that nobody else holds: the picture is its first axes, the residuals (prediction - data) are its
        second.
    """
    fitted = _points(preds, targets, preds, sigma)
    kept_out = NOTHING if holdout is None else _points(holdout[1], holdout[0], holdout[1], *holdout[2:])
    figure = _figure(5.6, 6.4)
    axes = _above_residuals(figure, fitted, kept_out, title, (f"predicted {label}", label))
    _observe(axes, fitted, kept_out)
    _legend(figure, [axes], _missing(fitted, kept_out))
    return figure


def film_strip(
    t: Tensor,
    targets: Tensor,
    frames: Sequence[Frame],
    start: Tensor | None = None,
    *,
    sigma: Tensor | None = None,
    title: str = "",
    labels: tuple[str, str] = ("t", "y"),
    ylim: Limits | None = None,
) -> Figure:
    """The descent as a row of panels that share their axes, one for each frame; the article shows six.

    Args:
        t: independent variable, shape `(T,)`.
        targets: data, shape `(T,)`, in every panel.
        frames: title and predictions, shape `(T,)`, of each panel.
        start: predictions of the starting values, shape `(T,)`, in every panel.
        sigma: as in `Panel`.
        title: text above the strip.
        labels: names of the two axes.
        ylim: range of the y axis; chosen from what is drawn unless given.

    Returns:
        A figure that nobody else holds.
    """
    figure = _strip(frames, title, labels)
    missing = 0
    for axes, frame in zip(figure.axes, frames, strict=True):
        panel = Panel(frame.title, t, targets, frame.preds, start, sigma)
        missing += _missing(_fitted(panel))
        _draw(axes, panel)
    figure.axes[0].set_ylim(ylim)
    _legend(figure, figure.axes, missing)
    return figure


def observed_strip(
    targets: Tensor,
    frames: Sequence[Frame],
    *,
    sigma: Tensor | None = None,
    title: str = "",
    label: str = "y",
    ylim: Limits | None = None,
) -> Figure:
    """The descent for several independent variables: panel by panel the data come nearer to the diagonal.

    Args:
        targets: data, shape `(T,)`, in every panel.
        frames: title and predictions, shape `(T,)`, of each panel.
        sigma: as in `Panel`.
        title: text above the strip.
        label: name of what is predicted.
        ylim: range of the y axis; chosen from what is drawn unless given.

    Returns:
        A figure that nobody else holds.
    """
    figure = _strip(frames, title, (f"predicted {label}", label))
    missing = 0
    for axes, frame in zip(figure.axes, frames, strict=True):
        fitted = _points(frame.preds, targets, frame.preds, sigma)
        missing += _missing(fitted)
        _observe(axes, fitted, NOTHING)
    figure.axes[0].set_ylim(ylim)
    _legend(figure, figure.axes, missing)
    return figure


def series_grid(
    rows: Mapping[str, Sequence[Panel]], *, title: str = "", labels: tuple[str, str] = ("t", "y")
) -> Figure:
    """Several series in small panels, each with axes of its own, in rows that have a name.

    Args:
        rows: name -> panels of the row, from left to right; a row without panels is left out. `worst_median_best`
            chooses which series to show.
        title: text above the grid.
        labels: names of the two axes.

    Returns:
        A figure that nobody else holds, with one axes for each panel, row by row.
    """
    shown = {name: panels for name, panels in rows.items() if panels}
    columns = max(map(len, shown.values()), default=1)
    width = 2.3 * max(columns, 2)
    figure = _figure(width, 1.2 + 1.8 * max(len(shown), 1))
    places = figure.add_gridspec(max(len(shown), 1), columns)
    missing = 0
    for row, (name, panels) in enumerate(shown.items()):
        below = max(map(len, list(shown.values())[row + 1 :]), default=0)
        for column, panel in enumerate(panels):
            axes = figure.add_subplot(places[row, column])
            _draw(axes, panel, small=True)
            missing += _missing(_fitted(panel), _kept_out(panel))
            axes.locator_params(nbins=4)
            axes.tick_params(labelsize="small")
            axes.title.set_fontsize("medium")
            _write(axes.title, panel.title, width / columns - MARGIN)
            if column >= below:
                _write(axes.xaxis.label, labels[0], width / columns - 2 * MARGIN)
        axes = figure.axes[-len(panels)]
        axes.yaxis.label.set_fontweight("bold")
        _write(axes.yaxis.label, name, 1.2)
    _write(figure.suptitle(""), title, width)
    _write(figure.supylabel("", fontsize="medium"), labels[1], 1.8 * len(shown))
    _legend(figure, figure.axes, missing)
    return figure


def worst_median_best(rmse: Tensor, each: int = 3) -> dict[str, list[int]]:
    """The series to look at: those with the largest errors, those in the middle, and those with the smallest.

    Args:
        rmse: error of each series, shape `(S,)`; nan counts as the largest.
        each: how many of each kind.

    Returns:
        "worst", "median" and "best" -> places in `rmse`, errors falling from the first to the last. No series is
        there twice: fewer than `3 * each` are shared out, the only one being a "median".
    """
    errors = rmse.detach().reshape(-1)
    errors = torch.where(errors.isnan(), torch.inf, errors)
    order = errors.sort(descending=True, stable=True).indices.tolist()
    outer = min(each, (len(order) + 1) // 3)
    inner = min(each, len(order) - 2 * outer)
    first = (len(order) - inner) // 2
    return {
        "worst": order[:outer],
        "median": order[first : first + inner],
        "best": order[len(order) - outer :],
    }


def png(figure: Figure) -> bytes:
    """The figure as a PNG file with a palette, tens of kilobytes even where there are many points."""
    raster, file = io.BytesIO(), io.BytesIO()
    figure.savefig(raster, format="png")
    picture = Image.open(raster).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(file, format="png", optimize=True)
    return file.getvalue()


class _Points(NamedTuple):
    """Numbers to draw, shape `(N,)`: nan where one cannot be drawn; without start all nan, without sigma all 0."""

    x: Array
    targets: Array
    preds: Array
    sigma: Array
    start: Array


def _points(
    x: Tensor, targets: Tensor, preds: Tensor, sigma: Tensor | None = None, start: Tensor | None = None
) -> _Points:
    columns = [_array(x), _array(targets), _array(preds)]
    columns.append(np.zeros_like(columns[0]) if sigma is None else _array(sigma))
    columns.append(np.full_like(columns[0], np.nan) if start is None else _array(start))
    return _Points(*(column[columns[3] >= 0] for column in columns))


def _array(values: Tensor) -> Array:
    numbers = values.detach().cpu().double().numpy().reshape(-1)
    return np.where(np.abs(numbers) <= LARGEST, numbers, np.nan)


class _Style(NamedTuple):
    """How dots or a line look, and what the legend calls them."""

    label: str
    color: str
    marker: str = "o"
    hollow: bool = False


NOTHING = _points(torch.empty(0), torch.empty(0), torch.empty(0))
DATA = _Style("data", "C0")
KEPT_OUT = _Style("kept out", "C1", marker="D", hollow=True)
START = _Style("prediction at the start", "0.6", hollow=True)
PREDICTION = _Style("prediction", "red")
DIAGONAL = _Style("prediction = data", "red")


def _fitted(panel: Panel) -> _Points:
    return _points(panel.t, panel.targets, panel.preds, panel.sigma, panel.start)


def _kept_out(panel: Panel) -> _Points:
    return NOTHING if panel.holdout is None else _points(*panel.holdout)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _above_residuals(figure: Figure, fitted: _Points, kept_out: _Points, title: str, labels: tuple[str, str]) -> Axes:
    """Draw the residuals and write the text; the axes for the picture above is returned."""
    axes: Axes
    beneath: Axes
    axes, beneath = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    beneath.axhline(0, color="0.4", linewidth=1)
    size = _size(len(fitted.x))
    for points, style in ((fitted, DATA), (kept_out, KEPT_OUT)):
        _dots(beneath, points.x, points.preds - points.targets, style, size, points.sigma)
    beneath.locator_params(axis="y", nbins=5)
    width = figure.get_figwidth() - 1
    _write(axes.title, title, width)
    _write(axes.yaxis.label, labels[1], 3)
    _write(beneath.xaxis.label, labels[0], width - 2 * MARGIN)
    beneath.set_ylabel("prediction\n\N{MINUS SIGN} data", fontsize="small")
    figure.align_ylabels()
    return axes


def _strip(frames: Sequence[Frame], title: str, labels: tuple[str, str]) -> Figure:
    """A row of panels that share their axes, with their text, to draw in."""
    width = 2.2 * max(len(frames), 2)
    figure = _figure(width, 3.4)
    panels = figure.subplots(1, len(frames), sharex=True, sharey=True, squeeze=False)[0]
    for axes, frame in zip(panels, frames, strict=True):
        axes.title.set_fontsize("medium")
        _write(axes.title, frame.title, width / len(frames) - MARGIN)
        _write(axes.xaxis.label, labels[0], width / len(frames) - 2 * MARGIN)
    _write(panels[0].yaxis.label, labels[1], 1.6)
    _write(figure.suptitle(""), title, width)
    return figure


def _draw(axes: Axes, panel: Panel, *, small: bool = False) -> None:
    """Draw a series; in a small panel predictions are lines, however few."""
    fitted, kept_out = _fitted(panel), _kept_out(panel)
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
        _line(axes, fitted.x, fitted.start, START)
    if panel.line is not None:
        axes.update_datalim(np.column_stack(_finite(x, preds)))
        _curve(axes, _array(panel.line[0]), _array(panel.line[1]))
    elif not dots:
        _line(axes, x, preds, PREDICTION)


def _observe(axes: Axes, fitted: _Points, kept_out: _Points) -> None:
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


def _curve(axes: Axes, x: Array, y: Array) -> None:
    """The prediction on a grid; beside a pole it may leave the picture, which grows by its own height at most."""
    low, high = axes.dataLim.intervaly
    room = high - low if low < high else LARGEST
    order = np.argsort(x, kind="stable")
    (line,) = axes.plot([], [], color=PREDICTION.color, linewidth=WIDTH, label=PREDICTION.label)
    line.set_data(x[order], y[order])
    axes.update_datalim(np.column_stack(_finite(x, np.clip(y, low - room, high + room))))
    axes.autoscale_view()


def _finite(*columns: Array) -> list[Array]:
    """The rows in which every number is finite."""
    there = np.isfinite(columns).all(axis=0)
    return [column[there] for column in columns]


def _missing(*groups: _Points) -> int:
    """How many predictions cannot be drawn."""
    return sum(int(np.isnan(points.preds).sum()) for points in groups)


def _write(text: Text, words: str, inches: float) -> None:
    """Set words in lines that are no longer than so many inches, and as they are: `$` begins no formula."""
    letters = max(int(inches * 72 / (0.6 * float(text.get_fontsize()))), 8)  # a letter is 0.6 of its size wide
    lines = (textwrap.fill(line, letters, max_lines=3, placeholder=" ...") for line in words.splitlines())
    text.set_text("\n".join(lines))
    text.set_parse_math(False)


def _legend(figure: Figure, panels: Iterable[Axes], missing: int) -> None:
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
        ncols=max(int(figure.get_figwidth() / 1.6), 1),  # inches for an entry
        frameon=False,
        scatteryoffsets=[0.5],  # on the line, where dots have one
    )
    for dots in legend.findobj(PathCollection):
        dots.set(sizes=np.maximum(dots.get_sizes(), 16), alpha=1)  # specks are too small to tell their colour
