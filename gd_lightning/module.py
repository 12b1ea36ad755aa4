"""The LightningModule: a curve, and the hand-written step that fits it."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torchmetrics import MeanSquaredError

from gd_lightning.conditioning import AUTO
from gd_lightning.curve import Curve, initialize
from gd_lightning.data import Series
from gd_lightning.descent import DIVERGED, Descent
from gd_lightning.errors import InputError
from gd_lightning.fitting import choose_lr, read_lr
from gd_lightning.losses import make_loss, mse, root
from gd_lightning.optim import ARTICLE_LR, SGD, Rule, UpdateRule, make_rule
from gd_lightning.points import Points, Predictors
from gd_lightning.result import FitResult, by_name
from gd_lightning.starts import check_start, set_start

__all__ = ["CurveFit"]

Batch = Points | tuple[Tensor, ...]
# A rule's bare name on the command line is looked up in the first of these: ours go before torch.optim's.
AnyRule = Callable[[Iterable[Parameter], float], UpdateRule] | Rule


class CurveFit(LightningModule):
    """Fits a function to a series, or to several side by side, by gradient descent, a step at a time.

    The step is `descend`: predict, loss, gradient, params -= lr * gradient. It goes through
    `self.optimizers()`, so that `global_step`, `max_steps`, checkpoints and the logs count steps.

    Args:
        function: a family's name, such as gaussian; a formula, such as `a*exp(-t/tau) + c`; or an import path, such as
            my_curves.damped, also from a file in the folder where the command runs. `gd-lightning functions` lists
            the families.
        parameters: what is demanded of the parameters, by name, such as
            `{a: {init: 1, min: 0}, b: {expr: "2*a"}, c: {fixed: 0}}`.
        init: starting values by name.
        start: where parameters without a starting value begin: `random` at random normal numbers, as in the article;
            `data` at the function's guess from the data or, without one, at the best of many random starts. Unless
            given, a function that is linear in its parameters starts at random, any other from the data; on the command
            line every function does that is fitted to a table without start and lr.
        loss: mse, mae, huber or cauchy; `huber(2.5)` sets the scale of the last two. With sigma each is weighted.
        lr: learning rate, above 0; `auto` for 1 / largest curvature at the start. Unless given, `auto`; but 1e-5, the
            article's, for a function that is linear in its parameters and starts at random or given values.
        optimizer: the update rule: a class of `gd_lightning.optim` or of `torch.optim`.
        steps_per_epoch: steps taken in one `training_step`, at least 1.
        predictors: names of the independent variables, where the data name them; the first argument of a function, or
            the t or x of a formula, unless given. On the command line they are the columns of `data.t`.

    Raises:
        InputError: an argument that cannot be used; the message says what to try.
    """

    def __init__(
        self,
        function: str = "quadratic",
        parameters: dict[str, Any] | None = None,
        init: dict[str, float] | None = None,
        start: str | None = None,
        loss: str = "mse",
        lr: float | Literal["auto"] | None = None,
        optimizer: AnyRule = SGD,
        steps_per_epoch: int = 1,
        predictors: list[str] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(function, str):
            raise InputError(
                f"function: given {function!r}, expected the name of a family, a formula or an import path: "
                "checkpoints keep text; fit(...) in Python takes callables"
            )
        if steps_per_epoch < 1:
            raise InputError(f"steps_per_epoch: given {steps_per_epoch}, expected at least 1")
        check_start(start)
        given_lr = read_lr(lr)  # a plain number, of the kind that checkpoints hold
        self.automatic_optimization = False
        self.curve = Curve(function, parameters, predictors)
        self.curve.known_start(init)
        init = None if init is None else {name: float(value) for name, value in init.items()}
        make_rule(optimizer, self.curve.params, ARTICLE_LR)  # refuse what is wrong now, not when the run has begun
        # Checkpoints hold text and numbers only; an optimizer class among the hyperparameters would be pickled.
        self.save_hyperparameters(
            {
                "function": function,
                "parameters": parameters,
                "init": init,
                "start": start,
                "loss": loss,
                "lr": given_lr,
                "steps_per_epoch": steps_per_epoch,
                "predictors": predictors,
            }
        )
        self.init = init
        self.start = start
        self.loss = loss
        self.loss_function = make_loss(loss)
        self.given_lr = given_lr
        self.lr = given_lr if isinstance(given_lr, float) else ARTICLE_LR
        self.optimizer_class = optimizer
        self.steps_per_epoch = steps_per_epoch
        self.train_mse = MeanSquaredError()
        self.descent = self._new_descent()
        self.began: str | None = None
        self.started = False

    def setup(self, stage: str) -> None:
        """Find starting values, from the generator that made the data where there is one, and a learning rate."""
        if stage != "fit":
            return
        if not self.started:
            self._start()
        self.descent = self._new_descent()

    def _start(self) -> None:
        data = self.own_data()
        if data is None:  # somebody else's: nothing is known of them before the first batch
            if self.start == "data" or self.given_lr == AUTO:
                raise InputError("start: data, and lr: auto, need a data module of gd_lightning.data, such as Table")
            generator = torch.Generator().manual_seed(torch.initial_seed())
            self.curve.start(initialize(len(self.curve.names), generator), self.init)
        else:
            points = data.points.to(self.curve.params.detach())
            self.curve.set_params(self.curve.params.expand(*points.batch, -1))
            self.began = set_start(self.curve, points, data.generator, self.start, self.init)
            self.lr = choose_lr(self.given_lr, self.configure_optimizers(), self.curve, points, self.began)
        self.started = True

    def _new_descent(self) -> Descent:
        return Descent(self.curve, self.loss_function, self._rmse)

    def forward(self, t: Predictors) -> Tensor:
        return self.curve(t)  # type: ignore[no-any-return]

    def on_train_start(self) -> None:
        # a metric keeps its float32 when its module goes to another precision
        self.train_mse.set_dtype(self.curve.params.dtype)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take `steps_per_epoch` steps, or as many as `max_steps` still allows."""
        points = Points(*batch)
        optimizer = self._optimizer()
        log_every_n_steps: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        for _ in range(self._steps_allowed()):
            if not self.descent.step(optimizer, points, self.manual_backward):
                self.trainer.should_stop = True
                break
            steps_before = self.global_step - 1
            if log_every_n_steps and steps_before % log_every_n_steps == 0:
                history = self.descent.rmse_history
                self._log_state(steps_before, self.descent.params_before, self.descent.loss, history[-1])
        if self.descent.rmse_history:  # for callbacks that monitor them
            self.log("train/rmse", self.descent.rmse_history[-1], logger=False)
            if self.holdout_points() is not None:
                self.log("val/rmse", self._holdout_rmse(self.descent.params_before), logger=False)

    def on_train_end(self) -> None:
        points = self.points()
        if self.trainer.should_stop:
            self.descent.stop(f"a callback or a time limit ended the fit after {self.global_step} steps")
        self.descent.end(self._optimizer(), points)
        if self.descent.status != DIVERGED:
            with torch.no_grad():
                preds = self(points.t)
                loss = self.loss_function(preds, points.targets, points.sigma).sum()
            rmse = self.descent.rmse(preds, points)
            self._log_state(self.global_step, self.curve.params.detach(), loss.item(), rmse)

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Points, Tensor]:
        """The points and their prediction."""
        points = Points(*batch)
        return points, self(points.t)

    def configure_optimizers(self) -> Optimizer:
        return make_rule(self.optimizer_class, self.curve.params, self.lr)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["descent"] = self.descent.state_dict()
        checkpoint["start"] = {"lr": self.lr, "began": self.began}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.descent = self._new_descent()
        self.descent.load_state_dict(checkpoint["descent"])
        self.lr, self.began = checkpoint["start"]["lr"], checkpoint["start"]["began"]
        self.started = True

    def points(self) -> Points:
        """What is fitted, as the step sees it."""
        loader = self.trainer.train_dataloader
        assert loader is not None
        return Points(*next(iter(loader))).to(self.curve.params.detach())

    def holdout_points(self) -> Points | None:
        """What is kept out of the fit, in the precision and on the device of the fit."""
        data = self.own_data()
        kept_out = None if data is None else data.holdout_points
        return None if kept_out is None else kept_out.to(self.curve.params.detach())

    def result(self) -> FitResult:
        """What the fit has found so far."""
        data = self.own_data()
        return FitResult.of(
            self.descent,
            self.points(),
            seed=None if data is None else data.seed,
            loss=self.loss,
            start=self.began,
            holdout=self.holdout_points(),
            facts={} if data is None else data.facts,
            labels=() if data is None else data.labels,
            series=() if data is None else data.series_names,
        )

    def own_data(self) -> Series | None:
        """The data module, where it is one of ours, which tells more than its batches."""
        data = getattr(self.trainer, "datamodule", None)
        return data if isinstance(data, Series) else None

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

    def _holdout_rmse(self, params: Tensor) -> float:
        """RMSE over all points that are kept out."""
        points = self.holdout_points()
        assert points is not None
        with torch.no_grad():
            preds = self.curve.evaluate(points.t, params)
        return root(mse(preds[points.present], points.targets[points.present]))

    def _log_state(self, step: int, params: Tensor, loss: float, rmse: float) -> None:
        """Write loss, RMSE and parameters as they were after a number of steps."""
        scalars = {"train/loss": loss, "train/rmse": rmse}
        if self.holdout_points() is not None:
            scalars["val/rmse"] = self._holdout_rmse(params)
        if params.dim() == 1:  # of many series, TensorBoard would make a thousand curves
            scalars |= {f"parameters/{name}": value for name, value in by_name(self.curve, params).items()}
        for logger in self.loggers:
            logger.log_metrics(scalars, step)
