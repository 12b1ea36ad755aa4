import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from gd_lightning import InputError, fit, functions
from gd_lightning.formula import Formula
from gd_lightning.formula_text import formula_text
from gd_lightning.resolve import parameter_names, resolve

FAMILIES = sorted(functions.__all__)
# What a formula's functions are in Python, for an evaluator that knows nothing of formulas.
PYTHON = {
    **{name: getattr(np, name) for name in ("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "abs", "sign")},
    **{name: getattr(np, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "minimum", "maximum")},
    "erf": special.erf,
    "erfc": special.erfc,
    "where": np.where,
    "pi": math.pi,
}


def values_of(function, seed=1):
    names = parameter_names(function)
    numbers = 0.3 + 1.5 * np.random.default_rng(seed).random(len(names))
    return dict(zip(names, numbers.tolist(), strict=True))


def times(function):
    first = {"t > 0": 0.01, "t >= 0": 0.0}.get(getattr(function, "domain", None), -3.0)
    return torch.linspace(first, 3.0, 41, dtype=torch.float64)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_what_is_written_of_it(name, sign):
    family = resolve(name)
    values = values_of(family)
    for one in values:  # where the family has numbers of that sign: a shape, a half and a tau are positive
        if one not in ("shape", "half", "width", "tau", "tau1", "tau2"):
            values[one] *= sign
    text = formula_text(family, values)
    t = times(family)
    expected = family(t, *(torch.tensor(value, dtype=torch.float64) for value in values.values())).numpy()
    assert np.isfinite(expected).all()
    # the same curve by other operations: some roundings, of the largest value
    close = {"rtol": 1e-13, "atol": 1e-14 * np.abs(expected).max()}
    np.testing.assert_allclose(Formula(text)(t).numpy(), expected, **close)
    np.testing.assert_allclose(eval(text, dict(PYTHON), {"t": t.numpy()}), expected, **close)


@pytest.mark.parametrize(
    ("function", "values", "text"),
    [
        ("linear", {"a": 2, "b": 1}, "2.0*t + 1.0"),
        ("a**2*t", {"a": -3.0}, "(-3.0)**2*t"),
        ("-a**2*t", {"a": 3.0}, "-(3.0**2)*t"),
        ("t**a", {"a": -0.5}, "t**(-0.5)"),
        ("a - (t - b)", {"a": 0.1, "b": 1e-300}, "0.1 - (t - 1e-300)"),
        ("a - t - b", {"a": 0.1, "b": -0.2}, "0.1 - t - (-0.2)"),
        ("a/(b*t)", {"a": 1.0, "b": 3.0}, "1.0/(3.0*t)"),
        ("a/b*t", {"a": 1.0, "b": 3.0}, "1.0/3.0*t"),
        ("1/2*a*t", {"a": 5.0}, "1.0/2.0*5.0*t"),
        ("a**t**2", {"a": 2.0}, "2.0**(t**2)"),
        ("(a**t)**2", {"a": 2.0}, "(2.0**t)**2"),
        ("a*-t", {"a": 2.0}, "2.0*(-t)"),
        ("+a*exp(-t/b)", {"a": 2.0, "b": 0.1 + 0.2}, "2.0*exp(-t/0.30000000000000004)"),
        ("where(a < t <= 2*b, t, -a)", {"a": 1.0, "b": 2.0}, "where(1.0 < t <= 2*2.0, t, -1.0)"),
        ("`my slope`*t + `pi`*pi", {"my slope": 2.0, "pi": 3.0}, "2.0*t + 3.0*pi"),
        ("gaussian(t - s, 2*h, c, 1)", {"s": 1.0, "h": 1.5, "c": -0.5}, "2*1.5*exp(-((t - 1.0 - (-0.5))**2)/(2*1**2))"),
    ],
    ids=str,
)
def test_brackets_stand_where_they_are_needed(function, values, text):
    resolved = resolve(function)
    found = formula_text(resolved, values)
    assert found == text
    t = torch.linspace(0.2, 4, 21, dtype=torch.float64)
    expected = resolved(**{"t": t, **{name: torch.tensor(v, dtype=torch.float64) for name, v in values.items()}})
    torch.testing.assert_close(Formula(found)(t), expected, rtol=1e-14, atol=0)


def test_a_family_in_a_formula_is_written_out():
    text = formula_text(resolve("gaussian(t, 2*h, c, 1)*k"), {"h": 1.5, "c": -0.5, "k": 3.0})
    t = np.linspace(-2, 2, 9)
    np.testing.assert_allclose(eval(text, dict(PYTHON), {"t": t}), 9 * np.exp(-0.5 * (t + 0.5) ** 2), rtol=1e-14)


def test_names_that_formulas_cannot_hold_stay_in_backquotes():
    text = formula_text(resolve("a*`speed (km/h)`"), {"a": 2.5}, ["speed (km/h)"])
    assert text == "2.5*`speed (km/h)`"
    assert Formula(text).names == ("speed (km/h)",)


def test_a_falling_hill_has_its_maximum_at_0():
    t = np.array([0.0, 1.0, 2.0, 1e200])
    text = formula_text(functions.hill, {"maximum": 3.0, "half": 2.0, "exponent": -2.0})
    with np.errstate(over="ignore"):
        assert eval(text, {}, {"t": t}).tolist() == [3.0, 3.0 / 1.25, 1.5, 0.0]
    inside = formula_text(resolve("hill(t, a, b, -c)"), {"a": 3.0, "b": 2.0, "c": 2.0})
    assert eval(inside, {}, {"t": t[:3]}).tolist() == [3.0, 3.0 / 1.25, 1.5]


NAMES = {"a": -1.25, "b": 0.1 + 0.2, "c": 3.0, "t": 0.7}
LEAVES = st.sampled_from([*NAMES, "2", "0.5", "1e-3", "3", "pi"])


def nodes(inner):
    binary = st.builds("({}){}({})".format, inner, st.sampled_from(["+", "-", "*", "/", "**"]), inner)
    bare = st.builds("{}{}{}".format, inner, st.sampled_from(["+", "-", "*", "/"]), inner)
    return binary | bare | st.builds("-{}".format, inner) | st.builds("abs({})".format, inner)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.recursive(LEAVES, nodes, max_leaves=12))
def test_what_python_makes_of_it_is_the_same_to_the_last_bit(text):
    plain = {"pi": math.pi, "abs": abs}
    try:
        expected = eval(text, dict(plain), dict(NAMES))
        formula = Formula(text + " + 0*a*t")
    except (ArithmeticError, InputError, SyntaxError):
        return
    if isinstance(expected, complex):
        return
    values = {name: NAMES[name] for name in formula.names if name != "t"}
    written = formula_text(formula, values)
    assert not set("abc") & set(written.replace("abs", "")), written
    assert eval(written, dict(plain), {"t": NAMES["t"]}) == eval(text + " + 0*a*t", dict(plain), dict(NAMES))


def test_a_result_writes_its_formula():
    t = [0.0, 1.0, 2.0, 3.0]
    result = fit("linear", t, [1.0, 3.0, 5.0, 7.0])
    slope, intercept = (repr(value) for value in result.parameters.values())
    assert result.to_formula() == f"{slope}*t + {intercept}"


def test_fixed_and_tied_parameters_are_numbers_like_others():
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    result = fit("a*t + b + c", t, 3 * t + 5, parameters={"b": {"expr": "2*a"}, "c": {"fixed": -1}})
    text = result.to_formula()
    assert text.endswith(" + (-1.0)")
    torch.testing.assert_close(Formula(text)(t), result.predict(t), rtol=1e-15, atol=0)


def test_several_series_have_a_formula_each():
    result = fit("linear", [0.0, 1.0, 2.0], [[0.0, 2.0, 4.0], [1.0, 0.0, -1.0]])
    texts = result.to_formula()
    assert texts.shape == (2,)
    for i in range(2):
        torch.testing.assert_close(
            Formula(texts[i])(result.points.t), result.predict(result.points.t)[i], rtol=1e-14, atol=1e-15
        )


def test_a_function_of_python_has_no_formula():
    with pytest.raises(InputError, match="<lambda> is a function of Python, of which no formula is known; fit it as a"):
        fit(lambda t, a, b: a * t + b, [0.0, 1.0, 2.0], [1.0, 2.0, 3.0]).to_formula()

    def gaussian(t, a, b):  # which is not the family of that name
        return a * t + b

    with pytest.raises(InputError, match="gaussian is a function of Python"):
        fit(gaussian, [0.0, 1.0, 2.0], [1.0, 2.0, 3.0]).to_formula()


def test_infinity_has_no_digits():
    with pytest.raises(InputError, match="formula: a is inf; expected finite parameters"):
        formula_text(resolve("linear"), {"a": math.inf, "b": 1.0})


def test_a_falling_hill_whose_exponent_is_an_expression():
    t = torch.tensor([0.0, 1.0, 4.0])
    text = formula_text(Formula("hill(t, m, h, 2*e)"), {"m": 1.0, "h": 2.0, "e": -1.0})
    torch.testing.assert_close(Formula(text)(t), 1 / (1 + (t / 2) ** 2))
