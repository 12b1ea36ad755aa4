"""Writing files whole or not at all."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gd_lightning.errors import InputError

__all__ = ["Hold", "hold", "in_place_of", "sync", "write_whole"]


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a text, or bytes, beside its target and rename it, so that the target is never half written.

    A link stays, and what it leads to is written; a device or a pipe is written to as it is.

    Raises:
        InputError: the path names no file, or a folder.
        OSError: it cannot be written; what was there is whole.
    """
    content = content.encode() if isinstance(content, str) else content
    target = Path(os.path.realpath(path))
    if str(path) == "" or target.is_dir():
        raise InputError(f"given {str(path)!r} to write to, expected the name of a file")
    if not target.parent.is_dir():
        raise InputError(f"given {str(path)!r} to write to, and there is no folder {str(target.parent)!r}")
    if target.exists() and not target.is_file():
        with _naming(target):
            target.write_bytes(content)
        return
    with in_place_of(target) as file:
        file.write(content)


@contextmanager
def in_place_of(target: Path, keep: Path | None = None, synced: bool = True) -> Iterator[BinaryIO]:
    """A file to write beside a target: written and synced it takes the target's place, or else nothing has changed.

    Args:
        target: the file to be.
        keep: where the file that makes room goes; unless given it is no more. One of the two is there at any moment.
        synced: whether it is on the disk, with its name, when this returns, and so outlasts a loss of power, too.

    Raises:
        OSError: it cannot be written; the message names the target.
    """
    writing = target.with_name(f"{target.name}.{os.getpid()}.writing")
    try:
        with _naming(target):
            with writing.open("wb") as file:
                yield file
                file.flush()
                if synced:
                    os.fsync(file.fileno())
            if keep is not None:
                os.replace(target, keep)
            os.replace(writing, target)
    except BaseException:
        writing.unlink(missing_ok=True)
        raise
    if synced:
        _sync_folder(target.parent)


def sync(path: Path) -> None:
    """Wait until a file is on the disk, with its name.

    Raises:
        OSError: the disk does not take it.
    """
    with _naming(path), path.open("rb+") as file:
        os.fsync(file.fileno())
    _sync_folder(path.parent)


class Hold:
    """A file that this process holds, until it ends, or this is closed or gone."""

    def __init__(self, file: int) -> None:
        self._file: int | None = file

    def close(self) -> None:
        """Let others have it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        self.close()


def hold(path: Path) -> Hold | None:
    """Hold a file, which is made where it is missing.

    Returns:
        The hold; none where another process has it.
    """
    while True:
        file = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        ours = Hold(file)
        try:
            _lock(file)
            if os.path.samestat(os.fstat(file), path.stat()):
                return ours
        except BlockingIOError:
            return None
        except FileNotFoundError:  # whoever held it has removed it; another one may be there by now
            pass


def _lock(file: int) -> None:
    if sys.platform != "win32":  # which has no such locks: there two runs have to be kept apart by who starts them
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """What the system says of a full disk does not name the file."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from None


def _sync_folder(folder: Path) -> None:
    """Keep the names in a folder, where its file system can."""
    if sys.platform != "win32":
        with suppress(OSError):
            entries = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(entries)
            finally:
                os.close(entries)
