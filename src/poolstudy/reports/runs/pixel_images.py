"""Kernels, feature maps and tables of numbers as plain pictures: one pixel a number, on a scale that is given.

They are shown side by side, enlarged: so their columns are always as many, and a tile of one run is as large as
that of another. Equal numbers give equal bytes.
"""

import io

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap
from numpy.typing import NDArray
from PIL import Image

from poolstudy.figures.style import in_grey, mosaic, shades
from poolstudy.network.weights import FloatArray
from poolstudy.spec.space import Pooling

WEIGHT_SCALE: Colormap = colormaps["RdBu_r"]
MAP_SCALE: Colormap = colormaps["viridis"]
BETTER_SCALE: Colormap = colormaps["PRGn"]
"""White at zero; green is better, purple worse."""
WORSE = "#762A83"
_SHOWN = 255  # colours of a palette; the last index of 256 is for missing values

COLUMNS = 8
MOST_TILES, MOST_LINES = 64, 16


def own_colours(pooling: Pooling | None) -> Colormap:
    """Return the colours from white to that of a run's pooling."""
    return shades(pooling) if pooling else colormaps["Greys"]


def kernel_picture(kernel: FloatArray) -> FloatArray:
    """Return a convolution's kernels as tiles, NaN where there is none.

    Of one input channel the first 64 filters, 8 in a row; of more, 16 filters across and 16 channels down.
    """
    if kernel.shape[2] == 1:
        return _wide(kernel[:, :, 0, :MOST_TILES].transpose(2, 0, 1))
    missing = max(0, MOST_LINES - kernel.shape[3])
    tiles = np.pad(kernel[:, :, :MOST_LINES, :MOST_LINES], [(0, 0)] * 3 + [(0, missing)], constant_values=np.nan)
    return mosaic(tiles.transpose(2, 3, 0, 1).reshape(-1, *kernel.shape[:2]), MOST_LINES)


def kernel_caption(kernel: FloatArray) -> str:
    """Return which part of a kernel `kernel_picture` shows."""
    channels, filters = kernel.shape[2:]
    if channels == 1:
        return f"{_of(filters, MOST_TILES)} filters"
    return f"{_of(filters, MOST_LINES)} filters across, {_of(channels, MOST_LINES)} inputs down"


def maps_picture(maps: FloatArray) -> FloatArray:
    """Return the first 64 maps of a layer, (rows, columns, channels), 8 in a row; NaN where there is none."""
    return _wide(maps[..., :MOST_TILES].transpose(2, 0, 1))


def maps_caption(maps: FloatArray) -> str:
    """Return which part of a layer's maps `maps_picture` shows."""
    rows, columns, channels = maps.shape
    return f"{_of(channels, MOST_TILES)} maps of {rows} × {columns}"


def to_png(picture: FloatArray, colours: Colormap, low: float, high: float) -> bytes:
    """Return a picture of numbers, (rows, columns), as PNG; NaN is transparent."""
    share = np.clip((picture - low) / ((high - low) or 1), 0, 1)
    indices = np.where(np.isnan(share), _SHOWN, np.rint(np.nan_to_num(share) * (_SHOWN - 1)))
    image = Image.fromarray(indices.astype(np.uint8), mode="P")
    palette = colours(np.linspace(0, 1, _SHOWN), bytes=True)[:, :3]
    image.putpalette(np.vstack([palette, [[255, 255, 255]]]).astype(np.uint8).tobytes())
    return _saved(image, transparency=_SHOWN)


def is_dark(picture: FloatArray, colours: Colormap, low: float, high: float) -> list[list[bool]]:
    """Return for each number of a picture whether text on its pixel should be white."""
    luma = colours((picture - low) / ((high - low) or 1))[..., :3] @ (0.299, 0.587, 0.114)
    return [[bool(dark) for dark in row] for row in luma < 0.6]


def image_png(image: NDArray[np.uint8]) -> bytes:
    """Return an image of the data, (rows, columns, channels), as PNG; a grey one dark on light, as in the notebook."""
    return _saved(Image.fromarray(in_grey(image)))


def smaller(picture: bytes, colours: int = 32) -> bytes:
    """Return a PNG in few colours, in a fraction of the bytes."""
    with Image.open(io.BytesIO(picture)) as image:
        return _saved(image.convert("RGB").quantize(colours))


def read(picture: bytes) -> NDArray[np.uint8]:
    """Return a PNG's pixels, (rows, columns, 3)."""
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGB"))


def _wide(tiles: FloatArray) -> FloatArray:
    missing = max(0, COLUMNS - len(tiles))
    return mosaic(np.pad(tiles, ((0, missing), (0, 0), (0, 0)), constant_values=np.nan), COLUMNS)


def _of(count: int, most: int) -> str:
    return f"{count}" if count <= most else f"{most} of {count}"


def _saved(image: Image.Image, **settings: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=6, **settings)
    return file.getvalue()
