"""The LightningModule: a curve, and the hand-written step that fits it."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from typing import Any, Literal, Self

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import MeanSquaredError

from gd_lightning import imports
from gd_lightning.conditioning import AUTO, Guidance, Sample, guidance
from gd_lightning.curve import Curve, initialize
from gd_lightning.data import Series
from gd_lightning.descent import Descent
from gd_lightning.descent_in_parts import DescentInParts, Processes, Share, check_apart
from gd_lightning.errors import InputError, suggest
from gd_lightning.fitting import check_absolute, check_compiled, choose_lr, make_scheduler, read_lr, refreshed
from gd_lightning.levenberg_marquardt import LevenbergMarquardt
from gd_lightning.losses import make_loss, pooled_rmse, root
from gd_lightning.optim import ARTICLE_LR, SGD, Rule, UpdateRule, make_optimizer
from gd_lightning.points import Points, Predictors
from gd_lightning.result import FitResult, by_name, plain
from gd_lightning.starts import check_start, is_linear, set_start
from gd_lightning.streamed import StreamedTable
from gd_lightning.streamed_result import StreamedResult
from gd_lightning.uncertainty import KINDS_OF_INTERVALS, LEVEL, check_level

__all__ = ["CurveFit"]

Batch = Points | Share | tuple[Tensor, ...]
# A rule's bare name on the command line is looked up in the first of these: ours go before torch.optim's.
AnyRule = (
    Callable[[Iterable[Parameter], float], UpdateRule]
    | Callable[[Iterable[Parameter], float], LevenbergMarquardt]
    | Rule
)
AnyScheduler = Callable[[Optimizer], LRScheduler] | Callable[[Optimizer], ReduceLROnPlateau]


class CurveFit(LightningModule):
    """Fits a function to a series, or to several side by side, by gradient descent, a step at a time.

    The step is `descend`: predict, loss, gradient, params -= lr * gradient. The last of a batch goes through
    `self.optimizers()`; those before it, and all of Levenberg-Marquardt, are counted as if they did, so that
    `global_step`, `max_steps`, checkpoints and the logs count steps.

    Args:
        function: a family's name, such as gaussian; a formula, such as `a*exp(-t/tau) + c`; or an import path, such as
            my_curves.damped, also from a file in the folder where the command runs. `gd-lightning functions` lists
            the families.
        parameters: what is demanded of the parameters, by name, such as
            `{a: {init: 1, min: 0}, b: {expr: "2*a"}, c: {fixed: 0}}`.
        init: starting values by name.
        start: where parameters without a starting value begin. `random`: at random normal numbers, as in the article.
            `data`: at the function's guess from the data or, without one, at the best of many random starts. Unless
            given, it is `random` for a function that is linear in its parameters, and `data` for any other; on the
            command line it is `data` for every table that is fitted without start and lr.
        loss: mse, mae, huber or cauchy; `huber(2.5)` sets the scale of the last two. With sigma each is weighted.
        lr: learning rate, a number above 0, one for each parameter by its name, or `auto`. Where the function is linear
            in its parameters, `auto` is the best fixed one of the rule, which for plain descent is
            2 / (largest + smallest curvature). For any other function it is 1 / largest curvature, found anew as that
            changes. Unless given, it is `auto`; but 1e-5, the article's, for a function that is linear in its
            parameters and starts at random or given values.
        optimizer: the update rule: SGD, Momentum, Nesterov, RMSprop, Adam, LevenbergMarquardt, or a class of
            `torch.optim`. SGD unless given; on the command line LevenbergMarquardt, where a table is fitted without
            start, lr and optimizer.
        scheduler: changes the learning rate after each step: a class of `torch.optim.lr_scheduler`.
        steps_per_epoch: steps taken in one `training_step`, at least 1.
        compile: compile a hundred steps into one call, which makes long runs about twenty times faster and needs a C++
            compiler, `steps_per_epoch` of some hundred or more, and a rule of `gd_lightning.optim`.
        predictors: names of the independent variables, where the data name them; the first argument of a function, or
            the t or x of a formula, unless given. On the command line they are the columns of `data.t`.
        absolute_sigma: if true, sigma is used in an absolute sense and the covariance of the parameters reflects these
            absolute values. If false, only the relative magnitudes of sigma matter: the covariance is scaled so that
            the reduced chi-square is 1.
        intervals: which ones are reported: `t`, symmetric, from the tangent; `profile`, of the likelihood; or
            `bootstrap`, from a thousand fits to data drawn anew.
        level: chance that an interval holds the true value.

    Attributes:
        descent: the descent as it stands.
        guidance: what the curvature at the start says of the learning rate; none before `guide` was called, and of
            Levenberg-Marquardt.
        watchers: called after each step, with its number and the parameters before it.
        halt: what to raise after the present step, where somebody has asked for an end.
        left: steps of the present batch that such an end has left.

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
        lr: float | Literal["auto"] | dict[str, float] | None = None,
        optimizer: AnyRule | None = None,
        scheduler: AnyScheduler | None = None,
        steps_per_epoch: int = 1,
        compile: bool = False,
        predictors: list[str] | None = None,
        absolute_sigma: bool = False,
        intervals: str = "t",
        level: float = LEVEL,
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
        check_level(level)
        if intervals not in KINDS_OF_INTERVALS:
            raise InputError(f"intervals: given {intervals!r}; {suggest(str(intervals), KINDS_OF_INTERVALS)}")
        self.automatic_optimization = False
        self.curve = Curve(function, parameters, predictors)
        given_lr = read_lr(lr, self.curve.names)
        self.curve.known_start(init)
        init = None if init is None else {name: float(value) for name, value in init.items()}
        # refuse what is wrong now, not when the run has begun
        rule: Rule = SGD if optimizer is None else optimizer
        trial = make_optimizer(rule, self.curve.params, ARTICLE_LR)
        make_scheduler(scheduler, trial, given_lr)
        if compile:
            check_compiled(trial, scheduler, steps_per_epoch, "steps_per_epoch")
        # Checkpoints hold text and numbers only; an optimizer class among the hyperparameters would be pickled.
        self.save_hyperparameters(
            {
                "function": function,
                "parameters": parameters,
                "init": init,
                "start": start,
                "loss": loss,
                "lr": lr if lr is None or isinstance(lr, str) else plain(given_lr),  # of the kind that checkpoints hold
                "steps_per_epoch": steps_per_epoch,
                "compile": compile,
                "predictors": predictors,
                "absolute_sigma": absolute_sigma,
                "intervals": intervals,
                "level": level,
            }
        )
        self.init = init
        self.start = start
        self.loss = loss
        self.loss_function = make_loss(loss)
        self.given_lr = given_lr
        self.lr: float | Tensor = ARTICLE_LR if given_lr is None or isinstance(given_lr, str) else given_lr
        self.rule = rule
        self.scheduler = scheduler
        self.absolute_sigma = absolute_sigma
        self.intervals = intervals
        self.level = level
        self.steps_per_epoch = steps_per_epoch
        self.compile_steps = compile
        self.train_mse = MeanSquaredError()
        self.descent = self._new_descent()
        self.began: str | None = None
        self.started = False
        self.watchers: list[Callable[[int, Tensor], None]] = []
        self.guidance: Guidance | None = None
        self.halt: BaseException | None = None
        self.left = 0
        self._result: FitResult | None = None

    @classmethod
    def load_from_checkpoint(
        cls, checkpoint_path: Any, *args: Any, allow_import: Iterable[str] = (), **kwargs: Any
    ) -> Self:
        """Lightning's, for a file that somebody else may have written.

        Args:
            checkpoint_path: the file.
            args: as Lightning takes them.
            allow_import: modules that the file may name, beside those in the working folder.
            kwargs: as Lightning takes them.

        Raises:
            InputError: the file names a function of another module.
        """
        with imports.only(allow_import):
            # what it stores is not to choose who makes the module of it
            kwargs |= {"weights_only": True, "_instantiator": None}
            return super().load_from_checkpoint(checkpoint_path, *args, **kwargs)

    def setup(self, stage: str) -> None:
        """Find starting values, from the generator that made the data where there is one, and a learning rate."""
        if stage != "fit":
            return
        if (table := self.streamed()) is not None:
            self.check_streamed(table)
        if not self.started:
            self._start()
        self.descent = self._new_descent() if table is None else self._new_descent_in_parts(table)
        self.guidance = None
        self._result = None

    def _start(self) -> None:
        data = self.own_data()
        if data is None:  # somebody else's: nothing is known of them before the first batch
            if self.start == "data" or self.given_lr == AUTO:
                raise InputError("start: data, and lr: auto, need a data module of gd_lightning.data, such as Table")
            generator = torch.Generator().manual_seed(torch.initial_seed())
            self.curve.start(initialize(len(self.curve.names), generator), self.init)
        else:
            check_absolute(self.absolute_sigma, getattr(data, "sigma", None) is not None)
            if "64" in str(self.trainer.precision):  # which Lightning makes it only after this
                self.curve.double()
            points = data.points.to(self.curve.params.detach())
            self.curve.set_params(self.curve.params.expand(*points.batch, -1))
            self.began = set_start(self.curve, points, data.generator, self.start, self.init)
            optimizer = self.configure_optimizers()
            self.lr = choose_lr(
                self.given_lr, optimizer, self.curve, points, self.began, self.loss_function, self._sample()
            )
        self.started = True

    def _new_descent(self) -> Descent:
        descent = Descent(self.curve, self.loss_function)
        descent.compile = self.compile_steps
        return descent

    def _new_descent_in_parts(self, table: StreamedTable) -> Descent:
        add = partial(self.trainer.strategy.reduce, reduce_op="sum")
        processes = Processes(self.global_rank, self.trainer.world_size, add)
        return DescentInParts(self.curve, self.loss_function, table.points, processes, table.look.mean)

    def check_streamed(self, table: StreamedTable) -> None:
        """Refuse what cannot be done with points that are never all in memory.

        Raises:
            InputError: saying what to leave out.
        """
        if isinstance(make_optimizer(self.rule, self.curve.params, ARTICLE_LR), LevenbergMarquardt):
            raise InputError(
                "optimizer: LevenbergMarquardt needs the residuals of all points at once, and a streamed table has "
                "them a part at a time; choose SGD, Momentum, Adam or another rule of a gradient"
            )
        if self.steps_per_epoch > 1:
            raise InputError(
                f"steps_per_epoch: given {self.steps_per_epoch}, and each batch of a streamed table is one step; leave "
                "it out"
            )
        check_apart(self.curve, table.points.to(self.curve.params.detach()))

    def forward(self, t: Predictors) -> Tensor:
        return self.curve(t)  # type: ignore[no-any-return]

    def on_train_start(self) -> None:
        # a metric keeps its float32 when its module goes to another precision
        self.train_mse.set_dtype(self.curve.params.dtype)
        self.guide()
        if self.scheduler is None:
            optimizer, points = self._optimizer(), self.points()
            self.descent.refresh = refreshed(
                self.given_lr, self.guidance, optimizer, self.curve, points, self.loss_function, self._sample()
            )

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take `steps_per_epoch` steps, or as many as `max_steps` still allows."""
        points: Any = batch if isinstance(batch, Share) else Points(*batch)
        history = self.descent.rmse_history
        optimizer = self._optimizer()
        backward = self.manual_backward if self.trainer.world_size > 1 else Tensor.backward
        log_every_n_steps: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        left, self.left = self._steps_allowed(), 0
        while left > 0:
            step = self.global_step
            if left == 1 and not isinstance(optimizer, LevenbergMarquardt):
                # Lightning's wrapper of the optimizer counts the step and calls hooks, which costs more than the step:
                # the last of a batch goes through it, and those before are counted here, as compiled ones all are.
                taken = self.descent.advance(self._wrapped(), points, 1, backward)
            else:
                most = left if self.compile_steps else max(left - 1, 1)
                taken = self.descent.advance(optimizer, points, most, backward)
                self._count_steps(len(taken))
            if not taken:
                # no step is left that could meet a least number of steps or epochs
                self.trainer.fit_loop.epoch_loop.min_steps = self.trainer.fit_loop.min_epochs = None
                self.trainer.should_stop = True
                break
            for i, (params, loss) in enumerate(taken):
                for watch in self.watchers:
                    watch(step + i, params)
                if self.loggers and log_every_n_steps and (step + i) % log_every_n_steps == 0:
                    rmse = history[-1] if isinstance(points, Share) else self._rmse(params, points)
                    self._log_state(step + i, params, rmse, loss)
            left -= len(taken)
            if left > 0 and self.halt is not None:
                self.left = left
                raise self.halt
        if history:  # for callbacks that monitor them
            self.log("train/rmse", history[-1], logger=False)
            if self.holdout_points() is not None:
                self.log("val/rmse", self._holdout_rmse(self.descent.params_before), logger=False)

    def on_train_end(self) -> None:
        if self.trainer.should_stop:
            self.descent.stop(f"a callback or a time limit ended the fit after {self.global_step:,} steps")
        points = self._all_points()
        self.descent.end(self._optimizer(), points)
        if not self.descent.diverged:
            params = self.curve.params.detach()
            if isinstance(self.descent, DescentInParts):
                assert self.descent.totals is not None
                loss, rmse = self.descent.totals.loss, self.descent.totals.rmse
            else:
                with torch.no_grad():
                    loss = self.loss_function(self(points.t), points.targets, points.sigma).sum().item()
                rmse = self._rmse(params, points)
            self._log_state(self.global_step, params, rmse, loss)
        self._result = self.result()  # so that all who ask share one summary

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Points, Tensor]:
        """The points and their prediction."""
        points = Points(*batch)
        return points, self(points.t)

    def configure_optimizers(self) -> Optimizer:
        optimizer = make_optimizer(self.rule, self.curve.params, self.lr)
        self.descent.schedule(make_scheduler(self.scheduler, optimizer))
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["descent"] = self.descent.state_dict()
        told = None if self.guidance is None else asdict(self.guidance)
        checkpoint["start"] = {"lr": self.lr, "began": self.began, "guidance": told}
        checkpoint["left"] = self.left
        if self.left:  # to Lightning a batch whose steps are not all taken has not begun
            for count in ("total", "current"):
                progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"][count]
                progress |= {"ready": progress["processed"], "started": progress["processed"]}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        table = self.streamed() if isinstance(self.descent, DescentInParts) else None
        self.descent = self._new_descent() if table is None else self._new_descent_in_parts(table)
        self.descent.load_state_dict(checkpoint["descent"])
        start = checkpoint["start"]
        self.lr, self.began = start["lr"], start["began"]
        self.guidance = None if start["guidance"] is None else Guidance(**start["guidance"])
        self.left = checkpoint.get("left", 0)  # older ones were written at the end of an epoch
        self.started = True

    def guide(self) -> Guidance | None:
        """What the curvature says of the learning rate: at the start, unless this was asked before."""
        if self.guidance is None:
            self.guidance = self.guidance_now()
        return self.guidance

    def guidance_now(self) -> Guidance | None:
        """The same at the present parameters."""
        optimizer = self._optimizer()
        if isinstance(optimizer, LevenbergMarquardt):
            return None
        points = self.points()
        linear = is_linear(self.curve, points)
        return guidance(self.curve, points, optimizer, self.loss_function, linear=linear, sample=self._sample())

    def points(self) -> Points:
        """What is fitted, as the step sees it; of a streamed table the sample."""
        if (table := self.streamed()) is not None:
            return table.points.to(self.curve.params.detach())
        loader = self.trainer.train_dataloader
        assert loader is not None
        return Points(*next(iter(loader))).to(self.curve.params.detach())

    def holdout_points(self) -> Points | None:
        """What is kept out of the fit, in the precision and on the device of the fit."""
        data = self.own_data()
        holdout = None if data is None else data.holdout_points
        return None if holdout is None else holdout.to(self.curve.params.detach())

    def result(self) -> FitResult:
        """What the fit has found: so far, or at its end."""
        if self._result is not None:
            return self._result
        data, optimizer = self.own_data(), self._optimizer()
        found = FitResult.of(
            self.descent,
            self.points(),
            seed=None if data is None else data.seed,
            loss=self.loss,
            start=self.began,
            holdout=self.holdout_points(),
            facts={} if data is None else data.facts,
            labels=() if data is None else data.labels,
            series=() if data is None else data.series_names,
            optimizer=type(optimizer).__name__,
            lr=None if isinstance(optimizer, LevenbergMarquardt) else optimizer.param_groups[0]["lr"],
            guidance=self.guidance,
            absolute_sigma=self.absolute_sigma,
            interval_kind=self.intervals,
            level=self.level,
            source="" if data is None else data.source,
        )
        if isinstance(self.descent, DescentInParts) and (table := self.streamed()) is not None:
            look = table.look
            return StreamedResult.of_all(found, self.descent.totals, look.log_sigma, look.typical_sigma)
        return found

    def own_data(self) -> Series | None:
        """The data module, where it is one of ours, which tells more than its batches."""
        data = getattr(self.trainer, "datamodule", None)
        return data if isinstance(data, Series) else None

    def streamed(self) -> StreamedTable | None:
        """The data module, where it reads its points a part at a time."""
        data = self.own_data()
        return data if isinstance(data, StreamedTable) else None

    def _sample(self) -> Sample | None:
        """What the points at hand stand for; none where they are all there are, and all are in each step."""
        return None if (table := self.streamed()) is None else table.as_sample

    def _all_points(self) -> Any:
        """What is fitted; of a streamed table what this process sees of it, part by part."""
        if (table := self.streamed()) is None:
            return self.points()
        return table.whole(self.global_rank, self.trainer.world_size).to(self.curve.params.detach())

    def _optimizer(self) -> Optimizer:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, Optimizer)  # one, because configure_optimizers returns one
        return optimizer

    def _wrapped(self) -> LightningOptimizer:
        wrapped = self.optimizers()
        assert isinstance(wrapped, LightningOptimizer)
        return wrapped

    def _count_steps(self, count: int) -> None:
        """Let `global_step` know of steps that did not go through Lightning's wrapper."""
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        for counter in (progress.total, progress.current):
            counter.ready += count
            counter.completed += count

    def _steps_allowed(self) -> int:
        """Steps of this epoch: `steps_per_epoch`, or what an interruption has left, and never beyond `max_steps`."""
        steps = self.left or self.steps_per_epoch
        if self.trainer.max_steps < 0:
            return steps
        return min(steps, self.trainer.max_steps - self.global_step)

    def _holdout_rmse(self, params: Tensor) -> float:
        """RMSE over all points that are kept out."""
        points = self.holdout_points()
        assert points is not None
        with torch.no_grad():
            preds = self.curve.evaluate(points.t, params)
        return pooled_rmse(preds, points.targets, points.sigma)

    def _rmse(self, params: Tensor, points: Points) -> float:
        with torch.no_grad():
            preds = self.curve.evaluate(points.t, params)
        self.train_mse.reset()
        self.train_mse.update(preds[points.present], points.targets[points.present])
        return root(self.train_mse.compute())

    def _log_state(self, step: int, params: Tensor, rmse: float, loss: float) -> None:
        """Write loss, RMSE and parameters as they were after a number of steps."""
        scalars = {"train/loss": loss, "train/rmse": rmse}
        if self.holdout_points() is not None:
            scalars["val/rmse"] = self._holdout_rmse(params)
        if params.dim() == 1:  # of many series, TensorBoard would make a thousand curves
            scalars |= {f"parameters/{name}": value for name, value in by_name(self.curve, params).items()}
        for logger in self.loggers:
            logger.log_metrics(scalars, step)
