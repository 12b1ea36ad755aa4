"""What to be careful about in a result, in words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gd_lightning.arrays import Array, Bools
from gd_lightning.convergence import DIVERGED
from gd_lightning.losses import make_loss, mse
from gd_lightning.residual_checks import NO_NOISE, more_than_chance
from gd_lightning.uncertainty import AT_BOUND, UNDETERMINED
from gd_lightning.words import naming

if TYPE_CHECKING:
    from gd_lightning.result import FitResult

__all__ = ["beyond_sigma", "cautions"]


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
    found.add(
        ~arrived & (status != DIVERGED),
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
        found.add(kinds[:, i] == UNDETERMINED, f"the data do not determine {name}: its error is infinite")
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
