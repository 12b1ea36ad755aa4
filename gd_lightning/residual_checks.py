"""Whether the residuals are noise: runs, normality and autocorrelation."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gd_lightning.arrays import Array, Bools
from gd_lightning.words import naming

__all__ = [
    "FAILS",
    "NO_NOISE",
    "ResidualChecks",
    "check_residuals",
    "more_than_chance",
]


FAILS = 0.01  # a chance below which noise alone is no explanation
SPURIOUS = 0.03  # share of good fits of few points that fail, for parameters make neighbours differ; measured
FAR = 3.0  # standard deviations, beyond which a residual is an outlier rather than noise of another kind
LONG_TAIL = (
    2 / 3
)  # normality's statistic exceeds its limit with about the chance to this power; measured for n 20 to 300
LEAST_POINTS = 20  # with fewer, kurtosis has no known distribution, and signs have little to tell
NO_NOISE = 1e-9  # residuals that are smaller beside the data are rounding, which is no noise


class ResidualChecks(NamedTuple):
    """Chances that noise alone gives what the residuals show, of S series; nan where there is too little to tell.

    Attributes:
        runs: of the signs along the predictor, `(S,)`, as the others.
        normality: of skewness and kurtosis.
        autocorrelation: of the correlation of neighbours.
        changes: how often the sign changes.
        expected_changes: how often that of noise does.
        largest: the largest residual, in their standard deviations.
        correlation: of neighbours.
    """

    runs: Array
    normality: Array
    autocorrelation: Array
    changes: Array
    expected_changes: Array
    largest: Array
    correlation: Array

    def sentences(self, names: Sequence[str] = ()) -> list[str]:
        """A line for each check that fails.

        Args:
            names: of the series, where there are several.
        """
        lines = [
            self._about(names, "Runs", self.runs, self._of_runs),
            self._about(names, "Normality", self.normality**LONG_TAIL, self._of_normality),
            self._about(names, "Autocorrelation", self.autocorrelation, self._of_autocorrelation),
        ]
        return [line for line in lines if line]

    def _of_runs(self, i: int) -> str:
        changes, expected = self.changes[i], self.expected_changes[i]
        why = "the curve misses a trend" if changes < expected else "neighbours differ more than noise does"
        return f"the residuals change sign {changes:.0f} times, where noise does about {expected:.0f}: {why}"

    def _of_normality(self, i: int) -> str:
        far = self.largest[i] > FAR
        what = f"the largest is {self.largest[i]:.1f} standard deviations" if far else "though none lies far out"
        less = "a robust loss and bootstrap intervals rely" if far else "bootstrap intervals rely"
        return f"the residuals are not normal, {what}; {less} on that less"

    def _of_autocorrelation(self, i: int) -> str:
        correlation = self.correlation[i]
        why = "the standard errors are too small" if correlation > 0 else "they swing from point to point"
        return f"neighbouring residuals have the correlation {correlation:.2f}: {why}"

    def _about(self, names: Sequence[str], check: str, p_values: Array, of: Callable[[int], str]) -> str:
        failed = np.flatnonzero(more_than_chance(p_values))
        if not len(failed):
            return ""
        worst = int(failed[np.argmin(p_values[failed])])
        if len(p_values) == 1:
            return f"{check}: {of(worst)}."
        return f"{check} fails {naming(failed, len(p_values), names)}; in the worst {of(worst)}."


def more_than_chance(p_values: Array) -> Bools:
    """Which of several series fail a check, where good fits would not be expected to: `(S,)`.

    Of many good fits some fail. All that do are told where they are more than that explains, else only those that fail
    although there are so many to choose from (Bonferroni).

    Args:
        p_values: chances, `(S,)`; nan where there is too little to tell.
    """
    from scipy.special import bdtrc

    failed: Bools = p_values < FAILS
    tested, count = int(np.isfinite(p_values).sum()), int(failed.sum())
    if count and bdtrc(count - 1, tested, SPURIOUS) >= FAILS:
        failed = p_values * tested < FAILS
    return failed


def check_residuals(residuals: Array, present: Bools, order: Array | None, size: Array) -> ResidualChecks:
    """All checks that the residuals of S series allow.

    Args:
        residuals: (preds - targets) / sigma, `(S, T)`.
        present: where there is a point, `(S, T)`.
        order: the predictor along which neighbours lie, `(S, T)`; none where there are several.
        size: norm of the data in the same units, `(S,)`.
    """
    series, _ = residuals.shape
    found = ResidualChecks(*(np.full(series, np.nan) for _ in ResidualChecks._fields))
    count = present.sum(axis=-1)
    with np.errstate(all="ignore"):  # residuals that are not finite are not checked
        norms = np.sqrt(np.where(present, residuals, 0.0) ** 2 @ np.ones(residuals.shape[-1]))
        noisy = (norms > NO_NOISE * size) & np.isfinite(norms)
    place = np.where(present, 0.0 if order is None else order, np.inf).argsort(axis=-1, kind="stable")
    for n in np.unique(count):
        rows = np.flatnonzero((count == n) & noisy)
        if n < LEAST_POINTS or not len(rows):
            continue
        along = np.take_along_axis(residuals[rows], place[rows, :n], axis=-1)
        along = along / np.abs(along).max(axis=-1, keepdims=True)  # in any unit, fourth powers are numbers then
        found.normality[rows], found.largest[rows] = normality(along)
        if order is not None:
            found.runs[rows], found.changes[rows], found.expected_changes[rows] = runs(along)
            found.autocorrelation[rows], found.correlation[rows] = autocorrelation(along)
    return found


def runs(residuals: Array) -> tuple[Array, Array, Array]:
    """Whether signs change as often as those of noise (Wald and Wolfowitz, 1940).

    Of n1 positive and n2 other residuals, n = n1 + n2, the number of runs of one sign has mean 2 n1 n2 / n + 1 and
    variance 2 n1 n2 (2 n1 n2 - n) / (n**2 (n - 1)), and is about normal.

    Args:
        residuals: along the predictor, `(S, n)`.

    Returns:
        Chance of a number as far from the mean, number of changes of sign, and its mean, each `(S,)`.
    """
    from scipy.special import ndtr

    positive = residuals > 0
    n = residuals.shape[-1]
    n1 = positive.sum(axis=-1).astype(np.float64)
    product = 2 * n1 * (n - n1)
    changes = (positive[..., 1:] != positive[..., :-1]).sum(axis=-1).astype(np.float64)
    expected = product / n
    variance = product * (product - n) / (n**2 * (n - 1))
    with np.errstate(all="ignore"):
        chance = 2 * ndtr(-np.abs(changes - expected) / np.sqrt(variance))
    # residuals of one sign have but one run; that all n have the same is a chance of 2**(1 - n)
    return np.where(variance > 0, chance, 2.0 ** (1 - n)), changes, np.where(variance > 0, expected, (n - 1) / 2)


def normality(residuals: Array) -> tuple[Array, Array]:
    """Whether skewness and kurtosis are those of normal noise (D'Agostino and Pearson, 1973).

    Args:
        residuals: shape `(S, n)`.

    Returns:
        Chance of as much of both, and the largest residual in standard deviations, each `(S,)`.
    """
    from scipy.stats import normaltest  # a second, which only who asks for the checks waits for

    deviation = residuals.std(axis=-1)
    varies = deviation > 0
    with np.errstate(all="ignore"):
        largest = np.abs(residuals).max(axis=-1) / deviation
    chance = np.full(len(residuals), np.nan)
    if varies.any():
        chance[varies] = normaltest(residuals[varies], axis=-1).pvalue
    return chance, largest


def autocorrelation(residuals: Array) -> tuple[Array, Array]:
    """Whether neighbours resemble one another, r1 = sum(r_i r_(i+1)) / sum(r**2) (Ljung and Box, 1978).

    n (n + 2) r1**2 / (n - 1) is about chi-square with one degree of freedom.

    Args:
        residuals: along the predictor, `(S, n)`.

    Returns:
        Chance of as much, and r1, each `(S,)`.
    """
    from scipy.special import chdtrc

    n = residuals.shape[-1]
    centred = residuals - residuals.mean(axis=-1, keepdims=True)
    squares = np.vecdot(centred, centred)
    lag = np.divide(
        np.vecdot(centred[..., 1:], centred[..., :-1]), squares, out=np.zeros_like(squares), where=squares > 0
    )
    return chdtrc(1, n * (n + 2) * lag**2 / (n - 1)), lag
