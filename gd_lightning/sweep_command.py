"""`gd-lightning sweep`: its options, and what it compares."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch.cli import LightningArgumentParser
from torch.optim import Optimizer

from gd_lightning import optim
from gd_lightning.command import is_typed
from gd_lightning.data import Series
from gd_lightning.errors import InputError, suggest
from gd_lightning.fitting import check_function, check_points
from gd_lightning.levenberg_marquardt import LevenbergMarquardt
from gd_lightning.module import CurveFit
from gd_lightning.optim import Rule
from gd_lightning.points import Points
from gd_lightning.sweep import STEPS, side_by_side
from gd_lightning.sweep_result import SweepResult
from gd_lightning.words import describe_batch, listed

__all__ = ["add_options", "read_lrs", "read_rules", "swept"]

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
        help="A configuration may be one of fit: a sweep takes no model.lr from it, and no limit below "
        f"{STEPS:,} steps, unless the key is named here: {listed(HEEDED)} can be. What is typed counts in any case, "
        "and the config.yaml that a sweep saves names it here.",
    )


def read_lrs(text: str | list[float] | None) -> list[float] | None:
    """Learning rates as they are typed: `1e-6,1e-5,3e-5`; or `1e-6:1e-4:30`, from, to, how many, by equal factors.

    Raises:
        InputError: they are written otherwise.
    """
    if text is None or not isinstance(text, str):
        return text
    try:
        if ":" not in text:
            return [float(part) for part in text.strip("[] ").split(",")]
        low, high, count = text.split(":")
        values = np.geomspace(float(low), float(high), int(count))
        if len(values) and 0 < values.min() <= values.max() < math.inf:
            return [*(float(f"{value:.3g}") for value in values[:-1]), float(high)]
    except ValueError:
        pass
    raise InputError(f"lrs: given {text!r}, expected 1e-6,1e-5,3e-5, or 1e-6:1e-4:30 for thirty from 1e-6 to 1e-4")


def read_rules(text: str | None) -> list[Rule] | None:
    """Update rules as they are typed: `SGD,Momentum,LevenbergMarquardt,torch.optim.AdamW`.

    Raises:
        InputError: there is none of a name.
    """
    if text is None:
        return None
    own = {name: getattr(optim, name) for name in optim.__all__ if _is_rule(getattr(optim, name))}
    own = {name: rule for name, rule in own.items() if name != "UpdateRule"} | {
        "LevenbergMarquardt": LevenbergMarquardt
    }
    theirs = {name: rule for name, rule in vars(torch.optim).items() if _is_rule(rule) and name != "Optimizer"}
    known = {**own, **{f"torch.optim.{name}": rule for name, rule in theirs.items()}}
    chosen = []
    for name in (part.strip() for part in text.split(",")):
        if name not in known:
            known_names = (
                [*own, *(f"torch.optim.{one}" for one in theirs)] if "torch" in name or name in theirs else own
            )
            raise InputError(f"rules: given {name!r}; {suggest(name, known_names)}")
        chosen.append(known[name])
    return chosen


def _is_rule(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Optimizer)


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
        optimizer=model.rule,
        seed=data.seed,
    )


def _steps(allowed: int | None, heeded: Sequence[str]) -> int:
    """The limit that was typed; else that of the configuration, but no fewer than tell learning rates apart."""
    steps = STEPS if allowed is None else allowed
    return steps if {"trainer.max_steps", "trainer.max_epochs"} & set(heeded) else max(steps, STEPS)
