"""The result of one check, and an issue of the doctor: a result with its fix."""

from collections.abc import Callable
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


@dataclass(frozen=True, eq=False)
class Fix:
    """An action of `doctor --fix`; `what` describes it, as "closes …". Several issues may share one."""

    what: str
    do: Callable[[], object]


@dataclass(frozen=True)
class Issue:
    """A finding of the doctor, and its fix if there is one."""

    finding: Finding
    fix: Fix | None = None


def wrong(subject: str, found: str, remedy: str | Fix) -> Issue:
    """Return a disagreement; its remedy is a fix, or what a person can do."""
    if isinstance(remedy, Fix):
        return Issue(Finding("error", subject, found, f"doctor --fix {remedy.what}"), remedy)
    return Issue(Finding("error", subject, found, remedy))


def note(subject: str, found: str, remedy: str = "") -> Issue:
    """Return something that is no disagreement, or will be none."""
    return Issue(Finding("warning", subject, found, remedy))


def some(number: int, one: str, more: str = "") -> str:
    """Return a count with its noun: "2 studies", "1 study"."""
    return f"{number} {one if number == 1 else more or f'{one}s'}"
