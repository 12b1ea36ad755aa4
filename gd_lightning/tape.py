"""A formula in NumPy, with its exact derivatives: for arrays so small that what a call costs outweighs the arithmetic.

The steps of the expression stand in a list. Played forwards it gives the value; played backwards, by the chain rule,
the derivatives of each point's value by everything that stands at that point (reverse accumulation: Linnainmaa, 1970).
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

from gd_lightning.arrays import Array

__all__ = ["OPERATIONS", "Operation", "Tape"]

Value = Any  # an array, or a number where it is constant
Played = list[Value]
Back = Callable[..., Value]


class Operation(NamedTuple):
    """y = value(*x), and how its slope g = d result / dy becomes that of each x: `back[i](g, y, *x)` = g * dy/dx_i.

    None stands for a derivative that is 0 everywhere.
    """

    value: Callable[..., Value]
    back: tuple[Back | None, ...]


def _by_base(g: Value, y: Value, a: Value, b: Value) -> Value:
    if isinstance(b, float):
        return g * (b * a ** (b - 1)) if b else 0.0 * g
    return np.where(b == 0, 0.0, g * (b * a ** (b - 1)))


def _by_exponent(g: Value, y: Value, a: Value, b: Value) -> Value:
    return np.where((a == 0) & (b >= 0), 0.0, g * (y * np.log(a)))


def _lesser(g: Value, a: Value, b: Value) -> Value:
    """The slope of minimum(a, b) by a: half of it where both are equal."""
    return np.where(a == b, 0.5 * g, np.where(a < b, g, 0.0))


def _erf(x: Value) -> Array:
    value: Array = torch.erf(torch.from_numpy(np.array(x))).numpy()
    return value


def _erfc(x: Value) -> Array:
    value: Array = torch.erfc(torch.from_numpy(np.array(x))).numpy()
    return value


BELL = 2 / math.sqrt(math.pi)

# Operators by the names that Python's syntax tree gives them, functions by those of formulas.
OPERATIONS: dict[str, Operation] = {
    "Add": Operation(operator.add, (lambda g, y, a, b: g, lambda g, y, a, b: g)),
    "Sub": Operation(operator.sub, (lambda g, y, a, b: g, lambda g, y, a, b: -g)),
    "Mult": Operation(operator.mul, (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)),
    "Div": Operation(operator.truediv, (lambda g, y, a, b: g / b, lambda g, y, a, b: -g * (y / b))),
    "Pow": Operation(operator.pow, (_by_base, _by_exponent)),
    "USub": Operation(operator.neg, (lambda g, y, x: -g,)),
    "exp": Operation(np.exp, (lambda g, y, x: g * y,)),
    "expm1": Operation(np.expm1, (lambda g, y, x: g * (y + 1),)),
    "log": Operation(np.log, (lambda g, y, x: g / x,)),
    "log1p": Operation(np.log1p, (lambda g, y, x: g / (x + 1),)),
    "log2": Operation(np.log2, (lambda g, y, x: g / (x * math.log(2)),)),
    "log10": Operation(np.log10, (lambda g, y, x: g / (x * math.log(10)),)),
    "sqrt": Operation(np.sqrt, (lambda g, y, x: g / (2 * y),)),
    "abs": Operation(np.abs, (lambda g, y, x: g * np.sign(x),)),
    "sign": Operation(np.sign, (None,)),
    "erf": Operation(_erf, (lambda g, y, x: g * (BELL * np.exp(-(x * x))),)),
    "erfc": Operation(_erfc, (lambda g, y, x: g * (-BELL * np.exp(-(x * x))),)),
    "sin": Operation(np.sin, (lambda g, y, x: g * np.cos(x),)),
    "cos": Operation(np.cos, (lambda g, y, x: -g * np.sin(x),)),
    "tan": Operation(np.tan, (lambda g, y, x: g * (1 + y * y),)),
    "asin": Operation(np.arcsin, (lambda g, y, x: g / np.sqrt(1 - x * x),)),
    "acos": Operation(np.arccos, (lambda g, y, x: -g / np.sqrt(1 - x * x),)),
    "atan": Operation(np.arctan, (lambda g, y, x: g / (x * x + 1),)),
    "sinh": Operation(np.sinh, (lambda g, y, x: g * np.cosh(x),)),
    "cosh": Operation(np.cosh, (lambda g, y, x: g * np.sinh(x),)),
    "tanh": Operation(np.tanh, (lambda g, y, x: g * (1 - y * y),)),
    "asinh": Operation(np.arcsinh, (lambda g, y, x: g / np.sqrt(x * x + 1),)),
    "acosh": Operation(np.arccosh, (lambda g, y, x: g / np.sqrt(x * x - 1),)),
    "atanh": Operation(np.arctanh, (lambda g, y, x: g / (1 - x * x),)),
    "atan2": Operation(
        np.arctan2, (lambda g, y, a, b: g * (b / (a * a + b * b)), lambda g, y, a, b: g * (-a / (a * a + b * b)))
    ),
    "minimum": Operation(np.minimum, (lambda g, y, a, b: _lesser(g, a, b), lambda g, y, a, b: _lesser(g, b, a))),
    "maximum": Operation(np.maximum, (lambda g, y, a, b: _lesser(g, b, a), lambda g, y, a, b: _lesser(g, a, b))),
    "where": Operation(
        np.where,
        (None, lambda g, y, holds, a, b: np.where(holds, g, 0.0), lambda g, y, holds, a, b: np.where(holds, 0.0, g)),
    ),
    "Lt": Operation(operator.lt, (None, None)),
    "LtE": Operation(operator.le, (None, None)),
    "Gt": Operation(operator.gt, (None, None)),
    "GtE": Operation(operator.ge, (None, None)),
    "And": Operation(np.logical_and, (None, None)),
}


class Tape:
    """The steps of an expression, from its names to its value.

    Args:
        tree: the expression, of which it is known that it is a formula.
        places: where each name that the tree calls stands among the arguments.
        constants: names of numbers.

    Raises:
        KeyError: the expression calls a function that is none of the operations.
    """

    def __init__(self, tree: ast.expr, places: Mapping[str, int], constants: Mapping[str, float]) -> None:
        self._places = places
        self._constants = constants
        self._values: Played = [None] * (max(places.values(), default=-1) + 1)  # of names and numbers, none of steps
        self._steps: list[tuple[int, Operation, tuple[int, ...]]] = []
        self._record(tree)
        # where a branch is not taken, its derivative may be infinite
        self._chooses = any(
            operation is OPERATIONS[name] for _, operation, _ in self._steps for name in ("where", "minimum", "maximum")
        )
        self._way_back = cache(self._find_way_back)

    def _record(self, node: ast.expr) -> int:
        """Put what a node does on the tape; the place of its value."""
        match node:
            case ast.Constant():
                return self._number(float(node.value))  # type: ignore[arg-type]  # the parser has seen to that
            case ast.Name():
                constant = self._constants.get(node.id)
                return self._places[node.id] if constant is None else self._number(constant)
            case ast.UnaryOp():
                x = self._record(node.operand)
                return x if isinstance(node.op, ast.UAdd) else self._step("USub", x)
            case ast.BinOp():
                return self._step(type(node.op).__name__, self._record(node.left), self._record(node.right))
            case ast.Call(func=ast.Name(id=name)):
                return self._step(name, *map(self._record, node.args))
            case ast.Compare():
                sides = [self._record(side) for side in (node.left, *node.comparators)]
                signs = [type(sign).__name__ for sign in node.ops]
                holds, *others = map(self._step, signs, sides, sides[1:])
                for other in others:
                    holds = self._step("And", holds, other)
                return holds
        raise KeyError(type(node).__name__)

    def _number(self, value: float) -> int:
        self._values.append(value)
        return len(self._values) - 1

    def _step(self, name: str, *x: int) -> int:
        """A step; worked out at once where it has only numbers to work on."""
        operation = OPERATIONS[name]
        numbers = [self._values[i] for i in x]
        if None not in numbers:
            with np.errstate(all="ignore"):  # Python's own numbers would raise
                return self._number(float(operation.value(*map(np.float64, numbers))))
        self._values.append(None)
        self._steps.append((len(self._values) - 1, operation, x))
        return len(self._values) - 1

    def play(self, arguments: Sequence[Array]) -> Played:
        """Every value on the way from the arguments to the result, which is the last; they broadcast."""
        values = self._values.copy()
        values[: len(arguments)] = arguments
        for at, operation, x in self._steps:
            values[at] = operation.value(*[values[i] for i in x])
        return values

    def slopes(self, played: Played, wanted: tuple[int, ...]) -> list[Value]:
        """Derivatives of the result at each point by some arguments, which broadcast to the result's shape."""
        slope: list[Value] = [None] * len(played)
        slope[-1] = np.float64(1)
        for at, x, ways in self._way_back(wanted):
            g, y, values = slope[at], played[at], [played[i] for i in x]
            if g is None:  # it acts through a sign or a condition only, whose slope is zero
                continue
            for i, back in ways:
                part = back(g, y, *values)
                if self._chooses:
                    part = np.where(g == 0, 0.0, part)
                slope[i] = part if slope[i] is None else slope[i] + part
        return [0.0 if slope[i] is None else slope[i] for i in wanted]

    def carries(self, wanted: tuple[int, ...]) -> bool:
        """Whether the result has a derivative by any of some arguments."""
        way = self._way_back(wanted)
        return bool(way) and way[0][0] == len(self._values) - 1

    def _find_way_back(self, wanted: tuple[int, ...]) -> list[tuple[int, tuple[int, ...], list[tuple[int, Back]]]]:
        """The steps on which the wanted arguments act, last ones first, and where their slopes go from each."""
        acted = set(wanted)
        found = []
        for at, operation, x in self._steps:
            ways = [(i, back) for i, back in zip(x, operation.back, strict=True) if i in acted and back is not None]
            if ways:
                acted.add(at)
                found.append((at, x, ways))
        return found[::-1]
