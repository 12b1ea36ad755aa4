"""What many values of the nonlinear parameters leave of many series, once the linear ones are solved for."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gd_lightning.curve import Curve
from gd_lightning.least_squares import solve_linear
from gd_lightning.points import Points, some_of
from gd_lightning.starts import SCREENED_BY

__all__ = ["Candidates", "Projection", "as_rows", "design", "orthonormal", "solved"]

ROWS = 256  # series that are judged at once
CELLS = 2**18  # numbers in a block of series that have times of their own: it stays in the processor's cache
BLOCK = 2**22  # numbers in a block of candidates
LEAST_NORM = 1e-150  # a column so small, whose square no number holds, tells nothing
PARALLEL = 1e-10  # of a column of length 1, what is left of it beside the others where it is one of their sums


class Candidates(NamedTuple):
    """Values of the nonlinear parameters of one function, from which any of its series may start.

    Attributes:
        values: all parameters, shape `(G, P)`; the linear ones are 0. The first ones serve most series.
        linear: the places of the K parameters that are solved for.
        turns: the places of angles that half a turn brings to the other sign of linear parameters.
    """

    values: Tensor
    linear: list[int]
    turns: list[int]


def as_rows(points: Points) -> Points:
    """The same points with one leading axis, `(S, T)`, in double precision; times that all share stay `(T,)`.

    Where there is no point, the target is 0.
    """
    points = points.double().flat()
    return points if points.sigma is None else points._replace(targets=points.targets.where(points.present, 0.0))


def blocks(count: int, size: int, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
    """Numbers of series in blocks that are all of one size, the last one filled up with its own last number.

    What a block has of rows decides how sums are rounded: with all of them alike, a series does not depend on others.
    """
    for first in range(0, count, size):
        rows = torch.arange(first, first + size, device=device).clamp_max(count - 1)
        yield slice(first, min(first + size, count)), rows


def design(curve: Curve, t: tuple[Tensor, ...], values: Tensor, linear: list[int]) -> tuple[Tensor, Tensor]:
    """What a function is where its linear parameters are 0, and what each of them multiplies.

    Args:
        curve: the function.
        t: predictors of a shape that broadcasts with `(*batch, T)`.
        values: parameters, shape `(*batch, P)`.
        linear: places of the linear ones.

    Returns:
        Shapes `(*batch, T)` and `(K, *batch, T)`.
    """
    shape = (t[0] * values[..., :1]).shape
    predictors = t if len(t) > 1 else t[0]

    def predict(params: Tensor) -> Tensor:
        return curve.evaluate(predictors, params).expand(shape)

    at_zero = predict(values)
    columns = []
    for i in linear:
        moved = values.clone()
        moved[..., i] = 1.0
        columns.append(predict(moved) - at_zero)
    return at_zero, torch.stack(columns) if columns else at_zero.new_empty((0, *shape))


def orthonormal(columns: Tensor) -> Tensor:
    """An orthonormal basis of what columns `(K, G, T)` span, by Gram and Schmidt's method, each twice.

    A column that is a sum of others gives zeros.
    """
    basis: list[Tensor] = []
    for column in columns:
        unit = column / column.norm(dim=-1, keepdim=True).clamp_min(LEAST_NORM)
        rest = unit
        for _ in range(2):  # once leaves rounding, which twice does not (Giraud and others, 2005)
            for other in basis:
                rest = rest - (rest * other).sum(dim=-1, keepdim=True) * other
        left = rest.norm(dim=-1, keepdim=True)
        basis.append(torch.where(left > PARALLEL, rest / left, 0.0))
    return torch.stack(basis) if basis else columns


class Projection:
    """Sums of squares that candidates leave of series (variable projection: Golub and Pereyra, 1973).

    Where all series stand at the same times and all points weigh the same, each candidate's columns have one basis Q
    for all series, and |y|**2 - |Q'y|**2 is left: a product of two matrices. Otherwise each series has normal
    equations of its own with each candidate.

    Args:
        curve: the function.
        points: some series, `(S, T)`; with times of their own, only the first of the candidates are tried.
        candidates: the candidates.
        own: how many these are.
    """

    def __init__(self, curve: Curve, points: Points, candidates: Candidates, own: int) -> None:
        self.curve, self.points, self.linear = curve, points, candidates.linear
        self.shared = all(column.dim() == 1 for column in points.columns)
        self.values = candidates.values if self.shared else candidates.values[:own]
        bounds = dict(zip(curve.demands.free, curve.demands.bounds(torch.float64), strict=True))
        self.bounds = [bounds[i] for i in self.linear]
        self.bounded = any(curve.demands.all[i].bounded for i in self.linear)
        self.even = self.shared and points.sigma is None and not self.bounded
        if self.shared:
            self._prepare()
            self.size = ROWS if self.even else ROWS // 8  # which holds a matrix for each series and candidate
        else:
            self.size = max(CELLS // (len(self.values) * points.targets.shape[-1]), 1)

    def _prepare(self) -> None:
        """What shared times need to have computed once."""
        length = self.points.targets.shape[-1]
        most = SCREENED_BY if self.points.sigma is None else length
        self.kept = some_of(length, most).sort().values.to(self.values.device)
        parts = [
            [part[..., self.kept] for part in design(self.curve, self.points.columns, values, self.linear)]
            for values in torch.split(self.values, max(BLOCK // length, 1))
        ]
        at_zero = torch.cat([part[0] for part in parts])
        columns = torch.cat([part[1] for part in parts], dim=1)
        self.sound = at_zero.isfinite().all(dim=-1) & columns.square().sum(dim=(0, -1)).isfinite()
        at_zero, columns = (part.where(self.sound.unsqueeze(-1), 0.0) for part in (at_zero, columns))
        if self.even:
            # what all candidates have in common, such as an offset, is taken off once, and with it a loss of digits
            sound = columns[:, self.sound]
            common = [k for k in range(len(columns)) if sound.shape[1] and (sound[k] == sound[k, :1]).all()]
            self.common = orthonormal(sound[common, :1])[:, 0] if common else at_zero[:0]
            others = [k for k in range(len(columns)) if k not in common]
            at_zero, columns = self._apart(at_zero), self._apart(columns[others])
            self.basis = orthonormal(columns).mT.contiguous()  # (K, T, G)
        else:
            self.products = {(i, k): (columns[i] * columns[k]).mT for i in range(len(columns)) for k in range(i + 1)}
            self.columns = columns
        self.at_zero = at_zero if (at_zero != 0).any() else None

    def _apart(self, values: Tensor) -> Tensor:
        """What is left of values `(..., T)` beside the common columns."""
        for _ in range(2):
            values = values - (values @ self.common.mT) @ self.common
        return values

    def losses(self, rows: Tensor) -> Tensor:
        """Sums of squares of some series with each candidate, `(R, G)`; infinite where there is none."""
        points = self.points.rows(rows)
        if not self.shared:
            return self._own(points)
        losses = self._by_basis(points.targets[:, self.kept]) if self.even else self._by_weights(points)
        return losses.masked_fill(~self.sound, torch.inf)

    def _by_basis(self, targets: Tensor) -> Tensor:
        y = self._apart(targets)
        left = y.square().sum(dim=-1, keepdim=True).expand(-1, len(self.values))
        if self.at_zero is None:
            for basis in self.basis:
                product = y @ basis
                left = torch.addcmul(left, product, product, value=-1)
        else:
            left = left - 2 * y @ self.at_zero.mT + self.at_zero.square().sum(dim=-1)
            for basis in self.basis:
                left = left - (y @ basis - (self.at_zero * basis.mT).sum(dim=-1)).square()
        return left

    def _by_weights(self, points: Points) -> Tensor:
        weights = points.weights
        weighted = weights * points.targets
        square = (weighted * points.targets).sum(dim=-1, keepdim=True)
        slope = [weighted @ column.mT for column in self.columns]
        matrix = {place: weights @ product for place, product in self.products.items()}
        if self.at_zero is not None:
            square = square - 2 * weighted @ self.at_zero.mT + weights @ self.at_zero.square().mT
            slope = [
                one - weights @ (self.at_zero * column).mT for one, column in zip(slope, self.columns, strict=True)
            ]
        return self._left(square, slope, matrix, len(self.values))

    def _own(self, points: Points) -> Tensor:
        columns = tuple(column if column.dim() == 1 else column.unsqueeze(1) for column in points.columns)
        at_zero, phi = design(self.curve, columns, self.values.unsqueeze(0), self.linear)
        weights = points.weights.unsqueeze(1)
        there = weights > 0
        r = (points.targets.unsqueeze(1) - at_zero).where(there, 0.0)
        phi = phi.where(there, 0.0)
        square = (weights * r * r).sum(dim=-1)
        slope = [(weights * column * r).sum(dim=-1) for column in phi]
        matrix = {(i, k): (weights * phi[i] * phi[k]).sum(dim=-1) for i in range(len(phi)) for k in range(i + 1)}
        return self._left(square, slope, matrix, len(self.values))

    def _left(self, square: Tensor, slope: list[Tensor], matrix: dict[tuple[int, int], Tensor], count: int) -> Tensor:
        """Sums of squares with the best linear parameters that normal equations give, within their bounds, `(R, G)`.

        By Cholesky, a plane of all rows and candidates at a time: LAPACK's call for each would cost far more.
        """
        free = range(len(slope))
        size = [matrix[i, i].sqrt().clamp_min(LEAST_NORM) for i in free]
        lower: dict[tuple[int, int], Tensor] = {}
        forward: list[Tensor] = []
        for i in free:
            for k in range(i + 1):
                rest = matrix[i, k] / size[i] / size[k]
                for j in range(k):
                    rest = rest - lower[i, j] * lower[k, j]
                # a column that is the sum of others, or nothing, takes no part: its pivot is as good as infinite
                lower[i, k] = rest / lower[k, k] if k < i else rest.where(rest > PARALLEL, 1e300).sqrt()
            value = slope[i] / size[i]
            for k in range(i):
                value = value - lower[i, k] * forward[k]
            forward.append(value / lower[i, i])
        left = square.expand(-1, count)
        if not self.bounded:
            for value in forward:
                left = left - value.square()
        else:
            best = list(forward)
            for i in reversed(free):
                for k in range(i + 1, len(slope)):
                    best[i] = best[i] - lower[k, i] * best[k]
                best[i] = best[i] / lower[i, i]
            best = [
                (value / length).clamp(low, high)
                for value, length, (low, high) in zip(best, size, self.bounds, strict=True)
            ]
            for i in free:
                left = left - 2 * best[i] * slope[i] + best[i].square() * matrix[i, i]
                for k in range(i):
                    left = left + 2 * best[i] * best[k] * matrix[i, k]
        return left.nan_to_num(torch.inf, torch.inf, torch.inf)

    def best(self) -> Tensor:
        """The candidate of each series that leaves least, `(S,)`."""
        return self.each(lambda losses: losses.argmin(dim=-1))

    def each(self, of: Callable[[Tensor], Tensor]) -> Tensor:
        """What a function makes of the losses `(R, G)` of all series, in blocks of them."""
        count = len(self.points.targets)
        found = [
            of(self.losses(rows))[: place.stop - place.start]
            for place, rows in blocks(count, self.size, self.points.targets.device)
        ]
        return torch.cat(found)


def solved(curve: Curve, points: Points, values: Tensor, linear: list[int]) -> Tensor:
    """Parameters `(S, P)` with the linear ones solved for, within their bounds; nan where something is not finite.

    Args:
        curve: the function.
        points: the series, `(S, T)`.
        values: one candidate for each of them, `(S, P)`.
        linear: places of the linear parameters.
    """
    count, length = points.targets.shape
    size = max(CELLS // (length * (len(linear) + 1)), 1)
    found = []
    for place, rows in blocks(count, size, values.device):
        some, params = points.rows(rows), values[rows]
        weights = some.weights
        there = weights > 0
        at_zero, columns = design(curve, some.columns, params, linear)
        roots = weights.sqrt()
        r = ((some.targets - at_zero) * roots).where(there, 0.0)
        sound = (
            there.any(dim=-1) & r.isfinite().all(dim=-1) & columns.where(there, 0.0).isfinite().all(dim=-1).all(dim=0)
        )
        if linear:
            matrix = (columns * roots).where(there, 0.0).movedim(0, -1).nan_to_num(0.0, 0.0, 0.0)
            r = r.nan_to_num(0.0, 0.0, 0.0)
            best = solve_linear(matrix, r)
            # once more for what is left: normal equations alone lose digits
            best = best + solve_linear(matrix, r - (matrix @ best.unsqueeze(-1)).squeeze(-1))
            params = params.clone()
            params[:, linear] = best
        params = curve.demands.project(params)
        found.append(params.where(sound.unsqueeze(-1), torch.nan)[: place.stop - place.start])
    return torch.cat(found)
