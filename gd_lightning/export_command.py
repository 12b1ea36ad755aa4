"""`gd-lightning export`: the curve that a run has fitted, for other programs. It needs nothing of Lightning."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from gd_lightning import yaml_text
from gd_lightning.command import Parser, answered
from gd_lightning.errors import InputError, suggest
from gd_lightning.files import write_whole
from gd_lightning.report import check_schema
from gd_lightning.runs import LOGS, checkpoint_in, newest, run_of
from gd_lightning.terminal import printable_json, say, warn

if TYPE_CHECKING:
    from gd_lightning.curve import Curve

__all__ = ["run"]

DESCRIPTION = """\
Write the curve that a run has fitted: as ONNX, as a program of torch.export, as a formula with its numbers, or its
result.json. The last two are printed unless --output is given. --allow-import MODULE lets the run's function be of a
module outside this folder."""
FORMATS = {"onnx": "curve.onnx", "program": "curve.pt2", "formula": None, "json": None}
EXAMPLE = "lightning_logs/version_0"


class Fitted(NamedTuple):
    """What a run has left: the curve with its parameters, and what to call t and y."""

    curve: "Curve"
    labels: tuple[str, ...]


def run(args: Sequence[str]) -> int:
    """Run the command; its exit code is 0, or 2 where there is nothing to export."""

    def write() -> None:
        given = _parser().parse_args(args)
        if given.to not in FORMATS:
            expected = suggest(given.to, FORMATS) if given.to else f"choose from {', '.join(FORMATS)}"
            raise InputError(f"--to {given.to or 'is missing'}; {expected}")
        _export(_found(given.run), given.to, None if given.output is None else Path(given.output))

    return answered(write, "export")


def _parser() -> Parser:
    parser = Parser(prog="gd-lightning export", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument(
        "run",
        metavar="RUN",
        help=f"a run's folder, such as {EXAMPLE}; a checkpoint; a file of FitResult.save; or last, the newest run here",
    )
    parser.add_argument("--to", metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--output", metavar="FILE", help="unless given, curve.onnx or curve.pt2 in the run's folder")
    return parser


def _found(run: str) -> Path:
    """The folder or file that was meant."""
    if run == "last" and not Path(run).exists():
        found = newest(Path(), lambda folder: (folder / "result.json").is_file())
        if found is None:
            raise InputError(f"given last, and {LOGS} holds no run with a result; expected {EXAMPLE}")
        return found
    path = Path(run)
    if not path.exists():
        raise InputError(f"no such folder or file: {run}; expected the folder of a run, such as {EXAMPLE}")
    return path.parent if path.name == "result.json" else path


def _export(path: Path, to: str, output: Path | None) -> None:
    if to == "json":
        text = _result_text(path)
        return _show(text if output else printable_json(text), output)
    fitted = _fitted(path)
    if to == "formula":
        from gd_lightning.formula_text import formula_texts

        return _show("\n".join(formula_texts(fitted.curve)), output)
    from gd_lightning.export import to_onnx, to_program

    folder = path if path.is_dir() else run_of(path)
    target = output or folder / str(FORMATS[to])
    write = to_onnx if to == "onnx" else to_program
    try:
        write(fitted.curve, target, labels=fitted.labels)
    except OSError as error:
        raise _unwritable(target, error) from None
    say(f"Wrote {target}")
    return None


def _show(text: str, output: Path | None) -> None:
    if output is None:
        say(text.rstrip("\n"))
        return
    try:
        write_whole(output, text.rstrip("\n") + "\n")
    except OSError as error:
        raise _unwritable(output, error) from None
    say(f"Wrote {output}")


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {error.strerror}; expected a file name")


def _result_text(path: Path) -> str:
    """What a run found, as it stands in its folder."""
    if path.suffix == ".ckpt":
        path = run_of(path)
    file = path / "result.json" if path.is_dir() else path
    text = _text(file)
    _as_result(file, text)
    return text


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{file.parent} holds no {file.name}; expected the folder of a run that ended") from None
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{file} is neither a run's folder, a checkpoint nor a file of FitResult.save") from None


def _as_result(file: Path, text: str) -> dict[str, Any]:
    """The content of `result.json`, or of a file of `FitResult.save`, which has the same keys and more."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    check_schema(f"{file}", content)
    if not isinstance(content, dict) or not {"function", "parameters"} <= content.keys():
        raise InputError(f"{file} is no result of a fit; expected the folder of a run, such as {EXAMPLE}")
    return content


def _fitted(path: Path) -> Fitted:
    """The curve of a run, from its result and its configuration, else from its checkpoint."""
    if path.is_dir():
        if (path / "result.json").is_file() and (path / "config.yaml").is_file():
            return _from_folder(path)
        if (checkpoint := checkpoint_in(path)) is not None:
            return _from_checkpoint(checkpoint)
        raise InputError(
            f"{path} holds no result.json with config.yaml, and no checkpoint; expected the folder of a run, "
            f"such as {EXAMPLE}"
        )
    if path.suffix == ".ckpt":
        return _from_checkpoint(path)
    from gd_lightning.result import FitResult

    result = FitResult.load(path)
    return Fitted(result.curve, result.labels)


def _from_folder(folder: Path) -> Fitted:
    import torch

    from gd_lightning.curve import Curve

    result = _as_result(folder / "result.json", _text(folder / "result.json"))
    predictors, data, double = _configured(folder / "config.yaml")
    if not isinstance(result["function"], str):
        raise InputError(f"{folder / 'result.json'} names no function; expected what a fit writes")
    curve = Curve(result["function"], None, predictors)
    try:
        values = [torch.tensor(result["parameters"][name], dtype=torch.float64) for name in curve.names]
        params = torch.stack(values, dim=-1)
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{folder / 'result.json'} does not hold a number for each of {', '.join(curve.names)}; "
            "expected a run that has not diverged"
        ) from None
    curve.to(torch.float64 if double else torch.float32)
    curve.set_params(params)
    return Fitted(curve, _labels(curve, data))


def _configured(file: Path) -> tuple[list[str] | None, dict[str, Any], bool]:
    """The predictors and the data of a configuration, and whether it computes in double precision."""
    try:
        config = yaml_text.load(_text(file))
        predictors, data = config["model"]["predictors"], config["data"].get("init_args") or {}
        double = "64" in str(config["trainer"]["precision"])
        right = isinstance(predictors, list | None) and isinstance(data, dict)
        if right and all(isinstance(name, str) for name in predictors or ()):
            return predictors, data, double
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        pass
    raise InputError(f"{file} is not the configuration of a fit; expected the one that it wrote")


def _from_checkpoint(path: Path) -> Fitted:
    from gd_lightning import checkpoints
    from gd_lightning.curve import Curve

    whole, checkpoint = checkpoints.load_whole(path)
    for line in checkpoints.remarks(path, whole):
        warn(line)
    params, given = checkpoint["state_dict"]["curve.params"], checkpoint["hyper_parameters"]
    curve = Curve(given["function"], None, given.get("predictors"))
    checkpoints.check_parameters(checkpoint, whole, curve.function_name, curve.names)
    curve.to(params.dtype)
    curve.set_params(params)
    data = checkpoint.get("config", {}).get("data")
    columns = data.get("init_args") if isinstance(data, dict) else None
    return Fitted(curve, _labels(curve, columns if isinstance(columns, dict) else {}))


def _labels(curve: "Curve", data: dict[str, Any]) -> tuple[str, ...]:
    """The columns of the data, where they were a table's; else what the function calls them."""
    columns = data.get("t")
    columns = [one.strip() for one in columns.split(",")] if isinstance(columns, str) else columns
    names = columns if isinstance(columns, list) and len(columns) == len(curve.predictors) else curve.predictors
    return (*map(str, names), str(data.get("target") or data.get("y") or "y"))
