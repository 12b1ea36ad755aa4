"""Numbers with as many digits as they mean something."""

import math
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

__all__ = ["Digits", "Shown", "digits", "number", "share", "shown"]

TWO_DIGITS_BELOW = 355  # the Particle Data Group's rule: errors whose digits begin with 100 to 354 keep two, others one
MEANT = 16  # digits that a double has


class Digits(NamedTuple):
    """How the numbers are written that share an error.

    Attributes:
        place: the power of ten of the last digit.
        exponent: the power of ten that is taken out of all of them; none where none is.
    """

    place: int
    exponent: int | None

    def write(self, value: float) -> str:
        """A number to the last digit, without the power of ten that is taken out."""
        exact, out = _decimal(value), -(self.exponent or 0)
        try:
            rounded = exact.quantize(Decimal(1).scaleb(self.place)).scaleb(out)
        except InvalidOperation:  # it has more digits in front of that one than a decimal number holds
            return f"{float(exact.scaleb(out)):.3g}"
        return f"{rounded + 0:f}"  # + 0: without the sign of -0.00

    def interval(self, low: float | None, high: float | None) -> tuple[str, str]:
        """The ends of an interval, which belong to one another: `"(1.21"` and `"1.26)e-05"`; "?" of an unknown one."""
        return self._around(*("?" if end is None else self.write(end) for end in (low, high)))

    def _around(self, first: str, last: str) -> tuple[str, str]:
        """Two texts with the power of ten that is taken out of both."""
        return (first, last) if self.exponent is None else (f"({first}", f"{last})e{self.exponent:+03d}")


class Shown(NamedTuple):
    """A value and its error as text; a power of ten is taken out of both."""

    value: str
    error: str

    def __str__(self) -> str:
        return f"{self.value} ± {self.error}"


def digits(value: float, error: float) -> Digits | None:
    """The digits that an error leaves its value, by the rule of the Particle Data Group.

    Of the error's first three digits 100 to 354 leave it two, 355 to 949 one, and 950 to 999 are rounded up to 1000 and
    leave two: 0.12, 0.4, 0.10. A power of ten is taken out below 1e-4, and where the last digit is not among the ones.

    Args:
        value: any finite number.
        error: a finite number above 0.

    Returns:
        The digits; none where the error is smaller than the rounding of the value.
    """
    exact = _decimal(error)
    place = exact.adjusted() - (int(exact.scaleb(2 - exact.adjusted())) < TWO_DIGITS_BELOW)
    largest = max(abs(_decimal(value)), exact)
    if largest.adjusted() - place > MEANT:
        return None
    highest = largest.quantize(Decimal(1).scaleb(place)).adjusted()
    return Digits(place, highest if place > 0 or highest < -4 else None)


def shown(value: float, error: float) -> Shown:
    """A value with its standard error, such as 4.98 ± 0.04 or (1.234 ± 0.012)e-05.

    Args:
        value: any finite number.
        error: a finite number above 0.
    """
    found = digits(value, error)
    if found is None:
        return Shown(repr(value), f"{_decimal(error):.1e}")
    return Shown(*found._around(found.write(value), found.write(error)))


def number(value: float | None, digits: int = 6) -> str:
    """A number as a report shows it; JSON has none for what is not finite."""
    return "not finite" if value is None else f"{value:.{digits}g}"


def share(value: float, least: int = 2) -> str:
    """A number near 1, such as R2 or a correlation, with the first two digits of what it lacks of 1: 0.9999987.

    Args:
        value: the number, which may also be far below 0, or nan.
        least: how many decimal places it has at least.
    """
    lacks = 1 - abs(value)
    if 0 <= lacks < 1e-12:
        return f"{value:.0f}"
    if not abs(value) <= 99:
        return f"{value:.3g}"
    places = least if lacks < 0 else max(1 - math.floor(math.log10(lacks)), least)
    return f"{value:.{places}f}"


def _decimal(value: float) -> Decimal:
    """The number that Python writes for it: 0.0095 has the digits 950, though the nearest double lies below."""
    return Decimal(repr(float(value)))
