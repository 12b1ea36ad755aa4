"""Formulas: values and derivatives against NumPy, SciPy and torch by hand; and what is no formula is refused."""

import inspect
import math
import random
import re
import sys
import time

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gd_lightning import fit, functions
from gd_lightning.errors import InputError
from gd_lightning.formula import CONSTANTS, DEEPEST, FUNCTIONS, LARGEST_EXPONENT, LONGEST, Formula

DOUBLE = torch.float64

# Every function, by NumPy or SciPy, with an interval on which it is smooth.
ORACLES = {
    "exp": (np.exp, -2, 2),
    "expm1": (np.expm1, -2, 2),
    "log": (np.log, 0.1, 5),
    "log1p": (np.log1p, -0.9, 5),
    "log2": (np.log2, 0.1, 5),
    "log10": (np.log10, 0.1, 5),
    "sqrt": (np.sqrt, 0.1, 5),
    "abs": (np.abs, 0.1, 5),
    "sign": (np.sign, 0.1, 5),
    "erf": (scipy.special.erf, -2, 2),
    "erfc": (scipy.special.erfc, -2, 2),
    "sin": (np.sin, -4, 4),
    "cos": (np.cos, -4, 4),
    "tan": (np.tan, -1, 1),
    "asin": (np.arcsin, -0.9, 0.9),
    "acos": (np.arccos, -0.9, 0.9),
    "atan": (np.arctan, -4, 4),
    "sinh": (np.sinh, -2, 2),
    "cosh": (np.cosh, -2, 2),
    "tanh": (np.tanh, -2, 2),
    "asinh": (np.arcsinh, -4, 4),
    "acosh": (np.arccosh, 1.1, 4),
    "atanh": (np.arctanh, -0.9, 0.9),
}
OF_TWO = {"atan2": np.arctan2, "minimum": np.minimum, "maximum": np.maximum}

# Formulas in t, a, b, beside the same by hand. At a = 0.7, b = 1.3 and t from 0.2 to 2 all of them are smooth.
BY_HAND = {
    "a*t + b": lambda t, a, b: a * t + b,
    "a*t - b": lambda t, a, b: a * t - b,
    "a - b - t": lambda t, a, b: (a - b) - t,
    "a/b/t": lambda t, a, b: (a / b) / t,
    "a/(b/t)": lambda t, a, b: a / (b / t),
    "-a*t**2 + b": lambda t, a, b: b - a * t * t,
    "-t**2 + 0*a*b": lambda t, a, b: -(t**2) + 0 * a * b,
    "a*2**-t + b": lambda t, a, b: a * torch.exp2(-t) + b,
    "a*t**b": lambda t, a, b: a * torch.exp(b * torch.log(t)),
    "t**a**b": lambda t, a, b: torch.exp(a**b * torch.log(t)),
    "(t**a)**b": lambda t, a, b: torch.exp(a * b * torch.log(t)),
    "+a*t - -b": lambda t, a, b: a * t + b,
    ".5*a*t + 1e-3*b": lambda t, a, b: 0.5 * a * t + 0.001 * b,
    "5.*a*t + 1_000*b": lambda t, a, b: 5 * a * t + 1000 * b,
    "0x10*a + 1E2*b*t": lambda t, a, b: 16 * a + 100 * b * t,
    "a*sin(2*pi*b*t)": lambda t, a, b: a * torch.sin(2 * math.pi * b * t),
    "exp(-(t - a)**2/(2*b**2))": lambda t, a, b: torch.exp(-((t - a) ** 2) / (2 * b * b)),
    "a*exp(-t/b) + log10(t)": lambda t, a, b: a * torch.exp(-t / b) + torch.log(t) / math.log(10),
    "where(t < a, a*t, b*t)": lambda t, a, b: torch.where(t < a, a * t, b * t),
    "where(t >= a, b*t, a*t)": lambda t, a, b: torch.where(t < a, a * t, b * t),
    "where(.5 < t <= b, a*t, b)": lambda t, a, b: torch.where((t > 0.5) & (t <= b), a * t, b + 0 * t),
    "where(.5 < t, where(t > b, b*t, a), 3)": lambda t, a, b: torch.where(
        t > 0.5, torch.where(t > b, b * t, a), torch.full_like(t, 3)
    ),
    "minimum(a*t, b)": lambda t, a, b: torch.where(a * t < b, a * t, b + 0 * t),
    "maximum(0.9, a*t) + b": lambda t, a, b: torch.where(a * t > 0.9, a * t, torch.full_like(t, 0.9)) + b,
    "a*abs(t - b)": lambda t, a, b: a * torch.sqrt((t - b) ** 2),
    "atan2(a*t, b)": lambda t, a, b: torch.atan(a * t / b),
    "a*(1 - erf(b*t))": lambda t, a, b: a * torch.special.erfc(b * t),
    "sign(t)*a*t + b": lambda t, a, b: a * t + b,
    "((((a))))*(t) + ((b))": lambda t, a, b: a * t + b,
    "  a*t\n  + b\t": lambda t, a, b: a * t + b,
    "gaussian(t, a, b, 0.4)": lambda t, a, b: a * torch.exp(-((t - b) ** 2) / (2 * 0.4**2)),
    "gaussian(t, 2, a, 1) + gaussian(t, 1, b, a) + a*t + b": lambda t, a, b: (
        2 * torch.exp(-((t - a) ** 2) / 2) + torch.exp(-((t - b) ** 2) / (2 * a**2)) + a * t + b
    ),
    "linear(sqrt(t), a, b)": lambda t, a, b: a * t**0.5 + b,
    "polynomial(t, a, b, 3)": lambda t, a, b: a + b * t + 3 * t**2,
    "exponential_decay(t, a, b, 0)": lambda t, a, b: a * torch.exp(-t / b),
}


def numbers(count=9, low=0.2, high=2.0, dtype=DOUBLE):
    # no point lies at 0.7 or 1.3, where the formulas have their edges
    return torch.linspace(low, high, count, dtype=dtype)


def gradients(function, *values):
    values = [value.clone().requires_grad_() for value in values]
    return torch.autograd.grad(function(*values).sum(), values, materialize_grads=True)


def test_every_function_has_an_oracle():
    assert {*ORACLES, *OF_TWO, "where"} == set(FUNCTIONS)
    assert set(CONSTANTS) == {"pi"}


@pytest.mark.parametrize("name", ORACLES)
def test_each_function_and_its_gradient(name):
    oracle, low, high = ORACLES[name]
    x = numbers(7, low, high)
    formula = Formula(f"{name}(x)")
    assert np.allclose(formula(x).numpy(), oracle(x.numpy()), rtol=1e-14, atol=1e-15)
    assert torch.autograd.gradcheck(formula, x.clone().requires_grad_())


@pytest.mark.parametrize("name", OF_TWO)
def test_each_function_of_two_and_its_gradient(name):
    x, y = numbers(), numbers().flip(0) * 0.9 - 1
    formula = Formula(f"{name}(x, y)")
    assert formula.names == ("x", "y")
    assert np.allclose(formula(x, y).numpy(), OF_TWO[name](x.numpy(), y.numpy()), rtol=1e-14)
    assert torch.autograd.gradcheck(formula, (x.clone().requires_grad_(), y.clone().requires_grad_()))


@pytest.mark.parametrize("text", BY_HAND)
def test_values_and_gradients_are_those_of_code_by_hand(text):
    by_hand, formula = BY_HAND[text], Formula(text)
    values = {"t": numbers(), "a": torch.tensor(0.7, dtype=DOUBLE), "b": torch.tensor(1.3, dtype=DOUBLE)}
    assert set(formula.names) == set(values)

    def in_order(t, a, b):
        return formula(t=t, a=a, b=b)

    assert torch.allclose(in_order(**values), by_hand(**values), rtol=1e-13, atol=1e-14)
    for exact, mine in zip(gradients(by_hand, *values.values()), gradients(in_order, *values.values()), strict=True):
        assert torch.allclose(mine, exact, rtol=1e-12, atol=1e-13)
    assert torch.autograd.gradcheck(in_order, [value.clone().requires_grad_() for value in values.values()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("text", BY_HAND)
def test_batches_in_both_precisions(text, batch, dtype):
    formula, t = Formula(text), numbers(dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    a, b = (0.7 + 0.1 * torch.rand(*batch, 1, generator=generator, dtype=DOUBLE).to(dtype) for _ in range(2))
    y = formula(t=t, a=a, b=b)
    assert y.dtype == dtype
    assert torch.broadcast_to(y, (*batch, 9)).shape == (*batch, 9)
    exact = BY_HAND[text](t.double(), a.double(), b.double())
    assert torch.allclose(y.double(), exact, rtol=2e-5 if dtype == torch.float32 else 1e-12, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("where(t < 1, .1, .2)", 0.1),
        ("minimum(t + 1, .1)", 0.1),
        ("maximum(.1, t)", 0.1),
        ("atan2(.1, t + 1)", math.atan2(0.1, 1)),
        ("t + 1/3", 1 / 3),
        ("t + exp(.1)", math.exp(0.1)),
        ("t + pi", math.pi),
        ("polynomial(t, .1, 1)", 0.1),
        ("gaussian(t, .1, 0, 1)", 0.1),
        ("t + erf(.1)", math.erf(0.1)),
        ("t + where(1 < 2, .1, .2)", 0.1),
    ],
)
def test_numbers_keep_the_precision_of_the_data(text, expected, dtype):
    value = Formula(text)(t=torch.zeros(1, dtype=dtype))
    assert value.dtype == dtype
    if dtype == torch.float64:
        assert value.item() == pytest.approx(expected, rel=4e-16, abs=0)
    else:
        assert value.item() == pytest.approx(expected, rel=2e-7, abs=0)


def test_whole_numbers_given_for_t_round_no_other_value():
    assert Formula("slope*t")(slope=0.5, t=torch.arange(3)).tolist() == [0.0, 0.5, 1.0]
    assert Formula("t*where(t < 5, .5, 0)")(t=torch.arange(3)).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("text", "value"),
    [("3.5", 3.5), ("2*pi", 2 * math.pi), ("1/3", 1 / 3), ("exp(1)", math.e), ("-2**2", -4.0), ("2**-1", 0.5)],
)
def test_an_expression_of_numbers_is_a_constant(text, value):
    formula = Formula(text)
    assert formula.names == ()
    assert formula.constant == pytest.approx(value, rel=1e-15)
    assert formula().item() == pytest.approx(value)


def test_a_choice_between_numbers_is_a_constant():
    assert Formula("where(1 < 2, 3, 4)").constant == 3
    assert Formula("where(1 > 2, 3, 4)")().item() == 4


def test_names_stand_in_the_order_of_appearance_and_may_be_given_by_place_or_by_name():
    formula = Formula("amplitude*exp(-t/tau) + offset + amplitude")
    assert formula.names == ("amplitude", "t", "tau", "offset")
    assert formula.constant is None
    values = (2.0, torch.tensor([0.0, 3.0], dtype=DOUBLE), 3.0, 1.0)
    by_name = formula(**dict(zip(formula.names, values, strict=True)))
    assert torch.equal(formula(*values), by_name)
    assert by_name.tolist() == pytest.approx([5.0, 2 / math.e + 3.0], rel=1e-15)


@pytest.mark.parametrize("call", [lambda f: f(torch.ones(2)), lambda f: f(t=torch.ones(2))])
def test_a_name_without_a_value_is_an_error(call):
    with pytest.raises((TypeError, KeyError, ValueError)):
        call(Formula("a*t"))


@pytest.mark.parametrize(
    "name",
    ["dose (mg/l)", "x y", "1st", "exp", "pi", "gaussian", "lambda", "class", "in", "t.real", "_0", "é", "温度", "a"],
)
def test_a_name_in_backquotes_is_a_name(name):
    formula = Formula(f"a*`{name}` + b")
    assert formula.names == tuple(dict.fromkeys(["a", name, "b"]))
    if name != "a":
        assert formula(2.0, torch.tensor([3.0]), 1.0).tolist() == [7.0]


@pytest.mark.parametrize("name", ["no. #1", "O'Neil", "m@x", 'y"', "a;b", "5!", "back\\slash"])
def test_columns_of_tables_may_hold_any_sign(name):
    assert Formula(f"a*`{name}`").names == ("a", name)


def test_one_name_in_backquotes_twice_is_one_name():
    assert Formula("`x y`**2 + a*`x y`").names == ("x y", "a")
    assert Formula("`t`*a + t").names == ("t", "a")


def test_what_stands_in_for_a_name_in_backquotes_is_no_name_itself():
    assert Formula("`a b`*t + `_0`").names == ("a b", "t", "_0")
    with pytest.raises(InputError, match="column 9: '_0___'"):
        Formula("`a b` + _0___")


def test_columns_are_told_right_after_a_name_in_backquotes_and_after_letters_of_several_bytes():
    for text in ("`x y` + t.real", "ééééé + t.real", "  xyz + t.real"):
        with pytest.raises(InputError, match=f"column {text.index('.') + 1}: "):
            Formula(text)


LOOKALIKES = {
    "minus": "a\N{MINUS SIGN}t",
    "times": "a\N{MULTIPLICATION SIGN}t",
    "dot": "a\N{MIDDLE DOT}t",
    "squared": "t\N{SUPERSCRIPT TWO}",
    "comma": "exp(t\N{FULLWIDTH COMMA}a)",
    "cyrillic": "\N{CYRILLIC SMALL LETTER IE}xp(t)",
}

# What is no formula, and the column where it begins to be none.
ATTACKS = [
    # Python's way to other objects
    ("t.real", 2),
    ("a + t.__class__", 6),
    ("().__class__", 3),
    ("(t).__class__.__mro__", 14),
    ("a*t[0]", 4),
    ("t[a:t]", 2),
    ("[t][0]", 4),
    ("torch.exp(t)", 10),
    ("t.exp()", 6),
    ("__import__(t)", 1),
    ("__builtins__", 1),
    ("a + __name__", 5),
    ("_a*t", 1),
    ('__import__("os").system("echo")', 12),
    ("__import__('os')", 12),
    # calls
    ("open(t)", 1),
    ("a*print(t)", 3),
    ("eval(t)", 1),
    ("exec(t)", 1),
    ("getattr(t, a)", 1),
    ("globals()", 1),
    ("t(a)", 1),
    ("exp(t)(a)", 7),
    ("(lambda: t)()", 12),
    ("2(t)", 2),
    ("exp(t, base=2)", 8),
    ("a*exp(input=t)", 7),
    ("exp(**t)", 5),
    ("exp(*t)", 5),
    ("polynomial(*t, a)", 12),
    ("exp()", 1),
    ("exp(t, a)", 1),
    ("gaussian(t, a)", 1),
    ("polynomial(t)", 1),
    ("where(t, a, 1)", 1),
    ("where(t < 1, a)", 1),
    ("where(t == 1, a, 2)", 7),
    ("where(t < 1 < a != 2, a, 2)", 17),
    ("ln(t)", 1),
    ("a + arctan(t)", 5),
    ("expp(t)", 1),
    ("resolve(t)", 1),
    ("polynomial_of(t)", 1),
    ("starts_from(t)", 1),
    # names that are none
    ("exp", 1),
    ("a + sin", 5),
    ("gaussian*t", 1),
    ("where", 1),
    # other syntax
    ("lambda t: t", 1),
    ("a + (lambda: t)", 6),
    ("t if a else 1", 1),
    ("t and a", 1),
    ("a*(t or 1)", 4),
    ("not t", 1),
    ("~t", 1),
    ("t < a", 1),
    ("a*(t == 1)", 4),
    ("t is a", 1),
    ("t in a", 1),
    ("(y := t)", 2),
    ("y := t", 4),
    ("y = a*t", 3),
    ("a += t", 4),
    ("[t for t in a]", 1),
    ("{t for t in a}", 1),
    ("{t: a for t in a}", 1),
    ("exp(t for t in a)", 4),
    ("[t, a]", 1),
    ("(t, a)", 1),
    ("t, a", 1),
    ("{t}", 1),
    ("{t: a}", 1),
    ("(yield t)", 2),
    ("await t", 1),
    ("t % a", 3),
    ("t // a", 3),
    ("t @ a", 3),
    ("t | a", 3),
    ("t & a", 3),
    ("t << a", 3),
    ("t >> a", 3),
    ("t ^ 2", 3),
    ("a*(t^2)", 5),
    ("t^(a)", 2),
    # signs
    ("'text'", 1),
    ('a + "text"', 5),
    ('f"{t}"', 2),
    ("b'text'", 2),
    ("t; a", 2),
    ("t # a", 3),
    ("t\\\n+ a", 2),
    ("t!", 2),
    ("@t", 1),
    ("t\0", 2),
    ("t\ud800", 2),
    ("t\x0ca", 2),
    ("t\u2028a", 2),
    ("\u202et", 1),
    ("t\u00a0+ a", 2),
    ("t\u200b", 2),
    ("t $ a", 3),
    ("t ? a", 3),
    ("a*`t", 3),
    ("``*t", 1),
    (LOOKALIKES["minus"], 2),
    (LOOKALIKES["times"], 2),
    (LOOKALIKES["dot"], 1),  # a letter, to Python: the name a·t
    (LOOKALIKES["squared"], 2),
    (LOOKALIKES["comma"], 6),
    (LOOKALIKES["cyrillic"], 1),
    # numbers
    ("2t", 1),
    ("a + 2t", 5),
    ("3 exp(t)", 1),
    ("2j*t", 1),
    ("a*1e2j", 3),
    ("True*t", 1),
    ("a + None", 5),
    ("False", 1),
    ("...", 1),
    ("1e999*t", 1),
    ("9" * 400 + "*t", 1),
    ("a + " + "9" * 1900, 5),
    ("007*t", 1),
    ("9**9**9", 4),
    ("t**1000000", 4),
    ("a + t**-101", 8),
    ("t**(10**10)", 5),
    ("1/0*t", 1),
    ("a + log(0)", 5),
    ("sqrt(-1)*t", 1),
    ("(-8)**.5*t", 1),
    ("1e308*10*t", 1),
    ("a*exp(1000)", 3),
    # too much
    ("(" * 101 + "t" + ")" * 101, 101),
    ("exp(" * 101 + "t" + ")" * 101, 404),
    ("-" * 150 + "t", 101),
    ("[" * 1000, 101),
    # nothing whole
    ("", None),
    ("  \n ", None),
    ("a*", 3),
    ("(a*t", 1),
    ("a*t)", 4),
    ("a**", 4),
    ("a * * t", 5),
    ("t a", 3),
    ("t\na", 3),
    ("t\r\nimport os", None),
    ("import os", 1),
    ("def f", 1),
    ("t" * 2001, None),
    ("t" + " + t" * 500, None),
]


@pytest.mark.parametrize(("text", "column"), ATTACKS, ids=lambda value: repr(value)[:30])
def test_what_is_no_formula_is_refused_with_the_column_where_it_stands(text, column):
    if text == LOOKALIKES["dot"]:
        assert Formula(text).names == (text,)
        return
    with pytest.raises(InputError) as caught:
        Formula(text)
    message = str(caught.value)
    assert message.startswith("formula ")
    assert "\n" not in message
    assert len(message) < 700
    if column is not None:
        assert f", column {column}: " in message


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("t^2", r"expected \*\*"),
        ("2t", r"expected 2\*t"),
        ("ln(t)", "expected log"),
        ("arcsin(t)", "expected asin"),
        ("max(t, 0)", "expected maximum"),
        ("pow(t, 2)", r"expected \*\*"),
        ("gausian(t, a, b, c)", "did you mean 'gaussian'"),
        ("gaussian(t, a)", r"expected gaussian\(t, amplitude, center, width\)"),
        ("t if t < a else 1", r"use where\(condition, a, b\)"),
        ("lambda*t", "word of Python, expected another name, such as lambda_"),
        ("y = a*t", "write what stands on its right"),
        ("t**101", "at most 100"),
        ("", "expected an expression such as"),
        ("exp", r"expected exp\(\.\.\.\)"),
        ("exp(t, a)", "with 2 arguments, expected 1 argument$"),
        ("atan2(t)", "expected 2 arguments"),
    ],
)
def test_the_message_says_what_to_write(text, advice):
    with pytest.raises(InputError, match=advice):
        Formula(text)


def test_the_limits_themselves_are_allowed():
    assert Formula("t" * LONGEST).names == ("t" * LONGEST,)
    assert Formula("(" * (DEEPEST - 1) + "t" + ")" * (DEEPEST - 1)).names == ("t",)
    assert Formula(f"t**{LARGEST_EXPONENT}")(torch.ones(1)).item() == 1
    assert Formula("-" * (DEEPEST - 1) + "t")(torch.ones(1)).item() == -1


def test_every_family_can_be_called_in_a_formula():
    for name in functions.__all__:
        if name == "polynomial":
            continue
        family = getattr(functions, name)
        count = len(inspect.signature(family).parameters)
        values = [numbers(), *(torch.tensor(0.3 + 0.2 * i, dtype=DOUBLE) for i in range(1, count))]
        formula = Formula(f"{name}({', '.join(f'p{i}' for i in range(count))})")
        assert torch.equal(formula(*values), family(*values))


def test_a_name_that_is_a_function_too_is_a_name_in_backquotes():
    assert Formula("2*`maximum`").names == ("maximum",)
    with pytest.raises(InputError, match="`maximum`"):
        Formula("2*maximum")


# Beyond the table: whatever the text, either a formula or an InputError, at once, and the machine is left alone.

WATCHED = ("open", "import", "exec", "subprocess", "os.", "socket", "ctypes", "pickle", "shutil", "urllib")
events: list[str] | None = None


def record(event, arguments):
    if events is not None and event.startswith(WATCHED):
        events.append(event)


@pytest.fixture(scope="module")
def watch():
    sys.addaudithook(record)  # which cannot be taken away again, and does nothing unless `events` is a list
    with pytest.raises(InputError):  # what Python imports on its first syntax error
        Formula("t t")


PIECES = [
    *("t", "a", "b", "tau", "x y", "`x y`", "`", "pi", "1", ".5", "1e-3", "2.", "0x1", "1_0", "1j", "1e999", "9" * 30),
    *("+", "-", "*", "/", "**", "^", "%", "//", "(", ")", "[", "]", "{", "}", ",", ".", ":", ";", "=", "==", ":="),
    *("<", "<=", ">", ">=", "!=", "!", "@", "#", "\\", "'", '"', "~", "|", "&", " ", "\t", "\n", "\0", "\ud800", "é"),
    *("lambda", "if", "else", "for", "in", "is", "not", "and", "or", "await", "yield", "import", "None", "True"),
    *(
        "__import__",
        "__class__",
        "open",
        "eval",
        "print",
        "torch",
        "f'",
        "\u2212",
        "\xb2",
        "\U0001d42d",
        "\ufb01",
        "\xb7",
    ),
    *(f"{name}(" for name in (*FUNCTIONS, *functions.__all__)),
]
VALID = [
    *BY_HAND,
    "amplitude*exp(-t/tau) + offset",
    "gaussian(t, a1, c1, w1) + gaussian(t, a2, c2, w2) + slope*t + intercept",
    "b1 - b2*x1*exp(-b3*x2)",
    "`x y`*a + where(t < t0, .1, .2)",
    "where(1 < 2, 3, 4)",
]


def mutated(seed):
    """A formula in which up to three words or signs were left out, doubled, put in or exchanged."""
    choose = random.Random(seed)
    words = re.findall(r"\w+|\*\*|.", choose.choice(VALID), re.DOTALL)
    for _ in range(choose.randint(0, 3)):
        at = choose.randrange(len(words))
        piece = choose.choice([*choose.choices(PIECES, k=3), *choose.choices(words, k=3), chr(choose.randrange(2**16))])
        words[at : at + choose.randint(0, 2)] = choose.choice([[], [piece], [words[at]] * choose.choice([2, 50])])
        words = words or [piece]
    return "".join(words)


TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=25).map("".join),
    *[st.integers(0, 2**63).map(mutated)] * 2,
    st.tuples(st.sampled_from(PIECES), st.integers(1, 3000)).map(lambda pair: (pair[0] * pair[1])[:5000]),
)


@settings(max_examples=2_500, deadline=1000, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(text=TEXTS)
def test_any_text_is_a_formula_or_is_refused_at_once_and_touches_nothing(watch, text):
    global events
    events, began = [], time.perf_counter()
    try:
        formula = Formula(text)
    except InputError as error:
        formula, message = None, str(error)
    finally:
        seen, events = events, None
    assert time.perf_counter() - began < 1
    assert seen == []
    if formula is None:
        assert "\n" not in message
    else:  # and what was accepted can be computed
        value = formula(*(torch.full((2,), 0.5, dtype=DOUBLE) for _ in formula.names))
        assert isinstance(value, torch.Tensor)
        assert value.shape in {(), (2,)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a*exp(-t/tau + c", "column 6: this '(' is never closed; add its ')'"),
        (" a*(b + (t - c)*d", "column 4: this '(' is never closed"),
        ("a*`b (c`*(t + c", "column 10: this '(' is never closed"),
        ("a*exp(-t/tau)) + c", "column 14: this ')' closes nothing"),
        ("a*(t +* c)", "not an expression"),
    ],
)
def test_parentheses_that_have_no_partner(text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Formula(text)


def test_a_name_stays_as_it_is_typed():
    """Python's parser would spell the micro sign, U+00B5, as the Greek letter, U+03BC, and ligatures as letters."""
    micro, greek, ligature = "\u00b5", "\u03bc", "\ufb01t"
    formula = Formula(f"{micro}*t + {greek} + 2*{micro}*{ligature}")
    assert formula.names == (micro, "t", greek, ligature)
    assert formula(2.0, torch.tensor(3.0), 5.0, 7.0).item() == 2 * 3 + 5 + 2 * 2 * 7
    with pytest.raises(InputError, match="column 6: a power of"):
        Formula(f"({micro})**1000")
    with pytest.raises(InputError, match="not an expression"):
        Formula("t\u00b2")


def test_a_parameter_and_a_column_by_the_micro_sign():
    t = [0.0, 1.0, 2.0, 3.0]
    result = fit("\u00b5*t + b", t, [1.0, 3.0, 5.0, 7.0], init={"\u00b5": 1})
    assert result.parameters == pytest.approx({"\u00b5": 2, "b": 1})
    result = fit("a*\u00b5 + b", {"\u00b5": t}, [1.0, 3.0, 5.0, 7.0])
    assert result.parameters == pytest.approx({"a": 2, "b": 1})
    assert Formula(result.to_formula()).names == ("\u00b5",)
