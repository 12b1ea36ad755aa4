"""A series and what is predicted of it: over t or against the data, with bands, and with the residuals beneath."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from gd_lightning.arrays import Array
from gd_lightning.drawing import (
    DATA,
    DIAGONAL,
    FEW,
    HOLDOUT,
    LARGEST,
    NOTHING,
    PREDICTION,
    START,
    WIDTH,
    Drawable,
    Style,
    as_array,
    draw_dots,
    draw_line,
    drawable,
    finite_rows,
    size_of_dots,
)
from gd_lightning.page import MARGIN, blank_figure, write

__all__ = [
    "Belts",
    "Frame",
    "HoldoutPairs",
    "HoldoutPoints",
    "Line",
    "Panel",
    "axes_above_residuals",
    "data_outside",
    "draw_observed",
    "draw_series",
    "fitted_points",
    "holdout_points",
    "leave_out_unseen_start",
    "panels_in_a_row",
    "predictions_outside",
]

Line = tuple[Tensor, Tensor]
HoldoutPoints = tuple[Tensor, Tensor, Tensor] | tuple[Tensor, Tensor, Tensor, Tensor | None]
HoldoutPairs = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor | None]

BELT, CORE = "#fbe9e7", "#f5b7b1"  # pale red, as the prediction within them


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
    holdout: HoldoutPoints | None = None
    belts: Belts | None = None


def fitted_points(panel: Panel) -> Drawable:
    """What was fitted."""
    return drawable(panel.t, panel.targets, panel.preds, panel.sigma, panel.start)


def holdout_points(panel: Panel) -> Drawable:
    """What was kept out of the fit; nothing where nothing was."""
    return NOTHING if panel.holdout is None else drawable(*panel.holdout)


def axes_above_residuals(
    figure: Figure, fitted: Drawable, holdout: Drawable, title: str, labels: tuple[str, str]
) -> Axes:
    """Draw the residuals and write the text; the axes for the picture above is returned."""
    axes: Axes
    beneath: Axes
    axes, beneath = figure.axes or figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    beneath.axhline(0, color="0.4", linewidth=1)
    size = size_of_dots(len(fitted.x))
    for points, style in ((fitted, DATA), (holdout, HOLDOUT)):
        draw_dots(beneath, points.x, points.preds - points.targets, style, size, points.sigma)
    beneath.margins(y=0.15)  # room for half a dot, in so low a panel
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
    fitted, holdout = fitted_points(panel), holdout_points(panel)
    x = np.concatenate([fitted.x, holdout.x])
    preds = np.concatenate([fitted.preds, holdout.preds])
    dots = len(panel.t) <= FEW and not small
    size = size_of_dots(len(fitted.x)) / (3 if small else 1)
    draw_dots(axes, fitted.x, fitted.targets, DATA, size, fitted.sigma)
    draw_dots(axes, holdout.x, holdout.targets, HOLDOUT, size, holdout.sigma)
    if dots:
        draw_dots(axes, fitted.x, fitted.start, START, 16)
        draw_dots(axes, x, preds, PREDICTION, size)
    else:
        _line_in_passing(axes, fitted.x, fitted.start, START)
    if panel.line is not None:
        axes.update_datalim(np.column_stack(finite_rows(x, preds)))
        if panel.belts is not None:
            _belts(axes, as_array(panel.line[0]), panel.belts)
        _curve(axes, as_array(panel.line[0]), as_array(panel.line[1]))
    elif not dots:
        draw_line(axes, x, preds, PREDICTION)


def leave_out_unseen_start(axes: Axes, panel: Panel) -> None:
    """Take away the prediction at the start where nobody can see it: outside the axes, or beneath the prediction.

    That is where it is less than a pixel off.
    """
    low, high = axes.get_ylim()
    fitted = fitted_points(panel)
    _, start, preds = finite_rows(fitted.x, fitted.start, np.nan_to_num(fitted.preds, nan=LARGEST))
    beyond = (start < low).all() or (start > high).all()
    if beyond or (np.abs(start - preds) < (high - low) / axes.bbox.height).all():
        for drawn in [*axes.collections, *axes.lines]:
            if drawn.get_label() == START.label:
                drawn.remove()


def data_outside(limits: tuple[float, float] | None, *groups: Drawable) -> list[str]:
    """How many data given limits of y leave out, in words; nothing where all are there."""
    if limits is None:
        return []
    count = sum(int(((points.targets < limits[0]) | (points.targets > limits[1])).sum()) for points in groups)
    return [f"data outside the picture: {count}"] if count else []


def predictions_outside(limits: tuple[float, float] | None, *panels: Sequence[Drawable]) -> list[str]:
    """In how many panels given limits of y leave nothing of the predictions, in words; nothing where in none."""
    if limits is None:
        return []
    each = [np.concatenate([points.preds[np.isfinite(points.preds)] for points in panel]) for panel in panels]
    count = sum(bool(len(preds) and ((preds < limits[0]).all() or (preds > limits[1]).all())) for preds in each)
    where = f" in {count} of {len(panels)} panels" if len(panels) > 1 else ""
    return [f"prediction outside the picture{where}"] if count else []


def draw_observed(axes: Axes, fitted: Drawable, holdout: Drawable) -> None:
    """Draw data over predictions and the diagonal on which both are the same."""
    size = size_of_dots(len(fitted.x))
    draw_dots(axes, fitted.x, fitted.targets, DATA, size, fitted.sigma)
    draw_dots(axes, holdout.x, holdout.targets, HOLDOUT, size, holdout.sigma)
    ends = np.array([np.min(axes.dataLim.extents), np.max(axes.dataLim.extents)])
    if np.isfinite(ends).all():
        draw_line(axes, ends, ends, DIAGONAL)


def _line_in_passing(axes: Axes, x: Array, y: Array, style: Style) -> None:
    """A line that does not widen the picture: where it began may be far from where the data are."""
    before = axes.dataLim.frozen()
    draw_line(axes, x, y, style)
    axes.dataLim.set(before)


def _curve(axes: Axes, x: Array, y: Array) -> None:
    """The prediction on a grid; beside a pole it may leave the picture, which grows by its own height at most."""
    low, high = axes.dataLim.intervaly
    room = high - low if low < high else LARGEST
    order = np.argsort(x, kind="stable")
    (line,) = axes.plot([], [], color=PREDICTION.color, linewidth=WIDTH, label=PREDICTION.label)
    line.set_data(x[order], y[order])
    axes.update_datalim(np.column_stack(finite_rows(x, np.clip(y, low - room, high + room))))
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
        x_here, under, over = finite_rows(x, as_array(lower), as_array(upper))
        if not len(x_here):
            continue
        edges = np.clip(under, low - room, high + room), np.clip(over, low - room, high + room)
        axes.fill_between(x_here, *edges, color=colour, linewidth=0, zorder=above, label=f"{percent} {name} band")
    axes.autoscale_view()
