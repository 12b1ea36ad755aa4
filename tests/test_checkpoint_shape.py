"""Checkpoints whose inside is not what a fit writes: one line that names the file, wherever it is found out."""

import copy
from collections import OrderedDict

import pytest
import torch
from conftest import forked

from gd_lightning.__main__ import main
from gd_lightning.checkpoint_shape import HOLDS, strange

MISSING = object()
WEIGHTS = ["--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.save_weights_only=true"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """What a checkpoint of a fit holds, and one that holds the parameters only."""
    folder = tmp_path_factory.mktemp("kept")
    done = forked("fit", "--trainer.max_steps=1", *WEIGHTS, "--trainer.callbacks.filename=weights", cwd=folder)
    assert done.code == 0, done.err
    files = folder / "lightning_logs/version_0/checkpoints"
    return [torch.load(files / name, weights_only=True) for name in ("last.ckpt", "weights.ckpt")]


def changed(kept, key, value):
    content = copy.deepcopy(kept)
    *path, last = key.split("/")
    inner = content
    for one in path:
        inner = inner[one]
    if value is MISSING:
        inner.pop(last)
    else:
        inner[last] = value
    return content


def test_what_a_fit_writes_is_not_strange(kept):
    assert [strange(one) for one in kept] == [None, None]
    assert kept[0].keys() >= {key.partition("/")[0] for key in HOLDS}


@pytest.mark.parametrize("value", [b"5", (1, 2), torch.tensor([1, 2])], ids=repr)
@pytest.mark.parametrize("key", HOLDS)
def test_a_thing_of_another_kind_is_seen(kept, key, value):
    assert strange(changed(kept[0], key, value)) == key.replace("/", ".")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config", OrderedDict(a=1)),
        ("config", {"model": {"lr": torch.tensor(1.0)}}),
        ("config", None),
        ("config", {1: 2}),
        ("state_dict/curve.params", torch.tensor(1.0)),
        ("descent/rmse_history", ["1"]),
        ("descent/verdicts", {0: "converged"}),
        ("callbacks", {"EarlyStopping": 5}),
        ("series", ["a", "b"]),
        ("state_dict/curve.params", torch.ones(3).half()),
        ("state_dict/curve.initial_params", torch.ones(2)),
        ("descent/params_before", torch.ones(7)),
        ("descent/path", [(0, torch.ones(7))]),
        ("descent/stride", 0),
        *((key, MISSING) for key in list(HOLDS)[:4]),
    ],
)
def test_so_is_what_is_wrong_inside_it(kept, key, value):
    assert strange(changed(kept[0], key, value)) == key.replace("/", ".")


GO_ON = ["fit", "--ckpt_path=x.ckpt", "--trainer.max_steps=2"]
PREDICT = ["predict", "--ckpt_path=x.ckpt"]
EXPORT = ["export", "x.ckpt", "--to=formula"]
CASES = {
    "configuration": ("config", torch.tensor([1.0]), [GO_ON, PREDICT, EXPORT], "a damaged one (by its config)"),
    "hyperparameters": ("hyper_parameters", MISSING, [EXPORT], "(by its hyper_parameters.function)"),
    "function": ("config/model/function", "linear", [GO_ON, PREDICT], "x.ckpt holds 3 parameters, and linear has a, b"),
    "exported": ("hyper_parameters/function", "linear", [EXPORT], "x.ckpt holds 3 parameters, and linear has a, b"),
    "pictures": ("callbacks/PredictionPlots/frames", 5, [GO_ON], "x.ckpt cannot be gone on with (TypeError: "),
    "rule": ("optimizer_states", [1], [GO_ON], "x.ckpt cannot be gone on with (AttributeError: "),
    "schedule": ("lr_schedulers", 5, [GO_ON], "x.ckpt cannot be gone on with (TypeError: "),
    "version": ("pytorch-lightning_version", "x", [GO_ON], "x.ckpt cannot be gone on with (InvalidVersion: "),
    "start": ("start", {}, [GO_ON], "x.ckpt cannot be gone on with (KeyError: 'lr')"),
    "verdicts": ("descent/finished", MISSING, [GO_ON], "x.ckpt is of an older gd_lightning"),
    "section": ("config/model", 5, [GO_ON, PREDICT], "model: given 5, expected keys and values"),
    "state": ("state_dict/more", torch.tensor([1.0]), [GO_ON, PREDICT], "ckpt_path: x.ckpt cannot be"),
}


def refused(args, capfd):
    code = main(args)
    [line] = capfd.readouterr().err.splitlines()
    assert (code, line[:21]) == (2, "gd-lightning: error: ")
    return line


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # of what Lightning calls; no user sees them
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("key", "value", "commands", "said"), CASES.values(), ids=CASES)
def test_a_command_says_in_one_line_what_is_wrong_with_it(here, kept, key, value, commands, said, capfd):
    torch.save(changed(kept[0], key, value), here / "x.ckpt")
    for args in commands:
        assert said in refused(args, capfd)


def test_another_number_of_series_is_seen(here, kept, capfd):
    content = copy.deepcopy(kept[0])
    for one in ("params", "initial_params"):
        content["state_dict"][f"curve.{one}"] = torch.ones(2, 3)
    content["descent"] |= {"params_before": torch.ones(2, 3), "path": []}
    torch.save(content, here / "x.ckpt")
    for args in (GO_ON, PREDICT):
        assert "data: one series, and x.ckpt was fitted to 2 series side by side" in refused(args, capfd)


def test_the_parameters_alone_are_enough_to_predict_and_too_little_to_go_on(here, kept, capfd):
    torch.save(kept[1], here / "x.ckpt")
    assert "x.ckpt holds the parameters only" in refused(GO_ON, capfd)
    assert main(EXPORT) == 0
    assert main([*PREDICT, "--output=y.csv"]) == 0
    assert (here / "y.csv").is_file()
