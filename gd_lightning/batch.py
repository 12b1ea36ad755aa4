"""Many small least-squares problems of one function, solved side by side, on any device and in any precision.

Rows stand last: each number of all rows is a plane, so that an operation on it serves all rows at once, whoever
computes it: vector instructions, a compiler, a GPU.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from gd_lightning.arrays import Array, Bools, Ints
from gd_lightning.residuals import SMALL, Residuals

__all__ = [
    "ENOUGH_STEPS",
    "FEW",
    "Arrived",
    "Known",
    "Normal",
    "Parts",
    "Problem",
    "Solved",
    "cholesky",
    "keep_step",
    "less",
    "normal_equations",
    "plan_step",
    "solve",
    "solve_rows",
]

ENOUGH_STEPS = 200  # from a good start a row takes four to ten
TOLERANCE = 1e-9  # in standard errors
DAMPING = 1e-3  # what damps the first step; Gauss and Newton's own, undamped, leaps too far from a poor start
LEAST, MOST = 1e-9, 1e15  # damping below the one is none; beyond the other no step moves anything
SLOWEST, FASTEST = 0.9, 0.01  # share of a step that the next one takes; what is foretold of it trusts no other
BLOCK = 5 * SMALL  # points that are computed at once where torch computes them
RESTING = 0.1  # share of rows at rest from which on it pays to go on without them
LOOKS = 4  # steps on a GPU for each time that the rows at rest are counted, for which it has to be waited

FEW = 16  # rows, below which torch's own calls cost no more, and a single one would have to be compiled for itself


class Precision(NamedTuple):
    """What numbers of a precision can tell.

    Attributes:
        eps: the distance from 1 to the next number.
        still: beside a parameter, what is left to go to it where it has arrived.
        cosine: between residuals and a column: where no step gains anything, whether that is a minimum.
        pivot: of columns of length 1, what is left of one that the others span.
    """

    eps: float
    still: float
    cosine: float
    pivot: float

    @classmethod
    def of(cls, dtype: torch.dtype) -> "Precision":
        return cls(torch.finfo(dtype).eps, *((1e-9, 1e-7, 1e-14) if dtype == torch.float64 else (1e-5, 1e-3, 1e-6)))


class Solved(NamedTuple):
    """Where each of R rows arrived, as `solve` tells it.

    Attributes:
        theta: the free parameters, `(R, F)`.
        total: the sum of squares there, or of the robust measure, `(R,)`; infinite where the start has none.
        converged: whether nothing more was to be gained, `(R,)`.
        steps: how many steps each took, `(R,)`.
    """

    theta: Array
    total: Array
    converged: Bools
    steps: Ints


class Arrived(NamedTuple):
    """The same as tensors, as `solve_rows` tells it: theta is `(F, R)`."""

    theta: Tensor
    total: Tensor
    converged: Tensor
    steps: Tensor


class Normal(NamedTuple):
    """The normal equations of R rows, with columns of length 1.

    Attributes:
        total: the sum of squares, `(R,)`; infinite where it or a derivative is not finite.
        size: lengths of the Jacobian's columns, `(F, R)`; 1 where a column is 0.
        slope: cosines times the length of the residuals, J'r / size, `(F, R)`.
        matrix: J'J / (size size') below the diagonal, which is 1: row after row, `(F*(F-1)/2, R)`.
    """

    total: Tensor
    size: Tensor
    slope: Tensor
    matrix: Tensor

    def select(self, rows: Tensor) -> "Normal":
        return Normal(*(values.index_select(-1, rows) for values in self))


def normal_equations(total: Tensor, squares: Tensor, slope: Tensor, matrix: Tensor) -> Normal:
    """The normal equations from sums over the points.

    Args:
        total: of the squares of the residuals, `(R,)`.
        squares: of the squares of the Jacobian's columns, `(F, R)`.
        slope: of the products of residuals and columns, `(F, R)`.
        matrix: of the products of two columns, each with those before it, `(F*(F-1)/2, R)`.
    """
    sound = torch.isfinite(total) & torch.isfinite(squares).all(dim=0) & torch.isfinite(slope).all(dim=0)
    size = torch.where(squares > 0, squares.sqrt(), 1.0)
    sizes = size.unbind(0)
    pairs = [(i, k) for i in range(len(sizes)) for k in range(i)]
    entries = [entry / sizes[i] / sizes[k] for entry, (i, k) in zip(matrix.unbind(0), pairs, strict=True)]
    scaled = torch.stack(entries) if entries else matrix
    return Normal(torch.where(sound, total, torch.inf), size, slope / size, scaled)


class Known(NamedTuple):
    """What is known of R rows, wherever they stand.

    Attributes:
        of_targets: length of each row's data in units of sigma, `(R,)`.
        points_each: how many points each row has, `(R,)`.
        low: lower bounds, `(F, 1)`; none where no parameter has a bound.
        high: upper bounds, likewise.
    """

    of_targets: Tensor
    points_each: Tensor
    low: Tensor | None = None
    high: Tensor | None = None

    def select(self, rows: Tensor) -> "Known":
        return Known(self.of_targets[rows], self.points_each[rows], self.low, self.high)


class Problem(Protocol):
    """The residuals of R rows."""

    known: Known

    def look(self, theta: Tensor) -> Normal:
        """The normal equations at theta `(F, R)`."""

    def select(self, rows: Tensor) -> "Problem":
        """The same of some rows."""


class State(NamedTuple):
    """Where R rows stand, and what they remember; the last three tell of those that rest."""

    theta: Tensor
    here: Normal
    moving: Tensor
    damped: Tensor
    before: Tensor
    done: Tensor
    converged: Tensor
    steps: Tensor

    def select(self, rows: Tensor) -> "State":
        others = {name: value.index_select(-1, rows) for name, value in self._asdict().items() if name != "here"}
        return State(here=self.here.select(rows), **others)


class Plan(NamedTuple):
    """The next step: where it leads, how long it is beside the columns, and what it should gain."""

    tried: Tensor
    length: Tensor
    foretold: Tensor
    faint: Tensor
    rounding: Tensor


Parts = tuple[Callable[[Known, State, float], tuple[State, Plan]], Callable[[State, Plan, Normal], State]]


@torch.no_grad()
def solve_rows(
    problem: Problem,
    theta: Tensor,
    frozen: Tensor | None = None,
    steps: int = ENOUGH_STEPS,
    tolerance: float = TOLERANCE,
    damping: float = DAMPING,
    parts: "Parts | None" = None,
) -> Arrived:
    """theta <- theta - (J'J + damping*diag(J'J))**-1 J'r, each row for itself, until it has arrived and rests.

    A step that lowers the sum of squares is kept and its row's damping falls to nothing; any other is taken back and
    the damping rises (Levenberg, 1944; Marquardt, 1963). A parameter that meets a bound stops there, and the others
    make the best of that; one at a bound that the loss pulls beyond takes no part. Robust losses are reweighted.

    The normal equations cost a fifth of what orthogonal factors do, and square the condition number: with one of 1e4
    (columns of length 1) each step still has eight digits, with 1e7 and more a row may end as not converged where
    `levenberg_marquardt.minimum` arrives. The minimum itself is as exact as its gradient: parameters to 1e-9 of
    themselves or of their standard errors in double precision. Saddles are not looked for.

    Args:
        problem: the residuals.
        theta: where to start, `(F, R)`.
        frozen: which parameters stay as they are, `(F, R)`.
        steps: how many at most.
        tolerance: how far from the minimum a row may end, in units of the parameters' standard errors.
        damping: that of the first step; 0 where the start is so near that no step will leap too far.
        parts: the two halves of a step, where they have been compiled.

    Returns:
        Where each row arrived. A row that is not finite at its start stays there, and disturbs no other.
    """
    known = problem.known
    theta = theta.clone() if known.low is None else theta.clamp(known.low, known.high)
    count = theta.shape[-1]
    moving = torch.ones_like(theta, dtype=torch.bool) if frozen is None else ~frozen
    no = theta.new_zeros(count, dtype=torch.bool)
    state = State(
        theta,
        problem.look(theta),
        moving,
        theta.new_full((count,), damping),
        theta.new_full((count,), torch.nan),
        no,
        no.clone(),
        no.long(),
    )
    ended = Arrived(theta.clone(), state.here.total.clone(), no.clone(), no.long())  # overwritten as rows come to rest
    rows = torch.arange(count, device=theta.device)
    every = LOOKS if theta.device.type == "cuda" else 1
    for taken in range(steps + 1):
        plan, keep = parts if parts is not None and len(rows) >= FEW else (plan_step, keep_step)
        state, planned = plan(problem.known, state, tolerance)
        if taken == steps or taken % every == 0:
            resting = len(rows) if taken == steps else int(state.done.sum())
            if resting > RESTING * len(rows) or resting == len(rows):
                _write(ended, rows, state)
                if resting == len(rows):
                    break
                on = (~state.done).nonzero().squeeze(-1)
                rows, state, problem = rows[on], state.select(on), problem.select(on)
                planned = Plan(*(value.index_select(-1, on) for value in planned))
        state = keep(state, planned, problem.look(planned.tried))
    return ended


def _write(ended: Arrived, rows: Tensor, state: State) -> None:
    """Note where rows stand; those that go on will be noted again."""
    ended.theta[:, rows] = state.theta
    ended.total[rows] = state.here.total
    ended.converged[rows] = state.converged
    ended.steps[rows] = state.steps


def plan_step(known: Known, state: State, tolerance: float) -> tuple[State, Plan]:
    """The next step of each row, and which rows need none."""
    theta, here, damped, before = state.theta, state.here, state.damped, state.before
    precision = Precision.of(theta.dtype)
    pulled = _pulled(known, theta, here, state.moving)
    moves, foretold = _step(known, theta, here, pulled, damped)
    length = (moves * moves).sum(dim=0).sqrt()
    # a step is a part of the one before it, so that this much is left to go after this one
    share = torch.where(length < SLOWEST * before, length / before, SLOWEST).clamp(min=FASTEST)
    left = moves.abs() * (share / (1 - share))
    sizes, size = theta.abs() * here.size, here.total.sqrt()
    spare = (known.points_each - state.moving.sum(dim=0)).clamp(min=1)
    enough = torch.maximum(tolerance * size / spare.sqrt(), precision.still * sizes)
    rounding = 4 * precision.eps * size * (known.of_targets + size + sizes.sum(dim=0))
    faint = foretold.abs() <= rounding
    arrived = (left <= enough).all(dim=0) | (faint & (length >= before))
    arrived &= damped <= DAMPING  # else it is the damping that makes the step short
    stuck = (damped >= MOST) | ~torch.isfinite(here.total + length)
    flat = ((here.slope.abs() <= precision.cosine * size) | ~pulled).all(dim=0)
    converged = torch.isfinite(here.total) & (arrived | flat)
    new = ~state.done
    last = new & arrived & (foretold >= 0)  # that step, too, which is so short that it needs no trial
    tried = theta + moves / here.size
    if known.low is not None:
        tried = tried.clamp(known.low, known.high)
    total = torch.where(last, (here.total - foretold).clamp(min=0.0), here.total)
    state = state._replace(
        theta=torch.where(last, tried, theta),
        here=here._replace(total=total),
        done=state.done | arrived | stuck,
        converged=torch.where(new, converged, state.converged),
        steps=state.steps + last,
    )
    return state, Plan(tried, length, foretold, faint, rounding)


def keep_step(state: State, plan: Plan, there: Normal) -> State:
    """The rows where the step led, or where they were and with more damping."""
    here = state.here
    gained = here.total - there.total
    kept = ((gained > 0) & (gained >= 1e-4 * plan.foretold)) | (plan.faint & (gained >= -plan.rounding))
    kept = kept & torch.isfinite(there.total) & ~state.done
    well = gained >= 0.75 * plan.foretold
    less = torch.where(well, torch.where(state.damped > LEAST, 0.1 * state.damped, 0.0), state.damped)
    return state._replace(
        theta=torch.where(kept, plan.tried, state.theta),
        here=Normal(*(torch.where(kept, new, old) for new, old in zip(there, here, strict=True))),
        damped=torch.where(kept, less, (10 * state.damped).clamp(min=DAMPING)),
        before=torch.where(kept, plan.length, state.before),
        steps=state.steps + ~state.done,
    )


def _pulled(known: Known, theta: Tensor, here: Normal, moving: Tensor) -> Tensor:
    """Which parameters may take a step: neither frozen nor at a bound that the loss pulls beyond, `(F, R)`."""
    if known.low is None or known.high is None:
        return moving
    return moving & ~((theta <= known.low) & (here.slope > 0)) & ~((theta >= known.high) & (here.slope < 0))


def _step(known: Known, theta: Tensor, here: Normal, pulled: Tensor, damped: Tensor) -> tuple[Tensor, Tensor]:
    """The damped step of each row, between the bounds.

    Returns:
        The step times the columns' lengths, `(F, R)`; by how much the sum of squares should fall, `(R,)`.
    """
    pivot = Precision.of(theta.dtype).pivot
    step = -_solved(here.matrix, here.slope, pulled, damped, pivot)
    if known.low is None or known.high is None:
        return step, damped * (step * step).sum(dim=0) - (step * here.slope * pulled).sum(dim=0)
    low, high = ((bound - theta) * here.size for bound in (known.low, known.high))
    places = torch.arange(len(step), device=step.device).unsqueeze(-1)
    for _ in range(len(step)):
        beyond = torch.where(pulled, torch.maximum(low - step, step - high), 0.0)
        most, first = beyond.max(dim=0)
        if not torch.compiler.is_compiling() and step.device.type == "cpu" and not (most > 0).any():
            break
        # the one that goes farthest beyond stops at its bound, and the others have another step
        stops = (places == first) & (most > 0)
        pulled = pulled & ~stops
        step = torch.where(stops, step.clamp(low, high), step)
        stopped = torch.where(pulled, 0.0, step)
        slope = here.slope + _times(here.matrix, stopped)
        step = torch.where(most > 0, stopped - _solved(here.matrix, slope, pulled, damped, pivot), step)
    step = step.clamp(low, high)
    return step, -(step * (2 * here.slope + _times(here.matrix, step))).sum(dim=0)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """The symmetric matrix with the diagonal 1 times a vector `(F, R)`."""
    entries, values = iter(matrix.unbind(0)), vector.unbind(0)
    sums = list(values)
    for i in range(len(values)):
        for k in range(i):
            entry = next(entries)
            sums[i] = sums[i] + entry * values[k]
            sums[k] = sums[k] + entry * values[i]
    return torch.stack(sums)


def _solved(matrix: Tensor, slope: Tensor, pulled: Tensor, damped: Tensor, pivot: float) -> Tensor:
    """(matrix + damping*I)**-1 slope of the parameters that are pulled, 0 for the others, `(F, R)`; by Cholesky.

    A plane at a time: LAPACK's call for each row would cost several times the arithmetic.
    """
    lower = cholesky(matrix, pulled, 1 + damped, pivot)
    values = list(torch.where(pulled, slope, 0.0).unbind(0))
    for i, row in enumerate(lower):
        values[i] = less(values[i], row[:i], values) / row[i]
    for i in reversed(range(len(values))):
        for k in range(i + 1, len(values)):
            values[i] = torch.addcmul(values[i], lower[k][i], values[k], value=-1)
        values[i] = values[i] / lower[i][i]
    return torch.stack(values)


def cholesky(matrix: Tensor, pulled: Tensor, diagonal: Tensor, least: float) -> list[list[Tensor]]:
    """The lower factor, row by row, of a symmetric matrix of which the parameters that are not pulled are left out.

    Args:
        matrix: below the diagonal, `(F*(F-1)/2, R)`, as in `Normal`.
        pulled: which parameters count, `(F, R)`.
        diagonal: what stands on the diagonal, `(R,)`.
        least: what a pivot has at least.
    """
    takes, entries = pulled.unbind(0), iter(matrix.unbind(0))
    lower: list[list[Tensor]] = []
    for i in range(len(takes)):
        row: list[Tensor] = []
        for k in range(i):
            entry = next(entries) * (takes[i] & takes[k])
            row.append(less(entry, row, lower[k]) / lower[k][k])
        row.append(less(diagonal, row, row).clamp(min=least).sqrt())
        lower.append(row)
    return lower


def less(value: Tensor, left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """The value less the products of what stands at the same places, as far as the left ones go."""
    for a, b in zip(left, right, strict=False):
        value = torch.addcmul(value, a, b, value=-1)
    return value


def solve(
    problem: Residuals,
    theta: Array,
    frozen: Bools | None = None,
    steps: int = ENOUGH_STEPS,
    tolerance: float = TOLERANCE,
    damping: float = DAMPING,
) -> Solved:
    """`solve_rows` of a problem that computes in NumPy, as refits of one series do.

    Args:
        problem: the residuals, one row for each problem.
        theta: where to start, `(R, F)`.
        frozen: which parameters stay as they are, `(R, F)`.
        steps: how many at most.
        tolerance: how far from the minimum a row may end, in units of the parameters' standard errors.
        damping: that of the first step.
    """
    if not len(theta):
        none = np.empty(0)
        return Solved(theta, none, none.astype(bool), none.astype(np.int64))
    planes = torch.from_numpy(np.ascontiguousarray(theta.T))
    still = None if frozen is None else torch.from_numpy(np.ascontiguousarray(frozen.T))
    found = solve_rows(_Rows(problem), planes, still, steps, tolerance, damping)
    return Solved(
        np.ascontiguousarray(found.theta.numpy().T),
        found.total.numpy(),
        found.converged.numpy(),
        found.steps.numpy(),
    )


class _Rows:
    """`Residuals` as a `Problem`."""

    def __init__(self, problem: Residuals) -> None:
        self.problem = problem
        bounds = [torch.from_numpy(bound).unsqueeze(-1) for bound in (problem.low, problem.high) if problem.bounded]
        self.known = Known(*map(torch.from_numpy, (problem.size_of_targets, problem.points_each)), *bounds)
        self.parts = _parts(problem)

    def select(self, rows: Tensor) -> "_Rows":
        return _Rows(self.problem.select(rows.numpy()))

    @np.errstate(all="ignore")  # what is not finite is looked for
    def look(self, theta: Tensor) -> Normal:
        free, count = theta.shape
        total, squares, slope = np.empty(count), np.empty((free, count)), np.empty((free, count))
        matrix = np.empty((free * (free - 1) // 2, count))
        rows = np.ascontiguousarray(theta.numpy().T)
        for block, problem in self.parts:
            r, jac = problem.linearize(rows[block])
            total[block] = problem.sum_of(r)
            if problem.robust:
                roots = problem.roots_of_weights(r)
                r, jac = roots * r, roots[..., None] * jac
            columns = [jac[..., i] for i in range(free)]
            at = 0
            for i, column in enumerate(columns):
                slope[i, block], squares[i, block] = np.vecdot(column, r), np.vecdot(column, column)
                for k in range(i):
                    matrix[at, block] = np.vecdot(column, columns[k])
                    at += 1
        return normal_equations(*map(torch.from_numpy, (total, squares, slope, matrix)))


def _parts(problem: Residuals) -> list[tuple[slice, Residuals]]:
    """The rows in blocks: so few points at once that they stay in the processor's cache."""
    length = problem.points.targets.shape[-1]
    most = SMALL if problem.select(slice(0, 1)).tape is not None else BLOCK
    size = max(most // length, 1)
    if size >= problem.count:
        return [(slice(None), problem)]
    blocks = [slice(i, i + size) for i in range(0, problem.count, size)]
    return [(block, problem.select(block)) for block in blocks]
