"""The README says what is so: its numbers, its commands in their order, its Python, its links."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import ARTICLE_RMSE, ROOT, forked, gd_lightning
from pyarrow import csv

from gd_lightning import compare

README = (ROOT / "README.md").read_text()
STALLS = (ROOT / "docs" / "why-it-stalls.md").read_text()
UNCERTAINTY = (ROOT / "docs" / "uncertainty.md").read_text()
CHOOSING = (ROOT / "docs" / "choosing-a-function.md").read_text()
MANY = (ROOT / "docs" / "many-series.md").read_text()


def blocks(language, page=README):
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


COMMANDS = [*blocks("bash"), *("".join(blocks("bash", page)) for page in (STALLS, UNCERTAINTY, CHOOSING, MANY))]


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


@pytest.mark.parametrize("block", COMMANDS, ids=range(len(COMMANDS)))
def test_the_commands_of_a_block_one_after_the_other(block, tmp_path):
    for folder in ("configs", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for line in block.splitlines():
        program, *args = shlex.split(line, comments=True)
        if program == "python":
            subprocess.run([sys.executable, *args], cwd=tmp_path, check=True)
            continue
        assert program == "gd-lightning"
        done = gd_lightning(*args, cwd=tmp_path) if "ddp" in args else forked(*args, cwd=tmp_path)
        assert (done.code, done.err) == (0, ""), line


@pytest.mark.parametrize("block", blocks("python"), ids=range(len(blocks("python"))))
def test_the_python(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    assert "RMSE" in capsys.readouterr().out
    [picture] = re.findall(r'savefig\("(.+)"\)', block)
    assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


PYTHON = [block for page in (UNCERTAINTY, CHOOSING, MANY) for block in blocks("python", page)]


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_the_python_of_the_pages(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "examples/README.md",
        "docs/functions.md",
        "docs/why-it-stalls.md",
        "docs/uncertainty.md",
        "docs/choosing-a-function.md",
        "docs/many-series.md",
        "docs/export.md",
        "docs/scikit-learn.md",
    ],
)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        if not target.startswith("https://"):
            assert ((ROOT / page).parent / target).exists(), target


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
