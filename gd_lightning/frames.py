"""The parameters of a fit as a data frame of pandas, where that is installed."""

from typing import TYPE_CHECKING, Any

from gd_lightning.errors import InputError

if TYPE_CHECKING:
    from gd_lightning.result import FitResult

__all__ = ["to_pandas"]


def to_pandas(result: "FitResult") -> Any:
    """A row for each parameter: value, standard_error, low and high of its interval, start.

    Of several series a row for each of them: each parameter with its standard error beside it, rmse and status.

    Raises:
        InputError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise InputError("to_pandas: pandas is not installed; pip install pandas") from None
    errors = result.standard_errors
    if result.points.batch:
        columns: dict[str, Any] = {}
        for name, values in result.parameters.items():
            columns[name] = values.flatten().tolist()
            columns[f"{name}_standard_error"] = errors[name].flatten().tolist()
        columns |= {"rmse": result.rmse.flatten().tolist(), "status": result.status.flatten().tolist()}
        return pd.DataFrame(columns, index=_index(pd, result))
    columns = {"value": list(result.parameters.values())}
    columns["standard_error"] = list(errors.values())
    _, intervals, _ = result.shown_intervals
    columns["low"] = [low for low, _ in intervals.values()]
    columns["high"] = [high for _, high in intervals.values()]
    columns["start"] = list(result.initial_parameters.values())
    return pd.DataFrame(columns, index=pd.Index(list(result.parameters), name="parameter"))


def _index(pd: Any, result: "FitResult") -> Any:
    """The names of the series, else where they stand along the leading axes, from 0."""
    if result.series:
        return pd.Index(list(result.series), name="series")
    batch = result.points.batch
    if len(batch) == 1:
        return pd.RangeIndex(batch[0], name="series")
    return pd.MultiIndex.from_product([range(size) for size in batch], names=[f"axis {i}" for i in range(len(batch))])
