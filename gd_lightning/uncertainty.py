"""How sure the fitted parameters are: covariance, standard errors, intervals, and the bands of the curve."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gd_lightning.arrays import Array, Bools
from gd_lightning.convergence import EPS, OPEN, RANK, TINY, column_norms, left_open, tangent
from gd_lightning.curve import Curve
from gd_lightning.errors import InputError
from gd_lightning.least_squares import jacobian
from gd_lightning.losses import Loss, mae, weights
from gd_lightning.points import Points, Predictors
from gd_lightning.residuals import Residuals
from gd_lightning.scalars import is_number

__all__ = [
    "AT_BOUND",
    "KINDS_OF_INTERVALS",
    "LEVEL",
    "POINTS_AT_ONCE",
    "UNDETERMINED",
    "Bands",
    "Uncertainty",
    "check_level",
    "errors_of",
    "length_of",
    "quantile",
    "uncertainty",
]

FREE, FIXED, TIED = "free", "fixed", "tied"
AT_BOUND, UNDETERMINED = "at bound", "undetermined"
LEVEL = 0.95
KINDS_OF_INTERVALS = ("t", "profile", "bootstrap")


class Bands(NamedTuple):
    """The curve at t with the belts around it.

    Attributes:
        preds: the fitted curve, shape `(*batch, T)`, as the others.
        standard_error: of the curve; inf where the data do not determine it.
        confidence_low: below it the curve is with a chance of (1 - level)/2.
        confidence_high: above it, likewise.
        prediction_low: below it a new observation is with a chance of (1 - level)/2.
        prediction_high: above it, likewise.
    """

    preds: Tensor
    standard_error: Tensor
    confidence_low: Tensor
    confidence_high: Tensor
    prediction_low: Tensor
    prediction_high: Tensor


class Uncertainty(NamedTuple):
    """What the curvature of the least squares around the fitted parameters says of their errors.

    The P parameters err independently along F axes: covariance = axes diag(spread**2) axes'.

    Attributes:
        names: of the P parameters.
        kinds: what each parameter is, `(*batch, P)`: FREE, FIXED, TIED, AT_BOUND, or UNDETERMINED.
        params: the fitted values, `(*batch, P)`.
        axes: directions in which parameters err apart from one another, as columns, `(*batch, P, F)`.
        spread: standard error along each, `(*batch, F)`; inf where the data leave it open, 0 where a bound holds.
        noise: standard deviation of a residual, in units of sigma where it is given, else of y, `(*batch)`.
        dof: degrees of freedom of that, points less directions that the data determine, `(*batch)`: parameters that a
            bound holds, and what the data leave open, count as little as fixed parameters do.
        sigma: root mean square of the standard deviations that were given, `(*batch)`; 1 where none were.
        absolute_sigma: whether sigma is known in an absolute sense, or only up to a factor.
    """

    names: tuple[str, ...]
    kinds: NDArray[np.str_]
    params: Array
    axes: Array
    spread: Array
    noise: Array
    dof: Array
    sigma: Array
    absolute_sigma: bool

    @property
    def covariance(self) -> Array:
        """Covariance of the parameters, `(*batch, P, P)`.

        A fixed parameter has 0, an undetermined one inf and nan beside it, one at its bound nan.
        """
        scaled = self.axes * np.where(np.isfinite(self.spread), self.spread, 0.0)[..., None, :]
        with np.errstate(over="ignore", under="ignore"):  # of errors beyond 1e154, or below its inverse
            covariance: Array = scaled @ np.swapaxes(scaled, -1, -2)
            variances = self.standard_errors**2
        unknown = np.isin(self.kinds, (AT_BOUND, UNDETERMINED)) | self._open(self.axes)
        unknown = unknown | (np.isnan(self.spread).any(axis=-1, keepdims=True) & (self.kinds != FIXED))
        covariance[unknown[..., None, :] | unknown[..., None]] = np.nan
        diagonal = np.arange(len(self.names))
        covariance[..., diagonal, diagonal] = variances
        return covariance

    @property
    def standard_errors(self) -> Array:
        """Standard errors of the parameters, `(*batch, P)`: fixed 0, at a bound nan, undetermined inf."""
        errors = self.error_of(self.axes)
        errors = np.where(self.kinds == UNDETERMINED, np.where(np.isnan(errors), np.nan, np.inf), errors)
        errors = np.where(self.kinds == AT_BOUND, np.nan, errors)
        return np.where(self.kinds == FIXED, 0.0, errors)

    @property
    def correlation(self) -> Array:
        """Correlation of the parameters, `(*batch, P, P)`; nan where one has no finite error above 0."""
        errors = self.standard_errors
        errors = np.where(np.isfinite(errors) & (errors > 0), errors, np.nan)
        spread = np.where(np.isinf(self.spread), 0.0, self.spread)
        unit = self.axes * spread[..., None, :] / errors[..., None]
        correlation: Array = unit @ np.swapaxes(unit, -1, -2)
        diagonal = np.arange(len(self.names))
        correlation[..., diagonal, diagonal] = np.where(np.isnan(errors), np.nan, 1.0)
        return np.clip(correlation, -1.0, 1.0)

    def error_of(self, slopes: Array) -> Array:
        """Standard error of something with these slopes along the axes, `(..., F)` to `(...)`."""
        spread = self.spread if slopes.ndim == self.spread.ndim else self.spread[..., None, :]
        return np.where(self._open(slopes), np.inf, length_of(slopes * np.where(np.isinf(spread), 0.0, spread)))

    def _open(self, slopes: Array) -> Bools:
        """Whether something with these slopes changes along an axis that the data leave open."""
        spread = self.spread if slopes.ndim == self.spread.ndim else self.spread[..., None, :]
        along = np.where(np.isinf(spread), np.abs(slopes), 0.0).max(axis=-1)
        found: Bools = along > OPEN * length_of(slopes)
        return found

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` needs, as lists, numbers and text: those that are not finite are text, such as "inf"."""
        numbers = {"axes": self.axes, "spread": self.spread, "noise": self.noise, "dof": self.dof, "sigma": self.sigma}
        return {name: _as_lists(values.tolist()) for name, values in numbers.items()}

    @classmethod
    def from_dict(cls, result: Mapping[str, Any]) -> "Uncertainty":
        """The uncertainty of a result as it stands in `result.json`."""
        names = tuple(result["parameters"])
        told = {
            name: np.array(values, dtype=object).astype(np.float64) for name, values in result["uncertainty"].items()
        }
        return cls(
            names,
            np.stack([np.array(result["kinds"][name]) for name in names], axis=-1),
            np.stack([np.array(result["parameters"][name], dtype=np.float64) for name in names], axis=-1),
            told["axes"],
            told["spread"],
            told["noise"],
            told["dof"],
            told["sigma"],
            result["absolute_sigma"],
        )

    def select(self, rows: int | Sequence[int]) -> "Uncertainty":
        """That of one of the series, or of some of them, by their places in the flattened batch."""
        batch = self.noise.ndim

        def some(values: Array) -> Array:
            chosen: Array = values.reshape(-1, *values.shape[batch:])[rows]
            return chosen

        return self._replace(
            kinds=self.kinds.reshape(-1, len(self.names))[rows],
            params=some(self.params),
            axes=some(self.axes),
            spread=some(self.spread),
            noise=some(self.noise),
            dof=some(self.dof),
            sigma=some(self.sigma),
        )

    def intervals(self, level: float = LEVEL) -> tuple[Array, Array]:
        """Lower and upper ends of the intervals that hold each parameter with a chance of `level`, `(*batch, P)`.

        value -+ q * standard error, q of Student's t distribution (1908), or of the normal one where sigma is absolute.
        """
        q = np.expand_dims(quantile(level, self.dof, self.absolute_sigma), -1)
        with np.errstate(invalid="ignore"):  # no degrees of freedom
            width = q * self.standard_errors
        width = np.where(self.kinds == FIXED, 0.0, width)
        return self.params - width, self.params + width

    def bands(
        self, curve: Curve, t: Predictors, preds: Tensor, level: float = LEVEL, sigma: Tensor | None = None
    ) -> Bands:
        """The curve's confidence and prediction bands.

        preds -+ q * e, e the standard error of the curve, norm(J axes spread); for a new observation
        sqrt(e**2 + (noise * sigma)**2). J holds the derivatives of the curve by its parameters.

        Args:
            curve: the curve.
            t: where.
            preds: the curve there, `(*batch, T)`.
            level: chance that the band holds what it is of, at each t for itself.
            sigma: standard deviations of new observations as those of the fit, `(*batch, T)`; where it is nan, or not
                given, the root mean square of those.
        """
        params = torch.from_numpy(self.params).to(preds.device)
        columns = tuple(column.double() for column in (t if isinstance(t, tuple) else (t,)))
        jac = slopes(curve, columns, params).cpu().numpy()
        with np.errstate(all="ignore"):  # a derivative that is not finite has no band
            error = self.error_of(jac @ self.axes)
            q = np.expand_dims(quantile(level, self.dof, self.absolute_sigma), -1)
            scale = np.expand_dims(self.sigma, -1)
            if sigma is not None:
                given = sigma.double().cpu().numpy()
                scale = np.where(np.isnan(given), scale, given)
            around = np.expand_dims(self.noise, -1) * scale
            middle = preds.double().cpu().numpy()
            confidence, prediction = q * error, q * np.sqrt(error**2 + around**2)
            found = (error, middle - confidence, middle + confidence, middle - prediction, middle + prediction)
        return Bands(preds, *(torch.from_numpy(values).to(preds) for values in found))


def _as_lists(values: Any) -> Any:
    if isinstance(values, list):
        return [_as_lists(value) for value in values]
    return values if math.isfinite(values) else str(values)


POINTS_AT_ONCE = 500_000  # points of many series whose errors are computed at once: some hundred megabytes


def length_of(values: Array) -> Array:
    """Euclidean length along the last axis, of numbers whose squares may be too large or too small to hold."""
    largest = np.abs(values).max(axis=-1, keepdims=True)
    unit = np.divide(values, largest, out=np.zeros_like(values), where=(largest > 0) & np.isfinite(largest))
    length: Array = np.sqrt(np.vecdot(unit, unit)) * largest[..., 0]
    return np.where(np.isinf(largest[..., 0]), np.inf, length)


def typical_sigma(points: Points) -> Array:
    """Root mean square of the standard deviations of each series, `(*batch)`; 1 where there are none."""
    if points.sigma is None:
        return np.ones(points.batch)
    sigma, present = points.sigma.cpu().double(), points.present.cpu()
    found: Array = (torch.where(present, sigma**2, 0.0).sum(dim=-1) / present.sum(dim=-1)).sqrt().numpy()
    return found


def check_level(level: float) -> float:
    """A level of confidence.

    Raises:
        InputError: it is no number between 0 and 1.
    """
    if not is_number(level) or not 0 < float(level) < 1:
        raise InputError(f"level: given {level!r}, expected a number between 0 and 1, such as 0.95")
    return float(level)


def quantile(level: float, dof: Array, absolute_sigma: bool) -> Array:
    """How many standard errors an interval reaches to each side; nan without degrees of freedom.

    Args:
        level: chance that it holds the true value, such as 0.95.
        dof: degrees of freedom of the noise's estimate, any shape.
        absolute_sigma: whether the noise is known, so that the normal distribution holds in place of Student's.
    """
    from scipy.special import ndtri, stdtrit  # a quarter of a second, which a fit without errors need not wait for

    upper = (1 + check_level(level)) / 2
    dof = np.asarray(dof, dtype=np.float64)
    found: Array = (
        np.full(dof.shape, ndtri(upper)) if absolute_sigma else stdtrit(np.where(dof > 0, dof, np.nan), upper)
    )
    return np.asarray(found)


@torch.no_grad()
def uncertainty(curve: Curve, points: Points, loss_function: Loss, absolute_sigma: bool = False) -> Uncertainty:
    """Errors of the parameters that a curve has, as its tangent at the data tells them.

    With J the Jacobian of the residuals (preds - targets) / sigma by the free parameters, covariance =
    noise**2 (J'J)**-1, taken from the singular value decomposition of J with its columns scaled to length 1; J'J, whose
    condition number is the square of J's, is never formed. noise**2 is the reduced chi-square where sigma is relative
    or absent, and 1 where it is absolute. Of a robust loss, with psi half its derivative at a residual, it is
    K**2 sum(psi**2) / dof / mean(psi')**2, where K = 1 + (n - dof) / n * var(psi') / mean(psi')**2 is for few points
    (Huber, 1981). Tied parameters follow from the others to first order.

    A parameter at its bound has no symmetric error: its own is nan, and the others are told as if it were fixed there.
    What the data leave open is inf.

    Args:
        curve: the curve at the minimum.
        points: what it was fitted to.
        loss_function: what was descended.
        absolute_sigma: whether sigma is used in an absolute sense; else only its relative magnitudes matter.
    """
    problem, sigma = Residuals(curve, points, loss_function), typical_sigma(points)
    length = max(points.targets.shape[-1], 1)
    if problem.count * length <= POINTS_AT_ONCE:
        return errors_of(problem, sigma, absolute_sigma)
    each = max(POINTS_AT_ONCE // length, 1)
    parts = [slice(i, i + each) for i in range(0, problem.count, each)]
    found = [errors_of(problem.select(part), sigma.reshape(-1)[part], absolute_sigma) for part in parts]
    return joined(found, points.batch)


def joined(parts: Sequence[Uncertainty], batch: tuple[int, ...]) -> Uncertainty:
    """Those of several series one after the other, on leading axes of some shape."""
    arrays: dict[str, Any] = {
        name: np.concatenate(values).reshape((*batch, *values[0].shape[1:]))
        for name, values in zip(Uncertainty._fields, zip(*parts, strict=True), strict=True)
        if isinstance(values[0], np.ndarray)
    }
    return parts[0]._replace(**arrays)


@torch.no_grad()
def errors_of(problem: Residuals, sigma: Array, absolute_sigma: bool = False) -> Uncertainty:
    """The same of residuals that are at hand.

    Args:
        problem: the residuals.
        sigma: root mean square of the standard deviations of each series, `(*batch)`.
        absolute_sigma: as in `uncertainty`.
    """
    curve, batch, loss_function = problem.curve, problem.points.batch, problem.loss_function
    theta = problem.base.cpu().numpy()[:, problem.free]
    count, free = theta.shape
    with np.errstate(all="ignore"):  # what is not finite gives no errors
        at = tangent(problem, theta)
        residuals, jac = (at.r, at.jac) if not problem.robust else problem.linearize(theta)
        held = (theta <= problem.low) | (theta >= problem.high)
        usable = at.finite & np.isfinite(residuals).all(axis=-1) & np.isfinite(jac).all(axis=(-2, -1))
        jac = np.where(usable[:, None, None] & ~held[:, None], jac, 0.0)
    norms = column_norms(jac)
    # what moves no prediction here has no length; with this one it would move them by rounding
    faintest = np.maximum(EPS * problem.size_of_targets[:, None] / np.maximum(np.abs(theta), 1.0), TINY**0.5)
    d = np.where(norms > 0, norms, np.where(held, 1.0, faintest))
    apart = 2 * free**0.5  # beyond the singular values of columns of length 1, so that held ones have axes of their own
    with np.errstate(all="ignore"):
        rows = np.concatenate([jac / d[:, None], apart * held[..., None] * np.eye(free)], axis=1)
    usable &= np.isfinite(rows).all(axis=(-2, -1))
    rows = np.where(usable[:, None, None], rows, 0.0)
    _, s, vt = np.linalg.svd(rows, full_matrices=False)
    holds = (vt**2 * held[:, None]).sum(axis=-1) > 0.5
    largest = np.where(holds, 0.0, s).max(axis=-1, keepdims=True)
    open_ = ~holds & (s <= np.maximum(RANK * largest, TINY))
    dof = problem.points_each - (~holds & ~open_).sum(axis=-1)
    with np.errstate(all="ignore"):
        noise = np.where(dof > 0, length_of(residuals) / np.sqrt(np.maximum(dof, 1)), np.inf)
    factor = noise = np.ones(count) if absolute_sigma else noise
    if problem.robust:
        factor = factor_of_robust(loss_function, residuals, problem.points_each, dof)
    spread = np.divide(factor[:, None], s, out=np.zeros_like(s), where=~(holds | open_))
    spread[open_] = np.inf
    spread[~usable] = np.nan
    with np.errstate(all="ignore"):
        undetermined = left_open(problem, theta, norms, vt, ~open_) & ~held
    kinds = np.full((count, len(curve.names)), FIXED, dtype="<U12")
    kinds[:, problem.free] = np.where(held, AT_BOUND, np.where(undetermined, UNDETERMINED, FREE))
    params = problem.params(theta)
    params = curve.demands.project(params) if curve.demands.ties else params
    derivatives = derivatives_of_all(curve, params.reshape(count, -1))
    from_held, from_others = (((derivatives != 0) & which[:, None]).any(axis=-1) for which in (held, ~held))
    kinds[:, curve.demands.ties] = np.where(from_held & ~from_others, AT_BOUND, TIED)[:, curve.demands.ties]
    axes = derivatives @ (np.where(holds[:, None], 0.0, np.swapaxes(vt, -1, -2)) / d[..., None])
    return Uncertainty(
        curve.names,
        kinds.reshape(*batch, -1),
        params.cpu().numpy().reshape(*batch, -1),
        axes.reshape(*batch, *axes.shape[1:]),
        spread.reshape(*batch, -1),
        noise.reshape(batch),
        dof.reshape(batch),
        sigma,
        absolute_sigma,
    )


def factor_of_robust(loss_function: Loss, residuals: Array, count: Array, dof: Array) -> Array:
    """What the root of (J'J)**-1 is multiplied with where the loss is robust, `(S,)`; nan where it has no bend."""
    if loss_function is mae:
        return np.full(len(residuals), np.nan)
    r = torch.from_numpy(residuals).requires_grad_()
    with torch.enable_grad():
        psi = weights(loss_function, r) * r
        [bend] = torch.autograd.grad(psi.sum(), r)
    squares = (psi.detach() ** 2).sum(dim=-1).numpy()
    # a point with an infinite sigma has the residual 0, where these losses bend by 1
    absent = residuals.shape[-1] - count
    mean_bend = (bend.sum(dim=-1).numpy() - absent) / count
    bends = ((bend**2).sum(dim=-1).numpy() - absent) / count - mean_bend**2
    with np.errstate(all="ignore"):
        variance = np.where(dof > 0, squares / np.maximum(dof, 1), np.inf)
        few = 1 + (count - dof) / count * np.maximum(bends, 0.0) / mean_bend**2
        return np.where(mean_bend > 1e-3, few * np.sqrt(variance) / mean_bend, np.nan)


def derivatives_of_all(curve: Curve, params: Tensor) -> Array:
    """Derivatives of all P parameters by the F free ones, `(S, P, F)`: 1 of its own, and those of what is tied."""
    demands = curve.demands
    found = np.zeros((len(params), len(curve.names), len(demands.free)))
    found[:, demands.free, np.arange(len(demands.free))] = 1.0
    if demands.ties:
        with torch.enable_grad():
            values = [value.clone().requires_grad_(i in demands.free) for i, value in enumerate(params.unbind(-1))]
            copies = [values[i] for i in demands.free]
            values = demands.tie(values)
            for i in demands.ties:
                if values[i].requires_grad:
                    grads = torch.autograd.grad(
                        values[i].sum(), copies, retain_graph=True, allow_unused=True, materialize_grads=True
                    )
                    found[:, i] = torch.stack(grads, dim=-1).cpu().numpy()
    return found


def slopes(curve: Curve, columns: Sequence[Tensor], params: Tensor) -> Tensor:
    """Derivatives of predictions by all P parameters, each for itself, `(*batch, T, P)`.

    Args:
        curve: the curve.
        columns: predictors, each `(T,)` or `(*batch, T)`.
        params: shape `(*batch, P)`.
    """
    shape = sum(columns, params[..., 0].unsqueeze(-1)).shape

    def predict(values: Tensor) -> Tensor:
        return curve.function(*columns, *values.unsqueeze(-1).unbind(-2)).expand(shape)

    if not curve.pointwise:
        return jacobian(predict, params)
    with torch.enable_grad():
        copies = [one.expand(shape).clone().requires_grad_() for one in params.unsqueeze(-1).unbind(-2)]
        preds = curve.function(*columns, *copies).expand(shape)
        grads = torch.autograd.grad(preds.sum(), copies, allow_unused=True, materialize_grads=True)
    return torch.stack(grads, dim=-1)
