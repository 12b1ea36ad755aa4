"""Where the series come from: generated with a seed, or read from a table."""

import csv
from abc import ABC, abstractmethod
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from gd_lightning.errors import InputError, suggest

__all__ = ["NoisySeries", "Series", "Table"]

ARTICLE_SEED = 2021


def check_seed(name: str, seed: int | bool) -> None:
    """Refuse a seed that not every generator takes.

    Raises:
        InputError: it is no whole number from 0 to 2**32 - 1.
    """
    if isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise InputError(f"{name}: given {seed}, expected a whole number from 0 to {2**32 - 1}")


class Series(LightningDataModule, ABC):
    """One series (t, targets), handed over whole: the full batch of every step.

    A subclass writes `load`.

    Args:
        seed: seed of everything random about the fit: generated noise here, and the starting values that the
            module draws from the same generator. None stands for the run's `seed_everything`, and for the
            article's 2021 outside the command line.

    Attributes:
        t: independent variable, shape `(T,)`, after `setup`.
        targets: data, shape `(T,)`, after `setup`.
        labels: what the plots write on the two axes.
        generator: the generator, as `load` left it.
    """

    t: Tensor
    targets: Tensor

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        if seed is not None:
            check_seed("data.seed", seed)
        self.seed = ARTICLE_SEED if seed is None else seed
        self.labels = ("t", "y")
        self.generator = torch.Generator()

    @abstractmethod
    def load(self) -> tuple[Tensor, Tensor]:
        """Make or read t and targets; whatever is random comes from `self.generator`."""

    def setup(self, stage: str) -> None:
        self.generator.manual_seed(self.seed)
        self.t, self.targets = self.load()

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self._whole_series()

    def predict_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self._whole_series()

    def on_before_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Tables are read in double precision; the descent has the precision of the module."""
        assert self.trainer is not None
        dtype = self.trainer.lightning_module.dtype
        return batch[0].to(dtype), batch[1].to(dtype)

    def _whole_series(self) -> DataLoader[tuple[Tensor, ...]]:
        # A loader draws a number from the global generator each time it is read, unless it has one of its own.
        dataset = TensorDataset(self.t.unsqueeze(0), self.targets.unsqueeze(0))
        return DataLoader(dataset, batch_size=None, generator=torch.Generator())


class NoisySeries(Series):
    """A noisy parabola: y = noise * U(0, 1) + curvature * (t - center)**2 + offset, at t = 0, 1, 2, ...

    The defaults give the article's series (Awan, 2021), digit for digit. The noise is drawn on the CPU in
    float32, so that every device sees the same numbers.

    Args:
        seed: seed of the noise and of the start; None stands for the run's `seed_everything`.
        points: number of points T.
        noise: width of the uniform noise, in units of y.
        curvature: factor of the square.
        center: t of the minimum.
        offset: value at the minimum, before the noise.
    """

    def __init__(
        self,
        seed: int | None = None,
        points: int = 20,
        noise: float = 5.0,
        curvature: float = 0.8,
        center: float = 7.5,
        offset: float = 1.0,
    ) -> None:
        super().__init__(seed)
        if points is None or points < 1:
            raise InputError(f"data.points: given {points}, expected at least 1; the article has 20")
        self.points = points
        self.noise = noise
        self.curvature = curvature
        self.center = center
        self.offset = offset

    def load(self) -> tuple[Tensor, Tensor]:
        t = torch.arange(self.points).float()
        noise = torch.rand(self.points, generator=self.generator) * self.noise
        return t, noise + self.curvature * (t - self.center) ** 2 + self.offset


class Table(Series):
    """Two columns of a CSV file with a header line; numbers are read in double precision.

    Args:
        path: the file.
        t: name of the column with the independent variable.
        y: name of the column with the data.
        seed: seed of the start; None stands for the run's `seed_everything`.
    """

    def __init__(self, path: str, t: str, y: str, seed: int | None = None) -> None:
        super().__init__(seed)
        self.path = Path(path)
        self.labels = (t, y)

    def load(self) -> tuple[Tensor, Tensor]:
        table = self._read()
        if table.num_rows == 0:
            raise InputError(f"{self.path}: no data, expected a header line and a row for each point")
        t, targets = (self._numbers(table, name) for name in self.labels)
        return t, targets

    def _read(self) -> pa.Table:
        if not self.path.is_file():
            kind = "a folder" if self.path.is_dir() else "no such file"
            siblings = [p.name for p in self.path.parent.glob("*.csv")] if self.path.parent.is_dir() else []
            hint = f"; {suggest(self.path.name, siblings)}" if siblings else ""
            raise InputError(f"data.path: {self.path} is {kind}, expected a CSV file{hint}")
        as_text = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(self.labels, pa.string()))
        try:
            table = pyarrow.csv.read_csv(self.path, convert_options=as_text)
            columns = table.column_names
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            if self.path.read_bytes().strip(b"\xef\xbb\xbf \r\n") == b"":
                raise InputError(f"{self.path}: empty file, expected a header line and a row for each point") from None
            raise InputError(f"{self.path}: cannot be read as CSV in UTF-8: {error}") from None
        if len(columns) == 1:
            raise InputError(f"{self.path}: only one column, {columns[0]!r}; expected commas between the columns")
        for key, name in zip(("t", "y"), self.labels, strict=True):
            if columns.count(name) > 1:
                raise InputError(f"data.{key}: {self.path} has {columns.count(name)} columns {name!r}, expected one")
            if name not in columns:
                raise InputError(f"data.{key}: {self.path} has no column {name!r}; {suggest(name, columns)}")
        return table

    def _numbers(self, table: pa.Table, name: str) -> Tensor:
        texts = pc.utf8_trim_whitespace(table.column(name))
        try:
            numbers = torch.tensor(pc.cast(texts, pa.float64()).to_numpy())
        except pa.ArrowInvalid:
            row = next(row for row, text in enumerate(texts) if not _is_number(text))
        else:
            unusable = (~torch.isfinite(numbers)).nonzero().flatten().tolist()
            if not unusable:
                return numbers
            row = unusable[0]
        given = repr(texts[row].as_py()) if texts[row].as_py() else "an empty cell"
        raise InputError(
            f"{self.path}: column {name!r}, data row {row + 1} (line {self._line(row)} of the file): "
            f"{given}, expected a finite number; correct or remove that row"
        )

    def _line(self, row: int) -> int:
        """The line of the file on which a data row ends; empty lines count as lines and not as rows."""
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            rows = -1
            for cells in reader:
                rows += bool(cells)
                if rows == row + 1:
                    break
            return reader.line_num


def _is_number(text: pa.Scalar) -> bool:
    try:
        pc.cast(text, pa.float64())
    except pa.ArrowInvalid:
        return False
    return True
