"""Confidence and prediction bands: in Python, in pictures, and in the CSV of the command line."""

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from conftest import forked, gd_lightning
from matplotlib.collections import FillBetweenPolyCollection
from scipy.stats import norm
from scipy.stats import t as student

from gd_lightning import InputError, fit
from gd_lightning.uncertainty import Bands

N = 30
T = np.linspace(0.0, 4.0, N)
RNG = np.random.default_rng(5)
NOISE = RNG.normal(size=N)
SIGMA = RNG.uniform(0.05, 0.4, size=N)
AT = np.array([-1.0, 0.0, 1.7, 4.0, 9.0])
FUNCTIONS = {
    "decay": ("a*exp(-k*t) + c", lambda t, a, k, c: a * np.exp(-k * t) + c, {"a": 2.0, "k": 1.2, "c": 0.5}),
    "peak": (
        "h*exp(-(t - m)**2/(2*w**2))",
        lambda t, h, m, w: h * np.exp(-((t - m) ** 2) / (2 * w**2)),
        {"h": 2.0, "m": 1.7, "w": 0.6},
    ),
}


def line(weighted=False, **others):
    return fit("a*t + b", T, 1.5 * T - 0.5 + SIGMA * NOISE, sigma=SIGMA if weighted else None, **others)


def of_statsmodels(weighted=False):
    y = 1.5 * T - 0.5 + SIGMA * NOISE
    design = np.column_stack([T, np.ones(N)])
    return (sm.WLS(y, design, weights=SIGMA**-2.0) if weighted else sm.OLS(y, design)).fit()


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("weighted", [False, True])
def test_linear_functions_of_statsmodels(weighted, level):
    new = np.linspace(0.1, 0.5, len(AT))
    prediction = of_statsmodels(weighted).get_prediction(
        np.column_stack([AT, np.ones(len(AT))]), **({"weights": new**-2.0} if weighted else {})
    )
    expected = prediction.summary_frame(alpha=1 - level)
    found = line(weighted).bands(AT, level, sigma=new if weighted else None)
    columns = ["mean", "mean_se", "mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper"]
    for ours, name in zip(found, columns, strict=True):
        np.testing.assert_allclose(ours, expected[name], rtol=1e-9, err_msg=name)


def test_what_a_new_observation_s_sigma_is_unless_given():
    weighted = line(True)
    typical = np.sqrt((SIGMA**2).mean())
    for ours, expected in zip(weighted.bands(AT), weighted.bands(AT, sigma=typical), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)
    plain = line()
    for ours, expected in zip(plain.bands(AT), plain.bands(AT, sigma=1.0), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


@pytest.mark.parametrize("weighting", ["none", "relative", "absolute"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_delta_method_by_differences(name, weighting):
    text, function, truth = FUNCTIONS[name]
    y = function(T, **truth) + SIGMA * NOISE
    absolute, sigma = weighting == "absolute", None if weighting == "none" else SIGMA
    result = fit(text, T, y, sigma=sigma, absolute_sigma=absolute, init=truth)
    best = np.array(list(result.parameters.values()))

    def slopes(at):
        steps = np.diag(1e-5 * np.abs(best))
        return np.stack(
            [(function(at, *(best + h)) - function(at, *(best - h))) / (2 * h.max()) for h in steps], axis=-1
        )

    scale = np.ones(N) if sigma is None else sigma
    jac = slopes(T) / scale[:, None]
    residuals = (function(T, *best) - y) / scale
    noise = 1.0 if absolute else math.sqrt(residuals @ residuals / (N - 3))
    covariance = noise**2 * np.linalg.inv(jac.T @ jac)
    error = np.sqrt(np.einsum("ti,ij,tj->t", slopes(AT), covariance, slopes(AT)))
    q = norm.ppf(0.95) if absolute else student.ppf(0.95, N - 3)
    new = 1.0 if sigma is None else np.sqrt((sigma**2).mean())
    around = np.sqrt(error**2 + (noise * new) ** 2)
    found = result.bands(AT, level=0.9)
    preds = function(AT, *best)
    expected = [preds, error, preds - q * error, preds + q * error, preds - q * around, preds + q * around]
    for ours, numbers, field in zip(found, expected, Bands._fields, strict=True):
        np.testing.assert_allclose(ours, numbers, rtol=1e-6, atol=1e-12, err_msg=field)


def test_numbers_mappings_data_frames_and_shapes():
    result = line()
    one = result.bands(1.7)
    assert all(values.shape == () for values in one)
    many = result.bands([1.7])
    assert all(values.shape == (1,) for values in many)
    for given in ({"t": AT}, pd.DataFrame({"t": AT, "other": AT}), torch.as_tensor(AT), AT.tolist()):
        for ours, expected in zip(result.bands(given), result.bands(AT), strict=True):
            assert torch.equal(ours, expected)
    assert one.preds == many.preds[0] == result.predict(1.7)
    assert one.standard_error == pytest.approx(result.bands(AT).standard_error[2].item(), rel=1e-12)


def test_several_predictors():
    rng = np.random.default_rng(1)
    x1, x2 = rng.normal(size=(2, N))
    y = 1 + 2 * x1 - x2 + 0.1 * NOISE
    result = fit("c + a*x1 + b*x2", {"x1": x1, "x2": x2}, y)
    at = {"x1": [0.0, 1.0, 3.0], "x2": [1.0, -1.0, 0.0]}
    design = np.column_stack([np.ones(3), at["x1"], at["x2"]])
    model = sm.OLS(y, np.column_stack([np.ones(N), x1, x2])).fit()
    expected = model.get_prediction(design).summary_frame()
    found = result.bands(at)
    np.testing.assert_allclose(found.standard_error, expected["mean_se"], rtol=1e-9)
    np.testing.assert_allclose(found.prediction_high, expected["obs_ci_upper"], rtol=1e-9)
    single = result.bands({"x1": 1.0, "x2": -1.0})
    assert single.standard_error.shape == ()
    assert single.standard_error == pytest.approx(expected["mean_se"][1], rel=1e-9)
    for given in ({"x1": 1.0, "x2": [-1.0, -1.0]}, {"x1": [1.0, 1.0], "x2": -1.0}):
        assert result.bands(given).standard_error.tolist() == pytest.approx([expected["mean_se"][1]] * 2, rel=1e-9)
        assert result.predict(given).tolist() == pytest.approx([expected["mean"][1]] * 2, rel=1e-9)


@pytest.mark.parametrize("batch", [(2,), (2, 3)])
def test_several_series(batch):
    text, function, truth = FUNCTIONS["decay"]
    y = function(T, **truth) + 0.1 * np.random.default_rng(0).normal(size=(*batch, N))
    sigma = np.broadcast_to(SIGMA, y.shape) * np.arange(1, 1 + math.prod(batch)).reshape(*batch, 1)
    together = fit(text, T, y, sigma=sigma, init=truth)
    each_t = AT + np.arange(math.prod(batch)).reshape(*batch, 1)
    found, elsewhere = together.bands(AT), together.bands(each_t)
    assert all(values.shape == (*batch, len(AT)) for values in found)
    number = together.bands(1.0)
    for place in np.ndindex(*batch):
        alone = fit(text, T, y[place], sigma=sigma[place], init=truth)
        for ours, expected in zip(found, alone.bands(AT), strict=True):
            np.testing.assert_allclose(ours[place], expected, rtol=1e-7, atol=1e-12)
        for ours, expected in zip(elsewhere, alone.bands(each_t[place]), strict=True):
            np.testing.assert_allclose(ours[place], expected, rtol=1e-7, atol=1e-12)
        assert number.prediction_low[place].item() == pytest.approx(alone.bands(1.0).prediction_low.item(), rel=1e-7)


@pytest.mark.parametrize("sigma", [0, -1.0, [1.0, math.nan, 1, 1, 1]])
def test_a_sigma_that_is_none(sigma):
    with pytest.raises(InputError, match="sigma: expected standard deviations above 0"):
        line().bands(AT, sigma=sigma)


@pytest.mark.parametrize("sigma", [[1.0, 2.0], np.ones((2, 5))])
def test_a_sigma_of_another_shape(sigma):
    with pytest.raises(InputError, match="sigma has shape"):
        line().bands(AT, sigma=sigma)


def test_a_level_that_is_none():
    with pytest.raises(InputError, match=r"level: given 95, expected a number between 0 and 1"):
        line().bands(AT, level=95)


def test_bands_hold_what_they_say():
    """Of 2,000 lines at one t: the curve in the confidence band, a new observation in the prediction band."""
    rng = np.random.default_rng(8)
    truth = 1.5 * T - 0.5
    result = fit("a*t + b", T, truth + 0.3 * rng.normal(size=(2000, N)))
    found = result.bands(AT, level=0.9)
    curve = 1.5 * AT - 0.5
    new = curve + 0.3 * rng.normal(size=(2000, len(AT)))
    inside = ((found.confidence_low.numpy() <= curve) & (curve <= found.confidence_high.numpy())).mean(axis=0)
    hit = ((found.prediction_low.numpy() <= new) & (new <= found.prediction_high.numpy())).mean(axis=0)
    five = 4 * math.sqrt(0.9 * 0.1 / 2000)
    assert (abs(inside - 0.9) < five).all()
    assert (abs(hit - 0.9) < five).all()


def shades(axes):
    return {one.get_label(): one for one in axes.collections if isinstance(one, FillBetweenPolyCollection)}


def test_a_picture_shows_them():
    result = line()
    axes = result.plot().axes[0]
    drawn = shades(axes)
    assert set(drawn) == {"95 % confidence band", "95 % prediction band"}
    design = np.column_stack([T[[0, -1]], np.ones(2)])
    frame = of_statsmodels().get_prediction(design).summary_frame()
    for name, low, high in (
        ("95 % confidence band", "mean_ci_lower", "mean_ci_upper"),
        ("95 % prediction band", "obs_ci_lower", "obs_ci_upper"),
    ):
        corners = drawn[name].get_paths()[0].vertices
        for i, t in enumerate(T[[0, -1]]):
            edge = corners[np.isclose(corners[:, 0], t), 1]
            assert edge.min() == pytest.approx(frame[low][i], rel=1e-6)
            assert edge.max() == pytest.approx(frame[high][i], rel=1e-6)
    below = min(one.get_zorder() for one in axes.collections if one.get_label() not in drawn)
    assert all(one.get_zorder() < below for one in drawn.values())


def test_a_picture_of_several_series_shows_them_where_they_have_arrived():
    y = np.stack([1.5 * T - 0.5 + SIGMA * NOISE, T + 2 * NOISE, -T + 0.1 * NOISE])
    assert all(len(shades(axes)) == 2 for axes in fit("a*t + b", T, y).plot().axes[:3])
    assert not any(shades(axes) for axes in fit("a*t + b", T, y, lr=1e-5).plot().axes)
    assert not any(shades(axes) for axes in line(lr=1e-5).plot().axes)


@pytest.mark.parametrize(
    "others", [{"loss": "mae"}, {"function": "a*t + b + c"}, {"t": T[:2]}], ids=["mae", "undetermined", "two points"]
)
def test_a_picture_of_what_has_no_errors(others):
    """Drawn without warnings, and without bands unless there are some."""
    given = {"function": "a*t + b", "t": T} | others
    y = 1.5 * given["t"] - 0.5 + SIGMA[: len(given["t"])] * NOISE[: len(given["t"])]
    drawn = shades(fit(given.pop("function"), given.pop("t"), y, **given).plot().axes[0])
    assert len(drawn) == (2 if "function" in others else 0)


CURVES_FILE = '''import torch


def share(t, a, k):
    """a * exp(-k t) over its sum: each prediction depends on all points."""
    values = torch.exp(-k * t)
    return a * values / values.sum(dim=-1, keepdim=True)
'''


def table_of(path):
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0] if name != "series"}


@pytest.fixture
def fitted_by_command(tmp_path):
    """What fits a table in one process and predicts in another; gives back CSV, result.json and output."""

    def run(function, table, *options, precision="64-true", predicted=(), command=forked):
        (tmp_path / "data.csv").write_text(table)
        (tmp_path / "curves.py").write_text(CURVES_FILE)
        data = ["--data=Table", "--data.path=data.csv", "--data.t=t", "--data.y=y", *options]
        others = [f"--trainer.precision={precision}", "--plots.film_strip=[]", "--plots.landscape=false"]
        model = [f"--model.function={function}", "--model.optimizer=LevenbergMarquardt", "--model.start=data"]
        done = forked("fit", *model, *data, *others, cwd=tmp_path)
        assert done.code == 0, done.err
        folder = tmp_path / "lightning_logs" / "version_0"
        done = command("predict", "--ckpt_path", "last", *predicted, cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        return table_of(folder / "predictions.csv"), json.loads((folder / "result.json").read_text()), done.out

    return run


def rows(*columns, names):
    return "\n".join([",".join(names), *(",".join(map(repr, map(float, row))) for row in zip(*columns, strict=True))])


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_predict_of_the_command_line(fitted_by_command, precision):
    y = 1.5 * T - 0.5 + SIGMA * NOISE
    found, result, _ = fitted_by_command(
        "a*t + b",
        rows(T, y, SIGMA, names=["t", "y", "s"]),
        "--data.sigma=s",
        precision=precision,
        predicted=["--level=0.9"],
        command=gd_lightning if precision == "32-true" else forked,
    )
    design = np.column_stack([T, np.ones(N)])
    expected = of_statsmodels(True).get_prediction(design, weights=SIGMA**-2.0).summary_frame(alpha=0.1)
    rel = 1e-3 if precision.startswith("32") else 1e-7
    for name, theirs in {
        "prediction": "mean",
        "standard_error": "mean_se",
        "confidence_low": "mean_ci_lower",
        "confidence_high": "mean_ci_upper",
        "prediction_low": "obs_ci_lower",
        "prediction_high": "obs_ci_upper",
    }.items():
        np.testing.assert_allclose(found[name], expected[theirs], rtol=rel, atol=rel, err_msg=name)
    assert list(result["standard_errors"].values()) == pytest.approx(of_statsmodels(True).bse.tolist(), rel=rel)
    assert result["intervals"]["level"] == 0.95


@pytest.mark.parametrize("sigma", ["none", "some", "all"])
def test_predict_at_new_points(fitted_by_command, tmp_path, sigma):
    """Where there are no data; a new observation has its own sigma, else the root mean square of the fit's."""
    typical = np.sqrt((SIGMA**2).mean())
    own = {"none": [None] * 5, "some": [0.1, None, 0.2, None, 0.3], "all": [0.1, 0.2, 0.3, 0.4, 0.5]}[sigma]
    lines = [f"{t!r},{'' if one is None else one}" for t, one in zip(AT.tolist(), own, strict=True)]
    new = ["t", *map(repr, AT.tolist())] if sigma == "none" else ["t,s", *lines]
    (tmp_path / "new.csv").write_text("\n".join(new))
    found, _, out = fitted_by_command(
        "a*t + b",
        rows(T, 1.5 * T - 0.5 + SIGMA * NOISE, SIGMA, names=["t", "y", "s"]),
        "--data.sigma=s",
        predicted=["--data.path=new.csv"],
    )
    assert "No data, no residuals: no row has a value of y." in out
    assert np.isnan(found["data"]).all()
    assert np.isnan(found["residual"]).all()
    each = np.array([typical if one is None else one for one in own])
    design = np.column_stack([AT, np.ones(len(AT))])
    expected = of_statsmodels(True).get_prediction(design, weights=each**-2.0).summary_frame()
    columns = ["mean", "mean_se", "mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper"]
    for ours, theirs in zip(["prediction", *Bands._fields[1:]], columns, strict=True):
        np.testing.assert_allclose(found[ours], expected[theirs], rtol=1e-7, err_msg=ours)


@pytest.mark.parametrize("given", ["--data.sigma=s", "--data.sigma=null"])
def test_predict_at_new_points_of_some_series(fitted_by_command, tmp_path, given):
    """Of unequal lengths, one of the three left out, in another order; each series has its own typical sigma."""
    sigmas = SIGMA * np.array([[1.0], [3.0], [9.0]])
    y = np.array([[1.5], [-1.0], [4.0]]) * T + sigmas * NOISE
    lines = [f"{who},{T[j]},{y[i, j]},{sigmas[i, j]}" for i, who in enumerate("abc") for j in range(N)]
    (tmp_path / "new.csv").write_text("t,who\n9.0,c\n-1.0,a\n1.7,c\n4.0,c\n")
    found, _, _ = fitted_by_command(
        "a*t + b",
        "\n".join(["who,t,y,s", *lines]),
        "--data.series=who",
        "--data.sigma=s",
        predicted=["--data.path=new.csv", given],
    )
    assert found["t"].tolist() == [9.0, 1.7, 4.0, -1.0]
    for i, part in ((2, slice(0, 3)), (0, slice(3, 4))):
        design = np.column_stack([T, np.ones(N)])
        at = np.column_stack([found["t"][part], np.ones(len(found["t"][part]))])
        model = sm.WLS(y[i], design, weights=sigmas[i] ** -2.0).fit()
        frame = model.get_prediction(at, weights=1 / (sigmas[i] ** 2).mean()).summary_frame()
        np.testing.assert_allclose(found["prediction"][part], frame["mean"], rtol=1e-7)
        np.testing.assert_allclose(found["confidence_low"][part], frame["mean_ci_lower"], rtol=1e-6)
        np.testing.assert_allclose(found["prediction_high"][part], frame["obs_ci_upper"], rtol=1e-6)


def test_predict_of_a_function_that_mixes_its_points(fitted_by_command):
    values = np.exp(-1.2 * T)
    y = 20 * values / values.sum() + 0.02 * NOISE
    found, result, _ = fitted_by_command("curves.share", rows(T, y, names=["t", "y"]))
    best = np.array([result["parameters"]["a"], result["parameters"]["k"]])

    def share(a, k):
        values = np.exp(-k * T)
        return a * values / values.sum()

    steps = np.diag(1e-5 * best)
    slopes = np.stack([(share(*(best + h)) - share(*(best - h))) / (2 * h.max()) for h in steps], axis=-1)
    error = np.sqrt(np.einsum("ti,ij,tj->t", slopes, np.array(result["covariance"]), slopes))
    np.testing.assert_allclose(found["standard_error"], error, rtol=1e-5)


def test_predict_of_several_series(fitted_by_command):
    names = np.repeat(["first", "second"], N)
    t, slope = np.tile(T, 2), np.repeat([1.5, -1.0], N)
    y = slope * t + np.tile(NOISE, 2) * np.repeat([0.1, 0.5], N)
    table = "\n".join(
        ["who,t,y", *(f"{who},{a!r},{b!r}" for who, a, b in zip(names, t.tolist(), y.tolist(), strict=True))]
    )
    found, _, _ = fitted_by_command("a*t + b", table, "--data.series=who")
    for i in range(2):
        part = slice(i * N, (i + 1) * N)
        design = np.column_stack([T, np.ones(N)])
        frame = sm.OLS(y[part], design).fit().get_prediction(design).summary_frame()
        np.testing.assert_allclose(found["confidence_low"][part], frame["mean_ci_lower"], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found["prediction_high"][part], frame["obs_ci_upper"], rtol=1e-6, atol=1e-9)


def test_predict_tells_that_a_bound_is_taken_as_known(fitted_by_command):
    table = rows(T, -1.5 * T + 0.1 * NOISE, names=["t", "y"])
    _, _, out = fitted_by_command("a*t + b", table, "--model.parameters={a: {min: -1}}")
    assert out.endswith("At a bound: a, which the bands take as known to be there.\n")
