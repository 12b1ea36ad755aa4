"""A result in words: for the terminal, and as the text card in TensorBoard.

Both read the plain dict of `result.json`, so that neither needs what computed it.
"""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

__all__ = ["card", "is_round", "outcome", "terminal_report"]

ROWS = 20


def is_round(step: int) -> bool:
    """Whether a step is one of 0 .. 10, 20, 50, 100, 200, ...: enough to show of a run of any length."""
    return step <= 10 or str(step).rstrip("0") in ("1", "2", "5")


def terminal_report(result: dict[str, Any]) -> RenderableType:
    """Step and RMSE, then parameters before and after, as tables for the terminal.

    Args:
        result: the content of `result.json`.

    Returns:
        What rich prints. Up to 20 steps are shown one by one; of more, the round ones and the last.
    """
    history = result["rmse_history"]
    steps = Table("step", "RMSE before the step")
    for step, rmse in enumerate(history, start=1):
        if len(history) <= ROWS or is_round(step) or step == len(history):
            steps.add_row(str(step), repr(rmse))
    parameters = Table("parameter", "before", "after")
    for name, value in result["parameters"].items():
        parameters.add_row(name, f"{result['initial_parameters'][name]:.9g}", f"{value:.9g}")
    parts: list[RenderableType] = [steps] if history else []
    if len(history) > ROWS:
        parts.append("(every step is in result.json)")
    return Group(*parts, parameters)


def outcome(result: dict[str, Any]) -> str:
    """One line: how good, after how many steps, and why it ended."""
    steps = f"{result['steps']} step{'s' * (result['steps'] != 1)}"
    return f"RMSE {result['rmse']} after {steps}. Status: {result['status']} ({result['message']})."


def card(result: dict[str, Any], lr: float, optimizer: str, command: str) -> str:
    """The text card: what was fitted, what came out, and how to read the other tabs, in Markdown.

    Args:
        result: the content of `result.json`.
        lr: the learning rate.
        optimizer: name of the update rule.
        command: what was typed to make this run.
    """
    rows = "\n".join(
        f"| {name} | {result['initial_parameters'][name]:.6g} | {value:.6g} |"
        for name, value in result["parameters"].items()
    )
    first = f"RMSE {result['rmse_history'][0]:.6g} at the start. " if result["rmse_history"] else ""
    return f"""\
## `{result["equation"]}`

{first}{outcome(result)}

| parameter | before | after |
|---|---|---|
{rows}

Made by `{command}` with seed {result["seed"]}.

### What you are looking at

A curve was fitted to data by gradient descent. Each step predicts y with the present parameters, measures the loss
(the mean squared error, MSE), computes the loss's gradient, and moves the parameters against it: with {optimizer}
and the learning rate lr = {lr:g}.

- **Scalars**: `train/rmse` is the root of the loss, in units of y, after so many steps; a curve that goes flat has
  either arrived or become too slow to see. `parameters/...` are the parameters on the same axis.
- **Images**: `prediction` shows data and prediction; its slider goes through the steps. `film_strip` shows some
  steps side by side; a click makes it larger. Grey circles are the prediction at the start.
- **HParams**: compares runs by learning rate, steps and seed, with the RMSE that each one reached.
"""
