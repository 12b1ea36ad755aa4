"""A sweep: many learning rates, starts or update rules on the same data, side by side in one descent."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gd_lightning.conditioning import guidance
from gd_lightning.curve import Curve
from gd_lightning.errors import InputError
from gd_lightning.fitting import check_seed, choose_lr, prepare, read_lr, whole_number
from gd_lightning.levenberg_marquardt import LevenbergMarquardt
from gd_lightning.losses import make_loss
from gd_lightning.optim import ARTICLE_LR, SGD, Rule, make_optimizer, rule_name
from gd_lightning.points import Points
from gd_lightning.race import race
from gd_lightning.resolve import Function
from gd_lightning.result import by_name, plain
from gd_lightning.starts import check_start, is_linear, set_start
from gd_lightning.sweep_members import drawn_starts, named_starts, of_lrs, of_rules, starts_by_name
from gd_lightning.sweep_result import SweepResult

__all__ = ["STEPS", "side_by_side", "sweep"]

STEPS = 1000  # fewer do not tell learning rates apart


def sweep(
    function: str | Function,
    t: Any,
    y: Any,
    *,
    lrs: Any = None,
    starts: int | Sequence[Mapping[str, float]] | None = None,
    rules: Sequence[Any] | None = None,
    sigma: Any = None,
    init: Mapping[str, float] | None = None,
    parameters: Mapping[str, Any] | None = None,
    start: str | None = None,
    loss: str = "mse",
    lr: Any = None,
    steps: int = STEPS,
    optimizer: Rule = SGD,
    seed: int = 2021,
    dtype: torch.dtype | None = None,
) -> SweepResult:
    """Fit a function to one series with many learning rates, from many starts, or by many update rules at once.

    Members stand side by side on a leading axis, `params (K, P)`, and each descends as `fit` would let it descend
    alone, but does not stop where it has converged. Thirty learning rates of a rule of ours cost about what two fits
    do; other optimizers each take their own step.

    Give one of `lrs`, `starts` and `rules`, or none for learning rates around the limit of the rule.

    Args:
        function: as in `fit`, as are t, y, sigma, init, parameters, start, loss, seed and dtype; y is one series.
        t: independent variable.
        y: data.
        lrs: learning rates. Unless given, 30 on a logarithmic scale from a thousandth of the largest stable one to
            three times it; of a rule whose steps are about lr long, such as Adam, from a tenth of the way to the best
            fit over the number of steps, which is too short to arrive, to the whole way in one step.
        starts: how many starts, or values by name for each. The first of a number is that of `fit`; the others are
            drawn like it where it is random, and otherwise around it: each free parameter apart by a normal number
            times what changes the predictions by as much as the data vary.
        rules: update rules, or pairs of a rule and a learning rate.
        sigma: standard deviations of y.
        init: starting values by name.
        parameters: what is demanded of them by name.
        start: "random" or "data".
        loss: "mse", "mae", "huber" or "cauchy".
        lr: learning rate of all starts or rules. Unless given, or "auto", each rule has the one that suits it at the
            start; starts have that of `fit`.
        steps: number of steps.
        optimizer: the update rule of learning rates and starts.
        seed: seed of random starts.
        dtype: precision.

    Raises:
        InputError: the input cannot be used; the message says which, why, and what to try.

    Example:
        >>> found = sweep("linear", [0, 1, 2, 3], [1, 3, 5, 7], lrs=[0.01, 0.1, 1], init={"a": 0, "b": 0})
        >>> found.labels[found.best], found.status
        ('lr=0.1', ['step limit', 'converged', 'diverged'])
    """
    seed = check_seed(seed)
    check_start(start)
    steps = whole_number("steps", steps, least=1)
    make_loss(loss)
    curve, points, _ = prepare(function, t, y, sigma, init, parameters, dtype)
    generator = torch.Generator().manual_seed(seed)
    return side_by_side(
        curve,
        points,
        generator,
        lrs=lrs,
        starts=starts,
        rules=rules,
        init=init,
        start=start,
        loss=loss,
        lr=lr,
        steps=steps,
        optimizer=optimizer,
        seed=seed,
    )


def side_by_side(
    curve: Curve,
    points: Points,
    generator: torch.Generator,
    *,
    lrs: Any = None,
    starts: int | Sequence[Mapping[str, float]] | None = None,
    rules: Sequence[Any] | None = None,
    init: Mapping[str, float] | None = None,
    start: str | None = None,
    loss: str = "mse",
    lr: Any = None,
    steps: int = STEPS,
    optimizer: Rule = SGD,
    seed: int | None = None,
) -> SweepResult:
    """The sweep of a curve over points of its precision; random starts come from a generator.

    Other arguments and errors are those of `sweep`.
    """
    given = [name for name, value in (("lrs", lrs), ("starts", starts), ("rules", rules)) if value is not None]
    if len(given) > 1:
        raise InputError(f"sweep: given {' and '.join(given)}, expected one of lrs, starts and rules")
    kind = given[0] if given else "lrs"
    if points.batch:
        raise InputError(
            f"sweep: given {math.prod(points.batch)} series side by side, expected one; choose one of them"
        )
    if kind == "lrs" and lr is not None:
        raise InputError(f"lr: given {lr!r} to a sweep of learning rates; give lrs, such as lrs=[1e-6, 1e-5, 1e-4]")
    loss_function = make_loss(loss)
    lr = read_lr(lr, curve.names)
    trial = make_optimizer(optimizer, curve.params, ARTICLE_LR)
    mappings = starts_by_name(starts) if kind == "starts" else []
    began = set_start(curve, points, generator, start, {**(init or {}), **mappings[0]} if mappings else init)
    first = curve.params.detach().clone()
    told = None
    if kind == "lrs":
        labels, each_rule, each_lr = of_lrs(curve, points, lrs, optimizer, loss_function, steps)
        begin = first.expand(len(labels), -1)
    elif kind == "rules":
        labels, each_rule, each_lr = of_rules(curve, points, rules or [], lr, loss_function, steps)
        begin = first.expand(len(labels), -1)
    else:
        if isinstance(trial, LevenbergMarquardt) and lr is not None:
            raise InputError(f"lr: given {lr!r}, and LevenbergMarquardt takes none; leave it out, or give another rule")
        chosen = choose_lr(lr, trial, curve, points, began, loss_function)
        if mappings:
            begin = named_starts(curve, mappings, init)
        else:
            begin = drawn_starts(curve, points, starts, began, init, generator)
        labels, each_rule, each_lr = (
            [f"start={i + 1}" for i in range(len(begin))],
            [optimizer] * len(begin),
            [chosen] * len(begin),
        )
    curve.start(first)
    optimizers = [make_optimizer(rule, curve.params, value) for rule, value in zip(each_rule, each_lr, strict=True)]
    if kind != "rules" and not isinstance(optimizers[0], LevenbergMarquardt):
        told = guidance(curve, points, optimizers[0], loss_function, linear=is_linear(curve, points))
    course = race(curve, points, each_rule, each_lr, begin, loss_function, steps)
    return SweepResult(
        function=curve.function_name,
        kind=kind,
        labels=labels,
        rules=[rule_name(rule) for rule in optimizers],
        lrs=[
            None if isinstance(rule, LevenbergMarquardt) else plain(rule.param_groups[0]["lr"]) for rule in optimizers
        ],
        initial_parameters=[by_name(curve, row) for row in begin],
        parameters=[by_name(curve, row) for row in course.params],
        rmse_history=course.rmse_history,
        status=course.statuses,
        steps=steps,
        guidance=told,
        loss=loss,
        seed=seed,
        start=began,
        curve=curve,
        points=points,
    )
