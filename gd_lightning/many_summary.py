"""What became of very many series: how many ended how, and the worst, the middle and the best of them drawn."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gd_lightning.convergence import AT_MINIMUM
from gd_lightning.curve import Curve
from gd_lightning.files import write_whole
from gd_lightning.fit_series import FitSeries
from gd_lightning.many_progress import duration
from gd_lightning.parquet_rows import Cursor, ParquetRows
from gd_lightning.pictures import picture
from gd_lightning.points import Points, masked, stack
from gd_lightning.rendering import png
from gd_lightning.series_table import SeriesTable
from gd_lightning.terminal import printable, say

__all__ = ["summary"]


def summary(model: FitSeries, data: SeriesTable, output: Path, seconds: float, fitted: int) -> None:
    """Tell how many series ended how, where the results are, and draw the worst, median and best."""
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    rmse = []
    arrived = pa.array(AT_MINIMUM)
    for _, batch in ParquetRows(output).batches(["rmse", "status", "message"]):
        status, message = (batch.column(name).dictionary_decode() for name in ("status", "message"))
        good = pc.is_in(status, arrived)
        statuses.update(_counted(status))
        reasons.update(_counted(message.filter(pc.invert(good))))
        values = batch.column("rmse").cast(pa.float64())
        rmse.append(pc.if_else(good, values, np.nan).to_numpy(zero_copy_only=False))
    found = np.concatenate(rmse)
    shown = Table(box=None)
    shown.add_column("status")
    shown.add_column("series", justify="right")
    shown.add_column("", justify="right")
    for name, count in statuses.most_common():
        shown.add_row(Text(printable(name)), f"{count:,}", f"{count / len(found):.2%}")
    say(f"{model.curve.equation}, fitted to {len(found):,} series")
    Console(file=sys.stdout).print(shown)
    for what, count in data.files.notes.items():
        say(f"{what}: {count:,}")
    for reason, count in reasons.most_common(3):
        say(f"not fitted: {count:,} series, {reason}")
    if np.isfinite(found).any():
        middle = float(np.nanmedian(found))
        say(f"RMSE: {np.nanmin(found):.6g} at best, {middle:.6g} in the middle, {np.nanmax(found):.6g} at worst")
    if fitted and seconds:
        say(f"{fitted:,} series in {duration(seconds)}: {fitted / seconds:,.0f} a second")
    say(f"Results: {output}")
    picture_of = _draw(model.curve, data, output, found)
    if picture_of is not None:
        say(f"Worst, median and best: {picture_of}")


def _counted(texts: pa.Array) -> dict[str, int]:
    """How often each text stands there."""
    return {one["values"]: one["counts"] for one in texts.value_counts().to_pylist()}


def _draw(curve: Curve, data: SeriesTable, output: Path, rmse: Any) -> Path | None:
    """Draw the series with the largest, the middle and the smallest RMSE, beside the output."""
    finite = np.flatnonzero(np.isfinite(rmse))
    if not len(finite):
        return None
    order = finite[np.argsort(rmse[finite], kind="stable")]
    places = list(dict.fromkeys(int(order[i]) for i in (-1, len(order) // 2, 0)))
    some: list[Points] = []
    names, params = [], []
    fits = Cursor(ParquetRows(output), curve.names)
    for place in places:
        chunk, row = data.files.find(place)
        read = data.files.read(chunk)
        some.append(masked(read.points).flat().one(row))
        names.append(f"series {read.names[row].as_py()}")
        [fit] = fits.rows(place, place + 1)
        params.append([fit.column(name)[0].as_py() for name in curve.names])
    curve.double()
    shown = stack(some) if len(some) > 1 else some[0]
    values = torch.tensor(params if len(some) > 1 else params[0], dtype=torch.float64)
    curve.set_params(values)
    curve.initial_params = values.clone()
    figure = picture(
        curve,
        shown,
        values,
        f"{len(rmse):,} fits",
        labels=data.labels,
        series=names if len(some) > 1 else (),
    )
    target = output.with_suffix(".png")
    write_whole(target, png(figure))
    return target
