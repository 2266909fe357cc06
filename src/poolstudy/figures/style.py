"""One visual language: colours that the colour-blind tell apart, type that survives 256 pixels."""

from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from poolstudy.space import Pooling

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color): blue is average, vermilion is max, everywhere.
COLOURS: Final[dict[Pooling, str]] = {"average": "#0072B2", "max": "#D55E00"}
NEUTRAL: Final = "#8C8C8C"
INK: Final = "#222222"
DPI: Final = 160  # 3.2 inches become 512 pixels, twice what the grids show


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches; nothing global is touched."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def plain(axes: Axes, size: float = 9) -> Axes:
    """Axes without a box, with small ticks and a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(NEUTRAL)
    axes.tick_params(labelsize=size - 1, colors=INK, color=NEUTRAL)
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)
    return axes
