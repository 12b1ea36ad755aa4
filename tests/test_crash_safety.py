"""What is computed stays: kills at any moment, damaged files, full disks, several runs at once, clocks that jump."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT, forked, started

from gd_lightning import checkpoints
from gd_lightning.errors import InputError
from gd_lightning.files import hold, write_whole
from gd_lightning.runs import checkpoint_in, newest, run_number

LAST = "lightning_logs/version_0/checkpoints/last.ckpt"
QUIET = ["--trainer.log_every_n_steps=100000", "--plots.every_n_steps=100000", "--plots.landscape=false"]
STREAMED = ["--data=gd_lightning.StreamedTable", "--data.path=points.parquet", "--data.t=t", "--data.y=y"]
MINIBATCH = [*STREAMED, "--data.batch_points=50", "--data.order=random", "--model.function=linear"]
RUNS = {
    "full batch, Momentum": ["--model.optimizer=Momentum", "--model.lr=1e-6", "--trainer.max_epochs=300"],
    "full batch, Adam": ["--model.optimizer=Adam", "--model.lr=0.01", "--trainer.max_epochs=300"],
    "minibatches, Momentum": [
        *MINIBATCH,
        *("--model.optimizer=Momentum", "--model.lr=1e-3", "--model.init={a: 1, b: 0}", "--trainer.max_epochs=60"),
    ],
    "minibatches, Adam": [
        *MINIBATCH,
        *("--model.optimizer=Adam", "--model.lr=1e-2", "--model.init={a: 1, b: 0}", "--trainer.max_epochs=60"),
    ],
}


def points(folder):
    rng = np.random.default_rng(8)
    t = rng.uniform(0, 5, 230)
    table = pa.table({"t": t, "y": 2 * t + 1 + rng.normal(0, 0.1, 230)})
    pq.write_table(table, folder / "points.parquet", row_group_size=60)


def outcome(folder):
    """All that a run has computed: its result, and the tensors of its last checkpoint."""
    run = newest(folder, lambda run: (run / "result.json").is_file())
    content = json.loads((run / "result.json").read_text())
    kept = checkpoints.load(checkpoint_in(run))
    return content, kept["descent"], kept["state_dict"], kept["optimizer_states"]


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def killed_and_resumed(folder, args, rng, kills):
    """Kill the run so many times at random moments, each time going on from what is left; then let it end."""
    alive = 0
    for _ in range(kills):
        with started(*args, "--ckpt_path=last", cwd=folder) as running:
            running.process.join(rng.uniform(0.2, 1.5))
            alive += running.process.exitcode is None
    assert alive > 0
    for file in folder.glob("lightning_logs/version_*/*.json"):  # of runs that were faster than the kill
        json.loads(file.read_text())
    done = forked(*args, "--ckpt_path=last", cwd=folder)
    assert done.code == 0, done.err


def undisturbed_and_killed(tmp_path, name, kills):
    args = ["fit", *RUNS[name], *QUIET]
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for folder in (alone, killed):
        folder.mkdir()
        points(folder)
    done = forked(*args, cwd=alone)
    assert (done.code, done.err) == (0, "")
    killed_and_resumed(killed, args, random.Random(name), kills)
    for mine, its in zip(outcome(killed), outcome(alone), strict=True):
        assert same(mine, its)


@pytest.mark.parametrize("name", ["full batch, Momentum", "minibatches, Adam"])
def test_a_run_that_is_killed_ends_as_an_undisturbed_one(tmp_path, name):
    undisturbed_and_killed(tmp_path, name, kills=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_fifty_kills(tmp_path, name):
    undisturbed_and_killed(tmp_path, name, kills=50 // len(RUNS) + 1)


# Damage


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Six epochs, of which the checkpoints of two are there."""
    folder = tmp_path_factory.mktemp("run")
    done = forked("fit", "--trainer.max_epochs=6", *QUIET, cwd=folder)
    assert done.code == 0, done.err
    assert sorted(os.listdir(folder / "lightning_logs/version_0/checkpoints")) == ["last.ckpt", "previous.ckpt"]
    return folder


def flipped(content):
    spoilt = bytearray(content)
    spoilt[content.index(b"PK\x03\x04", 100) + 80] ^= 1  # in the data of the archive
    return bytes(spoilt)


DAMAGE = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "flipped": flipped,
    "cut at its end": lambda content: content[:-1],
    "another's": lambda content: b"PK but no checkpoint",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_seen(run, tmp_path, damage):
    content = (run / "lightning_logs/version_0/checkpoints/last.ckpt").read_bytes()
    (tmp_path / "whole.ckpt").write_bytes(content)
    assert checkpoints.load(tmp_path / "whole.ckpt")["global_step"] == 6
    (tmp_path / "last.ckpt").write_bytes(DAMAGE[damage](content))
    with pytest.raises(InputError, match=r"last\.ckpt is no checkpoint of a fit, or a damaged one"):
        checkpoints.load(tmp_path / "last.ckpt")


@pytest.mark.parametrize("damage", ["flipped", "missing"])
@pytest.mark.parametrize("given", ["last", "lightning_logs/version_0", LAST])
def test_the_one_before_is_used_and_ends_the_same(run, article_run, tmp_path, damage, given):
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    last = tmp_path / "lightning_logs/version_0/checkpoints/last.ckpt"
    if damage == "missing":  # the moment between two renames
        last.unlink()
    else:
        last.write_bytes(flipped(last.read_bytes()))
    done = forked("fit", f"--ckpt_path={given}", "--trainer.max_epochs=10", cwd=tmp_path)
    assert done.code == 0, done.err
    if damage == "flipped":
        assert done.err == (
            "gd-lightning: warning: lightning_logs/version_0/checkpoints/last.ckpt is damaged; "
            "lightning_logs/version_0/checkpoints/previous.ckpt is taken, which was written before it\n"
        )
    assert "Going on from lightning_logs/version_0/checkpoints/previous.ckpt after step" in done.out
    result = json.loads((tmp_path / "lightning_logs/version_1/result.json").read_text())
    expected = json.loads((article_run.version_0 / "result.json").read_text())
    assert result["rmse_history"] == expected["rmse_history"]
    assert result["parameters"] == expected["parameters"]


def test_where_no_checkpoint_is_whole_it_says_so(run, tmp_path):
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / "lightning_logs/version_0/checkpoints" / name).write_bytes(b"")
    done = forked("fit", "--ckpt_path=last", cwd=tmp_path)
    assert done.code == 2
    [line] = done.err.splitlines()
    assert "last.ckpt is damaged, and so is previous.ckpt beside it; start afresh" in line


def test_the_newest_run_is_that_of_the_highest_number_whatever_its_time(tmp_path):
    for count, age in ((2, 0), (10, 3600), (9, 60)):
        folder = tmp_path / f"lightning_logs/version_{count}/checkpoints"
        folder.mkdir(parents=True)
        (folder / "last.ckpt").touch()
        os.utime(folder / "last.ckpt", (time.time() - age,) * 2)
    (tmp_path / "lightning_logs/version_²").mkdir()
    assert run_number(newest(tmp_path, lambda run: True)) == 10
    assert checkpoints.find_last(tmp_path).parts[-3] == "version_10"


# Disks and folders


def test_a_full_disk_is_named_and_leaves_what_was_there(tmp_path, monkeypatch):
    """A limit to the size of files stands for the disk: Python hears of both in the same way."""
    import resource

    target = tmp_path / "result.json"
    write_whole(target, "before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"result\.json"):
            write_whole(target, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, heard)
    assert target.read_text() == "before"
    assert os.listdir(tmp_path) == ["result.json"]


def test_a_run_whose_disk_fills_names_the_file_and_can_go_on(tmp_path):
    """The first checkpoints fit, and TensorBoard's files of 31 kB; later checkpoints, which have grown, do not."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000)); "
        "from gd_lightning.__main__ import main; sys.exit(main())"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    args = ["fit", "--trainer.max_epochs=20000", *QUIET, "--plots.film_strip=[]"]
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert "File too large" in line
    assert "lightning_logs/version_0" in line
    assert checkpoints.load(checkpoint_in(tmp_path / "lightning_logs/version_0"))["global_step"] > 0
    assert not list(tmp_path.rglob("*.writing"))


@pytest.mark.parametrize("root", ["/proc/self", "file"])
@pytest.mark.parametrize("command", ["fit", "sweep"])
def test_a_folder_that_takes_no_files_is_refused_before_the_fit(tmp_path, command, root):
    (tmp_path / "file").touch()
    endless = "--trainer.max_epochs=100000000"
    done = forked(command, f"--trainer.default_root_dir={root}", endless, cwd=tmp_path)
    assert done.code == 2
    [line] = done.err.splitlines()
    assert "trainer.default_root_dir: cannot make a folder for the run in" in line
    assert "RMSE" not in done.out


@pytest.mark.parametrize("command", ["sweep --lrs=-1,2", "compare --functions=nothing_of_that_name"])
def test_a_comparison_that_is_refused_leaves_no_folder(tmp_path, command):
    done = forked(*command.split(), cwd=tmp_path)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_vanishes_is_made_again(tmp_path):
    args = ["fit", "--trainer.max_epochs=300", *QUIET]
    with started(*args, cwd=tmp_path) as running:
        end = time.monotonic() + 120
        while checkpoint_in(tmp_path / "lightning_logs/version_0") is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        shutil.rmtree(tmp_path / "lightning_logs", ignore_errors=True)
        said = running.finished()
    assert said.code == 0, said.err
    assert "status  step limit: all 300 steps were taken" in said.out
    run = newest(tmp_path, lambda run: (run / "result.json").is_file())
    assert checkpoints.load(checkpoint_in(run))["global_step"] == 300


def test_runs_that_start_at_once_have_a_folder_each(tmp_path, article_run):
    expected = json.loads((article_run.version_0 / "result.json").read_text())
    with ExitStack() as stack:
        for running in [stack.enter_context(started("fit", cwd=tmp_path)) for _ in range(3)]:
            done = running.finished()
            assert (done.code, done.err) == (0, "")
    for i in range(3):
        folder = tmp_path / f"lightning_logs/version_{i}"
        result = json.loads((folder / "result.json").read_text())
        assert result["rmse_history"] == expected["rmse_history"]
        assert checkpoints.load(checkpoint_in(folder))["global_step"] == 10
        assert (folder / "config.yaml").is_file()


def test_a_run_takes_the_number_after_those_that_are_there(tmp_path):
    for version in (0, 3):
        (tmp_path / f"lightning_logs/version_{version}").mkdir(parents=True)
    done = forked("fit", "--trainer.max_epochs=2", *QUIET, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert sorted(os.listdir(tmp_path / "lightning_logs")) == ["version_0", "version_3", "version_4"]
    assert os.listdir(tmp_path / "lightning_logs/version_0") == []


def test_a_file_is_held_by_one(tmp_path):
    first = hold(tmp_path / "held")
    assert hold(tmp_path / "held") is None
    (tmp_path / "held").unlink()
    first.close()
    assert hold(tmp_path / "held") is not None


CLOCK = """
import random, sys, time
wrong, rng = time.time, random.Random(3)
time.time = lambda: wrong() + rng.uniform(-1e8, 1e8)
from gd_lightning.__main__ import main
sys.exit(main())
"""


def test_a_clock_that_jumps_changes_nothing(tmp_path, article_run):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    for args in (["fit", "--trainer.max_epochs=4"], ["fit", "--ckpt_path=last", "--trainer.max_epochs=10"]):
        command = [sys.executable, "-c", CLOCK, *args, "--trainer.max_time=00:01:00:00"]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((tmp_path / "lightning_logs/version_1/result.json").read_text())
    expected = json.loads((article_run.version_0 / "result.json").read_text())
    assert result["rmse_history"] == expected["rmse_history"]
