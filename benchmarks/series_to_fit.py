"""The very many series that throughput.py fits: Gaussians, quadratics, and Gpufit's published test; always the same."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["PARABOLA", "PEAK", "POINTS", "SPOT", "Case", "Floats", "parabolas", "peaks", "spots"]

Floats = NDArray[Any]
SEED, POINTS, NOISE = 2021, 50, 0.05
PEAK = "amplitude*exp(-(t - center)**2/(2*width**2)) + offset"
SPOT = "amplitude*exp(-((x - x0)**2 + (y - y0)**2)/(2*width**2)) + offset"
PARABOLA = "a*t**2 + b*t + c"


class Case(NamedTuple):
    """Series of one kind.

    Attributes:
        formula: the function, as gd_lightning takes it.
        function: the same for SciPy, `f(t, *params)`; t is `(T,)`, or `(K, T)` with K predictors.
        jacobian: its derivatives `(T, P)`, likewise.
        predictors: what the formula calls them.
        t: the predictors, `(T,)` or `(K, T)`.
        y: the data, `(S, T)`.
        start: where the series begin, `(P,)` or one for each, `(S, P)`.
    """

    formula: str
    function: Callable[..., Floats]
    jacobian: Callable[..., Floats]
    predictors: tuple[str, ...]
    t: Floats
    y: Floats
    start: Floats

    def first(self, count: int) -> "Case":
        """The same with so many series at most."""
        return self._replace(y=self.y[:count], start=self.start if self.start.ndim == 1 else self.start[:count])

    @property
    def starts(self) -> Floats:
        """A start for each series, `(S, P)`."""
        return np.broadcast_to(self.start, (len(self.y), self.start.shape[-1]))


def peaks(series: int, points: int = POINTS) -> Case:
    """Noisy Gaussians over an offset, in double precision, from one shared start."""
    rng = np.random.default_rng(SEED)
    t = np.linspace(0, 10, points)
    truths = rng.uniform((1, 4, 0.8, 0), (3, 6, 1.6, 1), (series, 4))
    y = peak(t, *truths.T[..., None]) + rng.normal(0, NOISE, (series, points))
    return Case(PEAK, peak, slopes_of_peak, ("t",), t, y, np.array([2.0, 5.0, 1.2, 0.5]))


def peak(t: Floats, amplitude: float, center: float, width: float, offset: float) -> Floats:
    """The Gaussian over an offset."""
    return amplitude * np.exp(-((t - center) ** 2) / (2 * width**2)) + offset


def slopes_of_peak(t: Floats, amplitude: float, center: float, width: float, offset: float) -> Floats:
    """The derivatives of the Gaussian over an offset, `(T, 4)`."""
    z = (t - center) / width
    shape = np.exp(-(z**2) / 2)
    by_center = amplitude * shape * z / width
    return np.stack([shape, by_center, by_center * z, np.ones_like(t)], axis=-1)


def parabolas(series: int) -> Case:
    """Noisy quadratics in double precision, from a shared start that is far off."""
    rng = np.random.default_rng(SEED)
    t = np.linspace(0, 10, POINTS)
    columns = np.stack([t**2, t, np.ones_like(t)], axis=-1)
    y = rng.uniform((0.5, -8, 1), (1, -4, 5), (series, 3)) @ columns.T + rng.normal(0, NOISE, (series, POINTS))
    return Case(PARABOLA, lambda t, *p: columns @ np.array(p), lambda t, *p: columns, ("t",), t, y, np.zeros(3))


def spots(series: int) -> Case:
    """Gpufit's published test in single precision: noisy 2-D Gaussians on 5 x 5 points, each from a start of its own.

    Truths scatter by 10 % about (500, 2, 2, 1, 10), starts by 10 % about the truths; the signal is 10 times the noise.
    """
    rng = np.random.default_rng(SEED)
    places = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0))).reshape(2, -1)
    truths = np.array([500, 2, 2, 1, 10]) * rng.uniform(0.9, 1.1, (series, 5))
    starts = truths * rng.uniform(0.9, 1.1, (series, 5))
    noise = 2 * np.pi * 500 / 4.292**2 / 10  # the mean height over the square as wide as the peak at a tenth of it
    y = spot(places, *truths.T[..., None]) + rng.normal(0, noise, (series, 25))
    single = (values.astype(np.float32) for values in (places, y, starts))
    return Case(SPOT, spot, slopes_of_spot, ("x", "y"), *single)


def spot(places: Floats, amplitude: float, x0: float, y0: float, width: float, offset: float) -> Floats:
    """The 2-D Gaussian over an offset; places are `(2, T)`."""
    return amplitude * np.exp(-((places[0] - x0) ** 2 + (places[1] - y0) ** 2) / (2 * width**2)) + offset


def slopes_of_spot(places: Floats, amplitude: float, x0: float, y0: float, width: float, offset: float) -> Floats:
    """The derivatives of the 2-D Gaussian over an offset, `(T, 5)`."""
    x, y = (places[0] - x0) / width, (places[1] - y0) / width
    shape = np.exp(-(x**2 + y**2) / 2)
    height = amplitude * shape / width
    return np.stack([shape, height * x, height * y, height * (x**2 + y**2), np.ones_like(x)], axis=-1)
