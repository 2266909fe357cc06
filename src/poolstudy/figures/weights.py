"""Histograms of a network's weights, untrained beside trained, on shared bins."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from numpy.typing import NDArray

from poolstudy.figures.panel import Bounds, Panel, round_ticks
from poolstudy.figures.style import GREY_INK, SMALL, new_figure, write_text
from poolstudy.network.weights import Weights
from poolstudy.spec.colours import COLOURS, NEUTRAL
from poolstudy.spec.space import Pooling

_BINS = 41


def weights_histogram(untrained: Weights, trained: Weights, pooling: Pooling, heading: str) -> Figure:
    """One panel per weight of the network, kernels and biases."""
    rows = -(-len(trained) // 2)
    height = 0.5 + 1.65 * rows
    figure = new_figure(6.4, height, heading)
    for index, name in enumerate(trained):
        row, column = divmod(index, 2)
        left, bottom = 0.1 + 0.475 * column, (height - 0.03 - 1.65 * (row + 1)) / height
        shape = " x ".join(map(str, trained[name].shape))
        write_text(figure, left, bottom + 1.2 / height, f"{name.replace('/', ' ')} ({shape})", 8)
        bounds = (left, bottom, 0.405, 1.13 / height)
        _histogram(figure, bounds, untrained[name], trained[name], COLOURS[pooling], size=7)
    write_text(figure, 0.54, 0.06 / height, "weight", 8, ha="center")
    write_text(figure, 0.008, 0.5, "count", 8, va="center", rotation=90)
    return figure


def layer_histogram(name: str, untrained: Weights, trained: Weights, pooling: Pooling, heading: str) -> Figure:
    """One weight alone, drawn to be read at 256 pixels."""
    figure = new_figure(SMALL, SMALL, heading)
    _histogram(figure, (0.18, 0.15, 0.79, 0.76), untrained[name], trained[name], COLOURS[pooling], size=8)
    write_text(figure, 0.575, 0.015, "weight", 9, ha="center")
    write_text(figure, 0.01, 0.53, "count", 9, va="center", rotation=90)
    return figure


def _histogram(
    figure: Figure,
    bounds: Bounds,
    untrained: NDArray[np.float32],
    trained: NDArray[np.float32],
    colour: str,
    size: float,
) -> None:
    bins = _shared_bins(untrained, trained)
    before, after = (np.histogram(values, bins)[0] for values in (untrained, trained))
    top = 1.5 * max(before.max(), after.max())  # room for the texts above the bars
    panel = Panel(figure, bounds, (1.06 * bins[0], 1.06 * bins[-1]), (0, top))
    panel.scales(size, x_ticks=round_ticks(*panel.x, 5), y_ticks=round_ticks(0, top, 4, whole=True), counts=True)
    panel.add(StepPatch(before, bins, color=NEUTRAL, alpha=0.45, linewidth=0))
    panel.add(StepPatch(after, bins, edgecolor=colour, fill=False, linewidth=1.6, zorder=2))
    for share, name, values, ink in ((0.27, "untrained", untrained, GREY_INK), (0.73, "trained", trained, colour)):
        x = panel.x[0] + share * (panel.x[1] - panel.x[0])
        text = f"{name}\n{values.mean():+.3f} ± {values.std():.3f}".replace("-", "−")
        panel.text(x, 0.99 * top, text, size, ink, ha="center", va="top")


def _shared_bins(*arrays: NDArray[np.float32]) -> list[float]:
    """Edges that cover every value, with 0 in the middle of the middle bin."""
    reach = max(float(np.abs(array).max()) for array in arrays) or 1.0
    return [float(edge) for edge in np.linspace(-reach * 1.02, reach * 1.02, _BINS + 1)]
