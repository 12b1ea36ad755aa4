import contextlib
import datetime as dt
import decimal
import math
import multiprocessing
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gd_lightning.errors import InputError
from gd_lightning.points import as_points, check_numbers, stack
from gd_lightning.series_files import SeriesFiles
from gd_lightning.series_index import Partition, hashes, repeated

LONG = {"series": "s", "t": "t", "y": "y"}
RAGGED = {"b": [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)], "a": [(0.5, 4.0)], "c": [(3.0, 5.0), (1.0, 6.0)]}


def long_table(series, **more):
    """A row for each point of series {name: [(t, y), ...]}."""
    rows = [(name, t, y) for name, points in series.items() for t, y in points]
    names, t, y = zip(*rows, strict=True)
    return pa.table({"s": list(names), "t": list(t), "y": list(y)} | more)


@pytest.fixture
def files(tmp_path):
    """Write tables as part-0.parquet, part-1.parquet, ... and open them."""

    def opened(*tables, group=None, **options):
        folder = tmp_path / "data"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for i, table in enumerate(tables):
            pq.write_table(
                pa.table(table) if isinstance(table, dict) else table,
                folder / f"part-{i}.parquet",
                row_group_size=group,
            )
        return SeriesFiles(str(folder), **options)

    return opened


@pytest.fixture
def refusal(files):
    """The one line with which tables are refused."""

    def said(*tables, **options):
        with pytest.raises(InputError) as caught:
            chunks(files(*tables, **options))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return said


def chunks(opened):
    found = [opened.read(i) for i in range(len(opened))]
    assert [chunk.index for chunk in found] == list(range(len(opened)))
    assert [len(chunk.names) for chunk in found] == [opened.count(i) for i in range(len(opened))]
    assert sum(map(opened.count, range(len(opened)))) == opened.series
    return found


def series_of(opened):
    """All series in order, [(name, [(t, y), ...]), ...], without what fills them up."""
    found = []
    for chunk in chunks(opened):
        for i, name in enumerate(chunk.names.to_pylist()):
            one = chunk.points.one(i)
            found.append((name, list(zip(one.columns[0].tolist(), one.targets.tolist(), strict=True))))
    return found


@pytest.mark.parametrize("group", [None, 1, 2, 4])
def test_a_long_table(files, group):
    opened = files(long_table(RAGGED), group=group, **LONG)
    assert (opened.series, opened.rows, opened.notes, len(opened)) == (3, 6, {}, 1)
    chunk = opened.read(0)
    assert chunk.names == pa.array(["b", "a", "c"])
    expected = stack([as_points(*zip(*points, strict=True), dtype=torch.float64)[0] for points in RAGGED.values()])
    assert torch.equal(chunk.points.t, expected.t)
    assert torch.equal(chunk.points.sigma, expected.sigma)
    assert torch.equal(chunk.points.present, expected.present)
    assert chunk.points.targets.tolist() == [[1, 2, 3], [4, 0, 0], [5, 6, 0]]
    check_numbers(chunk.points)


@pytest.mark.parametrize("sigma", [None, "e"])
def test_the_same_t_of_all_series_is_told_once(files, sigma):
    same = {"a": [(0.0, 1.0), (0.5, 2.0)], "b": [(0.0, 3.0), (0.5, 4.0)]}
    points = files(long_table(same, e=[0.1, 0.2, 0.3, 0.4]), **LONG, sigma=sigma).read(0).points
    assert (points.t.tolist(), points.targets.tolist()) == ([0, 0.5], [[1, 2], [3, 4]])
    assert (points.sigma is None) if sigma is None else (points.sigma.tolist() == [[0.1, 0.2], [0.3, 0.4]])
    assert {part.dtype for part in points if part is not None} == {torch.float64}
    other = {"a": same["a"], "b": same["b"][::-1]}
    assert files(long_table(other), **LONG).read(0).points.t.tolist() == [[0, 0.5], [0.5, 0]]
    assert files(long_table(same), series="s", y="y").read(0).points.t.tolist() == [0, 1]


def test_a_series_goes_on_through_row_groups_and_files(files):
    whole = long_table(RAGGED)
    for cut in range(1, 6):
        opened = files(whole[:cut], whole[cut:], group=2, **LONG, chunk_series=2)
        assert series_of(opened) == list(RAGGED.items())


wide_lists = {
    "name": ["a", "b", "c", "d"],
    "y": [[1.0, None, 3.0], None, [], [4.0]],
    "t": [[0, 1, 2], [1, 2, 3], None, [7]],
    "e": [[0.1, 0.2, 0.3], None, [9.0], [0.4]],
}


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
def test_a_wide_table_of_lists(files, kind):
    data = wide_lists | {"y": pa.array(wide_lists["y"], kind(pa.float32()))}
    chunk = files(data, y="y", t="t", sigma="e", series="name").read(0)
    assert chunk.names.to_pylist() == ["a", "b", "c", "d"]
    assert chunk.points.t.tolist() == [[0, 1, 2], [0, 0, 0], [0, 0, 0], [7, 7, 7]]
    assert np.array_equal(chunk.points.targets, [[1, math.nan, 3], [0, 0, 0], [0, 0, 0], [4, 0, 0]], equal_nan=True)
    inf = math.inf
    assert chunk.points.sigma.tolist() == [[0.1, 0.2, 0.3], [inf, inf, inf], [inf, inf, inf], [0.4, inf, inf]]
    plain = files(data, y="y").read(0)
    assert plain.names.to_pylist() == [0, 1, 2, 3]
    assert plain.points.t.tolist() == [[0, 1, 2], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_lists_of_one_length_share_t(files):
    fixed = pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4]), 2)
    for y in (fixed, fixed.cast(pa.list_(pa.int64()))):
        assert files({"y": y}, y="y").read(0).points.t.tolist() == [0, 1]
        assert files({"y": y}, y="y", t=[0.5, 1]).read(0).points.t.tolist() == [0.5, 1]
        assert files({"y": y, "x": y}, y="y", t="x").read(0).points.t.tolist() == [[1, 2], [3, 4]]
    data = {"y": [[1, 2], None, [3, 4]]}
    points = files(data, y="y", t=[0.5, 1]).read(0).points
    assert (points.t.tolist(), points.sigma[:, 0].tolist()) == ([0.5, 1], [1, math.inf, 1])
    points = files({"y": pa.array([None, []], pa.list_(pa.float64()))}, y="y").read(0).points
    assert (points.targets.tolist(), points.t.tolist(), points.present.any()) == ([[0], [0]], [0], False)


def test_a_wide_table_of_columns(files):
    data = {"y2": [1, 4], "id": [7, 8], "y10": [2.0, None], "y1": [3, 6], "e1": [1, 2], "e2": [3, 4], "e3": [5, 6]}
    for y, order in (("y*", (0, 1, 2)), ("y1, y2,y10", (2, 0, 1)), (["y10", "y1", "y2"], (1, 2, 0))):
        chunk = files(data, y=y, series="id", sigma="e?").read(0)
        rows = np.array([[1, 2, 3], [4, math.nan, 6]])[:, order]
        assert np.array_equal(chunk.points.targets, rows, equal_nan=True)
        assert chunk.points.t.tolist() == [0, 1, 2]
        assert chunk.points.sigma.tolist() == [[1, 3, 5], [2, 4, 6]]
        assert chunk.names == pa.array([7, 8])
    numbered = {"0.1": [1, 2], "0.5": [3, 4], "series": [0, 1]}
    assert files(numbered, y="0.*", series="series").read(0).points.t.tolist() == [0.1, 0.5]
    assert files(numbered, y="0.*", t=[3, 5]).read(0).points.t.tolist() == [3, 5]


def test_rows_without_a_series_are_counted(files):
    data = {"s": [None, 1, None, 1, 2, None], "t": [9, 0, 9, 1, 0, 9], "y": [9, 1, 9, 2, 3, 9]}
    for group in (1, 2, 6):
        opened = files(data, group=group, **LONG, chunk_series=1)
        assert series_of(opened) == [(1, [(0, 1), (1, 2)]), (2, [(0, 3)])]
        assert opened.notes == {"rows without a series": 3}
    opened = files(data | {"s": [math.nan if s is None else float(s) for s in data["s"]]}, **LONG)
    assert (opened.notes, opened.series) == ({"rows without a series": 3}, 2)
    opened = files({"s": ["a", None, "b", None], "y": [[1.0], [2.0], [3.0], [4.0]]}, series="s", y="y")
    assert (opened.notes, opened.series) == ({"series without a name": 2}, 4)
    assert opened.read(0).names.to_pylist() == ["a", None, "b", None]


def test_what_is_lacking_is_not_a_number(files):
    data = {"s": [1, 1], "t": [None, 1], "y": [2, None], "e": [1.0, None]}
    points = files(data, **LONG, sigma="e").read(0).points
    assert np.array_equal(points.t, [[math.nan, 1]], equal_nan=True)  # equal to no other t, its own included
    assert np.array_equal(points.targets, [[2, math.nan]], equal_nan=True)
    assert np.array_equal(points.sigma, [[1, math.nan]], equal_nan=True)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ([3, 1, 2], pa.int64()),
        ([3, 1, 2], pa.int8()),
        ([2**64 - 1, 1, 2**63], pa.uint64()),
        (["z", "", "y\0z"], pa.string()),
        (["z", "", "é" * 100], pa.large_string()),
        ([b"z", b"\xff", b""], pa.binary()),
        ([0.5, -1.0, math.inf], pa.float64()),
        ([decimal.Decimal("3.10"), decimal.Decimal("-1.00"), decimal.Decimal("2.00")], pa.decimal128(5, 2)),
        ([dt.date(2000, 1, 3), dt.date(1900, 1, 1), dt.date(2000, 1, 2)], pa.date32()),
        ([dt.datetime(2000, 1, 3), dt.datetime(1900, 1, 1), dt.datetime(2000, 1, 2)], pa.timestamp("us")),
        (["z", "x", "y"], pa.dictionary(pa.int32(), pa.string())),
    ],
)
def test_names_of_any_type_in_any_order(files, refusal, names, kind):
    def table(order):
        return {"s": pa.array([names[i] for i in order], kind), "t": list(range(len(order))), "y": order}

    opened = files(table([0, 0, 1, 2, 2]), group=2, **LONG, chunk_series=2)
    assert [name for name, _ in series_of(opened)] == names
    assert opened.read(0).names.type == (kind.value_type if pa.types.is_dictionary(kind) else kind)
    assert "stand together" in refusal(table([0, 1, 0, 2]), group=2, **LONG)


def test_repeated_names_are_refused(refusal):
    data = {"s": ["b", "a", "a", "b", "c", "a"], "t": list(range(6)), "y": list(range(6))}
    for group in (1, 2, 6):
        said = refusal(data, group=group, **LONG)
        assert said.startswith("series: the rows of 'b' and 1 more do not stand together in ")
        assert said.endswith("part-0.parquet; sort the table by 's' (ORDER BY, sort_by)")
    half = pa.table(data)
    assert "and 1 more; sort" in refusal(half[:3], half[3:], **LONG)
    lists = {"s": [1, 2, 2, None, None, 1], "y": [[1.0]] * 6}
    assert refusal(lists, series="s", y="y").startswith("series: 1 and 1 more come in several rows of ")


def test_many_repeated_names_are_counted(refusal, monkeypatch):
    monkeypatch.setattr("gd_lightning.series_index.MERGE", 10)
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(500), 3))
    runs = order[np.append(True, order[1:] != order[:-1])]
    names, counts = np.unique(runs, return_counts=True)
    first = next(name for name in order.tolist() if counts[names == name][0] > 1)
    said = refusal({"s": [f"s{i}" for i in order], "t": order, "y": order}, group=100, **LONG)
    assert f"'s{first}' and {(counts > 1).sum() - 1} more do not" in said


def test_hashes_of_texts_differ_where_texts_differ():
    rng = np.random.default_rng(1)
    texts = [f"pixel-{i:07d}" for i in range(50_000)] + [f"{i}" for i in range(50_000)]
    texts += ["".join(rng.choice(["a", "b"], 100)) for _ in range(1000)] + ["a" * i for i in range(300)]
    texts = list(dict.fromkeys(texts))
    found = hashes(pa.array(texts))
    assert len(np.unique(found)) == len(texts)
    assert np.array_equal(hashes(pa.array(texts, pa.large_string())[7:90]), found[7:90])
    assert len(repeated([pa.array(texts[:100]), pa.array(texts[50:200])])) == 50


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, [10]),
        ({"chunk_series": 4}, [4, 4, 2]),
        ({"chunk_points": 6}, [3, 3, 3, 1]),
        ({"chunk_points": 1}, [1] * 10),
        ({"chunk_series": 4, "group": 6}, [3, 3, 4]),
        ({"chunk_series": 4, "group": 5}, [4, 4, 2]),
        ({"chunk_series": 9, "group": 10}, [5, 5]),
        ({"chunk_series": 9, "group": 8}, [8, 2]),
    ],
)
def test_chunks_keep_to_the_limits_and_to_row_groups(files, options, sizes):
    data = {"s": np.repeat(np.arange(10), 2), "t": np.tile([0, 1], 10), "y": np.arange(20)}
    assert [len(chunk.names) for chunk in chunks(files(data, **LONG, **options))] == sizes


def test_one_long_series_does_not_swell_the_others(files):
    data = {"s": np.repeat(np.arange(1001), [1] * 500 + [1000] + [1] * 500), "t": np.zeros(2000), "y": np.ones(2000)}
    assert max(chunk.points.targets.numel() for chunk in chunks(files(data, **LONG, chunk_points=2000))) <= 2000
    lists = {"y": [[1.0]] * 500 + [[1.0] * 1000] + [[1.0]] * 500}
    assert max(chunk.points.targets.numel() for chunk in chunks(files(lists, y="y", chunk_points=2000))) <= 2000


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 30), st.integers(1, 12), st.data())
def test_where_chunks_are_cut_does_not_depend_on_how_series_come(counts, points, most, data):
    count = np.array(counts, np.int64)
    first = np.cumsum(count + 1)
    groups = np.array(sorted(data.draw(st.sets(st.integers(0, 200)))), np.int64)

    def cut(at):
        partition = Partition(points, most, groups)
        for start, stop in zip([0, *at], [*at, len(count)], strict=True):
            partition.add(first[start:stop], count[start:stop])
        partition.close()
        return partition.rows, partition.series

    rows, series = cut([])
    assert cut(sorted(data.draw(st.lists(st.integers(0, len(counts)))))) == (rows, series)
    assert rows == [first[i] for i in series[:-1]]
    sizes = np.diff(series)
    assert sizes.sum() == len(counts)
    assert ((sizes >= 1) & (sizes <= most)).all()
    for start, size in zip(series, sizes, strict=False):
        assert size == 1 or size * count[start : start + size].max() <= points


numbers = st.floats(-1e9, 1e9)
ragged = st.lists(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6), min_size=1, max_size=12)
limits = st.fixed_dictionaries({"chunk_points": st.integers(1, 40), "chunk_series": st.integers(1, 10)})
fuzz = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz
@given(ragged, st.booleans(), limits, st.integers(1, 12), st.integers(0, 40), st.booleans(), st.randoms())
def test_every_series_comes_back_once(files, series, texts, limits, group, cut, ascending, random):
    names = list(range(len(series)))
    if not ascending:
        random.shuffle(names)
    expected = [(f"{name:03}" if texts else name, points) for name, points in zip(names, series, strict=True)]
    long = long_table(dict(expected))
    opened = files(*(part for part in (long[:cut], long[cut:]) if len(part)), group=group, **LONG, **limits)
    assert series_of(opened) == expected
    data = {
        "s": [name for name, _ in expected],
        "t": [[t for t, _ in points] for points in series],
        "y": [[y for _, y in points] for points in series],
    }
    wide = pa.table(data)
    opened = files(*(part for part in (wide[:cut], wide[cut:]) if len(part)), group=group, **LONG, **limits)
    assert series_of(opened) == expected
    order = list(range(len(opened)))
    random.shuffle(order)
    again = {i: opened.read(i).names.to_pylist() for i in order}
    assert [name for i in range(len(opened)) for name in again[i]] == [name for name, _ in expected]


def test_paths(tmp_path):
    table = long_table({"a": [(0.0, 1.0)], "b": [(0.0, 2.0)], "c": [(0.0, 3.0)]})
    for i, name in enumerate(["p1.parquet", "p2.pq", "p3.parquet"]):
        pq.write_table(table[i : i + 1], tmp_path / name)
    for name in ("_metadata.parquet", ".p0.parquet", "notes.txt"):
        (tmp_path / name).write_text("no Parquet")
    (tmp_path / "inner").mkdir()

    def names(path):
        return [name for name, _ in series_of(SeriesFiles(path, **LONG))]

    assert names(str(tmp_path)) == names(tmp_path) == names(f"{tmp_path}/*p*") == ["a", "b", "c"]
    assert names(f"{tmp_path}/*.parquet") == names(f"{tmp_path}/**/*.parquet") == ["a", "c"]
    assert names(str(tmp_path / "p2.pq")) == ["b"]
    assert names([str(tmp_path / "p3.parquet"), str(tmp_path / "p1.parquet")]) == ["c", "a"]

    def said(path):
        with pytest.raises(InputError) as caught:
            SeriesFiles(path, **LONG)
        return str(caught.value)

    assert "did you mean 'p3.parquet'?" in said(str(tmp_path / "p33.parquet"))
    assert "matches no file" in said(f"{tmp_path}/z*")
    assert "is a folder without Parquet files; for those in its folders give" in said(str(tmp_path / "inner"))
    assert "p2.pq is given twice" in said([str(tmp_path / "p2.pq"), f"{tmp_path}/*"])
    assert "given no files" in said([])
    assert "notes.txt: cannot be read as Parquet: " in said(str(tmp_path / "notes.txt"))
    content = (tmp_path / "p1.parquet").read_bytes()
    for broken in (b"", content[:-20], content[:-8] + b"\xff\xff\xff\x00PAR1"):
        (tmp_path / "p1.parquet").write_bytes(broken)
        assert "p1.parquet: cannot be read as Parquet: " in said(str(tmp_path))
    (tmp_path / "p1.parquet").write_bytes(b"PAR1" + content[20:])
    assert "p1.parquet: row group 1 cannot be read: " in said(str(tmp_path))


def test_files_are_known_again(files, tmp_path):
    table = long_table(RAGGED)
    first = files(table[:3], table[3:], **LONG).fingerprint
    assert first == files(table[:3], table[3:], **LONG, chunk_series=1).fingerprint
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere")
    assert first == SeriesFiles(str(tmp_path / "elsewhere"), **LONG).fingerprint
    others = [
        files(table[:2], table[2:], **LONG),
        files(table, **LONG),
        files(table[:3], table[3:].set_column(2, "y", pa.array([1.0, 5.0, 7.0])), **LONG),
        files(table[:3], table[3:], group=1, **LONG),
    ]
    assert len({first, *(other.fingerprint for other in others)}) == 5


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"s": ["z"], "t": [1.0]}, "y: {}part-1.parquet has no column 'y'; choose from s, t"),
        (
            {"s": ["z"], "t": [1.0], "y": ["1"]},
            "{}part-1.parquet: column 'y' has text (string), and in {}part-0.parquet it has numbers (double)",
        ),
        ({"s": ["z"], "t": [[1.0]], "y": [1.0]}, "'t' has lists of numbers (list<element: double>), and in"),
        ({"s": [3], "t": [1.0], "y": [1.0]}, "'s' has numbers (int64), and in {}part-0.parquet it has text (string)"),
    ],
)
def test_files_whose_columns_differ_are_refused(refusal, tmp_path, other, message):
    said = refusal(long_table(RAGGED), other, **LONG)
    assert message.replace("{}", f"{tmp_path / 'data'}/") in said


def test_files_whose_numbers_differ_in_width_go_together(files):
    first = {"s": pa.array([1, 2], pa.int32()), "t": [0, 1], "y": pa.array([1, 2], pa.float32()), "more": ["", ""]}
    second = {"y": [3, 4], "t": [0.5, 1], "s": [2, 2**40]}
    expected = [(1, [(0, 1)]), (2, [(1, 2), (0.5, 3)]), (2**40, [(1, 4)])]
    assert series_of(files(first, second, **LONG)) == expected
    lists = {"y": pa.array([[1], [2, 3]], pa.list_(pa.int8()))}, {"y": pa.array([[0.5]], pa.large_list(pa.float64()))}
    assert [points for _, points in series_of(files(*lists, y="y"))] == [[(0, 1)], [(0, 2), (1, 3)], [(0, 0.5)]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": "yy"}, "y: {} has no column 'yy'; did you mean 'y'?"),
        ({"y": "z*"}, "y: {} has no column 'z*'; choose from l, note, s, t, y"),
        ({"y": "note"}, "y: column 'note' of {} has text (string), expected numbers or lists of numbers"),
        ({"y": "l,y"}, "y: column 'l' of {} has lists of numbers (list<element: int64>), expected numbers in each of"),
        ({"y": []}, "y: given [], expected the name of a column or names of several"),
        ({"series": None}, "series: not given, and 'y' has one number a row; expected the column that says to which"),
        (
            {"series": "l"},
            "series: column 'l' of {} has lists of numbers (list<element: int64>), expected whole numbers",
        ),
        ({"series": "ss"}, "series: {} has no column 'ss'; did you mean 's'?"),
        ({"t": [0, 1]}, "t: given numbers, and 'y' has one number a row; expected the name of a column of numbers"),
        ({"t": "l"}, "t: given l, and 'y' has one number a row; expected the name of a column of numbers"),
        ({"sigma": "s,t"}, "sigma: given s, t, and 'y' has one number a row"),
        ({"y": "l"}, "t: column 't' has one number a row, and a row has a whole series; expected a column of lists"),
        ({"y": "y,t,s", "series": None, "t": [1, 2]}, "t: given 2 numbers, and 3 columns for y; expected as many"),
        ({"y": "y,t,s", "series": None, "t": "y,s"}, "t: given 2 columns, and 3 for y; expected as many"),
        ({"y": "l", "t": ["a", 1]}, "t: given ['a', 1], expected the name of a column or finite numbers"),
        ({"y": "l", "t": [1, math.nan]}, "t: given [1, nan], expected the name of a column or finite numbers"),
        ({"y": "l", "t": [1.0, 2.0]}, "t: series 5 of {} has 2 numbers, and 1 of y; expected as many"),
        ({"y": "l", "t": "m"}, "t: series 5 of {} has 0 numbers, and 1 of y; expected as many"),
        ({"chunk_series": 0}, "chunk_series: given 0, expected a whole number of at least 1"),
        ({"chunk_points": 1e6}, "chunk_points: given 1000000.0, expected a whole number of at least 1"),
    ],
)
def test_options_that_cannot_be_used(refusal, tmp_path, options, message):
    data = {"s": [4, 5], "t": [0, 0], "y": [1, 2], "note": ["", ""], "l": [[1, 2], [3]]}
    if options.get("t") == "m":
        data["m"] = [[1, 2], []]
    said = refusal(data, **LONG | options)
    assert said.startswith(message.replace("{}", str(tmp_path / "data" / "part-0.parquet")))


def test_tables_without_data(refusal):
    nothing = {"s": pa.array([], pa.int64()), "t": pa.array([], pa.int64()), "y": pa.array([], pa.int64())}
    assert refusal(nothing, **LONG).endswith("no rows, expected some")
    nobody = {"s": pa.array([None, None], pa.int64()), "t": [1, 2], "y": [1, 2]}
    assert refusal(nobody, **LONG).endswith("none of their rows has a series, expected some")
    twice = pa.table([[1], [2], [3], [4]], ["s", "t", "y", "y"])
    assert "has 2 columns 'y', expected one" in refusal(twice, **LONG)


@pytest.mark.parametrize("name", ["s", "y"])
@pytest.mark.parametrize("options", [{}, {"compression": "none", "write_page_checksum": True}])
def test_a_damaged_row_group_is_named(tmp_path, name, options):
    """That of names is found while the index is made, that of data when it is read; chunks elsewhere can be read."""
    rng = np.random.default_rng(0)
    data = {"s": np.arange(4000) // 4, "t": rng.normal(size=4000), "y": rng.normal(size=4000)}
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(data), path, row_group_size=1000, use_dictionary=False, **options)
    column = pq.read_metadata(path).row_group(2).column(list(data).index(name))
    content = bytearray(path.read_bytes())
    # without checksums only a page's header tells damage for certain, with them any byte
    at = column.data_page_offset + (column.total_compressed_size // 2 if options else 0)
    content[at : at + 16] = bytes(255 - byte for byte in content[at : at + 16])
    path.write_bytes(content)
    message = r"x.parquet: row group 3 cannot be read: \S.{0,100}$"
    if name == "s":
        with pytest.raises(InputError, match=message):
            SeriesFiles(str(path), **LONG)
        return
    opened = SeriesFiles(str(path), **LONG, chunk_series=250)
    for _ in range(2):
        with pytest.raises(InputError, match=message):
            opened.read(2)
        for i in (1, 3):
            assert np.array_equal(opened.read(i).points.targets.ravel(), data["y"][1000 * i : 1000 * (i + 1)])


@fuzz
@given(st.integers(4, 3000), st.binary(min_size=1, max_size=8))
def test_damage_anywhere_is_refused_or_not_seen(tmp_path, position, damage):
    path = tmp_path / "x.parquet"
    pq.write_table(long_table(RAGGED), path, row_group_size=2)
    content = bytearray(path.read_bytes())
    position %= len(content)
    content[position : position + len(damage)] = damage
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        SeriesFiles(str(path), **LONG).read(0)


def test_a_file_that_has_changed_is_refused(files, tmp_path):
    opened = files(long_table(RAGGED), **LONG)
    pq.write_table(long_table({"a": [(1.0, 1.0)]}), tmp_path / "data" / "part-0.parquet")
    with pytest.raises(InputError, match=r"part-0.parquet: row group 1 cannot be read: the file has changed"):
        opened.read(0)
    (tmp_path / "data" / "part-0.parquet").unlink()
    with pytest.raises(InputError, match="No such file"):
        opened.read(0)


def test_the_last_chunk_may_be_counted_from_the_end(files):
    opened = files(long_table(RAGGED), **LONG, chunk_series=2)
    assert opened.read(-1).names.to_pylist() == ["c"]
    assert opened.read(-1).index == 1
    with pytest.raises(IndexError):
        opened.read(2)


class Sums(torch.utils.data.Dataset):
    def __init__(self, files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        return self.files.read(i).points.targets.sum()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # of fork, from Python 3.12 on
def test_threads_and_processes_share_one(files):
    data = {"s": np.arange(3000) // 3, "t": np.arange(3000.0), "y": np.random.default_rng(0).normal(size=3000)}
    opened = files(data, group=700, **LONG, chunk_series=90)
    expected = [opened.read(i).points.targets.sum() for i in range(len(opened))]
    assert [pickle.loads(pickle.dumps(opened)).read(i).points.targets.sum() for i in range(len(opened))] == expected
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(Sums(opened).__getitem__, range(len(opened)))) == expected
    for method in {"fork", "spawn"}.intersection(multiprocessing.get_all_start_methods()):
        loader = torch.utils.data.DataLoader(
            Sums(opened), batch_size=None, num_workers=1, multiprocessing_context=method
        )
        assert list(loader) == expected


def test_a_row_group_is_decoded_once_when_chunks_are_read_in_order(files, monkeypatch):
    data = {"s": np.arange(2000) // 4, "t": np.arange(2000), "y": np.arange(2000)}
    opened = files(data, group=300, **LONG, chunk_series=30)
    decoded = []
    whole = pq.ParquetFile.iter_batches

    def counted(self, size, row_groups, **options):
        decoded.extend(row_groups)
        return whole(self, size, row_groups=row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    chunks(opened)
    assert decoded == list(range(7))
    opened.read(1)
    assert decoded[7:] == [0]
