"""Tells how many branches the tests reach, by the JSON that coverage has written, and fails where they are too few."""

import json
import sys
from pathlib import Path

LEAST = 95.0  # per cent

totals = json.loads(Path(sys.argv[1]).read_text())["totals"]
reached, branches = totals["covered_branches"], totals["num_branches"]
share = 100 * reached / branches
lines = 100 * totals["covered_lines"] / totals["num_statements"]
print(f"Coverage: {reached:,} of {branches:,} branches, {share:.2f} %; {lines:.2f} % of the lines.")
if share < LEAST:
    sys.exit(f"expected at least {LEAST:g} % of the branches")
