"""Formulas in NumPy: values and derivatives against torch and its autograd, and at kinks against both sides of them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_formula import BY_HAND, OF_TWO, ORACLES

from gd_lightning import functions
from gd_lightning.formula import FUNCTIONS, OPERATORS, Formula
from gd_lightning.tape import OPERATIONS

LENGTH = 7


def by_tape(formula, values, wanted):
    """Value and derivatives by some names, at values by name."""
    with np.errstate(all="ignore"):
        played = formula.tape.play([values[name] for name in formula.names])
        slopes = formula.tape.slopes(played, tuple(formula.names.index(name) for name in wanted))
    shape = np.broadcast_shapes(*(values[name].shape for name in formula.names))
    return np.broadcast_to(played[-1], shape), [np.broadcast_to(slope, shape) for slope in slopes]


def by_autograd(formula, values, wanted):
    """The same, each point with parameters of its own."""
    shape = np.broadcast_shapes(*(values[name].shape for name in formula.names))
    apart = {name: torch.tensor(np.broadcast_to(values[name], shape)).requires_grad_() for name in formula.names}
    y = formula(**apart) if formula.names else formula()
    slopes = torch.autograd.grad(y.sum(), [apart[name] for name in wanted], materialize_grads=True)
    return y.detach().numpy(), [slope.numpy() for slope in slopes]


def agree(formula, values, wanted, rtol=1e-13):
    y, slopes = by_tape(formula, values, wanted)
    expected, exact = by_autograd(formula, values, wanted)
    np.testing.assert_allclose(y, expected, rtol=rtol, atol=rtol)
    for slope, one in zip(slopes, exact, strict=True):
        np.testing.assert_allclose(slope, one, rtol=rtol, atol=rtol * np.abs(one).max(initial=1.0))


def test_every_function_and_sign_has_a_rule():
    assert set(FUNCTIONS) | {sign.__name__ for sign in OPERATORS} <= set(OPERATIONS)


@pytest.mark.parametrize("name", ORACLES)
def test_each_function(name):
    _, low, high = ORACLES[name]
    agree(Formula(f"{name}(x)"), {"x": np.linspace(low, high, LENGTH)}, ["x"], rtol=4e-15)


@pytest.mark.parametrize("name", OF_TWO)
def test_each_function_of_two(name):
    values = {"x": np.linspace(0.2, 2, LENGTH), "y": np.linspace(1, -1, LENGTH) + 0.05}
    agree(Formula(f"{name}(x, y)"), values, ["x", "y"], rtol=4e-15)


@pytest.mark.parametrize(
    "text", ["a*sign(t - c)", "where(t - c < 0, a, b*t)", "where(t < c + b, a, b*t)", "a + sign(-c)*b"]
)
def test_what_acts_through_a_sign_or_a_condition_only_has_no_slope(text):
    values = {"t": np.linspace(0, 1, LENGTH), "a": np.array(0.3), "b": np.array(0.2), "c": np.array(0.45)}
    agree(Formula(text), values, ["a", "c"])


@pytest.mark.parametrize("text", [text for text in BY_HAND if not any(name in text for name in functions.__all__)])
@pytest.mark.parametrize("series", [1, 3])
@pytest.mark.parametrize("apart", [False, True])
def test_parameters_of_series_beside_predictors_of_all_or_of_each(text, series, apart):
    t = np.linspace(0.2, 2, LENGTH)
    t = t + 0.01 * np.arange(series)[:, None] if apart else t
    values = {"t": t, "a": 0.7 + 0.1 * np.arange(series)[:, None], "b": 1.31 + 0.1 * np.arange(series)[:, None]}
    agree(Formula(text), values, ["b", "a"])
    agree(Formula(text), values, ["t"])


@pytest.mark.parametrize(
    "text",
    [
        "(-a)**2 + a**3 + a**-1 + a**0 + t**a",
        "(t - 3)**2 + (t - 3)**3*a",
        "2**a + (2*pi)**-a + exp(1)*a + where(1 < 2, 3, 4)*t",
        "where(1 < a, a, t) + where(t < 1 < 2, 2, a)",
        "`no. 1`*`pi`/pi + `no. 1`**2 + a",
        "x1*a + x2/b - b*log(x1*x2)",
    ],
)
def test_powers_numbers_names_in_backquotes_and_several_predictors(text):
    formula = Formula(text)
    rng = np.random.default_rng(0)
    agree(formula, {name: rng.uniform(0.5, 2.5, (2, LENGTH)) for name in formula.names}, list(formula.names))


def test_a_whole_power_of_zero_and_of_what_is_negative():
    formula = Formula("(t - a)**2 + (t - a)**b")
    values = {"t": np.array([0.0, 1.0, 2.0]), "a": np.array([[1.0]]), "b": np.array([[3.0]])}
    agree(formula, values, ["a"])
    agree(Formula("t**a"), {"t": np.array([0.0, 1.0, 2.0]), "a": np.array([[2.0]])}, ["t", "a"])
    agree(Formula("t**a"), {"t": np.array([0.0, 1.0, 2.0]), "a": np.array([[0.0]])}, ["t", "a"])


def test_at_kinks_the_slope_is_torchs():
    x = {"x": np.array([-1.0, 0.0, 1.0]), "y": np.array([[0.0]])}
    for text in ("abs(x) + y", "sign(x) + y", "minimum(x, y)", "maximum(x, y)", "where(x < y, x, 2*y)"):
        agree(Formula(text), x, ["x", "y"])


@pytest.mark.parametrize("text", ["where(t > c, a*sqrt(t - c), 0)", "a*where(t > c, log(t - c), t - c)"])
def test_the_branch_that_is_not_taken_takes_no_part(text):
    values = {"t": np.array([0.0, 1.0, 2.0]), "a": np.array([[3.0]]), "c": np.array([[1.0]])}
    y, slopes = by_tape(Formula(text), values, ["a", "c"])
    assert np.isfinite(y).all()
    assert np.isfinite(slopes).all()


def test_a_family_has_no_tape():
    assert Formula("gaussian(t, a, b, c) + d").tape is None


NAMES = ("t", "u", "a", "b")
LEAVES = st.sampled_from([*NAMES, "2", "0.3", "pi", "-1.5"])
PLAIN = ["exp(-({0})**2)", "sin({0})", "cos({0})", "tanh({0})", "atan({0})", "erf({0})", "erfc({0})", "asinh({0})"]
SMOOTH = [*PLAIN, "-({0})", "({0})**2", "({0})**3", "sqrt(1 + ({0})**2)", "log(2 + sin({0}))", "2**sin({0})"]
PAIRS = [
    "{0} + {1}",
    "{0} - ({1})",
    "({0})*({1})",
    "({0})/(2 + cos({1}))",
    "(2 + sin({0}))**cos({1})",
    "atan2({0}, 3 + ({1})**2)",
]
CHOICES = [
    "where(t < 0.55, {0}, {1})",
    "where(-1 < a <= t, {0}, {1})",
    "minimum(a, t)*({0}) + {1}",
    "abs(u - b)*({0}) - ({1})",
]
FORMULAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(str.format, st.sampled_from(SMOOTH), inner),
        st.builds(str.format, st.sampled_from(PAIRS + CHOICES), inner, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(text=FORMULAS, seed=st.integers(0, 10))
def test_any_formula_has_autograds_derivatives(text, seed):
    formula = Formula(f"({text}) + 0*(t + u + a + b)")
    rng = np.random.default_rng(seed)
    shapes = {"t": (LENGTH,), "u": (2, LENGTH), "a": (2, 1), "b": (2, 1)}
    values = {name: rng.uniform(-2, 2, shapes[name]) for name in NAMES}
    y, slopes = by_autograd(formula, values, NAMES)
    if max(np.abs(one).max() for one in (y, *slopes)) < 1e6 and math.isfinite(y.sum()):
        agree(formula, values, NAMES, rtol=1e-9)
