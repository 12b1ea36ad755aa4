"""YAML from somebody else: keys, values and text, as many as a person writes."""

from collections.abc import Callable
from typing import Any

import yaml

__all__ = ["bounded", "load"]

MOST_LETTERS = 10**7
MOST_VALUES = 10**5  # an alias counts as all that it stands for: nine lines of them can stand for 10**9 values
DEEPEST = 30


def load(text: str) -> Any:
    """What a text says.

    Raises:
        yaml.YAMLError: it is no YAML, has a tag that would run code, or says too much.
    """
    return bounded(yaml.safe_load, text)


def bounded(read: Callable[[str], Any], text: str) -> Any:
    """What a reader makes of a text that may be hostile.

    Raises:
        yaml.YAMLError: the reader's; that a value is none of its kind, such as the date 2021-99-99; or that the text is
            too long, or what it stands for too large or nested too deeply.
    """
    if len(text) > MOST_LETTERS:
        raise yaml.YAMLError(f"{len(text):,} letters, expected at most {MOST_LETTERS:,}")
    try:
        value = read(text)
    except RecursionError:
        raise yaml.YAMLError(f"nested too deeply, expected at most {DEEPEST} levels") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # how YAML fails on what is no number or date, and has the tag or the form of one
        raise yaml.YAMLError(f"a value that cannot be read: {error}") from None
    if isinstance(value, dict | list):
        _count(value, {}, 0)
    return value


def _count(value: Any, counted: dict[int, int], depth: int) -> int:
    """How many values a value stands for, where each alias is written out."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in counted:
        if depth == DEEPEST:
            raise yaml.YAMLError(f"nested too deeply, expected at most {DEEPEST} levels")
        inner = value.values() if isinstance(value, dict) else value
        counted[id(value)] = 1 + sum(_count(one, counted, depth + 1) for one in inner)
        if counted[id(value)] > MOST_VALUES:
            raise yaml.YAMLError(f"its aliases stand for more than {MOST_VALUES:,} values")
    return counted[id(value)]
