"""From what a user wrote to a function: the one place that turns text into a callable."""

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cache, partial

from torch import Tensor

from gd_lightning import functions, imports
from gd_lightning.errors import InputError, suggest
from gd_lightning.formula import Formula
from gd_lightning.listing import DEGREE
from gd_lightning.scalars import is_number

__all__ = [
    "Function",
    "arguments",
    "bind",
    "default_values",
    "equation",
    "function_name",
    "is_family",
    "is_import_path",
    "is_pointwise",
    "parameter_names",
    "predictor_arguments",
    "resolve",
]

Function = Callable[..., Tensor]

# What a predictor is called in a formula where the data do not name it.
USUAL_PREDICTORS = ("t", "x")


def resolve(function: str | Function) -> Function:
    """Turn what a user wrote for a function into a callable; the only place that does.

    Args:
        function: one of four spellings: the name of a family, such as `"gaussian"` or `"polynomial(6)"`; a formula,
            such as `"a*exp(-t/tau) + c"`; an import path, such as `"my_curves.damped"`, also from a file in the
            folder where the command runs; or the callable itself.

    Returns:
        The function.

    Raises:
        InputError: it is none of the four; the message says what is near.
    """
    if callable(function):
        return function
    if not isinstance(function, str):
        raise InputError(
            f"function: given {function!r}, expected the name of a family, a formula, an import path or a callable"
        )
    text = function.strip()
    if degree := re.fullmatch(r"polynomial(?:\(\s*(\d{1,4})\s*\))?", text):
        return functions.polynomial_of(int(degree[1] or DEGREE))
    if text in functions.__all__:
        family: Function = getattr(functions, text)
        return family
    if text.isidentifier():
        raise InputError(
            f"function: given {function!r}, which is no family; {suggest(text, functions.__all__)} (or write a formula)"
        )
    if is_import_path(text):
        return _import(text)
    return _formula(function)


def is_import_path(text: str) -> bool:
    """Whether a text names a function by its module, which has to be imported, and so runs, to find it."""
    return re.fullmatch(r"[^\W\d]\w*(\.(?!__)[^\W\d]\w*)+", text.strip()) is not None


@cache
def _formula(text: str) -> Formula:
    """A formula, which is parsed once: programs fit the same one again and again."""
    return Formula(text)


def _import(path: str) -> Function:
    """The callable at an import path; modules in the working folder are found, too."""
    module, _, name = path.rpartition(".")
    imports.check(module, path)
    try:
        found = getattr(imports.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise InputError(f"function: {path} cannot be imported: {error}") from error
        raise InputError(
            f"function: given {path!r}, and there is no module {module!r} here or installed; expected an import path "
            f"such as my_curves.damped (or, in a formula, no attribute: column {path.index('.') + 1})"
        ) from None
    except AttributeError as error:
        if module not in sys.modules:  # its own error
            raise InputError(f"function: {path} cannot be imported: AttributeError: {error}") from error
        known = [key for key, value in vars(sys.modules[module]).items() if callable(value) and key[0] != "_"]
        raise InputError(f"function: {module} has no {name!r}; {suggest(name, known)}") from None
    except (Exception, SystemExit) as error:  # whatever a module of the user's may raise
        raise InputError(f"function: {path} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise InputError(f"function: {path} is {type(found).__name__}, expected a function f(t, a, b, ...)")
    function: Function = found
    return function


def function_name(function: str | Function) -> str:
    """The text that stands for a function in results and checkpoints."""
    return function if isinstance(function, str) else getattr(function, "__name__", repr(function))


def is_pointwise(function: Function) -> bool:
    """Whether a function is known to predict each point from that point alone, as formulas and families do."""
    return isinstance(function, Formula) or is_family(function)


def is_family(function: Function) -> bool:
    """Whether a function is one of this package's, which its name finds again."""
    name = getattr(function, "__name__", "")
    own = getattr(function, "__module__", "") == functions.__name__
    return own and (getattr(functions, name, None) is function or name.startswith("polynomial("))


def arguments(function: Function) -> tuple[str, ...]:
    """The names of a function's arguments, in order.

    Raises:
        InputError: it takes `*args` or `**kwargs`, which name nothing, or cannot be asked.
    """
    if isinstance(function, Formula):
        return function.names
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise InputError(f"function: {function_name(function)} does not tell its arguments; wrap it in a def") from None
    found = list(signature.parameters.values())
    if any(argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD) for argument in found):
        raise _nameless(function)
    given = function.keywords if isinstance(function, partial) else {}
    return tuple(argument.name for argument in found if argument.name not in given and _is_open(argument.default))


def _is_open(default: object) -> bool:
    """Whether an argument may be a tensor: it has no default, or one that is a number."""
    return default is inspect.Parameter.empty or is_number(default)


def _nameless(function: Function) -> InputError:
    return InputError(
        f"function: {function_name(function)}{inspect.signature(function)} does not name its parameters; "
        "expected f(t, a, b, ...) with at least one after t"
    )


def predictor_arguments(function: Function, predictors: Sequence[str] | None = None) -> tuple[str, ...]:
    """Which arguments of a function are data, in the order of the predictors.

    Arguments that bear the name of a predictor are data. One predictor may have any name: where no argument bears it,
    it stands for the first argument of a family or callable, and for the `t` or `x` of a formula.

    Raises:
        InputError: a predictor that the function does not use.
    """
    known = arguments(function)
    names = tuple(predictors or ())
    if names and all(name in known for name in names):
        return names
    if isinstance(function, Formula) and not known:
        raise InputError(f"function: {function_name(function)} has no names; expected a formula such as a*t + b")
    if len(names) <= 1:
        if not isinstance(function, Formula):
            return known[:1]
        for name in USUAL_PREDICTORS:
            if name in known:
                return (name,)
        expected = "a formula in t or x, or predictors by name"
        if names:
            written = names[0].isidentifier() and names[0] != "pi"
            expected = (
                f"a formula in {names[0]}, or in t" if written else f"a formula in t, which stands for {names[0]!r}"
            )
            if near := get_close_matches(names[0], known, n=1):
                expected += f"; did you mean {names[0]}, not {near[0]}?" if written else ""
        raise InputError(f"function: {function_name(function)} has the names {', '.join(known)}; expected {expected}")
    unused = next(name for name in names if name not in known)
    raise InputError(
        f"function: {function_name(function)} does not use the predictor {unused!r}; {suggest(unused, known)}, "
        "or leave it out"
    )


def parameter_names(function: Function, predictors: Sequence[str] | None = None) -> tuple[str, ...]:
    """The parameters of a function: every argument that is no predictor, in order.

    Args:
        function: the function.
        predictors: names of the data; the first argument, or `t` or `x` of a formula, unless given.

    Raises:
        InputError: the function has no parameter, or does not name them.
    """
    data = predictor_arguments(function, predictors)
    names = tuple(name for name in arguments(function) if name not in data)
    if not names and isinstance(function, Formula):
        raise InputError(f"function: {function.text} has no parameter beside {', '.join(data)}; expected one to fit")
    if not names:
        raise _nameless(function)
    return names


def bind(function: Function, predictors: Sequence[str] | None = None) -> Function:
    """The same function with its data first, in the order of the predictors, and its parameters after them."""
    known = arguments(function)
    order = (*predictor_arguments(function, predictors), *parameter_names(function, predictors))
    signature = {} if isinstance(function, Formula) else inspect.signature(function).parameters
    # after an argument that is left out, or is taken by its name only, the others are given by their names
    named = {name for name in known if signature and signature[name].kind is inspect.Parameter.KEYWORD_ONLY}
    skipped = False
    for name in signature:
        skipped = skipped or name not in known
        if skipped and name in known:
            named.add(name)
    if order == known and not named:
        return function
    places = {name: order.index(name) for name in known}
    if not named:
        in_order = list(places.values())
        return lambda *values: function(*[values[place] for place in in_order])

    def bound(*values: Tensor) -> Tensor:
        by_place = (values[place] for name, place in places.items() if name not in named)
        return function(*by_place, **{name: values[places[name]] for name in named})

    return bound


def default_values(function: Function) -> dict[str, float]:
    """The defaults of a function's arguments that are numbers: `def f(t, a, b=1.0)` starts b at 1."""
    if isinstance(function, Formula):
        return {}
    defaults = {name: argument.default for name, argument in inspect.signature(function).parameters.items()}
    given = function.keywords if isinstance(function, partial) else {}
    return {name: float(value) for name, value in defaults.items() if name not in given and is_number(value)}


def equation(function: Function) -> str:
    """The equation of a function as text: a formula, a docstring's first line where that is one, else a call."""
    if isinstance(function, Formula):
        return f"y = {function.text}"
    first_line = (inspect.getdoc(function) or "").partition("\n")[0]
    if first_line.startswith("y = "):
        return first_line
    return f"y = {function_name(function)}({', '.join(inspect.signature(function).parameters)})"
