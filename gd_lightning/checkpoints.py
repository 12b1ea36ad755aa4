"""Finding, reading and checking the checkpoint from which a run goes on."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gd_lightning.errors import InputError

__all__ = ["LAST", "differences", "epochs_done", "find_last", "load", "of", "remark"]

LAST = "last"
WITH_CODE, WITHOUT_CODE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def find_last(root: Path) -> Path | None:
    """The checkpoint of the newest run under a folder; none where no run has left one."""

    def version(checkpoint: Path) -> int:
        number = checkpoint.parents[1].name.removeprefix("version_")
        return int(number) if number.isdigit() else -1

    return max(root.glob("lightning_logs/version_*/checkpoints/last.ckpt"), key=version, default=None)


def of(path: Path) -> Path:
    """The checkpoint in the folder of a run; a file is itself.

    Raises:
        InputError: the folder has none.
    """
    if not path.is_dir():
        return path
    checkpoint = path / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        raise InputError(
            f"ckpt_path: {path} holds no checkpoints/last.ckpt; expected 'last', or the folder of a fit such as "
            "lightning_logs/version_0"
        )
    return checkpoint


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint: tensors, numbers and text, never code.

    Raises:
        InputError: the file is not there, or is no checkpoint of a `CurveFit`.
    """
    example = "lightning_logs/version_0/checkpoints/last.ckpt"
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"ckpt_path: {kind}: {path}; expected 'last' or a file such as {example}")
    if all(_is_set(name) for name in (WITH_CODE, WITHOUT_CODE)):
        raise InputError(f"ckpt_path: {WITH_CODE} and {WITHOUT_CODE} are both set in the environment; unset the first")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a file looks like a program: it is refused
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        params = checkpoint["state_dict"]["curve.params"]
        if isinstance(params, Tensor) and {"global_step", "loops", "descent"} <= checkpoint.keys():
            _check_files(path, checkpoint.get("callbacks") or {})
            return dict(checkpoint)
    except InputError:
        raise
    except Exception:  # whatever else the file may be, unpickling it fails in its own way
        pass
    raise InputError(f"ckpt_path: {path} is no checkpoint of a fit; expected 'last' or a file such as {example}")


def _check_files(path: Path, callbacks: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a checkpoint whose callbacks would take other files for older checkpoints, which they remove.

    Raises:
        InputError: naming the first such file.
    """
    for state in callbacks.values():
        files = [state[key] for key in ("best_model_path", "kth_best_model_path", "last_model_path") if state.get(key)]
        for file in (*files, *state.get("best_k_models", {})):
            if not str(file).endswith(".ckpt"):
                raise InputError(f"ckpt_path: {path} takes {file} for a checkpoint that it may remove; expected .ckpt")


def remark() -> str | None:
    """What to say where the environment asks torch to run the code in checkpoints, which `load` does not do."""
    if not _is_set(WITH_CODE):
        return None
    return f"{WITH_CODE} is set in the environment; checkpoints are read as tensors, numbers and text all the same."


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "y", "yes", "true")  # as torch reads it


def epochs_done(checkpoint: Mapping[str, Any]) -> int:
    """Epochs that a run had behind it; its "epoch" is one less where it was written at the end of an epoch."""
    processed: int = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    return processed


def differences(saved: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ between two nested mappings, each with the saved and the present value."""
    old, new = _flat(saved), _flat(present)
    return {key: (old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)}


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
