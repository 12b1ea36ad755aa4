"""The pages that the project writes about itself are those that are kept."""

import importlib.util

import pytest
from conftest import ROOT

from gd_lightning import functions


@pytest.fixture(scope="module")
def draw():
    spec = importlib.util.spec_from_file_location("draw", ROOT / "docs" / "draw.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_families_is_what_they_say_of_themselves(draw):
    assert (ROOT / "docs" / "functions.md").read_text() == draw.page(), "run: python docs/draw.py"


def test_every_family_has_its_picture(draw):
    assert sorted(draw.EXAMPLES) == sorted(functions.__all__)
    for name in functions.__all__:
        assert (ROOT / "docs" / "functions" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_can_be_drawn(draw):
    assert draw.draw("gaussian").startswith(b"\x89PNG")
