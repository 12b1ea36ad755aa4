"""What is said when the input is wrong: one line with what was given, what was expected, and what to try."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["InputError", "one_line", "suggest"]

ENDS_OF_LINES = re.compile("\\s*[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]\\s*")  # what `str.splitlines` goes by
LONGEST = 1000  # characters of a message, of which a user's formula or the names of many columns may be a part


class InputError(ValueError):
    """The input cannot be used; the message is one line that a user can act on.

    The command line prints it and exits with code 2; in Python it is an ordinary `ValueError`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(message: str) -> str:
    """A message on one line, for those of others, which are a part of some, have several; of a long one both ends."""
    message = ENDS_OF_LINES.sub(" ", message)
    return message if len(message) <= LONGEST else f"{message[: LONGEST // 2]} ... {message[-LONGEST // 3 :]}"


def suggest(given: str, known: Iterable[str]) -> str:
    """Name the known spelling nearest to the given one, else all of them.

    Args:
        given: what was typed.
        known: the accepted spellings.

    Returns:
        `"did you mean 'quadratic'?"`, or `"choose from cubic, linear, quadratic"` when nothing is near.
    """
    known = sorted(set(known))
    given = str(given)
    near = get_close_matches(given, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
