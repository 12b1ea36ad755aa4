"""A curve: one function together with the tensor of its parameters."""

import math
from collections.abc import Mapping
from typing import SupportsFloat

import torch
from torch import Tensor, nn

from gd_lightning.errors import InputError, suggest
from gd_lightning.resolve import Function, equation, function_name, parameter_names, resolve

__all__ = ["Curve", "initialize"]


def initialize(count: int, generator: torch.Generator) -> Tensor:
    """Random starting values: `count` independent normal numbers of mean 0 and variance 1.

    The article's notebook shows one such draw, throws it away and keeps the next; so does this, and the
    same generator then gives the same start (Awan, 2021).

    Args:
        count: number of parameters P.
        generator: the source of randomness, on the CPU, so that every device starts alike.

    Returns:
        float32 tensor of shape `(P,)`.
    """
    torch.randn(count, generator=generator)
    return torch.randn(count, generator=generator)


class Curve(nn.Module):
    """y = function(t, *params), with the values the parameters started from kept for comparison.

    Args:
        function: a family's name, or a callable `f(t, a, b, ...)`.

    Attributes:
        names: the names of the P parameters.
        params: their values, a trainable tensor of shape `(*batch, P)`; zero until `start` is called.
        initial_params: the values given to `start`, same shape.
    """

    params: nn.Parameter
    initial_params: Tensor

    def __init__(self, function: str | Function) -> None:
        super().__init__()
        self.function = resolve(function)
        self.function_name = function_name(function)
        self.equation = equation(self.function)
        self.names = parameter_names(self.function)
        self.params = nn.Parameter(torch.zeros(len(self.names)))
        self.register_buffer("initial_params", torch.zeros(len(self.names)))

    def check_init(self, init: Mapping[str, float]) -> None:
        """Refuse starting values that name no parameter or are not finite.

        Raises:
            InputError: naming the first such entry.
        """
        if not isinstance(init, Mapping):
            raise InputError(f"init: given {init!r}, expected values by name, such as {{'{self.names[0]}': 1}}")
        for name, value in init.items():
            if name not in self.names:
                raise InputError(f"init: {self.function_name} has no parameter {name!r}; {suggest(name, self.names)}")
            if not isinstance(value, SupportsFloat) or not math.isfinite(float(value)):
                raise InputError(f"init: {name} is {value!r}, expected a finite number")

    def start(self, params: Tensor, init: Mapping[str, float] | None = None) -> None:
        """Set the parameters, and the copy that is kept, to their starting values.

        Args:
            params: one value for each parameter, shape `(P,)`.
            init: values by name that replace some of them or all.
        """
        params = params.clone()
        for name, value in (init or {}).items():
            params[self.names.index(name)] = value
        self.set_params(params)
        self.initial_params = params.clone()

    def set_params(self, params: Tensor) -> None:
        """Replace the values of the parameters, which stay the same trainable tensor."""
        self.params.data = params.to(self.params).clone()

    def forward(self, t: Tensor) -> Tensor:
        """Predict: y at t with the present parameters; `(*batch, T)` from t of `(T,)` or `(*batch, T)`."""
        return self.evaluate(t, self.params)

    def evaluate(self, t: Tensor, params: Tensor) -> Tensor:
        """y at t with other parameters, of shape `(*batch, P)`."""
        return self.function(t, *params.unsqueeze(-1).unbind(-2))

    def named_values(self, params: Tensor | None = None) -> dict[str, float]:
        """Parameters by name as plain numbers: the present ones unless others are given."""
        values = (self.params if params is None else params).tolist()
        return dict(zip(self.names, values, strict=True))
