"""Least squares for many small problems side by side, against NumPy and SciPy one by one."""

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime, least_squares

from gd_lightning.least_squares import jacobian, levenberg_marquardt, solve_linear

DOUBLE = torch.float64
T = torch.linspace(0, 4, 25, dtype=DOUBLE)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def anywhere(params):
    return params


def decay(params, t=T):
    amplitude, rate, offset = params.unsqueeze(-1).unbind(-2)
    return amplitude * torch.exp(-rate * t) + offset


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_the_jacobian_against_finite_differences(batch):
    params = torch.tensor([2.0, 0.7, 1.0], dtype=DOUBLE) + 0.1 * numbers(*batch, 3)
    jac = jacobian(decay, params)
    assert jac.shape == (*batch, 25, 3)
    for row, derivatives in zip(params.reshape(-1, 3), jac.reshape(-1, 25, 3), strict=True):
        numeric = approx_fprime(row.numpy(), lambda x: decay(torch.from_numpy(x)).numpy(), 1e-7)
        assert np.allclose(derivatives.numpy(), numeric, atol=1e-5)


def test_the_jacobian_is_exact():
    amplitude, rate = torch.tensor(2.0, dtype=DOUBLE), torch.tensor(0.7, dtype=DOUBLE)
    jac = jacobian(decay, torch.stack([amplitude, rate, rate]))
    exact = torch.stack([torch.exp(-rate * T), -amplitude * T * torch.exp(-rate * T), torch.ones_like(T)], dim=-1)
    assert torch.allclose(jac, exact, rtol=1e-14, atol=1e-15)


def test_the_jacobian_of_a_column_on_which_nothing_depends_is_zero():
    assert (jacobian(lambda params: decay(params * torch.tensor([1, 1, 0.0])), numbers(3))[:, 2] == 0).all()


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_linear_least_squares_are_numpy_s(batch):
    columns, targets = numbers(*batch, 20, 4), numbers(*batch, 20, seed=1)
    found = solve_linear(columns, targets)
    assert found.shape == (*batch, 4)
    for matrix, y, x in zip(columns.reshape(-1, 20, 4), targets.reshape(-1, 20), found.reshape(-1, 4), strict=True):
        assert np.allclose(x.numpy(), np.linalg.lstsq(matrix.numpy(), y.numpy())[0], rtol=1e-9)


def test_columns_of_very_different_sizes():
    scales = torch.tensor([1e-150, 1e-8, 1, 1e8, 1e150], dtype=DOUBLE)
    matrix, y = numbers(20, 5), numbers(20, seed=1)
    expected = np.linalg.lstsq(matrix.numpy(), y.numpy())[0]
    assert np.allclose((solve_linear(matrix * scales, y) * scales).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("case", ["twice the same", "nothing", "fewer points than columns"])
def test_columns_that_depend_on_one_another_still_give_the_nearest_sum(case):
    matrix, y = numbers(20, 3), numbers(20, seed=1)
    if case == "twice the same":
        matrix[:, 2] = 3 * matrix[:, 0]
    elif case == "nothing":
        matrix[:, 2] = 0
    else:
        matrix, y = matrix[:2], y[:2]
    found = solve_linear(matrix, y)
    assert torch.isfinite(found).all()
    nearest = matrix.numpy() @ np.linalg.lstsq(matrix.numpy(), y.numpy())[0]
    assert np.allclose((matrix @ found).numpy(), nearest, atol=1e-6)


# Problems of More, Garbow and Hillstrom (1981), with their starts and least sums of squares.
PROBLEMS = {
    "rosenbrock": (lambda p: torch.stack([10 * (p[..., 1] - p[..., 0] ** 2), 1 - p[..., 0]], dim=-1), [-1.2, 1.0], 0.0),
    "beale": (
        lambda p: torch.stack(
            [y - p[..., 0] * (1 - p[..., 1] ** k) for k, y in ((1, 1.5), (2, 2.25), (3, 2.625))], dim=-1
        ),
        [1.0, 1.0],
        0.0,
    ),
    "freudenstein and roth": (
        lambda p: torch.stack(
            [
                -13 + p[..., 0] + ((5 - p[..., 1]) * p[..., 1] - 2) * p[..., 1],
                -29 + p[..., 0] + ((p[..., 1] + 1) * p[..., 1] - 14) * p[..., 1],
            ],
            dim=-1,
        ),
        [0.5, -2.0],
        48.98425,
    ),
    "jennrich and sampson": (
        lambda p: torch.stack(
            [2 + 2 * i - torch.exp(i * p[..., 0]) - torch.exp(i * p[..., 1]) for i in range(1, 11)], dim=-1
        ),
        [0.3, 0.4],
        124.362,
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_known_problems_from_their_usual_starts(name):
    residuals, start, least = PROBLEMS[name]
    params, loss = levenberg_marquardt(residuals, torch.tensor(start, dtype=DOUBLE), anywhere, steps=200)
    assert loss.item() == pytest.approx(least, rel=1e-5, abs=1e-12)
    assert residuals(params).square().sum().item() == loss.item()


def noisy_decays(count):
    truth = torch.tensor([3.0, 0.8, 0.5], dtype=DOUBLE) * (1 + 0.2 * numbers(count, 3))
    return truth, decay(truth) + 0.05 * numbers(count, 25, seed=1)


def test_each_of_many_series_goes_where_scipy_goes():
    truth, targets = noisy_decays(20)
    found, loss = levenberg_marquardt(lambda p: decay(p) - targets, torch.ones(20, 3, dtype=DOUBLE), anywhere)
    for p, sum_of_squares, y, start in zip(found, loss, targets, truth, strict=True):
        fit = least_squares(lambda x, y=y: (decay(torch.from_numpy(x)) - y).numpy(), start.numpy(), xtol=1e-15)
        assert sum_of_squares.item() == pytest.approx(2 * fit.cost, rel=1e-9)
        assert p.tolist() == pytest.approx(fit.x.tolist(), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize(
    ("low", "high"),
    [([0, 1.0, 0], [10, 5, 10]), ([0, 0, 0], [2.0, 5, 10]), ([0, 0, 0.7], [10, 5, 10]), ([0, 0, 0.0], [2, 0.5, 0.2])],
)
def test_within_bounds_it_goes_where_scipy_goes(low, high):
    _, targets = noisy_decays(1)
    y, low, high = targets[0], torch.tensor(low, dtype=DOUBLE), torch.tensor(high, dtype=DOUBLE)
    start = (low + high) / 2
    found, loss = levenberg_marquardt(lambda p: decay(p) - y, start, lambda p: p.clamp(low, high), steps=200)
    fit = least_squares(
        lambda x: (decay(torch.from_numpy(x)) - y).numpy(),
        start.numpy(),
        bounds=(low.numpy(), high.numpy()),
        xtol=1e-15,
    )
    assert ((low <= found) & (found <= high)).all()
    assert loss.item() == pytest.approx(2 * fit.cost, rel=1e-5)
    assert found.tolist() == pytest.approx(fit.x.tolist(), rel=1e-3)


def test_it_never_ends_worse_than_it_began_and_a_hopeless_start_harms_no_other():
    _, targets = noisy_decays(1)
    starts = torch.tensor([[1, 1, 1], [1, -1e4, 1], [1e300, 1, 1], [0, 0, 0], [torch.nan, 1, 1]], dtype=DOUBLE)

    def residuals(params):
        return decay(params) - targets[0]

    before = residuals(starts).square().sum(dim=-1).nan_to_num(nan=torch.inf)
    _, loss = levenberg_marquardt(residuals, starts, anywhere)
    _, alone = levenberg_marquardt(residuals, starts[:1], anywhere)
    assert (loss <= before).all()
    assert loss[0].item() == pytest.approx(alone.item(), rel=1e-9)


def test_a_perfect_start_stays():
    truth = torch.tensor([3.0, 0.8, 0.5], dtype=DOUBLE)
    found, loss = levenberg_marquardt(lambda p: decay(p) - decay(truth), truth.clone(), anywhere)
    assert torch.equal(found, truth)
    assert loss.item() == 0
