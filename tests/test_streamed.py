"""A series that is never all in memory, by one process and by two."""

import json
import math
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import PROCESSES, gd_lightning
from lightning.pytorch import Trainer

from gd_lightning.callbacks import Stopping
from gd_lightning.curve import Curve
from gd_lightning.data import Table
from gd_lightning.descent_in_parts import Condensed, Processes, Share, totals
from gd_lightning.errors import InputError
from gd_lightning.fitting import choose_lr
from gd_lightning.last_checkpoint import LastCheckpoint
from gd_lightning.levenberg_marquardt import LevenbergMarquardt
from gd_lightning.losses import make_loss, mse
from gd_lightning.module import CurveFit
from gd_lightning.optim import SGD, Adam, Momentum
from gd_lightning.points import Points
from gd_lightning.streamed import StreamedTable
from gd_lightning.uncertainty import errors_of, typical_sigma, uncertainty

BELL = "a*exp(-(t-b)**2/(2*c**2)) + d"
START = {"a": 2.0, "b": 4.5, "c": 1.0, "d": 0.0}
GAPS = {7: "y", 400: "t", 1000: "s"}  # rows, and the column that has no value there


def bell(n=1003):
    random = np.random.default_rng(0)
    t = 10 * random.random(n)
    y = 3 * np.exp(-(((t - 4) / 1.5) ** 2) / 2) + 0.5 + 0.1 * random.normal(size=n)
    return pa.table({"t": t, "y": y, "s": 0.05 + 0.1 * random.random(n)})


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """1003 rows in five row groups, of which three lack a value."""
    columns = bell().to_pydict()
    for row, name in GAPS.items():
        columns[name][row] = math.nan if name == "y" else None
    path = tmp_path_factory.mktemp("table") / "bell.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=211)
    return str(path)


def fitted(data, *, epochs, optimizer=None, lr=2e-3, ckpt_path=None, root=None, tolerance=False, **model):
    module = CurveFit(**{"function": BELL, "init": START, "lr": lr, "optimizer": optimizer, **model})
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=root is not None,
        default_root_dir=root,
        enable_progress_bar=False,
        enable_model_summary=False,
        precision="64-true",
        callbacks=[*([LastCheckpoint()] if root else []), *([Stopping()] if tolerance else [])],
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return module.result()


def close(found, expected, rel=1e-12):
    assert found.parameters == pytest.approx(expected.parameters, rel=rel)
    assert found.rmse == pytest.approx(expected.rmse, rel=rel)
    assert found.rmse_history == pytest.approx(expected.rmse_history, rel=rel)


@pytest.mark.parametrize("sigma", [None, "s"])
@pytest.mark.parametrize("loss", ["mse", "huber(0.5)"])
@pytest.mark.parametrize("rule", [Momentum, torch.optim.Adam])
def test_a_step_on_all_points_is_that_of_the_table_in_memory(parquet, rule, loss, sigma):
    lr = 2e-4 if sigma else 2e-3
    whole = fitted(Table(parquet, "t", "y", sigma=sigma), epochs=12, optimizer=rule, lr=lr, loss=loss)
    parts = fitted(StreamedTable(parquet, "t", "y", sigma=sigma), epochs=12, optimizer=rule, lr=lr, loss=loss)
    close(parts, whole)
    assert parts.goodness == pytest.approx(whole.goodness, rel=1e-9)
    if loss == "mse":
        assert parts.standard_errors == pytest.approx(whole.standard_errors, rel=1e-9)
    else:
        assert all(map(math.isnan, parts.standard_errors.values()))
        assert any("Standard errors are not told" in line for line in parts.summary.sentences)


def test_several_files_are_one_series(parquet, tmp_path):
    table = bell()
    pq.write_table(table.slice(0, 500), tmp_path / "a.parquet")
    pq.write_table(table.slice(500), tmp_path / "b.parquet", row_group_size=100)
    pq.write_table(table, tmp_path / "all.parquet")
    several = StreamedTable([str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")], "t", "y")
    close(fitted(several, epochs=5), fitted(Table(str(tmp_path / "all.parquet"), "t", "y"), epochs=5))
    assert several.facts == {"points": 1003, "rows": 1003, "left out": 0, "sample": 1003}


def test_bounds_ties_and_fixed_parameters(parquet):
    demands = {"a": {"max": 2.5}, "c": {"expr": "0.5*a"}, "d": {"fixed": 0.5}}
    model = {"parameters": demands, "init": {"a": 2.0, "b": 4.5}, "lr": 0.1, "tolerance": True}
    whole = fitted(Table(parquet, "t", "y"), epochs=300, **model)
    parts = fitted(StreamedTable(parquet, "t", "y"), epochs=300, **model)
    close(parts, whole, rel=1e-10)
    assert parts.status == whole.status == "at bound"
    assert parts.standard_errors == pytest.approx(whole.standard_errors, rel=1e-9, nan_ok=True)


def test_a_fit_that_has_arrived_says_so(parquet):
    start = {"start": "data", "init": None, "lr": "auto", "tolerance": True}
    whole = fitted(Table(parquet, "t", "y"), epochs=2000, **start)
    parts = fitted(StreamedTable(parquet, "t", "y"), epochs=2000, **start)
    close(parts, whole, rel=1e-9)
    assert parts.status == whole.status == "converged"
    assert parts.steps == whole.steps < 2000
    assert parts.warnings == []


@pytest.fixture(scope="module")
def parabola(tmp_path_factory):
    """The long series of docs/many-series.md, in the order of t, and what its curvature is."""
    t = np.linspace(0, 20, 50_000)
    y = 0.8 * (t - 7.5) ** 2 + np.random.default_rng(0).normal(0, 1, t.size)
    path = tmp_path_factory.mktemp("table") / "long.parquet"
    pq.write_table(pa.table({"t": t, "y": y}), path, row_group_size=5000)
    rows = np.vander(t, 3)
    return str(path), 2 * np.linalg.eigvalsh(rows.T @ rows / t.size)[-1]


@pytest.mark.parametrize(("rule", "beta"), [(SGD, 0), (Momentum, 0.9)])
def test_auto_is_below_the_limit_of_all_points_though_it_sees_a_sample(parabola, rule, beta):
    path, steepest = parabola
    for seed in range(20):
        data = StreamedTable(path, "t", "y", seed=seed)
        data.setup("fit")
        curve = Curve("quadratic").double()
        optimizer = rule([curve.params], 0.1)
        lr = choose_lr("auto", optimizer, curve, data.points, "random", mse, data.as_sample)
        assert 0.8 / steepest < lr < 1.2 / steepest  # and the limit is 2 * (1 + beta) / steepest
        assert lr < 0.7 * 2 * (1 + beta) / steepest


@pytest.mark.parametrize("rule", [SGD, Momentum])
@pytest.mark.parametrize("size", [None, 5000])
def test_auto_descends_on_a_long_series(parabola, rule, size):
    data = StreamedTable(parabola[0], "t", "y", batch_points=size)
    found = fitted(data, epochs=50, optimizer=rule, lr="auto", function="quadratic", init=None, start="random")
    first, last = found.rmse_history[0], found.rmse
    assert last < 0.5 * first
    if size is None:
        tail = found.rmse_history[25:]
        assert tail[-1] <= tail[0] < 0.5 * first


def by_hand(path, epochs, size, order, seed, lr):
    """The same minibatches in a plain loop of torch."""
    table = pq.read_table(path).to_pandas()
    theta = torch.tensor(list(START.values()), dtype=torch.float64, requires_grad=True)
    rule = torch.optim.SGD([theta], lr, momentum=0.9)
    file, history = pq.ParquetFile(path), []
    for epoch in range(epochs):
        random = torch.Generator().manual_seed(seed + epoch)
        groups = range(file.num_row_groups)
        if order == "random":
            groups = torch.randperm(file.num_row_groups, generator=random).tolist()
        for group in groups:
            table = file.read_row_group(group, columns=["t", "y"]).to_pandas().dropna()
            t, y = (torch.tensor(table[name].to_numpy()) for name in ("t", "y"))
            if order == "random":
                shuffled = torch.randperm(len(t), generator=random)
                t, y = t[shuffled], y[shuffled]
            for t_part, y_part in zip(t.split(size), y.split(size), strict=True):
                a, b, c, d = theta
                loss = ((a * torch.exp(-((t_part - b) ** 2) / (2 * c**2)) + d - y_part) ** 2).mean()
                history.append(loss.item() ** 0.5)
                rule.zero_grad()
                loss.backward()
                rule.step()
    return theta.tolist(), history


@pytest.mark.parametrize("order", ["random", "file"])
def test_minibatches_are_those_of_a_plain_loop(parquet, order):
    data = StreamedTable(parquet, "t", "y", batch_points=100, order=order, seed=5)
    found = fitted(data, epochs=3, optimizer=lambda params, lr: torch.optim.SGD(params, lr, momentum=0.9))
    theta, history = by_hand(parquet, 3, 100, order, 5, 2e-3)
    assert list(found.parameters.values()) == pytest.approx(theta, rel=1e-12)
    assert found.rmse_history == pytest.approx(history, rel=1e-12)
    assert len(history) == 3 * data.batches_per_epoch == 3 * 14


@pytest.mark.parametrize("batch_points", [None, 100])
def test_a_resumed_fit_ends_as_an_undisturbed_one(parquet, tmp_path, batch_points):
    def data():
        return StreamedTable(parquet, "t", "y", batch_points=batch_points)

    undisturbed = fitted(data(), epochs=5, optimizer=Adam)
    fitted(data(), epochs=2, optimizer=Adam, root=tmp_path / "first")
    last = tmp_path / "first" / "checkpoints" / "last.ckpt"
    resumed = fitted(data(), epochs=5, optimizer=Adam, root=tmp_path / "second", ckpt_path=last)
    assert resumed.parameters == undisturbed.parameters
    assert resumed.rmse_history == undisturbed.rmse_history


def test_a_loss_that_ceases_to_be_finite_ends_the_fit(parquet):
    found = fitted(StreamedTable(parquet, "t", "y"), epochs=9, lr=1e200)
    assert (found.status, found.steps) == ("diverged", 1)
    assert found.parameters == START
    assert math.isfinite(found.rmse)


@pytest.mark.parametrize("sigma", [None, "s"])
def test_condensed_points_have_the_errors_of_all(sigma):
    table = bell()
    t, y, s = (torch.tensor(table[name].to_numpy()) for name in ("t", "y", "s"))
    points = Points(t, y, None if sigma is None else s)
    curve = Curve(BELL).double()
    curve.start(torch.tensor([3.0, 4.0, 1.5, 0.5]))
    parts = [points.where(torch.arange(i, min(i + 97, 1003))) for i in range(0, 1003, 97)]
    found = totals(curve, Share(lambda: iter(parts), 1003, whole=True))
    errors = errors_of(Condensed(curve, parts[0], found), typical_sigma(points))
    expected = uncertainty(curve, points, mse)
    np.testing.assert_allclose(errors.covariance, expected.covariance, rtol=1e-9)
    np.testing.assert_allclose(errors.noise, expected.noise, rtol=1e-12)
    assert found.loss == pytest.approx(make_loss("mse")(curve(t), y, points.sigma).item(), rel=1e-12)


def test_the_sample_is_some_of_the_points(tmp_path):
    n = 30_001
    pq.write_table(pa.table({"t": np.arange(n), "y": np.arange(n) / 2}), tmp_path / "long.parquet")
    data = StreamedTable(str(tmp_path / "long.parquet"), "t", "y")
    data.setup("fit")
    assert 8_000 < len(data.points.targets) <= 10_000
    assert torch.equal(data.points.columns[0], data.points.targets * 2)
    assert data.points.columns[0].diff().min() > 0
    assert data.look.n == n
    assert data.look.mean == pytest.approx((n - 1) / 4)


REFUSED = {
    "a missing file": ({"path": "none.parquet"}, {}, "no such file"),
    "a missing column": ({"y": "z"}, {}, "data.y: .* has no column 'z'"),
    "a batch of none": ({"batch_points": 0}, {}, "data.batch_points: given 0"),
    "an unknown order": ({"order": "backwards"}, {}, "data.order: given 'backwards'"),
    "Levenberg-Marquardt": ({}, {"optimizer": LevenbergMarquardt, "lr": None}, "optimizer: LevenbergMarquardt"),
    "steps of an epoch": ({}, {"steps_per_epoch": 5}, "steps_per_epoch: given 5"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(parquet, case):
    data, model, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        fitted(StreamedTable(**{"path": parquet, "t": "t", "y": "y", **data}), epochs=1, **model)


CELLS = {
    "an infinite number": ({"t": [1.0, math.inf]}, "column 't', data row 2: inf, expected a finite number"),
    "text": ({"t": ["1", "x"]}, "column 't', data row 2: 'x'"),
    "a date": ({"t": np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[us]")}, "expected numbers; for dates"),
    "a sigma of 0": ({"s": [1.0, 0.0]}, "column 's' of .*, data row 2: 0, expected standard deviations above 0"),
    "nothing": ({"y": pa.array([None, None], pa.float64())}, "none of 2 data rows"),
}


@pytest.mark.parametrize("case", CELLS)
def test_what_a_column_may_not_hold(tmp_path, case):
    columns, message = CELLS[case]
    pq.write_table(pa.table({"t": [1.0, 2], "y": [1.0, 2], "s": [1.0, 1], **columns}), tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=message):
        StreamedTable(str(tmp_path / "bad.parquet"), "t", "y", "s").setup("fit")


def test_a_file_that_is_damaged_while_it_is_read(parquet, tmp_path):
    path = tmp_path / "damaged.parquet"
    content = Path(parquet).read_bytes()
    path.write_bytes(content)
    data = StreamedTable(str(path), "t", "y")
    data.setup("fit")
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"damaged.parquet"):
        fitted(data, epochs=1)


def test_no_process_waits_for_one_that_cannot_read():
    def add(rows):  # as all-reduce does, with what the other process has
        return rows + torch.tensor([[0.0, 0.0, 0.0], [5.0, 7.0, float(other_fails)]])

    def unreadable():
        raise InputError("disk on fire")
        yield

    two = Processes(0, 2, add)
    well, ill = Share(lambda: iter([]), 3, whole=True), Share(unreadable, 3, whole=True)
    assert [list(well), list(ill)] == [[], []]
    other_fails = False
    assert two.sum(torch.tensor([1.0, 2.0]), well).tolist() == [6.0, 9.0]
    with pytest.raises(InputError, match="disk on fire"):
        two.sum(torch.zeros(2), ill)
    other_fails = True
    with pytest.raises(InputError, match="another process could not read"):
        two.sum(torch.zeros(2), well)


def test_a_function_of_all_points_is_refused(parquet, tmp_path, monkeypatch):
    (tmp_path / "centred.py").write_text("def line(t, a, b):\n    return a * (t - t.mean()) + b\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="predicts a point from others"):
        fitted(StreamedTable(parquet, "t", "y"), epochs=1, function="centred.line", init=None)


RANKS = """
from pathlib import Path
from lightning.pytorch import Callback

class Ranks(Callback):
    def on_fit_end(self, trainer, pl_module):
        Path(f"rank_{trainer.global_rank}").write_text(repr(pl_module.curve.params.tolist()))
"""
BELL_OPTIONS = ["--data=gd_lightning.StreamedTable", "--data.t=t", "--data.y=y", f"--model.function={BELL}"]
BELL_OPTIONS += [f"--model.init={json.dumps(START)}", "--plots.landscape=false", "--trainer.precision=64-true"]
TWO = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]


def two_processes(folder, *options):
    (folder / "ranks.py").write_text(RANKS)
    own = ["--allow-import=ranks", "--trainer.callbacks+=ranks.Ranks"]
    done = gd_lightning("fit", *BELL_OPTIONS, *TWO, *own, *options, cwd=folder)
    ranks = [json.loads((folder / f"rank_{rank}").read_text()) for rank in (0, 1)]
    assert ranks[0] == ranks[1]
    return done, json.loads((folder / "lightning_logs" / "version_0" / "result.json").read_text())


# 15: the last of 211 is alone, so that one process has nothing
@pytest.mark.parametrize("batch_points", [pytest.param(None, marks=pytest.mark.slow), 15])
def test_two_processes_make_the_fit_of_one(parquet, tmp_path, batch_points):
    data = StreamedTable(parquet, "t", "y", sigma="s", batch_points=batch_points, seed=2021)
    one = fitted(data, epochs=3, optimizer=Momentum, lr=2e-4)
    options = [f"--data.path={parquet}", "--data.sigma=s", "--model.optimizer=gd_lightning.Momentum", "--model.lr=2e-4"]
    options += ["--trainer.max_epochs=3", *([f"--data.batch_points={batch_points}"] if batch_points else [])]
    done, two = two_processes(tmp_path, *options)
    assert (done.code, done.err) == (0, "")
    assert two["parameters"] == pytest.approx(one.parameters, rel=1e-12)
    assert two["rmse_history"] == pytest.approx(one.rmse_history, rel=1e-12)
    assert two["rmse"] == pytest.approx(one.rmse, rel=1e-12)
    assert two["standard_errors"] == pytest.approx(one.standard_errors, rel=1e-9)
    minibatch = {"minibatch": batch_points} if batch_points else {}
    assert two["data"] == {"points": 1000, "rows": 1003, "left out": 3, "sample": 1000, **minibatch}
    assert "1,000 points of" in done.out


@pytest.mark.slow
def test_two_processes_of_which_one_has_nothing_diverge_together(tmp_path):
    pq.write_table(bell(101), tmp_path / "one_group.parquet")
    options = ["--data.path=one_group.parquet", "--model.lr=1e200", "--trainer.max_epochs=3"]
    done, result = two_processes(tmp_path, *options)
    assert done.code == 3
    assert "diverged" in done.err
    assert result["status"] == "diverged"
    assert result["parameters"] == START


def memory_of_a_fit(few, many):
    """How much more memory a fit to many points takes than one to few, in MB."""
    peaks = []
    for path in (few, many):
        fitted(StreamedTable(path, "t", "y"), epochs=1)
        fitted(StreamedTable(path, "t", "y", batch_points=100_000), epochs=1)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return peaks[1] - peaks[0]


def test_memory_does_not_grow_with_the_points(tmp_path):
    paths = str(tmp_path / "few.parquet"), str(tmp_path / "many.parquet")
    few = bell(300_000).drop_columns("s")
    with pq.ParquetWriter(paths[1], few.schema, compression="none", use_dictionary=False) as many:
        for _ in range(16):
            many.write_table(few)
    pq.write_table(pa.concat_tables([few] * 2), paths[0], compression="none", use_dictionary=False)
    with PROCESSES.Pool(1) as pool:
        grown = pool.apply(memory_of_a_fit, paths)
    # in memory they take 77 MB as a table, as much again as tensors, and more for predictions and gradients
    assert grown < 40


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((["one.parquet"], "t,t", "y"), r"data\.t: given \['t', 't'\], expected one column or several different ones"),
        (([], "t", "y"), r"data\.path: given no file, expected at least one"),
    ],
)
def test_a_table_that_names_nothing_to_read(args, said):
    with pytest.raises(InputError, match=said):
        StreamedTable(*args)
