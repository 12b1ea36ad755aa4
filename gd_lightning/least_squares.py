"""Least squares with the Jacobian: many small problems side by side."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["jacobian", "levenberg_marquardt", "solve_linear"]


def jacobian(residuals: Callable[[Tensor], Tensor], params: Tensor) -> Tensor:
    """Derivatives of residuals by parameters, exact, in one forward pass of autodiff for each parameter.

    Args:
        residuals: takes parameters `(*batch, P)` to residuals `(*batch, T)`.
        params: where, shape `(*batch, P)`.

    Returns:
        Shape `(*batch, T, P)`.
    """
    directions = torch.eye(params.shape[-1], dtype=params.dtype, device=params.device)
    columns = [torch.func.jvp(residuals, (params,), (one.expand_as(params).clone(),))[1] for one in directions]
    return torch.stack(columns, dim=-1)


def solve_linear(columns: Tensor, targets: Tensor) -> Tensor:
    """The coefficients that bring sums of columns nearest to the targets, by the normal equations.

    Args:
        columns: shape `(*batch, T, P)`.
        targets: shape `(*batch, T)`.

    Returns:
        Coefficients `(*batch, P)`; where columns depend on one another, one of the many that do.
    """
    size = columns.norm(dim=-2).clamp_min(torch.finfo(columns.dtype).tiny)
    unit = columns / size.unsqueeze(-2)
    normal = unit.mT @ unit
    normal.diagonal(dim1=-2, dim2=-1).add_(1e-13)  # keeps columns that depend on one another solvable
    solution, _ = torch.linalg.solve_ex(normal, unit.mT @ targets.unsqueeze(-1))
    coefficients: Tensor = solution.squeeze(-1) / size
    return coefficients


def levenberg_marquardt(
    residuals: Callable[[Tensor], Tensor],
    params: Tensor,
    project: Callable[[Tensor], Tensor],
    steps: int = 60,
) -> tuple[Tensor, Tensor]:
    """params <- params - (J'J + damping*diag(J'J))**-1 J'r, each series for itself (Levenberg 1944, Marquardt 1963).

    A step that makes the sum of squares smaller is kept and the damping falls; any other is taken back and the
    damping rises. It is the quick kind, which finds where a careful fit may begin.

    Args:
        residuals: takes parameters `(*batch, P)` to residuals `(*batch, T)`.
        params: starts, shape `(*batch, P)`.
        project: brings parameters back within their bounds.
        steps: how many at most.

    Returns:
        The parameters `(*batch, P)` and their sums of squares `(*batch)`; infinite where a start has none.
    """

    def loss_of(values: Tensor) -> tuple[Tensor, Tensor]:
        r = residuals(values)
        return r, r.square().sum(dim=-1).nan_to_num(nan=torch.inf)

    params = project(params)
    r, loss = loss_of(params)
    damping = torch.full_like(loss, 1e-2)
    for _ in range(steps):
        jac = jacobian(residuals, params).nan_to_num(0.0, 0.0, 0.0)
        gradient = (jac.mT @ r.nan_to_num(0.0, 0.0, 0.0).unsqueeze(-1)).squeeze(-1)
        # A parameter whose bound stops it takes no part in the step.
        nudged = project(params - 1e-9 * params.abs().clamp_min(1e-30) * gradient.sign())
        free = (nudged != params) | (gradient == 0)
        jac = jac * free.unsqueeze(-2)
        normal = jac.mT @ jac
        diagonal = normal.diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(jac.dtype).tiny)
        damped = normal + torch.diag_embed(damping.unsqueeze(-1) * diagonal)
        step, _ = torch.linalg.solve_ex(damped, (gradient * free).unsqueeze(-1))
        tried = project(params - step.squeeze(-1).nan_to_num(0.0, 0.0, 0.0))
        r_tried, loss_tried = loss_of(tried)
        better = loss_tried < loss
        gain = torch.where(better, loss - loss_tried, 0.0)
        if not (gain > 1e-12 * loss).any() and bool((damping > 1e8).all() or better.any()):
            break
        params = torch.where(better.unsqueeze(-1), tried, params)
        r, loss = torch.where(better.unsqueeze(-1), r_tried, r), torch.where(better, loss_tried, loss)
        damping = torch.where(better, damping / 10, damping * 10).clamp(1e-12, 1e12)
    return params, loss
