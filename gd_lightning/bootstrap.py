"""The bootstrap: how the parameters scatter when the data are drawn again, all refits of which are one batch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gd_lightning.arrays import Array, Bools
from gd_lightning.batch import solve
from gd_lightning.curve import Curve
from gd_lightning.errors import InputError, suggest
from gd_lightning.fitting import check_absolute, check_seed, whole_number
from gd_lightning.losses import Loss, mse
from gd_lightning.points import Points, sigma_of
from gd_lightning.residuals import Residuals
from gd_lightning.uncertainty import LEVEL, UNDETERMINED, check_level, uncertainty

__all__ = ["KINDS", "Bootstrap", "bootstrap"]

KINDS = ("residuals", "cases", "parametric")
INTERVALS = ("percentile", "bca")
DRAWS = 1000  # an end of a 95 % interval then scatters by about a tenth of a standard error
TOLERANCE = 1e-4  # standard errors that a refit may end off its minimum: nothing beside the scatter of the draws
AT_ONCE = 2_000_000  # points that are refitted at once: some hundred megabytes


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap:
    """Parameters refitted to data that were drawn again and again.

    Attributes:
        names: names of the parameters.
        kind: how the data were drawn: "residuals", "cases" or "parametric".
        estimate: the parameters at the minimum, `(*batch, P)`, about which they scatter.
        samples: the refitted parameters, `(draws, *batch, P)`; nan where a refit did not arrive.
        failed: how many refits did not arrive: a number, or a tensor `(*batch)`.
        undetermined: which parameters the data leave open, `(*batch, P)`: no draw moves them, and they may be anything.
        curve: the fitted curve.
        points: what it was fitted to.
        loss_function: what was descended.
    """

    names: tuple[str, ...]
    kind: str
    estimate: Tensor
    samples: Tensor
    failed: Any
    undetermined: Tensor
    curve: Curve
    points: Points
    loss_function: Loss

    @cached_property
    def covariance(self) -> Tensor:
        """Covariance of the samples that arrived, `(*batch, P, P)`; nan where fewer than two did.

        An undetermined parameter has inf, and nan beside it.
        """
        arrived = torch.isfinite(self.samples).all(dim=-1, keepdim=True)
        count = arrived.sum(dim=0)
        mean = torch.where(arrived, self.samples, 0.0).sum(dim=0) / count
        off = torch.where(arrived, self.samples - mean, 0.0).movedim(0, -1)
        covariance = off @ off.mT / (count - 1).unsqueeze(-1)
        covariance = torch.where((count > 1).unsqueeze(-1), covariance, torch.nan)
        open_ = self.undetermined
        covariance = torch.where(open_.unsqueeze(-1) | open_.unsqueeze(-2), torch.nan, covariance)
        return torch.where(torch.diag_embed(open_), torch.inf, covariance)

    @cached_property
    def standard_errors(self) -> dict[str, Any]:
        """Name -> standard deviation of the samples; of several series a tensor `(*batch)`."""
        return self._by_name(self.covariance.diagonal(dim1=-2, dim2=-1).sqrt())

    def intervals(self, level: float = LEVEL, kind: str = "percentile") -> dict[str, tuple[Any, Any]]:
        """Name -> (low, high) between which a parameter lies with a probability of `level`.

        Args:
            level: the probability.
            kind: "percentile", the quantiles of the samples (Efron, 1979); or "bca", other quantiles of them, which
                correct for the bias of the samples' median and for how the standard error changes with the parameter,
                told by refits with one point left out (Efron, 1987).

        Raises:
            InputError: no such level or kind.
        """
        check_level(level)
        if kind not in INTERVALS:
            raise InputError(f"kind: given {kind!r}; {suggest(str(kind), INTERVALS)}")
        ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        shares = [end.expand_as(self.estimate) for end in ends] if kind == "percentile" else self._corrected(ends)
        low, high = (
            self._by_name(torch.where(self.undetermined, end, self._quantile(share)))
            for end, share in zip((-torch.inf, torch.inf), shares, strict=True)
        )
        return {name: (low[name], high[name]) for name in self.names}

    def _by_name(self, values: Tensor) -> dict[str, Any]:
        columns = values.unbind(-1)
        return {
            name: column if self.points.batch else column.item()
            for name, column in zip(self.names, columns, strict=True)
        }

    @cached_property
    def _sorted(self) -> Tensor:
        return self.samples.sort(dim=0).values  # nan comes last

    def _quantile(self, share: Tensor) -> Tensor:
        """The samples below which a share of those that arrived lies, `(*batch, P)`, interpolated."""
        count = torch.isfinite(self._sorted).sum(dim=0)
        place = share * (count - 1).clamp(min=0)
        below = place.floor().nan_to_num(0.0).long()
        above = torch.minimum(below + 1, (count - 1).clamp(min=0))
        lower, upper = (self._sorted.gather(0, at.unsqueeze(0)).squeeze(0) for at in (below, above))
        return torch.where(torch.isnan(place), torch.nan, lower + (place - below) * (upper - lower))

    def _corrected(self, ends: Tensor) -> list[Tensor]:
        """The shares that the ends become by BCa, each `(*batch, P)`."""
        arrived = torch.isfinite(self.samples)
        below = ((self.samples < self.estimate) + 0.5 * (self.samples == self.estimate)) * arrived
        bias = torch.special.ndtri(below.sum(dim=0) / arrived.sum(dim=0))
        off = self._left_out.nanmean(dim=0) - self._left_out
        cubes, squares = (off**3).nansum(dim=0), (off**2).nansum(dim=0)
        acceleration = torch.where(squares > 0, cubes / (6 * squares**1.5), 0.0)
        shares = []
        for end in torch.special.ndtri(ends):
            shifted = bias + end
            shares.append(torch.special.ndtr(bias + shifted / (1 - acceleration * shifted)))
        return shares

    @cached_property
    def _left_out(self) -> Tensor:
        """Parameters refitted without one point, `(T, *batch, P)`; nan where there is no such point."""
        length, batch = self.points.targets.shape[-1], self.points.batch
        found = []
        for first, count in _chunks(length, self.points):
            weights = torch.ones(count, length, dtype=torch.float64)
            weights[torch.arange(count), first + torch.arange(count)] = 0.0
            weights = weights.reshape(count, *[1] * len(batch), length).expand(count, *batch, length)
            found.append(refits(self.curve, weighted(self.points, weights), self.loss_function, self.estimate))
        params, converged = (torch.cat(parts) for parts in zip(*found, strict=True))
        absent = ~self.points.present.movedim(-1, 0).cpu()
        return torch.where((converged & ~absent).unsqueeze(-1), params, torch.nan)

    def __repr__(self) -> str:
        draws = len(self.samples)
        failed = int(self.failed.sum()) if isinstance(self.failed, Tensor) else self.failed
        told = f", {failed} of them failed" if failed else ""
        return f"Bootstrap({self.kind}: {draws} draws of {math.prod(self.points.batch)} series{told})"


@torch.no_grad()
def bootstrap(
    curve: Curve,
    points: Points,
    loss_function: Loss = mse,
    draws: int = DRAWS,
    kind: str = "residuals",
    seed: int = 2021,
    absolute_sigma: bool = False,
) -> Bootstrap:
    """Draw the data again and again, and refit the parameters each time (Efron, 1979).

    Three ways of drawing: "residuals" adds to the fitted curve residuals that are drawn from all of a series, with
    replacement, once they are centred and made larger by sqrt(n/(n - p)), as a fit makes them smaller; with sigma they
    are drawn in units of it. It takes the points to scatter alike. "cases" draws the points themselves, which holds
    whatever the scatter, if the points could have been others. "parametric" adds normal noise: of sigma where that is
    absolute, else as large as the residuals tell.

    The refits are rows of one batch, each of which starts at the minimum; the curve stays as it is.

    Args:
        curve: the fitted curve.
        points: what it was fitted to.
        loss_function: what was descended.
        draws: how many.
        kind: "residuals", "cases" or "parametric".
        seed: of the draws.
        absolute_sigma: whether sigma is the noise's own size, of which only "parametric" makes use.

    Raises:
        InputError: no such kind, or too few draws or points.
    """
    if kind not in KINDS:
        raise InputError(f"kind: given {kind!r}; {suggest(str(kind), KINDS)}")
    draws, seed = whole_number("draws", draws, least=2), check_seed(seed)
    problem = Residuals(curve, points, loss_function)
    points, free = problem.points, len(problem.free)
    check_absolute(absolute_sigma, points.sigma is not None)
    known = kind == "parametric" and absolute_sigma
    if not known and (problem.points_each <= free).any():
        fewest = int(problem.points_each.min())
        raise InputError(
            f"bootstrap: {fewest} points and {free} free parameters; expected more points than parameters, "
            "since the residuals tell the noise"
        )
    fitted = solve(problem, problem.theta)
    estimate = curve.demands.project(problem.params(fitted.theta)).cpu()
    scatter = _Scatter(problem, fitted.theta, np.random.default_rng(seed), known)
    draw = {"residuals": scatter.residuals, "cases": scatter.cases, "parametric": scatter.parametric}[kind]
    samples, converged = [], []
    for _, count in _chunks(draws, points):
        drawn, sound = draw(count)
        found, arrived = refits(curve, drawn, loss_function, estimate)
        samples.append(found)
        converged.append(arrived & torch.from_numpy(sound).reshape(arrived.shape))
    arrived = torch.cat(converged)
    failed = (~arrived).sum(dim=0)
    return Bootstrap(
        names=tuple(curve.names),
        kind=kind,
        estimate=estimate,
        samples=torch.where(arrived.unsqueeze(-1), torch.cat(samples), torch.nan),
        failed=failed if points.batch else int(failed),
        undetermined=torch.from_numpy(uncertainty(curve, points, loss_function).kinds == UNDETERMINED),
        curve=curve,
        points=points,
        loss_function=loss_function,
    )


def _chunks(count: int, points: Points) -> Iterator[tuple[int, int]]:
    """The first of some refits, and how many are done at once from there, until so many are done."""
    each = max(AT_ONCE // points.targets.numel(), 1)
    for first in range(0, count, each):
        yield first, min(each, count - first)


def refits(curve: Curve, drawn: Points, loss_function: Loss, start: Tensor) -> tuple[Tensor, Tensor]:
    """Parameters refitted to drawn points, and whether each refit arrived.

    Args:
        curve: the curve, whose fixed parameters keep the values that they have in it.
        drawn: points `(draws, *batch, T)`.
        loss_function: what is descended.
        start: where, `(*batch, P)`.

    Returns:
        Parameters `(draws, *batch, P)` and truths `(draws, *batch)`.
    """
    problem = Residuals(curve, drawn, loss_function)
    theta = start[..., problem.free].expand(*drawn.batch, -1).reshape(problem.count, -1).cpu().numpy()
    found = solve(problem, theta, tolerance=TOLERANCE, damping=0.0)
    params = curve.demands.project(problem.params(found.theta))
    return params.cpu(), torch.from_numpy(found.converged).reshape(drawn.batch)


def weighted(points: Points, weights: Tensor) -> Points:
    """The same points so many times each, `(draws, *batch, T)`; those of weight 0 are none."""
    shape = weights.shape
    columns = tuple(column if column.dim() == 1 else column.expand(shape) for column in points.columns)
    return Points(
        columns if isinstance(points.t, tuple) else columns[0],
        points.targets.expand(shape),
        sigma_of(weights.to(points.targets), 1.0 if points.sigma is None else points.sigma),
    )


class _Scatter:
    """Draws data again about a fit.

    Args:
        problem: the residuals of S series.
        theta: their minimum, `(S, F)`.
        rng: where the draws come from.
        known: whether sigma is the size of the noise, which the residuals otherwise tell.
    """

    def __init__(self, problem: Residuals, theta: Array, rng: np.random.Generator, known: bool) -> None:
        self.points, self.rng, self.known = problem.points, rng, known
        self.count = problem.points_each
        self.free = theta.shape[-1]
        length = self.points.targets.shape[-1]
        self.present = self.points.present.cpu().numpy().reshape(-1, length)
        self.order = np.argsort(~self.present, axis=-1, kind="stable")  # where the points of each series stand
        self.r = problem(theta)
        targets = self.points.targets.cpu().numpy().reshape(-1, length)
        sigma = self.points.sigma
        self.unit = np.ones_like(targets) if sigma is None else sigma.cpu().numpy().reshape(-1, length)
        self.unit = np.where(self.present, self.unit, 0.0)
        self.preds = targets + self.r * self.unit

    def _places(self, draws: int) -> NDArray[np.intp]:
        """T times a point of each series, with replacement, `(draws, S, T)`."""
        which = (self.rng.random((draws, *self.r.shape)) * self.count[:, None]).astype(np.intp)
        return which if self.present.all() else np.take_along_axis(self.order[None], which, axis=-1)

    def _about(self, noise: Array) -> tuple[Points, Bools]:
        """The fitted curve with noise in units of sigma, `(draws, S, T)`."""
        shape = (len(noise), *self.points.targets.shape)
        targets = torch.from_numpy(self.preds + self.unit * noise).to(self.points.targets.device).reshape(shape)
        columns = tuple(column if column.dim() == 1 else column.expand(shape) for column in self.points.columns)
        sigma = None if self.points.sigma is None else self.points.sigma.expand(shape)
        drawn = Points(columns if isinstance(self.points.t, tuple) else columns[0], targets, sigma)
        return drawn, np.ones(noise.shape[:-1], dtype=bool)

    def residuals(self, draws: int) -> tuple[Points, Bools]:
        """Residuals drawn with replacement."""
        mean = self.r.sum(axis=-1, keepdims=True) / self.count[:, None]
        larger = np.sqrt(self.count / (self.count - self.free))
        noise = (mean - self.r) * larger[:, None]
        return self._about(np.take_along_axis(noise[None], self._places(draws), axis=-1))

    def parametric(self, draws: int) -> tuple[Points, Bools]:
        """Normal noise."""
        noise = self.rng.standard_normal((draws, *self.r.shape))
        if not self.known:
            noise *= np.sqrt(np.square(self.r).sum(axis=-1) / (self.count - self.free))[:, None]
        return self._about(noise)

    def cases(self, draws: int) -> tuple[Points, Bools]:
        """The points themselves, by how often each is drawn."""
        places = self._places(draws)
        series, length = self.r.shape
        rows = np.arange(draws * series).reshape(draws, series, 1) * length
        drawn = np.arange(length) < self.count[:, None]
        times = np.bincount((rows + places)[np.broadcast_to(drawn, places.shape)], minlength=places.size)
        times = times.reshape(places.shape)
        weights = torch.from_numpy(times).reshape(draws, *self.points.targets.shape)
        return weighted(self.points, weights), (times > 0).sum(axis=-1) >= self.free
