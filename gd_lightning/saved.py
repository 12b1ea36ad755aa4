"""A fit as one file of JSON: what `result.json` holds, with every digit, and what it takes to rebuild the rest.

Numbers are written so that they read back to the same bits; JSON has none for infinity and "not a number", which are
the texts "inf", "-inf" and "nan". Nothing in a file is run: it may name a family or a formula, while a function of
Python has to be handed over by whoever reads it.
"""

import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gd_lightning.conditioning import Guidance
from gd_lightning.curve import Curve
from gd_lightning.errors import InputError
from gd_lightning.files import write_whole
from gd_lightning.formula import Formula
from gd_lightning.parameters import Parameter
from gd_lightning.points import Points
from gd_lightning.report import SCHEMA
from gd_lightning.resolve import Function, is_family, is_import_path
from gd_lightning.uncertainty import check_level

if TYPE_CHECKING:
    from gd_lightning.result import FitResult

__all__ = ["FORMAT", "load", "save"]

FORMAT = "gd_lightning fit"

FAMILY, FORMULA, PYTHON = "family", "formula", "python"
NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
DTYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def save(result: "FitResult", path: Path) -> None:
    """Write a result to a file, whole or not at all."""
    content = {"format": FORMAT, **result.to_dict()}
    content |= {key: _exact(value) for key, value in _state(result).items()}
    # a line for each key: many numbers stand in one line, and the file can still be read by eye
    lines = (f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in content.items())
    write_whole(path, "{\n" + ",\n".join(lines) + "\n}\n")


def _state(result: "FitResult") -> dict[str, Any]:
    """What `load` reads; the other keys of the file are for people and other programs."""
    curve, points, told = result.curve, result.points, result.guidance
    return {
        "function": result.function,
        "function_kind": FORMULA
        if isinstance(curve.resolved, Formula)
        else FAMILY
        if is_family(curve.resolved)
        else PYTHON,
        "predictors": curve.predictors,
        "names": curve.names,
        "dtype": str(points.targets.dtype).removeprefix("torch."),
        "demands": {
            name: _demand(one) for name, one in zip(curve.names, curve.demands.all, strict=True) if one != Parameter()
        },
        "values": curve.params,
        "initial_values": curve.initial_params,
        "rmse": result.rmse,
        "rmse_history": result.rmse_history,
        "steps": result.steps,
        "status": result.status,
        "message": result.message,
        "messages": result.messages,
        "steps_each": result.steps_each,
        "seed": result.seed,
        "loss": result.loss,
        "start": result.start,
        "optimizer": result.optimizer,
        "lr": result.lr,
        "guidance": None if told is None else {**asdict(told), "sentences": told.sentences()},
        "facts": result.facts,
        "series": result.series,
        "points": _as_columns(points),
        "holdout": None if result.holdout is None else _as_columns(result.holdout),
        "holdout_rmse": result.holdout_rmse,
        "path": [[step, params] for step, params in result.path],
        "absolute_sigma": result.absolute_sigma,
        "interval_kind": result.interval_kind,
        "level": result.level,
    }


def _demand(one: Parameter) -> dict[str, Any]:
    if one.tie is not None:
        return {"expr": one.tie.text}
    given: dict[str, Any] = {"init": one.init, "min": one.min, "max": one.max, "fixed": one.fixed}
    unsaid = asdict(Parameter())
    return {key: value for key, value in given.items() if value != unsaid[key]}


def _as_columns(points: Points) -> dict[str, Any]:
    return {"t": points.columns, "targets": points.targets, "sigma": points.sigma}


def _exact(value: Any) -> Any:
    """What JSON can hold, from which the same comes back: a number that is not finite becomes a text."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().tolist()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def load(path: Path, function: Function | None = None) -> "FitResult":
    """Read what `save` wrote, by this version or an earlier one.

    Args:
        path: the file.
        function: what was fitted, where that was a function of Python.

    Raises:
        InputError: the file is no such file, is damaged, or is of a later version; or the function is missing.
    """
    content = _parse(path)
    if content.get("format") != FORMAT:
        raise InputError(f"load: {path} {_stranger(content)}; expected a file that FitResult.save wrote")
    schema = content.get("schema")
    if isinstance(schema, int) and not isinstance(schema, bool) and schema > SCHEMA:
        raise InputError(
            f"load: {path} was written by a newer gd_lightning (schema {schema}; this one reads up to {SCHEMA}); "
            "upgrade with pip install --upgrade gd-lightning"
        )
    if isinstance(schema, bool) or not isinstance(schema, int) or schema not in READERS:
        raise InputError(f"load: {path} has schema {schema!r}, expected a whole number from 1 to {SCHEMA}")
    return READERS[schema](_Reader(content, path), function)


def _parse(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"load: no such file: {path}") from None
    except OSError as error:
        raise InputError(f"load: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"load: {path} is no text; expected a file that FitResult.save wrote") from None
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise InputError(f"load: {path} is nested too deeply for a fit; expected one from FitResult.save") from None
    except ValueError as error:
        raise InputError(f"load: {path} is damaged or no JSON: {error}; write it again with FitResult.save") from None
    if not isinstance(content, dict):
        raise InputError(f"load: {path} holds no keys and values; expected a file that FitResult.save wrote")
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not part of JSON")


def _stranger(content: Mapping[str, Any]) -> str:
    if {"function", "parameters", "rmse_history"} <= content.keys():
        return (
            "is the result.json of a run, which holds no points to rebuild a fit from; gd-lightning export makes a "
            "formula, a program or ONNX of it"
        )
    return f"has the format {content['format']!r}" if "format" in content else "is JSON of something else"


class _Reader:
    """Values of a file by key, each checked before it is used."""

    def __init__(self, content: Mapping[str, Any], path: Path) -> None:
        self.content = content
        self.path = path
        self.dtype = torch.float64

    def wrong(self, key: str, expected: str) -> InputError:
        """What to raise where a key is missing or holds something else."""
        if key not in self.content:
            return InputError(f"load: {self.path} has no {key!r}; it is damaged, or was not written by FitResult.save")
        return InputError(f"load: {self.path} has {key!r}: {reprlib.repr(self.content[key])}; expected {expected}")

    def get(self, key: str, kind: type | tuple[type, ...], expected: str) -> Any:
        """The value of a key, of some kind."""
        value = self.content.get(key, self)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(key, expected)
        return value

    def text(self, key: str) -> str:
        """A text."""
        value: str = self.get(key, str, "text")
        return value

    def maybe_text(self, key: str) -> str | None:
        """A text or none."""
        value: str | None = self.get(key, (str, type(None)), "text or null")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Texts in a row."""
        values = self.get(key, list, "a list of texts")
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(key, "a list of texts")
        return tuple(values)

    def whole(self, key: str) -> int:
        """A whole number from 0 on."""
        value: int = self.get(key, int, "a whole number")
        if value < 0:
            raise self.wrong(key, "a whole number from 0 on")
        return value

    def number(self, key: str, value: Any) -> float:
        """A number, which may stand as a text where it is not finite."""
        if isinstance(value, str) and value in NOT_FINITE:
            return NOT_FINITE[value]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "numbers")
        try:
            return float(value)
        except OverflowError:
            raise self.wrong(key, "numbers") from None

    def tensor(self, key: str, value: Any, dtype: torch.dtype | None = None) -> Tensor:
        """Numbers in lists of one length on each level."""

        def numbers(value: Any, levels: int) -> Any:
            if isinstance(value, list) and levels:
                return [numbers(item, levels - 1) for item in value]
            return self.number(key, value)

        try:
            return torch.tensor(numbers(value, 20), dtype=dtype or self.dtype)
        except (ValueError, TypeError, RuntimeError):
            raise self.wrong(key, "numbers in lists of one length") from None

    def numbers(self, key: str, batch: tuple[int, ...]) -> Any:
        """One number; of several series a tensor of shape `(*batch)` in double precision."""
        value = self.content.get(key)
        if not batch:
            return self.number(key, value)
        found = self.tensor(key, value, torch.float64)
        if found.shape != batch:
            raise self.wrong(key, f"numbers of shape {batch}")
        return found

    def points(self, key: str) -> Points:
        """Points, of which the predictors fit the targets."""
        found = self.get(key, dict, "t, targets and sigma")
        if not {"t", "targets", "sigma"} <= found.keys() or not isinstance(found["t"], list) or not found["t"]:
            raise self.wrong(key, "t, targets and sigma")
        columns = tuple(self.tensor(key, column) for column in found["t"])
        targets = self.tensor(key, found["targets"])
        sigma = None if found["sigma"] is None else self.tensor(key, found["sigma"])
        fits = all(column.shape in (targets.shape, targets.shape[-1:]) for column in columns)
        if not targets.dim() or not fits or (sigma is not None and sigma.shape != targets.shape):
            raise self.wrong(key, "as many t, and sigma, as targets")
        return Points(columns if len(columns) > 1 else columns[0], targets, sigma)


def _read_1(file: _Reader, function: Function | None) -> "FitResult":
    """A file of schema 1."""
    from gd_lightning.result import FitResult, by_name

    dtype = file.text("dtype")
    if dtype not in DTYPES:
        raise file.wrong("dtype", f"one of {', '.join(DTYPES)}")
    file.dtype = DTYPES[dtype]
    points = file.points("points")
    curve = _curve(file, function)
    if len(points.columns) != len(curve.predictors):
        raise file.wrong("points", f"one t for each of {', '.join(curve.predictors)}")
    shape = (*points.batch, len(curve.names))
    values, initial = (file.tensor(key, file.content.get(key)) for key in ("values", "initial_values"))
    for key, found in (("values", values), ("initial_values", initial)):
        if found.shape != shape:
            raise file.wrong(key, f"numbers of shape {shape}")
    curve.to(file.dtype)
    curve.set_params(values)
    curve.initial_params = initial
    holdout = None if file.get("holdout", (dict, type(None)), "points or null") is None else file.points("holdout")
    holdout_rmse = None if holdout is None else file.numbers("holdout_rmse", points.batch)
    return FitResult(
        function=file.text("function"),
        parameters=by_name(curve, values),
        initial_parameters=by_name(curve, initial),
        rmse=file.numbers("rmse", points.batch),
        rmse_history=[file.number("rmse_history", one) for one in file.get("rmse_history", list, "numbers")],
        steps=file.whole("steps"),
        status=_status(file, points.batch),
        message=file.text("message"),
        seed=file.get("seed", (int, type(None)), "a whole number or null"),
        curve=curve,
        points=points,
        loss=file.text("loss"),
        start=file.maybe_text("start"),
        holdout=holdout,
        holdout_rmse=holdout_rmse,
        facts=file.get("facts", dict, "keys and values"),
        labels=file.texts("labels"),
        series=_series(file, points.batch),
        optimizer=file.text("optimizer"),
        lr=_lr(file),
        guidance=_guidance(file),
        path=_path(file, shape),
        absolute_sigma=file.get("absolute_sigma", bool, "true or false"),
        interval_kind=file.text("interval_kind"),
        level=check_level(file.number("level", file.content.get("level"))),
        source=str(file.content.get("source") or ""),  # which the first files of this schema lack, as the next two
        messages=_messages(file, points.batch),
        steps_each=_steps_each(file, points.batch),
    )


def _curve(file: _Reader, function: Function | None) -> Curve:
    """The curve without its values, of what the file names or of the function that was handed over."""
    name, kind = file.text("function"), file.text("function_kind")
    if kind not in (FAMILY, FORMULA, PYTHON):
        raise file.wrong("function_kind", f"one of {FAMILY}, {FORMULA}, {PYTHON}")
    if function is None and (kind == PYTHON or is_import_path(name)):
        raise InputError(
            f"load: {file.path} was fitted with {name}, a function of Python, which a file cannot hold; "
            "expected FitResult.load(path, function=my_function)"
        )
    if function is not None and not callable(function):
        raise InputError(f"load: given function={function!r}, expected the callable that was fitted")
    names, predictors = file.texts("names"), file.texts("predictors")
    demands = file.get("demands", dict, "keys and values")
    for one in demands.values():
        if not isinstance(one, dict):
            raise file.wrong("demands", "init, min, max, fixed or expr by name")
    demands = {one: {key: _demanded(value) for key, value in given.items()} for one, given in demands.items()}
    try:
        curve = Curve(name if function is None else function, demands, predictors)
    except InputError as error:
        raise InputError(f"load: {file.path}: {error}") from None
    if curve.names != names or curve.predictors != predictors:
        given, wanted = (", ".join((*a, *b)) for a, b in ((curve.predictors, curve.names), (predictors, names)))
        raise InputError(f"load: {curve.function_name} has the arguments {given}; {file.path} was fitted with {wanted}")
    curve.function_name = name
    return curve


def _demanded(value: Any) -> Any:
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _status(file: _Reader, batch: tuple[int, ...]) -> Any:
    found = file.get("status", (str, list), "a status")
    try:
        status = np.array(found)
    except ValueError:
        status = np.array(0)
    if status.shape != batch or status.dtype.kind != "U":
        raise file.wrong("status", "a status for each series" if batch else "a status")
    return status if batch else found


def _messages(file: _Reader, batch: tuple[int, ...]) -> Any:
    """A sentence for each of several series; of one there is none."""
    found = file.content.get("messages")
    if found is None:
        return None
    texts = np.array(found, dtype=object)
    if texts.shape != batch or not all(isinstance(one, str) for one in texts.flat):
        raise file.wrong("messages", "a text for each series, or null")
    return texts


def _steps_each(file: _Reader, batch: tuple[int, ...]) -> Any:
    found = file.content.get("steps_each")
    if found is None:
        return None
    steps = file.tensor("steps_each", found, torch.int64)
    if steps.shape != batch:
        raise file.wrong("steps_each", "a number of steps for each series, or null")
    return steps


def _series(file: _Reader, batch: tuple[int, ...]) -> tuple[str, ...]:
    names = file.texts("series")
    if names and len(names) != math.prod(batch):
        raise file.wrong("series", "a name for each series, or none")
    return names


def _lr(file: _Reader) -> Any:
    value = file.get("lr", (int, float, str, list, type(None)), "a number, numbers or null")
    if value is None:
        return None
    return file.tensor("lr", value) if isinstance(value, list) else file.number("lr", value)


def _guidance(file: _Reader) -> Guidance | None:
    found = file.get("guidance", (dict, type(None)), "keys and values, or null")
    if found is None:
        return None
    values: dict[str, Any] = {}
    for one in fields(Guidance):
        value = found.get(one.name)
        if one.type is float:
            values[one.name] = file.number("guidance", value)
        elif value is None and one.type not in (int, bool, str):
            values[one.name] = None
        elif type(value) is one.type or type(value) is int:
            values[one.name] = value
        else:
            raise file.wrong("guidance", "numbers by name, as FitResult.guidance has them")
    return Guidance(**values)


def _path(file: _Reader, shape: tuple[int, ...]) -> list[tuple[int, Tensor]]:
    path = []
    for one in file.get("path", list, "steps with their parameters"):
        if not isinstance(one, list) or len(one) != 2 or type(one[0]) is not int:
            raise file.wrong("path", "steps with their parameters")
        params = file.tensor("path", one[1])
        if params.shape != shape:
            raise file.wrong("path", f"parameters of shape {shape}")
        path.append((one[0], params))
    return path


READERS = {1: _read_1}
