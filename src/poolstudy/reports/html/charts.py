"""Small charts as SVG in the page itself: sharp on paper, and light or dark as the page is.

They are made of numbers and of our own words alone, so nothing in them needs escaping. Colours are classes that the
page's style gives: `average`, `max`, `neutral`, `ghost`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 248, 132
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 6, 8, 20

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Frame:
    """A chart's axes: what its x and y span."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = WIDTH
    height: float = HEIGHT

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies on the chart, from its upper left corner."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        wide, high = self.width - _LEFT - _RIGHT, self.height - _TOP - _BOTTOM
        return _LEFT + across * wide, self.height - _BOTTOM - up * high

    def path(self, points: Points) -> str:
        """The line through points, as SVG writes it."""
        placed = (self.place(x, y) for x, y in points if math.isfinite(y))
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed) if points else ""


def svg(frame: Frame, parts: Iterator[str], alternative: str, kind: str = "") -> Markup:
    """A whole chart; `alternative` says in words what it shows, to those who cannot see it; `kind` is a class."""
    size = f'viewBox="0 0 {frame.width:g} {frame.height:g}"'
    return Markup(f'<svg class="chart {kind}" {size} role="img" aria-label="{alternative}">{"".join(parts)}</svg>')  # noqa: S704


def axes(frame: Frame, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> Iterator[str]:
    """Ticks with their numbers, and a hair line at each of y."""
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
    """The outline of bars, from the ground to the ground."""
    pairs = [(edge, height) for low, high, height in zip(edges, edges[1:], heights, strict=False)
             for edge, height in ((low, height), (high, height))]  # fmt: skip
    return [(edges[0], 0), *pairs, (edges[-1], 0)]


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Round numbers from `low` to `high`: at most so many, a step of 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def epochs(last: int) -> list[float]:
    """Whole numbers to mark epochs by, the first and about four more."""
    step = max(1, math.ceil((last - 1) / 4))
    return [float(epoch) for epoch in range(1, last + 1, step)]


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


# What the pages show by them


def curve(frame: Frame, ghost: str, training: Points, validation: Points, best: int, kind: str, what: str) -> Markup:
    """One run's curve of a metric over epochs, before those of all runs, faint.

    Args:
        ghost: the ID of the others' path, as `ghosts` defines it.
        best: the epoch to mark.
    """
    marked = [dot(frame, x, y, kind) for x, y in validation if x == best]
    parts = [
        *axes(frame, epochs(round(frame.x[1])), ticks(*frame.y)),
        f'<use href="#{ghost}"/>',
        line(frame, training, "neutral"),
        line(frame, validation, kind),
        *marked,
    ]
    return svg(frame, iter(parts), what)


def ghosts(frame: Frame, name: str, curves: Sequence[Points]) -> Markup:
    """All runs' curves as one path, to be used in each chart."""
    path = "".join(frame.path(points) for points in curves if len(points) > 1)
    return Markup(f'<path id="{name}" class="ghost" d="{path}"/>')  # noqa: S704


def histogram(
    frame: Frame, edges: Sequence[float], before: Sequence[float], after: Sequence[float], kind: str, what: str
) -> Markup:
    """Untrained weights as a grey area, trained ones as an outline."""
    area = f'<path class="area neutral" d="{frame.path(steps(edges, before))}"/>' if before else ""
    low, high = frame.x
    parts = [
        *axes(frame, [tick for tick in ticks(low, high) if abs(tick) < high * 0.95], ticks(*frame.y, most=3)),
        area,
        line(frame, steps(edges, after), kind),
    ]
    return svg(frame, iter(parts), what)


_NAMES = 64  # what a matrix leaves for the names of its rows


def matrix(picture: str, texts: Sequence[Sequence[tuple[str, bool]]], names: Sequence[str], what: str) -> Markup:
    """A square table over its picture.

    Args:
        picture: its address; one pixel a cell.
        texts: of each row the cells' texts, and whether a text stands on a dark cell.
        names: of the rows.
    """
    side = WIDTH - _NAMES
    cell = side / max(len(names), 1)
    parts = [f'<image href="{picture}" x="{_NAMES}" y="0" width="{side}" height="{side}" class="pixels"/>']
    for row, name in enumerate(names):
        y = (row + 0.5) * cell + 2.5
        parts.append(f'<text x="{_NAMES - 5}" y="{y:.1f}" text-anchor="end">{escape(name)}</text>')
        for column, (text, dark) in enumerate(texts[row] if texts else ()):
            if text:
                ink = "on-dark" if dark else "on-light"
                parts.append(
                    f'<text class="cell {ink}" x="{_NAMES + (column + 0.5) * cell:.1f}" y="{y:.1f}">{text}</text>'
                )
    return svg(Frame((0, 1), (0, 1), WIDTH, side), iter(parts), what)
