"""One step on more points than fit into memory: they are seen a part at a time, by one process or by several.

`descend_in_parts` is `descend` again, with the gradient summed over the parts.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gd_lightning.arrays import Array
from gd_lightning.convergence import Tolerance, Verdict, judge
from gd_lightning.curve import Curve
from gd_lightning.descent import ROUNDING, Descent, NonFiniteError, Stepper
from gd_lightning.errors import InputError
from gd_lightning.losses import Loss, mse
from gd_lightning.points import Points
from gd_lightning.residuals import Residuals

__all__ = [
    "Condensed",
    "DescentInParts",
    "Processes",
    "Share",
    "Totals",
    "check_apart",
    "totals",
]


class Share:
    """What one process sees of the points of a batch, a part at a time; it may be nothing.

    Args:
        read: reads the parts, each time anew.
        count: points of the whole batch, over all processes.
        whole: whether the batch is all there is, and no minibatch.

    Attributes:
        problem: why the parts came to an end too early; none where they did not.
    """

    def __init__(self, read: Callable[[], Iterator[Points]], count: int, whole: bool) -> None:
        self.read = read
        self.count = count
        self.whole = whole
        self.problem: InputError | None = None

    def __iter__(self) -> Iterator[Points]:
        """The parts; what cannot be read is kept for `Processes`, so that no other process waits for this one."""
        self.problem = None
        try:
            yield from self.read()
        except InputError as error:
            self.problem = error

    def to(self, like: Tensor | torch.device) -> "Share":
        """The same in the precision and on the device of a tensor, or on a device."""
        return Share(lambda: (points.to(like) for points in self.read()), self.count, self.whole)  # type: ignore[arg-type]


class Processes(NamedTuple):
    """Those that descend together; one alone unless given.

    Attributes:
        rank: which of them this one is.
        size: how many.
        add: the sum of a tensor over all of them.
    """

    rank: int = 0
    size: int = 1
    add: Callable[[Tensor], Tensor] = Tensor.clone

    def gather(self, values: Tensor, share: Share) -> Tensor:
        """What all have, `(size, *shape)`.

        Raises:
            InputError: in all of them, where one could not read its share.
        """
        flat = torch.cat([values.flatten(), values.new_full((1,), float(share.problem is not None))])
        rows = flat.new_zeros(self.size, len(flat))
        rows[self.rank] = flat
        rows = self.add(rows)
        if rows[:, -1].any():
            raise share.problem or InputError("data: another process could not read its share of the points")
        return rows[:, :-1].reshape(self.size, *values.shape)

    def sum(self, values: Tensor, share: Share) -> Tensor:
        """The sum over all; raises as `gather` does."""
        return self.gather(values, share).sum(dim=0)


ALONE = Processes()


def descend_in_parts(
    curve: Curve,
    optimizer: Stepper,
    share: Share,
    loss_function: Loss = mse,
    backward: Callable[[Tensor], None] = Tensor.backward,
    processes: Processes = ALONE,
) -> tuple[float, float]:
    """One step of `descend` on points that are seen a part at a time, each process its own.

    The loss is the mean over all points of the batch. Its gradient is the sum of the parts'; they are summed over the
    processes by `backward`, once a step, for they need not have as many parts.

    Args:
        curve: the function with its parameters `(P,)`, which are changed in place, and alike in all processes.
        optimizer: the update rule that holds `curve.params`.
        share: what this process sees of the batch.
        loss_function: `mse` or another of `losses`.
        backward: computes the gradient of a scalar, and its mean over the processes, as Lightning's `manual_backward`.
        processes: those that descend together.

    Returns:
        Loss and RMSE over all points of the batch, both from before the step.

    Raises:
        NonFiniteError: in all processes, before any parameter is changed.
        InputError: in all processes, where one cannot read its share.
    """
    slope = torch.zeros_like(curve.params, dtype=torch.float64)
    sums = slope.new_zeros(2)
    for points in share:
        part = len(points.targets) / share.count
        preds = curve(points.t)  # predict
        loss = part * loss_function(preds, points.targets, points.sigma)  # loss
        slope += torch.autograd.grad(loss, curve.params)[0]  # gradient: the parts' add up
        sums += torch.stack([loss.detach(), part * mse(preds.detach(), points.targets)])
    total, mean_square = processes.sum(sums, share).tolist()
    if not math.isfinite(total):
        raise NonFiniteError("loss", total, torch.tensor(True))
    # a scalar with that gradient, times the number of processes over which `backward` takes the mean
    backward(processes.size * (slope.to(curve.params) * curve.params).sum())
    gradient = curve.params.grad
    if gradient is not None and not torch.isfinite(gradient).all():
        curve.params.grad = None
        raise NonFiniteError("gradient", gradient.sum().item(), torch.tensor(True))
    optimizer.step()  # step: params -= lr * gradient
    curve.project()  # within their bounds, where they have any
    optimizer.zero_grad()  # reset the gradient
    return total, mean_square**0.5


class Totals(NamedTuple):
    """Sums over all points at the present parameters.

    Attributes:
        n: number of points.
        loss: the mean that is descended.
        rmse: root mean squared error, in units of y.
        chi2: sum of ((preds - targets) / sigma)**2.
        around_mean: the same sum around a given value.
        size: root of the sum of (targets / sigma)**2.
        root: upper triangle R of the QR decomposition of `[J r]`, `(F + 1, F + 1)`: J the Jacobian of the residuals r
            by the F free parameters.
    """

    n: int
    loss: float
    rmse: float
    chi2: float
    around_mean: float
    size: float
    root: Array


@torch.no_grad()
def totals(
    curve: Curve,
    share: Share,
    loss_function: Loss = mse,
    processes: Processes = ALONE,
    mean: float = 0.0,
) -> Totals:
    """Sums over all points, in one pass.

    The Jacobian of a part is reduced at once: the R of `[J r]` has the J'J and the J'r of all rows that went into it,
    and J'J, whose condition number is the square of J's, is never formed.

    Args:
        curve: the function with its parameters `(P,)`.
        share: what this process sees of all points.
        loss_function: what is descended.
        processes: those that descend together.
        mean: the value for `around_mean`.

    Raises:
        InputError: in all processes, where one cannot read its share.
    """
    free = len(curve.demands.free)
    sums = torch.zeros(5, dtype=torch.float64)
    root = np.zeros((free + 1, free + 1))
    for points in share:
        n = len(points.targets)
        preds = curve(points.t)
        problem = Residuals(curve, points)
        r, jac = problem.linearize(problem.theta)
        targets = problem.points.targets
        sigma = 1.0 if problem.points.sigma is None else problem.points.sigma
        sums += torch.tensor(
            [
                n * loss_function(preds, points.targets, points.sigma).item(),
                n * mse(preds, points.targets).item(),
                float(np.vecdot(r[0], r[0])),
                (((targets - mean) / sigma) ** 2).sum().item(),
                ((targets / sigma) ** 2).sum().item(),
            ],
            dtype=torch.float64,
        )
        root = triangle(np.concatenate([root, np.column_stack([jac[0], r[0]])]))
    device = curve.params.device
    loss, square, chi2, around_mean, size = processes.sum(sums.to(device), share).tolist()
    roots = processes.gather(torch.from_numpy(root).to(device), share).cpu().numpy()
    root = triangle(roots.reshape(-1, free + 1))
    n = share.count
    return Totals(n, loss / n, (square / n) ** 0.5, chi2, around_mean, size**0.5, root)


def triangle(rows: Array) -> Array:
    """The R of the QR decomposition of rows."""
    r: Array = np.linalg.qr(rows, mode="r")  # type: ignore[assignment]  # in this mode it is an array
    return r


def check_apart(curve: Curve, points: Points) -> None:
    """Refuse a function whose prediction at a point depends on which other points there are.

    Raises:
        InputError: it gives other predictions for the halves of some points.
    """
    params = torch.randn(len(curve.names), generator=torch.Generator().manual_seed(0)).to(curve.params)
    params = curve.demands.project(params)
    first = torch.arange(len(points.targets), device=points.targets.device) * 2 < len(points.targets)
    with torch.no_grad():
        whole = curve.evaluate(points.t, params)
        halves = [(which, curve.evaluate(points.where(which).t, params)) for which in (first, ~first) if which.any()]
    for which, half in halves:
        if not torch.allclose(half, whole[which], rtol=1e-4, equal_nan=True):
            raise InputError(
                f"function: {curve.function_name} predicts a point from others, and a streamed table has them a part "
                "at a time; give what is of all points, such as their mean, as a number"
            )


class Condensed(Residuals):
    """Residuals of very many points as F + 1 that have the same J'J, J'r and r'r; their tangent in place of them.

    Args:
        curve: the curve.
        sample: some of the points.
        found: what there is to know of all of them.
    """

    def __init__(self, curve: Curve, sample: Points, found: Totals) -> None:
        super().__init__(curve, sample)
        self.points_each = np.array([found.n])
        self.size_of_targets = np.array([found.size])
        self.tape = None
        self._here = self.theta
        self._r, self._jac = found.root[None, :, -1], found.root[None, :, :-1]

    def __call__(self, theta: Array) -> Array:
        """The tangent r + J (theta - here), `(..., S, F + 1)`."""
        moved: Array = self._r + np.einsum("stf,...sf->...st", self._jac, theta - self._here)
        return moved

    def linearize(self, theta: Array) -> tuple[Array, Array]:
        return self(theta), self._jac


class DescentInParts(Descent):
    """A descent of one series whose points are seen a part at a time.

    Args:
        curve: the curve that descends.
        loss_function: what is descended.
        sample: some of the points.
        processes: those that descend together.
        mean: of the data, for the totals.

    Attributes:
        totals: sums over all points at the end; none before.
    """

    def __init__(
        self,
        curve: Curve,
        loss_function: Loss,
        sample: Points,
        processes: Processes = ALONE,
        mean: float = 0.0,
    ) -> None:
        super().__init__(curve, loss_function)
        self.sample = sample
        self.processes = processes
        self.mean = mean
        self.totals: Totals | None = None
        self._steps_on_all = False

    def _gradient_step(
        self, optimizer: Stepper, points: Points | Share, backward: Callable[[Tensor], None], before: Tensor
    ) -> tuple[float, float] | None:
        assert isinstance(points, Share)
        self._steps_on_all = points.whole
        try:
            return descend_in_parts(self.curve, optimizer, points, self.loss_function, backward, self.processes)
        except NonFiniteError as error:
            self._lose(error, optimizer)
            return None

    def _look_whether_converged(self, points: Points | Share) -> None:
        """As ever after a step on all points; what a minibatch gains says nothing of the others."""
        if self._steps_on_all:
            super()._look_whether_converged(points)  # type: ignore[arg-type]  # which hands it on to _judged

    def _judged(self, points: Points | Share, tolerance: Tolerance) -> dict[int, Verdict]:
        assert isinstance(points, Share)
        return self._verdict(self._totals(points), tolerance)

    def _verdict(self, found: Totals, tolerance: Tolerance) -> dict[int, Verdict]:
        if self.loss_function is not mse:  # whose weights the condensed residuals do not have
            return self._verdicts
        [verdict] = judge(Condensed(self.curve, self.sample, found), tolerance)
        return {} if verdict is None else {0: verdict}

    def _totals(self, share: Share) -> Totals:
        return totals(self.curve, share, self.loss_function, self.processes, self.mean)

    def end(self, optimizer: Stepper, points: Points | Share) -> None:
        """Look over all points where the last step led, and keep their totals."""
        assert isinstance(points, Share)
        self.totals = self._totals(points)
        loss = self.totals.loss
        if self.finished:
            return
        if not math.isfinite(loss):
            self._lose(NonFiniteError("loss", loss, torch.tensor(True)), optimizer)
            self.totals = self._totals(points)
        elif self._steps_on_all and loss > self.first_loss * (1 + ROUNDING):
            self._reason = f"{self.message}, and the loss rose; {self._smaller_lr(optimizer.param_groups[0]['lr'])}"
        elif self.tolerance is not None and not self._stopped and self.rmse_history:
            self._verdicts = self._verdict(self.totals, self.tolerance)
