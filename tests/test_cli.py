"""The real command line, in processes of their own: fresh ones where the start is looked at, else forked."""

import csv
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, forked, gd_lightning

from gd_lightning.uncertainty import Bands

QUADRATIC = ROOT / "configs" / "quadratic.yaml"
CONFIGS = [config for config in sorted((ROOT / "configs").glob("*.yaml")) if " fit " in config.read_text()]


def result(folder, version=0):
    return json.loads((folder / "lightning_logs" / f"version_{version}" / "result.json").read_text())


def rows(text):
    """The rows of the tables in what was printed, each as its cells."""
    return [[cell.strip() for cell in line.strip("│\n ").split("│")] for line in text.splitlines() if "│" in line]


def test_the_article_s_table_in_every_digit(article_run, article):
    assert article_run.code == 0
    assert article_run.err == ""
    steps = [row for row in rows(article_run.out) if row[0].isdigit()]
    assert steps == [[str(step), repr(rmse)] for step, rmse in enumerate(article.rmse, start=1)]
    starts = dict(re.findall(r"^([abc]) .* (\S+)$", article_run.out, re.MULTILINE))
    assert {name: float(start) for name, start in starts.items()} == pytest.approx(article.init, rel=1e-5)


def test_the_last_line_is_the_next_command(article_run):
    next_line = article_run.out.splitlines()[-1]
    assert re.fullmatch(
        r"Next: \S*tensorboard --logdir lightning_logs --host 127.0.0.1 --samples_per_plugin images=1000", next_line
    )
    assert "Run folder: lightning_logs/version_0" in article_run.out


def test_the_run_s_folder(article_run):
    names = sorted(str(p.relative_to(article_run.version_0)) for p in article_run.version_0.rglob("*") if p.is_file())
    events = [name for name in names if name.startswith("events.out.tfevents")]
    assert len(events) == 1
    assert [name for name in names if name not in events] == [
        "checkpoints/last.ckpt",
        "checkpoints/previous.ckpt",
        "config.yaml",
        "film_strip.png",
        "hparams.yaml",
        "landscape.png",
        "parameters.png",
        "prediction.png",
        "result.json",
    ]
    assert sorted(p.name for p in article_run.folder.iterdir()) == ["lightning_logs"]
    assert sorted(p.name for p in article_run.version_0.parent.iterdir()) == ["version_0"]
    for name in ("film_strip.png", "prediction.png"):
        assert (article_run.version_0 / name).read_bytes().startswith(b"\x89PNG\r\n")


def test_result_json(article_run, article):
    content = result(article_run.folder)
    assert content["rmse_history"] == article.rmse
    assert content["initial_parameters"] == article.init
    assert (content["function"], content["steps"], content["status"], content["seed"]) == (
        "quadratic",
        10,
        "step limit",
        2021,
    )
    values = torch.tensor([content["parameters"][name] for name in "abc"])
    preds = values[0] * article.t**2 + values[1] * article.t + values[2]
    assert content["rmse"] == ((preds - article.y) ** 2).mean().item() ** 0.5


def test_the_saved_config_reproduces_the_run(article_run, tmp_path):
    done = forked("fit", "--config", article_run.version_0 / "config.yaml", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert result(tmp_path) == result(article_run.folder)


def test_the_bare_command_is_the_article(tmp_path, article):
    done = gd_lightning("fit", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert result(tmp_path)["rmse_history"] == article.rmse


@pytest.fixture(scope="session")
def run_config(tmp_path_factory):
    """Runs a configuration as its first line says, once."""
    done = {}

    def run(name):
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            line = (ROOT / "configs" / f"{name}.yaml").read_text().splitlines()[0]
            words = line.removeprefix("# ").split()
            assert words == ["gd-lightning", "fit", "--config", f"configs/{name}.yaml"]
            done[name] = folder, forked(*words[1:], "--trainer.default_root_dir", folder, cwd=ROOT)
        folder, finished = done[name]
        assert (finished.code, finished.err) == (0, "")
        return result(folder), finished.out

    return run


@pytest.mark.xdist_group("configs")
@pytest.mark.parametrize("name", [config.stem for config in CONFIGS])
def test_every_config_does_what_its_first_lines_say(name, run_config):
    expectation = (ROOT / "configs" / f"{name}.yaml").read_text().splitlines()[1]
    promised = re.search(r"to (\d+\.\d+)", expectation).group(1)
    decimals = len(promised.partition(".")[2])
    assert f"{run_config(name)[0]['rmse']:.{decimals}f}" == promised


def test_the_best_parabola_of_the_stopping_distances():
    """The figure in the config's second line, by least squares."""
    with (ROOT / "examples" / "stopping_distance.csv").open() as file:
        table = [(float(row["speed"]), float(row["dist"])) for row in csv.DictReader(file)]
    t, y = torch.tensor(table, dtype=torch.float64).T
    columns = torch.stack([t**2, t, torch.ones_like(t)], dim=-1)
    residual = columns @ torch.linalg.lstsq(columns, y).solution - y
    assert len(table) == 50
    assert residual.square().mean().sqrt().item() == pytest.approx(14.71, abs=0.005)


@pytest.mark.xdist_group("configs")
def test_the_peak_s_config_reaches_the_certified_values(run_config):
    """NIST's Eckerle4: b1/b2 * exp(-((x - b3)/b2)**2 / 2)."""
    content, _ = run_config("peak")
    b1, b2, b3 = 1.5543827178, 4.0888321754, 4.5154121844e2
    assert list(content["parameters"].values()) == pytest.approx([b1 / b2, b3, b2], rel=1e-7)
    assert content["rmse"] == pytest.approx((1.4635887487e-03 / 35) ** 0.5, rel=1e-9)
    assert content["status"] == "converged"


@pytest.mark.xdist_group("configs")
def test_the_forecast_of_carbon_dioxide_is_that_of_least_squares(run_config):
    """The formula is linear in level, trend, bend and the sines and cosines of the year."""
    with (ROOT / "examples" / "mauna_loa_co2.csv").open() as file:
        rows = [(row["date"], float(row["co2"])) for row in csv.DictReader(file) if row["co2"]]
    dates = np.array([row[0] for row in rows], dtype="datetime64[D]") - np.datetime64("1980-01-01")
    t, y = dates.astype(float) / 365.25, np.array([row[1] for row in rows])
    year = 2 * np.pi * t
    columns = np.stack(
        [np.ones_like(t), t / 20, (t / 20) ** 2, *(f(k * year) for k in (1, 2) for f in (np.sin, np.cos))], -1
    )
    fitted = len(t) - round(0.1 * len(t))
    residual = columns @ np.linalg.lstsq(columns[:fitted], y[:fitted])[0] - y
    content, out = run_config("co2")
    assert content["data"] == {"points": 2003, "rows": 2284, "left out": 59, "kept out": 222}
    assert content["rmse"] == pytest.approx(np.sqrt(np.mean(residual[:fitted] ** 2)), rel=1e-4)
    assert content["holdout_rmse"] == pytest.approx(np.sqrt(np.mean(residual[fitted:] ** 2)), rel=1e-3)
    assert "59 of 2,284 rows lack a value and were left out" in " ".join(out.split())


def test_lr_seed_and_steps_from_the_command_line(tmp_path):
    done = forked(
        "fit", "--config", QUADRATIC, "--model.lr=2e-5", "--seed_everything", 7, "--trainer.max_steps", 25, cwd=tmp_path
    )
    assert (done.code, done.err) == (0, "")
    content = result(tmp_path)
    assert content["steps"] == 25
    assert content["seed"] == 7
    assert len([row for row in rows(done.out) if row[0].isdigit()]) < 25
    assert ["25", repr(content["rmse_history"][-1])] in rows(done.out)
    config = yaml.safe_load((tmp_path / "lightning_logs" / "version_0" / "config.yaml").read_text())
    assert config["model"]["lr"] == 2e-5
    assert config["data"]["init_args"]["seed"] == 7
    from gd_lightning import NoisySeries, fit

    data = NoisySeries(seed=7)
    data.setup("fit")
    same = fit("quadratic", data.t, data.targets, init=content["initial_parameters"], lr=2e-5, steps=25)
    assert same.parameters == content["parameters"]


def test_k_steps_per_epoch_make_the_same_run(tmp_path, article):
    done = forked("fit", "--config", QUADRATIC, "--model.steps_per_epoch=4", "--trainer.max_steps=10", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert result(tmp_path)["rmse_history"] == article.rmse
    checkpoint = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 10


@pytest.mark.parametrize("optimizer", ["SGD", "torch.optim.SGD"])
def test_rules_of_ours_and_of_torch_in_one_place(tmp_path, article, optimizer):
    done = forked("fit", "--model.optimizer", optimizer, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert result(tmp_path)["rmse_history"] == pytest.approx(article.rmse, rel=1e-6)


def test_divergence_stops_with_exit_code_3(tmp_path):
    done = gd_lightning("fit", "--config", QUADRATIC, "--model.lr=1e-3", "--trainer.max_epochs=300", cwd=tmp_path)
    assert done.code == 3
    [line] = done.err.splitlines()
    assert "diverged" in line
    assert "step 10" in line
    assert "lr=0.001" in line
    announced = done.out.index("Warning: lr=0.001 is above the largest stable lr 3.54e-05 (2 / largest curvature)")
    assert announced < done.out.index("RMSE before the step")
    content = result(tmp_path)
    assert content["status"] == "diverged"
    assert content["rmse"] == content["rmse_history"][-1]
    checkpoint = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    kept = torch.load(checkpoint, weights_only=True)["state_dict"]["curve.params"]
    assert kept.tolist() == [content["parameters"][name] for name in "abc"]


def test_a_least_number_of_steps_does_not_keep_a_run_that_has_arrived(tmp_path):
    limits = ["--trainer.max_steps=1000", "--trainer.min_steps=100"]
    done = forked("fit", "--model.optimizer=LevenbergMarquardt", *limits, cwd=tmp_path, timeout=100)
    assert (done.code, done.err) == (0, "")
    assert (result(tmp_path)["steps"], result(tmp_path)["status"]) == (1, "converged")


def test_who_follows_the_suggestion_reaches_what_it_promised(tmp_path):
    slower = ["--model.scheduler=torch.optim.lr_scheduler.ExponentialLR", "--model.scheduler.gamma=0.9"]
    done = forked("fit", *slower, cwd=tmp_path)
    [promised] = re.findall(r"the best quadratic for these data has (\S+)\s", done.out)
    [options] = re.findall(r"^Try: (.+)$", done.out, re.MULTILINE)
    again = forked("fit", *slower, *options.split(), cwd=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert f"{result(tmp_path, 1)['rmse']:.4g}" == promised


def test_a_warning_of_the_learning_rate_says_what_to_type(tmp_path):
    done = forked("fit", "--config", ROOT / "configs" / "quadratic.yaml", "--model.lr", "1e-4", cwd=tmp_path)
    assert "use at most that, or --model.lr auto" in " ".join(done.out.split())


def test_a_start_without_finite_loss(tmp_path):
    done = forked("fit", "--model.init.a", "1e30", cwd=tmp_path)
    assert done.code == 3
    assert "at the start a=1e+30" in done.err
    assert result(tmp_path)["rmse"] is None


@pytest.fixture(scope="session")
def five(tmp_path_factory):
    """A run of five of the ten steps."""
    folder = tmp_path_factory.mktemp("five")
    assert forked("fit", "--config", QUADRATIC, "--trainer.max_epochs=5", cwd=folder).code == 0
    return folder


@pytest.mark.xdist_group("resume")  # its tests look at the runs in one folder
class TestResume:
    def fit(self, folder, *args):
        return forked("fit", "--trainer.default_root_dir", folder, *args, cwd=folder)

    def test_five_and_five_are_ten(self, five, article_run):
        done = self.fit(five, "--config", QUADRATIC, "--ckpt_path", "last")
        assert (done.code, done.err) == (0, "")
        assert "last.ckpt after step 5." in done.out
        resumed, straight = result(five, version=1), result(article_run.folder)
        assert resumed == straight
        for name in ("film_strip.png", "prediction.png"):
            pictures = [folder / name for folder in (five / "lightning_logs/version_1", article_run.version_0)]
            assert pictures[0].read_bytes() == pictures[1].read_bytes()
        config = yaml.safe_load((five / "lightning_logs/version_1/config.yaml").read_text())
        assert config["ckpt_path"] is None

    def test_from_a_file_without_a_config(self, five, article_run, tmp_path):
        checkpoint = five / "lightning_logs/version_0/checkpoints/last.ckpt"
        done = self.fit(tmp_path, "--ckpt_path", checkpoint, "--trainer.max_steps=10")
        assert (done.code, done.err) == (0, "")
        assert result(tmp_path)["parameters"] == result(article_run.folder)["parameters"]

    def test_a_finished_run_is_reported_again(self, five):
        checkpoint = five / "lightning_logs/version_0/checkpoints/last.ckpt"
        done = self.fit(five, "--ckpt_path", checkpoint, "--trainer.max_epochs=5")
        assert (done.code, done.err) == (0, "")
        assert "It has taken all its steps" in done.out
        newest = max((five / "lightning_logs").iterdir(), key=lambda path: int(path.name.removeprefix("version_")))
        assert json.loads((newest / "result.json").read_text()) == result(five)
        assert (newest / "checkpoints/last.ckpt").is_file()

    def test_nothing_to_resume_begins_and_says_so(self, tmp_path, article):
        done = self.fit(tmp_path, "--ckpt_path", "last")
        assert (done.code, done.err) == (0, "")
        assert "No earlier run under" in done.out
        assert "starting from the beginning" in done.out
        assert result(tmp_path)["rmse_history"] == article.rmse

    @pytest.mark.parametrize(
        ("change", "key", "old", "new"),
        [
            (["--model.lr=1e-4"], "model.lr", "1e-05", "0.0001"),
            (["--model.function=cubic"], "model.function", "'quadratic'", "'cubic'"),
            (["--data.points=30"], "data.init_args.points", "20", "30"),
            (["--seed_everything=3"], "seed_everything", "2021", "3"),
            (["--model.steps_per_epoch=2"], "model.steps_per_epoch", "1", "2"),
            (["--trainer.precision=64-true"], "trainer.precision", "'32'", "'64'"),
            (["--model.init.a=1"], "model.init.a", "None", "1.0"),
        ],
    )
    def test_a_change_is_refused_with_both_values(self, five, change, key, old, new):
        runs = sorted((five / "lightning_logs").iterdir())
        checkpoint = five / "lightning_logs/version_0/checkpoints/last.ckpt"
        for config in ([], ["--config", QUADRATIC]):
            done = forked(
                "fit", "--trainer.default_root_dir", five, *config, "--ckpt_path", checkpoint, *change, cwd=five
            )
            assert done.code == 2
            [line] = done.err.splitlines()
            assert key in line
            assert f"{old} in " in line
            assert f"{new} now" in line
        assert sorted((five / "lightning_logs").iterdir()) == runs

    def test_a_run_without_config_goes_on_with_its_own_limits(self, tmp_path):
        options = ["--trainer.max_epochs=12", "--plots.every_n_steps=4", "--trainer.log_every_n_steps=3"]
        assert self.fit(tmp_path, *options).code == 0
        done = self.fit(tmp_path, "--ckpt_path=last")
        assert (done.code, done.err) == (0, "")
        assert result(tmp_path, version=1)["steps"] == 12
        config = yaml.safe_load((tmp_path / "lightning_logs/version_1/config.yaml").read_text())
        assert (config["trainer"]["max_epochs"], config["plots"]["every_n_steps"]) == (12, 4)
        done = self.fit(tmp_path, "--ckpt_path=last", "--trainer.max_epochs=10")
        assert done.code == 2
        assert "trainer.max_epochs: given 10" in done.err
        assert "expected at least 12" in done.err
        assert not (tmp_path / "lightning_logs/version_2").exists()

    def test_a_run_that_diverged_is_not_gone_on_with(self, tmp_path):
        assert self.fit(tmp_path, "--model.lr=1e-3", "--trainer.max_epochs=10").code == 3
        done = self.fit(tmp_path, "--ckpt_path=last", "--trainer.max_epochs=20")
        assert done.code == 2
        assert "diverged, and would again" in done.err
        assert len(done.err.splitlines()) == 1

    def test_a_table_that_changed_is_refused(self, tmp_path):
        table = tmp_path / "table.csv"
        table.write_text("x,y\n0,1\n1,2\n2,5\n3,10\n")
        data = ["--data=Table", f"--data.path={table}", "--data.t=x", "--data.y=y"]
        assert self.fit(tmp_path, *data, "--trainer.max_epochs=2").code == 0
        spelt_otherwise = [*data[:1], f"--data.path={tmp_path}/../{tmp_path.name}/table.csv", *data[2:]]
        assert self.fit(tmp_path, *spelt_otherwise, "--trainer.max_epochs=2", "--ckpt_path=last").code == 0
        table.write_text("x,y\n0,1\n1,2\n2,5\n3,11\n")
        done = self.fit(tmp_path, *data, "--ckpt_path=last")
        assert done.code == 2
        assert "data: 4 points, sha256" in done.err
        assert len(done.err.splitlines()) == 1


class TestPredict:
    def test_writes_t_data_prediction_and_residual(self, article_run, article, tmp_path):
        checkpoint = article_run.version_0 / "checkpoints" / "last.ckpt"
        done = forked("predict", "--ckpt_path", checkpoint, "--output", tmp_path / "p.csv", cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        wrote, remark = done.out.splitlines()
        assert wrote == f"Wrote 20 rows to {tmp_path / 'p.csv'}"
        assert remark.startswith("The fit has not arrived at a minimum, which bands are about")
        with (tmp_path / "p.csv").open() as file:
            table = list(csv.DictReader(file))
        assert list(table[0]) == ["t", "data", "prediction", "residual", *Bands._fields[1:]]
        column = {name: torch.tensor([float(row[name]) for row in table]) for name in table[0]}
        assert torch.equal(column["t"], article.t)
        assert torch.equal(column["data"], article.y)
        assert torch.equal(column["residual"], column["prediction"] - column["data"])
        assert column["residual"].square().mean().item() ** 0.5 == result(article_run.folder)["rmse"]
        assert not (tmp_path / "lightning_logs").exists()

    def test_the_newest_run_on_other_data(self, tmp_path):
        assert forked("fit", cwd=tmp_path).code == 0
        (tmp_path / "new.csv").write_text("x,y\n0,1\n1,2\n2,5\n")
        options = ["--data=Table", "--data.path=new.csv", "--data.t=x", "--data.y=y"]
        done = forked("predict", "--ckpt_path", "last", *options, cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        lines = (tmp_path / "lightning_logs/version_0/predictions.csv").read_text().splitlines()
        assert len(lines) == 4
        assert float(lines[1].split(",")[2]) == pytest.approx(result(tmp_path)["parameters"]["c"])


def on_a_terminal(*args, cwd):
    """Run the command with a terminal for its output; give back what appeared on it."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gd_lightning", *map(str, args)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 120)[0]:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    return process.wait(60), shown.decode()


def test_a_progress_bar_on_a_terminal_only(tmp_path, article_run):
    code, shown = on_a_terminal("fit", "--trainer.max_epochs=100", "--trainer.log_every_n_steps=100", cwd=tmp_path)
    assert code == 0
    assert re.search(r"\d+/100", shown)
    assert "/10" not in article_run.out + article_run.err
    code, shown = on_a_terminal("fit", "--trainer.enable_progress_bar=false", cwd=tmp_path)
    assert code == 0
    assert not re.search(r"\d+/10\b", shown)


@pytest.mark.parametrize(("signal_number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_leave_a_result_and_a_checkpoint(tmp_path, signal_number, code):
    process = subprocess.Popen(
        [sys.executable, "-m", "gd_lightning", "fit", "--trainer.max_epochs=1000000"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job, such as CI may be, ignores Ctrl-C, and so does what it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    version_0 = tmp_path / "lightning_logs" / "version_0"
    try:
        end = time.monotonic() + 120
        while not (version_0 / "checkpoints" / "last.ckpt").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal_number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    [line] = err.strip().splitlines()
    assert "interrupted" in line
    assert "gd-lightning fit --ckpt_path lightning_logs/version_0/checkpoints/last.ckpt" in line
    content = result(tmp_path)
    assert content["status"] == "stopped"
    steps = torch.load(version_0 / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert abs(steps - content["steps"]) <= 1


def test_two_processes_make_the_run_of_one(tmp_path, article):
    options = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    done = gd_lightning("fit", "--config", QUADRATIC, *options, cwd=tmp_path)
    assert done.code == 0, done.err
    assert result(tmp_path)["rmse_history"] == article.rmse
    assert len([row for row in rows(done.out) if row[0].isdigit()]) == 10


def test_a_dry_run_writes_nothing(tmp_path):
    done = forked("fit", "--trainer.fast_dev_run=true", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_article_on_a_gpu(tmp_path, article):
    done = gd_lightning("fit", "--config", QUADRATIC, cwd=tmp_path, gpu=True)
    assert (done.code, done.err) == (0, "")
    assert result(tmp_path)["rmse_history"] == pytest.approx(article.rmse, abs=1e-6)


def test_without_a_logger_nothing_is_written(tmp_path):
    done = forked("fit", "--trainer.logger=false", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "18.037850320630035" in done.out
    assert list(tmp_path.iterdir()) == []


def test_the_installed_script_is_the_module(tmp_path):
    script = Path(sys.executable).with_name("gd-lightning")
    if not script.exists():
        pytest.skip("the project is not installed in this environment")
    done = subprocess.run([script, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"gd-lightning \d+\.\d+\.\d+\n", done.stdout)
