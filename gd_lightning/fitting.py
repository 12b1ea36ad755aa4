"""Fitting in a notebook: the loop around the step, without a Trainer."""

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gd_lightning.curve import Curve, initialize
from gd_lightning.descent import Descent
from gd_lightning.errors import InputError
from gd_lightning.optim import SGD, Rule, make_rule
from gd_lightning.resolve import Function
from gd_lightning.result import FitResult

__all__ = ["check_numbers", "check_series", "fit"]


def check_series(curve: Curve, t: Tensor, targets: Tensor) -> None:
    """Refuse a series to which the curve cannot be fitted.

    Raises:
        InputError: lengths that differ, a number that is not finite, or fewer points than parameters.
    """
    check_numbers(t, targets)
    if len(t) < len(curve.names):
        raise InputError(
            f"the series has {len(t)} point{'s' * (len(t) != 1)}, expected at least {len(curve.names)}: "
            f"{curve.function_name} has the parameters {', '.join(curve.names)}"
        )


def check_numbers(t: Tensor, targets: Tensor) -> None:
    """Refuse a series that is not two rows of finite numbers of one length.

    Raises:
        InputError: lengths that differ, or a number that is not finite.
    """
    if t.dim() != 1 or t.shape != targets.shape:
        raise InputError(
            f"t has shape {tuple(t.shape)} and y has shape {tuple(targets.shape)}; "
            "expected one row of numbers each, of one length"
        )
    for name, values in (("t", t), ("y", targets)):
        bad = (~torch.isfinite(values)).nonzero().flatten().tolist()
        if bad:
            raise InputError(
                f"{name}: point {bad[0] + 1} of {len(values)} is {values[bad[0]].item()} in {values.dtype}, "
                "expected a finite number; remove such points first"
            )


def as_series(t: Any, y: Any, dtype: torch.dtype | None) -> tuple[Tensor, Tensor]:
    """Lists, arrays or tensors as two tensors of one precision on one device, copied."""
    if dtype is None:
        dtype = y.dtype if isinstance(y, Tensor) and y.is_floating_point() else torch.float32
    if not dtype.is_floating_point:
        raise InputError(f"dtype: given {dtype}, expected a floating one such as torch.float64")
    device = y.device if isinstance(y, Tensor) else None
    series = []
    for name, values in (("t", t), ("y", y)):
        try:
            if "complex" in str(getattr(values, "dtype", "")):
                raise TypeError("complex numbers have no order along an axis")
            numbers = values.detach().clone() if isinstance(values, Tensor) else torch.tensor(own(values), dtype=dtype)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{name}: given {type(values).__name__}, expected a row of numbers ({error})") from None
        series.append(numbers.to(device=device, dtype=dtype))
    return series[0], series[1]


def own(values: Any) -> Any:
    """A copy where there can be one: an array may be read-only or run backwards, which torch does not take."""
    return values.copy() if hasattr(values, "copy") else values


def check_function(curve: Curve, t: Tensor) -> None:
    """Refuse a function that gives no prediction for each point, or none that depends on its parameters.

    Raises:
        InputError: saying what it gives instead.
    """
    try:
        preds = curve(t)
    except Exception as error:  # whatever a function of the user's may raise
        raise InputError(f"function: {curve.function_name} cannot be computed with tensors: {error}") from error
    if not isinstance(preds, Tensor) or preds.shape != t.shape or not preds.requires_grad:
        given = f"shape {tuple(preds.shape)}" if isinstance(preds, Tensor) else type(preds).__name__
        raise InputError(
            f"function: {curve.function_name} gives {given}; expected a tensor of shape {tuple(t.shape)} "
            "that depends on its parameters"
        )


def whole_number(name: str, value: Any, least: int) -> int:
    """A whole number, as Python or another library has it.

    Raises:
        InputError: it is none, or below the least.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise InputError(f"{name}: given {value!r}, expected a whole number of at least {least}")
    return number


def fit(
    function: str | Function,
    t: Any,
    y: Any,
    *,
    init: Mapping[str, float] | None = None,
    lr: float = 1e-5,
    steps: int = 10,
    optimizer: Rule = SGD,
    seed: int = 2021,
    dtype: torch.dtype | None = None,
) -> FitResult:
    """Fit a function to a series by gradient descent; the article's loop.

    Each step is params -= lr * gradient of mean((function(t, *params) - y)**2).

    Args:
        function: a family's name, such as "quadratic", or a callable `f(t, a, b, ...)`.
        t: independent variable, T numbers as list, array or tensor.
        y: data at t, likewise.
        init: starting values by name; parameters that are not named start from random normal numbers.
        lr: learning rate, above 0.
        steps: number of steps, at least 1.
        optimizer: the update rule: a class of `gd_lightning.optim` or `torch.optim`, or any callable that
            makes an optimizer from parameters and a learning rate.
        seed: seed of the random starting values.
        dtype: precision to compute in. Where none is given a floating tensor y keeps its own, and
            everything else is computed in float32, as on the command line.

    Returns:
        The result. A descent whose loss ceases to be finite ends with the status "diverged" and the last
        parameters that had a finite loss; it raises nothing.

    Raises:
        InputError: the input cannot be used; the message says which, why, and what to try.

    Example:
        >>> from gd_lightning import fit
        >>> result = fit("linear", [0, 1, 2, 3], [1, 3, 5, 7], init={"a": 0, "b": 0}, lr=0.1, steps=200)
        >>> round(result.parameters["a"], 3), round(result.parameters["b"], 3)
        (2.0, 1.0)
    """
    curve = Curve(function)
    steps = whole_number("steps", steps, least=1)
    seed = whole_number("seed", seed, least=0)
    curve.check_init({} if init is None else init)
    t, targets = as_series(t, y, dtype)
    check_series(curve, t, targets)

    curve.to(device=targets.device, dtype=targets.dtype)
    random_start = initialize(len(curve.names), torch.Generator().manual_seed(seed))
    curve.start(random_start.to(targets), init)
    check_function(curve, t)
    rule = make_rule(optimizer, curve.params, lr)

    descent = Descent(curve)
    for _ in range(steps):
        if not descent.step(rule, t, targets):
            break
    descent.end(rule, t, targets)
    return FitResult.of(descent, t, targets, seed)
