"""Checkpoints that are written whole or not at all: Lightning would write them elsewhere, and copy them in place."""

import io
import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from gd_lightning.checkpoints import sealed
from gd_lightning.files import in_place_of, sync
from gd_lightning.runs import NEWEST, PREVIOUS

__all__ = ["CheckpointFiles"]

SHARE = 0.01  # of the time of a run that waiting for the disk may take


class CheckpointFiles(TorchCheckpointIO):
    """Writes each checkpoint beside its target, with a digest, and renames it: a killed run leaves whole ones.

    Of a run's `last.ckpt` the one before is kept. Against a loss of power a file has to be synced, which can take
    longer than many steps: it is done as often as takes a hundredth of the time, and what makes room for a synced
    checkpoint is gone, while a synced one that makes room becomes `previous.ckpt`. So one of the two is always on the
    disk, and was the newest a hundred times the sync ago, or later.
    """

    def __init__(self) -> None:
        self._synced = False  # whether last.ckpt is
        self._sync_at = -math.inf

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        target, file = Path(path), io.BytesIO()
        torch.save(checkpoint, file)
        content = sealed(file.getvalue())
        target.parent.mkdir(parents=True, exist_ok=True)  # which someone may have removed
        if target.name != NEWEST:  # another callback's, which tells nothing of the two
            with in_place_of(target) as writing:
                writing.write(content)
            return
        keep = target.with_name(PREVIOUS) if self._synced and target.exists() else None
        began = time.monotonic()
        synced = began >= self._sync_at
        with in_place_of(target, keep, synced) as writing:
            writing.write(content)
        self._synced = synced
        if synced:
            now = time.monotonic()
            self._sync_at = now + (now - began) / SHARE

    def settle(self, path: Path) -> None:
        """Sync what was written last."""
        if not self._synced and path.is_file():
            sync(path)
            self._synced = True
