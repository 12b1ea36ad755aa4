"""Figures are drawn once, and like figures are laid out once."""

import io
from operator import attrgetter

import numpy as np
import pytest
import torch
from PIL import Image

from gd_lightning.plots import Belts, Panel, prediction_figure, series_grid
from gd_lightning.rendering import Reel, pixels, png

T = torch.arange(20.0)


def figure(scale=1.0, title="step 1"):
    y = scale * torch.sin(T)
    return prediction_figure(T, y, 0.9 * y, title=title)


def test_a_png_shows_the_pixels():
    drawn = pixels(figure())
    assert drawn.shape[2] == 3
    shown = np.asarray(Image.open(io.BytesIO(png(drawn))).convert("RGB"))
    assert shown.shape == drawn.shape
    assert np.abs(shown.astype(int) - drawn).mean() < 1
    assert png(figure()) == png(drawn)


def draw(scale=1.0, title="step 1"):
    """What draws `figure` in a figure or in a new one."""
    y = scale * torch.sin(T)
    return lambda given: prediction_figure(T, y, 0.9 * y, title=title, figure=given)


def as_alone(scale=1.0, title="step 1"):
    return Reel().next(draw(scale, title))


def test_the_first_of_a_reel_stands_where_its_layout_puts_it():
    settled, alone = as_alone(), figure()
    for one in (settled, alone):
        pixels(one)
    for axes, expected in zip(settled.axes, alone.axes, strict=True):
        np.testing.assert_allclose(axes.get_position().extents, expected.get_position().extents, atol=2e-3)
        for name in ("title", "xaxis.label", "yaxis.label"):
            text, other = (attrgetter(name)(of) for of in (axes, expected))
            np.testing.assert_allclose(text.get_window_extent().extents, other.get_window_extent().extents, atol=2)


def test_what_was_drawn_between_leaves_no_trace():
    reel = Reel()
    first = reel.next(draw(0.9, "step 2"))
    before = pixels(first)
    between = reel.next(draw(0.3, "step 3"))
    assert between is first
    assert (pixels(between) != before).any()
    np.testing.assert_array_equal(pixels(reel.next(draw(0.9, "step 2"))), before)


def test_one_with_longer_labels_begins_a_new_figure():
    reel = Reel()
    first = reel.next(draw())
    room = first.axes[0].get_position().x0
    second = reel.next(draw(1e4))
    assert second is not first
    assert second.axes[0].get_position().x0 > room
    np.testing.assert_array_equal(pixels(second), pixels(as_alone(1e4)))


def test_one_with_a_longer_legend_begins_a_new_figure():
    fine = torch.linspace(0, 19, 100)
    belts = Belts(0.95, *(shift + torch.sin(fine) for shift in (-0.2, 0.2, -0.5, 0.5)))
    reel = Reel()
    first = reel.next(draw())
    second = reel.next(
        lambda given: prediction_figure(
            T, torch.sin(T), T, T, line=(fine, torch.sin(fine)), belts=belts, title="step 2", figure=given
        )
    )
    assert second is not first
    pixels(second)
    [legend] = second.legends
    assert legend.get_window_extent().y1 <= min(axes.get_tightbbox().y0 for axes in second.axes)


def test_all_that_a_picture_showed_is_gone_in_the_next():
    sigma, fine = torch.full_like(T, 0.3), torch.linspace(0, 19, 100)
    belts = Belts(0.95, *(shift + torch.sin(fine) for shift in (-0.2, 0.2, -0.5, 0.5)))
    line, holdout = (fine, torch.sin(fine)), (T[:3], T[:3], T[:3], sigma[:3])
    everything = prediction_figure(
        T, torch.sin(T), T, T, sigma=sigma, line=line, belts=belts, holdout=holdout, title="a\nb", ylim=(-9, 9)
    )
    pixels(everything)
    again, alone = draw()(everything), figure()
    np.testing.assert_array_equal(pixels(again), pixels(alone))


def test_a_grid_of_series_is_drawn_in_again():
    def grid(scale, given=None):
        panels = [Panel(f"{i}: {scale}", T, scale * torch.sin(T + i), scale * torch.cos(T)) for i in range(5)]
        rows = {"worst": panels[:2], "median": panels[2:4], "best": panels[4:]}
        return series_grid(rows, title=f"step {scale}", figure=given)

    given = grid(1.0)
    pixels(given)
    again = grid(0.5, given)
    assert again is given
    np.testing.assert_array_equal(pixels(again), pixels(grid(0.5)))


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e-3])
def test_no_label_is_cut_off(scale):
    reel = Reel()
    reel.next(draw(100.0))
    one = reel.next(draw(scale))
    pixels(one)
    for axes in one.axes:
        box = axes.get_tightbbox()
        assert box.x0 >= 0
        assert box.x1 <= one.bbox.width


def test_a_png_is_small_and_keeps_the_colours():
    t = torch.linspace(0, 50, 2000)
    noise = torch.randn(2000, generator=torch.Generator().manual_seed(1))
    figure = prediction_figure(t, t + noise, t, sigma=torch.ones(2000), title="a title")
    content = png(figure)
    assert len(content) < 60_000
    image = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).reshape(-1, 3)
    assert len(image) == 640 * 560
    for colour in ((255, 255, 255), (255, 0, 0), (0, 0, 0)):
        assert np.abs(image.astype(int) - colour).max(axis=1).min() < 20
