"""Rows of one Parquet file or of many as those of one table, in order and a batch at a time."""

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gd_lightning.cells import shortened
from gd_lightning.errors import InputError, suggest

__all__ = ["BATCH", "PARQUET_SUFFIXES", "Cursor", "ParquetRows", "in_one_line", "opened"]

PARQUET_SUFFIXES = (".parquet", ".pq")
BATCH = 2**18  # numbers of a column decoded at once: 2 MB, which a processor's cache still holds
BUFFER = 2**20  # bytes of a column read at once, so that of a large row group never the whole is in memory


class ParquetRows:
    """Files of one table: where their row groups begin, and what tells whether they are still the same.

    Attributes:
        files: their paths, in the order of their rows.
        schemas: what columns the first file has, and each whose columns are not those of the file before it; with that
            file.
        starts: the first row of each of G row groups and, last, the number of all rows, int64, `(G + 1,)`.
        fingerprint: 16 hexadecimal digits, a hash of the files' names as seen from their common folder, of their
            sizes and of their footers: schema, row groups and their statistics.
    """

    def __init__(self, path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> None:
        """Find the files and read their footers.

        Args:
            path: a file, a folder, a pattern such as `data/*.parquet`, or several of them.

        Raises:
            InputError: there is no such file, or one is not Parquet.
        """
        self.files = _found(path)
        self.schemas: list[tuple[str, pa.Schema]] = []
        self.sizes: list[int] = []
        rows, self._places = [0], []
        root = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in self.files])
        digest = hashlib.sha256()
        for number, file in enumerate(self.files):
            with in_one_line(f"{file}: cannot be read as Parquet"), opened(file) as content:
                schema = content.schema_arrow
                groups = [content.metadata.row_group(k).num_rows for k in range(content.num_row_groups)]
                size, footer = _footer(file)
            name = os.path.relpath(os.path.abspath(file), root).replace(os.sep, "/")
            digest.update(repr((name, size, sum(groups), len(footer))).encode() + footer)
            if not self.schemas or not schema.equals(self.schemas[-1][1]):
                self.schemas.append((file, schema))
            self.sizes.append(size)
            rows += groups
            self._places += [(number, k) for k in range(len(groups))]
        self.starts = np.cumsum(rows)
        self.fingerprint = digest.hexdigest()[:16]

    def group(self, row: int) -> int:
        """The row group in which a row is."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1

    def values_per_row(self, name: str) -> list[float]:
        """How many values a column of lists has for each row, on average, in each row group that has rows."""
        means: list[float] = []
        for file in self.files:
            with in_one_line(f"{file}: cannot be read as Parquet"), opened(file) as content:
                leaves = [content.schema.column(i) for i in range(len(content.schema))]
                leaf = next(i for i, one in enumerate(leaves) if one.path.startswith(f"{name}."))
                groups = [content.metadata.row_group(k) for k in range(content.num_row_groups)]
                means += [one.column(leaf).num_values / one.num_rows for one in groups if one.num_rows]
        return means

    def batches(
        self, columns: Sequence[str], first: int = 0, size: int = BATCH
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches of at most `size` rows from a row group on, each with the number of its first row.

        Raises:
            InputError: a row group cannot be read, or the file is no longer what it was.
        """
        current = -1
        for group, (start, stop) in enumerate(pairwise(self.starts[first:].tolist()), first):
            number, k = self._places[group]
            file = self.files[number]
            with in_one_line(f"{file}: row group {k + 1} cannot be read"):
                if number != current:
                    if os.path.getsize(file) != self.sizes[number]:
                        raise OSError("the file has changed since it was first opened")
                    current, content = number, opened(file)
                for batch in content.iter_batches(size, row_groups=[k], columns=list(columns), use_threads=False):
                    yield start, batch
                    start += len(batch)
                if start != stop:
                    raise OSError(f"{stop - start} of its rows are missing")


class Cursor:
    """Columns of any rows; those that follow the ones read last need nothing decoded twice."""

    def __init__(self, source: ParquetRows, columns: Sequence[str], size: int = BATCH) -> None:
        self.source = source
        self.columns = list(columns)
        self.size = size
        self._batches: Iterator[tuple[int, pa.RecordBatch]] = iter(())
        self._last: tuple[int, pa.RecordBatch] | None = None  # the batch in which the last rows ended

    def rows(self, start: int, stop: int) -> list[pa.RecordBatch]:
        """Rows start to stop, the latter excluded, in parts that may differ in the width of their numbers.

        Raises:
            InputError: a row group cannot be read.
        """
        try:
            return list(self._pieces(start, stop))
        except BaseException:
            self._last = None  # the iterator has ended
            raise

    def _pieces(self, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        if self._last is None or not self._near(self._last, start):
            self._batches = self.source.batches(self.columns, self.source.group(start), self.size)
            self._last = next(self._batches)
        while True:
            first, batch = self._last
            end = first + len(batch)
            if end > start:
                begin = max(start - first, 0)
                yield batch.slice(begin, min(stop, end) - first - begin)
            if end >= stop:
                return
            self._last = next(self._batches)

    def _near(self, last: tuple[int, pa.RecordBatch], row: int) -> bool:
        """Whether a row follows the last batch, or is after it in the same row group."""
        first, batch = last
        return first <= row and (row == first + len(batch) or self.source.group(row) == self.source.group(first))


def _found(path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    """The files that are meant, in order."""
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    files = [file for one in paths for file in _matching(os.fspath(one))]
    if not files:
        raise InputError("path: given no files, expected a Parquet file, a folder or a pattern such as data/*.parquet")
    places = Counter(map(os.path.realpath, files))
    if twice := [file for file in files if places[os.path.realpath(file)] > 1]:
        raise InputError(f"path: {twice[0]} is given twice, expected each file once")
    return files


def _matching(path: str) -> list[str]:
    if os.path.isfile(path):
        return [path]
    folder = os.path.isdir(path)
    if not folder and not glob.has_magic(path):
        beside = Path(path).parent
        names = [p.name for p in beside.iterdir() if p.suffix in PARQUET_SUFFIXES] if beside.is_dir() else []
        near = f"; {shortened(suggest(Path(path).name, names))}" if names else ""
        raise InputError(f"{path} is no such file, expected a Parquet file, a folder of such or a pattern{near}")
    found = [os.path.join(path, name) for name in os.listdir(path)] if folder else glob.glob(path, recursive=True)
    files = [file for file in found if not os.path.basename(file).startswith((".", "_")) and os.path.isfile(file)]
    if folder:
        files = [file for file in files if file.endswith(PARQUET_SUFFIXES)]
    if not files and folder:
        pattern = os.path.join(path, "**", "*.parquet")
        raise InputError(f"{path} is a folder without Parquet files; for those in its folders give {pattern}")
    if not files:
        raise InputError(f"{path} matches no file, expected a pattern such as data/*.parquet")
    return sorted(files)


def opened(file: str | Path | pa.NativeFile) -> pq.ParquetFile:
    """A Parquet file of which a row group is never read whole, and damage is seen where its pages have checksums."""
    return pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False, page_checksum_verification=True)


def _footer(file: str) -> tuple[int, bytes]:
    """The size of a Parquet file and the bytes of its footer: before the last 8, which tell its length."""
    with open(file, "rb") as stream:
        size = stream.seek(-8, os.SEEK_END) + 8
        length = int.from_bytes(stream.read(4), "little")
        stream.seek(size - 8 - length)
        return size, stream.read(length)


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Turn what Arrow raises at files that cannot be read into one line that says of what it comes."""
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{what}: {' '.join(str(error).split())}") from None
