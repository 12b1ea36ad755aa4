"""The folder of a run, `lightning_logs/version_N`: each run claims one of its own, and keeps it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from gd_lightning.errors import InputError
from gd_lightning.runs import LOGS, run_number

__all__ = ["RunLogger", "claimed", "run_folder", "run_folder_for_writing"]


class RunLogger(TensorBoardLogger):
    """TensorBoard's files in a folder that no other run has, however many start at the same moment.

    Args:
        root: the folder in which `lightning_logs` is, or comes to be.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root, name=LOGS, default_hp_metric=False)

    @property
    def version(self) -> int | str:
        """The number of the run; the folder with this number is made when it is first asked for."""
        if self._version is None and getattr(rank_zero_only, "rank", 0) == 0:  # the other processes of a run are told
            self._version = claim(Path(self.root_dir))
        return super().version


def claim(logs: Path) -> int:
    """Make the folder `version_N` with the first number above all that are there.

    Returns:
        N.

    Raises:
        InputError: no folder can be made there.
    """
    try:
        logs.mkdir(parents=True, exist_ok=True)
        free = max(map(run_number, logs.iterdir()), default=-1) + 1
        while True:
            try:
                (logs / f"version_{free}").mkdir()
                return free
            except FileExistsError:  # another run was faster
                free += 1
    except OSError as error:
        raise InputError(
            f"trainer.default_root_dir: cannot make a folder for the run in {logs}: {error.strerror}; name a folder "
            "that can be written to, or keep nothing with --trainer.logger false"
        ) from None


def run_folder(trainer: Trainer) -> Path | None:
    """The folder of the run, `lightning_logs/version_N`; none where the run has no logger."""
    return Path(trainer.log_dir) if trainer.loggers and trainer.log_dir else None


@contextmanager
def claimed(trainer: Trainer) -> Iterator[Path | None]:
    """The folder of a run, from before anything is computed; it is given back where nothing comes of that."""
    folder = run_folder(trainer)
    try:
        yield folder
    except BaseException:
        if folder is not None and isinstance(trainer.logger, RunLogger):
            with suppress(OSError):  # where something is in them
                folder.rmdir()
                folder.parent.rmdir()
        raise


def run_folder_for_writing(trainer: Trainer) -> Path | None:
    """The same on the first process, made anew where someone has removed it meanwhile; none on the others."""
    folder = run_folder(trainer)  # which every process has to ask for
    if folder is None or not trainer.is_global_zero:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return folder
