"""The validation images that a network gets most wrong: its surest mistakes."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poolstudy.figures.panel import Panel
from poolstudy.figures.style import SMALL, in_grey, legible, new_figure, write_text
from poolstudy.spec.colours import COLOURS
from poolstudy.spec.space import Pooling


def most_wrong(labels: NDArray[np.uint8], probabilities: NDArray[np.float32], most: int) -> NDArray[np.intp]:
    """Positions of the images that are taken for another class, the surest mistakes first.

    Args:
        labels: (N,); `probabilities`: (N, classes).
        most: at most so many.
    """
    taken = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(taken != labels)
    return wrong[np.argsort(-probabilities[wrong, taken[wrong]], kind="stable")][:most]


def mistakes(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    class_names: tuple[str, ...],
    pooling: Pooling,
    heading: str,
) -> Figure:
    """24 of them: what each shows, and in the pooling's colour what it is taken for, with what probability.

    Args:
        images: (N, rows, columns, channels), in the order of `labels` (N,) and `probabilities` (N, classes).
    """
    figure = new_figure(8.0, 6.7, heading)
    told = "the true class, and below it what the image is taken for, with what probability"
    write_text(figure, 0.5, 0.955, told, 8, ha="center", va="top")
    worst = most_wrong(labels, probabilities, 24)
    captions = [
        (true, f"{taken} {probabilities[index].max():.2f}")
        for index, (true, taken) in zip(worst, _names(worst, labels, probabilities, class_names), strict=True)
    ]
    _grid(figure, images[worst], captions, COLOURS[pooling], columns=6, rows=4, top=0.93, size=8)
    return figure


def small_mistakes(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    class_names: tuple[str, ...],
    pooling: Pooling,
    heading: str,
) -> Figure:
    """The first nine, to be read at 256 pixels."""
    figure = new_figure(SMALL, SMALL, heading)
    worst = most_wrong(labels, probabilities, 9)
    captions = _names(worst, labels, probabilities, class_names)
    _grid(figure, images[worst], captions, COLOURS[pooling], columns=3, rows=3, top=0.92, size=7.5)
    return figure


def _names(
    which: NDArray[np.intp],
    labels: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    class_names: tuple[str, ...],
) -> list[tuple[str, str]]:
    """Of each image the true class, and the one it is taken for."""
    pairs = zip(labels[which], probabilities[which].argmax(axis=1), strict=True)
    return [
        (legible(class_names[true], int(true), 12), legible(class_names[taken], int(taken), 12))
        for true, taken in pairs
    ]


def _grid(
    figure: Figure,
    images: NDArray[np.uint8],
    captions: list[tuple[str, str]],
    colour: str,
    *,
    columns: int,
    rows: int,
    top: float,
    size: float,
) -> None:
    """Images in a grid below `top` (a share of the height), two lines of `size` points above each."""
    if not captions:
        write_text(figure, 0.5, 0.5, "every validation image is right", 10, ha="center")
        return
    line = size * 1.3 / 72 / figure.get_figheight()
    width, height = 1 / columns, top / rows
    side = images.shape[1]
    # One picture for all of them, with room for the lines.
    tall = round(side * height / (height - 2.5 * line))
    wide = max(side, round(tall * (width * figure.get_figwidth()) / (height * figure.get_figheight())))
    sheet = np.full((rows * tall, columns * wide, 3), 255, np.uint8)
    for position, (image, (true, taken)) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(position, columns)
        y, x = (row + 1) * tall - side, column * wide + (wide - side) // 2
        sheet[y : y + side, x : x + side] = in_grey(image)
        middle, above = (column + 0.5) * width, top - row * height
        write_text(figure, middle, above - line, true, size, ha="center")
        write_text(figure, middle, above - 2 * line, taken, size, colour, ha="center")
    Panel(figure, (0, 0, 1, top)).image(sheet)
