"""Charts of a whole study: its history, its two groups side by side, how dimensions weigh, where time went."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from poolstudy.reports.html.charts import Frame, axes, dot, line, svg, ticks

_WIDE, _TALL = 720, 250


@dataclass(frozen=True)
class Point:
    """A trial on a chart: its number, what it reached, its pooling, and whether it was trained to its end."""

    number: int
    value: float
    kind: str
    whole: bool


def history(points: Sequence[Point], best: Sequence[tuple[float, float]]) -> Markup:
    """The objective trial by trial; hollow points were pruned; the line is the best so far."""
    frame = Frame(
        _span([point.number for point in points], 0.02), _span([point.value for point in points]), _WIDE, _TALL
    )
    drawn = [*axes(frame, ticks(*frame.x, most=8), ticks(*frame.y)), line(frame, best, "neutral")]
    drawn += [
        dot(frame, point.number, point.value, f"{point.kind}{'' if point.whole else ' hollow'}", 3.4)
        for point in points
    ]
    return svg(frame, iter(drawn), f"{len(points)} trials", "large")


def strips(groups: Mapping[str, Sequence[float]]) -> Markup:
    """A line of dots a group, on one axis; a bar marks each median."""
    values = [value for group in groups.values() for value in group]
    frame = Frame(_span(values), (0, len(groups)), _WIDE, 34 + 44 * len(groups))
    drawn = list(axes(frame, ticks(*frame.x, most=6), []))
    for place, (name, group) in enumerate(groups.items()):
        y = len(groups) - place - 0.5
        drawn += [dot(frame, value, y + _jitter(index), f"{name} seen", 4) for index, value in enumerate(group)]
        if group:
            x, _ = frame.place(median(group), 0)
            _, middle = frame.place(frame.x[0], y)
            drawn.append(f'<path class="line {name}" d="M{x:.1f} {middle - 15:.1f}v30"/>')
    return svg(frame, iter(drawn), f"{len(values)} trials in {len(groups)} groups", "large")


def bars(values: Mapping[str, float]) -> Iterator[tuple[str, float, float]]:
    """Names with their values, and the length of their bars in percent of the longest."""
    longest = max(values.values(), default=0) or 1
    for name, value in values.items():
        yield name, value, 100 * value / longest


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _jitter(index: int) -> float:
    """A little up or down, so that equal values are seen: always the same."""
    return ((index * 5) % 7 - 3) / 22


def _span(values: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
    low, high = min(values, default=0), max(values, default=1)
    room = (high - low) * margin or 0.5
    return low - room, high + room
