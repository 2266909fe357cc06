"""Colours, sizes and helpers that all figures share."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from numpy.typing import NDArray
from PIL import Image

from poolstudy.spec.colours import COLOURS
from poolstudy.spec.space import Pooling
from poolstudy.system.files import replacing

GREY_INK: Final = "#666666"
FAINT: Final = "#E4E4E4"
INK: Final = "#222222"
PAPER: Final = "white"
DPI: Final = 160  # a figure of SMALL inches has 512 pixels, twice what MLflow's grids show
SMALL: Final = 3.2  # inches
HISTOGRAM_BINS: Final = 41  # odd: the middle bin has 0 in its middle
MAP_QUANTILE: Final = 0.995  # of the values of feature maps: the upper end of their colour scale


def new_figure(width: float, height: float, heading: str = "") -> Figure:
    """Return a figure of this size in inches, with a heading, independent of pyplot."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)
    if heading:
        size = min(10, 72 * width / (0.55 * len(heading)))  # a letter is about 0.55 of its size wide
        write_text(figure, 0.5, 1 - 0.06 / height, heading, size, ha="center", va="top")
    return figure


def write_text(figure: Figure, x: float, y: float, text: str, size: float, colour: str = INK, **style: Any) -> None:
    """Write text at shares of a figure, never parsed as a formula."""
    figure.text(x, y, text, fontsize=size, color=colour, parse_math=False, **style)


def shape_text(shape: tuple[int, ...]) -> str:
    """Return an array's shape as "28 x 28 x 1"."""
    return " x ".join(map(str, shape))


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all; without transparency it is a quarter smaller."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    picture = Image.fromarray(pixels).convert("RGB")
    with replacing(path) as part:
        picture.save(part, "png", compress_level=1, dpi=(DPI, DPI))


def in_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image as RGB, a grey one dark on light as in the notebook."""
    return image if image.shape[-1] == 3 else np.repeat(255 - image, 3, axis=-1)


def mosaic(tiles: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """Return tiles (count, rows, columns) as one picture, filled row by row, with NaN in the gaps."""
    count, height, width = tiles.shape
    rows = -(-count // columns)
    spaced = np.pad(tiles, ((0, rows * columns - count), (0, 1), (0, 1)), constant_values=np.nan)
    picture = spaced.reshape(rows, columns, height + 1, width + 1).swapaxes(1, 2)
    return picture.reshape(rows * (height + 1), columns * (width + 1))[:-1, :-1]


@cache
def shades(pooling: Pooling) -> LinearSegmentedColormap:
    """Return a colormap from white to the pooling's colour."""
    return LinearSegmentedColormap.from_list(pooling, [PAPER, COLOURS[pooling]])


@cache
def _letters() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())


def legible(name: str, label: int, limit: int = 14) -> str:
    """Return a class's name, cut to `limit` characters; "class 3" if the font cannot draw it."""
    if not name or any(ord(letter) not in _letters() for letter in name):
        return f"class {label}"
    return name if len(name) <= limit else f"{name[: limit - 1]}…"
