"""Histograms of a network's weights, untrained and trained, on shared bins."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from poolstudy.figures.panel import Bounds, Panel, round_ticks
from poolstudy.figures.style import GREY_INK, HISTOGRAM_BINS, SMALL, new_figure, shape_text, write_text
from poolstudy.network.weights import FloatArray, Weights
from poolstudy.spec.colours import COLOURS, NEUTRAL
from poolstudy.spec.space import Pooling


def weights_histogram(untrained: Weights, trained: Weights, pooling: Pooling, heading: str) -> Figure:
    """Draw one panel per kernel and bias of the network."""
    rows = -(-len(trained) // 2)
    height = 0.5 + 1.65 * rows
    figure = new_figure(6.4, height, heading)
    for index, name in enumerate(trained):
        row, column = divmod(index, 2)
        left, bottom = 0.1 + 0.475 * column, (height - 0.03 - 1.65 * (row + 1)) / height
        caption = f"{name.replace('/', ' ')} ({shape_text(trained[name].shape)})"
        write_text(figure, left, bottom + 1.2 / height, caption, 8)
        bounds = (left, bottom, 0.405, 1.13 / height)
        _histogram(figure, bounds, untrained[name], trained[name], COLOURS[pooling], size=7)
    write_text(figure, 0.54, 0.06 / height, "weight", 8, ha="center")
    write_text(figure, 0.008, 0.5, "count", 8, va="center", rotation=90)
    return figure


def layer_histogram(name: str, untrained: Weights, trained: Weights, pooling: Pooling, heading: str) -> Figure:
    """Draw one kernel or bias alone, readable at 256 pixels."""
    figure = new_figure(SMALL, SMALL, heading)
    _histogram(figure, (0.18, 0.15, 0.79, 0.76), untrained[name], trained[name], COLOURS[pooling], size=8)
    write_text(figure, 0.575, 0.015, "weight", 9, ha="center")
    write_text(figure, 0.01, 0.53, "count", 9, va="center", rotation=90)
    return figure


def _histogram(figure: Figure, bounds: Bounds, before: FloatArray, after: FloatArray, colour: str, size: float) -> None:
    bins = _shared_bins(before, after)
    counts = [np.histogram(values, bins)[0] for values in (before, after)]
    top = 1.5 * max(count.max() for count in counts)  # room for the text above the bars
    panel = Panel(figure, bounds, (1.06 * bins[0], 1.06 * bins[-1]), (0, top))
    panel.scales(size, x_ticks=round_ticks(*panel.x, 5), y_ticks=round_ticks(0, top, 4, whole=True), counts=True)
    panel.add(StepPatch(counts[0], bins, color=NEUTRAL, alpha=0.45, linewidth=0))
    panel.add(StepPatch(counts[1], bins, edgecolor=colour, fill=False, linewidth=1.6, zorder=2))
    for share, name, values, ink in ((0.27, "untrained", before, GREY_INK), (0.73, "trained", after, colour)):
        x = panel.x[0] + share * (panel.x[1] - panel.x[0])
        text = f"{name}\n{values.mean():+.3f} ± {values.std():.3f}".replace("-", "−")
        panel.text(x, 0.99 * top, text, size, ink, ha="center", va="top")


def _shared_bins(*arrays: FloatArray) -> list[float]:
    """Return edges that cover every value, with 0 in the middle of the middle bin."""
    reach = max(float(np.abs(array).max()) for array in arrays) or 1.0
    return [float(edge) for edge in np.linspace(-reach * 1.02, reach * 1.02, HISTOGRAM_BINS + 1)]
