"""With which versions something was computed."""

import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["versions"]


def versions() -> dict[str, str]:
    """The versions of Python, of this package, and of what computes for it, as far as installed."""
    found = {"python": platform.python_version()}
    for package in ("gd-lightning", "torch", "lightning", "torchmetrics"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
