"""The article's loop body: predict, loss, gradient, step, for notebooks and Trainer alike.

`descend` is the one to read; `descend_often` does the same many times over, with less between the steps.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from gd_lightning.compiled import CompiledSteps
from gd_lightning.convergence import CONVERGED, DIVERGED, STEP_LIMIT, STOPPED, Tolerance, Verdict, judge
from gd_lightning.curve import Curve
from gd_lightning.levenberg_marquardt import LevenbergMarquardt
from gd_lightning.losses import Loss, mse, pooled_rmse
from gd_lightning.milestones import is_round
from gd_lightning.optim import UpdateRule, is_many
from gd_lightning.points import Points, Predictors
from gd_lightning.residuals import Residuals
from gd_lightning.words import counted

__all__ = [
    "MOST_SERIES",
    "ROUNDING",
    "STEPS_AT_ONCE",
    "Descent",
    "NonFiniteError",
    "Scheduler",
    "Stepper",
    "descend",
    "in_words",
]

ROUNDING = 1e-6  # a loss that rises by no more has not risen, in single precision
PATH = 500  # places of a descent that are kept for its picture
MOST_SERIES = 50  # of more, no path is kept
STEPS_AT_ONCE = 100  # steps taken at once, or compiled into one call
FIRST_LOOK, LATER = 10, 1.2  # after how many steps convergence is looked for, and how much later each time after


class NonFiniteError(ArithmeticError):
    """The loss or its gradient is infinite or not a number, so that there is nothing to follow."""

    def __init__(self, what: str, value: float, series: Tensor) -> None:
        super().__init__(f"the {what} is {value}")
        self.what = what
        self.value = value
        self.series = series


class Stepper(Protocol):
    """What a step needs of an optimizer; torch's have it, and so has Lightning's wrapper around them."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def step(self) -> object: ...

    def zero_grad(self) -> None: ...


class Scheduler(Protocol):
    """What changes the learning rate from step to step."""

    def step(self, *metrics: Any) -> object: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


def descend(
    curve: Curve,
    optimizer: Stepper,
    t: Predictors,
    targets: Tensor,
    sigma: Tensor | None = None,
    loss_function: Loss = mse,
    backward: Callable[[Tensor], None] = Tensor.backward,
    resting: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of gradient descent; with `SGD`, params -= lr * d loss / d params, and back within their bounds.

    Args:
        curve: the function with its parameters, which are changed in place.
        optimizer: the update rule that holds `curve.params`.
        t: independent variable, shape `(T,)` or `(*batch, T)`; a tuple of such where there are several.
        targets: data, shape `(*batch, T)`. The losses of separate series are summed, so that each descends
            as if it were alone.
        sigma: standard deviations of the data, shape `(*batch, T)`; the points weigh the same without.
        loss_function: `mse` or another of `losses`.
        backward: computes the gradient of a scalar; Lightning's `manual_backward` fits here.
        resting: series that take no part, shape `(*batch)`; their loss and gradient count as 0.

    Returns:
        Predictions `(*batch, T)` and loss `(*batch)`, both from before the step, as the article prints them.

    Raises:
        NonFiniteError: before any parameter is changed; it tells of which series.
    """
    preds = curve(t)  # predict
    loss = loss_function(preds, targets, sigma)  # loss
    if resting is not None:
        loss = loss.masked_fill(resting, 0.0)
    total = loss.sum()
    if not math.isfinite(total.item()) and not torch.isfinite(loss).all():
        raise NonFiniteError("loss", total.item(), ~torch.isfinite(loss))
    backward(total)  # gradient
    gradient = curve.params.grad
    if gradient is not None and resting is not None:
        gradient[resting] = 0.0  # which may be 0 * inf
    if gradient is not None and not math.isfinite(gradient.sum().item()) and not torch.isfinite(gradient).all():
        curve.params.grad = None
        raise NonFiniteError("gradient", gradient.sum().item(), ~torch.isfinite(gradient).all(dim=-1))
    optimizer.step()  # step: params -= lr * gradient
    curve.project()  # within their bounds, where they have any
    optimizer.zero_grad()  # reset the gradient
    return preds.detach(), loss.detach()


def in_words(statuses: Sequence[str], messages: Sequence[str]) -> str:
    """How many series ended with each status, and of which one was the first what its message says."""
    parts = []
    for status, count in counted(statuses).items():
        first = list(statuses).index(status)
        told = status != CONVERGED and messages[first]
        parts.append(
            f"{count} {status}" + (f", the first of them series {first + 1} ({messages[first]})" if told else "")
        )
    return "; ".join(parts)


class Taken(NamedTuple):
    """What steps saw before they stepped, each in its order.

    Attributes:
        params: the parameters, `(*batch, P)`.
        losses: the losses, `(*batch)`.
        preds: the predictions, `(*batch, T)`; none of compiled steps whose RMSE is the root of the loss.
    """

    params: Sequence[Tensor]
    losses: Sequence[Tensor]
    preds: Sequence[Tensor | None]


def descend_often(curve: Curve, optimizer: UpdateRule, points: Points, loss_function: Loss, steps: int) -> Taken | None:
    """The same as so many calls of `descend`, with less between them.

    Args:
        curve: the function with its parameters, which are changed in place.
        optimizer: the update rule that holds `curve.params`.
        points: what it is fitted to.
        loss_function: what is descended.
        steps: how many steps to take.

    Returns:
        What the steps saw; or none where a loss, gradient or parameter ceased to be finite. Then nothing was changed,
        and `descend` will find where.
    """
    theta = curve.params
    arguments = optimizer.arguments(optimizer.param_groups[0], theta)
    params, state = theta.detach().clone(), dict(optimizer.state[theta])
    before, losses, predicted, slopes = [], [], [], []
    for _ in range(steps):
        params.requires_grad_()
        preds = curve.evaluate(points.t, params)  # predict
        loss = loss_function(preds, points.targets, points.sigma)  # loss
        (gradient,) = torch.autograd.grad(loss if loss.dim() == 0 else loss.sum(), params)  # gradient
        params.requires_grad_(False)
        before.append(params)
        losses.append(loss.detach())
        predicted.append(preds.detach())
        with torch.no_grad():
            params = optimizer.update(params, gradient, state, **arguments)  # step
            if curve.demands.constrained:
                slopes.append(gradient)  # a bound can make a finite parameter of one that is not
                params = curve.demands.project(params)
    with torch.no_grad():
        if not all(torch.isfinite(torch.stack(seen)).all() for seen in (losses, [params], slopes) if seen):
            return None
        theta.copy_(params)
    optimizer.state[theta] = state
    return Taken(before, losses, predicted)


class Descent:
    """A descent under way: what it has seen, and whether it may go on.

    Args:
        curve: the curve that descends.
        loss_function: what is descended.
        tolerance: when a series has converged; with none, gradient descent goes on to its last step.
            Levenberg-Marquardt goes on until rounding ends it.
        scheduler: changes the learning rate after each step.

    Attributes:
        rmse_history: RMSE before each step that was taken.
        loss: the loss before the last step; several series are summed.
        params_before: the parameters before the last step, to which `rmse_history[-1]` belongs.
        seen: predictions `(*batch, T)` and loss `(*batch)` before the last step; none of Levenberg-Marquardt, and
            of compiled steps that keep no predictions.
        path: steps and the parameters before them, thinned out to some hundred; none of many series.
        finished: whether no series has anything more to gain.
        refresh: finds a learning rate anew, now and then; none where it stays.
        compile: whether steps are compiled by `torch.compile` where many are taken at once.
    """

    def __init__(
        self,
        curve: Curve,
        loss_function: Loss = mse,
        tolerance: Tolerance | None = None,
        scheduler: Scheduler | None = None,
    ) -> None:
        self.curve = curve
        self.loss_function = loss_function
        self.tolerance = tolerance
        self.scheduler = scheduler
        self.rmse_history: list[float] = []
        self.loss = math.nan
        self.first_loss = math.nan
        self.params_before = curve.params.detach().clone()
        self.seen: tuple[Tensor, Tensor] | None = None
        self.path: list[tuple[int, Tensor]] = []
        self.finished = False
        self.refresh: Callable[[], float] | None = None
        self._verdicts: dict[int, Verdict] = {}  # of the series that have ended
        self._fallen = math.inf
        self._resting: Tensor | None = None
        self._reason = ""  # why all of them have
        self._stopped = False
        self._next_look = FIRST_LOOK
        self._stride = 1
        self._problem: tuple[Points, Residuals] | None = None
        self.compile = False
        self._compiled: CompiledSteps | None = None
        self._scheduled: dict[str, Any] | None = None  # how far the scheduler of a loaded descent was

    def schedule(self, scheduler: Scheduler | None) -> None:
        """Change the learning rate after each step, from where a loaded descent was."""
        self.scheduler = scheduler
        if scheduler is not None and self._scheduled is not None:
            scheduler.load_state_dict(self._scheduled)

    def advance(
        self, optimizer: Stepper, points: Points, most: int, backward: Callable[[Tensor], None] = Tensor.backward
    ) -> list[tuple[Tensor, float]]:
        """Take some steps, at most so many, and as many at once as nobody looks between.

        Returns:
            The parameters and the loss before each step; nothing where the descent is over.
        """
        count = self._at_once(optimizer, most, backward)
        seen = None
        if count > 1 and isinstance(optimizer, UpdateRule):
            seen = self._take(optimizer, points, count)
        if seen is None:
            return [(self.params_before, self.loss)] if self.step(optimizer, points, backward) else []
        taken = []
        for params, loss, preds in zip(*seen, strict=True):
            self._record(params, *self._measured(preds, loss, points))
            taken.append((params, self.loss))
            self.seen = None if preds is None else (preds, loss)
        self._look_whether_converged(points)
        self._refresh(optimizer)
        return taken

    def _at_once(self, optimizer: Stepper, most: int, backward: Callable[[Tensor], None]) -> int:
        """How many steps can be taken before anything has to be looked at."""
        busy = self.finished or self._verdicts or self.scheduler is not None
        if busy or not isinstance(optimizer, UpdateRule) or backward is not Tensor.backward:
            return 1
        count = min(most, STEPS_AT_ONCE)
        if self.tolerance is not None:
            count = min(count, self._next_look - len(self.rmse_history))
        taken = len(self.rmse_history)
        if self.refresh is not None:
            count = next((n for n in range(1, count) if is_round(taken + n)), count)
        return count

    def _take(self, optimizer: UpdateRule, points: Points, count: int) -> Taken | None:
        """Take steps by `descend_often`, or compiled where there are enough of them."""
        if not self.compile or count < STEPS_AT_ONCE:
            return descend_often(self.curve, optimizer, points, self.loss_function, count)
        if self._compiled is None or self._compiled.optimizer is not optimizer:
            self._compiled = CompiledSteps(self.curve, optimizer, self.loss_function, STEPS_AT_ONCE)
        found = self._compiled.take(points)
        if found is None:
            return None
        params, losses = found
        needed = self.loss_function is not mse or points.sigma is not None or bool(points.batch)
        with torch.no_grad():
            preds = [self.curve.evaluate(points.t, one) if needed else None for one in params]
        return Taken(list(params), list(losses), preds)

    def step(self, optimizer: Stepper, points: Points, backward: Callable[[Tensor], None] = Tensor.backward) -> bool:
        """Take one step, or find that none can be taken; then the descent is over and this is False."""
        if self.finished:
            return False
        before = self.curve.params.detach().clone()
        if isinstance(optimizer, LevenbergMarquardt):
            loss, rmse_before = self._least_squares_step(optimizer, points)
        else:
            taken = self._gradient_step(optimizer, points, backward, before)
            if taken is None:
                return False
            loss, rmse_before = taken
        self._record(before, loss, rmse_before)
        if not isinstance(optimizer, LevenbergMarquardt):
            self._look_whether_converged(points)
        if self.scheduler is not None:
            self._schedule()
        self._refresh(optimizer)
        return True

    def _refresh(self, optimizer: Stepper) -> None:
        if self.refresh is not None and is_round(len(self.rmse_history)):
            optimizer.param_groups[0]["lr"] = self.refresh()

    def _record(self, before: Tensor, loss: float, rmse_before: float) -> None:
        self.params_before = before
        if not self.rmse_history:
            self.first_loss = loss
        self._fallen, self.loss = abs(self.loss - loss), loss
        self.rmse_history.append(rmse_before)
        self._keep_path(before)

    def _gradient_step(
        self, optimizer: Stepper, points: Points, backward: Callable[[Tensor], None], before: Tensor
    ) -> tuple[float, float] | None:
        """Loss and RMSE before a step; none where there is no series left to step."""
        while True:
            try:
                self.seen = descend(self.curve, optimizer, *points, self.loss_function, backward, self.resting)
                preds, loss = self.seen
                break
            except NonFiniteError as error:
                self._lose(error, optimizer)
                if self.finished:
                    return None
                before.copy_(self.curve.params.detach())
        if (resting := self.resting) is not None:  # what diverged rests where its loss was finite
            with torch.no_grad():
                self.curve.params[resting] = before[resting]
        return self._measured(preds, loss, points)

    def _measured(self, preds: Tensor | None, loss: Tensor, points: Points) -> tuple[float, float]:
        """The loss, of several series their sum, and the RMSE, which for one plain series is its root."""
        if preds is None or (not loss.dim() and self.loss_function is mse and points.sigma is None):
            return loss.item(), loss.item() ** 0.5
        return loss.sum().item(), pooled_rmse(preds, points.targets, points.sigma)

    def _least_squares_step(self, optimizer: LevenbergMarquardt, points: Points) -> tuple[float, float]:
        problem = self._residuals(points)
        optimizer.advance(problem)
        self._take_verdicts(optimizer, problem)
        self.finished = len(self._verdicts) == problem.count
        r = optimizer.residuals
        totals = problem.sum_of(r) / problem.points_each
        if problem.points.sigma is None and not problem.robust:
            mean = float(totals @ problem.points_each) / float(problem.points_each.sum())
            return float(totals.sum()), math.sqrt(mean)
        if problem.points.sigma is not None:
            sigma = problem.points.sigma.reshape(problem.count, -1).cpu().numpy()
            r = np.where(np.isfinite(sigma), r * np.where(np.isfinite(sigma), sigma, 1.0), 0.0)
        return float(totals.sum()), float(np.sqrt(np.einsum("st,st->", r, r) / problem.points_each.sum()))

    def _take_verdicts(self, optimizer: LevenbergMarquardt, problem: Residuals) -> None:
        self._verdicts = {i: verdict for i, verdict in enumerate(optimizer.verdicts(problem)) if verdict is not None}

    def _look_whether_converged(self, points: Points) -> None:
        """At steps further and further apart, where the last one gained little, look whether anything is left."""
        if self.tolerance is None or len(self.rmse_history) < self._next_look:
            return
        self._next_look = math.ceil(self._next_look * LATER)
        if not self._fallen <= self.tolerance.loss * abs(self.loss):
            return
        found = self._judged(points, self.tolerance)
        if len(found) == len(self.statuses):
            self._verdicts, self.finished = found, True

    def _judged(self, points: Points, tolerance: Tolerance) -> dict[int, Verdict]:
        """The series that have converged, and those that had ended before."""
        verdicts = judge(self._residuals(points), tolerance)
        return {i: verdict for i, verdict in enumerate(verdicts) if verdict is not None} | self._verdicts

    def end(self, optimizer: Stepper, points: Points) -> None:
        """Look where the last step led: a step that left the finite numbers is undone, a rise is told."""
        if self.finished:
            return
        if isinstance(optimizer, LevenbergMarquardt):
            if len(optimizer.status):  # which it also knows of steps that a loaded descent took
                self._take_verdicts(optimizer, self._residuals(points))
            return
        lr = optimizer.param_groups[0]["lr"]
        with torch.no_grad():
            loss = self.loss_function(self.curve(points.t), points.targets, points.sigma)
        if self.resting is not None:
            loss = loss.masked_fill(self.resting, 0.0)
        lost = ~torch.isfinite(loss)
        if lost.any():
            self._lose(NonFiniteError("loss", loss.sum().item(), lost), optimizer)
        elif not torch.isfinite(self.curve.params).all():
            total = self.curve.params.sum().item()
            lost = ~torch.isfinite(self.curve.params).all(dim=-1)
            self._lose(NonFiniteError("sum of the parameters", total, lost), optimizer)
        elif self.rmse_history and loss.sum().item() > self.first_loss * (1 + ROUNDING):
            what = "RMSE" if self.loss_function is mse and points.sigma is None else "loss"
            self._reason = f"{self.message}, and the {what} rose; {self._smaller_lr(lr)}"
            if not points.batch:  # of several series, some may have arrived
                return
        if self.tolerance is not None and not (self._stopped or self.finished) and self.rmse_history:
            self._verdicts = self._judged(points, self.tolerance)

    def state_dict(self) -> dict[str, Any]:
        """What a descent needs to go on: tensors, numbers and text."""
        return {
            "rmse_history": list(self.rmse_history),
            "loss": self.loss,
            "first_loss": self.first_loss,
            "params_before": self.params_before,
            "path": list(self.path),
            "stride": self._stride,
            "next_look": self._next_look,
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "verdicts": {i: tuple(verdict) for i, verdict in self._verdicts.items()},
            "finished": self.finished,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with what another descent recorded."""
        self.rmse_history = list(state_dict["rmse_history"])
        self.loss = state_dict["loss"]
        self.first_loss = state_dict["first_loss"]
        self.params_before = state_dict["params_before"]
        self.path = list(state_dict["path"])
        self._stride = state_dict["stride"]
        self._next_look = state_dict["next_look"]
        self._scheduled = state_dict["scheduler"]
        self.finished = state_dict["finished"]
        verdicts = {i: Verdict(*verdict) for i, verdict in state_dict["verdicts"].items()}
        # those that had arrived at the end of the other descent go on with the rest
        self._verdicts = {i: v for i, v in verdicts.items() if self.finished or v.status == DIVERGED}
        self._resting = None

    def stop(self, message: str) -> None:
        """Record that something from outside ended the descent."""
        if not self.finished and not self._stopped:
            self._reason, self._stopped = message, True

    @property
    def statuses(self) -> list[str]:
        """The status of each series, one after the other."""
        count = math.prod(self.curve.params.shape[:-1])
        otherwise = STOPPED if self._stopped else STEP_LIMIT
        return [self._verdicts[i].status if i in self._verdicts else otherwise for i in range(count)]

    @property
    def status(self) -> Any:
        """The status of the one series, or an array of text of shape `(*batch)`."""
        statuses, batch = self.statuses, self.curve.params.shape[:-1]
        return np.array(statuses).reshape(batch) if batch else statuses[0]

    @property
    def resting(self) -> Tensor | None:
        """Which series have diverged, and rest where their loss was finite, `(*batch)`; none where all go on."""
        if self._verdicts and self._resting is None:
            diverged = [status == DIVERGED for status in self.statuses]
            if any(diverged):
                params = self.curve.params
                self._resting = torch.tensor(diverged, device=params.device).reshape(params.shape[:-1])
        return self._resting

    @property
    def diverged(self) -> bool:
        """Whether every series has."""
        return all(status == DIVERGED for status in self.statuses)

    @property
    def message(self) -> str:
        """One sentence about the status."""
        if self._reason:
            return self._reason
        taken = len(self.rmse_history)
        limit = f"all {taken:,} steps were taken" if taken != 1 else "its one step was taken"
        statuses = self.statuses
        if len(statuses) == 1:
            return self._verdicts[0].message if self._verdicts else limit
        return in_words(statuses, self.messages)

    @property
    def messages(self) -> list[str]:
        """One sentence about the status of each series; nothing about those that had steps still to take."""
        return [self._verdicts[i].message if i in self._verdicts else "" for i in range(len(self.statuses))]

    def _lose(self, error: NonFiniteError, optimizer: Stepper) -> None:
        """Take back the last step of the series that left the finite numbers; the others go on."""
        lr = optimizer.param_groups[0]["lr"]
        taken = len(self.rmse_history)
        rows = error.series.reshape(-1).nonzero().flatten().tolist()
        if taken == 0:
            values = self._rows(self.curve.params.detach())[rows[0]].tolist()
            start = ", ".join(f"{name}={value:g}" for name, value in zip(self.curve.names, values, strict=True))
            reason = (
                f"the {error.what} is {error.value} before step 1{at_lr(lr)}, at the start {start}; try another start"
            )
        else:
            with torch.no_grad():
                self._rows(self.curve.params)[rows] = self._rows(self.params_before)[rows]
            reason = (
                f"the {error.what} became {error.value} at step {taken}{at_lr(lr)}, and that step was undone; "
                f"{self._smaller_lr(lr)}"
            )
        self._verdicts |= {i: Verdict(DIVERGED, reason) for i in rows}
        self._resting = None
        self.finished = len(self._verdicts) == len(self.statuses)

    def _smaller_lr(self, lr: float | Tensor) -> str:
        """A learning rate at which the error that exploded would shrink.

        Far from the minimum each step multiplies the error along the steepest direction, of curvature L, by
        |1 - lr*L|; the growth of the last steps therefore tells L, and 1/L is the rate that removes that error.
        """
        last = self.rmse_history[-2:]
        growth = last[-1] / last[0] if last[0] > 0 else 0.0
        factor = 1 / (1 + growth) if growth > 1 else 0.1
        if is_many(lr):
            return f"try a smaller lr, {factor:.1g} of it"
        return f"try a smaller lr, such as {float(lr) * factor:.2g}"

    def _schedule(self) -> None:
        assert self.scheduler is not None
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(self.loss)
        else:
            self.scheduler.step()

    def _keep_path(self, before: Tensor) -> None:
        """Remember where the descent has been; when there is too much of it, every other place is forgotten."""
        step = len(self.rmse_history) - 1
        if (step % self._stride and not is_round(step)) or math.prod(before.shape[:-1]) > MOST_SERIES:
            return
        self.path.append((step, before))
        if len(self.path) > PATH:
            self._stride *= 2
            self.path = [(at, params) for at, params in self.path if at % self._stride == 0 or is_round(at)]

    def _residuals(self, points: Points) -> Residuals:
        """The same fit as least squares."""
        if self._problem is None or self._problem[0] is not points:
            self._problem = points, Residuals(self.curve, points, self.loss_function)
        return self._problem[1]

    @staticmethod
    def _rows(params: Tensor) -> Tensor:
        """Parameters `(*batch, P)` as rows, one for each series."""
        return params.view(-1, params.shape[-1])


def at_lr(lr: float | Tensor) -> str:
    """Which learning rate it was, where there is one."""
    if is_many(lr):
        return ""
    return f" with lr={float(lr):g}"
