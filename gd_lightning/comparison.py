"""Which function is right: many of them fitted to the same data, and ranked by what a new point would say of each."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gd_lightning import functions as families
from gd_lightning.arrays import Array
from gd_lightning.comparison_table import CRITERIA, NEAR, NO_SUPPORT, SCORES, comparison_text
from gd_lightning.convergence import AT_BOUND, CONVERGED, DIVERGED, STEP_LIMIT
from gd_lightning.errors import InputError, suggest
from gd_lightning.files import write_whole
from gd_lightning.fitting import check_absolute, check_seed, fit, whole_number
from gd_lightning.goodness import Goodness, goodness
from gd_lightning.holdout import as_good, draw_parts, holdout_errors, score
from gd_lightning.points import Points, as_points, check_numbers, check_sizes
from gd_lightning.resolve import Function, arguments, equation, function_name, resolve
from gd_lightning.result import FitResult, plain
from gd_lightning.versions import versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BY", "NOT_FITTED", "Comparison", "Row", "compare", "split_functions"]

SCHEMA = 1  # of `to_dict`
BY = (*CRITERIA, *SCORES)
FOLDS = 5
NOT_FITTED = "not fitted"
EXACT = 1e-12  # residuals that are smaller beside the data are rounding, and no sign of a better function
SAME = 1e-6  # of the range of the data: curves that are no further apart are one
FEW_STEPS = 200  # a fit that takes more creeps along a valley in which its loss hardly changes
MORE_STEPS = 1000  # of one that may matter
DRAWN = 4  # curves that can be told apart in a picture
# beyond it, one share of a mixture is negative, and the peak follows noise with side lobes of its own
WITHIN: dict[Function, dict[str, Any]] = {families.pseudo_voigt: {"fraction": {"min": 0.0, "max": 1.0}}}


@dataclass(frozen=True, eq=False)
class Row:
    """What became of one function.

    Attributes:
        function: its name, or its formula.
        equation: what it computes.
        p: number of free parameters; none where there was no fit.
        status: as in `FitResult`, or "not fitted".
        reason: why it was not fitted, or what is to be told of the status, in one line.
        goodness: measures of the fit to all points, with this p; none where there was no fit.
        rmse: root mean squared error of the fit to all points, in units of y.
        score: RMSE of the points that were kept out, each predicted by a fit to others; none unless asked for.
        difference: of what ranks, to the best.
        weight: Akaike weight, exp(-difference/2) over the sum of these: the chance that this one is the best of
            them (Burnham and Anderson, 2002); functions that draw the same curve share one. None by `score`.
        result: the fit to all points.
        errors: prediction minus data of the points that were kept out, part by part.
        absolute_sigma: whether sigma was taken as it is.
    """

    function: str
    equation: str
    p: int | None = None
    status: str = NOT_FITTED
    reason: str = ""
    goodness: Goodness | None = None
    rmse: float = math.nan
    score: float | None = None
    difference: float = math.nan
    weight: float | None = None
    result: FitResult | None = None
    errors: Array | None = None
    absolute_sigma: bool = False

    @property
    def fitted(self) -> bool:
        """Whether there is a fit."""
        return self.goodness is not None

    @property
    def tells(self) -> bool:
        """Whether there are points left that could have told the fit wrong."""
        return self.goodness is not None and self.goodness.dof > 0

    @property
    def r2(self) -> float:
        """Share of the variation that it explains."""
        return math.nan if self.goodness is None else float(self.goodness.r2)

    @property
    def aicc(self) -> float:
        """Akaike's criterion for few points; -inf where the curve meets every point."""
        return math.nan if self.goodness is None else float(self.goodness.aicc)

    def told(self) -> dict[str, Any]:
        """Text and numbers by name, as they stand in `comparison.json`."""
        found = self.result
        measures = ("aic", "aicc", "bic", "chi2", "reduced_chi2", "r2", "adjusted_r2")
        return {
            "function": self.function,
            "equation": self.equation,
            "p": self.p,
            "status": self.status,
            "reason": self.reason,
            "rmse": self.rmse,
            **{name: None if self.goodness is None else getattr(self.goodness, name) for name in measures},
            "score": self.score,
            "difference": self.difference,
            "weight": self.weight,
            "parameters": None if found is None else found.parameters,
            "standard_errors": None if found is None else found.standard_errors,
        }


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
        return [[row.function for row in group] for group in _same_curves(self.indistinguishable)]

    @property
    def sentences(self) -> list[str]:
        """What follows, in words: the best, what cannot be told from it, and whether it is any good."""
        from gd_lightning.comparison_words import sentences

        return sentences(self)

    def value(self, row: Row) -> float:
        """What ranks a row."""
        return _ranking(row, self.by, self.points)

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
    chosen = _chosen(functions)
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
    found, attempts, baseline = [], {}, _constant(points, absolute_sigma)
    for name, function in chosen.items():
        attempt = attempts[name] = _Attempt(function, resolved[name], predictors, absolute_sigma, seed)
        found.append(attempt.row(name, points))
        if parts and found[-1].fitted:
            errors = holdout_errors(attempt.predict, points, parts)
            found[-1] = replace(found[-1], score=score(errors, _weights(points, parts)), errors=errors)
    if parts:
        errors = holdout_errors(lambda kept_in, out: _mean(kept_in).expand_as(out.targets), points, parts)
        baseline = replace(baseline, score=score(errors, _weights(points, parts)))
    found = [_finished(row, attempts[row.function], found, points) for row in found]
    fitted = [row for row in found if row.fitted]
    ranked_by = "aic" if by == "aicc" and fitted and all(row.aicc == math.inf for row in fitted) else by
    found.sort(key=lambda row: _order(row, ranked_by, points))
    found, baseline = _with_differences(found, baseline, ranked_by, points)
    near: tuple[str, ...] = ()
    if parts and fitted:
        least = _rounding(points)
        errors_of = {row.function: row.errors for row in found if row.errors is not None}
        errors_of = {name: np.where(np.abs(errors) > least, errors, 0.0) for name, errors in errors_of.items()}
        near = as_good(errors_of, found[0].function, _weights(points, parts))
    return Comparison(
        found, baseline, ranked_by, by, points, tuple(map(str, labels)), folds if parts else None, seed, near
    )


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


def _chosen(functions: Any) -> dict[str, Any]:
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


class _Attempt(NamedTuple):
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
            reason="" if found.status in (CONVERGED, AT_BOUND) else found.message,
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

    def predict(self, kept_in: Points, out: Points) -> Tensor:
        """Predict some points by a fit to others."""
        found = self.fit(kept_in)
        if found.status == DIVERGED:
            return torch.full_like(out.targets, torch.inf)
        return found.predict(self.data_of(out))

    def data_of(self, points: Points) -> Any:
        """What `fit` takes as t: of several columns those that the function names."""
        own = getattr(self.resolved, "__module__", "") == families.__name__
        if self.predictors is None or (own and len(self.predictors) == 1):  # a column may be called as a parameter is
            return points.columns[0]
        columns = dict(zip(self.predictors, points.columns, strict=True))
        known = arguments(self.resolved)
        return {name: column for name, column in columns.items() if name in known} or columns


def _finished(row: Row, attempt: _Attempt, rows: Sequence[Row], points: Points) -> Row:
    """The same with more steps, where it has not arrived and is near enough to the best for that to matter."""
    if row.status != STEP_LIMIT or row.goodness is None:
        return row
    lowest = min(float(one.goodness.aic) for one in rows if one.goodness is not None)
    if not row.goodness.aic - lowest < NO_SUPPORT:
        return row
    return replace(attempt.row(row.function, points, MORE_STEPS), score=row.score, errors=row.errors)


def _weights(points: Points, parts: Sequence[Tensor]) -> Array:
    """Weights of the points kept out, in their order."""
    weights: Array = points.where(torch.cat(list(parts))).weights.numpy()
    return weights


def _mean(points: Points) -> Tensor:
    """The (weighted) mean of the data."""
    return (points.weights * points.targets).sum() / points.weights.sum()


def _constant(points: Points, absolute_sigma: bool) -> Row:
    """The mean of the data, as a function that knows nothing of t."""
    mean = _mean(points).expand_as(points.targets)
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


def _ranking(row: Row, by: str, points: Points) -> float:
    """What ranks a function that was fitted.

    Of residuals that are rounding, none is better than another: a measure is that of residuals just as large.
    """
    if by in SCORES:
        assert row.score is not None
        return max(row.score, _rounding(points))
    measures = row.goodness
    assert measures is not None
    sigma = torch.ones_like(points.targets) if points.sigma is None else points.sigma
    least = EXACT * float((points.targets / sigma).square().mean().sqrt())
    if not row.absolute_sigma and measures.chi2 <= measures.n * least**2:
        at_rounding = points.targets + sigma * max(least, 1e-150)
        measures = goodness(at_rounding, points, measures.p, False)
    return float(getattr(measures, by))


def _rounding(points: Points) -> float:
    """The RMSE, in units of y, below which points that were kept out are predicted but for rounding."""
    return EXACT * math.sqrt(float((points.weights * points.targets**2).sum() / points.weights.sum()))


def _order(row: Row, by: str, points: Points) -> tuple[Any, ...]:
    """By which rows are sorted: fits first, those with a degree of freedom before others, then what ranks."""
    if not row.fitted:
        return (1,)
    assert row.goodness is not None
    value = _ranking(row, by, points)
    follows = _ranking(row, "aic", points) if value == math.inf else 0.0
    return (0, by in CRITERIA and not row.tells, value, follows, row.p)


def _with_differences(rows: list[Row], baseline: Row, by: str, points: Points) -> tuple[list[Row], Row]:
    """The rows with what each is behind the first, and their Akaike weights."""
    fitted = [row for row in rows if row.fitted]
    if not fitted:
        return rows, baseline
    first = _ranking(fitted[0], by, points)

    def behind(row: Row) -> float:
        value = _ranking(row, by, points)
        return 0.0 if value == first else value - first

    told = [replace(row, difference=behind(row)) for row in fitted]
    baseline = replace(baseline, difference=behind(baseline))
    if by in CRITERIA and math.isfinite(first):
        # those that meet every point as they have as many parameters tell nothing
        support = [math.exp(-row.difference / 2) if row.tells else 0.0 for row in told]
        shared = {row.function: len(group) for group in _same_curves(told) for row in group}
        each = [value / shared[row.function] for value, row in zip(support, told, strict=True)]
        if sum(each) > 0:
            told = [replace(row, weight=value / sum(each)) for row, value in zip(told, each, strict=True)]
    return [*told, *(row for row in rows if not row.fitted)], baseline


def _same_curves(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows, those together that draw the same curve with as many parameters: one function written in two ways."""
    groups: list[tuple[Tensor, list[Row]]] = []
    for row in rows:
        assert row.result is not None
        targets = row.result.targets
        with torch.no_grad():
            preds = row.result.curve(row.result.t)
        near = SAME * float(targets.max() - targets.min())
        for others, group in groups:
            if group[0].p == row.p and bool(((preds - others).abs() <= near).all()):
                group.append(row)
                break
        else:
            groups.append((preds, [row]))
    return [group for _, group in groups]
