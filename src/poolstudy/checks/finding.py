"""The result of one check."""

from dataclasses import dataclass
from typing import Literal

Mark = Literal["ok", "warning", "error"]
SETUP = "run: make setup"


@dataclass(frozen=True)
class Finding:
    """One line: its mark, what was checked, what was found, and what to do."""

    mark: Mark
    subject: str
    found: str
    remedy: str = ""


def some(number: int, one: str, more: str = "") -> str:
    """Return a count with its noun: "2 studies", "1 study"."""
    return f"{number} {one if number == 1 else more or f'{one}s'}"
