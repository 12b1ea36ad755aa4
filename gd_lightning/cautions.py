"""What to be careful about in a result, in words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gd_lightning.arrays import Array, Bools
from gd_lightning.convergence import DIVERGED, EPS, UNUSABLE, column_norms
from gd_lightning.far_from_zero import shifts
from gd_lightning.losses import make_loss, mse
from gd_lightning.residual_checks import NO_NOISE, more_than_chance
from gd_lightning.residuals import Residuals
from gd_lightning.uncertainty import AT_BOUND, POINTS_AT_ONCE, UNDETERMINED
from gd_lightning.words import naming

if TYPE_CHECKING:
    from gd_lightning.result import FitResult

__all__ = ["beyond_sigma", "cautions"]

BLURRED = 0.1  # rounding of predictions beside the residuals; with less the loss is right to a percent


def cautions(result: "FitResult") -> list[str]:
    """What is to be told beside the numbers, one line each.

    Args:
        result: of a fit.
    """
    status = np.asarray(result.status, dtype=object).reshape(-1)
    if (status == DIVERGED).all():
        return []  # which the status says
    found = _Lines(result.series, len(status))
    arrived: Bools = np.asarray(result.arrived).reshape(-1)
    lost: Bools = (status == DIVERGED) | (status == UNUSABLE)  # which their messages say
    found.add(
        ~arrived & ~lost,
        "the descent has not arrived, and standard errors are about a minimum: these only tell how steep it is here",
    )
    told = result.uncertainty
    kinds = told.kinds.reshape(len(status), -1)
    for i, name in enumerate(told.names):
        demand = result.curve.demands.all[i]
        at = kinds[:, i] == AT_BOUND
        values = told.params.reshape(kinds.shape)[:, i]
        for side, bound in (("lower", demand.min), ("upper", demand.max)):
            found.add(
                at & np.isclose(values, bound, rtol=1e-6, atol=0.0),
                f"parameter {name} is at its {side} bound {bound:g} and has no symmetric error; the other errors and "
                "the bands take it as known, which profile intervals do not",
            )
        found.add((kinds[:, i] == UNDETERMINED) & ~lost, f"the data do not determine {name}: its error is infinite")
    if far := shifts(result.points, result.curve.predictors):
        part = _rounded(result)
        blurred = arrived & (part >= BLURRED)
        found.add(
            blurred,
            f"terms of the curve cancel, and rounding moves predictions by up to {part[blurred].max(initial=0):.2g} of "
            f"the residuals, since {far}",
        )
    dof = told.dof.reshape(-1)
    if not result.absolute_sigma:
        found.add(
            dof <= 0, "there are no more points than free parameters, so that nothing tells the noise and the errors"
        )
        found.add(
            arrived & (dof > 0) & _meets_all(result),
            "the curve meets every point to rounding, which the errors tell of then, and not of noise",
        )
    elif arrived.any():
        larger, smaller, ratio = beyond_sigma(result)
        found.add(
            larger,
            f"the reduced chi-square is {ratio[larger].max(initial=0):.3g}: residuals are larger than sigma says; it "
            "is too small, or the function is wrong",
        )
        found.add(
            smaller,
            f"the reduced chi-square is {ratio[smaller].min(initial=np.inf):.3g}: residuals are smaller than sigma "
            "says, which may be too large",
        )
    loss = make_loss(result.loss)
    found.add(
        arrived & np.isnan(told.spread).all(axis=-1).reshape(-1) & (loss is not mse),
        f"the loss {result.loss} has no curvature there to tell errors by; a bootstrap tells them",
    )
    lines = found.lines
    return lines + result.residual_checks.sentences(result.series) if arrived.all() else lines


def beyond_sigma(result: "FitResult") -> tuple[Bools, Bools, Array]:
    """Whose residuals are larger, and whose smaller, than an absolute sigma says, and chi2 / dof, each `(S,)`.

    Args:
        result: of a fit with an absolute sigma.
    """
    from scipy.special import chdtrc

    arrived, dof = np.asarray(result.arrived).reshape(-1), result.uncertainty.dof.reshape(-1)
    chi2 = np.asarray(result.goodness.chi2).reshape(-1)
    more = np.where(arrived & (dof > 0), chdtrc(np.maximum(dof, 1), chi2), np.nan)
    return more_than_chance(2 * more), more_than_chance(2 * (1 - more)), chi2 / np.maximum(dof, 1)


def _rounded(result: "FitResult") -> Array:
    """What the terms of the curve are rounded by beside the residuals, `(S,)`; 0 where these are rounding of the data.

    As roots of means of squares: EPS times what each parameter adds to a prediction.
    """
    problem = Residuals(result.curve, result.points)
    each = max(POINTS_AT_ONCE // result.points.targets.shape[-1], 1)
    rounding = np.concatenate([_roundings(problem.select(slice(i, i + each))) for i in range(0, problem.count, each)])
    size = np.reshape(np.sqrt(np.asarray(result.goodness.chi2) / result.goodness.n), -1)
    part: Array = np.divide(rounding, size, out=np.zeros_like(rounding), where=(size > 0) & ~_meets_all(result))
    return part


def _roundings(problem: Residuals) -> Array:
    theta = problem.base.cpu().numpy()[:, problem.free]
    with np.errstate(all="ignore"):
        _, jac = problem.linearize(theta)
        rounding: Array = EPS * np.vecdot(column_norms(jac), np.abs(theta)) / np.sqrt(problem.points_each)
    return rounding


def _meets_all(result: "FitResult") -> Bools:
    """Whether residuals are rounding beside the data, `(S,)`."""
    met: Bools = np.reshape(np.sqrt(result.goodness.chi2) <= NO_NOISE * result.size_of_targets, -1)
    return met


class _Lines:
    """Sentences, each with the series that it is about where there are several."""

    def __init__(self, names: Sequence[str], count: int) -> None:
        self.lines: list[str] = []
        self.names = names
        self.count = count

    def add(self, which: Bools, sentence: str) -> None:
        rows = np.flatnonzero(which)
        if not len(rows):
            return
        if self.count > 1:
            sentence = f"{naming(rows, self.count, self.names)} {sentence}"
        self.lines.append(f"{sentence[0].upper()}{sentence[1:]}.")
