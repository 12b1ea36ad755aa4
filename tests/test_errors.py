"""What is said is one line that can be read whole."""

import pytest

from gd_lightning.errors import LONGEST, InputError
from gd_lightning.formula import Formula
from gd_lightning.resolve import resolve


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", " \n \r "])
def test_whatever_ends_a_line_is_a_space(end):
    assert str(InputError(f"given this{end}and that")) == "given this and that"


@pytest.mark.parametrize("read", [resolve, Formula])
@pytest.mark.parametrize("text", ["t" * 100_000, "a + " * 30_000, "`" + "x" * 1990, "nothing " * 200])
def test_of_what_is_too_long_both_ends_are_told(read, text):
    with pytest.raises(InputError) as caught:
        read(text)
    assert len(str(caught.value)) <= LONGEST
    assert str(caught.value).startswith(("function: given ", "formula "))


def test_a_message_of_ordinary_length_is_whole():
    said = "x " * (LONGEST // 2)
    assert str(InputError(said)) == said
    longer = str(InputError(f"y: given {said}, expected less"))
    assert longer.startswith("y: given x x ")
    assert longer.endswith("x , expected less")
