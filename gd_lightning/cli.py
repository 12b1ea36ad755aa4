"""The command line: LightningCLI with the commands fit, predict, sweep and compare."""

import argparse
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from rich.console import Console

from gd_lightning import checkpoints, compare_command, convergence, exit_codes, sweep_command
from gd_lightning.callbacks import (
    LearningRateGuide,
    NothingLeft,
    PredictionPlots,
    RunReport,
    StepProgressBar,
    Stopping,
    steps_allowed,
)
from gd_lightning.command import is_typed
from gd_lightning.comparison_report import comparison_report
from gd_lightning.comparison_report import write_run as write_comparison
from gd_lightning.configurations import check_output
from gd_lightning.data import ARTICLE_SEED, Series
from gd_lightning.endings import ended, leave_processes
from gd_lightning.errors import InputError
from gd_lightning.files import write_whole
from gd_lightning.fitting import check_absolute, check_function, check_points
from gd_lightning.interruptions import Interruptions
from gd_lightning.landscape import check_axes
from gd_lightning.last_checkpoint import LastCheckpoint
from gd_lightning.module import CurveFit
from gd_lightning.parser import Parser
from gd_lightning.points import Points, check_kept, check_numbers, check_sigma_kept
from gd_lightning.predictions import in_order_of_the_data, prediction_rows, uncertainty_of_run
from gd_lightning.quiet import silence
from gd_lightning.raised import while_restoring
from gd_lightning.resume import check_batch, check_data, check_going_on, check_same
from gd_lightning.run_config import RunConfig, fingerprint, plain_config
from gd_lightning.run_folder import RunLogger, claimed, run_folder
from gd_lightning.runs import LOGS, run_of
from gd_lightning.settings import settle
from gd_lightning.slurm import check_nothing_to_go_on_with, no_requeue
from gd_lightning.spreadsheets import csv_text
from gd_lightning.streamed import StreamedTable
from gd_lightning.sweep_report import sweep_report, write_run
from gd_lightning.terminal import complain, say, warn
from gd_lightning.uncertainty import LEVEL, check_level

__all__ = ["CommandLine", "run"]

COMMANDS = {
    "functions": "List the families of functions, or show one.",
    "fit": "Fit a curve; without options, the article's ten steps.",
    "report": "Tell again what a run found, as text, JSON, Markdown or LaTeX.",
    "predict": "Write the predictions of a fit, with its data, as CSV.",
    "sweep": "Compare many learning rates, starts or update rules in one run.",
    "compare": "Fit many functions to the same data, and rank them.",
    "fit_many": "Fit a function to each of very many series, from Parquet to Parquet.",
    "export": "Write the curve of a run as ONNX, program, formula or JSON.",
}
MEANINGS = {  # of options that LightningCLI adds and explains otherwise
    "seed_everything": "Seed of the noise, the start, and what is kept out.",
    "ckpt_path": "Checkpoint of a fit: `last` for the newest run, the folder of a run, or a file; fit goes on from it.",
}
COMPARISONS = ("sweep", "compare")  # which need none of the Trainer's loop, and leave no checkpoint


class Probe(argparse.ArgumentParser):
    """A parser that looks for a few options and leaves errors to the real one."""

    def error(self, message: str) -> NoReturn:
        raise argparse.ArgumentError(None, message)


class CommandLine(LightningCLI):
    """fit, predict, sweep and compare, from a YAML configuration and options.

    What it adds to LightningCLI: one seed for noise and start, the run's folder under
    `trainer.default_root_dir`, the step or epoch limit that was typed going before the one in the file, and
    a resumed run that may not differ from the one it goes on with.
    """

    model: CurveFit
    datamodule: Series

    def __init__(self, args: Sequence[str], report: RunReport, interruptions: Interruptions) -> None:
        self.typed = list(args)
        self.report = report
        self.interruptions = interruptions
        super().__init__(
            CurveFit,
            Series,
            subclass_mode_data=True,
            save_config_callback=RunConfig,
            save_config_kwargs={"save_to_log_dir": False},  # which would not be written whole or not at all
            trainer_defaults={
                "devices": 1,  # one series is no work for more
                "log_every_n_steps": 1,  # Lightning's 50 hides a run of ten steps
                "enable_model_summary": False,
                "use_distributed_sampler": False,  # each process holds the full batch, so that its mean is exact
            },
            seed_everything_default=ARTICLE_SEED,
            parser_kwargs={"description": "Fit curves to data by gradient descent, and watch every step."},
            parser_class=Parser,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=list(args),
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "weights_only"},
            "predict": {"model", "dataloaders", "datamodule", "return_predictions", "weights_only"},
        }

    def setup_parser(self, *args: Any) -> None:
        super().setup_parser(*args)
        commands = self.parser._subcommands_action
        assert commands is not None
        for name in ("functions", "report", "export", "fit_many"):  # for help and messages: they run elsewhere
            commands.add_subcommand(name, Parser(prog=name))
        commands.add_subcommand("sweep", self._sweep_parser() if self._may_be("sweep") else Parser(prog="sweep"))
        commands.add_subcommand(
            "compare", self._compare_parser() if self._may_be("compare") else Parser(prog="compare")
        )
        for choice in commands._choices_actions:
            choice.help = COMMANDS[choice.dest]
        for parser in self._subcommand_parsers.values():
            for action in parser._actions:
                action.help = MEANINGS.get(action.dest, action.help)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Model and data first, which a user of this project changes; then Lightning's forty options."""
        parser.add_lightning_class_args(CurveFit, "model")
        parser.add_lightning_class_args(Series, "data", subclass_mode=True)
        parser.add_lightning_class_args(PredictionPlots, "plots")
        parser.add_lightning_class_args(Stopping, "stopping")
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})
        parser.set_defaults({"data": {"class_path": "gd_lightning.NoisySeries"}})

    def _may_be(self, command: str) -> bool:
        """Whether a command may have been typed; the hundred options of another take a while to make, for nothing."""
        return self.typed[:1] == [command] or not set(self.typed[:1]) & set(COMMANDS)

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        if not self._may_be(subcommand):
            self._subcommand_method_arguments[subcommand] = []
            return Parser(prog=subcommand)
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            parser.add_argument(
                "--output",
                type=str | None,
                default=None,
                help="The CSV file to write; predictions.csv in the folder of the run unless given.",
            )
            parser.add_argument(
                "--level",
                type=float,
                default=LEVEL,
                help="Chance with which the confidence and prediction bands hold the curve and new observations.",
            )
        return parser

    def _comparison_parser(self, command: str, takes: str) -> LightningArgumentParser:
        """The options of fit but for a checkpoint; no method of the Trainer has them."""
        parser = self.init_parser(description=f"{COMMANDS[command]} {takes}")
        self._add_arguments(parser)
        self._subcommand_parsers[command] = parser
        return parser

    def _sweep_parser(self) -> LightningArgumentParser:
        parser = self._comparison_parser("sweep", "Takes the options of fit; plots and stopping are not used.")
        sweep_command.add_options(parser)
        return parser

    def _compare_parser(self) -> LightningArgumentParser:
        parser = self._comparison_parser(
            "compare", "Takes data and seed of fit; of the model only absolute_sigma is used."
        )
        compare_command.add_options(parser)
        return parser

    # parse: typed options, then the checkpoint that is named, then what they leave open

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.config = parser.parse_args(self._with_checkpoint_config(args, Path(folder)))

    def _with_checkpoint_config(self, args: list[str], folder: Path) -> list[str]:
        """Where a checkpoint is named and no configuration, the checkpoint's own goes before what is typed."""
        probe = Probe(add_help=False, allow_abbrev=False)
        probe.add_argument("--ckpt_path")
        probe.add_argument("-c", "--config")
        probe.add_argument("--trainer.default_root_dir", dest="root")
        try:
            typed, _ = probe.parse_known_args(args[1:])
        except argparse.ArgumentError:
            return args
        path = checkpoints.resolve(typed.ckpt_path, typed.root)
        if path is None or typed.config is not None:
            return args
        config = checkpoints.load_whole(path)[1].get("config")
        if config is None:
            return args
        file = folder / "config.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return [args[0], "--config", str(file), *args[1:]]

    def _parse_ckpt_path(self) -> None:
        """In place of LightningCLI's, which lets the checkpoint override what was typed without a word."""
        config = self.config[self.config.subcommand]
        untouched = self._parser(self.config.subcommand).get_defaults().model
        settle(config, self.config.subcommand, self.typed, untouched)
        if self.config.subcommand == "predict" and not is_typed(self.typed, "--output"):
            check_output(config.output, ".csv")
        if self.config.subcommand in COMPARISONS:
            self.checkpoint = None
            return
        named = config.ckpt_path
        path = checkpoints.resolve(named, config.trainer.default_root_dir)
        if path is None:
            where = Path(config.trainer.default_root_dir or ".") / LOGS
            if self.config.subcommand == "predict":
                given = f"{named!r}, and {where} holds no run with a checkpoint" if named else "none"
                raise InputError(f"ckpt_path: given {given}; expected the checkpoint of a fit, or 'last' after one")
            if named:
                say(f"No earlier run under {where}: starting from the beginning.")
            config.ckpt_path = self.checkpoint = None
            return
        asked = path
        path, self.checkpoint = checkpoints.load_whole(asked)
        for line in checkpoints.remarks(asked, path):
            warn(line)
        config.ckpt_path = str(path)
        if self.config.subcommand == "fit":
            check_going_on(self.checkpoint, path, config.trainer.max_epochs)
        present = plain_config(self._parser(self.config.subcommand), config)
        check_same(self.checkpoint, path, present, goes_on=self.config.subcommand == "fit")

    # run

    def instantiate_classes(self) -> None:
        """Make what the configuration names; a class of others may raise whatever it likes."""
        try:
            super().instantiate_classes()
        except (TypeError, ValueError) as error:
            reason = error.__cause__ or error
            if isinstance(error, InputError) or isinstance(reason, InputError):
                raise
            raise InputError(f"a class of the configuration cannot be made: {reason}") from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self._get(self.config_init, "trainer")
        if self.subcommand != "fit":  # nothing is trained, of which there would be a checkpoint
            found = given.callbacks if isinstance(given.callbacks, list) else [given.callbacks]
            given.callbacks = [one for one in found if one is not None and not isinstance(one, Checkpoint)]
        if self.subcommand == "predict":
            self.save_config_callback = None
            return super().instantiate_trainer(
                logger=False, enable_checkpointing=False, enable_progress_bar=False, **kwargs
            )
        if given.accelerator == "auto" and torch.backends.mps.is_available():
            kwargs["accelerator"] = (
                "cpu"  # Apple's GPU has no double precision, in which curvature and summary are told
            )
        callbacks: list[Any] = [self.interruptions, self.report, LearningRateGuide("--model.lr auto")]
        if given.logger in (None, True):
            kwargs["logger"] = RunLogger(given.default_root_dir or ".")
        if self.subcommand in COMPARISONS:
            self.save_config_callback = None
            return super().instantiate_trainer(enable_checkpointing=False, enable_progress_bar=False, **kwargs)
        if given.enable_checkpointing is not False and given.logger is not False:
            callbacks.append(LastCheckpoint())
        elif given.enable_checkpointing is None:
            kwargs["enable_checkpointing"] = False  # there is no run folder to keep one in
        if given.enable_progress_bar is not False:
            callbacks.append(StepProgressBar())
        self.trainer_defaults["callbacks"] = callbacks
        kwargs |= no_requeue(given.plugins)
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError, MisconfigurationException) as error:  # what Lightning does not know or find
            chosen = given.accelerator if isinstance(given.accelerator, str) else "auto"
            hint = "" if chosen in ("auto", "cpu") else "; --trainer.accelerator auto takes what this machine has"
            raise InputError(f"trainer: {error}{hint}") from None
        trainer.callbacks.insert(0, NothingLeft())  # type: ignore[attr-defined]
        return trainer

    def before_fit(self) -> None:
        """Look at everything that could be wrong before anything is written."""
        if self.checkpoint is None:
            check_nothing_to_go_on_with(self.trainer.default_root_dir)
        self.datamodule.setup("fit")
        origin = getattr(self.datamodule, "time_origin", None)
        if origin is not None:  # found in the data: a prediction counts from the same date
            self.config[self.subcommand].data.init_args.time_origin = origin
        points = self._in_the_precision_of_the_run(self.datamodule.points)
        check_points(self.model.curve, points, self.datamodule.predictors)
        check_function(self.model.curve, points)
        check_absolute(self.model.absolute_sigma, getattr(self.datamodule, "sigma", None) is not None)
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, PredictionPlots) and not isinstance(callback.landscape, bool):
                check_axes(self.model.curve, callback.landscape)
        if isinstance(self.datamodule, StreamedTable):
            self.model.check_streamed(self.datamodule)
        folder = run_folder(self.trainer)
        self.report.next_command = tensorboard_command(folder.parent if folder else "lightning_logs")
        if self.checkpoint is None:
            return
        ckpt_path = self._get(self.config, "ckpt_path")
        checkpoints.check_parameters(self.checkpoint, ckpt_path, self.model.curve.function_name, self.model.curve.names)
        check_data(self.checkpoint, ckpt_path, fingerprint(self.datamodule))
        check_batch(self.checkpoint, ckpt_path, points.batch)
        if self.trainer.is_global_zero:
            done = self.checkpoint["global_step"]
            say(f"Going on from {ckpt_path} after step {done}.")
            if (
                checkpoints.epochs_done(self.checkpoint) == self.trainer.max_epochs
                or 0 <= self.trainer.max_steps <= done
            ):
                print("It has taken all its steps; give a larger --trainer.max_epochs or max_steps for more.")
        # The saved config makes the same result from the beginning.
        self.config[self.subcommand]["ckpt_path"] = None

    def _in_the_precision_of_the_run(self, points: Points) -> Points:
        double = "64" in str(self._get(self.config, "trainer").precision)
        converted = points.to(torch.empty(0, dtype=torch.float64 if double else torch.float32))
        check_kept(points.targets, converted.targets)
        if points.sigma is not None and converted.sigma is not None:
            check_sigma_kept(points.sigma, converted.sigma)
        return converted

    def fit(self, model: CurveFit, ckpt_path: str | None, **kwargs: Any) -> None:
        """Fit, from a checkpoint where there is one; whatever that holds may have been put there by somebody else."""
        try:
            self.trainer.fit(model, ckpt_path=ckpt_path, **kwargs)
        except InputError:
            raise
        except Exception as error:
            if not while_restoring(error):
                raise
            raise InputError(
                f"ckpt_path: {ckpt_path} cannot be gone on with ({type(error).__name__}: {error}); start afresh"
            ) from error

    def predict(self, model: CurveFit, datamodule: Series, ckpt_path: str, **kwargs: Any) -> None:
        """Write predictors, data, prediction and residual of every point as CSV."""
        datamodule.setup("predict")
        points = self._in_the_precision_of_the_run(datamodule.all_points)
        unknown = points.targets.isnan()
        check_numbers(Points(points.t, points.targets.masked_fill(unknown, 0.0)), datamodule.predictors)
        assert self.checkpoint is not None
        checkpoints.check_parameters(self.checkpoint, ckpt_path, model.curve.function_name, model.curve.names)
        try:
            model.load_state_dict(self.checkpoint["state_dict"])
        except RuntimeError as error:  # whatever else somebody may have put there
            raise InputError(f"ckpt_path: {ckpt_path} cannot be read: {error}") from None
        in_order_of_the_data(model, self.checkpoint.get("series") or [], datamodule.series_names)
        check_batch({"state_dict": model.state_dict()}, ckpt_path, points.batch)
        level = check_level(self._get(self.config, "level"))
        told, remark = uncertainty_of_run(model, Path(ckpt_path), datamodule.series_names)
        [(points, preds)] = self.trainer.predict(model, datamodule=datamodule) or []
        bands = None if told is None else told.bands(model.curve, points.t, preds, level, points.sigma)
        output = Path(self._get(self.config, "output") or run_of(Path(ckpt_path)) / "predictions.csv")
        names = [*(["series"] if preds.dim() > 1 else []), *datamodule.labels[:-1], "data", "prediction", "residual"]
        rows = prediction_rows(points, preds, datamodule.series_names, bands)
        table = [[*names, *(() if bands is None else bands._fields[1:])], *rows]
        try:
            write_whole(output, csv_text(table))
        except OSError as error:
            raise InputError(f"output: cannot write {output}: {error.strerror}; expected a file name") from None
        say(f"Wrote {len(rows)} rows to {output}")
        if unknown.all():
            say(f"No data, no residuals: no row has a value of {datamodule.labels[-1]}.")
        if remark:
            say(remark)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        # said to Lightning, too, so that nothing in the environment makes it read anything else
        return {**super()._prepare_subcommand_kwargs(subcommand), "weights_only": True}

    def _run_subcommand(self, subcommand: str) -> None:
        if subcommand == "sweep":
            self.sweep()
        elif subcommand == "compare":
            self.compare()
        else:
            super()._run_subcommand(subcommand)

    def sweep(self) -> None:
        """Compare many learning rates, starts or rules; it needs none of the Trainer's loop."""
        config = self.config[self.subcommand]
        self._refuse_streamed()
        self.datamodule.setup("fit")
        points = self._in_the_precision_of_the_run(self.datamodule.points)
        allowed = steps_allowed(self.trainer, self.model)
        with claimed(self.trainer) as folder:
            self.interruptions.folder = folder
            found = sweep_command.swept(self.model, self.datamodule, points, config, self.typed, allowed)
            self._leave(folder, sweep_report(found), lambda folder: write_run(folder, found))

    def compare(self) -> None:
        """Fit many functions to the data, and rank them."""
        config = self.config[self.subcommand]
        compare_command.check_options(config)
        self._refuse_streamed()
        self.datamodule.setup("fit")
        command = self.report.command
        with claimed(self.trainer) as folder:
            self.interruptions.folder = folder
            found = compare_command.compared(self.datamodule, config, self.model.absolute_sigma)
            report = comparison_report(found)
            self._leave(folder, report, lambda folder: write_comparison(folder, found, config.best, command))

    def _refuse_streamed(self) -> None:
        if isinstance(self.datamodule, StreamedTable):
            raise InputError(
                f"data: {self.subcommand} computes on all points at once; give it a part of them as gd_lightning.Table"
            )

    def _leave(self, folder: Path | None, report: Any, write: Callable[[Path], None]) -> None:
        """What a comparison ends with: its files, and its report on the terminal."""
        failed: OSError | None = None
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                text = self._parser(self.subcommand).dump(self.config[self.subcommand], skip_none=False)
                write_whole(folder / "config.yaml", text)
                write(folder)
            except OSError as error:  # what cannot be written is said at least
                failed = error
        Console(file=sys.stdout).print(report, soft_wrap=True, highlight=False)
        if failed is not None:
            raise failed
        if folder is not None:
            # alone: among more than 40 runs TensorBoard ticks none, and a sweep is 31 by itself
            say(f"Run folder: {folder}\nNext: {tensorboard_command(folder)}")


def tensorboard_command(logs: Path | str) -> str:
    """What to type to look at the runs in a folder, with room for every image of a tag."""
    ours = Path(sys.executable).with_name("tensorboard")
    program = "tensorboard"
    if ours.exists() and shutil.which(program) != str(ours):
        program = str(ours.relative_to(Path.cwd()) if ours.is_relative_to(Path.cwd()) else ours)
    return shlex.join([program, "--logdir", str(logs), "--host", "127.0.0.1", "--samples_per_plugin", "images=1000"])


def run(args: Sequence[str]) -> int:
    """Run a command line; what is wrong with the input is one line on standard error."""
    silence()
    try:
        return _run(args)
    finally:
        leave_processes()


def _run(args: Sequence[str]) -> int:
    if args[:1] == ["fit_many"]:
        from gd_lightning.many_command import Going, ManyLine

        going = Going()
        return ended(lambda: ManyLine(args[1:], going), going)
    report = RunReport(command=shlex.join(["gd-lightning", *args]))
    with Interruptions() as interruptions:
        code = ended(lambda: CommandLine(args, report, interruptions), interruptions)
    if code == 0 and report.result is not None and np.all(report.result.status == convergence.DIVERGED):
        if report.first_process:
            complain(f"diverged: {report.result.message}")
        return exit_codes.DIVERGED
    return code
