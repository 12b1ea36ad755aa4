"""What the families say of themselves, read from their source, which takes no time beside that of importing torch."""

import ast
import inspect
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["DEGREE", "Family", "families", "polynomial_text"]

DEGREE = 4  # of a polynomial, unless it is given: the lowest that has no name of its own
SOURCE = Path(__file__).with_name("functions.py")


class Family(NamedTuple):
    """One family, as its source describes it.

    Attributes:
        name: its name.
        equation: the first line of its docstring.
        parameters: its arguments but for t.
        documentation: the rest of the docstring.
        domain: where it is defined, such as `t > 0`; nothing where it is everywhere.
        guesses: whether it can start from a guess from the data.
    """

    name: str
    equation: str
    parameters: tuple[str, ...]
    documentation: str
    domain: str
    guesses: bool


@cache
def families() -> dict[str, Family]:
    """All families by name, in the order in which `functions.py` lists them."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    names: list[str] = []
    found: dict[str, Family] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
        if isinstance(node, ast.FunctionDef):
            found[node.name] = _family(node)
    found["polynomial"] = _polynomial(DEGREE)
    return {name: found[name] for name in names}


def polynomial_text(degree: int) -> str:
    """The docstring of the polynomial of one degree."""
    terms = ["c0", "c1*t", *(f"c{power}*t**{power}" for power in range(2, degree + 1))]
    return f"y = {' + '.join(terms[: degree + 1])}\n\nThe polynomial of degree {degree}: a smooth trend."


def _polynomial(degree: int) -> Family:
    equation, _, documentation = polynomial_text(degree).partition("\n\n")
    names = tuple(f"c{power}" for power in range(degree + 1))
    return Family(f"polynomial({degree})", equation, names, documentation, "", guesses=True)


def _family(node: ast.FunctionDef) -> Family:
    calls = {ast.unparse(one.func): one.args for one in node.decorator_list if isinstance(one, ast.Call)}
    equation, _, rest = inspect.cleandoc(ast.get_docstring(node) or "").partition("\n\n")
    arguments = [argument.arg for argument in node.args.args][1:]
    return Family(
        name=node.name,
        equation=equation,
        parameters=tuple(arguments),
        documentation=rest.strip(),
        domain=ast.literal_eval(calls["defined_for"][0]) if "defined_for" in calls else "",
        guesses="starts_from" in calls,
    )
