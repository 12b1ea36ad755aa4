"""Residuals and their Jacobian, beside SciPy's differences and NumPy's own functions."""

import numpy as np
import pytest
import torch
from scipy.optimize._numdiff import approx_derivative
from test_functions import FAMILIES, ORACLES, inputs

from gd_lightning.curve import Curve
from gd_lightning.losses import make_loss, mse
from gd_lightning.points import Points, stack
from gd_lightning.residuals import Residuals

DOUBLE = torch.float64
T = np.linspace(0.25, 3, 9)


def problem(function, params, t=T, y=None, sigma=None, demands=None, predictors=None, loss=mse):
    """A curve at some parameters, `(*batch, P)`, as residuals."""
    curve = Curve(function, demands, predictors).to(DOUBLE)
    params = torch.as_tensor(params, dtype=DOUBLE)
    curve.start(params)
    columns = tuple(torch.as_tensor(one) for one in t) if isinstance(t, tuple) else torch.as_tensor(t)
    length = (columns[0] if isinstance(columns, tuple) else columns).shape[-1]
    y = torch.zeros(*params.shape[:-1], length, dtype=DOUBLE) if y is None else torch.as_tensor(y)
    return Residuals(curve, Points(columns, y, None if sigma is None else torch.as_tensor(sigma)), loss)


def differences(numpy_function, theta):
    """SciPy's central differences, good to some ten digits."""
    return approx_derivative(numpy_function, theta, method="3-point", rel_step=1e-5)


def complex_steps(numpy_function, theta):
    """Derivatives by imaginary steps, good to all digits (Squire and Trapp, 1998)."""
    return approx_derivative(numpy_function, theta, method="cs")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_as_differences_have_it(name):
    t, params = inputs(name)
    y = np.cos(t.numpy())
    r, jac = problem(name, params, t, y).linearize(params[None].numpy())
    np.testing.assert_allclose(r[0], ORACLES[name](t.numpy(), *params.numpy()) - y, rtol=1e-11, atol=1e-11)
    expected = differences(lambda p: ORACLES[name](t.numpy(), *p), params.numpy())
    np.testing.assert_allclose(jac[0], expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())


FORMULAS = {
    "a*exp(-b*t) + c": lambda t, a, b, c: a * np.exp(-b * t) + c,
    "a*sin(2*pi*b*t + c)/(1 + t**2)": lambda t, a, b, c: a * np.sin(2 * np.pi * b * t + c) / (1 + t**2),
    "a*t**b*exp(-t/c)": lambda t, a, b, c: a * t**b * np.exp(-t / c),
    "log(a + b*t) + tanh(c*t)": lambda t, a, b, c: np.log(a + b * t) + np.tanh(c * t),
}


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_to_all_digits(formula):
    theta = np.array([1.3, 0.7, 2.1])
    jac = problem(formula, theta).linearize(theta[None])[1][0]
    np.testing.assert_allclose(jac, complex_steps(lambda p: FORMULAS[formula](T, *p), theta), rtol=1e-11, atol=1e-13)


# Predictions that depend on other points, too, and those that take each parameter as one number.


def normalised(t, a, b):
    return b * torch.softmax(a * t, dim=-1)


def accumulated(t, a, b):
    return torch.cumsum(b * torch.exp(-a * t), dim=-1)


def centred(t, a, b):
    values = torch.exp(-a * t) * b
    return values - values.mean(dim=-1, keepdim=True)


def reversed_in_time(t, a, b):
    return torch.flip(b * torch.exp(a * t), dims=(-1,))


def smoothed(t, a, b):
    values = b * torch.exp(-a * t)
    return values + 0.3 * torch.roll(values, 1, dims=-1)


def branching(t, a, b):
    return b * torch.exp(-a * t) if a > 0 else b * (1 - a * t)


def of_one_number(t, a, b):
    return b * torch.exp(-a * t) * (1 + 0.1 * float(a.detach()) ** 0 * b.squeeze() ** 2)


WHOLE = {
    normalised: lambda t, a, b: b * np.exp(a * t) / np.exp(a * t).sum(),
    accumulated: lambda t, a, b: np.cumsum(b * np.exp(-a * t)),
    centred: lambda t, a, b: b * (np.exp(-a * t) - np.exp(-a * t).mean()),
    reversed_in_time: lambda t, a, b: b * np.exp(a * t[::-1]),
    smoothed: lambda t, a, b: b * (np.exp(-a * t) + 0.3 * np.exp(-a * np.roll(t, 1))),
    branching: lambda t, a, b: b * np.exp(-a * t),
    of_one_number: lambda t, a, b: b * np.exp(-a * t) * (1 + 0.1 * b**2),
}


@pytest.mark.parametrize("function", WHOLE, ids=lambda function: function.__name__)
def test_callables_whose_points_are_not_each_for_itself(function):
    theta = np.array([0.7, 1.9])
    sigma = 1 + T
    r, jac = problem(function, theta, sigma=sigma).linearize(theta[None])
    np.testing.assert_allclose(r[0], WHOLE[function](T, *theta) / sigma, rtol=1e-13)
    expected = complex_steps(lambda p: WHOLE[function](T, *p) / sigma, theta)
    np.testing.assert_allclose(jac[0], expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("function", [normalised, accumulated, centred, smoothed], ids=lambda one: one.__name__)
def test_such_callables_side_by_side(function):
    theta = np.array([[0.7, 1.9], [-0.2, 0.4], [1.1, -3.0]])
    jac = problem(function, theta).linearize(theta)[1]
    for one, p in zip(jac, theta, strict=True):
        np.testing.assert_allclose(one, complex_steps(lambda p: WHOLE[function](T, *p), p), rtol=1e-11, atol=1e-14)


def silent_at_first(t, a, b, c):
    return a * t + b * torch.exp(-c * t).mean(dim=-1, keepdim=True)


def test_a_start_at_which_points_only_seem_each_for_itself():
    """Where b is 0, c moves nothing, in whichever way the points depend on one another."""
    begin, later = np.array([1.0, 0.0, 0.5]), np.array([1.0, 2.0, 0.5])
    residuals = problem(silent_at_first, begin)
    residuals.linearize(begin[None])
    jac = residuals.linearize(later[None])[1][0]
    expected = complex_steps(lambda p: p[0] * T + p[1] * np.exp(-p[2] * T).mean(), later)
    np.testing.assert_allclose(jac, expected, rtol=1e-11)


def test_a_callable_that_is_pointwise_is_found_out():
    residuals = problem(lambda t, a, b: b * torch.exp(-a * t), [0.7, 1.9])
    residuals.linearize(residuals.theta)
    assert residuals.curve.pointwise is True


def test_ties_and_fixed_parameters():
    demands = {"b": {"expr": "2*a**2"}, "d": {"fixed": 0.3}}
    residuals = problem("a*exp(-b*t) + c*t + d", [0.8, 0.0, 1.5, 0.0], demands=demands)
    assert residuals.free == [0, 2]
    theta = np.array([[0.9, 1.1]])
    r, jac = residuals.linearize(theta)

    def by_numpy(p):
        return p[0] * np.exp(-2 * p[0] ** 2 * T) + p[1] * T + 0.3

    np.testing.assert_allclose(r[0], by_numpy(theta[0]), rtol=1e-13)
    np.testing.assert_allclose(jac[0], complex_steps(by_numpy, theta[0]), rtol=1e-12, atol=1e-14)
    assert residuals.params(theta)[..., [0, 2, 3]].tolist() == [0.9, 1.1, 0.3]


def test_a_tie_in_a_callable_that_is_not_pointwise():
    residuals = problem(accumulated, [0.8, 0.0], demands={"b": {"expr": "3*a"}})
    jac = residuals.linearize(np.array([[0.8]]))[1][0]
    expected = complex_steps(lambda p: np.cumsum(3 * p[0] * np.exp(-p[0] * T)), np.array([0.8]))
    np.testing.assert_allclose(jac, expected, rtol=1e-12)


def test_several_predictors():
    x, z = T, np.sin(5 * T)
    theta = np.array([1.2, 0.4, -0.6])
    residuals = problem("a*exp(b*x) + c*x*z", theta, (x, z), predictors=("x", "z"))
    jac = residuals.linearize(theta[None])[1][0]
    expected = complex_steps(lambda p: p[0] * np.exp(p[1] * x) + p[2] * x * z, theta)
    np.testing.assert_allclose(jac, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("batch", [(2,), (2, 3)])
def test_batches_with_times_and_deviations_of_their_own(batch):
    rng = np.random.default_rng(1)
    theta = 0.5 + rng.random((*batch, 3))
    t, y, sigma = rng.random((*batch, 8)), rng.normal(size=(*batch, 8)), 0.5 + rng.random((*batch, 8))
    residuals = problem("exponential_decay", theta, t, y, sigma)
    r, jac = residuals.linearize(residuals.theta)
    assert r.shape == (np.prod(batch), 8)
    assert jac.shape == (np.prod(batch), 8, 3)
    flat = zip(*(values.reshape(-1, values.shape[-1]) for values in (theta, t, y, sigma)), strict=True)
    for i, (p, t_one, y_one, sigma_one) in enumerate(flat):

        def by_numpy(p, t=t_one, y=y_one, sigma=sigma_one):
            return (p[0] * np.exp(-t / p[1]) + p[2] - y) / sigma

        np.testing.assert_allclose(r[i], by_numpy(p), rtol=1e-12)
        np.testing.assert_allclose(jac[i], complex_steps(by_numpy, p), rtol=1e-12)
        [alone] = residuals.select(np.array([i])).linearize(residuals.theta[[i]])[1]
        np.testing.assert_array_equal(alone, jac[i])


@pytest.mark.parametrize("function", ["exponential_decay", "a*exp(-t/b) + c"], ids=["torch", "tape"])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_series_may_be_chosen_more_than_once_and_in_any_order(function, batch):
    theta = np.array([[1.5, 0.5, 0.2], [1.0, 0.7, 0.1], [0.3, 2.0, 0.0]])[: 3 if batch else 1]
    y = np.cos(np.arange(len(theta))[:, None] + T)
    residuals = problem(
        function, theta if batch else theta[0], y=y if batch else y[0], sigma=(1 + y**2).reshape(*batch, -1)
    )
    r, jac = residuals.linearize(theta)
    for rows in ([2, 0, 1], [1, 1, 2, 0, 0]) if batch else ([0, 0, 0],):
        some = residuals.select(np.array(rows))
        assert some.count == len(rows)
        for found, whole in zip(some.linearize(theta[rows]), (r, jac), strict=True):
            np.testing.assert_allclose(found, whole[rows], rtol=1e-15)
    part = residuals.select(slice(0, 2))
    np.testing.assert_allclose(part.linearize(theta[:2])[1], jac[:2], rtol=1e-15)


def test_points_that_were_filled_in_pull_nowhere():
    series = [Points(torch.linspace(0, 1, n, dtype=DOUBLE), torch.ones(n, dtype=DOUBLE)) for n in (4, 7)]
    both = stack(series)
    theta = np.array([[1.5, 0.5, 0.2], [1.0, 0.7, 0.1]])
    residuals = problem("exponential_decay", theta, both.t, both.targets, both.sigma)
    r, jac = residuals.linearize(theta)
    assert residuals.points_each.tolist() == [4, 7]
    assert (r[0, 4:] == 0).all()
    assert (jac[0, 4:] == 0).all()
    t = series[0].t.numpy()
    expected = complex_steps(lambda p: p[0] * np.exp(-t / p[1]) + p[2], theta[0])
    np.testing.assert_allclose(jac[0, :4], expected, rtol=1e-12)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber(0.3)", "cauchy(0.3)"])
def test_the_measure_and_its_weights_give_the_gradient_of_the_loss(loss):
    """d sum rho(r) / d theta = 2 J' (w r): by differences of what SciPy calls rho."""
    scale = 0.3
    measures = {
        "mse": lambda r: r**2,
        "mae": np.abs,
        "huber(0.3)": lambda r: np.where(abs(r) <= scale, r**2, 2 * scale * abs(r) - scale**2),
        "cauchy(0.3)": lambda r: scale**2 * np.log1p((r / scale) ** 2),
    }
    y = np.cos(3 * T)
    theta = np.array([1.2, 0.8, 0.1])
    residuals = problem("exponential_decay", theta, y=y, loss=make_loss(loss))

    def total(p):
        return measures[loss](p[0] * np.exp(-T / p[1]) + p[2] - y).sum()

    r, jac = residuals.linearize(theta[None])
    assert residuals.sum_of(r)[0] == pytest.approx(total(theta), rel=1e-12)
    roots = residuals.roots_of_weights(r)
    gradient = 2 * np.einsum("tf,t->f", jac[0], roots[0] ** 2 * r[0])
    np.testing.assert_allclose(gradient, differences(total, theta), rtol=1e-6)


def test_single_precision_parameters_are_computed_with_in_double():
    curve = Curve("linear")
    curve.start(torch.tensor([0.1, 0.2]))
    points = Points(torch.arange(5.0), torch.ones(5))
    r, jac = Residuals(curve, points).linearize(np.array([[0.1, 0.2]]))
    assert r.dtype == jac.dtype == np.float64
    np.testing.assert_allclose(r[0], np.arange(5) * 0.1 + 0.2 - 1, rtol=1e-15)


def test_bounds_are_numbers_of_the_parameters_precision_within_what_was_given():
    curve = Curve("linear", {"a": {"min": 0.1, "max": 0.7}})
    residuals = Residuals(curve, Points(torch.arange(5.0), torch.ones(5)))
    assert 0.1 <= residuals.low[0] < 0.1 + 1e-8
    assert 0.7 - 1e-7 < residuals.high[0] <= 0.7
    assert residuals.low[1] == -np.inf
    assert all(np.float32(value) == value for value in (residuals.low[0], residuals.high[0]))


def test_a_function_without_a_parameter_in_it_gives_a_column_of_zeros():
    jac = problem("a*t + 0*b", [1.0, 2.0]).linearize(np.array([[1.0, 2.0]]))[1][0]
    np.testing.assert_array_equal(jac, np.stack([T, 0 * T], axis=-1))
