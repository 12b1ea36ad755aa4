"""What a bootstrap and profiles cost beside single fits by SciPy: python benchmarks/refits.py.

A noisy Gaussian of 50 points, with and without an offset, by the family's name, as a callable and as a formula; double
precision, one thread; medians of several rounds, taken in turns. SciPy's curve_fit begins at the truth.
"""

import platform
import statistics
import timeit
from collections.abc import Callable
from importlib.metadata import version

import lmfit
import numpy as np
import torch
from scipy.optimize import curve_fit
from torch import Tensor

from gd_lightning.batch import solve
from gd_lightning.bootstrap import TOLERANCE, bootstrap
from gd_lightning.curve import Curve
from gd_lightning.functions import gaussian
from gd_lightning.levenberg_marquardt import minimum
from gd_lightning.losses import mse
from gd_lightning.points import Points
from gd_lightning.profile import profile
from gd_lightning.residuals import Residuals

ROUNDS, DRAWS, SINGLE, MANY = 7, 1000, 100, 100_000
TRUTH = {"amplitude": 2.0, "center": 4.5, "width": 1.2, "offset": 0.5}
PEAK = "amplitude*exp(-(t - center)**2/(2*width**2))"


def by_numpy(t: np.ndarray, amplitude: float, center: float, width: float, offset: float = 0.0) -> np.ndarray:
    """The peak for SciPy."""
    return amplitude * np.exp(-((t - center) ** 2) / (2 * width**2)) + offset


def over_offset(t: Tensor, amplitude: Tensor, center: Tensor, width: Tensor, offset: Tensor) -> Tensor:
    """The family over an offset."""
    return gaussian(t, amplitude, center, width) + offset


FUNCTIONS: dict[str, tuple[str | Callable[..., Tensor], int]] = {
    "family gaussian": ("gaussian", 3),
    "formula": (PEAK, 3),
    "callable with offset": (over_offset, 4),
    "formula with offset": (f"{PEAK} + offset", 4),
}


def series(count: int, params: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """So many noisy peaks, and their true parameters."""
    t, truth = np.linspace(0, 10, 50), list(TRUTH.values())[:params]
    noise = np.random.default_rng(2021).normal(0, 0.05, (count, 50))
    return t, by_numpy(t, *truth) + noise, truth


def fitted(function: str | Callable[..., Tensor], params: int) -> tuple[Curve, Points]:
    """A curve at the minimum of one series."""
    t, y, truth = series(1, params)
    curve = Curve(function).to(torch.float64)
    points = Points(torch.from_numpy(t), torch.from_numpy(y[0]))
    curve.start(torch.tensor(truth, dtype=torch.float64))
    curve.set_params(minimum(curve, points, mse, curve.params.detach()).params)
    return curve, points


def one_by_one(params: int) -> None:
    """Single fits by SciPy of as many series."""
    t, y, truth = series(SINGLE, params)
    for one in y:
        curve_fit(by_numpy, t, one, p0=truth)


def medians(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median time of each, in seconds, of rounds in turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name].append(timeit.timeit(way, number=1))
    return {name: statistics.median(several) for name, several in times.items()}


def steps(function: str | Callable[..., Tensor], params: int) -> str:
    """How many steps the refits take."""
    curve, points = fitted(function, params)
    _, y, _ = series(DRAWS, params)
    problem = Residuals(curve, Points(points.t, torch.from_numpy(y)))
    found = solve(problem, problem.theta, tolerance=TOLERANCE, damping=0.0)
    return f"{found.steps.mean():.2f} steps each, at most {found.steps.max()}, {found.converged.sum()} arrived"


def refits() -> None:
    """A bootstrap of a thousand draws beside a hundred single fits."""
    print(f"\n{f'bootstrap, {DRAWS} draws':<26} {'time':>10} {f'{SINGLE} of curve_fit':>18} {'ratio':>7}")
    for name, (function, params) in FUNCTIONS.items():
        curve, points = fitted(function, params)
        took = medians(
            {
                "ours": lambda curve=curve, points=points: bootstrap(curve, points, draws=DRAWS),
                "scipy": lambda params=params: one_by_one(params),
            }
        )
        ours, scipy = took["ours"], took["scipy"]
        print(f"{name:<26} {ours * 1e3:>7.1f} ms {scipy * 1e3:>15.1f} ms {ours / scipy:>7.2f}")
        print(f"{'':<26} {steps(function, params)}")


def profiles() -> None:
    """Profile intervals of all parameters beside lmfit's conf_interval."""
    print(f"\n{'profile intervals':<26} {'time':>10} {'lmfit':>18} {'ratio':>7}")
    for name, (function, params) in FUNCTIONS.items():
        curve, points = fitted(function, params)
        t, y, truth = series(1, params)
        model = lmfit.Model(by_numpy)
        start = model.make_params(**dict(zip(TRUTH, truth, strict=False)))
        if params == 3:
            start["offset"].vary = False
        best = model.fit(y[0], params=start, t=t)
        took = medians(
            {
                "ours": lambda curve=curve, points=points: profile(curve, points),
                "lmfit": lambda best=best: lmfit.conf_interval(best, best, sigmas=[0.95]),
            }
        )
        ours, theirs = took["ours"], took["lmfit"]
        print(f"{name:<26} {ours * 1e3:>7.1f} ms {theirs * 1e3:>15.1f} ms {ours / theirs:>7.2f}")


def many() -> None:
    """Very many series from a start 10 % off, as fits a second beside SciPy's."""
    print(f"\n{f'{MANY:,} series':<26} {'fits/s':>10} {'curve_fit':>18} {'ratio':>7}")
    for name, (function, params) in FUNCTIONS.items():
        t, y, truth = series(MANY, params)
        curve = Curve(function).to(torch.float64)
        curve.start(1.1 * torch.tensor(truth, dtype=torch.float64))
        problem = Residuals(curve, Points(torch.from_numpy(t), torch.from_numpy(y)))
        begin = timeit.default_timer()
        found = solve(problem, problem.theta)
        ours = MANY / (timeit.default_timer() - begin)
        scipy = SINGLE / statistics.median(timeit.repeat(lambda params=params: one_by_one(params), number=1, repeat=5))
        print(f"{name:<26} {ours:>10,.0f} {scipy:>18,.0f} {ours / scipy:>7.1f}")
        print(f"{'':<26} {found.steps.mean():.2f} steps each, {found.converged.sum():,} arrived")


if __name__ == "__main__":
    torch.set_num_threads(1)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scipy", "lmfit"))
    print(f"Python {platform.python_version()}, {libraries}, {platform.machine()}")
    refits()
    profiles()
    many()
