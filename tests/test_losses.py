import math

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch.nn.functional import huber_loss, l1_loss, mse_loss
from torchmetrics.functional import mean_squared_error

from gd_lightning.errors import InputError
from gd_lightning.losses import cauchy, huber, mae, make_loss, mean, mse, residual, rmse, rmse_each, weights

DOUBLE = torch.float64
LOSSES = ["mse", "mae", "huber", "cauchy", "huber(0.3)", "cauchy(0.3)", "huber(25)", "cauchy(25)"]


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def of_scipy(residuals, loss, scale):
    """What `least_squares` calls its cost: half the sum of scale**2 * rho((r/scale)**2)."""
    return least_squares(lambda x: residuals + 0 * x, [0.0], loss=loss, f_scale=scale, max_nfev=1).cost


def test_mse_is_torch_s_and_torchmetrics():
    preds, targets = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mse(preds, targets), mse_loss(preds, targets))
    assert torch.equal(mse(preds, targets), mean_squared_error(preds, targets))


def test_each_series_has_its_own_mse():
    preds = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    targets = torch.tensor([[1.0, 4.0], [0.0, 0.0]])
    assert mse(preds, targets).tolist() == [2.0, 12.5]


def test_rmse_is_a_root_in_double_precision_of_a_float32_mean():
    value = rmse(torch.tensor([0.0, 0.1]), torch.zeros(2))
    mean_square = (torch.tensor(0.1) ** 2 / 2).item()
    assert value == pytest.approx(math.sqrt(mean_square), rel=1e-15)
    assert value != float(torch.tensor(mean_square).sqrt())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale", [0.1, 1.0, 2.5, 100.0])
@pytest.mark.parametrize(("name", "loss", "scipy_s"), [("huber", huber, "huber"), ("cauchy", cauchy, "cauchy")])
def test_the_robust_losses_are_scipy_s(name, loss, scipy_s, scale, weighted):
    preds, targets = numbers(2, 40) * 3
    sigma = 0.5 + numbers(40, seed=1).abs() if weighted else None
    residuals = (preds - targets if sigma is None else (preds - targets) / sigma).numpy()
    expected = 2 * of_scipy(residuals, scipy_s, scale) / 40
    assert loss(preds, targets, sigma, scale=scale).item() == pytest.approx(expected, rel=1e-13)
    assert make_loss(f"{name}({scale})")(preds, targets, sigma).item() == pytest.approx(expected, rel=1e-13)
    if scale == 1:
        assert make_loss(name)(preds, targets, sigma).item() == pytest.approx(expected, rel=1e-13)


def test_without_a_scale_mse_and_mae_are_those_of_scipy_numpy_and_torch():
    preds, targets = numbers(2, 40)
    sigma = 0.5 + numbers(40, seed=1).abs()
    r, weights = (preds - targets).numpy(), 1 / sigma.numpy() ** 2
    assert mse(preds, targets).item() == pytest.approx(2 * of_scipy(r, "linear", 1.0) / 40, rel=1e-14)
    assert mse(preds, targets, sigma).item() == pytest.approx(np.sum(weights * r**2) / 40, rel=1e-14)
    assert mae(preds, targets).item() == pytest.approx(l1_loss(preds, targets).item(), rel=1e-15)
    assert mae(preds, targets, sigma).item() == pytest.approx(np.mean(np.abs(r) / sigma.numpy()), rel=1e-14)


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_huber_is_twice_torch_s(scale):
    preds, targets = numbers(2, 40)
    expected = 2 * huber_loss(preds, targets, delta=scale).item()
    assert huber(preds, targets, scale=scale).item() == pytest.approx(expected, rel=1e-14)


def test_small_residuals_count_alike_in_mse_huber_and_cauchy():
    preds, targets = numbers(2, 40) * 1e-6
    expected = mse(preds, targets).item()
    assert huber(preds, targets).item() == pytest.approx(expected, rel=1e-15)
    assert cauchy(preds, targets).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_against_finite_differences(name):
    preds, targets, sigma = numbers(2, 7), numbers(2, 7, seed=1), 0.5 + numbers(2, 7, seed=2).abs()
    preds.requires_grad_()
    assert torch.autograd.gradcheck(lambda preds: make_loss(name)(preds, targets, sigma), preds)
    assert torch.autograd.gradcheck(lambda preds: make_loss(name)(preds, targets), preds)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_weights_make_the_gradient_that_of_a_weighted_mse(name, weighted):
    preds, targets = 2 * numbers(2, 3, 40)
    sigma = 0.5 + numbers(3, 40, seed=1).abs() if weighted else None
    if weighted:
        sigma[1, 30:] = math.inf
    preds.requires_grad_()
    loss = make_loss(name)
    [gradient] = torch.autograd.grad(loss(preds, targets, sigma).sum(), preds)
    r = residual(preds, targets, sigma).detach()
    count = torch.tensor([40.0, 30.0 if weighted else 40.0, 40.0], dtype=DOUBLE)[:, None]
    expected = 2 / count * weights(loss, r) * r / (1 if sigma is None else sigma)
    torch.testing.assert_close(gradient, expected, rtol=1e-13, atol=1e-16)


def test_weights_of_no_residual_and_of_an_endless_one():
    r = torch.tensor([0.0, math.inf], dtype=DOUBLE)
    assert weights(mse, r).tolist() == [1, 1]
    assert weights(huber, r).tolist() == [1, 0]
    assert weights(make_loss("cauchy(0.1)"), r).tolist() == [1, 0]
    assert (weights(mae, r) * torch.tensor([0.0, 1.0])).tolist() == [0, 0]


def test_a_loss_whose_weights_are_not_known():
    with pytest.raises(InputError, match="whose weights are not known; expected a loss of make_loss"):
        weights(lambda preds, targets, sigma: preds, torch.ones(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("name", LOSSES)
def test_each_series_has_its_own_loss(name, batch, dtype):
    preds, targets, sigma = (numbers(*batch, 9, seed=seed).to(dtype) for seed in range(3))
    sigma = sigma.abs() + 0.5
    loss = make_loss(name)
    value = loss(preds, targets, sigma)
    assert value.shape == batch
    assert value.dtype == dtype
    alone = [loss(*rows).item() for rows in zip(*(x.reshape(-1, 9) for x in (preds, targets, sigma)), strict=True)]
    assert value.flatten().tolist() == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_point_with_an_infinite_sigma_is_no_point(name):
    loss = make_loss(name)
    preds, targets, sigma = numbers(6), numbers(6, seed=1), 0.5 + numbers(6, seed=2).abs()
    filled = [
        torch.cat([x, torch.full((3,), value, dtype=DOUBLE)])
        for x, value in zip((preds, targets, sigma), (7.0, -7.0, math.inf), strict=True)
    ]
    preds.requires_grad_()
    filled[0].requires_grad_()
    short, long = loss(preds, targets, sigma), loss(*filled)
    assert torch.equal(short, long)
    short.backward()
    long.backward()
    assert torch.equal(preds.grad, filled[0].grad[:6])
    assert (filled[0].grad[6:] == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_sigma_of_one_changes_nothing(name):
    preds, targets = numbers(2, 6)
    assert torch.equal(make_loss(name)(preds, targets, torch.ones(6, dtype=DOUBLE)), make_loss(name)(preds, targets))


@pytest.mark.parametrize("name", LOSSES)
def test_no_residuals_no_loss_and_no_gradient(name):
    preds = numbers(5).requires_grad_()
    loss = make_loss(name)(preds, preds.detach().clone())
    loss.backward()
    assert loss.item() == 0
    assert (preds.grad == 0).all()


@pytest.mark.parametrize("name", ["mae", "huber", "cauchy"])
def test_an_outlier_that_overflows_when_squared_does_not_stop_a_robust_loss(name):
    preds, targets = torch.zeros(3, requires_grad=True), torch.tensor([1.0, 2.0, 1e25])
    loss = make_loss(name)(preds, targets)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(preds.grad).all()


def test_a_residual_is_prediction_minus_target_in_units_of_sigma():
    assert residual(torch.tensor(3.0), torch.tensor(1.0)).item() == 2
    assert residual(torch.tensor(3.0), torch.tensor(1.0), torch.tensor(4.0)).item() == 0.5


def test_a_mean_counts_the_points_that_are_there():
    values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]])
    assert mean(values).tolist() == [2.0, 3.0]
    sigma = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, math.inf]])
    assert mean(values, sigma).tolist() == [2.0, 4.5]


def test_rmse_of_each_series_of_what_is_there():
    preds, targets = numbers(3, 5), numbers(3, 5, seed=1)
    present = torch.ones(3, 5, dtype=torch.bool)
    present[1, 2:] = False
    expected = [
        np.sqrt(np.mean((p[k] - y[k]) ** 2))
        for p, y, k in zip(preds.numpy(), targets.numpy(), present.numpy(), strict=True)
    ]
    assert rmse_each(preds, targets, present).tolist() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("text", ["huber(2.5)", " huber ( 2.5 ) ", "huber(25e-1)", "huber(+2.5)"])
def test_the_scale_as_one_may_write_it(text):
    preds, targets = numbers(2, 40) * 9
    assert torch.equal(make_loss(text)(preds, targets), huber(preds, targets, scale=2.5))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("hubert", r"loss: given 'hubert'; did you mean 'huber'\?"),
        ("zzz", "loss: given 'zzz'; choose from cauchy, huber, mae, mse"),
        ("", "loss: given ''; choose from"),
        ("mse(2)", "and mse has no scale; huber.2.5. and cauchy.2.5. have one"),
        ("mae()", "and mae has no scale"),
        ("huber()", "expected a number above 0 in the parentheses, such as huber.2.5."),
        ("huber(0)", "expected a number above 0"),
        ("huber(-1)", "expected a number above 0"),
        ("cauchy(inf)", "expected a number above 0 in the parentheses, such as cauchy"),
        ("cauchy(nan)", "expected a number above 0"),
        ("cauchy(two)", "expected a number above 0"),
        ("huber(1, 2)", "expected a number above 0"),
        ("huber(1))", "loss: given"),
        ("huber(1", "loss: given"),
        (3, "loss: given 3"),
        (None, "loss: given None"),
        (["mse"], "loss: given"),
        (mse, "loss: given"),
    ],
)
def test_a_loss_that_there_is_not(given, message):
    with pytest.raises(InputError, match=message) as caught:
        make_loss(given)
    assert "\n" not in str(caught.value)
