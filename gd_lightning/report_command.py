"""`gd-lightning report`: what a run found, told again from its result.json, or its comparison.json."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gd_lightning.command import Parser, answered
from gd_lightning.comparison_table import comparison_markdown, comparison_text, is_comparison
from gd_lightning.errors import InputError, suggest
from gd_lightning.report import check_schema, report
from gd_lightning.report_cells import is_batch
from gd_lightning.runs import LOGS, newest
from gd_lightning.terminal import printable_json, say

__all__ = ["run"]

FILE, COMPARISON = "result.json", "comparison.json"
FORMATS = ("text", "json", "md", "latex")

ABOUT = """\
The number after ± is the standard error, and an interval holds the true
value with the chance that heads it, if the function is right and the noise
independent. A parameter is undetermined where the data say nothing of it;
at its bound it has no symmetric error. R2 is the share of the data's
variation that the curve explains. RMSE counts all points alike; with sigma,
all else weighs them by 1/sigma**2. The reduced chi-square is about 1 where
sigma is known and the function right; without sigma it is the variance of
the residuals. AIC, AICc and BIC compare functions on the same data: less is
better. n points less p free parameters leave dof degrees of freedom."""


def run(args: Sequence[str]) -> int:
    """Run the command; its exit code is 0, or 2 where there is no such result."""
    parser = Parser(
        "gd-lightning report",
        description="Tells again what a run found.",
        epilog=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "RUN", nargs="?", type=Path, help=f"the folder of a run, or its {FILE}; the newest in {LOGS} unless given"
    )
    parser.add_argument(
        "--format",
        default="text",
        metavar="|".join(FORMATS),
        help="text; json, the file as it is; md, Markdown; or latex, the parameters as a table for booktabs",
    )

    def write() -> None:
        given = parser.parse_args(args)
        if given.format not in FORMATS:
            raise InputError(f"--format: given {given.format!r}; {suggest(given.format, FORMATS)}")
        path = find(given.RUN)
        content, found = read(path)
        made = None if given.format == "json" else rendering(given.format, path.name == COMPARISON)
        text = printable_json(content) if made is None else rendered(made, found, path)
        if given.RUN is None and given.format == "text":
            text += f"\nRun folder: {path.parent}"
        say(text.removesuffix("\n"))

    return answered(write, "report")


def rendering(form: str, several: bool) -> Callable[[dict[str, Any]], str]:
    """What makes a text of the content of a file.

    Args:
        form: one of `FORMATS`.
        several: whether it is a comparison.

    Raises:
        InputError: a comparison has no such form.
    """
    if several:
        if form == "latex":
            raise InputError("--format: given latex, and the run is a comparison; expected text, json or md")
        return comparison_text if form == "text" else comparison_markdown
    if form == "text":
        return report
    from gd_lightning.report_formats import latex, markdown

    return markdown if form == "md" else latex


def rendered(made: Callable[[dict[str, Any]], str], found: dict[str, Any], path: Path) -> str:
    """The text of a file's content.

    Raises:
        InputError: the content is not what it has to be, as someone changed it.
    """
    try:
        return made(found)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        told = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} does not hold what a run writes ({told}); make the run again") from None


def find(given: Path | None) -> Path:
    """The file that belongs to a run.

    Args:
        given: the run's folder, or the file itself; the newest run unless given.

    Raises:
        InputError: there is none.
    """
    if given is None:
        given = newest(Path(), lambda run: any((run / name).is_file() for name in (COMPARISON, FILE)))
        if given is None:
            raise InputError(f"no run with a {FILE} in {LOGS}; make one with gd-lightning fit, or name its folder")
    if given.is_dir():
        if (given / COMPARISON).is_file():
            return given / COMPARISON
        if not (given / FILE).is_file():
            runs = sorted(given.glob(f"**/{FILE}"))
            kind = "holds a sweep, not a fit" if (given / "sweep.json").is_file() else f"has no {FILE}"
            hint = f", such as {runs[-1].parent}" if runs else ", such as lightning_logs/version_0"
            raise InputError(f"{given} {kind}; expected the folder of a fit{hint}")
        return given / FILE
    if not given.is_file():
        siblings = [path.name for path in given.parent.glob("version_*")]
        hint = suggest(given.name, siblings) if siblings else f"expected a folder such as {LOGS}/version_0"
        raise InputError(f"no such run: {given}; {hint}")
    return given


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """A result or comparison as the text of its file, and what that says.

    Raises:
        InputError: it is nothing that this version can read.
    """
    expected = COMPARISON if path.name == COMPARISON else FILE
    try:
        content = path.read_text(encoding="utf-8")
        result = json.loads(content)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no {expected}, but something that is not text") from None
    except ValueError as error:
        raise InputError(f"{path} is no whole {expected}: {error}; make the run again") from None
    except RecursionError:
        raise InputError(f"{path} is no {expected} of a run") from None
    check_schema(path, result)
    if expected == COMPARISON:
        if not is_comparison(result):
            raise InputError(
                f"{path} is no {COMPARISON} of gd-lightning compare; expected its functions and what ranks"
            )
    elif not (isinstance(result, dict) and is_result(result)):
        raise InputError(f"{path} is no {FILE} of a fit; expected function, parameters, RMSE, steps and status")
    return content, result


EXPECTED: dict[str, Any] = {"function": str, "parameters": dict, "steps": int, "status": (str, list), "message": str}


def is_result(result: dict[str, Any]) -> bool:
    """Whether the content of a file says what every result does."""
    if not all(isinstance(result.get(key), kind) for key, kind in EXPECTED.items()) or "rmse" not in result:
        return False
    values = result["parameters"]
    several = is_batch(result)
    return bool(values) and all(
        isinstance(value, list) if several else value is None or isinstance(value, int | float)
        for value in values.values()
    )
