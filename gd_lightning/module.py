"""The LightningModule: a curve, and the hand-written step that fits it."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torchmetrics import MeanSquaredError

from gd_lightning.curve import Curve, initialize
from gd_lightning.descent import DIVERGED, Descent
from gd_lightning.errors import InputError
from gd_lightning.losses import mse, root
from gd_lightning.optim import SGD, Rule, UpdateRule, make_rule
from gd_lightning.result import FitResult

__all__ = ["CurveFit"]

Batch = tuple[Tensor, Tensor]
# A rule's bare name on the command line is looked up in the first of these: ours go before torch.optim's.
AnyRule = Callable[[Iterable[Parameter], float], UpdateRule] | Rule


class CurveFit(LightningModule):
    """Fits a function to one series by gradient descent, a step at a time.

    The step is `descend`: predict, loss, gradient, params -= lr * gradient. It goes through
    `self.optimizers()`, so that `global_step`, `max_steps`, checkpoints and the logs count steps.

    Args:
        function: a family's name.
        lr: learning rate, above 0.
        optimizer: the update rule: a class of `gd_lightning.optim` or of `torch.optim`.
        init: starting values by name; parameters that are not named start from random normal numbers.
        steps_per_epoch: steps taken in one `training_step`, at least 1.

    Raises:
        InputError: an argument that cannot be used; the message says what to try.
    """

    def __init__(
        self,
        function: str = "quadratic",
        lr: float = 1e-5,
        optimizer: AnyRule = SGD,
        init: dict[str, float] | None = None,
        steps_per_epoch: int = 1,
    ) -> None:
        super().__init__()
        if not isinstance(function, str):
            raise InputError(
                f"function: given {function!r}, expected the name of a family: checkpoints keep text; "
                "fit(...) in Python takes callables"
            )
        if steps_per_epoch < 1:
            raise InputError(f"steps_per_epoch: given {steps_per_epoch}, expected at least 1")
        self.automatic_optimization = False
        self.curve = Curve(function)
        self.curve.check_init(init or {})
        make_rule(optimizer, self.curve.params, lr)  # refuse what is wrong now, not when the run has begun
        # Checkpoints hold text and numbers only; an optimizer class among the hyperparameters would be pickled.
        self.save_hyperparameters({"function": function, "lr": lr, "init": init, "steps_per_epoch": steps_per_epoch})
        self.lr = lr
        self.init = init
        self.optimizer_class = optimizer
        self.steps_per_epoch = steps_per_epoch
        self.train_mse = MeanSquaredError()
        self.descent = Descent(self.curve, self._rmse)
        self.started = False

    def setup(self, stage: str) -> None:
        """Initialize: random starting values, from the generator that made the data where there is one."""
        if stage != "fit":
            return
        if not self.started:
            self._start()
        self.descent = Descent(self.curve, self._rmse)

    def _start(self) -> None:
        generator = getattr(self._datamodule(), "generator", None)
        if generator is None:
            generator = torch.Generator().manual_seed(torch.initial_seed())
        self.curve.start(initialize(len(self.curve.names), generator), self.init)
        self.started = True

    def forward(self, t: Tensor) -> Tensor:
        return self.curve(t)  # type: ignore[no-any-return]

    def on_train_start(self) -> None:
        # a metric keeps its float32 when its module goes to another precision
        self.train_mse.set_dtype(self.curve.params.dtype)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take `steps_per_epoch` steps, or as many as `max_steps` still allows."""
        t, targets = batch
        optimizer = self._optimizer()
        log_every_n_steps: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        for _ in range(self._steps_allowed()):
            if not self.descent.step(optimizer, t, targets, self.manual_backward):
                self.trainer.should_stop = True
                break
            steps_before = self.global_step - 1
            if log_every_n_steps and steps_before % log_every_n_steps == 0:
                history = self.descent.rmse_history
                self._log_state(steps_before, self.descent.params_before, self.descent.loss, history[-1])
        if self.descent.rmse_history:
            self.log("train/rmse", self.descent.rmse_history[-1], logger=False)  # for callbacks that monitor it

    def on_train_end(self) -> None:
        if self.trainer.should_stop:
            self.descent.stop(f"a callback or a time limit ended the fit after {self.global_step} steps")
        self.descent.end(self._optimizer(), *self.series())
        if self.descent.status != DIVERGED:
            t, targets = self.series()
            with torch.no_grad():
                loss = mse(self(t), targets)
            self._log_state(self.global_step, self.curve.params, loss.item(), root(loss))

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor, Tensor]:
        """t, data and prediction."""
        t, targets = batch
        return t, targets, self(t)

    def configure_optimizers(self) -> Optimizer:
        return make_rule(self.optimizer_class, self.curve.params, self.lr)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["descent"] = self.descent.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.descent = Descent(self.curve, self._rmse)
        self.descent.load_state_dict(checkpoint["descent"])
        self.started = True

    def series(self) -> Batch:
        """The series that is fitted, as the step sees it."""
        loader = self.trainer.train_dataloader
        assert loader is not None
        t, targets = next(iter(loader))
        return t.to(self.curve.params), targets.to(self.curve.params)

    def result(self) -> FitResult:
        """What the fit has found so far."""
        return FitResult.of(self.descent, *self.series(), seed=getattr(self._datamodule(), "seed", None))

    def _datamodule(self) -> object | None:
        datamodule: object | None = getattr(self.trainer, "datamodule", None)
        return datamodule

    def _optimizer(self) -> LightningOptimizer:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)  # one, because configure_optimizers returns one
        return optimizer

    def _steps_allowed(self) -> int:
        """Steps of this epoch: `steps_per_epoch`, and never beyond `max_steps`."""
        if self.trainer.max_steps < 0:
            return self.steps_per_epoch
        return min(self.steps_per_epoch, self.trainer.max_steps - self.global_step)

    def _rmse(self, preds: Tensor, targets: Tensor) -> float:
        self.train_mse.reset()
        self.train_mse.update(preds, targets)
        return root(self.train_mse.compute())

    def _log_state(self, step: int, params: Tensor, loss: float, rmse: float) -> None:
        """Write loss, RMSE and parameters as they were after a number of steps."""
        values = self.curve.named_values(params)
        scalars = {"train/loss": loss, "train/rmse": rmse}
        scalars |= {f"parameters/{name}": value for name, value in values.items()}
        for logger in self.loggers:
            logger.log_metrics(scalars, step)
