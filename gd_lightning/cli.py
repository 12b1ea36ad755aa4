"""The command line: LightningCLI with the commands fit, predict, sweep and compare."""

import argparse
import hashlib
import inspect
import json
import math
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, Protocol, get_args

import numpy as np
import torch
import yaml
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from rich.console import Console
from torch import Tensor

from gd_lightning import checkpoints
from gd_lightning.callbacks import (
    LearningRateGuide,
    NothingLeft,
    PredictionPlots,
    RunReport,
    StepProgressBar,
    Stopping,
    steps_allowed,
)
from gd_lightning.cautions import ARRIVED
from gd_lightning.command import is_typed
from gd_lightning.comparison import BY, DRAWN, FOLDS, compare
from gd_lightning.comparison_report import comparison_report
from gd_lightning.comparison_report import write_run as write_comparison
from gd_lightning.configurations import check_output, class_at, only_classes, restrict
from gd_lightning.data import ARTICLE_SEED, SEED_BITS, Series, columns_of
from gd_lightning.descent import DIVERGED
from gd_lightning.errors import InputError, suggest
from gd_lightning.explain import explain
from gd_lightning.files import write_whole
from gd_lightning.fitting import check_absolute, check_function, check_points, check_seed
from gd_lightning.imports import OPTION
from gd_lightning.interruptions import Interruptions
from gd_lightning.landscape import check_axes
from gd_lightning.last_checkpoint import LastCheckpoint
from gd_lightning.levenberg_marquardt import LevenbergMarquardt
from gd_lightning.module import CurveFit
from gd_lightning.points import Points, check_kept, check_numbers
from gd_lightning.quiet import silence
from gd_lightning.run_folder import RunLogger, run_folder
from gd_lightning.runs import LOGS, run_of
from gd_lightning.spreadsheets import csv_text
from gd_lightning.streamed import StreamedTable
from gd_lightning.sweep import STEPS, side_by_side
from gd_lightning.sweep_report import read_lrs, read_rules, sweep_report, write_run
from gd_lightning.terminal import complain, printable, say, warn
from gd_lightning.uncertainty import AT_BOUND, LEVEL, Bands, Uncertainty, check_level

__all__ = ["CommandLine", "run"]

WRONG_INPUT, HAS_DIVERGED, INTERRUPTED = 2, 3, 130
ARTICLE_EPOCHS = 10
FIRST_LOOK_STEPS = 100  # an epoch, where a table is fitted and no limit given
PRECISIONS = ("None", "32", "32-true", "64", "64-true")  # in fewer bits the loss of most data is infinite
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
ALLOW = f"""{OPTION} MODULE, as often as needed, allows functions and classes of other modules to be named: beside those
of files in this folder, and of this package, torch.optim and Lightning's callbacks and loggers."""
HEEDED = ("model.lr", "trainer.max_steps", "trainer.max_epochs")  # what a sweep takes only where it is meant for it
MEANINGS = {  # of options that LightningCLI adds and explains otherwise
    "seed_everything": "Seed of the noise, the start, and what is kept out.",
    "ckpt_path": "Checkpoint of a fit: `last` for the newest run, the folder of a run, or a file; fit goes on from it.",
}
COMPARISONS = ("sweep", "compare")  # which need none of the Trainer's loop, and leave no checkpoint


class Parser(LightningArgumentParser):
    """A parser whose errors are one line, and which takes options only as they are spelt."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        restrict()
        super().__init__(*args, allow_abbrev=False, **{"epilog": ALLOW, **kwargs})

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        config = super().parse_args(*args, **kwargs)
        only_classes(config)
        return config

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser within a parser, whose message becomes a part of the outer one's
            super().error(message, ex)
        complain(explain(message, self))
        sys.exit(WRONG_INPUT)


class Probe(argparse.ArgumentParser):
    """A parser that looks for a few options and leaves errors to the real one."""

    def error(self, message: str) -> NoReturn:
        raise argparse.ArgumentError(None, message)


class RunConfig(SaveConfigCallback):
    """Keeps what reproduces a run: config.yaml in its folder, and model and data in every checkpoint.

    A resumed run ends where an undisturbed one does, so that its config starts from the beginning too.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.kept = {
            "config": plain(self.parser, self.config),
            "data": fingerprint(trainer.datamodule),  # type: ignore[attr-defined]
            "series": list(trainer.datamodule.series_names),  # type: ignore[attr-defined]
        }
        self.folder = run_folder(trainer)  # which every process has to ask for
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = self.folder
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "config.yaml").exists():
            raise InputError(f"trainer.logger: {folder} holds a run already; leave its version out, or give another")
        write_whole(folder / "config.yaml", self.parser.dump(self.config, skip_none=False))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(self.kept)


MADE = {"model": CurveFit, "plots": PredictionPlots, "stopping": Stopping, "trainer": Trainer}
SECTIONS = ("seed_everything", "model", "data", "plots", "stopping", "trainer")


def plain(parser: LightningArgumentParser, config: Any) -> dict[str, Any]:
    """A configuration as plain text and numbers, without what only one command takes."""
    everything = yaml.safe_load(parser.dump(config, skip_none=False))
    return {key: everything[key] for key in SECTIONS}


def essentials(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a plain configuration that decides where a descent goes."""
    model = dict(config["model"])
    if isinstance(model["optimizer"], str):  # a class that takes no more than its learning rate
        model["optimizer"] = {"class_path": model["optimizer"]}
    data = dict(config["data"])
    if "path" in data.get("init_args", {}):  # however it is spelt
        path = data["init_args"]["path"]
        resolved = [str(Path(one).resolve()) for one in ([path] if isinstance(path, str) else path)]
        data["init_args"] = {**data["init_args"], "path": resolved}
    if "time_origin" in data.get("init_args", {}):  # it follows from the data, which have a fingerprint of their own
        data["init_args"] = {**data["init_args"], "time_origin": None}
    return {
        "seed_everything": config["seed_everything"],
        "model": canonical(model),
        "data": canonical(data),
        "trainer": {"precision": str(config["trainer"]["precision"] or "32-true").removesuffix("-true")},
    }


def refuse_null(section: str, made: Any, given: Any) -> None:
    """Refuse null for what a class does not take it for, which the parser lets through in files and for data.

    Raises:
        InputError: naming the key.
    """
    for name, argument in inspect.signature(made).parameters.items():
        null = given.get(name, argument.default) is None
        if null and argument.default is not None and type(None) not in get_args(argument.annotation):
            raise InputError(f"{section}.{name}: given null; leave it out for {argument.default}")


def canonical(value: Any) -> Any:
    """The same configuration with each class by the one path where it is defined."""
    if not isinstance(value, dict):
        return value
    value = {key: canonical(item) for key, item in value.items()}
    if "class_path" in value:
        found = class_at(value["class_path"])
        value["class_path"] = f"{found.__module__}.{found.__qualname__}"
    return value


def fingerprint(data: Series) -> str:
    """A few words by which to tell whether the data are the same."""
    if isinstance(data, StreamedTable):
        return data.fingerprint
    digest = hashlib.sha256()
    points = data.points
    for values in (*points.columns, points.targets, *([] if points.sigma is None else [points.sigma])):
        digest.update(values.double().numpy().tobytes())
    return f"{int(points.present.sum())} points, sha256 {digest.hexdigest()[:12]}"


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

    def _sweep_parser(self) -> LightningArgumentParser:
        """What is compared, and the options of fit but for a checkpoint; no method of the Trainer has them."""
        parser = self.init_parser(
            description=f"{COMMANDS['sweep']} Takes the options of fit; plots and stopping are not used."
        )
        self._add_arguments(parser)
        given = parser.add_argument_group(
            "What is compared: one of these; learning rates around the limit unless given"
        )
        given.add_argument(
            "--lrs",
            type=list[float] | str | None,
            default=None,
            help="Learning rates: 1e-6,1e-5,3e-5; or 1e-6:1e-4:30 for thirty from 1e-6 to 1e-4 on a logarithmic scale. "
            "model.lr is not used then.",
        )
        given.add_argument(
            "--starts",
            type=int | None,
            default=None,
            help="Number of starts: that of fit, and others drawn like it where it is random, else around it.",
        )
        given.add_argument(
            "--rules",
            type=str | None,
            default=None,
            help="Update rules, such as SGD,Momentum,Adam,LevenbergMarquardt,torch.optim.AdamW; each with the "
            "--model.lr that is typed, or else with one that suits it.",
        )
        given.add_argument(
            "--heed",
            type=list[str],
            default=[],
            help=f"Which of {', '.join(HEEDED)} count although they stand in a configuration, which may be one of fit; "
            "those that are typed do, and a sweep saves which.",
        )
        self._subcommand_parsers["sweep"] = parser
        return parser

    def _compare_parser(self) -> LightningArgumentParser:
        """What is compared, and the options of fit, so that its configurations can be read."""
        parser = self.init_parser(
            description=f"{COMMANDS['compare']} Takes data and seed of fit; of the model only absolute_sigma is used."
        )
        self._add_arguments(parser)
        given = parser.add_argument_group("What is compared")
        given.add_argument(
            "--functions",
            type=list[str] | str | None,
            default=None,
            help='Families, formulas and import paths with commas between them: "gaussian,a*exp(-t/tau)+c"; every '
            "family unless given.",
        )
        given.add_argument(
            "--by",
            type=str,
            default="aicc",
            help=f"What ranks them: {', '.join(BY)}; the last two by the RMSE of points that are kept out.",
        )
        given.add_argument(
            "--folds", type=int, default=FOLDS, help="Number of random parts, of which cv keeps out each, holdout one."
        )
        given.add_argument("--best", type=int, default=DRAWN, help="How many of them are drawn over the data.")
        self._subcommand_parsers["compare"] = parser
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
        path = self._resolve(typed.ckpt_path, typed.root)
        if path is None or typed.config is not None:
            return args
        config = checkpoints.load_whole(path)[1].get("config")
        if config is None:
            return args
        file = folder / "config.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return [args[0], "--config", str(file), *args[1:]]

    @staticmethod
    def _resolve(ckpt_path: str | None, root: str | None) -> Path | None:
        if ckpt_path == checkpoints.LAST:
            return checkpoints.find_last(Path(root or "."))
        return checkpoints.of(Path(ckpt_path)) if ckpt_path else None

    def _parse_ckpt_path(self) -> None:
        """In place of LightningCLI's, which lets the checkpoint override what was typed without a word."""
        config = self.config[self.config.subcommand]
        for section in ("model", "data", "trainer"):
            if config.get(section) is None:
                raise InputError(f"{section}: given null, expected keys and values; --print_config shows them")
        for section, made in {**MADE, "data": class_at(config.data.class_path)}.items():
            refuse_null(section, made, config.data.init_args if section == "data" else config[section])
        self._settle_seed(config)
        if self.config.subcommand == "compare":
            self._settle_model(config)
        self._settle_first_look(config)
        self._settle_precision(config)
        self._settle_limits(config.trainer)
        self._refuse_settings(config.trainer)
        if self.config.subcommand == "predict" and not is_typed(self.typed, "--output"):
            check_output(config.output, ".csv")
        if self.config.subcommand in COMPARISONS:
            self.checkpoint = None
            return
        named = config.ckpt_path
        path = self._resolve(named, config.trainer.default_root_dir)
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
            self._refuse_what_cannot_go_on(path, config.trainer)
        self._refuse_differences(path, plain(self._parser(self.config.subcommand), config))

    def _refuse_settings(self, trainer: Any) -> None:
        """What Lightning takes and a fit does not."""
        if trainer.limit_train_batches == 0 or trainer.limit_predict_batches == 0:
            raise InputError("trainer: a limit of 0 batches leaves nothing to fit or predict; leave it out")
        if "://" in str(trainer.default_root_dir):
            raise InputError(f"trainer.default_root_dir: given {trainer.default_root_dir}, expected a folder here")
        if any(way in str(trainer.strategy) for way in ("spawn", "fork", "notebook")):
            raise InputError(
                f"trainer.strategy: given {trainer.strategy!r}, whose processes keep the result to themselves; "
                "expected ddp"
            )
        if str(trainer.precision) not in PRECISIONS:
            raise InputError(f"trainer.precision: given {trainer.precision!r}, expected '32-true' or '64-true'")

    def _settle_seed(self, config: Any) -> None:
        check_seed(config.seed_everything, "seed_everything", SEED_BITS)
        if config.data.init_args.get("seed", 0) is None:
            config.data.init_args.seed = config.seed_everything

    def _settle_model(self, config: Any) -> None:
        """A comparison has many functions: the one of a configuration, and how it is fitted, is not used."""
        for arg in self.typed:
            option = arg.partition("=")[0]
            if option.startswith("--model.") and option != "--model.absolute_sigma":
                raise InputError(
                    f"{option[2:]}: compare fits each function as it stands; --functions chooses them, and of the "
                    "model only absolute_sigma is used"
                )
        absolute_sigma = config.model.absolute_sigma
        config.model = self._parser("compare").get_defaults().model
        config.model.absolute_sigma = absolute_sigma

    def _settle_first_look(self, config: Any) -> None:
        """What suits a table: its columns are the predictors, and what is left open starts from the data."""
        columns = config.data.init_args.get("t")
        if not isinstance(columns, str | list):
            return
        if self.config.subcommand == "compare":
            return
        columns = list(columns_of(columns))
        if config.model.predictors is None or sorted(config.model.predictors) == sorted(columns):
            config.model.predictors = columns
        streamed = config.data.class_path.rpartition(".")[2] == StreamedTable.__name__
        if config.model.start is None and config.model.lr is None:
            config.model.start = "data"
            open_ = config.model.optimizer is None and config.model.scheduler is None and not config.model.compile
            if open_ and self.config.subcommand != "sweep" and not streamed:
                config.model.optimizer = Namespace(  # type: ignore[no-untyped-call]
                    class_path=f"gd_lightning.{LevenbergMarquardt.__name__}"
                )
        unlimited = config.trainer.max_epochs is None and config.trainer.max_steps == -1 and not streamed
        if unlimited and config.model.steps_per_epoch == 1 and not is_typed(self.typed, "--model.steps_per_epoch"):
            config.model.steps_per_epoch = FIRST_LOOK_STEPS

    def _settle_precision(self, config: Any) -> None:
        """Levenberg-Marquardt computes in double precision; its parameters are not to lose that on the way."""
        optimizer = config.model.optimizer
        name = getattr(optimizer, "class_path", optimizer) or ""
        if name.endswith(LevenbergMarquardt.__name__) and config.trainer.precision is None:
            config.trainer.precision = "64-true"

    def _settle_limits(self, trainer: Any) -> None:
        """The limit that was typed goes before the other one in the file; ten epochs where there is none."""
        typed = [name for name in ("max_epochs", "max_steps") if is_typed(self.typed, f"--trainer.{name}")]
        if typed == ["max_steps"] or (trainer.max_epochs is None and trainer.max_steps != -1):
            trainer.max_epochs = -1
        elif typed == ["max_epochs"]:
            trainer.max_steps = -1
        if trainer.max_epochs is None:
            trainer.max_epochs = ARTICLE_EPOCHS
        for name in ("max_epochs", "max_steps"):
            value = trainer[name]
            if value == 0 or value < -1:
                raise InputError(f"trainer.{name}: given {value}, expected at least 1 (or -1 for no such limit)")
        if trainer.max_epochs == trainer.max_steps == -1 and trainer.max_time is None:
            raise InputError("trainer: max_epochs and max_steps are both -1, which never ends; set one of them")

    def _is_heeded(self, name: str) -> bool:
        """Whether something counts for a sweep: it was typed, or was for the sweep whose configuration this is."""
        return is_typed(self.typed, f"--{name}") or name in self.config[self.subcommand].heed

    def _refuse_what_cannot_go_on(self, path: Path, trainer: Any) -> None:
        assert self.checkpoint is not None
        if "verdicts" not in self.checkpoint["descent"]:
            raise InputError(f"ckpt_path: {path} is of an older gd_lightning, which kept less; start afresh")
        verdicts = self.checkpoint["descent"]["verdicts"].values()
        if self.checkpoint["descent"]["finished"] and all(status == DIVERGED for status, _ in verdicts):
            raise InputError(
                f"ckpt_path: the run of {path} diverged, and would again; start afresh with a smaller model.lr"
            )
        epochs = checkpoints.epochs_done(self.checkpoint)
        if 0 <= trainer.max_epochs < epochs:
            raise InputError(
                f"trainer.max_epochs: given {trainer.max_epochs}, and {path} has {epochs} behind it; "
                f"expected at least {epochs}"
            )

    def _refuse_differences(self, path: Path, present: dict[str, Any]) -> None:
        """A run that goes on must have the model and the data that it began with."""
        assert self.checkpoint is not None
        if "config" in self.checkpoint:
            try:
                saved = essentials(self.checkpoint["config"])
            except (LookupError, TypeError, AttributeError):
                raise InputError(f"ckpt_path: {path} holds no configuration of a fit; start afresh") from None
            present = essentials(present)
        else:  # made by a Trainer in Python, which knows no configuration
            saved = {"model": self.checkpoint["hyper_parameters"]}
            present = {"model": {key: present["model"][key] for key in saved["model"]}}
        for key, (old, new) in checkpoints.differences(saved, present).items():
            if self.config.subcommand == "fit":
                raise InputError(
                    f"{key}: {old!r} in {path} and {new!r} now; a resumed run goes on as it began, so give {old!r}, "
                    "or leave out --ckpt_path to start afresh"
                )
            if key == "model.function":
                raise InputError(f"{key}: {old!r} in {path} and {new!r} now; give {old!r}, or no --config at all")

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
        if self.subcommand == "predict":
            self.save_config_callback = None
            return super().instantiate_trainer(
                logger=False, enable_checkpointing=False, enable_progress_bar=False, **kwargs
            )
        if given.accelerator == "auto" and torch.backends.mps.is_available():
            kwargs["accelerator"] = (
                "cpu"  # Apple's GPU has no double precision, in which curvature and summary are told
            )
        callbacks: list[Any] = [self.interruptions, self.report, LearningRateGuide()]
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
        self.report.next_command = tensorboard_command(self.trainer)
        if self.checkpoint is None:
            return
        before, now = self.checkpoint.get("data"), fingerprint(self.datamodule)
        if before is not None and before != now:
            raise InputError(
                f"data: {before} when {self._get(self.config, 'ckpt_path')} was written and {now} now; "
                "a resumed run needs the same data, so restore them or leave out --ckpt_path"
            )
        if self.trainer.is_global_zero:
            done = self.checkpoint["global_step"]
            say(f"Going on from {self._get(self.config, 'ckpt_path')} after step {done}.")
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
        return converted

    @staticmethod
    def _bring_in_the_order_of_the_data(model: CurveFit, fitted: Sequence[str], now: Sequence[str]) -> None:
        """Series are known by their names, whatever their order in the table, and whether it holds all of them."""
        if now and not fitted:
            raise InputError("data.series: given, and one series was fitted, without a name; leave it out")
        strange = [f"{name!r} was not fitted" for name in now if name not in fitted]
        if strange or bool(fitted) != bool(now):
            raise InputError(f"data.series: {[*strange, 'given none'][0]}; expected the series {', '.join(fitted)}")
        if now:
            order = [fitted.index(name) for name in now]
            model.curve.set_params(model.curve.params.detach()[order])

    def predict(self, model: CurveFit, datamodule: Series, ckpt_path: str, **kwargs: Any) -> None:
        """Write predictors, data, prediction and residual of every point as CSV."""
        datamodule.setup("predict")
        points = self._in_the_precision_of_the_run(datamodule.all_points)
        unknown = points.targets.isnan()
        check_numbers(Points(points.t, points.targets.masked_fill(unknown, 0.0)), datamodule.predictors)
        assert self.checkpoint is not None
        model.load_state_dict(self.checkpoint["state_dict"])
        self._bring_in_the_order_of_the_data(model, self.checkpoint.get("series") or [], datamodule.series_names)
        fitted = tuple(model.curve.params.shape[:-1])
        if fitted != points.batch:
            raise InputError(
                f"data: {describe_batch(points.batch)}, and {ckpt_path} was fitted to {describe_batch(fitted)}; "
                "expected the same number of series"
            )
        level = check_level(self._get(self.config, "level"))
        told, remark = self._told(model, Path(ckpt_path), datamodule.series_names)
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

    @staticmethod
    def _told(model: CurveFit, ckpt_path: Path, series: Sequence[str]) -> tuple[Uncertainty | None, str]:
        """How sure the parameters are, as the run that made a checkpoint has left it beside it; none where it has not.

        Series come in the order of the data. Beside it stands what is to be told of the bands.
        """
        path = run_of(ckpt_path) / "result.json"
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            told = Uncertainty.from_dict(result)
            fitted = result["data"].get("series") or series
            told = told.select([fitted.index(name) for name in series]) if series else told
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None, f"No bands: {path} does not tell the errors of these parameters."
        if not np.array_equal(told.params, model.curve.params.detach().double().cpu().numpy()):
            return None, f"No bands: the parameters of {path} are not those of {ckpt_path}."
        if not set(np.ravel(result["status"])) <= set(ARRIVED):
            return told, "The fit has not arrived at a minimum, which bands are about: these only tell how steep it is."
        held = [name for i, name in enumerate(told.names) if (told.kinds[..., i] == AT_BOUND).any()]
        if held:
            return told, f"At a bound: {', '.join(held)}, which the bands take as known to be there."
        return told, ""

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
        model, config = self.model, self.config[self.subcommand]
        self._refuse_streamed()
        self.datamodule.setup("fit")
        points = self._in_the_precision_of_the_run(self.datamodule.points)
        check_points(model.curve, points, self.datamodule.predictors)
        if points.batch:
            raise InputError(f"data: {describe_batch(points.batch)}; sweep takes one: leave data.series out")
        if model.scheduler is not None:
            raise InputError("model.scheduler: sweep compares learning rates that stay; leave the scheduler out")
        model.curve.to(points.targets.dtype)
        check_function(model.curve, points)
        points = points.where(points.present)
        compares_lrs = config.starts is None and config.rules is None
        found = side_by_side(
            model.curve,
            points,
            self.datamodule.generator,
            lrs=read_lrs(config.lrs),
            starts=config.starts,
            rules=read_rules(config.rules),
            init=model.init,
            start=model.start,
            loss=model.loss,
            lr=None if compares_lrs or not self._is_heeded("model.lr") else model.given_lr,
            steps=self._sweep_steps(),
            optimizer=model.optimizer_class,
            seed=self.datamodule.seed,
        )
        config.heed = [name for name in HEEDED if self._is_heeded(name)]
        self._leave(sweep_report(found), lambda folder: write_run(folder, found))

    def compare(self) -> None:
        """Fit many functions to the data, and rank them."""
        config = self.config[self.subcommand]
        check_options(config)
        self._refuse_streamed()
        self.datamodule.setup("fit")
        points = self.datamodule.points
        if points.batch:
            raise InputError(f"data: {describe_batch(points.batch)}; compare takes one: leave data.series out")
        if self.datamodule.holdout_points is not None:
            raise InputError(
                "data.holdout: compare keeps points out itself, with --by holdout or --by cv; leave data.holdout out"
            )
        found = compare(
            dict(zip(self.datamodule.predictors, points.columns, strict=True)),
            points.targets,
            config.functions,
            sigma=points.sigma,
            absolute_sigma=self.model.absolute_sigma,
            by=config.by,
            folds=config.folds,
            seed=self.datamodule.seed,
        )
        if found.best is None:
            raise InputError(f"functions: none could be fitted; {found.rows[0].function}: {found.rows[0].reason}")
        found = replace(found, labels=tuple(self.datamodule.labels))
        self._leave(
            comparison_report(found), lambda folder: write_comparison(folder, found, config.best, self.report.command)
        )

    def _refuse_streamed(self) -> None:
        if isinstance(self.datamodule, StreamedTable):
            raise InputError(
                f"data: {self.subcommand} computes on all points at once; give it a part of them as gd_lightning.Table"
            )

    def _leave(self, report: Any, write: Callable[[Path], None]) -> None:
        """What a comparison ends with: its run folder, and its report on the terminal."""
        folder = run_folder(self.trainer)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            text = self._parser(self.subcommand).dump(self.config[self.subcommand], skip_none=False)
            write_whole(folder / "config.yaml", text)
            write(folder)
        Console().print(report, soft_wrap=True, highlight=False)
        if folder is not None:
            say(f"Run folder: {folder}\nNext: {tensorboard_command(self.trainer)}")

    def _sweep_steps(self) -> int:
        """The limit that was typed; else that of the configuration, but no fewer than tell learning rates apart."""
        allowed = steps_allowed(self.trainer, self.model)
        steps = STEPS if allowed is None else allowed
        heeded = self._is_heeded("trainer.max_steps") or self._is_heeded("trainer.max_epochs")
        return steps if heeded else max(steps, STEPS)


def check_options(config: Any) -> None:
    """Refuse what no comparison can be by, before data are read.

    Raises:
        InputError: saying what to give.
    """
    if config.by not in BY:
        raise InputError(f"by: given {config.by!r}; {suggest(config.by, BY)}")
    if config.best < 1:
        raise InputError(f"best: given {config.best}, expected at least 1")


def describe_batch(batch: tuple[int, ...]) -> str:
    """How many series, in words."""
    return f"{math.prod(batch)} series side by side" if batch else "one series"


def prediction_rows(points: Points, preds: Tensor, names: Sequence[str], bands: Bands | None = None) -> list[list[Any]]:
    """One row for each point: its series, where there are several, predictors, data, prediction, residual, bands.

    Data that are not known, and the residuals from them, are left empty.
    """
    columns = [column.expand_as(preds) for column in points.columns]
    told = [] if bands is None else list(bands[1:])
    values = torch.stack([*columns, points.targets, preds, preds - points.targets, *told], dim=-1).cpu()
    present = points.present.cpu()
    data = len(columns)

    def cells(row: Any) -> list[Any]:
        return list(row) if not math.isnan(row[data]) else [*row[:data], "", row[data + 1], "", *row[data + 3 :]]

    if preds.dim() == 1:
        return [cells(row) for row in values[present].numpy()]
    names = names or [f"series {i + 1}" for i in range(len(values))]
    return [[name, *cells(row)] for i, name in enumerate(names) for row in values[i][present[i]].numpy()]


def tensorboard_command(trainer: Trainer) -> str:
    """What to type to look at the runs beside this one, with room for every image of a tag."""
    ours = Path(sys.executable).with_name("tensorboard")
    program = "tensorboard"
    if ours.exists() and shutil.which(program) != str(ours):
        program = str(ours.relative_to(Path.cwd()) if ours.is_relative_to(Path.cwd()) else ours)
    folder = run_folder(trainer)
    logs = folder.parent if folder else "lightning_logs"
    return shlex.join([program, "--logdir", str(logs), "--host", "127.0.0.1", "--samples_per_plugin", "images=1000"])


def run(args: Sequence[str]) -> int:
    """Run a command line; what is wrong with the input is one line on standard error."""
    silence()
    if args[:1] == ["fit_many"]:
        from gd_lightning.many_command import Going, ManyLine

        going = Going()
        return ended(lambda: ManyLine(args[1:], Parser, going), going)
    report = RunReport(command=shlex.join(["gd-lightning", *args]))
    with Interruptions() as interruptions:
        code = ended(lambda: CommandLine(args, report, interruptions), interruptions)
    if code == 0 and report.result is not None and np.all(report.result.status == DIVERGED):
        if report.first_process:
            complain(f"diverged: {report.result.message}")
        return HAS_DIVERGED
    return code


class Ending(Protocol):
    """What a command leaves where it ends early: its folder; its exit code, where that was, and how to go on."""

    interrupted: int | None
    where: str
    folder: Path | None


def unnamed(error: OSError, folder: Path | None) -> str:
    """What the system says; where it names no file, it is one of TensorBoard's, which are written in a thread."""
    if error.filename is not None or folder is None or error.strerror is None:
        return str(error)
    return f"{error.strerror}: the files of TensorBoard in {folder}"


def ended(command: Callable[[], object], ending: Ending) -> int:
    """The exit code of a command, and the line that says why it came to no good end."""
    try:
        command()
    except (KeyboardInterrupt, SystemExit) as error:
        if ending.interrupted is None and isinstance(error, SystemExit):  # Lightning turns Ctrl-C into exit code 1
            raise
        ending.interrupted = ending.interrupted or INTERRUPTED
    except OSError as error:
        complain(unnamed(error, ending.folder))
        return ending.interrupted or WRONG_INPUT
    except (InputError, MisconfigurationException, UnicodeDecodeError) as error:
        complain(error)
        return WRONG_INPUT
    except Exception as error:
        reason = error.__cause__ or error.__context__
        if not isinstance(reason, InputError):  # which a class says that a parser was making
            raise
        complain(reason)
        return WRONG_INPUT
    if ending.interrupted is None:
        return 0
    sys.stderr.write(f"gd-lightning: interrupted{printable(ending.where)}\n")
    return ending.interrupted
