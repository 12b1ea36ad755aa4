"""Tables as CSV in which a spreadsheet finds no formula.

A cell that begins with =, +, -, @, a tab or a carriage return is run as a formula by programs that open CSV, whoever
wrote it. Of a text an apostrophe before it makes a text, as OWASP advises (CSV Injection); numbers stay numbers.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["csv_text"]

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows of numbers and texts as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows([_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def _cell(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULAS) and not _is_number(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isprintable()
