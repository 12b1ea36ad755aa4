"""Where the series come from: generated with a seed, or read from a table."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gd_lightning.errors import InputError, suggest
from gd_lightning.fitting import check_seed
from gd_lightning.formula import Formula
from gd_lightning.points import Points, stack
from gd_lightning.tables import Columns, read_columns

__all__ = ["ARTICLE_SEED", "SEED_BITS", "NoisySeries", "Series", "Table", "as_it_is", "columns_of"]

ARTICLE_SEED = 2021
SEED_BITS = 32  # of a seed that every generator takes, NumPy's among them
HOLDOUTS = ("random", "end")


class Series(LightningDataModule, ABC):
    """One series, or several side by side, handed over whole: the full batch of every step.

    A subclass writes `load`.

    Args:
        seed: seed of everything random about the fit: generated noise here, and the starting values that the
            module draws from the same generator. None stands for the run's `seed_everything`, and for the
            article's 2021 outside the command line.
        holdout: part of each series that is kept out of the fit to validate it, such as 0.2.
        holdout_from: which points are kept out: `random` ones, by the seed, or those at the `end`, of largest t.

    Attributes:
        points: what is fitted, after `setup`.
        holdout_points: what is kept out, after `setup`; none where nothing is.
        all_points: both, in the order of the data.
        predictors: names of the independent variables.
        labels: what the plots write on the axes: the predictors, then y.
        source: the file that was read; nothing where none was.
        series_names: names of the series, where there are several.
        facts: what a report should tell of the data, such as rows left out.
        predicting: whether the points are to be predicted, so that data may be missing: nan there.
        generator: the generator, as `load` left it.
        batches_per_epoch: how many batches the points come in.
    """

    points: Points
    all_points: Points
    holdout_points: Points | None

    def __init__(self, seed: int | None = None, holdout: float = 0.0, holdout_from: str = "random") -> None:
        super().__init__()
        if not 0 <= holdout < 1:
            raise InputError(f"data.holdout: given {holdout:g}, expected a part of the points, from 0 to below 1")
        if holdout_from not in HOLDOUTS:
            raise InputError(f"data.holdout_from: given {holdout_from!r}; {suggest(holdout_from, HOLDOUTS)}")
        self.seed = ARTICLE_SEED if seed is None else check_seed(seed, "data.seed", SEED_BITS)
        self.holdout = holdout
        self.holdout_from = holdout_from
        self.predictors: tuple[str, ...] = ("t",)
        self.labels: tuple[str, ...] = ("t", "y")
        self.source = ""
        self.series_names: tuple[str, ...] = ()
        self.facts: dict[str, Any] = {}
        self.predicting = False
        self.generator = torch.Generator()

    @abstractmethod
    def load(self) -> Points | tuple[Tensor, Tensor]:
        """Make or read the points; whatever is random comes from `self.generator`."""

    @property
    def t(self) -> Tensor:
        """The (first) independent variable of what is fitted, shape `(T,)` or `(*batch, T)`."""
        return self.points.columns[0]

    @property
    def targets(self) -> Tensor:
        """The data that are fitted, shape `(*batch, T)`."""
        return self.points.targets

    def setup(self, stage: str) -> None:
        self.predicting = stage == "predict"
        self.generator.manual_seed(self.seed)
        self.all_points = Points(*self.load())
        self.points, self.holdout_points = (self.all_points, None) if self.predicting else self._split()

    def _split(self) -> tuple[Points, Points | None]:
        """What is fitted and what is kept out."""
        if self.holdout == 0:
            return self.all_points, None
        # A generator of its own: whether points are kept out does not change the noise or the start.
        generator = torch.Generator().manual_seed(self.seed)
        fitted, holdout = [], []
        for one in self.all_points.each():
            count = len(one.targets)
            order = torch.randperm(count, generator=generator)
            if self.holdout_from == "end":
                order = one.columns[0].argsort(descending=True, stable=True)
            out = torch.zeros(count, dtype=torch.bool)
            out[order[: round(self.holdout * count)]] = True
            fitted.append(one.where(~out))
            holdout.append(one.where(out))
        number = sum(len(one.targets) for one in holdout)
        self.facts["kept out"] = number
        if any(len(one.targets) == 0 for one in holdout):
            raise InputError(
                f"data.holdout: {self.holdout:g} of {min(len(one.targets) for one in self.all_points.each())} points "
                "is none; expected a larger part, or no holdout"
            )
        if any(len(one.targets) == 0 for one in fitted):
            raise InputError(f"data.holdout: {self.holdout:g} leaves a series no point to fit; expected a smaller part")
        if not self.all_points.batch:
            return fitted[0], holdout[0]
        return stack(fitted), stack(holdout)

    def train_dataloader(self) -> DataLoader[Points]:
        return self._whole(self.points)

    def predict_dataloader(self) -> DataLoader[Points]:
        return self._whole(self.all_points)

    @property
    def batches_per_epoch(self) -> int:
        return 1

    def on_before_batch_transfer(self, batch: Points, dataloader_idx: int) -> Points:
        """Tables are read in double precision; the descent has the precision of the module."""
        assert self.trainer is not None
        return batch.to(next(self.trainer.lightning_module.parameters()).detach())

    def _whole(self, points: Points) -> DataLoader[Points]:
        # A loader draws a number from the global generator each time it is read, unless it has one of its own.
        dataset: Dataset[Points] = [points]  # type: ignore[assignment]
        return DataLoader(dataset, batch_size=None, collate_fn=as_it_is, generator=torch.Generator())


def as_it_is(points: Any) -> Any:
    """What torch would take apart and put together again, of other parts."""
    return points


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
        holdout: part of the points that is kept out of the fit to validate it, such as 0.2.
        holdout_from: which points are kept out: `random` ones, by the seed, or those at the `end`, of largest t.
    """

    def __init__(
        self,
        seed: int | None = None,
        points: int = 20,
        noise: float = 5.0,
        curvature: float = 0.8,
        center: float = 7.5,
        offset: float = 1.0,
        holdout: float = 0.0,
        holdout_from: str = "random",
    ) -> None:
        super().__init__(seed, holdout, holdout_from)
        if points is None or points < 1:
            raise InputError(f"data.points: given {points}, expected at least 1; the article has 20")
        self.length = points
        self.noise = noise
        self.curvature = curvature
        self.center = center
        self.offset = offset

    def load(self) -> tuple[Tensor, Tensor]:
        try:
            t = torch.arange(self.length).float()
            noise = torch.rand(self.length, generator=self.generator) * self.noise
            return t, noise + self.curvature * (t - self.center) ** 2 + self.offset
        except (RuntimeError, OverflowError):
            raise InputError(f"data.points: given {self.length}, for which there is no memory; give fewer") from None


def columns_of(t: list[str] | str) -> tuple[str, ...]:
    """The columns that `data.t` names: one, a list of them, or several with commas between them."""
    return tuple(name.strip() for name in t.split(",")) if isinstance(t, str) else tuple(t)


class Table(Series):
    """Columns of a table: CSV, TSV or Parquet, or `-` for standard input; numbers are read in double precision.

    Rows that lack a value are left out and counted; to be predicted, a row needs its predictors and series only. Dates
    become the time since an origin.

    Args:
        path: the file, or `-`.
        t: name of the column with the independent variable; for several a list, or names with commas between them.
        y: name of the column with the data.
        target: a formula on columns that is fitted in place of y, such as `log(y)`; y stands for its column.
        sigma: name of the column with standard deviations of y; each point then weighs 1/sigma**2.
        series: name of the column that tells which series a row belongs to.
        holdout: part of each series that is kept out of the fit to validate it, such as 0.2.
        holdout_from: which points are kept out: `random` ones, by the seed, or those at the `end`, of largest t.
        time_unit: unit of the numbers that dates become: seconds, minutes, hours, days, or years of 365.25 days.
        time_origin: the date that becomes 0; the earliest in the column unless given.
        seed: seed of the start and of the holdout; None stands for the run's `seed_everything`.
    """

    def __init__(
        self,
        path: str,
        t: list[str] | str,
        y: str | None = None,
        target: str | None = None,
        sigma: str | None = None,
        series: str | None = None,
        holdout: float = 0.0,
        holdout_from: str = "random",
        time_unit: str = "days",
        time_origin: str | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed, holdout, holdout_from)
        self.path = path
        self.predictors = columns_of(t)
        if not self.predictors or len(set(self.predictors)) < len(self.predictors):
            raise InputError(f"data.t: given {list(self.predictors)}, expected one column or several different ones")
        if y is None and target is None:
            raise InputError("data.y: given none, expected the column with the data, or data.target with a formula")
        self.y = y
        self.target = None if target is None else Formula(target)
        self.sigma = sigma
        self.series = series
        self.time_unit = time_unit
        self.time_origin = time_origin
        self.labels = (*self.predictors, target or str(y))
        self.source = "standard input" if path == "-" else str(path)
        self._read: tuple[Points, tuple[str, ...]] | None = None
        self._may_lack_data = False

    def load(self) -> Points:
        # once: the Trainer asks again, and standard input can be read only once
        if self._read is None or (self._may_lack_data and not self.predicting):
            columns = read_columns(
                self.path,
                list(self._keys()),
                self.series,
                time_unit=self.time_unit,
                time_origin=self.time_origin,
                keys={**self._keys(), **({self.series: "data.series"} if self.series else {})},
                gaps=self._keys().keys() - {*self.predictors, self.series} if self.predicting else (),
            )
            self._may_lack_data = self.predicting
            self.labels = (*(columns.labels[name] for name in self.predictors), self.labels[-1])
            self.facts = {"rows": columns.rows, "left out": columns.dropped}
            if self.time_origin is None:  # another table of later dates is to be counted from the same one
                self.time_origin = next((columns.origins[name] for name in columns.origins), None)
            self._read = self._as_points(columns), tuple(columns.group_names)
        points, self.series_names = self._read
        return points

    def _keys(self) -> dict[str, str]:
        """The columns to read, each with the option that names it."""
        keys = dict.fromkeys(self.predictors, "data.t")
        if self.target is not None:
            names = [name for name in self.target.names if not (name == "y" and self.y is not None)]
            keys |= dict.fromkeys(names, "data.target")
        if self.y is not None:
            keys |= {self.y: "data.y"}
        return keys | ({self.sigma: "data.sigma"} if self.sigma is not None else {})

    def _as_points(self, columns: Columns) -> Points:
        """The columns as points, row after row, or series beside series."""
        targets, sigma = self._targets(columns)
        if sigma is None and self.predicting:  # unknown, and not 1 as stack would have it
            sigma = torch.full_like(targets, torch.nan)
        predictors = tuple(columns.numbers[name] for name in self.predictors)
        points = Points(predictors if len(predictors) > 1 else predictors[0], targets, sigma)
        if columns.group is None:
            return points
        return stack([points.where(columns.group == i) for i in range(len(columns.group_names))])

    def _targets(self, columns: Columns) -> tuple[Tensor, Tensor | None]:
        """What is fitted, and its standard deviations: those of y times the slope of the target by y."""
        sigma = None if self.sigma is None else columns.numbers[self.sigma]
        if sigma is not None and (sigma <= 0).any():
            at = int((sigma <= 0).nonzero()[0])
            raise InputError(
                f"data.sigma: column {self.sigma!r} of {self.path} holds {sigma[at].item():g} (complete row {at + 1}), "
                "expected standard deviations above 0; correct or remove that row"
            )
        if self.target is None:
            assert self.y is not None
            return columns.numbers[self.y], sigma
        values = dict(columns.numbers)
        measured = self.y or self.target.names[0]
        values[measured] = values[measured].clone().requires_grad_()
        if self.y is not None:
            values["y"] = values[measured]
        targets = self.target(*(values[name] for name in self.target.names))
        unknown = torch.stack([values[name] for name in (measured, *self.target.names)]).isnan().any(dim=0)
        bad = (~unknown & ~torch.isfinite(targets)).nonzero().flatten().tolist()
        if bad:
            given = ", ".join(f"{name} = {values[name][bad[0]].item():g}" for name in self.target.names)
            raise InputError(
                f"data.target: {self.target.text} is {targets[bad[0]].item()} where {given} (complete row {bad[0] + 1} "
                f"of {self.path}), expected finite numbers; leave such rows out"
            )
        if sigma is not None:
            if self.y is None and len(self.target.names) > 1:
                raise InputError("data.sigma: add data.y, to say which column of data.target it belongs to")
            [slope] = torch.autograd.grad(targets.sum(), values[measured])
            sigma = sigma * slope.abs()
        return targets.detach(), sigma
