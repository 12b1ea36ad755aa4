"""The cells of a report's tables, from the plain dict of `result.json`."""

from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from gd_lightning.digits import digits, number, shown

__all__ = [
    "Row",
    "beside",
    "columns_of_series",
    "count",
    "each_series",
    "flat",
    "is_batch",
    "level",
    "middle",
    "parameter_rows",
    "range_of",
    "value_heading",
]

NO_ERROR = {"fixed": "fixed", "at bound": "at its bound", "undetermined": "undetermined"}


class Row(NamedTuple):
    """A parameter of one series as text; `value` and `error` stand around the ± that belongs to them."""

    name: str
    value: str
    error: str
    low: str
    high: str
    start: str

    @property
    def both(self) -> str:
        """The value with its error, or with what it has in place of one."""
        return f"{self.value} {self.error}".rstrip()

    @property
    def interval(self) -> str:
        """The interval; nothing where there is none."""
        return f"{self.low} to {self.high}" if self.low else ""


def parameter_rows(result: dict[str, Any]) -> list[Row]:
    """The parameters of one series."""
    rows = []
    for name, value in result["parameters"].items():
        low, high = result.get("intervals", {}).get("parameters", {}).get(name, (None, None))
        start = result.get("initial_parameters", {}).get(name)
        rows.append(
            Row(
                name,
                *cells(*value_and_error(result, name)),
                *ends(value, *value_and_error(result, name)[1:], low, high),
                "" if start is None else number(start),
            )
        )
    return rows


def value_and_error(result: dict[str, Any], name: str, which: int | None = None) -> tuple[Any, Any, str | None]:
    """Value, standard error and kind of a parameter, of one of several series if told which; none where not known."""
    keys = ("standard_errors", "kinds")
    found = [result["parameters"][name], *(result.get(key, {}).get(name) for key in keys), result["status"]]
    if which is not None:
        found = [None if one is None else flat(one, True)[which] for one in found]
    value, error, kind, status = found
    return (value, None, None) if status == "diverged" else (value, error, kind)


def cells(value: float | None, error: float | None, kind: str | None, digits: int = 6) -> tuple[str, str]:
    """A value, and after it its error, or a word on why it has none; `digits` are those of a value without error."""
    if value is None:
        return number(value), ""
    if kind in NO_ERROR:
        return number(value, digits if kind == "undetermined" else 9), NO_ERROR[kind]
    tied = ", tied" if kind == "tied" else ""
    if error is None:
        return number(value, digits), ("± unknown" if kind else "") + tied
    if error == 0:
        return number(value, 9), f"± 0{tied}"
    found = shown(value, error)
    return found.value, f"± {found.error}{tied}"


def ends(
    value: float | None, error: float | None, kind: str | None, low: float | None, high: float | None
) -> tuple[str, str]:
    """The ends of an interval in the digits of its value, of one without error in those of a quarter of its width.

    Nothing where there is no interval; an end that is not told, as those of a profile may be, is a question mark.
    """
    reach = max((abs(end - value) for end in (low, high) if end is not None and value is not None), default=0.0)
    if value is None or reach == 0 or kind == "fixed":
        return "", ""
    found = digits(value, error or reach / 2)
    return ("", "") if found is None else found.interval(low, high)


def value_heading(rows: Sequence[Row]) -> str:
    """What the values are called, and what stands after ±."""
    return "value ± std. error" if any("±" in row.error for row in rows) else "value"


def level(result: dict[str, Any]) -> str:
    """What the intervals are called."""
    found = result.get("intervals", {})
    kind = found.get("kind", "t")
    return f"{100 * found.get('level', 0.95):g} % " + ("interval" if kind == "t" else f"by {kind}")


def columns_of_series(result: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Headings and cells on the parameters of several series: medians and ranges of the values and of the errors."""
    rows = []
    for name, values in result["parameters"].items():
        kinds = flat(result.get("kinds", {}).get(name, []))
        errors = flat(result.get("standard_errors", {}).get(name, []))
        fixed = bool(kinds) and set(kinds) == {"fixed"}
        error = "fixed" if fixed else f"{median(errors):.2g}" if errors else ""
        counts = [(kinds.count(kind), word) for kind, word in NO_ERROR.items() if kind != "fixed"]
        without = ", ".join(f"{times} {word}" for times, word in counts if times)
        spread = "" if fixed else range_of(errors, 2)
        rows.append((name, number(middle(flat(values))), range_of(values, 6), error, spread, without))
    headings = ("parameter", "median", "range", "error", "its range", "no error")
    columns = [(heading, list(cells)) for heading, cells in zip(headings, zip(*rows, strict=True), strict=True)]
    return [(heading, cells) for heading, cells in columns if any(cells)]


def each_series(result: dict[str, Any], most: int) -> list[tuple[str, list[str]]]:
    """Headings and cells on the first series, one by one."""
    many = count(result)
    first = range(min(many, most))
    names = result.get("data", {}).get("series") or range(1, many + 1)
    status, rmse = flat(result["status"], True), flat(result["rmse"], True)
    table = [
        ("series", [str(names[i]) for i in first]),
        ("status", [status[i] for i in first]),
        ("RMSE", [number(rmse[i], 4) for i in first]),
    ]
    for name in result["parameters"]:
        found = [cells(*value_and_error(result, name, i), 4) for i in first]
        if not all(error == "fixed" for _, error in found):
            table.append((name, beside([value for value, _ in found], [error for _, error in found], " ")))
    return table


def is_batch(result: dict[str, Any]) -> bool:
    """Whether a result is of several series."""
    return any(isinstance(value, list) for value in result["parameters"].values())


def count(result: dict[str, Any]) -> int:
    """How many series there are."""
    return len(flat(next(iter(result["parameters"].values())), True))


def flat(values: Any, whole: bool = False) -> list[Any]:
    """What nested lists hold, without what is missing, or with it where the `whole` is wanted."""
    if isinstance(values, list):
        return [one for value in values for one in flat(value, whole)]
    return [] if values is None and not whole else [values]


def middle(values: list[float]) -> float | None:
    """The median; none of nothing."""
    return median(values) if values else None


def range_of(values: Any, digits: int) -> str:
    """The least and the largest of them; nothing of nothing."""
    found = flat(values)
    return f"{number(min(found), digits)} to {number(max(found), digits)}" if found else ""


def beside(left: Sequence[str], right: Sequence[str], sign: str) -> list[str]:
    """Two parts of each cell of a column, so that what is between them stands in one line."""
    width = max(map(len, left), default=0)
    return [f"{one:>{width}}{sign if other else ''}{other}" for one, other in zip(left, right, strict=True)]
