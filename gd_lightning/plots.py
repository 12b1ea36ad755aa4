"""Pictures of a fit: pure functions that return a matplotlib figure and leave pyplot alone."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

__all__ = ["Frame", "film_strip", "prediction_figure"]

Limits = tuple[float, float]


class Frame(NamedTuple):
    """One panel of a film strip: what is predicted after a number of steps."""

    title: str
    preds: Tensor


def prediction_figure(
    t: Tensor,
    targets: Tensor,
    preds: Tensor,
    start: Tensor | None = None,
    *,
    title: str = "",
    labels: tuple[str, str] = ("t", "y"),
    ylim: Limits | None = None,
) -> Figure:
    """Predictions against data: the article's picture, with the prediction of the start beside it.

    Args:
        t: independent variable, shape `(T,)`.
        targets: data, shape `(T,)`, in the default colour.
        preds: predictions, shape `(T,)`, in red.
        start: predictions of the starting values, shape `(T,)`, hollow and grey.
        title: text above the picture.
        labels: names of the two axes.
        ylim: range of the y axis; chosen from what is drawn unless given.

    Returns:
        A figure that nobody else holds.
    """
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _scatter(axes, t, targets, preds, start)
    axes.set(title=title, xlabel=labels[0], ylabel=labels[1], ylim=ylim)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def film_strip(
    t: Tensor,
    targets: Tensor,
    frames: Sequence[Frame],
    start: Tensor | None = None,
    *,
    title: str = "",
    labels: tuple[str, str] = ("t", "y"),
    ylim: Limits | None = None,
) -> Figure:
    """The descent as a row of panels that share their axes, one for each frame; the article shows six.

    Args:
        t: independent variable, shape `(T,)`.
        targets: data, shape `(T,)`, in the default colour in every panel.
        frames: title and predictions, shape `(T,)`, of each panel.
        start: predictions of the starting values, shape `(T,)`, hollow and grey in every panel.
        title: text above the strip.
        labels: names of the two axes.
        ylim: range of the y axis; chosen from what is drawn unless given.

    Returns:
        A figure that nobody else holds.
    """
    figure = Figure(figsize=(2.2 * max(len(frames), 2), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(frames), sharex=True, sharey=True, squeeze=False)[0]
    for axes, frame in zip(panels, frames, strict=True):
        _scatter(axes, t, targets, frame.preds, start)
        axes.set(title=frame.title, xlabel=labels[0], ylim=ylim)
        axes.title.set_fontsize("medium")
    panels[0].set_ylabel(labels[1])
    figure.suptitle(title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _scatter(axes: Axes, t: Tensor, targets: Tensor, preds: Tensor, start: Tensor | None) -> None:
    times = t.cpu()
    axes.scatter(times, targets.cpu(), label="data")
    if start is not None:
        axes.scatter(times, start.cpu(), s=16, facecolors="none", edgecolors="0.6", label="prediction at the start")
    axes.scatter(times, preds.cpu(), color="red", label="prediction")
