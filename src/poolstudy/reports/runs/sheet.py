"""A comparison as one picture: a column for each run, eight beside each other, the next eight below them.

All of it is drawn from the top down on one pair of axes whose unit is the inch: a pair for each of many hundred cells
would take most of a minute.
"""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poolstudy.figures.style import FAINT, GREY_INK, INK, in_grey, legible, new_figure
from poolstudy.reports.html.charts import Points, epochs, steps, ticks
from poolstudy.reports.html.numbers import MINUS
from poolstudy.reports.runs import pixel_images
from poolstudy.reports.runs.comparison import ComparedRun, Comparison, Histogram
from poolstudy.reports.runs.rows import AnyRow, Curve, CurveRow, DiagramRow, HistogramRow, PictureRow, Section, TextRow
from poolstudy.spec.colours import COLOURS, NEUTRAL

_ACROSS = 8  # runs
_COLUMN, _SIDE, _GAP, _MARGIN = 2.2, 2.0, 0.25, 0.3  # inches, as all lengths here
_CHART, _DIAGRAM, _IMAGE = 1.0, 3.0, 0.4
_LABELS = 0.7  # left of the first run: numbers of an axis, names of a matrix
_DPI, _MOST_PIXELS = 100, 40_000  # matplotlib draws no more than 65,535 in a column
_SIGNS = {"right": "✓ ", "wrong": "× "}


def save_sheet(comparison: Comparison, sections: Sequence[Section], path: Path) -> None:
    """Draw the sections and save them as PNG."""
    figure = _Sheet(comparison).draw(sections)
    dpi = min(_DPI, _MOST_PIXELS / figure.get_figheight())
    figure.savefig(path, format="png", dpi=dpi, pil_kwargs={"compress_level": 4})


class _Sheet:
    """The picture while it is drawn, free below `top`. Methods take distances from there, and return heights."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison, self.entries = comparison, comparison.entries
        self.class_names = {name: legible(name, label) for label, name in enumerate(comparison.class_names)}
        self.width = 2 * _MARGIN + _SIDE + min(len(self.entries), _ACROSS) * (_COLUMN + _GAP) - _GAP
        self.figure = new_figure(self.width, 1)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.top = -_MARGIN

    def draw(self, sections: Sequence[Section]) -> Figure:
        """Return the figure with all sections."""
        self._line(self.comparison.title, 14)
        for text in (self.comparison.about, *self.comparison.notes):
            self._line(text, 8, GREY_INK)
        for start in range(0, len(self.entries), _ACROSS):
            self._band(range(start, min(start + _ACROSS, len(self.entries))), sections)
        self.figure.set_size_inches(self.width, _MARGIN - self.top)
        self.axes.set(xlim=(0, self.width), ylim=(self.top - _MARGIN, 0), aspect="auto")
        return self.figure

    def _line(self, text: str, size: float, colour: str = INK, **style: Any) -> None:
        self.top -= self._text(_MARGIN, 0, text, size, colour, self.width - 2 * _MARGIN, **style)

    def _band(self, band: range, sections: Sequence[Section]) -> None:
        first = _MARGIN + _SIDE
        columns = [(run, first + column * (_COLUMN + _GAP)) for column, run in enumerate(band)]
        self.top -= 2 * _GAP
        self.top -= max(self._heading(self.entries[run], left) for run, left in columns)
        for section in sections:
            self.top -= _GAP
            self._line(section.title, 11, weight="bold")
            self._line(section.about, 7, GREY_INK)
            self.top -= 0.08
            for row in section.rows:
                height = max(self._side(row, first), *(self._cell(row, run, left) for run, left in columns))
                self.top -= height + (0.06 if isinstance(row, TextRow) else _GAP)

    def _heading(self, entry: ComparedRun, left: float) -> float:
        colour, down = _colour(entry), 0.07
        self.axes.plot([left, left + _COLUMN], [self.top] * 2, color=colour, linewidth=2.5, solid_capstyle="butt")
        state = "" if entry.standing == "complete" else f" ({entry.standing})"
        network = " · ".join(filter(None, (entry.kind, entry.title)))
        for text, size, ink in ((entry.name + state, 10, INK), (network, 8, colour), (entry.run_id[:8], 7, GREY_INK)):
            down += self._text(left, down, text, size, ink)
        return down

    def _side(self, row: AnyRow, right: float) -> float:
        left, down, shown = _MARGIN, 0.0, 0.0
        if row.image is not None:
            shown = self._pixels(left, 0, _IMAGE, in_grey(row.image))
            left += _IMAGE + 0.1
        for text, size, ink in ((row.title, 8, INK), (row.about, 7, GREY_INK)):
            down += self._text(left, down, text, size, ink, right - left - (_LABELS if row.image is None else 0.1))
        if isinstance(row, CurveRow | HistogramRow):
            self._label_axes(row, right)
        if isinstance(row, PictureRow):
            for index, name in enumerate(row.names):
                y = self.top - (index + 0.5) * _COLUMN / len(row.names)
                self._label(right - 0.05, y, self.class_names.get(name, name), 6, ha="right")
        if isinstance(row, PictureRow) and row.colours:
            self._pixels(left, down + 0.05, 1, np.linspace(0, 1, 64)[None], height=0.07, cmap=row.colours)
            for text, x, side in zip(row.ends, (left, left + 1), ("left", "right"), strict=True):
                self._label(x, self.top - down - 0.14, text, ha=side, va="top")
            down += 0.28
        return max(down, shown)

    def _label_axes(self, row: CurveRow | HistogramRow, left: float) -> None:
        x_ticks, y_ticks = _ticks(row)
        for tick, y in zip(y_ticks, self._place(row, left, [(0, tick) for tick in y_ticks])[1], strict=True):
            self._label(left - 0.05, y, f"{tick:g}".replace("-", MINUS), ha="right")
        for tick, x in zip(x_ticks, self._place(row, left, [(tick, 0) for tick in x_ticks])[0], strict=True):
            self._label(x, self.top - _CHART - 0.03, f"{tick:g}".replace("-", MINUS), ha="center", va="top")

    def _cell(self, row: AnyRow, run: int, left: float) -> float:
        entry, caption, down = self.entries[run], row.caption(run), 0.03
        match row, row.cells[run]:
            case TextRow(), str(text):
                mark = row.marks.get(run, "")
                words = f"{_SIGNS.get(mark, '')}{self.class_names.get(text, text)}  {caption}"
                colour, weight = pixel_images.WORSE if mark == "wrong" else INK, "bold" if mark == "best" else "normal"
                return self._text(left, 0, words, 8, colour, weight=weight)
            case CurveRow(), Curve() as cell:
                down += self._curve(row, cell, left, _colour(entry))
            case HistogramRow(), Histogram() as cell:
                down += self._histogram(row, cell, left, _colour(entry))
            case PictureRow(), np.ndarray() as cell:
                colours, (low, high) = row.colours or pixel_images.own_colours(entry.pooling), row.scale
                down += self._pixels(left, 0, _COLUMN, cell, cmap=colours, vmin=low, vmax=high)
                if texts := row.texts[run] if row.texts else None:
                    self._numbers(left, texts, pixel_images.is_dark(cell, colours, low, high))
            case DiagramRow(), bytes(png):
                pixels = pixel_images.read(png)
                width = min(_COLUMN, _DIAGRAM * pixels.shape[1] / pixels.shape[0])
                down += self._pixels(left, 0, width, pixels, interpolation="antialiased")
            case _:
                return self._text(left, 0, caption, 8, GREY_INK)
        return down + self._text(left, down, caption, 7, GREY_INK)

    def _curve(self, row: CurveRow, curve: Curve, left: float, colour: str) -> float:
        others = [point for other in row.cells if other for point in (*other.validation, (math.nan, math.nan))]
        self.axes.plot(*self._place(row, left, others), color=INK, alpha=0.16, linewidth=0.8)
        self.axes.plot(*self._place(row, left, curve.training), color=NEUTRAL, linewidth=1)
        self.axes.plot(*self._place(row, left, curve.validation), color=colour, linewidth=1.6)
        marked = [point for point in curve.validation if point[0] == curve.best]
        self.axes.plot(*self._place(row, left, marked), "o", color=colour, markersize=4)
        return self._grid(row, left)

    def _histogram(self, row: HistogramRow, cell: Histogram, left: float, colour: str) -> float:
        if cell.untrained:
            outline = self._place(row, left, steps(row.edges, cell.untrained))
            self.axes.fill(*outline, color=NEUTRAL, alpha=0.4, linewidth=0)
        self.axes.plot(*self._place(row, left, steps(row.edges, cell.trained)), color=colour, linewidth=1.3)
        return self._grid(row, left)

    def _grid(self, row: CurveRow | HistogramRow, left: float) -> float:
        heights = self._place(row, left, [(0, tick) for tick in _ticks(row)[1]])[1]
        self.axes.hlines(heights, left, left + _COLUMN, color=FAINT, linewidth=0.6, zorder=0)
        return _CHART + 0.14  # the numbers of x

    def _place(self, row: CurveRow | HistogramRow, left: float, points: Points) -> tuple[list[float], list[float]]:
        (x0, x1), (y0, y1) = row.x, row.y
        across, up, bottom = _COLUMN / ((x1 - x0) or 1), _CHART / ((y1 - y0) or 1), self.top - _CHART
        return [left + (x - x0) * across for x, _ in points], [bottom + (y - y0) * up for _, y in points]

    def _numbers(self, left: float, texts: Sequence[Sequence[str]], dark: Sequence[Sequence[bool]]) -> None:
        side = _COLUMN / len(texts)
        for (row, column), text in np.ndenumerate(np.array(texts)):
            if text:
                x, y = left + (column + 0.5) * side, self.top - (row + 0.5) * side
                self._label(x, y, text, 5.5, "white" if dark[row][column] else INK, ha="center")

    def _pixels(self, left: float, down: float, width: float, pixels: NDArray[Any], **style: Any) -> float:
        height = style.pop("height", width * pixels.shape[0] / pixels.shape[1])
        top = self.top - down
        style = {"extent": (left, left + width, top - height, top), "interpolation": "nearest", **style}
        self.axes.imshow(pixels, aspect="auto", **style)
        return float(height)

    def _text(
        self, left: float, down: float, text: str, size: float, colour: str = INK, width: float = _COLUMN, **style: Any
    ) -> float:
        letters = max(8, int(width * 72 / (0.55 * size)))
        lines = [
            part for line in self.class_names.get(text, text).splitlines() for part in textwrap.wrap(line, letters)
        ]
        self._label(left, self.top - down, "\n".join(lines), size, colour, va="top", **style)
        return len(lines) * 1.3 * size / 72

    def _label(self, x: float, y: float, text: str, size: float = 7, colour: str = GREY_INK, **style: Any) -> None:
        self.axes.text(x, y, text, fontsize=size, color=colour, parse_math=False, **{"va": "center", **style})


def _ticks(row: CurveRow | HistogramRow) -> tuple[list[float], list[float]]:
    """Return the numbers on x and y, which are those of the page."""
    if isinstance(row, CurveRow):
        return epochs(round(row.x[1])), ticks(*row.y)
    return [tick for tick in ticks(*row.x) if abs(tick) < row.x[1] * 0.95], ticks(*row.y, most=3)


def _colour(entry: ComparedRun) -> str:
    return COLOURS[entry.pooling] if entry.pooling else INK
