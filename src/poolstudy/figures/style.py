"""One visual language: colours that the colour-blind tell apart, type that survives 256 pixels."""

from functools import cache
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from numpy.typing import NDArray

from poolstudy.space import Pooling

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color): blue is average, vermilion is max, everywhere.
COLOURS: Final[dict[Pooling, str]] = {"average": "#0072B2", "max": "#D55E00"}
NEUTRAL: Final = "#8C8C8C"
GREY_INK: Final = "#666666"
INK: Final = "#222222"
PAPER: Final = "white"
DPI: Final = 160  # 3.2 inches become 512 pixels, twice what the grids show
SMALL: Final = 3.2


def new_figure(width: float, height: float, heading: str = "", size: float = 10) -> Figure:
    """A figure of its own, in inches, under a heading; nothing global is touched."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)
    if heading:
        figure.text(0.5, 1 - 0.06 / height, heading, ha="center", va="top", fontsize=size, color=INK)
    return figure


def plain(axes: Axes, size: float = 9) -> Axes:
    """Axes without a box, with small ticks and a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(NEUTRAL)
    axes.tick_params(labelsize=size - 1, colors=INK, color=NEUTRAL)
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def bare(axes: Axes) -> Axes:
    """Axes without ticks and frame, for pictures."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes


def draw_image(axes: Axes, image: NDArray[np.uint8]) -> None:
    """Grey images dark on light, as the notebook shows them."""
    if image.shape[-1] == 3:
        bare(axes).imshow(image)
    else:
        bare(axes).imshow(image[..., 0], cmap="gray_r", vmin=0, vmax=255)


def mosaic(tiles: NDArray[np.float32], columns: int, gap: int = 1) -> NDArray[np.float32]:
    """Tiles (count, rows, columns) side by side, row by row, NaN between them and where there is none."""
    count, height, width = tiles.shape
    rows = -(-count // columns)
    picture = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan, np.float32)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        picture[top : top + height, left : left + width] = tile
    return picture


def scale_bar(figure: Figure, place: Axes, colours: Colormap, low: float, high: float, size: float = 7) -> None:
    """The colour scale of a picture, in axes of its own."""
    mappable = ScalarMappable(cmap=colours)
    mappable.set_clim(low, high)
    bar = figure.colorbar(mappable, cax=place)
    bar.outline.set_visible(False)
    ticks = [low, (low + high) / 2, high]
    bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
    bar.ax.tick_params(labelsize=size, colors=INK, length=2)


@cache
def shades(pooling: Pooling) -> LinearSegmentedColormap:
    """From paper to the pooling's colour."""
    return LinearSegmentedColormap.from_list(pooling, [PAPER, COLOURS[pooling]])


def readable(name: str, label: int, limit: int = 14) -> str:
    """A class's name as the font can draw it, cut to `limit` characters; "class 3" where it cannot."""
    glyphs = get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap()
    if not name or any(ord(letter) not in glyphs for letter in name):
        return f"class {label}"
    return name if len(name) <= limit else f"{name[: limit - 1]}…"
