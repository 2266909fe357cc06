"""The pictures of a trial. Each knows matplotlib (the diagram: Keras' plot_model), none a tracker.

They are drawn from arrays: no TensorFlow runs here, whose start would cost as much as the pictures.

A picture is a file of the run, so that MLflow's compare page shows it, and, where a chart of images
across runs is wanted, a keyed image drawn to be read at 256 pixels: <images>/<key>.png.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poolstudy.data.loading import scaled
from poolstudy.figures.confusion import confusion_counts, confusion_matrix, small_confusion_matrix
from poolstudy.figures.curves import learning_curves, small_learning_curves
from poolstudy.figures.diagram import Outline, draw_diagram, outline, small_diagram
from poolstudy.figures.feature_maps import feature_maps, layer_maps
from poolstudy.figures.kernels import kernels, layer_kernels
from poolstudy.figures.mistakes import mistakes, small_mistakes
from poolstudy.figures.style import legible, save
from poolstudy.figures.weights import layer_histogram, weights_histogram
from poolstudy.network.forward import forward
from poolstudy.network.weights import Maps, Weights
from poolstudy.spec.records import FigureSettings, TrialResult, TrialSpec, trial_name
from poolstudy.system.files import replacing

__all__ = ["Outline", "Subject", "draw", "outline"]


@dataclass(frozen=True)
class Subject:
    """A trial to be drawn.

    Attributes:
        outline: of its network.
        untrained: the weights the trial began with; `trained`: those that were kept.
        images: the validation images, (N, rows, columns, channels); `labels`: (N,).
        probabilities: the model's answers to them, (N, classes).
    """

    spec: TrialSpec
    result: TrialResult
    outline: Outline
    untrained: Weights
    trained: Weights
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    probabilities: NDArray[np.float32]


def draw(subject: Subject, files: Path, images: Path, settings: FigureSettings) -> None:
    """Draws every picture of a trial: files into `files`, keyed images into `images`; each is whole or not there."""
    with replacing(files / "diagram.png") as part:
        draw_diagram(subject.outline, part, settings.diagram_dpi)
    example = min(settings.example_image, len(subject.labels) - 1)
    network = subject.spec.hyperparameters
    maps = forward(subject.trained, network.pooling, network.pool_size, scaled(subject.images[example]))
    for name, figure in _files(subject, example, maps, settings.kernel_limit):
        save(figure, files / name)
    for key, figure in _keyed(subject, example, maps, settings.kernel_limit):
        save(figure, images / f"{key}.png")


def _files(subject: Subject, example: int, maps: Maps, kernel_limit: float) -> Iterator[tuple[str, Figure]]:
    spec, result, names = subject.spec, subject.result, subject.spec.data.class_names
    pooling, heading = spec.hyperparameters.pooling, f"{trial_name(spec.slot)} · {spec.hyperparameters.title()}"
    weights = subject.untrained, subject.trained
    yield "learning_curves.png", learning_curves(result, pooling, heading)
    yield "weights_histogram.png", weights_histogram(*weights, pooling, heading)
    yield "kernels.png", kernels(*weights, kernel_limit, heading)
    yield "feature_maps.png", feature_maps(subject.images[example], maps, _caption(subject, example), heading)
    yield "confusion_matrix.png", confusion_matrix(_counts(subject), names, pooling, heading)
    answers = subject.images, subject.labels, subject.probabilities
    yield "most_wrong.png", mistakes(*answers, names, pooling, heading)


def _keyed(subject: Subject, example: int, maps: Maps, kernel_limit: float) -> Iterator[tuple[str, Figure]]:
    spec, names = subject.spec, subject.spec.data.class_names
    pooling, short = spec.hyperparameters.pooling, f"{trial_name(spec.slot)} · {spec.hyperparameters.kind}"
    weights = subject.untrained, subject.trained
    yield "model/diagram", small_diagram(subject.outline, pooling, short)
    yield "curves/learning", small_learning_curves(subject.result, pooling, short)
    for weight, values in subject.trained.items():
        layer, _, variable = weight.partition("/")
        if variable == "kernel":
            yield f"weights/{layer}", layer_histogram(weight, *weights, pooling, f"{short} · {layer}")
        if values.ndim == 4:
            yield f"kernels/{layer}", layer_kernels(weight, *weights, kernel_limit, f"{short} · {layer}")
    for layer, values in maps.items():
        yield f"feature_maps/{layer}", layer_maps(subject.images[example], values, f"{short} · {layer}")
    yield "confusion/validation", small_confusion_matrix(_counts(subject), names, pooling, short)
    answers = subject.images, subject.labels, subject.probabilities
    yield "confusion/most_wrong", small_mistakes(*answers, names, pooling, short)


def _caption(subject: Subject, example: int) -> str:
    names, true = subject.spec.data.class_names, int(subject.labels[example])
    taken = int(subject.probabilities[example].argmax())
    return f"{legible(names[true], true)},\ntaken for\n{legible(names[taken], taken)}"


def _counts(subject: Subject) -> NDArray[np.intp]:
    classes = len(subject.spec.data.class_names)
    return confusion_counts(subject.labels, subject.probabilities.argmax(axis=1), classes)
