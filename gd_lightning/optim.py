"""Update rules: how a gradient becomes a step. Each is one equation.

A rule is a `torch.optim.Optimizer`, so that Lightning counts its steps, checkpoints hold its state, and
any class of `torch.optim` fits in the same place.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from gd_lightning.errors import InputError
from gd_lightning.scalars import is_number

__all__ = [
    "ARTICLE_LR",
    "SGD",
    "Adam",
    "Momentum",
    "Nesterov",
    "RMSprop",
    "Rule",
    "UpdateRule",
    "check_lr",
    "growth_of",
    "is_many",
    "make_optimizer",
    "rule_name",
]

ARTICLE_LR = 1e-5
Rule = Callable[[Iterable[Parameter], float], Optimizer]
State = dict[str, Tensor]


def check_lr(lr: float | str | Tensor) -> None:
    """Refuse a learning rate that cannot descend: a number, or a tensor of them.

    Raises:
        InputError: `lr` is not a finite number above zero, or one of its entries is none.
    """
    if isinstance(lr, Tensor) and lr.dim():
        _check_entries(lr.detach())
    elif not is_number(lr) or not 0 < float(lr) < math.inf:
        raise InputError(f"lr: given {lr!r}, expected a finite number above 0; the article uses 1e-5")


def _check_entries(lr: Tensor) -> None:
    if lr.numel() == 0 or lr.dtype == torch.bool or lr.is_complex():
        raise InputError(f"lr: given {lr.numel()} values of {lr.dtype}, expected finite numbers above 0")
    good = torch.isfinite(lr) & (lr > 0)
    if not good.all():
        at = (~good).nonzero()[0].tolist()
        raise InputError(f"lr: lr{at} is {lr[tuple(at)].item():g}, expected a finite number above 0 in each place")


def _check_beta(name: str, beta: float) -> None:
    if not is_number(beta) or not 0 <= float(beta) < 1:
        raise InputError(f"optimizer: {name} is {beta!r}, expected a number from 0 to below 1, such as 0.9")


def _check_eps(eps: float) -> None:
    if not is_number(eps) or not 0 < float(eps) < math.inf:
        raise InputError(f"optimizer: eps is {eps!r}, expected a finite number above 0, such as 1e-8")


def make_optimizer(rule: Rule, params: Parameter, lr: float | Tensor) -> Optimizer:
    """The optimizer that steps some parameters.

    Args:
        rule: a class of this file or of `torch.optim`, or whatever makes an optimizer from parameters and lr.
        params: the tensor to step.
        lr: learning rate, above 0; for the rules of this file also a tensor that broadcasts to `params`.

    Raises:
        InputError: the learning rate or another number is out of range, or the rule is one that needs more than
            the gradient of a step.
    """
    if isinstance(rule, str):
        raise InputError(
            f"optimizer: given the text {rule!r}, expected the class, as in: from gd_lightning import Adam"
        )
    check_lr(lr)
    many = is_many(lr)
    if many and isinstance(rule, type) and not issubclass(rule, UpdateRule):
        raise _takes_one_lr(rule)
    try:
        optimizer = rule([params], lr if many else float(lr))  # type: ignore[arg-type]  # tensors, our rules only
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
    if many and not isinstance(optimizer, UpdateRule):
        raise _takes_one_lr(type(optimizer))
    return optimizer


def rule_name(optimizer: Optimizer) -> str:
    """What an update rule is called; those of torch by their package, too."""
    theirs = type(optimizer).__module__.startswith("torch.")
    return ("torch.optim." if theirs else "") + type(optimizer).__name__


def is_many(lr: Any) -> bool:
    """Whether a learning rate is one of several numbers."""
    return isinstance(lr, Tensor) and lr.numel() > 1


def _takes_one_lr(rule: type) -> InputError:
    return InputError(
        f"lr: given many values, and {rule.__module__.removesuffix('.' + rule.__name__.lower())}.{rule.__name__} takes "
        "one number; try a rule of gd_lightning, such as SGD, Momentum or Adam"
    )


class UpdateRule(Optimizer):
    """theta <- update(theta, g): what every rule shares.

    A rule writes `update(theta, g, state, lr, ...)`, which returns the new parameters from the present ones
    `theta`, the gradient `g` of the same shape, the dict `state` of tensors that lasts from step to step, and the
    rule's own numbers by the names its `__init__` handed on. It changes no tensor in place and asks none for its
    value, so that many steps can be compiled into one. A state other than `"step"` takes on the precision of
    `theta` when it is loaded.

    Args:
        params: the tensors to step.
        lr: learning rate, above 0; or a tensor that broadcasts to the parameters `(*batch, P)`: `(P,)` for one of
            each parameter, `(*batch, 1)` of each series, `(*batch, P)` of both.
        numbers: further numbers of the rule, such as `beta=0.9`.

    Raises:
        InputError: `lr` is not a finite number above zero, nor a tensor of such that broadcasts to the parameters.
    """

    update: Callable[..., Tensor]

    def __init__(self, params: ParamsT, lr: float | Tensor, **numbers: float) -> None:
        check_lr(lr)
        super().__init__(params, {"lr": lr, **numbers})
        self.numbers = tuple(numbers)  # not self.defaults, to which torch adds entries of its own
        for group in self.param_groups:
            check_lr(group["lr"])
            for theta in group["params"]:
                _check_shape(group["lr"], theta)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "numbers": self.numbers}

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
            for theta in group["params"]:
                if theta.grad is not None:
                    theta.copy_(self.update(theta, theta.grad, self.state[theta], **self.arguments(group, theta)))
        return loss

    def constants(self, group: dict[str, Any]) -> dict[str, float]:
        """The rule's own numbers by name, such as `beta`, as they stand in a parameter group."""
        return {name: group[name] for name in self.numbers}

    def arguments(self, group: dict[str, Any], theta: Tensor) -> dict[str, Any]:
        """What `update` takes beside theta, g and state: lr in the precision of theta, and the rule's own numbers."""
        lr = group["lr"].to(theta) if isinstance(group["lr"], Tensor) else group["lr"]
        return {"lr": lr, **self.constants(group)}

    def growth(self, x: Tensor) -> Tensor:
        """The factor by which one step multiplies an error on a quadratic, in the long run.

        Along a direction of curvature c the gradient is c times the error; the error and the state then follow a
        linear map, whose spectral radius this is. Below 1 the error shrinks, above it grows.

        Args:
            x: lr * c, above 0, any shape.

        Returns:
            The same shape; NaN where nothing is known, as for a rule that scales each parameter by itself.
        """
        return torch.full_like(x, math.nan)


def _check_shape(lr: float | Tensor, theta: Tensor) -> None:
    if not isinstance(lr, Tensor):
        return
    pairs = zip(reversed(lr.shape), reversed(theta.shape), strict=False)
    fits = lr.dim() <= theta.dim() and all(own in (1, wanted) for own, wanted in pairs)
    if not fits:
        raise InputError(
            f"lr: given shape {tuple(lr.shape)}, expected one that broadcasts to that of the parameters, "
            f"{tuple(theta.shape)}"
        )


def _spectral_radius(trace: Tensor, det: Tensor) -> Tensor:
    """The larger modulus of the two eigenvalues of a real 2x2 matrix."""
    discriminant = trace**2 - 4 * det
    real = (trace.abs() + discriminant.clamp(min=0).sqrt()) / 2
    return torch.where(discriminant < 0, det.clamp(min=0).sqrt(), real)


class SGD(UpdateRule):
    """theta <- theta - lr * g

    The article's step, `params -= lr * gradient`: gradient descent (Cauchy, 1847), called stochastic where
    the gradient comes from a part of the data (Robbins and Monro, 1951).

    Args:
        params: the tensors to step.
        lr: learning rate, above 0.
    """

    def __init__(self, params: ParamsT, lr: float | Tensor) -> None:
        super().__init__(params, lr)

    def update(self, theta: Tensor, g: Tensor, state: State, lr: float | Tensor) -> Tensor:
        return theta - lr * g

    def growth(self, x: Tensor) -> Tensor:
        """abs(1 - x)."""
        return (1 - x).abs()


class Momentum(UpdateRule):
    """v <- beta * v + g; theta <- theta - lr * v

    The heavy ball (Polyak, 1964): steps keep a part of their velocity, so that flat directions are crossed faster.
    It is `torch.optim.SGD` with `momentum=beta`.

    Args:
        params: the tensors to step.
        lr: learning rate, above 0.
        beta: the part of the velocity that is kept, from 0 to below 1.
    """

    def __init__(self, params: ParamsT, lr: float | Tensor, beta: float = 0.9) -> None:
        _check_beta("beta", beta)
        super().__init__(params, lr, beta=beta)

    def update(self, theta: Tensor, g: Tensor, state: State, lr: float | Tensor, beta: float) -> Tensor:
        v = state["v"] = beta * state.get("v", 0.0) + g
        return theta - lr * v

    def growth(self, x: Tensor) -> Tensor:
        """Spectral radius of ((1 - x, -beta), (x, beta)), which maps the error and lr * v."""
        beta = torch.full_like(x, self.param_groups[0]["beta"])
        return _spectral_radius(1 + beta - x, beta)


class Nesterov(Momentum):
    """v <- beta * v + g; theta <- theta - lr * (g + beta * v)

    Momentum that looks ahead (Nesterov, 1983; in this form Sutskever et al., 2013).
    It is `torch.optim.SGD` with `momentum=beta, nesterov=True`; its arguments are those of `Momentum`.
    """

    def update(self, theta: Tensor, g: Tensor, state: State, lr: float | Tensor, beta: float) -> Tensor:
        v = state["v"] = beta * state.get("v", 0.0) + g
        return theta - lr * (g + beta * v)

    def growth(self, x: Tensor) -> Tensor:
        """Spectral radius of ((1 - x - beta * x, -beta**2), (x, beta)), which maps the error and lr * v."""
        beta = torch.full_like(x, self.param_groups[0]["beta"])
        return _spectral_radius((1 + beta) * (1 - x), beta * (1 - x))


class RMSprop(UpdateRule):
    """v <- beta * v + (1 - beta) * g**2; theta <- theta - lr * g / (sqrt(v) + eps)

    Each parameter's gradient in units of its own recent size (Hinton, 2012).
    It is `torch.optim.RMSprop` with `alpha=beta`.

    Args:
        params: the tensors to step.
        lr: learning rate, above 0, in units of the parameters.
        beta: the part of the mean square that is kept, from 0 to below 1.
        eps: what keeps the quotient finite, above 0, in units of the gradient.
    """

    def __init__(self, params: ParamsT, lr: float | Tensor, beta: float = 0.99, eps: float = 1e-8) -> None:
        _check_beta("beta", beta)
        _check_eps(eps)
        super().__init__(params, lr, beta=beta, eps=eps)

    def update(self, theta: Tensor, g: Tensor, state: State, lr: float | Tensor, beta: float, eps: float) -> Tensor:
        v = state["v"] = beta * state.get("v", 0.0) + (1 - beta) * g**2
        return theta - lr * g / (v.sqrt() + eps)


class Adam(UpdateRule):
    """theta <- theta - lr * (m / (1 - beta1**n)) / (sqrt(v / (1 - beta2**n)) + eps), at step n

    m <- beta1 * m + (1 - beta1) * g; v <- beta2 * v + (1 - beta2) * g**2: means of the gradient and of its square,
    whose start at zero the quotients make up for (Kingma and Ba, 2015). It is `torch.optim.Adam`.

    Args:
        params: the tensors to step.
        lr: learning rate, above 0, in units of the parameters: about the length of a step.
        beta1: the part of the mean that is kept, from 0 to below 1.
        beta2: the part of the mean square that is kept, from 0 to below 1.
        eps: what keeps the quotient finite, above 0, in units of the gradient.
    """

    def __init__(
        self, params: ParamsT, lr: float | Tensor, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
    ) -> None:
        _check_beta("beta1", beta1)
        _check_beta("beta2", beta2)
        _check_eps(eps)
        super().__init__(params, lr, beta1=beta1, beta2=beta2, eps=eps)

    def update(
        self, theta: Tensor, g: Tensor, state: State, lr: float | Tensor, beta1: float, beta2: float, eps: float
    ) -> Tensor:
        # in double precision, which 1 - beta2**n needs; torch keeps it through a load by its name
        n = state["step"] = state.get("step", torch.zeros((), dtype=torch.float64, device=g.device)) + 1
        m = state["m"] = beta1 * state.get("m", 0.0) + (1 - beta1) * g
        v = state["v"] = beta2 * state.get("v", 0.0) + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**n), v / (1 - beta2**n)
        return theta - lr * m_hat / (v_hat.sqrt() + eps)


def growth_of(optimizer: Optimizer) -> Callable[[Tensor], Tensor] | None:
    """How an optimizer's error grows on a quadratic: its `UpdateRule.growth`, or that of its twin among our rules.

    Args:
        optimizer: a rule of ours, or `torch.optim.SGD` without dampening, weight decay and maximize.

    Returns:
        The factor for each step as a function of x = lr * curvature; none where it is not known.
    """
    if isinstance(optimizer, UpdateRule):
        return None if type(optimizer).growth is UpdateRule.growth else optimizer.growth
    group = optimizer.param_groups[0]
    if type(optimizer) is not torch.optim.SGD or group["dampening"] or group["weight_decay"] or group["maximize"]:
        return None
    try:
        if group["momentum"] == 0:
            return SGD(group["params"], ARTICLE_LR).growth
        return (Nesterov if group["nesterov"] else Momentum)(group["params"], ARTICLE_LR, group["momentum"]).growth
    except InputError:  # torch takes a momentum of 1 and more
        return None
