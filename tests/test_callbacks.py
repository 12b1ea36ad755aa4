import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gd_lightning import CurveFit, InputError, NoisySeries, PredictionPlots, fit
from gd_lightning.callbacks import LearningRateGuide, RunReport, curve_fit
from gd_lightning.conditioning import curvatures
from gd_lightning.last_checkpoint import LastCheckpoint
from gd_lightning.milestones import is_round


def train(folder, callbacks, module=None, **limits):
    from lightning.pytorch.loggers import TensorBoardLogger

    module = CurveFit() if module is None else module
    trainer = Trainer(
        accelerator="cpu",
        logger=TensorBoardLogger(folder, name="lightning_logs", default_hp_metric=False),
        callbacks=callbacks,
        enable_checkpointing=any(isinstance(callback, LastCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **limits,
    )
    trainer.fit(module, datamodule=NoisySeries())
    return trainer, module


def image_steps(folder, tag):
    events = EventAccumulator(str(folder / "lightning_logs" / "version_0"), size_guidance={"images": 0})
    events.Reload()
    return [image.step for image in events.Images(tag)]


def test_round_steps():
    assert [step for step in range(1001) if is_round(step)] == [*range(11), 20, 50, 100, 200, 500, 1000]


@pytest.mark.parametrize(
    ("every", "steps"),
    [(None, [*range(11), 12]), (1, list(range(13))), (5, [0, 5, 10, 12]), (100, [0, 12])],
)
def test_the_first_the_last_and_each_nth_step_are_drawn(tmp_path, every, steps):
    train(tmp_path, [PredictionPlots(every_n_steps=every)], max_epochs=12)
    assert image_steps(tmp_path, "prediction") == steps
    assert image_steps(tmp_path, "film_strip") == [12]


def test_the_film_strip_keeps_the_parameters_of_its_steps(tmp_path, article):
    plots = PredictionPlots(film_strip=[0, 3, 10, 99])
    _, module = train(tmp_path, [plots], max_epochs=10)
    assert list(plots.frames) == [0, 3, 10]
    assert plots.frames[0] == article.start.tolist()
    assert plots.frames[10] == module.curve.params.tolist()
    figure = plots._film_strip(module)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["before training\nRMSE 74.96", "after 3 steps\nRMSE 19.01", "after 10 steps\nRMSE 18.04"]


@pytest.mark.parametrize(("steps_per_epoch", "looks"), [(1, [0, 10, 20, 50]), (30, [0, 30, 60])])
def test_the_curvature_that_is_logged_is_that_of_its_step(tmp_path, steps_per_epoch, looks):
    given = {"function": "a*exp(-t/tau)", "init": {"a": 60.0, "tau": 9.0}, "lr": "auto"}
    module = CurveFit(**given, steps_per_epoch=steps_per_epoch)
    trainer, module = train(tmp_path, [LearningRateGuide()], module, max_epochs=60 // steps_per_epoch)
    events = EventAccumulator(str(tmp_path / "lightning_logs" / "version_0"))
    events.Reload()
    told = events.Scalars("guidance/condition_number")
    assert [one.step for one in told] == looks
    data = trainer.datamodule
    for one in told:
        so_far = fit(t=data.t, y=data.targets, steps=max(one.step, 1), **given)
        params = so_far.path[-1 if one.step else 0][1]
        with so_far.curve.at(params):
            expected = curvatures(so_far.curve, so_far.points)
        assert one.value == pytest.approx((expected[0] / expected[-1]).item(), rel=1e-3)


def test_six_panels_like_the_article(tmp_path):
    plots = PredictionPlots(ylim=(-100, 100))
    _, module = train(tmp_path, [plots], max_epochs=10)
    figure = plots._film_strip(module)
    titles = [axes.get_title().splitlines() for axes in figure.axes]
    assert [title[0] for title in titles] == ["after 1 step", *(f"after {n} steps" for n in range(2, 7))]
    assert [title[1] for title in titles] == [f"RMSE {r}" for r in (36.43, 22.69, 19.01, 18.23, 18.07, 18.04)]
    assert {axes.get_ylim() for axes in figure.axes} == {(-100, 100)}


def test_divergence_has_a_last_picture_and_a_finite_checkpoint(tmp_path):
    module = CurveFit(lr=1e-3)
    report, last = RunReport("a command"), LastCheckpoint()
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        callbacks=[PredictionPlots(), report, last],
        max_epochs=300,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=NoisySeries())
    assert report.result.status == "diverged"
    folder = tmp_path / "lightning_logs" / "version_0"
    assert {"prediction.png", "film_strip.png", "result.json"} <= {path.name for path in folder.iterdir()}
    kept = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]["curve.params"]
    assert torch.equal(kept, module.curve.params)
    assert torch.isfinite(kept).all()


def test_memory_holds_no_figures(tmp_path):
    """Figures are made without pyplot, which would keep each one."""
    import gc

    from matplotlib.figure import Figure

    train(tmp_path, [PredictionPlots(every_n_steps=1)], max_epochs=30)
    gc.collect()
    assert sum(type(thing) is Figure for thing in gc.get_objects()) <= 2


@pytest.mark.parametrize("arguments", [{"every_n_steps": 0}, {"film_strip": [-1]}])
def test_wrong_arguments(arguments):
    with pytest.raises(InputError, match=f"plots.{next(iter(arguments))}: given"):
        PredictionPlots(**arguments)


def test_another_kind_of_module_is_refused():
    with pytest.raises(InputError, match="given a LightningModule, expected a CurveFit"):
        curve_fit(LightningModule())
