"""What a configuration may name: classes of this package, Lightning's callbacks and loggers, and torch.optim.

Naming a class imports its module, which runs it. So the path is looked at before anything is imported, and after that
where the class is defined: `torch.optim.sgd.torch.load` begins well and ends elsewhere.
"""

import inspect
from collections.abc import Iterator
from functools import cache, partial
from importlib import import_module
from typing import Any

import yaml
from jsonargparse import Namespace, get_loader, set_loader, set_parsing_settings

from gd_lightning import __all__ as public
from gd_lightning import imports, yaml_text
from gd_lightning.errors import InputError

__all__ = ["check_output", "check_values", "class_at", "refusal", "restrict"]

MODULES = (
    "gd_lightning.callbacks",
    "gd_lightning.data",
    "gd_lightning.levenberg_marquardt",
    "gd_lightning.optim",
    "gd_lightning.streamed",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "torch.optim",
)


def restrict() -> None:
    """Let parsers accept these classes only, those of modules that the user allows, and files of this machine only."""
    _set(imports.allowed())


@cache
def _set(allowed: tuple[str, ...]) -> None:
    if any(module.partition(".")[0] == "jsonargparse" for module in allowed):
        raise InputError("allow-import: given jsonargparse, which reads the configurations itself; leave it out")
    for module in allowed:
        imports.import_if_here(module)
    set_parsing_settings(
        config_read_mode_urls_enabled=False,
        config_read_mode_fsspec_enabled=False,
        instantiate_subclass_spec_in_any=False,
        import_path_denylist=["*"],
        import_path_allowlist=[*MODULES, *(f"gd_lightning.{name}" for name in public), *allowed],
    )
    _bound_the_loader()


@cache
def _bound_the_loader() -> None:
    set_loader("yaml", partial(yaml_text.bounded, get_loader("yaml")), exceptions=(yaml.YAMLError,))


def refusal(path: str, key: str = "") -> InputError:
    """What is said of a path that a configuration may not name."""
    return InputError(
        f"{key + ': ' if key else ''}{path} may not be named in a configuration; expected a class of this package, of "
        f"Lightning's callbacks and loggers or of torch.optim; {imports.OPTION} {path.rpartition('.')[0] or path} "
        "allows it"
    )


def class_at(path: Any) -> type:
    """The class that a configuration names.

    Raises:
        InputError: it may not be named, or is not there.
    """
    module, _, name = str(path).rpartition(".")
    if not (module == "gd_lightning" and name in public) and not _may_be_named(str(path)):
        raise refusal(str(path))
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        raise InputError(f"there is no class {path}; expected the path of one, such as gd_lightning.Table") from None
    where = f"{getattr(found, '__module__', '')}.{name}"
    if not inspect.isclass(found) or not _may_be_named(where):
        raise refusal(where)
    return found


def _may_be_named(path: str) -> bool:
    return imports.is_allowed(path) or any(path.startswith(f"{module}.") for module in MODULES)


def check_values(config: Namespace) -> None:
    """Refuse values that the types of the keys let through.

    Those are functions among the arguments of a class, unless the user allows their module; and texts that name no
    file, or none that TensorBoard can write.

    Raises:
        InputError: naming the first one.
    """
    for key, value in _values(config, ""):
        if isinstance(value, str) and "\0" in value:
            raise InputError(f"{key}: given {value!r}, expected text without a NUL character, which no name has")
        if isinstance(value, str) and key.startswith("trainer.") and not _is_utf8(value):
            raise InputError(f"{key}: given {value!r}, expected a name in UTF-8, in which TensorBoard writes its own")
        function = value.func if isinstance(value, partial) else value
        if inspect.isroutine(function):
            path = f"{function.__module__}.{function.__qualname__}"
            if not imports.is_allowed(path):
                raise refusal(path, key)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a name of a file whose bytes are of another encoding
        return False
    return True


def check_output(output: str | None, suffix: str) -> None:
    """Refuse a configuration that would write over, or in the place of, a file that other programs read.

    Raises:
        InputError: the name of what is to be written does not end as such files do.
    """
    if output is not None and not output.endswith(suffix):
        raise InputError(
            f"output: given {output} in a configuration, expected a name that ends in {suffix}; --output may be any"
        )


def _values(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """All that is in a configuration, each with its key; of a class its path and arguments, as texts and numbers."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, dict):
        if "class_path" in value:
            class_at(value["class_path"])
        for name, inner in value.items():
            yield from _values(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _values(inner, key)
    else:
        yield key, value
