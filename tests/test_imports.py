"""The core imports without the shell, and imports run from shell to core only."""

import ast
import os
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
    "exit_codes",
    "command",
    "runs",
    "checkpoints",
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
