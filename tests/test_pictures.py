import math

import numpy as np
import pytest
import torch
from scipy.stats import f
from test_plots import entries, overlaps, step_numbers

from gd_lightning import fit
from gd_lightning.curve import Curve
from gd_lightning.errors import InputError
from gd_lightning.losses import mae, mse
from gd_lightning.pictures import descent_pictures
from gd_lightning.points import Points
from gd_lightning.rendering import png


def test_the_pictures_of_the_article_s_descent(article):
    curve, points = Curve("quadratic"), Points(article.t, article.y)
    columns = np.vander(article.t.double().numpy(), 3)
    best = torch.from_numpy(np.linalg.lstsq(columns, article.y.double().numpy(), rcond=None)[0])
    path, params = [(0, article.start)], article.start.double()
    for step in range(1, 11):  # params -= lr * 2/n X'(X params - y)
        rise = columns.T @ (columns @ params.numpy() - article.y.double().numpy())
        params = params - 1e-5 * 2 / 20 * torch.from_numpy(rise)
        path.append((step, params.float()))
    land, ways = descent_pictures(curve, points, mse, path, best, title="after 10 steps")
    assert entries(land) == ["step 0: 74.96", "step 10: 18.04", "best fit: 1.467"]
    assert land.axes[0].get_title() == "after 10 steps\nc on the plane of best fit, steps 0 and 10"
    assert [axes.get_title() for axes in ways.axes] == ["a", "b", "c"]
    assert step_numbers(land.axes[0]) == ["10", "0", "1"]  # the others are too near
    for figure in (land, ways):
        assert not overlaps(figure)
        assert len(png(figure)) < 60_000


def test_without_a_best_fit_or_a_finite_loss_there_is_the_path_alone(article):
    points, path = Points(article.t, article.y), [(0, torch.zeros(3)), (1, torch.ones(3))]
    land, ways = descent_pictures(Curve("quadratic"), points, mse, path, torch.full((3,), math.nan))
    assert land is None
    assert len(ways.axes) == 3
    assert len(ways.axes[0].lines) == 1
    assert descent_pictures(Curve("a*log(-1 - t) + b"), points, mse, [(0, torch.zeros(2))], torch.zeros(2))[0] is None


def test_fixed_parameters_have_no_panel_and_names_are_checked(article):
    curve = Curve("quadratic", {"b": {"fixed": -12}, "c": {"expr": "60*a"}})
    points, path = Points(article.t, article.y), [(0, torch.tensor([0.0, -12, 0])), (1, torch.tensor([0.7, -12, 42]))]
    best = torch.tensor([0.8, -12, 48])
    land, ways = descent_pictures(curve, points, mae, path, best)
    assert [axes.get_title() for axes in ways.axes] == ["a", "c"]
    assert land.axes[0].get_ylabel() == "loss"
    with pytest.raises(InputError, match="b is fixed or tied"):
        descent_pictures(curve, points, mae, path, best, names=["b"])


@pytest.mark.parametrize(("begin", "unit"), [(1.7e9, 10.0), (0.0, 1e50)])
def test_the_line_goes_through_all_of_t(begin, unit):
    """Seconds since 1970 have more digits than single precision holds, and large units do not fit into it."""
    t = begin + unit * np.arange(30)
    result = fit(
        "a*(t - t0)/unit + c", t, np.arange(30.0), parameters={"t0": {"fixed": begin}, "unit": {"fixed": unit}}
    )
    [line] = [line for line in result.plot().axes[0].lines if len(line.get_xdata()) > 100]
    x = np.asarray(line.get_xdata())
    assert (x[0], x[-1]) == (t[0], t[-1])
    assert np.diff(x) == pytest.approx((t[-1] - t[0]) / (len(x) - 1), rel=1e-3)
    assert np.asarray(line.get_ydata()) == pytest.approx((x - begin) / unit, abs=1e-6)


def test_the_picture_of_a_profile():
    """The curve meets the threshold where the interval ends; the tangent's parabola is 1 a standard error away."""
    rng = np.random.default_rng(3)
    t = np.linspace(0, 5, 15)
    found = fit("a*exp(-t/tau) + c", t, 3 * np.exp(-t / 2) + 1 + rng.normal(0, 0.2, 15))
    profile = found.profile(0.9)
    figure = profile.plot()
    assert [axes.get_xlabel() for axes in figure.axes] == ["a", "tau", "c"]
    assert "90 % profile-likelihood intervals" in figure.get_suptitle()
    assert entries(figure) == ["profile", "tangent (symmetric error)", "threshold", "end of the interval"]
    for axes, name in zip(figure.axes, found.parameters, strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        threshold = lines["threshold"].get_ydata()[0]
        assert threshold == pytest.approx(f.ppf(0.9, 1, 12))
        ends = sorted(line.get_xdata()[0] for line in axes.lines if line.get_label() == "end of the interval")
        assert ends == pytest.approx(profile.intervals[name])
        x, rise = lines["profile"].get_data()
        assert np.interp(ends, x, rise) == pytest.approx(threshold, rel=0.05)
        x, rise = lines["tangent (symmetric error)"].get_data()
        right = x >= found.parameters[name]
        one_error = np.interp(found.parameters[name] + found.standard_errors[name], x[right], rise[right])
        assert one_error == pytest.approx(1, rel=0.05)
    assert not overlaps(figure)


def test_several_profiles_are_no_picture():
    t = np.linspace(0, 5, 15)
    found = fit("linear", t, np.stack([t + np.sin(9 * t), t - np.sin(9 * t)]))
    with pytest.raises(InputError, match="profile: there are several series; expected one to draw"):
        found.profile().plot()
