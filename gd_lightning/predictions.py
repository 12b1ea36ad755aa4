"""What `gd-lightning predict` writes: every point with its data, prediction, residual and bands."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gd_lightning.convergence import AT_MINIMUM
from gd_lightning.errors import InputError
from gd_lightning.module import CurveFit
from gd_lightning.points import Points
from gd_lightning.runs import run_of
from gd_lightning.uncertainty import AT_BOUND, Bands, Uncertainty

__all__ = ["in_order_of_the_data", "prediction_rows", "uncertainty_of_run"]


def prediction_rows(points: Points, preds: Tensor, names: Sequence[str], bands: Bands | None = None) -> list[list[Any]]:
    """One row for each point: its series, where there are several, predictors, data, prediction, residual, bands.

    Data that are not known, and the residuals from them, are left empty.
    """
    columns = [column.expand_as(preds) for column in points.columns]
    told = [] if bands is None else list(bands[1:])
    values = torch.stack([*columns, points.targets, preds, preds - points.targets, *told], dim=-1).cpu()
    present = points.present.cpu()
    data = len(columns)

    def cells(row: Any) -> list[Any]:
        return list(row) if not math.isnan(row[data]) else [*row[:data], "", row[data + 1], "", *row[data + 3 :]]

    if preds.dim() == 1:
        return [cells(row) for row in values[present].numpy()]
    names = names or [f"series {i + 1}" for i in range(len(values))]
    return [[name, *cells(row)] for i, name in enumerate(names) for row in values[i][present[i]].numpy()]


def uncertainty_of_run(model: CurveFit, ckpt_path: Path, series: Sequence[str]) -> tuple[Uncertainty | None, str]:
    """How sure the parameters are, as the run that made a checkpoint has left it beside it; none where it has not.

    Series come in the order of the data. Beside it stands what is to be told of the bands.
    """
    path = run_of(ckpt_path) / "result.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        told = Uncertainty.from_dict(result)
        fitted = result["data"].get("series") or series
        told = told.select([fitted.index(name) for name in series]) if series else told
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None, f"No bands: {path} does not tell the errors of these parameters."
    if not np.array_equal(told.params, model.curve.params.detach().double().cpu().numpy()):
        return None, f"No bands: the parameters of {path} are not those of {ckpt_path}."
    if not set(np.ravel(result["status"])) <= set(AT_MINIMUM):
        return told, "The fit has not arrived at a minimum, which bands are about: these only tell how steep it is."
    held = [name for i, name in enumerate(told.names) if (told.kinds[..., i] == AT_BOUND).any()]
    if held:
        return told, f"At a bound: {', '.join(held)}, which the bands take as known to be there."
    return told, ""


def in_order_of_the_data(model: CurveFit, fitted: Sequence[str], now: Sequence[str]) -> None:
    """Series are known by their names, whatever their order in the table, and whether it holds all of them."""
    if now and not fitted:
        raise InputError("data.series: given, and one series was fitted, without a name; leave it out")
    strange = [f"{name!r} was not fitted" for name in now if name not in fitted]
    if strange or bool(fitted) != bool(now):
        raise InputError(f"data.series: {[*strange, 'given none'][0]}; expected the series {', '.join(fitted)}")
    if now:
        order = [fitted.index(name) for name in now]
        model.curve.set_params(model.curve.params.detach()[order])
