import numpy as np
import pytest
import torch

from gd_lightning.data import NoisySeries, Table
from gd_lightning.errors import InputError


def series(data):
    data.setup("fit")
    return data.t, data.targets


def test_the_article_s_series_bit_for_bit(article):
    t, targets = series(NoisySeries(seed=2021))
    assert torch.equal(t, article.t)
    assert torch.equal(targets, article.y)
    assert torch.equal(series(NoisySeries())[1], article.y)


def test_the_noise_depends_on_the_seed_alone(article):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    data = NoisySeries(seed=2021)
    assert torch.equal(series(data)[1], article.y)
    assert torch.equal(series(data)[1], article.y)  # setup again, as Trainer does
    list(data.train_dataloader())
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(series(NoisySeries(seed=7))[1], article.y)


def test_every_part_of_the_series_can_be_changed():
    t, targets = series(NoisySeries(points=5, noise=0, curvature=2, center=1, offset=-3))
    assert torch.equal(targets, 2 * (t - 1) ** 2 - 3)


def test_one_batch_is_the_whole_series_in_order():
    data = NoisySeries()
    data.setup("fit")
    [(t, targets, sigma)] = list(data.train_dataloader())
    assert torch.equal(t, data.t)
    assert torch.equal(targets, data.targets)
    assert sigma is None


def test_no_points_are_refused():
    with pytest.raises(InputError, match=r"data.points: given 0, expected at least 1"):
        NoisySeries(points=0)


def table(folder, text, t="speed", y="dist"):
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return series(Table(path=str(path), t=t, y=y))


def test_two_columns_by_name(tmp_path):
    t, targets = table(tmp_path, 'note,dist,speed\n"a, b",1.5,4\nc, 2e1 ,7\n')
    assert t.tolist() == [4, 7]
    assert targets.tolist() == [1.5, 20]
    assert t.dtype == torch.float64


def test_windows_line_ends_and_byte_order_mark(tmp_path):
    t, targets = table(tmp_path, b"\xef\xbb\xbfspeed,dist\r\n4,2\r\n7,3\r\n")
    assert (t.tolist(), targets.tolist()) == ([4, 7], [2, 3])


def test_axes_are_named_after_the_columns():
    assert Table(path="x.csv", t="speed", y="dist").labels == ("speed", "dist")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file, expected a header line"),
        ("\n\n", "empty file"),
        ("speed,dist\n", "no data, expected a header line and a row for each point"),
        ("speeed,dist\n4,2\n", r"data.t: .* has no column 'speed'; did you mean 'speeed'\?"),
        ("speed,y\n4,2\n", "data.y: .* has no column 'dist'; choose from speed, y"),
        ("speed,dist\n4,2\n5,abc\n", r"column 'dist', data row 2 \(line 3 of the file\): 'abc', expected a finite"),
        ("speed,dist\n\n4,2\n\nx,3\n", r"column 'speed', data row 2 \(line 5 of the file\): 'x'"),
        ("speed,dist\n4,-inf\n", "'-inf', expected a finite number"),
        ("speed,dist\n4,2,9\n", r"data row 1 \(line 2 of the file\) has 3 cells, expected 2"),
        (b"sp\xe9ed,dist\n4,2\n", "cannot be read as CSV in UTF-8"),
        ("speed|dist\n4|2\n", "only one column, 'speed|dist'; expected commas, tabs or semicolons"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        table(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_missing_file_gets_the_nearest_beside_it(tmp_path):
    (tmp_path / "stopping.csv").write_text("")
    with pytest.raises(
        InputError,
        match=r"is no such file, expected a table such as a CSV or Parquet file; did you mean 'stopping.csv'\?",
    ):
        series(Table(path=str(tmp_path / "stoping.csv"), t="t", y="y"))
    with pytest.raises(InputError, match="is a folder"):
        series(Table(path=str(tmp_path), t="t", y="y"))
    with pytest.raises(InputError, match="no such file"):
        series(Table(path=str(tmp_path / "no" / "such.csv"), t="t", y="y"))


def rows(folder, text, **options):
    """A table after setup; columns x and y unless others are named."""
    path = folder / "table.csv"
    path.write_text(text)
    data = Table(path=str(path), **{"t": "x", "y": "y", **options})
    data.setup("fit")
    return data


def test_rows_that_lack_a_value_are_left_out_and_counted(tmp_path):
    data = rows(tmp_path, "x,y,s\n1,2,.1\n2,,.1\n3,4,NA\n4,5,.2\n", sigma="s")
    assert (data.t.tolist(), data.targets.tolist(), data.points.sigma.tolist()) == ([1, 4], [2, 5], [0.1, 0.2])
    assert data.facts == {"rows": 4, "left out": 2}


def test_rows_to_be_predicted_need_their_predictors_only(tmp_path):
    data = rows(tmp_path, "x,y,s\n1,2,.1\n2,,.1\n3,4,NA\n,5,.2\n4,5,.2\n", sigma="s")
    strict = data.points
    data.setup("predict")  # of what was read to be fitted
    assert data.all_points.t is strict.t
    data = Table(path=data.path, t="x", y="y", sigma="s")
    data.setup("predict")
    points = data.all_points
    assert points.t.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(points.targets, [2, np.nan, 4, 5])
    np.testing.assert_array_equal(points.sigma, [0.1, 0.1, np.nan, 0.2])
    assert points.present.all()
    assert data.facts == {"rows": 5, "left out": 1}
    data.setup("fit")
    assert all(torch.equal(*pair) for pair in zip(data.points, strict, strict=True))


def test_several_predictors(tmp_path):
    assert Table(path="x.csv", t="x1, x2", y="y").predictors == ("x1", "x2")
    data = rows(tmp_path, "x1,y,x2\n1,2,3\n4,5,6\n", t=["x1", "x2"])
    assert [column.tolist() for column in data.points.t] == [[1, 4], [3, 6]]
    assert data.labels == ("x1", "x2", "y")
    [points] = list(data.train_dataloader())
    assert isinstance(points.t, tuple)


def test_series_of_unequal_lengths_stand_side_by_side(tmp_path):
    data = rows(tmp_path, "x,y,who\n1,2,b\n1,3,a\n2,4,b\n3,6,b\n2,6,a\n", series="who")
    assert data.series_names == ("b", "a")
    assert data.targets.shape == (2, 3)
    assert [one.targets.tolist() for one in data.points.each()] == [[2, 4, 6], [3, 6]]
    assert [one.t.tolist() for one in data.points.each()] == [[1, 2, 3], [1, 2]]


def test_dates_become_time_in_a_unit(tmp_path):
    table = "x,y\n2020-03-01,1\n2020-02-01,2\n"
    data = rows(tmp_path, table)
    assert data.t.tolist() == [29, 0]
    assert data.labels == ("x (days since 2020-02-01)", "y")
    assert data.time_origin == "2020-02-01"
    data = rows(tmp_path, table, time_unit="hours", time_origin="2020-02-29")
    assert data.t.tolist() == [24, -28 * 24]


def test_a_column_that_only_sounds_like_a_date_has_no_origin(tmp_path):
    data = rows(tmp_path, "days since start,y\n3,1\n4,2\n", t="days since start")
    assert (data.t.tolist(), data.time_origin) == ([3, 4], None)


def test_the_target_may_be_a_formula_on_columns(tmp_path):
    table = "x,y,z,s\n1,10,2,1\n2,100,4,5\n"
    assert rows(tmp_path, table, target="log10(y)").targets.tolist() == pytest.approx([1, 2])
    assert rows(tmp_path, table, y=None, target="y/z").targets.tolist() == [5, 25]
    assert rows(tmp_path, table, y="z", target="2*y").targets.tolist() == [4, 8]
    assert rows(tmp_path, table, target="log10(y)").labels == ("x", "log10(y)")


def test_sigma_of_a_target_is_that_of_y_times_the_slope(tmp_path):
    """Propagation of error: d log(y) = dy / y."""
    data = rows(tmp_path, "x,y,s\n1,10,1\n2,100,5\n", target="log(y)", sigma="s")
    assert data.points.sigma.tolist() == pytest.approx([0.1, 0.05])


@pytest.mark.parametrize(("how", "expected"), [("end", [6, 7]), ("random", None)])
def test_points_are_kept_out_by_seed_or_at_the_end(tmp_path, how, expected):
    table = "x,y\n" + "".join(f"{x},{x * x}\n" for x in (7, 0, 1, 2, 3, 4, 5, 6))
    data = rows(tmp_path, table, holdout=0.25, holdout_from=how, seed=1)
    holdout = sorted(data.holdout_points.t.tolist())
    assert sorted([*data.t.tolist(), *holdout]) == list(range(8))
    assert len(holdout) == data.facts["kept out"] == 2
    assert expected is None or holdout == expected
    same = rows(tmp_path, table, holdout=0.25, holdout_from=how, seed=1)
    assert sorted(same.holdout_points.t.tolist()) == holdout
    assert len(data.all_points.targets) == 8


def test_keeping_points_out_changes_neither_noise_nor_start(article):
    data = NoisySeries(holdout=0.2)
    data.setup("fit")
    assert torch.equal(data.all_points.targets, article.y)
    assert torch.equal(
        torch.randn(3, generator=data.generator) * 0 + torch.randn(3, generator=data.generator), article.start
    )


def test_each_series_keeps_its_part_out(tmp_path):
    table = "x,y,who\n" + "".join(f"{x},{x},{'ab'[x % 2]}\n" for x in range(15))
    data = rows(tmp_path, table, series="who", holdout=0.5, holdout_from="end")
    assert [one.t.tolist() for one in data.holdout_points.each()] == [[8, 10, 12, 14], [7, 9, 11, 13]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": "s"}, r"data.sigma: column 's' .* holds 0 \(complete row 2\), expected standard deviations above 0"),
        ({"t": []}, "data.t: given .., expected one column or several different ones"),
        ({"t": ["x", "x"]}, "expected one column or several different ones"),
        ({"y": None}, "data.y: given none, expected the column with the data, or data.target"),
        ({"target": "log(y)"}, r"data.target: log\(y\) is nan where y = -3 \(complete row 2"),
        ({"target": "log(z)"}, "data.target: .* has no column 'z'"),
        ({"target": "log(y"}, "formula 'log.y', column"),
        ({"sigma": "z"}, "data.sigma: .* has no column 'z'"),
        ({"series": "z"}, "data.series: .* has no column 'z'"),
        ({"holdout": 1}, "data.holdout: given 1, expected a part of the points"),
        ({"holdout": 0.1}, "data.holdout: 0.1 of 3 points is none"),
        ({"holdout_from": "start"}, "data.holdout_from: given 'start'; choose from end, random"),
        ({"time_unit": "day"}, "time_unit: given 'day'.*did you mean 'days'"),
        ({"y": None, "target": "y*s", "sigma": "s"}, "data.sigma: "),
    ],
)
def test_options_that_cannot_be(tmp_path, options, message):
    with pytest.raises(InputError, match=message) as caught:
        rows(tmp_path, "x,y,s\n1,2,1\n2,-3,0\n3,4,1\n", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [1.5, "a", True, -1, 2**32])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(InputError, match=f"^data.seed: given {seed!r}, expected a whole number "):
        NoisySeries(seed=seed)
