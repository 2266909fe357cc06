"""HTML page of a study's report."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import plotly.offline
from markupsafe import Markup

from poolstudy.reports.html import page, studies
from poolstudy.reports.html.numbers import number, percent
from poolstudy.reports.study.summary import StudySummary, by_pooling
from poolstudy.search.history import StudyTrial
from poolstudy.search.importance import importances
from poolstudy.search.plots import Plot
from poolstudy.spec.colours import COLOURS
from poolstudy.spec.dimensions import Value
from poolstudy.system.formats import clock

_LEADERS = 15  # rows of the leaderboard that are not folded
_METRICS = ("best_val_loss", "best_epoch", "parameter_count", "train_seconds")
_FAILURES = ("failed", "lost", "interrupted")


def plot_settings(summary: StudySummary) -> tuple[Mapping[str, str], Sequence[str]]:
    """Return what Optuna's plots need: colours by pooling, and the dimensions, the most important first."""
    by_evaluator = importances(summary.history)
    important = list(next(iter(by_evaluator.values()), {})) or _dimensions(summary)
    return {str(pooling): colour for pooling, colour in COLOURS.items()}, important


def report_page(summary: StudySummary, plots: Sequence[Plot]) -> str:
    """Render the whole page."""
    history, objective = summary.history, summary.study.objective()
    dimensions = _dimensions(summary)
    names: dict[int | None, str] = {trial.number: trial.name for trial in history.trials}
    leaders = [_leader(summary, rank, trial, dimensions) for rank, trial in enumerate(_ordered(summary), start=1)]
    return page(
        "report.html",
        {
            "title": f"Study {history.name}",
            "study": summary.study,
            "objective": objective,
            "facts": list(_facts(summary)),
            "lead": _lead(summary, objective),
            "dimensions": dimensions,
            "metrics": _METRICS,
            "leaders": leaders[:_LEADERS],
            "others": leaders[_LEADERS:],
            "groups": _groups(summary, objective),
            "history": _history(summary),
            "importances": {name: studies.bars(shares) for name, shares in importances(history).items()},
            "edges": list(summary.edges()),
            "pruned": list(_pruned(summary)),
            "duplicates": [
                (trial.number, names.get(trial.duplicate_of, ""), _settings(trial))
                for trial in summary.ended("duplicate")
            ],
            "failures": summary.ended(*_FAILURES),
            "times": _times(summary),
            "plots": [(plot, Markup(plot.json)) for plot in plots],  # noqa: S704  # it has no "<"
            "plotly": Markup(plotly.offline.get_plotlyjs()) if plots else "",  # noqa: S704
        },
    )


def _dimensions(summary: StudySummary) -> list[str]:
    """Return the sampled dimensions with more than one value, in the search space's order."""
    values = dict.fromkeys(item for trial in summary.history.trials for item in trial.settings.items())
    return [name for name, seen in Counter(name for name, _ in values).items() if seen > 1]


def _ordered(summary: StudySummary) -> list[StudyTrial]:
    """Return the complete trials, best first, then the pruned ones by their value when pruned."""
    pruned = [trial for trial in summary.ended("pruned") if trial.value is not None]
    return [*summary.ranked, *sorted(pruned, key=lambda trial: trial.value or 0, reverse=summary.history.maximize)]


def _leader(summary: StudySummary, rank: int, trial: StudyTrial, dimensions: Sequence[str]) -> dict[str, object]:
    run = summary.runs.get(trial.run_id)
    return {
        "rank": rank if trial.state == "complete" else "",
        "trial": trial,
        "settings": [_value(trial.settings.get(name)) for name in dimensions],
        "metrics": [number(run.metrics.get(name) if run else None, name) for name in _METRICS],
    }


def _value(value: Value | None) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _settings(trial: StudyTrial) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in trial.settings.items())


def _lead(summary: StudySummary, objective: str) -> str:
    if not summary.ranked:
        return "No trial is complete yet: there is nothing to rank."
    best = summary.ranked[0]
    return f"The best complete trial is {best.name}, {objective} {number(best.value, objective)}: {_settings(best)}."


def _facts(summary: StudySummary) -> Iterator[tuple[str, str, str]]:
    counts = summary.counts
    yield "trials", str(summary.counted), f"{counts['complete']} complete"
    share = counts["pruned"] / summary.counted if summary.counted else 0
    yield "pruned", percent(share), f"{counts['pruned']} of {summary.counted}"
    failures = {name: counts[name] for name in _FAILURES if counts[name]}
    note = ", ".join(f"{count} {name}" for name, count in failures.items())
    yield "unsuccessful", str(sum(failures.values())), note or "no attempt failed"
    yield "duplicates", str(counts["duplicate"]), "not trained again"
    if times := summary.times():
        yield "duration", clock(times.whole), f"{clock(times.training)} of training, summed"


def _groups(summary: StudySummary, objective: str) -> dict[str, object] | None:
    groups, best = summary.groups(), max if summary.history.maximize else min
    rows = [
        (name, len(values), number(best(values), objective), number(median(values), objective))
        for name, values in groups.items()
    ]
    return {"chart": studies.strips(groups), "rows": rows} if groups else None


def _history(summary: StudySummary) -> Markup | None:
    trials = [trial for trial in summary.ended("complete", "pruned") if trial.value is not None]
    return studies.history(trials, summary.best_so_far()) if trials else None


def _pruned(summary: StudySummary) -> Iterator[tuple[str, int, int, str]]:
    """Yield each pooling with its number of pruned trials, of all that count, and their share."""
    for pooling, trials in by_pooling(summary.ended("complete", "pruned")).items():
        pruned = sum(trial.state == "pruned" for trial in trials)
        yield pooling, pruned, len(trials), percent(pruned / len(trials))


def _times(summary: StudySummary) -> dict[str, object] | None:
    times = summary.times()
    if times is None:
        return None
    notes = (
        "epochs, validation included",
        "starting processes, building and saving networks; and all the time of lost and failed attempts",
    )
    bars = studies.bars({"training": times.training, "overhead": times.around})
    rows = [(name, clock(value), length, note) for (name, value, length), note in zip(bars, notes, strict=True)]
    return {"bars": rows, "whole": clock(times.whole), "at_once": f"{times.at_once:.1f}"}
