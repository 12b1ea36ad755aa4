"""Figures as pixels, drawn once for all who show them."""

import io
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Pixels", "Places", "pixels", "png"]

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
    Image.fromarray(drawn).quantize(COLOURS, dither=Image.Dither.NONE).save(file, format="png", optimize=True)
    return file.getvalue()


class Places:
    """Where the axes of a row of like figures stand.

    To find places that leave room for all texts takes longer than to draw them. A figure whose texts need no more room
    than those of the one before takes that one's, also for what stands beside the axes: to find out again costs as much
    as all else that is drawn.
    """

    def __init__(self) -> None:
        self._room: list[int] = []
        self._boxes: list[Bbox] = []
        self._last: Figure | None = None

    def settle(self, figure: Figure) -> Figure:
        """Fix the places of a figure's axes, titles and labels."""
        titles = [axes.get_title().count("\n") for axes in figure.axes]
        labels = [max((len(one.get_text()) for one in axes.get_yticklabels()), default=0) for axes in figure.axes]
        room = [*titles, *labels]
        fits = len(room) == len(self._room) and all(now <= then for now, then in zip(room, self._room, strict=True))
        if not fits and (engine := figure.get_layout_engine()) is not None:
            engine.execute(figure)
            self._room, self._boxes = room, [axes.get_position() for axes in figure.axes]
        figure.set_layout_engine("none")
        for axes, box in zip(figure.axes, self._boxes, strict=True):
            axes.set_position(box)
            axes.set_title(axes.get_title(), y=1.0, fontsize=axes.title.get_fontsize())  # whatever is on top of it
        if fits and self._last is not None and not self._last.stale:  # it has been drawn
            for axes, other in zip(figure.axes, self._last.axes, strict=True):
                for axis, like in ((axes.xaxis, other.xaxis), (axes.yaxis, other.yaxis)):
                    place = like.label.get_transform().transform(like.label.get_position())
                    axis.set_label_coords(*other.transAxes.inverted().transform(place))
        self._last = figure
        return figure
