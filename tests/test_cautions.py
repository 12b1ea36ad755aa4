"""What a result says to be careful about: each sentence where it should, and none where all is well."""

import re

import numpy as np
import pytest
import torch

from gd_lightning import fit

N = 40
T = np.linspace(0.0, 4.0, N)
NOISE = np.random.default_rng(1).normal(size=N)
LINE = 1.5 * T - 0.5
Y = LINE + 0.2 * NOISE


def sentences(result):
    """Those that do not come from the residuals' checks."""
    assert all(line == line.strip() and "\n" not in line and line.endswith(".") for line in result.warnings)
    assert all(line[0].isupper() for line in result.warnings)
    return [line for line in result.warnings if not re.match("Runs|Normality|Autocorrelation", line)]


@pytest.mark.parametrize(
    "others",
    [
        {},
        {"sigma": 0.2},
        {"sigma": 0.2, "absolute_sigma": True},
        {"loss": "huber"},
        {"loss": "cauchy"},
        {"parameters": {"a": {"min": 0, "max": 10}}},
        {"lr": "auto", "steps": 2000},
    ],
    ids=str,
)
@pytest.mark.parametrize("series", [0, 3])
def test_nothing_where_all_is_well(others, series):
    y = np.stack([LINE + 0.2 * np.random.default_rng(i).normal(size=N) for i in range(2, 5)])
    result = fit("a*t + b", T, y if series else Y, **others)
    assert result.warnings == []
    assert result.to_dict()["warnings"] == []


def test_fixed_and_tied_parameters_are_no_reason():
    demanded = {"b": {"fixed": -0.5}, "c": {"expr": "0*a"}}
    assert fit("a*t + b + c", T, Y, parameters=demanded).warnings == []


@pytest.mark.parametrize(("key", "value", "side"), [("max", 1.2, "upper"), ("min", 2.0, "lower")])
def test_a_bound(key, value, side):
    demanded = {"a": {key: value}}
    tells = f"arameter a is at its {side} bound {value:g} and has no symmetric error; the other errors and the bands "
    tells += "take it as known, which profile intervals do not."
    assert sentences(fit("a*t + b", T, Y, parameters=demanded)) == [f"P{tells}"]
    together = fit("a*t + b", T, np.stack([Y, Y * (2 if key == "max" else 1), Y * (2 if key == "min" else 0.5)]))
    inside = [a <= value if key == "max" else a >= value for a in together.parameters["a"].tolist()]
    held = [str(i + 1) for i, one in enumerate(inside) if not one]
    together = fit("a*t + b", T, together.targets, parameters=demanded)
    assert sentences(together) == [f"In {len(held)} of 3 series ({', '.join(held)}) p{tells}"]


def test_a_bound_of_single_precision():
    demanded = {"a": {"max": 0.1}}
    result = fit("a*t + b", T, Y, parameters=demanded, lr="auto", steps=3000)
    assert result.targets.dtype == torch.float32
    assert len(sentences(result)) == 1
    assert "upper bound 0.1 " in sentences(result)[0]


def test_what_the_data_leave_open():
    expected = [f"The data do not determine {name}: its error is infinite." for name in "bc"]
    assert sentences(fit("a*t + b + c", T, Y)) == expected


def test_a_descent_under_way():
    tells = (
        "the descent has not arrived, and standard errors are about a minimum: these only tell how steep it is here."
    )
    assert fit("a*t + b", T, Y, lr=1e-5).warnings == [tells.capitalize()]
    together = fit("a*t + b", T, np.stack([0 * Y, Y]), lr=0.05, steps=3, init={"a": 0, "b": 0})
    assert together.arrived.tolist() == [True, False]
    assert [line for line in together.warnings if "arrived" in line] == [f"In 1 of 2 series (2) {tells}"]


def test_a_descent_that_diverged_says_so_elsewhere():
    assert fit("a*t + b", T, Y, lr=10.0, steps=2000).warnings == []


def test_a_series_that_cannot_be_fitted_is_no_warning():
    y = np.stack([Y, Y, Y])
    y[1] = np.nan
    result = fit("a*t + b", T, y)
    assert result.status.tolist() == ["converged", "unusable", "converged"]
    assert result.warnings == []
    y[2, 0] = np.inf
    assert fit("a*t + b + c", T, y).warnings == [
        f"In 1 of 3 series (1) the data do not determine {name}: its error is infinite." for name in "bc"
    ]


def test_as_many_points_as_parameters():
    tells = "There are no more points than free parameters, so that nothing tells the noise and the errors."
    assert fit("a*t + b", T[:2], Y[:2]).warnings == [tells]
    assert fit("a*t + b", T[:3], Y[:3]).warnings == []
    assert fit("a*t + b", T[:2], Y[:2], sigma=0.2, absolute_sigma=True).warnings == []


@pytest.mark.parametrize("size", [0.0, 1e-100, 1.0, 1e50])
def test_data_without_noise(size):
    tells = "The curve meets every point to rounding, which the errors tell of then, and not of noise."
    assert fit("a*t + b", T, size * LINE).warnings == [tells]


def test_a_little_noise_is_noise():
    assert fit("a*t + b", T, LINE + 1e-7 * NOISE).warnings == []


@pytest.mark.parametrize(
    ("sigma", "tells"),
    [
        (0.05, "residuals are larger than sigma says; it is too small, or the function is wrong."),
        (0.8, "residuals are smaller than sigma says, which may be too large."),
    ],
)
def test_a_sigma_that_the_residuals_belie(sigma, tells):
    result = fit("a*t + b", T, Y, sigma=sigma, absolute_sigma=True)
    assert result.warnings == [f"The reduced chi-square is {result.goodness.reduced_chi2:.3g}: {tells}"]
    assert fit("a*t + b", T, Y, sigma=sigma).warnings == []  # where only its ratios matter
    sigmas = np.full((3, N), 0.2)
    sigmas[1] = sigma
    together = fit("a*t + b", T, np.stack([Y, Y, Y]), sigma=sigmas, absolute_sigma=True)
    ratio = together.goodness.reduced_chi2[1]
    assert together.warnings == [f"In 1 of 3 series (2) the reduced chi-square is {ratio:.3g}: {tells}"]


def test_a_right_sigma_of_many_series():
    """Of a thousand, ten are as far off as one alone should not be."""
    y = LINE + 0.2 * np.random.default_rng(0).normal(size=(1000, N))
    assert fit("a*t + b", T, y, sigma=0.2, absolute_sigma=True).warnings == []


def test_losses_without_curvature():
    mae = "The loss mae has no curvature there to tell errors by; a bootstrap tells them."
    assert sentences(fit("a*t + b", T, Y, loss="mae")) == [mae]
    assert "In 2 of 2 series (1, 2) t" + mae[1:] in fit("a*t + b", T, np.stack([Y, 2 * Y]), loss="mae").warnings
    far = fit("a*t + b", T, Y * 1000, loss="cauchy(0.001)")  # all residuals lie where psi falls
    assert any("has no curvature" in line for line in far.warnings) == np.isnan(far.standard_errors["a"])


def test_the_names_of_series_and_how_many_are_named():
    result = fit("a*t + b", T[:2], np.stack([Y[:2]] * 9))
    assert result.warnings == [
        "In 9 of 9 series (1, 2, 3, 4, 5, ...) there are no more points than free parameters, so that nothing tells "
        "the noise and the errors."
    ]


def test_the_ratio_that_is_told_is_one_of_the_series_that_are_named():
    best = fit("a*t + b", T, Y).parameters
    together = fit(
        "a*t + b",
        T,
        np.stack([Y, 10 * Y]),
        sigma=0.05,
        absolute_sigma=True,
        init=best,
        lr=1e-9,
        steps=3,
        dtype=torch.float64,
    )
    assert together.arrived.tolist() == [True, False]
    [line] = [line for line in together.warnings if "chi-square" in line]
    assert line.startswith(f"In 1 of 2 series (1) the reduced chi-square is {together.goodness.reduced_chi2[0]:.3g}: ")
