"""`carryover version`: what is installed here, for a bug report."""

from __future__ import annotations

import platform

from carryover import __version__
from carryover.cli import options
from carryover.cli.output import print_document, print_lines

PACKAGES = ("torch", "numpy", "safetensors", "tokenizers", "scikit-learn", "scipy")


def version(
    as_json: options.Json = False,
) -> None:
    """Show the versions of carryover, Python and what both build on."""
    from importlib.metadata import PackageNotFoundError  # slow to import, and no other verb needs it
    from importlib.metadata import version as installed

    versions = {"carryover": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            versions[package] = installed(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    if as_json:
        print_document({"schema": "carryover.version/1", "versions": versions})
    else:
        print_lines(f"{name} {number}" for name, number in versions.items())
