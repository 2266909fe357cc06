"""The network's diagram, by Keras' plot_model, which needs pydot and Graphviz' program `dot`."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from poolstudy.figures.panel import Panel
from poolstudy.figures.style import SMALL, new_figure
from poolstudy.spec.colours import COLOURS, NEUTRAL
from poolstudy.spec.space import Frozen, Pooling

if TYPE_CHECKING:
    import keras


class Outline(Frozen):
    """What a diagram shows of a model, so that it is drawn without it.

    Attributes:
        graph: plot_model's diagram in Graphviz' language.
        layers: name, output shape without the batch, and number of weights of each.
    """

    graph: str
    layers: tuple[tuple[str, tuple[int, ...], int], ...]


def outline(model: "keras.Model") -> Outline:
    """The outline of a model, as plot_model begins it; asks nothing of the program `dot`."""
    from keras.utils import model_to_dot  # whoever only draws needs no Keras

    graph = model_to_dot(model, show_shapes=True, show_layer_names=True, rankdir="TB").to_string()
    layers = tuple((layer.name, tuple(layer.output.shape[1:]), layer.count_params()) for layer in model.layers)
    lines = [line for line in graph.splitlines() if not line.startswith("dpi=")]  # drawing decides
    return Outline(graph="\n".join(lines), layers=layers)


def draw_diagram(outline: Outline, path: Path, dpi: int) -> None:
    """Layers with their names and shapes, top to bottom, as PNG."""
    subprocess.run(["dot", "-Tpng", f"-Gdpi={dpi}", "-o", path], input=outline.graph, text=True, check=True)


def small_diagram(outline: Outline, pooling: Pooling, heading: str) -> Figure:
    """The same to be read at 256 pixels, where plot_model's cannot be: a line a layer, its output and parameters."""
    figure = new_figure(SMALL, SMALL, heading)
    panel = Panel(figure, (0.02, 0.01, 0.96, 0.88), (0, 1), (len(outline.layers), -0.6))
    _line(panel, -0.2, ("layer", "output", "weights"))
    for row, (name, shape, count) in enumerate(outline.layers):
        colour = COLOURS[pooling] if name.startswith("pool_") else NEUTRAL
        panel.add(FancyBboxPatch((0.01, row + 0.1), 0.98, 0.8, boxstyle="round,pad=0,rounding_size=0.02",
                                 facecolor=colour, alpha=0.22, edgecolor="none"))  # fmt: skip
        _line(panel, row + 0.5, (name, " x ".join(map(str, shape)), f"{count:,}" if count else ""))
    return figure


def _line(panel: Panel, y: float, texts: tuple[str, str, str]) -> None:
    for x, side, text in zip((0.04, 0.64, 0.96), ("left", "right", "right"), texts, strict=True):
        panel.text(x, y, text, 8, ha=side, va="center")
