"""What a class of others raises is one line; a mistake of this package keeps its traceback."""

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from gd_lightning import imports
from gd_lightning.__main__ import main
from gd_lightning.raised import who

CASES = {
    "a metric that is not there": (
        ["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=x"],
        "trainer.callbacks: EarlyStopping raised RuntimeError: Early stopping conditioned on metric `x`",
    ),
    "a callback to be filled in": (
        ["--trainer.callbacks=BaseFinetuning"],
        "trainer.callbacks: BaseFinetuning raised NotImplementedError; leave it out",
    ),
    "a callback for other modules": (
        ["--trainer.callbacks=ModelPruning", "--trainer.callbacks.pruning_fn=l1_unstructured"],
        "trainer.callbacks: ModelPruning raised ValueError",
    ),
    "two callbacks of a kind": (
        ["--trainer.callbacks=PredictionPlots"],
        "trainer: Lightning raised RuntimeError: Found more than one stateful callback",
    ),
    "an interval without batches": (
        ["--trainer.val_check_interval=16"],
        "trainer: Lightning raised ValueError: `val_check_interval` (16)",
    ),
    "a scheduler to be filled in": (
        ["--model.scheduler=torch.optim.lr_scheduler.LRScheduler"],
        "model.scheduler: LRScheduler raised NotImplementedError",
    ),
    "a scheduler at its end": (
        [
            "--model.scheduler=torch.optim.lr_scheduler.OneCycleLR",
            "--model.scheduler.max_lr=1e-5",
            "--model.scheduler.total_steps=2",
            "--model.optimizer=torch.optim.SGD",
        ],
        "model.scheduler: OneCycleLR raised ValueError: Tried to step 3 times",
    ),
    "more devices than there can be": (["--trainer.devices=" + "9" * 40], "trainer.devices: given 9999"),
    "more machines than there can be": (["--trainer.num_nodes=" + "9" * 40], "trainer.num_nodes: given 9999"),
    "more points than there is memory for": (
        [f"--data.points={10**14}"],
        "data.points: given 100000000000000, for which there is no memory",
    ),
    "points beyond counting": (["--data.points=" + "9" * 40], "data.points: given 9999"),
}


@pytest.mark.parametrize(("args", "said"), CASES.values(), ids=CASES)
def test_one_line(args, said, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # of what Lightning calls; no user sees them
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--trainer.max_steps=4", *args]) == 2
    *others, line = capfd.readouterr().err.splitlines()
    assert line.startswith("gd-lightning: error: " + said)
    assert not any("Traceback" in other for other in others)


def through(*modules):
    """What is raised where functions of these modules call one another, and the last one torch."""

    def act():
        return torch.zeros(2) @ torch.zeros(3)

    for module in reversed(modules):
        names = {"__name__": module, "inner": act}
        exec("def act():\n    return inner()", names)
        act = names["act"]
    with pytest.raises(RuntimeError) as raised:
        act()
    return raised.value


def test_whose_it_is():
    assert who(through("gd_lightning.cli", "lightning.pytorch.trainer")) == "trainer: Lightning"
    assert who(through("gd_lightning.cli", "gd_lightning.descent")) is None
    assert who(through("lightning.pytorch.trainer", "gd_lightning.callbacks")) is None
    with imports.only(["mine"]):
        assert who(through("lightning.pytorch.trainer", "mine.callbacks")) is None


def test_a_class_is_named():
    stopping = EarlyStopping("x")
    with pytest.raises(RuntimeError) as error:
        stopping._validate_condition_metric({})
    assert who(error.value) == "trainer.callbacks: EarlyStopping"
