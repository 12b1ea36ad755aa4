"""A curve: one function together with the tensor of its parameters."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gd_lightning.errors import InputError, suggest
from gd_lightning.formula import Formula
from gd_lightning.parameters import Parameters
from gd_lightning.points import Predictors
from gd_lightning.resolve import (
    Function,
    bind,
    default_values,
    equation,
    function_name,
    is_pointwise,
    parameter_names,
    predictor_arguments,
    resolve,
)

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
        function: whatever `resolve` understands: a family's name, a formula, an import path, a callable.
        parameters: what is demanded of the parameters, by name: `{"a": {"init": 1, "min": 0}, "b": {"expr": "2*a"},
            "c": {"fixed": 0}}`.
        predictors: names of the independent variables; the first argument of a function, or the `t` or `x` of a
            formula, unless given.

    Attributes:
        given: the function as it was given.
        function: the function with its predictors first and its parameters after them.
        function_name: its name, or its formula.
        equation: what it computes, as text.
        formula: the formula, where it is one.
        guess: its guess from the data, where it has one.
        predictors: the names of its independent variables.
        names: the names of the P parameters.
        defaults: starting values that stand in the signature of the function.
        demands: what is demanded of the parameters.
        least_norm: whether fewer points than parameters will do.
        domain: where it is defined, such as `t > 0`; none where it is everywhere.
        pointwise: whether each prediction depends on its own point alone; none where that has to be tried.
        linear: whether it is linear in its free parameters; none until that was tried.
        resolved: the function as `resolve` found it.
        params: their values, a trainable tensor of shape `(*batch, P)`; zero until `start` is called. Fixed and
            tied parameters are among them; `project` keeps them at their values.
        initial_params: the values given to `start`, same shape.
    """

    params: nn.Parameter
    initial_params: Tensor

    def __init__(
        self,
        function: str | Function,
        parameters: Mapping[str, Any] | None = None,
        predictors: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self._given = function, predictors
        resolved = self._resolve()
        self.function_name = function_name(function if isinstance(function, str) else resolved)
        self.equation = equation(resolved)
        self.predictors = predictor_arguments(resolved, predictors)
        self.names = parameter_names(resolved, predictors)
        self.least_norm: bool = getattr(resolved, "least_norm", False)  # so that fewer points than parameters will do
        self.domain: str | None = getattr(resolved, "domain", None)
        self.pointwise: bool | None = True if is_pointwise(resolved) else None  # else it has to be tried
        self.linear: bool | None = None  # in its free parameters; this, too
        self.defaults = default_values(resolved)
        self.demands = Parameters(self.names, parameters, self.function_name)
        self.params = nn.Parameter(torch.zeros(len(self.names)))
        self.register_buffer("initial_params", torch.zeros(len(self.names)))

    def _resolve(self) -> Function:
        """Find the function that was given, and what comes with it."""
        function, predictors = self._given
        resolved = resolve(function)
        self.function = bind(resolved, predictors)
        self.resolved = resolved
        self.formula = resolved if isinstance(resolved, Formula) else None
        self.guess = getattr(resolved, "guess", None)
        return resolved

    @property
    def given(self) -> str | Function:
        """The function as it was given: a text, or a callable."""
        return self._given[0]

    def __getstate__(self) -> dict[str, Any]:
        # what a text stands for is found anew, since a formula and a polynomial are made of what cannot be pickled
        return {
            key: value
            for key, value in self.__dict__.items()
            if key not in ("function", "resolved", "formula", "guess")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._resolve()

    def known_start(self, init: Mapping[str, float] | None = None) -> dict[str, float]:
        """Starting values that were given: as `init`, in the parameters' demands, or as defaults of the function.

        Raises:
            InputError: a value that names no parameter, is not finite, contradicts another or lies outside its bounds.
        """
        demands = dict(zip(self.names, self.demands.all, strict=True))
        known = {
            name: min(max(value, demands[name].min), demands[name].max)
            for name, value in self.defaults.items()
            if name in demands and demands[name].free
        }
        known |= {name: demand.init for name, demand in demands.items() if demand.init is not None}
        if init is not None and not isinstance(init, Mapping):
            raise InputError(f"init: given {init!r}, expected values by name, such as {{'{self.names[0]}': 1}}")
        for name, given in (init or {}).items():
            if name not in demands:
                raise InputError(f"init: {self.function_name} has no parameter {name!r}; {suggest(name, self.names)}")
            known[name] = demands[name].starting_at(name, given)
        return known

    def start(self, params: Tensor, init: Mapping[str, float] | None = None) -> None:
        """Set the parameters, and the copy that is kept, to their starting values.

        Args:
            params: one value for each parameter, shape `(*batch, P)`.
            init: values by name that replace some of them or all.
        """
        params = params.to(self.params).clone()
        known = self.known_start(init)
        largest = torch.finfo(params.dtype).max
        for name, value in known.items():
            if abs(value) > largest:
                raise InputError(f"init: {name} is {value:g}, too large for {params.dtype}")
        if known:
            params[..., [self.names.index(name) for name in known]] = params.new_tensor(list(known.values()))
        self.set_params(self.demands.project(params))
        self.initial_params = self.params.detach().clone()

    def set_params(self, params: Tensor) -> None:
        """Replace the values of the parameters, which stay the same trainable tensor."""
        self.params.data = params.to(self.params).clone()

    @contextmanager
    def at(self, params: Tensor) -> Iterator[None]:
        """Have other parameters for a while, those of any number of series."""
        kept = self.params.detach().clone()
        self.set_params(params)
        try:
            yield
        finally:
            self.set_params(kept)

    @torch.no_grad()
    def project(self) -> None:
        """Bring the parameters back to what was demanded of them: within bounds, fixed, tied."""
        if self.demands.constrained:
            self.params.copy_(self.demands.project(self.params))

    def forward(self, t: Predictors) -> Tensor:
        """Predict: y at t with the present parameters; `(*batch, T)` from t of `(T,)` or `(*batch, T)`."""
        return self.evaluate(t, self.params)

    def evaluate(self, t: Predictors, params: Tensor) -> Tensor:
        """y at t with other parameters, of shape `(*batch, P)`; a tuple t holds several predictors."""
        columns = t if isinstance(t, tuple) else (t,)
        values = self.demands.loosen(params).unsqueeze(-1).unbind(-2)
        return self.function(*columns, *self.demands.tie(values))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take on the number of series, and the precision, of what is loaded."""
        for name in ("params", "initial_params"):
            saved = state_dict.get(f"{prefix}{name}")
            if saved is not None:
                own = getattr(self, name)
                own.data = torch.zeros_like(saved, device=own.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)
