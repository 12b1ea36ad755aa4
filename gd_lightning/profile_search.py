"""The search for the ends of profile-likelihood intervals, with all of them refitted side by side."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gd_lightning.arrays import Array, Bools
from gd_lightning.batch import solve
from gd_lightning.convergence import Tangent, tangent
from gd_lightning.residuals import Residuals

__all__ = ["ProfileCurve", "Search"]

ROUNDS = 60  # batches of refits; most ends are found in four
CLOSE = 1e-7  # how near to 1 the rise beside the threshold has to come
TOLERANCE = 1e-6  # standard errors that a refit may end off its minimum: its sum of squares is then off by 1e-12 of one
NARROW = 1e-9  # beside the distance from the minimum, brackets that hold no other number that matters
SCANS = 3  # how often the way to the ends is looked at
HOPELESS = 10  # rounds in which no refit arrived, after which none is expected to
CREEPING = 6  # rounds after which a profile that has not reached the threshold is taken to be flat
FAR = 1e3  # standard errors, beyond which a refit that fails tells as little of an end as one that arrives
FARTHEST = 1e10  # standard errors, beyond which nothing more is expected
LOWER = 1e-4  # of the noise's variance: so much is a refit below the fit to be told of
BEYOND = 1.3  # how far a drawn profile goes past the interval's ends
SIGHT = 4.0  # standard errors that a drawn profile goes to a side without an end


class ProfileCurve(NamedTuple):
    """The profile of one parameter.

    Attributes:
        values: the parameter's values, `(*batch, N)`, its value at the minimum among them.
        rise: by how much the others' least sum of squares is above that of the fit, likewise, in units of the noise's
            variance; nan where a refit did not arrive.
        threshold: the rise at which the interval ends.
    """

    values: Tensor
    rise: Tensor
    threshold: float | Tensor


class Ends(NamedTuple):
    """Where the search for the ends of intervals stands; R rows, each one series, one parameter, one side.

    Attributes:
        series: which series, `(R,)`.
        which: which of the free parameters.
        side: -1 or 1.
        inner: the free parameters at the farthest place known to be below the threshold, `(R, F)`.
        height: the root of the rise there, in units of that of the threshold, `(R,)`.
        outer: the parameters at the nearest place that is not, `(R, F)`; nan where none is known.
        above: the root of the rise there; infinite where its refit did not arrive.
        end: the end, `(R,)`; nan where it was not found.
        least: the value at the minimum, `(R,)`.
        unit: its standard error, or its size where that is 0.
        limit: the bound on that side.
    """

    series: NDArray[np.intp]
    which: NDArray[np.intp]
    side: Array
    least: Array
    unit: Array
    limit: Array
    inner: Array
    height: Array
    outer: Array
    above: Array
    end: Array


class Search:
    """The search for the places where the rise meets the threshold.

    Args:
        problem: the residuals of S series.
        level: the probability.
        absolute_sigma: whether sigma is the noise's own size.
        dof: degrees of freedom, `(S,)`.
    """

    def __init__(self, problem: Residuals, level: float, absolute_sigma: bool, dof: Array) -> None:
        from scipy import stats

        self.problem = problem
        first = problem.theta
        self.given = problem.sum_of(problem(first))
        solved = solve(problem, first)
        better = solved.total <= self.given
        self.theta = np.where(better[:, None], solved.theta, first)
        self.total = np.where(better, solved.total, self.given)
        if absolute_sigma:
            self.variance = np.ones(problem.count)
            self.threshold = np.full(problem.count, stats.chi2.ppf(level, 1))
        else:
            self.variance = self.total / np.maximum(dof, 1)
            self.threshold = np.where(dof > 0, stats.f.ppf(level, 1, np.maximum(dof, 1)), np.inf)
        self.lowest = self.total.copy()
        self.lowest_at = self.theta.copy()
        at = tangent(problem, self.theta)
        self.rounding = at.rounding
        self.exact = self.variance * np.minimum(self.threshold, 1e3) <= at.rounding
        self.open = at.undetermined(problem)
        self.covariance = _covariance(at) * self.variance[:, None, None]
        self.ends: Ends | None = None

    def start(self) -> Ends:
        """Both sides of each parameter of each series, at the minimum."""
        count, free = self.theta.shape
        series, which, side = (one.ravel() for one in np.indices((count, free, 2)))
        least = self.theta[series, which]
        deviation = np.sqrt(self.covariance[series, which, which])
        return Ends(
            series=series,
            which=which,
            side=2.0 * side - 1.0,
            least=least,
            unit=np.where(deviation > 0, deviation, np.maximum(np.abs(least), 1.0)),
            limit=np.stack([self.problem.low, self.problem.high], axis=-1)[which, side],
            inner=self.theta[series],
            height=np.zeros(len(series)),
            outer=np.full((len(series), free), np.nan),
            above=np.full(len(series), np.inf),
            end=np.full(len(series), np.nan),
        )

    def find(self) -> Ends:
        """The ends of all intervals."""
        self.ends = ends = self.start()
        at_limit = (ends.limit - ends.least) * ends.side <= 0
        ends.end[at_limit] = ends.limit[at_limit]
        exact = self.exact[ends.series] & ~at_limit
        ends.end[exact] = np.where(self.open[ends.series, ends.which], ends.side * np.inf, ends.least)[exact]
        rows = np.flatnonzero(~at_limit & ~exact)
        reach = ends.unit * np.sqrt(np.minimum(self.threshold[ends.series], FAR))
        self.seek(ends, rows, ends.least[rows] + ends.side[rows] * reach[rows])
        for _ in range(SCANS):
            rows = self.scan(ends, rows, reach)
            if not len(rows):
                break
            self.seek(ends, rows, self.next(ends, rows, 0))
        return ends

    def seek(self, ends: Ends, rows: NDArray[np.intp], place: Array) -> None:
        """Refit some rows, each at a place of its own, again and again until each has its end."""
        for turn in range(ROUNDS):
            if not len(rows):
                return
            least, unit, side = ends.least[rows], ends.unit[rows], ends.side[rows]
            inside = (ends.limit[rows] - place) * side > 0
            at = np.where(inside, place, ends.limit[rows])
            theta, rise, converged = self.refit(ends, rows, at)
            height = np.sqrt(np.maximum(rise, 0.0) / self.threshold[ends.series[rows]])
            height = np.where(converged, height, np.inf)
            met = np.abs(height**2 - 1) <= CLOSE
            below = height < 1
            ends.inner[rows[below]], ends.height[rows[below]] = theta[below], height[below]
            ends.outer[rows[~below]], ends.above[rows[~below]] = theta[~below], height[~below]
            bound = below & ~inside & ~met
            ends.end[rows[met | bound]] = at[met | bound]
            inner, outer = ends.inner[rows, ends.which[rows]], ends.outer[rows, ends.which[rows]]
            gone = np.abs(inner - least) / unit
            # so far out the others may no longer be told apart, and their refit fails
            far = ((below & (gone >= FARTHEST)) | (~converged & (gone >= FAR))) & ~met & ~bound
            ends.end[rows[far]] = side[far] * np.inf
            narrow = np.abs(outer - inner) <= NARROW * np.maximum(np.abs(outer - least), np.abs(inner - least))
            cliff = narrow & np.isfinite(ends.above[rows]) & ~met
            ends.end[rows[cliff]] = outer[cliff]
            hopeless = (turn >= HOPELESS) & (gone == 0) & np.isinf(ends.above[rows])
            rows = rows[~(met | bound | far | narrow | hopeless)]
            place = self.next(ends, rows, turn)

    def scan(self, ends: Ends, rows: NDArray[np.intp], reach: Array) -> NDArray[np.intp]:
        """Look for places on the way to the ends where the threshold is passed, which a long step may have leapt over.

        Returns:
            The rows with such a place, which becomes their outer one.
        """
        rows = rows[~np.isnan(ends.end[rows])]
        length = np.abs(ends.inner[rows, ends.which[rows]] - ends.least[rows])
        length = np.where(np.isfinite(ends.end[rows]), length, np.minimum(length, reach[rows]))
        shares = np.concatenate([2.0 ** -np.arange(8, 1, -1), [0.5, 0.7, 0.85]])
        places = ends.least[rows, None] + ends.side[rows, None] * length[:, None] * shares
        theta, rise, converged = self.between(ends, rows, places)
        height = np.sqrt(np.maximum(rise, 0.0) / self.threshold[ends.series[rows], None])
        above = converged & (height > 1 + CLOSE)
        passed = np.flatnonzero(above.any(axis=-1))
        first = above[passed].argmax(axis=-1)
        found = rows[passed]
        ends.outer[found], ends.above[found] = theta[passed, first], height[passed, first]
        before = np.maximum(first - 1, 0)
        known = (first > 0) & converged[passed, before]
        ends.inner[found] = np.where(known[:, None], theta[passed, before], self.theta[ends.series[found]])
        ends.height[found] = np.where(known, height[passed, before], 0.0)
        ends.end[found] = np.nan
        return found

    def between(self, ends: Ends, rows: NDArray[np.intp], places: Array) -> tuple[Array, Array, Bools]:
        """Refits of some rows at places `(R, N)`, begun on a line from the minimum to the known place next to the end.

        Returns:
            The parameters, `(R, N, F)`, the rise in units of the variance, `(R, N)`, and whether the refits arrived.
        """
        series, which, inner = ends.series[rows], ends.which[rows], ends.inner[rows]
        least, gone = ends.least[rows], inner[np.arange(len(rows)), which] - ends.least[rows]
        share = np.divide(places - least[:, None], gone[:, None], out=np.zeros_like(places), where=gone[:, None] != 0)
        start = self.theta[series][:, None] + share[..., None] * (inner - self.theta[series])[:, None]
        repeat = np.repeat(np.arange(len(rows)), places.shape[-1])
        flat = start.reshape(-1, start.shape[-1])
        theta, rise, converged = self.solved(series[repeat], which[repeat], flat, places.ravel(), inner[repeat])
        return theta.reshape(start.shape), rise.reshape(places.shape), converged.reshape(places.shape)

    def next(self, ends: Ends, rows: NDArray[np.intp], turn: int) -> Array:
        """Where to look next: along the chord of the rise's root, which is straight for what is linear."""
        which, least = ends.which[rows], ends.least[rows]
        inner, outer = ends.inner[rows, which], ends.outer[rows, which]
        height, above = ends.height[rows], ends.above[rows]
        gone = inner - least
        # without an outer place: as the root has risen so far; by leaps where that creeps
        reach = 1 / np.maximum(height, 1e-3)
        beyond = least + gone * (np.clip(reach, 1.05, 3.0) if turn < CREEPING else 10.0)
        share = np.where(np.isfinite(above), (1 - height) / (above - height), 0.5)
        # a chord that bends strongly would creep along one side
        share = np.clip(share, 0.05, 0.95) if turn % 4 < 3 else np.full(len(rows), 0.5)
        between = inner + share * (outer - inner)
        return np.where(np.isnan(outer), beyond, between)

    def refit(self, ends: Ends, rows: NDArray[np.intp], at: Array) -> tuple[Array, Array, Bools]:
        """The others' minimum where one parameter is held, from the nearest place that is known.

        Returns:
            The parameters, `(R, F)`, the rise in units of the variance, `(R,)`, and whether the refit arrived.
        """
        series, which = ends.series[rows], ends.which[rows]
        inner, outer, known = ends.inner[rows], ends.outer[rows], np.isfinite(ends.above[rows])
        place = np.arange(len(rows))
        here = inner[place, which]
        share = np.divide(at - here, outer[place, which] - here, out=np.zeros(len(rows)), where=known)
        along = np.where(
            known[:, None], inner + share[:, None] * (outer - inner), self._along(inner, series, which, at)
        )
        return self.solved(series, which, along, at, inner)

    def _along(self, theta: Array, series: NDArray[np.intp], which: NDArray[np.intp], at: Array) -> Array:
        """Where the tangent at the minimum leads the others as one parameter goes somewhere."""
        place = np.arange(len(series))
        column = self.covariance[series, which]
        slope = np.divide(column, column[place, which][:, None], out=np.zeros_like(column), where=column != 0)
        led: Array = theta + slope * (at - theta[place, which])[:, None]
        return led

    def solved(
        self, series: NDArray[np.intp], which: NDArray[np.intp], theta: Array, at: Array, otherwise: Array
    ) -> tuple[Array, Array, Bools]:
        """Refit rows from theta with one parameter held at a place; where that fails, or ends high, from elsewhere."""
        frozen = np.zeros(theta.shape, dtype=bool)
        frozen[np.arange(len(at)), which] = True
        problem = self.problem.select(series)
        found = solve(problem, np.where(frozen, at[:, None], theta), frozen, tolerance=TOLERANCE, damping=0.0)
        end = self.total[series] + self.threshold[series] * self.variance[series]
        again = np.flatnonzero(~found.converged | (found.total > end))
        if len(again):
            start = np.where(frozen, at[:, None], otherwise)[again]
            second = solve(problem.select(again), start, frozen[again], tolerance=TOLERANCE)
            better = second.converged & (~found.converged[again] | (second.total < found.total[again]))
            for old, new in zip(found, second, strict=True):
                old[again[better]] = new[better]
        lower = found.converged & (found.total < self.lowest[series])
        for row in np.flatnonzero(lower):
            if found.total[row] < self.lowest[series[row]]:
                self.lowest[series[row]] = found.total[row]
                self.lowest_at[series[row]] = found.theta[row]
        return found.theta, (found.total - self.total[series]) / self.variance[series], found.converged

    @np.errstate(all="ignore")  # the variance of what is fitted exactly may be 0
    def draw(self, chosen: list[int], names: list[str], count: int) -> dict[str, ProfileCurve]:
        """The profiles of some of the free parameters."""
        assert self.ends is not None
        ends, half = self.ends, max((count - 1) // 2, 1)
        rows = np.flatnonzero(np.isin(ends.which, chosen))
        which, least = ends.which[rows], ends.least[rows]
        closed = np.isfinite(ends.end[rows])
        far = np.where(closed, BEYOND * (ends.end[rows] - least), SIGHT * ends.side[rows] * ends.unit[rows])
        places = least[:, None] + np.arange(1, half + 1) / half * far[:, None]
        values = np.clip(places, self.problem.low[which, None], self.problem.high[which, None])
        _, rise, converged = self.between(ends, rows, values)
        rises = np.where(converged, rise, np.nan)
        curves = {}
        batch = self.problem.points.batch
        for one in chosen:
            down, up = (np.flatnonzero((which == one) & (ends.side[rows] == side)) for side in (-1, 1))
            middle = self.theta[:, one, None]
            x = np.concatenate([values[down][:, ::-1], middle, values[up]], axis=-1)
            y = np.concatenate([rises[down][:, ::-1], np.zeros_like(middle), rises[up]], axis=-1)
            threshold = torch.from_numpy(self.threshold).reshape(batch)
            curves[names[one]] = ProfileCurve(
                torch.from_numpy(x).reshape(*batch, -1),
                torch.from_numpy(y).reshape(*batch, -1),
                threshold if batch else float(threshold),
            )
        return curves

    def messages(self) -> list[str]:
        """What casts doubt on the intervals."""
        assert self.ends is not None
        told = []
        ends, names = self.ends, [self.problem.curve.names[i] for i in self.problem.free]
        several = self.problem.count > 1
        least = np.maximum(LOWER * self.variance, self.rounding)
        for i in range(self.problem.count):
            which = f"series {i + 1}: " if several else ""
            if self.lowest[i] < self.total[i] - least[i]:
                lower = solve(self.problem.select(np.array([i])), self.lowest_at[i : i + 1])
                there = ", ".join(f"{name}={value:.6g}" for name, value in zip(names, lower.theta[0], strict=True))
                told.append(
                    f"{which}a refit found a lower minimum than the fit, {lower.total[0]:.6g} instead of "
                    f"{self.total[i]:.6g}; fit again from {there}"
                )
            elif self.total[i] < self.given[i] - least[i]:
                told.append(
                    f"{which}the fit has not arrived; the profile is about the minimum, where the sum of squares is "
                    f"{self.total[i]:.6g} instead of {self.given[i]:.6g}"
                )
            lost = [
                f"{names[k]}"
                for k in range(len(names))
                if np.isnan(ends.end[(ends.series == i) & (ends.which == k)]).any()
            ]
            if lost:
                told.append(f"{which}the profile of {', '.join(lost)} could not be followed to its end")
        return told


def _covariance(at: Tangent) -> Array:
    """(J'J)**-1 over what the data determine, `(S, F, F)`; 0 for what a bound holds."""
    inverse = np.divide(1.0, at.s, out=np.zeros_like(at.s), where=at.determined)
    rows = inverse[..., None] * at.vt / at.d[:, None]
    covariance: Array = rows.transpose(0, 2, 1) @ rows
    return covariance
