import numpy as np
import pytest

from gd_lightning.words import counts, listed, naming, plural


def test_names_in_a_list():
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


@pytest.mark.parametrize(
    ("rows", "names", "text"),
    [
        ([0, 2], (), "in 2 of 9 series (1, 3)"),
        ([0, 2], tuple("abcdefghi"), "in 2 of 9 series (a, c)"),
        (range(5), (), "in 5 of 9 series (1, 2, 3, 4, 5)"),
        (np.arange(6), (), "in 6 of 9 series (1, 2, 3, 4, 5, ...)"),
    ],
    ids=["numbers", "names", "all that fit", "more than fit"],
)
def test_which_series(rows, names, text):
    assert naming(rows, 9, names) == text


def test_things_with_their_number():
    assert [plural(number, "step") for number in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]


def test_how_many_there_are_of_each():
    assert counts(["b", "c", "a", "c"]) == "2 c, 1 a, 1 b"
