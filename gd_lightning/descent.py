"""The article's loop body: predict, loss, gradient, step. Written once, for notebooks and Trainer alike."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from gd_lightning.curve import Curve
from gd_lightning.losses import Loss, mse, rmse
from gd_lightning.points import Points, Predictors

__all__ = ["DIVERGED", "STEP_LIMIT", "STOPPED", "Descent", "NonFiniteError", "descend"]

ROUNDING = 1e-6  # a loss that rises by no more has not risen, in single precision

STEP_LIMIT = "step limit"
DIVERGED = "diverged"
STOPPED = "stopped"


class NonFiniteError(ArithmeticError):
    """The loss or its gradient is infinite or not a number, so that there is nothing to follow."""

    def __init__(self, what: str, value: float) -> None:
        super().__init__(f"the {what} is {value}")
        self.what = what
        self.value = value


class Stepper(Protocol):
    """What a step needs of an optimizer; torch's have it, and so has Lightning's wrapper around them."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def step(self) -> object: ...

    def zero_grad(self) -> None: ...


def descend(
    curve: Curve,
    optimizer: Stepper,
    t: Predictors,
    targets: Tensor,
    sigma: Tensor | None = None,
    loss_function: Loss = mse,
    backward: Callable[[Tensor], None] = Tensor.backward,
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

    Returns:
        Predictions `(*batch, T)` and loss `(*batch)`, both from before the step, as the article prints them.

    Raises:
        NonFiniteError: before any parameter is changed.
    """
    preds = curve(t)  # predict
    loss = loss_function(preds, targets, sigma)  # loss
    if not torch.isfinite(loss).all():
        raise NonFiniteError("loss", loss.sum().item())
    backward(loss.sum())  # gradient
    gradient = curve.params.grad
    if gradient is not None and not torch.isfinite(gradient).all():
        raise NonFiniteError("gradient", gradient.sum().item())
    optimizer.step()  # step: params -= lr * gradient
    curve.project()  # within their bounds, where they have any
    optimizer.zero_grad()  # reset the gradient
    return preds.detach(), loss.detach()


class Descent:
    """A descent under way: what it has seen, and whether it may go on.

    Args:
        curve: the curve that descends.
        loss_function: what is descended.
        metric: computes the RMSE that is recorded, from predictions and targets, shape `(N,)`.

    Attributes:
        rmse_history: RMSE before each step that was taken.
        loss: the loss before the last step; several series are summed.
        params_before: the parameters before the last step, to which `rmse_history[-1]` belongs.
        status: `"step limit"` as long as nothing else ended it.
    """

    def __init__(
        self, curve: Curve, loss_function: Loss = mse, metric: Callable[[Tensor, Tensor], float] = rmse
    ) -> None:
        self.curve = curve
        self.loss_function = loss_function
        self.metric = metric
        self.rmse_history: list[float] = []
        self.loss = math.nan
        self.first_loss = math.nan
        self._reason = ""
        self.status = STEP_LIMIT
        self.params_before = curve.params.detach().clone()

    def step(self, optimizer: Stepper, points: Points, backward: Callable[[Tensor], None] = Tensor.backward) -> bool:
        """Take one step, or find that none can be taken; then the descent is over and this is False."""
        if self.status == DIVERGED:
            return False
        before = self.curve.params.detach().clone()
        try:
            preds, loss = descend(self.curve, optimizer, *points, self.loss_function, backward)
        except NonFiniteError as error:
            self._diverge(error.what, error.value, optimizer.param_groups[0]["lr"])
            return False
        self.params_before = before
        self.loss = loss.sum().item()
        if not self.rmse_history:
            self.first_loss = self.loss
        self.rmse_history.append(self.rmse(preds, points))
        return True

    def end(self, optimizer: Stepper, points: Points) -> None:
        """Look where the last step led: a step that left the finite numbers is undone, a rise is told."""
        if self.status == DIVERGED:
            return
        lr = optimizer.param_groups[0]["lr"]
        with torch.no_grad():
            loss = self.loss_function(self.curve(points.t), points.targets, points.sigma).sum()
        if not torch.isfinite(loss):
            self._diverge("loss", loss.item(), lr)
        elif not torch.isfinite(self.curve.params).all():
            self._diverge("sum of the parameters", self.curve.params.sum().item(), lr)
        elif self.rmse_history and loss.item() > self.first_loss * (1 + ROUNDING):
            what = "RMSE" if self.loss_function is mse and points.sigma is None else "loss"
            self._reason = f"{self.message}, and the {what} rose; try a smaller lr, such as {self._smaller_lr(lr):.1e}"

    def rmse(self, preds: Tensor, points: Points) -> float:
        """RMSE over all points, of one series or of several."""
        if points.sigma is None:
            return self.metric(preds.flatten(), points.targets.flatten())
        return self.metric(preds[points.present], points.targets[points.present])

    def state_dict(self) -> dict[str, Any]:
        """What a descent needs to go on: tensors, numbers and text."""
        return {
            "rmse_history": list(self.rmse_history),
            "first_loss": self.first_loss,
            "params_before": self.params_before,
            "status": self.status,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with what another descent recorded."""
        self.rmse_history = list(state_dict["rmse_history"])
        self.first_loss = state_dict["first_loss"]
        self.params_before = state_dict["params_before"]

    def stop(self, message: str) -> None:
        """Record that something from outside ended the descent."""
        if self.status == STEP_LIMIT:
            self.status, self._reason = STOPPED, message

    @property
    def message(self) -> str:
        """One sentence about the status."""
        if self._reason:
            return self._reason
        taken = len(self.rmse_history)
        return f"all {taken} steps were taken" if taken != 1 else "its one step was taken"

    def _diverge(self, what: str, value: float, lr: float) -> None:
        taken = len(self.rmse_history)
        self.status = DIVERGED
        if taken == 0:
            values = self.curve.params.detach().reshape(-1, len(self.curve.names))[0].tolist()
            start = ", ".join(f"{name}={value:g}" for name, value in zip(self.curve.names, values, strict=True))
            self._reason = (
                f"the {what} is {value} before step 1 with lr={lr:g}, at the start {start}; try another start"
            )
        else:
            self.curve.set_params(self.params_before)
            self._reason = (
                f"the {what} became {value} at step {taken} with lr={lr:g}, and that step was undone; "
                f"try a smaller lr, such as {self._smaller_lr(lr):.1e}"
            )

    def _smaller_lr(self, lr: float) -> float:
        """A learning rate at which the error that exploded would shrink.

        Far from the minimum each step multiplies the error along the steepest direction, of curvature L, by
        |1 - lr*L|; the growth of the last steps therefore tells L, and 1/L is the rate that removes that error.
        """
        last = self.rmse_history[-2:]
        growth = last[-1] / last[0] if last[0] > 0 else 0.0
        return lr / (1 + growth) if growth > 1 else lr / 10
