"""The functions that are compared: what they are called, and how each is fitted."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gd_lightning import functions as families
from gd_lightning.comparison_row import Row
from gd_lightning.comparison_table import NO_SUPPORT
from gd_lightning.convergence import CONVERGED, DIVERGED, ENDED_AT_BOUND, STEP_LIMIT
from gd_lightning.errors import InputError
from gd_lightning.fitting import fit
from gd_lightning.goodness import goodness
from gd_lightning.points import Points
from gd_lightning.resolve import Function, arguments, equation, function_name
from gd_lightning.result import FitResult

__all__ = ["Attempt", "constant", "finished", "mean_of", "named_functions", "split_functions"]

FEW_STEPS = 200  # a fit that takes more creeps along a valley in which its loss hardly changes
MORE_STEPS = 1000  # of one that may matter
# beyond it, one share of a mixture is negative, and the peak follows noise with side lobes of its own
WITHIN: dict[Function, dict[str, Any]] = {families.pseudo_voigt: {"fraction": {"min": 0.0, "max": 1.0}}}


def split_functions(text: str) -> list[str]:
    """Functions with commas between them; a comma within parentheses or backquotes belongs to a formula.

    Raises:
        InputError: there is nothing between two commas.
    """
    parts, depth, quoted = [""], 0, False
    for letter in text.strip().removeprefix("[").removesuffix("]"):
        quoted ^= letter == "`"
        depth += 0 if quoted else (letter == "(") - (letter == ")")
        if letter == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    parts = [part.strip().strip("'\"") for part in parts]
    if not all(parts):
        raise InputError(f"functions: given {text!r}, expected names or formulas such as 'gaussian, a*exp(-t/tau) + c'")
    return parts


def named_functions(functions: Any) -> dict[str, Any]:
    """The functions by the names under which they stand in the table."""
    if functions is None:
        return {name: name for name in families.__all__}
    if isinstance(functions, str):
        functions = split_functions(functions)
    if callable(functions):
        functions = [functions]
    if isinstance(functions, Mapping) or not isinstance(functions, Iterable):
        raise InputError(f"functions: given {functions!r}, expected a list such as ['gaussian', 'a*t + b']")
    listed = list(functions)
    if not listed:
        raise InputError("functions: given none, expected a list such as ['gaussian', 'a*t + b']")
    chosen: dict[str, Any] = {}
    counts = Counter(function_name(one.strip() if isinstance(one, str) else one) for one in listed)
    for one in listed:
        name = function_name(one.strip() if isinstance(one, str) else one)
        if isinstance(one, str) and counts[name] > 1:
            raise InputError(f"functions: {name} is given more than once; expected different ones")
        if name in chosen:  # two callables of one name, such as <lambda>
            name = f"{name} {sum(key.startswith(name) for key in chosen) + 1}"
        chosen[name] = one
    return chosen


class Attempt(NamedTuple):
    """One function, and how it is fitted."""

    function: Any
    resolved: Function
    predictors: tuple[str, ...] | None
    absolute_sigma: bool
    seed: int

    def row(self, name: str, points: Points, steps: int = FEW_STEPS) -> Row:
        """What becomes of it on all points, or the reason why there is no fit."""
        row = Row(name, equation(self.resolved))
        try:
            found = self.fit(points, steps)
            measures = found.goodness
        except InputError as error:
            return replace(row, reason=str(error))
        except Exception as error:  # whatever a function of the user's may raise
            return replace(row, reason=f"{type(error).__name__}: {' '.join(str(error).split())}")
        if found.status == DIVERGED or not math.isfinite(measures.chi2):
            return replace(row, status=found.status, reason=found.message)
        return replace(
            row,
            p=measures.p,
            status=found.status,
            reason="" if found.status in (CONVERGED, ENDED_AT_BOUND) else found.message,
            goodness=measures,
            rmse=float(found.rmse),
            result=found,
            absolute_sigma=self.absolute_sigma,
        )

    def fit(self, points: Points, steps: int = FEW_STEPS) -> FitResult:
        """Fit it as `fit` does, with at most so many steps."""
        return fit(
            self.function,
            self.data_of(points),
            points.targets,
            sigma=points.sigma,
            parameters=WITHIN.get(self.resolved),
            absolute_sigma=self.absolute_sigma,
            seed=self.seed,
            steps=steps,
        )

    def predict(self, others: Points, holdout: Points) -> Tensor:
        """Predict some points by a fit to others."""
        found = self.fit(others)
        if found.status == DIVERGED:
            return torch.full_like(holdout.targets, torch.inf)
        return found.predict(self.data_of(holdout))

    def data_of(self, points: Points) -> Any:
        """What `fit` takes as t: of several columns those that the function names."""
        own = getattr(self.resolved, "__module__", "") == families.__name__
        if self.predictors is None or (own and len(self.predictors) == 1):  # a column may be called as a parameter is
            return points.columns[0]
        columns = dict(zip(self.predictors, points.columns, strict=True))
        known = arguments(self.resolved)
        return {name: column for name, column in columns.items() if name in known} or columns


def finished(row: Row, attempt: Attempt, rows: Sequence[Row], points: Points) -> Row:
    """The same with more steps, where it has not arrived and is near enough to the best for that to matter."""
    if row.status != STEP_LIMIT or row.goodness is None:
        return row
    lowest = min(float(one.goodness.aic) for one in rows if one.goodness is not None)
    if not row.goodness.aic - lowest < NO_SUPPORT:
        return row
    return replace(attempt.row(row.function, points, MORE_STEPS), score=row.score, errors=row.errors)


def constant(points: Points, absolute_sigma: bool) -> Row:
    """The mean of the data, as a function that knows nothing of t."""
    mean = mean_of(points).expand_as(points.targets)
    rmse = float((mean - points.targets).square().mean().sqrt())
    return Row(
        "(constant: the mean)",
        "y = c",
        1,
        CONVERGED,
        goodness=goodness(mean, points, 1, absolute_sigma),
        rmse=rmse,
        absolute_sigma=absolute_sigma,
    )


def mean_of(points: Points) -> Tensor:
    """The (weighted) mean of the data."""
    return (points.weights * points.targets).sum() / points.weights.sum()
