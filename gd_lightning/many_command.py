"""`gd-lightning fit_many`: Fit a function to each of very many series, from Parquet to Parquet."""

import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gd_lightning.cautions import ARRIVED
from gd_lightning.command import is_typed
from gd_lightning.configurations import check_output
from gd_lightning.curve import Curve
from gd_lightning.data import ARTICLE_SEED
from gd_lightning.errors import InputError
from gd_lightning.files import write_whole
from gd_lightning.fit_series import FitSeries, FitsWriter
from gd_lightning.parquet_parts import Parts
from gd_lightning.pictures import picture
from gd_lightning.points import Points, masked, stack
from gd_lightning.rendering import png
from gd_lightning.series_files import SeriesFiles
from gd_lightning.series_table import SeriesTable
from gd_lightning.terminal import printable, say

__all__ = ["Going", "ManyLine"]

EVERY = 30.0  # seconds between two lines about the progress where there is no terminal
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
        parser_class: the parser.
        going: is told where the run is interrupted.
    """

    model: FitSeries
    datamodule: SeriesTable

    def __init__(self, args: Sequence[str], parser_class: type[LightningArgumentParser], going: Going) -> None:
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
            parser_class=parser_class,
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
            self.going.interrupted = 130 if isinstance(exception, KeyboardInterrupt) else 143
            fitted, of = self.files.count(*self.parts.done()), self.files.series
            self.going.where = f" after {fitted:,} of {of:,} series; to go on, type the same command again"


class PerSecond(ProgressColumn):
    """How many series are fitted in a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} series/s")


class SeriesProgress(Callback):
    """How many series are fitted, at which rate, and how long it will still take, on standard error.

    A bar where that is a terminal, else a line now and then.

    Attributes:
        fitted: how many series this run has fitted, in all its processes.
        seconds: how long that took.
    """

    def __init__(self, parts: Parts, files: SeriesFiles) -> None:
        self.parts = parts
        self.files = files
        self.fitted = 0
        self.seconds = 0.0
        self._bar: Progress | None = None
        self._known: set[int] = set()
        self._began = 0.0
        self._told: tuple[float, int] | None = None  # when a line was due last, and how many were fitted then

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._known = self.parts.done()
        self._began = time.monotonic()
        console = Console(stderr=True)
        if console.is_terminal:
            counted = TextColumn("{task.completed:,.0f} of {task.total:,.0f} series")
            self._bar = Progress(BarColumn(), counted, PerSecond(), TimeRemainingColumn(), console=console)
            self._bar.add_task("fit", total=self.files.series, completed=self.files.count(*self._known))
            self._bar.start()

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        if trainer.is_global_zero:
            self.look()

    def look(self) -> None:
        """Count what all processes have written."""
        new = self.parts.done() - self._known
        self._known |= new
        count = self.files.count(*new)
        self.fitted += count
        now = time.monotonic()
        self.seconds = now - self._began
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], count)
        elif self._told is None:  # the first chunk may have waited for a compiler, and tells nothing of the next
            self._told = now, self.fitted
        elif now - self._told[0] >= EVERY and self.fitted > self._told[1]:
            rate = (self.fitted - self._told[1]) / (now - self._told[0])
            self._told = now, self.fitted
            done, of = self.files.count(*self._known), self.files.series
            told = f"{done:,} of {of:,} series, {rate:,.0f} series/s, {duration((of - done) / rate)} left"
            print(told, file=sys.stderr, flush=True)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def duration(seconds: float) -> str:
    """A time in words."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def summary(model: FitSeries, data: SeriesTable, output: Path, seconds: float, fitted: int) -> None:
    """Tell how many series ended how, where the results are, and draw the worst, median and best."""
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    rmse = []
    arrived = pa.array(ARRIVED)
    with pq.ParquetFile(output) as file:
        for batch in file.iter_batches(columns=["rmse", "status", "message"], batch_size=2**17):
            status, message = (batch.column(name).dictionary_decode() for name in ("status", "message"))
            good = pc.is_in(status, arrived)
            statuses.update(counted(status))
            reasons.update(counted(message.filter(pc.invert(good))))
            values = batch.column("rmse").cast(pa.float64())
            rmse.append(pc.if_else(good, values, np.nan).to_numpy(zero_copy_only=False))
    found = np.concatenate(rmse)
    shown = Table(box=None)
    shown.add_column("status")
    shown.add_column("series", justify="right")
    shown.add_column("", justify="right")
    for name, count in statuses.most_common():
        shown.add_row(Text(printable(name)), f"{count:,}", f"{count / len(found):.2%}")
    say(f"{model.curve.equation}, fitted to {len(found):,} series")
    Console().print(shown)
    for what, count in data.files.notes.items():
        say(f"{what}: {count:,}")
    for reason, count in reasons.most_common(3):
        say(f"not fitted: {count:,} series, {reason}")
    if np.isfinite(found).any():
        middle = float(np.nanmedian(found))
        say(f"RMSE: {np.nanmin(found):.6g} at best, {middle:.6g} in the middle, {np.nanmax(found):.6g} at worst")
    if fitted and seconds:
        say(f"{fitted:,} series in {duration(seconds)}: {fitted / seconds:,.0f} a second")
    say(f"Results: {output}")
    picture_of = draw(model.curve, data, output, found)
    if picture_of is not None:
        say(f"Worst, median and best: {picture_of}")


def counted(texts: pa.Array) -> dict[str, int]:
    """How often each text stands there."""
    return {one["values"]: one["counts"] for one in texts.value_counts().to_pylist()}


def draw(curve: Curve, data: SeriesTable, output: Path, rmse: Any) -> Path | None:
    """Draw the series with the largest, the middle and the smallest RMSE, beside the output."""
    finite = np.flatnonzero(np.isfinite(rmse))
    if not len(finite):
        return None
    order = finite[np.argsort(rmse[finite], kind="stable")]
    places = list(dict.fromkeys(int(order[i]) for i in (-1, len(order) // 2, 0)))
    some: list[Points] = []
    names, params = [], []
    with pq.ParquetFile(output) as file:
        for place in places:
            chunk, row = data.files.find(place)
            read = data.files.read(chunk)
            some.append(masked(read.points).flat().one(row))
            names.append(f"series {read.names[row].as_py()}")
            params.append(_params(file, place, curve))
    curve.double()
    shown = stack(some) if len(some) > 1 else some[0]
    values = torch.tensor(params if len(some) > 1 else params[0], dtype=torch.float64)
    curve.set_params(values)
    curve.initial_params = values.clone()
    figure = picture(
        curve,
        shown,
        values,
        f"{len(rmse):,} fits",
        labels=data.labels,
        series=names if len(some) > 1 else (),
    )
    target = output.with_suffix(".png")
    write_whole(target, png(figure))
    return target


def _params(file: pq.ParquetFile, place: int, curve: Curve) -> list[float]:
    """The parameters in one row."""
    starts = np.cumsum([0, *(file.metadata.row_group(k).num_rows for k in range(file.num_row_groups))])
    group = int(np.searchsorted(starts, place, side="right")) - 1
    row = file.read_row_group(group, columns=list(curve.names)).slice(place - int(starts[group]), 1)
    return [row.column(name)[0].as_py() for name in curve.names]
