import math
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uncertainties import ufloat

from gd_lightning.digits import digits, number, share, shown

# The Particle Data Group's examples (Review of Particle Physics, introduction), and the edges of its rule.
CASES = [
    (0.827, 0.119, "0.83 ± 0.12"),
    (0.827, 0.367, "0.8 ± 0.4"),
    (4.9834, 0.0412, "4.98 ± 0.04"),
    (1.2341e-5, 1.2e-7, "(1.234 ± 0.012)e-05"),
    (0.5, 0.0996, "0.50 ± 0.10"),
    (0.5, 0.0949, "0.50 ± 0.09"),
    (0.5, 0.095, "0.50 ± 0.10"),
    (0.5, 0.0095, "0.500 ± 0.010"),
    (0.5, 0.0354, "0.500 ± 0.035"),
    (0.5, 0.0355, "0.50 ± 0.04"),
    (0.5, 0.01, "0.500 ± 0.010"),
    (-12.3456, 0.0123, "-12.346 ± 0.012"),
    (9.9996, 0.004, "10.000 ± 0.004"),
    (-9.9996e-6, 4e-9, "(-1.0000 ± 0.0004)e-05"),
    (0.00009999, 1e-6, "0.0001000 ± 0.0000010"),
    (0.0, 0.25, "0.00 ± 0.25"),
    (-0.0, 0.25, "0.00 ± 0.25"),
    (-0.001, 0.3, "0.00 ± 0.30"),
    (1234.0, 30.0, "1234 ± 30"),
    (1234.0, 50.0, "(1.23 ± 0.05)e+03"),
    (12345.0, 678.0, "(1.23 ± 0.07)e+04"),
    (3.0, 12.0, "3 ± 12"),
    (1.0, 1e300, "(0.0 ± 1.0)e+300"),
    (1.5e300, 2e299, "(1.50 ± 0.20)e+300"),
    (5e-324, 5e-324, "(5 ± 5)e-324"),
    (1e-300, 2.5e-310, "(1.00000000000 ± 0.00000000025)e-300"),
    (123456789.123, 0.02, "123456789.123 ± 0.020"),
]


@pytest.mark.parametrize(("value", "error", "text"), CASES, ids=[text for *_, text in CASES])
def test_a_value_with_its_error(value, error, text):
    assert str(shown(value, error)) == text


def test_an_error_below_the_rounding_of_the_value_leaves_it_whole():
    assert digits(1 / 3, 1e-18) is None
    assert str(shown(1 / 3, 1.26e-18)) == f"{1 / 3!r} ± 1.3e-18"


VALUES = st.floats(allow_nan=False, allow_infinity=False)
ERRORS = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
ORDINARY = st.floats(-1e9, 1e9), st.floats(1e-9, 1e9)


def parsed(text):
    """Value, error and one unit of the error's last digit, of what was shown."""
    body, _, exponent = text.partition(")e")
    value, error = (Decimal(part) for part in body.removeprefix("(").split(" ± "))
    factor = Decimal(1).scaleb(int(exponent or 0))
    return value * factor, error * factor, Decimal(1).scaleb(error.as_tuple().exponent) * factor


@settings(max_examples=500, deadline=None)
@given(VALUES, ERRORS)
@example(0.0, 5e-324)
@example(1.7976931348623157e308, 1e308)
@example(0.3, 0.949999)
def test_what_is_shown_is_within_half_a_unit_of_the_last_digit(value, error):
    value_shown, error_shown, unit = parsed(str(shown(value, error)))
    assert abs(value_shown - Decimal(repr(value))) <= unit / 2
    assert abs(error_shown - Decimal(repr(error))) <= unit / 2
    assert error_shown > 0


@settings(max_examples=500, deadline=None)
@given(VALUES, ERRORS)
def test_value_and_error_end_at_the_same_digit(value, error):
    if digits(value, error) is not None:
        found = shown(value, error)
        places = [Decimal(part.strip("()").partition(")")[0]).as_tuple().exponent for part in found]
        assert places[0] == places[1]


@settings(max_examples=500, deadline=None)
@given(*ORDINARY)
def test_the_digits_are_those_of_uncertainties(value, error):
    """But for zeros with a sign, and errors on the edge of the rule, where its division errs by a rounding."""
    leading = error / 10.0 ** math.floor(math.log10(error)) * 100
    if abs(leading - round(leading)) < 1e-6 or abs(value) > 1e13 * error:  # beyond, theirs shows digits of the rounding
        return
    theirs = str(ufloat(value, error)).replace("+/-", " ± ")
    ours = str(shown(value, error))
    assert parsed(ours) == parsed(theirs.replace("(-0.0", "(0.0"))
    assert ours.count("e") == theirs.count("e")


@settings(max_examples=200, deadline=None)
@given(*ORDINARY)
def test_an_interval_has_the_digits_of_its_value(value, error):
    found = digits(value, error)
    if found is None:
        return
    low, high = found.interval(value - 2 * error, value + 2 * error)
    middle = shown(value, error)
    assert low.startswith("(") == middle.value.startswith("(")
    assert high.partition(")")[2] == middle.error.partition(")")[2]
    assert len(low.partition(".")[2]) == len(middle.value.partition(".")[2])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (0.5, "0.50"),
        (0.994, "0.9940"),
        (0.99987, "0.99987"),
        (0.9999987, "0.9999987"),
        (-0.9999987, "-0.9999987"),
        (1.0, "1"),
        (-1.0, "-1"),
        (-35.204, "-35.20"),
    ],
)
def test_a_share_shows_what_it_lacks_of_one(value, text):
    assert share(value) == text


def test_a_number_that_is_not_finite_has_words():
    assert number(None) == "not finite"
    assert number(1 / 3) == "0.333333"
    assert number(1 / 3, 9) == "0.333333333"


def test_an_end_far_beyond_the_digits_of_its_interval():
    assert digits(1.0, 0.01).interval(0.9, 1e30) == ("0.900", "1e+30")
    assert digits(1e-6, 1e-8).interval(0.0, 1e30) == ("(0.000", "1e+36)e-06")


@pytest.mark.parametrize(("value", "text"), [(math.nan, "nan"), (-math.inf, "-inf"), (-1e5, "-1e+05")])
def test_a_share_of_any_size(value, text):
    assert share(value) == text


def test_a_share_with_decimal_places_at_least():
    assert [share(value, 4) for value in (0.6654, 0.9999987, 0.0)] == ["0.6654", "0.9999987", "0.0000"]
