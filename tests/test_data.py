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
    [(t, targets)] = list(data.train_dataloader())
    assert torch.equal(t, data.t)
    assert torch.equal(targets, data.targets)


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
        ("speed,dist\n4,nan\n", r"data row 1 \(line 2 of the file\): 'nan'"),
        ("speed,dist\n4,2\n5,\n", r"data row 2 \(line 3 of the file\): an empty cell"),
        ("speed,dist\n4,-inf\n", "'-inf', expected a finite number"),
        ("speed,dist\n4,2,9\n", "cannot be read as CSV in UTF-8: .*Expected 2 columns, got 3"),
        (b"sp\xe9ed,dist\n4,2\n", "cannot be read as CSV in UTF-8"),
        ("speed;dist\n4;2\n", "only one column, 'speed;dist'; expected commas between the columns"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        table(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_missing_file_gets_the_nearest_beside_it(tmp_path):
    (tmp_path / "stopping.csv").write_text("")
    with pytest.raises(InputError, match=r"is no such file, expected a CSV file; did you mean 'stopping.csv'\?"):
        series(Table(path=str(tmp_path / "stoping.csv"), t="t", y="y"))
    with pytest.raises(InputError, match="is a folder"):
        series(Table(path=str(tmp_path), t="t", y="y"))
    with pytest.raises(InputError, match="no such file"):
        series(Table(path=str(tmp_path / "no" / "such.csv"), t="t", y="y"))
