"""Profile likelihood: how far each parameter can go before the others can no longer make up for it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gd_lightning.arrays import Array
from gd_lightning.curve import Curve
from gd_lightning.errors import InputError, suggest
from gd_lightning.fitting import check_absolute
from gd_lightning.losses import Loss, mae, mse
from gd_lightning.points import Points
from gd_lightning.profile_search import ProfileCurve, Search
from gd_lightning.residuals import Residuals
from gd_lightning.uncertainty import LEVEL, check_level, uncertainty

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Profile", "profile"]


@dataclass(frozen=True, eq=False, repr=False)
class Profile:
    """Profile-likelihood intervals of the parameters.

    Attributes:
        names: names of the parameters.
        level: the probability that belongs to the intervals.
        intervals: name -> (low, high); numbers, or tensors `(*batch)` of several series. A side that meets a bound ends
            there, one that never reaches the threshold is infinite, one that could not be followed is nan, as are both
            of a tied parameter; a fixed one has its value twice.
        messages: one sentence for each thing that casts doubt on the intervals, such as a lower minimum.
    """

    names: tuple[str, ...]
    level: float
    intervals: dict[str, tuple[Any, Any]]
    messages: list[str]
    search: Search

    def curve(self, name: str, count: int = 41) -> ProfileCurve:
        """The profile of one parameter for drawing, a little past its interval; all places are one batch of refits.

        Args:
            name: the parameter, a free one.
            count: how many places: the minimum, and half of the others on each side of it; of an even number one fewer.

        Raises:
            InputError: there is no such free parameter.
        """
        return self.curves(count, (name,))[name]

    def curves(self, count: int = 41, names: tuple[str, ...] | None = None) -> dict[str, ProfileCurve]:
        """Name -> `curve(name)` of some free parameters, or of all, as one batch."""
        free = [self.names[i] for i in self.search.problem.free]
        for name in names or ():
            if name not in free:
                raise InputError(f"profile: {name!r} is no free parameter; {suggest(name, free)}")
        if not isinstance(count, int) or count < 3:
            raise InputError(f"count: given {count!r}, expected a whole number of at least 3")
        return self.search.draw([free.index(name) for name in names or free], free, count)

    def plot(self) -> "Figure":
        """The profiles of the free parameters beside the parabolas of the tangent, and the ends of the intervals.

        Raises:
            InputError: there are several series.
        """
        from gd_lightning.pictures import profile_picture

        return profile_picture(self)

    def parabolas(self) -> dict[str, tuple[float, float]]:
        """Name -> best value and standard error of each free parameter of one series."""
        free = self.search.problem.free
        errors = np.sqrt(self.search.covariance[0].diagonal())
        return {
            self.names[i]: (float(value), float(error))
            for i, value, error in zip(free, self.search.theta[0], errors, strict=True)
        }

    def __repr__(self) -> str:
        return f"Profile({self.level:g}: {', '.join(self.intervals)})"


@torch.no_grad()
@np.errstate(all="ignore")  # what is not finite is looked for
def profile(
    curve: Curve,
    points: Points,
    loss_function: Loss = mse,
    level: float = LEVEL,
    absolute_sigma: bool = False,
) -> Profile:
    """Find where the least sum of squares that the other parameters reach has risen by too much to be noise.

    With chi2(x) for the least sum of squares of the others while one parameter is held at x, its interval ends where

        chi2(x) = chi2_min * (1 + F/(n - p))    F: quantile of Fisher's distribution with 1 and n - p degrees of freedom
        chi2(x) = chi2_min + q                  where sigma is absolute, q: quantile of chi-square with 1

    For a function that is linear in its parameters these are the intervals of Student's t, or of the normal
    distribution; for others they follow the curvature, and may be one-sided (Bates and Watts, 1988, chapter 6). Both
    sides of all parameters of all series are refitted side by side, each from where it was before, and all ends are
    sought at once by secants between brackets. With a robust loss the rule is the same for its measure, and rough.

    Args:
        curve: the fitted curve, which stays as it is; the minimum next to it is found first.
        points: what it was fitted to.
        loss_function: what was descended.
        level: the probability.
        absolute_sigma: whether sigma is the noise's own size, so that chi2 needs no scale.

    Raises:
        InputError: no such level, no sigma to be absolute, the loss is mae, which has no curvature, or as few points as
            free parameters, so that nothing tells the noise.
    """
    check_level(level)
    if loss_function is mae:
        raise InputError("profile: the loss mae has no curvature; fit with huber or cauchy, or take the bootstrap")
    check_absolute(absolute_sigma, points.sigma is not None)
    problem = Residuals(curve, points, loss_function)
    fewest, free = int(problem.points_each.min()), len(problem.free)
    if not absolute_sigma and fewest <= free:
        raise InputError(
            f"profile: {fewest} points and {free} free parameters; expected more points than parameters, or "
            "absolute_sigma=True with the standard deviations of y"
        )
    dof = uncertainty(curve, points, loss_function, absolute_sigma).dof.reshape(-1)
    search = Search(problem, level, absolute_sigma, dof)
    ends = search.find()
    batch = points.batch
    low, high = (ends.end[ends.side == side].reshape(problem.count, -1) for side in (-1, 1))
    values = curve.demands.project(problem.params(search.theta)).reshape(problem.count, -1).cpu().numpy()
    sides = np.full((2, *values.shape), np.nan)
    for i, demand in enumerate(curve.demands.all):
        if demand.fixed:
            sides[..., i] = values[:, i]
    sides[0][:, problem.free], sides[1][:, problem.free] = low, high

    def shaped(numbers: Array) -> Any:
        return torch.from_numpy(numbers.copy()).reshape(batch) if batch else float(numbers[0])

    intervals = {name: (shaped(sides[0][:, i]), shaped(sides[1][:, i])) for i, name in enumerate(curve.names)}
    tied = [curve.names[i] for i in curve.demands.ties]
    why = "has no profile of its own" if len(tied) == 1 else "have no profiles of their own"
    messages = [f"{', '.join(tied)}, tied to others, {why}; kind t has an interval"] if tied else []
    return Profile(tuple(curve.names), level, intervals, [*search.messages(), *messages], search)
