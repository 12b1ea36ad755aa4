"""`fit` with its default settings against the certified values of NIST's nonlinear regressions."""

import math

import numpy as np
import pytest
from nist import FOLDER, by_us, lre, read

PATHS = sorted(FOLDER.glob("*.dat"))
if not PATHS:
    pytest.skip("no folder ../shared/nist with NIST's .dat files beside the project", allow_module_level=True)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_certified_values_belong_to_what_was_read(path):
    problem = read(path)
    residuals = problem.numpy_function()(None, *problem.certified.values()) - problem.y
    # Of what was printed with eleven digits; Lanczos1 has none that double precision could tell from zero.
    assert np.square(residuals).sum() == pytest.approx(problem.rss, rel=1e-8, abs=1e-20)
    assert f"Number of Observations: {len(problem.y)}" in " ".join(path.read_text().split())


@pytest.mark.parametrize("start", [1, 2])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_six_digits_from_both_starts_and_of_the_standard_errors(path, start):
    problem = read(path)
    outcome = by_us(problem, problem.starts[start - 1])
    assert outcome.status == "converged"
    assert lre(outcome.estimates, problem.certified) >= 6
    if problem.rss > 1e-20:  # of Lanczos1 the residuals are those of data printed with 14 digits, and rounding
        assert lre(outcome.errors, problem.deviations) >= 6


def test_the_score():
    certified = {"a": 2.0, "b": -4.0}
    assert lre(certified, certified) == 11
    assert lre({"a": 2.0, "b": -4.0004}, certified) == pytest.approx(4)
    assert lre({"a": 2.0, "b": 4.0}, certified) == 0
    assert lre({"a": 2.0, "b": math.nan}, certified) == 0
