"""A comparison as one picture: a column for each run, eight beside each other, the next eight below them.

All of it is drawn on one pair of axes whose unit is the inch, y upwards: a pair for each of many hundred panels
would take most of a minute.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from poolstudy.figures.style import INK, in_grey, new_figure
from poolstudy.reports.runs.comparison import ComparedRun, Comparison
from poolstudy.reports.runs.sheet.lines import lines_of
from poolstudy.reports.runs.sheet.pieces import COLUMN, Box, Line, frame, ink, show, write

_ACROSS = 8
_SIDE, _GAP, _MARGIN, _HEADING = 1.5, 0.25, 0.3, 0.8  # inches
_DPI = 100


def save_sheet(comparison: Comparison, path: Path) -> None:
    """Draws the comparison and saves it as PNG."""
    sheet(comparison).savefig(path, format="png", dpi=_DPI, pil_kwargs={"compress_level": 4})


def sheet(comparison: Comparison) -> Figure:
    """The whole sheet."""
    lines = list(lines_of(comparison))
    count = len(comparison.entries)
    bands = [range(start, min(start + _ACROSS, count)) for start in range(0, count, _ACROSS)]
    tall = _HEADING + sum(line.height + _GAP for line in lines)
    width = _SIDE + min(count, _ACROSS) * (COLUMN + _GAP) + 2 * _MARGIN
    height = tall * len(bands) + 2 * _MARGIN
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for number, band in enumerate(bands):
        _band(axes, comparison, lines, band, height - _MARGIN - number * tall)
    axes.set(xlim=(0, width), ylim=(0, height), aspect="auto")
    return figure


def _band(axes: Axes, comparison: Comparison, lines: Sequence[Line], band: range, top: float) -> None:
    for column, run in enumerate(band):
        _heading(axes, comparison.entries[run], _left(column), top)
    top -= _HEADING
    for line in lines:
        bottom = top - line.height
        write(axes, _MARGIN, top, line.title)
        if line.image is not None:
            show(axes, _MARGIN, top - (0.36 if line.x is None and line.height > 0.5 else 0), 0.4, in_grey(line.image))
        for column, run in enumerate(band):
            box = Box(_left(column), bottom, COLUMN, line.height, line.x or (0, 1), line.y)
            if line.x:
                frame(axes, box, labels=column == 0)
            line.draw(axes, box, run)
        top = bottom - _GAP


def _left(column: int) -> float:
    return _MARGIN + _SIDE + column * (COLUMN + _GAP)


def _heading(axes: Axes, entry: ComparedRun, x: float, y: float) -> None:
    colour = ink(entry)
    state = "" if entry.standing == "complete" else f" ({entry.standing})"
    reached = entry.metrics.get("best_val_accuracy")
    accuracy = f"validation accuracy {reached:.4f}" if reached is not None else "no accuracy"
    axes.plot([x, x + COLUMN], [y, y], color=colour, linewidth=2.5, solid_capstyle="butt")
    texts = ((entry.name + state, 10, INK), (f"{entry.kind} · {entry.title}", 8, colour), (accuracy, 8, INK))
    for down, (text, size, shade) in zip((0.07, 0.28, 0.45), texts, strict=True):
        write(axes, x, y - down, text, size, shade)
