"""What a run shows beside its report: the first steps in the terminal, a text card and scalars in TensorBoard."""

from typing import Any

from rich.table import Table

from gd_lightning.milestones import is_round
from gd_lightning.report import report
from gd_lightning.report_cells import is_batch
from gd_lightning.report_formats import block, code, marked
from gd_lightning.report_words import ROWS, is_flat
from gd_lightning.terminal import printable

__all__ = ["card", "scalars", "steps_table"]

GRADIENT = """\
A curve was fitted to data by gradient descent. Each step predicts y with the present parameters, measures the loss
({loss}), computes the loss's gradient, and moves the parameters against it, as far as the learning rate lr says."""
TANGENT = """\
A curve was fitted to data by the Levenberg-Marquardt method. Each step predicts y with the present parameters, computes
the residuals and their derivatives, and moves the parameters to where these promise the least loss, within a radius in
which they have proved true."""
GOODNESS = ("r2", "adjusted_r2", "reduced_chi2", "aic", "aicc", "bic")


def steps_table(result: dict[str, Any]) -> Table | None:
    """Step and RMSE for the terminal: up to 20 steps one by one; of more, the round ones and the last.

    Args:
        result: the content of `result.json`.

    Returns:
        What rich prints; none where no step was taken.
    """
    history = result["rmse_history"]
    if not history:
        return None
    last = len(history)
    caption = "(every step is in result.json)" if last > ROWS else None
    steps = Table("step", "RMSE before the step", caption=caption, caption_justify="left")
    for step in [1, last] if is_flat(history) else range(1, last + 1):
        if last <= ROWS or is_round(step) or step == last:
            steps.add_row(str(step), repr(history[step - 1]))
    return steps


def scalars(result: dict[str, Any]) -> dict[str, float]:
    """Standard errors and measures of the fit of one series, as TensorBoard names them; none that is not finite."""
    if is_batch(result):
        return {}
    named = {f"errors/{name}": error for name, error in result["standard_errors"].items()}
    named |= {f"goodness/{name}": result["goodness"][name] for name in GOODNESS}
    return {name: value for name, value in named.items() if value is not None}


def card(result: dict[str, Any], command: str) -> str:
    """The text card in Markdown: the report, and how to read the other tabs.

    Args:
        result: the content of `result.json`.
        command: what was typed to make this run.
    """
    loss = result["loss"]
    tangent = result["optimizer"] == "LevenbergMarquardt"
    moves = TANGENT if tangent else GRADIENT.format(loss={"mse": "the mean squared error, MSE"}.get(loss, loss))
    told = [line for line in (result["guidance"] or {"sentences": []})["sentences"] if line not in result["summary"]]
    return f"""\
{block(report(result))}

{marked(printable(" ".join(told)))}

Made by {code(printable(command))} with seed {result["seed"]}; `gd-lightning report` tells it again, as Markdown
or LaTeX too.

### What you are looking at

{moves}

- **Report**: above; the number after ± is the standard error, and an interval holds the true value with the chance that
  heads it, if the function is right. `gd-lightning report --help` has more on it.
- **Scalars**: `train/rmse` is the root mean squared error, in units of y, after so many steps; a curve that goes flat
  has either arrived or become too slow to see. `val/rmse` is that of the points kept out of the fit, `parameters/...`
  are the parameters on the same axis. The bold line is smoothed: set Smoothing to 0 to see the numbers. `errors/...`
  and `goodness/...` are the report's, for comparing runs.
- **Images**: `prediction` shows data and prediction; its slider goes through the steps. `film_strip` shows some
  steps side by side; a click makes it larger. Grey circles are the prediction at the start. `landscape` shows the loss
  over two parameters with the way that the descent took through it, `parameters` each parameter against step, and
  `profile`, where intervals are asked for from it, how the loss rises about each parameter.
- **HParams**: compares runs by learning rate, steps and seed, with the RMSE that each one reached.
"""
