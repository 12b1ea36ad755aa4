"""The pages that the project writes about itself are those that are kept, and what they say of the code is so."""

import importlib.util
import re
import shlex
import tomllib
from importlib.metadata import version

import pytest
from conftest import ROOT, forked
from test_readme import PAGES, blocks

from gd_lightning import functions
from gd_lightning.errors import InputError

DOCS = ROOT / "docs"
PACKAGE = ROOT / "gd_lightning"
ERRORS = DOCS / "errors.md"
DESIGN = (DOCS / "design.md").read_text()


def script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def draw():
    return script("draw")


def test_the_page_of_the_families_is_what_they_say_of_themselves(draw):
    assert (DOCS / "functions.md").read_text() == draw.page(), "run: python docs/draw.py"


def test_the_page_of_the_keys_is_what_the_commands_take():
    write = script("write")
    kept, written = (DOCS / "config-keys.md").read_text(), write.page()
    if f"lightning=={version('lightning')}\n" not in (ROOT / "constraints.txt").read_text():  # whose keys are others
        kept, written = (page.partition("## trainer")[0] for page in (kept, written))
    assert kept == written, "run: python docs/write.py"
    taken = {action.dest for parser in write.parsers().values() for action in write.actions(parser, "")}
    sections = {"help", "config", "print_config", "model", "model.seed", "data", "plots", "stopping", "trainer"}
    assert {key for key in taken - sections if f"\n| `{key}` |" not in written} == set()


def test_every_family_has_its_picture(draw):
    assert sorted(draw.EXAMPLES) == sorted(functions.__all__)
    for name in functions.__all__:
        assert (DOCS / "functions" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_can_be_drawn(draw):
    assert draw.draw("gaussian").startswith(b"\x89PNG")


def test_every_picture_is_shown_and_made_by_a_script(draw):
    shown = {
        (page.parent / picture).resolve()
        for page in PAGES
        for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text())
    }
    kept = set(DOCS.rglob("*.png"))
    assert kept == {picture for picture in shown if picture.is_relative_to(DOCS)}
    scripts = (DOCS / "draw.py").read_text() + (ROOT / "tests" / "test_browser.py").read_text()
    for picture in kept - {DOCS / "functions" / f"{name}.png" for name in draw.EXAMPLES}:
        assert re.search(rf"\b{re.escape(picture.stem)}\b", scripts), picture


# errors.md


def told():
    """Each row of the tables in errors.md: what is given, what it says, and the exit code of a command."""
    for section in re.split(r"^## ", ERRORS.read_text(), flags=re.MULTILINE)[1:]:
        code = re.search(r"^Exit code (\d+)\.$", section, re.MULTILINE)
        for given, says in re.findall(r"^\| `((?:fit\(|gd-lightning ).*?)` \| `(.+?)` \|", section, re.MULTILINE):
            yield given, says, int(code[1]) if code else None


TOLD = list(told())


def test_no_row_of_the_errors_is_overlooked():
    rows = re.findall(r"^\| `", ERRORS.read_text(), re.MULTILINE)
    assert len(TOLD) == len(rows) > 40


def files(folder):
    for block in blocks(ERRORS):
        if block.file:
            (folder / block.file).write_text(block.content)


@pytest.mark.parametrize(
    ("given", "says", "code"),
    [row for row in TOLD if row[0].startswith("gd-lightning")],
    ids=[given for given, *_ in TOLD if given.startswith("gd-lightning")],
)
def test_a_command_says_what_the_page_quotes(given, says, code, tmp_path):
    files(tmp_path)
    done = forked(*shlex.split(given)[1:], cwd=tmp_path)
    assert done.code == code
    [line] = done.err.splitlines()
    assert line.startswith("gd-lightning: error: ")
    assert says in line


@pytest.mark.parametrize(
    ("given", "says"),
    [row[:2] for row in TOLD if row[0].startswith("fit(")],
    ids=[f"{given}: {says}" for given, says, _ in TOLD if given.startswith("fit(")],
)
def test_a_call_says_what_the_page_quotes(given, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    [setting] = [block for block in blocks(ERRORS) if block.language == "python"]
    exec(setting.content, names)
    try:
        said = str(eval(given, names))
    except InputError as error:
        said = str(error)
    assert says in " ".join(said.split())


# design.md


def test_every_module_has_its_place_in_the_rooms():
    rooms = DESIGN.partition("## Rooms")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+\.py)` \|", rooms, re.MULTILINE)
    assert sorted(named) == sorted(path.name for path in PACKAGE.glob("*.py"))


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {re.match(r"[\w-]+", one)[0] for one in asked} - {project["name"]}
    section = DESIGN.partition("## Dependencies")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)) == names
