"""Guesses: from each of them, SciPy's least squares reaches the curve that the data were made from, or a better one."""

import os

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from gd_lightning import functions
from gd_lightning.resolve import parameter_names, resolve

CASES = int(os.environ.get("GUESS_CASES", "100"))  # for each family, half of them at each noise
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


def log_uniform(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def sign(rng):
    return float(rng.choice([-1.0, 1.0]))


# One case of each family: the values of t on 0..1, and the parameters in units of the span of t and the size of y.
# `place` is 0..1: what stands at a place is within the data.
def case(name, rng):
    """Times and true parameters of one random case: scales of t and of y over three orders of magnitude."""
    T, Y = 10 ** rng.uniform(-1.5, 1.5), sign(rng) * 10 ** rng.uniform(-1.5, 1.5)
    n = int(rng.integers(30, 101))
    u = np.linspace(0, 1, n) if rng.random() < 0.5 else np.sort(rng.random(n))
    place = rng.uniform(0.15, 0.85)
    width = log_uniform(rng, 0.03, 0.3)
    angle = rng.uniform(-np.pi, np.pi)
    cycles = rng.uniform(1, 8)
    tau = log_uniform(rng, 0.05, 2)
    offset = Y * rng.normal()
    normal = rng.normal
    shape = log_uniform(rng, 0.2, 5)
    steep = sign(rng) / log_uniform(rng, 0.03, 0.3)
    positive = 0.02 + u
    params = {
        "linear": lambda: (u, [Y / T, Y * normal()]),
        "quadratic": lambda: (u, [Y * normal() / T**2, Y * normal() / T, Y * normal()]),
        "cubic": lambda: (u, [Y * normal() / T**3, Y * normal() / T**2, Y * normal() / T, Y * normal()]),
        "polynomial": lambda: (u, [Y * normal() / T**k for k in range(5)]),
        "exponential_growth": lambda: (u, [Y, sign(rng) * log_uniform(rng, 0.3, 8) / T]),
        "exponential_decay": lambda: (u, [Y, T * tau, offset]),
        "double_exponential": lambda: (u, [Y, T * log_uniform(rng, 0.05, 0.3), Y * log_uniform(rng, 0.3, 3), T * log_uniform(rng, 0.5, 2)]),
        "power_law": lambda: (positive, [Y / T, rng.uniform(-3, 4)]),
        "logarithmic": lambda: (positive, [Y, offset]),
        "logistic": lambda: (u, [Y, steep / T, T * place]),
        "gompertz": lambda: (u, [Y, steep / T, T * place]),
        "richards": lambda: (u, [Y, steep / T, T * place, shape]),
        "hill": lambda: (u, [Y, T * place, sign(rng) * log_uniform(rng, 0.7, 6)]),
        "michaelis_menten": lambda: (u, [Y, T * log_uniform(rng, 0.03, 2)]),
        "arrhenius": lambda: (1 + u, [Y, 8.314462618 * T * log_uniform(rng, 0.5, 30)]),
        "gaussian": lambda: (u, [Y, T * place, T * width]),
        "lorentzian": lambda: (u, [Y, T * place, T * width]),
        "pseudo_voigt": lambda: (u, [Y, T * place, T * width, rng.random()]),
        "sine": lambda: (u, [Y, cycles / T, angle, offset]),
        "damped_sine": lambda: (u, [Y, T * log_uniform(rng, 0.15, 2), cycles / T, angle, offset]),
        "error_function": lambda: (u, [Y, T * place, T * width, offset]),
        "rational": lambda: (u, [Y * normal(), Y * normal() / T, rng.uniform(-1, 3) / T, log_uniform(rng, 0.5, 10) / T**2]),
    }
    u, params = params[name]()
    return T * u, np.array(params)


def numpy_of(function):
    """The function for SciPy: from numbers to numbers."""

    def predict(params, t):
        return function(torch.from_numpy(t), *torch.from_numpy(np.asarray(params))).numpy()

    return predict


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
    assert success_rate(name, noise, CASES // 2) >= ENOUGH
