"""A result in words: for the terminal, and as the text card in TensorBoard.

Both read the plain dict of `result.json`, so that neither needs what computed it.
"""

import re
from collections.abc import Sequence
from statistics import median
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from gd_lightning.milestones import is_round

__all__ = ["advice", "card", "outcome", "terminal_report"]

ROWS = 20
STARTS = {
    "guess": "The start is the function's guess from the data.",
    "multi-start": "The start is the best of thousands of random ones, refined by least squares.",
}


def terminal_report(result: dict[str, Any]) -> RenderableType:
    """Step and RMSE, then parameters before and after, as tables for the terminal.

    Args:
        result: the content of `result.json`.

    Returns:
        What rich prints. Up to 20 steps are shown one by one; of more, the round ones and the last.
    """
    history = result["rmse_history"]
    steps = Table("step", "RMSE before the step")
    rows = [1, len(history)] if is_flat(history) else range(1, len(history) + 1)
    for step, rmse in ((row, history[row - 1]) for row in rows):
        if len(history) <= ROWS or is_round(step) or step == len(history):
            steps.add_row(str(step), repr(rmse))
    parts: list[RenderableType] = [steps] if history else []
    if len(history) > ROWS:
        parts.append("(every step is in result.json)")
    return Group(*parts, _parameters(result), *data_lines(result))


def is_flat(history: list[float]) -> bool:
    """Whether nothing was left to descend: from a start at the bottom, long runs look the same at every step."""
    return len(history) > ROWS and None not in history and max(history) - min(history) <= 1e-6 * max(history)


def _parameters(result: dict[str, Any]) -> Table:
    """Each parameter before and after; of several series the median, and the range after."""
    before, after = result["initial_parameters"], result["parameters"]
    if not is_batch(result):
        table = Table("parameter", "before", "after")
        for name, value in after.items():
            table.add_row(name, number(before[name], 9), number(value, 9))
        return table
    table = Table("parameter", "median before", "median after", "lowest", "highest")
    for name, values in after.items():
        after_fit = flat(values)
        medians = middle(flat(before[name])), middle(after_fit)
        table.add_row(name, *map(number, (*medians, min(after_fit, default=None), max(after_fit, default=None))))
    return table


def number(value: float | None, digits: int = 6) -> str:
    """A number as a report shows it; JSON has none for what is not finite."""
    return "not finite" if value is None else f"{value:.{digits}g}"


def middle(values: list[float]) -> float | None:
    """The median; none of nothing."""
    return median(values) if values else None


def is_batch_of_lr(result: dict[str, Any]) -> bool:
    """Whether there is more than one learning rate."""
    return isinstance(result["lr"], list)


def is_batch(result: dict[str, Any]) -> bool:
    """Whether a result is of several series."""
    return any(isinstance(value, list) for value in result["parameters"].values())


def flat(values: Any) -> list[float]:
    """The numbers of nested lists, without those that are missing."""
    if isinstance(values, list):
        return [number for value in values for number in flat(value)]
    return [] if values is None else [values]


def data_lines(result: dict[str, Any]) -> list[str]:
    """What is to be told of the start and the data: nothing where the start was random and every row was fitted."""
    facts = result["data"]
    lines = [STARTS[result["start"]]] if result["start"] in STARTS else []
    if lines and is_flat(result["rmse_history"]):
        lines.append("The descent found nothing better.")
    if facts.get("left out"):
        lines.append(f"{facts['left out']} of {facts['rows']} rows lack a value and were left out.")
    if facts.get("kept out"):
        errors = flat(result["holdout_rmse"])
        rmse = f"{result['holdout_rmse']}" if errors else "not finite"
        if errors and is_batch(result):
            rmse = f"{median(errors):.6g} in the median"
        lines.append(f"{facts['kept out']} points were kept out of the fit; their RMSE is {rmse}.")
    return lines


def outcome(result: dict[str, Any]) -> str:
    """One line: how good, after how many steps, and why it ended."""
    steps = f"{result['steps']} step{'s' * (result['steps'] != 1)}"
    rmse = f"RMSE {result['rmse']}"
    if is_batch(result):
        errors = flat(result["rmse"])
        range_ = f"median RMSE {median(errors):.6g} ({min(errors):.6g} to {max(errors):.6g})" if errors else "no RMSE"
        rmse = f"{len(result['rmse'])} series, {range_}"
    status = result["message"] if is_batch(result) else f"{result['status']} ({result['message']})"
    return f"{rmse} after {steps}. Status: {status}."


def advice(result: dict[str, Any], allowed: int | None = None, undo: Sequence[str] = ()) -> list[str]:
    """How far the fit could have come, and what to type for that.

    Args:
        result: the content of `result.json`.
        allowed: how many steps the same command would let another update rule take; any number unless given.
        undo: options of the command that another update rule does not take, such as `--model.scheduler null`.
    """
    lines = list(result["summary"])
    suggestion = result["suggestion"]
    if suggestion is not None:
        more = suggestion["steps"] if allowed is not None and suggestion["steps"] > allowed else None
        steps = "" if more is None else f" --trainer.max_steps {more}"
        lines.append(" ".join(["Try:", f"--model.optimizer {suggestion['optimizer']}{steps}", *undo]))
    return lines


def card(result: dict[str, Any], command: str, allowed: int | None = None, undo: Sequence[str] = ()) -> str:
    """The text card: what was fitted, what came out, and how to read the other tabs, in Markdown.

    Args:
        result: the content of `result.json`.
        command: what was typed to make this run.
        allowed: as for `advice`.
        undo: likewise.
    """
    batch = is_batch(result)
    before = {name: middle(flat(value)) if batch else value for name, value in result["initial_parameters"].items()}
    after = {name: middle(flat(value)) if batch else value for name, value in result["parameters"].items()}
    rows = "\n".join(f"| {name} | {number(before[name])} | {number(value)} |" for name, value in after.items())
    first = f"RMSE {number(result['rmse_history'][0])} at the start. " if result["rmse_history"] else ""
    data = "".join(f"{line} " for line in data_lines(result))
    loss = {"mse": "the mean squared error, MSE"}.get(result["loss"], result["loss"])
    optimizer, rate = result["optimizer"], ""
    if result["lr"] is not None:
        rate = " and many learning rates" if is_batch_of_lr(result) else f" and the learning rate lr = {result['lr']:g}"
    further = [re.sub(r"^Try: (.*)$", r"Try: `\1`", line) for line in advice(result, allowed, undo)]
    told = [line for line in (result["guidance"] or {"sentences": []})["sentences"] if line not in further]
    median_of = " (medians over the series)" if batch else ""
    return f"""\
## `{result["equation"]}`

{first}{outcome(result)} {data}

| parameter{median_of} | before | after |
|---|---|---|
{rows}

{" ".join(told)}

{" ".join(further)}

Made by `{command}` with seed {result["seed"]}.

### What you are looking at

A curve was fitted to data by gradient descent. Each step predicts y with the present parameters, measures the loss
({loss}), computes the loss's gradient, and moves the parameters against it: with {optimizer}{rate}.

- **Scalars**: `train/rmse` is the root mean squared error, in units of y, after so many steps; a curve that goes flat
  has either arrived or become too slow to see. `val/rmse` is that of the points kept out of the fit, `parameters/...`
  are the parameters on the same axis. The bold line is smoothed: set Smoothing to 0 to see the numbers.
- **Images**: `prediction` shows data and prediction; its slider goes through the steps. `film_strip` shows some
  steps side by side; a click makes it larger. Grey circles are the prediction at the start. `landscape` shows the loss
  over two parameters with the way that the descent took through it, `parameters` each parameter against step.
- **HParams**: compares runs by learning rate, steps and seed, with the RMSE that each one reached.
"""
