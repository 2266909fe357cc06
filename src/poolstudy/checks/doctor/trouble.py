"""What the doctor finds, and what may be done about it."""

from collections.abc import Callable
from dataclasses import dataclass

from poolstudy.checks.finding import Finding


@dataclass(frozen=True, eq=False)
class Cure:
    """Something that `--fix` does: `what` says it, as "closes …", before it is done. Several troubles may share one."""

    what: str
    do: Callable[[], object]


@dataclass(frozen=True)
class Trouble:
    """A finding, and its cure if there is one."""

    finding: Finding
    cure: Cure | None = None

    @property
    def wrong(self) -> bool:
        """Whether it is a disagreement, and no mere note."""
        return self.finding.mark == "lacks"


def wrong(subject: str, found: str, remedy: str | Cure) -> Trouble:
    """A disagreement; its remedy is a cure, or what a person can do."""
    if isinstance(remedy, Cure):
        return Trouble(Finding("lacks", subject, found, f"doctor --fix {remedy.what}"), remedy)
    return Trouble(Finding("lacks", subject, found, remedy))


def note(subject: str, found: str, remedy: str = "") -> Trouble:
    """Something that is no disagreement, or will be none."""
    return Trouble(Finding("look", subject, found, remedy))
