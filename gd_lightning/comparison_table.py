"""A comparison of functions as text, from the plain dict of `comparison.json`: its table, and what follows."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from gd_lightning.digits import number, share
from gd_lightning.report import wrapped
from gd_lightning.report_formats import code, markdown_table, marked
from gd_lightning.terminal import printable
from gd_lightning.words import plural

__all__ = [
    "CRITERIA",
    "NEAR",
    "NO_SUPPORT",
    "SCORES",
    "comparison_markdown",
    "comparison_text",
    "decimals",
    "is_comparison",
    "lines_of",
    "rows_of",
    "short_names",
]

CRITERIA = {"aicc": "AICc", "aic": "AIC", "bic": "BIC"}
SCORES = {"holdout": "RMSE of points kept out", "cv": "RMSE of points kept out"}
NEAR = 2.0  # a criterion no further away has about the same support (Burnham and Anderson, 2002, section 2.6)
SHOWN = ("p", "rmse", "score", "r2", "difference", "weight")
NO_SUPPORT = 10.0  # a criterion that much higher has none (the same)
PLACES = 4  # of R2, or more where it is nearer to 1
NAME = 22  # letters of a function in a table of 80 columns


def comparison_text(found: Mapping[str, Any]) -> str:
    """The table, why functions could not be fitted, and the sentences.

    Args:
        found: the content of `comparison.json`.
    """
    rows = rows_of(found)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(
            cell.ljust(width) if i in (0, len(row) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return printable("\n".join([*table, "", *(line for sentence in lines_of(found) for line in wrapped(sentence))]))


def comparison_markdown(found: Mapping[str, Any]) -> str:
    """The same in Markdown.

    Args:
        found: the content of `comparison.json`.
    """
    head, *body = rows_of(found)
    table = markdown_table([(name, list(column)) for name, column in zip(head, zip(*body, strict=True), strict=True)])
    why = [f"- {label} {code(name)}" for label, _, name in (line.partition(" ") for line in _spelled(found))]
    why += [f"- {code(row['function'])}: {marked(row['reason'])}" for row in found["functions"] if not fitted(row)]
    heading = f"## {plural(len(found['functions']), 'function')}, {plural(found['data']['points'], 'point')}"
    blocks = [heading, marked(" ".join(found["sentences"])), table]
    return printable("\n\n".join([*blocks, *(["\n".join(why)] if why else [])]))


def rows_of(found: Mapping[str, Any]) -> list[list[str]]:
    """The table as text: its header, a row for each function, and that of the mean of the data."""
    rows = _all(found)
    named = short_names(row["function"] for row in rows)
    return [header(found["by"]), *(cells(row, found["by"], named[row["function"]]) for row in rows)]


def lines_of(found: Mapping[str, Any]) -> list[str]:
    """What stands below the table: names in full, why functions were not fitted, and the sentences."""
    reasons = [f"{row['function']}: {row['reason']}" for row in found["functions"] if not fitted(row)]
    return [*_spelled(found), *reasons, *found["sentences"]]


def fitted(row: Mapping[str, Any]) -> bool:
    """Whether there is a fit."""
    return row.get("p") is not None


def is_comparison(found: Any) -> bool:
    """Whether something has all that the functions here need."""

    def is_row(row: Any) -> bool:
        if not isinstance(row, Mapping):
            return False
        texts = [row.get(name) for name in ("function", "status", "reason")]
        numbers = [row.get(name) for name in (*SHOWN, *CRITERIA)]
        return all(isinstance(text, str) for text in texts) and all(
            number is None or isinstance(number, int | float) for number in numbers
        )

    return (
        isinstance(found, Mapping)
        and found.get("by") in (*CRITERIA, *SCORES)
        and isinstance(found.get("functions"), list)
        and all(is_row(row) for row in (*found["functions"], found.get("baseline")))
        and isinstance(found.get("sentences"), list)
        and all(isinstance(sentence, str) for sentence in found["sentences"])
        and isinstance(found.get("data"), Mapping)
        and isinstance(found["data"].get("points"), int)
    )


def header(by: str) -> list[str]:
    """What stands above the columns of `cells`.

    Args:
        by: what ranks.
    """
    if by in SCORES:
        return ["function", "p", "RMSE", "kept out", "R2", "AICc", "status"]
    return ["function", "p", "RMSE", "R2", CRITERIA[by], "differs", "weight", "status"]


def cells(row: Mapping[str, Any], by: str, name: str) -> list[str]:
    """A row of the table.

    Args:
        row: of one function.
        by: what ranks.
        name: what the function is called in it.
    """
    if not fitted(row):
        return [name, *[""] * (len(header(by)) - 2), row["status"]]
    first = [name, str(row["p"]), _four_digits(row.get("rmse"))]
    if by in SCORES:
        return [
            *first,
            _four_digits(row.get("score")),
            _share(row.get("r2")),
            decimals(row.get("aicc"), 1),
            row["status"],
        ]
    weight = "" if row.get("weight") is None else f"{row['weight']:.3f}"
    criterion, behind = decimals(row.get(by), 1), decimals(row.get("difference"), 2)
    return [*first, _share(row.get("r2")), criterion, behind, weight, row["status"]]


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Name -> what fits a column: a long one is cut, and has a number by which it is told in full."""
    names = list(names)
    numbers = {name: f"({i})" for i, name in enumerate((one for one in names if len(one) > NAME), start=1)}
    return {name: f"{numbers[name]} {name[: NAME - 8]}..." if name in numbers else name for name in names}


def _spelled(found: Mapping[str, Any]) -> list[str]:
    """The names that `short_names` cut, in full."""
    named = short_names(row["function"] for row in _all(found))
    return [f"{label.partition(' ')[0]} {name}" for name, label in named.items() if label != name]


def _all(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*found["functions"], found["baseline"]]


def _four_digits(value: float | None) -> str:
    """A number of any size; nothing where there is none."""
    return "" if value is None else number(value, 4)


def decimals(value: float | None, places: int) -> str:
    """A criterion, or a difference of two, of which 2 is a limit; nothing where there is none."""
    if value is None:
        return ""
    return f"{value:.{places}f}" if abs(value) < 1e6 else f"{value:.2g}"


def _share(value: float | None) -> str:
    """R2, which may be far below 0."""
    if value is None or math.isnan(value):
        return ""
    return share(round(value, 12) + 0.0, PLACES)  # a constant's is 0 but for rounding, and has no sign
