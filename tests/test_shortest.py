"""Polynomials of a t far from 0: the loss is least as far as doubles tell, or what to do is said.

The oracles are the best polynomial of the same t in decimals beyond number (mpmath), and np.polyfit.
"""

import json
import re
import warnings

import mpmath
import numpy as np
import pytest
import torch
from conftest import forked
from scipy.optimize import lsq_linear

from gd_lightning import compare, fit
from gd_lightning.curve import Curve
from gd_lightning.levenberg_marquardt import RUNNING, LevenbergMarquardt
from gd_lightning.points import Points
from gd_lightning.residuals import Residuals

K = np.arange(30.0)
Y = 0.1 * (K - 15) ** 2 + 3 + 0.3 * np.random.default_rng(0).normal(size=30)
OFFSETS = [0.0, 2e3, 2e4, 1e6, 1e8, 1.7e9]
EPS = np.finfo(float).eps
FAR = re.compile(r"since t is far from 0 beside its range; give t [-+] \d+ in its place$")


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def best(t, degree):
    """The least RMSE there is, and by how much doubles round the terms of the polynomial that has it."""
    with mpmath.workdps(200):
        columns = mpmath.matrix([[mpmath.mpf(x) ** i for i in range(degree + 1)] for x in t])
        y = mpmath.matrix([mpmath.mpf(one) for one in Y])
        params = mpmath.lu_solve(columns.T * columns, columns.T * y)
        off = columns * params - y
        terms = [[float(abs(columns[k, i] * params[i])) for i in range(degree + 1)] for k in range(len(t))]
        return rms([float(one) for one in off]), EPS * rms(np.sum(terms, axis=-1))


def by_numpy(t, degree):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return rms(np.polyval(np.polyfit(t, Y, degree), t) - Y)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("degree", range(1, 8))
def test_the_loss_is_least_as_far_as_doubles_tell(degree, offset):
    t = offset + K
    least, rounding = best(t, degree)
    for y in (Y, np.stack([Y] * 60)):
        result = fit(f"polynomial({degree})", t, y)
        rmse, status, message = (
            (result.rmse, result.status, result.message)
            if y is Y
            else (result.rmse[7].item(), result.status[7], result.messages[7])
        )
        assert rmse <= rms(Y - Y.mean()) * (1 + 1e-6)
        assert rmse <= by_numpy(t, degree) * (1 + 1e-4) + rounding
        if rounding <= 1e-7 * least:
            assert (status, rmse) == ("converged", pytest.approx(least, rel=1e-6))
        elif status == "converged":
            assert rmse == pytest.approx(least, abs=rounding)
        else:
            assert status == "singular"
            assert FAR.search(message)


def test_where_terms_are_rounded_as_much_as_residuals_are_large_is_said():
    said = fit("polynomial(2)", 1e8 + K, Y).warnings
    assert any(re.fullmatch(r"Terms of the curve cancel.*; give t - 100000010 in its place\.", one) for one in said)
    assert not any("cancel" in one for one in fit("polynomial(2)", 2e3 + K, Y).warnings)
    both = fit("polynomial(2)", 1e8 + K, np.stack([Y, 1e3 * np.sin(K)])).warnings
    assert any(one.startswith("In 1 of 2 series (1) terms of the curve cancel") for one in both)


def test_what_it_says_helps():
    result = fit("polynomial(5)", 2000 + K - 2010, Y)
    assert (result.status, result.warnings) == ("converged", [])
    assert result.rmse == pytest.approx(best(K, 5)[0], rel=1e-9)


def test_a_t_far_from_0_is_no_excuse_for_what_no_data_determine():
    result = fit("a + b + c*t", 2000 + K, Y, init={"a": 1, "b": 2, "c": 0})
    assert result.message == "the data do not determine a and b apart from one another; fix one of them"
    assert result.parameters["b"] - result.parameters["a"] == pytest.approx(1, abs=1e-9)  # as at its start


def test_the_start_does_not_matter():
    for size in (1e-3, 1.0, 1e6):
        result = fit("polynomial(5)", 2000 + K, Y, init={f"c{i}": size for i in range(6)})
        assert result.status == "singular"
        assert result.rmse == pytest.approx(best(2000 + K, 5)[0], rel=1e-3)


def test_a_fixed_parameter_stays_and_bounds_hold():
    t = 2000 + K
    result = fit("polynomial(5)", t, Y, parameters={"c5": {"fixed": 0.0}})
    assert result.parameters["c5"] == 0
    assert result.rmse == pytest.approx(best(t, 4)[0], rel=1e-5)
    bounds = {f"c{i}": {"min": -1.0, "max": 1.0} for i in range(6)}
    result = fit("polynomial(5)", t, Y, parameters=bounds)
    assert all(-1 <= value <= 1 for value in result.parameters.values())
    columns = np.vander(t, 6)
    sizes = np.linalg.norm(columns, axis=0)
    scaled = lsq_linear(columns / sizes, Y, (-sizes, sizes), method="bvls", tol=1e-14)
    assert result.rmse <= rms(columns / sizes @ scaled.x - Y) * (1 + 1e-3)


@pytest.mark.parametrize(
    "options", [{"sigma": 0.5 + K / 30}, {"loss": "huber"}, {"loss": "cauchy"}], ids=["sigma", "huber", "cauchy"]
)
def test_weights_and_robust_losses(options):
    """Of five directions doubles tell at least four, as many as a cubic has."""
    far = fit("polynomial(4)", 2e4 + K, Y, **options)
    most, least = (fit(f"polynomial({degree})", K, Y, **options).rmse for degree in (3, 4))
    assert far.status == "singular"
    assert least * (1 - 1e-3) <= far.rmse <= most * (1 + 1e-3)


def test_step_by_step():
    curve = Curve("polynomial(5)").double()
    curve.start(torch.ones(6, dtype=torch.float64))
    residuals = Residuals(curve, Points(torch.from_numpy(2000 + K), torch.from_numpy(Y)))
    rule, losses = LevenbergMarquardt([curve.params]), []
    while not len(rule.status) or rule.status[0] == RUNNING:
        rule.advance(residuals)
        losses.append(rms(rule.residuals))
        assert len(losses) < 20
    assert rms(residuals(rule.theta)) == pytest.approx(best(2000 + K, 5)[0], rel=1e-3)


def test_a_comparison_ranks_it_as_near_0():
    names = ["linear", "quadratic", "polynomial(5)"]
    far, near = compare(2000 + K, Y, names), compare(K, Y, names)
    assert [row.function for row in far.rows] == [row.function for row in near.rows]
    for one, other in zip(far.rows, near.rows, strict=True):
        assert one.rmse == pytest.approx(other.rmse, rel=1e-3)


def test_the_command_line(tmp_path):
    lines = [f"{t!r},{y!r}" for t, y in zip((2000 + K).tolist(), Y.tolist(), strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["year,y", *lines, ""]))
    table = ["--data=Table", "--data.path=table.csv", "--data.t=year", "--data.y=y"]
    done = forked("fit", *table, "--model.function=polynomial(5)", "--plots.every_n_steps=1000", cwd=tmp_path)
    assert done.code == 0, done.err
    [file] = tmp_path.glob("lightning_logs/*/result.json")
    result = json.loads(file.read_text())
    assert result["rmse"] == pytest.approx(best(2000 + K, 5)[0], rel=1e-3)
    assert "is far from 0 beside its range; give" in " ".join(done.out.split())
