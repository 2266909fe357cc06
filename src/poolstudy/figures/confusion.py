"""What is taken for what, over the validation images."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poolstudy.figures.style import INK, SMALL, bare, new_figure, readable, shades
from poolstudy.space import Pooling

_MOST_NUMBERED = 20  # classes; with more of them a number in each cell could not be read


def confusion_counts(labels: NDArray[np.uint8], predicted: NDArray[np.intp], classes: int) -> NDArray[np.intp]:
    """(classes, classes): row the true class, column the predicted one."""
    return np.bincount(labels.astype(np.intp) * classes + predicted, minlength=classes**2).reshape(classes, classes)


def confusion_matrix(counts: NDArray[np.intp], class_names: tuple[str, ...], pooling: Pooling, heading: str) -> Figure:
    """Counts of images; the colour is the share of the true class, its square root, so that few are seen too."""
    classes = len(counts)
    figure = new_figure(6.4, 6.1, heading)
    axes = figure.add_axes((0.175, 0.015, 0.76, 0.8))
    _shares(axes, counts, pooling)
    names = [readable(name, label) for label, name in enumerate(class_names)]
    size = min(8.0, 8 * 20 / classes)
    axes.set_xticks(range(classes), names, rotation=45, ha="left", fontsize=size, parse_math=False)
    axes.set_yticks(range(classes), names, fontsize=size, parse_math=False)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0, labelcolor=INK)
    axes.set_ylabel("true class", fontsize=9, color=INK)
    right = int(np.trace(counts))
    axes.set_title(f"predicted class ({right:,} of {counts.sum():,} images right)", fontsize=9, color=INK)
    if classes <= _MOST_NUMBERED:
        _numbers(axes, counts, counts, size=7.5)
    return figure


def small_confusion_matrix(
    counts: NDArray[np.intp], class_names: tuple[str, ...], pooling: Pooling, heading: str
) -> Figure:
    """The same to be read at 256 pixels: percent of the true class, names cut short."""
    classes = len(counts)
    figure = new_figure(SMALL, SMALL, heading)
    axes = figure.add_axes((0.25, 0.01, 0.74, 0.8), anchor="N")
    percent = np.rint(100 * _share(counts)).astype(np.intp)
    _shares(axes, counts, pooling)
    if classes <= 12:
        names = [readable(name, label, limit=11) for label, name in enumerate(class_names)]
        axes.set_yticks(range(classes), names, fontsize=7, parse_math=False)
        axes.tick_params(length=0, pad=2, labelcolor=INK)
        _numbers(axes, percent, counts, size=7)
    figure.text(0.99, 0.91, "percent of the true class (row)", ha="right", va="top", fontsize=7.5, color=INK)
    return figure


def _share(counts: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), np.float64)


def _shares(axes: Axes, counts: NDArray[np.intp], pooling: Pooling) -> None:
    bare(axes).imshow(_share(counts), cmap=shades(pooling), norm=PowerNorm(0.5, 0, 1), interpolation="nearest")


def _numbers(axes: Axes, numbers: NDArray[np.intp], counts: NDArray[np.intp], size: float) -> None:
    share = _share(counts)
    for row, column in zip(*np.nonzero(numbers), strict=True):
        colour = "white" if share[row, column] > 0.4 else INK
        axes.text(column, row, f"{numbers[row, column]}", ha="center", va="center", fontsize=size, color=colour)
