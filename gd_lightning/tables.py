"""Named columns of a table as numbers: CSV and its relatives or Parquet, from a file or from standard input.

A table is opened once and read once, a batch of rows at a time, so that a pipe will do and a large file fits. Only
the columns asked for are converted, and of their rows only those are kept that lack nothing that is needed.
"""

import csv
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from io import BufferedReader
from itertools import chain, compress, dropwhile, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import torch
from torch import Tensor

from gd_lightning.cells import SECONDS, TEXT, Column, instant, measure, shortened
from gd_lightning.errors import InputError, suggest
from gd_lightning.parquet_rows import PARQUET_SUFFIXES, in_one_line, opened

__all__ = ["Columns", "read_columns"]


SUFFIXES = {".csv", ".tsv", ".txt", ".gz", *PARQUET_SUFFIXES}
A_TABLE = "expected a header line and a row for each point"
LONGEST_LINE = 2**20  # bytes; Arrow's CSV reader takes no longer row
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")  # in the words of Arrow
REFUSED = {
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "text in UTF-16; save it as UTF-8",
    b"PK\x03\x04": "a spreadsheet or an archive; save the table as CSV",
    b"\xd0\xcf\x11\xe0": "a spreadsheet; save the table as CSV",
}


@dataclass(frozen=True)
class Columns:
    """The columns asked for, in the N rows in which none of those that are needed lacks a value.

    Attributes:
        numbers: each column, float64, shape `(N,)`, all finite; of those with gaps nan where a value is lacking.
        labels: what to write on an axis: the column's name, for dates `"date (days since 1958-03-29)"`.
        origins: of each column of dates the one that they are counted from.
        group: the position of each row's text in `group_names`, int64, shape `(N,)`; None without a group column.
        group_names: the texts of the group column in the order of their first appearance.
        rows: data rows in the table.
        dropped: rows left out because a column that is needed lacks its value there.
    """

    numbers: dict[str, Tensor]
    labels: dict[str, str]
    origins: dict[str, str]
    group: Tensor | None
    group_names: list[str]
    rows: int
    dropped: int


def read_columns(
    path: str,
    names: Sequence[str],
    group: str | None = None,
    *,
    time_unit: str = "days",
    time_origin: str | None = None,
    keys: Mapping[str, str] = {},
    gaps: Collection[str] = (),
) -> Columns:
    """Read columns of a table: numbers as they are, dates as the time since an origin, durations in the same unit.

    Text has commas, tabs or semicolons between its cells; with semicolons, decimal commas are understood. It
    may be compressed with gzip, bz2, zstd or lz4. What the first cell of a column is, a number or a
    date, the others must be. Dates are read to the microsecond, and those with a zone count in UTC.

    Args:
        path: the file, or `-` for standard input.
        names: the columns to read as numbers.
        group: a column to read as text.
        time_unit: seconds, minutes, hours, days or years (of 365.25 days).
        time_origin: an ISO date or date-time; None stands for the earliest of each column in the rows kept.
        keys: the option that named a column, for the message that there is no such column.
        gaps: the columns that may lack values, or not be there at all.

    Raises:
        InputError: the table cannot be read, lacks a column, or has a cell that is neither a number nor missing.
    """
    if time_unit not in SECONDS:
        raise InputError(f"time_unit: given {time_unit!r}, {suggest(time_unit, SECONDS)}")
    origin = None if time_origin is None else instant(time_origin)
    names = list(dict.fromkeys(names))
    needed = [name for name in (*names, group) if name is not None and name not in gaps]
    with in_one_line(f"{_file(path)}: cannot be read"), _opened(path) as stream:
        is_parquet = path.endswith(PARQUET_SUFFIXES) or _start(stream) == b"PAR1"
        form = _Parquet if is_parquet else _Text
        with in_one_line(f"{_file(path)}: cannot be read as {form.called}"):
            source = form(path, stream, needed)
            there = [name for name in names if name in needed or name in source.names]
            asked = there if group is None else [*there, group]
            positions = [_position(source, name, keys.get(name, "column")) for name in asked]
            columns = [Column(source, name) for name in asked]
            readers = [column.numbers if i < len(there) else column.texts for i, column in enumerate(columns)]
            table, rows = _complete_rows(source.batches(positions), readers, [name in needed for name in asked])
            if rows == 0:
                raise InputError(f"{_file(path)}: no data, {A_TABLE}")
            if table.num_rows == 0:
                everywhere = " and ".join(map(repr, dict.fromkeys(needed)))
                raise InputError(f"{_file(path)}: none of {rows} data rows has a value in {everywhere}, expected some")
            measured = [measure(table.column(i), time_unit, origin) for i in range(len(there))]
    absent = torch.full((table.num_rows,), torch.nan, dtype=torch.float64)
    encoded = None if group is None else table.column(len(there)).combine_chunks()
    return Columns(
        numbers=dict.fromkeys(names, absent)
        | {name: numbers for name, (numbers, _, _) in zip(there, measured, strict=True)},
        labels={name: name + unit for name, (_, unit, _) in zip(there, measured, strict=True)},
        origins={name: since for name, (_, _, since) in zip(there, measured, strict=True) if since is not None},
        group=None if encoded is None else torch.tensor(encoded.indices.to_numpy()).long(),
        group_names=[] if encoded is None else encoded.dictionary.to_pylist(),
        rows=rows,
        dropped=rows - table.num_rows,
    )


def _opened(path: str) -> pa.NativeFile:
    """Open a table; a pipe is taken into memory whole."""
    if path == "-":
        if sys.stdin is None:
            raise InputError("standard input is closed, expected a table; give the path of a file in place of -")
        raw = _in_memory(sys.stdin.buffer.read())
    elif Path(path).is_fifo():
        raw = _in_memory(Path(path).read_bytes())
    elif Path(path).is_file():
        raw = pa.OSFile(path)
    else:
        kind = "a folder" if Path(path).is_dir() else "no such file"
        raise InputError(f"{path} is {kind}, expected a table such as a CSV or Parquet file{_beside(path)}")
    start = _start(raw)
    for magic, what in REFUSED.items():
        if start.startswith(magic):
            raise InputError(f"{_file(path)} is {what}")
    codec = next((codec for magic, codec in COMPRESSED.items() if start.startswith(magic)), None)
    return raw if codec is None else pa.CompressedInputStream(raw, codec)


def _in_memory(content: bytes) -> pa.NativeFile:
    """Bytes as a stream over memory of Arrow's own.

    Arrow would read Python's bytes and streams as well, but its threads may still hold them when the program ends,
    which aborts it.
    """
    copy = pa.BufferOutputStream()
    copy.write(content)
    return pa.BufferReader(copy.getvalue())


def _start(stream: pa.NativeFile) -> bytes:
    """The first bytes, by which a format can be told, of a stream that can go back to them."""
    if not stream.seekable():
        return b""
    start: bytes = stream.read(4)
    stream.seek(0)
    return start


def _file(path: str) -> str:
    return "standard input" if path == "-" else path


def _beside(path: str) -> str:
    """Name the table beside the missing one that is spelt most like it."""
    folder = Path(path).parent
    tables = [p.name for p in folder.glob("*") if p.suffix in SUFFIXES] if folder.is_dir() else []
    return f"; {suggest(Path(path).name, tables)}" if tables else ""


class _Text:
    """A header line and rows of text, with a delimiter between the cells.

    Attributes:
        names: what the header line says.
        decimal: what stands before the decimals, besides a point.
    """

    called = "CSV in UTF-8"

    def __init__(self, path: str, stream: pa.NativeFile, asked: Sequence[str]) -> None:
        self.path = path
        self.file = _file(path)
        self.stream = stream
        lines = dropwhile(lambda line: not line.strip(), self._lines())
        first = next(lines, None)
        if first is None:
            raise InputError(f"{self.file}: empty file, {A_TABLE}")
        if "\0" in first:
            raise InputError(f"{self.file}: cannot be read as {self.called}: a zero byte in the header line")
        headers = {delimiter: self._cells([first], delimiter) for delimiter in ",\t;"}
        self.delimiter = max(headers, key=lambda d: (len(set(asked).intersection(headers[d])), len(headers[d])))
        self.decimal = "," if self.delimiter == ";" else "."
        self.names = self._cells(chain([first], lines), self.delimiter)
        if len(self.names) == 1 < len(set(asked)):
            expected = "expected commas, tabs or semicolons between the columns"
            raise InputError(f"{self.file}: only one column, {shortened(repr(self.names[0]))}; {expected}")

    def _lines(self) -> Iterator[str]:
        """The lines from here on, without a byte order mark; byte by byte, to leave the stream where they end."""
        while line := b"".join(_through_newline(self.stream)):
            try:
                yield line.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{line[error.start]:02x} in the header line"
                raise InputError(f"{self.file}: cannot be read as {self.called}: {byte}; save it as UTF-8") from None

    def _cells(self, line: Iterable[str], delimiter: str) -> list[str]:
        """The trimmed cells of a header line, which goes on for as many lines as its quotes ask for."""
        try:
            return [cell.strip() for cell in next(csv.reader(line, delimiter=delimiter, skipinitialspace=True))]
        except csv.Error as error:
            raise InputError(f"{self.file}: cannot be read as {self.called}: {error}") from None

    def batches(self, positions: Sequence[int]) -> Iterator[list[pa.Array]]:
        """The cells at some positions, a batch of rows at a time."""
        columns = list(map(str, range(len(self.names))))  # for Arrow they are numbered, since names may be repeated
        included = [columns[position] for position in positions]
        try:
            yield from pyarrow.csv.open_csv(
                self.stream,
                # the columns are so few that a second thread gains nothing, and only one knows where a row is ragged
                pyarrow.csv.ReadOptions(column_names=columns, block_size=LONGEST_LINE, use_threads=False),
                pyarrow.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
                pyarrow.csv.ConvertOptions(
                    include_columns=included,
                    column_types=dict.fromkeys(included, pa.binary()),
                    strings_can_be_null=True,
                ),
            )
        except pa.ArrowInvalid as error:
            if str(error) == "Empty CSV file":  # nothing stands after the header line
                return
            ragged = RAGGED.search(str(error))
            if ragged is None:
                raise
            row, expected, given = map(int, ragged.groups())
            raise InputError(
                f"{self.file}: {self.place(row - 1)} has {given} cells, expected {expected} as in the header line; "
                f"correct or remove that row"
            ) from None

    def place(self, row: int) -> str:
        """Where a data row is; its line takes a second reading, which a pipe does not allow."""
        place = f"data row {row + 1}"
        if self.path == "-" or Path(self.path).is_fifo():
            return place
        with _opened(self.path) as stream:
            lines = BufferedReader(stream)
            reader = csv.reader((line.decode("utf-8", "replace") for line in lines), delimiter=self.delimiter)
            ends = (reader.line_num for cells in reader if cells)
            try:
                return f"{place} (line {next(islice(ends, row + 1, None))} of the file)"
            except (csv.Error, StopIteration):
                return place


class _Parquet:
    """A Parquet file, with what `_Text` has."""

    called = "Parquet"
    decimal = "."

    def __init__(self, path: str, stream: pa.NativeFile, asked: Sequence[str]) -> None:
        self.path = path
        self.file = _file(path)
        self.content = opened(stream)
        self.names: list[str] = self.content.schema_arrow.names

    def batches(self, positions: Sequence[int]) -> Iterator[list[pa.Array]]:
        names = [self.names[position] for position in positions]
        for batch in self.content.iter_batches(columns=names):
            yield [batch.column(name) for name in names]

    def place(self, row: int) -> str:
        return f"data row {row + 1}"


Reader = Callable[[pa.Array, int], pa.Array]


def _through_newline(stream: pa.NativeFile) -> Iterator[bytes]:
    """The bytes of one line."""
    for byte in islice(iter(partial(stream.read, 1), b""), LONGEST_LINE):
        yield byte
        if byte == b"\n":
            return


def _position(source: _Text | _Parquet, name: str, key: str) -> int:
    count = source.names.count(name)
    if count == 0:
        known = [" ".join(other.split()) for other in source.names]
        raise InputError(f"{key}: {source.file} has no column {name!r}; {suggest(name, filter(None, known))}")
    if count > 1:
        raise InputError(f"{key}: {source.file} has {count} columns {name!r}, expected one; rename the others")
    return source.names.index(name)


def _complete_rows(
    batches: Iterator[list[pa.Array]], readers: Sequence[Reader], needed: Sequence[bool]
) -> tuple[pa.Table, int]:
    """Read all batches; text goes into a dictionary.

    Returns:
        The columns in the rows in which nothing that is needed is missing, and the number of all rows.
    """
    rows, kept = 0, []
    for batch in batches:
        values = [read(cells, rows) for read, cells in zip(readers, batch, strict=True)]
        whole = reduce(pc.and_, [pc.is_valid(column) for column in compress(values, needed)])
        complete = pa.record_batch(values, [str(i) for i in range(len(values))]).filter(whole)
        encoded = [pc.dictionary_encode(column) if column.type == TEXT else column for column in complete.columns]
        kept.append(pa.table(encoded, complete.schema.names))
        rows += len(values[0])
    # a batch without any value in some column has left its type open
    return pa.concat_tables(kept, promote_options="permissive") if kept else pa.table({}), rows
