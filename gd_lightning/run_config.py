"""What reproduces a run: its configuration, and a fingerprint of its data."""

import hashlib
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

from gd_lightning.data import Series
from gd_lightning.errors import InputError
from gd_lightning.files import write_whole
from gd_lightning.run_folder import run_folder
from gd_lightning.streamed import StreamedTable

__all__ = ["RunConfig", "fingerprint", "plain_config"]

SECTIONS = ("seed_everything", "model", "data", "plots", "stopping", "trainer")


class RunConfig(SaveConfigCallback):
    """Keeps what reproduces a run: config.yaml in its folder, and model and data in every checkpoint.

    A resumed run ends where an undisturbed one does, so that its config starts from the beginning too.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.kept = {
            "config": plain_config(self.parser, self.config),
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


def plain_config(parser: LightningArgumentParser, config: Any) -> dict[str, Any]:
    """A configuration as plain text and numbers, without what only one command takes."""
    everything = yaml.safe_load(parser.dump(config, skip_none=False))
    return {key: everything[key] for key in SECTIONS}


def fingerprint(data: Series) -> str:
    """A few words by which to tell whether the data are the same."""
    if isinstance(data, StreamedTable):
        return data.fingerprint
    digest = hashlib.sha256()
    points = data.points
    for values in (*points.columns, points.targets, *([] if points.sigma is None else [points.sigma])):
        digest.update(values.double().numpy().tobytes())
    return f"{int(points.present.sum())} points, sha256 {digest.hexdigest()[:12]}"
