"""What commands share: a parser whose errors are one line, exit codes, and what was typed."""

import argparse
from collections.abc import Callable, Sequence
from typing import NoReturn

from gd_lightning.errors import InputError
from gd_lightning.exit_codes import WRONG_INPUT
from gd_lightning.terminal import complain

__all__ = ["Parser", "answered", "is_typed"]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def is_typed(args: Sequence[str], option: str) -> bool:
    """Whether an option stands on a command line, with its value behind it or after an equals sign."""
    return any(arg.partition("=")[0] == option for arg in args)


def answered(write: Callable[[], object], name: str = "") -> int:
    """The exit code of a command: 0, or 2 where its input is wrong, which is told in one line.

    Args:
        write: the command.
        name: what its errors begin with.
    """
    try:
        write()
    except (InputError, OSError) as error:
        said = str(error)
        if isinstance(error, OSError) and error.filename is not None:  # such as a name that is too long
            said = f"{error.filename}: {error.strerror}"
        complain(f"{name}: {said}" if name else said)
        return WRONG_INPUT
    return 0
