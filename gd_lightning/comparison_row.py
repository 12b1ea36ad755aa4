"""What became of one of the functions that are compared."""

import math
from dataclasses import dataclass
from typing import Any

from gd_lightning.arrays import Array
from gd_lightning.goodness import Goodness
from gd_lightning.result import FitResult

__all__ = ["Row"]

NOT_FITTED = "not fitted"


@dataclass(frozen=True, eq=False)
class Row:
    """What became of one function.

    Attributes:
        function: its name, or its formula.
        equation: what it computes.
        p: number of free parameters; none where there was no fit.
        status: as in `FitResult`, or "not fitted".
        reason: why it was not fitted, or what is to be told of the status, in one line.
        goodness: measures of the fit to all points, with this p; none where there was no fit.
        rmse: root mean squared error of the fit to all points, in units of y.
        score: RMSE of the points that were kept out, each predicted by a fit to others; none unless asked for.
        difference: of what ranks, to the best.
        weight: Akaike weight, exp(-difference/2) over the sum of these: the chance that this one is the best of
            them (Burnham and Anderson, 2002); functions that draw the same curve share one. None by `score`.
        result: the fit to all points.
        errors: prediction minus data of the points that were kept out, part by part.
        absolute_sigma: whether sigma was taken as it is.
    """

    function: str
    equation: str
    p: int | None = None
    status: str = NOT_FITTED
    reason: str = ""
    goodness: Goodness | None = None
    rmse: float = math.nan
    score: float | None = None
    difference: float = math.nan
    weight: float | None = None
    result: FitResult | None = None
    errors: Array | None = None
    absolute_sigma: bool = False

    @property
    def fitted(self) -> bool:
        """Whether there is a fit."""
        return self.goodness is not None

    @property
    def tells(self) -> bool:
        """Whether there are points left that could have told the fit wrong."""
        return self.goodness is not None and self.goodness.dof > 0

    @property
    def r2(self) -> float:
        """Share of the variation that it explains."""
        return math.nan if self.goodness is None else float(self.goodness.r2)

    @property
    def aicc(self) -> float:
        """Akaike's criterion for few points; -inf where the curve meets every point."""
        return math.nan if self.goodness is None else float(self.goodness.aicc)

    def told(self) -> dict[str, Any]:
        """Text and numbers by name, as they stand in `comparison.json`."""
        found = self.result
        measures = ("aic", "aicc", "bic", "chi2", "reduced_chi2", "r2", "adjusted_r2")
        return {
            "function": self.function,
            "equation": self.equation,
            "p": self.p,
            "status": self.status,
            "reason": self.reason,
            "rmse": self.rmse,
            **{name: None if self.goodness is None else getattr(self.goodness, name) for name in measures},
            "score": self.score,
            "difference": self.difference,
            "weight": self.weight,
            "parameters": None if found is None else found.parameters,
            "standard_errors": None if found is None else found.standard_errors,
        }
