"""Starts of many series at once: descents from them arrive where those from the truth do, or lower."""

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit

from gd_lightning.batch import solve
from gd_lightning.curve import Curve
from gd_lightning.errors import InputError
from gd_lightning.many_starts import find_candidates, many_starts
from gd_lightning.points import Points, stack
from gd_lightning.residuals import Residuals
from gd_lightning.starts import set_start

DOUBLE = torch.float64
PEAK = "amplitude*exp(-(t - center)**2/(2*width**2)) + offset"
TWO = "h1*exp(-((t - c1)/w1)**2) + h2*exp(-((t - c2)/w2)**2)"
HEIGHT, PLACE, WIDTH, LEVEL = ("ratio", 1, 10), ("even", 2, 8), ("ratio", 0.4, 1.6), ("even", -1, 1)

# How parameters are spread over series whose t runs from 0.1 to 10.
SPREAD = {
    PEAK: (HEIGHT, PLACE, WIDTH, LEVEL),
    TWO: (HEIGHT, ("even", 2, 4), WIDTH, HEIGHT, ("even", 6, 8), WIDTH),
    "a*exp(-t/tau) + c": (HEIGHT, ("ratio", 0.7, 4), LEVEL),
    "a*sin(2*pi*f*t + p) + c": (HEIGHT, ("ratio", 0.2, 2), ("even", -3, 3), LEVEL),
    "log(a + b*t)": (("even", 1, 3), ("even", 0.2, 3)),
    "damped_sine": (HEIGHT, ("ratio", 2, 8), ("ratio", 0.3, 1.5), ("even", -3, 3), LEVEL),
    "hill": (HEIGHT, ("ratio", 1, 6), ("ratio", 1, 4)),
    "double_exponential": (HEIGHT, ("ratio", 0.4, 0.8), HEIGHT, ("ratio", 3, 9)),
    "pseudo_voigt": (HEIGHT, PLACE, WIDTH, ("even", 0.2, 0.8)),
    "power_law": (HEIGHT, ("even", -2, 2)),
    "rational": (HEIGHT, LEVEL, ("even", 0.1, 0.5), ("even", 0.05, 0.3)),
    "cubic": (LEVEL,) * 4,
}


def truths(function, count, seed=0):
    rng = np.random.default_rng(seed)
    columns = [
        rng.uniform(low, high, count) if kind == "even" else low * (high / low) ** rng.uniform(0, 1, count)
        for kind, low, high in SPREAD[function]
    ]
    return np.stack(columns, axis=-1)


def noisy(function, t, truth, noise=0.03, seed=1):
    with torch.no_grad():
        clean = Curve(function).evaluate(torch.as_tensor(t), torch.as_tensor(truth)).numpy()
    rng = np.random.default_rng(seed)
    return clean + noise * np.ptp(clean, axis=-1, keepdims=True) * rng.normal(size=clean.shape)


def case(function, count=120, length=40):
    t, truth = np.linspace(0.1, 10, length), truths(function, count)
    return points_of(t, noisy(function, t, truth)), truth


def points_of(t, y, sigma=None):
    return Points(torch.as_tensor(t), torch.as_tensor(y), None if sigma is None else torch.as_tensor(sigma))


def starts_of(function, points, demands=None, known=(), predictors=None):
    curve = Curve(function, demands, predictors)
    known = {**curve.known_start(), **dict(known)}
    candidates = find_candidates(curve, points, known, torch.Generator().manual_seed(0))
    return many_starts(curve, points, candidates), candidates


def descended(function, points, starts, demands=None, predictors=None):
    curve = Curve(function, demands, predictors).to(DOUBLE)
    curve.start(torch.as_tensor(starts))
    problem = Residuals(curve, points)
    return solve(problem, problem.theta)


def share_worse(function, points, starts, truth, demands=None, predictors=None):
    found, best = (descended(function, points, one, demands, predictors) for one in (starts, truth))
    return np.mean(found.total > best.total * (1 + 1e-6))


@pytest.mark.parametrize("function", SPREAD)
def test_descents_arrive_at_least_as_low_as_from_the_truth(function):
    points, truth = case(function)
    starts, _ = starts_of(function, points)
    assert starts.shape == truth.shape
    assert starts.dtype == DOUBLE
    assert share_worse(function, points, starts, truth) <= 0.01


@pytest.mark.parametrize("function", ["hill", "pseudo_voigt"])
def test_series_from_which_nothing_was_learned_arrive_too_and_where_the_family_s_guess_leads(function):
    points, truth = case(function, 500, 60)
    sample, others = (Points(points.t, points.targets[rows]) for rows in (slice(300), slice(300, None)))
    curve = Curve(function).to(DOUBLE)
    candidates = find_candidates(curve, sample, {}, torch.Generator().manual_seed(0))
    found = descended(function, others, many_starts(curve, others, candidates))
    best = descended(function, others, truth[300:])
    assert np.mean(found.total > best.total * (1 + 1e-6)) <= 0.01
    few = Points(points.t, others.targets[:10])
    set_start(curve, few, torch.Generator(), "data")
    alone = descended(function, few, curve.params.detach())
    np.testing.assert_allclose(found.theta[:10], alone.theta, rtol=1e-6)


def test_a_start_is_near_what_scipy_finds():
    points, _ = case(PEAK, 60)
    starts, _ = starts_of(PEAK, points)

    def peak(t, amplitude, center, width, offset):
        return amplitude * np.exp(-((t - center) ** 2) / (2 * width**2)) + offset

    found = descended(PEAK, points, starts)
    for i in range(0, 60, 10):
        expected, _ = curve_fit(peak, points.t.numpy(), points.targets[i].numpy(), starts[i].numpy(), xtol=1e-13)
        np.testing.assert_allclose(found.theta[i], expected, rtol=1e-5)
        np.testing.assert_allclose(starts[i], expected, rtol=0.25, atol=0.5)


def test_what_is_linear_is_solved_at_once():
    points, _ = case("cubic", 20)
    starts, candidates = starts_of("cubic", points)
    expected = np.polyfit(points.t.numpy(), points.targets.numpy().T, 3).T
    assert len(candidates.values) == 1
    np.testing.assert_allclose(starts, expected, rtol=1e-9)


# One series does not depend on others


@pytest.mark.parametrize("kind", ["alike", "weighted", "own times"])
def test_a_start_is_the_same_whatever_the_chunks(kind):
    points, _ = case(PEAK, 700)
    rng = np.random.default_rng(3)
    if kind == "weighted":
        points = points._replace(sigma=torch.from_numpy(rng.uniform(0.5, 2, points.targets.shape)))
    if kind == "own times":
        points = points._replace(t=points.t.expand(points.targets.shape))
    curve = Curve(PEAK)
    some = Points(points.t if points.t.dim() == 1 else points.t[:60], points.targets[:60])
    candidates = find_candidates(curve, some, {}, torch.Generator().manual_seed(0))
    together = many_starts(curve, points, candidates)
    for first, last in [(0, 1), (3, 4), (699, 700), (0, 257), (100, 613)]:
        rows = slice(first, last)
        chunk = Points(
            points.t if points.t.dim() == 1 else points.t[rows],
            points.targets[rows],
            None if points.sigma is None else points.sigma[rows],
        )
        assert torch.equal(many_starts(curve, chunk, candidates), together[rows])


def test_the_seed_decides():
    points, _ = case("hill", 50)
    first, second = (starts_of("hill", points)[1].values for _ in range(2))
    assert torch.equal(first, second)


def test_what_is_not_finite_disturbs_no_other():
    points, _ = case(PEAK)
    bad = points.targets.clone()
    bad[3, 5], bad[7] = torch.nan, torch.inf
    _, candidates = starts_of(PEAK, Points(points.t, bad))
    curve = Curve(PEAK)
    starts = many_starts(curve, Points(points.t, bad), candidates)
    alone = many_starts(curve, points, candidates)
    lost = torch.zeros(len(bad), dtype=torch.bool)
    lost[[3, 7]] = True
    assert starts[lost].isnan().all()
    assert torch.equal(starts[~lost], alone[~lost])


def test_a_series_without_points_has_no_start():
    points, _ = case(PEAK, 40)
    sigma = torch.ones_like(points.targets)
    sigma[5] = torch.inf
    starts, _ = starts_of(PEAK, points._replace(sigma=sigma))
    assert starts.isnan().any(dim=-1).nonzero().flatten().tolist() == [5]


# Weights, times, predictors


def test_missing_points_and_deviations_weigh():
    points, truth = case(PEAK)
    rng = np.random.default_rng(4)
    missing = torch.from_numpy(rng.uniform(size=points.targets.shape) < 0.3)
    sigma = torch.from_numpy(rng.uniform(0.5, 2, points.targets.shape)).masked_fill(missing, torch.inf)
    points = Points(points.t, points.targets.masked_fill(missing, 1e6), sigma)
    starts, _ = starts_of(PEAK, points)
    assert share_worse(PEAK, points, starts, truth) <= 0.01


def test_one_sigma_for_all_is_none():
    points, _ = case(PEAK, 50)
    starts, candidates = starts_of(PEAK, points)
    weighted = points._replace(sigma=torch.full_like(points.targets, 0.3))
    assert torch.equal(many_starts(Curve(PEAK), weighted, candidates), starts)


def test_series_of_their_own_times_and_lengths():
    truth = truths(PEAK, 60)
    rng = np.random.default_rng(5)
    series = []
    for i, one in enumerate(truth):
        t = np.sort(rng.uniform(0.1, 10, 30 + i % 7))
        series.append(points_of(t, noisy(PEAK, t, one, seed=i)))
    points = stack(series)
    starts, _ = starts_of(PEAK, points)
    assert share_worse(PEAK, points, starts, truth) <= 0.02


def test_two_predictors():
    function = "a*exp(-((x - x0)**2 + (y - y0)**2)/(2*w**2)) + b"
    x, y = (torch.from_numpy(one.ravel()) for one in np.meshgrid(np.linspace(-2, 2, 6), np.linspace(-2, 2, 6)))
    rng = np.random.default_rng(6)
    curve = Curve(function, predictors=("x", "y"))
    by_name = {
        "a": rng.uniform(1, 10, 100),
        "x0": rng.uniform(-1, 1, 100),
        "y0": rng.uniform(-1, 1, 100),
        "w": rng.uniform(0.5, 1.4, 100),
        "b": rng.normal(size=100),
    }
    truth = np.stack([by_name[name] for name in curve.names], axis=-1)
    with torch.no_grad():
        z = curve.evaluate((x, y), torch.from_numpy(truth)).numpy()
    points = Points((x, y), torch.from_numpy(z + 0.03 * by_name["a"][:, None] * rng.normal(size=z.shape)))
    starts, _ = starts_of(function, points, predictors=("x", "y"))
    assert share_worse(function, points, starts, truth, predictors=("x", "y")) <= 0.01


def test_a_large_offset_costs_no_digits():
    points, truth = case(PEAK)
    points, truth = points._replace(targets=points.targets + 1e8), truth + np.array([0, 0, 0, 1e8])
    starts, _ = starts_of(PEAK, points)
    assert share_worse(PEAK, points, starts, truth) <= 0.01


# What is demanded


def test_bounds_fixed_and_tied_parameters():
    points, truth = case(PEAK)
    demands = {"amplitude": {"min": 0, "max": 20}, "width": {"min": 0.1}, "center": {"min": 1, "max": 9}}
    starts, _ = starts_of(PEAK, points, demands)
    assert ((starts[:, 0] >= 0) & (starts[:, 2] >= 0.1) & (starts[:, 1] >= 1) & (starts[:, 1] <= 9)).all()
    assert share_worse(PEAK, points, starts, truth, demands) <= 0.01

    level = {"offset": {"fixed": 0.25}}
    moved = points._replace(targets=points.targets - torch.from_numpy(truth[:, 3:]) + 0.25)
    starts, _ = starts_of(PEAK, moved, level)
    assert (starts[:, 3] == 0.25).all()
    truth[:, 3] = 0.25
    assert share_worse(PEAK, moved, starts, truth, level) <= 0.01

    tie = {"offset": {"expr": "amplitude/10"}}
    tied = points._replace(targets=moved.targets - 0.25 + torch.from_numpy(truth[:, :1] / 10))
    starts, _ = starts_of(PEAK, tied, tie)
    assert torch.equal(starts[:, 3], starts[:, 0] / 10)
    truth[:, 3] = truth[:, 0] / 10
    assert share_worse(PEAK, tied, starts, truth, tie) <= 0.01


def test_what_is_known_is_kept():
    points, _ = case("a*exp(-t/tau) + c", 40)
    starts, _ = starts_of("a*exp(-t/tau) + c", points, known={"tau": 1.5})
    assert (starts[:, 1] == 1.5).all()
    columns = np.stack([np.exp(-points.t.numpy() / 1.5), np.ones(40)], axis=-1)
    expected, *_ = np.linalg.lstsq(columns, points.targets.numpy().T, rcond=None)
    np.testing.assert_allclose(starts[:, [0, 2]], expected.T, rtol=1e-9)
    starts, _ = starts_of("a*exp(-t/tau) + c", points, known={"tau": 1.5, "a": 2.0, "c": 0.5})
    assert torch.equal(starts, torch.tensor([2.0, 1.5, 0.5], dtype=DOUBLE).expand(40, 3))


# Which of equal minima


def test_widths_and_amplitudes_are_positive_phases_within_a_turn_and_peaks_in_order():
    points, _ = case(PEAK, 60)
    assert (starts_of(PEAK, points)[0][:, 2] > 0).all()
    points, _ = case("damped_sine", 60)
    starts, _ = starts_of("damped_sine", points)
    amplitude, _, frequency, phase, _ = starts.unbind(-1)
    assert ((amplitude > 0) & (frequency > 0) & (phase.abs() <= np.pi)).all()
    assert (frequency < 40 / 9.9 / 2).all()
    points, _ = case(TWO, 60)
    starts, _ = starts_of(TWO, points)
    assert (starts[:, 1] <= starts[:, 4]).all()
    points, _ = case("double_exponential", 60)
    starts, _ = starts_of("double_exponential", points)
    assert (starts[:, 1] <= starts[:, 3]).all()


# Bad input


def test_no_finite_series_is_refused():
    points = Points(torch.linspace(0, 1, 5), torch.full((3, 5), torch.nan))
    with pytest.raises(InputError, match="no series is finite"):
        starts_of("gaussian", points)


def test_a_function_of_one_number_each_is_refused():
    def one_each(t, a, b):
        return a * torch.exp(-float(b) * t)

    points, _ = case("power_law", 5)
    with pytest.raises(InputError, match="many starts side by side"):
        starts_of(one_each, points)


def test_a_function_that_is_finite_nowhere_is_refused():
    points, _ = case("power_law", 5)
    with pytest.raises(InputError, match="finite at no start"):
        starts_of("log(-1 - a**2) + t*b**2", points)
