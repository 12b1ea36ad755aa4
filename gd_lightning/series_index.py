"""What is to be known of very many series before they are read: where each begins, which comes twice, how to part."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gd_lightning.arrays import Ints

__all__ = ["Partition", "ascending", "first_of", "hashes", "repeated", "standing_together"]

Hashes = NDArray[np.uint64]

MERGE = 2**20  # hashes gathered before they are sorted into those known
PLACES = 64  # of a text, each of which has its own random numbers


def standing_together(batches: Iterable[tuple[int, pa.Array]]) -> Iterator[tuple[Ints, Ints, pa.Array]]:
    """Series of a long table, of which each row says whose it is; rows that say nothing count as not there.

    Args:
        batches: the number of the first row, and the names of the series that the rows belong to.

    Yields:
        Of the series that ended in a batch the first row, the number of rows, and the name.
    """
    first, count, names = np.empty(0, np.int64), np.empty(0, np.int64), None
    for start, keys in batches:
        rows = None
        if keys.null_count:
            rows = start + np.flatnonzero(keys.is_valid().to_numpy(zero_copy_only=False))
            keys = keys.drop_null()
        if not len(keys):
            continue
        begins = np.flatnonzero(pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)) + 1
        if names is None:
            begins, names = np.concatenate([[0], begins]), keys[:0]
        elif keys[0] != names[0]:
            begins = np.concatenate([[0], begins])
        ends = np.append(begins, len(keys))
        count[-1:] += ends[0]  # rows of the series with which the last batch ended
        first = np.concatenate([first, start + begins if rows is None else rows[begins]])
        count = np.concatenate([count, np.diff(ends)])
        names = pa.concat_arrays([names, keys.take(pa.array(begins))])
        yield first[:-1], count[:-1], names[:-1]
        first, count, names = first[-1:].copy(), count[-1:].copy(), names.take(pa.array([len(names) - 1]))
    if names is not None:
        yield first, count, names


class Partition:
    """Chunks of consecutive series, cut as the series come; how they come has no part in where they are cut.

    A chunk has at most so many series, and at most so many points when all its series are as long as the longest; but
    one series at least. It ends with a row group where that leaves it half of its series or more.

    Attributes:
        rows: the first row of each chunk, in order.
        series: the number of its first series.
    """

    def __init__(self, points: int, series: int, groups: Ints) -> None:
        self.points = points
        self.most = series
        self.groups = groups
        self.rows: list[int] = []
        self.series = [0]
        self._first, self._count = np.empty(0, np.int64), np.empty(0, np.int64)

    def add(self, first: Ints, count: Ints) -> None:
        """Take the next series: their first rows and their numbers of points."""
        self._first = np.concatenate([self._first, first])
        self._count = np.concatenate([self._count, count])
        while len(self._first) > self.most:
            self._cut()

    def close(self) -> None:
        """Part what is left: no series comes any more."""
        while len(self._first):
            self._cut()

    def _cut(self) -> None:
        count = self._count[: self.most]
        filled = np.maximum.accumulate(count) * np.arange(1, len(count) + 1)
        size = max(int(np.searchsorted(filled, self.points, side="right")), 1)
        if size < len(self._first):
            size = self._at_a_row_group(size)
        self.rows.append(int(self._first[0]))
        self.series.append(self.series[-1] + size)
        self._first, self._count = self._first[size:], self._count[size:]

    def _at_a_row_group(self, size: int) -> int:
        """The largest size, down to the half of a given one, with which the next chunk begins a row group."""
        half = (size + 1) // 2
        low, high = np.searchsorted(self.groups, self._first[[half, size]], side="left")
        starts = self.groups[low : high + 1]
        at = np.minimum(np.searchsorted(self._first, starts), size)
        aligned = at[self._first[at] == starts]
        return int(aligned[-1]) if len(aligned) else size


def ascending(batches: Iterable[pa.Array]) -> Iterator[bool]:
    """Whether the names, of which none is missing, are in strict order, batch after batch: so none comes twice."""
    last = None
    for names in batches:
        if len(names):
            here = names if last is None else pa.concat_arrays([last, names])
            yield pc.all(pc.greater(here[1:], here[:-1])).as_py() is not False
            last = names.take(pa.array([len(names) - 1]))


def repeated(batches: Iterable[pa.Array]) -> Hashes:
    """Hashes of the names that come more than once; 8 bytes for each different name are held meanwhile.

    Whole numbers are told apart for certain. That two of ten million texts have one hash has a chance of 3 in a
    million, 10**14 / 2**65.
    """
    known = twice = np.empty(0, np.uint64)
    new: list[Hashes] = []
    for names in batches:
        new.append(hashes(names))
        # when there are as many new ones as known ones: each takes part in few sorts then, however many there are
        if sum(map(len, new)) >= max(MERGE, len(known)):
            known, twice = _merged(known, twice, new)
            new = []
    return _merged(known, twice, new)[1]


def _merged(known: Hashes, twice: Hashes, new: list[Hashes]) -> tuple[Hashes, Hashes]:
    known = np.concatenate([known, *new])
    new.clear()
    known.sort()
    same = known[1:] == known[:-1]
    if not same.any():
        return known, twice
    return known[np.append(True, ~same)], np.union1d(twice, known[1:][same])


def first_of(batches: Iterable[pa.Array], wanted: Hashes) -> pa.Scalar:
    """The first name that has one of the hashes."""
    for names in batches:
        there = np.flatnonzero(np.isin(hashes(names), wanted))
        if len(there):
            return names[int(there[0])]
    raise LookupError("no such name")


def hashes(names: pa.Array) -> Hashes:
    """64 bits for each name: a whole number itself; of a text a random number for each byte at its place, summed.

    The latter is tabulation hashing (Zobrist, 1970; Carter and Wegman, 1979), here with a factor that grows every 64
    bytes.
    """
    if pa.types.is_integer(names.type):
        whole: Hashes = names.to_numpy(zero_copy_only=False).astype(np.uint64)
        return whole
    texts = names if pa.types.is_binary(names.type) or pa.types.is_large_binary(names.type) else names.cast(pa.string())
    texts = texts.cast(pa.large_binary())
    _, offsets, content = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    start, stop = (int(ends[0]), int(ends[-1])) if len(ends) else (0, 0)
    characters = np.frombuffer(content, np.uint8)[start:stop] if stop > start else np.empty(0, np.uint8)
    ends = ends - start
    place = np.arange(stop - start) - np.repeat(ends[:-1], np.diff(ends))
    table = np.random.default_rng(0).integers(2**64, size=(PLACES, 256), dtype=np.uint64)
    values = table[place % PLACES, characters]
    values *= (2 * (place // PLACES) + 1).astype(np.uint64)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values, dtype=np.uint64)])
    mixed: Hashes = sums[ends[1:]] - sums[ends[:-1]]
    return mixed
