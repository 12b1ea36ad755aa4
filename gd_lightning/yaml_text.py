"""YAML from somebody else: keys, values and text, as many as a person writes."""

import reprlib
from collections.abc import Callable
from typing import Any

import yaml

__all__ = ["bounded", "load"]

MOST_LETTERS = 10**7
MOST_VALUES = 10**5  # an alias counts as all that it stands for: nine lines of them can stand for 10**9 values
DEEPEST = 30
# how YAML fails on what has the tag or the form of a number or date and is none
WRONG_VALUES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


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
    except WRONG_VALUES as error:
        raise yaml.YAMLError(_first_wrong(text) or f"a value cannot be read: {error}") from None
    if isinstance(value, dict | list):
        _count(value, {}, 0)
    return value


def _first_wrong(text: str) -> str | None:
    """Which value cannot be read, and in which line it stands."""
    loader = yaml.SafeLoader(text)
    while loader.check_event():
        event = loader.get_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.ScalarEvent):
            tag = event.tag or loader.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
            try:
                loader.construct_object(yaml.ScalarNode(tag, event.value))
            except yaml.YAMLError:
                pass
            except WRONG_VALUES:
                line = 0 if event.start_mark is None else event.start_mark.line
                value, kind = reprlib.repr(event.value), tag.rpartition(":")[2]
                return f"line {line + 1}: {value} cannot be read as {kind}; put text in quotes"
    return None


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
