"""What a step costs beside the article's plain loop: python benchmarks/step_cost.py.

Twenty points, three parameters, single precision, one thread; the least of several rounds, taken in turns. Then a whole
fit of 50 points beside SciPy's curve_fit.
"""

import logging
import platform
import timeit
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import lightning.pytorch as pl
import numpy as np
import torch
from scipy.optimize import curve_fit
from torch import Tensor

from gd_lightning import CurveFit, fit
from gd_lightning.compiled import CompiledSteps
from gd_lightning.curve import Curve
from gd_lightning.data import NoisySeries
from gd_lightning.descent import Descent
from gd_lightning.functions import gaussian
from gd_lightning.optim import SGD
from gd_lightning.points import Points

ROUNDS, STEPS, FITS = 9, 1000, 20
LONG = 50_000  # steps of the compiled run of a Trainer
LR = 1e-5
PEAK = "amplitude*exp(-(t - center)**2/(2*width**2)) + offset"


def article() -> tuple[Tensor, Tensor, Tensor]:
    """The article's t, y and start."""
    torch.manual_seed(2021)
    t = torch.arange(0, 20).float()
    y = torch.rand(20) * 5 + 0.8 * (t - 7.5) ** 2 + 1
    torch.randn(3)
    return t, y, torch.randn(3)


def plain(t: Tensor, y: Tensor, start: Tensor) -> None:
    """The article's loop."""
    params = start.clone().requires_grad_()
    for _ in range(STEPS):
        a, b, c = params
        loss = ((a * t**2 + b * t + c - y) ** 2).mean()
        loss.backward()
        params.data -= LR * params.grad
        params.grad = None
        loss.item() ** 0.5


def begin(start: Tensor) -> tuple[Curve, SGD]:
    """A curve at the article's start."""
    curve = Curve("quadratic")
    curve.start(start)
    return curve, SGD([curve.params], LR)


def stepped(points: Points, start: Tensor) -> None:
    """The same in `Descent`, as `fit` takes its steps."""
    curve, rule = begin(start)
    descent, taken = Descent(curve), 0
    while taken < STEPS:
        taken += len(descent.advance(rule, points, STEPS - taken))


class Clock(pl.Callback):
    """Times the steps of a Trainer, without its beginning and end, and those after the first batch for themselves."""

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.began = timeit.default_timer()

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: object) -> None:
        if trainer.current_epoch == 0:
            self.warm = timeit.default_timer()

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.seconds, self.later = (timeit.default_timer() - moment for moment in (self.began, self.warm))


def trained(start: Tensor, steps: int, steps_per_epoch: int, compile: bool = False) -> Clock:
    """A Trainer's time for so many steps, so many to a batch."""
    clock = Clock()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    module = CurveFit(
        init=dict(zip("abc", start.tolist(), strict=True)), lr=LR, steps_per_epoch=steps_per_epoch, compile=compile
    )
    trainer.fit(module, NoisySeries())
    return clock


def seconds(function: Callable[[], object], calls: int = 1) -> float:
    """The time of one call."""
    return timeit.timeit(function, number=calls) / calls


def peak() -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """A noisy Gaussian over an offset, 50 points, and where both fits begin."""
    t = np.linspace(0, 10, 50)
    noise = np.random.default_rng(2021).normal(0, 0.05, 50)
    y = 2 * np.exp(-((t - 4.5) ** 2) / (2 * 1.2**2)) + 0.5 + noise
    return t, y, {"amplitude": 1.5, "center": 4, "width": 1, "offset": 0.3}


def by_hand(t: np.ndarray, amplitude: float, center: float, width: float, offset: float) -> np.ndarray:
    """The same in NumPy."""
    return amplitude * np.exp(-((t - center) ** 2) / (2 * width**2)) + offset


def in_torch(t: Tensor, amplitude: Tensor, center: Tensor, width: Tensor, offset: Tensor) -> Tensor:
    """The same from the family."""
    return gaussian(t, amplitude, center, width) + offset


def table(title: str, times: dict[str, list[float]], per: int = 1) -> None:
    """The least times, and beside the first of them."""
    least = {name: min(several) / per for name, several in times.items()}
    first = next(iter(least.values()))
    print(f"\n{title:<44} {'time':>12} {'ratio':>8}")
    for name, one in least.items():
        print(f"{name:<44} {one * 1e6:>9.2f} us {one / first:>8.3f}")


def steps() -> None:
    """One step, four ways."""
    t, y, start = article()
    points = Points(t, y)
    compiled = CompiledSteps(*begin(start))
    first = seconds(partial(compiled.take, points))
    again = CompiledSteps(*begin(start))
    second = seconds(partial(again.take, points))
    chunks = STEPS // compiled.steps
    ways: dict[str, Callable[[], float]] = {
        "the article's loop": lambda: seconds(lambda: plain(t, y, start)),
        "Descent, as fit takes its steps": lambda: seconds(lambda: stepped(points, start)),
        "Trainer, 100 steps to a training_step": lambda: trained(start, STEPS, 100).seconds,
        "compiled, 100 steps to a call": lambda: seconds(lambda: [compiled.take(points) for _ in range(chunks)]),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name].append(way())
    table("one step, 20 points, 3 parameters", times, STEPS)
    long = trained(start, LONG, 1000, compile=True)
    plain_step = min(times["the article's loop"]) / STEPS
    later = long.later / (LONG - 1000) / plain_step
    print(
        f"Trainer with model.compile: {later:.3f} a step, {long.seconds / LONG / plain_step:.3f} with its compilation"
    )
    print(f"in {LONG:,} steps; compilation: {first:.1f} s the first time, {second:.1f} s for the next curve like it")


def fits() -> None:
    """A whole fit, beside SciPy's."""
    t, y, init = peak()
    ways: dict[str, Callable[[], object]] = {
        "scipy.optimize.curve_fit": lambda: curve_fit(by_hand, t, y, p0=list(init.values())),
        "fit(formula)": lambda: fit(PEAK, t, y, init=init, dtype=torch.float64),
        "fit(callable)": lambda: fit(in_torch, t, y, init=init, dtype=torch.float64),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name].append(seconds(way, FITS))
    table("one fit, 50 points, 4 parameters", times)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "scipy"))
    print(f"Python {platform.python_version()}, {libraries}, {platform.machine()}")
    steps()
    fits()
