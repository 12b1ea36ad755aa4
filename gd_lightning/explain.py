"""Turns the parser's account of what it tried into one line that says what to try next."""

import argparse
import inspect
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from gd_lightning.errors import suggest

__all__ = ["explain"]

TABLES = (".csv", ".tsv", ".parquet")
CONFIGURATIONS = (".yaml", ".yml")


def explain(message: str, parser: argparse.ArgumentParser) -> str:
    """One line for one of jsonargparse's messages, which list every type and class that was tried.

    Args:
        message: the message.
        parser: the parser whose options are the accepted spellings.
    """
    key = _found(r'Parser key "([^"]+)"', message)
    inner = _found(r'Problem with given class_path [\s\S]*?Parser key "([^"]+)"', message)
    path = f"{key}.{inner}" if inner else key
    class_path = _found(r"Problem with given class_path '([^']+)'", message) or _found(r"class_path='([^']+)'", message)

    if denied := _found(r"Importing '([^']+)' is not allowed", message):
        from gd_lightning.configurations import refusal

        return str(refusal(denied, key or ""))
    if option := _found(r"unrecognized arguments: (\S+)", message):
        if where := _file_option(option, parser):
            return f"{option} stands without its option; expected {where}"
        option = option.partition("=")[0]
        return f"unknown option {option}{_near(option, _options(parser))} (--help lists all)"
    if option := _found(r"does not accept option '([^']+)'", message):
        command = _found(r"Subcommand '([^']+)'", message)
        known = {name.removeprefix("--") for name in _options(_commands(parser).get(command or "", parser))}
        return f"unknown key {option!r} in the configuration{_near(option, known)}"
    if choice := _found(r"invalid choice: '([^']*)'", message):
        return f"unknown command {choice!r}; {suggest(choice, _commands(parser))}"
    if 'expected "subcommand"' in message:
        return f"no command given; expected one of {', '.join(_commands(parser))}, such as: gd-lightning fit"
    if (option := _found(r"Option '([^']+)' is not accepted", message)) and class_path:
        if key == "data" and option in _arguments("gd_lightning.Table"):
            return f"data: {_short(class_path)} takes no {option!r}, and Table does; add --data Table"
        return f"{key}: {_short(class_path)} takes no {option!r}; {suggest(option, _arguments(class_path))}"
    if (missing := _found(r"the following arguments are required: (.+)", message)) and class_path:
        flags = " ".join(f"--{key}.{name.strip()} ..." for name in missing.split(","))
        return f"{key}: {_short(class_path)} also needs {missing.strip()}; add {flags}"
    if file := _found(r"File does not exist: '([^']+)'", message):
        folder = Path(file).parent
        siblings = [p.name for p in folder.glob("[!.]*.yaml")]
        hint = f"; {suggest(Path(file).name, siblings)}" if siblings else ""
        return f"{key}: no such file: {_relative(file)}{hint}"
    if "Problems parsing config" in message:
        problem = _single_spaced(message.partition("Problems parsing config:")[2])
        return f"the configuration is not valid YAML: {problem}"
    if "Unexpected config" in message:
        return "the configuration holds no keys and values; expected lines such as model: {lr: 1e-5}"
    if name := _found(r"Multiple subclasses with name (\S+)\.", message):
        choices = _found(r"to avoid ambiguity: (.+)\.", message) or ""
        return f"{key}: {name!r} names more than one class; choose from {choices}"
    value = _found(r"Given value: (\S+)$", message) or _found(r"Given value: \{'class_path': '([^']+)'", message)
    if value and ("Expected a dot import path" in message or "expects a function or a callable class" in message):
        return f"{key}: no class {value!r}; {suggest(_short(value), _classes(key or ''))}"
    expected = [_readable(name) for name in re.findall(r"Expected a <class '(\w+)'>", message)]
    expected = [words for words in expected if words != "null"]
    given = _found(r"Got value: (.+)", message) or _nested_value(message) or _found(r"Given value: (.+)", message)
    if path and expected and given:
        return f"{path}: given {given.strip()!r}, expected {' or '.join(dict.fromkeys(expected))}"
    return _single_spaced(message)


def _found(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text, re.MULTILINE)
    return match.group(1) if match else None


def _nested_value(message: str) -> str | None:
    return _found(r"Given value: NestedArg\(key='[^']*', val='([^']*)'\)", message)


def _single_spaced(message: str) -> str:
    return re.sub(r"\s+", " ", message).strip()


def _short(class_path: str) -> str:
    return class_path.rpartition(".")[2]


def _relative(file: str) -> str:
    here = Path.cwd()
    return str(Path(file).relative_to(here)) if Path(file).is_relative_to(here) else file


def _readable(type_name: str) -> str:
    words = {
        "float": "a number",
        "int": "a whole number",
        "str": "text",
        "bool": "true or false",
        "dict": "a mapping such as {a: 1, b: 2}",
        "list": "a list",
        "NoneType": "null",
    }
    return words.get(type_name, type_name)


def _near(option: str, known: Iterable[str]) -> str:
    near = get_close_matches(option, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _file_option(given: str, parser: argparse.ArgumentParser) -> str | None:
    """What to type before a file that stands alone; none where it is no file."""
    known = _options(parser)
    ending = Path(given).suffix.lower()
    if given.startswith("-") or not (ending in (*TABLES, *CONFIGURATIONS) or Path(given).is_file()):
        return None
    if ending in CONFIGURATIONS:
        return f"--config {given}"
    if ending == ".ckpt":
        return f"--ckpt_path {given}"
    if "--level" in known or "--data" not in known:  # predict, whose columns are those of the fit, and fit_many
        return f"--data.path {given}"
    return f"--data Table --data.path {given} --data.t ... --data.y ..."


def _options(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands by name, each with its own parser."""
    return {
        name: command
        for action in parser._actions
        if isinstance(action.choices, dict)
        for name, command in action.choices.items()
    }


def _arguments(class_path: str) -> list[str]:
    from gd_lightning.configurations import class_at

    return list(inspect.signature(class_at(class_path)).parameters)


def _classes(key: str) -> set[str]:
    """Names of the classes that fit a key; importing this file needs none of them."""
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from gd_lightning.data import Series

    bases = {
        "data": Series,
        "model.optimizer": Optimizer,
        "model.scheduler": LRScheduler,
        "trainer.callbacks": Callback,
        "trainer.logger": Logger,
    }
    names = {cls.__name__ for cls in _subclasses(bases[key])} if key in bases else set()
    return {name for name in names if not name.startswith("_")}


def _subclasses(cls: type) -> set[type]:
    found: set[type] = set(cls.__subclasses__())
    return found.union(*(_subclasses(subclass) for subclass in found))
