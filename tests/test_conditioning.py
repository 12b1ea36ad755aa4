"""Curvature and the learning rate it allows, against NumPy's eigenvalues and finite differences."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from gd_lightning import fit
from gd_lightning.conditioning import largest_curvature, stable_lr
from gd_lightning.curve import Curve
from gd_lightning.losses import mse
from gd_lightning.points import Points

DOUBLE = torch.float64
T = torch.linspace(-1, 3, 12, dtype=DOUBLE)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def of_numpy(columns, weights=1.0):
    """The largest eigenvalue of 2/n * X'WX."""
    columns = np.asarray(columns)
    return np.linalg.eigvalsh(2 / len(columns) * (columns.T * weights) @ columns)[-1]


def test_the_curvature_of_a_polynomial_is_that_of_its_vandermonde_matrix():
    curve = Curve("quadratic").double()
    columns = np.vander(T.numpy(), 3)
    assert largest_curvature(curve, Points(T, T)).item() == pytest.approx(of_numpy(columns), rel=1e-12)
    assert stable_lr(curve, Points(T, T)) == pytest.approx(1 / of_numpy(columns), rel=1e-12)


def test_points_weigh_one_over_sigma_squared_and_what_is_no_point_nothing():
    sigma = 0.5 + numbers(12).abs()
    columns = np.vander(T.numpy(), 2)
    expected = of_numpy(columns, 1 / sigma.numpy() ** 2)
    assert largest_curvature(Curve("linear"), Points(T, T, sigma)).item() == pytest.approx(expected, rel=1e-12)
    sigma[8:] = torch.inf
    expected = of_numpy(columns[:8], 1 / sigma[:8].numpy() ** 2)
    assert largest_curvature(Curve("linear"), Points(T, T, sigma)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("demands", "columns"),
    [
        ({"b": {"fixed": 2}}, lambda t: [t]),
        ({"b": {"expr": "3*a"}}, lambda t: [t + 3]),
        ({"a": {"min": 0}}, lambda t: [t, 1 + 0 * t]),
    ],
)
def test_fixed_and_tied_parameters_have_no_direction_of_their_own(demands, columns):
    expected = of_numpy(np.stack(columns(T.numpy()), axis=1))
    assert largest_curvature(Curve("linear", demands), Points(T, T)).item() == pytest.approx(expected, rel=1e-12)


def test_the_curvature_of_a_perfect_fit_is_that_of_its_loss():
    curve, truth = Curve("a*exp(-b*t) + c").double(), torch.tensor([2.0, 0.7, 1.0], dtype=DOUBLE)
    curve.start(truth)
    points = Points(T, curve(T).detach())
    hessian = torch.autograd.functional.hessian(lambda p: mse(curve.evaluate(T, p), points.targets), truth)
    expected = np.linalg.eigvalsh(hessian.numpy())[-1]
    assert largest_curvature(curve, points).item() == pytest.approx(expected, rel=1e-9)


def test_several_series_have_each_their_curvature_and_the_steepest_sets_the_rate():
    curve, params = Curve("a*exp(-b*t)").double(), 1 + 0.3 * numbers(4, 2)
    curve.start(params)
    points = Points(T, T.expand(4, -1), 0.5 + numbers(4, 12).abs())
    together = largest_curvature(curve, points)
    alone = []
    for row, sigma in zip(params, points.sigma, strict=True):
        curve.start(row)
        alone.append(largest_curvature(curve, Points(T, T, sigma)).item())
    assert together.tolist() == pytest.approx(alone, rel=1e-12)
    curve.start(params)
    assert stable_lr(curve, points) == pytest.approx(1 / max(alone), rel=1e-12)


def test_the_article_s_series_is_stable_below_twice_this_rate_and_no_further(article):
    columns = np.vander(article.t.double().numpy(), 3)
    points = Points(article.t, article.y)
    rate = stable_lr(Curve("quadratic"), points)
    assert 2 * rate == pytest.approx(2 / of_numpy(columns), rel=1e-6)
    below = fit("quadratic", article.t, article.y, init=article.init, lr=1.98 * rate, steps=3000)
    above = fit("quadratic", article.t, article.y, init=article.init, lr=2.02 * rate, steps=3000)
    assert below.status == "step limit"
    assert below.rmse < below.rmse_history[0]
    assert above.status == "diverged" or above.rmse > above.rmse_history[0]


@pytest.mark.parametrize("function", ["linear", "cubic", "a*log(t + 2) + b*sqrt(t + 2)", "a*sin(t) + b*cos(t)"])
def test_at_this_rate_the_loss_of_a_linear_function_only_falls(function):
    history = fit(function, T, numbers(12), lr="auto", steps=200, start="random").rmse_history
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(history))


def test_one_parameter_is_found_in_one_step():
    y = 3 * T + numbers(12)
    result = fit("a*t", T, y, lr="auto", steps=1, init={"a": -50})
    assert result.parameters["a"] == pytest.approx(((T @ y) / (T @ T)).item(), rel=1e-12)


@pytest.mark.parametrize("function", ["a*t*0 + b*0", "a*exp(b*t*1e6)", "sqrt(a - 5)*t"])
def test_where_no_curvature_can_be_told_the_rate_is_the_article_s(function):
    curve = Curve(function)
    curve.start(torch.ones(len(curve.names)))
    assert stable_lr(curve, Points(T, T)) == 1e-5


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e5])
def test_the_rate_follows_the_units_of_t(scale):
    curve = Curve("a*t").double()
    expected = stable_lr(curve, Points(T, T)) / scale**2
    assert stable_lr(curve, Points(T * scale, T)) == pytest.approx(expected, rel=1e-12)
