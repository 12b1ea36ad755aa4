"""Very many series of one function as planes: what `batch.solve_rows` looks at, on any device, compiled or not.

Points stand first and series last, `(T, S)`: a sum over the points is then a sum of planes, which vector instructions
and GPUs do for many series at once, however short these are.
"""

import copy
import types
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from gd_lightning.batch import FEW, Known, Normal, Parts, keep_step, normal_equations, plan_step
from gd_lightning.compiled import compiling, vectors
from gd_lightning.curve import Curve
from gd_lightning.losses import Loss, mae, mse, weights
from gd_lightning.parameters import Parameters
from gd_lightning.points import Points, lent
from gd_lightning.residuals import MOST_WEIGHT

__all__ = ["BLOCK", "Planes", "SeriesPlanes", "Tools", "compiler_works"]

BLOCK = 2**17  # points that are computed at once without a compiler: enough for each thread, few enough for a cache
# Up to so many operations or reads are computed anew rather than written and read as a plane more. Without limits a
# product of products would be written out again and again, and compiling has no end.
FUSED = {"realize_opcount_threshold": 100, "realize_reads_threshold": 30, "realize_acc_reads_threshold": 30}
Code = TypeVar("Code", bound=Callable[..., Any])


class Planes(NamedTuple):
    """The data of S series.

    Attributes:
        columns: the predictors, each `(T, 1)` or `(T, S)`.
        targets: the data, `(T, S)`.
        weight: 1/sigma, `(T, S)`, 0 where there is no point; none where every point weighs the same.
        base: all parameters, `(P, S)`, of which the fixed ones are used.
    """

    columns: tuple[Tensor, ...]
    targets: Tensor
    weight: Tensor | None
    base: Tensor

    @classmethod
    def of(cls, points: Points, params: Tensor) -> "Planes":
        """Points `(S, T)` and parameters `(S, P)` as planes.

        A point that is absent lends its place from the first one that its series has, so that a function is asked
        for what it can tell.
        """
        sigma, present = points.sigma, points.present
        weight = None if sigma is None else torch.where(present, 1 / sigma, 0.0).mT.contiguous()
        columns = points.columns
        if weight is not None and not present.all():
            columns = tuple(lent(column, present) for column in columns)
        columns = tuple(one.unsqueeze(-1) if one.dim() == 1 else one.mT.contiguous() for one in columns)
        targets = points.targets if weight is None else torch.where(present, points.targets, 0.0)
        return cls(columns, targets.mT.contiguous(), weight, params.mT.contiguous())

    def select(self, rows: Tensor | slice) -> "Planes":
        """The same of some series."""

        def some(values: Tensor) -> Tensor:
            return values[:, rows] if isinstance(rows, slice) else values.index_select(-1, rows)

        columns = tuple(one if one.shape[-1] == 1 else some(one) for one in self.columns)
        weight = None if self.weight is None else some(self.weight)
        return Planes(columns, some(self.targets), weight, some(self.base))


class Tools:
    """What computes with planes for one curve and loss, as it stands or compiled.

    Args:
        curve: the curve, of which parameters are free, fixed or tied.
        loss_function: `mse`, or a robust one.
        compiled: whether `torch.compile` makes one loop over the points of what is else a dozen; needs a C++ compiler.
    """

    def __init__(self, curve: Curve, loss_function: Loss = mse, compiled: bool = False) -> None:
        self.curve = curve
        self.loss_function = loss_function
        self.compiled = compiled
        self.parts: Parts | None = None
        self._look: Callable[[Planes, Tensor], Normal] = self.look
        if compiled:
            self._look = _compiled(self.look, curve.function_name, FUSED)
            # between bounds a step is several, of which nearly all rows need but one: as it stands, it sees that
            if not any(demand.bounded for demand in curve.demands.all):
                self.parts = (_compiled(plan_step, curve.function_name), _compiled(keep_step, curve.function_name))

    @classmethod
    def of(cls, curve: Curve, loss_function: Loss, compiled: bool) -> "Tools":
        """Those that were compiled before for such a curve, or new ones; a callable may be another each time."""
        if not compiled or not isinstance(curve.given, str):
            return cls(curve, loss_function, compiled)
        demands = tuple((one.free, one.bounded, one.tie and one.tie.text) for one in curve.demands.all)
        form = (curve.given, curve.predictors, demands, str(loss_function), curve.params.dtype, curve.params.device)
        if form not in KEPT:
            KEPT[form] = cls(copy.deepcopy(curve), loss_function, compiled)
            if len(KEPT) > MOST:
                del KEPT[next(iter(KEPT))]
        return KEPT[form]

    def linearize(self, planes: Planes, theta: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Residuals `(T, S)` at theta `(F, S)`, and their derivatives by each free parameter.

        Each point has parameters of its own, so that the gradient of the sum of all residuals by those of a point is
        the gradient of its residual: one backward pass gives the whole Jacobian.
        """
        demands, columns = self.curve.demands, planes.columns
        shape = planes.targets.shape

        def predict(*free: Tensor) -> Tensor:
            values: list[Tensor] = list(planes.base.unbind(0))
            for i, value in zip(demands.free, free, strict=True):
                values[i] = value
            preds: Tensor = self.curve.function(*columns, *(demands.tie(values) if demands.ties else values))
            return preds

        preds, pull, *_ = torch.func.vjp(predict, *(value.expand(shape) for value in theta.unbind(0)))
        if planes.weight is None:
            return preds - planes.targets, pull(torch.ones_like(preds))
        return (preds - planes.targets) * planes.weight, pull(planes.weight)

    def look(self, planes: Planes, theta: Tensor) -> Normal:
        """The normal equations at theta `(F, S)`."""
        r, jac = self.linearize(planes, theta)
        total = (r * r).sum(dim=0)
        if self.loss_function is not mse:
            total = self.loss_function(r.mT, torch.zeros_like(r.mT), None) * len(r)
            root = self._roots(r)
            r, jac = root * r, tuple(root * column for column in jac)
        squares = torch.stack([(column * column).sum(dim=0) for column in jac])
        slope = torch.stack([(column * r).sum(dim=0) for column in jac])
        products = [(jac[i] * jac[k]).sum(dim=0) for i in range(len(jac)) for k in range(i)]
        return normal_equations(total, squares, slope, torch.stack(products) if products else squares[:0])

    def _roots(self, r: Tensor) -> Tensor:
        """Square roots of the points' weights; in mae that of a residual of 0 would be without end."""
        weight = weights(self.loss_function, r)
        if self.loss_function is mae:
            others = torch.where(r == 0, torch.nan, weight).nanmedian(dim=0).values.nan_to_num(1.0)
            weight = torch.minimum(weight, MOST_WEIGHT * others)
        return weight.sqrt()

    @torch.no_grad()
    def normal(self, planes: Planes, theta: Tensor) -> Normal:
        """`look`, compiled, or a block after the other."""
        count = theta.shape[-1]
        if self.compiled and count >= FEW:
            return self._look(planes, theta)
        size = max(BLOCK // len(planes.targets), 1)
        if size >= count or theta.device.type != "cpu":
            return self.look(planes, theta)
        blocks = [slice(i, i + size) for i in range(0, count, size)]
        found = [self.look(planes.select(block), theta[:, block]) for block in blocks]
        return Normal(*(torch.cat(values, dim=-1) for values in zip(*found, strict=True)))


KEPT: dict[Any, Tools] = {}  # what was compiled, by what decides it
MOST = 16


class SeriesPlanes:
    """Planes as a `batch.Problem`."""

    def __init__(self, tools: Tools, planes: Planes, known: Known) -> None:
        self.tools = tools
        self.planes = planes
        self.known = known

    @classmethod
    def of(cls, tools: Tools, points: Points, params: Tensor, demands: Parameters) -> "SeriesPlanes":
        """The problem of points `(S, T)`.

        Args:
            tools: what computes with them, perhaps kept from a curve between other bounds.
            points: the points.
            params: `(S, P)`, of which the fixed ones are used.
            demands: what gives the bounds.
        """
        planes = Planes.of(points, params)
        rows = points.targets if planes.weight is None else (planes.targets * planes.weight).mT
        bounds = torch.tensor(demands.bounds(params.dtype), dtype=params.dtype, device=params.device).mT.unsqueeze(-1)
        ends = tuple(bounds) if torch.isfinite(bounds).any() else ()
        return cls(tools, planes, Known(torch.linalg.vector_norm(rows, dim=-1), points.present.sum(dim=-1), *ends))

    def look(self, theta: Tensor) -> Normal:
        return self.tools.normal(self.planes, theta)

    def select(self, rows: Tensor) -> "SeriesPlanes":
        return SeriesPlanes(self.tools, self.planes.select(rows), self.known.select(rows))


def _compiled(function: Code, name: str, options: dict[str, Any] | None = None) -> Code:
    """The function compiled for any number of series, with a cache of its own: torch keeps few for one code object.

    Args:
        function: what computes with planes.
        name: of the curve's function, for what cannot be compiled.
        options: of torch's inductor.

    Raises:
        InputError: here or at the first call, where it cannot be compiled.
    """
    plain = function.__func__ if isinstance(function, types.MethodType) else function
    code = plain.__code__.replace()
    own = types.FunctionType(code, plain.__globals__, plain.__name__, plain.__defaults__, plain.__closure__)
    bound = types.MethodType(own, function.__self__) if isinstance(function, types.MethodType) else own
    with compiling(name):
        made = torch.compile(bound, dynamic=True, fullgraph=True, options=vectors() | (options or {}))

    def run(*args: Any) -> Any:
        with compiling(name):
            return made(*args)

    return run  # type: ignore[return-value]


def compiler_works() -> bool:
    """Whether there is a C++ compiler, which `torch.compile` needs on a CPU."""
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler

        return bool(get_cpp_compiler())
    except Exception:  # whatever torch says where it finds none
        return False
