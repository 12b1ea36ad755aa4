"""Guesses: from each of them, SciPy's least squares reaches the curve that the data were made from, or a better one."""

import math
import os

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from gd_lightning import functions
from gd_lightning.guesses import defined_for, starts_from
from gd_lightning.resolve import parameter_names, resolve

CASES = int(os.environ.get("GUESS_CASES", "50"))  # for each family at each noise, in `make test-all`
SOME = 10  # of them, in `make test`
NOISES = (0.01, 0.1)  # standard deviation, relative to the range of the curve
ENOUGH = 0.99  # of the cases
FAMILIES = sorted(functions.__all__)
EDGES = {
    "two points": ([0.0, 1.0], [1.0, 3.0]),
    "fewer points than parameters": ([1.0, 2.0, 4.0], [1.0, 3.0, 2.0]),
    "constant y": (list(range(1, 21)), [2.5] * 20),
    "zero y": (list(range(1, 21)), [0.0] * 20),
    "constant t": ([3.0] * 10, list(range(10))),
    "t all zero": ([0.0] * 10, list(range(10))),
    "t all negative": (list(range(-20, 0)), list(range(20))),
    "repeated t": ([1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0], [1.0, 1.1, 0.9, 2.0, 2.1, 2.9, 3.0, 3.1]),
    "tiny y": (list(range(1, 21)), [1e-300 * i**0.5 for i in range(20)]),
    "huge y": (list(range(1, 21)), [1e300 * i**0.5 for i in range(20)]),
    "tiny t": ([1e-300 * i for i in range(1, 21)], [i**0.5 for i in range(20)]),
    "huge t": ([1e300 * i for i in range(1, 21)], [i**0.5 for i in range(20)]),
    "the ends of float64": ([-1.7e308, 5e-324, 1.7e308], [1.7e308, -1.7e308, 5e-324]),
    "one outlier": (list(range(1, 21)), [0.0] * 19 + [1e200]),
    "two times, a rounding apart": ([1.0, 1.0 + 2.3e-16], [0.0, 1.0]),
}


class Draw:
    """Random numbers for one case, with scales of t and of y over three orders of magnitude.

    Attributes:
        t: the span of the data.
        y: the size of the curve, of either sign.
        u: 30 to 100 values from 0 to 1, half of the time evenly spaced, else at random and in no order.
    """

    def __init__(self, rng):
        self.rng, self.normal, self.uniform = rng, rng.normal, rng.uniform
        self.t, self.y = self.log(0.03, 30), self.sign() * self.log(0.03, 30)
        count = int(rng.integers(30, 101))
        self.u = np.linspace(0, 1, count) if rng.random() < 0.5 else rng.random(count)

    def log(self, low, high):
        """A number from low to high, each ratio equally likely."""
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def sign(self):
        """1 or -1."""
        return float(self.rng.choice([-1.0, 1.0]))

    def powers(self, *exponents):
        """Coefficients of powers of t."""
        return [self.y * self.normal() / self.t**exponent for exponent in exponents]

    def place(self):
        """A place within the data."""
        return self.t * self.uniform(0.1, 0.9)

    def width(self):
        """The width of what the data can resolve."""
        return self.t * self.log(0.03, 0.3)

    def wave(self):
        """Frequency, at more than three points for a cycle, and phase."""
        return self.uniform(1, 8) / self.t, self.uniform(-np.pi, np.pi)

    def offset(self):
        """A level of about the size of the curve."""
        return self.y * self.normal()


# One random case of each family: from where to where in units of the span its t go, and its true parameters.
TRUTHS = {
    "linear": lambda d: (0, d.powers(1, 0)),
    "quadratic": lambda d: (0, d.powers(2, 1, 0)),
    "cubic": lambda d: (0, d.powers(3, 2, 1, 0)),
    "polynomial": lambda d: (0, d.powers(0, 1, 2, 3, 4)),
    "exponential_growth": lambda d: (0, [d.y, d.sign() * d.log(0.3, 8) / d.t]),
    "exponential_decay": lambda d: (0, [d.y, d.t * d.log(0.05, 2), d.offset()]),
    "double_exponential": lambda d: (0, [d.y, d.t * d.log(0.05, 0.2), d.y * d.log(0.3, 3), d.t * d.log(0.5, 2)]),
    "power_law": lambda d: (0.02, [d.y / d.t ** (exponent := d.uniform(-3, 4)), exponent]),
    "logarithmic": lambda d: (0.02, [d.y, d.offset()]),
    "logistic": lambda d: (0, [d.y, d.sign() / d.width(), d.place()]),
    "gompertz": lambda d: (0, [d.y, d.sign() / d.width(), d.place()]),
    "richards": lambda d: (0, [d.y, d.sign() / d.width(), d.place(), d.log(0.2, 5)]),
    "hill": lambda d: (0, [d.y, d.place(), d.sign() * d.log(0.7, 6)]),
    "michaelis_menten": lambda d: (0, [d.y, d.t * d.log(0.03, 2)]),
    "arrhenius": lambda d: (1, [d.y, 8.314462618 * d.t * d.log(0.5, 30)]),
    "gaussian": lambda d: (0, [d.y, d.place(), d.width()]),
    "lorentzian": lambda d: (0, [d.y, d.place(), d.width()]),
    "pseudo_voigt": lambda d: (0, [d.y, d.place(), d.width(), d.uniform(0, 1)]),
    "sine": lambda d: (0, [d.y, *d.wave(), d.offset()]),
    "damped_sine": lambda d: (0, [d.y, d.t * d.log(0.15, 2), *d.wave(), d.offset()]),
    "error_function": lambda d: (0, [d.y, d.place(), d.width(), d.offset()]),
    "rational": lambda d: (0, [*d.powers(0, 1), d.uniform(-0.5, 3) / d.t, d.log(0.1, 10) / d.t**2]),
}


def case(name, rng):
    """Times and true parameters of one random case."""
    draw = Draw(rng)
    begin, truth = TRUTHS[name](draw)
    return draw.t * (begin + draw.u), np.array(truth)


def numpy_of(function):
    """The function for SciPy: from numbers to numbers."""

    def predict(params, t):
        return function(torch.from_numpy(t), *torch.from_numpy(np.asarray(params))).numpy()

    return predict


def guess_of(name, t, y):
    """The guess of a family, from lists."""
    return resolve(name).guess(torch.tensor(t, dtype=torch.float64), torch.tensor(y, dtype=torch.float64))


def reaches(function, t, y, truth):
    """Whether SciPy, from the guess, comes as near to the data as the true parameters are, or nearer."""
    predict = numpy_of(function)
    start = np.array(function.guess(torch.from_numpy(t), torch.from_numpy(y)))
    fit = least_squares(lambda params: predict(params, t) - y, start, x_scale="jac", max_nfev=2000)
    return 2 * fit.cost <= ((predict(truth, t) - y) ** 2).sum() * (1 + 1e-6)


def success_rate(name, noise, cases):
    function, rng = resolve(name), np.random.default_rng([FAMILIES.index(name), NOISES.index(noise)])
    reached = 0
    for _ in range(cases):
        t, truth = case(name, rng)
        clean = numpy_of(function)(truth, t)
        y = clean + noise * np.ptp(clean) * rng.normal(size=len(t))
        reached += reaches(function, t, y, truth)
    return reached / cases


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("name", FAMILIES)
def test_from_the_guess_a_fit_reaches_what_the_data_were_made_from(name, noise):
    assert success_rate(name, noise, SOME) >= ENOUGH


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("name", FAMILIES)
def test_from_the_guess_many_fits_do(name, noise):
    assert success_rate(name, noise, CASES) >= ENOUGH


def test_every_family_has_cases_here():
    assert sorted(TRUTHS) == FAMILIES


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("name", FAMILIES)
def test_at_the_edges_a_guess_is_one_finite_number_for_each_parameter(name, edge):
    guess = guess_of(name, *EDGES[edge])
    assert len(guess) == len(parameter_names(resolve(name)))
    assert all(type(value) is float and math.isfinite(value) for value in guess)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_guess_is_deterministic_and_asks_no_order_of_the_points(name):
    rng = np.random.default_rng(3)
    t, truth = case(name, rng)
    y = numpy_of(resolve(name))(truth, t)
    guess, again = guess_of(name, t, y), guess_of(name, t, y)
    assert guess == again
    order = rng.permutation(len(t))
    curve, shuffled = (numpy_of(resolve(name))(g, t) for g in (guess, guess_of(name, t[order], y[order])))
    assert np.allclose(curve, shuffled, atol=1e-3 * np.ptp(y))


@pytest.mark.parametrize("unit", [1e-9, 1e9])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_guess_fits_in_any_units(name, unit):
    t, truth = case(name, np.random.default_rng(4))
    y = numpy_of(resolve(name))(truth, t)
    guess = guess_of(name, unit * t, unit * y)
    assert np.allclose(numpy_of(resolve(name))(guess, unit * t), unit * y, atol=1e-3 * unit * np.ptp(y))


@pytest.mark.parametrize(("name", "degree"), [("linear", 1), ("quadratic", 2), ("cubic", 3), ("polynomial(6)", 6)])
def test_the_guess_of_a_polynomial_is_numpy_s_least_squares(name, degree):
    rng = np.random.default_rng(degree)
    t, y = rng.uniform(-2, 3, 40), rng.normal(size=40)
    expected = np.polyfit(t, y, degree)
    guess = guess_of(name, t, y)
    assert np.allclose(guess[::-1] if name.startswith("polynomial") else guess, expected, rtol=1e-9)


def test_the_guess_of_a_logarithm_is_numpy_s_least_squares():
    rng = np.random.default_rng(0)
    t, y = rng.uniform(0.1, 9, 40), rng.normal(size=40)
    assert np.allclose(guess_of("logarithmic", t, y), np.polyfit(np.log(t), y, 1), rtol=1e-9)


def test_a_wave_of_many_cycles_is_found_in_a_long_series():
    t = np.linspace(0, 1, 100_000)
    y = np.sin(2 * np.pi * 12_345.6 * t + 1) + np.random.default_rng(0).normal(size=len(t))
    _, frequency, _, _ = guess_of("sine", t, y)
    assert abs(frequency - 12_345.6) < 0.1


def test_points_where_a_family_is_not_defined_are_left_out():
    t = np.array([-1.0, 0.0, 1.0, 2.0, 3.0, 4.0])
    assert np.allclose(guess_of("power_law", t, np.where(t > 0, 3 * np.abs(t) ** 1.5, 7)), [3, 1.5], rtol=1e-4)


def test_a_function_of_one_s_own_may_carry_a_guess_and_a_domain():
    @defined_for("t > 0")
    @starts_from(lambda t, y: [float(y.mean())])
    def level(t, height):
        return height + 0 * t

    assert level.guess(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 4.0])) == [3.0]
    assert level.domain == "t > 0"
