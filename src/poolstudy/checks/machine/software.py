"""The software: Python, the packages, Graphviz."""

import contextlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from poolstudy.checks.finding import SETUP, Finding
from poolstudy.errors import one_line


def python() -> Finding:
    """Check that the package supports this Python."""
    version = sys.version.split()[0]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        asked = importlib.metadata.metadata("poolstudy")["Requires-Python"]
        if not SpecifierSet(asked).contains(version, prereleases=True):
            return Finding("error", "Python", f"{version}; expected {asked}", "make setup PYTHON=python3.11")
    return Finding("ok", "Python", version)


def packages(package: str) -> Iterator[Finding]:
    """Check that every package that an installed one requires is there in a version that fits."""
    try:
        requirements = [Requirement(text) for text in importlib.metadata.requires(package) or []]
    except importlib.metadata.PackageNotFoundError:
        yield Finding("warning", "packages", f"{package} is not installed, so its requirements are unknown", SETUP)
        return
    fitting = []
    for asked in requirements:
        if asked.marker and not asked.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(asked.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("error", "packages", f"no {asked.name}; expected {asked.specifier or 'any version'}", SETUP)
            continue
        if asked.specifier.contains(version, prereleases=True):
            fitting.append(f"{asked.name} {version}")
        else:
            yield Finding("error", "packages", f"{asked.name} {version}; expected {asked.specifier}", SETUP)
    yield Finding("ok", "packages", ", ".join(fitting) or "none is needed")


def program_dot() -> Finding:
    """Check that Graphviz' program answers."""
    try:
        done = subprocess.run(["dot", "-V"], capture_output=True, text=True, timeout=30, check=True)
    except FileNotFoundError:
        return Finding("error", "dot", "no such program; Graphviz draws the diagrams", f"install graphviz, or {SETUP}")
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("error", "dot", one_line(error), "install graphviz anew")
    return Finding("ok", "dot", one_line(done.stderr or done.stdout))
