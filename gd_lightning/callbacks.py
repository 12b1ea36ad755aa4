"""When to draw, when to show progress, and what a run leaves behind."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from gd_lightning.card import card, scalars, steps_table
from gd_lightning.conditioning import Guidance
from gd_lightning.convergence import Tolerance
from gd_lightning.data import Series
from gd_lightning.errors import InputError
from gd_lightning.files import write_whole
from gd_lightning.landscape import check_axes
from gd_lightning.milestones import is_round
from gd_lightning.module import CurveFit
from gd_lightning.optim import is_many
from gd_lightning.pictures import descent_pictures, picture, strip
from gd_lightning.rendering import Pixels, Reel, pixels, png
from gd_lightning.report import report
from gd_lightning.report_cells import flat
from gd_lightning.result import FitResult
from gd_lightning.run_folder import run_folder_for_writing
from gd_lightning.terminal import say
from gd_lightning.uncertainty import Uncertainty
from gd_lightning.words import plural

__all__ = [
    "LearningRateGuide",
    "NothingLeft",
    "PredictionPlots",
    "RunReport",
    "StepProgressBar",
    "Stopping",
    "steps_allowed",
]


SEEN = 1e-6  # beside a parameter, the least way that a picture can show
CURVATURE_AGAIN = 10  # steps after which the curvature of a function that is not linear is looked at again


def curve_fit(module: LightningModule) -> CurveFit:
    """The module as what these callbacks can show.

    Raises:
        InputError: it is another kind of module.
    """
    if not isinstance(module, CurveFit):
        raise InputError(f"given a {type(module).__name__}, expected a CurveFit, which these callbacks report on")
    return module


def log_picture(trainer: Trainer, tag: str, picture: Pixels, step: int) -> None:
    """Hand a picture to TensorBoard, where that is a logger of the run."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(tag, picture, step, dataformats="HWC")


class PredictionPlots(Callback):
    """Draws predictions against data: chosen steps to TensorBoard, the last one and a film strip as PNG files.

    Step k means after k steps, so that 0 is before training. The run's folder receives `prediction.png` and
    `film_strip.png`.

    Args:
        every_n_steps: draw each n-th step; 0 .. 10, 20, 50, 100, 200, ... unless given. The
            first and the last are drawn always.
        film_strip: the steps that the film strip shows; the article shows six.
        ylim: range of the y axis; chosen from what is drawn unless given.
        landscape: two parameters, over which the loss is drawn with the way that the descent took; the two that show
            most of it unless given; `false` draws none. Of several series none is drawn.
    """

    def __init__(
        self,
        every_n_steps: int | None = None,
        film_strip: Sequence[int] = (1, 2, 3, 4, 5, 6),
        ylim: tuple[float, float] | None = None,
        landscape: bool | list[str] = True,
    ) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise InputError(f"plots.every_n_steps: given {every_n_steps}, expected at least 1")
        if any(step < 0 for step in film_strip):
            raise InputError(f"plots.film_strip: given {list(film_strip)}, expected steps of 0 or more")
        if ylim is not None and not -math.inf < ylim[0] < ylim[1] < math.inf:
            raise InputError(f"plots.ylim: given {list(ylim)}, expected two numbers, the lower one first")
        self.every_n_steps = every_n_steps
        self.film_strip = sorted(set(film_strip))
        self.ylim = ylim
        self.landscape = landscape
        self.frames: dict[int, list[float]] = {}
        self._reel = Reel()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = curve_fit(pl_module)

        def look(step: int, params: Tensor) -> None:
            self._keep_frame(step, params)
            n = self.every_n_steps
            if trainer.is_global_zero and (is_round(step) if n is None else step % n == 0):
                log_picture(trainer, "prediction", self._prediction(module, params, f"step {step}"), step)

        if not isinstance(self.landscape, bool):
            check_axes(module.curve, self.landscape)
        module.watchers.append(look)
        self._look = look

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        curve_fit(pl_module).watchers.remove(self._look)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step, module = trainer.global_step, curve_fit(pl_module)
        params, diverged = module.curve.params.detach(), module.descent.diverged
        if not diverged:
            self._keep_frame(step, params)
        folder = run_folder_for_writing(trainer)
        if folder is None:
            return
        moment = f"diverged at step {step}; the step before" if diverged else f"step {step}"
        told = None if diverged else module.result().shown_uncertainty
        self._reel = Reel()  # what else would stay of those before, a resumed run has not drawn
        last = self._prediction(module, params, moment, told)
        log_picture(trainer, "prediction", last, step)
        write_whole(folder / "prediction.png", png(last))
        if self.frames:
            frames = pixels(self._film_strip(module))
            log_picture(trainer, "film_strip", frames, step)
            write_whole(folder / "film_strip.png", png(frames))
        if self.landscape is not False and params.dim() == 1:
            self._draw_descent(trainer, module, folder)
        result = module.result()
        if result.interval_kind == "profile" and result.arrived is True:
            self._draw_profile(trainer, result, folder)

    def state_dict(self) -> dict[str, Any]:
        return {"frames": self.frames}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.frames = dict(state_dict["frames"])

    def _draw_descent(self, trainer: Trainer, module: CurveFit, folder: Path) -> None:
        """The way through the landscape of the loss, and each parameter against step."""
        result = module.result()
        best = result.summary.best_params
        names = None if isinstance(self.landscape, bool) else self.landscape
        title = f"after {plural(result.steps, 'step')} of {rule_and_lr(result)}{of_sample(module)}"
        points, loss_function = module.points(), module.loss_function
        start, end = result.path[0][1], result.path[-1][1]
        moved = bool(((start - end).abs() > SEEN * end.abs()).any())
        path = result.path if moved else result.path[-1:]  # a start at the minimum leaves nothing to see of the way
        optimum = module.curve.params.detach().double() if best is None else best
        landscape, parameters = descent_pictures(
            module.curve, points, loss_function, path, optimum, names=names, title=title
        )
        for tag, figure in (("landscape", landscape), ("parameters", parameters)):
            if figure is not None:
                drawn = pixels(figure)
                log_picture(trainer, tag, drawn, result.steps)
                write_whole(folder / f"{tag}.png", png(drawn))

    def _draw_profile(self, trainer: Trainer, result: FitResult, folder: Path) -> None:
        """The profile of each parameter, where the intervals are from them."""
        try:
            drawn = pixels(result.profile(result.level).plot())
        except InputError:  # which the report tells
            return
        log_picture(trainer, "profile", drawn, result.steps)
        write_whole(folder / "profile.png", png(drawn))

    def _keep_frame(self, step: int, params: Tensor) -> None:
        if step in self.film_strip:
            self.frames[step] = params.tolist()

    def _prediction(self, module: CurveFit, params: Tensor, moment: str, told: Uncertainty | None = None) -> Pixels:
        drawn = self._drawn(module)
        moment += of_sample(module)
        drawn |= {"holdout": module.holdout_points(), "told": told, "level": module.level}

        def draw(figure: Figure | None) -> Figure:
            return picture(module.curve, module.points(), params, moment, **drawn, figure=figure)

        return pixels(self._reel.next(draw))

    def _film_strip(self, module: CurveFit) -> Figure:
        frames = []
        for step, values in sorted(self.frames.items()):
            after = "before training" if step == 0 else f"after {plural(step, 'step')}"
            frames.append((after, module.curve.params.new_tensor(values)))
        title = f"{module.curve.equation}, {rule_and_lr(module.result())}{of_sample(module)}"
        return strip(module.curve, module.points(), frames, title=title, **self._drawn(module))

    def _drawn(self, module: CurveFit) -> dict[str, Any]:
        """What all pictures of a run share: the data's own names, and the range."""
        data = module.own_data()
        labels = (*module.curve.predictors, "y") if data is None else data.labels
        return {"labels": labels, "series": () if data is None else data.series_names, "ylim": self.ylim}


class Stopping(Callback):
    """Ends a run when no step has anything more to gain.

    All three tolerances are about what is still to come, as the tangent at the present parameters tells it: what the
    last step brought says nothing where steps are small. A run has converged when both loss and gradient are within
    theirs, or the step is. Levenberg-Marquardt needs none of them: it goes on until rounding ends it.

    Args:
        loss: the share of the loss that is still to be gained; 1e-6, in double precision 1e-10, unless given.
        gradient: cosine of the angle between the residuals and the direction in which a parameter moves the
            predictions, which is 0 at the minimum; the square root of `loss` unless given.
        step: the step to the minimum beside the size of each parameter, for data that are fitted exactly; a tenth of
            `loss` unless given.
        off: go on to the last step, whatever is reached.
    """

    def __init__(
        self, loss: float | None = None, gradient: float | None = None, step: float | None = None, off: bool = False
    ) -> None:
        given = {"loss": loss, "gradient": gradient, "step": step}
        self.given = {name: value for name, value in given.items() if value is not None}
        Tolerance.of(torch.float64, self.given)  # refuses what is none
        self.off = off

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = curve_fit(pl_module)
        module.descent.tolerance = None if self.off else Tolerance.of(module.curve.params.dtype, self.given)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        trainer.should_stop = trainer.should_stop or curve_fit(pl_module).descent.finished


class NothingLeft(Callback):
    """Lets the training of a resumed run that has no step left begin and end, which Lightning skips.

    So that it looks at its end as the run would have done that it goes on with. It has to be the first callback.
    """

    def __init__(self) -> None:
        self._begun = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._begun:
            return
        for hook in ("on_train_start", "on_train_end"):
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                getattr(callback, hook)(trainer, pl_module)
            getattr(pl_module, hook)()


class RunReport(Callback):
    """Writes what a run found: `result.json`, TensorBoard's text card and hparams, and the terminal's tables.

    Args:
        command: what was typed to make this run, for the card.

    Attributes:
        next_command: what to type next, for the terminal.
        result: what was found, at the end.
        first_process: whether this is the process that speaks for all.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self.next_command = ""
        self.result: FitResult | None = None
        self.first_process = True
        self._descending = True
        self._told = False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._descending = False

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = curve_fit(pl_module)
        self.result = self._result(trainer, module)
        self.first_process = trainer.is_global_zero
        folder = run_folder_for_writing(trainer)
        if not trainer.is_global_zero:
            return
        content = self.result.to_dict()
        if folder is not None:
            self.result.write_json(folder / "result.json")
            self._show_in_tensorboard(trainer, module, content)
        self._tell(content)
        if folder is not None:
            say(f"Run folder: {folder}\nNext: {self.next_command}")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._told or trainer.train_dataloader is None:
            return
        interrupted = isinstance(exception, KeyboardInterrupt | SIGTERMException)
        if interrupted and self._descending:
            self.result = self._so_far(trainer, pl_module, "interrupted")
            folder = run_folder_for_writing(trainer)
            if folder is not None:
                self.result.write_json(folder / "result.json")
        elif isinstance(exception, OSError) and trainer.is_global_zero:  # what cannot be written is said at least
            self._tell(self._so_far(trainer, pl_module, "ended").to_dict())

    def _so_far(self, trainer: Trainer, pl_module: LightningModule, how: str) -> FitResult:
        """The result of a fit that has come to a sudden end."""
        module = curve_fit(pl_module)
        if self._descending:
            module.descent.stop(f"{how} after {len(module.descent.rmse_history)} steps")
        return self._result(trainer, module)

    def _tell(self, content: dict[str, Any]) -> None:
        """Print the steps and the report."""
        self._told = True
        if (steps := steps_table(content)) is not None:
            Console(file=sys.stdout).print(steps)
        say(report(content))

    def _result(self, trainer: Trainer, module: CurveFit) -> FitResult:
        """What was found, with what the command has to say of what to try next."""
        return module.result().for_command(steps_allowed(trainer, module), undone(module))

    def _show_in_tensorboard(self, trainer: Trainer, module: CurveFit, content: dict[str, Any]) -> None:
        text = card(content, self.command)
        hparams = {
            "function": content["function"],
            "optimizer": content["optimizer"],
            **(
                {}
                if content["lr"] is None
                else {"lr": str(content["lr"]) if isinstance(content["lr"], list) else content["lr"]}
            ),
            "steps": content["steps"],
            "steps_per_epoch": module.steps_per_epoch,
            "seed": content["seed"],
            "status": content["status"] if isinstance(content["status"], str) else content["message"],
            "loss": content["loss"],
        }
        metrics = final_metrics(content) if content["steps"] else {}
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("about this run", text, content["steps"])
                logger.log_hyperparams(hparams, metrics, content["steps"])
                for tag, value in scalars(content).items():
                    logger.experiment.add_scalar(tag, value, content["steps"])


def undone(module: CurveFit) -> tuple[str, ...]:
    """What has to be taken back for another update rule."""
    scheduler = ("--model.scheduler", "null") if module.scheduler is not None else ()
    return scheduler + (("--model.compile", "false") if module.compile_steps else ())


def of_sample(module: CurveFit) -> str:
    """What the title of a picture says where it shows a sample of the points."""
    table = module.streamed()
    return "" if table is None or len(table.targets) == table.look.n else f", sample of {len(table.targets)} points"


def rule_and_lr(result: FitResult) -> str:
    """The update rule, with its learning rate where it has one."""
    one = result.lr is not None and not is_many(result.lr)
    return f"{result.optimizer}, lr = {float(result.lr):.4g}" if one else result.optimizer


def steps_allowed(trainer: Trainer, module: CurveFit) -> int | None:
    """How many steps the limits of a run allow; none where only time does."""
    epochs = -1 if trainer.max_epochs is None else trainer.max_epochs
    data = getattr(trainer, "datamodule", None)
    batches = data.batches_per_epoch if isinstance(data, Series) else 1
    limits = [trainer.max_steps, epochs * batches * module.steps_per_epoch]
    return min((limit for limit in limits if limit >= 0), default=None)


def final_metrics(content: dict[str, Any]) -> dict[str, float]:
    """What TensorBoard compares runs by; of several series the medians."""
    metrics = {"final/rmse": content["rmse"], "final/holdout_rmse": content["holdout_rmse"]}
    return {name: median(flat(value)) for name, value in metrics.items() if flat(value)}


class LearningRateGuide(Callback):
    """Says what the curvature of the loss allows the learning rate to be, before the first step.

    Of a function that is not linear in its parameters the curvature changes on the way: it is looked at again after
    steps 10, 20, 50, 100, ..., or at the end of the batch in which they are taken, and logged as
    `guidance/largest_stable_lr`, `guidance/lr` and `guidance/condition_number`.

    Args:
        auto: how a warning spells the learning rate that is found; as in Python unless given.
    """

    def __init__(self, auto: str = 'lr="auto"') -> None:
        self.auto = auto
        self.warned = False
        self._changes = False
        self._seen = 0  # the steps that were behind the run at the last look

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = curve_fit(pl_module)
        told = module.guide()
        if told is None:
            return
        if trainer.is_global_zero and trainer.global_step == 0:
            say("\n".join(told.sentences()))
        self._warn(trainer, told)
        self._log(trainer, told, trainer.global_step)
        self._changes, self._seen = not told.exact, trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._changes:
            return
        since, self._seen = max(self._seen + 1, CURVATURE_AGAIN), trainer.global_step
        if any(map(is_round, range(since, self._seen + 1))):
            told = curve_fit(pl_module).guidance_now()
            assert told is not None  # as at the start
            self._warn(trainer, told)
            self._log(trainer, told, self._seen)

    def _warn(self, trainer: Trainer, told: Guidance) -> None:
        warning = told.warning(self.auto)
        if warning is not None and trainer.is_global_zero and not self.warned:
            self.warned = True
            say(f"Warning: {warning}")

    def _log(self, trainer: Trainer, told: Guidance, step: int) -> None:
        figures = {
            "guidance/largest_stable_lr": told.largest_stable_lr,
            "guidance/lr": told.lr,
            "guidance/condition_number": told.condition_number,
        }
        for logger in trainer.loggers:
            logger.log_metrics({name: value for name, value in figures.items() if math.isfinite(value)}, step)


class StepProgressBar(ProgressBar):
    """One bar over all steps of the fit with the present RMSE, on standard error, where that is a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        console = Console(stderr=True)
        if not (self._enabled and console.is_terminal and trainer.is_global_zero):
            return
        total = steps_allowed(trainer, curve_fit(pl_module))
        self._progress = Progress(
            TextColumn("fit"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("RMSE {task.fields[rmse]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._progress.add_task("fit", total=total, completed=trainer.global_step, rmse="")
        self._progress.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        history = curve_fit(pl_module).descent.rmse_history
        if self._progress is not None and history:
            now = f"{history[-1]:.6g}"
            self._progress.update(self._progress.task_ids[0], completed=trainer.global_step, rmse=now)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
