"""What a user demands of the parameters: starting values, bounds, fixed ones, and ties between them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gd_lightning.errors import InputError, suggest
from gd_lightning.formula import Formula
from gd_lightning.scalars import is_number

__all__ = ["Parameter", "Parameters"]

KEYS = ("init", "min", "max", "fixed", "expr")


@dataclass(frozen=True)
class Parameter:
    """One parameter: min <= value <= max, or a fixed value, or the value of an expression in the others.

    Attributes:
        init: starting value; None where none was given.
        min: lower bound.
        max: upper bound.
        fixed: whether it stays at `init`.
        tie: the expression that gives its value.
    """

    init: float | None = None
    min: float = -math.inf
    max: float = math.inf
    fixed: bool = False
    tie: Formula | None = None

    @property
    def free(self) -> bool:
        """Whether a descent moves it."""
        return not self.fixed and self.tie is None

    @property
    def bounded(self) -> bool:
        """Whether it has a bound."""
        return self.min > -math.inf or self.max < math.inf

    def starting_at(self, name: str, given: Any) -> float:
        """A starting value that was given apart from the demands.

        Raises:
            InputError: it is not finite, or the demands leave no room for it.
        """
        value = float(given) if is_number(given) else math.nan
        if not math.isfinite(value):
            raise InputError(f"init: {name} is {given!r}, expected a finite number")
        if self.tie is not None:
            raise InputError(f"init: {name} is tied to {self.tie.text!r}; expected a start for what it is tied to")
        if self.init is not None and self.init != value:
            word = "fixed" if self.fixed else "init"
            raise InputError(f"init: {name} is {value:g}, and {word} {self.init:g} among the parameters; give one")
        if not self.min <= value <= self.max:
            raise InputError(f"init: {name} is {value:g}, outside its bounds {self.min:g} to {self.max:g}")
        return value

    @classmethod
    def read(cls, name: str, given: Any) -> "Parameter":
        """Understand what stands for one parameter: a mapping of `init, min, max, fixed, expr`, or a number, its init.

        Raises:
            InputError: naming the parameter, what is wrong and what to write.
        """
        if not isinstance(given, Mapping):
            return cls(init=_number(name, "init", given))
        for key in given:
            if key not in KEYS:
                raise InputError(f"parameters: {name} has the key {key!r}; {suggest(str(key), KEYS)}")
        stated = {key: value for key, value in given.items() if value is not None}
        if "expr" in stated:
            return cls._tied(name, stated)
        parameter = cls(
            init=_number(name, "init", stated["init"]) if "init" in stated else None,
            min=_number(name, "min", stated.get("min", -math.inf), finite=False),
            max=_number(name, "max", stated.get("max", math.inf), finite=False),
        )
        if not parameter.min <= parameter.max or parameter.min == math.inf or parameter.max == -math.inf:
            raise InputError(
                f"parameters: {name} has min {parameter.min:g} and max {parameter.max:g}; expected min below max"
            )
        fixed = stated.get("fixed", False)
        fixed = bool(fixed) if type(fixed).__name__ == "bool" else fixed  # NumPy's, too
        if fixed is not False:
            parameter = cls(cls._fixed_value(name, fixed, parameter.init), parameter.min, parameter.max, fixed=True)
        elif parameter.min == parameter.max:
            parameter = cls(
                parameter.min if parameter.init is None else parameter.init, parameter.min, parameter.max, fixed=True
            )
        if parameter.init is not None and not parameter.min <= parameter.init <= parameter.max:
            word = "fixed" if parameter.fixed else "init"
            raise InputError(
                f"parameters: {name} has {word} {parameter.init:g}, outside its bounds "
                f"{parameter.min:g} to {parameter.max:g}"
            )
        return parameter

    @classmethod
    def _tied(cls, name: str, stated: Mapping[str, Any]) -> "Parameter":
        if len(stated) > 1:
            other = next(key for key in stated if key != "expr")
            raise InputError(
                f"parameters: {name} has expr and {other}; expected expr alone: what it is tied to has the {other}"
            )
        if not isinstance(stated["expr"], str):
            raise InputError(f"parameters: {name} has expr {stated['expr']!r}, expected text such as '2*a'")
        return cls(tie=Formula(stated["expr"]))

    @staticmethod
    def _fixed_value(name: str, fixed: Any, init: float | None) -> float:
        if fixed is not True:
            value = _number(name, "fixed", fixed)
            if init is not None and init != value:
                raise InputError(f"parameters: {name} has init {init:g} and fixed {value:g}; expected one of them")
            return value
        if init is None:
            raise InputError(f"parameters: {name} is fixed, at no value; expected {{fixed: 1.5}}, or an init beside it")
        return init


def _float(given: Any) -> float:
    # not a number where it is none; a text of a configuration may be one
    try:
        return float(given) if isinstance(given, str) or is_number(given) else math.nan
    except ValueError:
        return math.nan


def _number(name: str, key: str, given: Any, finite: bool = True) -> float:
    value = _float(given)
    if math.isnan(value) or (finite and math.isinf(value)):
        raise InputError(f"parameters: {name} has {key} {given!r}, expected a {'finite ' * finite}number")
    return value


class Parameters:
    """All parameters of a function, with what was demanded of them.

    Args:
        names: the names, in the order of the function's signature.
        given: what was demanded, by name; parameters that are not named are free.
        owner: the function's name, for messages.

    Raises:
        InputError: a name or demand that cannot be; ties that go round in a circle.

    Example:
        >>> Parameters(("a", "b"), {"a": {"init": 1, "min": 0}, "b": {"expr": "2*a"}}).free
        [0]
    """

    def __init__(
        self, names: Sequence[str], given: Mapping[str, Any] | None = None, owner: str = "the function"
    ) -> None:
        given = {} if given is None else given
        if not isinstance(given, Mapping):
            raise InputError(
                f"parameters: given {given!r}, expected a mapping such as {{{names[0]}: {{init: 1, min: 0}}}}"
            )
        given = _nested(given, names)
        for name in given:
            if name not in names:
                quoted = (
                    "; YAML takes on, off, yes and no for that, unless in quotes" if name in ("True", "False") else ""
                )
                raise InputError(f"parameters: {owner} has no parameter {name!r}; {suggest(str(name), names)}{quoted}")
        self.names = tuple(names)
        self.all = [Parameter.read(name, given[name]) if name in given else Parameter() for name in names]
        self.free = [i for i, parameter in enumerate(self.all) if parameter.free]
        self.ties = self._in_order_of_need()
        self.constrained = bool(self.ties) or any(p.fixed or p.bounded for p in self.all)
        if not self.free:
            raise InputError("parameters: all of them are fixed or tied; expected at least one to fit")

    def _in_order_of_need(self) -> list[int]:
        """The tied parameters, each after those that its expression needs."""
        tied = {i: parameter.tie for i, parameter in enumerate(self.all) if parameter.tie is not None}
        for i, tie in tied.items():
            for name in tie.names:
                if name not in self.names:
                    raise InputError(
                        f"parameters: {self.names[i]} has expr {tie.text!r}, and there is no parameter {name!r}; "
                        f"{suggest(name, self.names)}"
                    )
        ordered: list[int] = []
        while len(ordered) < len(tied):
            waiting = {self.names[i] for i in tied if i not in ordered}
            ready = [i for i, tie in tied.items() if i not in ordered and not waiting & set(tie.names)]
            if not ready:
                circle = ", ".join(f"{self.names[i]} = {tie.text}" for i, tie in tied.items() if i not in ordered)
                raise InputError(f"parameters: these are tied to one another in a circle: {circle}")
            ordered += ready
        return ordered

    def tie(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The same values with each tied one computed from the others; any shapes that broadcast."""
        values = list(values)
        for i in self.ties:
            formula = self.all[i].tie
            assert formula is not None
            if formula.constant is not None:
                values[i] = torch.full_like(values[i], formula.constant)
            else:
                values[i] = formula(*(values[self.names.index(name)] for name in formula.names))
        return values

    def project(self, params: Tensor) -> Tensor:
        """The nearest parameters that fulfil what was demanded: clipped to their bounds, fixed, tied.

        Args:
            params: shape `(*batch, P)`.

        Returns:
            Parameters of the same shape; the very same where nothing was demanded.
        """
        if not self.constrained:
            return params
        values = list(params.unbind(-1))
        for i, parameter in enumerate(self.all):
            if parameter.fixed and parameter.init is not None:
                values[i] = torch.full_like(values[i], parameter.init)
            elif parameter.bounded:
                low, high = _within(parameter.min, parameter.max, params.dtype)
                if not low <= high or low == math.inf or high == -math.inf:
                    raise InputError(
                        f"parameters: {self.names[i]} has min {parameter.min:g} and max {parameter.max:g}, between "
                        f"which {params.dtype} has no number; expected wider bounds, or dtype torch.float64"
                    )
                values[i] = values[i].clamp(low, high)
        return torch.stack(self.tie(values), dim=-1)

    def bounds(self, dtype: torch.dtype) -> list[tuple[float, float]]:
        """Lower and upper bound of each free parameter, as numbers of a precision."""
        return [_within(self.all[i].min, self.all[i].max, dtype) for i in self.free]

    def loosen(self, params: Tensor) -> Tensor:
        """The same parameters, of which only the free ones pass on a gradient."""
        if len(self.free) == len(self.all):
            return params
        free = torch.zeros(len(self.all), dtype=torch.bool, device=params.device)
        free[self.free] = True
        return torch.where(free, params, params.detach())


def _nested(given: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The same demands where some are written with a dot, as on a command line: `a.min: 0` for `a: {min: 0}`."""
    nested: dict[str, Any] = {}
    for key, value in given.items():
        name, dot, demand = str(key).rpartition(".")
        if not dot or str(key) in names:
            name, dot, demand = str(key), "", ""
        if not dot:
            demands = value if isinstance(value, Mapping) else {"init": value}
            nested[name] = {**nested[name], **demands} if name in nested else value
        elif isinstance(nested.setdefault(name, {}), Mapping):
            nested[name][demand] = value
        else:  # a number, its init, was given before
            nested[name] = {"init": nested[name], demand: value}
    return nested


@cache
def _within(low: float, high: float, dtype: torch.dtype) -> tuple[float, float]:
    """The bounds as the outermost numbers of a precision that do not lie beyond them."""
    lower, upper = torch.tensor(low, dtype=dtype), torch.tensor(high, dtype=dtype)
    if lower.item() < low:
        lower = torch.nextafter(lower, torch.tensor(math.inf, dtype=dtype))
    if upper.item() > high:
        upper = torch.nextafter(upper, torch.tensor(-math.inf, dtype=dtype))
    return lower.item(), upper.item()
