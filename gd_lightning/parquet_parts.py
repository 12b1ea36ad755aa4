"""A Parquet file that is written in parts, by several processes, and may be gone on with after any end.

Each part is written beside its place, synced and renamed, so that one that is there is whole. The file itself appears
when all parts are there, likewise.
"""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gd_lightning.errors import InputError
from gd_lightning.files import Hold, hold, in_place_of, write_whole
from gd_lightning.parquet_rows import opened

__all__ = ["Parts"]

RUN = "run.json"
LOCK = "held"
WRITTEN: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
NAMED = re.compile(r"part-(\d{8})\.parquet")


class Parts:
    """The parts of one output, in the folder `<output>.parts` beside it.

    Args:
        output: the Parquet file to be.
        run: what makes the same parts, as plain text and numbers: another one cannot go on with these.

    Attributes:
        folder: where the parts are.
    """

    def __init__(self, output: str | Path, run: Mapping[str, Any]) -> None:
        self.output = Path(output)
        self.run = json.loads(json.dumps(run))
        self.folder = self.output.with_name(f"{self.output.name}.parts")
        self._lock: Hold | None = None

    def open(self, overwrite: bool = False) -> bool:
        """Make the folder, or take up the one that is there; call it in one process.

        Args:
            overwrite: whether what is there, of whatever run, makes room.

        Returns:
            Whether the output is there already, whole: the run before ended between its last two steps.

        Raises:
            InputError: the output exists, or parts of another run do, or another run is writing them; or nothing can be
                written there.
        """
        if self.output.is_dir() or not self.output.name:
            raise InputError(f"output: {str(self.output)!r} is a folder, expected the name of a Parquet file")
        if not self.output.parent.is_dir():
            raise InputError(f"output: there is no folder {str(self.output.parent)!r} to write {self.output.name} to")
        if self.folder.is_dir():
            there = os.listdir(self.folder)
            strange = sorted(name for name in there if name != LOCK and not name.endswith(".writing"))
            if strange and RUN not in there:
                raise InputError(
                    f"output: {self.folder}, where its parts would be, holds {strange[0]!r}; move that elsewhere, or "
                    "give another output"
                )
            self._hold()
        if overwrite:
            self._remove_files()
        try:
            before = json.loads((self.folder / RUN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            before = None
        except (OSError, ValueError) as error:
            raise InputError(f"output: cannot read {self.folder / RUN}: {error}; --overwrite begins anew") from None
        whole = self.output.exists() and not overwrite
        if whole and before is None:
            raise InputError(f"output: {self.output} exists; give another name, or --overwrite to replace it")
        if before is not None and before != self.run:
            keys = [key for key in {**before, **self.run} if before.get(key) != self.run.get(key)]
            raise InputError(
                f"output: {self.folder} holds parts of another run, which differs in {', '.join(keys)}; give another "
                "output, or --overwrite to throw them away"
            )
        if before is None:
            self.folder.mkdir(exist_ok=True)
            self._hold()
            write_whole(self.folder / RUN, json.dumps(self.run, indent=1))
        for left in self.folder.glob("*.writing"):  # by a run that was killed
            left.unlink(missing_ok=True)
        return whole

    def _hold(self) -> None:
        """Keep other runs off the parts until this process ends.

        Raises:
            InputError: another run is at work on them.
        """
        self.release()
        self._lock = hold(self.folder / LOCK)
        if self._lock is None:
            raise InputError(
                f"output: another run is at work on {self.output}; wait for its end, or give another output"
            )

    def release(self) -> None:
        """Let other runs have the parts."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def done(self) -> set[int]:
        """The numbers of the parts that are there."""
        return {int(name.removeprefix("part-").removesuffix(".parquet")) for name in self._names()}

    def write(self, index: int, table: pa.Table) -> None:
        """Write a part.

        Raises:
            OSError: it cannot be written; then it is not there.
        """
        with in_place_of(self._path(index)) as file:
            pq.write_table(table, file, **WRITTEN)

    def close(self, count: int) -> None:
        """Make one file of the parts 0 .. count - 1, in their order, and remove them; call it in one process.

        Raises:
            InputError: one is missing or damaged.
            OSError: the file cannot be written; the parts stay.
        """
        missing = sorted(set(range(count)) - self.done())
        if missing:
            raise InputError(f"output: part {missing[0]} of {count} is not in {self.folder}; start the command again")
        schema = self._read(0).schema
        with in_place_of(self.output) as file, pq.ParquetWriter(file, schema, **WRITTEN) as writer:
            for index in range(count):
                writer.write_table(self._read(index))
        self.remove()

    def remove(self) -> None:
        """Remove the parts, of which the output has been made."""
        self._remove_files()
        (self.folder / LOCK).unlink(missing_ok=True)
        self.release()
        with suppress(OSError):  # where something else is in it
            self.folder.rmdir()

    def _remove_files(self) -> None:
        """What tells whose the parts are goes last: a run that is killed meanwhile can go on."""
        ours = [*self.folder.glob("*.writing"), *(self.folder / name for name in self._names()), self.folder / RUN]
        for file in ours:
            file.unlink(missing_ok=True)

    def _names(self) -> list[str]:
        """The file names of the parts that are there."""
        return [name for name in os.listdir(self.folder) if NAMED.fullmatch(name)] if self.folder.is_dir() else []

    def _path(self, index: int) -> Path:
        return self.folder / f"part-{index:08d}.parquet"

    def _read(self, index: int) -> pa.Table:
        path = self._path(index)
        try:
            return opened(path).read()
        except (pa.ArrowException, OSError) as error:
            said = " ".join(str(error).split())
            raise InputError(f"output: cannot read {path} ({said}); remove it, and start the command again") from None
