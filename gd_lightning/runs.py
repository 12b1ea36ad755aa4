"""Where runs are, and their checkpoints: `lightning_logs/version_0`, `version_1`, ...

The one with the highest number is the newest. Clocks jump, and files are copied: times tell nothing of that.
"""

from collections.abc import Callable
from pathlib import Path

__all__ = ["CHECKPOINTS", "LOGS", "NEWEST", "PREVIOUS", "checkpoint_in", "newest", "run_number", "run_of"]

LOGS = "lightning_logs"
VERSION = "version_"
CHECKPOINTS = "checkpoints"
NEWEST, PREVIOUS = "last.ckpt", "previous.ckpt"


def run_number(run: Path) -> int:
    """The number of a run, by the name of its folder; -1 where it has none."""
    digits = run.name.removeprefix(VERSION)
    return int(digits) if run.name.startswith(VERSION) and digits.isascii() and digits.isdecimal() else -1


def newest(root: Path, counts: Callable[[Path], bool]) -> Path | None:
    """The newest run under a folder.

    Args:
        root: the folder in which `lightning_logs` is.
        counts: whether a run is one of those that are looked for.

    Returns:
        Its folder; none where there is no such run.
    """
    runs = sorted(
        (run for run in (root / LOGS).glob(f"{VERSION}*") if run_number(run) >= 0), key=run_number, reverse=True
    )
    return next((run for run in runs if counts(run)), None)


def checkpoint_in(run: Path) -> Path | None:
    """The newest checkpoint in the folder of a run; none where it has none."""
    found = (run / CHECKPOINTS / name for name in (NEWEST, PREVIOUS))
    return next((checkpoint for checkpoint in found if checkpoint.is_file()), None)


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint belongs to, else the checkpoint's own."""
    return checkpoint.parents[1] if checkpoint.parent.name == CHECKPOINTS else checkpoint.parent
