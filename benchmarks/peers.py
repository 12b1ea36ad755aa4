"""How other libraries fit many series, for throughput.py: SciPy and lmfit one by one, optimistix vmapped and jitted."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import curve_fit, least_squares
from series_to_fit import Case, Floats

__all__ = ["Way", "by_lmfit", "by_optimistix", "by_scipy", "exact", "has"]

TIGHT = 1e-15


class Way(NamedTuple):
    """One way to fit series.

    Attributes:
        name: what it is called in a table.
        series: how many it fits in a run.
        run: fits them.
        read: the parameters from what a run returns, `(S, P)`; nan where a fit did not converge.
    """

    name: str
    series: int
    run: Callable[[], Any]
    read: Callable[[Any], Floats] = np.asarray


def has(library: str) -> bool:
    """Whether a library is installed."""
    return find_spec(library) is not None


def exact(case: Case) -> Floats:
    """The minima by SciPy's least_squares at a tight tolerance with analytic derivatives, `(S, P)`."""

    def one(y: Floats, start: Floats) -> Floats:
        return least_squares(
            lambda params: case.function(case.t, *params) - y,
            start,
            lambda params: case.jacobian(case.t, *params),
            method="lm",
            ftol=TIGHT,
            xtol=TIGHT,
            gtol=TIGHT,
        ).x

    return np.array([one(*series) for series in zip(case.y.astype(float), case.starts.astype(float), strict=True)])


def by_scipy(case: Case) -> Way:
    """scipy.optimize.curve_fit with its default settings."""
    lost = np.full(case.start.shape[-1], np.nan)

    def one(y: Floats, start: Floats) -> Floats:
        try:
            return curve_fit(case.function, case.t, y, p0=start)[0]
        except RuntimeError:  # so curve_fit says that it did not converge
            return lost

    def run() -> list[Floats]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # overflow on the way, and covariances that it cannot estimate
            return [one(*series) for series in zip(case.y, case.starts, strict=True)]

    return Way("scipy.optimize.curve_fit", len(case.y), run)


def by_lmfit(case: Case) -> Way:
    """lmfit.Model.fit with its default settings."""
    import lmfit

    model = lmfit.Model(case.function)

    def one(y: Floats, start: Floats) -> Floats:
        found = model.fit(y, t=case.t, **dict(zip(model.param_names, start, strict=True)))
        return np.array(list(found.best_values.values())) if found.success else np.full(len(start), np.nan)

    return Way("lmfit.Model.fit", len(case.y), lambda: [one(*both) for both in zip(case.y, case.starts, strict=True)])


def by_optimistix(case: Case, tolerance: float, chunk: int) -> Way:
    """optimistix.LevenbergMarquardt on peaks in double precision, vmapped and jitted, so many series at a time."""
    import jax
    import jax.numpy as jnp
    import optimistix

    jax.config.update("jax_enable_x64", True)
    t, start = jnp.asarray(case.t), jnp.asarray(case.start)
    solver = optimistix.LevenbergMarquardt(rtol=tolerance, atol=tolerance)

    def residuals(params: Any, y: Any) -> Any:
        amplitude, center, width, offset = params
        return amplitude * jnp.exp(-((t - center) ** 2) / (2 * width**2)) + offset - y

    def one(y: Any) -> Any:
        found = optimistix.least_squares(residuals, solver, start, args=y, throw=False)
        return jnp.where(found.result == optimistix.RESULTS.successful, found.value, jnp.nan)

    solve = jax.jit(jax.vmap(one))

    def run() -> Floats:
        return np.concatenate([solve(case.y[i : i + chunk]) for i in range(0, len(case.y), chunk)])

    return Way(f"optimistix, rtol = atol = {tolerance:g}", len(case.y), run)
