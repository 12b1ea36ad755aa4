"""Which of the functions is better: what ranks them, how far each is behind the first, and which are one curve."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gd_lightning.comparison_row import Row
from gd_lightning.comparison_table import CRITERIA, SCORES
from gd_lightning.goodness import goodness
from gd_lightning.points import Points

__all__ = ["order", "ranking", "rounding", "same_curves", "with_differences"]

EXACT = 1e-12  # residuals that are smaller beside the data are rounding, and no sign of a better function
SAME = 1e-6  # of the range of the data: curves that are no further apart are one


def ranking(row: Row, by: str, points: Points) -> float:
    """What ranks a function that was fitted.

    Of residuals that are rounding, none is better than another: a measure is that of residuals just as large.
    """
    if by in SCORES:
        assert row.score is not None
        return max(row.score, rounding(points))
    measures = row.goodness
    assert measures is not None
    sigma = torch.ones_like(points.targets) if points.sigma is None else points.sigma
    least = EXACT * float((points.targets / sigma).square().mean().sqrt())
    if not row.absolute_sigma and measures.chi2 <= measures.n * least**2:
        at_rounding = points.targets + sigma * max(least, 1e-150)
        measures = goodness(at_rounding, points, measures.p, False)
    return float(getattr(measures, by))


def rounding(points: Points) -> float:
    """The RMSE, in units of y, below which points that were kept out are predicted but for rounding."""
    return EXACT * math.sqrt(float((points.weights * points.targets**2).sum() / points.weights.sum()))


def order(row: Row, by: str, points: Points) -> tuple[Any, ...]:
    """By which rows are sorted: fits first, those with a degree of freedom before others, then what ranks."""
    if not row.fitted:
        return (1,)
    assert row.goodness is not None
    value = ranking(row, by, points)
    follows = ranking(row, "aic", points) if value == math.inf else 0.0
    return (0, by in CRITERIA and not row.tells, value, follows, row.p)


def with_differences(rows: list[Row], baseline: Row, by: str, points: Points) -> tuple[list[Row], Row]:
    """The rows with what each is behind the first, and their Akaike weights."""
    fitted = [row for row in rows if row.fitted]
    if not fitted:
        return rows, baseline
    first = ranking(fitted[0], by, points)

    def behind(row: Row) -> float:
        value = ranking(row, by, points)
        return 0.0 if value == first else value - first

    told = [replace(row, difference=behind(row)) for row in fitted]
    baseline = replace(baseline, difference=behind(baseline))
    if by in CRITERIA and math.isfinite(first):
        # those that meet every point as they have as many parameters tell nothing
        support = [math.exp(-row.difference / 2) if row.tells else 0.0 for row in told]
        shared = {row.function: len(group) for group in same_curves(told) for row in group}
        each = [value / shared[row.function] for value, row in zip(support, told, strict=True)]
        if sum(each) > 0:
            told = [replace(row, weight=value / sum(each)) for row, value in zip(told, each, strict=True)]
    return [*told, *(row for row in rows if not row.fitted)], baseline


def same_curves(rows: Sequence[Row]) -> list[list[Row]]:
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
