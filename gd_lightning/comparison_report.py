"""What `gd-lightning compare` shows, and what it leaves: a table, a picture, a TensorBoard run per function."""

import math
import re
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from gd_lightning.comparison import Comparison
from gd_lightning.comparison_row import Row
from gd_lightning.comparison_table import CRITERIA, comparison_markdown, lines_of, rows_of
from gd_lightning.files import write_whole
from gd_lightning.rendering import pixels, png
from gd_lightning.report_formats import code
from gd_lightning.terminal import printable

__all__ = ["comparison_report", "write_run"]

LETTERS = 60  # of a formula in the name of its folder


def comparison_report(found: Comparison) -> RenderableType:
    """A row for each function, the best first and the mean of the data last; then why, and what follows."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    head, *body = rows_of(found.told)
    for i, name in enumerate(head):
        at_an_end = i in (0, len(head) - 1)
        table.add_column(name, justify="left" if at_an_end else "right", no_wrap=True)
    near = found.indistinguishable
    for row, cells in zip((*found.rows, found.baseline), body, strict=True):
        style = "bold" if row in near else None if row.fitted else "dim"
        table.add_row(*(Text(printable(cell)) for cell in cells), style=style)
    return Group(table, "", *(Text(printable(line)) for line in lines_of(found.told)))


def card(found: Comparison, command: str) -> str:
    """The text card in TensorBoard, in Markdown: the table, what follows, and how to read the other tabs.

    Args:
        found: the comparison.
        command: what was typed to make this run.
    """
    return f"""\
{comparison_markdown(found.to_dict())}

Made by {code(printable(command))} with seed {found.seed}.

### What you are looking at

Each function was fitted to the same data, from its own start. **AICc** weighs how near it comes against how many
parameters (p) it takes: the lowest is the best, and less than 2 between two of them tells nothing. **weight** is the
chance that a function is the best of those that were compared, which does not make it a good one.

- **Images**: `comparison` shows the best few over the data, and how far each function is behind.
- **HParams**: compares the functions, each a run of its own, by the same numbers.
"""


def write_run(folder: Path, found: Comparison, best: int, command: str) -> None:
    """Write comparison.json and comparison.png, and what TensorBoard shows: picture, card, a run for each function.

    Args:
        folder: of the run.
        found: the comparison.
        best: how many functions are drawn over the data.
        command: what was typed.
    """
    found.write_json(folder / "comparison.json")
    picture = pixels(found.plot(best))
    write_whole(folder / "comparison.png", png(picture))
    with SummaryWriter(folder) as shown:
        shown.add_image("comparison", picture, dataformats="HWC")
        shown.add_text("report", card(found, command))
    taken: set[str] = set()
    for row in found.rows:
        name = _folder_name(row.function, taken)
        taken.add(name)
        metrics = _metrics(found, row)
        described = {"function": row.function, "p": row.p or 0, "status": row.status, "by": found.by}
        with SummaryWriter(folder / name) as shown:
            for summary in hparams(described, dict.fromkeys(metrics, math.nan)):  # type: ignore[no-untyped-call]
                shown.file_writer.add_summary(summary)
            for metric, value in metrics.items():
                if value is not None and math.isfinite(value):
                    shown.add_scalar(metric, value)


def _metrics(found: Comparison, row: Row) -> dict[str, float | None]:
    """What the HParams tab compares: the same names in every run."""
    return {
        "final/rmse": row.rmse,
        **{f"compare/{name}": getattr(row.goodness, name, None) for name in CRITERIA},
        "compare/difference": row.difference,
        **({} if found.folds is None else {"compare/kept_out_rmse": row.score}),
        **({} if found.folds is not None else {"compare/weight": row.weight}),
    }


def _folder_name(function: str, taken: set[str]) -> str:
    """A function's name as that of a folder, which file systems and shells read without quotes."""
    name = re.sub(r"[^\w.+=-]+", "_", function).strip("._")[:LETTERS] or "function"
    return name if name not in taken else f"{name}_{len(taken)}"
