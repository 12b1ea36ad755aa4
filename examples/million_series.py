"""Write a Parquet file of noisy peaks, one row for each: python examples/million_series.py --series 1000000.

Row i holds the number `series` and the list `y` of 20 values at t = 0 .. 19: a Gaussian over an offset, with noise.
"""

import argparse

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

POINTS, ROWS = 20, 50_000


def peaks(first: int, count: int) -> pa.Table:
    """Some rows of the file; each block of them is drawn from its own seed."""
    rng = np.random.default_rng([2021, first])
    between = ((1, 3), (8, 11), (1.5, 4), (0, 1))
    amplitude, center, width, offset = (rng.uniform(low, high, (count, 1)) for low, high in between)
    t = np.arange(POINTS)
    y = amplitude * np.exp(-((t - center) ** 2) / (2 * width**2)) + offset + rng.normal(0, 0.05, (count, POINTS))
    rows = pa.FixedSizeListArray.from_arrays(pa.array(y.astype(np.float32).ravel()), POINTS)
    return pa.table({"series": np.arange(first, first + count), "y": rows})


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--output", default="million_series.parquet")
    args = parser.parse_args()
    starts = range(0, args.series, ROWS)
    with pq.ParquetWriter(args.output, peaks(0, 1).schema) as writer:
        for first in starts:
            writer.write_table(peaks(first, min(ROWS, args.series - first)))
    print(f"Wrote {args.series:,} series to {args.output}")


if __name__ == "__main__":
    main()
