"""Kernels as small pictures, untrained above trained, on one colour scale with white at zero."""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from poolstudy.figures.panel import Bounds, Panel, coloured, fitted, scale_bar
from poolstudy.figures.style import SMALL, mosaic, new_figure, write_text
from poolstudy.network.weights import FloatArray, Weights

WEIGHT_COLOURS = colormaps["RdBu_r"].with_extremes(bad="white")
# How many are drawn: tiles of a first convolution; filters, and input channels, of a later one; and at 256 pixels.
_MOST_TILES, _MOST_LINES = 512, 64
_SMALL_TILES, _SMALL_LINES = 64, 12
_STACKED = ((0.02, 0.45, 0.96, 0.36), (0.02, 0.01, 0.96, 0.36))  # left, bottom, width, height
_BESIDE = ((0.02, 0.02, 0.47, 0.8), (0.51, 0.02, 0.47, 0.8))


def kernels(untrained: Weights, trained: Weights, limit: float, heading: str) -> Figure:
    """Every convolution of a network, one below the other.

    A convolution of one input channel has a tile a filter, 16 in a row, untrained above trained. One of more
    channels has a column a filter and a row an input channel, at most 64 of each, untrained beside trained.

    Args:
        limit: the colours span the weights from -limit to limit.
    """
    lines = [line for name in trained for line in _lines(name, untrained, trained)]
    width, left, margin, gap = 7.0, 0.25, 0.3, 0.15
    sides = [(width - gap * (len(line) - 1)) / len(line) for line in lines]
    heights = [side * line[0][1].shape[0] / line[0][1].shape[1] for side, line in zip(sides, lines, strict=True)]
    full, height = left + width + 0.6, 0.25 + margin * len(lines) + sum(heights)
    figure = new_figure(full, height, heading)
    top = height - 0.2
    for line, side, tall in zip(lines, sides, heights, strict=True):
        top -= margin + tall
        for column, (caption, picture) in enumerate(line):
            x = left + column * (side + gap)
            _show(figure, (x / full, top / height, side / full, tall / height), picture, limit)
            write_text(figure, x / full, (top + tall + 0.05) / height, caption, 8)
    bar = ((full - 0.5) / full, 1 - 1.6 / height, 0.1 / full, 1.1 / height)
    scale_bar(figure, bar, WEIGHT_COLOURS, -limit, limit, size=7)
    return figure


def _lines(name: str, untrained: Weights, trained: Weights) -> list[list[tuple[str, FloatArray]]]:
    """A convolution's pictures with their captions: tiles one above the other, lines of them beside each other."""
    kernel = trained[name]
    if kernel.ndim != 4:
        return []
    before, after = (_picture(weights[name], _most(kernel), columns=16) for weights in (untrained, trained))
    caption = _caption(name, kernel, _most(kernel))
    if kernel.shape[2] == 1:
        return [[(f"{caption}, untrained", before)], [(f"{caption}, trained", after)]]
    return [[(f"{caption}, untrained", before), ("trained", after)]]


def layer_kernels(name: str, untrained: Weights, trained: Weights, limit: float, heading: str) -> Figure:
    """One convolution, to be read at 256 pixels: fewer of its tiles where there are many."""
    figure = new_figure(SMALL, SMALL, heading)
    kernel = trained[name]
    flat = kernel.shape[2] == 1
    most = _SMALL_TILES if flat else _SMALL_LINES
    places = _STACKED if flat else _BESIDE
    write_text(figure, 0.5, 0.91, _caption("", kernel, most), 8, ha="center", va="top")
    for bounds, label, weights in zip(places, ("untrained", "trained"), (untrained, trained), strict=True):
        picture = _picture(weights[name], most, columns=8 if kernel.shape[3] <= 32 else 16)
        left, bottom, width, tall = fitted(bounds, figure, picture.shape, "N")
        _show(figure, (left, bottom, width, tall), picture, limit)
        write_text(figure, left + width / 2, bottom + tall + 0.01, label, 8, ha="center")
    return figure


def _caption(name: str, kernel: FloatArray, most: int) -> str:
    channels, filters = kernel.shape[2:]
    layer = f"{name.partition('/')[0]}: " if name else ""
    if channels == 1:
        return f"{layer}{_some(filters, most)} filter{'' if filters == 1 else 's'}"
    return f"{layer}{_some(filters, most)} filters across, {_some(channels, most)} inputs down"


def _most(kernel: FloatArray) -> int:
    return _MOST_TILES if kernel.shape[2] == 1 else _MOST_LINES


def _some(count: int, most: int) -> str:
    return f"{count}" if count <= most else f"{most} of {count}"


def _picture(kernel: FloatArray, most: int, columns: int) -> FloatArray:
    """A convolution's kernel as one picture of its slices."""
    if kernel.shape[2] == 1:
        tiles = kernel[:, :, 0, :most].transpose(2, 0, 1)
        return mosaic(tiles, columns if len(tiles) <= 128 else 32)
    slices = kernel[:, :, :most, :most].transpose(2, 3, 0, 1)
    picture = mosaic(slices.reshape(-1, *kernel.shape[:2]), columns=slices.shape[1])
    # Few filters leave paper on the right: no weight is larger than in a row of 16, no picture higher than wide.
    least = max(min(16, most), slices.shape[0]) * (kernel.shape[1] + 1) - 1
    return np.pad(picture, ((0, 0), (0, max(0, least - picture.shape[1]))), constant_values=np.nan)


def _show(figure: Figure, bounds: Bounds, picture: FloatArray, limit: float) -> None:
    Panel(figure, bounds).image(coloured(picture, WEIGHT_COLOURS, -limit, limit))
