"""Standard output and standard error of a command, which go on whatever becomes of those who read them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

__all__ = ["Stream", "steady"]


class Stream:
    r"""A stream that raises nothing: what a command computes is worth more than what it says.

    From the first text on that is not taken, it is quiet. A letter that its encoding lacks is written out, as `\xb1`.

    Attributes:
        failed: what the system said then, as of a full disk; none where a reader, such as `head`, had seen enough.
    """

    def __init__(self, stream: TextIO) -> None:
        self.failed: OSError | None = None
        self._quiet = False
        self._stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        if not self._quiet:
            try:
                self._stream.write(text)
            except OSError as error:
                self._silence(error)
        return len(text)

    def flush(self) -> None:
        if not self._quiet:
            try:
                self._stream.flush()
            except OSError as error:
                self._silence(error)

    def _silence(self, error: OSError) -> None:
        self._quiet = True
        self.failed = None if isinstance(error, BrokenPipeError) else error
        with suppress(OSError):  # what is left in its buffer would fail once more where Python ends
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def steady() -> Iterator[Stream | None]:
    """Within it both are such streams; it gives standard output, where there is one, which is written at its end."""
    before = sys.stdout, sys.stderr
    ours = [None if stream is None else Stream(stream) for stream in before]  # Python has none where it is closed
    sys.stdout, sys.stderr = (cast(TextIO, stream) for stream in ours)
    try:
        yield ours[0]
    finally:
        for stream in ours:
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before
