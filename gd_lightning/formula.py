"""Formulas: text such as `amplitude*exp(-t/tau) + offset` becomes a function, and never runs as code.

The text is parsed by Python's own parser and walked node by node. What stands in the tables below is turned into
calls of torch; everything else is refused with the column where it stands. Autodiff then gives exact derivatives.
"""

import ast
import inspect
import math
import operator
import re
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from keyword import iskeyword
from typing import Any, NoReturn

import torch
from torch import Tensor

from gd_lightning import functions
from gd_lightning.errors import InputError
from gd_lightning.tape import Tape
from gd_lightning.words import plural

__all__ = ["CONSTANTS", "FUNCTIONS", "Formula"]

LONGEST = 2000
DEEPEST = 100
LARGEST_EXPONENT = 100
STAND_INS = [chr(code) for code in range(0x4E00, 0x4E00 + 2 * LONGEST)]  # letters that stand for themselves

Names = Mapping[str, Tensor]
Term = float | Callable[[Names], Tensor]

CONSTANTS = {"pi": math.pi}
FUNCTIONS: dict[str, tuple[Callable[..., Tensor], int]] = {
    **{
        name: (getattr(torch, name), 1)
        for name in (
            *("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "abs", "sign", "erf", "erfc"),
            *("sin", "cos", "tan", "asin", "acos", "atan"),
            *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
        )
    },
    **{name: (getattr(torch, name), 2) for name in ("atan2", "minimum", "maximum")},
    "where": (torch.where, 3),
}
OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
# How other languages call what stands above.
ELSEWHERE = {
    **{"ln": "log", "min": "minimum", "max": "maximum", "power": "**", "pow": "**", "sgn": "sign", "fabs": "abs"},
    **{"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2"},
}
REFUSED: dict[type, str] = {
    ast.Attribute: "an attribute",
    ast.Subscript: "a subscript",
    ast.Lambda: "a lambda",
    ast.IfExp: "if ... else (use where(condition, a, b))",
    ast.Compare: "a comparison outside where(condition, a, b)",
    ast.BoolOp: "and, or (nest two where(...) instead)",
    ast.Starred: "a star before a name",
    ast.NamedExpr: "an assignment",
    ast.JoinedStr: "a text",
    **dict.fromkeys((ast.List, ast.Tuple, ast.Set, ast.Dict), "a list of values"),
    **dict.fromkeys((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), "a comprehension"),
    **dict.fromkeys((ast.Mod, ast.FloorDiv, ast.MatMult, ast.LShift, ast.RShift, ast.BitOr, ast.BitAnd), "this sign"),
    **dict.fromkeys((ast.Not, ast.Invert), "this sign"),
}


class Formula:
    """y = the value of an expression, as a function of the names in it.

    Numbers, + - * / **, parentheses, pi, the functions of `FUNCTIONS`, and families such as `gaussian(t, a1, c1, w1)`.
    A name in backquotes may hold any character, as columns of tables do.

    Args:
        text: the expression; at most 2000 characters and 100 levels deep.

    Attributes:
        text: the expression.
        names: every name in it, in the order of appearance: the arguments of the call.
        constant: its value, where it has no names.
        tree: the expression as Python's parser reads it, with a plain name for each one in backquotes.
        quoted: those plain names, each with what stands in the backquotes, or with a name that Python would respell.
        tape: the same in NumPy, with derivatives; none where a family is called.

    Raises:
        InputError: it is no expression of this kind; the message says what stands in which column.

    Example:
        >>> line = Formula("slope*t + intercept")
        >>> line.names
        ('slope', 't', 'intercept')
        >>> line(slope=2.0, t=torch.tensor([0.0, 1.0]), intercept=1.0)
        tensor([1., 3.])
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.__name__ = text
        parser = _Parser(text)
        tree = parser.parse()
        value = parser.term(tree)
        self.constant = None if callable(value) else value
        self._value = value if callable(value) else lambda names: torch.tensor(value)
        self.names = tuple(parser.names)
        self.tree, self.quoted = tree, parser.quoted
        self.tape = parser.tape(tree)
        # A name in backquotes is no identifier, which a signature asks for.
        plain = [name.isidentifier() and not iskeyword(name) and name[0] != "_" for name in self.names]
        arguments = [name if plain[i] else f"_{i}" for i, name in enumerate(self.names)]
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(argument, inspect.Parameter.POSITIONAL_OR_KEYWORD) for argument in arguments]
        )

    def __call__(self, *values: Tensor | float, **named: Tensor | float) -> Tensor:
        """The value of the expression; names by position in the order of `names`, or by keyword."""
        given = dict(zip(self.names, values, strict=not named)) | named
        like = next((value for value in given.values() if isinstance(value, Tensor)), torch.zeros(()))
        like = like if like.is_floating_point() else like.float()
        return self._value(
            {name: value if isinstance(value, Tensor) else like.new_tensor(value) for name, value in given.items()}
        )

    def __repr__(self) -> str:
        return f"Formula({self.text!r})"

    def __reduce__(self) -> tuple[type["Formula"], tuple[str]]:
        return Formula, (self.text,)  # its terms are closures, which cannot be pickled


class _Parser:
    """Walks the syntax tree of one text and turns it into terms."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: dict[str, None] = {}
        self.quoted: dict[str, str] = {}
        self.quoted_at: dict[int, str] = {}
        self.depth = 0

    def refuse(self, problem: str, column: int | None = None) -> NoReturn:
        shown = self.text if len(self.text) <= 80 else f"{self.text[:77]}..."
        where = "" if column is None else f", column {column}"
        raise InputError(f"formula {shown!r}{where}: {problem}")

    def column(self, node: ast.expr) -> int:
        """Column of a node in the text, from 1; Python counts bytes."""
        return self.margin + len(self.source.encode()[: node.col_offset].decode()) + 1

    def _where_it_stands(self, node: ast.expr) -> int:
        """Column of what a node does to a value before it: the dot, the bracket, the parenthesis; else its own."""
        match node:
            case ast.Attribute(value=before) | ast.Subscript(value=before) | ast.Call(func=before):
                pass
            case _:
                return self.column(node)
        return self._after(before)

    def _after(self, node: ast.expr) -> int:
        """Column of the sign that follows a node and the parentheses around it."""
        source = self.source.encode()
        rest = source[node.end_col_offset :].decode()
        return self.margin + len(source[: node.end_col_offset].decode()) + len(rest) - len(rest.lstrip(" )")) + 1

    def parse(self) -> ast.expr:
        if len(self.text) > LONGEST:
            self.refuse(f"{len(self.text)} characters, expected at most {LONGEST}")
        flat = re.sub(r"[\t\r\n]", " ", self.text)
        # Each name in backquotes becomes a plain one of the same length.
        source = re.sub(r"`[^`]+`", self._quote, flat)
        source = re.sub(r"(?<!\w)[^\W\d_]\w*\b(?!\s*\()", self._keep, source)
        for column, sign in enumerate(source, start=1):
            if not sign.isprintable() or sign in "#\\;\"'@!":
                self.refuse(f"{sign!r} is not part of a formula", column)
        if "`" in source:
            self.refuse("a backquote without its partner", source.index("`") + 1)
        self._check_nesting(source)
        self.margin = len(source) - len(source.lstrip())
        self.source = source.strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python has opinions on code that is never run
                return ast.parse(self.source, mode="eval").body
        except SyntaxError as error:
            self._explain(error)
        except (MemoryError, RecursionError, ValueError):
            self.refuse(f"nested too deeply; expected at most {DEEPEST} levels")

    def _quote(self, match: re.Match[str]) -> str:
        stand_in = f"_{len(self.quoted)}".ljust(len(match[0]), "_")
        self.quoted[stand_in] = match[0].strip("`")
        self.quoted_at[match.start()] = stand_in
        return stand_in

    def _keep(self, match: re.Match[str]) -> str:
        """A name, or a stand-in of the same length for one that Python's parser would spell in another way (NFKC)."""
        name = match[0]
        if not name.isidentifier() or unicodedata.normalize("NFKC", name) == name:
            return name
        letter = next(sign for sign in STAND_INS if sign not in self.text and sign not in "".join(self.quoted))
        stand_in = letter.ljust(len(name), "_")
        self.quoted[stand_in] = name
        self.quoted_at[match.start()] = stand_in
        return stand_in

    def _check_nesting(self, source: str) -> None:
        depth = 0
        for column, sign in enumerate(source, start=1):
            depth += (sign in "([{") - (sign in ")]}")
            if depth > DEEPEST:
                self.refuse(f"nested too deeply; expected at most {DEEPEST} levels", column)

    def _explain(self, error: SyntaxError) -> NoReturn:
        if not self.source:
            self.refuse("empty, expected an expression such as a*exp(-t/tau) + c")
        column = self.margin + (error.offset or len(self.source) + 1)
        if product := re.search(r"(?<![\w.])(\d+\.?\d*)\s*([^\W\d]\w*)", self.source):
            number, name = product.groups()
            self.refuse(
                f"{product[0]!r} is no number; expected {number}*{name} for a product",
                self.margin + product.start() + 1,
            )
        if word := re.search(r"\b(lambda|in|is|as|if|else|for|def|del|from|import|class|return|yield)\b", self.source):
            self.refuse(
                f"{word[0]!r} is a word of Python, expected another name, such as {word[0]}_",
                self.margin + word.start() + 1,
            )
        if "=" in self.source.replace("<=", "").replace(">=", ""):
            self.refuse("'=' is not part of a formula; write what stands on its right", self.source.index("=") + 1)
        self._check_parentheses()
        self.refuse("not an expression; check the signs and parentheses here, and write products with *", column)

    def _check_parentheses(self) -> None:
        opened: list[int] = []
        for column, sign in enumerate(self.source, start=self.margin + 1):
            if sign == "(":
                opened.append(column)
            elif sign == ")" and not opened:
                self.refuse("this ')' closes nothing; leave it out, or open it before", column)
            elif sign == ")":
                opened.pop()
        if opened:
            self.refuse("this '(' is never closed; add its ')'", opened[-1])

    def term(self, node: ast.expr) -> Term:
        """The value of a node: a number where it is constant, else a function of the names."""
        value: Term
        self.depth += 1
        if self.depth > DEEPEST:
            self.refuse(f"too deep, or too long a sum; expected at most {DEEPEST} levels or terms", self.column(node))
        match node:
            case ast.Constant():
                value = self._number(node)
            case ast.Name():
                value = self._name(node)
            case ast.UnaryOp(op=ast.USub()):
                value = self._apply(node, operator.neg, [self.term(node.operand)])
            case ast.UnaryOp(op=ast.UAdd()):
                value = self.term(node.operand)
            case ast.BinOp():
                value = self._binary(node)
            case ast.Call():
                value = self._call(node)
            case _:
                sign = node.op if isinstance(node, ast.UnaryOp) else node
                what = REFUSED.get(type(sign), f"a {type(sign).__name__}")
                self.refuse(f"{what} is not part of a formula", self._where_it_stands(node))
        self.depth -= 1
        return value

    def tape(self, tree: ast.expr) -> Tape | None:
        """The expression as a tape, whose arguments are the names in their order; after `term`, which checks it."""
        places = {name: i for i, name in enumerate(self.names)}
        places |= {stand_in: places[name] for stand_in, name in self.quoted.items() if name in places}
        try:
            return Tape(tree, places, CONSTANTS)
        except KeyError:
            return None

    def _number(self, node: ast.Constant) -> float:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            self.refuse(f"{node.value!r} is no real number", self.column(node))
        try:
            value = float(node.value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            self.refuse("this number is too large", self.column(node))
        return value

    def _name(self, node: ast.Name) -> Term:
        name = node.id
        if self.quoted_at.get(self.column(node) - 1) == name:
            return self._argument(self.quoted[name])
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in FUNCTIONS or name in functions.__all__:
            self.refuse(f"{name} is a function; expected {name}(...), or `{name}` for a name", self.column(node))
        if name.startswith("_"):
            self.refuse(f"{name!r}: names begin with a letter", self.column(node))
        return self._argument(name)

    def _argument(self, name: str) -> Term:
        self.names[name] = None
        return lambda names: names[name]

    def _binary(self, node: ast.BinOp) -> Term:
        if isinstance(node.op, ast.BitXor):
            self.refuse("^ is no power here; expected **", self._after(node.left))
        if type(node.op) not in OPERATORS:
            what = REFUSED.get(type(node.op), "this sign")
            self.refuse(f"{what} is not part of a formula; expected + - * / **", self._after(node.left))
        left, right = self.term(node.left), self.term(node.right)
        if isinstance(node.op, ast.Pow) and isinstance(right, float) and abs(right) > LARGEST_EXPONENT:
            self.refuse(f"a power of {right:g}; expected at most {LARGEST_EXPONENT}", self.column(node.right))
        return self._apply(node, OPERATORS[type(node.op)], [left, right])

    def _call(self, node: ast.Call) -> Term:
        if not isinstance(node.func, ast.Name):
            self.refuse("only a function by its name can be called", self._where_it_stands(node))
        name = node.func.id
        if node.keywords:
            keyword = node.keywords[0]
            at = self.margin + len(self.source.encode()[: keyword.col_offset].decode()) + 1
            self.refuse(f"a keyword; expected the arguments of {name} in their order", at)
        if name in ELSEWHERE:
            self.refuse(f"no function {name!r}; expected {ELSEWHERE[name]}", self.column(node))
        if name not in FUNCTIONS and name not in functions.__all__:
            near = get_close_matches(name, [*FUNCTIONS, *functions.__all__], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected a family or one of {', '.join(FUNCTIONS)}"
            self.refuse(f"no function {name!r}; {hint}", self.column(node))
        if name == "where":
            return self._where(node)
        arguments = [self.term(argument) for argument in node.args]
        function, count = FUNCTIONS.get(name) or self._family(node, name)
        if len(arguments) != count:
            given = plural(len(arguments), "argument")
            self.refuse(f"{name} with {given}, expected {plural(count, 'argument')}", self.column(node))
        return self._apply(node, function, arguments, tensors=True)

    def _family(self, node: ast.Call, name: str) -> tuple[Callable[..., Tensor], int]:
        """A family and how many arguments it takes; any number where its last ones are starred."""
        family: Callable[..., Tensor] = getattr(functions, name)
        arguments = list(inspect.signature(family).parameters.values())
        if arguments[-1].kind is inspect.Parameter.VAR_POSITIONAL:
            return family, max(len(node.args), 2)
        if len(node.args) != len(arguments):
            call = f"{name}({', '.join(argument.name for argument in arguments)})"
            self.refuse(f"{name} with {len(node.args)} arguments, expected {call}", self.column(node))
        return family, len(arguments)

    def _where(self, node: ast.Call) -> Term:
        if len(node.args) != 3 or not isinstance(node.args[0], ast.Compare):
            self.refuse("expected where(condition, a, b) with a comparison such as t < t0", self.column(node))
        condition = self._comparison(node.args[0])
        choices = [self.term(argument) for argument in node.args[1:]]

        def value(names: Names) -> Tensor:
            yes, no = _tensors(choices, names)
            return torch.where(condition(names), yes, no)

        if not self.names:  # all of it is numbers
            return float(value({"": torch.zeros((), dtype=torch.float64)}))
        return value

    def _comparison(self, node: ast.Compare) -> Callable[[Names], Tensor]:
        for comparison in node.ops:
            if type(comparison) not in COMPARISONS:
                self.refuse("this comparison is not part of a formula; expected < <= > >=", self.column(node))
        signs = [COMPARISONS[type(comparison)] for comparison in node.ops]
        sides = [self.term(side) for side in (node.left, *node.comparators)]

        def value(names: Names) -> Tensor:
            values = _tensors(sides, names)
            holds = signs[0](values[0], values[1])
            for sign, left, right in zip(signs[1:], values[1:], values[2:], strict=False):
                holds = holds & sign(left, right)
            return holds  # type: ignore[no-any-return]

        return value

    def _apply(
        self, node: ast.expr, function: Callable[..., Any], arguments: Sequence[Term], tensors: bool = False
    ) -> Term:
        """A function of terms; worked out at once where all of them are numbers."""
        if all(isinstance(argument, float) for argument in arguments):
            return self._constant(node, function, arguments, tensors)
        if tensors:
            return lambda names: function(*_tensors(arguments, names))
        if len(arguments) == 1:
            [one] = arguments
            assert callable(one)
            return lambda names: function(one(names))
        left, right = arguments
        if isinstance(left, float):
            return lambda names: function(left, right(names))  # type: ignore[operator]
        if isinstance(right, float):
            return lambda names: function(left(names), right)
        return lambda names: function(left(names), right(names))

    def _constant(
        self, node: ast.expr, function: Callable[..., Any], arguments: Sequence[Term], tensors: bool
    ) -> float:
        numbers = [torch.tensor(number, dtype=torch.float64) for number in arguments] if tensors else arguments
        try:
            value = function(*numbers)
        except ArithmeticError:
            value = math.nan
        if isinstance(value, complex) or not math.isfinite(value):
            self.refuse("this is not a finite number", self.column(node))
        return float(value)


def _tensors(terms: Sequence[Term], names: Names) -> list[Tensor]:
    """The values of terms, numbers among them in the precision of the names."""
    like = next(iter(names.values()))
    like = like if like.is_floating_point() else like.float()
    return [term(names) if callable(term) else like.new_tensor(term) for term in terms]
