"""Curve fitting by gradient descent that you can watch.

The names are handed on lazily: `from gd_lightning import fit` imports torch, and not Lightning.
"""

from importlib import import_module

TYPE_CHECKING = False  # as type checkers understand it; `python -m` would look for typing in the working folder first
if TYPE_CHECKING:
    from typing import Any

    from gd_lightning.callbacks import LearningRateGuide, PredictionPlots, RunReport, StepProgressBar, Stopping
    from gd_lightning.comparison import Comparison, compare
    from gd_lightning.curve import Curve
    from gd_lightning.data import NoisySeries, Table
    from gd_lightning.errors import InputError
    from gd_lightning.fitting import fit
    from gd_lightning.levenberg_marquardt import LevenbergMarquardt
    from gd_lightning.losses import mse, rmse
    from gd_lightning.module import CurveFit
    from gd_lightning.optim import SGD, Adam, Momentum, Nesterov, RMSprop, UpdateRule
    from gd_lightning.result import FitResult
    from gd_lightning.streamed import StreamedTable
    from gd_lightning.sweep_result import SweepResult

__version__ = "0.1.0"

_HOMES = {
    "callbacks": ("LearningRateGuide", "PredictionPlots", "RunReport", "StepProgressBar", "Stopping"),
    "comparison": ("Comparison", "compare"),
    "curve": ("Curve",),
    "data": ("NoisySeries", "Table"),
    "errors": ("InputError",),
    "fitting": ("fit",),
    "levenberg_marquardt": ("LevenbergMarquardt",),
    "losses": ("mse", "rmse"),
    "module": ("CurveFit",),
    "optim": ("SGD", "Adam", "Momentum", "Nesterov", "RMSprop", "UpdateRule"),
    "result": ("FitResult",),
    "streamed": ("StreamedTable",),
    "sweep_result": ("SweepResult",),
}

__all__ = [
    "SGD",
    "Adam",
    "Comparison",
    "Curve",
    "CurveFit",
    "FitResult",
    "InputError",
    "LearningRateGuide",
    "LevenbergMarquardt",
    "Momentum",
    "Nesterov",
    "NoisySeries",
    "PredictionPlots",
    "RMSprop",
    "RunReport",
    "StepProgressBar",
    "Stopping",
    "StreamedTable",
    "SweepResult",
    "Table",
    "UpdateRule",
    "compare",
    "fit",
    "mse",
    "rmse",
]


def __getattr__(name: str) -> "Any":
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"gd_lightning.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
