"""Optuna's own plots of a study: interactive (plotly) and as PNG (matplotlib).

Trials have the colours of their poolings here, where Optuna colours them by number; values are shown in viridis.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

os.environ.setdefault("MPLBACKEND", "Agg")  # before matplotlib is imported: it then opens no window

import optuna.visualization as interactive
from optuna.importance import PedAnovaImportanceEvaluator

from poolstudy.search.history import StudyHistory
from poolstudy.search.importance import importances
from poolstudy.search.plots_png import SLATE, STATE_COLOURS, plot_png
from poolstudy.spec.colours import NEUTRAL

_CLEAR, _HAIR = "rgba(0,0,0,0)", "rgba(128,128,128,0.25)"
_MOST_IN_CONTOURS = 4  # dimensions: 16 panels


class Plot(NamedTuple):
    """Plot by Optuna."""

    name: str  # of its file, and its ID on the page
    title: str
    about: str
    json: str  # the figure for plotly.js, without "<", so that it is safe in a script element
    height: int  # pixels
    png: bytes  # the same by matplotlib


class _Colours(NamedTuple):
    trials: Mapping[int, str]
    poolings: Mapping[str, str]

    def of(self, numbers: Sequence[Any]) -> list[str]:
        return [self.trials.get(int(number), NEUTRAL) for number in numbers]


class _Kind(NamedTuple):
    name: str
    title: str
    about: str
    draw: Callable[[Any], Any]
    recolour: Callable[[Any, _Colours], None]
    height: int = 420


def plots(history: StudyHistory, colours: Mapping[str, str], important: Sequence[str]) -> Iterator[Plot]:
    """Yield every plot that the study has enough trials for.

    Args:
        colours: by pooling.
        important: the dimensions, the most important first.
    """
    shades = _Colours({trial.number: colours.get(trial.pooling, NEUTRAL) for trial in history.trials}, colours)
    for kind in _kinds(history, important):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # some plots are experimental
                figure, axes = kind.draw(interactive), kind.draw(interactive.matplotlib)
        except (ValueError, RuntimeError):  # too few trials
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
        yield _Kind("parallel_coordinate", "Parallel coordinates", "one line per complete trial",
                    lambda by: by.plot_parallel_coordinate(study), _lines)  # fmt: skip
        yield _Kind("slices", "Slices", "the objective by each dimension alone",
                    lambda by: by.plot_slice(study), _points, 340)  # fmt: skip
    if len(ranked) > 1 and len(some) > 1:
        about = f"the objective by two dimensions each: {', '.join(some)}; interpolated between the points"
        yield _Kind("contours", "Contours", about,
                    lambda by: by.plot_contour(study, params=some), _contours, 720)  # fmt: skip
    yield _Kind("intermediate_values", "Intermediate values", "the metric after each epoch; short lines were pruned",
                lambda by: by.plot_intermediate_values(study), _epochs)  # fmt: skip
    yield _Kind("timeline", "Timeline", "when each trial trained",
                lambda by: by.plot_timeline(study), _bars)  # fmt: skip
    if len(ranked) > 1:
        yield _Kind("edf", "Distribution", "the share of complete trials with at most this objective",
                    lambda by: by.plot_edf(attempts), _history, 320)  # fmt: skip


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
    values = dict(trace.customdata) if trace.customdata is not None and trace.mode == "lines" else {}
    if "pooling" in values:
        trace.update(line={"color": colours.poolings.get(str(values["pooling"]), NEUTRAL), "width": 1.3}, opacity=0.7)
    elif trace.mode == "markers":
        trace.marker.showscale = False  # its colours are no longer those of the lines


def _contours(trace: Any, _: _Colours) -> None:
    if trace.type == "contour":
        trace.update(colorscale="Viridis", reversescale=False, line={"width": 0.4})
    else:
        trace.marker = {"color": "white", "size": 5, "line": {"width": 0.8, "color": "#222222"}}
    trace.showlegend = False


def _epochs(trace: Any, colours: _Colours) -> None:
    (shade,) = colours.of([(trace.name or "Trial-1")[5:]])  # Optuna names the lines Trial0, Trial1, …
    trace.update(line={"color": shade, "width": 1.1}, opacity=0.6, showlegend=False)
    trace.marker.update(color=shade, size=3)


def _bars(trace: Any, _: _Colours) -> None:
    trace.marker.color = STATE_COLOURS.get(trace.name or "", SLATE)


def _restyle(figure: Any, height: int) -> None:
    font = {"family": "Helvetica Neue, Nimbus Sans, Liberation Sans, Arial, sans-serif", "size": 12}
    legend = {"orientation": "h", "y": 1.01, "yanchor": "bottom"}
    figure.update_layout(
        template="none", title=None, width=None, autosize=True, height=height, font=font, legend=legend
    )
    figure.update_layout(bargap=0.45, margin={"l": 64, "r": 16, "t": 30, "b": 52})
    figure.update_layout(paper_bgcolor=_CLEAR, plot_bgcolor=_CLEAR, modebar={"bgcolor": _CLEAR, "color": NEUTRAL})
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(gridcolor=_HAIR, zerolinecolor=_HAIR, linecolor=_HAIR, automargin=True)
