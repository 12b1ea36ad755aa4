"""How far predictions are from the data: the losses that are descended and the metric that is reported.

All are means over the points of a series. Where standard deviations are given, residuals are counted in them, so
that a point weighs 1/sigma**2; a point with an infinite sigma is no point, which lets series of unequal lengths
stand side by side.
"""

import re
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from gd_lightning.errors import InputError, suggest

__all__ = [
    "Loss",
    "cauchy",
    "huber",
    "mae",
    "make_loss",
    "mean",
    "mse",
    "pooled_rmse",
    "residual",
    "rmse",
    "rmse_each",
    "root",
    "weights",
]

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def residual(preds: Tensor, targets: Tensor, sigma: Tensor | None = None) -> Tensor:
    """preds - targets, in units of y, or of the standard deviations where they are given; shape `(*batch, T)`."""
    return preds - targets if sigma is None else (preds - targets) / sigma


def mean(values: Tensor, sigma: Tensor | None = None) -> Tensor:
    """Mean over the points of each series, `(*batch, T)` to `(*batch)`; those with an infinite sigma are none."""
    return values.mean(dim=-1) if sigma is None else values.sum(dim=-1) / torch.isfinite(sigma).sum(dim=-1)


def mse(preds: Tensor, targets: Tensor, sigma: Tensor | None = None) -> Tensor:
    """Mean squared error, mean over T of ((preds - targets) / sigma)**2.

    Args:
        preds: predictions, shape `(*batch, T)`.
        targets: data, shape `(*batch, T)`, in units of y.
        sigma: standard deviations of the data, shape `(*batch, T)`, in units of y; 1 unless given.

    Returns:
        The loss of each series, shape `(*batch)`, in units of y squared, or of none with sigma.
    """
    return mean(residual(preds, targets, sigma) ** 2, sigma)


def mae(preds: Tensor, targets: Tensor, sigma: Tensor | None = None) -> Tensor:
    """Mean absolute error, mean over T of abs((preds - targets) / sigma) (Laplace, 1774).

    Shapes and units as in `mse`, but not squared. Outliers pull no more than other points.
    """
    return mean(residual(preds, targets, sigma).abs(), sigma)


def huber(preds: Tensor, targets: Tensor, sigma: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """Mean over T of r**2 where abs(r) <= scale, else 2*scale*abs(r) - scale**2; r = (preds - targets) / sigma.

    Squares in the middle, absolute values outside (Huber, 1964). It is `scipy.optimize.least_squares`'s `"huber"`.

    Args:
        preds: predictions, shape `(*batch, T)`.
        targets: data, shape `(*batch, T)`.
        sigma: standard deviations, as in `mse`.
        scale: where the middle ends, in units of r: of sigma where it is given, else of y.

    Returns:
        The loss of each series, shape `(*batch)`.
    """
    size = residual(preds, targets, sigma).abs()
    return mean(torch.where(size <= scale, size**2, 2 * scale * size - scale**2), sigma)


def cauchy(preds: Tensor, targets: Tensor, sigma: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """Mean over T of scale**2 * log(1 + (r/scale)**2), r = (preds - targets) / sigma.

    The likelihood of Cauchy's distribution: far outliers hardly pull at all. It is
    `scipy.optimize.least_squares`'s `"cauchy"`; arguments as in `huber`.
    """
    size = (residual(preds, targets, sigma) / scale).abs()
    far = size > FAR  # where 1 is nothing beside the square, which may overflow
    logarithm = torch.where(far, 2 * size.clamp(min=FAR).log(), torch.log1p(size.clamp(max=FAR) ** 2))
    return mean(scale**2 * logarithm, sigma)


FAR = 1e9
LOSSES: dict[str, Loss] = {"mse": mse, "mae": mae, "huber": huber, "cauchy": cauchy}
SCALED: dict[str, Callable[..., Tensor]] = {"huber": huber, "cauchy": cauchy}


def make_loss(loss: str) -> Loss:
    """The loss of a name: mse, mae, huber, cauchy; `huber(2.5)` and `cauchy(2.5)` set their scale.

    Raises:
        InputError: there is no such loss, or it has no such scale.
    """
    written = re.fullmatch(r"\s*(\w+)\s*(?:\(\s*([^()]*?)\s*\))?\s*", loss) if isinstance(loss, str) else None
    name, scale = written.groups() if written else (str(loss), None)
    if name not in LOSSES:
        raise InputError(f"loss: given {loss!r}; {suggest(name, LOSSES)}")
    if scale is None:
        return LOSSES[name]
    if name not in SCALED:
        raise InputError(f"loss: given {loss!r}, and {name} has no scale; huber(2.5) and cauchy(2.5) have one")
    try:
        number = float(scale)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise InputError(f"loss: given {loss!r}, expected a number above 0 in the parentheses, such as {name}(2.5)")
    return partial(SCALED[name], scale=number)


def weights(loss_function: Loss, r: Tensor) -> Tensor:
    """What each point weighs beside the mse: rho'(r) / (2*r), where the loss is the mean of rho(r).

    The gradient of the loss by the predictions is then 2/n * weight * r / sigma, as if it were a weighted mse
    (iteratively reweighted least squares; Holland and Welsch, 1977): 1 for mse, min(1, scale/abs(r)) for huber,
    1 / (1 + (r/scale)**2) for cauchy, 1 / (2*abs(r)) for mae.

    Args:
        loss_function: a loss of this file, as `make_loss` gives it.
        r: residuals in units of sigma where it is given, any shape.

    Raises:
        InputError: the loss is another.
    """
    function, scale = loss_function, 1.0
    if isinstance(loss_function, partial):
        function, scale = loss_function.func, loss_function.keywords["scale"]
    size = r.abs()
    tiny = torch.finfo(r.dtype).tiny
    if function is mse:
        return torch.ones_like(r)
    if function is mae:
        return 1 / (2 * size.clamp(min=tiny))
    if function is huber:
        return scale / size.clamp(min=scale)
    if function is cauchy:
        return 1 / (1 + (r / scale) ** 2)
    raise InputError(f"loss: given {loss_function!r}, whose weights are not known; expected a loss of make_loss")


def rmse(preds: Tensor, targets: Tensor) -> float:
    """Root mean squared error of one series, mse**(1/2), in units of y.

    The mean has the precision of the data and the root is taken in double precision, by Python's power: that is
    how the article prints it, and a correctly rounded square root differs from it in the last digit of one number.

    Args:
        preds: predictions, shape `(T,)`.
        targets: data, shape `(T,)`, in units of y.

    Returns:
        The RMSE as a plain number.
    """
    return root(mse(preds, targets))


def pooled_rmse(preds: Tensor, targets: Tensor, sigma: Tensor | None = None) -> float:
    """RMSE over all points of one series, or of several together, in units of y.

    Args:
        preds: predictions, shape `(*batch, T)`.
        targets: data, likewise.
        sigma: standard deviations, likewise, which weigh nothing here; but a point with an infinite one is none.
    """
    if sigma is None:
        return rmse(preds.flatten(), targets.flatten())
    present = torch.isfinite(sigma)
    return rmse(preds[present], targets[present])


def rmse_each(preds: Tensor, targets: Tensor, present: Tensor) -> Tensor:
    """RMSE of each series, in units of y and double precision, of the points that are present.

    Args:
        preds: predictions, shape `(*batch, T)`.
        targets: data, likewise.
        present: where there is a point, likewise.

    Returns:
        Shape `(*batch)`.
    """
    squares = torch.where(present, (preds - targets) ** 2, 0.0)
    return (squares.sum(dim=-1) / present.sum(dim=-1)).double() ** 0.5


def root(mean_squared_error: Tensor) -> float:
    """The root, in double precision, of a mean squared error that somebody else computed."""
    return float(mean_squared_error.item() ** 0.5)
