"""R2, chi-square and the information criteria against statsmodels, lmfit and likelihoods summed point by point."""

import json
import math

import lmfit
import numpy as np
import pytest
import statsmodels.api as sm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from statsmodels.tools.eval_measures import aicc

from gd_lightning import fit
from gd_lightning.goodness import goodness
from gd_lightning.points import Points

N = 30
T = np.linspace(0.0, 4.0, N)
RNG = np.random.default_rng(11)
NOISE = RNG.normal(size=N)
SIGMA = RNG.uniform(0.05, 0.4, size=N)
Y = 1.5 * T - 0.5 + SIGMA * NOISE


@pytest.mark.parametrize("degree", [1, 2, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_statsmodels(weighted, degree):
    sigma = SIGMA if weighted else None
    design = np.vander(T, degree + 1)
    model = sm.WLS(Y, design, weights=SIGMA**-2.0) if weighted else sm.OLS(Y, design)
    expected = model.fit()
    found = fit(f"polynomial({degree})", T, Y, sigma=sigma).goodness
    p = degree + 1
    assert (found.n, found.p, found.dof) == (N, p, N - p)
    assert isinstance(found.n, int)
    assert isinstance(found.r2, float)
    assert found.chi2 == pytest.approx(expected.ssr, rel=1e-9)
    assert found.reduced_chi2 == pytest.approx(expected.scale, rel=1e-9)
    assert found.r2 == pytest.approx(expected.rsquared, rel=1e-9)
    assert found.adjusted_r2 == pytest.approx(expected.rsquared_adj, rel=1e-9)
    assert found.aic == pytest.approx(expected.aic, rel=1e-9)
    assert found.bic == pytest.approx(expected.bic, rel=1e-9)
    assert found.aic - 2 * p == pytest.approx(-2 * expected.llf, rel=1e-9)
    assert found.aicc == pytest.approx(aicc(expected.llf, N, p), rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_chi_square_of_lmfit(weighted):
    y = 2 * np.exp(-1.2 * T) + 0.5 + SIGMA * NOISE
    model = lmfit.models.ExpressionModel("a*exp(-k*x) + c", independent_vars=["x"])
    expected = model.fit(y, x=T, a=2, k=1, c=0.5, weights=1 / SIGMA if weighted else None)
    found = fit("a*exp(-k*t) + c", T, y, sigma=SIGMA if weighted else None, init={"a": 2, "k": 1, "c": 0.5}).goodness
    assert (found.n, found.p, found.dof) == (expected.ndata, expected.nvarys, expected.nfree)
    assert found.chi2 == pytest.approx(expected.chisqr, rel=1e-9)
    assert found.reduced_chi2 == pytest.approx(expected.redchi, rel=1e-9)
    if not weighted:  # lmfit's likelihood leaves the constants out
        constants = N * (1 + math.log(2 * math.pi))
        assert found.aic - constants == pytest.approx(expected.aic, rel=1e-9)
        assert found.bic - constants == pytest.approx(expected.bic, rel=1e-9)
        assert found.r2 == pytest.approx(expected.rsquared, rel=1e-9)


def test_a_known_sigma_has_the_likelihood_of_its_points():
    result = fit("a*t + b", T, Y, sigma=SIGMA, absolute_sigma=True)
    deviance = -2 * norm.logpdf(Y, result.predict(T).numpy(), SIGMA).sum()
    found = result.goodness
    assert found.aic == pytest.approx(deviance + 4, rel=1e-12)
    assert found.bic == pytest.approx(deviance + 2 * math.log(N), rel=1e-12)
    assert found.aicc == pytest.approx(deviance + 4 + 12 / (N - 3), rel=1e-12)


def test_a_relative_sigma_has_the_likelihood_at_its_best_factor():
    result = fit("a*t + b", T, Y, sigma=SIGMA)
    preds = result.predict(T).numpy()
    factors = np.geomspace(0.1, 10, 4001)
    deviances = [-2 * norm.logpdf(Y, preds, factor * SIGMA).sum() for factor in factors]
    assert result.goodness.aic - 4 == pytest.approx(min(deviances), abs=1e-4)


def test_fixed_and_tied_parameters_are_not_counted():
    free = fit("a*t + b", T, Y).goodness
    demanded = {"c": {"fixed": 0}, "d": {"expr": "0*a"}}
    assert fit("a*t + b + c*t**2 + d", T, Y, parameters=demanded).goodness == pytest.approx(free, rel=1e-9)


def test_series_of_unequal_length_are_as_alone():
    sigma = np.stack([SIGMA] * 4).reshape(2, 2, N)
    lengths = {(0, 0): N, (0, 1): 17, (1, 0): 4, (1, 1): 3}
    for place, length in lengths.items():
        sigma[place][length:] = np.inf
    y = np.broadcast_to(Y, (2, 2, N))
    for absolute in (False, True):
        together = fit("a*t + b", T, y, sigma=sigma, absolute_sigma=absolute)
        assert together.goodness.n.tolist() == [[N, 17], [4, 3]]
        assert together.goodness.p == 2
        for place, length in lengths.items():
            alone = fit("a*t + b", T[:length], Y[:length], sigma=SIGMA[:length], absolute_sigma=absolute)
            for name, value in alone.goodness._asdict().items():
                found = np.broadcast_to(getattr(together.goodness, name), (2, 2))[place]
                assert found == pytest.approx(value, rel=1e-9), name
        assert together.goodness.aicc[1, 1] == math.inf
        written = json.loads(json.dumps(together.to_dict(), allow_nan=False))["goodness"]
        assert written["aicc"][1][1] is None
        assert written["dof"] == [[N - 2, 15], [2, 1]]


def test_too_few_points_and_data_that_do_not_vary():
    points = [(2, 2, math.inf), (3, 2, math.inf), (4, 2, None)]
    for n, p, expected in points:
        found = fit("a*t + b", T[:n], Y[:n]).goodness
        assert (found.n, found.p) == (n, p)
        assert (found.aicc == math.inf) == (expected == math.inf)
    exact = fit("a*t + b", T[:2], Y[:2])
    assert exact.goodness.dof == 0
    assert math.isnan(exact.goodness.reduced_chi2)
    assert math.isnan(exact.goodness.adjusted_r2)
    json.dumps(exact.to_dict(), allow_nan=False)
    constant = fit("a*t + b", T, np.full(N, 3.0))
    assert math.isnan(constant.goodness.r2)
    json.dumps(constant.to_dict(), allow_nan=False)


def test_a_curve_worse_than_the_mean_has_r2_below_zero():
    points = Points(torch.as_tensor(T), torch.as_tensor(Y))
    found = goodness(torch.zeros(N, dtype=torch.float64) - 5, points, 1)
    assert found.r2 == pytest.approx(1 - ((Y + 5) ** 2).sum() / ((Y - Y.mean()) ** 2).sum(), rel=1e-12)
    assert found.r2 < 0


@settings(max_examples=50, deadline=None)
@given(st.floats(-140, 140), st.floats(-150, 150))
def test_units_do_not_matter(of_y, of_sigma):
    """To R2 not at all; to the criteria by n log of the unit, the same for all functions."""
    of_y, of_sigma = 10.0**of_y, 10.0 ** (of_sigma if abs(of_sigma - of_y) < 140 else of_y)
    preds = torch.as_tensor(1.5 * T - 0.5)

    def found(unit, unit_of_sigma):
        points = Points(torch.as_tensor(T), torch.as_tensor(Y * unit), torch.as_tensor(SIGMA * unit_of_sigma))
        return goodness(preds * unit, points, 2)

    plain, scaled = found(1.0, 1.0), found(of_y, of_sigma)
    assert scaled.r2 == pytest.approx(plain.r2, rel=1e-9)
    assert scaled.adjusted_r2 == pytest.approx(plain.adjusted_r2, rel=1e-9)
    assert scaled.aic - 2 * N * math.log(of_y) == pytest.approx(plain.aic, abs=1e-8)
    if of_sigma == of_y:
        assert scaled.chi2 == pytest.approx(plain.chi2, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(N)))
def test_the_order_of_the_points_does_not_matter(order):
    points, preds = (Points(*map(torch.as_tensor, (T, Y, SIGMA))), torch.as_tensor(1.4 * T - 0.5))
    shuffled = goodness(preds[order], points.where(torch.as_tensor(order)), 2)
    assert shuffled == pytest.approx(goodness(preds, points, 2), rel=1e-12)
