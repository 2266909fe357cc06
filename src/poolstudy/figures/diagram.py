"""The network's diagram, by Keras' plot_model, which needs pydot and Graphviz' program `dot`."""

from pathlib import Path

import keras


def draw_diagram(model: keras.Model, path: Path, dpi: int) -> None:
    """Layers with their names and shapes, top to bottom, as PNG."""
    keras.utils.plot_model(
        model, to_file=str(path), show_shapes=True, show_layer_names=True, rankdir="TB", dpi=dpi, show_dtype=False
    )
