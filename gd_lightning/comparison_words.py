"""What a comparison says in words: the best function, what cannot be told from it, and whether it is any good."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from gd_lightning.cautions import beyond_sigma
from gd_lightning.comparison_table import CRITERIA, NEAR, NO_SUPPORT, SCORES, decimals
from gd_lightning.convergence import STEP_LIMIT, STUCK
from gd_lightning.digits import number
from gd_lightning.least_squares import jacobian
from gd_lightning.residual_checks import FAILS
from gd_lightning.words import listed

if TYPE_CHECKING:
    from gd_lightning.comparison import Comparison
    from gd_lightning.comparison_row import Row

__all__ = ["sentences"]

ALONE = 0.99  # a leverage above which a point decides alone what the curve is there, and tests nothing
CHANCE = 0.05  # that noise alone shows as much
MANY = 6  # functions in a list
LITTLE = 0.5  # a share of the variation, below which more is left than explained


def sentences(found: "Comparison") -> list[str]:
    """What follows, in words: the best, what cannot be told from it, and whether it is any good."""
    if found.best is None:
        return ["None of the functions could be fitted."]
    return [
        *_about_the_count(found),
        *_about_the_weights(found),
        *_about_the_first(found),
        *_about_the_same_curve(found),
        *_about_those_on_their_way(found),
        *_about_the_fit(found, found.best),
    ]


def _about_the_count(found: "Comparison") -> list[str]:
    n, lines = found.baseline.goodness.n if found.baseline.goodness else 0, []
    if found.by != found.asked:
        lines.append(
            f"With {n} points {CRITERIA[found.asked]} is infinite for every function: they are ranked by "
            f"{CRITERIA[found.by]}, which likes parameters too well where points are few."
        )
    elif found.by == "aicc" and (few := [row.function for row in found.fitted if row.aicc == math.inf]):
        lines.append(
            f"With {n} points AICc is infinite for {listed(few)}, which stand{'s' * (len(few) == 1)} behind: it "
            "takes two more points than parameters."
        )
    met = [row.function for row in found.fitted if not row.tells]
    if met and found.by in CRITERIA:
        have, meet = ("has", "meets") if len(met) == 1 else ("have", "meet")
        lines.append(
            f"{listed(met)} {have} as many parameters as there are points, and {meet} them whatever they are: "
            "that tells nothing."
        )
    return lines


def _about_the_weights(found: "Comparison") -> list[str]:
    sigma = found.points.sigma
    if sigma is not None and bool((sigma != sigma[0]).any()):
        return [f"RMSE counts all points alike; R2 and {found.measure} weigh them by 1/sigma**2."]
    return []


def _about_the_first(found: "Comparison") -> list[str]:
    near = [row.function for row in found.indistinguishable]
    assert found.best is not None
    others = [row for row in found.fitted if row is not found.best and (row.tells or found.by in SCORES)]
    if len(near) > 1:
        why = f"{found.measure} differs by less than {NEAR:g}"
        if found.by in SCORES:
            why = "mean squared errors at points kept out within two standard errors of their difference to the first"
        return [f"{_some(near)} are indistinguishable on these data ({why})."]
    if not others:
        return []
    second = others[0]
    apart = f"{found.measure} is {decimals(second.difference, 1)} lower than that of {second.function}, the next"
    if second.difference == math.inf:
        apart = f"the only one whose {found.measure} is finite"
    if found.by in SCORES:
        apart = f"{found.measure} {number(found.best.score, 4)}, against {number(second.score, 4)} of {second.function}"
    weight = "" if found.best.weight is None else f"; weight {found.best.weight:.3f}"
    return [f"{found.best.function} describes the data best of them ({apart}{weight})."]


def _about_the_same_curve(found: "Comparison") -> list[str]:
    groups = [group for group in found.same if len(group) > 1]
    return [f"{listed(group)} draw the same curve: no data of this kind tell them apart." for group in groups]


def _about_those_on_their_way(found: "Comparison") -> list[str]:
    """Those that matter and may be better than they stand here."""
    late = [
        row.function for row in found.fitted[1:] if row.status in (STEP_LIMIT, STUCK) and not _far_behind(found, row)
    ]
    if not late:
        return []
    they, stand = ("it", "stands") if len(late) == 1 else ("they", "stand")
    return [f"{_some(late)} ended before the loss was least: {they} may be better than {they} {stand} here."]


def _far_behind(found: "Comparison", row: "Row") -> bool:
    return found.by in CRITERIA and row.difference >= NO_SUPPORT


def _about_the_fit(found: "Comparison", best: "Row") -> list[str]:
    """Whether the best is any good."""
    lines = []
    wrong = _trends(best)
    beaten = not found.value(best) < found.value(found.baseline) - (NEAR if found.by in CRITERIA else 0.0)
    if beaten:
        lines.append(f"None of them is better than a constant, by {found.measure}: the data show no course to tell.")
    elif _may_be_chance(found, best):
        lines.append(
            f"{best.function} may be no more than chance: of {len(found.fitted)} functions one comes as near to "
            "mere noise, often enough."
        )
    elif wrong:
        lines.append(f"None of them describes the data: even {best.function} leaves residuals that {wrong}.")
    if not beaten and best.r2 < LITTLE:
        lines.append(f"{best.function} explains only {max(best.r2, 0):.0%} of the variation of the data.")
    if not beaten and (alone := _points_alone(best)):
        meets = "1 point that decides" if alone == 1 else f"{alone} points that each decide"
        lines.append(f"{best.function} passes through {meets} alone what it is there: nothing tests it.")
    if best.reason:
        ended = "has not arrived" if best.status == STEP_LIMIT else f"is {best.status}"
        lines.append(f"{best.function} {ended}: {best.reason.rstrip('.?')}.")
    return lines


def _may_be_chance(found: "Comparison", best: "Row") -> bool:
    """Whether noise about a constant would let one of so many functions come as near.

    The chance that F = ((s0 - s) / (p - 1)) / (s / (n - p)) is as large of one function, times the number of
    functions, and of points where it chooses its place among them, as a peak or a frequency does (Bonferroni).
    """
    from scipy.special import fdtrc

    assert best.goodness is not None
    assert best.result is not None
    n, p = best.goodness.n, best.goodness.p
    if p < 2 or n <= p or not best.r2 < 1:
        return False
    ratio = (best.r2 / (p - 1)) / ((1 - best.r2) / (n - p))
    places = 1 if best.result.curve.linear else n
    return bool(fdtrc(p - 1, n - p, max(ratio, 0.0)) * len(found.fitted) * places > CHANCE)


def _trends(best: "Row") -> str:
    """What the residuals of a fit show that noise does not; nothing where all is well."""
    assert best.result is not None
    assert best.goodness is not None
    checks, told = best.result.residual_checks, []
    if checks.runs[0] < FAILS and checks.changes[0] < checks.expected_changes[0]:
        told.append(
            f"change sign {checks.changes[0]:.0f} times, where noise does about {checks.expected_changes[0]:.0f}"
        )
    elif checks.autocorrelation[0] < FAILS and checks.correlation[0] > 0:
        told.append(f"resemble their neighbours (correlation {checks.correlation[0]:.2f})")
    if best.result.absolute_sigma:
        larger, _, ratio = beyond_sigma(best.result)
        if larger[0]:
            told.append(f"are larger than sigma says (reduced chi-square {ratio[0]:.3g})")
    return " and ".join(told)


def _points_alone(row: "Row") -> int:
    """How many points a fit meets because nothing else does what it is there: those of leverage about 1.

    The leverage of a point, the diagonal of J (J'J)**-1 J', is how far the curve follows when the point moves by 1.
    """
    found = row.result
    assert found is not None
    assert row.goodness is not None
    if not row.tells:
        return 0  # which is told in another way
    params = found.curve.params.detach()
    jac = jacobian(lambda values: found.curve.evaluate(found.t, values), params)[:, found.curve.demands.free]
    jac = jac if found.points.sigma is None else jac / found.points.sigma.unsqueeze(-1)
    size = jac.abs().amax(dim=0)
    if not torch.isfinite(jac).all() or not (size > 0).any():
        return 0
    jac = jac[:, size > 0] / size[size > 0]
    left, values, _ = torch.linalg.svd(jac / jac.norm(dim=0), full_matrices=False)
    determined = left[:, values > 1e-10 * values[0]]
    return int((determined.square().sum(dim=-1) > ALONE).sum())


def _some(names: Sequence[str]) -> str:
    """Names in a sentence, as long as there are not too many."""
    return listed(names) if len(names) <= MANY else f"{names[0]} and {len(names) - 1} others"
