"""Fitting in a notebook: the loop around the step, without a Trainer."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gd_lightning.conditioning import AUTO, stable_lr
from gd_lightning.curve import Curve
from gd_lightning.descent import Descent
from gd_lightning.errors import InputError
from gd_lightning.losses import make_loss
from gd_lightning.optim import ARTICLE_LR, SGD, Rule, check_lr, make_rule
from gd_lightning.points import Points, as_points, check_numbers
from gd_lightning.resolve import Function, arguments, resolve
from gd_lightning.result import FitResult
from gd_lightning.starts import GIVEN, RANDOM, check_start, is_linear, set_start

__all__ = ["check_points", "choose_lr", "fit", "read_lr"]

DOMAINS = {"t > 0": torch.gt, "t >= 0": torch.ge}


def check_points(curve: Curve, points: Points, names: Sequence[str] | None = None) -> None:
    """Refuse points to which the curve cannot be fitted.

    Args:
        curve: the curve.
        points: the points.
        names: what the data call their predictors; the arguments of the function unless given.

    Raises:
        InputError: a number that is not finite, a point outside the function's domain, fewer points than free
            parameters, or points that all lie at one t.
    """
    names = names or curve.predictors
    check_numbers(points, names)
    free = [curve.names[i] for i in curve.demands.free]
    for i, one in enumerate(points.each()):
        which = f"series {i + 1}" if points.batch else "the series"
        count = len(one.targets)
        if count < len(free):
            raise InputError(
                f"{which} has {count} point{'s' * (count != 1)}, expected at least {len(free)}: "
                f"{curve.function_name} has the free parameters {', '.join(free)}"
            )
        if count > 1 and all((column == column[0]).all() for column in one.columns):
            value = one.columns[0][0].item()
            raise InputError(
                f"{names[0]}: all {count} points of {which} are at {value:g}, expected at least two places along it"
            )
        if curve.domain is not None:
            inside = DOMAINS[curve.domain](one.columns[0], 0)
            if not inside.all():
                at = int((~inside).nonzero()[0])
                raise InputError(
                    f"{names[0]}: point {at + 1} of {count} is {one.columns[0][at].item():g}, and "
                    f"{curve.function_name} is defined for {curve.domain}; leave such points out, or shift them"
                )


def check_function(curve: Curve, points: Points) -> None:
    """Refuse a function that gives no prediction for each point, or none that depends on its parameters.

    Raises:
        InputError: saying what it gives instead.
    """
    try:
        preds = curve.evaluate(points.t, curve.params.expand(*points.batch, -1))
    except Exception as error:  # whatever a function of the user's may raise
        raise InputError(f"function: {curve.function_name} cannot be computed with tensors: {error}") from error
    expected = tuple(points.targets.shape)
    if not isinstance(preds, Tensor) or preds.shape != expected or not preds.requires_grad:
        given = f"shape {tuple(preds.shape)}" if isinstance(preds, Tensor) else type(preds).__name__
        raise InputError(
            f"function: {curve.function_name} gives {given}; expected a tensor of shape {expected} "
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


def read_lr(lr: float | str | None) -> float | str | None:
    """A learning rate as it was given, whatever kind of number: a plain one, `"auto"`, or none.

    Raises:
        InputError: it is something else.
    """
    if lr is None or (isinstance(lr, str) and lr == AUTO):
        return lr
    check_lr(lr)
    return float(lr)


def choose_lr(lr: float | str | None, rule: Optimizer, curve: Curve, points: Points, start: str) -> float:
    """The learning rate that was given, or the one that suits the start.

    Args:
        lr: a number; `"auto"` for 1 / largest curvature at the start; none for the article's 1e-5 where a function
            that is linear in its parameters starts at given or random values, as in the article, and for rules other
            than plain gradient descent; else for `"auto"`.
        rule: the update rule.
        curve: the curve at its start.
        points: what it is fitted to.
        start: how the start was found.
    """
    if lr is None:
        descends = isinstance(rule, SGD | torch.optim.SGD)
        lr = AUTO if descends and not (start in (GIVEN, RANDOM) and is_linear(curve, points)) else ARTICLE_LR
    return stable_lr(curve, points) if isinstance(lr, str) else lr


def fit(
    function: str | Function,
    t: Any,
    y: Any,
    *,
    sigma: Any = None,
    init: Mapping[str, float] | None = None,
    parameters: Mapping[str, Any] | None = None,
    start: str | None = None,
    loss: str = "mse",
    lr: float | str | None = None,
    steps: int = 10,
    optimizer: Rule = SGD,
    seed: int = 2021,
    dtype: torch.dtype | None = None,
) -> FitResult:
    """Fit a function to a series by gradient descent; the article's loop.

    Each step is params -= lr * gradient of the loss, such as mean((function(t, *params) - y)**2).

    Args:
        function: a family's name, such as "gaussian"; a formula, such as "a*exp(-t/tau) + c"; an import path, such
            as "my_curves.damped"; or a callable `f(t, a, b, ...)`.
        t: independent variable, T numbers as list, array, tensor or column of a data frame; for several, a mapping
            or data frame with a column for each. Arguments of the function with the name of a column are data, the
            rest are parameters.
        y: data at t, likewise; shape `(*batch, T)` for several series; or the name of a column where t is a data frame.
        sigma: standard deviations of y; each point then weighs 1/sigma**2. A number, numbers, or a column's name.
        init: starting values by name.
        parameters: what is demanded of them by name, such as `{"a": {"init": 1, "min": 0}, "b": {"expr": "2*a"},
            "c": {"fixed": 0}}`.
        start: where parameters without a starting value begin: `"random"` at random normal numbers, as in the article;
            `"data"` at the function's guess from the data or, without one, at the best of many random starts. Unless
            given, a function that is linear in its parameters starts at random, any other from the data.
        loss: "mse", "mae", "huber" or "cauchy"; "huber(2.5)" sets the scale of the last two.
        lr: learning rate, above 0; `"auto"` for 1 / largest curvature at the start. Unless given, "auto"; but 1e-5, the
            article's, for a function that is linear in its parameters and starts at random or given values.
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
    resolved = resolve(function)
    steps = whole_number("steps", steps, least=1)
    seed = whole_number("seed", seed, least=0)
    if seed >= 2**64:
        raise InputError(f"seed: given {seed}, expected a whole number below 2**64")
    check_start(start)
    lr = read_lr(lr)
    loss_function = make_loss(loss)
    points, predictors = as_points(t, y, sigma, dtype, used=arguments(resolved))
    if not points.batch and points.sigma is not None and points.targets.dim():
        points = points.where(points.present)
    curve = Curve(function if isinstance(function, str) else resolved, parameters, predictors)
    curve.known_start(init)
    check_points(curve, points, predictors)

    curve.to(device=points.targets.device, dtype=points.targets.dtype)
    curve.set_params(curve.params.expand(*points.batch, -1))
    check_function(curve, points)
    trial = make_rule(optimizer, curve.params, ARTICLE_LR)  # refuses what is wrong before the start is looked for
    began = set_start(curve, points, torch.Generator().manual_seed(seed), start, init)
    rule = make_rule(optimizer, curve.params, choose_lr(lr, trial, curve, points, began))

    descent = Descent(curve, loss_function)
    for _ in range(steps):
        if not descent.step(rule, points):
            break
    descent.end(rule, points)
    labels = (*(predictors or curve.predictors), y if isinstance(y, str) else getattr(y, "name", None) or "y")
    return FitResult.of(descent, points, seed, loss=loss, start=began, labels=tuple(map(str, labels)))
