"""The members of a sweep: which learning rates, update rules or starts are compared, and what each is called."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from gd_lightning.conditioning import auto_lr, guidance
from gd_lightning.curve import Curve, initialize
from gd_lightning.errors import InputError
from gd_lightning.fitting import read_lr, whole_number
from gd_lightning.least_squares import jacobian
from gd_lightning.levenberg_marquardt import LevenbergMarquardt, minimum
from gd_lightning.losses import Loss, mae, mse
from gd_lightning.optim import ARTICLE_LR, Rule, check_lr, make_optimizer, rule_name
from gd_lightning.points import Points, as_numbers
from gd_lightning.starts import RANDOM, is_linear

__all__ = ["Members", "drawn_starts", "named_starts", "of_lrs", "of_rules", "starts_by_name"]

COUNT = 30
FROM, TO = 1e-3, 3.0  # of the largest stable lr: a thousand times slower than need be, and beyond what is stable
NEAR = 0.9  # of the largest stable lr: there the error along the steepest direction shrinks by a fifth in a step
LEAST_WAY = 1e-3  # of the largest parameter: a start nearer to the minimum has arrived

Members = tuple[list[str], list[Rule], list[Any]]


def of_lrs(curve: Curve, points: Points, lrs: Any, rule: Rule, loss_function: Loss, steps: int) -> Members:
    """Labels, rules and learning rates of a sweep of learning rates."""
    if isinstance(make_optimizer(rule, curve.params, ARTICLE_LR), LevenbergMarquardt):
        raise InputError("lrs: LevenbergMarquardt has no learning rate; expected another rule, such as SGD")
    if lrs is None:
        values = _around_the_limit(curve, points, rule, loss_function, steps)
    else:
        numbers = as_numbers("lrs", lrs, torch.float64, None)
        if numbers.dim() != 1 or not len(numbers):
            raise InputError(f"lrs: given shape {tuple(numbers.shape)}, expected a row of learning rates")
        values = numbers.tolist()
    for value in values:
        check_lr(value)
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise InputError(f"lrs: {repeated[0]:g} is given more than once; expected different ones")
    short = [f"lr={value:g}" for value in values]
    labels = short if len(set(short)) == len(short) else [f"lr={value!r}" for value in values]
    return labels, [rule] * len(values), values


def of_rules(curve: Curve, points: Points, rules: Sequence[Any], lr: Any, loss_function: Loss, steps: int) -> Members:
    """Labels, rules and learning rates of a sweep of update rules."""
    pairs = [one if isinstance(one, tuple) else (one, lr) for one in rules]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise InputError("rules: expected update rules, such as [SGD, Adam], or pairs of a rule and a learning rate")
    names, values = [], []
    for rule, given in pairs:
        given = read_lr(given, curve.names)
        trial = make_optimizer(rule, curve.params, ARTICLE_LR)
        if isinstance(trial, LevenbergMarquardt):
            given = ARTICLE_LR  # which it does not use
        elif given is None or isinstance(given, str):
            given = _suitable(curve, points, rule, loss_function, steps)
        names.append(rule_name(trial))
        values.append(given)
    counts = Counter(names)
    labels = [
        name if counts[name] == 1 or isinstance(value, Tensor) else f"{name} lr={value:g}"
        for name, value in zip(names, values, strict=True)
    ]
    if len(set(labels)) < len(labels):
        twice = next(label for label, count in Counter(labels).items() if count > 1)
        raise InputError(f"rules: {twice} is given more than once; expected different rules or learning rates")
    return labels, [rule for rule, _ in pairs], values


def _around_the_limit(curve: Curve, points: Points, rule: Rule, loss_function: Loss, steps: int) -> list[float]:
    """Learning rates to try where none are given, in three digits, which can be typed again."""
    if _scales_itself(rule):
        way = _way_to_go(curve, points, loss_function)
        low, high = 0.1 * way / steps, way
    else:
        trial = make_optimizer(rule, curve.params, ARTICLE_LR)
        smooth = mse if loss_function is mae else loss_function
        told = guidance(curve, points, trial, smooth, linear=is_linear(curve, points))
        limit = told.sgd_limit if math.isnan(told.largest_stable_lr) else told.largest_stable_lr
        low, high = FROM * limit, TO * limit
    if not 0 < low < high < math.inf:
        raise InputError("lrs: the start tells no learning rate to try; give some, such as lrs=[1e-6, 1e-5, 1e-4]")
    return [float(f"{lr:.3g}") for lr in np.geomspace(low, high, COUNT)]


def _suitable(curve: Curve, points: Points, rule: Rule, loss_function: Loss, steps: int) -> float:
    """The learning rate that suits a rule at the start: `auto_lr`, or the middle of those `_around_the_limit`.

    Not quite at the limit, though, where the best one is that of endless many steps: the steepest direction then takes
    as many as the slowest.
    """
    if _scales_itself(rule):
        lr = _way_to_go(curve, points, loss_function) * (0.1 / steps) ** 0.5
    else:
        linear = is_linear(curve, points)
        trial = make_optimizer(rule, curve.params, ARTICLE_LR)
        lr = auto_lr(curve, points, loss_function, linear, trial)
        limit = guidance(curve, points, trial, loss_function, linear=linear).largest_stable_lr
        lr = min(lr, NEAR * limit) if math.isfinite(limit) else lr
    return float(f"{lr:.3g}") if 0 < lr < math.inf else ARTICLE_LR


def _scales_itself(rule: Rule) -> bool:
    """Whether a rule's steps are about lr long, whatever the size of the gradient, as Adam's are."""
    lengths = []
    for size in (1.0, 1e3):
        theta = Parameter(torch.zeros(1))
        optimizer = make_optimizer(rule, theta, 1.0)
        theta.grad = torch.full_like(theta, size)
        optimizer.step()
        lengths.append(theta.abs().item())
    return lengths[1] < 10 * lengths[0]


def _way_to_go(curve: Curve, points: Points, loss_function: Loss) -> float:
    """By how much a parameter has to change at most on the way to the best fit."""
    start = curve.params.detach().double()
    end = minimum(curve, points, loss_function, start).params
    moved, size = ((values[curve.demands.free]).abs().max().item() for values in (end - start, end))
    return max(moved, LEAST_WAY * size)


def starts_by_name(starts: Any) -> list[Mapping[str, float]]:
    """Starts that were given by name; none where it is their number that was."""
    if isinstance(starts, Sequence) and not isinstance(starts, str) and starts:
        if all(isinstance(one, Mapping) for one in starts):
            return list(starts)
    elif not isinstance(starts, Sequence):
        whole_number("starts", starts, least=1)
        return []
    raise InputError(f"starts: given {starts!r}, expected their number, or values by name such as [{{'a': 1}}]")


def named_starts(curve: Curve, mappings: Sequence[Mapping[str, float]], init: Mapping[str, float] | None) -> Tensor:
    """Starts by name, `(K, P)`; what they leave open is as in the first."""
    first = curve.params.detach().clone()
    rows = []
    for values in mappings:
        curve.start(first, {**(init or {}), **values})
        rows.append(curve.params.detach().clone())
    return torch.stack(rows)


def drawn_starts(
    curve: Curve,
    points: Points,
    starts: Any,
    began: str,
    init: Mapping[str, float] | None,
    generator: torch.Generator,
) -> Tensor:
    """Random starts, `(K, P)`: the first as it is, the others like it, or around it."""
    first = curve.params.detach().clone()
    count = int(starts)
    if began == RANDOM:
        others = [initialize(len(curve.names), generator).to(first) for _ in range(count - 1)]
    else:
        spread = _spread(curve, points, first)
        others = [
            first + spread * torch.randn(len(curve.names), generator=generator, dtype=torch.float64).to(first)
            for _ in range(count - 1)
        ]
    rows = [first]
    for values in others:
        if began == RANDOM:
            curve.start(values, init)
        else:
            curve.set_params(curve.demands.project(values))
        rows.append(curve.params.detach().clone())
    return torch.stack(rows)


def _spread(curve: Curve, points: Points, params: Tensor) -> Tensor:
    """By how much each parameter would change the predictions as much as the data vary, `(P,)`; 0 if not free."""
    jac = jacobian(lambda values: curve.evaluate(points.t, values), params)
    varied = (points.targets - points.targets.mean()).norm()
    norms = jac.norm(dim=0)
    free = torch.zeros_like(norms, dtype=torch.bool)
    free[curve.demands.free] = True
    spread = varied / norms
    spread = torch.where(torch.isfinite(spread) & (spread > 0), spread, params.abs().clamp(min=1.0))
    return torch.where(free, spread, 0.0)
