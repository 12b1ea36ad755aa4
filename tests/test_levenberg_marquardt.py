"""Levenberg-Marquardt beside SciPy's least squares, lmfit, NumPy's lstsq and linear programs."""

import io
import os
from itertools import pairwise

import lmfit
import numpy as np
import pytest
import torch
from scipy.optimize import least_squares, linprog
from test_functions import FAMILIES, ORACLES
from test_guesses import case
from test_residuals import T, accumulated, centred, normalised, problem

from gd_lightning import fit
from gd_lightning.curve import Curve
from gd_lightning.levenberg_marquardt import FOUND, LOST, RUNNING, LevenbergMarquardt, minimum
from gd_lightning.losses import make_loss, mse
from gd_lightning.points import Points, stack
from gd_lightning.residuals import Residuals
from gd_lightning.resolve import parameter_names, resolve

CASES = int(os.environ.get("LM_CASES", "3"))  # for each family
DOUBLE = torch.float64
TIGHT = {"xtol": 1e-15, "ftol": 1e-15, "gtol": None, "jac": "3-point", "max_nfev": 5000}
EXPONENT = "exponential_decay"


def scipy_residuals(name, t, y):
    def residuals(params):
        with np.errstate(all="ignore"):
            return np.clip(np.nan_to_num(ORACLES[name](t, *params) - y, nan=1e100), -1e100, 1e100)

    return residuals


def noisy(name, seed, noise):
    """Times, data and true parameters of a random case of a family."""
    rng = np.random.default_rng(seed)
    t, truth = case(name, rng)
    with np.errstate(all="ignore"):
        clean = ORACLES[name](t, *truth)
    return rng, t, clean + noise * np.ptp(clean) * rng.normal(size=len(t)), truth


def named(name, values):
    return dict(zip(parameter_names(resolve(name)), map(float, values), strict=True))


def arrays(result):
    return np.array([np.asarray(value) for value in result.parameters.values()]).T


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_goes_where_scipy_goes(name):
    for seed in range(CASES):
        rng, t, y, truth = noisy(name, seed, 0.01)
        result = fit(name, t, y, init=named(name, truth * (1 + 0.03 * rng.uniform(-1, 1, len(truth)))))
        expected = least_squares(scipy_residuals(name, t, y), truth, x_scale=abs(truth) + 1e-9, **TIGHT)
        assert result.status == "converged"
        size, spare = 2 * expected.cost, len(t) - len(truth)
        assert result.rmse**2 * len(t) == pytest.approx(size, rel=1e-10)
        unit = expected.jac / np.linalg.norm(expected.jac, axis=0)
        errors = np.sqrt(np.diag(np.linalg.inv(unit.T @ unit)) * size / spare) / np.linalg.norm(expected.jac, axis=0)
        # SciPy's differences put its gradient off by some 1e-10, a small part of a standard error
        assert (abs(arrays(result) - expected.x) <= 1e-8 * abs(expected.x) + 1e-6 * errors).all()


LINEAR = {
    "linear": (1, 0),
    "quadratic": (2, 1, 0),
    "cubic": (3, 2, 1, 0),
    "polynomial": (0, 1, 2, 3, 4),
}


@pytest.mark.parametrize("start", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("name", LINEAR)
def test_what_is_linear_in_its_parameters_takes_one_step(name, start):
    rng = np.random.default_rng(3)
    t = np.sort(rng.uniform(-2, 5, 30))
    y = 3 * np.sin(t) + rng.normal(size=30)
    result = fit(name, t, y, init=dict.fromkeys(parameter_names(resolve(name)), start))
    columns = np.stack([t**power for power in LINEAR[name]], axis=-1)
    expected, *_ = np.linalg.lstsq(columns, y, rcond=None)
    assert (result.steps, result.status) == (1, "converged")
    np.testing.assert_allclose(arrays(result), expected, rtol=1e-9, atol=1e-9)


def test_other_linear_functions_take_one_step_too():
    t = np.linspace(0.5, 4, 15)
    y = np.sqrt(t) + 0.1 * np.cos(7 * t)
    for formula, columns in {
        "a*log(t) + b": (np.log(t), t**0),
        "a*sin(t) + b*cos(t) + c": (np.sin(t), np.cos(t), t**0),
        "(a + b*t)/t": (1 / t, t**0),
    }.items():
        expected, *_ = np.linalg.lstsq(np.stack(columns, axis=-1), y, rcond=None)
        result = fit(formula, t, y, init=dict.fromkeys("abc"[: len(columns)], 1.0))
        assert result.steps == 1
        np.testing.assert_allclose(arrays(result), expected, rtol=1e-10)


def test_the_article_in_one_step(article):
    result = fit("quadratic", article.t, article.y, init=article.init)
    np.testing.assert_allclose(arrays(result), np.polyfit(article.t.double(), article.y.double(), 2), rtol=1e-10)
    assert result.steps == 1


def test_a_formula_beside_lmfit():
    rng = np.random.default_rng(5)
    t = np.linspace(-4, 4, 60)
    model = lmfit.models.GaussianModel() + lmfit.models.LinearModel()
    truth = {"amplitude": 5.0, "center": 0.3, "sigma": 0.8, "slope": -0.2, "intercept": 1.0}
    y = model.eval(x=t, **truth) + 0.05 * rng.normal(size=60)
    start = {name: 1.2 * value for name, value in truth.items()}
    formula = "amplitude/(sigma*sqrt(2*pi))*exp(-(t - center)**2/(2*sigma**2)) + slope*t + intercept"
    expected = model.fit(y, x=t, **start, fit_kws={"xtol": 1e-15, "ftol": 1e-15})
    result = fit(formula, t, y, init=start)
    assert result.rmse**2 * 60 == pytest.approx(expected.chisqr, rel=1e-10)
    for name, value in result.parameters.items():
        assert value == pytest.approx(expected.best_values[name], rel=1e-6)


@pytest.mark.parametrize(
    ("function", "by_numpy"),
    [
        (accumulated, lambda a, b: np.cumsum(b * np.exp(-a * T))),
        (centred, lambda a, b: b * (np.exp(-a * T) - np.exp(-a * T).mean())),
        (normalised, lambda a, b: b * np.exp(a * T) / np.exp(a * T).sum()),
    ],
    ids=["accumulated", "centred", "normalised"],
)
def test_callables_whose_points_are_not_each_for_itself(function, by_numpy):
    y = by_numpy(0.8, 2.0) + 0.01 * np.cos(9 * T)
    expected = least_squares(lambda p: by_numpy(*p) - y, [0.8, 2.0], **TIGHT)
    result = fit(function, T, y, init={"a": 0.4, "b": 1.0})
    assert result.status == "converged"
    np.testing.assert_allclose(arrays(result), expected.x, rtol=1e-8)


def test_ties_and_fixed_parameters():
    t = np.linspace(0, 4, 25)
    y = 2 * np.exp(-0.5 * t) + 0.3 + 0.01 * np.cos(11 * t)
    demands = {"a": 1.5, "b": {"expr": "a/4"}, "c": {"fixed": 0.3}}
    result = fit("a*exp(-b*t) + c", t, y, parameters=demands)
    expected = least_squares(lambda p: p[0] * np.exp(-p[0] / 4 * t) + 0.3 - y, [2.0], **TIGHT)
    assert result.parameters["a"] == pytest.approx(expected.x[0], rel=1e-8)
    assert result.parameters["b"] == result.parameters["a"] / 4
    assert result.parameters["c"] == 0.3


def test_deviations_weigh():
    rng = np.random.default_rng(2)
    t = np.linspace(0, 4, 25)
    sigma = rng.uniform(0.01, 2, 25)
    y = 2 * np.exp(-t / 1.3) + 0.4 + sigma * rng.normal(size=25)
    expected = least_squares(lambda p: (p[0] * np.exp(-t / p[1]) + p[2] - y) / sigma, [2, 1.3, 0.4], **TIGHT)
    result = fit(EXPONENT, t, y, sigma=sigma, init={"amplitude": 1, "tau": 1, "offset": 0})
    assert result.status == "converged"
    np.testing.assert_allclose(arrays(result), expected.x, rtol=1e-7)


# Bounds


def bounded(seed):
    """A random bounded problem: times, data, its family, start, bounds; some of which leave the truth out."""
    names = sorted(set(FAMILIES) - {"rational", "pseudo_voigt", "richards"})
    name = names[seed % len(names)]
    rng, t, y, truth = noisy(name, seed, 0.02)
    size = abs(truth) + 1e-3
    center = truth + size * rng.choice([-0.2, -0.05, 0.0, 0.05, 0.2], len(truth))
    kind, width = rng.integers(4, size=len(truth)), size * rng.choice([0.1, 0.01], len(truth))
    low = np.select([kind == 1, kind == 3], [center, center - width], -np.inf)
    high = np.select([kind == 2, kind == 3], [center, center + width], np.inf)
    start = np.clip(truth * rng.uniform(0.9, 1.1, len(truth)), low, high)
    if rng.random() < 0.3:  # upon bounds
        start = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, start))
    return name, t, y, start, low, high, size


def demands_of(name, start, low, high):
    rows = zip(parameter_names(resolve(name)), start, low, high, strict=True)
    return {one: {"init": value, "min": least, "max": most} for one, value, least, most in rows}


@pytest.mark.parametrize("seed", range(int(os.environ.get("LM_BOUNDED", "38"))))
def test_within_bounds_scipy_finds_nothing_better(seed):
    name, t, y, start, low, high, size = bounded(seed)
    curve = Curve(name, demands_of(name, start, low, high)).to(DOUBLE)
    curve.start(torch.from_numpy(start))
    residuals = Residuals(curve, Points(torch.from_numpy(t), torch.from_numpy(y)))
    rule = LevenbergMarquardt([curve.params])
    rule.advance(residuals)
    steps = 1
    while (rule.status == RUNNING).any() and steps < 500:
        rule.advance(residuals)
        steps += 1
        here = curve.params.detach().numpy()
        assert ((low <= here) & (here <= high)).all()
    [found] = rule.verdicts(residuals)
    assert found is not None
    assert found.status in ("converged", "at bound")

    by_numpy = scipy_residuals(name, t, y)
    inside = np.clip(here if steps > 1 else curve.params.detach().numpy(), low + 1e-10 * size, high - 1e-10 * size)
    given = {"bounds": (low, high), "x_scale": size, **TIGHT}
    fits = [least_squares(by_numpy, inside, method=method, **given) for method in ("trf", "dogbox")]
    ours = np.square(by_numpy(curve.params.detach().numpy())).sum() / 2
    assert ours <= min(one.cost for one in fits) * (1 + 1e-8)

    # what SciPy holds, if letting it go would lower the loss by more than rounding
    names = parameter_names(resolve(name))
    gradient = fits[0].grad * size / max(ours, 1e-300)
    active = {
        one for one, mask, slope in zip(names, fits[1].active_mask, gradient, strict=True) if mask and abs(slope) > 1e-6
    }
    said = {one for one in names if f"{one} is held by its" in found.message}
    on_bounds = {
        one
        for one, value, least, most in zip(names, curve.params.tolist(), low, high, strict=True)
        if value in (least, most)
    }
    assert active <= said <= on_bounds
    assert (found.status == "at bound") == bool(said)


def test_linear_within_bounds_takes_a_step_or_two_to_what_scipy_finds():
    """`scipy.optimize.lsq_linear` by BVLS, which is exact."""
    from scipy.optimize import lsq_linear

    for seed in range(20):
        rng = np.random.default_rng(seed)
        t = np.linspace(-1, 1, 12)
        y = rng.normal(size=12) + 3 * t**2
        low, high = -rng.random(4), rng.random(4)
        expected = lsq_linear(np.vander(t, 4), y, (low, high), method="bvls", tol=1e-15)
        start = rng.choice([0.0, 1.0], 4)
        demands = demands_of("cubic", np.where(start > 0, high, 0.0), low, high)
        result = fit("cubic", t, y, parameters=demands)
        np.testing.assert_allclose(arrays(result), expected.x, rtol=1e-9, atol=1e-9)
        assert result.steps <= 4
        assert result.status == ("at bound" if expected.active_mask.any() else "converged")
        for one, mask in zip("abcd", expected.active_mask, strict=True):
            side = {-1: "lower", 1: "upper", 0: "no"}[int(mask)]
            assert (f"{one} is held by its {side}" in result.message) == bool(mask)


def test_all_parameters_held():
    result = fit("linear", [0, 1, 2, 3], [9, 9, 9, 9], parameters=demands_of("linear", [0, 0], [0, 0], [1, 1]))
    assert result.parameters == {"a": 1.0, "b": 1.0}
    assert result.status == "at bound"
    assert result.message.startswith("a is held by its upper bound 1, and b is held by its upper bound 1")


def test_a_minimum_that_lies_on_a_bound_is_not_held_by_it():
    t = np.arange(8.0)
    result = fit("a*t", t, 2 * t, parameters={"a": {"init": 0.5, "max": 2.0}})
    assert result.parameters["a"] == 2.0
    assert result.status == "converged"


def test_a_start_upon_a_bound_that_the_loss_pulls_away_from():
    t = np.arange(8.0)
    result = fit("a*t + b", t, 3 * t + 1, parameters=demands_of("linear", [0, 0], [0, 0], [10, 10]))
    assert result.status == "converged"
    np.testing.assert_allclose(arrays(result), [3, 1], rtol=1e-12)


# Robust losses


@pytest.mark.parametrize("scale", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("loss", ["huber", "cauchy"])
def test_robust_losses_go_where_scipy_goes(loss, scale):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        t = np.linspace(0, 5, 40)
        y = 3 * np.exp(-t / 1.5) + 0.5 + 0.05 * rng.standard_t(1.5, 40)

        def by_numpy(p, t=t, y=y):
            return p[0] * np.exp(-t / p[1]) + p[2] - y

        expected = least_squares(by_numpy, [3, 1.5, 0.5], loss=loss, f_scale=scale, **TIGHT)
        result = fit(EXPONENT, t, y, loss=f"{loss}({scale})", init={"amplitude": 2.5, "tau": 1.2, "offset": 0.3})
        assert result.status == "converged"
        again = least_squares(by_numpy, arrays(result), loss=loss, f_scale=scale, **TIGHT)
        at_ours = least_squares(by_numpy, arrays(result), loss=loss, f_scale=scale, max_nfev=1).cost
        assert at_ours <= min(again.cost, expected.cost) * (1 + 1e-10)


@pytest.mark.parametrize("seed", range(8))
def test_mae_of_linear_functions_is_that_of_a_linear_program(seed):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 5, 20 + seed))
    y = 0.5 * t**2 - t + 1 + rng.standard_t(1.5, len(t))
    columns, ones = np.vander(t, 3), np.eye(len(t))
    program = linprog(
        np.r_[np.zeros(3), np.ones(2 * len(t))],
        A_eq=np.hstack([columns, ones, -ones]),
        b_eq=y,
        bounds=[(None, None)] * 3 + [(0, None)] * (2 * len(t)),
    )
    result = fit("quadratic", t, y, loss="mae", init={"a": 0, "b": 0, "c": 0})
    assert abs(columns @ arrays(result) - y).sum() == pytest.approx(program.fun, rel=1e-6)


# Several series


def decays(count, seed=0):
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 4, 20)
    truth = np.array([3.0, 1.2, 0.5]) * (1 + 0.4 * rng.uniform(-1, 1, (count, 3)))
    a, tau, c = truth.T[..., None]
    return t, a * np.exp(-t / tau) + c + 0.02 * rng.normal(size=(count, 20))


@pytest.mark.parametrize("batch", [(2,), (2, 3)])
def test_each_of_several_series_arrives_as_if_alone(batch):
    t, y = decays(int(np.prod(batch)))
    start = {"amplitude": 1.0, "tau": 1.0, "offset": 0.0}
    result = fit(EXPONENT, t, y.reshape(*batch, -1), init=start)
    assert result.status.shape == batch
    assert (result.status == "converged").all()
    found = np.stack([value.reshape(-1).numpy() for value in result.parameters.values()], axis=-1)
    alone = [fit(EXPONENT, t, one, init=start) for one in y]
    assert result.steps == max(one.steps for one in alone)
    for one, params in zip(alone, found, strict=True):
        np.testing.assert_allclose(params, arrays(one), rtol=1e-10)


def test_series_of_all_fates_side_by_side():
    """Converged at once, after many steps, singular, at a bound, lost at the start: each as it is alone."""
    t = np.linspace(0.5, 4, 12)
    demands = {"a": {"min": -2.0, "max": 5.0}}
    starts = torch.tensor([[3.0, 1.0], [0.1, 3.0], [1.0, 2e3], [1.0, 1.0], [1.0, -100.0]], dtype=DOUBLE)
    rng = np.random.default_rng(4)
    y = np.stack([3 * np.exp(-t)] * 3 + [9 * np.exp(-t)] + [np.exp(-t)]) + 0.01 * rng.normal(size=(5, 12))

    def run(rows):
        curve = Curve("a*exp(-b*t) + 0*sqrt(b + 99)", demands).to(DOUBLE)
        curve.start(starts[rows])
        points = Points(torch.from_numpy(t), torch.from_numpy(y[rows]))
        return minimum(curve, points, mse, starts[rows])

    together = run(list(range(5)))
    statuses = []
    for i in range(5):
        alone = run([i])
        np.testing.assert_allclose(together.params[i], alone.params[0], rtol=1e-10)
        assert together.verdicts[i] == alone.verdicts[0]
        statuses.append(alone.verdicts[0].status)
    assert statuses == ["converged", "converged", "singular", "at bound", "diverged"]


def test_series_of_unequal_lengths_arrive_as_if_alone():
    t, y = decays(4, seed=1)
    lengths = [20, 9, 14, 5]
    series = [Points(torch.from_numpy(t[:n]), torch.from_numpy(one[:n])) for n, one in zip(lengths, y, strict=True)]
    start = torch.ones(4, 3, dtype=DOUBLE)
    curve = Curve(EXPONENT).to(DOUBLE)
    curve.start(start)
    together = minimum(curve, stack(series), mse, start)
    for i, one in enumerate(series):
        curve.start(start[i])
        alone = minimum(curve, one, mse, start[i])
        np.testing.assert_allclose(together.params[i], alone.params, rtol=1e-9)
        assert together.loss[i].item() == pytest.approx(alone.loss.item(), rel=1e-12)
        assert together.verdicts[i].status == alone.verdicts[0].status


@pytest.mark.parametrize("loss", ["huber(0.02)", "cauchy(0.02)", "mae"])
def test_robust_losses_of_unequal_lengths_arrive_as_if_alone(loss):
    t, y = decays(2, seed=2)
    measure = make_loss(loss)
    series = [Points(torch.from_numpy(t[:n]), torch.from_numpy(one[:n])) for n, one in zip((20, 9), y, strict=True)]
    start = torch.tensor([[3.0, 1.2, 0.5]] * 2, dtype=DOUBLE)
    curve = Curve(EXPONENT).to(DOUBLE)
    curve.start(start)
    together = minimum(curve, stack(series), measure, start)
    for i, one in enumerate(series):
        curve.start(start[i])
        alone = minimum(curve, one, measure, start[i])
        assert together.loss[i].item() == pytest.approx(alone.loss.item(), rel=1e-6)


# Extremes


@pytest.mark.parametrize("of_t", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("of_y", [1e-100, 1.0, 1e100])
def test_units_do_not_matter(of_t, of_y):
    rng = np.random.default_rng(7)
    t = np.linspace(0, 5, 30)
    y = 3 * np.exp(-t / 1.5) + 0.5 + 0.05 * rng.normal(size=30)
    expected = least_squares(lambda p: p[0] * np.exp(-t / p[1]) + p[2] - y, [3, 1.5, 0.5], **TIGHT).x
    start = {"amplitude": 2 * of_y, "tau": of_t, "offset": 0.3 * of_y}
    result = fit(EXPONENT, t * of_t, y * of_y, init=start)
    assert result.status == "converged"
    np.testing.assert_allclose(arrays(result) / [of_y, of_t, of_y], expected, rtol=1e-8)


@pytest.mark.parametrize("size", [1e-100, 1e-12, 1e12, 1e100])
def test_a_start_in_other_units_than_the_data(size):
    t = np.arange(6.0)
    result = fit("linear", t, size * (2 * t + 1), init={"a": 1.0, "b": 0.0})
    assert result.status == "converged"
    # what the start adds to the predictions is rounded away beside it
    np.testing.assert_allclose(arrays(result), [2 * size, size], rtol=1e-9, atol=1e-30)


def test_parameters_of_sizes_far_apart():
    t = np.linspace(0, 1, 40)
    rng = np.random.default_rng(0)
    y = 3e6 * np.exp(-2e-6 * (1e6 * t)) + 5 + rng.normal(size=40)
    result = fit("a*exp(-b*t) + c", 1e6 * t, y, init={"a": 2e6, "b": 1e-6, "c": 1.0})
    expected = least_squares(
        lambda p: p[0] * 1e6 * np.exp(-p[1] * t) + p[2] - y, [3.0, 2.0, 5.0], x_scale=[1, 1, 1e3], **TIGHT
    )
    assert result.status == "converged"
    np.testing.assert_allclose(arrays(result) / [1e6, 1e-6, 1], expected.x, rtol=1e-6)


# The optimizer as such


def single():
    t = torch.linspace(0, 5, 30)
    y = 3 * torch.exp(-t / 1.5) + 0.5 + 0.05 * torch.cos(11 * t)
    curve = Curve(EXPONENT)
    curve.start(torch.tensor([1.0, 0.4, 0.0]))
    points = Points(t, y)
    return curve, points, Residuals(curve, points), LevenbergMarquardt([curve.params])


def test_single_precision_parameters_get_the_minimum_rounded():
    curve, points, residuals, rule = single()
    while not len(rule.status) or rule.status[0] == RUNNING:
        rule.advance(residuals)
    t, y = points.t.double().numpy(), points.targets.double().numpy()
    expected = least_squares(lambda p: p[0] * np.exp(-t / p[1]) + p[2] - y, [3, 1.5, 0.5], **TIGHT)
    assert curve.params.dtype == torch.float32
    np.testing.assert_allclose(rule.theta[0], expected.x, rtol=1e-8)
    np.testing.assert_array_equal(curve.params.detach(), rule.theta[0].astype(np.float32))
    result = fit(
        EXPONENT, points.t, points.targets, optimizer=LevenbergMarquardt, dtype=torch.float32, init={"tau": 1.0}
    )
    assert result.status == "converged"
    np.testing.assert_allclose(arrays(result), expected.x, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_what_is_saved_goes_on_to_the_same_bits(dtype):
    t, y = decays(3)
    points = Points(torch.from_numpy(t).to(dtype), torch.from_numpy(y).to(dtype))
    start = torch.tensor([[1.0, 0.3, 0.0], [3.0, 1.0, 0.5], [1.0, 5.0, 3.0]], dtype=dtype)

    def begin():
        curve = Curve(EXPONENT, {"offset": {"min": 0.0, "max": 0.6}}).to(dtype)
        curve.start(start)
        return curve, Residuals(curve, points), LevenbergMarquardt([curve.params])

    curve, residuals, rule = begin()
    path = []
    for _ in range(25):
        path.append((curve.params.detach().clone(), rule.state_dict()))
        rule.advance(residuals)
    assert (rule.status != RUNNING).all()
    for step in (1, 2, 5, 24):
        params, state = path[step]
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        other, others, again = begin()
        other.set_params(params)
        again.load_state_dict(torch.load(file, weights_only=True))
        for _ in range(step, 25):
            again.advance(others)
        assert torch.equal(other.params, curve.params)
        np.testing.assert_array_equal(again.theta, rule.theta)
        np.testing.assert_array_equal(again.status, rule.status)
        assert again.verdicts(others) == rule.verdicts(residuals)


def test_parameters_that_somebody_else_moved_are_a_new_start():
    curve, _, residuals, rule = single()
    while not len(rule.status) or rule.status[0] == RUNNING:
        rule.advance(residuals)
    there = rule.theta.copy()
    curve.set_params(torch.tensor([1.0, 0.4, 0.0]))
    rule.advance(residuals)
    assert rule.status[0] == RUNNING
    while rule.status[0] == RUNNING:
        rule.advance(residuals)
    np.testing.assert_allclose(rule.theta, there, rtol=1e-9)


def test_a_step_never_raises_the_loss_and_the_end_is_the_end():
    curve, _, residuals, rule = single()
    losses = []
    for _ in range(30):
        rule.advance(residuals)
        losses.append(np.square(rule.residuals).sum())
    assert rule.status.tolist() == [FOUND]
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(losses))
    before = curve.params.detach().clone()
    rule.advance(residuals)
    assert torch.equal(before, curve.params)


def test_step_asks_for_the_residuals():
    *_, rule = single()
    with pytest.raises(TypeError, match="needs the residuals"):
        rule.step()


def test_minimum_leaves_the_curve_as_it_is():
    curve, points, *_ = single()
    before = curve.params.detach().clone()
    found = minimum(curve, points, mse, torch.tensor([2.0, 1.0, 0.3]))
    assert torch.equal(before, curve.params)
    assert found.params.dtype == DOUBLE
    r = found.params[0] * torch.exp(-points.t.double() / found.params[1]) + found.params[2] - points.targets.double()
    assert found.loss.item() == pytest.approx((r**2).mean().item(), rel=1e-12)


def test_a_start_that_is_not_finite_is_told_of():
    residuals = problem("log(a)*t", [-1.0])
    rule = LevenbergMarquardt([residuals.curve.params])
    rule.advance(residuals)
    assert rule.status.tolist() == [LOST]
    [verdict] = rule.verdicts(residuals)
    assert verdict.status == "diverged"
    assert np.isnan(rule.residuals).any()


# Random problems


@pytest.mark.parametrize("seed", range(int(os.environ.get("LM_RANDOM", "44"))))
def test_from_within_a_factor_of_two_what_converged_is_a_minimum(seed):
    name = FAMILIES[seed % len(FAMILIES)]
    rng, t, y, truth = noisy(name, 1000 + seed, [0.0, 1e-6, 0.01, 0.1][seed // len(FAMILIES) % 4])
    result = fit(name, t, y, init=named(name, truth * 2 ** rng.uniform(-1, 1, len(truth))))
    assert result.message
    assert np.isfinite(arrays(result)).all()
    if result.status == "converged":
        by_numpy = scipy_residuals(name, t, y)
        ours = np.square(by_numpy(arrays(result))).sum() / 2
        again = least_squares(by_numpy, arrays(result), x_scale=abs(arrays(result)) + 1e-12, **TIGHT)
        eps = np.finfo(float).eps
        rounding = eps * np.linalg.norm(y) * (20 * np.sqrt(ours) + 1e6 * eps * np.linalg.norm(y))
        assert again.cost >= ours * (1 - 1e-10) - rounding
