"""Figures are drawn once, and like figures are laid out once."""

import io
from operator import attrgetter

import numpy as np
import pytest
import torch
from PIL import Image

from gd_lightning.plots import prediction_figure
from gd_lightning.rendering import Places, pixels, png

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


def test_the_first_of_a_row_stands_where_its_layout_puts_it():
    settled, alone = Places().settle(figure()), figure()
    alone.draw_without_rendering()
    for axes, expected in zip(settled.axes, alone.axes, strict=True):
        np.testing.assert_allclose(axes.get_position().extents, expected.get_position().extents, atol=2e-3)


def test_a_like_one_takes_its_places_and_one_with_longer_labels_has_its_own():
    places = Places()
    first = places.settle(figure())
    second = places.settle(figure(1.0, "step 2"))
    third = places.settle(figure(1e4))
    boxes = [[axes.get_position().extents for axes in one.axes] for one in (first, second, third)]
    np.testing.assert_array_equal(boxes[0], boxes[1])
    assert boxes[2][0][0] > boxes[0][0][0]


def test_titles_and_labels_of_a_like_one_stand_where_they_would_stand_alone():
    places = Places()
    pixels(places.settle(figure()))
    like, alone = places.settle(figure(0.9, "step 2")), Places().settle(figure(0.9, "step 2"))
    for one in (like, alone):
        pixels(one)
    for axes, expected in zip(like.axes, alone.axes, strict=True):
        for name in ("title", "xaxis.label", "yaxis.label"):
            text, other = (attrgetter(name)(of) for of in (axes, expected))
            assert text.get_text() == other.get_text()
            np.testing.assert_allclose(text.get_window_extent().extents, other.get_window_extent().extents, atol=2)


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e-3])
def test_no_label_is_cut_off(scale):
    places = Places()
    places.settle(figure(100.0))
    one = places.settle(figure(scale))
    pixels(one)
    for axes in one.axes:
        box = axes.get_tightbbox()
        assert box.x0 >= 0
        assert box.x1 <= one.bbox.width
