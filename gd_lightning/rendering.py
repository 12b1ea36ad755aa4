"""Figures as pixels, drawn once for all who show them."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Pixels", "Reel", "pixels", "png"]

Pixels = NDArray[np.uint8]

COLOURS = 128  # in a PNG, enough for five colours and their edges; it has a third of the size then


def pixels(figure: Figure) -> Pixels:
    """Draw a figure, on the canvas that it has: red, green and blue, shape `(height, width, 3)`."""
    canvas: Any = figure.canvas
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def png(picture: Figure | Pixels) -> bytes:
    """A figure as a PNG file with a palette, tens of kilobytes even where there are many points."""
    drawn = pixels(picture) if isinstance(picture, Figure) else picture
    file = io.BytesIO()
    colours = Image.fromarray(drawn).quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    colours.save(file, format="png")
    return file.getvalue()


class Reel:
    """A row of like pictures, drawn one after another in the same figure.

    To make axes and ticks, and to find places that leave room for all texts, takes longer than to draw. They stay as
    long as no text needs more room; else a new figure is begun.
    """

    def __init__(self) -> None:
        self._figure: Figure | None = None
        self._room: list[int] = []

    def next(self, draw: Callable[[Figure | None], Figure]) -> Figure:
        """The next picture.

        Args:
            draw: draws it in the figure that it is given, which it clears, or in a new one.
        """
        if self._figure is not None:
            draw(self._figure)
            if all(now <= then for now, then in zip(_room(self._figure), self._room, strict=True)):
                return self._figure
        figure = self._figure = draw(None)
        self._room = _room(figure)
        _settle(figure)
        return figure


def _room(figure: Figure) -> list[int]:
    """What the texts need: lines of titles, letters of labels, and entries of legends."""
    titles = [axes.get_title().count("\n") for axes in figure.axes]
    labels = [max((len(one.get_text()) for one in axes.get_yticklabels()), default=0) for axes in figure.axes]
    return [*titles, *labels, sum(len(legend.get_texts()) for legend in figure.legends)]


def _settle(figure: Figure) -> None:
    """Fix the places of axes, titles and the names of the axes, which else are looked for at each drawing."""
    canvas: Any = figure.canvas
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_title(axes.get_title(), y=1.0, fontsize=axes.title.get_fontsize())
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_tightbbox(canvas.get_renderer())  # places its name
            place = axis.label.get_transform().transform(axis.label.get_position())
            axis.set_label_coords(*axes.transAxes.inverted().transform(place))
