"""Many small problems at once, beside the careful solver, SciPy's least squares and NumPy's lstsq."""

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares, lsq_linear
from test_functions import FAMILIES
from test_levenberg_marquardt import TIGHT, noisy, scipy_residuals
from test_residuals import accumulated, centred

from gd_lightning import batch
from gd_lightning.batch import solve
from gd_lightning.curve import Curve
from gd_lightning.levenberg_marquardt import minimum
from gd_lightning.losses import make_loss, mse
from gd_lightning.points import Points, stack
from gd_lightning.residuals import Residuals

DOUBLE = torch.float64
PEAK = "amplitude*exp(-(t - center)**2/(2*width**2)) + offset"
TRUTH = np.array([2.0, 4.5, 1.2, 0.5])


def problem(function, t, y, theta, demands=None, loss=mse, sigma=None, predictors=None):
    """Residuals of the rows of y, `(R, T)`, and theta of its free parameters."""
    curve = Curve(function, demands, predictors).to(DOUBLE)
    columns = tuple(map(torch.from_numpy, t)) if isinstance(t, tuple) else torch.from_numpy(t)
    curve.start(torch.as_tensor(theta, dtype=DOUBLE))
    return Residuals(
        curve, Points(columns, torch.as_tensor(y), None if sigma is None else torch.as_tensor(sigma)), loss
    )


def peak(t, amplitude, center, width, offset):
    return amplitude * np.exp(-((t - center) ** 2) / (2 * width**2)) + offset


def peaks(count, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 10, 50)
    truth = TRUTH * (1 + 0.1 * rng.uniform(-1, 1, (count, 4)))
    y = peak(t, *truth.T[..., None]) + noise * rng.normal(size=(count, 50))
    return t, y, truth


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_arrives_where_the_careful_solver_and_scipy_do(name):
    rng, t, y, truth = noisy(name, 0, 0.01)
    starts = truth * (1 + 0.03 * rng.uniform(-1, 1, (5, len(truth))))
    some = problem(name, t, np.tile(y, (5, 1)), starts)
    found = solve(some, starts)
    careful = minimum(some.curve, some.points, mse, torch.from_numpy(starts)).params.numpy()
    expected = least_squares(scipy_residuals(name, t, y), truth, x_scale=abs(truth) + 1e-9, **TIGHT)
    assert found.converged.all()
    np.testing.assert_allclose(found.total, 2 * expected.cost, rtol=1e-10)
    size = np.linalg.norm(expected.jac, axis=0)
    unit = expected.jac / size
    assert np.linalg.cond(unit) < 1e4
    errors = np.sqrt(np.diag(np.linalg.inv(unit.T @ unit)) * 2 * expected.cost / (len(t) - len(truth))) / size
    assert (abs(found.theta - careful) <= 1e-8 * abs(careful) + 1e-8 * errors).all()
    assert (abs(found.theta - expected.x) <= 1e-8 * abs(expected.x) + 1e-6 * errors).all()


@pytest.mark.parametrize("noise", [0.0, 1e-6, 0.05])
def test_each_of_many_is_as_if_alone(noise):
    t, y, truth = peaks(40, noise)
    some = problem(PEAK, t, y, truth)
    found = solve(some, 1.1 * truth)
    assert found.converged.all()
    for i in range(0, 40, 7):
        alone = solve(problem(PEAK, t, y[i], truth[i]), 1.1 * truth[i : i + 1])
        np.testing.assert_allclose(found.theta[i], alone.theta[0], rtol=1e-9)
        assert found.steps[i] == alone.steps[0]
        expected = least_squares(lambda p, row=y[i]: peak(t, *p) - row, truth[i], **TIGHT).x
        np.testing.assert_allclose(found.theta[i], expected, rtol=1e-7)
    np.testing.assert_allclose(found.total, np.square(some(found.theta)).sum(axis=-1), rtol=1e-9, atol=1e-20)


def test_far_starts_arrive_too():
    t, y, truth = peaks(100)
    rng = np.random.default_rng(1)
    found = solve(problem(PEAK, t, y, truth), truth * 2 ** rng.uniform(-0.5, 0.5, truth.shape))
    careful = solve(problem(PEAK, t, y, truth), truth)
    assert found.converged.mean() > 0.9
    assert (found.total[found.converged] >= careful.total[found.converged] * (1 - 1e-9)).all()
    lowest = np.isclose(found.total, careful.total, rtol=1e-9)
    assert lowest.mean() > 0.9
    found.theta[:, 2] = abs(found.theta[:, 2])  # of whose sign the peak knows nothing
    np.testing.assert_allclose(found.theta[lowest], careful.theta[lowest], rtol=1e-7)


def test_what_is_linear_beside_lstsq():
    rng = np.random.default_rng(2)
    t = np.linspace(-2, 5, 30)
    y = np.sin(t) + 0.1 * rng.normal(size=(6, 30))
    found = solve(problem("cubic", t, y, np.zeros((6, 4))), np.zeros((6, 4)))
    columns = np.stack([t**3, t**2, t, t**0], axis=-1)
    assert found.converged.all()
    np.testing.assert_allclose(found.theta, np.linalg.lstsq(columns, y.T, rcond=None)[0].T, rtol=1e-10)


def test_a_series_that_is_not_finite_disturbs_no_other():
    t, y, truth = peaks(6)
    starts = 1.1 * truth
    alone = solve(problem(PEAK, t, y, truth), starts)
    bad = starts.copy()
    bad[1, 2], bad[4] = 0.0, [1e300, 4.0, 1e-300, 1e300]
    found = solve(problem(PEAK, t, y, truth), bad)
    others = [0, 2, 3, 5]
    np.testing.assert_array_equal(found.theta[others], alone.theta[others])
    np.testing.assert_array_equal(found.converged, [True, False, True, True, False, True])
    np.testing.assert_array_equal(found.theta[[1, 4]], bad[[1, 4]])


def test_a_step_out_of_the_domain_is_taken_back():
    t = np.linspace(0.1, 3, 20)
    y = np.log(1 + 0.2 * t)[None]
    found = solve(problem("log(a + b*t)", t, y, [[1.0, 5.0]]), np.array([[0.3, 40.0]]))
    assert found.converged.all()
    np.testing.assert_allclose(found.theta, [[1.0, 0.2]], rtol=1e-9)


def test_few_steps_are_not_enough():
    t, y, truth = peaks(5)
    found = solve(problem(PEAK, t, y, truth), 1.1 * truth, steps=1)
    assert not found.converged.any()
    assert (found.steps == 1).all()
    assert (found.total < np.square(problem(PEAK, t, y, truth)(1.1 * truth)).sum(axis=-1)).all()


# Frozen parameters


def test_each_row_has_frozen_parameters_of_its_own():
    t, y, truth = peaks(1)
    values = truth[0] * 1.03
    frozen = np.array([[i == k for k in range(4)] for i in range(4)] + [[True] * 4, [False] * 4])
    found = solve(problem(PEAK, t, np.tile(y, (6, 1)), values), np.tile(values, (6, 1)), frozen)
    assert found.converged.all()
    np.testing.assert_array_equal(found.theta[frozen], np.tile(values, (6, 1))[frozen])
    for row, held in zip(found.theta, frozen, strict=True):
        if held.all():
            continue

        def residuals(free, held=held):
            params = values.copy()
            params[~held] = free
            return peak(t, *params) - y[0]

        np.testing.assert_allclose(row[~held], least_squares(residuals, values[~held], **TIGHT).x, rtol=1e-8)


def test_fixed_tied_and_loose_parameters():
    t, y, truth = peaks(3)
    demands = {"offset": {"fixed": 0.4}, "width": {"expr": "center/4"}}
    some = problem(PEAK, t, y, truth, demands)
    found = solve(some, some.theta)
    for i in range(3):
        expected = least_squares(lambda p, row=y[i]: peak(t, *p, p[1] / 4, 0.4) - row, truth[i, :2], **TIGHT).x
        np.testing.assert_allclose(found.theta[i], expected, rtol=1e-8)


# Bounds


def test_linear_functions_between_bounds_beside_scipy():
    rng = np.random.default_rng(3)
    t = np.linspace(0, 1, 12)
    columns = np.stack([t**3, t**2, t, t**0], axis=-1)
    low, high = np.array([-1.0, -2.0, 0.0, -0.5]), np.array([2.0, 1.0, 3.0, 0.5])
    y = (columns @ rng.normal(0, 3, (4, 60))).T + 0.1 * rng.normal(size=(60, 12))
    demands = {name: {"min": a, "max": b} for name, a, b in zip("abcd", low, high, strict=True)}
    starts = rng.uniform(low, high, (60, 4))
    found = solve(problem("cubic", t, y, starts, demands), starts)
    assert found.converged.all()
    assert ((found.theta == low) | (found.theta == high)).any(axis=0).all()
    for row, total, theta in zip(y, found.total, found.theta, strict=True):
        expected = lsq_linear(columns, row, (low, high), method="bvls", tol=1e-14)
        assert total == pytest.approx(2 * expected.cost, rel=1e-10)
        np.testing.assert_allclose(theta, expected.x, atol=1e-7)


def test_peaks_between_bounds_beside_scipy():
    t, y, _ = peaks(20)
    low, high = np.array([0.0, 4.4, 1.1, 0.45]), np.array([2.0, 4.6, 1.3, 0.55])
    demands = {
        name: {"min": a, "max": b}
        for name, a, b in zip(["amplitude", "center", "width", "offset"], low, high, strict=True)
    }
    starts = np.tile((low + high) / 2, (20, 1))
    found = solve(problem(PEAK, t, y, starts, demands), starts)
    assert found.converged.all()
    assert ((found.theta == low) | (found.theta == high)).any(axis=0).all()
    for row, total in zip(y, found.total, strict=True):
        expected = least_squares(lambda p, row=row: peak(t, *p) - row, starts[0], bounds=(low, high), **TIGHT)
        assert total <= 2 * expected.cost * (1 + 1e-12)
        assert total == pytest.approx(2 * expected.cost, rel=1e-5)  # scipy stays inside


# Losses


@pytest.mark.parametrize("loss", ["huber(0.05)", "cauchy(0.05)"])
def test_robust_losses_beside_scipy(loss):
    t, y, truth = peaks(8)
    y[:, ::9] += 1.0
    found = solve(problem(PEAK, t, y, truth, loss=make_loss(loss)), truth)
    assert found.converged.all()
    for i in range(8):
        expected = least_squares(
            lambda p, row=y[i]: peak(t, *p) - row, truth[i], loss=loss.partition("(")[0], f_scale=0.05, **TIGHT
        )
        np.testing.assert_allclose(found.theta[i], expected.x, rtol=1e-6)
        assert found.total[i] == pytest.approx(2 * expected.cost, rel=1e-10)


def test_sigma_weighs():
    t, y, truth = peaks(3)
    sigma = 0.05 * (1 + t)
    found = solve(problem(PEAK, t, y, truth, sigma=np.tile(sigma, (3, 1))), truth)
    for i in range(3):
        expected = least_squares(lambda p, row=y[i]: (peak(t, *p) - row) / sigma, truth[i], **TIGHT).x
        np.testing.assert_allclose(found.theta[i], expected, rtol=1e-7)


# Functions of all kinds


@pytest.mark.parametrize("function", [accumulated, centred], ids=["accumulated", "centred"])
def test_callables_whose_points_are_not_each_for_itself(function):
    rng = np.random.default_rng(5)
    t = np.linspace(0.1, 2, 15)
    clean = function(torch.from_numpy(t), torch.tensor(0.7), torch.tensor(1.9)).numpy()
    y = clean + 0.02 * rng.normal(size=(4, 15))
    starts = np.tile([1.0, 1.5], (4, 1))
    some = problem(function, t, y, starts)
    found = solve(some, starts)
    assert found.converged.all()
    careful = minimum(some.curve, some.points, mse, torch.from_numpy(starts)).params.numpy()
    np.testing.assert_allclose(found.theta, careful, rtol=1e-8)


def test_two_predictors():
    rng = np.random.default_rng(6)
    x, z = rng.uniform(0, 2, (2, 40))
    y = 2 * np.exp(-0.7 * x) + 0.3 * z + 0.01 * rng.normal(size=(3, 40))
    starts = np.tile([1.5, 1.0, 0.0], (3, 1))
    found = solve(problem("a*exp(-b*x) + c*z", (x, z), y, starts, predictors=("x", "z")), starts)
    for row, theta in zip(y, found.theta, strict=True):
        expected = least_squares(lambda p, row=row: p[0] * np.exp(-p[1] * x) + p[2] * z - row, starts[0], **TIGHT).x
        np.testing.assert_allclose(theta, expected, rtol=1e-8)


def test_series_of_unequal_lengths():
    t, y, truth = peaks(3)
    lengths = [50, 41, 47]
    series = [Points(torch.from_numpy(t[:n]), torch.from_numpy(one[:n])) for n, one in zip(lengths, y, strict=True)]
    curve = Curve(PEAK).to(DOUBLE)
    curve.start(torch.from_numpy(truth))
    found = solve(Residuals(curve, stack(series)), truth)
    for i, n in enumerate(lengths):
        expected = least_squares(lambda p, i=i, n=n: peak(t[:n], *p) - y[i, :n], truth[i], **TIGHT).x
        np.testing.assert_allclose(found.theta[i], expected, rtol=1e-7)


@pytest.mark.parametrize("function", [PEAK, "gaussian"], ids=["tape", "torch"])
def test_blocks_make_no_difference(function, monkeypatch):
    t, y, truth = peaks(25)
    theta = truth[:, : 4 if function == PEAK else 3]
    whole = solve(problem(function, t, y, theta), 1.05 * theta)
    monkeypatch.setattr(batch, "SMALL", 350)
    monkeypatch.setattr(batch, "BLOCK", 350)
    blocks = solve(problem(function, t, y, theta), 1.05 * theta)
    np.testing.assert_allclose(blocks.theta, whole.theta, rtol=1e-12)
    np.testing.assert_array_equal(blocks.steps, whole.steps)


def test_more_points_than_a_tape_takes_at_once():
    t, y, truth = peaks(300)
    found = solve(problem(PEAK, t, y, truth), truth)
    some = [0, 150, 299]
    np.testing.assert_allclose(
        found.theta[some], solve(problem(PEAK, t, y[some], truth[some]), truth[some]).theta, rtol=1e-9
    )
    assert found.converged.all()


@pytest.mark.parametrize("of_y", [1e-100, 1e-6, 1e100])
@pytest.mark.parametrize("of_t", [1e-9, 1e9])
def test_units_do_not_matter(of_t, of_y):
    t, y, truth = peaks(2)
    units = np.array([of_y, of_t, of_t, of_y])
    expected = solve(problem(PEAK, t, y, truth), 1.1 * truth)
    found = solve(problem(PEAK, of_t * t, of_y * y, truth * units), 1.1 * truth * units)
    assert found.converged.all()
    np.testing.assert_allclose(found.theta / units, expected.theta, rtol=1e-8)
