"""Least squares with the Jacobian: many small problems side by side."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["jacobian", "levenberg_marquardt", "solve_linear"]

LARGEST_DAMPING = 1e12  # a step that it shortens no further is no step


def jacobian(residuals: Callable[[Tensor], Tensor], params: Tensor) -> Tensor:
    """Derivatives of residuals by parameters, exact.

    A backward pass gives J'u for any u; it is linear in u, so that its own derivatives by u are the columns of J.
    Forward mode would give them more directly, but loads parts of torch that warn of their end.

    Args:
        residuals: takes parameters `(*batch, P)` to residuals `(*batch, T)`, each series for itself.
        params: where, shape `(*batch, P)`.

    Returns:
        Shape `(*batch, T, P)`.
    """
    with torch.enable_grad():
        params = params.detach().clone().requires_grad_()
        r = residuals(params)
        u = torch.zeros_like(r, requires_grad=True)
        [products] = torch.autograd.grad(r, params, u, create_graph=True)
        columns = [
            torch.autograd.grad(product.sum(), u, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
            for product in products.unbind(-1)
        ]
    return torch.stack(columns, dim=-1).detach()


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


def _damped_step(jac: Tensor, gradient: Tensor, damping: Tensor) -> Tensor:
    """(J'J + damping*diag(J'J))**-1 gradient, shape `(*batch, P)`."""
    normal = jac.mT @ jac
    diagonal = normal.diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(jac.dtype).tiny)
    step, _ = torch.linalg.solve_ex(normal + torch.diag_embed(damping.unsqueeze(-1) * diagonal), gradient.unsqueeze(-1))
    finite: Tensor = step.squeeze(-1).nan_to_num(0.0, 0.0, 0.0)
    return finite


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
    ended = torch.zeros_like(loss, dtype=torch.bool)
    for _ in range(steps):
        jac = jacobian(residuals, params).nan_to_num(0.0, 0.0, 0.0)
        gradient = (jac.mT @ r.nan_to_num(0.0, 0.0, 0.0).unsqueeze(-1)).squeeze(-1)
        step = gradient
        free = torch.ones_like(params)
        for _ in range(2):
            # A parameter at the bound that stops it takes no part; the others then have another step.
            stopped = (project(params - 1e-9 * params.abs().clamp_min(1e-30) * step.sign()) == params) & (step != 0)
            free = free.masked_fill(stopped, 0.0)
            step = _damped_step(jac * free.unsqueeze(-2), gradient * free, damping)
        tried = project(params - step)
        r_tried, loss_tried = loss_of(tried)
        better = loss_tried < loss
        ended |= torch.where(better, loss - loss_tried <= 1e-13 * loss, damping >= LARGEST_DAMPING)
        params = torch.where(better.unsqueeze(-1), tried, params)
        r, loss = torch.where(better.unsqueeze(-1), r_tried, r), torch.where(better, loss_tried, loss)
        damping = torch.where(better, damping / 10, damping * 10).clamp(1e-12, LARGEST_DAMPING)
        if ended.all():
            break
    return params, loss
