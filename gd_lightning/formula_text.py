"""The fitted curve as text with its numbers in it, such as `4.98*exp(-((t - 3.01)**2)/(2*0.52**2)) + 1.0`."""

import ast
import math
import re
from collections.abc import Mapping, Sequence
from keyword import iskeyword

from gd_lightning import functions
from gd_lightning.curve import Curve
from gd_lightning.errors import InputError
from gd_lightning.formula import CONSTANTS, FUNCTIONS, Formula
from gd_lightning.resolve import (
    Function,
    equation,
    function_name,
    is_family,
    parameter_names,
    predictor_arguments,
    resolve,
)

__all__ = ["formula_text", "formula_texts"]

SUM, PRODUCT, SIGN, POWER, ATOM = range(5)  # how firmly what is written holds together
SIGNS = {ast.Add: (" + ", SUM), ast.Sub: (" - ", SUM), ast.Mult: ("*", PRODUCT), ast.Div: ("/", PRODUCT)}
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
# the equation of `hill` is 0/0 at t = 0 where its exponent is negative; this is the same curve, and the maximum there
FALLING_HILL = "maximum/(1 + (t/half)**(-exponent))"

Written = tuple[str, int]  # a text, and how firmly it holds together


def formula_text(function: Function, values: Mapping[str, float], predictors: Sequence[str] | None = None) -> str:
    """The formula of a function with numbers in place of its parameters.

    Families that a formula calls are written out. Numbers have all their digits (Python's repr), and brackets where
    they are negative. A power has brackets around it wherever a sign or another power stands beside it, so that
    spreadsheets, which read -x^2 as (-x)^2, agree once ** is ^.

    Args:
        function: a formula or a family.
        values: the parameters by name.
        predictors: names of the data, as in `resolve.bind`.

    Raises:
        InputError: no formula of the function is known, or a value is not finite.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise InputError(f"formula: {name} is {value}; expected finite parameters")
    if not isinstance(function, Formula) and not is_family(function):
        raise InputError(
            f"formula: {function_name(function)} is a function of Python, of which no formula is known; fit it as a "
            "formula, or export it as ONNX or as a program"
        )
    data, given = predictor_arguments(function, predictors), parameter_names(function, predictors)
    names = {name: (_name(name), ATOM) for name in data} | {name: (_number(values[name]), ATOM) for name in given}
    if isinstance(function, Formula):
        return _Writer(function, names).write(function.tree)[0]
    return _family(function, names, values)[0]


def formula_texts(curve: Curve) -> list[str]:
    """The formula of a fitted curve, of several series one for each, counted through all leading axes."""
    rows = curve.params.detach().reshape(-1, len(curve.names)).tolist()
    return [formula_text(curve.resolved, dict(zip(curve.names, row, strict=True)), curve.predictors) for row in rows]


def _family(function: Function, names: Mapping[str, Written], values: Mapping[str, float]) -> Written:
    """A family written out, with texts for its arguments and, where they are known, their values."""
    text = equation(function).removeprefix("y = ")
    if function is functions.hill and values.get("exponent", 0.0) < 0:
        text = FALLING_HILL
    # in backquotes, since one of the names, `maximum`, is a function's in formulas
    formula = Formula(re.sub(rf"\b({'|'.join(map(re.escape, names))})\b", r"`\1`", text))
    return _Writer(formula, names).write(formula.tree)


def _number(value: float) -> str:
    text = repr(float(value))
    return f"({text})" if text.startswith("-") else text


def _name(name: str) -> str:
    known = name in CONSTANTS or name in FUNCTIONS or name in functions.__all__
    plain = name.isidentifier() and not iskeyword(name) and not name.startswith("_") and not known
    return name if plain else f"`{name}`"


class _Writer:
    """Writes the tree of a formula, with texts for its names."""

    def __init__(self, formula: Formula, names: Mapping[str, Written]) -> None:
        self.names = {**names, **{constant: (constant, ATOM) for constant in CONSTANTS}}
        self.names |= {stand_in: names[name] for stand_in, name in formula.quoted.items()}

    def write(self, node: ast.expr) -> Written:
        match node:
            case ast.Constant(value=value):
                return repr(value), ATOM
            case ast.Name(id=name):
                return self.names[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return f"-{self._within(operand, ATOM)}", SIGN
            case ast.UnaryOp(operand=operand):
                return self.write(operand)
            case ast.BinOp(op=ast.Pow(), left=left, right=right):
                return f"{self._within(left, ATOM)}**{self._within(right, ATOM)}", POWER
            case ast.BinOp(op=op, left=left, right=right):
                sign, level = SIGNS[type(op)]
                if isinstance(op, ast.Div):  # 1/2 is 0 where whole numbers are divided as such
                    left, right = _with_point(left), _with_point(right)
                # the right side of a - (b - c) needs its brackets, and that of a + (b + c) for the same rounding
                after = self._within(right, level + 1)
                return f"{self._within(left, level)}{sign}{f'({after})' if after.startswith('-') else after}", level
            case ast.Call(func=ast.Name(id=name), args=args):
                return self._call(name, args)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [self._within(side, SUM) for side in (left, *comparators)]
                signs = [COMPARISONS[type(op)] for op in ops]
                return sides[0] + "".join(f" {sign} {side}" for sign, side in zip(signs, sides[1:], strict=True)), SUM
        raise AssertionError(ast.dump(node))  # a formula has been checked

    def _within(self, node: ast.expr, level: int) -> str:
        text, own = self.write(node)
        return text if own >= level else f"({text})"

    def _call(self, name: str, args: Sequence[ast.expr]) -> Written:
        if name in FUNCTIONS:
            return f"{name}({', '.join(self.write(arg)[0] for arg in args)})", ATOM
        family = resolve(f"polynomial({len(args) - 2})" if name == "polynomial" else name)
        names = [*predictor_arguments(family), *parameter_names(family)]
        texts = {one: self.write(arg) for one, arg in zip(names, args, strict=True)}
        values = {one: value for one, (text, _) in texts.items() if (value := _value(text)) is not None}
        return _family(family, texts, values)


def _with_point(node: ast.expr) -> ast.expr:
    """A whole number as one with a decimal point."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return ast.Constant(float(node.value))
    return node


def _value(text: str) -> float | None:
    """The number that a text comes to, if it comes to one."""
    try:
        return Formula(text).constant
    except InputError:
        return None
