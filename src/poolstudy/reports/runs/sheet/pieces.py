"""What a sheet is made of: places in inches, texts, pictures, and axes of hair lines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from poolstudy.figures.style import FAINT, GREY_INK, INK
from poolstudy.reports.runs.comparison import ComparedRun
from poolstudy.spec.colours import COLOURS

COLUMN = 2.2
"""Inches that a run is wide."""


@dataclass(frozen=True)
class Box:
    """A place on the sheet in inches, from its lower left corner; and what x and y span there."""

    left: float
    bottom: float
    width: float
    height: float
    x: tuple[float, float] = (0, 1)
    y: tuple[float, float] = (0, 1)

    def place(self, x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
        """Where points lie on the sheet."""
        across = self.width / ((self.x[1] - self.x[0]) or 1)
        up = self.height / ((self.y[1] - self.y[0]) or 1)
        return [self.left + (one - self.x[0]) * across for one in x], [
            self.bottom + (one - self.y[0]) * up for one in y
        ]


Draw = Callable[[Axes, Box, int], None]


@dataclass(frozen=True)
class Line:
    """A row of the sheet: how high it is in inches, and what is drawn of the run at a position.

    Attributes:
        x, y: what its panels' axes span; where they have none, None and (0, 1).
    """

    title: str
    height: float
    draw: Draw
    x: tuple[float, float] | None = None
    y: tuple[float, float] = (0, 1)
    image: NDArray[np.uint8] | None = None


def write(axes: Axes, x: float, y: float, text: str, size: float = 8, colour: str = INK, side: str = "left") -> None:
    axes.text(x, y, text, ha=side, va="top", fontsize=size, color=colour, parse_math=False)


def show(axes: Axes, left: float, top: float, width: float, picture: NDArray[np.generic], **colours: object) -> None:
    """A picture at its own proportions, hung at a corner."""
    high = width * picture.shape[0] / picture.shape[1]
    axes.imshow(picture, extent=(left, left + width, top - high, top), aspect="auto", **colours)  # type: ignore[arg-type]


def frame(axes: Axes, box: Box, *, labels: bool) -> None:
    """Hair lines at round numbers; the numbers themselves in the first column, for all share them."""
    across, up = ([tick for tick in MaxNLocator(3, integer=whole).tick_values(*span) if span[0] <= tick <= span[1]]
                  for span, whole in ((box.x, box.x[1] > 1.5), (box.y, False)))  # fmt: skip
    (left, right), _ = box.place(box.x, (0, 0))
    _, heights = box.place((0,) * len(up), up)
    axes.hlines(heights, left, right, color=FAINT, linewidth=0.6)
    if labels:
        for tick, y in zip(up, heights, strict=True):
            axes.text(left - 0.05, y, f"{tick:g}", ha="right", va="center", fontsize=7, color=GREY_INK)
        for tick, x in zip(across, box.place(across, (0,) * len(across))[0], strict=True):
            write(axes, x, box.bottom - 0.03, f"{tick:g}", 7, GREY_INK, "center")


def missing(axes: Axes, box: Box) -> None:
    write(axes, box.left, box.bottom + box.height, "–", 9, GREY_INK)


def ink(entry: ComparedRun) -> str:
    return COLOURS[entry.pooling] if entry.pooling else INK
