"""NIST's certified nonlinear regressions, beside SciPy and lmfit: python benchmarks/nist.py [folder of .dat files].

All three fit each problem from both of its starts, with the same arrays and default settings. The score is the log
relative error, LRE: the digits that agree with the certified ones in the worst parameter, at most the 11 that are
printed. A silent failure has fewer than 4 and says that it converged. SciPy and lmfit count calls of the function, of
which a step with differences takes one for each parameter. Each time is that of one run.

Source: NIST, Statistical Reference Datasets, nonlinear regression.
"""

import math
import platform
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import lmfit  # type: ignore[import-untyped]
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import curve_fit  # type: ignore[import-untyped]

from gd_lightning import fit

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "nist"
CONVERGED = "converged"
DIGITS = 11

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        name: the name of its file.
        formula: the model as a formula of the columns and the parameters.
        columns: the predictors by name, each of shape `(T,)`.
        y: what is fitted, shape `(T,)`; the logarithm of the data where the model is one of log(y).
        starts: both sets of starting values, by name.
        certified: parameter -> certified estimate.
        deviations: parameter -> certified standard deviation of the estimate.
        rss: certified residual sum of squares.
    """

    name: str
    formula: str
    columns: dict[str, Floats]
    y: Floats
    starts: tuple[dict[str, float], dict[str, float]]
    certified: dict[str, float]
    deviations: dict[str, float]
    rss: float

    @property
    def t(self) -> Any:
        """The predictor, or a mapping of several."""
        return self.columns if len(self.columns) > 1 else next(iter(self.columns.values()))

    def numpy_function(self) -> Callable[..., Floats]:
        """The model in numpy alone: f(anything, *parameters), at the predictors of the problem."""
        code = compile(self.formula, self.name, "eval")
        known = {"exp": np.exp, "sin": np.sin, "cos": np.cos, "atan": np.arctan, "pi": np.pi, **self.columns}

        def function(_: Any, *values: float) -> Floats:
            named = dict(zip(self.certified, values, strict=True))
            return np.asarray(eval(code, {"__builtins__": {}}, known | named))

        return function


def read(path: Path) -> Problem:
    """A problem from its file, as NIST publishes it.

    Raises:
        ValueError: the file is none of these.
    """
    text = path.read_text()
    model = re.search(r"^Model:.*?^\s*(log\[y\]|y)\s*=(.*?)\+\s*e\s*$", text, re.MULTILINE | re.DOTALL)
    rss = re.search(r"^Residual Sum of Squares:\s*(\S+)", text, re.MULTILINE)
    if model is None or rss is None:
        raise ValueError(f"{path}: no model of NIST's; expected y = ... + e and a residual sum of squares")
    left, right = model.groups()
    formula = " ".join(right.translate(str.maketrans("[]", "()")).replace("arctan", "atan").split())
    rows = re.findall(r"^\s*(b\d+) =" + 4 * r"\s+(\S+)", text, re.MULTILINE)
    names, *numbers = zip(*rows, strict=True)
    first, second, certified, deviations = (dict(zip(names, map(float, each), strict=True)) for each in numbers)
    # "Data:" stands above the description, too.
    header, *lines = re.split(r"^Data:", text, flags=re.MULTILINE)[-1].strip().splitlines()
    values = np.array([line.split() for line in lines], dtype=float).T
    columns = dict(zip(header.split(), values, strict=True))
    y = columns.pop("y")
    return Problem(
        name=path.stem,
        formula=formula,
        columns=columns,
        y=y if left == "y" else np.log(y),
        starts=(first, second),
        certified=certified,
        deviations=deviations,
        rss=float(rss[1]),
    )


def lre(estimates: Mapping[str, float], certified: Mapping[str, float]) -> float:
    """-log10(|estimate - certified| / |certified|) of the worst parameter, from 0 to 11; 0 where one is no number."""
    worst = max(abs(estimates[name] - value) / abs(value) for name, value in certified.items())
    if not all(math.isfinite(estimates[name]) for name in certified):
        return 0.0
    return DIGITS if worst == 0 else min(max(-math.log10(worst), 0.0), DIGITS)


class Outcome(NamedTuple):
    """What a fitter gives: estimates and their standard errors by name, what it says of them, and its steps."""

    estimates: Mapping[str, float]
    errors: Mapping[str, float]
    status: str
    steps: int


def by_us(problem: Problem, start: Mapping[str, float]) -> Outcome:
    """`gd_lightning.fit`."""
    result = fit(problem.formula, problem.t, problem.y, init=start)
    return Outcome(result.parameters, result.standard_errors, result.status, result.steps)


def by_scipy(problem: Problem, start: Mapping[str, float]) -> Outcome:
    """`scipy.optimize.curve_fit`, which is MINPACK's lm where there are no bounds; it raises what it cannot fit."""
    values, covariance, info, *_ = curve_fit(
        problem.numpy_function(), None, problem.y, p0=list(start.values()), full_output=True
    )
    errors = dict(zip(start, np.sqrt(np.diag(covariance)).tolist(), strict=True))
    return Outcome(dict(zip(start, values.tolist(), strict=True)), errors, CONVERGED, info["nfev"])


def by_lmfit(problem: Problem, start: Mapping[str, float]) -> Outcome:
    """`lmfit.minimize`, by leastsq."""
    function = problem.numpy_function()
    given = lmfit.create_params(**start)
    result = lmfit.minimize(lambda params: function(None, *params.valuesdict().values()) - problem.y, given)
    errors = {name: math.nan if one.stderr is None else one.stderr for name, one in result.params.items()}
    return Outcome(result.params.valuesdict(), errors, CONVERGED if result.success else "failed", result.nfev)


FITTERS: dict[str, Callable[[Problem, Mapping[str, float]], Outcome]] = {
    "gd-lightning": by_us,
    "scipy curve_fit": by_scipy,
    "lmfit leastsq": by_lmfit,
}


class Score(NamedTuple):
    """How one fit went: LRE of the estimates and of their standard errors, status, steps, seconds."""

    estimates: float
    errors: float
    status: str
    steps: int
    seconds: float

    @property
    def silent(self) -> bool:
        """Whether it is wrong and says that it converged."""
        return self.estimates < 4 and self.status == CONVERGED


def score(
    fitter: Callable[[Problem, Mapping[str, float]], Outcome], problem: Problem, start: Mapping[str, float]
) -> Score:
    """One fit by one fitter; an exception is its status."""
    began = time.perf_counter()
    try:
        # Overflow on the way, and covariances that cannot be had.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            outcome = fitter(problem, start)
    except Exception as error:  # whatever a fitter may raise
        return Score(0.0, 0.0, type(error).__name__, 0, time.perf_counter() - began)
    seconds = time.perf_counter() - began
    digits = lre(outcome.estimates, problem.certified), lre(outcome.errors, problem.deviations)
    return Score(*digits, outcome.status, outcome.steps, seconds)


def print_summary(scores: Mapping[str, list[Score]]) -> None:
    """One line for each fitter."""
    limits = (4, 6, 8)
    heads = "".join(f"{f'LRE >= {limit}':>10}" for limit in limits)
    print(f"\n{'':<16}{'cases':>6}{heads}{'median':>8}{'silent':>8}{'steps':>8}{'seconds':>9}")
    for name, each in scores.items():
        digits = [one.estimates for one in each]
        counts = "".join(f"{sum(digit >= limit for digit in digits):>10}" for limit in limits)
        silent, steps, seconds = (sum(getattr(one, what) for one in each) for what in ("silent", "steps", "seconds"))
        print(f"{name:<16}{len(each):>6}{counts}{statistics.median(digits):>8.1f}{silent:>8}{steps:>8}{seconds:>9.2f}")


def main(folder: Path) -> int:
    """Fit all problems of a folder and print the tables."""
    paths = sorted(folder.glob("*.dat"))
    if not paths:
        print(f"{folder}: no .dat files of NIST's nonlinear regressions; give their folder", file=sys.stderr)
        return 2
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "numpy", "scipy", "lmfit"))
    print(f"Python {platform.python_version()}, {versions}, {platform.machine()}\n")
    print(f"{'':<12}" + "".join(f"| {name:<39}" for name in FITTERS))
    print(f"{'problem':<12}" + f"| {'LRE':>4} {'of se':>5} {'steps':>6} {'ms':>7} {'':<13}" * len(FITTERS))
    scores: dict[str, list[Score]] = {name: [] for name in FITTERS}
    problems = [read(path) for path in paths]
    for fitter in FITTERS.values():
        score(fitter, problems[0], problems[0].starts[1])  # what a first call costs is not the fit's
    for problem in problems:
        for number, start in enumerate(problem.starts, start=1):
            line = f"{problem.name:<10}{number:>2}"
            for name, fitter in FITTERS.items():
                one = score(fitter, problem, start)
                scores[name].append(one)
                digits = f"{one.estimates:>4.1f} {one.errors:>5.1f}"
                line += f"| {digits} {one.steps:>6} {one.seconds * 1e3:>7.1f} {one.status:<13}"
            print(line, flush=True)
    print_summary(scores)
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
