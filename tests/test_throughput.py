import numpy as np
import peers
import pytest
import throughput
from peers import Way, by_scipy, exact
from series_to_fit import parabolas, peaks, spots
from throughput import ACCURATE, Measured, by_us, measure, parsed, rates, section, table, target

CASES = {"peaks": peaks, "parabolas": parabolas, "spots": spots}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_the_data_are_the_same_each_time(make):
    first, second = make(5), make(5)
    np.testing.assert_array_equal(first.y, second.y)
    np.testing.assert_array_equal(first.starts, second.starts)
    assert first.y.dtype == (np.float32 if make is spots else np.float64)


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_the_derivatives_that_scipy_is_given(make):
    case = make(1)
    params = case.starts[0].astype(float) + 0.1
    steps = 1e-6 * np.eye(len(params))
    expected = [
        (case.function(case.t, *(params + step)) - case.function(case.t, *(params - step))) / 2e-6 for step in steps
    ]
    np.testing.assert_allclose(case.jacobian(case.t, *params), np.transpose(expected), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("make", [peaks, parabolas], ids=["peaks", "parabolas"])
def test_our_fits_agree_with_scipy(make):
    case = make(7)
    (ours,) = measure([by_us(case, compiled=False)], rounds=1)
    assert ours.converged == 1
    assert ours.deviation(exact(case)) <= ACCURATE


def test_in_single_precision_they_agree_as_far_as_that_goes():
    case = spots(7)
    (ours,) = measure([by_us(case, compiled=False)], rounds=1)
    assert ours.converged == 1
    assert ours.deviation(exact(case)) < 1e-2


def test_a_fit_that_fails_is_nan(monkeypatch):
    def lost(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr(peers, "curve_fit", lost)
    (found,) = measure([by_scipy(peaks(3))], rounds=1)
    assert found.converged == 0


def test_a_table_of_rates():
    params = np.array([[1.0, 2.0], [1.0, np.nan]])
    measured = [Measured(Way("ours", 2000, list), 1.25, 0.5, params)]
    assert rates(measured, 1000.0, np.array([[1.0, 2.0002]])) == (
        "|      | series | first run | fits/s | ratio | converged | deviation |\n"
        "|------|-------:|----------:|-------:|------:|----------:|----------:|\n"
        "| ours |  2,000 |     1.2 s |  4,000 |     4 |    50.00% |     1e-04 |"
    )


def test_a_section_and_what_was_to_be_reached():
    numbers = table(["a", "b"], [["1", "2"]])
    told = section("Title", "What.", numbers, [target("x", 61.0, 60), target("y", 2.0, 1.5, least=False)])
    assert told.startswith("## Title\n\nWhat.\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n")
    assert told.endswith("- x: 61, to reach at least 60: yes\n- y: 2, to reach at most 1.5: NO")


def test_an_unknown_table_is_refused(capsys):
    with pytest.raises(SystemExit):
        parsed(["--only", "cubic"])
    assert "--only: given cubic, expected some of gaussian, quadratic, gpufit" in capsys.readouterr().err


def test_without_a_gpu_one_line_says_so(monkeypatch):
    monkeypatch.setattr(throughput.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch finds no CUDA device here, so nothing was measured"):
        throughput.main(["--device", "cuda"])
