"""One series of more points than fit into memory: a data module that reads it from Parquet, a part at a time."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from gd_lightning.cells import NUMBER, Column
from gd_lightning.conditioning import Sample
from gd_lightning.data import Series, columns_of
from gd_lightning.descent_in_parts import Share
from gd_lightning.errors import InputError, suggest
from gd_lightning.parquet_rows import in_one_line, opened
from gd_lightning.points import Points

__all__ = ["StreamedTable"]

PART = 2**17  # rows read at once: 1 MB a column, of which the work on it stays in the processor's caches
SAMPLE = 10_000  # points that starting values, learning rate and pictures are made from
ORDERS = ("random", "file")


class RowGroup(NamedTuple):
    """A row group of one of the files.

    Attributes:
        file: which of the files.
        number: which of its row groups.
        start: rows of the same file before it.
        parts: how many points each of its parts has, rows that lack no value.
    """

    file: int
    number: int
    start: int
    parts: tuple[int, ...]


class PointRows:
    """The rows of a Parquet file as points.

    Args:
        path: the file.
        predictors: names of the columns of the predictors.
        y: that of the data.
        sigma: that of their standard deviations, where there is one.

    Attributes:
        groups: rows of each row group.
    """

    decimal = "."

    def __init__(self, path: str, predictors: Sequence[str], y: str, sigma: str | None) -> None:
        self.file = path
        self.predictors = predictors
        options = [*((name, "data.t") for name in predictors), (y, "data.y")]
        options += [(sigma, "data.sigma")] if sigma is not None else []
        self.columns = [name for name, _ in options]
        with self._content() as content:
            names, metadata = content.schema_arrow.names, content.metadata
            for name, option in options:
                if names.count(name) != 1:
                    given = f"{names.count(name)} columns" if name in names else "no column"
                    hint = "rename the others" if name in names else suggest(name, names)
                    raise InputError(f"{option}: {path} has {given} {name!r}; {hint}")
            self.groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]

    def _content(self) -> Any:
        if not Path(self.file).is_file():
            kind = "a folder" if Path(self.file).is_dir() else "no such file"
            raise InputError(f"data.path: {self.file} is {kind}, expected a Parquet file")
        with in_one_line(f"{self.file}: cannot be read as Parquet"):
            return opened(self.file)

    def place(self, row: int) -> str:
        """Where a row is."""
        return f"data row {row + 1}"

    def read(self, group: int, start: int) -> Iterator[tuple[int, Points, Tensor | None]]:
        """The parts of a row group: their numbers of rows, their points, and which rows these are where not all.

        Raises:
            InputError: it cannot be read, or holds what is no finite number.
        """
        readers = [Column(self, name) for name in self.columns]
        with in_one_line(f"{self.file}: row group {group + 1} cannot be read"), self._content() as content:
            for batch in content.iter_batches(PART, row_groups=[group], columns=list(set(self.columns))):
                cells = [self._numbers(reader, batch.column(reader.name), start) for reader in readers]
                yield batch.num_rows, *self._points(cells, start)
                start += batch.num_rows

    def _numbers(self, column: Column, cells: pa.Array, start: int) -> pa.Array:
        values = column.numbers(cells, start)
        if values.type != NUMBER and values.null_count < len(values):
            raise InputError(
                f"{self.file}: column {column.name!r} holds {values.type}, expected numbers; for dates and durations "
                "write the time since an origin"
            )
        return pc.cast(values, NUMBER)

    def _points(self, columns: list[pa.Array], start: int) -> tuple[Points, Tensor | None]:
        complete = None
        if any(column.null_count for column in columns):
            mask = reduce(pc.and_, [pc.is_valid(column) for column in columns])
            columns = [column.filter(mask) for column in columns]
            complete = torch.tensor(mask.to_numpy(zero_copy_only=False))
        points = self.as_points([torch.tensor(column.to_numpy()) for column in columns])
        sigma = points.sigma
        if sigma is not None and (sigma <= 0).any():
            at = int((sigma <= 0).nonzero()[0])
            row = at if complete is None else int(complete.nonzero()[at])
            raise InputError(
                f"data.sigma: column {self.columns[-1]!r} of {self.file}, {self.place(start + row)}: "
                f"{sigma[at].item():g}, expected standard deviations above 0; correct or remove that row"
            )
        return points, complete

    @property
    def width(self) -> int:
        """How many numbers a point has."""
        return len(self.columns)

    def as_points(self, numbers: list[Tensor]) -> Points:
        """Points from the columns, in their order."""
        sigma = numbers.pop() if len(numbers) > len(self.predictors) + 1 else None
        *predictors, targets = numbers
        return Points(tuple(predictors) if len(predictors) > 1 else predictors[0], targets, sigma)


class Look(NamedTuple):
    """What one pass over a table finds, before the first step.

    Attributes:
        rows: of the table.
        n: points, which are rows that lack no value.
        groups: the row groups, with their points counted.
        sample: some of the points, in their order; all where there are few.
        mean: of y, weighted by 1/sigma**2.
        log_sigma: sum of the logarithms of sigma; 0 without.
        typical_sigma: root mean square of sigma; 1 without.
        digest: by which to tell whether the table is the same.
    """

    rows: int
    n: int
    groups: list[RowGroup]
    sample: Points
    mean: float
    log_sigma: float
    typical_sigma: float
    digest: str


class StreamedTable(Series):
    """One long series in Parquet, of which no more than a part is in memory: 100 million points, or more.

    The columns hold numbers. Rows that lack a value are left out and counted, in one pass over the table before the
    first step. That pass also draws a sample of at most 10,000 points, by the seed: from it come starting values, what
    the curvature says of the learning rate (also of `lr: auto`), and the pictures. Loss, RMSE, gradient, standard
    errors and measures of the fit are over all points. `lr: auto` leaves room for what the sample misses: it is
    1 / largest curvature; in minibatches 1 / that of the steepest single point, and times 1 - beta with momentum.

    Without `batch_points` an epoch is one step, on all points: row groups are read one after the other and their
    gradients summed. Otherwise each minibatch is a step. It holds points of one row group, or of 131,072 consecutive
    rows of a larger one: where each step is to see y along all of t, write the rows in random order.

    Of several processes each has its share of every batch: row groups in turn, or a slice of a minibatch. Gradients are
    averaged by Lightning, weighted so that their mean is that over all points, whatever the shares.

    Args:
        path: the Parquet file, or a list of them with the same columns, one after the other.
        t: name of the column with the independent variable; for several a list, or names with commas between them.
        y: name of the column with the data.
        sigma: name of the column with standard deviations of y; each point then weighs 1/sigma**2.
        batch_points: number of points in a minibatch, at most 131,072; all points are one batch unless given.
        order: of minibatches. `random`: in each epoch row groups, and points within each part of them, are drawn anew
            from seed + epoch; `file`: as they stand.
        seed: seed of sample, order and start; None stands for the run's `seed_everything`.
    """

    def __init__(
        self,
        path: list[str] | str,
        t: list[str] | str,
        y: str,
        sigma: str | None = None,
        batch_points: int | None = None,
        order: str = "random",
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        self.paths = [path] if isinstance(path, str) else [str(one) for one in path]
        self.predictors = columns_of(t)
        if not self.predictors or len(set(self.predictors)) < len(self.predictors):
            raise InputError(f"data.t: given {list(self.predictors)}, expected one column or several different ones")
        if batch_points is not None and not 1 <= batch_points <= PART:
            raise InputError(
                f"data.batch_points: given {batch_points}, expected 1 to {PART}, or none for a step on all points"
            )
        if order not in ORDERS:
            raise InputError(f"data.order: given {order!r}; {suggest(order, ORDERS)}")
        self.y = y
        self.sigma = sigma
        self.batch_points = batch_points
        self.order = order
        self.labels = (*self.predictors, y)
        if not self.paths:
            raise InputError("data.path: given no file, expected at least one")
        self.source = self.paths[0] if len(self.paths) == 1 else f"{len(self.paths)} files from {self.paths[0]}"
        self._look: Look | None = None
        self._files: list[PointRows] = []

    def setup(self, stage: str) -> None:
        if stage == "predict":
            raise InputError(
                "data: a streamed table cannot be predicted, for all predictions would be in memory; give a part of it "
                "as --data gd_lightning.Table"
            )
        super().setup(stage)

    def load(self) -> Points:
        """The sample; the first time the whole table is read once."""
        if self._look is None:  # the Trainer asks again
            self._files = [PointRows(path, self.predictors, self.y, self.sigma) for path in self.paths]
            self._look = look_through(self._files, self.seed)
            self.facts = {
                "points": self.look.n,
                "rows": self.look.rows,
                "left out": self.look.rows - self.look.n,
                "sample": len(self.look.sample.targets),
                **({} if self.batch_points is None else {"minibatch": self.batch_points}),
            }
        return self.look.sample

    @property
    def look(self) -> Look:
        """What is known of all points, after `setup`."""
        assert self._look is not None
        return self._look

    @property
    def as_sample(self) -> Sample | None:
        """What the sample stands for; none where it is all points, and all are in each step."""
        seen, minibatches = len(self.look.sample.targets), self.batch_points is not None
        return Sample(seen, self.look.n, minibatches) if minibatches or seen < self.look.n else None

    @property
    def batches_per_epoch(self) -> int:
        """Steps that an epoch takes."""
        if self.batch_points is None:
            return 1
        return sum(math.ceil(n / self.batch_points) for group in self.look.groups for n in group.parts)

    @property
    def fingerprint(self) -> str:
        """A few words by which to tell whether the data are the same."""
        return f"{self.look.n} points, sha256 {self.look.digest}"

    def train_dataloader(self) -> Any:
        return Batches(self)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Parts are read in double precision; the descent has the precision and the device of the module."""
        assert self.trainer is not None
        return batch.to(next(self.trainer.lightning_module.parameters()).detach())

    def whole(self, rank: int = 0, processes: int = 1) -> Share:
        """What one of some processes sees of all points: row groups in turn."""
        groups = self.look.groups[rank::processes]
        return Share(lambda: (part for group in groups for part in self.parts(group)), self.look.n, whole=True)

    def parts(self, group: RowGroup) -> Iterator[Points]:
        """The points of a row group, a part at a time; those without any are left out."""
        for _, points, _ in self._files[group.file].read(group.number, group.start):
            if len(points.targets):
                yield points

    def minibatches(self, epoch: int, rank: int = 0, processes: int = 1) -> Iterator[Share]:
        """What one of some processes sees of each minibatch of an epoch: a slice."""
        assert self.batch_points is not None
        generator = torch.Generator().manual_seed(self.seed + epoch)
        groups = self.look.groups
        if self.order == "random":
            groups = [groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()]
        try:
            for points in (part for group in groups for part in self.parts(group)):
                n = len(points.targets)
                order = torch.randperm(n, generator=generator) if self.order == "random" else torch.arange(n)
                for block in torch.split(order, self.batch_points):
                    yield share_of(points.where(block), rank, processes, whole=n == len(block) == self.look.n)
        except InputError as error:
            yield failing(error)


class Batches:
    """The batches of an epoch, as the Trainer asks for them; a run that was interrupted goes on with the next one."""

    def __init__(self, table: StreamedTable) -> None:
        self.table = table
        self._taken = 0

    def __len__(self) -> int:
        return self.table.batches_per_epoch

    def __iter__(self) -> Iterator[Share]:
        trainer = self.table.trainer
        assert trainer is not None
        rank, processes = trainer.global_rank, trainer.world_size
        if self.table.batch_points is None:
            return iter([self.table.whole(rank, processes)])
        # current_epoch is one less where a run goes on
        epoch: int = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        taken, self._taken = self._taken, 0
        return islice(self.table.minibatches(epoch, rank, processes), taken, None)

    def state_dict(self) -> dict[str, int]:
        trainer = self.table.trainer
        assert trainer is not None
        taken: int = trainer.fit_loop.epoch_loop.batch_progress.current.processed  # type: ignore[attr-defined]
        return {"taken": taken % len(self)}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._taken = state_dict["taken"]


def share_of(points: Points, rank: int, processes: int, whole: bool) -> Share:
    """The slice of a minibatch that one of some processes sees; nothing where there are more processes than points."""
    n = len(points.targets)
    mine = points.where(torch.arange(n * rank // processes, n * (rank + 1) // processes))
    return Share(lambda: iter([mine] if len(mine.targets) else []), n, whole)


def look_through(files: Sequence[PointRows], seed: int) -> Look:
    """Read everything once.

    Raises:
        InputError: something cannot be read or is no finite number, or no row is complete.
    """
    total = sum(sum(file.groups) for file in files)
    # torch.randperm of all rows would need their memory; the few that are drawn twice are drawn once then
    drawn = torch.unique(torch.randint(max(total, 1), (SAMPLE,), generator=torch.Generator().manual_seed(seed)))
    wanted = torch.arange(total) if total <= SAMPLE else drawn
    groups, digest = [], hashlib.sha256()
    # in one piece: many small ones that stay, between the large ones that go, would hold on to the memory of these
    sample, taken = torch.empty(files[0].width, len(wanted), dtype=torch.float64), 0
    sums = torch.zeros(4, dtype=torch.float64)  # of 1/sigma**2, y/sigma**2, log(sigma), sigma**2
    rows = 0
    for i, file in enumerate(files):
        start = rows
        for number in range(len(file.groups)):
            before, counts = rows - start, []
            for length, points, complete in file.read(number, before):
                chosen = wanted[(wanted >= rows) & (wanted < rows + length)] - rows
                if complete is not None:  # the row's place among those that are
                    chosen = (complete.cumsum(0) - 1)[chosen[complete[chosen]]]
                values = (*points.columns, points.targets, *([] if points.sigma is None else [points.sigma]))
                for row, column in zip(sample, values, strict=True):
                    row[taken : taken + len(chosen)] = column[chosen]
                    digest.update(column.numpy().data)
                taken += len(chosen)
                sums += sums_of(points)
                counts.append(len(points.targets))
                rows += length
            groups.append(RowGroup(i, number, before, tuple(counts)))
    n = sum(sum(group.parts) for group in groups)
    if n == 0:
        raise InputError(f"{files[0].file}: none of {rows} data rows has a value in every column, expected some")
    if taken == 0:
        raise InputError(
            f"{files[0].file}: of {rows} data rows only {n} have a value in every column, and none of them is among "
            f"the {SAMPLE} that are drawn for a first look; leave the other rows out of the file"
        )
    weight, weighted, log_sigma, square = sums.tolist()
    return Look(
        rows,
        n,
        groups,
        files[0].as_points(list(sample[:, :taken].clone().unbind())),
        weighted / weight,
        log_sigma,
        (square / n) ** 0.5,
        digest.hexdigest()[:12],
    )


def sums_of(points: Points) -> Tensor:
    """Sums of 1/sigma**2, y/sigma**2, log(sigma) and sigma**2, shape `(4,)`."""
    n, y, sigma = len(points.targets), points.targets, points.sigma
    if sigma is None:
        return y.new_tensor([n, y.sum(), 0.0, n])
    return torch.stack([(1 / sigma**2).sum(), (y / sigma**2).sum(), sigma.log().sum(), (sigma**2).sum()])


def failing(error: InputError) -> Share:
    """A share that cannot be read, by which all processes learn of it."""

    def read() -> Iterator[Points]:
        raise error
        yield

    return Share(read, 1, whole=False)
