"""How far predictions are from the data: the loss that is descended and the metric that is reported."""

from torch import Tensor

__all__ = ["mse", "rmse", "root"]


def mse(preds: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error, mean over T of (preds - targets)**2.

    Args:
        preds: predictions, shape `(*batch, T)`.
        targets: data, shape `(*batch, T)`, in units of y.

    Returns:
        The loss of each series, shape `(*batch)`, in units of y squared.
    """
    return ((preds - targets) ** 2).mean(dim=-1)


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


def root(mean_squared_error: Tensor) -> float:
    """The root, in double precision, of a mean squared error that somebody else computed."""
    return float(mean_squared_error.item() ** 0.5)
