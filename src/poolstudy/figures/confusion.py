"""Confusion matrices of the validation images."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poolstudy.figures.panel import Bounds, Panel, coloured, fitted
from poolstudy.figures.style import INK, SMALL, legible, new_figure, shades, write_text
from poolstudy.spec.space import Pooling

_Counts = NDArray[np.intp]
_MAX_NUMBERED, _MAX_NUMBERED_SMALL = 20, 12  # classes; with more, the cells are too small for numbers


def confusion_counts(labels: NDArray[np.uint8], predicted: _Counts, classes: int) -> _Counts:
    """Count images by true class (row) and predicted class (column)."""
    return np.bincount(labels.astype(np.intp) * classes + predicted, minlength=classes**2).reshape(classes, classes)


def confusion_matrix(counts: _Counts, class_names: tuple[str, ...], pooling: Pooling, heading: str) -> Figure:
    """Draw counts of images, coloured by the square root of their share of the true class: small shares show too."""
    figure, classes = new_figure(6.4, 6.1, heading), len(counts)
    panel = _cells(figure, (0.175, 0.015, 0.76, 0.8), counts, pooling)
    size = min(8.0, 8 * 20 / classes)
    right, up = panel.points(4, 4)
    for label, name in enumerate(class_names):
        text = legible(name, label)
        panel.text(-0.5 - right, label, text, size, ha="right", va="center")
        panel.text(label, -0.5 + up, text, size, ha="left", va="bottom", rotation=45, rotation_mode="anchor")
    write_text(figure, 0.012, 0.415, "true class", 9, va="center", rotation=90)
    correct = f"{int(np.trace(counts)):,} of {counts.sum():,}"
    write_text(figure, 0.555, 0.925, f"predicted class ({correct} images right)", 9, ha="center")
    if classes <= _MAX_NUMBERED:
        _write_numbers(panel, counts, counts, size=7.5)
    return figure


def small_confusion_matrix(counts: _Counts, class_names: tuple[str, ...], pooling: Pooling, heading: str) -> Figure:
    """Draw percentages of the true class, readable at 256 pixels."""
    figure = new_figure(SMALL, SMALL, heading)
    panel = _cells(figure, (0.25, 0.01, 0.74, 0.8), counts, pooling)
    if len(counts) <= _MAX_NUMBERED_SMALL:
        for label, name in enumerate(class_names):
            panel.text(-0.5 - panel.points(2)[0], label, legible(name, label, limit=11), 7, ha="right", va="center")
        _write_numbers(panel, np.rint(100 * _row_shares(counts)).astype(np.intp), counts, size=7)
    write_text(figure, 0.99, 0.91, "percent of the true class (row)", 7.5, ha="right", va="top")
    return figure


def _row_shares(counts: _Counts) -> NDArray[np.float64]:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), np.float64)


def _cells(figure: Figure, bounds: Bounds, counts: _Counts, pooling: Pooling) -> Panel:
    """Draw the coloured cells; the coordinates of a cell's middle are its column and row."""
    edges = (-0.5, len(counts) - 0.5)
    panel = Panel(figure, fitted(bounds, figure, counts.shape, "N"), edges, edges[::-1])
    panel.image(coloured(np.sqrt(_row_shares(counts)), shades(pooling), 0, 1))
    return panel


def _write_numbers(panel: Panel, numbers: _Counts, counts: _Counts, size: float) -> None:
    dark = _row_shares(counts) > 0.4
    for row, column in zip(*np.nonzero(numbers), strict=True):
        colour = "white" if dark[row, column] else INK
        panel.text(column, row, f"{numbers[row, column]}", size, colour, ha="center", va="center")
