"""How far the fit of very many series has come."""

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from gd_lightning.parquet_parts import Parts
from gd_lightning.series_files import SeriesFiles

__all__ = ["SeriesProgress", "duration"]

EVERY = 30.0  # seconds between two lines about the progress where there is no terminal


class _PerSecond(ProgressColumn):
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
            self._bar = Progress(BarColumn(), counted, _PerSecond(), TimeRemainingColumn(), console=console)
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
