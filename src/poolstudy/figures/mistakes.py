"""Most confident mistakes of a network on the validation images."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poolstudy.data.loading import Bytes
from poolstudy.figures.panel import Panel
from poolstudy.figures.style import SMALL, in_grey, legible, new_figure, write_text
from poolstudy.network.weights import FloatArray
from poolstudy.spec.colours import COLOURS
from poolstudy.spec.space import Pooling


def most_wrong(labels: Bytes, probabilities: FloatArray, most: int) -> NDArray[np.intp]:
    """Return the positions of at most `most` misclassified images, the most confident mistakes first.

    Args:
        labels: (N,); `probabilities`: (N, classes).
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    return wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:most]


def mistakes(
    images: Bytes,
    labels: Bytes,
    probabilities: FloatArray,
    class_names: Sequence[str],
    pooling: Pooling,
    heading: str,
    *,
    small: bool = False,
) -> Figure:
    """Draw 24 mistakes with their true class and, in the pooling's colour, the predicted one and its probability.

    Args:
        images: (N, rows, columns, channels), in the order of `labels` (N,) and `probabilities` (N, classes).
        small: draw nine of them without probabilities, readable at 256 pixels.
    """
    columns, rows, top, size = (3, 3, 0.92, 7.5) if small else (6, 4, 0.93, 8)
    figure = new_figure(SMALL, SMALL, heading) if small else new_figure(8.0, 6.7, heading)
    if not small:
        note = "the true class; below it the predicted class and its probability"
        write_text(figure, 0.5, 0.955, note, 8, ha="center", va="top")
    worst = most_wrong(labels, probabilities, columns * rows)
    if not len(worst):
        write_text(figure, 0.5, 0.5, "every validation image is right", 10, ha="center")
        return figure
    line = size * 1.3 / 72 / figure.get_figheight()
    width, height = 1 / columns, top / rows
    side = images.shape[1]
    # One picture for all of them, with room for two lines above each.
    tall = round(side * height / (height - 2.5 * line))
    wide = max(side, round(tall * (width * figure.get_figwidth()) / (height * figure.get_figheight())))
    sheet = np.full((rows * tall, columns * wide, 3), 255, np.uint8)
    for position, index in enumerate(worst):
        row, column = divmod(position, columns)
        y, x = (row + 1) * tall - side, column * wide + (wide - side) // 2
        sheet[y : y + side, x : x + side] = in_grey(images[index])
        middle, above = (column + 0.5) * width, top - row * height
        true, predicted = int(labels[index]), int(probabilities[index].argmax())
        share = "" if small else f" {probabilities[index, predicted]:.2f}"
        write_text(figure, middle, above - line, legible(class_names[true], true, 12), size, ha="center")
        text = legible(class_names[predicted], predicted, 12) + share
        write_text(figure, middle, above - 2 * line, text, size, COLOURS[pooling], ha="center")
    Panel(figure, (0, 0, 1, top)).image(sheet)
    return figure
