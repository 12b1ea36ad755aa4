"""Families of curves: plain functions of t, each with its parameters in its signature.

A family computes with whatever broadcasts, so that scalars give one curve and tensors with leading
axes give many; autodiff gives its derivatives. The first line of its docstring is its equation.
"""

import inspect
from collections.abc import Callable

from torch import Tensor

from gd_lightning.errors import InputError, suggest

__all__ = ["cubic", "linear", "quadratic"]

Family = Callable[..., Tensor]


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


def resolve(function: str | Family) -> Family:
    """Turn what a user wrote for a function into a callable; the only place that does.

    Args:
        function: the name of a family in this file, or the callable itself.

    Returns:
        The function `f(t, *parameters) -> y`.

    Raises:
        InputError: no family has this name, or it is neither text nor callable.
    """
    if callable(function):
        return function
    if not isinstance(function, str):
        raise InputError(f"function: given {function!r}, expected the name of a family or a callable")
    if function not in __all__:
        raise InputError(f"function: given {function!r}, which is no family; {suggest(function, __all__)}")
    family: Family = globals()[function]
    return family


def function_name(function: str | Family) -> str:
    """The text that stands for a function in results and checkpoints."""
    return function if isinstance(function, str) else getattr(function, "__name__", repr(function))


def parameter_names(function: Family) -> tuple[str, ...]:
    """The parameters of a function: every argument after the first, in order.

    Raises:
        InputError: the function takes no parameter, or takes `*args` or `**kwargs`, which name none.
    """
    arguments = list(inspect.signature(function).parameters.values())
    if len(arguments) < 2 or any(a.kind in (a.VAR_POSITIONAL, a.VAR_KEYWORD) for a in arguments):
        raise InputError(
            f"function: {function_name(function)}{inspect.signature(function)} does not name its parameters; "
            "expected f(t, a, b, ...) with at least one after t"
        )
    return tuple(argument.name for argument in arguments[1:])


def equation(function: Family) -> str:
    """The equation of a function as text: the first line of its docstring where that is one, else its call."""
    first_line = (inspect.getdoc(function) or "").partition("\n")[0]
    if first_line.startswith("y = "):
        return first_line
    arguments = ", ".join(inspect.signature(function).parameters)
    return f"y = {function_name(function)}({arguments})"
