"""Average and max pooling always have the same two colours, in pictures, pages and MLflow's charts."""

from typing import Final

from poolstudy.spec.space import Pooling

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color), which the colour-blind tell apart: blue and vermilion.
COLOURS: Final[dict[Pooling, str]] = {"average": "#0072B2", "max": "#D55E00"}
NEUTRAL: Final = "#8C8C8C"
"""What is no pooling's."""
_LIGHTER: Final = (0.0, 0.3, -0.3, 0.5, -0.5)  # towards white, or black below 0


def shade(pooling: Pooling, slot: int) -> str:
    """A trial's own shade of its pooling's colour, "#rrggbb": five of them in turn, so that neighbours differ."""
    lighter = _LIGHTER[slot % len(_LIGHTER)]
    towards = 255 if lighter > 0 else 0
    parts = (int(COLOURS[pooling][place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(part + abs(lighter) * (towards - part)):02x}" for part in parts)
