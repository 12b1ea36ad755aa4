"""The fitted curve for other programs: y = f(t) with the parameters as constants, as ONNX or as a program of torch.

Both hold what is computed and the numbers, and nothing of this package, so that nothing of it is needed to run them.
"""

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gd_lightning.curve import Curve
from gd_lightning.doubles import InDoubles
from gd_lightning.errors import InputError
from gd_lightning.files import write_whole

__all__ = ["input_names", "to_onnx", "to_program"]

EXAMPLE = 11  # points of the example that is traced: any number from 2 on, which torch.export does not take for fixed
POINTS = "points"  # the name of the axis whose length is open


class _Fitted(nn.Module):
    """y at t, with the parameters as they are: fixed and tied ones are numbers like the others by now."""

    params: Tensor

    def __init__(self, curve: Curve, dtype: torch.dtype) -> None:
        super().__init__()
        self.function = curve.function
        self.register_buffer("params", curve.params.detach().cpu().to(dtype))

    def forward(self, *columns: Tensor) -> Tensor:
        return self.function(*columns, *self.params.unsqueeze(-1).unbind(-2))


class _Exact(nn.Module):
    """A traced curve, run in double precision of what ONNX has."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        self.traced = program.module(check_guards=False)

    def forward(self, *columns: Tensor) -> Tensor:
        preds: Tensor = InDoubles(self.traced).run(*columns)
        return preds


def to_program(curve: Curve, path: str | Path, *, labels: Sequence[str] = (), dtype: torch.dtype | None = None) -> None:
    """Write a fitted curve as a program of `torch.export`; `torch.export.load(path).module()(t)` runs it.

    Args:
        curve: the curve; (T,) numbers for each predictor, in their order, give y of shape `(*batch, T)`.
        path: the file to write, usually `.pt2`.
        labels: the predictors as the data call them, then y; they are kept as text in `gd_lightning.json` inside.
        dtype: precision of the numbers and of t; that of the fit unless given.

    Raises:
        InputError: the function does what `torch.export` cannot follow.
    """
    program = _traced(curve, _precision(curve, dtype))
    _forget_where(program)
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"gd_lightning.json": json.dumps(about(curve, labels))})
    write_whole(Path(path), file.getvalue())


def to_onnx(curve: Curve, path: str | Path, *, labels: Sequence[str] = (), dtype: torch.dtype | None = None) -> None:
    """Write a fitted curve as ONNX: an input for each predictor, `(points,)`, and one output, `(*batch, points)`.

    Args:
        curve: the curve.
        path: the file to write, usually `.onnx`.
        labels: the predictors as the data call them, then y, after which inputs and output are named.
        dtype: double or single precision; unless given that of the fit, and single for half.

    Raises:
        InputError: onnx or onnxscript is not installed, or the function does what they cannot follow.
    """
    dtype = _precision(curve, dtype, (torch.float32, torch.float64))
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"to_onnx: {error.name} is not installed; pip install 'gd-lightning[onnx]'") from None
    with _quietly():
        program = _traced(curve, dtype)
        if dtype == torch.float64:
            for _ in range(2):  # the second time for the numbers in the stand-ins of the first
                program = _trace(curve, _Exact(program), dtype)
        try:
            made = torch.onnx.export(program, dynamo=True, verbose=False)
        except Exception as error:  # whatever the function may do that ONNX has no word for
            raise _refusal("to_onnx", curve, error.__cause__ or error) from error
        assert made is not None
        model = made.model_proto
    _name(model.graph, input_names(curve, labels))
    facts = about(curve, labels)
    model.doc_string = facts["equation"]
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    write_whole(Path(path), model.SerializeToString())


def input_names(curve: Curve, labels: Sequence[str] = ()) -> list[str]:
    """Names for predictors and y as ONNX asks for them: identifiers, all different.

    Each is what the data call the column; where that is no identifier the name in the function, or else the label with
    an underscore for each sign that an identifier cannot hold.
    """
    own = (*curve.predictors, "y")
    labels = labels if len(labels) == len(own) else own
    names: list[str] = []
    for label, name in zip(labels, own, strict=True):
        found = next((one for one in (label, name) if _is_plain(one)), None)
        found = found or re.sub(r"^(?=\d)|\W", "_", label, flags=re.ASCII) or "_"
        while found in names:
            found += "_"
        names.append(found)
    return names


def _is_plain(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z_]\w*", name, flags=re.ASCII) is not None


def about(curve: Curve, labels: Sequence[str] = ()) -> dict[str, Any]:
    """What is told of a curve beside it."""
    from gd_lightning import __version__

    values = curve.params.detach()
    return {
        "gd_lightning": __version__,
        "function": curve.function_name,
        "equation": curve.equation,
        "parameters": {name: values[..., i].tolist() for i, name in enumerate(curve.names)},
        "predictors": list(curve.predictors),
        "labels": list(labels),
    }


def _precision(curve: Curve, dtype: Any, known: Sequence[torch.dtype] = ()) -> torch.dtype:
    if dtype is None:
        own = curve.params.dtype
        return own if not known or own in known else known[0]
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point or (known and dtype not in known):
        expected = " or ".join(map(str, known)) or "a floating one such as torch.float32"
        raise InputError(f"dtype: given {dtype!r}, expected {expected}")
    return dtype


def _traced(curve: Curve, dtype: torch.dtype) -> torch.export.ExportedProgram:
    if not torch.isfinite(curve.params).all():
        raise InputError("parameters: some are not finite numbers; there is no curve to export")
    return _trace(curve, _Fitted(curve, dtype), dtype)


def _trace(curve: Curve, module: nn.Module, dtype: torch.dtype) -> torch.export.ExportedProgram:
    example = tuple(torch.linspace(1, 2, EXAMPLE, dtype=dtype) for _ in curve.predictors)
    points = torch.export.Dim(POINTS)
    with torch.no_grad():
        try:
            return torch.export.export(module, example, dynamic_shapes={"columns": ({0: points},) * len(example)})
        except Exception as error:  # whatever a function of the user's may do
            raise _refusal("export", curve, error) from error


def _refusal(what: str, curve: Curve, error: BaseException) -> InputError:
    reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
    return InputError(
        f"{what}: {curve.function_name} does what torch cannot export ({reason[:200]}); expected operations of torch "
        "on tensors, or write it as a formula"
    )


def _forget_where(program: torch.export.ExportedProgram) -> None:
    """Leave out of the file in which lines of which files the operations stand: it is of no use elsewhere."""
    for node in program.graph.nodes:
        for key in ("stack_trace", "source_fn_stack", "nn_module_stack", "torch_fn", "from_node"):
            node.meta.pop(key, None)


def _name(graph: Any, names: Sequence[str]) -> None:
    """Give inputs, output and the open axis their names, and leave out where the operations came from."""
    old = [one.name for one in (*graph.input, *graph.output)]
    new = {before: f"{before}_" for before in _values(graph) if before in names}  # a step of the curve may have one
    new |= dict(zip(old, names, strict=True))
    if old[-1] in old[:-1]:
        raise InputError("to_onnx: the curve is its own input; expected a function of its parameters")
    for node in graph.node:
        node.ClearField("metadata_props")
        for values in (node.input, node.output):
            values[:] = [new.get(value, value) for value in values]
    for initializer in graph.initializer:
        initializer.name = new.get(initializer.name, initializer.name)
    graph.ClearField("value_info")
    graph.ClearField("metadata_props")
    for one in (*graph.input, *graph.output):
        one.name = new[one.name]
        one.ClearField("metadata_props")
        for axis in one.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = POINTS


def _values(graph: Any) -> set[str]:
    return {value for node in graph.node for value in (*node.input, *node.output)} | {i.name for i in graph.initializer}


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch.onnx says that concerns no curve."""
    # that torchvision, of which no curve has an operation, is not installed
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch calls its own tree functions by a name that it has given up
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.", category=FutureWarning)
            yield
    finally:
        registration.setLevel(level)
