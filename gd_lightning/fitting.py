"""Fitting in a notebook: the loop around the step, without a Trainer."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from gd_lightning.compiled import compilable
from gd_lightning.conditioning import AUTO, Guidance, Sample, auto_lr, guidance, sampled_lr
from gd_lightning.convergence import Tolerance
from gd_lightning.curve import Curve
from gd_lightning.descent import MOST_SERIES, STEPS_AT_ONCE, Descent, Scheduler
from gd_lightning.errors import InputError, suggest
from gd_lightning.fitting_checks import DOMAINS
from gd_lightning.levenberg_marquardt import MOST_STEPS, LevenbergMarquardt
from gd_lightning.losses import Loss, make_loss, mse
from gd_lightning.optim import ARTICLE_LR, SGD, Rule, check_lr, is_many, make_optimizer
from gd_lightning.points import Points, as_numbers, as_points, check_numbers, check_shapes, check_sizes, masked, weighed
from gd_lightning.resolve import Function, arguments, resolve
from gd_lightning.result import FitResult
from gd_lightning.several import Asked, Starts, check_starts, fit_several, split_starts, start_each
from gd_lightning.starts import GIVEN, RANDOM, check_start, is_linear, set_start
from gd_lightning.words import plural

__all__ = [
    "check_absolute",
    "check_compiled",
    "check_function",
    "check_points",
    "check_seed",
    "choose_lr",
    "fit",
    "make_scheduler",
    "prepare",
    "read_lr",
    "refreshed",
    "whole_number",
]

ARTICLE_STEPS = 10


def check_points(curve: Curve, points: Points, names: Sequence[str] | None = None) -> None:
    """Refuse points to which the curve cannot be fitted.

    Args:
        curve: the curve.
        points: the points.
        names: what the data call their predictors; the arguments of the function unless given.

    Raises:
        InputError: a number that is not finite, or without a square; a point outside the function's domain; fewer
            points than free parameters; or points that all lie at one t.
    """
    names = names or curve.predictors
    check_numbers(points, names)
    for one in points.each():
        check_sizes(one)
    free = [curve.names[i] for i in curve.demands.free]
    for i, one in enumerate(points.each()):
        which = f"series {i + 1}" if points.batch else "the series"
        count = len(one.targets)
        if count < len(free) and not (curve.least_norm and count):
            raise InputError(
                f"{which} has {plural(count, 'point')}, expected at least {len(free)}: "
                f"{curve.function_name} has the free parameters {', '.join(free)}"
            )
        if count > 1 and not curve.least_norm and all((column == column[0]).all() for column in one.columns):
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
    formula = curve.formula
    if formula is not None and formula.tape is not None and not curve.demands.ties:
        free = [formula.names.index(curve.names[i]) for i in curve.demands.free]
        if formula.tape.carries(tuple(free)):  # a formula gives a prediction wherever its names have values
            return
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
        number: int = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise InputError(f"{name}: given {value!r}, expected a whole number of at least {least}")
    return number


def read_lr(lr: Any, names: Sequence[str], batch: tuple[int, ...] = ()) -> Any:
    """A learning rate as it was given, whatever kind of number: a plain one, `"auto"`, none, or many as a tensor.

    Args:
        lr: what was given: also a mapping with one number for each parameter, or one number for each series. As many
            numbers as there are series are taken so, also where there are as many parameters.
        names: the parameters.
        batch: shape of the series.

    Raises:
        InputError: it is something else, or not of such a shape.
    """
    if lr is None or (isinstance(lr, str) and lr == AUTO):
        return lr
    if isinstance(lr, Mapping):
        for name in lr:
            if name not in names:
                raise InputError(f"lr: there is no parameter {name!r}; {suggest(str(name), names)}")
        missing = [name for name in names if name not in lr]
        if missing:
            raise InputError(f"lr: {', '.join(missing)} has none; expected one for each of {', '.join(names)}")
        for value in lr.values():
            check_lr(value)
        return torch.tensor([float(lr[name]) for name in names], dtype=torch.float64)
    if isinstance(lr, list | tuple | np.ndarray | Tensor) and (not isinstance(lr, Tensor | np.ndarray) or lr.ndim):
        many = as_numbers("lr", lr, torch.float64, None)
        check_lr(many)
        if batch and tuple(many.shape) == batch:
            return many.unsqueeze(-1)
        try:
            many.expand(*batch, len(names))
        except RuntimeError:
            series = f"{batch} for each series, or " if batch else ""
            raise InputError(
                f"lr: given shape {tuple(many.shape)}, expected {series}({len(names)},) for each parameter"
            ) from None
        return many
    check_lr(lr)
    return float(lr)


def choose_lr(
    lr: Any,
    optimizer: Optimizer,
    curve: Curve,
    points: Points,
    start: str,
    loss_function: Loss = mse,
    sample: Sample | None = None,
) -> float | Tensor:
    """The learning rate that was given, or the one that suits the start.

    Args:
        lr: a number, or a tensor that broadcasts to the parameters; `"auto"` for `auto_lr` at the start; none for the
            article's 1e-5 where a function that is linear in its parameters starts at given or random values, as in the
            article, and for rules other than plain gradient descent; else for `"auto"`.
        optimizer: the update rule.
        curve: the curve at its start.
        points: what it is fitted to.
        start: how the start was found.
        loss_function: what is descended.
        sample: what the points stand for, where there are more of them or not all are in each step.
    """
    if isinstance(lr, Tensor):
        return lr.to(curve.params.detach())
    if lr is None:
        descends = isinstance(optimizer, SGD | torch.optim.SGD)
        lr = AUTO if descends and not (start in (GIVEN, RANDOM) and is_linear(curve, points)) else ARTICLE_LR
    if isinstance(lr, str) and sample is not None:
        return sampled_lr(curve, points, loss_function, optimizer, sample.minibatches)
    if isinstance(lr, str):
        return auto_lr(curve, points, loss_function, is_linear(curve, points), optimizer)
    return float(lr)


def refreshed(
    lr: Any,
    told: Guidance | None,
    optimizer: Optimizer,
    curve: Curve,
    points: Points,
    loss_function: Loss,
    sample: Sample | None = None,
) -> Callable[[], float] | None:
    """What finds `lr: auto` anew as the curvature changes; none where another was given, or the curvature stays."""
    if not isinstance(lr, str) or told is None or told.exact:
        return None
    if sample is not None:
        return lambda: sampled_lr(curve, points, loss_function, optimizer, sample.minibatches)
    return lambda: auto_lr(curve, points, loss_function, False, optimizer)


def check_absolute(absolute_sigma: Any, has_sigma: bool) -> None:
    """Refuse a sigma that is called absolute and is none.

    Raises:
        InputError: saying what to give.
    """
    if not isinstance(absolute_sigma, bool | np.bool_):
        raise InputError(f"absolute_sigma: given {absolute_sigma!r}, expected true or false")
    if absolute_sigma and not has_sigma:
        raise InputError(
            "absolute_sigma: given true, and there is no sigma; give the standard deviations of y as sigma"
        )


def check_seed(seed: Any, name: str = "seed", bits: int = 64) -> int:
    """A seed that a generator takes: one of torch of 64 bits, every generator of 32.

    Raises:
        InputError: it is no whole number from 0 to 2**bits - 1.
    """
    number = whole_number(name, seed, least=0)
    if number >= 2**bits:
        raise InputError(f"{name}: given {number}, expected a whole number below 2**{bits}")
    return number


def prepare(
    function: str | Function,
    t: Any,
    y: Any,
    sigma: Any,
    init: Mapping[str, float] | None,
    parameters: Mapping[str, Any] | None,
    dtype: torch.dtype | None,
    weights: Any = None,
    mask: Any = None,
) -> tuple[Curve, Points, tuple[str, ...]]:
    """What a user gives, as a curve without a start, the points it is fitted to, and what to write on the axes.

    Arguments and errors are those of `fit`.
    """
    resolved = resolve(function)
    points, predictors = as_points(t, y, sigma, dtype, used=arguments(resolved))
    points = masked(weighed(points, weights), mask)
    of_one_length = all(column.shape == points.targets.shape for column in points.columns)
    if points.sigma is not None and points.targets.dim() == 1 and of_one_length:
        points = points.where(points.present)
    curve = Curve(function if isinstance(function, str) else resolved, parameters, predictors)
    curve.known_start(init)
    if points.batch:  # of several series, some may be beyond use
        check_shapes(points, predictors or curve.predictors)
    else:
        check_points(curve, points, predictors)
    curve.to(device=points.targets.device, dtype=points.targets.dtype)
    curve.set_params(curve.params.expand(*points.batch, -1))
    check_function(curve, points)
    labels = (*(predictors or curve.predictors), y if isinstance(y, str) else getattr(y, "name", None) or "y")
    return curve, points, tuple(map(str, labels))


def make_scheduler(
    scheduler: Callable[[Optimizer], Any] | None, optimizer: Optimizer, lr: Any = None
) -> Scheduler | None:
    """What changes the learning rate of a rule from step to step, where it is wanted.

    Raises:
        InputError: it is none, or the rule has no learning rate to change.
    """
    if scheduler is None:
        return None
    if isinstance(optimizer, LevenbergMarquardt):
        raise InputError("scheduler: LevenbergMarquardt has no learning rate to change; leave the scheduler out")
    if is_many(lr):
        raise InputError("scheduler: given many learning rates, and torch's schedulers change one; give one of both")
    try:
        made: Scheduler = scheduler(optimizer)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"scheduler: {error}") from None
    if not hasattr(made, "step"):
        raise InputError(f"scheduler: given {scheduler!r}, expected one such as torch.optim.lr_scheduler.ExponentialLR")
    return made


def check_compiled(optimizer: Optimizer, scheduler: Any, steps: int, name: str = "steps") -> None:
    """Refuse to compile the steps of a rule with a learning rate where that can do nothing.

    Args:
        optimizer: the update rule.
        scheduler: what changes its learning rate, if anything does.
        steps: how many steps are taken in a row.
        name: what that number is called.

    Raises:
        InputError: saying what to leave out.
    """
    compilable(optimizer)
    if steps < STEPS_AT_ONCE:
        raise InputError(
            f"compile: given {name} {steps}, expected at least {STEPS_AT_ONCE}: so many steps are compiled into one "
            "call"
        )
    if scheduler is not None:
        raise InputError("compile: a scheduler changes the learning rate between the compiled steps; leave one out")


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
    lr: Any = None,
    steps: int | None = None,
    optimizer: Rule | None = None,
    scheduler: Callable[[Optimizer], Any] | None = None,
    tolerance: Mapping[str, float] | None = None,
    seed: int = 2021,
    dtype: torch.dtype | None = None,
    absolute_sigma: bool = False,
    weights: Any = None,
    mask: Any = None,
    compile: bool = False,
) -> FitResult:
    """Fit a function to a series, or to many, by Levenberg-Marquardt or, with a learning rate, by the article's loop.

    The loss is such as mean((function(t, *params) - y)**2); a step of the article is params -= lr * its gradient.

    Args:
        function: a family's name, such as "gaussian"; a formula, such as "a*exp(-t/tau) + c"; an import path, such
            as "my_curves.damped"; or a callable `f(t, a, b, ...)`.
        t: independent variable, T numbers as list, array, tensor or column of a data frame; for several, a mapping
            or data frame with a column for each. Arguments of the function with the name of a column are data, the
            rest are parameters.
        y: data at t, likewise; shape `(*batch, T)` for several series; or the name of a column where t is a data frame.
        sigma: standard deviations of y; each point then weighs 1/sigma**2. A number, numbers, or a column's name.
        init: starting values by name; each a number, or one number for each series, shape `(*batch)`.
        parameters: what is demanded of them by name, such as `{"a": {"init": 1, "min": 0}, "b": {"expr": "2*a"},
            "c": {"fixed": 0}}`.
        start: where parameters without a starting value begin: `"random"` at random normal numbers, as in the article;
            `"data"` at the function's guess from the data or, without one, at the best of many random starts. Unless
            given, a function that is linear in its parameters starts at random, any other from the data.
        loss: "mse", "mae", "huber" or "cauchy"; "huber(2.5)" sets the scale of the last two.
        lr: learning rate, above 0; `"auto"` for the best fixed one of the rule where the function is linear in its
            parameters, 2 / (largest + smallest curvature) for plain descent, and otherwise 1 / largest curvature,
            found anew as it changes; by name one for each parameter, or one for each series. Unless given, "auto"; but
            1e-5, the article's, for a function that is linear in its parameters and starts at random or given values.
        steps: number of steps at most; unless given 10,000 of Levenberg-Marquardt and the article's 10 of others.
        optimizer: the update rule: LevenbergMarquardt, a class of `gd_lightning.optim` or `torch.optim`, or any
            callable that makes an optimizer from parameters and a learning rate. Unless given, LevenbergMarquardt; but
            SGD, the article's, where a learning rate or a scheduler is given.
        scheduler: changes the learning rate after each step: a class of `torch.optim.lr_scheduler`, or any callable
            that makes one from an optimizer.
        tolerance: how little has to be left for gradient descent to have converged, by the names in `Tolerance`, such
            as `{"loss": 1e-8}`. Levenberg-Marquardt heeds none: it goes on until rounding ends it.
        seed: seed of the random starting values.
        dtype: precision to compute in. Unless given, double for Levenberg-Marquardt; for other rules that of y where it
            is a floating tensor, else single, as on the command line.
        absolute_sigma: if true, sigma is used in an absolute sense and the covariance of the parameters reflects these
            absolute values. If false, only the relative magnitudes of sigma matter: the covariance is scaled so that
            the reduced chi-square is 1.
        weights: in place of sigma, what the square of each residual is multiplied with, 1/sigma**2; 0 leaves it out.
        mask: which points count, true or false, of a shape that broadcasts to that of y; the others may be anything.
        compile: whether steps are compiled by `torch.compile`, which takes some seconds and a C++ compiler, and makes
            them several times as fast: those of Levenberg-Marquardt for more than 50 series; those of a rule of
            `gd_lightning.optim` a hundred at a time, wherever so many lie between two looks for convergence.

    Returns:
        The result; of several series, parameters and all that follows from them have leading axes, and each series has
        a status of its own. A series that cannot be fitted disturbs no other: it is "unusable", its parameters are nan,
        and `messages` says why. A descent whose loss ceases to be finite ends with the status "diverged" and the last
        parameters that had a finite loss; it raises nothing.

    Raises:
        InputError: the input cannot be used; the message says which, why, and what to try.

    Example:
        >>> from gd_lightning import fit
        >>> result = fit("linear", [0, 1, 2, 3], [1, 3, 5, 7], init={"a": 0, "b": 0}, lr=0.1, steps=200)
        >>> round(result.parameters["a"], 3), round(result.parameters["b"], 3)
        (2.0, 1.0)
    """
    resolve(function)
    seed = check_seed(seed)
    check_start(start)
    check_absolute(absolute_sigma, sigma is not None or weights is not None)
    usual = LevenbergMarquardt if lr is None and scheduler is None else SGD
    rule: Rule = usual if optimizer is None else optimizer
    trial = make_optimizer(rule, torch.nn.Parameter(torch.zeros(1)), ARTICLE_LR)
    least_squares = isinstance(trial, LevenbergMarquardt)
    steps = whole_number("steps", (MOST_STEPS if least_squares else ARTICLE_STEPS) if steps is None else steps, least=1)
    if least_squares and lr is not None:
        raise InputError(f"lr: given {lr!r}, and LevenbergMarquardt takes none; leave it out, or give optimizer=SGD")
    if least_squares and dtype is None:
        dtype = torch.float64
    if compile and not least_squares:
        check_compiled(trial, scheduler, steps)
    loss_function = make_loss(loss)
    init, own = split_starts(init)
    curve, points, labels = prepare(function, t, y, sigma, init, parameters, dtype, weights, mask)
    lr = read_lr(lr, curve.names, points.batch)
    if compile and least_squares and math.prod(points.batch) <= MOST_SERIES:
        raise InputError(
            f"compile: given true, and Levenberg-Marquardt compiles the steps of more than {MOST_SERIES} series only; "
            "leave it out"
        )

    def descend(curve: Curve, points: Points, lr: Any, own: Starts) -> FitResult:
        began = set_start(curve, points, torch.Generator().manual_seed(seed), start, init)
        start_each(curve, own)
        chosen = ARTICLE_LR if least_squares else choose_lr(lr, trial, curve, points, began, loss_function)
        optimizer = make_optimizer(rule, curve.params, chosen)
        schedule = make_scheduler(scheduler, optimizer, lr)
        told = None
        descent = Descent(curve, loss_function, Tolerance.of(points.targets.dtype, tolerance), schedule)
        descent.compile = compile
        if not least_squares:
            told = guidance(curve, points, optimizer, loss_function, linear=is_linear(curve, points))
            if schedule is None:
                descent.refresh = refreshed(lr, told, optimizer, curve, points, loss_function)
        taken = 0
        while taken < steps and (seen := descent.advance(optimizer, points, steps - taken)):
            taken += len(seen)
        descent.end(optimizer, points)
        return FitResult.of(
            descent,
            points,
            seed,
            loss=loss,
            start=began,
            labels=labels,
            optimizer=type(optimizer).__name__,
            lr=None if least_squares else optimizer.param_groups[0]["lr"],
            guidance=told,
            absolute_sigma=absolute_sigma,
        )

    if not points.batch:
        check_starts(curve, own, points.batch)
        return descend(curve, points, lr, {})
    asked = Asked(least_squares, start, init, loss, steps, seed, bool(absolute_sigma), compile, labels)
    return fit_several(curve, points, lr, own, descend, asked)
