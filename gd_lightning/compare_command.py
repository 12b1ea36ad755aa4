"""`gd-lightning compare`: its options, and what it compares."""

from dataclasses import replace
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from gd_lightning.comparison import BY, DRAWN, FOLDS, Comparison, compare
from gd_lightning.data import Series
from gd_lightning.errors import InputError, suggest
from gd_lightning.words import describe_batch

__all__ = ["add_options", "check_options", "compared"]


def add_options(parser: LightningArgumentParser) -> None:
    """Add what is compared."""
    given = parser.add_argument_group("What is compared")
    given.add_argument(
        "--functions",
        type=list[str] | str | None,
        default=None,
        help='Families, formulas and import paths with commas between them: "gaussian,a*exp(-t/tau)+c"; every '
        "family unless given.",
    )
    given.add_argument(
        "--by",
        type=str,
        default="aicc",
        help=f"What ranks them: {', '.join(BY)}; the last two by the RMSE of points that are kept out.",
    )
    given.add_argument(
        "--folds", type=int, default=FOLDS, help="Number of random parts, of which cv keeps out each, holdout one."
    )
    given.add_argument("--best", type=int, default=DRAWN, help="How many of them are drawn over the data.")


def check_options(config: Any) -> None:
    """Refuse what no comparison can be by, before data are read.

    Raises:
        InputError: saying what to give.
    """
    if config.by not in BY:
        raise InputError(f"by: given {config.by!r}; {suggest(config.by, BY)}")
    if config.best < 1:
        raise InputError(f"best: given {config.best}, expected at least 1")


def compared(data: Series, config: Any, absolute_sigma: bool) -> Comparison:
    """Fit many functions to one series, and rank them.

    Args:
        data: where the points come from.
        config: of the command.
        absolute_sigma: whether the errors of the data are known as they stand.

    Raises:
        InputError: saying what cannot be compared.
    """
    points = data.points
    if points.batch:
        raise InputError(f"data: {describe_batch(points.batch)}; compare takes one: leave data.series out")
    if data.holdout_points is not None:
        raise InputError(
            "data.holdout: compare keeps points out itself, with --by holdout or --by cv; leave data.holdout out"
        )
    found = compare(
        dict(zip(data.predictors, points.columns, strict=True)),
        points.targets,
        config.functions,
        sigma=points.sigma,
        absolute_sigma=absolute_sigma,
        by=config.by,
        folds=config.folds,
        seed=data.seed,
    )
    if found.best is None:
        raise InputError(f"functions: none could be fitted; {found.rows[0].function}: {found.rows[0].reason}")
    return replace(found, labels=tuple(data.labels))
