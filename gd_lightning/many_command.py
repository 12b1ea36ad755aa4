"""`gd-lightning fit_many`: Fit a function to each of very many series, from Parquet to Parquet."""

import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException

from gd_lightning.command import is_typed
from gd_lightning.configurations import check_output
from gd_lightning.data import ARTICLE_SEED
from gd_lightning.errors import InputError
from gd_lightning.exit_codes import OF_SIGNALS
from gd_lightning.fit_series import FitSeries, FitsWriter
from gd_lightning.many_progress import SeriesProgress
from gd_lightning.many_summary import summary
from gd_lightning.parquet_parts import Parts
from gd_lightning.parser import Parser
from gd_lightning.series_files import SeriesFiles
from gd_lightning.series_table import SeriesTable
from gd_lightning.slurm import check_nothing_to_go_on_with, no_requeue
from gd_lightning.terminal import say

__all__ = ["Going", "ManyLine"]

PRECISIONS = ("64-true", "32-true", "64", "32")


class Going:
    """How far a run has come.

    Attributes:
        folder: none, for its files are named.
        interrupted: the exit code of a run that Ctrl-C (130) or SIGTERM (143) ended.
        where: where that was, and how to go on.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.interrupted: int | None = None
        self.where = ""


class ManyLine(LightningCLI):
    """fit_many, from a YAML configuration and options.

    Args:
        args: what was typed after the command.
        going: is told where the run is interrupted.
    """

    model: FitSeries
    datamodule: SeriesTable

    def __init__(self, args: Sequence[str], going: Going) -> None:
        self.going = going
        self.typed = list(args)
        super().__init__(
            FitSeries,
            SeriesTable,
            run=False,
            save_config_callback=None,
            seed_everything_default=ARTICLE_SEED,
            trainer_defaults={
                "precision": "64-true",
                "devices": 1,
                "accelerator": "cpu" if not torch.cuda.is_available() else "auto",
                "logger": False,
                "enable_checkpointing": False,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "inference_mode": False,  # in which torch takes no derivatives
            },
            parser_kwargs={
                "prog": "gd-lightning fit_many",
                "description": "Fit a function to each of very many series, from Parquet to Parquet.",
            },
            parser_class=Parser,
            auto_configure_optimizers=False,
            args=list(args),
        )
        self._fit_many()

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Model and data first, which a user of this project changes; then Lightning's forty options."""
        parser.add_lightning_class_args(FitSeries, "model")
        parser.add_lightning_class_args(SeriesTable, "data")
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("seed_everything", "model.seed")
        parser.add_argument("--output", type=str, default="fits.parquet", help="The Parquet file to write.")
        parser.add_argument(
            "--overwrite", action="store_true", help="Begin anew, and replace what is there at the end."
        )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        return super().instantiate_trainer(**kwargs, **no_requeue(self.config_init.trainer.plugins))

    def before_instantiate_classes(self) -> None:
        given = self.config.trainer.precision
        if str(given) not in PRECISIONS:
            raise InputError(f"trainer.precision: given {given!r}, expected 64-true or 32-true")
        if not is_typed(self.typed, "--output"):
            check_output(self.config.output, ".parquet")
        if self.config.overwrite and not is_typed(self.typed, "--overwrite"):
            raise InputError("overwrite: given true in a configuration, expected false; type --overwrite")

    def _fit_many(self) -> None:
        """Look at everything that could be wrong, fit what is not fitted yet, and tell what came out."""
        trainer, model, files = self.trainer, self.model, self.datamodule.files
        check_nothing_to_go_on_with(trainer.default_root_dir)
        if self.datamodule.series in model.columns:
            raise InputError(f"data.series: {self.datamodule.series!r} is a parameter, too; rename one of them")
        model.prepare_for(files)
        parts = Parts(self.config.output, self._run(files))
        whole = parts.open(self.config.overwrite) if trainer.is_global_zero else False
        progress = SeriesProgress(parts, files)
        left, interruptions = _Left(self.datamodule, parts, whole), _Interruptions(files, parts, self.going)
        writer = FitsWriter(parts, self.datamodule.series)
        trainer.callbacks += [writer, progress, left, interruptions]  # type: ignore[attr-defined]
        trainer.predict(model, datamodule=self.datamodule, return_predictions=False)
        trainer.strategy.barrier()  # until every process has written its last part
        if trainer.is_global_zero:
            if whole:
                parts.remove()
            else:
                progress.look()
                parts.close(len(files))
            summary(model, self.datamodule, parts.output, progress.seconds, progress.fitted)

    def _run(self, files: SeriesFiles) -> dict[str, Any]:
        """What makes the same parts again."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        return {
            "model": {**config["model"], "compile": self.model.compiles},
            "precision": str(config["trainer"]["precision"]).removesuffix("-true"),
            "columns": self.datamodule.given | {"path": None},
            "chunks": self.datamodule.limits,
            "files": files.fingerprint,
        }


class _Left(Callback):
    """Finds, on the first process, which chunks are left to fit.

    Args:
        data: the chunks.
        parts: what is written of them.
        whole: whether the output has been made of all of them already.
    """

    def __init__(self, data: SeriesTable, parts: Parts, whole: bool) -> None:
        self.data = data
        self.parts = parts
        self.whole = whole

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        files = self.data.files
        here: set[int] = set()
        if trainer.is_global_zero:
            here = set(range(len(files))) if self.whole else self.parts.done()
        # what others have finished since is theirs: every process has to leave out the same chunks
        done: set[int] = trainer.strategy.broadcast(here)
        self.data.wanted = [i for i in range(len(files)) if i not in done]
        if done and trainer.is_global_zero:
            say(f"Going on: {files.count(*done):,} of {files.series:,} series are fitted already.")


class _Interruptions(Callback):
    """Ends the run after Ctrl-C or SIGTERM, and finds what to say of it.

    Args:
        files: the chunks.
        parts: what is written of them.
        going: is told where the run is interrupted.
    """

    def __init__(self, files: SeriesFiles, parts: Parts, going: Going) -> None:
        self.files = files
        self.parts = parts
        self.going = going
        self._ctrl_c = False
        self._before: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if threading.current_thread() is threading.main_thread():  # no other may
            self._before = signal.signal(signal.SIGINT, self._interrupt)

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        if trainer.received_sigterm:  # which Lightning heeds in a fit only
            raise SIGTERMException
        if self._ctrl_c:  # Python drops what is raised while it deletes an object
            raise KeyboardInterrupt

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if signal.getsignal(signal.SIGINT) == self._interrupt:
            signal.signal(signal.SIGINT, self._before)

    def _interrupt(self, *_: object) -> None:
        self._ctrl_c = True
        raise KeyboardInterrupt

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt | SIGTERMException):
            self.going.interrupted = OF_SIGNALS[
                signal.SIGINT if isinstance(exception, KeyboardInterrupt) else signal.SIGTERM
            ]
            fitted, of = self.files.count(*self.parts.done()), self.files.series
            self.going.where = f" after {fitted:,} of {of:,} series; to go on, type the same command again"
