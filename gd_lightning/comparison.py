"""Which function is right: many of them fitted to the same data, and ranked by what a new point would say of each."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gd_lightning.arrays import Array
from gd_lightning.comparison_fits import Attempt, constant, finished, mean_of, named_functions
from gd_lightning.comparison_ranking import order, ranking, rounding, same_curves, with_differences
from gd_lightning.comparison_row import Row
from gd_lightning.comparison_table import CRITERIA, NEAR, SCORES, comparison_text
from gd_lightning.cross_validation import as_good, draw_parts, holdout_errors, score
from gd_lightning.errors import InputError, suggest
from gd_lightning.files import write_whole
from gd_lightning.fitting import check_absolute, check_seed, whole_number
from gd_lightning.points import Points, as_points, check_numbers, check_sizes
from gd_lightning.resolve import Function, arguments, resolve
from gd_lightning.result import plain
from gd_lightning.versions import versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BY", "DRAWN", "FOLDS", "Comparison", "compare"]

SCHEMA = 1  # of `to_dict`
BY = (*CRITERIA, *SCORES)
FOLDS = 5
DRAWN = 4  # curves that can be told apart in a picture


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """Functions that were fitted to the same data, the best first.

    Attributes:
        rows: one for each function; those that could not be fitted are the last.
        baseline: the same of a constant, the mean of the data.
        by: what ranks: "aicc", "aic", "bic", "holdout" or "cv"; where AICc is infinite for all of them, "aic".
        asked: what was to rank.
        points: what was fitted.
        labels: what to write on the axes: the predictors, then y.
        folds: number of parts that the points were divided into to be kept out; none unless asked for.
        seed: of these parts, and of random starts.
        near: names of functions whose kept out points are predicted about as well as by the best; none by a criterion.
    """

    rows: list[Row]
    baseline: Row
    by: str
    asked: str
    points: Points
    labels: tuple[str, ...]
    folds: int | None
    seed: int
    near: tuple[str, ...] = ()

    @property
    def fitted(self) -> list[Row]:
        """The functions that could be fitted."""
        return [row for row in self.rows if row.fitted]

    @property
    def best(self) -> Row | None:
        """The first; none where no function could be fitted."""
        return next(iter(self.fitted), None)

    @property
    def measure(self) -> str:
        """What ranks, in words."""
        return (CRITERIA | SCORES)[self.by]

    @property
    def indistinguishable(self) -> list[Row]:
        """The best, and those that these data cannot tell from it.

        By a criterion those that are within 2 of the lowest; by points kept out those whose squared errors are on
        average larger by at most twice the standard error of that difference.
        """
        if self.by in SCORES:
            return [row for row in self.fitted if row.function in self.near]
        return [row for row in self.fitted if row is self.best or (row.tells and abs(row.difference) < NEAR)]

    @property
    def same(self) -> list[list[str]]:
        """Names of the indistinguishable, those together that draw the same curve."""
        return [[row.function for row in group] for group in same_curves(self.indistinguishable)]

    @property
    def sentences(self) -> list[str]:
        """What follows, in words: the best, what cannot be told from it, and whether it is any good."""
        from gd_lightning.comparison_words import sentences

        return sentences(self)

    def value(self, row: Row) -> float:
        """What ranks a row."""
        return ranking(row, self.by, self.points)

    def to_dict(self) -> dict[str, Any]:
        """Plain text and numbers, as they stand in `comparison.json`; what is not finite is none."""
        return dict(plain(self.told))

    @cached_property
    def told(self) -> dict[str, Any]:
        """The same with numbers as they are."""
        return {
            "schema": SCHEMA,
            "by": self.by,
            "asked": self.asked,
            "folds": self.folds,
            "seed": self.seed,
            "best": None if self.best is None else self.best.function,
            "indistinguishable": [row.function for row in self.indistinguishable],
            "sentences": self.sentences,
            "baseline": self.baseline.told(),
            "functions": [row.told() for row in self.rows],
            "data": {"points": len(self.points.targets)},
            "versions": versions(),
        }

    def write_json(self, path: Path) -> None:
        """Write `to_dict()` to a file, whole or not at all."""
        write_whole(path, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")

    def plot(self, best: int = DRAWN) -> "Figure":
        """The best few functions over the data, and how far each one is behind the first.

        Args:
            best: how many are drawn over the data.
        """
        from gd_lightning.pictures import comparison_picture

        return comparison_picture(self, best)

    def __repr__(self) -> str:
        best = "none could be fitted" if self.best is None else f"{self.best.function} is the best"
        return f"Comparison({len(self.rows)} functions by {self.measure}: {best})"

    def __str__(self) -> str:
        return comparison_text(self.told)


def compare(
    t: Any,
    y: Any,
    functions: str | Iterable[str | Function] | None = None,
    *,
    sigma: Any = None,
    absolute_sigma: bool = False,
    by: str = "aicc",
    folds: int = FOLDS,
    seed: int = 2021,
) -> Comparison:
    """Fit several functions to one series, and rank them.

    Each is fitted by `fit` as it stands: Levenberg-Marquardt, from the guess of a family, or from the best of many
    random starts; one that has not arrived after 200 steps takes at most 1000, where it is within 10 of the
    best. Of `pseudo_voigt` the fraction stays within 0 and 1. Then

        AICc = n log(chi2/n) + 2 p + 2 p (p + 1) / (n - p - 1) + constant

    estimates how far each is from the truth. Here p counts every free parameter, also one that the data leave open: it
    was free to follow the noise, and a function does not become simpler by being pressed into the shape of another. The
    variance of the noise, which is the same for all of them, is not counted, as in statsmodels.

    A function that cannot be fitted stands last with the reason; it raises nothing.

    Args:
        t: independent variable, as in `fit`; of several predictors each function gets those that it names.
        y: data of one series, as in `fit`.
        functions: names of families, formulas, import paths or callables; as text with commas between them. Every
            family unless given, `polynomial` of degree 4.
        sigma: standard deviations of y, as in `fit`.
        absolute_sigma: whether sigma is known in an absolute sense, as in `fit`: the likelihood then has it as it is.
        by: what ranks: "aicc", "aic" or "bic", the lower the better; "cv", the RMSE of points that were kept out, each
            once, in `folds` parts drawn at random; or "holdout", the same of the first of these parts only. Random
            parts ask how well a point among the others is predicted, as the criteria do, and not what comes after the
            last one. Given sigma, points weigh 1/sigma**2 in that RMSE.
        folds: number of parts, from 2 to the number of points.
        seed: of these parts, and of random starts.

    Returns:
        The comparison: `rows`, `best`, `indistinguishable`, `sentences`, `plot()`; printed it is a table.

    Raises:
        InputError: the data cannot be used, or there is no such function.

    Source: Akaike 1974; Hurvich and Tsai 1989; Schwarz 1978; Burnham and Anderson 2002; Stone 1974 for points kept out.

    Example:
        >>> import numpy as np
        >>> t = np.arange(20.0)
        >>> y = 3 * np.exp(-t / 4) + 0.01 * np.sin(7 * t)
        >>> found = compare(t, y, ["linear", "exponential_growth", "a*t**2 + c"])
        >>> [row.function for row in found.rows]
        ['exponential_growth', 'a*t**2 + c', 'linear']
    """
    if isinstance(t, str) or (isinstance(t, list | tuple) and t and (isinstance(t[0], str) or callable(t[0]))):
        raise InputError(f"t: given {t!r}, expected numbers; the order is compare(t, y, functions)")
    if by not in BY:
        raise InputError(f"by: given {by!r}; {suggest(str(by), BY)}")
    seed = check_seed(seed)
    check_absolute(absolute_sigma, sigma is not None)
    chosen = named_functions(functions)
    resolved = {name: resolve(function) for name, function in chosen.items()}
    used = list(dict.fromkeys(name for one in resolved.values() for name in arguments(one)))
    points, predictors = as_points(t, y, sigma, torch.float64, used=used)
    if points.batch:
        raise InputError(
            f"compare: given {math.prod(points.batch)} series side by side, expected one; compare each of them"
        )
    check_numbers(points, predictors or ("t",))
    points = points.where(points.present)
    check_sizes(points)
    if not len(points.targets):
        raise InputError("y: given no points, expected some")
    folds = whole_number("folds", folds, least=2)
    parts = draw_parts(len(points.targets), folds, seed) if by in SCORES else []
    parts = parts[:1] if by == "holdout" else parts
    labels = (*(predictors or ("t",)), y if isinstance(y, str) else getattr(y, "name", None) or "y")
    found, attempts, baseline = [], {}, constant(points, absolute_sigma)
    for name, function in chosen.items():
        attempt = attempts[name] = Attempt(function, resolved[name], predictors, absolute_sigma, seed)
        found.append(attempt.row(name, points))
        if parts and found[-1].fitted:
            errors = holdout_errors(attempt.predict, points, parts)
            found[-1] = replace(found[-1], score=score(errors, _weights(points, parts)), errors=errors)
    if parts:
        errors = holdout_errors(lambda others, holdout: mean_of(others).expand_as(holdout.targets), points, parts)
        baseline = replace(baseline, score=score(errors, _weights(points, parts)))
    found = [finished(row, attempts[row.function], found, points) for row in found]
    fitted = [row for row in found if row.fitted]
    ranked_by = "aic" if by == "aicc" and fitted and all(row.aicc == math.inf for row in fitted) else by
    found.sort(key=lambda row: order(row, ranked_by, points))
    found, baseline = with_differences(found, baseline, ranked_by, points)
    near: tuple[str, ...] = ()
    if parts and fitted:
        least = rounding(points)
        errors_of = {row.function: row.errors for row in found if row.errors is not None}
        errors_of = {name: np.where(np.abs(errors) > least, errors, 0.0) for name, errors in errors_of.items()}
        near = as_good(errors_of, found[0].function, _weights(points, parts))
    return Comparison(
        found, baseline, ranked_by, by, points, tuple(map(str, labels)), folds if parts else None, seed, near
    )


def _weights(points: Points, parts: Sequence[Tensor]) -> Array:
    """Weights of the points kept out, in their order."""
    weights: Array = points.where(torch.cat(list(parts))).weights.numpy()
    return weights
