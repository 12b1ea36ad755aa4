"""Numbers at the ends of what a precision holds: a fit is right there, or refused with the reason.

The oracle is the same fit in units in which the data are about 1: a fit knows of no units.
"""

import json
import math
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import forked

from gd_lightning import functions
from gd_lightning.comparison import compare
from gd_lightning.errors import InputError
from gd_lightning.fitting import fit
from gd_lightning.points import sizes
from gd_lightning.sweep import sweep

T = np.linspace(0.5, 5.0, 12)
NOISE = 0.01 * np.random.default_rng(0).normal(size=len(T))
LEAST, MOST = sizes(torch.float64)

# A curve, and in which powers of the units of t and of y each of its parameters is measured.
FAMILIES = {
    "linear": (2 * T + 1, {"a": (-1, 1), "b": (0, 1)}),
    "quadratic": (0.8 * T**2 - 3 * T + 2, {"a": (-2, 1), "b": (-1, 1), "c": (0, 1)}),
    "exponential_decay": (3 * np.exp(-T / 1.5) + 0.5, {"amplitude": (0, 1), "tau": (1, 0), "offset": (0, 1)}),
    "gaussian": (3 * np.exp(-((T - 2.3) ** 2) / 0.98), {"amplitude": (0, 1), "center": (1, 0), "width": (1, 0)}),
    "a*exp(-t/tau) + c": (3 * np.exp(-T / 1.5) + 0.5, {"a": (0, 1), "tau": (1, 0), "c": (0, 1)}),
}
OF_T = [1e-12, 1.0, 1e12]
OF_Y = [1e-300, 1e-160, 1e-145, 1e-100, 1e-38, 1.0, 1e39, 1e100, 1e145, 1e160, 1e300]


def in_plain_units(result, units, of_t, of_y):
    """Parameters and errors of a result in units in which the data are about 1."""
    unit = {name: of_t**i * of_y**j for name, (i, j) in units.items()}
    found = [[values[name] / unit[name] for name in unit] for values in (result.parameters, result.standard_errors)]
    return [*found[0], *found[1], result.rmse / of_y]


@pytest.fixture(scope="module")
def plain():
    """Each family where the data are about 1."""
    found = {}
    for function, (y, units) in FAMILIES.items():
        result = fit(function, T, y + NOISE)
        assert result.status == "converged"
        found[function] = in_plain_units(result, units, 1.0, 1.0)
    return found


@pytest.mark.parametrize("of_y", OF_Y)
@pytest.mark.parametrize("of_t", OF_T)
@pytest.mark.parametrize("function", FAMILIES)
def test_a_fit_in_other_units_is_the_same_fit_or_is_refused(plain, function, of_t, of_y):
    curve, units = FAMILIES[function]
    t, y = of_t * T, of_y * (curve + NOISE)
    if not LEAST <= np.abs(y).max() <= MOST:
        with pytest.raises(InputError, match=r"y: point \d+ of 12 is .*, and torch.float64 computes with squares of"):
            fit(function, t, y)
        return
    result = fit(function, t, y)
    if of_y / of_t > 1e150 and {(0, 1), (1, 0)} <= set(units.values()):
        assert result.status == "diverged"  # the square of the derivative by tau, or width, is beyond double precision
        assert "its derivative or a square is not finite there; try another start or units" in result.message
        return
    assert result.status == "converged"
    np.testing.assert_allclose(in_plain_units(result, units, of_t, of_y), plain[function], rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("of_y", [-400, -100, -45, -20, 20, 45, 100, 400])
def test_a_descent_in_units_of_a_power_of_two_is_the_same_bit_for_bit(dtype, of_y):
    """The gradient of an mse grows with the unit of y, and so does every step; no bit is lost on the way."""
    unit, y = 2.0**of_y, torch.tensor(2 * T + 1 + NOISE, dtype=dtype)
    options = {"init": {"a": 0.5, "b": 0.25}, "lr": 0.01, "steps": 30, "dtype": dtype}
    expected = fit("linear", T, y, **options)
    options["init"] = {"a": 0.5 * unit, "b": 0.25 * unit}
    least, most = sizes(dtype)
    if not least <= y.abs().max().item() * unit <= most:
        with pytest.raises(InputError, match=r"y: (point|all of it is 0 in torch.float32)"):
            fit("linear", T, y.double() * unit, **options)
        return
    result = fit("linear", T, y * unit, **options)
    assert [value / unit for value in result.parameters.values()] == list(expected.parameters.values())
    assert result.rmse == expected.rmse * unit


@pytest.mark.parametrize("function", FAMILIES)
def test_single_precision_beside_double(function):
    """Levenberg-Marquardt rounds the data only; a descent errs by some roundings a step."""
    y = FAMILIES[function][0] + NOISE
    t, single = (torch.tensor(values, dtype=torch.float32) for values in (T, y))
    result, expected = fit(function, t, single), fit(function, t.double(), single.double())
    assert result.parameters == expected.parameters
    found = [fit(function, t, single.to(kind), lr="auto", steps=30, start="data") for kind in (t.dtype, torch.float64)]
    assert found[0].status in {"converged", "step limit"}
    assert found[0].rmse == pytest.approx(found[1].rmse, rel=1e-3)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_what_its_numbers_are(kind):
    y = torch.tensor(FAMILIES["gaussian"][0]).to(kind)
    assert fit("gaussian", T, y).parameters == fit("gaussian", T, y.double()).parameters


# y/sigma is what is squared, and RMSE has the unit of y.


@pytest.mark.parametrize(
    ("of_y", "of_sigma", "said"), [(1, 1e-160, "y/sigma: "), (1, 1e160, "y/sigma: "), (1e300, 1e300, "y: ")]
)
def test_the_sizes_of_sigma_count_too(of_y, of_sigma, said):
    with pytest.raises(InputError, match=said + "point 12 of 12 is"):
        fit("linear", T, of_y * (2 * T + 1), sigma=of_sigma)


def test_an_absent_point_may_be_of_any_size():
    y = np.append(2 * T + 1 + NOISE, 1e300)
    t, sigma = np.append(T, 6.0), np.append(np.ones(12), np.inf)
    assert fit("linear", t, y, sigma=sigma).parameters == fit("linear", T, y[:12], sigma=sigma[:12]).parameters


# The same through every door.


def rows_of(function, scales):
    return np.stack([scale * (FAMILIES[function][0] + NOISE) for scale in scales])


@pytest.mark.parametrize("copies", [1, 6])
def test_of_several_series_each_is_right_or_unusable(plain, copies):
    """Few are followed one by one, more than fifty go to the quick solver."""
    scales = OF_Y * copies
    found = fit("gaussian", T, rows_of("gaussian", scales), init={"amplitude": scales, "center": 2.0, "width": 1.0})
    for i, scale in enumerate(scales):
        if not LEAST <= 3 * scale <= MOST:
            assert found.status[i] == "unusable"
            assert found.messages[i].startswith("y at point ")
            assert found.messages[i].endswith(("divide y", "multiply y"))
            continue
        assert found.status[i] == "converged", (scale, found.messages[i])
        values = [found.parameters[name][i].item() for name in ("amplitude", "center", "width")]
        np.testing.assert_allclose(np.array(values) / [scale, 1, 1], plain["gaussian"][:3], rtol=1e-6)


@pytest.mark.parametrize("of_y", [1e-100, 1e39, 1e140])
def test_a_comparison_in_other_units_has_the_same_order(of_y):
    names = ["linear", "gaussian", "exponential_decay", "a*t**2 + c"]
    y = FAMILIES["exponential_decay"][0] + NOISE
    found, expected = compare(T, of_y * y, names), compare(T, y, names)
    assert [row.function for row in found.rows] == [row.function for row in expected.rows]
    weights = [[row.weight for row in one.rows] for one in (found, expected)]
    np.testing.assert_allclose(*weights, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("of_y", [1e-300, 1e300])
def test_a_comparison_or_sweep_without_squares_is_refused(of_y):
    for door in (compare, lambda t, y: sweep("linear", t, y, dtype=torch.float64)):
        with pytest.raises(InputError, match="y: point 12 of 12 is"):
            door(T, of_y * (2 * T + 1))


@pytest.mark.parametrize(("function", "of_y"), [("gaussian", 1e60), ("a*exp(-t/tau) + c", 1e-60)])
def test_the_command_line_starts_in_the_precision_of_the_run(tmp_path, plain, function, of_y):
    """Beyond single precision, in which the run is not."""
    curve, units = FAMILIES[function]
    lines = [f"{t!r},{y!r}" for t, y in zip(T.tolist(), (of_y * (curve + NOISE)).tolist(), strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["t,y", *lines, ""]))
    table = ["--data=Table", "--data.path=table.csv", "--data.t=t", "--data.y=y"]
    done = forked("fit", *table, f"--model.function={function}", "--plots.every_n_steps=1000", cwd=tmp_path)
    assert done.code == 0, done.err
    [file] = tmp_path.glob("lightning_logs/*/result.json")
    result = json.loads(file.read_text())
    assert result["status"] == "converged"
    values = [result["parameters"][name] / of_y**j for name, (_, j) in units.items()]
    np.testing.assert_allclose(values, plain[function][: len(units)], rtol=1e-6)


def test_the_command_line_does_not_fit_the_zeros_of_single_precision(tmp_path):
    (tmp_path / "table.csv").write_text("t,y\n1,2e-60\n2,3e-60\n3,5e-60\n")
    table = ["--data=Table", "--data.path=table.csv", "--data.t=t", "--data.y=y", "--model.function=linear"]
    done = forked("fit", *table, "--model.lr=0.1", cwd=tmp_path)
    assert done.code == 2
    assert "y: all of it is 0 in torch.float32, and its largest is 5e-60" in done.err


def test_fit_many_tells_which_series_have_no_squares(tmp_path, plain):
    columns = {f"s{i}": row for i, row in enumerate(rows_of("gaussian", OF_Y))}
    long = {"t": np.tile(T, len(OF_Y)), "y": rows_of("gaussian", OF_Y).ravel(), "who": np.repeat(list(columns), len(T))}
    pq.write_table(pa.table(long), tmp_path / "long.parquet")
    options = ["--data.path=long.parquet", "--data.t=t", "--data.y=y", "--data.series=who", "--output=out.parquet"]
    done = forked("fit_many", *options, "--model.function=gaussian", cwd=tmp_path)
    assert done.code == 0, done.err
    for row in pq.read_table(tmp_path / "out.parquet").to_pylist():
        scale = OF_Y[int(row["who"][1:])]
        assert row["status"] == ("converged" if LEAST <= 3 * scale <= MOST else "unusable")
        if row["status"] == "converged":
            assert [row["amplitude"] / scale, row["center"], row["width"]] == pytest.approx(
                plain["gaussian"][:3], rel=1e-6
            )


# Data that say little.


@pytest.mark.parametrize("value", [0.0, -0.0, 3.0, -2e5])
@pytest.mark.parametrize("function", [name for name in functions.__all__ if name != "polynomial"])
def test_constant_data_are_met_and_no_parameter_is_told_that_they_leave_open(function, value):
    """What has converged has parameters that the data tell, so that half as many points tell the same."""
    result = fit(function, T, np.full(len(T), value))
    preds = result.predict(T).detach().double().numpy()
    assert np.abs(preds - value).max() <= 1e-9 * abs(value) + 1e-150
    assert result.status in {"converged", "singular"}
    if result.status == "singular":
        return
    size = abs(value) or 1.0
    assert all(abs(given) <= 10 * size for given in result.parameters.values())
    again = fit(function, T[::2], np.full(len(T[::2]), value))
    for name, given in result.parameters.items():
        assert again.parameters[name] == pytest.approx(given, abs=1e-9 * size)


@pytest.mark.parametrize("function", FAMILIES)
def test_one_place_along_t_is_refused(function):
    for y in (FAMILIES[function][0], np.ones(12)):
        with pytest.raises(InputError, match="all 12 points of the series are at 2, expected at least two places"):
            fit(function, np.full(12, 2.0), y)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("function", FAMILIES)
def test_fewer_points_than_parameters_are_refused_and_as_many_are_met(function, count):
    curve, units = FAMILIES[function]
    chosen = np.linspace(0, 11, count).astype(int)
    if count < len(units):
        with pytest.raises(InputError, match=f"the series has {count} points?, expected at least {len(units)}"):
            fit(function, T[chosen], curve[chosen])
        return
    result = fit(function, T[chosen], curve[chosen])
    assert result.status in {"converged", "singular"}
    if count == len(units):
        assert result.rmse <= 1e-9 * np.abs(curve).max()
        assert any("no more points than free parameters" in line for line in result.warnings)


@pytest.mark.parametrize("function", FAMILIES)
def test_points_twice_over_are_the_same_curve(function):
    y = FAMILIES[function][0] + NOISE
    result, expected = fit(function, np.tile(T, 2), np.tile(y, 2)), fit(function, T, y)
    assert list(result.parameters.values()) == pytest.approx(list(expected.parameters.values()), rel=1e-7)


# What is no ordinary number.


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("where", ["t", "y"])
def test_what_is_not_finite_is_refused(where, bad):
    given = {"t": T.copy(), "y": T.copy()}
    given[where][4] = bad
    with pytest.raises(InputError, match=rf"{where}: point 5 of 12 is {bad} in torch.float64, expected a finite"):
        fit("linear", **given)


def test_whole_numbers_that_no_double_holds():
    """Those beyond 2**53 are rounded; those beyond 1e308 are refused."""
    y = 2**53 + np.arange(12) * 1_000_003
    assert fit("linear", range(12), y).parameters == fit("linear", range(12), y.astype(float)).parameters
    assert fit("linear", range(12), [10**30 * i for i in range(12)]).rmse <= 1e-12 * 1e31
    with pytest.raises(InputError, match="y: given list, expected a row of numbers"):
        fit("linear", range(12), [10**400 * i for i in range(12)])


def test_minus_zero_is_zero():
    y = np.where(T < 2, 0.0, T)
    assert fit("quadratic", T, np.where(y == 0, -0.0, y)).parameters == fit("quadratic", T, y).parameters


@pytest.mark.parametrize("unit", [1e-310, 1e300])
@pytest.mark.parametrize("function", FAMILIES)
def test_a_t_whose_powers_no_double_holds_does_not_converge(function, unit):
    """Nor is any warning of NumPy's or torch's told, which tests have for errors."""
    result = fit(function, unit * T, FAMILIES[function][0])
    assert result.status != "converged" or result.rmse <= 1e-9
    assert result.message
    str(result)


@pytest.mark.slow
@pytest.mark.parametrize("function", ["linear", "gaussian", "a*exp(-t/tau) + c"])
def test_ten_million_points(function):
    """About 2 GB and a minute; errors fall as the root of their number."""
    generator = np.random.default_rng(0)
    t = np.linspace(0.5, 5.0, 10_000_000)
    truth = {"linear": (2.0, 1.0), "gaussian": (3.0, 2.3, 0.7), "a*exp(-t/tau) + c": (3.0, 1.5, 0.5)}[function]
    curve = {
        "linear": lambda: 2 * t + 1,
        "gaussian": lambda: 3 * np.exp(-((t - 2.3) ** 2) / 0.98),
        "a*exp(-t/tau) + c": lambda: 3 * np.exp(-t / 1.5) + 0.5,
    }[function]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = fit(function, t, curve + 0.1 * generator.normal(size=len(t)))
    assert result.status == "converged"
    for value, error, true in zip(result.parameters.values(), result.standard_errors.values(), truth, strict=True):
        assert abs(value - true) <= 5 * error
        assert error < 1e-3
    assert result.rmse == pytest.approx(0.1, rel=1e-3)
