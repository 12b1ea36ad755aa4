"""Symmetries: those that textbooks know of each function are found, and no others."""

import math

import pytest
import torch

from gd_lightning.curve import Curve
from gd_lightning.symmetries import Symmetries

DOUBLE = torch.float64
TWO = "h1*exp(-((t - c1)/w1)**2) + h2*exp(-((t - c2)/w2)**2)"

# The linear and other places, the groups that change sign, the pairs that change places, angles and half turns.
KNOWN = {
    "gaussian": ([0], [1, 2], [(2,)], [], [], []),
    "logistic": ([0], [1, 2], [], [], [], []),
    "error_function": ([0, 3], [1, 2], [(2,)], [], [], []),
    "sine": ([0, 3], [1, 2], [(1, 2)], [], [2], [2]),
    "damped_sine": ([0, 4], [1, 2, 3], [(2, 3)], [], [3], [3]),
    "double_exponential": ([0, 2], [1, 3], [], [((1, 3),)], [], []),
    TWO: ([0, 3], [1, 2, 4, 5], [(2,), (5,), (2, 5)], [((1, 4), (2, 5))], [], []),
    "a*t + cos(w*t + p)": ([0], [1, 2], [(1, 2)], [], [2], []),
}


def found(function, demands=None):
    curve = Curve(function, demands)
    linear, others, *_ = KNOWN[function]
    t = torch.linspace(0.1, 2, 40, dtype=DOUBLE)
    values = 0.3 + torch.rand(6, len(curve.names), generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    values[:, linear] = 0.0
    return Symmetries.of(curve, (t,), values, linear, others)


@pytest.mark.parametrize("function", KNOWN)
def test_known_symmetries(function):
    assert found(function) == KNOWN[function][2:]


def test_bounds_break_them():
    bounded = found(TWO, {"w1": {"min": 0}})
    assert bounded.flips == [(5,)]
    assert bounded.swaps == []
    both = found(TWO, {"w1": {"min": 0}, "w2": {"min": 0}})
    assert both.swaps == [((1, 4), (2, 5))]
    assert found(TWO, {"h1": {"min": 0}}).swaps == []


def test_of_equal_parameters_one_stands_for_all():
    values = torch.tensor([[0, 3.0, -0.2, 0, 1.0, 0.4], [0, 1.0, 0.4, 0, 3.0, -0.2]], dtype=DOUBLE)
    expected = torch.tensor([0, 1.0, 0.4, 0, 3.0, 0.2], dtype=DOUBLE)
    assert torch.equal(found(TWO).folded(values), expected.expand(2, 6))
    wave = torch.tensor([[0, -1.5, -1.0, 0], [0, 1.5, 1.0 + 4 * math.pi, 0]], dtype=DOUBLE)
    torch.testing.assert_close(found("sine").folded(wave), torch.tensor([[0, 1.5, 1.0, 0]] * 2, dtype=DOUBLE))
