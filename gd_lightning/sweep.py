"""A sweep: many learning rates, starts or update rules on the same data, side by side in one descent."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from gd_lightning.conditioning import Guidance, auto_lr, guidance
from gd_lightning.convergence import DIVERGED, Tolerance
from gd_lightning.curve import Curve, initialize
from gd_lightning.descent import ROUNDING, Descent
from gd_lightning.errors import InputError
from gd_lightning.files import write_whole
from gd_lightning.fitting import check_seed, choose_lr, prepare, read_lr, whole_number
from gd_lightning.least_squares import jacobian
from gd_lightning.levenberg_marquardt import LevenbergMarquardt, Minimum, minimum
from gd_lightning.losses import Loss, mae, make_loss, mse, root
from gd_lightning.optim import ARTICLE_LR, SGD, Rule, UpdateRule, check_lr, make_rule, rule_name
from gd_lightning.points import Points, as_numbers
from gd_lightning.resolve import Function
from gd_lightning.result import by_name, plain, versions
from gd_lightning.starts import RANDOM, check_start, is_linear, set_start
from gd_lightning.words import counts, plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["STEPS", "Reachable", "SideBySide", "SweepResult", "race", "side_by_side", "sweep"]

STEPS = 1000  # fewer do not tell learning rates apart
COUNT = 30
FROM, TO = 1e-3, 3.0  # of the largest stable lr: a thousand times slower than need be, and beyond what is stable
NEAR = 0.9  # of the largest stable lr: there the error along the steepest direction shrinks by a fifth in a step
LEAST_WAY = 1e-3  # of the largest parameter: a start nearer to the minimum has arrived
SETTLED = 0.01  # an RMSE no further from its end has arrived there


class SideBySide(Optimizer):
    """Steps each row of a tensor `(K, P)` by an optimizer of its own, as if it were alone.

    Args:
        params: the tensor.
        rules: K update rules, as `make_rule` takes them.
        lrs: K learning rates.
    """

    def __init__(self, params: Parameter, rules: Sequence[Rule], lrs: Sequence[float | Tensor]) -> None:
        super().__init__([params], {"lr": math.nan})
        self.params = params
        self.rows = [Parameter(row) for row in params.detach()]  # which share its memory
        self.optimizers = [make_rule(rule, row, lr) for rule, row, lr in zip(rules, self.rows, lrs, strict=True)]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step every row once."""
        assert self.params.grad is not None
        for row, gradient, optimizer in zip(self.rows, self.params.grad, self.optimizers, strict=True):
            row.grad = gradient
            optimizer.step()


def together(params: Parameter, rules: Sequence[Rule], lrs: Sequence[float | Tensor]) -> Optimizer:
    """One optimizer for all rows: a rule of ours takes many learning rates at once; others go side by side."""
    side_by_side = SideBySide(params, rules, lrs)
    one = side_by_side.optimizers[0]
    if not isinstance(one, UpdateRule) or any(
        type(other) is not type(one) or other.constants(other.param_groups[0]) != one.constants(one.param_groups[0])
        for other in side_by_side.optimizers
    ):
        return side_by_side
    each = [torch.as_tensor(other.param_groups[0]["lr"], dtype=torch.float64) for other in side_by_side.optimizers]
    rule = make_rule(rules[0], params, lrs[0])
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
    loss_function: Loss = mse,
    steps: int = STEPS,
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
    trials = [make_rule(rule, Parameter(starts[i]), lr) for i, (rule, lr) in enumerate(zip(rules, lrs, strict=True))]
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
            optimizer = together(curve.params, [rules[i] for i in others], [lrs[i] for i in others])
            _fill(course, others, *_descend(curve, points, optimizer, loss_function, steps))
        for i in apart:
            curve.to(torch.float64).set_params(starts[i : i + 1])
            exact = points.to(curve.params.detach())
            optimizer = make_rule(rules[i], curve.params, lrs[i])
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


class Reachable(NamedTuple):
    """The best fit that Levenberg-Marquardt finds.

    Attributes:
        rmse: its RMSE, in double precision; nan where it found none.
        steps: how many steps it took.
        from_start: whether it arrives there from the first start; otherwise it was from the end of the best member.
    """

    rmse: float
    steps: int
    from_start: bool


@dataclass(frozen=True, repr=False, eq=False)
class SweepResult:
    """What a sweep of K members found.

    Attributes:
        function: the function's name, or its formula.
        kind: what differs from member to member: "lrs", "starts" or "rules".
        labels: a name for each, such as "lr=1e-05".
        rules: name of each one's update rule.
        lrs: learning rate of each; none of Levenberg-Marquardt.
        initial_parameters: starting values of each, by name.
        parameters: values of each at the end, by name; of a member that diverged the last with a finite loss.
        rmse_history: RMSE of each after so many steps, shape `(K, steps + 1)`, in units of y and double precision. It
            is nan from the step on that diverged; a member that has nothing more to gain keeps its last.
        status: of each, as in `FitResult`; a member does not stop where it has converged.
        steps: how many steps were allowed.
        guidance: what the curvature at the first start says of the learning rate; none for several rules.
        loss: name of the loss that was descended.
        seed: seed of the random starts.
        start: how the first start was found.
        curve: the curve, at the first start.
        points: what was fitted.
    """

    function: str
    kind: str
    labels: list[str]
    rules: list[str]
    lrs: list[Any]
    initial_parameters: list[dict[str, float]]
    parameters: list[dict[str, float]]
    rmse_history: Tensor
    status: list[str]
    steps: int
    guidance: Guidance | None
    loss: str
    seed: int | None
    start: str
    curve: Curve
    points: Points

    @property
    def rmse(self) -> list[float]:
        """RMSE of each after the last step; nan where it diverged."""
        values: list[float] = self.rmse_history[:, -1].tolist()
        return values

    @property
    def best(self) -> int | None:
        """Which member has the lowest RMSE after the last step; none where all diverged."""
        finite = [i for i, rmse in enumerate(self.rmse) if math.isfinite(rmse)]
        return min(finite, key=lambda i: self.rmse[i], default=None)

    @property
    def limit(self) -> float | None:
        """The largest stable learning rate; none where none is known."""
        told = math.nan if self.guidance is None else self.guidance.largest_stable_lr
        return told if math.isfinite(told) else None

    @property
    def limit_name(self) -> str:
        """What the limit is: it holds everywhere, or near the first start."""
        return "largest stable lr" + ("" if self.guidance is None or self.guidance.exact else " near the start")

    @property
    def rose(self) -> list[bool]:
        """Whether the RMSE of each is larger at the end than at the start, and finite."""
        first, last = self.rmse_history[:, 0], self.rmse_history[:, -1]
        rose: list[bool] = (last > first * (1 + ROUNDING)).tolist()
        return rose

    @property
    def settled(self) -> list[int | None]:
        """After how many steps each was within 1% of its last RMSE for good; none where it diverged."""
        last = self.rmse_history[:, -1:]
        away = (self.rmse_history - last).abs() > SETTLED * last
        counts = torch.arange(1, away.shape[1] + 1) * away
        return [
            int(count.max()) if math.isfinite(rmse) else None for count, rmse in zip(counts, self.rmse, strict=True)
        ]

    @cached_property
    def reachable(self) -> Reachable:
        """How low the RMSE could be."""
        loss_function = make_loss(self.loss)
        found = minimum(self.curve, self.points, loss_function, self._params(self.initial_parameters[0]))
        took = found.steps
        from_start = _loss(found) < math.inf and found.verdicts[0] is not None
        if self.best is not None:
            other = minimum(self.curve, self.points, loss_function, self._params(self.parameters[self.best]))
            if not _loss(found) <= _loss(other) * (1 + 1e-6):
                found, took, from_start = other, other.steps, False
        if not math.isfinite(_loss(found)):
            return Reachable(math.nan, took, False)
        exact = self.points.double()
        with torch.no_grad():
            preds = self.curve.evaluate(exact.t, found.params)
        return Reachable(root(mse(preds, exact.targets)), took, from_start)

    def _params(self, values: Mapping[str, float]) -> Tensor:
        return torch.tensor([values[name] for name in self.curve.names], dtype=torch.float64)

    def table(self) -> list[dict[str, Any]]:
        """A row for each member: label, rule, lr, status, RMSE at both ends, when it settled, start and end."""
        rows = zip(
            self.labels,
            self.rules,
            self.lrs,
            self.status,
            self.rose,
            self.rmse_history[:, 0].tolist(),
            self.rmse,
            self.settled,
            self.initial_parameters,
            self.parameters,
            strict=True,
        )
        names = (
            *("label", "optimizer", "lr", "status", "rose", "first_rmse", "rmse", "settled_at"),
            *("initial_parameters", "parameters"),
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def plot(self) -> "Figure":
        """RMSE against the step, and after the last step against the learning rate, or for each start or rule."""
        from gd_lightning.plots import sweep_figure

        return sweep_figure(
            self.labels,
            self.rmse_history,
            lrs=self.lrs if self.kind == "lrs" else None,
            limit=None if self.limit is None else (self.limit_name, self.limit),
            reachable=self.reachable.rmse,
            title=self.title,
        )

    @property
    def title(self) -> str:
        """What was compared, in one line."""
        what = {"lrs": "learning rate", "starts": "start", "rules": "update rule"}[self.kind]
        rules = set(self.rules)
        by = "" if len(rules) > 1 else f", {self.rules[0]}"
        return f"{self.curve.equation}\n{plural(len(self.labels), what)}{by}, {self.steps:,} steps"

    def to_dict(self) -> dict[str, Any]:
        """Plain text and numbers, as they stand in `sweep.json`; what is not finite is none."""
        found = self.reachable
        members = [
            {**row, "rmse_history": history}
            for row, history in zip(self.table(), self.rmse_history.tolist(), strict=True)
        ]
        return {
            "function": self.function,
            "equation": self.curve.equation,
            "kind": self.kind,
            "steps": self.steps,
            "loss": self.loss,
            "best": None if self.best is None else self.labels[self.best],
            "limit": self.limit,
            "reachable": plain(found._asdict()),
            "guidance": None if self.guidance is None else self.guidance.to_dict(),
            "start": self.start,
            "seed": self.seed,
            "data": {"points": int(self.points.present.sum())},
            "members": [plain(member) for member in members],
            "versions": versions(),
        }

    def write_json(self, path: Path) -> None:
        """Write `to_dict()` to a file, whole or not at all."""
        write_whole(path, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")

    def __repr__(self) -> str:
        ended = counts(self.status)
        lowest = "" if self.best is None else f"; lowest RMSE {self.rmse[self.best]:.6g} with {self.labels[self.best]}"
        return f"SweepResult({self.function}: {len(self.labels)} {self.kind}, {self.steps} steps, {ended}{lowest})"


def _loss(found: Minimum) -> float:
    """Where Levenberg-Marquardt came to; infinite where that is nowhere."""
    loss = found.loss.item()
    return loss if math.isfinite(loss) else math.inf


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
    trial = make_rule(optimizer, curve.params, ARTICLE_LR)
    mappings = _mappings(starts) if kind == "starts" else []
    began = set_start(curve, points, generator, start, {**(init or {}), **mappings[0]} if mappings else init)
    first = curve.params.detach().clone()
    told = None
    if kind == "lrs":
        labels, each_rule, each_lr = _of_lrs(curve, points, lrs, optimizer, loss_function, steps)
        begin = first.expand(len(labels), -1)
    elif kind == "rules":
        labels, each_rule, each_lr = _of_rules(curve, points, rules or [], lr, loss_function, steps)
        begin = first.expand(len(labels), -1)
    else:
        if isinstance(trial, LevenbergMarquardt) and lr is not None:
            raise InputError(f"lr: given {lr!r}, and LevenbergMarquardt takes none; leave it out, or give another rule")
        chosen = choose_lr(lr, trial, curve, points, began, loss_function)
        begin = _given(curve, mappings, init) if mappings else _drawn(curve, points, starts, began, init, generator)
        labels, each_rule, each_lr = (
            [f"start={i + 1}" for i in range(len(begin))],
            [optimizer] * len(begin),
            [chosen] * len(begin),
        )
    curve.start(first)
    optimizers = [make_rule(rule, curve.params, value) for rule, value in zip(each_rule, each_lr, strict=True)]
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


Members = tuple[list[str], list[Rule], list[Any]]


def _of_lrs(curve: Curve, points: Points, lrs: Any, rule: Rule, loss_function: Loss, steps: int) -> Members:
    """Labels, rules and learning rates of a sweep of learning rates."""
    if isinstance(make_rule(rule, curve.params, ARTICLE_LR), LevenbergMarquardt):
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


def _of_rules(curve: Curve, points: Points, rules: Sequence[Any], lr: Any, loss_function: Loss, steps: int) -> Members:
    """Labels, rules and learning rates of a sweep of update rules."""
    pairs = [one if isinstance(one, tuple) else (one, lr) for one in rules]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise InputError("rules: expected update rules, such as [SGD, Adam], or pairs of a rule and a learning rate")
    names, values = [], []
    for rule, given in pairs:
        given = read_lr(given, curve.names)
        trial = make_rule(rule, curve.params, ARTICLE_LR)
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
        trial = make_rule(rule, curve.params, ARTICLE_LR)
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
        trial = make_rule(rule, curve.params, ARTICLE_LR)
        lr = auto_lr(curve, points, loss_function, linear, trial)
        limit = guidance(curve, points, trial, loss_function, linear=linear).largest_stable_lr
        lr = min(lr, NEAR * limit) if math.isfinite(limit) else lr
    return float(f"{lr:.3g}") if 0 < lr < math.inf else ARTICLE_LR


def _scales_itself(rule: Rule) -> bool:
    """Whether a rule's steps are about lr long, whatever the size of the gradient, as Adam's are."""
    lengths = []
    for size in (1.0, 1e3):
        theta = Parameter(torch.zeros(1))
        optimizer = make_rule(rule, theta, 1.0)
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


def _mappings(starts: Any) -> list[Mapping[str, float]]:
    """Starts that were given by name; none where it is their number that was."""
    if isinstance(starts, Sequence) and not isinstance(starts, str) and starts:
        if all(isinstance(one, Mapping) for one in starts):
            return list(starts)
    elif not isinstance(starts, Sequence):
        whole_number("starts", starts, least=1)
        return []
    raise InputError(f"starts: given {starts!r}, expected their number, or values by name such as [{{'a': 1}}]")


def _given(curve: Curve, mappings: Sequence[Mapping[str, float]], init: Mapping[str, float] | None) -> Tensor:
    """Starts by name, `(K, P)`; what they leave open is as in the first."""
    first = curve.params.detach().clone()
    rows = []
    for values in mappings:
        curve.start(first, {**(init or {}), **values})
        rows.append(curve.params.detach().clone())
    return torch.stack(rows)


def _drawn(
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
