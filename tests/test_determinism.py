"""The same seed on the same machine gives the same bits, whatever ran before and wherever.

With any number of threads, too, where torch does not share an operation between them, which it does beyond 32,768
numbers, points times series: there the last digits may differ from one number of threads to another.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from conftest import ROOT, forked

# What is computed in processes of their own: each number to its last bit.
FITS = """
import json, random, sys
import numpy as np, torch

def numbers(*results):
    found = []
    for result in results:
        values = [*result.parameters.values(), *result.standard_errors.values(), result.rmse]
        found += [np.asarray(value, dtype=np.float64).tobytes().hex() for value in values]
    return found

def everything(count):
    from gd_lightning import compare, fit
    from gd_lightning.sweep import sweep
    generator = np.random.default_rng(0)
    t = np.linspace(0.5, 5.0, count)
    rows = 3 * np.exp(-((t - 2.3) ** 2) / 0.98) + 0.1 * generator.normal(size=(60, count))
    y = rows[0]
    peak = "height*exp(-(t - center)**2/(2*width**2)) + ground"
    found = {
        "article": numbers(fit("quadratic", t, y)),
        "descent": numbers(fit("gaussian", t, y, lr="auto", steps=20, start="data")),
        "momentum": numbers(fit("linear", t, y, lr=1e-3, steps=20, optimizer=torch.optim.AdamW)),
        "guess": numbers(fit("gaussian", t, y)),
    }
    if count < 1000:
        found["robust"] = numbers(fit("gaussian", t, y, loss="huber(0.1)"))
        found["starts"] = numbers(fit(peak, t, y))
        found["several"] = numbers(fit("gaussian", t, rows[:4]))
        found["very many"] = numbers(fit(peak, t, rows))
        found["bootstrap"] = repr(fit("linear", t, y).bootstrap(draws=40, seed=3).samples.tolist())
        ranked = compare(t, y, ["linear", "gaussian", "a*t**2 + c"], by="cv")
        found["compared"] = [(row.function, float(row.score).hex()) for row in ranked.rows]
        found["swept"] = repr(sweep("linear", t, y).to_dict())
    return found
"""
TELL = """
print(json.dumps([everything(60), everything(20_000)]))
"""
# Things that a session may have done before.
BEFORE = """
torch.set_num_threads(int(sys.argv[1]))
torch.randn(1000), np.random.rand(7), random.random()
torch.manual_seed(5), np.random.seed(5), random.seed(5)
from gd_lightning import fit
fit("linear", [1, 2, 3], [1, 2, 4], seed=9)
torch.set_default_dtype(torch.float64)
fit("a*exp(-t/tau)", [1, 2, 3, 4], [3, 2, 1, 1])
torch.set_default_dtype(torch.float32)
"""


def in_a_process_of_its_own(script, *args, **variables):
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def alone():
    """In a process that did nothing else, with one thread."""
    return in_a_process_of_its_own(FITS + TELL, OMP_NUM_THREADS="1", PYTHONHASHSEED="0", TZ="UTC", LC_ALL="C")


@pytest.mark.parametrize("threads", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_same_bits_after_other_things_in_another_place_with_more_threads(alone, threads):
    places = {
        "TZ": "Asia/Kathmandu",
        "OMP_WAIT_POLICY": "PASSIVE",
        "LC_ALL": "C.UTF-8",
        "LANG": "tr_TR.UTF-8",
        "PYTHONHASHSEED": str(threads),
    }
    again = in_a_process_of_its_own(FITS + BEFORE + TELL, threads, OMP_NUM_THREADS=str(threads), **places)
    for now, then in zip(again, alone, strict=True):
        assert list(now) == list(then)
        for name in then:
            assert now[name] == then[name], name


def test_the_same_bits_twice_in_one_process(alone):
    """Here, where the tests before this one have run."""
    here = {}
    exec(FITS, here)
    assert json.loads(json.dumps(here["everything"](60))) == alone[0]


# What a run has saved of its configuration makes it again.

TABLE = ["--data=Table", "--data.path=table.csv", "--data.t=t", "--data.y=y"]
STREAMED = ["--data=StreamedTable", "--data.path=table.parquet", "--data.t=t", "--data.y=y", "--data.batch_points=16"]
slow = pytest.mark.slow
RUNS = {
    "article": ["fit", "--model.lr=2e-5", "--seed_everything=7"],
    "table": ["fit", *TABLE, "--model.function=gaussian", "--data.holdout=0.2", "--data.series=who"],
    "formula": ["fit", *TABLE, "--model.function=h*exp(-(t - c)**2/(2*w**2))", "--model.intervals=bootstrap"],
    "momentum": ["fit", *TABLE, "--model.function=linear", "--model.optimizer=Momentum", "--model.lr=1e-3"],
    "streamed": ["fit", *STREAMED, "--model.function=linear", "--model.optimizer=Momentum", "--model.lr=1e-3"],
    "sweep": ["sweep", *TABLE, "--model.function=linear", "--starts=3", "--model.lr=1e-2"],
    "compare": ["compare", *TABLE, "--functions=linear,gaussian", "--by=cv"],
}
AT_ONCE = ("table", "sweep")
TIMES = {"seconds", "time", "date", "source", "path", "command", "version", "versions"}


def without_times(told):
    if isinstance(told, dict):
        return {key: without_times(value) for key, value in told.items() if key not in TIMES}
    return [without_times(value) for value in told] if isinstance(told, list) else told


@pytest.mark.parametrize("name", [name if name in AT_ONCE else pytest.param(name, marks=slow) for name in RUNS])
def test_the_saved_configuration_makes_the_same_run(tmp_path, name):
    generator = np.random.default_rng(0)
    t = np.tile(np.linspace(0, 5, 40), 2)
    y = 3 * np.exp(-((t - 2.3) ** 2) / 0.98) + 0.1 * generator.normal(size=80)
    rows = zip(t.tolist(), y.tolist(), "a" * 40 + "b" * 40, strict=True)
    (tmp_path / "table.csv").write_text("t,y,who\n" + "".join(f"{t},{y},{who}\n" for t, y, who in rows))
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(tmp_path / "table.csv"), tmp_path / "table.parquet")
    quick = ["--plots.every_n_steps=1000"]
    quick += [] if name == "table" else ["--trainer.max_epochs=3"]
    command, *options = RUNS[name]
    first = forked(command, *options, *quick, cwd=tmp_path)
    assert first.code == 0, first.err
    config = tmp_path / "lightning_logs" / "version_0" / "config.yaml"
    again = forked(command, f"--config={config}", cwd=tmp_path)
    assert again.code == 0, again.err
    folders = [tmp_path / "lightning_logs" / f"version_{i}" for i in range(2)]
    assert (folders[1] / "config.yaml").read_text() == config.read_text()
    names = [sorted(file.name for file in folder.glob("*.json")) for folder in folders]
    assert names[0] == names[1] != []
    for file in names[0]:
        told, again = (json.loads((folder / file).read_text()) for folder in folders)
        assert without_times(told) == without_times(again)
    if command == "fit":
        states = [
            torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for folder in folders
        ]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
