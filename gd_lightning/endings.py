"""How a command of Lightning's comes to its end: its exit code, and the line that says why it was no good one."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from gd_lightning.errors import InputError
from gd_lightning.exit_codes import OF_SIGNALS, WRONG_INPUT
from gd_lightning.raised import who
from gd_lightning.terminal import complain, printable

__all__ = ["Ending", "ended", "leave_processes"]


class Ending(Protocol):
    """What a command leaves where it ends early: its folder; its exit code, where that was, and how to go on."""

    interrupted: int | None
    where: str
    folder: Path | None


def ended(command: Callable[[], object], ending: Ending) -> int:
    """The exit code of a command, and the line that says why it came to no good end."""
    try:
        command()
    except (KeyboardInterrupt, SystemExit) as error:
        if ending.interrupted is None and isinstance(error, SystemExit):  # Lightning turns Ctrl-C into exit code 1
            raise
        ending.interrupted = ending.interrupted or OF_SIGNALS[signal.SIGINT]
    except OSError as error:
        complain(_unnamed(error, ending.folder))
        return ending.interrupted or WRONG_INPUT
    except (InputError, MisconfigurationException, UnicodeDecodeError) as error:
        complain(error)
        return WRONG_INPUT
    except Exception as error:
        reason = error.__cause__ or error.__context__
        if isinstance(reason, InputError):  # which a class says that a parser was making
            complain(reason)
        elif (whose := who(error)) is not None:
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            complain(f"{whose} raised {said}; leave it out, or give it what it needs")
        else:
            raise
        return WRONG_INPUT
    if ending.interrupted is None:
        return 0
    sys.stderr.write(f"gd-lightning: interrupted{printable(ending.where)}\n")
    return ending.interrupted


def _unnamed(error: OSError, folder: Path | None) -> str:
    """What the system says; where it names no file, it is one of TensorBoard's, which are written in a thread."""
    if error.filename is not None or folder is None or error.strerror is None:
        return str(error)
    return f"{error.strerror}: the files of TensorBoard in {folder}"


def leave_processes() -> None:
    """Leave the group of a run's processes, as Lightning does on GPUs only.

    Else a thread of gloo's may let go of a tensor when Python is gone already, which aborts the process.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
