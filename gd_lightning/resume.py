"""Whether a run can go on: it has to have the model and the data that it began with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gd_lightning.checkpoints import differences, epochs_done
from gd_lightning.configurations import class_at
from gd_lightning.convergence import DIVERGED
from gd_lightning.errors import InputError
from gd_lightning.runs import NEWEST
from gd_lightning.words import describe_batch

__all__ = ["check_batch", "check_data", "check_going_on", "check_same"]


def check_going_on(checkpoint: Mapping[str, Any], path: Path, max_epochs: int) -> None:
    """Refuse a run that cannot go on, or has nothing to go on with.

    Args:
        checkpoint: of the run.
        path: where it is.
        max_epochs: where it is to end; -1 for no such limit.

    Raises:
        InputError: saying why.
    """
    if not {"verdicts", "finished"} <= checkpoint["descent"].keys():
        raise InputError(f"ckpt_path: {path} is of an older gd_lightning, which kept less; start afresh")
    if not {"optimizer_states", "lr_schedulers"} <= checkpoint.keys():
        raise InputError(
            f"ckpt_path: {path} holds the parameters only, as ModelCheckpoint writes them with save_weights_only; a "
            f"run goes on from its {NEWEST}"
        )
    verdicts = checkpoint["descent"]["verdicts"].values()
    if checkpoint["descent"]["finished"] and all(status == DIVERGED for status, _ in verdicts):
        raise InputError(
            f"ckpt_path: the run of {path} diverged, and would again; start afresh with a smaller model.lr"
        )
    epochs = epochs_done(checkpoint)
    if 0 <= max_epochs < epochs:
        raise InputError(
            f"trainer.max_epochs: given {max_epochs}, and {path} has {epochs} behind it; expected at least {epochs}"
        )


def check_same(checkpoint: Mapping[str, Any], path: Path, present: dict[str, Any], goes_on: bool) -> None:
    """Refuse to go on with, or to predict by, a model and data that are not those of a run.

    Args:
        checkpoint: of the run.
        path: where it is.
        present: the configuration now.
        goes_on: whether the descent goes on, for which all has to be the same; a prediction needs the function.

    Raises:
        InputError: naming the first key that differs.
    """
    if "config" in checkpoint:
        try:
            saved = _essentials(checkpoint["config"])
        except InputError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError):
            raise InputError(f"ckpt_path: {path} holds no configuration of a fit; start afresh") from None
        present = _essentials(present)
    else:  # made by a Trainer in Python, which knows no configuration
        given, model = checkpoint["hyper_parameters"], present["model"]
        saved = {"model": {key: given[key] for key in given if key in model}}
        present = {"model": {key: model[key] for key in saved["model"]}}
    for key, (old, new) in differences(saved, present).items():
        if goes_on:
            raise InputError(
                f"{key}: {old!r} in {path} and {new!r} now; a resumed run goes on as it began, so give {old!r}, "
                "or leave out --ckpt_path to start afresh"
            )
        if key == "model.function":
            raise InputError(f"{key}: {old!r} in {path} and {new!r} now; give {old!r}, or no --config at all")


def check_data(checkpoint: Mapping[str, Any], path: str, now: str) -> None:
    """Refuse to go on with other data.

    Args:
        checkpoint: of the run.
        path: where it is.
        now: the fingerprint of the data.

    Raises:
        InputError: they are not those of the run.
    """
    before = checkpoint.get("data")
    if before is not None and before != now:
        raise InputError(
            f"data: {before} when {path} was written and {now} now; a resumed run needs the same data, so restore "
            "them or leave out --ckpt_path"
        )


def check_batch(checkpoint: Mapping[str, Any], path: str, now: tuple[int, ...]) -> None:
    """Refuse another number of series.

    Args:
        checkpoint: of the run, or what it has come to.
        path: where it is.
        now: the shape of the series in the data.

    Raises:
        InputError: they are not those of the run.
    """
    fitted = tuple(checkpoint["state_dict"]["curve.params"].shape[:-1])
    if fitted != now:
        raise InputError(
            f"data: {describe_batch(now)}, and {path} was fitted to {describe_batch(fitted)}; expected the same number "
            "of series"
        )


def _essentials(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a plain configuration that decides where a descent goes."""
    model = dict(config["model"])
    if isinstance(model["optimizer"], str):  # a class that takes no more than its learning rate
        model["optimizer"] = {"class_path": model["optimizer"]}
    data = dict(config["data"])
    if "path" in data.get("init_args", {}):  # however it is spelt
        path = data["init_args"]["path"]
        resolved = [str(Path(one).resolve()) for one in ([path] if isinstance(path, str) else path)]
        data["init_args"] = {**data["init_args"], "path": resolved}
    if "time_origin" in data.get("init_args", {}):  # it follows from the data, which have a fingerprint of their own
        data["init_args"] = {**data["init_args"], "time_origin": None}
    return {
        "seed_everything": config["seed_everything"],
        "model": _canonical(model),
        "data": _canonical(data),
        "trainer": {"precision": str(config["trainer"]["precision"] or "32-true").removesuffix("-true")},
    }


def _canonical(value: Any) -> Any:
    """The same configuration with each class by the one path where it is defined."""
    if not isinstance(value, dict):
        return value
    value = {key: _canonical(item) for key, item in value.items()}
    if "class_path" in value:
        found = class_at(value["class_path"])
        value["class_path"] = f"{found.__module__}.{found.__qualname__}"
    return value
