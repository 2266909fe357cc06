"""One visual language: colours that the colour-blind tell apart, type that survives 256 pixels."""

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
DPI: Final = 160  # 3.2 inches become 512 pixels, twice what the grids show
SMALL: Final = 3.2


def new_figure(width: float, height: float, heading: str = "", size: float = 10) -> Figure:
    """A figure of its own, in inches, under a heading; nothing global is touched."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)
    if heading:
        write_text(figure, 0.5, 1 - 0.06 / height, heading, size, ha="center", va="top")
    return figure


def write_text(figure: Figure, x: float, y: float, text: str, size: float, colour: str = INK, **style: Any) -> None:
    """A text at shares of a figure; nothing in it is taken for a formula."""
    figure.text(x, y, text, fontsize=size, color=colour, parse_math=False, **style)


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, whole or not at all. Paper is not transparent: that saves a quarter of the bytes."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    picture = Image.fromarray(pixels).convert("RGB")
    with replacing(path) as part:
        picture.save(part, "png", compress_level=1, dpi=(DPI, DPI))


def in_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image as red, green and blue: a grey one dark on light, as the notebook shows them."""
    return image if image.shape[-1] == 3 else np.repeat(255 - image, 3, axis=-1)


def mosaic(tiles: NDArray[np.float32], columns: int, gap: int = 1) -> NDArray[np.float32]:
    """Tiles (count, rows, columns) side by side, row by row, NaN between them and where there is none."""
    count, height, width = tiles.shape
    rows = -(-count // columns)
    picture = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan, np.float32)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        picture[top : top + height, left : left + width] = tile
    return picture


@cache
def shades(pooling: Pooling) -> LinearSegmentedColormap:
    """From paper to the pooling's colour."""
    return LinearSegmentedColormap.from_list(pooling, [PAPER, COLOURS[pooling]])


@cache
def _letters() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())


def legible(name: str, label: int, limit: int = 14) -> str:
    """A class's name as the font can draw it, cut to `limit` characters; "class 3" where it cannot."""
    if not name or any(ord(letter) not in _letters() for letter in name):
        return f"class {label}"
    return name if len(name) <= limit else f"{name[: limit - 1]}…"
