"""The validation images that a network gets most wrong: its surest mistakes."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poolstudy.figures.style import COLOURS, INK, SMALL, draw_image, new_figure, readable
from poolstudy.space import Pooling


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
    figure.text(0.5, 0.955, told, ha="center", va="top", fontsize=8, color=INK)
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
        (readable(class_names[true], int(true), 12), readable(class_names[taken], int(taken), 12))
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
        figure.text(0.5, 0.5, "every validation image is right", ha="center", fontsize=10, color=INK)
        return
    line = size * 1.3 / 72 / figure.get_figheight()
    width, height = 1 / columns, top / rows
    side = images.shape[1]
    # One picture for all of them, with room for the lines: a pair of axes for each would take most of the time.
    tall = round(side * height / (height - 2.5 * line))
    wide = max(side, round(tall * (width * figure.get_figwidth()) / (height * figure.get_figheight())))
    paper = 255 if images.shape[-1] == 3 else 0
    sheet = np.full((rows * tall, columns * wide, images.shape[-1]), paper, np.uint8)
    for place, (image, (true, taken)) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(place, columns)
        y, x = (row + 1) * tall - side, column * wide + (wide - side) // 2
        sheet[y : y + side, x : x + side] = image
        middle, above = (column + 0.5) * width, top - row * height
        figure.text(middle, above - line, true, ha="center", fontsize=size, color=INK, parse_math=False)
        figure.text(middle, above - 2 * line, taken, ha="center", fontsize=size, color=colour, parse_math=False)
    axes = figure.add_axes((0, 0, 1, top), zorder=-1)
    draw_image(axes, sheet)
    axes.set_aspect("auto")
