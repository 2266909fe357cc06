"""Kernels as pictures, untrained and trained, on one colour scale with white at zero."""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from poolstudy.figures.panel import Panel, coloured, fitted, scale_bar
from poolstudy.figures.style import SMALL, mosaic, new_figure, write_text
from poolstudy.network.weights import FloatArray, Weights

WEIGHT_COLOURS = colormaps["RdBu_r"].with_extremes(bad="white")
# Limits: tiles of a convolution with one input channel; filters and input channels of any other; SMALL at 256 pixels.
_MAX_TILES, _MAX_CHANNELS = 512, 64
_SMALL_TILES, _SMALL_CHANNELS = 64, 12
_STACKED = ((0.02, 0.45, 0.96, 0.36), (0.02, 0.01, 0.96, 0.36))  # left, bottom, width, height
_BESIDE = ((0.02, 0.02, 0.47, 0.8), (0.51, 0.02, 0.47, 0.8))


def kernels(untrained: Weights, trained: Weights, limit: float, heading: str) -> Figure:
    """Draw every convolution of a network, one below the other.

    With one input channel: a tile per filter, 16 in a row, untrained above trained. With more: a column per filter
    and a row per input channel, at most 64 of each, untrained beside trained.

    Args:
        limit: the colours span the weights from -limit to limit.
    """
    convolutions = [name for name, kernel in trained.items() if kernel.ndim == 4]
    rows = [row for name in convolutions for row in _rows(name, untrained, trained)]
    width, left, margin, gap = 7.0, 0.25, 0.3, 0.15
    sides = [(width - gap * (len(row) - 1)) / len(row) for row in rows]
    heights = [side * row[0][1].shape[0] / row[0][1].shape[1] for side, row in zip(sides, rows, strict=True)]
    full, height = left + width + 0.6, 0.25 + margin * len(rows) + sum(heights)
    figure = new_figure(full, height, heading)
    top = height - 0.2
    for row, side, tall in zip(rows, sides, heights, strict=True):
        top -= margin + tall
        for column, (caption, picture) in enumerate(row):
            x = left + column * (side + gap)
            bounds = (x / full, top / height, side / full, tall / height)
            Panel(figure, bounds).image(coloured(picture, WEIGHT_COLOURS, -limit, limit))
            write_text(figure, x / full, (top + tall + 0.05) / height, caption, 8)
    bar = ((full - 0.5) / full, 1 - 1.6 / height, 0.1 / full, 1.1 / height)
    scale_bar(figure, bar, WEIGHT_COLOURS, -limit, limit, size=7)
    return figure


def _rows(name: str, untrained: Weights, trained: Weights) -> list[list[tuple[str, FloatArray]]]:
    """Return a convolution's captions and pictures, row by row: one picture per row for one input channel, else two."""
    kernel = trained[name]
    most = _MAX_TILES if kernel.shape[2] == 1 else _MAX_CHANNELS
    before, after = (_picture(weights[name], most, columns=16) for weights in (untrained, trained))
    caption = f"{name.partition('/')[0]}: {_caption(kernel, most)}"
    if kernel.shape[2] == 1:
        return [[(f"{caption}, untrained", before)], [(f"{caption}, trained", after)]]
    return [[(f"{caption}, untrained", before), ("trained", after)]]


def layer_kernels(name: str, untrained: Weights, trained: Weights, limit: float, heading: str) -> Figure:
    """Draw one convolution, readable at 256 pixels: of many tiles only the first."""
    figure = new_figure(SMALL, SMALL, heading)
    kernel = trained[name]
    most, boxes = (_SMALL_TILES, _STACKED) if kernel.shape[2] == 1 else (_SMALL_CHANNELS, _BESIDE)
    write_text(figure, 0.5, 0.91, _caption(kernel, most), 8, ha="center", va="top")
    for bounds, label, weights in zip(boxes, ("untrained", "trained"), (untrained, trained), strict=True):
        picture = _picture(weights[name], most, columns=8 if kernel.shape[3] <= 32 else 16)
        left, bottom, width, tall = fitted(bounds, figure, picture.shape, "N")
        Panel(figure, (left, bottom, width, tall)).image(coloured(picture, WEIGHT_COLOURS, -limit, limit))
        write_text(figure, left + width / 2, bottom + tall + 0.01, label, 8, ha="center")
    return figure


def _caption(kernel: FloatArray, most: int) -> str:
    channels, filters = (f"{count}" if count <= most else f"{most} of {count}" for count in kernel.shape[2:])
    if kernel.shape[2] == 1:
        return f"{filters} filter{'' if kernel.shape[3] == 1 else 's'}"
    return f"{filters} filters across, {channels} inputs down"


def _picture(kernel: FloatArray, most: int, columns: int) -> FloatArray:
    """Return one picture of a kernel's slices, at most `most` filters and input channels."""
    if kernel.shape[2] == 1:
        tiles = kernel[:, :, 0, :most].transpose(2, 0, 1)
        return mosaic(tiles, columns if len(tiles) <= 128 else 32)
    slices = kernel[:, :, :most, :most].transpose(2, 3, 0, 1)
    picture = mosaic(slices.reshape(-1, *kernel.shape[:2]), columns=slices.shape[1])
    # Few filters leave white on the right: no weight is larger than in a row of 16, no picture higher than wide.
    least = max(min(16, most), slices.shape[0]) * (kernel.shape[1] + 1) - 1
    return np.pad(picture, ((0, 0), (0, max(0, least - picture.shape[1]))), constant_values=np.nan)
