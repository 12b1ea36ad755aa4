"""Profile-likelihood intervals beside lmfit's conf_interval, iminuit's MINOS, and Student's t for what is linear."""

import lmfit
import numpy as np
import pytest
import torch
from conftest import ROOT
from iminuit import Minuit
from scipy import stats
from scipy.optimize import minimize_scalar

from gd_lightning.curve import Curve
from gd_lightning.errors import InputError
from gd_lightning.levenberg_marquardt import minimum
from gd_lightning.losses import mae, make_loss, mse
from gd_lightning.points import Points, stack
from gd_lightning.profile import profile

DOUBLE = torch.float64


def by_numpy(t, a, b):
    return a * np.exp(-b * t)


CASES = {
    "gaussian": (
        np.linspace(0, 10, 30),
        lambda t, amplitude, center, width: amplitude * np.exp(-((t - center) ** 2) / (2 * width**2)),
        (2.0, 4.5, 1.2),
    ),
    "exponential_decay": (
        np.linspace(0, 4, 9),
        lambda t, amplitude, tau, offset: amplitude * np.exp(-t / tau) + offset,
        (3.0, 1.2, 0.5),
    ),
    "michaelis_menten": (
        np.array([0.1, 0.3, 0.6, 1.0, 2.0, 4.0]),
        lambda t, maximum, half: maximum * t / (half + t),
        (3.0, 1.0),
    ),
    "linear": (np.linspace(0, 5, 8), lambda t, a, b: a * t + b, (2.0, 1.0)),
    "a*exp(-b*t)": (np.linspace(0, 3, 7), by_numpy, (2.0, 0.8)),
}


def noisy(name, seed=1, noise=0.1):
    t, function, truth = CASES[name]
    return t, function, function(t, *truth) + noise * np.random.default_rng(seed).normal(size=len(t)), truth


def fitted(function, t, y, start, sigma=None, demands=None, loss=mse):
    curve = Curve(function, demands).to(DOUBLE)
    points = Points(torch.as_tensor(t), torch.as_tensor(y), None if sigma is None else torch.as_tensor(sigma))
    curve.start(torch.as_tensor(start, dtype=DOUBLE).expand(*points.batch, -1))
    curve.set_params(minimum(curve, points, loss, curve.params.detach()).params)
    return curve, points


def named(curve):
    return dict(zip(curve.names, curve.params.tolist(), strict=True))


@pytest.mark.parametrize("level", [0.6827, 0.95])
@pytest.mark.parametrize("weighs", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("name", CASES)
def test_relative_sigma_beside_lmfit(name, weighs, level):
    t, function, y, truth = noisy(name)
    sigma = 0.05 + 0.05 * np.sin(t) ** 2 if weighs else None
    curve, points = fitted(name, t, y, truth, sigma)
    found = profile(curve, points, level=level)
    best = lmfit.Model(function).fit(y, t=t, weights=None if sigma is None else 1 / sigma, **named(curve))
    expected = lmfit.conf_interval(best, best, sigmas=[level])
    for parameter, (low, high) in found.intervals.items():
        _, (_, middle), _ = expected[parameter]
        for end, side in zip((low, high), expected[parameter][::2], strict=True):
            assert end - middle == pytest.approx(side[1] - middle, rel=1e-4)
    assert found.messages == []


@pytest.mark.parametrize("name", CASES)
def test_absolute_sigma_beside_minos(name):
    t, function, y, truth = noisy(name)
    sigma = 0.08 + 0.02 * np.cos(t)
    curve, points = fitted(name, t, y, truth, sigma)
    found = profile(curve, points, level=0.9, absolute_sigma=True)
    minuit = Minuit(lambda *p: (((function(t, *p) - y) / sigma) ** 2).sum(), *named(curve).values(), name=curve.names)
    minuit.errordef, minuit.strategy, minuit.tol = 1, 2, 1e-5
    minuit.migrad().minos(cl=0.9)
    for parameter, (low, high) in found.intervals.items():
        error, middle = minuit.merrors[parameter], minuit.values[parameter]
        assert low - middle == pytest.approx(error.lower, rel=1e-3)
        assert high - middle == pytest.approx(error.upper, rel=1e-3)


@pytest.mark.parametrize("absolute", [False, True])
def test_linear_functions_have_the_interval_of_student_or_gauss(absolute):
    rng = np.random.default_rng(2)
    t = np.linspace(-1, 2, 15)
    sigma = rng.uniform(0.2, 0.5, 15)
    y = t**2 - t + sigma * rng.normal(size=15)
    found = profile(*fitted("quadratic", t, y, [0.0, 0.0, 0.0], sigma), level=0.99, absolute_sigma=absolute)
    columns = np.stack([t**2, t, t**0], axis=-1) / sigma[:, None]
    best, [chi2], *_ = np.linalg.lstsq(columns, y / sigma, rcond=None)
    error = np.sqrt(np.diag(np.linalg.inv(columns.T @ columns)) * (1 if absolute else chi2 / 12))
    reach = stats.norm.ppf(0.995) if absolute else stats.t.ppf(0.995, 12)
    np.testing.assert_allclose(
        list(found.intervals.values()), np.stack([best - reach * error, best + reach * error], -1), rtol=1e-6
    )


def test_one_parameter_alone():
    t = np.linspace(0, 2, 9)
    y = np.exp(-0.7 * t) + 0.1 * np.cos(9 * t)
    found = profile(*fitted("exp(-b*t)", t, y, [1.0]))
    chi2 = lambda b: np.square(np.exp(-b * t) - y).sum()  # noqa: E731
    best = minimize_scalar(chi2, (0.5, 1), tol=1e-12)
    for end in found.intervals["b"]:
        assert chi2(end) == pytest.approx(best.fun * (1 + stats.f.ppf(0.95, 1, 8) / 8), rel=1e-6)


# Several series


def test_each_series_of_a_batch_is_as_if_alone():
    t, function, _, truth = noisy("exponential_decay")
    rng = np.random.default_rng(3)
    y = function(t, *truth) + 0.1 * rng.normal(size=(2, 3, 9))
    found = profile(*fitted("exponential_decay", t, y, truth))
    for i in range(2):
        for k in range(3):
            alone = profile(*fitted("exponential_decay", t, y[i, k], truth))
            for name, ends in alone.intervals.items():
                np.testing.assert_allclose([one[i, k] for one in found.intervals[name]], ends, rtol=1e-5)


def test_series_of_unequal_lengths():
    t, _, y, truth = noisy("gaussian")
    series = [Points(torch.from_numpy(t[:n]), torch.from_numpy(y[:n])) for n in (30, 22)]
    curve = Curve("gaussian").to(DOUBLE)
    curve.start(torch.tensor([truth] * 2, dtype=DOUBLE))
    found = profile(curve, stack(series))
    for i, n in enumerate((30, 22)):
        alone = profile(*fitted("gaussian", t[:n], y[:n], truth))
        for name, ends in alone.intervals.items():
            np.testing.assert_allclose([one[i] for one in found.intervals[name]], ends, rtol=1e-5)


# Ends that are none


def test_a_side_that_meets_a_bound_ends_there():
    t, _, y, truth = noisy("exponential_decay")
    free = profile(*fitted("exponential_decay", t, y, truth)).intervals
    demands = {"tau": {"max": 1.4}, "offset": {"min": 0.4}}
    curve, points = fitted("exponential_decay", t, y, truth, demands=demands)
    found = profile(curve, points).intervals
    assert free["tau"][1] > 1.4
    assert found["tau"][1] == 1.4
    assert found["offset"][0] == 0.4
    # lmfit stops the others at their bounds, too
    model = lmfit.Model(CASES["exponential_decay"][1])
    params = model.make_params(**named(curve))
    params["tau"].max, params["offset"].min = 1.4, 0.4
    best = model.fit(y, t=t, params=params)
    expected = lmfit.conf_interval(best, best, ["amplitude"], sigmas=[0.95])["amplitude"]
    np.testing.assert_allclose(found["amplitude"], [expected[0][1], expected[2][1]], rtol=1e-3)


def test_a_fit_at_its_bound_has_one_side():
    t, _, y, _ = noisy("linear")
    found = profile(*fitted("linear", t, y, [1.0, 1.0], demands={"a": {"max": 1.9}})).intervals
    assert found["a"][1] == 1.9
    assert found["a"][0] < 1.9


def test_what_never_reaches_the_threshold_is_infinite():
    t = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    y = 3 * t / (1 + t) + 0.1 * np.array([0.5, -1.0, 1.0, -0.6, 0.3])
    curve, points = fitted("michaelis_menten", t, y, [3.0, 1.0])
    found = profile(curve, points).intervals
    # with half and maximum beyond all bounds a straight line through 0 is left, which is not bad enough
    line = np.square(y - t * (t @ y) / (t @ t)).sum()
    least = np.square(curve(points.t).detach().numpy() - y).sum()
    assert least < line < least * (1 + stats.f.ppf(0.95, 1, 3) / 3)
    assert found["maximum"][1] == found["half"][1] == np.inf
    # below, too, a line is near, but there is a wall on the way to it
    for name, low in (("maximum", found["maximum"][0]), ("half", found["half"][0])):
        held = Curve("michaelis_menten", {name: {"fixed": low}}).to(DOUBLE)
        held.start(torch.tensor([low, 0.2] if name == "maximum" else [1.0, low], dtype=DOUBLE))
        total = minimum(held, points, mse, held.params.detach()).loss.item() * 5
        assert total == pytest.approx(least * (1 + stats.f.ppf(0.95, 1, 3) / 3), rel=1e-5)


@pytest.mark.parametrize(("function", "open_"), [("a*b*t + c", "ab"), ("a + b + c*t", "ab")])
def test_what_the_data_do_not_determine_is_open_and_spoils_no_other(function, open_):
    t, _, y, _ = noisy("linear")
    found = profile(*fitted(function, t, y, [1.0, 1.0, 1.0])).intervals
    for name in open_:
        assert found[name] == (-np.inf, np.inf)
    columns = np.stack([t, t**0] if "c*t" in function else [t**0, t], axis=-1)
    best, [chi2], *_ = np.linalg.lstsq(columns, y, rcond=None)
    dof = len(t) - 2  # of the three parameters the data tell two
    error = np.sqrt(np.linalg.inv(columns.T @ columns)[0, 0] * chi2 / dof)
    np.testing.assert_allclose(found["c"], best[0] + stats.t.ppf([0.025, 0.975], dof) * error, rtol=1e-5)


def test_fixed_and_tied_parameters():
    t, _, y, _ = noisy("linear")
    demands = {"b": {"fixed": 1.25}, "c": {"expr": "a/10"}}
    curve, points = fitted("a*t + b + c*t**2", t, y, [2.0, 1.25, 0.2], demands=demands)
    found = profile(curve, points).intervals
    assert found["b"] == (1.25, 1.25)
    assert np.isnan(found["c"]).all()
    column = t + t**2 / 10
    best = column @ (y - 1.25) / (column @ column)
    error = np.sqrt(np.square(y - 1.25 - best * column).sum() / 7 / (column @ column))
    np.testing.assert_allclose(found["a"], best + stats.t.ppf([0.025, 0.975], 7) * error, rtol=1e-6)


def test_data_that_are_fitted_exactly_leave_no_doubt():
    t = np.arange(5.0)
    found = profile(*fitted("linear", t, 2 * t + 1, [1.0, 0.0]))
    np.testing.assert_allclose([*found.intervals["a"], *found.intervals["b"]], [2, 2, 1, 1], rtol=1e-12)
    assert found.messages == []


# What is told


def test_a_lower_minimum_is_told_of():
    t = np.linspace(0, 10, 60)
    y = 2 * np.exp(-((t - 7) ** 2)) + 1.5 * np.exp(-((t - 3) ** 2)) + 0.3 * np.random.default_rng(0).normal(size=60)
    curve, points = fitted("amplitude*exp(-(t - center)**2)", t, y, [1.5, 3.0])
    assert named(curve)["center"] == pytest.approx(3, abs=0.3)
    found = profile(curve, points, level=1 - 1e-9)
    [message] = found.messages
    assert "lower minimum" in message
    assert "center=7.0" in message or "center=6.9" in message


def test_a_fit_that_has_not_arrived_is_told_of():
    t, _, y, truth = noisy("gaussian")
    curve, points = fitted("gaussian", t, y, truth)
    expected = profile(curve, points).intervals
    curve.set_params(curve.params * 1.05)
    found = profile(curve, points)
    assert "has not arrived" in found.messages[0]
    for name, ends in expected.items():
        np.testing.assert_allclose(found.intervals[name], ends, rtol=1e-5)


# Profiles for drawing


@pytest.mark.parametrize("absolute", [False, True])
def test_curves_beside_refits_by_the_careful_solver(absolute):
    t, _, y, truth = noisy("exponential_decay")
    sigma = np.full(9, 0.1)
    curve, points = fitted("exponential_decay", t, y, truth, sigma)
    found = profile(curve, points, absolute_sigma=absolute)
    curves = found.curves(21)
    assert list(curves) == ["amplitude", "tau", "offset"]
    best = minimum(curve, points, mse, curve.params.detach()).loss.item() * 9
    for name, (values, rise, threshold) in curves.items():
        low, high = found.intervals[name]
        assert values.shape == rise.shape == (21,)
        assert (values.diff() > 0).all()
        assert values[0] < low < high < values[-1]
        assert rise[10] == 0.0
        assert threshold == pytest.approx(stats.chi2.ppf(0.95, 1) if absolute else stats.f.ppf(0.95, 1, 6))
        for i in (0, 4, 13, 20):
            held = Curve("exponential_decay", {name: {"fixed": values[i].item()}}).to(DOUBLE)
            start = curve.params.detach().clone()
            start[curve.names.index(name)] = values[i]
            held.start(start)
            total = minimum(held, points, mse, held.params.detach()).loss.item() * 9
            expected = (total - best) / (1 if absolute else best / 6)
            assert rise[i].item() == pytest.approx(expected, rel=1e-5)


def test_curves_of_several_series_and_open_sides():
    t, _, y, _ = noisy("linear")
    curve, points = fitted("a + b + c*t", t, np.stack([y, 2 * y]), [1.0, 1.0, 1.0])
    found = profile(curve, points)
    values, rise, threshold = found.curve("a", 11)
    assert values.shape == rise.shape == (2, 11)
    assert threshold.shape == (2,)
    torch.testing.assert_close(rise, torch.zeros_like(rise), rtol=0, atol=1e-6)
    assert found.curve("c", 11).rise[:, [0, -1]].min() > threshold.max()


# Robust losses and refusals


def test_a_robust_loss_goes_by_its_measure():
    t, function, y, truth = noisy("linear")
    y[3] += 3.0
    measure = make_loss("huber(0.2)")
    curve, points = fitted("linear", t, y, truth, loss=measure)
    low, high = profile(curve, points, measure).intervals["a"]

    def least(a):
        def huber(b):
            size = abs(function(t, a, b) - y)
            return np.where(size <= 0.2, size**2, 0.4 * size - 0.04).sum()

        return minimize_scalar(huber, (0, 2), tol=1e-10).fun

    best = least(named(curve)["a"])
    for end in (low, high):
        assert least(end) / best - 1 == pytest.approx(stats.f.ppf(0.95, 1, 6) / 6, rel=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"level": 95}, "level: given 95"),
        ({"level": "high"}, "level: given 'high'"),
        ({"absolute_sigma": True}, "there is no sigma"),
        ({"loss_function": mae}, "mae has no curvature"),
    ],
    ids=["percent", "text", "sigma", "mae"],
)
def test_what_has_no_profile_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        profile(*fitted("linear", *noisy("linear")[::2], [1.0, 0.0]), **given)


def test_as_few_points_as_parameters_are_refused():
    with pytest.raises(InputError, match="2 points and 2 free parameters"):
        profile(*fitted("linear", np.array([0.0, 1.0]), np.array([1.0, 2.0]), [1.0, 0.0]))


def test_curves_of_what_is_not_free_are_refused():
    t, _, y, _ = noisy("linear")
    found = profile(*fitted("linear", t, y, [1.0, 1.0], demands={"b": {"fixed": 1.0}}))
    with pytest.raises(InputError, match="'b' is no free parameter"):
        found.curve("b")
    with pytest.raises(InputError, match="count: given 1"):
        found.curve("a", 1)


def test_a_long_step_to_where_the_curve_is_flat_does_not_lose_the_end():
    rows = np.loadtxt(ROOT / "examples" / "stopping_distance.csv", delimiter=",", skiprows=1)
    t, y = rows.T
    curve, points = fitted("a*t**p", t, y, [0.5, 1.5])
    found = profile(curve, points)

    def residuals(params):
        return params["a"] * t ** params["p"] - y

    minimizer = lmfit.Minimizer(residuals, lmfit.create_params(**named(curve)))
    expected = lmfit.conf_interval(minimizer, minimizer.minimize(), sigmas=[0.95])
    for name, ((_, low), _, (_, high)) in expected.items():
        np.testing.assert_allclose(found.intervals[name], (low, high), rtol=1e-4)
    assert not found.messages
