"""Families of curves: plain functions of t, each with its parameters in its signature.

A family computes with whatever broadcasts, so that scalars give one curve and tensors with leading
axes give many; autodiff gives its derivatives. The first line of its docstring is its equation.
"""

from torch import Tensor

__all__ = ["cubic", "linear", "quadratic"]


def linear(t: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """y = a*t + b

    Args:
        t: independent variable, shape `(*batch, T)`.
        a: slope, in units of y per unit of t; scalar or `(*batch, 1)`, like every parameter.
        b: value at t = 0, in units of y.

    Returns:
        y, shape `(*batch, T)`.
    """
    return a * t + b


def quadratic(t: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """y = a*t**2 + b*t + c

    The curve of the article (Awan, 2021): a parabola with its vertex at t = -b / (2*a).

    Args:
        t: independent variable, shape `(*batch, T)`.
        a: half the second derivative, in units of y per unit of t squared; scalar or `(*batch, 1)`.
        b: slope at t = 0, in units of y per unit of t.
        c: value at t = 0, in units of y.

    Returns:
        y, shape `(*batch, T)`.
    """
    return a * t**2 + b * t + c


def cubic(t: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """y = a*t**3 + b*t**2 + c*t + d

    Args:
        t: independent variable, shape `(*batch, T)`.
        a: a sixth of the third derivative, in units of y per unit of t cubed; scalar or `(*batch, 1)`.
        b: half the second derivative at t = 0.
        c: slope at t = 0.
        d: value at t = 0, in units of y.

    Returns:
        y, shape `(*batch, T)`.
    """
    return a * t**3 + b * t**2 + c * t + d
