"""Which columns of Parquet files say what of the series in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import has_magic
from typing import Any

import numpy as np
import pyarrow as pa

from gd_lightning.arrays import Array
from gd_lightning.cells import shortened
from gd_lightning.errors import InputError, suggest
from gd_lightning.parquet_rows import ParquetRows

__all__ = ["Layout", "layout_of"]

NAMES = "expected whole numbers, text or dates"
A_COLUMN = "expected the name of a column"


@dataclass(frozen=True)
class Layout:
    """The columns of a long table, a row for each point, or of a wide one, a row for each series.

    Attributes:
        long: which of the two.
        y: the data: one column, of numbers in a long table and of lists in a wide one; or several columns of numbers.
        t: the independent variable, likewise; none where it does not stand in the rows.
        sigma: standard deviations of y, likewise; none where there are none.
        fixed: the t that all series share, where that does not stand in the rows; None for 0, 1, 2, ...
        series: the column of names, if there is one.
        name_type: the type of the names, one for all files.
    """

    long: bool
    y: tuple[str, ...]
    t: tuple[str, ...]
    sigma: tuple[str, ...]
    fixed: Array | None
    series: str | None
    name_type: pa.DataType | None

    @property
    def lists(self) -> bool:
        """Whether y is a column of lists."""
        return not self.long and len(self.y) == 1

    @property
    def columns(self) -> list[str]:
        """All columns that are read, each once."""
        names = () if self.series is None else (self.series,)
        return list(dict.fromkeys((*names, *self.t, *self.y, *self.sigma)))


def layout_of(
    source: ParquetRows,
    y: str | Sequence[str],
    t: str | Sequence[str] | Sequence[float] | None,
    sigma: str | Sequence[str] | None,
    series: str | None,
) -> Layout:
    """Find the columns that are meant, and refuse files in which they are missing or of another kind.

    Raises:
        InputError: naming the file, the column and what it is.
    """
    if series is not None:
        _check_names(source, series)
    columns = _columns(source, "y", y, series)
    long = len(columns) == 1 and not _is_list(_type(source, columns[0]))
    fixed = None
    predictors: tuple[str, ...] = ()
    if isinstance(t, str) or (t is not None and len(t) and all(isinstance(one, str) for one in t)):
        predictors = _columns(source, "t", t, series)
    elif t is not None:
        fixed = _numbers(t)
    elif len(columns) > 1:
        fixed = _numbers_in(columns)
    deviations = () if sigma is None else _columns(source, "sigma", sigma, series)
    if long:
        _check_long(source, columns[0], predictors, deviations, fixed, series)
    else:
        _check_wide(source, columns, predictors, deviations, fixed)
    for name in dict.fromkeys((*columns, *predictors, *deviations)):
        _check_kind(source, name)
    name_type = None if series is None else _common_type(source, series)
    return Layout(long, columns, predictors, deviations, fixed, series, name_type)


def _columns(source: ParquetRows, key: str, given: Any, series: str | None) -> tuple[str, ...]:
    """The columns that are meant by names, a text with commas between names, or a pattern."""
    first, schema = source.schemas[0]
    known = schema.names
    if isinstance(given, str):
        parts = [given] if given in known else [part.strip() for part in given.split(",")]
    else:
        parts = list(given)
        if not parts or not all(isinstance(part, str) for part in parts):
            raise InputError(
                f"{key}: given {shortened(repr(given))}, expected the name of a column or names of several"
            )
    columns: list[str] = []
    for part in parts:
        matching = [name for name in known if fnmatchcase(name, part) and name != series]
        columns += matching if has_magic(part) and part not in known and matching else [part]
    for name in columns:
        _check_there(source, key, name)
        kind = _kind(_type(source, name))
        if kind not in ("numbers", "lists of numbers") or (kind != "numbers" and len(columns) > 1):
            what = "numbers or lists of numbers" if len(columns) == 1 else "numbers in each of several columns"
            raise InputError(f"{key}: column {name!r} of {first} has {_shown(source, 0, name)}, expected {what}")
    return tuple(columns)


def _check_there(source: ParquetRows, key: str, name: str) -> None:
    for file, schema in source.schemas:
        count = schema.names.count(name)
        if count == 0:
            raise InputError(f"{key}: {file} has no column {name!r}; {shortened(suggest(name, schema.names))}")
        if count > 1:
            raise InputError(f"{key}: {file} has {count} columns {name!r}, expected one; rename the others")


def _check_names(source: ParquetRows, series: str) -> None:
    if not isinstance(series, str):
        raise InputError(f"series: given {shortened(repr(series))}, {A_COLUMN}")
    _check_there(source, "series", series)
    kind = _type(source, series)
    if pa.types.is_nested(kind) or pa.types.is_float16(kind):
        raise InputError(f"series: column {series!r} of {source.files[0]} has {_shown(source, 0, series)}, {NAMES}")
    _check_kind(source, series)


def _check_kind(source: ParquetRows, name: str) -> None:
    """Refuse a column that is one thing in the first file and another in a later one."""
    for i in range(1, len(source.schemas)):
        if _kind(_type(source, name, i)) != _kind(_type(source, name)):
            raise InputError(
                f"{source.schemas[i][0]}: column {name!r} has {_shown(source, i, name)}, and in "
                f"{source.files[0]} it has {_shown(source, 0, name)}; expected the same in all files"
            )


def _check_long(
    source: ParquetRows, y: str, t: tuple[str, ...], sigma: tuple[str, ...], fixed: Any, series: str | None
) -> None:
    if series is None:
        raise InputError(
            f"series: not given, and {y!r} has one number a row; expected the column that says to which series a row "
            "belongs; where a row is a series, give y a column of lists or several columns"
        )
    if fixed is not None:
        raise InputError(f"t: given numbers, and {y!r} has one number a row; {A_COLUMN} of numbers")
    for key, columns in (("t", t), ("sigma", sigma)):
        if len(columns) > 1 or (columns and _is_list(_type(source, columns[0]))):
            raise InputError(
                f"{key}: given {', '.join(columns)}, and {y!r} has one number a row; {A_COLUMN} of numbers"
            )


def _check_wide(
    source: ParquetRows, y: tuple[str, ...], t: tuple[str, ...], sigma: tuple[str, ...], fixed: Any
) -> None:
    for key, columns in (("t", t), ("sigma", sigma)):
        if len(columns) == 1 and not _is_list(_type(source, columns[0])):
            raise InputError(
                f"{key}: column {columns[0]!r} has one number a row, and a row has a whole series; "
                "expected a column of lists or several columns"
            )
        if min(len(columns), len(y)) > 1 and len(columns) != len(y):
            raise InputError(f"{key}: given {len(columns)} columns, and {len(y)} for y; expected as many")
    if len(y) > 1 and fixed is not None and len(fixed) != len(y):
        raise InputError(f"t: given {len(fixed)} numbers, and {len(y)} columns for y; expected as many")


def _numbers(t: Any) -> Array:
    try:
        numbers = np.array(t, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise InputError(f"t: given {shortened(repr(t))}, {A_COLUMN} or finite numbers")
    return numbers


def _numbers_in(names: tuple[str, ...]) -> Array | None:
    """The names of columns as numbers, if that is what they are."""
    try:
        numbers = np.array([float(name) for name in names])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _common_type(source: ParquetRows, series: str) -> pa.DataType:
    fields = [pa.schema([pa.field(series, _type(source, series, i))]) for i in range(len(source.schemas))]
    return pa.unify_schemas(fields, promote_options="permissive").field(0).type


def _type(source: ParquetRows, name: str, i: int = 0) -> pa.DataType:
    """The type of a column; of one that is written as numbers of its entries in a dictionary, that of the entries."""
    kind = source.schemas[i][1].field(name).type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _shown(source: ParquetRows, i: int, name: str) -> str:
    kind = source.schemas[i][1].field(name).type
    return f"{_kind(_type(source, name, i))} ({kind})" if _kind(kind) != str(kind) else str(kind)


def _kind(kind: pa.DataType) -> str:
    """What counts as the same in all files."""
    types = pa.types
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind):
        return "numbers"
    if types.is_string(kind) or types.is_large_string(kind):
        return "text"
    return f"lists of {_kind(kind.value_type)}" if _is_list(kind) else str(kind)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
