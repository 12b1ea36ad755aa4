"""Which picture suits a fit: along one predictor, over several, or of several series."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from torch import Tensor

from gd_lightning.comparison_table import NEAR, short_names
from gd_lightning.curve import Curve
from gd_lightning.errors import InputError
from gd_lightning.landscape import landscape
from gd_lightning.losses import Loss, mse, rmse_each, root
from gd_lightning.plots import (
    comparison_figure,
    film_strip,
    landscape_figure,
    observed_figure,
    observed_strip,
    path_figure,
    prediction_figure,
    profile_figure,
    series_grid,
    worst_median_best,
)
from gd_lightning.points import Points
from gd_lightning.prediction_drawing import Belts, Frame, Line, Panel
from gd_lightning.profile import Profile
from gd_lightning.terminal import printable
from gd_lightning.uncertainty import LEVEL, Uncertainty

if TYPE_CHECKING:
    from gd_lightning.comparison import Comparison

__all__ = ["comparison_picture", "descent_pictures", "picture", "profile_picture", "strip"]

FINE = 400  # points of a line, enough that none shows


@torch.no_grad()
def picture(
    curve: Curve,
    points: Points,
    params: Tensor,
    moment: str,
    *,
    holdout: Points | None = None,
    labels: Sequence[str] = ("t", "y"),
    series: Sequence[str] = (),
    ylim: tuple[float, float] | None = None,
    told: Uncertainty | None = None,
    level: float = LEVEL,
    figure: Figure | None = None,
) -> Figure:
    """Data and prediction at some parameters, with the residuals beneath.

    Args:
        curve: the curve; its start is drawn, too.
        points: what is fitted.
        params: parameters to predict with, shape `(*batch, P)`.
        moment: when the fit had these parameters, for the title.
        holdout: what is kept out of the fit.
        labels: names of the predictors, then of y.
        series: names of the series, where there are several.
        ylim: range of the y axis.
        told: how sure these parameters are, where bands are to be drawn.
        level: of the bands.
        figure: one of the same fit that was drawn before, to be cleared and drawn in again.

    Returns:
        Along one predictor `prediction_figure`; over several `observed_figure`; of several series `series_grid`.
    """
    if points.batch:
        return _grid(curve, points, params, moment, holdout, labels, series, told, level, figure)
    points = points.where(points.present)
    preds = curve.evaluate(points.t, params)
    title = f"{moment}: RMSE {root(mse(preds, points.targets)):.4g}"
    holdout = None if holdout is None else holdout.where(holdout.present)
    if holdout is not None:
        holdout_preds = curve.evaluate(holdout.t, params)
        title += f"; kept out: {root(mse(holdout_preds, holdout.targets)):.4g}"
    title += f"\n{curve.function_name}"
    if isinstance(points.t, tuple):
        pairs = None if holdout is None else (holdout.targets, holdout_preds, holdout.sigma)
        return observed_figure(
            points.targets, preds, sigma=points.sigma, holdout=pairs, title=title, label=labels[-1], figure=figure
        )
    line = _line(curve, points, params, holdout)
    return prediction_figure(
        points.t,
        points.targets,
        preds,
        curve.evaluate(points.t, curve.initial_params),
        sigma=points.sigma,
        line=line,
        belts=None if told is None else _belts(curve, line, told, level),
        holdout=None if holdout is None else (holdout.columns[0], holdout.targets, holdout_preds, holdout.sigma),
        title=title,
        labels=(labels[0], labels[-1]),
        ylim=ylim,
        figure=figure,
    )


@torch.no_grad()
def strip(
    curve: Curve,
    points: Points,
    frames: Sequence[tuple[str, Tensor]],
    *,
    title: str,
    labels: Sequence[str] = ("t", "y"),
    series: Sequence[str] = (),
    ylim: tuple[float, float] | None = None,
) -> Figure:
    """The descent as a row of panels; of several series it shows the one in the middle, by its last RMSE.

    Over several predictors, data stand against predictions, and approach the diagonal.

    Args:
        curve: the curve; its start is drawn in every panel.
        points: what is fitted.
        frames: when, and the parameters then, shape `(*batch, P)`, of each panel.
        title: text above the strip.
        labels: names of the predictors, then of y.
        series: names of the series, where there are several.
        ylim: range of the y axis.
    """
    start = curve.initial_params
    if points.batch:
        last = frames[-1][1]
        errors = rmse_each(curve.evaluate(points.t, last), points.targets, points.present).flatten()
        middle = int(errors.argsort()[len(errors) // 2])
        title += f"; {_name(series, middle)}"
        points = points.one(middle)
        frames = [(when, _row(params, middle)) for when, params in frames]
        start = _row(start, middle)
    points = points.where(points.present)
    shown = []
    for when, params in frames:
        preds = curve.evaluate(points.t, params)
        shown.append(Frame(f"{when}\nRMSE {root(mse(preds, points.targets)):.4g}", preds))
    if isinstance(points.t, tuple):
        return observed_strip(points.targets, shown, sigma=points.sigma, title=title, label=labels[-1], ylim=ylim)
    return film_strip(
        points.t,
        points.targets,
        shown,
        curve.evaluate(points.t, start),
        sigma=points.sigma,
        title=title,
        labels=(labels[0], labels[-1]),
        ylim=ylim,
    )


def descent_pictures(
    curve: Curve,
    points: Points,
    loss_function: Loss,
    path: Sequence[tuple[int, Tensor]],
    optimum: Tensor,
    *,
    names: Sequence[str] | None = None,
    title: str = "",
) -> tuple[Figure | None, Figure]:
    """The way of the parameters from above, through the landscape of the loss, and one by one against the step.

    Args:
        curve: the curve.
        points: one series.
        loss_function: what was descended.
        path: after how many steps, and the parameters then, shape `(P,)`; the start is the first, the end the last.
        optimum: parameters of the best fit, shape `(P,)`, to which both are compared.
        names: the two parameters of the landscape; chosen as `landscape` says unless given.
        title: text above both.

    Returns:
        `landscape_figure`, or none where the loss around path and optimum cannot be drawn; and `path_figure`, without
        parameters that are fixed.

    Raises:
        InputError: names that are not those of two free parameters, or several series.
    """
    moving = [i for i, demand in enumerate(curve.demands.all) if not demand.fixed]
    values = torch.stack([params.detach() for _, params in path])[:, moving]
    steps = [step for step, _ in path]
    ways = path_figure([curve.names[i] for i in moving], steps, values, optimum.detach()[moving], title=title)
    if not torch.isfinite(optimum).all():
        return None, ways
    land = landscape(curve, points, loss_function, path, optimum, names=names)
    return landscape_figure(land, title=title) if land.can_be_drawn else None, ways


def profile_picture(profile: Profile, title: str = "") -> Figure:
    """`profile_figure` of the profiles of one series.

    Raises:
        InputError: there are several series.
    """
    parabolas = profile.parabolas()
    if any(isinstance(low, Tensor) for low, _ in profile.intervals.values()):
        raise InputError("profile: there are several series; expected one to draw")
    panels = {
        name: {
            "values": curve.values,
            "rise": curve.rise,
            "threshold": float(curve.threshold),
            "parabola": parabolas[name],
            "ends": profile.intervals[name],
        }
        for name, curve in profile.curves().items()
    }
    return profile_figure(panels, level=profile.level, title=title)


@torch.no_grad()
def comparison_picture(found: "Comparison", best: int) -> Figure:
    """The best few functions over the data; over several predictors, the data against the predictions of the best.

    Args:
        found: the comparison.
        best: how many are drawn.
    """
    rows, points = found.fitted, found.points
    several = len(points.columns) > 1
    shown = rows[: 1 if several else max(best, 0)]
    fits = [row.result for row in shown if row.result is not None]
    lines, panel = [], Panel("", points.columns[0], points.targets, points.targets, sigma=points.sigma)
    labels = (found.labels[0], found.labels[-1])
    if several and fits:
        panel = panel._replace(title=shown[0].function, t=(preds := fits[0].curve(fits[0].t)), preds=preds)
        labels = (f"predicted {labels[1]}", labels[1])
    elif fits:
        lines = [
            (row.function, *_line(fit.curve, fit.points, fit.curve.params.detach(), None))
            for row, fit in zip(shown, fits, strict=True)
        ]
    by_score = found.folds is not None
    named = {name: printable(label) for name, label in short_names(row.function for row in found.rows).items()}
    return comparison_figure(
        panel,
        lines,
        [named[row.function] for row in rows],
        [math.nan if row.score is None else row.score for row in rows]
        if by_score
        else [row.difference for row in rows],
        measure=found.measure if by_score else f"{found.measure} minus the lowest",
        near=None if by_score else NEAR,
        drawn=len(shown),
        title=f"{len(rows)} functions, {len(points.targets)} points, by {found.measure}",
        labels=labels,
    )


def _grid(
    curve: Curve,
    points: Points,
    params: Tensor,
    moment: str,
    holdout: Points | None,
    labels: Sequence[str],
    series: Sequence[str],
    told: Uncertainty | None,
    level: float,
    figure: Figure | None,
) -> Figure:
    errors = rmse_each(curve.evaluate(points.t, params), points.targets, points.present).flatten()
    several = isinstance(points.t, tuple)

    def panel(i: int) -> Panel:
        one, values, holdout_one = points.one(i), _row(params, i), None if holdout is None else holdout.one(i)
        preds = curve.evaluate(one.t, values)
        x = preds if several else one.columns[0]
        holdout_shown = None
        if holdout_one is not None:
            holdout_preds = curve.evaluate(holdout_one.t, values)
            holdout_x = holdout_preds if several else holdout_one.columns[0]
            holdout_shown = (holdout_x, holdout_one.targets, holdout_preds, holdout_one.sigma)
        line = None if several else _line(curve, one, values, holdout_one)
        title = f"{_name(series, i)}: {errors[i].item():.3g}"
        belts = None if told is None or line is None else _belts(curve, line, told.select(i), level)
        return Panel(title, x, one.targets, preds, None, one.sigma, line, holdout_shown, belts)

    rows = {name: [panel(i) for i in chosen] for name, chosen in worst_median_best(errors).items()}
    title = f"{moment}: {len(errors):,} series by RMSE\n{curve.function_name}"
    names = (f"predicted {labels[-1]}" if several else labels[0], labels[-1])
    return series_grid(rows, title=title, labels=names, figure=figure)


def _row(params: Tensor, i: int) -> Tensor:
    """The parameters of one series."""
    return params.reshape(-1, params.shape[-1])[i]


def _name(series: Sequence[str], i: int) -> str:
    return series[i] if series else f"series {i + 1}"


def _line(curve: Curve, points: Points, params: Tensor, holdout: Points | None) -> tuple[Tensor, Tensor]:
    """The curve on a fine grid over all points along one predictor."""
    t = torch.cat([points.columns[0], *(holdout.columns if holdout is not None else ())])
    grid = torch.linspace(t.min().item(), t.max().item(), FINE, dtype=torch.float64).to(t)
    return grid, curve.evaluate(grid, params).expand_as(grid)


def _belts(curve: Curve, line: Line, told: Uncertainty, level: float) -> Belts:
    """The bands on the grid of a line."""
    bands = told.bands(curve, *line, level)
    return Belts(level, bands.confidence_low, bands.confidence_high, bands.prediction_low, bands.prediction_high)
