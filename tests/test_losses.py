import math

import pytest
import torch
from torch.nn.functional import mse_loss
from torchmetrics.functional import mean_squared_error

from gd_lightning.losses import mse, rmse


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
    mean = (torch.tensor(0.1) ** 2 / 2).item()
    assert value == pytest.approx(math.sqrt(mean), rel=1e-15)
    assert value != float(torch.tensor(mean).sqrt())
