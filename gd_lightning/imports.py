"""Which modules a text may import: those in the folder where the command runs, and those that its user allows.

Who calls this package in Python writes code anyway, so that there any module may be named. What comes from a file or
from the command line may have been written by somebody else: it is read inside `only`.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import ModuleSpec
from types import ModuleType

from gd_lightning.errors import InputError

__all__ = ["OPTION", "allowed", "check", "import_if_here", "import_module", "is_allowed", "only", "typed"]

OPTION = "--allow-import"
FAMILIES = "gd_lightning.functions"  # which are to be had by their names, too

_allowed: ContextVar[tuple[str, ...] | None] = ContextVar("allowed", default=None)


@contextmanager
def only(modules: Iterable[str] = ()) -> Iterator[None]:
    """Within it a text may import what lies in the working folder and, of all else, these modules.

    Args:
        modules: names of modules or packages, each with all that is in it.

    Raises:
        InputError: one of them is no name of a module.
    """
    modules = tuple(modules)
    for module in modules:
        if not all(part.isidentifier() for part in module.split(".")):
            raise InputError(f"allow-import: given {module!r}, expected the name of a module such as my_curves")
    token = _allowed.set(modules)
    try:
        yield
    finally:
        _allowed.reset(token)


def typed(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line without its options `--allow-import`, and the modules that these name.

    Raises:
        InputError: the last one names none.
    """
    rest: list[str] = []
    modules: list[str] = []
    given = iter(args)
    for arg in given:
        if arg == OPTION:
            arg = f"{OPTION}={next(given, '')}"
        if arg.startswith(f"{OPTION}="):
            modules.append(arg.partition("=")[2])
        else:
            rest.append(arg)
    return rest, modules


def allowed() -> tuple[str, ...]:
    """The modules that are allowed beside those in the working folder."""
    return _allowed.get() or ()


def is_allowed(path: str) -> bool:
    """Whether an import path leads into a module that is allowed by its name."""
    return any(path == module or path.startswith(f"{module}.") for module in allowed())


def check(module: str, path: str) -> None:
    """Refuse a module that a text may not import, before it is imported.

    Args:
        module: its name.
        path: the text that names it.

    Raises:
        InputError: it is none in the working folder or of families, and is not allowed; the message says how to
            allow it.
    """
    if _allowed.get() is None or is_allowed(path) or module == FAMILIES:
        return
    found = _spec(module.partition(".")[0])
    if found is not None and not _lies_here(found):
        raise InputError(
            f"function: {path} may not be imported: {module} does not lie in this folder; expected a function of a "
            f"file here, a family or a formula; {OPTION} {module} allows it"
        )


def import_module(name: str) -> ModuleType:
    """Import a module; those in the working folder are found, too, and first."""
    with _here_first():
        importlib.invalidate_caches()
        return importlib.import_module(name)


def import_if_here(name: str) -> None:
    """Import a module that lies in the working folder, so that it is found there by whoever looks for it later.

    Raises:
        InputError: it cannot be imported.
    """
    found = _spec(name.partition(".")[0])
    if found is not None and _lies_here(found):
        try:
            import_module(name)
        except (Exception, SystemExit) as error:  # whatever a module of the user's may raise
            raise InputError(f"allow-import: {name} cannot be imported: {type(error).__name__}: {error}") from error


@contextmanager
def _here_first() -> Iterator[None]:
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _spec(top: str) -> ModuleSpec | None:
    """Where a module of the first level is, which is found without running it; none where there is no such module."""
    if top in sys.modules:  # under its name there is no other any more, whatever lies here
        return getattr(sys.modules[top], "__spec__", None) or ModuleSpec(top, None)
    with _here_first():
        importlib.invalidate_caches()
        return importlib.util.find_spec(top)


def _lies_here(spec: ModuleSpec) -> bool:
    """Whether a module is a file of the working folder, or a package in it."""
    places = [spec.origin] if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
    folders = [os.path.dirname(place) for place in places if place is not None and os.path.isabs(place)]
    here = os.getcwd()
    return len(folders) == len(places) > 0 and all(
        os.path.isdir(one) and os.path.samefile(one, here) for one in folders
    )
