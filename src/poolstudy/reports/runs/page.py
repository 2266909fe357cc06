"""A comparison as a page: what differs, what was reached, and below it the sections."""

import math
from collections.abc import Sequence

from poolstudy.reports.html import page
from poolstudy.reports.runs import comparison as compared
from poolstudy.reports.runs import networks, predictions
from poolstudy.reports.runs.comparison import ComparedRun, Comparison

_ON_PAPER = 5  # runs that stand side by side on a page of paper


def comparison_page(comparison: Comparison) -> str:
    """The whole page."""
    differing, same = compared.settings_of(comparison.entries)
    sections = [*networks.sections(comparison), *predictions.sections(comparison)]
    return page(
        "compare.html",
        {
            "title": _title(comparison.entries),
            "comparison": comparison,
            "noise": _noise(comparison.entries),
            "told": any(entry.notes for entry in comparison.entries),
            "many": len(comparison.entries) > _ON_PAPER,
            "differing": differing,
            "same": same,
            "metrics": compared.metrics_of(comparison.entries),
            "sections": [section for section in sections if section.lines],
            "ghosts": networks.ghosts(comparison.entries),
        },
    )


def _title(entries: Sequence[ComparedRun]) -> str:
    studies = list(dict.fromkeys(entry.study for entry in entries))
    return f"{len(entries)} runs of {' and '.join(studies) if len(studies) < 3 else f'{len(studies)} studies'}"


def _noise(entries: Sequence[ComparedRun]) -> str:
    """How far accuracies are uncertain: the standard error of a share, sqrt(p (1 - p) / N)."""
    best = max((entry for entry in entries if entry.data), key=_accuracy, default=None)
    if best is None or best.data is None or not _accuracy(best):
        return "small differences may be chance."
    accuracy, images = _accuracy(best), best.data.validation_images
    error = math.sqrt(accuracy * (1 - accuracy) / images)
    return (
        f"on {images:,} validation images an accuracy of {accuracy:.3f} has a standard error of {error:.4f}, and "
        "another seed moves it too. Differences of that size may be chance."
    )


def _accuracy(entry: ComparedRun) -> float:
    return entry.metrics.get("best_val_accuracy", 0.0)
