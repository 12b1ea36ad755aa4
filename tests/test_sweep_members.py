import numpy as np
import pytest
import torch
from test_race import members, same

from gd_lightning.curve import initialize
from gd_lightning.fitting import fit
from gd_lightning.levenberg_marquardt import LevenbergMarquardt
from gd_lightning.optim import SGD, Adam, Momentum, Nesterov, RMSprop
from gd_lightning.sweep import sweep


def curvatures(t):
    """Of the loss of a quadratic, from NumPy: the Hessian of the mean of squares is 2/n X'X."""
    x = np.vander(t.double().numpy(), 3)
    return np.linalg.eigvalsh(2 * x.T @ x / len(t))


def test_the_learning_rates_that_are_tried_bracket_the_limit(article):
    found = sweep("quadratic", article.t, article.y, steps=5)
    limit = 2 / curvatures(article.t)[-1]
    assert len(found.lrs) == 30
    assert found.lrs[0] == pytest.approx(limit / 1000, rel=1e-2)
    assert found.lrs[-1] == pytest.approx(3 * limit, rel=1e-2)
    ratios = np.divide(found.lrs[1:], found.lrs[:-1])
    assert ratios == pytest.approx(3000 ** (1 / 29), rel=2e-2)
    assert found.labels == [f"lr={lr:g}" for lr in found.lrs]
    assert [float(f"{lr:.3g}") for lr in found.lrs] == found.lrs


@pytest.mark.parametrize("rule", [Adam, RMSprop, torch.optim.Adagrad])
def test_a_rule_whose_steps_are_lr_long_tries_from_too_short_to_the_whole_way(article, rule):
    found = sweep("quadratic", article.t, article.y, optimizer=rule, init=article.init, steps=100)
    best = np.polyfit(article.t.double().numpy(), article.y.double().numpy(), 2)
    way = np.abs(best - article.start.double().numpy()).max()
    assert found.limit is None
    assert found.lrs[0] == pytest.approx(0.1 * way / 100, rel=1e-2)
    assert found.lrs[-1] == pytest.approx(way, rel=1e-2)


def test_rules_without_a_learning_rate_have_one_that_suits_them(article):
    rules = [SGD, Momentum, Nesterov, RMSprop, Adam, torch.optim.NAdam]
    found = sweep("quadratic", article.t, article.y, rules=rules, init=article.init, steps=500)
    assert "diverged" not in found.status
    assert max(found.rmse[:3] + found.rmse[4:]) < 30  # from 75; RMSprop steps to and fro
    assert found.lrs[0] < 2 / curvatures(article.t)[-1]


def test_random_starts_are_the_article_s_and_come_from_the_seed(article):
    found = sweep("quadratic", article.t, article.y, starts=5, lr=1e-5, steps=20, seed=7)
    generator = torch.Generator().manual_seed(7)
    for i, initial in enumerate(found.initial_parameters):
        assert list(initial.values()) == initialize(3, generator).tolist()
        same(list(members(found))[i], fit("quadratic", article.t, article.y, lr=1e-5, steps=20, init=initial), 20)
    first = fit("quadratic", article.t, article.y, lr=1e-5, steps=20, seed=7)
    assert first.initial_parameters == found.initial_parameters[0]
    again = sweep("quadratic", article.t, article.y, starts=5, lr=1e-5, steps=20, seed=7)
    assert torch.equal(again.rmse_history, found.rmse_history)
    other = sweep("quadratic", article.t, article.y, starts=5, lr=1e-5, steps=20, seed=8)
    assert other.initial_parameters[0] != found.initial_parameters[0]


def test_starts_around_a_guess(peak):
    found = sweep("gaussian", *peak, starts=12, steps=20, parameters={"width": {"min": 0.1}})
    assert found.start == "guess"
    alone = fit("gaussian", *peak, parameters={"width": {"min": 0.1}}, lr=0.1, steps=1)
    assert found.initial_parameters[0] == alone.initial_parameters
    starts = [list(start.values()) for start in found.initial_parameters]
    assert len({tuple(start) for start in starts}) == 12
    assert min(start[2] for start in starts) >= 0.1
    assert np.std(starts, axis=0)[1] < 5  # a peak of width 0.6 is not looked for far away from the points


def test_starts_by_name(peak):
    starts = [{"center": -1, "width": 2}, {"center": 3}]
    found = sweep("gaussian", *peak, starts=starts, init={"amplitude": 1}, optimizer=LevenbergMarquardt, steps=50)
    assert found.initial_parameters == [
        {"amplitude": 1, "center": -1, "width": 2},
        {"amplitude": 1, "center": 3, "width": 2},
    ]
    assert found.lrs == [None, None]
