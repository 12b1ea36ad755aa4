"""Which series of many cannot be fitted, and why."""

import torch
from torch import Tensor

from gd_lightning.curve import Curve
from gd_lightning.points import Points

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

    def note(bad: Tensor, reason: str) -> None:
        """Note a reason for each row `(S,)` that is bad, or for the first point `(S, T)` of it that is."""
        rows = (bad.any(dim=-1) if bad.dim() > 1 else bad).expand(total)
        for row in rows.nonzero().flatten().tolist():
            if row not in reasons:
                at = int(bad.expand(total, -1)[row].int().argmax()) if bad.dim() > 1 else 0
                reasons[row] = reason.format(at=at + 1, count=int(count[row]), row=row)

    note(count == 0, "there is no point")
    if points.sigma is not None:
        note(~(points.sigma > 0), "sigma at point {at} is not above 0")
    if not torch.isfinite(torch.linalg.vector_norm(points.targets)):  # else so is each, and its square
        square = points.targets * points.targets
        note(~torch.isfinite(points.targets) & present, "y at point {at} is not a finite number; give it sigma=inf")
        note(torch.isinf(square) & present, "y at point {at} is too large for a number to hold its square; divide y")
    columns = [column if column.dim() > 1 else column.unsqueeze(0) for column in points.columns]
    for name, column in zip(curve.predictors, columns, strict=True):
        note(~torch.isfinite(column) & present, f"{name} at point {{at}} is not a finite number")
    if not curve.least_norm:
        note(
            count < len(free),
            f"{{count}} points, expected at least {len(free)}: the free parameters are {', '.join(free)}",
        )
        same = torch.ones_like(count, dtype=torch.bool)
        for column in columns:
            low = torch.where(present, column, torch.inf).amin(dim=-1)
            high = torch.where(present, column, -torch.inf).amax(dim=-1)
            same = same & (low == high)
        note(same & (count > 1), f"all {{count}} points are at one {curve.predictors[0]}")
    if curve.domain is not None:
        inside = DOMAINS[curve.domain](columns[0], 0)
        note(~inside & present, f"point {{at}} is outside {curve.domain}, where {curve.function_name} is defined")
    return reasons
