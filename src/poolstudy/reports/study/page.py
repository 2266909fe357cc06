"""A study's standing as a page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import plotly.offline
from markupsafe import Markup

from poolstudy.reports.html import page, studies
from poolstudy.reports.html.numbers import number, percent, seconds
from poolstudy.reports.study.summary import Edge, StudySummary
from poolstudy.search.history import StudyTrial
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
    tried: StudyTrial
    settings: Sequence[str]
    metrics: Sequence[str]


def plot_settings(summary: StudySummary) -> tuple[Mapping[str, str], Sequence[str]]:
    """What the plots need: colours by pooling, and the dimensions, the most important first."""
    by_evaluator = importances(summary.history)
    important = list(next(iter(by_evaluator.values()), {})) or _dimensions(summary)
    return {str(pooling): colour for pooling, colour in COLOURS.items()}, important


def report_page(summary: StudySummary, plots: Sequence[Plot]) -> str:
    """The whole page."""
    history, objective = summary.history, summary.study.objective()
    dimensions = _dimensions(summary)
    leaders = [_leader(summary, place, one, dimensions) for place, one in enumerate(_ordered(summary), start=1)]
    return page(
        "report.html",
        {
            "title": f"Study {history.name}",
            "study": summary.study,
            "objective": objective,
            "facts": list(_facts(summary)),
            "lead": _lead(summary, objective),
            "dimensions": dimensions,
            "metrics": _LOWER,
            "leaders": leaders[:_LEADERS],
            "others": leaders[_LEADERS:],
            "groups": _groups(summary, objective),
            "history": _history(summary),
            "importances": {name: list(studies.bars(one)) for name, one in importances(history).items()},
            "edges": [_edge(one) for one in summary.edges()],
            "pruned": _pruned(summary),
            "duplicates": [_duplicate(summary, one) for one in summary.ended("duplicate")],
            "failures": summary.ended("failed", "lost", "interrupted"),
            "times": _times(summary),
            "plots": [(plot, Markup(plot.json)) for plot in plots],  # noqa: S704  # it has no "<"
            "plotly": Markup(plotly.offline.get_plotlyjs()) if plots else "",  # noqa: S704
        },
    )


def _dimensions(summary: StudySummary) -> list[str]:
    """What was sampled, in the space's own order; what had one value only is left out."""
    values: dict[str, set[Value]] = {}
    for one in summary.history.trials:
        for name, value in one.settings.items():
            values.setdefault(name, set()).add(value)
    return [name for name, seen in values.items() if len(seen) > 1]


def _ordered(summary: StudySummary) -> list[StudyTrial]:
    """Complete trials, best first; then pruned ones, by what they had reached."""
    sign = -1 if summary.history.maximize else 1
    pruned = [one for one in summary.ended("pruned") if one.value is not None]
    return [*summary.ranked, *sorted(pruned, key=lambda one: (sign * (one.value or 0), one.number))]


def _leader(summary: StudySummary, place: int, tried: StudyTrial, dimensions: Sequence[str]) -> Leader:
    run = summary.run(tried)
    metrics = run.metrics if run else {}
    return Leader(
        rank=str(place) if tried.state == "complete" else "",
        tried=tried,
        settings=[_value(tried.settings.get(name)) for name in dimensions],
        metrics=[number(metrics.get(name), name) for name in _LOWER],
    )


def _value(value: Value | None) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _settings(tried: StudyTrial) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in tried.settings.items())


# What is said above all


def _lead(summary: StudySummary, objective: str) -> str:
    if not summary.ranked:
        return "No trial is complete yet: there is nothing to rank."
    best = summary.ranked[0]
    return (
        f"The best complete trial is {best.name} with {objective} {number(best.value, objective)}: {_settings(best)}."
    )


def _facts(summary: StudySummary) -> Iterator[tuple[str, str, str]]:
    counts = summary.counts
    yield "trials", str(summary.counted), f"{counts['complete']} complete"
    share = counts["pruned"] / summary.counted if summary.counted else 0
    yield "pruned", percent(share), f"{counts['pruned']} of {summary.counted}"
    failures = {name: counts[name] for name in ("failed", "lost", "interrupted") if counts[name]}
    said = ", ".join(f"{count} {name}" for name, count in failures.items())
    yield "not in order", str(sum(failures.values())), said or "every attempt ended well"
    yield "asked twice", str(counts["duplicate"]), "answered from the book"
    if times := summary.times():
        yield "from first to last", seconds(times.whole), f"{seconds(times.training)} of training in all"


def _groups(summary: StudySummary, objective: str) -> dict[str, object] | None:
    groups = summary.groups()
    if not groups:
        return None
    told = [
        (name, len(values), number(max(values) if summary.history.maximize else min(values), objective),
         number(studies.median(values), objective))
        for name, values in groups.items()
    ]  # fmt: skip
    return {"chart": studies.strips(groups), "told": told}


def _history(summary: StudySummary) -> Markup | None:
    points = [
        studies.Point(one.number, one.value, one.pooling, one.state == "complete")
        for one in summary.history.trials
        if one.value is not None and one.state in ("complete", "pruned")
    ]
    return studies.history(points, summary.best_so_far()) if points else None


# What is to be looked at


def _edge(edge: Edge) -> str:
    end, beyond = ("upper", "higher") if edge.upper else ("lower", "lower")
    span = f"{edge.range.low:g} to {edge.range.high:g}{', by logarithms' if edge.range.log else ''}"
    where = f"{edge.name}: the best trial has {edge.value:g}, at the {end} end of {span}"
    many = f"{edge.best} of the best {edge.of} lie there"
    advice = "nothing lies beyond" if edge.final else f"a range that goes {beyond} may hold better ones"
    return f"{where}; {many}; {advice}."


def _pruned(summary: StudySummary) -> list[tuple[str, int, int, str]]:
    """By pooling: how many were pruned, of how many that count."""
    rows = []
    for name in sorted({one.pooling for one in summary.ended("complete", "pruned")}):
        pruned = sum(one.pooling == name for one in summary.ended("pruned"))
        counted = pruned + sum(one.pooling == name for one in summary.ended("complete"))
        rows.append((name, pruned, counted, percent(pruned / counted)))
    return rows


def _duplicate(summary: StudySummary, tried: StudyTrial) -> tuple[int, str, str]:
    original = next((one for one in summary.history.trials if one.number == tried.duplicate_of), None)
    return tried.number, original.name if original else "", _settings(tried)


def _times(summary: StudySummary) -> dict[str, object] | None:
    times = summary.times()
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
