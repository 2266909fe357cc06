"""An issue that the doctor finds, and its fix."""

from collections.abc import Callable
from dataclasses import dataclass

from poolstudy.checks.finding import Finding


@dataclass(frozen=True, eq=False)
class Fix:
    """An action of `--fix`; `what` describes it, as "closes …". Several issues may share one."""

    what: str
    do: Callable[[], object]


@dataclass(frozen=True)
class Issue:
    """A finding, and its fix if there is one."""

    finding: Finding
    fix: Fix | None = None

    @property
    def wrong(self) -> bool:
        """Whether it is a disagreement, and no mere note."""
        return self.finding.mark == "error"


def wrong(subject: str, found: str, remedy: str | Fix) -> Issue:
    """Return a disagreement; its remedy is a fix, or what a person can do."""
    if isinstance(remedy, Fix):
        return Issue(Finding("error", subject, found, f"doctor --fix {remedy.what}"), remedy)
    return Issue(Finding("error", subject, found, remedy))


def note(subject: str, found: str, remedy: str = "") -> Issue:
    """Return something that is no disagreement, or will be none."""
    return Issue(Finding("warning", subject, found, remedy))
