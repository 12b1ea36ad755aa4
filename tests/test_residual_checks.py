"""The checks of the residuals against statsmodels and SciPy, how often noise fails them, and what does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, normaltest
from statsmodels.sandbox.stats.runs import runstest_1samp
from statsmodels.stats.diagnostic import acorr_ljungbox

from gd_lightning import fit
from gd_lightning.residual_checks import FAILS, SPURIOUS, check_residuals, more_than_chance

S, N = 2000, 40
T = np.linspace(0.0, 1.0, N)
CHECKS = ("runs", "normality", "autocorrelation")


def checked(residuals, order=None, present=None, size=None):
    residuals = np.atleast_2d(residuals)
    order = np.broadcast_to(np.arange(residuals.shape[-1], dtype=float), residuals.shape) if order is None else order
    present = np.ones(residuals.shape, dtype=bool) if present is None else present
    return check_residuals(residuals, present, order, np.ones(len(residuals)) if size is None else size)


def noise(kind, shape=(20, N), seed=0):
    rng = np.random.default_rng(seed)
    return {
        "normal": lambda: rng.normal(size=shape),
        "skewed": lambda: rng.exponential(size=shape) - 1,
        "drifting": lambda: np.cumsum(rng.normal(size=shape), axis=-1),
        "alternating": lambda: rng.normal(size=shape) + 2 * (-1) ** np.arange(shape[-1]),
    }[kind]()


@pytest.mark.parametrize("kind", ["normal", "skewed", "drifting", "alternating"])
def test_statsmodels_and_scipy(kind):
    residuals = noise(kind)
    found = checked(residuals)
    assert found.normality == pytest.approx(normaltest(residuals, axis=-1).pvalue, rel=1e-9)
    for i, row in enumerate(residuals):
        _, chance = runstest_1samp(row, cutoff=0, correction=False)
        assert found.runs[i] == pytest.approx(chance, rel=1e-9, abs=1e-11)  # which takes 1 less a number near 1
        box = acorr_ljungbox(row, lags=[1])["lb_pvalue"].item()
        assert found.autocorrelation[i] == pytest.approx(box, rel=1e-9)
        assert found.largest[i] == pytest.approx(np.abs(row).max() / row.std(), rel=1e-12)
        centred = row - row.mean()
        assert found.correlation[i] == pytest.approx(centred[1:] @ centred[:-1] / (centred @ centred), rel=1e-9)


@pytest.mark.parametrize("n", [20, 50, 200])
def test_noise_fails_one_time_in_a_hundred(n):
    """Normality, whose chances are told too small, is judged by a power of them: no more than one in a hundred."""
    found = checked(noise("normal", (S, n), seed=n))
    least, most = binom.ppf([0.001, 0.999], S, FAILS)
    for name in ("runs", "autocorrelation"):
        failed = (getattr(found, name) < FAILS).sum()
        assert least - 5 <= failed <= most, name  # the number of runs is whole, and jumps over the limit
    assert (found.normality ** (2 / 3) < FAILS).sum() <= most
    assert (found.normality ** (2 / 3) < FAILS).sum() > 0
    middle = binom.ppf([0.001, 0.999], S, 0.5)
    assert middle[0] <= (found.autocorrelation < 0.5).sum() <= middle[1]


@pytest.mark.parametrize(
    ("function", "truth", "n"),
    [
        ("a*t**2 + b*t + c", {"a": 1.0, "b": 2.0, "c": 3.0}, 20),
        ("a*exp(-k*t) + c", {"a": 3.0, "k": 3.0, "c": 1.0}, 30),
    ],
    ids=["quadratic", "decay"],
)
def test_good_fits_of_many_series_have_nothing_to_tell(function, truth, n):
    t = np.linspace(0, 1, n)
    right = eval(function.replace("exp", "np.exp"), {"np": np, "t": t, **truth})
    result = fit(function, t, right + 0.05 * noise("normal", (S, n), seed=5), init=truth)
    assert result.arrived.all()
    found = result.residual_checks
    for name in CHECKS:
        share = (getattr(found, name) < FAILS).mean()
        assert 0 < share <= SPURIOUS, name
    assert result.warnings == []


def wrong(t):
    return np.sin(7 * t)


PECULIAR = {
    "the wrong function": (lambda rng: wrong(T) + 0.1 * rng.normal(size=N), {"Runs", "Autocorrelation"}),
    "outliers": (lambda rng: rng.normal(size=N) + 12.0 * (np.arange(N) == 17), {"Normality"}),
    "alternating": (lambda rng: 0.1 * rng.normal(size=N) + (-1.0) ** np.arange(N), {"Runs", "Autocorrelation"}),
}


@pytest.mark.parametrize("case", PECULIAR)
@pytest.mark.parametrize("series", [0, 3])
def test_what_is_no_noise_is_told(case, series):
    made, expected = PECULIAR[case]
    rng = np.random.default_rng(1)
    odd = made(rng)
    y = odd if not series else np.stack([rng.normal(size=N), odd, rng.normal(size=N)])
    lines = fit("a*t + b", T, y).warnings
    found = {line.split()[0].rstrip(":") for line in lines}
    assert expected <= found <= expected | {"Normality"}
    if series:
        assert all(f"{line.split()[0]} fails in 1 of 3 series (2); in the worst " in line for line in lines)


def test_correlated_noise_is_told():
    rng = np.random.default_rng(2)
    steps = rng.normal(size=(300, 80))
    ar1 = np.zeros_like(steps)
    for i in range(80):
        ar1[:, i] = 0.7 * ar1[:, i - 1] + steps[:, i] if i else steps[:, i]
    result = fit("a*t + b", np.linspace(0, 1, 80), ar1)
    assert (result.residual_checks.autocorrelation < FAILS).mean() > 0.95
    assert (result.residual_checks.runs < FAILS).mean() > 0.7
    [line] = [line for line in result.warnings if line.startswith("Autocorrelation")]
    assert line.endswith("the standard errors are too small.")


def test_one_outlier_among_many_series():
    residuals = noise("normal", (S, N), seed=9)
    residuals[123, 7] = 15.0
    [line] = checked(residuals).sentences()
    assert line.startswith(f"Normality fails in 1 of {S:,} series (124); in the worst the residuals are not normal")


def test_more_failures_than_chance_explains_are_all_named():
    p_values = np.full(100, 0.5)
    p_values[[10, 20]] = 0.005
    assert not more_than_chance(p_values).any()  # one of a hundred fails
    p_values[20] = 1e-5
    assert np.flatnonzero(more_than_chance(p_values)).tolist() == [20]
    p_values[:12] = 0.005
    assert np.flatnonzero(more_than_chance(p_values)).tolist() == [*range(12), 20]
    assert more_than_chance(np.array([0.009])).all()
    assert not more_than_chance(np.array([0.011])).any()
    assert not more_than_chance(np.full(3, np.nan)).any()


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(N)))
def test_points_in_any_order(order):
    residuals = noise("drifting", (2, N), seed=3)
    t = np.broadcast_to(T, (2, N))
    for ours, expected in zip(checked(residuals[:, order], t[:, order]), checked(residuals, t), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9)


@pytest.mark.parametrize("unit", [1e-150, 1e-90, 1e90, 1e150])
def test_in_any_unit(unit):
    """Skewness and kurtosis have third and fourth powers."""
    residuals = noise("skewed")
    for ours, expected in zip(checked(residuals * unit, size=np.full(20, unit)), checked(residuals), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_points_that_are_none_take_no_part():
    residuals = noise("normal", (3, N), seed=4)
    present = np.ones((3, N), dtype=bool)
    present[1, 25:] = False
    present[2, ::2] = False
    found = checked(residuals, present=present)
    for i in range(3):
        alone = checked(residuals[i, present[i]])
        for ours, expected in zip(found, alone, strict=True):
            np.testing.assert_allclose(ours[i], expected[0], rtol=1e-12)


def test_too_little_to_tell():
    few = checked(noise("drifting", (2, 19)))
    assert all(np.isnan(values).all() for values in few)
    rounding = checked(1e-12 * noise("drifting"), size=np.full(20, 10.0))
    assert all(np.isnan(values).all() for values in rounding)
    broken = noise("drifting", (2, N))
    broken[0, 3] = np.inf
    found = checked(broken)
    assert np.isnan(found.runs[0])
    assert np.isfinite(found.runs[1])


def test_over_several_predictors_there_are_no_neighbours():
    residuals = noise("drifting")
    found = check_residuals(residuals, np.ones(residuals.shape, dtype=bool), None, np.ones(20))
    assert np.isnan(found.runs).all()
    assert np.isnan(found.autocorrelation).all()
    assert found.normality == pytest.approx(normaltest(residuals, axis=-1).pvalue, rel=1e-9)
    rng = np.random.default_rng(0)
    x1, x2 = rng.normal(size=(2, N))
    lines = fit("a*x1 + b*x2 + c", {"x1": x1, "x2": x2}, np.arange(N) ** 2.0).warnings
    assert not any(line.startswith(("Runs", "Autocorrelation")) for line in lines)


def test_residuals_of_one_sign_or_all_alike():
    one_sign = checked(np.abs(noise("normal", (1, N))))
    assert one_sign.runs[0] == pytest.approx(2.0 ** (1 - N))  # all heads, or all tails
    assert one_sign.changes[0] == 0
    alike = checked(np.ones((1, N)))
    assert np.isnan(alike.normality[0])
    assert len(alike.sentences()) == 1
