"""Whole fits through `fit`, against SciPy, lmfit and closed forms: weighted, bounded, tied, robust, several at once."""

import lmfit
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import curve_fit, least_squares

from gd_lightning import SGD, InputError, fit

DOUBLE = torch.float64
N = 50
T = np.linspace(0.0, 4.0, N)
RNG = np.random.default_rng(2021)
NOISE = RNG.normal(size=N)
SIGMA = RNG.uniform(0.05, 0.3, size=N)


def line(t, a, b):
    return a * t + b


def decay(t, a, k, c):
    return a * np.exp(-k * t) + c


def peak(t, h, m, w):
    return h * np.exp(-((t - m) ** 2) / (2 * w**2))


def wave(t, a, f, p):
    return a * np.sin(f * t + p)


# A formula, the same for SciPy, and its true parameters.
CURVES = {
    "line": ("a*t + b", line, {"a": 1.5, "b": -0.5}),
    "decay": ("a*exp(-k*t) + c", decay, {"a": 2.0, "k": 1.2, "c": 0.5}),
    "peak": ("h*exp(-(t - m)**2/(2*w**2))", peak, {"h": 2.0, "m": 1.7, "w": 0.6}),
    "wave": ("a*sin(f*t + p)", wave, {"a": 1.5, "f": 3.0, "p": 0.4}),
}


def data(name, noise=None):
    _, function, truth = CURVES[name]
    return function(T, **truth) + (SIGMA * NOISE if noise is None else noise)


def descended(function, t, y, steps=1200, lr=0.01, **others):
    """A fit by Adam whose last steps are small; in double precision, so that what is left is the minimum's."""

    settings = {"dtype": DOUBLE, "optimizer": torch.optim.Adam, **others}
    first = fit(function, t, y, lr=lr, steps=steps, **settings)
    demands = dict(zip(first.curve.names, first.curve.demands.all, strict=True))
    settings["init"] = {key: value for key, value in first.parameters.items() if demands[key].free}
    return fit(function, t, y, lr=lr / 100, steps=steps // 2, **settings)


def best(function, t, y, steps=None, **others):
    """A fit by what is taken where nothing is asked for."""
    return fit(function, t, y, **others)


# How to get there, and how near that is.
WAYS = {"descended": (descended, 1e-4), "by default": (best, 1e-6)}


def values(result):
    return list(result.parameters.values())


def unsigned(parameters):
    """The same with a width above zero, since one below draws the same curve."""
    return {key: abs(value) if key == "w" else value for key, value in parameters.items()}


@pytest.mark.parametrize("lr", ["auto", None])
@pytest.mark.parametrize("start", ["data", "near"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CURVES)
def test_curve_fit_of_scipy(name, weighted, start, lr):
    text, function, truth = CURVES[name]
    y, sigma = data(name), SIGMA if weighted else None
    expected, _ = curve_fit(function, T, y, p0=list(truth.values()), sigma=sigma, xtol=1e-14, ftol=1e-14)
    given = {"start": "data"} if start == "data" else {"init": {key: 1.1 * value for key, value in truth.items()}}
    steps = None if lr is None else 3000 if start == "near" else 300
    result = fit(text, T, y, sigma=sigma, lr=lr, steps=steps, tolerance={"loss": 1e-13}, dtype=DOUBLE, **given)
    rel = 1e-5 if lr else 1e-7
    assert result.status == "converged"
    if start == "near" or name != "wave":  # which may be another by half a turn and the opposite amplitude
        assert unsigned(result.parameters) == pytest.approx(dict(zip(truth, expected, strict=True)), rel=rel)
    assert result.predict(T).tolist() == pytest.approx(function(T, *expected).tolist(), rel=rel, abs=rel)
    residuals = function(T, *expected) - y
    assert result.rmse == pytest.approx(np.sqrt(np.mean(residuals**2)), rel=1e-6 if lr else 1e-9)
    assert lr is None or result.rmse_history[-1] == pytest.approx(result.rmse, rel=1e-6)


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_polyfit_of_numpy_with_and_without_weights(degree):
    x = T / 2 - 1
    y = np.sin(2 * x) + SIGMA * NOISE
    for sigma in (None, SIGMA):
        expected = np.polynomial.polynomial.polyfit(x, y, degree, w=None if sigma is None else 1 / sigma)
        result = fit(f"polynomial({degree})", x, y, sigma=sigma, start="data", lr="auto", steps=10, dtype=DOUBLE)
        if sigma is not None or degree > 3:
            result = descended(f"polynomial({degree})", x, y, sigma=sigma, start="data")
        assert values(result) == pytest.approx(list(expected), rel=1e-4, abs=1e-5)
        result = fit(f"polynomial({degree})", x, y, sigma=sigma)
        assert values(result) == pytest.approx(list(expected), rel=1e-9, abs=1e-10)


BOUNDED = {
    "decay": [{"k": (None, 1.0)}, {"k": (1.5, None)}, {"a": (0, 1.8), "c": (0.55, 2)}, {"k": (0, 10), "a": (0, 10)}],
    "peak": [{"w": (0.7, None)}, {"m": (1.75, 3), "h": (None, 1.9)}, {"h": (0, 5), "m": (0, 4), "w": (0.1, 2)}],
    "line": [{"b": (0, None)}, {"a": (None, 1.2)}],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "bounds"), [(name, bounds) for name in BOUNDED for bounds in BOUNDED[name]])
def test_bounded_fits_of_scipy_and_lmfit(name, bounds, way):
    text, function, truth = CURVES[name]
    y = data(name)
    low = [(bounds.get(key) or (None,))[0] for key in truth]
    high = [(bounds.get(key) or (None, None))[1] for key in truth]
    limits = (
        [-np.inf if value is None else value for value in low],
        [np.inf if value is None else value for value in high],
    )
    p0 = np.clip(list(truth.values()), np.nextafter(limits[0], np.inf), np.nextafter(limits[1], -np.inf))
    expected, _ = curve_fit(function, T, y, p0=p0, sigma=SIGMA, bounds=limits, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    given = {key: {"min": pair[0], "max": pair[1]} for key, pair in bounds.items()}
    run, rel = WAYS[way]
    result = run(text, T, y, sigma=SIGMA, parameters=given, start="data")
    assert unsigned(result.parameters) == pytest.approx(dict(zip(truth, expected, strict=True)), rel=rel)
    held = [value in pair for value, *pair in zip(values(result), *limits, strict=True)]
    assert result.status == ("at bound" if any(held) else "converged")
    assert all(lo <= value <= hi for lo, value, hi in zip(limits[0], values(result), limits[1], strict=True))

    model = lmfit.Model(function)
    params = model.make_params(**dict(zip(truth, p0, strict=True)))
    for key, pair in bounds.items():
        params[key].set(min=-np.inf if pair[0] is None else pair[0], max=np.inf if pair[1] is None else pair[1])
    theirs = model.fit(y, params, t=T, weights=1 / SIGMA, method="least_squares")
    mine = np.sum(((function(T, *values(result)) - y) / SIGMA) ** 2)
    assert mine <= theirs.chisqr * (1 + 1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "fixed"),
    [("decay", {"c": 0.6}), ("decay", {"k": 1.0, "a": 2.1}), ("peak", {"w": 0.5}), ("wave", {"f": 3.05, "p": 0.3})],
)
def test_fixed_parameters_of_lmfit(name, fixed, way):
    text, function, truth = CURVES[name]
    y = data(name)
    model = lmfit.Model(function)
    params = model.make_params(**truth)
    for key, value in fixed.items():
        params[key].set(value=value, vary=False)
    theirs = model.fit(y, params, t=T, weights=1 / SIGMA, fit_kws={"xtol": 1e-14, "ftol": 1e-14})
    given = {key: {"fixed": value} for key, value in fixed.items()}
    run, rel = WAYS[way]
    result = run(text, T, y, sigma=SIGMA, parameters=given, start="data")
    assert unsigned(result.parameters) == pytest.approx({key: theirs.params[key].value for key in truth}, rel=rel)
    for key, value in fixed.items():
        assert result.parameters[key] == value


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "ties"),
    [
        ("decay", {"c": "a/4"}),
        ("decay", {"k": "a - 0.8", "c": "k/2"}),
        ("peak", {"w": "m/3"}),
        ("peak", {"h": "exp(m) - 3.3", "w": "0.3*h"}),
    ],
)
def test_ties_of_lmfit(name, ties, way):
    text, function, truth = CURVES[name]
    y = data(name)
    model = lmfit.Model(function)
    params = model.make_params(**truth)
    for key, expr in ties.items():
        params[key].set(expr=expr)
    theirs = model.fit(y, params, t=T, weights=1 / SIGMA, fit_kws={"xtol": 1e-14, "ftol": 1e-14})
    given = {key: {"expr": expr} for key, expr in ties.items()}
    run, rel = WAYS[way]
    result = run(text, T, y, sigma=SIGMA, parameters=given, start="data")
    assert unsigned(result.parameters) == pytest.approx({key: theirs.params[key].value for key in truth}, rel=rel)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scale", [0.5, 2.0])
@pytest.mark.parametrize("loss", ["huber", "cauchy"])
@pytest.mark.parametrize("name", CURVES)
def test_robust_fits_of_scipy(name, loss, scale, way):
    text, function, truth = CURVES[name]
    y = data(name)
    y[5::9] += 4.0  # outliers
    expected = least_squares(
        lambda p: (function(T, *p) - y) / SIGMA,
        list(truth.values()),
        loss=loss,
        f_scale=scale,
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    )
    run, rel = WAYS[way]
    result = run(text, T, y, sigma=SIGMA, loss=f"{loss}({scale})", init=truth, steps=1600)
    assert unsigned(result.parameters) == pytest.approx(
        dict(zip(truth, expected.x, strict=True)), rel=rel, abs=0.1 * rel
    )
    final = result.curve(torch.from_numpy(T)).detach().numpy()
    rho = {"huber": lambda z: np.where(z <= 1, z, 2 * np.sqrt(z) - 1), "cauchy": np.log1p}[loss]
    mine = 0.5 * np.sum(scale**2 * rho(((final - y) / SIGMA / scale) ** 2))
    assert mine == pytest.approx(expected.cost, rel=1e-8)


def test_the_smallest_mean_absolute_error_of_a_level_is_the_median():
    y = np.array([1.0, 2.0, 3.0, 50.0, -7.0])
    result = fit("level + 0*t", range(5), y, loss="mae", lr=5e-3, steps=1600, init={"level": 0}, dtype=DOUBLE)
    assert result.parameters["level"] == pytest.approx(np.median(y), abs=2e-3)
    result = fit("level + 0*t", range(5), y, loss="mae", init={"level": 0})
    assert result.parameters["level"] == pytest.approx(np.median(y), abs=1e-6)


def test_a_line_with_weights_has_a_closed_form():
    y = data("line")
    w = 1 / SIGMA**2
    slope, level = np.linalg.solve(
        [[(w * T * T).sum(), (w * T).sum()], [(w * T).sum(), w.sum()]], [(w * T * y).sum(), (w * y).sum()]
    )
    to_the_end = {"lr": "auto", "steps": 3000, "tolerance": {"loss": 0, "step": 0}, "dtype": DOUBLE}
    for given, rel in ((to_the_end, 1e-9), ({}, 1e-12)):
        result = fit("linear", T, y, sigma=SIGMA, **given)
        assert result.start == "random"
        assert values(result) == pytest.approx([slope, level], rel=rel)


def test_a_point_of_infinite_sigma_is_as_if_it_were_not_there():
    y, sigma = data("line"), SIGMA.copy()
    y[::5], sigma[::5] = 99.0, np.inf
    there = np.isfinite(sigma)
    for given in ({"lr": "auto", "steps": 300, "dtype": DOUBLE}, {}):
        result = fit("linear", T, y, sigma=sigma, **given)
        without = fit("linear", T[there], y[there], sigma=sigma[there], **given)
        assert values(result) == pytest.approx(values(without), rel=1e-12)
        assert result.rmse_history == pytest.approx(without.rmse_history, rel=1e-12)


@pytest.mark.parametrize("frame", [dict, pd.DataFrame])
def test_several_predictors(frame):
    rng = np.random.default_rng(1)
    x1, x2 = rng.uniform(0, 2, 80), rng.uniform(0, 3, 80)
    y = 5 - 2 * x1 * np.exp(-0.8 * x2) + 0.05 * rng.normal(size=80)

    def function(x, b1, b2, b3):
        return b1 - b2 * x[0] * np.exp(-b3 * x[1])

    expected, _ = curve_fit(function, (x1, x2), y, p0=[5, 2, 0.8], xtol=1e-14, ftol=1e-14)
    table = frame({"x1": x1, "x2": x2})
    for text in ("b1 - b2*x1*exp(-b3*x2)", lambda x2, b1, x1, b2, b3: b1 - b2 * x1 * torch.exp(-b3 * x2)):
        descended = fit(text, table, y, start="data", lr="auto", steps=500, dtype=DOUBLE)
        result = fit(text, table, y)
        for one, rel in ((descended, 1e-5), (result, 1e-7)):
            assert one.parameters == pytest.approx(dict(zip(("b1", "b2", "b3"), expected, strict=True)), rel=rel)
        preds = result.predict({"x2": x2[:3], "x1": x1[:3]})
        assert preds.tolist() == pytest.approx(function((x1[:3], x2[:3]), *expected).tolist(), rel=1e-7)


def test_a_plane_is_that_of_lstsq():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 3))
    y = x @ [1.0, -2.0, 0.5] + 3 + 0.1 * rng.normal(size=60)
    expected = np.linalg.lstsq(np.column_stack([x, np.ones(60)]), y)[0]
    columns = {"height": x[:, 0], "wind speed": x[:, 1], "lambda": x[:, 2], "y": y}
    to_the_end = {"lr": "auto", "steps": 500, "tolerance": {"loss": 0, "step": 0}, "dtype": DOUBLE}
    for given, rel in ((to_the_end, 1e-9), ({}, 1e-12)):
        result = fit("a*height + b*`wind speed` + c*`lambda` + d", columns, "y", **given)
        assert result.parameters == pytest.approx(dict(zip("abcd", expected, strict=True)), rel=rel)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("function", "others"),
    [
        ("linear", {"lr": 0.05}),
        ("linear", {"lr": 0.05, "loss": "huber(0.5)"}),
        ("linear", {"lr": 0.05, "parameters": {"b": {"min": 0}}}),
        ("a*exp(-k*t) + c", {"lr": 0.05, "init": {"a": 1, "k": 1, "c": 0}}),
        ("exponential_decay", {"lr": 0.01, "start": "data"}),
        ("linear", {}),
        ("a*exp(-k*t) + c", {"init": {"a": 1, "k": 1, "c": 0}}),
        ("exponential_decay", {"start": "data", "loss": "cauchy"}),
    ],
)
def test_several_series_are_fitted_each_as_if_alone(function, others, weighted):
    rng = np.random.default_rng(3)
    rows = np.stack([decay(T, a, k, 0.5) + 0.1 * rng.normal(size=N) for a, k in ((2, 1), (1, 0.5), (3, 2), (-1, 1))])
    sigma = 0.5 + rng.uniform(size=(4, N)) if weighted else None
    together = fit(function, T, rows, sigma=sigma, steps=100, dtype=DOUBLE, **others)
    for i, row in enumerate(rows):
        alone = fit(function, T, row, sigma=None if sigma is None else sigma[i], steps=100, dtype=DOUBLE, **others)
        mine = {key: value[i].item() for key, value in together.parameters.items()}
        assert mine == pytest.approx(alone.parameters, rel=1e-9)
        assert together.rmse[i].item() == pytest.approx(alone.rmse, rel=1e-9)
        assert together.status[i] == alone.status


def test_many_series_at_once_are_those_of_scipy():
    rng = np.random.default_rng(4)
    truths = rng.uniform([1, 0.5, 0], [3, 2, 1], size=(6, 3))
    rows = np.stack([decay(T, *truth) + 0.05 * rng.normal(size=N) for truth in truths])
    for given, rel in (({"lr": "auto", "steps": 300, "dtype": DOUBLE}, 1e-4), ({}, 1e-7)):
        result = fit("a*exp(-k*t) + c", T, rows.reshape(2, 3, N), start="data", **given)
        assert result.status.tolist() == [["converged"] * 3] * 2
        found = np.stack([result.parameters[key].numpy().ravel() for key in ("a", "k", "c")], axis=1)
        for row, mine, truth in zip(rows, found, truths, strict=True):
            expected, _ = curve_fit(decay, T, row, p0=truth, xtol=1e-14, ftol=1e-14)
            assert mine == pytest.approx(expected, rel=rel, abs=1e-8)  # SciPy differentiates by finite differences


# What a hostile user gives to `fit`: each is one line that says what to do.
HOSTILE = {
    "constant t": (("linear", [2, 2, 2], [1, 2, 3]), {}, "t: all 3 points of the series are at 2"),
    "too few points": (("cubic", [1, 2, 3], [1, 2, 3]), {}, "has 3 points, expected at least 4"),
    "one row": (("linear", [1], [1]), {}, "has 1 point, expected at least 2"),
    "no weight": (("linear", T, T), {"sigma": np.inf}, "has 0 points"),
    "sigma zero": (("linear", T, T), {"sigma": 0}, "sigma: point 1 of 50 is 0"),
    "power of zero": (("power_law", [0, 1, 2], [1, 2, 3]), {}, "power_law is defined for t > 0"),
    "power below zero": (("power_law", [-1, 1, 2], [1, 2, 3]), {}, "t: point 1 of 3 is -1"),
    "no parameters": (("2*t", T, T), {}, "has no parameter beside t; expected one to fit"),
    "no t": (("a + b", T, T), {}, "expected a formula in t or x"),
    "a number": (("3.5", T, T), {}, r"3\.5 has no"),
    "nothing": (("", T, T), {}, "empty, expected an expression"),
    "predictor exp": (("a*exp + b", {"exp": T}, T), {}, "exp is a function"),
    "predictor pi": (("a*pi + b", {"pi": T}, T), {}, "pi"),
    "predictor unused": (("a*x1", {"x1": T, "x2": T}, T), {}, "does not use the predictor 'x2'"),
    "text": (("a*x + b", pd.DataFrame({"x": ["u", "v"], "y": [1, 2]}), "y"), {}, "x: given Series, expected a row"),
    "dates": (
        ("a*d + b", pd.DataFrame({"d": pd.date_range("2020", periods=3), "y": [1, 2, 3]}), "y"),
        {},
        "d: given Series, .*for dates give the time since a date",
    ),
    "wrong shape of y": (("linear", T, T[:, None]), {}, r"y has shape \(50, 1\)"),
    "rows of other length": (("linear", T, np.ones((2, 49))), {}, r"y has shape \(2, 49\)"),
    "no series": (("linear", T, np.ones((0, N))), {}, "series|points"),
    "no series, from the data": (("gaussian", T, np.ones((0, N))), {"start": "data"}, "series|points"),
    "unequal predictors": (("a*x + b*z", {"x": T, "z": T[:-1]}, T), {}, r"z has shape \(49,\)"),
    "seed": (("linear", T, T), {"seed": 2**70}, "seed: given"),
    "dtype as text": (("linear", T, T), {"dtype": "float64"}, "dtype: given 'float64', expected a floating one"),
    "dtype without ends": (("linear", T, T), {"dtype": torch.float8_e4m3fn}, "dtype: given torch.float8_e4m3fn"),
    "lr of too many": (("linear", T, T), {"lr": np.ones(3)}, "lr: given shape"),
    "lr of too many in a tensor": (("linear", T, T), {"lr": torch.ones(3)}, "lr: given shape"),
    "lr of words": (("linear", T, T), {"lr": ["fast", "slow"]}, "lr: given"),
    "lr of nobody": (("linear", T, T), {"lr": {"slope": 1}}, "lr: there is no parameter 'slope'"),
    "lr beyond": (("linear", T, T), {"lr": 10**400}, "lr: given"),
    "lr true": (("linear", T, T), {"lr": True}, "lr: given True"),
    "start of many": (("linear", T, T), {"start": np.array(["data", "data"])}, "start: given"),
    "init beyond": (("linear", T, T), {"init": {"a": 1e300}, "lr": 1}, "init: a is 1e.300"),
    "init beyond double": (("linear", T, T), {"init": {"a": 10**400}}, "init: a is"),
    "init in an array": (("linear", T, T), {"init": np.ones(2)}, "init: given"),
    "init in rows": (("linear", T, T), {"init": {"a": np.eye(2)}}, "init: a has shape"),
    "parameter in rows": (("linear", T, T), {"parameters": {"a": np.eye(2)}}, "parameters: a has init"),
    "bound beyond": (("linear", T, T), {"parameters": {"a": {"min": 1e39}}, "lr": 1}, "parameters: a|a has min 1e.39"),
    "loss in rows": (("linear", T, T), {"loss": np.eye(2)}, "loss: given"),
    "function in rows": ((np.eye(2), T, T), {}, "function: given"),
    "optimizer by name": (("linear", T, T), {"optimizer": "Adam"}, "optimizer: "),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_input_is_one_line(case):
    arguments, others, message = HOSTILE[case]
    with pytest.raises(InputError, match=message) as caught:
        fit(*arguments, **others)
    assert "\n" not in str(caught.value)


def failing(t, a):
    raise RuntimeError("one line\nand another")


def of_words(t, a, kind="fast"):
    return a * t if kind == "fast" else a * t**2


def test_a_function_that_fails_is_one_line():
    with pytest.raises(InputError, match="failing cannot be computed with tensors: one line") as caught:
        fit(failing, T, T)
    assert "\n" not in str(caught.value)


def test_an_argument_whose_default_is_a_word_is_no_parameter():
    result = fit(of_words, T, 2 * T, lr="auto", steps=5, dtype=DOUBLE)
    assert result.parameters == pytest.approx({"a": 2.0}, rel=1e-9)


@pytest.mark.parametrize(
    "t", ["abc", ["a"], None, pd.Series(pd.date_range("2020", periods=3)), {"z": [1]}, {"x": [1, 2, 3], "z": [1, 2]}]
)
def test_a_prediction_at_what_is_no_number_is_one_line(t):
    result = fit("a*x + b*z", {"x": T, "z": T**2}, T) if isinstance(t, dict) else fit("linear", T, T)
    with pytest.raises(InputError, match=r"t: |x|z") as caught:
        result.predict(t)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_tensors_of_whole_numbers(kind):
    t = torch.arange(5)
    result = fit("linear", t, (t % 2).to(kind), lr="auto", steps=3)
    assert result.targets.dtype == torch.float32
    assert result.targets.tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12, 1e18])
def test_the_size_of_y_does_not_matter(size):
    result = fit("a*exp(-k*t) + c", T, size * data("decay"), start="data", lr="auto", steps=1, dtype=DOUBLE)
    expected, _ = curve_fit(decay, T, data("decay"), p0=[2, 1.2, 0.5])
    a, k, c = values(result)
    assert [a / size, k, c / size] == pytest.approx(list(expected), rel=1e-4)


@pytest.mark.parametrize("size", [1e30, 1e-30])
@pytest.mark.parametrize("function", ["gaussian", "a*exp(-t/b)", "linear"])
def test_numbers_at_the_ends_of_float32_are_fitted_in_double_precision_or_refused(function, size):
    y = [1 * size, 2 * size, 3 * size, 5 * size]
    with pytest.raises(InputError, match=r"squares of 3e-16 to 6e\+15; .* or compute in double precision"):
        fit(function, [1.0, 2.0, 3.0, 4.0], y, steps=3, optimizer=SGD)
    result = fit(function, [1.0, 2.0, 3.0, 4.0], y)  # which computes in double precision
    assert result.status == "converged"
    expected = fit(function, [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 5.0])
    assert result.rmse == pytest.approx(size * expected.rmse, rel=1e-9)


@pytest.mark.parametrize("size", [1e12, 1e20, 1e30, 1e100])
def test_a_start_that_is_small_beside_the_data_is_no_obstacle(size):
    """A step as long as the start would lower the loss by less than rounding shows."""
    y = np.array([1.0, 2.0, 4.0, 5.0, 3.0])
    result = fit("linear", range(5), size * y)
    assert result.status == "converged"
    assert values(result) == pytest.approx((size * np.polyfit(range(5), y, 1)).tolist(), rel=1e-12)


@pytest.mark.parametrize("loss", ["mse", "huber", "mae"])
def test_what_no_step_improves_is_stuck_and_no_exception(loss):
    """A derivative that says up where the function goes down."""

    def contrary(t, a):
        return 2 * (a * t).detach() - a * t

    result = fit(contrary, [1.0, 2.0, 3.0], [5.0, 5.0, 5.0], init={"a": 1}, loss=loss)
    assert result.status == "stuck"
    assert result.parameters == {"a": 1}
