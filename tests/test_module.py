import math
from functools import partial

import pytest
import torch
from conftest import HeavyBall
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.nn.functional import mse_loss
from torch.optim.lr_scheduler import ExponentialLR, StepLR
from torch.utils.data import DataLoader, TensorDataset

from gd_lightning import CurveFit, InputError, NoisySeries, Table, fit
from gd_lightning.levenberg_marquardt import LevenbergMarquardt


def train(module, data=None, logger=False, callbacks=(), checkpointing=False, ckpt_path=None, **limits):
    trainer = Trainer(
        accelerator="cpu",
        logger=logger,
        callbacks=list(callbacks),
        enable_checkpointing=checkpointing,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **limits,
    )
    trainer.fit(module, datamodule=data or NoisySeries(), ckpt_path=ckpt_path)
    return trainer


def test_the_article_through_the_trainer(article):
    module = CurveFit()
    trainer = train(module, max_epochs=10)
    result = module.result()
    assert trainer.global_step == 10
    assert result.rmse_history == article.rmse
    assert result.initial_parameters == article.init
    assert result.status == "step limit"
    assert result.seed == 2021


def test_trainer_and_notebook_have_the_same_bits(article):
    module = CurveFit(lr=2e-5)
    train(module, max_epochs=60)
    notebook = fit("quadratic", article.t, article.y, init=article.init, lr=2e-5, steps=60)
    assert (module.result().start, notebook.start) == ("random", "given")
    assert module.result().to_dict() == {**notebook.to_dict(), "start": "random"}


def test_a_second_fit_begins_a_new_count(article):
    module = CurveFit()
    train(module, max_epochs=2)
    reached = module.result().parameters
    train(module, max_epochs=3)
    assert module.result().steps == 3
    assert module.result().initial_parameters == article.init
    assert module.result().rmse_history == article.rmse[2:5]
    assert module.result().parameters != reached


def test_divergence_is_final_even_where_more_epochs_are_demanded():
    module = CurveFit(lr=1e-3)
    train(module, max_epochs=40, min_epochs=30)
    assert module.result().status == "diverged"
    assert module.result().steps == 10
    assert "inf at step 10 with lr=0.001" in module.result().message


@pytest.mark.filterwarnings("ignore:Be aware that when using .ckpt_path.")  # the second fit keeps no checkpoints
def test_a_resumed_descent_can_undo_its_step(tmp_path):
    """Killed after step 10, whose parameters have no finite loss; resumed, the step is undone all the same."""
    every = ModelCheckpoint(tmp_path, every_n_epochs=1, save_top_k=-1, filename="{epoch}")
    module = CurveFit(lr=1e-3)
    train(module, callbacks=[every], checkpointing=True, max_epochs=20)
    resumed = CurveFit(lr=1e-3)
    train(resumed, max_epochs=20, ckpt_path=tmp_path / "epoch=9.ckpt")
    assert resumed.result().to_dict() == module.result().to_dict()


@pytest.mark.parametrize(("k", "limits", "steps"), [(4, {"max_steps": 10}, 10), (5, {"max_epochs": 2}, 10)])
def test_k_steps_per_epoch_are_counted_one_by_one(article, k, limits, steps):
    module = CurveFit(steps_per_epoch=k)
    trainer = train(module, **{"max_epochs": -1, **limits})
    assert trainer.global_step == steps
    assert trainer.current_epoch == math.ceil(steps / k)
    assert module.result().rmse_history == article.rmse


@pytest.mark.parametrize("k", [1, 4])
def test_logs_count_steps(article, tmp_path, k):
    train(CurveFit(steps_per_epoch=k), logger=CSVLogger(tmp_path, name="", version=""), max_steps=10, max_epochs=-1)
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert [int(row["step"]) for row in rows] == list(range(11))
    assert [float(row["train/rmse"]) for row in rows[:10]] == article.rmse
    a, b, c = article.start
    losses = [float(row["train/loss"]) for row in rows[:10]]
    assert [loss**0.5 for loss in losses] == article.rmse
    assert losses[0] == mse_loss(a * article.t**2 + b * article.t + c, article.y).item()
    assert [float(rows[0][f"parameters/{name}"]) for name in "abc"] == article.start.tolist()


@pytest.mark.parametrize("k", [1, 2, 5])
def test_five_and_five_steps_are_ten(tmp_path, k):
    straight = CurveFit(steps_per_epoch=k)
    train(straight, max_steps=10, max_epochs=-1)
    first, then = CurveFit(steps_per_epoch=k), CurveFit(steps_per_epoch=k)
    train(first, max_steps=5, max_epochs=-1).save_checkpoint(tmp_path / "five.ckpt")
    trainer = train(then, max_steps=10, max_epochs=-1, ckpt_path=tmp_path / "five.ckpt")
    assert trainer.global_step == 10
    assert then.result().to_dict() == straight.result().to_dict()


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
@pytest.mark.parametrize(
    ("rule", "given"),
    [
        (HeavyBall, {"lr": 1e-6}),
        (torch.optim.Adam, {"lr": 1e-6}),
        (LevenbergMarquardt, {"function": "a*exp(-t/tau) + c", "init": {"a": 1, "tau": 3, "c": 0}}),
    ],
)
def test_the_state_of_the_rule_is_resumed_too(tmp_path, rule, given, precision):
    straight, first, then = (CurveFit(optimizer=rule, **given) for _ in range(3))
    train(straight, max_epochs=10, precision=precision)
    train(first, max_epochs=5, precision=precision).save_checkpoint(tmp_path / "five.ckpt")
    train(then, max_epochs=10, precision=precision, ckpt_path=tmp_path / "five.ckpt")
    assert then.result().to_dict() == straight.result().to_dict()
    kept = torch.load(tmp_path / "five.ckpt", weights_only=True)["state_dict"]["curve.params"]
    again = CurveFit(optimizer=rule, **given)
    again.load_state_dict({"curve.params": kept}, strict=False)
    assert torch.equal(again.curve.params, kept)


@pytest.mark.parametrize("scheduler", [partial(StepLR, step_size=3, gamma=0.5), partial(ExponentialLR, gamma=0.8)])
def test_the_scheduler_is_resumed_too(tmp_path, scheduler):
    straight, first, then = (CurveFit(optimizer=HeavyBall, lr=1e-6, scheduler=scheduler) for _ in range(3))
    train(straight, max_epochs=10)
    train(first, max_epochs=5).save_checkpoint(tmp_path / "five.ckpt")
    train(then, max_epochs=10, ckpt_path=tmp_path / "five.ckpt")
    assert then.result().to_dict() == straight.result().to_dict()
    assert straight.result().lr < 0.6e-6


def test_a_checkpoint_holds_text_and_numbers_only(tmp_path):
    module = CurveFit(init={"a": 1})
    train(module, max_epochs=1).save_checkpoint(tmp_path / "one.ckpt")
    checkpoint = torch.load(tmp_path / "one.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"] == {
        "function": "quadratic",
        "parameters": None,
        "init": {"a": 1},
        "start": None,
        "loss": "mse",
        "lr": None,
        "steps_per_epoch": 1,
        "predictors": None,
        "compile": False,
        "absolute_sigma": False,
        "intervals": "t",
        "level": 0.95,
    }
    again = CurveFit.load_from_checkpoint(tmp_path / "one.ckpt")
    assert torch.equal(again.curve.params, module.curve.params)
    assert torch.equal(again.curve.initial_params, module.curve.initial_params)


def test_divergence_stops_at_once_and_keeps_finite_parameters():
    module = CurveFit(lr=1e-3)
    trainer = train(module, max_epochs=300)
    assert trainer.global_step == 10
    assert module.result().status == "diverged"
    assert torch.isfinite(module.curve.params).all()
    assert module.result().rmse == module.result().rmse_history[-1]


def test_divergence_in_the_last_step_is_seen():
    module = CurveFit(lr=1e-3)
    train(module, max_epochs=10)
    assert module.result().status == "diverged"


def test_a_callback_that_stops_the_run_is_told_of():
    class StopAtThree(Callback):
        def on_train_batch_end(self, trainer, *rest):
            trainer.should_stop = trainer.global_step == 3

    module = CurveFit()
    train(module, callbacks=[StopAtThree()], max_epochs=10)
    assert module.result().steps == 3
    assert module.result().status == "stopped"


def test_rmse_can_be_monitored(tmp_path):
    best = ModelCheckpoint(tmp_path, monitor="train/rmse", filename="best")
    train(CurveFit(), callbacks=[best], checkpointing=True, max_epochs=10)
    assert best.best_model_score.item() == pytest.approx(18.037850320630035)


def test_a_data_module_of_somebody_else(article):
    class Other(LightningDataModule):
        def train_dataloader(self):
            return DataLoader(TensorDataset(article.t[None], article.y[None]), batch_size=None)

    torch.manual_seed(3)
    module = CurveFit(init=article.init)
    train(module, data=Other(), max_epochs=10)
    assert module.result().rmse_history == article.rmse
    assert module.result().seed is None


def test_double_precision_through_the_trainer(tmp_path, article):
    path = tmp_path / "article.csv"
    rows = "".join(f"{t},{y}\n" for t, y in zip(article.t.tolist(), article.y.tolist(), strict=True))
    path.write_text("t,y\n" + rows)
    module = CurveFit(init=article.init)
    train(module, data=Table(path=str(path), t="t", y="y"), max_epochs=10, precision="64-true")
    double = fit("quadratic", article.t, article.y, init=article.init, lr=1e-5, dtype=torch.float64)
    assert module.result().rmse_history == pytest.approx(double.rmse_history, rel=1e-14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": lambda t, a: a * t}, "a formula or an import path: checkpoints keep text"),
        ({"function": "cubik"}, r"did you mean 'cubic'\?"),
        ({"lr": 0}, "lr: given 0"),
        ({"init": {"q": 1}}, "has no parameter 'q'"),
        ({"steps_per_epoch": 0}, "steps_per_epoch: given 0, expected at least 1"),
        ({"compile": True}, "compile: given steps_per_epoch 1, expected at least 100"),
        ({"compile": True, "steps_per_epoch": 100, "optimizer": torch.optim.Adam}, "compile: given the optimizer Adam"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        CurveFit(**arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_article_on_a_gpu(article):
    module = CurveFit()
    trainer = Trainer(
        accelerator="gpu",
        devices=1,
        max_epochs=10,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=NoisySeries())
    assert module.result().initial_parameters == article.init
    assert module.result().rmse_history == pytest.approx(article.rmse, abs=1e-6)
    assert trainer.strategy.root_device.type == "cuda"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_fit_in_python_on_a_gpu(article):
    result = fit("quadratic", article.t, article.y.cuda(), init=article.init, lr=1e-5)
    assert result.rmse_history == pytest.approx(article.rmse, abs=1e-6)
    assert result.predict([0.0]).device.type == "cuda"
    assert result.plot().axes
    best = fit("quadratic", article.t, article.y.cuda(), init=article.init)
    assert best.parameters == pytest.approx(fit("quadratic", article.t, article.y).parameters, rel=1e-9)
    assert best.predict([0.0]).device.type == "cuda"
