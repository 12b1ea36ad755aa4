"""Writing files whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gd_lightning.errors import InputError

__all__ = ["in_place_of", "write_whole"]


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
        target.write_bytes(content)
        return
    with in_place_of(target) as file:
        file.write(content)


@contextmanager
def in_place_of(target: Path) -> Iterator[BinaryIO]:
    """A file to write beside a target: written and synced it takes the target's place, or else nothing has changed.

    Raises:
        OSError: it cannot be written.
    """
    writing = target.with_name(f"{target.name}.{os.getpid()}.writing")
    try:
        with writing.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(writing, target)
    except BaseException:
        writing.unlink(missing_ok=True)
        raise
