"""Feature maps of one image, of every convolution and pooling layer."""

from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poolstudy.figures.panel import Bounds, Panel, coloured, fitted, scale_bar
from poolstudy.figures.style import MAP_QUANTILE, SMALL, in_grey, mosaic, new_figure, shape_text, write_text
from poolstudy.network.weights import Maps

_COLOURS = colormaps["viridis"].with_extremes(bad="white")


def feature_maps(image: NDArray[np.uint8], maps: Maps, caption: str, heading: str) -> Figure:
    """Draw the image and the maps of every layer: one row per convolution, with its pooling on the right.

    All maps of a layer share one scale, from 0 to their `MAP_QUANTILE`.

    Args:
        image: (rows, columns, channels).
        maps: by layer's name, (rows, columns, channels), convolutions and poolings in turn.
        caption: what the image shows.
    """
    names = list(maps)
    pairs = list(zip(names[::2], names[1::2], strict=True))
    pictures = {name: _mosaic(layer) for name, layer in maps.items()}
    side, left, gap = 3.3, 1.75, 0.7
    heights = [max(side * pictures[name].shape[0] / pictures[name].shape[1] for name in pair) for pair in pairs]
    width, height = left + 2 * side + 2 * gap, max(2.2, 0.25 + sum(max(tall, 1.0) + 0.35 for tall in heights))
    figure = new_figure(width, height, heading)
    boot = (0.15 / width, 1 - 1.9 / height, 1.35 / width, 1.35 / height)
    Panel(figure, fitted(boot, figure, image.shape, "C")).image(in_grey(image))
    write_text(figure, 0.825 / width, 1 - 1.95 / height, caption, 8, ha="center", va="top")
    top = height - 0.2
    for pair, tall in zip(pairs, heights, strict=True):
        top -= 0.35 + tall
        for column, name in enumerate(pair):
            x = left + column * (side + gap)
            bounds = (x / width, top / height, side / width, tall / height)
            most = _show(figure, bounds, pictures[name], "NW")
            write_text(figure, x / width, (top + tall + 0.05) / height, f"{name} {shape_text(maps[name].shape)}", 8)
            bar = min(tall, 1.0)
            bounds = ((x + side + 0.08) / width, (top + tall - bar) / height, 0.08 / width, bar / height)
            scale_bar(figure, bounds, _COLOURS, 0, most, size=6)
        top -= max(1.0 - tall, 0)
    return figure


def layer_maps(image: NDArray[np.uint8], layer: NDArray[np.float32], heading: str) -> Figure:
    """Draw the image and one layer's maps, readable at 256 pixels: below the image, or beside it if they are high."""
    figure = new_figure(SMALL, SMALL, heading)
    picture = _mosaic(layer)
    high = picture.shape[0] > 0.7 * picture.shape[1]
    Panel(figure, fitted((0.01, 0.65, 0.22, 0.22), figure, image.shape, "C")).image(in_grey(image))
    most = _show(figure, (0.25, 0.01, 0.74, 0.81) if high else (0.01, 0.01, 0.98, 0.62), picture, "NE")
    write_text(figure, 0.99, 0.905, f"{shape_text(layer.shape)}, 0 to {most:.2g}", 8, ha="right", va="top")
    return figure


def _mosaic(layer: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the maps of a layer side by side: up to 64 in rows of 4 to 8, up to 256 in rows of 16, more of 32."""
    count = layer.shape[-1]
    columns = max(4, min(count, 8 if count <= 64 else 16 if count <= 256 else 32))
    return mosaic(layer.transpose(2, 0, 1), columns)


def _show(figure: Figure, bounds: Bounds, picture: NDArray[np.float32], anchor: Literal["NW", "NE"]) -> float:
    """Draw the maps on their common scale and return its upper end."""
    most = float(np.nanquantile(picture, MAP_QUANTILE)) or float(np.nanmax(picture)) or 1.0
    Panel(figure, fitted(bounds, figure, picture.shape, anchor)).image(coloured(picture, _COLOURS, 0, most))
    return most
