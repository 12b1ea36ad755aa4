"""Where a descent begins: at random values, at a guess from the data, or at the best of many random starts."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from gd_lightning.curve import Curve, initialize
from gd_lightning.errors import InputError, suggest
from gd_lightning.least_squares import jacobian, levenberg_marquardt, solve_linear
from gd_lightning.points import Points, check_sizes, some_of

__all__ = [
    "GIVEN",
    "GUESS",
    "MULTI_START",
    "RANDOM",
    "REFINED_BY",
    "SCREENED_BY",
    "Problem",
    "check_start",
    "is_linear",
    "set_start",
]

STARTS = ("random", "data")
GIVEN, RANDOM, GUESS, MULTI_START = "given", "random", "guess", "multi-start"

# Starts that are drawn, points they are judged by, the best that are refined, and points for the refinement.
DRAWN, SCREENED_BY, REFINED, REFINED_BY = 4000, 200, 40, 1000

UNDERFLOW = 1e-280  # below it numbers lose digits
PROBES = 8  # random parameters at which it is seen whether a function is linear in some of them


def check_start(start: str | None) -> None:
    """Refuse a kind of start that there is not.

    Raises:
        InputError: naming the kinds there are.
    """
    if start is not None and (not isinstance(start, str) or start not in STARTS):
        raise InputError(f"start: given {start!r}; {suggest(str(start), STARTS)}, or none to leave the choice")


def set_start(
    curve: Curve,
    points: Points,
    generator: torch.Generator,
    start: str | None = None,
    init: Mapping[str, float] | None = None,
) -> str:
    """Give a curve its starting values.

    Args:
        curve: the curve.
        points: what it is to be fitted to.
        generator: the source of randomness, on the CPU.
        start: `"random"` for the article's normal numbers; `"data"` for the function's guess, or, where it has none,
            the best of many random starts. Unless given, a function that is linear in its parameters starts at
            random, since each start leads it to the same end, and any other from the data.
        init: values by name, which go before both.

    Returns:
        Where it begins: `GIVEN`, `RANDOM`, `GUESS` or `MULTI_START`.

    Raises:
        InputError: a value of `init` that cannot be, data whose squares no number can hold, or a function that cannot
            be computed for many starts where `start` asks for them.
    """
    state = generator.get_state()
    try:
        return _set_start(curve, points, generator, start, init)
    except InputError:
        raise
    except Exception as error:  # whatever a function of the user's may raise where there are many starts side by side
        if start == "data":
            raise InputError(
                f"start: {curve.function_name} cannot be computed for many starts side by side ({error}); write it "
                "with what broadcasts, or start at random"
            ) from None
        generator.set_state(state)
        return _set_start(curve, points, generator, "random", init)


def _set_start(
    curve: Curve, points: Points, generator: torch.Generator, start: str | None, init: Mapping[str, float] | None
) -> str:
    known = curve.known_start(init)
    wanted = [i for i in curve.demands.free if curve.names[i] not in known]
    from_data = start == "data" or (start is None and bool(wanted) and not is_linear(curve, points))
    if from_data and wanted:
        for one in points.each():
            check_sizes(one)
        state = generator.get_state()  # from which each series draws, so that it starts as it would alone
        rows = [_found(curve, one, known, wanted, generator.set_state(state)) for one in points.each()]
        curve.start(torch.stack(rows).reshape(*points.batch, len(curve.names)), init)
        return MULTI_START if curve.guess is None else GUESS
    curve.start(initialize(len(curve.names), generator).expand(*points.batch, -1), init)
    return RANDOM if wanted else GIVEN


def is_linear(curve: Curve, points: Points) -> bool:
    """Whether a curve is linear in its free parameters, so that its loss has one minimum and no other valley."""
    if curve.linear is None:
        problem = Problem.of(curve, points.one(0), curve.known_start(), list(curve.demands.free), SCREENED_BY)
        try:
            curve.linear = len(problem.linear_subset()) == len(curve.demands.free)
        except Exception:  # a function of the user's that cannot be computed for many parameters side by side
            curve.linear = False
    return curve.linear


def _found(
    curve: Curve, points: Points, known: Mapping[str, float], wanted: list[int], generator: torch.Generator
) -> Tensor:
    """Starting values (P,) of one series, found from its points."""
    problem = Problem.of(curve, points, known, wanted, REFINED_BY)
    if curve.guess is None:
        return problem.filled(_multi_start(problem, generator)).cpu()
    t, y = points.columns[0].double().cpu(), points.targets.double().cpu()
    guess = torch.tensor(list(curve.guess(t, y)), dtype=torch.float64)
    weighted = points.sigma is not None and bool((points.sigma != points.sigma[0]).any())
    if len(wanted) == len(curve.names) and not curve.demands.constrained and not weighted:
        return guess
    # The guess knows nothing of what was demanded, or of sigma: let the wanted parameters make room for that.
    adapted, _ = problem.refine(guess.to(problem.base)[wanted].unsqueeze(0))
    return problem.filled(adapted[0]).cpu()


class Problem(NamedTuple):
    """One series as least squares over the parameters that are wanted, `(*batch, F)`, in double precision."""

    curve: Curve
    points: Points
    base: Tensor
    wanted: list[int]

    @classmethod
    def of(cls, curve: Curve, points: Points, known: Mapping[str, float], wanted: list[int], most: int) -> "Problem":
        count = len(points.targets)
        if count > most:
            points = points.where(some_of(count, most).sort().values.to(points.targets.device))
        points = points.double()
        base = points.targets.new_zeros(len(curve.names))
        for name, value in known.items():
            base[curve.names.index(name)] = value
        return cls(curve, points, base, wanted)

    def filled(self, values: Tensor) -> Tensor:
        """All parameters `(*batch, P)`, from those that are wanted `(*batch, F)`."""
        places = torch.tensor(self.wanted, device=self.base.device)
        return self.base.expand(*values.shape[:-1], -1).index_copy(-1, places, values)

    def predict(self, values: Tensor) -> Tensor:
        """Predictions `(*batch, T)`, or nothing finite where the function fails."""
        preds = self.curve.evaluate(self.points.t, self.filled(values))
        return preds.expand(*values.shape[:-1], len(self.points.targets))

    def residuals(self, values: Tensor) -> Tensor:
        """(preds - targets) / sigma, `(*batch, T)`; infinite where the precision of the fit, single, has none."""
        difference = self.predict(values) - self.points.targets
        if self.curve.params.dtype != torch.float64:
            difference = torch.where(self._computable(values), difference, torch.inf)
        return difference if self.points.sigma is None else difference / self.points.sigma

    @torch.no_grad()
    def _computable(self, values: Tensor) -> Tensor:
        """Which values `(*batch, F)` give finite predictions in the precision of the fit, `(*batch, 1)`."""
        like = self.curve.params
        preds = self.curve.evaluate(self.points.to(like).t, self.filled(values).to(like))
        preds = preds.expand(*values.shape[:-1], len(self.points.targets))
        return torch.isfinite(preds).all(dim=-1, keepdim=True)

    @torch.no_grad()
    def plainest(self, values: Tensor) -> Tensor:
        """Of several solutions `(G, F)` the one `(F,)` to prefer among those that fit as well as the best.

        It fits in the precision of the fit, too; it goes the straightest way from point to point, so that of two
        frequencies which evenly spaced points cannot tell apart it has the lower one; and its numbers are small.
        """
        single = self._replace(points=self.points.to(self.curve.params), base=self.base.to(self.curve.params))
        exact, loss = (
            problem.residuals(values.to(problem.base)).double().square().sum(dim=-1).nan_to_num(nan=torch.inf)
            for problem in (self, single)
        )
        noise = 1e-12 * self.points.targets.square().sum()
        exact = exact.where(loss <= 1.01 * loss.min() + noise, torch.inf)
        good = values[exact <= 1.01 * exact.min() + noise]
        rough = self._roughness(good)
        good = good[rough <= 1.1 * rough.min() + noise.sqrt()]
        return good[good.abs().log1p().sum(dim=-1).argmin()]

    def _roughness(self, values: Tensor) -> Tensor:
        """How far predictions `(G, T)` half-way between neighbouring points lie from the straight line; `(G,)`."""
        order = self.points.columns[0].argsort()
        ends = tuple(column[order] for column in self.points.columns)
        middles = tuple((column[1:] + column[:-1]) / 2 for column in ends)
        several = isinstance(self.points.t, tuple)
        params = self.filled(values)
        at_ends, between = (self.curve.evaluate(t if several else t[0], params) for t in (ends, middles))
        return (between - (at_ends[..., 1:] + at_ends[..., :-1]) / 2).abs().sum(dim=-1).nan_to_num(nan=torch.inf)

    def project(self, values: Tensor) -> Tensor:
        """The wanted parameters within their bounds."""
        return self.curve.demands.project(self.filled(values))[..., self.wanted]

    def refine(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """A quick descent from each of some starts `(*batch, F)`."""
        return levenberg_marquardt(self.residuals, values, self.project)

    def linear_subset(self, bounded: bool = False) -> list[int]:
        """Places, among those wanted, of parameters in which the function is linear together: the most there are.

        Those with bounds, which least squares would not heed, are among them only if asked for.

        A function is linear in p and q together where every second difference vanishes:
        f(p+h, q+k) - f(p+h, q) - f(p, q+k) + f(p, q) = 0; p = q tells whether it is linear in p alone.
        """
        count, generator = len(self.wanted), torch.Generator().manual_seed(0)
        probe = self.draw(PROBES, generator)
        steps = torch.diag_embed(self.draw(PROBES, generator) - probe)  # (N, F, F): one parameter moved at a time
        with torch.no_grad():
            here = self.predict(probe)[:, None, None]
            one = self.predict(probe.unsqueeze(-2) + steps)
            two = self.predict(probe[:, None, None] + steps.unsqueeze(1) + steps.unsqueeze(2))
        second = two - one.unsqueeze(1) - one.unsqueeze(2) + here
        size = torch.stack([two.abs(), one.abs().unsqueeze(1).expand_as(two), here.abs().expand_as(two)]).amax(0)
        usable = torch.isfinite(second).all(dim=-1)
        vanishes = ((second.abs() <= 1e-10 * size + UNDERFLOW).all(dim=-1) | ~usable).all(dim=0)
        acts = (jacobian(self.predict, probe).abs() > UNDERFLOW).any(dim=1)  # exact, also beside what is far larger
        # where it saturates, second differences tell nothing
        tried = (usable.diagonal(dim1=1, dim2=2) & acts).sum(dim=0) >= 2
        linear = vanishes.diagonal() & tried
        without = [not bounded and self.curve.demands.all[i].bounded for i in self.wanted]
        chosen = [i for i in range(count) if linear[i] and not without[i]]
        while chosen:
            conflicts = [sum(not vanishes[i, j] for j in chosen) for i in chosen]
            if max(conflicts) == 0:
                break
            # of those with as many the last: a height is mostly named before what it multiplies
            del chosen[max(range(len(chosen)), key=lambda place: (conflicts[place], place))]
        return chosen

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Random values `(count, F)` of what a parameter may be, given the data: a place, a width, a rate, a number.

        Nothing is known of what a parameter means; so each draw takes one of these meanings for each at random.
        """

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)

        values = []
        for i in self.wanted:
            column = self.points.columns[int(torch.randint(len(self.points.columns), (1,), generator=generator))]
            low, high = column.min().item(), column.max().item()
            span = high - low or abs(high) or 1.0
            bottom, top = self.points.targets.min().item(), self.points.targets.max().item()
            sign = torch.where(uniform(0, 1) < 0.75, 1.0, -1.0)
            meanings = torch.stack(
                [
                    uniform(low - 0.1 * span, high + 0.1 * span),  # a place
                    sign * span * 10 ** uniform(-2.5, 1),  # a width, a time
                    sign / span * 10 ** uniform(-1, math.log10(math.pi * len(column))),  # a rate, a frequency
                    2 * torch.randn(count, generator=generator, dtype=torch.float64),  # an exponent, a phase
                    uniform(bottom - (top - bottom), top + (top - bottom)),  # a level
                    sign * max(abs(low), abs(high)) * 10 ** uniform(0, 3),  # an energy over a temperature
                ]
            )
            chance = torch.tensor([3.0, 3, 3, 2, 1, 0.5])
            meaning = torch.multinomial(chance, count, replacement=True, generator=generator)
            values.append(self._within_bounds(i, meanings[meaning, torch.arange(count)], uniform))
        return torch.stack(values, dim=-1).to(self.base)

    def _within_bounds(self, i: int, drawn: Tensor, uniform: Callable[[float, float], Tensor]) -> Tensor:
        """Draws of one parameter, reflected at a bound; between two bounds, drawn evenly instead."""
        demand = self.curve.demands.all[i]
        if demand.min > -torch.inf and demand.max < torch.inf:
            return uniform(demand.min, demand.max)
        if demand.min > -torch.inf:
            return demand.min + (drawn - demand.min).abs()
        if demand.max < torch.inf:
            return demand.max - (drawn - demand.max).abs()
        return drawn


def _multi_start(problem: Problem, generator: torch.Generator) -> Tensor:
    """The best of many random starts, all of them refined in one batch; shape `(F,)`.

    Only the parameters in which the function is not linear are drawn; the others follow from them by linear least
    squares (variable projection: Golub and Pereyra, 1973).
    """
    few = Problem.of(problem.curve, problem.points, {}, problem.wanted, SCREENED_BY)._replace(base=problem.base)
    linear = few.linear_subset()
    drawn = _with_best_linear(few, few.draw(DRAWN, generator), linear)
    best = _best(few, drawn, REFINED)
    # A second round looks around the best of the first.
    around = best.repeat(DRAWN // (2 * len(best)), 1)
    noise = torch.randn(around.shape, generator=generator, dtype=torch.float64).to(around)
    spread = best.std(dim=0).nan_to_num(0.0) * 0.1
    around = few.project(around * (1 + 0.2 * noise) + spread * noise.flip(0))
    best = _best(few, torch.cat([best, _with_best_linear(few, around, linear)]), REFINED)
    refined, _ = problem.refine(best)
    plainest, _ = problem.refine(problem.plainest(refined).unsqueeze(0))
    return plainest[0]


def _with_best_linear(problem: Problem, values: Tensor, linear: list[int]) -> Tensor:
    """The same values `(G, F)`, those in `linear` replaced by what fits best beside the others."""
    if not linear:
        return problem.project(values)
    values = values.clone()
    values[:, linear] = 0.0
    at_zero = problem.residuals(values)
    preds = problem.predict(values)
    columns = []
    for i in linear:
        moved = values.clone()
        moved[:, i] = 1.0
        # of the predictions, not of the residuals: beside large data a column would be lost to rounding
        column = problem.predict(moved) - preds
        columns.append(column if problem.points.sigma is None else column / problem.points.sigma)
    matrix = torch.stack(columns, dim=-1)
    finite = matrix.nan_to_num(0.0, 0.0, 0.0)
    values[:, linear] = solve_linear(finite, -at_zero.nan_to_num(0.0, 0.0, 0.0)).nan_to_num(0.0, 0.0, 0.0)
    # a descent cannot begin where the square of a derivative is not finite
    gentle = torch.isfinite(matrix.nan_to_num(0.0).square().sum(dim=(-2, -1))).unsqueeze(-1)
    return problem.project(values.where(gentle | ~gentle.any(), torch.nan))


def _best(problem: Problem, values: Tensor, count: int) -> Tensor:
    """The values with the smallest sums of squares, at most `count`."""
    loss = problem.residuals(values).square().sum(dim=-1).nan_to_num(nan=torch.inf)
    return values[loss.argsort()[:count]]
