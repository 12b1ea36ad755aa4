"""The core imports without the shell, and imports run from shell to core only."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gd_lightning"
CORE = [
    "errors",
    "arrays",
    "scalars",
    "words",
    "terminal",
    "streams",
    "exit_codes",
    "command",
    "runs",
    "checkpoints",
    "checkpoint_shape",
    "imports",
    "yaml_text",
    "files",
    "functions",
    "listing",
    "guesses",
    "grid_search",
    "tape",
    "planes",
    "many_starts",
    "projection",
    "symmetries",
    "many",
    "several",
    "fitting_checks",
    "formula",
    "resolve",
    "parameters",
    "points",
    "least_squares",
    "conditioning",
    "starts",
    "curve",
    "losses",
    "optim",
    "residuals",
    "convergence",
    "between_bounds",
    "far_from_zero",
    "shortest",
    "levenberg_marquardt",
    "compiled",
    "milestones",
    "summary",
    "landscape",
    "descent",
    "uncertainty",
    "goodness",
    "residual_checks",
    "cautions",
    "doubles",
    "export",
    "formula_text",
    "saved",
    "frames",
    "digits",
    "report_cells",
    "report_words",
    "report",
    "report_formats",
    "report_command",
    "versions",
    "result",
    "fitting",
    "race",
    "sweep_members",
    "sweep_result",
    "sweep",
    "batch",
    "profile_search",
    "profile",
    "bootstrap",
    "cross_validation",
    "comparison_table",
    "comparison_words",
    "comparison_row",
    "comparison_fits",
    "comparison_ranking",
    "comparison",
]
SHELL_LIBRARIES = ["lightning", "torchmetrics", "pyarrow", "jsonargparse", "matplotlib", "rich", "tensorboard"]


def test_fit_in_a_fresh_process_imports_no_shell():
    code = (
        "import sys; from gd_lightning import fit; fit('linear', [0, 1], [0, 1], steps=1); "
        f"print([name for name in {SHELL_LIBRARIES} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout.strip() == "[]"


def test_the_command_line_does_not_import_pandas():
    """Arrow does where it can as soon as it makes an array, and takes a third of a second for it."""
    code = "import sys, gd_lightning.cli; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout.strip() == "False"


def imported(module):
    """Modules of this package that a file imports when it is imported; what a function imports is its own affair."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "gd_lightning":
            names |= {f"gd_lightning.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return {name.partition(".")[2] for name in names if name.startswith("gd_lightning.")}


@pytest.mark.parametrize("module", CORE)
def test_the_core_imports_the_core(module):
    assert imported(module) <= set(CORE)


@pytest.mark.parametrize("module", ["functions", "losses", "optim"])
def test_the_ideas_of_the_core_do_not_import_one_another(module):
    assert imported(module) <= {"errors", "guesses", "listing", "scalars"}


def test_the_version_is_told_without_importing_torch():
    code = "import sys; sys.argv = ['gd-lightning', '--version']; from gd_lightning.__main__ import main; "
    code += "code = main(); print('torch' in sys.modules); sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    version, torch_imported = done.stdout.splitlines()
    assert version.startswith("gd-lightning 0.")
    assert torch_imported == "False"


@pytest.mark.parametrize("args", [[], ["gaussian"]])
def test_families_are_listed_without_importing_torch(args):
    code = f"import sys; from gd_lightning.__main__ import main; code = main(['functions', *{args}]); "
    code += "print('torch' in sys.modules); sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    *text, torch_imported = done.stdout.splitlines()
    assert (
        "    y = amplitude*exp(-(t - center)**2/(2*width**2))" in text or "parameters: amplitude, center, width" in text
    )
    assert torch_imported == "False"


@pytest.mark.parametrize("form", ["text", "json", "md", "latex"])
def test_a_run_is_reported_without_importing_torch(form, article_run):
    code = f"import sys; from gd_lightning.__main__ import main; code = main(['report', '--format={form}']); "
    code += "print([name for name in ('torch', 'numpy', 'lightning', 'rich') if name in sys.modules]); sys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=article_run.folder,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )
    *text, imported = done.stdout.splitlines()
    assert len(text) > 10
    assert imported == "[]"


TREES = {path.stem: ast.parse(path.read_text()) for path in sorted(PACKAGE.glob("*.py"))}
FOLDERS = ["gd_lightning", "tests", "docs", "benchmarks", "examples", "configs"]
READERS = [
    *PACKAGE.parent.glob("*.md"),
    *(
        path
        for folder in FOLDERS
        for end in ("py", "md", "yaml")
        for path in PACKAGE.parent.glob(f"{folder}/**/*.{end}")
    ),
]


def defined(module):
    """What a module defines at its top level."""
    names = set()
    for node in TREES[module].body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return names


def public(module):
    """What stands in a module's `__all__`."""
    for node in TREES[module].body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return ast.literal_eval(node.value)
    return []


def taken(tree):
    """Each name that a file takes from a module of this package: imported from it, or as an attribute of it."""
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "gd_lightning":
            modules |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name in TREES}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gd_lightning."):
            yield from ((node.module.removeprefix("gd_lightning."), alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield modules[node.value.id], node.attr


def told(tree):
    """The names in annotations: what a module's functions take and return, and its records hold."""
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            if getattr(node, field, None) is not None:
                yield from re.findall(r"\w+", ast.unparse(getattr(node, field)))


@pytest.fixture(scope="module")
def used():
    """Pairs of a module and a name that some other file takes from it, be it in a text."""
    pairs = set()
    for path in READERS:
        text = path.read_text()
        found = set(re.findall(r"gd_lightning\.(\w+)\.(\w+)", text))
        for module, names in re.findall(r"from gd_lightning\.(\w+) import ([\w, ]+)", text):
            found |= {(module, name) for name in re.findall(r"\w+", names)}
        if path.suffix == ".py":
            found |= set(taken(ast.parse(text)))
        pairs |= {pair for pair in found if path != PACKAGE / f"{pair[0]}.py"}
    return pairs


@pytest.mark.parametrize("module", TREES)
def test_modules_are_imported_in_one_way(module):
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.partition(".")[0] == "gd_lightning"]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0


@pytest.mark.parametrize("module", TREES)
def test_what_is_imported_is_public_where_it_comes_from(module):
    tree = TREES[module]
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    from_modules = [(node.module, alias.name) for node in imports for alias in node.names]
    for source, name in from_modules:
        if source == "gd_lightning":
            assert name in TREES or name in {"__all__", "__version__"}
        elif (source or "").startswith("gd_lightning."):
            assert name in public(source.removeprefix("gd_lightning."))


@pytest.mark.parametrize("module", sorted(TREES.keys() - {"__init__", "__main__"}))
def test_what_is_public_is_defined_there_and_used_elsewhere(module, used):
    assert set(public(module)) <= defined(module)
    if (module, "__all__") not in used:  # of functions and rules any one may be named in a text
        assert [name for name in public(module) if (module, name) not in used and name not in told(TREES[module])] == []


@pytest.mark.parametrize("module", TREES)
def test_what_is_not_public_is_used(module, used):
    own = {node.id for node in ast.walk(TREES[module]) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert {
        name
        for name in defined(module) - set(public(module)) - own
        if not name.startswith("__") and (module, name) not in used
    } == set()
