"""What a fit to a streamed table found: of all points, though only a sample of them is at hand."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gd_lightning.descent_in_parts import Condensed, Totals
from gd_lightning.errors import InputError
from gd_lightning.goodness import Goodness, goodness_of_sums
from gd_lightning.losses import make_loss, mse
from gd_lightning.residual_checks import ResidualChecks
from gd_lightning.result import FitResult
from gd_lightning.summary import Summary
from gd_lightning.uncertainty import Uncertainty, errors_of

__all__ = ["StreamedResult"]


@dataclass(frozen=True, repr=False, eq=False)
class StreamedResult(FitResult):
    """A result whose points are not in memory: what it tells is from sums over all of them, `points` are a sample.

    Standard errors are from the QR decomposition of the Jacobian of all points, summed part by part. What would need
    all points at once is left out, and `summary` says so: what Levenberg-Marquardt would reach, checks of the
    residuals, profile and bootstrap.

    Attributes:
        totals: sums over all points; none where the fit ended before they were taken, so that `rmse` is nan.
        log_sigma: sum of the logarithms of sigma; 0 without.
        typical_sigma: root mean square of sigma; 1 without.
    """

    totals: Totals | None = None
    log_sigma: float = 0.0
    typical_sigma: float = 1.0

    @classmethod
    def of_all(
        cls, sampled: FitResult, totals: Totals | None, log_sigma: float, typical_sigma: float
    ) -> "StreamedResult":
        """The result of all points from one that knows a sample of them."""
        fields = {name: getattr(sampled, name) for name in FitResult.__dataclass_fields__}
        fields["rmse"] = math.nan if totals is None else totals.rmse
        return cls(**fields, totals=totals, log_sigma=log_sigma, typical_sigma=typical_sigma)

    @cached_property
    def summary(self) -> Summary:
        """What it does not tell, and why."""
        count, took = self.facts["points"], self._took
        if self.totals is None:
            return Summary((f"The fit ended after {took}, before loss and errors of all points were computed.",))
        sample = len(self.targets)
        of = f"a sample of {sample:,} of {count:,} points" if sample < count else "all points"
        sentences = [
            f"RMSE {self.totals.rmse:.4g} over all {count:,} points after {took}; start, curvature and pictures are "
            f"from {of}.",
            "A streamed table is never all in memory: no better fit was looked for, and residuals were not checked.",
        ]
        if "minibatch" in self.facts:
            sentences.append(f"The RMSE before a step is that of its minibatch of {self.facts['minibatch']:,} points.")
        if make_loss(self.loss) is not mse:
            sentences.append(f"Standard errors are not told: those of the loss {self.loss} need all points at once.")
        return Summary(tuple(sentences))

    @cached_property
    def uncertainty(self) -> Uncertainty:
        """How sure the parameters are, from all points; nan of a robust loss."""
        free = len(self.curve.demands.free)
        nothing = Totals(self.facts["points"], *(math.nan,) * 5, root=np.full((free + 1, free + 1), math.nan))
        problem = Condensed(self.curve, self.points, self.totals or nothing)
        found = errors_of(problem, np.array(self.typical_sigma), self.absolute_sigma)
        return found if make_loss(self.loss) is mse else found._replace(spread=np.full_like(found.spread, math.nan))

    @cached_property
    def goodness(self) -> Goodness:
        """R2, reduced chi-square, AIC and the like, of all points."""
        n = np.array(float(self.facts["points"]))
        chi2, around = (math.nan, math.nan) if self.totals is None else (self.totals.chi2, self.totals.around_mean)
        free = len(self.curve.demands.free)
        return goodness_of_sums(
            n, free, np.array(chi2), np.array(around), np.array(self.log_sigma), self.absolute_sigma
        )

    @cached_property
    def residual_checks(self) -> ResidualChecks:
        """None was made."""
        return ResidualChecks(*(np.full(1, math.nan) for _ in ResidualChecks._fields))

    @property
    def size_of_targets(self) -> Any:
        """Norm of the data, in units of sigma where it is given."""
        return np.array(math.nan if self.totals is None else self.totals.size)

    def profile(self, level: float = 0.95) -> Any:
        """Not to be had."""
        raise InputError("profile: it refits all points, which are not in memory; take the intervals of kind t")

    def bootstrap(self, draws: int = 1000, kind: str = "residuals", seed: int | None = None) -> Any:
        """Not to be had."""
        raise InputError("bootstrap: it refits all points, which are not in memory; take the intervals of kind t")

    def save(self, path: str | Path) -> None:
        """Not to be had: the file would hold the sample for the points."""
        raise InputError("save: the points are not in memory; result.json and the checkpoint hold what was found")
