"""The landscape of a descent, against NumPy: its losses, its lowest point, and which two parameters it is over."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from gd_lightning.curve import Curve
from gd_lightning.descent import descend
from gd_lightning.errors import InputError
from gd_lightning.landscape import landscape
from gd_lightning.losses import cauchy, huber, mae, mse
from gd_lightning.optim import SGD
from gd_lightning.points import Points

DOUBLE = torch.float64
T = torch.linspace(-3, 4, 25, dtype=DOUBLE)
SIX = "h1*exp(-((t - c1)/w1)**2) + h2*exp(-((t - c2)/w2)**2)"


def numbers(*values):
    return torch.tensor(values, dtype=DOUBLE)


def walk(curve, points, start, lr, steps):
    """Plain gradient descent, every step of it."""
    curve.start(start)
    rule = SGD([curve.params], lr=lr)
    path = [(0, curve.params.detach().clone())]
    for step in range(1, steps + 1):
        descend(curve, rule, *points)
        path.append((step, curve.params.detach().clone()))
    return path


def straight(start, end, steps=5):
    return [(i, start + (end - start) * i / steps) for i in range(steps + 1)]


@pytest.fixture(scope="module")
def descent(article):
    """The article's ten steps, and the best quadratic by NumPy."""
    curve = Curve("quadratic")
    path = walk(curve, Points(article.t, article.y), article.start, 1e-5, 10)
    columns = np.vander(article.t.double().numpy(), 3)
    best = np.linalg.lstsq(columns, article.y.double().numpy(), rcond=None)[0]
    return curve, Points(article.t, article.y), path, torch.from_numpy(best)


def mse_of(t, y, a, b, c):
    return np.mean((a[..., None] * t**2 + b[..., None] * t + c[..., None] - y) ** 2, axis=-1)


def on_the_plane(land, path, best, chosen, other):
    """By Cramer's rule, the third parameter on the plane through the best fit, the start and the end."""
    best = np.asarray(best)
    start, end = (np.asarray(params.double()) - best for _, params in (path[0], path[-1]))
    slopes = np.linalg.solve([start[chosen], end[chosen]], [start[other], end[other]])
    x, y = np.meshgrid(*(axis.numpy() for axis in land.axes), indexing="ij")
    return x, y, best[other] + slopes[0] * (x - best[chosen[0]]) + slopes[1] * (y - best[chosen[1]])


def test_the_losses_are_numpy_s_on_the_plane_through_start_end_and_best_fit(article, descent):
    curve, points, path, best = descent
    land = landscape(curve, points, mse, path, best)
    assert (land.names, land.others, set(land.through)) == (("a", "b"), ("c",), {0, 10})
    a, b, c = on_the_plane(land, path, best, [0, 1], 2)
    expected = mse_of(article.t.double().numpy(), article.y.double().numpy(), a, b, c)
    assert np.allclose(land.loss, expected, rtol=1e-9)
    assert land.loss.dtype == DOUBLE


def test_the_path_has_the_article_s_losses(article, descent):
    curve, points, path, best = descent
    land = landscape(curve, points, mse, path, best)
    assert land.path_loss[:10].sqrt().tolist() == pytest.approx(article.rmse, rel=1e-6)
    assert math.sqrt(land.optimum_loss) == pytest.approx(1.4673, abs=1e-4)
    assert np.array_equal(land.path, np.array([params[:2].double().numpy() for _, params in path]))
    assert land.steps == tuple(range(11))


def test_on_the_plane_the_path_has_its_own_loss_and_with_the_others_at_the_best_fit_it_has_not(article, descent):
    """Which is why they are not held there: the article's descent would seem to end higher than after one step."""
    curve, points, path, best = descent
    land = landscape(curve, points, mse, path, best, size=401)
    places = [
        int((axis - value).abs().argmin()) for axis, value in zip(land.axes, path[-1][1][:2].double(), strict=True)
    ]
    t, y = article.t.double().numpy(), article.y.double().numpy()
    assert math.sqrt(land.loss[places[0], places[1]]) == pytest.approx(18.04, rel=0.05)
    held = [mse_of(t, y, *params[:2].double().numpy(), best[2].numpy()) for _, params in path]
    assert held[10] > 2 * held[1]


def test_the_pair_shows_the_plane_most_nearly_face_on(article, descent):
    curve, points, path, best = descent
    walked = np.array([params.double().numpy() for _, params in path])
    extent = np.ptp(np.vstack([walked, best]), axis=0)
    start, end = (walked[[0, -1]] - best.numpy()) / extent
    area = {
        pair: abs(start[pair[0]] * end[pair[1]] - start[pair[1]] * end[pair[0]]) for pair in combinations(range(3), 2)
    }
    assert area[0, 1] > 0.9 * max(area.values())
    assert area[1, 2] < 0.01 * area[0, 1]
    assert landscape(curve, points, mse, path, best).names == ("a", "b")


def test_the_path_falls_down_a_wall_into_a_valley_that_is_long_and_narrow(descent):
    """What lies no higher than the end is a strip from there to the best fit, five times as long as it is wide."""
    curve, points, path, best = descent
    land = landscape(curve, points, mse, path, best)
    floor = land.loss < 1.05 * land.path_loss[-1]
    a, b = (axis.numpy()[places] for axis, places in zip(land.axes, floor.nonzero().T, strict=True))
    x, y = ((v - v.mean()) / np.ptp(axis.numpy()) for v, axis in ((a, land.axes[0]), (b, land.axes[1])))
    short, long = np.sqrt(np.linalg.eigvalsh(np.cov(x, y)))
    assert long > 5 * short
    assert b.max() > -1.2
    assert b.min() < -12.2


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a"), ("c", "a"), ("a", "c")])
def test_any_pair_can_be_asked_for_in_any_order(article, descent, names):
    curve, points, path, best = descent
    land = landscape(curve, points, mse, path, best, names=names, size=31)
    chosen = ["abc".index(name) for name in names]
    [other] = {0, 1, 2} - set(chosen)
    x, y, z = on_the_plane(land, path, best, chosen, other)
    ordered = [value for _, value in sorted(zip([*chosen, other], (x, y, z), strict=True), key=lambda pair: pair[0])]
    assert np.allclose(land.loss, mse_of(article.t.double().numpy(), article.y.double().numpy(), *ordered), rtol=1e-9)
    assert land.names == names


def test_along_a_pair_that_stood_still_the_plane_goes_through_the_end_only(article, descent):
    curve, points, path, best = descent
    land = landscape(curve, points, mse, path, best, names=("b", "c"), size=301)
    assert land.through == (10,)
    places = [int((axis - value).abs().argmin()) for axis, value in zip(land.axes, land.path[-1], strict=True)]
    assert math.sqrt(land.loss[places[0], places[1]]) == pytest.approx(18.04, rel=0.1)


CASES = {
    "one": ("a*t", [2.0], [-1.0]),
    "two": ("linear", [2.0, 1.0], [0.0, -3.0]),
    "three": ("gaussian", [2.0, 1.0, 0.8], [1.0, 0.0, 1.5]),
    "six": (SIX, [2.0, 1.0, 0.8, 1.0, -2.0, 0.5], [1.0, 0.5, 1.0, 1.5, -1.5, 1.0]),
}


@pytest.mark.parametrize("loss", [mse, mae, huber, cauchy])
@pytest.mark.parametrize(("function", "best", "start"), CASES.values(), ids=CASES)
def test_the_lowest_point_is_the_best_fit(function, best, start, loss):
    curve = Curve(function).double()
    best, start = numbers(*best), numbers(*start)
    targets = curve.evaluate(T, best).detach()
    for path in ([(0, start)], straight(start, best), straight(start, start + 0.7 * (best - start)), [(0, best)]):
        land = landscape(curve, Points(T, targets), loss, path, best, size=61)
        assert land.loss.shape == (61,) * len(land.names)
        assert land.optimum_loss == 0
        lowest = np.unravel_index(int(land.loss.argmin()), land.loss.shape)
        for axis, place, value, walked in zip(land.axes, lowest, land.optimum, land.path.T, strict=True):
            step = (axis[1] - axis[0]).item()
            assert abs(axis[place].item() - value.item()) <= 2 * step
            assert axis[0] < min(value, walked.min())
            assert max(value, walked.max()) < axis[-1]
        assert land.can_be_drawn
        assert land.is_rmse is (loss is mse)


def test_the_losses_of_a_gaussian_are_numpy_s():
    curve = Curve("gaussian")
    best, start = numbers(2.0, 1.0, 0.8), torch.tensor([1.0, -0.5, 2.0])
    noise = 0.1 * torch.randn(25, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    targets = curve.evaluate(T, best).detach() + noise
    path = walk(curve, Points(T.float(), targets.float()), start, 0.3, 6)
    land = landscape(curve, Points(T, targets), mse, path, best, size=21)
    chosen = [curve.names.index(name) for name in land.names]
    [other] = {0, 1, 2} - set(chosen)
    values = dict(zip([*chosen, other], on_the_plane_through(land, dict(path), best, chosen, other), strict=True))
    amplitude, center, width = (values[i][..., None] for i in range(3))
    preds = amplitude * np.exp(-(((T.numpy() - center) / width) ** 2) / 2)
    assert np.allclose(land.loss, np.mean((preds - targets.numpy()) ** 2, axis=-1), rtol=1e-9)


def on_the_plane_through(land, path, best, chosen, other):
    first, second = land.through
    return on_the_plane(land, [(0, path[first]), (1, path[second])], best, chosen, other)


def test_sigma_weighs_and_what_is_no_point_counts_nothing():
    curve = Curve("linear").double()
    sigma = torch.linspace(0.5, 2, 25, dtype=DOUBLE)
    targets = 2 * T + 1 + T.sin()
    padded = Points(
        torch.cat([T, T[:3]]),
        torch.cat([targets, numbers(math.nan, 1e9, 0)]),
        torch.cat([sigma, numbers(*[math.inf] * 3)]),
    )
    path, best = straight(numbers(0, 0), numbers(1.5, 1)), numbers(2, 1)
    land = landscape(curve, padded, mse, path, best, size=11)
    a, b = (values.numpy()[..., None] for values in torch.meshgrid(*land.axes, indexing="ij"))
    expected = np.mean(((a * T.numpy() + b - targets.numpy()) / sigma.numpy()) ** 2, axis=-1)
    assert np.allclose(land.loss, expected, rtol=1e-12)
    assert not land.is_rmse
    assert torch.equal(land.loss, landscape(curve, Points(T, targets, sigma), mse, path, best, size=11).loss)


def test_bounds_end_the_axes_and_hold_on_the_plane():
    curve = Curve("gaussian", {"amplitude": {"min": 0, "max": 2.1}, "width": {"min": 0.7}}).double()
    best = numbers(2, 1, 0.8)
    start = numbers(0.1, -1, 0.75)
    seen = []

    def watched(preds, targets, sigma):
        seen.append(preds)
        return mse(preds, targets, sigma)

    land = landscape(curve, Points(T, curve.evaluate(T, best).detach()), watched, straight(start, best)[:4], best)
    for name, axis in zip(land.names, land.axes, strict=True):
        demand = curve.demands.all[curve.names.index(name)]
        assert axis[0] >= demand.min
        assert axis[-1] <= demand.max
    assert torch.cat(seen).max() <= 2.1
    assert torch.isfinite(land.loss).all()


def test_fixed_and_tied_parameters_are_never_chosen_and_stay_what_they_are():
    curve = Curve("a*t**2 + b*t + c + d*t**3", {"b": {"expr": "2*a"}, "d": {"fixed": 0.5}}).double()
    best, start = numbers(1, 2, 3, 0.5), numbers(-1, -2, 0, 0.5)
    ordered = {name: i for i, name in enumerate(curve.names)}
    best, start = (torch.stack([v["abcd".index(n)] for n in ordered]) for v in (best, start))
    targets = curve.evaluate(T, best).detach()
    land = landscape(curve, Points(T, targets), mse, straight(start, 0.3 * best + 0.7 * start), best, size=11)
    assert (land.names, land.others) == (("a", "c"), ())
    a, c = (values.numpy()[..., None] for values in torch.meshgrid(*land.axes, indexing="ij"))
    t = T.numpy()
    expected = np.mean((a * t**2 + 2 * a * t + c + 0.5 * t**3 - targets.numpy()) ** 2, axis=-1)
    assert np.allclose(land.loss, expected, rtol=1e-9)


def test_with_one_free_parameter_there_is_one_axis():
    curve = Curve("linear", {"b": {"fixed": 1}})
    land = landscape(
        curve, Points(T, 2 * T + 1), mse, straight(numbers(0, 1), numbers(1, 1)), numbers(2, 1), names=["a"]
    )
    expected = np.mean((land.axes[0].numpy()[:, None] * T.numpy() - 2 * T.numpy()) ** 2, axis=-1)
    assert np.allclose(land.loss, expected, rtol=1e-9)
    assert (land.names, land.loss.shape, land.path.shape) == (("a",), (101,), (6, 1))


def test_several_predictors():
    curve = Curve("a*x1 + b*x2", predictors=["x1", "x2"]).double()
    x2 = T.cos()
    land = landscape(
        curve, Points((T, x2), T - x2), mse, straight(numbers(0, 0), numbers(1, 0)), numbers(1, -1), size=9
    )
    a, b = (values.numpy()[..., None] for values in torch.meshgrid(*land.axes, indexing="ij"))
    residual = a * T.numpy() + b * x2.numpy() - (T - x2).numpy()
    assert np.allclose(land.loss, np.mean(residual**2, axis=-1), rtol=1e-9)


def test_single_precision_is_drawn_in_double():
    single, double = Curve("gaussian"), Curve("gaussian").double()
    best = torch.tensor([2.0, 1.0, 0.75])
    start = torch.tensor([1.0, 0.0, 1.5])
    points = Points(T.float(), double.evaluate(T, best.double()).float().detach())
    path = straight(start, best)
    land = landscape(single, points, mse, path, best)
    same = landscape(double, points.to(T), mse, [(i, params.double()) for i, params in path], best.double())
    assert land.loss.dtype == DOUBLE
    assert land.names == same.names
    assert torch.allclose(land.loss, same.loss, rtol=1e-6)


def test_where_there_is_no_loss_there_is_none_and_the_rest_is_there():
    curve = Curve("a*log(t - b)").double()
    t = torch.linspace(1, 20, 20, dtype=DOUBLE)
    best = numbers(2, 0.5)
    land = landscape(curve, Points(t, 2 * torch.log(t - 0.5)), mse, straight(numbers(1, -9), best), best)
    beyond = land.axes[1] > 1
    assert beyond.any()
    assert not torch.isfinite(land.loss[:, beyond]).any()
    assert torch.isfinite(land.loss[:, ~beyond]).all()
    assert land.can_be_drawn


def test_parameters_may_differ_by_a_trillion():
    curve = Curve("a*t + b").double()
    t, best = T * 1e-12, numbers(2e12, 1)
    land = landscape(curve, Points(t, 2 * T + 1), mse, straight(numbers(-1e12, 0), numbers(1e12, 0.2)), best, size=31)
    same = landscape(
        curve, Points(T, 2 * T + 1), mse, straight(numbers(-1, 0), numbers(1, 0.2)), numbers(2, 1), size=31
    )
    assert torch.allclose(land.loss, same.loss, rtol=1e-9)
    assert torch.allclose(land.axes[0], same.axes[0] * 1e12)


def test_a_path_that_diverges_leaves_the_picture(article, descent):
    curve, points, _, best = descent
    path = walk(Curve("quadratic"), points, article.start, 6e-5, 30)
    path.append((31, torch.tensor([math.inf, math.nan, 1e30])))
    land = landscape(curve, points, mse, path, best)
    assert land.path.isfinite().all(dim=1).sum() == 31
    assert land.path[:, 0].nan_to_num(0.0).abs().max() > 100 * land.axes[0].abs().max()
    assert land.can_be_drawn


def test_there_is_a_landscape_around_the_best_fit_where_the_path_has_no_finite_point(descent):
    curve, points, _, best = descent
    land = landscape(curve, points, mse, [(0, torch.full((3,), math.nan))], best)
    assert land.through == ()
    assert land.can_be_drawn


@pytest.mark.parametrize("scale", [1e-200, 1e200, 1e307])
def test_what_double_precision_cannot_hold_is_not_drawn_or_drawn(scale):
    curve = Curve("linear").double()
    best = numbers(1, 1) * scale
    land = landscape(curve, Points(T, T), mse, [(0, numbers(0.5, 0) * scale)], best, size=11)
    assert land.can_be_drawn is (scale < 1)  # squares of the others overflow


def test_very_many_points_are_thinned():
    t = torch.linspace(-3, 4, 100_000, dtype=DOUBLE)
    most = 0

    def watched(preds, targets, sigma):
        nonlocal most
        most = max(most, preds.numel())
        return mse(preds, targets, sigma)

    curve, best = Curve("linear").double(), numbers(2, 1)
    land = landscape(curve, Points(t, 2 * t + 1), watched, straight(numbers(0, 0), best), best)
    assert most * 8 <= 4_000_000
    a, b = (values.numpy() for values in torch.meshgrid(*land.axes, indexing="ij"))
    t = t.numpy()
    exact = np.mean(t**2) * (a - 2) ** 2 + 2 * np.mean(t) * (a - 2) * (b - 1) + (b - 1) ** 2
    assert np.allclose(land.loss, exact, rtol=0.1, atol=1e-12)


def test_a_function_that_takes_one_set_of_parameters_at_a_time():
    def stubborn(t, a, b):
        return t * (a if a > 0 else -a) + b

    curve = Curve(stubborn).double()
    land = landscape(curve, Points(T, T), mse, straight(numbers(-2, 0), numbers(1, 1)), numbers(1, 0), size=7)
    a, b = (values.numpy()[..., None] for values in torch.meshgrid(*land.axes, indexing="ij"))
    assert np.allclose(land.loss, np.mean((np.abs(a) * T.numpy() + b - T.numpy()) ** 2, axis=-1), rtol=1e-9)


def test_nothing_is_changed(descent):
    curve, points, path, best = descent
    before = curve.params.detach().clone(), best.clone(), [params.clone() for _, params in path]
    assert not landscape(curve, points, mse, path, best).loss.requires_grad
    assert torch.equal(curve.params, before[0])
    assert torch.equal(best, before[1])
    assert all(torch.equal(params, old) for (_, params), old in zip(path, before[2], strict=True))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "center"), "gaussian has no parameter 'a'; choose from amplitude, width"),
        (("amplitud", "width"), "no parameter 'amplitud'; did you mean 'amplitude'?"),
        (("amplitude", "center"), "center is fixed or tied, expected a free parameter"),
        (("width", "width"), "given 'width' twice, expected two parameters; choose from amplitude, width"),
        (("width",), "expected two of the free, such as amplitude, width"),
        (("amplitude", "center", "width"), "expected two of the free"),
        ("ab", "given 'ab', expected two"),
    ],
)
def test_names_that_cannot_be(names, message):
    curve = Curve("gaussian", {"center": {"fixed": 1}}).double()
    best = numbers(2, 1, 0.8)
    with pytest.raises(InputError, match=r"^landscape: .*") as error:
        landscape(curve, Points(T, T), mse, [(0, best)], best, names=names)
    assert message in str(error.value)


def test_other_input_that_cannot_be():
    curve, best = Curve("linear").double(), numbers(2, 1)
    with pytest.raises(InputError, match="expected one"):
        landscape(curve, Points(T, T.expand(3, -1)), mse, [(0, best)], best)
    with pytest.raises(InputError, match="without points"):
        landscape(curve, Points(T, T), mse, [], best)
    with pytest.raises(InputError, match="expected finite numbers"):
        landscape(curve, Points(T, T), mse, [(0, best)], numbers(math.nan, 1))
    with pytest.raises(InputError, match="expected one of the free, such as a"):
        landscape(Curve("linear", {"b": {"fixed": 1}}), Points(T, T), mse, [(0, best)], best, names=("a", "b"))
