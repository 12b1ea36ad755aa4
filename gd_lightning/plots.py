"""Pictures of a fit: pure functions that return a matplotlib figure and leave pyplot alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from gd_lightning.arrays import Array
from gd_lightning.comparison_drawing import draw_competitors, draw_differences
from gd_lightning.descent_drawing import (
    as_walk,
    draw_landscape,
    draw_optimum,
    draw_parameter,
    draw_path,
    draw_valley,
)
from gd_lightning.drawing import NOTHING, OPTIMUM, count_missing, drawable
from gd_lightning.landscape import Landscape
from gd_lightning.page import MARGIN, add_legend, blank_figure, cleared, write
from gd_lightning.prediction_drawing import (
    Belts,
    Frame,
    HoldoutPairs,
    HoldoutPoints,
    Line,
    Panel,
    axes_above_residuals,
    data_outside,
    draw_observed,
    draw_series,
    fitted_points,
    holdout_points,
    leave_out_unseen_start,
    panels_in_a_row,
    predictions_outside,
)
from gd_lightning.profile_drawing import draw_profile
from gd_lightning.sweep_drawing import (
    count_in_logarithms,
    draw_bars,
    draw_courses,
    draw_lr_scale,
    draw_rates,
    shades_of,
)

__all__ = [
    "comparison_figure",
    "film_strip",
    "landscape_figure",
    "observed_figure",
    "observed_strip",
    "path_figure",
    "prediction_figure",
    "profile_figure",
    "series_grid",
    "sweep_figure",
    "worst_median_best",
]

Limits = tuple[float, float]
PANELS = 9  # of a path; more are too small to read


def prediction_figure(
    t: Tensor,
    targets: Tensor,
    preds: Tensor,
    start: Tensor | None = None,
    *,
    sigma: Tensor | None = None,
    line: Line | None = None,
    holdout: HoldoutPoints | None = None,
    belts: Belts | None = None,
    title: str = "",
    labels: tuple[str, str] = ("t", "y"),
    ylim: Limits | None = None,
    figure: Figure | None = None,
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
        belts: as in `Panel`.
        title: text above the picture.
        labels: names of the two axes.
        ylim: range of the y axis; chosen from what is drawn unless given.
        figure: one that this function has drawn, to be cleared and drawn in again.

    Returns:
        A figure that nobody else holds: the picture is its first axes, the residuals are its second.
    """
    panel = Panel(title, t, targets, preds, start, sigma, line, holdout, belts)
    figure = blank_figure(6.4, 5.6) if figure is None else cleared(figure)
    groups = fitted_points(panel), holdout_points(panel)
    axes = axes_above_residuals(figure, *groups, title, labels)
    draw_series(axes, panel)
    axes.set_ylim(ylim)
    leave_out_unseen_start(axes, panel)
    add_legend(figure, [axes], count_missing(*groups), data_outside(ylim, *groups) + predictions_outside(ylim, groups))
    return figure


def observed_figure(
    targets: Tensor,
    preds: Tensor,
    *,
    sigma: Tensor | None = None,
    holdout: HoldoutPairs | None = None,
    title: str = "",
    label: str = "y",
    figure: Figure | None = None,
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
        figure: one that this function has drawn, to be cleared and drawn in again.

    Returns:
        A figure that nobody else holds: the picture is its first axes, the residuals (prediction - data) are its
        second.
    """
    fitted = drawable(preds, targets, preds, sigma)
    drawn_holdout = NOTHING if holdout is None else drawable(holdout[1], holdout[0], holdout[1], *holdout[2:])
    figure = blank_figure(5.6, 6.4) if figure is None else cleared(figure)
    axes = axes_above_residuals(figure, fitted, drawn_holdout, title, (f"predicted {label}", label))
    draw_observed(axes, fitted, drawn_holdout)
    add_legend(figure, [axes], count_missing(fitted, drawn_holdout))
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
    figure = panels_in_a_row(frames, title, labels)
    panels = [Panel(frame.title, t, targets, frame.preds, start, sigma) for frame in frames]
    for axes, panel in zip(figure.axes, panels, strict=True):
        draw_series(axes, panel)
    figure.axes[0].set_ylim(ylim)
    for axes, panel in zip(figure.axes, panels, strict=True):
        leave_out_unseen_start(axes, panel)
    drawn = [fitted_points(panel) for panel in panels]
    outside = data_outside(ylim, *drawn[:1]) + predictions_outside(ylim, *([points] for points in drawn))
    add_legend(figure, figure.axes, count_missing(*drawn), outside)
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
    figure = panels_in_a_row(frames, title, (f"predicted {label}", label))
    drawn = [drawable(frame.preds, targets, frame.preds, sigma) for frame in frames]
    for axes, fitted in zip(figure.axes, drawn, strict=True):
        draw_observed(axes, fitted, NOTHING)
    figure.axes[0].set_ylim(ylim)
    add_legend(figure, figure.axes, count_missing(*drawn), data_outside(ylim, *drawn[:1]))
    return figure


def series_grid(
    rows: Mapping[str, Sequence[Panel]],
    *,
    title: str = "",
    labels: tuple[str, str] = ("t", "y"),
    figure: Figure | None = None,
) -> Figure:
    """Several series in small panels, each with axes of its own, in rows that have a name.

    Args:
        rows: name -> panels of the row, from left to right; a row without panels is left out. `worst_median_best`
            chooses which series to show.
        title: text above the grid.
        labels: names of the two axes.
        figure: one that this function has drawn of as many panels, to be cleared and drawn in again.

    Returns:
        A figure that nobody else holds, with one axes for each panel, row by row.
    """
    shown = {name: panels for name, panels in rows.items() if panels}
    columns = max(map(len, shown.values()), default=1)
    width = 2.3 * max(columns, 2)
    figure = blank_figure(width, 1.2 + 1.8 * max(len(shown), 1)) if figure is None else cleared(figure)
    places, there = figure.add_gridspec(max(len(shown), 1), columns), iter(figure.axes)
    drawn: list[Axes] = []
    missing = 0
    for row, (name, panels) in enumerate(shown.items()):
        below = max(map(len, list(shown.values())[row + 1 :]), default=0)
        for column, panel in enumerate(panels):
            axes = next(there, None) or figure.add_subplot(places[row, column])
            drawn.append(axes)
            draw_series(axes, panel, small=True)
            leave_out_unseen_start(axes, panel)
            missing += count_missing(fitted_points(panel), holdout_points(panel))
            axes.locator_params(nbins=4)
            axes.tick_params(labelsize="small")
            axes.title.set_fontsize("medium")
            write(axes.title, panel.title, width / columns - MARGIN)
            if column >= below:
                write(axes.xaxis.label, labels[0], width / columns - 2 * MARGIN)
        first = drawn[-len(panels)]
        first.yaxis.label.set_fontweight("bold")
        write(first.yaxis.label, name, 1.2)
    write(figure.suptitle(""), title, width)
    write(figure.supylabel("", fontsize="medium"), labels[1], 1.8 * len(shown))
    add_legend(figure, figure.axes, missing)
    return figure


def landscape_figure(landscape: Landscape, *, title: str = "") -> Figure:
    """The descent from above: contours of the loss over two parameters, and the path through them to a star.

    Over one parameter it is the loss as a curve, with the path on it.

    Args:
        landscape: what `gd_lightning.landscape.landscape` computed.
        title: text above the picture.

    Returns:
        A figure that nobody else holds: the picture is its first axes, the colour bar is its second.
    """
    what = "RMSE" if landscape.is_rmse else "loss"
    heights, path_heights, best = (
        values.sqrt() if landscape.is_rmse else values
        for values in (landscape.loss, landscape.path_loss, torch.tensor(landscape.optimum_loss).double())
    )
    figure = blank_figure(6.4, 5.6)
    axes = figure.subplots()
    flat = len(landscape.names) == 1
    walk = as_walk(landscape.steps, landscape.path[:, 0], path_heights if flat else landscape.path[:, 1])
    if flat:
        draw_valley(axes, landscape.axes[0], heights, what)
    else:
        draw_landscape(axes, landscape.axes[0], landscape.axes[1], heights, what)
        write(axes.yaxis.label, landscape.names[1], 3)
    axes.set_autoscale_on(False)
    labels = [f"step {landscape.steps[i]}: {path_heights[i]:.4g}" for i in (0, -1)]
    draw_path(axes, walk, (labels[0], labels[1]))
    draw_optimum(
        axes, landscape.optimum[0].item(), best.item() if flat else landscape.optimum[1].item(), f"best fit: {best:.4g}"
    )
    write(axes.title, "\n".join(filter(None, [title, _whereabouts(landscape)])), 5.4)
    write(axes.xaxis.label, landscape.names[0], 4)
    add_legend(figure, [axes], 0)
    return figure


def _whereabouts(landscape: Landscape) -> str:
    """Where the parameters are that are not along the axes."""
    if not landscape.others:
        return ""
    others = ", ".join(landscape.others) if len(landscape.others) <= 3 else "the others"
    if not landscape.through:
        return f"{others} as in the best fit"
    ends = " and ".join(str(step) for step in sorted(landscape.through))
    return f"{others} on the plane of best fit, step{'s' * (len(landscape.through) > 1)} {ends}"


def path_figure(
    names: Sequence[str], steps: Sequence[int], values: Tensor, optimum: Tensor | None = None, *, title: str = ""
) -> Figure:
    """Each parameter against the step, in small panels, with a dashed line where the best fit has it.

    Steps are counted along a logarithmic axis where there are many: the first ones move most.

    Args:
        names: P names of parameters.
        steps: after how many steps, S of them.
        values: the parameters then, shape `(S, P)`.
        optimum: those of the best fit, shape `(P,)`.
        title: text above the panels; where there are more than `PANELS` parameters, those are shown that moved most,
            each counted in its own largest value, and the title says so.

    Returns:
        A figure that nobody else holds, with one axes for each parameter shown.
    """
    shown = list(range(len(names)))
    if len(shown) > PANELS:
        finite = values.detach().double().nan_to_num(0.0, 0.0, 0.0)
        moved = (finite.amax(dim=0) - finite.amin(dim=0)) / finite.abs().amax(dim=0).clamp_min(1e-300)
        shown = sorted(moved.argsort(descending=True, stable=True)[:PANELS].tolist())
        title = f"{title}\n{PANELS} of {len(names)} parameters, those that moved most".lstrip()
    columns = max(min(len(shown), 3), 1)
    rows = math.ceil(len(shown) / columns)
    width = max(2.5 * columns, 5.0)
    figure = blank_figure(width, 1.4 + 1.8 * rows)
    for place, i in enumerate(shown):
        axes = figure.add_subplot(rows, columns, place + 1)
        draw_parameter(axes, steps, values[:, i], None if optimum is None else optimum[i])
        axes.title.set_fontsize("medium")
        write(axes.title, names[i], width / columns - MARGIN)
        if place + columns >= len(shown):
            write(axes.xaxis.label, "step", width / columns - 2 * MARGIN)
    write(figure.suptitle(""), title, width)
    add_legend(figure, figure.axes, 0)
    return figure


def profile_figure(panels: Mapping[str, Mapping[str, Any]], *, level: float, title: str = "") -> Figure:
    """The profile of each parameter, with the parabola that the tangent makes of it, and the ends of the interval.

    Args:
        panels: name of a parameter -> arguments of `draw_profile`.
        level: of the intervals.
        title: text above the panels; of many parameters the first `PANELS` are shown.

    Returns:
        A figure that nobody else holds, with one axes for each parameter shown.
    """
    shown = list(panels)[:PANELS]
    columns = max(min(len(shown), 3), 1)
    rows = max(math.ceil(len(shown) / columns), 1)
    width = max(2.5 * columns, 5.0)
    figure = blank_figure(width, 1.6 + 1.8 * rows)
    for place, name in enumerate(shown):
        axes = figure.add_subplot(rows, columns, place + 1)
        draw_profile(axes, **panels[name])
        write(axes.xaxis.label, name, width / columns - MARGIN)
    write(figure.supylabel("", fontsize="medium"), "rise of the sum of squares / variance", 1.8 * rows)
    write(figure.suptitle(""), f"{title}\n{100 * level:g} % profile-likelihood intervals".lstrip(), width)
    add_legend(figure, figure.axes, 0)
    return figure


def sweep_figure(
    labels: Sequence[str],
    history: Tensor,
    *,
    lrs: Sequence[float] | None = None,
    limit: tuple[str, float] | None = None,
    reachable: float = math.nan,
    title: str = "",
) -> Figure:
    """A sweep: RMSE against the step, a line for each member, and beside it where each has come to.

    What diverges is dashed and ends in a cross; it may leave the picture, whose top is ten times the first RMSE.

    Args:
        labels: names of K members.
        history: RMSE of each after so many steps, shape `(K, S + 1)`; nan where it has diverged.
        lrs: learning rate of each, where it is they that differ: the last RMSE stands against them then, otherwise in a
            row for each member.
        limit: name and value of the largest stable learning rate, an upright line.
        reachable: the lowest RMSE there could be; not drawn where it is not finite.
        title: text above the picture.

    Returns:
        A figure that nobody else holds: the courses are its first axes, the last RMSE are its second.
    """
    rmse = history.detach().cpu().double().numpy()
    last = rmse[:, -1]
    best = min((i for i in range(len(last)) if math.isfinite(last[i])), key=lambda i: float(last[i]), default=None)
    colors = shades_of(len(labels), lrs)
    figure = blank_figure(10, 4.5)
    courses, ends = figure.subplots(1, 2, sharey=lrs is not None, width_ratios=(1.15, 1) if lrs is not None else (1, 1))
    bounds = _rmse_bounds(rmse, reachable)
    draw_courses(courses, rmse, colors)
    count_in_logarithms(courses.yaxis, *bounds)
    green = {"color": OPTIMUM, "linewidth": 1.5, "linestyle": ":", "label": f"best fit: {reachable:.4g}"}
    if lrs is not None:
        draw_lr_scale(courses, lrs)
        draw_rates(ends, np.array(lrs), last, colors, limit, best)
        ends.yaxis.set_tick_params(labelleft=False)
        write(ends.xaxis.label, "lr", 3)
        lines = [courses.axhline, ends.axhline]
    else:
        count_in_logarithms(ends.xaxis, bounds[0], _rmse_bounds(rmse[:, -1:], reachable)[1])
        draw_bars(ends, last, colors, labels)
        write(ends.xaxis.label, "RMSE", 3)
        lines = [courses.axhline, ends.axvline]
    for line in lines if math.isfinite(reachable) else []:
        line(reachable, zorder=1.2, **green)
    write(courses.xaxis.label, "step", 3)
    write(courses.yaxis.label, "RMSE", 3)
    write(ends.title, f"after {rmse.shape[1] - 1:,} step{'s' * (rmse.shape[1] != 2)}", 4)
    ends.title.set_fontsize("medium")
    write(figure.suptitle(""), title, 10)
    add_legend(figure, [courses, ends], 0)
    return figure


def comparison_figure(
    points: Panel,
    lines: Sequence[tuple[str, Tensor, Tensor]],
    names: Sequence[str],
    values: Sequence[float],
    *,
    measure: str,
    near: float | None = None,
    drawn: int = 0,
    title: str = "",
    labels: tuple[str, str] = ("t", "y"),
) -> Figure:
    """Functions that were fitted to the same data: the best few over them, and beside it how far each is behind.

    Args:
        points: the data; without lines, predictions against which they stand.
        lines: name, grid and prediction there of the best few, the first first.
        names: of all functions that were fitted, the first first.
        values: what ranked each of them.
        measure: what that is.
        near: up to which value a function is as good as the first; none where nothing says.
        drawn: so many of the functions are on the left.
        title: text above the picture.
        labels: names of the two axes on the left.

    Returns:
        A figure that nobody else holds: the curves are its first axes, the ranking is its second.
    """
    figure = blank_figure(10, max(4.6, 1.6 + 0.2 * len(names)))
    axes, ranking = figure.subplots(1, 2, width_ratios=(1.4, 1))
    fitted = fitted_points(points)
    if lines:
        shown = [(name, x.cpu().double().numpy(), y.detach().cpu().double().numpy()) for name, x, y in lines]
        draw_competitors(axes, fitted, shown)
    else:
        draw_observed(axes, fitted, NOTHING)
        write(axes.title, points.title, 5)
        axes.title.set_fontsize("medium")
    write(axes.xaxis.label, labels[0], 4)
    write(axes.yaxis.label, labels[1], 3)
    draw_differences(ranking, np.array(values, dtype=np.float64), names, drawn, near)
    write(ranking.xaxis.label, measure, 3.5)
    write(figure.suptitle(""), title, 9)
    add_legend(figure, [axes, ranking], 0)
    return figure


def _rmse_bounds(rmse: Array, reachable: float) -> tuple[float, float]:
    """The range of a logarithmic axis of RMSE."""
    finite = rmse[np.isfinite(rmse) & (rmse > 0)]
    first = rmse[:, 0][np.isfinite(rmse[:, 0]) & (rmse[:, 0] > 0)]
    if not len(finite):
        return 0.1, 10.0
    low, high = float(finite.min()), 10 * float(first.max()) if len(first) else float(finite.max())
    high = min(high, 2 * float(finite.max()))
    if math.isfinite(reachable) and reachable > 0:
        low = min(low, reachable)
    low = max(low, 1e-12 * high)
    return low / 1.5, max(high, 1.5 * low)


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
