"""The pictures of a trial. Each knows matplotlib (the diagram: Keras' plot_model), none a tracker.

A picture is a file at the root of the trial's folder, so that MLflow's compare page shows it, and,
where a chart of images across runs is wanted, a keyed image: images/<key>.png.
"""

from pathlib import Path

import keras

from poolstudy.figures.curves import learning_curves, small_learning_curves
from poolstudy.figures.diagram import draw_diagram
from poolstudy.figures.weights import layer_histogram, weights_histogram
from poolstudy.model import Weights
from poolstudy.records import TrialResult, TrialSpec, trial_name


def draw(
    spec: TrialSpec,
    result: TrialResult,
    model: keras.Model,
    untrained: Weights,
    trained: Weights,
    folder: Path,
    diagram_dpi: int,
) -> None:
    """Draws every picture of a trial into `folder`.

    Args:
        untrained: the weights the trial began with; `trained`: those it kept.
        diagram_dpi: dots per inch of the diagram.
    """
    parameters, name = spec.hyperparameters, trial_name(spec.slot)
    pooling = parameters.pooling
    heading, short = f"{name} · {parameters.title()}", f"{name} · {parameters.kind}"
    images = folder / "images"
    for group in ("model", "curves", "weights"):
        (images / group).mkdir(parents=True, exist_ok=True)

    draw_diagram(model, folder / "diagram.png", diagram_dpi)
    (images / "model" / "diagram.png").write_bytes((folder / "diagram.png").read_bytes())

    learning_curves(result, pooling, heading).savefig(folder / "learning_curves.png")
    small_learning_curves(result, pooling, short).savefig(images / "curves" / "learning.png")

    weights_histogram(untrained, trained, pooling, heading).savefig(folder / "weights_histogram.png")
    for weight in trained:
        layer, _, variable = weight.partition("/")
        if variable == "kernel":
            figure = layer_histogram(weight, untrained, trained, pooling, f"{short} · {layer}")
            figure.savefig(images / "weights" / f"{layer}.png")
