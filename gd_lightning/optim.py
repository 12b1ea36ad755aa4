"""Update rules: how a gradient becomes a step. Each is one equation.

A rule is a `torch.optim.Optimizer`, so that Lightning counts its steps, checkpoints hold its state, and
any class of `torch.optim` fits in the same place.
"""

import math
from collections.abc import Callable, Iterable
from typing import SupportsFloat, overload

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from gd_lightning.errors import InputError

__all__ = ["ARTICLE_LR", "SGD", "Rule", "UpdateRule", "check_lr", "make_rule"]

ARTICLE_LR = 1e-5
Rule = Callable[[Iterable[Parameter], float], Optimizer]


def check_lr(lr: float | str) -> None:
    """Refuse a learning rate that cannot descend.

    Raises:
        InputError: `lr` is not a finite number above zero.
    """
    try:
        good = isinstance(lr, SupportsFloat) and not isinstance(lr, bool) and 0 < float(lr) < math.inf
    except (TypeError, ValueError, OverflowError, RuntimeError):
        good = False
    if not good:
        raise InputError(f"lr: given {lr!r}, expected a finite number above 0; the article uses 1e-5")


def make_rule(rule: Rule, params: Parameter, lr: float) -> Optimizer:
    """The optimizer that steps some parameters.

    Args:
        rule: a class of this file or of `torch.optim`, or whatever makes an optimizer from parameters and lr.
        params: the tensor to step.
        lr: learning rate, above 0.

    Raises:
        InputError: the learning rate or another number is out of range, or the rule is one that needs more than
            the gradient of a step.
    """
    check_lr(lr)
    try:
        optimizer = rule([params], lr)
    except InputError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"optimizer: {error}") from None
    if not isinstance(optimizer, Optimizer):
        raise InputError(f"optimizer: given {rule!r}, expected a class such as gd_lightning.SGD or torch.optim.Adam")
    if type(optimizer) is UpdateRule:
        raise InputError("optimizer: UpdateRule is what the rules share; expected one of them, such as SGD")
    if isinstance(optimizer, torch.optim.LBFGS | torch.optim.SparseAdam):
        raise InputError(
            f"optimizer: {type(optimizer).__name__} needs more than one dense gradient a step; "
            "expected a rule such as SGD or torch.optim.Adam"
        )
    return optimizer


class UpdateRule(Optimizer):
    """theta <- update(theta, g): what every rule shares.

    A rule writes `update(theta, g, state, lr, ...)`, which returns the new parameters from the present ones
    `theta`, the gradient `g` of the same shape, the dict `state` that lasts from step to step, and the
    rule's own numbers by the names its `__init__` handed on.

    Args:
        params: the tensors to step.
        lr: learning rate, above 0.
        numbers: further numbers of the rule, such as `beta=0.9`.

    Raises:
        InputError: `lr` is not a finite number above zero.
    """

    update: Callable[..., Tensor]

    def __init__(self, params: ParamsT, lr: float, **numbers: float) -> None:
        check_lr(lr)
        super().__init__(params, {"lr": lr, **numbers})
        self.numbers = ("lr", *numbers)  # not self.defaults, to which torch adds entries of its own

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Step every parameter that has a gradient, once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            numbers = {name: group[name] for name in self.numbers}
            for theta in group["params"]:
                if theta.grad is not None:
                    theta.copy_(self.update(theta, theta.grad, self.state[theta], **numbers))
        return loss


class SGD(UpdateRule):
    """theta <- theta - lr * g

    The article's step, `params -= lr * gradient`: gradient descent (Cauchy, 1847), called stochastic where
    the gradient comes from a part of the data (Robbins and Monro, 1951).

    Args:
        params: the tensors to step.
        lr: learning rate, above 0.
    """

    def __init__(self, params: ParamsT, lr: float) -> None:
        super().__init__(params, lr)

    def update(self, theta: Tensor, g: Tensor, state: dict[str, Tensor], lr: float) -> Tensor:
        return theta - lr * g
