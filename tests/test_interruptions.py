"""Ctrl-C and SIGTERM at any moment: nothing is lost, nothing half written, and what goes on ends as if undisturbed."""

import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT, forked, started
from test_crash_safety import LAST, MINIBATCH, QUIET, outcome, points, same

from gd_lightning.runs import newest

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
SIGNALS = pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
LONG = ["--trainer.max_steps=4000", "--model.steps_per_epoch=1500", "--stopping.off=true"]
SHORT = [*MINIBATCH, "--model.init={a: 1, b: 0}", "--trainer.max_epochs=40"]
RUNS = {
    "Momentum, in an epoch of 1500 steps": [*LONG, "--model.optimizer=Momentum", "--model.lr=1e-6"],
    "Adam, in an epoch of 1500 steps": [*LONG, "--model.optimizer=Adam", "--model.lr=0.01"],
    "Momentum, in an epoch of minibatches": [*SHORT, "--model.optimizer=Momentum", "--model.lr=1e-3"],
    "Adam, in an epoch of minibatches": [*SHORT, "--model.optimizer=Adam", "--model.lr=1e-2"],
}


def wait_until(happened, code, timeout=120):
    """Wait until something has happened, or the process has an exit code."""
    end = time.monotonic() + timeout
    while not happened() and code() is None:
        assert time.monotonic() < end, f"it did not happen within {timeout} s"
        time.sleep(0.002)


def half_written(folder):
    return [path for path in folder.rglob("*") if path.suffix == ".writing"]


def interrupted_again_and_again(folder, args, drawn, numbers):
    """Interrupt a fit, and what goes on with it, each at a moment while it takes steps; then let it end.

    Returns:
        After how many steps each interruption came.
    """
    steps = []
    for number in numbers:
        run = f"lightning_logs/version_{len(list(folder.glob('lightning_logs/version_*')))}"
        with started(*args, "--ckpt_path=last", cwd=folder) as running:
            wait_until((folder / run / "config.yaml").exists, lambda: running.process.exitcode)
            running.process.join(drawn.uniform(0.05, 0.5))
            if running.process.exitcode is not None:  # it was faster
                break
            os.kill(running.process.pid, number)
            done = running.finished()
        if done.code == 0:
            break
        assert done.code == CODES[number], done.err
        assert half_written(folder) == []
        if done.err == "gd-lightning: interrupted\n":  # it came before the first step
            continue
        line = r"gd-lightning: interrupted after (\d+) steps, which are saved; to go on, type: gd-lightning fit (.+)\n"
        found = re.fullmatch(line, done.err)
        if not found and steps:  # it came before a step of this run's own
            other = re.fullmatch(r"gd-lightning: interrupted after (\d+) steps; .* --ckpt_path (.+)\n", done.err)
            assert other, done.err
            before = torch.load(folder / other[2], weights_only=True)["global_step"]
            assert before == int(other[1]) == steps[-1]
            continue
        assert found, done.err
        assert found[2] == f"--ckpt_path {run}/checkpoints/last.ckpt"
        saved = torch.load(folder / run / "checkpoints/last.ckpt", weights_only=True)["global_step"]
        assert saved == int(found[1])
        if (folder / run / "result.json").exists():  # not where all steps were taken
            result = json.loads((folder / run / "result.json").read_text())
            assert (result["steps"], len(result["rmse_history"]), result["status"]) == (saved, saved, "stopped")
        steps.append(saved)
    done = forked(*args, "--ckpt_path=last", cwd=folder)
    assert (done.code, done.err) == (0, "")
    return steps


def undisturbed_and_interrupted(tmp_path, name, numbers, seed):
    alone, disturbed = tmp_path / "alone", tmp_path / "disturbed"
    for folder in (alone, disturbed):
        folder.mkdir()
        points(folder)
    args = ["fit", *RUNS[name], *QUIET]
    assert forked(*args, cwd=alone).code == 0
    steps = interrupted_again_and_again(disturbed, args, random.Random(seed), numbers)
    for mine, its in zip(outcome(disturbed), outcome(alone), strict=True):
        assert same(mine, its)
    return steps


@pytest.mark.parametrize("name", ["Momentum, in an epoch of 1500 steps", "Adam, in an epoch of minibatches"])
def test_an_interrupted_fit_ends_as_an_undisturbed_one(tmp_path, name):
    assert undisturbed_and_interrupted(tmp_path, name, list(CODES), seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_interrupted_again_and_again(tmp_path, name):
    """Most of them in the middle of an epoch."""
    steps = []
    for seed in range(4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        steps += undisturbed_and_interrupted(folder, name, list(CODES) * 2, seed)
    assert any(step % (1500 if "1500" in name else 6) for step in steps)
    assert len(steps) > 4


@SIGNALS
def test_during_the_imports(tmp_path, number):
    process = subprocess.Popen(
        [sys.executable, "-m", "gd_lightning", "fit"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    maps = Path(f"/proc/{process.pid}/maps")
    if not maps.exists():
        process.kill()
        process.communicate()
        pytest.skip("nothing tells here how far the imports are")
    wait_until(lambda: "libtorch" in maps.read_text(), process.poll)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (CODES[number], "", "gd-lightning: interrupted\n")
    assert os.listdir(tmp_path) == []


@SIGNALS
def test_when_all_steps_are_taken_and_pictures_drawn(tmp_path, article_run, number):
    version_0 = tmp_path / "lightning_logs/version_0"
    with started("fit", "--config", ROOT / "configs/quadratic.yaml", cwd=tmp_path) as running:
        wait_until((version_0 / "prediction.png").exists, lambda: running.process.exitcode)
        os.kill(running.process.pid, number)
        done = running.finished()
    assert done.code == CODES[number], done.err
    go_on = f"gd-lightning fit --ckpt_path {LAST}"
    assert done.err == f"gd-lightning: interrupted after 10 steps, which are saved; to go on, type: {go_on}\n"
    assert half_written(tmp_path) == []
    assert not (version_0 / "result.json").exists()
    done = forked("fit", "--ckpt_path", LAST, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    results = [tmp_path / "lightning_logs/version_1/result.json", article_run.version_0 / "result.json"]
    assert json.loads(results[0].read_text()) == json.loads(results[1].read_text())


SLOW = """
import time
from pathlib import Path

calls = 0


def line(t, a, b):
    global calls
    calls += 1
    if calls > 40:
        Path("deep").touch()
        time.sleep(600)
    return a * t + b
"""


def test_a_second_ctrl_c_does_not_wait_for_the_step(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    with started("fit", "--model.function=slow.line", "--trainer.max_epochs=1000", *QUIET, cwd=tmp_path) as running:
        wait_until((tmp_path / "deep").exists, lambda: running.process.exitcode)
        while running.process.exitcode is None:
            os.kill(running.process.pid, signal.SIGINT)
            running.process.join(0.3)
        done = running.finished()
    assert done.code == 130, done.err
    assert re.fullmatch(r"gd-lightning: interrupted after \d+ steps, .*; to go on, type: .*\n", done.err)
    assert half_written(tmp_path) == []


def test_killed_between_its_last_step_and_its_result(tmp_path):
    """What goes on has no step left, and looks at the end as the run would have done."""
    points(tmp_path)
    args = ["fit", *RUNS["Momentum, in an epoch of minibatches"], *QUIET]
    assert forked(*args, cwd=tmp_path).code == 0
    before = outcome(tmp_path)
    (tmp_path / "lightning_logs/version_0/result.json").unlink()
    done = forked(*args, "--ckpt_path=last", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "It has taken all its steps" in done.out
    assert newest(tmp_path, Path.is_dir).name == "version_1"
    for mine, its in zip(outcome(tmp_path), before, strict=True):
        assert same(mine, its)


WRONG = """
import torch


def wrong(t, a, b):
    left = a * t * (1 + b)
    return torch.where(t < 100, a * torch.exp(b * t), 2 * left.detach() - left)
"""
SLOW_SERIES = [("A", t, 2 * t + 1 + (-1) ** t * 0.1) for t in range(8)]
ENDED = {
    "converged": (
        "a*exp(b*t) + c",
        "{a: 1, b: -0.1, c: 0}",
        [5 * math.exp(-t / 3) + (-1) ** t * 0.1 for t in range(8)],
    ),
    "stuck": ("slopes.wrong", "{a: 1, b: 0}", [3 * t for t in range(100, 108)]),
}


@pytest.mark.parametrize("status", ENDED)
def test_killed_likewise_where_one_of_two_series_has_ended(tmp_path, status):
    """Levenberg-Marquardt knows by itself what became of each."""
    function, init, values = ENDED[status]
    (tmp_path / "slopes.py").write_text(WRONG)
    rows = [*SLOW_SERIES, *(("B", t + 100 * (status == "stuck"), y) for t, y in enumerate(values))]
    (tmp_path / "two.csv").write_text("\n".join(["s,t,y", *(",".join(map(str, row)) for row in rows), ""]))
    columns = ["--data.path=two.csv", "--data.t=t", "--data.y=y", "--data.series=s"]
    args = ["fit", "--data=Table", *columns, f"--model.function={function}", f"--model.init={init}"]
    args += ["--trainer.max_steps=8", "--model.optimizer=LevenbergMarquardt", *QUIET]
    assert forked(*args, cwd=tmp_path).code == 0
    before = outcome(tmp_path)
    assert before[0]["status"] == ["step limit", status]
    (tmp_path / "lightning_logs/version_0/result.json").unlink()
    done = forked(*args, "--ckpt_path=last", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    for mine, its in zip(outcome(tmp_path), before, strict=True):
        assert same(mine, its)


def test_a_result_that_cannot_be_written_is_told_all_the_same(tmp_path):
    options = ["--trainer.max_epochs=300", "--trainer.enable_checkpointing=false", *QUIET]
    with started("fit", *options, cwd=tmp_path) as running:
        wait_until((tmp_path / "lightning_logs/version_0/config.yaml").exists, lambda: running.process.exitcode)
        shutil.rmtree(tmp_path / "lightning_logs")
        (tmp_path / "lightning_logs").write_text("in the way")
        done = running.finished()
    assert done.code == 2
    [line] = done.err.splitlines()
    assert line.startswith("gd-lightning: error: ")
    assert "lightning_logs" in line
    assert "RMSE" in done.out
    assert (tmp_path / "lightning_logs").read_text() == "in the way"
