"""Finding, reading and checking the checkpoint from which a run goes on.

A run keeps two: `last.ckpt`, and `previous.ckpt`, an earlier one that is on the disk for sure. While one takes the
place of the other, `last.ckpt` is missing for a moment.
"""

import hashlib
import io
import os
import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gd_lightning.checkpoint_shape import strange
from gd_lightning.errors import InputError
from gd_lightning.runs import CHECKPOINTS, LOGS, NEWEST, PREVIOUS, checkpoint_in, newest
from gd_lightning.words import plural

__all__ = [
    "check_parameters",
    "differences",
    "epochs_done",
    "find_last",
    "load",
    "load_whole",
    "remarks",
    "resolve",
    "sealed",
]

LAST = "last"
EXAMPLE = f"{LOGS}/version_0/{CHECKPOINTS}/{NEWEST}"
SEAL = b"gd_lightning sha256 "
WITH_CODE, WITHOUT_CODE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


class DamagedError(InputError):
    """A file is no checkpoint of a fit, or not what was written."""


def find_last(root: Path) -> Path | None:
    """The checkpoint of the newest run under a folder, by its number; none where no run has left one."""
    run = newest(root, lambda run: checkpoint_in(run) is not None)
    return None if run is None else checkpoint_in(run)


def resolve(given: str | None, root: str | None) -> Path | None:
    """The checkpoint that is meant: `last`, the folder of a run, or a file; none where nothing is given or found.

    Args:
        given: what `--ckpt_path` says.
        root: the folder where `lightning_logs` is; the present one unless given.
    """
    if given == LAST:
        return find_last(Path(root or "."))
    return of(Path(given)) if given else None


def of(path: Path) -> Path:
    """The checkpoint in the folder of a run; a file is itself, or the one before where it is missing.

    Raises:
        InputError: the folder has none.
    """
    if path.name == NEWEST and not path.exists():
        previous = path.with_name(PREVIOUS)
        return previous if previous.is_file() else path
    if not path.is_dir():
        return path
    checkpoint = checkpoint_in(path)
    if checkpoint is None:
        raise InputError(
            f"ckpt_path: {path} holds no {CHECKPOINTS}/{NEWEST}; expected 'last', or the folder of a fit such as "
            "lightning_logs/version_0"
        )
    return checkpoint


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint: tensors, numbers and text, never code.

    Raises:
        InputError: the file is not there, or cannot be read; `DamagedError` where it is no whole checkpoint of a
            `CurveFit`.
    """
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"ckpt_path: {kind}: {path}; expected 'last' or a file such as {EXAMPLE}")
    if all(_is_set(name) for name in (WITH_CODE, WITHOUT_CODE)):
        raise InputError(f"ckpt_path: {WITH_CODE} and {WITHOUT_CODE} are both set in the environment; unset the first")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"ckpt_path: cannot read {path}: {error.strerror}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a file looks like a program: it is refused
            checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        other = strange(checkpoint)
        where = "" if other is None else f" (by its {other})"
    except Exception:  # whatever else the file may be, unpickling it fails in its own way
        other, where = "", ""
    if other is None and not _is_broken(content):
        _check_files(path, checkpoint.get("callbacks") or {})
        return dict(checkpoint)
    raise DamagedError(
        f"ckpt_path: {path} is no checkpoint of a fit, or a damaged one{where}; expected 'last' or a file such as "
        f"{EXAMPLE}"
    )


def check_parameters(checkpoint: Mapping[str, Any], path: str | Path, function: str, names: Sequence[str]) -> None:
    """Refuse a checkpoint whose parameters are not those of a function.

    Raises:
        InputError: there are too few or too many.
    """
    count = checkpoint["state_dict"]["curve.params"].shape[-1]
    if count != len(names):
        raise InputError(
            f"ckpt_path: {path} holds {plural(count, 'parameter')}, and {function} has {', '.join(names)}; expected "
            "the checkpoint of its fit"
        )


def load_whole(path: Path) -> tuple[Path, dict[str, Any]]:
    """Read a checkpoint or, where it is damaged, the one that the same run wrote before.

    Returns:
        Which one it is, and its content.

    Raises:
        InputError: there is none.
    """
    try:
        return path, load(path)
    except DamagedError:
        previous = path.with_name(PREVIOUS)
        if path.name != NEWEST or not previous.is_file():
            raise
    try:
        return previous, load(previous)
    except DamagedError:
        raise InputError(
            f"ckpt_path: {path} is damaged, and so is {PREVIOUS} beside it; start afresh, or name the checkpoint of "
            "another run"
        ) from None


def sealed(content: bytes) -> bytes:
    """A checkpoint with its digest, as the comment at the end of a zip archive: `torch.load` does not verify data.

    Args:
        content: what `torch.save` has written, an archive without a comment.
    """
    body = content[:-2] + struct.pack("<H", len(SEAL) + 2 * hashlib.sha256().digest_size)
    return body + SEAL + hashlib.sha256(body).hexdigest().encode()


def _is_broken(content: bytes) -> bool:
    """Whether a checkpoint has a digest, and it is another's."""
    body, seal, digest = content.rpartition(SEAL)
    return bool(seal) and hashlib.sha256(body).hexdigest().encode() != digest


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


def remarks(asked: Path, taken: Path) -> list[str]:
    """What is to be said of a checkpoint that `load_whole` has read.

    Args:
        asked: the one that was asked for.
        taken: the one that was read.
    """
    told = [] if taken == asked else [f"{asked} is damaged; {taken} is taken, which was written before it"]
    if _is_set(WITH_CODE):  # which asks torch to run the code in checkpoints
        told.append(
            f"{WITH_CODE} is set in the environment; checkpoints are read as tensors, numbers and text all the same."
        )
    return told


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
