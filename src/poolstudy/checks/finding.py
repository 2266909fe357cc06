"""What a look at one thing gives."""

from dataclasses import dataclass
from typing import Literal

Mark = Literal["ok", "warning", "error"]
SETUP = "run: make setup"


@dataclass(frozen=True)
class Finding:
    """One line: "ok", works but "warning", or "error" something; what was found, and what to do."""

    mark: Mark
    subject: str
    found: str
    remedy: str = ""


def some(number: int, one: str, more: str = "") -> str:
    """2 as "2 studies", 1 as "1 study"."""
    return f"{number} {one if number == 1 else more or f'{one}s'}"
