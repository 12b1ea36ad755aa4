"""What a fit found: the parameters, how good they are, how they were reached, and why the fit ended."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gd_lightning import export, saved
from gd_lightning.cautions import cautions
from gd_lightning.conditioning import Guidance
from gd_lightning.convergence import AT_MINIMUM
from gd_lightning.curve import Curve
from gd_lightning.descent import Descent, in_words
from gd_lightning.errors import InputError, suggest
from gd_lightning.files import write_whole
from gd_lightning.formula_text import formula_texts
from gd_lightning.frames import to_pandas
from gd_lightning.goodness import Goodness, goodness
from gd_lightning.losses import make_loss, pooled_rmse, residual, rmse_each
from gd_lightning.points import Points, Predictors, as_numbers
from gd_lightning.report import SCHEMA
from gd_lightning.residual_checks import ResidualChecks, check_residuals
from gd_lightning.resolve import Function
from gd_lightning.summary import Summary, summarize
from gd_lightning.uncertainty import KINDS_OF_INTERVALS, LEVEL, Bands, Uncertainty, length_of, uncertainty
from gd_lightning.versions import versions
from gd_lightning.words import counts, plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gd_lightning.bootstrap import Bootstrap
    from gd_lightning.many import Fits
    from gd_lightning.profile import Profile

__all__ = ["FitResult", "by_name", "plain"]


@dataclass(frozen=True, repr=False, eq=False)
class FitResult:
    """The outcome of a fit, of one series or of several side by side.

    Attributes:
        function: the function's name, or its formula.
        parameters: name -> value at the end; of several series a tensor of shape `(*batch)`.
        initial_parameters: name -> value at the start, likewise.
        rmse: root mean squared error of `parameters`, in units of y; nan where it is not finite at the start; of
            several series a tensor of shape `(*batch)`.
        rmse_history: RMSE over all points before each step, so that `rmse_history[k]` belongs to the parameters
            after k steps; the article prints these.
        steps: number of steps taken, counting the last one of a descent that diverged, which was undone.
        status: "converged" when nothing more is to be gained; "at bound" likewise, beside a bound that the loss would
            pass; "singular" likewise, but the data do not determine some parameter, and `message` says which; "step
            limit" when the allotted steps were used up; "stuck" when no step lowers the loss as its gradient foretells;
            "diverged" when the loss ceased to be finite, in which case `parameters` are the last ones whose loss was
            finite; "stopped" when it was ended from outside. Of several series an array of text, shape `(*batch)`, and
            "unusable" where a series has no numbers to fit: its parameters are nan, and `messages` says why.
        message: one sentence about the status.
        messages: of several series a sentence about the status of each, an array of text of shape `(*batch)`; empty
            where the steps were used up. Nothing of one series.
        steps_each: of very many series how many steps each took, a tensor `(*batch)`; else nothing.
        seed: the seed that the start, and generated data, came from.
        loss: name of the loss that was descended.
        start: how the start was found: "given", "random", "guess" from the data, or "multi-start", the best of many
            random ones; none where it is not known.
        holdout_rmse: RMSE of the points that were kept out of the fit, like `rmse`; none where there are none.
        facts: what is to be told of the data: points, rows left out, points kept out, series.
        points: what was fitted.
        holdout: what was kept out.
        labels: what to write on the axes: the predictors, then y.
        series: names of the series, where the data name several.
        optimizer: name of the update rule.
        lr: its learning rate at the end; none of Levenberg-Marquardt, which has none.
        guidance: what the curvature at the start says of that learning rate.
        path: steps and the parameters before them, the last ones with those at the end; thinned out.
        absolute_sigma: if true, sigma is used in an absolute sense and the covariance reflects these absolute values;
            if false, only the relative magnitudes of sigma matter: the covariance is scaled by the reduced chi-square.
        interval_kind: which intervals the report shows: "t", "profile" or "bootstrap".
        level: chance that each of them holds the true value.
        source: the file that the points were read from; nothing where they were not.
        allowed: how many steps the same command would let another update rule take; any number unless given.
        undo: options and values of the command that another update rule does not take, such as `--model.scheduler` and
            `null`; none where there was no command.
    """

    function: str
    parameters: dict[str, Any]
    initial_parameters: dict[str, Any]
    rmse: Any
    rmse_history: list[float]
    steps: int
    status: Any
    message: str
    seed: int | None
    curve: Curve
    points: Points
    loss: str = "mse"
    start: str | None = None
    holdout: Points | None = None
    holdout_rmse: Any = None
    facts: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    optimizer: str = "SGD"
    lr: Any = None
    guidance: Guidance | None = None
    path: list[tuple[int, Tensor]] = field(default_factory=list)
    absolute_sigma: bool = False
    interval_kind: str = "t"
    level: float = LEVEL
    source: str = ""
    allowed: int | None = None
    undo: tuple[str, ...] | None = None
    messages: Any = None
    steps_each: Any = None

    @classmethod
    def of(
        cls,
        descent: Descent,
        points: Points,
        seed: int | None,
        *,
        loss: str = "mse",
        start: str | None = None,
        holdout: Points | None = None,
        facts: Mapping[str, Any] | None = None,
        labels: Sequence[str] = (),
        series: Sequence[str] = (),
        optimizer: str = "SGD",
        lr: Any = None,
        guidance: Guidance | None = None,
        absolute_sigma: bool = False,
        interval_kind: str = "t",
        level: float = LEVEL,
        source: str = "",
    ) -> "FitResult":
        """Read the result off a descent as it stands."""
        curve = descent.curve
        count = points.targets.numel() if points.sigma is None else int(points.present.sum())
        return cls(
            function=curve.function_name,
            parameters=by_name(curve, curve.params.detach()),
            initial_parameters=by_name(curve, curve.initial_params),
            rmse=rmse_of(curve, points),
            rmse_history=list(descent.rmse_history),
            steps=len(descent.rmse_history),
            status=descent.status,
            message=descent.message,
            seed=seed,
            curve=curve,
            points=points,
            loss=loss,
            start=start,
            holdout=holdout,
            holdout_rmse=None if holdout is None else rmse_of(curve, holdout),
            facts={"points": count, **(facts or {})},
            labels=tuple(labels) or (*curve.predictors, "y"),
            series=tuple(series),
            optimizer=optimizer,
            lr=lr,
            guidance=guidance,
            path=[*descent.path, (len(descent.rmse_history), curve.params.detach().clone())],
            absolute_sigma=bool(absolute_sigma),
            interval_kind=interval_kind,
            level=level,
            source=source,
            messages=np.array(descent.messages, dtype=object).reshape(points.batch) if points.batch else None,
        )

    @classmethod
    def of_many(
        cls,
        curve: Curve,
        points: Points,
        fits: "Fits",
        seed: int | None,
        *,
        loss: str,
        start: str,
        labels: Sequence[str],
        absolute_sigma: bool,
        rmse_history: Sequence[float] = (),
        optimizer: str = "LevenbergMarquardt",
        lr: Any = None,
    ) -> "FitResult":
        """The result of series each of which was fitted for itself.

        Args:
            curve: the curve; its parameters become those of the fits.
            points: the data, `(*batch, T)`.
            fits: what became of each series, in the order of the flattened batch.
            seed: as in the result, like what follows.
            loss: name of the loss.
            start: how the starts were found.
            labels: what to write on the axes.
            absolute_sigma: what sigma means.
            rmse_history: as far as it is known.
            optimizer: name of the update rule.
            lr: its learning rate.
        """
        batch, names = points.batch, curve.names
        curve.set_params(fits.params.reshape(*batch, len(names)))
        curve.initial_params = fits.start.to(curve.params).reshape(*batch, len(names))
        return cls(
            function=curve.function_name,
            parameters=by_name(curve, curve.params.detach()),
            initial_parameters=by_name(curve, curve.initial_params),
            rmse=fits.rmse.reshape(batch),
            rmse_history=list(rmse_history),
            steps=int(fits.steps.max()),
            status=fits.status.astype(str).reshape(batch),
            message=in_words(fits.status.tolist(), fits.message.tolist()),
            seed=seed,
            curve=curve,
            points=points,
            loss=loss,
            start=start,
            facts={"points": int(points.present.sum())},
            labels=tuple(labels),
            optimizer=optimizer,
            lr=lr,
            absolute_sigma=absolute_sigma,
            messages=fits.message.reshape(batch),
            steps_each=fits.steps.reshape(batch),
        )

    @cached_property
    def summary(self) -> Summary:
        """How far the descent has come, how far Levenberg-Marquardt comes from the same start, and what to try."""
        return summarize(
            self.curve,
            self.points,
            make_loss(self.loss),
            initial=self.curve.initial_params,
            steps=self.steps,
            optimizer=self.optimizer,
            guidance=self.guidance,
        )

    @cached_property
    def uncertainty(self) -> Uncertainty:
        """How sure the parameters are; what follows from it has properties of its own."""
        return uncertainty(self.curve, self.points, make_loss(self.loss), self.absolute_sigma)

    @property
    def standard_errors(self) -> dict[str, Any]:
        """Name -> standard error; of several series a tensor `(*batch)`.

        That of a fixed parameter is 0, at a bound nan, for there is no symmetric one, and inf where the data leave the
        parameter open.
        """
        return self._by_name(self.uncertainty.standard_errors)

    @property
    def covariance(self) -> Tensor:
        """Covariance of the parameters, in the order of `parameters`, `(*batch, P, P)`."""
        return torch.from_numpy(self.uncertainty.covariance)

    @property
    def correlation(self) -> Tensor:
        """Correlation of the parameters, likewise; nan where one has no finite error above 0."""
        return torch.from_numpy(self.uncertainty.correlation)

    def intervals(self, level: float = LEVEL, kind: str = "t") -> dict[str, tuple[Any, Any]]:
        """Name -> lower and upper end of the interval that holds the true value with a chance of `level`.

        Of several series they are tensors `(*batch)`.

        Args:
            level: chance, between 0 and 1.
            kind: "t", symmetric ones by Student's t distribution, or by the normal one with an absolute sigma;
                "profile", of the likelihood, as `profile` has them; or "bootstrap", as `bootstrap` has them.

        Raises:
            InputError: no such level or kind, or one that these data or this loss do not allow.
        """
        if kind not in KINDS_OF_INTERVALS:
            raise InputError(f"kind: given {kind!r}; {suggest(str(kind), KINDS_OF_INTERVALS)}")
        if kind == "profile":
            return self.profile(level).intervals
        if kind == "bootstrap":
            return self.bootstrap().intervals(level)
        low, high = map(self._by_name, self.uncertainty.intervals(level))
        return {name: (low[name], high[name]) for name in low}

    @cached_property
    def shown_intervals(self) -> tuple[str, dict[str, tuple[Any, Any]], list[str]]:
        """The kind of the intervals that are reported, the intervals, and what casts doubt on them."""
        if self.interval_kind != "t" and np.all(self.arrived):
            try:
                if self.interval_kind == "bootstrap":
                    drawn = self.bootstrap()
                    failed = int(torch.as_tensor(drawn.failed).sum())
                    doubts = [f"{failed} of {drawn.samples[..., 0].numel()} bootstrap refits did not arrive."]
                    return "bootstrap", drawn.intervals(self.level), doubts if failed else []
                found = self.profile(self.level)
                return "profile", found.intervals, [f"{line[0].upper()}{line[1:]}." for line in found.messages]
            except InputError as error:
                return "t", self.intervals(self.level), [f"The intervals are from the tangent: {error}."]
        return "t", self.intervals(self.level), []

    def profile(self, level: float = LEVEL) -> "Profile":
        """Intervals from the profile of the likelihood, which need not be symmetric; all refits are one batch.

        Args:
            level: chance that an interval holds the true value.

        Returns:
            `.intervals`, name -> (low, high); `.messages`; `.curve(name)` and `.plot()` show the profiles.
        """
        from gd_lightning.profile import profile

        return profile(self.curve, self.points, make_loss(self.loss), level, self.absolute_sigma)

    def bootstrap(self, draws: int = 1000, kind: str = "residuals", seed: int | None = None) -> "Bootstrap":
        """Fits to data that are drawn anew, all of them one batch.

        Args:
            draws: how many.
            kind: "residuals", the curve with residuals drawn from the fit's; "cases", points drawn from the points;
                "parametric", the curve with normal noise.
            seed: of the draws; that of the fit unless given.

        Returns:
            `.intervals(level)`, `.standard_errors`, `.covariance`, and `.samples`, `(draws, *batch, P)`.
        """
        from gd_lightning.bootstrap import bootstrap

        seed = (self.seed or 0) if seed is None else seed
        return bootstrap(
            self.curve,
            self.points,
            make_loss(self.loss),
            draws=draws,
            kind=kind,
            seed=seed,
            absolute_sigma=self.absolute_sigma,
        )

    def _by_name(self, values: Any) -> dict[str, Any]:
        return by_name(self.curve, torch.from_numpy(values))

    @cached_property
    def goodness(self) -> Goodness:
        """R2, reduced chi-square, AIC and the like."""
        with torch.no_grad():
            preds = self.curve(self.points.t)
        return goodness(preds, self.points, len(self.curve.demands.free), self.absolute_sigma)

    @cached_property
    def residual_checks(self) -> ResidualChecks:
        """Chances that noise alone gives what the residuals show, each over the flattened series."""
        with torch.no_grad():
            residuals = residual(self.curve(self.points.t), self.targets, self.points.sigma)
        count, length = math.prod(self.points.batch), self.targets.shape[-1]
        column = self.points.columns[0].expand(self.targets.shape)
        scaled = self.targets if self.points.sigma is None else self.targets / self.points.sigma
        rows = [
            values.double().cpu().numpy().reshape(count, length)
            for values in (residuals.expand_as(scaled), column, scaled)
        ]
        present = self.points.present.expand(self.targets.shape).cpu().numpy().reshape(count, length)
        order = rows[1] if len(self.curve.predictors) == 1 else None
        return check_residuals(rows[0], present, order, length_of(rows[2]))

    @cached_property
    def warnings(self) -> list[str]:
        """What to be careful about, one line each: nothing where all is well."""
        return cautions(self)

    @property
    def t(self) -> Predictors:
        """The independent variable that was fitted along."""
        return self.points.t

    @property
    def targets(self) -> Tensor:
        """The data that were fitted."""
        return self.points.targets

    def predict(self, t: Any) -> Tensor:
        """The fitted curve at t.

        Args:
            t: a number, numbers, an array or a tensor of shape `(T,)`; a mapping of such by name, or a data frame,
                where there are several predictors.

        Returns:
            Predictions of the same shape, `(*batch, T)` of several series, without gradient.
        """
        at = self._predictors(t)
        with torch.no_grad():
            preds: Tensor = self.curve(at)
        return preds if self.points.batch else preds.reshape(_shape(at))

    def bands(self, t: Any, level: float = LEVEL, sigma: Any = None) -> Bands:
        """The fitted curve at t with its confidence and prediction bands.

        The confidence band holds the true curve with a chance of `level` at each t for itself, the prediction band a
        new observation. Both come from the tangent of the curve at its parameters (see `Uncertainty.bands`).

        Args:
            t: as for `predict`.
            level: chance, between 0 and 1.
            sigma: standard deviations of new observations, as those of the fit; unless given 1, or where the fit had
                sigma the root mean square of that.
        """
        at = self._predictors(t)
        shape = _shape(at)
        at = tuple(
            column.reshape(-1) if column.dim() == 0 else column for column in (at if isinstance(at, tuple) else (at,))
        )
        at = at if len(at) > 1 else at[0]
        with torch.no_grad():
            preds: Tensor = self.curve(at)
        new = None
        if sigma is not None:
            new = as_numbers("sigma", sigma, preds.dtype, preds.device)
            if not (new > 0).all():
                raise InputError("sigma: expected standard deviations above 0")
            if tuple(new.shape) not in ((), tuple(preds.shape), tuple(preds.shape[-1:])):
                raise InputError(
                    f"sigma has shape {tuple(new.shape)} and the curve has shape {tuple(preds.shape)}; expected one "
                    "standard deviation for all points or one for each"
                )
        found = self.uncertainty.bands(self.curve, at, preds, level, new)
        return found if self.points.batch else Bands(*(values.reshape(shape) for values in found))

    def _predictors(self, t: Any) -> Predictors:
        """What was given as t, as tensors like those that were fitted."""
        like = self.targets

        def column(values: Any) -> Tensor:
            return as_numbers("t", values, like.dtype, like.device)

        named = isinstance(t, Mapping) or hasattr(t, "columns")
        if len(self.curve.predictors) > 1 and not named:
            expected = ", ".join(self.curve.predictors)
            raise InputError(f"t: given {type(t).__name__}, expected a mapping or data frame with {expected}")
        names = self.curve.predictors
        if named and len(names) == 1 and names[0] not in t:
            names = self.labels[:1]  # what the data call it
        missing = [name for name in names if named and name not in t]
        if missing:
            raise InputError(f"t: no column {missing[0]!r}; {suggest(missing[0], map(str, t))}")
        columns = tuple(column(t[name]) for name in names) if named else (column(t),)
        if len({tuple(one.shape) for one in columns if one.dim()}) > 1:
            shapes = ", ".join(f"{name} {tuple(one.shape)}" for name, one in zip(names, columns, strict=True))
            raise InputError(f"t: the columns have the shapes {shapes}; expected one length")
        return columns if len(columns) > 1 else columns[0]

    @property
    def size_of_targets(self) -> Any:
        """Norm of the data, in units of sigma where it is given; of several series an array `(*batch)`."""
        scaled = self.targets if self.points.sigma is None else self.targets / self.points.sigma
        return scaled.double().norm(dim=-1).cpu().numpy()

    @property
    def arrived(self) -> Any:
        """Whether the parameters are those of a minimum; of several series an array `(*batch)`."""
        arrived = np.isin(np.asarray(self.status, dtype=object), AT_MINIMUM)
        return arrived if self.points.batch else bool(arrived)

    def plot(self) -> "Figure":
        """Data, fitted curve with its bands, and the curve of the start; of several series the worst, median, best."""
        from gd_lightning.pictures import picture

        after = f"after {self._took}"
        params = self.curve.params.detach()
        return picture(
            self.curve,
            self.points,
            params,
            after,
            holdout=self.holdout,
            labels=self.labels,
            series=self.series,
            told=self.shown_uncertainty,
            level=self.level,
        )

    @property
    def shown_uncertainty(self) -> Uncertainty:
        """What pictures show of it: nothing, nan, of series that have not arrived at a minimum."""
        spread = np.where(np.expand_dims(np.asarray(self.arrived), -1), self.uncertainty.spread, np.nan)
        return self.uncertainty._replace(spread=spread)

    def to_dict(self) -> dict[str, Any]:
        """Plain text and numbers, as they stand in `result.json`."""
        kind, intervals, doubts = self.shown_intervals
        return {
            "schema": SCHEMA,
            "function": self.function,
            "equation": self.curve.equation,
            "parameters": plain(self.parameters),
            "initial_parameters": plain(self.initial_parameters),
            "standard_errors": plain(self.standard_errors),
            "kinds": {name: self.uncertainty.kinds[..., i].tolist() for i, name in enumerate(self.curve.names)},
            "intervals": {"level": self.level, "kind": kind, "parameters": plain(intervals)},
            "absolute_sigma": self.absolute_sigma,
            "sigma": self._sigma,
            "covariance": plain(self.covariance),
            "correlation": plain(self.correlation),
            "uncertainty": self.uncertainty.to_dict(),
            "goodness": plain(self.goodness._asdict()),
            "warnings": [*self.warnings, *doubts],
            "rmse": plain(self.rmse),
            "holdout_rmse": plain(self.holdout_rmse),
            "rmse_history": plain(self.rmse_history),
            "loss": self.loss,
            "start": self.start,
            "optimizer": self.optimizer,
            "lr": plain(self.lr),
            "steps": self.steps,
            "status": plain(self.status),
            "message": self.message,
            "summary": list(self.summary.sentences),
            "suggestion": None
            if self.summary.suggestion is None
            else {
                "optimizer": self.summary.suggestion,
                "steps": self.summary.best_steps,
                "options": self._options(self.summary.suggestion, self.summary.best_steps),
            },
            "guidance": None
            if self.guidance is None
            else {**plain(self.guidance.to_dict()), "sentences": self.guidance.sentences()},
            "seed": self.seed,
            "source": self.source,
            "labels": list(self.labels),
            "data": {**self.facts, **({"series": list(self.series)} if self.series else {})},
            "versions": versions(),
        }

    def write_json(self, path: Path) -> None:
        """Write `to_dict()` to a file, whole or not at all."""
        write_whole(path, json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    def save(self, path: str | Path) -> None:
        """Write everything to one file of JSON, whole or not at all; `FitResult.load` reads it."""
        saved.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, function: Function | None = None) -> "FitResult":
        """Read what `save` wrote.

        Args:
            path: the file.
            function: what was fitted, where that was a callable or an import path: a file does not run code.

        Raises:
            InputError: the file is none of a fit, or is of a later version; or the function is missing.
        """
        return saved.load(Path(path), function)

    def to_formula(self) -> Any:
        """The fitted curve as text, such as `"2.0*t + 1.0"`, with all digits; of several series an array of text.

        Raises:
            InputError: the function is neither a family nor a formula.
        """
        texts = formula_texts(self.curve)
        return np.array(texts).reshape(self.points.batch) if self.points.batch else texts[0]

    def to_onnx(self, path: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write the fitted curve as ONNX: predictors in, `(points,)`; y out, `(*batch, points)`; any number of points.

        Args:
            path: the file to write, such as `curve.onnx`.
            dtype: torch.float64 or torch.float32; the precision of the fit unless given.

        Raises:
            InputError: onnx is not installed (`pip install 'gd-lightning[onnx]'`), or the function cannot be exported.
        """
        export.to_onnx(self.curve, path, labels=self.labels, dtype=dtype)

    def to_program(self, path: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write the fitted curve as a program that `torch.export.load(path).module()(t)` runs, without this package.

        Args:
            path: the file to write, such as `curve.pt2`.
            dtype: precision; that of the fit unless given.

        Raises:
            InputError: the function cannot be exported.
        """
        export.to_program(self.curve, path, labels=self.labels, dtype=dtype)

    def to_pandas(self) -> Any:
        """Parameters as a data frame: a row each; of several series a row for each series.

        Raises:
            InputError: pandas is not installed.
        """
        return to_pandas(self)

    def __repr__(self) -> str:
        if self.points.batch:
            return f"FitResult({self.function}: {self._count()} after {self._took}, {self._ended})"
        values = ", ".join(f"{name}={value:.6g}" for name, value in self.parameters.items())
        return f"FitResult({self.function}: {values}; RMSE {self.rmse:.6g} after {self._took}, {self._ended})"

    def __str__(self) -> str:
        from gd_lightning.report import report

        return report(self.to_dict())

    def for_command(self, allowed: int | None, undo: tuple[str, ...]) -> "FitResult":
        """The same, with what a command has to say of what to try next; what was computed of it is kept."""
        told = replace(self, allowed=allowed, undo=undo)
        told.__dict__.update({key: value for key, value in self.__dict__.items() if key not in ("allowed", "undo")})
        return told

    @property
    def _sigma(self) -> str | None:
        """What sigma means; none where there is none, but for the infinite one of what is no point."""
        sigma = self.points.sigma
        if self.absolute_sigma:
            return "absolute"
        return None if sigma is None or (sigma[self.points.present] == 1).all() else "relative"

    def _options(self, optimizer: str, steps: int | None) -> list[str] | None:
        """What to add to the command for another update rule; none where there was no command."""
        if self.undo is None:
            return None
        more = self.allowed is not None and steps is not None and steps > self.allowed
        limit = ["--trainer.max_steps", str(steps)] if more else []
        return ["--model.optimizer", optimizer, *limit, *self.undo]

    @property
    def _took(self) -> str:
        return plural(self.steps, "step")

    @property
    def _ended(self) -> str:
        return self.status if isinstance(self.status, str) else counts(self.status.flatten().tolist())

    def _count(self) -> str:
        rmse = self.rmse[~torch.isnan(self.rmse)].cpu().numpy()  # of what was fitted
        middle = f"{np.median(rmse):.6g}" if len(rmse) else "nan"
        return f"{self.rmse.numel()} series, median RMSE {middle}"


def by_name(curve: Curve, params: Tensor) -> dict[str, Any]:
    """Parameters by name: numbers, or tensors over the series."""
    if params.dim() == 1:
        return dict(zip(curve.names, params.tolist(), strict=True))
    return {name: params[..., i].clone() for i, name in enumerate(curve.names)}


def rmse_of(curve: Curve, points: Points) -> Any:
    """RMSE of the present parameters: a number, or a tensor over the series."""
    with torch.no_grad():
        preds = curve(points.t)
    if points.batch:
        return rmse_each(preds, points.targets, points.present)
    return pooled_rmse(preds, points.targets, points.sigma)


def _shape(t: Predictors) -> tuple[int, ...]:
    """That of predictions at t; numbers stand beside columns for as many."""
    return np.broadcast_shapes(*(tuple(column.shape) for column in (t if isinstance(t, tuple) else (t,))))


def plain(value: Any) -> Any:
    """What JSON can hold: numbers that are not finite become null."""
    if isinstance(value, Tensor | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
