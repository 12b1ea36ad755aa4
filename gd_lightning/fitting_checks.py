"""Which series of many cannot be fitted, and why."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from gd_lightning.curve import Curve
from gd_lightning.points import Points, sizes

__all__ = ["DOMAINS", "unusable"]

DOMAINS = {"t > 0": torch.gt, "t >= 0": torch.ge}


def unusable(curve: Curve, points: Points) -> dict[int, str]:
    """Why some of S series cannot be fitted, by their places; the first reason of each.

    Args:
        curve: the curve.
        points: shape `(S, T)`; numbers of a point that is absent may be anything.
    """
    total = len(points.targets)
    # what all series share is looked at once
    present = torch.ones_like(points.targets[:1], dtype=torch.bool) if points.sigma is None else points.present
    count = present.sum(dim=-1).expand(total)
    free = [curve.names[i] for i in curve.demands.free]
    reasons: dict[int, str] = {}

    def note(bad: Tensor, reason: Callable[[int, int], str]) -> None:
        """Note a reason for each row `(S,)` that is bad, or for the first point `(S, T)` of it that is.

        The reason is told the number of that point, and how many points the row has.
        """
        rows = (bad.any(dim=-1) if bad.dim() > 1 else bad).expand(total)
        for row in rows.nonzero().flatten().tolist():
            if row not in reasons:
                at = int(bad.expand(total, -1)[row].int().argmax()) if bad.dim() > 1 else 0
                reasons[row] = reason(at + 1, int(count[row]))

    note(count == 0, lambda at, n: "there is no point")
    if points.sigma is not None:
        note(~(points.sigma > 0), lambda at, n: f"sigma at point {at} is not above 0")
    least, most = sizes(points.targets.dtype)
    size = torch.linalg.vector_norm(points.targets, ord=torch.inf, dim=-1)
    if not ((size == 0) | ((size >= least) & (size <= most))).all():
        each = torch.where(present, points.targets, 0.0).abs()
        size = each.amax(dim=-1, keepdim=True)
        largest = (size > 0) & (size < least) & (each == size)
        squared = "for a number to hold its square"
        note(~torch.isfinite(each), lambda at, n: f"y at point {at} is not a finite number; give it sigma=inf")
        note(each > most, lambda at, n: f"y at point {at} is too large {squared}; divide y")
        note(largest, lambda at, n: f"y at point {at}, the largest, is too small {squared}; multiply y")
    columns = [column if column.dim() > 1 else column.unsqueeze(0) for column in points.columns]
    for name, column in zip(curve.predictors, columns, strict=True):
        unknown = ~torch.isfinite(column) & present
        note(unknown, partial("{0} at point {1} is not a finite number".format, name))
    if not curve.least_norm:
        expected = f"expected at least {len(free)}: the free parameters are {', '.join(free)}"
        note(count < len(free), lambda at, n: f"{n} points, {expected}")
        same = torch.ones_like(count, dtype=torch.bool)
        for column in columns:
            low = torch.where(present, column, torch.inf).amin(dim=-1)
            high = torch.where(present, column, -torch.inf).amax(dim=-1)
            same = same & (low == high)
        note(same & (count > 1), lambda at, n: f"all {n} points are at one {curve.predictors[0]}")
    if curve.domain is not None:
        inside = DOMAINS[curve.domain](columns[0], 0)
        where = f"is outside {curve.domain}, where {curve.function_name} is defined"
        note(~inside & present, lambda at, n: f"point {at} {where}")
    return reasons
