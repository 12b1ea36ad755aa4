r"""A result as Markdown and as LaTeX, from the plain dict of `result.json` like the report itself."""

import re
from collections.abc import Sequence
from typing import Any

from gd_lightning.report import suggestion
from gd_lightning.report_cells import (
    columns_of_series,
    each_series,
    flat,
    is_batch,
    level,
    parameter_rows,
    value_heading,
)
from gd_lightning.report_words import correlations, facts, measures, title, warnings
from gd_lightning.terminal import printable

__all__ = ["block", "code", "latex", "markdown", "markdown_table", "marked"]

Columns = list[tuple[str, list[str]]]
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "{}$&#%_"},
}
NUMBER = r"-?\d[\d.]*(?:e[+-]\d+)?"
SPAN = rf"(?:{NUMBER}|\?)(?: (?:±|to) (?:{NUMBER}|\?))?"
NUMBERS = re.compile(rf"(?<!\w)(\({SPAN}\)e[+-]\d+|{SPAN})")


def markdown(result: dict[str, Any]) -> str:
    """The report with tables in the Markdown of GitHub and TensorBoard.

    Args:
        result: the content of `result.json`.
    """
    blocks = [f"## {code(title(result))}"]
    blocks.append("\n".join(f"- {name}: {marked(text)}" for name, text in facts(result)))
    blocks.append(markdown_table(parameter_columns(result)))
    if is_batch(result):
        blocks.append(markdown_table(each_series(result, 10**9)))
    told = [*measures(result), *correlations(result), *warnings(result), *result.get("summary", [])]
    blocks.append("\n".join(f"- {marked(line)}" for line in told))
    if lines := suggestion(result):
        command = " ".join(line.removesuffix("\\").strip() for line in lines).removeprefix("Try: ")
        blocks.append(f"Try: {code(command) if command.startswith('-') else marked(command)}")
    return printable("\n\n".join(blocks))


def latex(result: dict[str, Any]) -> str:
    r"""The parameters, and how good the fit is, as a `tabular` that needs `\\usepackage{booktabs}`.

    Args:
        result: the content of `result.json`.
    """
    columns = parameter_columns(result)
    rows = zip(*(cells for _, cells in columns), strict=True)
    told = [title(result), *(f"{name}: {text}" for name, text in facts(result)), *warnings(result)]
    lines = [
        *(f"% {' '.join(line.split())}" for line in told),
        rf"\begin{{tabular}}{{{'l' * len(columns)}}}",
        r"\toprule",
        rf"{' & '.join(escaped(heading) for heading, _ in columns)} \\",
        r"\midrule",
        *(rf"{' & '.join([escaped(row[0]), *map(math, row[1:])])} \\" for row in rows),
        r"\midrule",
        *(
            rf"\multicolumn{{{len(columns)}}}{{l}}{{{math(line)}}} \\"
            for line in [*measures(result), *unless_converged(result)]
        ),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return printable("\n".join(lines))


def unless_converged(result: dict[str, Any]) -> list[str]:
    """The status, where a table of numbers would pass for one of a fit that has arrived."""
    found = set(flat(result["status"])) - {"converged"}
    return [f"status: {', '.join(sorted(found))}"] if found else []


def parameter_columns(result: dict[str, Any]) -> Columns:
    """Headings and cells on the parameters."""
    if is_batch(result):
        return columns_of_series(result)
    rows = parameter_rows(result)
    table = [
        ("parameter", [row.name for row in rows]),
        (value_heading(rows), [row.both for row in rows]),
        (level(result), [row.interval for row in rows]),
        ("start", [row.start for row in rows]),
    ]
    return [(heading, cells) for heading, cells in table if any(cells)]


def markdown_table(columns: Columns) -> str:
    """A table whose first column is names."""

    def row(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    lines = [row([marked(heading) for heading, _ in columns]), row(["---"] * len(columns)).replace(" ", "")]
    for first, *others in zip(*(cells for _, cells in columns), strict=True):
        lines.append(row([code(first).replace("|", r"\|"), *(marked(" ".join(cell.split())) for cell in others)]))
    return "\n".join(lines)


def code(text: str) -> str:
    """Text as it is in one line, also where it has backquotes of its own."""
    text = " ".join(text.split())
    fence = _fence(text, 1)
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def block(text: str) -> str:
    """Lines as they are, also where they have backquotes of their own."""
    fence = _fence(text, 3)
    return f"{fence}\n{text}\n{fence}"


def _fence(text: str, least: int) -> str:
    """More backquotes than stand anywhere in a text side by side."""
    return "`" * max(least, *(len(run) + 1 for run in re.findall("`+", text)), 0)


def marked(text: str) -> str:
    """Text in which nothing is taken for Markdown."""
    return re.sub(r"([\\`*_{}\[\]|#])", r"\\\1", text).replace("<", "&lt;")


def escaped(text: str) -> str:
    """Text in which nothing is taken for LaTeX."""
    return "".join(SPECIAL.get(sign, sign) for sign in text)


def math(text: str) -> str:
    r"""Text with its numbers as formulas: `(1.2 ± 0.3)e-05` as `$(1.2 \pm 0.3) \times 10^{-5}$`."""
    parts = NUMBERS.split(text)
    return "".join(in_math(part) if i % 2 else escaped(part) for i, part in enumerate(parts)).replace("R2", "$R^2$")


def in_math(text: str) -> str:
    """A number, a value with its error, or an interval."""
    text = text.replace("±", r"\pm").replace(" to ", r" \mbox{ to } ")
    return "$" + re.sub(r"e([+-]\d+)", lambda found: rf" \times 10^{{{int(found[1])}}}", text) + "$"
