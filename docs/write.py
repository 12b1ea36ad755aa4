"""Writes docs/config-keys.md from the parsers of the commands: python docs/write.py."""

import argparse
import inspect
from collections.abc import Iterable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import lightning

from gd_lightning import optim
from gd_lightning.callbacks import RunReport
from gd_lightning.cli import CommandLine
from gd_lightning.data import NoisySeries, Table
from gd_lightning.interruptions import Interruptions
from gd_lightning.many_command import Going, ManyLine
from gd_lightning.optim import UpdateRule
from gd_lightning.parser import Parser
from gd_lightning.streamed import StreamedTable

DOCS = Path(__file__).parent

HEAD = """\
# Every key

Each key can stand in a YAML file, or be typed: `model: {lr: 3e-5}` in a file is `--model.lr 3e-5` on the command line.
What is typed wins over what stands in a file, and of two files (`--config a.yaml --config b.yaml`) the second wins.
`gd-lightning fit --print_config` shows all keys with their values, and the `config.yaml` in the folder of a run
is such a file. A key that does not exist is an error that names the nearest one. Only `--allow-import` is no key and is
always typed: [what a file may do](../README.md#what-a-file-may-do).

`docs/write.py` writes this page from the commands themselves; `gd-lightning fit --help` says the same in a terminal.

[model](#model) · [model.optimizer](#modeloptimizer) · [data](#data) · [plots](#plots) · [stopping](#stopping) ·
[of one command](#of-one-command) · [fit_many](#fit_many) · [trainer](#trainer)
"""
# What Lightning's keys do here; of one that is not among them Lightning's own documentation tells.
TRAINER = {
    "accelerator": "what computes: `cpu`, `gpu`, or `auto` for the fastest there is",
    "strategy": "how processes share the work: `ddp` with several devices, else `auto`",
    "devices": "how many GPUs, or processes on the CPU",
    "num_nodes": "how many machines",
    "precision": "`32-true` or `64-true`; null is the first, and of Levenberg-Marquardt the second",
    "logger": "`false` for a run without a folder, or classes of `lightning.pytorch.loggers`",
    "callbacks": "further classes of `lightning.pytorch.callbacks`",
    "max_epochs": "how many epochs, each of `model.steps_per_epoch` steps, or of all minibatches; -1 for no limit",
    "max_steps": "how many steps; -1 for no limit",
    "min_epochs": "how many epochs a run takes, whatever a callback wants",
    "min_steps": "how many steps a run takes, whatever a callback wants",
    "max_time": "how long, as `00:12:00:00`: days, hours, minutes, seconds",
    "limit_train_batches": "how many minibatches of a `StreamedTable` are an epoch, or what part of them",
    "limit_predict_batches": "how many batches `predict` and `fit_many` take",
    "log_every_n_steps": "each n-th step is logged",
    "enable_checkpointing": "`false` writes no checkpoint, from which a run could go on",
    "enable_progress_bar": "`false` shows no progress",
    "default_root_dir": "where `lightning_logs` is; the working folder unless given",
    "accumulate_grad_batches": "1: each step has one gradient",
    "gradient_clip_val": "null: the step is taken by hand, and clips nothing",
    "use_distributed_sampler": "`false`: each process holds the full batch, so that its mean is exact",
    **dict.fromkeys(
        (
            "limit_val_batches",
            "val_check_interval",
            "check_val_every_n_epoch",
            "num_sanity_val_steps",
            "limit_test_batches",
        ),
        "not used: points kept out are scored without a loop of their own",
    ),
}
# Keys that belong to one command alone; test_docs.py knows whether there are others.
OWN = ("ckpt_path", "output", "level", "lrs", "starts", "rules", "heed", "functions", "by", "folds", "best")
WORDS = {float: "number", int: "whole number", str: "text", bool: "true, false", NoneType: "null", dict: "mapping"}
PLURAL = {"number": "numbers", "whole number": "whole numbers", "text": "texts", "class": "classes"}


class Made(Exception):  # noqa: N818
    """The parsers are made; nothing is to be parsed."""


class Parsers(CommandLine):
    """The command line of fit, predict, sweep and compare, as far as its parsers."""

    def parse_arguments(self, parser: Any, args: Any) -> None:
        raise Made


class ManyParser(ManyLine):
    """The same of fit_many."""

    def parse_arguments(self, parser: Any, args: Any) -> None:
        raise Made


def parsers() -> dict[str, Any]:
    """The parser of each command that takes keys."""
    line, many = Parsers.__new__(Parsers), ManyParser.__new__(ManyParser)
    for made in (
        lambda: line.__init__([], RunReport(command=""), Interruptions()),
        lambda: many.__init__([], Going()),
    ):
        try:
            made()
        except Made:
            continue
    return {**line._subcommand_parsers, "fit_many": many.parser}


def of_class(key: str, cls: type) -> Iterable[argparse.Action]:
    """The keys that a class of data or an update rule takes."""
    parser = Parser()
    parser.add_class_arguments(cls, key, skip={"params", "lr"} if issubclass(cls, UpdateRule) else set())
    return actions(parser, f"{key}.")


def actions(parser: Any, *begins: str) -> list[argparse.Action]:
    """The options of a parser whose keys begin like this."""
    return [
        action
        for action in parser._actions
        if action.dest.startswith(begins) and not action.dest.endswith(".help") and action.help != argparse.SUPPRESS
    ]


def kind(hint: Any) -> str:
    """What a type takes, in words."""
    if get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        # sorted: Python keeps one order of a union, whoever wrote it first
        found = sorted({kind(one) for one in get_args(hint)}, key=lambda words: (words == "null", words))
        return ", ".join(dict.fromkeys(", ".join(found).split(", ")))  # 64 may be a number, and a text
    known = get_origin(hint) or hint
    if known in WORDS:
        return WORDS[known]
    if known is tuple:
        return f"list of {len(get_args(hint))} numbers"
    if isinstance(known, type) and issubclass(known, Iterable) and get_args(hint):
        return f"list of {PLURAL[kind(get_args(hint)[0])]}"
    return "class" if get_args(hint) or not known.__module__.startswith(("pathlib", "datetime")) else WORDS[str]


def default(value: Any) -> str:
    """A default as it stands in YAML."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple):
        return str(list(value))
    return str(getattr(value, "class_path", value)).removeprefix("gd_lightning.")


def row(action: argparse.Action) -> str:
    """The line of a key in its table."""
    hint = getattr(action, "_typehint", None) or action.type or bool  # a flag has no type
    takes = WORDS[int] if action.dest == "seed_everything" else kind(hint)  # a random seed is refused
    required = action.required or action.default is inspect.Parameter.empty
    key = action.dest
    meaning = TRAINER.get(key.removeprefix("trainer."), "") if key.startswith("trainer.") else action.help or ""
    cells = [f"`{key}`", takes, "required" if required else f"`{default(action.default)}`", " ".join(meaning.split())]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace('**', chr(92) + '*' * 2) for cell in cells)} |"


def table(found: Iterable[argparse.Action]) -> str:
    """Keys with their types, defaults and meanings."""
    return "\n".join(["| key | takes | unless given | meaning |", "|---|---|---|---|", *map(row, found)])


def others(first: Any, second: Any) -> list[str]:
    """The keys of the trainer that have another default in the second parser."""
    defaults = [
        {action.dest: default(action.default) for action in actions(one, "trainer.")} for one in (first, second)
    ]
    del defaults[1]["trainer.accelerator"]  # which goes by the machine
    return [f"`{key}: {value}`" for key, value in defaults[1].items() if value != defaults[0][key]]


def page() -> str:
    """The whole of docs/config-keys.md."""
    made = parsers()
    fit, many = made["fit"], made["fit_many"]
    named = [getattr(optim, name) for name in optim.__all__]
    rules = [
        rule for rule in named if inspect.isclass(rule) and issubclass(rule, UpdateRule) and rule is not UpdateRule
    ]
    parts = [
        HEAD,
        "Of all commands:",
        table(actions(fit, "seed_everything")),
        "## model",
        "What is fitted, and how. `gd_lightning.CurveFit` in Python.",
        table(actions(fit, "model.")),
        "## model.optimizer",
        "A rule is chosen by its name, `--model.optimizer Momentum`, and takes numbers of its own, "
        "`--model.optimizer.beta 0.95`. Any class of `torch.optim` takes those that torch gives it.",
    ]
    for rule in rules:
        if found := list(of_class("model.optimizer", rule)):
            parts += [f"{rule.__name__}:", table(found)]
    parts += [
        "## data",
        "Where the points come from: one of three classes, `--data Table`, or in a file "
        "`data: {class_path: Table, init_args: {...}}`. [Your own data](your-data.md) shows them at work.",
    ]
    for cls in (NoisySeries, Table, StreamedTable):
        first = (inspect.getdoc(cls) or "").partition("\n")[0]
        parts += [f"### {cls.__name__}", first, table(of_class("data", cls))]
    parts += [
        "## plots",
        table(actions(fit, "plots.")),
        "## stopping",
        "When a run has nothing more to gain; [the statuses](../README.md#update-rules) say how it ended.",
        table(actions(fit, "stopping.")),
        "## of one command",
        "`sweep` and `compare` take the keys of `fit` above and below, too.",
    ]
    for name in ("fit", "predict", "sweep", "compare"):
        parts += [f"`gd-lightning {name}`:", table(actions(made[name], *OWN))]
    parts += [
        "## fit_many",
        "Very many series, from Parquet to Parquet; [many series](many-series.md) tells more.",
        table(
            action for action in actions(many, "model.", "data.", "output", "overwrite") if action.dest != "model.seed"
        ),
        f"Its keys of the trainer are those below, but for these defaults: {', '.join(others(fit, many))}.",
        "## trainer",
        f"Lightning's own, of version {lightning.__version__}, with the defaults that this project gives them. "
        "Most runs need `max_epochs` or `max_steps` and no other. Where nothing is said, it does what "
        "[its documentation](https://lightning.ai/docs/pytorch/stable/common/trainer.html) tells.",
        table(actions(fit, "trainer.")),
        "Next: [errors, and what they mean](errors.md).",
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


if __name__ == "__main__":
    (DOCS / "config-keys.md").write_text(page())
