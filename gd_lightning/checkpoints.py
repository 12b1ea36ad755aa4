"""Finding, reading and checking the checkpoint from which a run goes on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gd_lightning.errors import InputError

__all__ = ["LAST", "differences", "epochs_done", "find_last", "load", "of"]

LAST = "last"


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
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if "curve.params" in checkpoint["state_dict"] and {"global_step", "loops", "descent"} <= checkpoint.keys():
            return dict(checkpoint)
    except Exception:  # whatever else the file may be, unpickling it fails in its own way
        pass
    raise InputError(f"ckpt_path: {path} is no checkpoint of a fit; expected 'last' or a file such as {example}")


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
