"""The network's diagram, by Keras' plot_model, which needs pydot and Graphviz' program `dot`."""

from pathlib import Path

import keras
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from poolstudy.figures.style import COLOURS, INK, NEUTRAL, SMALL, bare, new_figure
from poolstudy.space import Pooling


def draw_diagram(model: keras.Model, path: Path, dpi: int) -> None:
    """Layers with their names and shapes, top to bottom, as PNG."""
    keras.utils.plot_model(
        model, to_file=str(path), show_shapes=True, show_layer_names=True, rankdir="TB", dpi=dpi, show_dtype=False
    )


def small_diagram(model: keras.Model, pooling: Pooling, heading: str) -> Figure:
    """The same to be read at 256 pixels, where plot_model's cannot be: a line a layer, its output and parameters."""
    figure = new_figure(SMALL, SMALL, heading)
    axes = bare(figure.add_axes((0.02, 0.01, 0.96, 0.88), xlim=(0, 1), ylim=(len(model.layers), -0.6)))
    _line(axes, -0.2, ("layer", "output", "weights"))
    for row, layer in enumerate(model.layers):
        colour = COLOURS[pooling] if layer.name.startswith("pool_") else NEUTRAL
        box = FancyBboxPatch((0.01, row + 0.1), 0.98, 0.8, boxstyle="round,pad=0,rounding_size=0.02",
                             facecolor=colour, alpha=0.22, edgecolor="none")  # fmt: skip
        axes.add_patch(box)
        shape = " x ".join(str(size) for size in layer.output.shape[1:])
        weights = f"{layer.count_params():,}" if layer.count_params() else ""
        _line(axes, row + 0.5, (layer.name, shape, weights))
    return figure


def _line(axes: Axes, y: float, texts: tuple[str, str, str]) -> None:
    for x, side, text in zip((0.04, 0.64, 0.96), ("left", "right", "right"), texts, strict=True):
        axes.text(x, y, text, ha=side, va="center", fontsize=8, color=INK)
