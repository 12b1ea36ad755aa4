"""Somebody's table and a function, without YAML: the command line from end to end."""

import csv
import json
import math
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from conftest import forked, gd_lightning
from scipy.optimize import curve_fit, least_squares
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gd_lightning.__main__ import main
from gd_lightning.uncertainty import Bands

DECAY = "a*exp(-time/tau) + c"


def truth(time, a, tau, c):
    return a * np.exp(-time / tau) + c


@pytest.fixture
def table(tmp_path):
    """A decay measured 60 times by two instruments, with its standard deviations; in units far from 1."""
    generator = np.random.default_rng(4)
    time = np.arange(60) * 100.0
    sigma = np.where(np.arange(60) % 3, 5e-5, 2e-4)
    speed = truth(time, 3e-3, 1500, 1e-3) + generator.normal(size=60) * sigma
    columns = {"time": time, "speed": speed, "err": sigma, "who": [f"instrument {i % 2}" for i in range(60)]}
    with (tmp_path / "my.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    pa.parquet.write_table(pa.table(columns), tmp_path / "my.parquet")
    return columns


def look(folder, *args, path="my.csv", function=DECAY):
    data = ["--data", "Table", "--data.path", path, "--data.t", "time", "--data.y", "speed"]
    done = forked("fit", *data, "--model.function", function, *args, cwd=folder)
    assert (done.code, done.err) == (0, ""), done.err
    runs = sorted((folder / "lightning_logs").iterdir(), key=lambda run: run.stat().st_mtime)
    return json.loads((runs[-1] / "result.json").read_text()), done.out, runs[-1]


def test_a_formula_and_a_table_find_the_least_squares(tmp_path, table):
    best, _ = curve_fit(truth, table["time"], table["speed"], [3e-3, 1500, 1e-3])
    result, out, run = look(tmp_path)
    assert list(result["parameters"].values()) == pytest.approx(best, rel=1e-4)
    assert result["start"] == "multi-start"
    assert "from the best of thousands of random starts" in out
    assert {"prediction.png", "film_strip.png"} <= {path.name for path in run.iterdir()}
    parquet, _, _ = look(tmp_path, path="my.parquet")
    assert parquet["parameters"] == result["parameters"]


def test_a_family_by_its_name_weighted_by_sigma(tmp_path, table):
    best, _ = curve_fit(truth, table["time"], table["speed"], [3e-3, 1500, 1e-3], sigma=table["err"])
    options = ["--data.sigma", "err", "--trainer.precision=64-true", "--model.start=data"]
    starts = ["--model.init.amplitude", best[0], "--model.init.offset", best[2]]
    result, _, _ = look(tmp_path, *options, *starts, function="exponential_decay")
    assert list(result["parameters"].values()) == pytest.approx(best, rel=1e-3)
    assert result["start"] == "guess"


def test_a_function_from_a_file_in_the_folder(tmp_path, table):
    (tmp_path / "my_curves.py").write_text(
        "import torch\n\n\ndef decay(time, a, tau, c=0.0):\n    return a * torch.exp(-time / tau) + c\n"
    )
    script = f"{os.path.dirname(sys.executable)}/gd-lightning"
    if os.path.exists(script):  # the installed script does not put the working folder on the path of imports
        command = [script, "functions", "my_curves.decay"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    result, _, _ = look(tmp_path, function="my_curves.decay")
    assert list(result["parameters"]) == ["a", "tau", "c"]
    assert result["initial_parameters"]["c"] == 0


def test_demands_on_parameters_hold(tmp_path, table):
    demands = '{a: {min: 0}, c: {max: 5.0e-4}, tau: {expr: "1e6*a"}}'
    result, _, _ = look(tmp_path, "--model.parameters", demands, "--trainer.precision=64-true")
    fitted = least_squares(
        lambda p: truth(table["time"], p[0], 1e6 * p[0], p[1]) - table["speed"],
        [3e-3, 4e-4],
        bounds=([0, -np.inf], [np.inf, 5e-4]),
        x_scale=[1e-3, 1e-3],
        ftol=1e-15,
        xtol=1e-15,
        gtol=1e-15,
    )
    values = result["parameters"]
    assert values["c"] <= 5e-4
    assert values["tau"] == pytest.approx(1e6 * values["a"], rel=1e-12)
    assert [values["a"], values["c"]] == pytest.approx(fitted.x, rel=1e-4)
    config = (tmp_path / "lightning_logs/version_0/config.yaml").read_text()
    assert "expr: 1e6*a" in config


def test_points_kept_out_are_scored_drawn_and_logged(tmp_path, table):
    result, out, run = look(tmp_path, "--data.holdout=0.2", "--data.holdout_from=end")
    last = table["time"] >= 4800
    preds = truth(table["time"][last], *result["parameters"].values())
    assert result["holdout_rmse"] == pytest.approx(np.sqrt(np.mean((preds - table["speed"][last]) ** 2)), rel=1e-3)
    assert result["data"] == {"points": 48, "rows": 60, "left out": 0, "kept out": 12}
    assert f"12 points kept out of the fit, of RMSE {result['holdout_rmse']:.6g}" in " ".join(out.split())
    events = EventAccumulator(str(run))
    events.Reload()
    assert events.Scalars("val/rmse")[-1].value == pytest.approx(result["holdout_rmse"], rel=1e-6)
    assert len(events.Scalars("val/rmse")) == len(events.Scalars("train/rmse"))


def test_several_series_are_fitted_as_if_each_were_alone(tmp_path, table):
    result, out, _ = look(tmp_path, "--data.series", "who", "--trainer.precision=64-true")
    assert result["data"]["series"] == ["instrument 0", "instrument 1"]
    for i in range(2):
        best, _ = curve_fit(truth, table["time"][i::2], table["speed"][i::2], [3e-3, 1500, 1e-3])
        assert [values[i] for values in result["parameters"].values()] == pytest.approx(best, rel=1e-4)
    assert "data    2 series, 60 points of my.csv, speed against time, no sigma\n" in out
    done = forked("predict", "--ckpt_path", "last", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    with (tmp_path / "lightning_logs/version_0/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert list(rows[0]) == ["series", "time", "data", "prediction", "residual", *Bands._fields[1:]]
    assert {row["series"] for row in rows} == {"instrument 0", "instrument 1"}


def test_series_go_on_bit_for_bit(tmp_path, table):
    start = '{"a": 0.002, "tau": 1000, "c": 0.002}'
    options = ["--data.series=who", "--model.init", start, "--model.lr=0.1", "--model.steps_per_epoch=2"]
    straight, _, _ = look(tmp_path, *options, "--trainer.max_epochs=6")
    look(tmp_path, *options, "--trainer.max_epochs=3")
    resumed, _, _ = look(tmp_path, *options, "--trainer.max_epochs=6", "--ckpt_path=last")
    assert resumed == straight


def test_a_table_from_standard_input(tmp_path, table):
    content = (tmp_path / "my.csv").read_bytes()
    options = ["--data=Table", "--data.path=-", "--data.t=time", "--data.y=speed", f"--model.function={DECAY}"]
    done = forked("fit", *options, cwd=tmp_path, given=content)
    assert (done.code, done.err) == (0, "")
    result = json.loads((tmp_path / "lightning_logs/version_0/result.json").read_text())
    assert result["parameters"]["tau"] == pytest.approx(1500, rel=0.1)


def test_a_robust_loss_forgives_an_outlier(tmp_path, table):
    lines = (tmp_path / "my.csv").read_text().splitlines()
    lines[30] = lines[30].replace(lines[30].split(",")[1], "0.5")
    (tmp_path / "spoilt.csv").write_text("\n".join(lines))
    slow = [
        "--model.optimizer=Adam",
        "--model.steps_per_epoch=500",
        "--model.lr=1e-2",
        "--model.init",
        '{"a": 1, "tau": 2, "c": 0.1}',
    ]
    target = ["--data.target=1000*y", "--trainer.max_epochs=2", "--trainer.precision=64-true"]
    function = "a*exp(-time/(1000*tau)) + c"
    found = {}
    for loss in ("mse", "cauchy(0.1)"):
        result, _, _ = look(tmp_path, *slow, *target, "--model.loss", loss, path="spoilt.csv", function=function)
        found[loss] = result["parameters"]["tau"]
        assert result["loss"] == loss
    assert found["cauchy(0.1)"] == pytest.approx(1.5, rel=0.15)
    assert not math.isclose(found["mse"], 1.5, rel_tol=0.5)


class TestPredict:
    """What is predicted on another table is told apart by names and dates, not by places."""

    def predict(self, folder, *args):
        done = forked("predict", "--ckpt_path=last", *args, cwd=folder)
        assert (done.code, done.err) == (0, "")
        with (folder / "lightning_logs/version_0/predictions.csv").open() as file:
            return list(csv.DictReader(file))

    def fit(self, folder, *args):
        done = forked("fit", "--data=Table", "--data.y=y", "--data.path=one.csv", *args, cwd=folder)
        assert (done.code, done.err) == (0, "")

    def test_series_in_another_order(self, tmp_path):
        slopes = {"a": 1, "b": 100, "c": -50}
        for name, order in (("one.csv", "abc"), ("other.csv", "cba")):
            lines = [f"{s},{x},{slopes[s] * x}" for s in order for x in range(5)]
            (tmp_path / name).write_text("\n".join(["who,x,y", *lines]))
        self.fit(tmp_path, "--data.t=x", "--data.series=who", "--model.function=linear")
        rows = self.predict(tmp_path, "--data.path=other.csv")
        assert [row["series"] for row in rows[::5]] == ["c", "b", "a"]
        assert max(abs(float(row["residual"])) for row in rows) < 1e-2
        (tmp_path / "other.csv").write_text("who,x,y\n" + "".join(f"{s},{x},1\n" for s in "abz" for x in range(5)))
        done = forked("predict", "--ckpt_path=last", "--data.path=other.csv", cwd=tmp_path)
        assert done.code == 2
        assert "'z' was not fitted; expected the series a, b, c" in done.err

    def test_one_series_and_then_names(self, tmp_path):
        (tmp_path / "one.csv").write_text("who,x,y\na,1,2\na,2,3\na,3,5\n")
        self.fit(tmp_path, "--data.t=x", "--model.function=linear")
        done = forked("predict", "--ckpt_path=last", "--data.series=who", cwd=tmp_path)
        assert done.code == 2
        assert done.err.endswith("data.series: given, and one series was fitted, without a name; leave it out\n")

    def test_later_dates_count_from_the_same_origin(self, tmp_path):
        for name, month, first in (("one.csv", 1, 0), ("other.csv", 2, 31)):
            lines = [f"2020-0{month}-{day:02},{2 * (first + day - 1) + 1}" for day in range(1, 29)]
            (tmp_path / name).write_text("\n".join(["x,y", *lines]))
        self.fit(tmp_path, "--data.t=x", "--model.function=linear")
        rows = self.predict(tmp_path, "--data.path=other.csv")
        assert "x (days since 2020-01-01)" in rows[0]
        assert max(abs(float(row["residual"])) for row in rows) < 1e-2

    def test_what_lacks_data_has_empty_cells(self, tmp_path):
        """Only what lacks a predictor is left out; a holdout is not drawn."""
        (tmp_path / "one.csv").write_text("x1,x2,y\n" + "".join(f"{x},{x * x},{3 * x - x * x}\n" for x in range(9)))
        self.fit(tmp_path, "--data.t=x1,x2", "--model.function=a*x1 + b*x2", "--data.holdout=0.3")
        (tmp_path / "new.csv").write_text("y,x1,x2\n,20,1\n5,30,\n7,40,113\nNA,50,3\n")
        rows = self.predict(tmp_path, "--data.path=new.csv")
        assert [float(row["x1"]) for row in rows] == [20, 40, 50]
        assert [float(row["prediction"]) for row in rows] == pytest.approx([59, 7, 147], rel=1e-6)
        assert [row["data"] for row in rows] == ["", "7.0", ""]
        assert [row["residual"] == "" for row in rows] == [True, False, True]
        assert all(row[name] for row in rows for name in Bands._fields[1:])

    @pytest.mark.parametrize("target", ["log(y)", "log(y/x)"])
    def test_dates_and_a_target_without_data(self, tmp_path, target):
        columns = ["2020-01-02,3,2", "2020-01-03,5,2", "2020-01-04,8,4", "2020-01-05,20,5"]
        (tmp_path / "one.csv").write_text("\n".join(["day,y,x", *columns]))
        self.fit(tmp_path, "--data.t=day", "--data.target", target, "--model.function=linear")
        (tmp_path / "new.csv").write_text("day\n2020-01-12\n2020-01-02\n")
        rows = self.predict(tmp_path, "--data.path=new.csv")
        assert [float(row["day (days since 2020-01-02)"]) for row in rows] == [10, 0]
        y, x = np.array([3, 5, 8, 20]), np.array([2, 2, 4, 5])
        line = np.polyfit(range(4), np.log(y if target == "log(y)" else y / x), 1)
        assert [float(row["prediction"]) for row in rows] == pytest.approx(np.polyval(line, [10, 0]))
        assert {row["data"] + row["residual"] for row in rows} == {""}

    def test_from_standard_input(self, tmp_path):
        (tmp_path / "one.csv").write_text("x,y\n0,1\n1,3\n2,5\n")
        self.fit(tmp_path, "--data.t=x", "--model.function=linear")
        done = forked("predict", "--ckpt_path=last", "--data.path=-", cwd=tmp_path, given=b"x\n7\n")
        assert (done.code, done.err) == (0, "")
        line = (tmp_path / "lightning_logs/version_0/predictions.csv").read_text().splitlines()[1]
        assert float(line.split(",")[2]) == pytest.approx(15)

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            ("speeed\n4\n", "data.t: new.csv has no column 'speed'; did you mean 'speeed'?"),
            ("dist\n4\n", "data.t: new.csv has no column 'speed'"),
            ("speed,dist\n4,2\n5,abc\n", "column 'dist', data row 2 (line 3 of the file): 'abc', expected a finite"),
            ("speed,dist\n,2\n", "none of 1 data rows has a value in 'speed', expected some"),
            ("speed\n", "no data, expected a header line"),
        ],
    )
    def test_tables_that_cannot_be_predicted(self, tmp_path, table, said):
        (tmp_path / "one.csv").write_text("speed,dist\n0,1\n1,3\n2,5\n")
        self.fit(tmp_path, "--data.t=speed", "--data.y=dist", "--model.function=linear")
        (tmp_path / "new.csv").write_text(table)
        done = forked("predict", "--ckpt_path=last", "--data.path=new.csv", cwd=tmp_path)
        assert (done.code, done.out) == (2, "")
        [line] = done.err.splitlines()
        assert said in line

    def test_the_folder_of_a_run(self, tmp_path):
        (tmp_path / "one.csv").write_text("x,y\n0,1\n1,3\n2,5\n")
        for function in ("linear", "quadratic"):
            self.fit(tmp_path, "--data.t=x", f"--model.function={function}")
        (tmp_path / "new.csv").write_text("x\n7\n")
        done = forked("predict", "--ckpt_path=lightning_logs/version_0/", "--data.path=new.csv", cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        assert "Wrote 1 rows to lightning_logs/version_0/predictions.csv" in done.out
        done = forked("fit", "--ckpt_path=lightning_logs/version_1", "--trainer.max_epochs=20", cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        assert "Going on from lightning_logs/version_1/checkpoints/last.ckpt after step" in done.out
        done = forked("predict", "--ckpt_path=lightning_logs", "--data.path=new.csv", cwd=tmp_path)
        assert (done.code, done.out) == (2, "")
        [line] = done.err.splitlines()
        assert "ckpt_path: lightning_logs holds no checkpoints/last.ckpt; expected 'last', or the folder" in line

    def test_predictors_in_another_order(self, tmp_path):
        lines = [f"{x},{x * x},{3 * x - x * x}" for x in range(9)]
        (tmp_path / "one.csv").write_text("\n".join(["x1,x2,y", *lines]))
        self.fit(tmp_path, "--data.t=x1,x2", "--model.function=a*x1 + b*x2")
        rows = self.predict(tmp_path, "--data.t=x2,x1")
        assert max(abs(float(row["residual"])) for row in rows) < 1e-2


class TestFunctions:
    def test_lists_the_families(self, tmp_path):
        from gd_lightning import functions

        done = gd_lightning("functions", cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        for name in functions.__all__:
            assert f"\n{name}" in f"\n{done.out}"
        assert "y = amplitude*exp(-(t - center)**2/(2*width**2))\n    parameters: amplitude, center, width" in done.out

    def test_shows_one(self, tmp_path):
        done = gd_lightning("functions", "gaussian", cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        assert "parameters: amplitude, center, width" in done.out
        assert "linear in its parameters starts at random, unless" in done.out
        done = gd_lightning("functions", "a*exp(-t/tau)", cwd=tmp_path)
        assert "names: a, t, tau" in done.out

    def test_knows_what_is_near(self, tmp_path):
        done = forked("functions", "gausian", cwd=tmp_path)
        assert (done.code, done.out) == (2, "")
        assert "did you mean 'gaussian'?" in done.err
        assert len(done.err.splitlines()) == 1
        shown = forked("--help", cwd=tmp_path).out
        assert "functions" in shown
        assert "report" in shown


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--help"], 0, "gd-lightning functions"),
        (["linear", "cubic"], 2, "functions: given 'linear cubic', expected one name; quote a formula"),
        (["--all"], 2, "functions: given '--all', expected one name"),
        (["polynomial(7)"], 0, "parameters: c0, c1, c2, c3, c4, c5, c6, c7"),
        (["power_law"], 0, "defined for t > 0"),
        (["a*x + b"], 0, "names: a, x, b"),
    ],
)
def test_what_functions_tells(args, code, said, capsys):
    assert main(["functions", *args]) == code
    shown = capsys.readouterr()
    assert said in (shown.err if code else shown.out)
    assert not (shown.out if code else shown.err)
