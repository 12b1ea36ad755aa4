"""Starts: from the data they lead to the least squares that SciPy finds from the truth; what is given is kept."""

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from gd_lightning import fit
from gd_lightning.curve import Curve, initialize
from gd_lightning.errors import InputError
from gd_lightning.points import Points, stack
from gd_lightning.starts import GIVEN, GUESS, MULTI_START, RANDOM, check_start, is_linear, set_start

DOUBLE = torch.float64

# A formula, its true parameters for t on 0..1 and y of about 1, and how each of them follows the units of t and of y.
FORMULAS = {
    "decay": ("a*exp(-t/tau) + c", {"a": (2, 0, 1), "tau": (0.3, 1, 0), "c": (0.5, 0, 1)}),
    "two peaks": (
        "h1*exp(-((t - c1)/w1)**2) + h2*exp(-((t - c2)/w2)**2)",
        {"h1": (2, 0, 1), "c1": (0.3, 1, 0), "w1": (0.08, 1, 0), "h2": (1, 0, 1), "c2": (0.7, 1, 0), "w2": (0.1, 1, 0)},
    ),
    "sine": ("a*sin(2*pi*f*t + p) + c", {"a": (1, 0, 1), "f": (5, -1, 0), "p": (0.8, 0, 0), "c": (3, 0, 1)}),
    "logistic": ("top/(1 + exp(-k*(t - t0)))", {"top": (3, 0, 1), "k": (15, -1, 0), "t0": (0.4, 1, 0)}),
    "power": ("a*(t + t0)**b", {"a": (2, None, 1), "t0": (0.2, 1, 0), "b": (-1.5, 0, 0)}),
    "saturation": ("top*t/(half + t)", {"top": (2, 0, 1), "half": (0.3, 1, 0)}),
    "line": ("a*t + b", {"a": (2, -1, 1), "b": (1, 0, 1)}),
    "kink": ("where(t < t0, b, b + a*(t - t0))", {"t0": (0.55, 1, 0), "b": (1, 0, 1), "a": (3, -1, 1)}),
    "families": (
        "gaussian(t, a, c, w) + slope*t + level",
        {"a": (2, 0, 1), "c": (0.4, 1, 0), "w": (0.05, 1, 0), "slope": (1, -1, 1), "level": (1, 0, 1)},
    ),
    "damped": (
        "a*exp(-t/tau)*cos(2*pi*f*t)",
        {"a": (2, 0, 1), "tau": (0.4, 1, 0), "f": (7, -1, 0)},
    ),
    "rational": ("(a + b*t)/(1 + c*t)", {"a": (1, 0, 1), "b": (4, -1, 1), "c": (2, -1, 0)}),
}
SCALES = [(1.0, 1.0), (1e-6, 1e4), (300.0, 1e-5), (5e4, -20.0)]


def problem(name, unit_t, unit_y, seed=0, count=60):
    """Times, values with 2 % of noise, and the true parameters, in some units."""
    text, truth = FORMULAS[name]
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 1, count)) * unit_t
    exponent = truth["b"][0] if name == "power" else 0
    values = {
        key: value * unit_t ** (-exponent if t_power is None else t_power) * unit_y**y_power
        for key, (value, t_power, y_power) in truth.items()
    }
    curve = Curve(text)
    clean = predict(curve, t, [values[key] for key in curve.names])
    return curve, t, clean + 0.02 * np.ptp(clean) * rng.normal(size=count), values


def predict(curve, t, params):
    with torch.no_grad():
        return curve.evaluate(torch.from_numpy(t), torch.tensor(np.asarray(params), dtype=DOUBLE)).numpy()


def scipy_s(curve, t, y, start, sigma=1.0, bounds=None):
    """The least sum of squares, from a start, in units in which the start is 1."""
    start = np.asarray(start, dtype=float)
    scale = np.where(start == 0, 1.0, np.abs(start))
    low, high = bounds or (np.full_like(start, -np.inf), np.full_like(start, np.inf))
    size = np.abs(y).max()
    found = least_squares(
        lambda x: (predict(curve, t, x * scale) - y) / sigma / size,
        np.clip(start, low, high) / scale,
        bounds=(low / scale, high / scale),
        xtol=1e-14,
        ftol=1e-14,
    )
    return 2 * found.cost * size**2, found.x * scale


def started(curve, points, start=None, init=None, seed=2021):
    curve.double()
    kind = set_start(curve, points, torch.Generator().manual_seed(seed), start, init)
    return kind, curve.params.detach()


# each formula in two of the units
@pytest.mark.parametrize(
    ("name", "scale"), [(name, SCALES[(i + j) % 4]) for i, name in enumerate(FORMULAS) for j in (0, 2)]
)
def test_the_best_of_many_starts_is_at_least_squares(name, scale):
    curve, t, y, truth = problem(name, *scale)
    best, _ = scipy_s(curve, t, y, [truth[key] for key in curve.names])
    kind, params = started(curve, Points(torch.from_numpy(t), torch.from_numpy(y)), "data")
    assert kind == MULTI_START
    assert np.sum((predict(curve, t, params.numpy()) - y) ** 2) <= best * (1 + 1e-4)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", ["two peaks", "sine", "families"])
def test_from_whatever_seed(name, seed):
    curve, t, y, truth = problem(name, 1.0, 1.0, seed=seed)
    best, _ = scipy_s(curve, t, y, [truth[key] for key in curve.names])
    _, params = started(curve, Points(torch.from_numpy(t), torch.from_numpy(y)), "data", seed=seed)
    assert np.sum((predict(curve, t, params.numpy()) - y) ** 2) <= best * (1 + 1e-4)


@pytest.mark.parametrize(
    ("demands", "low", "high"),
    [
        ({"tau": {"min": 0.5}}, [-np.inf, 0.5, -np.inf], [np.inf] * 3),
        ({"tau": {"min": 0, "max": 0.2}, "a": {"min": 0}}, [0, 0, -np.inf], [np.inf, 0.2, np.inf]),
        ({"a": {"max": 1.5}, "c": {"min": 0.4, "max": 0.45}}, [-np.inf, -np.inf, 0.4], [1.5, np.inf, 0.45]),
        ({"a": {"min": 0}, "tau": {"min": 0}, "c": {"min": 0}}, [0, 0, 0], [np.inf] * 3),
    ],
)
def test_within_bounds_the_start_is_at_least_squares_within_them(demands, low, high):
    _, t, y, _ = problem("decay", 1.0, 1.0)
    curve = Curve(FORMULAS["decay"][0], demands)
    assert curve.names == ("a", "tau", "c")
    best, _ = scipy_s(curve, t, y, [1.4, 0.3, 0.42], bounds=(np.array(low), np.array(high)))
    _, params = started(curve, Points(torch.from_numpy(t), torch.from_numpy(y)), "data")
    assert (np.array(low) <= params.numpy()).all()
    assert (params.numpy() <= np.array(high)).all()
    assert np.sum((predict(curve, t, params.numpy()) - y) ** 2) <= best * (1 + 1e-4)


@pytest.mark.parametrize(
    ("demands", "init", "written", "start"),
    [
        ({"c": {"fixed": 0.6}}, None, "a*exp(-t/tau) + 0.6", [2, 0.3]),
        ({"tau": {"fixed": 0.2}}, None, "a*exp(-t/0.2) + c", [2, 0.5]),
        ({}, {"tau": 0.2}, "a*exp(-t/0.2) + c", [2, 0.5]),
        ({"tau": {"init": 0.2}}, {"a": 1.8}, "1.8*exp(-t/0.2) + c", [0.5]),
        ({"c": {"expr": "a/4"}}, None, "a*exp(-t/tau) + a/4", [2, 0.3]),
        ({"a": {"expr": "tau*5"}, "c": {"fixed": 0.5}}, None, "tau*5*exp(-t/tau) + 0.5", [0.3]),
    ],
)
def test_what_is_given_fixed_or_tied_stays_and_the_others_fit_best_beside_it(demands, init, written, start):
    _, t, y, _ = problem("decay", 1.0, 1.0)
    free = Curve(written)
    best, x = scipy_s(free, t, y, start)
    curve = Curve("a*exp(-t/tau) + c", demands)
    kind, params = started(curve, Points(torch.from_numpy(t), torch.from_numpy(y)), "data", init)
    assert kind == MULTI_START
    assert np.sum((predict(curve, t, params.numpy()) - y) ** 2) <= best * (1 + 1e-6)
    named = dict(zip(curve.names, params.tolist(), strict=True))
    assert [named[name] for name in free.names] == pytest.approx(x.tolist(), rel=1e-3)
    for name, value in (init or {}).items():
        assert named[name] == value


def test_points_weigh_by_their_sigma_and_those_without_weight_do_not_count():
    curve, t, y, truth = problem("decay", 1.0, 1.0)
    sigma = np.full_like(y, 0.05)
    y[::4], sigma[::4] = 50.0, np.inf
    sigma[1::4] = 0.5
    best, _ = scipy_s(curve, t, y, [truth[key] for key in curve.names], sigma=sigma)
    _, params = started(curve, Points(*map(torch.from_numpy, (t, y, sigma))), "data")
    assert np.sum(((predict(curve, t, params.numpy()) - y) / sigma) ** 2) <= best * (1 + 1e-6)


def test_several_predictors():
    rng = np.random.default_rng(0)
    x1, x2 = rng.uniform(0, 10, 80), rng.uniform(0, 3, 80)
    y = 5 - 2 * x1 * np.exp(-0.8 * x2) + 0.05 * rng.normal(size=80)
    curve = Curve("b1 - b2*x1*exp(-b3*x2)", predictors=("x1", "x2"))

    def residuals(p):
        return p[0] - p[1] * x1 * np.exp(-p[2] * x2) - y

    best = least_squares(residuals, [5, 2, 0.8])
    points = Points((torch.from_numpy(x1), torch.from_numpy(x2)), torch.from_numpy(y))
    kind, params = started(curve, points)
    assert kind == MULTI_START
    assert np.sum(residuals(params.numpy()) ** 2) <= 2 * best.cost * (1 + 1e-6)


def decays(count):
    """Series of unequal lengths, alone and side by side."""
    alone = []
    for seed in range(count):
        _, t, y, _ = problem("decay", 1.0, 1.0, seed=seed, count=40 - 5 * seed)
        alone.append(Points(torch.from_numpy(t), torch.from_numpy(y)))
    return alone, stack(alone)


@pytest.mark.parametrize(
    ("function", "demands", "kind"),
    [
        ("a*exp(-t/tau) + c", {}, MULTI_START),
        ("a*exp(-t/tau) + c", {"c": {"min": 0.2}, "a": {"max": 3}}, MULTI_START),
        ("exponential_decay", {}, GUESS),
        ("exponential_decay", {"tau": {"min": 0.1, "max": 1}}, GUESS),
        ("exponential_decay", {"offset": {"fixed": 0.5}}, GUESS),
    ],
)
def test_series_side_by_side_start_as_each_would_alone(function, demands, kind):
    alone, together = decays(4)
    found, params = started(Curve(function, demands), together, "data")
    assert found == kind
    assert params.shape == (4, 3)
    for one, row in zip(alone, params, strict=True):
        _, by_itself = started(Curve(function, demands), one, "data")
        assert row.tolist() == pytest.approx(by_itself.tolist(), rel=1e-12 if kind == GUESS else 1e-3)


@pytest.mark.parametrize("start", ["random", "data"])
@pytest.mark.parametrize("function", ["a*exp(-t/tau) + c", "exponential_decay"])
def test_the_same_seed_gives_the_same_start(function, start):
    alone, _ = decays(1)
    one, same, other = (started(Curve(function), alone[0], start, seed=seed)[1] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert start == "data" or not torch.equal(one, other)


def test_the_global_generator_is_neither_read_nor_moved():
    alone, _ = decays(1)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    _, one = started(Curve("a*exp(-t/tau) + c"), alone[0], "data")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(started(Curve("a*exp(-t/tau) + c"), alone[0], "data")[1], one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("start", [None, "random", "data"])
@pytest.mark.parametrize("function", ["a*exp(-t/b) + c", "quadratic", "a*t + b*t**2 + c"])
def test_what_is_given_is_where_it_begins_in_every_bit(function, start, dtype):
    init = {"a": 0.1, "b": -1 / 3, "c": 12345.678}
    curve, t = Curve(function).to(dtype), torch.linspace(0.1, 1, 9, dtype=dtype)
    kind = set_start(curve, Points(t, t), torch.Generator().manual_seed(0), start, init)
    assert kind == GIVEN
    assert torch.equal(curve.params.detach(), torch.tensor(list(init.values()), dtype=dtype))
    assert torch.equal(curve.initial_params, curve.params.detach())
    set_start(curve, Points(t, t), torch.Generator().manual_seed(0), start, {"b": 0.7})
    assert curve.params[1] == torch.tensor(0.7, dtype=dtype)


def test_a_random_start_is_the_second_draw_of_the_generator():
    curve, t = Curve("quadratic"), torch.linspace(0, 1, 9)
    assert set_start(curve, Points(t, t), torch.Generator().manual_seed(7), "random") == RANDOM
    generator = torch.Generator().manual_seed(7)
    torch.randn(3, generator=generator)
    expected = torch.randn(3, generator=generator)
    assert torch.equal(curve.params.detach(), expected)
    assert torch.equal(initialize(3, torch.Generator().manual_seed(7)), expected)


def test_several_series_share_a_random_start():
    curve, t = Curve("quadratic"), torch.linspace(0, 1, 9)
    set_start(curve, Points(t, torch.randn(2, 3, 9)), torch.Generator().manual_seed(7), "random")
    assert curve.params.shape == (2, 3, 3)
    assert (curve.params == curve.params[0, 0]).all()


LINEAR = [
    "a*t + b",
    "a + b*t + c*t**2",
    "a*sin(t) + b*cos(t) + c",
    "a*log(t) + b/t",
    "polynomial(t, a, b, c)",
    "a*exp(-t/2) + b",
    "where(t < 2, a, b)",
    "a*abs(t - 1)",
    "(a + b)*t - a",
    "linear",
    "quadratic",
    "cubic",
    "polynomial(7)",
    "logarithmic",
    "gaussian(t, a, 2, 1) + b",
]
NONLINEAR = [
    "a*exp(-t/b)",
    "a*b*t",
    "a*t**b",
    "t**a",
    "abs(a)*t + b",
    "maximum(a*t, b)",
    "where(t < a, b, c)",
    "a*sin(b*t)",
    "a*t + b**2",
    "sqrt(a*t) + b",
    "a*t + 1e-3*b**3",
    "gaussian",
    "sine",
    "logistic",
    "michaelis_menten",
    "exponential_growth",
]
FROM_ONE = Points(torch.linspace(0.5, 4, 20, dtype=DOUBLE), torch.linspace(0.5, 4, 20, dtype=DOUBLE) ** 2)


@pytest.mark.parametrize(("function", "linear"), [*((f, True) for f in LINEAR), *((f, False) for f in NONLINEAR)])
def test_which_functions_are_linear_in_their_parameters(function, linear):
    assert is_linear(Curve(function), FROM_ONE) == linear


@pytest.mark.parametrize("times", [(0, 1e-9), (0, 1e-3), (0, 1), (0, 1e6), (1990, 2020), (1.5e9, 1.6e9)], ids=str)
@pytest.mark.parametrize("function", ["linear", "cubic", "polynomial(4)", "a*t + b", "a*log(t + 1) + b"])
def test_a_linear_function_is_linear_in_whatever_units_of_t(function, times):
    t = torch.linspace(*times, 30, dtype=DOUBLE)
    assert is_linear(Curve(function), Points(t, torch.linspace(0, 1, 30, dtype=DOUBLE).sin()))


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e9, 1e18])
@pytest.mark.parametrize("function", ["a*exp(-t/b) + c", "a*t**b", "a*sin(b*t) + c"])
def test_any_other_is_not_in_whatever_units_of_y(function, size):
    assert not is_linear(Curve(function), Points(FROM_ONE.t, size * FROM_ONE.targets))


@pytest.mark.parametrize(
    ("function", "demands", "linear"),
    [
        ("a*exp(-t/b)", {"b": {"fixed": 2}}, True),
        ("a*b*t", {"b": {"fixed": 2}}, True),
        ("a*b*t", {"b": {"expr": "2"}}, True),
        ("a*t + b", {"b": {"expr": "3*a"}}, True),
        ("a*t + b", {"b": {"expr": "a**2"}}, False),
        ("a*exp(-t/b)", {"a": {"fixed": 2}}, False),
    ],
)
def test_linear_in_those_that_are_free(function, demands, linear):
    assert is_linear(Curve(function, demands), FROM_ONE) == linear


@pytest.mark.parametrize("function", LINEAR[:4])
def test_unless_asked_a_linear_function_starts_at_random(function):
    assert started(Curve(function), FROM_ONE)[0] == RANDOM


@pytest.mark.parametrize("function", ["a*exp(-t/b)", "a*sin(b*t)"])
def test_unless_asked_any_other_starts_from_the_data(function):
    assert started(Curve(function), FROM_ONE)[0] == MULTI_START


def test_a_family_starts_from_its_guess():
    assert started(Curve("gaussian"), FROM_ONE)[0] == GUESS
    assert started(Curve("gaussian"), FROM_ONE, "random")[0] == RANDOM


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("function", "y"),
    [
        ("a*exp(-t/b) + c", [2.0] * 5),
        ("a*exp(-t/b) + c", [[0.9, 0.1, 0.5, 0.2, 0.8], [0.1, 0.9, 0.3, 0.7, 0.2], [0.5, 0.4, 0.5, 0.6, 0.1]]),
        ("a*exp(b*t) + c", [0.0, 0.0, 0.0, 0.0, 1.0]),
        ("a*sinh(b*t) + c", [1.0, 2.0, 1.0, 2.0, 9.0]),
    ],
)
def test_a_start_from_the_data_can_be_computed_in_the_precision_of_the_fit(function, y, dtype):
    """In double precision exp(500) is a number, in single precision it is none."""
    for lr in ("auto", None):
        result = fit(function, [1.0, 2.0, 3.0, 4.0, 5.0], y, start="data", lr=lr, steps=1, dtype=dtype)
        assert (np.asarray(result.status) != "diverged").all()
        assert torch.isfinite(torch.as_tensor(result.rmse)).all()


def branching(t, a, b):
    return a * t + b if a > 0 else b * t - a


def looping(t, a, b):
    return torch.stack([a[0] * one + b[0] for one in t])


def masking(t, a, b):
    y = a * t
    y[t > 2] = (b * t)[t > 2]
    return y


class Sine(torch.autograd.Function):
    """A function whose gradient runs backward only."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return torch.sin(x)

    @staticmethod
    def backward(context, gradient):
        return gradient * torch.cos(context.saved_tensors[0])


def backward_only(t, a, b):
    return a * Sine.apply(b * t)


@pytest.mark.parametrize("start", [pytest.param(None, marks=pytest.mark.slow), "random", "data"])  # None is data here
@pytest.mark.parametrize("function", [branching, looping, masking, backward_only])
def test_a_callable_that_can_be_fitted_alone_but_not_side_by_side(function, start):
    """It is fitted, or, from the data, refused in one line that says what to do instead."""
    message = ""
    try:
        assert fit(function, [1, 2, 3, 4], [1, 4, 9, 16], start=start, lr=1e-3, steps=2).steps == 2
        assert fit(function, [1, 2, 3, 4], [1, 4, 9, 16], start=start).status in {"converged", "singular", "stuck"}
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    assert not message or (start == "data" and "random" in message)


@pytest.mark.parametrize("start", ["dat", "guess", "", 3, ["data"]])
def test_a_start_that_there_is_not(start):
    with pytest.raises(InputError, match="start: given"):
        check_start(start)


@pytest.mark.parametrize("start", [None, "random", "data"])
def test_a_start_that_there_is(start):
    check_start(start)


@pytest.mark.parametrize("seed", range(4))
def test_of_frequencies_that_even_spacing_cannot_tell_apart_the_lowest_is_taken(seed):
    """sin(w*t) and sin((w + 2*pi/dt)*t) agree at every point."""
    t = torch.linspace(0, 8, 81)
    noise = 0.1 * torch.randn(81, generator=torch.Generator().manual_seed(seed))
    curve = Curve("A*exp(-k*t)*cos(w*t)")
    set_start(curve, Points(t, 3 * torch.exp(-0.3 * t) * torch.cos(5 * t) + noise), torch.Generator().manual_seed(seed))
    assert abs(curve.params[2].item()) == pytest.approx(5, abs=0.1)
