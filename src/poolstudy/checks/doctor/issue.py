"""What the doctor finds, and what may be done about it."""

from collections.abc import Callable
from dataclasses import dataclass

from poolstudy.checks.finding import Finding


@dataclass(frozen=True, eq=False)
class Fix:
    """Something that `--fix` does: `what` says it, as "closes …", before it is done. Several troubles may share one."""

    what: str
    do: Callable[[], object]


@dataclass(frozen=True)
class Issue:
    """A finding, and its cure if there is one."""

    finding: Finding
    fix: Fix | None = None

    @property
    def wrong(self) -> bool:
        """Whether it is a disagreement, and no mere note."""
        return self.finding.mark == "error"


def wrong(subject: str, found: str, remedy: str | Fix) -> Issue:
    """A disagreement; its remedy is a cure, or what a person can do."""
    if isinstance(remedy, Fix):
        return Issue(Finding("error", subject, found, f"doctor --fix {remedy.what}"), remedy)
    return Issue(Finding("error", subject, found, remedy))


def note(subject: str, found: str, remedy: str = "") -> Issue:
    """Something that is no disagreement, or will be none."""
    return Issue(Finding("warning", subject, found, remedy))
