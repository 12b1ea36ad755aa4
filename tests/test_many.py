"""Very many series in one call: each as if it were alone, whatever happens to the others."""

import threading

import numpy as np
import pytest
import torch
from lmfit import Model
from scipy.optimize import curve_fit, least_squares
from test_functions import FAMILIES
from test_levenberg_marquardt import TIGHT, noisy
from torch._inductor.cpu_vec_isa import pick_vec_isa

from gd_lightning import InputError, fit
from gd_lightning.curve import Curve
from gd_lightning.functions import gaussian
from gd_lightning.losses import make_loss
from gd_lightning.many import Many, inflations
from gd_lightning.planes import Planes, SeriesPlanes, Tools, compiler_works
from gd_lightning.points import Points
from gd_lightning.residuals import Residuals

PEAK = "amplitude*exp(-(t - center)**2/(2*width**2)) + offset"
NAMES = ("amplitude", "center", "width", "offset")
START = {"amplitude": 2.0, "center": 5.0, "width": 1.2, "offset": 0.5}
COUNT = 60  # more than are followed step by step


def peak(t, amplitude, center, width, offset):
    return amplitude * np.exp(-((t - center) ** 2) / (2 * width**2)) + offset


def peaks(count=COUNT, length=50, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 10, length)
    truth = np.stack([rng.uniform(low, high, count) for low, high in ((1, 3), (4, 6), (0.8, 1.6), (0, 1))])
    return t, peak(t, *truth[..., None]) + noise * rng.normal(size=(count, length)), truth.T


def many(function, points, start, demands=None, dtype=torch.float64, **options):
    curve = Curve(function, demands).to(dtype)
    curve.set_params(torch.zeros(len(points.targets), len(curve.names)))
    start = torch.as_tensor(np.asarray(start)).expand(len(points.targets), -1).to(dtype)
    return Many(curve, **options).fit(points.to(torch.empty(0, dtype=dtype)), start)


def points_of(t, y, sigma=None):
    return Points(torch.as_tensor(t), torch.as_tensor(y), None if sigma is None else torch.as_tensor(sigma))


# Each as if it were alone


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gives_what_a_single_fit_gives(name):
    _, t, y, truth = noisy(name, 0, 0.01)
    rng = np.random.default_rng(3)
    y = y + 0.003 * np.ptp(y) * rng.normal(size=(COUNT, len(t)))
    near = dict(zip(Curve(name).names, truth * 1.01, strict=True))
    found = fit(name, t, y, init=near)
    assert found.steps_each is not None
    for i in range(0, COUNT, 15):
        alone = fit(name, t, y[i], init=near)
        assert found.status[i] == alone.status
        assert float(found.rmse[i]) == pytest.approx(alone.rmse, rel=1e-9)
        for parameter, value in alone.parameters.items():
            error = alone.standard_errors[parameter]
            assert abs(float(found.parameters[parameter][i]) - value) <= 1e-8 * abs(value) + 1e-8 * error


@pytest.mark.parametrize("name", ["gaussian", "exponential_decay", "sine", "cubic", "hill"])
def test_in_single_precision_four_digits(name):
    _, t, y, truth = noisy(name, 0, 0.01)
    y = np.tile(y, (COUNT, 1))
    found = many(name, points_of(t, y), truth * 1.01, dtype=torch.float32)
    alone = fit(name, t, y[0], init=dict(zip(Curve(name).names, truth * 1.01, strict=True)))
    assert set(found.status) == {"converged"}
    expected = np.array(list(alone.parameters.values()))
    errors = np.array(list(alone.standard_errors.values()))
    assert (abs(found.params.numpy() - expected) <= 1e-4 * abs(expected) + 1e-3 * errors).all()


def test_beside_scipy():
    t, y, _ = peaks()
    found = fit(PEAK, t, y, init=START)
    assert (found.status == "converged").all()
    for i in range(0, COUNT, 6):
        start = list(START.values())
        _, covariance = curve_fit(peak, t, y[i], p0=start, xtol=1e-14, ftol=1e-14, gtol=1e-14)
        expected = least_squares(lambda p, row=y[i]: peak(t, *p) - row, start, **TIGHT).x
        mine = np.array([float(found.parameters[name][i]) for name in NAMES])
        np.testing.assert_allclose(mine, expected, rtol=1e-6)
        errors = np.array([float(found.standard_errors[name][i]) for name in NAMES])
        np.testing.assert_allclose(errors, np.sqrt(np.diag(covariance)), rtol=1e-4)


def test_errors_of_the_quick_way_are_those_of_singular_values():
    t, y, _ = peaks()
    found = many(PEAK, points_of(t, y), list(START.values()))
    expected = fit(PEAK, t, y, init=START).standard_errors
    np.testing.assert_allclose(found.errors.numpy(), np.stack([expected[name] for name in NAMES], axis=-1), rtol=1e-8)


def test_beside_lmfit_with_weights_bounds_fixed_and_tied_parameters():
    t, y, _ = peaks(noise=0.1)
    sigma = 0.1 * (1 + t / 10)
    demands = {"amplitude": {"max": 2.0}, "width": {"expr": "center/5"}, "offset": {"fixed": 0.4}}
    found = fit(PEAK, t, y, sigma=sigma, init={"amplitude": 1.5, "center": 5.0}, parameters=demands)
    model = Model(peak)
    for i in range(0, COUNT, 10):
        params = model.make_params(amplitude={"value": 1.5, "max": 2.0}, center=5.0, width={"expr": "center/5"})
        params.add("offset", value=0.4, vary=False)
        expected = model.fit(y[i], params, t=t, weights=1 / sigma, fit_kws={"ftol": 1e-14, "xtol": 1e-14})
        held = expected.params["amplitude"].value > 2 - 1e-6
        assert found.status[i] == ("at bound" if held else "converged")
        if held:
            assert "amplitude is held by its upper bound 2" in found.messages[i]
        for name in NAMES:
            value = expected.params[name].value
            assert float(found.parameters[name][i]) == pytest.approx(value, rel=1e-5)
        assert float(found.parameters["width"][i]) == pytest.approx(float(found.parameters["center"][i]) / 5)
    bound = [status == "at bound" for status in found.status]
    assert 0 < sum(bound) < COUNT


@pytest.mark.parametrize("loss", ["huber(0.1)", "cauchy(0.1)", "mae"])
def test_robust_losses(loss):
    t, y, _ = peaks()
    y[:, ::7] += 1.0
    found = many(PEAK, points_of(t, y), list(START.values()), loss_function=make_loss(loss))
    for i in range(0, COUNT, 20):
        alone = fit(PEAK, t, y[i], init=START, loss=loss)
        assert found.status[i] == alone.status
        np.testing.assert_allclose(found.params[i], list(alone.parameters.values()), rtol=1e-6)
        assert float(found.rmse[i]) == pytest.approx(alone.rmse, rel=1e-6)
        errors = list(alone.standard_errors.values())
        np.testing.assert_allclose(found.errors[i], errors, rtol=1e-5)


def test_linear_functions_need_one_step():
    rng = np.random.default_rng(5)
    t, y = np.linspace(-1, 3, 30), rng.normal(size=(COUNT, 30))
    found = many("quadratic", points_of(t, y), [0.0, 0.0, 0.0])
    np.testing.assert_allclose(found.params, np.polyfit(t, y.T, 2).T, rtol=1e-9)
    assert (found.steps == 1).all()
    alone = fit("quadratic", t, y[7])
    np.testing.assert_allclose(found.errors[7], list(alone.standard_errors.values()), rtol=1e-9)
    assert float(found.rmse[7]) == pytest.approx(alone.rmse, rel=1e-12)


def test_linear_functions_with_a_fixed_parameter_or_bounds():
    rng = np.random.default_rng(6)
    t, y = np.linspace(0, 3, 30), 2 + rng.normal(size=(COUNT, 30))
    fixed = fit("quadratic", t, y, parameters={"c": {"fixed": 2.0}})
    columns = np.stack([t**2, t], axis=-1)
    expected = np.linalg.lstsq(columns, (y - 2).T, rcond=None)[0]
    np.testing.assert_allclose(fixed.parameters["a"], expected[0], rtol=1e-8, atol=1e-10)
    assert (fixed.parameters["c"] == 2.0).all()
    bounded = fit("quadratic", t, y, parameters={"a": {"min": 0.0}}, init={"a": 1, "b": 0, "c": 0})
    assert set(bounded.status) == {"converged", "at bound"}
    assert (bounded.parameters["a"] >= 0).all()


def test_starts_from_the_data():
    t, y, truth = peaks()
    found = fit(PEAK, t, y)
    assert found.start == "multi-start"
    np.testing.assert_allclose(found.parameters["center"], truth[:, 1], atol=0.2)
    expected = fit(PEAK, t, y, init=START)
    np.testing.assert_allclose(found.parameters["offset"], expected.parameters["offset"], rtol=1e-7)


def test_each_series_begins_at_its_own_start():
    t, y, truth = peaks()
    own = dict(zip(NAMES, truth.T * 1.05, strict=True))
    found = fit(PEAK, t, y, init={**own, "offset": 0.5})
    assert (found.status == "converged").all()
    np.testing.assert_array_equal(found.initial_parameters["center"], own["center"])
    assert set(found.initial_parameters["offset"].tolist()) == {0.5}
    few = fit(PEAK, t, y[:5], init={name: values[:5] for name, values in own.items()})
    np.testing.assert_array_equal(few.initial_parameters["center"], own["center"][:5])
    np.testing.assert_allclose(few.parameters["width"], found.parameters["width"][:5], rtol=1e-8)


def test_times_of_their_own_unequal_lengths_and_leading_axes():
    _, y, _ = peaks()
    rng = np.random.default_rng(8)
    times = np.sort(rng.uniform(0, 10, y.shape), axis=-1)
    values = peak(times, 2.0, 5.0, 1.0, 0.3) + 0.02 * rng.normal(size=y.shape)
    there = np.arange(50) < rng.integers(20, 51, (COUNT, 1))
    times[~there], values[~there] = np.nan, np.nan
    shape = (3, COUNT // 3)
    found = fit(PEAK, times.reshape(*shape, 50), values.reshape(*shape, 50), mask=there.reshape(*shape, 50), init=START)
    assert found.status.shape == shape
    assert found.parameters["center"].shape == shape
    for i in (0, 33, 59):
        alone = fit(PEAK, times[i, there[i]], values[i, there[i]], init=START)
        place = np.unravel_index(i, shape)
        for name, value in alone.parameters.items():
            assert float(found.parameters[name][place]) == pytest.approx(value, rel=1e-8)
        assert float(found.rmse[place]) == pytest.approx(alone.rmse, rel=1e-10)


# What cannot be fitted


def spoilt():
    t, y, _ = peaks()
    y[3], y[7, 11], y[12, 0] = np.nan, np.inf, 1e200
    y[20] = 0.0
    return t, y


@pytest.mark.parametrize("count", [10, COUNT])
def test_a_series_that_cannot_be_fitted_disturbs_no_other(count):
    t, y = spoilt()
    y = y[:count]
    clean = [i for i in range(count) if i not in (3, 7, 12, 20)]
    found, others = fit(PEAK, t, y, init=START), fit(PEAK, t, y[clean], init=START)
    for name in NAMES:
        np.testing.assert_allclose(found.parameters[name][clean], others.parameters[name], rtol=1e-9)
        assert torch.isnan(found.parameters[name][[3, 7]]).all()
    assert list(found.status[[3, 7]]) == ["unusable", "unusable"]
    assert found.messages[3] == "y at point 1 is not a finite number; give it sigma=inf"
    assert found.messages[7] == "y at point 12 is not a finite number; give it sigma=inf"
    assert "2 unusable, the first of them series 4 (y at point 1" in found.message or count > 12
    assert torch.isnan(found.rmse[3])
    assert found.standard_errors["width"].shape == (count,)
    assert torch.isnan(found.standard_errors["width"][3])
    assert torch.isfinite(found.standard_errors["width"][clean]).all()
    if count > 20:
        assert "too large" in found.messages[12]
        assert found.status[20] == fit(PEAK, t, y[20], init=START).status == "singular"
    found.plot()
    assert "unusable" in str(found)
    assert found.to_dict()["parameters"]["width"][3] is None


@pytest.mark.parametrize("lr", [None, 1e-3])
def test_nothing_but_series_that_cannot_be_fitted(lr):
    t, y, _ = peaks(3)
    found = fit(PEAK, t, np.full_like(y, np.nan), init=START, lr=lr)
    assert list(found.status) == ["unusable"] * 3
    assert torch.isnan(found.parameters["width"]).all()


def test_each_reason():
    t, y, _ = peaks(8)
    times, sigma = np.tile(t + 0.1, (8, 1)), np.ones_like(y)
    sigma[0] = np.inf
    sigma[1, 4] = -1
    sigma[2, 3:] = np.inf
    times[3] = 2.0
    times[4, 9] = -1.0
    times[5, 2] = np.nan
    found = fit("power_law", times, abs(y), sigma=sigma, init={"amplitude": 1, "exponent": 0})
    assert list(found.status[:6]) == ["unusable", "unusable", "converged", "unusable", "unusable", "unusable"]
    assert list(found.messages[[0, 1, 3, 4, 5]]) == [
        "there is no point",
        "sigma at point 5 is not above 0",
        "all 50 points are at one t",
        "point 10 is outside t > 0, where power_law is defined",
        "t at point 3 is not a finite number",
    ]
    few = fit(PEAK, t, y, sigma=np.where(np.arange(50) < 3, 1.0, np.inf), init=START)
    assert few.messages[0] == (
        "3 points, expected at least 4: the free parameters are amplitude, center, width, offset"
    )


def test_a_start_where_the_function_is_not_finite():
    t, y, _ = peaks()
    widths = np.full(COUNT, 1.2)
    widths[4], widths[9] = 0.0, np.nan
    found = fit(PEAK, t, y, init={**START, "width": widths})
    assert found.status[4] == "diverged"
    assert found.messages[9] == "the start of width is not a finite number"
    assert torch.isnan(found.parameters["center"][[4, 9]]).all()
    assert (np.delete(found.status, [4, 9]) == "converged").all()


# Weights and masks


def test_weights_are_inverse_squares_of_sigma_and_a_mask_leaves_points_out():
    t, y, _ = peaks()
    weights = np.random.default_rng(1).uniform(0.5, 2, y.shape)
    weights[:, 5] = 0
    spoilt = y.copy()
    spoilt[:, 5], spoilt[:, 9] = 99.0, np.nan
    mask = np.arange(50) != 9
    found = fit(PEAK, t, spoilt, weights=weights, mask=mask, init=START)
    there = [i for i in range(50) if i not in (5, 9)]
    expected = fit(PEAK, t[there], y[:, there], sigma=weights[:, there] ** -0.5, init=START)
    for name in NAMES:
        np.testing.assert_allclose(found.parameters[name], expected.parameters[name], rtol=1e-8)
        np.testing.assert_allclose(found.standard_errors[name], expected.standard_errors[name], rtol=1e-6)
    alone = fit(PEAK, t, spoilt[0], weights=weights[0], mask=mask, init=START)
    assert alone.parameters["width"] == pytest.approx(float(found.parameters["width"][0]), rel=1e-8)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"weights": -1.0}, "weights: the least is -1, expected none below 0"),
        ({"weights": 1.0, "sigma": 1.0}, "weights: given beside sigma"),
        ({"weights": np.ones(3)}, "weights has shape"),
        ({"mask": np.ones(3, dtype=bool)}, "mask has shape"),
        ({"mask": np.full(50, 0.5)}, "mask: expected true where a point counts"),
        ({"init": {"center": np.ones(3)}}, "init: center has shape"),
        ({"init": {"center": ["a", "b"]}}, "init: center is"),
        (
            {
                "init": {"width": np.full(COUNT, -1.0) + 2.0 * (np.arange(COUNT) == 0)},
                "parameters": {"width": {"min": 0}},
            },
            "init: width is -1 in some series, outside its bounds 0 to inf",
        ),
    ],
    ids=["negative", "both", "weights", "mask", "fractions", "starts", "texts", "bounds"],
)
def test_what_cannot_be_meant_is_refused(given, expected):
    t, y, _ = peaks()
    with pytest.raises(InputError, match=expected):
        fit(PEAK, t, y, **given)


# How it is computed


@pytest.mark.parametrize("loss", ["mse", "huber(0.1)"])
def test_planes_hold_what_residuals_do(loss):
    t, y, truth = peaks(7)
    sigma = np.where(np.random.default_rng(2).random(y.shape) < 0.2, np.inf, 0.1)
    curve = Curve(PEAK, {"offset": {"fixed": 0.4}, "width": {"expr": "center/5"}}).double()
    curve.start(torch.as_tensor(truth))
    points, loss_function = points_of(t, y, sigma), make_loss(loss)
    expected = Residuals(curve, points, loss_function)
    r, jac = expected.linearize(expected.theta)
    problem = SeriesPlanes.of(Tools(curve, loss_function), points, curve.params.detach(), curve.demands)
    theta = torch.from_numpy(expected.theta.T.copy())
    mine, slopes = problem.tools.linearize(problem.planes, theta)
    np.testing.assert_allclose(mine.mT, r, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(torch.stack(slopes, dim=-1).movedim(0, 1), jac, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(problem.look(theta).total, expected.sum_of(r), rtol=1e-12)


@pytest.mark.parametrize("free", [1, 2, 5])
def test_inflations_are_the_inverse_s_diagonal(free):
    rng = np.random.default_rng(free)
    matrix = np.corrcoef(rng.normal(size=(free, 30))).reshape(free, free)
    lower = torch.tensor([matrix[i, k] for i in range(free) for k in range(i)]).reshape(-1, 1).double()
    found = inflations(lower, torch.ones(free, 1, dtype=torch.bool))
    np.testing.assert_allclose(found[:, 0], np.diag(np.linalg.inv(matrix)), rtol=1e-12)
    held = torch.arange(free).unsqueeze(-1) > 0
    rest = np.linalg.inv(matrix[1:, 1:]) if free > 1 else np.empty((0, 0))
    np.testing.assert_allclose(inflations(lower, held)[:, 0], [1.0, *np.diag(rest)], rtol=1e-12)


def test_functions_of_a_user_whose_points_stand_last():
    def cumulated(t, rate, scale):
        return torch.cumsum(torch.exp(-rate * t), dim=-1) * scale

    rng = np.random.default_rng(4)
    t = np.linspace(0, 2, 20)
    y = 1.5 * np.cumsum(np.exp(-0.7 * t)) + 0.02 * rng.normal(size=(COUNT, 20))
    found = fit(cumulated, t, y, init={"rate": 1.0, "scale": 1.0})
    alone = fit(cumulated, t, y[5], init={"rate": 1.0, "scale": 1.0})
    assert float(found.parameters["rate"][5]) == pytest.approx(alone.parameters["rate"], rel=1e-8)


def test_portions_make_no_difference(monkeypatch):
    t, y, _ = peaks()
    whole = many(PEAK, points_of(t, y), list(START.values()))
    monkeypatch.setattr("gd_lightning.many.SHARE", 350)
    monkeypatch.setattr("gd_lightning.many.SHARES", 1)
    monkeypatch.setattr("gd_lightning.planes.BLOCK", 150)
    parts = many(PEAK, points_of(t, y), list(START.values()))
    np.testing.assert_allclose(parts.params, whole.params, rtol=1e-12)
    np.testing.assert_allclose(parts.errors, whole.errors, rtol=1e-9)


@pytest.mark.parametrize("count", [70, 5000])
def test_any_number_of_threads_finds_the_same_to_the_last_bit(count):
    t, y, _ = peaks(count)
    start = torch.tensor(list(START.values()), dtype=torch.float64).expand(count, -1)
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(Many(Curve(PEAK).double()).fit(points_of(t, y), start))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert (other.status == found[0].status).all()
        for name in ("params", "errors", "rmse", "steps"):
            np.testing.assert_array_equal(getattr(other, name), getattr(found[0], name))


def test_a_function_of_the_users_own_runs_in_the_caller_s_thread():
    seen = set()

    def line(t, a, b):
        seen.add(threading.get_ident())
        return a * t + b + 0 * torch.sin(a)

    t, y, _ = peaks(100)
    many(line, points_of(t, y), [1.0, 1.0])
    assert seen == {threading.get_ident()}


@pytest.mark.no_cover
@pytest.mark.skipif(not compiler_works(), reason="torch.compile needs a C++ compiler")
def test_compiled_it_finds_the_same():
    t, y, _ = peaks(700)
    y[5] = np.nan
    compiled = fit("gaussian", t, y, init={"amplitude": 2, "center": 5, "width": 2}, compile=True)
    plain = fit("gaussian", t, y, init={"amplitude": 2, "center": 5, "width": 2})
    assert (compiled.status == plain.status).all()
    for name, values in plain.parameters.items():
        np.testing.assert_allclose(compiled.parameters[name], values, rtol=1e-9)


@pytest.mark.skipif(not compiler_works(), reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("capability", ["default", None])
def test_what_is_compiled_is_kept_under_the_width_of_its_vectors(monkeypatch, capability):
    """Torch's cache once gave a loop over 16 numbers to a build with instructions for 8: garbage, and no error."""
    options = []
    monkeypatch.setattr(torch, "compile", lambda function, **given: options.append(given["options"]) or function)
    if capability:
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", capability)
    Tools(Curve("linear"), compiled=True)
    width = 0 if capability == "default" else pick_vec_isa().bit_width()
    assert [given["cpp.simdlen"] for given in options] == [width] * 3


def test_what_is_kept_of_a_compiled_curve_is_not_its_bounds(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **given: function)
    t = np.arange(8.0)
    y = 3.0 * t + np.random.default_rng(4).normal(0, 0.1, (60, 8))
    for high in (2.0, 2.5):
        held = fit("linear", t, y, parameters={"a": {"max": high}}, compile=True)
        assert (held.parameters["a"] == high).all()
        assert f"held by its upper bound {high:g}" in held.messages[0]


def test_names_of_predictors_with_braces_stand_in_the_reasons_as_they_are():
    x = np.array([[0.0, 1.0, np.nan], [0.0, 1.0, 2.0]])
    found = fit("a*`{x}` + b", {"{x}": x}, np.ones_like(x))
    assert found.messages[0] == "{x} at point 3 is not a finite number"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compiled", [False, True])
def test_on_a_gpu_it_finds_the_same(compiled):
    t, y, _ = peaks(700)
    y[5] = np.nan
    start = torch.tensor(list(START.values()), dtype=torch.float64).expand(700, -1)
    curve = Curve(PEAK).double().cuda()
    there = Many(curve, compiled=compiled).fit(points_of(t, y).to(torch.empty(0).double().cuda()), start.cuda())
    here = many(PEAK, points_of(t, y), list(START.values()))
    assert (there.status == here.status).all()
    np.testing.assert_allclose(there.params, here.params, rtol=1e-8)


def test_a_callable_is_as_good_as_a_family():
    t, y, _ = peaks()
    init = {"amplitude": 2, "center": 5, "width": 2}
    by_name, by_call = (
        fit("gaussian", t, y, init=init),
        fit(lambda t, amplitude, center, width: gaussian(t, amplitude, center, width), t, y, init=init),
    )
    np.testing.assert_allclose(by_call.parameters["width"], by_name.parameters["width"], rtol=1e-10)


def test_planes_select():
    t, y, _ = peaks(4)
    planes = Planes.of(points_of(t, y), torch.zeros(4, 4).double())
    some = planes.select(torch.tensor([2, 0]))
    np.testing.assert_array_equal(some.targets.mT, y[[2, 0]])
    assert some.columns[0].shape == (50, 1)


def test_errors_of_very_many_are_computed_in_parts(monkeypatch):
    t, y, _ = peaks()
    whole = fit(PEAK, t, y.reshape(2, 30, 50), init=START).uncertainty
    monkeypatch.setattr("gd_lightning.uncertainty.POINTS_AT_ONCE", 350)
    parts = fit(PEAK, t, y.reshape(2, 30, 50), init=START).uncertainty
    np.testing.assert_allclose(parts.standard_errors, whole.standard_errors, rtol=1e-12)
    assert parts.kinds.shape == whole.kinds.shape
    assert parts.noise.shape == (2, 30)
