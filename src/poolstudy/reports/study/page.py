"""A study's standing as a page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import plotly.offline
from markupsafe import Markup

from poolstudy.reports.html import page, studies
from poolstudy.reports.html.numbers import number, percent, seconds
from poolstudy.reports.study.standing import Edge, Standing
from poolstudy.search.history import Tried
from poolstudy.search.importance import importances
from poolstudy.search.plots import Plot
from poolstudy.spec.colours import COLOURS
from poolstudy.spec.space import Value

_LEADERS = 15  # lines of the leaderboard that are not folded
_LOWER = ("best_val_loss", "best_epoch", "parameter_count", "train_seconds")


@dataclass(frozen=True)
class Leader:
    """A line of the leaderboard."""

    rank: str
    tried: Tried
    settings: Sequence[str]
    metrics: Sequence[str]


def settings_of(standing: Standing) -> tuple[Mapping[str, str], Sequence[str]]:
    """What the plots need: colours by pooling, and the dimensions, the most important first."""
    by_evaluator = importances(standing.book)
    important = list(next(iter(by_evaluator.values()), {})) or _dimensions(standing)
    return {str(pooling): colour for pooling, colour in COLOURS.items()}, important


def html(standing: Standing, plots: Sequence[Plot]) -> str:
    """The whole page."""
    book, objective = standing.book, standing.study.objective()
    dimensions = _dimensions(standing)
    leaders = [_leader(standing, place, one, dimensions) for place, one in enumerate(_ordered(standing), start=1)]
    return page(
        "report.html",
        {
            "title": f"Study {book.name}",
            "study": standing.study,
            "objective": objective,
            "facts": list(_facts(standing)),
            "lead": _lead(standing, objective),
            "dimensions": dimensions,
            "metrics": _LOWER,
            "leaders": leaders[:_LEADERS],
            "others": leaders[_LEADERS:],
            "groups": _groups(standing, objective),
            "history": _history(standing),
            "importances": {name: list(studies.bars(one)) for name, one in importances(book).items()},
            "edges": [_edge(one) for one in standing.edges()],
            "pruned": _pruned(standing),
            "duplicates": [_duplicate(standing, one) for one in standing.ended("duplicate")],
            "failures": standing.ended("failed", "lost", "interrupted"),
            "times": _times(standing),
            "plots": [(plot, Markup(plot.json)) for plot in plots],  # noqa: S704  # it has no "<"
            "plotly": Markup(plotly.offline.get_plotlyjs()) if plots else "",  # noqa: S704
        },
    )


def _dimensions(standing: Standing) -> list[str]:
    """What was sampled, in the space's own order; what had one value only is left out."""
    values: dict[str, set[Value]] = {}
    for one in standing.book.tried:
        for name, value in one.settings.items():
            values.setdefault(name, set()).add(value)
    return [name for name, seen in values.items() if len(seen) > 1]


def _ordered(standing: Standing) -> list[Tried]:
    """Complete trials, best first; then pruned ones, by what they had reached."""
    sign = -1 if standing.book.maximize else 1
    pruned = [one for one in standing.ended("pruned") if one.value is not None]
    return [*standing.ranked, *sorted(pruned, key=lambda one: (sign * (one.value or 0), one.number))]


def _leader(standing: Standing, place: int, tried: Tried, dimensions: Sequence[str]) -> Leader:
    run = standing.run(tried)
    metrics = run.metrics if run else {}
    return Leader(
        rank=str(place) if tried.state == "complete" else "",
        tried=tried,
        settings=[_value(tried.settings.get(name)) for name in dimensions],
        metrics=[number(metrics.get(name), name) for name in _LOWER],
    )


def _value(value: Value | None) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _settings(tried: Tried) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in tried.settings.items())


# What is said above all


def _lead(standing: Standing, objective: str) -> str:
    if not standing.ranked:
        return "No trial is complete yet: there is nothing to rank."
    best = standing.ranked[0]
    return (
        f"The best complete trial is {best.name} with {objective} {number(best.value, objective)}: {_settings(best)}."
    )


def _facts(standing: Standing) -> Iterator[tuple[str, str, str]]:
    counts = standing.counts
    yield "trials", str(standing.counted), f"{counts['complete']} complete"
    share = counts["pruned"] / standing.counted if standing.counted else 0
    yield "pruned", percent(share), f"{counts['pruned']} of {standing.counted}"
    failures = {name: counts[name] for name in ("failed", "lost", "interrupted") if counts[name]}
    said = ", ".join(f"{count} {name}" for name, count in failures.items())
    yield "not in order", str(sum(failures.values())), said or "every attempt ended well"
    yield "asked twice", str(counts["duplicate"]), "answered from the book"
    if times := standing.times():
        yield "from first to last", seconds(times.whole), f"{seconds(times.training)} of training in all"


def _groups(standing: Standing, objective: str) -> dict[str, object] | None:
    groups = standing.groups()
    if not groups:
        return None
    told = [
        (name, len(values), number(max(values) if standing.book.maximize else min(values), objective),
         number(studies.median(values), objective))
        for name, values in groups.items()
    ]  # fmt: skip
    return {"chart": studies.strips(groups), "told": told}


def _history(standing: Standing) -> Markup | None:
    points = [
        studies.Point(one.number, one.value, one.pooling, one.state == "complete")
        for one in standing.book.tried
        if one.value is not None and one.state in ("complete", "pruned")
    ]
    return studies.history(points, standing.best_so_far()) if points else None


# What is to be looked at


def _edge(edge: Edge) -> str:
    end, beyond = ("upper", "higher") if edge.upper else ("lower", "lower")
    span = f"{edge.range.low:g} to {edge.range.high:g}{', by logarithms' if edge.range.log else ''}"
    where = f"{edge.name}: the best trial has {edge.value:g}, at the {end} end of {span}"
    many = f"{edge.best} of the best {edge.of} lie there"
    advice = "nothing lies beyond" if edge.final else f"a range that goes {beyond} may hold better ones"
    return f"{where}; {many}; {advice}."


def _pruned(standing: Standing) -> list[tuple[str, int, int, str]]:
    """By pooling: how many were pruned, of how many that count."""
    rows = []
    for name in sorted({one.pooling for one in standing.ended("complete", "pruned")}):
        pruned = sum(one.pooling == name for one in standing.ended("pruned"))
        counted = pruned + sum(one.pooling == name for one in standing.ended("complete"))
        rows.append((name, pruned, counted, percent(pruned / counted)))
    return rows


def _duplicate(standing: Standing, tried: Tried) -> tuple[int, str, str]:
    original = next((one for one in standing.book.tried if one.number == tried.duplicate_of), None)
    return tried.number, original.name if original else "", _settings(tried)


def _times(standing: Standing) -> dict[str, object] | None:
    times = standing.times()
    if times is None:
        return None
    parts = {"training": times.training, "around it": times.around}
    about = (
        "epochs, validation included",
        "processes that start, networks that are built and saved; all of what was lost or failed",
    )
    bars = [
        (name, seconds(value), length, said)
        for (name, value, length), said in zip(studies.bars(parts), about, strict=True)
    ]
    return {"bars": bars, "whole": seconds(times.whole), "at_once": f"{times.at_once:.1f}"}
