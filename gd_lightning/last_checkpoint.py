"""The checkpoint from which a run goes on."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from gd_lightning.checkpoint_files import CheckpointFiles
from gd_lightning.module import CurveFit
from gd_lightning.runs import NEWEST

__all__ = ["LastCheckpoint"]


class LastCheckpoint(ModelCheckpoint):
    """Writes `checkpoints/last.ckpt` after every epoch, which is after every `steps_per_epoch` steps.

    It also sees to it that all checkpoints of the run are written whole or not at all.
    """

    def __init__(self) -> None:
        super().__init__(filename=Path(NEWEST).stem, enable_version_counter=False)
        self._files = CheckpointFiles()

    @property
    def steps(self) -> int:
        """After how many steps the last one was written."""
        return self._last_global_step_saved

    def state_dict(self) -> dict[str, Any]:
        return {}  # a resumed run has a folder of its own; where the first one wrote is nothing to it

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = self._files
        super().setup(trainer, pl_module, stage)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # What is in place was written before its parameters were found to give no finite loss; and a resumed run that
        # had no step left has written none.
        missing = not self.best_model_path and not trainer.fast_dev_run  # type: ignore[attr-defined]
        if (isinstance(pl_module, CurveFit) and pl_module.descent.diverged) or missing:
            self.save(trainer)
        elif self.best_model_path and trainer.is_global_zero:
            self._files.settle(Path(self.best_model_path))

    def save(self, trainer: Trainer) -> None:
        """Write it now, and wait until it is on the disk."""
        self.best_model_path = path = self.format_checkpoint_name({})
        self._save_checkpoint(trainer, path)
        if trainer.is_global_zero:
            self._files.settle(Path(path))
