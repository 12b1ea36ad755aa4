import pickle
import subprocess
import sys
from unittest import SkipTest

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import statsmodels.api as sm
import torch
from conftest import ROOT
from scipy.optimize import curve_fit
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from gd_lightning import SGD, InputError
from gd_lightning.sklearn import CurveRegressor

DECAY = "a*exp(-x/tau) + c"


def plane_wave(t, z, amplitude, rate):
    return amplitude * torch.exp(-rate * t) + z


@pytest.fixture
def many():
    """Three columns, and a sum of parabolas along them with noise."""
    random = np.random.default_rng(1)
    X = random.normal([0, 2, -1], size=(60, 3))
    y = 1 + X @ [2, 0, -1] + 0.5 * X[:, 1] ** 2 + 0.3 * random.normal(size=60)
    return X, y, random.uniform(0.2, 3, 60)


@pytest.fixture
def decay():
    """One column, and an exponential decay with noise."""
    random = np.random.default_rng(2)
    X = np.sort(random.uniform(0, 5, 50))[:, None]
    return X, 3 * np.exp(-X[:, 0] / 1.5) + 1 + 0.05 * random.normal(size=50)


def terms(X):
    """The columns of which the default is a sum, in the order of its parameters."""
    return np.column_stack([np.ones(len(X)), *(term for x in X.T for term in (x**2, x))])


@parametrize_with_checks([CurveRegressor()])
def test_the_checks_of_scikit_learn(estimator, check, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # without which one of them skips itself
    try:
        check(estimator)
    except SkipTest as skipped:
        pytest.fail(f"skipped: {skipped}")


def test_no_tag_asks_for_less():
    tags, plain = get_tags(CurveRegressor()), get_tags(LinearRegression())
    less = [tags.no_validation, tags.non_deterministic, tags._skip_test, tags.regressor_tags.poor_score]
    assert less == [False] * 4
    assert (tags.estimator_type, tags.target_tags.required) == (plain.estimator_type, plain.target_tags.required)
    assert tags.input_tags.two_d_array
    assert not tags.input_tags.allow_nan


def test_the_default_is_linear_regression_on_squares(many):
    X, y, weight = many
    ours = CurveRegressor().fit(X, y, weight)
    theirs = LinearRegression(fit_intercept=False).fit(terms(X), y, weight)
    np.testing.assert_allclose(list(ours.parameters_.values()), theirs.coef_, rtol=1e-10)
    np.testing.assert_allclose(ours.predict(X + 1), theirs.predict(terms(X + 1)), rtol=1e-10)
    assert ours.score(X, y, weight) == pytest.approx(theirs.score(terms(X), y, weight))
    assert list(ours.parameters_) == ["c", "a0", "b0", "a1", "b1", "a2", "b2"]
    assert ours.equation_ == "y = c + a0*x0**2 + b0*x0 + a1*x1**2 + b1*x1 + a2*x2**2 + b2*x2"
    assert (ours.n_features_in_, ours.n_iter_, ours.result_.status) == (3, ours.result_.steps, "converged")


@pytest.mark.parametrize("weighted", [False, True])
def test_standard_errors_and_deviations_of_new_observations(many, weighted):
    X, y, weight = many
    weight = weight if weighted else np.ones(len(y))
    ours = CurveRegressor().fit(X, y, weight if weighted else None)
    theirs = sm.WLS(y, terms(X), weights=weight).fit()
    np.testing.assert_allclose(list(ours.standard_errors_.values()), theirs.bse, rtol=1e-9)
    mean, deviation = ours.predict(X + 1, return_std=True)
    ahead = theirs.get_prediction(terms(X + 1))
    np.testing.assert_allclose(mean, ahead.predicted_mean, rtol=1e-9)
    np.testing.assert_allclose(deviation, ahead.se_obs, rtol=1e-9)


def test_weights_that_are_absolute(many):
    X, y, weight = many
    ours = CurveRegressor(absolute_sigma=True).fit(X, y, weight)
    theirs = sm.WLS(y, terms(X), weights=weight).fit(cov_type="fixed scale")
    np.testing.assert_allclose(list(ours.standard_errors_.values()), theirs.bse, rtol=1e-9)
    _, deviation = ours.predict(X, return_std=True)
    np.testing.assert_allclose(deviation, np.hypot(1, theirs.get_prediction(terms(X)).se_mean), rtol=1e-9)


@pytest.mark.parametrize("function", [DECAY, "exponential_decay"])
def test_a_function_that_is_not_linear_as_scipy_fits_it(decay, function):
    X, y = decay
    weight = np.linspace(0.5, 2, len(y))
    ours = CurveRegressor(function).fit(X, y, weight)
    expected, covariance = curve_fit(
        lambda x, a, tau, c: a * np.exp(-x / tau) + c,
        X[:, 0],
        y,
        (1, 1, 1),
        1 / np.sqrt(weight),
        xtol=1e-14,
        ftol=1e-14,
    )
    np.testing.assert_allclose(list(ours.parameters_.values()), expected, rtol=1e-6)
    np.testing.assert_allclose(list(ours.standard_errors_.values()), np.sqrt(np.diag(covariance)), rtol=1e-5)


def test_deviations_cover_new_observations_as_often_as_they_say(decay):
    X, y = decay
    fitted = CurveRegressor(DECAY).fit(X, y)
    random = np.random.default_rng(3)
    new = random.uniform(0, 5, (4000, 1))
    mean, deviation = fitted.predict(new, return_std=True)
    observed = 3 * np.exp(-new[:, 0] / 1.5) + 1 + 0.05 * random.normal(size=4000)
    assert np.mean(np.abs(observed - mean) < deviation) == pytest.approx(
        0.683, abs=0.05
    )  # that of 50 points itself errs


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (5, 4), (8, 4)], ids=str)
def test_of_many_fits_to_few_samples_the_least_parameters(shape):
    random = np.random.default_rng(4)
    X, y = random.normal(size=shape), random.normal(size=shape[0])
    fitted = CurveRegressor().fit(X, y)
    size = np.linalg.norm(terms(X), axis=0)
    expected = np.linalg.pinv(terms(X) / size) @ y / size  # the least, each in units of its column
    np.testing.assert_allclose(list(fitted.parameters_.values()), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fitted.predict(X), y, atol=1e-10)
    assert fitted.result_.status == "singular"
    assert "the data do not determine" in fitted.result_.message
    assert set(fitted.standard_errors_.values()) == {np.inf}
    assert np.isinf(fitted.predict(X, return_std=True)[1]).all()
    assert "singular" in str(fitted.result_)


def test_a_column_that_is_constant_or_stands_twice(many):
    X, y, _ = many
    more = np.column_stack([X, np.full(len(X), 7.0), X[:, 0]])
    fitted = CurveRegressor().fit(more, y)
    np.testing.assert_allclose(fitted.predict(more), CurveRegressor().fit(X, y).predict(X), rtol=1e-9)
    assert fitted.result_.status == "singular"
    assert [name for name, error in fitted.standard_errors_.items() if np.isfinite(error)] == ["a1", "b1", "a2", "b2"]
    deviation = fitted.predict(more, return_std=True)[1]  # in all that was seen, the two columns go together
    np.testing.assert_allclose(deviation, CurveRegressor().fit(X, y).predict(X, return_std=True)[1], rtol=1e-9)
    apart = np.column_stack([more[:, :4], X[:, 0] + 1])
    assert np.isinf(fitted.predict(apart, return_std=True)[1]).all()
    mean = CurveRegressor().fit(np.full((4, 1), 2.0), [1, 2, 3, 6])
    assert mean.predict([[2.0]]) == pytest.approx(3)


def test_a_weight_of_zero_leaves_out_and_a_whole_one_repeats(decay):
    X, y = decay
    times = np.arange(len(y)) % 3
    X, y = np.where(times[:, None], X, 1e3), np.where(times, y, 1e6)  # where it would show
    weighted = CurveRegressor(DECAY).fit(X, y, times)
    kept = CurveRegressor(DECAY).fit(X[times > 0], y[times > 0], times[times > 0])
    repeated = CurveRegressor(DECAY).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    assert weighted.parameters_ == kept.parameters_
    assert weighted.standard_errors_ == kept.standard_errors_
    assert weighted.parameters_ == pytest.approx(repeated.parameters_, rel=1e-9)


def test_fixed_tied_and_bounded_parameters(many):
    X, y, _ = many
    demands = {"a0": {"fixed": 0}, "b1": {"expr": "-2*b2"}, "a1": {"max": 0.2}}
    fitted = CurveRegressor(parameters=demands).fit(X, y)
    found, error = fitted.parameters_, fitted.standard_errors_
    assert (found["a0"], found["a1"], found["b1"]) == (0, 0.2, -2 * found["b2"])
    one, square = np.ones(len(y)), X**2
    theirs = sm.OLS(y - 0.2 * square[:, 1], np.column_stack([one, X[:, 0], square[:, 2], X[:, 2] - 2 * X[:, 1]])).fit()
    expected = dict(zip(["c", "b0", "a2", "b2"], theirs.bse, strict=True))
    assert {name: error[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert error["b1"] == pytest.approx(2 * error["b2"])
    assert error["a0"] == 0
    assert np.isnan(error["a1"])


X3 = np.random.default_rng(5).uniform(1, 2, (30, 3))
Y3 = np.random.default_rng(6).uniform(1, 2, 30)
USES = {
    "a family and the only column": ("gaussian", X3[:, :1], ["t"], [0]),
    "a family and the only column by another name": ("gaussian", pd.DataFrame({"width": X3[:, 0]}), ["t"], [0]),
    "a family and the column t": ("linear", pd.DataFrame(X3, columns=["a", "t", "b"]), ["t"], [1]),
    "a formula in t": ("a*t + b", X3[:, :1], ["t"], [0]),
    "a formula in x": (DECAY, X3[:, :1], ["x"], [0]),
    "a formula in x0": ("a*x0 + b", X3[:, :1], ["x0"], [0]),
    "a formula in x1 and x2": ("a*x1 + b*x2", X3, ["x1", "x2"], [1, 2]),
    "a formula by name": ("a*heat + b", pd.DataFrame(X3, columns=["time", "heat", "x"]), ["heat"], [1]),
    "a formula in quotes": ("a*`the heat` + b", pd.DataFrame(X3[:, :1], columns=["the heat"]), ["the heat"], [0]),
    "a formula in t for a name": ("a*t + b", pd.DataFrame(X3[:, :1], columns=["time"]), ["t"], [0]),
    "a formula by polars": (
        "a*heat + b*time",
        pl.DataFrame({"time": X3[:, 0], "heat": X3[:, 1]}),
        ["time", "heat"],
        [0, 1],
    ),
    "a callable in order": (plane_wave, X3[:, :2], ["t", "z"], [0, 1]),
    "a callable by name": (plane_wave, pd.DataFrame(X3[:, :2], columns=["z", "t"]), ["z", "t"], [0, 1]),
    "a callable in order for other names": (
        plane_wave,
        pd.DataFrame(X3[:, :2], columns=["u", "v"]),
        ["t", "z"],
        [0, 1],
    ),
}


@pytest.mark.parametrize(("function", "X", "predictors", "columns"), USES.values(), ids=USES)
def test_the_columns_are_the_predictors(function, X, predictors, columns):
    fitted = CurveRegressor(function, steps=20_000).fit(X, Y3)
    assert list(fitted.result_.curve.predictors) == predictors
    for at, column in zip(columns, fitted.result_.points.columns, strict=True):
        assert column.tolist() == X3[:, at].tolist()
    values = {**dict(zip(predictors, X3[:, columns].T, strict=True)), **fitted.parameters_}
    if function is plane_wave:
        expected = values["amplitude"] * np.exp(-values["rate"] * values["t"]) + values["z"]
        np.testing.assert_allclose(fitted.predict(X), expected, rtol=1e-12)


def test_a_data_frame_gives_names(decay):
    X, y = decay
    frame, series = pd.DataFrame(X, columns=["time"]), pd.Series(y, name="height")
    fitted = CurveRegressor(DECAY.replace("x/", "time/")).fit(frame, series)
    assert fitted.feature_names_in_.tolist() == ["time"]
    assert fitted.result_.labels == ("time", "height")
    assert (fitted.predict(frame) == fitted.result_.predict(frame).numpy()).all()
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(frame.rename(columns={"time": "hours"}))


REFUSED = {
    "a family of several columns": (
        {"function": "gaussian"},
        {},
        "function: X has 3 columns, and gaussian has one predictor",
    ),
    "columns counted from 1": (
        {"function": "a*x1 + b*x2 + c*x3 + d"},
        {},
        "the columns of X are x0, x1, x2;",
    ),
    "a tolerance that is a number": ({"tolerance": 3}, {}, "tolerance: given 3, expected numbers by name"),
    "a formula without columns": ({"function": "a*t + b"}, {}, "none of the columns x0 to x2"),
    "a callable of too few": (
        {"function": lambda t, z, a: a * t * z},
        {},
        "X has 3 columns, and <lambda> has the arguments t, z, a",
    ),
    "no function": ({"function": "gausian"}, {}, "did you mean 'gaussian'"),
    "no function at all": ({"function": 3}, {}, "function: given 3"),
    "parameters": ({"parameters": {"d": 1}}, {}, "no parameter 'd'"),
    "init": ({"init": {"d": 1}}, {}, "no parameter 'd'"),
    "start": ({"start": "zero"}, {}, "start: given 'zero'"),
    "loss": ({"loss": "mean"}, {}, "loss: given 'mean'"),
    "optimizer": ({"optimizer": "SGD"}, {}, "optimizer: given the text 'SGD'"),
    "lr": ({"lr": -1.0}, {}, "lr"),
    "steps": ({"steps": 0}, {}, "steps: given 0"),
    "seed": ({"random_state": -1}, {}, "random_state: given -1"),
    "too few samples": ({"function": "a*x0 + b*x1 + c*x2 + d", "rows": 3}, {}, "has 3 points, expected at least 4"),
    "weight": ({}, {"sample_weight": -np.ones(30)}, "sample_weight: sample 1 has -1, expected at least 0"),
}


@pytest.mark.parametrize(("arguments", "given", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_one_line(arguments, given, message):
    rows = arguments.get("rows", 30)
    estimator = CurveRegressor(**{name: value for name, value in arguments.items() if name != "rows"})
    with pytest.raises(InputError) as caught:
        estimator.fit(X3[:rows], Y3[:rows], **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_column_of_y_and_not_two(decay):
    X, y = decay
    with pytest.warns(DataConversionWarning):
        column = CurveRegressor(DECAY).fit(X, y[:, None])
    assert column.parameters_ == CurveRegressor(DECAY).fit(X, y).parameters_
    with pytest.raises(ValueError, match="1d array"):
        CurveRegressor(DECAY).fit(X, np.column_stack([y, y]))


def test_before_it_is_fitted():
    estimator = CurveRegressor()
    with pytest.raises(NotFittedError):
        estimator.predict(X3)
    assert not hasattr(estimator, "standard_errors_")


def test_gradient_descent_and_a_fit_that_has_not_arrived(many):
    X, y, _ = many
    X = StandardScaler().fit_transform(X)
    slow = CurveRegressor(optimizer=SGD, lr=1e-3)
    with pytest.warns(ConvergenceWarning, match="step limit"):
        slow.fit(X, y)
    assert slow.n_iter_ == 10
    patient = clone(slow).set_params(lr="auto", steps=5000).fit(X, y)
    assert patient.result_.status == "converged"
    np.testing.assert_allclose(patient.predict(X), CurveRegressor().fit(X, y).predict(X), rtol=1e-3, atol=1e-3)


def test_the_random_state():
    """Of a start that is drawn, which Levenberg-Marquardt leaves for the same end."""

    def start(random_state):
        return CurveRegressor("quadratic", random_state=random_state).fit(X3[:, :1], Y3).result_.initial_parameters

    assert start(7) == start(np.int64(7)) != start(8)
    assert start(np.random.RandomState(7)) == start(np.random.RandomState(7)) != start(7)
    assert start(None) != start(None)


def test_a_grid_finds_the_function(decay):
    X, y = decay
    functions = ["linear", "quadratic", "a*exp(-x/tau)", "exponential_decay", "polynomial(9)"]
    folds = KFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(CurveRegressor(), {"function": functions}, cv=folds).fit(X, y)
    assert search.best_params_ == {"function": "exponential_decay"}
    assert search.best_estimator_.parameters_["tau"] == pytest.approx(1.5, rel=0.1)


def test_in_several_processes(decay):
    X, y = decay
    estimator = CurveRegressor("a*x + b", parameters={"b": {"expr": "2*a"}})
    scores = [cross_val_score(estimator, X, y, cv=2, n_jobs=jobs) for jobs in (1, 2)]
    assert scores[0].tolist() == scores[1].tolist()


def test_scores_as_those_of_linear_regression(many):
    X, y, _ = many
    ours, theirs = cross_val_score(CurveRegressor(), X, y), cross_val_score(LinearRegression(), terms(X), y)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_in_a_pipeline(many):
    X, y, _ = many
    scaled = make_pipeline(StandardScaler(), CurveRegressor()).fit(X, y)
    np.testing.assert_allclose(scaled.predict(X), CurveRegressor().fit(X, y).predict(X), rtol=1e-9)


@pytest.mark.parametrize("function", [None, "gaussian", "polynomial(2)", DECAY, "x0*a + b", plane_wave])
def test_a_fitted_one_can_be_pickled(function, tmp_path):
    X = X3[:, :1] if function != plane_wave else X3[:, :2]
    fitted = CurveRegressor(function, steps=20_000).fit(X, Y3)
    again = pickle.loads(pickle.dumps(fitted))
    assert (again.predict(X) == fitted.predict(X)).all()
    assert again.standard_errors_ == pytest.approx(fitted.standard_errors_, nan_ok=True)
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    assert (joblib.load(tmp_path / "fitted.joblib").predict(X) == fitted.predict(X)).all()


def in_a_fresh_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip(), done.stderr.strip()


def test_without_scikit_learn_one_line_says_what_to_install():
    _, error = in_a_fresh_process("import sys; sys.modules['sklearn'] = None; import gd_lightning.sklearn")
    assert error.splitlines()[-1] == (
        "ImportError: gd_lightning.sklearn needs scikit-learn, which is not installed; "
        "run: pip install 'gd-lightning[sklearn]'"
    )


def test_nobody_else_imports_scikit_learn_and_it_imports_no_lightning():
    code = "import sys, gd_lightning; from gd_lightning import fit; print('sklearn' in sys.modules); "
    code += (
        "import gd_lightning.sklearn; print([name in sys.modules for name in ('sklearn', 'lightning', 'matplotlib')])"
    )
    assert in_a_fresh_process(code) == ("False\n[True, False, False]", "")
