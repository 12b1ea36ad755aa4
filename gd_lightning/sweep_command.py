"""`gd-lightning sweep`: its options, and what it compares."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from gd_lightning.command import is_typed
from gd_lightning.data import Series
from gd_lightning.errors import InputError
from gd_lightning.fitting import check_function, check_points
from gd_lightning.module import CurveFit
from gd_lightning.points import Points
from gd_lightning.sweep import STEPS, SweepResult, side_by_side
from gd_lightning.sweep_report import read_lrs, read_rules
from gd_lightning.words import describe_batch

__all__ = ["add_options", "swept"]

HEEDED = ("model.lr", "trainer.max_steps", "trainer.max_epochs")  # what a sweep takes only where it is meant for it


def add_options(parser: LightningArgumentParser) -> None:
    """Add what is compared."""
    given = parser.add_argument_group("What is compared: one of these; learning rates around the limit unless given")
    given.add_argument(
        "--lrs",
        type=list[float] | str | None,
        default=None,
        help="Learning rates: 1e-6,1e-5,3e-5; or 1e-6:1e-4:30 for thirty from 1e-6 to 1e-4 on a logarithmic scale. "
        "model.lr is not used then.",
    )
    given.add_argument(
        "--starts",
        type=int | None,
        default=None,
        help="Number of starts: that of fit, and others drawn like it where it is random, else around it.",
    )
    given.add_argument(
        "--rules",
        type=str | None,
        default=None,
        help="Update rules, such as SGD,Momentum,Adam,LevenbergMarquardt,torch.optim.AdamW; each with the "
        "--model.lr that is typed, or else with one that suits it.",
    )
    given.add_argument(
        "--heed",
        type=list[str],
        default=[],
        help=f"Which of {', '.join(HEEDED)} count although they stand in a configuration, which may be one of fit; "
        "those that are typed do, and a sweep saves which.",
    )


def swept(
    model: CurveFit, data: Series, points: Points, config: Any, typed: Sequence[str], allowed: int | None
) -> SweepResult:
    """Compare many learning rates, starts or rules on one series.

    Args:
        model: the function, and where and how the descents begin.
        data: where the points come from.
        points: the series.
        config: of the command; what counts of it is written there, so that it makes the same sweep again.
        typed: the command line.
        allowed: steps by the limits in the configuration; none where it has none.

    Raises:
        InputError: saying what cannot be swept.
    """
    check_points(model.curve, points, data.predictors)
    if points.batch:
        raise InputError(f"data: {describe_batch(points.batch)}; sweep takes one: leave data.series out")
    if model.scheduler is not None:
        raise InputError("model.scheduler: sweep compares learning rates that stay; leave the scheduler out")
    model.curve.to(points.targets.dtype)
    check_function(model.curve, points)
    config.heed = [name for name in HEEDED if is_typed(typed, f"--{name}") or name in config.heed]
    compares_lrs = config.starts is None and config.rules is None
    return side_by_side(
        model.curve,
        points.where(points.present),
        data.generator,
        lrs=read_lrs(config.lrs),
        starts=config.starts,
        rules=read_rules(config.rules),
        init=model.init,
        start=model.start,
        loss=model.loss,
        lr=None if compares_lrs or "model.lr" not in config.heed else model.given_lr,
        steps=_steps(allowed, config.heed),
        optimizer=model.optimizer_class,
        seed=data.seed,
    )


def _steps(allowed: int | None, heeded: Sequence[str]) -> int:
    """The limit that was typed; else that of the configuration, but no fewer than tell learning rates apart."""
    steps = STEPS if allowed is None else allowed
    return steps if {"trainer.max_steps", "trainer.max_epochs"} & set(heeded) else max(steps, STEPS)
