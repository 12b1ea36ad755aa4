"""Standard errors, covariance and intervals against SciPy, statsmodels, lmfit, uncertainties and closed forms."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import lmfit
import mpmath
import numpy as np
import pytest
import statsmodels.api as sm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit
from scipy.stats import norm
from scipy.stats import t as student
from statsmodels.robust.norms import HuberT
from uncertainties import correlated_values, umath

from gd_lightning import SGD, InputError, fit
from gd_lightning.curve import Curve
from gd_lightning.losses import make_loss
from gd_lightning.points import Points
from gd_lightning.uncertainty import Uncertainty, check_level, quantile, uncertainty

# by its path, for there is a package of the same name
SPEC = importlib.util.spec_from_file_location(
    "coverage_of_intervals", Path(__file__).parents[1] / "benchmarks/interval_coverage.py"
)
coverage = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = coverage  # where dataclasses look for it
SPEC.loader.exec_module(coverage)

N = 40
T = np.linspace(0.0, 4.0, N)
RNG = np.random.default_rng(7)
NOISE = RNG.normal(size=N)
SIGMA = RNG.uniform(0.05, 0.4, size=N)

# A formula, the same for SciPy, its derivatives by hand, and true parameters.
CURVES = {
    "line": (
        "a*t + b",
        lambda t, a, b: a * t + b,
        lambda t, a, b: np.column_stack([t, np.ones_like(t)]),
        {"a": 1.5, "b": -0.5},
    ),
    "decay": (
        "a*exp(-k*t) + c",
        lambda t, a, k, c: a * np.exp(-k * t) + c,
        lambda t, a, k, c: np.column_stack([np.exp(-k * t), -a * t * np.exp(-k * t), np.ones_like(t)]),
        {"a": 2.0, "k": 1.2, "c": 0.5},
    ),
    "wave": (
        "a*sin(f*t + p)",
        lambda t, a, f, p: a * np.sin(f * t + p),
        lambda t, a, f, p: np.column_stack([np.sin(f * t + p), a * t * np.cos(f * t + p), a * np.cos(f * t + p)]),
        {"a": 1.5, "f": 3.0, "p": 0.4},
    ),
}
WEIGHTING = {"none": (None, False), "relative": (SIGMA, False), "absolute": (SIGMA, True)}


def data(name):
    _, function, _, truth = CURVES[name]
    return function(T, **truth) + SIGMA * NOISE


def fitted(name, weighting="none", **others):
    sigma, absolute = WEIGHTING[weighting]
    text, *_, truth = CURVES[name]
    return fit(text, T, data(name), sigma=sigma, absolute_sigma=absolute, init=truth, **others)


def told(result):
    """Everything there is to know of a result's errors, as one array for each name."""
    found = result.uncertainty
    low, high = found.intervals()
    return {
        "errors": found.standard_errors,
        "covariance": found.covariance,
        "correlation": found.correlation,
        "low": low,
        "high": high,
        "noise": found.noise,
        "dof": found.dof,
    }


def valid_json(result):
    return json.loads(json.dumps(result.to_dict(), allow_nan=False))


@pytest.mark.parametrize("weighting", WEIGHTING)
@pytest.mark.parametrize("name", CURVES)
def test_curve_fit_of_scipy(name, weighting):
    _, function, jac, truth = CURVES[name]
    sigma, absolute = WEIGHTING[weighting]
    settings = {"sigma": sigma, "absolute_sigma": absolute, "jac": jac, "xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
    _, expected = curve_fit(function, T, data(name), p0=list(truth.values()), **settings)
    result = fitted(name, weighting)
    errors = np.sqrt(np.diag(expected))
    assert list(result.standard_errors.values()) == pytest.approx(errors.tolist(), rel=1e-7)
    np.testing.assert_allclose(result.covariance, expected, rtol=1e-6)
    np.testing.assert_allclose(result.correlation, expected / np.outer(errors, errors), rtol=1e-6)
    assert result.covariance.dtype == torch.float64
    assert list(result.standard_errors) == list(truth)


@pytest.mark.parametrize("weighting", WEIGHTING)
@pytest.mark.parametrize("name", CURVES)
def test_the_closed_form_at_the_parameters(name, weighting):
    """(J'WJ)**-1 with derivatives by hand, in fifty digits."""
    _, function, jac, _ = CURVES[name]
    result = fitted(name, weighting)
    values = list(result.parameters.values())
    sigma, absolute = WEIGHTING[weighting]
    sigma = np.ones(N) if sigma is None else sigma
    with mpmath.workdps(50):
        scaled = mpmath.matrix((jac(T, *values) / sigma[:, None]).tolist())
        inverse = (scaled.T * scaled) ** -1
        expected = np.array(inverse.tolist(), dtype=float)
    residuals = (function(T, *values) - data(name)) / sigma
    if not absolute:
        expected *= residuals @ residuals / (N - len(values))
    np.testing.assert_allclose(result.covariance, expected, rtol=1e-9)
    assert result.uncertainty.noise == pytest.approx(
        1 if absolute else math.sqrt(residuals @ residuals / (N - len(values)))
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_linear_functions_of_statsmodels(weighted, level):
    rng = np.random.default_rng(1)
    x1, x2 = rng.normal(size=(2, N))
    y = 1.0 + 2.0 * x1 - 0.5 * x2 + SIGMA * NOISE
    design = np.column_stack([np.ones(N), x1, x2])
    model = sm.WLS(y, design, weights=SIGMA**-2.0) if weighted else sm.OLS(y, design)
    expected = model.fit()
    result = fit("c + a*x1 + b*x2", {"x1": x1, "x2": x2}, y, sigma=SIGMA if weighted else None)
    order = ["c", "a", "b"]
    errors, intervals = result.standard_errors, result.intervals(level)
    np.testing.assert_allclose([errors[name] for name in order], expected.bse, rtol=1e-9)
    np.testing.assert_allclose([intervals[name] for name in order], expected.conf_int(1 - level), rtol=1e-9)
    places = [list(result.parameters).index(name) for name in order]
    np.testing.assert_allclose(result.covariance[places][:, places], expected.cov_params(), rtol=1e-8)


def test_an_absolute_sigma_has_normal_intervals():
    design = np.column_stack([T, np.ones(N)])
    y = data("line")
    expected = sm.WLS(y, design, weights=SIGMA**-2.0).fit(cov_type="fixed scale")
    result = fitted("line", "absolute")
    for level in (0.68, 0.95):
        np.testing.assert_allclose(list(result.intervals(level).values()), expected.conf_int(1 - level), rtol=1e-9)
    assert quantile(0.95, np.array(3), True) == pytest.approx(norm.ppf(0.975), rel=1e-14)
    assert quantile(0.95, np.array([3, 30]), False) == pytest.approx(student.ppf(0.975, [3, 30]), rel=1e-12)


def test_a_textbook_s_regression():
    """Stopping distances of cars by their speed (Ezekiel, 1930), as R prints its `summary(lm(dist ~ speed, cars))`."""
    speed = [4, 4, 7, 7, 8, 9, 10, 10, 10, 11, 11, 12, 12, 12, 12, 13, 13, 13, 13, 14, 14, 14, 14, 15, 15, 15, 16, 16]
    speed += [17, 17, 17, 18, 18, 18, 18, 19, 19, 19, 20, 20, 20, 20, 20, 22, 23, 24, 24, 24, 24, 25]
    dist = [
        2,
        10,
        4,
        22,
        16,
        10,
        18,
        26,
        34,
        17,
        28,
        14,
        20,
        24,
        28,
        26,
        34,
        34,
        46,
        26,
        36,
        60,
        80,
        20,
        26,
        54,
        32,
        40,
    ]
    dist += [32, 40, 50, 42, 56, 76, 84, 36, 46, 68, 32, 48, 52, 56, 64, 66, 54, 70, 92, 93, 120, 85]
    result = fit("intercept + slope*speed", {"speed": speed}, dist)
    assert result.parameters == pytest.approx({"intercept": -17.5791, "slope": 3.9324}, abs=5e-5)
    assert result.standard_errors == pytest.approx({"intercept": 6.7584, "slope": 0.4155}, abs=5e-5)
    assert float(result.uncertainty.noise) == pytest.approx(15.38, abs=5e-3)
    assert result.uncertainty.dof == 48
    assert result.goodness.r2 == pytest.approx(0.6511, abs=5e-5)
    assert result.goodness.adjusted_r2 == pytest.approx(0.6438, abs=5e-5)


def test_years_as_they_stand():
    """t from 2000 to 2020 makes the columns of a quadratic nearly parallel; J'J would lose all of its digits."""
    t = np.arange(2000.0, 2021.0)
    y = 3.0 + 0.2 * (t - 2010) - 0.05 * (t - 2010) ** 2 + np.random.default_rng(1).normal(0, 0.3, 21)
    result = fit("a*t**2 + b*t + c", t, y)
    with mpmath.workdps(60):
        design = mpmath.matrix([[value**2, value, 1] for value in map(mpmath.mpf, t.tolist())])
        inverse = (design.T * design) ** -1
        best = inverse * (design.T * mpmath.matrix(y.tolist()))
        residuals = design * best - mpmath.matrix(y.tolist())
        variance = (residuals.T * residuals)[0] / 18
        expected = [float(mpmath.sqrt(variance * inverse[i, i])) for i in range(3)]
    assert list(result.standard_errors.values()) == pytest.approx(expected, rel=1e-6)
    centred = sm.OLS(y, np.column_stack([(t - 2010) ** 2, t - 2010, np.ones(21)])).fit()
    assert result.standard_errors["a"] == pytest.approx(centred.bse[0], rel=1e-6)
    at = np.array([1995.0, 2010.0, 2030.0])
    frame = centred.get_prediction(np.column_stack([(at - 2010) ** 2, at - 2010, np.ones(3)])).summary_frame()
    np.testing.assert_allclose(result.bands(at).standard_error, frame["mean_se"], rtol=1e-5)


@pytest.mark.parametrize("level", [0, 1, -0.1, 95, True, None, "0.95", math.nan])
def test_a_level_that_is_none(level):
    with pytest.raises(InputError, match="level: given"):
        check_level(level)
    with pytest.raises(InputError, match="level: given"):
        fitted("line").intervals(level)


def test_levels_of_other_libraries():
    result = fitted("line")
    assert result.intervals(np.float64(0.95)) == result.intervals() == result.intervals(level=0.95)


# What was demanded of a line's companions, and the same for lmfit.
TIES = {
    "proportional": ("a*t + b + c*t**2", {"c": "b/10"}),
    "non-linear": ("a*t + b + c*t**2", {"c": "exp(-a*b)"}),
    "a tie of a tie": ("a*t + b + c*t**2 + d*t**3", {"d": "c*a/10", "c": "b**2/10"}),
    "to a fixed one": ("a*t + b + c*t**2", {"b": 0.5, "c": "b/10 + a/100"}),
}


@pytest.mark.parametrize("case", TIES)
def test_ties_and_fixed_ones_of_lmfit(case):
    text, demanded = TIES[case]
    y = 1.5 * T + 0.5 + 0.05 * T**2 + SIGMA * NOISE
    ours = {name: {"expr": tie} if isinstance(tie, str) else {"fixed": tie} for name, tie in demanded.items()}
    result = fit(text, T, y, parameters=ours, init={"a": 1.5} | ({} if "b" in ours else {"b": 0.5}))
    names = list(result.parameters)
    params = lmfit.Parameters()
    for name in sorted(names):
        tie = demanded.get(name)
        params.add(name, value=result.parameters[name], vary=tie is None)
    for name in sorted(names):
        if isinstance(demanded.get(name), str):
            params[name].expr = demanded[name]
    model = lmfit.models.ExpressionModel(text.replace("t", "x").replace("sqrx", "sqrt"), independent_vars=["x"])
    expected = model.fit(y, params, x=T)
    assert result.parameters == pytest.approx(expected.best_values, rel=1e-6)
    for name in names:
        assert result.standard_errors[name] == pytest.approx(expected.params[name].stderr or 0.0, rel=1e-4), name

    # by the package that propagates errors, from ours of the free ones
    free = [name for name in names if name not in demanded]
    places = [names.index(name) for name in free]
    values = dict(
        zip(
            free,
            correlated_values([result.parameters[n] for n in free], result.covariance[places][:, places].numpy()),
            strict=True,
        )
    )
    values |= {name: tie for name, tie in demanded.items() if not isinstance(tie, str)}
    for name in sorted(ours):  # c before d
        if isinstance(demanded[name], str):
            values[name] = eval(demanded[name], {"exp": umath.exp}, values)
            assert result.standard_errors[name] == pytest.approx(values[name].std_dev, rel=1e-9)
        else:
            assert result.standard_errors[name] == 0.0
            assert result.intervals()[name] == (result.parameters[name],) * 2
    kinds = {name: "tied" if isinstance(tie, str) else "fixed" for name, tie in demanded.items()}
    assert valid_json(result)["kinds"] == {name: kinds.get(name, "free") for name in names}


def test_a_fixed_one_is_not_there():
    y = data("decay")
    held = fit("a*exp(-k*t) + c", T, y, parameters={"c": {"fixed": 0.45}})
    without = fit("a*exp(-k*t) + 0.45", T, y)
    for name in ("a", "k"):
        assert held.standard_errors[name] == pytest.approx(without.standard_errors[name], rel=1e-9)
        assert held.intervals()[name] == pytest.approx(without.intervals()[name], rel=1e-7)
    assert held.standard_errors["c"] == 0.0
    place = list(held.parameters).index("c")
    assert (held.covariance[place] == 0).all()
    assert (held.covariance[:, place] == 0).all()
    assert held.correlation[place].isnan().all()
    assert valid_json(held)["kinds"]["c"] == "fixed"


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(("side", "beyond"), [("max", -0.05), ("min", 0.05)])
def test_at_a_bound_the_others_are_told_as_if_it_were_fixed_there(side, beyond, absolute):
    y = data("decay")
    value = fitted("decay", "relative").parameters["c"] + beyond
    others = {"sigma": SIGMA, "absolute_sigma": absolute}
    bound = fit("a*exp(-k*t) + c", T, y, parameters={"c": {side: value}}, **others)
    fixed = fit("a*exp(-k*t) + c", T, y, parameters={"c": {"fixed": value}}, **others)
    assert bound.status == "at bound"
    assert math.isnan(bound.standard_errors["c"])
    assert all(map(math.isnan, bound.intervals()["c"]))
    for name in ("a", "k"):
        assert bound.standard_errors[name] == pytest.approx(fixed.standard_errors[name], rel=1e-7)
        assert bound.intervals()[name] == pytest.approx(fixed.intervals()[name], rel=1e-7)
    np.testing.assert_allclose(bound.bands(T).confidence_low, fixed.bands(T).confidence_low, rtol=1e-7)
    places = [list(bound.parameters).index(name) for name in ("a", "k", "c")]
    covariance = bound.covariance[places][:, places]
    np.testing.assert_allclose(covariance[:2, :2], fixed.covariance[places][:, places][:2, :2], rtol=1e-7)
    assert covariance[2].isnan().all()
    assert covariance[:, 2].isnan().all()
    written = valid_json(bound)
    assert written["kinds"]["c"] == "at bound"
    assert written["standard_errors"]["c"] is None


def test_several_at_their_bounds():
    names = "abcdef"
    text = " + ".join(f"{name}*t**{power}" for power, name in enumerate(names))
    x = T / 4
    y = 1 + 2 * x + 0.05 * NOISE
    held = fit(text, x, y, parameters={name: {"min": 5 + i} for i, name in enumerate("cdef")})
    fixed = fit(text, x, y, parameters={name: {"fixed": 5.0 + i} for i, name in enumerate("cdef")})
    assert [name for name, error in held.standard_errors.items() if math.isnan(error)] == list("cdef")
    for name in "ab":
        assert held.standard_errors[name] == pytest.approx(fixed.standard_errors[name], rel=1e-7)


def test_what_follows_from_a_bound_alone_has_no_symmetric_error_either():
    y = 2 * T + 1 + 0.3 * NOISE
    demanded = {
        "b": {"min": 1.5},
        "c": {"expr": "b/10"},
        "d": {"expr": "b*a"},
        "e": {"fixed": 0.1},
        "f": {"expr": "2*e"},
    }
    result = fit("a*t + b + c*t**2 + 0*d + 0*e + 0*f", T, y, parameters=demanded)
    errors = result.standard_errors
    assert math.isnan(errors["b"])
    assert math.isnan(errors["c"])
    assert errors["d"] == pytest.approx(1.5 * errors["a"])
    assert errors["e"] == errors["f"] == 0.0


@pytest.mark.parametrize("weighting", WEIGHTING)
def test_what_the_data_leave_open(weighting):
    """Of two offsets they determine the sum."""
    sigma, absolute = WEIGHTING[weighting]
    y = data("line")
    open_ = fit("a*t + b + c", T, y, sigma=sigma, absolute_sigma=absolute)
    closed = fit("a*t + b", T, y, sigma=sigma, absolute_sigma=absolute)
    assert open_.status == "singular"
    assert open_.standard_errors == {
        "a": pytest.approx(closed.standard_errors["a"], rel=1e-8),
        "b": math.inf,
        "c": math.inf,
    }
    assert open_.intervals()["a"] == pytest.approx(closed.intervals()["a"], rel=1e-8)
    assert open_.intervals()["b"] == (-math.inf, math.inf)
    places = [list(open_.parameters).index(name) for name in "abc"]
    covariance = open_.covariance[places][:, places]
    assert covariance[0, 0] == pytest.approx(closed.standard_errors["a"] ** 2, rel=1e-8)
    assert covariance[1, 1] == covariance[2, 2] == math.inf
    assert covariance[0, 1:].isnan().all()
    assert covariance[1, 2].isnan()
    assert open_.correlation[places[0], places[1]].isnan()
    at = [-1.0, 2.0, 10.0]
    for ours, expected in zip(open_.bands(at), closed.bands(at), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-8)
    written = valid_json(open_)
    assert written["kinds"] == {"a": "free", "b": "undetermined", "c": "undetermined"}
    assert written["standard_errors"]["b"] is None


def test_three_that_hang_together_and_a_tie_to_them():
    y = data("line")
    result = fit("a*t + b + c + 0*d", T, y, parameters={"d": {"expr": "b + 1"}})
    assert result.standard_errors["d"] == math.inf
    product = fit("a*b*t + c", T, y, init={"a": 1, "b": 1.4})
    closed = fit("a*t + c", T, y)
    assert product.standard_errors["c"] == pytest.approx(closed.standard_errors["c"], rel=1e-7)
    assert product.standard_errors["a"] == product.standard_errors["b"] == math.inf


def test_a_small_part_in_what_is_open_is_open_too():
    """c takes from a all, and from b a thousandth."""
    result = fit("a + b*t + c*(1 + 0.001*t)", T, data("line"))
    assert set(result.standard_errors.values()) == {math.inf}
    closed = fit("a + b*t", T, data("line"))
    np.testing.assert_allclose(result.bands(T).standard_error, closed.bands(T).standard_error, rtol=1e-7)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_a_slope_beyond_the_data_is_open_in_any_unit(unit):
    """What happens after t = 5 does not show before it, and a band says so wherever it begins to matter."""

    def kinked(t, a, b):
        return a + b * torch.relu(t - 5 * unit)

    result = fit(kinked, T * unit, data("line"), init={"a": 1, "b": 1})
    constant = fit("a + 0*t", T * unit, data("line"))
    assert result.standard_errors["b"] == math.inf
    assert result.standard_errors["a"] == pytest.approx(constant.standard_errors["a"], rel=1e-9)
    found = result.bands([unit, 5 * unit, 5.1 * unit]).standard_error.tolist()
    assert found[:2] == pytest.approx([constant.standard_errors["a"]] * 2, rel=1e-9)
    assert found[2] == math.inf


def test_as_many_points_as_parameters():
    result = fit("linear", [0.0, 1.0], [1.0, 3.0])
    assert result.standard_errors == {"a": math.inf, "b": math.inf}
    assert result.covariance.diagonal().isinf().all()
    assert result.covariance[0, 1].isnan()
    assert result.bands([0.5]).standard_error == math.inf
    written = valid_json(result)
    assert written["standard_errors"] == {"a": None, "b": None}
    known = fit("linear", [0.0, 1.0], [1.0, 3.0], sigma=0.1, absolute_sigma=True)
    assert known.standard_errors == pytest.approx({"a": 0.1 * 2**0.5, "b": 0.1}, rel=1e-12)
    assert valid_json(known)["standard_errors"] == known.standard_errors


def test_an_exact_fit():
    result = fit("linear", [0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 5.0, 7.0])
    assert all(0 <= error < 1e-14 for error in result.standard_errors.values())
    valid_json(result)


def test_a_descent_that_has_arrived_in_single_precision():
    design = np.column_stack([T, np.ones(N)])
    y = data("line")
    expected = sm.OLS(y, design).fit()
    result = fit("linear", T, y, lr="auto", optimizer=SGD, steps=2000)
    assert result.targets.dtype == torch.float32
    assert result.status == "converged"
    assert list(result.standard_errors.values()) == pytest.approx(expected.bse.tolist(), rel=1e-4)
    assert result.covariance.dtype == torch.float64
    assert result.bands(T).standard_error.dtype == torch.float32


@pytest.mark.parametrize("batch", [(2,), (2, 3)])
@pytest.mark.parametrize("weighting", WEIGHTING)
def test_series_side_by_side_are_as_alone(batch, weighting):
    sigma, absolute = WEIGHTING[weighting]
    rng = np.random.default_rng(3)
    function, truth = CURVES["decay"][1], CURVES["decay"][3]
    t = np.sort(rng.uniform(0, 4, size=(*batch, N)))  # another for each
    y = function(t, **truth) + 0.2 * rng.normal(size=(*batch, N))
    together = fit("a*exp(-k*t) + c", t, y, sigma=sigma, absolute_sigma=absolute, init=truth)
    at = np.linspace(0, 6, 7)
    bands = together.bands(at)
    names = list(together.parameters)
    assert together.covariance.shape == together.correlation.shape == (*batch, 3, 3)
    assert together.standard_errors["a"].shape == batch
    for place in np.ndindex(*batch):
        alone = fit("a*exp(-k*t) + c", t[place], y[place], sigma=sigma, absolute_sigma=absolute, init=truth)
        for name, value in told(alone).items():
            np.testing.assert_allclose(told(together)[name][place], value, rtol=1e-9, atol=1e-13, err_msg=name)
        for ours, expected in zip(bands, alone.bands(at), strict=True):
            np.testing.assert_allclose(ours[place], expected, rtol=1e-9)
        low, high = together.intervals()[names[0]]
        assert (low[place], high[place]) == pytest.approx(alone.intervals()[names[0]], rel=1e-9)
    written = valid_json(together)
    assert np.shape(written["covariance"]) == (*batch, 3, 3)
    assert np.shape(written["kinds"]["k"]) == batch


def test_series_of_unequal_length():
    lengths = [N, 25, 8]
    y = np.stack([data("decay")] * 3)
    sigma = np.stack([SIGMA] * 3)
    for row, length in zip(sigma, lengths, strict=True):
        row[length:] = np.inf
    truth = CURVES["decay"][3]
    for absolute in (False, True):
        together = fit("a*exp(-k*t) + c", T, y, sigma=sigma, absolute_sigma=absolute, init=truth)
        assert together.uncertainty.dof.tolist() == [length - 3 for length in lengths]
        for i, length in enumerate(lengths):
            alone = fit(
                "a*exp(-k*t) + c", T[:length], y[i, :length], sigma=SIGMA[:length], absolute_sigma=absolute, init=truth
            )
            for name, value in told(alone).items():
                np.testing.assert_allclose(told(together)[name][i], value, rtol=1e-7, err_msg=name)
            for ours, expected in zip(together.bands([0.0, 5.0]), alone.bands([0.0, 5.0]), strict=True):
                np.testing.assert_allclose(ours[i], expected, rtol=1e-7)


def test_series_of_which_one_is_singular_and_one_at_its_bound():
    t = np.linspace(0, 1, 12)
    noise = 0.05 * NOISE[:12]
    y = np.stack([np.exp(2 * t) + noise, 0 * t, np.exp(-2 * t) + noise])
    demanded = {"a": {"min": 0}, "k": {"min": 0}}
    result = fit("a*exp(k*t)", t, y, parameters=demanded, init={"a": 1.0, "k": 1.0})
    kinds = result.uncertainty.kinds.tolist()
    assert kinds[0] == ["free", "free"]
    assert kinds[1][1] == "undetermined"
    assert kinds[2] == ["free", "at bound"]
    alone = fit("a*exp(k*t)", t, y[0], parameters=demanded, init={"a": 1.0, "k": 1.0})
    assert {key: value[0].item() for key, value in result.standard_errors.items()} == pytest.approx(
        alone.standard_errors, rel=1e-7
    )
    valid_json(result)


def test_functions_that_mix_their_points_or_take_numbers():
    y = data("decay")

    def mixed(t, a, k, c):
        shape = torch.exp(-k * t)
        return a * shape / shape.mean(dim=-1, keepdim=True) + c

    def with_numbers(t, a, k, c):
        if a.shape[-1] != 1:
            raise TypeError("one number each, please")
        return a * torch.exp(-k * t) + c

    truth = CURVES["decay"][3]
    plain = fitted("decay")
    one_by_one = fit(with_numbers, T, y, init=truth)
    assert one_by_one.standard_errors == pytest.approx(plain.standard_errors, rel=1e-8)
    for ours, expected in zip(one_by_one.bands([0.0, 1.0]), plain.bands([0.0, 1.0]), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-8)

    def in_numpy(t, a, k, c):
        shape = np.exp(-k * t)
        return a * shape / shape.mean() + c

    expected, covariance = curve_fit(in_numpy, T, y, p0=[1, 1, 0.5], xtol=1e-15, ftol=1e-15)
    result = fit(mixed, T, y, init={"a": 1, "k": 1, "c": 0.5})
    assert result.curve.pointwise is False
    np.testing.assert_allclose(result.covariance, covariance, rtol=1e-4)
    steps = np.diag(1e-5 * expected)
    best = np.array(list(result.parameters.values()))
    slopes = np.stack([(in_numpy(T, *(best + h)) - in_numpy(T, *(best - h))) / (2 * h.max()) for h in steps], axis=-1)
    error = np.sqrt(np.einsum("ti,ij,tj->t", slopes, result.covariance.numpy(), slopes))
    np.testing.assert_allclose(result.bands(T).standard_error, error, rtol=1e-6)
    result.curve.pointwise = None  # as in a curve that was read back and never fitted
    np.testing.assert_allclose(result.bands(T).standard_error, error, rtol=1e-6)


@settings(max_examples=12, deadline=None)
@given(st.floats(-12, 12), st.floats(-100, 100))
def test_units_do_not_matter(of_t, of_y):
    """Of y and of t; the error of a slope goes as their quotient."""
    of_t, of_y = 10.0**of_t, 10.0**of_y
    plain = fitted("line")
    scaled = fit("a*t + b", T * of_t, data("line") * of_y)
    units = {"a": of_y / of_t, "b": of_y}
    for name, unit in units.items():
        assert scaled.standard_errors[name] / unit == pytest.approx(plain.standard_errors[name], rel=1e-9)
    np.testing.assert_allclose(scaled.correlation, plain.correlation, rtol=1e-9)
    np.testing.assert_allclose(
        scaled.bands(T[:3] * of_t).standard_error / of_y, plain.bands(T[:3]).standard_error, rtol=1e-9
    )
    valid_json(scaled)


@settings(max_examples=10, deadline=None)
@given(st.floats(-9, 9), st.floats(-9, 9))
def test_units_do_not_matter_to_a_decay_either(of_t, of_y):
    of_t, of_y = 10.0**of_t, 10.0**of_y
    units = {"a": of_y, "k": 1 / of_t, "c": of_y}
    truth = CURVES["decay"][3]
    init = {name: truth[name] * unit for name, unit in units.items()}
    scaled = fit("a*exp(-k*t) + c", T * of_t, data("decay") * of_y, sigma=SIGMA * of_y, absolute_sigma=True, init=init)
    plain = fitted("decay", "absolute")
    for name, unit in units.items():
        assert scaled.standard_errors[name] / unit == pytest.approx(plain.standard_errors[name], rel=1e-6)


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1.0, 1e200, 1e300])
def test_errors_whose_squares_no_number_holds(size):
    """The direct product; fits of such sizes end before, but their slopes along a long or short t need not."""
    axes, spread = np.array([[0.6, 0.8], [-0.8, 0.6]]), np.array([3.0, 4.0])
    one, other = (
        Uncertainty(
            ("a", "b"),
            np.array(["free", "free"]),
            np.zeros(2),
            axes,
            spread * unit,
            np.array(unit),
            np.array(5),
            np.array(1.0),
            False,
        )
        for unit in (1.0, size)
    )
    np.testing.assert_allclose(other.standard_errors / size, one.standard_errors, rtol=1e-12)
    np.testing.assert_allclose(other.correlation, one.correlation, rtol=1e-12)
    np.testing.assert_allclose(one.covariance, axes @ np.diag(spread**2) @ axes.T, rtol=1e-12)
    assert other.covariance.shape == (2, 2)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(N)))
def test_the_order_of_the_points_does_not_matter(order):
    plain = fitted("decay", "relative")
    truth = CURVES["decay"][3]
    shuffled = fit("a*exp(-k*t) + c", T[order], data("decay")[order], sigma=SIGMA[order], init=truth)
    for name, value in told(plain).items():
        np.testing.assert_allclose(told(shuffled)[name], value, rtol=1e-6, err_msg=name)
    for ours, expected in zip(shuffled.residual_checks, plain.residual_checks, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert shuffled.goodness == pytest.approx(plain.goodness, rel=1e-9)


def huber_1981(psi, bend, design):
    """Huber, Robust Statistics (1981), section 7.6: K**2 (sum psi**2 / (n - p)) / mean(psi')**2 (X'X)**-1."""
    n, p = design.shape
    k = 1 + p / n * bend.var() / bend.mean() ** 2
    return k**2 * (psi @ psi / (n - p)) / bend.mean() ** 2 * np.linalg.inv(design.T @ design)


@pytest.fixture(scope="module")
def with_outliers():
    y = data("line").copy()
    y[[3, 20, 33]] += [4.0, -3.0, 6.0]
    return y


@pytest.mark.parametrize("sigma", [None, 0.3])
@pytest.mark.parametrize("scale", [0.5, 1.345, 100.0])
def test_huber_of_statsmodels(with_outliers, scale, sigma):
    design = np.column_stack([T, np.ones(N)])
    unit = sigma or 1.0
    model = sm.RLM(with_outliers / unit, design / unit, M=HuberT(scale))
    expected = model.fit(cov="H1", tol=1e-13, maxiter=500, start_scale=1.0, update_scale=False)
    result = fit("a*t + b", T, with_outliers, loss=f"huber({scale})", sigma=sigma)
    assert list(result.parameters.values()) == pytest.approx(expected.params.tolist(), rel=1e-7)
    assert list(result.standard_errors.values()) == pytest.approx(expected.bse.tolist(), rel=1e-6)


@pytest.mark.parametrize("scale", [0.5, 2.0])
@pytest.mark.parametrize("name", ["huber", "cauchy"])
def test_robust_losses_by_definition(with_outliers, name, scale):
    result = fit("a*t + b", T, with_outliers, loss=f"{name}({scale})")
    r = (result.predict(T) - torch.as_tensor(with_outliers)).numpy()
    if name == "huber":
        psi, bend = np.clip(r, -scale, scale), (np.abs(r) <= scale).astype(float)
    else:
        square = (r / scale) ** 2
        psi, bend = r / (1 + square), (1 - square) / (1 + square) ** 2
    expected = huber_1981(psi, bend, np.column_stack([T, np.ones(N)]))
    np.testing.assert_allclose(result.covariance, expected, rtol=1e-9)


def test_robust_losses_of_series_of_unequal_length(with_outliers):
    sigma = np.full((2, N), 0.5)
    sigma[1, 30:] = np.inf
    result = fit("a*t + b", T, np.stack([with_outliers] * 2), sigma=sigma, loss="cauchy")
    for i, length in enumerate((N, 30)):
        alone = fit("a*t + b", T[:length], with_outliers[:length], sigma=0.5, loss="cauchy")
        np.testing.assert_allclose(result.covariance[i], alone.covariance, rtol=1e-6)


def test_a_robust_loss_with_few_outliers_is_surer_than_mse(with_outliers):
    robust, plain = (fit("a*t + b", T, with_outliers, loss=loss) for loss in ("cauchy(0.5)", "mse"))
    assert all(robust.standard_errors[name] < plain.standard_errors[name] / 2 for name in "ab")


def test_mae_has_no_errors_even_where_it_meets_a_point():
    """A median is one of the points, where the derivative of abs is anything."""
    curve = Curve("c + 0*t")
    curve.to(torch.float64)
    curve.start(torch.tensor([3.0]))
    points = Points(torch.arange(5.0).double(), torch.tensor([1.0, 2.0, 3.0, 5.0, 9.0]).double())
    found = uncertainty(curve, points, make_loss("mae"))
    assert np.isnan(found.standard_errors).all()
    result = fit("a*t + b", T, data("line"), loss="mae")
    assert all(map(math.isnan, result.standard_errors.values()))
    assert valid_json(result)["standard_errors"] == {"a": None, "b": None}


@pytest.mark.parametrize(
    ("function", "others"),
    [
        ("a*t + b", {}),
        ("a*t + b", {"sigma": SIGMA, "absolute_sigma": np.True_}),
        ("a*t + b + c", {}),
        ("a*t + b", {"parameters": {"b": {"min": 0}}}),
        ("a*t + b", {"parameters": {"b": {"expr": "2*a"}}}),
        ("a*t + b", {"loss": "mae"}),
    ],
    ids=["free", "absolute", "undetermined", "at bound", "tied", "mae"],
)
@pytest.mark.parametrize("series", [0, 2])
def test_there_and_back_through_json(function, others, series):
    y = data("line")
    result = fit(function, T, np.stack([y + i for i in range(series)]) if series else y, **others)
    back = Uncertainty.from_dict(valid_json(result))
    for name, ours, expected in zip(Uncertainty._fields, back, result.uncertainty, strict=True):
        assert np.array_equal(ours, expected, equal_nan=name not in ("names", "kinds")), name
        assert np.shape(ours) == np.shape(expected), name
    np.testing.assert_array_equal(back.covariance, result.uncertainty.covariance)
    if series:
        one = back.select(1)
        np.testing.assert_array_equal(one.covariance, result.covariance[1])
        np.testing.assert_array_equal(back.select([1, 0]).standard_errors[0], one.standard_errors)


def test_a_descent_that_diverged_has_no_errors_and_valid_json():
    result = fit("quadratic", T, data("line"), lr=10.0, steps=2000)
    assert result.status == "diverged"
    valid_json(result)
    hopeless = fit("quadratic", T, data("line"), init={"a": 1e300})
    assert all(math.isnan(error) for error in hopeless.standard_errors.values())
    valid_json(hopeless)


COVERED = [
    coverage.Case(*curve, points, noise, sigma)
    for curve, points, noise in (
        (coverage.QUADRATIC, 20, 1.4),
        (coverage.DECAY, 30, 0.1),
        (coverage.GAUSSIAN, 50, 0.1),
    )
    for sigma in ("relative", "absolute")
] + [
    coverage.Case(*coverage.QUADRATIC, 20, 1.4, loss="huber(1.4)"),
    coverage.Case(*coverage.DECAY, 50, 0.1, loss="cauchy(0.3)"),
]


@pytest.mark.parametrize("case", COVERED, ids=lambda case: f"{case.function}-{case.points}-{case.sigma}-{case.loss}")
def test_intervals_hold_the_truth_as_often_as_they_say(case):
    """Of 1,000 series each; the count of exact intervals lies within these limits 9,999 times of 10,000."""
    found = coverage.coverage(case, series=1000, seed=7)
    assert found.arrived == 1000
    for level, covering in found.covering.items():
        low, high = coverage.limits(level, 1000, chance=0.9999)
        assert all(low <= count <= high for count in covering.values()), (level, covering)


def test_intervals_that_are_narrower_would_not():
    low, high = coverage.limits(0.95, 1000, chance=0.9999)
    assert low <= 950 <= high
    assert not low <= 1000 * (2 * norm.cdf(0.8 * norm.ppf(0.975)) - 1) <= high  # by a fifth


def test_one_series_of_more_points_than_go_at_once(monkeypatch):
    expected = fit("linear", T, data("line"))
    monkeypatch.setattr("gd_lightning.uncertainty.POINTS_AT_ONCE", len(T) - 1)
    result = fit("linear", T, data("line"))
    assert result.standard_errors == expected.standard_errors
    np.testing.assert_array_equal(result.covariance, expected.covariance)
