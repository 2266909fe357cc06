"""Histograms of a network's weights, untrained beside trained, on shared bins."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from poolstudy.figures.style import COLOURS, GREY_INK, INK, NEUTRAL, SMALL, new_figure, plain
from poolstudy.model import Weights
from poolstudy.space import Pooling

_BINS = 41


def weights_histogram(untrained: Weights, trained: Weights, pooling: Pooling, heading: str) -> Figure:
    """One panel per weight of the network, kernels and biases."""
    columns = 2
    rows = math.ceil(len(trained) / columns)
    height = 0.7 + 1.6 * rows
    figure = new_figure(6.4, height, heading)
    figure.subplots_adjust(left=0.1, right=0.98, top=1 - 0.45 / height, bottom=0.4 / height, wspace=0.2, hspace=0.5)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, name in zip(panels, trained, strict=False):
        _histogram(plain(axes, 8), untrained[name], trained[name], COLOURS[pooling], size=7)
        shape = " x ".join(map(str, trained[name].shape))
        axes.set_title(f"{name.replace('/', ' ')} ({shape})", fontsize=8, loc="left", color=INK)
    figure.text(0.54, 0.08 / height, "weight", ha="center", fontsize=8, color=INK)
    figure.text(0.008, 0.5, "count", va="center", rotation=90, fontsize=8, color=INK)
    return figure


def layer_histogram(name: str, untrained: Weights, trained: Weights, pooling: Pooling, heading: str) -> Figure:
    """One weight alone, drawn to be read at 256 pixels."""
    figure = new_figure(SMALL, SMALL, heading)
    figure.subplots_adjust(left=0.18, right=0.97, top=0.91, bottom=0.14)
    axes = plain(figure.subplots(), 9)
    _histogram(axes, untrained[name], trained[name], COLOURS[pooling], size=8)
    axes.set_xlabel("weight", fontsize=9)
    axes.set_ylabel("count", fontsize=9)
    return figure


def _histogram(
    axes: Axes, untrained: NDArray[np.float32], trained: NDArray[np.float32], colour: str, size: float
) -> None:
    bins = _shared_bins(untrained, trained)
    axes.hist(untrained.ravel(), bins=bins, color=NEUTRAL, histtype="stepfilled", alpha=0.45)
    axes.hist(trained.ravel(), bins=bins, color=colour, histtype="step", linewidth=1.6)
    # Texts, no legend: it would take as long as the histogram.
    for x, name, values, ink in ((0.27, "untrained", untrained, GREY_INK), (0.73, "trained", trained, colour)):
        text = f"{name}\n{values.mean():+.3f} ± {values.std():.3f}"
        axes.text(x, 0.99, text, ha="center", va="top", fontsize=size, color=ink, transform=axes.transAxes)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))  # 150k: the label stays on the page
    axes.set_ylim(top=axes.get_ylim()[1] * 1.4)  # room for the texts above the bars


def _shared_bins(*arrays: NDArray[np.float32]) -> list[float]:
    """Edges that cover every value, with 0 in the middle of the middle bin."""
    reach = max(float(np.abs(array).max()) for array in arrays) or 1.0
    return [float(edge) for edge in np.linspace(-reach * 1.02, reach * 1.02, _BINS + 1)]
