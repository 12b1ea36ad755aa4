"""What a fit found: the parameters, how good they are, how they were reached, and why the fit ended."""

import json
import math
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gd_lightning.curve import Curve
from gd_lightning.descent import Descent
from gd_lightning.files import write_whole
from gd_lightning.losses import rmse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FitResult", "versions"]


def versions() -> dict[str, str]:
    """The versions of Python, of this package, and of what computes for it, as far as installed."""
    found = {"python": platform.python_version()}
    for package in ("gd-lightning", "torch", "lightning", "torchmetrics"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, repr=False, eq=False)
class FitResult:
    """The outcome of a fit.

    Attributes:
        function: the function's name.
        parameters: name -> value at the end.
        initial_parameters: name -> value at the start.
        rmse: root mean squared error of `parameters`, in units of y; nan where it is not finite at the start.
        rmse_history: RMSE before each step, so that `rmse_history[k]` belongs to the parameters after k
            steps; the article prints these.
        steps: number of steps taken, counting the last one of a descent that diverged, which was undone.
        status: "step limit" when the allotted steps were used up; "diverged" when the loss ceased to be
            finite, in which case `parameters` are the last ones whose loss was finite; "stopped" when it
            was ended from outside.
        message: one sentence about the status.
        seed: the seed that the start, and generated data, came from.
    """

    function: str
    parameters: dict[str, float]
    initial_parameters: dict[str, float]
    rmse: float
    rmse_history: list[float]
    steps: int
    status: str
    message: str
    seed: int | None
    curve: Curve
    t: Tensor
    targets: Tensor

    @classmethod
    def of(cls, descent: Descent, t: Tensor, targets: Tensor, seed: int | None) -> "FitResult":
        """Read the result off a descent as it stands."""
        curve = descent.curve
        with torch.no_grad():
            final_rmse = rmse(curve(t), targets)
        return cls(
            function=curve.function_name,
            parameters=curve.named_values(),
            initial_parameters=curve.named_values(curve.initial_params),
            rmse=final_rmse,
            rmse_history=list(descent.rmse_history),
            steps=len(descent.rmse_history),
            status=descent.status,
            message=descent.message,
            seed=seed,
            curve=curve,
            t=t,
            targets=targets,
        )

    def predict(self, t: Any) -> Tensor:
        """The fitted curve at t.

        Args:
            t: a number, numbers, an array or a tensor of shape `(T,)`.

        Returns:
            Predictions of the same shape, without gradient.
        """
        t = torch.as_tensor(t, dtype=self.t.dtype, device=self.t.device)
        with torch.no_grad():
            preds: Tensor = self.curve(t)
        return preds.reshape(t.shape)

    def plot(self) -> "Figure":
        """Data, fitted curve and the curve of the start in one figure."""
        from gd_lightning.plots import prediction_figure

        with torch.no_grad():
            start = self.curve.evaluate(self.t, self.curve.initial_params)
        title = f"{self.function}, after {self.steps} steps: RMSE {self.rmse:.4g}"
        return prediction_figure(self.t, self.targets, self.predict(self.t), start, title=title)

    def to_dict(self) -> dict[str, Any]:
        """Plain text and numbers, as they stand in `result.json`."""
        return {
            "function": self.function,
            "equation": self.curve.equation,
            "parameters": self.parameters,
            "initial_parameters": self.initial_parameters,
            "rmse": self.rmse if math.isfinite(self.rmse) else None,
            "rmse_history": self.rmse_history,
            "steps": self.steps,
            "status": self.status,
            "message": self.message,
            "seed": self.seed,
            "versions": versions(),
        }

    def write_json(self, path: Path) -> None:
        """Write `to_dict()` to a file, whole or not at all."""
        write_whole(path, json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value:.6g}" for name, value in self.parameters.items())
        return f"FitResult({self.function}: {values}; RMSE {self.rmse:.6g} after {self.steps} steps, {self.status})"

    def __str__(self) -> str:
        width = max(len(name) for name in self.parameters)
        lines = [
            f"{self.function}: {self.curve.equation}",
            f"  RMSE {self.rmse:.6g} after {self.steps} steps ({self.status}: {self.message})",
        ]
        for name, value in self.parameters.items():
            lines.append(f"  {name:<{width}} = {value:<12.6g} (start {self.initial_parameters[name]:.6g})")
        return "\n".join(lines)
