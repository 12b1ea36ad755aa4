"""The bootstrap beside closed forms of linear functions, SciPy's bootstrap and curve_fit, draw by draw."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import curve_fit

from gd_lightning import bootstrap as module
from gd_lightning.bootstrap import KINDS, bootstrap, refits, weighted
from gd_lightning.curve import Curve
from gd_lightning.errors import InputError
from gd_lightning.levenberg_marquardt import minimum
from gd_lightning.losses import mse
from gd_lightning.points import Points, stack

DOUBLE = torch.float64
DRAWS = 4000
SCATTER = 5 * (2 / DRAWS) ** 0.5  # five standard deviations of a variance of so many draws, relative
LINE = np.stack([np.linspace(0, 5, 12), np.ones(12)], axis=-1)


def fitted(function, t, y, start, sigma=None, demands=None):
    """A curve at its minimum, and the points."""
    curve = Curve(function, demands).to(DOUBLE)
    points = Points(torch.as_tensor(t), torch.as_tensor(y), None if sigma is None else torch.as_tensor(sigma))
    curve.start(torch.as_tensor(start, dtype=DOUBLE).expand(*points.batch, -1))
    curve.set_params(minimum(curve, points, mse, curve.params.detach()).params)
    return curve, points


def noisy_line(seed=0, noise=0.3, batch=()):
    rng = np.random.default_rng(seed)
    return LINE[:, 0], LINE @ [2.0, 1.0] + noise * rng.normal(size=(*batch, 12))


def gaussian(t, amplitude, center, width):
    return amplitude * np.exp(-((t - center) ** 2) / (2 * width**2))


def noisy_peak(seed=0, count=40):
    t = np.linspace(0, 10, count)
    return t, gaussian(t, 2.0, 4.5, 1.2) + 0.1 * np.random.default_rng(seed).normal(size=count)


def close_covariance(found, expected):
    """Whether two covariances agree within what so many draws scatter."""
    size = np.sqrt(np.diagonal(expected, axis1=-2, axis2=-1))
    np.testing.assert_allclose(
        found / (size[..., None] * size[..., None, :]), expected / (size[..., None] * size[..., None, :]), atol=SCATTER
    )


# Closed forms


@pytest.mark.parametrize("weighs", [False, True], ids=["alike", "weighted"])
def test_residuals_of_a_line_scatter_as_the_closed_form_has_it(weighs):
    t, y = noisy_line()
    sigma = 0.2 + 0.1 * t if weighs else None
    scale = 1.0 if sigma is None else sigma
    columns = LINE / np.reshape(scale, (-1, 1))
    found = bootstrap(*fitted("linear", t, y, [1.0, 0.0], sigma), draws=DRAWS)
    best = np.linalg.lstsq(columns, y / scale, rcond=None)[0]
    e = y / scale - columns @ best
    noise = np.mean((e - e.mean()) ** 2) * 12 / 10
    close_covariance(found.covariance.numpy(), noise * np.linalg.inv(columns.T @ columns))
    np.testing.assert_allclose(found.estimate, best, rtol=1e-9)
    np.testing.assert_allclose(
        found.samples.mean(dim=0), best, atol=5 * max(found.standard_errors.values()) / DRAWS**0.5
    )
    assert found.failed == 0
    assert found.standard_errors["a"] == pytest.approx(found.samples[:, 0].std().item(), rel=1e-12)


@pytest.mark.parametrize("absolute", [False, True])
def test_parametric_noise_on_a_line(absolute):
    t, y = noisy_line()
    sigma = 0.2 + 0.1 * t
    curve, points = fitted("linear", t, y, [1.0, 0.0], sigma)
    found = bootstrap(curve, points, draws=DRAWS, kind="parametric", absolute_sigma=absolute)
    columns = LINE / sigma[:, None]
    _, [chi2], *_ = np.linalg.lstsq(columns, y / sigma, rcond=None)
    close_covariance(found.covariance.numpy(), (1 if absolute else chi2 / 10) * np.linalg.inv(columns.T @ columns))
    # normal noise makes normal parameters
    for i in range(2):
        column = found.samples[:, i].numpy()
        assert stats.kstest((column - column.mean()) / column.std(), "norm").pvalue > 1e-3


def test_many_series_each_about_itself():
    t, y = noisy_line(batch=(2, 3))
    y *= np.arange(1, 7).reshape(2, 3, 1)
    found = bootstrap(*fitted("linear", t, y, [1.0, 0.0]), draws=DRAWS)
    assert found.samples.shape == (DRAWS, 2, 3, 2)
    assert found.failed.tolist() == [[0] * 3] * 2
    inverse = np.linalg.inv(LINE.T @ LINE)
    best = np.linalg.lstsq(LINE, y.reshape(6, 12).T, rcond=None)[0]
    noise = np.square(y.reshape(6, 12).T - LINE @ best).sum(axis=0) / 10
    close_covariance(found.covariance.numpy().reshape(6, 2, 2), noise[:, None, None] * inverse)
    low, high = found.intervals(0.9)["a"]
    assert low.shape == high.shape == found.standard_errors["b"].shape == (2, 3)
    np.testing.assert_allclose(low, np.quantile(found.samples[..., 0], 0.05, axis=0), rtol=1e-12)
    np.testing.assert_allclose(high, np.quantile(found.samples[..., 0], 0.95, axis=0), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_series_of_unequal_lengths_draw_their_own_points(kind):
    t, y = noisy_line(batch=(2,))
    present = np.ones((2, 12), dtype=bool)
    present[1, [0, 5, 6]] = False
    series = torch.where(torch.from_numpy(present), torch.from_numpy(y), 1e6)  # what would be seen, were it drawn
    sigma = np.where(present, 1.0, np.inf)
    found = bootstrap(*fitted("linear", t, series.numpy(), [1.0, 0.0], sigma), draws=DRAWS, kind=kind)
    assert found.failed.tolist() == [0, 0]
    columns, values = LINE[present[1]], y[1][present[1]]
    best, [chi2], *_ = np.linalg.lstsq(columns, values, rcond=None)
    np.testing.assert_allclose(found.estimate[1], best, rtol=1e-9)
    inverse = np.linalg.inv(columns.T @ columns)
    if kind == "cases":

        def slope(t, y):
            return np.polyfit(t, y, 1)[0]

        drawn = stats.bootstrap(
            (columns[:, 0], values),
            slope,
            paired=True,
            vectorized=False,
            n_resamples=DRAWS,
            rng=np.random.default_rng(0),
        )
        # few points give long tails, of which a variance knows less
        assert found.standard_errors["a"][1].item() == pytest.approx(drawn.standard_error, rel=3 * SCATTER)
    else:
        close_covariance(found.covariance[1].numpy(), chi2 / 7 * inverse)


# SciPy


@pytest.mark.parametrize("weighs", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize(
    "function", ["gaussian", "amplitude*exp(-(t - center)**2/(2*width**2))"], ids=["family", "formula"]
)
def test_refits_one_by_one_beside_curve_fit(function, weighs):
    t, y = noisy_peak()
    sigma = 0.05 + 0.01 * t if weighs else None
    curve, points = fitted(function, t, y, [2.0, 4.5, 1.2], sigma)
    rng = np.random.default_rng(1)
    drawn = y + 0.1 * rng.normal(size=(8, 40))
    deviations = None if sigma is None else torch.from_numpy(np.tile(sigma, (8, 1)))
    params, arrived = refits(curve, Points(points.t, torch.from_numpy(drawn), deviations), mse, curve.params.detach())
    assert arrived.all()
    for row, found in zip(drawn, params, strict=True):
        expected, covariance = curve_fit(gaussian, t, row, [2.0, 4.5, 1.2], sigma, xtol=1e-14, ftol=1e-14)
        assert (abs(found.numpy() - expected) < 1e-4 * np.sqrt(np.diag(covariance))).all()


def test_drawn_cases_are_points_that_stand_there_more_than_once():
    t, y = noisy_peak()
    curve, points = fitted("gaussian", t, y, [2.0, 4.5, 1.2])
    rng = np.random.default_rng(2)
    places = rng.integers(0, 40, (6, 40))
    times = np.stack([np.bincount(one, minlength=40) for one in places])
    params, _ = refits(curve, weighted(points, torch.from_numpy(times)), mse, curve.params.detach())
    for place, found in zip(places, params, strict=True):
        expected, covariance = curve_fit(gaussian, t[place], y[place], [2.0, 4.5, 1.2], xtol=1e-14, ftol=1e-14)
        assert (abs(found.numpy() - expected) < 1e-4 * np.sqrt(np.diag(covariance))).all()


@pytest.mark.parametrize("kind", ["percentile", "bca"])
def test_cases_beside_scipys_bootstrap(kind):
    rng = np.random.default_rng(3)
    t = rng.exponential(size=30)
    y = 2 * t + 1 + (0.2 + t) * rng.exponential(size=30)

    def slope(t, y):
        return np.polyfit(t, y, 1)[0]

    expected = stats.bootstrap(
        (t, y), slope, paired=True, vectorized=False, n_resamples=DRAWS, method=kind, rng=np.random.default_rng(0)
    )
    found = bootstrap(*fitted("linear", t, y, [1.0, 0.0]), draws=DRAWS, kind="cases")
    error = expected.standard_error
    assert found.standard_errors["a"] == pytest.approx(error, rel=SCATTER)
    low, high = found.intervals(0.95, kind)["a"]
    # an end of a normal tail scatters by 0.04 of the standard error, one of a longer tail by more
    assert low == pytest.approx(expected.confidence_interval.low, abs=0.25 * error)
    assert high == pytest.approx(expected.confidence_interval.high, abs=0.25 * error)


def test_bca_is_told_by_leaving_points_out():
    """The ends of BCa from NumPy's own fits without each of the points (Efron, 1987)."""
    rng = np.random.default_rng(4)
    t = rng.exponential(size=20)
    y = 2 * t + 1 + t * rng.exponential(size=20)
    ours = bootstrap(*fitted("linear", t, y, [1.0, 0.0]), draws=500, kind="cases")
    slopes = ours.samples[:, 0].numpy()
    best = np.polyfit(t, y, 1)[0]
    left = np.array([np.polyfit(np.delete(t, i), np.delete(y, i), 1)[0] for i in range(20)])
    off = left.mean() - left
    acceleration = (off**3).sum() / (6 * (off**2).sum() ** 1.5)
    bias = stats.norm.ppf((slopes < best).mean())
    shifted = bias + stats.norm.ppf([0.05, 0.95])
    expected = np.quantile(slopes, stats.norm.cdf(bias + shifted / (1 - acceleration * shifted)))
    np.testing.assert_allclose(ours.intervals(0.9, "bca")["a"], expected, rtol=1e-7)


# Draws that cannot be fitted


def test_what_failed_is_counted_and_left_out():
    t, y = np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 7.0])
    found = bootstrap(*fitted("linear", t, y, [1.0, 0.0]), draws=DRAWS, kind="cases")
    # of 27 ways to draw three points, three draw one alone
    assert found.failed == pytest.approx(DRAWS / 9, abs=5 * (DRAWS * 8 / 81) ** 0.5)
    lost = torch.isnan(found.samples).all(dim=-1)
    assert lost.sum() == found.failed
    kept = found.samples[~lost].numpy()
    assert np.isfinite(kept).all()
    np.testing.assert_allclose(found.covariance, np.cov(kept.T), rtol=1e-9)
    low, high = found.intervals(0.8)["b"]
    np.testing.assert_allclose([low, high], np.quantile(kept[:, 1], [0.1, 0.9]), rtol=1e-12, atol=1e-12)
    assert "failed" in repr(found)


def test_fixed_tied_and_bounded_parameters():
    t, y = noisy_line(noise=1.0)
    demands = {"a": {"max": 1.65}, "b": {"expr": "a/2"}, "c": {"fixed": 0.1}}
    found = bootstrap(*fitted("a*t + b + c*t**2", t, y, [1.0, 0.5, 0.1], demands=demands), draws=300)
    a, b, c = found.samples.T
    assert (a <= 1.65).all()
    assert 0 < (a == 1.65).sum() < 300
    assert torch.equal(b, a / 2)
    assert (c == 0.1).all()
    assert found.standard_errors["c"] == 0.0
    assert found.intervals()["c"] == (0.1, 0.1)


# Randomness


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_is_a_seed_and_nothing_else_is_drawn_from(kind, monkeypatch):
    curve, points = fitted("gaussian", *noisy_peak(), [2.0, 4.5, 1.2])
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), curve.params.detach().clone()  # noqa: NPY002
    first = bootstrap(curve, points, draws=30, kind=kind, seed=7)
    again = bootstrap(curve, points, draws=30, kind=kind, seed=7)
    other = bootstrap(curve, points, draws=30, kind=kind, seed=8)
    assert torch.equal(first.samples, again.samples)
    assert (first.samples != other.samples).any(dim=-1).all()
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.equal(curve.params, before[2])
    monkeypatch.setattr(module, "AT_ONCE", 7 * 40)
    in_chunks = bootstrap(curve, points, draws=30, kind=kind, seed=7)
    torch.testing.assert_close(in_chunks.samples, first.samples, rtol=1e-10, atol=0.0)


def test_single_precision_is_refitted_in_double():
    t, y = noisy_peak()
    curve, points = fitted("gaussian", t, y, [2.0, 4.5, 1.2])
    double = bootstrap(curve, points, draws=20)
    single = bootstrap(curve.float(), Points(points.t.float(), points.targets.float()), draws=20)
    assert single.samples.dtype == DOUBLE
    torch.testing.assert_close(single.samples, double.samples, rtol=1e-4, atol=0.0)


# Refusals


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "wild"}, "kind: given 'wild'"),
        ({"draws": 1}, "draws: given 1"),
        ({"draws": 2.5}, "draws: given 2.5"),
        ({"seed": -1}, "seed: given -1"),
        ({"absolute_sigma": True}, "there is no sigma"),
    ],
    ids=["kind", "one draw", "half a draw", "seed", "sigma"],
)
def test_what_cannot_be_drawn_is_refused(given, message):
    curve, points = fitted("linear", *noisy_line(), [1.0, 0.0])
    with pytest.raises(InputError, match=message):
        bootstrap(curve, points, **given)


def test_as_few_points_as_parameters_are_refused():
    curve, points = fitted("linear", np.array([0.0, 1.0]), np.array([1.0, 2.0]), [1.0, 0.0])
    with pytest.raises(InputError, match="2 points and 2 free parameters"):
        bootstrap(curve, points)


def test_unknown_intervals_are_refused():
    found = bootstrap(*fitted("linear", *noisy_line(), [1.0, 0.0]), draws=10)
    with pytest.raises(InputError, match="level: given 95"):
        found.intervals(95)
    with pytest.raises(InputError, match="kind: given 'bc'"):
        found.intervals(kind="bc")


def test_stacked_series():
    t, y = noisy_peak()
    series = [Points(torch.from_numpy(t[:n]), torch.from_numpy(y[:n])) for n in (40, 31)]
    points = stack(series)
    curve = Curve("gaussian").to(DOUBLE)
    curve.start(torch.tensor([[2.0, 4.5, 1.2]] * 2, dtype=DOUBLE))
    found = bootstrap(curve, points, draws=200)
    for i, n in enumerate((40, 31)):
        expected, covariance = curve_fit(gaussian, t[:n], y[:n], [2.0, 4.5, 1.2])
        np.testing.assert_allclose(found.estimate[i], expected, rtol=1e-5)
        np.testing.assert_allclose(found.covariance[i].diagonal().sqrt(), np.sqrt(np.diag(covariance)), rtol=0.4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_what_the_data_leave_open_may_be_anything(kind, batch):
    """a + b + c*t: only the sum of a and b is determined, and c is that of a straight line."""
    t, y = noisy_line(batch=batch)
    curve, points = fitted("a + b + c*t", t, y, [1.0, 1.0, 1.0])
    drawn = bootstrap(curve, points, draws=200, kind=kind)
    line = bootstrap(*fitted("b + c*t", t, y, [1.0, 1.0]), draws=200, kind=kind)
    for ends in ("percentile", "bca"):
        intervals = drawn.intervals(0.9, ends)
        for name in ("a", "b"):
            low, high = (torch.as_tensor(end) for end in intervals[name])
            assert low.eq(-torch.inf).all()
            assert high.eq(torch.inf).all()
        assert torch.isfinite(torch.as_tensor(intervals["c"])).all() if not batch else True
    errors = {name: torch.as_tensor(error) for name, error in drawn.standard_errors.items()}
    assert errors["a"].eq(torch.inf).all()
    assert errors["b"].eq(torch.inf).all()
    if kind == "cases":  # the draws do not depend on the number of parameters
        torch.testing.assert_close(errors["c"], torch.as_tensor(line.standard_errors["c"]), rtol=1e-5, atol=0)
    assert drawn.covariance[..., 0, 1].isnan().all()
    assert drawn.covariance[..., 2, 2].isfinite().all()


def test_points_are_left_out_a_few_at_a_time(monkeypatch):
    curve, points = fitted("linear", *noisy_line(), [1.0, 1.0])
    whole = bootstrap(curve, points, draws=50).intervals(kind="bca")
    sizes = []

    def noted(curve, drawn, *others):
        sizes.append(drawn.targets.numel())
        return refits(curve, drawn, *others)

    monkeypatch.setattr(module, "AT_ONCE", 60)
    monkeypatch.setattr(module, "refits", noted)
    assert bootstrap(curve, points, draws=50).intervals(kind="bca") == whole
    assert max(sizes) <= 60
