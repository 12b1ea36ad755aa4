"""An output that is written in parts is whole or not there, whenever its writing ends."""

import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from gd_lightning.errors import InputError
from gd_lightning.parquet_parts import Parts

RUN = {"model": {"function": "linear"}, "files": "3 rows"}


def rows(index):
    return pa.table({"series": [2 * index, 2 * index + 1], "a": [0.5, index / 3]})


def written(folder, *indices, run=RUN):
    parts = Parts(folder / "fits.parquet", run)
    parts.open()
    for index in indices:
        parts.write(index, rows(index))
    return parts


def test_parts_become_one_file_in_their_order(tmp_path):
    parts = written(tmp_path, 2, 0, 1)
    assert parts.done() == {0, 1, 2}
    parts.close(3)
    assert pq.read_table(parts.output).to_pydict()["series"] == [0, 1, 2, 3, 4, 5]
    assert os.listdir(tmp_path) == ["fits.parquet"]


def test_what_is_there_is_taken_up_and_leftovers_removed(tmp_path):
    written(tmp_path, 0)
    (tmp_path / "fits.parquet.parts" / "part-00000001.parquet.17.writing").write_bytes(b"half")
    parts = Parts(tmp_path / "fits.parquet", RUN)
    assert parts.open() is False
    assert parts.done() == {0}
    assert sorted(os.listdir(parts.folder)) == ["held", "part-00000000.parquet", "run.json"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_runs_do_not_write_to_one_output(tmp_path, overwrite):
    first = written(tmp_path, 0)
    with pytest.raises(InputError, match=r"another run is at work on .*fits\.parquet; wait for its end,"):
        Parts(first.output, RUN).open(overwrite)
    first.write(1, rows(1))
    first.close(2)
    assert pq.read_table(first.output).num_rows == 4


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_something_else_in_it_is_not_taken_for_parts(tmp_path, overwrite):
    (tmp_path / "fits.parquet.parts").mkdir()
    (tmp_path / "fits.parquet.parts" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"fits\.parquet\.parts, where its parts would be, holds 'mine\.txt'"):
        Parts(tmp_path / "fits.parquet", RUN).open(overwrite)
    assert os.listdir(tmp_path / "fits.parquet.parts") == ["mine.txt"]


def test_what_comes_to_lie_beside_the_parts_stays(tmp_path):
    parts = written(tmp_path, 0)
    (parts.folder / "mine.txt").write_text("mine")
    parts.close(1)
    assert parts.output.exists()
    assert os.listdir(parts.folder) == ["mine.txt"]


def test_an_end_between_the_last_two_steps(tmp_path):
    parts = written(tmp_path, 0)
    pq.write_table(rows(0), parts.output)
    parts.release()
    assert Parts(parts.output, RUN).open() is True


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda folder: written(folder, 0).close(1), "fits.parquet exists; give another name, or --overwrite"),
        (lambda folder: written(folder, 0, run={**RUN, "files": "4 rows"}), "another run, which differs in files;"),
        (lambda folder: (folder / "fits.parquet").mkdir(), "is a folder, expected the name of a Parquet file"),
        (
            lambda folder: (written(folder), (folder / "fits.parquet.parts" / "run.json").write_text("{")),
            "cannot read .*run.json",
        ),
    ],
    ids=["exists", "another", "folder", "damaged"],
)
def test_what_is_in_the_way_is_refused(tmp_path, spoil, expected):
    spoil(tmp_path)
    with pytest.raises(InputError, match=expected):
        Parts(tmp_path / "fits.parquet", RUN).open()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        Parts(tmp_path / "nowhere" / "fits.parquet", RUN).open()


def test_overwriting_begins_anew_and_leaves_the_old_output_until_the_end(tmp_path):
    parts = written(tmp_path, 0, run={**RUN, "files": "4 rows"})
    pq.write_table(rows(5), parts.output)
    parts.release()
    parts = Parts(parts.output, RUN)
    assert parts.open(overwrite=True) is False
    assert parts.done() == set()
    assert pq.read_table(parts.output).equals(rows(5))
    parts.write(0, rows(0))
    parts.close(1)
    assert pq.read_table(parts.output).equals(rows(0))


def test_a_missing_or_damaged_part(tmp_path):
    parts = written(tmp_path, 0, 2)
    with pytest.raises(InputError, match="part 1 of 3 is not in"):
        parts.close(3)
    parts.write(1, rows(1))
    path = parts.folder / "part-00000001.parquet"
    content = bytearray(path.read_bytes())
    content[20] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*part-00000001\.parquet .*remove it"):
        parts.close(3)
    assert not parts.output.exists()


WITHIN = """
import resource, sys
import pyarrow as pa
from gd_lightning.parquet_parts import Parts
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
parts = Parts(sys.argv[1], {})
parts.open()
parts.write(0, pa.table({"a": list(range(1000))}))
try:
    parts.write(1, pa.table({"a": [hash(str(i)) for i in range(200_000)]}))
except OSError as error:
    print(error.strerror)
print(sorted(path.name for path in parts.folder.iterdir()))
"""


def test_a_disk_that_is_full(tmp_path):
    command = [sys.executable, "-c", WITHIN, str(tmp_path / "fits.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stdout.splitlines() == ["File too large", "['held', 'part-00000000.parquet', 'run.json']"], done.stderr
