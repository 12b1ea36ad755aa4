"""Places of least loss without what a start put into directions in which the data tell nothing."""

import numpy as np

from gd_lightning.arrays import Array, Bools, Ints
from gd_lightning.between_bounds import least_between
from gd_lightning.convergence import EPS, FAINT, Tangent, column_norms, norm, tangent
from gd_lightning.residuals import Residuals

__all__ = ["shortest"]

SAME = 1e-10  # beside a derivative, what is no difference; is_linear has the same
APPROACHES = 20  # each takes away up to 16 digits of what a start put in excess


@np.errstate(all="ignore")  # what is not finite is looked for
def shortest(problem: Residuals, at: Tangent) -> tuple[Array, Bools]:
    """The shortest of the places at which a linear function fits best, and whether the loss is lower there.

    Far from 0 the powers of t are nearly parallel. A start of about 1 puts terms of the size of t**5 into a direction
    that the data do not tell from rounding, where no step takes them out again; and beside terms of 1e16 a prediction
    has no digits behind its point. The shortest place has nothing in such directions. How many of them tell something
    after all is tried, from none to each, and decided by the loss and what it is rounded by. Of a function that is
    not linear a tangent tells nothing so far away: nothing is sought for it.

    Args:
        problem: the residuals.
        at: their tangents, where these promise nothing more.

    Returns:
        The place, `(S, F)`, and whether the loss is lower there by more than it is rounded, `(S,)`.
    """
    place = at.theta
    lower: Bools = at.determined.sum(axis=-1) < (~at.held).sum(axis=-1)
    if not lower.any():
        return place, lower
    nearer = solution(problem, at, at.determined.sum(axis=-1))
    lower = lower & straight(problem, at.theta, nearer)
    if not lower.any():
        return place, lower
    # what the data are rounded to is nothing to move for
    lowest = np.where(lower, at.total - (FAINT * problem.size_of_targets) ** 2, -np.inf)
    gains: Bools = np.zeros(len(place), dtype=bool)
    for _ in range(APPROACHES):  # large terms cancel in what is left of them, but for their rounding
        if not (norm(at.d * nearer) < 0.5 * norm(at.d * at.theta)).any():
            break
        at = tangent(problem, nearer, at.scale)
        nearer = solution(problem, at, at.determined.sum(axis=-1))
    least = at.determined.sum(axis=-1)
    norms = column_norms(at.jac)
    for k in range(int(least.min()), at.s.shape[-1] + 1):
        tried = solution(problem, at, np.maximum(k, least))
        total = problem.sum_of(problem(tried))
        size = np.sqrt(total)
        total += 4 * size * EPS * (problem.size_of_targets + size + np.vecdot(norms, np.abs(tried)))
        better = total < lowest
        place, lowest = np.where(better[:, None], tried, place), np.where(better, total, lowest)
        gains |= better
    return place, gains


def straight(problem: Residuals, theta: Array, other: Array) -> Bools:
    """Whether the residuals have the same derivatives at two places, as those of a linear function have, `(S,)`."""
    jac, away = problem.linearize(theta)[1], problem.linearize(other)[1]
    same: Bools = np.all(column_norms(away - jac) <= SAME * column_norms(jac), axis=-1)
    return same


def solution(problem: Residuals, at: Tangent, count: Ints) -> Array:
    """D**-1 V_k (V_k' D theta - s_k**-1 U_k' r), where K = J D**-1 = U s V' and k counts the largest singular values.

    Args:
        problem: the residuals, whose bounds are kept.
        at: their tangents.
        count: how many singular values count, `(S,)`.
    """
    here = np.where(at.held, 0.0, at.d * at.theta)
    counts = np.arange(here.shape[-1]) < count[:, None]
    along = np.where(counts, (at.vt @ here[..., None])[..., 0] - at.seen / at.s, 0.0)
    found = np.where(at.held, at.theta, at.step(along))
    for i in np.flatnonzero(((found < problem.low) | (found > problem.high)).any(axis=-1)):
        low, high = at.d[i] * problem.low, at.d[i] * problem.high
        first = np.clip(0.0, low, high)  # the shortest of all
        rows = at.s[i, :, None] * at.vt[i] * counts[i, :, None]
        x = first + least_between(rows, at.s[i] * along[i] - rows @ first, low - first, high - first)
        within = np.where(x <= low, problem.low, np.where(x >= high, problem.high, x / at.d[i]))
        found[i] = np.where(at.held[i], at.theta[i], within)
    return np.clip(found, problem.low, problem.high)
