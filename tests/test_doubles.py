import math

import numpy as np
import pytest
import torch
from scipy import special

from gd_lightning.doubles import STAND_INS, InDoubles

ORACLES = {
    "erf": special.erf,
    "erfc": special.erfc,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "asin": np.arcsin,
    "acos": np.arccos,
    "tan": np.tan,
    "expm1": np.expm1,
    "log1p": np.log1p,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "sigmoid": special.expit,
    "log2": np.log2,
    "log10": np.log10,
}
SIZES = np.logspace(-300, 300, 1201)
NUMBERS = np.concatenate([-SIZES, SIZES, np.linspace(-30, 30, 4001), [0.0, 1.0, -1.0, math.inf, -math.inf, math.nan]])
# What these functions need to be defined, and where the oracle's own argument is rounded no worse than ours
# (erfc falls to exp(-x**2): a rounding of x**2 = 700 is 1e-13 of it; 1 + x and tan lose as much).
CLOSE = {"rtol": 2e-13, "atol": 1e-300}


def test_every_stand_in_has_an_oracle_here():
    assert sorted(ORACLES) == sorted(STAND_INS)


@pytest.mark.parametrize("name", sorted(set(ORACLES) - {"atan2", "tan"}))
@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero|overflow):RuntimeWarning")
def test_it_is_the_function_from_the_smallest_number_to_the_largest(name):
    numbers = NUMBERS
    if name in ("sinh", "cosh"):  # infinite from 709.78 on in place of 710.48, since exp(x) is
        numbers = numbers[~(np.abs(numbers) > 709) | np.isinf(numbers)]
    found = STAND_INS[name](torch.from_numpy(numbers)).numpy()
    np.testing.assert_allclose(found, ORACLES[name](numbers), **CLOSE)


def test_tan():
    numbers = np.linspace(-30, 30, 4001)  # none of them near a pole
    found = STAND_INS["tan"](torch.from_numpy(numbers)).numpy()
    np.testing.assert_allclose(found, np.tan(numbers), rtol=1e-15 * 40)


def test_atan2_in_every_quadrant_and_on_the_axes():
    values = np.array([-math.inf, -1e200, -3.0, -1e-200, 0.0, 1e-200, 0.5, 1.0, 1e200])
    y, x = (grid.ravel() for grid in np.meshgrid(values, values[1:]))
    found = STAND_INS["atan2"](torch.from_numpy(y), torch.from_numpy(x)).numpy()
    with np.errstate(under="ignore"):
        np.testing.assert_allclose(found, np.arctan2(y, x), rtol=1e-14, atol=0)


class Everything(torch.nn.Module):
    def forward(self, t):
        full = torch.full_like(t, 0.1)
        return (
            (2 * torch.pi * t + 0.1) ** 0.3 / 1.7
            + (0.7 - t)
            + 0.3 / t
            + 1.1**t
            + torch.where(t > 0.1, t, 0.2)
            + t.clamp(max=0.3)
            + torch.add(t, full, alpha=0.7)
            - torch.sub(full, t, alpha=0.7)
            + torch.erf(t)
        )


def floats(graph):
    return [value for node in graph.nodes for value in (*node.args, *node.kwargs.values()) if isinstance(value, float)]


def test_no_number_is_left_that_could_be_rounded():
    t = torch.linspace(0.05, 2, 9, dtype=torch.float64)
    expected = Everything()(t)
    module = Everything()
    for _ in range(2):
        traced = torch.export.export(module, (t,)).module(check_guards=False)
        module = Ran(traced)
    final = torch.export.export(module, (t,))
    assert not floats(final.graph)
    assert "erf" not in str(final.graph)
    # the sum of nine terms, each with its own rounding
    torch.testing.assert_close(final.module()(t), expected, rtol=1e-15 * 9, atol=0)
    assert floats(torch.export.export(Everything(), (t,)).graph)


class Ran(torch.nn.Module):
    def __init__(self, traced):
        super().__init__()
        self.traced = traced

    def forward(self, t):
        return InDoubles(self.traced).run(t)
