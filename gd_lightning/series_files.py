"""Very many series in Parquet files, read a chunk at a time.

A long table has a row for each point, and the rows of a series stand together. A wide one has a row for each series,
with its points in a list or in columns of their own.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from gd_lightning.arrays import Array, Ints
from gd_lightning.cells import shortened
from gd_lightning.errors import InputError
from gd_lightning.parquet_rows import BATCH, Cursor, ParquetRows
from gd_lightning.points import Points
from gd_lightning.series_index import Partition, ascending, first_of, repeated, standing_together
from gd_lightning.series_layout import layout_of

__all__ = ["Chunk", "SeriesFiles"]


class Chunk(NamedTuple):
    """Consecutive series of the files.

    Attributes:
        index: which chunk.
        names: what the files call the series, `(S,)`, of the type that it has there; without a column of names the
            numbers of the rows from 0.
        points: float64; t of shape `(T,)` where all series stand at the very same t in the same order, else `(S, T)`;
            targets and sigma `(S, T)`. Where series are of unequal length, or have no points at all, they are filled
            with their last t (0 without one), y 0 and sigma inf. What the files lack is nan.
    """

    index: int  # type: ignore[assignment]  # a chunk is never searched as a tuple
    names: pa.Array
    points: Points


class SeriesFiles:
    """Series in Parquet files, of which an index is made first, and then any chunk can be read.

    Into how many chunks they part, and where, depends on the files and the two limits only. One may be shared by
    threads and sent to other processes.

    Attributes:
        series: how many series there are.
        rows: how many rows the files have.
        notes: what was odd, and how often: `{"rows without a series": 3}`.
        fingerprint: a text by which the same files are known again, see `ParquetRows`.
    """

    def __init__(
        self,
        path: str | Sequence[str],
        y: str | Sequence[str],
        t: str | Sequence[str] | Sequence[float] | None = None,
        sigma: str | Sequence[str] | None = None,
        series: str | None = None,
        chunk_points: int = 1_000_000,
        chunk_series: int = 20_000,
    ) -> None:
        """Look through the column of names, or the lists where their lengths differ; of the rest only at the footers.

        Args:
            path: a file, a folder of files `*.parquet` or `*.pq`, a pattern such as `data/*.parquet`, or several.
            y: the data. Of a long table the column; of a wide one the column of lists, or the columns of numbers: their
                names, a text with commas between the names, or a pattern such as `y*`.
            t: the independent variable, likewise; or numbers that all series of a wide table share. None stands for
                the numbers that the columns of y have as names, else for 0, 1, 2, ...
            sigma: standard deviations of y, as y.
            series: the column with the names of the series; a wide table may have none.
            chunk_points: how many points a chunk has at most, with those that fill up its shorter series.
            chunk_series: how many series a chunk has at most.

        Raises:
            InputError: the files cannot be read, differ in their columns, lack one, or name a series twice.
        """
        for key, limit in (("chunk_points", chunk_points), ("chunk_series", chunk_series)):
            if not isinstance(limit, int) or limit < 1:
                raise InputError(f"{key}: given {limit!r}, expected a whole number of at least 1")
        self._source = ParquetRows(path)
        self._layout = layout_of(self._source, y, t, sigma, series)
        lengths = self._source.values_per_row(self._layout.y[0]) if self._layout.lists else [1.0]
        # footers do not tell lengths one by one, only their mean: lists of one length have a whole one, always the same
        self._ragged = any(length != lengths[0] or length % 1 for length in lengths)
        self._length = len(self._layout.y) * sum(lengths) / max(len(lengths), 1)
        self.rows = int(self._source.starts[-1])
        self.fingerprint = self._source.fingerprint
        self.notes: dict[str, int] = {}
        partition = Partition(chunk_points, chunk_series, self._source.starts)
        self._look_through(partition)
        self.series = partition.series[-1]
        if not self.series:
            what = "none of their rows has a series" if self.rows else "no rows"
            raise InputError(f"{self._where()}: {what}, expected some")
        self._first_rows = np.array([*partition.rows, self.rows])
        self._first_series = np.array(partition.series)
        self._here = threading.local()

    def __len__(self) -> int:
        """Into how many chunks the series part."""
        return len(self._first_rows) - 1

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_here"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._here = threading.local()

    def count(self, *chunks: int) -> int:
        """How many series some chunks have."""
        places = [range(len(self))[i] for i in chunks]
        return sum(int(self._first_series[i + 1] - self._first_series[i]) for i in places)

    def find(self, series: int) -> tuple[int, int]:
        """In which chunk the series of a number is, and at which place in it."""
        chunk = int(np.searchsorted(self._first_series, series, side="right")) - 1
        return chunk, series - int(self._first_series[chunk])

    def read(self, i: int) -> Chunk:
        """The i-th chunk; reading them in order takes the least time.

        Raises:
            InputError: a row group cannot be read, or a series has not as many t or sigma as y.
        """
        i = range(len(self))[i]
        start, stop = self._first_rows[i : i + 2].tolist()
        if not hasattr(self._here, "cursor"):
            size = max(int(BATCH / max(self._length, 1)), 1)
            self._here.cursor = Cursor(self._source, self._layout.columns, size)
        parts = self._here.cursor.rows(start, stop)
        names, points = self._long(parts) if self._layout.long else self._wide(parts, start)
        if len(names) != self.count(i):
            raise InputError(
                f"{self._where()}: rows {start + 1} to {stop} have changed since the files were first opened"
            )
        return Chunk(i, names, points)

    def _long(self, parts: Sequence[pa.RecordBatch]) -> tuple[pa.Array, Points]:
        layout = self._layout
        keys = self._names_in(parts)
        there: Any = slice(None)
        if keys.null_count:
            there = keys.is_valid().to_numpy(zero_copy_only=False)
        _, counts, names = zip(*standing_together([(0, keys)]), strict=True)
        count = np.concatenate(counts)
        y = _scalars(parts, layout.y[0])[there]
        t = _scalars(parts, layout.t[0])[there] if layout.t else _positions(count)
        sigma = _scalars(parts, layout.sigma[0])[there] if layout.sigma else None
        return pa.concat_arrays(names), _as_rows(t, y, sigma, count)

    def _wide(self, parts: Sequence[pa.RecordBatch], start: int) -> tuple[pa.Array, Points]:
        layout = self._layout
        y, count = _numbers(parts, layout.y)
        names = pa.array(np.arange(start, start + len(count))) if layout.series is None else self._names_in(parts)

        def beside(key: str, columns: tuple[str, ...]) -> Array:
            """As many numbers as y has in each row; what stands in rows without y is left out."""
            values, own = _numbers(parts, columns)
            self._check_counts(key, own, count, names)
            return values if len(values) == len(y) else values[np.repeat(count > 0, own)]

        sigma = beside("sigma", layout.sigma) if layout.sigma else None
        if layout.t:
            t = beside("t", layout.t)
        else:
            t = _positions(count)
            if layout.fixed is not None:
                self._check_counts("t", np.full(len(count), len(layout.fixed)), count, names)
                t = layout.fixed[t.astype(np.int64)]
        return names, _as_rows(t, y, sigma, count)

    def _check_counts(self, key: str, own: Ints, count: Ints, names: pa.Array) -> None:
        wrong = np.flatnonzero((own != count) & (count > 0))
        if len(wrong):
            i = wrong[0]
            which = f"series {_called(names[i])}" if self._layout.series else f"row {names[i].as_py() + 1}"
            more = f"; so have {len(wrong) - 1:,} others near it" if len(wrong) > 1 else ""
            counted = f"{own[i]} numbers, and {count[i]} of y"
            raise InputError(f"{key}: {which} of {self._where()} has {counted}; expected as many{more}")

    def _look_through(self, partition: Partition) -> None:
        """Part the series into chunks, and see that none comes twice."""
        points = unnamed = 0

        def names() -> Iterator[pa.Array]:
            nonlocal points, unnamed
            for first, count, found in self._each():
                partition.add(first, count)
                points += int(count.sum())
                if found is not None:
                    unnamed += found.null_count
                    yield found.drop_null()

        in_order = list(ascending(names()))  # all of them: the partition needs every series
        partition.close()
        if not all(in_order):
            self._check_repeated()
        if self._layout.long and points < self.rows:
            self.notes["rows without a series"] = self.rows - points
        if unnamed:
            self.notes["series without a name"] = unnamed

    def _check_repeated(self) -> None:
        def names() -> Iterator[pa.Array]:
            if self._layout.long:
                return (found for _, _, found in standing_together(self._keys()))
            return (keys.drop_null() for _, keys in self._keys())

        twice = repeated(names())
        if not len(twice):
            return
        name = _called(first_of(names(), twice))
        others = f" and {len(twice) - 1:,} more" if len(twice) > 1 else ""
        if self._layout.long:
            sort = f"sort the table by {self._layout.series!r} (ORDER BY, sort_by)"
            raise InputError(f"series: the rows of {name}{others} do not stand together in {self._where()}; {sort}")
        expected = "expected one row for each; rename them, or leave out the column of names"
        raise InputError(f"series: {name}{others} come in several rows of {self._where()}; {expected}")

    def _each(self) -> Iterator[tuple[Ints, Ints, pa.Array | None]]:
        """First row, number of points and name of every series, many series at a time."""
        layout = self._layout
        if layout.long:
            yield from standing_together(self._keys())
            return
        columns = [*([] if layout.series is None else [layout.series]), *(layout.y if self._ragged else [])]
        if not columns:
            for start in range(0, self.rows, BATCH):
                first = np.arange(start, min(start + BATCH, self.rows))
                yield first, np.full(len(first), int(self._length)), None
            return
        size = max(int(BATCH / max(self._length, 1)), 1) if self._ragged else BATCH
        for start, batch in self._source.batches(columns, size=size):
            first = np.arange(start, start + len(batch))
            count = np.full(len(batch), int(self._length))
            if self._ragged:
                count = _lengths(batch.column(layout.y[0]))
            yield first, count, None if layout.series is None else self._names(batch.column(layout.series))

    def _keys(self) -> Iterator[tuple[int, pa.Array]]:
        """The column of names, with the number of the first row of each part."""
        for start, batch in self._source.batches([str(self._layout.series)]):
            yield start, self._names(batch.column(0))

    def _names_in(self, parts: Sequence[pa.RecordBatch]) -> pa.Array:
        return pa.concat_arrays([self._names(part.column(self._layout.series)) for part in parts])

    def _names(self, column: pa.Array) -> pa.Array:
        """Names in the one type that they have in all files; what is not a number is none."""
        column = _plain(column)
        if column.type != self._layout.name_type:
            try:
                column = column.cast(self._layout.name_type)
            except pa.ArrowInvalid as error:
                said = shortened(" ".join(str(error).split()))
                raise InputError(f"series: column {self._layout.series!r} of {self._where()}: {said}") from None
        return pc.if_else(pc.is_nan(column), None, column) if pa.types.is_floating(column.type) else column

    def _where(self) -> str:
        files = self._source.files
        return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def _as_rows(t: Array, y: Array, sigma: Array | None, count: Ints) -> Points:
    """Series one after another as rows of one length.

    Args:
        t: the independent variable of all points.
        y: their data.
        sigma: their standard deviations.
        count: how many points each of the S series has, `(S,)`; they sum up to the length of the others.
    """
    length = max(int(count.max(initial=0)), 1)
    there = None if (count == length).all() else np.arange(length) < count[:, None]
    if there is not None and sigma is None:
        sigma = np.ones(len(y))

    def rows(values: Array, fill: Array | float) -> Array:
        if there is None:
            return np.require(values.reshape(-1, length), requirements="W")  # what Arrow decoded is read-only
        filled = np.empty(there.shape)
        filled[:] = fill
        filled[there] = values
        return filled

    whole = ((count == length) | (count == 0)).all()  # series without points stand at any t
    shared = t.reshape(-1, length) if whole else None
    if shared is not None and (shared == shared[:1]).all():
        predictor = shared[0].copy() if len(shared) else np.zeros(length)
    else:
        last = np.concatenate([[0.0], t])[np.cumsum(count) * (count > 0)]
        predictor = rows(t, last[:, None])
    deviations = None if sigma is None else torch.from_numpy(rows(sigma, np.inf))
    return Points(torch.from_numpy(predictor), torch.from_numpy(rows(y, 0.0)), deviations)


def _numbers(parts: Sequence[pa.RecordBatch], columns: Sequence[str]) -> tuple[Array, Ints]:
    """The numbers of each row one after another, in lists or in several columns; and how many each row has."""
    if len(columns) == 1:
        lists = [part.column(columns[0]) for part in parts]
        return _doubles([part.flatten() for part in lists]), np.concatenate([_lengths(part) for part in lists])
    values = np.empty((sum(map(len, parts)), len(columns)))
    for k, name in enumerate(columns):
        values[:, k] = _scalars(parts, name)
    return values.ravel(), np.full(len(values), len(columns))


def _scalars(parts: Sequence[pa.RecordBatch], name: str) -> Array:
    return _doubles([_plain(part.column(name)) for part in parts])


def _doubles(parts: Sequence[pa.Array]) -> Array:
    """Numbers in double precision, nan where they are missing."""
    doubles: Array = pa.chunked_array([part.cast(pa.float64(), safe=False) for part in parts]).to_numpy()
    return doubles


def _plain(column: pa.Array) -> pa.Array:
    """The entries themselves, where they are written as numbers of them in a dictionary."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _lengths(lists: pa.Array) -> Ints:
    lengths: Ints = pc.list_value_length(lists).fill_null(0).to_numpy().astype(np.int64)
    return lengths


def _positions(count: Ints) -> Array:
    """0, 1, 2, ... in each series."""
    starts = np.cumsum(count) - count
    return (np.arange(count.sum()) - np.repeat(starts, count)).astype(np.float64)


def _called(name: pa.Scalar) -> str:
    value = name.as_py()
    return shortened(repr(value) if isinstance(value, str | bytes) else str(value))
