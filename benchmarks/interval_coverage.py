"""How often intervals hold the true parameters: python benchmarks/interval_coverage.py [number of series].

Each line fits one function to many synthetic series with normal noise, side by side in one call, and counts how often
the interval of each parameter holds the value that the series were made with. The limits are those of the binomial
distribution, between which 99.9 % of the counts of exact intervals lie.
"""

import math
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom

from gd_lightning import fit

SERIES = 2000
LEVELS = (0.68, 0.95)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A function, its true parameters, where it is observed, and the noise.

    Attributes:
        function: as a formula in numpy's words, too.
        truth: the parameters by name.
        end: points lie evenly from 0 to it.
        points: how many.
        noise: mean standard deviation of y.
        sigma: what is told of it: "none", of noise that is the same everywhere; "relative" or "absolute", of noise that
            grows along t to three times its least.
        loss: what is descended.
    """

    function: str
    truth: dict[str, float]
    end: float
    points: int
    noise: float
    sigma: str = "none"
    loss: str = "mse"

    @property
    def t(self) -> Floats:
        """Where it is observed, `(T,)`."""
        return np.linspace(0.0, self.end, self.points)

    def deviations(self) -> Floats:
        """Standard deviations of y, `(T,)`."""
        grows = np.linspace(0.5, 1.5, self.points) if self.sigma != "none" else np.ones(self.points)
        return self.noise * grows

    def curve(self) -> Floats:
        """The true y, `(T,)`."""
        known = {"exp": np.exp, "t": self.t, **self.truth}
        return np.asarray(eval(self.function, {"__builtins__": {}}, known))


QUADRATIC = ("a*t**2 + b*t + c", {"a": 0.8, "b": -12.0, "c": 46.0}, 19.0)
DECAY = ("a*exp(-k*t) + c", {"a": 2.0, "k": 1.2, "c": 0.5}, 4.0)
GAUSSIAN = ("h*exp(-(t - m)**2/(2*w**2))", {"h": 2.0, "m": 2.2, "w": 0.6}, 4.0)
CASES = [
    *(Case(*QUADRATIC, points, 1.4, sigma) for points in (20, 50) for sigma in ("none", "relative", "absolute")),
    *(Case(*DECAY, points, 0.1, sigma) for points in (20, 50) for sigma in ("none", "relative", "absolute")),
    *(Case(*GAUSSIAN, points, 0.1, sigma) for points in (20, 50) for sigma in ("none", "relative", "absolute")),
    Case(*QUADRATIC, 20, 1.4, loss="huber(1.4)"),
    Case(*QUADRATIC, 50, 1.4, loss="cauchy(3)"),
]


class Coverage(NamedTuple):
    """What was counted.

    Attributes:
        covering: how many intervals of each parameter cover it, by level, then by name.
        series: of how many.
        arrived: how many fits ended at a minimum.
    """

    covering: dict[float, dict[str, int]]
    series: int
    arrived: int


def coverage(case: Case, series: int = SERIES, seed: int = 2021, levels: tuple[float, ...] = LEVELS) -> Coverage:
    """Fit a case's function to so many series and count the intervals that hold the truth."""
    noise = np.random.default_rng(seed).normal(size=(series, case.points))
    deviations = case.deviations()
    sigma = None
    if case.sigma == "relative":
        sigma = 7 * deviations  # whose unit nobody knows
    elif case.sigma == "absolute":
        sigma = deviations
    result = fit(
        case.function,
        case.t,
        case.curve() + deviations * noise,
        sigma=sigma,
        absolute_sigma=case.sigma == "absolute",
        init=case.truth,
        loss=case.loss,
    )
    covering: dict[float, dict[str, int]] = {}
    for level in levels:
        intervals = result.intervals(level)
        covering[level] = {
            name: int(((low <= case.truth[name]) & (case.truth[name] <= high)).sum())
            for name, (low, high) in intervals.items()
        }
    return Coverage(covering, series, int(result.arrived.sum()))


def limits(level: float, series: int, chance: float = 0.999) -> tuple[int, int]:
    """Between which counts that of exact intervals lies with a chance, by the binomial distribution."""
    low, high = binom.interval(chance, series, level)
    return int(low), int(high)


def lines(case: Case, found: Coverage) -> Iterator[str]:
    """A row of the table for each level; an asterisk marks what is outside the limits."""
    names = list(case.truth)
    for level, covering in found.covering.items():
        low, high = limits(level, found.series)
        shares = ""
        for name in names:
            outside = not low <= covering[name] <= high
            shares += f"{name:>4} {100 * covering[name] / found.series:5.1f} %{'*' if outside else ' '}"
        between = f"{100 * low / found.series:.1f} to {100 * high / found.series:.1f}"
        yield (
            f"{case.function:<30}{case.points:>4} {case.sigma:<9}{case.loss:<11}{100 * level:>4.0f} % "
            f"{shares} ({between})"
        )


def main(series: int) -> int:
    """Print the table; 1 where a 95 % interval of least squares covers less than 93.5 or more than 96.5 %."""
    packages = ", ".join(f"{package} {version(package)}" for package in ("torch", "numpy", "scipy"))
    print(f"Python {platform.python_version()}, {packages}, {platform.machine()}; {series} series a line\n")
    print(f"{'':<30}{'n':>4} {'sigma':<9}{'loss':<11}{'level':>6} intervals that hold the true parameter (limits)")
    worst, total, fits = math.inf, 0.0, 0
    for case in CASES:
        began = time.perf_counter()
        found = coverage(case, series)
        total += time.perf_counter() - began
        fits += series
        print(*lines(case, found), sep="\n")
        if found.arrived < series:
            print(f"    {series - found.arrived} fits have not arrived")
        if case.loss == "mse":
            shares = [count / series for count in found.covering[0.95].values()]
            worst = min(worst, 0.015 - max(abs(share - 0.95) for share in shares))
    print(f"\n{fits} fits with their intervals in {total:.1f} s")
    print(f"95 % intervals of least squares cover {'' if worst >= 0 else 'NOT ALL '}between 93.5 and 96.5 %")
    return 0 if worst >= 0 else 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else SERIES))
