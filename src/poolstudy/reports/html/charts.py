"""Small SVG charts inside a page.

They hold only numbers and our own words, so nothing needs escaping, except the names in a matrix. Their colours are
CSS classes: `average`, `max`, `neutral`, `ghost`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from poolstudy.figures.panel import round_ticks
from poolstudy.reports.html.numbers import MINUS

WIDTH, HEIGHT = 248, 132
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 6, 8, 20
_NAME_WIDTH = 64  # of the row names of a matrix

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Frame:
    """Axes of a chart: the ranges of x and y, and the chart's size."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = WIDTH
    height: float = HEIGHT

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return a point's position on the chart, from the upper left corner."""
        right = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        wide, high = self.width - _LEFT - _RIGHT, self.height - _TOP - _BOTTOM
        return _LEFT + right * wide, self.height - _BOTTOM - up * high

    def path(self, points: Points) -> str:
        """Return the SVG path through the finite points."""
        placed = (self.place(x, y) for x, y in points if math.isfinite(y))
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed) if points else ""


def svg(frame: Frame, parts: Iterable[str], label: str, kind: str = "") -> Markup:
    """Return a whole chart; `label` describes it for screen readers, `kind` is a CSS class."""
    size = f'viewBox="0 0 {frame.width:g} {frame.height:g}"'
    return Markup(f'<svg class="chart {kind}" {size} role="img" aria-label="{label}">{"".join(parts)}</svg>')  # noqa: S704


def axes(frame: Frame, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> Iterator[str]:
    """Yield labelled ticks, and a thin grid line at each of y."""
    right = frame.width - _RIGHT
    for tick in y_ticks:
        _, y = frame.place(frame.x[0], tick)
        yield f'<path class="hair" d="M{_LEFT} {y:.1f}H{right:g}"/>'
        yield f'<text x="{_LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{_tick(tick)}</text>'
    for tick in x_ticks:
        x, _ = frame.place(tick, frame.y[0])
        yield f'<text x="{x:.1f}" y="{frame.height - 6:g}" text-anchor="middle">{_tick(tick)}</text>'


def line(frame: Frame, points: Points, kind: str) -> str:
    return f'<path class="line {kind}" d="{frame.path(points)}"/>'


def dot(frame: Frame, x: float, y: float, kind: str, radius: float = 3) -> str:
    cx, cy = frame.place(x, y)
    return f'<circle class="dot {kind}" cx="{cx:.1f}" cy="{cy:.1f}" r="{radius:g}"/>'


def steps(edges: Sequence[float], heights: Sequence[float]) -> list[tuple[float, float]]:
    """Return the outline of a histogram's bars, from 0 to 0."""
    return list(zip(np.repeat(edges, 2).tolist(), [0, *np.repeat(heights, 2).tolist(), 0], strict=True))


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Return round numbers from `low` to `high`, at most `most` steps of 1, 2 or 5 times a power of ten."""
    return round_ticks(low, high, most, steps=(1, 2, 5, 10)) if high > low else [low]


def epochs(last: int) -> list[float]:
    """Return the epochs to label: the first and about four more."""
    return [float(epoch) for epoch in range(1, last + 1, max(1, math.ceil((last - 1) / 4)))]


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", MINUS)


def curve(frame: Frame, ghost: str, training: Points, validation: Points, best: int, kind: str, label: str) -> Markup:
    """Draw one run's curves of a metric, in front of all runs' faint ones.

    Args:
        ghost: the ID of the path that `ghosts` defines.
        best: the epoch to mark.
    """
    parts = [*axes(frame, epochs(round(frame.x[1])), ticks(*frame.y)), f'<use href="#{ghost}"/>']
    parts += [line(frame, training, "neutral"), line(frame, validation, kind)]
    parts += [dot(frame, x, y, kind) for x, y in validation if x == best]
    return svg(frame, parts, label)


def ghosts(frame: Frame, name: str, curves: Sequence[Points]) -> Markup:
    """Return all runs' curves as one path, which each chart refers to."""
    path = "".join(frame.path(points) for points in curves if len(points) > 1)
    return Markup(f'<path id="{name}" class="ghost" d="{path}"/>')  # noqa: S704


def histogram(
    frame: Frame, edges: Sequence[float], before: Sequence[float], after: Sequence[float], kind: str, label: str
) -> Markup:
    """Draw untrained weights as a grey area, trained ones as an outline."""
    area = f'<path class="area neutral" d="{frame.path(steps(edges, before))}"/>' if before else ""
    x_ticks = [tick for tick in ticks(*frame.x) if abs(tick) < frame.x[1] * 0.95]
    parts = [*axes(frame, x_ticks, ticks(*frame.y, most=3)), area, line(frame, steps(edges, after), kind)]
    return svg(frame, parts, label)


def matrix(picture: str, texts: Sequence[Sequence[tuple[str, bool]]], names: Sequence[str], label: str) -> Markup:
    """Draw a square table over its picture.

    Args:
        picture: its URI; one pixel per cell.
        texts: the cells' texts by row, each with whether its cell is dark.
        names: of the rows.
    """
    side = WIDTH - _NAME_WIDTH
    cell = side / max(len(names), 1)
    parts = [f'<image href="{picture}" x="{_NAME_WIDTH}" y="0" width="{side}" height="{side}" class="pixels"/>']
    for row, name in enumerate(names):
        y = (row + 0.5) * cell + 2.5
        parts.append(f'<text x="{_NAME_WIDTH - 5}" y="{y:.1f}" text-anchor="end">{escape(name)}</text>')
        for column, (text, dark) in enumerate(texts[row] if texts else ()):
            if text:
                ink = "on-dark" if dark else "on-light"
                x = _NAME_WIDTH + (column + 0.5) * cell
                parts.append(f'<text class="cell {ink}" x="{x:.1f}" y="{y:.1f}">{text}</text>')
    return svg(Frame((0, 1), (0, 1), WIDTH, side), parts, label)
