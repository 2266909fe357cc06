"""Diagram of the network, by Keras' plot_model, which needs pydot and Graphviz' `dot`."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from poolstudy.figures.panel import Panel
from poolstudy.figures.style import SMALL, new_figure, shape_text
from poolstudy.spec.colours import COLOURS, NEUTRAL
from poolstudy.spec.frozen import Frozen
from poolstudy.spec.space import Pooling

if TYPE_CHECKING:
    import keras


class Outline(Frozen):
    """Data of a model's diagram, so that rendering needs no Keras.

    Attributes:
        graph: plot_model's diagram in Graphviz' language.
        layers: name, output shape without the batch, and number of weights of each layer.
    """

    graph: str
    layers: tuple[tuple[str, tuple[int, ...], int], ...]


def outline(model: "keras.Model") -> Outline:
    """Return the outline of a model; `dot` is not needed for it."""
    from keras.utils import model_to_dot  # rendering needs no Keras

    graph = model_to_dot(model, show_shapes=True, show_layer_names=True, rankdir="TB").to_string()
    layers = tuple((layer.name, tuple(layer.output.shape[1:]), layer.count_params()) for layer in model.layers)
    lines = [line for line in graph.splitlines() if not line.startswith("dpi=")]  # set by draw_diagram
    return Outline(graph="\n".join(lines), layers=layers)


def draw_diagram(outline: Outline, path: Path, dpi: int) -> None:
    """Write the layers with their names and shapes, top to bottom, as PNG."""
    subprocess.run(["dot", "-Tpng", f"-Gdpi={dpi}", "-o", path], input=outline.graph, text=True, check=True)


def small_diagram(outline: Outline, pooling: Pooling, heading: str) -> Figure:
    """Draw one line per layer, readable at 256 pixels, as plot_model's diagram is not."""
    figure = new_figure(SMALL, SMALL, heading)
    panel = Panel(figure, (0.02, 0.01, 0.96, 0.88), (0, 1), (len(outline.layers), -0.6))
    _line(panel, -0.2, ("layer", "output", "weights"))
    for row, (name, shape, count) in enumerate(outline.layers):
        colour = COLOURS[pooling] if name.startswith("pool_") else NEUTRAL
        panel.add(FancyBboxPatch((0.01, row + 0.1), 0.98, 0.8, boxstyle="round,pad=0,rounding_size=0.02",
                                 facecolor=colour, alpha=0.22, edgecolor="none"))  # fmt: skip
        _line(panel, row + 0.5, (name, shape_text(shape), f"{count:,}" if count else ""))
    return figure


def _line(panel: Panel, y: float, texts: tuple[str, str, str]) -> None:
    for x, side, text in zip((0.04, 0.64, 0.96), ("left", "right", "right"), texts, strict=True):
        panel.text(x, y, text, 8, ha=side, va="center")
