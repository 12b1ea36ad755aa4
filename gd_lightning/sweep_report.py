"""What `gd-lightning sweep` prints and leaves: tables, a picture, a TensorBoard run for each member."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from gd_lightning.convergence import DIVERGED
from gd_lightning.digits import number
from gd_lightning.files import write_whole
from gd_lightning.rendering import pixels, png
from gd_lightning.spreadsheets import csv_text
from gd_lightning.sweep_result import SweepResult
from gd_lightning.terminal import printable
from gd_lightning.words import plural

__all__ = ["sweep_report", "write_run"]

POINTS = 200  # of a curve in TensorBoard
FINAL = "final/rmse"  # as the run of a fit calls it
AS_GOOD = 1e-3  # an RMSE that is larger by no more is as good
HEADINGS = {"lrs": "lr", "starts": "start", "rules": "update rule"}


def sweep_report(found: SweepResult) -> RenderableType:
    """A row for each member, the limit between the learning rates that it separates, and what follows from them."""
    heading = HEADINGS[found.kind]
    table = Table(heading, *(["lr"] if found.kind == "rules" else []), "status", "RMSE at the end", "settled at")
    limit = found.limit if found.kind == "lrs" else None
    rows = found.table()
    if found.kind == "lrs":
        rows = sorted(rows, key=lambda row: row["lr"])
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        status = f"{row['status']}, RMSE rose" if row["rose"] else row["status"]
        rmse = "" if row["status"] == DIVERGED else number(row["rmse"])
        settled = "" if row["settled_at"] is None else f"{row['settled_at']}"
        cells = [row["label"].partition("=")[2] if found.kind != "rules" else row["label"]]
        cells += [_written(row["lr"])] if found.kind == "rules" else []
        lowest = found.best is not None and row["label"] == found.labels[found.best]
        table.add_row(
            *(Text(printable(cell)) for cell in (*cells, status, rmse, settled)), style="bold" if lowest else None
        )
        if limit is not None and row["lr"] <= limit and following is not None and following["lr"] > limit:
            table.add_section()
            table.add_row(f"{limit:.3g}", found.limit_name, "", "", style="italic")
            table.add_section()
    return Group(table, *(Text(printable(line)) for line in _conclusion(found)))


def _written(lr: Any) -> str:
    return "" if lr is None else f"{lr:g}" if isinstance(lr, float) else "several"


def _conclusion(found: SweepResult) -> list[str]:
    """What to make of it, a line each."""
    steps = f"{found.steps:,} step{'s' * (found.steps != 1)}"
    reachable = found.reachable
    least = math.isfinite(reachable.rmse)
    linear = found.guidance is not None and found.guidance.exact
    lines = ["(settled at: the step from which the RMSE stays within 1 % of its end)"]
    if found.best is None:
        lines.append(f"All {len(found.labels)} diverged.")
    else:
        end = found.rmse[found.best]
        lines.append(f"Lowest RMSE after {steps}: {end:.6g}, with {found.labels[found.best]}.")
    if found.kind == "lrs" and found.limit is not None:
        lines.append(f"The {found.limit_name} is {found.limit:.3g}: above it an error grows from step to step.")
    if least:
        way = f"Levenberg-Marquardt, {plural(reachable.steps, 'step')}"
        way += "" if reachable.from_start else " from this end"
        lines.append(f"The best fit {'' if linear else 'found '}has RMSE {reachable.rmse:.6g} ({way}).")
    suggestion = _suggestion(found)
    return [*lines, f"Try, with gd-lightning fit: {suggestion}"] if suggestion else lines


def _suggestion(found: SweepResult) -> str | None:
    """Options that lead to what was seen here: those of the best member, or Levenberg-Marquardt if only it arrives."""
    best, reachable = found.best, found.reachable
    if reachable.from_start and (best is None or not found.rmse[best] <= reachable.rmse * (1 + AS_GOOD)):
        return "--model.optimizer LevenbergMarquardt --model.lr null"
    if best is None:
        return None
    lr = found.lrs[best]
    curve = found.curve
    start = {curve.names[i]: found.initial_parameters[best][curve.names[i]] for i in curve.demands.free}
    chosen = {
        "lrs": f"--model.lr {lr}",
        "rules": f"--model.optimizer {found.rules[best]} --model.lr {'null' if lr is None else lr}",
        "starts": f"--model.init '{json.dumps(start)}'",
    }[found.kind]
    return f"{chosen} --trainer.max_steps {found.steps}"


def write_run(folder: Path, found: SweepResult) -> None:
    """Write sweep.json, sweep.csv and sweep.png, and what TensorBoard shows: the picture, and a run for each member.

    Each run has the scalar `sweep/rmse` against the step, at most 200 points of it, and its hyperparameters beside
    `final/rmse`, by which the HParams tab compares them.
    """
    found.write_json(folder / "sweep.json")
    write_whole(folder / "sweep.csv", _as_csv(found))
    picture = pixels(found.plot())
    write_whole(folder / "sweep.png", png(picture))
    with SummaryWriter(folder) as shown:
        shown.add_image("sweep", picture, found.steps, dataformats="HWC")
    steps = np.unique(np.linspace(0, found.steps, POINTS).round().astype(int)).tolist()
    if found.steps >= POINTS:  # as many at the beginning as later, where most happens
        steps = np.unique(np.geomspace(1, found.steps + 1, POINTS).round().astype(int) - 1).tolist()
    for row, history in zip(found.table(), found.rmse_history.tolist(), strict=True):
        described = {
            "function": found.function,
            "optimizer": row["optimizer"],
            **({"lr": row["lr"]} if isinstance(row["lr"], float) else {}),
            "start": row["label"] if found.kind == "starts" else found.start,
            "steps": found.steps,
            "status": row["status"],
            **({} if found.seed is None else {"seed": found.seed}),
        }
        with SummaryWriter(folder / row["label"].replace(" ", "_")) as shown:
            # Lightning's log_hyperparams writes none of a run without metrics, as one that has diverged
            for summary in hparams(described, {FINAL: math.nan}):  # type: ignore[no-untyped-call]
                shown.file_writer.add_summary(summary)
            for step in steps:
                if math.isfinite(history[step]):
                    shown.add_scalar("sweep/rmse", history[step], step)
            if math.isfinite(row["rmse"]):
                shown.add_scalar(FINAL, row["rmse"], found.steps)


def _as_csv(found: SweepResult) -> str:
    """The table; parameters are columns with names of their own."""
    plain = ["label", "optimizer", "lr", "status", "first_rmse", "rmse", "settled_at"]
    names = found.curve.names
    rows = [[*plain, *(f"start/{name}" for name in names), *(f"parameters/{name}" for name in names)]]
    for row in found.table():
        values = [row["initial_parameters"][name] for name in names] + [row["parameters"][name] for name in names]
        rows.append(
            ["" if value is None or value != value else value for value in [row[key] for key in plain]] + values
        )
    return csv_text(rows)
