"""Cross-validation: how well a fit predicts points that were kept out of it."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from gd_lightning.arrays import Array
from gd_lightning.errors import InputError
from gd_lightning.points import Points

__all__ = ["as_good", "draw_parts", "holdout_errors", "score"]

ERRORS_APART = 2.0  # standard errors of the mean difference of squared errors, about 1 chance in 20

Predict = Callable[[Points, Points], Tensor]


def draw_parts(count: int, folds: int, seed: int) -> list[Tensor]:
    """The numbers of the points in each of some parts, drawn at random: each point once, sizes equal or one apart.

    Random parts ask how well a point among the others is predicted. Parts in a row would ask for what lies beyond them.

    Args:
        count: number of points.
        folds: number of parts.
        seed: of the draw.

    Raises:
        InputError: there are fewer points than parts.
    """
    if folds > count:
        raise InputError(f"folds: given {folds}, expected at most one for each of the {count} points")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return list(order.tensor_split(folds))


def holdout_errors(predict: Predict, points: Points, parts: Sequence[Tensor]) -> Array:
    """Prediction minus data of the points in some parts, by what was fitted to all others; in the order of the parts.

    Args:
        predict: from the points to fit and those to predict to predictions; what it raises, or predicts that is not
            finite, is an infinite error.
        points: one series.
        parts: the numbers of the points in each part.
    """
    found = []
    for part in parts:
        others = torch.ones(len(points.targets), dtype=torch.bool)
        others[part] = False
        holdout = points.where(part)
        try:
            errors = predict(points.where(others), holdout) - holdout.targets
        except Exception:  # too few points, or whatever a function of the user's may raise
            errors = torch.full_like(holdout.targets, torch.inf)
        found.append(errors.double().nan_to_num(torch.inf, torch.inf, torch.inf).numpy())
    return np.concatenate(found)


def score(errors: Array, weights: Array) -> float:
    """Root of the weighted mean of squares, sqrt(sum(w e**2) / sum(w)): the RMSE where the weights are equal."""
    return math.sqrt(float(weights @ errors**2) / float(weights.sum()))


def as_good(errors: Mapping[str, Array], best: str, weights: Array) -> tuple[str, ...]:
    """Whose squared errors are hardly larger than those of the best, which is among them.

    With d = w (e**2 - e_best**2) at each point: those with mean(d) up to twice its standard error, std(d) / sqrt(n).

    Args:
        errors: name -> errors at the same points.
        best: one of the names.
        weights: of the points.

    Source: Breiman, Friedman, Olshen and Stone 1984, whose rule takes one standard error of the score.
    """
    near = []
    for name, one in errors.items():
        if name == best:
            near.append(name)
        elif np.isfinite(one).all() and len(one) > 1:
            more = weights * (one**2 - errors[best] ** 2)
            if more.mean() <= ERRORS_APART * more.std(ddof=1) / math.sqrt(len(more)):
                near.append(name)
    return tuple(near)
