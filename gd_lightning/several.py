"""Fitting several series: those that cannot be fitted are told apart, and disturb no other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gd_lightning.convergence import DIVERGED
from gd_lightning.curve import Curve
from gd_lightning.descent import MOST_SERIES
from gd_lightning.errors import InputError
from gd_lightning.fitting_checks import unusable
from gd_lightning.losses import make_loss, pooled_rmse
from gd_lightning.many import Fits, Many
from gd_lightning.many_starts import find_candidates, many_starts
from gd_lightning.points import Points
from gd_lightning.result import FitResult
from gd_lightning.starts import MULTI_START, set_start

__all__ = ["Asked", "Starts", "check_starts", "fit_several", "split_starts", "start_each"]

Starts = dict[str, Tensor]  # name -> a starting value for each series, `(*batch)`
Descend = Callable[[Curve, Points, Any, Starts], FitResult]


class Asked(NamedTuple):
    """What `fit` was asked for, as far as several series need it; names and meanings are its own."""

    least_squares: bool
    start: str | None
    init: Mapping[str, float] | None
    loss: str
    steps: int
    seed: int
    absolute_sigma: bool
    compiled: bool
    labels: tuple[str, ...]


def split_starts(init: Any) -> tuple[Any, dict[str, Any]]:
    """Starting values that hold for all series, and those that each series has for itself.

    Of the latter the first finite one stands among the former, to be checked as they are.
    """
    if not isinstance(init, Mapping):
        return init, {}
    own = {name: value for name, value in init.items() if np.ndim(value) > 0}
    shared = dict(init)
    for name, values in own.items():
        try:
            numbers = torch.as_tensor(np.asarray(values, dtype=np.float64))
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"init: {name} is {values!r}, expected a number, or one for each series") from None
        own[name] = numbers
        finite = numbers[torch.isfinite(numbers)]
        shared[name] = float(finite[0]) if len(finite) else 0.0
    return shared, own


def check_starts(curve: Curve, own: Mapping[str, Tensor], batch: tuple[int, ...]) -> None:
    """Refuse starting values that are not one for each series, or beyond a bound.

    Raises:
        InputError: naming the parameter.
    """
    for name, values in own.items():
        if tuple(values.shape) != batch:
            expected = f"a number, or {batch} for each series" if batch else "a number, since there is one series"
            raise InputError(f"init: {name} has shape {tuple(values.shape)}, expected {expected}")
        demand = curve.demands.all[curve.names.index(name)]
        beyond = (values < demand.min) | (values > demand.max)
        if beyond.any():
            raise InputError(
                f"init: {name} is {values[beyond][0].item():g} in some series, outside its bounds {demand.min:g} to "
                f"{demand.max:g}"
            )


def start_each(curve: Curve, own: Mapping[str, Tensor]) -> None:
    """Begin some parameters at a value of its own in each series."""
    if own:
        params = curve.params.detach().clone()
        for name, values in own.items():
            params[..., curve.names.index(name)] = values.to(params)
        curve.set_params(curve.demands.project(params))
        curve.initial_params = curve.params.detach().clone()


def fit_several(curve: Curve, points: Points, lr: Any, own: Starts, descend: Descend, asked: Asked) -> FitResult:
    """Fit several series, each as if it were alone.

    Up to 50 are followed step by step, like one; more go to `Many`, whose results are the same but for rounding.

    Args:
        curve: the curve, without a start.
        points: shape `(*batch, T)`.
        lr: learning rate, as it was given.
        own: starting values that each series has for itself.
        descend: follows a descent of the series that it is given.
        asked: what else was asked for.

    Returns:
        The result of all series. Those without numbers that could be fitted are "unusable"; `messages` says why. Of
        these, and of those in which Levenberg-Marquardt met nothing finite, the parameters are nan.
    """
    check_starts(curve, own, points.batch)
    flat = points.flat()
    own = {name: values.reshape(-1) for name, values in own.items()}
    reasons = unusable(curve, flat)
    for name, values in own.items():
        for row in (~torch.isfinite(values)).nonzero().flatten().tolist():
            reasons.setdefault(row, f"the start of {name} is not a finite number")
    usable = torch.ones(len(flat.targets), dtype=torch.bool)
    usable[list(reasons)] = False
    rows = usable.nonzero().flatten()
    if asked.least_squares and len(rows) > MOST_SERIES:
        fits, told = _many(curve, flat, rows, reasons, own, asked)
        return FitResult.of_many(curve, points, fits, **told)
    fits, told = Fits.blank(torch.full((len(usable), len(curve.names)), torch.nan)), _told(asked, "given")
    fits.message[list(reasons)] = list(reasons.values())
    if len(rows):
        if isinstance(lr, Tensor) and lr.dim() > 1:
            lr = lr.reshape(len(usable), -1)[rows]
        shaped = points if not reasons else flat.rows(rows.to(flat.targets.device))
        each = {name: values.reshape(points.batch) if not reasons else values[rows] for name, values in own.items()}
        curve.set_params(curve.params.new_zeros(*shaped.batch, len(curve.names)))
        path = descend(curve, shaped, lr, each)
        lost = asked.least_squares and bool((path.status == DIVERGED).any())
        if not reasons and not lost:
            return path
        fits.put(rows, _as_fits(path, asked.least_squares))
        told = _told(asked, path.start or "given", path.rmse_history)
        told |= {"optimizer": path.optimizer, "lr": path.lr}
    return FitResult.of_many(curve, points, fits, **told)


def _told(asked: Asked, start: str, rmse_history: Sequence[float] = ()) -> dict[str, Any]:
    """What a result of several series tells beside the fits."""
    return {
        "seed": asked.seed,
        "loss": asked.loss,
        "start": start,
        "labels": asked.labels,
        "absolute_sigma": asked.absolute_sigma,
        "rmse_history": rmse_history,
    }


def _as_fits(result: FitResult, lost: bool) -> Fits:
    """A result of some series; where they are lost, those that diverged are nan."""
    params = result.curve.params.detach().double().cpu().reshape(-1, len(result.curve.names)).clone()
    rmse = torch.as_tensor(result.rmse).double().cpu().reshape(-1).clone()
    status, message = (np.asarray(values, dtype=object).reshape(-1) for values in (result.status, result.messages))
    diverged = torch.from_numpy(status == DIVERGED) & lost
    params[diverged], rmse[diverged] = torch.nan, torch.nan
    start = result.curve.initial_params.double().cpu().reshape(params.shape)
    nothing = torch.full_like(params, torch.nan)
    return Fits(params, start, nothing, rmse, status, message, torch.full((len(params),), result.steps))


def _many(
    curve: Curve, flat: Points, rows: Tensor, reasons: Mapping[int, str], own: Starts, asked: Asked
) -> tuple[Fits, dict[str, Any]]:
    """Fits of very many series, of which some rows can be fitted, and what is to be told beside them."""
    here = rows.to(flat.targets.device)
    some = flat.rows(here)
    curve.set_params(curve.params.new_zeros(*some.batch, len(curve.names)))
    began = _begin(curve, some, asked)
    start_each(curve, {name: values[rows] for name, values in own.items()})
    begun = curve.params.detach()
    with torch.no_grad():
        first = pooled_rmse(curve.evaluate(some.t, begun), some.targets, some.sigma)
    start = begun.new_full((len(flat.targets), len(curve.names)), torch.nan)
    start[here] = begun
    many = Many(curve, make_loss(asked.loss), asked.absolute_sigma, asked.steps, asked.compiled)
    return many.fit(flat, start, reasons), _told(asked, began, [first])


def _begin(curve: Curve, points: Points, asked: Asked) -> str:
    """Give very many series their starting values; where from."""
    generator = torch.Generator().manual_seed(asked.seed)
    known = curve.known_start(asked.init)
    if asked.start == "random" or all(curve.names[i] in known for i in curve.demands.free):
        return set_start(curve, points, generator, asked.start, asked.init)
    candidates = find_candidates(curve, points, known, generator)
    curve.start(many_starts(curve, points, candidates), asked.init)
    return MULTI_START
