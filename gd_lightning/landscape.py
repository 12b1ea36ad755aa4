"""The landscape of a descent: the loss over two parameters, with the path that the steps took through it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gd_lightning.curve import Curve
from gd_lightning.errors import InputError, suggest
from gd_lightning.losses import Loss, mse
from gd_lightning.points import Points, some_of

__all__ = ["Landscape", "check_axes", "landscape"]

MARGIN = 0.2  # on each side of what is to be seen, as a part of its extent
LEAST_LENGTH = 1e-3  # of the largest distance from the best fit: what is shorter has no direction
SHOWS_AS_MUCH = 0.9  # of the best pair's area: of pairs that show as much, the first is taken
STEEPEST = 5.0  # extents that another parameter may move while one of the two moves one of its own
LARGEST = 1e300  # beyond it a picture overflows
OUT_OF_SIGHT = 100.0  # times the loss at the start: a path that climbs higher may leave the picture
EVALUATIONS = 50_000_000  # of the function on the whole grid, about a second; more points than that allows are thinned
AT_ONCE = 400_000  # of them, so that a function of some twenty operations holds less than 100 MB


class Landscape(NamedTuple):
    """The loss of one series over one or two of its parameters; all numbers are in double precision.

    Attributes:
        names: the parameters along the axes, one or two.
        axes: their values on the grid, each of shape `(size,)`.
        loss: the loss there, shape `(size,)` or `(size, size)`, the first parameter first; infinite or nan where
            there is none.
        steps: after how many steps the path was where, S of them.
        path: the two parameters along the path, shape `(S, 2)`, or `(S, 1)` for one.
        path_loss: the loss of the path with its own values of all parameters, shape `(S,)`.
        optimum: the two parameters, or the one, of the best fit.
        optimum_loss: the loss of the best fit.
        others: the remaining free parameters, which are not held but follow a plane through the best fit.
        through: steps of the path that lie on this plane, two at most; where there is none, the others are held at
            their best fit.
        is_rmse: whether the root of the loss is the RMSE, in units of y.
    """

    names: tuple[str, ...]
    axes: tuple[Tensor, ...]
    loss: Tensor
    steps: tuple[int, ...]
    path: Tensor
    path_loss: Tensor
    optimum: Tensor
    optimum_loss: float
    others: tuple[str, ...]
    through: tuple[int, ...]
    is_rmse: bool

    @property
    def can_be_drawn(self) -> bool:
        """Whether there is a finite loss somewhere, along axes that double precision can divide."""
        divided = all(bool((axis.diff() > 0).all()) and axis.abs().max() < LARGEST for axis in self.axes)
        return divided and bool((self.loss < LARGEST).any())


@torch.no_grad()
def landscape(
    curve: Curve,
    points: Points,
    loss_function: Loss,
    path: Sequence[tuple[int, Tensor]],
    optimum: Tensor,
    *,
    names: Sequence[str] | None = None,
    size: int = 101,
) -> Landscape:
    """The loss on a plane of parameters that holds the best fit, the end of the path, and what lies farthest off.

    Loss over parameters x and y, with every other one z = z_best + A*(x - x_best, y - y_best).

    With the others held at their best fit (A = 0) the loss at (x, y) is not that of a path on which they are far from
    it: the article's descent from RMSE 75 to 18 would seem to climb. A is therefore such that two points of the path
    lie on the plane, where the loss is their own: the last, and the one farthest from the line between it and the
    best fit, which mostly is the start. A path that ends at the best fit gives its farthest points instead.

    Unless the names are given, x and y are the pair along which this plane is seen most nearly face on, each
    parameter counted in the extent of its path: the largest of the 2x2 minors. The others then move by no more than
    their extents where x and y do, so that the plane stays near the path (Goreinov and Tyrtyshnikov, 2001).

    Args:
        curve: the curve; what is demanded of its parameters holds on the plane, too.
        points: one series.
        loss_function: `mse` or another of `losses`.
        path: after how many steps, and the parameters then, shape `(P,)`; the start is the first, the end the last.
        optimum: parameters of the best fit, shape `(P,)`.
        names: the two parameters x and y; free ones. A curve with one free parameter has an axis for that one.
        size: points along an axis.

    Raises:
        InputError: names that are not those of two free parameters, several series, or an optimum that is not finite.
    """
    if points.batch:
        raise InputError(f"landscape: given series of shape {points.batch}, expected one; choose it with points.one(i)")
    if not path:
        raise InputError("landscape: given a path without points, expected at least the start")
    exact = points.where(points.present).double()
    best = optimum.detach().to(exact.targets)
    if not torch.isfinite(best).all():
        raise InputError(f"landscape: the optimum is {best.tolist()}, expected finite numbers")
    free = curve.demands.free
    given = None if names is None else check_axes(curve, names)
    walked = torch.stack([params.detach().to(best) for _, params in path])
    path_loss = _losses(curve, exact, loss_function, walked)
    near = path_loss <= OUT_OF_SIGHT * path_loss[0].nan_to_num(torch.inf, torch.inf)
    seen = (near & (walked.abs() < LARGEST).all(dim=-1)).nonzero().flatten()

    there = torch.cat([walked[seen], best[None]])[:, free]
    low, high = there.min(dim=0).values, there.max(dim=0).values
    rounding = 8 * torch.finfo(path[0][1].dtype).eps * torch.maximum(high.abs(), low.abs())
    extent = torch.where(high - low > rounding, high - low, 0.0)
    scale = torch.where(extent > 0, extent, 1.0)
    unit = torch.where(extent > 0, (there[:-1] - there[-1]) / scale, 0.0)
    through = _spanning(unit)
    pair = _most_nearly_face_on(unit[through]) if given is None else [free.index(i) for i in given]
    rest = [i for i in range(len(free)) if i not in pair]
    through, slopes = _plane(unit, through, pair, rest)

    axes = tuple(_axis(low[i].item(), high[i].item(), extent[i].item(), curve, free[i], size).to(best) for i in pair)
    grid = torch.cartesian_prod(*axes).reshape(-1, len(pair))
    params = best.expand(len(grid), -1).clone()
    params[:, [free[i] for i in pair]] = grid
    away = (grid - there[-1][pair]) / scale[pair]
    params[:, [free[i] for i in rest]] = there[-1][rest] + scale[rest] * (away @ slopes)
    loss = _losses(curve, _thinned(exact, len(grid)), loss_function, curve.demands.project(params))
    return Landscape(
        names=tuple(curve.names[free[i]] for i in pair),
        axes=axes,
        loss=loss.reshape([size] * len(pair)),
        steps=tuple(step for step, _ in path),
        path=walked[:, free][:, pair],
        path_loss=path_loss,
        optimum=there[-1][pair],
        optimum_loss=_losses(curve, exact, loss_function, best[None]).item(),
        others=tuple(curve.names[free[i]] for i in rest),
        through=tuple(path[int(seen[i])][0] for i in through),
        is_rmse=loss_function is mse and points.sigma is None,
    )


def check_axes(curve: Curve, names: Sequence[str]) -> list[int]:
    """The places of the parameters along the axes."""
    free = [curve.names[i] for i in curve.demands.free]
    axes = min(len(free), 2)
    if isinstance(names, str) or len(names) != axes:
        example = ", ".join(free[:axes])
        raise InputError(
            f"landscape: given {names!r}, expected {('one', 'two')[axes - 1]} of the free, such as {example}"
        )
    for name in names:
        if name not in curve.names:
            raise InputError(f"landscape: {curve.function_name} has no parameter {name!r}; {suggest(name, free)}")
        if name not in free:
            raise InputError(f"landscape: {name} is fixed or tied, expected a free parameter; {suggest(name, free)}")
    if len(set(names)) < axes:
        raise InputError(f"landscape: given {names[0]!r} twice, expected two parameters; choose from {', '.join(free)}")
    return [curve.names.index(name) for name in names]


def _spanning(unit: Tensor) -> list[int]:
    """The rows, two at most, that span a plane with the origin: the last, and the farthest from the line through it.

    Args:
        unit: points of the path as seen from the best fit, shape `(S, F)`.
    """
    if not len(unit):
        return []
    length = unit.norm(dim=-1)
    farthest = length.max()
    first = len(unit) - 1 if length[-1] > LEAST_LENGTH * farthest else int(length.argmax())
    if length[first] == 0:
        return []
    line = unit[first] / length[first]
    aside = (unit - (unit @ line)[:, None] * line).norm(dim=-1)
    second = int(aside.argmax())
    return [first, second] if aside[second] > LEAST_LENGTH * farthest else [first]


def _most_nearly_face_on(plane: Tensor) -> list[int]:
    """The pair of columns with the largest area, of a line with the largest length; or the only column.

    Args:
        plane: the vectors that span it, shape `(2, F)`; or `(1, F)` or `(0, F)` where there are fewer.
    """
    columns = plane.shape[-1]
    if columns == 1:
        return [0]
    pairs = torch.combinations(torch.arange(columns))
    seen = plane.T[pairs].mT  # (pairs, 2, 2)
    area = torch.linalg.det(seen @ seen.mT).clamp_min(0.0).sqrt()
    return pairs[int((area >= SHOWS_AS_MUCH * area.max()).nonzero()[0])].tolist()


def _plane(unit: Tensor, through: list[int], pair: list[int], rest: list[int]) -> tuple[list[int], Tensor]:
    """How the other columns follow those of a pair, shape `(2, F - 2)`, on a plane through as many rows as can be.

    Along a pair that was given the plane may stand on its edge; it then goes through the first row only, or through
    none, and is the plane on which the others do not change.
    """
    for count in range(len(through), 0, -1):
        rows = unit[through[:count]]
        slopes = torch.linalg.pinv(rows[:, pair]) @ rows[:, rest]
        met = torch.allclose(rows[:, pair] @ slopes, rows[:, rest], rtol=0.0, atol=1e-9)
        if met and (slopes.abs() <= STEEPEST).all():
            return through[:count], slopes
    return [], unit.new_zeros(len(pair), len(rest))


def _axis(low: float, high: float, extent: float, curve: Curve, i: int, size: int) -> Tensor:
    """Values of the i-th parameter around what is to be seen, within its bounds."""
    margin = MARGIN * extent or abs(high) / 2 or 1.0
    demand = curve.demands.all[i]
    ends = max(low - margin, demand.min), min(high + margin, demand.max)
    return torch.linspace(*ends, size, dtype=torch.float64)


def _thinned(points: Points, evaluations: int) -> Points:
    """The points, or as many of them, at random, as can be evaluated so often."""
    most = max(EVALUATIONS // evaluations, 1)
    count = len(points.targets)
    return points if count <= most else points.where(some_of(count, most))


def _losses(curve: Curve, points: Points, loss_function: Loss, params: Tensor) -> Tensor:
    """The loss of many parameters `(N, P)`, shape `(N,)`, of which some are evaluated at once."""
    losses = []
    for some in torch.split(params, max(AT_ONCE // max(len(points.targets), 1), 1)):
        try:
            preds = curve.evaluate(points.t, some).expand(len(some), -1)
        except Exception:  # a function of the user's that cannot be computed for many parameters side by side
            preds = torch.stack([curve.evaluate(points.t, one) for one in some])
        losses.append(loss_function(preds, points.targets, points.sigma))
    return torch.cat(losses)
