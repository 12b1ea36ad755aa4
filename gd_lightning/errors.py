"""What is said when the input is wrong: one line with what was given, what was expected, and what to try."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["InputError", "suggest"]


class InputError(ValueError):
    """The input cannot be used; the message is one line that a user can act on.

    The command line prints it and exits with code 2; in Python it is an ordinary `ValueError`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(re.sub(r"\s*\n\s*", " ", message))  # others' messages, of which some are part, have several


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
