"""`gd-lightning functions`: the families, or one function in full."""

import inspect
from collections.abc import Sequence

from gd_lightning.command import answered
from gd_lightning.exit_codes import WRONG_INPUT
from gd_lightning.listing import Family, families
from gd_lightning.terminal import complain, say

__all__ = ["description", "run"]

USAGE = """\
usage: gd-lightning functions [NAME]

Lists the families of functions, or shows one of them in full. NAME may also be a formula, such as
"a*exp(-t/tau) + c", or an import path, such as my_curves.damped: it is shown as it is understood.
--allow-import MODULE lets the path lead out of this folder."""

NOTE = """\
(a function that is linear in its parameters starts at random, unless with --model.start data, or where a table is
fitted without start and lr)"""


def description(documentation: str) -> str:
    """The sentence of a docstring that says what the function is: the first after its equation."""
    text = " ".join(documentation.split("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".") + "." if text else ""


def listing() -> str:
    """All families, each with its formula, its parameters and what it is."""
    lines = []
    for name, family in families().items():
        shown = "polynomial, or polynomial(7) for another degree" if name == "polynomial" else name
        lines += [shown, f"    {family.equation}", f"    parameters: {', '.join(family.parameters)}"]
        lines += [f"    {description(family.documentation)}", ""]
    return "\n".join(lines)


def one(text: str) -> str:
    """One function: its equation, its arguments and, where it has one, its documentation."""
    family = families().get(text.strip())
    return told(family) if family is not None else other(text)


def told(family: Family) -> str:
    """A family in full."""
    lines = [f"{family.name}: {family.equation}", "", f"parameters: {', '.join(family.parameters)}"]
    lines += [f"defined for {family.domain}"] if family.domain else []
    where = "from a guess from the data" if family.guesses else "from the best of many random starts"
    lines += [f"it starts {where}, or at random with --model.start random", NOTE, ""]
    return "\n".join([*lines, family.documentation]).strip()


def other(text: str) -> str:
    """A formula, an import path or a polynomial in full; for which torch is imported."""
    from gd_lightning.formula import Formula
    from gd_lightning.resolve import arguments, equation, function_name, parameter_names, resolve

    function = resolve(text)
    if not isinstance(function, Formula):
        _, _, documentation = (inspect.getdoc(function) or "").partition("\n\n")
        domain, guesses = getattr(function, "domain", ""), hasattr(function, "guess")
        names = parameter_names(function)
        return told(Family(function_name(function), equation(function), names, documentation.strip(), domain, guesses))
    lines = [f"{function_name(function)}: {equation(function)}", "", f"names: {', '.join(arguments(function))}"]
    lines.append("Those that are columns of the data are predictors, the others parameters.")
    return "\n".join(lines)


def run(args: Sequence[str]) -> int:
    """Run the command; its exit code is 0, or 2 where there is no such function."""
    if args in (["--help"], ["-h"]):
        print(USAGE)
        return 0
    if len(args) > 1 or (args and args[0].startswith("--")):
        given = " ".join(args)
        complain(f"functions: given {given!r}, expected one name; quote a formula")
        return WRONG_INPUT
    return answered(lambda: say(one(args[0]) if args else listing()))
