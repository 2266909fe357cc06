"""What a comparison's page is made of: sections of lines, each a title and a cell for every run."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup

from poolstudy.reports.runs import pixel_images
from poolstudy.reports.runs.comparison import Comparison


@dataclass(frozen=True)
class Cell:
    """What a line has of one run: a text, a picture (PNG) or a chart, and a text below it."""

    text: str = ""
    below: str = ""
    kind: str = ""
    picture: bytes | None = None
    chart: Markup | None = None


NONE = Cell("–", kind="none")


@dataclass(frozen=True)
class Line:
    """A title, what it means, and a cell for every run.

    Attributes:
        scale: a colour scale, its lower and its upper end.
        image: an image of the data.
    """

    title: str
    cells: Sequence[Cell]
    about: str = ""
    kind: str = ""
    scale: tuple[bytes, str, str] | None = None
    image: bytes | None = None


@dataclass(frozen=True)
class Section:
    title: str
    about: str
    lines: Sequence[Line] = field(default_factory=list)


def image_of(comparison: Comparison, image: int) -> bytes | None:
    """A validation image by its position; None where the images are not on this machine."""
    return None if comparison.images is None else pixel_images.image_png(np.asarray(comparison.images[image]))
