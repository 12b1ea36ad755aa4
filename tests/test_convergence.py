"""Statuses: nothing is called converged that SciPy can still improve, and each end has its sentence."""

import math
import os

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from test_residuals import T, problem

from gd_lightning import fit
from gd_lightning.convergence import Tolerance, judge, tangent
from gd_lightning.errors import InputError
from gd_lightning.optim import SGD, Adam

DOUBLE = torch.float64
CASES = int(os.environ.get("GD_CASES", "3"))
RNG = np.random.default_rng(0)
TIMES = np.linspace(0, 5, 30)
NOISE = 0.01 * RNG.normal(size=30)
TWO_PEAKS = np.exp(-((TIMES - 1) ** 2)) + np.exp(-((TIMES - 3) ** 2))
BOXBOD = [1, 2, 3, 5, 7, 10], [109, 149, 149, 191, 213, 224]  # NIST, Statistical Reference Datasets


def values(result):
    return np.array(list(result.parameters.values()))


# What the data leave open


OPEN = {
    "a sum": ("a + b + c*t", TIMES, 2 * TIMES + NOISE, {"a": 1, "b": 2, "c": 0}, "a and b apart from one another"),
    "a product": ("a*b*t", TIMES, 3 * TIMES + NOISE, {"a": 1, "b": 2}, "a and b apart from one another"),
    "an exact product": ("a*b*t", TIMES, 3 * TIMES, {"a": 1, "b": 2}, "a and b apart from one another"),
    "a product from nothing": ("a*b*t", TIMES, 3 * TIMES, {"a": 0, "b": 1}, "a and b apart from one another"),
    "absent": ("a*t + 0*b", TIMES, 3 * TIMES + NOISE, {"a": 1, "b": 2}, "determine b;"),
    "none": ("t + 0*a + 0*b", TIMES, 3 * TIMES, {"a": 1, "b": 2}, "a and b apart from one another"),
    "a plateau": ("a*(1 - exp(-b*t))", *BOXBOD, {"a": 100, "b": 50}, "determine b;"),
    "a far plateau": ("a*(1 - exp(-b*t))", *BOXBOD, {"a": 100, "b": 1000}, "determine b;"),
    "too few places": ("quadratic", [0, 0, 0, 1, 1, 1], [1, 1.1, 0.9, 2, 2.1, 1.9], dict.fromkeys("abc", 1), "a and b"),
    "constant": ("exponential_decay", TIMES, 0 * TIMES + 3, {"amplitude": 1, "tau": 2, "offset": 1}, "determine tau;"),
    "a flat top": ("gaussian", TIMES, 0 * TIMES + 2, {"amplitude": 1, "center": 2, "width": 1}, "determine"),
    "zeros": ("gaussian", TIMES, 0 * TIMES, {"amplitude": 1, "center": 2, "width": 1}, "center and width"),
    "steps": (lambda t, a, b: torch.floor(a * 5) / 5 * t + b, TIMES, 2.3 * TIMES + 1, {"a": 1, "b": 0}, "determine a;"),
    "cut off": (
        lambda t, a, b: torch.clamp(a * t + b, 0, 1),
        TIMES,
        np.clip(TIMES / 2 - 1, 0, 1),
        {"a": 0.1, "b": -10},
        "a and b",
    ),
}


@pytest.mark.parametrize("name", OPEN)
def test_what_the_data_leave_open_is_named(name):
    function, t, y, init, expected = OPEN[name]
    result = fit(function, t, y, init=init)
    assert result.status == "singular"
    assert "the data do not determine" in result.message
    assert expected in result.message
    assert np.isfinite(values(result)).all()
    assert result.steps < 100


def test_a_singular_fit_is_as_good_as_any():
    """The minimum of a sum is that of lstsq, whose columns depend on one another."""
    y = 2 * TIMES + 1 + NOISE
    result = fit("a + b + c*t", TIMES, y, init={"a": 1, "b": 2, "c": 0})
    columns = np.stack([TIMES**0, TIMES**0, TIMES], axis=-1)
    solution, *_ = np.linalg.lstsq(columns, y, rcond=None)
    assert result.rmse == pytest.approx(np.sqrt(np.mean((columns @ solution - y) ** 2)), rel=1e-12)


def test_of_several_series_each_has_its_own_status():
    y = np.stack([3 * TIMES * np.exp(-TIMES) + NOISE, 0 * TIMES, TIMES * np.exp(-3 * TIMES) + NOISE])
    result = fit("a*t*exp(-b*t)", TIMES, y, init={"a": 1, "b": 2}, parameters={"b": {"max": 2.5}})
    assert result.status.tolist() == ["converged", "singular", "at bound"]
    assert result.status.shape == (3,)
    assert "1 converged" in result.message
    assert "1 singular, the first of them series 2" in result.message


# Where the gradient vanishes and there is no minimum


SADDLES = {
    "a square from 0": ("a**2*t", TIMES, 3 * TIMES + NOISE, {"a": 0}),
    "a cube from 0": ("a**3*t", TIMES, 3 * TIMES + NOISE, {"a": 0}),
    "a cosine from its top": ("cos(a)*t", TIMES, -0.7 * TIMES + NOISE, {"a": 0}),
    "a sine half a turn off": (
        "sin(t + a)",
        np.linspace(-np.pi, np.pi, 21),
        np.sin(np.linspace(-np.pi, np.pi, 21)),
        {"a": np.pi},
    ),
    "equal peaks": (
        "a*exp(-(t - c)**2) + b*exp(-(t - d)**2)",
        TIMES,
        TWO_PEAKS + NOISE,
        {"a": 1, "b": 1, "c": 2, "d": 2},
    ),
    "equal decays": (
        "a*exp(-b*t) + c*exp(-d*t)",
        TIMES,
        2 * np.exp(-0.3 * TIMES) + 3 * np.exp(-4 * TIMES) + NOISE,
        {"a": 1, "b": 1, "c": 1, "d": 1},
    ),
}


@pytest.mark.parametrize("name", SADDLES)
def test_saddles_and_tops_are_left(name):
    formula, t, y, init = SADDLES[name]
    result = fit(formula, t, y, init=init)
    assert result.status == "converged"

    def by_numpy(p):
        named = dict(zip(result.parameters, p, strict=True))
        known = {"exp": np.exp, "sin": np.sin, "cos": np.cos, "t": t}
        return eval(formula, {"__builtins__": {}}, named | known) - y

    ours = np.square(by_numpy(values(result))).sum() / 2
    shaken = np.random.default_rng(1).normal(size=(20, len(init)))
    around = [
        least_squares(by_numpy, values(result) + 0.1 * by, xtol=1e-15, ftol=1e-15, gtol=1e-15).cost for by in shaken
    ]
    assert ours <= min(around) * (1 + 1e-8) + 1e-25


# Functions that are not smooth, not finite, or not what their gradient says


def noisy_function(t, a, b):
    return a * t + b + (1e-3 * torch.sin(1e6 * a) + 1e-3 * torch.sin(1e7 * b * t)).detach()


def lying_function(t, a, b):
    return (2 * a.detach() - a) * t + b


ROUGH = {
    "abs, on the wrong side": ("abs(a)*t + b", -2 * TIMES + 1, {"a": 3, "b": 0}),
    "abs": ("abs(a - 1)*t + b", 2 + 0 * TIMES, {"a": 3, "b": 0}),
    "a kink": ("a*abs(t - c)", 2 * abs(TIMES - 2.345) + NOISE, {"a": 1, "c": 1.01}),
    "where": (
        lambda t, a, b, c: torch.where(t < c, a * t, b),
        np.minimum(TIMES, 2.4),
        {"a": 0.5, "b": 2, "c": 1},
    ),
    "floor": (lambda t, a, b: torch.floor(a * t) + b, 2.3 * TIMES + 1, {"a": 1, "b": 0}),
    "sign": (lambda t, a, b: torch.sign(a) * t + b, -TIMES, {"a": 1, "b": 0}),
    "round": (lambda t, a: torch.round(a * t), 3 * TIMES, {"a": 1}),
    "noise": (noisy_function, 2 * TIMES + 1, {"a": 1, "b": 0}),
    "a gradient that lies": (lying_function, 2 * TIMES + 1, {"a": 1, "b": 0}),
    "a wall": ("sqrt(a)*t", -5 * TIMES, {"a": 1}),
    "a wall at the start": ("sqrt(a)*t", TIMES, {"a": 0}),
    "not finite at the start": ("log(a)*t", TIMES, {"a": -1}),
    "not finite on the way": ("log(a - t)*b", np.log(6 - TIMES), {"a": 5.001, "b": 3}),
    "squares beyond the largest number": ("exp(a*t)", np.exp(TIMES), {"a": 100}),
    "powers of powers": ("exp(exp(a*t))", np.exp(np.exp(0.1 * TIMES)), {"a": 1.2}),
    "a minimum at infinity": ("exp(-a*t)", 0 * TIMES + 0.9, {"a": 1}),
    "a line as a limit": ("a*t/(b + t)", 2 * TIMES, {"a": 1, "b": 1}),
    "a reach that ends": ("-a**2*t", 3 * TIMES, {"a": 1}),
    "data near the largest square": ("a*t", 1e145 * TIMES, {"a": 1}),
}


@pytest.mark.parametrize("name", ROUGH)
def test_whatever_the_function_there_is_an_end_a_status_and_a_sentence(name):
    function, y, init = ROUGH[name]
    result = fit(function, TIMES, y, init=init)
    assert result.status in ("converged", "singular", "stuck", "diverged")
    assert result.message
    assert np.isfinite(values(result)).all()
    assert result.steps < 1000
    json = result.to_dict()
    assert json["status"] == result.status
    assert str(result)


@pytest.mark.parametrize("name", ["abs, on the wrong side", "noise", "a gradient that lies", "a wall"])
def test_where_there_is_more_to_gain_it_is_not_called_converged(name):
    function, y, init = ROUGH[name]
    assert fit(function, TIMES, y, init=init).status in ("stuck", "diverged")


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_limit_of_steps_is_told(steps):
    y = 2 * np.exp(-TIMES / 1.3) + 0.5 + NOISE
    result = fit("exponential_decay", TIMES, y, init={"amplitude": 1, "tau": 4, "offset": 1}, steps=steps)
    assert (result.status, result.steps) == ("step limit", steps)
    assert result.message == ("its one step was taken" if steps == 1 else f"all {steps} steps were taken")


def test_a_start_that_is_not_finite_has_no_rmse():
    result = fit("log(a)*t", TIMES, TIMES, init={"a": -1})
    assert result.status == "diverged"
    assert math.isnan(result.rmse)
    assert math.isnan(result.rmse_history[0])
    assert result.parameters == {"a": -1.0}


# The tangent


def test_promise_and_step_are_those_of_lstsq():
    residuals = problem("a*exp(-b*t) + c", [2.0, 0.7, 0.3], y=np.cos(T))
    at = tangent(residuals, residuals.theta)
    r, jac = (
        2 * np.exp(-0.7 * T) + 0.3 - np.cos(T),
        np.stack([np.exp(-0.7 * T), -2 * T * np.exp(-0.7 * T), T**0], axis=-1),
    )
    step, least, *_ = np.linalg.lstsq(jac, -r, rcond=None)
    np.testing.assert_allclose(at.step(at.newton)[0], step, rtol=1e-9)
    assert at.promise[0] == pytest.approx(r @ r - least[0], rel=1e-12)
    np.testing.assert_allclose(at.scale[0], np.linalg.norm(jac, axis=0), rtol=1e-12)
    assert at.total[0] == pytest.approx(r @ r, rel=1e-12)


def test_rounding_is_larger_than_what_rounding_does():
    """The same sum of squares in NumPy's extended precision."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        theta = np.array([10.0 ** rng.uniform(-3, 3), 1.0, 10.0 ** rng.uniform(-3, 3)])
        y = theta[0] * np.exp(-T) + theta[2] + 1e-6 * rng.normal(size=len(T))
        residuals = problem("a*exp(-b*t) + c", theta, y=y)
        at = tangent(residuals, residuals.theta)
        long = [np.longdouble(one) for one in theta]
        exact = np.square(
            long[0] * np.exp(-long[1] * T.astype(np.longdouble)) + long[2] - y.astype(np.longdouble)
        ).sum()
        assert abs(at.total[0] - exact) <= at.rounding[0]


# Gradient descent


def test_tolerances_are_read():
    assert Tolerance.of(DOUBLE) == pytest.approx((1e-10, 1e-5, 1e-11))
    assert Tolerance.of(DOUBLE, {"loss": 1e-4}) == pytest.approx((1e-4, 1e-2, 1e-5))
    assert Tolerance.of(torch.float32, {"loss": 1e-3}).loss == 1e-3
    for given in ({"los": 1}, {"loss": -1}, {"loss": True}, {"loss": math.inf}, {"loss": "1"}):
        with pytest.raises(InputError, match="tolerance: "):
            Tolerance.of(DOUBLE, given)


def standard(name, rng):
    """A well scaled problem of a kind that gradient descent solves: formula, data, start, the same in NumPy."""
    t = np.linspace(-1, 1, 25)
    by_numpy, truth = {
        "a*t + b": (lambda p: p[0] * t + p[1], [2.0, 1.0]),
        "a*exp(b*t)": (lambda p: p[0] * np.exp(p[1] * t), [1.0, 0.8]),
        "a*tanh(b*t) + c": (lambda p: p[0] * np.tanh(p[1] * t) + p[2], [1.5, 1.2, 0.3]),
    }[name]
    truth = np.array(truth)
    y = by_numpy(truth) + rng.choice([0.0, 0.05]) * rng.normal(size=25)
    start = truth * (1 + 0.3 * rng.uniform(-1, 1, len(truth)))
    return t, y, dict(zip("abc", start, strict=False)), lambda p: by_numpy(p) - y


@pytest.mark.parametrize("dtype", [DOUBLE, torch.float32])
@pytest.mark.parametrize("rule", [SGD, Adam], ids=["SGD", "Adam"])
@pytest.mark.parametrize("name", ["a*t + b", "a*exp(b*t)", "a*tanh(b*t) + c"])
def test_gradient_descent_has_converged_only_where_scipy_gains_no_more(name, rule, dtype):
    ended = 0
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        t, y, init, by_numpy = standard(name, rng)
        loss = 10.0 ** rng.integers(-9, -2) if dtype == DOUBLE else 1e-4
        given = {"tolerance": {"loss": loss}, "dtype": dtype, "steps": 1500}
        result = fit(name, t, y, init=init, optimizer=rule, lr=0.1 if rule is SGD else 0.02, **given)
        assert result.status in ("converged", "step limit")
        if result.status == "converged":
            ended += 1
            assert result.steps < 1500
            ours = np.square(by_numpy(values(result))).mean()
            found = least_squares(by_numpy, values(result), xtol=1e-15, ftol=1e-15, gtol=1e-15)
            least = 2 * found.cost / len(t)
            near = np.abs(values(result) - found.x) <= 2 * max(loss / 10, 1e-7) * np.abs(found.x)
            rounding = 1e-13 if dtype == torch.float32 else 1e-28
            assert ours - least <= 2 * loss * ours + rounding or near.all()
    assert ended or dtype == torch.float32


def test_gradient_descent_far_from_the_minimum_has_not_converged():
    """A learning rate so small that no step gains anything to speak of."""
    y = 2 * TIMES + 1
    result = fit("linear", TIMES, y, init={"a": 0, "b": 0}, optimizer=SGD, lr=1e-14, steps=500, dtype=DOUBLE)
    assert result.status == "step limit"


@pytest.mark.parametrize("rule", [SGD, Adam], ids=["SGD", "Adam"])
def test_gradient_descent_that_cannot_tell_a_sum_apart(rule):
    t = np.linspace(-1, 1, 25)
    result = fit(
        "a + b + c*t",
        t,
        2 * t + 1 + 0.1 * np.cos(9 * t),
        init={"a": 1, "b": 2, "c": 0},
        optimizer=rule,
        lr=0.1,
        steps=3000,
        dtype=DOUBLE,
        tolerance={"loss": 1e-6},
    )
    assert result.status == "singular"
    assert "a and b apart from one another" in result.message


@pytest.mark.parametrize("rule", [SGD, Adam], ids=["SGD", "Adam"])
def test_gradient_descent_that_ends_at_a_bound(rule):
    t = np.linspace(-1, 1, 25)
    result = fit(
        "a*t + b",
        t,
        2 * t + 1 + 0.1 * np.cos(9 * t),
        parameters={"a": {"init": 0.5, "max": 1.0}, "b": 0},
        optimizer=rule,
        lr=0.1,
        steps=3000,
        dtype=DOUBLE,
        tolerance={"loss": 1e-6},
    )
    assert result.status == "at bound"
    assert result.message.startswith("a is held by its upper bound 1;")


def test_judge_by_hand():
    """At the minimum, a little beside it, and where residuals are not finite."""
    y = np.cos(T)
    a, b = np.polyfit(T, y, 1)
    limits = Tolerance.of(DOUBLE, {"loss": 1e-6})

    def at(a, b, formula="a*t + b"):
        [verdict] = judge(problem(formula, [a, b], y=y), limits)
        return verdict

    assert at(a, b).status == "converged"
    columns = np.stack([T, T**0], axis=-1)
    least = np.square(columns @ [a, b] - y).sum()
    beside = math.sqrt(1e-6 * least / np.square(T).sum())  # where the loss is larger by its millionth
    assert at(a + 0.5 * beside, b).status == "converged"
    assert at(a + 2 * beside, b) is None
    assert at(-1.0, b, "log(a)*t + b") is None


def test_the_sentence_names_what_the_errors_call_undetermined():
    """Along (1, -1, 0.01) nothing changes, so that c can be anything as well."""
    t = np.linspace(0, 1, 30)
    y = 3 * t + np.cos(9 * t) + 0.01 * np.sin(40 * t)
    result = fit("a*t + b*(t + 0.01*cos(9*t)) + c*cos(9*t)", t, y)
    assert "the data do not determine a, b and c apart" in result.message
    assert list(result.uncertainty.kinds) == ["undetermined"] * 3


def test_tolerances_of_numpy_and_torch():
    found = Tolerance.of(torch.float64, {"loss": np.float32(0.25), "step": torch.tensor(0.5)})
    assert found == Tolerance(0.25, 0.5, 0.5)
    assert all(type(value) is float for value in found)
