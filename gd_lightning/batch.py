"""Many small least-squares problems of one function, solved side by side."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gd_lightning.convergence import EPS, Bools
from gd_lightning.residuals import SMALL, Array, Residuals

__all__ = ["Solved", "solve"]

STEPS = 200  # from a good start a series takes four to ten
TOLERANCE = 1e-9  # in standard errors
STILL = 1e-9  # beside a parameter, what is left to go to it
DAMPING = 1e-3  # what damps the first step; Gauss and Newton's own, undamped, leaps too far from a poor start
LEAST, MOST = 1e-9, 1e15  # damping below the one is none; beyond the other no step moves anything
PIVOT = 1e-14  # of columns of length 1, what is left of one that the others span
COSINE = 1e-7  # between residuals and a column: where no step gains anything, whether that is a minimum
SLOWEST, FASTEST = 0.9, 0.01  # share of a step that the next one takes; what is foretold of it trusts no other
BLOCK = 5 * SMALL  # points that are computed at once where torch computes them


class Solved(NamedTuple):
    """Where each of R rows arrived.

    Attributes:
        theta: the free parameters, `(R, F)`.
        total: the sum of squares there, or of the robust measure, `(R,)`; infinite where the start has none.
        converged: whether nothing more was to be gained, `(R,)`.
        steps: how many steps each took, `(R,)`.
    """

    theta: Array
    total: Array
    converged: Bools
    steps: NDArray[np.int64]


class _Normal(NamedTuple):
    """The normal equations of R rows, with columns of length 1; rows stand last, so that each number is a plane.

    Attributes:
        total: the sum of squares, `(R,)`; infinite where it or a derivative is not finite.
        size: lengths of the Jacobian's columns, `(F, R)`; 1 where a column is 0.
        slope: cosines times the length of the residuals, J'r / size, `(F, R)`.
        matrix: J'J / (size size'), `(F, F, R)`.
    """

    total: Array
    size: Array
    slope: Array
    matrix: Array

    def select(self, chosen: Bools) -> "_Normal":
        return _Normal(*(values[..., chosen] for values in self))


@np.errstate(all="ignore")  # what is not finite is looked for
def solve(
    problem: Residuals,
    theta: Array,
    frozen: Bools | None = None,
    steps: int = STEPS,
    tolerance: float = TOLERANCE,
    damping: float = DAMPING,
) -> Solved:
    """theta <- theta - (J'J + damping*diag(J'J))**-1 J'r, each row for itself, until it has arrived and is dropped.

    A step that lowers the sum of squares is kept and its row's damping falls to nothing; any other is taken back and
    the damping rises (Levenberg, 1944; Marquardt, 1963). A parameter that meets a bound stops there, and the others
    make the best of that; one at a bound that the loss pulls beyond takes no part. Robust losses are reweighted.

    The normal equations cost a fifth of what orthogonal factors do, and square the condition number: with one of 1e4
    (columns of length 1) each step still has eight digits, with 1e7 and more a row may end as not converged where
    `levenberg_marquardt.minimum` arrives. The minimum itself is as exact as its gradient: parameters to 1e-9 of
    themselves or of their standard errors. Saddles are not looked for.

    Args:
        problem: the residuals, one row for each problem.
        theta: where to start, `(R, F)`.
        frozen: which parameters stay as they are, `(R, F)`.
        steps: how many at most.
        tolerance: how far from the minimum a row may end, in units of the parameters' standard errors.
        damping: that of the first step; 0 where the start is so near that no step will leap too far.

    Returns:
        Where each row arrived. A row that is not finite at its start stays there, and disturbs no other.
    """
    theta = np.clip(theta, problem.low, problem.high)
    count, free = theta.shape
    solved = Solved(theta, np.full(count, np.inf), np.zeros(count, dtype=bool), np.zeros(count, dtype=np.int64))
    if not count:
        return solved
    rows = np.arange(count)
    moving = np.ones((free, count), dtype=bool) if frozen is None else ~frozen.T
    spare = np.maximum(problem.points_each - moving.sum(axis=0), 1)
    damped, before = np.full(count, damping), np.full(count, np.nan)
    theta, parts = theta.copy(), _parts(problem)
    here = _look(parts, theta)
    solved.total[:] = here.total
    for taken in range(steps + 1):
        moves, length, foretold = _step(problem, theta, here, moving, damped)
        # a step is a part of the one before it, so that this much is left to go after this one
        share = np.clip(np.nan_to_num(length / before, nan=SLOWEST), FASTEST, SLOWEST)
        left = np.abs(moves) * (share / (1 - share))
        sizes, size = np.abs(theta.T) * here.size, np.sqrt(here.total)
        enough = np.maximum(tolerance * size / np.sqrt(spare), STILL * sizes)
        rounding = 4 * EPS * size * (problem.size_of_targets + size + sizes.sum(axis=0))
        faint = np.abs(foretold) <= rounding
        arrived = (left <= enough).all(axis=0) | (faint & (length >= before))
        arrived &= damped <= DAMPING  # else it is the damping that makes the step short
        stuck = (damped >= MOST) | ~np.isfinite(here.total + length) | (taken == steps)
        if (ended := arrived | stuck).any():
            last = arrived & (foretold >= 0)  # that step, too, which is so short that it needs no trial
            theta[last] = _moved(problem, theta[last], moves[:, last] / here.size[:, last])
            flat = (np.abs(here.slope) <= COSINE * size) | ~_pulled(problem, theta, here, moving)
            at = rows[ended]
            solved.theta[at] = theta[ended]
            solved.total[at] = np.where(last, np.maximum(here.total - foretold, 0.0), here.total)[ended]
            solved.converged[at] = (np.isfinite(here.total) & (arrived | flat.all(axis=0)))[ended]
            solved.steps[at] = taken + last[ended]
            on = ~ended
            if not on.any():
                break
            rows, theta, moving, spare = rows[on], theta[on], moving[:, on], spare[on]
            damped, before, here = damped[on], before[on], here.select(on)
            faint, rounding = faint[on], rounding[on]
            moves, length, foretold = moves[:, on], length[on], foretold[on]
            problem = problem.select(np.flatnonzero(on))
            parts = _parts(problem)
        tried = _moved(problem, theta, moves / here.size)
        there = _look(parts, tried)
        gained = here.total - there.total
        kept = ((gained > 0) & (gained >= 1e-4 * foretold)) | (faint & (gained >= -rounding))
        kept &= np.isfinite(there.total)
        well = gained >= 0.75 * foretold
        less = np.where(well, np.where(damped > LEAST, 0.1 * damped, 0.0), damped)
        damped = np.where(kept, less, np.maximum(10 * damped, DAMPING))
        before = np.where(kept, length, before)
        if kept.all():
            theta, here = tried, there
        else:
            theta[kept] = tried[kept]
            here = _Normal(*(np.where(kept, new, old) for new, old in zip(there, here, strict=True)))
    return solved


def _parts(problem: Residuals) -> list[tuple[slice, Residuals]]:
    """The rows in blocks: so few points at once that they stay in the processor's cache."""
    length = problem.points.targets.shape[-1]
    most = SMALL if problem.select(slice(0, 1)).tape is not None else BLOCK
    size = max(most // length, 1)
    if size >= problem.count:
        return [(slice(None), problem)]
    blocks = [slice(i, i + size) for i in range(0, problem.count, size)]
    return [(block, problem.select(block)) for block in blocks]


def _look(parts: list[tuple[slice, Residuals]], theta: Array) -> _Normal:
    """The normal equations at theta `(R, F)`."""
    count, free = theta.shape
    total, slope, matrix = np.empty(count), np.empty((free, count)), np.empty((free, free, count))
    for block, problem in parts:
        r, jac = problem.linearize(theta[block])
        total[block] = problem.sum_of(r)
        if problem.robust:
            roots = problem.roots_of_weights(r)
            r, jac = roots * r, roots[..., None] * jac
        columns = [jac[..., i] for i in range(free)]
        for i, column in enumerate(columns):
            slope[i, block] = np.vecdot(column, r)
            for k in range(i + 1):
                matrix[i, k, block] = np.vecdot(column, columns[k])
    size = np.sqrt(np.einsum("iir->ir", matrix))
    size[size == 0] = 1.0
    slope /= size
    for i in range(free):
        for k in range(i + 1):
            matrix[i, k] /= size[i]
            matrix[i, k] /= size[k]
            matrix[k, i] = matrix[i, k]
    sound = np.isfinite(total) & np.isfinite(matrix).all(axis=(0, 1)) & np.isfinite(slope).all(axis=0)
    total[~sound] = np.inf
    return _Normal(total, size, slope, matrix)


def _pulled(problem: Residuals, theta: Array, here: _Normal, moving: Bools) -> Bools:
    """Which parameters may take a step: neither frozen nor at a bound that the loss pulls beyond, `(F, R)`."""
    if not problem.bounded:
        return moving
    at = theta.T
    low, high = problem.low[:, None], problem.high[:, None]
    pulled: Bools = moving & ~((at <= low) & (here.slope > 0)) & ~((at >= high) & (here.slope < 0))
    return pulled


def _moved(problem: Residuals, theta: Array, step: Array) -> Array:
    """Parameters `(R, F)` after a step `(F, R)`, within their bounds."""
    moved: Array = theta + step.T
    return np.clip(moved, problem.low, problem.high) if problem.bounded else moved


def _step(problem: Residuals, theta: Array, here: _Normal, moving: Bools, damped: Array) -> tuple[Array, Array, Array]:
    """The damped step of each row, between the bounds.

    Returns:
        The step times the columns' lengths, `(F, R)`; how long that is, `(R,)`; and by how much the sum of squares
        should fall.
    """
    pulled = _pulled(problem, theta, here, moving)  # a copy where there are bounds
    step = -_solved(here.matrix, here.slope, pulled, damped)
    if not problem.bounded:
        square = np.einsum("ir,ir->r", step, step)
        return step, np.sqrt(square), damped * square - np.einsum("ir,ir->r", step, here.slope * pulled)
    low, high = ((bound - theta).T * here.size for bound in (problem.low, problem.high))
    for _ in range(len(step)):
        beyond = np.where(pulled, np.maximum(low - step, step - high), 0.0)
        some = np.flatnonzero((beyond > 0).any(axis=0))
        if not len(some):
            break
        # the one that goes farthest beyond stops at its bound, and the others have another step
        first = beyond[:, some].argmax(axis=0), some
        pulled[first] = False
        step[first] = np.clip(step[first], low[first], high[first])
        stopped = np.where(pulled, 0.0, step)[:, some]
        matrix = here.matrix[..., some]
        slope = here.slope[:, some] + np.einsum("ikr,kr->ir", matrix, stopped)
        step[:, some] = stopped - _solved(matrix, slope, pulled[:, some], damped[some])
    step = np.clip(step, low, high)
    change = np.einsum("ikr,kr->ir", here.matrix, step)
    foretold = -np.einsum("ir,ir->r", step, 2 * here.slope + change)
    return step, np.sqrt(np.einsum("ir,ir->r", step, step)), foretold


def _solved(matrix: Array, slope: Array, pulled: Bools, damped: Array) -> Array:
    """(matrix + damping*I)**-1 slope of the parameters that are pulled, 0 for the others, `(F, R)`; by Cholesky.

    A plane at a time: LAPACK's call for each row would cost several times the arithmetic.
    """
    free = len(slope)
    lower = np.empty_like(matrix)
    values = np.empty_like(slope)
    every = pulled.all()
    for i in range(free):
        column = matrix[i:, i].copy()
        if not every:
            column *= pulled[i] & pulled[i:]
        column[0] = 1.0 + damped
        for k in range(i):
            column -= lower[i:, k] * lower[i, k]
        root = np.sqrt(np.maximum(column[0], PIVOT))
        lower[i:, i] = column / root
        lower[i, i] = root
        value = slope[i].copy() if every else np.where(pulled[i], slope[i], 0.0)
        for k in range(i):
            value -= lower[i, k] * values[k]
        values[i] = value / root
    for i in reversed(range(free)):
        for k in range(i + 1, free):
            values[i] -= lower[k, i] * values[k]
        values[i] /= lower[i, i]
    return values
