"""Histograms of a network's weights, untrained beside trained, on shared bins."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from poolstudy.figures.style import COLOURS, INK, NEUTRAL, SMALL, new_figure, plain
from poolstudy.model import Weights
from poolstudy.space import Pooling

_BINS = 41


def weights_histogram(untrained: Weights, trained: Weights, pooling: Pooling, heading: str) -> Figure:
    """One panel per weight of the network, kernels and biases."""
    columns = 2
    rows = math.ceil(len(trained) / columns)
    height = 0.6 + 1.7 * rows
    figure = new_figure(6.4, height, heading)
    figure.subplots_adjust(left=0.1, right=0.98, top=1 - 0.45 / height, bottom=0.4 / height, wspace=0.25, hspace=0.65)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, name in zip(panels, trained, strict=False):
        _histogram(plain(axes, 8), untrained[name], trained[name], COLOURS[pooling], size=7)
        shape = " x ".join(map(str, trained[name].shape))
        axes.set_title(f"{name.replace('/', ' ')} ({shape})", fontsize=8, loc="left", color=INK)
    return figure


def layer_histogram(name: str, untrained: Weights, trained: Weights, pooling: Pooling, heading: str) -> Figure:
    """One weight alone, drawn to be read at 256 pixels."""
    figure = new_figure(SMALL, 2.6, heading)
    figure.subplots_adjust(left=0.18, right=0.97, top=0.9, bottom=0.17)
    axes = plain(figure.subplots(), 9)
    _histogram(axes, untrained[name], trained[name], COLOURS[pooling], size=9)
    return figure


def _histogram(
    axes: Axes, untrained: NDArray[np.float32], trained: NDArray[np.float32], colour: str, size: float
) -> None:
    bins = _shared_bins(untrained, trained)
    for values, name, style in (
        (untrained, "untrained", {"color": NEUTRAL, "histtype": "stepfilled", "alpha": 0.45}),
        (trained, "trained", {"color": colour, "histtype": "step", "linewidth": 1.6}),
    ):
        label = f"{name}\n{values.mean():+.3f} ± {values.std():.3f}"
        axes.hist(values.ravel(), bins=bins, label=label, **style)  # type: ignore[arg-type]
    axes.set_xlabel("weight", fontsize=size)
    axes.set_ylabel("count", fontsize=size)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))  # 150k: the label stays on the page
    axes.set_ylim(top=axes.get_ylim()[1] * 1.4)  # room for the legend above the bars
    axes.legend(fontsize=size - 1, frameon=False, loc="upper center", ncols=2, handlelength=1, columnspacing=1)


def _shared_bins(*arrays: NDArray[np.float32]) -> NDArray[np.float64]:
    """Edges that cover every value, with 0 in the middle of the middle bin."""
    reach = max(float(np.abs(array).max()) for array in arrays) or 1.0
    return np.linspace(-reach * 1.02, reach * 1.02, _BINS + 1)
