"""Whether there is anything left to descend: what the tangent of the residuals promises."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gd_lightning.arrays import Array, Bools
from gd_lightning.errors import InputError, suggest
from gd_lightning.far_from_zero import moved, shifts
from gd_lightning.residuals import Residuals
from gd_lightning.scalars import is_number
from gd_lightning.words import listed

__all__ = [
    "AT_MINIMUM",
    "CONVERGED",
    "DIVERGED",
    "ENDED_AT_BOUND",
    "EPS",
    "FAINT",
    "LEAST_MESSAGE",
    "OPEN",
    "RANK",
    "STEP_LIMIT",
    "STOPPED",
    "STUCK",
    "TINY",
    "UNUSABLE",
    "Tangent",
    "Tolerance",
    "Verdict",
    "around",
    "column_norms",
    "judge",
    "left_open",
    "norm",
    "tangent",
    "verdict",
]

CONVERGED = "converged"
SINGULAR = "singular"
ENDED_AT_BOUND = "at bound"
STEP_LIMIT = "step limit"
STOPPED = "stopped"
STUCK = "stuck"
DIVERGED = "diverged"
UNUSABLE = "unusable"
AT_MINIMUM = (CONVERGED, ENDED_AT_BOUND, SINGULAR)  # whichever of these it is, the parameters have arrived

LEAST_MESSAGE = "the loss is least there, to rounding"  # said of what has converged by a solver


EPS = float(np.finfo(np.float64).eps)
TINY = float(np.finfo(np.float64).tiny)
FAINT = 100 * EPS  # what moves predictions by less beside the data is their rounding, which a few points have as well
UNKNOWN = np.empty((0, 0))
RANK = 1e-13  # beside the largest, singular values below this are rounding: J's elements err by some hundred EPS
OPEN = 1e-4  # share of a direction that the data leave open, above which it is more than rounding


class Tolerance(NamedTuple):
    """How little has to be left for a series to have converged: both loss and gradient, or else the step.

    All three are about what is still to come, as the tangent at the present parameters tells it; what the last step
    brought says nothing where steps are small.

    Attributes:
        loss: the share of the loss that is still to be gained.
        gradient: cosine of the angle between the residuals and the direction in which a parameter moves predictions.
        step: the step to the minimum beside the size of each parameter, for data that are fitted exactly.
    """

    loss: float
    gradient: float
    step: float

    @classmethod
    def of(cls, dtype: torch.dtype, given: Mapping[str, float] | None = None) -> "Tolerance":
        """What a precision allows, but for what is given; gradient and step go with the loss where they are not.

        Raises:
            InputError: there is none of a name, or it is no number of at least 0.
        """
        if not isinstance(given, Mapping | None):
            raise InputError(f"tolerance: given {given!r}, expected numbers by name, such as {{'loss': 1e-8}}")
        for name, value in (given or {}).items():
            if name not in cls._fields:
                raise InputError(f"tolerance: given {name!r}; {suggest(name, cls._fields)}")
            if not is_number(value) or not 0 <= float(value) < math.inf:
                raise InputError(f"tolerance: {name} is {value!r}, expected a number of at least 0")
        stated = {name: float(value) for name, value in (given or {}).items()}
        loss = stated.get("loss", 1e-10 if dtype == torch.float64 else 1e-6)
        return cls(**{"loss": loss, "gradient": loss**0.5, "step": loss / 10, **stated})


class Verdict(NamedTuple):
    """What became of a series: CONVERGED, SINGULAR, ENDED_AT_BOUND, STUCK or DIVERGED, and a sentence on it."""

    status: str
    message: str


class Tangent(NamedTuple):
    """The model r + J step of the residuals of S series near theta; K = J D**-1 = U s V'.

    Attributes:
        theta: the free parameters, `(S, F)`.
        residuals: the residuals there, `(S, T)`.
        total: the sum of their squares, or of the robust measure, `(S,)`: n times the loss.
        rounding: by how much `total` errs, `(S,)`.
        r: the residuals times the roots of their weights, `(S, T)`.
        jac: their Jacobian J, likewise weighted, `(S, T, F)`; columns of parameters that a bound holds are 0.
        scale: the largest norms that J's columns have had, `(S, F)`.
        held: which parameters are at a bound that the loss pulls beyond, `(S, F)`.
        finite: whether residuals, Jacobian and their sums of squares are finite and the data's squares do not vanish,
            `(S,)`; else `r` and `jac` are 0.
        s: singular values of K, largest first, `(S, F)`.
        vt: right singular vectors as rows, `(S, F, F)`.
        d: the diagonal of D, `(S, F)`: `scale`, and 1 where a column has always been 0.
        determined: which singular values are more than rounding, `(S, F)`.
        seen: r along the left singular vectors, U'r, `(S, F)`.
        along: the same; 0 where the singular value is rounding.
        promise: how much smaller the sum of squares would be at the minimum of this model, `(S,)`.
        newton: D times the step to that minimum, along the right singular vectors, `(S, F)`; the shortest of several.
    """

    theta: Array
    residuals: Array
    total: Array
    rounding: Array
    r: Array
    jac: Array
    scale: Array
    held: Bools
    finite: Bools
    s: Array = UNKNOWN
    vt: Array = UNKNOWN
    d: Array = UNKNOWN
    determined: Bools = UNKNOWN > 0
    seen: Array = UNKNOWN
    along: Array = UNKNOWN
    promise: Array = UNKNOWN
    newton: Array = UNKNOWN

    @property
    def promises(self) -> Bools:
        """Whether the promise is more than rounding, `(S,)`."""
        return self.promise > self.rounding

    def step(self, along: Array) -> Array:
        """A step of theta from D times it along the right singular vectors, `(S, F)`."""
        step: Array = (along[:, None] @ self.vt)[:, 0] / self.d
        return step

    def undetermined(self, problem: Residuals) -> Bools:
        """Which parameters these data leave open, alone or together with others, `(S, F)`."""
        return left_open(problem, self.theta, column_norms(self.jac), self.vt, self.determined) & ~self.held

    def select(self, rows: NDArray[np.intp] | Bools) -> "Tangent":
        """The same of some of the series."""
        return Tangent(*(values[rows] for values in self))  # type: ignore[arg-type]  # floats and truths alike


def tangent(
    problem: Residuals, theta: Array, scale: Array | None = None, known: tuple[Array, Array] | None = None
) -> Tangent:
    """The tangent of the residuals at theta.

    Args:
        problem: the residuals.
        theta: where, shape `(S, F)`, within the bounds.
        scale: column norms that were seen before, of which D keeps the largest.
        known: residuals and Jacobian there, where they are known.
    """
    residuals, jac = known or problem.linearize(theta)
    r = residuals
    with np.errstate(all="ignore"):  # where they are finite, their squares may still overflow
        squares = np.einsum("st,st->s", r, r) + np.einsum("stf,stf->s", jac, jac)
        finite = np.asarray(np.isfinite(problem.sum_of(r)) & np.isfinite(squares) & ~problem.vanishing)
    if not finite.all():
        r = np.where(finite[:, None], residuals, 0.0)
        jac = np.where(finite[:, None, None], jac, 0.0)
    total = problem.sum_of(r)
    if problem.robust:
        roots = problem.roots_of_weights(r)
        r, jac = roots * r, roots[..., None] * jac
    held = np.zeros(theta.shape, dtype=bool)
    if problem.bounded:
        slope = np.einsum("stf,st->sf", jac, r)
        held = ((theta <= problem.low) & (slope > 0)) | ((theta >= problem.high) & (slope < 0))
        jac = np.where(held[:, None], 0.0, jac)
    norms = column_norms(jac)
    size = np.sqrt(total)
    # each residual errs by EPS times its prediction, and by EPS times what each parameter adds to it
    err = EPS * (problem.size_of_targets + size + np.vecdot(norms, np.abs(theta)))
    rounding = 4 * size * np.where(finite, err, 0.0)
    scale = norms if scale is None else np.maximum(scale, norms)
    return factor(Tangent(theta, residuals, total, rounding, r, jac, scale, held, finite))


def factor(at: Tangent) -> Tangent:
    """A tangent with what the singular values and vectors of its K tell."""
    d = np.where(at.scale > 0, at.scale, 1.0)
    k, r = at.jac / d[:, None], at.r
    missing = k.shape[-1] - k.shape[-2]
    if missing > 0:  # points that say nothing, so that there is an axis for each parameter
        k, r = np.pad(k, ((0, 0), (0, missing), (0, 0))), np.pad(r, ((0, 0), (0, missing)))
    u, s, vt = np.linalg.svd(k, full_matrices=False)
    determined = s > np.maximum(RANK * s[:, :1], TINY)
    seen = (r[:, None] @ u)[:, 0]
    along = np.where(determined, seen, 0.0)
    newton = -np.divide(along, s, out=np.zeros_like(s), where=along != 0)
    promise = np.vecdot(along, along)
    return at._replace(s=s, vt=vt, d=d, determined=determined, seen=seen, along=along, promise=promise, newton=newton)


def left_open(problem: Residuals, theta: Array, norms: Array, vt: Array, determined: Bools) -> Bools:
    """Which parameters change along a direction that the data leave open, `(S, F)`.

    Also those that could double without moving a prediction by more than rounding.

    Args:
        problem: the residuals.
        theta: the free parameters, `(S, F)`.
        norms: lengths of the Jacobian's columns, `(S, F)`.
        vt: right singular vectors of the scaled Jacobian as rows, `(S, F, F)`.
        determined: which of these directions the data determine, `(S, F)`.
    """
    shares = np.where(determined[..., None], 0.0, np.abs(vt)).max(axis=-2)
    faint = norms * np.maximum(np.abs(theta), 1.0) <= FAINT * problem.size_of_targets[:, None]
    found: Bools = (shares > OPEN) | faint
    return found


def norm(values: Array) -> Array:
    """Euclidean length along the last axis."""
    length: Array = np.sqrt(np.vecdot(values, values))
    return length


def column_norms(jac: Array) -> Array:
    """Euclidean lengths of the columns of Jacobians `(S, T, F)`, `(S, F)`."""
    lengths: Array = np.sqrt(np.einsum("stf,stf->sf", jac, jac))
    return lengths


@np.errstate(all="ignore")  # what is not finite is looked for
def around(problem: Residuals, at: Tangent) -> tuple[Array, Array, Array]:
    """The lowest of the places a tenth of a standard error up and down each axis of a minimum.

    Along an axis that the data leave open it is a tenth of the parameters. The gradient vanishes on a saddle and on a
    top, too; only there is any of these places lower. Of a robust loss some along the parameters are added, since the
    weights of points that are met hide what lies beyond.

    Returns:
        The place, `(S, F)`, the sum of squares or robust measure there, `(S,)`, and how far D times it is.
    """
    spare = np.maximum(problem.points_each - at.determined.sum(axis=-1), 1)
    error = np.sqrt(np.einsum("st,st->s", at.r, at.r) / spare)
    size = norm(at.d * at.theta)
    lengths = 0.1 * np.where(at.determined, error[:, None] / at.s, np.where(size > 0, size, 1.0)[:, None])
    steps = lengths[..., None] * at.vt / at.d[:, None]
    if problem.robust:
        r, jac = problem.linearize(at.theta)
        norms = column_norms(jac)
        plain = np.divide(0.1 * norm(r)[:, None], norms, out=np.zeros_like(norms), where=norms > 0)
        steps = np.concatenate([steps, plain[..., None] * np.eye(plain.shape[-1])], axis=1)
        lengths = np.concatenate([lengths, plain * at.d], axis=1)
    axes = np.moveaxis(steps * ~at.held[:, None], 1, 0)
    probes = np.clip(at.theta + np.concatenate([axes, -axes]), problem.low, problem.high)
    totals = problem.sum_of(problem(probes))
    best = np.where(np.isnan(totals), np.inf, totals).argmin(axis=0)
    places = np.arange(len(best))
    return probes[best, places], totals[best, places], lengths[places, best % lengths.shape[-1]]


def judge(problem: Residuals, tolerance: Tolerance) -> list[Verdict | None]:
    """Which series have converged, as the tangents at the present parameters tell; none of those that have not.

    Raises nothing where residuals are not finite: such a series has not converged.
    """
    with np.errstate(all="ignore"):  # squares of what diverged
        at = tangent(problem, problem.theta)
        size = np.einsum("st,st->s", at.r, at.r)
        slopes = np.abs(np.einsum("stf,st->sf", at.jac, at.r))
        cosines = np.nan_to_num(slopes / (column_norms(at.jac) * np.sqrt(size)[:, None]))
        flat = (at.promise <= tolerance.loss * size) & (cosines <= tolerance.gradient).all(axis=-1)
        still = (np.abs(at.step(at.newton)) <= tolerance.step * np.abs(at.theta)).all(axis=-1)
        converged = at.finite & np.isfinite(size) & (flat | still)
        if converged.any():
            _, lowest, _ = around(problem, at)
            converged &= ~(lowest < at.total * (1 - tolerance.loss) - 10 * at.rounding)
        undetermined = at.undetermined(problem)
        share = np.nan_to_num(at.promise / size)
    return [
        verdict(
            problem,
            i,
            at.theta[i],
            undetermined[i],
            at.held[i],
            f"the loss is within {max(share[i], 1e-15):.0e} of its least",
        )
        if converged[i]
        else None
        for i in range(len(converged))
    ]


def verdict(problem: Residuals, row: int, theta: Array, undetermined: Bools, held: Bools, otherwise: str) -> Verdict:
    """The verdict on a series that has nothing more to gain.

    Args:
        problem: the residuals.
        row: which of its series it is.
        theta: the free parameters, `(F,)`.
        undetermined: which parameters the data leave open, `(F,)`.
        held: which are at a bound that the loss pulls beyond.
        otherwise: what to say where there are none of either.
    """
    names = [problem.curve.names[i] for i in problem.free]
    if undetermined.any():
        left = [name for name, one in zip(names, undetermined, strict=True) if one]
        if len(left) == 1:
            return Verdict(SINGULAR, f"the data do not determine {left[0]}; fix it, or leave it out of the function")
        why = _why_far(problem, row, theta)
        return Verdict(SINGULAR, f"the data do not determine {listed(left)} apart from one another{why}")
    if held.any():
        sides = [
            f"{name} is held by its {'lower' if value <= low else 'upper'} bound {low if value <= low else high:g}"
            for name, value, low, high, one in zip(names, theta, problem.low, problem.high, held, strict=True)
            if one
        ]
        return Verdict(ENDED_AT_BOUND, f"{', and '.join(sides)}; the loss is least there, and would fall beyond")
    return Verdict(CONVERGED, otherwise)


def _why_far(problem: Residuals, row: int, theta: Array) -> str:
    """That parameters of a series would be told apart if t were not far from 0, where it is so; or what to fix."""
    points, curve = problem.points.one(row), problem.curve
    advice = shifts(points, curve.predictors)
    if advice:
        params = problem.base[row].clone()
        params[problem.free] = torch.from_numpy(theta).to(params)
        with curve.at(params), np.errstate(all="ignore"):
            near = Residuals(curve, moved(points))
            if tangent(near, near.theta).determined.all():
                return f", since {advice}"
    return "; fix one of them"
