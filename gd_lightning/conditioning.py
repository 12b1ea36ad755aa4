"""How steep the loss is, what learning rates that allows, and how long a descent then takes.

Near a minimum, and for a function that is linear in its parameters everywhere, each step multiplies the error along a
direction by a factor that depends on lr times the curvature in that direction (Nocedal and Wright, 2006, chapter 3;
Polyak, 1964, with momentum).
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from gd_lightning.curve import Curve
from gd_lightning.losses import Loss, mae, mse
from gd_lightning.optim import ARTICLE_LR, growth_of, is_many, rule_name
from gd_lightning.points import Points
from gd_lightning.residuals import Residuals

__all__ = ["AUTO", "Guidance", "Sample", "auto_lr", "curvatures", "guidance", "sampled_lr"]

AUTO = "auto"
ROUNDING = 1e-12  # a factor no further from 1 is 1
SLOW = 1e-7  # factors nearer to 1 have lost too many digits to tell their distance from it

Growth = Callable[[Tensor], Tensor]


class Sample(NamedTuple):
    """How points stand for more of them that are never at hand together.

    Attributes:
        seen: how many points are at hand.
        of: how many there are.
        minibatches: whether a step is on some of them, and not on all.
    """

    seen: int
    of: int
    minibatches: bool


@dataclass(frozen=True)
class Guidance:
    """What the curvature of the loss says of a learning rate; numbers that cannot be told are NaN.

    Several series descend with one learning rate: of their curvatures the largest of all and the smallest of all count.

    Attributes:
        largest_curvature: largest eigenvalue of the curvature over the free parameters.
        smallest_curvature: smallest; 0 where some combination of parameters leaves the predictions as they are.
        condition_number: their quotient; infinite where the smallest is 0.
        largest_stable_lr: errors shrink at each lr below it, for this rule.
        best_lr: the fixed lr at which the slowest error shrinks fastest, for this rule; those that cannot shrink, as
            the curvature along them is 0, are left out.
        sgd_limit: 2 / largest curvature, below which plain gradient descent is stable, for comparison.
        lr: the optimizer's; NaN where it has many.
        growth: the largest factor by which a step at that lr multiplies an error, in the long run.
        steps_per_e: steps in which the slowest error shrinks by the factor e; infinite where it does not.
        exact: whether this holds everywhere, as for the mse of a function that is linear in its parameters; otherwise
            it holds near the present parameters, and for small residuals.
        rule: name of the update rule.
        has_curvature: whether the loss has any: mae has none.
        series: number of series.
        steepest: which of them has the largest curvature, from 0, counted through all leading axes; none if unknown.
        flattest: likewise the smallest.
        sampled: the number of points this is from, where they are a sample of those that are fitted; none where all.
    """

    largest_curvature: float
    smallest_curvature: float
    condition_number: float
    largest_stable_lr: float
    best_lr: float
    sgd_limit: float
    lr: float
    growth: float
    steps_per_e: float
    exact: bool
    rule: str
    has_curvature: bool = True
    series: int = 1
    steepest: int | None = None
    flattest: int | None = None
    sampled: int | None = None

    def sentences(self) -> list[str]:
        """The same in one to five short lines."""
        if not self.has_curvature:
            return [
                "The mean absolute error has no curvature, from which a learning rate could be told.",
                "At a fixed lr its steps do not become smaller near the minimum.",
            ]
        if not self.largest_curvature > 0:
            flat = self.largest_curvature == 0
            why = (
                "no parameter changes the predictions"
                if flat
                else "derivatives or their squares are not finite numbers"
            )
            return [f"The curvature tells no learning rate here: {why}."]
        lines = [self._curvature(), self._rates()]
        if not math.isnan(self.growth):
            lines.append(self._pace())
        if not self.exact:
            lines.append("These figures are local: they hold near the present parameters.")
        if self.sampled is not None:
            lines.append(f"These figures are from a sample of {self.sampled:,} points; lr: auto leaves room for that.")
        return lines

    def _curvature(self) -> str:
        largest, smallest = _short(self.largest_curvature), _short(self.smallest_curvature)
        if self.series > 1 and self.steepest is not None and self.flattest is not None:
            start = f"Of {self.series:,} series, largest curvature {largest} (series {self.steepest + 1})"
            smallest += f" (series {self.flattest + 1})"
        else:
            start = f"Largest curvature {largest}"
        if self.smallest_curvature == 0:
            return f"{start}, smallest {smallest}: some combination of parameters does not change the predictions."
        return f"{start}, smallest {smallest}: condition number {_short(self.condition_number)}."

    def _rates(self) -> str:
        if math.isfinite(self.largest_stable_lr):
            limit = f"Largest stable lr {_short(self.largest_stable_lr)} ({self._of_what()})"
            return f"{limit}, best fixed lr {_short(self.best_lr)}."
        if math.isinf(self.largest_stable_lr):
            return f"{self.rule} is stable at any lr."
        return (
            f"What lr {self.rule} can stand, the curvature does not tell; "
            f"plain gradient descent less than {_short(self.sgd_limit)} (2 / largest curvature)."
        )

    def _pace(self) -> str:
        at = "At these lr" if math.isnan(self.lr) else f"At lr {_short(self.lr)}"
        if self._grows:
            return f"{at} the error grows by a factor of {_factor(self.growth)} a step."
        if self.smallest_curvature == 0 or math.isinf(self.steps_per_e):
            return f"{at} the error along the slowest direction does not shrink."
        return f"{at} the slowest direction needs about {_count(self.steps_per_e)} steps per factor e."

    @property
    def _grows(self) -> bool:
        return self.growth > 1 + ROUNDING

    def _of_what(self) -> str:
        return f"{_short(self.largest_stable_lr * self.largest_curvature)} / largest curvature"

    def warning(self, auto: str = 'lr="auto"') -> str | None:
        """One line if the learning rate is too large; none if all is well, or nothing is known.

        Args:
            auto: how the learning rate that is found is asked for, where this is read.
        """
        if not self._grows:
            return None
        then = "so that the loss will grow" if self.exact and self.sampled is None else "so that the loss may grow"
        if math.isnan(self.lr):
            factor = _factor(self.growth)
            return f"lr: some are too large: a step multiplies an error by {factor}, {then}; use smaller ones"
        limit = _short(self.largest_stable_lr)
        if self.lr <= float(limit):  # which was rounded up
            limit = f"{self.largest_stable_lr:.8g}"
        return (
            f"lr={self.lr:g} is above the largest stable lr {limit} ({self._of_what()}), {then}; "
            f"use at most that, or {auto}"
        )

    def to_dict(self) -> dict[str, Any]:
        """All attributes by name, as JSON takes them: a number that is not finite is none."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def _short(value: float) -> str:
    return f"{value:.3g}"


def _factor(growth: float) -> str:
    return _short(growth) if growth >= 1.01 else f"1 + {growth - 1:.2g}"


def _count(steps: float) -> str:
    if steps < 10:
        return f"{steps:.2g}"
    return f"{float(_short(steps)):,.0f}" if steps < 1e12 else _short(steps)


def _root_of_curvature(curve: Curve, points: Points, loss_function: Loss) -> Tensor:
    """The matrix A, `(*batch, T, F)`, whose A'A is the Gauss-Newton curvature over the F free parameters."""
    problem = Residuals(curve, points, loss_function)
    r, root = problem.linearize(problem.theta)
    with np.errstate(all="ignore"):  # what is not finite is looked for
        if problem.robust:
            root = root * problem.roots_of_weights(r)[..., None]
        root = root * np.sqrt(2 / problem.points_each)[:, None, None]
    return torch.from_numpy(root).reshape(*points.batch, *root.shape[1:])


def _eigenvalues(root: Tensor) -> Tensor:
    """Eigenvalues of A'A from A `(*batch, T, F)`, as squared singular values: `(*batch, F)`, the largest first.

    The smallest is the largest of the inverse of R in A = QR. Unlike that of A it keeps its digits where the columns
    are of very different size, as those of a polynomial. It is 0 where columns depend on one another, NaN where A is
    not finite.
    """
    count, free = root.shape[-2:]
    finite = torch.isfinite(root).all(dim=-1).all(dim=-1)
    root = torch.where(finite[..., None, None], root, 0.0)
    if count < free:
        root = torch.cat([root, root.new_zeros(*root.shape[:-2], free - count, free)], dim=-2)
    size = root.abs().amax(dim=(-2, -1), keepdim=True)  # whose square may overflow
    size = torch.where(size > 0, size, 1.0)
    r = torch.linalg.qr(root / size, mode="r").R
    norms = r.norm(dim=-2)
    norms = torch.where(norms > 0, norms, 1.0)
    noise = torch.finfo(r.dtype).eps * max(count, free)
    deficient = torch.linalg.svdvals(r / norms.unsqueeze(-2))[..., -1:] <= noise
    identity = torch.eye(free, dtype=r.dtype, device=r.device)
    regular = torch.where(deficient.unsqueeze(-1), identity, r / norms.unsqueeze(-2))
    inverse = torch.linalg.solve_triangular(regular, identity.expand_as(regular), upper=True) / norms.unsqueeze(-1)
    smallest = torch.where(deficient, 0.0, 1 / torch.linalg.svdvals(inverse)[..., :1])
    singular = torch.linalg.svdvals(r)
    singular = torch.where(deficient & (singular <= noise * singular[..., :1]), 0.0, singular)
    singular = torch.cat([torch.maximum(singular[..., :-1], smallest), smallest], dim=-1)
    values = (singular * size.squeeze(-1)) ** 2
    return torch.where(finite.unsqueeze(-1) & torch.isfinite(values[..., :1]), values, math.nan)


def curvatures(curve: Curve, points: Points, loss_function: Loss = mse) -> Tensor:
    """Eigenvalues of the Gauss-Newton curvature of the loss, 2/n * J'WJ, at the present parameters.

    J holds the derivatives of the residuals, in units of sigma, by the free parameters, W the `weights` of the loss.
    For the mse of a function that is linear in its parameters this is the Hessian; for others it holds where residuals
    are small. Of huber and cauchy it is that of the weighted mse that lies above the loss and touches it here (Huber,
    1981, chapter 7), which their own curvature does not exceed.

    Args:
        curve: the function with its parameters.
        points: what it is fitted to.
        loss_function: what is descended.

    Returns:
        Shape `(*batch, F)` for F free parameters, the largest first, in double precision; NaN for a series whose
        derivatives are not finite, and for mae, which has none.
    """
    if loss_function is mae:
        return points.targets.new_full((*points.batch, len(curve.demands.free)), math.nan, dtype=torch.float64)
    return _eigenvalues(_root_of_curvature(curve, points, loss_function))


def guidance(
    curve: Curve,
    points: Points,
    optimizer: Optimizer,
    loss_function: Loss = mse,
    *,
    linear: bool,
    sample: Sample | None = None,
) -> Guidance:
    """What the curvature at the present parameters says of an optimizer's learning rate.

    Args:
        curve: the function with its parameters.
        points: what it is fitted to.
        optimizer: the update rule with its learning rate.
        loss_function: what is descended.
        linear: whether the function is linear in its free parameters.
        sample: what the points stand for, where there are more of them.
    """
    growth = growth_of(optimizer)
    each = curvatures(curve, points, loss_function).reshape(-1, len(curve.demands.free))
    given = optimizer.param_groups[0]["lr"]
    if is_many(given):
        lr, x = math.nan, torch.full_like(each, math.nan)
        if loss_function is not mae:  # with a diagonal D of them the error follows DA'A, similar to DA'AD by roots of D
            diagonal = given.to(each).expand(*points.batch, len(curve.names))[..., curve.demands.free]
            root = _root_of_curvature(curve, points, loss_function) * diagonal.sqrt().unsqueeze(-2)
            x = _eigenvalues(root).reshape(each.shape)
    else:
        lr = float(given)
        x = lr * each
    largest, smallest, least = _extremes(each)
    limit = math.nan if growth is None else _limit(growth)
    known = largest > 0
    x = x[torch.isfinite(x).all(dim=-1)]
    factor = growth(x).max().item() if growth is not None and known and len(x) else math.nan
    rate = _rate(growth, x).min().item() if growth is not None and not math.isnan(factor) else math.nan
    return Guidance(
        largest_curvature=largest,
        smallest_curvature=smallest,
        condition_number=largest / smallest if smallest > 0 else (math.inf if known else math.nan),
        largest_stable_lr=limit / largest if known else math.nan,
        best_lr=_best_lr(growth, limit, largest, least) if growth is not None and known else math.nan,
        sgd_limit=2 / largest if known else math.nan,
        lr=lr,
        growth=factor,
        steps_per_e=math.nan if math.isnan(rate) else (1 / rate if rate > 0 else math.inf),
        exact=linear and loss_function is mse,
        rule=rule_name(optimizer),
        has_curvature=loss_function is not mae,
        series=len(each),
        steepest=int(each[:, 0].nan_to_num(-1.0).argmax()) if known else None,
        flattest=int(each[:, -1].nan_to_num(math.inf).argmin()) if known else None,
        sampled=None if sample is None or sample.seen == sample.of else sample.seen,
    )


def auto_lr(curve: Curve, points: Points, loss_function: Loss, linear: bool, optimizer: Optimizer) -> float:
    """The learning rate that suits the present parameters.

    For the mse of a function that is linear in its parameters it is the best fixed one of the rule: of plain gradient
    descent 2 / (largest + smallest curvature). Otherwise it is 1 / largest curvature: at the limit itself, which is
    twice that, the least rise of the curvature would let the loss grow. The steepest series counts. For mae, which has
    no curvature, it is that of the mse; where no curvature can be told it is the article's 1e-5.

    Args:
        curve: the function with its parameters.
        points: what it is fitted to.
        loss_function: what is descended.
        linear: whether the function is linear in its free parameters.
        optimizer: the update rule.
    """
    exact = linear and loss_function is mse
    each = curvatures(curve, points, mse if loss_function is mae else loss_function)
    largest, _, least = _extremes(each.reshape(-1, each.shape[-1]))
    lr = math.nan
    if largest > 0 and exact and (growth := growth_of(optimizer)) is not None:
        lr = _best_lr(growth, _limit(growth), largest, least)
    if largest > 0 and not 0 < lr < math.inf:
        lr = 1 / largest
    return lr if 0 < lr < math.inf else ARTICLE_LR


def sampled_lr(curve: Curve, points: Points, loss_function: Loss, optimizer: Optimizer, minibatches: bool) -> float:
    """The learning rate where not all points are at hand, or not all are in each step.

    For steps on all points it is 1 / largest curvature of the sample, as where the function is not linear: half of the
    limit is left for what a sample of n misses, which is of order 1/sqrt(n). A minibatch may hold only the steepest
    points, as where the file is in the order of t: there it is 1 / curvature of the steepest single point, since the
    mean over a minibatch is no steeper than the steepest of it (Needell, Srebro and Ward, 2014); and with a velocity
    1 - beta times as much, since in the long run that makes a step 1 / (1 - beta) times as long.

    Args:
        curve: the function with its parameters.
        points: the sample.
        loss_function: what is descended.
        optimizer: the update rule.
        minibatches: whether a step is on some of the points, and not on all.
    """
    bends = mse if loss_function is mae else loss_function
    if not minibatches:
        return auto_lr(curve, points, bends, False, optimizer)
    rows = _root_of_curvature(curve, points, bends)
    steepest = rows.shape[-2] * rows.square().sum(dim=-1)
    largest = steepest[torch.isfinite(steepest)].max().item() if torch.isfinite(steepest).any() else math.nan
    longer, growth = 1.0, growth_of(optimizer)
    if growth is not None:
        little = torch.tensor(SLOW, dtype=torch.float64)
        longer = max(_rate(growth, little).item() / SLOW, 1.0)
    lr = 1 / (longer * largest) if largest > 0 else math.nan
    return lr if 0 < lr < math.inf else ARTICLE_LR


def _extremes(each: Tensor) -> tuple[float, float, float]:
    """Of the curvatures `(S, F)` the largest, the smallest and the smallest above 0; NaN where there is none."""
    finite = each[torch.isfinite(each)]
    positive = finite[finite > 0]
    if not len(finite):
        return math.nan, math.nan, math.nan
    least = positive.min().item() if len(positive) else math.nan
    return finite.max().item(), finite.min().item(), least


def _rate(growth: Growth, x: Tensor) -> Tensor:
    """-log(growth(x)): what fraction of an error goes in a step, with its digits also where it is next to none.

    Towards x = 0 it is proportional to x, so that a larger x tells it.
    """
    larger = x
    for _ in range(300):  # as many as lead from the smallest number to SLOW
        slow = (larger > 0) & (larger < SLOW) & (1 - growth(larger) < SLOW)
        if not slow.any():
            break
        larger = torch.where(slow, 16 * larger, larger)
    return torch.where(x > 0, -growth(larger).log() * (x / torch.where(x > 0, larger, 1.0)), 0.0)


def _grid(low: float, high: float) -> Tensor:
    return torch.linspace(low, high, 1001, dtype=torch.float64)


def _limit(growth: Growth) -> float:
    """The x up to which growth(x) is below 1, by search on ever finer grids; infinite if it is so everywhere."""
    x = torch.logspace(-6, 6, 1001, dtype=torch.float64)
    for _ in range(8):
        grows = ~(growth(x) < 1)
        if not grows.any():
            return math.inf
        first = int(grows.int().argmax())
        if math.isnan(growth(x)[first].item()):
            return math.nan
        if first == 0:
            return 0.0
        x = _grid(x[first - 1].item(), x[first].item())
    return x[-1].item()


def _best_lr(growth: Growth, limit: float, largest: float, least: float) -> float:
    """The lr at which the larger of growth(lr * largest) and growth(lr * least) is smallest.

    In between growth is no larger than at the ends, since it falls from 1 at x = 0 and then rises. Where it does so
    alike on both sides of limit/2, the two ends are to lie at equal distances from there: limit / (largest + least),
    which for plain gradient descent is 2 / (largest + least). Otherwise a search finds it.
    """
    if not 0 < limit < math.inf:
        return math.nan
    away = _grid(0, 0.999) * limit / 2
    if torch.allclose(growth(limit / 2 - away), growth(limit / 2 + away), rtol=0, atol=1e-6):
        return limit / (largest + least)
    low, high = math.log(1e-6 * limit), math.log(limit)
    for _ in range(8):
        x = _grid(low, high)
        at = int(torch.minimum(_rate(growth, x.exp()), _rate(growth, x.exp() * (least / largest))).argmax())
        low, high = x[max(at - 1, 0)].item(), x[min(at + 1, len(x) - 1)].item()
    return math.exp((low + high) / 2) / largest
