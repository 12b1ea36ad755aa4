"""Ending a fit after Ctrl-C or SIGTERM, so that it can go on as if nothing had been."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Self

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from gd_lightning.exit_codes import OF_SIGNALS
from gd_lightning.last_checkpoint import LastCheckpoint
from gd_lightning.module import CurveFit
from gd_lightning.run_folder import run_folder
from gd_lightning.runs import checkpoint_in

__all__ = ["Interruptions"]


class Interruptions(Callback):
    """Heeds Ctrl-C and SIGTERM, from `with` to its end.

    A fit ends when the present step is taken, and is saved as it stands then; a second signal ends it at once. Where no
    steps are taken, and of several processes, the first one does.

    Attributes:
        interrupted: the exit code of a command that Ctrl-C (130) or SIGTERM (143) ended.
        where: after how many steps that was, and how to go on.
        folder: of the run, where it has one.
    """

    def __init__(self) -> None:
        self.interrupted: int | None = None
        self.where = ""
        self.folder: Path | None = None
        self._stepping: CurveFit | None = None
        self._shared = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may
            for number in OF_SIGNALS:
                self._before[number] = signal.getsignal(number)
                if self._before[number] is not signal.SIG_IGN:  # as in a shell's background job
                    signal.signal(number, self._heed)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heed(self, number: int, frame: FrameType | None) -> None:
        if self._shared and number == signal.SIGTERM:  # Lightning tells all processes
            return
        again = self.interrupted is not None
        self.interrupted = self.interrupted or OF_SIGNALS[signal.Signals(number)]
        interruption = KeyboardInterrupt() if self.interrupted == OF_SIGNALS[signal.SIGINT] else SIGTERMException()
        if self._stepping is None or again:
            raise interruption
        self._stepping.halt = interruption

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._shared = trainer.world_size > 1
        self.folder = run_folder(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, CurveFit) and not self._shared:
            self._stepping = pl_module

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._halt()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._halt()

    def _halt(self) -> None:
        if self._stepping is not None and self._stepping.halt is not None:
            raise self._stepping.halt

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stepping = None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.interrupted is not None and not self._shared:  # Python drops what is raised while it deletes an object
            raise KeyboardInterrupt

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, KeyboardInterrupt | SIGTERMException) or trainer.train_dataloader is None:
            return
        if self.interrupted is None:
            self.interrupted = OF_SIGNALS[signal.SIGINT if isinstance(exception, KeyboardInterrupt) else signal.SIGTERM]
        if signal.SIGINT in self._before and self._before[signal.SIGINT] is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._heed)  # from here on Lightning ignores a second Ctrl-C
        between_steps, self._stepping = self._stepping is not None and self._stepping.halt is exception, None
        steps = len(pl_module.descent.rmse_history) if isinstance(pl_module, CurveFit) else 0
        self.where = f" after {steps} steps"  # which scripts may read
        last = trainer.checkpoint_callback
        if between_steps and isinstance(last, LastCheckpoint):
            try:
                last.save(trainer)
            except OSError as error:
                self.where += f"; cannot save {error.filename}: {error.strerror}"
        checkpoint = None if self.folder is None else checkpoint_in(self.folder)
        if checkpoint is not None and isinstance(last, LastCheckpoint):
            saved = last.steps
            told = "which are saved" if saved == steps else f"of which {saved} are saved"
            self.where += f", {told}; to go on, type: gd-lightning fit --ckpt_path {checkpoint}"
        elif trainer.ckpt_path is not None:  # a run that has taken none of its own yet
            self.where += f"; to go on, type: gd-lightning fit --ckpt_path {trainer.ckpt_path}"
