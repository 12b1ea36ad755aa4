"""How many series are fitted in a second, beside other libraries: python benchmarks/throughput.py [--write].

Everything in one run on the same data, in turns; medians. Each first run is timed by itself and left out of the rates:
it compiles. Libraries that fit one series after the other get fewer of them, the first ones; each line says how many.
`--write` puts the tables into RESULTS.md, `--quick` is a short run that shows that all of it works, `--only` takes some
of the tables, and `--device cuda` compares the same code on a GPU with itself on the CPU.

The peers that are not installed are left out: pip install 'gd-lightning[bench]'.
"""

import argparse
import os
import platform
import statistics
import sys
import timeit
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from peers import Way, by_lmfit, by_optimistix, by_scipy, exact, has
from series_to_fit import PARABOLA, PEAK, POINTS, SPOT, Case, Floats, parabolas, peaks, spots

from gd_lightning import fit
from gd_lightning.convergence import CONVERGED
from gd_lightning.curve import Curve
from gd_lightning.many import Fits, Many
from gd_lightning.planes import compiler_works
from gd_lightning.points import Points

RESULTS = Path(__file__).with_name("RESULTS.md")
GPUFIT = 4_000_000  # fits/s, as published: Przybylski et al., Scientific Reports 7, 15722 (2017)
TIMES_SCIPY, TIMES_OPTIMISTIX, TIMES_SCIPY_EAGER, SHARE_OF_POLYFIT, FLAT = 60, 5, 20, 0.25, 1.5  # to reach
ACCURATE = 1e-6  # of each parameter, to reach
MANY = 10_000  # series, from which on the time of each should no longer change
LENGTHS = (10, 30, 100, 300, 1000, 3000, 10_000)
COMPILED, EAGER = "compiled", "eager"
ENOUGH = 1.0  # seconds


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        series: how many in a run of ours.
        rounds: of which the median is taken.
        singly: how many are fitted by what fits one after the other.
        vmapped: how many by optimistix.
        chunks: how many of these at a time; the best is taken.
        judged: of how many the parameters are compared.
        most: the longest curve over the number of series.
    """

    series: int
    rounds: int = 5
    singly: int = 1000
    vmapped: int = 20_000
    chunks: tuple[int, ...] = (100, 1000, 10_000)
    judged: int = 1000
    most: int = 1_000_000


QUICK = Size(4000, 3, 100, 1000, (100, 1000), 100, 10_000)


class Measured(NamedTuple):
    """What a way to fit took.

    Attributes:
        way: which.
        first: seconds of the first run.
        seconds: of the median run.
        params: what was found, `(S, P)`; nan where a fit did not converge.
    """

    way: Way
    first: float
    seconds: float
    params: Floats

    @property
    def rate(self) -> float:
        """Fits in a second."""
        return self.way.series / self.seconds

    @property
    def converged(self) -> float:
        """The share that did."""
        return float(np.isfinite(self.params).all(axis=-1).mean())

    def deviation(self, reference: Floats) -> float:
        """The largest of any parameter from the reference, beside it; signs aside, since a width may have either."""
        both = min(len(self.params), len(reference))
        return float(np.nanmax(np.abs(np.abs(self.params[:both] / reference[:both]) - 1)))


def by_us(case: Case, compiled: bool, device: str = "cpu") -> Way:
    """`Many`, made once for all runs, compiled or eager; parameters and standard errors."""
    y = torch.from_numpy(case.y).to(device)
    curve = Curve(case.formula, predictors=case.predictors).to(y)
    columns = torch.from_numpy(case.t.reshape(-1, case.y.shape[-1])).to(y).unbind()
    points = Points(columns if len(columns) > 1 else columns[0], y)
    start, many = torch.from_numpy(case.starts.copy()).to(y), Many(curve, compiled=compiled)
    return Way(f"ours, {COMPILED if compiled else EAGER}", len(y), lambda: many.fit(points, start), arrived)


def arrived(fits: Fits) -> Floats:
    """The parameters of the series that converged, nan for the others."""
    return np.where((fits.status == CONVERGED)[:, None], fits.params.numpy(), np.nan)


def whole_call(case: Case, compiled: bool) -> Way:
    """The whole `fit(...)`, from arrays to the result; each call compiles anew."""
    names = Curve(case.formula, predictors=case.predictors).names
    init = dict(zip(names, case.start.tolist(), strict=True))
    name = f"ours, all of fit(...), {COMPILED if compiled else EAGER}"
    run = partial(fit, case.formula, case.t, case.y, init=init, compile=compiled)
    return Way(name, len(case.y), run, lambda result: result.curve.params.detach().numpy())


def ways_of_ours(case: Case, device: str = "cpu") -> list[Way]:
    """Ours, compiled where there is a compiler, and eager."""
    return [by_us(case, compiled, device) for compiled in (True, False) if not compiled or compiler_works()]


def tell(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds that a run takes, and what it returns."""
    begin = timeit.default_timer()
    found = run()
    return timeit.default_timer() - begin, found


def steady(run: Callable[[], Any]) -> float:
    """The seconds that a run takes; the median of as many short ones as fill some time."""
    times = [timed(run)[0]]
    while sum(times) < ENOUGH:
        times.append(timed(run)[0])
    return statistics.median(times)


def measure(ways: Sequence[Way], rounds: int) -> list[Measured]:
    """Each way once by itself, then all in turns."""
    firsts, times = [], [[] for _ in ways]
    for way in ways:
        tell(f"  {way.name}: {way.series:,} series")
        firsts.append(timed(way.run))
    for i in range(rounds):
        tell(f"  round {i + 1} of {rounds}")
        for way, several in zip(ways, times, strict=True):
            several.append(steady(way.run))
    return [
        Measured(way, first, statistics.median(several), way.read(found))
        for way, (first, found), several in zip(ways, firsts, times, strict=True)
    ]


def best_chunk(case: Case, tolerance: float, chunks: Sequence[int]) -> Way:
    """Optimistix with so many series at a time as suit it best."""
    ways = [by_optimistix(case, tolerance, chunk) for chunk in chunks if chunk <= len(case.y)]
    for way in ways:
        way.run()
    seconds = [timed(way.run)[0] for way in ways]
    at = seconds.index(min(seconds))
    return ways[at]._replace(name=f"{ways[at].name}, {chunks[at]:,} at a time")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; numbers, which all columns but the first hold, stand to the right."""
    width = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, width, strict=True)
        return " | ".join([f"| {first[0]:<{first[1]}}", *(f"{cell:>{w}}" for cell, w in others)]) + " |"

    rule = "|".join("-" * (w + 2) if not i else "-" * (w + 1) + ":" for i, w in enumerate(width))
    return "\n".join([line(head), f"|{rule}|", *map(line, rows)])


def rates(measured: Sequence[Measured], beside: float, reference: Floats) -> str:
    """A table of rates.

    Args:
        measured: what was measured.
        beside: fits in a second of what they are set beside, the "ratio".
        reference: the minima of the first series.
    """
    rows = [
        [
            one.way.name,
            f"{one.way.series:,}",
            f"{one.first:.1f} s",
            f"{one.rate:,.0f}",
            f"{one.rate / beside:.3g}",
            f"{one.converged:.2%}",
            f"{one.deviation(reference):.0e}",
        ]
        for one in measured
    ]
    return table(["", "series", "first run", "fits/s", "ratio", "converged", "deviation"], rows)


def target(what: str, reached: float, wanted: float, least: bool = True) -> str:
    """A line on what was to be reached."""
    met = reached >= wanted if least else reached <= wanted
    return (
        f"- {what}: {reached:.3g}, to reach {'at least' if least else 'at most'} {wanted:g}: {'yes' if met else 'NO'}"
    )


def ways_of_all(case: Case, size: Size) -> list[Way]:
    """Ours, and those of the peers that are here."""
    few = case.first(size.singly)
    calls = [whole_call(case, compiled) for compiled in (True, False) if not compiled or compiler_works()]
    ways = [*ways_of_ours(case), *calls, by_scipy(few)]
    if has("lmfit"):
        ways.append(by_lmfit(few))
    if has("optimistix"):
        some = case.first(size.vmapped)
        ways += [best_chunk(some, tolerance, size.chunks) for tolerance in (1e-8, 1e-6)]
    return ways


def targets(measured: Sequence[Measured], reference: Floats) -> list[str]:
    """What was to be reached with Gaussians, and what could not be looked at."""
    rate = {one.way.name: one.rate for one in measured}
    scipy = rate["scipy.optimize.curve_fit"]
    others = [value for name, value in rate.items() if name.startswith("optimistix")]
    compiled, eager = rate.get(f"ours, {COMPILED}", np.nan), rate[f"ours, {EAGER}"]
    worst = max(one.deviation(reference) for one in measured if one.way.name.startswith("ours"))
    lines = [
        target("compiled beside curve_fit", compiled / scipy, TIMES_SCIPY),
        target("compiled beside optimistix's better one", compiled / max(others, default=np.nan), TIMES_OPTIMISTIX),
        target("eager beside curve_fit", eager / scipy, TIMES_SCIPY_EAGER),
        target("largest deviation of ours", worst, ACCURATE, least=False),
    ]
    here = {"lmfit": has("lmfit"), "optimistix": has("optimistix"), "a C++ compiler": compiler_works()}
    return lines + [f"- not installed, so not measured: {name}" for name, found in here.items() if not found]


def gaussian(size: Size) -> str:
    """Gaussians over an offset, beside everyone."""
    case = peaks(size.series)
    measured = measure(ways_of_all(case, size), size.rounds)
    reference = exact(case.first(size.judged))
    scipy = next(one.rate for one in measured if one.way.name.startswith("scipy"))
    return section(
        "Gaussians over an offset",
        f"`{PEAK}`, {POINTS} points, double precision, one shared start. Ratio: beside curve_fit. Deviation: the "
        "largest of any parameter, relative, from scipy.optimize.least_squares with analytic derivatives and "
        f"tolerances of 1e-15, in the first {len(reference):,} series. The first run compiles; all of `fit(...)` does "
        "so in each call.",
        rates(measured, scipy, reference),
        targets(measured, reference),
    )


def quadratic(size: Size) -> str:
    """Quadratics, beside NumPy's batched least squares."""
    case = parabolas(size.series)
    batched = Way("numpy.polyfit", size.series, lambda: np.polyfit(case.t, case.y.T, 2).T)
    *measured, limit = measure([*ways_of_ours(case), batched], size.rounds)
    return section(
        "Quadratics",
        f"`{PARABOLA}`, {POINTS} points, double precision, t shared. Ratio: beside numpy.polyfit of all series in one "
        "call, which gives no standard errors.",
        rates([*measured, limit], limit.rate, exact(case.first(size.judged))),
        [target(f"{one.way.name}, beside polyfit", one.rate / limit.rate, SHARE_OF_POLYFIT) for one in measured],
    )


def gpufit(size: Size) -> str:
    """Gpufit's test, beside SciPy."""
    case = spots(size.series)
    measured = measure([*ways_of_ours(case), by_scipy(case.first(size.singly))], size.rounds)
    return section(
        "2-D Gaussians on 5 x 5 points",
        f"`{SPOT}`, single precision, data and starts as in Gpufit's published test. Ratio: beside curve_fit, which "
        "computes in double precision. Deviation: from the minima in double precision.",
        rates(measured, measured[-1].rate, exact(case.first(size.judged))),
    )


def series(size: Size) -> str:
    """The time that a series takes, by how many there are."""
    counts = [10**i for i in range(2, len(str(size.most)))]
    ways = [ways_of_ours(peaks(count)) for count in counts]
    every = iter(measure([way for several in ways for way in several], size.rounds))  # in turns, as a machine varies
    found = {count: [next(every) for _ in several] for count, several in zip(counts, ways, strict=True)}
    names = [one.way.name for one in found[counts[0]]]
    micros = {count: [1e6 / one.rate for one in several] for count, several in found.items()}
    far = np.array([values for count, values in micros.items() if count >= MANY])
    spread = far.max(axis=0) / far.min(axis=0)
    return section(
        "How many series",
        f"Microseconds for each series of {POINTS} points.",
        table(["series", *names], [[f"{n:,}", *(f"{value:.3g}" for value in values)] for n, values in micros.items()]),
        [
            target(f"{name}, slowest beside fastest from {MANY:,} on", value, FLAT, least=False)
            for name, value in zip(names, spread, strict=True)
        ],
    )


def points(size: Size) -> str:
    """The time that a point takes, by how many a series has, at a fixed total."""
    total = size.series * POINTS
    rows = []
    for length in LENGTHS:
        measured = measure(ways_of_ours(peaks(total // length, length)), size.rounds)
        nanos = [f"{1e9 / one.rate / length:.3g}" for one in measured]
        rows.append([f"{length:,}", f"{total // length:,}", *nanos])
    return section(
        "How many points",
        f"Nanoseconds for each point of each series, {total:,} points in all.",
        table(["points", "series", *(one.way.name for one in measured)], rows),
    )


def on_gpu(size: Size) -> str:
    """The same code on a GPU and on the CPU, and Gpufit's test beside its published rate."""
    name = torch.cuda.get_device_name()
    small, long = spots(size.series), peaks(size.series)
    first = measure(ways_on_both(small), size.rounds)
    second = measure(ways_on_both(long), size.rounds)
    return "\n\n".join(
        [
            section(
                f"2-D Gaussians on 5 x 5 points, on {name}",
                f"`{SPOT}`, single precision. Ratio: beside Gpufit's published {GPUFIT:,} fits/s, on another GPU.",
                rates(first, GPUFIT, exact(small.first(size.judged))),
            ),
            section(
                f"Gaussians over an offset, on {name}",
                f"`{PEAK}`, {POINTS} points, double precision. Ratio: beside the better one on the CPU.",
                rates(second, max(one.rate for one in second if "cpu" in one.way.name), exact(long.first(size.judged))),
            ),
        ]
    )


def ways_on_both(case: Case) -> list[Way]:
    """Ours on the GPU and on the CPU."""
    return [
        way._replace(name=f"{way.name}, {device}") for device in ("cuda", "cpu") for way in ways_of_ours(case, device)
    ]


def section(title: str, what: str, numbers: str, lines: Sequence[str] = ()) -> str:
    """A table with a title, what it is of, and what was to be reached."""
    return "\n\n".join(filter(None, [f"## {title}", what, numbers, "\n".join(lines)]))


TABLES = {one.__name__: one for one in (gaussian, quadratic, gpufit, series, points)}


def machine() -> str:
    """What all of it ran on."""
    cpuinfo = Path("/proc/cpuinfo")
    found = (
        [one for one in cpuinfo.read_text().splitlines() if one.startswith("model name")] if cpuinfo.exists() else []
    )
    processor = found[0].split(":")[1].strip() if found else platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads of torch, {platform.system()}"


def versions() -> str:
    """Of Python and of the libraries that are there."""
    told = [f"Python {platform.python_version()}"]
    for library in ("gd-lightning", "torch", "numpy", "scipy", "lmfit", "optimistix", "jax"):
        try:
            told.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            told.append(f"no {library}")
    return ", ".join(told)


def heading(arguments: Sequence[str]) -> str:
    """What stands above the tables."""
    command = " ".join(["python", "benchmarks/throughput.py", *arguments])
    return f"# Throughput\n\n- Command: `{command}`\n- Machine: {machine()}\n- Versions: {versions()}"


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=100_000, help="how many in a run of ours")
    parser.add_argument("--quick", action="store_true", help="a short run that shows that all of it works")
    parser.add_argument("--only", default=",".join(TABLES), help=f"some of {','.join(TABLES)}")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda: the same code on a GPU")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {RESULTS.name}")
    given = parser.parse_args(arguments)
    unknown = set(given.only.split(",")) - set(TABLES)
    if unknown:
        parser.error(f"--only: given {', '.join(sorted(unknown))}, expected some of {', '.join(TABLES)}")
    return given


def main(arguments: Sequence[str]) -> None:
    """Measure and print the tables."""
    given = parsed(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda: torch finds no CUDA device here, so nothing was measured")
    size = QUICK if given.quick else Size(given.series)
    told = [heading(arguments)]
    print(told[0], flush=True)
    for name, make in {"cuda": on_gpu}.items() if given.device == "cuda" else TABLES.items():
        if name == "cuda" or name in given.only.split(","):
            tell(f"{name}:")
            told.append(make(size))
            print(f"\n{told[-1]}", flush=True)
    if given.write:
        RESULTS.write_text("\n\n".join(told) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
