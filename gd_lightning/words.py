"""Pieces of sentences: names in a list, things with their number, how many there are of each."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

__all__ = ["counted", "counts", "describe_batch", "listed", "naming", "plural"]

SHOWN = 5  # series that a sentence names


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: `a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def naming(rows: Iterable[int], count: int, names: Sequence[str] = ()) -> str:
    """Which of several series it is about: `in 3 of 12 series (1, 4, 7)`.

    Args:
        rows: which ones, counted from 0.
        count: how many there are.
        names: what the series are called; their numbers, counted from 1, unless given.
    """
    shown = [names[i] if names else str(i + 1) for i in rows]
    listing = ", ".join([*shown[:SHOWN], "..."] if len(shown) > SHOWN else shown)
    return f"in {len(shown):,} of {count:,} series ({listing})"


def plural(number: int, what: str) -> str:
    """A number of things: `1 step`, `20,000 steps`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def counted(found: Iterable[str]) -> dict[str, int]:
    """How many there are of each, the most first, those of one number by the alphabet."""
    return dict(sorted(Counter(found).items(), key=lambda one: (-one[1], one[0])))


def counts(found: Iterable[str]) -> str:
    """The same in a sentence: `7 converged, 2 at bound`."""
    return ", ".join(f"{number:,} {what}" for what, number in counted(found).items())


def describe_batch(batch: tuple[int, ...]) -> str:
    """How many series, in words."""
    return f"{math.prod(batch):,} series side by side" if batch else "one series"
