"""A fit as least squares: residuals and their exact Jacobian over the free parameters, in double precision."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gd_lightning.arrays import Array
from gd_lightning.curve import Curve
from gd_lightning.least_squares import jacobian
from gd_lightning.losses import Loss, mse, residual, weights
from gd_lightning.points import Points
from gd_lightning.tape import Tape

__all__ = ["MOST_WEIGHT", "SMALL", "Residuals"]


MOST_WEIGHT = 1e12
SMALL = 10_000  # points of all series; beyond them torch computes more in the time of a call


class Residuals:
    """r = (preds - targets) / sigma of S series, as functions of theta, the F free parameters of each.

    Tensors become arrays here: beside the derivatives, which torch computes, what is done with a handful of
    parameters costs less in NumPy.

    Args:
        curve: the curve; fixed parameters keep the values that they have in it.
        points: what it is fitted to; a point with an infinite sigma has the residual 0.
        loss_function: `mse`, or a robust one, which is least squares with weights that depend on the residuals.

    Attributes:
        low: lower bounds of theta, shape `(F,)`, as numbers of the parameters' own precision.
        high: upper bounds.
        points: the points, in double precision.
        vanishing: whether the data of a series are so small that nothing is left of their squares, `(S,)`.
    """

    def __init__(self, curve: Curve, points: Points, loss_function: Loss = mse) -> None:
        self.curve = curve
        self.points = points.double()
        self.loss_function = loss_function
        self.robust = loss_function is not mse
        demands = curve.demands
        self.free = demands.free
        self.low, self.high = np.array(demands.bounds(curve.params.dtype)).T
        self.bounded = bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())
        self.base = self._all_params()
        self.count = len(self.base)
        length = self.points.targets.shape[-1]
        self._targets = self.points.targets.cpu().numpy().reshape(-1, length)
        self._sigma = None if self.points.sigma is None else self.points.sigma.cpu().numpy().reshape(-1, length)
        scaled = self._targets if self._sigma is None else self._targets / self._sigma
        self.size_of_targets = np.sqrt(np.einsum("st,st->s", scaled, scaled))
        self.vanishing = (self.size_of_targets == 0) & (scaled != 0).any(axis=-1)
        present = np.ones(scaled.shape) if self._sigma is None else np.isfinite(self._sigma)
        self.points_each = present.sum(axis=-1, dtype=np.int64)
        self._columns: list[Array] = []
        self.tape = self._tape()

    def _tape(self) -> Tape | None:
        """The curve in NumPy, where it is a formula that can be, of points so few that torch would gain nothing."""
        formula, targets = self.curve.formula, self.points.targets
        if formula is None or self.curve.demands.ties or targets.device.type != "cpu" or targets.numel() > SMALL:
            return None
        names = (*self.curve.predictors, *self.curve.names)
        self._order = [names.index(name) for name in formula.names]
        self._wanted = tuple(formula.names.index(self.curve.names[i]) for i in self.free)
        columns = [column.numpy() for column in self.points.columns]
        self._columns = [one if one.ndim == 1 else one.reshape(-1, targets.shape[-1]) for one in columns]
        return formula.tape

    def _all_params(self) -> Tensor:
        params = self.curve.params.detach().to(self.points.targets)
        return params.expand(*self.points.batch, -1).reshape(-1, len(self.curve.names))

    @property
    def theta(self) -> Array:
        """The free parameters as they stand in the curve, `(S, F)`."""
        params = self._all_params().cpu().numpy()
        return params.copy() if len(self.free) == params.shape[-1] else params[:, self.free]

    def params(self, theta: Array) -> Tensor:
        """All parameters `(..., *batch, P)` from the free ones `(..., S, F)`; fixed and tied ones as demanded."""
        values = torch.from_numpy(theta).to(self.base)
        if len(self.free) == self.base.shape[-1]:
            params = values
        else:
            params = self.base.expand(*theta.shape[:-1], -1).clone()
            params[..., self.free] = values
        return params.reshape(*theta.shape[:-2], *self.points.batch, -1)

    def _play(self, tape: Tape, theta: Array) -> list[Array]:
        """The tape at theta; its last values are the predictions `(..., S, T)`."""
        params = theta
        if len(self.free) < self.base.shape[-1]:
            params = np.broadcast_to(self.base.numpy(), (*theta.shape[:-1], self.base.shape[-1])).copy()
            params[..., self.free] = theta
        given = [*self._columns, *(params[..., i, None] for i in range(params.shape[-1]))]
        return tape.play([given[i] for i in self._order])

    def _residuals(self, preds: Array) -> Array:
        difference: Array = preds - self._targets
        return difference if self._sigma is None else difference / self._sigma

    def __call__(self, theta: Array) -> Array:
        """Residuals `(..., S, T)` at theta `(..., S, F)`."""
        if self.tape is not None:
            with np.errstate(all="ignore"):
                return self._residuals(self._play(self.tape, theta)[-1])
        with torch.no_grad():
            r = self._of(self.params(theta))
        return r.expand(*theta.shape[:-2], *self.points.targets.shape).reshape(*theta.shape[:-1], -1).cpu().numpy()

    def linearize(self, theta: Array) -> tuple[Array, Array]:
        """Residuals `(S, T)` at theta `(S, F)` and their Jacobian `(S, T, F)`."""
        r, jac = self.begin(theta)
        return r, jac()

    def begin(self, theta: Array) -> tuple[Array, Callable[[], Array]]:
        """Residuals `(S, T)` at theta `(S, F)`, and what computes their Jacobian, for it may not be needed.

        A curve that predicts each point for itself needs one backward pass: each point gets parameters of its own, and
        the gradient of the sum of all residuals by those of a point is the gradient of its residual.
        """
        if self.tape is not None:
            tape = self.tape
            with np.errstate(all="ignore"):
                played = self._play(tape, theta)
                residuals = self._residuals(played[-1])
            return residuals, lambda: self._slopes(tape, played)
        if self.curve.pointwise is None:
            self.curve.pointwise = self._is_pointwise(theta)
        if not self.curve.pointwise:
            return self(theta), lambda: self._array(
                jacobian(self._of, self.params(theta))[..., self.free], len(self.free)
            )
        preds, copies = self._predict_apart(theta)
        r = residual(preds.detach(), self.points.targets, self.points.sigma)
        return self._array(r.expand(self.points.targets.shape)), lambda: self._gradients(preds, copies)

    def sum_of(self, r: Array) -> Array:
        """n times the loss, `(..., S)`, from residuals `(..., S, T)`: the sum of squares, or of a robust measure."""
        if not self.robust:
            squares: Array = np.einsum("...t,...t->...", r, r)
            return squares
        preds = torch.from_numpy(r)  # as far from zero as the residuals are large
        total: Array = (self.loss_function(preds, torch.zeros_like(preds), None) * r.shape[-1]).numpy()
        return total

    def roots_of_weights(self, r: Array) -> Array:
        """Square roots of the points' weights at these residuals, `(S, T)`."""
        weight = weights(self.loss_function, torch.from_numpy(r)).numpy()
        # a residual of zero weighs all in mae; this much more than others is enough, and leaves the numbers finite
        others = np.where(r == 0, np.nan, weight)
        others[np.isnan(others).all(axis=-1)] = 1.0
        with np.errstate(over="ignore"):
            roots: Array = np.sqrt(np.minimum(weight, MOST_WEIGHT * np.nanmedian(others, axis=-1, keepdims=True)))
        return roots

    def select(self, chosen: NDArray[np.intp] | slice) -> "Residuals":
        """The same of some of the series, on one leading axis; one may be chosen more than once."""
        if not isinstance(chosen, slice) and np.array_equal(chosen, np.arange(self.count)):
            return self
        length = self.points.targets.shape[-1]
        rows = chosen if isinstance(chosen, slice) else torch.as_tensor(np.asarray(chosen), device=self.base.device)

        def some(values: Tensor) -> Tensor:
            return values.reshape(-1, length)[rows]

        columns = tuple(column if column.dim() == 1 else some(column) for column in self.points.columns)
        selected = object.__new__(Residuals)
        selected.__dict__.update(self.__dict__)
        selected.points = Points(
            columns if isinstance(self.points.t, tuple) else columns[0],
            some(self.points.targets),
            None if self.points.sigma is None else some(self.points.sigma),
        )
        selected.base = self.base[rows]
        selected.count = len(selected.base)
        selected._targets = self._targets[chosen]
        selected._sigma = None if self._sigma is None else self._sigma[chosen]
        selected.size_of_targets, selected.points_each = self.size_of_targets[chosen], self.points_each[chosen]
        selected.vanishing = self.vanishing[chosen]
        selected.tape = selected._tape()  # some may be few enough where all are not
        return selected

    def _of(self, params: Tensor) -> Tensor:
        return residual(self.curve.evaluate(self.points.t, params), self.points.targets, self.points.sigma)

    def _array(self, values: Tensor, *last: int) -> Array:
        array: Array = values.reshape(self.count, self.points.targets.shape[-1], *last).cpu().numpy()
        return array

    def _predict_apart(self, theta: Array) -> tuple[Tensor, list[Tensor]]:
        """Predictions `(*batch, T)`, and the copies of each free parameter, likewise, that points have apart."""
        params = self.params(theta).unsqueeze(-2).expand(*self.points.targets.shape, -1)
        values = list(params.unbind(-1))
        copies = []
        with torch.enable_grad():
            for i in self.free:
                values[i] = values[i].clone().requires_grad_()
                copies.append(values[i])
            if self.curve.demands.ties:
                values = self.curve.demands.tie(values)
            return self.curve.function(*self.points.columns, *values), copies

    def _gradients(self, preds: Tensor, copies: list[Tensor]) -> Array:
        """The Jacobian `(S, T, F)` of residuals from predictions and the copies of the parameters."""
        weight = torch.ones_like(preds) if self.points.sigma is None else (1 / self.points.sigma).expand_as(preds)
        slopes = torch.autograd.grad(preds, copies, weight, materialize_grads=True)
        return self._array(torch.stack(slopes).movedim(0, -1), len(copies))  # each column's numbers side by side

    def _slopes(self, tape: Tape, played: list[Array]) -> Array:
        """The Jacobian `(S, T, F)` of residuals from what the tape played."""
        jac = np.empty((len(self.free), *self._targets.shape))
        with np.errstate(all="ignore"):
            for column, slope in zip(jac, tape.slopes(played, self._wanted), strict=True):
                column[:] = slope if self._sigma is None else slope / self._sigma
        return jac.transpose(1, 2, 0)

    def _is_pointwise(self, theta: Array) -> bool:
        """Whether the prediction at a point depends on that point alone: then both ways give one J'u for any u.

        It is also tried at some distance: a start with zeros may hide how points depend on one another.
        """
        generator = torch.Generator().manual_seed(0)
        u = torch.randn(self.points.targets.shape, generator=generator, dtype=torch.float64).to(self.base)
        aside = 0.1 * torch.rand(theta.shape, generator=generator, dtype=torch.float64).numpy()
        elsewhere = np.clip(theta + aside * np.where(theta == 0, 1.0, theta), self.low, self.high)
        try:
            apart, apart_elsewhere = (self._gradients(*self._predict_apart(at)) for at in (theta, elsewhere))
        except Exception:  # a function of the user's that takes each parameter as one number
            return False
        return bool(
            (self._difference(theta, apart, u) <= 1e-9).all()
            and not (self._difference(elsewhere, apart_elsewhere, u) > 1e-9).any()  # it need not be finite there
        )

    def _difference(self, theta: Array, jac: Array, u: Tensor) -> Array:
        """By how much a Jacobian's J'u is off, beside the sizes of its terms, `(S, F)`."""
        params = self.params(theta).requires_grad_()
        with torch.enable_grad():
            r = self._of(params)
        [expected] = torch.autograd.grad(r, params, u.expand_as(r))
        products = jac * self._array(u)[..., None]
        size = np.abs(products).sum(axis=-2)
        off = np.abs(products.sum(axis=-2) - expected[..., self.free].reshape(self.count, -1).cpu().numpy())
        with np.errstate(all="ignore"):
            difference: Array = np.where(off == 0, 0.0, off / size)
        return difference
