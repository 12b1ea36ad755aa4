"""How much a formula costs beside the same function written by hand in torch: python benchmarks/formulas.py.

One evaluation with its gradient, double precision, one thread; the least of several rounds, taken in turns.
"""

import platform
import timeit
from collections.abc import Callable

import torch
from torch import Tensor

from gd_lightning.formula import Formula

ROUNDS, CALLS = 15, 200


def by_hand_decay(a: Tensor, t: Tensor, tau: Tensor, c: Tensor) -> Tensor:
    """A decay to an offset."""
    return a * torch.exp(-t / tau) + c


def by_hand_peaks(
    a1: Tensor, t: Tensor, c1: Tensor, w1: Tensor, a2: Tensor, c2: Tensor, w2: Tensor, slope: Tensor, level: Tensor
) -> Tensor:
    """Two peaks on a sloping ground."""
    first = a1 * torch.exp(-((t - c1) ** 2) / (2 * w1**2))
    second = a2 * torch.exp(-((t - c2) ** 2) / (2 * w2**2))
    return first + second + slope * t + level


PAIRS: dict[str, Callable[..., Tensor]] = {
    "a*exp(-t/tau) + c": by_hand_decay,
    "a1*exp(-(t - c1)**2/(2*w1**2)) + a2*exp(-(t - c2)**2/(2*w2**2)) + slope*t + level": by_hand_peaks,
}


def seconds(function: Callable[..., Tensor], names: tuple[str, ...], t: Tensor) -> float:
    """The time of one prediction with its gradient."""
    params = [torch.full((1,), 1.0 + i, dtype=torch.float64, requires_grad=True) for i in range(len(names) - 1)]
    calls = CALLS if len(t) <= 1000 else 10

    def step() -> None:
        values = iter(params)
        torch.autograd.grad(function(*(t if name == "t" else next(values) for name in names)).sum(), params)

    return timeit.timeit(step, number=calls) / calls


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}")
    for text, by_hand in PAIRS.items():
        formula = Formula(text)
        print(f"\n{text}\n{'points':>8} {'formula':>12} {'by hand':>12} {'ratio':>7}")
        for points in (20, 1000, 100_000):
            t = torch.linspace(0, 10, points, dtype=torch.float64)
            turns = [(seconds(formula, formula.names, t), seconds(by_hand, formula.names, t)) for _ in range(ROUNDS)]
            ours, theirs = (min(times) for times in zip(*turns, strict=True))
            print(f"{points:>8} {ours * 1e6:>9.1f} us {theirs * 1e6:>9.1f} us {ours / theirs:>7.2f}")
