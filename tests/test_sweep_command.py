import csv
import json

import pytest
import torch
import yaml
from conftest import ROOT, forked, gd_lightning
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_race import NEVER
from test_sweep_members import curvatures

from gd_lightning.errors import InputError
from gd_lightning.fitting import fit
from gd_lightning.levenberg_marquardt import LevenbergMarquardt
from gd_lightning.optim import SGD, Adam
from gd_lightning.sweep_command import read_lrs, read_rules


def test_typed_learning_rates_and_rules():
    assert read_lrs("1e-6,1e-5, 3e-5") == read_lrs("[1e-6, 1e-5, 3e-5]") == [1e-6, 1e-5, 3e-5]
    assert read_lrs("1e-6:1e-4:3") == pytest.approx([1e-6, 1e-5, 1e-4])
    assert read_lrs([0.1]) == [0.1]
    assert read_rules("SGD, Adam,LevenbergMarquardt,torch.optim.AdamW") == [
        SGD,
        Adam,
        LevenbergMarquardt,
        torch.optim.AdamW,
    ]
    for text in ("a", "1:2", "1:2:x", "0:1:3", "1e-6,"):
        with pytest.raises(InputError, match="expected 1e-6,1e-5,3e-5, or"):
            read_lrs(text)
    with pytest.raises(InputError, match="did you mean 'Momentum'"):
        read_rules("Momentun")
    with pytest.raises(InputError, match="rules: given 'AdamW'; did you mean"):
        read_rules("AdamW")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    done = gd_lightning("sweep", "--config", ROOT / "configs" / "quadratic.yaml", cwd=folder)
    return done, folder / "lightning_logs" / "version_0"


def events(folder):
    return EventAccumulator(str(folder), {"scalars": 0, "images": 0, "tensors": 0}).Reload()


def test_the_command_with_nothing_but_a_config(run, article):
    done, folder = run
    assert (done.code, done.err) == (0, "")
    limit = 2 / curvatures(article.t)[-1]
    lines = done.out.splitlines()
    at = next(i for i, line in enumerate(lines) if "largest stable lr" in line)
    assert f"{limit:.3g}" in lines[at]
    assert float(lines[at - 2].split()[1]) <= limit < float(lines[at + 2].split()[1])
    assert "step limit" in lines[at - 2]
    assert "diverged" in lines[at + 2]
    assert "The best fit has RMSE 1.46727" in done.out
    own = "tensorboard --logdir lightning_logs/version_0 "  # alone: among more than 40 runs TensorBoard ticks none
    assert own in lines[-1]
    content = json.loads((folder / "sweep.json").read_text())
    assert content["limit"] == pytest.approx(limit)
    assert content["steps"] == 1000
    with (folder / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(content["members"]) == 30
    start = {name: float(rows[0][f"start/{name}"]) for name in "abc"}
    assert start == article.init
    near = next(member for member in content["members"] if member["lr"] > 9e-6)
    alone = fit("quadratic", article.t, article.y, lr=near["lr"], init=article.init, steps=1000, tolerance=NEVER)
    assert near["rmse_history"] == [*alone.rmse_history, alone.rmse]
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_tensorboard_compares_the_members(run):
    _, folder = run
    assert events(folder).Tags()["images"] == ["sweep"]
    content = json.loads((folder / "sweep.json").read_text())
    for member in (content["members"][0], content["members"][-1]):
        found = events(folder / member["label"])
        points = found.Scalars("sweep/rmse")
        assert points[0].step == 0
        assert len(points) <= 200
        for point in points:
            assert point.value == pytest.approx(member["rmse_history"][point.step], rel=1e-6)
        hparams = found.PluginTagToContent("hparams")
        assert member["status"].encode() in hparams["_hparams_/session_start_info"]
    assert points[-1].step < 1000  # the last one diverged
    last = events(folder / content["members"][0]["label"])
    assert last.Scalars("sweep/rmse")[-1].step == 1000
    [final] = last.Scalars("final/rmse")
    assert final.value == pytest.approx(content["members"][0]["rmse"], rel=1e-6)


def test_its_config_repeats_a_run_with_what_was_typed(tmp_path):
    config = ROOT / "configs" / "quadratic.yaml"
    rules = "SGD,Momentum,Adam,LevenbergMarquardt"
    arguments = ["--rules", rules, "--model.lr", "auto", "--trainer.max_steps", "40"]
    first = forked("sweep", "--config", config, *arguments, cwd=tmp_path)
    assert (first.code, first.err) == (0, "")
    logs = tmp_path / "lightning_logs"
    assert yaml.safe_load((logs / "version_0" / "config.yaml").read_text())["rules"] == rules
    again = forked("sweep", "--config", logs / "version_0" / "config.yaml", "--trainer.max_steps", 40, cwd=tmp_path)
    assert (again.code, again.err) == (0, "")
    one, other = (json.loads((logs / f"version_{i}" / "sweep.json").read_text()) for i in (0, 1))
    assert one == other
    assert [member["label"] for member in one["members"]] == rules.split(",")
    assert one["members"][3]["rmse"] == pytest.approx(1.4672722993)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lrs", "1e-6:x:30"], "lrs: given '1e-6:x:30'"),
        (["--lrs", "1e-6,1e-5", "--starts", "3"], "given lrs and starts, expected one"),
        (["--rules", "SDG"], "did you mean 'SGD'"),
        (["--starts", "three"], "starts"),
        (["--model.optimizer", "LevenbergMarquardt"], "LevenbergMarquardt has no learning rate"),
    ],
)
def test_wrong_input_of_the_command(arguments, words, tmp_path):
    done = forked("sweep", *arguments, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "lightning_logs").exists()
