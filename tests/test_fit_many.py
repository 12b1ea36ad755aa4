"""`gd-lightning fit_many` as a user meets it: real files, real processes, real kills."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, forked, gd_lightning, started
from rich.console import Console
from test_many import NAMES, PEAK, START, peaks

from gd_lightning import fit
from gd_lightning.many_progress import SeriesProgress, duration
from gd_lightning.parquet_parts import Parts

COUNT = 400
COLUMNS = ["series", *NAMES, *(f"{name}_error" for name in NAMES), "rmse", "status", "steps", "message"]
OPTIONS = ("--model.function", PEAK, "--model.init", json.dumps(START), "--data.series", "series", "--data.y", "y")


def long(folder, count=COUNT, spoil=lambda y: None, name="long.parquet", row_group_size=1700):
    t, y, _ = peaks(count)
    spoil(y)
    table = pa.table({"series": np.repeat(np.arange(count), 50), "t": np.tile(t, count), "y": y.ravel()})
    pq.write_table(table, folder / name, row_group_size=row_group_size)
    return t, y


def command(*more, path="long.parquet", t="t"):
    return ("fit_many", "--data.path", path, *OPTIONS, *(("--data.t", t) if t else ()), *more)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    t, y = long(folder)
    done = forked(*command("--data.chunk_series", "90"), cwd=folder)
    assert (done.code, done.err) == (0, "")
    return folder, t, y, done.out


def test_a_row_for_each_series(fitted):
    folder, t, y, _ = fitted
    table = pq.read_table(folder / "fits.parquet")
    assert table.column_names == COLUMNS
    assert table["series"].to_pylist() == list(range(COUNT))
    expected = fit(PEAK, t, y, init=START)
    for name in NAMES:
        np.testing.assert_allclose(table[name].to_numpy(), expected.parameters[name], rtol=1e-8)
        np.testing.assert_allclose(table[f"{name}_error"].to_numpy(), expected.standard_errors[name], rtol=1e-8)
    np.testing.assert_allclose(table["rmse"].to_numpy(), expected.rmse, rtol=1e-10)
    assert set(table["status"].to_pylist()) == {"converged"}
    assert json.loads(table.schema.metadata[b"gd_lightning"])["model"]["function"] == PEAK
    assert sorted(path.name for path in folder.iterdir()) == ["fits.parquet", "fits.png", "long.parquet"]


def test_it_says_what_came_out(fitted):
    folder, _, _, out = fitted
    rmse = pq.read_table(folder / "fits.parquet")["rmse"].to_numpy()
    assert f"y = {PEAK}, fitted to 400 series" in out
    assert re.search(r"converged +400 +100.00%", out)
    assert f"RMSE: {rmse.min():.6g} at best, {np.median(rmse):.6g} in the middle, {rmse.max():.6g} at worst" in out
    assert "Results: fits.parquet" in out
    assert "Worst, median and best: fits.png" in out
    assert (folder / "fits.png").read_bytes().startswith(b"\x89PNG")


class Hundreds:
    """Files of a thousand series, a hundred in each chunk."""

    series = 1_000

    def count(self, *chunks):
        return 100 * len(chunks)


class Main:
    """The Trainer of the first process."""

    is_global_zero = True


def test_the_time_left_is_told_without_the_first_chunk(tmp_path, monkeypatch, capsys):
    """Which may have waited for a compiler: here a minute, and each other chunk ten seconds."""

    times = iter([0, 60, *range(70, 150, 10)])
    monkeypatch.setattr("gd_lightning.many_progress.time.monotonic", lambda: next(times))
    parts = Parts(tmp_path / "fits.parquet", {})
    parts.open()
    progress = SeriesProgress(parts, Hundreds())
    progress.on_predict_start(Main(), None)
    for chunk in range(8):
        (parts.folder / f"part-{chunk:08d}.parquet").touch()
        progress.look()
    assert capsys.readouterr().err.splitlines() == [
        "400 of 1,000 series, 10 series/s, 1 min 0 s left",
        "700 of 1,000 series, 10 series/s, 30 s left",
    ]
    progress.look()  # nothing new, and no time left to tell of
    parts.remove()


def test_a_bar_on_a_terminal(tmp_path, monkeypatch):
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=100)
    monkeypatch.setattr("gd_lightning.many_progress.Console", lambda stderr: terminal)
    parts = Parts(tmp_path / "fits.parquet", {})
    parts.open()
    progress = SeriesProgress(parts, Hundreds())
    progress.on_predict_start(Main(), None)
    for chunk in range(4):
        (parts.folder / f"part-{chunk:08d}.parquet").touch()
        progress.on_predict_batch_end(Main(), None)
    progress.on_exception(Main(), None, KeyboardInterrupt())
    assert shown.getvalue().rindex("400 of 1,000 series") > shown.getvalue().index("0 of 1,000 series")
    assert "series/s" in shown.getvalue()
    assert progress.fitted == 400
    parts.remove()


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (10, "10 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7_325, "2 h 2 min")],
)
def test_a_time_in_words(seconds, told):
    assert duration(seconds) == told


def test_what_is_there_is_not_overwritten(fitted):
    folder, _, _, _ = fitted
    before = (folder / "fits.parquet").read_bytes()
    done = forked(*command("--data.chunk_series", "90"), cwd=folder)
    assert done.code == 2
    assert done.err == (
        "gd-lightning: error: output: fits.parquet exists; give another name, or --overwrite to replace it\n"
    )
    assert (folder / "fits.parquet").read_bytes() == before


def test_a_wide_table_in_several_files_with_lists(tmp_path):
    t, y, _ = peaks(100)
    (tmp_path / "data").mkdir()
    for i in range(2):
        rows = slice(50 * i, 50 * i + 50)
        table = pa.table({"series": [f"pixel {k:03}" for k in range(100)[rows]], "y": list(y[rows])})
        pq.write_table(table, tmp_path / "data" / f"{i}.parquet")
    times = json.dumps(t.tolist())
    done = forked(*command("--output", "wide.parquet", path="data", t=times), cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    table = pq.read_table(tmp_path / "wide.parquet")
    assert table["series"].to_pylist()[-1] == "pixel 099"
    expected = fit(PEAK, t, y, init=START)
    np.testing.assert_allclose(table["center"].to_numpy(), expected.parameters["center"], rtol=1e-8)


def test_series_that_cannot_be_fitted_are_counted_with_their_reasons(tmp_path):
    def spoil(y):
        y[3], y[7, 4], y[9] = np.nan, np.inf, np.nan

    long(tmp_path, 100, spoil)
    done = forked(*command("--model.start", "data", "--model.init", "null"), cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    table = pq.read_table(tmp_path / "fits.parquet").to_pylist()
    assert [row["series"] for row in table if row["status"] == "unusable"] == [3, 7, 9]
    assert np.isnan(table[3]["center"])
    assert table[7]["message"] == "y at point 5 is not a finite number; give it sigma=inf"
    assert sum(row["status"] == "converged" for row in table) == 97
    assert re.search(r"unusable +3 +3.00%", done.out)
    assert "not fitted: 2 series, y at point 1 is not a finite number" in done.out


def test_in_single_precision(fitted, tmp_path):
    folder, *_ = fitted
    expected = pq.read_table(folder / "fits.parquet")
    more = ("--trainer.precision", "32-true", "--output", str(tmp_path / "fits.parquet"))
    assert forked(*command(*more), cwd=folder).code == 0
    table = pq.read_table(tmp_path / "fits.parquet")
    assert table.schema.field("center").type == pa.float32()
    np.testing.assert_allclose(table["center"].to_numpy(), expected["center"].to_numpy(), rtol=1e-4)
    errors = expected["offset_error"].to_numpy()
    assert (abs(table["offset"].to_numpy() - expected["offset"].to_numpy()) < 1e-3 * errors + 1e-4).all()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--data.path", "none.parquet"), "none.parquet"),
        (("--data.y", "z"), "'z'"),
        (("--model.init", '{"amplitud": 1}'), "did you mean 'amplitude'"),
        (
            ("--model.function", "a*t + rmse", "--model.init", "null"),
            "its parameter 'rmse' is a column of the output, too; rename it",
        ),
        (("--model.function", "series*t + a", "--model.init", "null"), "data.series: 'series' is a parameter, too"),
        (("--output", "nowhere/fits.parquet"), "there is no folder 'nowhere'"),
        (("--trainer.precision", "16-mixed"), "expected 64-true or 32-true"),
        (("--model.compile", "perhaps"), "expected one of auto, true, false"),
        (("--model.max_steps", "0"), "expected at least 1"),
        (("--model.absolute_sigma", "true"), "there is no sigma"),
        (("--data.chunk_series", "0"), "expected a whole number of at least 1"),
        (("--model.lr", "1"), "--model.lr"),
    ],
    ids=[
        "file",
        "column",
        "init",
        "taken",
        "series",
        "folder",
        "precision",
        "compile",
        "steps",
        "sigma",
        "chunk",
        "lr",
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(fitted, tmp_path, more, expected):
    folder, *_ = fitted
    os.link(folder / "long.parquet", tmp_path / "long.parquet")
    done = forked(*command(*more), cwd=tmp_path)
    assert done.code == 2, done.err
    assert expected in done.err
    assert done.err.startswith("gd-lightning: error: ")
    assert done.err.count("\n") == 1
    assert os.listdir(tmp_path) == ["long.parquet"]


def test_a_damaged_row_group_leaves_no_output_and_the_parts_before_it(tmp_path):
    long(tmp_path)
    path = tmp_path / "long.parquet"
    table = pq.read_table(path)
    pq.write_table(table, path, row_group_size=1700, write_page_checksum=True)
    group = pq.ParquetFile(path).metadata.row_group(6)
    content = bytearray(path.read_bytes())
    content[group.column(2).data_page_offset + 200] ^= 0xFF
    path.write_bytes(content)
    done = forked(*command("--data.chunk_series", "34"), cwd=tmp_path)
    assert done.code == 2
    assert "row group" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "fits.parquet").exists()
    assert (tmp_path / "fits.parquet.parts" / "part-00000000.parquet").exists()


# Stop and go on


def wait_for_parts(folder, count, running):
    parts = folder / "fits.parquet.parts"
    while running.process.is_alive() and not (parts.is_dir() and len(list(parts.glob("part-*"))) >= count):
        time.sleep(0.002)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_interrupted_and_started_again_it_ends_as_if_undisturbed(tmp_path, how):
    long(tmp_path, 1000)
    whole = forked(*command("--data.chunk_series", "20", "--output", "whole.parquet"), cwd=tmp_path)
    assert whole.code == 0
    with started(*command("--data.chunk_series", "20"), cwd=tmp_path) as running:
        wait_for_parts(tmp_path, 5, running)
        running.send(how)
        said = running.finished(60)
    assert said.code == {signal.SIGTERM: 143, signal.SIGINT: 130}[how]
    assert "of 1,000 series; to go on, type the same command again" in said.err
    assert not (tmp_path / "fits.parquet").exists()
    again = forked(*command("--data.chunk_series", "20"), cwd=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert "Going on: " in again.out
    assert pq.read_table(tmp_path / "fits.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))


def test_ctrl_c_is_heeded_even_where_python_drops_it(tmp_path):
    """As in a `__del__`: whoever types it when an object of Arrow's is deleted means it all the same."""
    long(tmp_path, 200)
    code = (
        "import signal, sys; from gd_lightning import fit_series; from gd_lightning.__main__ import main\n"
        "class Dropping:\n    def __del__(self): signal.raise_signal(signal.SIGINT)\n"
        "write = fit_series.FitsWriter.write_on_batch_end\n"
        "def then_drop(*args): write(*args); Dropping()\n"
        "fit_series.FitsWriter.write_on_batch_end = then_drop; sys.exit(main())"
    )
    typed = [sys.executable, "-c", code, *command("--data.chunk_series", "20")]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(typed, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 130, done.stderr
    assert "interrupted after 20 of 200 series; to go on, type the same command again" in done.stderr


def test_killed_at_any_moment(tmp_path):
    """Again and again, a little later each time, until a run comes to its end by itself."""
    long(tmp_path, 600)
    assert forked(*command("--data.chunk_series", "20", "--output", "whole.parquet"), cwd=tmp_path).code == 0
    for _ in range(3):
        parts = tmp_path / "fits.parquet.parts"
        before = len(list(parts.glob("part-*"))) if parts.is_dir() else 0
        with started(*command("--data.chunk_series", "20"), cwd=tmp_path) as running:  # which kills it at its end
            wait_for_parts(tmp_path, before + 7, running)
    assert forked(*command("--data.chunk_series", "20"), cwd=tmp_path).code == 0
    assert pq.read_table(tmp_path / "fits.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))
    assert not parts.exists()


def test_an_end_after_the_output_was_made_and_before_its_parts_were_removed(fitted, tmp_path):
    folder, *_ = fitted
    for name in ("long.parquet", "fits.parquet"):
        os.link(folder / name, tmp_path / name)
    (tmp_path / "fits.parquet.parts").mkdir()
    run = pq.read_schema(tmp_path / "fits.parquet").metadata[b"gd_lightning"]
    (tmp_path / "fits.parquet.parts" / "run.json").write_bytes(run)
    done = forked(*command("--data.chunk_series", "90"), cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "Going on: 400 of 400 series are fitted already." in done.out
    assert sorted(os.listdir(tmp_path)) == ["fits.parquet", "fits.png", "long.parquet"]
    assert (tmp_path / "fits.parquet").samefile(folder / "fits.parquet")


def test_another_run_cannot_go_on_with_the_parts(tmp_path):
    long(tmp_path, 1000)
    with started(*command("--data.chunk_series", "20"), cwd=tmp_path) as running:
        wait_for_parts(tmp_path, 2, running)
    done = forked(*command("--data.chunk_series", "30"), cwd=tmp_path)
    assert done.code == 2
    assert "holds parts of another run, which differs in chunks; give another output, or --overwrite" in done.err
    done = forked(*command("--data.chunk_series", "30", "--overwrite"), cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert pq.read_table(tmp_path / "fits.parquet").num_rows == 1000


# More processes


def test_two_processes_write_the_rows_of_one(fitted, tmp_path):
    folder, *_ = fitted
    os.link(folder / "long.parquet", tmp_path / "long.parquet")
    done = gd_lightning(
        *command("--data.chunk_series", "90", "--trainer.strategy", "ddp", "--trainer.devices", "2"),
        *("--trainer.accelerator", "cpu"),
        cwd=tmp_path,
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.count("Results: fits.parquet") == 1
    table, expected = (pq.read_table(one / "fits.parquet") for one in (tmp_path, folder))
    assert table["series"].to_pylist() == list(range(COUNT))
    assert table.equals(expected)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 8, 20])
def test_shards_are_disjoint_and_complete(size, count):
    """As Lightning's predict loop deals chunks out."""
    from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
    from torch.utils.data import SequentialSampler

    from gd_lightning.series_table import Chunks

    data = Chunks(None, range(count), size)
    ranks = [
        list(UnrepeatedDistributedSampler(SequentialSampler(data), num_replicas=size, rank=rank, shuffle=False))
        for rank in range(size)
    ]
    assert sorted(i for rank in ranks for i in rank if i < count) == list(range(count))
    assert all(data[i] is None for rank in ranks for i in rank if i >= count)


def test_the_example_and_its_configuration(tmp_path):
    config = (ROOT / "configs" / "million_series.yaml").read_text()
    assert config.splitlines()[0] == "# gd-lightning fit_many --config configs/million_series.yaml"
    (tmp_path / "million_series.yaml").write_text(config)
    script = [sys.executable, str(ROOT / "examples" / "million_series.py"), "--series", "3000"]
    assert subprocess.run(script, cwd=tmp_path, capture_output=True).returncode == 0
    done = forked("fit_many", "--config", "million_series.yaml", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    table = pq.read_table(tmp_path / "fits.parquet")
    assert table.num_rows == 3000
    status = table["status"].to_pylist()
    assert status.count("converged") > 2990
    assert 0.045 < np.nanmean(table["rmse"].to_numpy() * (20 / 16) ** 0.5) < 0.055
