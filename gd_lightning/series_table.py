"""The data of very many series for Lightning: chunks of Parquet files."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from gd_lightning.data import as_it_is, columns_of
from gd_lightning.series_files import Chunk, SeriesFiles

__all__ = ["SeriesTable"]


class SeriesTable(LightningDataModule):
    """Very many series from Parquet files, long (a row for each point) or wide (a row for each series).

    They are read in chunks, so that memory does not grow with their number. A long table is sorted by its series.

    Args:
        path: a file, a folder of files, a pattern such as `data/*.parquet`, or a list of files.
        y: the data: of a long table a column; of a wide one a column of lists, or several columns of numbers, as a list
            or a pattern such as `y*`.
        t: the independent variable, likewise; or numbers that all series of a wide table share. Unless given, the
            numbers that the columns of y have as names, else 0, 1, 2, ...
        sigma: standard deviations of y, as y.
        series: the column that names the series; a wide table may have none.
        chunk_series: how many series are fitted at a time, at most.
        chunk_points: how many points these have, at most.
        workers: how many processes read ahead.
    """

    def __init__(
        self,
        path: str | list[str],
        y: str | list[str],
        t: str | list[str] | list[float] | None = None,
        sigma: str | list[str] | None = None,
        series: str | None = None,
        chunk_series: int = 20_000,
        chunk_points: int = 1_000_000,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.given: dict[str, Any] = {"path": path, "y": y, "t": t, "sigma": sigma, "series": series}
        self.limits = {"chunk_points": chunk_points, "chunk_series": chunk_series}
        self.workers = workers
        self.series = series or "series"
        named = t if isinstance(t, str) else "t"
        self.labels = (columns_of(named)[0], columns_of(y)[0] if isinstance(y, str) else "y")
        self.wanted: Sequence[int] | None = None
        self._files: SeriesFiles | None = None

    @property
    def files(self) -> SeriesFiles:
        """The files, looked through once."""
        if self._files is None:
            self._files = SeriesFiles(**{**self.given, **self.limits})
        return self._files

    def predict_dataloader(self) -> DataLoader[Chunk | None]:
        """The chunks that are wanted; Lightning's sampler deals them out to the processes, each to one of them."""
        wanted = range(len(self.files)) if self.wanted is None else self.wanted
        return DataLoader(
            Chunks(self.files, wanted, 1 if self.trainer is None else self.trainer.world_size),
            batch_size=None,
            collate_fn=as_it_is,
            num_workers=self.workers,
            generator=torch.Generator(),
        )

    def transfer_batch_to_device(self, batch: Chunk | None, device: torch.device, dataloader_idx: int) -> Chunk | None:
        return None if batch is None else batch._replace(points=batch.points.to(batch.points.targets.to(device)))


class Chunks(Dataset[Chunk | None]):
    """Some chunks of files.

    Args:
        files: the files.
        wanted: the numbers of the chunks.
        least: how many processes share them. Where there are fewer chunks, the rest are none: Lightning's sampler deals
            out one to each process at least.
    """

    def __init__(self, files: SeriesFiles, wanted: Sequence[int], least: int = 1) -> None:
        self.files = files
        self.wanted = list(wanted)
        self.least = least

    def __len__(self) -> int:
        return max(len(self.wanted), self.least)

    def __getitem__(self, i: int) -> Chunk | None:
        return self.files.read(self.wanted[i]) if i < len(self.wanted) else None
