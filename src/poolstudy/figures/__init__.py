"""Figures of a trial, drawn from arrays by matplotlib (the diagram: Keras' plot_model).

TensorFlow does not run here: its start would take as long as all the figures.

Figures are files of the run, for MLflow's compare page; for its charts of images across runs there are keyed images,
readable at 256 pixels: <images>/<key>.png.
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
from poolstudy.figures.mistakes import mistakes
from poolstudy.figures.style import legible, save
from poolstudy.figures.weights import layer_histogram, weights_histogram
from poolstudy.network.forward import maps_of
from poolstudy.network.weights import Weights
from poolstudy.spec.records import FigureSettings, TrialResult, TrialSpec, trial_name
from poolstudy.system.files import replacing

__all__ = ["Outline", "Subject", "draw", "outline"]


@dataclass(frozen=True)
class Subject:
    """Data of a trial, from which its figures are drawn.

    Attributes:
        untrained: the initial weights; `trained`: those of the best epoch.
        images: the validation images, (N, rows, columns, channels); `labels`: (N,).
        probabilities: the model's predictions for them, (N, classes).
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
    """Write a trial's figures to `files` and its keyed images to `images`, each whole or not at all."""
    with replacing(files / "diagram.png") as part:
        draw_diagram(subject.outline, part, settings.diagram_dpi)
    for path, figure in _figures(subject, files, images, settings):
        save(figure, path)


def _figures(subject: Subject, files: Path, images: Path, settings: FigureSettings) -> Iterator[tuple[Path, Figure]]:
    spec, result, limit = subject.spec, subject.result, settings.kernel_limit
    pooling, names = spec.hyperparameters.pooling, spec.data.class_names
    heading, short = (
        f"{trial_name(spec.slot)} · {text}" for text in (spec.hyperparameters.title(), spec.hyperparameters.kind)
    )
    weights = subject.untrained, subject.trained
    predictions = subject.images, subject.labels, subject.probabilities
    predicted = subject.probabilities.argmax(axis=1)
    counts = confusion_counts(subject.labels, predicted, len(names))
    example = min(settings.example_image, len(subject.labels) - 1)
    image, label, taken = subject.images[example], int(subject.labels[example]), int(predicted[example])
    caption = f"{legible(names[label], label)},\ntaken for\n{legible(names[taken], taken)}"
    maps = maps_of(spec.layers, subject.trained, scaled(image))

    yield files / "learning_curves.png", learning_curves(result, pooling, heading)
    yield images / "curves/learning.png", small_learning_curves(result, pooling, short)
    yield images / "model/diagram.png", small_diagram(subject.outline, pooling, short)
    yield files / "weights_histogram.png", weights_histogram(*weights, pooling, heading)
    yield files / "kernels.png", kernels(*weights, limit, heading)
    for weight, values in subject.trained.items():
        layer, _, variable = weight.partition("/")
        if variable == "kernel":
            yield images / f"weights/{layer}.png", layer_histogram(weight, *weights, pooling, f"{short} · {layer}")
        if values.ndim == 4:
            yield images / f"kernels/{layer}.png", layer_kernels(weight, *weights, limit, f"{short} · {layer}")
    yield files / "feature_maps.png", feature_maps(image, maps, caption, heading)
    for layer, values in maps.items():
        yield images / f"feature_maps/{layer}.png", layer_maps(image, values, f"{short} · {layer}")
    yield files / "confusion_matrix.png", confusion_matrix(counts, names, pooling, heading)
    yield images / "confusion/validation.png", small_confusion_matrix(counts, names, pooling, short)
    yield files / "most_wrong.png", mistakes(*predictions, names, pooling, heading)
    yield images / "confusion/most_wrong.png", mistakes(*predictions, names, pooling, short, small=True)
