"""Every page says what is so: its commands in their order, its Python, what both print, its links."""

import re
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ARTICLE_RMSE, ROOT, forked, gd_lightning
from pyarrow import csv

from gd_lightning import compare

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# What is told to be typed and not run here: it would install packages, asks for machines of a cluster, or serves until
# it is stopped, as test_browser.py does.
NOT_RUN = ("make", "pip", "source", "torchrun", "srun", "tensorboard")

README = (ROOT / "README.md").read_text()
STALLS = (ROOT / "docs" / "why-it-stalls.md").read_text()
CHOOSING = (ROOT / "docs" / "choosing-a-function.md").read_text()


class Block(NamedTuple):
    """What stands between two fences: `python` is run, `python my_curves.py` is a file, `text` is what was printed."""

    language: str
    file: str
    content: str


def blocks(page):
    found = re.findall(r"^```(\w*) *(\S*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [Block(*parts) for parts in found]


def run_bash(commands, folder):
    """What the commands of a block print, one after the other, each in a process of its own."""
    printed = []
    for line in commands.splitlines():
        if not (typed := shlex.split(line, comments=True)) or typed[0] in NOT_RUN:
            continue
        program, *args = typed
        if program == "python":
            done = subprocess.run(
                [sys.executable, *args], cwd=folder, check=True, capture_output=True, text=True, timeout=300
            )
            printed.append(done.stdout)
            continue
        assert program == "gd-lightning", line
        done = gd_lightning(*args, cwd=folder) if "ddp" in args else forked(*args, cwd=folder)
        assert (done.code, done.err) == (0, ""), line
        printed.append(done.out)
    return "".join(printed)


def run_python(code, names):
    """What a block prints, after those before it on its page."""
    with redirect_stdout(StringIO()) as printed:
        exec(code, names)
    return printed.getvalue()


def assert_told(shown, printed):
    """What a page shows is what is printed, line by line in the same order; `...` stands for lines left out."""
    printed = [" ".join(line.split()) for line in printed.splitlines()]
    at = 0
    for line in filter(None, (" ".join(line.split()) for line in shown.splitlines())):
        if line == "...":
            continue
        assert line in printed[at:], f"{line!r} is not in:\n" + "\n".join(printed[at:])
        at = printed.index(line, at) + 1


@pytest.mark.no_cover
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    for folder in ("configs", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names, printed = {"__name__": "page"}, ""
    for block in blocks(page):
        monkeypatch.delitem(sys.modules, Path(block.file).stem, raising=False)
        if block.file:
            Path(block.file).write_text(block.content)
        elif block.language == "bash":
            printed = run_bash(block.content, tmp_path)
        elif block.language == "python":
            printed = run_python(block.content, names)
        else:
            assert block.language == "text", f"neither run nor what is printed: {block}"
            assert_told(block.content, printed)
    for picture in re.findall(r'savefig\("(.+?)"\)', page.read_text()):
        assert Path(picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_a_page_says_where_to_go_next(page):
    *_, last = page.read_text().strip().split("\n\n")
    assert re.search(r"(Next: |New here\? ).*\]\(", last, re.DOTALL)


def test_the_table_of_contents_has_every_page():
    contents = (ROOT / "docs" / "README.md").read_text()
    listed = re.findall(r"^\d+\. .*?\]\((.+?)\)", contents, re.MULTILINE)
    assert sorted([*listed, "README.md"]) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_stand_in_blocks_that_are_run(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert not re.findall(r"^    (?:gd-lightning|python) .*", text, re.MULTILINE)


def test_the_ten_numbers():
    assert re.findall(r"^\| (\d+) \| ([\d.]+) \|$", README, re.MULTILINE) == [
        (str(step), repr(rmse)) for step, rmse in enumerate(ARTICLE_RMSE, start=1)
    ]


@pytest.mark.parametrize("page", [README, STALLS], ids=["README.md", "why-it-stalls.md"])
def test_what_the_run_says_of_itself(page, article_run):
    [block] = [block for block in re.findall(r"(?:^    .*\n)+", page, re.MULTILINE) if "Try: " in block]
    lines = [line[4:] for line in block.splitlines() if line.strip() != "..."]
    assert len(lines) >= 4
    assert set(lines) <= set(article_run.out.splitlines())


@pytest.mark.parametrize(
    ("page", "data"),
    [(README, ("stopping_distance", "speed", "dist")), (CHOOSING, ("transmittance", "wavelength", "transmittance"))],
    ids=["README.md", "choosing-a-function.md"],
)
def test_what_a_comparison_says(page, data):
    """The tables and sentences, whatever their spaces and ends of line."""
    table, t, y = data
    columns = csv.read_csv(ROOT / "examples" / f"{table}.csv").to_pydict()
    told = re.sub(r"\s+", " ", str(compare(columns[t], columns[y])))
    [block] = [block for block in re.findall(r"(?:^(?:    .*)?\n)+", page, re.MULTILINE) if "AICc  differs" in block]
    parts = [" ".join(part.split()) for part in re.split(r"^    \.\.\.$", block, flags=re.MULTILINE)]
    assert len(parts) == 2
    assert all(part in told for part in parts)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    for target, heading in re.findall(r"\]\(([^)#]*)(#[^)]+)?\)", page.read_text()):
        if not target.startswith("https://"):
            found = page.parent / target if target else page
            assert found.exists(), target
            if heading:
                assert heading in anchors(found), heading


def anchors(page):
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_names_in_the_table_are_in_the_files():
    phrases = re.findall(r"((?:`[^`]+`(?: and )?)+) in \[[^\]]+\]\(([^)]+)\)", README)
    named = [(name, path) for names, path in phrases for name in re.findall(r"`(\w+)`", names)]
    assert len(named) >= 6
    for name, path in named:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), (name, path)


def test_the_tree_of_folders_is_true():
    told = set(re.findall(r"^    (\w+)/  ", README, re.MULTILINE))
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    assert not kept or told == {path.partition("/")[0] for path in kept if "/" in path and path[0] != "."}
    assert told == {name for name in told if (ROOT / name).is_dir()}
