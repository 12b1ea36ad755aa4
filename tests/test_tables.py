import bz2
import csv
import datetime as dt
import decimal
import gzip
import math
import os
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gd_lightning.cells import MISSING
from gd_lightning.errors import InputError
from gd_lightning.tables import read_columns

CARS = "speed,dist\n4,2\n7,4.5\n"


@pytest.fixture
def columns(tmp_path):
    """Write a text, then read columns of it."""

    def read(text, names=("speed", "dist"), *args, file="cars.csv", **options):
        path = tmp_path / file
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_columns(str(path), names, *args, **options)

    return read


@pytest.fixture
def refusal(columns):
    """The one line with which a table is refused."""

    def read(*args, **options):
        with pytest.raises(InputError) as caught:
            columns(*args, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return read


@pytest.fixture
def parquet(tmp_path):
    """Write columns as Parquet, then read all of them."""

    def read(data, *args, names=None, **options):
        pq.write_table(pa.table(data), tmp_path / "table.parquet")
        return read_columns(str(tmp_path / "table.parquet"), list(data) if names is None else names, *args, **options)

    return read


def lists(columns):
    return {name: values.tolist() for name, values in columns.numbers.items()}


@pytest.mark.parametrize(
    "text",
    [
        CARS,
        CARS.replace(",", "\t"),
        CARS.replace(",", ";"),
        CARS.replace(",", ";").replace("4.5", "4,5"),
        CARS.replace("\n", "\r\n"),
        "\ufeff" + CARS,
        "\r\n\n  \n" + CARS + "\n\n",
        CARS.rstrip(),
        '"speed", "dist" \n"4" , 2\n 7,"4.5"\n'.replace('" ,', '",'),
        " speed ,dist\n4\t, 2 \n7, 4.50\n",
        'note,dist,speed\n"a, b",2e0,4\n"two\nlines ""here""",+4.5,7\n',
        '"a\nb",speed,dist\n1,4,2\n2,7,4.5\n',
        '"x; y; z",speed,dist\n1,4,2\n2,7,4.5\n',
        "same,same,,speed,,dist\na,b,c,4,d,2\n,,,7,,4.5\n",
        b"n\xc3\xb6te,speed,dist\ncaf\xe9,4,2\n\xff,7,4.5\n",
        "speed;dist, in m;dist\n4;,;2\n7;,;4.5\n",
    ],
)
def test_the_same_table_in_many_spellings(columns, text):
    table = columns(text)
    assert lists(table) == {"speed": [4, 7], "dist": [2, 4.5]}
    assert (table.rows, table.dropped) == (2, 0)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_compressed_text(columns, compress):
    assert lists(columns(compress(CARS.encode()), file="cars.csv.gz"))["dist"] == [2, 4.5]


def test_numbers_are_those_of_python_bit_for_bit(columns):
    values = np.random.default_rng(0).normal(size=20_000) * 10.0 ** np.arange(-200, 200).repeat(50)
    table = columns("i,x\n" + "".join(f"{i},{value!r}\n" for i, value in enumerate(values.tolist())), ["x", "i"])
    assert np.array_equal(table.numbers["x"].numpy(), values)
    assert table.numbers["i"].dtype == table.numbers["x"].dtype == torch.float64
    assert list(table.numbers) == ["x", "i"]
    assert table.labels == {"x": "x", "i": "i"}


def test_a_column_asked_for_twice_is_read_once(columns):
    assert lists(columns(CARS, ["speed", "speed"], "speed")) == {"speed": [4, 7]}


@pytest.mark.parametrize("missing", ["", " ", "NA", "N/A", "NaN", "nan", "NULL", "null", "#N/A", '"NA"', " NA "])
def test_rows_that_lack_a_value_asked_for_are_left_out(columns, missing):
    text = f"x,y,z,g\n1,2,3,a\n{missing},5,6,a\n7,{missing},9,b\n10,11,{missing},c\n13,14,15,{missing}\n16,17,18,d\n"
    table = columns(text, ["x", "y"], "g")
    assert lists(table) == {"x": [1, 10, 16], "y": [2, 11, 17]}
    assert (table.rows, table.dropped) == (6, 3)
    assert table.group.tolist() == [0, 1, 2]
    assert table.group_names == ["a", "c", "d"]


def test_missing_values_that_need_trimming_come_first(columns):
    assert lists(columns("x,y\n NA ,1\n 2,3\n", ["x"])) == {"x": [2]}
    assert lists(columns("x,y\n" + " NA ,1\n" * 300_000 + "2000-01-01,3\n", ["x"])) == {"x": [0]}


def test_groups_are_text_in_order_of_appearance_through_a_large_file(columns):
    names = [f"s{i * i % 1009}" for i in range(200_000)]
    table = columns("x,site\n" + "".join(f"{i}, {name} \n" for i, name in enumerate(names)), ["x"], "site")
    assert table.group_names == list(dict.fromkeys(names))
    assert [table.group_names[i] for i in table.group.tolist()] == names
    assert table.group.dtype == torch.int64


def test_a_group_may_be_a_number_too_and_there_may_be_none(columns):
    table = columns("x\n3\n1\n3\n", ["x"], "x")
    assert (table.group.tolist(), table.group_names, lists(table)) == ([0, 1, 0], ["3", "1"], {"x": [3, 1, 3]})
    assert columns(CARS).group is None
    assert columns(CARS).group_names == []


def test_a_file_is_held_a_batch_at_a_time(tmp_path):
    """In a fresh process: a table of 115 MB of text asks for less than half of that."""
    with (tmp_path / "large.csv").open("w") as file:
        file.write("x,note,y\n")
        file.writelines(f"{i},{'-' * 100},{i}\n" for i in range(1_000_000))
    script = (
        "import sys\nfrom gd_lightning.tables import read_columns\n"
        "import pyarrow as pa\ntable = read_columns(sys.argv[1], ['x', 'y'])\n"
        "print(table.rows, pa.default_memory_pool().max_memory())"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "large.csv")], capture_output=True, check=True)
    rows, held = map(int, done.stdout.split())
    assert rows == 1_000_000
    assert held < 55e6


@pytest.mark.parametrize(
    ("cells", "instants"),
    [
        (["1958-03-29", "1958-04-05", "1958-03-30T12:00"], None),
        (["1958-03-29T06:30:15", "1958-03-29 06:30:15.25", "2262-12-31 23:59:59.123456"], None),
        (["0001-01-01", "1582-10-15", "9999-12-31"], None),
        (["1958-03-29T12:30Z", "1958-03-29T12:30:00+02:00", "1958-03-29T12:30:00.5-0330"], None),
        (["1958-03-29T12:30:00.123456789", " 1958-03-29T12:30:00"], ["1958-03-29T12:30:00.123456", "1958-03-29T12:30"]),
    ],
)
@pytest.mark.parametrize(("unit", "seconds"), [("seconds", 1), ("minutes", 60), ("hours", 3600), ("days", 86400)])
def test_dates_become_the_time_since_the_earliest(columns, cells, instants, unit, seconds):
    instants = [dt.datetime.fromisoformat(text) for text in instants or cells]
    expected = [(instant - min(instants)).total_seconds() / seconds for instant in instants]
    table = columns("t,x\n" + "".join(f"{cell},1\n" for cell in cells), ["t", "x"], time_unit=unit)
    assert table.numbers["t"].tolist() == pytest.approx(expected, rel=1e-15)
    first = min(instants).astimezone(dt.UTC).replace(tzinfo=None) if min(instants).tzinfo else min(instants)
    assert table.labels == {"t": f"t ({unit} since {str(first).removesuffix(' 00:00:00')})", "x": "x"}


def test_years_have_365_25_days(columns):
    table = columns("t\n2001-01-01\n2005-01-01\n", ["t"], time_unit="years")
    assert table.numbers["t"].tolist() == [0, 4]


def test_the_earliest_date_is_that_of_the_rows_that_stay(columns):
    table = columns("t,x\n1900-01-01,\n,1\n2000-01-03,2\n2000-01-01,3\n", ["t", "x"])
    assert lists(table) == {"t": [2, 0], "x": [2, 3]}
    assert table.labels["t"] == "t (days since 2000-01-01)"


@pytest.mark.parametrize(
    ("origin", "days", "label"),
    [
        ("1999-12-30", 2, "1999-12-30"),
        ("2000-01-02", -1, "2000-01-02"),
        ("1999-12-31T12:00", 0.5, "1999-12-31 12:00:00"),
        ("1999-12-31T12:00+06:00", 0.75, "1999-12-31 06:00:00"),
    ],
)
def test_an_origin_of_one_s_own(columns, origin, days, label):
    table = columns("t\n2000-01-01\n", ["t"], time_origin=origin)
    assert lists(table) == {"t": [days]}
    assert table.labels["t"] == f"t (days since {label})"


def test_a_column_whose_dates_begin_in_a_later_batch(columns):
    table = columns("x,t\n" + 200_000 * "1,NA\n" + "2,2000-01-01\n3,2000-01-03\n", ["x", "t"])
    assert lists(table) == {"x": [2, 3], "t": [0, 2]}
    assert (table.rows, table.dropped) == (200_002, 200_000)


def test_every_kind_of_number_that_parquet_has(parquet):
    kinds = [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()]
    kinds += [pa.float16(), pa.float32(), pa.float64()]
    data = {str(kind): pa.array([1, None, 3], kind) for kind in kinds}
    data["decimal"] = pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-3.50")])
    data["bool"] = pa.array([True, None, False])
    data["large"] = pa.array([2**60 + 1, None, 2**53 + 1])
    data["text"] = pa.array([" 1.5", "NA", "2"])
    data["long text"] = pa.array(["1.5", None, "2"], pa.large_string())
    data["bytes"] = pa.array([b"1.5", None, b"2"])
    data["categories"] = pa.array(["1.5", None, "2"]).dictionary_encode()
    table = parquet(data)
    expected = {str(kind): [1, 3] for kind in kinds} | {"decimal": [1.25, -3.5], "bool": [1, 0]}
    expected |= {name: [1.5, 2] for name in ("text", "long text", "bytes", "categories")}
    assert lists(table) == expected | {"large": [2.0**60, 2.0**53]}
    assert (table.rows, table.dropped) == (3, 1)


def test_not_a_number_is_missing_in_parquet(parquet):
    table = parquet({"x": [1.0, math.nan, 3.0], "g": [None, "a", "b"]}, "g", names=["x"])
    assert (lists(table), table.group_names, table.dropped) == ({"x": [3]}, ["b"], 2)


def test_every_kind_of_date_that_parquet_has(parquet):
    days = [dt.date(2000, 1, 3), None, dt.date(2000, 1, 1)]
    data = {"date32": pa.array(days, pa.date32()), "date64": pa.array(days, pa.date64())}
    for unit in ("s", "ms", "us", "ns"):
        data[unit] = data["date32"].cast(pa.timestamp(unit))
        data[f"{unit} zoned"] = pa.array(data[unit].cast(pa.int64()), pa.timestamp(unit, "Europe/Paris"))
    data["text"] = pa.array(["2000-01-03", None, "2000-01-01"])
    table = parquet(data)
    assert lists(table) == {name: [2, 0] for name in data}
    assert set(table.labels.values()) == {f"{name} (days since 2000-01-01)" for name in data}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_durations_of_parquet(parquet, unit):
    durations = pa.array([dt.timedelta(hours=3), None, dt.timedelta(minutes=-30)], pa.duration(unit))
    table = parquet({"wait": durations}, time_unit="hours")
    assert lists(table) == {"wait": [3, -0.5]}
    assert table.labels == {"wait": "wait (hours)"}


def test_a_parquet_group_of_any_kind_becomes_text(parquet):
    data = {
        "x": [1, 2, 3],
        "n": [7, 3, 7],
        "b": [True, False, True],
        "c": pa.array(["u", "v", "u"]).dictionary_encode(),
    }
    for name, names in [("n", ["7", "3"]), ("b", ["true", "false"]), ("c", ["u", "v"])]:
        table = parquet(data, name, names=["x"])
        assert (table.group.tolist(), table.group_names) == ([0, 1, 0], names)


def test_parquet_is_known_by_its_first_bytes(tmp_path):
    pq.write_table(pa.table([[1], [2], [3]], ["x", "twice", "twice"]), tmp_path / "data")
    assert lists(read_columns(str(tmp_path / "data"), ["x"])) == {"x": [1]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": [[1.0]]}, "column 'x' has cells of type list<element: double>, expected numbers, dates or text"),
        ({"x": [{"a": 1}]}, "column 'x' has cells of type struct<a: int64>"),
        ({"x": [dt.time(12)]}, r"column 'x' has cells of type time64\[us\]"),
        ({"x": [1.0, math.inf]}, "column 'x', data row 2: inf, expected a finite number; correct or remove that row"),
        ({"x": ["1", "two"]}, "column 'x', data row 2: 'two', expected a finite number"),
        ({"x": [b"1", b"\xff"]}, r"column 'x', data row 2: b'\\xff', expected text in UTF-8"),
        ({"x": pa.array([], pa.int64())}, "no data, expected a header line and a row for each point"),
        ({"x": pa.nulls(2)}, "none of 2 data rows has a value in 'x'"),
        ({"y": [1]}, "column: .* has no column 'x'; choose from y"),
    ],
)
def test_a_parquet_table_that_cannot_be_used(parquet, data, message):
    with pytest.raises(InputError, match=message) as caught:
        parquet(data, names=["x"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cars.csv: empty file, expected a header line and a row for each point"),
        ("\n \r\n", "empty file"),
        ("\ufeff", "empty file"),
        ("speed,dist", "no data, expected a header line and a row for each point"),
        ("speed,dist\n\n", "no data"),
        ("speed,dist\n1,\n,2\n", "none of 2 data rows has a value in 'speed' and 'dist'"),
        ("speeed,dist\n4,2\n", "data.t: {} has no column 'speed'; did you mean 'speeed'?"),
        ("speed,y,\n4,2,\n", "column: {} has no column 'dist'; choose from speed, y"),
        ("speed,speed,dist\n4,2,1\n", "data.t: {} has 2 columns 'speed', expected one"),
        ("speed dist\n4 2\n", "only one column, 'speed dist'; expected commas, tabs or semicolons"),
        ("speed,dist\n4,2\n5,abc\n", "column 'dist', data row 2 (line 3 of the file): 'abc', expected a finite number"),
        ("speed,dist\n\n4,2\n\r\n x ,3\n", "column 'speed', data row 2 (line 5 of the file): 'x'"),
        ('\n"speed",dist,n\n4,2,"\n\n"\n5,1_0,\n', "data row 2 (line 6 of the file): '1_0'"),
        ("speed,dist\n4,-inf\n", "'-inf', expected a finite number; correct or remove that row"),
        ("speed,dist\n4,1e999\n", "'1e999', expected a finite number"),
        ("speed;dist\n4;1.234,5\n", "'1.234,5', expected a finite number"),
        ("speed,dist\n4," + 500 * "z" + "\n", "zzz..., expected a finite number"),
        ("speed,dist\n4,1\0\n", r"'1\x00', expected a finite number"),
        ("speed,dist\n4,2\n5,2000-01-01\n", "data row 2 (line 3 of the file): '2000-01-01', expected a finite number"),
        ("speed,dist\n4,2000-01-01\n5,2\n", "data row 2 (line 3 of the file): '2', expected a date such as 1958-03-29"),
        ("speed,dist\n4,2000-01-01\n5,2000-02-30\n", "'2000-02-30', expected a date"),
        ("speed,dist\n4,2000-01-01T12:00Z\n5,2000-01-01T12:00\n", "'2000-01-01T12:00', expected a date with its zone"),
        ("speed,dist\n4,2000-01-01T12:00\n5,2000-01-01T12:00Z\n", "'2000-01-01T12:00Z', expected a date such"),
        ("speed,dist\n4,2\n\n4,2,9\n", "data row 2 (line 4 of the file) has 3 cells, expected 2 as in the header line"),
        ("speed,dist\n4,2\n  \n5\n", "data row 2 (line 3 of the file) has 1 cells, expected 2"),
        (b"speed,dist\n4,2\n\xe9\n", "data row 2 (line 3 of the file) has 1 cells, expected 2"),
        ('"a\nb",c\n1,2\n', "has no column 'speed'; choose from a b, c"),
        (b"sp\xe9ed,dist\n4,2\n", "cannot be read as CSV in UTF-8: byte 0xe9 in the header line; save it as UTF-8"),
        (b"speed,dist\n4,2\n5,\xe9\n", r"data row 2 (line 3 of the file): b'\xe9', expected text in UTF-8"),
        (CARS.encode("utf-16"), "is text in UTF-16; save it as UTF-8"),
        (CARS.encode("utf-16-le"), "a zero byte in the header line"),
        (b"PK\x03\x04\x14\x00", "is a spreadsheet or an archive; save the table as CSV"),
        (b"PAR1 and nothing else", "cannot be read as Parquet: "),
        (b"\x1f\x8b and nothing else", "cannot be read"),
        (gzip.compress(CARS.encode(), mtime=0)[:-12], "cannot be read"),
        (b"\x89\xfe\x00\x01\n" * 30, "cannot be read as CSV in UTF-8"),
        ('"speed,dist\n' + 200_000 * "4,2\n", "cannot be read as CSV in UTF-8: field larger than field limit"),
    ],
)
def test_a_table_that_cannot_be_used(refusal, tmp_path, text, message):
    said = refusal(text, keys={"speed": "data.t"})
    assert message.replace("{}", str(tmp_path / "cars.csv")) in said
    assert "cars.csv" in said


def test_the_first_bad_cell_is_named_far_down(refusal):
    said = refusal("x\n" + "".join(f"{i}\n" for i in range(300_000)) + "oops\n1\nbad\n", ["x"])
    assert "data row 300001 (line 300002 of the file): 'oops'" in said


def test_a_bad_group_is_refused_too(refusal):
    assert "column 'site', data row 1 (line 2 of the file): b'\\xff'" in refusal(b"x,site\n1,\xff\n", ["x"], "site")
    assert "group_by: " in refusal("x,site\n1,a\n", ["x"], "sites", keys={"sites": "group_by"})


def test_options_of_time_that_are_misspelt(refusal):
    assert refusal(CARS, time_unit="dayz") == "time_unit: given 'dayz', did you mean 'days'?"
    said = refusal(CARS, time_origin="29.3.1958")
    assert said.startswith("time_origin: given '29.3.1958', expected a date such as 1958-03-29")
    assert refusal(CARS, time_origin="1958").startswith("time_origin: given '1958'")


def test_a_missing_file_gets_the_nearest_beside_it(tmp_path):
    for beside in ("stopping.csv", "waiting.tsv", "other.parquet", "notes.md"):
        (tmp_path / beside).write_text("")

    def said(*parts):
        with pytest.raises(InputError) as caught:
            read_columns(str(tmp_path.joinpath(*parts)), ["x"])
        return str(caught.value)

    missing = "is no such file, expected a table such as a CSV or Parquet file"
    assert said("stoping.csv").endswith(f"stoping.csv {missing}; did you mean 'stopping.csv'?")
    assert said("waitin.tsv").endswith("did you mean 'waiting.tsv'?")
    assert said("zzz").endswith("choose from other.parquet, stopping.csv, waiting.tsv")
    assert said("no", "such.csv").endswith(missing)
    assert said("stopping.csv", "x").endswith(missing)
    assert "is a folder, expected a table" in said()
    assert "is no such file" in said("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes that have a name")
@pytest.mark.parametrize("form", ["text", "gzip", "parquet"])
def test_a_table_is_opened_and_read_once(tmp_path, form):
    """A pipe gives what it has one time."""
    pq.write_table(pa.table({"speed": [4, 7], "dist": [2, 4.5]}), tmp_path / "cars.parquet")
    content = {"text": CARS.encode(), "gzip": gzip.compress(CARS.encode())}
    content["parquet"] = (tmp_path / "cars.parquet").read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content[form],))
    writer.start()
    assert lists(read_columns(str(pipe), ["dist", "speed"])) == {"dist": [2, 4.5], "speed": [4, 7]}
    writer.join()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts in /proc/self/io")
def test_a_large_file_is_read_once(tmp_path):
    (tmp_path / "x.csv").write_text("x,y\n" + 1_000_000 * "1,2.345678\n")

    def read_so_far():
        with open("/proc/self/io") as file:
            return int(file.readline().split()[1])

    before = read_so_far()
    read_columns(str(tmp_path / "x.csv"), ["y"])
    assert read_so_far() - before < 1.1 * (tmp_path / "x.csv").stat().st_size


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["", "NA"], [math.nan, math.nan]),
        (["", "2.5"], [math.nan, 2.5]),
        (["2.5", "NaN"], [2.5, math.nan]),
        (["", "2020-01-03"], [math.nan, 0]),
    ],
)
def test_columns_with_gaps(columns, cells, expected):
    read = columns(f"x,y\n1,{cells[0]}\n,\n2,{cells[1]}\n", ["y", "z", "x"], gaps=["y", "z"])
    np.testing.assert_array_equal(read.numbers["y"], expected)
    np.testing.assert_array_equal(read.numbers["z"], [math.nan, math.nan])
    assert (read.numbers["x"].tolist(), read.rows, read.dropped) == ([1, 2], 3, 1)


def test_parquet_with_gaps(parquet):
    read = parquet({"x": [1, 2, None], "y": [None, 3, 4], "z": pa.nulls(3)}, gaps=["y", "z"])
    np.testing.assert_array_equal(read.numbers["y"], [np.nan, 3])
    np.testing.assert_array_equal(read.numbers["z"], [np.nan, np.nan])


def from_standard_input(given, *args):
    script = (
        "import sys, warnings\nwarnings.simplefilter('error')\nfrom gd_lightning.tables import read_columns\n"
        "try: print({name: x.tolist() for name, x in read_columns('-', sys.argv[1:]).numbers.items()})\n"
        "except ValueError as error: print(error)"
    )
    command = [sys.executable, "-c", script, *args]
    done = subprocess.run(command, capture_output=True, **({} if given is None else {"input": given}), timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().strip()


def test_standard_input(tmp_path):
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "x.parquet")
    assert from_standard_input(b"y\tx\r\n2\t1\r\n", "x", "y") == "{'x': [1.0], 'y': [2.0]}"
    assert from_standard_input((tmp_path / "x.parquet").read_bytes(), "x") == "{'x': [1.0, 2.0]}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "standard input: empty file, expected a header line and a row for each point"),
        pytest.param(b"x\nabc\n", "standard input: column 'x', data row 1: 'abc', expected", marks=pytest.mark.slow),
        pytest.param(b"x,y\n1\n", "standard input: data row 1 has 1 cells, expected 2", marks=pytest.mark.slow),
    ],
)
def test_standard_input_that_is_wrong(given, said):
    assert from_standard_input(given, "x").startswith(said)


@pytest.mark.skipif(os.name != "posix", reason="closes a descriptor with a shell")
def test_standard_input_that_is_closed():
    script = (
        "from gd_lightning.tables import read_columns\ntry: read_columns('-', ['x'])\nexcept ValueError as e: print(e)"
    )
    command = ["sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, script]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.stdout.startswith(b"standard input is closed, expected a table")
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_process_ends_in_order_after_a_large_file_was_refused(tmp_path):
    (tmp_path / "x.csv").write_text("x,y\nbad,1\n" + 3_000_000 * "1,2.345678\n")
    script = (
        "import sys\nfrom gd_lightning.tables import read_columns\n"
        "try: read_columns(sys.argv[1], ['x'])\nexcept ValueError: pass"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "x.csv")], capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")


def test_pandas_is_not_needed(tmp_path):
    """Arrow takes it where it is installed, so that here its import fails as where it is not."""
    (tmp_path / "pandas.py").write_text("raise ImportError('not installed')")
    (tmp_path / "x.csv").write_text("t,x,g\n2000-01-01, 1,a\n2000-01-02, NA,b\n")
    script = (
        "import sys\nsys.path.insert(0, sys.argv[1])\nfrom gd_lightning.tables import read_columns\n"
        "print(read_columns(sys.argv[1] + '/x.csv', ['t', 'x'], 'g').rows, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, timeout=120)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [b"2", b"False"], b"")


def refused_or_read(path, names):
    try:
        table = read_columns(str(path), names, names[-1])
    except InputError as refusal:
        said = str(refusal)
        table = None
    if table is None:
        assert len(said.splitlines()) == 1
        return None
    assert all(torch.isfinite(values).all() for values in table.numbers.values())
    assert {len(values) for values in table.numbers.values()} == {table.rows - table.dropped} == {len(table.group)}
    return table


fuzz = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz
@given(
    start=st.sampled_from([b"", b"x,y\n", b"x,y\n1,2\n", b"PAR1", b"\x1f\x8b", b"\xef\xbb\xbfx\n"]), rest=st.binary()
)
def test_rubbish_is_refused_in_one_line(tmp_path, start, rest):
    (tmp_path / "rubbish").write_bytes(start + rest)
    refused_or_read(tmp_path / "rubbish", ["x"])


@fuzz
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_damaged_parquet_is_refused_in_one_line(tmp_path, position, damage):
    pq.write_table(pa.table({"x": [1, 2, 3], "y": ["a", "b", None]}), tmp_path / "x.parquet")
    content = bytearray((tmp_path / "x.parquet").read_bytes())
    position %= len(content)
    content[position : position + len(damage)] = damage
    (tmp_path / "x.parquet").write_bytes(content)
    refused_or_read(tmp_path / "x.parquet", ["x"])


def test_a_number_that_was_changed_in_parquet_is_found_where_pages_have_checksums(tmp_path):
    path = tmp_path / "x.parquet"
    options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(pa.table({"x": [1.0, 2.0, 3.0]}), path, **options)
    content = path.read_bytes()
    path.write_bytes(content.replace(np.float64(2.0).tobytes(), np.float64(2.5).tobytes(), 1))
    assert path.read_bytes() != content
    with pytest.raises(InputError, match=r"x.parquet: cannot be read as Parquet: .*checksum"):
        read_columns(str(path), ["x"])


cell = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=5),
    st.floats().map(str),
    st.datetimes().map(dt.datetime.isoformat),
    st.sampled_from(["", "NA", '"', "1", "two\nlines"]),
)


@fuzz
@given(st.lists(st.lists(cell, min_size=2, max_size=2), max_size=8), st.sampled_from(",\t;"))
def test_any_text_is_refused_in_one_line_or_read_as_python_reads_it(tmp_path, rows, delimiter):
    path = tmp_path / "any.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows([["x", "y"], *rows])
    table = refused_or_read(path, ["x"])
    if table is not None:
        assert table.rows == len(rows)
        cells = (x.strip() for x, _ in rows)
        present = [x for x in cells if x not in MISSING and x.lower() not in ("na", "nan")]
        if table.labels["x"] == "x":
            assert lists(table)["x"] == [float(x.replace(",", ".")) for x in present]
