"""How good a fit is: the share it explains, and the criteria by which functions are chosen."""

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from gd_lightning.arrays import Array
from gd_lightning.points import Points

__all__ = ["Goodness", "goodness", "goodness_of_sums"]


class Goodness(NamedTuple):
    """Measures of a fit; of one series numbers, of several arrays `(*batch)`.

    With r = (preds - targets) / sigma, chi2 = sum(r**2), and L the likelihood of normal noise:

    Attributes:
        n: number of points.
        p: number of free parameters, also those at a bound or left open, which had their chance to follow the data.
        dof: degrees of freedom, n - p.
        chi2: sum of the squared residuals, in units of sigma where it is given, else of y.
        reduced_chi2: chi2 / dof; about 1 where sigma is known and the function right; nan without degrees of freedom.
        r2: 1 - chi2 / the same sum around the (weighted) mean of the data; nan where the data do not vary.
        adjusted_r2: 1 - (1 - r2) (n - 1) / dof.
        aic: -2 log L + 2 p (Akaike, 1974). L has the known sigma where it is absolute, else the factor of it that
            makes L largest, which is not counted as a parameter.
        aicc: aic + 2 p (p + 1) / (n - p - 1), for few points (Hurvich and Tsai, 1989); inf where n <= p + 1.
        bic: -2 log L + p log n (Schwarz, 1978).
    """

    n: Any
    p: int
    dof: Any
    chi2: Any
    reduced_chi2: Any
    r2: Any
    adjusted_r2: Any
    aic: Any
    aicc: Any
    bic: Any


def goodness(preds: Tensor, points: Points, p: int, absolute_sigma: bool = False) -> Goodness:
    """Measures of a fit from its predictions.

    Args:
        preds: predictions, shape `(*batch, T)`.
        points: the data.
        p: number of free parameters.
        absolute_sigma: whether the points' sigma is known in an absolute sense.
    """
    present = points.present.expand(points.targets.shape).cpu().numpy()
    targets = np.where(present, _double(points.targets), 0.0)
    sigma = np.ones(targets.shape) if points.sigma is None else np.where(present, _double(points.sigma), np.inf)
    weight = _double(points.weights)
    n: Array = present.sum(axis=-1).astype(np.float64)
    with np.errstate(all="ignore"):  # what cannot be told is nan
        chi2 = _sum(((np.where(present, _double(preds), 0.0) - targets) / sigma) ** 2)
        mean = _sum(weight * targets) / _sum(weight)
        around_mean = _sum(((targets - mean[..., None]) / sigma) ** 2)
        log_sigma = _sum(np.where(present, np.log(np.where(present, sigma, 1.0)), 0.0))
    return goodness_of_sums(n, p, chi2, around_mean, log_sigma, absolute_sigma)


def goodness_of_sums(
    n: Array, p: int, chi2: Array, around_mean: Array, log_sigma: Array, absolute_sigma: bool = False
) -> Goodness:
    """The same from sums over the points, each of shape `(*batch)`.

    Args:
        n: number of points.
        p: number of free parameters.
        chi2: sum of the squared residuals, in units of sigma.
        around_mean: the same sum around the weighted mean of the data.
        log_sigma: sum of the logarithms of sigma.
        absolute_sigma: whether sigma is known in an absolute sense.
    """
    dof = n - p
    with np.errstate(all="ignore"):  # what cannot be told is nan
        r2 = np.where(around_mean > 0, 1 - chi2 / around_mean, np.nan)
        deviance = 2 * log_sigma + n * np.log(2 * np.pi)
        deviance += chi2 if absolute_sigma else n * np.log(chi2 / n) + n
        aic = deviance + 2 * p
        aicc = np.where(n > p + 1, aic + 2 * p * (p + 1) / (n - p - 1), np.inf)
        adjusted = np.where(dof > 0, 1 - (1 - r2) * (n - 1) / dof, np.nan)
        reduced = np.where(dof > 0, chi2 / dof, np.nan)
        bic = deviance + p * np.log(n)
    found = (chi2, reduced, r2, adjusted, aic, aicc, bic)
    if not n.shape:
        return Goodness(int(n), p, int(dof), *(float(value) for value in found))
    return Goodness(n.astype(np.int64), p, dof.astype(np.int64), *found)


def _double(values: Tensor) -> Array:
    array: Array = values.detach().double().cpu().numpy()
    return array


def _sum(values: Array) -> Array:
    return np.asarray(values.sum(axis=-1))
