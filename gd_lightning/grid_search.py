"""The least sum of squares over the parameters that a function is not linear in, with the linear ones solved for.

Most families are linear in some of their parameters: once the others are known, least squares gives
these exactly (variable projection, Golub and Pereyra 1973). So a search tries a grid of the others, wide
enough for all that such data can show, solves for the linear ones at each of its points, and refines
the lowest valleys that it sees.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gd_lightning.points import some_of

__all__ = ["LARGEST", "SMALLEST", "Axis", "best", "both_signs", "even", "ratios", "thin"]

Columns = Callable[..., Sequence[Tensor]]

POINTS = 512  # of a long series so many, drawn at random, tell enough for a start
CELLS = 2**16  # numbers in one block of the grid: it stays in the processor's cache
FINALISTS = 8  # valleys of the grid that are looked into, since the lowest of them is lower between its points
ROUNDS = 40  # Gauss-Newton steps from each of them
DIFFERENCE = 1e-4  # of a step of the grid, over which a derivative is taken
FARTHEST, NEAREST = 4.0, 1e-6  # steps of the grid that one Gauss-Newton step may go, and that are worth one
LARGEST, SMALLEST = 1e300, 1e-300  # stand for what float64 cannot hold


@dataclass(frozen=True)
class Axis:
    """The values to try for one parameter, as even steps of a coordinate.

    Attributes:
        coordinates: where the grid stands, shape `(N,)`.
        step: the first step of the search around a point of the grid.
        value: from coordinates to values of the parameter.
    """

    coordinates: Tensor
    step: float
    value: Callable[[Tensor], Tensor] = lambda coordinate: coordinate


def even(low: float, high: float, count: int) -> Axis:
    """Values in even steps."""
    return Axis(torch.linspace(low, high, count, dtype=torch.float64), (high - low) / (count - 1))


def ratios(low: float, high: float, count: int) -> Axis:
    """Positive values in even ratios."""
    logarithms = even(math.log(max(low, SMALLEST)), math.log(min(high, LARGEST)), count)
    return Axis(logarithms.coordinates, logarithms.step, torch.exp)


def both_signs(unit: float, high: float, count: int, low: float | None = None) -> Axis:
    """Values of both signs, from -high unless given: about even below the unit, in even ratios above it."""
    ends = even(math.asinh((-high if low is None else low) / unit), math.asinh(high / unit), count)
    return Axis(ends.coordinates, ends.step, lambda x: unit * torch.sinh(x))


def best(t: Tensor, y: Tensor, columns: Columns, *axes: Axis) -> list[float]:
    """The parameters with the smallest sum of squares: the best points of a grid, each of them refined.

    Args:
        t: times, shape `(T,)`.
        y: values, shape `(T,)`.
        columns: from t and the nonlinear parameters, each of shape `(G, 1)`, to what each of the linear ones
            multiplies, `(G, T)` or `(T,)`.
        *axes: the values to try for each nonlinear parameter.

    Returns:
        The nonlinear parameters in the order of the axes, then the linear ones in that of the columns.
    """
    t, y = thin(t, y, POINTS)
    height = float(y.abs().max()) or 1.0

    def fitted(points: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        values = [axis.value(points[:, [i]]) for i, axis in enumerate(axes)]
        return values, *_project(t, y / height, columns, values)

    def residuals(points: Tensor) -> Tensor:
        return fitted(points)[1]

    grid = torch.cartesian_prod(*(axis.coordinates for axis in axes)).reshape(-1, len(axes))
    blocks = torch.split(grid, max(1, CELLS // len(t)))
    losses = torch.cat([residuals(block).square().sum(dim=1) for block in blocks])
    step = torch.tensor([axis.step for axis in axes], dtype=torch.float64)
    chosen = _valleys(losses.reshape([len(axis.coordinates) for axis in axes]))
    found = _refine(residuals, grid[chosen[losses[chosen].argsort(stable=True)[:FINALISTS]]], step)
    values, _, linear = fitted(found)
    return [float(number) for number in (*values, *(height * linear).unbind(dim=1))]


def _project(t: Tensor, y: Tensor, columns: Columns, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Fit the linear parameters for many values of the nonlinear ones at once.

    Args:
        t: times, shape `(T,)`.
        y: values, shape `(T,)`, of size about 1.
        columns: as for `best`, K of them.
        values: nonlinear parameters, each of shape `(G, 1)`.

    Returns:
        The residuals, `(G, T)`, infinite where a column is not finite; the linear parameters, `(G, K)`.
    """
    design = torch.stack([column.expand(len(values[0]), -1) for column in columns(t, *values)], dim=1)
    size = design.abs().amax(dim=-1, keepdim=True)
    finite = size.isfinite()
    design = torch.where(finite & (size > 0), design / size, 0.0)
    # The pseudo-inverse, since columns may be parallel or zero: few points, a constant t, an underflow.
    linear = torch.linalg.pinv(design @ design.mT, hermitian=True, rtol=1e-13) @ (design @ y).unsqueeze(-1)
    residuals = (design * linear).sum(dim=1) - y
    linear = torch.where(size > 0, linear / size, 0.0)
    usable = (finite & (linear.abs() < LARGEST)).all(dim=1)
    return torch.where(usable, residuals, torch.inf), linear.squeeze(-1)


def _valleys(losses: Tensor) -> Tensor:
    """The places, in the flattened grid, of points that none of their neighbours lies below."""
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[losses.dim() - 1]
    heights = -losses[None, None]
    return (pool(heights, kernel_size=3, stride=1, padding=1) == heights).flatten().nonzero().squeeze(1)


def _refine(residuals: Callable[[Tensor], Tensor], points: Tensor, step: Tensor) -> Tensor:
    """Damped Gauss-Newton steps from several points (Levenberg 1944, Marquardt 1963).

    The linear parameters are solved for in each residual, so that only the others move: few, and along a
    valley that is far less narrow.

    Args:
        residuals: from coordinates of shape `(F, N)` to `(F, T)`.
        points: where to begin, shape `(F, N)`.
        step: the unit of each coordinate, shape `(N,)`.

    Returns:
        The best point found, shape `(1, N)`.
    """
    r = residuals(points)
    damping = torch.ones(len(points), 1, 1, dtype=torch.float64)
    for _ in range(ROUNDS):
        moved = points.unsqueeze(1) + DIFFERENCE * torch.diag(step)
        rows = residuals(moved.flatten(0, 1)).reshape(*moved.shape[:2], -1)
        jacobian = ((rows - r.unsqueeze(1)) / DIFFERENCE).nan_to_num(0.0, 0.0, 0.0)
        normal = jacobian @ jacobian.mT
        damped = normal + damping * torch.diag_embed(normal.diagonal(dim1=1, dim2=2) + SMALLEST)
        downhill = torch.linalg.solve_ex(damped, jacobian @ r.nan_to_num(0.0, 0.0, 0.0).unsqueeze(-1))[0].squeeze(-1)
        downhill = downhill.nan_to_num(0.0, 0.0, 0.0).clamp(-FARTHEST, FARTHEST)
        if (downhill.abs() < NEAREST).all():
            break
        tried = points - step * downhill
        r_tried = residuals(tried)
        better = (r_tried.square().sum(dim=1) < r.square().sum(dim=1)).unsqueeze(1)
        points, r = torch.where(better, tried, points), torch.where(better, r_tried, r)
        damping = torch.where(better.unsqueeze(2), damping / 10, damping * 5)
    return points[r.square().sum(dim=1).argmin()].unsqueeze(0)


def thin(t: Tensor, y: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """At most so many points of a series."""
    if len(t) <= most:
        return t, y
    kept = some_of(len(t), most)
    return t[kept], y[kept]
