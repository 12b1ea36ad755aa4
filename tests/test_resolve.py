"""From what a user writes to a function: four spellings, several predictors, and what is refused."""

import functools
import sys

import numpy as np
import pytest
import torch

from gd_lightning import functions
from gd_lightning.errors import InputError
from gd_lightning.formula import Formula
from gd_lightning.resolve import (
    arguments,
    bind,
    default_values,
    equation,
    function_name,
    parameter_names,
    predictor_arguments,
    resolve,
)

T = torch.linspace(-1, 2, 5, dtype=torch.float64)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("name", functions.__all__)
def test_the_name_of_each_family(name):
    family = resolve(name)
    if name != "polynomial":
        assert family is getattr(functions, name)
    assert resolve(f" {name} ") is family or name == "polynomial"
    assert parameter_names(family) == arguments(family)[1:]
    assert equation(family).startswith("y = ")


@pytest.mark.parametrize("degree", [0, 1, 3, 20])
def test_a_polynomial_of_a_degree(degree):
    family = resolve(f"polynomial({degree})")
    names = parameter_names(family)
    assert names == tuple(f"c{power}" for power in range(degree + 1))
    coefficients = [0.5 - 0.1 * power for power in range(degree + 1)]
    y = family(T, *(torch.tensor(value, dtype=torch.float64) for value in coefficients))
    assert np.allclose(y.numpy(), np.polynomial.polynomial.polyval(T.numpy(), coefficients), rtol=1e-13)


def test_a_polynomial_of_no_degree_is_the_first_without_a_name():
    assert parameter_names(resolve("polynomial")) == ("c0", "c1", "c2", "c3", "c4")


def test_a_formula():
    formula = resolve("amplitude*exp(-t/tau) + offset")
    assert isinstance(formula, Formula)
    assert parameter_names(formula) == ("amplitude", "tau", "offset")
    assert function_name(formula) == "amplitude*exp(-t/tau) + offset"
    assert equation(formula) == "y = amplitude*exp(-t/tau) + offset"


@pytest.mark.parametrize("text", ["1.5*t*a", "a*t", "(a)", "-a", "polynomial(t, a, b)", "gaussian(t, a, b, c)"])
def test_what_is_no_name_and_no_path_is_a_formula(text):
    assert isinstance(resolve(text), Formula)


def test_an_import_path_from_a_file_in_the_working_folder(folder):
    (folder / "own_curves.py").write_text("def damped(t, a, b=2.0):\n    return a * t * b\n")
    damped = resolve("own_curves.damped")
    assert parameter_names(damped) == ("a", "b")
    assert default_values(damped) == {"b": 2.0}
    assert str(folder) not in sys.path


def test_an_import_path_of_an_installed_module():
    assert resolve("torch.special.xlogy") is torch.special.xlogy
    assert resolve("gd_lightning.functions.gaussian") is functions.gaussian


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quadratik", r"given 'quadratik', which is no family; did you mean 'quadratic'\?"),
        ("zzz", "choose from arrhenius, "),
        ("t", "which is no family"),
        ("__name__", "which is no family"),
        ("polynomial_of", "which is no family"),
        ("no_such_module.curve", "no module 'no_such_module' here or installed; expected an import path"),
        ("torch.no_such.curve", "no module 'torch.no_such'"),
        ("t.real", "in a formula, no attribute: column 2"),
        ("torch.sinn", "torch has no 'sinn'; did you mean 'sin'?"),
        ("torch.nn", "torch.nn is module, expected a function"),
        ("math.pi", "math.pi is float, expected a function"),
        ("t.__class__", "an attribute is not part of a formula"),
        ("polynomial(21)", "given degree 21, expected a whole number from 0 to 20"),
        ("polynomial(" + "9" * 5000 + ")", "expected"),
        ("", "empty, expected an expression"),
        (3, "given 3, expected the name of a family, a formula, an import path or a callable"),
        (None, "given None"),
        (["linear"], "given .'linear'."),
    ],
)
def test_what_is_no_function_is_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=message) as caught:
        resolve(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(t, a: return a", "own_bad.f cannot be imported: SyntaxError"),
        ("import no_such_thing", "own_bad.f cannot be imported: No module named 'no_such_thing'"),
        ("1/0", "own_bad.f cannot be imported: ZeroDivisionError: division by zero"),
        ("import math\nmath.nothing", "own_bad.f cannot be imported: AttributeError: .*'nothing'"),
        ("raise ValueError('one\\ntwo')", "own_bad.f cannot be imported: ValueError: one"),
        ("def g(t, a): return a*t", "own_bad has no 'f'; choose from g"),
        ("f = 3", "own_bad.f is int, expected a function"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line(folder, source, message):
    (folder / "own_bad.py").write_text(source)
    with pytest.raises(InputError, match=message) as caught:
        resolve("own_bad.f")
    assert "\n" not in str(caught.value)


def line(t, a, b):
    return a * t + b


class Line:
    """y = a*t + b"""

    def __call__(self, t, a, b):
        return a * t + b


def test_any_callable():
    assert resolve(line) is line
    assert parameter_names(line) == ("a", "b")
    assert function_name(line) == "line"
    assert equation(line) == "y = line(t, a, b)"
    assert equation(Line()) == "y = a*t + b"
    assert parameter_names(Line()) == parameter_names(Line().__call__) == ("a", "b")


def test_a_partial_keeps_what_it_was_given():
    def curve(scale, t, a, b, c):
        return scale * (a * t**2 + b * t + c)

    by_place = functools.partial(curve, 2.0)
    assert parameter_names(by_place) == ("a", "b", "c")
    by_name = functools.partial(curve, 2.0, b=0.0)
    assert parameter_names(by_name) == ("a", "c")
    assert default_values(by_name) == {}
    assert bind(by_name)(T, 3.0, 1.0).tolist() == pytest.approx((2 * (3 * T**2 + 1)).tolist())


def test_an_argument_by_name_only_is_a_parameter_too():
    def curve(t, a, *, b=2.0):
        return a * t + b

    assert parameter_names(curve) == ("a", "b")
    assert bind(curve)(T, 3.0, 1.0).tolist() == (3 * T + 1).tolist()


def test_numbers_are_defaults_and_nothing_else_is():
    def curve(t, a, b=1, c=2.5, d=True, e=None):
        return a

    assert default_values(curve) == {"b": 1.0, "c": 2.5}


@pytest.mark.parametrize("function", [lambda t: t, lambda t, *rest: t, lambda t, **rest: t, lambda: 0, Formula("2*t")])
def test_a_function_that_names_no_parameter_is_refused(function):
    with pytest.raises(
        InputError, match=r"does not name its parameters|2\*t has no parameter beside t; expected one to fit"
    ):
        parameter_names(function)


def test_a_function_in_c_does_not_tell_its_arguments():
    with pytest.raises(InputError, match="does not tell its arguments; wrap it in a def"):
        parameter_names(torch.sin)


@pytest.mark.parametrize(
    ("function", "predictors", "data", "parameters"),
    [
        (line, None, ("t",), ("a", "b")),
        (line, ("t",), ("t",), ("a", "b")),
        (line, ("anything",), ("t",), ("a", "b")),
        (line, ("a",), ("a",), ("t", "b")),
        (line, ("b", "t"), ("b", "t"), ("a",)),
        (Formula("a*t + b"), None, ("t",), ("a", "b")),
        (Formula("b + a*x"), None, ("x",), ("b", "a")),
        (Formula("a*x + b*t"), None, ("t",), ("a", "x", "b")),
        (Formula("a*x + b*t"), ("x",), ("x",), ("a", "b", "t")),
        (Formula("a*t + b"), ("dose",), ("t",), ("a", "b")),
        (Formula("a*dose + b"), ("dose",), ("dose",), ("a", "b")),
        (Formula("b1 - b2*x1*exp(-b3*x2)"), ("x1", "x2"), ("x1", "x2"), ("b1", "b2", "b3")),
        (Formula("b1 - b2*x1*exp(-b3*x2)"), ("x2", "x1"), ("x2", "x1"), ("b1", "b2", "b3")),
        (Formula("a*`x y` + t*b"), ("x y", "t"), ("x y", "t"), ("a", "b")),
    ],
)
def test_which_arguments_are_data(function, predictors, data, parameters):
    assert predictor_arguments(function, predictors) == data
    assert parameter_names(function, predictors) == parameters


@pytest.mark.parametrize(
    ("function", "predictors", "message"),
    [
        (Formula("a*x1 + b"), ("x1", "x2"), "does not use the predictor 'x2'; .*or leave it out"),
        (Formula("a*x1 + b*x2"), ("x1", "x3"), "does not use the predictor 'x3'"),
        (line, ("x", "z"), "does not use the predictor 'x'"),
        (Formula("a*z + b"), None, "has the names a, z, b; expected a formula in t or x, or predictors by name"),
        (Formula("a*z + b"), ("dose",), "expected a formula in dose, or in t"),
        (Formula("a*hour + b"), ("hours",), "a formula in hours, or in t; did you mean hours, not hour?"),
        (Formula("x1*x2"), ("x1", "x2"), "x1.x2 has no parameter beside x1, x2"),
    ],
)
def test_predictors_that_do_not_fit_the_function(function, predictors, message):
    with pytest.raises(InputError, match=message) as caught:
        parameter_names(function, predictors)
    assert "\n" not in str(caught.value)


def test_a_formula_of_numbers_alone_says_that_it_has_no_names():
    with pytest.raises(InputError, match=r"3\.5 has no (names|parameters)"):
        parameter_names(Formula("3.5"))


@pytest.mark.parametrize("predictors", [("x1", "x2"), ("x2", "x1")])
def test_bound_functions_take_the_data_first_in_the_order_of_the_predictors(predictors):
    text = "b1 - b2*x1*exp(-b3*x2)"
    data = {"x1": T, "x2": T.flip(0) + 1}
    bound = bind(resolve(text), predictors)
    y = bound(*(data[name] for name in predictors), 5.0, 2.0, 0.5)
    assert np.allclose(y.numpy(), 5 - 2 * data["x1"].numpy() * np.exp(-0.5 * data["x2"].numpy()), rtol=1e-14)


def test_a_function_in_its_own_order_is_bound_to_itself():
    assert bind(line) is line
    assert bind(line, ("b",)) is not line
    assert bind(line, ("b",))(1.0, 2.0, 3.0) == line(2.0, 3.0, 1.0)


@pytest.mark.parametrize("default", [np.float32(1), np.int64(1), torch.tensor(1.0)], ids=["float32", "int64", "tensor"])
def test_a_default_may_be_a_number_of_another_library(default):
    def line(t, a, b=default):
        return a * t + b

    assert arguments(line) == ("t", "a", "b")
    assert default_values(line) == {"b": 1.0}
