import numpy as np
import pytest

from gd_lightning.descent_drawing import contour_levels


def test_levels_show_a_valley_that_is_far_flatter_than_its_walls():
    x = np.linspace(-1, 1, 101)
    wall, floor = np.meshgrid(x, x)
    levels = contour_levels((1e6 * wall**2 + floor**2 + 5).ravel())
    rises = levels - 5
    assert rises[0] < 1.5
    assert rises[-1] > 9e4
    assert 4 <= len(levels) <= 12


@pytest.mark.parametrize(
    "heights",
    [
        [3.0] * 9,
        [0.0] * 9,
        [1e16, 1e16 + 4] * 5,
        [1e299] * 9,
        [0.0, 1e299] * 5,
        [1e-300, 1e-310] * 5,
        [0.0] * 8 + [1.0],
        [2.0],
    ],
)
def test_levels_rise_whatever_the_heights(heights):
    levels = contour_levels(np.array(heights))
    assert 2 <= len(levels) <= 12
    assert (np.diff(levels) > 0).all()
    assert np.isfinite(levels).all()
