"""What a command line and its configuration leave open, and what Lightning takes in them and a fit does not."""

import inspect
from collections.abc import Sequence
from typing import Any, get_args

from jsonargparse import Namespace
from lightning.pytorch import Trainer

from gd_lightning.callbacks import PredictionPlots, Stopping
from gd_lightning.command import is_typed
from gd_lightning.configurations import class_at
from gd_lightning.data import SEED_BITS, columns_of
from gd_lightning.errors import InputError
from gd_lightning.fitting import check_seed
from gd_lightning.levenberg_marquardt import LevenbergMarquardt
from gd_lightning.module import CurveFit
from gd_lightning.streamed import StreamedTable

__all__ = ["settle"]

ARTICLE_EPOCHS = 10
FIRST_LOOK_STEPS = 100  # an epoch, where a table is fitted and no limit given
PRECISIONS = ("None", "32", "32-true", "64", "64-true")  # in fewer bits the loss of most data is infinite
MOST_PROCESSES = 2**31 - 1  # torch counts them in so many bits
MADE = {"model": CurveFit, "plots": PredictionPlots, "stopping": Stopping, "trainer": Trainer}


def settle(config: Any, command: str, typed: Sequence[str], untouched: Any) -> None:
    """Decide what a configuration leaves open.

    Args:
        config: of the command, in which it is written.
        command: fit, predict, sweep or compare.
        typed: the command line.
        untouched: the model of a configuration in which nothing is given.

    Raises:
        InputError: naming the key that no fit takes.
    """
    for section in (*MADE, "data"):
        if not isinstance(given := config.get(section), Namespace):
            shown = "null" if given is None else repr(given)
            raise InputError(f"{section}: given {shown}, expected keys and values; --print_config shows them")
    for section, made in {**MADE, "data": class_at(config.data.class_path)}.items():
        _refuse_null(section, made, config.data.init_args if section == "data" else config[section])
    _settle_seed(config)
    if command == "compare":
        _settle_model(config, typed, untouched)
    else:
        _settle_first_look(config, command, typed)
    _settle_precision(config)
    _settle_limits(config.trainer, typed)
    _refuse_settings(config.trainer)


def _refuse_null(section: str, made: Any, given: Any) -> None:
    """Refuse null for what a class does not take it for, which the parser lets through in files and for data."""
    for name, argument in inspect.signature(made).parameters.items():
        null = given.get(name, argument.default) is None
        if null and argument.default is not None and type(None) not in get_args(argument.annotation):
            raise InputError(f"{section}.{name}: given null; leave it out for {argument.default}")


def _settle_seed(config: Any) -> None:
    check_seed(config.seed_everything, "seed_everything", SEED_BITS)
    if config.data.init_args.get("seed", 0) is None:
        config.data.init_args.seed = config.seed_everything


def _settle_model(config: Any, typed: Sequence[str], untouched: Any) -> None:
    """A comparison has many functions: the one of a configuration, and how it is fitted, is not used."""
    for arg in typed:
        option = arg.partition("=")[0]
        if option.startswith("--model.") and option != "--model.absolute_sigma":
            raise InputError(
                f"{option[2:]}: compare fits each function as it stands; --functions chooses them, and of the "
                "model only absolute_sigma is used"
            )
    absolute_sigma = config.model.absolute_sigma
    config.model = untouched
    config.model.absolute_sigma = absolute_sigma


def _settle_first_look(config: Any, command: str, typed: Sequence[str]) -> None:
    """What suits a table: its columns are the predictors, and what is left open starts from the data."""
    columns = config.data.init_args.get("t")
    if not isinstance(columns, str | list):
        return
    columns = list(columns_of(columns))
    if config.model.predictors is None or sorted(config.model.predictors) == sorted(columns):
        config.model.predictors = columns
    streamed = config.data.class_path.rpartition(".")[2] == StreamedTable.__name__
    if config.model.start is None and config.model.lr is None:
        config.model.start = "data"
        open_ = config.model.optimizer is None and config.model.scheduler is None and not config.model.compile
        if open_ and command != "sweep" and not streamed:
            config.model.optimizer = Namespace(  # type: ignore[no-untyped-call]
                class_path=f"gd_lightning.{LevenbergMarquardt.__name__}"
            )
    unlimited = config.trainer.max_epochs is None and config.trainer.max_steps == -1 and not streamed
    if unlimited and config.model.steps_per_epoch == 1 and not is_typed(typed, "--model.steps_per_epoch"):
        config.model.steps_per_epoch = FIRST_LOOK_STEPS


def _settle_precision(config: Any) -> None:
    """Levenberg-Marquardt computes in double precision; its parameters are not to lose that on the way."""
    optimizer = config.model.optimizer
    name = getattr(optimizer, "class_path", optimizer) or ""
    if name.endswith(LevenbergMarquardt.__name__) and config.trainer.precision is None:
        config.trainer.precision = "64-true"


def _settle_limits(trainer: Any, typed: Sequence[str]) -> None:
    """The limit that was typed goes before the other one in the file; ten epochs where there is none."""
    limits = [name for name in ("max_epochs", "max_steps") if is_typed(typed, f"--trainer.{name}")]
    if limits == ["max_steps"] or (trainer.max_epochs is None and trainer.max_steps != -1):
        trainer.max_epochs = -1
    elif limits == ["max_epochs"]:
        trainer.max_steps = -1
    if trainer.max_epochs is None:
        trainer.max_epochs = ARTICLE_EPOCHS
    for name in ("max_epochs", "max_steps"):
        value = trainer[name]
        if value == 0 or value < -1:
            raise InputError(f"trainer.{name}: given {value}, expected at least 1 (or -1 for no such limit)")
    if trainer.max_epochs == trainer.max_steps == -1 and trainer.max_time is None:
        raise InputError("trainer: max_epochs and max_steps are both -1, which never ends; set one of them")


def _refuse_settings(trainer: Any) -> None:
    """What Lightning takes and a fit does not."""
    for name in ("devices", "num_nodes"):
        if str(trainer[name]).isdecimal() and int(trainer[name]) > MOST_PROCESSES:
            raise InputError(f"trainer.{name}: given {trainer[name]}, expected as many as there are")
    if trainer.limit_train_batches == 0 or trainer.limit_predict_batches == 0:
        raise InputError("trainer: a limit of 0 batches leaves nothing to fit or predict; leave it out")
    if "://" in str(trainer.default_root_dir):
        raise InputError(f"trainer.default_root_dir: given {trainer.default_root_dir}, expected a folder here")
    if any(way in str(trainer.strategy) for way in ("spawn", "fork", "notebook")):
        raise InputError(
            f"trainer.strategy: given {trainer.strategy!r}, whose processes keep the result to themselves; expected ddp"
        )
    if str(trainer.precision) not in PRECISIONS:
        raise InputError(f"trainer.precision: given {trainer.precision!r}, expected '32-true' or '64-true'")
