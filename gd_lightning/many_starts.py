"""Where very many descents of one function begin: each at the best of the candidates that a sample of them found."""

import copy
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from gd_lightning.batch import solve
from gd_lightning.curve import Curve
from gd_lightning.errors import InputError
from gd_lightning.points import Points
from gd_lightning.projection import Candidates, Projection, as_rows, design, solved
from gd_lightning.residuals import Residuals
from gd_lightning.starts import REFINED_BY, Problem
from gd_lightning.symmetries import Symmetries, principal_angle

__all__ = ["find_candidates", "many_starts"]

FIRST, SAMPLE = 32, 1024  # series that are searched with random draws, and then with what these found
SAMPLE_OWN = 256  # of series that have times of their own, with which a candidate takes far longer
DRAWN = 8192  # random draws for the first search
GUESSED = 8  # series for which the function's own guess is asked, too; it takes as long as all the rest
CROSSED = 1024  # candidates made of the minima, for each later search
SEARCHES = 3
TRIED = 8, 4  # candidates from which each series descends: in the first search, and later
STEPS = 40  # of these descents
PROBES = 8  # minima at which symmetries are looked for
BETWEEN = 0.5, 0.382, 0.236, 0.146  # where, from one point to the next: powers of the golden ratio are no fractions
HANDICAP = 2.0  # of what swings between neighbouring points, beside what does not
CANDIDATES = 2048  # that are kept, with others than the sample in mind
OWN = 256  # of them, the first, are tried where each series has its own times
SERVED, GREEDY = 128, 256  # series by which the first ones are chosen, and how many these are


@torch.no_grad()
def many_starts(curve: Curve, points: Points, candidates: Candidates) -> Tensor:
    """Starting values of every series: the candidate that fits it best, and the linear parameters that fit best then.

    A series starts where it would start alone, whatever others there are.

    Args:
        curve: the function.
        points: what it is to be fitted to, S series.
        candidates: from `find_candidates`.

    Returns:
        Parameters in double precision, shape `(S, P)`; nan for a series that is not finite.
    """
    points = as_rows(points)
    best = torch.zeros(len(points.targets), dtype=torch.long, device=points.targets.device)
    for rows, some in _by_weights(points):
        best[rows] = Projection(curve, some, candidates, OWN).best()
    values, linear = candidates.values[best], candidates.linear
    starts = solved(curve, points, values, linear)
    for i in candidates.turns:
        turned = values.clone()
        turned[:, i] = principal_angle(turned[:, i] + math.pi)
        other = solved(curve, points, turned, linear)
        positive, more = ((one[:, linear] > 0).sum(dim=-1) for one in (starts, other))
        starts = other.where((more > positive).unsqueeze(-1), starts)
    return starts


def _by_weights(points: Points) -> list[tuple[Tensor, Points]]:
    """The series whose points all weigh the same, without their sigma, and the others; with their numbers."""
    every = torch.arange(len(points.targets), device=points.targets.device)
    if points.sigma is None:
        return [(every, points)]
    even = (points.sigma == points.sigma[:, :1]).all(dim=-1) & points.sigma[:, 0].isfinite()
    groups = [(rows, points.rows(rows)) for rows in (every[even], every[~even])]
    groups[0] = groups[0][0], groups[0][1]._replace(sigma=None)
    return [(rows, some) for rows, some in groups if len(rows)]


@torch.no_grad()
def find_candidates(curve: Curve, points: Points, known: Mapping[str, float], generator: torch.Generator) -> Candidates:
    """Values of the nonlinear parameters such that for each of many series one of them is near its minimum.

    The minima of some series are the candidates for others. A few series are searched with random draws, as one
    series alone is; each of a larger sample then descends from the best of what was found for others, and of mixtures
    and neighbours of that, until the sample's minima are the candidates.

    Args:
        curve: the function.
        points: series to learn from; some thousands are enough.
        known: starting values that were given; these parameters have no others.
        generator: the source of randomness, on the CPU.

    Raises:
        InputError: the function cannot be computed for many parameters side by side, or no series is finite.
    """
    try:
        return _Search(curve, points, known, generator).found()
    except InputError:
        raise
    except Exception as error:  # whatever a function of the user's may raise where there are many starts side by side
        raise InputError(
            f"start: {curve.function_name} cannot be computed for many starts side by side ({error}); write it "
            "with what broadcasts, or give init for all parameters"
        ) from None


class _Search:
    """A sample of series, and the lowest minimum of each that is known so far.

    Attributes:
        sample: the series, `(R, T)`, spread evenly over all.
        wanted: the places of parameters for which a start is wanted; of these,
        linear: those in which the function is linear, and
        others: those in which it is not.
        base: values of all parameters, of which the wanted ones do not matter, `(P,)`.
        minima: parameters of the first series at their minima, `(N, P)`.
        totals: their sums of squares, `(N,)`.
    """

    def __init__(self, curve: Curve, points: Points, known: Mapping[str, float], generator: torch.Generator) -> None:
        points = as_rows(points)
        sound = points.targets.isfinite().all(dim=-1) & points.present.any(dim=-1)
        usable = sound.nonzero().flatten()
        if not len(usable):
            raise InputError("y: no series is finite, so that there is nothing to start from; give init")
        # at random, so that the first ones, too, are spread over all
        shared = all(column.dim() == 1 for column in points.columns)
        order = torch.randperm(len(usable), generator=generator)[: SAMPLE if shared else SAMPLE_OWN]
        self.sample = points.rows(usable[order.to(usable.device)])
        self.generator = generator
        self.curve = copy.deepcopy(curve).double()
        self.known = known
        self.wanted = [i for i in curve.demands.free if curve.names[i] not in known]
        first = self._problem(0)
        self.base = curve.demands.project(first.base)
        self.curve.set_params(self.base)
        self.linear = [self.wanted[i] for i in first.linear_subset(bounded=True)] if self.wanted else []
        self.others = [i for i in self.wanted if i not in self.linear]
        self.minima = self.base.new_empty(0, len(curve.names))
        self.totals = self.base.new_empty(0)
        self.symmetries: Symmetries | None = None

    def _problem(self, i: int) -> Problem:
        return Problem.of(self.curve, self.sample.one(i), self.known, self.wanted, REFINED_BY)

    def found(self) -> Candidates:
        """The candidates, those first that serve most series."""
        if not self.others:
            return self._candidates(self.base.unsqueeze(0))
        count = min(FIRST, len(self.sample.targets))
        drawn = torch.cat([self._drawn(i, DRAWN // count) for i in range(count)])
        drawn = drawn[torch.randperm(len(drawn), generator=self.generator).to(drawn.device)]
        self._descend(count, torch.cat([drawn, self._guessed(min(count, GUESSED))]), TRIED[0])
        for _ in range(SEARCHES - 1):
            values = torch.cat([self.minima, self._crossed(CROSSED)])
            self._descend(len(self.sample.targets), values[self._plain(values)], TRIED[1])
        values = torch.cat([self.minima, self._crossed(CROSSED), drawn[:CROSSED]])
        return self._ordered(values, self._plain(values).nonzero().flatten())

    def _drawn(self, i: int, count: int) -> Tensor:
        """Random parameters `(count, P)` of what the i-th series may show."""
        problem = self._problem(i)
        return problem.filled(problem.draw(count, self.generator))

    def _guessed(self, count: int) -> Tensor:
        """What the function itself guesses for the first series, `(count, P)`; nothing where it has no guess."""
        if self.curve.guess is None:
            return self.minima
        values = self.base.expand(count, -1).clone()
        for i, params in enumerate(values):
            one = self.sample.one(i)
            guess = torch.tensor(list(self.curve.guess(one.columns[0].cpu(), one.targets.cpu())), dtype=torch.float64)
            params[self.wanted] = guess.to(params)[self.wanted]
        return values

    def _crossed(self, count: int) -> Tensor:
        """Neighbours of the minima, and mixtures, each parameter from a minimum of its own; `(count, P)`."""
        pool = self.minima[:, self.others]
        low, high = pool.quantile(torch.tensor([0.16, 0.84]).to(pool), dim=0)
        shape = count, len(self.others)
        parents = torch.randint(len(pool), shape, generator=self.generator)
        parents[: count // 2] = parents[: count // 2, :1]
        by, aside = 0.1 * torch.randn(2, *shape, generator=self.generator, dtype=torch.float64).to(pool)
        values = self.base.expand(count, -1).clone()
        values[:, self.others] = pool.gather(0, parents.to(pool.device)) * (1 + by) + (high - low) * aside
        return values

    def _candidates(self, values: Tensor) -> Candidates:
        """Parameters `(G, P)` as candidates: as demanded, one for all that are equal, the linear ones open."""
        values = self.curve.demands.project(values).clone()
        if self.symmetries is not None:
            values = self.symmetries.folded(values)
        values[:, self.linear] = 0.0
        return Candidates(values, self.linear, [] if self.symmetries is None else self.symmetries.turns)

    def _descend(self, count: int, values: Tensor, tried: int) -> None:
        """Descend from the best candidates of each of the first series, and keep the lowest of all minima it has had.

        Each is the best of a group of the candidates, so that not all of them lie in one valley.
        """
        rows = torch.arange(count, device=values.device)
        points = self.sample.rows(rows)
        candidates = self._candidates(values)
        groups = torch.arange(len(values), device=values.device).tensor_split(min(tried, len(values)))
        tried = len(groups)

        def best(losses: Tensor) -> Tensor:
            return torch.stack([group[losses[:, group].argmin(dim=-1)] for group in groups], dim=-1)

        places = Projection(self.curve, points, candidates, len(values)).each(best).flatten()
        repeated = self.sample.rows(rows.repeat_interleave(tried))
        params, totals = self._descended(repeated, candidates.values[places])
        params, totals = params.reshape(count, tried, -1), totals.reshape(count, tried)
        kept, total = params[:, :1].clone(), torch.full_like(totals[:, :1], torch.inf)
        kept[: len(self.minima), 0], total[: len(self.minima), 0] = self.minima, self.totals
        self._keep(points, torch.cat([params, kept], dim=1), torch.cat([totals, total], dim=1))

    def _descended(self, points: Points, values: Tensor) -> tuple[Tensor, Tensor]:
        """Where each of some series `(R, T)` arrives from its candidate, `(R, P)`, and the sums of squares, `(R,)`."""
        starts = solved(self.curve, points, values, self.linear)
        starts = starts.where(starts.isfinite().all(dim=-1, keepdim=True), self.base)
        problem = Residuals(self.curve, points)
        free = self.curve.demands.free
        held = np.tile([i not in self.wanted for i in free], (len(starts), 1))
        ended = solve(problem, starts[:, free].cpu().numpy(), held if held.any() else None, steps=STEPS)
        params = self.curve.demands.project(problem.params(ended.theta))
        return params, torch.from_numpy(ended.total).to(params).where(params.isfinite().all(dim=-1), torch.inf)

    def _keep(self, points: Points, params: Tensor, totals: Tensor) -> None:
        """Keep the best of several fits `(N, M, P)` of each series, with sums of squares `(N, M)`.

        Of fits that are about as good it is the plainest, so that of frequencies which the points cannot tell apart it
        is the lowest.
        """
        if not (fitted := totals.isfinite()).any():
            raise InputError(f"start: {self.curve.function_name} is finite at no start that was tried; give init")
        if self.symmetries is None:
            t = self.sample.one(0).columns
            self.symmetries = Symmetries.of(self.curve, t, params[fitted][:PROBES], self.linear, self.others)
        noise = 1e-12 * points.targets.square().sum(dim=-1, keepdim=True)
        rough = self._roughness(params.flatten(0, 1)).reshape(totals.shape)
        loss = totals * torch.where(rough > 1, HANDICAP, 1.0)
        good = loss <= 1.01 * loss.amin(dim=-1, keepdim=True) + noise
        place = torch.arange(len(params), device=params.device), rough.masked_fill(~good, torch.inf).argmin(dim=-1)
        self.minima, self.totals = self.symmetries.folded(params[place]), totals[place]

    def _plain(self, values: Tensor) -> Tensor:
        """Which of some parameters `(G, P)` are not far rougher than the minima are, `(G,)`."""
        limit = 1.5 * self._roughness(self.minima).median().clamp_min(2 / 3)
        return self._roughness(values) <= limit

    def _roughness(self, values: Tensor) -> Tensor:
        """How far columns lie from the straight lines between neighbouring points, beside their own size; `(G,)`.

        They are looked at in several places between points, since what swings many times between them may be near the
        line in some. Beyond 1 they swing as much there as over all points: a frequency above Nyquist's.
        """
        columns = self.sample.one(0).columns
        order = columns[0].argsort()
        ordered = tuple(column[order] for column in columns)
        values = values.clone()
        values[:, self.linear] = 0.0

        def curves(t: tuple[Tensor, ...]) -> Tensor:
            at_zero, phi = design(self.curve, t, values, self.linear)
            return torch.cat([at_zero.unsqueeze(0), phi])

        at = curves(ordered)
        size = (at - at.mean(dim=-1, keepdim=True)).abs().sum(dim=(0, -1)).clamp_min(1e-300)
        rough = torch.zeros_like(size)
        for share in BETWEEN:
            between = curves(tuple(column[:-1] + share * column.diff() for column in ordered))
            line = at[..., :-1] + share * at.diff()
            rough = torch.maximum(rough, (between - line).abs().sum(dim=(0, -1)) / size)
        return rough.nan_to_num(torch.inf, torch.inf, torch.inf)

    def _ordered(self, values: Tensor, kept: Tensor) -> Candidates:
        """Those of some parameters `(G, P)` that are kept as candidates, in an order of which each beginning serves.

        The next one is always that which most lowers the sum over all series of the logarithm of what is left. The
        first of the values are the minima of the series in their order; its own says nothing of others.
        """
        candidates = self._candidates(values[kept])
        rows = torch.arange(min(len(self.totals), SERVED), device=values.device)
        points = self.sample.rows(rows)
        losses = Projection(self.curve, points, candidates, len(kept)).each(lambda losses: losses)
        size = points.targets.square().sum(dim=-1)
        least = self.totals[rows].clamp_min(1e-12 * size).unsqueeze(-1)
        most = 20.0  # e-folds: worse is as bad
        excess = (losses.clamp_min(least) / least).log().nan_to_num(most, most).clamp_max(most)
        excess[kept == rows.unsqueeze(-1)] = most
        now = torch.full_like(excess[:, :1], most)
        order: list[int] = []
        for _ in range(min(GREEDY, len(kept))):
            gain = (now - excess).clamp_min(0.0).sum(dim=0)
            gain[order] = -1.0
            order.append(int(gain.argmax()))
            now = torch.minimum(now, excess[:, order[-1:]])
        rest = torch.ones(len(kept), dtype=torch.bool)
        rest[order] = False
        places = torch.cat([torch.tensor(order), rest.nonzero().flatten()])[:CANDIDATES]
        return candidates._replace(values=candidates.values[places.to(values.device)])
