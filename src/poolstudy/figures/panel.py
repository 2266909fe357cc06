"""Part of a figure with its own coordinates, in place of matplotlib's Axes.

Axes with ticks cost 15 ms of CPU, and a trial's figures would have fifty of them; a panel costs almost nothing.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter, MaxNLocator
from matplotlib.transforms import Bbox, BboxBase, BboxTransform, TransformedBbox
from numpy.typing import ArrayLike, NDArray

from poolstudy.figures.style import FAINT, INK
from poolstudy.spec.colours import NEUTRAL

Bounds = tuple[float, float, float, float]
"""Left, bottom, width and height, as shares of a figure."""
Span = tuple[float, float]


class PixelArtist(Artist):
    """Picture scaled to a box by nearest neighbour; matplotlib's own images take four times as long.

    Attributes:
        values: (rows, columns, RGB), the first row at the top.
    """

    def __init__(self, values: NDArray[np.uint8], box: BboxBase) -> None:
        super().__init__()
        self.values, self._box = values, box
        self.set_zorder(0)

    def draw(self, renderer: RendererBase) -> None:
        """Draw the picture; matplotlib calls this."""
        left, right, low, high = (round(end) for end in (self._box.x0, self._box.x1, self._box.y0, self._box.y1))
        rows, columns = (
            (np.arange(dots) * 2 + 1) * count // (2 * dots)  # each dot's middle
            for dots, count in zip((high - low, right - left), self.values.shape, strict=False)
        )
        opaque = np.full((*self.values.shape[:2], 4), 255, np.uint8)
        opaque[..., :3] = self.values
        dots = opaque.view(np.uint32)[..., 0].take(rows[::-1], axis=0).take(columns, axis=1)  # four bytes at a time
        renderer.draw_image(renderer.new_gc(), left, low, dots.view(np.uint8).reshape(*dots.shape, 4))


class Panel:
    """Rectangle of a figure.

    Args:
        x, y: the values at its left and right, and at its lower and upper edge.
    """

    def __init__(self, figure: Figure, bounds: Bounds, x: Span = (0, 1), y: Span = (0, 1)) -> None:
        self.figure, self.x, self.y = figure, x, y
        self._box = TransformedBbox(Bbox.from_bounds(*bounds), figure.transFigure)
        self._values = BboxTransform(Bbox([[x[0], y[0]], [x[1], y[1]]]), self._box)
        self._inches = bounds[2] * figure.get_figwidth(), bounds[3] * figure.get_figheight()

    def add(self, artist: Artist) -> None:
        """Add an artist whose coordinates are the panel's values."""
        artist.set_transform(self._values)
        self.figure.add_artist(artist)

    def line(self, x: ArrayLike, y: ArrayLike, colour: str, width: float, **style: Any) -> None:
        self.add(Line2D(np.asarray(x), np.asarray(y), color=colour, linewidth=width, **style))

    def text(self, x: float, y: float, text: str, size: float, colour: str = INK, **style: Any) -> None:
        """Write text at (x, y), never parsed as a formula."""
        self.add(Text(x, y, text, fontsize=size, color=colour, parse_math=False, **style))

    def points(self, x: float = 0, y: float = 0) -> Span:
        """Convert points (1/72 inch) to differences of the panel's values."""
        width, height = self._inches
        return x / 72 / width * (self.x[1] - self.x[0]), y / 72 / height * (self.y[1] - self.y[0])

    def image(self, picture: NDArray[np.uint8]) -> None:
        """Show a picture, (rows, columns, RGB), over the whole panel, each value a rectangle."""
        self.figure.add_artist(PixelArtist(picture, self._box))

    def scales(self, size: float, *, x_ticks: Sequence[float], y_ticks: Sequence[float], counts: bool = False) -> None:
        """Draw the left and lower axis with labelled ticks, and light horizontal grid lines.

        Args:
            counts: label y in short form: 150k for 150,000.
        """
        right, up = self.points(3.5, 3.5)
        (left, end), (low, top) = self.x, self.y
        grid = [((left, y), (end, y)) for y in y_ticks]
        self.add(LineCollection(grid, colors=FAINT, linewidths=0.6, zorder=0))
        marks = [((x, low), (x, low - up)) for x in x_ticks] + [((left, y), (left - right, y)) for y in y_ticks]
        axes = [((left, top), (left, low)), ((left, low), (end, low))]
        self.add(LineCollection(axes + marks, colors=NEUTRAL, linewidths=0.8, zorder=3))
        for x, label in zip(x_ticks, labels(x_ticks), strict=True):
            self.text(x, low - 2 * up, label, size, ha="center", va="top")
        names = [EngFormatter(sep="")(y) for y in y_ticks] if counts else labels(y_ticks)
        for y, label in zip(y_ticks, names, strict=True):
            self.text(left - 2 * right, y, label, size, ha="right", va="center_baseline")


def scale_bar(figure: Figure, bounds: Bounds, colours: Colormap, low: float, high: float, size: float) -> None:
    """Draw the colour scale of a picture, labelled at its ends and its middle."""
    panel = Panel(figure, bounds, (0, 1), (low, high))
    panel.image(coloured(np.linspace(high, low, 128)[:, None], colours, low, high))
    right, _ = panel.points(3)
    for value in (low, (low + high) / 2, high):
        panel.text(1 + right, value, f"{value:.2g}".replace("-", "−"), size, va="center_baseline")


def fitted(bounds: Bounds, figure: Figure, shape: tuple[int, ...], anchor: Literal["N", "NW", "NE", "C"]) -> Bounds:
    """Return the largest part of `bounds` with the proportions of a picture of this shape (rows, columns, …).

    Args:
        anchor: its position, as compass points: at the top, top left, top right or centred.
    """
    box = Bbox.from_bounds(*bounds)
    page = figure.get_figheight() / figure.get_figwidth()
    part: Bounds = box.shrunk_to_aspect(shape[0] / shape[1], fig_aspect=page).anchored(anchor, box).bounds
    return part


def coloured(values: NDArray[Any], colours: Colormap, low: float, high: float) -> NDArray[np.uint8]:
    """Map values to RGB; values outside `low` to `high` get the end's colour, NaN the colormap's `bad`."""
    share = (values.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.asarray(colours(share, bytes=True))[..., :3]


def round_ticks(
    low: float, high: float, most: int, *, whole: bool = False, steps: Sequence[float] = (1, 2, 2.5, 5, 10)
) -> list[float]:
    """Return at most `most` round values (integers if `whole`) in a range, as matplotlib chooses them."""
    locator = MaxNLocator(most, integer=whole, min_n_ticks=1, steps=steps)
    slack = 1e-9 * (high - low)
    return [float(value) for value in locator.tick_values(low, high) if low - slack <= value <= high + slack]


def labels(values: Sequence[float]) -> list[str]:
    """Format numbers with the decimals that the longest of them needs."""
    size = max((abs(value) for value in values), default=0) or 1.0
    exact = (n for n in range(9) if all(abs(round(value, n) - value) < 1e-6 * size for value in values))
    decimals = next(exact, 9)
    return [f"{value + 0.0:.{decimals}f}".replace("-", "−") for value in values]
