"""The page that a picture is drawn on, its text, and the legend beneath it."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from gd_lightning.terminal import printable

__all__ = ["MARGIN", "add_legend", "blank_figure", "cleared", "write"]

MARGIN = 0.6  # inches beside a small panel, for the numbers of its y axis, and beside its x label, for a power of ten


def blank_figure(width: float, height: float) -> Figure:
    """A figure of so many inches that pyplot does not know of."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def cleared(figure: Figure) -> Figure:
    """A figure without what it showed: axes, ticks and their places, which take longest to make, stay."""
    for axes in figure.axes:
        for bars in axes.containers[:]:
            bars.remove()
        for drawn in [*axes.collections, *axes.lines]:
            drawn.remove()
        axes.relim()
        axes.autoscale(True)
    for legend in figure.legends[:]:
        legend.remove()
    return figure


def write(text: Text, words: str, inches: float) -> None:
    """Set words in lines that are no longer than so many inches, and as they are: `$` begins no formula.

    Of a letter that no font has, matplotlib warns, and that prints it: control characters are written out.
    """
    letters = max(int(inches * 72 / (0.6 * float(text.get_fontsize()))), 8)  # a letter is 0.6 of its size wide
    lines = (textwrap.fill(line, letters, max_lines=3, placeholder=" ...") for line in printable(words).splitlines())
    text.set_text("\n".join(lines))
    text.set_parse_math(False)


def add_legend(figure: Figure, panels: Iterable[Axes], missing: int, outside: Sequence[str] = ()) -> None:
    """One entry for each label, below the picture; dots, their error bars and their line share one.

    Above them stands what cannot be seen: how many predictions are `missing`, and what lies outside the picture.
    """
    entries: dict[str, Any] = {}
    for axes in panels:
        here: dict[str, tuple[Artist, ...]] = {}
        for artist, label in zip(*axes.get_legend_handles_labels(), strict=True):
            here[label] = (*here.get(label, ()), artist)
        entries = entries | {label: artists for label, artists in here.items() if label not in entries}
    unseen = [f"predictions that are not finite: {missing}"] if missing else []
    legend = figure.legend(
        list(entries.values()),
        list(entries),
        title="\n".join([*unseen, *outside]) or None,
        loc="outside lower center",
        ncols=_columns_of(list(entries), figure.get_figwidth()),
        frameon=False,
        scatteryoffsets=[0.5],  # on the line, where dots have one
    )
    for dots in legend.findobj(PathCollection):
        dots.set(sizes=np.maximum(dots.get_sizes(), 16), alpha=1)  # specks are too small to tell their colour


def _columns_of(labels: Sequence[str], inches: float) -> int:
    """As many columns of a legend as fit beside one another."""
    for columns in range(len(labels), 1, -1):
        groups = np.array_split([len(label) for label in labels], columns)  # as matplotlib fills them
        if sum(0.7 + 0.08 * int(group.max()) for group in groups) <= inches:  # a handle, and a letter of the legend
            return columns
    return 1
