"""Cells of a table: a column of them becomes numbers, dates or text."""

import re
from typing import NoReturn, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import torch
from torch import Tensor

from gd_lightning.errors import InputError

__all__ = ["NUMBER", "SECONDS", "TEXT", "Column", "instant", "measure", "shortened"]

SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "years": 365.25 * 86400}
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # of Arrow's units of time in a second

TEXT, NUMBER = pa.string(), pa.float64()
DATE, ZONED_DATE = pa.timestamp("us"), pa.timestamp("us", "UTC")
EXPECTED = {
    TEXT: "text in UTF-8",
    NUMBER: "a finite number",
    DATE: "a date such as 1958-03-29 or 1958-03-29T12:30",
    ZONED_DATE: "a date with its zone such as 1958-03-29T12:30Z",
}
KINDS_OF_TEXT = [  # as Parquet may have it
    getattr(pa.types, f"is_{kind}") for kind in ("string", "large_string", "string_view", "binary", "large_binary")
]
MISSING = pyarrow.csv.ConvertOptions().null_values  # as a list: to make an array, Arrow imports pandas where it can


class Source(Protocol):
    """The table that a column is in, as messages need it."""

    @property
    def file(self) -> str:
        """Its name."""

    @property
    def decimal(self) -> str:
        """What stands before the decimals, besides a point."""

    def place(self, row: int) -> str:
        """Where a data row is."""


class Column:
    """One column while it is read: what its first value is, a number or a date, all others must be."""

    def __init__(self, source: Source, name: str) -> None:
        self.source = source
        self.name = name
        self.kind: pa.DataType | None = None

    def texts(self, cells: pa.Array, start: int) -> pa.Array:
        """The cells of a batch as trimmed text, null where it is missing; `start` data rows stand before them."""
        return _trimmed(self._cast(cells, TEXT, start))

    def numbers(self, cells: pa.Array, start: int) -> pa.Array:
        """The cells of a batch as finite numbers, dates or durations, null where they are missing."""
        if pa.types.is_dictionary(cells.type):
            cells = pc.cast(cells, cells.type.value_type)
        if pa.types.is_duration(cells.type):
            return cells
        if pa.types.is_date(cells.type) or pa.types.is_timestamp(cells.type):
            return self._cast(cells, DATE, start)
        is_text = any(is_such(cells.type) for is_such in KINDS_OF_TEXT)
        values = self._parsed(self._cast(cells, TEXT, start), start) if is_text else self._cast(cells, NUMBER, start)
        if values.type != NUMBER:
            return values
        infinite = pc.index(pc.is_inf(values), True).as_py()
        if infinite >= 0:
            self._refuse(cells[infinite], start + infinite, NUMBER)
        return pc.if_else(pc.is_nan(values), None, values)

    def _parsed(self, texts: pa.Array, start: int) -> pa.Array:
        kind = self.kind or NUMBER
        try:
            values = _cast(texts, kind)  # most files have nothing to trim, and are read in half the time
        except pa.ArrowInvalid:
            plain = _plain(texts, self.source.decimal)
            kind = self.kind or _kind(next((cell for cell in plain if cell.is_valid), plain[0]))
            values = self._cast(plain, kind, start, texts)
        if self.kind is None and values.null_count == len(values):
            return pa.nulls(len(values))
        self.kind = kind
        return _cast(values, DATE) if kind == ZONED_DATE else values

    def _cast(self, cells: pa.Array, kind: pa.DataType, start: int, given: pa.Array | None = None) -> pa.Array:
        """Cast, or refuse the first cell that is not of the kind, in the words of the file if these are `given`."""
        try:
            return _cast(cells, kind)
        except pa.ArrowNotImplementedError:
            what = f"cells of type {shortened(str(cells.type))}, expected numbers, dates or text"
            raise InputError(f"{self.source.file}: column {self.name!r} has {what}") from None
        except pa.ArrowInvalid:
            row = next(row for row, cell in enumerate(cells) if not _fits(cell, kind))
            self._refuse((cells if given is None else given)[row], start + row, kind)

    def _refuse(self, cell: pa.Scalar, row: int, kind: pa.DataType) -> NoReturn:
        value = cell.as_py()
        dated = kind == NUMBER and isinstance(value, str) and re.search(r"\d[./-]\d", value)
        dates = f", or {EXPECTED[DATE]}" if dated else ""
        raise InputError(
            f"{self.source.file}: column {self.name!r}, {self.source.place(row)}: "
            f"{shortened(repr(value.strip() if isinstance(value, str | bytes) else value))}, "
            f"expected {EXPECTED[kind]}{dates}; correct or remove that row"
        )


def _cast(cells: pa.Array | pa.Scalar, kind: pa.DataType) -> pa.Array | pa.Scalar:
    """Cast; large integers round to the nearest double, and times to the microsecond below."""
    return pc.cast(cells, options=pc.CastOptions(kind, allow_time_truncate=True, allow_float_truncate=True))


def _fits(cell: pa.Scalar, kind: pa.DataType) -> bool:
    try:
        _cast(cell, kind)
    except pa.ArrowInvalid:
        return False
    return True


def _kind(cell: pa.Scalar) -> pa.DataType:
    return next((kind for kind in (NUMBER, DATE, ZONED_DATE) if _fits(cell, kind)), NUMBER)


def _trimmed(texts: pa.Array) -> pa.Array:
    texts = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.is_in(texts, value_set=pa.array(MISSING)), None, texts)


def _plain(texts: pa.Array, decimal: str) -> pa.Array:
    """Cells as Arrow casts them: trimmed, with a decimal point, and seconds with six decimals at most."""
    texts = pc.replace_substring(_trimmed(texts), decimal, ".")
    return pc.replace_substring_regex(texts, r"(:\d\d\.\d{6})\d+", r"\1")


def measure(column: pa.ChunkedArray, time_unit: str, origin: int | None) -> tuple[Tensor, str, str | None]:
    """A column in double precision, nan where it lacks a value.

    Returns:
        The numbers, what to add to the label of a column of times, and of dates the one that they are counted from.
    """
    if column.null_count == len(column):
        return torch.full((len(column),), torch.nan, dtype=torch.float64), "", None
    if column.type == NUMBER:
        return torch.tensor(column.to_numpy()), "", None
    ticks = pc.cast(column, pa.int64())
    suffix, since = f" ({time_unit})", None
    if column.type == DATE:
        origin = pc.min(ticks).as_py() if origin is None else origin
        ticks = pc.subtract_checked(ticks, origin)
        since = _date(origin)
        suffix = f" ({time_unit} since {since})"
    return torch.tensor(ticks.to_numpy() / (TICKS[column.type.unit] * SECONDS[time_unit])), suffix, since


def instant(text: str) -> int:
    """Microseconds from 1970 to an ISO date."""
    kind = _kind(pa.scalar(text))
    if kind == NUMBER:
        raise InputError(f"time_origin: given {text!r}, expected {EXPECTED[DATE]}")
    return int(_cast(_cast(pa.scalar(text), kind), DATE).value)


def _date(instant: int) -> str:
    """The ISO date or date-time of so many microseconds from 1970, as short as it can be."""
    text = str(_cast(pa.scalar(instant, DATE), TEXT).as_py())
    return text.removesuffix(".000000").removesuffix(" 00:00:00")


def shortened(text: str) -> str:
    """At most 80 characters of a text."""
    return text if len(text) <= 80 else f"{text[:77]}..."
