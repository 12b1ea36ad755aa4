"""Points from whatever a user has: lists, arrays, columns of data frames, tensors; one series or several."""

import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from gd_lightning import fit
from gd_lightning.errors import InputError
from gd_lightning.points import Points, as_points, check_numbers, some_of, stack

T, Y = [1.0, 2.0, 4.0], [0.1, 0.2, 0.3]
MAKERS = {
    "list": list,
    "tuple": tuple,
    "numpy float64": np.array,
    "numpy float32": lambda values: np.array(values, dtype=np.float32),
    "numpy read-only": lambda values: np.broadcast_to(np.array(values), (len(values),)),
    "numpy backwards": lambda values: np.array(values[::-1])[::-1],
    "numpy strided": lambda values: np.array([values, values]).T[:, 0],
    "numpy big-endian": lambda values: np.array(values, dtype=">f8"),
    "numpy long double": lambda values: np.array(values, dtype=np.longdouble),
    "numpy objects": lambda values: np.array(values, dtype=object),
    "list of numpy numbers": lambda values: [np.float64(value) for value in values],
    "pandas": pd.Series,
    "pandas with an index": lambda values: pd.Series(values, index=range(7, 7 + len(values))),
    "pandas nullable": lambda values: pd.Series(values, dtype="Float64"),
    "polars": pl.Series,
    "torch": torch.tensor,
    "torch float64": lambda values: torch.tensor(values, dtype=torch.float64),
    "torch sparse": lambda values: torch.tensor(values).to_sparse(),
    "torch with gradient": lambda values: torch.tensor(values, requires_grad=True),
}


@pytest.mark.parametrize("make", MAKERS)
def test_rows_of_numbers_of_every_kind(make):
    points, _ = as_points(MAKERS[make](T), MAKERS[make](Y), MAKERS[make](Y), dtype=torch.float32)
    for values, exact in zip(points, (T, Y, Y), strict=True):
        assert torch.equal(values, torch.tensor(exact))
        assert not values.requires_grad
    check_numbers(points)


@pytest.mark.parametrize("make", ["list", "numpy float64", "pandas", "polars", "torch float64", "pandas nullable"])
def test_double_precision_loses_nothing(make):
    points, _ = as_points(MAKERS[make](T), MAKERS[make](Y), dtype=torch.float64)
    assert points.targets.tolist() == Y
    assert points.t.tolist() == T


@pytest.mark.parametrize(
    "values", [range(3), [0, 1, 2], np.arange(3), np.arange(3, dtype=np.uint8), torch.arange(3), pd.Series([0, 1, 2])]
)
def test_whole_numbers(values):
    points, _ = as_points(values, values)
    assert points.t.dtype == points.targets.dtype == torch.float32
    assert points.targets.tolist() == [0, 1, 2]


def test_the_precision_is_that_of_a_floating_tensor_y_or_float32_or_the_one_that_is_asked_for():
    double = torch.tensor(Y, dtype=torch.float64)
    assert as_points(T, double)[0].t.dtype == torch.float64
    assert as_points(double, Y)[0].t.dtype == torch.float32
    assert as_points(T, np.array(Y))[0].targets.dtype == torch.float32
    assert as_points(T, double, dtype=torch.float32)[0].targets.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.int64, "float64", np.float64, float])
def test_a_precision_that_is_none_of_torch_s_is_refused(dtype):
    with pytest.raises(InputError, match=r"expected a floating one such as torch\.float64"):
        as_points(T, Y, dtype=dtype)


def test_the_points_are_copies():
    t, y, sigma = np.array(T), torch.tensor(Y), torch.tensor(Y)
    points, _ = as_points(t, y, sigma)
    t[:], y[:], sigma[:] = 0, 0, 0
    assert points.t.tolist() == T
    assert torch.equal(points.targets, torch.tensor(Y))
    assert torch.equal(points.sigma, torch.tensor(Y))


@pytest.mark.parametrize(
    ("weights", "dtype", "said"),
    [
        ([1.0, math.inf, 1.0], None, "weights: one is inf or nan, expected finite numbers; 0 leaves a point out"),
        ([1.0, math.nan, 1.0], None, "weights: one is inf or nan"),
        ([1.0, 1e-80, 1.0], torch.float32, "weights: 1e-80 is beyond what float32 can hold as 1/sigma"),
        ([1.0, -1.0, 1.0], None, "weights: the least is -1"),
    ],
    ids=["inf", "nan", "tiny", "negative"],
)
def test_weights_are_refused_by_their_own_name(weights, dtype, said):
    with pytest.raises(InputError, match=f"^{said}"):
        fit("linear", T, Y, weights=weights, lr=1e-3, dtype=dtype)


def test_weights_may_be_absolute():
    known = fit("linear", T, [1.0, 3.0, 4.0], weights=[4.0, 4.0, 4.0], absolute_sigma=True)
    assert known.standard_errors == fit("linear", T, [1.0, 3.0, 4.0], sigma=0.5, absolute_sigma=True).standard_errors


COLUMNS = {"x1": T, "x2": Y, "y": [5.0, 6.0, 7.0], "error": [1.0, 2.0, 1.0]}


@pytest.mark.parametrize("frame", [dict, pd.DataFrame, pl.DataFrame])
def test_y_and_sigma_by_name_and_the_predictors_that_the_function_uses(frame):
    table = frame(COLUMNS)
    points, names = as_points(table, "y", "error", used=("b", "x2", "x1"))
    assert names == ("x1", "x2")
    assert torch.equal(points.t[0], torch.tensor(T))
    assert torch.equal(points.t[1], torch.tensor(Y))
    assert points.targets.tolist() == [5, 6, 7]
    assert points.sigma.tolist() == [1, 2, 1]
    points, names = as_points(table, "y", "error", used=("t", "a"))
    assert names == ("x1", "x2")
    points, names = as_points(table, "y", used=("x2", "a"))
    assert names == ("x2",)
    assert torch.equal(points.t, torch.tensor(Y))


@pytest.mark.parametrize("frame", [dict, pd.DataFrame, pl.DataFrame])
def test_predictors_apart_from_y(frame):
    points, names = as_points(frame({"x1": T, "x2": Y}), [5.0, 6.0, 7.0])
    assert names == ("x1", "x2")
    assert len(points.t) == len(points.columns) == 2
    points, names = as_points(frame({"dose": T}), Y)
    assert names == ("dose",)
    assert points.t.tolist() == T


def test_the_name_of_a_column_is_the_name_of_the_predictor():
    table = pd.DataFrame(COLUMNS)
    assert as_points(table["x1"], table["y"])[1] == ("x1",)
    assert as_points(pl.DataFrame(COLUMNS)["x1"], Y)[1] == ("x1",)
    assert as_points(T, Y)[1] is None
    assert as_points(pd.Series(T), Y)[1] is None
    assert as_points(pl.Series(T), Y)[1] is None  # whose name is ""
    assert as_points(torch.tensor(T), Y)[1] is None


def test_columns_that_are_called_by_numbers():
    table = pd.DataFrame(np.array([T, Y]).T)
    points, names = as_points(table, [5.0, 6.0, 7.0])
    assert names == ("0", "1")
    assert points.t[0].tolist() == T
    assert as_points({0: T}, Y)[1] == ("0",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((T, None), "y: given NoneType, expected a row of numbers"),
        ((None, Y), "t: given NoneType"),
        (("abc", Y), "t: given str, expected a row of numbers"),
        ((T, ["a", "b", "c"]), "y: given list"),
        ((T, [[1, 2, 3], [1, 2]]), "y: given list"),
        ((T, {"y": Y}), "y: given dict"),
        (({1.0, 2.0}, Y), "t: given set"),
        (((value for value in T), Y), "t: given generator"),
        ((T, np.array([1j, 2, 3])), "y: given ndarray, expected a row of numbers .complex"),
        ((T, torch.tensor([1j, 2, 3])), "y: given Tensor, expected a row of numbers .complex"),
        ((pd.Series(pd.date_range("2020", periods=3)), Y), "for dates give the time since a date"),
        ((pd.Series(pd.date_range("2020", periods=3, tz="UTC")), Y), "for dates give the time since a date"),
        ((pl.Series(pd.date_range("2020", periods=3)), Y), "for dates give the time since a date"),
        ((list(pd.date_range("2020", periods=3)), Y), "for dates give the time since a date"),
        ((np.array(["2020", "2021", "2022"], dtype="datetime64[Y]"), Y), "for dates give the time since a date"),
        ((pd.Series(pd.to_timedelta(T, unit="s")), Y), "for dates give the time since a date"),
        ((T, "y"), "y: given the name 'y', and t has no columns; expected numbers"),
        ((COLUMNS, "z"), "y: no column 'z'; "),
        ((COLUMNS, "yy"), r"y: no column 'yy'; did you mean 'y'\?"),
        ((COLUMNS, "y", "err"), r"sigma: no column 'err'; did you mean 'error'\?"),
        (({"y": Y}, "y"), "t: given no predictors"),
        (({}, Y), "t: given no predictors, expected a mapping such as"),
        (({"x": T, "who": ["a", "b", "c"]}, Y), "who: given list, expected a row of numbers"),
        ((pd.DataFrame({"x": T, "who": ["a", "b", "c"]}), Y), "who: given Series, expected a row of numbers"),
        ((T, Y, [1, 2]), r"sigma has shape \(2,\) and y has shape \(3,\); expected one standard deviation for all"),
        ((T, Y, "error"), "sigma: given the name 'error', and t has no columns"),
        ((T, Y, ["a", "b", "c"]), "sigma: given list"),
    ],
)
def test_what_is_no_row_of_numbers_is_refused_in_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        as_points(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], Y), r"t has shape \(2,\) and y has shape \(3,\); expected one row of numbers each"),
        ((1.0, 2.0), r"t has shape \(\) and y has shape \(\)"),
        ((T, [[1], [2], [3]]), r"t has shape \(3,\) and y has shape \(3, 1\)"),
        ((torch.ones(2, 3), torch.ones(3)), r"t has shape \(2, 3\) and y has shape \(3,\)"),
        (([1, math.nan, 3], Y), "t: point 2 of 3 is nan in torch.float32, expected a finite number; remove such"),
        ((T, [1, 2, math.inf]), "y: point 3 of 3 is inf"),
        ((T, [1, 2, -1e300]), "y: point 3 of 3 is -inf in torch.float32"),
        ((pd.Series([1, None, 3], dtype="Int64"), Y), "t: point 2 of 3 is nan"),
        ((pl.Series([1, None, 3]), Y), "t: point 2 of 3 is nan"),
        ((T, np.ma.masked_array(Y, [0, 1, 0])), "y: point 2 of 3 is "),
        (
            (T, [Y, [1, math.nan, 3]]),
            "y: point 2 of 3 of series 2 is nan .* give such points a finite number and sigma=inf",
        ),
        ((T, Y, 0), "sigma: point 1 of 3 is 0, expected a standard deviation above 0"),
        ((T, Y, [1, -1, 1]), "sigma: point 2 of 3 is -1"),
        ((T, Y, [1, 1, math.nan]), "sigma: point 3 of 3 is nan"),
        ((T, Y, 1e-60), "sigma: point 1 of 3 is 1e-60, which torch.float32 does not hold"),
    ],
)
def test_points_that_cannot_be_fitted_are_refused_in_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        check_numbers(as_points(*arguments)[0])
    assert "\n" not in str(caught.value)


def test_the_message_calls_a_predictor_by_its_name():
    points, names = as_points({"dose": T, "heat": [1, math.nan, 2]}, Y)
    with pytest.raises(InputError, match="heat: point 2 of 3 is nan"):
        check_numbers(points, names)


def test_an_infinite_sigma_is_allowed_and_is_no_point():
    points, _ = as_points(T, Y, [1, math.inf, 1])
    check_numbers(points)
    assert points.present.tolist() == [True, False, True]
    [one] = points.each()
    assert one.t.tolist() == [1, 4]


@pytest.mark.parametrize("sigma", [2, 2.0, np.float64(2), [2, 2, 2], torch.tensor(2.0)])
def test_one_standard_deviation_is_that_of_every_point(sigma):
    points, _ = as_points(T, [Y, Y], sigma)
    assert torch.equal(points.sigma, torch.full((2, 3), 2.0))


def series(count, seed, weighted=True, predictors=1):
    """One series of random numbers."""
    rows = torch.rand(predictors + 2, count, generator=torch.Generator().manual_seed(seed))
    columns = tuple(rows[:predictors])
    return Points(columns if predictors > 1 else columns[0], rows[-2], rows[-1] + 0.1 if weighted else None)


@pytest.mark.parametrize("predictors", [1, 2])
@pytest.mark.parametrize("lengths", [(3,), (3, 3), (5, 2, 1, 4)])
def test_what_was_stacked_comes_apart_again(lengths, predictors):
    alone = [series(count, seed, predictors=predictors) for seed, count in enumerate(lengths)]
    together = stack(alone)
    assert together.batch == (len(lengths),)
    assert together.targets.shape == (len(lengths), max(lengths))
    assert together.present.sum(dim=-1).tolist() == list(lengths)
    for before, after in zip(alone, together.each(), strict=True):
        assert torch.equal(before.targets, after.targets)
        assert torch.equal(before.sigma, after.sigma)
        for mine, theirs in zip(before.columns, after.columns, strict=True):
            assert torch.equal(mine, theirs)


def test_what_is_filled_in_is_finite_and_weighs_nothing():
    together = stack([series(4, 0, weighted=False), series(2, 1, weighted=False)])
    assert torch.isfinite(together.t).all()
    assert torch.isfinite(together.targets).all()
    assert together.sigma.tolist() == [[1, 1, 1, 1], [1, 1, math.inf, math.inf]]


def test_series_of_one_length_without_sigma_have_none():
    assert stack([series(4, 0, weighted=False), series(4, 1, weighted=False)]).sigma is None
    mixed = stack([series(4, 0, weighted=False), series(4, 1)])
    assert mixed.sigma[0].tolist() == [1, 1, 1, 1]


def test_series_along_several_axes_and_one_t_for_all():
    y = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))
    points = Points(torch.arange(4.0), y)
    assert points.batch == (2, 3)
    each = points.each()
    assert len(each) == 6
    assert all(torch.equal(one.t, torch.arange(4.0)) for one in each)
    assert torch.equal(torch.stack([one.targets for one in each]).reshape(2, 3, 4), y)


def test_one_series_is_itself():
    points = Points(torch.arange(4.0), torch.ones(4))
    assert points.batch == ()
    assert points.each()[0] is points
    assert points.present.all()


def test_chosen_points_and_another_precision():
    points = series(5, 0, predictors=2)
    chosen = points.where(points.targets > points.targets.median())
    assert len(chosen.targets) == len(chosen.t[0]) == len(chosen.sigma) == 2
    double = points.to(torch.zeros(0, dtype=torch.float64))
    assert {column.dtype for column in (*double.t, double.targets, double.sigma)} == {torch.float64}
    assert isinstance(double.t, tuple)


@pytest.mark.parametrize("frame", [dict, pd.DataFrame, pl.DataFrame])
def test_a_data_frame_fits_like_its_columns(frame):
    columns = {"time": [0.0, 1.0, 2.0, 3.0], "count": [1.0, 3.0, 5.0, 8.0], "error": [1.0, 1.0, 2.0, 2.0]}
    by_name = fit("a*time + b", frame(columns), "count", sigma="error", lr=0.1, steps=50)
    by_hand = fit("a*t + b", columns["time"], columns["count"], sigma=columns["error"], lr=0.1, steps=50)
    assert by_name.parameters == by_hand.parameters
    assert by_name.rmse_history == by_hand.rmse_history
    assert by_name.labels == ("time", "count")
    assert by_name.predict({"time": [1.5]}).tolist() == by_hand.predict([1.5]).tolist()


def test_no_series_at_all_is_refused():
    with pytest.raises(InputError, match=r"series|points"):
        fit("linear", T, np.zeros((0, 3)))


def test_some_of_many_points_are_always_the_same_and_none_comes_twice():
    kept = some_of(1000, 200)
    assert torch.equal(kept, some_of(1000, 200))
    assert len(kept.unique()) == 200
    assert kept.diff().unique().numel() > 100  # no step between them comes again and again
    assert torch.equal(some_of(5, 200).sort().values, torch.arange(5))


@pytest.mark.parametrize("sigma", [1e50, 1e-50, [1.0, 1e50, 1.0, 1.0]], ids=str)
def test_a_sigma_that_the_precision_does_not_hold_is_refused(sigma):
    t, y = [0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 5.0, 8.0]
    with pytest.raises(InputError, match=r"sigma: point [12] of 4 is 1e[+-]50, which torch\.float32 does not hold"):
        as_points(t, y, sigma)
    points, _ = as_points(t, y, sigma, torch.float64)
    assert points.present.all()


def test_an_infinite_sigma_still_says_that_there_is_no_point():
    points, _ = as_points([0.0, 1.0], [[1.0, 3.0]] * 2, [[1.0, math.inf], [2.0, 1.0]])
    assert points.present.tolist() == [[True, False], [True, True]]


def test_a_weight_beyond_all_numbers_is_refused():
    with pytest.raises(InputError, match=r"y/sigma: point 1 of 3 is inf, and torch\.float64 .*; multiply it by 1e-40"):
        fit("linear", [0, 1, 2], [1e140, 2e140, 2e140], sigma=1e-260)
