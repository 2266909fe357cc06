"""Kernels, feature maps and tables of numbers as plain pictures: one pixel a number, on a scale that is given.

They are to be shown side by side, enlarged: so their columns are always as many, and a tile of one run is as large as
that of another. Equal numbers give equal bytes.
"""

import io
from collections.abc import Sequence

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
_SHOWN = 255  # colours of a palette; the last place of 256 is for what is not there

COLUMNS = 8
MOST_TILES, MOST_LINES = 64, 16


def kernel_picture(kernel: FloatArray) -> FloatArray:
    """A convolution: of one input channel the first 64 filters, 8 in a row; of more, 16 filters across and 16
    channels down. NaN where there is nothing."""
    if kernel.shape[2] == 1:
        return _wide(kernel[:, :, 0, :MOST_TILES].transpose(2, 0, 1), COLUMNS)
    slices = kernel[:, :, :MOST_LINES, :MOST_LINES].transpose(2, 3, 0, 1)
    full = np.full((slices.shape[0], MOST_LINES, *kernel.shape[:2]), np.nan, np.float32)
    full[:, : slices.shape[1]] = slices
    return mosaic(full.reshape(-1, *kernel.shape[:2]), MOST_LINES)


def kernel_caption(kernel: FloatArray) -> str:
    """What of it `kernel_picture` shows."""
    channels, filters = kernel.shape[2:]
    if channels == 1:
        return f"{_of(filters, MOST_TILES)} filters"
    return f"{_of(filters, MOST_LINES)} filters across, {_of(channels, MOST_LINES)} inputs down"


def maps_picture(maps: FloatArray) -> FloatArray:
    """The first 64 maps of a layer, (rows, columns, channels), 8 in a row. NaN where there is nothing."""
    return _wide(maps[..., :MOST_TILES].transpose(2, 0, 1), COLUMNS)


def maps_caption(maps: FloatArray) -> str:
    rows, columns, channels = maps.shape
    return f"{_of(channels, MOST_TILES)} maps of {rows} × {columns}"


def to_png(picture: FloatArray, colours: Colormap, low: float, high: float) -> bytes:
    """A picture of numbers, (rows, columns), as PNG; NaN is transparent."""
    share = np.clip((picture - low) / ((high - low) or 1), 0, 1)
    places = np.where(np.isnan(share), _SHOWN, np.rint(np.nan_to_num(share) * (_SHOWN - 1)))
    image = Image.fromarray(places.astype(np.uint8), mode="P")
    palette = colours(np.linspace(0, 1, _SHOWN), bytes=True)[:, :3]
    image.putpalette(np.vstack([palette, [[255, 255, 255]]]).astype(np.uint8).tobytes())
    return _saved(image, transparency=_SHOWN)


def share_png(counts: NDArray[np.intp], pooling: Pooling | None) -> bytes:
    """A confusion matrix: shares of the true class, (classes, classes), their square roots in the pooling's colour."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return to_png(np.sqrt(share).astype(np.float32), shades(pooling) if pooling else colormaps["Greys"], 0, 1)


def image_png(image: NDArray[np.uint8]) -> bytes:
    """An image of the data, (rows, columns, channels); a grey one dark on light, as the notebook shows them."""
    return _saved(Image.fromarray(in_grey(image)))


def smaller(picture: bytes, colours: int = 32) -> bytes:
    """A drawing in few colours, as PNG, in a fraction of the bytes."""
    with Image.open(io.BytesIO(picture)) as image:
        return _saved(image.convert("RGB").quantize(colours))


def read(picture: bytes) -> NDArray[np.uint8]:
    """A PNG's pixels, (rows, columns, 3)."""
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGB"))


def scale_png(colours: Colormap) -> bytes:
    """A colour scale, from low to high, one pixel high."""
    return to_png(np.linspace(0, 1, 64, dtype=np.float32)[None], colours, 0, 1)


def _wide(tiles: Sequence[FloatArray] | FloatArray, columns: int) -> FloatArray:
    """As many columns as there are, whether there are tiles for them or not."""
    tiles = np.asarray(tiles)
    missing = max(0, columns - len(tiles))
    return mosaic(np.pad(tiles, ((0, missing), (0, 0), (0, 0)), constant_values=np.nan), columns)


def _of(count: int, most: int) -> str:
    return f"{count}" if count <= most else f"{most} of {count}"


def _saved(image: Image.Image, **settings: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=6, **settings)
    return file.getvalue()
