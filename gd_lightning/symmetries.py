"""Symmetries: changes of parameters that change no curve, and the one of equal parameters that stands for all."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from gd_lightning.curve import Curve
from gd_lightning.projection import design, orthonormal

__all__ = ["Symmetries", "principal_angle"]

SAME = 1e-7  # of a column of length 1, what may be left of it beside the changed ones
MOST = 6  # parameters among which exchanges are looked for: 75 of them


class Symmetries(NamedTuple):
    """What may be done to the nonlinear parameters without a change of what the linear ones can reach.

    Attributes:
        flips: groups of parameters that change sign together: the width of a peak; frequency and phase.
        swaps: pairs of parameters that change places together: two peaks.
        angles: parameters of which only the place within a turn matters.
        turns: those of them of which half a turn is a change of sign of linear parameters.
    """

    flips: list[tuple[int, ...]]
    swaps: list[tuple[tuple[int, int], ...]]
    angles: list[int]
    turns: list[int]

    @classmethod
    def of(
        cls, curve: Curve, t: tuple[Tensor, ...], values: Tensor, linear: Sequence[int], others: Sequence[int]
    ) -> "Symmetries":
        """Try what there may be.

        Args:
            curve: the function.
            t: predictors of one series, each of shape `(T,)`.
            values: parameters at which all is tried, shape `(G, P)`.
            linear: places of the linear ones.
            others: places of the nonlinear ones.
        """
        spans = _Spans(curve, t, values, list(linear))
        demands = curve.demands.all
        loose = [i for i in others if not demands[i].bounded][:MOST]

        def shifted(i: int, by: float) -> Tensor:
            moved = values.clone()
            moved[:, i] += by
            return moved

        def flipped(group: tuple[int, ...]) -> Tensor:
            moved = values.clone()
            moved[:, group] *= -1
            return moved

        angles = [i for i in loose if spans.same(shifted(i, 2 * math.pi))]
        turns = [i for i in angles if spans.same(shifted(i, math.pi))]
        # the sign of an angle follows from that of a frequency
        order = [i for i in loose if i not in angles] + angles
        groups = [group for size in range(1, len(order) + 1) for group in combinations(order, size)]
        flips = [group for group in groups if spans.same(flipped(group))]

        def alike(i: int, k: int) -> bool:
            return (demands[i].min, demands[i].max) == (demands[k].min, demands[k].max)

        exchanges = _exchanges(list(others)[:MOST]) if all(alike(i, linear[0]) for i in linear) else iter(())
        swaps = [
            pairs
            for pairs in exchanges
            if pairs and all(alike(i, k) for i, k in pairs) and spans.same(_swapped(values, pairs))
        ]
        return cls(flips, swaps, angles, turns)

    def folded(self, values: Tensor) -> Tensor:
        """Of all equal parameters `(G, P)` those with positive signs, the smaller first, and angles from -pi to pi."""
        values = values.clone()
        for group in self.flips:
            values[:, group] *= torch.where(values[:, group[:1]] < 0, -1.0, 1.0)
        for _ in self.swaps:
            for pairs in self.swaps:
                i, k = pairs[0]
                values = torch.where(values[:, i : i + 1] > values[:, k : k + 1], _swapped(values, pairs), values)
        for i in self.angles:
            values[:, i] = principal_angle(values[:, i])
        return values


def principal_angle(angle: Tensor) -> Tensor:
    """The same angle from -pi to pi."""
    return angle - 2 * math.pi * torch.round(angle / (2 * math.pi))


class _Spans:
    """What the linear parameters can reach at each of some values of the nonlinear ones."""

    def __init__(self, curve: Curve, t: tuple[Tensor, ...], values: Tensor, linear: list[int]) -> None:
        self._curve, self._t, self._linear = curve, t, linear
        self._at_zero, self._units, _ = self._of(values)

    def _of(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        at_zero, columns = design(self._curve, self._t, values, self._linear)
        units = columns / columns.norm(dim=-1, keepdim=True).clamp_min(1e-300)
        return at_zero, units, orthonormal(columns)

    def same(self, values: Tensor) -> bool:
        """Whether other values reach the same."""
        at_zero, _, basis = self._of(values)
        change, size = at_zero - self._at_zero, self._at_zero.norm(dim=-1)
        left = [change, *self._units]
        for one in basis:
            left = [rest - (rest * one).sum(dim=-1, keepdim=True) * one for rest in left]
        bounds = [SAME * size, *(torch.full_like(size, SAME) for _ in self._units)]
        return all(bool((rest.norm(dim=-1) <= bound).all()) for rest, bound in zip(left, bounds, strict=True))


def _exchanges(places: list[int]) -> Iterator[tuple[tuple[int, int], ...]]:
    """All ways in which pairs of some places can change places, none of them among these."""
    if not places:
        yield ()
        return
    first, *rest = places
    for pairs in _exchanges(rest):
        yield pairs
    for other in rest:
        for pairs in _exchanges([place for place in rest if place != other]):
            yield ((first, other), *pairs)


def _swapped(values: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Parameters `(G, P)` of which pairs have changed places."""
    order = list(range(values.shape[-1]))
    for i, k in pairs:
        order[i], order[k] = k, i
    return values[:, order]
