import math

import numpy as np
import pytest
import torch

from gd_lightning.fitting import fit
from gd_lightning.levenberg_marquardt import LevenbergMarquardt
from gd_lightning.optim import SGD, Adam, Momentum, Nesterov, RMSprop
from gd_lightning.sweep import sweep

NEVER = {"loss": 0, "gradient": 0, "step": 0}


def same(member, alone, steps):
    """A member's history and parameters are those of a fit, to the last bit."""
    history, params, status = member
    taken = len(alone.rmse_history)
    assert history[:taken] == alone.rmse_history
    assert (status == "diverged") == (alone.status == "diverged")
    if status == "diverged":
        assert all(math.isnan(rmse) for rmse in history[taken:])
        assert params == alone.parameters
    elif taken == steps:
        assert history[-1] == alone.rmse
        assert params == alone.parameters
    else:  # alone it ends where it has arrived
        assert alone.status == status != "step limit"
        assert history[taken] == alone.rmse


def half_as_fast(params, lr):
    return Momentum(params, lr / 2, 0.5)


def members(found):
    return zip(found.rmse_history.tolist(), found.parameters, found.status, strict=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "rule",
    [SGD, Momentum, Nesterov, RMSprop, Adam, torch.optim.SGD, torch.optim.AdamW, half_as_fast],
)
def test_a_member_descends_as_if_alone(article, rule, dtype):
    """Some of these learning rates let SGD and Momentum diverge, the others go on as if nothing had happened."""
    lrs = [1e-7, 1e-5, 3e-5, 6e-5, 1e-3, 1.0, 1e6]
    found = sweep("quadratic", article.t, article.y, lrs=lrs, optimizer=rule, init=article.init, steps=60, dtype=dtype)
    for lr, member in zip(lrs, members(found), strict=True):
        arguments = {"init": article.init, "steps": 60, "dtype": dtype, "tolerance": NEVER}
        same(member, fit("quadratic", article.t, article.y, lr=lr, optimizer=rule, **arguments), 60)
    assert found.lrs == [lr / 2 if rule is half_as_fast else lr for lr in lrs]


@pytest.mark.parametrize(
    "more",
    [
        {"loss": "huber"},
        {"loss": "mae"},
        {"sigma": 0.5},
        {"parameters": {"width": {"min": 0.5}, "center": {"max": 0.9}}},
        {"parameters": {"amplitude": {"fixed": 2.5}, "center": {"expr": "2*width"}}},
    ],
)
def test_as_if_alone_with_losses_sigma_and_bounds(peak, more):
    init = {"width": 0.7} if "fixed" in str(more) else {"amplitude": 1, "center": 0, "width": 1}
    found = sweep("gaussian", *peak, lrs=[1e-3, 1e-2, 0.1, 1, 100], init=init, steps=40, **more)
    for lr, member in zip(found.lrs, members(found), strict=True):
        same(member, fit("gaussian", *peak, lr=lr, init=init, steps=40, tolerance=NEVER, **more), 40)


def test_rules_side_by_side(article):
    rules = [SGD, (Adam, 0.5), LevenbergMarquardt, torch.optim.SGD, (torch.optim.SGD, 1e-6)]
    found = sweep("quadratic", article.t, article.y, rules=rules, lr=2e-5, init=article.init, steps=50)
    assert found.labels[:3] == ["SGD", "Adam", "LevenbergMarquardt"]
    assert found.labels[3:] == ["torch.optim.SGD lr=2e-05", "torch.optim.SGD lr=1e-06"]
    assert found.lrs == [2e-5, 0.5, None, 2e-5, 1e-6]
    for i, rule in ((0, SGD), (1, Adam), (3, torch.optim.SGD), (4, torch.optim.SGD)):
        arguments = {"init": article.init, "steps": 50, "tolerance": NEVER}
        alone = fit("quadratic", article.t, article.y, lr=found.lrs[i], optimizer=rule, **arguments)
        same(list(members(found))[i], alone, 50)
    t, y = article.t.double().numpy(), article.y.double().numpy()
    best = np.polyfit(t, y, 2)
    assert found.rmse[2] == pytest.approx(np.sqrt(np.mean((np.polyval(best, t) - y) ** 2)), rel=1e-9)
    assert found.reachable.rmse == pytest.approx(found.rmse[2], rel=1e-9)
    assert list(found.parameters[2].values()) == pytest.approx(best, rel=1e-6)
    assert found.status[2] == "converged"
    assert found.best == 2
    assert found.settled[2] == 1
    assert found.guidance is None
    assert found.curve.params.dtype == torch.float32


def test_a_start_without_finite_loss_rests_and_the_others_descend(article):
    starts = [{"a": 1e30, "b": 0, "c": 0}, article.init]
    found = sweep("quadratic", article.t, article.y, starts=starts, lr=1e-5, steps=10)
    assert found.status == ["diverged", "step limit"]
    assert found.rmse_history[0].isnan().all()
    assert found.rmse_history[1, :10].tolist() == article.rmse
    assert found.parameters[0]["a"] == pytest.approx(1e30)
