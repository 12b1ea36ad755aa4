"""How steep the loss is, and what learning rate that allows."""

import math

import torch
from torch import Tensor

from gd_lightning.curve import Curve
from gd_lightning.least_squares import jacobian
from gd_lightning.points import Points

__all__ = ["AUTO", "largest_curvature", "stable_lr"]

AUTO = "auto"


def largest_curvature(curve: Curve, points: Points) -> Tensor:
    """Largest eigenvalue of the Gauss-Newton curvature of the mse, 2/n * J'J, at the present parameters.

    Exact for functions that are linear in their parameters; for others it holds near these parameters, and where
    residuals are small.

    Args:
        curve: the function with its parameters.
        points: what it is fitted to; residuals are counted in their sigma where it is given.

    Returns:
        Shape `(*batch)`, in double precision.
    """
    exact = points.to(points.targets.double())
    free = curve.demands.free

    def residuals(params: Tensor) -> Tensor:
        preds = curve.evaluate(exact.t, params)
        return preds if exact.sigma is None else preds / exact.sigma

    jac = jacobian(residuals, curve.params.detach().to(exact.targets).expand(*points.batch, -1))[..., free]
    curvature = 2 * jac.mT @ jac / exact.present.sum(dim=-1)[..., None, None]
    finite = torch.isfinite(curvature).all(dim=-1).all(dim=-1)
    return torch.where(finite, torch.linalg.eigvalsh(curvature.nan_to_num(0.0, 0.0, 0.0))[..., -1], math.nan)


def stable_lr(curve: Curve, points: Points) -> float:
    """The learning rate 1 / largest curvature, of the steepest series: half of what the start can stand.

    At it, gradient descent removes the error along the steepest direction in one step and overshoots in none.
    Where no curvature can be told it is the article's 1e-5.
    """
    curvature = largest_curvature(curve, points).nan_to_num(0.0, 0.0, 0.0).max().item()
    return 1 / curvature if 0 < curvature < math.inf else 1e-5
