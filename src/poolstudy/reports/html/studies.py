"""Charts of a study: the objective by trial, groups of trials, and bars of importances and times."""

from collections.abc import Mapping, Sequence
from statistics import median

from markupsafe import Markup

from poolstudy.reports.html.charts import Frame, axes, dot, line, svg, ticks
from poolstudy.search.history import StudyTrial

_WIDE, _TALL = 720, 250


def history(trials: Sequence[StudyTrial], best: Sequence[tuple[float, float]]) -> Markup:
    """Draw the objectives of trials that have one, hollow where pruned, and a line of the best so far."""
    points = [(trial.number, trial.value or 0.0) for trial in trials]
    x, y = _span([number for number, _ in points], 0.02), _span([value for _, value in points])
    frame = Frame(x, y, _WIDE, _TALL)
    parts = [*axes(frame, ticks(*frame.x, most=8), ticks(*frame.y)), line(frame, best, "neutral")]
    kinds = (trial.pooling + (" hollow" if trial.state == "pruned" else "") for trial in trials)
    parts += [dot(frame, *point, kind, 3.4) for point, kind in zip(points, kinds, strict=True)]
    return svg(frame, parts, f"{len(points)} trials", "large")


def strips(groups: Mapping[str, Sequence[float]]) -> Markup:
    """Draw each group as a row of dots on one axis, with a bar at its median."""
    values = [value for group in groups.values() for value in group]
    frame = Frame(_span(values), (0, len(groups)), _WIDE, 34 + 44 * len(groups))
    parts = list(axes(frame, ticks(*frame.x, most=6), []))
    for row, (name, group) in enumerate(groups.items()):
        y = len(groups) - row - 0.5
        # A small fixed offset, so that dots of equal values do not hide each other.
        offsets = [(index * 5 % 7 - 3) / 22 for index in range(len(group))]
        parts += [dot(frame, value, y + off, f"{name} seen", 4) for value, off in zip(group, offsets, strict=True)]
        x, middle = frame.place(median(group), y)
        parts.append(f'<path class="line {name}" d="M{x:.1f} {middle - 15:.1f}v30"/>')
    return svg(frame, parts, f"{len(values)} trials in {len(groups)} groups", "large")


def bars(values: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """Return each name and value, and the length of its bar in percent of the longest."""
    longest = max(values.values(), default=0) or 1
    return [(name, value, 100 * value / longest) for name, value in values.items()]


def _span(values: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
    low, high = min(values, default=0), max(values, default=1)
    room = (high - low) * margin or 0.5
    return low - room, high + room
