"""Optuna's matplotlib plots as PNG: on white, in our colours, under our titles."""

import io
import os
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("MPLBACKEND", "Agg")  # no window is wanted where there is a desktop

import optuna.visualization.matplotlib as matplotlib_plots

from poolstudy.spec.colours import NEUTRAL

__all__ = ["SLATE", "STATE_COLOURS", "matplotlib_plots", "plot_png"]

_INK = "#222222"
SLATE = "#6B7680"
STATE_COLOURS = {"COMPLETE": SLATE, "PRUNED": "#B5BCC2", "FAIL": "#762A83"}
"""What is no pooling's: lines, bars of any kind, and bars by Optuna's states."""


def plot_png(axes: Any, title: str, trials: Mapping[int, str]) -> bytes:
    """One of Optuna's figures.

    Args:
        axes: what Optuna returned: a pair of axes, or an array of them.
        trials: the colour of each trial by its number.
    """
    while not hasattr(axes, "figure"):  # an array of axes, or of arrays of them
        axes = axes[0]
    figure = axes.figure
    for one in list(figure.axes):
        if one.get_label() == "<colorbar>" and one.get_ylabel() == "Trial":
            one.remove()  # of numbers that have given way to the poolings
        else:
            _restyle(one)
            _recolour(one, trials)
    columns, rows = (len({round(getattr(one.get_position(), side), 2) for one in figure.axes}) for side in ("x0", "y0"))
    figure.set_size_inches(max(8.0, 2.2 * columns), max(4.5, 2.2 * rows))
    figure.suptitle(title, fontsize=11, color=_INK)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120, bbox_inches="tight")
    figure.clear()
    return file.getvalue()


def _restyle(axes: Any) -> None:
    axes.set_facecolor("white")
    for side in ("left", "center", "right"):
        axes.set_title("", loc=side)
    axes.grid(visible=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(NEUTRAL)
    axes.tick_params(colors=_INK, labelsize=8)
    axes.tick_params(which="minor", labelleft=False, labelbottom=False)  # of logarithmic axes: they would overlap
    axes.xaxis.label.set(size=9, color=_INK)
    axes.yaxis.label.set(size=9, color=_INK)


def _recolour(axes: Any, trials: Mapping[int, str]) -> None:
    for line in axes.lines:
        number = str(line.get_label()).removeprefix("Trial")
        line.set(color=trials.get(int(number), NEUTRAL) if number.isdecimal() else NEUTRAL, linewidth=1.1)
    for points in axes.collections:
        values = points.get_array()
        if values is None:
            _recolour_history(axes, points, trials)
        elif axes.get_xlabel() and getattr(points, "get_sizes", list)() and _are_numbers(values, trials):
            points.set_array(None)
            points.set(facecolor=[trials[int(value)] for value in values], edgecolor="none", alpha=0.85)
        else:
            points.set_cmap("viridis")
    _recolour_bars(axes)


def _recolour_bars(axes: Any) -> None:
    """Bars of states as on the page; a legend that names none goes: what it named has other colours now."""
    legend = axes.get_legend()
    named = zip(legend.legend_handles, legend.get_texts(), strict=True) if legend else ()
    states = {
        handle.get_facecolor(): (handle, STATE_COLOURS.get(text.get_text())) for handle, text in named if axes.patches
    }
    for bar in axes.patches:
        _, shade = states.get(bar.get_facecolor(), (None, None))
        bar.set(facecolor=shade or SLATE, edgecolor="none")
    for handle, shade in states.values():
        handle.set(facecolor=shade or SLATE, edgecolor="none")
    if legend and not any(shade for _, shade in states.values()):
        legend.remove()


def _recolour_history(axes: Any, points: Any, trials: Mapping[int, str]) -> None:
    if axes.get_xlabel() == "Trial":
        numbers = [int(x) for x, _ in points.get_offsets()]
        points.set(facecolor=[trials.get(number, NEUTRAL) for number in numbers], edgecolor="none")


def _are_numbers(values: Any, trials: Mapping[int, str]) -> bool:
    return all(float(value).is_integer() and int(value) in trials for value in values)
