"""Very many series fitted side by side: the quick solver for nearly all of them, the careful one for the rest."""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gd_lightning.batch import ENOUGH_STEPS, Normal, cholesky, less, solve_rows
from gd_lightning.convergence import CONVERGED, DIVERGED, LEAST_MESSAGE, STEP_LIMIT, UNUSABLE, Verdict, verdict
from gd_lightning.curve import Curve
from gd_lightning.fitting_checks import unusable
from gd_lightning.levenberg_marquardt import MOST_STEPS, minimum
from gd_lightning.losses import Loss, mse
from gd_lightning.planes import BLOCK, SeriesPlanes, Tools
from gd_lightning.points import Points
from gd_lightning.residuals import Residuals
from gd_lightning.resolve import is_pointwise
from gd_lightning.starts import is_linear
from gd_lightning.uncertainty import uncertainty

__all__ = ["Fits", "Many"]

AT_ONCE = 3_000_000  # points that go side by side: many for what a call costs, and few enough for memory to be kept
SHARE, SHARES = 2**21, 8  # points that one thread takes, and how many such at a time
PLANES = 16  # of intermediate results beside those of each parameter, where no compiler spares them
CAREFUL = 100_000  # of them where each series has factors of its own
INFLATED = 1e-10  # error that the normal equations may leave beside a standard error: eps times how inflated it is
INFLATED_SINGLE = 1e-3
NOTHING = 100.0  # times that the rounding of a prediction may stand in a gradient

Texts = NDArray[np.object_]


class Fits(NamedTuple):
    """What became of S series.

    Attributes:
        params: the parameters, `(S, P)`; nan where there are none.
        start: where they began, `(S, P)`.
        errors: their standard errors, `(S, P)`, as in `Uncertainty`.
        rmse: root mean squared error of each, in units of y, `(S,)`.
        status: what became of each, text `(S,)`: as for one series, or "unusable", with its reason as message.
        message: a sentence on that, `(S,)`.
        steps: how many steps each took, `(S,)`.
    """

    params: Tensor
    start: Tensor
    errors: Tensor
    rmse: Tensor
    status: Texts
    message: Texts
    steps: Tensor

    @classmethod
    def blank(cls, start: Tensor) -> "Fits":
        """Fits of which nothing is known."""
        nothing = torch.full(start.shape, torch.nan, dtype=torch.float64)
        count = len(start)
        status, message = np.full(count, UNUSABLE, dtype=object), np.full(count, "", dtype=object)
        none = nothing.new_full((count,), torch.nan)
        return cls(
            nothing, start.double().cpu().clone(), nothing.clone(), none, status, message, torch.zeros(count).long()
        )

    def put(self, rows: Tensor | slice, some: "Fits") -> None:
        """Write what became of some series."""
        places: Any = rows if isinstance(rows, slice) else rows.numpy()
        for mine, theirs in zip(self, some, strict=True):
            target: Any = mine
            target[rows if isinstance(mine, Tensor) else places] = theirs


class Quick(NamedTuple):
    """What the normal equations tell of S series, as planes.

    Attributes:
        theta: the free parameters, `(F, S)`.
        params: all parameters, `(P, S)`.
        errors: standard errors of the free ones, `(F, S)`.
        rmse: root mean squared error, `(S,)`.
        steps: how many were taken, `(S,)`.
        sure: which series have arrived beyond doubt, `(S,)`.
        beyond: parameters at a bound that the loss pulls beyond, `(F, S)`.
    """

    theta: Tensor
    params: Tensor
    errors: Tensor
    rmse: Tensor
    steps: Tensor
    sure: Tensor
    beyond: Tensor


class Many:
    """Fits of one function to as many series as come, a chunk after the other.

    Args:
        curve: the function with what is demanded of its parameters; its precision and device are those of the fits.
        loss_function: what is descended.
        absolute_sigma: whether sigma is used in an absolute sense; else only its relative magnitudes matter.
        steps: how many steps a series may take.
        compiled: whether `torch.compile` is used: seconds to compile, then several times as fast; needs a C++ compiler.
    """

    def __init__(
        self,
        curve: Curve,
        loss_function: Loss = mse,
        absolute_sigma: bool = False,
        steps: int = MOST_STEPS,
        compiled: bool = False,
    ) -> None:
        self.curve = curve
        self.loss_function = loss_function
        self.absolute_sigma = absolute_sigma
        self.steps = steps
        self.tools = Tools.of(curve, loss_function, compiled)
        # a function of the user's own might not bear several threads
        self.alone = compiled or curve.params.device.type != "cpu" or not is_pointwise(curve.resolved)
        self._planar: bool | None = None

    def fit(self, points: Points, start: Tensor, reasons: Mapping[int, str] | None = None) -> Fits:
        """Fit S series, each for itself.

        Args:
            points: `(S, T)`, in the curve's precision and on its device.
            start: where each begins, all parameters, `(S, P)`.
            reasons: why some cannot be fitted; looked for unless given.
        """
        reasons = unusable(self.curve, points) if reasons is None else dict(reasons)
        for row in (~torch.isfinite(start).all(dim=-1)).nonzero().flatten().tolist():
            reasons.setdefault(row, "its start is not finite")
        fits = Fits.blank(start)
        usable = torch.ones(len(start), dtype=torch.bool)
        if reasons:
            bad = torch.tensor(list(reasons))
            usable[bad] = False
            fits.message[bad.numpy()] = list(reasons.values())
        count, most = len(start), max(self._at_once(points.targets) // points.targets.shape[-1], 1)
        slices = [slice(i, i + most) for i in range(0, count, most)]  # which copy nothing
        for some in portions(usable.nonzero().flatten(), most) if reasons else slices:
            here = some if isinstance(some, slice) else some.to(start.device)
            fits.put(some, self._chunk(points.rows(here), start[here]))
        return fits

    def _at_once(self, like: Tensor) -> int:
        """How many points go side by side; on a GPU as many as half of its free memory holds with what is computed."""
        if like.device.type != "cuda":
            return AT_ONCE if self.alone else SHARES * SHARE
        room, _ = torch.cuda.mem_get_info(like.device)
        return int(room / 2 / (like.element_size() * (PLANES + 4 * len(self.curve.demands.free))))

    @torch.no_grad()
    def _chunk(self, points: Points, start: Tensor) -> Fits:
        """Fits of series that can be fitted."""
        fits = Fits.blank(start)
        if not len(start):
            return fits
        if self._planar is None:
            self._planar = self._is_planar(points, start)
        rest = torch.arange(len(start))
        if self._is_linear(points) and self._linearly(points, start, fits):
            rest = rest[:0]
        elif self._planar:
            rest = (~self._quickly(points, start, fits)).nonzero().flatten()
        for some in portions(rest, CAREFUL // points.targets.shape[-1]):
            here = some.to(start.device)
            fits.put(some, self._carefully(points.rows(here), start[here]))
        return fits

    def _is_linear(self, points: Points) -> bool:
        """Whether one design matrix serves all series: a linear function, the same t, equal weights, no bounds."""
        demands = self.curve.demands
        shared = points.sigma is None and all(column.dim() == 1 for column in points.columns)
        free = self.loss_function is mse and not demands.ties and not any(one.bounded for one in demands.all)
        return shared and free and points.targets.shape[-1] > len(demands.free) and is_linear(self.curve, points)

    def _linearly(self, points: Points, start: Tensor, fits: Fits) -> bool:
        """Linear least squares with one QR factorization for all series: params = R**-1 Q'(y - f(0)).

        Returns:
            Whether that could be done; not where the columns are nearly those of fewer parameters.
        """
        free, double = self.curve.demands.free, points.double()
        zero = start[0].double().clone()
        zero[free] = 0.0
        rows = zero.repeat(len(free) + 1, 1)
        rows[torch.arange(len(free)) + 1, free] = 1.0
        fixed = [i for i in range(len(zero)) if i not in free]
        if (start[:, fixed] != start[:1, fixed]).any():
            return False
        preds = self.curve.evaluate(double.t, rows)
        columns = (preds[1:] - preds[0]).mT
        sizes = columns.norm(dim=0)
        q, r = torch.linalg.qr(columns / sizes)
        inverse = torch.linalg.pinv(r)
        inflation = inverse.square().sum(dim=-1)
        if not torch.isfinite(inflation).all() or inflation.max() * torch.finfo(torch.float64).eps > INFLATED:
            return False
        y = double.targets - preds[0]
        along = y @ q
        residuals = y - along @ q.mT
        total = residuals.square().sum(dim=-1)
        length = y.shape[-1]
        noise = torch.ones_like(total) if self.absolute_sigma else (total / (length - len(free))).sqrt()
        fits.params[:, free] = (along @ inverse.mT / sizes).cpu()
        fits.params[:, fixed] = zero[fixed].cpu()
        fits.errors[:, free] = (noise.unsqueeze(-1) * inflation.sqrt() / sizes).cpu()
        fits.errors[:, fixed] = 0.0
        fits.rmse[:] = (total / length).sqrt().cpu()
        fits.steps[:] = 1
        fits.status[:], fits.message[:] = CONVERGED, LEAST_MESSAGE
        return bool(torch.isfinite(total).all())

    def _is_planar(self, points: Points, start: Tensor) -> bool:
        """Whether the function gives the same when points stand first, by what it gives for a few series."""
        few = torch.arange(min(len(start), 3), device=start.device)
        some, params = points.rows(few), start[few]
        try:
            with self.curve.at(params):
                expected = Residuals(self.curve, some, self.loss_function)
                r, jac = expected.linearize(expected.theta)
            if self.curve.pointwise is False:
                return False
            problem = SeriesPlanes.of(self.tools, some, params, self.curve.demands)
            found, slopes = self.tools.linearize(problem.planes, params[:, self.curve.demands.free].mT)
            both = [(found.mT.double().cpu().numpy(), r)]
            both += [(one.mT.double().cpu().numpy(), jac[..., i]) for i, one in enumerate(slopes)]
        except Exception:  # whatever a function of the user's may raise where it expects points last
            return False
        near = 1e-9 if start.dtype == torch.float64 else 1e-3
        return all(
            one.shape == other.shape
            and np.allclose(one, other, rtol=near, atol=near * abs(other).max(), equal_nan=True)
            for one, other in both
        )

    def _quickly(self, points: Points, start: Tensor, fits: Fits) -> Tensor:
        """Fit by normal equations.

        Args:
            points: the points.
            start: where each series begins, all parameters.
            fits: where results are written.

        Returns:
            Which series have arrived beyond doubt, `(S,)`.
        """
        curve, free = self.curve, self.curve.demands.free
        found = self._side_by_side(points, start)
        arrived = found.sure.cpu()
        fits.params[:] = found.params.mT.double().cpu()
        fits.rmse[:] = found.rmse.double().cpu()
        fits.steps[:] = found.steps.cpu()
        fits.status[:], fits.message[:] = CONVERGED, LEAST_MESSAGE
        if self.loss_function is mse and not curve.demands.ties:
            fits.errors[:, free] = found.errors.mT.double().cpu()
            fixed = [i for i in range(start.shape[-1]) if i not in free]
            fits.errors[:, fixed] = 0.0
        else:
            fits.errors[arrived] = self._uncertainty(points, found.params.mT.contiguous(), arrived)
        self._tell_bounds(points, start, found.theta, found.beyond & found.sure, fits)
        return arrived

    def _side_by_side(self, points: Points, start: Tensor) -> Quick:
        """`_solved`, the series in shares, one thread for each: torch's own threads would meet after each operation.

        How many shares there are is decided by the points alone, so that the result is the same with any number of
        threads.
        """
        if self.alone:
            return self._solved(points, start)
        count, threads = len(start), torch.get_num_threads()
        among = count * points.targets.shape[-1]
        pieces = 2 * math.ceil(among / (2 * SHARE)) if among > BLOCK else 1  # evenly many, as cores are
        size = math.ceil(count / pieces)
        shares = [slice(i, i + size) for i in range(0, count, size)]
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                found = list(pool.map(lambda share: self._solved(points.rows(share), start[share]), shares))
        finally:
            torch.set_num_threads(threads)  # of threads yet to come
        return Quick(*(torch.cat(values, dim=-1) for values in zip(*found, strict=True)))

    @torch.no_grad()
    def _solved(self, points: Points, start: Tensor) -> Quick:
        """What the normal equations tell of some series; nothing but these tensors is touched."""
        curve, free = self.curve, self.curve.demands.free
        problem = SeriesPlanes.of(self.tools, points, start, curve.demands)
        found = solve_rows(
            problem, start[:, free].mT.contiguous(), steps=min(self.steps, ENOUGH_STEPS), parts=self.tools.parts
        )
        params = start.clone()
        params[:, free] = found.theta.mT
        params = curve.demands.project(params)
        here = problem.look(params[:, free].mT.contiguous())
        held = beyond = torch.zeros_like(found.theta, dtype=torch.bool)
        known = problem.known
        if known.low is not None and known.high is not None:
            low, high = found.theta <= known.low, found.theta >= known.high
            held, beyond = low | high, (low & (here.slope > 0)) | (high & (here.slope < 0))
        inflation = inflations(here.matrix, ~held)
        bearable = INFLATED if start.dtype == torch.float64 else INFLATED_SINGLE
        eps = torch.finfo(start.dtype).eps
        sure = found.converged & (inflation.amax(dim=0) * eps <= bearable) & torch.isfinite(here.total)
        sure &= known.points_each > len(free) - held.sum(dim=0)
        sure &= (known.of_targets > 0) & acts(here).all(dim=0)
        sure &= promise(here, inflation, ~held) <= rounding(here, found.theta, known.of_targets)
        errors = self._errors(problem, here, inflation, held)
        return Quick(found.theta, params.mT, errors, self._rmse(problem, here, params), found.steps, sure, beyond)

    def _errors(self, problem: SeriesPlanes, here: Normal, inflation: Tensor, held: Tensor) -> Tensor:
        """Standard errors of the free parameters, `(F, S)`: noise * sqrt(((J'J)**-1)_ii)."""
        dof = problem.known.points_each - (~held).sum(dim=0)
        variance = torch.where(dof > 0, here.total / dof.clamp(min=1), torch.inf)
        noise = torch.ones_like(variance) if self.absolute_sigma else variance.sqrt()
        return torch.where(held, torch.nan, noise * inflation.sqrt() / here.size)

    def _uncertainty(self, points: Points, params: Tensor, arrived: Tensor) -> Tensor:
        """Standard errors of some series by singular values, `(A, P)`."""
        rows = arrived.nonzero().flatten().to(params.device)
        found = [
            standard_errors(self.curve, points.rows(some), params[some], self)
            for some in portions(rows, CAREFUL // points.targets.shape[-1])
        ]
        return torch.cat(found) if found else params.new_empty(0, params.shape[-1]).double().cpu()

    def _rmse(self, problem: SeriesPlanes, here: Normal, params: Tensor) -> Tensor:
        """Root mean squared error of each series, in units of y, `(S,)`."""
        planes, each = problem.planes, problem.known.points_each
        if self.loss_function is mse and planes.weight is None:
            return (here.total / each).sqrt()
        preds = self.curve.function(*planes.columns, *params.unbind(-1))
        off = preds - planes.targets
        off = off if planes.weight is None else torch.where(planes.weight > 0, off, 0.0)
        return ((off * off).sum(dim=0) / each).sqrt()

    def _tell_bounds(self, points: Points, start: Tensor, theta: Tensor, beyond: Tensor, fits: Fits) -> None:
        """Status and message of the series that a bound holds."""
        rows = beyond.any(dim=0).nonzero().flatten().cpu().numpy()
        if not len(rows):
            return
        with self.curve.at(start[:1]):
            problem = Residuals(self.curve, points.rows(torch.tensor([0], device=start.device)))
        places, sides = theta.mT.double().cpu().numpy(), beyond.mT.cpu().numpy()
        none = np.zeros(theta.shape[0], dtype=bool)
        for row in rows:
            told = verdict(problem, 0, places[row], none, sides[row], LEAST_MESSAGE)
            fits.status[row], fits.message[row] = told

    def _carefully(self, points: Points, start: Tensor) -> Fits:
        """Fits by orthogonal factors, as single fits are."""
        fits = Fits.blank(start)
        curve = self.curve
        found = minimum(curve, points, self.loss_function, start, self.steps)
        params = found.params.cpu()
        limit = Verdict(STEP_LIMIT, f"all {self.steps:,} steps were taken")
        told = [one or limit for one in found.verdicts]
        fits.status[:] = [one.status for one in told]
        fits.message[:] = [one.message for one in told]
        fits.steps[:] = torch.from_numpy(found.each)
        finite = torch.tensor([one.status != DIVERGED for one in told])
        fits.params[:] = torch.where(finite.unsqueeze(-1), params, torch.nan)
        errors = standard_errors(curve, points, found.params, self)
        fits.errors[:] = torch.where(finite.unsqueeze(-1), errors, torch.nan)
        preds = curve.evaluate(points.double().t, found.params)
        off = torch.where(points.present, preds - points.targets, 0.0).cpu()
        rmse = ((off * off).sum(dim=-1) / points.present.sum(dim=-1).cpu()).sqrt()
        fits.rmse[:] = torch.where(finite, rmse, torch.nan)
        return fits


def portions(rows: Tensor, most: int) -> list[Tensor]:
    """Numbers of rows in portions; none where there are no rows."""
    return list(torch.split(rows, max(most, 1))) if len(rows) else []


def standard_errors(curve: Curve, points: Points, params: Tensor, of: Many) -> Tensor:
    """Standard errors by singular values, `(S, P)`."""
    dtype = curve.params.dtype
    try:
        with curve.double().at(params):
            found = uncertainty(curve, points.double(), of.loss_function, of.absolute_sigma)
            return torch.from_numpy(found.standard_errors)
    finally:
        curve.to(dtype)


def inflations(matrix: Tensor, pulled: Tensor) -> Tensor:
    """The diagonal of a correlation matrix's inverse, `(F, S)`: how much each variance is inflated by the others.

    Of the parameters that are pulled; 1 for the others (variance inflation factors: Marquardt, 1970).

    Args:
        matrix: below the diagonal, `(F*(F-1)/2, S)`.
        pulled: which parameters count, `(F, S)`.
    """
    one = torch.ones_like(pulled[0], dtype=matrix.dtype)
    lower = cholesky(matrix, pulled, one, torch.finfo(matrix.dtype).tiny)
    inverse: list[list[Tensor]] = []  # of lower
    for i, row in enumerate(lower):
        zero = torch.zeros_like(one)
        inverse.append([less(zero, row[k:i], [inverse[j][k] for j in range(k, i)]) / row[i] for k in range(i)])
        inverse[i].append(one / row[i])
    return torch.stack([torch.stack([below[i] ** 2 for below in inverse[i:]]).sum(dim=0) for i in range(len(lower))])


def promise(here: Normal, inflation: Tensor, pulled: Tensor) -> Tensor:
    """By how much a step would lower the sums of squares at most, `(S,)`."""
    return torch.where(pulled, here.slope.square() * inflation, 0.0).sum(dim=0)


def rounding(here: Normal, theta: Tensor, of_targets: Tensor) -> Tensor:
    """What of that is nothing: a part of the sum of squares that moves no parameter by 1e-6 of its error, `(S,)`."""
    err = torch.finfo(theta.dtype).eps * (of_targets + (theta.abs() * here.size).sum(dim=0))
    small = 1e-12 if theta.dtype == torch.float64 else 1e-6
    return small * here.total + (NOTHING * err) ** 2


def acts(here: Normal) -> Tensor:
    """Whether each parameter moves any prediction, `(F, S)`: of one that does not, all products are 0."""
    moved = list((here.slope != 0).unbind(0))
    pairs = [(i, k) for i in range(len(moved)) for k in range(i)]
    for entry, (i, k) in zip(here.matrix.unbind(0), pairs, strict=True):
        moved[i], moved[k] = moved[i] | (entry != 0), moved[k] | (entry != 0)
    return torch.stack(moved)
