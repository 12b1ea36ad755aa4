"""A result in words and numbers: one text for the terminal, for TensorBoard, for `gd-lightning report` and `print`.

All of it comes from the plain dict of `result.json`, and needs nothing of what computed that.
"""

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from gd_lightning.errors import InputError
from gd_lightning.report_cells import (
    beside,
    columns_of_series,
    count,
    each_series,
    is_batch,
    level,
    parameter_rows,
    value_heading,
)
from gd_lightning.report_words import correlations, facts, measures, title, warnings
from gd_lightning.terminal import printable

__all__ = ["SCHEMA", "check_schema", "report", "suggestion", "wrapped"]

SCHEMA = 1  # of result.json and of saved files, raised whenever a reader of the last one would misread a file
WIDTH = 80  # columns of a terminal
SERIES = 10  # series that are shown one by one


def report(result: dict[str, Any]) -> str:
    """What was fitted, what came out and how sure it is, in lines of at most 80 characters.

    Args:
        result: the content of `result.json`.
    """
    blocks = [
        [*formula(title(result)), *labelled(facts(result))],
        series_parameters(result) if is_batch(result) else parameters(result),
        series_table(result),
        [
            line
            for sentence in [*measures(result), *correlations(result), *warnings(result)]
            for line in wrapped(sentence)
        ],
        [line for sentence in result.get("summary", []) for line in wrapped(sentence)] + suggestion(result),
    ]
    return printable("\n\n".join("\n".join(block) for block in blocks if block))


def check_schema(file: object, content: object) -> None:
    """Refuse what a later version wrote.

    Raises:
        InputError: naming the file and both versions of the format.
    """
    schema = content.get("schema", 0) if isinstance(content, dict) else 0
    if isinstance(schema, int) and schema > SCHEMA:
        raise InputError(f"{file} has schema {schema}, and this version knows {SCHEMA}; update gd_lightning to read it")


def parameters(result: dict[str, Any]) -> list[str]:
    """A table of the parameters of one series; in a block each where it is too wide."""
    rows = parameter_rows(result)
    table = [
        ("parameter", [row.name for row in rows]),
        (value_heading(rows), beside([row.value for row in rows], [row.error for row in rows], " ")),
        (level(result), beside([row.low for row in rows], [row.high for row in rows], " to ")),
        ("start", [row.start for row in rows]),
    ]
    table = [(heading, column) for heading, column in table if any(map(str.strip, column))]
    if lines := fitting(table, [column for column in table if column[0] != "start"]):
        return lines
    lines = []
    for row in rows:
        told = [
            row.both,
            f"{level(result)} {row.interval}" if row.low else "",
            f"start {row.start}" if row.start else "",
        ]
        lines += [*wrapped(row.name, ""), *(f"    {line}" for line in told if line)]
    return lines


def series_parameters(result: dict[str, Any]) -> list[str]:
    """A table of the parameters of several series; in a block each where it is too wide."""
    (_, names), *columns = table = columns_of_series(result)
    if lines := fitting(table, [column for column in table if column[0] != "its range"]):
        return lines
    lines = []
    for i, name in enumerate(names):
        told = "; ".join(f"{heading} {cells[i]}" for heading, cells in columns if cells[i])
        lines += [*wrapped(name, ""), *(f"    {line}" for line in wrapped(told, "", WIDTH - 4))]
    return lines


def series_table(result: dict[str, Any]) -> list[str]:
    """The first series one by one, where a line has room for all of their parameters; nothing of a single one."""
    lines = fitting(each_series(result, SERIES)) if is_batch(result) else []
    more = lines and count(result) > SERIES
    return [*lines, f"(the first {SERIES} of {count(result)} series)"] if more else lines


def suggestion(result: dict[str, Any]) -> list[str]:
    """What to type for a better fit; a command goes on in the next line after a backslash."""
    found = result.get("suggestion")
    if found is None:
        return []
    options = found.get("options", ["--model.optimizer", found["optimizer"]])
    if options is None:
        text = f"Try: optimizer={found['optimizer']}, the default without lr and scheduler"
        return wrapped(text)
    pairs = [" ".join(pair) for pair in zip(options[::2], options[1::2], strict=True)]
    lines = ["Try:"]
    for pair in pairs:
        if len(f"{lines[-1]} {pair} \\") > WIDTH:
            lines[-1] += " \\"
            lines.append(" ")
        lines[-1] += f" {pair}"
    return lines


def wrapped(text: str, indent: str = "  ", width: int = WIDTH) -> list[str]:
    """A sentence in lines of at most 80 characters."""
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)


def labelled(facts: Iterable[tuple[str, str]]) -> list[str]:
    """Sentences, each after a word in a column of its own."""
    return [line for name, text in facts for line in wrapped(f"{name:<8}{text}", " " * 8)]


def formula(text: str) -> list[str]:
    """A formula in lines of at most 80 characters, also one without blanks."""
    joint = "\0"  # where it may be broken, and loses the blank again where it is not
    text = re.sub(r"(\*\*|[*/,])(?! )", rf"\1{joint} ", text)
    return [line.replace(f"{joint} ", "").replace(joint, "") for line in wrapped(text, "    ")]


def fitting(*tables: Sequence[tuple[str, list[str]]]) -> list[str]:
    """The first of these tables that a terminal has room for, as lines: its headings, then its rows; else nothing."""
    for columns in tables:
        for gap in ("   ", "  "):
            padded = []
            for heading, cells in columns:
                width = max(map(len, [heading, *cells]))
                padded.append([f"{cell:<{width}}" for cell in [heading, *cells]])
            lines = [gap.join(row).rstrip() for row in zip(*padded, strict=True)]
            if max(map(len, lines)) <= WIDTH:
                return lines
    return []
