"""Families of curves: plain functions of t, each with its parameters in its signature.

A family computes with whatever broadcasts, so that scalars give one curve and tensors with leading
axes give many; autodiff gives its derivatives. The first line of its docstring is its equation, the
next sentence says what it is for. Where it starts a fit from, and for which t it is defined, stand
above it: `family.guess(t, y)` and `family.domain`.
"""

import inspect
from collections.abc import Callable

import torch
from torch import Tensor

from gd_lightning import guesses
from gd_lightning.errors import InputError
from gd_lightning.guesses import defined_for, starts_from
from gd_lightning.listing import polynomial_text

__all__ = [
    "arrhenius",
    "cubic",
    "damped_sine",
    "double_exponential",
    "error_function",
    "exponential_decay",
    "exponential_growth",
    "gaussian",
    "gompertz",
    "hill",
    "linear",
    "logarithmic",
    "logistic",
    "lorentzian",
    "michaelis_menten",
    "polynomial",
    "power_law",
    "pseudo_voigt",
    "quadratic",
    "rational",
    "richards",
    "sine",
]

HIGHEST_DEGREE = 20  # beyond it the powers of t differ too much in size for float64


@starts_from(guesses.linear)
def linear(t: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """y = a*t + b

    A straight line: a trend, a calibration, a constant speed.

    Args:
        t: independent variable, shape `(*batch, T)`.
        a: slope, in units of y per unit of t; scalar or `(*batch, 1)`, like every parameter.
        b: value at t = 0, in units of y.

    Returns:
        y, shape `(*batch, T)`.
    """
    return a * t + b


@starts_from(guesses.quadratic)
def quadratic(t: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """y = a*t**2 + b*t + c

    The curve of the article (Awan, 2021): a parabola with its vertex at t = -b / (2*a).

    Args:
        t: independent variable, shape `(*batch, T)`.
        a: half the second derivative, in units of y per unit of t squared; scalar or `(*batch, 1)`.
        b: slope at t = 0, in units of y per unit of t.
        c: value at t = 0, in units of y.

    Returns:
        y, shape `(*batch, T)`.
    """
    return a * t**2 + b * t + c


@starts_from(guesses.cubic)
def cubic(t: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """y = a*t**3 + b*t**2 + c*t + d

    The lowest polynomial with a turn each way: a trend that bends twice.

    Args:
        t: independent variable, shape `(*batch, T)`.
        a: a sixth of the third derivative, in units of y per unit of t cubed; scalar or `(*batch, 1)`.
        b: half the second derivative at t = 0.
        c: slope at t = 0.
        d: value at t = 0, in units of y.

    Returns:
        y, shape `(*batch, T)`.
    """
    return a * t**3 + b * t**2 + c * t + d


def polynomial(t: Tensor, *coefficients: Tensor) -> Tensor:
    """y = c0 + c1*t + c2*t**2 + ...

    A polynomial of any degree: a smooth trend of which nothing else is known.

    Computed from the highest power down, which takes one multiplication for each coefficient (Horner,
    1819). `polynomial_of` gives the one of a certain degree, with its coefficients by name.

    Args:
        t: independent variable, shape `(*batch, T)`.
        *coefficients: c0, c1, c2, ..., the lowest power first; ck is in units of y per unit of t to the k.

    Returns:
        y, shape `(*batch, T)`.
    """
    y = torch.zeros_like(t)
    for coefficient in reversed(coefficients):
        y = y * t + coefficient
    return y


def polynomial_of(degree: int) -> Callable[..., Tensor]:
    """Make the polynomial of one degree, whose signature names its coefficients.

    Args:
        degree: the highest power of t, 0 to 20.

    Returns:
        `f(t, c0, c1, ..., c<degree>)`, a family like the others: with name, equation and guess.

    Raises:
        InputError: the degree is no whole number from 0 to 20.
    """
    if type(degree) is not int or not 0 <= degree <= HIGHEST_DEGREE:
        raise InputError(f"polynomial: given degree {degree!r}, expected a whole number from 0 to {HIGHEST_DEGREE}")
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = ["t", *(f"c{power}" for power in range(degree + 1))]
    signature = inspect.Signature([inspect.Parameter(name, kind, annotation=Tensor) for name in names])

    @starts_from(guesses.polynomial_of(degree))
    def family(*args: Tensor, **kwargs: Tensor) -> Tensor:
        return polynomial(*signature.bind(*args, **kwargs).args)

    family.__dict__["__signature__"] = signature.replace(return_annotation=Tensor)
    family.__name__ = family.__qualname__ = f"polynomial({degree})"
    family.__doc__ = polynomial_text(degree)
    return family


@starts_from(guesses.exponential_growth)
def exponential_growth(t: Tensor, amplitude: Tensor, rate: Tensor) -> Tensor:
    """y = amplitude*exp(rate*t)

    Growth, or decay where the rate is negative, in proportion to what is there: populations, interest, epidemics.

    Args:
        t: independent variable, shape `(*batch, T)`.
        amplitude: value at t = 0, in units of y; scalar or `(*batch, 1)`, like every parameter.
        rate: relative growth per unit of t; y doubles in log(2)/rate.

    Returns:
        y, shape `(*batch, T)`.

    Source: Malthus 1798.
    """
    return amplitude * torch.exp(rate * t)


@starts_from(guesses.exponential_decay)
def exponential_decay(t: Tensor, amplitude: Tensor, tau: Tensor, offset: Tensor) -> Tensor:
    """y = amplitude*exp(-t/tau) + offset

    An approach to a resting value: radioactivity over its background, a discharging capacitor, a cooling body.

    Args:
        t: independent variable, shape `(*batch, T)`.
        amplitude: height over the resting value at t = 0, in units of y; scalar or `(*batch, 1)`, like every parameter.
        tau: time in which the height falls to 1/e, in units of t.
        offset: the resting value, in units of y.

    Returns:
        y, shape `(*batch, T)`.

    Source: Newton 1701 for cooling, Rutherford and Soddy 1902 for radioactivity.
    """
    return amplitude * torch.exp(-t / tau) + offset


@starts_from(guesses.double_exponential)
def double_exponential(t: Tensor, amplitude1: Tensor, tau1: Tensor, amplitude2: Tensor, tau2: Tensor) -> Tensor:
    """y = amplitude1*exp(-t/tau1) + amplitude2*exp(-t/tau2)

    Two decays at once: two isotopes, two compartments that a drug leaves, fast and slow fluorescence.

    The two may change places without a change of y; the guess has the shorter time first.

    Args:
        t: independent variable, shape `(*batch, T)`.
        amplitude1: the first decay at t = 0, in units of y; scalar or `(*batch, 1)`, like every parameter.
        tau1: time in which it falls to 1/e, in units of t.
        amplitude2: the second decay at t = 0, in units of y.
        tau2: time in which it falls to 1/e, in units of t.

    Returns:
        y, shape `(*batch, T)`.

    Source: Bateman 1910.
    """
    return amplitude1 * torch.exp(-t / tau1) + amplitude2 * torch.exp(-t / tau2)


@defined_for("t > 0")
@starts_from(guesses.power_law)
def power_law(t: Tensor, amplitude: Tensor, exponent: Tensor) -> Tensor:
    """y = amplitude*t**exponent

    A straight line on paper with two logarithmic axes: scaling laws in biology, physics and cities.

    Args:
        t: independent variable, shape `(*batch, T)`.
        amplitude: value at t = 1, in units of y; scalar or `(*batch, 1)`, like every parameter.
        exponent: relative change of y for a relative change of t, without unit.

    Returns:
        y, shape `(*batch, T)`.

    Defined for t > 0.

    Source: Pareto 1896 for incomes, Kleiber 1932 for metabolic rates.
    """
    return amplitude * t**exponent


@defined_for("t > 0")
@starts_from(guesses.logarithmic)
def logarithmic(t: Tensor, slope: Tensor, intercept: Tensor) -> Tensor:
    """y = slope*log(t) + intercept

    Equal steps of y for equal ratios of t: sensation against stimulus, wind speed against height.

    Args:
        t: independent variable, shape `(*batch, T)`.
        slope: change of y when t grows e-fold, in units of y; scalar or `(*batch, 1)`, like every parameter.
        intercept: value at t = 1, in units of y.

    Returns:
        y, shape `(*batch, T)`.

    Defined for t > 0.

    Source: Fechner 1860.
    """
    return slope * torch.log(t) + intercept


@starts_from(guesses.logistic)
def logistic(t: Tensor, maximum: Tensor, rate: Tensor, midpoint: Tensor) -> Tensor:
    """y = maximum/(1 + exp(-rate*(t - midpoint)))

    Growth that slows in proportion to the room left: populations, the spread of a product, a learning curve.

    Args:
        t: independent variable, shape `(*batch, T)`.
        maximum: the level that y approaches, in units of y; scalar or `(*batch, 1)`, like every parameter.
        rate: relative growth at the outset, per unit of t; negative for a curve that falls.
        midpoint: where y is half the maximum, in units of t.

    Returns:
        y, shape `(*batch, T)`.

    Source: Verhulst 1838.
    """
    return maximum * torch.sigmoid(rate * (t - midpoint))


@starts_from(guesses.gompertz)
def gompertz(t: Tensor, maximum: Tensor, rate: Tensor, midpoint: Tensor) -> Tensor:
    """y = maximum*exp(-exp(-rate*(t - midpoint)))

    Growth that rises fast and settles slowly: tumours, bacteria, mortality.

    Args:
        t: independent variable, shape `(*batch, T)`.
        maximum: the level that y approaches, in units of y; scalar or `(*batch, 1)`, like every parameter.
        rate: how fast the relative growth fades, per unit of t.
        midpoint: where the curve is steepest and y = maximum/e, in units of t.

    Returns:
        y, shape `(*batch, T)`.

    Source: Gompertz 1825.
    """
    # exp(-exp(80)) is 0 already; the clamp keeps exp(...) finite in float32, and with it the gradient
    return maximum * torch.exp(-torch.exp((-rate * (t - midpoint)).clamp(max=80)))


@starts_from(guesses.richards)
def richards(t: Tensor, maximum: Tensor, rate: Tensor, midpoint: Tensor, shape: Tensor) -> Tensor:
    """y = maximum*(1 + shape*exp(-rate*(t - midpoint)))**(-1/shape)

    Growth whose steepest point lies at any height: logistic for shape = 1, near Gompertz's for a small shape.

    Args:
        t: independent variable, shape `(*batch, T)`.
        maximum: the level that y approaches, in units of y; scalar or `(*batch, 1)`, like every parameter.
        rate: how fast y approaches it in the end, per unit of t.
        midpoint: where the curve is steepest, in units of t.
        shape: where that is in height, without unit: y = maximum*(1 + shape)**(-1/shape) there.

    Returns:
        y, shape `(*batch, T)`.

    Defined for shape > 0.

    Source: Richards 1959.
    """
    # log(1 + shape*exp(z)) by logaddexp, since exp(z) alone overflows far below the midpoint
    exponent = torch.log(shape * torch.ones_like(t)) - rate * (t - midpoint)
    return maximum * torch.exp(-torch.logaddexp(exponent, torch.zeros_like(exponent)) / shape)


@defined_for("t >= 0")
@starts_from(guesses.hill)
def hill(t: Tensor, maximum: Tensor, half: Tensor, exponent: Tensor) -> Tensor:
    """y = maximum*t**exponent/(half**exponent + t**exponent)

    The response to a dose: oxygen on haemoglobin, a drug on its receptor; it falls where the exponent is negative.

    Args:
        t: dose or concentration, shape `(*batch, T)`.
        maximum: the level that y approaches, in units of y; scalar or `(*batch, 1)`, like every parameter.
        half: dose at which y is half the maximum, in units of t; positive.
        exponent: steepness, without unit; above 1 the bound ones help the next to bind.

    Returns:
        y, shape `(*batch, T)`.

    Defined for t >= 0.

    Source: Hill 1910.
    """
    # the same quotient as a sigmoid of log(t), which no power overflows; at t = 0, whose logarithm has no
    # gradient, stands the limit: 0 for a positive exponent, the maximum for a negative one
    inside = t > 0
    response = torch.sigmoid(exponent * torch.log(torch.where(inside, t, 1.0) / half))
    limit = 0.5 - 0.5 * torch.sign(exponent * torch.ones_like(t))
    return maximum * torch.where(inside, response, limit)


@defined_for("t >= 0")
@starts_from(guesses.michaelis_menten)
def michaelis_menten(t: Tensor, maximum: Tensor, half: Tensor) -> Tensor:
    """y = maximum*t/(half + t)

    The speed of a reaction against the concentration of what an enzyme turns over.

    Args:
        t: concentration, shape `(*batch, T)`.
        maximum: the speed when every enzyme is busy, in units of y; scalar or `(*batch, 1)`, like every parameter.
        half: concentration at which the speed is half of that, in units of t; positive.

    Returns:
        y, shape `(*batch, T)`.

    Defined for t >= 0.

    Source: Michaelis and Menten 1913.
    """
    return maximum * t / (half + t)


@defined_for("t > 0")
@starts_from(guesses.arrhenius)
def arrhenius(t: Tensor, prefactor: Tensor, energy: Tensor) -> Tensor:
    """y = prefactor*exp(-energy/(8.314462618*t))

    The rate of a reaction against temperature, with the gas constant 8.314462618 J/(mol K).

    Args:
        t: absolute temperature in kelvin, shape `(*batch, T)`.
        prefactor: value at infinite temperature, in units of y; scalar or `(*batch, 1)`, like every parameter.
        energy: activation energy, in J/mol.

    Returns:
        y, shape `(*batch, T)`.

    Defined for t > 0.

    Source: Arrhenius 1889.
    """
    return prefactor * torch.exp(-energy / (guesses.GAS_CONSTANT * t))


@starts_from(guesses.gaussian)
def gaussian(t: Tensor, amplitude: Tensor, center: Tensor, width: Tensor) -> Tensor:
    """y = amplitude*exp(-(t - center)**2/(2*width**2))

    A bell: a chromatographic peak, a laser spot, a line broadened by motion.

    Args:
        t: independent variable, shape `(*batch, T)`.
        amplitude: height of the peak, in units of y; scalar or `(*batch, 1)`, like every parameter.
        center: where it stands, in units of t.
        width: standard deviation, in units of t; the full width at half maximum is 2.355 times this.

    Returns:
        y, shape `(*batch, T)`.

    Source: Gauss 1809.
    """
    return amplitude * torch.exp(-(((t - center) / width) ** 2) / 2)


@starts_from(guesses.lorentzian)
def lorentzian(t: Tensor, amplitude: Tensor, center: Tensor, width: Tensor) -> Tensor:
    """y = amplitude/(1 + ((t - center)/width)**2)

    A peak with long tails: a resonance, a spectral line with its natural breadth.

    Args:
        t: independent variable, shape `(*batch, T)`.
        amplitude: height of the peak, in units of y; scalar or `(*batch, 1)`, like every parameter.
        center: where it stands, in units of t.
        width: half width at half maximum, in units of t.

    Returns:
        y, shape `(*batch, T)`.

    Source: Lorentz 1906.
    """
    return amplitude / (1 + ((t - center) / width) ** 2)


@starts_from(guesses.pseudo_voigt)
def pseudo_voigt(t: Tensor, amplitude: Tensor, center: Tensor, width: Tensor, fraction: Tensor) -> Tensor:
    """y = amplitude*((1 - fraction)*2**(-((t - center)/width)**2) + fraction/(1 + ((t - center)/width)**2))

    A peak between Gaussian and Lorentzian, both of the same breadth: diffraction peaks, spectral lines.

    Args:
        t: independent variable, shape `(*batch, T)`.
        amplitude: height of the peak, in units of y; scalar or `(*batch, 1)`, like every parameter.
        center: where it stands, in units of t.
        width: half width at half maximum, in units of t.
        fraction: share of the Lorentzian, 0 to 1.

    Returns:
        y, shape `(*batch, T)`.

    Source: Wertheim and others 1974.
    """
    square = ((t - center) / width) ** 2
    return amplitude * ((1 - fraction) * torch.exp2(-square) + fraction / (1 + square))


@starts_from(guesses.sine)
def sine(t: Tensor, amplitude: Tensor, frequency: Tensor, phase: Tensor, offset: Tensor) -> Tensor:
    """y = amplitude*sin(2*pi*frequency*t + phase) + offset

    A steady oscillation about a mean: tides, mains voltage, the seasons.

    Args:
        t: independent variable, shape `(*batch, T)`.
        amplitude: height above the mean, in units of y; scalar or `(*batch, 1)`, like every parameter.
        frequency: cycles per unit of t.
        phase: angle at t = 0, in radians.
        offset: the mean, in units of y.

    Returns:
        y, shape `(*batch, T)`.

    Source: Fourier 1822.
    """
    return amplitude * torch.sin(2 * torch.pi * frequency * t + phase) + offset


@starts_from(guesses.damped_sine)
def damped_sine(t: Tensor, amplitude: Tensor, tau: Tensor, frequency: Tensor, phase: Tensor, offset: Tensor) -> Tensor:
    """y = amplitude*exp(-t/tau)*sin(2*pi*frequency*t + phase) + offset

    An oscillation that dies away: a struck bell, a pendulum in air, a nuclear spin after its pulse.

    Args:
        t: independent variable, shape `(*batch, T)`.
        amplitude: height above the mean at t = 0, in units of y; scalar or `(*batch, 1)`, like every parameter.
        tau: time in which the height falls to 1/e, in units of t.
        frequency: cycles per unit of t.
        phase: angle at t = 0, in radians.
        offset: the mean, in units of y.

    Returns:
        y, shape `(*batch, T)`.

    Source: Helmholtz 1863.
    """
    return amplitude * torch.exp(-t / tau) * torch.sin(2 * torch.pi * frequency * t + phase) + offset


@starts_from(guesses.error_function)
def error_function(t: Tensor, amplitude: Tensor, center: Tensor, width: Tensor, offset: Tensor) -> Tensor:
    """y = amplitude*erf((t - center)/width) + offset

    A soft step: a diffusion front, the edge of a beam cut by a knife, a threshold with normal scatter.

    Args:
        t: independent variable, shape `(*batch, T)`.
        amplitude: half the height of the step, in units of y; scalar or `(*batch, 1)`, like every parameter.
        center: the middle of the step, in units of t.
        width: its breadth, in units of t; the scatter's standard deviation is width/sqrt(2).
        offset: value in the middle, in units of y.

    Returns:
        y, shape `(*batch, T)`.

    Source: Glaisher 1871.
    """
    return amplitude * torch.erf((t - center) / width) + offset


@starts_from(guesses.rational)
def rational(t: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """y = (a + b*t)/(1 + c*t + d*t**2)

    A straight line over a parabola: calibrations, yield against density, an enzyme that its substrate slows.

    Args:
        t: independent variable, shape `(*batch, T)`.
        a: value at t = 0, in units of y; scalar or `(*batch, 1)`, like every parameter.
        b: slope of the numerator, in units of y per unit of t.
        c: slope of the denominator at t = 0, per unit of t.
        d: half its second derivative, per unit of t squared.

    Returns:
        y, shape `(*batch, T)`.

    Defined where the denominator is not 0.

    Source: Padé 1892.
    """
    return (a + b * t) / (1 + c * t + d * t**2)
