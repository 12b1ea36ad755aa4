"""Many steps of `descend` as one compiled call: the same equations, without Python between them.

A step on twenty points is some hundred operations on numbers; each costs a microsecond of Python and torch, and a few
nanoseconds of arithmetic. `torch.compile` turns a loop of steps into C++ that does the arithmetic only.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gd_lightning.curve import Curve
from gd_lightning.errors import InputError
from gd_lightning.losses import Loss, mse
from gd_lightning.optim import UpdateRule
from gd_lightning.points import Points

__all__ = ["CompiledSteps", "compilable", "compile_steps", "compiling", "pure_step", "repeat", "vectors"]

State = dict[str, Tensor]
Carried = tuple[Tensor, State]
Seen = tuple[Carried, tuple[Tensor, Tensor, Tensor]]
# What a step starts from, the learning rate and the points, to what it leads to, the loss and the sum of the gradient.
Step = Callable[[Tensor, State, Tensor, Points], tuple[Tensor, State, Tensor, Tensor]]
# The same for many: what they lead to, then parameters before, loss and gradient's sum of each.
Steps = Callable[[Tensor, State, Tensor, Points], tuple[Tensor, State, Tensor, Tensor, Tensor]]

VECTORS_FROM = 4096  # points; below, vector instructions gain less than finding out which there are costs


def pure_step(curve: Curve, optimizer: UpdateRule, loss_function: Loss = mse) -> Step:
    """One step of `descend` as a function that changes nothing: theta <- project(update(theta, g)).

    Args:
        curve: the function, and what is demanded of its parameters; its own parameters tell shape and precision.
        optimizer: the update rule, which gives its equation and its numbers; lr, which may change, is an argument.
        loss_function: what is descended.

    Returns:
        `step(params, state, lr, points)` with params `(*batch, P)`, the state of the rule, lr as a tensor that
        broadcasts with params. It gives new params, new state, and, both from before the step, the loss `(*batch)`
        and the sum of the gradient `(*batch)`, which is finite where the gradient is.
    """
    numbers = optimizer.constants(optimizer.param_groups[0])
    project = _projection(curve)

    def summed_loss(params: Tensor, points: Points) -> tuple[Tensor, Tensor]:
        loss = loss_function(curve.evaluate(points.t, params), points.targets, points.sigma)
        return loss.sum(), loss

    gradient = torch.func.grad(summed_loss, has_aux=True)

    def step(params: Tensor, state: State, lr: Tensor, points: Points) -> tuple[Tensor, State, Tensor, Tensor]:
        g, loss = gradient(params, points)
        state = dict(state)  # which the rule replaces entry by entry
        return project(optimizer.update(params, g, state, lr=lr, **numbers)), state, loss, g.sum(dim=-1)

    return step


def _projection(curve: Curve) -> Callable[[Tensor], Tensor]:
    """`Parameters.project` with its bounds worked out beforehand: a fixed parameter has one value for both."""
    demands = curve.demands
    if not demands.constrained:
        return lambda params: params
    nowhere = curve.params.detach().new_full((len(demands.all),), math.inf)
    low, high = demands.project(-nowhere), demands.project(nowhere)
    low[demands.ties], high[demands.ties] = -math.inf, math.inf

    def project(params: Tensor) -> Tensor:
        params = params.clamp(low, high)
        return torch.stack(demands.tie(params.unbind(-1)), dim=-1) if demands.ties else params

    return project


def repeat(step: Step, steps: int) -> Steps:
    """A number of steps, one after the other, in Python.

    Returns:
        A function of the same arguments. It gives the last params and state; then, of each step, the params before it
        `(steps, *batch, P)`, the loss and the sum of the gradient `(steps, *batch)`.
    """

    def run(params: Tensor, state: State, lr: Tensor, points: Points) -> tuple[Tensor, State, Tensor, Tensor, Tensor]:
        seen = []
        for _ in range(steps):
            before = params
            params, state, loss, slope = step(params, state, lr, points)
            seen.append((before, loss, slope))
        return params, state, *(torch.stack(values) for values in zip(*seen, strict=True))  # type: ignore[return-value]

    return run


def compile_steps(step: Step, steps: int, options: dict[str, Any] | None = None) -> Steps:
    """`repeat`, compiled: a loop in C++, whose length does not lengthen the compilation.

    Args:
        step: what is repeated, from `pure_step`.
        steps: how many times.
        options: options of torch's inductor.

    Returns:
        A function like that of `repeat`; its first call compiles.
    """
    from torch._higher_order_ops.scan import scan

    def run(params: Tensor, state: State, lr: Tensor, points: Points) -> tuple[Tensor, State, Tensor, Tensor, Tensor]:
        def one(carried: Carried, _: Tensor) -> Seen:
            before, state = carried
            params, state, loss, slope = step(before, state, lr, points)
            return (params, state), (before.clone(), loss, slope)  # what goes round must not be what comes out

        (params, state), (before, loss, slope) = scan(one, (params, state), params.new_zeros(steps))
        return params, state, before, loss, slope

    run.__code__ = run.__code__.replace()  # torch keeps at most eight compilations of one code object
    compiled: Steps = torch.compile(run, fullgraph=True, dynamic=False, options=options)
    return compiled


def compilable(optimizer: Optimizer) -> UpdateRule:
    """A rule whose steps can be compiled.

    Raises:
        InputError: it is not one of gd_lightning's with a learning rate.
    """
    if not isinstance(optimizer, UpdateRule):
        raise InputError(
            f"compile: given the optimizer {type(optimizer).__name__}, expected one of gd_lightning's rules with a "
            "learning rate, such as SGD or Adam; compile: false takes any"
        )
    return optimizer


class CompiledSteps:
    """Takes steps of a curve by the dozen, in place of as many calls of `descend`.

    The rule's state is made by steps in Python; the first call is therefore not compiled where the rule has one.

    Args:
        curve: the curve that descends.
        optimizer: the update rule that holds its parameters.
        loss_function: what is descended.
        steps: how many steps are taken at a time.

    Raises:
        InputError: the rule is not one of gd_lightning's.
    """

    def __init__(self, curve: Curve, optimizer: Optimizer, loss_function: Loss = mse, steps: int = 100) -> None:
        self.curve = curve
        self.optimizer = compilable(optimizer)
        self.loss_function = loss_function
        self.steps = steps
        self._compiled: dict[object, Steps] = {}

    def take(self, points: Points) -> tuple[Tensor, Tensor] | None:
        """Take the steps, and change the parameters and the rule's state accordingly.

        Args:
            points: what is fitted. Each number of points or series is compiled for itself.

        Returns:
            Parameters `(steps, *batch, P)` and losses `(steps, *batch)`, both from before each step; or none, where a
            loss, a gradient or the parameters ceased to be finite. Then nothing was changed, and steps one by one
            will find where.

        Raises:
            InputError: the steps cannot be compiled here; the message says what is missing.
        """
        theta = self.curve.params
        params, state = theta.detach(), dict(self.optimizer.state[theta])
        lr = torch.as_tensor(self.optimizer.param_groups[0]["lr"], dtype=torch.float64, device=params.device)
        if lr.dim():
            lr = lr.to(params)  # one number never changes the precision of what it multiplies, several do
        with torch.no_grad():
            params, state, before, losses, slopes = self._run(params, state, lr, points)
            finite = torch.isfinite(params).all() & torch.isfinite(losses).all() & torch.isfinite(slopes).all()
            if not finite:
                return None
            theta.copy_(params)
        self.optimizer.state[theta] = state
        return before, losses

    def _run(
        self, params: Tensor, state: State, lr: Tensor, points: Points
    ) -> tuple[Tensor, State, Tensor, Tensor, Tensor]:
        if not state and self._has_state(params, lr):
            return repeat(self._step(), self.steps)(params, state, lr, points)
        given = (params, lr, *points.columns, points.targets, points.sigma, *state.values())
        numbers = tuple(self._numbers().values())
        form = (numbers, *((value.shape, value.dtype, value.device) for value in given if value is not None))
        if form not in self._compiled:
            self._compiled[form] = self._compile(params, state, lr, points)
        return self._compiled[form](params, state, lr, points)

    def _step(self) -> Step:
        return pure_step(self.curve, self.optimizer, self.loss_function)

    def _numbers(self) -> dict[str, float]:
        return self.optimizer.constants(self.optimizer.param_groups[0])

    def _has_state(self, params: Tensor, lr: Tensor) -> bool:
        if self._compiled:  # which needs the state, where there is one
            return False
        state: State = {}
        self.optimizer.update(params, torch.zeros_like(params), state, lr=lr, **self._numbers())
        return bool(state)

    def _compile(self, params: Tensor, state: State, lr: Tensor, points: Points) -> Steps:
        """The compiled steps, after a first call.

        Raises:
            InputError: in one line, what torch says in many.
        """
        on_cpu = params.device.type == "cpu"
        few = points.targets.numel() < VECTORS_FROM
        try:
            with compiling(self.curve.function_name):
                compiled = compile_steps(self._step(), self.steps, _options(on_cpu, few))
                compiled(params, state, lr, points)
        finally:
            _forget_vectors()
        return compiled


def _options(on_cpu: bool, few: bool) -> dict[str, Any]:
    """Options of inductor that suit a small loop."""
    options: dict[str, Any] = {}
    if on_cpu:
        options["cpp_wrapper"] = True  # the loop itself in C++, not only its body
        options |= {"cpp.vec_isa_ok": False} if few else vectors()
    return options


def vectors() -> dict[str, Any]:
    """The width of this machine's vector instructions, as an option of inductor.

    Torch keeps what it compiled on disk and does not tell code for one width from that for another: a loop over 16
    numbers built with instructions for 8 leaves half of them as they were and writes beyond its arrays. An option
    is part of the name under which it is kept.
    """
    from torch._inductor import cpu_vec_isa

    _forget_vectors()
    return {"cpp.simdlen": cpu_vec_isa.pick_vec_isa().bit_width()}


def _forget_vectors() -> None:
    """Let others' compilations find the vector instructions that ours did without: torch looks once a process."""
    from torch._inductor import cpu_vec_isa

    cpu_vec_isa.valid_vec_isa_list.cache_clear()


@contextmanager
def compiling(function: str) -> Iterator[None]:
    """While something is compiled: what torch says in many lines, in one.

    Args:
        function: the name of what is compiled.

    Raises:
        InputError: it cannot be compiled here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's compiler imports parts of torch that warn of their end
        try:
            yield
        except Exception as error:
            raise InputError(f"compile: {_reason(error, function)}; compile: false works") from error


def _reason(error: BaseException, function: str) -> str:
    """What is missing, from torch's exception and those that it came from."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or getattr(cause, "inner_exception", None) or cause.__context__
    names = {type(one).__name__ for one in chain}
    if names & {"InvalidCxxCompiler", "CppCompileError", "FileNotFoundError"}:
        return "no C++ compiler that works was found; install g++ or clang, or name it in the variable CXX"
    first = next((line for line in str(chain[-1]).splitlines() if line.strip()), type(chain[-1]).__name__)
    return f"{function} cannot be compiled by torch: {first.strip()}"
