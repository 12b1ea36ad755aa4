"""Levenberg-Marquardt: an update rule that knows the residuals and their Jacobian, and arrives."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from gd_lightning.arrays import Array, Bools, Ints
from gd_lightning.between_bounds import least_between
from gd_lightning.convergence import (
    DIVERGED,
    EPS,
    LEAST_MESSAGE,
    STUCK,
    Tangent,
    Verdict,
    around,
    norm,
    tangent,
    verdict,
)
from gd_lightning.curve import Curve
from gd_lightning.losses import Loss
from gd_lightning.points import Points
from gd_lightning.residuals import Residuals
from gd_lightning.shortest import shortest

__all__ = ["FOUND", "LOST", "MOST_STEPS", "RUNNING", "LevenbergMarquardt", "Minimum", "minimum"]

Rows = NDArray[np.intp]

RUNNING, FOUND, HALTED, LOST = range(4)

MOST_STEPS = 10_000  # it ends by itself; the hardest of NIST's problems takes a thousand
FIRST_RADIUS = 1.0  # in scaled norms of the start; MINPACK's 100 leaps over the valleys of BoxBOD and MGH10
TRIALS = 60  # radii tried in one step; each is at most half of the one before, so that the last ones move nothing
POLISHES = 200  # full steps after the loss has ceased to tell one place from another
EXACT = 1e-8  # how well a tangent foretells the loss of a function that is linear in its parameters
STILL = 1e-10  # beside the parameters, a full step after which the next one is below what eleven digits show
ESCAPES = 10  # times that a saddle is left


class LevenbergMarquardt(Optimizer):
    """theta <- theta - D**-1 (K'K + damping*I)**-1 K'r,  K = J D**-1,  the step no longer than it can be trusted.

    r are the residuals (preds - targets) / sigma, J is their exact Jacobian, D holds the largest norms that the columns
    of J have had. With a large damping the step goes down the gradient; with none it is Gauss and Newton's, which
    solves a function that is linear in its parameters at once. The radius of trust grows and shrinks with how well
    r + J step foretold the residuals; a step that does not lower the loss is not taken. The singular values of K give
    the step for any damping, and K'K, whose condition number is the square of K's, is never formed.

    It computes in double precision, whatever that of the parameters is. Robust losses are reweighted: a step is least
    squares with the weights that the residuals give at its beginning. A parameter at a bound that the loss pulls
    beyond takes no part. Several series go side by side, each with its own radius, and rest when they have arrived.

    Levenberg (1944), Marquardt (1963); scale and radius after Moré (1978).

    Args:
        params: one tensor, `(*batch, P)`.
        lr: not used: the radius takes its place.

    Attributes:
        residuals: those before the last step, `(S, T)`.
    """

    def __init__(self, params: Iterable[Parameter], lr: float | None = None) -> None:
        super().__init__(list(params), {"lr": lr if isinstance(lr, float) else 0.0})
        self.residuals = np.empty((0, 0))
        self._memory: dict[str, Any] = {}  # of each series; not in `state`, which takes on the parameters' precision
        self._now = self.residuals
        self._written: Tensor | None = None
        self._here: Tangent | None = None
        self._rows: Rows = np.empty(0, dtype=np.intp)

    def state_dict(self) -> dict[str, Any]:
        memory = {name: torch.from_numpy(values.copy()) for name, values in self._memory.items()}
        return {**super().state_dict(), "memory": memory}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._memory = {name: values.cpu().numpy().copy() for name, values in state_dict["memory"].items()}
        self._here = None

    @property
    def status(self) -> Ints:
        """RUNNING, FOUND, HALTED or LOST, of each series, `(S,)`; nothing before the first step."""
        status: Ints = self._memory.get("status", np.empty(0, dtype=np.int64))
        return status

    @property
    def theta(self) -> Array:
        """The free parameters in double precision, `(S, F)`."""
        theta: Array = self._memory["theta"]
        return theta

    def verdicts(self, problem: Residuals) -> list[Verdict | None]:
        """What became of each series; none of those that are under way."""
        memory = self._memory
        found: list[Verdict | None] = []
        for i, status in enumerate(memory["status"]):
            if status == RUNNING:
                found.append(None)
            elif status == LOST:
                found.append(
                    Verdict(
                        DIVERGED,
                        "the function, its derivative or a square is not finite there; try another start or units",
                    )
                )
            elif status == HALTED:
                found.append(
                    Verdict(
                        STUCK,
                        "no step, however short, lowers the loss as its gradient foretells; is the function smooth?",
                    )
                )
            else:
                held = memory["held"][i]
                found.append(verdict(problem, i, memory["theta"][i], memory["open"][i], held, LEAST_MESSAGE))
        return found

    def step(self, closure: Callable[[], float] | None = None) -> NoReturn:
        """Refuse to step without the residuals, which `advance` takes."""
        raise TypeError("LevenbergMarquardt.step needs the residuals: call advance(Residuals(curve, points)) instead")

    @torch.no_grad()
    @np.errstate(all="ignore")  # what is not finite is looked for
    def advance(self, problem: Residuals) -> None:
        """Step every series that has not arrived to a smaller loss.

        Args:
            problem: the residuals; their parameters are the optimizer's.
        """
        params = self.param_groups[0]["params"][0]
        if self._written is None or not torch.equal(params, self._written):  # somebody else has changed them
            self._memory = self._recall(problem)
        memory = self._memory
        if self._here is None:
            rows = np.flatnonzero(memory["status"] == RUNNING)
            first = problem.linearize(memory["theta"])
            self._now = first[0].copy()
            self._arrive(problem, memory, rows, first if len(rows) == problem.count else None)
        self.residuals = self._now
        if self._here is not None and len(self._rows):
            self._now = self._now.copy()
            every = len(self._rows) == problem.count
            part = memory if every else {name: values[self._rows] for name, values in memory.items()}
            known = descend(problem.select(self._rows), self._here, part)
            if not every:
                for name in memory:
                    memory[name][self._rows] = part[name]
            running = part["status"] == RUNNING
            self._arrive(problem, memory, self._rows[running], known if running.all() else None)
        values = problem.params(memory["theta"])
        if problem.curve.demands.constrained:
            values = problem.curve.demands.project(values)
        params.copy_(values)
        self._written = params.detach().clone()

    def _recall(self, problem: Residuals) -> dict[str, Any]:
        """What is remembered of each series, or what there is to begin with where the parameters are others now."""
        params = self.param_groups[0]["params"][0]
        theta = problem.theta
        if self._memory and (theta == self._memory["theta"].astype(str(params.dtype)[6:])).all():
            return self._memory
        self._here = None
        count = len(theta)
        return {
            "theta": theta.copy(),
            "scale": np.zeros_like(theta),
            "radius": np.full(count, np.nan),
            "length": np.full(count, np.nan),
            "polished": np.full(count, np.inf),
            "escapes": np.zeros(count, dtype=np.int64),
            "status": np.full(count, RUNNING),
            "open": np.zeros(theta.shape, dtype=bool),
            "held": np.zeros(theta.shape, dtype=bool),
        }

    def _arrive(
        self, problem: Residuals, memory: dict[str, Any], rows: Rows, known: tuple[Array, Array] | None = None
    ) -> None:
        """Look at where some series stand; those that have no more to gain than rounding are brought to the end."""
        self._rows = rows
        if not len(rows):
            return
        here = look(problem, memory, rows, known)
        self._now[rows] = here.residuals
        memory["status"][rows[~here.finite]] = LOST
        ended = ~here.promises & here.finite
        polished = rows[ended]
        if len(polished):
            polish(problem, memory, polished, here if ended.all() else here.select(ended), self._now)
        running = memory["status"][rows] == RUNNING
        self._rows = rows[running]
        if len(polished) and (memory["status"][polished] == RUNNING).any():  # moved on from what was no minimum
            self._arrive(problem, memory, self._rows)
        else:
            self._here = here if running.all() else here.select(running)


def look(problem: Residuals, memory: dict[str, Any], rows: Rows, known: tuple[Array, Array] | None = None) -> Tangent:
    """The tangents of some series; their scales and first radii are remembered."""
    here = tangent(problem.select(rows), memory["theta"][rows], memory["scale"][rows], known)
    memory["scale"][rows] = here.scale
    new = np.isnan(memory["radius"][rows])
    if new.any():
        size = norm(here.d * here.theta)
        # where the start is small beside what is wanted, so long a step that its gain can be told from rounding
        slope = 2 * norm(here.s * here.along)
        least = np.divide(here.rounding / EXACT, slope, out=np.zeros_like(slope), where=slope > 0)
        memory["radius"][rows[new]] = np.maximum(FIRST_RADIUS * np.where(size > 0, size, 1.0), least)[new]
    return here


def descend(problem: Residuals, at: Tangent, memory: dict[str, Any]) -> tuple[Array, Array] | None:
    """One step of each series: shorter and shorter ones are tried until one lowers the loss as much as foretold.

    Args:
        problem: the residuals of these series.
        at: their tangents.
        memory: theta, radius and status of each, changed in place.

    Returns:
        Residuals and Jacobian where the step led, if one trial was enough for all.
    """
    trying = np.ones(len(at.theta), dtype=bool)
    memory["length"][:] = norm(at.newton)
    shortened = np.zeros(len(at.theta), dtype=bool)
    for _ in range(TRIALS):
        tried, length, slope, foretold, full = trial(problem, at, memory["radius"])
        residuals, jac = problem.begin(tried)
        total = problem.sum_of(residuals)
        total = np.where(np.isnan(total), np.inf, total)
        gained = at.total - total
        ratio = np.where(foretold > 0, gained / foretold, -1.0)
        taken = trying & (ratio >= 1e-4)
        # the tangent is the function itself, as far as it was tried: then it may be trusted to the minimum
        exact = taken & ~full & ~shortened & (np.abs(ratio - 1) <= EXACT)
        shortened |= ~taken
        taken &= ~exact
        at_once = taken.all()
        radius = trusted(memory["radius"], length, ratio, gained, slope, total >= 100 * at.total, full)
        memory["radius"] = np.where(exact, np.inf, np.where(trying, radius, memory["radius"]))
        memory["theta"][taken] = tried[taken]
        if at_once:
            return residuals, jac()
        stuck = trying & ~taken & (np.abs(tried - at.theta) <= EPS * np.abs(at.theta)).all(axis=-1)
        memory["status"][stuck] = HALTED
        trying &= ~(taken | stuck)
        if not trying.any():
            return None
    memory["status"][trying] = HALTED
    return None


def trial(problem: Residuals, at: Tangent, radius: Array) -> tuple[Array, Array, Array, Array, Bools]:
    """The best step of at most some length, as far as the tangent tells.

    Returns:
        Where it leads, `(S, F)`; how long D times it is; the slope of half the sum of squares along it; by how much the
        sum of squares should fall; and whether it is the full step, that no radius shortened.
    """
    along, foretold, full, damping = restricted(at, radius)
    tried = at.theta + at.step(along)
    if not problem.bounded:
        return tried, norm(along), np.vecdot(along * at.s, at.along), foretold, full
    tried = within_bounds(problem, at, tried, damping)
    moved = tried - at.theta
    change = np.einsum("stf,sf->st", at.jac, moved)
    slope = np.einsum("st,st->s", at.r, change)
    return tried, norm(moved * at.d), slope, -2 * slope - np.einsum("st,st->s", change, change), full


def restricted(at: Tangent, radius: Array) -> tuple[Array, Array, Bools, Array]:
    """The step that minimises norm(r + K step) among those no longer than a radius.

    Args:
        at: the tangent.
        radius: the most length, `(S,)`.

    Returns:
        The step along the right singular vectors, `(S, F)`, by how much it should lower the sum of squares, whether it
        is the full one, and the damping.
    """
    step = newton = at.newton
    length = norm(newton)
    full = length <= 1.1 * radius
    damping = np.zeros(len(radius))
    if full.all():
        return newton, at.promise, full, damping
    square = np.where(at.along != 0, at.s**2, 1.0)
    for _ in range(30):
        # Newton's method for 1/length = 1/radius, which is nearly straight in the damping (Hebden, 1973)
        bend = np.vecdot(step / (square + damping[:, None]), step)
        damping = np.where(full, 0.0, damping + (length / radius - 1) * length**2 / bend)
        step = -at.s * at.along / (square + damping[:, None])
        length = norm(step)
        if (full | (np.abs(length - radius) <= 0.1 * radius)).all():
            break
    left = damping[:, None] / (square + damping[:, None])
    return np.where(full[:, None], newton, step), np.vecdot(at.along**2, 1 - left**2), full, damping


def within_bounds(problem: Residuals, at: Tangent, tried: Array, damping: Array) -> Array:
    """A trial in which those that crossed a bound stop at it, and the others make the best of that."""
    tried = tried.copy()
    for i in np.flatnonzero(((tried < problem.low) | (tried > problem.high)).any(axis=-1)):
        low, high = (at.d[i] * (bound - at.theta[i]) for bound in (problem.low, problem.high))
        rows = np.concatenate([at.s[i, :, None] * at.vt[i], damping[i] ** 0.5 * np.eye(len(low))])
        step = least_between(rows, np.concatenate([-at.along[i], np.zeros(len(low))]), low, high)
        tried[i] = np.where(
            step <= low, problem.low, np.where(step >= high, problem.high, at.theta[i] + step / at.d[i])
        )
    return np.clip(tried, problem.low, problem.high)


def trusted(
    radius: Array, length: Array, ratio: Array, gained: Array, slope: Array, worse: Bools, full: Bools
) -> Array:
    """The radius after a trial: shorter where the tangent foretold too much, twice the step where it foretold well.

    Args:
        radius: radius of the trial, `(S,)`.
        length: length of its step.
        ratio: what it gained beside what was foretold.
        gained: what it gained.
        slope: of half the sum of squares along the step.
        worse: whether the sum of squares became a hundred times larger, or more.
        full: whether no radius shortened the step.
    """
    # along the step half the sum of squares is about a parabola with this slope: trust as far as where it is least
    least = np.where(gained >= 0, 0.5, 0.5 * slope / (slope + 0.5 * gained))
    shorter = np.where(worse | ~(least >= 0.1), 0.1, least) * np.minimum(radius, 10 * length)
    longer = np.where(full | (ratio >= 0.75), 2 * length, radius)
    return np.where(ratio <= 0.25, shorter, longer)


def polish(problem: Residuals, memory: dict[str, Any], rows: Rows, at: Tangent, now: Array) -> None:
    """Full steps for as long as they become shorter, where the loss no longer tells one place from another.

    A minimum is flat: where a parameter is off by 1e-8, the loss is off by 1e-16, and the gradient still tells.

    Args:
        problem: the residuals of all series.
        memory: of all series, changed in place.
        rows: those to polish.
        at: their tangents.
        now: the residuals of all series, changed in place.
    """
    endless = np.full(len(rows), np.inf)
    for _ in range(POLISHES):
        some = problem.select(rows)
        tried, length, *_ = trial(some, at, endless[: len(rows)])
        residuals, jac = some.begin(tried)
        moves = (length < memory["polished"][rows]) & (some.sum_of(residuals) <= at.total + at.rounding)
        # each step is a part of the one before it, so that this much is still to come after this one
        part = np.clip(np.nan_to_num(length / memory["length"][rows], nan=0.9), 0.1, 0.9)
        still = (np.abs(tried - at.theta) * (part / (1 - part))[:, None] <= STILL * np.abs(at.theta)).all(axis=-1)
        memory["polished"][rows] = memory["length"][rows] = length
        memory["theta"][rows[moves]] = tried[moves]
        ended = ~moves | still
        if ended.any():
            confirm(problem, memory, rows[ended], at if ended.all() else at.select(ended))
        rows = rows[~ended]
        if not len(rows):
            return
        at = look(problem, memory, rows, None if ended.any() else (residuals, jac()))
        now[rows] = at.residuals
        memory["status"][rows[~at.finite]] = LOST
        left = ~at.promises & at.finite
        if not left.all():
            rows, at = rows[left], at.select(left)
        if not len(rows):
            return
    confirm(problem, memory, rows, at)


def confirm(problem: Residuals, memory: dict[str, Any], rows: Rows, at: Tangent) -> None:
    """Look around the minimum; where the loss is lower, it is none, but a saddle or a top: go on from there.

    Likewise where the loss is lower without what the start put into directions that the data leave open.
    """
    memory["status"][rows] = FOUND
    some = problem.select(rows)
    memory["open"][rows], memory["held"][rows] = at.undetermined(some), at.held
    place, total, length = around(some, at)
    lower = total < at.total - 10 * at.rounding
    nearer, better = shortest(some, at)
    place, lower = np.where(better[:, None], nearer, place), lower | better
    length = np.where(better, np.nan, length)  # so that the radius is that of a start
    lower &= memory["escapes"][rows] < ESCAPES
    left = rows[lower]
    memory["theta"][left], memory["radius"][left] = place[lower], length[lower]
    memory["status"][left], memory["polished"][left] = RUNNING, np.inf
    memory["escapes"][left] += 1


class Minimum(NamedTuple):
    """Where Levenberg-Marquardt arrives from some start.

    Attributes:
        params: parameters `(*batch, P)`, in double precision.
        loss: the loss there, `(*batch)`.
        steps: how many steps it took.
        each: how many each series took, `(S,)`.
        verdicts: what became of each series; none of those that had steps still to take.
    """

    params: Tensor
    loss: Tensor
    steps: int
    each: Ints
    verdicts: list[Verdict | None]


@torch.no_grad()
def minimum(curve: Curve, points: Points, loss_function: Loss, start: Tensor, steps: int = MOST_STEPS) -> Minimum:
    """Descend from a start with `LevenbergMarquardt`, and leave the curve as it is.

    Args:
        curve: the curve.
        points: what it is fitted to.
        loss_function: what is descended.
        start: parameters `(*batch, P)`.
        steps: how many steps at most.
    """
    with curve.at(start):
        problem = Residuals(curve, points, loss_function)
        optimizer = LevenbergMarquardt([curve.params])
        taken, each = 0, np.zeros(problem.count, dtype=np.int64)
        while taken < steps and (taken == 0 or (optimizer.status == RUNNING).any()):
            each += optimizer.status == RUNNING if taken else 1
            optimizer.advance(problem)
            taken += 1
        params = curve.demands.project(problem.params(optimizer.theta))
        loss = torch.from_numpy(problem.sum_of(problem(optimizer.theta)) / problem.points_each)
        return Minimum(params, loss.reshape(points.batch), taken, each, optimizer.verdicts(problem))
