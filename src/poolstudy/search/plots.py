"""Optuna's own plots of a study, twice: to be looked into (plotly) and to be kept (matplotlib, PNG).

What Optuna colours by the order of trials has the colours of the poolings here; values go from dark to light
(viridis), as everywhere.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna.visualization as interactive
from optuna.importance import PedAnovaImportanceEvaluator

from poolstudy.search.history import StudyHistory
from poolstudy.search.importance import importances
from poolstudy.search.plots_png import SLATE, STATE_COLOURS, matplotlib_plots, plot_png
from poolstudy.spec.colours import NEUTRAL

_CLEAR, _HAIR = "rgba(0,0,0,0)", "rgba(128,128,128,0.25)"
_MOST_IN_CONTOURS = 4  # dimensions: sixteen panels can be read, sixty cannot


@dataclass(frozen=True)
class Plot:
    """One of Optuna's plots.

    Attributes:
        name: of its file, and of its place on the page.
        json: the figure for plotly.js, without a "<", so that it can stand in a page's script element.
        height: of the figure, pixels.
        png: the same by matplotlib.
    """

    name: str
    title: str
    about: str
    json: str
    height: int
    png: bytes


@dataclass(frozen=True)
class _Colours:
    """Of each trial's pooling by the trial's number, and of each pooling."""

    trials: Mapping[int, str]
    poolings: Mapping[str, str]

    def of(self, numbers: Sequence[Any]) -> list[str]:
        return [self.trials.get(int(number), NEUTRAL) for number in numbers]


Recolour = Callable[[Any, _Colours], None]


@dataclass(frozen=True)
class _Kind:
    name: str
    title: str
    about: str
    draw: Callable[[Any], Any]
    recolour: Recolour
    height: int = 420


def plots(history: StudyHistory, colours: Mapping[str, str], important: Sequence[str]) -> Iterator[Plot]:
    """Every plot that the study has enough trials for.

    Args:
        colours: by pooling.
        important: the dimensions, the most important first: the contours show the first four.
    """
    shades = _Colours({one.number: colours.get(one.pooling, NEUTRAL) for one in history.trials}, colours)
    for kind in _kinds(history, important):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that some of it is experimental
                figure, axes = kind.draw(interactive), kind.draw(matplotlib_plots)
        except (ValueError, RuntimeError):  # too few trials for it
            continue
        if figure.data:
            for trace in figure.data:
                kind.recolour(trace, shades)
            _restyle(figure, kind.height)
            json = str(figure.to_json()).replace("<", "\\u003c")
            yield Plot(kind.name, kind.title, kind.about, json, kind.height, plot_png(axes, kind.title, shades.trials))


def _kinds(history: StudyHistory, important: Sequence[str]) -> Iterator[_Kind]:
    study, attempts, ranked = history.study, history.study_of_attempts, history.ranked()
    some = list(important[:_MOST_IN_CONTOURS])
    if ranked:
        about = "the objective, trial by trial; the line is the best so far"
        yield _Kind("history", "Optimisation history", about,
                    lambda by: by.plot_optimization_history(study), _history)  # fmt: skip
    if "PED-ANOVA" in importances(history):
        evaluator = PedAnovaImportanceEvaluator()
        about = "the share of the variation that each dimension explains"
        yield _Kind("importances", "Importance by PED-ANOVA", about,
                    lambda by: by.plot_param_importances(attempts, evaluator=evaluator), _bars, 300)  # fmt: skip
    if ranked:
        yield _Kind("parallel_coordinate", "Parallel coordinates", "a line a complete trial",
                    lambda by: by.plot_parallel_coordinate(study), _lines)  # fmt: skip
        yield _Kind("slices", "Slices", "the objective by each dimension alone",
                    lambda by: by.plot_slice(study), _points, 340)  # fmt: skip
    if len(ranked) > 1 and len(some) > 1:
        about = f"the objective by two dimensions each: {', '.join(some)}; between the points it is a guess"
        yield _Kind("contours", "Contours", about,
                    lambda by: by.plot_contour(study, params=some), _contours, 720)  # fmt: skip
    yield _Kind("intermediate_values", "Intermediate values", "the metric after each epoch; the short ones were pruned",
                lambda by: by.plot_intermediate_values(study), _epochs)  # fmt: skip
    yield _Kind("timeline", "Timeline", "when each trial trained",
                lambda by: by.plot_timeline(study), _bars)  # fmt: skip
    if len(ranked) > 1:
        yield _Kind("edf", "Distribution", "the share of complete trials that reached no more than this",
                    lambda by: by.plot_edf(attempts), _history, 320)  # fmt: skip


# Colours, plot by plot


def _history(trace: Any, colours: _Colours) -> None:
    if trace.mode == "markers":
        trace.marker = {"color": colours.of(trace.x), "size": 8}
    else:
        trace.line.color = NEUTRAL


def _points(trace: Any, colours: _Colours) -> None:
    if isinstance(trace.marker.color, tuple | list):  # the trials' numbers
        trace.marker = {"color": colours.of(trace.marker.color), "size": 7, "line": {"width": 0}, "showscale": False}
    trace.showlegend = False


def _lines(trace: Any, colours: _Colours) -> None:
    said = dict(trace.customdata) if trace.customdata is not None and trace.mode == "lines" else {}
    if "pooling" in said:
        trace.update(line={"color": colours.poolings.get(str(said["pooling"]), NEUTRAL), "width": 1.3}, opacity=0.7)
    elif trace.mode == "markers":
        trace.marker.showscale = False  # of the values that the lines have no longer the colours of


def _contours(trace: Any, _: _Colours) -> None:
    if trace.type == "contour":
        trace.update(colorscale="Viridis", reversescale=False, line={"width": 0.4})
    else:
        trace.marker = {"color": "white", "size": 5, "line": {"width": 0.8, "color": "#222222"}}
    trace.showlegend = False


def _epochs(trace: Any, colours: _Colours) -> None:
    (shade,) = colours.of([(trace.name or "Trial-1")[5:]])  # Optuna's names are Trial0, Trial1, …
    trace.update(line={"color": shade, "width": 1.1}, opacity=0.6, showlegend=False)
    trace.marker.update(color=shade, size=3)


def _bars(trace: Any, _: _Colours) -> None:
    trace.marker.color = STATE_COLOURS.get(trace.name or "", SLATE)


# The looks that all share


def _restyle(figure: Any, height: int) -> None:
    figure.update_layout(
        template="none",
        title=None,
        width=None,
        autosize=True,
        height=height,
        bargap=0.45,
        margin={"l": 64, "r": 16, "t": 30, "b": 52},
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        modebar={"bgcolor": _CLEAR, "color": NEUTRAL},
        font={"family": "Helvetica Neue, Nimbus Sans, Liberation Sans, Arial, sans-serif", "size": 12},
        legend={"orientation": "h", "y": 1.01, "yanchor": "bottom"},
    )
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(gridcolor=_HAIR, zerolinecolor=_HAIR, linecolor=_HAIR, automargin=True)
