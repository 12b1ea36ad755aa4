"""A comparison of functions as text, from the plain dict of `comparison.json`: its table, and what follows."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from gd_lightning.report import printable, wrapped

__all__ = [
    "CRITERIA",
    "NEAR",
    "NO_SUPPORT",
    "SCORES",
    "cells",
    "comparison_markdown",
    "comparison_text",
    "four_digits",
    "header",
    "is_comparison",
    "reasons",
    "short_names",
    "spelled",
    "tenths",
]

CRITERIA = {"aicc": "AICc", "aic": "AIC", "bic": "BIC"}
SCORES = {"holdout": "RMSE of points kept out", "cv": "RMSE of points kept out"}
NEAR = 2.0  # a criterion no further away has about the same support (Burnham and Anderson, 2002, section 2.6)
SHOWN = ("p", "rmse", "score", "r2", "difference", "weight")
NO_SUPPORT = 10.0  # a criterion that much higher has none (the same)
NAME = 22  # letters of a function in a table of 80 columns


def comparison_text(found: Mapping[str, Any]) -> str:
    """The table, why functions could not be fitted, and the sentences.

    Args:
        found: the content of `comparison.json`.
    """
    head, body = header(found["by"]), _rows(found)
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i in (0, len(head) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *body)
    ]
    told = [
        line
        for sentence in (*spelled(_names(found)), *reasons(found), *found["sentences"])
        for line in wrapped(sentence)
    ]
    return printable("\n".join([*lines, "", *told]))


def comparison_markdown(found: Mapping[str, Any]) -> str:
    """The same in Markdown.

    Args:
        found: the content of `comparison.json`.
    """
    head = header(found["by"])
    rows = [head, ["---"] * len(head), *_rows(found)]
    table = "\n".join(f"| {' | '.join(f'`{cell}`' if '*' in cell else cell for cell in row)} |" for row in rows)
    why = [f"- {number} `{name}`" for number, _, name in (line.partition(" ") for line in spelled(_names(found)))]
    why += [f"- `{row['function']}`: {row['reason']}" for row in found["functions"] if not fitted(row)]
    blocks = [f"## {len(found['functions'])} functions, {found['data']['points']} points", " ".join(found["sentences"])]
    return "\n\n".join([*blocks, table, *(["\n".join(why)] if why else [])])


def reasons(found: Mapping[str, Any]) -> list[str]:
    """Why functions were not fitted, a line each."""
    return [f"{row['function']}: {row['reason']}" for row in found["functions"] if not fitted(row)]


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
    first = [name, str(row["p"]), four_digits(row.get("rmse"))]
    if by in SCORES:
        return [*first, four_digits(row.get("score")), _share(row.get("r2")), tenths(row.get("aicc")), row["status"]]
    weight = "" if row.get("weight") is None else f"{row['weight']:.3f}"
    return [
        *first,
        _share(row.get("r2")),
        tenths(row.get(by)),
        hundredths(row.get("difference")),
        weight,
        row["status"],
    ]


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Name -> what fits a column: a long one is cut, and has a number by which `spelled` tells it in full."""
    names = list(names)
    numbers = {name: f"({i})" for i, name in enumerate((one for one in names if len(one) > NAME), start=1)}
    return {name: f"{numbers[name]} {name[: NAME - 8]}..." if name in numbers else name for name in names}


def spelled(names: Iterable[str]) -> list[str]:
    """The names that `short_names` cut, in full."""
    return [f"{label.partition(' ')[0]} {name}" for name, label in short_names(names).items() if label != name]


def four_digits(value: float | None) -> str:
    """A number of any size; nothing where there is none."""
    return "" if value is None else f"{value:#.4g}".removesuffix(".")


def tenths(value: float | None) -> str:
    """A criterion; nothing where there is none."""
    if value is None:
        return ""
    return f"{value:.1f}" if abs(value) < 1e6 else f"{value:.2g}"


def hundredths(value: float | None) -> str:
    """A difference of two criteria, of which 2 is a limit; nothing where there is none."""
    if value is None:
        return ""
    return f"{value:.2f}" if abs(value) < 1e6 else f"{value:.2g}"


def _share(value: float | None) -> str:
    """R2, which may be far below 0."""
    if value is None or math.isnan(value):
        return ""
    return f"{value + 0.0:.4f}".replace("-0.0000", "0.0000") if value > -99 else f"{value:.1e}"


def _names(found: Mapping[str, Any]) -> list[str]:
    return [row["function"] for row in (*found["functions"], found["baseline"])]


def _rows(found: Mapping[str, Any]) -> list[list[str]]:
    named = short_names(_names(found))
    return [cells(row, found["by"], named[row["function"]]) for row in (*found["functions"], found["baseline"])]
