"""A t that is far from 0 beside its range: what to give in its place."""

import math
from collections.abc import Sequence

from torch import Tensor

from gd_lightning.points import Points

__all__ = ["moved", "shifts"]

FAR = 10.0  # times its range from 0, from where on each further power of t costs more than a digit


def _origins(points: Points) -> list[float]:
    """A round number in the middle of each predictor that is far from 0; 0 for the others."""
    return [_origin(column[points.present] if column.dim() > 1 else column) for column in points.columns]


def _origin(column: Tensor) -> float:
    if not column.numel():
        return 0.0
    low, high = column.min().item(), column.max().item()
    middle, span = low / 2 + high / 2, high - low
    if not span > 0 or not FAR * span <= abs(middle) < math.inf:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(span))
    return round(middle / unit) * unit


def moved(points: Points) -> Points:
    """The same points, predictors that are far from 0 counted from a round number in their middle."""
    columns = tuple(column - origin for column, origin in zip(points.columns, _origins(points), strict=True))
    return points._replace(t=columns if isinstance(points.t, tuple) else columns[0])


def shifts(points: Points, names: Sequence[str]) -> str:
    """What to do, where a predictor is far from 0: "t is far from 0 beside its range; give t - 2015 in its place".

    Args:
        points: the points.
        names: of the predictors.
    """
    told = [
        f"{name} is far from 0 beside its range; give {name} {'-+'[origin < 0]} {abs(origin):.15g} in its place"
        for name, origin in zip(names, _origins(points), strict=True)
        if origin
    ]
    return ", and ".join(told)
