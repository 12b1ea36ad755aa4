import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from gd_lightning.grid_search import Axis, best, both_signs, even, ratios, thin


def test_the_best_of_a_grid_is_scipy_s_minimum():
    t = torch.linspace(0, 10, 50, dtype=torch.float64)
    noise = torch.randn(50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = 1e6 * (3 * torch.exp(-t / 2) + 1 + 0.1 * noise)

    def columns(t, tau):
        return [torch.exp(-t / tau), torch.ones_like(t)]

    tau, amplitude, offset = best(t, y, columns, ratios(0.02, 1000, 30))
    x, data = t.numpy(), y.numpy() / 1e6
    expected = least_squares(lambda p: p[0] * np.exp(-x / p[1]) + p[2] - data, [3, 2, 1], xtol=1e-14, ftol=1e-14).x
    assert [amplitude / 1e6, tau, offset / 1e6] == pytest.approx(expected, rel=1e-6)


def test_axes_reach_from_end_to_end():
    def values(axis):
        return axis.value(axis.coordinates)

    assert values(even(-1, 3, 5)).tolist() == [-1, 0, 1, 2, 3]
    assert values(ratios(0.01, 100, 5)).tolist() == pytest.approx([0.01, 0.1, 1, 10, 100])
    signed = values(both_signs(0.1, 50, 7))
    assert signed.tolist() == pytest.approx((-signed.flip(0)).tolist(), abs=1e-12)
    assert signed[-1].item() == pytest.approx(50)
    assert values(both_signs(0.1, 50, 7, low=-2))[0].item() == pytest.approx(-2)
    assert isinstance(even(0, 1, 2), Axis)


def test_a_long_series_is_thinned_by_whole_points():
    t = torch.arange(1000.0)
    some, values = thin(t, 2 * t, 100)
    assert len(some.unique()) == 100
    assert torch.equal(values, 2 * some)
    assert thin(t, t, 1000)[0] is t
