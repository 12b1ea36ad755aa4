"""YAML that is hostile or mistaken is refused as such, whatever its reader makes of it."""

import pytest
import yaml

from gd_lightning import yaml_text

WRONG = {
    "!!int x": "line 2: 'x' cannot be read as int",
    "!!int ''": "line 2: '' cannot be read as int",
    "!!float x": "line 2: 'x' cannot be read as float",
    "!!bool x": "line 2: 'x' cannot be read as bool",
    "!!timestamp x": "line 2: 'x' cannot be read as timestamp",
    "2021-99-99": "line 2: '2021-99-99' cannot be read as timestamp",
    "1" * 5000: "cannot be read as int",
}


@pytest.mark.parametrize("value", WRONG)
def test_what_is_no_number_or_date_is_named(value):
    with pytest.raises(yaml.YAMLError) as error:
        yaml_text.load(f"model:\n  {{lr: {value}}}")
    assert WRONG[value] in str(error.value)


def test_a_reader_with_kinds_of_its_own_is_heard():
    def read(text):
        raise ValueError("no such colour")

    with pytest.raises(yaml.YAMLError, match="no such colour"):
        yaml_text.bounded(read, "blau")


def test_what_is_right_is_read():
    text = "a: 1\nb: [2021-09-09, ~, 1e3, .inf, true]\nc: &c {x: 1}\nd: *c"
    assert yaml_text.load(text) == yaml.safe_load(text)


def test_a_text_that_nobody_writes_is_not_read():
    with pytest.raises(yaml.YAMLError, match="10,000,001 letters, expected at most 10,000,000"):
        yaml_text.load("a" * 10_000_001)
