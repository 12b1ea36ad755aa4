"""How often `compare` finds the function that made the data: python benchmarks/choosing.py [cases] [seed].

Synthetic series, the families in turn, each with random parameters that make its shape visible, 30 to 200 points and
noise of 1 to 10 % of the range. All 22 families are fitted to each. Counted is how often the one that made the data is
ranked first by AICc, and how often within 2 of the first. The curves are computed here by NumPy and SciPy alone. Of
each miss it tells whether SciPy, started at the true parameters, finds a better fit than ours did: then the start is at
fault; otherwise another function does describe these data better.
"""

import math
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares  # type: ignore[import-untyped]
from scipy.special import erf, expit  # type: ignore[import-untyped]

from gd_lightning import compare

CASES, SEED = 500, 2021
POINTS = (30, 200)
NOISE = (0.01, 0.1)  # standard deviation, relative to the range of the curve
NEAR = 2.0
GAS_CONSTANT = 8.314462618

Floats = NDArray[np.float64]

CURVES: dict[str, Callable[..., Floats]] = {
    "linear": lambda t, a, b: a * t + b,
    "quadratic": lambda t, a, b, c: a * t**2 + b * t + c,
    "cubic": lambda t, a, b, c, d: a * t**3 + b * t**2 + c * t + d,
    "polynomial": lambda t, c0, c1, c2, c3, c4: c0 + c1 * t + c2 * t**2 + c3 * t**3 + c4 * t**4,
    "exponential_growth": lambda t, amplitude, rate: amplitude * np.exp(rate * t),
    "exponential_decay": lambda t, amplitude, tau, offset: amplitude * np.exp(-t / tau) + offset,
    "double_exponential": lambda t, a1, tau1, a2, tau2: a1 * np.exp(-t / tau1) + a2 * np.exp(-t / tau2),
    "power_law": lambda t, amplitude, exponent: amplitude * t**exponent,
    "logarithmic": lambda t, slope, intercept: slope * np.log(t) + intercept,
    "logistic": lambda t, maximum, rate, midpoint: maximum * expit(rate * (t - midpoint)),
    "gompertz": lambda t, maximum, rate, midpoint: maximum * np.exp(-np.exp(-rate * (t - midpoint))),
    "richards": lambda t, maximum, rate, midpoint, shape: (
        maximum * (1 + shape * np.exp(-rate * (t - midpoint))) ** (-1 / shape)
    ),
    "hill": lambda t, maximum, half, exponent: maximum / (1 + (half / t) ** exponent),
    "michaelis_menten": lambda t, maximum, half: maximum * t / (half + t),
    "arrhenius": lambda t, prefactor, energy: prefactor * np.exp(-energy / (GAS_CONSTANT * t)),
    "gaussian": lambda t, amplitude, center, width: amplitude * np.exp(-(((t - center) / width) ** 2) / 2),
    "lorentzian": lambda t, amplitude, center, width: amplitude * width**2 / (width**2 + (t - center) ** 2),
    "pseudo_voigt": lambda t, amplitude, center, width, fraction: (
        amplitude * (1 - fraction) * np.exp(-math.log(2) * ((t - center) / width) ** 2)
        + amplitude * fraction * width**2 / (width**2 + (t - center) ** 2)
    ),
    "sine": lambda t, amplitude, frequency, phase, offset: (
        amplitude * np.sin(2 * np.pi * frequency * t + phase) + offset
    ),
    "damped_sine": lambda t, amplitude, tau, frequency, phase, offset: (
        amplitude * np.exp(-t / tau) * np.sin(2 * np.pi * frequency * t + phase) + offset
    ),
    "error_function": lambda t, amplitude, center, width, offset: amplitude * erf((t - center) / width) + offset,
    "rational": lambda t, a, b, c, d: (a + b * t) / (1 + c * t + d * t**2),
}


class Draw:
    """Random numbers for one case.

    Attributes:
        t: the span of the data.
        y: the size of the curve, of either sign.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.t, self.y = self.log(0.1, 100), self.sign() * self.log(0.1, 100)

    def log(self, low: float, high: float) -> float:
        """A number from low to high, each ratio equally likely."""
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def part(self, low: float, high: float) -> float:
        """A part of the span, evenly."""
        return float(self.t * self.rng.uniform(low, high))

    def uniform(self, low: float, high: float) -> float:
        """A number from low to high."""
        return float(self.rng.uniform(low, high))

    def sign(self) -> float:
        """1 or -1."""
        return float(self.rng.choice([-1.0, 1.0]))

    def with_turns(self, *turns: float) -> list[float]:
        """Coefficients, the highest power first, of a polynomial that turns at these parts of the span, and a level."""
        inside = np.polyint(np.poly(turns))
        at = np.linspace(0, 1, 101)
        inside /= np.ptp(np.polyval(inside, at))
        inside[-1] += self.rng.normal()
        return [float(self.y * c / self.t**k) for c, k in zip(inside, range(len(inside) - 1, -1, -1), strict=True)]


# From where on the span begins, in its own units, and the true parameters.
TRUTHS: dict[str, Callable[[Draw], tuple[float, list[float]]]] = {
    "linear": lambda d: (0.02, [d.y / d.t, d.y * d.rng.normal()]),
    "quadratic": lambda d: (0.02, d.with_turns(d.uniform(0.2, 0.8))),
    "cubic": lambda d: (0.02, d.with_turns(d.uniform(0.15, 0.35), d.uniform(0.65, 0.85))),
    "polynomial": lambda d: (
        0.02,
        d.with_turns(d.uniform(0.1, 0.2), d.uniform(0.45, 0.55), d.uniform(0.8, 0.9))[::-1],
    ),
    "exponential_growth": lambda d: (0.02, [d.y, d.sign() * d.log(1.5, 5) / d.t]),
    "exponential_decay": lambda d: (0.02, [d.y, d.part(0.15, 0.5), d.y * d.sign() * d.log(0.3, 2)]),
    "double_exponential": lambda d: (0.02, [d.y, d.part(0.04, 0.08), d.y * d.log(0.7, 1.5), d.part(0.5, 1.2)]),
    "power_law": lambda d: (0.05, [d.y / d.t ** (power := float(d.rng.choice([-0.7, 0.4, 0.6, 1.5, 2.5]))), power]),
    "logarithmic": lambda d: (0.02, [d.y, d.y * (d.rng.normal() - math.log(d.t))]),
    "logistic": lambda d: (0.02, [d.y, d.sign() * d.log(8, 20) / d.t, d.part(0.3, 0.7)]),
    "gompertz": lambda d: (0.02, [d.y, d.sign() * d.log(6, 15) / d.t, d.part(0.3, 0.7)]),
    "richards": lambda d: (0.02, [d.y, d.sign() * d.log(15, 30) / d.t, d.part(0.4, 0.6), d.log(4, 10)]),
    "hill": lambda d: (0.02, [d.y, d.part(0.2, 0.5), d.sign() * d.log(1.8, 5)]),
    "michaelis_menten": lambda d: (0.02, [d.y, d.part(0.05, 0.5)]),
    "arrhenius": lambda d: (d.uniform(1, 2), [d.y, GAS_CONSTANT * d.t * d.log(5, 20)]),
    "gaussian": lambda d: (0.02, [d.y, d.part(0.3, 0.7), d.part(0.05, 0.2)]),
    "lorentzian": lambda d: (0.02, [d.y, d.part(0.3, 0.7), d.part(0.04, 0.15)]),
    "pseudo_voigt": lambda d: (0.02, [d.y, d.part(0.4, 0.6), d.part(0.07, 0.15), d.uniform(0.35, 0.65)]),
    "sine": lambda d: (0.02, [d.y, d.uniform(1.5, 6) / d.t, d.uniform(-3, 3), d.y * d.rng.normal()]),
    "damped_sine": lambda d: (
        0.02,
        [d.y, d.part(0.2, 0.7), d.uniform(2, 8) / d.t, d.uniform(-3, 3), d.y * d.rng.normal()],
    ),
    "error_function": lambda d: (
        0.02,
        [d.y, d.part(0.3, 0.7), d.part(0.05, 0.25), d.y * d.sign() * d.uniform(1.5, 3)],
    ),
    "rational": lambda d: (0.02, [d.y, -d.y / d.part(0.2, 0.5), d.log(0.5, 2) / d.t, d.log(5, 20) / d.t**2]),
}


class Case(NamedTuple):
    """One series, and what made it."""

    family: str
    params: list[float]
    t: Floats
    y: Floats
    noise: float


class Outcome(NamedTuple):
    """What the comparison said of one case.

    Attributes:
        place: of the function that made the data, from 1; 0 where it was not fitted.
        difference: its AICc minus the lowest.
        lost: whether SciPy finds a better fit of it from the true parameters.
        bic: its BIC minus the lowest.
    """

    case: Case
    place: int
    first: str
    difference: float
    lost: bool
    bic: float


def make(number: int, seed: int) -> Case:
    """The case of a number: the families take turns."""
    rng = np.random.default_rng([seed, number])
    names = sorted(CURVES)
    family = names[number % len(names)]
    draw = Draw(rng)
    begin, params = TRUTHS[family](draw)
    count = int(rng.integers(POINTS[0], POINTS[1] + 1))
    u = np.linspace(0, 1, count) if rng.random() < 0.5 else np.sort(rng.random(count))
    t = draw.t * (begin + u)
    clean = CURVES[family](t, *params)
    noise = draw.log(*NOISE)
    return Case(family, params, t, clean + noise * np.ptp(clean) * rng.normal(size=count), noise)


def judge(number: int, seed: int, functions: Sequence[str] | None = None) -> Outcome:
    """Compare families on one case, all unless given."""
    torch.set_num_threads(1)
    case = make(number, seed)
    found = compare(case.t, case.y, functions)
    names = [row.function for row in found.rows]
    row = found.rows[names.index(case.family)]
    place = names.index(case.family) + 1 if row.fitted else 0
    difference = row.difference if row.fitted else math.inf
    lost = difference > NEAR and is_lost(case, row.rmse)
    bics = {one.function: float(one.goodness.bic) for one in found.fitted if one.goodness is not None}
    bic = bics.get(case.family, math.inf) - min(bics.values())
    return Outcome(case, place, names[0], difference, lost, bic)


def is_lost(case: Case, rmse: float) -> bool:
    """Whether a fit from the true parameters comes nearer to the data than one that has this RMSE."""
    params = np.array(case.params)

    def residuals(values: Floats) -> Any:
        return (CURVES[case.family](case.t, *values) - case.y) / np.ptp(case.y)

    with np.errstate(all="ignore"):
        best = least_squares(residuals, params, x_scale=np.where(params == 0, 1, np.abs(params)), max_nfev=2000)
    ours = 0.5 * len(case.t) * (rmse / float(np.ptp(case.y))) ** 2
    return not ours <= best.cost * (1 + 1e-4)


def line(number: int, outcome: Outcome) -> str:
    """What is told of a miss."""
    case, why = outcome.case, "START AT FAULT" if outcome.lost else "the other fits better"
    told = f"{number:>4} {case.family:<20} {outcome.first:<20} {outcome.difference:>7.2f}"
    return f"{told} n={len(case.t):<4} {case.noise:>5.1%} {why}"


def main(cases: int = CASES, seed: int = SEED) -> None:
    """Run them and print the tables."""
    with ProcessPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        outcomes = []
        for one in pool.map(judge, range(cases), [seed] * cases):
            outcomes.append(one)
            if one.difference > NEAR:
                print(line(len(outcomes) - 1, one), file=sys.stderr)
    print(f"{cases} cases, seed {seed}\n")
    print(f"{'family':<20} cases  first  within {NEAR:g}")
    for family in sorted(CURVES):
        own = [one for one in outcomes if one.case.family == family]
        if own:
            first, near = sum(one.place == 1 for one in own), sum(one.difference <= NEAR for one in own)
            print(f"{family:<20} {len(own):>5} {first:>6} {near:>9}")
    first, near = sum(one.place == 1 for one in outcomes), sum(one.difference <= NEAR for one in outcomes)
    print(f"{'all':<20} {len(outcomes):>5} {first:>6} {near:>9}")
    print(f"\nranked first {first / cases:.1%}; first or within {NEAR:g} AICc of it {near / cases:.1%}")
    first, near = sum(one.bic == 0 for one in outcomes), sum(one.bic <= NEAR for one in outcomes)
    print(f"by BIC: ranked first {first / cases:.1%}; first or within {NEAR:g} of it {near / cases:.1%}")
    print("\nMisses: who came first, by how much, points, noise, and whether the start is at fault")
    for number, one in enumerate(outcomes):
        if one.difference > NEAR:
            print(line(number, one))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
