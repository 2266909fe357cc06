"""Optuna's matplotlib plots as PNG: on white, with our colours and titles."""

import io
from collections.abc import Mapping
from typing import Any

from poolstudy.spec.colours import NEUTRAL

_INK = "#222222"
SLATE = "#6B7680"
STATE_COLOURS = {"COMPLETE": SLATE, "PRUNED": "#B5BCC2", "FAIL": "#762A83"}
"""Colours by Optuna's states; SLATE is for every bar and line that belongs to no pooling."""


def plot_png(axes: Any, title: str, trials: Mapping[int, str]) -> bytes:
    """Render one of Optuna's figures.

    Args:
        axes: as Optuna returned them: one, or an array.
        trials: the colour of each trial by its number.
    """
    while not hasattr(axes, "figure"):  # an array, perhaps of arrays
        axes = axes[0]
    figure = axes.figure
    for panel in list(figure.axes):
        if panel.get_label() == "<colorbar>" and panel.get_ylabel() == "Trial":
            panel.remove()  # the colours are those of the poolings
        else:
            _restyle(panel)
            _recolour(panel, trials)
    columns, rows = (len({round(getattr(ax.get_position(), side), 2) for ax in figure.axes}) for side in ("x0", "y0"))
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
    axes.tick_params(which="minor", labelleft=False, labelbottom=False)  # on logarithmic axes they would overlap
    axes.xaxis.label.set(size=9, color=_INK)
    axes.yaxis.label.set(size=9, color=_INK)


def _recolour(axes: Any, trials: Mapping[int, str]) -> None:
    for line in axes.lines:
        number = str(line.get_label()).removeprefix("Trial")
        line.set(color=trials.get(int(number), NEUTRAL) if number.isdecimal() else NEUTRAL, linewidth=1.1)
    for points in axes.collections:
        values = points.get_array()
        if values is None:
            if axes.get_xlabel() == "Trial":  # the history
                points.set(facecolor=[trials.get(int(x), NEUTRAL) for x, _ in points.get_offsets()], edgecolor="none")
        elif axes.get_xlabel() and hasattr(points, "get_sizes") and all(value in trials for value in values):
            points.set_array(None)
            points.set(facecolor=[trials[int(value)] for value in values], edgecolor="none", alpha=0.85)
        else:
            points.set_cmap("viridis")
    _recolour_bars(axes)


def _recolour_bars(axes: Any) -> None:
    """Colour bars by Optuna's states; remove a legend that names no state, for its colours have changed."""
    legend = axes.get_legend()
    named = zip(legend.legend_handles, legend.get_texts(), strict=True) if legend and axes.patches else ()
    states = {handle.get_facecolor(): (handle, STATE_COLOURS.get(text.get_text())) for handle, text in named}
    for bar in axes.patches:
        _, shade = states.get(bar.get_facecolor(), (None, None))
        bar.set(facecolor=shade or SLATE, edgecolor="none")
    for handle, shade in states.values():
        handle.set(facecolor=shade or SLATE, edgecolor="none")
    if legend and not any(shade for _, shade in states.values()):
        legend.remove()
