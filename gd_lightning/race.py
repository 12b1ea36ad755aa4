"""Many descents at once: K members side by side in one tensor, each stepped as if it were alone."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from gd_lightning.convergence import DIVERGED, Tolerance
from gd_lightning.curve import Curve
from gd_lightning.descent import Descent
from gd_lightning.levenberg_marquardt import LevenbergMarquardt
from gd_lightning.losses import Loss, mse
from gd_lightning.optim import Rule, UpdateRule, make_optimizer
from gd_lightning.points import Points

__all__ = ["Course", "race"]


class SideBySide(Optimizer):
    """Steps each row of a tensor `(K, P)` by an optimizer of its own, as if it were alone.

    Args:
        params: the tensor.
        rules: K update rules, as `make_optimizer` takes them.
        lrs: K learning rates.
    """

    def __init__(self, params: Parameter, rules: Sequence[Rule], lrs: Sequence[float | Tensor]) -> None:
        super().__init__([params], {"lr": math.nan})
        self.params = params
        self.rows = [Parameter(row) for row in params.detach()]  # which share its memory
        self.optimizers = [make_optimizer(rule, row, lr) for rule, row, lr in zip(rules, self.rows, lrs, strict=True)]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step every row once."""
        assert self.params.grad is not None
        for row, gradient, optimizer in zip(self.rows, self.params.grad, self.optimizers, strict=True):
            row.grad = gradient
            optimizer.step()


def _together(params: Parameter, rules: Sequence[Rule], lrs: Sequence[float | Tensor]) -> Optimizer:
    """One optimizer for all rows: a rule of ours takes many learning rates at once; others go side by side."""
    side_by_side = SideBySide(params, rules, lrs)
    one = side_by_side.optimizers[0]
    if not isinstance(one, UpdateRule) or any(
        type(other) is not type(one) or other.constants(other.param_groups[0]) != one.constants(one.param_groups[0])
        for other in side_by_side.optimizers
    ):
        return side_by_side
    each = [torch.as_tensor(other.param_groups[0]["lr"], dtype=torch.float64) for other in side_by_side.optimizers]
    rule = make_optimizer(rules[0], params, lrs[0])
    rule.param_groups[0]["lr"] = torch.stack([lr.reshape(-1) for lr in each]).to(params.detach())
    return rule


class Course(NamedTuple):
    """How K members of a sweep went.

    Attributes:
        rmse_history: RMSE of each after so many steps, `(K, steps + 1)`, in double precision; nan from the step on that
            was undone, as its loss was not finite. A member that has nothing more to gain keeps its RMSE.
        params: the last parameters with a finite loss, `(K, P)`, in double precision.
        statuses: as in `FitResult`.
    """

    rmse_history: Tensor
    params: Tensor
    statuses: list[str]


def race(
    curve: Curve,
    points: Points,
    rules: Sequence[Rule],
    lrs: Sequence[float | Tensor],
    starts: Tensor,
    loss_function: Loss,
    steps: int,
) -> Course:
    """Descend from K starts at once, each by its own rule and learning rate; each as if it were alone.

    Levenberg-Marquardt, which steps in another way, takes its turn after the others.

    Args:
        curve: the curve; its parameters are those of the first start afterwards.
        points: one series.
        rules: K update rules.
        lrs: K learning rates; Levenberg-Marquardt's is not used.
        starts: parameters, `(K, P)`.
        loss_function: what is descended.
        steps: how many steps each takes; fewer where all have arrived.
    """
    trials = [
        make_optimizer(rule, Parameter(starts[i]), lr) for i, (rule, lr) in enumerate(zip(rules, lrs, strict=True))
    ]
    apart = [i for i, rule in enumerate(trials) if isinstance(rule, LevenbergMarquardt)]
    others = [i for i in range(len(rules)) if i not in apart]
    course = Course(
        torch.full((len(rules), steps + 1), math.nan, dtype=torch.float64),
        starts.double().clone(),
        [""] * len(rules),
    )
    dtype = curve.params.dtype
    try:
        if others:
            curve.set_params(starts[others])
            optimizer = _together(curve.params, [rules[i] for i in others], [lrs[i] for i in others])
            _fill(course, others, *_descend(curve, points, optimizer, loss_function, steps))
        for i in apart:
            curve.to(torch.float64).set_params(starts[i : i + 1])
            exact = points.to(curve.params.detach())
            optimizer = make_optimizer(rules[i], curve.params, lrs[i])
            _fill(course, [i], *_descend(curve, exact, optimizer, loss_function, steps))
    finally:
        curve.to(dtype).set_params(starts[0])
    return course


def _fill(course: Course, rows: list[int], squares: Tensor, params: Tensor, statuses: list[str]) -> None:
    # Python's power, as in `root`: torch's and NumPy's square roots differ from it in the last digit of some
    values = [[square**0.5 for square in row] for row in squares.double().T.tolist()]
    course.rmse_history[rows] = torch.tensor(values, dtype=torch.float64)
    course.params[rows] = params.double()
    for i, status in zip(rows, statuses, strict=True):
        course.statuses[i] = status


def _descend(
    curve: Curve, points: Points, optimizer: Optimizer, loss_function: Loss, steps: int
) -> tuple[Tensor, Tensor, list[str]]:
    """Mean squared errors `(steps + 1, K)`, last parameters and statuses of one descent."""
    count = len(curve.params)
    sigma = None if points.sigma is None else points.sigma.expand(count, -1)
    side = Points(points.t, points.targets.expand(count, -1), sigma)
    squares = side.targets.new_full((steps + 1, count), math.nan)
    descent = Descent(curve, loss_function, Tolerance.of(points.targets.dtype))
    is_mse = loss_function is mse and sigma is None
    for step in range(steps):
        if not descent.step(optimizer, side):
            break
        if descent.seen is None:
            now = mse(curve.evaluate(side.t, descent.params_before), side.targets)
        else:
            preds, loss = descent.seen
            now = loss if is_mse else mse(preds, side.targets)
        squares[step] = now if descent.resting is None else now.masked_fill(descent.resting, math.nan)
    descent.end(optimizer, side)
    with torch.no_grad():
        now = mse(curve(side.t), side.targets)
    lost = torch.tensor([status == DIVERGED for status in descent.statuses], device=now.device)
    squares[len(descent.rmse_history) :] = now.masked_fill(lost, math.nan)
    return squares, curve.params.detach().clone(), descent.statuses
