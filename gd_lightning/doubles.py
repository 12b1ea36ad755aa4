"""A curve in double precision of operations that runtimes of ONNX have in double precision.

Two things stand between a double-precision curve and its digits. torch.onnx (2.13) writes Python's numbers as float32
constants, so that 2*pi is wrong in the eighth digit; and ONNX Runtime (1.32) has erf, tan and the inverse and
hyperbolic functions in single precision only, and refuses them in double. `InDoubles` runs a traced curve with tensors
in place of numbers, and with the closed forms and series below in place of those functions; tracing that again gives a
graph to export.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["STAND_INS", "InDoubles"]

Operation = Callable[..., Tensor]

SMALL = 0.5  # up to here the Taylor series of erf is short, and 1 - erf loses no digit
TERMS = 13  # of a Taylor series: 0.5**26 / 13! and tan(pi/16)**26 / 27 are below the rounding of a double
DEGREE = 27  # of the Chebyshev polynomial of erfc, whose coefficients fall below that rounding here


def _polynomial(coefficients: Any, x: Tensor) -> Tensor:
    """The polynomial with these coefficients, the lowest power first; few operations, as each takes long to trace."""
    powers = x.new_tensor(range(len(coefficients)))
    values: Tensor = x.unsqueeze(-1) ** powers @ x.new_tensor(list(map(float, coefficients)))
    return values


def _erfc_far(x: Tensor) -> Tensor:
    """erfc(x) = s*exp(-x**2 + P(s)), s = 2/(2 + x), for x >= 0 (Press and others, 2007, section 6.2.2).

    The coefficients of the polynomial P come from SciPy's erfcx(x) = exp(x**2)*erfc(x).
    """
    from scipy.special import erfcx

    def wanted(u: Any) -> Any:
        s = (u + 1) / 2
        return np.log(erfcx(2 / s - 2) / s)

    chebyshev = np.polynomial.chebyshev
    coefficients = chebyshev.cheb2poly(chebyshev.chebinterpolate(wanted, DEGREE))
    s = 2.0 / (2.0 + x)
    return s * torch.exp(-x * x + _polynomial(coefficients, 2.0 * s - 1.0))


def _erf_near(x: Tensor) -> Tensor:
    """erf(x) = 2/sqrt(pi) * (x - x**3/3 + x**5/10 - ...) for small x."""
    series = [2 / math.sqrt(math.pi) * (-1) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(TERMS)]
    near = x.clamp(-SMALL, SMALL)
    return near * _polynomial(series, near * near)


def erf(x: Tensor) -> Tensor:
    """Its series near 0, else 1 - erfc, odd."""
    size = x.abs()
    return torch.where(size < SMALL, _erf_near(x), torch.sign(x) * (1.0 - _erfc_far(size)))


def erfc(x: Tensor) -> Tensor:
    """1 - erf near 0; beyond, what is left where erf is near 1, or 2 less that."""
    size = x.abs()
    far = _erfc_far(size)
    return torch.where(size < SMALL, 1.0 - _erf_near(x), torch.where(x < 0.0, 2.0 - far, far))


def atan(x: Tensor) -> Tensor:
    """The series x - x**3/3 + x**5/5 - ..., for which x is made small.

    By pi/2 - atan(1/x) where it is above 1 and, twice, by 2*atan(x/(1 + sqrt(1 + x**2))).
    """
    size = x.abs()
    steep = size > 1.0
    z = torch.where(steep, 1.0 / size.clamp(min=1.0), size)
    for _ in range(2):
        z = z / (1.0 + torch.sqrt(1.0 + z * z))
    angle = 4.0 * z * _polynomial([(-1) ** k / (2 * k + 1) for k in range(TERMS)], z * z)
    return torch.sign(x) * torch.where(steep, math.pi / 2 - angle, angle)


def atan2(y: Tensor, x: Tensor) -> Tensor:
    """The angle of the point (x, y), from -pi to pi; 0 at the origin."""
    angle = atan(torch.where((x == 0.0) & (y == 0.0), y, y / x.abs()))
    half_turn = torch.where(y < 0.0, -math.pi, torch.full_like(angle, math.pi))
    return torch.where(x < 0.0, half_turn - angle, angle)


def asin(x: Tensor) -> Tensor:
    """atan(x/sqrt(1 - x**2))."""
    return atan(x / torch.sqrt((1.0 - x) * (1.0 + x)))


def acos(x: Tensor) -> Tensor:
    """2*atan(sqrt((1 - x)/(1 + x)))."""
    return 2.0 * atan(torch.sqrt((1.0 - x) / (1.0 + x)))


def tan(x: Tensor) -> Tensor:
    """sin/cos."""
    return torch.sin(x) / torch.cos(x)


def expm1(x: Tensor) -> Tensor:
    """exp(x) - 1; near 0, where digits would be lost, 2*h/(1 - h) with h = tanh(x/2)."""
    near = x.clamp(-1.0, 1.0)
    h = torch.tanh(near / 2.0)
    return torch.where(x.abs() < 1.0, 2.0 * h / (1.0 - h), torch.exp(x) - 1.0)


def log1p(x: Tensor) -> Tensor:
    """log(1 + x), corrected for the rounding of 1 + x (Kahan; Goldberg, 1991, theorem 4)."""
    one = 1.0 + x
    lost = one == 1.0
    safe = torch.where(lost, 2.0, one)
    return torch.where(lost | (x == math.inf), x, torch.log(one) * (x / (safe - 1.0)))


def sinh(x: Tensor) -> Tensor:
    """(exp(x) - exp(-x))/2, odd, without the loss of digits near 0."""
    size = x.abs()
    return torch.sign(x) * (expm1(size) - expm1(-size)) / 2.0


def cosh(x: Tensor) -> Tensor:
    """(exp(x) + exp(-x))/2."""
    return (torch.exp(x) + torch.exp(-x)) / 2.0


def asinh(x: Tensor) -> Tensor:
    """log(x + sqrt(x**2 + 1)) for x > 0, odd, and written so that nothing is lost near 0."""
    size = x.abs()
    slope = 1.0 / size  # of which the square may be infinite, and adds nothing then
    return torch.sign(x) * log1p(size + size / (slope + torch.sqrt(slope * slope + 1.0)))


def acosh(x: Tensor) -> Tensor:
    """log(x + sqrt(x**2 - 1)), written so that nothing is lost near 1."""
    beyond = x - 1.0
    return log1p(beyond + torch.sqrt(beyond) * torch.sqrt(x + 1.0))


def atanh(x: Tensor) -> Tensor:
    """log((1 + x)/(1 - x))/2, odd, and written so that nothing is lost near 0."""
    size = x.abs()
    return torch.sign(x) * log1p(2.0 * size / (1.0 - size)) / 2.0


def sigmoid(x: Tensor) -> Tensor:
    """1/(1 + exp(-x)), which ONNX Runtime's own does not follow below exp(-38)."""
    return 1.0 / (1.0 + torch.exp(-x))


def log2(x: Tensor) -> Tensor:
    """log(x)/log(2)."""
    return torch.log(x) / math.log(2)


def log10(x: Tensor) -> Tensor:
    """log(x)/log(10)."""
    return torch.log(x) / math.log(10)


STAND_INS: Mapping[str, Operation] = {
    function.__name__: function
    for function in (
        *(erf, erfc, atan, atan2, asin, acos, tan, expm1, log1p, sinh, cosh, asinh, acosh, atanh, sigmoid, log2, log10),
    )
}


class InDoubles(torch.fx.Interpreter):
    """Runs a traced graph in double precision, with tensors for its numbers and stand-ins for some of its functions."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One operation; the overload is found anew, since a number has become a tensor."""
        if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
            return super().call_function(target, args, kwargs)
        name = target.overloadpacket._qualified_op_name.partition("::")[2]
        if name in STAND_INS and args[0].dtype == torch.float64:
            return STAND_INS[name](*args)
        if not any(isinstance(value, float) for value in (*args, *kwargs.values())):
            return super().call_function(target, args, kwargs)
        if name == "full_like":
            return torch.zeros_like(args[0]) + self._tensor(args[1])
        if "alpha" in kwargs and name in ("add", "sub"):
            scaled = args[1] * self._tensor(kwargs["alpha"])
            return args[0] + scaled if name == "add" else args[0] - scaled
        try:
            return target.overloadpacket(*map(self._tensor, args), **kwargs)
        except (RuntimeError, TypeError):  # there is none that takes a tensor
            return super().call_function(target, args, kwargs)

    @staticmethod
    def _tensor(value: Any) -> Any:
        return torch.tensor(value, dtype=torch.float64) if isinstance(value, float) else value
