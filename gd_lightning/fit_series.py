"""The LightningModule that fits chunk after chunk of very many series, and what writes what it finds."""

import copy
import json
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from gd_lightning.curve import Curve
from gd_lightning.errors import InputError
from gd_lightning.fitting import check_absolute, check_function
from gd_lightning.losses import make_loss
from gd_lightning.many import Fits, Many
from gd_lightning.many_starts import find_candidates, many_starts
from gd_lightning.parquet_parts import Parts
from gd_lightning.planes import compiler_works
from gd_lightning.points import Points, masked
from gd_lightning.projection import Candidates
from gd_lightning.series_files import Chunk, SeriesFiles
from gd_lightning.starts import check_start, set_start

__all__ = ["FitSeries", "FitsWriter", "Fitted"]

STEPS = 1000  # of a series that does not converge; one that does takes ten
WORTHWHILE = 100_000_000  # points, from which on compiling takes less time than it saves
COMPILE = ("auto", "true", "false")
KEPT = ("rmse", "status", "steps", "message")


class Fitted(NamedTuple):
    """What became of a chunk."""

    index: int  # type: ignore[assignment]  # a chunk is never searched as a tuple
    names: pa.Array
    fits: Fits


class FitSeries(LightningModule):
    """Fits one function to each of very many series, in Lightning's predict loop.

    Args:
        function: a family's name, a formula, or an import path, as for `gd-lightning fit`.
        parameters: what is demanded of the parameters, by name, likewise.
        init: starting values by name, which all series share.
        start: where parameters without a starting value begin: `random` at random normal numbers, the same for all
            series; `data`, which stands unless given, at what fits each series best of some thousand candidates, which
            are found from the first chunk of series.
        loss: mse, mae, huber or cauchy.
        absolute_sigma: if true, sigma is used in an absolute sense and the errors of the parameters reflect that; if
            false, only the relative magnitudes of sigma matter.
        max_steps: how many steps a series may take.
        compile: `true` compiles the steps, which takes some seconds and a C++ compiler and makes them several times as
            fast; `auto` does so where there are so many points that it pays.
        seed: of random starts.
    """

    def __init__(
        self,
        function: str = "quadratic",
        parameters: dict[str, Any] | None = None,
        init: dict[str, float] | None = None,
        start: str | None = None,
        loss: str = "mse",
        absolute_sigma: bool = False,
        max_steps: int = STEPS,
        compile: str = "auto",
        seed: int = 2021,
    ) -> None:
        super().__init__()
        check_start(start)
        if str(compile).lower() not in COMPILE:
            raise InputError(f"model.compile: given {compile!r}, expected one of {', '.join(COMPILE)}")
        if max_steps < 1:
            raise InputError(f"model.max_steps: given {max_steps}, expected at least 1")
        self.curve = Curve(function, parameters)
        self.curve.known_start(init)
        if len(self.curve.predictors) > 1:
            raise InputError(
                f"function: {function} has the predictors {', '.join(self.curve.predictors)}; very many series have one"
            )
        self.init, self.start, self.loss = init, start, loss
        self.loss_function = make_loss(loss)
        self.absolute_sigma, self.max_steps, self.seed = absolute_sigma, max_steps, seed
        self.compiles = str(compile).lower()
        self.save_hyperparameters()
        self.candidates: Candidates | None = None
        self._many: Many | None = None
        self.columns: list[str] = [*self.curve.names, *(f"{name}_error" for name in self.curve.names), *KEPT]
        twice = {name for name in self.columns if self.columns.count(name) > 1}
        if twice:
            raise InputError(f"function: its parameter {min(twice)!r} is a column of the output, too; rename it")

    def prepare_for(self, files: SeriesFiles) -> None:
        """Look whether the function suits the first series, and whether compiling pays."""
        first = masked(files.read(0).points)
        few = first.rows(torch.arange(min(len(first.targets), 2)))
        curve = copy.deepcopy(self.curve).double()
        curve.set_params(torch.zeros(*few.batch, len(curve.names)))
        check_function(curve, few)
        check_absolute(self.absolute_sigma, first.sigma is not None)
        known = self.curve.known_start(self.init)
        if self.start != "random" and any(self.curve.names[i] not in known for i in self.curve.demands.free):
            generator = torch.Generator().manual_seed(self.seed)
            self.candidates = find_candidates(self.curve, first, known, generator)
        if self.compiles == "auto":
            points = first.targets.shape[-1] * files.series
            self.compiles = "true" if points >= WORTHWHILE and compiler_works() else "false"

    def on_predict_start(self) -> None:
        like = next(self.parameters())
        self.curve.to(like)
        self._many = Many(self.curve, self.loss_function, self.absolute_sigma, self.max_steps, self.compiles == "true")

    def predict_step(self, chunk: Chunk | None, batch_idx: int = 0) -> Fitted | None:
        assert self._many is not None
        if chunk is None:  # there are more processes than chunks
            return None
        points = masked(chunk.points.to(self.curve.params.detach()))
        return Fitted(chunk.index, chunk.names, self._many.fit(points, self._starts(points)))

    def _starts(self, points: Points) -> Tensor:
        """Where each series begins, `(S, P)`."""
        if self.candidates is not None:
            return many_starts(self.curve, points, self.candidates).to(points.targets)
        few = points.rows(torch.arange(1, device=points.targets.device))
        set_start(self.curve, few, torch.Generator().manual_seed(self.seed), "random", self.init)
        return self.curve.params.detach().expand(len(points.targets), -1)


class FitsWriter(BasePredictionWriter):
    """Writes each chunk as a part of the output, as soon as it is fitted.

    Args:
        parts: the output.
        series: what the column with the names is called.
    """

    def __init__(self, parts: Parts, series: str) -> None:
        super().__init__("batch")
        self.parts = parts
        self.series = series

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Fitted | None,
        batch_indices: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        assert isinstance(pl_module, FitSeries)
        if prediction is None:
            return
        single = pl_module.curve.params.dtype == torch.float32
        try:
            self.parts.write(prediction.index, table(prediction, pl_module.curve, self.series, single, self.parts.run))
        except OSError as error:
            raise InputError(
                f"output: cannot write to {self.parts.folder}: {error.strerror or error}; what is there is whole, and "
                "the same command goes on from it"
            ) from None


def table(fitted: Fitted, curve: Curve, series: str, single: bool, run: dict[str, Any]) -> pa.Table:
    """A row for each series: its name, parameters, standard errors, RMSE, status, steps, message."""
    fits, kind = fitted.fits, pa.float32() if single else pa.float64()

    def numbers(values: Tensor) -> pa.Array:
        return pa.array(values.contiguous().numpy(), from_pandas=False).cast(kind)

    columns: dict[str, pa.Array] = {series: fitted.names}
    columns |= {name: numbers(fits.params[:, i]) for i, name in enumerate(curve.names)}
    columns |= {f"{name}_error": numbers(fits.errors[:, i]) for i, name in enumerate(curve.names)}
    columns["rmse"] = numbers(fits.rmse)
    columns["status"] = few_texts(fits.status)
    columns["steps"] = pa.array(fits.steps.numpy().astype(np.int32))
    columns["message"] = few_texts(fits.message)
    return pa.table(columns).replace_schema_metadata({"gd_lightning": json.dumps(run)})


def few_texts(values: Any) -> pa.Array:
    """Texts of which there are few different ones, each of them once."""
    return pa.array(values.tolist(), pa.string()).dictionary_encode()
