"""Starting values for the families, read from the data.

What there is to say for a family is which values of its nonlinear parameters are tried, and what the linear ones
multiply; `grid_search` does the rest. A polynomial, which is linear in all of them, is its least squares fit.

A guess does not depend on units: the linear parameters scale with y, and every grid is laid out
relative to t.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from gd_lightning.grid_search import LARGEST, SMALLEST, Axis, best, both_signs, even, ratios, thin

__all__ = ["Guess", "defined_for", "starts_from"]

Guess = Callable[[Tensor, Tensor], Sequence[float]]
Family = TypeVar("Family", bound=Callable[..., Any])

LINE_POINTS = 65536  # a polynomial, which needs no grid, can afford more
CENTERS = 100  # points at which a peak is looked for
PADDING = 2  # steps of a periodogram for one cycle more over the data, so that no peak falls between two
PEAKS = 40  # of its frequencies, the strongest that are tried
GAS_CONSTANT = 8.314462618  # J/(mol K), exact since 2019 but for further digits that float32 does not hold


def starts_from(guess: Guess) -> Callable[[Family], Family]:
    """Give a function its guess: `function.guess(t, y)` is one finite number for each of its parameters.

    Args:
        guess: takes the times and values of one series, float64 and of shape `(T,)`, in any order.

    Example:
        >>> @starts_from(lambda t, y: [float(y.mean())])
        ... def level(t, height):
        ...     return height + 0 * t
        >>> level.guess(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 4.0]))
        [3.0]
    """

    def attach(function: Family) -> Family:
        function.__dict__["guess"] = guess
        return function

    return attach


def defined_for(domain: str) -> Callable[[Family], Family]:
    """Give a function its domain as text: `"t > 0"` or `"t >= 0"`."""

    def attach(function: Family) -> Family:
        function.__dict__["domain"] = domain
        return function

    return attach


def span(t: Tensor) -> float:
    """The length that the data cover; their distance from 0, or 1, where that is nothing."""
    low, high = float(t.min()), float(t.max())
    return min(max(high - low or abs(low) or 1.0, SMALLEST), LARGEST)


def within(t: Tensor, y: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """The points at which a family is defined; the values at t = 1 where there are none."""
    return (t[inside], y[inside]) if inside.any() else (torch.ones_like(t), y)


def finite(*parameters: float) -> list[float]:
    """The parameters as they may be returned: none infinite, and 0 for what times that overflow left undefined."""
    return [0.0 if math.isnan(value) else min(max(value, -LARGEST), LARGEST) for value in parameters]


def polynomial_of(degree: int) -> Guess:
    """The guess of a polynomial is its least squares fit: coefficients with the lowest power first."""

    def guess(t: Tensor, y: Tensor) -> list[float]:
        t, y = thin(t, y, LINE_POINTS)
        height = float(y.abs().max()) or 1.0
        # powers of z, which runs from -1 to 1, differ far less in size than those of t
        half, middle = span(t) / 2, float(t.min()) / 2 + float(t.max()) / 2
        powers = torch.stack([((t - middle) / half) ** k for k in range(degree + 1)], dim=1)
        in_z = torch.linalg.lstsq(powers, (y / height).unsqueeze(1), driver="gelsd").solution.flatten().tolist()
        in_t = [0.0] * (degree + 1)
        for coefficient in reversed(in_z):  # Horner's scheme for polynomials: in_t <- in_t * z + coefficient
            shifted = [0.0, *in_t[:-1]]
            in_t = [(up - middle * here) / half for up, here in zip(shifted, in_t, strict=True)]
            in_t[0] += coefficient
        return finite(*(height * coefficient for coefficient in in_t))

    return guess


def linear(t: Tensor, y: Tensor) -> list[float]:
    """Least squares."""
    return list(reversed(polynomial_of(1)(t, y)))


def quadratic(t: Tensor, y: Tensor) -> list[float]:
    """Least squares."""
    return list(reversed(polynomial_of(2)(t, y)))


def cubic(t: Tensor, y: Tensor) -> list[float]:
    """Least squares."""
    return list(reversed(polynomial_of(3)(t, y)))


def logarithmic(t: Tensor, y: Tensor) -> list[float]:
    """Least squares against log(t)."""
    t, y = within(t, y, t > 0)
    intercept, slope = polynomial_of(1)(torch.log(t), y)
    return [slope, intercept]


def exponential_growth(t: Tensor, y: Tensor) -> list[float]:
    """Rates of both signs."""
    rates = both_signs(0.1 / span(t), 300 / span(t), 121)
    rate, amplitude = best(t, y, lambda t, rate: [torch.exp(rate * t)], rates)
    return finite(amplitude, rate)


def decay_times(t: Tensor, count: int) -> Axis:
    """From far shorter than the data to so long that the decay is a straight line."""
    return ratios(2e-3 * span(t), 1e2 * span(t), count)


def exponential_decay(t: Tensor, y: Tensor) -> list[float]:
    """Decay times, and slow growth away from the offset, by their rates 1/tau: through 0 lies a straight line."""
    rates = both_signs(1e-2 / span(t), 500 / span(t), 120, low=-10 / span(t))

    def columns(t: Tensor, rate: Tensor) -> list[Tensor]:
        return [torch.exp(-rate * t), torch.ones_like(t)]

    rate, amplitude, offset = best(t, y, columns, rates)
    return finite(amplitude, 1 / rate, offset)


def double_exponential(t: Tensor, y: Tensor) -> list[float]:
    """The shorter decay time, and how many times longer the other is."""

    def columns(t: Tensor, tau: Tensor, ratio: Tensor) -> list[Tensor]:
        return [torch.exp(-t / tau), torch.exp(-t / (tau * ratio))]

    tau, ratio, amplitude1, amplitude2 = best(t, y, columns, decay_times(t, 50), ratios(1.2, 300.0, 25))
    return finite(amplitude1, tau, amplitude2, tau * ratio)


def power_law(t: Tensor, y: Tensor) -> list[float]:
    """Exponents of both signs, relative to the range of log(t)."""
    t, y = within(t, y, t > 0)
    exponents = both_signs(0.1 / span(torch.log(t)), 300 / span(torch.log(t)), 121)
    exponent, amplitude = best(t, y, lambda t, exponent: [t**exponent], exponents)
    return finite(amplitude, exponent)


def arrhenius(t: Tensor, y: Tensor) -> list[float]:
    """An exponential in 1/t, whose rate is the energy over the gas constant."""
    t, y = within(t, y, t > 0)
    prefactor, rate = exponential_growth(1 / t, y)
    return finite(prefactor, -GAS_CONSTANT * rate)


def midpoints(t: Tensor, count: int) -> Axis:
    """Over the data and as far again on either side."""
    return even(float(t.min()) - span(t), float(t.max()) + span(t), count)


def slopes(t: Tensor, count: int) -> Axis:
    """Rates of both signs, from too slow to see to a jump between two points."""
    return both_signs(1 / span(t), 300 / span(t), count)


def logistic(t: Tensor, y: Tensor) -> list[float]:
    """Rates and midpoints."""

    def columns(t: Tensor, rate: Tensor, midpoint: Tensor) -> list[Tensor]:
        return [torch.sigmoid(rate * (t - midpoint))]

    rate, midpoint, maximum = best(t, y, columns, slopes(t, 41), midpoints(t, 61))
    return finite(maximum, rate, midpoint)


def gompertz(t: Tensor, y: Tensor) -> list[float]:
    """Rates and midpoints."""

    def columns(t: Tensor, rate: Tensor, midpoint: Tensor) -> list[Tensor]:
        return [torch.exp(-torch.exp(-rate * (t - midpoint)))]

    rate, midpoint, maximum = best(t, y, columns, slopes(t, 41), midpoints(t, 61))
    return finite(maximum, rate, midpoint)


def richards(t: Tensor, y: Tensor) -> list[float]:
    """Rates, midpoints and shapes from near Gompertz's curve to far beyond the logistic one."""

    def columns(t: Tensor, rate: Tensor, midpoint: Tensor, shape: Tensor) -> list[Tensor]:
        exponent = torch.log(shape) - rate * (t - midpoint)
        return [torch.exp(-torch.logaddexp(exponent, torch.zeros_like(exponent)) / shape)]

    rate, midpoint, shape, maximum = best(t, y, columns, slopes(t, 25), midpoints(t, 41), ratios(0.03, 30.0, 7))
    return finite(maximum, rate, midpoint, shape)


def hill(t: Tensor, y: Tensor) -> list[float]:
    """Half doses in even ratios over the positive doses and a decade further, exponents of both signs."""
    t, y = within(t, y, t >= 0)
    doses, _ = within(t, y, t > 0)

    def columns(t: Tensor, half: Tensor, exponent: Tensor) -> list[Tensor]:
        return [torch.sigmoid(exponent * torch.log(t / half))]

    halves = ratios(float(doses.min()) / 10, float(doses.max()) * 10, 60)
    half, exponent, maximum = best(t, y, columns, halves, both_signs(0.5, 40.0, 40))
    return finite(maximum, half, exponent)


def michaelis_menten(t: Tensor, y: Tensor) -> list[float]:
    """Half concentrations over six decades about the largest concentration."""
    t, y = within(t, y, t >= 0)
    half, maximum = best(t, y, lambda t, half: [t / (half + t)], ratios(1e-4 * span(t), 1e3 * span(t), 141))
    return finite(maximum, half)


def centers(t: Tensor) -> Axis:
    """Where data stand, since a narrow peak is seen nowhere else; between them; half as far again on either side."""
    some, _ = thin(t, t, CENTERS)
    between = even(float(t.min()) - span(t) / 2, float(t.max()) + span(t) / 2, CENTERS)
    return Axis(torch.cat([some, between.coordinates]).sort().values, between.step)


def widths(t: Tensor, count: int) -> Axis:
    """From a single point to wider than the data."""
    return ratios(3e-3 * span(t), 3 * span(t), count)


def gaussian(t: Tensor, y: Tensor) -> list[float]:
    """Centers and widths."""

    def columns(t: Tensor, center: Tensor, width: Tensor) -> list[Tensor]:
        return [torch.exp(-(((t - center) / width) ** 2) / 2)]

    center, width, amplitude = best(t, y, columns, centers(t), widths(t, 24))
    return finite(amplitude, center, width)


def lorentzian(t: Tensor, y: Tensor) -> list[float]:
    """Centers and widths."""

    def columns(t: Tensor, center: Tensor, width: Tensor) -> list[Tensor]:
        return [1 / (1 + ((t - center) / width) ** 2)]

    center, width, amplitude = best(t, y, columns, centers(t), widths(t, 24))
    return finite(amplitude, center, width)


def pseudo_voigt(t: Tensor, y: Tensor) -> list[float]:
    """Centers, widths and fractions; these as a sigmoid, since only those from 0 to 1 are a mixture."""

    def columns(t: Tensor, center: Tensor, width: Tensor, fraction: Tensor) -> list[Tensor]:
        square = ((t - center) / width) ** 2
        return [(1 - fraction) * torch.exp2(-square) + fraction / (1 + square)]

    logits = even(-3.0, 3.0, 4)
    fractions = Axis(logits.coordinates, logits.step, torch.sigmoid)
    center, width, fraction, amplitude = best(t, y, columns, centers(t), widths(t, 20), fractions)
    return finite(amplitude, center, width, fraction)


def error_function(t: Tensor, y: Tensor) -> list[float]:
    """Centers and widths."""

    def columns(t: Tensor, center: Tensor, width: Tensor) -> list[Tensor]:
        return [torch.erf((t - center) / width), torch.ones_like(t)]

    center, width, amplitude, offset = best(t, y, columns, centers(t), widths(t, 24))
    return finite(amplitude, center, width, offset)


def frequencies(t: Tensor, y: Tensor, *taus: float) -> Axis:
    """The frequencies with most power, and the lowest ones, which a periodogram does not tell apart.

    Args:
        t: times, shape `(T,)`.
        y: values, shape `(T,)`.
        *taus: decay times; the data are faded by each in turn, as the oscillation may be.
    """
    times = len(torch.unique(t))
    rest = ((t - t.min()) / span(t)).clamp(0, 1)
    # as many cells as times: exact for evenly spaced ones, and near enough for the others
    cells = (rest * (times - 1)).round().long()
    step = 1 / (PADDING * span(t))
    chosen = [even(0.05 / span(t), 4 / span(t), 80).coordinates]
    for tau in taus:
        faded = (y - y.mean()) * torch.exp(-rest / tau)
        signal = torch.zeros(times, dtype=torch.float64).index_add(0, cells, faded)
        power = torch.fft.rfft(signal, PADDING * times).abs()
        chosen.append(step * power.topk(min(PEAKS, len(power))).indices)
    return Axis(torch.unique(torch.cat(chosen)), step / 2)


def waves(t: Tensor, frequency: Tensor) -> list[Tensor]:
    """The two columns that give a wave of any amplitude and phase."""
    angle = 2 * torch.pi * frequency * t
    return [torch.sin(angle), torch.cos(angle)]


def sine(t: Tensor, y: Tensor) -> list[float]:
    """Frequencies."""

    def columns(t: Tensor, frequency: Tensor) -> list[Tensor]:
        return [*waves(t, frequency), torch.ones_like(t)]

    frequency, in_phase, ahead, offset = best(t, y, columns, frequencies(t, y, math.inf))
    return finite(math.hypot(in_phase, ahead), frequency, math.atan2(ahead, in_phase), offset)


def damped_sine(t: Tensor, y: Tensor) -> list[float]:
    """Frequencies and decay times."""

    def columns(t: Tensor, tau: Tensor, frequency: Tensor) -> list[Tensor]:
        return [*(torch.exp(-t / tau) * wave for wave in waves(t, frequency)), torch.ones_like(t)]

    taus = ratios(0.02 * span(t), 20 * span(t), 12)
    tau, frequency, in_phase, ahead, offset = best(t, y, columns, taus, frequencies(t, y, 0.1, 0.4, math.inf))
    return finite(math.hypot(in_phase, ahead), tau, frequency, math.atan2(ahead, in_phase), offset)


def rational(t: Tensor, y: Tensor) -> list[float]:
    """Denominators without a zero among the data, by their values at both ends relative to that in the middle."""
    half, middle = span(t) / 2, (float(t.min()) / 2 + float(t.max()) / 2) / (span(t) / 2)

    def powers(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The parabola through left, 1 and right as coefficients of 1, t and t**2."""
        slope, bend = (right - left) / 2, (right + left) / 2 - 1
        return 1 - slope * middle + bend * middle**2, slope - 2 * bend * middle, bend

    def columns(t: Tensor, left: Tensor, right: Tensor) -> list[Tensor]:
        constant, slope, bend = powers(left, right)
        denominator = constant + slope * t + bend * t**2
        positive = (denominator > 0).all(dim=1, keepdim=True)
        inverse = torch.where(positive, constant / denominator, torch.nan)
        return [inverse, t * inverse]

    ends = ratios(1e-3, 1e3, 61)
    left, right, a, b = best(t / half, y, columns, ends, ends)
    constant, slope, bend = (float(power) for power in powers(*torch.tensor([left, right], dtype=torch.float64)))
    at_zero = constant or SMALLEST
    return finite(a, b / half, slope / at_zero / half, bend / at_zero / half / half)
