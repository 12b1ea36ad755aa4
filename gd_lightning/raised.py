"""Whose exception it is: that of a class which the configuration names, of a checkpoint, or a mistake of our own."""

from collections.abc import Iterator
from types import FrameType

from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gd_lightning import imports

__all__ = ["while_restoring", "who"]

KEYS = {
    Callback: "trainer.callbacks",
    Logger: "trainer.logger",
    Optimizer: "model.optimizer",
    LRScheduler: "model.scheduler",
}
RESTORING = "lightning.pytorch.trainer.connectors.checkpoint_connector"


def who(error: Exception) -> str | None:
    """What in a configuration has raised an exception: its key, and its class where it is one of `KEYS`.

    It is Lightning, or a class of torch.optim, where nothing of this package or of the user's was called by them: what
    is raised there is a mistake in the code, which needs its traceback.
    """
    frames = list(_frames(error))
    inner = next((frame for frame in reversed(frames) if _counts(_module(frame))), None)
    if inner is None or not _module(inner).startswith(("lightning.", "torch.optim.")):
        return None
    for one in reversed(frames[: frames.index(inner) + 1]):
        made = one.f_locals.get("self")
        for kind, key in KEYS.items():
            if isinstance(made, kind) and _module(one).startswith(("lightning.", "torch.optim.")):
                return f"{key}: {type(made).__name__}"
    return "trainer: Lightning"


def while_restoring(error: Exception) -> bool:
    """Whether an exception comes from what a checkpoint holds."""
    return any(_module(frame) == RESTORING and "restore" in frame.f_code.co_name for frame in _frames(error))


def _counts(module: str) -> bool:
    """Whether what a frame's module does is of its own, and not what others asked of a library."""
    return module.startswith(("gd_lightning.", "lightning.", "torch.optim.")) or imports.is_allowed(module)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _frames(error: Exception) -> Iterator[FrameType]:
    """The frames of its traceback, the outermost first."""
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next
