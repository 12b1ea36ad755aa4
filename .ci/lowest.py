"""Prints the lowest versions that pyproject.toml allows, as constraints for pip."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for line in project["dependencies"]:
    needed = Requirement(line)
    [lowest] = [bound.version for bound in needed.specifier if bound.operator == ">="]
    print(f"{needed.name}=={lowest}")
