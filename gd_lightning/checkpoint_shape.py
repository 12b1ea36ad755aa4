"""What a checkpoint of a fit holds: whoever reads one, of whatever origin, may go by it."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["strange"]

MISSING = object()


def strange(checkpoint: Any) -> str | None:
    """Where a checkpoint is not as a fit writes it, as keys with dots between them; none where all is well."""
    for key, is_right in HOLDS.items():
        if not is_right(_at(checkpoint, key.split("/"))):
            return key.replace("/", ".")
    state, descent = checkpoint["state_dict"], checkpoint["descent"]
    shape = state["curve.params"].shape
    kept = {
        "state_dict.curve.initial_params": [state.get("curve.initial_params")],
        "descent.params_before": [descent.get("params_before")],
        "descent.path": [params for _, params in descent.get("path", ())],
    }
    for key, tensors in kept.items():
        if any(one is not None and one.shape != shape for one in tensors):
            return key
    series = checkpoint.get("series")
    return "series" if series and tuple(shape[:-1]) != (len(series),) else None


def _at(value: Any, keys: list[str]) -> Any:
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return MISSING
        value = value[key]
    return value


def _numbers(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.float32, torch.float64) and value.dim() > 0


def _number(value: Any) -> bool:
    return type(value) is float


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def _plain(value: Any) -> bool:
    """Whether a value is one of YAML: text, numbers, and lists and mappings of them."""
    if type(value) is dict:
        return all(isinstance(key, str) and _plain(one) for key, one in value.items())
    if type(value) is list:
        return all(map(_plain, value))
    return value is None or type(value) in (str, int, float, bool)


def _mapping_of(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(map(is_right, value.values()))


def _verdict(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and _texts(value)


def _history(value: Any) -> bool:
    return isinstance(value, list) and all(map(_number, value))


def _path(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, list | tuple) and len(one) == 2 and _count(one[0]) and _numbers(one[1]) for one in value
    )


def _absent_or(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is MISSING or is_right(value)


def _null_or(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is MISSING or value is None or is_right(value)


HOLDS: dict[str, Callable[[Any], bool]] = {
    "state_dict/curve.params": _numbers,
    "global_step": _count,
    "loops/fit_loop/epoch_progress/current/processed": _count,
    "hyper_parameters/function": lambda value: isinstance(value, str),
    "hyper_parameters/predictors": _null_or(_texts),
    "descent": lambda value: isinstance(value, Mapping),
    # what older ones lack, or those of a Trainer in Python
    "state_dict/curve.initial_params": _absent_or(_numbers),
    "descent/params_before": _absent_or(_numbers),
    "descent/path": _absent_or(_path),
    "descent/rmse_history": _absent_or(_history),
    "descent/loss": _absent_or(_number),
    "descent/first_loss": _absent_or(_number),
    "descent/stride": _absent_or(lambda value: _count(value) and value > 0),
    "descent/next_look": _absent_or(_count),
    "descent/verdicts": _absent_or(_mapping_of(_verdict)),
    "descent/finished": _absent_or(lambda value: isinstance(value, bool)),
    "config": _absent_or(lambda value: isinstance(value, dict) and _plain(value)),
    "series": _null_or(_texts),
    "data": _null_or(lambda value: isinstance(value, str)),
    "left": _absent_or(_count),
    "callbacks": _null_or(_mapping_of(lambda value: isinstance(value, Mapping))),
}
