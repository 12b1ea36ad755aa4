"""From what a user wrote to a function: the one place that turns text into a callable."""

import inspect
from collections.abc import Callable

from torch import Tensor

from gd_lightning import functions
from gd_lightning.errors import InputError, suggest

__all__ = ["Function", "equation", "function_name", "parameter_names", "resolve"]

Function = Callable[..., Tensor]


def resolve(function: str | Function) -> Function:
    """Turn what a user wrote for a function into a callable; the only place that does.

    Args:
        function: the name of a family in functions.py, or the callable itself.

    Returns:
        The function `f(t, *parameters) -> y`.

    Raises:
        InputError: no family has this name, or it is neither text nor callable.
    """
    if callable(function):
        return function
    if not isinstance(function, str):
        raise InputError(f"function: given {function!r}, expected the name of a family or a callable")
    if function not in functions.__all__:
        raise InputError(f"function: given {function!r}, which is no family; {suggest(function, functions.__all__)}")
    family: Function = getattr(functions, function)
    return family


def function_name(function: str | Function) -> str:
    """The text that stands for a function in results and checkpoints."""
    return function if isinstance(function, str) else getattr(function, "__name__", repr(function))


def parameter_names(function: Function) -> tuple[str, ...]:
    """The parameters of a function: every argument after the first, in order.

    Raises:
        InputError: the function takes no parameter, or takes `*args` or `**kwargs`, which name none.
    """
    arguments = list(inspect.signature(function).parameters.values())
    if len(arguments) < 2 or any(a.kind in (a.VAR_POSITIONAL, a.VAR_KEYWORD) for a in arguments):
        raise InputError(
            f"function: {function_name(function)}{inspect.signature(function)} does not name its parameters; "
            "expected f(t, a, b, ...) with at least one after t"
        )
    return tuple(argument.name for argument in arguments[1:])


def equation(function: Function) -> str:
    """The equation of a function as text: the first line of its docstring where that is one, else its call."""
    first_line = (inspect.getdoc(function) or "").partition("\n")[0]
    if first_line.startswith("y = "):
        return first_line
    arguments = ", ".join(inspect.signature(function).parameters)
    return f"y = {function_name(function)}({arguments})"
