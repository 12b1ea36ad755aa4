"""Linear least squares between bounds."""

import numpy as np

from gd_lightning.arrays import Array
from gd_lightning.convergence import EPS, RANK, norm

__all__ = ["least_between"]


def least_between(rows: Array, values: Array, low: Array, high: Array) -> Array:
    """The x between bounds, 0 among them, that minimises norm(rows x - values) (Stark and Parker, 1995).

    Each that meets a bound stays there, and the others go on; once they are at their best, one that is pulled back
    inside is let go. The norm only falls.
    """
    x, free = np.zeros_like(low), np.ones(len(low), dtype=bool)
    sizes = norm(rows.T)
    for _ in range(10 * len(low)):
        goal = x.copy()
        goal[free] = np.linalg.lstsq(rows[:, free], values - rows[:, ~free] @ x[~free], rcond=RANK)[0]
        beyond = free & ((goal < low) | (goal > high))
        if beyond.any():
            ends = np.where(goal < low, low, high)
            share = np.divide(ends - x, goal - x, out=np.ones_like(x), where=beyond)
            first = int(np.argmin(share))
            x += share[first] * (goal - x)
            x, free[first] = np.clip(x, low, high), False
            x[first] = ends[first]
            continue
        x = goal
        rest = values - rows @ x
        pull = rows.T @ rest
        inward = ~free & np.where(x <= low, pull > 0, pull < 0) & (np.abs(pull) > 10 * EPS * sizes * norm(values))
        if not inward.any():
            break
        free[np.argmax(np.where(inward, np.abs(pull), 0.0))] = True
    return x
