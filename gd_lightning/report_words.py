"""The sentences of a report, from the plain dict of `result.json`."""

from statistics import median
from typing import Any

from gd_lightning.digits import number, share
from gd_lightning.report_cells import count, flat, is_batch, middle, range_of
from gd_lightning.words import counted, counts, plural

__all__ = ["ROWS", "correlations", "facts", "is_flat", "measures", "title", "warnings"]

ROWS = 20  # steps that a table shows one by one
STRONG = 0.9  # a correlation of which two parameters can hardly be told apart
PAIRS = 6
SIZES = ("n", "p", "dof")
CRITERIA = (("AIC", "aic"), ("AICc", "aicc"), ("BIC", "bic"))
STARTS = {
    "given": "a given start",
    "random": "a random start",
    "guess": "the function's guess from the data",
    "multi-start": "the best of thousands of random starts, refined by least squares",
}


def title(result: dict[str, Any]) -> str:
    """The function's name, unless it is its formula, and its equation."""
    name, equation = result["function"], result.get("equation") or result["function"]
    return equation if name == equation.removeprefix("y = ") else f"{name}: {equation}"


def facts(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What was fitted to what, how, and how it ended, each with a word before it."""
    return [
        (name, text) for name, text in (("data", data(result)), ("fit", way(result)), ("status", end(result))) if text
    ]


def data(result: dict[str, Any]) -> str:
    """Points, rows that lack a value, points that were kept out, and what sigma means."""
    found = result.get("data", {})
    parts = [f"{count(result):,} series"] if is_batch(result) else []
    parts += [plural(found["points"], "point")] if "points" in found else []
    if result.get("source"):
        parts[-1:] = [f"{part} of {result['source']}" for part in parts[-1:]]
    if (labels := result.get("labels", [])) and labels != ["t", "y"]:
        parts.append(f"{labels[-1]} against {' and '.join(labels[:-1])}")
    if "sigma" in result:
        parts.append(f"{result['sigma']} sigma" if result["sigma"] else "no sigma")
    lines = [", ".join(parts)]
    if found.get("left out"):
        lines.append(f"{found['left out']:,} of {found['rows']:,} rows lack a value and were left out")
    if found.get("kept out"):
        errors = flat(result["holdout_rmse"])
        rmse = number(middle(errors)) + (" in the median" if is_batch(result) else "")
        lines.append(f"{plural(found['kept out'], 'point')} kept out of the fit, of RMSE {rmse}")
    return "; ".join(line for line in lines if line)


def way(result: dict[str, Any]) -> str:
    """The update rule, its steps, and where they began."""
    rule, lr, loss = result.get("optimizer", ""), result.get("lr"), result.get("loss", "mse")
    parts = [rule] if rule else []
    if lr is not None:
        parts.append("several lr" if isinstance(lr, list) else f"lr {lr:g}")
    steps = plural(result["steps"], "step")
    start = result.get("start")
    steps += f" from {STARTS.get(start, start)}" if start else ""
    if start == "random" and result.get("seed") is not None:
        steps += f" (seed {result['seed']})"
    text = ", ".join([*parts, steps])
    text += "" if loss == "mse" else f"; loss {loss}"
    found_nothing = start in ("guess", "multi-start") and is_flat(result.get("rmse_history", []))
    return text + ("; the descent found nothing better" if found_nothing else "")


def is_flat(history: list[float]) -> bool:
    """Whether nothing was left to descend: from a start at the bottom, long runs look the same at every step."""
    return len(history) > ROWS and None not in history and max(history) - min(history) <= 1e-6 * max(history)


def end(result: dict[str, Any]) -> str:
    """The status and what it means; of several series how many have which."""
    message = result.get("message", "")
    if not is_batch(result):
        return f"{result['status']}: {message}" if message else result["status"]
    found = flat(result["status"])
    if all(f"{times} {one}" in message.replace(",", "") for one, times in counted(found).items()):
        return str(message)
    return counts(found) + (f"; {message}" if message else "")


def measures(result: dict[str, Any]) -> list[str]:
    """How good the fit is, in two lines; of several series medians and ranges."""
    found = result.get("goodness", {})
    if is_batch(result):
        lines = [f"RMSE {median_and_range(result['rmse'], 6)}"]
        if flat(found.get("r2")):
            r2 = flat(found["r2"])
            lines.append(f"R2 {share(median(r2))} in the median ({share(min(r2))} to {share(max(r2))})")
        if flat(found.get("reduced_chi2")):
            lines.append(f"Reduced chi-square {median_and_range(found['reduced_chi2'], 4)}")
        told = [f"{name} {median(flat(found[key])):.2f}" for name, key in CRITERIA if flat(found.get(key))]
        sizes = [f"{name} = {range_or_one(found[name])}" for name in SIZES if name in found]
        if told:
            lines.append(f"{', '.join(told)} in the median; {', '.join(sizes)}")
        return lines
    first = [f"RMSE {number(result['rmse'])}"]
    r2, adjusted, reduced = (found.get(name) for name in ("r2", "adjusted_r2", "reduced_chi2"))
    if r2 is not None:
        first.append(f"R2 {share(r2)}" + (f" (adjusted {share(adjusted)})" if adjusted is not None else ""))
    first += [f"reduced chi-square {number(reduced, 4)}"] if reduced is not None else []
    second = [f"{name} {found[key]:.2f}" for name, key in CRITERIA if found.get(key) is not None]
    if found.get("aic") is not None and "n" in found and found["n"] <= found["p"] + 1:
        second.append("AICc infinite with so few points")
    third = [f"{name} = {found[name]}" for name in SIZES if name in found]
    return [", ".join(first), "; ".join(", ".join(part) for part in (second, third) if part)]


def correlations(result: dict[str, Any]) -> list[str]:
    """The pairs of parameters that can hardly be told apart, the worst first."""
    matrix, names = result.get("correlation"), list(result["parameters"])
    if is_batch(result) or not matrix:
        return []
    own = [i for i, name in enumerate(names) if result.get("kinds", {}).get(name) != "tied"]
    pairs = [(matrix[i][j] or 0.0, names[j], names[i]) for i in own for j in own if j < i]
    strong = sorted((pair for pair in pairs if abs(pair[0]) > STRONG), key=lambda pair: -abs(pair[0]))
    if not strong:
        return []
    told = [f"{first} and {second} {share(value)}" for value, first, second in strong[:PAIRS]]
    more = [f"{plural(len(strong) - PAIRS, 'more pair')}"] if len(strong) > PAIRS else []
    return [f"Strong correlations: {', '.join(told + more)}"]


def warnings(result: dict[str, Any]) -> list[str]:
    """What to be careful about."""
    return [f"Warning: {line}" for line in result.get("warnings", [])]


def median_and_range(values: Any, digits: int) -> str:
    """The median with the range after it."""
    found = flat(values)
    return f"{number(median(found), digits)} in the median ({range_of(found, digits)})" if found else number(None)


def range_or_one(values: Any) -> str:
    """The number that all series have, or the least and the largest."""
    found = flat(values)
    return str(found[0]) if len(set(found)) == 1 else range_of(found, 6)
