"""The command check: whether this machine has what a study needs, and what to do if not. Nothing is downloaded."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from poolstudy.checks.finding import Finding, Mark
from poolstudy.checks.machine.gpus import asking_tensorflow, tensorflow
from poolstudy.checks.machine.software import packages, program_dot, python
from poolstudy.checks.machine.storage import data, disk_space, optuna_store, tracking_store
from poolstudy.spec.config import StudyConfig
from poolstudy.terminal.console import encodable

_MARKS: dict[Mark, tuple[str, str, str]] = {
    "ok": ("✓", "ok", "green"),
    "warning": ("!", "!", "yellow"),
    "error": ("✗", "x", "bold red"),
}
"""Each mark as it is printed, in ASCII, and its colour."""


def check_machine(config: StudyConfig, root: Path, console: Console) -> bool:
    """Print a line for each thing a study needs; return whether none is missing.

    Raises:
        ConfigurationError: the data do not fit the settings.
    """
    works = True
    with asking_tensorflow() as asked:  # it imports TensorFlow while the rest is checked
        for finding in _findings(config, root, asked):
            print_finding(finding, console)
            works = works and finding.mark != "error"
    return works


def _findings(config: StudyConfig, root: Path, asked: "subprocess.Popen[str]") -> Iterator[Finding]:
    yield python()
    yield from packages("poolstudy")
    yield program_dot()
    yield data(config.data, root)
    yield tracking_store(config.tracking.uri, root)
    yield optuna_store(root / "mlruns" / "optuna.db")
    yield disk_space(root / "mlruns", config)
    yield from tensorflow(asked, config.execution)


def print_finding(finding: Finding, console: Console) -> None:
    """Print one line; in a terminal a table's row, whose text wraps beside its subject."""
    mark, plain, colour = _MARKS[finding.mark]
    first = Text(encodable(console, mark, plain), colour)
    line = finding.found + (f"; {finding.remedy}" if finding.remedy else "")
    if not console.is_terminal:  # one line each, for programs
        console.print(Text.assemble(first, f" {finding.subject:<10}  {line}"), soft_wrap=True)
        return
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(min_width=1)
    table.add_column(min_width=10, no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(first, finding.subject, Text(line))
    console.print(table)
