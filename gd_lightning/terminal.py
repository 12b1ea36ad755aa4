"""What goes to a terminal: text that only shows, and neither moves its cursor nor sets its title.

Names of columns, series and files come from whoever made them; their control characters are written out.
"""

import json
import sys

from gd_lightning.errors import one_line

__all__ = ["complain", "printable", "printable_json", "say", "warn"]


def printable(text: str) -> str:
    """The text without letters that would move a terminal's cursor, or that no encoding has."""
    return "".join(one if one == "\n" or one.isprintable() else ascii(one)[1:-1] for one in text)


def printable_json(text: str) -> str:
    """The same of JSON, which stays the same JSON."""
    return "".join(one if one in "\n\r\t" or one.isprintable() else json.dumps(one)[1:-1] for one in text)


def say(text: object) -> None:
    """Print a text as it is, but for its control characters."""
    print(printable(str(text)), flush=True)


def warn(of: object) -> None:
    """Say in one line on standard error what is to be known of a command that goes on."""
    _tell("warning", of)


def complain(problem: object) -> None:
    """Say in one line on standard error what is wrong."""
    _tell("error", problem)


def _tell(kind: str, what: object) -> None:
    sys.stderr.write(f"gd-lightning: {kind}: {printable(one_line(' '.join(str(what).split())))}\n")
