"""Residuals and Jacobians in NumPy beside those of torch's autograd, for all that a fit may demand."""

import numpy as np
import pytest
import torch

from gd_lightning import residuals
from gd_lightning.curve import Curve
from gd_lightning.points import Points
from gd_lightning.residuals import Residuals

FORMULA = "a*exp(-(t - c)**2/(2*w**2)) + o"
DEMANDS = {
    "free": {},
    "fixed": {"c": {"fixed": 0.3}},
    "bounded": {"w": {"min": 0.1, "max": 1.5}},
    "tied": {"o": {"expr": "a/10"}},
}


def points(batch, several, weighted):
    rng = np.random.default_rng(0)
    t = torch.linspace(-2, 2, 9, dtype=torch.float64)
    y = torch.tensor(rng.normal(size=(*batch, 9)))
    sigma = torch.tensor(rng.uniform(0.5, 2, size=(*batch, 9))) if weighted else None
    if sigma is not None:
        sigma[..., -1] = torch.inf
    return Points((t, t.expand_as(y) ** 2) if several else t, y, sigma)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("batch", [(), (3,), (2, 2)])
@pytest.mark.parametrize("demands", DEMANDS)
def test_numpy_and_autograd_agree(demands, batch, several, weighted, monkeypatch):
    data = points(batch, several, weighted)
    formula, predictors = (f"{FORMULA} + o*u", ["t", "u"]) if several else (FORMULA, ["t"])
    curve = Curve(formula, DEMANDS[demands], predictors).double()
    rng = np.random.default_rng(1)
    curve.start(torch.tensor(rng.uniform(0.5, 1.5, size=(*batch, 4))))
    mine = Residuals(curve, data)
    monkeypatch.setattr(residuals, "SMALL", 0)
    theirs = Residuals(curve, data)
    assert (mine.tape is None) == (demands == "tied")
    assert theirs.tape is None
    theta = mine.theta
    for rows in (np.arange(mine.count), np.array([0])):
        one, other = mine.select(rows), theirs.select(rows)
        for got, expected in zip(one.linearize(theta[rows]), other.linearize(theta[rows]), strict=True):
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-14)
    probes = theta + rng.normal(size=(5, *theta.shape)) / 10
    np.testing.assert_allclose(mine(probes), theirs(probes), rtol=1e-13, atol=1e-14)


def test_a_point_where_the_formula_is_not_finite_warns_of_nothing():
    curve = Curve("a*log(t - c) + o").double()
    curve.start(torch.tensor([1.0, 0.5, 0.0]))
    t = torch.linspace(0, 2, 5, dtype=torch.float64)
    r, jac = Residuals(curve, Points(t, t)).linearize(np.array([[1.0, 0.5, 0.0]]))
    assert np.isnan(r[0, 0])
    assert np.isfinite(jac[0, 2:]).all()
