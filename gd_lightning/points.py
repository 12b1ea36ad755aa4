"""Points: what a curve is fitted to, as tensors; and how a user's arrays become such."""

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gd_lightning.errors import InputError, suggest

__all__ = [
    "Points",
    "Predictors",
    "as_numbers",
    "as_points",
    "check_kept",
    "check_numbers",
    "check_shapes",
    "check_sigma_kept",
    "check_sizes",
    "lent",
    "masked",
    "sigma_of",
    "sizes",
    "some_of",
    "stack",
    "weighed",
]

Predictors = Tensor | tuple[Tensor, ...]


class Points(NamedTuple):
    """Measured points of one series, or of several side by side.

    Series of unequal lengths are filled up to one length T; what was filled in has an infinite sigma. Data and sigma
    that a point to be predicted lacks are nan.

    Attributes:
        t: the independent variable, shape `(T,)` or `(*batch, T)`; a tuple of such where there are several.
        targets: the data y, shape `(*batch, T)`.
        sigma: standard deviations of the data, shape `(*batch, T)`; none where every point weighs the same.
    """

    t: Predictors
    targets: Tensor
    sigma: Tensor | None = None

    @property
    def columns(self) -> tuple[Tensor, ...]:
        """The predictors, one or several."""
        return self.t if isinstance(self.t, tuple) else (self.t,)

    @property
    def batch(self) -> tuple[int, ...]:
        """Shape of the leading axes: `()` for one series."""
        return tuple(self.targets.shape[:-1])

    @property
    def present(self) -> Tensor:
        """Where there is a point: true or false, shape `(*batch, T)`."""
        if self.sigma is None:
            return torch.ones_like(self.targets, dtype=torch.bool)
        return ~torch.isinf(self.sigma)

    @property
    def weights(self) -> Tensor:
        """1/sigma**2 beside that of the surest point of each series, `(*batch, T)`.

        It is 0 where there is no point, and nan in a series without any. The inverse square of sigma itself a number
        may not hold.
        """
        if self.sigma is None:
            return torch.ones_like(self.targets, dtype=torch.float64)
        sigma = self.sigma.double()
        return (sigma.amin(dim=-1, keepdim=True) / sigma) ** 2

    def to(self, like: Tensor) -> "Points":
        """The same points in the precision and on the device of a tensor."""
        columns = tuple(column.to(like) for column in self.columns)
        t = columns if isinstance(self.t, tuple) else columns[0]
        return Points(t, self.targets.to(like), None if self.sigma is None else self.sigma.to(like))

    def double(self) -> "Points":
        """The same points in double precision."""
        return self if self.targets.dtype == torch.float64 else self.to(self.targets.double())

    def where(self, chosen: Tensor) -> "Points":
        """The points of one series for which a tensor of shape `(T,)` is true, or which it numbers."""
        columns = tuple(column[chosen] for column in self.columns)
        t = columns if isinstance(self.t, tuple) else columns[0]
        return Points(t, self.targets[chosen], None if self.sigma is None else self.sigma[chosen])

    def flat(self) -> "Points":
        """Several series on one leading axis, `(S, T)`."""
        shape = (-1, self.targets.shape[-1])
        columns = tuple(column if column.dim() == 1 else column.reshape(shape) for column in self.columns)
        t = columns if isinstance(self.t, tuple) else columns[0]
        sigma = None if self.sigma is None else self.sigma.expand_as(self.targets).reshape(shape)
        return Points(t, self.targets.reshape(shape), sigma)

    def rows(self, chosen: Tensor | slice) -> "Points":
        """Some of several series `(S, T)`: those for which a tensor of shape `(S,)` is true, or which it numbers."""
        columns = tuple(column if column.dim() == 1 else column[chosen] for column in self.columns)
        t = columns if isinstance(self.t, tuple) else columns[0]
        return Points(t, self.targets[chosen], None if self.sigma is None else self.sigma[chosen])

    def one(self, i: int) -> "Points":
        """The i-th series, counted through all leading axes, with its own points only."""
        if not self.batch:
            return self if self.sigma is None else self.where(self.present)
        length = self.targets.shape[-1]

        def row(values: Tensor) -> Tensor:
            return values if values.dim() == 1 else values.reshape(-1, length)[i]

        columns = tuple(row(column) for column in self.columns)
        sigma = None if self.sigma is None else row(self.sigma)
        series = Points(columns if isinstance(self.t, tuple) else columns[0], row(self.targets), sigma)
        return series.where(series.present)

    def each(self) -> list["Points"]:
        """The series one by one, each with its own points only."""
        return [self.one(i) for i in range(math.prod(self.batch))]


def some_of(count: int, most: int) -> Tensor:
    """Which points stand for all of so many: at most `most` of them, always the same, in the order of the draw.

    At random, since every n-th point would make a quick oscillation look slow.
    """
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most]


def stack(series: Sequence[Points]) -> Points:
    """Several series side by side; shorter ones are filled up with their last point at an infinite sigma."""
    length = max(len(one.targets) for one in series)
    unequal = any(len(one.targets) != length for one in series)
    weighted = any(one.sigma is not None for one in series)

    def filled(values: Tensor, value: Tensor | float) -> Tensor:
        return torch.cat([values, values.new_full((length - len(values),), float(value))])

    columns = tuple(
        torch.stack([filled(column, column[-1]) for column in group])
        for group in zip(*(one.columns for one in series), strict=True)
    )
    targets = torch.stack([filled(one.targets, one.targets[-1]) for one in series])
    sigma = None
    if unequal or weighted:
        sigmas = [torch.ones_like(one.targets) if one.sigma is None else one.sigma for one in series]
        sigma = torch.stack([filled(one, torch.inf) for one in sigmas])
    return Points(columns if isinstance(series[0].t, tuple) else columns[0], targets, sigma)


def as_points(
    t: Any, y: Any, sigma: Any = None, dtype: torch.dtype | None = None, used: Sequence[str] = ()
) -> tuple[Points, tuple[str, ...] | None]:
    """Lists, arrays, columns of data frames or tensors as points of one precision on one device, copied.

    Args:
        t: numbers, shape `(T,)` or `(*batch, T)`; or a mapping or data frame with one entry for each predictor.
        y: numbers, shape `(*batch, T)`; or the name of a column of the data frame t.
        sigma: standard deviations of y, a number or numbers that broadcast; or the name of a column.
        dtype: precision; that of y where it is a floating tensor, else float32, unless given.
        used: names that the function uses, by which the predictors are found in a data frame that holds y, too.

    Returns:
        The points, and the names of the predictors where the data name them.

    Raises:
        InputError: something is not numbers; the message says what.
    """
    table = t if isinstance(t, Mapping) or hasattr(t, "columns") else None
    taken = {name for name in (y, sigma) if isinstance(name, str)}
    y, sigma = _column(table, "y", y), _column(table, "sigma", sigma)
    if dtype is None:
        dtype = y.dtype if isinstance(y, Tensor) and y.is_floating_point() else torch.float32
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point or dtype.itemsize < 2:
        raise InputError(f"dtype: given {dtype!r}, expected a floating one such as torch.float64")
    device = y.device if isinstance(y, Tensor) else None
    targets = as_numbers("y", y, dtype, device)
    if not targets.any():
        check_kept(as_numbers("y", y, torch.float64, torch.device("cpu")), targets)
    names: tuple[str, ...] | None
    if table is None:
        name = getattr(t, "name", None)  # what a data frame calls its column
        names = (name,) if isinstance(name, str) and name else None
        predictors: Predictors = as_numbers("t", t, dtype, device)
    else:
        own = {str(name): name for name in (table if isinstance(table, Mapping) else table.columns)}
        names = tuple(own)
        if taken:
            others = tuple(name for name in names if name not in taken)
            names = tuple(name for name in others if name in used) or others
        columns = tuple(as_numbers(name, table[own[name]], dtype, device) for name in names)
        if not columns:
            raise InputError("t: given no predictors, expected a mapping such as {'x1': [1, 2], 'x2': [3, 4]}")
        predictors = columns if len(columns) > 1 else columns[0]
    deviations = None if sigma is None else as_numbers("sigma", sigma, dtype, device)
    if deviations is not None:
        try:
            deviations = deviations.expand_as(targets).clone()
        except RuntimeError:
            raise InputError(
                f"sigma has shape {tuple(deviations.shape)} and y has shape {tuple(targets.shape)}; "
                "expected one standard deviation for all points or one for each"
            ) from None
        if not ((deviations > 0) & (deviations < torch.inf)).all():
            given = as_numbers("sigma", sigma, torch.float64, device)
            check_sigma_kept(given.expand_as(targets), deviations)
    return Points(predictors, targets, deviations), names


def sigma_of(weights: Tensor, sigma: Tensor | float = 1.0) -> Tensor:
    """Standard deviations with which squared residuals are multiplied with weights: sigma * weights**(-1/2).

    Where a weight is 0 they are infinite, which is no point.
    """
    return sigma * weights**-0.5


def weighed(points: Points, weights: Any) -> Points:
    """The same points, whose squared residuals are multiplied with weights.

    Raises:
        InputError: there is a sigma, too, or a weight is below 0, not finite, or too small or large for the precision.
    """
    if weights is None:
        return points
    if points.sigma is not None:
        raise InputError("weights: given beside sigma; expected one of them, weights are 1/sigma**2")
    values = _for_each("weights", as_numbers("weights", weights, torch.float64, points.targets.device), points)
    if (values < 0).any():
        raise InputError(f"weights: the least is {values[values < 0].min().item():g}, expected none below 0")
    if not torch.isfinite(values).all():
        raise InputError("weights: one is inf or nan, expected finite numbers; 0 leaves a point out")
    sigma = sigma_of(values).to(points.targets)
    beyond = torch.isinf(sigma) & (values > 0) | (sigma == 0)
    if beyond.any():
        precision = str(sigma.dtype).removeprefix("torch.")
        raise InputError(
            f"weights: {values[beyond][0].item():g} is beyond what {precision} can hold as 1/sigma**2; if only their "
            "relative magnitudes matter, multiply all of them"
        )
    return points._replace(sigma=sigma)


def masked(points: Points, mask: Any = None) -> Points:
    """The same points, of which those count for which a mask is true; the numbers of absent ones are made harmless.

    Raises:
        InputError: the mask is no row of true and false for each series.
    """
    if mask is not None:
        values = as_numbers("mask", mask, torch.float64, points.targets.device)
        if not ((values == 0) | (values == 1)).all():
            raise InputError("mask: expected true where a point counts and false where it does not")
        sigma = torch.ones_like(points.targets) if points.sigma is None else points.sigma
        points = points._replace(sigma=torch.where(_for_each("mask", values, points) == 1, sigma, torch.inf))
    absent = ~points.present
    if not absent.any() or any(column.shape[-1:] != points.targets.shape[-1:] for column in points.columns):
        return points
    columns = [column if torch.isfinite(column).all() else lent(column, ~absent) for column in points.columns]
    t = tuple(columns) if isinstance(points.t, tuple) else columns[0]
    return points._replace(t=t, targets=points.targets.masked_fill(absent & ~torch.isfinite(points.targets), 0.0))


def lent(column: Tensor, present: Tensor) -> Tensor:
    """A predictor in which absent points stand where the first present one of their series does, `(*batch, T)`."""
    each = column.expand(present.shape)
    return torch.where(present, each, each.gather(-1, present.int().argmax(dim=-1, keepdim=True)))


def _for_each(name: str, values: Tensor, points: Points) -> Tensor:
    """Values of a shape that broadcasts, one for each point."""
    try:
        return values.expand(points.targets.shape)
    except RuntimeError:
        raise InputError(
            f"{name} has shape {tuple(values.shape)} and y has shape {tuple(points.targets.shape)}; expected one "
            "for each point"
        ) from None


def _column(table: Any, key: str, values: Any) -> Any:
    """The values, or where they are the name of a column that column."""
    if not isinstance(values, str):
        return values
    if table is None:
        raise InputError(f"{key}: given the name {values!r}, and t has no columns; expected numbers")
    names = list(table if isinstance(table, Mapping) else table.columns)
    if values not in names:
        raise InputError(f"{key}: no column {values!r}; {suggest(values, map(str, names))}")
    return table[values]


def as_numbers(name: str, values: Any, dtype: torch.dtype, device: torch.device | None) -> Tensor:
    """One tensor of numbers, copied."""
    try:
        if "complex" in str(getattr(values, "dtype", "")):
            raise TypeError("complex numbers have no order along an axis")
        values = values.to_dense() if isinstance(values, Tensor) else torch.tensor(_own(values), dtype=dtype)
        numbers: Tensor = values.detach().clone().to(device=device, dtype=dtype)
        return numbers
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{name}: given {type(values).__name__}, expected a row of numbers ({error})") from None


def _own(values: Any) -> Any:
    """A copy where there can be one: an array may be read-only or run backwards, which torch does not take."""
    dates = str(getattr(values, "dtype", "")).startswith(("datetime", "timedelta"))  # also with a time zone
    values = values.to_numpy() if hasattr(values, "to_numpy") else values
    dates = dates or str(getattr(values, "dtype", "")).startswith(("datetime", "timedelta"))
    if dates or (isinstance(values, list | tuple) and values and isinstance(values[0], date)):
        raise TypeError("for dates give the time since a date, such as (t - t.min()).dt.days")
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "O" and any(isinstance(value, str) for value in values.flat):
            raise TypeError("text is no number")
        if isinstance(values, np.ma.MaskedArray):
            values = np.ma.filled(values.astype(np.float64), np.nan)
        elif values.dtype.kind in "fO":  # whose bytes or length torch may not have
            values = values.astype(np.float64)
    return values.copy() if hasattr(values, "copy") else values


def check_shapes(points: Points, names: Sequence[str] = ("t",)) -> None:
    """Refuse points that are not rows of numbers of one length.

    Raises:
        InputError: naming the first such thing.
    """
    targets = points.targets
    if 0 in points.batch:
        raise InputError(f"y has shape {tuple(targets.shape)}: no series; expected at least one")
    for name, column in zip(names, points.columns, strict=True):
        if targets.dim() == 0 or column.shape not in (targets.shape, targets.shape[-1:]):
            raise InputError(
                f"{name} has shape {tuple(column.shape)} and y has shape {tuple(targets.shape)}; "
                "expected one row of numbers each, of one length"
            )


def check_numbers(points: Points, names: Sequence[str] = ("t",)) -> None:
    """Refuse points that are not finite numbers in rows of one length, or whose sigma is not above zero.

    Raises:
        InputError: naming the first such thing.
    """
    check_shapes(points, names)
    targets = points.targets
    sigma = [] if points.sigma is None else [("sigma", points.sigma)]
    for name, values in (*zip(names, points.columns, strict=True), ("y", targets), *sigma):
        bad = ~torch.isfinite(values) if name != "sigma" else ~(values > 0)
        if not bad.any():
            continue
        *series, point = bad.nonzero()[0].tolist()
        where = f"point {point + 1} of {values.shape[-1]}" + (f" of series {series[0] + 1}" if series else "")
        value = values[(*series, point)].item()
        if name == "sigma":
            raise InputError(f"sigma: {where} is {value:g}, expected a standard deviation above 0")
        raise InputError(
            f"{name}: {where} is {value} in {values.dtype}, expected a finite number; "
            + ("give such points a finite number and sigma=inf" if points.batch else "remove such points first")
        )


def sizes(dtype: torch.dtype) -> tuple[float, float]:
    """Between which sizes of data a precision holds squares, and squares of what is small beside them."""
    info = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32)  # which sums half precision
    return math.sqrt(info.tiny / info.eps), math.sqrt(info.max * info.eps)


def check_kept(before: Tensor, after: Tensor) -> None:
    """Refuse data of which a lower precision has left nothing.

    Raises:
        InputError: saying what to do.
    """
    if before.any() and not after.any():
        raise InputError(
            f"y: all of it is 0 in {after.dtype}, and its largest is {before.abs().max().item():g}; multiply it by a "
            "power of ten, or compute in double precision"
        )


def check_sigma_kept(before: Tensor, after: Tensor) -> None:
    """Refuse standard deviations that a lower precision takes for something else: 0, or that there is no point.

    Raises:
        InputError: naming the first of them.
    """
    lost = (torch.isinf(after) & ~torch.isinf(before)) | ((after == 0) & (before > 0))
    if lost.any():
        *_, point = lost.nonzero()[0].tolist()
        raise InputError(
            f"sigma: point {point + 1} of {lost.shape[-1]} is {before[lost][0].item():g}, which {after.dtype} does not "
            "hold; multiply all of them if only their relative magnitudes matter, or compute in double precision"
        )


def check_sizes(points: Points) -> None:
    """Refuse a series whose largest number has no square in its precision: least squares would find nothing in it.

    Raises:
        InputError: naming the point, and what to multiply it with.
    """
    least, most = sizes(points.targets.dtype)
    weighted = [] if points.sigma is None else [("y/sigma", points.sigma)]
    for name, sigma in (("y", torch.ones_like(points.targets)), *weighted):
        values = points.targets / sigma
        size = values.abs()
        if not len(size) or size.max() == 0 or least <= size.max() <= most:
            continue
        point = int(size.argmax())
        y, width = points.targets[point].item(), sigma[point].item()
        power = -math.floor(math.log10(abs(y)) - math.log10(width))  # of what may be no number any more
        hint = "" if values.dtype == torch.float64 else ", or compute in double precision"
        raise InputError(
            f"{name}: point {point + 1} of {len(size)} is {y / width:g}, and {values.dtype} computes with "
            f"squares of {least:.0e} to {most:.0e}; multiply it by 1e{power:+d}{hint}"
        )
