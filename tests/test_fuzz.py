"""Whatever is given for a formula, a table, parameters or a configuration: it is understood, or refused in one line.

`make test` tries a few examples of each, the same ones every time. The slow tests go on with new ones until their
minutes are over: ten, or FUZZ_MINUTES.
"""

import ast
import bz2
import contextlib
import csv
import datetime as dt
import gc
import gzip
import importlib.util
import io
import math
import operator
import os
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.special
import torch
import yaml
from conftest import ROOT
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st

from gd_lightning import functions
from gd_lightning.__main__ import main
from gd_lightning.curve import Curve
from gd_lightning.data import Table
from gd_lightning.errors import InputError
from gd_lightning.formula import FUNCTIONS, Formula
from gd_lightning.resolve import is_import_path, resolve
from gd_lightning.tables import read_columns

MINUTES = float(os.environ.get("FUZZ_MINUTES", 10))
ROUND = 200  # examples in one round of a slow test, each round from a seed of its own
PATIENCE = 60  # seconds, after which an example is one that hangs; each takes a hundredth of that
LONGEST = 1000  # characters that a refusal may have

GOING = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example]


@contextlib.contextmanager
def patience():
    """An example that does not end raises."""

    def hangs(number, frame):
        raise TimeoutError(f"no end after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def property_of(check, strategy, examples):
    def test(given):
        with patience():
            check(given)

    test = given(strategy)(test)
    for one in examples:
        test = example(one)(test)
    return test


def few(check, strategy, examples=(), count=100):
    """The same examples each time, as many as take some seconds."""
    chosen = settings(max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=GOING)
    chosen(property_of(check, strategy, examples))()


def many(check, strategy, count=ROUND):
    """New examples, round after round, until the minutes are over."""
    chosen = settings(max_examples=count, deadline=None, database=None, suppress_health_check=GOING)
    tried, began, rounds = 0, time.monotonic(), 0

    def counted(given):
        nonlocal tried
        tried += 1
        check(given)

    while time.monotonic() - began < 60 * MINUTES:
        rounds += 1
        seed(rounds)(chosen(property_of(counted, strategy, ())))()
    print(f"{tried} examples in {rounds} rounds")


def refused(function, *args, **options):
    """What a function returns, or none where it refuses its input in one line."""
    try:
        return function(*args, **options)
    except InputError as error:
        said = str(error)
        assert said.strip()
        assert said.splitlines() == [said]
        assert len(said) <= LONGEST, len(said)
        said.encode()  # it can be printed
        return None


# Formulas.

NAMES = ["t", "a", "b", "tau", "größe", "λ", "`speed (km/h)`", "`a`"]
NUMBERS = ["0", "1", "2", "3.5", ".5", "5.", "1e3", "1e-300", "1e308", "0x1F", "1_000", "00", "9" * 30, "1e400", "07"]
VALUES = {"t": np.array([0.3, 1.1, 2.0, -0.7, 0.0]), "a": 0.7, "b": 1.3, "tau": 2.5, "größe": -0.4, "λ": 0.25}
VALUES = {name: np.float64(value) for name, value in VALUES.items()}
VALUES |= {"speed (km/h)": np.array([4.0, 0.0, -2.0, 1e-3, 30.0])}
ONE = sorted(name for name, (_, count) in FUNCTIONS.items() if count == 1)
TWO = sorted(name for name, (_, count) in FUNCTIONS.items() if count == 2)
SIGNS = ["+", "-", "*", "/", "**"]

# By NumPy or SciPy, under the names of formulas.
ORACLES = {name: getattr(np, name) for name in (*ONE, *TWO) if hasattr(np, name)}
ORACLES |= {"erf": scipy.special.erf, "erfc": scipy.special.erfc, "asin": np.arcsin, "acos": np.arccos}
ORACLES |= {"atan": np.arctan, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "atan2": np.arctan2}
ORACLES |= {"where": np.where}
OPERATORS = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv},
    **{ast.Pow: operator.pow, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge},
}


def grown(inner):
    pair = st.tuples(inner, inner)
    return st.one_of(
        st.builds(lambda x: f"({x})", inner),
        st.builds(lambda sign, x: f"{sign}{x}", st.sampled_from("+-"), inner),
        st.builds(lambda xy, sign: f"{xy[0]}{sign}{xy[1]}", pair, st.sampled_from(SIGNS)),
        st.builds(lambda xy, sign: f"({xy[0]}) {sign} ({xy[1]})", pair, st.sampled_from(SIGNS)),
        st.builds(lambda f, x: f"{f}({x})", st.sampled_from(ONE), inner),
        st.builds(lambda f, xy: f"{f}({xy[0]}, {xy[1]})", st.sampled_from(TWO), pair),
        st.builds(
            lambda xy, sign, uv: f"where({xy[0]} {sign} {xy[1]}, {uv[0]}, {uv[1]})",
            pair,
            st.sampled_from(["<", "<=", ">", ">="]),
            pair,
        ),
        st.builds(
            lambda f, xs: f"{f}({', '.join(xs)})", st.sampled_from(functions.__all__), st.lists(inner, max_size=5)
        ),
    )


FORMULAS = st.recursive(st.sampled_from(NAMES + NUMBERS + ["pi"]), grown, max_leaves=12)
WORDS = """= := == * ... lambda if else and not in None True 0j 1j e E+ _ __class__ a.b a..b f'' __import__('os')
9**9**9 where exp gaussian polynomial ² ½ ٣ \ufb01 K \u202e \ud800 \ufeff \x1b[31m 🙂"""
LONG = ["(" * 150, "-" * 300, "1" * 5000, "+a" * 900, "**2" * 120, "x if t else a"]
SINGLE = "()[]{},.;:!@#$%^&|~?`'\"\\=<> \t\n\r\0"
PIECES = st.sampled_from([*SIGNS, *NAMES, *NUMBERS, *SINGLE, *WORDS.split(), *LONG])


@st.composite
def mutated(draw, whole, pieces):
    """A text in which some parts are left out, doubled, or replaced by something else."""
    text = draw(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        to = draw(st.integers(at, min(len(text), at + 6)))
        text = text[:at] + draw(st.one_of(st.just(text[:0]), pieces, st.just(text[at:to] * 2))) + text[to:]
    return text


ANY_TEXT = st.text(max_size=80)
TEXTS = st.one_of(FORMULAS, mutated(FORMULAS, PIECES), st.lists(PIECES, max_size=8).map("".join), ANY_TEXT)


def interpreted(node, formula, rng):
    """The value of a formula by NumPy, in which every step errs by a few roundings that a generator draws."""

    def inner(node):
        return interpreted(node, formula, rng)

    match node:
        case ast.Constant(value=value):
            return np.float64(value)
        case ast.Name(id=name):
            return np.float64(math.pi) if name == "pi" else VALUES[formula.quoted.get(name, name)]
        case ast.UnaryOp(op=op, operand=operand):
            return -inner(operand) if isinstance(op, ast.USub) else inner(operand)
        case ast.BinOp(left=left, op=op, right=right):
            value = OPERATORS[type(op)](inner(left), inner(right))
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [inner(side) for side in (left, *others)]
            return np.logical_and.reduce(
                [OPERATORS[type(op)](x, y) for op, x, y in zip(ops, sides, sides[1:], strict=False)]
            )
        case ast.Call(func=ast.Name(id=name), args=args):
            value = ORACLES[name](*map(inner, args))
    return value * (1 + 1e-14 * rng.uniform(-1, 1, np.shape(value))) if rng else value


def check_formula(text):
    """It is refused, or its values are those of NumPy, and every name has a derivative of its shape."""
    path = text.strip()
    if is_import_path(path) and importlib.util.find_spec(path.split(".")[0]):
        return  # a module that there is would be imported
    function = refused(resolve, text)
    if not isinstance(function, Formula):
        return
    if not function.names:
        assert math.isfinite(function.constant)
        return
    given = {name: VALUES.get(name, 0.6) for name in function.names}
    values = [
        torch.tensor(given[name], dtype=torch.float64).expand(5).clone().requires_grad_() for name in function.names
    ]
    preds = function(*values)
    assert preds.dtype == torch.float64
    assert preds.shape in ((5,), ())
    if preds.requires_grad:
        slopes = torch.autograd.grad(preds.sum(), values, materialize_grads=True)
        assert all(slope.shape == (5,) for slope in slopes)
    if set(given) > set(VALUES) or function.tape is None:  # a family is called, or what the oracle has no value for
        return
    with np.errstate(all="ignore"):
        played = np.broadcast_to(function.tape.play([value.detach().numpy() for value in values])[-1], (5,))
        try:
            several = [
                np.broadcast_to(interpreted(function.tree, function, rng), (5,))
                for rng in (None, *map(np.random.default_rng, range(4)))
            ]
        except KeyError:  # a name of the fuzzer's own
            return
        expected, spread = several[0], np.ptp(several, axis=0)
    certain = np.isfinite(several).all(axis=0) & (spread <= 1e-3 * np.abs(expected))
    for found in (preds.detach().expand(5).numpy(), played):
        off = np.abs(found[certain] - expected[certain])
        assert (off <= 100 * spread[certain] + 1e-13 * np.abs(expected[certain]) + 1e-300).all(), (found, expected)


FORMULA_FINDS = [
    "t + acos(where(1 < 2, 2, 0))",  # which has no value, wherever t is
    "t + 1/where(1 < 2, 0, 1)",
    "t + where(1 < 2, -8, 1)**0.5",
    "t + where(1 < 2, 1e300, 1)**2",
    "9**9**9",
    "a*t + `",
    "\ud800*t",
    "`\ud800`*t + a",
    "a.b",
    "t" * 2001,
    "polynomial(" + "9" * 5000 + ")",
]


def test_any_text_is_a_function_or_is_refused():
    few(check_formula, TEXTS, FORMULA_FINDS, 400)


@pytest.mark.slow
def test_any_text_is_a_function_or_is_refused_for_minutes():
    many(check_formula, TEXTS, 2000)


# Tables.

WHOLE = st.integers(-(10**20), 10**20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NUMERIC = st.one_of(
    FLOATS.map(repr), WHOLE.map(str), st.floats(-1e6, 1e6).map("{:.3f}".format), FLOATS.map("{:.17e}".format)
)
MISSING = st.sampled_from(["", "NA", "nan", "NaN", "null", "#N/A", " "])
DATES = st.one_of(st.dates(), st.datetimes()).map(str)
STRANGE = """1e400 -1e999 0x10 1_0 1,5 ٣ ½ inf -Infinity true 1e --1 +-1 -1 1\0 \ufeff1 " "" "a 9999-99-99 99999-01-01
0000-00-00 2021-02-30 2021-03-01T25:00 2021-03-01T12:00:00.1234567890123 2021-03-01T12:00+14:00"""
ODD = st.one_of(st.text(max_size=12), DATES, st.sampled_from([*STRANGE.split(), "1" * 5000]))
HEADERS = st.sampled_from(
    ["x", "y", "x", "y", "x", "y", "s", "größe", "a b", "", "x ", "\ufeffx", "x\ny", 'q"q', "t,u", "λ;", "\t"]
)


def quoted(cell, delimiter, always):
    """A cell as RFC 4180 has it."""
    if not always and not any(sign in cell for sign in (delimiter, '"', "\n", "\r")) and cell == cell.strip():
        return cell
    return '"' + cell.replace('"', '""') + '"'


@st.composite
def texts(draw):
    """A table as bytes, and where it is as it should be the rows that Python's csv module finds in it."""
    delimiter = draw(st.sampled_from(",\t;"))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    plain = draw(st.booleans())
    header = ["x", "y"] if plain else draw(st.lists(HEADERS, min_size=0, max_size=5))
    kinds = [
        draw(st.sampled_from([NUMERIC, NUMERIC | MISSING] if plain else [NUMERIC, MISSING, ODD, DATES, NUMERIC | ODD]))
        for _ in header
    ]
    rows = draw(st.lists(st.tuples(*kinds), max_size=12)) if header else []
    always = draw(st.booleans())
    text = newline.join(delimiter.join(quoted(str(cell), delimiter, always) for cell in row) for row in [header, *rows])
    text += draw(st.sampled_from([newline, "", newline * 2]))
    text = draw(st.sampled_from(["", "", "\ufeff", newline, "  " + newline])) + text
    content = text.encode("utf-8", "surrogatepass")
    spoilt = False
    if not plain or draw(st.integers(0, 3)) == 0:
        content, spoilt = draw(spoilt_bytes(content)), True
    pack = draw(st.sampled_from([None, None, gzip.compress, bz2.compress]))
    content = content if pack is None else pack(content)
    if draw(st.integers(0, 9)) == 0:
        content, spoilt = draw(spoilt_bytes(content)), True
    if spoilt or not plain:
        return "table.csv", content, None
    _, *rows = (row for row in csv.reader(io.StringIO(text.lstrip("\ufeff")), delimiter=delimiter) if len(row) == 2)
    return "table.csv", content, rows


@st.composite
def spoilt_bytes(draw, content):
    """Bytes of which some are changed, left out, or cut off."""
    pieces = st.sampled_from(
        [b"\0", b"\r", b"\n", b'"', b",", b";", b"\t", b"\xff", b"\xef\xbb\xbf", b"1e400", b"\xfe\xff"]
    )
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(content)))
        to = draw(st.integers(at, min(len(content), at + 5)))
        content = content[:at] + draw(st.one_of(st.binary(max_size=4), pieces)) + content[to:]
    return content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 3)) == 0 else content


KINDS = [pa.float64(), pa.float32(), pa.int64(), pa.int8(), pa.uint64(), pa.bool_(), pa.string(), pa.large_string()]
KINDS += [pa.binary(), pa.date32(), pa.timestamp("ns"), pa.timestamp("s", "UTC"), pa.duration("ms"), pa.time32("s")]
KINDS += [pa.decimal128(20, 4), pa.null(), pa.list_(pa.float64()), pa.struct([("x", pa.int8())])]
KINDS += [pa.dictionary(pa.int8(), pa.string())]


def cells_of(kind):
    """Values of a type of Arrow's."""
    if pa.types.is_floating(kind):
        return st.floats(width=kind.bit_width)
    if pa.types.is_integer(kind):
        bits = kind.bit_width
        signed = pa.types.is_signed_integer(kind)
        return st.integers(-(2 ** (bits - 1)) if signed else 0, 2 ** (bits - 1) - 1 if signed else 2**bits - 1)
    if pa.types.is_temporal(kind) and not pa.types.is_date(kind):
        return st.integers(-(2**31), 2**31 - 1)
    others = {
        pa.bool_(): st.booleans(),
        pa.binary(): st.binary(max_size=6),
        pa.date32(): st.dates(),
        pa.null(): st.none(),
    }
    others |= {pa.list_(pa.float64()): st.lists(FLOATS, max_size=2), pa.struct([("x", pa.int8())]): st.just({"x": 1})}
    others |= {pa.decimal128(20, 4): st.decimals(-1000, 1000, places=4)}
    return others.get(kind, st.one_of(NUMERIC, DATES, ODD.filter(lambda text: text.isprintable())))


@st.composite
def parquets(draw):
    count = draw(st.integers(0, 12))
    plain = draw(st.booleans())
    columns = {}
    for name in ("x", "y"):
        kind = draw(st.sampled_from([pa.float64(), pa.int64(), pa.float32()] if plain else KINDS))
        columns[name] = pa.array(draw(st.lists(st.none() | cells_of(kind), min_size=count, max_size=count)), kind)
    table = pa.table(columns)
    sink = io.BytesIO()
    options = {"compression": draw(st.sampled_from(["none", "snappy", "gzip", "zstd"])), "row_group_size": 5}
    pq.write_table(table, sink, **options)
    content, cells = sink.getvalue(), None
    if plain:
        cells = list(zip(*(column.to_pylist() for column in columns.values()), strict=True))
    if draw(st.integers(0, 3)) == 0:
        content, cells = draw(spoilt_bytes(content)), None
    return "table.parquet", content, cells


def number_of(cell):
    """A cell by Python: a number, or nan where there is none."""
    if cell is None or (isinstance(cell, str) and cell.strip() in {"", "NA", "nan", "NaN", "null", "#N/A"}):
        return math.nan
    return float(cell)


def check_table(given):
    """It is refused, or holds the numbers that Python's own reader, or Arrow's, finds in the complete rows."""
    name, content, rows = given
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, name))
        Path(path).write_bytes(content)
        found = refused(read_columns, path, ["x", "y"])
        refused(read_columns, path, ["y"], "x", gaps=["y"])
        data = refused(Table, path, "x", "y", sigma="y", holdout=0.2)
        refused(data.setup, "fit")
        refused(Table(path, "x", "y", target="log(y) + x").setup, "predict")
    if found is not None:
        assert all(torch.isfinite(values).all() for values in found.numbers.values())
        assert len({len(values) for values in found.numbers.values()}) == 1
    if rows is None:
        return
    numbers = np.array([[number_of(cell) for cell in row] for row in rows]).reshape(-1, 2)
    whole = ~np.isnan(numbers).any(axis=1)
    if not whole.any() or np.isinf(numbers).any():
        assert found is None
        return
    assert found is not None
    np.testing.assert_array_equal(np.stack([found.numbers["x"], found.numbers["y"]], axis=1), numbers[whole])
    assert found.dropped == len(rows) - whole.sum()


TABLES = st.one_of(texts(), parquets())
TABLE_FINDS = [
    ("table.csv", content, None)
    for content in (b"", b"x,y", b"x,y\n1,", b"\xef\xbb\xbf", b"\x1f\x8b", b"x,y\n1e400,1\n")
]


def test_any_table_is_read_or_refused():
    few(check_table, TABLES, TABLE_FINDS, 120)


@pytest.mark.slow
def test_any_table_is_read_or_refused_for_minutes():
    many(check_table, TABLES)


# Parameters.

TOLD = "1|-2.5|inf|nan|1e999|b|2*a|a + b|c**2|t|1/0||exp(1000)|a b|٣|1_0|`a`|`\ud800`|\ud800"
NUMBERS_OF_ALL_KINDS = [0, 1, -1, 2.5, 10**400, -(2**70), 1e308, -1e-310, math.inf, np.float32(2), np.int64(3), np.nan]
OTHERS = [1j, b"1", dt.date(2021, 3, 1), {1, 2}, object, [], [1], (1, 2), np.bool_(True), np.array([1.0]), np.zeros(3)]
OTHERS += [torch.tensor(2.0), torch.ones(2), "9" * 5000]
SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=6)),
    *(st.sampled_from(TOLD.split("|")), st.sampled_from(NUMBERS_OF_ALL_KINDS), st.sampled_from(OTHERS)),
)
KEYS = st.sampled_from(["init", "min", "max", "fixed", "expr"] * 3 + ["Init", "", 1, None, "min.max", "\ud800"])
DEMANDS = st.one_of(
    SCALARS, st.dictionaries(KEYS, SCALARS, max_size=4), st.dictionaries(KEYS, st.dictionaries(KEYS, SCALARS))
)
WHOSE = st.sampled_from(
    ["a", "b", "c"] * 4 + ["d", "t", "", True, 1, None, "a.min", "b.max", "c.expr", "a.fixed", ".a", "a.", "a.b.c"]
)
SMALL = st.one_of(
    st.integers(-3, 3), st.floats(-3, 3), st.sampled_from(["1", np.float32(0.1), np.int64(2), -0.0, None])
)
SOUND = st.one_of(
    SMALL,
    st.fixed_dictionaries(
        {}, optional={"init": SMALL, "min": SMALL | st.just(-math.inf), "max": SMALL | st.just(1e308)}
    ),
    st.fixed_dictionaries({"fixed": SMALL}),
    st.fixed_dictionaries(
        {"expr": st.sampled_from(["b", "2*a", "a + b", "c**2", "exp(b)", "3", "-a", "1/b", "log(c)"])}
    ),
)
GIVEN = st.tuples(
    st.one_of(
        st.dictionaries(st.sampled_from("abc"), SOUND, max_size=3),
        st.dictionaries(st.sampled_from("abc"), SOUND | DEMANDS, max_size=3),
        st.dictionaries(WHOSE, DEMANDS, max_size=4),
        SCALARS,
    ),
    st.one_of(
        st.none(),
        st.dictionaries(st.sampled_from("abc"), SMALL.filter(lambda value: value is not None), max_size=1),
        st.dictionaries(WHOSE, SCALARS, max_size=3),
        SCALARS,
    ),
    st.sampled_from([torch.float32, torch.float64]),
)


def check_parameters(given):
    """It is refused, or the start and each step fulfils what was demanded."""
    demanded, init, dtype = given
    curve = refused(Curve, "a*t**2 + b*t + c", demanded)
    if curve is None or refused(curve.known_start, init) is None:
        return
    curve.to(dtype)
    t = torch.linspace(0, 1, 4, dtype=dtype)
    for values in (torch.randn(3, generator=torch.Generator().manual_seed(0)), torch.tensor([-1e30, 0.0, 1e30])):
        if refused(lambda values=values: curve.start(values, init) or True) is None:
            return
        with np.errstate(all="ignore"):
            check_demands(curve)
        preds = curve(t)
        assert preds.shape == (4,)
        preds.sum().backward()
        assert curve.params.grad.shape == (3,)


def check_demands(curve):
    now = dict(zip(curve.names, curve.params.detach().tolist(), strict=True))
    for name, demand in zip(curve.names, curve.demands.all, strict=True):
        if demand.fixed:
            assert now[name] == pytest.approx(demand.init, rel=1e-6, abs=1e-44)
        elif demand.tie is not None:
            places = {other: torch.tensor(now[other], dtype=curve.params.dtype) for other in demand.tie.names}
            tied = demand.tie(**places) if places else torch.tensor(demand.tie.constant, dtype=curve.params.dtype)
            assert now[name] == pytest.approx(tied.item(), rel=1e-6, nan_ok=True)
        else:
            assert demand.min <= now[name] <= demand.max


PARAMETERS_FINDS = [
    ({"a": {"expr": "b"}, "b": {"expr": "a"}}, None, torch.float64),
    ({"a": {"min": 10**400}}, None, torch.float64),
    ({"a": {"expr": "`\ud800`"}}, None, torch.float64),
]


def test_any_demands_are_fulfilled_or_refused():
    few(check_parameters, GIVEN, PARAMETERS_FINDS, 300)


@pytest.mark.slow
def test_any_demands_are_fulfilled_or_refused_for_minutes():
    many(check_parameters, GIVEN, 1000)


# Configurations.

PLAIN = [0, 1, 2, 3, -1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e-5, 1e300, math.nan, math.inf, "2021-03-01", "null", "\x07"]
TEXTS_OF_YAML = "|a|auto|random|data|1e-5|quadratic|gaussian|a*t + b|a*t^2|no.such|~|on|🙂"
LEAVES = st.one_of(
    *(st.none(), st.booleans(), st.sampled_from([*PLAIN, *TEXTS_OF_YAML.split("|")])),
    st.sampled_from([[], [1], [1, 2], ["t"], {}, {"a": 1}, {"class_path": "x"}]),
)
RULES = ["SGD", "gd_lightning.Adam", "torch.optim.AdamW", "LevenbergMarquardt", "LBFGS", "os.system", "Momentum"]
RULES += [{"class_path": "Momentum", "init_args": {"beta": 2}}]
SCHEDULER = "torch.optim.lr_scheduler.ExponentialLR"
COLUMNS = {"path": "good.csv", "t": "speed", "y": "dist"}
DATA = [{"class_path": "NoisySeries"}, {"class_path": "Table"}, {"init_args": {}}]
DATA += [{"class_path": name, "init_args": COLUMNS} for name in ("gd_lightning.Table", "StreamedTable", "Tabel")]
DATA += [{"class_path": "Table", "init_args": {**COLUMNS, "t": ["speed"], "target": "log(y)", "y": "dits"}}]
DATA += [{"class_path": "Table", "init_args": {**COLUMNS, "target": "log(y)"}}]
FUNCTIONS_TOLD = ["quadratic", "gaussian", "linear", "polynomial(3)", "a*t + b", "a*exp(-t/b)", "x y"]
ANY = """seed_everything ckpt_path modell model.start model.steps_per_epoch model.compile model.predictors
model.absolute_sigma model.level model.unknown data.init_args.noise data.init_args.seed data.init_args.holdout
data.init_args.holdout_from data.init_args.time_unit data.init_args.path plots.every_n_steps plots.film_strip plots.ylim
stopping.loss stopping.off trainer.max_time trainer.limit_train_batches trainer.log_every_n_steps trainer.callbacks
trainer.gradient_clip_val trainer.unknown"""
DEMANDED = st.dictionaries(KEYS.filter(lambda key: key != "\ud800"), LEAVES, max_size=2)
FIELDS = dict.fromkeys(ANY.split(), LEAVES) | {
    "model.function": st.sampled_from(FUNCTIONS_TOLD) | LEAVES,
    "model.lr": st.sampled_from([1e-5, "auto", 1e-3, {"a": 1e-5, "b": 1e-5, "c": 1e-5}]) | LEAVES,
    "model.init": st.dictionaries(st.sampled_from("abcz"), LEAVES, max_size=2) | LEAVES,
    "model.parameters": st.dictionaries(st.sampled_from("abcz"), LEAVES | DEMANDED, max_size=2) | LEAVES,
    "model.loss": st.sampled_from(["mse", "mae", "huber", "huber(2)", "cauchy(0)", "huber(", "hubber"]) | LEAVES,
    "model.optimizer": st.sampled_from(RULES) | LEAVES,
    "model.scheduler": st.sampled_from([SCHEDULER, {"class_path": SCHEDULER, "init_args": {"gamma": 0.9}}]) | LEAVES,
    "model.intervals": st.sampled_from(["t", "profile", "T"]) | LEAVES,
    "data": st.sampled_from(DATA) | LEAVES,
    "data.init_args.points": LEAVES.filter(lambda leaf: not isinstance(leaf, int | float) or leaf < 100),
    "plots.landscape": st.sampled_from([["a", "b"], ["a", "z"], True]) | LEAVES,
    "trainer.precision": st.sampled_from(["64-true", "32", 16, "bf16-true"]) | LEAVES,
    "trainer.accelerator": st.just("cpu") | LEAVES.filter(lambda leaf: leaf != "auto"),
}
ENDS = {"trainer.max_steps": 2, "trainer.max_epochs": 2, "plots.every_n_steps": 1000}  # unless another is drawn
SIGNS_OF_YAML = """\n|: |- |{|}|[|]|&a |*a|<<: *a|!!python/object/apply:os.getcwd []|!!binary x|!x |---\n|...\n|\t|#|>-
|"|'|? |@|`|=|~|%YAML 1.1\n|\0|\ufeff|\x85|\u2028|a: &a [x, x]\nb: &b [*a, *a]\n|1:2:3|0o7|2021-03-01|.nan|key: key: key
|model:|trainer:\n|- -"""
YAMLS = st.sampled_from(SIGNS_OF_YAML.split("|"))
WRITTEN = [(ROOT / "configs" / name).read_text() for name in ("quadratic.yaml", "peak.yaml", "co2.yaml")]


def nested(fields):
    """Values by dotted names as one mapping in another."""
    config = {}
    for name, value in fields.items():
        *outer, last = name.split(".")
        here = config
        for key in outer:
            if not isinstance(here.setdefault(key, {}), dict):
                here[key] = {}
            here = here[key]
        here[last] = dict(value) if isinstance(value, dict) else value
    return config


CONFIGS = st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in sorted(names)})
)
COMMANDS = st.sampled_from(["fit"] * 16 + ["sweep"] * 2 + ["predict", "fit_many", "compare"])
ASKED = st.one_of(
    st.tuples(COMMANDS, CONFIGS.map(lambda fields: yaml.safe_dump(nested({**ENDS, **fields}), allow_unicode=True))),
    st.tuples(COMMANDS, mutated(st.sampled_from(WRITTEN), YAMLS | ANY_TEXT)),
    st.tuples(COMMANDS, st.lists(YAMLS, max_size=6).map("".join) | ANY_TEXT),
)
END_EARLY = ["--trainer.max_steps=2", "--trainer.max_epochs=2", "--trainer.logger=false"]
OPTIONS = {"fit": END_EARLY, "predict": END_EARLY, "sweep": [*END_EARLY, "--lrs=1e-6,1e-5"], "fit_many": []}
OPTIONS |= {"compare": [*END_EARLY, "--functions=linear,a*speed + b"]}


@contextlib.contextmanager
def as_in_a_process_of_its_own(folder):
    """What a command changes in the process in which it runs, and does not put back."""
    here, environment = Path.cwd(), dict(os.environ)
    os.chdir(folder)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.resetwarnings()
            warnings.simplefilter("ignore", DeprecationWarning)  # as Python does
            warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
            yield
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(environment)
        gc.unfreeze()


def run_here(*args):
    """The command line in this process, which has all its imports behind it."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(args)
        except SystemExit as ended:
            code = ended.code
    return code, out.getvalue(), err.getvalue()


def check_config(given):
    """The command ends with 0, or with 2 or 3 and one line; a traceback would be an exception here."""
    command, text = given
    with tempfile.TemporaryDirectory() as folder, as_in_a_process_of_its_own(folder):
        Path("good.csv").write_text("speed,dist\n4,2\n7,4\n8,16\n9,10\n10,18\n")
        Path("config.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        Path("examples").symlink_to(ROOT / "examples")
        code, _, err = run_here(command, "--config=config.yaml", *OPTIONS[command])
    said = [line for line in err.splitlines() if line.startswith("gd-lightning: error: ")]
    assert code in (0, 2, 3), (code, err)
    assert len(said) == (code != 0), err
    assert code != 2 or err.splitlines() == said, err


CONFIG_FINDS = [
    ("fit", "data: {init_args: {holdout: null}}"),
    ("fit", "data: {init_args: {noise: null}}"),
    ("fit", "plots: {landscape: null}"),
    ("fit", "seed_everything: null"),
]


def test_any_configuration_runs_or_is_refused():
    few(check_config, ASKED, CONFIG_FINDS, count=10)


@pytest.mark.slow
def test_any_configuration_runs_or_is_refused_for_minutes():
    many(check_config, ASKED, 100)
