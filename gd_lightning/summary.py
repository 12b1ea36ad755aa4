"""The honest summary: how far a descent has come, how far it could have come, and what to try."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gd_lightning.conditioning import Guidance
from gd_lightning.curve import Curve
from gd_lightning.levenberg_marquardt import LevenbergMarquardt, Minimum, minimum
from gd_lightning.losses import Loss, mse
from gd_lightning.points import Points
from gd_lightning.words import plural

__all__ = ["Summary", "summarize"]

NOTHING_LEFT = 1e-6  # a share of the loss that says that the parameters have arrived, too
AS_GOOD = 1e-3  # a loss that is larger by no more is as good


@dataclass(frozen=True)
class Summary:
    """What there is to say at the end of a descent.

    Attributes:
        sentences: a line each.
        best_loss: the least loss that Levenberg-Marquardt found, of several series their sum; none where it was not
            asked, or found nothing better.
        best_params: the parameters there, `(*batch, P)`, in double precision.
        best_steps: how many steps it took.
        suggestion: name of the update rule that arrives there from the same start; none where none was found to.
    """

    sentences: tuple[str, ...]
    best_loss: float | None = None
    best_params: Tensor | None = None
    best_steps: int | None = None
    suggestion: str | None = None


def summarize(
    curve: Curve,
    points: Points,
    loss_function: Loss,
    *,
    initial: Tensor,
    steps: int,
    optimizer: str,
    guidance: Guidance | None,
) -> Summary:
    """Compare where a descent has come with where Levenberg-Marquardt arrives from its start, and from its end.

    Args:
        curve: the curve at its end.
        points: what it was fitted to.
        loss_function: what was descended.
        initial: parameters at the start, `(*batch, P)`.
        steps: how many steps were taken.
        optimizer: name of the update rule.
        guidance: what the curvature says of its learning rate.
    """
    params = curve.params.detach()
    reached = _loss(curve, points, loss_function, params)
    if optimizer == LevenbergMarquardt.__name__:
        return Summary((), reached, params.double(), steps)
    if not math.isfinite(reached):
        return Summary(())
    from_start = minimum(curve, points, loss_function, initial)
    from_end = minimum(curve, points, loss_function, params)
    best = min(from_start, from_end, key=lambda found: _total(found, reached))
    least = _total(best, reached)
    suggests = _total(from_start, reached) - least <= AS_GOOD * max(least, 1e-9 * reached)
    suggests = suggests and all(verdict is not None for verdict in from_start.verdicts)
    pace = _pace(guidance)
    unit = "RMSE" if loss_function is mse and points.sigma is None else "loss"
    took = plural(steps, "step")
    of_all = f" over {math.prod(points.batch):,} series" if points.batch else ""
    now = f"{unit} {_shown(reached, unit, points)}{of_all} after {took}"
    if not least < reached:
        return Summary((f"{now}; Levenberg-Marquardt finds nothing better near it.",), reached, params.double(), steps)
    if reached <= least * (1 + AS_GOOD):
        share = (reached - least) / reached
        further = "" if share <= NOTHING_LEFT else ", though the parameters may have further to go"
        return Summary(
            (f"{now}; the loss is within {_percent(share)} of the least near it{further}.",),
            least,
            best.params,
            best.steps,
        )
    best = from_start if suggests else best
    how = f"Levenberg-Marquardt, {plural(best.steps, 'step')}{'' if suggests else ' from this end'}"
    found = "" if guidance is not None and guidance.exact else " found"  # where there may be other valleys
    which = f"the best {_name(curve)}{found} for these data has {_shown(least, unit, points)} ({how})"
    sentences = [f"{now}; {which}.", *pace]
    return Summary(tuple(sentences), least, best.params, best.steps, LevenbergMarquardt.__name__ if suggests else None)


def _name(curve: Curve) -> str:
    return curve.function_name if curve.function_name.isidentifier() else "curve of this formula"


def _pace(guidance: Guidance | None) -> list[str]:
    if guidance is None or math.isnan(guidance.growth):
        return []
    lines = guidance.sentences()
    near = "." if guidance.exact else ", near the start."
    return [f"{line.removesuffix('.')}{near}" for line in lines if line.startswith("At ")]


def _percent(share: float) -> str:
    return f"{share:.0e}" if share > 0 else "rounding"


def _total(found: Minimum, otherwise: float) -> float:
    total = found.loss.sum().item()
    return total if math.isfinite(total) else max(otherwise, 0.0) + math.inf


def _loss(curve: Curve, points: Points, loss_function: Loss, params: Tensor) -> float:
    """The loss in double precision; of several series their sum."""
    exact = points.double()
    with torch.no_grad():
        loss = loss_function(curve.evaluate(exact.t, params.double()), exact.targets, exact.sigma)
    return loss.sum().item() if torch.isfinite(loss).all() else math.inf


def _shown(total: float, unit: str, points: Points) -> str:
    """A loss, or as an RMSE over all series."""
    value = total / max(math.prod(points.batch), 1)
    return f"{value**0.5 if unit == 'RMSE' else value:.4g}"
