"""What a command computes is kept, whatever becomes of those who read what it says."""

import io
import os
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import PROCESSES, ROOT
from test_crash_safety import QUIET

from gd_lightning.__main__ import main
from gd_lightning.streams import Stream, steady

SWEEP = ["sweep", "--lrs=1e-6,1e-5"]
COMPARE = ["compare", "--functions=linear,quadratic"]
FIT = ["fit", "--trainer.max_epochs=5", *QUIET]


class Full(io.StringIO):
    """A stream without room."""

    def flush(self):
        raise OSError(28, "No space left on device")


def test_a_stream_that_fails_raises_nothing_and_tells_why():
    stream = Stream(Full())
    stream.write("a")
    stream.flush()
    stream.write("b")
    assert stream.failed.strerror == "No space left on device"
    assert stream.getvalue() == "a"


def test_a_reader_that_has_seen_enough_is_no_failure():
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        stream = Stream(pipe)
        stream.write("a")
        stream.flush()
        stream.write("b")
        assert stream.failed is None


def test_letters_that_an_encoding_lacks_are_written_out():
    kept = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream = Stream(kept)
    stream.write("1 ± 2")
    stream.flush()
    assert kept.buffer.getvalue() == rb"1 \xb1 2"


def test_both_streams_are_put_back(monkeypatch):
    before = sys.stdout, sys.stderr
    with steady() as output:
        assert sys.stdout is output
    assert (sys.stdout, sys.stderr) == before
    monkeypatch.setattr(sys, "stdout", None)  # closed by who has started the command
    with steady() as output:
        assert output is None


def _onto(args, cwd, output, errors, encoding):
    os.environ.update(COLUMNS="120", CUDA_VISIBLE_DEVICES="")
    os.chdir(cwd)
    os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY), 2)
    if output == "closed":
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, 1)
    else:
        os.dup2(os.open(output, os.O_CREAT | os.O_WRONLY), 1)
    sys.stdout, sys.stderr = open(1, "w", encoding=encoding), open(2, "w", buffering=1)  # noqa: SIM115
    sys.exit(main(args))


def told(args, cwd, output, encoding="utf-8"):
    """The exit code of a command and the lines of its errors, where its standard output is such."""
    errors = cwd / "errors"
    process = PROCESSES.Process(target=_onto, args=(args, str(cwd), str(output), str(errors), encoding))
    process.start()
    process.join(120)
    lines = errors.read_text().splitlines()
    errors.unlink()
    return process.exitcode, lines


WRITTEN = {"fit": "result.json", "sweep": "sweep.json", "compare": "comparison.json"}


@pytest.mark.parametrize("args", [FIT, SWEEP, COMPARE], ids=WRITTEN)
def test_a_command_whose_reader_has_gone_leaves_all_that_it_would(tmp_path, args):
    assert told(args, tmp_path, "closed") == (0, [])
    assert (tmp_path / "lightning_logs/version_0" / WRITTEN[args[0]]).is_file()


full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device here is always full")


@full
@pytest.mark.parametrize("args", [FIT, SWEEP, COMPARE], ids=WRITTEN)
def test_a_full_disk_for_what_is_said_loses_nothing_of_what_is_written(tmp_path, args):
    assert told(args, tmp_path, "/dev/full") == (2, ["gd-lightning: error: standard output: No space left on device"])
    assert (tmp_path / "lightning_logs/version_0" / WRITTEN[args[0]]).is_file()


@pytest.fixture
def run(tmp_path, article_run):
    shutil.copytree(article_run.folder / "lightning_logs", tmp_path / "lightning_logs")
    return tmp_path


SAYING = ["--version", "--help", "fit --help", "functions", "report", "report --help", "export last --to=formula"]


@full
@pytest.mark.parametrize("args", SAYING)
def test_a_command_that_cannot_say_what_it_is_for_fails_in_one_line(run, args):
    assert told(args.split(), run, "/dev/full") == (
        2,
        ["gd-lightning: error: standard output: No space left on device"],
    )


@pytest.mark.parametrize("args", SAYING)
def test_a_command_that_is_read_in_part_ends_well(run, args):
    assert told(args.split(), run, "closed") == (0, [])


@pytest.mark.parametrize("args", [["report"], FIT, COMPARE], ids=["report", "fit", "compare"])
def test_a_terminal_without_a_plus_minus(run, args):
    assert told(args, run, run / "said", encoding="ascii") == (0, [])
    said = (run / "said").read_bytes()
    assert said.isascii()
    assert b"RMSE" in said
    assert b"\\u2" not in said  # lines of tables have letters of their own for this


def test_a_fresh_process_has_no_more_to_say_at_its_end(tmp_path):
    """Python writes what is left in its buffers where it ends, and fails once more if nobody takes it."""
    command = f"{sys.executable} -m gd_lightning functions | true; exit ${{PIPESTATUS[0]}}"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_lets_an_export_clean_up(run, number, monkeypatch, capfd):
    monkeypatch.chdir(run)
    monkeypatch.setattr("os.fsync", lambda file: signal.raise_signal(number))
    heard = signal.getsignal(signal.SIGTERM)
    assert main(["export", "last", "--to=program"]) == 128 + number
    assert capfd.readouterr() == ("", "gd-lightning: interrupted\n")
    assert signal.getsignal(signal.SIGTERM) is heard
    assert [path for path in run.rglob("*") if path.suffix in (".writing", ".pt2")] == []


@pytest.mark.parametrize(
    ("args", "writes"), [(SWEEP, "write_run"), (COMPARE, "write_comparison")], ids=["sweep", "compare"]
)
def test_a_comparison_whose_pictures_do_not_fit_is_told_all_the_same(args, writes, tmp_path, monkeypatch, capfd):
    from gd_lightning import cli

    def full(*args):
        raise OSError(28, "No space left on device")  # as TensorBoard's thread says it, which names no file

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # of what Lightning calls; no user sees them
    monkeypatch.setattr(cli, writes, full)
    assert main(args) == 2
    said = capfd.readouterr()
    where = "the files of TensorBoard in lightning_logs/version_0"
    assert said.err == f"gd-lightning: error: No space left on device: {where}\n"
    assert "RMSE" in said.out
    assert (tmp_path / "lightning_logs/version_0/config.yaml").is_file()
